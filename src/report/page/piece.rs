//! The page of one piece.

use std::collections::BTreeMap;

use maud::{html, Markup};

use super::doc::{self, is_limited, is_none_seen, is_reading, Doc, Issue};
use super::numbers::{limits, plain, with_uncertainty, Bar};
use super::pictures::Embedded;
use super::{count, shell, sign, status_badge, verdict_badge, words};
use crate::judge::K;
use crate::piece::Frame;
use crate::report::{round_to, Finding, FrameRow, Measurement, NotAssessed, Report, Status, Verdict};

/// Rows of a table that are shown before the rest is folded.
const OPEN_ROWS: usize = 40;
/// Features that a reason names before it counts the rest.
const NAMED: usize = 8;

/// What a page is made of, beside the report.
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// The drawn picture of each frame that has one, by the frame's name, in the order of the report's frames.
    pub pictures: Vec<(String, Embedded)>,
    /// Close-ups of the report's findings, by their index: bare and drawn, or what there is.
    pub close_ups: BTreeMap<usize, Vec<(&'static str, Embedded)>>,
    /// What `piece.json` says of the frames, by their name.
    pub frames: BTreeMap<String, Frame>,
    /// What the reader must know about the pictures: which are missing, or no longer the ones that were inspected.
    pub notes: Vec<String>,
    /// What the run could not read or write of this piece.
    pub errors: Vec<String>,
    /// The day of the page, where it is to say one.
    pub date: Option<&'a str>,
    /// The lot's page, as a link from this one.
    pub lot: Option<&'a str>,
}

/// The page of one piece, as a whole HTML file.
pub fn page(doc: &Doc, extras: &Extras) -> String {
    let r = &doc.report;
    let rows = Rows::of(r);
    let (verdict, class) = (r.verdict, r.verdict.as_str());
    let body = html! {
        main {
            @if let Some(lot) = extras.lot {
                p.crumb { a href=(lot) { "← All pieces of the lot" } }
            }
            header class={ "top " (class) } {
                div {
                    p.kind { "Inspection report" }
                    h1 { (r.piece_id) }
                    p.facts {
                        span { "Article " b { (r.sku) } }
                        @if let Some(date) = extras.date { span { "Date " b { (date) } } }
                        span { b { (r.measurements.iter().filter(|m| is_limited(m)).count()) } " values against limits" }
                        @let bad = |s: Status| r.measurements.iter().filter(|m| m.status == s).count();
                        span { b { (bad(Status::Fail)) } " outside" }
                        span { b { (bad(Status::Review)) } " in doubt" }
                        span { b { (r.not_assessed.len()) } " not assessed" }
                    }
                }
                (verdict_badge(Some(verdict)))
            }
            (reasons(doc))
            (pictures(extras))
            (findings(doc, extras))
            (summary(doc))
            (measurements(doc, &rows))
            (stones(r))
            (readings(doc))
            (not_assessed(r))
            (frames(r, extras))
            (provenance(doc, extras))
            (sign("piece"))
            (footer(r))
        }
    };
    shell(&format!("{} – {}", r.piece_id, verdict.as_str()), &format!("{} · {}", r.piece_id, r.sku), &body)
}

pub(super) fn footer(r: &Report) -> Markup {
    html! {
        footer {
            "Values are given with their expanded uncertainty U (k = " (K) ", or that of the row's rule). Unless a row says another rule, a value passes when it lies inside its limit by at least U, "
            "fails when it lies outside by at least U, and is left to a person between (ISO 14253-1, ILAC-G8). "
            (r.provenance.program)
        }
    }
}

/// Indices of the measurements by what the tables show.
struct Rows {
    /// With a limit, the worst first, then in the report's order; readings left out.
    limited: Vec<usize>,
    /// Without one.
    free: Vec<usize>,
}

impl Rows {
    fn of(r: &Report) -> Self {
        let all = || (0..r.measurements.len()).filter(|i| !is_reading(&r.measurements[*i]));
        let mut limited: Vec<usize> = all().filter(|i| is_limited(&r.measurements[*i])).collect();
        // Stable: what is alike stays in the report's order.
        limited.sort_by(|a, b| {
            let (a, b) = (&r.measurements[*a], &r.measurements[*b]);
            rank(b.status).cmp(&rank(a.status)).then(beyond(b).total_cmp(&beyond(a)))
        });
        Rows { limited, free: all().filter(|i| !is_limited(&r.measurements[*i])).collect() }
    }
}

