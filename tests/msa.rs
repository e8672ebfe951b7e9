//! `loupe msa` from the outside: reports of repeated rounds in, a study and its picture out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{disc_png, manifest, Bench, SPEC};
use loupe::msa::{Grade, MsaReport};

/// Readings of three pieces by two operators in two rounds each, through `loupe inspect`.
fn rounds(bench: &Bench) {
    let weights = [
        ("anna", "1", [3.00, 4.00, 5.00]),
        ("anna", "2", [3.01, 4.01, 4.99]),
        ("ben", "1", [3.02, 4.00, 5.01]),
        ("ben", "2", [3.00, 4.02, 5.00]),
    ];
    let limit = "\n[[limit]]\ncharacteristic = \"piece.weight_g\"\nlower = 2.5\nupper = 5.5\n";
    for id in ["p1", "p2", "p3"] {
        bench.write(&format!("in/{id}/piece.json"), manifest(id));
        bench.write(&format!("in/{id}/spec.toml"), format!("{SPEC}{limit}"));
        bench.write(&format!("in/{id}/top.png"), disc_png());
    }
    for (operator, run, of) in weights {
        let rows: String = of.iter().enumerate().map(|(i, w)| format!("p{},piece.weight_g,{w}\n", i + 1)).collect();
        bench.write("weights.csv", format!("piece_id,characteristic,value\n{rows}"));
        let out = format!("study/{operator}/{run}");
        let ran = bench.loupe(&[
            "inspect",
            "in",
            "--out",
            &out,
            "--no-model",
            "--no-overlay",
            "--quiet",
            "--readings",
            "weights.csv",
        ]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    }
}

fn read(bench: &Bench) -> MsaReport {
    serde_json::from_str(&std::fs::read_to_string(bench.path("out/msa.json")).unwrap()).unwrap()
}

#[test]
fn a_study_of_rounds_and_calls() {
    let bench = Bench::new();
    rounds(&bench);
    let calls = "piece_id,appraiser,call,reference\np1,cleo,pass,pass\np1,cleo,pass,\np2,cleo,pass,pass\np2,cleo,fail,\nold,cleo,fail,fail\n";
    bench.write("calls.csv", calls);
    let ran = bench.loupe(&["msa", "study", "--calls", "calls.csv", "--out", "out"]);
    // Cleo rejects a good piece once in four: unfit.
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("warning: calls.csv: no report of old"), "{}", ran.stderr);
    assert!(ran.stdout.contains("piece.weight_g") && ran.stdout.contains("operators: anna, ben"), "{}", ran.stdout);
    let study = read(&bench);
    assert_eq!((study.runs.len(), study.pieces), (4, 3));
    assert_eq!((study.runs[0].operator.as_str(), study.runs[0].run.as_str()), ("anna", "study/anna/1"));
    let g = &study.gauges["piece.weight_g"];
    assert_eq!((g.parts.len(), g.operators.len(), g.trials), (3, 2, 2));
    assert_eq!(g.grade, Grade::Good);
    assert_eq!(study.not_studied["pit.diameter_mm"], "every value is the same");
    let a = study.agreement.as_ref().unwrap();
    assert_eq!(a.appraisers.keys().collect::<Vec<_>>(), ["cleo", "loupe/anna", "loupe/ben"]);
    assert_eq!(a.appraisers["cleo"].false_alarm.count, 1);
    // It was shown good pieces only.
    assert_eq!(a.appraisers["loupe/anna"].grade, None);
    let png = std::fs::read(bench.path("out/msa.png")).unwrap();
    assert!(image::load_from_memory(&png).is_ok());

    // However the folders are named on the command line, and written to whatever folder: the same.
    let ran = bench.loupe(&[
        "msa",
        "study/anna/1",
        "study/anna/2",
        "study/ben",
        "--only",
        "piece.weight_g",
        "--out",
        "out2",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(bench.path("out2/msa.json")).unwrap();
    let again: MsaReport = serde_json::from_str(&text).unwrap();
    assert_eq!(again.gauges["piece.weight_g"], *g);
    bench.loupe(&["msa", "study", "--calls", "calls.csv", "--out", "out3"]);
    for file in ["msa.json", "msa.png"] {
        let of = |dir: &str| std::fs::read(bench.path(dir).join(file)).unwrap();
        assert_eq!(of("out"), of("out3"), "{file}");
    }
    // The file keeps to its published schema.
    let schema = loupe::cli::schema::text(loupe::cli::schema::Kind::Msa).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::to_value(&study).unwrap()));
}

#[test]
fn a_table_says_who_mounted_what() {
    let bench = Bench::new();
    rounds(&bench);
    bench.write("who.csv", "folder,operator\nanna/1,x\nanna/2,x\nben,x\n");
    let ran = bench.loupe(&["msa", "study", "--operators", "who.csv", "--out", "out"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("study/ben/1/p1/report.json: --operators names no operator"), "{}", ran.stderr);
    let study = read(&bench);
    assert_eq!(study.gauges["piece.weight_g"].operators, ["x"]);
    assert!(study.gauges["piece.weight_g"].anova.operators.is_none());
    let ran = bench.loupe(&["msa", "study", "--layout", "run", "--out", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(read(&bench).gauges["piece.weight_g"].trials, 4);
}

#[test]
fn what_cannot_be_read_is_named_and_stops_nothing() {
    let bench = Bench::new();
    rounds(&bench);
    bench.write("study/anna/1/p9/report.json", "{\"schema\": \"loupe.report/1\", \"piece_id\": 7}");
    bench.write("calls.csv", "piece_id,appraiser,call\np1,cleo,perhaps\n");
    let ran = bench.loupe(&["msa", "study", "nowhere", "--calls", "calls.csv", "--out", "out"]);
    assert_eq!(ran.code, 2);
    for part in [
        "study/anna/1/p9/report.json: key `piece_id`: invalid type",
        "nowhere: cannot read",
        "calls.csv:2: column `call`: `perhaps` is none of pass, fail, review",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(read(&bench).gauges["piece.weight_g"].grade, Grade::Good);
    let ran = bench.loupe(&["msa", "study", "--calls", "no.csv"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("--calls: no.csv: cannot read"), "{}", ran.stderr);
}

#[test]
fn a_characteristic_that_nobody_measures_is_an_error() {
    let bench = Bench::new();
    rounds(&bench);
    let ran = bench.loupe(&["msa", "study", "--only", "piece.weigth_g"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("--only piece.weigth_g: `piece.weigth_g` is no characteristic; did you mean `piece.weight_g`?"),
        "{}",
        ran.stderr
    );
}
