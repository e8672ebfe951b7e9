//! What a station gets wrong: each mistake is named with its file and key, makes the exit code 2, and leaves
//! the other pieces of the run alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{disc_png, manifest, png, Bench, Ran, SPEC};
use loupe::report::Verdict;

/// A run over `in/bad`, as `change` leaves it, between two sound pieces.
#[track_caller]
fn spoiled(change: impl FnOnce(&Bench)) -> (Bench, Ran) {
    let bench = Bench::new();
    for folder in ["a good", "bad", "c good"] {
        bench.piece(folder);
    }
    change(&bench);
    let ran = bench.inspect();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for piece in ["a good", "c good"] {
        assert_eq!(bench.report(piece).piece_id, piece);
        assert_eq!(bench.summary()[piece][0].errors, Vec::<String>::new());
    }
    assert_eq!(bench.summary().values().map(Vec::len).sum::<usize>(), 3);
    (bench, ran)
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.stderr.contains(part), "`{part}` is not in: {}", ran.stderr);
    }
}

/// A frame that cannot be read: the report says review and names it.
#[track_caller]
fn bad_frame(change: impl FnOnce(&Bench), parts: &[&str]) {
    let (bench, ran) = spoiled(change);
    says(&ran, parts);
    let report = bench.report("bad");
    assert_eq!(report.verdict, Verdict::Review);
    assert!(report.reasons.iter().any(|r| r.contains("top.png")), "{:?}", report.reasons);
    assert!(report.frames.iter().any(|f| f.error.is_some()), "{:?}", report.frames);
    assert_eq!(bench.summary()["bad"][0].verdict, Some(Verdict::Review));
    assert!(!bench.summary()["bad"][0].errors.is_empty());
}

/// A piece that cannot be read: an error row and no report.
#[track_caller]
fn bad_piece(change: impl FnOnce(&Bench), parts: &[&str]) {
    let (bench, ran) = spoiled(change);
    says(&ran, parts);
    let row = &bench.summary()["bad"][0];
    assert_eq!((row.verdict, &row.report), (None, &None));
    assert!(row.errors[0].contains(parts[0]), "{:?}", row.errors);
    assert!(!bench.path("out/bad/report.json").exists());
}

#[test]
fn a_truncated_picture() {
    bad_frame(|b| b.write("in/bad/top.png", &disc_png()[..300]), &["in/bad/top.png"]);
}

/// A decoder would fill the rest with grey, and the piece would fail for it.
#[test]
fn a_truncated_jpeg() {
    let png = image::load_from_memory(&disc_png()).unwrap();
    let mut jpeg = std::io::Cursor::new(Vec::new());
    png.to_rgb8().write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    for share in [0.5, 0.9, 0.999] {
        let cut = &jpeg[..(share * jpeg.len() as f64) as usize];
        bad_frame(|b| b.write("in/bad/top.png", cut), &["in/bad/top.png", "cut off"]);
    }
    // Whole, and with bytes of the camera's own behind its end.
    for more in [0, 100] {
        let bench = Bench::new();
        bench.piece("whole");
        bench.write("in/whole/top.png", [jpeg.clone(), vec![0; more]].concat());
        assert!(bench.inspect().code <= 1);
        assert!(bench.report("whole").frames.iter().all(|f| f.error.is_none()));
    }
}

#[test]
fn an_empty_picture() {
    bad_frame(|b| b.write("in/bad/top.png", ""), &["in/bad/top.png", "empty"]);
}

#[test]
fn a_text_named_png() {
    bad_frame(|b| b.write("in/bad/top.png", "not a picture\n"), &["in/bad/top.png", "not a readable picture"]);
}

#[test]
fn a_missing_picture() {
    bad_frame(|b| std::fs::remove_file(b.path("in/bad/top.png")).unwrap(), &["in/bad/top.png", "cannot read"]);
}

