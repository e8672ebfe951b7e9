//! The page of a lot: how many passed, what for the others did not, how each characteristic is spread, and the list of pieces.

use std::collections::{BTreeMap, BTreeSet};

use maud::{html, Markup};

use super::doc::{self, is_none_seen, Doc};
use super::numbers::{limits, plain};
use super::pictures::Embedded;
use super::{count, piece, shell, sign, verdict_badge, words};
use crate::inspect::finish::{about_one_line, DIRECTION};
use crate::inspect::ring::{PLACES, WIDTH};
use crate::msa::gauge::RESIDUE;
use crate::report::{round_to, Status, Verdict};

/// Pieces of the list that are shown before the rest is folded, and that have a thumbnail.
pub const OPEN_PIECES: usize = 200;
/// Bars of a histogram.
const BINS: usize = 28;
/// Values from which the 0.135 % quantiles of a distribution can be read off it: one value stands beyond each, 1 / 0.00135.
const LEAST_FOR_QUANTILES: usize = 741;
/// Values below which a capability is a hint at most (AIAG SPC 2 asks for 25 subgroups of 4 or 5; 30 is the usual least).
const LEAST_FOR_CAPABILITY: usize = 30;

/// One piece in the list.
#[derive(Debug, Clone)]
struct Row {
    piece_id: String,
    sku: String,
    verdict: Option<Verdict>,
    /// From the lot's page to the piece's.
    link: Option<String>,
    headline: String,
    fails: usize,
    reviews: usize,
    errors: Vec<String>,
    thumb: Option<Embedded>,
}

impl Row {
    /// Worst first: without a report, fail, review, pass; within them by the number of rows out of limits and in doubt.
    fn order(&self) -> (u8, std::cmp::Reverse<usize>, std::cmp::Reverse<usize>) {
        let rank = match self.verdict {
            None => 0,
            Some(Verdict::Fail) => 1,
            Some(Verdict::Review) => 2,
            Some(Verdict::Pass) => 3,
        };
        (rank, std::cmp::Reverse(self.fails), std::cmp::Reverse(self.reviews))
    }
}

/// The values of one characteristic under one pair of limits.
#[derive(Debug, Clone, Default)]
struct Values {
    lower: Option<f64>,
    upper: Option<f64>,
    values: Vec<f64>,
    pieces: usize,
    none_seen: usize,
    fails: usize,
    reviews: usize,
}

/// A lot as it is read, one piece after the other: what the page says of it, and nothing of a piece but its row and its numbers.
#[derive(Debug, Clone, Default)]
pub struct Lot {
    rows: Vec<Row>,
    articles: BTreeSet<String>,
    programs: BTreeSet<String>,
    /// By title and limits.
    values: BTreeMap<(String, String), (String, Values)>,
    /// Pieces that fail and that are in doubt, by what for.
    kinds: BTreeMap<String, (usize, usize)>,
}

impl Lot {
    /// Adds a piece with its report.
    pub fn add(&mut self, doc: &Doc, link: Option<String>, thumb: Option<Embedded>, errors: Vec<String>) {
        let r = &doc.report;
        self.articles.insert(r.sku.clone());
        self.programs.insert(r.provenance.program.clone());
        let of = |s: Status| r.measurements.iter().filter(|m| m.status == s).count();
        self.rows.push(Row {
            piece_id: r.piece_id.clone(),
            sku: r.sku.clone(),
            verdict: Some(r.verdict),
            link,
            headline: doc::headline(r),
            fails: of(Status::Fail),
            reviews: of(Status::Review),
            errors,
            thumb,
        });
        for (kind, status) in piece::kinds(r) {
            let n = self.kinds.entry(kind).or_default();
            if status == Status::Fail {
                n.0 += 1;
            } else {
                n.1 += 1;
            }
        }
        let mut seen = BTreeSet::new();
        for m in &r.measurements {
            let key = (words::of(&m.characteristic).title, limits(m.lower, m.upper));
            let entry = self.values.entry(key.clone()).or_insert_with(|| {
                (m.characteristic.clone(), Values { lower: m.lower, upper: m.upper, ..Values::default() })
            });
            let v = &mut entry.1;
            if seen.insert(key) {
                v.pieces += 1;
            }
            // Of one ring's width three values may stand: one counts here.
            if m.characteristic == WIDTH && PLACES.contains(&m.feature.as_str()) {
                continue;
            }
            if is_none_seen(m) && !is_view_measure(&m.characteristic) {
                v.none_seen += 1;
                continue;
            }
            v.values.push(m.value);
            v.fails += usize::from(m.status == Status::Fail);
            v.reviews += usize::from(m.status == Status::Review);
        }
        self.bound_thumbs();
    }

