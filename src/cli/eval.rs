//! `loupe eval`.

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the subcommand and gives the exit code.
pub fn run(_args: &Args) -> u8 {
    eprintln!("loupe eval: not there yet");
    super::EXIT_ERROR
}
