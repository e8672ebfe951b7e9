//! Rings against a backlight: 200 simulated ones hold the figures that are promised, odd ones say why they are not measured, and
//! the shipped pieces come out as their truth says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::f64::consts::{PI, TAU};

use common::Bench;
use loupe::calibrate::Distortion;
use loupe::inspect::{ring::Ring, Answer, Inspect, Kept, Scene};
use loupe::locate::{self, silhouette::Bent};
use loupe::piece::Frame;
use loupe::report::{FindingType, Report, Verdict};
use loupe::spec::{Spec, View, SPEC_SCHEMA};
use loupe::vision::{self, ops, Image, Plane};
use rayon::prelude::*;

/// What stands before the light.
#[derive(Debug, Clone)]
struct Sim {
    side: usize,
    centre: [f64; 2],
    /// Inner half axes in pixels and the direction of the first.
    inner: [f64; 2],
    turn: f64,
    thickness: f64,
    blur: f64,
    /// Of the light, full scale 1.
    noise: f64,
    bright: f64,
    dark: f64,
    /// Fall-off of the light from the middle to a corner, as a share; and a slope across the frame.
    falloff: [f64; 2],
    /// Exponent of the encoding, and the departure from the straight line at half way.
    gamma: f64,
    bend: f64,
    seed: u64,
    /// Dark discs `[x, y, radius]` on the light: dust; and hairs as lines with a half width.
    dust: Vec<[f64; 3]>,
    hairs: Vec<([f64; 4], f64)>,
    /// Bright bites into the metal from inside: `[direction, half angle, depth]`.
    notch: Option<[f64; 3]>,
    /// A disc of metal on the outside (a head): `[direction, radius]`.
    head: Option<[f64; 2]>,
    /// Shift of the second rim of a tilted tube.
    rim: [f64; 2],
    /// The inner edge pressed inward on two sides that face each other: `[direction, half angle, inward by]`, as half waves.
    pinch: Option<[f64; 3]>,
    /// Lobes all round the inner edge: how many, and how far in and out.
    lobes: [f64; 2],
    /// The backlight mirrored in the bore: how wide, and which share of the light.
    glare: [f64; 2],
    /// The outside's centre from the opening's.
    off: [f64; 2],
    /// A stretch of the shank that is bent: `[direction, half angle, outward by]`, as a half wave.
    bend_out: [f64; 3],
    /// What the camera's lens does.
    lens: Option<Distortion>,
}

impl Sim {
    fn plain(seed: u64) -> Self {
        Sim {
            side: 1100,
            centre: [551.3, 548.9],
            inner: [400.4, 400.4],
            turn: 0.0,
            thickness: 70.0,
            blur: 1.2,
            noise: 0.008,
            bright: 0.75,
            dark: 0.015,
            falloff: [0.1, 0.0],
            gamma: 2.2,
            bend: 0.0,
            seed,
            dust: vec![],
            hairs: vec![],
            notch: None,
            head: None,
            rim: [0.0; 2],
            bend_out: [0.0, 1.0, 0.0],
            pinch: None,
            lobes: [0.0; 2],
            off: [0.0; 2],
            glare: [0.0; 2],
            lens: None,
        }
    }

    /// How far out the shank is bent in a direction.
    fn bent(&self, dx: f64, dy: f64) -> f64 {
        let [at, half, out] = self.bend_out;
        let off = (dy.atan2(dx) - at + 3.0 * PI) % TAU - PI;
        if off.abs() < half {
            out * (0.5 + 0.5 * (PI * off / half).cos())
        } else {
            0.0
        }
    }

    /// How far inward the inner edge is pressed in a direction.
    fn pinched(&self, dx: f64, dy: f64) -> f64 {
        let [count, deep] = self.lobes;
        let lobed = deep * (count * dy.atan2(dx)).cos();
        let Some([at, half, by]) = self.pinch else { return lobed };
        let off = (dy.atan2(dx) - at + 3.5 * PI).rem_euclid(PI) - PI / 2.0;
        if off.abs() < half {
            by * (0.5 + 0.5 * (PI * off / half).cos())
        } else {
            0.0
        }
    }

    /// Inside the opening, exactly.
    fn open(&self, x: f64, y: f64) -> bool {
        let one = |cx: f64, cy: f64| {
            let (dx, dy) = (x - cx, y - cy);
            let k = 1.0 - (self.bent(dx, dy) - self.pinched(dx, dy)) / dx.hypot(dy).max(1.0);
            let (dx, dy) = (k * dx, k * dy);
            let (s, c) = self.turn.sin_cos();
            let (u, v) = (c * dx + s * dy, c * dy - s * dx);
            (u / self.inner[0]).powi(2) + (v / self.inner[1]).powi(2) < 1.0
        };
        let [cx, cy] = self.centre;
        one(cx, cy) && (self.rim == [0.0; 2] || one(cx + self.rim[0], cy + self.rim[1]))
    }

