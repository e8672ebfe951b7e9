//! `loupe spec`: checking specs before any piece is made to them.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::Subcommand;

use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::draft::{self, Draft};
use crate::inspect::finish;
use crate::inspect::sight::PartModels;
use crate::judge;
use crate::model::{FinishModel, Precision};
use crate::piece::light_name;
use crate::pipeline::{Inspector, Settings};
use crate::report::{FindingType, Report, Status, Verdict};
use crate::source::{picture_job, Bare};
use crate::spec::parse::FINISHES;
use crate::spec::{Spec, SpecError, Stone};
use crate::vision::{self, Image};

/// Arguments of `loupe spec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with specs.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands of `loupe spec`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print every mistake as file:line: key: message
    #[command(after_help = "Exit codes: 0 no mistake, 1 mistakes found, 2 a file could not be read.")]
    Check {
        /// Spec files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Draft a spec out of frames of a golden piece: outline, stones and prongs, ready to edit
    #[command(after_help = "The frames are lights of one view; the one that shows most parts is taken.\n\
                            Exit codes: 0 drafted, 2 something could not be read or run.")]
    Init(Box<InitArgs>),
}

/// Arguments of `loupe spec init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Frames of one view of a good piece
    #[arg(required = true, value_name = "FRAME")]
    pub frames: Vec<PathBuf>,
    /// Their scale in um per pixel
    #[arg(long, value_name = "X", value_parser = super::inspect::positive, allow_negative_numbers = true)]
    pub um_per_px: f64,
    /// The spec to write; without it, it goes to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the spec if it is there
    #[arg(long)]
    pub force: bool,
    /// Take the stones from a CAD gem list (columns id,x_mm,y_mm,diameter_mm and, where known, cut and gem)
    #[arg(long, value_name = "FILE")]
    pub from_csv: Option<PathBuf>,
    /// Name of the article [default: the first frame's name]
    #[arg(long)]
    pub sku: Option<String>,
    /// Name of the view [default: top; backlit of a silhouette]
    #[arg(long)]
    pub view: Option<String>,
    /// The light of the frames; without it, a dark ring on a bright ground is taken for a silhouette against a backlight
    #[arg(long, value_name = "LIGHT")]
    pub light: Option<String>,
    /// The metal, where the guess by colour is wrong
    #[arg(long)]
    pub metal: Option<String>,
    /// The finish
    #[arg(long, value_parser = PossibleValuesParser::new(FINISHES))]
    pub finish: Option<String>,
    /// Use this surface model (an ONNX file) instead of the one shipped
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Which of the shipped surface models
    #[arg(long, value_enum, default_value_t, conflicts_with = "model")]
    pub model_precision: Precision,
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    let files = match &args.command {
        Command::Check { files } => files,
        Command::Init(args) => {
            return match init(args) {
                Ok(()) => EXIT_OK,
                Err(message) => {
                    eprintln!("loupe: {message}");
                    EXIT_ERROR
                }
            }
        }
    };
    let mut code = EXIT_OK;
    for file in files {
        match Spec::read(file) {
            Ok((spec, _)) => {
                let stones: usize = spec.views.iter().map(|v| v.stones.len()).sum();
                println!(
                    "{}: ok: {}, {} view(s), {stones} stone(s), {} limit(s)",
                    file.display(),
                    spec.sku,
                    spec.views.len(),
                    spec.limits.len()
                );
                for note in judge::outlook(&spec) {
                    println!("{}: note: {note}", file.display());
                }
            }
            Err(e @ SpecError::Read { .. }) => {
                eprintln!("loupe: {e}");
                code = EXIT_ERROR;
            }
            Err(e @ SpecError::Mistakes(_)) => {
                println!("{e}");
                code = code.max(EXIT_NOT_PASSED);
            }
        }
    }
    code
}

