//! `loupe schema`: the JSON Schema of each kind of file.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::JsonSchema;

use super::{EXIT_ERROR, EXIT_OK};

/// Arguments of `loupe schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which kind of file
    pub kind: Kind,
}

/// The kinds of files that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// piece.json
    Piece,
    /// spec.toml, as the JSON it stands for
    Spec,
    /// report.json
    Report,
    /// A line of summary.jsonl
    Summary,
    /// msa.json
    Msa,
    /// A colour calibration
    Colour,
    /// A calibration, *.cal.json
    Calibration,
}

impl Kind {
    /// The word on the command line and in `schemas/<word>.json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Piece => "piece",
            Kind::Spec => "spec",
            Kind::Report => "report",
            Kind::Summary => "summary",
            Kind::Msa => "msa",
            Kind::Colour => "colour",
            Kind::Calibration => "calibration",
        }
    }
}

/// The JSON Schema (2020-12) of a kind of file, indented, with a newline at its end.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn text(kind: Kind) -> serde_json::Result<String> {
    let (mut schema, id) = match kind {
        Kind::Piece => (of::<crate::piece::Piece>(), crate::piece::PIECE_SCHEMA),
        Kind::Spec => (of::<crate::spec::Spec>(), crate::spec::SPEC_SCHEMA),
        Kind::Report => (of::<crate::report::Report>(), crate::report::REPORT_SCHEMA),
        Kind::Summary => (of::<super::inspect::SummaryRow>(), super::inspect::SUMMARY_SCHEMA),
        Kind::Msa => (of::<crate::msa::MsaReport>(), crate::msa::MSA_SCHEMA),
        Kind::Colour => (of::<crate::colour::Calibration>(), crate::colour::calibration::COLOUR_SCHEMA),
        Kind::Calibration => (of::<crate::calibrate::Calibration>(), crate::calibrate::CALIBRATION_SCHEMA),
    };
    schema.insert("$id".into(), format!("urn:{}", id.replace(['.', '/'], ":")).into());
    schema.insert("title".into(), id.into());
    // The value of `schema` is fixed, which a Rust string cannot say.
    if let Some(property) = schema.pointer_mut("/properties/schema").and_then(|p| p.as_object_mut()) {
        property.insert("const".into(), id.into());
    }
    serde_json::to_string_pretty(&schema).map(|text| text + "\n")
}

fn of<T: JsonSchema>() -> schemars::Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// Runs the subcommand and gives the exit code.
pub fn run(args: &Args) -> u8 {
    match text(args.kind) {
        Ok(text) => {
            print!("{text}");
            EXIT_OK
        }
        Err(e) => {
            eprintln!("loupe: {e}");
            EXIT_ERROR
        }
    }
}
