//! Limits against measurements: the status of every row, the verdict and its reasons. Knows no pixels.
//!
//! The decision rule is ISO 14253-1 with a guard band on both sides, U = k u with k = 2 (ILAC-G8:09/2019): inside the
//! limit by at least U is a pass, outside by at least U a fail, and between a person decides. A spec may order another
//! coverage factor, simple acceptance, or shared risk ([`Rule`]).

mod outlook;
mod spun;
mod total;

pub use outlook::outlook;
pub use spun::spun;

use crate::inspect::{hallmark, prongs, ring, stones, surface};
use crate::inspect::{Feature, Value};
use crate::piece::{Piece, Reading};
use crate::report::{
    round_to, DecisionRow, Finding, FindingType, Measurement, NotAssessed, Status, StoneRow, Verdict,
};
use crate::spec::parse::unknown_characteristic;
use crate::spec::{Limit, Rule, Spec, View};

/// Coverage factor of the guard band, where a limit names none.
pub const K: f64 = 2.0;

/// The width of the guard band about a limit: U = k u, or 0 where its rule lets the value alone decide. What has no value of its
/// own (a yes or no) always keeps its band.
fn guard_band(uncertainty: f64, limit: &Limit) -> f64 {
    let least = if limit.is_stepped() { K } else { 0.0 };
    let u = limit.coverage.unwrap_or(K).max(least) * uncertainty;
    let rule = if limit.takes_rule() { limit.rule.unwrap_or_default() } else { Rule::GuardBand };
    rule.band(u, limit.shared_risk_u())
}

/// The status of a value with a standard uncertainty against a limit, by the limit's decision rule.
pub fn status(value: f64, uncertainty: f64, limit: &Limit) -> Status {
    if !value.is_finite() || !uncertainty.is_finite() {
        return Status::NotAssessed;
    }
    if limit.characteristic == ring::ISO && uncertainty > 0.0 && value.fract() == 0.5 {
        // It is one of the two sizes beside it.
        let [low, high] = [value - 0.5, value + 0.5].map(|v| status(v, 0.0, limit));
        return if low == high { low } else { Status::Review };
    }
    if limit.characteristic == surface::PORE_COUNT && limit.upper.is_some_and(|most| value > most) {
        // There may be more than were seen, not fewer.
        return Status::Fail;
    }
    within(value, guard_band(uncertainty, limit), limit)
}

/// The status of a value that a guard band so wide lies about.
fn within(value: f64, u: f64, limit: &Limit) -> Status {
    let one = |bound: Option<f64>, excess: fn(f64, f64) -> f64| match bound {
        None => Status::Pass,
        Some(b) => {
            let over = excess(value, b);
            // Decimal numbers have no exact halves: what lies U inside by its digits lies so.
            let slack = if u > 0.0 { 1e-12 * value.abs().max(b.abs()) } else { 0.0 };
            // A value on the limit conforms; with an uncertainty of nothing it must not be called a fail.
            if over <= slack - u {
                Status::Pass
            } else if over >= u - slack && over > 0.0 {
                Status::Fail
            } else {
                Status::Review
            }
        }
    };
    one(limit.upper, |v, b| v - b).max(one(limit.lower, |v, b| b - v))
}

/// Probability that a value with a normal uncertainty is outside a limit: what orders the doubtful, the likeliest first.
pub fn outside(value: f64, uncertainty: f64, limit: &Limit) -> f64 {
    let beyond =
        |over: f64| if uncertainty > 0.0 { normal(over / uncertainty) } else { f64::from(u8::from(over > 0.0)) };
    let upper = limit.upper.map_or(0.0, |b| beyond(value - b));
    let lower = limit.lower.map_or(0.0, |b| beyond(b - value));
    (upper + lower).min(1.0)
}

/// Distribution function of the standard normal, to 2e-4 (a logistic of a cubic, after Bowling et al. 2009).
fn normal(z: f64) -> f64 {
    let t = z.abs();
    let tail = 1.0 / (1.0 + (1.5976 * t + 0.070_566 * t.powi(3)).exp());
    if z > 0.0 {
        1.0 - tail
    } else {
        tail
    }
}

/// What was seen in one view, over all its frames.
#[derive(Debug, Clone, Default)]
pub struct ViewAnswer {
    /// The view's name.
    pub view: String,
    /// Features, each with the frame that shows it best.
    pub features: Vec<(String, Feature)>,
    /// Nominal stones as seen.
    pub stones: Vec<StoneRow>,
    /// Characteristics that were assessed.
    pub assessed: Vec<&'static str>,
    /// Characteristics that were not, and why.
    pub not_assessed: Vec<(String, String)>,
    /// Piece coordinates of a pixel in a frame of the view.
    pub places: Vec<Option<[f64; 2]>>,
    /// What is written on a feature: frame, the feature's name, the text.
    pub texts: Vec<(String, String, String)>,
}

/// The judged part of a report.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Its reasons, worst first.
    pub reasons: Vec<String>,
    /// The rows.
    pub measurements: Vec<Measurement>,
    /// What was seen.
    pub findings: Vec<Finding>,
    /// What the spec asks for and could not be assessed.
    pub not_assessed: Vec<NotAssessed>,
}

