//! Measurement system analysis out of repeated reports: gauge R&R of every measured characteristic, and agreement of verdicts
//! with human calls. Knows reports, not how anything was found.

pub mod agree;
pub mod gauge;
mod picture;
mod read;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use agree::{Agreement, Calls};
use gauge::{Anova, Study, Variation};

use crate::inspect::finish::{about_one_line, DIRECTION};
use crate::report::{round_to, Measurement};
use crate::spec::parse::unknown_characteristic;

pub use read::{human_calls, Layout, Operators, Reports, Run};

/// The `schema` value of a study.
pub const MSA_SCHEMA: &str = "loupe.msa/1";

/// What a report's own verdicts are called among the appraisers.
pub const PROGRAM: &str = "loupe";

/// A study of the measurement system. The same reports and calls give the same study, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MsaReport {
    /// Always `loupe.msa/1`.
    pub schema: String,
    /// Program and version.
    pub program: String,
    /// The runs, by operator.
    pub runs: Vec<RunRow>,
    /// Pieces with a report.
    pub pieces: u64,
    /// Gauge R&R per characteristic.
    pub gauges: BTreeMap<String, Gauge>,
    /// Characteristics that were measured and not studied, and why.
    pub not_studied: BTreeMap<String, String>,
    /// Agreement of verdicts and calls; null where nobody called anything more than once or beside another.
    pub agreement: Option<Agreement>,
    /// Reports of the very frames of another one: what differs from frame to frame, and from hand to hand, is not in them, and no gauge is good by them.
    #[serde(default)]
    pub copies: u64,
    /// What could not be read or used; it is in no figure.
    pub errors: Vec<String>,
}

/// One run: the reports of one operator's round over the pieces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRow {
    /// Who mounted the pieces, or the station.
    pub operator: String,
    /// The run's folder.
    pub run: String,
    /// Reports in it.
    pub reports: u64,
}

/// How fit a gauge or an appraiser is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// %GRR below 10.
    Good,
    /// %GRR from 10 to 30, or fewer than five distinct categories where the parts' own variation is the measure; or some reports are copies.
    Conditional,
    /// %GRR above 30.
    Unfit,
}

impl Grade {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Good => "good",
            Grade::Conditional => "conditional",
            Grade::Unfit => "unfit",
        }
    }
}

/// Gauge R&R of one characteristic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gauge {
    /// Parts that every operator measured as often: `piece`, `piece/view` or `piece/view/feature`.
    pub parts: Vec<String>,
    /// Operators.
    pub operators: Vec<String>,
    /// Trials of every operator on every part.
    pub trials: u64,
    /// Parts left out, because some operator measured them less often.
    pub left_out: u64,
    /// Values of the parts kept that are left out, because not every operator has as many: of consecutive trials those with the largest GRR are kept.
    #[serde(default)]
    pub unused: u64,
    /// Mean over everything.
    pub mean: f64,
    /// Mean of the standard uncertainties that the reports state, to be set beside EV and GRR.
    pub mean_u: f64,
    /// The analysis of variance.
    pub anova: Anova,
    /// What it makes of the variation.
    pub variation: Variation,
    /// The same by average and range, as a check; null beyond the published tables.
    pub average_range: Option<Variation>,
    /// Lower limit, where all rows have the same.
    pub lower: Option<f64>,
    /// Upper limit, where all rows have the same.
    pub upper: Option<f64>,
    /// The smallest tolerance of all rows that have two limits, and the largest: the gauge must sort the parts of the smallest.
    pub tolerance: Option<[f64; 2]>,
    /// 100 times six GRR over the smallest tolerance; null without two limits.
    pub grr_of_tolerance_pct: Option<f64>,
    /// Whether some row has a limit: the characteristic decides something.
    pub limited: bool,
    /// How fit the gauge is: by the tolerance where there is one, because parts are sorted by it, else by the total variation.
    pub grade: Grade,
    /// The values, by part, operator and trial.
    pub values: Vec<Vec<Vec<f64>>>,
}

/// What a study is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these characteristics; empty for all.
    pub only: Vec<String>,
}

/// One measurement of a part.
#[derive(Debug, Clone, Copy)]
struct Value {
    value: f64,
    uncertainty: f64,
    limits: (Option<f64>, Option<f64>),
}

