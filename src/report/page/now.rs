//! The page of a station: the piece that was inspected last, large enough to be read from the bench. It looks for the next one every second by itself. The other pages need nothing
//! beside them; this one shows the pictures that lie beside the reports, for it lives only as long as the next piece takes.

use std::fmt::Write as _;

use maud::{html, Markup};

use super::{count, document, verdict_badge};
use crate::report::Verdict;

/// What a browser may load for it: pictures beside it too.
const POLICY: &str =
    "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

/// Seconds after which it is read again.
const REFRESH_S: u32 = 1;

/// Reasons that are listed; a person at the bench acts on the first.
const REASONS: usize = 8;

/// What the page says.
#[derive(Debug)]
pub struct Now<'a> {
    /// The piece.
    pub piece_id: &'a str,
    /// Its verdict; none where it could not be inspected.
    pub verdict: Option<Verdict>,
    /// Its reasons, the worst first, then what could not be read.
    pub reasons: Vec<&'a str>,
    /// Its drawn pictures, from the page's folder, parts joined by `/`.
    pub pictures: Vec<String>,
    /// Pieces of this station so far: passed, failed, for review, without a report.
    pub so_far: [usize; 4],
}

/// The page of the piece that was inspected last; none before the first.
pub fn page(now: Option<&Now>) -> String {
    let title = now.map_or("waiting for a piece", |n| n.piece_id);
    document(title, "", POLICY, Some(REFRESH_S), &now.map_or_else(waiting, shown))
}

fn waiting() -> Markup {
    html! { main { h1 { "Waiting for a piece" } } }
}

fn shown(now: &Now) -> Markup {
    let class = now.verdict.map_or("error", Verdict::as_str);
    let [passed, failed, review, none] = now.so_far;
    html! {
        main.now {
            header class={ "top " (class) } {
                div {
                    p.kind { "Last piece" }
                    h1 { (now.piece_id) }
                    p.facts {
                        span { b { (count(passed + failed + review + none, "piece", "pieces")) } }
                        span { (passed) " passed" } span { (failed) " failed" } span { (review) " for review" }
                        @if none > 0 { span { (none) " without a report" } }
                    }
                }
                (verdict_badge(now.verdict))
            }
            @if !now.reasons.is_empty() {
                ol.why {
                    @for reason in now.reasons.iter().take(REASONS) { li class=(class) { p { (reason) } } }
                    @if now.reasons.len() > REASONS { li { p { (now.reasons.len() - REASONS) " more in its report" } } }
                }
            }
            @for picture in &now.pictures {
                div { img src=(address(picture)) alt={ "What was found on " (picture) } style="width:100%;margin-top:12px"; }
            }
        }
    }
}

/// A path as the address of a picture (RFC 3986): all but letters, digits and what stands for itself by its bytes.
fn address(path: &str) -> String {
    let mut out = String::from("./");
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_shown_with_its_pictures() {
        let now = Now {
            piece_id: "a b<1>",
            verdict: Some(Verdict::Fail),
            reasons: vec!["missing_stone S7 in view top"; 10],
            pictures: vec!["a b<1>/top.png.overlay.png".into()],
            so_far: [3, 1, 2, 0],
        };
        let page = page(Some(&now));
        assert!(page.contains("a b&lt;1&gt;") && page.contains("6 pieces") && page.contains("2 more in its report"));
        assert!(page.contains("src=\"./a%20b%3C1%3E/top.png.overlay.png\""), "{page}");
        assert!(page.contains("http-equiv=\"refresh\" content=\"1\""));
        assert!(super::page(None).contains("Waiting for a piece"));
    }
}
