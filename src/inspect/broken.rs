//! A round stone of which a part shows no facets: it is broken off, and the hole or the metal behind it shows, or something covers it. The models
//! of stones and girdles learned chips at the rim; a stone that lacks a third is a stone with a whole girdle to them.

use super::stones::Placed;
use super::Scene;
use crate::locate::PRONG_HALO;
use crate::vision::{ops, VisionError};

/// The stone is looked at on a grid of so many pixels, its radius being so many of them.
const SIDE: usize = 64;
const RADIUS: f64 = 27.0;
/// Blur before the slopes are taken, in pixels of the grid.
const SIGMA: f64 = 0.8;
/// The outermost part is the girdle's edge, and so much on both sides of the cut is left out, in radii.
const WITHIN: f64 = 0.9;
const MARGIN: f64 = 0.08;
/// Stones of fewer pixels across show too few of their facets.
const LEAST_PX: f64 = 24.0;
/// Directions a part may lie in, and the fewest grid pixels of it.
const DIRECTIONS: usize = 24;
const LEAST: usize = 40;
/// Parts that a straight cut takes off, by their depth in radii, with what the ninth decile of their slopes is at most, over the sixth of the
/// rest's. Of 1714 whole stones of four sets (rendered, and the sample pieces) the lowest are 0.080 and 0.141; 0.235; 0.564.
const CUTS: [(f64, f64); 3] = [(0.4, 0.13), (0.5, 0.22), (0.6, 0.5)];

/// How deep a part of a stone shows no facets, in mm; 0 where every part does, or the stone is not round.
///
/// # Errors
/// Where OpenCV refuses.
pub(super) fn flat_mm(scene: &Scene, s: &Placed) -> Result<f64, VisionError> {
    let (stone, pose) = (&scene.view.stones[s.index], &scene.located.pose);
    if !stone.is_round() || pose.px(s.seen) < LEAST_PX {
        return Ok(0.0);
    }
    let radius = pose.px(s.seen) / 2.0;
    let at = pose.to_px(s.centre[0], s.centre[1]);
    let prongs: Vec<([f64; 2], f64)> = scene
        .view
        .stones
        .iter()
        .flat_map(|q| &q.prongs)
        .map(|q| (pose.to_px(q.x_mm, q.y_mm), PRONG_HALO * pose.px(q.radius_mm)))
        .filter(|(p, r)| (p[0] - at[0]).hypot(p[1] - at[1]) < radius + r)
        .map(|(p, r)| ([(p[0] - at[0]) / radius, (p[1] - at[1]) / radius], r / radius))
        .collect();
    let k = radius / RADIUS;
    let middle = (SIDE as f64 - 1.0) / 2.0;
    let map = [[k, 0.0, at[0] - k * middle], [0.0, k, at[1] - k * middle]];
    let seen = ops::gaussian(&ops::strip(scene.grey(), &map, SIDE, SIDE)?, SIGMA)?;
    let (gx, gy) = ops::gradient(&seen)?;
    let points: Vec<([f64; 2], f32)> = (0..SIDE * SIDE)
        .filter_map(|i| {
            let p = [(i % SIDE) as f64 - middle, (i / SIDE) as f64 - middle].map(|v| v / RADIUS);
            let free = p[0].hypot(p[1]) < WITHIN && prongs.iter().all(|(q, r)| (p[0] - q[0]).hypot(p[1] - q[1]) > *r);
            free.then(|| (p, gx.data[i].hypot(gy.data[i])))
        })
        .collect();
    let depth = deepest(&points);
    if depth > 0.0 {
        tracing::debug!("{} of {}: flat to {depth:.1} radii", stone.id, scene.frame.file);
    }
    Ok(depth * s.seen / 2.0)
}

/// The depth in radii of the deepest part without slopes. Points: place in radii, slope.
fn deepest(points: &[([f64; 2], f32)]) -> f64 {
    CUTS.iter().rev().find(|cut| (0..DIRECTIONS).any(|i| is_flat(points, **cut, i))).map_or(0.0, |cut| cut.0)
}

/// Whether the part that a cut takes off in a direction has no slopes beside the rest.
fn is_flat(points: &[([f64; 2], f32)], (depth, most): (f64, f64), direction: usize) -> bool {
    let (s, c) = (std::f64::consts::TAU * direction as f64 / DIRECTIONS as f64).sin_cos();
    let (mut part, mut rest) = (Vec::new(), Vec::new());
    for (p, slope) in points {
        let along = p[0] * c + p[1] * s;
        if along > 1.0 - depth + MARGIN {
            part.push(*slope);
        } else if along < 1.0 - depth - MARGIN {
            rest.push(*slope);
        }
    }
    part.len() >= LEAST
        && !rest.is_empty()
        && f64::from(ops::quantile(&mut part, 0.9) / ops::quantile(&mut rest, 0.6).max(1e-3)) < most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facets all over, but for a part from `from` radii on in a direction.
    fn points(from: f64, turn: f64, even: f32) -> Vec<([f64; 2], f32)> {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut out = Vec::new();
        for i in 0..64 * 64 {
            let p = [f64::from(i % 64) - 31.5, f64::from(i / 64) - 31.5].map(|v| v / 27.0);
            if p[0].hypot(p[1]) < 0.9 {
                let slope = if p[0] * turn.cos() + p[1] * turn.sin() > from { even } else { 30.0 };
                out.push((p, slope * rng.f32()));
            }
        }
        out
    }

    #[test]
    fn a_part_without_facets_is_told_with_its_depth() {
        assert_eq!(deepest(&points(2.0, 0.0, 0.0)), 0.0);
        for turn in [0.0, 1.0, 3.7] {
            assert_eq!(deepest(&points(0.67, turn, 1.0)), 0.4);
            assert_eq!(deepest(&points(0.2, turn, 2.0)), 0.6);
            // A table that is even reaches no edge; facets a third as steep are facets.
            assert_eq!(deepest(&points(0.2, turn, 25.0)), 0.0);
        }
        let table: Vec<_> = points(2.0, 0.0, 0.0)
            .into_iter()
            .map(|(p, s)| (p, if p[0].hypot(p[1]) < 0.55 { 0.01 * s } else { s }))
            .collect();
        assert_eq!(deepest(&table), 0.0);
    }
}
