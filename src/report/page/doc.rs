//! A report as read back from its file, and what it says in plain words.

use std::path::Path;

use super::numbers::plain;
use super::words;
use crate::hash::sha256_hex;
use crate::inspect::surface;
use crate::json::{self, JsonError};
use crate::judge::K;
use crate::report::{Measurement, Report, Status, Verdict};
use crate::spec::Rule;

/// A report with the hash of its file.
#[derive(Debug, Clone)]
pub struct Doc {
    /// The report.
    pub report: Report,
    /// sha256 of the file.
    pub sha256: String,
}

impl Doc {
    /// Reads a report.
    ///
    /// # Errors
    /// [`JsonError`], which names the file and the key.
    pub fn read(path: &Path) -> Result<Self, JsonError> {
        json::read(path).map(|(report, sha256)| Doc { report, sha256 })
    }

    /// Reads a report's bytes; `path` only names them in errors.
    ///
    /// # Errors
    /// [`JsonError::Value`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, JsonError> {
        Ok(Doc { report: json::parse(bytes, path)?, sha256: sha256_hex(bytes) })
    }
}

/// The decision rule of a row in words, where it is not the guard band with k = 2.
pub fn rule(m: &Measurement) -> Option<String> {
    if m.characteristic == surface::PORE_COUNT && is_limited(m) {
        return Some("more may be there, not fewer: beyond its limit it fails whatever its U".into());
    }
    m.decision.map(|d| match (d.rule, d.u_max) {
        (Rule::GuardBand, _) => format!("guard band, k = {}", plain(d.k)),
        (Rule::Simple, _) => "simple acceptance".into(),
        (Rule::SharedRisk, Some(most)) => format!("shared risk, U at most {}", plain(most)),
        (Rule::SharedRisk, None) => "shared risk".into(),
    })
}

/// Coverage factor of a row's decision.
pub fn coverage(m: &Measurement) -> f64 {
    m.decision.map_or(K, |d| d.k)
}

/// Expanded uncertainty of a row, with the coverage factor of its decision.
pub fn expanded(m: &Measurement) -> f64 {
    coverage(m) * m.uncertainty
}

/// Half the width of the band about a limit in which a row's rule leaves it to a person; 0 where the value alone decides.
pub fn guard(m: &Measurement) -> f64 {
    let u = expanded(m);
    m.decision.map_or(u, |d| d.rule.band(u, d.u_max))
}

/// Whether a row lies beyond a limit by all of its guard band: what leaves it to a person is whether it is what it looks like.
pub fn is_beyond(m: &Measurement) -> bool {
    let over = m.upper.map(|b| m.value - b).into_iter().chain(m.lower.map(|b| b - m.value)).fold(f64::MIN, f64::max);
    over > 0.0 && over >= guard(m)
}

/// Whether a row says yes or no: something is there or not, or a text reads as ordered or not.
pub fn is_yes_no(m: &Measurement) -> bool {
    words::is_presence(&m.characteristic) || m.text.is_some()
}

/// Whether a row was limited.
pub fn is_limited(m: &Measurement) -> bool {
    m.lower.is_some() || m.upper.is_some()
}

/// Whether a row says that something was looked for and none was seen: no feature of its own, a value and an uncertainty of 0.
pub fn is_none_seen(m: &Measurement) -> bool {
    m.value == 0.0 && m.uncertainty == 0.0 && m.feature == m.view && !m.view.is_empty()
}

/// Whether a row is a reading of another instrument: it belongs to no view, and its feature is the instrument. (Stones' totals over all
/// views belong to none either.)
pub fn is_reading(m: &Measurement) -> bool {
    m.view.is_empty() && !m.characteristic.starts_with("stone.")
}

/// Rows of one characteristic that are out of their limit, or too close to it, for the same reason.
#[derive(Debug, Clone)]
pub struct Issue {
    /// fail, or review where a person decides.
    pub status: Status,
    /// The characteristic.
    pub characteristic: String,
    /// Indices of the rows among the report's measurements, the worst first.
    pub rows: Vec<usize>,
    /// What the reasons add, such as "it may be dust or a fibre", with the features it is said of.
    pub notes: Vec<(String, Vec<String>)>,
}

/// Why a report does not pass, in plain words: rows by characteristic, the worst first.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// Rows out of limits or in doubt.
    pub issues: Vec<Issue>,
    /// Reasons that are about no row and nothing that was not assessed: frames that could not be read, a piece that was not found.
    pub others: Vec<String>,
}