fn init(args: &InitArgs) -> Result<(), String> {
    if let Some(out) = args.out.as_ref().filter(|o| o.exists() && !args.force) {
        return Err(format!("{}: is there already (--force replaces it)", out.display()));
    }
    let stones = args.from_csv.as_deref().map(read_list).transpose()?;
    let settings = Settings {
        use_model: true,
        model_path: args.model.clone(),
        precision: args.model_precision,
        ..Settings::default()
    };
    let surface = settings.load_surface().map_err(|e| e.to_string())?;
    let parts = PartModels::load_default().map_err(|e| e.to_string())?;
    let mut best: Option<(usize, &Path, Image, Draft)> = None;
    for frame in &args.frames {
        let (_, image) = vision::read_image(frame).map_err(|e| e.to_string())?;
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", frame.display());
        let name = |default: &str| args.view.clone().unwrap_or_else(|| default.to_owned());
        let backlit = args.light.as_deref().map(|l| light_name(l) == "backlight");
        let ring = match (backlit, &stones) {
            (Some(false), _) | (None, Some(_)) => None,
            (known, _) => draft::silhouette(&image, args.um_per_px, &name("backlit"), known.is_some())
                .map_err(|e| failed(&e))?,
        };
        let draft = match ring {
            Some(draft) => draft,
            None => draft::draft(&image, args.um_per_px, &surface, &parts, &name("top"), stones.clone())
                .map_err(|e| failed(&e))?,
        };
        let seen = draft.view.stones.iter().map(|s| 1 + s.prongs.len()).sum();
        eprintln!("{}: {}", frame.display(), summary(&draft));
        if best.as_ref().is_none_or(|b| seen > b.0) {
            best = Some((seen, frame, image, draft));
        }
    }
    let (_, frame, image, mut draft) = best.ok_or("no frame was given")?;
    let light = args.light.as_deref().map(light_name);
    let light = light.as_deref().unwrap_or(if draft.ring.is_some() { "backlight" } else { "dome" });
    if args.finish.is_none() && draft.ring.is_none() {
        let model = FinishModel::load_default().ok();
        draft.finish = model.and_then(|m| finish::guess(&m, &image, &draft.view, args.um_per_px, light));
        draft.notes.push(match draft.finish {
            Some(f) => format!("the metal looks {f}, and the draft orders that: --finish sets another"),
            None => {
                "which finish the metal has is not sure, and the draft says polished: --finish sets it".to_owned()
            }
        });
    }
    let stem = frame.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_else(|| "draft".into());
    let sku = args.sku.clone().unwrap_or(stem);
    let text = draft::toml(&draft, &sku, args.metal.as_deref(), args.finish.as_deref());
    let mut notes = draft.notes.clone();
    if let Err(SpecError::Mistakes(mistakes)) =
        Spec::parse(&text, args.out.as_deref().unwrap_or(Path::new("the draft")))
    {
        if let Some(m) = mistakes.iter().find(|m| m.key == "metal") {
            return Err(format!("--metal: {}", m.message));
        }
        // What a list brings with it: stones outside the outline and the like.
        notes.extend(mistakes.iter().map(|m| format!("spec check will say: {}: {}", m.key, m.message)));
    }
    match &args.out {
        None => print!("{text}"),
        Some(out) => {
            super::write(out, text.as_bytes())?;
            eprintln!("{}: written, from {}", out.display(), frame.display());
            let inspector = Inspector::new(settings).map_err(|e| e.to_string());
            let judge =
                |view: &str| judged(args, inspector.as_ref().map_err(Clone::clone)?, out, (frame, light), view);
            let mut told = judge(&draft.view.name);
            // What looked like a stone on the map and is none when it is inspected as one is no stone: a bead, a bar of a bezel.
            let gone: Vec<String> = match &told {
                Ok(report) if stones.is_none() => missing(report),
                _ => vec![],
            };
            if !gone.is_empty() && gone.len() < draft.view.stones.len() {
                let (none, kept): (Vec<_>, Vec<_>) =
                    draft.view.stones.into_iter().partition(|s| gone.contains(&s.id));
                draft.view.stones = kept;
                for s in none {
                    let (x, y) = (s.x_mm, s.y_mm);
                    let note =
                        format!("what looks like a {} stone at ({x:.2}, {y:.2}) mm is none: it was left out", s.cut);
                    draft.notes.push(note.clone());
                    notes.push(note);
                }
                let text = draft::toml(&draft, &sku, args.metal.as_deref(), args.finish.as_deref());
                super::write(out, text.as_bytes())?;
                told = judge(&draft.view.name);
            }
            match told {
                Ok(report) => notes.extend(said(&report)),
                Err(e) => notes.push(format!("the draft could not be tried on {}: {e}", frame.display())),
            }
            for note in &notes {
                eprintln!("note: {note}");
            }
            eprintln!("read it, set its limits, then: loupe spec check {0}", out.display());
        }
    }
    Ok(())
}

/// Most reasons that are shown.
const REASONS: usize = 6;

/// The report of an inspection of the very frame by the draft: a golden piece passes, or the draft has too much or lacks something.
fn judged(
    args: &InitArgs,
    inspector: &Inspector,
    spec: &Path,
    (frame, light): (&Path, &str),
    view: &str,
) -> Result<Report, String> {
    let bare = Bare {
        spec: spec.to_owned(),
        view: Some(view.to_owned()),
        light: light.to_owned(),
        um_per_px: Some(args.um_per_px),
        um_per_px_u: None,
    };
    let job = picture_job(frame, &bare).map_err(|e| e.to_string())?;
    Ok(inspector.inspect(&job).report)
}

/// The stones that are surely not there.
fn missing(report: &Report) -> Vec<String> {
    let gone = report.findings.iter().filter(|f| f.kind == FindingType::MissingStone && f.status == Status::Fail);
    gone.map(|f| f.feature.clone()).collect()
}

/// Why a frame does not pass by its own draft. None where it does.
fn said(report: &Report) -> Option<String> {
    let reasons = &report.reasons;
    if report.verdict == Verdict::Pass {
        return None;
    }
    let first: Vec<String> = reasons.iter().take(REASONS).map(|r| format!("\n  {r}")).collect();
    let more = match reasons.len().saturating_sub(REASONS) {
        0 => String::new(),
        n => format!("\n  and {n} more"),
    };
    Some(format!(
        "by this draft the frame itself is no pass but a {}:{}{more}",
        report.verdict.as_str(),
        first.concat()
    ))
}

fn summary(draft: &Draft) -> String {
    if let Some(ring) = draft.ring {
        return format!("a ring's silhouette, {:.2} mm across inside", ring.inner_mm);
    }
    let prongs: usize = draft.view.stones.iter().map(|s| s.prongs.len()).sum();
    let outline = match &draft.view.outline {
        None => "no outline".to_owned(),
        Some(o) => match serde_json::to_value(o).ok().and_then(|v| v.get("shape")?.as_str().map(str::to_owned)) {
            Some(shape) => format!("outline {shape}"),
            None => "an outline".into(),
        },
    };
    format!("{outline}, {} stone(s), {prongs} prong(s)", draft.view.stones.len())
}

/// The stones of a CAD list, through the same reader as a spec's `stones_csv`.
fn read_list(path: &Path) -> Result<Vec<Stone>, String> {
    let spec = Spec::of_list(path).map_err(|e| e.to_string())?;
    Ok(spec.views.into_iter().flat_map(|v| v.stones).collect())
}
