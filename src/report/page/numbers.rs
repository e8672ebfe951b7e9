//! Numbers as a reader gets them, and the small bars that show a value beside its limits.

use maud::{html, Markup};

use crate::report::{round_to, Status};

/// Most decimals of a number on a page: 0.1 um of a length in mm, which is more than any measure here knows.
const MOST_DECIMALS: i32 = 4;

/// Decimals of a value whose expanded uncertainty is `expanded`: two digits of the uncertainty (GUM, JCGM 100:2008, 7.2.6).
/// None without an uncertainty.
fn decimals(expanded: f64) -> Option<usize> {
    (expanded > 0.0 && expanded.is_finite())
        .then(|| (1 - expanded.log10().floor() as i32).clamp(0, MOST_DECIMALS) as usize)
}

/// A number with a fixed number of decimals, and no sign where it is 0.
fn fixed(value: f64, decimals: usize) -> String {
    format!("{:.decimals$}", round_to(value, decimals as i32))
}

/// A number with the decimals it needs, at most four.
pub fn plain(value: f64) -> String {
    round_to(value, MOST_DECIMALS).to_string()
}

/// A value, and its expanded uncertainty (`k` times the standard one) where it has one, with the same decimals.
pub fn with_uncertainty(value: f64, standard: f64, k: f64) -> (String, Option<String>) {
    let expanded = k * standard;
    match decimals(expanded) {
        // Less than the page shows: as good as none.
        Some(d) if round_to(expanded, d as i32) > 0.0 => (fixed(value, d), Some(fixed(expanded, d))),
        _ => (plain(value), None),
    }
}

/// The limits in words: `at most 0.05`, `17.25 to 17.45`; empty without any.
pub fn limits(lower: Option<f64>, upper: Option<f64>) -> String {
    match (lower, upper) {
        (Some(lo), Some(up)) => format!("{} to {}", plain(lo), plain(up)),
        (Some(lo), None) => format!("at least {}", plain(lo)),
        (None, Some(up)) => format!("at most {}", plain(up)),
        (None, None) => String::new(),
    }
}

/// What a bar shows.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// The value.
    pub value: f64,
    /// Its expanded uncertainty.
    pub expanded: f64,
    /// Lower limit.
    pub lower: Option<f64>,
    /// Upper limit.
    pub upper: Option<f64>,
    /// How the value stands to the limits.
    pub status: Status,
    /// Half the width of the band about a limit in which a person decides; 0 where the value alone does.
    pub guard: f64,
}

/// Size of a bar in its own units.
const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 20.0;

impl Bar {
    /// The range of values that the bar spans: both limits, the value and its whiskers, and no more than three widths beyond a limit
    /// (a value farther out stands at the end, as an arrow). None without a limit.
    pub fn range(&self) -> Option<(f64, f64)> {
        let u = self.expanded;
        let (v, reach) = (self.value, (self.value - self.lower.or(self.upper)?).abs());
        let (lo, hi, span) = match (self.lower, self.upper) {
            (Some(lo), Some(up)) => (lo, up, (up - lo).abs()),
            // Nearly all that is limited from above cannot be less than nothing.
            (None, Some(up)) if up > 0.0 => (0.0, up, up),
            (None, Some(up)) => (up, up, reach.max(u)),
            (Some(lo), None) => (lo, lo, reach.max(u).max(lo.abs() * 0.001)),
            (None, None) => return None,
        };
        let span = if span > 0.0 { span } else { reach.max(u).max(1.0) };
        let left = (lo - 0.3 * span).min(v - u).max(lo - 3.0 * span);
        let right = (hi + 0.3 * span).max(v + u).min(hi + 3.0 * span);
        // From nothing on there is nothing to show on the left of it.
        let left = if self.lower.is_none() && lo == 0.0 { (v - u).min(0.0).max(left) } else { left };
        Some((left, right))
    }