/// Studies reports, with the calls of people (and which pieces are truly good) where there are any.
pub fn study(reports: &Reports, human: &Calls, reference: &BTreeMap<String, bool>, options: &Options) -> MsaReport {
    let mut gauges = BTreeMap::new();
    let mut not_studied = BTreeMap::new();
    for (characteristic, parts) in values(&reports.runs) {
        if !options.only.is_empty() && !options.only.contains(&characteristic) {
            continue;
        }
        // What another instrument read is none of the frames'.
        let seen = |m: &Measurement| m.characteristic == characteristic && !m.view.is_empty();
        let by_frames =
            || reports.runs.iter().flat_map(|r| r.reports.values()).any(|r| r.measurements.iter().any(seen));
        match gauge(&parts, reports.copies > 0 && by_frames()) {
            Ok(g) => {
                gauges.insert(characteristic, g);
            }
            Err(why) => {
                not_studied.insert(characteristic, why);
            }
        }
    }
    let mut errors = reports.errors.clone();
    for c in &options.only {
        if !gauges.contains_key(c) && !not_studied.contains_key(c) {
            let nobody = || "no report measures it".to_owned();
            errors.push(format!("--only {c}: {}", unknown_characteristic(c).unwrap_or_else(nobody)));
            not_studied.insert(c.clone(), nobody());
        }
    }
    let mut calls = verdicts(&reports.runs);
    calls.extend(human.iter().map(|(who, of)| (who.clone(), of.clone())));
    let repeated = calls.values().flat_map(BTreeMap::values).any(|c| c.len() > 1);
    let agreement =
        (calls.len() > 1 || repeated || !reference.is_empty()).then(|| agree::agreement(&calls, reference));
    let pieces: BTreeSet<&str> = reports.runs.iter().flat_map(|r| r.reports.keys()).map(String::as_str).collect();
    MsaReport {
        schema: MSA_SCHEMA.into(),
        program: crate::PROGRAM.into(),
        runs: reports
            .runs
            .iter()
            .map(|r| RunRow { operator: r.operator.clone(), run: r.name.clone(), reports: r.reports.len() as u64 })
            .collect(),
        pieces: pieces.len() as u64,
        gauges,
        not_studied,
        agreement,
        copies: reports.copies as u64,
        errors,
    }
}

impl MsaReport {
    /// The JSON that is written.
    ///
    /// # Errors
    /// Where a figure is no number.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// A table for people.
    pub fn to_table(&self) -> String {
        table::text(self)
    }

    /// The gauges as a PNG: by part and operator, with the shares of the variation; none where there is no gauge.
    ///
    /// # Errors
    /// Where the PNG cannot be encoded.
    pub fn picture(&self) -> Result<Option<Vec<u8>>, image::ImageError> {
        picture::png(self)
    }

    /// Gauges and appraisers that are unfit; of the gauges those that a limit goes by, where there are such.
    pub fn unfit(&self) -> Vec<String> {
        let limited = self.gauges.values().any(|g| g.limited);
        let gauges = self.gauges.iter().filter(|(_, g)| g.grade == Grade::Unfit && (g.limited || !limited));
        let appraisers = self.agreement.iter().flat_map(|a| &a.appraisers);
        let appraisers = appraisers.filter(|(_, r)| r.grade == Some(Grade::Unfit));
        gauges.map(|(c, _)| c.clone()).chain(appraisers.map(|(who, _)| format!("appraiser {who}"))).collect()
    }
}

/// The verdicts as calls: of one appraiser, or, where several operators mounted the pieces, of one for each.
fn verdicts(runs: &[Run]) -> Calls {
    let operators: BTreeSet<&str> = runs.iter().map(|r| r.operator.as_str()).collect();
    let mut calls = Calls::new();
    for run in runs {
        let who = if operators.len() > 1 { format!("{PROGRAM}/{}", run.operator) } else { PROGRAM.to_owned() };
        for (piece, report) in &run.reports {
            calls.entry(who.clone()).or_default().entry(piece.clone()).or_default().push(report.verdict);
        }
    }
    calls
}

/// Whether a characteristic is a measured value: a yes or no has no scatter to study.
fn is_measured(characteristic: &str) -> bool {
    !(characteristic.ends_with(".present") || characteristic == "hallmark.text")
}