#[test]
fn a_picture_too_wide() {
    let wide = png(&image::GrayImage::new(30_000, 20));
    bad_frame(|b| b.write("in/bad/top.png", wide), &["in/bad/top.png", "30000 x 20"]);
}

#[test]
fn a_picture_of_one_pixel() {
    let tiny = png(&image::GrayImage::new(1, 1));
    bad_frame(|b| b.write("in/bad/top.png", tiny), &["in/bad/top.png", "1 x 1"]);
}

#[test]
fn a_picture_with_another_hash() {
    let named = manifest("bad").replace("\"light\"", &format!("\"sha256\":\"{}\",\"light\"", "0".repeat(64)));
    bad_frame(|b| b.write("in/bad/piece.json", named), &["top.png", "sha256"]);
}

#[test]
fn a_typo_in_a_spec() {
    let spec = SPEC.replace("radius_mm", "radus_mm");
    bad_piece(
        |b| b.write("in/bad/spec.toml", spec),
        &["in/bad/spec.toml:8", "view[0].outline.radus_mm", "`radius_mm`?"],
    );
}

#[test]
fn nan_in_a_spec() {
    for nan in ["nan", "NaN"] {
        let spec = SPEC.replace("3.0", nan);
        bad_piece(|b| b.write("in/bad/spec.toml", spec), &["in/bad/spec.toml:8", "view[0]"]);
    }
    let spec = SPEC.replace("0.5", "nan");
    bad_piece(|b| b.write("in/bad/spec.toml", spec), &["in/bad/spec.toml:12", "limit[0].upper"]);
}

#[test]
fn a_scale_that_is_none() {
    for scale in ["NaN", "0", "-40.0", "null_", "\"40\"", "1e999"] {
        let text = manifest("bad").replace("40.0", scale);
        bad_piece(|b| b.write("in/bad/piece.json", text), &["in/bad/piece.json", "frames[0]"]);
    }
}

/// A scale in mm: the frame would be a hair's breadth wide. Without an outline nothing else tells.
#[test]
fn a_scale_in_another_unit() {
    let no_outline = SPEC.replace("outline = { shape = \"disc\", radius_mm = 3.0 }\n", "");
    for scale in ["0.04", "9990.0"] {
        bad_frame(
            |b| {
                b.write("in/bad/piece.json", manifest("bad").replace("40.0", scale));
                b.write("in/bad/spec.toml", &no_outline);
            },
            &["top.png", "frames[0].um_per_px", "micrometres a pixel"],
        );
    }
}

/// What is said of bare pictures is not silently left out where there are none.
#[test]
fn a_spec_for_a_piece_that_has_its_own() {
    let bench = Bench::new();
    bench.piece("good");
    bench.write("other.toml", SPEC);
    let ran = bench.loupe(&["inspect", "in", "--spec", "other.toml", "--out", "out"]);
    assert_eq!(ran.code, 2);
    says(&ran, &["--spec", "without a piece.json", "good"]);
}

