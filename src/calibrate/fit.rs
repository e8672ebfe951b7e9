//! The fit: one distortion for all pictures, one pose of the target for each, by Levenberg and Marquardt's least squares; and the
//! uncertainty of the scale it gives.

use nalgebra::{DMatrix, DVector};

use super::target::{GridPoint, LEAST_POINTS};
use super::{
    BudgetRow, Calibration, CalibrationError, Distortion, ImageRow, LensModel, TargetKind, TargetRow,
    CALIBRATION_SCHEMA,
};
use crate::report::round_to;

/// One picture of the target with the points that were found on it.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Its file name.
    pub file: String,
    /// sha256 of the file.
    pub sha256: String,
    /// The points.
    pub points: Vec<GridPoint>,
}

/// Two places or a place and a way, in mm or pixels.
type Pair = ([f64; 2], [f64; 2]);
/// Picture by picture, where points were seen and by how much they lie off the fit, in pixels.
pub type Seen = Vec<Vec<Pair>>;

/// Distortion terms k1, k2, p1, p2, k3.
const SHARED: usize = 5;
/// A picture's pose: place (2), logarithm of the scale, turn, foreshortening (2), and, in perspective, how much nearer (2).
const POSE: usize = 8;
/// By how much the points at a target's border may be seen off their places all in one way, outward or inward, in pixels: one standard
/// deviation, from rendered targets.
const PLACE_U_PX: f64 = 0.01;
/// Points farther off than this many standard deviations are dust or another edge.
const OUTLIER: f64 = 5.0;

/// A target's pose in a picture: a place of the target (mm) to the straight picture's pixels.
fn project(pose: &[f64], x: f64, y: f64) -> [f64; 2] {
    let [tx, ty, log_scale, turn, e1, e2, g1, g2] = *pose else { return [f64::NAN; 2] };
    let k = log_scale.exp() / (1.0 + g1 * x + g2 * y);
    let (a, b) = (k * ((1.0 + e1) * x + e2 * y), k * (e2 * x + (1.0 - e1) * y));
    let (s, c) = turn.sin_cos();
    [tx + c * a - s * b, ty + s * a + c * b]
}

struct Problem {
    /// Per picture, places on the target in mm (about their own middle), and seen places.
    shots: Vec<Vec<Pair>>,
    lens: LensModel,
    /// Whether k3 is free; else it is 0.
    seventh: bool,
    frame: Distortion,
    /// Radius of the target's discs in mm; 0 where its points are corners.
    disc_mm: f64,
}

/// Corners of the polygon that stands for a disc.
const DISC_CORNERS: usize = 12;

#[derive(Clone)]
struct Solution {
    shared: [f64; SHARED],
    poses: Vec<[f64; POSE]>,
    /// Sum of squares.
    cost: f64,
    /// Covariance of all free parameters for a unit variance.
    covariance: DMatrix<f64>,
    free: usize,
}

impl Problem {
    fn pose_free(&self) -> usize {
        match self.lens {
            LensModel::Telecentric => POSE - 2,
            LensModel::Perspective => POSE,
        }
    }

    /// How many of the distortion's terms are free.
    fn shared_free(&self) -> usize {
        SHARED - usize::from(!self.seventh)
    }

    fn bend(&self, s: &[f64; SHARED]) -> Distortion {
        Distortion { k1: s[0], k2: s[1], p1: s[2], p2: s[3], k3: s[4], ..self.frame }
    }

    fn residual(&self, shared: &[f64; SHARED], pose: &[f64; POSE], p: &Pair) -> [f64; 2] {
        let bend = self.bend(shared);
        let at = |x: f64, y: f64| bend.distort(project(pose, x, y));
        let q = if self.disc_mm > 0.0 {
            // Seen bent or from aside, a disc's centre of gravity is not where its centre is seen.
            centre_of_gravity(&std::array::from_fn(|k| {
                let (s, c) = (std::f64::consts::TAU * k as f64 / DISC_CORNERS as f64).sin_cos();
                at(p.0[0] + self.disc_mm * c, p.0[1] + self.disc_mm * s)
            }))
        } else {
            at(p.0[0], p.0[1])
        };
        [p.1[0] - q[0], p.1[1] - q[1]]
    }

