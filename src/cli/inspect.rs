//! `loupe inspect`: pieces in, reports and pictures out.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::panic::AssertUnwindSafe;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journal::{self, Head, Journal, Written};
use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::hash::sha256_hex;
use crate::inspect::anomaly;
use crate::model::MarkReader;
use crate::pipeline::{Inspected, Inspector};
use crate::report::{map, overlay, write_whole, Status, Verdict, WholeFile};
use crate::source::readings::Readings;
use crate::source::{self, Bare, Entry};

/// Ids without a piece that a warning names.
const STRANGERS: usize = 8;

/// The list of a run, in the folder of reports.
pub(super) const SUMMARY: &str = "summary.jsonl";
/// How the names of drawn pictures end.
pub(super) const OVERLAY: &str = ".overlay.png";

/// The `schema` value of a line of a run's summary.
pub const SUMMARY_SCHEMA: &str = "loupe.summary/1";

/// Arguments of `loupe inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes OUT/<piece_id>/report.json with one picture per frame beside it, and OUT/summary.jsonl with one line per piece.
A run that is cut short leaves OUT/summary.part.jsonl in its place; the same command with --resume goes on from there.

Exit codes: 0 every piece passed, 1 some did not, 2 something could not be read or run.")]
pub struct Args {
    /// Pieces: folders with a piece.json, folders of such folders, *.jsonl manifests, or pictures (with --spec)
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Folder for the reports
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Pieces inspected at the same time; the reports do not depend on it [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Folder in which a piece's spec is looked up by its SKU
    #[arg(long, value_name = "DIR")]
    pub specs: Option<PathBuf>,
    /// Readings of other instruments, joined by piece_id: a CSV with the columns piece_id,characteristic,value and, where known,
    /// uncertainty (standard) and instrument
    #[arg(long, value_name = "FILE.csv")]
    pub readings: Option<PathBuf>,
    /// The surface model.
    #[command(flatten)]
    pub model: super::ModelArgs,
    /// Write no pictures
    #[arg(long)]
    pub no_overlay: bool,
    /// Write a close-up of every finding that fails or needs a person, beside the report
    #[arg(long)]
    pub crops: bool,
    /// Write a picture of what the surface model takes every part of a frame for: metal, background, stone, dust, each defect
    #[arg(long, conflicts_with = "no_model")]
    pub maps: bool,
    /// Go on with a run that was cut short: what it has done with the same frames, spec and readings is kept
    #[arg(long)]
    pub resume: bool,
    /// Print neither progress nor table; errors still go to stderr
    #[arg(long, short)]
    pub quiet: bool,
    /// The spec of pictures that have no piece.json
    #[arg(long, value_name = "FILE", help_heading = "Pictures without a piece.json")]
    pub spec: Option<PathBuf>,
    /// Their scale in um per pixel; without it nothing is claimed in mm
    #[arg(long, value_name = "X", requires = "spec", value_parser = positive, allow_negative_numbers = true)]
    #[arg(help_heading = "Pictures without a piece.json")]
    pub um_per_px: Option<f64>,
    /// Standard uncertainty of the scale in um per pixel
    #[arg(long, value_name = "U", requires = "um_per_px", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = "Pictures without a piece.json")]
    pub um_per_px_u: Option<f64>,
    /// The spec's view that they show [default: the first]
    #[arg(long, value_name = "NAME", requires = "spec", help_heading = "Pictures without a piece.json")]
    pub view: Option<String>,
    /// The light they were taken in
    #[arg(long, value_name = "LIGHT", default_value = "dome", help_heading = "Pictures without a piece.json")]
    pub light: String,
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
        _ => Err("a scale must be a number above 0".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        _ => Err("an uncertainty must be a number of 0 or more".into()),
    }
}

/// One line of `summary.jsonl`: what became of one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryRow {
    /// Always `loupe.summary/1`.
    pub schema: String,
    /// The piece, or the name of its folder, file or line where its id cannot be read.
    pub piece_id: String,
    /// The verdict; null where there is no report.
    pub verdict: Option<Verdict>,
    /// The reasons of the report.
    pub reasons: Vec<String>,
    /// Path of the report from the summary's folder; null where there is none.
    pub report: Option<String>,
    /// What could not be read, run or written.
    pub errors: Vec<String>,
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match inspect_all(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe: {message}");
            EXIT_ERROR
        }
    }
}

