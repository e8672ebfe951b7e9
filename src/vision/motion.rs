//! How far a small picture moved against another: shift and turn, to a fraction of a pixel.

use super::{ops, Mask, Plane, VisionError};

/// A motion of a picture about its own centre, in pixels and radians (y down, clockwise as seen).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Shift to the right.
    pub dx: f64,
    /// Shift down.
    pub dy: f64,
    /// Turn.
    pub turn: f64,
    /// Standard deviation of each shift, from what the pictures do not share.
    pub shift_u: f64,
    /// Standard deviation of the turn.
    pub turn_u: f64,
    /// How alike the pictures are when laid on each other: correlation, -1 to 1.
    pub likeness: f64,
}

/// The smoothings, coarse to fine, in pixels, and the rounds at each.
const LEVELS: [(f64, usize); 3] = [(3.0, 12), (1.5, 10), (0.8, 12)];

/// The motion that lays `moved` on `still` within a mask: Gauss and Newton on the brightness, gain and offset free, each
/// pixel's weight falling with its residual, so that a facet that lights up does not pull. None where the pictures hold
/// nothing to lay hold of, or run apart.
///
/// # Errors
/// Where OpenCV refuses.
pub fn between(still: &Plane, moved: &Plane, mask: &Mask) -> Result<Option<Motion>, VisionError> {
    let (w, h) = (still.width, still.height);
    let (cx, cy) = ((w as f64 - 1.0) / 2.0, (h as f64 - 1.0) / 2.0);
    let inside: Vec<usize> = (0..mask.data.len()).filter(|i| mask.data[*i] != 0).collect();
    if inside.len() < 30 {
        return Ok(None);
    }
    let mut p = [0.0f64; 3];
    let mut last = None;
    for (sigma, rounds) in LEVELS {
        let (a, b) = (ops::gaussian(still, sigma)?, ops::gaussian(moved, sigma)?);
        let (gx, gy) = ops::gradient(&a)?;
        for _ in 0..rounds {
            let (s, c) = p[2].sin_cos();
            let values: Vec<f64> = inside
                .iter()
                .map(|i| {
                    let (x, y) = ((i % w) as f64 - cx, (i / w) as f64 - cy);
                    f64::from(b.sample(c * x - s * y + p[0] + cx, s * x + c * y + p[1] + cy))
                })
                .collect();
            let n = values.len() as f64;
            let mean = |v: &mut dyn Iterator<Item = f64>| v.sum::<f64>() / n;
            let (ma, mb) =
                (mean(&mut inside.iter().map(|i| f64::from(a.data[*i]))), mean(&mut values.iter().copied()));
            let (mut saa, mut sab, mut sbb) = (0.0, 0.0, 0.0);
            for (i, v) in inside.iter().zip(&values) {
                let (u, v) = (f64::from(a.data[*i]) - ma, v - mb);
                (saa, sab, sbb) = (saa + u * u, sab + u * v, sbb + v * v);
            }
            if saa < 1e-6 * n || sbb < 1e-6 * n {
                return Ok(None);
            }
            let gain = (sab / sbb).clamp(0.3, 3.0);
            let residual: Vec<f64> =
                inside.iter().zip(&values).map(|(i, v)| gain * (v - mb) + ma - f64::from(a.data[*i])).collect();
            let mut sizes: Vec<f32> = residual.iter().map(|r| r.abs() as f32).collect();
            let scatter = (1.4826 * f64::from(ops::median(&mut sizes))).max(0.2);
            let mut m = [[0.0; 3]; 3];
            let mut v = [0.0; 3];
            let (mut squares, mut weights) = (0.0, 0.0);
            for (i, r) in inside.iter().zip(&residual) {
                let (x, y) = ((i % w) as f64 - cx, (i / w) as f64 - cy);
                let (dx, dy) = (f64::from(gx.data[*i]), f64::from(gy.data[*i]));
                let j = [dx, dy, x * dy - y * dx];
                let k = 1.0 / (1.0 + (r / (2.0 * scatter)).powi(2));
                for a in 0..3 {
                    v[a] -= k * j[a] * r;
                    for b in 0..3 {
                        m[a][b] += k * j[a] * j[b];
                    }
                }
                squares += k * r * r;
                weights += k;
            }
            let Some(step) = solve(m, v) else { return Ok(None) };
            for (p, s) in p.iter_mut().zip(step.0) {
                *p += s;
            }
            if p[0].hypot(p[1]) > w as f64 / 3.0 || p[2].abs() > 0.5 {
                return Ok(None);
            }
            // Smoothing makes neighbours alike: so many pixels count as one.
            let alike = (4.0 * std::f64::consts::PI * sigma * sigma).max(1.0);
            let noise = squares / weights * alike;
            last = Some(Motion {
                dx: p[0],
                dy: p[1],
                turn: p[2],
                shift_u: (noise * step.1[0].max(step.1[1])).sqrt(),
                turn_u: (noise * step.1[2]).sqrt(),
                likeness: sab / (saa * sbb).sqrt(),
            });
            if step.0[0].hypot(step.0[1]) < 1e-4 && step.0[2].abs() * w as f64 * 0.5 < 1e-4 {
                break;
            }
        }
    }
    Ok(last)
}

/// Solves three equations; with the solution the diagonal of the inverse.
fn solve(m: [[f64; 3]; 3], v: [f64; 3]) -> Option<([f64; 3], [f64; 3])> {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let det: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    let size: f64 = (0..3).map(|i| m[i][i]).product();
    if size <= 0.0 || det <= 1e-9 * size {
        return None;
    }
    let inverse = |r: usize, c: usize| minor(c, r) / det;
    let x = [0, 1, 2].map(|r| (0..3).map(|c| inverse(r, c) * v[c]).sum());
    Some((x, [0, 1, 2].map(|r| inverse(r, r))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(dx: f64, dy: f64, turn: f64, gain: f64) -> Plane {
        let n = 81;
        let mut p = Plane::filled(n, n, 0.0);
        for y in 0..n {
            for x in 0..n {
                let (u, v) = (x as f64 - 40.0 - dx, y as f64 - 40.0 - dy);
                let (s, c) = turn.sin_cos();
                let (u, v) = (c * u + s * v, -s * u + c * v);
                let value = (u / 4.0).sin() + (v / 5.0 + 0.4).cos() * (u / 9.0).cos();
                p.data[y * n + x] = (100.0 + gain * 40.0 * value) as f32;
            }
        }
        p
    }

    #[test]
    fn shift_and_turn_are_found_whatever_the_brightness() {
        let mut mask = Mask::empty(81, 81);
        ops::fill_circle(&mut mask, 40.0, 40.0, 32.0, 255);
        let m = between(&picture(0.0, 0.0, 0.0, 1.0), &picture(2.3, -1.7, 0.03, 0.8), &mask).unwrap().unwrap();
        assert!((m.dx - 2.3).abs() < 0.03 && (m.dy + 1.7).abs() < 0.03 && (m.turn - 0.03).abs() < 0.002, "{m:?}");
        assert!(m.likeness > 0.99);
    }

    #[test]
    fn nothing_to_lay_hold_of_gives_no_motion() {
        let flat = Plane::filled(40, 40, 90.0);
        assert_eq!(between(&flat, &flat, &Mask::full(40, 40)).unwrap(), None);
        let mut line = Plane::filled(40, 40, 90.0);
        for y in 0..40 {
            line.data[y * 40 + 20] = 200.0;
        }
        assert_eq!(between(&line, &line, &Mask::full(40, 40)).unwrap(), None);
    }
}
