//! Reports of a study out of folders, and the calls of people out of a table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::agree::Calls;
use super::{name_of, short, PROGRAM};
use crate::json;
use crate::report::{Report, Verdict};
use crate::source::csv::{CsvError, Table};

/// The name of a report in its piece's folder.
const REPORT: &str = "report.json";

/// Which folder above a piece's names the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// OPERATOR/RUN/PIECE/report.json: each run is an `--out` of `loupe inspect`
    #[default]
    OperatorRun,
    /// OPERATOR/PIECE/report.json: one run of each operator
    Operator,
    /// RUN/PIECE/report.json: one operator
    Run,
}

/// Which operator a run's folder belongs to, where a table says so: pairs of folder and operator.
#[derive(Debug, Clone, Default)]
pub struct Operators(Vec<(PathBuf, String)>);

impl Operators {
    /// Reads a CSV with the columns `folder,operator`. A folder is a run's path or its last parts.
    ///
    /// # Errors
    /// Where the file or a row cannot be used.
    pub fn read(path: &Path) -> Result<Self, CsvError> {
        let table = Table::read(path, &["folder", "operator"], &[])?;
        if let Some(m) = table.mistakes.first() {
            return Err(m.clone().into());
        }
        let mut out: Vec<(PathBuf, String)> = Vec::new();
        for row in &table.rows {
            let (folder, operator) = (table.need(row, "folder")?, table.need(row, "operator")?);
            let folder = PathBuf::from(folder);
            if out.iter().any(|(f, _)| *f == folder) {
                return Err(table.mistake(row, "folder", "is there twice").into());
            }
            out.push((folder, operator.to_owned()));
        }
        Ok(Operators(out))
    }

    /// The operator of the entry that says most of the folder's path.
    fn of(&self, folder: &Path) -> Option<&str> {
        let entries = self.0.iter().filter(|(f, _)| folder.ends_with(f));
        entries.max_by_key(|(f, _)| f.components().count()).map(|(_, o)| o.as_str())
    }
}

/// The reports of a study.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// The runs, by operator and then by folder.
    pub runs: Vec<Run>,
    /// Reports that could not be used, naming file and key.
    pub errors: Vec<String>,
    /// Reports of the very frames that another report of their piece is of: nothing was taken anew for them.
    pub copies: usize,
}

/// One round over the pieces.
#[derive(Debug, Clone)]
pub struct Run {
    /// Who mounted the pieces, or the station.
    pub operator: String,
    /// The run's folder, from the argument it was found through.
    pub name: String,
    /// Its reports by piece.
    pub reports: BTreeMap<String, Report>,
}

impl Reports {
    /// Reads every `report.json` at or below the paths. What cannot be read or used is an error and stops nothing.
    pub fn read(paths: &[PathBuf], layout: Layout, operators: Option<&Operators>) -> Self {
        let mut out = Reports::default();
        // By operator and the run's own folder: two arguments may lead to one run.
        let mut runs: BTreeMap<(String, PathBuf), Run> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut shown: BTreeSet<(String, Vec<String>)> = BTreeSet::new();
        for argument in paths {
            let mut found = Vec::new();
            if let Err(e) = walk(argument, &mut BTreeSet::new(), &mut found) {
                out.errors.push(format!("{}: cannot read: {e}", short(argument, argument)));
                continue;
            }
            if found.is_empty() {
                out.errors.push(format!("{}: no {REPORT} in this folder or below it", short(argument, argument)));
            }
            for path in found {
                let name = short(argument, &path);
                // The folders above an argument tell the operator too, however the argument was written.
                let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                if !seen.insert(real.clone()) {
                    continue;
                }
                let report: Report = match json::read(&path) {
                    Ok((report, _)) => report,
                    Err(e) => {
                        out.errors.push(format!("{name}: {}", e.why()));
                        continue;
                    }
                };
                let above = |n: usize| real.ancestors().nth(n).unwrap_or(Path::new(""));
                let folder = above(2);
                let of_folder = match layout {
                    Layout::OperatorRun => name_of(above(3)),
                    Layout::Operator => name_of(folder),
                    Layout::Run => "operator".to_owned(),
                };
                let operator = match operators {
                    None => of_folder,
                    Some(table) => match table.of(folder) {
                        Some(o) => o.to_owned(),
                        None => {
                            out.errors.push(format!("{name}: --operators names no operator of its run's folder"));
                            continue;
                        }
                    },
                };
                let frames: Vec<String> = report.frames.iter().filter_map(|f| f.sha256.clone()).collect();
                if !frames.is_empty() && !shown.insert((report.piece_id.clone(), frames)) {
                    out.copies += 1;
                }
                let run = runs.entry((operator.clone(), folder.to_owned())).or_insert_with(|| {
                    let parent = Path::new(&name).ancestors().nth(2).filter(|p| !p.as_os_str().is_empty());
                    let name = parent.map_or_else(|| name_of(folder), |p| p.display().to_string());
                    Run { operator, name, reports: BTreeMap::new() }
                });
                if run.reports.contains_key(&report.piece_id) {
                    let id = &report.piece_id;
                    out.errors.push(format!("{name}: key `piece_id`: `{id}` has another report in the same run"));
                    continue;
                }
                run.reports.insert(report.piece_id.clone(), report);
            }
        }
        out.runs = runs.into_values().collect();
        out.errors.sort();
        out
    }
}

