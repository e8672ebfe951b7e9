//! `loupe report`: from the reports of a run to pages a person reads and signs, a table, and QIF documents.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::inspect::{flat_name, SummaryRow};
use super::{cannot_write, EXIT_ERROR, EXIT_OK};
use crate::dataset::is_new;
use crate::hash::sha256_hex;
use crate::piece::Piece;
use crate::report::page::doc::Doc;
use crate::report::page::lot::Lot;
use crate::report::page::pictures::{self, Embedded};
use crate::report::page::{piece, slug};
use crate::report::{qif, rows, Verdict, WholeFile};
use crate::source;
use crate::vision::{self, Image};

/// Arguments of `loupe report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the folders that `loupe inspect --out` wrote. --html writes OUT/index.html (the lot) and OUT/pieces/<piece>.html, each a file \
that needs nothing else. A report that cannot be read is an error row and stops no other.

Exit codes: 0 written, 2 something could not be read or written.")]
pub struct Args {
    /// Folders that `loupe inspect --out` wrote, or folders with a report.json
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Folder for the pages
    #[arg(long, value_name = "OUT", required_unless_present_any = ["csv", "qif"])]
    pub html: Option<PathBuf>,
    /// One table of all measurements
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// A QIF 3.0 document for each piece: a folder, or with one report a file that ends in .qif
    #[arg(long, value_name = "FILE|DIR")]
    pub qif: Option<PathBuf>,
    /// The pieces that were inspected: their frames beside the drawn pictures, with light and scale
    #[arg(long, value_name = "DIR")]
    pub pieces: Vec<PathBuf>,
    /// What the lot is called [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub lot: Option<String>,
    /// The day that the pages say, YYYY-MM-DD [default: none]
    #[arg(long, value_name = "DAY")]
    pub date: Option<String>,
    /// Pages without pictures
    #[arg(long)]
    pub no_pictures: bool,
    /// Reports at the same time; the files do not depend on it [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Print neither progress nor the line at the end; errors still go to stderr
    #[arg(long, short)]
    pub quiet: bool,
}

/// Findings of a piece that get a close-up; the others are listed without.
const CLOSE_UPS: usize = 24;
/// Reports that are read before their rows are written: what stands in memory at once.
const CHUNK: usize = 64;

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match write_all(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe report: {message}");
            EXIT_ERROR
        }
    }
}

/// One piece of the run.
#[derive(Debug, Clone, Default)]
struct Entry {
    piece_id: String,
    /// Its report; none where the run made none.
    path: Option<PathBuf>,
    /// What the summary says, where there is one.
    verdict: Option<Verdict>,
    /// What the run could not read or write.
    errors: Vec<String>,
    /// What could not be read now: the folder or its summary.
    failed: bool,
    /// Name of its files.
    slug: String,
}

/// What came of one piece.
struct Done {
    doc: Option<Doc>,
    thumb: Option<Embedded>,
    csv: Vec<u8>,
    /// What could not be read or written now.
    errors: Vec<String>,
}

