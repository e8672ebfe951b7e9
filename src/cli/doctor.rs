//! `loupe doctor`: what the program needs, what it found, and what to do about the rest.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{EXIT_ERROR, EXIT_OK};
use crate::model::{
    find_default, runtime_info, Backbone, FinishModel, GirdleModel, Girdles, MarkReader, ModelError, Part, PartModel,
    Precision, SurfaceModel,
};
use crate::vision::Image;

/// Arguments of `loupe doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 everything is there, 2 something is missing or does not work.")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Look at this surface model instead of the one shipped
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    schema: &'static str,
    ok: bool,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found, or why it cannot be used.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    let checks = checks(args.model.as_deref());
    let diagnosis = Diagnosis { schema: "loupe.doctor/1", ok: checks.iter().all(|c| c.ok), checks };
    if args.json {
        match serde_json::to_string_pretty(&diagnosis) {
            Ok(text) => println!("{text}"),
            Err(e) => eprintln!("loupe: {e}"),
        }
    } else {
        for c in &diagnosis.checks {
            println!("{:8}  {:14}  {}", if c.ok { "ok" } else { "MISSING" }, c.name, c.found);
            if let Some(hint) = c.hint {
                println!("{:8}  {:14}  -> {hint}", "", "");
            }
        }
    }
    if diagnosis.ok {
        EXIT_OK
    } else {
        EXIT_ERROR
    }
}

fn checks(model: Option<&Path>) -> Vec<Check> {
    let fine = |name, found: String| Check { name, ok: true, found, hint: None };
    let cores = match std::thread::available_parallelism() {
        Ok(n) => format!("{n} to be used"),
        Err(e) => format!("unknown ({e}); --jobs says how many to use"),
    };
    let library = loaded_library("libopencv_core").map_or_else(String::new, |p| format!(", {}", p.display()));
    let mut checks = vec![
        fine("loupe", format!("{} ({})", env!("LOUPE_VERSION"), std::env::consts::ARCH)),
        fine("processors", cores),
        fine("OpenCV", format!("{}{library}", crate::vision::about::opencv_version())),
    ];
    let runtime = runtime_info();
    let runs = runtime.is_ok();
    checks.push(match runtime {
        Ok(info) => fine("ONNX Runtime", format!("{}, {}", info.version, info.library.display())),
        Err(e) => Check {
            name: "ONNX Runtime",
            ok: false,
            found: e.to_string(),
            hint: Some(
                "run script/setup, or set ORT_DYLIB_PATH to a libonnxruntime.so; `inspect --no-model` goes without",
            ),
        },
    });
    if runs {
        match model {
            Some(file) => surface_model("surface model", SurfaceModel::load(file), &mut checks),
            None => {
                surface_model("surface model", SurfaceModel::load_default(Precision::Fp32), &mut checks);
                if find_default(Precision::Int8).is_some_and(|p| p.is_file()) {
                    surface_model("int8 model", SurfaceModel::load_default(Precision::Int8), &mut checks);
                } else {
                    checks.push(fine("int8 model", "not there: --model-precision int8 cannot be used".into()));
                }
            }
        }
        let said = |name: &str, version: &str, path: &Path, sha256: &str| {
            format!("{name} {version}, {}, sha256 {sha256}", path.display())
        };
        let part = |part| {
            let m = PartModel::load_default(part)?;
            Ok(said(&m.info().name, &m.info().version, &m.path(), &m.info().sha256))
        };
        let girdles = |which| {
            let m = GirdleModel::load_default(which)?;
            Ok(said(&m.info().name, &m.info().version, &m.path(), &m.info().sha256))
        };
        let finish =
            FinishModel::load_default().map(|m| said(&m.info().name, &m.info().version, &m.path(), &m.info().sha256));
        for (name, found) in [
            ("stone model", part(Part::Stone)),
            ("prong model", part(Part::Prong)),
            ("girdle model", girdles(Girdles::Round)),
            ("model of other cuts", girdles(Girdles::Fancy)),
            ("finish model", finish),
        ] {
            checks.push(found.map_or_else(|e| missing(name, &e), |text| fine(name, text)));
        }
        checks.push(match Backbone::default_path().and_then(|p| Backbone::load(&p, None)) {
            Ok(b) => {
                let i = b.info();
                fine("backbone", format!("{}, {}, sha256 {}", i.name, b.path().display(), i.sha256))
            }
            Err(e) => Check {
                name: "backbone",
                ok: false,
                found: e.to_string(),
                hint: Some("script/setup makes it; only `teach` and taught files need it"),
            },
        });
        checks.push(match MarkReader::load_default() {
            Ok(r) => {
                let files = r.files().map(|(_, path, sha256)| format!("{}, sha256 {sha256}", path.display()));
                fine("mark reader", files.join("; "))
            }
            Err(e) => Check {
                name: "mark reader",
                ok: false,
                found: e.to_string(),
                hint: Some("script/setup fetches it; only specs that order a hallmark need it"),
            },
        });
    } else {
        let file = model.map(Path::to_owned).or_else(|| find_default(Precision::Fp32));
        let found = file.map_or_else(
            || ModelError::NotFound { file: Precision::Fp32.file() }.to_string(),
            |p| format!("{} was not tried: it needs ONNX Runtime", p.display()),
        );
        checks.push(Check { name: "surface model", ok: false, found, hint: None });
    }
    checks
}

fn surface_model(name: &'static str, loaded: Result<SurfaceModel, ModelError>, checks: &mut Vec<Check>) {
    let model = match loaded {
        Ok(model) => model,
        Err(e) => return checks.push(missing(name, &e)),
    };
    let info = model.info();
    let found = format!(
        "{} {}, {}, sha256 {}, classes {}",
        info.name,
        info.version,
        model.path().display(),
        info.sha256,
        info.classes.join(" ")
    );
    checks.push(Check { name, ok: true, found, hint: None });
    // An even grey: what it says of it does not matter, that it says anything does.
    let image = Image { width: 64, height: 64, data: vec![128; 3 * 64 * 64], grey: true };
    checks.push(match model.segment(&image, None) {
        Ok(_) => Check { name: "inference", ok: true, found: "64 x 64 pixels went through it".into(), hint: None },
        Err(e) => missing("inference", &e),
    });
}

fn missing(name: &'static str, e: &ModelError) -> Check {
    Check {
        name,
        ok: false,
        found: e.to_string(),
        hint: Some("the files in models/ come with the program; `inspect --no-model` goes without"),
    }
}

/// The file a library of this process was loaded from, where the system tells.
fn loaded_library(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|l| l.find('/').map(|at| Path::new(&l[at..])))
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name)))
        .map(Path::to_owned)
}
