//! Where a round stone's middle is by its facets alone: they look the same when the picture is turned by half a turn about it, under any light that does
//! itself (a dome, a ring, bars). Where the metal lies over the girdle nothing else tells where the stone is: the edge that shows is the seat's.
//!
//! The middle is where the squared differences between opposite points are least (Gauss and Newton, with Cauchy's weights, for prongs and
//! the reflections of neighbours are on one side only).

use crate::locate::edges::invert;
use crate::vision::{ops, Image, Plane};

/// What of the stone is compared, in radii: beyond lie the tips of prongs and the seat.
const REACH: f64 = 0.8;
/// Pixels between the points that are compared.
const STEP: f64 = 2.0;
/// Most rounds, and the step in pixels at which they end.
const ROUNDS: usize = 6;
const ENOUGH: f64 = 0.02;
/// How far the middle may lie from where it is looked for, in radii.
const FAR: f64 = 0.12;
/// Its standard deviation in widths, each coordinate: this much of a picture without misfit; this much more per misfit; and per slope of the table
/// (tangent), which moves the facets against the girdle. Settled on 1761 looks at
/// rendered stones (datasets/regression, and pieces of lips.toml and train.toml), together with [`RIM_U`].
const LEAST: f64 = 0.001;
const BY_MISFIT: f64 = 0.015;
const BY_SLOPE: f64 = 0.1;

/// Standard deviation of a girdle's middle besides what its model says, in widths: where the metal's lip hides it, the lip's own.
pub const RIM_U: f64 = 0.002;

/// A stone's middle by its facets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Middle {
    /// Where, in the picture's pixels.
    pub at: [f64; 2],
    /// Differences that stay, as a share of what the picture itself varies by.
    pub misfit: f64,
    /// Standard deviation of each coordinate by the noise of the differences, in pixels.
    noise: f64,
}

impl Middle {
    /// Standard deviation of each coordinate in pixels, of a stone of this width with a table of this slope.
    pub fn u(&self, width: f64, slope: f64) -> f64 {
        (width * (LEAST + BY_MISFIT * self.misfit)).hypot(width * BY_SLOPE * slope).hypot(self.noise)
    }
}

/// The middle of a stone of this radius about a place in a picture (pixels); none where its facets do not tell it.
pub fn middle(image: &Image, from: [f64; 2], radius: f64) -> Option<Middle> {
    let plane = image.mean();
    let n = (REACH * radius / STEP) as i32;
    // One of each two opposite points.
    let points: Vec<[f64; 2]> = (0..=n)
        .flat_map(|j| (-n..=n).map(move |i| (i, j)))
        .filter(|(i, j)| *j > 0 || *i > 0)
        .map(|(i, j)| [STEP * f64::from(i), STEP * f64::from(j)])
        .filter(|p| p[0].hypot(p[1]) < REACH * radius)
        .collect();
    if points.len() < 50 {
        return None;
    }
    let mut at = from;
    let mut rows: Vec<[f32; 3]> = Vec::with_capacity(points.len());
    let mut apart: Vec<f32> = Vec::with_capacity(points.len());
    let mut found = None;
    for _ in 0..ROUNDS {
        let reach = REACH * radius;
        let within = |v: f64, size: usize| v - reach >= 0.0 && v + reach < (size - 1) as f64;
        if !(within(at[0], plane.width) && within(at[1], plane.height)) {
            return None;
        }
        rows.clear();
        let (mut sum, mut squares) = (0f32, 0f32);
        for p in &points {
            let (a, b) = (value(&plane, at[0] + p[0], at[1] + p[1]), value(&plane, at[0] - p[0], at[1] - p[1]));
            rows.push([a[0] - b[0], a[1] - b[1], a[2] - b[2]]);
            sum += a[0] + b[0];
            squares += a[0] * a[0] + b[0] * b[0];
        }
        apart.clear();
        apart.extend(rows.iter().map(|r| r[0].abs()));
        let scale = 1.4826 * ops::median(&mut apart) + 1e-3;
        // Squares and products of the slopes, of the slopes and the differences, of the differences; and the weights.
        let mut s = [0f32; 7];
        for [e, x, y] in &rows {
            let t = e / (2.0 * scale);
            let w = 1.0 / (1.0 + t * t);
            for (sum, v) in s.iter_mut().zip([x * x, x * y, y * y, x * e, y * e, e * e, 1.0]) {
                *sum += w * v;
            }
        }
        let [xx, xy, yy, xe, ye, ee, weights] = s.map(f64::from);
        let inverse = invert([[xx, xy], [xy, yy]])?;
        let step = inverse.map(|row| -(row[0] * xe + row[1] * ye).clamp(-1.0, 1.0));
        at = [at[0] + step[0], at[1] + step[1]];
        let m = 2.0 * rows.len() as f64;
        let varies = (f64::from(squares) / m - (f64::from(sum) / m).powi(2)).max(0.0).sqrt();
        let variance = ee / weights;
        let noise = (variance * inverse[0][0].max(inverse[1][1])).sqrt();
        found = Some(Middle { at, misfit: variance.sqrt() / varies.max(1e-3), noise });
        if step[0].hypot(step[1]) < ENOUGH {
            break;
        }
    }
    found.filter(|m| (m.at[0] - from[0]).hypot(m.at[1] - from[1]) < FAR * radius)
}

