//! The gap between a stone's girdle and the metal about it: the seat's wall lies in the dark, so a gap shows as a dark band that
//! begins at the girdle and ends at the metal's edge.
//!
//! Stones of a known cut only: of others nothing says how the girdle runs.

use std::f64::consts::{PI, TAU};

use super::girdle::Course;
use super::stones::{self, part, value, Placed};
use super::{Answer, Inspect, Scene};
use crate::locate::PRONG_HALO;
use crate::spec::Stone;
use crate::vision::{ops, Plane, VisionError};

/// The inspector of gaps.
#[derive(Debug)]
pub struct Gap;

/// The characteristic of the gap between girdle and metal.
pub const GAP: &str = "stone.gap_mm";
/// Directions about a stone, and how many of them at least must be free of prongs and neighbours.
const DIRECTIONS: usize = 96;
const LEAST_FREE: usize = DIRECTIONS / 4;
/// A gap is as wide over this many directions (19 degrees) together: what is narrower is a speck or a facet's edge.
const TOGETHER: usize = 5;
/// How far from the girdle the metal's edge is looked for: the seat of a stone that fell over is no gap.
const FARTHEST_MM: f64 = 0.4;
/// How far about a stone the bare metal is looked at, in mm.
const ABOUT_MM: f64 = 0.5;
/// Fewest pixels that say how bright it is.
const LEAST_PIXELS: usize = 40;
/// Half widths, in radians, of the sectors whose metal tells how bright metal is in a direction: the narrowest with enough of it.
const SECTORS: [f64; 2] = [PI / 6.0, PI / 3.0];
/// How many such sectors, which overlap.
const TURNS: usize = 12;
/// Darkest metal, in grey levels, against which a dark band shows.
const DARKEST: f64 = 30.0;
/// What is darker than the metal by this share, and by so many of its deviations, is no metal.
const DARKER: (f64, f64) = (0.3, 3.0);
/// What a seat that is a little off its stone, or a facet's shade, adds to a gap in one place, in mm: 99 of 100 rendered stones' widest gaps have no more.
const BULGE_MM: f64 = 0.12;
/// Standard uncertainty of an edge between two blurred sides, in pixels.
const EDGE_PX: f64 = 0.5;

/// The same of a stone that is not round, in pixels: where its gap is widest is also where the fit of its outline errs most to the inside. Rendered: with it
/// twice the uncertainty covers the gaps of 25 of 26 stones left out of training, 18 with the other.
const OUTLINE_PX: f64 = 1.0;

/// The bare metal about a stone: from which direction of the frame (radians), and how bright.
fn metal_about(scene: &Scene, grey: &Plane, s: &Placed, reach: f64) -> Vec<(f64, f32)> {
    let pose = &scene.located.pose;
    let at = pose.to_px(s.centre[0], s.centre[1]);
    let (inner, outer) = (pose.px(s.diameter / 2.0), pose.px(reach + ABOUT_MM));
    let span = |c: f64, size: usize| ((c - outer).max(0.0) as usize, ((c + outer).max(0.0) as usize + 1).min(size));
    let ((x0, x1), (y0, y1)) = (span(at[0], grey.width), span(at[1], grey.height));
    let mut metal = Vec::new();
    for y in (y0..y1).step_by(2) {
        for x in (x0..x1).step_by(2) {
            let (dx, dy) = (x as f64 - at[0], y as f64 - at[1]);
            let r = dx.hypot(dy);
            if r > inner && r < outer && scene.bare_metal.at(x, y) {
                metal.push((dy.atan2(dx), grey.at(x, y)));
            }
        }
    }
    metal
}

/// The grey level that parts metal from gap in a direction about a stone: polished metal is bright on one side of it and dull on the other. Why none does.
fn threshold(metal: &[(f64, f32)], towards: f64) -> Result<f64, &'static str> {
    let within = |half: f64| -> Vec<f32> {
        let near = |a: f64| (a - towards + PI).rem_euclid(TAU) - PI;
        metal.iter().filter(|m| near(m.0).abs() < half).map(|m| m.1).collect()
    };
    let narrow = within(SECTORS[0]);
    parting(&mut if narrow.len() >= LEAST_PIXELS { narrow } else { within(SECTORS[1]) })
}

/// The grey level that parts metal as bright as this from a gap; why none does.
fn parting(here: &mut [f32]) -> Result<f64, &'static str> {
    if here.len() < LEAST_PIXELS {
        return Err("too little bare metal is seen about it");
    }
    let level = f64::from(ops::median(here));
    let sigma = f64::from(ops::robust_sigma(here));
    let below = level - (DARKER.0 * level).max(DARKER.1 * sigma);
    if level < DARKEST || below < 0.2 * level {
        return Err("the metal about it is as dark, in places, as a gap");
    }
    Ok(below)
}

