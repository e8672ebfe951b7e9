//! The command line: one file per subcommand, each with `pub struct Args` (a [`clap::Args`]) and
//! `pub fn run(args: &Args) -> u8`, which prints its own errors to stderr and returns the exit code.

/// The standard macros end the program where a stream cannot be written (a full disk): these note it, and the work goes on.
macro_rules! println {
    () => { $crate::cli::say("\n") };
    ($($text:tt)*) => { $crate::cli::say(&(format!($($text)*) + "\n")) };
}
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::say(&format!($($text)*)) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::tell(&format!($($text)*)) };
}

pub mod bench;
pub mod calibrate;
pub mod colour;
pub mod doctor;
pub mod eval;
pub mod inspect;
mod journal;
pub mod msa;
pub mod report;
pub mod schema;
pub mod spec;
pub mod teach;
pub mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::{self, Precision};
use crate::pipeline::Settings;
use crate::report::{write_whole, WholeFile};

/// Every piece passed, or the command did what was asked.
pub const EXIT_OK: u8 = 0;
/// Some piece did not pass, or a check found mistakes.
pub const EXIT_NOT_PASSED: u8 = 1;
/// Something could not be read or run.
pub const EXIT_ERROR: u8 = 2;

/// Inspects fine jewellery on camera frames.
#[derive(Debug, Parser)]
#[command(name = "loupe", version = env!("LOUPE_VERSION"), about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 every piece passed, 1 some did not, 2 something could not be read or run.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Inspect pieces, folders of pieces, manifests (*.jsonl) or bare pictures
    Inspect(inspect::Args),
    /// Inspect each piece that comes into a station's folder, and show the last one on a page
    Watch(watch::Args),
    /// Make pages, a table and QIF documents out of the reports of a run
    Report(report::Args),
    /// Make a calibration out of pictures of a target
    Calibrate(calibrate::Args),
    /// Check specs
    Spec(spec::Args),
    /// Learn a part from good pictures alone
    Teach(teach::Args),
    /// Print the JSON Schema of a kind of file
    Schema(schema::Args),
    /// Say what the program found of what it needs
    Doctor(doctor::Args),
    /// Measure the inspection against labelled pieces
    Eval(eval::Args),
    /// Study the measurement system: gauge R&R and attribute agreement from repeated reports
    Msa(msa::Args),
    /// Time the steps of an inspection
    Bench(bench::Args),
    /// Calibrate a camera's colours on a 24-patch chart
    Colour(colour::Args),
}

/// Which surface model a run goes with, if any.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Go without the surface model
    #[arg(long, conflicts_with = "model")]
    pub no_model: bool,
    /// Use this surface model (an ONNX file) instead of the one shipped
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Which of the shipped surface models
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["model", "no_model"])]
    pub model_precision: Precision,
    /// Show every view to this taught file (`loupe teach`) in place of the one its spec names
    #[arg(long, value_name = "FILE.loupe")]
    pub taught: Option<PathBuf>,
    /// The backbone of taught files (an ONNX file) [default: the one that the set-up makes]
    #[arg(long, value_name = "FILE.onnx")]
    pub backbone: Option<PathBuf>,
}

impl ModelArgs {
    fn settings(&self) -> Settings {
        Settings {
            use_model: !self.no_model,
            model_path: self.model.clone(),
            precision: self.model_precision,
            taught: self.taught.clone(),
            backbone: self.backbone.clone(),
        }
    }
}

/// Whether something of what was printed is lost.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints to stdout. What cannot be printed (a full disk) is said once on stderr, and the exit code tells it.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(e) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        if !LOST.swap(true, Ordering::Relaxed) {
            tell(&format!("loupe: what it prints is lost: {e}"));
        }
    }
}

/// Prints a line to stderr; where that cannot be done there is nobody to tell.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Why a file was not written.
fn cannot_write(path: &Path, e: &std::io::Error) -> String {
    format!("{}: cannot write: {e}", path.display())
}

/// Whether two paths lead to one file that is there.
fn is_same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// Whether a file can be written there, found out before the work that it is for: makes its folder.
fn can_write(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err(format!("{}: cannot write: it is a folder", path.display()));
    }
    WholeFile::create(path).map(drop).map_err(|e| cannot_write(path, &e))
}

/// Writes a file whole; an error names it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    write_whole(path, bytes).map_err(|e| cannot_write(path, &e))
}

/// Threads for `--jobs`; none for one per core.
fn pool(jobs: Option<std::num::NonZeroUsize>) -> Result<rayon::ThreadPool, String> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(jobs.map_or(0, std::num::NonZeroUsize::get))
        .build()
        .map_err(|e| format!("cannot start the threads: {e}"))
}

/// A bar of `len` steps.
fn progress(len: usize) -> ProgressBar {
    let bar = ProgressBar::new(len as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Parses the command line, runs the subcommand and gives its exit code.
pub fn main() -> ExitCode {
    // A reader that closes early (`loupe ... | head`) must end the program quietly, not with a panic.
    #[cfg(unix)]
    // SAFETY: called once, before any thread exists; restoring the default disposition has no other effect.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    keep_large_blocks();
    model::runtime::send_nothing();
    let filter = tracing_subscriber::EnvFilter::try_from_env("LOUPE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let code = match &Cli::parse().command {
        Command::Inspect(args) => inspect::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Report(args) => report::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Spec(args) => spec::run(args),
        Command::Teach(args) => teach::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Msa(args) => msa::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Colour(args) => colour::run(args),
    };
    ExitCode::from(if LOST.load(Ordering::Relaxed) { EXIT_ERROR } else { code })
}

/// Planes of a frame are made and dropped by the dozen. Left alone, the C library gives each back to the system and has
/// its pages cleared anew for the next one; kept, they cost nothing.
fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: called once, before any thread exists; both are documented settings of the allocator.
    unsafe {
        // The largest threshold the library takes on 64 bits, and a quarter of a gigabyte kept per arena.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
    }
}
