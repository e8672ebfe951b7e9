//! The direction that an outline leaves open, from the nominal stones: where the labels "stone", "prong" and "metal",
//! laid over the frame, tell its pixels apart best. Nothing is assumed of how stones look, only that they look
//! different from the metal in texture, colour or brightness.

use super::{outline, Pose, MAX_SHIFT_MM, MAX_TURN_DEG};
use crate::spec::{Outline, Stone, View};
use crate::vision::{ops, Image, Plane, VisionError};

/// A value with its standard uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The value.
    pub value: f64,
    /// Standard uncertainty.
    pub uncertainty: f64,
}

/// The labels: metal, stones, prongs, and stones of another kind than the commonest.
const METAL: usize = 0;
const STONE: usize = 1;
const PRONG: usize = 2;
const OTHER_STONE: usize = 3;
const CLASSES: usize = 4;

/// A labelled place of the piece.
struct Place {
    x: f64,
    y: f64,
    class: usize,
}

/// The turn in radians of a piece whose centre is known, the likeliest first, and those that fit nearly as well: stones in a ring
/// look alike one place further on.
///
/// # Errors
/// Where OpenCV refuses. Empty where no turn tells stones from metal.
pub fn find_turn(image: &Image, view: &View, shape: &Outline, pose: &Pose) -> Result<Vec<Found>, VisionError> {
    let reach = outline::reach(shape);
    let places = places(view, shape, pose, reach);
    let features = Features::new(image, pose)?;
    let at = |turn: f64| Pose { rotation: turn, ..*pose };
    let max = MAX_TURN_DEG.to_radians();
    // A step moves the outermost stone by 30 um.
    Ok(peaks(max, 0.03 / reach, |t| features.score(&places, &at(t)), |t| girdles(image, view, &at(t)), 0.003 / reach))
}

/// The shift in mm along the piece's x axis of a band whose edges are known, the likeliest first, and those that fit nearly as well.
///
/// # Errors
/// Where OpenCV refuses. Empty where no shift tells stones from metal.
pub fn find_shift(image: &Image, view: &View, shape: &Outline, pose: &Pose) -> Result<Vec<Found>, VisionError> {
    let reach = view.stones.iter().map(|s| s.x_mm.abs() + s.diameter_mm).fold(0.0, f64::max);
    let places = places(view, shape, pose, reach + MAX_SHIFT_MM);
    let features = Features::new(image, pose)?;
    let (s, c) = pose.rotation.sin_cos();
    let at = |d: f64| Pose { dx_mm: pose.dx_mm + c * d, dy_mm: pose.dy_mm + s * d, ..*pose };
    Ok(peaks(MAX_SHIFT_MM, 0.03, |d| features.score(&places, &at(d)), |d| girdles(image, view, &at(d)), 0.003))
}

/// A peak fits nearly as well as the best one from this share of the best one's score on.
const NEARLY: f64 = 0.5;

/// The places of the highest coarse scores, refined by the fine one around each: the best first, then what fits nearly as well.
fn peaks(max: f64, step: f64, coarse: impl Fn(f64) -> f64, fine: impl Fn(f64) -> f64, fine_step: f64) -> Vec<Found> {
    let n = (max / step).ceil() as i32;
    let scores: Vec<(f64, f64)> = (-n..=n).map(|i| f64::from(i) * step).map(|v| (coarse(v), v)).collect();
    let top = scores.iter().map(|s| s.0).fold(f64::MIN, f64::max);
    // Labels that say nothing explain no variance at all.
    if top <= 0.05 {
        return vec![];
    }
    // A missing stone can make the row fit one place further along nearly as well: among the coarse score's good peaks
    // the girdles and prongs decide, because an empty seat still has its rim and its prongs. They count above what they
    // show anywhere. A score that still rises at the end of the search is no peak.
    let mut anywhere: Vec<f32> = scores.iter().step_by(4).map(|s| fine(s.1) as f32).collect();
    let base = f64::from(ops::median(&mut anywhere));
    let mut found: Vec<(f64, f64)> = scores
        .windows(3)
        .filter(|w| w[0].0 <= w[1].0 && w[2].0 < w[1].0 && w[1].0 > 0.4 * top)
        .map(|w| {
            let (s, v) = w[1];
            let sharp = (-3..=3).map(|k| fine(v + f64::from(k) * step / 4.0)).fold(f64::MIN, f64::max);
            // Where no girdle shows at all the coarse score decides.
            ((sharp - base).max(1e-6) * (s / top).powf(0.25), v)
        })
        .collect();
    // Stable: of two alike the first stays before the second.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = found.first().map_or(0.0, |f| f.0);
    found.retain(|f| f.0 >= NEARLY * best);
    let mut out: Vec<Found> = Vec::new();
    for (_, v) in found {
        let refined = refine(v, 4.0 * step, &fine, fine_step);
        out.extend(refined.filter(|f| out.iter().all(|o| (o.value - f.value).abs() > 4.0 * step)));
    }
    out
}