/// A bilinear value and its slopes along x and y, at a point that lies inside.
#[inline]
fn value(p: &Plane, x: f64, y: f64) -> [f32; 3] {
    let (i, j) = (x as usize, y as usize);
    let (fx, fy) = ((x - i as f64) as f32, (y - j as f64) as f32);
    let k = j * p.width + i;
    let (upper, lower) = (&p.data[k..k + 2], &p.data[k + p.width..k + p.width + 2]);
    let (right, right_below) = (upper[1] - upper[0], lower[1] - lower[0]);
    let (top, low) = (upper[0] + fx * right, lower[0] + fx * right_below);
    [top + fy * (low - top), right + fy * (right_below - right), low - top]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight facets about a table at (x, y), a wave of light and dark around, and metal beyond a seat that lies elsewhere.
    fn stone(x: f64, y: f64, seat: [f64; 2], wave: f64) -> Image {
        let level = |px: f64, py: f64| -> f64 {
            if (px - seat[0]).hypot(py - seat[1]) > 39.0 {
                return 190.0;
            }
            let (dx, dy) = (px - x, py - y);
            let r = dx.hypot(dy);
            let facet = (wave * dy.atan2(dx)).cos() * (r / 12.0).min(1.0);
            120.0 + 50.0 * facet + if r < 22.0 { 30.0 } else { 0.0 }
        };
        let data = (0..128 * 128)
            .flat_map(|i| {
                let (px, py) = ((i % 128) as f64, (i / 128) as f64);
                let sub = |k: usize| ((k % 3) as f64 - 1.0) / 3.0;
                let v = (0..9).map(|k| level(px + sub(k), py + 0.333 * ((k / 3) as f64 - 1.0))).sum::<f64>() / 9.0;
                [v.round() as u8; 3]
            })
            .collect();
        Image { width: 128, height: 128, data, grey: true }
    }

    #[test]
    fn the_facets_tell_the_middle_and_the_seat_does_not() {
        for (x, y) in [(63.5, 63.5), (64.3, 62.9), (62.2, 64.6)] {
            let image = stone(x, y, [63.5, 63.5], 8.0);
            let m = middle(&image, [63.5, 63.5], 40.0).unwrap();
            assert!((m.at[0] - x).hypot(m.at[1] - y) < 0.1, "{m:?}, truly {x} {y}");
            assert!(m.misfit < 0.25 && m.u(80.0, 0.0) < 0.7, "{m:?}");
        }
    }

    #[test]
    fn what_is_not_symmetric_says_less() {
        let even = middle(&stone(63.5, 63.5, [63.5, 63.5], 8.0), [63.5, 63.5], 40.0).unwrap();
        let odd = middle(&stone(63.5, 63.5, [63.5, 63.5], 3.0), [63.5, 63.5], 40.0);
        assert!(odd.is_none_or(|odd| odd.u(80.0, 0.0) > 3.0 * even.u(80.0, 0.0)), "{odd:?} {even:?}");
        assert!(even.u(80.0, 0.1) > even.u(80.0, 0.0));
        // Nothing to see, and nothing outside.
        let plain = Image { width: 128, height: 128, data: vec![90; 3 * 128 * 128], grey: true };
        assert_eq!(middle(&plain, [63.5, 63.5], 40.0), None);
        assert_eq!(middle(&stone(63.5, 63.5, [63.5, 63.5], 8.0), [10.0, 63.5], 40.0), None);
    }
}
