//! What a run has done so far (`OUT/summary.part.jsonl`), so that one that is cut short can go on (`loupe inspect --resume`).
//!
//! The first line tells the program, its models and the options; each further line is a piece that is done, with a hash of what its report was
//! made of. The file is there only while a run goes on, or after one that was cut short.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::inspect::SummaryRow;
use crate::calibrate;
use crate::hash::sha256_hex;
use crate::pipeline::Job;
use crate::report::ModelRow;

const FILE: &str = "summary.part.jsonl";
/// The list of a run that another one, which went otherwise, took the place of.
const OLD: &str = "summary.part.old.jsonl";

/// Whether a folder of reports is that of a run that has not ended, or was cut short.
pub(super) fn is_under_way(out: &Path) -> bool {
    out.join(FILE).exists()
}

/// What must be the same for the reports and pictures of two runs to be the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The program, with a stamp of its file.
    pub program: String,
    /// Its models.
    pub models: Vec<ModelRow>,
    /// The options that change what is written.
    pub options: Vec<String>,
}

/// One piece that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    made_of: String,
    row: SummaryRow,
    /// What was written: files in the folder of reports, and the report's sha256.
    #[serde(default)]
    written: Written,
}

/// What was written of a piece.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    /// The report's sha256, lower-case hex.
    pub report_sha256: String,
    /// Pictures, in the folder of reports.
    pub pictures: Vec<PathBuf>,
}

/// The list of a run. It is locked as long as the run goes on: two runs into one folder would tear each other's lists.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    earlier: HashMap<String, Done>,
    resume: bool,
}

impl Journal {
    /// Opens the list in the folder of reports. What an earlier run of the same head has left there stays in it, also where this run
    /// does not go on with it.
    ///
    /// # Errors
    /// Where it cannot be written, another run writes it, or (to resume) an earlier run had another head.
    pub fn begin(out: &Path, head: &Head, resume: bool) -> Result<Self, String> {
        let path = out.join(FILE);
        let cannot = |e: std::io::Error| format!("{}: cannot write: {e}", path.display());
        let mut file = File::options().read(true).append(true).create(true).open(&path).map_err(cannot)?;
        // A file system without locks is no reason not to inspect.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(format!("{}: another run is writing into this folder", out.display()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        // A line that was cut off is no text, or no JSON: its piece is inspected again.
        let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        let first = lines.first().and_then(|l| serde_json::from_slice::<Head>(l).ok());
        let same = first.as_ref() == Some(head);
        if let Some(other) = first.filter(|_| !same) {
            if resume {
                return Err(format!(
                    "{}: --resume: the run that was cut short went otherwise ({}): begin anew without --resume",
                    path.display(),
                    difference(&other, head)
                ));
            }
            let n = lines[1..].iter().filter(|l| serde_json::from_slice::<Done>(l).is_ok()).count();
            if n > 0 {
                let old = out.join(OLD);
                std::fs::copy(&path, &old).map_err(cannot)?;
                eprintln!(
                    "loupe: warning: {}: a run with {} was cut short here after {}; this one begins anew, and its list is kept as {OLD}",
                    out.display(),
                    difference(&other, head),
                    super::inspect::count(n, "piece")
                );
            }
        }
        let mut earlier = HashMap::new();
        if same {
            let done = lines[1..].iter().filter_map(|l| serde_json::from_slice::<Done>(l).ok());
            earlier.extend(done.map(|d| (d.row.piece_id.clone(), d)));
            if bytes.last() != Some(&b'\n') {
                file.write_all(b"\n").map_err(cannot)?;
            }
        } else {
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(cannot)?;
            let mut line = serde_json::to_vec(head).map_err(|e| e.to_string())?;
            line.push(b'\n');
            file.write_all(&line).map_err(cannot)?;
        }
        Ok(Journal { path, file: Mutex::new(file), earlier, resume })
    }

    /// How many pieces an earlier run had done.
    pub fn earlier(&self) -> usize {
        self.earlier.len()
    }

    /// The rows of what an earlier run had done.
    pub fn rows(&self) -> impl Iterator<Item = SummaryRow> + '_ {
        let done: BTreeMap<&String, &Done> = self.earlier.iter().collect();
        done.into_values().map(|d| d.row.clone())
    }

    /// The row of a piece that an earlier run has done with the same input, where its report still lies there as it was written, with its pictures, and nothing went wrong.
    pub fn kept(&self, out: &Path, name: &str, made_of: &str) -> Option<SummaryRow> {
        let done = self.earlier.get(name).filter(|d| self.resume && d.made_of == made_of)?;
        let report = done.row.report.as_ref().filter(|_| done.row.errors.is_empty())?;
        let there = done.written.pictures.iter().all(|p| out.join(p).is_file());
        let bytes = std::fs::read(out.join(report)).ok().filter(|_| there)?;
        (sha256_hex(&bytes) == done.written.report_sha256).then(|| done.row.clone())
    }

    /// To go on: pieces that the earlier run had done and that are not among these, where there are any: how many, and the first by name.
    pub fn strangers(&self, names: &HashSet<&str>) -> Option<(usize, &str)> {
        let others = || self.earlier.keys().map(String::as_str).filter(|n| self.resume && !names.contains(n));
        others().min().map(|first| (others().count(), first))
    }

    /// Notes a piece that is done.
    pub fn note(&self, made_of: &str, row: &SummaryRow, written: Written) {
        let done = Done { made_of: made_of.to_owned(), row: row.clone(), written };
        let written = serde_json::to_vec(&done).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // One write: a run that is killed leaves whole lines.
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if let Err(e) = written {
            // The report itself is written.
            tracing::warn!("{}: {}: not noted as done: {e}", self.path.display(), row.piece_id);
        }
    }

    /// The run is whole, and its summary written.
    pub fn end(self) -> Result<(), String> {
        std::fs::remove_file(&self.path).map_err(|e| format!("{}: cannot be removed: {e}", self.path.display()))
    }
}

