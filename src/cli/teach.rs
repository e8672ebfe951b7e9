//! `loupe teach`: a part learned from good pictures alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{EXIT_ERROR, EXIT_OK};
use crate::dataset::{self, Protocol, Split};
use crate::hash::sha256_hex;
use crate::locate;
use crate::model::Backbone;
use crate::pipeline::{Job, Stations};
use crate::report::{listed, WholeFile};
use crate::source;
use crate::spec::View;
use crate::teach::{self, shots, Fit, Looked, Options, TeachError};
use crate::vision::{self, ops};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Teaches on pictures of good parts, or on good pieces (folders with a piece.json), whose metal the spec locates. A spec's \
[[view]] then names the file (taught = \"part.loupe\") with a limit on anomaly.score (1 is the stored threshold).

Exit codes: 0 taught, 2 something could not be read (the file is written all the same where enough pictures are left).")]
pub struct Args {
    /// Good pictures, folders of them, or pieces
    #[arg(required = true, value_name = "GOOD")]
    pub good: Vec<PathBuf>,
    /// The taught file
    #[arg(long, value_name = "FILE.loupe")]
    pub out: PathBuf,
    /// The share of good pictures that may be called falsely
    #[arg(long, value_name = "SHARE", default_value_t = teach::FALSE_ALARMS)]
    pub false_alarms: f64,
    /// The backbone: any ONNX network [default: the one that the set-up makes]
    #[arg(long, value_name = "FILE.onnx")]
    pub backbone: Option<PathBuf>,
    /// Tensors of the backbone to read, separated by commas [default: those its metadata names]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub layers: Option<Vec<String>>,
    /// Pictures are looked at in about SIDE x SIDE pixels; more shows smaller defects and takes longer [default: 224, of
    /// pieces 448]
    #[arg(long, value_name = "SIDE", value_parser = clap::value_parser!(u32).range(64..=2048))]
    pub side: Option<u32>,
    /// Most good pictures kept, those least alike
    #[arg(long, value_name = "N", default_value_t = teach::MOST_KEPT, value_parser = enough)]
    pub most: usize,
    /// Of pieces: this view [default: the spec's first]
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
    /// Of pieces: the frames of this light [default: of the first frame]
    #[arg(long, value_name = "LIGHT")]
    pub light: Option<String>,
    /// Folder in which a piece's spec is looked up by its SKU
    #[arg(long, value_name = "DIR")]
    pub specs: Option<PathBuf>,
    /// GOOD are labelled sets: teach on the good pictures of their train part
    #[arg(long)]
    pub labelled: bool,
    /// Which protocol of their splits.json [default: one_class]
    #[arg(long, value_enum, requires = "labelled")]
    pub protocol: Option<Protocol>,
    /// The seed of what is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The day that the file says, YYYY-MM-DD [default: SOURCE_DATE_EPOCH, else today]
    #[arg(long, value_name = "DAY")]
    pub date: Option<String>,
    /// Pictures at the same time; the file does not depend on it [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
}

/// Most bytes of pictures kept between the passes; the rest is read anew for each.
const KEPT_BYTES: usize = 256 << 20;

/// How many times a picture may be shrunk without a word, and how many pixels of what is looked at a defect takes: half a cell.
const SHRUNK: f64 = 3.0;
const SEEN_PX: f64 = 4.0;

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match learn(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe teach: {message}");
            EXIT_ERROR
        }
    }
}

/// One good picture.
#[derive(Debug, Clone)]
struct Good {
    path: PathBuf,
    /// Of a piece.
    placed: Option<Placed>,
}

/// A frame of a piece.
#[derive(Debug, Clone)]
struct Placed {
    /// The piece with its calibrations.
    piece: Arc<(Job, Stations)>,
    /// Which of its frames.
    frame: usize,
    /// Which of its spec's views that shows.
    view: usize,
}

impl Placed {
    fn view(&self) -> &View {
        &self.piece.0.spec.views[self.view]
    }
}