/// The peak of the fine score within `reach` of a place.
fn refine(centre: f64, reach: f64, fine: impl Fn(f64) -> f64, fine_step: f64) -> Option<Found> {
    let half = (reach / fine_step).round() as i32;
    let scores: Vec<(f64, f64)> =
        (-half..=half).map(|i| centre + f64::from(i) * fine_step).map(|v| (fine(v), v)).collect();
    let k = (0..scores.len()).max_by(|a, b| scores[*a].0.total_cmp(&scores[*b].0))?;
    // The peak's centre of gravity over what stands above half of it: one girdle's noise does not move it.
    let mut sorted: Vec<f32> = scores.iter().map(|s| s.0 as f32).collect();
    let base = f64::from(ops::median(&mut sorted));
    let level = base + 0.5 * (scores[k].0 - base);
    let (mut lo, mut hi) = (k, k);
    while lo > 0 && scores[lo - 1].0 > level {
        lo -= 1;
    }
    while hi + 1 < scores.len() && scores[hi + 1].0 > level {
        hi += 1;
    }
    let weight: f64 = scores[lo..=hi].iter().map(|s| s.0 - level).sum();
    let value = if weight > 0.0 {
        scores[lo..=hi].iter().map(|s| (s.0 - level) * s.1).sum::<f64>() / weight
    } else {
        scores[k].1
    };
    // Half the peak's half width: where it lies is known better, but the stones' own setting jitter moves it too.
    let uncertainty = 0.25 * (scores[hi].1 - scores[lo].1).max(fine_step);
    Some(Found { value, uncertainty })
}

/// Whether each stone is of the commonest kind of its view: a centre stone of another gem may look like the metal, and neither may
/// hide the other.
fn are_common(stones: &[Stone]) -> Vec<bool> {
    let alike = |a: &Stone, b: &Stone| a.gem == b.gem && (a.diameter_mm - b.diameter_mm).abs() < 0.2 * b.diameter_mm;
    let counts: Vec<usize> = stones.iter().map(|s| stones.iter().filter(|o| alike(o, s)).count()).collect();
    let most = counts.iter().max();
    // Of two kinds as common the first is.
    let first = stones.iter().zip(&counts).find(|(_, n)| Some(*n) == most).map(|(s, _)| s);
    stones.iter().map(|s| first.is_some_and(|f| alike(s, f))).collect()
}

/// The girdle of a stone that is not round, in piece coordinates (mm); none of a round one, and of a cut that is not known.
fn plan(stone: &Stone) -> Option<Vec<[f64; 2]>> {
    stone.girdle([stone.x_mm, stone.y_mm], stone.diameter_mm, stone.length_turn())
}

