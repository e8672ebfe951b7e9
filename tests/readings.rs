//! Readings of other instruments, an ordered fineness and decision rules, through the program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{disc_png, manifest, Bench, Ran, SPEC};
use loupe::report::{Status, Verdict};
use loupe::spec::Rule;

const LIMITS: &str = r#"
[[limit]]
characteristic = "piece.weight_g"
lower = 3.0
upper = 3.4

[[limit]]
characteristic = "piece.pull_n"
lower = 30
rule = "simple"
"#;

fn piece(bench: &Bench, id: &str) {
    let spec = SPEC.replace("sku =", "fineness = 925\nsku =");
    bench.write(&format!("in/{id}/piece.json"), manifest(id));
    bench.write(&format!("in/{id}/spec.toml"), format!("{spec}{LIMITS}"));
    bench.write(&format!("in/{id}/top.png"), disc_png());
}

fn inspect(bench: &Bench) -> Ran {
    bench.loupe(&["inspect", "in", "--out", "out", "--no-model", "--no-overlay", "--readings", "r.csv"])
}

const HEADER: &str = "piece_id,characteristic,value,uncertainty,instrument\n";

#[test]
fn readings_are_judged_beside_the_frames() {
    let bench = Bench::new();
    for id in ["good", "light", "poor", "near", "weak"] {
        piece(&bench, id);
    }
    let row = |id: &str, weight: f64, ppt: f64, pull: f64| {
        format!("{id},piece.weight_g,{weight},0.005,scale 2\n{id},piece.fineness_ppt,{ppt},1,xrf\n{id},piece.pull_n,{pull},2,gauge\n")
    };
    let rows = [
        row("good", 3.2, 928.0, 30.5),
        row("light", 2.9, 928.0, 40.0),
        row("poor", 3.2, 922.0, 40.0),
        // No minus tolerance: what may be below is a person's matter, however near.
        row("near", 3.2, 924.0, 40.0),
        row("weak", 3.2, 928.0, 29.9),
        row("stranger", 3.2, 928.0, 40.0),
    ];
    bench.write("r.csv", format!("{HEADER}{}", rows.concat()));
    let ran = inspect(&bench);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("1 id of no piece in this run: stranger").count(), 1, "{}", ran.stderr);
    for (id, verdict, why) in [
        ("good", Verdict::Pass, ""),
        ("light", Verdict::Fail, "scale 2: piece.weight_g 2.9 +- 0.01 (limits 3 to 3.4)"),
        ("poor", Verdict::Fail, "xrf: piece.fineness_ppt 922 +- 2 (at least 925)"),
        ("near", Verdict::Review, "xrf: piece.fineness_ppt 924 +- 2 (at least 925)"),
        ("weak", Verdict::Fail, "gauge: piece.pull_n 29.9 +- 4 (at least 30)"),
    ] {
        let r = bench.report(id);
        assert_eq!((r.verdict, r.reasons.first().map_or("", String::as_str)), (verdict, why), "{id}");
    }
    let good = bench.report("good");
    let of = |c: &str| good.measurements.iter().find(|m| m.characteristic == c).unwrap();
    assert_eq!((of("piece.pull_n").status, of("piece.pull_n").decision.unwrap().rule), (Status::Pass, Rule::Simple));
    assert_eq!((of("piece.fineness_ppt").lower, of("piece.fineness_ppt").decision), (Some(925.0), None));
}

#[test]
fn a_reading_that_is_missing_or_wrong_is_a_persons_matter_and_stops_no_other_piece() {
    let bench = Bench::new();
    for id in ["a", "b", "c"] {
        piece(&bench, id);
    }
    let full =
        |id: &str| format!("{id},piece.weight_g,3.2,,s\n{id},piece.fineness_ppt,930,,x\n{id},piece.pull_n,40,,g\n");
    let b = "b,piece.weight_g,3.2,,s\nb,piece.weight_g,3.3,,s\nb,piece.fineness_ppt,high,,x\nb,piece.pull_n,40,,g\n";
    let c = "c,piece.weight_g,3.2,,s\nc,piece.pull_n,40,,g\n";
    bench.write("r.csv", format!("{HEADER}{}{b}{c}", full("a")));
    let ran = inspect(&bench);
    assert_eq!(ran.code, 2);
    for part in [
        "b: r.csv:7: column `value`: `high` is no number",
        "b: r.csv:6: column `characteristic`: `piece.weight_g` of b is already on line 5: neither counts",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(bench.report("a").verdict, Verdict::Pass);
    let b = bench.report("b");
    assert_eq!((b.verdict, b.not_assessed.len()), (Verdict::Review, 2), "{:?}", b.not_assessed);
    let c = bench.report("c");
    assert_eq!(c.verdict, Verdict::Review);
    let why = "not assessed: piece.fineness_ppt: no reading of it counts, neither in piece.json nor in --readings";
    assert_eq!(c.reasons, [why]);
}

#[test]
fn a_table_that_cannot_be_used_ends_the_run_before_any_piece() {
    let bench = Bench::new();
    piece(&bench, "a");
    bench.write("r.csv", "piece_id,characteristc,value\n");
    let ran = inspect(&bench);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("--readings: r.csv:1: column `characteristic`: the column is missing"),
        "{}",
        ran.stderr
    );
    assert!(!bench.path("out/summary.jsonl").exists());
}
