//! Readings of other instruments in a table of their own, joined to the pieces by their ids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::csv::{CsvError, CsvMistake, Row, Table};
use crate::piece::{Piece, Reading};
use crate::spec::parse::unknown_characteristic;

/// The table's readings by piece.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    path: PathBuf,
    of: BTreeMap<String, Vec<(usize, Reading)>>,
    /// Mistakes in rows that say whose they are: they are errors of those pieces.
    wrong: BTreeMap<String, Vec<CsvMistake>>,
    /// Mistakes in rows that do not say it.
    pub mistakes: Vec<CsvMistake>,
}

impl Readings {
    /// Reads a CSV with the columns `piece_id,characteristic,value` and, where known, `uncertainty` (standard, k = 1),
    /// `instrument` and `unit`, which must be that of the characteristic's name. A row with a mistake is left out and reported with its piece; two readings of one piece, characteristic and
    /// instrument contradict each other, and neither counts.
    ///
    /// # Errors
    /// Where the file or its header cannot be used.
    pub fn read(path: &Path) -> Result<Self, CsvError> {
        let table =
            Table::read(path, &["piece_id", "characteristic", "value"], &["uncertainty", "instrument", "unit"])?;
        for other in &table.others {
            tracing::warn!("{}: column `{other}` is not read", path.display());
        }
        let mut out = Readings { path: path.to_owned(), mistakes: table.mistakes.clone(), ..Readings::default() };
        for row in &table.rows {
            let id = match table.need(row, "piece_id") {
                Ok(id) => id.to_owned(),
                Err(m) => {
                    out.mistakes.push(m);
                    continue;
                }
            };
            match reading(&table, row) {
                Ok(r) => out.of.entry(id).or_default().push((row.line, r)),
                Err(m) => out.wrong.entry(id).or_default().push(m),
            }
        }
        for (id, rows) in &mut out.of {
            let all = rows.clone();
            let twin = |line: usize, r: &Reading| {
                all.iter().find(|(l, o)| *l != line && o.of_what() == r.of_what()).map(|(l, _)| *l)
            };
            rows.retain(|(line, r)| twin(*line, r).is_none());
            for (line, r) in &all {
                // Said once, at the later row.
                if let Some(first) = twin(*line, r).filter(|first| first < line) {
                    let column = "characteristic".to_owned();
                    let message =
                        format!("`{}` of {id} is already on line {first}: neither counts", r.characteristic);
                    let m = CsvMistake { path: path.to_owned(), line: *line, column, message };
                    out.wrong.entry(id.clone()).or_default().push(m);
                }
            }
        }
        Ok(out)
    }