/// Whether a characteristic's features are parts that the spec names, or places of the ring, the same in every report. Defects are counted anew in each,
/// so of them the largest of a view is studied.
fn is_of_named_part(characteristic: &str) -> bool {
    ["stone.", "prong.", "ring."].iter().any(|p| characteristic.starts_with(p))
}

type Parts = BTreeMap<String, BTreeMap<String, Vec<Value>>>;

/// Every characteristic's values by part and operator, in the order of the runs.
fn values(runs: &[Run]) -> BTreeMap<String, Parts> {
    let mut out: BTreeMap<String, Parts> = BTreeMap::new();
    for run in runs {
        for (piece, report) in &run.reports {
            let mut seen: BTreeMap<(&str, String), Value> = BTreeMap::new();
            let rows: Vec<&Measurement> = report
                .measurements
                .iter()
                .filter(|m| is_measured(&m.characteristic) && m.value.is_finite())
                .collect();
            // Two scales that weigh one piece are not one.
            let twice = |m: &Measurement| {
                let same = |o: &&&Measurement| o.view.is_empty() && o.characteristic == m.characteristic;
                m.view.is_empty() && rows.iter().filter(same).count() > 1
            };
            for m in &rows {
                let mut part = piece.clone();
                if !m.view.is_empty() {
                    part = format!("{part}/{}", m.view);
                }
                if twice(m) {
                    part = format!("{part}/{}", m.feature);
                }
                if is_of_named_part(&m.characteristic) && !m.view.is_empty() && m.feature != m.view {
                    part = format!("{part}/{}", m.feature);
                }
                let v = Value { value: m.value, uncertainty: m.uncertainty, limits: (m.lower, m.upper) };
                seen.entry((&m.characteristic, part)).and_modify(|s| *s = larger(*s, v)).or_insert(v);
            }
            for ((characteristic, part), v) in seen {
                let parts = out.entry(characteristic.to_owned()).or_default();
                parts.entry(part).or_default().entry(run.operator.clone()).or_default().push(v);
            }
        }
    }
    // Against a limit they lie about what was ordered.
    if let Some(parts) = out.get_mut(DIRECTION) {
        let all = parts.values_mut().flat_map(BTreeMap::values_mut).flatten();
        about_one_line(all.filter(|v| v.limits == (None, None)).map(|v| &mut v.value));
    }
    out
}

fn larger(a: Value, b: Value) -> Value {
    if b.value > a.value {
        b
    } else {
        a
    }
}

/// Above it a gauge is unfit, below the first good (AIAG MSA 4, chapter II, section D).
const GRR_PCT: (f64, f64) = (10.0, 30.0);
/// Fewest distinct categories of a gauge that tells parts apart (AIAG MSA 4).
pub(crate) const LEAST_NDC: u64 = 5;