    fn metal(&self, x: f64, y: f64) -> bool {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let r = (dx * dx + dy * dy).sqrt();
        let mean = (self.inner[0] + self.inner[1]) / 2.0;
        if let Some([at, half, depth]) = self.notch {
            let off = (dy.atan2(dx) - at + 3.0 * PI) % TAU - PI;
            if off.abs() < half && r < mean + depth {
                return false;
            }
        }
        if let Some([at, radius]) = self.head {
            let d = mean + self.thickness;
            if (dx - d * at.cos()).hypot(dy - d * at.sin()) < radius && !self.open(x, y) {
                return true;
            }
        }
        let outer = (dx - self.off[0]).hypot(dy - self.off[1]);
        if outer > mean + self.thickness + self.bent(dx, dy) {
            return self.dust.iter().any(|d| (x - d[0]).hypot(y - d[1]) < d[2]) || self.hair(x, y);
        }
        !self.open(x, y) || self.dust.iter().any(|d| (x - d[0]).hypot(y - d[1]) < d[2]) || self.hair(x, y)
    }

    fn hair(&self, x: f64, y: f64) -> bool {
        self.hairs.iter().any(|([x0, y0, x1, y1], half)| {
            let (dx, dy) = (x1 - x0, y1 - y0);
            let t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
            (x - x0 - t * dx).hypot(y - y0 - t * dy) < *half
        })
    }

    fn image(&self) -> Image {
        let n = self.side;
        let mut cover = Plane::filled(n, n, 0.0);
        let mean = (self.inner[0] + self.inner[1]) / 2.0;
        let busy = !self.dust.is_empty()
            || !self.hairs.is_empty()
            || self.notch.is_some()
            || self.head.is_some()
            || self.bend_out[2] != 0.0
            || self.pinch.is_some()
            || self.lobes[1] != 0.0
            || self.off != [0.0; 2];
        let reach =
            1.5 + self.glare[0] + (self.inner[0] - self.inner[1]).abs() / 2.0 + self.rim[0].hypot(self.rim[1]);
        const S: usize = 8;
        for (i, v) in cover.data.iter_mut().enumerate() {
            let (x, y) = ((i % n) as f64, (i / n) as f64);
            let [x, y] = self.lens.map_or([x, y], |lens| lens.straighten([x, y]));
            let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
            let r = (dx * dx + dy * dy).sqrt();
            let near = busy || (r - mean).abs() < reach || (r - mean - self.thickness).abs() < 1.5;
            // Area coverage by 8 x 8 samples a pixel where an edge may pass; where it is not plain, of 4 x 4.
            let s = if busy { S / 2 } else { S };
            *v = if near {
                let at = |k: usize| (k as f64 + 0.5) / s as f64 - 0.5;
                let shade =
                    |x: f64, y: f64| match (x - self.centre[0]).hypot(y - self.centre[1]) < mean + self.glare[0] {
                        true => 1.0 - self.glare[1],
                        false => 1.0,
                    };
                let places = (0..s * s).map(|k| (x + at(k % s), y + at(k / s)));
                let inside: f64 = places.filter(|(x, y)| self.metal(*x, *y)).map(|(x, y)| shade(x, y)).sum();
                inside as f32 / (s * s) as f32
            } else {
                f32::from(u8::from(r > mean && r < mean + self.thickness))
            };
        }
        let cover = ops::gaussian(&cover, self.blur).unwrap();
        let mut rng = fastrand::Rng::with_seed(self.seed);
        // Finer than the noise by far, and a power for every pixel would take longer than all the rest.
        let encode: Vec<u8> =
            (0..=65535).map(|v| (255.0 * (f64::from(v) / 65535.0).powf(1.0 / self.gamma)).round() as u8).collect();
        let mut data = Vec::with_capacity(3 * n * n);
        for (i, c) in cover.data.iter().enumerate() {
            let (x, y) = ((i % n) as f64 / n as f64 - 0.5, (i / n) as f64 / n as f64 - 0.5);
            let light = self.bright * (1.0 - self.falloff[0] * 2.0 * (x * x + y * y) + self.falloff[1] * x);
            let v = light + f64::from(*c) * (self.dark - light);
            // The sum of four even draws is close to normal, of variance 1/3.
            let draw = (0..4).map(|_| rng.f64()).sum::<f64>() - 2.0;
            let v = (v + self.noise * draw * 3f64.sqrt()).clamp(0.0, 1.0);
            let v = v + 4.0 * self.bend * v * (1.0 - v);
            let level = encode[(65535.0 * v.clamp(0.0, 1.0)).round() as usize];
            data.extend([level; 3]);
        }
        Image { width: n, height: n, data, grey: true }
    }