/// How far the dark reaches from the girdle, in pixels, along one direction of the frame: none where it does not end.
fn dark(grey: &Plane, from: [f64; 2], along: [f64; 2], farthest: f64, below: f64) -> Option<f64> {
    let step = 0.5;
    let level = |t: f64| {
        let p = [from[0] + along[0] * t, from[1] + along[1] * t];
        let side = |k: f64| f64::from(grey.sample(p[0] - along[1] * k, p[1] + along[0] * k));
        (side(-1.0) + side(0.0) + side(1.0)) / 3.0
    };
    let mut last = level(0.0);
    if last >= below && level(1.0) >= below {
        return Some(0.0);
    }
    let mut t = step;
    while t <= farthest {
        let now = level(t);
        // Bright for two pixels: an edge, not a glint.
        if now >= below && [0.5, 1.0, 2.0].iter().all(|k| level(t + k) >= below) {
            let part = if last < below { (below - last) / (now - last) } else { 1.0 };
            return Some(t - step + step * part);
        }
        last = now;
        t += step;
    }
    None
}

/// By how much the gap about a stone is wider in its widest place than it mostly is, in mm, where that is more than a girdle a little off its fit
/// makes; none where it is not, or is not known.
pub(super) fn bulge(scene: &Scene, index: usize) -> Option<f64> {
    let (gap, u, mostly) = found(scene).iter().find(|f| f.0 == index)?.1.ok()?;
    let by = gap - mostly;
    (by > BULGE_MM.max(4.0 * u)).then_some(by)
}

/// The gap about a placed stone: its index in the view; the widest gap in mm, its standard uncertainty, and how wide it mostly is, or why it is not known.
pub type Found = (usize, Result<(f64, f64, f64), &'static str>);

/// The gaps about all placed stones; measured once for a scene.
fn found<'a>(scene: &'a Scene) -> &'a [Found] {
    scene.gaps.get_or_init(|| {
        let (placed, _) = stones::placed(scene);
        placed.iter().map(|s| (s.index, widest(scene, scene.grey(), s))).collect()
    })
}

/// The widest gap about a stone in mm, its standard uncertainty, and how wide it mostly is; why it is not known.
fn widest(scene: &Scene, grey: &Plane, s: &Placed) -> Result<(f64, f64, f64), &'static str> {
    let pose = &scene.located.pose;
    let stones = &scene.view.stones;
    let stone = &stones[s.index];
    let course = Course::of_stone(stone, DIRECTIONS, stone.length_turn() + s.turned)
        .ok_or("only the gaps of known cuts are measured")?;
    // From its centre to its farthest corner.
    let longest = s.diameter * course.points().map(|(at, ..)| at[0].hypot(at[1])).fold(0.0, f64::max);
    let metal = metal_about(scene, grey, s, longest);
    let sector = |towards: f64| (towards.rem_euclid(TAU) / TAU * TURNS as f64).round() as usize % TURNS;
    // Where it is brighter than all about, a reflection may be.
    let all_about = parting(&mut metal.iter().map(|m| m.1).collect::<Vec<_>>())?;
    let levels: Vec<Result<f64, &'static str>> =
        (0..TURNS).map(|k| Ok(threshold(&metal, TAU * k as f64 / TURNS as f64)?.min(all_about))).collect();
    let mut unknown = None;
    let near = |x: f64, y: f64, reach: f64| (x - s.centre[0]).hypot(y - s.centre[1]) < longest + FARTHEST_MM + reach;
    let prongs: Vec<_> =
        stones.iter().flat_map(|q| &q.prongs).filter(|q| near(q.x_mm, q.y_mm, PRONG_HALO * q.radius_mm)).collect();
    let others: Vec<&Stone> = stones
        .iter()
        .enumerate()
        .filter(|(i, q)| *i != s.index && near(q.x_mm, q.y_mm, q.reach_mm()))
        .map(|(_, q)| q)
        .collect();
    let farthest = pose.px(FARTHEST_MM.min(0.35 * s.diameter));
    let seen: Vec<Option<f32>> = course
        .points()
        .map(|(from, faces, straight)| {
            let at = |out: f64| [0, 1].map(|k: usize| s.centre[k] + s.diameter * from[k] + out * faces[k]);
            // At a corner a gap is wider along the diagonal than it is.
            let free = straight
                && [0.0, 0.05, 0.1].iter().all(|out| {
                    let p = at(*out);
                    let off = |x: f64, y: f64| (p[0] - x).hypot(p[1] - y);
                    prongs.iter().all(|q| off(q.x_mm, q.y_mm) > PRONG_HALO * q.radius_mm)
                        && others.iter().all(|q| off(q.x_mm, q.y_mm) > q.reach_mm())
                });
            let ([x, y], [x1, y1]) = (at(0.0), at(1.0));
            let (from, to) = (pose.to_px(x, y), pose.to_px(x1, y1));
            let along = [to[0] - from[0], to[1] - from[1]].map(|v| v / pose.px(1.0));
            let end = [from[0] + farthest * along[0], from[1] + farthest * along[1]];
            let inside = end[0] >= 0.0 && end[1] >= 0.0 && end[0] < grey.width as f64 && end[1] < grey.height as f64;
            if !free || !inside {
                return None;
            }
            match levels[sector(along[1].atan2(along[0]))] {
                Ok(below) => dark(grey, from, along, farthest, below).map(|v| v as f32),
                Err(why) => {
                    unknown.get_or_insert(why);
                    None
                }
            }
        })
        .collect();
    if seen.iter().flatten().count() < LEAST_FREE {
        return Err(
            unknown.unwrap_or("prongs and neighbours hide its girdle, or nothing bright ends the dark about it")
        );
    }
    let half = TOGETHER / 2;
    let wide = |k: usize| {
        let mut near: Vec<f32> =
            (0..TOGETHER).filter_map(|j| seen[(k + DIRECTIONS + j - half) % DIRECTIONS]).collect();
        (2 * near.len() > TOGETHER).then(|| f64::from(ops::median(&mut near)))
    };
    let widest = (0..DIRECTIONS).filter_map(wide).fold(0.0, f64::max);
    let ratio = stone.length_ratio().unwrap_or(1.0);
    let edge = if stone.is_round() { EDGE_PX } else { OUTLINE_PX };
    let u = s.offset_u.hypot(ratio * s.diameter_u / 2.0).hypot(pose.mm(edge));
    let mut all: Vec<f32> = seen.iter().flatten().copied().collect();
    Ok((pose.mm(widest), u, pose.mm(f64::from(ops::median(&mut all)))))
}

