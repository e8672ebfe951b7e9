//! The girdle of a round stone, finely: the picture is unrolled about the circle on which the model of stones has it, the model of
//! girdles says for each direction how far out the girdle runs and how sure that is, and a circle is fitted to all of them by
//! weighted least squares. What the model of stones said is the prior. The table's slope is put together likewise.

use super::align;
use crate::locate::edges::invert;
use crate::model::{GirdleInfo, Ray};
use crate::vision::Image;

/// A circle in a frame's pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Centre, x right and y down.
    pub x: f64,
    /// See `x`.
    pub y: f64,
    /// Radius.
    pub radius: f64,
}

/// A window about a stone as the model of stones sees it.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// Its pixels.
    pub image: &'a Image,
    /// How many pixels of the frame one of them is.
    pub coarse: f64,
    /// Its centre in the frame.
    pub at: [f64; 2],
    /// Its turn in the frame (radians, y up).
    pub turn: f64,
}

/// How the girdle of a stone that is not round runs about its centre: in every direction of a strip how far out, in widths of the stone, and
/// which way it faces there (unit vector, y up).
#[derive(Debug, Clone, PartialEq)]
pub struct Course(Vec<(f64, [f64; 2])>);

impl Course {
    /// Of a closed line that lies about the origin (widths, y up). None where a direction does not meet it.
    pub fn of(line: &[[f64; 2]], rays: usize) -> Option<Course> {
        let sides = || line.iter().zip(line.iter().cycle().skip(1));
        let met = |[c, s]: [f64; 2]| {
            let cross = |a: [f64; 2], b: [f64; 2]| a[0] * b[1] - a[1] * b[0];
            let meets = sides().filter_map(|(p, q)| {
                let side = [q[0] - p[0], q[1] - p[1]];
                let across = cross([c, s], side);
                let (out, along) = (cross(*p, side) / across, cross(*p, [c, s]) / across);
                let length = side[0].hypot(side[1]);
                let facing = [side[1] / length, -side[0] / length];
                (out > 0.0 && (-1e-9..=1.0 + 1e-9).contains(&along)).then_some((out, facing))
            });
            meets.max_by(|a, b| a.0.total_cmp(&b.0))
        };
        directions(rays).map(met).collect::<Option<Vec<_>>>().map(Course)
    }
}

/// What the directions of a strip say together of a girdle that is not round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// From the centre that it was unrolled about, right and up, in pixels.
    pub moved: [f64; 2],
    /// Standard deviation of each coordinate.
    pub u: f64,
    /// By which share it is larger than it was drawn.
    pub grown: f64,
}

/// Fits where the line lies; it may also be larger, and turned, than it is drawn. width: of the stone, in pixels; prior: standard deviation
/// of each coordinate of its centre before.
pub fn place(info: &GirdleInfo, rays: &[Ray], course: &Course, width: f64, prior: f64) -> Moved {
    let half = info.strip.half(width / 2.0);
    let rows: Vec<([f64; 4], f64, f64)> = rays
        .iter()
        .zip(directions(rays.len()).zip(&course.0))
        .filter_map(|(ray, ([c, s], (out, [x, y])))| {
            // Where the line runs along the direction, it says little of where the line lies.
            let faces = c * x + s * y;
            let sd = half * (-0.5 * (ray.log_precision + info.kappa)).exp();
            let radius = width * out;
            let turned = radius * (y * c - x * s) / faces;
            (faces > FACES).then_some(([x / faces, y / faces, radius, turned], ray.girdle * half, sd.hypot(RAY_PX)))
        })
        .collect();
    let ([right, up, grown, _], u) = align::solve(&rows, [prior, prior, GROWN, TURNED]);
    Moved { moved: [right, up], u: PLACE_SCALE * (0.5 * (u[0] * u[0] + u[1] * u[1])).sqrt(), grown }
}

/// Least cosine between a direction and the way that the line faces.
const FACES: f64 = 0.5;
/// A direction is not told better than this, in pixels.
const RAY_PX: f64 = 0.3;
/// How much larger a stone may be than it is drawn (standard deviation), and how far turned (radians).
const GROWN: f64 = 0.06;
const TURNED: f64 = 0.03;
/// What the deviation is multiplied by, so that twice of it holds nineteen errors in twenty: the model has learned on round stones.
const PLACE_SCALE: f64 = 1.3;

