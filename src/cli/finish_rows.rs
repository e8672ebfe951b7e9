//! `loupe finish-rows`: what the finish of a piece is told by, frame by frame and block by block, as CSV. The same code
//! that inspects computes it, so that what `models/fit_finish.py` learns is what is later asked.

use std::fmt::Write as _;
use std::path::PathBuf;

use rayon::prelude::*;

use super::{EXIT_ERROR, EXIT_OK};
use crate::inspect::texture;
use crate::locate;
use crate::pipeline::Job;
use crate::source;
use crate::vision::{self, ops};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pieces, or folders of pieces
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where the rows go
    #[arg(long, value_name = "FILE.csv")]
    pub out: PathBuf,
    /// How many pieces at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match write(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe finish-rows: {message}");
            EXIT_ERROR
        }
    }
}

fn write(args: &Args) -> Result<u8, String> {
    let pool = super::pool(args.jobs)?;
    if let Err(e) = ops::single_threaded() {
        tracing::warn!("{e}");
    }
    let entries = source::resolve(&args.paths, &source::Options::default());
    let rows: Vec<Result<String, String>> = pool.install(|| {
        entries.par_iter().map(|e| e.load().map_err(|e| e.to_string()).and_then(|job| rows(&job))).collect()
    });
    let mut text =
        format!("folder,file,light,um_per_px,x_px,y_px,side_px,area_mm2,lines_deg,{}\n", texture::names().join(","));
    let mut code = EXIT_OK;
    for row in rows {
        match row {
            Ok(row) => text.push_str(&row),
            Err(message) => {
                eprintln!("loupe finish-rows: {message}");
                code = EXIT_ERROR;
            }
        }
    }
    super::write(&args.out, text.as_bytes())?;
    Ok(code)
}

/// The rows of a piece: of each frame the whole metal first, then its blocks. A frame that shows none has none.
fn rows(job: &Job) -> Result<String, String> {
    let mut text = String::new();
    for frame in job.piece.frames.iter().filter(|f| f.light != "backlight") {
        let (Some(view), Some(um)) = (job.spec.view(&frame.view), frame.um_per_px) else { continue };
        let path = job.base.join(&frame.file);
        let (_, image) = vision::read_image(&path).map_err(|e| e.to_string())?;
        // A frame that is not found teaches nothing.
        let Ok(located) = locate::locate(&image, view, Some(um)) else { continue };
        let say = |e: vision::VisionError| format!("{}: {e}", path.display());
        let bare = locate::bare_metal(view, &located, &image).map_err(say)?;
        let seen = texture::describe(&image, &bare, &located.metal, &frame.light, um / 1000.0).map_err(say)?;
        for d in seen.iter().flat_map(|t| std::iter::once(&t.whole).chain(&t.blocks)) {
            let folder = job.base.display();
            let head = format!("{folder},{},{},{um}", frame.file, frame.light);
            let lines = d.lines.to_degrees() - located.pose.rotation.to_degrees();
            let place = format!("{:.1},{:.1},{:.1},{:.3},{lines:.2}", d.at_px[0], d.at_px[1], d.side_px, d.area_mm2);
            let values: Vec<String> = d.values.iter().map(|v| format!("{v:.4}")).collect();
            let _ = writeln!(text, "{head},{place},{}", values.join(","));
        }
    }
    Ok(text)
}
