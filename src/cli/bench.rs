//! `loupe bench`: what the steps of an inspection cost, as ratios taken in one run, so that figures of two
//! machines can be compared.

use std::path::{Path, PathBuf};
use std::time::Instant;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::Serialize;

use crate::inspect::sight::{self, PartModels};
use crate::locate::Pose;
use crate::model::{find_default, Backbone, Precision, SurfaceModel};
use crate::piece::{Frame, Piece, PIECE_SCHEMA};
use crate::pipeline::{Inspector, Job, Settings};
use crate::source;
use crate::spec::{Limit, Outline, Spec, Stone, View, SPEC_SCHEMA};
use crate::teach::Fit;
use crate::vision::{self, Image, Mask};

/// The `schema` value of the figures that `loupe bench --json` prints.
pub const BENCH_SCHEMA: &str = "loupe.bench/1";

/// Pieces of the comparison of two cores with one.
const PIECES: usize = 40;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pieces to time instead of drawn ones: a piece's folder, a folder of pieces, or a manifest (*.jsonl)
    #[arg(long, value_name = "PATH")]
    pub frames: Option<PathBuf>,
    /// The surface model.
    #[command(flatten)]
    pub model: super::ModelArgs,
    /// Runs of which the median is taken
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Only this figure; may be given several times
    #[arg(long, value_name = "NAME", value_parser = FIGURES)]
    pub figure: Vec<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The names of the figures.
const FIGURES: [&str; 6] = [
    "classic_over_decode",
    "model_over_bare",
    "int8_over_fp32",
    "stones_over_bare",
    "taught_over_backbone",
    "two_cores",
];

/// The figures of one run.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Always `loupe.bench/1`.
    pub schema: &'static str,
    /// Program and version.
    pub program: &'static str,
    /// Runs of which each time is the median.
    pub runs: u32,
    /// Cores the system offers.
    pub cores: usize,
    /// The ratios.
    pub rows: Vec<Row>,
}

/// One ratio and the two times it is made of.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which figure.
    pub name: &'static str,
    /// `time_ms / base_ms`; for `two_cores` how many times faster two are.
    pub ratio: f64,
    /// The time in milliseconds.
    pub time_ms: f64,
    /// What it is compared with, in milliseconds.
    pub base_ms: f64,
    /// What was timed.
    pub what: String,
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match measure(args) {
        Ok(figures) if args.json => match serde_json::to_string_pretty(&figures) {
            Ok(text) => {
                println!("{text}");
                super::EXIT_OK
            }
            Err(e) => {
                eprintln!("loupe bench: {e}");
                super::EXIT_ERROR
            }
        },
        Ok(figures) => {
            println!("{:<20} {:>8} {:>12} {:>12}  what", "figure", "ratio", "time ms", "base ms");
            for r in &figures.rows {
                println!("{:<20} {:>8.2} {:>12.1} {:>12.1}  {}", r.name, r.ratio, r.time_ms, r.base_ms, r.what);
            }
            super::EXIT_OK
        }
        Err(message) => {
            eprintln!("loupe bench: {message}");
            super::EXIT_ERROR
        }
    }
}

