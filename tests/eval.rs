//! `loupe eval` through the binary, on a tiny set of every layout.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};

/// Runs without a model: the figures' plumbing is what is tested here.
fn eval(set: &Path, out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loupe"))
        .arg("eval")
        .arg(set)
        .arg("--out")
        .arg(out)
        .arg("--no-model")
        .args(more)
        .output()
        .unwrap()
}

fn figures(out: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap()
}

/// Grey metal with a little grain; a bad one with a dark pit at (40, 30).
fn picture(path: &Path, bad: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let img = RgbImage::from_fn(96, 72, |x, y| {
        let grain = ((x * 7 + y * 13) % 5) as u8;
        let pit = bad && (x as i32 - 40).pow(2) + (y as i32 - 30).pow(2) <= 25;
        let v = if pit { 30 } else { 180 + grain };
        Rgb([v, v, v])
    });
    img.save(path).unwrap();
}

fn mask(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let img = image::GrayImage::from_fn(96, 72, |x, y| {
        image::Luma([if (x as i32 - 40).pow(2) + (y as i32 - 30).pow(2) <= 25 { 255 } else { 0 }])
    });
    img.save(path).unwrap();
}

struct Set {
    dir: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        Set { dir: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("set")
    }

    fn at(&self, p: &str) -> PathBuf {
        self.root().join(p)
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out.json")
    }

    fn write(&self, p: &str, text: &str) {
        let path = self.at(p);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn check(set: &Set, kind: &str, samples: u64, defective: u64) -> serde_json::Value {
    let o = eval(&set.root(), &set.out(), &[]);
    let err = String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(0), "{err}");
    let f = figures(&set.out());
    assert_eq!(f["schema"], "loupe.eval/1");
    assert_eq!(f["set"]["kind"], kind);
    assert_eq!(f["set"]["name"], "set");
    assert_eq!((f["set"]["samples"].as_u64(), f["set"]["defective"].as_u64()), (Some(samples), Some(defective)));
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(text.contains("escapes") && text.contains("overkill"), "{text}");
    // Pieces have no score to rank them by: where all are right there is nothing to look at.
    assert!(kind == "pieces" || set.dir.path().join("out.sheet.png").is_file(), "no contact sheet");
    f
}

fn mvtec() -> Set {
    let set = Set::new();
    picture(&set.at("train/good/0.png"), false);
    picture(&set.at("test/good/0.png"), false);
    picture(&set.at("test/pit/0.png"), true);
    picture(&set.at("test/pit/1.png"), true);
    mask(&set.at("ground_truth/pit/0_mask.png"));
    mask(&set.at("ground_truth/pit/1_mask.png"));
    set
}

#[test]
fn mvtec_layout() {
    let f = check(&mvtec(), "mvtec", 3, 2);
    assert_eq!(f["pixels_of_findings"]["images"], 3);
    let c = &f["pixels_of_findings"]["counts"];
    let all: u64 = ["tp", "fp", "fn", "tn"].iter().map(|k| c[*k].as_u64().unwrap()).sum();
    assert_eq!(all, 3 * 96 * 72);
    assert_eq!(c["tp"].as_u64().unwrap() + c["fn"].as_u64().unwrap(), 2 * 81);
}

#[test]
fn coco_layout() {
    let set = Set::new();
    picture(&set.at("images/a.png"), true);
    picture(&set.at("images/b.png"), false);
    set.write(
        "annotations.json",
        r#"{"images":[{"id":1,"file_name":"a.png"},{"id":2,"file_name":"b.png"}],
            "categories":[{"id":1,"name":"pit"}],
            "annotations":[{"image_id":1,"category_id":1,"segmentation":[[35,25,45,25,45,35,35,35]]}]}"#,
    );
    let f = check(&set, "coco", 2, 1);
    assert_eq!(f["types"]["pit"]["there"], 1);
    assert_eq!(f["polygons"]["hit"]["of"], 1);
}