/// Nothing that somebody else wrote is replaced.
#[test]
fn an_output_that_is_an_input() {
    let bench = Bench::new();
    bench.piece("good");
    bench.write("in/good/truth.json", r#"{"verdict":"pass","defects":[]}"#);
    let truth = std::fs::read(bench.path("in/good/truth.json")).unwrap();
    let ran = bench.loupe(&["eval", "in", "--no-model", "--out", "in/good/truth.json"]);
    assert!(ran.code == 2 && ran.stderr.contains("did not write"), "{}", ran.stderr);
    assert_eq!(std::fs::read(bench.path("in/good/truth.json")).unwrap(), truth);
    let ran = bench.loupe(&["eval", "in", "--no-model", "--out", "e.json", "--sheet", "in/good/top.png"]);
    assert!(ran.code == 2 && bench.path("in/good/top.png").is_file(), "{}", ran.stderr);
    // Its own figures are replaced.
    for _ in 0..2 {
        let ran = bench.loupe(&["eval", "in", "--no-model", "--out", "e.json"]);
        assert!(ran.code <= 1, "{}", ran.stderr);
    }
    bench.inspect();
    let summary = std::fs::read(bench.path("out/summary.jsonl")).unwrap();
    let ran = bench.loupe(&["report", "out", "--csv", "out/summary.jsonl"]);
    assert!(ran.code == 2 && ran.stderr.contains("a table would replace it"), "{}", ran.stderr);
    assert_eq!(std::fs::read(bench.path("out/summary.jsonl")).unwrap(), summary);
}

#[test]
fn a_view_the_spec_does_not_have() {
    let text = manifest("bad").replace("\"view\":\"top\"", "\"view\":\"topp\"");
    bad_frame(|b| b.write("in/bad/piece.json", text), &["in/bad/piece.json", "frames[0].view", "`topp`"]);
}

#[test]
fn a_missing_spec() {
    bad_piece(|b| std::fs::remove_file(b.path("in/bad/spec.toml")).unwrap(), &["in/bad/piece.json", "key `spec`"]);
}

#[test]
fn an_id_that_is_taken() {
    let (bench, ran) = spoiled(|b| b.write("in/bad/piece.json", manifest("a good")));
    says(&ran, &["in/bad/piece.json: key `piece_id`", "in/a good/piece.json"]);
    let rows = &bench.summary()["a good"];
    assert!(rows[0].report.is_some() && rows[1].report.is_none());
}

#[test]
fn a_bad_line_of_a_manifest() {
    let bench = Bench::new();
    bench.piece("p");
    let line = |id: &str| manifest(id).replace("top.png", "in/p/top.png").replace("spec.toml", "in/p/spec.toml");
    bench.write("archive.jsonl", format!("{}\n{}\n{}\n", line("one"), &line("two")[..50], line("three")));
    let ran = bench.loupe(&["inspect", "archive.jsonl", "--out", "out", "--no-model"]);
    assert_eq!(ran.code, 2);
    says(&ran, &["archive.jsonl:2: key "]);
    assert_eq!((bench.report("one").piece_id, bench.report("three").piece_id), ("one".into(), "three".into()));
    assert!(bench.path("out/one/in_p_top.png.overlay.png").exists());
}

#[test]
fn a_model_that_is_none() {
    for (bytes, name) in [(&b""[..], "empty.onnx"), (b"garbage, not ONNX", "garbage.onnx")] {
        let bench = Bench::new();
        bench.piece("p");
        bench.write(name, bytes);
        let ran = bench.loupe(&["inspect", "in", "--out", "out", "--model", name]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        says(&ran, &[name, "--no-model"]);
        assert!(!bench.path("out").exists(), "it is said before any piece");
    }
}

#[test]
fn a_path_that_is_not_there() {
    let bench = Bench::new();
    bench.piece("p");
    let ran = bench.loupe(&["inspect", "gone", "in", "--out", "out", "--no-model"]);
    assert_eq!(ran.code, 2);
    says(&ran, &["gone: cannot read"]);
    assert_eq!(bench.report("p").piece_id, "p");
}

#[test]
fn a_folder_without_pieces() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("in")).unwrap();
    let ran = bench.inspect();
    assert_eq!(ran.code, 2);
    says(&ran, &["in: no piece.json"]);
}

#[test]
fn an_output_folder_that_cannot_be_made() {
    let bench = Bench::new();
    bench.piece("p");
    bench.write("out", "a file");
    let ran = bench.inspect();
    assert_eq!(ran.code, 2);
    says(&ran, &["out: --out: cannot make the folder"]);
}

#[test]
fn a_report_that_cannot_be_written() {
    let (_bench, ran) = spoiled(|b| b.write("out/bad", "a file in the way of the folder"));
    says(&ran, &["out/bad/report.json: cannot write the report"]);
}

