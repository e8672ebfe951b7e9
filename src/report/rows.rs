//! Measurements as rows of a table (RFC 4180), one for each value with its limits and uncertainty: what a quality system, a spreadsheet or
//! an AS9102 form takes. The values themselves are recorded, never a word in their place.

use crate::report::page::doc::{self, is_limited, Doc};
use crate::report::page::{status_word, words};
use crate::spec::Rule;

/// The columns.
pub const COLUMNS: [&str; 19] = [
    "piece_id",
    "sku",
    "verdict",
    "view",
    "feature",
    "characteristic",
    "unit",
    "value",
    "uncertainty",
    "expanded_uncertainty",
    "lower",
    "upper",
    "status",
    "rule",
    "k",
    "text",
    "note",
    "error",
    "report_sha256",
];

/// A text that a spreadsheet takes for text. One that starts like a formula is given an apostrophe in front (OWASP, CSV injection):
/// `=1+1` becomes `'=1+1`. Full-width signs count too, and what stands behind blanks. Control characters but line ends and tabs become `\u{FFFD}`.
pub fn harmless(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() && !matches!(c, '\t' | '\r' | '\n') { '\u{FFFD}' } else { c })
        .collect();
    let starts = text.trim_start().chars().next();
    let first = text.chars().next();
    let formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%');
    if starts.is_some_and(formula) || first.is_some_and(|c| matches!(c, '\t' | '\r' | '\n')) {
        format!("'{text}")
    } else {
        text
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// The first line.
///
/// # Errors
/// The writer's.
pub fn head() -> Result<Vec<u8>, csv::Error> {
    write([COLUMNS.map(str::to_owned)])
}

/// The rows of a report: its measurements, then what was not assessed, then the errors of its frames and the other ones of its run.
///
/// # Errors
/// The writer's.
pub fn of(doc: &Doc, errors: &[String]) -> Result<Vec<u8>, csv::Error> {
    let r = &doc.report;
    let line = |cells: [String; 15]| {
        let mut row: [String; 19] = Default::default();
        row[0] = harmless(&r.piece_id);
        row[1] = harmless(&r.sku);
        row[2] = r.verdict.as_str().into();
        row[18].clone_from(&doc.sha256);
        for (to, cell) in row[3..18].iter_mut().zip(cells) {
            *to = cell;
        }
        row
    };
    let measured = r.measurements.iter().map(|m| {
        line([
            harmless(&m.view),
            harmless(&m.feature),
            harmless(&m.characteristic),
            words::unit(&m.characteristic).into(),
            number(Some(m.value)),
            number(Some(m.uncertainty)),
            number(Some(crate::report::round_to(doc::expanded(m), 9))),
            number(m.lower),
            number(m.upper),
            if is_limited(m) { status_word(m.status).into() } else { "no_limit".into() },
            if is_limited(m) {
                m.decision.map_or(Rule::GuardBand, |d| d.rule).as_str().into()
            } else {
                String::new()
            },
            number(Some(doc::coverage(m))),
            harmless(m.text.as_deref().unwrap_or_default()),
            String::new(),
            String::new(),
        ])
    });
    let unseen = r.not_assessed.iter().map(|n| {
        let mut cells: [String; 15] = Default::default();
        cells[0] = harmless(n.view.as_deref().unwrap_or(""));
        cells[2] = harmless(&n.characteristic);
        cells[3] = words::unit(&n.characteristic).into();
        cells[9] = "not_assessed".into();
        cells[13] = harmless(&n.reason);
        line(cells)
    });
    let frames = r.frames.iter().filter_map(|f| f.error.as_ref().map(|e| (f, e))).map(|(f, e)| {
        let mut cells: [String; 15] = Default::default();
        cells[1] = harmless(&f.file);
        cells[9] = "not_assessed".into();
        cells[14] = harmless(e);
        line(cells)
    });
    let is_of_frame =
        |e: &&String| r.frames.iter().filter_map(|f| f.error.as_ref()).any(|own| e.contains(own.as_str()));
    let others = errors.iter().filter(|e| !is_of_frame(e)).map(|e| {
        let mut cells: [String; 15] = Default::default();
        cells[14] = harmless(e);
        line(cells)
    });
    write(measured.chain(unseen).chain(frames).chain(others))
}

/// The row of a piece without a report that could be read.
///
/// # Errors
/// The writer's.
pub fn of_error(piece_id: &str, errors: &[String]) -> Result<Vec<u8>, csv::Error> {
    let mut row: [String; 19] = Default::default();
    row[0] = harmless(piece_id);
    row[2] = "error".into();
    row[17] = harmless(&errors.join("; "));
    write([row])
}

fn write(rows: impl IntoIterator<Item = [String; 19]>) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        out.write_record(&row)?;
    }
    out.into_inner().map_err(|e| csv::Error::from(e.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        for bad in ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", " =1", "＝1", "|cmd"] {
            assert_eq!(harmless(bad), format!("'{bad}"));
        }
        for good in ["pave-002", "S1", "", "a=b", "1-2"] {
            assert_eq!(harmless(good), good);
        }
    }

    #[test]
    fn rows_are_quoted_as_rfc_4180_says() {
        let text = r#"{"schema":"loupe.report/1","piece_id":"a,\"b\"","sku":"=s","verdict":"fail","reasons":[],
            "measurements":[{"characteristic":"stone.tilt_deg","feature":"-S1","view":"top\nx","value":-1.5,"uncertainty":0.25,"lower":null,"upper":5,"status":"fail"}],
            "findings":[],"stones":[],"not_assessed":[{"characteristic":"ring.ovality_mm","view":null,"reason":"no frame"}],
            "frames":[{"file":"f.png","sha256":null,"pose":null,"error":"cannot read"}],
            "provenance":{"program":"loupe","spec_sha256":"","models":[],"settings_sha256":""}}"#;
        let doc = Doc::parse(text.as_bytes(), std::path::Path::new("r.json")).unwrap();
        let out = String::from_utf8([head().unwrap(), of(&doc, &[]).unwrap()].concat()).unwrap();
        let h = &doc.sha256;
        let expected = [
            COLUMNS.join(","),
            format!(
                "\"a,\"\"b\"\"\",'=s,fail,\"top\nx\",'-S1,stone.tilt_deg,°,-1.5,0.25,0.5,,5,fail,guard_band,2,,,,{h}"
            ),
            format!("\"a,\"\"b\"\"\",'=s,fail,,,ring.ovality_mm,mm,,,,,,not_assessed,,,,no frame,,{h}"),
            format!("\"a,\"\"b\"\"\",'=s,fail,,f.png,,,,,,,,not_assessed,,,,,cannot read,{h}"),
        ];
        assert_eq!(out, expected.join("\r\n") + "\r\n");
        let error = String::from_utf8(of_error("x", &["one".into(), "two".into()]).unwrap()).unwrap();
        assert_eq!(error, "x,,error,,,,,,,,,,,,,,,one; two,\r\n");
    }
}