/// What a reader wants to see first: what fails, is in doubt, was not assessed, passes.
fn rank(status: Status) -> u8 {
    match status {
        Status::Fail => 3,
        Status::Review => 2,
        Status::NotAssessed => 1,
        Status::Pass => 0,
    }
}

/// A value with its unit as a reader gets it.
fn value_text(m: &Measurement) -> String {
    if m.text.is_some() {
        return read_text(m);
    }
    let unit = words::unit(&m.characteristic);
    let (value, u) = with_uncertainty(m.value, m.uncertainty, doc::coverage(m));
    let mut out = value;
    if let Some(u) = u {
        out = format!("{out} ± {u}");
    }
    join_unit(out, unit)
}

fn join_unit(value: String, unit: &str) -> String {
    if unit.is_empty() {
        value
    } else {
        format!("{value}\u{a0}{unit}")
    }
}

/// What a mark reads.
fn read_text(m: &Measurement) -> String {
    match m.text.as_deref() {
        None | Some("") => "nothing read".into(),
        Some(text) => format!("reads “{text}”"),
    }
}

/// What stands in the column of values.
fn value_cell(m: &Measurement, value: String) -> String {
    if m.text.is_some() {
        read_text(m)
    } else {
        value
    }
}

/// The limit in words. A text has none: it is as ordered, or is not.
fn limit_text(m: &Measurement) -> String {
    if m.text.is_some() {
        return String::new();
    }
    let text = limits(m.lower, m.upper);
    if text.is_empty() {
        text
    } else {
        join_unit(text, words::unit(&m.characteristic))
    }
}

/// What the bar of a row shows; none where a bar says nothing: of texts, and of what is there or not.
fn bar_of(doc: &Doc, i: usize) -> Option<Bar> {
    let m = &doc.report.measurements[i];
    if doc::is_yes_no(m) {
        return None;
    }
    Some(Bar {
        value: m.value,
        expanded: doc::expanded(m),
        lower: m.lower,
        upper: m.upper,
        status: m.status,
        guard: doc::guard(m),
    })
}

fn bar(doc: &Doc, i: usize) -> Markup {
    bar_of(doc, i).map_or_else(|| html! {}, |b| b.svg(None))
}

/// One range for the bars of a characteristic under the same limits, so that they can be compared down a table.
fn ranges(doc: &Doc, rows: &[usize]) -> BTreeMap<(String, String), (f64, f64)> {
    let mut out: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
    for i in rows {
        if let Some((lo, hi)) = bar_of(doc, *i).and_then(|b| b.range()) {
            let range = out.entry(bar_key(&doc.report.measurements[*i])).or_insert((lo, hi));
            *range = (range.0.min(lo), range.1.max(hi));
        }
    }
    out
}

fn bar_key(m: &Measurement) -> (String, String) {
    (m.characteristic.clone(), limits(m.lower, m.upper))
}

fn reasons(doc: &Doc) -> Markup {
    let r = &doc.report;
    let why = doc::why(r);
    let fails = r.frames.iter().filter(|f| f.error.is_some()).count();
    html! {
        section aria-labelledby="why" {
            h2 #why { "Verdict and what to do" }
            p.lead { (doc::advice(r)) }
            @if !why.issues.is_empty() || !why.others.is_empty() || !r.not_assessed.is_empty() {
                ol.why {
                    @for issue in &why.issues { (issue_item(doc, issue)) }
                    @for (reason, rows) in unseen(&r.not_assessed) {
                        li.review {
                            h3 { "Not assessed: " (rows.iter().map(|n| where_of(n)).collect::<Vec<_>>().join("; ")) }
                            p.rows { (reason) }
                            p.do { (words::of(&rows[0].characteristic).unseen) }
                        }
                    }
                    @for other in &why.others {
                        li.review {
                            h3 { (other) }
                            @if fails > 0 { p.do { "Take the frame again and inspect the piece again." } }
                        }
                    }
                }
            }
            @if r.reasons.len() > 1 {
                details {
                    summary { "All " (r.reasons.len()) " reasons as the report gives them" }
                    ol.note { @for reason in &r.reasons { li { (reason) } } }
                }
            }
        }
    }
}