/// Errors here end the run before any piece.
fn write_all(args: &Args) -> Result<u8, String> {
    let date = args.date.as_deref().map(super::teach::checked_day).transpose()?;
    if let Some(gone) = args.pieces.iter().find(|p| !p.exists()) {
        return Err(format!("{}: --pieces: no such folder", gone.display()));
    }
    // A table replaces a table, and no summary or report.
    let is_json = |p: &PathBuf| std::fs::read(p).is_ok_and(|b| b.first() == Some(&b'{'));
    if let Some(path) = args.csv.as_ref().filter(|p| p.is_file() && is_json(p)) {
        return Err(format!("{}: --csv: a JSON file is there, and a table would replace it", path.display()));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut folders = BTreeSet::new();
    let dirs: Vec<PathBuf> = args.dirs.iter().map(|d| folder_of(d)).collect();
    for dir in &dirs {
        if is_new(dir, &mut folders) {
            collect(dir, &mut entries);
        } else {
            eprintln!("loupe report: {}: is named twice and counts once", dir.display());
        }
    }
    // A piece's folder beside the run that holds it.
    let mut reports = BTreeSet::new();
    entries.retain(|e| {
        let twice = e.path.as_ref().is_some_and(|p| !is_new(p, &mut reports));
        if twice {
            eprintln!("loupe report: {}: is in two of the folders and counts once", e.piece_id);
        }
        !twice
    });
    name_files(&mut entries);
    let single = args.qif.as_ref().filter(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("qif")));
    if let Some(path) = single.filter(|_| entries.len() != 1) {
        return Err(format!(
            "{}: --qif names one file, and there are {} reports: name a folder",
            path.display(),
            entries.len()
        ));
    }
    let mut known: BTreeMap<String, source::Entry> = BTreeMap::new();
    for path in &args.pieces {
        let found = source::resolve(std::slice::from_ref(path), &source::Options { specs: None, bare: None });
        // Bare pictures have no name but their own; a path that leads to nothing was meant otherwise.
        if let Some(Err(e)) =
            found.first().filter(|_| found.iter().all(source::Entry::is_picture)).map(source::Entry::load)
        {
            return Err(format!("--pieces: {e}"));
        }
        known.extend(found.into_iter().filter(source::Entry::owns_name).map(|e| (e.name.clone(), e)));
    }
    if !args.pieces.is_empty() {
        let apart = entries.iter().filter(|e| e.path.is_some() && !known.contains_key(&e.piece_id)).count();
        if apart > 0 {
            eprintln!(
                "loupe report: --pieces has {apart} of the {} pieces not: their pages say no date and show no bare frames (name a manifest's file, not its folder)",
                entries.len()
            );
        }
    }
    let mut table = match &args.csv {
        Some(path) => Some((path, WholeFile::create(path).map_err(|e| cannot_write(path, &e))?)),
        None => None,
    };
    let mut failed = entries.iter().any(|e| e.failed);
    // A table that cannot be written costs no page.
    let mut add = |rows: &[u8], failed: &mut bool| {
        if let Some((path, Err(e))) = table.as_mut().map(|(path, file)| (*path, file.write_all(rows))) {
            eprintln!("loupe report: {}", cannot_write(path, &e));
            (table, *failed) = (None, true);
        }
    };
    if args.csv.is_some() {
        add(&rows::head().map_err(|e| e.to_string())?, &mut failed);
    }
    let pool = super::pool(args.jobs)?;
    let bar = if args.quiet { indicatif::ProgressBar::hidden() } else { super::progress(entries.len()) };
    let mut lot = Lot::default();
    // In chunks, so that memory does not grow with the lot; within one in parallel, and then in order.
    for chunk in entries.chunks(CHUNK) {
        let done: Vec<Done> = pool.install(|| {
            chunk
                .par_iter()
                .with_max_len(1)
                .map(|entry| {
                    let done = one(entry, args, date.as_deref(), &known);
                    bar.inc(1);
                    done
                })
                .collect()
        });
        for (entry, done) in chunk.iter().zip(done) {
            for error in entry.errors.iter().filter(|_| entry.failed).chain(&done.errors) {
                eprintln!("loupe report: {}: {}", entry.piece_id, error.replace('\n', "\n  "));
            }
            failed |= !done.errors.is_empty();
            add(&done.csv, &mut failed);
            let errors: Vec<String> = entry.errors.iter().chain(&done.errors).cloned().collect();
            match &done.doc {
                Some(doc) => {
                    lot.add(doc, Some(format!("pieces/{}.html", entry.slug)), done.thumb, errors);
                }
                None => lot.add_error(&entry.piece_id, errors),
            }
        }
    }
    bar.finish_and_clear();
    if let Some((path, Err(e))) = table.map(|(path, file)| (path, file.finish())) {
        eprintln!("loupe report: {}", cannot_write(path, &e));
        failed = true;
    }
    if let Some(out) = &args.html {
        let name = args.lot.clone().filter(|l| !l.trim().is_empty()).unwrap_or_else(|| lot_name(&dirs));
        let path = out.join("index.html");
        super::write(&path, lot.page(&name, date.as_deref()).as_bytes())?;
    }
    if !args.quiet {
        let to = args.html.as_ref().map(|o| format!(": {}", o.join("index.html").display())).unwrap_or_default();
        let of = |v| lot.count(v);
        // A reader that went away has seen enough; the files are on disk all the same.
        let _ = writeln!(
            std::io::stdout(),
            "{}: {} passed, {} failed, {} for review, {} without a report{to}",
            if lot.len() == 1 { "1 piece".to_owned() } else { format!("{} pieces", lot.len()) },
            of(Some(Verdict::Pass)),
            of(Some(Verdict::Fail)),
            of(Some(Verdict::Review)),
            of(None)
        );
    }
    Ok(if failed { EXIT_ERROR } else { EXIT_OK })
}