    fn cost(&self, shared: &[f64; SHARED], poses: &[[f64; POSE]]) -> f64 {
        let all = self.shots.iter().zip(poses).flat_map(|(s, pose)| s.iter().map(move |p| (pose, p)));
        all.map(|(pose, p)| self.residual(shared, pose, p)).map(|r| r[0] * r[0] + r[1] * r[1]).sum()
    }

    /// A similarity for each picture, without distortion.
    fn start(&self) -> Vec<[f64; POSE]> {
        let one = |shot: &Vec<Pair>| {
            let n = shot.len() as f64;
            let mean = |k: usize| shot.iter().map(|p| p.1[k]).sum::<f64>() / n;
            let (mx, my) = (mean(0), mean(1));
            // Places on the target are about their own middle: complex least squares give scale and turn.
            let (mut re, mut im, mut norm) = (0.0, 0.0, 0.0);
            for (g, p) in shot {
                let (u, v) = (p[0] - mx, p[1] - my);
                re += g[0] * u + g[1] * v;
                im += g[0] * v - g[1] * u;
                norm += g[0] * g[0] + g[1] * g[1];
            }
            [mx, my, (re.hypot(im) / norm).ln(), im.atan2(re), 0.0, 0.0, 0.0, 0.0]
        };
        self.shots.iter().map(one).collect()
    }

    /// Normal equations at a solution: matrix and right-hand side.
    #[allow(clippy::needless_range_loop)] // matrix indices read better than iterators here
    fn normal(&self, shared: &[f64; SHARED], poses: &[[f64; POSE]]) -> (DMatrix<f64>, DVector<f64>) {
        let (of_lens, per) = (self.shared_free(), self.pose_free());
        let n = of_lens + per * poses.len();
        let (mut a, mut b) = (DMatrix::zeros(n, n), DVector::zeros(n));
        // Steps that change a pixel's place by about a thousandth of a pixel, so that differences are exact to many digits.
        let scale_step = 1e-6;
        for (i, (shot, pose)) in self.shots.iter().zip(poses).enumerate() {
            let reach = shot.iter().map(|p| p.0[0].hypot(p.0[1])).fold(1e-9, f64::max);
            let step = |k: usize| match k {
                0 | 1 => 1e-3,
                6 | 7 => scale_step / reach,
                _ => scale_step,
            };
            for p in shot {
                let mut rows = [[0.0; SHARED + POSE]; 2];
                let mut put = |k: usize, plus: [f64; 2], minus: [f64; 2], h: f64| {
                    for (c, row) in rows.iter_mut().enumerate() {
                        row[k] = -(plus[c] - minus[c]) / (2.0 * h);
                    }
                };
                for k in 0..of_lens {
                    let moved = |by: f64| {
                        let mut s = *shared;
                        s[k] += by;
                        self.residual(&s, pose, p)
                    };
                    put(k, moved(scale_step), moved(-scale_step), scale_step);
                }
                for k in 0..per {
                    let h = step(k);
                    let moved = |by: f64| {
                        let mut q = *pose;
                        q[k] += by;
                        self.residual(shared, &q, p)
                    };
                    put(of_lens + k, moved(h), moved(-h), h);
                }
                let r = self.residual(shared, pose, p);
                let at = |k: usize| if k < of_lens { k } else { per * i + k };
                for (row, r) in rows.iter().zip(r) {
                    for u in 0..of_lens + per {
                        b[at(u)] += row[u] * r;
                        for v in 0..of_lens + per {
                            a[(at(u), at(v))] += row[u] * row[v];
                        }
                    }
                }
            }
        }
        (a, b)
    }

