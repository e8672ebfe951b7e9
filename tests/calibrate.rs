//! Calibrations from rendered targets: scale, distortion and residuals are what was rendered, and frames are measured by them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Bench;
use loupe::calibrate::{Calibration, Distortion};
use loupe::report::Report;
use loupe::vision::{ops, Plane};

const W: usize = 900;
const H: usize = 700;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Chessboard,
    Circles,
    Lines,
    /// Discs that nearly touch.
    Close,
    /// Lines as wide as what is between them; a ruler whose every fifth line is longer.
    Ronchi,
    Ruler,
    /// A ring of this inner and outer diameter in mm.
    Ring(f64, f64),
}

/// A target seen by a lens.
#[derive(Debug, Clone, Copy)]
struct Shot {
    kind: Kind,
    um_per_px: f64,
    turn: f64,
    shift_mm: [f64; 2],
    /// Perspective: by how much nearer the target is per mm to the right and down.
    nearer: [f64; 2],
    lens: Distortion,
    /// A lens that is no polynomial: what is seen at r lies at r (1 + this r^2), r in half diagonals; 0 for `lens`.
    division: f64,
    gamma: f64,
    seed: u64,
}

fn lens() -> Distortion {
    Distortion { k1: -0.03, k2: 0.006, p1: 0.0006, p2: -0.0004, ..Distortion::none(W, H) }
}

fn shot(kind: Kind, seed: u64) -> Shot {
    let turn = 0.06 * seed as f64 - 0.05;
    let shift_mm = [0.13 * seed as f64 - 0.2, 0.21 - 0.1 * seed as f64];
    Shot { kind, um_per_px: 20.0, turn, shift_mm, nearer: [0.0; 2], lens: lens(), division: 0.0, gamma: 1.0, seed }
}

/// Light at a place of the target in mm, 0 to 1.
fn light(kind: Kind, x: f64, y: f64) -> f64 {
    let edge = |inside: bool| if inside { 0.06 } else { 0.8 };
    match kind {
        // 17 x 13 squares of 1 mm, with a white rim.
        Kind::Chessboard => {
            let (i, j) = ((x + 8.5).floor(), (y + 6.5).floor());
            edge((0.0..17.0).contains(&i) && (0.0..13.0).contains(&j) && (i + j) % 2.0 == 0.0)
        }
        Kind::Circles => {
            let (i, j) = (x.round(), y.round());
            edge(i.abs() <= 7.0 && j.abs() <= 5.0 && (x - i).hypot(y - j) < 0.3)
        }
        Kind::Close => {
            let (i, j) = (x.round(), y.round());
            edge(i.abs() <= 7.0 && j.abs() <= 5.0 && (x - i).hypot(y - j) < 0.43)
        }
        Kind::Lines => edge((x - x.round()).abs() < 0.08 && y.abs() < 4.0 && x.round().abs() <= 8.0),
        Kind::Ronchi => edge((x - x.round()).abs() < 0.25 && y.abs() < 4.0 && x.round().abs() <= 8.0),
        Kind::Ruler => {
            let long = x.round() as i64 % 5 == 0;
            edge(
                (x - x.round()).abs() < 0.08
                    && (-4.0..if long { 4.0 } else { 0.0 }).contains(&y)
                    && x.round().abs() <= 10.0,
            )
        }
        Kind::Ring(inner, outer) => edge((inner..outer).contains(&(2.0 * x.hypot(y)))),
    }
}