/// Cosine and sine of every direction of a strip.
fn directions(rays: usize) -> impl Iterator<Item = [f64; 2]> {
    (0..rays).map(move |k| {
        let (s, c) = (std::f64::consts::TAU * k as f64 / rays as f64).sin_cos();
        [c, s]
    })
}

/// The picture about a stone, unrolled: what [`crate::model::GirdleModel::look`] is shown. It is unrolled about a circle, or about the course
/// of a girdle that is none, whose centre and half width are then the circle's. The facets come out of the window of the model of stones,
/// whose pixels fit them, the rim out of the frame itself.
pub fn strip(
    info: &GirdleInfo,
    image: &Image,
    looked: &Looked,
    circle: &Circle,
    course: Option<&Course>,
) -> Vec<f32> {
    let s = &info.strip;
    let n = s.rays * s.samples();
    let mut out = vec![0f32; 3 * n];
    let (turn_s, turn_c) = looked.turn.sin_cos();
    let half = (looked.image.width as f64 - 1.0) / 2.0;
    let share = |i: usize, of: usize| (i as f64 + 0.5) / of as f64;
    let [low, high] = s.span(circle.radius);
    for (k, [c, sin]) in directions(s.rays).enumerate() {
        let mut put = |i: usize, p: [f32; 3]| {
            for (channel, v) in p.into_iter().enumerate() {
                out[channel * n + k * s.samples() + i] = v;
            }
        };
        let radius = course.map_or(circle.radius, |line| 2.0 * circle.radius * line.0[k].0);
        for i in 0..s.facets {
            let r = 2.0 * radius * (s.facets_from + (s.facets_to - s.facets_from) * share(i, s.facets));
            let (x, y) = (circle.x + r * c - looked.at[0], circle.y - r * sin - looked.at[1]);
            let u = (turn_c * x - turn_s * y) / looked.coarse;
            let v = (turn_s * x + turn_c * y) / looked.coarse;
            put(i, looked.image.sample(half + u, half + v));
        }
        for i in 0..s.rim {
            let r = radius + low + (high - low) * share(i, s.rim);
            put(s.facets + i, image.sample(circle.x + r * c, circle.y - r * sin));
        }
    }
    out
}

/// What the directions of a strip say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Girdle {
    /// Where it runs.
    pub circle: Circle,
    /// Standard deviation of each coordinate of its centre, in pixels.
    pub centre_u: f64,
    /// Standard deviation of its radius, in pixels.
    pub radius_u: f64,
    /// Slope of the table against the line of sight (tangent), along the frame's x axis and up.
    pub slope: [f64; 2],
    /// Standard deviation of each of its coordinates.
    pub slope_u: f64,
    /// The largest mean log odds of two neighbouring directions that the rim is broken there.
    pub chip: f64,
    /// The direction of that, in radians from the frame's x axis, y up.
    pub chip_at: f64,
}

impl Girdle {
    /// How far the girdle moved from where it was looked for, at its farthest, in pixels.
    pub fn moved(&self, from: &Circle) -> f64 {
        let to = &self.circle;
        (to.x - from.x).hypot(to.y - from.y) + (to.radius - from.radius).abs()
    }
}

/// Along x, along y and common to all directions, from what was seen along each (value, precision), and their covariance. sd: what is
/// known of them before (about zero). None where that has no answer.
fn put_together(
    seen: impl Iterator<Item = (f64, f64)>,
    rays: usize,
    sd: [f64; 3],
) -> Option<([f64; 3], [[f64; 3]; 3])> {
    let mut a = [[0.0; 3]; 3];
    let mut b = [0.0; 3];
    for (k, sd) in sd.iter().enumerate() {
        a[k][k] = sd.powi(-2);
    }
    for ((value, w), [c, s]) in seen.zip(directions(rays)) {
        let row = [c, s, 1.0];
        for i in 0..3 {
            b[i] += w * row[i] * value;
            for j in 0..3 {
                a[i][j] += w * row[i] * row[j];
            }
        }
    }
    let a = invert(a)?;
    Some((a.map(|row| row.iter().zip(&b).map(|(m, v)| m * v).sum()), a))
}