#[test]
fn an_older_report_of_a_piece_that_cannot_be_read_any_more_goes() {
    for (file, text, place) in [
        ("in/bad/spec.toml", String::new(), "in/bad/spec.toml:1"),
        ("in/bad/piece.json", "{".into(), "in/bad/piece.json"),
        ("in/bad/piece.json", manifest("bad").replace("40.0", "0"), "frames[0].um_per_px"),
    ] {
        bad_piece(
            |b| {
                assert_ne!(b.inspect().code, 2);
                assert!(b.path("out/bad/report.json").exists());
                b.write(file, text);
            },
            &[place],
        );
    }
}

#[test]
fn a_picture_without_a_manifest() {
    let bench = Bench::new();
    bench.write("my ring.png", disc_png());
    bench.write("spec.toml", SPEC);
    let bare = |more: &[&str]| {
        let args = ["inspect", "my ring.png", "--out", "out", "--no-model"];
        bench.loupe(&args.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let ran = bare(&[]);
    assert_eq!(ran.code, 2);
    says(&ran, &["my ring.png: a picture without a piece.json needs --spec"]);
    for scale in ["0", "-12", "NaN", "inf", "x"] {
        let ran = bare(&["--spec", "spec.toml", "--um-per-px", scale]);
        assert_eq!(ran.code, 2);
        says(&ran, &["--um-per-px", "a number above 0"]);
    }
    let ran = bare(&["--spec", "spec.toml", "--um-per-px", "40", "--view", "side"]);
    assert_eq!(ran.code, 2);
    says(&ran, &["spec.toml: --view `side`"]);
    let ran = bare(&["--spec", "spec.toml", "--um-per-px", "40"]);
    assert_ne!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(bench.report("my ring").piece_id, "my ring");
}

#[test]
fn spec_check_prints_every_mistake() {
    let bench = Bench::new();
    bench.write("good.toml", SPEC);
    bench.write("bad.toml", SPEC.replace("polished", "shiny").replace("0.5", "nan"));
    let ran = bench.loupe(&["spec", "check", "good.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "good.toml: ok: disc-1, 1 view(s), 0 stone(s), 1 limit(s)\n"));
    let ran = bench.loupe(&["spec", "check", "good.toml", "bad.toml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("bad.toml:4: key `finish`") && ran.stdout.contains("bad.toml:12: key `limit[0].upper`")
    );
    let ran = bench.loupe(&["spec", "check", "bad.toml", "gone.toml"]);
    assert_eq!(ran.code, 2);
    says(&ran, &["gone.toml: cannot read"]);
}

/// A full disk takes what is printed: the work is done all the same, and the exit code tells that something is lost.
#[test]
fn what_cannot_be_printed_ends_nothing() {
    let bench = Bench::new();
    bench.piece("a good");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |args: &[&str], out: std::process::Stdio, err: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loupe"));
        command.args(args).current_dir(bench.path(".")).stdout(out).stderr(err).output().unwrap()
    };
    let piped = std::process::Stdio::piped;
    for args in [&["schema", "report"][..], &["doctor"], &["inspect", "in", "--out", "out", "--no-model"]] {
        let ran = run(args, full().into(), piped());
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{args:?} {said}");
        assert!(said.contains("what it prints is lost") && !said.contains("panicked"), "{said}");
        assert_eq!(run(args, full().into(), full().into()).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(bench.report("a good").piece_id, "a good");
}

/// ONNX Runtime would keep and send events about its use; a station's program does neither.
#[test]
fn nothing_is_kept_under_the_users_folder() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("home")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loupe"));
    command.arg("doctor").env("HOME", bench.path("home")).env_remove("ORT_DISABLE_TELEMETRY");
    for folder in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(folder);
    }
    command.output().unwrap();
    assert_eq!(std::fs::read_dir(bench.path("home")).unwrap().count(), 0);
}
