//! `loupe teach`, and what was taught in inspection and evaluation, through the program with the real backbone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::Bench;
use image::{GrayImage, Luma, Rgb, RgbImage};
use loupe::report::{FindingType, Report, Status, Verdict};

/// Brushed metal of its own light, with a dark scratch where one is asked for.
fn picture(path: &Path, seed: u32, scratch: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut rng = fastrand::Rng::with_seed(u64::from(seed));
    let light = 0.8 + 0.4 * rng.f32();
    let rows: Vec<f32> = (0..120).map(|_| 12.0 * (rng.f32() - 0.5)).collect();
    let img = RgbImage::from_fn(160, 120, |x, y| {
        let on = scratch && (x as i32 - 60 - y as i32 / 3).abs() <= 2 && (30..90).contains(&y);
        let v = light
            * (130.0 + rows[y as usize] + 0.1 * x as f32 + 6.0 * (rng.f32() - 0.5) - if on { 70.0 } else { 0.0 });
        Rgb([v as u8, (0.85 * v) as u8, (0.6 * v) as u8])
    });
    img.save(path).unwrap();
}

fn mask(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let on = |x: u32, y: u32| (x as i32 - 60 - y as i32 / 3).abs() <= 2 && (30..90).contains(&y);
    GrayImage::from_fn(160, 120, |x, y| Luma([if on(x, y) { 255 } else { 0 }])).save(path).unwrap();
}

/// The MVTec AD layout: 14 to teach on, 8 good and 8 scratched to measure on.
fn set(bench: &Bench) {
    for k in 0..14 {
        picture(&bench.path(&format!("part set/train/good/{k:02}.png")), k, false);
    }
    for k in 0..8 {
        picture(&bench.path(&format!("part set/test/good/{k:02}.png")), 100 + k, false);
        picture(&bench.path(&format!("part set/test/scratch/{k:02}.png")), 200 + k, true);
        mask(&bench.path(&format!("part set/ground_truth/scratch/{k:02}_mask.png")));
    }
}

fn taught(bench: &Bench, out: &str, jobs: &str) {
    let args =
        ["teach", "part set/train/good", "--out", out, "--jobs", jobs, "--date", "2026-01-31", "--side", "128"];
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("taught on 14 pictures"), "{}", ran.stdout);
}