/// What was not assessed, by the reason it was not and by what is done about it.
fn unseen(rows: &[NotAssessed]) -> Vec<(&str, Vec<&NotAssessed>)> {
    let mut out: Vec<(&str, Vec<&NotAssessed>)> = Vec::new();
    for n in rows {
        let todo = words::of(&n.characteristic).unseen;
        let group =
            out.iter_mut().find(|(reason, g)| *reason == n.reason && words::of(&g[0].characteristic).unseen == todo);
        match group {
            Some((_, g)) => g.push(n),
            None => out.push((&n.reason, vec![n])),
        }
    }
    out
}

fn where_of(n: &NotAssessed) -> String {
    let title = words::of(&n.characteristic).title;
    match &n.view {
        Some(view) => format!("{title} (view {view})"),
        None => title,
    }
}

fn issue_item(doc: &Doc, issue: &Issue) -> Markup {
    let r = &doc.report;
    let w = words::of(&issue.characteristic);
    let first = &r.measurements[issue.rows[0]];
    let failed = issue.status == Status::Fail;
    let presence = doc::is_yes_no(first);
    let head = match (failed, presence) {
        (true, true) => format!("{}: no", w.title),
        (true, false) => format!("{}: outside the limit ({})", w.title, limit_text(first)),
        (false, true) => format!("{}: not sure", w.title),
        (false, false) if doc::is_beyond(first) => {
            format!("{}: beyond the limit, but in doubt ({})", w.title, limit_text(first))
        }
        (false, false) => format!("{}: too close to the limit to tell ({})", w.title, limit_text(first)),
    };
    let several_views = r.measurements.iter().any(|m| m.view != first.view && !m.view.is_empty());
    let one = |i: &usize| {
        let m = &r.measurements[*i];
        let name = if several_views && !m.view.is_empty() && m.view != m.feature {
            format!("{} ({})", m.feature, m.view)
        } else {
            m.feature.clone()
        };
        if presence && m.text.is_none() {
            name
        } else {
            format!("{name} {}", value_text(m))
        }
    };
    let named: Vec<String> = issue.rows.iter().take(NAMED).map(one).collect();
    let more = issue.rows.len().saturating_sub(NAMED);
    html! {
        li class=(if failed { "fail" } else { "review" }) {
            h3 { (status_badge(issue.status, true)) " " (head) }
            p.rows {
                (named.join(" · "))
                @if more > 0 { " · and " (more) " more" }
            }
            @for (note, features) in &issue.notes {
                p.rows { (features.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ")) ": " (note) }
            }
            p.do { (if failed { w.outside } else { w.doubt }) }
        }
    }
}

fn pictures(extras: &Extras) -> Markup {
    if extras.pictures.is_empty() && extras.notes.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="pictures" {
            h2 #pictures { "Pictures" }
            @if !extras.pictures.is_empty() {
                div.pics {
                    @for (file, picture) in &extras.pictures {
                        figure {
                            img src=(picture.uri) width=(picture.width) height=(picture.height)
                                alt={ "Frame " (file) " with what was located and found drawn on it" };
                            figcaption { (file) @if let Some(f) = extras.frames.get(file) { ", view " (f.view) ", light " (f.light) } }
                        }
                    }
                }
                ul.key {
                    li { i style="border-color:#ff4038" {} "fails" }
                    li { i style="border-color:#ffb020" {} "a person decides" }
                    li { i style="border-color:#28a048" {} "stone that passes" }
                    li { i style="border-color:#96b2cd" {} "breaks no limit" }
                    li { i style="border-color:#00d7eb" {} "outline as located" }
                    li { "White arrow: a stone's offset, ten times as long" }
                }
            }
            @for note in &extras.notes { p.note { (note) } }
        }
    }
}

/// The findings' order on the page: the worst first, then the surest.
fn by_weight(findings: &[Finding]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..findings.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&findings[*a], &findings[*b]);
        rank(b.status).cmp(&rank(a.status)).then(b.confidence.total_cmp(&a.confidence))
    });
    order
}

