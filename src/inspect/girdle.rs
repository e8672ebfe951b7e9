//! The girdle of a stone, finely: the picture is unrolled about the circle, or the outline of another cut, on which the model of stones has it, a model
//! of girdles says for each direction how far out the girdle runs and how sure that is, and where the outline lies is fitted to all of them
//! by weighted least squares. What the model of stones said is the prior. The table's slope is put together likewise.

use super::sight::to_piece;
use crate::locate::edges::invert;
use crate::model::{GirdleInfo, Ray};
use crate::spec::Stone;
use crate::vision::Image;

/// A circle in a frame's pixels, or where another cut lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Centre, x right and y down.
    pub x: f64,
    /// See `x`.
    pub y: f64,
    /// Radius; half the width of another cut.
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

/// One direction of a strip: where it crosses the girdle. Lengths are in widths of the stone, axes those of the frame with y up.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Crossing {
    /// From the stone's centre.
    at: [f64; 2],
    /// Unit vector: which way the direction runs outwards.
    across: [f64; 2],
    /// Unit vector: which way the girdle faces.
    faces: [f64; 2],
    /// Whether the girdle runs on about straight there: at a corner a direction says little of where the stone lies.
    straight: bool,
}

impl Crossing {
    /// By how much a shift right and up, a growth (share, in widths) and a turn (radians, in widths) move the girdle along the direction.
    fn moves(&self) -> [f64; 4] {
        let [x, y] = self.faces.map(|v| v / dot(self.across, self.faces).max(0.5));
        [x, y, dot([x, y], self.at), y * self.at[0] - x * self.at[1]]
    }

    /// Unit vector from the centre to where it crosses.
    fn out(&self) -> [f64; 2] {
        self.at.map(|v| v / self.at[0].hypot(self.at[1]))
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// How a girdle runs about its stone's centre, and along which directions it is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Course(Vec<Crossing>);

/// Least cosine between the ways that a girdle faces at a point and one and a half steps from it, for it to run on straight.
const STRAIGHT: f64 = 0.9;

impl Course {
    /// Of a stone whose length lies so far from the y axis (radians, counter-clockwise). None where its cut is not known.
    pub fn of_stone(stone: &Stone, rays: usize, turn: f64) -> Option<Course> {
        if stone.is_round() {
            return Some(Course::circle(rays));
        }
        Some(Course::of(&stone.plan()?, rays)?.turned(turn))
    }

    /// Of a round stone: the first direction along the frame's x axis, counter-clockwise.
    pub fn circle(rays: usize) -> Course {
        let round = |k: usize| {
            let (s, c) = (std::f64::consts::TAU * k as f64 / rays as f64).sin_cos();
            Crossing { at: [0.5 * c, 0.5 * s], across: [c, s], faces: [c, s], straight: true }
        };
        Course((0..rays).map(round).collect())
    }

    /// Of a closed line about the origin (widths, y up, counter-clockwise): its points equally far from one another, each looked at along the
    /// direction upright on the chord from half a step before it to half a step behind, which turns by and by about a corner. None where the line
    /// encloses nothing.
    pub fn of(line: &[[f64; 2]], rays: usize) -> Option<Course> {
        let to = |p: [f64; 2], q: [f64; 2]| [q[0] - p[0], q[1] - p[1]];
        // Sides: where each begins along the line, its first point, its length, its unit vector.
        let mut sides: Vec<(f64, [f64; 2], f64, [f64; 2])> = Vec::new();
        let mut all = 0.0;
        for (p, q) in line.iter().zip(line.iter().cycle().skip(1)) {
            let side = to(*p, *q);
            let length = side[0].hypot(side[1]);
            if length > 1e-9 {
                sides.push((all, *p, length, side.map(|v| v / length)));
                all += length;
            }
        }
        let on = |s: f64| {
            let s = s.rem_euclid(all);
            let (begins, p, _, along) = sides[sides.partition_point(|side| side.0 <= s) - 1];
            ([0, 1].map(|k: usize| p[k] + (s - begins) * along[k]), [along[1], -along[0]])
        };
        if sides.len() < 3 {
            return None;
        }
        let step = all / rays as f64;
        let crossing = |k: usize| {
            let s = step * (k as f64 + 0.5);
            let (at, faces) = on(s);
            let chord = to(on(s - 0.5 * step).0, on(s + 0.5 * step).0);
            let across = [chord[1], -chord[0]].map(|v| v / chord[0].hypot(chord[1]));
            let straight = [-1.5, 1.5].into_iter().all(|d| dot(on(s + d * step).1, faces) > STRAIGHT);
            Crossing { at, across, faces, straight }
        };
        Some(Course((0..rays).map(crossing).collect()))
    }

    /// Its points: from the stone's centre (widths), which way the girdle faces there, and whether it runs on straight.
    pub fn points(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2], bool)> + '_ {
        self.0.iter().map(|c| (c.at, c.faces, c.straight))
    }

