//! `loupe msa`: gauge R&R and attribute agreement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::msa::agree::Calls;
use crate::msa::{self, Layout, Operators, Reports};

/// Arguments of `loupe msa`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inspect the same pieces again and again, each round into a folder of its own, one folder of rounds per operator:
  loupe inspect pieces --out study/anna/1     (take the pieces out, put them in again, take new frames)
  loupe msa study --out msa

Exit codes: 0 every gauge and appraiser is good or conditional, 1 some are unfit, 2 something could not be read,
or nothing could be studied.")]
pub struct Args {
    /// Folders in which report.json files are looked for, at any depth
    #[arg(required = true, value_name = "REPORTS")]
    pub reports: Vec<PathBuf>,
    /// What people called the pieces: a CSV with the columns piece_id,appraiser,call and, where the truth is known, reference
    #[arg(long, value_name = "CALLS.csv")]
    pub calls: Option<PathBuf>,
    /// Folder for msa.json and msa.png; without it the table alone is printed
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How the reports' folders are laid out
    #[arg(long, value_enum, default_value_t)]
    pub layout: Layout,
    /// Which operator each run's folder belongs to, in place of what the layout says: a CSV with the columns folder,operator
    #[arg(long, value_name = "FILE.csv", conflicts_with = "layout")]
    pub operators: Option<PathBuf>,
    /// Study only this characteristic; may be given again
    #[arg(long, value_name = "CHARACTERISTIC")]
    pub only: Vec<String>,
}

/// Ids without a report that a warning names.
const STRANGERS: usize = 8;

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match study(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("loupe msa: {message}");
            EXIT_ERROR
        }
    }
}

fn study(args: &Args) -> Result<u8, String> {
    let operators = args.operators.as_deref().map(Operators::read).transpose();
    let operators = operators.map_err(|e| format!("--operators: {e}"))?;
    let (human, reference, wrong) = match args.calls.as_deref() {
        Some(path) => msa::human_calls(path).map_err(|e| format!("--calls: {e}"))?,
        None => (Calls::new(), BTreeMap::new(), vec![]),
    };
    let mut reports = Reports::read(&args.reports, args.layout, operators.as_ref());
    reports.errors.extend(wrong);
    if let Some(path) = &args.calls {
        warn_of_strangers(path, &human, &reports);
    }
    let study = msa::study(&reports, &human, &reference, &msa::Options { only: args.only.clone() });
    if let Some(out) = &args.out {
        let write = |name: &str, bytes: &[u8]| {
            let path = out.join(name);
            super::write(&path, bytes)
        };
        let json = study.to_json().map_err(|e| format!("the study cannot be written: {e}"))?;
        write("msa.json", json.as_bytes())?;
        let picture = study.picture().map_err(|e| format!("{}: {e}", out.join("msa.png").display()))?;
        match picture {
            Some(png) => write("msa.png", &png)?,
            None => drop_old(&out.join("msa.png"))?,
        }
    }
    print!("{}", study.to_table());
    for error in &study.errors {
        eprintln!("loupe msa: {error}");
    }
    if reports.copies > 0 {
        eprintln!(
            "loupe msa: note: {} report(s) are of the very frames of another one: what differs from frame to frame, and from hand to hand, is not in them",
            reports.copies
        );
    }
    let nothing = study.gauges.is_empty() && study.agreement.is_none();
    if nothing {
        eprintln!("loupe msa: nothing could be studied: it takes pieces that were inspected twice and more, each round in a folder of its own");
    }
    // How verdicts agree says nothing of a gauge: it stands in for one only where people's calls were to be compared.
    let lacking: Vec<&String> = study.not_studied.keys().filter(|c| args.only.contains(c)).collect();
    let none = study.gauges.is_empty() && args.calls.is_none();
    for c in &lacking {
        eprintln!("loupe msa: {c}: not studied: {}", study.not_studied[*c]);
    }
    if none && !nothing && lacking.is_empty() {
        eprintln!("loupe msa: no characteristic could be studied");
    }
    let nothing = nothing || none || !lacking.is_empty();
    let unfit = study.unfit();
    if !unfit.is_empty() {
        eprintln!("loupe msa: unfit: {}", unfit.join(", "));
    }
    Ok(if nothing || !study.errors.is_empty() {
        EXIT_ERROR
    } else if unfit.is_empty() {
        EXIT_OK
    } else {
        EXIT_NOT_PASSED
    })
}

/// The picture of an earlier study would show what is no more.
fn drop_old(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: cannot remove: {e}", path.display())),
        _ => Ok(()),
    }
}

/// Calls of pieces without a report still count among the people; that there is none is said once.
fn warn_of_strangers(path: &Path, human: &Calls, reports: &Reports) {
    let known: BTreeSet<&String> = reports.runs.iter().flat_map(|r| r.reports.keys()).collect();
    let called: BTreeSet<&String> = human.values().flat_map(BTreeMap::keys).collect();
    let strangers: Vec<&str> = called.difference(&known).map(|s| s.as_str()).collect();
    if !strangers.is_empty() {
        let more = if strangers.len() > STRANGERS { ", ..." } else { "" };
        eprintln!(
            "loupe msa: warning: {}: no report of {}{more}",
            path.display(),
            strangers[..strangers.len().min(STRANGERS)].join(", ")
        );
    }
}