/// Fits the circle and the slope. None where a fit has no answer.
pub fn fit(info: &GirdleInfo, rays: &[Ray], circle: &Circle) -> Option<Girdle> {
    let (prior, scale) = (&info.prior, &info.deviation_scale);
    let half = info.strip.half(circle.radius);
    let width = 2.0 * circle.radius;
    let n = rays.len();
    let rims = rays.iter().map(|r| (r.girdle * half, (r.log_precision + info.kappa).exp() / (half * half)));
    let (x, var) = put_together(rims, n, [prior.centre * width, prior.centre * width, prior.size * width / 2.0])?;
    let unit = info.slope_unit;
    let slopes =
        rays.iter().map(|r| (r.slope * unit, (r.slope_log_precision + info.slope_kappa).exp() / (unit * unit)));
    let (slope, slope_var) = put_together(slopes, n, [prior.slope, prior.slope, prior.common])?;
    let either = |var: &[[f64; 3]; 3]| ((var[0][0] + var[1][1]) / 2.0).sqrt();
    let broken = |k: usize| 0.5 * (rays[k].chip + rays[(k + n - 1) % n].chip);
    let worst = (0..n).max_by(|i, j| broken(*i).total_cmp(&broken(*j)))?;
    Some(Girdle {
        circle: Circle { x: circle.x + x[0], y: circle.y - x[1], radius: circle.radius + x[2] },
        centre_u: scale.place * either(&var),
        radius_u: scale.size * var[2][2].sqrt(),
        slope: [slope[0], slope[1]],
        slope_u: scale.slope * either(&slope_var),
        chip: broken(worst),
        chip_at: std::f64::consts::TAU * (worst as f64 - 0.5) / n as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GirdleModel, Strip};

    const CIRCLE: Circle = Circle { x: 60.3, y: 55.1, radius: 30.0 };

    fn model() -> GirdleModel {
        GirdleModel::load_default().unwrap()
    }

    /// A bright disc on dark ground, its edge as wide as a pixel.
    fn disc(at: &Circle) -> Image {
        let (width, height) = (120, 120);
        let level = |x: usize, y: usize| {
            let r = (x as f64 - at.x).hypot(y as f64 - at.y);
            (30.0 + 180.0 * (at.radius - r + 0.5).clamp(0.0, 1.0)) as u8
        };
        let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| [level(x, y); 3])).collect();
        Image { width, height, data, grey: false }
    }

    #[test]
    fn a_strip_is_unrolled_about_the_circle() {
        let model = model();
        let info = model.info();
        let Strip { rays, facets, rim, .. } = info.strip;
        let image = disc(&CIRCLE);
        let looked = Looked { image: &image, coarse: 1.0, at: [59.5, 59.5], turn: 0.0 };
        let strip = strip(info, &image, &looked, &CIRCLE, None);
        assert_eq!(strip.len(), 3 * rays * info.strip.samples());
        let [low, high] = info.strip.span(CIRCLE.radius);
        for k in 0..rays {
            let row = &strip[k * info.strip.samples()..][..info.strip.samples()];
            assert!(row[..facets].iter().all(|v| *v > 200.0), "{row:?}");
            for i in 0..rim {
                let out = low + (high - low) * (i as f64 + 0.5) / rim as f64;
                if out.abs() > 1.5 {
                    assert_eq!(row[facets + i] > 120.0, out < 0.0, "direction {k}, {out} px");
                }
            }
        }
    }

    /// An ellipse twice as high as wide.
    fn oval() -> Vec<[f64; 2]> {
        let at = |k: i32| (std::f64::consts::TAU * f64::from(k) / 96.0).sin_cos();
        (0..96).map(at).map(|(s, c)| [0.5 * c, s]).collect()
    }

    #[test]
    fn a_course_tells_how_far_out_the_girdle_runs_and_which_way_it_faces() {
        let course = Course::of(&oval(), 64).unwrap();
        let (out, facing) = course.0[0];
        assert!((out - 0.5).abs() < 1e-9 && facing[0] > 0.999, "{out} {facing:?}");
        let (out, facing) = course.0[16];
        assert!((out - 1.0).abs() < 1e-9 && facing[1] > 0.99, "{out} {facing:?}");
        let away: Vec<[f64; 2]> = oval().iter().map(|[x, y]| [x + 2.5, *y]).collect();
        assert_eq!(Course::of(&away, 64), None);
    }

    #[test]
    fn an_oval_is_placed_where_its_directions_say() {
        let model = model();
        let info = model.info();
        let width = 40.0;
        let (half, [right, up]) = (info.strip.half(width / 2.0), [1.3, -0.7]);
        let course = Course::of(&oval(), info.strip.rays).unwrap();
        let moved: Vec<[f64; 2]> =
            oval().iter().map(|[x, y]| [1.01 * x + right / width, 1.01 * y + up / width]).collect();
        let seen = Course::of(&moved, info.strip.rays).unwrap();
        let rays: Vec<Ray> = course
            .0
            .iter()
            .zip(&seen.0)
            .map(|(a, b)| Ray {
                girdle: width * (b.0 - a.0) / half,
                log_precision: 9.0,
                chip: -3.0,
                slope: 0.0,
                slope_log_precision: 0.0,
            })
            .collect();
        let found = place(info, &rays, &course, width, 3.0);
        let [x, y] = found.moved;
        assert!((x - right).abs() < 0.1 && (y - up).abs() < 0.1 && found.u < 0.5, "{found:?}");
        assert!((found.grown - 0.01).abs() < 5e-3, "{found:?}");
        let blind: Vec<Ray> = rays.iter().map(|r| Ray { log_precision: -60.0, ..*r }).collect();
        let found = place(info, &blind, &course, width, 3.0);
        assert!(found.moved[0].hypot(found.moved[1]) < 0.1 && found.u > 2.9, "{found:?}");
    }

    #[test]
    fn the_circle_that_all_directions_tell_is_found() {
        let model = model();
        let info = model.info();
        let half = info.strip.half(CIRCLE.radius);
        let (right, up, more) = (1.2, -0.8, 0.9);
        let rays: Vec<Ray> = directions(info.strip.rays)
            .map(|[c, s]| Ray {
                girdle: (right * c + up * s + more) / half,
                log_precision: 9.0,
                chip: -3.0,
                slope: (0.08 * c - 0.05 * s + 0.02) / info.slope_unit,
                slope_log_precision: 9.0,
            })
            .collect();
        let found = fit(info, &rays, &CIRCLE).unwrap();
        let to = found.circle;
        assert!((to.x - CIRCLE.x - right).abs() < 0.02 && (CIRCLE.y - to.y - up).abs() < 0.02, "{found:?}");
        assert!((to.radius - CIRCLE.radius - more).abs() < 0.02 && found.radius_u < 0.1, "{found:?}");
        assert!((found.slope[0] - 0.08).abs() < 2e-3 && (found.slope[1] + 0.05).abs() < 2e-3, "{found:?}");
        // Without anything seen it stays where it was, and says that it may be off by what was known before.
        let blind: Vec<Ray> = rays
            .iter()
            .map(|r| Ray { girdle: 0.0, log_precision: -60.0, slope_log_precision: -60.0, ..*r })
            .collect();
        let found = fit(info, &blind, &CIRCLE).unwrap();
        assert!(found.slope[0].abs() < 1e-6 && found.slope_u > 0.9 * info.prior.slope);
        assert!(found.moved(&CIRCLE) < 1e-6 && found.centre_u > 0.9 * 2.0 * CIRCLE.radius * info.prior.centre);
    }

    #[test]
    fn a_broken_rim_is_where_two_neighbours_say_so() {
        let model = model();
        let info = model.info();
        let n = info.strip.rays;
        let mut rays =
            vec![Ray { girdle: 0.0, log_precision: 3.0, chip: -4.0, slope: 0.0, slope_log_precision: 0.0 }; n];
        rays[40].chip = 5.0; // one alone
        (rays[16].chip, rays[17].chip) = (3.0, 3.0);
        let found = fit(info, &rays, &CIRCLE).unwrap();
        assert!((found.chip - 3.0).abs() < 1e-9);
        assert!((found.chip_at - std::f64::consts::TAU * 16.5 / n as f64).abs() < 1e-9);
    }
}