fn render(s: &Shot) -> Vec<u8> {
    // Places of the straight picture on a grid of 8 pixels, between which the lens bends by less than a hundredth of a pixel.
    const STEP: usize = 8;
    let (gw, gh) = (W / STEP + 3, H / STEP + 3);
    let straight: Vec<[f64; 2]> = (0..gw * gh)
        .map(|i| {
            let p = [((i % gw) as f64 - 1.0) * STEP as f64, ((i / gw) as f64 - 1.0) * STEP as f64];
            if s.division == 0.0 {
                return s.lens.straighten(p);
            }
            let c = s.lens.centre_px;
            let r2 = (p[0] - c[0]).hypot(p[1] - c[1]).powi(2) / s.lens.norm_px.powi(2);
            [0, 1].map(|k| c[k] + (p[k] - c[k]) * (1.0 + s.division * r2))
        })
        .collect();
    let at = |x: f64, y: f64| {
        let (u, v) = (x / STEP as f64 + 1.0, y / STEP as f64 + 1.0);
        let (i, j) = (u as usize, v as usize);
        let (f, g) = (u - i as f64, v - j as f64);
        let p = |a: usize, b: usize| straight[b * gw + a];
        [0, 1].map(|c| {
            let top = p(i, j)[c] * (1.0 - f) + p(i + 1, j)[c] * f;
            let low = p(i, j + 1)[c] * (1.0 - f) + p(i + 1, j + 1)[c] * f;
            top * (1.0 - g) + low * g
        })
    };
    let mut plane = Plane::filled(W, H, 0.0);
    const S: usize = 16;
    let (sin, cos) = s.turn.sin_cos();
    let k = s.um_per_px / 1000.0;
    for (i, v) in plane.data.iter_mut().enumerate() {
        let mut sum = 0.0;
        for n in 0..S {
            // Sixteen places, no two in a row or a column: edges along the pixels are no worse off than others.
            let sub = |q: usize| (q as f64 + 0.5) / S as f64 - 0.5;
            let rook = (n as u8).reverse_bits() >> 4;
            let p = at((i % W) as f64 + sub(n), (i / W) as f64 + sub(usize::from(rook)));
            // Straight pixels about the middle of the frame, in mm as if the target were level.
            let (a, b) = (k * (p[0] - s.lens.centre_px[0]), k * (p[1] - s.lens.centre_px[1]));
            // Seen at a / (1 + nearer . X) where the target's place is X: solved for X.
            let w = 1.0 - s.nearer[0] * a - s.nearer[1] * b;
            let (a, b) = (a / w - s.shift_mm[0], b / w - s.shift_mm[1]);
            sum += light(s.kind, cos * a + sin * b, cos * b - sin * a);
        }
        *v = (sum / S as f64) as f32;
    }
    let plane = ops::gaussian(&plane, 1.1).unwrap();
    let mut rng = fastrand::Rng::with_seed(s.seed);
    let grey: Vec<u8> = plane
        .data
        .iter()
        .enumerate()
        .map(|(i, v)| {
            // A light that falls off to the left, and noise.
            let v = f64::from(*v) * (0.75 + 0.25 * (i % W) as f64 / W as f64) + 0.02 * (rng.f64() - 0.5);
            (255.0 * v.clamp(0.0, 1.0).powf(1.0 / s.gamma)).round() as u8
        })
        .collect();
    common::png(&image::GrayImage::from_raw(W as u32, H as u32, grey).unwrap())
}

/// Calibrates by the binary.
fn calibrated(bench: &Bench, shots: &[Shot], more: &[&str]) -> Calibration {
    let names: Vec<String> = (0..shots.len()).map(|k| format!("t{k}.png")).collect();
    for (name, s) in names.iter().zip(shots) {
        bench.write(name, render(s));
    }
    let mut args: Vec<&str> = vec!["calibrate"];
    args.extend(names.iter().map(String::as_str));
    args.extend(["--square-mm", "1", "--out", "station.cal.json"]);
    args.extend(more);
    let ran = bench.loupe(&args);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    println!("{}", ran.stdout);
    assert!(image::open(bench.path("station.cal.residuals.png")).is_ok());
    loupe::json::read(&bench.path("station.cal.json")).unwrap().0
}

fn check(c: &Calibration, um_per_px: f64) {
    let off = c.um_per_px / um_per_px - 1.0;
    println!(
        "um/px off by {:+.5} %, u {:.5} %, residual {} px",
        100.0 * off,
        100.0 * c.um_per_px_u / um_per_px,
        c.residual_rms_px
    );
    assert!(off.abs() <= 0.0005, "{off}");
    assert!(off.abs() <= 3.0 * c.um_per_px_u / um_per_px, "{off} {:?}", c.budget);
    assert!(c.residual_rms_px <= 0.1, "{}", c.residual_rms_px);
}

fn same_lens(c: &Calibration) {
    let d = c.distortion.unwrap();
    for p in [[20.0, 20.0], [880.0, 30.0], [450.0, 680.0], [10.0, 350.0]] {
        let (a, b) = (d.distort(p), lens().distort(p));
        // Both are seen from the middle, where the pose takes up what they have in common.
        assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 0.5, "{p:?}: {a:?} {b:?}");
    }
}