/// The folder that is meant by a run's summary or by a report in it.
fn folder_of(named: &Path) -> PathBuf {
    let is_list = named.file_name().is_some_and(|n| n == "summary.jsonl" || n == "report.json") && named.is_file();
    match named.parent().filter(|_| is_list) {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => named.to_owned(),
    }
}

/// The last part of each folder's name: no path of a machine stands in a page.
fn lot_name(dirs: &[PathBuf]) -> String {
    let names: Vec<String> = dirs
        .iter()
        .map(|d| {
            let whole = std::fs::canonicalize(d).unwrap_or_else(|_| d.clone());
            whole.file_name().map_or_else(|| "lot".into(), |n| n.to_string_lossy().into_owned())
        })
        .collect();
    names.join(", ")
}

/// The pieces of a folder: those of its summary, else every report below it.
fn collect(dir: &Path, entries: &mut Vec<Entry>) {
    let broken = |name: String, message: String| Entry {
        piece_id: name,
        errors: vec![message],
        failed: true,
        ..Entry::default()
    };
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned());
    let summary = dir.join("summary.jsonl");
    if dir.join("report.json").is_file() {
        entries.push(Entry { piece_id: name, path: Some(dir.join("report.json")), ..Entry::default() });
        return;
    }
    match std::fs::read(&summary) {
        Ok(bytes) => {
            // A line that is no text is no JSON either, and costs its own row.
            let text = String::from_utf8_lossy(&bytes);
            for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
                entries.push(match serde_json::from_str::<SummaryRow>(line) {
                    Ok(row) => of_summary(dir, row),
                    Err(e) => broken(format!("line {}", i + 1), format!("{}:{}: {e}", summary.display(), i + 1)),
                });
            }
            return;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => {
            entries.push(broken(name, format!("{}: cannot read: {e}", summary.display())));
            return;
        }
    }
    // A lot without the pieces that a run did not come to would look whole.
    if super::journal::is_under_way(dir) {
        let message =
            format!("{}: the run is under way or was cut short: the pieces it has not come to are missing here (inspect --resume)", dir.display());
        entries.push(broken(name.clone(), message));
    }
    let mut found = Vec::new();
    if let Err(e) = reports_below(dir, 0, &mut found) {
        entries.push(broken(name, format!("{}: cannot read: {e}", dir.display())));
        return;
    }
    if found.is_empty() {
        entries.push(broken(name, format!("{}: no summary.jsonl and no report.json", dir.display())));
    }
    for path in found {
        let piece_id =
            path.parent().and_then(Path::file_name).map_or_else(String::new, |n| n.to_string_lossy().into());
        entries.push(Entry { piece_id, path: Some(path), ..Entry::default() });
    }
}

fn of_summary(dir: &Path, row: SummaryRow) -> Entry {
    let mut entry = Entry { piece_id: row.piece_id, verdict: row.verdict, errors: row.errors, ..Entry::default() };
    match row.report.as_deref().map(Path::new) {
        Some(p) if p.components().all(|c| matches!(c, Component::Normal(_))) => entry.path = Some(dir.join(p)),
        Some(p) => {
            entry.errors.push(format!("summary.jsonl: key `report`: {} leads out of the folder", p.display()));
            entry.failed = true;
        }
        None => {}
    }
    entry
}

/// Deepest folder that is searched for reports.
const DEEPEST: usize = 8;

/// Every report.json below a folder, in the order of their paths; links are not followed.
fn reports_below(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut folders = std::fs::read_dir(dir)?
        .filter_map(|e| e.ok().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()))
        .collect::<Vec<_>>();
    folders.sort();
    for folder in folders {
        if folder.join("report.json").is_file() {
            found.push(folder.join("report.json"));
        } else if depth < DEEPEST {
            // A folder that may not be read has no report of this run.
            let _ = reports_below(&folder, depth + 1, found);
        }
    }
    Ok(())
}

