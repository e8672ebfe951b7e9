//! `loupe watch`: a station's folder. Each piece is inspected as soon as it lies there whole, with the models loaded once, and shown on a page beside the bench.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::inspect::{self, SummaryRow};
use super::journal::{self, Journal};
use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::pipeline::Inspector;
use crate::report::page::now::{self, Now};
use crate::report::Verdict;
use crate::source::{self, Entry};
use crate::vision::decode;

/// Arguments of `loupe watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A station writes a folder for each piece: its frames and a piece.json. A piece is inspected once all frames that it names are there and no file of it has changed for a moment; one that \
changes afterwards is inspected again. OUT holds what `loupe inspect` writes, and OUT/now.html, which a browser keeps up to date by itself. What was done before with the same files, \
models and program is not done again. The folder is looked at, not notified of: it may lie on another machine.

Ctrl-C ends it after the piece in hand.

Exit codes: 0 every piece passed, 1 some did not, 2 something could not be read or run.")]
pub struct Args {
    /// Folder that the station writes its pieces into
    #[arg(value_name = "DIR")]
    pub inbox: PathBuf,
    /// Folder for the reports and the page
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder in which a piece's spec is looked up by its SKU
    #[arg(long, value_name = "DIR")]
    pub specs: Option<PathBuf>,
    /// Pieces inspected at the same time where several wait [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// The surface model.
    #[command(flatten)]
    pub model: super::ModelArgs,
    /// Write no pictures
    #[arg(long)]
    pub no_overlay: bool,
    /// Write a close-up of every finding that fails or needs a person, beside the report
    #[arg(long)]
    pub crops: bool,
    /// End after so many seconds in which nothing came [default: go on until Ctrl-C]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_s: Option<u32>,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_millis(30);
/// And so many times as long as a look takes, lest a large folder keep a core busy.
const LOOK_SHARE: u32 = 4;
/// A piece is whole when its files have not changed for so long: a writer that pauses longer has its piece inspected twice.
const SETTLED: Duration = Duration::from_millis(100);
/// A frame that is not there after so long is asked for.
const LATE: Duration = Duration::from_secs(10);
/// The list of a long queue is written this often.
const LISTED: Duration = Duration::from_secs(5);
/// Deepest folder that is searched for pieces.
const DEEPEST: usize = 4;

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match watch(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe watch: {message}");
            EXIT_ERROR
        }
    }
}

/// Errors here end the run before any piece.
fn watch(args: &Args) -> Result<u8, String> {
    if !args.inbox.is_dir() {
        return Err(format!("{}: no folder that can be read", args.inbox.display()));
    }
    let start = Instant::now();
    let mut station = Station::begin(args)?;
    let end = ends_on_signal()?;
    if !args.quiet {
        let ready = start.elapsed().as_secs_f64();
        print!(
            "watching {}, ready in {ready:.1} s; {} shows the last piece; Ctrl-C ends\n",
            args.inbox.display(),
            args.out.join(PAGE).display()
        );
    }
    let (mut last, mut listed) = (Instant::now(), Instant::now());
    // What is whole and waits for its turn.
    let mut queue: VecDeque<Entry> = VecDeque::new();
    while !end.load(Ordering::Relaxed) {
        let looked = Instant::now();
        queue.extend(station.look());
        if queue.is_empty() {
            if args.idle_s.is_some_and(|s| last.elapsed() >= Duration::from_secs(u64::from(s))) {
                break;
            }
            std::thread::sleep(LOOK.max(looked.elapsed() * LOOK_SHARE));
        }
        // A few at a time: what comes meanwhile is looked at between them, and the lists are kept.
        let few: Vec<Entry> = queue.drain(..queue.len().min(station.pool.current_num_threads())).collect();
        for (entry, (row, kept)) in few.iter().zip(station.inspect(&few)) {
            station.forget_other(entry, &row);
            station.show(&row, kept);
        }
        // The whole list is written each time: of thousands that wait not after each.
        if !few.is_empty() && (queue.is_empty() || listed.elapsed() > LISTED) {
            station.write_list();
            listed = Instant::now();
        }
        if !few.is_empty() || station.is_waiting {
            last = Instant::now();
        }
    }
    if !queue.is_empty() {
        let left = inspect::count(queue.len(), "piece");
        eprintln!("loupe watch: ended before {left}: the same command goes on with them");
    }
    station.end()
}

