//! `loupe doctor` says what is missing instead of failing over it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Command;

use common::Bench;
use serde_json::Value;

/// Runs doctor with a variable set and gives its exit code and its checks by name.
fn doctor(bench: &Bench, args: &[&str], set: &[(&str, &str)]) -> (i32, Value) {
    let out = Command::new(env!("CARGO_BIN_EXE_loupe"))
        .args(["doctor", "--json"])
        .args(args)
        .envs(set.iter().copied())
        .current_dir(bench.dir.path())
        .output()
        .unwrap();
    (out.status.code().unwrap_or(-1), serde_json::from_slice(&out.stdout).unwrap())
}

fn check<'a>(diagnosis: &'a Value, name: &str) -> &'a Value {
    diagnosis["checks"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
}

#[test]
fn what_the_build_needs_is_there() {
    let (_, d) = doctor(&Bench::new(), &[], &[]);
    assert_eq!(d["schema"], "loupe.doctor/1");
    assert_eq!(check(&d, "OpenCV")["ok"], true);
    assert!(check(&d, "OpenCV")["found"].as_str().unwrap().contains("libopencv_core"));
    assert_eq!(check(&d, "ONNX Runtime")["ok"], true, "{d}");
}

#[test]
fn a_missing_runtime_is_named_with_what_to_do() {
    let (code, d) = doctor(&Bench::new(), &[], &[("ORT_DYLIB_PATH", "/no/such/libonnxruntime.so")]);
    assert_eq!((code, &d["ok"]), (2, &Value::Bool(false)));
    let runtime = check(&d, "ONNX Runtime");
    assert_eq!(runtime["ok"], false);
    assert!(runtime["found"].as_str().unwrap().contains("/no/such/libonnxruntime.so"));
    assert!(runtime["hint"].as_str().unwrap().contains("script/setup"));
}

#[test]
fn a_damaged_model_is_named() {
    let bench = Bench::new();
    bench.write("bad.onnx", "garbage");
    let (code, d) = doctor(&bench, &["--model", "bad.onnx"], &[]);
    assert_eq!(code, 2);
    assert_eq!(check(&d, "surface model")["ok"], false);
    assert!(check(&d, "surface model")["found"].as_str().unwrap().contains("bad.onnx"));
}

#[test]
fn a_model_of_round_stones_is_no_model_of_other_cuts() {
    let bench = Bench::new();
    let models = bench.dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let girdles = concat!(env!("CARGO_MANIFEST_DIR"), "/models/girdles.int8.onnx");
    for name in ["girdles.int8.onnx", "fancies.int8.onnx"] {
        std::fs::copy(girdles, models.join(name)).unwrap();
    }
    let (code, d) = doctor(&bench, &[], &[("LOUPE_MODELS", models.to_str().unwrap())]);
    assert_eq!(code, 2);
    assert_eq!(check(&d, "girdle model")["ok"], true);
    let found = check(&d, "model of other cuts")["found"].as_str().unwrap();
    assert!(found.contains("fancies.int8.onnx") && found.contains("loupe.prior"), "{found}");
}