    fn png(&self) -> Vec<u8> {
        let image = self.image();
        let grey: Vec<u8> = image.data.chunks_exact(3).map(|p| p[0]).collect();
        common::png(&image::GrayImage::from_raw(image.width as u32, image.height as u32, grey).unwrap())
    }
}

fn ask(image: &Image, um_per_px: Option<f64>, u: Option<f64>) -> Answer {
    ask_of(image, um_per_px, u, None)
}

fn ask_of(image: &Image, um_per_px: Option<f64>, u: Option<f64>, gamma: Option<f64>) -> Answer {
    ask_kept(image, um_per_px, u, gamma, &Kept::default())
}

fn ask_kept(image: &Image, um_per_px: Option<f64>, u: Option<f64>, gamma: Option<f64>, kept: &Kept) -> Answer {
    let view = View { name: "backlit".into(), ..View::default() };
    let spec = Spec {
        schema: SPEC_SCHEMA.into(),
        sku: "ring".into(),
        metal: "silver".into(),
        finish: "polished".into(),
        views: vec![view.clone()],
        ..Spec::default()
    };
    let frame = Frame { gamma, ..Frame::bare("backlit.png", "backlit", "backlight", um_per_px, u) };
    let located = locate::locate(image, &view, um_per_px).unwrap();
    let bare = locate::bare_metal(&view, &located, image).unwrap();
    let scene = Scene {
        spec: &spec,
        view: &view,
        frame: &frame,
        image,
        kept,
        located: &located,
        bare_metal: &bare,
        classes: None,
        model: None,
        closer: None,
        sights: None,
        grey: Default::default(),
        gaps: Default::default(),
        bites: Default::default(),
        blur: Default::default(),
        dark: Default::default(),
        placed: Default::default(),
        finish: None,
        anomaly: None,
        colour: None,
        marks: None,
    };
    Ring.inspect(&scene).unwrap()
}

fn value(a: &Answer, c: &str) -> (f64, f64) {
    let v = a.features.iter().flat_map(|f| &f.values).find(|v| v.characteristic == c);
    let v = v.unwrap_or_else(|| panic!("{c}: {:?}", a.not_assessed));
    (v.value, v.uncertainty)
}

fn why(a: &Answer, c: &str) -> String {
    a.not_assessed.iter().find(|n| n.0 == c).unwrap_or_else(|| panic!("{c} was assessed")).1.clone()
}

const INNER: &str = "ring.inner_diameter_mm";
const OVALITY: &str = "ring.ovality_mm";
const WIDTH: &str = "ring.band_width_mm";

/// Draws a ring with everything the uncertainty speaks of: the scale's own error, the pose, the response, blur, noise, light.
/// Gives its frame and its true inner diameter, ovality and thickness in mm.
fn draw(seed: u64) -> (Sim, [f64; 3]) {
    let mut rng = fastrand::Rng::with_seed(7_001 + seed);
    let mut even = |a: f64, b: f64| a + (b - a) * rng.f64();
    let normal = |even: &mut dyn FnMut(f64, f64) -> f64| (0..12).map(|_| even(0.0, 1.0)).sum::<f64>() - 6.0;
    // The true scale, of which the frame says 20 with a standard uncertainty of 0.01.
    let scale = 0.020 + 0.000_01 * normal(&mut even);
    let d = even(13.0, 17.5);
    let ovality = if seed.is_multiple_of(3) { 0.0 } else { even(0.0, 0.15) };
    let thickness = even(1.0, 1.8);
    let turn = even(0.0, PI);
    let mut axes = [(d + ovality / 2.0) / 2.0, (d - ovality / 2.0) / 2.0];
    // Not quite level: one diameter is seen shorter. Along a random direction this is a stretch of the ellipse.
    let tilt = (0.5 * normal(&mut even)).to_radians();
    let along = even(0.0, PI);
    let (shrink, mean) = (d / 2.0 * (1.0 - tilt.cos()) / 2.0, (axes[0] + axes[1]) / 2.0);
    let wave = (axes[0] - axes[1]) / 2.0;
    let x = wave * (2.0 * turn).cos() + shrink * (2.0 * along).cos();
    let y = wave * (2.0 * turn).sin() + shrink * (2.0 * along).sin();
    axes = [mean - shrink + x.hypot(y), mean - shrink - x.hypot(y)];
    let gamma = if seed.is_multiple_of(2) { even(2.1, 2.3) } else { 1.0 };
    let side = ((d + 2.0 * thickness) / scale) as usize + 90;
    let centre = [even(-9.0, 9.0), even(-9.0, 9.0)].map(|v| side as f64 / 2.0 + v);
    let sim = Sim {
        side,
        centre,
        inner: axes.map(|a| a / scale),
        turn: 0.5 * y.atan2(x),
        thickness: thickness / scale,
        blur: even(0.6, 2.0),
        noise: even(0.002, 0.015),
        bright: even(0.55, 0.85),
        dark: even(0.005, 0.03),
        falloff: [even(0.0, 0.3), even(-0.2, 0.2)],
        gamma,
        bend: if gamma == 1.0 { even(-0.01, 0.01) } else { 0.0 },
        ..Sim::plain(seed)
    };
    (sim, [d, ovality, thickness])
}