/// Set by Ctrl-C and by a request to end; a second one ends the program at once.
fn ends_on_signal() -> Result<&'static AtomicBool, String> {
    static END: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if END.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(EXIT_ERROR));
        }
    })
    .map_err(|e| format!("cannot listen for Ctrl-C: {e}"))?;
    Ok(&END)
}

/// The page of the last piece, in the folder of reports.
const PAGE: &str = "now.html";

/// What is known of a piece's folder.
struct Folder {
    /// Size and time of its manifest and frames, and what is wrong with it.
    stamp: String,
    since: Instant,
    /// Its files beside the manifest.
    frames: Vec<PathBuf>,
    /// What is wrong with its manifest or its spec.
    error: Option<String>,
    /// Whether what it holds now has been inspected, or asked for.
    done: bool,
}

impl Folder {
    fn stamp(manifest: &Path, frames: &[PathBuf]) -> String {
        let of = |path: &Path| format!("{}\n", journal::stamp(path));
        std::iter::once(manifest).chain(frames.iter().map(PathBuf::as_path)).map(of).collect()
    }
}

struct Station<'a> {
    args: &'a Args,
    inspector: Inspector,
    /// The same options for what `loupe inspect` does.
    options: inspect::Args,
    journal: Journal,
    pool: rayon::ThreadPool,
    folders: HashMap<PathBuf, Folder>,
    /// Which folder's each id is.
    owners: HashMap<String, PathBuf>,
    /// Under which name each folder's row stands.
    names: HashMap<PathBuf, String>,
    /// Of every piece that lies in the folder of reports.
    rows: BTreeMap<String, SummaryRow>,
    /// Whether something could not be written.
    failed: bool,
    /// Whether something of a piece lacks that may still come.
    is_waiting: bool,
}

impl<'a> Station<'a> {
    fn begin(args: &'a Args) -> Result<Self, String> {
        if let Some(specs) = args.specs.as_ref().filter(|s| !s.is_dir()) {
            return Err(format!("{}: --specs is no folder that can be read", specs.display()));
        }
        let inspector = inspect::open(&args.model)?;
        let out = &args.out;
        std::fs::create_dir_all(out).map_err(|e| format!("{}: --out: cannot make the folder: {e}", out.display()))?;
        let options = inspect::Args {
            paths: vec![],
            out: out.clone(),
            jobs: args.jobs,
            specs: args.specs.clone(),
            readings: None,
            model: args.model.clone(),
            no_overlay: args.no_overlay,
            crops: args.crops,
            maps: false,
            resume: true,
            quiet: true,
            spec: None,
            um_per_px: None,
            um_per_px_u: None,
            view: None,
            light: String::new(),
        };
        let head = inspect::head(&options, &inspector);
        // With another program or other options everything is inspected anew.
        let journal = Journal::begin(out, &head, true).or_else(|_| Journal::begin(out, &head, false))?;
        let listed = std::fs::read_to_string(out.join(inspect::SUMMARY)).unwrap_or_default();
        let mut rows = BTreeMap::new();
        for row in listed.lines().filter_map(|l| serde_json::from_str::<SummaryRow>(l).ok()).chain(journal.rows()) {
            if row.report.as_ref().is_some_and(|r| out.join(r).is_file()) {
                rows.insert(row.piece_id.clone(), row);
            }
        }
        let jobs = args.jobs.and_then(|j| std::num::NonZeroUsize::new(usize::from(j)));
        let station = Station {
            args,
            inspector,
            options,
            journal,
            pool: super::pool(jobs)?,
            folders: HashMap::new(),
            owners: HashMap::new(),
            names: HashMap::new(),
            rows,
            failed: false,
            is_waiting: false,
        };
        super::write(&out.join(PAGE), now::page(None).as_bytes())?;
        Ok(station)
    }