/// Indices of the findings that get close-ups, where no more than `most` do.
pub fn with_close_ups(report: &Report, most: usize) -> Vec<usize> {
    let mut order = by_weight(&report.findings);
    order.truncate(most);
    order
}

fn findings(doc: &Doc, extras: &Extras) -> Markup {
    let r = &doc.report;
    let order = by_weight(&r.findings);
    let (open, folded) = order.split_at(order.len().min(OPEN_ROWS));
    let table = |rows: &[usize]| {
        html! {
            div.wrap {
                table.find {
                    thead { tr {
                        th scope="col" { "Close-up" } th scope="col" { "Finding" } th scope="col" { "Size, against its limit" }
                        th scope="col" { "Place" } th.n scope="col" { "Sure" } th scope="col" { "Status" }
                    } }
                    tbody { @for i in rows { (finding_row(doc, extras, *i)) } }
                }
            }
        }
    };
    html! {
        section aria-labelledby="findings" {
            h2 #findings { "Findings " small { (count(r.findings.len(), "finding", "findings")) } }
            @if r.findings.is_empty() {
                p { "Nothing was found on the piece." }
            } @else {
                (table(open))
                @if !folded.is_empty() {
                    details { summary { (folded.len()) " more findings" } (table(folded)) }
                }
            }
        }
    }
}

fn finding_row(doc: &Doc, extras: &Extras, i: usize) -> Markup {
    let f = &doc.report.findings[i];
    let all = doc.report.measurements.iter().filter(|m| m.feature == f.feature && m.view == f.view);
    // Of a stone everything is measured; here stands what makes it a finding.
    let limited: Vec<&Measurement> =
        all.clone().filter(|m| is_limited(m) && m.status >= Status::Review && m.status == f.status).collect();
    let own: Vec<&Measurement> = if limited.is_empty() { all.take(4).collect() } else { limited };
    let close: &[(&str, Embedded)] = extras.close_ups.get(&i).map_or(&[], Vec::as_slice);
    html! {
        tr {
            td.crop {
                @for (what, picture) in close {
                    img src=(picture.uri) width=(picture.width) height=(picture.height)
                        alt={ "Close-up of " (f.feature) ", " (what) };
                }
                @if close.is_empty() { span.note { "–" } }
            }
            th scope="row" { (words::finding(f.kind.as_str())) br; span.note { (f.feature) ", view " (f.view) } }
            td {
                @for m in &own {
                    (words::of(&m.characteristic).title) ": " (value_text(m))
                    @if m.text.is_some() { span.note { @if m.value > 0.5 { " (as ordered)" } @else { " (not as ordered)" } } }
                    @else if is_limited(m) { span.note { " (" (limit_text(m)) ")" } }
                    br;
                }
            }
            td.u {
                @if let (Some(x), Some(y)) = (f.x_mm, f.y_mm) { "x " (plain(x)) ", y " (plain(y)) " mm" br; }
                span.note { "pixel " (plain(f.x_px.round())) ", " (plain(f.y_px.round())) br; (f.found_by.join(", ")) }
            }
            td.n { (plain((100.0 * f.confidence).round())) " %" }
            td.t { (status_badge(f.status, f.status != Status::Pass || own.iter().any(|m| is_limited(m)))) }
        }
    }
}

