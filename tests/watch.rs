//! A station's folder, watched: each piece once it is whole, again when it changes, and none unseen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Bench;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo").join(name)
}

fn watched(bench: &Bench, more: &[&str]) -> Child {
    let args = [&["watch", "in", "--out", "out", "--no-model"], more].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loupe"));
    command.args(args).current_dir(bench.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a file holds a text.
fn wait_for(path: &Path, text: &str) -> String {
    let start = Instant::now();
    loop {
        let now = std::fs::read_to_string(path).unwrap_or_default();
        if now.contains(text) {
            return now;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{}: no {text:?} came: {now}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &Path, files: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for file in files {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn a_piece_is_inspected_once_it_is_whole_and_again_when_it_changes() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("in")).unwrap();
    let run = watched(&bench, &[]);
    let (page, report) = (bench.path("out/now.html"), bench.path("out/band-001/report.json"));
    wait_for(&page, "Waiting for a piece");

    // The manifest comes first, then half of the frame, then all of it.
    let (from, to) = (demo("band-001"), bench.path("in/a piece"));
    copy(&from, &to, &["piece.json", "spec.toml"]);
    let frame = std::fs::read(from.join("top.png")).unwrap();
    std::fs::write(to.join("top.png"), &frame[..frame.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(!report.exists(), "inspected before its frame was whole");
    std::fs::write(to.join("top.png"), &frame).unwrap();
    let shown = wait_for(&page, "<h1>band-001</h1>");
    assert!(shown.contains("./band-001/top.png.overlay.png") && shown.contains("1 piece"), "{shown}");
    let first = std::fs::read_to_string(&report).unwrap();
    assert!(first.contains("\"piece_id\": \"band-001\""));

    // Another frame under the same name: the report is that of what lies there now.
    std::fs::copy(demo("band-002").join("top.png"), to.join("top.png")).unwrap();
    let start = Instant::now();
    while std::fs::read_to_string(&report).unwrap() == first {
        assert!(start.elapsed() < Duration::from_secs(120), "it was not inspected again");
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for(&bench.path("out/summary.jsonl"), "\"piece_id\":\"band-001\"");

    // A manifest that could not be read and is mended leaves no error behind.
    bench.write("in/b/piece.json", "{");
    wait_for(&page, "No report");
    copy(&demo("band-002"), &bench.path("in/b"), &["spec.toml", "top.png", "piece.json"]);
    wait_for(&page, "<h1>band-002</h1>");

    // SAFETY: a signal to a child of this test, which is still there.
    unsafe { libc::kill(i32::try_from(run.id()).unwrap(), libc::SIGINT) };
    let ended = run.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.code().is_some_and(|c| c < 2), "{out}{err}");
    assert!(out.contains("2 pieces: ") && out.contains("0 without a report"), "{out}");
    // What it wrote is what an inspection writes.
    let again = bench.loupe(&["inspect", "in", "--out", "other", "--no-model"]);
    assert!(again.code < 2, "{}", again.stderr);
    for file in ["band-001/report.json", "band-001/top.png.overlay.png", "summary.jsonl"] {
        let [a, b] = ["out", "other"].map(|d| std::fs::read(bench.path(d).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
}

#[test]
fn what_does_not_come_whole_is_told_and_what_was_done_is_not_done_again() {
    let bench = Bench::new();
    let files = ["piece.json", "spec.toml", "top.png"];
    copy(&demo("band-001"), &bench.path("in/one"), &files);
    copy(&demo("band-001"), &bench.path("in/two"), &files);
    copy(&demo("band-002"), &bench.path("in/lacks"), &files[..2]);
    bench.write("in/broken/piece.json", "{");
    let run = |more: &[&str]| {
        let ended = watched(&bench, more).wait_with_output().unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
    };
    let (code, out, err) = run(&["--idle-s", "1"]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(err.contains("`band-001` is already the id of"), "{err}");
    assert!(err.contains("waits for top.png") && err.contains("not inspected: top.png did not come"), "{err}");
    assert!(err.contains("in/broken/piece.json"), "{err}");
    assert!(out.contains("4 pieces: ") && out.contains("3 without a report"), "{out}");
    let summary = std::fs::read_to_string(bench.path("out/summary.jsonl")).unwrap();
    assert_eq!(summary.lines().count(), 4, "{summary}");

    std::fs::remove_dir_all(bench.path("in/two")).unwrap();
    std::fs::remove_dir_all(bench.path("in/lacks")).unwrap();
    std::fs::remove_dir_all(bench.path("in/broken")).unwrap();
    let report = bench.path("out/band-001/report.json");
    let written = std::fs::metadata(&report).unwrap().modified().unwrap();
    let (code, out, err) = run(&["--idle-s", "1"]);
    assert!(code < 2 && err.is_empty() && out.contains("1 piece: "), "{out}{err}");
    assert_eq!(std::fs::metadata(&report).unwrap().modified().unwrap(), written, "it was inspected again");
    // A table and pages are made of it as of any run.
    let told = bench.loupe(&["report", "out", "--csv", "t.csv", "--html", "pages"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(bench.path("pages/index.html").is_file());
    let wrong = bench.loupe(&["watch", "nowhere", "--out", "x"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("nowhere"), "{}", wrong.stderr);
}
