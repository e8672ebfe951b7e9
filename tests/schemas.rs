//! The published schemas: they are what the program prints, and every sample file keeps to them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use common::Bench;
use loupe::cli::schema::{text, Kind};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn demo(file: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root().join("datasets/demo"))
        .unwrap()
        .map(|e| e.unwrap().path().join(file))
        .filter(|p| p.exists())
        .collect();
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

fn check(kind: Kind, what: &str, value: &Value) {
    let schema: Value = serde_json::from_str(&text(kind).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

fn spec_as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

#[test]
fn the_committed_schemas_are_the_programs_own() {
    for kind in Kind::value_variants() {
        let path = root().join("schemas").join(format!("{}.json", kind.name()));
        let expected = text(*kind).unwrap();
        // LOUPE_UPDATE_SCHEMAS=1 writes them anew.
        if std::env::var_os("LOUPE_UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == expected, "{} is not what `loupe schema {}` prints", path.display(), kind.name());
    }
}

#[test]
fn the_command_prints_the_schema() {
    let ran = Bench::new().loupe(&["schema", "report"]);
    assert_eq!((ran.code, ran.stdout), (0, text(Kind::Report).unwrap()));
}

#[test]
fn pieces_and_specs_keep_to_their_schema() {
    for path in demo("piece.json") {
        let value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        check(Kind::Piece, &path.display().to_string(), &value);
    }
    for path in demo("spec.toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        check(Kind::Spec, &path.display().to_string(), &spec_as_json(&text));
        // The checked reader and the types agree on every sample.
        let read = loupe::spec::Spec::parse(&text, &path).unwrap();
        assert_eq!(read, toml::from_str(&text).unwrap());
    }
}

#[test]
fn a_schema_refuses_what_the_program_refuses() {
    let schema: Value = serde_json::from_str(&text(Kind::Spec).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&spec_as_json(common::SPEC)));
    assert!(!validator.is_valid(&spec_as_json(&common::SPEC.replace("radius_mm", "radus_mm"))));
    assert!(!validator.is_valid(&spec_as_json(&common::SPEC.replace("loupe.spec/1", "loupe.spec/2"))));
}

#[test]
fn reports_and_summaries_keep_to_their_schema() {
    let bench = Bench::new();
    bench.piece("p");
    bench.write("in/q/piece.json", "{");
    let demo = root().join("datasets/demo");
    bench.loupe(&["inspect", demo.to_str().unwrap(), "in", "--out", "out", "--no-model", "--no-overlay"]);
    let summary = std::fs::read_to_string(bench.path("out/summary.jsonl")).unwrap();
    assert!(summary.lines().count() >= 12);
    for line in summary.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        check(Kind::Summary, "summary.jsonl", &row);
        if let Some(report) = row["report"].as_str() {
            let text = std::fs::read_to_string(bench.path("out").join(report)).unwrap();
            assert!(text.ends_with("}\n"));
            check(Kind::Report, report, &serde_json::from_str(&text).unwrap());
        }
    }
}
