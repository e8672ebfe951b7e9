//! Metal seen within a stone's girdle, beside no prong: a flake is gone and what lies behind it shows, or metal was pushed over it. The models of
//! stones and girdles learned chips that are broken facets; where the stone is gone they follow the girdle over the place.

use super::girdle::Course;
use super::stones::{self, Placed};
use super::Scene;
use crate::locate::PRONG_HALO;
use crate::vision::ops;

/// Directions about a stone, and the least share of them that must be free of prongs.
const DIRECTIONS: usize = 180;
const LEAST_FREE: usize = DIRECTIONS / 6;
/// A bite is at least this wide along the girdle, in mm: what is narrower is a facet's edge.
const WIDE_MM: f64 = 0.12;
/// Deepest that is looked for, in widths of the stone.
const DEEPEST: f64 = 0.2;
/// The metal's lip covers all of a girdle alike. How much farther the metal reaches in one place of whole stones, in mm: on 250 of sample pieces three times by
/// more than this where it looks like the metal beside it, on 320 of regression pieces never (metal alone, stones measured in Python).
const LEAST_MM: f64 = 0.045;
/// Metal within the girdle looks like the metal just outside: its colour differs by less than this share of the brightness. Of the 15 regression stones about
/// which the map sees metal within, all differ by more.
const ALIKE: f64 = 0.12;
/// What a seat's floor shows may be darker or brighter than the metal beside it, and has its tone: where that differs by less than this in each channel's share, the
/// brightness by no more than these times, and the metal reaches so far in, it is metal too. Of round stones: beside a baguette the rails look so. On 207 frames of the sample pieces,
/// regression and 60 of `tilts.toml` six chipped and five whole round stones are told by it.
const TONE: f64 = 0.035;
const TIMES: std::ops::Range<f64> = 0.7..1.35;
const DEEP_MM: f64 = 0.08;
/// Of what lies outside the girdle, from where to where in mm, the colour is taken.
const OUTSIDE_MM: (f64, f64) = (0.03, 0.12);

/// How far metal is seen within the girdles of the placed stones, by their index, in mm beyond the lip; 0 where it is not. Measured once for a scene.
pub(super) fn within(scene: &Scene, index: usize) -> f64 {
    let all = scene.bites.get_or_init(|| {
        let (placed, _) = stones::placed(scene);
        placed.iter().map(|s| (s.index, deepest(scene, s).unwrap_or(0.0))).collect()
    });
    all.iter().find(|b| b.0 == index).map_or(0.0, |b| b.1)
}

/// How much farther within the girdle than elsewhere metal reaches in one place, in mm, where it looks like the metal beside it.
fn deepest(scene: &Scene, s: &Placed) -> Option<f64> {
    let map = scene.classes?;
    let (metal, prong) = (map.class("metal")?, map.class("prong")?);
    let pose = &scene.located.pose;
    let stone = &scene.view.stones[s.index];
    let course = Course::of_stone(stone, DIRECTIONS, stone.length_turn() + s.turned)?;
    let prongs: Vec<_> = scene.view.stones.iter().flat_map(|q| &q.prongs).collect();
    // Each direction's place on the girdle and its way inward, in pixels.
    let mut rays: Vec<([f64; 2], [f64; 2], bool)> = Vec::with_capacity(DIRECTIONS);
    let mut length = 0.0;
    for (from, faces, straight) in course.points() {
        let at = |out: f64| [0, 1].map(|k: usize| s.centre[k] + s.seen * from[k] + out * faces[k]);
        let ([x, y], [x1, y1]) = (at(0.0), at(-1.0));
        let free = straight
            && prongs.iter().all(|q| (x - q.x_mm).hypot(y - q.y_mm) > PRONG_HALO * q.radius_mm + pose.mm(1.0));
        let (p, q) = (pose.to_px(x, y), pose.to_px(x1, y1));
        let inward = [q[0] - p[0], q[1] - p[1]].map(|v| v / pose.px(1.0));
        if let Some((last, ..)) = rays.last() {
            length += (p[0] - last[0]).hypot(p[1] - last[1]);
        }
        rays.push((p, inward, free));
    }
    if rays.iter().filter(|r| r.2).count() < LEAST_FREE {
        return None;
    }
    let most = pose.px(DEEPEST * s.seen);
    // A patch of metal that is seen by itself is a prong's tip to the map.
    let is_metal = |p: &[f64; 2], inward: &[f64; 2], t: f64| {
        let (x, y) = (p[0] + t * inward[0], p[1] + t * inward[1]);
        map.sample(metal, x, y) + map.sample(prong, x, y) >= 0.5
    };
    // Where two places half a pixel apart show none.
    let begins = |(p, inward, free): &([f64; 2], [f64; 2], bool)| {
        free.then(|| {
            let (mut t, mut before) = (0.0, false);
            while t < most {
                let now = !is_metal(p, inward, t);
                if now && before {
                    return (t - 0.5) as f32;
                }
                before = now;
                t += 0.5;
            }
            most as f32
        })
    };
    let depth: Vec<Option<f32>> = rays.iter().map(begins).collect();
    let lip = f64::from(ops::median(&mut depth.iter().flatten().copied().collect::<Vec<_>>()));
    let wide = ((pose.px(WIDE_MM) * DIRECTIONS as f64 / length.max(1.0)).round() as usize).max(3);
    let window = |k: usize| (0..wide).map(move |j| (k + j) % DIRECTIONS).filter(|j| depth[*j].is_some());
    let place = (0..DIRECTIONS)
        .filter_map(|k| {
            let mut here: Vec<f32> = window(k).filter_map(|j| depth[j]).collect();
            (10 * here.len() >= 7 * wide).then(|| (k, f64::from(ops::median(&mut here))))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let (k, deep) = place?;
    let by = pose.mm(deep - lip);
    if by < LEAST_MM {
        return None;
    }
    let colour = |from: f64, to: f64| -> Option<[f64; 3]> {
        let mut of = [const { Vec::new() }; 3];
        for (p, inward, _) in window(k).map(|j| &rays[j]) {
            let mut t = from;
            while t <= to {
                let seen = scene.image.sample(p[0] + t * inward[0], p[1] + t * inward[1]);
                for (all, v) in of.iter_mut().zip(seen) {
                    all.push(v);
                }
                t += 0.5;
            }
        }
        (!of[0].is_empty()).then(|| of.map(|mut v| f64::from(ops::median(&mut v))))
    };
    let inner = colour(pose.px(0.015), (deep - pose.px(0.02)).max(pose.px(0.03)))?;
    let outer = colour(-pose.px(OUTSIDE_MM.1), -pose.px(OUTSIDE_MM.0))?;
    let off = (0..3).map(|c| (inner[c] - outer[c]).abs()).fold(0.0, f64::max);
    let bright = (outer.iter().sum::<f64>() / 3.0).max(10.0);
    tracing::debug!(
        "metal within {} of {}: {by:.3} mm, unlike the metal beside it by {:.2}",
        stone.id,
        scene.frame.file,
        off / bright
    );
    let inner_bright = (inner.iter().sum::<f64>() / 3.0).max(1.0);
    let tone = (0..3).map(|c| (inner[c] / inner_bright - outer[c] / bright).abs()).fold(0.0, f64::max);
    let floor = stone.is_round() && by >= DEEP_MM && tone < TONE && TIMES.contains(&(inner_bright / bright));
    (off < ALIKE * bright || floor).then_some(by)
}