/// Gives every piece names of files that no other has, also where a file system takes two cases for one.
fn name_files(entries: &mut [Entry]) {
    let mut taken = BTreeSet::new();
    // Of each name that was asked for, the next number.
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let base = slug(&entry.piece_id);
        let mut name = base.clone();
        let k = next.entry(base.to_ascii_lowercase()).or_insert(2);
        while !taken.insert(name.to_ascii_lowercase()) {
            name = format!("{base}-{k}");
            *k += 1;
        }
        entry.slug = name;
    }
}

/// All of one piece; even a panic is its row alone.
fn one(entry: &Entry, args: &Args, date: Option<&str>, known: &BTreeMap<String, source::Entry>) -> Done {
    let work = AssertUnwindSafe(|| read_and_write(entry, args, date, known));
    let mut done = std::panic::catch_unwind(work).unwrap_or_else(|_| Done {
        doc: None,
        thumb: None,
        csv: vec![],
        errors: vec!["the program failed on this report".into()],
    });
    if done.doc.is_none() {
        let errors: Vec<String> = entry.errors.iter().chain(&done.errors).cloned().collect();
        match rows::of_error(&entry.piece_id, &errors) {
            Ok(row) => done.csv = row,
            Err(e) => done.errors.push(e.to_string()),
        }
        // A page or a document of an earlier run must not pass for one of this.
        for old in [page_path(args, entry), qif_path(args, entry)].into_iter().flatten() {
            match std::fs::remove_file(&old) {
                Err(e) if !matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                    done.errors.push(format!("{}: an older file cannot be removed: {e}", old.display()));
                }
                _ => {}
            }
        }
    }
    done
}

fn page_path(args: &Args, entry: &Entry) -> Option<PathBuf> {
    args.html.as_ref().map(|out| out.join("pieces").join(format!("{}.html", entry.slug)))
}

fn qif_path(args: &Args, entry: &Entry) -> Option<PathBuf> {
    args.qif.as_ref().map(|to| {
        if to.extension().is_some_and(|e| e.eq_ignore_ascii_case("qif")) {
            to.clone()
        } else {
            to.join(format!("{}.qif", entry.slug))
        }
    })
}

fn read_and_write(entry: &Entry, args: &Args, date: Option<&str>, known: &BTreeMap<String, source::Entry>) -> Done {
    let mut done = Done { doc: None, thumb: None, csv: vec![], errors: vec![] };
    let Some(path) = &entry.path else { return done };
    let doc = match Doc::read(path) {
        Ok(doc) => doc,
        Err(e) => {
            done.errors.push(e.to_string());
            return done;
        }
    };
    // The summary and the report were written together: one that says otherwise is not of this run.
    if entry.verdict.is_some_and(|v| v != doc.report.verdict) {
        done.errors.push(format!(
            "{}: key `verdict`: `{}` here, `{}` in summary.jsonl",
            path.display(),
            doc.report.verdict.as_str(),
            entry.verdict.map_or("", Verdict::as_str)
        ));
        return done;
    }
    if entry.verdict.is_some() && entry.piece_id != doc.report.piece_id {
        done.errors.push(format!(
            "{}: key `piece_id`: `{}` here, `{}` in summary.jsonl",
            path.display(),
            doc.report.piece_id,
            entry.piece_id
        ));
        return done;
    }
    if args.csv.is_some() {
        match rows::of(&doc, &entry.errors) {
            Ok(text) => done.csv = text,
            Err(e) => done.errors.push(format!("{}: {e}", path.display())),
        }
    }
    if let Some(to) = qif_path(args, entry) {
        done.errors.extend(super::write(&to, qif::document(&doc).as_bytes()).err());
    }
    if let Some(to) = page_path(args, entry) {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut extras = piece::Extras {
            date,
            lot: Some("../index.html"),
            errors: entry.errors.clone(),
            ..piece::Extras::default()
        };
        let original = match known.get(&doc.report.piece_id).map(source::Entry::load) {
            Some(Ok(job)) => Some((job.piece, job.base)),
            Some(Err(e)) => {
                extras.notes.push(format!("The piece's own files cannot be read: {e}"));
                None
            }
            None => None,
        };
        if let Some((piece, _)) = &original {
            extras.frames = piece.frames.iter().map(|f| (f.file.clone(), f.clone())).collect();
        }
        if !args.no_pictures {
            done.thumb = add_pictures(&doc, folder, original.as_ref(), &mut extras);
        }
        done.errors.extend(super::write(&to, piece::page(&doc, &extras).as_bytes()).err());
    }
    done.doc = Some(doc);
    done
}