fn measure(args: &Args) -> Result<Figures, String> {
    let runs = args.runs as usize;
    let dir = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let classic = inspector(&Settings::default())?;
    let one = pool(1)?;
    let wanted = |name: &str| args.figure.is_empty() || args.figure.iter().any(|f| f == name);
    let mut rows = Vec::new();
    if wanted("classic_over_decode") {
        rows.push(classic_row(&classic, &one, dir.path(), runs)?);
    }

    let jobs = match &args.frames {
        Some(path) => load(path)?,
        None => (0..4)
            .map(|i| draw_piece(dir.path(), &format!("drawn-{i}"), 960, 720, 12.0, i))
            .collect::<Result<_, _>>()?,
    };
    let full = if args.model.no_model {
        classic
    } else {
        let full = inspector(&args.model.settings())?;
        if let Some(model) = full.model() {
            if wanted("model_over_bare") {
                rows.push(model_row(model, &jobs[0], &one, runs)?);
            }
            let int8 = || args.model.model.is_none() && find_default(Precision::Int8).is_some_and(|p| p.is_file());
            if wanted("int8_over_fp32") && int8() {
                rows.push(precision_row(&jobs[0], &one, runs)?);
            }
            if wanted("stones_over_bare") {
                rows.push(stones_row(&one, runs)?);
            }
        }
        full
    };
    if wanted("taught_over_backbone") {
        if let Ok(backbone) = Backbone::default_path().and_then(|p| Backbone::load(&p, None)) {
            rows.push(taught_row(&backbone, &one, runs)?);
        }
    }
    if wanted("two_cores") {
        rows.push(cores_row(&full, &jobs, &one, &pool(2)?, runs));
    }
    // What cannot be timed here (no model, no backbone) is told where it was asked for by name.
    if let Some(name) = args.figure.iter().find(|f| !rows.iter().any(|r| r.name == f.as_str())) {
        return Err(format!("--figure {name}: what it times is not there (`loupe doctor` says what is missing)"));
    }
    Ok(Figures {
        schema: BENCH_SCHEMA,
        program: crate::PROGRAM,
        runs: args.runs,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        rows,
    })
}

fn inspector(settings: &Settings) -> Result<Inspector, String> {
    Inspector::new(settings.clone()).map_err(|e| e.to_string())
}

fn pool(threads: usize) -> Result<rayon::ThreadPool, String> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())
}