/// One line a characteristic: how many values, the worst of them beside the limit.
fn summary(doc: &Doc) -> Markup {
    let r = &doc.report;
    let mut keys: Vec<(&str, String)> = Vec::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, m) in r.measurements.iter().enumerate() {
        let key = (m.characteristic.as_str(), limits(m.lower, m.upper));
        match keys.iter().position(|k| *k == key) {
            Some(k) => groups[k].push(i),
            None => {
                keys.push(key);
                groups.push(vec![i]);
            }
        }
    }
    if groups.is_empty() {
        return html! {};
    }
    // What is limited first; the worst first.
    groups.sort_by_key(|g| {
        let worst = g.iter().map(|i| rank(r.measurements[*i].status)).max().unwrap_or(0);
        (!is_limited(&r.measurements[g[0]]), std::cmp::Reverse(worst))
    });
    html! {
        section aria-labelledby="bychar" {
            h2 #bychar { "By characteristic " small { "the value that stands worst against its limit, its uncertainty weighed in" } }
            div.wrap { table {
                thead { tr {
                    th scope="col" { "Characteristic" } th.n scope="col" { "Values" } th scope="col" { "Worst at" } th.n scope="col" { "Value" } th scope="col" { "± U" } th scope="col" { "Unit" }
                    th scope="col" { "Limit" } th scope="col" { "Against the limit" } th.n scope="col" { "Fail" } th.n scope="col" { "Review" } th.n scope="col" { "Pass" }
                } }
                tbody { @for g in &groups {
                    @let worst = worst_of(r, g);
                    @let m = &r.measurements[worst];
                    @let (value, u) = with_uncertainty(m.value, m.uncertainty, doc::coverage(m));
                    @let n = |s: Status| g.iter().filter(|i| r.measurements[**i].status == s).count();
                    @let none = g.len() == 1 && is_none_seen(m);
                    tr {
                        th scope="row" { (words::of(&m.characteristic).title) }
                        td.n { (if none { 0 } else { g.len() }) }
                        td { (if none { "none seen" } else { m.feature.as_str() }) }
                        td.n { (value_cell(m, value)) }
                        td.u { @if let Some(u) = u { "± " (u) } } td.u { (words::unit(&m.characteristic)) }
                        td.t { (limit_text(m)) }
                        td.c { (bar(doc, worst)) }
                        @if is_limited(m) {
                            td.n { @let k = n(Status::Fail); @if k > 0 { b { (k) } } @else { "0" } }
                            td.n { @let k = n(Status::Review); @if k > 0 { b { (k) } } @else { "0" } }
                            td.n { (n(Status::Pass)) }
                        } @else {
                            td.n colspan="3" { span.note { "no limit" } }
                        }
                    }
                } }
            } }
        }
    }
}

/// How far a value stands beyond its nearest limit, in standard uncertainties; less than nothing inside.
fn beyond(m: &Measurement) -> f64 {
    let over = m.upper.map(|b| m.value - b).into_iter().chain(m.lower.map(|b| b - m.value));
    let over = over.fold(f64::NEG_INFINITY, f64::max);
    // Without an uncertainty the sign alone counts: far beyond or far inside.
    if m.uncertainty > 0.0 {
        over / m.uncertainty
    } else {
        over.signum() * f64::MAX
    }
}

/// The row that stands worst: the highest status, then the farthest beyond its limit, or the largest where nothing limits it.
fn worst_of(r: &Report, rows: &[usize]) -> usize {
    let key = |i: usize| {
        let m = &r.measurements[i];
        (rank(m.status), if is_limited(m) { beyond(m) } else { m.value })
    };
    let mut worst = rows[0];
    for i in rows {
        let (a, b) = (key(*i), key(worst));
        if a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).is_gt() {
            worst = *i;
        }
    }
    worst
}

fn measurements(doc: &Doc, rows: &Rows) -> Markup {
    let r = &doc.report;
    let bad = rows.limited.iter().filter(|i| r.measurements[**i].status != Status::Pass).count();
    let (bad, good) = rows.limited.split_at(bad);
    let (open, rest) = bad.split_at(bad.len().min(OPEN_ROWS));
    let total = rows.limited.len() + rows.free.len();
    html! {
        section aria-labelledby="values" {
            h2 #values { "Values " small { (count(total, "value", "values")) ", the worst first" } }
            @if open.is_empty() {
                p { "No value of the frames is outside its limit or too close to it." }
            } @else {
                (value_table(doc, open))
            }
            @if !rest.is_empty() {
                details { summary { (rest.len()) " more outside their limit or too close to it" } (value_table(doc, rest)) }
            }
            @if !good.is_empty() {
                details { summary { (count(good.len(), "value", "values")) " inside the limits" } (value_table(doc, good)) }
            }
            @if !rows.free.is_empty() {
                details { summary { (count(rows.free.len(), "value", "values")) " without a limit" } (value_table(doc, &rows.free)) }
            }
            @if !rest.is_empty() || !good.is_empty() || !rows.free.is_empty() {
                p.note { "Folded rows are printed where they are opened first." }
            }
        }
    }
}