/// The study of one characteristic; why there is none. copied: some reports are of the very frames of others.
fn gauge(parts: &Parts, copied: bool) -> Result<Gauge, String> {
    let operators: BTreeSet<&String> = parts.values().flat_map(BTreeMap::keys).collect();
    // The number of trials that most parts have from every operator.
    let least = |of: &BTreeMap<String, Vec<Value>>| {
        operators.iter().map(|o| of.get(*o).map_or(0, Vec::len)).min().unwrap_or(0)
    };
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for of in parts.values() {
        *counts.entry(least(of)).or_default() += 1;
    }
    let trials = counts.iter().filter(|(n, _)| **n > 1).max_by_key(|(n, parts)| (**parts, **n)).map(|(n, _)| *n);
    let Some(trials) = trials else {
        return Err(match operators.len() {
            1 => "no part was measured twice".into(),
            n => format!("no part was measured twice by each of {n} operators"),
        });
    };
    type Kept<'a> = Vec<(&'a String, Vec<&'a [Value]>)>;
    let from = |first: usize| -> Kept {
        let cell = |of: &'_ Vec<Value>| first.min(of.len() - trials)..first.min(of.len() - trials) + trials;
        let parts = parts.iter().filter(|(_, of)| least(of) >= trials);
        parts
            .map(|(name, of)| (name, operators.iter().filter_map(|o| of.get(*o)).map(|v| &v[cell(v)]).collect()))
            .collect()
    };
    let study_of = |kept: &Kept| Study {
        values: kept
            .iter()
            .map(|(_, cells)| cells.iter().map(|c| c.iter().map(|v| v.value).collect()).collect())
            .collect(),
    };
    // Which round is one too many must not depend on what its folder is called: the worst of them counts.
    let most = parts.values().filter(|of| least(of) >= trials).flat_map(BTreeMap::values).map(Vec::len).max();
    let worst = (0..=most.unwrap_or(trials) - trials)
        .map(|first| (study_of(&from(first)).anova().map_or(f64::INFINITY, |a| a.1.grr), first))
        .reduce(|a, b| if b.0 > a.0 { b } else { a });
    let kept = from(worst.map_or(0, |w| w.1));
    if kept.len() < 2 {
        return Err("only one part was measured often enough".into());
    }
    let all = || kept.iter().flat_map(|(_, cells)| cells.iter().copied().flatten());
    let study = study_of(&kept);
    let n = all().count() as f64;
    let (anova, variation) = study.anova().ok_or("it cannot be analysed")?;
    if variation.tv <= gauge::RESIDUE * study.largest() {
        return Err("every value is the same".into());
    }
    let first = all().next().map(|v| v.limits).unwrap_or_default();
    let (lower, upper) = if all().all(|v| v.limits == first) { first } else { (None, None) };
    // Articles of several sizes may be in one study, and a spec may have changed between the rounds.
    let widths = all().filter_map(|v| v.limits.0.zip(v.limits.1)).map(|(l, u)| u - l).filter(|t| *t > 0.0);
    let tolerance = widths.map(|t| [t, t]).reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
    let of_tolerance = tolerance.map(|[t, _]| round_to(100.0 * 6.0 * variation.grr / t, 2));
    let grade = match of_tolerance.unwrap_or(variation.grr_pct) {
        p if p > GRR_PCT.1 => Grade::Unfit,
        p if p >= GRR_PCT.0 => Grade::Conditional,
        _ if of_tolerance.is_none() && variation.ndc.is_some_and(|n| n < LEAST_NDC) => Grade::Conditional,
        _ if copied => Grade::Conditional,
        _ => Grade::Good,
    };
    Ok(Gauge {
        parts: kept.iter().map(|(name, _)| (*name).clone()).collect(),
        operators: operators.into_iter().cloned().collect(),
        trials: trials as u64,
        left_out: (parts.len() - kept.len()) as u64,
        unused: kept
            .iter()
            .map(|(name, _)| parts[*name].values().map(|v| v.len() - trials).sum::<usize>() as u64)
            .sum(),
        mean: round_to(all().map(|v| v.value).sum::<f64>() / n, 6),
        mean_u: round_to(all().map(|v| v.uncertainty).sum::<f64>() / n, 6),
        anova,
        variation,
        average_range: study.average_and_range(),
        lower,
        upper,
        tolerance: tolerance.map(|t| t.map(|t| round_to(t, 6))),
        grr_of_tolerance_pct: of_tolerance,
        limited: all().any(|v| v.limits != (None, None)),
        grade,
        values: study.values,
    })
}

/// The last part of a path, whatever it is.
fn name_of(path: &Path) -> String {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    let real = || std::fs::canonicalize(path).ok().as_deref().and_then(name);
    name(path).or_else(real).unwrap_or_else(|| path.display().to_string())
}