    /// The pieces that are whole and not inspected as they are, in the order of their folders.
    fn look(&mut self) -> Vec<Entry> {
        let mut manifests = Vec::new();
        let out = self.args.out.canonicalize().ok();
        manifests_below(&self.args.inbox, 0, out.as_deref(), &mut manifests);
        self.is_waiting = false;
        manifests.into_iter().filter_map(|m| self.look_at(m)).collect()
    }

    fn look_at(&mut self, manifest: PathBuf) -> Option<Entry> {
        let known = self.folders.get(&manifest);
        // A spec that is mended makes a piece whole that was none.
        let is_as_it_was = |f: &Folder| f.done && f.error.is_none() && f.stamp == Folder::stamp(&manifest, &f.frames);
        if known.is_some_and(is_as_it_was) {
            return None;
        }
        let options = source::Options { specs: self.args.specs.clone(), bare: None };
        let entry = source::resolve(std::slice::from_ref(&manifest), &options).into_iter().next()?;
        let loaded = entry.load();
        let mut frames = Vec::new();
        if let Ok(job) = &loaded {
            for f in &job.piece.frames {
                let path = job.base.join(&f.file);
                if !frames.contains(&path) {
                    frames.push(path);
                }
            }
        }
        let stamp = Folder::stamp(&manifest, &frames);
        let now = Instant::now();
        let folder = match self.folders.get_mut(&manifest) {
            Some(folder) => folder,
            None => self.folders.entry(manifest.clone()).or_insert(Folder {
                stamp: String::new(),
                since: now,
                frames: vec![],
                error: None,
                done: false,
            }),
        };
        folder.frames = frames;
        let error = loaded.err().map(|e| e.to_string());
        if folder.stamp != stamp || folder.error != error {
            (folder.stamp, folder.since, folder.error, folder.done) = (stamp, now, error, false);
        }
        if folder.done {
            return None;
        }
        let age = folder.since.elapsed();
        if age < SETTLED {
            self.is_waiting = true;
            return None;
        }
        let missing: Vec<String> =
            folder.frames.iter().filter(|f| !f.exists()).map(|f| journal::file_name(f)).collect();
        if !missing.is_empty() {
            self.is_waiting = true;
            if age >= LATE {
                folder.done = true;
                eprintln!("loupe watch: {}: waits for {}", entry.name, missing.join(", "));
            }
            return None;
        }
        // A writer that pauses within a frame has not ended; one that was broken off is told by its piece's report.
        if age < LATE && folder.frames.iter().any(|f| !decode::ends(f)) {
            self.is_waiting = true;
            return None;
        }
        folder.done = true;
        // A piece that came back from the bench may come in a folder of its own, once the first is gone.
        let owner = self.owners.entry(entry.name.clone()).or_insert_with(|| manifest.clone());
        if !owner.exists() {
            *owner = manifest;
        }
        Some(entry)
    }

    /// Inspects pieces; with each whether it had been done before.
    fn inspect(&self, pieces: &[Entry]) -> Vec<(SummaryRow, bool)> {
        let one = |entry: &Entry| {
            if let Some(by) = self.owners.get(&entry.name).filter(|by| **by != entry.origin) {
                let message = format!("`{}` is already the id of {}: not inspected", entry.name, by.display());
                let name = entry.origin.strip_prefix(&self.args.inbox).unwrap_or(&entry.origin);
                return (inspect::error_row(&name.display().to_string(), message), false);
            }
            let kept = AtomicUsize::new(0);
            let row = inspect::inspect_one(entry, &self.inspector, None, &self.journal, &kept, &self.options);
            (row, kept.into_inner() > 0)
        };
        self.pool.install(|| pieces.par_iter().with_max_len(1).map(one).collect())
    }

    /// A folder whose manifest could not be read, and now can, has no row under its old name.
    fn forget_other(&mut self, entry: &Entry, row: &SummaryRow) {
        let before = self.names.insert(entry.origin.clone(), row.piece_id.clone());
        let is_error = |name: &String| self.rows.get(name).is_some_and(|r| r.report.is_none());
        if let Some(name) = before.filter(|n| *n != row.piece_id && is_error(n)) {
            self.rows.remove(&name);
        }
    }