#[test]
fn a_part_is_learned_and_a_scratch_is_what_does_not_belong() {
    let bench = Bench::new();
    set(&bench);
    taught(&bench, "part.loupe", "1");
    taught(&bench, "again.loupe", "3");
    let bytes = std::fs::read(bench.path("part.loupe")).unwrap();
    assert!(bytes == std::fs::read(bench.path("again.loupe")).unwrap(), "one thread and three taught something else");

    // Copies say nothing new: the same file, and a line that says so.
    for k in 0..14 {
        let (one, copy) = (format!("part set/train/good/{k:02}.png"), format!("twice/good/{k:02}.png"));
        std::fs::create_dir_all(bench.path("twice/good")).unwrap();
        std::fs::copy(bench.path(&one), bench.path(&copy)).unwrap();
        std::fs::copy(bench.path(&one), bench.path(&copy.replace(".png", " copy.png"))).unwrap();
    }
    let args = ["teach", "twice/good", "--out", "twice.loupe", "--date", "2026-01-31", "--side", "128"];
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("14 of the pictures are the same as others"), "{}", ran.stderr);
    assert!(bytes == std::fs::read(bench.path("twice.loupe")).unwrap(), "copies changed what was taught");

    // Measured: every scratch above every good picture, and where it is.
    let ran = bench.loupe(&["eval", "part set", "--taught", "part.loupe", "--out", "figures.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let f: serde_json::Value = serde_json::from_slice(&std::fs::read(bench.path("figures.json")).unwrap()).unwrap();
    assert!(f["images"]["auroc"]["value"].as_f64().unwrap() > 0.95, "{}", f["images"]);
    assert!(f["images"]["f1"].as_f64().unwrap() > 0.7, "{}", f["images"]);
    assert!(f["pixels"]["auroc"]["value"].as_f64().unwrap() > 0.8, "{}", f["pixels"]);
    assert!(f["pixels"]["pro"]["value"].as_f64().unwrap() > 0.5, "{}", f["pixels"]);
    assert_eq!(f["verdicts"]["escapes"]["count"], 0, "{}", ran.stdout);

    // In inspection: the spec names the file and limits the score.
    let spec = "schema = \"loupe.spec/1\"\nsku = \"plate\"\nmetal = \"yellow_gold\"\nfinish = \"brushed\"\n\
                [[view]]\nname = \"top\"\ntaught = \"part.loupe\"\n\
                [[limit]]\ncharacteristic = \"anomaly.score\"\nupper = 1.0\n";
    std::fs::write(bench.path("spec.toml"), spec).unwrap();
    let ran = bench.loupe(&[
        "inspect",
        "part set/test/scratch/03.png",
        "--spec",
        "spec.toml",
        "--no-model",
        "--out",
        "out",
    ]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let text = std::fs::read_to_string(bench.path("out/03/report.json")).unwrap();
    let r: Report = serde_json::from_str(&text).unwrap();
    assert_ne!(r.verdict, Verdict::Pass);
    let found = r.findings.iter().find(|f| f.kind == FindingType::Anomaly).unwrap();
    assert!(found.status >= Status::Review);
    // On the scratch, which runs from (70, 30) to (90, 90).
    assert!((found.x_px - 80.0).abs() < 25.0 && (found.y_px - 60.0).abs() < 40.0, "{found:?}");
    assert!(r.provenance.models.iter().any(|m| m.name == "part.loupe"));
    assert!(bench
        .path("out/03")
        .read_dir()
        .unwrap()
        .flatten()
        .any(|e| e.path().to_string_lossy().ends_with("overlay.png")));
    // A part that nothing was taught of is a person's matter.
    std::fs::write(bench.path("spec.toml"), spec.replace("taught = \"part.loupe\"\n", "")).unwrap();
    let ran =
        bench.loupe(&["inspect", "part set/test/good/03.png", "--spec", "spec.toml", "--no-model", "--out", "none"]);
    assert_eq!(ran.code, 1);
    let r: Report =
        serde_json::from_str(&std::fs::read_to_string(bench.path("none/03/report.json")).unwrap()).unwrap();
    assert_eq!(r.verdict, Verdict::Review);
    assert!(r.reasons.iter().any(|r| r.contains("names no taught file")), "{:?}", r.reasons);

    // A taught file that the command line names decides where the spec limits no score.
    let plain = spec.replace("taught = \"part.loupe\"\n", "");
    let plain = &plain[..plain.find("[[limit]]").unwrap()];
    std::fs::write(bench.path("spec.toml"), plain).unwrap();
    for (name, fails) in [("scratch/03", true), ("good/03", false)] {
        let file = format!("part set/test/{name}.png");
        let args =
            ["inspect", &file, "--spec", "spec.toml", "--no-model", "--out", "named", "--taught", "part.loupe"];
        let ran = bench.loupe(&args);
        let r: Report =
            serde_json::from_str(&std::fs::read_to_string(bench.path("named/03/report.json")).unwrap()).unwrap();
        let score = r.measurements.iter().find(|m| m.characteristic == "anomaly.score").unwrap();
        assert!(
            score.upper == Some(1.0) && (score.status == Status::Pass) != fails,
            "{name}: {score:?} {}",
            ran.stderr
        );
        assert!((r.verdict == Verdict::Pass) != fails && r.findings.is_empty() != fails, "{name}: {:?}", r.reasons);
        std::fs::remove_dir_all(bench.path("named")).unwrap();
    }

    // What cannot be used says so, with the file's name.
    let refused = |bytes: &[u8], word: &str| {
        std::fs::write(bench.path("bad.loupe"), bytes).unwrap();
        let ran = bench.loupe(&["eval", "part set", "--taught", "bad.loupe", "--out", "x.json"]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("bad.loupe") && ran.stderr.contains(word), "{word}: {}", ran.stderr);
    };
    refused(b"", "empty");
    refused(b"no such thing at all", "not a taught file");
    refused(&bytes[..bytes.len() / 2], "checksum");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    refused(&flipped, "checksum");
    let mut newer = bytes.clone();
    newer[8] = 9;
    refused(&newer, "version 9");
}

#[test]
fn too_few_or_damaged_pictures_are_named() {
    let bench = Bench::new();
    for k in 0..11 {
        picture(&bench.path(&format!("good/{k:02}.png")), k, false);
    }
    std::fs::write(bench.path("good/broken.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    let ran = bench.loupe(&["teach", "good", "--out", "part.loupe", "--side", "96", "--date", "2026-01-31"]);
    // Written all the same, and the exit code says that something was left out.
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("broken.png"), "{}", ran.stderr);
    assert!(bench.path("part.loupe").is_file());
    std::fs::remove_file(bench.path("good/00.png")).unwrap();
    std::fs::remove_file(bench.path("good/01.png")).unwrap();
    let ran = bench.loupe(&["teach", "good", "--out", "few.loupe", "--side", "96"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("9 good pictures") && !bench.path("few.loupe").exists(), "{}", ran.stderr);
    let ran = bench.loupe(&["teach", "no such folder", "--out", "few.loupe"]);
    assert!(ran.code == 2 && ran.stderr.contains("no such folder"), "{}", ran.stderr);
    let ran = bench.loupe(&["teach", "good", "--out", "few.loupe", "--backbone", "good/02.png"]);
    assert!(ran.code == 2 && ran.stderr.contains("not an ONNX model"), "{}", ran.stderr);
}

/// Three shots of each part say no more of new parts than one: they are held out together.
#[test]
fn shots_of_one_part_are_held_out_together() {
    let bench = Bench::new();
    for k in 0..12 {
        picture(&bench.path(&format!("once/{k:02}.png")), k, false);
        // Each part shines elsewhere.
        let mut one = image::open(bench.path(&format!("once/{k:02}.png"))).unwrap().into_rgb8();
        let (s, c) = (f64::from(k) * 2.4).sin_cos();
        for (x, y, p) in one.enumerate_pixels_mut() {
            let far = (f64::from(x) - 80.0 - 60.0 * c).hypot(f64::from(y) - 60.0 - 45.0 * s) / 30.0;
            p.0 = p.0.map(|v| v.saturating_add((40.0 * (-far * far).exp()) as u8));
        }
        one.save(bench.path(&format!("once/{k:02}.png"))).unwrap();
        for shot in 0..3u32 {
            let mut rng = fastrand::Rng::with_seed(u64::from(100 * k + shot));
            let mut again = one.clone();
            again.pixels_mut().for_each(|p| p.0 = p.0.map(|v| v.saturating_add(rng.u8(0..4))));
            std::fs::create_dir_all(bench.path("thrice")).unwrap();
            again.save(bench.path(&format!("thrice/{k:02}-{shot}.png"))).unwrap();
        }
    }
    let teach = |good: &str| {
        let out = format!("{good}.loupe");
        bench.loupe(&["teach", good, "--out", &out, "--side", "128", "--date", "2026-01-31"])
    };
    assert_eq!(teach("once").code, 0);
    let ran = teach("thrice");
    assert!(ran.code == 0 && ran.stderr.contains("36 pictures show 12 parts"), "{}", ran.stderr);
    // A new part is no more called by the one file than by the other.
    picture(&bench.path("new/good.png"), 500, false);
    let score = |taught: &str| {
        let out = format!("out-{taught}");
        bench.loupe(&[
            "inspect",
            "new/good.png",
            "--spec",
            "bare.toml",
            "--taught",
            taught,
            "--no-model",
            "--out",
            &out,
        ]);
        let folder = std::fs::read_dir(bench.path(&out)).unwrap().flatten().find(|e| e.path().is_dir()).unwrap();
        let r: Report =
            serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
        r.measurements.iter().find(|m| m.characteristic == "anomaly.score").unwrap().value
    };
    bench.write(
        "bare.toml",
        "schema = \"loupe.spec/1\"\nsku = \"p\"\nmetal = \"yellow_gold\"\nfinish = \"brushed\"\n[[view]]\nname = \"top\"\n",
    );
    let (once, thrice) = (score("once.loupe"), score("thrice.loupe"));
    assert!(thrice < 1.0 && (once - thrice).abs() < 0.35, "{once} {thrice}");
    // Too few parts are too few, however often each was taken.
    for k in 4..12 {
        (0..3).for_each(|s| std::fs::remove_file(bench.path(&format!("thrice/{k:02}-{s}.png"))).unwrap());
    }
    let ran = teach("thrice");
    assert!(ran.stderr.contains("nearly the same, of 4 parts"), "{}", ran.stderr);
}

/// What would be lost or learned by mistake is refused before the long run.
#[test]
fn a_labelled_set_is_not_taught_whole_and_no_picture_is_lost() {
    let bench = Bench::new();
    set(&bench);
    let ran = bench.loupe(&["teach", "part set", "--out", "part.loupe", "--side", "96"]);
    assert!(ran.code == 2 && ran.stderr.contains("labelled set (mvtec)"), "{}", ran.stderr);
    let picture = "part set/train/good/03.png";
    let before = std::fs::read(bench.path(picture)).unwrap();
    let ran = bench.loupe(&["teach", "part set/train/good", "--out", picture, "--side", "96"]);
    assert!(ran.code == 2 && ran.stderr.contains("one of the good pictures"), "{}", ran.stderr);
    assert_eq!(std::fs::read(bench.path(picture)).unwrap(), before);
    bench.write("a file", "x");
    let ran = bench.loupe(&["teach", "part set/train/good", "--out", "a file/part.loupe", "--side", "96"]);
    assert!(ran.code == 2 && ran.stderr.contains("cannot write") && !ran.stderr.contains("taught"), "{}", ran.stderr);
    // A piece that its truth calls bad is no good one.
    let ran = bench.loupe(&["teach", &common_piece("signet-002"), "--out", "p.loupe", "--side", "96"]);
    assert!(ran.code == 2 && ran.stderr.contains("says that it is no good piece"), "{}", ran.stderr);
}

/// A demo piece's folder.
fn common_piece(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo").join(name).to_string_lossy().into_owned()
}

/// A picture of another colour is told by it, and no place of it is blamed. A taught file counts on pieces as on pictures.
#[test]
fn another_colour_has_no_place() {
    let bench = Bench::new();
    set(&bench);
    taught(&bench, "part.loupe", "2");
    let mut warm = image::open(bench.path("part set/test/good/01.png")).unwrap().into_rgb8();
    warm.pixels_mut().for_each(|p| p.0[2] = (0.85 * f32::from(p.0[2])) as u8);
    for name in ["warm", "plain"] {
        std::fs::create_dir_all(bench.path(&format!("pieces/{name}"))).unwrap();
        bench.write(
            &format!("pieces/{name}/piece.json"),
            format!(
                r#"{{"schema":"loupe.piece/1","piece_id":"{name}","spec":"spec.toml","frames":[{{"file":"top.png","view":"top","light":"dome","um_per_px":40.0}}]}}"#
            ),
        );
        let verdict = if name == "warm" { "fail" } else { "pass" };
        bench.write(&format!("pieces/{name}/truth.json"), format!(r#"{{"verdict":"{verdict}","defects":[]}}"#));
        bench.write(
            &format!("pieces/{name}/spec.toml"),
            "schema = \"loupe.spec/1\"\nsku = \"p\"\nmetal = \"yellow_gold\"\nfinish = \"brushed\"\n[[view]]\nname = \"top\"\n",
        );
    }
    warm.save(bench.path("pieces/warm/top.png")).unwrap();
    std::fs::copy(bench.path("part set/test/good/01.png"), bench.path("pieces/plain/top.png")).unwrap();
    let ran = bench.loupe(&["inspect", "pieces", "--taught", "part.loupe", "--out", "out", "--no-overlay"]);
    let r: Report =
        serde_json::from_str(&std::fs::read_to_string(bench.path("out/warm/report.json")).unwrap()).unwrap();
    let found: Vec<&str> =
        r.findings.iter().filter(|f| f.kind == FindingType::Anomaly).map(|f| f.feature.as_str()).collect();
    // What of its texture changed with it comes behind.
    assert!(found[0] == "anomaly-colour" && r.verdict == Verdict::Fail, "{found:?} {:?} {}", r.reasons, ran.stderr);
    // `eval` judges pieces by the file as `inspect` does, and ranks them by its score.
    let ran = bench.loupe(&["eval", "pieces", "--taught", "part.loupe", "--out", "e.json"]);
    assert!(ran.stdout.contains("score of the taught file"), "{}{}", ran.stdout, ran.stderr);
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(bench.path("e.json")).unwrap()).unwrap();
    assert_eq!(figures["verdicts"]["escapes"]["count"], 0, "{}", ran.stdout);
}

/// A bad picture, a grey one and one of another shape among the good ones are named; without them no bad one passes.
#[test]
fn strangers_among_the_good_ones_are_named() {
    let bench = Bench::new();
    set(&bench);
    picture(&bench.path("part set/train/good/bad.png"), 77, true);
    let squeezed = image::open(bench.path("part set/train/good/03.png")).unwrap();
    squeezed
        .resize_exact(300, 60, image::imageops::FilterType::Triangle)
        .save(bench.path("part set/train/good/wide.png"))
        .unwrap();
    squeezed.to_luma8().save(bench.path("part set/train/good/grey.png")).unwrap();
    let args = ["teach", "part set/train/good", "--out", "part.loupe", "--side", "128", "--date", "2026-01-31"];
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("of another shape") && ran.stderr.contains("wide.png"), "{}", ran.stderr);
    assert!(ran.stderr.contains("grey, rather than the others") && ran.stderr.contains("grey.png"), "{}", ran.stderr);
    let again = ran.stdout.lines().find(|l| l.starts_with("look at them again")).unwrap_or_default();
    assert!(again.contains("bad.png"), "{}", ran.stdout);
    for odd in ["wide.png", "grey.png", "bad.png"] {
        std::fs::remove_file(bench.path("part set/train/good").join(odd)).unwrap();
    }
    assert_eq!(bench.loupe(&args).code, 0);
    let ran = bench.loupe(&["eval", "part set", "--taught", "part.loupe", "--out", "e.json"]);
    let escapes = ran.stdout.lines().find(|l| l.contains("escapes")).unwrap();
    assert!(ran.code == 0 && escapes.contains("0 / 8"), "{}", ran.stdout);

    // A picture of another shape than any that was taught says nothing.
    let test = bench.path("part set/test/good/00.png");
    let wide = image::open(&test).unwrap().resize_exact(320, 90, image::imageops::FilterType::Triangle);
    wide.save(&test).unwrap();
    bench.write(
        "spec.toml",
        "schema = \"loupe.spec/1\"\nsku = \"p\"\nmetal = \"yellow_gold\"\nfinish = \"brushed\"\n[[view]]\nname = \"top\"\n[[limit]]\ncharacteristic = \"anomaly.score\"\nupper = 1.0\n",
    );
    let args = [
        "inspect",
        "part set/test/good/00.png",
        "--spec",
        "spec.toml",
        "--taught",
        "part.loupe",
        "--out",
        "o",
        "--no-overlay",
    ];
    let ran = bench.loupe(&args);
    assert!(ran.code == 1 && ran.stdout.contains("times as wide as high"), "{}{}", ran.stdout, ran.stderr);
}

/// Any tensor of any ONNX network can be a layer: here inner ones of the surface model.
#[test]
fn another_backbone_and_its_inner_tensors() {
    let bench = Bench::new();
    for k in 0..10 {
        picture(&bench.path(&format!("lab/good/{k:02}.png")), k, false);
    }
    picture(&bench.path("lab/scratch/0.png"), 50, true);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/surface.onnx");
    let model = model.to_str().unwrap();
    let with = |layer: &str| {
        let own = ["--backbone", model, "--layers", layer, "--side", "96"];
        bench.loupe(&[&["teach", "lab/good", "--out", "own.loupe"][..], &own[..]].concat())
    };
    let ran = with("probs");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // Used without naming it again, the backbone at hand is another.
    let ran = bench.loupe(&["eval", "lab", "--kind", "folders", "--taught", "own.loupe", "--out", "x.json"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("own.loupe") && !ran.stderr.contains("damaged"), "{}", ran.stderr);
    let ran = with("no_such_tensor");
    assert!(ran.code == 2 && ran.stderr.contains("has no tensor `no_such_tensor`"), "{}", ran.stderr);
}