fn load(path: &Path) -> Result<Vec<Job>, String> {
    let entries = source::resolve(&[path.to_owned()], &source::Options::default());
    let jobs: Vec<Job> = entries.iter().map(|e| e.load().map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
    if jobs.is_empty() {
        return Err(format!("{}: no piece", path.display()));
    }
    Ok(jobs)
}

/// The classic inspection of a frame of 5 megapixels over decoding its PNG.
fn classic_row(inspector: &Inspector, one: &rayon::ThreadPool, dir: &Path, runs: usize) -> Result<Row, String> {
    let job = draw_piece(dir, "five-megapixels", 2448, 2048, 5.0, 0)?;
    let path = job.base.join(&job.piece.frames[0].file);
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let seen = inspector.inspect(&job);
    if seen.report.frames.iter().any(|f| f.pose.is_none()) {
        return Err("the drawn piece was not located, so its time would say nothing".into());
    }
    let (whole, decode) = one.install(|| {
        medians(
            runs,
            || {
                inspector.inspect(&job);
            },
            || {
                let _ = vision::decode(&bytes, &path);
            },
        )
    });
    Ok(Row {
        name: "classic_over_decode",
        ratio: (whole - decode) / decode,
        time_ms: whole - decode,
        base_ms: decode,
        what:
            "a 2448 x 2048 frame, one thread: inspection without model, its decoding taken off, over decoding the PNG"
                .into(),
    })
}

/// A picture scored by a taught part over the backbone's own call for it.
fn taught_row(backbone: &Backbone, one: &rayon::ThreadPool, runs: usize) -> Result<Row, String> {
    const GOOD: usize = 12;
    let fit = Fit::whole(crate::teach::SIDE);
    let options = crate::teach::Options {
        false_alarms: crate::teach::FALSE_ALARMS,
        most_kept: GOOD,
        seed: 1,
        on: String::new(),
        date: String::new(),
        light: None,
        scales: None,
        parts: vec![],
    };
    let drawn = |i: usize| {
        let (image, _) = draw_signet(fit.width, fit.height, i as u32);
        Ok(fit.look(&image, None, None)?)
    };
    let (taught, _) =
        crate::teach::teach(backbone, &fit, GOOD, &options, &drawn, &|| ()).map_err(|e| e.to_string())?;
    let looked = drawn(GOOD).map_err(|e: crate::teach::TeachError| e.to_string())?;
    let (whole, bare) = one.install(|| {
        medians(
            10 * runs,
            || {
                let _ = taught.score(backbone, &looked);
            },
            || {
                let _ = backbone.features(&looked.image);
            },
        )
    });
    Ok(Row {
        name: "taught_over_backbone",
        ratio: whole / bare,
        time_ms: whole,
        base_ms: bare,
        what: format!(
            "one picture of {} x {} pixels, one thread: scored by a taught part, over the backbone's own call",
            fit.width, fit.height
        ),
    })
}

fn first_frame(job: &Job) -> Result<Image, String> {
    let path = job.base.join(&job.piece.frames[0].file);
    vision::read_image(&path).map(|(_, image)| image).map_err(|e| e.to_string())
}

/// The model's whole path over the runtime's own calls for the same tiles.
fn model_row(model: &SurfaceModel, job: &Job, one: &rayon::ThreadPool, runs: usize) -> Result<Row, String> {
    let image = first_frame(job)?;
    let prepared = model.prepare(&image, None).map_err(|e| e.to_string())?;
    model.bare_run(&prepared).map_err(|e| e.to_string())?;
    let (path_ms, bare_ms) = one.install(|| {
        medians(
            runs,
            || {
                if let Ok(map) = model.segment(&image, None) {
                    std::hint::black_box(map.defect_plane());
                }
            },
            || {
                let _ = model.bare_run(&prepared);
            },
        )
    });
    let (w, h) = prepared.tile_size();
    Ok(Row {
        name: "model_over_bare",
        ratio: path_ms / bare_ms,
        time_ms: path_ms,
        base_ms: bare_ms,
        what: format!(
            "{} on a {} x {} frame, one thread: cutting, running, joining and enlarging {} tiles of {w} x {h} over \
             running them alone",
            model.info().name,
            image.width,
            image.height,
            prepared.tiles()
        ),
    })
}

/// The int8 model's own time over the fp32 model's, for the same tiles.
fn precision_row(job: &Job, one: &rayon::ThreadPool, runs: usize) -> Result<Row, String> {
    let image = first_frame(job)?;
    let load = |p: Precision| SurfaceModel::load_default(p).map_err(|e| e.to_string());
    let (int8, fp32) = (load(Precision::Int8)?, load(Precision::Fp32)?);
    let prepared = fp32.prepare(&image, None).map_err(|e| e.to_string())?;
    int8.bare_run(&prepared).map_err(|e| e.to_string())?;
    let (small_ms, full_ms) = one.install(|| {
        medians(
            runs,
            || {
                let _ = int8.bare_run(&prepared);
            },
            || {
                let _ = fp32.bare_run(&prepared);
            },
        )
    });
    Ok(Row {
        name: "int8_over_fp32",
        ratio: small_ms / full_ms,
        time_ms: small_ms,
        base_ms: full_ms,
        what: format!("running {} tiles of a {} x {} frame, one thread", prepared.tiles(), image.width, image.height),
    })
}

/// Forty pieces on one core over forty on two.
fn cores_row(
    inspector: &Inspector,
    jobs: &[Job],
    one: &rayon::ThreadPool,
    two: &rayon::ThreadPool,
    runs: usize,
) -> Row {
    let all: Vec<&Job> = jobs.iter().cycle().take(PIECES).collect();
    let work = || {
        all.par_iter().for_each(|job| {
            std::hint::black_box(inspector.inspect(job));
        });
    };
    // Caches and sessions are warm after a few pieces; forty twice over would only make people wait.
    two.install(|| all.par_iter().take(4).for_each(|job| drop(inspector.inspect(job))));
    let (single, double) = in_turn(runs.min(3), || one.install(work), || two.install(work));
    Row {
        name: "two_cores",
        ratio: single / double,
        time_ms: double,
        base_ms: single,
        what: format!(
            "{PIECES} pieces ({} different) {} model on two threads; the ratio is how many times faster than on one",
            jobs.len(),
            if inspector.model().is_some() { "with the" } else { "without" }
        ),
    }
}

/// Stones of the row that times them.
const STONES: usize = 40;

/// What the stones of a frame cost, over the bare calls of their model.
fn stones_row(one: &rayon::ThreadPool, runs: usize) -> Result<Row, String> {
    let models = PartModels::load_default().map_err(|e| e.to_string())?;
    let (image, stones) = draw_stones(960, 720, STONES, 12.0);
    let pose = Pose::centred(image.width, image.height, 12.0);
    let stones: Vec<&Stone> = stones.iter().collect();
    let cut = |s: &&Stone| sight::stone_window(&image, &pose, models.stones.info(), s).map_err(|e| e.to_string());
    let windows: Vec<Image> = stones.iter().map(cut).collect::<Result<_, _>>()?;
    let seen = models.stones(&image, &pose, &stones).map_err(|e| e.to_string())?;
    let rims = seen.iter().filter(|s| s.rim.is_some()).count();
    let (whole, bare) = one.install(|| {
        medians(
            runs,
            || {
                let _ = std::hint::black_box(models.stones(&image, &pose, &stones));
            },
            || {
                let _ = std::hint::black_box(models.stones.stones(&windows));
            },
        )
    });
    Ok(Row {
        name: "stones_over_bare",
        ratio: whole / bare,
        time_ms: whole,
        base_ms: bare,
        what: format!(
            "{STONES} round stones on a {} x {} frame, one thread: windows, the model of stones, {rims} rims unrolled, the \
             model of girdles, fits, over the model of stones alone",
            image.width, image.height
        ),
    })
}

/// Draws round stones in rows on gold, each with eight facets about a table, and gives their spec rows.
fn draw_stones(width: usize, height: usize, count: usize, um_per_px: f64) -> (Image, Vec<Stone>) {
    let columns = ((count as f64 * width as f64 / height as f64).sqrt().ceil() as usize).max(1);
    let pitch = width as f64 / columns as f64;
    let radius = 0.38 * pitch;
    let centre = |k: usize| [(k % columns) as f64 + 0.5, (k / columns) as f64 + 0.5].map(|v| v * pitch - 0.5);
    let (mut image, _) = draw_signet(3 * width, 3 * height, 7);
    // The middle of a large signet: nothing but metal.
    let rows = image.data.chunks_exact(9 * width).skip(height).take(height);
    image = Image { width, height, data: rows.flat_map(|r| r[3 * width..6 * width].to_vec()).collect(), grey: false };
    for k in 0..count {
        let [cx, cy] = centre(k);
        for y in (cy - radius) as usize..=((cy + radius) as usize + 1).min(height - 1) {
            for x in (cx - radius) as usize..=((cx + radius) as usize + 1).min(width - 1) {
                let (dx, dy) = (x as f64 - cx, y as f64 - cy);
                let r = dx.hypot(dy) / radius;
                if r > 1.0 {
                    continue;
                }
                let facet = (8.0 * dy.atan2(dx)).cos();
                let light = if r < 0.56 { 205.0 + 25.0 * facet } else { 165.0 - 65.0 * facet };
                let v = if r > 0.97 { 60.0 } else { light };
                image.data[3 * (y * width + x)..][..3].fill(v as u8);
            }
        }
    }
    let pose = Pose::centred(width, height, um_per_px);
    let stones = (0..count).map(|k| {
        let [x_mm, y_mm] = pose.to_mm(centre(k)[0], centre(k)[1]);
        let (id, cut) = (format!("S{}", k + 1), "round".to_owned());
        let diameter_mm = 2.0 * pose.mm(radius);
        Stone { id, x_mm, y_mm, diameter_mm, cut, turn_deg: None, gem: None, prongs: vec![] }
    });
    (image, stones.collect())
}

/// [`in_turn`] after one run of each that is not counted.
fn medians(runs: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64) {
    a();
    b();
    in_turn(runs, a, b)
}

/// Median times in milliseconds of two pieces of work, run in turn so that a machine that slows down slows both.
fn in_turn(runs: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64) {
    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e3
    };
    let (mut first, mut second) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for _ in 0..runs {
        first.push(time(&mut a));
        second.push(time(&mut b));
    }
    (median(&mut first), median(&mut second))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// Draws a signet of matte gold with a few pits, as a piece with its spec, into a folder of this name.
///
/// # Errors
/// A message that names the file that could not be written.
pub fn draw_piece(
    dir: &Path,
    name: &str,
    width: usize,
    height: usize,
    um_per_px: f64,
    seed: u32,
) -> Result<Job, String> {
    let base = dir.join(name);
    std::fs::create_dir_all(&base).map_err(|e| format!("{}: {e}", base.display()))?;
    let (image, _) = draw_signet(width, height, seed);
    let file = base.join("top.png");
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive)
        .write_image(&image.data, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|e| format!("{}: {e}", file.display()))?;
    std::fs::write(&file, png).map_err(|e| format!("{}: {e}", file.display()))?;
    let (rx, ry) = axes(width, height);
    let limit = |characteristic: &str, upper: f64| Limit {
        characteristic: characteristic.into(),
        upper: Some(upper),
        ..Limit::default()
    };
    Ok(Job {
        origin: base.join("piece.json"),
        base,
        piece: Piece {
            schema: PIECE_SCHEMA.into(),
            piece_id: name.into(),
            spec: "spec.toml".into(),
            frames: vec![Frame::bare("top.png", "top", "dome", Some(um_per_px), Some(um_per_px / 1000.0))],
            readings: vec![],
            extra: Default::default(),
        },
        spec: Spec {
            schema: SPEC_SCHEMA.into(),
            sku: "signet-drawn".into(),
            metal: "yellow_gold".into(),
            finish: "matte".into(),
            views: vec![View {
                name: "top".into(),
                outline: Some(Outline::Ellipse { rx_mm: rx * um_per_px / 1e3, ry_mm: ry * um_per_px / 1e3 }),
                ..View::default()
            }],
            limits: vec![
                limit("pit.diameter_mm", 0.05),
                limit("porosity.pore_count", 3.0),
                limit("scratch.length_mm", 0.3),
                limit("outline.deviation_mm", 0.1),
            ],
            ..Spec::default()
        },
        spec_sha256: String::new(),
    })
}

