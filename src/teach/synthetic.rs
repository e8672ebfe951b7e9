//! Defects made up on good pictures: what the discriminator learns to tell from them. They need not look like any real defect;
//! they cover what a surface can have that it should not: lines, spots, patches of another shade or sheen, and pieces of other
//! places.

use crate::vision::{ops, Image, Mask, Plane, VisionError};
use fastrand::Rng;
use std::f32::consts::{PI, TAU};

/// A normal number.
fn normal(rng: &mut Rng) -> f32 {
    let (a, b) = (rng.f32().max(1e-9), rng.f32());
    (-2.0 * a.ln()).sqrt() * (TAU * b).cos()
}

fn between(rng: &mut Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.f32()
}

/// Between two sizes, evenly on a scale of ratios.
fn ratio(rng: &mut Rng, low: f32, high: f32) -> f32 {
    (between(rng, low.ln(), high.ln())).exp()
}

fn blob(rng: &mut Rng, w: usize, h: usize, low: f32, high: f32) -> Vec<[f64; 2]> {
    let size = ratio(rng, low, high) * ((w * h) as f32).sqrt();
    let (cx, cy) = (between(rng, 0.0, w as f32), between(rng, 0.0, h as f32));
    let (turn, long) = (between(rng, 0.0, PI), (0.5 * normal(rng)).exp());
    let waves: Vec<(f32, f32)> = (2..6).map(|k| (0.35 / k as f32 * normal(rng), between(rng, 0.0, TAU))).collect();
    (0..24)
        .map(|i| {
            let t = TAU * i as f32 / 24.0;
            let bump: f32 = waves.iter().enumerate().map(|(k, (a, p))| a * ((k + 2) as f32 * t + p).cos()).sum();
            let r = (1.0 + bump).max(0.2) * size;
            let (x, y) = (r * t.cos() * long, r * t.sin() / long);
            let (s, c) = turn.sin_cos();
            [f64::from(cx + x * c - y * s), f64::from(cy + x * s + y * c)]
        })
        .collect()
}

/// A wandering line as a closed ribbon.
fn line(rng: &mut Rng, w: usize, h: usize) -> Vec<Vec<[f64; 2]>> {
    let side = ((w * h) as f32).sqrt();
    let length = ratio(rng, 0.06, 0.8) * side;
    let steps = ((length / 4.0) as usize).max(6);
    let step = length / steps as f32;
    let width = ratio(rng, 0.7, 4.0) * side / 224.0;
    let mut turn = between(rng, 0.0, TAU);
    let bend = 0.05 * normal(rng);
    let rough = if rng.bool() { 0.05 } else { 0.3 };
    let (mut x, mut y) = (between(rng, 0.0, w as f32), between(rng, 0.0, h as f32));
    let mut quads = Vec::with_capacity(steps);
    for _ in 0..steps {
        let (x0, y0) = (x, y);
        turn += bend + rough * normal(rng);
        x += step * turn.cos();
        y += step * turn.sin();
        let (nx, ny) = (-turn.sin() * width / 2.0, turn.cos() * width / 2.0);
        let corner = |x: f32, y: f32| [f64::from(x), f64::from(y)];
        quads.push(vec![
            corner(x0 + nx, y0 + ny),
            corner(x + nx, y + ny),
            corner(x - nx, y - ny),
            corner(x0 - nx, y0 - ny),
        ]);
    }
    quads
}

/// Shares of pixels (0 to 1) that polygons cover, drawn four times as fine.
fn drawn(w: usize, h: usize, polygons: &[Vec<[f64; 2]>]) -> Result<Plane, VisionError> {
    const FINE: usize = 4;
    let mut fine = Mask::empty(FINE * w, FINE * h);
    let f = FINE as f64;
    let large: Vec<Vec<[f64; 2]>> = polygons
        .iter()
        .map(|p| p.iter().map(|c| [f * (c[0] + 0.5) - 0.5, f * (c[1] + 0.5) - 0.5]).collect())
        .collect();
    // One by one: where two overlap the fill would count twice and leave a hole.
    for polygon in large {
        ops::fill_polygons(&mut fine, &[polygon], 255)?;
    }
    let whole =
        Plane { width: FINE * w, height: FINE * h, data: fine.data.iter().map(|v| f32::from(*v) / 255.0).collect() };
    Ok(ops::shrink(&whole, FINE))
}