    /// The bar as an inline SVG: the part inside the limits light, the guard bands hatched, the limits as lines, the value with its
    /// whiskers (its expanded uncertainty). Its mark tells the status without colour: a dot passes, an open diamond is for a person, a cross fails.
    /// `range` in place of its own lets bars be compared.
    pub fn svg(&self, range: Option<(f64, f64)>) -> Markup {
        let Some((left, right)) = self.range().map(|own| range.unwrap_or(own)) else { return html! {} };
        let pad = 7.0;
        let at = |v: f64| pad + (WIDTH - 2.0 * pad) * ((v - left) / (right - left)).clamp(0.0, 1.0);
        let r1 = |v: f64| round_to(v, 1);
        let u = self.expanded;
        let (inside_from, inside_to) = (self.lower.map_or(0.0, at), self.upper.map_or(WIDTH, at));
        let middle = HEIGHT / 2.0;
        let (x, from, to) = (at(self.value), at(self.value - u), at(self.value + u));
        let beyond = if self.value > right {
            1.0
        } else if self.value < left {
            -1.0
        } else {
            0.0
        };
        let class = match self.status {
            Status::Pass => "pass",
            Status::NotAssessed => "none",
            Status::Review => "review",
            Status::Fail => "fail",
        };
        let mark = |d: &str| html! { path class={ "m " (class) } d=(d) {} };
        html! {
            svg.bar viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) aria-hidden="true" focusable="false" {
                rect.track x="0" y="7" width=(WIDTH) height="6" {}
                rect.ok x=(r1(inside_from)) y="7" width=(r1((inside_to - inside_from).max(0.0))) height="6" {}
                @if self.guard > 0.0 {
                    @for bound in [self.lower, self.upper].into_iter().flatten() {
                        @let (a, b) = (at(bound - self.guard), at(bound + self.guard));
                        rect.guard x=(r1(a)) y="5" width=(r1(b - a)) height="10" fill="url(#hatch)" {}
                    }
                }
                @for bound in [self.lower, self.upper].into_iter().flatten() {
                    line.limit x1=(r1(at(bound))) x2=(r1(at(bound))) y1="2" y2="18" {}
                }
                @if beyond == 0.0 && u > 0.0 {
                    path class={ "w " (class) } d=(format!("M{} {middle}H{}M{} 7V13M{} 7V13", r1(from), r1(to), r1(from), r1(to))) {}
                }
                @if beyond != 0.0 {
                    @let tip = if beyond > 0.0 { WIDTH - 1.0 } else { 1.0 };
                    (mark(&format!("M{tip} {middle}L{} 5V15Z", tip - 8.0 * beyond)))
                } @else if self.status == Status::Fail {
                    (mark(&format!("M{} 6L{} 14M{} 14L{} 6", r1(x - 4.0), r1(x + 4.0), r1(x - 4.0), r1(x + 4.0))))
                } @else if self.status == Status::Review {
                    (mark(&format!("M{} 10L{} 5L{} 10L{} 15Z", r1(x - 5.0), r1(x), r1(x + 5.0), r1(x))))
                } @else {
                    circle class={ "m " (class) } cx=(r1(x)) cy=(middle) r="3.6" {}
                }
            }
        }
    }
}

/// The hatching of guard bands, once a page.
pub fn hatch() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern #hatch width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line x1="0" x2="0" y1="0" y2="4" {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_decimals_of_its_uncertainty() {
        let u = |v, u| with_uncertainty(v, u, 2.0);
        assert_eq!(u(0.1073, 0.0093), ("0.107".into(), Some("0.019".into())));
        assert_eq!(u(3.277, 2.2735), ("3.3".into(), Some("4.5".into())));
        assert_eq!(u(752.0, 1.0), ("752.0".into(), Some("2.0".into())));
        assert_eq!(u(1234.5, 60.0), ("1235".into(), Some("120".into())));
        assert_eq!(u(1.0, 0.0), ("1".into(), None));
        assert_eq!(u(-0.00001, 0.0), ("0".into(), None));
        assert_eq!(u(-0.0001, 0.01), ("0.000".into(), Some("0.020".into())));
        assert_eq!(u(0.5, 1e-9), ("0.5".into(), None));
    }

    #[test]
    fn limits_in_words() {
        assert_eq!(limits(None, Some(0.05)), "at most 0.05");
        assert_eq!(limits(Some(1.0), None), "at least 1");
        assert_eq!(limits(Some(17.25), Some(17.45)), "17.25 to 17.45");
        assert_eq!(limits(None, None), "");
    }

    fn bar(value: f64, uncertainty: f64, lower: Option<f64>, upper: Option<f64>, status: Status) -> Bar {
        Bar { value, expanded: 2.0 * uncertainty, lower, upper, status, guard: 2.0 * uncertainty }
    }

    #[test]
    fn a_bar_spans_its_limits_and_its_value() {
        let (lo, hi) = bar(0.03, 0.005, None, Some(0.05), Status::Pass).range().unwrap();
        assert!(lo == 0.0 && hi > 0.05 && hi < 0.1, "{lo} {hi}");
        let (lo, hi) = bar(17.46, 0.01, Some(17.25), Some(17.45), Status::Review).range().unwrap();
        assert!(lo < 17.25 && hi >= 17.48, "{lo} {hi}");
        // Far out: no farther than three widths.
        let (_, hi) = bar(50.0, 0.1, None, Some(0.05), Status::Fail).range().unwrap();
        assert!((hi - 0.2).abs() < 1e-9, "{hi}");
        let (lo, hi) = bar(748.0, 1.0, Some(750.0), None, Status::Review).range().unwrap();
        assert!(lo <= 746.0 && hi > 750.0 && hi - lo < 20.0, "{lo} {hi}");
        assert_eq!(bar(1.0, 0.0, None, None, Status::Pass).range(), None);
        assert_eq!(bar(1.0, 0.0, None, None, Status::Pass).svg(None).0, "");
    }

    #[test]
    fn a_bar_never_has_a_number_that_is_none() {
        for (v, u, lo, up) in [
            (0.0, 0.0, Some(0.0), Some(0.0)),
            (0.0, 0.0, None, Some(0.0)),
            (1e300, 1e300, None, Some(1e-300)),
            (-1e300, 0.0, Some(-1e300), Some(1e300)),
            (0.0, 0.0, Some(0.0), None),
        ] {
            let svg = bar(v, u, lo, up, Status::Fail).svg(None).0;
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