/// The models, ready to inspect.
///
/// # Errors
/// Where one cannot be used, with what to do about it.
pub(super) fn open(model: &super::ModelArgs) -> Result<Inspector, String> {
    let inspector = Inspector::new(model.settings()).map_err(|e| {
        let message = e.to_string();
        let hint = if message.contains("--no-model") {
            ""
        } else {
            "\n  hint: run script/setup, name another file with --model, or go without it: --no-model"
        };
        format!("the surface model cannot be used: {message}{hint}")
    })?;
    inspector.check_taught()?;
    Ok(inspector)
}

/// Errors here end the run before any piece: nothing could come of it.
fn inspect_all(args: &Args) -> Result<u8, String> {
    if let Some(specs) = args.specs.as_ref().filter(|s| !s.is_dir()) {
        return Err(format!("{}: --specs is no folder that can be read", specs.display()));
    }
    let inspector = open(&args.model)?;
    let readings =
        args.readings.as_deref().map(Readings::read).transpose().map_err(|e| format!("--readings: {e}"))?;
    // What is asked for must make sense before anything of an earlier run is touched.
    let bare = args.spec.as_ref().map(|spec| Bare {
        spec: spec.clone(),
        um_per_px: args.um_per_px,
        um_per_px_u: args.um_per_px_u,
        view: args.view.clone(),
        light: args.light.clone(),
    });
    let entries = source::resolve(&args.paths, &source::Options { specs: args.specs.clone(), bare });
    if bare_options(args) && !entries.iter().any(source::Entry::is_picture) {
        let first = entries.first().map_or_else(String::new, |e| format!(", as {}", e.origin.display()));
        return Err(format!(
            "--spec, --um-per-px, --um-per-px-u, --view and --light are for pictures without a piece.json: what is named here has one{first}"
        ));
    }
    let out = &args.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: --out: cannot make the folder: {e}", out.display()))?;
    let summary = out.join(SUMMARY);
    if args.resume && summary.exists() && !journal::is_under_way(out) {
        return Err(format!(
            "{}: --resume: the run here has ended: there is nothing to go on with (without --resume it begins anew)",
            out.display()
        ));
    }
    let journal = Journal::begin(out, &head(args, &inspector), args.resume)?;
    if let Some((n, first)) = journal.strangers(&entries.iter().map(|e| e.name.as_str()).collect()) {
        return Err(format!(
            "{}: --resume: {} that the run had done, as `{first}`, are not among those named now: name the same, or begin anew without --resume",
            out.display(),
            count(n, "piece")
        ));
    }
    match journal.earlier() {
        0 if args.resume => eprintln!("loupe: {}: no run was cut short here: it begins anew", out.display()),
        n if n > 0 && !args.resume => eprintln!(
            "loupe: warning: {}: a run was cut short here after {}; this one begins anew (--resume goes on)",
            out.display(),
            count(n, "piece")
        ),
        _ => {}
    }
    // A run that is cut short must not leave the list of an older one beside its own reports.
    match std::fs::remove_file(&summary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: cannot be replaced: {e}", summary.display()));
        }
        _ => {}
    }
    if let Some(readings) = &readings {
        let ids: BTreeSet<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        let strangers = readings.unmatched(&ids);
        if let Some(path) = args.readings.as_deref().filter(|_| !strangers.is_empty()) {
            let more = if strangers.len() > STRANGERS { ", ..." } else { "" };
            let some = strangers[..strangers.len().min(STRANGERS)].join(", ");
            eprintln!(
                "loupe: warning: {}: {} of no piece in this run: {some}{more}",
                path.display(),
                count(strangers.len(), "id")
            );
        }
        for m in &readings.mistakes {
            eprintln!("loupe: {m}");
        }
    }

    let jobs =
        args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .build()
        .map_err(|e| format!("cannot start {jobs} threads: {e}"))?;
    let bar = progress(entries.len(), args.quiet);
    let start = Instant::now();
    let log = (!args.quiet && bar.is_hidden()).then(|| Log::new(entries.len()));
    let kept = AtomicUsize::new(0);
    let rows: Vec<SummaryRow> = pool.install(|| {
        entries
            .par_iter()
            .with_max_len(1)
            .map(|entry| {
                let row = inspect_one(entry, &inspector, readings.as_ref(), &journal, &kept, args);
                // At once: what is wrong with all of them, as a disk that is not there, is to be learnt of while it can be mended.
                for error in &row.errors {
                    bar.suspend(|| eprintln!("loupe: {}: {}", row.piece_id, error.replace('\n', "\n  ")));
                }
                bar.inc(1);
                log.iter().for_each(Log::one_more);
                row
            })
            .collect()
    });
    let kept = kept.into_inner();
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let mut failed = rows.iter().any(|r| !r.errors.is_empty());
    failed |= readings.is_some_and(|r| !r.mistakes.is_empty());
    if let Err(message) = write_summary(&summary, &rows) {
        eprintln!("loupe: {}: {message}", summary.display());
        failed = true;
    } else if let Err(message) = journal.end() {
        eprintln!("loupe: {message}");
        failed = true;
    }
    if !args.quiet {
        let width = terminal_width();
        print!("{}", table(&rows, width));
        let inspected = rows.len() - kept;
        eprintln!(
            "{}{} in {seconds:.2} s, {:.1} a second, {jobs} at a time",
            if kept > 0 { format!("{kept} were done before; ") } else { String::new() },
            count(inspected, "piece"),
            inspected as f64 / seconds.max(1e-9),
        );
    }
    Ok(if failed {
        EXIT_ERROR
    } else if rows.iter().any(|r| r.verdict != Some(Verdict::Pass)) {
        EXIT_NOT_PASSED
    } else {
        EXIT_OK
    })
}

