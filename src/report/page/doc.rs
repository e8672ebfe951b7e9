//! A report as read back from its file, and what it says in plain words.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::words;
use crate::hash::sha256_hex;
use crate::report::{Measurement, Report, Status, Verdict, REPORT_SCHEMA};

/// Why a report could not be read. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum DocError {
    /// The file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The report.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not the JSON of a report.
    #[error("{}: key `{key}`: {message}", path.display())]
    Parse {
        /// The report.
        path: PathBuf,
        /// The key at which reading stopped.
        key: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// The report is of another kind.
    #[error("{}: key `schema`: `{found}` is not `{REPORT_SCHEMA}`", path.display())]
    Schema {
        /// The report.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

/// A report with the hash of its file.
#[derive(Debug, Clone)]
pub struct Doc {
    /// The report.
    pub report: Report,
    /// sha256 of the file.
    pub sha256: String,
    /// Of every measurement, in their order.
    extras: Vec<Extra>,
}

/// What a measurement may say beside its numbers, read by name so that reports with and without it can be shown.
#[derive(Debug, Clone, Default, Deserialize)]
struct Extra {
    #[serde(default)]
    rule: serde_json::Value,
    #[serde(default)]
    text: serde_json::Value,
}

#[derive(Deserialize)]
struct Extras {
    #[serde(default)]
    measurements: Vec<Extra>,
}

/// A text, or the JSON of what is none; none of null.
fn text_of(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    }
}

impl Doc {
    /// Reads a report.
    ///
    /// # Errors
    /// [`DocError`], which names the file and the key.
    pub fn read(path: &Path) -> Result<Self, DocError> {
        let bytes = std::fs::read(path).map_err(|source| DocError::Read { path: path.to_owned(), source })?;
        Self::parse(&bytes, path)
    }

    /// Reads a report's bytes; `path` only names them in errors.
    ///
    /// # Errors
    /// [`DocError::Parse`] or [`DocError::Schema`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, DocError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let parse = |key: String, message: String| DocError::Parse { path: path.to_owned(), key, message };
        let report: Report = serde_path_to_error::deserialize(&mut reader)
            .map_err(|e| parse(e.path().to_string(), e.inner().to_string()))?;
        reader.end().map_err(|e| parse(".".into(), e.to_string()))?;
        if report.schema != REPORT_SCHEMA {
            return Err(DocError::Schema { path: path.to_owned(), found: report.schema });
        }
        let extras: Extras = serde_json::from_slice(bytes).map_err(|e| parse(".".into(), e.to_string()))?;
        Ok(Doc { report, sha256: sha256_hex(bytes), extras: extras.measurements })
    }

    /// The decision rule of a measurement, where the report says one.
    pub fn rule(&self, measurement: usize) -> Option<String> {
        self.extras.get(measurement).and_then(|e| text_of(&e.rule))
    }

    /// What was read as text, where the report says it.
    pub fn text(&self, measurement: usize) -> Option<String> {
        self.extras.get(measurement).and_then(|e| text_of(&e.text))
    }

    /// Whether a measurement was decided with a guard band: what the program does unless the report says another rule.
    pub fn is_guarded(&self, measurement: usize) -> bool {
        self.rule(measurement).is_none_or(|r| r.contains("guard"))
    }
}

/// Whether a row was limited.
pub fn is_limited(m: &Measurement) -> bool {
    m.lower.is_some() || m.upper.is_some()
}

/// Whether a row says that something was looked for and none was seen: no feature of its own, a value and an uncertainty of 0.
pub fn is_none_seen(m: &Measurement) -> bool {
    m.value == 0.0 && m.uncertainty == 0.0 && m.feature == m.view && !m.view.is_empty()
}

/// Whether a row is a reading of another instrument: it belongs to no view, and its feature is the instrument.
pub fn is_reading(m: &Measurement) -> bool {
    m.view.is_empty()
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
        let subject = if is_reading(m) {
            format!("{}: {} ", m.feature, m.characteristic)
        } else {
            format!("{} in view {}: {} ", m.feature, m.view, m.characteristic)
        };
        // One reason a feature: its worst characteristic. The others of it come behind.
        let place = report.reasons.iter().position(|r| r.starts_with(&subject) || r.contains(&format!(" {subject}")));
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
pub fn advice(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => {
            "Everything that the spec limits was assessed and lies inside its limit by at least its uncertainty."
        }
        Verdict::Review => {
            "A person decides. Go through the points below, then accept, reject or send to rework."
        }
        Verdict::Fail => {
            "Something lies outside its limit by at least its uncertainty. Do not accept the piece as it is: reject it, or send it to rework."
        }
    }
}

/// The first reason in plain words, for a list of pieces.
pub fn headline(report: &Report) -> String {
    let why = why(report);
    if let Some(issue) = why.issues.first() {
        let title = words::of(&issue.characteristic).title;
        let what = if issue.status == Status::Fail { "outside the limit" } else { "too close to the limit to tell" };
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
    fn what_is_said_beside_the_numbers_is_kept() {
        let extras = |text: &str| serde_json::from_str::<Extras>(text).unwrap().measurements;
        let e = extras(r#"{"measurements":[{"rule":"simple","text":"750"},{},{"text":{"read":"18K"}}]}"#);
        assert_eq!(text_of(&e[0].rule).as_deref(), Some("simple"));
        assert_eq!(text_of(&e[0].text).as_deref(), Some("750"));
        assert_eq!(text_of(&e[1].rule), None);
        assert_eq!(text_of(&e[2].text).as_deref(), Some(r#"{"read":"18K"}"#));
        let doc = report("[]", "[]");
        assert!(doc.is_guarded(0) && doc.rule(7).is_none());
    }
}