/// A path under the argument it was found through, named by the argument's last part: the same wherever the argument lies.
fn short(argument: &Path, path: &Path) -> String {
    match path.strip_prefix(argument) {
        Ok(rest) if rest.as_os_str().is_empty() => name_of(argument),
        Ok(rest) => PathBuf::from(name_of(argument)).join(rest).display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Measurement, Provenance, Report, Status, Verdict, REPORT_SCHEMA};

    fn report(piece: &str, rows: &[(&str, &str, f64)]) -> Report {
        let measurements = rows
            .iter()
            .map(|(characteristic, feature, value)| Measurement {
                characteristic: (*characteristic).into(),
                feature: (*feature).into(),
                view: "top".into(),
                value: *value,
                uncertainty: 0.01,
                lower: Some(-4.0),
                upper: Some(4.0),
                status: Status::Pass,
                decision: None,
                text: None,
            })
            .collect();
        Report {
            schema: REPORT_SCHEMA.into(),
            piece_id: piece.into(),
            sku: "s".into(),
            verdict: Verdict::Pass,
            reasons: vec![],
            measurements,
            findings: vec![],
            stones: vec![],
            not_assessed: vec![],
            frames: vec![],
            provenance: Provenance {
                program: "loupe".into(),
                spec_sha256: String::new(),
                models: vec![],
                settings_sha256: String::new(),
            },
        }
    }

    /// The published study as reports of ten pieces by three operators in three runs each.
    fn aiag(more: impl Fn(&str, usize) -> Option<f64>) -> Reports {
        let study = gauge::tests::aiag();
        let mut runs = Vec::new();
        for (o, operator) in ["anna", "ben", "cleo"].into_iter().enumerate() {
            for t in 0..3 {
                let reports = study.values.iter().enumerate().map(|(p, part)| {
                    let piece = format!("ring-{p:02}");
                    let value = more(&piece, t).unwrap_or(part[o][t]);
                    let rows = [
                        ("ring.inner_diameter_mm", "top", value),
                        ("pit.diameter_mm", "pit-1", part[o][t] - 1.0),
                        ("pit.diameter_mm", "pit-2", part[o][t]),
                        ("stone.present", "S1", 1.0),
                        ("stone.diameter_mm", "S1", 1.3),
                    ];
                    (piece.clone(), report(&piece, &rows))
                });
                let name = format!("{operator}/{t}");
                runs.push(Run { operator: operator.into(), name, reports: reports.collect() });
            }
        }
        Reports { runs, ..Reports::default() }
    }

    #[test]
    fn the_published_study_out_of_reports() {
        let study = study(&aiag(|_, _| None), &Calls::new(), &BTreeMap::new(), &Options::default());
        let g = &study.gauges["ring.inner_diameter_mm"];
        assert_eq!((g.parts.len(), g.operators.len(), g.trials, g.left_out), (10, 3, 3, 0));
        assert_eq!(g.parts[0], "ring-00/top");
        // Reports give their values rounded, and so is the published figure.
        assert!((g.variation.grr - 0.30237).abs() < 1e-5, "{}", g.variation.grr);
        // Six times 0.3024 of a tolerance of 8.
        assert_eq!((g.grr_of_tolerance_pct, g.grade), (Some(22.68), Grade::Conditional));
        // Of a view's pits the largest is the part, whatever its number.
        assert_eq!(study.gauges["pit.diameter_mm"].values, g.values);
        assert!(!study.gauges.contains_key("stone.present"));
        assert!(study.unfit().is_empty());
        // Verdicts that are all the same agree, and chance tells no kappa.
        let a = study.agreement.unwrap();
        assert_eq!((a.appraisers.len(), a.between.count), (3, 10));
        assert_eq!(a.fleiss.map(|f| f.kappa), Some(None));
    }

    #[test]
    fn a_part_that_somebody_missed_is_left_out() {
        let mut reports = aiag(|_, _| None);
        reports.runs[4].reports.remove("ring-03");
        let only = Options { only: vec!["ring.inner_diameter_mm".into(), "ring.ovality_mm".into()] };
        let study = study(&reports, &Calls::new(), &BTreeMap::new(), &only);
        let g = &study.gauges["ring.inner_diameter_mm"];
        assert_eq!((g.parts.len(), g.trials, g.left_out), (9, 3, 1));
        assert_eq!(study.gauges.len(), 1);
        assert_eq!(study.not_studied["ring.ovality_mm"], "no report measures it");
    }

    #[test]
    fn the_worst_of_more_trials_count_whatever_their_folders_are_called() {
        let name = "ring.inner_diameter_mm";
        let steady = |piece: &str, t: usize| {
            let part: f64 = piece.trim_start_matches("ring-").parse().unwrap();
            Some(part + 0.01 * t as f64)
        };
        let grr = |wild: usize| {
            let mut reports = aiag(steady);
            for (k, r) in reports.runs[wild].reports.values_mut().enumerate() {
                r.measurements
                    .iter_mut()
                    .filter(|m| m.characteristic == name)
                    .for_each(|m| m.value += [3.0, -3.0][k % 2]);
            }
            // Ben has two rounds, the others three.
            reports.runs.remove(5);
            let study = study(&reports, &Calls::new(), &BTreeMap::new(), &Options::default());
            let g = &study.gauges[name];
            assert_eq!((g.trials, g.unused, g.left_out), (2, 20, 0));
            assert!(study.to_table().contains("20 values left out"), "{}", study.to_table());
            g.variation.grr
        };
        // The first or the last round of the first operator: as bad either way.
        let (first, last) = (grr(0), grr(2));
        assert!(first > 1.0 && (first / last - 1.0).abs() < 0.05, "{first} {last}");
    }

    #[test]
    fn no_gauge_is_good_by_copies() {
        let steady = |piece: &str, t: usize| {
            let part: f64 = piece.trim_start_matches("ring-").parse().unwrap();
            Some(part + 0.01 * t as f64)
        };
        let grade = |copies: usize| {
            let reports = Reports { copies, ..aiag(steady) };
            let study = study(&reports, &Calls::new(), &BTreeMap::new(), &Options::default());
            (study.gauges["ring.inner_diameter_mm"].grade, study.copies)
        };
        assert_eq!([grade(0), grade(4)], [(Grade::Good, 0), (Grade::Conditional, 4)]);
    }

    #[test]
    fn limits_that_differ_grade_by_the_tightest() {
        let name = "ring.inner_diameter_mm";
        let mut reports = aiag(|_, _| None);
        for (run, piece, upper) in [(1, "ring-02", Some(1.0)), (3, "ring-04", None)] {
            let rows = &mut reports.runs[run].reports.get_mut(piece).unwrap().measurements;
            rows.iter_mut().find(|m| m.characteristic == name).unwrap().upper = upper;
        }
        let study = study(&reports, &Calls::new(), &BTreeMap::new(), &Options::default());
        let g = &study.gauges[name];
        assert_eq!((g.lower, g.upper, g.tolerance), (None, None, Some([5.0, 8.0])));
        assert_eq!((g.grr_of_tolerance_pct, g.grade), (Some(36.28), Grade::Unfit));
        let text = study.to_table();
        assert!(text.contains("its limits are not the same in all reports"), "{text}");
    }

    #[test]
    fn values_that_are_all_the_same_are_no_study() {
        let study = study(&aiag(|_, _| Some(14.88)), &Calls::new(), &BTreeMap::new(), &Options::default());
        assert_eq!(study.not_studied["ring.inner_diameter_mm"], "every value is the same");
        assert!(study.unfit().is_empty());
    }

    #[test]
    fn two_scales_are_not_one() {
        let readings = |t: usize| {
            let rows = [("piece.weight_g", "scale 1", 3.0), ("piece.weight_g", "scale 2", 3.0 + 0.01 * t as f64)];
            let mut r = report("p", &rows);
            r.measurements.iter_mut().for_each(|m| m.view.clear());
            r
        };
        let run = |t: usize| Run {
            name: format!("r{t}"),
            operator: "A".into(),
            reports: BTreeMap::from([("p".to_owned(), readings(t))]),
        };
        let all = values(&[run(0), run(1)]);
        let parts = &all["piece.weight_g"];
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["p/scale 1", "p/scale 2"]);
        assert_eq!(parts["p/scale 1"]["A"].iter().map(|v| v.value).collect::<Vec<_>>(), [3.0, 3.0]);
    }

    #[test]
    fn too_little_to_study_says_why() {
        let mut reports = aiag(|_, _| None);
        reports.runs.retain(|r| r.name.ends_with('0'));
        let study = study(&reports, &Calls::new(), &BTreeMap::new(), &Options::default());
        assert!(study.gauges.is_empty());
        assert!(study.not_studied["ring.inner_diameter_mm"].contains("twice by each of 3 operators"));
    }

    #[test]
    fn a_wild_gauge_is_unfit_and_the_table_and_the_picture_say_so() {
        let wild = |_: &str, t: usize| Some([0.0, 3.0, -3.0][t]);
        let study = study(&aiag(wild), &Calls::new(), &BTreeMap::new(), &Options::default());
        assert_eq!(study.gauges["ring.inner_diameter_mm"].grade, Grade::Unfit);
        assert_eq!(study.unfit(), ["ring.inner_diameter_mm"]);
        let text = study.to_table();
        assert!(text.contains("unfit") && text.contains("ring.inner_diameter_mm"), "{text}");
        let png = study.picture().unwrap().unwrap();
        assert_eq!(png, study.picture().unwrap().unwrap());
        assert!(image::load_from_memory(&png).is_ok());
        let back: MsaReport = serde_json::from_str(&study.to_json().unwrap()).unwrap();
        assert_eq!(back, study);
    }
}