/// The reasons of a report, sorted into what they are about.
pub fn why(report: &Report) -> Why {
    let mut taken = vec![false; report.reasons.len()];
    let mut issues: Vec<(usize, Issue)> = Vec::new();
    let mut rows: Vec<(usize, usize)> = Vec::new();
    for (i, m) in report.measurements.iter().enumerate() {
        if m.status < Status::Review {
            continue;
        }
        let (c, feature, view) = (&m.characteristic, &m.feature, &m.view);
        let subjects = if is_reading(m) {
            vec![format!("{feature}: {c} ")]
        } else if m.text.is_some() {
            // What a mark reads stands in place of its value.
            vec![format!("{feature} in view {view}: ")]
        } else {
            vec![format!("{feature} in view {view}: {c} "), format!("view {view}: {c} "), format!("{c} ")]
        };
        // One reason a feature: its worst characteristic. The others of it come behind.
        let about = |r: &String| {
            subjects.iter().any(|s| r.starts_with(s.as_str()))
                // The type of a finding stands before its feature.
                || r.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(subjects[0].as_str()))
        };
        let place = report.reasons.iter().position(about);
        if let Some(k) = place {
            taken[k] = true;
        }
        rows.push((place.unwrap_or(usize::MAX), i));
    }
    rows.sort_unstable();
    for (place, i) in rows {
        let m = &report.measurements[i];
        let at = match issues.iter().position(|(_, x)| x.status == m.status && x.characteristic == m.characteristic) {
            Some(at) => at,
            None => {
                let issue =
                    Issue { status: m.status, characteristic: m.characteristic.clone(), rows: vec![], notes: vec![] };
                issues.push((place, issue));
                issues.len() - 1
            }
        };
        let issue = &mut issues[at].1;
        issue.rows.push(i);
        // What stands behind the limit: `...(at most 0.05); it may be dust`.
        let note = report.reasons.get(place).and_then(|r| r.split_once("); ")).map(|n| n.1.to_owned());
        if let Some(note) = note {
            match issue.notes.iter_mut().find(|n| n.0 == note) {
                Some(n) => n.1.push(m.feature.clone()),
                None => issue.notes.push((note, vec![m.feature.clone()])),
            }
        }
    }
    // Stable: what fails before what is in doubt, and each by its first reason.
    issues.sort_by_key(|(place, x)| (std::cmp::Reverse(x.status), *place));
    let others = report.reasons.iter().zip(taken).filter(|(r, taken)| !taken && !r.starts_with("not assessed: "));
    Why { issues: issues.into_iter().map(|x| x.1).collect(), others: others.map(|o| o.0.clone()).collect() }
}

/// One sentence on a verdict: what the inspector does.
pub fn advice(report: &Report) -> &'static str {
    // What decided need not be the guard band.
    let other = report.measurements.iter().any(|m| m.decision.is_some());
    match (report.verdict, other) {
        (Verdict::Pass, false) => {
            "Everything that the spec limits was assessed and lies inside its limit by at least its uncertainty."
        }
        (Verdict::Pass, true) => {
            "Everything that the spec limits was assessed and conforms by the decision rule that the spec names for it."
        }
        (Verdict::Review, _) => {
            "A person decides. Go through the points below, then accept, reject or send to rework."
        }
        (Verdict::Fail, false) => {
            "Something lies outside its limit by at least its uncertainty. Do not accept the piece as it is: reject it, or send it to rework."
        }
        (Verdict::Fail, true) => {
            "Something does not conform, by the decision rule that the spec names for it. Do not accept the piece as it is: reject it, or send it to rework."
        }
    }
}