    /// Adds a piece that has no report, or one that could not be read.
    pub fn add_error(&mut self, piece_id: &str, errors: Vec<String>) {
        self.rows.push(Row {
            piece_id: piece_id.to_owned(),
            sku: String::new(),
            verdict: None,
            link: None,
            headline: String::new(),
            fails: 0,
            reviews: 0,
            errors,
            thumb: None,
        });
    }

    /// Drops the thumbnails of pieces that are not shown at once, so that a lot of any size fits in memory.
    fn bound_thumbs(&mut self) {
        if !self.rows.len().is_multiple_of(OPEN_PIECES) {
            return;
        }
        for i in self.order().into_iter().skip(OPEN_PIECES) {
            self.rows[i].thumb = None;
        }
    }

    /// Indices of the rows, the worst first, then in the order they came in.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|i| self.rows[*i].order());
        order
    }

    /// Pieces with a verdict; none counts those without a report.
    pub fn count(&self, verdict: Option<Verdict>) -> usize {
        self.rows.iter().filter(|r| r.verdict == verdict).count()
    }

    /// Pieces in all.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The page of the lot, as a whole HTML file.
    pub fn page(&self, name: &str, date: Option<&str>) -> String {
        let n = self.rows.len();
        let articles = if self.articles.len() <= 6 {
            self.articles.iter().cloned().collect::<Vec<_>>().join(", ")
        } else {
            count(self.articles.len(), "article", "articles")
        };
        let worst = [(None, "fail"), (Some(Verdict::Fail), "fail"), (Some(Verdict::Review), "review")];
        let class = worst.iter().find(|(v, _)| self.count(*v) > 0).map_or("pass", |w| w.1);
        let body = html! {
            main {
                header class={ "top " (class) } {
                    div {
                        p.kind { "Lot report" }
                        h1 { (name) }
                        p.facts {
                            span { "Pieces " b { (n) } }
                            @if !articles.is_empty() { span { "Articles " b { (articles) } } }
                            @if let Some(date) = date { span { "Date " b { (date) } } }
                        }
                    }
                }
                (self.counts())
                (self.pareto())
                (self.list())
                (self.statistics())
                (sign("lot"))
                footer {
                    "Each piece has a page of its own with its pictures, values, uncertainties and hashes. "
                    (self.programs.iter().cloned().collect::<Vec<_>>().join(", "))
                }
            }
        };
        shell(&format!("{name} – lot of {n}"), &format!("{name} · {n} pieces"), &body)
    }

    fn counts(&self) -> Markup {
        let n = self.rows.len();
        let kinds = [
            ("pass", "Passed", Some(Verdict::Pass)),
            ("review", "For a person", Some(Verdict::Review)),
            ("fail", "Failed", Some(Verdict::Fail)),
            ("error", "No report", None),
        ];
        let share = |k: usize| if n == 0 { 0.0 } else { round_to(100.0 * k as f64 / n as f64, 1) };
        let mut from = 0usize;
        html! {
            section aria-label="Counts" {
                ul.tiles {
                    li { b { (n) } "Pieces" small { "in the lot" } }
                    @for (class, title, verdict) in kinds {
                        @let k = self.count(verdict);
                        li class=(class) { b { (k) } (title) small { (share(k)) " %" } }
                    }
                }
                @if n > 0 {
                    svg.share viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                        @for (class, _, verdict) in kinds {
                            @let k = self.count(verdict);
                            @let x = 1000.0 * from as f64 / n as f64;
                            rect class=(class) x=(round_to(x, 2)) width=(round_to(1000.0 * k as f64 / n as f64, 2)) y="0" height="14" {}
                            ({ from += k; "" })
                        }
                    }
                }
            }
        }
    }

    fn pareto(&self) -> Markup {
        let mut kinds: Vec<(&String, usize, usize)> = self.kinds.iter().map(|(k, n)| (k, n.0, n.1)).collect();
        if kinds.is_empty() {
            return html! {};
        }
        // Stable: equal ones stay in the order of their names.
        kinds.sort_by_key(|k| std::cmp::Reverse((k.1, k.2)));
        let most = kinds.iter().map(|k| k.1 + k.2).max().unwrap_or(1).max(1) as f64;
        let total: usize = kinds.iter().map(|k| k.1).sum();
        let mut sum = 0usize;
        html! {
            section aria-labelledby="pareto" {
                h2 #pareto { "What for " small { "pieces by what is wrong or in doubt; a piece counts once in each line" } }
                div.wrap { table {
                    thead { tr {
                        th scope="col" { "Reason" } th.n scope="col" { "Fail" } th.n scope="col" { "Review" } th scope="col" style="width:40%" { "Pieces" } th.n scope="col" { "Fails, cumulative" }
                    } }
                    tbody { @for (kind, fails, reviews) in &kinds {
                        tr {
                            th scope="row" { (kind) }
                            td.n { (fails) }
                            td.n { (reviews) }
                            td {
                                svg.pareto viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                                    @let w = |k: usize| round_to(1000.0 * k as f64 / most, 1);
                                    rect.fail x="0" y="1" width=(w(*fails)) height="12" {}
                                    rect.review x=(w(*fails)) y="1" width=(w(*reviews)) height="12" {}
                                }
                            }
                            td.n { @if *fails > 0 { ({ sum += fails; format!("{:.0} %", 100.0 * sum as f64 / total as f64) }) } }
                        }
                    } }
                } }
            }
        }
    }

    fn list(&self) -> Markup {
        let order = self.order();
        let (open, folded) = order.split_at(order.len().min(OPEN_PIECES));
        let pictured = open.iter().any(|i| self.rows[*i].thumb.is_some());
        let table = |rows: &[usize], pictured: bool| {
            html! {
                div.wrap { table.list {
                    thead { tr {
                        @if pictured { th scope="col" { "Picture" } }
                        th scope="col" { "Piece" } th scope="col" { "Article" } th scope="col" { "Verdict" } th.n scope="col" { "Outside" } th.n scope="col" { "In doubt" } th scope="col" { "First reason" }
                    } }
                    tbody { @for i in rows {
                        @let r = &self.rows[*i];
                        tr class=(r.verdict.map_or("error", Verdict::as_str)) {
                            @if pictured {
                                td.pic { @if let Some(t) = &r.thumb { img src=(t.uri) width=(t.width) height=(t.height) alt={ "Drawn picture of " (r.piece_id) } decoding="async"; } }
                            }
                            th scope="row" class="id" { @if let Some(link) = &r.link { a href=(link) { (r.piece_id) } } @else { (r.piece_id) } }
                            td { (r.sku) }
                            td { (verdict_badge(r.verdict)) }
                            td.n { @if r.fails > 0 { b { (r.fails) } } @else { "0" } }
                            td.n { (r.reviews) }
                            td { (r.headline) @for e in &r.errors { div.err { (e) } } }
                        }
                    } }
                } }
            }
        };
        html! {
            section aria-labelledby="list" {
                h2 #list { "Pieces " small { "the worst first" } }
                @if order.len() > 10 {
                    fieldset.filter {
                        legend { "Show" }
                        @for (id, text) in [("all", "all"), ("fail", "failed"), ("review", "for a person"), ("pass", "passed"), ("error", "no report")] {
                            label { input type="radio" name="only" id={ "only-" (id) } checked[id == "all"]; " " (text) }
                        }
                    }
                }
                (table(open, pictured))
                @if !folded.is_empty() {
                    details { summary { (folded.len()) " more pieces" } (table(folded, false)) }
                }
            }
        }
    }

    fn statistics(&self) -> Markup {
        if self.values.is_empty() {
            return html! {};
        }
        let mut lines = self.values.clone();
        for (c, v) in lines.values_mut() {
            if c == DIRECTION && v.lower.is_none() && v.upper.is_none() {
                about_one_line(v.values.iter_mut());
            }
        }
        let mut groups: Vec<(&str, &str, &Values)> =
            lines.iter().map(|((title, _), (c, v))| (title.as_str(), c.as_str(), v)).collect();
        // What is limited first; then by name.
        groups.sort_by_key(|g| g.2.lower.is_none() && g.2.upper.is_none());
        let capable = groups.iter().any(|g| g.2.lower.is_some() && g.2.upper.is_some());
        let quantiles = groups.iter().any(|g| statistics(g.2).pp.is_some());
        html! {
            section aria-labelledby="stats" {
                h2 #stats { "Spread of each characteristic " small { "all pieces with the same limits" } }
                div.wrap { table.stats {
                    thead { tr {
                        th scope="col" { "Characteristic" } th.n scope="col" { "Values" } th.n scope="col" { "None seen" } th.n scope="col" { "Mean" } th.n scope="col" { "sd" } th.n scope="col" { "Least" } th.n scope="col" { "Most" }
                        th scope="col" { "Limit" } th scope="col" { "Distribution" } @if capable { th.n scope="col" { "Cp" } th.n scope="col" { "Cpk" } }
                        @if quantiles { th.n scope="col" { "Pp (quantiles)" } }
                        th.n scope="col" { "Fail" } th.n scope="col" { "Review" }
                    } }
                    tbody { @for (title, c, v) in &groups {
                        @let s = statistics(v);
                        @let present = words::is_presence(c);
                        tr {
                            th scope="row" { (title) @let unit = words::unit(c); @if !unit.is_empty() { span.note { " " (unit) } } }
                            td.n { (v.values.len()) } td.n { (v.none_seen) }
                            @if present {
                                td.n { (s.mean.map_or(String::new(), |m| format!("{:.1} %", 100.0 * m))) }
                                td.n { "" } td.n { "" } td.n { "" }
                            } @else {
                                td.n { (shown(s.mean)) }
                                td.n { (shown(s.sd)) }
                                td.n { (shown(s.least)) }
                                td.n { (shown(s.most)) }
                            }
                            td.t { (limits(v.lower, v.upper)) }
                            td { @if !present { (histogram(v)) } }
                            @if capable { td.n { (index(s.cp, v.values.len())) } td.n { (index(s.cpk, v.values.len())) } }
                            @if quantiles { td.n { (s.pp.map_or_else(String::new, |p| format!("{p:.2}"))) } }
                            td.n { @if v.fails > 0 { b { (v.fails) } } @else { "0" } }
                            td.n { (v.reviews) }
                        }
                    } }
                } }
                p.note {
                    "sd: standard deviation of the values, the measuring's own scatter within. Cp = (upper − lower) / 6 sd, Cpk = min(upper − mean, mean − lower) / 3 sd, where both limits stand; in brackets below "
                    (LEAST_FOR_CAPABILITY) " values: a hint. Both take the values for normal."
                    @if quantiles { " Pp = (upper − lower) / (X99.865 − X0.135) takes no such shape and is given from " (LEAST_FOR_QUANTILES) " values on." }
                    " Of what is there or not, the mean is the share that is there."
                }
            }
        }
    }
}