fn learn(args: &Args) -> Result<u8, String> {
    if !(args.false_alarms > 0.0 && args.false_alarms < 0.5) {
        return Err(format!("--false-alarms {} must be above 0 and below 0.5", args.false_alarms));
    }
    if args.out.is_dir() {
        return Err(format!("--out {}: it is a folder, and one file is written", args.out.display()));
    }
    can_be_written(&args.out)?;
    let date = match &args.date {
        Some(d) => checked_day(d)?,
        None => today()?,
    };
    vision::ops::single_threaded().map_err(|e| e.to_string())?;
    let path = match &args.backbone {
        Some(p) => p.clone(),
        None => Backbone::default_path().map_err(|e| e.to_string())?,
    };
    let backbone = Backbone::load(&path, args.layers.as_deref()).map_err(|e| e.to_string())?;
    let Gathered { good: all, mut errors, light, left } = gather(args)?;
    if let Some(g) = all.iter().find(|g| super::is_same_file(&g.path, &args.out)) {
        return Err(format!("--out {}: it is one of the good pictures, and would be lost", g.path.display()));
    }
    for (other, frames) in &left {
        eprintln!(
            "loupe teach: {frames} frame(s) in the light {other} are left out: a taught file is of one light, here {}, and --light names another",
            light.as_deref().unwrap_or("that of the first")
        );
    }
    if all.is_empty() {
        errors.iter().for_each(|e| eprintln!("loupe teach: left out: {e}"));
    }
    let pool = super::pool(args.jobs)?;

    let placed = all.iter().any(|g| g.placed.is_some());
    let side = args.side.map_or(if placed { teach::PIECE_SIDE } else { teach::SIDE }, |s| s as usize);
    let fit = fit(&all, side)?;
    // What cannot be read must not end a long run half-way: looked at once, before. As many as fit are kept for the passes.
    let room = KEPT_BYTES / (4 * fit.width * fit.height);
    /// Its hash, what it is like, and itself where there is room.
    type Checked = Result<(String, Kind, Vec<f32>, Option<Looked>), TeachError>;
    let one = |k: usize, g: &Good| -> Checked {
        let (looked, scale) = look(g, &fit)?;
        let overview = shots::overview(&looked.image);
        Ok((sha256_hex(&looked.image.data), Kind::of(&looked, scale), overview, Some(looked).filter(|_| k < room)))
    };
    let checked: Vec<Checked> = pool.install(|| all.par_iter().enumerate().map(|(k, g)| one(k, g)).collect());
    let (mut good, mut kept, mut kinds, mut overviews) = (Vec::<Good>::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut seen, mut copies) = (HashMap::<String, usize>::new(), Vec::new());
    for (g, r) in all.into_iter().zip(checked) {
        match r {
            // Copies would be held out beside themselves, and thresholds come out far too low.
            Ok((hash, kind, overview, looked)) => match seen.get(&hash) {
                Some(first) => copies.push((g.path, *first)),
                None => {
                    seen.insert(hash, good.len());
                    good.push(g);
                    kinds.push(kind);
                    overviews.push(overview);
                    kept.push(looked);
                }
            },
            Err(e) => errors.push(e.to_string()),
        }
    }
    if let Some((path, first)) = copies.first() {
        eprintln!(
            "loupe teach: {} of the pictures are the same as others and count once (the first: {}, the same as {})",
            copies.len(),
            path.display(),
            good[*first].path.display()
        );
    }
    for (what, odd) in if placed { vec![] } else { others(&kinds) } {
        eprintln!(
            "loupe teach: of {} pictures {} {what} than the others, taught as good ones all the same: {}",
            good.len(),
            if odd.len() == 1 { "1 is".into() } else { format!("{} are", odd.len()) },
            named(odd.iter().map(|i| good[*i].path.display().to_string()))
        );
    }
    let across = |k: &Kind| (k.size[0] * k.size[1] / (fit.width * fit.height) as f64).sqrt() as f32;
    let shrunk = f64::from(ops::median(&mut kinds.iter().map(across).collect::<Vec<f32>>()));
    if shrunk > SHRUNK {
        eprintln!(
            "loupe teach: pictures are looked at {shrunk:.0} times smaller than they are: a defect under {:.0} of their pixels is hardly seen; --side {} \
             shows more, and takes longer",
            SEEN_PX * shrunk,
            2 * side
        );
    }
    let load = |i: usize| kept[i].clone().map_or_else(|| look(&good[i], &fit).map(|l| l.0), Ok);
    let scales = kinds
        .iter()
        .try_fold([f64::MAX, 0.0], |[low, high]: [f64; 2], k| Some([low.min(k.scale?), high.max(k.scale?)]));
    let scales = scales.filter(|_| !kinds.is_empty());
    for e in &errors {
        eprintln!("loupe teach: left out: {e}");
    }
    let parts = pool.install(|| parts(&good, &overviews));
    let options = Options {
        false_alarms: args.false_alarms,
        most_kept: args.most,
        seed: args.seed,
        on: names(&args.good),
        date,
        light,
        scales,
        parts,
    };
    let bar = super::progress(teach::passes(good.len()));
    let (taught, strangers) = pool
        .install(|| teach::teach(&backbone, &fit, good.len(), &options, &load, &|| bar.inc(1)))
        .map_err(|e| e.to_string())?;
    bar.finish_and_clear();
    let bytes = taught.to_bytes().map_err(|e| format!("{}: cannot be written: {e}", args.out.display()))?;
    super::write(&args.out, &bytes)?;
    let h = &taught.header;
    let share = h.good_scores.iter().filter(|s| **s >= 1.0).count();
    println!(
        "{}: taught on {} pictures ({} x {} pixels, backbone {}), {} kept, {:.1} MB",
        args.out.display(),
        h.pictures,
        h.fit.width,
        h.fit.height,
        h.backbone,
        taught.kept(),
        bytes.len() as f64 / 1e6
    );
    println!(
        "held out, {share} of {} good pictures are called ({:.1} % accepted); a score is known to +-{:.3}",
        h.good_scores.len(),
        100.0 * h.false_alarms,
        2.0 * h.score_u
    );
    if !strangers.is_empty() {
        println!(
            "look at them again: {}",
            named(strangers.iter().map(|(i, s)| format!("{} ({s:.2})", good[*i].path.display())))
        );
    }
    if 2.0 * h.score_u >= 0.5 {
        println!("that is so much that hardly a picture can be told from a called one: teach on more of them, framed alike");
    }
    Ok(if errors.is_empty() { EXIT_OK } else { EXIT_ERROR })
}