    /// The same, turned counter-clockwise.
    pub fn turned(&self, angle: f64) -> Course {
        let turn = |v: [f64; 2]| to_piece(v, angle);
        let all =
            self.0.iter().map(|c| Crossing { at: turn(c.at), across: turn(c.across), faces: turn(c.faces), ..*c });
        Course(all.collect())
    }
}

/// The picture about a stone, unrolled about its girdle's course: what [`crate::model::GirdleModel::look`] is shown. circle: centre and half width. The
/// facets come out of the window of the model of stones, whose pixels fit them, the rim out of the frame itself.
pub fn strip(info: &GirdleInfo, image: &Image, looked: &Looked, circle: &Circle, course: &Course) -> Vec<f32> {
    let s = &info.strip;
    let n = s.rays * s.samples();
    let mut out = vec![0f32; 3 * n];
    let (turn_s, turn_c) = looked.turn.sin_cos();
    let half = (looked.image.width as f64 - 1.0) / 2.0;
    let share = |i: usize, of: usize| (i as f64 + 0.5) / of as f64;
    let [low, high] = s.span(circle.radius);
    let width = 2.0 * circle.radius;
    // How far out the samples of a direction lie: over the facets from the centre, across the rim from the girdle.
    let reach = 2.0 * width * (s.facets_to - s.facets_from);
    let (facets, facets_step) = (2.0 * width * s.facets_from + reach * share(0, s.facets), reach / s.facets as f64);
    let (rim, rim_step) = (low + (high - low) * share(0, s.rim), (high - low) / s.rim as f64);
    let (red, rest) = out.split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    let planes = red.chunks_exact_mut(s.samples()).zip(green.chunks_exact_mut(s.samples()));
    let planes = planes.zip(blue.chunks_exact_mut(s.samples()));
    let into_window =
        |[x, y]: [f64; 2]| [turn_c * x - turn_s * y, turn_s * x + turn_c * y].map(|v| v / looked.coarse);
    for (Crossing { at, across, .. }, ((red, green), blue)) in course.0.iter().zip(planes) {
        let mut to = |k: usize, [r, g, b]: [f32; 3]| (red[k], green[k], blue[k]) = (r, g, b);
        let from = into_window([circle.x + facets * at[0] - looked.at[0], circle.y - facets * at[1] - looked.at[1]]);
        let step = into_window([facets_step * at[0], -facets_step * at[1]]);
        looked.image.along(from.map(|v| half + v), step, s.facets, &mut to);
        let from = [circle.x + width * at[0] + rim * across[0], circle.y - width * at[1] - rim * across[1]];
        let step = [rim_step * across[0], -rim_step * across[1]];
        image.along(from, step, s.rim, |k, v| to(s.facets + k, v));
    }
    out
}

/// What the directions of a strip say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Girdle {
    /// Where it runs: centre and half width.
    pub circle: Circle,
    /// Standard deviation of each coordinate of its centre, in pixels.
    pub centre_u: f64,
    /// Standard deviation of its half width, in pixels.
    pub radius_u: f64,
    /// How far it is turned against its course (radians, counter-clockwise); 0 of a round stone.
    pub turned: f64,
    /// Slope of the table against the line of sight (tangent), along the frame's x axis and up.
    pub slope: [f64; 2],
    /// Standard deviation of each of its coordinates.
    pub slope_u: f64,
    /// The largest mean log odds of two neighbouring directions that the rim is broken there.
    pub chip: f64,
    /// Where that is, from the centre, in widths (y up).
    pub chip_at: [f64; 2],
}

impl Girdle {
    /// How far the girdle moved from where it was looked for, at its farthest, in pixels.
    pub fn moved(&self, from: &Circle) -> f64 {
        let to = &self.circle;
        (to.x - from.x).hypot(to.y - from.y) + (to.radius - from.radius).abs()
    }
}