/// About `n` places along a stone's girdle, each with the direction out of it.
fn rim(stone: &Stone, n: usize) -> Vec<([f64; 2], [f64; 2])> {
    let Some(line) = plan(stone) else {
        let r = stone.diameter_mm / 2.0;
        let at = |i: usize| (std::f64::consts::TAU * i as f64 / n as f64).sin_cos();
        return (0..n).map(at).map(|(s, c)| ([stone.x_mm + r * c, stone.y_mm + r * s], [c, s])).collect();
    };
    let sides = || line.iter().zip(line.iter().cycle().skip(1));
    let length = |(a, b): (&[f64; 2], &[f64; 2])| (b[0] - a[0]).hypot(b[1] - a[1]);
    let step = sides().map(length).sum::<f64>() / n as f64;
    let mut out = Vec::new();
    for (a, b) in sides() {
        let side = length((a, b));
        let along = [(b[0] - a[0]) / side, (b[1] - a[1]) / side];
        // The line runs around the stone one way or the other: out is away from its centre.
        let mut normal = [along[1], -along[0]];
        if normal[0] * (a[0] - stone.x_mm) + normal[1] * (a[1] - stone.y_mm) < 0.0 {
            normal = normal.map(|v| -v);
        }
        let k = (side / step).round() as usize;
        out.extend((0..k).map(|i| {
            let t = side * (i as f64 + 0.5) / k as f64;
            ([a[0] + t * along[0], a[1] + t * along[1]], normal)
        }));
    }
    out
}

/// Labelled places on a grid of about 60 um; the metal only as far as the stones' neighbourhood.
fn places(view: &View, shape: &Outline, pose: &Pose, reach: f64) -> Vec<Place> {
    let polygon = outline::polygon(shape, reach);
    let grid = 0.06f64.max(pose.mm(1.0)).max(reach / 80.0);
    let n = (reach / grid).ceil() as i32;
    let labels = are_common(&view.stones).into_iter().map(|common| if common { STONE } else { OTHER_STONE });
    let stones: Vec<(Option<Vec<[f64; 2]>>, usize)> = view.stones.iter().map(plan).zip(labels).collect();
    let mut out = Vec::new();
    for j in -n..=n {
        for i in -n..=n {
            let (x, y) = (f64::from(i) * grid, f64::from(j) * grid);
            if !ops::contains(&polygon, [x, y]) {
                continue;
            }
            let mut class = METAL;
            let mut doubtful = false;
            for (s, (plan, of_stone)) in view.stones.iter().zip(&stones) {
                let d = (x - s.x_mm).hypot(y - s.y_mm) - s.diameter_mm / 2.0;
                match plan {
                    Some(line) if d < s.reach_mm() && ops::contains(line, [x, y]) => class = *of_stone,
                    Some(_) => {}
                    None => {
                        if d < 0.0 {
                            class = *of_stone;
                        }
                        doubtful |= d.abs() < 0.03;
                    }
                }
                for p in &s.prongs {
                    if (x - p.x_mm).hypot(y - p.y_mm) < p.radius_mm {
                        class = PRONG;
                    }
                }
                if class == PRONG {
                    break;
                }
            }
            if class == PRONG || !doubtful {
                out.push(Place { x, y, class });
            }
        }
    }
    out
}

/// What a pixel looks like: texture, two colour ratios, brightness; shrunk to some 25 um a pixel.
struct Features {
    planes: Vec<Plane>,
    f: usize,
}

impl Features {
    fn new(image: &Image, pose: &Pose) -> Result<Self, VisionError> {
        let f = ((25.0 / pose.um_per_px).round() as usize).clamp(1, 16);
        let rgb: Vec<Plane> = (0..3).map(|c| ops::shrink(&image.channel(c), f)).collect();
        let mut mean = rgb[0].clone();
        for (i, v) in mean.data.iter_mut().enumerate() {
            *v = (*v + rgb[1].data[i] + rgb[2].data[i]) / 3.0;
        }
        let (gx, gy) = ops::gradient(&mean)?;
        let mut energy = gx;
        for (a, b) in energy.data.iter_mut().zip(&gy.data) {
            *a = *a * *a + b * b;
        }
        let mut texture = ops::gaussian(&energy, 1.5)?;
        for v in &mut texture.data {
            *v = (v.max(0.0) + 1.0).ln();
        }
        let ratio = |c: usize| {
            let mut p = rgb[c].clone();
            for (v, m) in p.data.iter_mut().zip(&mean.data) {
                *v /= m.max(4.0);
            }
            p
        };
        Ok(Features { planes: vec![texture, ratio(0), ratio(2), mean], f })
    }