    /// Says what came of a piece, on stdout and on the page.
    fn show(&mut self, row: &SummaryRow, kept: bool) {
        for error in &row.errors {
            eprintln!("loupe watch: {}: {}", row.piece_id, error.replace('\n', "\n  "));
        }
        self.rows.insert(row.piece_id.clone(), row.clone());
        if kept {
            return;
        }
        let folder = row.report.as_ref().map(|_| self.args.out.join(&row.piece_id));
        if !self.args.quiet {
            print!("{}", inspect::line(row, folder.as_deref().filter(|_| row.verdict != Some(Verdict::Pass))));
        }
        if let Err(message) = super::write(&self.args.out.join(PAGE), self.page(row).as_bytes()) {
            eprintln!("loupe watch: {message}");
            self.failed = true;
        }
    }

    fn page(&self, row: &SummaryRow) -> String {
        let folder = row.report.as_ref().map(|_| self.args.out.join(&row.piece_id));
        let names = folder.iter().flat_map(std::fs::read_dir).flatten().flatten();
        let mut pictures: Vec<String> = names
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|n| n.ends_with(inspect::OVERLAY))
            .map(|n| format!("{}/{n}", row.piece_id))
            .collect();
        pictures.sort();
        let of = |v: Option<Verdict>| self.rows.values().filter(|r| r.verdict == v).count();
        now::page(Some(&Now {
            piece_id: &row.piece_id,
            verdict: row.verdict,
            reasons: row.reasons.iter().chain(&row.errors).map(String::as_str).collect(),
            pictures,
            so_far: [Some(Verdict::Pass), Some(Verdict::Fail), Some(Verdict::Review), None].map(of),
        }))
    }

    /// The list of all pieces, for `loupe report`.
    fn write_list(&mut self) {
        let path = self.args.out.join(inspect::SUMMARY);
        let rows: Vec<SummaryRow> = self.rows.values().cloned().collect();
        if let Err(message) = inspect::write_summary(&path, &rows) {
            eprintln!("loupe watch: {}: {message}", path.display());
            self.failed = true;
        }
    }

    /// What has not come whole is an error of its own: no piece goes unseen.
    fn end(mut self) -> Result<u8, String> {
        let lacks = |f: &Folder| -> Vec<String> {
            f.frames.iter().filter(|f| !f.exists()).map(|f| journal::file_name(f)).collect()
        };
        let mut lacking: BTreeMap<PathBuf, Vec<String>> =
            self.folders.iter().map(|(manifest, f)| (manifest.clone(), lacks(f))).collect();
        lacking.retain(|manifest, lacks| !lacks.is_empty() && manifest.exists());
        for (manifest, lacks) in lacking {
            let name = manifest.parent().unwrap_or(&manifest);
            let name = name.strip_prefix(&self.args.inbox).unwrap_or(name).display().to_string();
            let error = format!("not inspected: {} did not come", lacks.join(", "));
            self.show(&inspect::error_row(&name, error), false);
        }
        self.write_list();
        let of = |v: Option<Verdict>| self.rows.values().filter(|r| r.verdict == v).count();
        let passed = of(Some(Verdict::Pass));
        if !self.args.quiet {
            print!("{}", inspect::totals(&self.rows.values().cloned().collect::<Vec<_>>()));
        }
        Ok(if self.failed || self.rows.values().any(|r| !r.errors.is_empty()) {
            EXIT_ERROR
        } else if passed < self.rows.len() {
            EXIT_NOT_PASSED
        } else {
            EXIT_OK
        })
    }
}

/// The manifests in a folder and in those below it, in the order of their names; hidden folders and that of the reports are left out.
fn manifests_below(folder: &Path, depth: usize, out: Option<&Path>, found: &mut Vec<PathBuf>) {
    let manifest = folder.join(source::MANIFEST);
    if manifest.is_file() {
        found.push(manifest);
        return;
    }
    if depth > DEEPEST || folder.canonicalize().ok().as_deref() == out {
        return;
    }
    // A folder that goes away while it is looked at had nothing whole.
    let children: BTreeSet<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    for child in children {
        let hidden = child.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && child.is_dir() {
            manifests_below(&child, depth + 1, out, found);
        }
    }
}
