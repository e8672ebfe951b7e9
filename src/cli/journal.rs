//! What a run has done so far (`OUT/summary.part.jsonl`), so that one that is cut short can go on (`loupe inspect --resume`).
//!
//! The first line tells the program, its models and the options; each further line is a piece that is done, with a hash of what its report was
//! made of. The file is there only while a run goes on, or after one that was cut short.

use std::collections::HashMap;
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
        if let Some(other) = first.filter(|_| resume && !same) {
            return Err(format!(
                "{}: --resume: the run that was cut short went otherwise ({}): begin anew without --resume",
                path.display(),
                difference(&other, head)
            ));
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

    /// The row of a piece that an earlier run has done with the same input, where its report still lies there and nothing went wrong.
    pub fn kept(&self, out: &Path, name: &str, made_of: &str) -> Option<SummaryRow> {
        let done = self.earlier.get(name).filter(|d| self.resume && d.made_of == made_of)?;
        let report = done.row.report.as_ref()?;
        (done.row.errors.is_empty() && out.join(report).is_file()).then(|| done.row.clone())
    }

    /// Notes a piece that is done.
    pub fn note(&self, made_of: &str, row: &SummaryRow) {
        let done = Done { made_of: made_of.to_owned(), row: row.clone() };
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
    let mut add = |path: &Path| text.push_str(&format!("\n{}: {}", path.display(), stamp(path)));
    for frame in &job.piece.frames {
        add(&job.base.join(&frame.file));
        frame.calibration.iter().filter_map(|c| calibrate::file_of(&job.base, c)).for_each(|p| add(&p));
        frame.colour_calibration.iter().for_each(|c| add(&job.base.join(c)));
    }
    job.spec.views.iter().filter_map(|v| v.taught.as_ref()).for_each(|t| add(Path::new(t)));
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    fn head(options: &[&str]) -> Head {
        Head { program: "p".into(), models: vec![], options: options.iter().map(|s| (*s).to_string()).collect() }
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
            first.note("x", &row(id));
        }
        first.note("x", &row("gone"));
        first.note("x", &SummaryRow { errors: vec!["e".into()], ..row("a") });
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
        second.note("x", &row("a"));
        drop(second);
        let third = Journal::begin(out, &head(&[]), true).unwrap();
        assert_eq!(third.kept(out, "a", "x"), Some(row("a")));
        third.end().unwrap();
        assert!(!out.join(FILE).exists());
    }
}