impl Inspect for Gap {
    fn name(&self) -> &'static str {
        "gap"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[GAP]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        if scene.view.stones.is_empty() {
            return Ok(answer);
        }
        if scene.mm_per_px().is_none() {
            answer.not_assessed.push((GAP, "the frame has no um_per_px".into()));
            return Ok(answer);
        }
        if scene.sights.is_none() {
            answer.not_assessed.push((GAP, stones::NO_MODEL.into()));
            return Ok(answer);
        }
        let (placed, _) = stones::placed(scene);
        for (index, stone) in scene.view.stones.iter().enumerate() {
            let stands = placed.iter().find(|s| s.index == index).zip(found(scene).iter().find(|f| f.0 == index));
            let measured = match stands {
                Some((s, (_, gap))) => gap.map(|v| (s, v)),
                None => Err("it was not measured"),
            };
            match measured {
                Ok((s, (gap, u, _))) => {
                    let pose = &scene.located.pose;
                    let at = pose.to_px(s.centre[0], s.centre[1]);
                    let mut feature = part(&stone.id, at, pose.px(s.diameter / 2.0));
                    feature.found_by = vec![self.name().to_owned()];
                    // Where the spec does not say what holds it, beads, a channel's floor or a bezel's wall may be what is dark: all of it or none.
                    let setting = if stone.prongs.is_empty() { gap / 2.0 } else { 0.0 };
                    feature.values.push(value(GAP, gap, u.hypot(setting)));
                    answer.features.push(feature);
                }
                Err(why) => answer.not_assessed.push((GAP, format!("stone {}: {why}", stone.id))),
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of pixels: a stone, a dark band from 20 to `end`, metal.
    fn band(end: f32) -> Plane {
        let (width, height) = (80, 21);
        let level = |x: usize| {
            let metal = (x as f32 + 0.5 - end).clamp(0.0, 1.0);
            if x < 20 {
                90.0
            } else {
                40.0 + metal * 120.0
            }
        };
        let data = (0..height).flat_map(|_| (0..width).map(level)).collect();
        Plane { width, height, data }
    }

    #[test]
    fn the_dark_ends_where_the_metal_begins() {
        for end in [24.0, 26.5, 31.25] {
            let width = dark(&band(end), [19.5, 10.0], [1.0, 0.0], 30.0, 100.0).expect("it ends");
            assert!((width - f64::from(end - 19.5)).abs() < 0.5, "{width} for {end}");
        }
        // It does not end within reach; and where metal begins at once there is none.
        assert_eq!(dark(&band(75.0), [19.5, 10.0], [1.0, 0.0], 30.0, 100.0), None);
        assert_eq!(dark(&band(0.0), [30.0, 10.0], [1.0, 0.0], 30.0, 100.0), Some(0.0));
    }
}