#[test]
fn a_chessboard_gives_scale_and_distortion() {
    let bench = Bench::new();
    let shots: Vec<Shot> = (0..3).map(|k| shot(Kind::Chessboard, k)).collect();
    let c = calibrated(
        &bench,
        &shots,
        &["--target", "chessboard", "--cols", "16", "--rows", "12", "--square-u-mm", "0.0002"],
    );
    check(&c, 20.0);
    same_lens(&c);
    assert!(c.images.iter().all(|i| i.points >= 180), "{:?}", c.images);
    let target = c.budget.iter().find(|b| b.name == "target").unwrap();
    assert!((target.um_per_px_u - 0.004).abs() < 1e-4);
    assert!(c.um_per_px_u >= target.um_per_px_u && c.budget.iter().any(|b| b.name == "repeatability"));
    // The same pictures give the same bytes.
    let first = std::fs::read(bench.path("station.cal.json")).unwrap();
    calibrated(
        &bench,
        &shots,
        &["--target", "chessboard", "--cols", "16", "--rows", "12", "--square-u-mm", "0.0002"],
    );
    assert_eq!(first, std::fs::read(bench.path("station.cal.json")).unwrap());
    // Another board than was said is refused, with the picture's name.
    let ran = bench.loupe(&[
        "calibrate",
        "t0.png",
        "--target",
        "chessboard",
        "--square-mm",
        "1",
        "--cols",
        "9",
        "--rows",
        "9",
        "--out",
        "x.json",
    ]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("t0.png") && ran.stderr.contains("not 9 x 9"), "{}", ran.stderr);
}

/// A lens that bends by five to twenty percent and is no polynomial: the scale stays true, and where terms are missing its uncertainty says so.
#[test]
fn a_lens_that_bends_much_says_what_its_terms_leave() {
    for (division, asks) in [(0.05, false), (-0.08, false), (0.2, true)] {
        let bench = Bench::new();
        let shots = [Shot { division, ..shot(Kind::Circles, 1) }];
        let c = calibrated(&bench, &shots, &["--target", "circles"]);
        check(&c, 20.0);
        let further = c.distortion.unwrap().k3 != 0.0 && c.budget.iter().any(|b| b.name == "distortion");
        assert!(further || !asks, "{:?}", c.budget);
    }
}

/// What is fitted to a third of the frame goes on beyond it, and nobody knows how well.
#[test]
fn a_target_over_a_part_of_the_frame_tells_little_of_the_lens() {
    let bench = Bench::new();
    let of =
        |c: &Calibration| c.budget.iter().find(|b| b.name == "lens").map_or(0.0, |b| b.um_per_px_u / c.um_per_px);
    let board = &["--target", "chessboard"];
    let whole = calibrated(&bench, &[shot(Kind::Chessboard, 1)], board);
    let part = calibrated(&bench, &[Shot { um_per_px: 55.0, ..shot(Kind::Chessboard, 1) }], board);
    assert!(of(&whole) < 0.0005, "{:?}", whole.budget);
    assert!(of(&part) > 0.001 && (part.um_per_px / 55.0 - 1.0).abs() < 0.002, "{:?}", part.budget);
}

#[test]
fn a_picture_that_is_given_twice_counts_once() {
    let bench = Bench::new();
    let shots = [shot(Kind::Circles, 0)];
    let once = calibrated(&bench, &shots, &["--target", "circles"]);
    std::fs::copy(bench.path("t0.png"), bench.path("again.png")).unwrap();
    let args =
        ["calibrate", "t0.png", "again.png", "--target", "circles", "--square-mm", "1", "--out", "two.cal.json"];
    let ran = bench.loupe(&args);
    assert!(ran.code == 0 && ran.stderr.contains("again.png: is the same picture as t0.png"), "{}", ran.stderr);
    let twice: Calibration = loupe::json::read(&bench.path("two.cal.json")).unwrap().0;
    assert_eq!((twice.images.len(), twice.um_per_px_u), (1, once.um_per_px_u));
}

/// Between two zooms nothing can be measured; the scatter of one is that of a piece's frame too.
#[test]
fn pictures_of_two_zooms_are_refused() {
    let bench = Bench::new();
    let at = |seed: u64, um_per_px: f64| Shot { um_per_px, ..shot(Kind::Circles, seed) };
    let c = calibrated(&bench, &[at(0, 20.0), at(1, 20.01), at(2, 19.99)], &["--target", "circles"]);
    assert!((0.009..0.015).contains(&c.um_per_px_u), "{}", c.um_per_px_u);
    bench.write("zoom.png", render(&at(3, 20.5)));
    let args =
        ["calibrate", "t0.png", "zoom.png", "--target", "circles", "--square-mm", "1", "--out", "two.cal.json"];
    let ran = bench.loupe(&args);
    assert!(ran.code == 2 && ran.stderr.contains("zoom.png") && ran.stderr.contains("one zoom"), "{}", ran.stderr);
    assert!(!bench.path("two.cal.json").exists());
}