    fn solve(&self) -> Option<Solution> {
        let mut shared = [0.0; SHARED];
        let mut poses = self.start();
        let mut cost = self.cost(&shared, &poses);
        let mut damping = 1e-3;
        let (of_lens, per) = (self.shared_free(), self.pose_free());
        for _ in 0..60 {
            let (a, b) = self.normal(&shared, &poses);
            let mut gained = false;
            for _ in 0..12 {
                let mut damped = a.clone();
                for k in 0..damped.nrows() {
                    damped[(k, k)] *= 1.0 + damping;
                }
                let Some(step) = damped.cholesky().map(|c| c.solve(&b)) else {
                    damping *= 10.0;
                    continue;
                };
                let mut next = shared;
                for (k, v) in next.iter_mut().take(of_lens).enumerate() {
                    *v += step[k];
                }
                let mut moved = poses.clone();
                for (i, pose) in moved.iter_mut().enumerate() {
                    for (k, v) in pose.iter_mut().take(per).enumerate() {
                        *v += step[of_lens + per * i + k];
                    }
                }
                let new = self.cost(&next, &moved);
                if new.is_finite() && new <= cost {
                    gained = cost - new > 1e-12 * cost.max(1e-12);
                    (shared, poses, cost) = (next, moved, new);
                    damping = (damping / 5.0).max(1e-12);
                    break;
                }
                damping *= 5.0;
            }
            if !gained {
                break;
            }
        }
        let (a, _) = self.normal(&shared, &poses);
        let free = a.nrows();
        let covariance = a.cholesky()?.inverse();
        Some(Solution { shared, poses, cost, covariance, free })
    }
}

/// Centre of gravity of a polygon's area.
fn centre_of_gravity(p: &[[f64; 2]; DISC_CORNERS]) -> [f64; 2] {
    // About the first corner, so that nothing large cancels.
    let o = p[0];
    let (mut area, mut x, mut y) = (0.0, 0.0, 0.0);
    for k in 1..DISC_CORNERS - 1 {
        let (a, b) = ([p[k][0] - o[0], p[k][1] - o[1]], [p[k + 1][0] - o[0], p[k + 1][1] - o[1]]);
        let cross = a[0] * b[1] - a[1] * b[0];
        area += cross;
        x += cross * (a[0] + b[0]) / 3.0;
        y += cross * (a[1] + b[1]) / 3.0;
    }
    [o[0] + x / area, o[1] + y / area]
}

/// Whether a solution with more parameters explains more than they would of noise (Schwarz 1978).
fn explains_more(problem: &Problem, few: &Solution, more: &Solution) -> bool {
    let n = 2.0 * points(problem) as f64;
    let gain = n * (few.cost / more.cost.max(1e-12)).ln();
    gain > 10.0 + (more.free - few.free) as f64 * n.ln()
}

/// The scale in the middle of the frame in um per pixel, the mean over the pictures.
fn middle_scale(poses: &[[f64; POSE]], centre: [f64; 2]) -> f64 {
    poses.iter().map(|p| 1000.0 / scale_at(p, centre)).sum::<f64>() / poses.len() as f64
}

fn points(p: &Problem) -> usize {
    p.shots.iter().map(Vec::len).sum()
}

/// Local scale of a picture in pixels per mm at a place of the straight picture, the mean of all directions.
fn scale_at(pose: &[f64; POSE], at: [f64; 2]) -> f64 {
    // Newton's steps back to the target's place.
    let (mut x, mut y) = (0.0, 0.0);
    let h = 1e-4;
    let mut det = 0.0;
    for _ in 0..20 {
        let p = project(pose, x, y);
        let (px, py) = (project(pose, x + h, y), project(pose, x, y + h));
        let j = [[(px[0] - p[0]) / h, (py[0] - p[0]) / h], [(px[1] - p[1]) / h, (py[1] - p[1]) / h]];
        det = j[0][0] * j[1][1] - j[0][1] * j[1][0];
        let (u, v) = (at[0] - p[0], at[1] - p[1]);
        x += (j[1][1] * u - j[0][1] * v) / det;
        y += (j[0][0] * v - j[1][0] * u) / det;
    }
    det.abs().sqrt()
}

