//! Stones of another cut than was ordered, or turned in their seats: the corners of the ordered outline, which a round stone does not reach, show no stone.

use super::girdle::Course;
use super::stones::{self, Placed};
use super::Scene;
use crate::locate::PRONG_HALO;
use crate::spec::Stone;
use crate::vision::ops;

/// Places a side that a stone's box is looked at in.
const PLACES: usize = 48;
/// The corners lie outside the ellipse within the outline, enlarged so much, and within the outline made smaller so much.
const ELLIPSE: f64 = 1.06;
const WITHIN: f64 = 0.95;
/// The middle lies within the ellipse made smaller so much.
const MIDDLE: f64 = 0.8;
/// Corners of which less can be seen tell nothing.
const LEAST_PLACES: usize = 12;
/// They are empty where they show less stone than this share of what the middle shows. Of 175 rendered stones with corners none shows less than 0.34; round ones
/// laid into the seats of three princess cuts show 0.14 and less.
const EMPTY: f64 = 0.2;
/// A stone is turned from here on (radians): one and a half deviations of what the model of girdles takes for possible, which shrinks larger turns. Of 256 rendered
/// stones none is turned by more than 0.039; of eleven turned by 10 to 20 degrees seven by more than this.
const TURNED: f64 = 0.045;

/// The mean share of stone in the corners of a stone's outline that no prong is near, and that of its middle.
fn corners(scene: &Scene, s: &Placed) -> Option<(f64, f64, usize)> {
    let map = scene.classes?;
    let class = map.class("stone")?;
    let pose = &scene.located.pose;
    let stone: &Stone = &scene.view.stones[s.index];
    let turn = stone.length_turn() + s.turned;
    let line = stone.girdle(s.centre, WITHIN * s.seen, turn)?;
    let (long, wide) = (0.5 * s.seen * stone.length_ratio()?, 0.5 * s.seen);
    let (sin, cos) = turn.sin_cos();
    let prongs: Vec<_> = scene.view.stones.iter().flat_map(|q| &q.prongs).collect();
    let (mut corner, mut n, mut middle, mut m) = (0.0, 0usize, 0.0, 0usize);
    let reach = long.max(wide);
    for k in 0..PLACES * PLACES {
        let [u, v] = [k % PLACES, k / PLACES].map(|k| reach * ((k as f64 + 0.5) / (PLACES / 2) as f64 - 1.0));
        // Along the stone's own axes: its length along y where it lies straight.
        let out = (u / wide).hypot(v / long);
        let at = [s.centre[0] + cos * u - sin * v, s.centre[1] + sin * u + cos * v];
        let in_middle = out < MIDDLE;
        if !(in_middle || (out > ELLIPSE && ops::contains(&line, at))) {
            continue;
        }
        if prongs.iter().any(|q| (at[0] - q.x_mm).hypot(at[1] - q.y_mm) < PRONG_HALO * q.radius_mm) {
            continue;
        }
        let p = pose.to_px(at[0], at[1]);
        let share = f64::from(map.sample(class, p[0], p[1]));
        if in_middle {
            (middle, m) = (middle + share, m + 1);
        } else {
            (corner, n) = (corner + share, n + 1);
        }
    }
    (n > 0 && m > 0).then(|| (corner / n as f64, middle / m as f64, n))
}

/// Directions about a stone that its girdle is looked at in, turns to either side that are tried and how far apart they are (degrees), and how far in and out of the girdle the map is asked, in
/// widths.
const DIRECTIONS: usize = 180;
const TRIED: i32 = 16;
const STEP_DEG: f64 = 1.5;
const BESIDE: [f64; 3] = [0.03, 0.06, 0.1];

/// A stone lies turned where the girdle is clearer by so much (mean share of stone) at least so far off (degrees). Of 107 looks at good stones of other cuts none is clearer by more than 0.016, or farther off
/// than 4.5 degrees; painted ones that are turned by 8 to 15 degrees are clearer by 0.044 and more, from 6 degrees on.
const CLEARER: f64 = 0.025;
const OFF_DEG: f64 = 4.0;

/// How a stone lies in its seat by the region that the surface model takes for it: the turn (degrees, counter-clockwise) of the ordered girdle at which most stone lies just within it and least just
/// without, and by how much more than at none (mean share of stone). None of a round stone, and where prongs leave too little of the girdle.
fn lies(scene: &Scene, s: &Placed) -> Option<(f64, f64)> {
    let map = scene.classes?;
    let class = map.class("stone")?;
    let pose = &scene.located.pose;
    let stone: &Stone = &scene.view.stones[s.index];
    if stone.is_round() {
        return None;
    }
    let prongs: Vec<_> = scene.view.stones.iter().flat_map(|q| &q.prongs).collect();
    let hidden =
        |at: [f64; 2]| prongs.iter().any(|q| (at[0] - q.x_mm).hypot(at[1] - q.y_mm) < PRONG_HALO * q.radius_mm);
    let clear = |deg: f64| -> Option<f64> {
        let course = Course::of_stone(stone, DIRECTIONS, stone.length_turn() + deg.to_radians())?;
        let (mut sum, mut n) = (0.0, 0.0);
        for (from, faces, _) in course.points() {
            let at = |out: f64| [0, 1].map(|k: usize| s.centre[k] + s.seen * (from[k] + out * faces[k]));
            if hidden(at(0.0)) {
                continue;
            }
            let share = |out: f64| {
                let p = at(out);
                let [x, y] = pose.to_px(p[0], p[1]);
                f64::from(map.sample(class, x, y))
            };
            sum += BESIDE.iter().map(|b| share(-b) - share(*b)).sum::<f64>() / BESIDE.len() as f64;
            n += 1.0;
        }
        (3.0 * n >= DIRECTIONS as f64).then(|| sum / n)
    };
    let none = clear(0.0)?;
    let tried = (-TRIED..=TRIED).filter_map(|k| Some((STEP_DEG * f64::from(k), clear(STEP_DEG * f64::from(k))?)));
    let (deg, most) = tried.max_by(|a, b| a.1.total_cmp(&b.1))?;
    tracing::debug!(
        "stone {} of {} lies turned by {deg:.1} degrees, clearer by {:.3} than {none:.3}",
        stone.id,
        scene.frame.file,
        most - none
    );
    Some((deg, most - none))
}

/// What a frame shows of stones of another cut than was ordered, or that lie turned, as a person reads it; none where it shows none.
pub fn another(scene: &Scene) -> Option<String> {
    let (placed, _) = stones::placed(scene);
    let mut words = Vec::new();
    for s in placed {
        let stone = &scene.view.stones[s.index];
        let lies = lies(scene, s).filter(|(deg, clearer)| *clearer > CLEARER && deg.abs() > OFF_DEG);
        let seen = corners(scene, s).filter(|(corner, middle, n)| *n >= LEAST_PLACES && *corner < EMPTY * middle);
        if seen.is_some() {
            words.push(format!(
                "the corners of stone {} show none: it is no {}, or lies turned",
                stone.id,
                stone.cut_word().replace('_', " ")
            ));
        } else if let Some((deg, _)) = lies {
            words.push(format!("stone {} lies turned, by about {:.0} degrees", stone.id, deg.abs()));
        } else if s.turned.abs() > TURNED {
            words.push(format!(
                "stone {} lies turned, by {:.0} degrees or more",
                stone.id,
                s.turned.abs().to_degrees().floor()
            ));
        }
    }
    (!words.is_empty()).then(|| words.join(", "))
}