/// What the reports and pictures of a run depend on beside the pieces.
pub(super) fn head(args: &Args, inspector: &Inspector) -> Head {
    let stamp = std::env::current_exe().map_or_else(|_| String::new(), |p| journal::stamp(&p));
    let mut options: Vec<String> = [
        (args.model.no_model, "--no-model"),
        (args.no_overlay, "--no-overlay"),
        (args.crops, "--crops"),
        (args.maps, "--maps"),
    ]
    .iter()
    .filter(|o| o.0)
    .map(|o| o.1.to_owned())
    .collect();
    for (option, file) in [("--taught", &args.model.taught), ("--backbone", &args.model.backbone)] {
        options.extend(file.as_ref().map(|f| format!("{option} {}: {}", f.display(), journal::stamp(f))));
    }
    if !args.model.no_model {
        // They are loaded only where a mark is ordered.
        options.extend(
            MarkReader::default_files().iter().map(|f| format!("{}: {}", journal::file_name(f), journal::stamp(f))),
        );
    }
    let program = format!("{}, {stamp}", crate::PROGRAM);
    Head { program, models: inspector.models(), options }
}

/// Whether anything was said of bare pictures.
fn bare_options(args: &Args) -> bool {
    args.spec.is_some() || args.um_per_px.is_some()
}

fn progress(pieces: usize, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(pieces as u64), ProgressDrawTarget::stderr());
    let template = "{bar:30} {pos}/{len} pieces, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Seconds between two lines of a log.
const LOG_EVERY_S: u64 = 60;

/// What a run that no terminal shows says now and then: how far it is, and how long it will take.
struct Log {
    pieces: usize,
    done: AtomicUsize,
    start: Instant,
    /// Seconds after the start of the last line.
    last: AtomicU64,
}