/// Calibrates from what was found on the pictures. `size` is that of the frames; `lens` none to let the points decide. Gives the
/// calibration and, picture by picture, where points were seen and by how much they lie off the fit.
///
/// # Errors
/// [`CalibrationError::Fit`] where the points are too few or do not determine the model.
pub fn calibrate(
    shots: &[Shot],
    target: &TargetRow,
    size: [usize; 2],
    lens: Option<LensModel>,
    camera_serial: Option<String>,
) -> Result<(Calibration, Seen), CalibrationError> {
    if target.kind == TargetKind::ScaleBar {
        return scale_bar(shots, target, size, camera_serial);
    }
    let frame = Distortion::none(size[0], size[1]);
    let mut problem =
        Problem { shots: vec![], lens: lens.unwrap_or(LensModel::Telecentric), seventh: false, frame, disc_mm: 0.0 };
    for s in shots {
        let n = s.points.len();
        if n < LEAST_POINTS {
            return Err(CalibrationError::Fit(format!(
                "{}: only {n} points of the target were found (at least {LEAST_POINTS} are needed)",
                s.file
            )));
        }
        let mean = |c: usize| s.points.iter().map(|p| p.grid[c]).sum::<f64>() / n as f64;
        let (mx, my) = (mean(0), mean(1));
        let place = |p: &GridPoint| [target.square_mm * (p.grid[0] - mx), target.square_mm * (p.grid[1] - my)];
        problem.shots.push(s.points.iter().map(|p| (place(p), p.px)).collect());
    }
    if let (Some(pose), Some(p)) = (problem.start().first(), shots.first().and_then(|s| s.points.first())) {
        problem.disc_mm = p.radius / pose[2].exp();
    }
    let solved = |p: &Problem| {
        p.solve().ok_or_else(|| {
            CalibrationError::Fit(
                "the target's points do not determine scale and distortion: let it fill more of the frame".into(),
            )
        })
    };
    let mut best = solved(&problem)?;
    let mut left_out = vec![0; shots.len()];
    for _ in 0..3 {
        // What lies far off is no point of the target; the scatter is told from the others.
        let lengths = |p: &Problem, s: &Solution| -> Vec<Vec<f64>> {
            let one = |(shot, pose): (&Vec<Pair>, &[f64; POSE])| {
                shot.iter().map(|q| p.residual(&s.shared, pose, q)).map(|r| r[0].hypot(r[1])).collect()
            };
            p.shots.iter().zip(&s.poses).map(one).collect()
        };
        let all = lengths(&problem, &best);
        let mut flat: Vec<f32> = all.iter().flatten().map(|v| *v as f32).collect();
        // The median of a length in two dimensions is 1.18 standard deviations of one.
        let sigma = f64::from(crate::vision::ops::median(&mut flat)) / 1.177;
        let limit = OUTLIER * sigma.max(0.01);
        let mut dropped = 0;
        for ((shot, lengths), out) in problem.shots.iter_mut().zip(&all).zip(&mut left_out) {
            let before = shot.len();
            let mut k = 0;
            shot.retain(|_| {
                k += 1;
                lengths[k - 1] <= limit
            });
            *out += before - shot.len();
            dropped += before - shot.len();
        }
        if dropped > 0 {
            best = solved(&problem)?;
        }
        if lens.is_none() && problem.lens == LensModel::Telecentric {
            // Perspective where it explains more than noise.
            let other = Problem { shots: problem.shots.clone(), lens: LensModel::Perspective, ..problem };
            if let Some(s) = other.solve() {
                if explains_more(&problem, &best, &s) {
                    (problem, best) = (other, s);
                    continue;
                }
            }
        }
        if dropped == 0 {
            break;
        }
    }
    // A lens that bends much is no polynomial: the next term, where it explains more than noise, and what it moves the scale by as a measure of
    // what is left of such terms.
    let mut cut_off = 0.0;
    let further = Problem { shots: problem.shots.clone(), seventh: true, ..problem };
    if let Some(s) = further.solve().filter(|s| explains_more(&problem, &best, s)) {
        cut_off = (middle_scale(&s.poses, frame.centre_px) - middle_scale(&best.poses, frame.centre_px)).abs();
        (problem, best) = (further, s);
    }
    let n = points(&problem);
    let freedom = 2 * n as i64 - best.free as i64;
    if freedom < 10 {
        return Err(CalibrationError::Fit(format!("{n} points are too few for {} parameters", best.free)));
    }
    let variance = best.cost / freedom as f64;
    let bend = problem.bend(&best.shared);
    let scales: Vec<f64> = best.poses.iter().map(|p| 1000.0 / scale_at(p, frame.centre_px)).collect();
    let m = scales.len() as f64;
    let mean = scales.iter().sum::<f64>() / m;
    let fit_variance = of_circle(&problem, &best, 0.0) * variance;
    // How far the scale varies over the frame where the target is not parallel to the sensor.
    let corners = [
        [0.0, 0.0],
        [size[0] as f64 - 1.0, 0.0],
        [0.0, size[1] as f64 - 1.0],
        [size[0] as f64 - 1.0, size[1] as f64 - 1.0],
    ];
    let tilt = best
        .poses
        .iter()
        .map(|p| {
            let s: Vec<f64> = corners.iter().map(|c| scale_at(p, *c)).collect();
            let (lo, hi) = s.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            let foreshortened = p[4].hypot(p[5]);
            (hi - lo) / (hi + lo) + foreshortened
        })
        .sum::<f64>()
        / m;
    let fit = fit_variance.max(0.0).sqrt() * mean;
    of_one_scale(shots, &scales)?;
    let reach = reach_of(shots);
    // The piece lies anywhere in the frame: an even distribution over half the range.
    let mut budget = budget(target, mean, fit, freedom as f64, &scales, tilt / 3f64.sqrt(), reach);
    if cut_off > 0.0 {
        // Terms beyond the last are smaller than it: an even distribution up to as much.
        let u = round_to(cut_off / 3f64.sqrt(), 7);
        budget.push(BudgetRow { name: "distortion".into(), evaluation: "B".into(), um_per_px_u: u, degrees: None });
    }
    let lens = beyond(&problem, &best, size, reach) * mean;
    if lens > 0.0 {
        budget.push(row("lens", "A", lens * variance.sqrt().max(PLACE_U_PX), Some(freedom as f64)));
    }
    let seen: Seen = problem
        .shots
        .iter()
        .zip(&best.poses)
        .map(|(s, pose)| s.iter().map(|p| (p.1, problem.residual(&best.shared, pose, p))).collect())
        .collect();
    let round = |v: f64| round_to(v, 8);
    let distortion = Distortion {
        k1: round(bend.k1),
        k2: round(bend.k2),
        p1: round(bend.p1),
        p2: round(bend.p2),
        k3: round(bend.k3),
        ..bend
    };
    let made = whole(
        shots,
        target,
        size,
        camera_serial,
        &scales,
        budget,
        problem.lens,
        Some(distortion),
        tilt,
        &left_out,
        &seen,
    );
    if made.residual_rms_px > MOST_GRID_PX || made.um_per_px_u > MOST_SHARE * made.um_per_px {
        return Err(CalibrationError::Fit(format!(
            "{}: the points lie {:.2} px off a grid (rms; at most {MOST_GRID_PX}), and the scale is {:.4} +- {:.4} um/px (at most {} %): it does not show this \
             target, or it is blurred or bent",
            shots.first().map_or("", |s| s.file.as_str()),
            made.residual_rms_px,
            made.um_per_px,
            made.um_per_px_u,
            100.0 * MOST_SHARE
        )));
    }
    Ok((made, seen))
}