fn difference(a: &Head, b: &Head) -> &'static str {
    if a.options != b.options {
        "other options"
    } else if a.models != b.models {
        "other models"
    } else {
        "another program"
    }
}

/// Size and time of a file, as text; of one that is not there, that.
pub(super) fn stamp(path: &Path) -> String {
    let Ok(meta) = std::fs::metadata(path) else {
        return "none".into();
    };
    let time = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    format!("{} bytes of {time}", meta.len())
}

/// A hash of all that a piece's report and pictures are made of: the piece with its readings, the spec, and size and time of every file
/// that they name. The frames are not read for it.
pub(super) fn made_of(job: &Job) -> String {
    let mut text = serde_json::to_string(&job.piece).unwrap_or_default();
    text.push_str(&job.spec_sha256);
    // By the name in the manifest: the same archive may be named by another path.
    let mut add = |name: &str, path: &Path| text.push_str(&format!("\n{name}: {}", stamp(path)));
    for frame in &job.piece.frames {
        add(&frame.file, &job.base.join(&frame.file));
        if let Some((name, path)) =
            frame.calibration.as_ref().and_then(|n| Some((n, calibrate::file_of(&job.base, n)?)))
        {
            add(name, &path);
        }
        frame.colour_calibration.iter().for_each(|c| add(c, &job.base.join(c)));
    }
    job.spec.views.iter().filter_map(|v| v.taught.as_ref()).for_each(|t| add(&file_name(Path::new(t)), Path::new(t)));
    sha256_hex(text.as_bytes())
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    fn head(options: &[&str]) -> Head {
        Head { program: "p".into(), models: vec![], options: options.iter().map(|s| (*s).to_string()).collect() }
    }

    fn written(report: &str) -> Written {
        Written { report_sha256: sha256_hex(report.as_bytes()), pictures: vec![] }
    }

    fn row(id: &str) -> SummaryRow {
        SummaryRow {
            schema: super::super::inspect::SUMMARY_SCHEMA.into(),
            piece_id: id.into(),
            verdict: Some(Verdict::Pass),
            reasons: vec![],
            report: Some(format!("{id}/report.json")),
            errors: vec![],
        }
    }

    #[test]
    fn a_run_goes_on_where_it_was_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        let first = Journal::begin(out, &head(&[]), false).unwrap();
        for id in ["a", "b"] {
            std::fs::create_dir(out.join(id)).unwrap();
            std::fs::write(out.join(id).join("report.json"), "{}").unwrap();
            first.note("x", &row(id), written("{}"));
        }
        first.note("x", &row("gone"), written("{}"));
        first.note("x", &SummaryRow { errors: vec!["e".into()], ..row("a") }, written("{}"));
        assert!(Journal::begin(out, &head(&[]), true).unwrap_err().contains("another run"));
        drop(first);
        // The last line is cut off in its middle.
        std::fs::OpenOptions::new()
            .append(true)
            .open(out.join(FILE))
            .unwrap()
            .write_all(b"{\"made_of\":\"x\",\"ro")
            .unwrap();

        let error = Journal::begin(out, &head(&["--crops"]), true).unwrap_err();
        assert!(error.contains("other options"), "{error}");
        let anew = Journal::begin(out, &head(&[]), false).unwrap();
        assert!(anew.kept(out, "b", "x").is_none());
        drop(anew);
        let second = Journal::begin(out, &head(&[]), true).unwrap();
        assert_eq!(second.earlier(), 3);
        assert_eq!(second.kept(out, "b", "x"), Some(row("b")));
        assert!(second.kept(out, "b", "y").is_none(), "made of something else");
        assert!(second.kept(out, "gone", "x").is_none(), "without its report");
        assert!(second.kept(out, "a", "x").is_none(), "with an error");
        let of = |names: &[&'static str]| names.iter().copied().collect::<HashSet<_>>();
        assert_eq!(second.strangers(&of(&["a", "c"])), Some((2, "b")));
        assert_eq!(second.strangers(&of(&["a", "b", "c", "gone"])), None);
        second.note("x", &row("a"), Written { pictures: vec!["a/top.png".into()], ..written("{}") });
        drop(second);
        let third = Journal::begin(out, &head(&[]), true).unwrap();
        assert!(third.kept(out, "a", "x").is_none(), "without its picture");
        std::fs::write(out.join("a/top.png"), "p").unwrap();
        assert_eq!(third.kept(out, "a", "x"), Some(row("a")));
        std::fs::write(out.join("a/report.json"), "{ }").unwrap();
        assert!(third.kept(out, "a", "x").is_none(), "with another report");
        drop(third);
        // A run with other options begins anew, and the list stays beside it.
        let other = Journal::begin(out, &head(&["--crops"]), false).unwrap();
        assert_eq!(other.earlier(), 0);
        assert!(std::fs::read_to_string(out.join(OLD)).unwrap().contains("gone"));
        other.end().unwrap();
        assert!(!out.join(FILE).exists());
    }
}
