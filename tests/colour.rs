//! `loupe colour` and the colour of the metal, through the program: a chart seen by a made-up camera, and plates in its light.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::Bench;
use image::{Rgb, RgbImage};
use loupe::colour::chart::PATCHES;
use loupe::colour::{xyz, yellowness_d1925, Calibration};
use loupe::report::{Status, Verdict};

/// A camera whose channels overlap, with a tone curve and a black level of its own, and noise of a grey level.
fn camera([x, y, z]: [f64; 3], light: f64, rng: &mut fastrand::Rng) -> Rgb<u8> {
    let (x, y, z) = (x / 96.4, y / 100.0, z / 82.5);
    let rgb = [0.7 * x + 0.3 * y, 0.15 * x + 0.75 * y + 0.1 * z, 0.1 * y + 0.9 * z];
    let value = |v: f64| 255.0 * (0.02 + 0.98 * (light * v).max(0.0).sqrt());
    Rgb(rgb.map(|v| (value(v) + 2.0 * (rng.f64() - 0.5)).round().clamp(0.0, 255.0) as u8))
}

/// The chart, `turn` degrees counter-clockwise.
fn chart(path: &Path, turn: f64) {
    chart_in(path, turn, 0.85, 0.0);
}

/// The same in some light, which is by a share brighter at its right end than at its left.
fn chart_in(path: &Path, turn: f64, light: f64, slant: f64) {
    let mut rng = fastrand::Rng::with_seed(3);
    let (s, c) = turn.to_radians().sin_cos();
    let img = RgbImage::from_fn(640, 560, |x, y| {
        let (dx, dy) = (f64::from(x) - 320.0, f64::from(y) - 280.0);
        let (u, v) = ((c * dx - s * dy) / 80.0 + 3.0, (s * dx + c * dy) / 80.0 + 2.0);
        let on = (0.0..6.0).contains(&u) && (0.0..4.0).contains(&v);
        let patch = on && (u.fract() - 0.5).abs() < 0.4 && (v.fract() - 0.5).abs() < 0.4;
        let lab = match (on, patch) {
            (true, true) => PATCHES[6 * v as usize + u as usize].1,
            (true, false) => [8.0, 0.0, 0.0],
            _ => [60.0, 2.0, 6.0],
        };
        camera(xyz(lab), light * (1.0 + slant * dx / 480.0), &mut rng)
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    img.save(path).unwrap();
}

/// A plate of a colour in some light, with a highlight at its end and a shadow.
fn plate(bench: &Bench, id: &str, lab: [f64; 3], calibration: &str, limits: &str) {
    let mut rng = fastrand::Rng::with_seed(8);
    let img = RgbImage::from_fn(200, 160, |x, y| {
        let light = if x > 170 { 3.0 } else { 0.35 + 0.001 * f64::from(y) };
        let light = if y < 30 { 0.02 } else { light };
        camera(xyz(lab), light, &mut rng)
    });
    let dir = bench.path(&format!("in/{id}"));
    std::fs::create_dir_all(&dir).unwrap();
    img.save(dir.join("top.png")).unwrap();
    bench.write(
        &format!("in/{id}/piece.json"),
        format!(
            r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"spec.toml","frames":[{{"file":"top.png","view":"top","light":"dome","um_per_px":20.0{calibration}}}]}}"#
        ),
    );
    let spec = "schema = \"loupe.spec/1\"\nsku = \"plate\"\nmetal = \"white_gold\"\nfinish = \"polished\"\n";
    bench.write(&format!("in/{id}/spec.toml"), format!("{spec}{limits}"));
}

const NAMED: &str = r#","colour_calibration":"../../station.colour.json""#;

fn limits(lab: [f64; 3]) -> String {
    format!(
        "colour = {{ lab = {lab:?} }}\n[[view]]\nname = \"top\"\n[[limit]]\ncharacteristic = \"colour.delta_e00\"\nupper = 4.0\n\
         [[limit]]\ncharacteristic = \"colour.yi_d1925\"\nupper = 32.0\n"
    )
}