/// Fails where a file could not be written after a long run; nothing of one that is there is touched.
fn can_be_written(path: &Path) -> Result<(), String> {
    let begun = WholeFile::create(path);
    begun.map(drop).map_err(|e| super::cannot_write(path, &e))
}

/// Which part each picture shows: frames of one piece show one, and so do pictures that are nearly the same, unless too few different ones were left.
fn parts(good: &[Good], overviews: &[Vec<f32>]) -> Vec<usize> {
    let count = |parts: &[usize]| parts.iter().max().map_or(0, |m| m + 1);
    let mut pieces = HashMap::new();
    let known: Vec<usize> = good
        .iter()
        .enumerate()
        .map(|(k, g)| g.placed.as_ref().map_or(k, |p| *pieces.entry(Arc::as_ptr(&p.piece)).or_insert(k)))
        .collect();
    let parts = shots::parts(overviews, &known);
    let distinct = known.iter().collect::<BTreeSet<_>>().len();
    if count(&parts) < teach::FEWEST && distinct >= teach::FEWEST {
        eprintln!(
            "loupe teach: the pictures are nearly the same, of {} parts at most: how they score where they are held out says little of how new parts will",
            count(&parts)
        );
        return shots::parts(&vec![vec![]; good.len()], &known);
    }
    if count(&parts) < good.len() {
        eprintln!(
            "loupe teach: {} pictures show {} parts (frames of one piece, or nearly the same picture): those of one part are held out together",
            good.len(),
            count(&parts)
        );
    }
    parts
}

/// What a picture is like before anything of it is learned.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Width and height in pixels.
    size: [f64; 2],
    /// Whether it has no colour.
    grey: bool,
    /// Its scale, um/px, where it is known.
    scale: Option<f64>,
}

impl Kind {
    fn of(looked: &Looked, scale: Option<f64>) -> Self {
        let apart: usize = looked
            .image
            .data
            .chunks_exact(3)
            .map(|p| usize::from(p[0].abs_diff(p[1]).max(p[1].abs_diff(p[2]))))
            .sum();
        Kind { size: looked.seen(), grey: apart <= looked.image.width * looked.image.height, scale }
    }
}

/// The pictures that are unlike the others in what a camera station keeps: shape, size, colour. Nothing where the others are no clear
/// majority.
fn others(kinds: &[Kind]) -> Vec<(&'static str, Vec<usize>)> {
    /// A share of the pictures that says how they should be.
    const MOST: f64 = 0.6;
    /// A ratio that is another shape or size.
    const OTHER: f64 = 1.1;
    let unlike = |f: &dyn Fn(&Kind) -> f64| {
        let m = f64::from(ops::median(&mut kinds.iter().map(|k| f(k) as f32).collect::<Vec<f32>>()));
        (0..kinds.len()).filter(|i| !(m / OTHER..=m * OTHER).contains(&f(&kinds[*i]))).collect::<Vec<usize>>()
    };
    let greys = kinds.iter().filter(|k| k.grey).count();
    let grey = 2 * greys > kinds.len();
    let colours = (0..kinds.len()).filter(|i| kinds[*i].grey != grey).collect();
    let shapes = unlike(&|k| k.size[0] / k.size[1]);
    let sizes: Vec<usize> = unlike(&|k| k.size[0] * k.size[1]).into_iter().filter(|i| !shapes.contains(i)).collect();
    [
        ("of another shape", shapes),
        ("of another size", sizes),
        (if grey { "in colour, rather" } else { "grey, rather" }, colours),
    ]
    .into_iter()
    .filter(|(_, odd)| !odd.is_empty() && (odd.len() as f64) <= (1.0 - MOST) * kinds.len() as f64)
    .collect()
}