impl Log {
    fn new(pieces: usize) -> Self {
        Log { pieces, done: AtomicUsize::new(0), start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn one_more(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let seconds = self.start.elapsed().as_secs();
        let last = self.last.load(Ordering::Relaxed);
        let due = seconds >= last + LOG_EVERY_S && done < self.pieces;
        if due && self.last.compare_exchange(last, seconds, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let rate = done as f64 / seconds as f64;
            let left = ((self.pieces - done) as f64 / rate) as u64;
            eprintln!(
                "loupe: {done} of {} pieces, {rate:.1} a second, {} h {:02} min left",
                self.pieces,
                left / 3600,
                left % 3600 / 60
            );
        }
    }
}

/// The row of a piece without a report.
pub(super) fn error_row(piece_id: &str, error: String) -> SummaryRow {
    SummaryRow {
        schema: SUMMARY_SCHEMA.into(),
        piece_id: piece_id.into(),
        verdict: None,
        reasons: vec![],
        report: None,
        errors: vec![error],
    }
}

enum Outcome {
    /// What an earlier run has done, and written.
    Kept(SummaryRow),
    /// With what is wrong with its readings.
    Inspected(Box<Inspected>, Vec<String>),
}

/// Inspects one piece and writes what came of it. Whatever goes wrong, even a bug, is the row of this piece
/// alone.
pub(super) fn inspect_one(
    entry: &Entry,
    inspector: &Inspector,
    readings: Option<&Readings>,
    journal: &Journal,
    kept: &AtomicUsize,
    args: &Args,
) -> SummaryRow {
    let mut row = SummaryRow { errors: vec![], ..error_row(&entry.name, String::new()) };
    let mut made_of = String::new();
    let inspected = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut job = entry.load().map_err(|e| e.to_string())?;
        let wrong = readings.map(|r| r.join(&mut job.piece)).unwrap_or_default();
        if args.model.taught.is_some() {
            anomaly::decides(&mut job.spec, &job.piece.frames);
        }
        // Before the frames are read: a frame that changes while it is inspected is inspected again.
        made_of = journal::made_of(&job);
        if let Some(row) = journal.kept(&args.out, &entry.name, &made_of).filter(|_| wrong.is_empty()) {
            return Ok(Outcome::Kept(row));
        }
        Ok(Outcome::Inspected(Box::new(inspector.inspect(&job)), wrong))
    }));
    let inspected: Result<Outcome, String> = inspected.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(format!("{}: the program failed on this piece: {what}", entry.origin.display()))
    });
    let (inspected, wrong_readings) = match inspected {
        Ok(Outcome::Inspected(inspected, wrong)) => (inspected, wrong),
        Ok(Outcome::Kept(row)) => {
            kept.fetch_add(1, Ordering::Relaxed);
            return row;
        }
        Err(message) => {
            row.errors.push(message);
            drop_old_report(entry, &args.out, &mut row);
            return row;
        }
    };
    let folder = args.out.join(&inspected.report.piece_id);
    let path = folder.join("report.json");
    let text = serde_json::to_vec_pretty(&inspected.report).map_err(std::io::Error::from);
    let written = text.and_then(|mut text| {
        text.push(b'\n');
        write_whole(&path, &text).map(|()| sha256_hex(&text))
    });
    let mut written = match written {
        Ok(report_sha256) => Written { report_sha256, pictures: vec![] },
        Err(e) => {
            row.errors.push(format!("{}: cannot write the report: {e}", path.display()));
            drop_old_report(entry, &args.out, &mut row);
            return row;
        }
    };
    row.verdict = Some(inspected.report.verdict);
    row.reasons.clone_from(&inspected.report.reasons);
    row.report = Some(format!("{}/report.json", inspected.report.piece_id));
    row.errors.extend(inspected.frame_errors.iter().cloned().chain(wrong_readings));
    row.errors.extend(drop_old_pictures(&folder));
    if !args.no_overlay || args.crops || args.maps {
        let (pictures, errors) = write_pictures(&inspected, inspector, &folder, &entry.origin, args);
        row.errors.extend(errors);
        written.pictures = pictures.into_iter().map(|p| Path::new(&inspected.report.piece_id).join(p)).collect();
    }
    journal.note(&made_of, &row, written);
    row
}

/// A report of an earlier run must not pass for one of this run.
fn drop_old_report(entry: &Entry, out: &Path, row: &mut SummaryRow) {
    if !entry.owns_name() {
        return;
    }
    let folder = out.join(&entry.name);
    row.errors.extend(drop_old_pictures(&folder));
    let path = folder.join("report.json");
    match std::fs::remove_file(&path) {
        // A name that is too long for a folder had none.
        Err(e)
            if !matches!(
                e.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::InvalidFilename
            ) =>
        {
            row.errors.push(format!("{}: an older report cannot be removed: {e}", path.display()));
        }
        _ => {}
    }
}