/// How far the points of a board may lie off where the lens model has them, rms: one that is made and seen well is read to a few hundredths of a pixel.
const MOST_GRID_PX: f64 = 0.5;
/// How unsure a scale may be, as a share, as of the target's squares: a board that lies tilted reaches half of that.
const MOST_SHARE: f64 = 0.1;

/// How unsure the length of a circle about the frame's middle is because of what is not known of the lens, over what its scale in the middle is: the largest
/// of all circles that the frame holds, as a share and for points that are known to one pixel. A target that covers a part of the frame tells little of how the lens bends
/// beyond it, and what was fitted goes on there.
fn beyond(problem: &Problem, best: &Solution, size: [usize; 2], reach: f64) -> f64 {
    let norm = problem.frame.norm_px;
    let most = size[0].min(size[1]) as f64 / 2.0;
    let (from, middle) = (reach.min(most), of_circle(problem, best, 0.0));
    // Within the target it is what the fit's own row says.
    let circles = (0..=20).map(|k| from + (most - from) * f64::from(k) / 20.0);
    circles.map(|r| (of_circle(problem, best, r / norm) - middle).max(0.0)).fold(0.0, f64::max).sqrt()
}

/// Variance of the logarithm of a circle's length about the frame's middle, of that radius in half diagonals, for a unit variance of the points. The scale is the mean over the
/// pictures: without a radius its variance is the mean of all their covariances.
fn of_circle(problem: &Problem, best: &Solution, radius: f64) -> f64 {
    let (of_lens, per, m) = (problem.shared_free(), problem.pose_free(), best.poses.len());
    let r2 = radius * radius;
    // A circle's mean radius: the decentring terms move it as a whole.
    let radial = [r2, r2 * r2, 0.0, 0.0, r2 * r2 * r2];
    let lens = (0..of_lens).map(|k| (k, radial[k]));
    let scale = (0..m).map(|i| (of_lens + per * i + 2, 1.0 / m as f64));
    let all: Vec<(usize, f64)> = lens.chain(scale).collect();
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| a.1 * b.1 * best.covariance[(a.0, b.0)]).sum()
}

