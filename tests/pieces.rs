//! The shipped demo pieces through the binary: what they are known to have is found, and the good ones are left alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use loupe::report::{FindingType, Report, Status, Verdict};

const SURFACE: [FindingType; 7] = [
    FindingType::Porosity,
    FindingType::Pit,
    FindingType::Scratch,
    FindingType::Stain,
    FindingType::WornPlating,
    FindingType::IncompleteFill,
    FindingType::Anomaly,
];

fn reports(more: &[&str]) -> Vec<(serde_json::Value, Report)> {
    let out = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    let run = Command::new(env!("CARGO_BIN_EXE_loupe"))
        .args(["inspect", "--no-overlay", "--out"])
        .arg(out.path())
        .args(more)
        .arg(&demo)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    let mut folders: Vec<_> = std::fs::read_dir(&demo).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("truth.json").exists());
    folders.sort();
    assert!(folders.len() >= 10);
    folders
        .iter()
        .map(|f| {
            let read = |p: &Path| std::fs::read_to_string(p).unwrap();
            let truth = serde_json::from_str(&read(&f.join("truth.json"))).unwrap();
            let report = out.path().join(f.file_name().unwrap()).join("report.json");
            (truth, serde_json::from_str(&read(&report)).unwrap())
        })
        .collect()
}

fn check(reports: &[(serde_json::Value, Report)]) {
    for (truth, report) in reports {
        let id = &report.piece_id;
        let types: Vec<FindingType> = truth["defects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| FindingType::parse(d["type"].as_str().unwrap()).unwrap())
            .collect();
        let bad = |k: &FindingType| SURFACE.contains(k) || *k == FindingType::MissingStone;
        let called: Vec<_> = report.findings.iter().filter(|f| f.status >= Status::Review && bad(&f.kind)).collect();
        if types.iter().any(bad) {
            assert_eq!(report.verdict, Verdict::Fail, "{id}: {:?}", report.reasons);
            for defect in truth["defects"].as_array().unwrap() {
                let at = |k: &str| defect[k].as_f64().unwrap();
                let reach = at("radius_px").max(5.0);
                assert!(
                    called.iter().any(|f| (f.x_px - at("x_px")).hypot(f.y_px - at("y_px")) < reach + f.radius_px),
                    "{id}: {} at {}, {} not found",
                    defect["type"],
                    at("x_px"),
                    at("y_px")
                );
            }
        } else {
            assert!(called.is_empty(), "{id}: {called:?}");
            // A loose stone may fail its piece; a sound piece nothing may.
            // A ring that is out of round has no defect with a place: its truth is the verdict.
            if truth["verdict"] == "fail" && types.is_empty() {
                assert_eq!(report.verdict, Verdict::Fail, "{id}: {:?}", report.reasons);
            } else if types.is_empty() {
                assert_ne!(report.verdict, Verdict::Fail, "{id}: {:?}", report.reasons);
            } else {
                assert_ne!(report.verdict, Verdict::Pass, "{id}: {:?}", report.reasons);
            }
        }
        // Bursts are shaken, so only their turn stays that of the truth.
        if let (Some(pose), Some(found)) = (truth["pose"].as_object(), &report.frames[0].pose) {
            let off = |k: &str, v: f64| (pose[k].as_f64().unwrap() - v).abs();
            assert!(off("rotation_deg", found.rotation_deg) < 0.08, "{id}: {found:?}");
            if report.frames.len() == 1 {
                assert!(off("dx_mm", found.dx_mm) < 0.012 && off("dy_mm", found.dy_mm) < 0.006, "{id}: {found:?}");
            }
        }
    }
}

#[test]
fn classic_vision_finds_what_is_there_and_nothing_else() {
    check(&reports(&["--no-model"]));
}

#[test]
fn the_model_changes_no_verdict_on_the_demo_pieces() {
    let with = reports(&[]);
    check(&with);
    for (id, r) in &with {
        let names: Vec<&str> = r.provenance.models.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            ["surface", "stones-int8", "girdles-int8", "fancies-int8", "prongs-int8", "finish"],
            "{id}"
        );
    }
}

#[test]
fn metal_to_the_rim_is_bare_metal_and_what_lies_between_it_and_the_edge() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/band-001");
    let (spec, _) = loupe::spec::Spec::read(&folder.join("spec.toml")).unwrap();
    let picture = image::open(folder.join("top.png")).unwrap().to_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let frame = loupe::vision::Image { width, height, data: picture.into_raw(), grey: false };
    let view = &spec.views[0];
    let located = loupe::locate::locate(&frame, view, Some(12.0)).unwrap();
    let bare = loupe::locate::bare_metal(view, &located, &frame).unwrap();
    let all = loupe::locate::metal_to_the_rim(view, &located, &frame).unwrap();
    assert!(bare.data.iter().zip(&all.data).all(|(b, a)| *b == 0 || *a != 0));
    // The shank's edge runs from left to right: above the bare metal lies more of it, to a blur's width of the edge.
    let column = width / 8;
    let top = |m: &loupe::vision::Mask| (0..height).find(|y| m.at(column, *y)).unwrap() as f64;
    let near = |p: &&[f64; 2]| (p[0] - column as f64).abs() < 6.0;
    let edge = located.outline_px.iter().flatten().filter(near).map(|p| p[1]).fold(f64::INFINITY, f64::min);
    assert!(top(&all) < top(&bare) && top(&all) - edge < 8.0, "{} {} {edge}", top(&all), top(&bare));
    // No stone is taken for metal.
    for s in &view.stones {
        let [x, y] = located.pose.to_px(s.x_mm, s.y_mm);
        assert!(!all.at(x as usize, y as usize), "{}", s.id);
    }
}