    /// Sum over the features of log(total variance / variance within the classes).
    fn score(&self, places: &[Place], pose: &Pose) -> f64 {
        let k = self.planes.len();
        let mut n = [0.0f64; CLASSES];
        let mut sum = vec![[0.0f64; CLASSES]; k];
        let mut square = vec![0.0f64; k];
        let (w, h) = (self.planes[0].width, self.planes[0].height);
        for p in places {
            let at = pose.to_px(p.x, p.y);
            let (x, y) = ((at[0] + 0.5) / self.f as f64, (at[1] + 0.5) / self.f as f64);
            if x < 0.0 || y < 0.0 || x as usize >= w || y as usize >= h {
                continue;
            }
            let i = y as usize * w + x as usize;
            n[p.class] += 1.0;
            for (j, plane) in self.planes.iter().enumerate() {
                let v = f64::from(plane.data[i]);
                sum[j][p.class] += v;
                square[j] += v * v;
            }
        }
        let all: f64 = n.iter().sum();
        if n[STONE] + n[OTHER_STONE] < 20.0 || n[METAL] < 20.0 {
            return f64::MIN;
        }
        (0..k)
            .map(|j| {
                let mean = sum[j].iter().sum::<f64>() / all;
                let total = square[j] - all * mean * mean;
                let between: f64 =
                    (0..CLASSES).filter(|c| n[*c] > 0.0).map(|c| sum[j][c] * sum[j][c] / n[c]).sum::<f64>()
                        - all * mean * mean;
                (total / (total - between).max(1e-9 * total + 1e-12)).ln()
            })
            .sum()
    }
}