/// Judges a piece. `troubles` are frames that could not be read or views that were not found: each makes a review.
pub fn judge(spec: &Spec, piece: &Piece, views: &[ViewAnswer], troubles: &[String]) -> Judgement {
    let mut measurements = Vec::new();
    let mut findings = Vec::new();
    let mut not_assessed = Vec::new();
    let mut failed = Vec::new();
    let mut doubtful = Vec::new();
    let mut likeliest: Vec<Doubt> = Vec::new();
    for view in views {
        let of_view = findings.len();
        let mut unmarked: Vec<([f64; 2], f64, Status)> = Vec::new();
        for ((file, feature), place) in view.features.iter().zip(&view.places) {
            let text = view.texts.iter().find(|t| t.0 == *file && t.1 == feature.name).map(|t| t.2.clone());
            // What carries no value but a doubt is shown as a person's matter.
            let sound = crate::inspect::opinion::is_sound(feature.kind, &feature.name);
            let shown = feature.values.is_empty() && feature.doubt.is_some() && !sound;
            let mut worst = if shown { Status::Review } else { Status::Pass };
            let mut broken = None;
            let mut likely = 0.0f64;
            let mut seen = 0.0f64;
            // What is wrong with it, and which of it nothing was seen of.
            let mut why: Vec<(Status, String)> = Vec::new();
            let mut unseen = None;
            // Judged as they are reported, so that a reader comes to the same.
            for v in feature.values.iter().map(as_reported) {
                let limit = spec.limit(v.characteristic, &view.view);
                let mut s = limit.map_or(Status::Pass, |l| status(v.value, v.uncertainty, l));
                if feature.doubt.is_some() {
                    // What something was seen on passes by no rule, where what was seen may break the limit.
                    let reached = |l: &Limit| {
                        feature.nominal
                            && s == Status::Pass
                            && l.takes_rule()
                            && within(v.value, K * v.uncertainty, l) > Status::Pass
                    };
                    if s == Status::Fail || limit.is_some_and(reached) {
                        s = Status::Review;
                    }
                }
                if let Some(l) = limit {
                    let beyond = outside(v.value, v.uncertainty, l);
                    likely = likely.max(beyond);
                    // What was looked for and not seen (0) may still be there, but there is no place to show.
                    if v.value != 0.0 {
                        seen = seen.max(beyond);
                    }
                }
                if s > worst {
                    worst = s;
                    broken = Some(v.characteristic);
                }
                if let (Some(l), true) = (limit, s > Status::Pass) {
                    let nothing = feature.nominal && feature.doubt.is_none() && v.value == 0.0 && l.upper.is_some();
                    if why.iter().all(|w| s > w.0) {
                        unseen = nothing.then(|| (v.characteristic, view.view.clone()));
                    }
                    let told = match &text {
                        Some(t) => reads(t, v.uncertainty > 0.0),
                        None => against(v.characteristic, v.value, v.uncertainty, l),
                    };
                    why.push((s, told));
                }
                let row = row(v.characteristic, &feature.name, &view.view, v.value, v.uncertainty, limit, s);
                measurements.push(Measurement { text: text.clone(), ..row });
            }
            // A part that the spec names is a finding where it breaks a limit; its measures are rows in any case.
            let shown = feature.nominal && (worst == Status::Fail || seen >= LIKELY);
            let kind = feature.kind.or_else(|| broken.filter(|_| shown).and_then(finding_of));
            if let Some(kind) = kind {
                findings.push(Finding {
                    kind,
                    view: view.view.clone(),
                    file: file.clone(),
                    feature: feature.name.clone(),
                    x_mm: place.map(|p| round_to(p[0], 4)),
                    y_mm: place.map(|p| round_to(p[1], 4)),
                    x_px: round_to(feature.x_px, 2),
                    y_px: round_to(feature.y_px, 2),
                    radius_px: round_to(feature.radius_px, 2),
                    // Of a measured part: how likely it breaks the limit.
                    confidence: round_to(if feature.kind.is_none() { likely } else { feature.confidence }, 3),
                    found_by: feature.found_by.clone(),
                    status: worst,
                    text,
                    opinion: feature.opinion.map(|o| o.row()),
                    outline_px: feature.outline_px.iter().map(|p| [round_to(p[0], 1), round_to(p[1], 1)]).collect(),
                });
            }
            if let (true, Some(at), Some(v)) = (feature.name.contains(surface::AS_PIT), place, feature.values.first())
            {
                unmarked.push((*at, v.value, worst));
            }
            // All that is as bad as the worst of it.
            if let Some(s) = why.iter().map(|w| w.0).max() {
                let mut told: Vec<String> = why.into_iter().filter(|w| w.0 == s).map(|w| w.1).collect();
                told.dedup();
                // A frame that shows no part of its kind is one reason for all of them.
                let spoiled = feature.doubt.as_ref().filter(|_| stones::is_spoiled(feature));
                let of_frame = spoiled.zip(feature.values.first());
                unseen = unseen
                    .or(of_frame.map(|(doubt, v)| (v.characteristic, format!("{}: {doubt}", view.view))))
                    .filter(|_| told.len() == 1);
                told.extend(feature.doubt.clone());
                let text = told.join("; ");
                let subject = match kind {
                    Some(k) => format!("{} {} in view {}: {text}", k.as_str(), feature.name, view.view),
                    None => format!("{} in view {}: {text}", feature.name, view.view),
                };
                if s == Status::Fail {
                    failed.push(subject);
                } else {
                    likeliest.push(Doubt { likely, unseen, part: feature.name.clone(), subject });
                }
            }
        }
        // What a stain or a scratch may be beside that has no mark of its own: the picture shows it on theirs.
        for (at, diameter, s) in unmarked {
            let lies_there = |f: &&mut Finding| {
                let d = f.x_mm.zip(f.y_mm).map(|(x, y)| (x - at[0]).hypot(y - at[1]));
                matches!(f.kind, FindingType::Stain | FindingType::WornPlating | FindingType::Scratch)
                    && d.is_some_and(|d| d < diameter)
            };
            if let Some(f) = findings[of_view..].iter_mut().find(lies_there) {
                f.status = f.status.max(s);
            }
        }
        // A characteristic that was looked for and of which nothing was seen: its largest value is 0.
        for c in &view.assessed {
            if !measurements.iter().any(|m: &Measurement| m.characteristic == *c && m.view == view.view) {
                let limit = spec.limit(c, &view.view);
                if limit.is_some() {
                    let s = limit.map_or(Status::Pass, |l| status(0.0, 0.0, l));
                    measurements.push(row(c, &view.view, &view.view, 0.0, 0.0, limit, s));
                }
            }
        }
    }
    // What is wrong with the frames, or with where the piece lies, explains what follows.
    doubtful.extend(troubles.iter().cloned());
    // Stable: what is alike stays in the order of the features.
    likeliest.sort_by(|a, b| b.likely.total_cmp(&a.likely));
    doubtful.extend(told_once(likeliest));
    for (row, limit) in total::rows(spec, views, &measurements) {
        if let (Some(l), true) = (limit, row.status > Status::Pass) {
            let text = against(&row.characteristic, row.value, row.uncertainty, l);
            let text = if row.view.is_empty() { text } else { format!("view {}: {text}", row.view) };
            if row.status == Status::Fail { &mut failed } else { &mut doubtful }.push(text);
        }
        measurements.push(row);
    }
    let mut counts: Counts = Counts::new();
    for r in &piece.readings {
        *counts.entry(r.of_what()).or_default() += 1;
    }
    for (k, r) in piece.readings.iter().enumerate() {
        if let Some(why) = unusable(r, &counts) {
            doubtful.push(format!("readings[{k}]: {why}"));
            continue;
        }
        // A reading is of the piece: it is held against a limit for all views, else against the strictest of those that name one.
        let u = r.uncertainty.unwrap_or(0.0);
        let judged = |l: &Limit| status(r.value, u, l);
        let of = || spec.limits.iter().filter(|l| l.characteristic == r.characteristic);
        let limit = of().find(|l| l.view.is_none()).or_else(|| of().max_by_key(|l| judged(l)));
        let s = limit.map_or(Status::Pass, judged);
        let feature = r.instrument.clone().unwrap_or_else(|| "reading".into());
        if let (Some(l), true) = (limit, s > Status::Pass) {
            let text = format!("{feature}: {}", against(&r.characteristic, r.value, u, l));
            if s == Status::Fail { &mut failed } else { &mut doubtful }.push(text);
        }
        measurements.push(Measurement {
            characteristic: r.characteristic.clone(),
            feature,
            view: String::new(),
            value: r.value,
            uncertainty: u,
            lower: limit.and_then(|l| l.lower),
            upper: limit.and_then(|l| l.upper),
            status: s,
            decision: limit.and_then(decision),
            text: None,
        });
    }
    for l in &spec.limits {
        not_assessed.extend(missing(l, spec, piece, views, &measurements));
    }
    not_assessed.sort();
    not_assessed.dedup();
    if spec.limits.is_empty() {
        doubtful.push("the spec sets no limit, so nothing was judged".into());
    }
    let rest = not_assessed.iter().map(|n| match &n.view {
        Some(v) => format!("not assessed: {} in view {v}: {}", n.characteristic, n.reason),
        None => format!("not assessed: {}: {}", n.characteristic, n.reason),
    });
    doubtful.extend(rest);
    let verdict = match (failed.is_empty(), doubtful.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Review,
        (true, true) => Verdict::Pass,
    };
    failed.append(&mut doubtful);
    Judgement { verdict, reasons: failed, measurements, findings, not_assessed }
}