#[test]
fn circles_and_lines_give_the_scale() {
    let bench = Bench::new();
    let shots: Vec<Shot> = (0..2).map(|k| Shot { gamma: 2.2, ..shot(Kind::Circles, k) }).collect();
    let c = calibrated(&bench, &shots, &["--target", "circles"]);
    check(&c, 20.0);
    same_lens(&c);
    // The blur of the next disc is no ground, and at the board's border it is on one side.
    let shots: Vec<Shot> = (0..2).map(|k| shot(Kind::Close, k)).collect();
    let c = calibrated(&bench, &shots, &["--target", "circles"]);
    assert!((c.um_per_px / 20.0 - 1.0).abs() < 1e-4 && c.residual_rms_px < 0.05, "{c:?}");
    let straight = Distortion::none(W, H);
    let shots: Vec<Shot> = (0..2).map(|k| Shot { lens: straight, ..shot(Kind::Lines, k) }).collect();
    let c = calibrated(&bench, &shots, &["--target", "scale-bar"]);
    check(&c, 20.0);
    assert_eq!(c.distortion, None);
    // Neither wide lines nor longer ones among them mislead; what is no ruling is refused.
    for kind in [Kind::Ronchi, Kind::Ruler] {
        let shots: Vec<Shot> = (0..2).map(|k| Shot { lens: straight, ..shot(kind, k) }).collect();
        check(&calibrated(&bench, &shots, &["--target", "scale-bar"]), 20.0);
    }
    // Blank margins whose light is uneven and whose noise crosses half way are no finer ruling: without a finer pitch, or a refusal.
    for seed in 0..6u64 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let picture = image::GrayImage::from_fn(900, 600, |x, y| {
            let on = (180..420).contains(&y) && x % 60 < 6 && (60..840).contains(&x);
            let light = 0.75 + 0.35 * (f64::from(x) / 900.0 - 0.5);
            let noise = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            image::Luma([(255.0 * light * if on { 0.2 } else { 0.85 } + 4.0 * noise) as u8])
        });
        bench.write("blank.png", common::png(&picture));
        let ran = bench.loupe(&[
            "calibrate",
            "blank.png",
            "--target",
            "scale-bar",
            "--square-mm",
            "1",
            "--out",
            "b.cal.json",
        ]);
        let read = || serde_json::from_slice(&std::fs::read(bench.path("b.cal.json")).unwrap()).unwrap();
        let c: Calibration = if ran.code == 0 { read() } else { continue };
        let off = c.um_per_px / (1000.0 / 60.0) - 1.0;
        assert!(
            off.abs() < 1e-3 && c.budget.iter().any(|b| b.name == "tilt" && b.um_per_px_u > 0.0),
            "{seed}: {off} {:?}",
            c.budget
        );
    }
    // A lens that distorts is not told from a ruling, but seen, and the scale is that much less sure.
    for k1 in [-0.003, 0.003] {
        let lens = Distortion { k1, ..straight };
        let c = calibrated(&bench, &[Shot { lens, ..shot(Kind::Lines, 0) }], &["--target", "scale-bar"]);
        let off = c.um_per_px / 20.0 - 1.0;
        println!("um/px off by {:+.4} %, u {:.4} %", 100.0 * off, 100.0 * c.um_per_px_u / 20.0);
        assert!(off.abs() > 1e-4 && off.abs() <= 2.0 * c.um_per_px_u / 20.0, "{off} {:?}", c.budget);
    }
    // Dots lie in lines too, along their diagonals most of all.
    for kind in [Kind::Chessboard, Kind::Circles, Kind::Close] {
        bench.write("board.png", render(&Shot { lens: straight, ..shot(kind, 0) }));
        let ran =
            bench.loupe(&["calibrate", "board.png", "--target", "scale-bar", "--square-mm", "1", "--out", "x.json"]);
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        let told = ran.stderr.contains("ruling") || ran.stderr.contains("0 points of a scale_bar");
        assert!(ran.stderr.contains("board.png") && told, "{}", ran.stderr);
    }
}

#[test]
fn options_that_say_nothing_of_the_target_are_refused() {
    let bench = Bench::new();
    for (more, word) in [
        (&["--target", "scale-bar", "--cols", "4", "--rows", "3"][..], "--cols and --rows"),
        (&["--target", "scale-bar", "--lens", "telecentric"], "--lens"),
        (&["--target", "circles", "--square-u-mm", "1.5"], "--square-u-mm 1.5"),
    ] {
        let ran = bench.loupe(&[&["calibrate", "x.png", "--square-mm", "1", "--out", "x.json"], more].concat());
        assert!(ran.code == 2 && ran.stderr.contains(word), "{}", ran.stderr);
    }
}