/// How sharp the picture's radial step is on the stones' nominal girdles: mean |difference| across one and a half
/// pixels either side, over all stones and angles that no prong covers.
fn girdles(image: &Image, view: &View, pose: &Pose) -> f64 {
    let gap = (1.5f64).max(pose.px(0.012));
    let (w, h) = (image.width as f64, image.height as f64);
    let at = |x: f64, y: f64| -> Option<[f64; 3]> {
        if x < 0.0 || y < 0.0 || x > w - 2.0 || y > h - 2.0 {
            return None;
        }
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = (x - x0 as f64, y - y0 as f64);
        let v = |x: usize, y: usize, c: usize| f64::from(image.data[3 * (y * image.width + x) + c]);
        let mut out = [0.0; 3];
        for (c, o) in out.iter_mut().enumerate() {
            *o = (v(x0, y0, c) * (1.0 - fx) + v(x0 + 1, y0, c) * fx) * (1.0 - fy)
                + (v(x0, y0 + 1, c) * (1.0 - fx) + v(x0 + 1, y0 + 1, c) * fx) * fy;
        }
        Some(out)
    };
    let (mut sum, mut n) = (0.0, 0.0);
    for s in &view.stones {
        let r = s.diameter_mm / 2.0;
        let arcs = (pose.px(r) * std::f64::consts::TAU / 2.0).clamp(48.0, 360.0) as usize;
        for ([x, y], [c, sin]) in rim(s, arcs) {
            if s.prongs.iter().any(|p| (x - p.x_mm).hypot(y - p.y_mm) < 1.2 * p.radius_mm) {
                continue;
            }
            let g = pose.mm(gap);
            let p = pose.to_px(x - g * c, y - g * sin);
            let q = pose.to_px(x + g * c, y + g * sin);
            if let (Some(p), Some(q)) = (at(p[0], p[1]), at(q[0], q[1])) {
                // Large steps saturate, so that a few bright facets do not outvote the rest.
                let d: f64 = (0..3).map(|c| (p[c] - q[c]).abs()).sum();
                sum += d / (d + 60.0);
                n += 1.0;
            }
        }
    }
    // The prongs' rims count as well: they are there even where a stone is lost.
    for q in view.stones.iter().flat_map(|s| &s.prongs) {
        for i in 0..24 {
            let a = std::f64::consts::TAU * f64::from(i) / 24.0;
            let g = pose.mm(gap);
            let p = pose.to_px(q.x_mm + (q.radius_mm - g) * a.cos(), q.y_mm + (q.radius_mm - g) * a.sin());
            let o = pose.to_px(q.x_mm + (q.radius_mm + g) * a.cos(), q.y_mm + (q.radius_mm + g) * a.sin());
            if let (Some(p), Some(o)) = (at(p[0], p[1]), at(o[0], o[1])) {
                let d: f64 = (0..3).map(|c| (p[c] - o[c]).abs()).sum();
                sum += d / (d + 60.0);
                n += 1.0;
            }
        }
    }
    if n == 0.0 {
        0.0
    } else {
        sum / n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::locate_all;

    fn stone(x_mm: f64, y_mm: f64, diameter_mm: f64, cut: &str, gem: Option<&str>) -> Stone {
        let (cut, gem) = (cut.to_owned(), gem.map(str::to_owned));
        Stone { id: format!("{x_mm:.2}"), x_mm, y_mm, diameter_mm, cut, turn_deg: None, gem, prongs: vec![] }
    }

    /// A disc of 6 mm on dark ground at 20 um a pixel, its stones painted by `colour`, turned by `deg`.
    fn picture(view: &View, deg: f64, colour: impl Fn(&Stone) -> [u8; 3]) -> Image {
        let (width, height) = (360, 360);
        let pose = Pose { rotation: deg.to_radians(), ..Pose::centred(width, height, 20.0) };
        let plans: Vec<_> = view.stones.iter().map(plan).collect();
        let pixel = |x: usize, y: usize| {
            let [u, v] = pose.to_mm(x as f64, y as f64);
            let within = |(s, plan): &(&Stone, &Option<Vec<[f64; 2]>>)| match plan {
                Some(line) => ops::contains(line, [u, v]),
                None => (u - s.x_mm).hypot(v - s.y_mm) < s.diameter_mm / 2.0,
            };
            let clean = match view.stones.iter().zip(&plans).find(within) {
                Some((s, _)) => colour(s),
                None if u.hypot(v) < 3.0 => [190, 160, 90],
                None => [30, 30, 30],
            };
            // A camera's noise: without it no place but the best explains anything.
            let noise = (x * 7919 + y * 104_729 + x * y * 31) % 13;
            clean.map(|c: u8| c - 10 + noise as u8)
        };
        let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        Image { width, height, data, grey: false }
    }

    fn turns(view: &View, deg: f64, colour: impl Fn(&Stone) -> [u8; 3]) -> Vec<f64> {
        let image = picture(view, deg, colour);
        locate_all(&image, view, Some(20.0)).unwrap().iter().map(|l| l.pose.rotation.to_degrees()).collect()
    }

    fn head(stones: Vec<Stone>) -> View {
        View { name: "top".into(), outline: Some(Outline::Disc { radius_mm: 3.0 }), stones, ..View::default() }
    }

    #[test]
    fn a_square_stone_tells_the_turn_by_its_sides() {
        let view = head(vec![stone(0.0, 0.0, 3.0, "princess", None)]);
        let found = turns(&view, 9.0, |_| [240, 240, 245]);
        assert!((found[0] - 9.0).abs() < 1.0, "{found:?}");
        for (p, n) in rim(&view.stones[0], 80) {
            assert!((p[0].abs().max(p[1].abs()) - 1.5).abs() < 1e-9 && p[0] * n[0] + p[1] * n[1] > 0.0);
        }
    }

    #[test]
    fn a_ring_of_stones_may_lie_one_place_further_on() {
        let at = |k: usize| (std::f64::consts::TAU * k as f64 / 16.0).sin_cos();
        let ring = (0..16).map(at).map(|(s, c)| stone(2.4 * c, 2.4 * s, 0.7, "round", Some("diamond")));
        // A centre of the metal's own colour hides none of it.
        let centre = stone(0.0, 0.0, 3.2, "round", Some("citrine"));
        let view = head(std::iter::once(centre).chain(ring).collect());
        let colour = |s: &Stone| if s.diameter_mm > 1.0 { [200, 150, 70] } else { [240, 240, 245] };
        let found = turns(&view, 10.0, colour);
        for deg in [10.0, -12.5] {
            assert!(found.iter().any(|f| (f - deg).abs() < 0.5), "{found:?}");
        }
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