/// The first reason in plain words, for a list of pieces.
pub fn headline(report: &Report) -> String {
    let why = why(report);
    if let Some(issue) = why.issues.first() {
        let title = words::of(&issue.characteristic).title;
        let yes_no = is_yes_no(&report.measurements[issue.rows[0]]);
        let what = match (issue.status == Status::Fail, yes_no) {
            (true, true) => "no",
            (true, false) => "outside the limit",
            (false, true) => "not sure",
            (false, false) if is_beyond(&report.measurements[issue.rows[0]]) => "beyond the limit, but in doubt",
            (false, false) => "too close to the limit to tell",
        };
        let features: Vec<&str> =
            issue.rows.iter().take(3).map(|i| report.measurements[*i].feature.as_str()).collect();
        let more = issue.rows.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return format!("{title}: {what} ({}{more})", features.join(", "));
    }
    if let Some(n) = report.not_assessed.first() {
        return format!("{}: not assessed", words::of(&n.characteristic).title);
    }
    why.others.first().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report's JSON with these rows and reasons.
    fn report(rows: &str, reasons: &str) -> Doc {
        let text = format!(
            r#"{{"schema":"loupe.report/1","piece_id":"p","sku":"s","verdict":"review","reasons":{reasons},
            "measurements":{rows},"findings":[],"stones":[],"not_assessed":[],"frames":[],
            "provenance":{{"program":"loupe","spec_sha256":"","models":[],"settings_sha256":""}}}}"#
        );
        Doc::parse(text.as_bytes(), Path::new("r.json")).unwrap()
    }

    fn row(characteristic: &str, feature: &str, view: &str, status: &str) -> String {
        format!(
            r#"{{"characteristic":"{characteristic}","feature":"{feature}","view":"{view}","value":1,"uncertainty":0.1,"lower":null,"upper":1,"status":"{status}"}}"#
        )
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let of = |was: &str, is: &str| {
            let report = report(&format!("[{}]", row("pit.diameter_mm", "pit-1", "top", "fail")), "[]").report;
            let text = serde_json::to_string(&report).unwrap().replace(was, is);
            Doc::parse(text.as_bytes(), Path::new("r.json")).map(|_| ()).map_err(|e| e.to_string())
        };
        assert_eq!(of("", ""), Ok(()));
        let why = of(r#""uncertainty":0.1"#, r#""uncertainty":-0.1"#).unwrap_err();
        assert!(why.contains("r.json") && why.contains("measurements[0].uncertainty"), "{why}");
        assert!(of(r#""value":1.0"#, r#""value":1e308"#).unwrap_err().contains("measurements[0].value"));
    }

    #[test]
    fn reasons_are_sorted_into_rows_and_others() {
        let rows = [
            row("stone.tilt_deg", "S1", "top", "review"),
            row("stone.tilt_deg", "S10", "top", "review"),
            row("pit.diameter_mm", "pit-1", "top", "fail"),
            row("piece.weight_g", "scale 2", "", "review"),
            row("stain.area_mm2", "stain-1", "top", "pass"),
        ];
        let doc = report(
            &format!("[{}]", rows.join(",")),
            r#"["pit pit-1 in view top: pit.diameter_mm 1 +- 0.2 (at most 1); it may be dust",
                "S10 in view top: stone.tilt_deg 1 +- 0.2 (at most 1)",
                "tilted_stone S1 in view top: stone.tilt_deg 1 +- 0.2 (at most 1)",
                "scale 2: piece.weight_g 1 +- 0.2 (at most 1)",
                "not assessed: ring.ovality_mm: no", "top.png: cannot read"]"#,
        );
        let why = why(&doc.report);
        let seen: Vec<_> = why.issues.iter().map(|i| (i.characteristic.as_str(), i.rows.clone())).collect();
        assert_eq!(seen, [("pit.diameter_mm", vec![2]), ("stone.tilt_deg", vec![1, 0]), ("piece.weight_g", vec![3])]);
        assert_eq!(why.issues[0].notes, [("it may be dust".to_string(), vec!["pit-1".to_string()])]);
        assert_eq!(why.others, ["top.png: cannot read"]);
        assert_eq!(headline(&doc.report), "Pit, diameter: outside the limit (pit-1)");
    }

    #[test]
    fn mistakes_name_file_and_key() {
        let parse = |text: &str| Doc::parse(text.as_bytes(), Path::new("a/report.json")).unwrap_err().to_string();
        assert!(parse("{").starts_with("a/report.json: key `"), "{}", parse("{"));
        let good = serde_json::to_string(&report("[]", "[]").report).unwrap();
        let other = parse(&good.replace("loupe.report/1", "loupe.report/9"));
        assert!(other.contains("loupe.report/9") && other.contains("schema"), "{other}");
        let bad = parse(&good.replace("\"review\"", "\"maybe\""));
        assert!(bad.contains("key `verdict`"), "{bad}");
        assert!(parse(&format!("{good} x")).contains("trailing"));
    }

    #[test]
    fn a_row_is_decided_by_its_own_rule() {
        let decided = |decision: &str| {
            let text =
                row("stone.tilt_deg", "S1", "top", "pass").replace('}', &format!(r#","decision":{decision}}}"#));
            report(&format!("[{text}]"), "[]").report.measurements[0].clone()
        };
        let plain =
            report(&format!("[{}]", row("stone.tilt_deg", "S1", "top", "pass")), "[]").report.measurements[0].clone();
        assert_eq!((rule(&plain), guard(&plain), coverage(&plain)), (None, 0.2, 2.0));
        let wide = decided(r#"{"rule":"guard_band","k":3}"#);
        assert_eq!(rule(&wide).as_deref(), Some("guard band, k = 3"));
        assert!((guard(&wide) - 0.3).abs() < 1e-12);
        let simple = decided(r#"{"rule":"simple","k":2}"#);
        assert_eq!((rule(&simple).as_deref(), guard(&simple)), (Some("simple acceptance"), 0.0));
        assert_eq!(guard(&decided(r#"{"rule":"shared_risk","k":2,"u_max":0.25}"#)), 0.0);
        assert_eq!(guard(&decided(r#"{"rule":"shared_risk","k":2,"u_max":0.15}"#)), 0.2);
    }

    #[test]
    fn marks_and_totals_find_their_reasons() {
        let mark = row("hallmark.text", "mark-1", "inside", "fail").replace('}', r#","text":"585"}"#);
        let rows =
            [mark, row("stone.carat_total", "top", "top", "review"), row("stone.carat_total", "all", "", "review")];
        let doc = report(
            &format!("[{}]", rows.join(",")),
            r#"["hallmark_mismatch mark-1 in view inside: it reads `585`", "view top: stone.carat_total 1 +- 0.2 (at most 1)",
                "stone.carat_total 1 +- 0.2 (at most 1)"]"#,
        );
        let why = why(&doc.report);
        assert_eq!(why.others, Vec::<String>::new());
        assert_eq!(why.issues.len(), 2);
        assert_eq!(headline(&doc.report), "Hallmark as ordered: no (mark-1)");
    }
}