#[test]
fn labels_layout() {
    let set = Set::new();
    for (name, bad) in [("a.png", true), ("b.png", false), ("c.png", false)] {
        picture(&set.at("images").join(name), bad);
    }
    set.write(
        "labels.json",
        r#"{"labels":{"a.png":{"size":[96,72],"pitting":[[[35,25],[45,25],[45,35],[35,35]]]},
             "b.png":{"size":[96,72],"pitting":[]},"c.png":{"size":[96,72],"pitting":[]}},
            "split":{"train":["c.png"],"test":["a.png","b.png"]}}"#,
    );
    let f = check(&set, "coco", 2, 1);
    assert_eq!(f["types"]["pit"]["there"], 1, "pitting is pits");
}

#[test]
fn masks_layout() {
    let set = Set::new();
    std::fs::create_dir_all(set.at("free")).unwrap();
    for (p, bad) in [("free/a.jpg", false), ("pit/b.jpg", true)] {
        picture(&set.at(p), bad);
    }
    mask(&set.at("pit/b.png"));
    let f = check(&set, "masks", 2, 1);
    assert_eq!(f["classes"]["pit"]["defective"], 1);
    // A mask without a pixel: the class counts, the pixels do not.
    picture(&set.at("pit/c.jpg"), true);
    image::GrayImage::new(96, 72).save(set.at("pit/c.png")).unwrap();
    let o = eval(&set.root(), &set.out(), &[]);
    assert_eq!(o.status.code(), Some(0));
    let f = figures(&set.out());
    assert_eq!((f["classes"]["pit"]["defective"].as_u64(), &f["unmarked"][0]), (Some(2), &"pit/c.jpg".into()));
    assert!(String::from_utf8_lossy(&o.stderr).contains("warning: pit/c.jpg"));
}

#[test]
fn folders_layout() {
    let set = Set::new();
    picture(&set.at("test_ok/a.png"), false);
    picture(&set.at("test_defect/b.png"), true);
    picture(&set.at("train_ok/c.png"), false);
    let f = check(&set, "folders", 2, 1);
    assert!(f["pixels_of_findings"].is_null());
}