/// How far the points reach from their middle, in pixels: the mean over the pictures.
fn reach_of(shots: &[Shot]) -> f64 {
    let one = |s: &Shot| {
        let n = s.points.len().max(1) as f64;
        let middle = [0, 1].map(|c| s.points.iter().map(|p| p.px[c]).sum::<f64>() / n);
        s.points.iter().map(|p| (p.px[0] - middle[0]).hypot(p.px[1] - middle[1])).fold(0.0, f64::max)
    };
    shots.iter().map(one).sum::<f64>() / shots.len().max(1) as f64
}

/// Root mean square and largest of the residuals' lengths.
fn rms<'a>(all: impl Iterator<Item = &'a Pair>) -> (f64, f64) {
    let (mut sum, mut n, mut max) = (0.0f64, 0.0f64, 0.0f64);
    for (_, r) in all {
        let square = r[0] * r[0] + r[1] * r[1];
        (sum, n, max) = (sum + square, n + 1.0, max.max(square));
    }
    ((sum / n.max(1.0)).sqrt(), max.sqrt())
}

/// Pictures whose scales differ by more than this share were not taken at one zoom and height: a lens that is set up once and looks at a plane
/// 200 mm away sees one put up 2 mm higher so much larger.
const MOST_SCATTER: f64 = 0.01;

/// That all pictures were taken at one scale: between two nothing can be measured.
fn of_one_scale(shots: &[Shot], scales: &[f64]) -> Result<(), CalibrationError> {
    let by = |a: &usize, b: &usize| scales[*a].total_cmp(&scales[*b]);
    let (Some(lo), Some(hi)) = ((0..scales.len()).min_by(by), (0..scales.len()).max_by(by)) else { return Ok(()) };
    if scales[hi] <= (1.0 + MOST_SCATTER) * scales[lo] {
        return Ok(());
    }
    Err(CalibrationError::Fit(format!(
        "{} shows {:.4} um per pixel and {} {:.4}: they were not taken at one zoom and height, or not of one target",
        shots[lo].file, scales[lo], shots[hi].file, scales[hi]
    )))
}

fn row(name: &str, evaluation: &str, u: f64, degrees: Option<f64>) -> BudgetRow {
    BudgetRow { name: name.into(), evaluation: evaluation.into(), um_per_px_u: round_to(u, 7), degrees }
}

/// The parts of the standard uncertainty, in um per pixel. tilt_u: that of the scale by where the piece lies, or by an unseen tilt, as a share.
fn budget(
    target: &TargetRow,
    mean: f64,
    fit: f64,
    freedom: f64,
    scales: &[f64],
    tilt_u: f64,
    reach: f64,
) -> Vec<BudgetRow> {
    let mut out = vec![
        row("target", "B", target.square_u_mm.map_or(0.0, |u| mean * u / target.square_mm), None),
        row("points", "B", mean * PLACE_U_PX / reach.max(1.0), None),
        row("fit", "A", fit, Some(freedom)),
    ];
    let m = scales.len() as f64;
    if scales.len() > 1 {
        let variance = scales.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / (m - 1.0);
        // What the fit explains of the scatter is in its own row; what is left is put up anew, focused anew, warmer. A piece's frame is one more
        // such picture: its own scale scatters so, beside the mean.
        let left = ((variance - m * fit * fit).max(0.0) * (1.0 + 1.0 / m)).sqrt();
        out.push(row("repeatability", "A", left, Some(m - 1.0)));
    }
    out.push(row("tilt", "B", mean * tilt_u, None));
    out
}