#[test]
fn a_tilted_target_is_seen_to_be_tilted() {
    let bench = Bench::new();
    let shots: Vec<Shot> =
        (1..4).map(|k| Shot { nearer: [0.004, -0.002], shift_mm: [0.0; 2], ..shot(Kind::Chessboard, k) }).collect();
    let c = calibrated(&bench, &shots, &["--target", "chessboard"]);
    check(&c, 20.0);
    assert_eq!(c.lens, loupe::calibrate::LensModel::Perspective);
    // Nine mm to the side at 0.4 % a mm.
    assert!(c.tilt_pct > 3.0, "{}", c.tilt_pct);
    assert!(c.um_per_px_u > 0.01 * c.um_per_px, "{}", c.um_per_px_u);
}

const SPEC: &str = r#"schema = "loupe.spec/1"
sku = "ring-10"
metal = "silver"
finish = "polished"

[[view]]
name = "backlit"

[[limit]]
characteristic = "ring.inner_diameter_mm"
lower = 9.9
upper = 10.1
"#;

#[test]
fn frames_are_measured_by_their_calibration_or_refused() {
    let bench = Bench::new();
    let shots: Vec<Shot> = (0..2).map(|k| shot(Kind::Chessboard, k)).collect();
    let c = calibrated(&bench, &shots, &["--target", "chessboard", "--camera-serial", "cam-7"]);
    let text = std::fs::read_to_string(bench.path("station.cal.json")).unwrap();
    let ring = render(&Shot { shift_mm: [2.2, -0.6], ..shot(Kind::Ring(10.0, 12.0), 9) });
    let piece = |id: &str, serial: &str, more: &str, picture: &[u8]| {
        let manifest = format!(
            r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"spec.toml","frames":[{{"file":"b.png","view":"backlit","light":"backlight","calibration":"station.cal.json","camera_serial":"{serial}"{more}}}]}}"#
        );
        bench.write(&format!("in/{id}/piece.json"), manifest);
        bench.write(&format!("in/{id}/spec.toml"), SPEC);
        bench.write(&format!("in/{id}/station.cal.json"), &text);
        bench.write(&format!("in/{id}/b.png"), picture);
    };
    let small = common::png(&image::GrayImage::from_pixel(500, 400, image::Luma([200])));
    piece("good", "cam-7", "", &ring);
    piece("camera", "cam-8", "", &ring);
    piece("size", "cam-7", "", &small);
    piece("scale", "cam-7", r#","um_per_px":21.0"#, &ring);
    piece("gone", "cam-7", "", &ring);
    std::fs::remove_file(bench.path("in/gone/station.cal.json")).unwrap();
    let ran = bench.loupe(&["inspect", "in", "--out", "out", "--no-model"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    println!("{}", ran.stderr);
    let report = |id: &str| -> Report {
        let text = std::fs::read_to_string(bench.path(&format!("out/{id}/report.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let good = report("good");
    let d = good.measurements.iter().find(|m| m.characteristic == "ring.inner_diameter_mm").unwrap();
    println!("ring of 10 mm through a bent lens: {} +- {}", d.value, d.uncertainty);
    assert!((d.value - 10.0).abs() < 0.005, "{d:?}");
    let used = good.frames[0].calibration.as_ref().unwrap();
    assert!(used.straightened && used.um_per_px == c.um_per_px);
    for (id, why) in [
        ("camera", "is for the camera cam-7, and the frame is of cam-8"),
        ("size", "is for frames of 900 x 700 pixels, and this one has 500 x 400"),
        ("scale", "the frame's um_per_px says 21"),
        ("gone", "station.cal.json: cannot read"),
    ] {
        let error = report(id).frames[0].error.clone().unwrap_or_default();
        assert!(error.contains(why) && error.contains("frames[0].calibration"), "{id}: {error}");
        assert!(ran.stderr.contains(why), "{id}: {}", ran.stderr);
    }
}

#[test]
fn what_is_no_target_is_refused() {
    let bench = Bench::new();
    bench.write("grey.png", common::png(&image::GrayImage::from_pixel(300, 200, image::Luma([120]))));
    for target in ["chessboard", "circles", "scale-bar"] {
        let ran =
            bench.loupe(&["calibrate", "grey.png", "--target", target, "--square-mm", "1", "--out", "x.cal.json"]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("grey.png: only 0 points"), "{}", ran.stderr);
        assert!(!bench.path("x.cal.json").exists());
    }
    let ran =
        bench.loupe(&["calibrate", "grey.png", "--target", "chessboard", "--square-mm", "0", "--out", "x.cal.json"]);
    assert_eq!(ran.code, 2);
}
