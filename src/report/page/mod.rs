//! Pages a person reads and signs: one for each piece ([`piece`]) and one for the lot ([`lot`]), and what a station shows ([`now`]). Each of the first two is one HTML file that needs
//! nothing else: no script, no font, no picture beside it, and its policy forbids a browser to fetch any. The same reports give the same
//! bytes: no time stands in a page unless it was given.
//!
//! Text is escaped by `maud` where it is put in; what no reader must be shown (control characters, marks that turn the direction of
//! writing) goes in [`finished`], for the whole page at once.

pub mod doc;
pub mod lot;
pub mod now;
pub mod numbers;
pub mod pictures;
pub mod piece;
pub mod words;

use std::fmt::Write as _;

use maud::{html, Markup, PreEscaped, DOCTYPE};

use crate::hash::sha256_hex;
use crate::report::{Status, Verdict};

const CSS: &str = include_str!("page.css");

/// What a browser may load for a page: the pictures and the style that stand in it.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

/// The name of a piece's files without their extension: its id where that is a safe file name on every system, else the id's safe
/// characters and a hash that tells ids apart that are alike then. Ids that differ in case alone are left to the caller.
pub fn slug(piece_id: &str) -> String {
    let safe: String =
        piece_id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let stem = safe.split('.').next().unwrap_or("").to_ascii_lowercase();
    let reserved = ["con", "prn", "aux", "nul"].contains(&stem.as_str())
        || (stem.len() == 4
            && (stem.starts_with("com") || stem.starts_with("lpt"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    let is_safe = safe == piece_id
        && !piece_id.is_empty()
        && piece_id.len() <= 80
        && !piece_id.starts_with(['.', '-'])
        && !piece_id.ends_with('.')
        && !reserved;
    if is_safe {
        return safe;
    }
    let short: String = safe.trim_matches(['.', '-']).chars().take(60).collect();
    let hash = &sha256_hex(piece_id.as_bytes())[..8];
    if short.is_empty() {
        format!("piece-{hash}")
    } else {
        format!("{short}-{hash}")
    }
}

/// A whole page.
pub(crate) fn shell(title: &str, foot: &str, body: &Markup) -> String {
    document(title, foot, POLICY, None, body)
}

/// A page with what a browser may load for it and the seconds after which it reads it again.
fn document(title: &str, foot: &str, policy: &str, refresh_s: Option<u32>, body: &Markup) -> String {
    // What stands at the foot of every printed page.
    let css = format!("{CSS}@page{{@bottom-left{{content:\"{}\"}}}}", css_text(foot));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(css)) }
            }
            body {
                (numbers::hatch())
                (body)
            }
        }
    };
    finished(page.into_string())
}

/// A text inside the quotes of a style sheet: every character but letters and digits by its number.
fn css_text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == ' ' {
            out.push(c);
        } else {
            // The blank ends the number, so that none of the text is taken for a part of it.
            let _ = write!(out, "\\{:06x} ", u32::from(c));
        }
    }
    out
}

/// The page without characters that show as nothing, that HTML does not allow, or that turn the direction of writing and so make an id
/// or a reason look like another (Unicode TR 36): each becomes the replacement character.
fn finished(page: String) -> String {
    let is_bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if page.contains(is_bad) {
        page.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
    } else {
        page
    }
}

/// The word and the sign of a verdict; none is a piece without a report.
pub(crate) fn verdict_badge(verdict: Option<Verdict>) -> Markup {
    let (class, sign, word) = match verdict {
        Some(Verdict::Pass) => ("pass", "✓", "Pass"),
        Some(Verdict::Review) => ("review", "?", "Review"),
        Some(Verdict::Fail) => ("fail", "✕", "Fail"),
        None => ("error", "!", "No report"),
    };
    html! { span class={ "badge " (class) } { span.sign aria-hidden="true" { (sign) } " " (word) } }
}

/// The word and the sign of a row's status.
pub(crate) fn status_badge(status: Status, limited: bool) -> Markup {
    let (class, sign, word) = match (status, limited) {
        (Status::Pass, true) => ("pass", "✓", "pass"),
        (Status::Pass, false) => ("none", "·", "no limit"),
        (Status::NotAssessed, _) => ("none", "–", "not assessed"),
        (Status::Review, _) => ("review", "?", "review"),
        (Status::Fail, _) => ("fail", "✕", "fail"),
    };
    html! { span class={ "st " (class) } { span.sign aria-hidden="true" { (sign) } " " (word) } }
}

/// The word of a status in the report.
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::NotAssessed => "not_assessed",
        Status::Review => "review",
        Status::Fail => "fail",
    }
}

/// `1 piece`, `2 pieces`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Room to sign: the decision, remarks, name, date and signature.
pub(crate) fn sign(what: &str) -> Markup {
    html! {
        section.sign aria-labelledby="sign" {
            h2 #sign { "Decision of the inspector" }
            p.boxes {
                span.box { "Accept" } span.box { "Rework" } span.box { "Reject" }
                span.hint { "for the " (what) }
            }
            dl.lines {
                div.wide { dt { "Remarks" } dd {} }
                div { dt { "Name" } dd {} }
                div { dt { "Date" } dd {} }
                div { dt { "Signature" } dd {} }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_safe_file_names() {
        assert_eq!(slug("pave-002"), "pave-002");
        assert_eq!(slug("a.b_c"), "a.b_c");
        for id in ["", ".", "..", "../x", "a/b", "a b", "<b>&\"'", "CON", "con", "lpt1.x", "-x", "é", "x.", "\0"] {
            let s = slug(id);
            assert_ne!(s, id, "{id}");
            assert!(s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{s}");
            assert!(!s.starts_with('.') && !s.starts_with('-') && !s.is_empty(), "{s}");
        }
        assert_ne!(slug("a b"), slug("a_b"));
        assert!(slug(&"x".repeat(500)).len() < 80);
    }

    #[test]
    fn nothing_unseen_is_left_in_a_page() {
        let page = shell("a\u{202e}b<\"", "x\"</style>\u{0}", &html! { p { "é\u{7}\u{200b} <script>" } });
        assert!(page.contains("<title>a\u{fffd}b&lt;&quot;</title>"), "{page}");
        assert!(page.contains("é\u{fffd}\u{fffd} &lt;script&gt;"));
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(page.contains(r"x\000022 \00003c \00002f style\00003e \000000 "));
    }
}