/// The rule of a row that is not decided by the guard band with k = 2.
fn rule_note(m: &Measurement) -> Markup {
    html! { @if let Some(rule) = doc::rule(m) { span.note { " (" (rule) ")" } } }
}

fn value_table(doc: &Doc, rows: &[usize]) -> Markup {
    let r = &doc.report;
    let limited = rows.iter().any(|i| is_limited(&r.measurements[*i]));
    let ranges = ranges(doc, rows);
    html! {
        div.wrap { table {
            thead { tr {
                th scope="col" { "Feature" } th scope="col" { "View" } th scope="col" { "Characteristic" } th.n scope="col" { "Value" } th scope="col" { "± U" } th scope="col" { "Unit" }
                @if limited { th scope="col" { "Limit" } th scope="col" { "Against the limit" } th scope="col" { "Status" } }
            } }
            tbody { @for i in rows {
                @let m = &r.measurements[*i];
                @let (value, u) = with_uncertainty(m.value, m.uncertainty, doc::coverage(m));
                tr {
                    th scope="row" { (if is_none_seen(m) { "none seen" } else { m.feature.as_str() }) }
                    td { (m.view) }
                    td { (words::of(&m.characteristic).title) (rule_note(m)) }
                    td.n { (value_cell(m, value)) }
                    td.u { @if let Some(u) = u { "± " (u) } } td.u { (words::unit(&m.characteristic)) }
                    @if limited {
                        td.t { (limit_text(m)) }
                        td.c { @if let Some(b) = bar_of(doc, *i) { (b.svg(ranges.get(&bar_key(m)).copied())) } }
                        td.t { (status_badge(m.status, is_limited(m))) }
                    }
                }
            } }
        } }
    }
}

/// What stands in a column of the table of stones.
const STONE_COLUMNS: [&str; 6] =
    ["stone.diameter_mm", "stone.offset_mm", "stone.tilt_deg", "stone.chip_mm", "stone.play_mm", "stone.carat"];

fn stones(r: &Report) -> Markup {
    // Every stone that is measured or was seen, in the report's order.
    let mut ids: Vec<(&str, &str)> = Vec::new();
    let seen = r.stones.iter().map(|s| (s.view.as_str(), s.id.as_str()));
    let measured = r.measurements.iter().filter(|m| m.characteristic == "stone.present");
    for id in measured.map(|m| (m.view.as_str(), m.feature.as_str())).chain(seen) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return html! {};
    }
    let row = |characteristic: &str, view: &str, feature: &str| {
        r.measurements.iter().find(|m| m.characteristic == characteristic && m.view == view && m.feature == feature)
    };
    let worst = |view: &str, id: &str| {
        let prong = format!("{id}.p");
        let of =
            r.measurements.iter().filter(|m| m.view == view && (m.feature == id || m.feature.starts_with(&prong)));
        of.filter(|m| is_limited(m)).map(|m| m.status).max_by_key(|s| rank(*s))
    };
    let mut ids: Vec<(&str, &str, Option<Status>)> = ids.into_iter().map(|(v, id)| (v, id, worst(v, id))).collect();
    ids.sort_by_key(|x| std::cmp::Reverse(x.2.map_or(0, rank)));
    let columns: Vec<&str> =
        STONE_COLUMNS.into_iter().filter(|c| r.measurements.iter().any(|m| m.characteristic == *c)).collect();
    let (open, folded) = ids.split_at(ids.len().min(OPEN_ROWS));
    let table = |rows: &[(&str, &str, Option<Status>)]| {
        html! {
            div.wrap { table {
                thead { tr {
                    th scope="col" { "Stone" } th scope="col" { "View" } th.n scope="col" { "x, y (mm)" }
                    @for c in &columns { th.n scope="col" { (short_title(c)) " (" (words::unit(c)) ")" } }
                    th.n scope="col" { "Prongs" } th scope="col" { "Status" }
                } }
                tbody { @for (view, id, status) in rows {
                    @let s = r.stones.iter().find(|s| s.id == *id && s.view == *view);
                    @let gone = row("stone.present", view, id).is_some_and(|m| m.value == 0.0);
                    tr {
                        th scope="row" { (id) @if gone { span.note { " missing" } } }
                        td { (view) }
                        td.n { @if let Some(s) = s { (plain(round_to(s.x_mm, 2))) ", " (plain(round_to(s.y_mm, 2))) } @else { "–" } }
                        @for c in &columns {
                            td.n { @if let Some(m) = row(c, view, id) {
                                @let (v, u) = with_uncertainty(m.value, m.uncertainty, doc::coverage(m));
                                @if m.status >= Status::Review { b { (v) } } @else { (v) }
                                @if let Some(u) = u { span.note { " ± " (u) } }
                            } @else { "–" } }
                        }
                        td.n { (prongs(r, view, id)) }
                        td.t { @if let Some(s) = status { (status_badge(*s, true)) } @else { (status_badge(Status::Pass, false)) } }
                    }
                } }
            } }
        }
    };
    html! {
        section aria-labelledby="stones" {
            h2 #stones { "Stones " small { (count(ids.len(), "stone", "stones")) "; bold is outside a limit or too close to it" } }
            (table(open))
            @if !folded.is_empty() {
                details { summary { (folded.len()) " more stones" } (table(folded)) }
            }
        }
    }
}