#[test]
fn a_chart_calibrates_and_metal_is_measured() {
    let bench = Bench::new();
    for (turn, name) in [(4.0, "up.png"), (184.0, "over.png"), (93.0, "side.png")] {
        chart(&bench.path(name), turn);
        let ran = bench.loupe(&["colour", name, "--out", "station.colour.json"]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        let (c, _): (Calibration, String) = loupe::json::read(&bench.path("station.colour.json")).unwrap();
        assert_eq!(c.patches, 24, "{name}");
        assert!(c.residual_mean_de00 < 0.6 && c.u_de00 < 1.2, "{name}: {} {}", c.residual_mean_de00, c.u_de00);
    }
    // The same by its corners.
    let first = std::fs::read(bench.path("station.colour.json")).unwrap();
    chart(&bench.path("up.png"), 0.0);
    let corners = ["--corners", "120,160", "520,160", "520,400", "120,400"];
    let args = [&["colour", "up.png", "--out", "station.colour.json"][..], &corners].concat();
    assert_eq!(bench.loupe(&args).code, 0);
    assert!(first != std::fs::read(bench.path("station.colour.json")).unwrap());

    let pale = [80.0, 1.5, 8.0];
    plate(&bench, "pale", pale, NAMED, &limits(pale));
    plate(&bench, "yellow", [80.0, 5.0, 28.0], NAMED, &limits(pale));
    plate(&bench, "unnamed", pale, "", &limits(pale));
    plate(&bench, "lost", pale, r#","colour_calibration":"gone.colour.json""#, &limits(pale));
    let ran = bench.inspect();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("frames[0].colour_calibration") && ran.stderr.contains("gone.colour.json"),
        "{}",
        ran.stderr
    );
    let value = |id: &str, c: &str| {
        let report = bench.report(id);
        let m = report.measurements.iter().find(|m| m.characteristic == c).cloned();
        m.unwrap_or_else(|| panic!("{id}: no {c}: {:?}", report.reasons))
    };
    let good = bench.report("pale");
    assert_eq!(good.verdict, Verdict::Pass, "{:?}", good.reasons);
    assert!(value("pale", "colour.delta_e00").value < 1.0);
    let yi = value("pale", "colour.yi_d1925");
    assert!((yi.value - yellowness_d1925(xyz(pale))).abs() < 2.0 * yi.uncertainty.max(0.5), "{yi:?}");
    assert!(good.provenance.models.iter().any(|m| m.name == "station.colour.json"));
    assert_eq!(bench.report("yellow").verdict, Verdict::Fail);
    assert_eq!(value("yellow", "colour.yi_d1925").status, Status::Fail);
    for (id, why) in [("unnamed", "names no colour_calibration"), ("lost", "gone.colour.json: cannot read")] {
        let report = bench.report(id);
        assert_eq!(report.verdict, Verdict::Review, "{id}");
        assert!(report.reasons.iter().any(|r| r.contains(why)), "{id}: {:?}", report.reasons);
    }
    // A golden piece's colour is the line that its spec takes.
    let ran = bench.loupe(&["colour", "--golden", "in/pale"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = ran.stdout.lines().next().unwrap();
    let golden = line.trim_start_matches("colour = { lab = [").trim_end_matches("] }");
    let golden: Vec<f64> = golden.split(", ").map(|v| v.parse().unwrap()).collect();
    // Lightness is that of the light.
    assert!((golden[1] - pale[1] * 0.75).abs() < 2.0 && (golden[2] - pale[2] * 0.75).abs() < 2.5, "{line}");
    assert!(ran.stdout.contains("grade"), "{}", ran.stdout);
}

/// A chart in light that falls off, and one of which the bright patches are clipped: the yellowness of a metal that is on no patch is known by what it says.
#[test]
fn a_chart_in_poor_light_says_so_and_covers_what_it_does() {
    for (light, slant) in [(0.7, 0.4), (1.6, 0.0)] {
        let bench = Bench::new();
        chart_in(&bench.path("chart.png"), 2.0, light, slant);
        let ran = bench.loupe(&["colour", "chart.png", "--out", "station.colour.json"]);
        assert!(ran.code == 0 && ran.stdout.contains("note: "), "{}{}", ran.stdout, ran.stderr);
        for lab in [[78.0, 1.5, 8.5], [80.0, 1.0, 12.0], [75.0, 2.0, 15.5]] {
            plate(&bench, "plate", lab, NAMED, &limits(lab));
            bench.inspect();
            let report = bench.report("plate");
            let yi = report.measurements.iter().find(|m| m.characteristic == "colour.yi_d1925").unwrap();
            let truth = yellowness_d1925(xyz(lab));
            assert!((yi.value - truth).abs() < 2.0 * yi.uncertainty, "{light} {slant} {lab:?}: {truth} {yi:?}");
        }
    }
}

#[test]
fn a_covered_patch_is_named_and_left_out() {
    let bench = Bench::new();
    chart(&bench.path("chart.png"), 2.0);
    let mut img = image::open(bench.path("chart.png")).unwrap().to_rgb8();
    // A hand over white, the first patch of the last row.
    for (x, y) in (80..160).flat_map(|x| (360..440).map(move |y| (x, y))) {
        img.put_pixel(x, y, Rgb([120, 90, 70]));
    }
    img.save(bench.path("chart.png")).unwrap();
    let ran = bench.loupe(&["colour", "chart.png", "--out", "station.colour.json"]);
    assert!(ran.code == 0 && ran.stdout.contains("note: white is left out: it is "), "{}{}", ran.stdout, ran.stderr);
    let largest = |s: &str| s.split("largest ").nth(1).and_then(|s| s.split(';').next()?.parse::<f64>().ok());
    assert!(largest(&ran.stdout).unwrap() < 3.0, "{}", ran.stdout);
}

#[test]
fn patches_that_change_places_are_no_chart() {
    let bench = Bench::new();
    chart(&bench.path("chart.png"), 0.0);
    let mut img = image::open(bench.path("chart.png")).unwrap().to_rgb8();
    for (x, y) in (160..240).flat_map(|x| (120..200).map(move |y| (x, y))) {
        let (a, b) = ([x, y], [x + 240, y + 160]);
        let (of_a, of_b) = (*img.get_pixel(a[0], a[1]), *img.get_pixel(b[0], b[1]));
        img.put_pixel(a[0], a[1], of_b);
        img.put_pixel(b[0], b[1], of_a);
    }
    img.save(bench.path("chart.png")).unwrap();
    let ran = bench.loupe(&["colour", "chart.png", "--out", "station.colour.json"]);
    assert!(ran.code == 2 && !bench.path("station.colour.json").exists(), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("chart.png") && ran.stderr.contains("another chart"), "{}", ran.stderr);
}

#[test]
fn what_is_no_chart_says_so() {
    let bench = Bench::new();
    let mut rng = fastrand::Rng::with_seed(1);
    RgbImage::from_fn(300, 200, |_, _| camera([30.0, 30.0, 25.0], 1.0, &mut rng))
        .save(bench.path("plain.png"))
        .unwrap();
    let ran = bench.loupe(&["colour", "plain.png", "--out", "a.colour.json"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("plain.png") && ran.stderr.contains("--corners"), "{}", ran.stderr);
    let corners = ["--corners", "40,40", "260,40", "260,160", "40,160"];
    let ran = bench.loupe(&[&["colour", "plain.png", "--out", "a.colour.json"][..], &corners].concat());
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(!bench.path("a.colour.json").exists());

    bench.write("station.colour.json", r#"{"schema":"loupe.colour/1"}"#);
    let pale = [80.0, 1.5, 8.0];
    plate(&bench, "broken", pale, NAMED, &limits(pale));
    plate(&bench, "bad-spec", pale, NAMED, &limits([180.0, 0.0, 0.0]));
    let ran = bench.inspect();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("colour.lab") && ran.stderr.contains("no L*a*b* of a surface"), "{}", ran.stderr);
    let reasons = bench.report("broken").reasons.join("; ");
    assert!(reasons.contains("station.colour.json: key `"), "{reasons}");
}
