//! A whole run: the same output whatever the number of threads, and nothing partial left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{tree, Bench};
use loupe::report::Verdict;

#[test]
fn the_output_does_not_depend_on_the_number_of_threads() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    let bench = Bench::new();
    for folder in ["x1", "x2"] {
        bench.piece(folder);
    }
    bench.write("in/broken/piece.json", "{");
    let demo = demo.to_str().unwrap();
    let run = |jobs: &str| {
        let out = format!("out-{jobs}");
        let ran = bench.loupe(&["inspect", demo, "in", "--out", &out, "--no-model", "--jobs", jobs]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        (tree(&bench.path(&out)), ran.stdout)
    };
    let (one, table) = run("1");
    assert!(one.contains_key(Path::new("summary.jsonl")) && one.contains_key(Path::new("band-001/report.json")));
    assert!(one.contains_key(Path::new("band-001/top.png.overlay.png")));
    let left = one.keys().find(|p| p.to_string_lossy().contains(".part"));
    assert_eq!(left, None, "an unfinished file was left");
    for jobs in ["2", "4"] {
        let (other, other_table) = run(jobs);
        assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        for (path, bytes) in &one {
            assert!(*bytes == other[path], "{} differs between 1 and {jobs} threads", path.display());
        }
        assert_eq!(table, other_table);
    }
}

/// Demo pieces, killed once two of them are done, and gone on with: the same files as a run that nothing disturbed.
#[test]
fn a_run_that_is_killed_goes_on() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    let bench = Bench::new();
    let args = |out: &'static str| ["inspect", demo.to_str().unwrap(), "--out", out, "--no-model", "--jobs", "1"];
    assert_ne!(bench.loupe(&args("whole")).code, 2);
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_loupe"))
        .args(args("cut"))
        .current_dir(bench.dir.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let part = bench.path("cut/summary.part.jsonl");
    while std::fs::read_to_string(&part).map_or(0, |t| t.lines().count()) < 3 {
        assert!(run.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!bench.path("cut/summary.jsonl").exists());
    let written = |p: &str| std::fs::metadata(bench.path(p)).unwrap().modified().unwrap();
    let done = std::fs::read_to_string(&part).unwrap();
    let first: serde_json::Value = serde_json::from_str(done.lines().nth(1).unwrap()).unwrap();
    let first = format!("cut/{}", first["row"]["report"].as_str().unwrap());
    let before = written(&first);

    let report = bench.loupe(&["report", "cut", "--csv", "cut.csv"]);
    assert!(report.code == 2 && report.stderr.contains("was cut short"), "{}", report.stderr);

    let mut other = args("cut").to_vec();
    other.extend(["--resume", "--crops"]);
    let refused = bench.loupe(&other);
    assert!(refused.code == 2 && refused.stderr.contains("other options"), "{}", refused.stderr);
    other.pop();
    let ran = bench.loupe(&other);
    assert!(ran.code != 2 && ran.stderr.contains("were done before"), "{}", ran.stderr);
    assert_eq!(written(&first), before, "it was inspected again");
    let (whole, cut) = (tree(&bench.path("whole")), tree(&bench.path("cut")));
    assert_eq!(whole.keys().collect::<Vec<_>>(), cut.keys().collect::<Vec<_>>());
    assert!(whole == cut);
}

#[test]
fn a_quiet_run_prints_nothing_and_draws_nothing() {
    let bench = Bench::new();
    bench.piece("p");
    let ran = bench.loupe(&["inspect", "in", "--out", "out", "--no-model", "--quiet", "--no-overlay"]);
    assert_ne!(ran.code, 2);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let names: Vec<_> = tree(&bench.path("out")).into_keys().collect();
    assert_eq!(names, [Path::new("p/report.json"), Path::new("summary.jsonl")]);
}

#[test]
fn a_frame_too_coarse_for_the_model_is_reviewed_and_says_so() {
    let bench = Bench::new();
    bench.piece("p");
    let ran = bench.loupe(&["inspect", "in/p", "--out", "with"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let report = std::fs::read_to_string(bench.path("with/p/report.json")).unwrap();
    let report: loupe::report::Report = serde_json::from_str(&report).unwrap();
    assert_eq!(report.verdict, Verdict::Review);
    assert!(
        report.reasons.iter().any(|r| r.contains("top.png: the model surface is for 5 to 25 um a pixel")),
        "{:?}",
        report.reasons
    );
    let ran = bench.loupe(&["inspect", "in/p", "--out", "without", "--no-model"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}
