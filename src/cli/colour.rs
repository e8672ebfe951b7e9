//! `loupe colour`: a camera's colour calibration from a frame of a 24-patch chart; the colour of a golden piece for a spec.

use std::path::{Path, PathBuf};

use super::{EXIT_ERROR, EXIT_OK};
use crate::colour::chart::{self, About};
use crate::colour::white_gold_grade;
use crate::pipeline::{Inspector, Settings};
use crate::source;
use crate::vision;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A frame names its calibration: \"colour_calibration\": \"station.colour.json\" in piece.json."
)]
pub struct Args {
    /// A frame of the chart (ColorChecker Classic, 24 patches), in the light and exposure of the pieces
    #[arg(value_name = "CHART.png", required_unless_present = "golden", conflicts_with = "golden")]
    pub chart: Option<PathBuf>,
    /// Where the calibration goes
    #[arg(long, value_name = "FILE.colour.json", required_unless_present = "golden", conflicts_with = "golden")]
    pub out: Option<PathBuf>,
    /// Centres of dark skin, bluish green, black and white in pixels, where the chart is not found by itself
    #[arg(long, num_args = 4, value_parser = point, value_name = "X,Y", allow_hyphen_values = true)]
    pub corners: Option<Vec<[f64; 2]>>,
    /// The light: frames in another are then refused
    #[arg(long)]
    pub light: Option<String>,
    /// The camera's serial number: frames of another are then refused
    #[arg(long)]
    pub camera_serial: Option<String>,
    /// Print the colour of this piece's metal as the line of a spec, instead
    #[arg(long, value_name = "PIECE")]
    pub golden: Option<PathBuf>,
}

fn point(text: &str) -> Result<[f64; 2], String> {
    let of = |t: &str| t.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    text.split_once(',').and_then(|(x, y)| Some([of(x)?, of(y)?])).ok_or_else(|| format!("`{text}` is no point X,Y"))
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    let done = match (&args.golden, &args.chart, &args.out) {
        (Some(piece), _, _) => golden(piece),
        (None, Some(chart), Some(out)) => calibrate(args, chart, out),
        _ => Err("a chart and --out, or --golden".into()),
    };
    match done {
        Ok(()) => EXIT_OK,
        Err(message) => {
            eprintln!("loupe colour: {message}");
            EXIT_ERROR
        }
    }
}

fn calibrate(args: &Args, path: &Path, out: &Path) -> Result<(), String> {
    if super::is_same_file(path, out) {
        return Err(format!("--out {}: it is the picture of the chart, and would be lost", out.display()));
    }
    let (bytes, image) = vision::read_image(path).map_err(|e| e.to_string())?;
    let about = About {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        light: args.light.clone(),
        camera_serial: args.camera_serial.clone(),
    };
    let corners = args.corners.as_ref().and_then(|c| <[[f64; 2]; 4]>::try_from(c.as_slice()).ok());
    let made = chart::calibrate(&image, &bytes, corners, &about).map_err(|e| format!("{}: {e}", path.display()))?;
    let json = serde_json::to_string_pretty(&made).map_err(|e| e.to_string())? + "\n";
    super::write(out, json.as_bytes())?;
    println!("{:<14} {:>21} {:>21} {:>6}", "patch", "L* a* b* published", "as fitted", "dE00");
    for r in &made.rows {
        let lab = |p: [f64; 3]| format!("{:.1} {:.1} {:.1}", p[0], p[1], p[2]);
        let de = r.de00.map_or_else(|| r.left_out.clone().unwrap_or_default(), |d| format!("{d:.2}"));
        println!("{:<14} {:>21} {:>21} {de:>6}", r.name, lab(r.lab_reference), lab(r.lab));
    }
    let tone = made.gamma.map_or_else(|| "that of sRGB".into(), |g| format!("an exponent of {g:.3}"));
    println!(
        "{} patches: dE00 mean {:.2}, largest {:.2}; a colour left out of the fit, rms: {:.2} dE00, {:.2} YI D1925\n\
         tone: {tone}, black {:.4}; a matrix of 3 by {}",
        made.patches,
        made.residual_mean_de00,
        made.residual_max_de00,
        made.u_de00,
        made.u_yi,
        made.black,
        made.matrix[0].len()
    );
    if let Some(p) = made.light_range_pct.filter(|p| *p > 5.0) {
        println!("  note: the light differs by {p} % over the chart, and was levelled: even light is better");
    }
    // At its end, or beyond it in the frame: the others name themselves.
    let (covered, ended): (Vec<_>, Vec<_>) = made
        .rows
        .iter()
        .filter_map(|r| Some((&r.name, r.left_out.as_ref()?)))
        .partition(|(_, why)| why.ends_with(chart::COVERED));
    for (name, why) in covered {
        println!("  note: {name} is left out: {why}");
    }
    let off = made.rows.iter().filter(|r| r.de00.is_some_and(|d| d > chart::COVERED_DE00));
    let off: Vec<String> = off.map(|r| format!("{} ({:.1})", r.name, r.de00.unwrap_or_default())).collect();
    if !off.is_empty() {
        println!("  note: far off what is published (dE00): {}: covered, dirty, or another chart?", off.join(", "));
    }
    if !ended.is_empty() {
        println!("  note: {} patches could not be used: expose so that white is below full scale", ended.len());
    }
    Ok(())
}

fn golden(piece: &Path) -> Result<(), String> {
    let entries = source::resolve(&[piece.to_owned()], &source::Options::default());
    let [entry] = entries.as_slice() else {
        return Err(format!("{}: is no single piece", piece.display()));
    };
    let job = entry.load().map_err(|e| e.to_string())?;
    let settings = Settings { use_model: false, ..Settings::default() };
    let report = Inspector::new(settings).map_err(|e| e.to_string())?.inspect(&job).report;
    for view in &job.spec.views {
        let of = |c: &str| {
            report.measurements.iter().find(|m| m.characteristic == c && m.view == view.name).map(|m| m.value)
        };
        if let (Some(l), Some(a), Some(b)) = (of("colour.lab_l"), of("colour.lab_a"), of("colour.lab_b")) {
            println!("colour = {{ lab = [{l:.2}, {a:.2}, {b:.2}] }}");
            if let Some(yi) = of("colour.yi_d1925") {
                let grade = white_gold_grade(yi).map_or("not white".into(), |g| format!("white gold of grade {g}"));
                println!("# YI D1925 {yi:.1}: {grade}");
            }
            return Ok(());
        }
    }
    let why = report.reasons.join("; ");
    Err(format!("{}: no frame shows the metal's colour: does one name a colour_calibration? {why}", piece.display()))
}