    /// The ids of the table that no piece of a run has.
    pub fn unmatched(&self, ids: &BTreeSet<&str>) -> Vec<&str> {
        let mut all: Vec<&str> = self.of.keys().chain(self.wrong.keys()).map(String::as_str).collect();
        all.retain(|id| !ids.contains(id));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Adds a piece's readings to it and gives the mistakes in its rows. A reading that the piece has already, of the same
    /// characteristic and instrument, contradicts the table's: neither counts.
    pub fn join(&self, piece: &mut Piece) -> Vec<String> {
        let mut errors: Vec<String> =
            self.wrong.get(&piece.piece_id).into_iter().flatten().map(ToString::to_string).collect();
        let mut clash = Vec::new();
        let mut added = Vec::new();
        for (line, r) in self.of.get(&piece.piece_id).into_iter().flatten() {
            if piece.readings.iter().any(|o| o.of_what() == r.of_what()) {
                errors.push(format!(
                    "{}:{line}: column `characteristic`: `{}` of {} is also in its piece.json: neither counts",
                    self.path.display(),
                    r.characteristic,
                    piece.piece_id
                ));
                clash.push(r);
            } else {
                added.push(r.clone());
            }
        }
        piece.readings.retain(|o| !clash.iter().any(|r| o.of_what() == r.of_what()));
        piece.readings.extend(added);
        errors
    }
}

fn reading(table: &Table, row: &Row) -> Result<Reading, CsvMistake> {
    let characteristic = table.need(row, "characteristic")?;
    if let Some(message) = unknown_characteristic(characteristic) {
        return Err(table.mistake(row, "characteristic", message));
    }
    table.need(row, "value")?;
    let value = table.number(row, "value")?.unwrap_or_default();
    let uncertainty = table.number(row, "uncertainty")?;
    if let Some(u) = uncertainty.filter(|u| *u < 0.0) {
        return Err(table.mistake(row, "uncertainty", format!("{u} is no uncertainty: it must be 0 or more")));
    }
    let reading = Reading {
        characteristic: characteristic.to_owned(),
        value,
        uncertainty,
        instrument: table.get(row, "instrument").map(str::to_owned),
        extra: BTreeMap::new(),
    };
    if let Some(why) = table.get(row, "unit").and_then(|unit| reading.other_unit(unit)) {
        return Err(table.mistake(row, "unit", why));
    }
    match reading.impossible() {
        Some(why) => Err(table.mistake(row, "value", why)),
        None => Ok(reading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{Frame, PIECE_SCHEMA};

    fn readings(text: &str) -> Readings {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.csv");
        std::fs::write(&path, text).unwrap();
        let mut r = Readings::read(&path).unwrap();
        r.path = "r.csv".into();
        for m in r.wrong.values_mut().flatten().chain(&mut r.mistakes) {
            m.path = "r.csv".into();
        }
        r
    }

    fn piece(id: &str) -> Piece {
        Piece {
            schema: PIECE_SCHEMA.into(),
            piece_id: id.into(),
            spec: "s".into(),
            frames: vec![Frame::bare("a.png", "top", "dome", None, None)],
            readings: vec![],
            extra: BTreeMap::new(),
        }
    }

    const HEADER: &str = "piece_id,characteristic,value,uncertainty,instrument\n";

    #[test]
    fn readings_join_by_the_piece() {
        let r = readings(&format!(
            "{HEADER}p1,piece.weight_g,3.12,0.005,scale 2\np1,piece.pull_n,40,,\np2,piece.weight_g,2,,scale 2\nold,piece.weight_g,2,,\n"
        ));
        let mut p = piece("p1");
        assert!(r.join(&mut p).is_empty() && r.mistakes.is_empty());
        let of: Vec<_> = p.readings.iter().map(|r| (r.value, r.uncertainty, r.instrument.as_deref())).collect();
        assert_eq!(of, [(3.12, Some(0.005), Some("scale 2")), (40.0, None, None)]);
        assert_eq!(r.unmatched(&BTreeSet::from(["p1", "p2", "p3"])), ["old"]);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_its_pieces_error() {
        let r = readings(&format!(
            "{HEADER}p1,piece.weight_g,heavy,,\np1,piece.wieght_g,3,,\np1,piece.fineness_ppt,750,-1,xrf\n,piece.weight_g,3,,\np1,3\np1,piece.pull_n,,,\n"
        ));
        let mut p = piece("p1");
        let errors = r.join(&mut p);
        assert_eq!(errors[0], "r.csv:2: column `value`: `heavy` is no number");
        assert!(errors[1].starts_with("r.csv:3: column `characteristic`: ") && errors[1].contains("piece.weight_g"));
        assert_eq!(errors[2], "r.csv:4: column `uncertainty`: -1 is no uncertainty: it must be 0 or more");
        assert_eq!(errors[3], "r.csv:7: column `value`: is empty");
        let mut others: Vec<String> = r.mistakes.iter().map(ToString::to_string).collect();
        others.sort();
        assert_eq!(others, ["r.csv:5: column `piece_id`: is empty", "r.csv:6: 2 fields, the header has 5"]);
        assert!(p.readings.is_empty());
        assert!(r.join(&mut piece("p2")).is_empty());
    }

    #[test]
    fn another_unit_and_less_than_nothing_are_mistakes() {
        let r = readings(
            "piece_id,characteristic,value,unit\np1,piece.weight_g,2.5,ct\np1,piece.weight_g,2.5,G\np1,piece.fineness_ppt,750,\u{2030}\np1,piece.pull_n,-1,\n",
        );
        let mut p = piece("p1");
        let errors = r.join(&mut p);
        assert_eq!(errors[0], "r.csv:2: column `unit`: `ct`, and `piece.weight_g` is in g");
        assert_eq!(errors[1], "r.csv:5: column `value`: -1 is less than nothing");
        assert_eq!((errors.len(), p.readings.len()), (2, 2));
        let r = readings(
            "piece_id,characteristic,value,unit\np1,stone.carat_total,1.5,ct\np1,ring.size_us,7,US\np1,ring.size_iso,54,mm\n",
        );
        let errors = r.join(&mut piece("p1"));
        assert_eq!(errors, ["r.csv:4: column `unit`: `mm`, and `ring.size_iso` is a plain number"]);
    }

    #[test]
    fn of_two_readings_neither_counts() {
        let r = readings(&format!(
            "{HEADER}p1,piece.weight_g,3.12,,scale\np1,piece.weight_g,3.21,,scale\np1,piece.weight_g,3.2,,scale 2\np2,piece.weight_g,1,,scale\n"
        ));
        let mut p = piece("p1");
        let twice = "r.csv:3: column `characteristic`: `piece.weight_g` of p1 is already on line 2: neither counts";
        assert_eq!(r.join(&mut p), [twice]);
        assert_eq!(p.readings.iter().map(|r| r.value).collect::<Vec<_>>(), [3.2]);
        let mut p = piece("p2");
        p.readings = r.of["p2"].iter().map(|r| r.1.clone()).collect();
        assert!(r.join(&mut p)[0].ends_with("`piece.weight_g` of p2 is also in its piece.json: neither counts"));
        assert!(p.readings.is_empty());
    }
}