/// Characteristics of a view as a whole: 0 is a value of theirs, not the lack of one.
fn is_view_measure(characteristic: &str) -> bool {
    ["outline.", "surface.", "colour.", "ring.", "anomaly."].iter().any(|f| characteristic.starts_with(f))
}

/// What is said of a set of values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Statistics {
    mean: Option<f64>,
    sd: Option<f64>,
    least: Option<f64>,
    most: Option<f64>,
    cp: Option<f64>,
    cpk: Option<f64>,
    pp: Option<f64>,
}

/// Mean, standard deviation (n - 1), extremes; Cp and Cpk where both limits stand and the values scatter; Pp by quantiles (ISO 22514-2)
/// where there are enough.
fn statistics(v: &Values) -> Statistics {
    let n = v.values.len();
    if n == 0 {
        return Statistics::default();
    }
    let mean = v.values.iter().sum::<f64>() / n as f64;
    let squares: f64 = v.values.iter().map(|x| (x - mean).powi(2)).sum();
    let sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
    let mut sorted = v.values.clone();
    sorted.sort_by(f64::total_cmp);
    let mut out = Statistics {
        mean: Some(mean),
        sd,
        least: sorted.first().copied(),
        most: sorted.last().copied(),
        ..Statistics::default()
    };
    if let (Some(lo), Some(up)) = (v.lower, v.upper) {
        // What adding up leaves of equal values is no scatter.
        if let Some(sd) = sd.filter(|s| *s > RESIDUE * mean.abs().max(up - lo)) {
            out.cp = Some((up - lo) / (6.0 * sd));
            out.cpk = Some((up - mean).min(mean - lo) / (3.0 * sd));
        }
        if n >= LEAST_FOR_QUANTILES {
            let spread = quantile(&sorted, 0.99865) - quantile(&sorted, 0.00135);
            out.pp = (spread > RESIDUE * mean.abs()).then(|| (up - lo) / spread);
        }
    }
    out
}