#[allow(clippy::too_many_arguments)]
fn whole(
    shots: &[Shot],
    target: &TargetRow,
    size: [usize; 2],
    camera_serial: Option<String>,
    scales: &[f64],
    budget: Vec<BudgetRow>,
    lens: LensModel,
    distortion: Option<Distortion>,
    tilt: f64,
    left_out: &[usize],
    seen: &[Vec<Pair>],
) -> Calibration {
    let mean = scales.iter().sum::<f64>() / scales.len() as f64;
    let (residual_rms, residual_max) = rms(seen.iter().flatten());
    let images = shots
        .iter()
        .zip(scales)
        .zip(seen.iter().zip(left_out))
        .map(|((s, scale), (seen, out))| ImageRow {
            file: s.file.clone(),
            sha256: s.sha256.clone(),
            points: seen.len(),
            left_out: *out,
            um_per_px: round_to(*scale, 6),
            residual_rms_px: round_to(rms(seen.iter()).0, 4),
        })
        .collect();
    let u = budget.iter().map(|b| b.um_per_px_u * b.um_per_px_u).sum::<f64>().sqrt();
    Calibration {
        schema: CALIBRATION_SCHEMA.into(),
        program: crate::PROGRAM.into(),
        camera_serial,
        width_px: size[0],
        height_px: size[1],
        target: target.clone(),
        um_per_px: round_to(mean, 6),
        um_per_px_u: round_to(u, 6),
        budget,
        lens,
        distortion,
        tilt_pct: round_to(100.0 * tilt, 4),
        residual_rms_px: round_to(residual_rms, 4),
        residual_max_px: round_to(residual_max, 4),
        images,
    }
}

/// How far the lines of a scale bar may lie off equal distances, rms: a ruling is made and read to a hundredth of a pixel, to a tenth where
/// it is blurred.
const MOST_RESIDUAL_PX: f64 = 0.2;

/// How far a scale bar that is laid by hand may lie out of level: a choice.
const UNSEEN_TILT_DEG: f64 = 2.0;

/// A scale bar shows the scale across its lines and no distortion: straight lines through the places by number.
fn scale_bar(
    shots: &[Shot],
    target: &TargetRow,
    size: [usize; 2],
    camera_serial: Option<String>,
) -> Result<(Calibration, Seen), CalibrationError> {
    let (mut scales, mut seen, mut fits, mut left_out, mut freedom) = (vec![], vec![], vec![], vec![], 0.0);
    let mut bent = 0.0;
    for s in shots {
        let mut points = s.points.clone();
        let mut fitted = None;
        // What lies far off the lines is dirt on them, or a longer line's number.
        for _ in 0..4 {
            let Some((pitch, residuals)) = ruling(&points) else {
                return Err(CalibrationError::Fit(format!(
                    "{}: no ruling of parallel lines at equal distances was found",
                    s.file
                )));
            };
            let length = |r: &Pair| r.1[0].hypot(r.1[1]);
            let mut all: Vec<f32> = residuals.iter().map(|r| length(r) as f32).collect();
            // The median of a length in one dimension is 0.674 standard deviations.
            let limit = OUTLIER * (f64::from(crate::vision::ops::median(&mut all)) / 0.674).max(0.01);
            let before = points.len();
            let mut keep = residuals.iter().map(|r| length(r) <= limit);
            points.retain(|_| keep.next().unwrap_or(true));
            let done = points.len() == before;
            fitted = Some((pitch, residuals));
            if done {
                break;
            }
        }
        let Some((pitch, residuals)) = fitted else { continue };
        let n = residuals.len();
        left_out.push(s.points.len() - n);
        let dof = n as f64 - 3.0;
        let variance = residuals.iter().map(|r| r.1[0] * r.1[0] + r.1[1] * r.1[1]).sum::<f64>() / dof;
        if variance.sqrt() > MOST_RESIDUAL_PX {
            return Err(CalibrationError::Fit(format!(
                "{}: the lines lie {:.2} px off equal distances (rms; at most {MOST_RESIDUAL_PX}): it shows no ruling, or not one of a single pitch",
                s.file,
                variance.sqrt()
            )));
        }
        let scale = 1000.0 * target.square_mm / pitch;
        let mean = points.iter().map(|p| p.grid[0]).sum::<f64>() / points.len() as f64;
        let spread: f64 = points.iter().map(|p| (p.grid[0] - mean).powi(2)).sum();
        fits.push((variance / spread).sqrt() / pitch * scale);
        freedom += dof;
        let Some(by) = bend(&points, &residuals, pitch) else {
            return Err(CalibrationError::Fit(format!(
                "{}: too few lines to tell what the lens does to their distances: four at least must be in the frame",
                s.file
            )));
        };
        bent += scale * by;
        scales.push(scale);
        seen.push(residuals);
    }
    let m = scales.len() as f64;
    let mean = scales.iter().sum::<f64>() / m;
    let fit = fits.iter().map(|u| u * u).sum::<f64>().sqrt() / m;
    of_one_scale(shots, &scales)?;
    // Lines in one direction do not show by how much they lie out of level, which shortens them by the cosine: evenly from none to the most.
    let tilt_u = UNSEEN_TILT_DEG.to_radians().powi(2) / 20f64.sqrt();
    let mut budget = budget(target, mean, fit, freedom, &scales, tilt_u, reach_of(shots));
    budget.push(row("lens", "B", bent / m, None));
    let made = whole(
        shots,
        target,
        size,
        camera_serial,
        &scales,
        budget,
        LensModel::Telecentric,
        None,
        0.0,
        &left_out,
        &seen,
    );
    Ok((made, seen))
}