/// Errors of the inner diameter and their standard uncertainties, in um, of rings like those of [`draw`] with sharp edges.
fn errors(of: impl Fn(Sim) -> (Image, Kept) + Sync) -> Vec<[f64; 2]> {
    let one = |seed: u64| {
        let mut sim = Sim { gamma: if seed.is_multiple_of(2) { 2.2 } else { 1.0 }, seed, ..Sim::plain(seed) };
        sim.blur = 0.6 + 0.1 * (seed % 6) as f64;
        sim.inner = [360.3 + 3.7 * seed as f64; 2];
        let true_mm = 0.04 * sim.inner[0];
        let (image, kept) = of(sim);
        let (v, u) = value(&ask_kept(&image, Some(20.0), Some(0.001), None, &kept), INNER);
        [1000.0 * (v - true_mm), 1000.0 * u]
    };
    (0..12u64).into_par_iter().map(one).collect()
}

#[test]
fn behind_a_lens_a_ring_is_measured_on_the_light_and_not_on_the_straightened_picture() {
    let lens = Distortion { k1: -0.03, p1: 0.0008, ..Distortion::none(1100, 1100) };
    let rows = errors(|sim| {
        let bent = Sim { lens: Some(lens), ..sim }.image();
        let straight = ops::remap(&bent, |x, y| lens.distort([x, y])).unwrap();
        (straight, Kept { bent: Some(Bent { image: bent, lens }), ..Kept::default() })
    });
    let rms = (rows.iter().map(|r| r[0] * r[0]).sum::<f64>() / rows.len() as f64).sqrt();
    assert!(rms < 2.5 && rows.iter().all(|r| r[0].abs() < 2.0 * r[1]), "{rms} {rows:?}");
}

#[test]
fn a_coarse_jpeg_does_not_feign_a_response() {
    for quality in [70, 85] {
        let rows = errors(|sim| {
            let image = sim.image();
            let mut bytes = vec![];
            let grey: Vec<u8> = image.data.chunks_exact(3).map(|p| p[0]).collect();
            let grey = image::GrayImage::from_raw(image.width as u32, image.height as u32, grey).unwrap();
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&grey).unwrap();
            let jpeg_step = vision::decode::jpeg_step(&bytes);
            (vision::decode::decode(&bytes, "ring.jpg".as_ref()).unwrap(), Kept { jpeg_step, ..Kept::default() })
        });
        assert!(rows.iter().all(|r| r[0].abs() < 2.0 * r[1]), "{quality}: {rows:?}");
    }
}