/// Unknowns of rows of coefficients, from what was seen of each (value, precision), and their covariance. sd: what is known of them before
/// (about zero). None where that has no answer.
fn put_together<const N: usize>(
    seen: impl Iterator<Item = ([f64; N], f64, f64)>,
    sd: [f64; N],
) -> Option<([f64; N], [[f64; N]; N])> {
    let mut a = [[0.0; N]; N];
    let mut b = [0.0; N];
    for (k, sd) in sd.iter().enumerate() {
        a[k][k] = sd.powi(-2);
    }
    for (row, value, w) in seen {
        for i in 0..N {
            b[i] += w * row[i] * value;
            for j in 0..N {
                a[i][j] += w * row[i] * row[j];
            }
        }
    }
    let a = invert(a)?;
    Some((a.map(|row| row.iter().zip(&b).map(|(m, v)| m * v).sum()), a))
}

/// Fits where the girdle lies, how large it is, how far it is turned if it is not round, and the slope. length: of the stone, in widths. None where a fit
/// has no answer.
pub fn fit(info: &GirdleInfo, rays: &[Ray], circle: &Circle, course: &Course, length: f64) -> Option<Girdle> {
    let (prior, scale) = (&info.prior, &info.deviation_scale);
    let half = info.strip.half(circle.radius);
    let width = 2.0 * circle.radius;
    let n = rays.len();
    let both = || rays.iter().zip(&course.0);
    let rims = both().filter(|(_, c)| c.straight).map(|(r, c)| {
        let [x, y, grown, turned] = c.moves();
        let precision = (r.log_precision + info.kappa).exp() / (half * half);
        ([x, y, width * grown, width * turned], r.girdle * half, precision)
    });
    let centre = prior.centre * length * width;
    // A round stone looks the same however it is turned.
    let (x, var) = put_together(rims, [centre, centre, prior.size, prior.turn.unwrap_or(1e-9)])?;
    let unit = info.slope_unit;
    let slopes = both().map(|(r, c)| {
        let [x, y] = c.out();
        ([x, y, 1.0], r.slope * unit, (r.slope_log_precision + info.slope_kappa).exp() / (unit * unit))
    });
    let (slope, slope_var) = put_together(slopes, [prior.slope, prior.slope, prior.common])?;
    let broken = |k: usize| 0.5 * (rays[k].chip + rays[(k + n - 1) % n].chip);
    let worst = (0..n).max_by(|i, j| broken(*i).total_cmp(&broken(*j)))?;
    let (one, other) = (course.0[worst].at, course.0[(worst + n - 1) % n].at);
    Some(Girdle {
        circle: Circle { x: circle.x + x[0], y: circle.y - x[1], radius: circle.radius * (1.0 + x[2]) },
        centre_u: scale.place * ((var[0][0] + var[1][1]) / 2.0).sqrt(),
        radius_u: scale.size * circle.radius * var[2][2].sqrt(),
        turned: x[3],
        slope: [slope[0], slope[1]],
        slope_u: scale.slope * ((slope_var[0][0] + slope_var[1][1]) / 2.0).sqrt(),
        chip: broken(worst),
        chip_at: [0.5 * (one[0] + other[0]), 0.5 * (one[1] + other[1])],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GirdleModel, Girdles, Strip};

    const CIRCLE: Circle = Circle { x: 60.3, y: 55.1, radius: 30.0 };

    fn model() -> GirdleModel {
        GirdleModel::load_default(Girdles::Round).unwrap()
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
        let strip = strip(info, &image, &looked, &CIRCLE, &Course::circle(rays));
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

    /// A model as of another cut than round: it also tells a turn.
    fn of_fancies(model: &GirdleModel) -> GirdleInfo {
        let mut info = model.info().clone();
        info.prior.turn = Some(0.03);
        info
    }

    /// An ellipse twice as high as wide.
    fn oval() -> Vec<[f64; 2]> {
        let at = |k: i32| (std::f64::consts::TAU * f64::from(k) / 96.0).sin_cos();
        (0..96).map(at).map(|(s, c)| [0.5 * c, s]).collect()
    }

    const SQUARE: [[f64; 2]; 4] = [[0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]];

    #[test]
    fn a_course_goes_about_its_line_in_equal_steps() {
        let course = Course::of(&SQUARE, 40).unwrap();
        assert_eq!(course.0.len(), 40);
        let first = course.0[0];
        assert!((first.at[0] - 0.5).abs() < 1e-9 && (first.at[1] + 0.45).abs() < 1e-9, "{first:?}");
        assert!(first.faces == [1.0, 0.0] && !first.straight && course.0[4].straight);
        // At a corner directions turn, and do not tell where the stone lies.
        for c in &Course::of(&SQUARE, 43).unwrap().0 {
            let from_corner = 0.5 - c.at[0].abs().min(c.at[1].abs()) - 1.5 * 4.0 / 43.0;
            assert!(c.straight == (from_corner > 0.0) || from_corner.abs() < 1e-9, "{c:?}");
        }
        for c in &Course::of(&oval(), 64).unwrap().0 {
            let upright = dot(c.across, c.faces);
            assert!(upright > 0.99 && dot(c.at, c.faces) > 0.0, "{c:?}");
        }
        assert_eq!(Course::of(&[[0.0, 0.0], [1.0, 0.0]], 40), None);
        let quarter = course.turned(std::f64::consts::FRAC_PI_2).0[0];
        assert!((quarter.at[0] - 0.45).abs() < 1e-9 && (quarter.at[1] - 0.5).abs() < 1e-9, "{quarter:?}");
    }

    #[test]
    fn another_cut_is_placed_sized_and_turned_as_its_directions_say() {
        let model = model();
        let info = of_fancies(&model);
        let circle = Circle { radius: 20.0, ..CIRCLE };
        let (half, [right, up], grown, turn) = (info.strip.half(circle.radius), [0.3, -0.2], 0.01, 0.008f64);
        for (line, length) in [(oval(), 2.0), (SQUARE.to_vec(), 1.0)] {
            let course = Course::of(&line, info.strip.rays).unwrap();
            // To first order, what a small motion does along a direction.
            let rays: Vec<Ray> = course
                .0
                .iter()
                .map(|c| {
                    let moved = [
                        right + 40.0 * (grown * c.at[0] - turn * c.at[1]),
                        up + 40.0 * (grown * c.at[1] + turn * c.at[0]),
                    ];
                    let girdle = if c.straight { dot(moved, c.faces) / dot(c.across, c.faces) / half } else { 3.0 };
                    Ray { girdle, log_precision: 9.0, chip: -3.0, slope: 0.0, slope_log_precision: 0.0 }
                })
                .collect();
            let found = fit(&info, &rays, &circle, &course, length).unwrap();
            let to = found.circle;
            assert!((to.x - circle.x - right).abs() < 0.02 && (circle.y - to.y - up).abs() < 0.02, "{found:?}");
            assert!(
                (to.radius - 20.2).abs() < 0.02 && (found.turned - turn).abs() < 1e-3 && found.centre_u < 0.3,
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_circle_that_all_directions_tell_is_found() {
        let model = model();
        let info = model.info();
        let half = info.strip.half(CIRCLE.radius);
        let (right, up, more) = (1.2, -0.8, 0.9);
        let course = Course::circle(info.strip.rays);
        let rays: Vec<Ray> = course
            .0
            .iter()
            .map(|c| c.across)
            .map(|[c, s]| Ray {
                girdle: (right * c + up * s + more) / half,
                log_precision: 9.0,
                chip: -3.0,
                slope: (0.08 * c - 0.05 * s + 0.02) / info.slope_unit,
                slope_log_precision: 9.0,
            })
            .collect();
        let found = fit(info, &rays, &CIRCLE, &course, 1.0).unwrap();
        let to = found.circle;
        assert!((to.x - CIRCLE.x - right).abs() < 0.02 && (CIRCLE.y - to.y - up).abs() < 0.02, "{found:?}");
        assert!((to.radius - CIRCLE.radius - more).abs() < 0.02 && found.radius_u < 0.1, "{found:?}");
        assert!((found.slope[0] - 0.08).abs() < 2e-3 && (found.slope[1] + 0.05).abs() < 2e-3, "{found:?}");
        // Without anything seen it stays where it was, and says that it may be off by what was known before.
        let blind: Vec<Ray> = rays
            .iter()
            .map(|r| Ray { girdle: 0.0, log_precision: -60.0, slope_log_precision: -60.0, ..*r })
            .collect();
        let found = fit(info, &blind, &CIRCLE, &course, 1.0).unwrap();
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
        let found = fit(info, &rays, &CIRCLE, &Course::circle(n), 1.0).unwrap();
        assert!((found.chip - 3.0).abs() < 1e-9);
        let at = std::f64::consts::TAU * 16.5 / n as f64;
        assert!((found.chip_at[1].atan2(found.chip_at[0]) - at).abs() < 1e-9, "{found:?}");
    }
}