/// A good picture with a defect made up on it, and how much of each pixel it covers. `others` are good pictures of the same
/// size to take pieces from.
///
/// # Errors
/// Where OpenCV refuses.
pub fn spoil(image: &Image, others: &[Image], rng: &mut Rng) -> Result<(Image, Plane), VisionError> {
    let (w, h) = (image.width, image.height);
    let kind = rng.f32();
    let shape = if kind < 0.34 {
        drawn(w, h, &line(rng, w, h))?
    } else if kind < 0.58 {
        let spots: Vec<_> = (0..rng.usize(1..=3)).map(|_| blob(rng, w, h, 0.008, 0.05)).collect();
        drawn(w, h, &spots)?
    } else if kind < 0.68 {
        let (a, b) = (rng.f32(), rng.f32());
        let (a, b) = (a.min(b), a.max(b).max(a.min(b) + 0.08));
        let along = rng.bool();
        let inside = |i: usize| {
            let t = if along { (i % w) as f32 / w as f32 } else { (i / w) as f32 / h as f32 };
            f32::from(t >= a && t < b)
        };
        Plane { width: w, height: h, data: (0..w * h).map(inside).collect() }
    } else {
        drawn(w, h, &[blob(rng, w, h, 0.04, 0.25)])?
    };
    let patch = (0.58..0.84).contains(&kind);
    let blur = if patch { between(rng, 0.3, 4.0) } else { between(rng, 0.3, 1.5) };
    let strength = between(rng, 0.5, 1.0);
    let mut share = ops::gaussian(&shape, f64::from(blur))?;
    share.data.iter_mut().for_each(|v| *v *= strength);

    let planes: Vec<Plane> = (0..3).map(|c| image.channel(c)).collect();
    let deviation = {
        let m = image.mean();
        let mean = m.data.iter().sum::<f32>() / m.data.len().max(1) as f32;
        (m.data.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / m.data.len().max(1) as f32).sqrt().max(6.0)
    };
    let local: Vec<Plane> = planes.iter().map(|p| ops::gaussian(p, 6.0)).collect::<Result<_, _>>()?;
    let mut out: Vec<Vec<f32>> = planes.iter().map(|p| p.data.clone()).collect();
    if kind < 0.58 {
        // Darker (a hole, a crack, dirt) or brighter (a burr, a glint), now and then with a lit lip beside.
        let sign = if rng.f32() < 0.75 { -1.0 } else { 1.0 };
        let size = sign * ratio(rng, 0.25, 1.5);
        let lip = (rng.f32() < 0.35).then(|| (1.5 * normal(rng), 1.5 * normal(rng)));
        for (out, local) in out.iter_mut().zip(&local) {
            for (i, v) in out.iter_mut().enumerate() {
                let by = size * (deviation + 0.35 * local.data[i]);
                *v += by * share.data[i];
                if let Some((dx, dy)) = lip {
                    let beside = share.sample((i % w) as f64 - f64::from(dx), (i / w) as f64 - f64::from(dy));
                    *v -= 0.5 * by * (beside - share.data[i]).max(0.0);
                }
            }
        }
    } else if patch {
        // Another shade; now and then smoother, or rougher.
        let sign = if rng.bool() { 1.0 } else { -1.0 };
        let shade = (sign * between(rng, 0.12, 0.7)).exp();
        let sheen = rng.f32();
        let rough = between(rng, 1.5, 3.0);
        let soft = between(rng, 1.0, 3.0);
        for c in 0..3 {
            let smooth = if sheen < 0.35 { Some(ops::gaussian(&planes[c], f64::from(soft))?) } else { None };
            for (i, o) in out[c].iter_mut().enumerate() {
                let v = planes[c].data[i];
                let new = match &smooth {
                    Some(s) => s.data[i],
                    None if sheen < 0.5 => local[c].data[i] + rough * (v - local[c].data[i]),
                    None => v,
                };
                *o = v + share.data[i] * (shade * new - v);
            }
        }
    } else {
        // A piece of another place, turned or mirrored, a little darker or brighter.
        let from = if others.is_empty() { image } else { &others[rng.usize(0..others.len())] };
        let (sx, sy) = (rng.usize(0..w), rng.usize(0..h));
        let (mirror_x, mirror_y) = (rng.bool(), rng.bool());
        let shade = (0.3 * normal(rng)).exp();
        for i in 0..w * h {
            let (x, y) = (i % w, i / w);
            let x = if mirror_x { w - 1 - x } else { x };
            let y = if mirror_y { h - 1 - y } else { y };
            let j = (y + sy) % h * w + (x + sx) % w;
            for (c, o) in out.iter_mut().enumerate() {
                let new = shade * f32::from(from.data[3 * j + c]);
                o[i] += share.data[i] * (new - o[i]);
            }
        }
    }
    let level = |v: f32| v.round().clamp(0.0, 255.0) as u8;
    let data = (0..w * h).flat_map(|i| [level(out[0][i]), level(out[1][i]), level(out[2][i])]).collect();
    Ok((Image { width: w, height: h, data, grey: image.grey }, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_changes_what_it_covers_and_little_else() {
        let mut rng = Rng::with_seed(7);
        let data = (0..96 * 64).flat_map(|i| [(100 + i % 7) as u8; 3]).collect();
        let image = Image { width: 96, height: 64, data, grey: true };
        let mut seen = 0;
        for _ in 0..60 {
            let (spoilt, shape) = spoil(&image, std::slice::from_ref(&image), &mut rng).unwrap();
            let far: Vec<usize> = {
                let wide = ops::gaussian(&shape, 6.0).unwrap();
                (0..96 * 64).filter(|i| wide.data[*i] < 1e-4).collect()
            };
            assert!(far.iter().all(|i| spoilt.data[3 * i] == image.data[3 * i]));
            seen += usize::from(spoilt.data != image.data);
        }
        assert!(seen > 45, "{seen}");
    }

    #[test]
    fn the_same_seed_gives_the_same_defect() {
        let image = Image { width: 64, height: 64, data: vec![120; 3 * 64 * 64], grey: true };
        let one = |seed| spoil(&image, &[], &mut Rng::with_seed(seed)).unwrap().0;
        assert_eq!(one(3), one(3));
        assert_ne!(one(3), one(4));
    }
}