/// By which share the pitch of a ruling's lines departs from their mean, rms along it: a lens that distorts draws lines at equal distances along a curve
/// of third order. None where there are too few.
fn bend(points: &[GridPoint], residuals: &[Pair], pitch: f64) -> Option<f64> {
    let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |m, p| (m.0.min(p.grid[0]), m.1.max(p.grid[0])));
    let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
    let along = points.iter().map(|p| p.grid[1].abs()).fold(1.0, f64::max);
    let mut a = nalgebra::Matrix5::<f64>::zeros();
    let mut b = nalgebra::Matrix5x2::<f64>::zeros();
    for (p, (_, off)) in points.iter().zip(residuals) {
        let t = (p.grid[0] - middle) / half;
        let row = nalgebra::Vector5::new(1.0, t, p.grid[1] / along, t * t, t * t * t);
        a += row * row.transpose();
        b += row * nalgebra::RowVector2::new(off[0], off[1]);
    }
    // Three lines tell no third order.
    let x = a.cholesky()?.solve(&b);
    let slope = |t: f64| {
        let [x, y] = [0, 1].map(|k| x[(1, k)] + 2.0 * t * x[(3, k)] + 3.0 * t * t * x[(4, k)]);
        x.hypot(y) / (half * pitch)
    };
    let n = 100;
    let sum: f64 = (0..=n).map(|k| slope(2.0 * f64::from(k) / f64::from(n) - 1.0).powi(2)).sum();
    Some((sum / f64::from(n + 1)).sqrt())
}

/// Distance of neighbouring lines in pixels, and where points were seen and by how much they lie off; none where they show no ruling.
fn ruling(points: &[GridPoint]) -> Option<(f64, Vec<Pair>)> {
    if points.len() < LEAST_POINTS {
        return None;
    }
    // x and y by number and by place along the lines: x = a + b k + c s.
    let mut a = nalgebra::Matrix3::<f64>::zeros();
    let mut b = nalgebra::Matrix3x2::<f64>::zeros();
    let along: f64 = points.iter().map(|p| p.grid[1].abs()).fold(1.0, f64::max);
    for p in points {
        let row = nalgebra::Vector3::new(1.0, p.grid[0], p.grid[1] / along);
        a += row * row.transpose();
        b += row * nalgebra::RowVector2::new(p.px[0], p.px[1]);
    }
    let x = a.cholesky()?.solve(&b);
    let (step, line) = ([x[(1, 0)], x[(1, 1)]], [x[(2, 0)], x[(2, 1)]]);
    let length = line[0].hypot(line[1]);
    // Distance of neighbouring lines: the step's part across them.
    let normal = [-line[1] / length, line[0] / length];
    let pitch = (step[0] * normal[0] + step[1] * normal[1]).abs();
    // Only what lies across a line is seen of it.
    let off = |p: &GridPoint| {
        let q = [0, 1].map(|c| x[(0, c)] + x[(1, c)] * p.grid[0] + x[(2, c)] * p.grid[1] / along);
        let d = (p.px[0] - q[0]) * normal[0] + (p.px[1] - q[1]) * normal[1];
        (p.px, normal.map(|v| d * v))
    };
    Some((pitch, points.iter().map(off).collect()))
}