/// Pictures of an earlier run must not pass for this one's, and what one that was killed had half written is of no use.
fn drop_old_pictures(folder: &Path) -> Vec<String> {
    let mut errors = vec![];
    for old in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = old.file_name();
        let name = name.to_string_lossy();
        if [OVERLAY, ".crop.png", ".map.png"].iter().any(|end| name.ends_with(end)) || WholeFile::is_unfinished(&name)
        {
            if let Err(e) = std::fs::remove_file(old.path()) {
                errors.push(format!("{}: an older picture cannot be removed: {e}", old.path().display()));
            }
        }
    }
    errors
}

fn write_pictures(
    inspected: &Inspected,
    inspector: &Inspector,
    folder: &Path,
    origin: &Path,
    args: &Args,
) -> (Vec<String>, Vec<String>) {
    let (mut files, mut errors) = (vec![], vec![]);
    let mut used = BTreeSet::new();
    for view in &inspected.views {
        let mut name = flat_name(&view.file);
        while !used.insert(name.clone()) {
            name.push('_');
        }
        let mut mapless = None;
        let drawn = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut pictures = Vec::new();
            let drawn = (!args.no_overlay || args.crops).then(|| overlay::draw(view, &inspected.report));
            if let Some(drawn) = drawn.as_ref().filter(|_| args.crops) {
                let findings = inspected.report.findings.iter().filter(|f| f.status >= Status::Review);
                for f in findings {
                    let file = format!("{name}.{}.{}.crop.png", flat_name(&f.feature), f.kind.as_str());
                    pictures.extend(overlay::crop(view, drawn, f, &inspected.report).map(|c| (file, c)));
                }
            }
            if let Some(drawn) = drawn.filter(|_| !args.no_overlay) {
                pictures.push((format!("{name}{OVERLAY}"), drawn));
            }
            if let Some(model) = inspector.model().filter(|_| args.maps) {
                // The whole frame, not the piece's tiles alone.
                match model.segment_at(&view.image, None, view.um_per_px).map_err(|e| e.to_string())? {
                    Some(seen) => pictures.push((format!("{name}.map.png"), map::draw(&view.image, &seen))),
                    None => mapless = Some(format!("{}: no map: too coarse for the surface model", view.file)),
                }
            }
            let encode =
                |(file, image): (String, _)| Ok((file, overlay::encode_png(&image).map_err(|e| e.to_string())?));
            pictures.into_iter().map(encode).collect::<Result<Vec<_>, String>>()
        }));
        match drawn {
            Ok(Ok(pictures)) => {
                for (file, png) in pictures {
                    let path = folder.join(&file);
                    match write_whole(&path, &png) {
                        Ok(()) => files.push(file),
                        Err(e) => errors.push(format!("{}: cannot write the picture: {e}", path.display())),
                    }
                }
            }
            Ok(Err(message)) => errors.push(format!("{}: cannot write a picture: {message}", folder.display())),
            Err(_) => errors.push(format!("the program failed on {} of {}", view.file, origin.display())),
        }
        errors.extend(mapless);
    }
    (files, errors)
}

/// The name of a frame in one component: `a/b.png` as `a_b.png`, and nothing that leads out of the folder.
pub(super) fn flat_name(file: &str) -> String {
    let parts: Vec<String> = Path::new(file)
        .components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_string_lossy().replace('\\', "_")),
            Component::ParentDir => Some("up".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    let name = parts.join("_");
    // The last part tells frames apart best, where the whole is longer than a file system takes.
    let from = name.char_indices().rev().map(|(i, _)| i).take_while(|i| name.len() - i <= 200).last();
    name[from.unwrap_or(0)..].to_owned()
}

pub(super) fn write_summary(path: &Path, rows: &[SummaryRow]) -> Result<(), String> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).map_err(|e| e.to_string())?;
        text.push(b'\n');
    }
    write_whole(path, &text).map_err(|e| format!("cannot write the summary: {e}"))
}

pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The table at the end of a run; rows are shortened to `width` columns where there is one.
fn table(rows: &[SummaryRow], width: Option<usize>) -> String {
    let longest = rows.iter().map(|r| r.piece_id.chars().count()).max().unwrap_or(0).clamp(5, 40);
    let mut out = String::new();
    let mut line = |piece: &str, verdict: &str, reason: &str| {
        let line = format!("{:longest$}  {verdict:7}  {reason}", shortened(piece, longest));
        let line = line.trim_end();
        out.push_str(&width.map_or_else(|| line.to_owned(), |w| shortened(line, w)));
        out.push('\n');
    };
    line("PIECE", "VERDICT", "REASON");
    for row in rows {
        line(&row.piece_id, verdict_word(row), &reason(row));
    }
    out.push_str(&totals(rows));
    out
}

fn verdict_word(row: &SummaryRow) -> &'static str {
    row.verdict.map_or("error", Verdict::as_str)
}

/// The first reason of a row, and how many more there are.
fn reason(row: &SummaryRow) -> String {
    let reasons = row.reasons.iter().chain(&row.errors);
    let first = reasons.clone().next().map_or("", |r| r.lines().next().unwrap_or(""));
    match reasons.count() {
        0 | 1 => first.to_owned(),
        n => format!("{first} (+{} more)", n - 1),
    }
}

/// A row by itself, and where to look for more.
pub(super) fn line(row: &SummaryRow, see: Option<&Path>) -> String {
    let line = format!("{:7}  {}  {}", verdict_word(row), row.piece_id, reason(row));
    let see = see.map_or_else(String::new, |p| format!("         see {}\n", p.display()));
    format!("{}\n{see}", line.trim_end())
}

/// How many pieces came to which verdict.
pub(super) fn totals(rows: &[SummaryRow]) -> String {
    let of = |v: Verdict| rows.iter().filter(|r| r.verdict == Some(v)).count();
    format!(
        "{}: {} passed, {} failed, {} for review, {} without a report\n",
        count(rows.len(), "piece"),
        of(Verdict::Pass),
        of(Verdict::Fail),
        of(Verdict::Review),
        rows.iter().filter(|r| r.verdict.is_none()).count()
    )
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Columns of the terminal on stdout; none where it is no terminal, and nothing is to be shortened.
fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    // SAFETY: TIOCGWINSZ writes one winsize, which outlives the call.
    let columns = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let rc = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size);
        (rc == 0).then_some(usize::from(size.ws_col))
    };
    Some(columns.filter(|c| *c >= 20).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(piece_id: &str, verdict: Option<Verdict>, reasons: &[&str], errors: &[&str]) -> SummaryRow {
        SummaryRow {
            schema: SUMMARY_SCHEMA.into(),
            piece_id: piece_id.into(),
            verdict,
            reasons: reasons.iter().map(|s| (*s).to_string()).collect(),
            report: None,
            errors: errors.iter().map(|s| (*s).to_string()).collect(),
        }
    }

    #[test]
    fn the_table_shows_the_first_reason_and_counts_the_others() {
        let rows = [
            row("a", Some(Verdict::Pass), &[], &[]),
            row("pave-002", Some(Verdict::Fail), &["missing_stone S7 in view top", "pit"], &[]),
            row("c", None, &[], &["c/spec.toml:3: one\nc/spec.toml:4: two"]),
        ];
        let expected = "PIECE     VERDICT  REASON\n\
                        a         pass\n\
                        pave-002  fail     missing_stone S7 in view top (+1 more)\n\
                        c         error    c/spec.toml:3: one\n\
                        3 pieces: 1 passed, 1 failed, 0 for review, 1 without a report\n";
        assert_eq!(table(&rows, None), expected);
        assert!(table(&rows, Some(30)).lines().take(4).all(|l| l.chars().count() <= 30));
    }

    #[test]
    fn the_name_of_a_picture_stays_in_its_folder() {
        assert_eq!(flat_name("top.png"), "top.png");
        assert_eq!(flat_name("a/b c.png"), "a_b c.png");
        assert_eq!(flat_name("../../etc/x.png"), "up_up_etc_x.png");
        assert_eq!(flat_name("/abs/x.png"), "abs_x.png");
        let long = format!("{}é/x.png", "d".repeat(300));
        assert!(flat_name(&long).len() <= 200 && flat_name(&long).ends_with("é_x.png"));
    }
}