fn short_title(characteristic: &str) -> &'static str {
    match characteristic {
        "stone.diameter_mm" => "Diameter",
        "stone.offset_mm" => "Offset",
        "stone.tilt_deg" => "Tilt",
        "stone.chip_mm" => "Chip",
        "stone.play_mm" => "Play",
        _ => "Est. weight",
    }
}

/// Whole prongs of a stone's, such as `3 of 4`.
fn prongs(r: &Report, view: &str, id: &str) -> String {
    let prefix = format!("{id}.p");
    let of =
        |m: &&Measurement| m.characteristic == "prong.present" && m.view == view && m.feature.starts_with(&prefix);
    let all = r.measurements.iter().filter(of).count();
    let whole = r.measurements.iter().filter(of).filter(|m| m.value > 0.5).count();
    if all == 0 {
        "–".into()
    } else {
        format!("{whole} of {all}")
    }
}

fn readings(doc: &Doc) -> Markup {
    let r = &doc.report;
    let rows: Vec<usize> = (0..r.measurements.len()).filter(|i| is_reading(&r.measurements[*i])).collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="readings" {
            h2 #readings { "Readings of other instruments" }
            div.wrap { table {
                thead { tr {
                    th scope="col" { "Characteristic" } th scope="col" { "Instrument" } th.n scope="col" { "Value" } th scope="col" { "± U" } th scope="col" { "Unit" }
                    th scope="col" { "Limit" } th scope="col" { "Against the limit" } th scope="col" { "Status" }
                } }
                tbody { @for i in &rows {
                    @let m = &r.measurements[*i];
                    @let (value, u) = with_uncertainty(m.value, m.uncertainty, doc::coverage(m));
                    tr {
                        th scope="row" { (words::of(&m.characteristic).title) (rule_note(m)) }
                        td { (m.feature) }
                        td.n { (value_cell(m, value)) }
                        td.u { @if let Some(u) = u { "± " (u) } } td.u { (words::unit(&m.characteristic)) }
                        td.t { (limit_text(m)) }
                        td.c { (bar(doc, *i)) }
                        td.t { (status_badge(m.status, is_limited(m))) }
                    }
                } }
            } }
        }
    }
}

fn not_assessed(r: &Report) -> Markup {
    html! {
        section aria-labelledby="unseen" {
            h2 #unseen { "Not assessed" }
            @if r.not_assessed.is_empty() {
                p { "Everything that the spec limits was assessed." }
            } @else {
                div.wrap { table {
                    thead { tr { th scope="col" { "Characteristic" } th scope="col" { "View" } th scope="col" { "Why" } th scope="col" { "What to do" } } }
                    tbody { @for n in &r.not_assessed {
                        @let w = words::of(&n.characteristic);
                        tr {
                            th scope="row" { (w.title) }
                            td { (n.view.as_deref().unwrap_or("whole piece")) }
                            td { (n.reason) }
                            td { (w.unseen) }
                        }
                    } }
                } }
            }
        }
    }
}