/// The first names of many.
fn named(all: impl Iterator<Item = String>) -> String {
    listed(&all.collect::<Vec<_>>(), 5)
}

/// What the arguments name.
struct Gathered {
    good: Vec<Good>,
    /// What of it cannot be read.
    errors: Vec<String>,
    /// The light that pieces were taken in.
    light: Option<String>,
    /// How many frames are in others, which are left out.
    left: BTreeMap<String, usize>,
}

fn gather(args: &Args) -> Result<Gathered, String> {
    let (mut all, mut errors, mut light) = (Vec::new(), Vec::new(), args.light.clone());
    let mut lights = BTreeMap::new();
    for path in &args.good {
        if !path.exists() {
            return Err(format!("{}: no such file or folder", path.display()));
        }
        if args.labelled {
            // Most sets name no protocol: their folders tell what is for learning.
            let named = path.join("splits.json").is_file().then_some(Protocol::OneClass);
            let protocol = args.protocol.or(named);
            let set = dataset::load(path, dataset::Options { kind: None, split: Split::Train, protocol })
                .map_err(|e| e.to_string())?;
            errors.extend(set.errors.iter().map(|e| format!("{}: {}", e.name, e.message)));
            for s in set.samples.into_iter().filter(|s| s.truth.defective == Some(false)) {
                if let dataset::Source::Image(path) = s.source {
                    all.push(Good { path, placed: None });
                }
            }
            continue;
        }
        if path.is_file()
            && path.extension().is_none_or(|e| e != "jsonl")
            && path.file_name().is_none_or(|n| n != source::MANIFEST)
        {
            all.push(Good { path: path.clone(), placed: None });
            continue;
        }
        let pieces = path.is_file() || has_manifest(path);
        if !pieces {
            if let Some(kind) = dataset::labelled(path) {
                return Err(format!(
                    "{}: this is a labelled set ({kind}), with defects in it: --labelled teaches on the good pictures of its train part; else name the folder \
                     of the good ones",
                    path.display()
                ));
            }
            let found = dataset::pictures_below(path).map_err(|e| e.to_string())?;
            all.extend(found.into_iter().map(|path| Good { path, placed: None }));
            continue;
        }
        let from = source::Options { specs: args.specs.clone(), bare: None };
        for entry in source::resolve(std::slice::from_ref(path), &from) {
            let job = match entry.load() {
                Ok(job) => job,
                Err(e) => {
                    errors.push(e.to_string());
                    continue;
                }
            };
            let wanted = |v: &View| args.view.as_ref().is_none_or(|name| *name == v.name);
            let Some(view) = job.spec.views.iter().position(wanted) else {
                errors.push(format!(
                    "{}: its spec has no view `{}`",
                    entry.origin.display(),
                    args.view.as_deref().unwrap_or("")
                ));
                continue;
            };
            if dataset::is_bad(&job.base) {
                errors.push(format!("{}: its truth.json says that it is no good piece", entry.origin.display()));
                continue;
            }
            let stations = Stations::of(&job);
            let piece = Arc::new((job, stations));
            let job = &piece.0;
            let of = job.piece.frames.iter().enumerate();
            for (frame, f) in of.filter(|(_, f)| f.view == job.spec.views[view].name && f.light != "backlight") {
                *lights.entry(f.light.clone()).or_insert(0) += 1;
                if *light.get_or_insert_with(|| f.light.clone()) == f.light {
                    let placed = Placed { piece: piece.clone(), frame, view };
                    all.push(Good { path: job.base.join(&f.file), placed: Some(placed) });
                }
            }
        }
    }
    if let Some(wanted) = light.as_ref().filter(|l| all.is_empty() && !lights.is_empty() && !lights.contains_key(*l))
    {
        let lights: Vec<String> = lights.into_keys().collect();
        return Err(format!("no frame is under the light `{wanted}`: there are {}", lights.join(", ")));
    }
    if all.iter().any(|g| g.placed.is_some()) && all.iter().any(|g| g.placed.is_none()) {
        return Err("pieces and plain pictures cannot be taught together: nothing places the pictures".into());
    }
    // The order must not hang on that of the arguments' folders.
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup_by(|a, b| a.path == b.path);
    let left = lights.into_iter().filter(|(l, _)| light.as_ref() != Some(l)).collect();
    Ok(Gathered { good: all, errors, light, left })
}

