//! Hallmarks through the program: read, compared with the order, shown, counted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::Bench;
use loupe::report::{FindingType, Measurement, Report, Status, Verdict};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A rendered piece with its mark alone to be judged: the limit on it takes the place of all others.
fn piece(bench: &Bench, name: &str, limit: &str) {
    let from = root().join("datasets/regression").join(name);
    for file in std::fs::read_dir(&from).unwrap().map(|f| f.unwrap().path()) {
        let to = format!("in/{name}/{}", file.file_name().unwrap().to_str().unwrap());
        bench.write(&to, std::fs::read(&file).unwrap());
    }
    let spec = std::fs::read_to_string(from.join("spec.toml")).unwrap();
    let head = &spec[..spec.find("[[limit]]").unwrap()];
    bench.write(&format!("in/{name}/spec.toml"), format!("{head}{limit}"));
}

fn report(path: &Path) -> Report {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn inspect(bench: &Bench, name: &str, more: &[&str]) -> Report {
    let place = format!("in/{name}");
    let mut args = vec!["inspect", place.as_str(), "--out", "out"];
    args.extend(more);
    let ran = bench.loupe(&args);
    assert!(ran.code <= 1, "{}", ran.stderr);
    report(&bench.path("out").join(name).join("report.json"))
}

fn mark(r: &Report) -> &Measurement {
    r.measurements.iter().find(|m| m.characteristic == "hallmark.text").unwrap()
}

const ORDERED: &str = "[[limit]]\ncharacteristic = \"hallmark.text\"\nnominal = 375\n";

#[test]
fn the_mark_ordered_passes_and_another_fails() {
    let bench = Bench::new();
    piece(&bench, "stamp-002", ORDERED);
    let r = inspect(&bench, "stamp-002", &[]);
    let m = mark(&r);
    assert_eq!((m.value, m.uncertainty, m.status), (1.0, 0.0, Status::Pass), "{:?}", r.reasons);
    assert_eq!((m.text.as_deref(), m.feature.as_str()), (Some("375"), "hallmark 375"));
    assert_eq!(r.verdict, Verdict::Pass);
    assert!(r.provenance.models.iter().any(|m| m.name == "text-reader"));

    piece(&bench, "stamp-002", &ORDERED.replace("375", "585"));
    let r = inspect(&bench, "stamp-002", &[]);
    let f = r.findings.iter().find(|f| f.kind == FindingType::HallmarkMismatch).unwrap();
    assert_eq!((f.status, f.text.as_deref(), f.outline_px.len()), (Status::Fail, Some("375"), 4));
    assert_eq!((r.verdict, mark(&r).value), (Verdict::Fail, 0.0));
    assert!(r.reasons[0].contains("hallmark 585") && r.reasons[0].contains("it reads `375`"), "{:?}", r.reasons);
}

/// An order one letter off the mark is not taken for it.
#[test]
fn a_mark_one_letter_off_is_not_accepted() {
    let bench = Bench::new();
    piece(&bench, "stamp-002", &ORDERED.replace("375", "325"));
    let r = inspect(&bench, "stamp-002", &["--no-overlay"]);
    assert_ne!(mark(&r).status, Status::Pass);
}

#[test]
fn without_its_models_a_mark_is_not_assessed() {
    let bench = Bench::new();
    piece(&bench, "stamp-002", ORDERED);
    let r = inspect(&bench, "stamp-002", &["--no-model", "--no-overlay"]);
    assert_eq!(r.verdict, Verdict::Review);
    assert!(r.not_assessed.iter().any(|n| n.characteristic == "hallmark.text" && n.reason.contains("--no-model")));
    // A limit that no mark was named for.
    piece(&bench, "stamp-002", "[[limit]]\ncharacteristic = \"hallmark.text\"\n");
    let r = inspect(&bench, "stamp-002", &["--no-overlay"]);
    assert!(r.not_assessed.iter().any(|n| n.reason.contains("does not say which mark")), "{:?}", r.not_assessed);
}

#[test]
fn eval_counts_marks() {
    let bench = Bench::new();
    piece(&bench, "stamp-002", ORDERED);
    let ran = bench.loupe(&["eval", "in", "--out", "e.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("hallmarks, letters of from 32 px"), "{}", ran.stdout);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(bench.path("e.json")).unwrap()).unwrap();
    assert_eq!(
        (&json["marks"][0]["read"]["count"], &json["marks"][0]["right_passed"]["count"]),
        (&1.into(), &1.into())
    );
}

/// Copies a rectangle of the mark's picture to another place of it: the letters of one stamp.
fn copied(bench: &Bench, from: [u32; 4], to: [u32; 2], name: &str) {
    let path = bench.path("in/stamp-002/top.jpg");
    let mut image = image::open(&path).unwrap().to_rgb8();
    let [x, y, w, h] = from;
    let letter = image::imageops::crop_imm(&image, x, y, w, h).to_image();
    image::imageops::replace(&mut image, &letter, i64::from(to[0]), i64::from(to[1]));
    image.save(bench.path(&format!("in/stamp-002/{name}"))).unwrap();
}

/// 375 with another 3 behind it, close or a letter's width apart, is not what was ordered: 18K is not 18K GP.
#[test]
fn a_mark_that_goes_on_is_left_to_a_person() {
    for x in [376, 425] {
        let bench = Bench::new();
        piece(&bench, "stamp-002", ORDERED);
        copied(&bench, [212, 312, 60, 100], [x, 312], "top.jpg");
        let r = inspect(&bench, "stamp-002", &["--no-overlay"]);
        assert_eq!(mark(&r).status, Status::Review, "{x}: {:?}", mark(&r).text);
        assert!(mark(&r).text.as_deref().unwrap().contains("375"), "{x}: {:?}", mark(&r).text);
    }
}

/// One frame shows 375, the other 775: whichever light lies, a person decides.
#[test]
fn frames_that_differ_in_a_letter_are_left_to_a_person() {
    let bench = Bench::new();
    piece(&bench, "stamp-002", ORDERED);
    copied(&bench, [271, 312, 50, 100], [217, 312], "other.png");
    let json = std::fs::read_to_string(bench.path("in/stamp-002/piece.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let frames = json["frames"].as_array_mut().unwrap();
    let mut other = frames[0].clone();
    other["file"] = "other.png".into();
    other["light"] = "ring".into();
    other["seq"] = 1.into();
    frames.insert(0, other);
    bench.write("in/stamp-002/piece.json", json.to_string());
    let r = inspect(&bench, "stamp-002", &["--no-overlay"]);
    assert_eq!(mark(&r).status, Status::Review, "{:?}", mark(&r));
}
