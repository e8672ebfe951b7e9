//! `loupe calibrate`: a station's scale and distortion out of pictures of a target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{EXIT_ERROR, EXIT_OK};
use crate::calibrate::{self, target, LensModel, Shot, TargetKind, TargetRow};
use crate::hash::sha256_hex;
use crate::json::Marked;
use crate::report::overlay;
use crate::vision::{self, Image};

/// Arguments of `loupe calibrate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The target lies in the plane of the piece and fills the frame. Several pictures, the target moved and \
                        turned between them, show how well the scale repeats.\n\
                        Exit codes: 0 calibrated, 2 a picture could not be used (written where one is left) or nothing could."
)]
pub struct Args {
    /// Pictures of the target, all of one size
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// What they show: a chessboard (inner corners), a square grid of circles, or parallel lines
    #[arg(long, value_enum)]
    pub target: TargetKind,
    /// Side of a square, or distance of neighbouring circles or lines, in mm
    #[arg(long, value_name = "S", value_parser = super::inspect::positive, allow_negative_numbers = true)]
    pub square_mm: f64,
    /// Its standard uncertainty in mm, from the target's certificate [default: taken as exact]
    #[arg(long, value_name = "U", value_parser = super::inspect::positive, allow_negative_numbers = true)]
    pub square_u_mm: Option<f64>,
    /// Columns of the target's points (inner corners of a chessboard): a picture that shows another number is refused
    #[arg(long, value_name = "N", requires = "rows")]
    pub cols: Option<usize>,
    /// Rows of the target's points
    #[arg(long, value_name = "M", requires = "cols")]
    pub rows: Option<usize>,
    /// The lens [default: what the points say]
    #[arg(long, value_enum)]
    pub lens: Option<LensModel>,
    /// The camera's serial number: frames of another camera are refused
    #[arg(long, value_name = "TEXT")]
    pub camera_serial: Option<String>,
    /// The calibration to write; the picture of the residuals is written beside it
    #[arg(long, value_name = "FILE.cal.json")]
    pub out: PathBuf,
}

/// A target's uncertainty of a tenth of its square and more is a slip of the pen: rulers of school are ten times better.
const MOST_UNSURE: f64 = 0.1;

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match make(args) {
        Ok(true) => EXIT_OK,
        Ok(false) => EXIT_ERROR,
        Err(message) => {
            eprintln!("loupe: {message}");
            EXIT_ERROR
        }
    }
}

/// Gives whether every picture could be used.
fn make(args: &Args) -> Result<bool, String> {
    if let Some(path) = args.images.iter().find(|i| super::is_same_file(i, &args.out)) {
        return Err(format!("--out {}: is one of the pictures", path.display()));
    }
    if args.target == TargetKind::ScaleBar {
        for (given, option) in [(args.cols.is_some(), "--cols and --rows"), (args.lens.is_some(), "--lens")] {
            if given {
                return Err(format!(
                    "{option}: a scale bar has neither rows of points nor a lens to tell: leave it out"
                ));
            }
        }
    }
    if let Some(u) = args.square_u_mm.filter(|u| *u >= MOST_UNSURE * args.square_mm) {
        return Err(format!(
            "--square-u-mm {u}: is {:.0} % of --square-mm {}: a target that is known so little calibrates nothing",
            100.0 * u / args.square_mm,
            args.square_mm
        ));
    }
    let mut ground: Option<Image> = None;
    let mut shots: Vec<Shot> = Vec::new();
    let mut all = true;
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    for path in &args.images {
        let size = ground.as_ref().map(|g| [g.width, g.height]);
        match look(args, path, size) {
            Ok((shot, image)) => {
                // A copy repeats nothing: scatter and uncertainty would come out too small.
                if let Some(first) = known.get(&sha256_hex(&image.data)) {
                    eprintln!(
                        "loupe: {}: is the same picture as {} and counts once",
                        path.display(),
                        first.display()
                    );
                    continue;
                }
                known.insert(sha256_hex(&image.data), path);
                ground.get_or_insert(image);
                shots.push(shot);
            }
            Err(message) => {
                eprintln!("loupe: {message}");
                all = false;
            }
        }
    }
    let ground = ground.ok_or("no picture of the target could be used")?;
    let target = TargetRow { kind: args.target, square_mm: args.square_mm, square_u_mm: args.square_u_mm };
    let size = [ground.width, ground.height];
    let (made, seen) = calibrate::calibrate(&shots, &target, size, args.lens, args.camera_serial.clone())
        .map_err(|e| e.to_string())?;
    if let Err(m) = made.check() {
        return Err(format!(
            "what the points give is no calibration: {} {}: let the target fill more of the frame",
            m.key, m.message
        ));
    }
    let text = made.text().map_err(|e| format!("{}: {e}", args.out.display()))?;
    super::write(&args.out, text.as_bytes())?;
    let picture = picture_path(&args.out);
    if let Some(image) = calibrate::residuals(&ground, &made, &seen) {
        let png = overlay::encode_png(&image).map_err(|e| format!("{}: {e}", picture.display()))?;
        super::write(&picture, &png)?;
    }
    println!(
        "{}: {} um/px +- {} (k = 1), residual rms {} px, largest {} px, {} picture(s)",
        args.out.display(),
        made.um_per_px,
        made.um_per_px_u,
        made.residual_rms_px,
        made.residual_max_px,
        made.images.len()
    );
    for b in &made.budget {
        println!("  {}: {} um/px ({})", b.name, b.um_per_px_u, b.evaluation);
    }
    if args.square_u_mm.is_none() {
        println!("  note: the target was taken as exact (--square-u-mm)");
    }
    if shots.len() == 1 {
        println!("  note: one picture says nothing of how the scale repeats");
    }
    Ok(all)
}

/// The picture of the residuals beside the calibration.
fn picture_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{}.residuals.png", name.strip_suffix(".json").unwrap_or(&name)))
}

fn look(args: &Args, path: &Path, size: Option<[usize; 2]>) -> Result<(Shot, Image), String> {
    let (bytes, image) = vision::read_image(path).map_err(|e| e.to_string())?;
    let at = |message: String| format!("{}: {message}", path.display());
    if let Some([w, h]) = size.filter(|s| *s != [image.width, image.height]) {
        return Err(at(format!(
            "has {} x {} pixels, and the pictures before it {w} x {h}",
            image.width, image.height
        )));
    }
    let points = match args.target {
        TargetKind::Chessboard => target::chessboard(&image),
        TargetKind::Circles => target::circles(&image),
        TargetKind::ScaleBar => target::lines(&image),
    }
    .map_err(|e| at(e.to_string()))?;
    if points.len() < target::LEAST_POINTS {
        return Err(at(format!(
            "only {} points of a {} were found (at least {} are needed)",
            points.len(),
            args.target.as_str(),
            target::LEAST_POINTS
        )));
    }
    if let Some((cols, rows)) = args.cols.zip(args.rows) {
        let span = |c: usize| {
            let (lo, hi) =
                points.iter().map(|p| p.grid[c]).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
            (hi - lo) as usize + 1
        };
        let (a, b) = (span(0), span(1));
        // The target may lie turned by a quarter.
        if ![(cols, rows), (rows, cols)].contains(&(a, b)) || points.len() != cols * rows {
            return Err(at(format!("{} points in {a} x {b} were found, not {cols} x {rows}", points.len())));
        }
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((Shot { file, sha256: sha256_hex(&bytes), points }, image))
}