/// The drawn pictures beside a report, the close-ups of its findings, and the first picture's thumbnail.
fn add_pictures(
    doc: &Doc,
    folder: &Path,
    original: Option<&(Piece, PathBuf)>,
    extras: &mut piece::Extras,
) -> Option<Embedded> {
    let r = &doc.report;
    let wanted = piece::with_close_ups(r, CLOSE_UPS);
    let mut thumb: Option<Embedded> = None;
    let mut missing = Vec::new();
    let mut used = BTreeSet::new();
    // The frame with the worst findings first.
    for frame in &r.frames {
        let mut name = flat_name(&frame.file);
        while !used.insert(name.clone()) {
            name.push('_');
        }
        let bare = original
            .and_then(|o| bare_frame(o, frame.sha256.as_deref(), &frame.file, &mut extras.notes, &wanted, doc));
        let drawn = match vision::decode::read_image(&folder.join(format!("{name}.overlay.png"))) {
            Ok((_, image)) => Some(image),
            Err(vision::decode::DecodeError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                if frame.error.is_none() {
                    missing.push(frame.file.clone());
                }
                None
            }
            Err(e) => {
                // The path of a machine does not belong on the page.
                extras.notes.push(format!("The drawn picture of {} cannot be read.", frame.file));
                tracing::warn!("{e}");
                None
            }
        };
        let shown = drawn.as_ref().map(pictures::without_strip);
        for i in wanted.iter().filter(|i| r.findings[**i].file == frame.file) {
            let close = [("as taken", bare.as_ref()), ("drawn", shown.as_ref())];
            let close: Vec<(&'static str, Embedded)> = close
                .into_iter()
                .filter_map(|(what, image)| Some((what, pictures::close_up(image?, &r.findings[*i])?)))
                .collect();
            extras.close_ups.insert(*i, close);
        }
        if let Some((large, small)) = shown.as_ref().or(bare.as_ref()).and_then(pictures::large_and_small) {
            thumb.get_or_insert(small);
            extras.pictures.push((frame.file.clone(), large));
        }
    }
    if !missing.is_empty() {
        extras
            .notes
            .push(format!("There is no drawn picture of {} (inspected with --no-overlay).", missing.join(", ")));
    }
    thumb
}

/// A frame as it was taken, where a close-up needs it and it is still the file that was inspected.
fn bare_frame(
    (piece, base): &(Piece, PathBuf),
    sha256: Option<&str>,
    file: &str,
    notes: &mut Vec<String>,
    wanted: &[usize],
    doc: &Doc,
) -> Option<Image> {
    if !wanted.iter().any(|i| doc.report.findings[*i].file == file) || !piece.frames.iter().any(|f| f.file == file) {
        return None;
    }
    match vision::decode::read_image(&base.join(file)) {
        Ok((bytes, image)) if sha256 == Some(sha256_hex(&bytes).as_str()) => Some(image),
        Ok(_) => {
            notes.push(format!("{file} is no longer the file that was inspected; it is not shown."));
            None
        }
        Err(_) => {
            notes.push(format!("{file} cannot be read any more; it is not shown."));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pieces_share_a_file() {
        let mut entries: Vec<Entry> = ["a", "A", "a", "a b", "a-2"]
            .iter()
            .map(|id| Entry { piece_id: (*id).into(), ..Entry::default() })
            .collect();
        name_files(&mut entries);
        let names: BTreeSet<String> = entries.iter().map(|e| e.slug.to_ascii_lowercase()).collect();
        assert_eq!(names.len(), entries.len(), "{names:?}");
        assert_eq!(entries[0].slug, "a");
    }

    #[test]
    fn a_summary_cannot_name_a_file_outside() {
        for (path, inside) in [("a/report.json", true), ("../a/report.json", false), ("/etc/passwd", false)] {
            let row = SummaryRow {
                schema: String::new(),
                piece_id: "a".into(),
                verdict: None,
                reasons: vec![],
                report: Some(path.into()),
                errors: vec![],
            };
            let entry = of_summary(Path::new("out"), row);
            assert_eq!((entry.path.is_some(), entry.failed), (inside, !inside), "{path}");
        }
    }
}