#[test]
fn pieces_layout_and_a_broken_piece() {
    let set = Set::new();
    for (id, bad) in [("plain-1", false), ("plain-2", true), ("plain-3", false)] {
        picture(&set.at(id).join("top.png"), bad);
        let frame = r#"{"file":"top.png","view":"top","light":"dome","um_per_px":12.0}"#;
        set.write(
            &format!("{id}/piece.json"),
            &format!(r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"spec.toml","frames":[{frame}]}}"#),
        );
        set.write(
            &format!("{id}/spec.toml"),
            "schema = \"loupe.spec/1\"\nsku = \"plain\"\nmetal = \"silver\"\nfinish = \"polished\"\n\
             [[view]]\nname = \"top\"\n[[limit]]\ncharacteristic = \"pit.diameter_mm\"\nupper = 0.05\n",
        );
        let defect = r#"{"type":"pit","x_px":40,"y_px":30,"radius_px":5,"radius_mm":0.06}"#;
        let (defects, verdict) = if bad { (defect, "fail") } else { ("", "pass") };
        set.write(&format!("{id}/truth.json"), &format!(r#"{{"verdict":"{verdict}","defects":[{defects}]}}"#));
    }
    let f = check(&set, "pieces", 3, 1);
    assert_eq!(f["types"]["pit"]["there"], 1);

    std::fs::write(set.at("plain-3/top.png"), "no picture").unwrap();
    set.write("plain-1/truth.json", r#"{"defects":[]}"#);
    let o = eval(&set.root(), &set.out(), &[]);
    assert_eq!(o.status.code(), Some(2));
    let f = figures(&set.out());
    assert_eq!((f["set"]["samples"].as_u64(), f["set"]["errors"].as_u64()), (Some(1), Some(2)));
    let errors = f["errors"].to_string();
    assert!(errors.contains("plain-3/top.png") && errors.contains("verdict"), "{errors}");
    assert!(!errors.contains(&set.dir.path().display().to_string()), "a path of this machine: {errors}");
    let err = String::from_utf8_lossy(&o.stderr);
    assert!(err.contains("plain-3") && err.contains("plain-1"), "{err}");
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let set = mvtec();
    let run = |jobs: &str, name: &str| {
        let out = set.dir.path().join(name);
        let o = eval(&set.root(), &out, &["--jobs", jobs]);
        assert_eq!(o.status.code(), Some(0), "{}", String::from_utf8_lossy(&o.stderr));
        (std::fs::read(&out).unwrap(), std::fs::read(out.with_extension("sheet.png")).unwrap())
    };
    assert!(run("1", "a.json") == run("4", "b.json"));
}

#[test]
fn keys_are_sorted_and_no_path_of_the_machine_is_told() {
    let set = mvtec();
    assert_eq!(eval(&set.root(), &set.out(), &[]).status.code(), Some(0));
    let text = std::fs::read_to_string(set.out()).unwrap();
    assert!(!text.contains(&set.dir.path().display().to_string()));
    let top: Vec<&str> =
        text.lines().filter(|l| l.starts_with("  \"")).map(|l| l.trim().split(':').next().unwrap()).collect();
    assert!(top.windows(2).all(|w| w[0] < w[1]), "{top:?}");
}

#[test]
fn a_worse_run_than_the_baseline_exits_with_1() {
    let set = mvtec();
    assert_eq!(eval(&set.root(), &set.out(), &[]).status.code(), Some(0));
    let baseline = set.dir.path().join("baseline.json");
    let args = ["--baseline", baseline.to_str().unwrap()];
    std::fs::copy(set.out(), &baseline).unwrap();
    assert_eq!(eval(&set.root(), &set.out(), &args).status.code(), Some(0), "the same is not worse");

    // A bad picture called good: an escape by sleight of hand.
    for i in 0..2 {
        picture(&set.at(&format!("test/pit/{i}.png")), false);
    }
    let mut better = figures(&baseline);
    for list in ["escapes", "overkill"] {
        better[list] = serde_json::json!([]);
        better["verdicts"][list]["count"] = serde_json::json!(0);
    }
    std::fs::write(&baseline, better.to_string()).unwrap();
    let o = eval(&set.root(), &set.out(), &args);
    let err = String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(1), "{err}");
    assert!(err.contains("worse than the baseline: escapes: 2 instead of 0"), "{err}");

    let o = eval(&set.root(), &baseline, &args);
    let err = String::from_utf8_lossy(&o.stderr);
    assert!(o.status.code() == Some(2) && err.contains("it is the baseline"), "{err}");

    picture(&set.at("test/good/more.png"), false);
    assert_eq!(eval(&set.root(), &set.out(), &args).status.code(), Some(2), "another set is no baseline");
}

#[test]
fn what_is_no_set_says_what_was_looked_for() {
    let set = Set::new();
    picture(&set.at("a.png"), false);
    let o = eval(&set.root(), &set.out(), &[]);
    assert_eq!(o.status.code(), Some(2));
    let err = String::from_utf8_lossy(&o.stderr);
    assert!(err.contains("truth.json") && err.contains("ground_truth") && err.contains("COCO"), "{err}");
    let o = eval(&set.at("nowhere"), &set.out(), &[]);
    assert_eq!(o.status.code(), Some(2));
}

#[test]
fn plain_faults_of_stones_are_found_or_not() {
    let set = Set::new();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/pave-002");
    std::fs::create_dir_all(set.at("pave-002")).unwrap();
    for file in std::fs::read_dir(demo).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), set.at("pave-002").join(file.file_name())).unwrap();
    }
    // Two more faults in the truth that the picture does not show, one of them too small to count as plain.
    let path = set.at("pave-002/truth.json");
    let mut truth = figures(&path);
    let (x, y) = (truth["stones"][0]["x_px"].clone(), truth["stones"][0]["y_px"].clone());
    for (id, tilt) in [("S1", 9.0), ("S2", 5.0)] {
        let row = serde_json::json!({"type": "tilted_stone", "stone": id, "tilt_deg": tilt, "x_px": x, "y_px": y, "radius_px": 20.0});
        truth["defects"].as_array_mut().unwrap().push(row);
    }
    std::fs::write(&path, truth.to_string()).unwrap();
    let f = check(&set, "pieces", 1, 1);
    assert_eq!(f["plain_faults"]["missing stone"]["found"]["count"], 1);
    assert_eq!(f["plain_faults"]["missing stone"]["failed"]["count"], 1);
    let tilted = &f["plain_faults"]["stone tilted by 8 degrees"]["found"];
    assert_eq!((tilted["count"].as_u64(), tilted["of"].as_u64()), (Some(0), Some(1)), "{f}");
}