fn frames(r: &Report, extras: &Extras) -> Markup {
    html! {
        section aria-labelledby="frames" {
            h2 #frames { "Frames" }
            div.wrap { table {
                thead { tr { th scope="col" { "File" } th scope="col" { "Taken" } th scope="col" { "Place of the piece" } th scope="col" { "sha256" } } }
                tbody { @for f in &r.frames {
                    tr {
                        th scope="row" { (f.file) }
                        td { (taken(f, extras.frames.get(&f.file))) }
                        td.u {
                            @if let Some(p) = &f.pose {
                                (plain(round_to(p.rotation_deg, 3))) "° · " (plain(round_to(p.dx_mm, 3))) ", " (plain(round_to(p.dy_mm, 3))) " mm"
                            } @else { "not found" }
                            @if let Some(e) = &f.error { br; b { (e) } }
                        }
                        td { @if let Some(h) = &f.sha256 { code { (h) } } @else { "not read" } }
                    }
                } }
            } }
        }
    }
}

/// How a frame was taken, in one line: by its report, and what the manifest says besides.
fn taken(f: &FrameRow, manifest: Option<&Frame>) -> String {
    let mut parts: Vec<String> = manifest.map(|m| format!("view {}", m.view)).into_iter().collect();
    let light = Some(&f.light).filter(|l| !l.is_empty()).or(manifest.map(|m| &m.light));
    parts.extend(light.cloned());
    let of_manifest = || manifest.and_then(|m| Some((m.um_per_px?, m.um_per_px_u)));
    match f.um_per_px.map(|s| (s, f.um_per_px_u)).or_else(of_manifest) {
        Some((s, Some(u))) => parts.push(format!("{} ± {} µm/px (k = 1)", plain(s), plain(u))),
        Some((s, None)) => parts.push(format!("{} µm/px", plain(s))),
        None if f.sha256.is_some() => parts.push("no scale".into()),
        None => {}
    }
    parts.extend(f.calibration.as_ref().map(|c| format!("calibration {} (sha256 {})", c.file, c.sha256)));
    if let Some(m) = manifest {
        parts.extend(m.exposure_us.map(|e| format!("{} µs", plain(e))));
        parts.extend(m.camera_serial.as_ref().map(|c| format!("camera {c}")));
        parts.extend(m.captured_at.clone());
    }
    parts.join(", ")
}

fn provenance(doc: &Doc, extras: &Extras) -> Markup {
    let p = &doc.report.provenance;
    html! {
        section aria-labelledby="made" {
            h2 #made { "What made this report" }
            dl.pairs {
                dt { "Program" } dd { (p.program) }
                dt { "Report" } dd { code { "sha256 " (doc.sha256) } }
                dt { "Spec" } dd { code { "sha256 " (p.spec_sha256) } }
                dt { "Settings" } dd { code { "sha256 " (p.settings_sha256) } }
                @for m in &p.models { dt { (if m.name.ends_with(".json") { "Calibration " } else { "Model " }) (m.name) } dd { code { "sha256 " (m.sha256) } } }
                @if p.models.is_empty() { dt { "Models" } dd { "none" } }
                @for e in &extras.errors { dt { "Error of the run" } dd { (e) } }
            }
        }
    }
}

/// What a lot counts a piece under: types of findings and characteristics that are out of limits or in doubt.
pub(super) fn kinds(r: &Report) -> BTreeMap<String, Status> {
    fn add(out: &mut BTreeMap<String, Status>, name: String, status: Status) {
        let s = out.entry(name).or_insert(status);
        *s = (*s).max(status);
    }
    let mut out: BTreeMap<String, Status> = BTreeMap::new();
    for m in r.measurements.iter().filter(|m| m.status >= Status::Review) {
        add(&mut out, words::of(&m.characteristic).title, m.status);
    }
    // A finding without a row of its own.
    for f in r.findings.iter().filter(|f| f.status >= Status::Review) {
        let has_row =
            r.measurements.iter().any(|m| m.feature == f.feature && m.view == f.view && m.status >= Status::Review);
        if !has_row {
            add(&mut out, words::finding(f.kind.as_str()), f.status);
        }
    }
    for n in &r.not_assessed {
        add(&mut out, format!("{}, not assessed", words::of(&n.characteristic).title), Status::Review);
    }
    if r.verdict == Verdict::Review && out.is_empty() {
        add(&mut out, "Frames or piece not usable".into(), Status::Review);
    }
    out
}