/// Whether pieces lie in a folder or below it.
fn has_manifest(dir: &Path) -> bool {
    dataset::folders_below(dir).is_ok_and(|all| all.iter().any(|d| d.join(source::MANIFEST).is_file()))
}

/// The size that these pictures are looked at in.
fn fit(all: &[Good], side: usize) -> Result<Fit, String> {
    let Some(first) = all.first() else { return Err("no picture in what was given".into()) };
    let Some(view) = first.placed.as_ref().map(Placed::view) else { return Ok(Fit::whole(side)) };
    let Some(shape) = &view.outline else { return Ok(Fit::whole(side)) };
    if all.iter().any(|g| g.placed.as_ref().is_none_or(|p| p.view().outline != view.outline)) {
        return Err("the pieces are of different outlines: teach each part on its own".into());
    }
    Ok(Fit::of_box(Fit::box_about(shape), side))
}

/// A picture as it is learned from, a piece's frame as an inspection would take it, and the frame's scale where it is known.
fn look(good: &Good, fit: &Fit) -> Result<(Looked, Option<f64>), TeachError> {
    let damaged = |message: String| TeachError::Damaged { path: good.path.clone(), message };
    // Its message names the file already.
    let unread = |message: String| damaged(short(&message, &good.path));
    let Some(placed) = &good.placed else {
        let (_, image) = vision::read_image(&good.path).map_err(|e| unread(e.to_string()))?;
        return Ok((fit.look(&image, None, None)?, None));
    };
    let ((job, stations), view) = (&*placed.piece, placed.view());
    let taken = stations.take(job, placed.frame, &job.piece.frames[placed.frame]).map_err(unread)?;
    let (image, scale) = (taken.image, taken.frame.um_per_px);
    if view.outline.is_none() {
        return Ok((fit.look(&image, None, None)?, scale));
    }
    let located = locate::locate(&image, view, scale).map_err(|e| damaged(e.to_string()))?;
    let bare = locate::bare_metal(view, &located, &image).map_err(|e| damaged(e.to_string()))?;
    Ok((fit.look(&image, Some(&located), Some(&bare))?, scale))
}

fn short(message: &str, path: &Path) -> String {
    message.replace(&format!("{}: ", path.display()), "")
}

/// What the file says it was taught on: the last parts of the paths, so that it is the same wherever they lie.
fn names(paths: &[PathBuf]) -> String {
    let last =
        |p: &PathBuf| p.file_name().map_or_else(|| p.display().to_string(), |n| n.to_string_lossy().into_owned());
    let mut all: Vec<String> = paths.iter().take(4).map(last).collect();
    if paths.len() > 4 {
        all.push(format!("and {} more", paths.len() - 4));
    }
    all.join(", ")
}

fn enough(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= teach::FEWEST => Ok(n),
        _ => Err(format!("`{text}` is no number of pictures from {} on: fewer cannot be taught", teach::FEWEST)),
    }
}

/// A day of the Gregorian calendar, as it is given.
pub(super) fn checked_day(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let number =
        |k: usize, digits: usize| parts.get(k).filter(|p| p.len() == digits).and_then(|p| p.parse::<u32>().ok());
    match (parts.len(), number(0, 4), number(1, 2), number(2, 2)) {
        (3, Some(year), Some(month @ 1..=12), Some(day)) if (1..=days(year, month)).contains(&day) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("--date {text} is no day: write it as YYYY-MM-DD")),
    }
}

/// Days of a month of the Gregorian calendar.
fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of `SOURCE_DATE_EPOCH`, else today's, in UTC.
fn today() -> Result<String, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(v) => v.parse().map_err(|_| format!("SOURCE_DATE_EPOCH `{v}` is no number of seconds"))?,
        Err(_) => now,
    };
    // Days to a date of the Gregorian calendar (Hinnant's algorithm).
    let z = (seconds / 86_400) as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    Ok(format!("{:04}-{m:02}-{d:02}", yoe + era * 400 + i64::from(m <= 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_the_calendar() {
        assert!(checked_day("2026-11-24").is_ok() && checked_day("2024-02-29").is_ok());
        for wrong in ["2026-13-01", "26-01-01", "today", "2026-11-24-1", "2026-02-30", "2025-02-29", "2026-04-31"] {
            assert!(checked_day(wrong).is_err(), "{wrong}");
        }
        let t = today().unwrap();
        assert!(checked_day(&t).is_ok(), "{t}");
    }
}