#[test]
fn two_hundred_rings_keep_the_promised_figures() {
    let rows: Vec<[[f64; 3]; 3]> = (0..200u64)
        .into_par_iter()
        .map(|seed| {
            let (sim, truth) = draw(seed);
            let answer = ask(&sim.image(), Some(20.0), Some(0.01));
            // The third number is the error in the frame's own scale: what the edges alone answer for.
            let row = |c: &str, t: f64, k: f64| {
                let (v, u) = value(&answer, c);
                [1000.0 * (v - t), 1000.0 * u, 1000.0 * (v - k)]
            };
            let px = 0.020;
            [
                row(INNER, truth[0], px * (sim.inner[0] + sim.inner[1])),
                row(OVALITY, truth[1], 2.0 * px * (sim.inner[0] - sim.inner[1])),
                row(WIDTH, truth[2], px * sim.thickness),
            ]
        })
        .collect();
    let mut figures = Vec::new();
    for (k, name) in ["inner diameter", "ovality", "thickness"].into_iter().enumerate() {
        let n = rows.len() as f64;
        let own: Vec<f64> = rows.iter().map(|r| r[k][2]).collect();
        let bias = own.iter().sum::<f64>() / n;
        let rms = (own.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
        let covered = rows.iter().filter(|r| r[k][0].abs() <= 2.0 * r[k][1]).count() as f64 / n;
        let u = rows.iter().map(|r| r[k][1]).sum::<f64>() / n;
        println!(
            "{name}: bias {bias:+.2} um, rms {rms:.2} um in the frame's scale; mean u {u:.2} um covers the truth {:.1} %",
            100.0 * covered
        );
        figures.push((bias, rms, covered));
    }
    let (bias, rms, covered) = figures[0];
    assert!(bias.abs() <= 2.0 && rms <= 5.0, "{figures:?}");
    assert!((0.93..=0.97).contains(&covered), "{figures:?}");
    assert!(figures[1].1 <= 6.0 && figures[1].2 >= 0.93, "{figures:?}");
    assert!(figures[2].2 >= 0.93, "{figures:?}");
}

#[test]
fn dust_hairs_a_notch_and_a_head_move_nothing() {
    let plain = value(&ask(&Sim::plain(1).image(), Some(20.0), Some(0.0)), INNER).0;
    assert!((plain - 0.04 * 400.4).abs() < 0.002, "{plain}");
    let dirty = Sim {
        dust: vec![[600.0, 500.0, 9.0], [552.0 + 398.0, 548.0, 7.0], [200.0, 551.0, 4.0], [90.0, 90.0, 30.0]],
        // One lies across the whole opening, one along its edge.
        hairs: vec![([100.0, 300.0, 1000.0, 760.0], 2.0), ([540.0, 150.0, 700.0, 180.0], 1.5)],
        ..Sim::plain(2)
    };
    let notched = Sim { notch: Some([-1.3, 0.25, 25.0]), head: Some([-1.3, 130.0]), ..Sim::plain(3) };
    let oval = Sim { inner: [402.9, 397.9], turn: 0.4, ..notched.clone() };
    for (what, sim) in [("dirty", dirty), ("notched", notched), ("oval", oval.clone())] {
        let answer = ask(&sim.image(), Some(20.0), Some(0.0));
        let (d, u) = value(&answer, INNER);
        let off = d - 0.02 * (sim.inner[0] + sim.inner[1]);
        assert!(off.abs() < 0.005 && off.abs() <= 3.0 * u, "{what}: {off} {u}");
    }
    let (ovality, _) = value(&ask(&oval.image(), Some(20.0), Some(0.0)), OVALITY);
    assert!((ovality - 0.2).abs() < 0.006, "{ovality}");
}

#[test]
fn a_tube_that_lies_tilted_is_a_persons_matter() {
    let sim = Sim { rim: [3.0, 1.0], ..Sim::plain(4) };
    let answer = ask(&sim.image(), Some(20.0), Some(0.0));
    let doubt = answer.features[0].doubt.clone().expect("a tilted ring raises a doubt");
    assert!(doubt.contains("tilted"), "{doubt}");
    let (d, u) = value(&answer, INNER);
    assert!((d - 0.04 * 400.4).abs() < 2.0 * u, "{d} {u}");
    // One that is only oval does not.
    let oval = Sim { inner: [402.0, 399.0], turn: 1.0, ..Sim::plain(5) };
    assert_eq!(ask(&oval.image(), Some(20.0), None).features[0].doubt, None);
}

#[test]
fn a_dent_and_a_lump_are_a_persons_matter() {
    // Round by its waves alone, but not in one place; the openings of `dust_hairs_a_notch_and_a_head_move_nothing` are none.
    let dented = Sim { bend_out: [0.5, 0.15, -20.0], ..Sim::plain(20) };
    let bulged = Sim { bend_out: [0.5, 0.15, 20.0], ..Sim::plain(21) };
    let flat = Sim { bend_out: [2.0, 0.1, -5.0], ..Sim::plain(22) };
    let lump = Sim { dust: vec![[551.3 + 395.0, 548.9, 40.0]], ..Sim::plain(23) };
    for (what, sim, depth) in
        [("dented", dented, 20.0), ("bulged", bulged, 20.0), ("flat", flat, 5.0), ("lump", lump, 45.0)]
    {
        let answer = ask(&sim.image(), Some(20.0), Some(0.0));
        let (ovality, u) = value(&answer, OVALITY);
        assert!(ovality + 2.0 * u > 0.8 * 0.02 * depth, "{what}: {ovality} +- {u}");
        let doubt = answer.features[0].doubt.clone().unwrap_or_default();
        assert!(doubt.contains("dent"), "{what}: {doubt}");
    }
    let gallery = Sim { notch: Some([0.7, 0.25, 25.0]), head: Some([0.7, 130.0]), ..Sim::plain(24) };
    assert_eq!(ask(&gallery.image(), Some(20.0), Some(0.0)).features[0].doubt, None);
    for seed in 25..29 {
        assert_eq!(ask(&Sim::plain(seed).image(), Some(20.0), Some(0.0)).features[0].doubt, None);
    }
}

/// A saw's cut has steep sides as an opening of a gallery has, and no head beyond it.
#[test]
fn a_cut_shank_is_thin_there() {
    for (half, depth) in [(0.25, 25.0), (0.05, 12.0), (0.03, 40.0)] {
        let cut = Sim { notch: Some([0.7, half, depth]), head: Some([-1.3, 70.0]), ..Sim::plain(24) };
        let answer = ask(&cut.image(), Some(20.0), Some(0.0));
        let doubt = answer.features[0].doubt.clone().unwrap_or_default();
        assert!(doubt.contains("dent"), "{half} {depth}: {doubt}");
        let thin = &answer.features.iter().find(|f| f.name == "thinnest").unwrap().values[0];
        let want = 0.02 * (70.0 - depth);
        assert!((thin.value - want).abs() < 2.0 * thin.uncertainty + 0.01, "{} for {want}", thin.value);
    }
}

/// The backlight mirrored in a polished bore moves its edge, and the outside's not.
#[test]
fn a_bright_bore_is_less_sure() {
    for gamma in [1.0, 2.2] {
        for (wide, share) in [(1.0, 0.15), (4.0, 0.15), (8.0, 0.15), (1.0, 0.4)] {
            let sim = Sim { glare: [wide, share], gamma, noise: 0.004, ..Sim::plain(40) };
            for known in [Some(gamma), None] {
                let answer = ask_of(&sim.image(), Some(20.0), Some(0.0), known);
                let (d, u) = value(&answer, INNER);
                println!(
                    "{wide} px of {share}, exponent {gamma} {known:?}: {:+.4} +- {:.4}",
                    d - 0.04 * 400.4,
                    2.0 * u
                );
                assert!((d - 0.04 * 400.4).abs() < 2.0 * u, "{wide} {share} {gamma} {known:?}: {d} +- {u}");
            }
        }
    }
}

/// An opening with facets or lobes all round is as oval as they are deep.
#[test]
fn lobes_all_round_are_no_noise() {
    for (count, deep) in [(8.0, 3.0), (12.0, 1.5), (16.0, 5.0)] {
        let lobed = ask(&Sim { lobes: [count, deep], ..Sim::plain(6) }.image(), Some(20.0), Some(0.0));
        let (ovality, u) = value(&lobed, "ring.ovality_mm");
        // In and out on both sides.
        let truth = 4.0 * deep * 0.02;
        assert!((ovality - truth).abs() < 2.0 * u + 0.05 * truth, "{count}: {ovality} +- {u} of {truth}");
    }
}

/// Three jaws leave an opening whose diameters are all the same: the metal is thin in three places, and less goes in.
#[test]
fn odd_lobes_change_no_diameter_and_hide_nothing() {
    for (count, deep) in [(3.0, 3.0), (5.0, 4.0)] {
        let lobed = ask(&Sim { lobes: [count, deep], ..Sim::plain(6) }.image(), Some(20.0), Some(0.0));
        let (ovality, u) = value(&lobed, "ring.ovality_mm");
        assert!(ovality < 2.0 * u + 0.002, "{count}: {ovality} +- {u}");
        let (_, u) = value(&lobed, "ring.inner_diameter_mm");
        assert!(u > 0.9 * deep * 0.02, "{count}: {u}");
        let thin = lobed.features.iter().find(|f| f.name == "thinnest").unwrap();
        let (w, u) = (thin.values[0].value, thin.values[0].uncertainty);
        assert!((w - (1.4 - deep * 0.02)).abs() < 2.0 * u && u < 0.01, "{count}: {w} +- {u}");
        let ring = lobed.features.iter().find(|f| f.doubt.is_some()).unwrap();
        assert!(ring.doubt.as_ref().unwrap().contains(&format!("{count} lobes")), "{:?}", ring.doubt);
    }
}

/// Two dents that face each other add up; an opening off its middle leaves the shank thin on one side.
#[test]
fn a_pinched_and_a_thin_ring_do_not_hide() {
    let um = 20.0;
    let pinched = ask(&Sim { pinch: Some([0.7, 0.12, 3.0]), ..Sim::plain(5) }.image(), Some(um), Some(0.0));
    let (ovality, u) = value(&pinched, "ring.ovality_mm");
    // 3 pixels on both sides: 0.12 mm.
    assert!((ovality - 0.12).abs() < 2.0 * u + 0.006, "{ovality} +- {u}");
    let thin = ask(&Sim { off: [15.0, -8.0], ..Sim::plain(6) }.image(), Some(um), Some(0.0));
    let of = |name: &str| {
        let f = thin.features.iter().find(|f| f.name == name).unwrap();
        (f.values[0].value, f.values[0].uncertainty)
    };
    let (mean, _) = value(&thin, "ring.band_width_mm");
    assert!((mean - 1.4).abs() < 0.01, "{mean}");
    for (name, want) in [("thinnest", 1.06), ("thickest", 1.74)] {
        let (w, u) = of(name);
        assert!((w - want).abs() < 2.0 * u && u < 0.01, "{name}: {w} +- {u}");
    }
    let even = ask(&Sim::plain(7).image(), Some(um), Some(0.0));
    assert!(even.features.iter().all(|f| f.name != "thinnest" && f.name != "thickest"));
}

#[test]
fn what_cannot_be_measured_says_why() {
    let cut = Sim { centre: [300.0, 550.0], ..Sim::plain(6) };
    assert!(why(&ask(&cut.image(), Some(20.0), None), INNER).contains("not whole in the frame"));
    let empty = Sim { inner: [900.0, 900.0], ..Sim::plain(7) };
    assert!(why(&ask(&empty.image(), Some(20.0), None), INNER).contains("no silhouette"));
    let filled = Sim { inner: [4.0, 4.0], thickness: 300.0, ..Sim::plain(8) };
    assert!(why(&ask(&filled.image(), Some(20.0), None), INNER).contains("no opening"));
    // The opening is whole, the outside is not.
    let near = Sim { centre: [430.0, 550.0], ..Sim::plain(9) };
    let answer = ask(&near.image(), Some(20.0), None);
    assert!((value(&answer, INNER).0 - 0.04 * 400.4).abs() < 0.002);
    assert!(why(&answer, WIDTH).contains("outside leaves the frame"));
    let answer = ask(&Sim::plain(10).image(), None, None);
    assert!(why(&answer, INNER).contains("um_per_px") && answer.loops_px.len() == 2);
}

#[test]
fn an_overexposed_or_sharp_frame_says_less() {
    let u = |sim: Sim| value(&ask(&sim.image(), Some(20.0), Some(0.0)), INNER).1;
    let usual = u(Sim::plain(11));
    let bright = Sim { bright: 1.6, falloff: [0.0, 0.0], ..Sim::plain(11) };
    assert!(u(bright.clone()) > 4.0 * usual);
    let doubt = ask(&bright.image(), Some(20.0), Some(0.0)).features[0].doubt.clone().unwrap_or_default();
    assert!(doubt.contains("overexposed"), "{doubt}");
    // Up to twice full scale the truth lies within U, whatever the camera's response.
    for (k, bright) in [1.1, 1.3, 1.6, 2.0].into_iter().enumerate() {
        for gamma in [1.0, 2.2] {
            for blur in [0.8, 1.2, 2.0] {
                let sim = Sim { bright, gamma, blur, falloff: [0.05, 0.0], ..Sim::plain(30 + k as u64) };
                let (d, u) = value(&ask(&sim.image(), Some(20.0), Some(0.0)), INNER);
                println!(
                    "light {bright}, exponent {gamma}, blur {blur}: off {:+.4} mm, U {:.4}",
                    d - 0.04 * 400.4,
                    2.0 * u
                );
                assert!(
                    (d - 0.04 * 400.4).abs() < 2.0 * u,
                    "light {bright}, exponent {gamma}, blur {blur}: {d} +- {u}"
                );
            }
        }
    }
    assert!(usual < 0.006, "{usual}");
}

/// A camera whose response is neither linear nor that of the display standards, and does not say so.
#[test]
fn an_unnamed_response_is_told_by_the_edge_or_counts() {
    let mut wrong = Vec::new();
    for (k, gamma) in [1.4, 1.6, 1.8, 2.0].into_iter().enumerate() {
        for blur in [0.9, 1.6, 2.2] {
            let sim = Sim { gamma, blur, noise: 0.004, falloff: [0.0, 0.0], ..Sim::plain(60 + k as u64) };
            let (d, u) = value(&ask(&sim.image(), Some(20.0), Some(0.0)), INNER);
            let off = d - 0.04 * 400.4;
            println!("exponent {gamma}, blur {blur}: off {off:+.4} mm, U {:.4}", 2.0 * u);
            wrong.extend(
                (off.abs() >= 2.0 * u)
                    .then(|| format!("exponent {gamma}, blur {blur}: off {off:+.4}, U {:.4}", 2.0 * u)),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

const SPEC: &str = r#"schema = "loupe.spec/1"
sku = "ring-16"
metal = "silver"
finish = "polished"

[[view]]
name = "backlit"

[[limit]]
characteristic = "ring.size_iso"
lower = 50
upper = 50

[[limit]]
characteristic = "ring.size_us"
lower = 5.2
upper = 5.6

[[limit]]
characteristic = "ring.ovality_mm"
upper = 0.05
"#;

#[test]
fn the_binary_judges_a_ring_by_its_size() {
    let bench = Bench::new();
    let manifest = |id: &str| {
        format!(
            r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"spec.toml","frames":[{{"file":"b.png","view":"backlit","light":"backlight","um_per_px":20.0,"um_per_px_u":0.002}}]}}"#
        )
    };
    let sims = [
        ("good", Sim::plain(20)),
        ("large", Sim { inner: [410.0, 410.0], ..Sim::plain(21) }),
        ("cut", Sim { centre: [300.0, 550.0], ..Sim::plain(22) }),
    ];
    for (id, sim) in &sims {
        bench.write(&format!("in/{id}/piece.json"), manifest(id));
        bench.write(&format!("in/{id}/spec.toml"), SPEC);
        bench.write(&format!("in/{id}/b.png"), sim.png());
    }
    let ran = bench.loupe(&["inspect", "in", "--out", "out", "--no-model"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let report = |id: &str| -> Report {
        let text = std::fs::read_to_string(bench.path(&format!("out/{id}/report.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let good = report("good");
    assert_eq!(good.verdict, Verdict::Pass, "{:?}", good.reasons);
    let large = report("large");
    assert_eq!(large.verdict, Verdict::Fail, "{:?}", large.reasons);
    assert_eq!(large.findings[0].kind, FindingType::OutOfSize);
    let cut = report("cut");
    assert_eq!(cut.verdict, Verdict::Review);
    assert!(cut.reasons[0].contains("not whole in the frame"), "{:?}", cut.reasons);
    // The located edges are drawn.
    let overlay = image::open(bench.path("out/good/b.png.overlay.png")).unwrap().into_rgb8();
    let p = overlay.get_pixel((551.3 + 400.4) as u32, 549).0;
    assert!(i32::from(p[2]) - i32::from(p[0]) > 60, "{p:?}");
}

#[test]
fn the_shipped_rings_are_as_their_truth_says() {
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo");
    let bench = Bench::new();
    let paths: Vec<String> =
        ["backlit-001", "backlit-002"].map(|p| demo.join(p).to_str().unwrap().to_owned()).to_vec();
    let ran = bench.loupe(&["inspect", &paths[0], &paths[1], "--out", "out", "--no-model", "--no-overlay"]);
    assert!(ran.code <= 1, "{}", ran.stderr);
    for (id, path) in ["backlit-001", "backlit-002"].iter().zip(&paths) {
        let json = |p: std::path::PathBuf| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(p).unwrap()).unwrap()
        };
        let truth = json(std::path::Path::new(path).join("truth.json"));
        let report = json(bench.path(&format!("out/{id}/report.json")));
        assert_eq!(report["verdict"], truth["verdict"], "{id}: {}", report["reasons"]);
        let of = |c: &str| {
            let rows = report["measurements"].as_array().unwrap();
            rows.iter().find(|m| m["characteristic"] == c).unwrap()["value"].as_f64().unwrap()
        };
        let t = |k: &str| truth[k].as_f64().unwrap();
        assert!((of(INNER) - t("inner_diameter_mm")).abs() < 0.005, "{id}");
        assert!((of(OVALITY) - (t("max_inner_mm") - t("min_inner_mm"))).abs() < 0.006, "{id}");
        assert!((of(WIDTH) - t("band_thickness_mm")).abs() < 0.005, "{id}");
    }
}

/// Light within the metal is no fibre, however narrow: slits of three to ten pixels, and what is left of the shank beyond them.
#[test]
fn a_slit_in_the_shank_is_thin_there() {
    for (half, depth) in [(0.004, 45.0), (0.008, 30.0), (0.012, 52.0)] {
        let slit = Sim { notch: Some([0.7, half, depth]), ..Sim::plain(31) };
        let answer = ask(&slit.image(), Some(20.0), Some(0.0));
        let doubt = answer.features[0].doubt.clone().unwrap_or_default();
        assert!(doubt.contains("crack"), "{half} {depth}: {doubt}");
        let thin = &answer.features.iter().find(|f| f.name == "thinnest").unwrap().values[0];
        let left = 0.02 * (70.0 - depth);
        assert!(thin.value < left + 0.12, "{} for {left}", thin.value);
    }
    // Right through, a pixel wide.
    let crack = Sim { notch: Some([0.7, 0.0013, 90.0]), ..Sim::plain(32) };
    let answer = ask(&crack.image(), Some(20.0), Some(0.0));
    assert!(
        answer.not_assessed.iter().any(|n| n.0 == INNER && (n.1.contains("cracked") || n.1.contains("parted"))),
        "{:?}",
        answer.not_assessed
    );
}

/// What stands into the bore and ends there may be a burr: a person's, where a hair across all of it is not.
#[test]
fn a_burr_in_the_bore_is_a_persons_matter() {
    let (s, c) = 0.9f64.sin_cos();
    let at = |r: f64| [551.3 + r * c, 548.9 + r * s];
    let ([x0, y0], [x1, y1]) = (at(372.0), at(410.0));
    let burr = Sim { hairs: vec![([x0, y0, x1, y1], 2.5)], ..Sim::plain(33) };
    let answer = ask(&burr.image(), Some(20.0), Some(0.0));
    let (ovality, u) = value(&answer, OVALITY);
    let doubt = answer.features[0].doubt.clone().unwrap_or_default();
    assert!(doubt.contains("burr") && ovality + 2.0 * u > 0.3, "{doubt}, {ovality} +- {u}");
}
