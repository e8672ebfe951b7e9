//! `loupe eval`.

use std::path::{Path, PathBuf};

use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::dataset::{self, Kind, Protocol, Split};
use crate::eval::{self, EvalReport};
use crate::json;
use crate::pipeline::Inspector;
use crate::spec::Spec;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 measured, 1 worse than the --baseline, 2 something could not be read or run.")]
pub struct Args {
    /// The labelled set: a folder, or a COCO JSON
    pub set: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long, value_name = "FILE.json")]
    pub out: PathBuf,
    /// How the set is laid out: auto, pieces, mvtec, coco, masks, folders
    #[arg(long, default_value = "auto", value_parser = parse_kind, value_name = "KIND")]
    pub kind: KindArg,
    /// Which part of it; a set that names no split is all test
    #[arg(long, value_enum, default_value = "test")]
    pub split: Split,
    /// Which protocol of its splits.json [default: supervised]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// The surface model.
    #[command(flatten)]
    pub model: super::ModelArgs,
    /// How many samples at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Where the contact sheet of the worst samples goes [default: beside --out, as *.sheet.png]
    #[arg(long, value_name = "FILE.png")]
    pub sheet: Option<PathBuf>,
    /// The spec that bare pictures are judged by [default: all metal, nothing limited]
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// Folder in which a piece's `spec` is looked up as a SKU
    #[arg(long, value_name = "DIR")]
    pub specs: Option<PathBuf>,
    /// Scale of bare pictures in um per pixel
    #[arg(long, value_name = "X")]
    pub um_per_px: Option<f64>,
    /// Exit with 1 where there are more escapes or overkill than in these earlier figures
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Option<PathBuf>,
}

/// The layout as asked for; none to find out.
#[derive(Debug, Clone, Copy)]
pub struct KindArg(Option<Kind>);

fn parse_kind(text: &str) -> Result<KindArg, String> {
    use clap::ValueEnum;
    if text == "auto" {
        return Ok(KindArg(None));
    }
    Kind::from_str(text, true)
        .map(|k| KindArg(Some(k)))
        .map_err(|_| "one of auto, pieces, mvtec, coco, masks, folders".to_owned())
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match measure(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe eval: {message}");
            EXIT_ERROR
        }
    }
}

/// Whether a file is one of figures.
fn is_own(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let text = std::fs::read(path).unwrap_or_default();
    text.is_empty() || serde_json::from_slice::<Head>(&text).is_ok_and(|h| h.schema == eval::EVAL_SCHEMA)
}

fn measure(args: &Args) -> Result<u8, String> {
    if let Some(s) = args.um_per_px {
        if !(s.is_finite() && s > 0.0) {
            return Err(format!("--um-per-px {s} is no scale: it must be above 0"));
        }
    }
    // Before the long run: a baseline that cannot be read must not be learnt of after it.
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    if args.baseline.as_deref().is_some_and(|b| super::is_same_file(b, &args.out)) {
        return Err(format!(
            "--out {}: it is the baseline, and worse figures would be the next one",
            args.out.display()
        ));
    }
    // What is there is replaced only where it is what an earlier run wrote.
    if args.out.is_file() && !is_own(&args.out) {
        return Err(format!("--out {}: a file that `loupe eval` did not write is there", args.out.display()));
    }
    super::can_write(&args.out)?;
    if let Some(sheet) = args.sheet.as_ref().filter(|s| s.is_file() && !args.out.is_file()) {
        return Err(format!(
            "--sheet {}: a file is there, and no figures of an earlier run: name another",
            sheet.display()
        ));
    }
    let spec = args.spec.as_deref().map(Spec::read).transpose().map_err(|e| e.to_string())?;
    let load = dataset::Options { kind: args.kind.0, split: args.split, protocol: args.protocol };
    let set = dataset::load(&args.set, load).map_err(|e| e.to_string())?;
    let mut settings = args.model.settings();
    // A bare picture shown to a taught file is judged by that alone; a piece by it beside all else.
    let taught = args.model.taught.is_some();
    let alone = taught && set.kind != Kind::Pieces;
    settings.use_model &= !alone;
    let inspector = Inspector::new(settings).map_err(|e| e.to_string())?;
    inspector.check_taught()?;
    let pool = super::pool(args.jobs)?;

    let options = eval::Options {
        set_name: set_name(&args.set),
        split: Some(args.split),
        spec,
        specs: args.specs.clone(),
        um_per_px: args.um_per_px,
        taught,
    };
    let bar = super::progress(set.samples.len());
    let root = if args.set.is_file() { args.set.parent().unwrap_or(Path::new("")) } else { &args.set };
    let done = pool.install(|| {
        // A score of 1 is a probability of a half in the map.
        let threshold = if alone { Some(0.5) } else { inspector.surface_threshold() };
        eval::evaluate(&set, root, &options, threshold, &|job| inspector.inspect(job), &|| bar.inc(1))
    });
    bar.finish_and_clear();

    let json = done.report.to_json().map_err(|e| format!("the figures cannot be written: {e}"))?;
    let write = |path: &Path, bytes: &[u8]| super::write(path, bytes);
    write(&args.out, json.as_bytes())?;
    let sheet = args.sheet.clone().unwrap_or_else(|| args.out.with_extension("sheet.png"));
    match pool.install(|| done.sheet(&set)).map_err(|e| format!("{}: {e}", sheet.display()))? {
        Some(png) => write(&sheet, &png)?,
        None => {
            // The sheet of an earlier run would show mistakes that are no more.
            if sheet.is_file() {
                std::fs::remove_file(&sheet).map_err(|e| format!("{}: cannot remove: {e}", sheet.display()))?;
            }
            eprintln!("loupe eval: no sample to look at, no contact sheet");
        }
    }

    print!("{}", done.report.to_table());
    for e in &done.report.errors {
        eprintln!("loupe eval: {}: {}", e.name, e.message);
    }
    for name in &done.report.unmarked {
        eprintln!("loupe eval: warning: {name}: its class is a defect's and its mask marks no pixel: it counts as defective, its pixels do not");
    }
    let mut code = EXIT_OK;
    if let Some(baseline) = baseline {
        let (own, other) = (&done.report.set.name, &baseline.set.name);
        if own != other {
            eprintln!(
                "loupe eval: warning: the baseline was measured on a set called `{other}`, this one is `{own}`"
            );
        }
        let worse = done.report.worse_than(&baseline)?;
        for line in &worse {
            eprintln!("loupe eval: worse than the baseline: {line}");
        }
        if !worse.is_empty() {
            code = EXIT_NOT_PASSED;
        }
    }
    Ok(if done.report.errors.is_empty() { code } else { EXIT_ERROR })
}

/// The last part of the set's path: figures must not tell where it lies.
fn set_name(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
    let absolute = || std::fs::canonicalize(path).ok()?.file_name().map(|n| n.to_string_lossy().into_owned());
    name.or_else(absolute).unwrap_or_else(|| "set".into())
}

fn read_baseline(path: &Path) -> Result<EvalReport, String> {
    json::read(path).map(|(report, _)| report).map_err(|e| e.to_string())
}
