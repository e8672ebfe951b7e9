//! `loupe spec`: checking specs before any piece is made to them.

use std::path::PathBuf;

use clap::Subcommand;

use super::{EXIT_ERROR, EXIT_NOT_PASSED, EXIT_OK};
use crate::spec::{Spec, SpecError};

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
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    let Command::Check { files } = &args.command;
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