fn walk(path: &Path, above: &mut BTreeSet<PathBuf>, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        out.push(path.to_owned());
        return Ok(());
    }
    // A link to a folder above would never end.
    let real = std::fs::canonicalize(path)?;
    if !above.insert(real.clone()) {
        return Ok(());
    }
    let report = path.join(REPORT);
    if report.is_file() {
        out.push(report);
    }
    let mut children: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    children.sort();
    for child in children {
        let hidden = child.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && child.is_dir() {
            walk(&child, above, out)?;
        }
    }
    above.remove(&real);
    Ok(())
}

/// The calls of people, and which pieces are truly good (true) or bad, out of a CSV with the columns `piece_id,appraiser,call` and,
/// where the truth is known, `reference`. Calls are `pass`, `fail` or `review`, references `pass` or `fail`. An appraiser's rows on
/// one piece are repeats, in their order. Rows with mistakes are left out and given back as messages.
///
/// # Errors
/// Where the file or its header cannot be used.
#[allow(clippy::type_complexity)]
pub fn human_calls(path: &Path) -> Result<(Calls, BTreeMap<String, bool>, Vec<String>), CsvError> {
    let table = Table::read(path, &["piece_id", "appraiser", "call"], &["reference"])?;
    let mut mistakes = table.mistakes.clone();
    let mut calls = Calls::new();
    let mut reference: BTreeMap<String, (bool, usize)> = BTreeMap::new();
    for row in &table.rows {
        let one = || {
            let (piece, who) = (table.need(row, "piece_id")?, table.need(row, "appraiser")?);
            if who == PROGRAM || who.starts_with(&format!("{PROGRAM}/")) {
                return Err(table.mistake(
                    row,
                    "appraiser",
                    format!("`{who}` is what the reports' verdicts are called"),
                ));
            }
            let call = match table.need(row, "call")?.to_lowercase().as_str() {
                "pass" => Verdict::Pass,
                "fail" => Verdict::Fail,
                "review" => Verdict::Review,
                other => return Err(table.mistake(row, "call", format!("`{other}` is none of pass, fail, review"))),
            };
            let truth = match table.get(row, "reference").map(str::to_lowercase).as_deref() {
                None => None,
                Some("pass") => Some(true),
                Some("fail") => Some(false),
                Some(other) => {
                    return Err(table.mistake(row, "reference", format!("`{other}` is neither pass nor fail")))
                }
            };
            if let (Some(good), Some((before, line))) = (truth, reference.get(piece)) {
                if good != *before {
                    let message = format!("contradicts line {line}: {piece} cannot be both good and bad");
                    return Err(table.mistake(row, "reference", message));
                }
            }
            Ok((piece.to_owned(), who.to_owned(), call, truth))
        };
        match one() {
            Ok((piece, who, call, truth)) => {
                if let Some(good) = truth {
                    reference.entry(piece.clone()).or_insert((good, row.line));
                }
                calls.entry(who).or_default().entry(piece).or_default().push(call);
            }
            Err(m) => mistakes.push(m),
        }
    }
    mistakes.sort_by_key(|m| m.line);
    let mistakes = mistakes.iter().map(|m| m.to_string().replacen(&path.display().to_string(), &name_of(path), 1));
    Ok((calls, reference.into_iter().map(|(p, (good, _))| (p, good)).collect(), mistakes.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_their_truth() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls.csv");
        let text = "piece_id,appraiser,call,reference\np1,anna,pass,pass\np1,anna,fail,\np2,anna,maybe,\np2,ben,FAIL,fail\np1,ben,pass,fail\np2,loupe,pass,\np3,ben,review,bad\n";
        std::fs::write(&path, text).unwrap();
        let (calls, truth, mistakes) = human_calls(&path).unwrap();
        assert_eq!(calls["anna"]["p1"], [Verdict::Pass, Verdict::Fail]);
        assert_eq!(calls["ben"]["p2"], [Verdict::Fail]);
        assert_eq!(truth, [("p1".to_owned(), true), ("p2".to_owned(), false)].into());
        assert_eq!(mistakes[0], "calls.csv:4: column `call`: `maybe` is none of pass, fail, review");
        assert!(mistakes[1].starts_with("calls.csv:6: column `reference`: contradicts line 2"), "{mistakes:?}");
        assert!(mistakes[2].starts_with("calls.csv:7: column `appraiser`: `loupe`"));
        assert!(mistakes[3].starts_with("calls.csv:8: column `reference`: `bad`"));
        assert_eq!(mistakes.len(), 4);
    }

    #[test]
    fn a_table_of_operators_goes_by_the_end_of_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.csv");
        std::fs::write(&path, "folder,operator\n1,anna\nlate/1,ben\n").unwrap();
        let o = Operators::read(&path).unwrap();
        assert_eq!((o.of(Path::new("/x/early/1")), o.of(Path::new("/x/late/1"))), (Some("anna"), Some("ben")));
        assert_eq!(o.of(Path::new("/x/11")), None);
        std::fs::write(&path, "folder,operator\n1,anna\n1,ben\n").unwrap();
        assert!(Operators::read(&path)
            .is_err_and(|e| e.to_string().ends_with("o.csv:3: column `folder`: is there twice")));
    }
}