/// Half axes in pixels of the signet on a frame of this size.
fn axes(width: usize, height: usize) -> (f64, f64) {
    (0.41 * width as f64, 0.39 * height as f64)
}

/// Draws a signet on a dark ground, and gives its metal as a mask. The same arguments give the same pixels.
pub fn draw_signet(width: usize, height: usize, seed: u32) -> (Image, Mask) {
    let (rx, ry) = axes(width, height);
    let (cx, cy) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let pits: Vec<(f64, f64, f64)> = (0..5)
        .map(|i| {
            let (a, b) = (hash(i, 1, seed), hash(i, 2, seed));
            let (angle, far) = (a * std::f64::consts::TAU, 0.8 * b.sqrt());
            (cx + rx * far * angle.cos(), cy + ry * far * angle.sin(), 4.0 + 3.0 * hash(i, 3, seed))
        })
        .collect();
    let mut image = Image { width, height, data: Vec::with_capacity(3 * width * height), grey: false };
    let mut mask = Mask::empty(width, height);
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (x as f64 - cx, y as f64 - cy);
            // About the distance from the edge in pixels, for a border of one pixel.
            let metal = ((1.0 - (dx / rx).hypot(dy / ry)) * ry + 0.5).clamp(0.0, 1.0);
            let mut light = 1.0 + 0.03 * dx / rx - 0.02 * dy / ry;
            for (px, py, r) in &pits {
                let d = (x as f64 - px).hypot(y as f64 - py);
                light -= 0.35 * (-(d / r).powi(4)).exp();
            }
            let grain = hash(x as u32, y as u32, seed) + hash(x as u32, y as u32, seed + 99) - 1.0;
            for (gold, ground) in [(205.0, 40.0), (170.0, 40.0), (120.0, 42.0)] {
                let v = metal * gold * (light + 0.03 * grain) + (1.0 - metal) * (ground + 1.5 * grain);
                image.data.push(v.round().clamp(0.0, 255.0) as u8);
            }
            if metal >= 0.5 {
                mask.data[y * width + x] = 255;
            }
        }
    }
    (image, mask)
}

/// A number from 0 to 1 that looks random.
fn hash(a: u32, b: u32, c: u32) -> f64 {
    let mut h = a.wrapping_mul(0x9E37_79B1) ^ b.wrapping_mul(0x85EB_CA77) ^ c.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    f64::from(h ^ (h >> 15)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_drawn_piece_is_the_same_every_time() {
        let (a, mask) = draw_signet(96, 72, 3);
        assert_eq!(a, draw_signet(96, 72, 3).0);
        assert!(a != draw_signet(96, 72, 4).0);
        assert!(mask.at(48, 36) && !mask.at(2, 2));
    }
}