/// How many readings there are of a characteristic by an instrument.
type Counts<'a> = std::collections::HashMap<(&'a str, Option<&'a str>), usize>;

/// Why one of a piece's readings does not count.
fn unusable(r: &Reading, counts: &Counts) -> Option<String> {
    if let Some(message) = unknown_characteristic(&r.characteristic) {
        return Some(message);
    }
    let twin = counts.get(&r.of_what()).is_some_and(|n| *n > 1);
    twin.then(|| format!("`{}` is there twice, of the same instrument: neither counts", r.characteristic))
}

/// What leaves a feature to a person.
struct Doubt {
    /// Probability that it breaks its limit.
    likely: f64,
    /// The characteristic and the view, where nothing was seen on a part and something small may still be there; where the frame is to blame, with why.
    unseen: Option<(&'static str, String)>,
    /// The feature's name.
    part: String,
    /// The reason.
    subject: String,
}

/// Most parts that a reason names beside its own.
const NAMED_ALIKE: usize = 8;

/// The reasons; what was not seen on one part and could still be there is told once for all parts of which the same holds.
fn told_once(doubts: Vec<Doubt>) -> Vec<String> {
    let mut out: Vec<(Doubt, Vec<String>)> = Vec::new();
    for d in doubts {
        match out.iter_mut().find(|(first, _)| d.unseen.is_some() && first.unseen == d.unseen) {
            Some((_, alike)) => alike.push(d.part),
            None => out.push((d, vec![])),
        }
    }
    let told = |(Doubt { subject, .. }, alike): (Doubt, Vec<String>)| match alike.len() {
        0 => subject,
        n if n <= NAMED_ALIKE => format!("{subject}; likewise {}", alike.join(", ")),
        n => format!("{subject}; likewise {} and {} more", alike[..NAMED_ALIKE].join(", "), n - NAMED_ALIKE),
    };
    out.into_iter().map(told).collect()
}

/// A part whose measure leaves it to a person becomes a finding from this probability of breaking its limit on: below, the row and
/// the reason say it, and the picture is left to what is likely.
const LIKELY: f64 = 0.25;

/// What a part of the spec is called that breaks a limit on a characteristic.
pub fn finding_of(characteristic: &str) -> Option<FindingType> {
    Some(match characteristic {
        hallmark::TEXT => FindingType::HallmarkMismatch,
        "stone.present" => FindingType::MissingStone,
        "stone.offset_mm" | "stone.gap_mm" => FindingType::OffsetStone,
        "stone.tilt_deg" => FindingType::TiltedStone,
        "stone.chip_mm" => FindingType::ChippedStone,
        "stone.play_mm" | "stone.play_deg" => FindingType::LooseStone,
        "prong.present" => FindingType::MissingProng,
        "stone.diameter_mm" | "stone.carat" | "prong.offset_mm" | "prong.coverage_pct" => FindingType::OutOfSize,
        c if c.starts_with("ring.") => FindingType::OutOfSize,
        _ => return None,
    })
}

/// The parts of a view that a characteristic is about: names of stones or of prongs.
fn parts(view: &View, characteristic: &str) -> Vec<String> {
    if characteristic.starts_with("stone.") {
        return view.stones.iter().map(|s| s.id.clone()).collect();
    }
    if characteristic.starts_with("prong.") {
        return view.stones.iter().flat_map(|s| (0..s.prongs.len()).map(|k| prongs::name(s, k))).collect();
    }
    vec![]
}

/// Whether a measure of a part means nothing because the part, or the stone a prong holds, is not there, and the spec has a limit
/// that says so.
fn is_gone(spec: &Spec, rows: &[Measurement], view: &str, characteristic: &str, part: &str) -> bool {
    let of = |c: &str, name: &str| {
        spec.limit(c, view).is_some()
            && rows.iter().any(|m| m.characteristic == c && m.feature == name && m.view == view && m.value == 0.0)
    };
    if characteristic.starts_with("stone.") {
        return of("stone.present", part);
    }
    let stone = part.rsplit_once(".p").map_or(part, |(stone, _)| stone);
    of("prong.present", part) || of("stone.present", stone)
}

/// Why a limit was not assessed, view by view; empty where it was.
fn missing(
    limit: &Limit,
    spec: &Spec,
    piece: &Piece,
    views: &[ViewAnswer],
    rows: &[Measurement],
) -> Vec<NotAssessed> {
    let c = &limit.characteristic;
    // No reading names a stone or a prong: one of them says nothing of the others.
    let about_stones = c.starts_with("stone.") || c.starts_with("prong.");
    let read = piece.readings.iter().any(|r| r.characteristic == *c);
    // A reading that counts has a row, which is of no view.
    let counts = rows.iter().any(|m| m.characteristic == *c && m.view.is_empty());
    if read && counts && (!about_stones || c == total::TOTAL) {
        return vec![];
    }
    let one = |view: Option<&str>, reason: String| NotAssessed {
        characteristic: c.clone(),
        view: view.map(str::to_owned),
        reason,
    };
    if let Some(zone) = &limit.zone {
        return vec![one(
            limit.view.as_deref(),
            format!("this version knows no zones, and the limit is about `{zone}`"),
        )];
    }
    if c.starts_with("piece.") {
        return vec![one(None, "no reading of it counts, neither in piece.json nor in --readings".into())];
    }
    if c == total::TOTAL {
        return total::missing(limit.view.as_deref(), spec, views, rows)
            .map(|why| one(limit.view.as_deref(), why))
            .into_iter()
            .collect();
    }
    let wanted: Vec<&str> = match &limit.view {
        Some(v) => vec![v.as_str()],
        None => spec.views.iter().map(|v| v.name.as_str()).collect(),
    };
    if about_stones && wanted.iter().all(|name| spec.view(name).is_none_or(|v| v.stones.is_empty())) {
        return vec![one(limit.view.as_deref(), "no view has stones".into())];
    }
    let mut out = Vec::new();
    let mut seen = false;
    for name in wanted {
        let Some(view) = views.iter().find(|v| v.view == name) else {
            // A view that no frame shows was asked for all the same, but only where the limit can be about it.
            if !(about_stones && spec.view(name).is_some_and(|v| v.stones.is_empty())) {
                out.push(one(Some(name), "no frame shows this view".into()));
            }
            continue;
        };
        // A limit about stones says nothing of a view that has none.
        if about_stones && spec.view(name).is_some_and(|v| v.stones.is_empty()) {
            continue;
        }
        if about_stones {
            // Each part on its own: what one frame shows of one stone says nothing of another.
            let all = spec.view(name).map(|v| parts(v, c)).unwrap_or_default();
            let without: Vec<&String> = all
                .iter()
                .filter(|p| !rows.iter().any(|m| m.characteristic == *c && m.view == name && m.feature == **p))
                .filter(|p| c.ends_with(".present") || !is_gone(spec, rows, name, c, p))
                .collect();
            if all.is_empty() {
                out.push(one(
                    Some(name),
                    format!("the spec names no {} there", c.split('.').next().unwrap_or("part")),
                ));
                continue;
            }
            seen = true;
            if without.is_empty() {
                continue;
            }
            let reasons: Vec<&String> = view.not_assessed.iter().filter(|n| n.0 == *c).map(|n| &n.1).collect();
            let of = |p: &str| reasons.iter().find(|r| r.split([':', ' ']).any(|w| w == p)).copied();
            let first = without[0];
            let reason = of(first).or(reasons.first().copied()).cloned();
            let reason = reason.unwrap_or_else(|| {
                if rows.iter().any(|m| {
                    m.characteristic.ends_with(".present") && m.view == name && m.feature == *first && m.value == 0.0
                }) {
                    format!("{first} is missing")
                } else {
                    format!("no usable frame shows {first}")
                }
            });
            out.push(one(
                Some(name),
                match without.len() {
                    n if n == all.len() && of(first).is_none() => reason,
                    1 => reason,
                    n => format!("{reason}; {} more of {}", n - 1, all.len()),
                },
            ));
            continue;
        }
        // A view that no mark was ordered in, where another has one.
        let elsewhere = c == hallmark::TEXT && spec.views.iter().any(|v| !v.hallmarks.is_empty());
        if elsewhere && spec.view(name).is_some_and(|v| v.hallmarks.is_empty()) {
            continue;
        }
        if let Some((_, reason)) = view.not_assessed.iter().find(|n| n.0 == *c) {
            out.push(one(Some(name), reason.clone()));
        } else if view.assessed.iter().any(|a| a == c)
            || rows.iter().any(|m| m.characteristic == *c && m.view == name)
        {
            seen = true;
        } else {
            out.push(one(Some(name), "no frame of this view is one that it can be told from".into()));
        }
    }
    if out.is_empty() && !seen && views.is_empty() {
        out.push(one(None, "no view was inspected".into()));
    }
    out
}

fn row(c: &str, feature: &str, view: &str, value: f64, u: f64, limit: Option<&Limit>, status: Status) -> Measurement {
    Measurement {
        characteristic: c.to_owned(),
        feature: feature.to_owned(),
        view: view.to_owned(),
        value: round_to(value, digits(c)),
        uncertainty: round_to(u, digits(c)),
        lower: limit.and_then(|l| l.lower),
        upper: limit.and_then(|l| l.upper),
        status,
        decision: limit.and_then(decision),
        text: None,
    }
}

/// A value with the decimals that a report gives it.
fn as_reported(v: &Value) -> Value {
    let rounded = |x: f64| round_to(x, digits(v.characteristic));
    Value { value: rounded(v.value), uncertainty: rounded(v.uncertainty), characteristic: v.characteristic }
}

/// Decimals that a value is written with: a melee weighs some thousandths of a carat, and what is written must still say how it was judged.
fn digits(characteristic: &str) -> i32 {
    if characteristic.starts_with("stone.carat") {
        6
    } else {
        4
    }
}

/// What a mark reads, as a reason.
fn reads(text: &str, unsure: bool) -> String {
    match (text, unsure) {
        ("", _) => "no mark could be read".into(),
        (t, true) => format!("it cannot be read surely (`{t}`?)"),
        (t, false) => format!("it reads `{t}`"),
    }
}

/// What a row says of its decision rule: nothing of the guard band with k = 2.
fn decision(limit: &Limit) -> Option<DecisionRow> {
    let rule = limit.rule.filter(|_| limit.takes_rule()).unwrap_or_default();
    let k = limit.coverage.unwrap_or(K);
    let u_max = limit.shared_risk_u().filter(|_| rule == Rule::SharedRisk).map(|u| round_to(u, 6));
    (rule != Rule::GuardBand || k != K).then_some(DecisionRow { rule, k, u_max })
}

fn against(c: &str, value: f64, u: f64, l: &Limit) -> String {
    let bound = match (l.lower, l.upper) {
        (Some(lo), Some(up)) => format!("limits {lo} to {up}"),
        (Some(lo), None) => format!("at least {lo}"),
        (None, Some(up)) => format!("at most {up}"),
        (None, None) => "no bound".into(),
    };
    let u = l.coverage.unwrap_or(K) * u;
    // Three decimals, and more where they would say that the value lies on the other side of a bound, or nothing of the uncertainty.
    let honest = |d: &i32| {
        let side = |b: Option<f64>| b.is_none_or(|b| round_to(value, *d).partial_cmp(&b) == value.partial_cmp(&b));
        side(l.lower) && side(l.upper) && (u == 0.0 || round_to(u, *d) > 0.0)
    };
    let d = (3..=9).find(honest).unwrap_or(3);
    let value = round_to(value, d);
    if u == 0.0 {
        format!("{c} {value} ({bound})")
    } else {
        format!("{c} {value} +- {} ({bound})", round_to(u, d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(lower: Option<f64>, upper: Option<f64>) -> Limit {
        Limit { characteristic: "pit.diameter_mm".into(), lower, upper, ..Limit::default() }
    }

    #[test]
    fn between_two_sizes_it_is_either_by_any_rule() {
        for rule in Rule::ALL {
            let of = |low: f64, high: f64| Limit {
                characteristic: "ring.size_iso".into(),
                rule: Some(rule),
                u_max: Some(0.1),
                ..limit(Some(low), Some(high))
            };
            assert_eq!(status(50.5, 0.25, &of(50.0, 51.0)), Status::Pass);
            assert_eq!(status(50.5, 0.25, &of(50.0, 50.0)), Status::Review);
            assert_eq!(status(50.5, 0.25, &of(52.0, 53.0)), Status::Fail);
            assert_eq!(status(50.0, 0.0, &of(50.0, 50.0)), Status::Pass);
        }
    }

    #[test]
    fn pores_are_missed_and_not_made_up() {
        let of = Limit { characteristic: "porosity.pore_count".into(), ..limit(None, Some(3.0)) };
        let seen = |n: f64| status(n, 0.5 * n, &of);
        assert_eq!([1.0, 2.0, 3.0, 4.0].map(seen), [Status::Pass, Status::Review, Status::Review, Status::Fail]);
    }

    #[test]
    fn guard_band_on_both_sides() {
        let l = limit(None, Some(0.05));
        assert_eq!(status(0.039, 0.005, &l), Status::Pass);
        assert_eq!(status(0.041, 0.005, &l), Status::Review);
        assert_eq!(status(0.059, 0.005, &l), Status::Review);
        assert_eq!(status(0.061, 0.005, &l), Status::Fail);
        let both = limit(Some(17.25), Some(17.45));
        assert_eq!(status(17.35, 0.01, &both), Status::Pass);
        assert_eq!(status(17.26, 0.01, &both), Status::Review);
        assert_eq!(status(17.0, 0.01, &both), Status::Fail);
        // By their digits these lie on the band's edges.
        let three = limit(None, Some(3.0));
        assert_eq!([2.99, 3.01].map(|v| status(v, 0.005, &three)), [Status::Pass, Status::Fail]);
        assert_eq!(status(0.5, 0.1, &limit(Some(0.3), None)), Status::Pass);
    }

    #[test]
    fn a_reason_does_not_contradict_itself() {
        let told = |v: f64, u: f64, up: f64| against("c", v, u, &limit(None, Some(up)));
        assert_eq!(told(3.0412, 0.0, 3.0), "c 3.041 (at most 3)");
        assert_eq!(told(3.000_000_49, 0.0, 3.0), "c 3.0000005 (at most 3)");
        assert_eq!(told(2.0, 0.000_01, 3.0), "c 2 +- 0.00002 (at most 3)");
        assert_eq!(told(1e308, 0.0, 3.0), format!("c {} (at most 3)", 1e308));
    }

    #[test]
    fn the_likeliest_break_is_named_first() {
        let l = limit(None, Some(5.0));
        assert!((outside(5.0, 1.0, &l) - 0.5).abs() < 1e-9);
        assert!((outside(6.96, 1.0, &l) - 0.975).abs() < 5e-4 && (outside(4.0, 1.0, &l) - 0.1587).abs() < 5e-4);
        assert_eq!((outside(5.1, 0.0, &l), outside(5.0, 0.0, &l)), (1.0, 0.0));
    }

    #[test]
    fn what_was_not_seen_on_many_parts_is_told_once() {
        let doubt = |part: &str, unseen: bool| Doubt {
            likely: 0.2,
            unseen: unseen.then(|| ("stone.chip_mm", "top".to_owned())),
            part: part.into(),
            subject: format!("{part}: why"),
        };
        let few = told_once(vec![doubt("S1", true), doubt("S2", false), doubt("S3", true), doubt("S4", true)]);
        assert_eq!(few, ["S1: why; likewise S3, S4", "S2: why"]);
        let many = told_once((1..=12).map(|k| doubt(&format!("S{k}"), true)).collect());
        assert_eq!(many, ["S1: why; likewise S2, S3, S4, S5, S6, S7, S8, S9 and 3 more"]);
    }

    #[test]
    fn a_count_on_its_limit_passes() {
        assert_eq!(status(3.0, 0.0, &limit(None, Some(3.0))), Status::Pass);
        assert_eq!(status(4.0, 0.0, &limit(None, Some(3.0))), Status::Fail);
        assert_eq!(status(1.0, 0.0, &limit(Some(1.0), None)), Status::Pass);
        assert_eq!(status(0.0, 0.0, &limit(Some(1.0), None)), Status::Fail);
        assert_eq!(status(1.0, 0.5, &limit(Some(1.0), None)), Status::Review);
        assert_eq!(status(f64::NAN, 0.5, &limit(Some(1.0), None)), Status::NotAssessed);
    }

    fn piece(readings: Vec<Reading>) -> Piece {
        Piece {
            schema: crate::piece::PIECE_SCHEMA.into(),
            piece_id: "p".into(),
            spec: String::new(),
            frames: vec![],
            readings,
            extra: Default::default(),
        }
    }

    #[test]
    fn readings_are_held_against_limits_of_a_view_too_and_count_once() {
        let mut spec = crate::eval::bare_spec();
        let of = |view: Option<&str>| Limit {
            characteristic: "piece.weight_g".into(),
            view: view.map(str::to_owned),
            ..limit(Some(3.0), Some(3.2))
        };
        let read = |characteristic: &str, value: f64| Reading {
            characteristic: characteristic.into(),
            value,
            uncertainty: None,
            instrument: Some("scale 2".into()),
            extra: Default::default(),
        };
        for view in [None, Some("top")] {
            spec.limits = vec![of(view)];
            let verdict = |r: Vec<Reading>| judge(&spec, &piece(r), &[], &[]).verdict;
            assert_eq!(verdict(vec![read("piece.weight_g", 3.1)]), Verdict::Pass);
            assert_eq!(verdict(vec![read("piece.weight_g", 99.0)]), Verdict::Fail);
            let twice =
                judge(&spec, &piece(vec![read("piece.weight_g", 3.1), read("piece.weight_g", 3.1)]), &[], &[]);
            assert_eq!((twice.verdict, twice.measurements.len()), (Verdict::Review, 0));
            assert!(twice.reasons[0].contains("there twice"), "{:?}", twice.reasons);
            // What was limited and has no row is not lost.
            assert_eq!(twice.not_assessed[0].characteristic, "piece.weight_g");
            let typo = judge(&spec, &piece(vec![read("piece.weight_g", 3.1), read("piece.weigth_g", 3.1)]), &[], &[]);
            assert!(
                typo.verdict == Verdict::Review && typo.reasons[0].contains("did you mean"),
                "{:?}",
                typo.reasons
            );
        }
    }

    #[test]
    fn a_limit_on_stones_that_no_view_has_is_a_persons_matter() {
        let mut spec = crate::eval::bare_spec();
        spec.limits = vec![Limit { characteristic: "stone.present".into(), ..limit(Some(1.0), None) }];
        let views: Vec<ViewAnswer> =
            spec.views.iter().map(|v| ViewAnswer { view: v.name.clone(), ..ViewAnswer::default() }).collect();
        let j = judge(&spec, &piece(vec![]), &views, &[]);
        assert!(j.verdict == Verdict::Review && j.reasons[0].contains("no view has stones"), "{:?}", j.reasons);
    }

    #[test]
    fn a_size_that_may_be_the_next_one_is_no_fail_at_any_coverage() {
        let size = |coverage: Option<f64>| Limit {
            characteristic: "ring.size_iso".into(),
            coverage,
            ..limit(Some(59.0), Some(59.0))
        };
        for coverage in [None, Some(1.0), Some(1.65)] {
            assert_eq!(status(59.5, 0.26, &size(coverage)), Status::Review);
            assert_eq!(status(60.0, 0.0, &size(coverage)), Status::Fail);
            let both = Limit { lower: Some(58.0), upper: Some(61.0), ..size(coverage) };
            assert_eq!(status(59.5, 0.26, &both), Status::Pass);
        }
    }

    #[test]
    fn a_reason_names_all_that_fails_of_a_feature() {
        let mut spec = crate::eval::bare_spec();
        let of = |c: &str| Limit { characteristic: c.into(), ..limit(None, Some(0.05)) };
        spec.limits = vec![of("ring.ovality_mm"), of("ring.band_width_mm"), of("ring.inner_diameter_mm")];
        let mut feature = crate::inspect::stones::part("bore", [5.0, 5.0], 3.0);
        let value = |characteristic: &'static str, value: f64| Value { characteristic, value, uncertainty: 0.001 };
        feature.values = vec![
            value("ring.ovality_mm", 0.09),
            value("ring.band_width_mm", 0.051),
            value("ring.inner_diameter_mm", 0.08),
        ];
        let view = ViewAnswer {
            view: "picture".into(),
            features: vec![("a.png".into(), feature)],
            places: vec![None],
            ..ViewAnswer::default()
        };
        let told = judge(&spec, &piece(vec![]), &[view], &[]).reasons;
        assert!(told.len() == 1 && told[0].contains("ovality") && told[0].contains("inner_diameter"), "{told:?}");
        assert!(!told[0].contains("band_width"), "{told:?}");
    }

    /// Metal that is seen within a girdle may be a chip: no rule passes it where it would break the limit.
    #[test]
    fn what_was_seen_on_a_part_passes_by_no_rule() {
        let mut spec = crate::eval::bare_spec();
        let piece = piece(vec![]);
        for rule in Rule::ALL {
            let chip = Limit { characteristic: "stone.chip_mm".into(), u_max: Some(1.0), ..limit(None, Some(0.05)) };
            spec.limits = vec![Limit { rule: Some(rule), ..chip }];
            let of = |u: f64, doubt: Option<&str>| {
                let mut feature = crate::inspect::stones::part("S1", [5.0, 5.0], 3.0);
                let value = crate::inspect::Value { characteristic: "stone.chip_mm", value: 0.0, uncertainty: u };
                (feature.values, feature.doubt) = (vec![value], doubt.map(str::to_owned));
                let view = ViewAnswer {
                    view: "picture".into(),
                    features: vec![("a.png".into(), feature)],
                    places: vec![None],
                    ..ViewAnswer::default()
                };
                judge(&spec, &piece, &[view], &[]).measurements[0].status
            };
            let lenient = if rule == Rule::GuardBand { Status::Review } else { Status::Pass };
            assert_eq!(of(0.06, None), lenient);
            assert_eq!(of(0.06, Some("a chip, or metal over it")), Status::Review);
            assert_eq!(of(0.01, Some("a chip, or metal over it")), Status::Pass);
        }
    }

    /// A spot far over its limit fails; where the model doubts that it is a defect, a person decides, and the reason says why.
    #[test]
    fn what_may_be_dust_is_a_persons_matter() {
        let mut spec = crate::eval::bare_spec();
        spec.limits = vec![limit(None, Some(0.05))];
        let piece = piece(vec![]);
        let value = crate::inspect::Value { characteristic: "pit.diameter_mm", value: 0.09, uncertainty: 0.004 };
        let feature = |doubt: Option<&str>| Feature {
            nominal: false,
            kind: Some(crate::report::FindingType::Pit),
            name: "pit-1".into(),
            x_px: 5.0,
            y_px: 5.0,
            radius_px: 3.0,
            outline_px: vec![],
            confidence: 0.9,
            found_by: vec![],
            values: vec![value.clone()],
            opinion: None,
            rim: None,
            doubt: doubt.map(str::to_owned),
        };
        let of = |doubt| {
            let view = ViewAnswer {
                view: "picture".into(),
                features: vec![("a.png".into(), feature(doubt))],
                places: vec![None],
                assessed: vec!["pit.diameter_mm"],
                ..ViewAnswer::default()
            };
            judge(&spec, &piece, &[view], &[])
        };
        assert_eq!(of(None).verdict, Verdict::Fail);
        let doubted = of(Some("it may be dust"));
        assert_eq!(doubted.verdict, Verdict::Review);
        assert!(doubted.reasons[0].ends_with("it may be dust"), "{:?}", doubted.reasons);
        assert_eq!((doubted.findings[0].status, doubted.measurements[0].status), (Status::Review, Status::Review));
    }

    /// A stain below its limit that would be too large a pit: the row is a person's, and so is the mark in the picture.
    #[test]
    fn a_stain_that_may_be_a_pit_is_marked() {
        let mut spec = crate::eval::bare_spec();
        spec.limits = vec![limit(None, Some(0.05))];
        let feature = |name: &str, kind, characteristic, value, doubt: Option<&str>| Feature {
            nominal: false,
            kind,
            name: name.into(),
            x_px: 5.0,
            y_px: 5.0,
            radius_px: 6.0,
            outline_px: vec![],
            confidence: 0.9,
            found_by: vec![],
            values: vec![crate::inspect::Value { characteristic, value, uncertainty: 0.004 }],
            opinion: None,
            rim: None,
            doubt: doubt.map(str::to_owned),
        };
        let as_pit = feature("stain-as-pit-1", None, "pit.diameter_mm", 0.09, Some("it looks like a stain"));
        let view = ViewAnswer {
            view: "picture".into(),
            features: vec![
                ("a.png".into(), as_pit),
                ("b.png".into(), feature("stain-1", Some(FindingType::Stain), "stain.area_mm2", 0.01, None)),
                ("b.png".into(), feature("stain-2", Some(FindingType::Stain), "stain.area_mm2", 0.01, None)),
            ],
            places: vec![Some([0.2, 0.1]), Some([0.21, 0.1]), Some([0.5, 0.1])],
            assessed: vec!["pit.diameter_mm", "stain.area_mm2"],
            ..ViewAnswer::default()
        };
        let judged = judge(&spec, &piece(vec![]), &[view], &[]);
        let marks: Vec<Status> = judged.findings.iter().map(|f| f.status).collect();
        assert_eq!((judged.verdict, marks), (Verdict::Review, vec![Status::Review, Status::Pass]));
    }

    #[test]
    fn the_rule_of_a_limit_decides() {
        let mut l = Limit { rule: Some(Rule::Simple), ..limit(None, Some(0.05)) };
        assert_eq!(status(0.0499, 0.005, &l), Status::Pass);
        assert_eq!(status(0.0501, 0.005, &l), Status::Fail);
        assert_eq!(status(f64::NAN, 0.005, &l), Status::NotAssessed);
        // Shared risk up to the largest U that was agreed, here twice 0.005; above it the guard band.
        l = Limit { rule: Some(Rule::SharedRisk), u_max: Some(0.01), ..limit(None, Some(0.05)) };
        assert_eq!(status(0.0499, 0.005, &l), Status::Pass);
        assert_eq!(status(0.0499, 0.0051, &l), Status::Review);
        assert_eq!((status(0.03, 0.0051, &l), status(0.07, 0.0051, &l)), (Status::Pass, Status::Fail));
        // Without one a quarter of half the tolerance: 17.25 to 17.45 takes U up to 0.025.
        l = Limit { rule: Some(Rule::SharedRisk), ..limit(Some(17.25), Some(17.45)) };
        assert_eq!((status(17.26, 0.0124, &l), status(17.26, 0.0126, &l)), (Status::Pass, Status::Review));
        // ISO 14253-1:2017's own default of 95 % on one side is k = 1.65.
        l = Limit { coverage: Some(1.65), ..limit(None, Some(0.05)) };
        assert_eq!((status(0.041, 0.005, &l), status(0.042, 0.005, &l)), (Status::Pass, Status::Review));
        // A yes or no is not measured: its uncertainty only says that a person must look.
        l = Limit { rule: Some(Rule::Simple), ..limit(Some(1.0), None) };
        l.characteristic = "stone.present".into();
        assert_eq!(status(1.0, 0.6, &l), Status::Review);
    }

    #[test]
    fn a_row_says_its_rule_where_it_is_not_the_default() {
        let l = limit(Some(17.25), Some(17.45));
        assert_eq!(decision(&l), None);
        let shared = Limit { rule: Some(Rule::SharedRisk), ..l.clone() };
        assert_eq!(decision(&shared), Some(DecisionRow { rule: Rule::SharedRisk, k: 2.0, u_max: Some(0.025) }));
        let wider = Limit { coverage: Some(3.0), ..l };
        assert_eq!(decision(&wider), Some(DecisionRow { rule: Rule::GuardBand, k: 3.0, u_max: None }));
    }

    /// Normal values: sums of twelve uniforms, mean 6 and variance 1, of a generator that is the same everywhere.
    fn normals(mut seed: u64) -> impl FnMut() -> f64 {
        move || {
            (0..12)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 40) as f64 / (1u64 << 24) as f64
                })
                .sum::<f64>()
                - 6.0
        }
    }

    /// The guard band's promise: at the limit itself at most 2.5 % are accepted; simple acceptance takes half.
    #[test]
    fn false_acceptance_at_the_limit_stays_below_two_and_a_half_percent() {
        let l = limit(None, Some(1.0));
        let simple = Limit { rule: Some(Rule::Simple), ..l.clone() };
        let mut normal = normals(7);
        let values: Vec<f64> = (0..20_000).map(|_| 1.0 + 0.01 * normal()).collect();
        let accepted = |l: &Limit| {
            values.iter().filter(|v| status(**v, 0.01, l) == Status::Pass).count() as f64 / values.len() as f64
        };
        assert!(accepted(&l) < 0.025 && accepted(&l) > 0.018, "{}", accepted(&l));
        assert!((accepted(&simple) - 0.5).abs() < 0.015, "{}", accepted(&simple));
    }

    /// True values spread about two limits, so that half of the pieces are bad: of 4,000 measurements near a limit the guard band
    /// accepts fewer than 2.5 % of the bad ones and rejects fewer than 2.5 % of the good ones.
    #[test]
    fn near_a_limit_few_bad_values_pass_and_few_good_ones_fail() {
        let l = limit(Some(17.25), Some(17.45));
        let u = 0.01;
        let mut normal = normals(11);
        let (mut bad, mut escapes, mut good, mut overkill) = (0, 0, 0, 0);
        for i in 0..4000 {
            // Evenly from 2.5 u inside either limit to 2.5 u outside.
            let off = u * (5.0 * f64::from(i / 2) / 2000.0 - 2.5);
            let truth = if i % 2 == 0 { 17.45 + off } else { 17.25 - off };
            let s = status(truth + u * normal(), u, &l);
            if off > 0.0 {
                bad += 1;
                escapes += i32::from(s == Status::Pass);
            } else {
                good += 1;
                overkill += i32::from(s == Status::Fail);
            }
        }
        println!("false acceptances {escapes} of {bad}, false rejections {overkill} of {good}");
        assert!(f64::from(escapes) < 0.025 * f64::from(bad), "{escapes} of {bad}");
        assert!(f64::from(overkill) < 0.025 * f64::from(good), "{overkill} of {good}");
    }
}