/// A quantile of sorted values, linear between neighbours (Hyndman and Fan 1996, type 7).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Four significant digits, at most four decimals.
fn shown(value: Option<f64>) -> String {
    let Some(v) = value else { return String::new() };
    if v == 0.0 {
        return "0".into();
    }
    let decimals = (3 - v.abs().log10().floor() as i32).clamp(0, 4);
    plain(round_to(v, decimals))
}

fn index(value: Option<f64>, n: usize) -> String {
    match value {
        None => String::new(),
        Some(v) if n < LEAST_FOR_CAPABILITY => format!("({v:.2})"),
        Some(v) => format!("{v:.2}"),
    }
}

/// How the values lie, with the limits as lines.
fn histogram(v: &Values) -> Markup {
    let (width, height) = (170.0, 28.0);
    let finite = || v.values.iter().copied().filter(|x| x.is_finite());
    let bounds = || [v.lower, v.upper].into_iter().flatten();
    let lo = finite().chain(bounds()).fold(f64::INFINITY, f64::min);
    let hi = finite().chain(bounds()).fold(f64::NEG_INFINITY, f64::max);
    let span = hi - lo;
    if v.values.len() < 2 || !(span > 0.0 && span.is_finite()) {
        return html! {};
    }
    let (lo, span) = (lo - 0.03 * span, 1.06 * span);
    let mut bins = [0usize; BINS];
    for x in finite() {
        bins[(((x - lo) / span * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let most = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = width / BINS as f64;
    html! {
        svg.hist viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) aria-hidden="true" focusable="false" {
            line.base x1="0" x2=(width) y1=(height - 0.5) y2=(height - 0.5) {}
            @for (i, k) in bins.iter().enumerate() {
                @if *k > 0 {
                    // A single value still shows.
                    @let h = ((height - 3.0) * *k as f64 / most).max(1.5);
                    rect x=(round_to(i as f64 * step, 1)) y=(round_to(height - h, 1)) width=(round_to(step - 0.8, 1)) height=(round_to(h, 1)) {}
                }
            }
            @for b in bounds() {
                @let x = round_to((b - lo) / span * width, 1);
                line.limit x1=(x) x2=(x) y1="0" y2=(height) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: Vec<f64>, lower: Option<f64>, upper: Option<f64>) -> Values {
        Values { values, lower, upper, ..Values::default() }
    }

    #[test]
    fn capability_by_hand() {
        // Mean 10, sd sqrt(2/3 * ...): 9, 10, 11 -> sd 1.
        let s = statistics(&values(vec![9.0, 10.0, 11.0], Some(7.0), Some(14.0)));
        assert_eq!((s.mean, s.sd, s.least, s.most), (Some(10.0), Some(1.0), Some(9.0), Some(11.0)));
        assert!((s.cp.unwrap() - 7.0 / 6.0).abs() < 1e-12);
        assert!((s.cpk.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(s.pp, None);
        // One limit, no scatter, no values.
        assert_eq!(statistics(&values(vec![9.0, 11.0], None, Some(14.0))).cpk, None);
        assert_eq!(statistics(&values(vec![9.0, 9.0], Some(1.0), Some(14.0))).cp, None);
        // 3.1 thirty times adds up to a little less than thirty times 3.1.
        assert_eq!(statistics(&values(vec![3.1; 30], Some(3.0), Some(3.2))).cp, None);
        assert_eq!(statistics(&values(vec![], None, None)), Statistics::default());
        assert_eq!(statistics(&values(vec![4.0], Some(1.0), Some(14.0))).sd, None);
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let ramp: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert!((quantile(&ramp, 0.99865) - 998.65).abs() < 1e-9);
        let s = statistics(&values(ramp, Some(0.0), Some(1000.0)));
        assert!((s.pp.unwrap() - 1000.0 / 997.3).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(shown(Some(0.012_345)), "0.0123");
        assert_eq!(shown(Some(123.456)), "123.5");
        assert_eq!(shown(Some(12_345.6)), "12346");
        assert_eq!(shown(Some(0.0)), "0");
        assert_eq!(shown(None), "");
        assert_eq!(index(Some(1.234), 10), "(1.23)");
        assert_eq!(index(Some(1.234), 30), "1.23");
    }

    #[test]
    fn a_histogram_takes_any_values() {
        for v in [vec![], vec![1.0], vec![1.0, 1.0], vec![0.0, 1e300], vec![-1e308, 1e308]] {
            let svg = histogram(&values(v, None, Some(0.5))).0;
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert_eq!(histogram(&values(vec![0.1, 0.2], None, Some(0.5))).0.matches("class=\"limit\"").count(), 1);
    }

    #[test]
    fn the_worst_come_first() {
        let mut lot = Lot::default();
        let row = |id: &str, verdict, fails| Row {
            piece_id: id.into(),
            sku: String::new(),
            verdict,
            link: None,
            headline: String::new(),
            fails,
            reviews: 0,
            errors: vec![],
            thumb: None,
        };
        lot.rows = vec![
            row("p", Some(Verdict::Pass), 0),
            row("f1", Some(Verdict::Fail), 1),
            row("r", Some(Verdict::Review), 0),
            row("f9", Some(Verdict::Fail), 9),
            row("e", None, 0),
        ];
        let ids: Vec<_> = lot.order().into_iter().map(|i| lot.rows[i].piece_id.clone()).collect();
        assert_eq!(ids, ["e", "f9", "f1", "r", "p"]);
        assert_eq!((lot.count(Some(Verdict::Fail)), lot.count(None), lot.len()), (2, 1, 5));
    }
}
