//! Metal against background, and the outline's pose by its edges: a coarse search over turns and shifts, then
//! sub-pixel edge places along the normals and a robust least-squares fit.

use super::outline::{self, EdgePoint};
use super::{LocateError, Pose, MAX_SHIFT_MM, MAX_TURN_DEG};
use crate::spec::Outline;
use crate::vision::{ops, Image, Mask, Plane};

/// The background's colour: a plane in x and y per channel, and its noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    /// Per channel: value at the frame's centre, slope per pixel in x, in y.
    pub colour: [[f64; 3]; 3],
    /// Robust standard deviation of one pixel's summed difference, in grey levels.
    pub sigma: f64,
    centre: [f64; 2],
}

impl Background {
    /// Sum over the channels of |pixel - background| at a point, bilinear; 0 outside the frame.
    fn difference(&self, image: &Image, x: f64, y: f64) -> f64 {
        let (w, h) = (image.width, image.height);
        if !(x >= 0.0 && y >= 0.0 && x <= (w - 1) as f64 && y <= (h - 1) as f64) {
            return 0.0;
        }
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = ((x - x0 as f64) as f32, (y - y0 as f64) as f32);
        let i = 3 * (y0 * w + x0);
        let right = if x0 + 1 < w { 3 } else { 0 };
        let below = if y0 + 1 < h { 3 * w } else { 0 };
        let top = &image.data[i..i + right + 3];
        let low = &image.data[i + below..i + below + right + 3];
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let mut sum = 0.0;
        for (c, k) in self.colour.iter().enumerate() {
            let (a, b) = (f32::from(top[c]), f32::from(top[c + right]));
            let (d, e) = (f32::from(low[c]), f32::from(low[c + right]));
            let (up, down) = (a + (b - a) * fx, d + (e - d) * fx);
            sum += (f64::from(up + (down - up) * fy) - (k[0] + k[1] * dx + k[2] * dy)).abs();
        }
        sum
    }

    fn level(&self, c: usize, x: f64, y: f64) -> f64 {
        let k = &self.colour[c];
        k[0] + k[1] * (x - self.centre[0]) + k[2] * (y - self.centre[1])
    }
}

/// Fits the background where no turn and shift of the outline reaches: a robust plane per channel, because lights
/// fall off towards the corners.
///
/// # Errors
/// [`LocateError::NoBackground`] where fewer than 0.5 % of the frame are left.
pub fn fit_background(image: &Image, shape: &Outline, start: &Pose) -> Result<Background, LocateError> {
    // A tenth of a millimetre a pixel is fine enough to keep away from the piece.
    let f = ((100.0 / start.um_per_px).floor() as usize).clamp(1, 64);
    let (w, h) = (image.width.div_ceil(f), image.height.div_ceil(f));
    let mut reached = Mask::empty(w, h);
    let reach_mm = 1.5 * start.mm(image.width.max(image.height) as f64);
    let corners = outline::polygon(shape, reach_mm);
    for k in -5..=5 {
        let pose = Pose { rotation: (MAX_TURN_DEG * f64::from(k) / 5.0).to_radians(), ..*start };
        let p: Vec<[f64; 2]> = corners
            .iter()
            .map(|c| {
                let q = pose.to_px(c[0], c[1]);
                [(q[0] + 0.5) / f as f64 - 0.5, (q[1] + 0.5) / f as f64 - 0.5]
            })
            .collect();
        ops::fill_polygons(&mut reached, &[p], 255)?;
    }
    let outside = reached.inverse();
    let free = outside.count();
    if free * 200 < w * h {
        return Err(LocateError::NoBackground);
    }
    let distance = ops::distance_inside(&outside)?;
    let mut far: Vec<f32> = distance.data.iter().copied().filter(|d| *d > 0.0).collect();
    // As far away as the search may shift the piece, but at least the farthest fifth of what is free.
    let keep = ops::quantile(&mut far, 0.8).min((MAX_SHIFT_MM * 1000.0 / (start.um_per_px * f as f64)) as f32);
    let centre = start.centre_px;
    let mut colour = [[0.0; 3]; 3];
    let mut points = Vec::new();
    for y in 0..h {
        for x in 0..w {
            if distance.at(x, y) >= keep {
                let (px, py) = ((x * f + f / 2).min(image.width - 1), (y * f + f / 2).min(image.height - 1));
                points.push((px, py));
            }
        }
    }
    // At most some ten thousand pixels: more add nothing to a plane.
    let stride = (points.len() / 20_000).max(1);
    let points: Vec<(usize, usize)> = points.into_iter().step_by(stride).collect();
    for (c, out) in colour.iter_mut().enumerate() {
        let rows: Vec<([f64; 3], f64)> = points
            .iter()
            .map(|(x, y)| {
                let v = f64::from(image.data[3 * (y * image.width + x) + c]);
                ([1.0, *x as f64 - centre[0], *y as f64 - centre[1]], v)
            })
            .collect();
        *out = robust_fit(&rows, &[0.0, 1e-3, 1e-3]).0;
    }
    let mut background = Background { colour, sigma: 1.0, centre };
    let mut residual: Vec<f32> = points
        .iter()
        .map(|(x, y)| {
            (0..3)
                .map(|c| {
                    f64::from(image.data[3 * (y * image.width + x) + c]) - background.level(c, *x as f64, *y as f64)
                })
                .sum::<f64>() as f32
        })
        .collect();
    background.sigma = noise(&mut residual);
    Ok(background)
}

/// What a grey level of all three channels is in their sum.
const LEVEL: f64 = 3.0;

/// Standard deviation of residuals of the channels' sum. Most pixels of a ground that compression has smoothed have the very same value, and the median of their
/// residuals is none: what lies one level off is then told by how many do, as if they were the tail of a normal distribution.
fn noise(residual: &mut [f32]) -> f64 {
    // A frame of 8 bits has at least its rounding as noise.
    let middle = f64::from(ops::robust_sigma(residual)).max(0.5);
    if middle >= 0.5 * LEVEL {
        return middle;
    }
    let mut off: Vec<f32> = residual.iter().map(|v| v.abs()).collect();
    let tail = f64::from(ops::quantile(&mut off, 0.9)).min(LEVEL) / 1.645;
    middle.max(tail)
}

/// The best turn and shift on a grid, found on a frame of some 50 um a pixel, refined to 0.5 degrees and 0.05 mm.
///
/// # Errors
/// [`LocateError::NotFound`] where less than half of the outline in the frame shows an edge.
pub fn coarse(image: &Image, shape: &Outline, start: &Pose, background: &Background) -> Result<Pose, LocateError> {
    let f = ((50.0 / start.um_per_px).round() as usize).clamp(1, 64);
    let metal = metalness(image, background, f);
    let is_band = matches!(shape, Outline::Band { .. });
    let turns = !outline::has_no_direction(shape);
    let reach_mm = start.mm(image.width.max(image.height) as f64) / 2.0;
    let circumference = edge_length(shape, reach_mm);
    let points = outline::edge_points(shape, (circumference / 160.0).max(0.02), reach_mm);
    let mut candidates: Vec<(f64, Pose)> = Vec::new();
    let steps = |max: f64, step: f64| {
        let n = (max / step).ceil() as i32;
        (-n..=n).map(move |i| f64::from(i) * step)
    };
    for turn in steps(if turns { MAX_TURN_DEG } else { 0.0 }, 2.0) {
        let turned = Turned::new(&points, &Pose { rotation: turn.to_radians(), ..*start }, 0.25);
        for dx in steps(if is_band { 0.0 } else { MAX_SHIFT_MM }, 0.2) {
            for dy in steps(MAX_SHIFT_MM, 0.2) {
                let pose = Pose { rotation: turn.to_radians(), dx_mm: dx, dy_mm: dy, ..*start };
                candidates.push((turned.score(&metal, &pose, f).0, pose));
            }
        }
    }
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    candidates.truncate(6);
    let mut best = (f64::MIN, *start, 0.0);
    for (_, c) in &candidates {
        for turn in steps(if turns { 2.0 } else { 0.0 }, 0.5) {
            let rotation = c.rotation + turn.to_radians();
            let turned = Turned::new(&points, &Pose { rotation, ..*start }, 0.1);
            for dx in steps(if is_band { 0.0 } else { 0.2 }, 0.05) {
                for dy in steps(0.2, 0.05) {
                    let pose = Pose { rotation, dx_mm: c.dx_mm + dx, dy_mm: c.dy_mm + dy, ..*start };
                    let (s, share) = turned.score(&metal, &pose, f);
                    if s > best.0 {
                        best = (s, pose, share);
                    }
                }
            }
        }
    }
    if best.2 < 0.5 {
        return Err(LocateError::NotFound { share_pct: 100.0 * best.2 });
    }
    Ok(best.1)
}

/// Pairs of places a gap inside and outside of every point of the outline, in pixels of the frame, for one turn.
struct Turned {
    pairs: Vec<[[f64; 2]; 2]>,
}

impl Turned {
    fn new(points: &[EdgePoint], pose: &Pose, gap_mm: f64) -> Self {
        let pairs = points
            .iter()
            .map(|e| {
                let (gx, gy) = (e.nx * gap_mm, e.ny * gap_mm);
                [pose.to_px(e.x - gx, e.y - gy), pose.to_px(e.x + gx, e.y + gy)]
            })
            .collect();
        Turned { pairs }
    }

    /// The mean step from outside to inside on a map of the metal shrunk by `f`, and the share of the outline in the
    /// frame that shows one.
    fn score(&self, metal: &Plane, pose: &Pose, f: usize) -> (f64, f64) {
        let (mut sum, mut seen, mut strong) = (0.0, 0usize, 0usize);
        let (dx, dy) = (pose.px(pose.dx_mm), -pose.px(pose.dy_mm));
        let near = |p: [f64; 2]| nearest_at(metal, [p[0] + dx, p[1] + dy], f);
        for [inner, outer] in &self.pairs {
            // Outside the frame there is nothing to say.
            if let (Some(inner), Some(outer)) = (near(*inner), near(*outer)) {
                let d = f64::from(inner - outer);
                sum += d;
                seen += 1;
                strong += usize::from(d > 0.15);
            }
        }
        // Points outside the frame count as no edge for the sum, so that the search does not flee out of the frame.
        let share = if seen == 0 { 0.0 } else { strong as f64 / seen as f64 };
        (sum / self.pairs.len() as f64, share)
    }
}

/// 0 on background to 1 on anything that differs much from it, shrunk by `f`.
fn metalness(image: &Image, background: &Background, f: usize) -> Plane {
    let (w, h) = (image.width, image.height);
    // Half way where the difference is six times the noise of a pixel: dim metal counts nearly as bright metal does.
    let half = 6.0 * background.sigma.max(1.0);
    let mut small = Plane::filled(w.div_ceil(f), h.div_ceil(f), 0.0);
    // Of each block two rows are enough: the map only guides the search.
    let rows = f.min(2);
    for sy in 0..small.height {
        for sx in 0..small.width {
            let (mut sum, mut n) = (0.0, 0.0);
            for r in 0..rows {
                let y = (sy * f + r * f / rows).min(h - 1);
                for x in sx * f..((sx + 1) * f).min(w) {
                    let p = &image.data[3 * (y * w + x)..3 * (y * w + x) + 3];
                    sum += (0..3)
                        .map(|c| (f64::from(p[c]) - background.level(c, x as f64, y as f64)).abs())
                        .sum::<f64>();
                    n += 1.0;
                }
            }
            small.data[sy * small.width + sx] = (sum / n) as f32;
        }
    }
    // The mean of |noise| is no signal.
    let floor = 1.5 * background.sigma;
    for v in &mut small.data {
        let d = (f64::from(*v) - floor).max(0.0);
        *v = (d / (d + half)) as f32;
    }
    small
}

fn nearest_at(p: &Plane, at: [f64; 2], f: usize) -> Option<f32> {
    let (x, y) = ((at[0] + 0.5) / f as f64, (at[1] + 0.5) / f as f64);
    if x < 0.0 || y < 0.0 {
        return None;
    }
    let (x, y) = (x as usize, y as usize);
    (x < p.width && y < p.height).then(|| p.at(x, y))
}

fn edge_length(shape: &Outline, reach_mm: f64) -> f64 {
    if let Outline::Band { .. } = shape {
        return 4.0 * reach_mm;
    }
    let p = outline::polygon(shape, reach_mm);
    let n = p.len();
    (0..n).map(|i| (p[(i + 1) % n][0] - p[i][0]).hypot(p[(i + 1) % n][1] - p[i][1])).sum()
}

/// A pose with its standard uncertainties.
#[derive(Debug, Clone, Copy)]
pub struct Fit {
    /// The pose.
    pub pose: Pose,
    /// Radians.
    pub rotation_u: f64,
    /// Millimetres.
    pub shift_u_mm: f64,
}

/// The edge's place at one point of the outline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeSample {
    /// The nominal point.
    pub point: EdgePoint,
    /// Its pixel.
    pub px: [f64; 2],
    /// How far outward the metal's edge lies, in mm (negative: metal is lacking); none where no edge was seen within
    /// reach or the place is outside the frame.
    pub offset_mm: Option<f64>,
    /// What stands behind that edge, against the least that counts as metal; 0 where none was seen.
    pub contrast: f64,
    /// Whether the place lies in the frame.
    pub in_frame: bool,
}

/// Refines a coarse pose by sub-pixel edges.
///
/// # Errors
/// [`LocateError::NotFound`] where fewer than a third of the outline's points in the frame show an edge.
pub fn refine(image: &Image, shape: &Outline, coarse: Pose, background: &Background) -> Result<Fit, LocateError> {
    let mut pose = coarse;
    let reach_mm = pose.mm(image.width.max(image.height) as f64) / 2.0;
    let step_mm = (edge_length(shape, reach_mm) / 720.0).max(pose.mm(1.0));
    let points = outline::edge_points(shape, step_mm, reach_mm);
    let has_turn = !outline::has_no_direction(shape);
    let is_band = matches!(shape, Outline::Band { .. });
    let mut last = (0.0, [[0.0; 4]; 4]);
    // The window closes in: first as wide as the coarse search may err, then a few pixels.
    for window_mm in [0.35, 0.2, 0.12, 0.12] {
        let window_px = pose.px(window_mm).max(4.0);
        let mut rows = Vec::new();
        let mut in_frame = 0usize;
        for e in &points {
            let Some(found) = edge_at(image, &pose, e, window_px, background) else { continue };
            in_frame += 1;
            if let Some((offset, _)) = found {
                let lever = e.x * e.ny - e.y * e.nx;
                // Columns: shift along the piece's x and y, turn, and a uniform growth of the outline.
                rows.push(([e.nx, e.ny, lever, 1.0], pose.mm(offset)));
            }
        }
        if rows.len() * 3 < in_frame || rows.len() < 24 {
            let share_pct = 100.0 * rows.len() as f64 / in_frame.max(1) as f64;
            return Err(LocateError::NotFound { share_pct });
        }
        // Weak priors hold what the edges leave open.
        let free = 1e-6;
        let fixed = 1e6;
        let prior = [if is_band { fixed } else { free }, free, if has_turn { free } else { fixed }, 100.0 * free];
        let (x, residual, covariance) = robust_fit(&rows, &prior);
        let (s, c) = pose.rotation.sin_cos();
        pose.dx_mm += c * x[0] - s * x[1];
        pose.dy_mm += s * x[0] + c * x[1];
        pose.rotation += x[2];
        last = (residual, covariance);
    }
    let (_, covariance) = last;
    // Neighbouring edge places share blur and texture: count one in four as independent.
    let u = |i: usize| 2.0 * covariance[i][i].max(0.0).sqrt();
    Ok(Fit {
        pose,
        rotation_u: if has_turn { u(2) } else { 0.0 },
        shift_u_mm: (if is_band { 0.0 } else { u(0) }).hypot(u(1)),
    })
}

/// Edge places all along the outline about two pixels apart, within 0.5 mm of the nominal.
pub fn measure(image: &Image, shape: &Outline, pose: &Pose, background: &Background) -> Vec<EdgeSample> {
    let reach_mm = pose.mm(image.width.max(image.height) as f64) / 2.0;
    let points = outline::edge_points(shape, pose.mm(2.0).max(0.02), 1.1 * reach_mm);
    let window_px = pose.px(0.5).max(6.0);
    points
        .into_iter()
        .map(|e| {
            let found = edge_at(image, pose, &e, window_px, background);
            EdgeSample {
                point: e,
                px: pose.to_px(e.x, e.y),
                offset_mm: found.flatten().map(|(o, _)| pose.mm(o)),
                contrast: found.flatten().map_or(0.0, |(_, c)| c),
                in_frame: found.is_some(),
            }
        })
        .collect()
}

/// How far metal behind an edge stands out of the background's noise, in thresholds of a first rise.
const METAL: f64 = 1.5;

/// The edge along one normal: None where the place is out of the frame, Some(None) where no edge is seen, else the
/// offset in pixels, outward positive, and the plateau against the least that counts as metal. From outside inward: the first rise out of the background's noise, then the
/// crossing of half the plateau behind it.
fn edge_at(
    image: &Image,
    pose: &Pose,
    e: &EdgePoint,
    window_px: f64,
    background: &Background,
) -> Option<Option<(f64, f64)>> {
    // Half a pixel near the end; a wide window at a fine scale is read in whole pixels or steps of 10 um.
    let step = if window_px > 48.0 { pose.px(0.01).clamp(1.0, 2.0) } else { 0.5 };
    let at = pose.to_px(e.x, e.y);
    let (s, c) = pose.rotation.sin_cos();
    // The outward normal in pixels (y down).
    let (nx, ny) = (c * e.nx - s * e.ny, -(s * e.nx + c * e.ny));
    let (w, h) = (image.width as f64, image.height as f64);
    let inside = |x: f64, y: f64| x >= 2.0 && y >= 2.0 && x <= w - 3.0 && y <= h - 3.0;
    if !inside(at[0], at[1]) {
        return None;
    }
    // The plateau is read over some 60 um behind the edge.
    let plateau_px = pose.px(0.06).clamp(3.0, 12.0);
    let n = ((2.0 * window_px + plateau_px + 2.0) / step).ceil() as usize;
    // Read from outside inward, and only as far as needed: most edges lie half way.
    let mut profile: Vec<f64> = Vec::with_capacity(n);
    let read = |profile: &mut Vec<f64>, end: usize| {
        for i in profile.len()..end {
            let t = window_px - i as f64 * step;
            let mut sum = 0.0;
            for k in [-2.0, 0.0, 2.0] {
                sum += background.difference(image, at[0] + nx * t - ny * k, at[1] + ny * t + nx * k);
            }
            profile.push(sum / 3.0);
        }
    };
    read(&mut profile, 1);
    // |noise| has a mean of its own: read it off the outer end, bounded by what the background's noise explains.
    let floor = (1.4 * background.sigma).min(*profile.first()?);
    let threshold = floor + 3.0 * background.sigma.max(1.0);
    let hold = ((2.0 / step) as usize).max(2);
    let span = (plateau_px / step) as usize;
    let lag = ((1.5 / step) as usize).max(1);
    let mut i = 0;
    while i + hold < n {
        read(&mut profile, i + hold);
        if !profile[i..i + hold].iter().all(|v| *v > threshold) {
            i += 1;
            continue;
        }
        let from = i + lag;
        let to = (from + span).min(n);
        if from >= to {
            return Some(None);
        }
        read(&mut profile, to);
        let plateau = profile[from..to].iter().sum::<f64>() / (to - from) as f64;
        // A speck of noise or dust rises too, but nothing lasts behind it.
        if i == 0 || plateau < METAL * threshold {
            i += 1;
            continue;
        }
        let half = floor + (plateau - floor) / 2.0;
        // The crossing nearest to the first rise.
        for k in i.saturating_sub(4).max(1)..to {
            if profile[k - 1] < half && profile[k] >= half {
                let t = (half - profile[k - 1]) / (profile[k] - profile[k - 1]);
                let offset = window_px - (k as f64 - 1.0 + t) * step;
                return Some((offset.abs() <= window_px).then_some((offset, plateau / (METAL * threshold))));
            }
        }
        i += 1;
    }
    Some(None)
}

/// The metal's real outline where metal is lacking: the nominal outline moved inward to the edges seen, as polygons in
/// pixels of what is missing. Lacks of less than `least_mm` are left to the rim's margin.
pub fn notches(edges: &[EdgeSample], shape: &Outline, pose: &Pose, least_mm: f64) -> Vec<Vec<[f64; 2]>> {
    let stride = if matches!(shape, Outline::Band { .. }) { 2 } else { 1 };
    let mut out = Vec::new();
    for i in 0..edges.len().saturating_sub(stride) {
        let (a, b) = (&edges[i], &edges[i + stride]);
        let depth = |e: &EdgeSample| if e.in_frame { e.offset_mm.map_or(0.0, |o| (-o).max(0.0)) } else { 0.0 };
        let (da, db) = (depth(a), depth(b));
        if da.max(db) < least_mm {
            continue;
        }
        let inner = |e: &EdgeSample, d: f64| {
            let d = d + 0.06;
            pose.to_px(e.point.x - e.point.nx * d, e.point.y - e.point.ny * d)
        };
        out.push(vec![a.px, b.px, inner(b, db.max(da)), inner(a, da.max(db))]);
    }
    out
}

/// Robust linear least squares: Tukey's biweight at 4.7 robust standard deviations of the residuals, some ten rounds.
/// `prior` is added to the diagonal of the normal matrix (relative to the number of rows). Gives the parameters, the
/// residual's standard deviation, and their covariance.
#[allow(clippy::type_complexity, clippy::needless_range_loop)] // matrix indices read better than iterators here
pub fn robust_fit<const N: usize>(rows: &[([f64; N], f64)], prior: &[f64; N]) -> ([f64; N], f64, [[f64; N]; N]) {
    let mut x = [0.0; N];
    let mut sigma = f64::INFINITY;
    let mut inverse = [[0.0; N]; N];
    for round in 0..12 {
        let mut a = [[0.0; N]; N];
        let mut b = [0.0; N];
        let residual = |x: &[f64; N], r: &([f64; N], f64)| r.1 - (0..N).map(|i| r.0[i] * x[i]).sum::<f64>();
        if round > 0 {
            let mut r: Vec<f32> = rows.iter().map(|row| residual(&x, row).abs() as f32).collect();
            sigma = 1.4826 * f64::from(ops::median(&mut r)).max(1e-9);
        }
        for row in rows {
            let weight = if sigma.is_finite() {
                let u = residual(&x, row) / (4.685 * sigma);
                if u.abs() < 1.0 {
                    (1.0 - u * u).powi(2)
                } else {
                    0.0
                }
            } else {
                1.0
            };
            for i in 0..N {
                for (j, out) in a[i].iter_mut().enumerate() {
                    *out += weight * row.0[i] * row.0[j];
                }
                b[i] += weight * row.0[i] * row.1;
            }
        }
        for i in 0..N {
            a[i][i] += prior[i] * rows.len() as f64;
        }
        let Some(inv) = invert(a) else { break };
        inverse = inv;
        for i in 0..N {
            x[i] = (0..N).map(|j| inverse[i][j] * b[j]).sum();
        }
    }
    if !sigma.is_finite() {
        sigma = 0.0;
    }
    let mut covariance = inverse;
    for row in &mut covariance {
        for v in row.iter_mut() {
            *v *= sigma * sigma;
        }
    }
    (x, sigma, covariance)
}

/// Gauss-Jordan with pivoting; none for a singular matrix.
#[allow(clippy::needless_range_loop)] // matrix indices read better than iterators here
pub(crate) fn invert<const N: usize>(mut a: [[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let mut inv = [[0.0; N]; N];
    for (i, row) in inv.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for col in 0..N {
        let pivot = (col..N).max_by(|i, j| a[*i][col].abs().total_cmp(&a[*j][col].abs()))?;
        if a[pivot][col].abs() < 1e-300 {
            return None;
        }
        a.swap(col, pivot);
        inv.swap(col, pivot);
        let p = a[col][col];
        for j in 0..N {
            a[col][j] /= p;
            inv[col][j] /= p;
        }
        for i in 0..N {
            if i != col {
                let k = a[i][col];
                for j in 0..N {
                    a[i][j] -= k * a[col][j];
                    inv[i][j] -= k * inv[col][j];
                }
            }
        }
    }
    Some(inv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_of_a_smoothed_ground_is_told_by_its_tail() {
        // Of a hundred pixels so many one grey level off, up and down.
        let of = |off: usize| {
            (0..100).map(|i| if i >= off { 0.0 } else { 6.0 * (i % 2) as f32 - 3.0 }).collect::<Vec<f32>>()
        };
        assert!((noise(&mut of(30)) - 3.0 / 1.645).abs() < 1e-6);
        // None, or as many as a speck of dust has: the rounding.
        assert_eq!((noise(&mut of(0)), noise(&mut of(4))), (0.5, 0.5));
        // Where noise shows, its middle counts, whatever its tail.
        let mut wide: Vec<f32> = (0..100).map(|i| i as f32 / 10.0 - 5.0).collect();
        wide[0] = -90.0;
        assert!((noise(&mut wide) - 1.4826 * 2.5).abs() < 0.2);
    }

    /// A bright shape on dark ground with noise from a small generator, drawn with 4 x 4 samples a pixel.
    fn draw(shape: &Outline, pose: &Pose, w: usize, h: usize) -> Image {
        let inside = |x: f64, y: f64| -> bool {
            let [a, b] = pose.to_mm(x, y);
            match shape {
                Outline::Ellipse { rx_mm, ry_mm } => (a / rx_mm).powi(2) + (b / ry_mm).powi(2) < 1.0,
                Outline::Band { half_width_mm, .. } => b.abs() < *half_width_mm,
                _ => unreachable!(),
            }
        };
        let mut seed = 1u32;
        let mut data = Vec::with_capacity(3 * w * h);
        for y in 0..h {
            for x in 0..w {
                let mut n = 0;
                for i in 0..16 {
                    let (sx, sy) = (f64::from(i % 4) / 4.0 - 0.375, f64::from(i / 4) / 4.0 - 0.375);
                    n += u32::from(inside(x as f64 + sx, y as f64 + sy));
                }
                let level = 40.0 + 150.0 * f64::from(n) / 16.0;
                for _ in 0..3 {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    data.push((level + f64::from(seed >> 24) / 255.0 * 8.0 - 4.0) as u8);
                }
            }
        }
        Image { width: w, height: h, data, grey: false }
    }

    #[test]
    fn an_ellipse_is_placed_to_a_tenth_of_a_pixel() {
        let shape = Outline::Ellipse { rx_mm: 3.4, ry_mm: 2.5 };
        for (turn, dx, dy) in [(14.0f64, 0.9, -0.7), (-3.0, 0.05, 0.2), (0.0, -0.8, 0.6)] {
            let truth = Pose { rotation: turn.to_radians(), dx_mm: dx, dy_mm: dy, ..Pose::centred(640, 480, 16.0) };
            let image = draw(&shape, &truth, 640, 480);
            let start = Pose::centred(640, 480, 16.0);
            let bg = fit_background(&image, &shape, &start).unwrap();
            let fit = refine(&image, &shape, coarse(&image, &shape, &start, &bg).unwrap(), &bg).unwrap();
            eprintln!("turn {turn} err {}", fit.pose.rotation.to_degrees() - turn);
            assert!((fit.pose.rotation.to_degrees() - turn).abs() < 0.05, "{:?}", fit);
            assert!((fit.pose.dx_mm - dx).hypot(fit.pose.dy_mm - dy) < 0.0016, "{:?}", fit);
        }
    }

    #[test]
    fn an_empty_frame_is_not_found() {
        let shape = Outline::Ellipse { rx_mm: 3.4, ry_mm: 2.5 };
        let far = Pose { dx_mm: 50.0, ..Pose::centred(640, 480, 16.0) };
        let image = draw(&shape, &far, 640, 480);
        let start = Pose::centred(640, 480, 16.0);
        let bg = fit_background(&image, &shape, &start).unwrap();
        assert!(matches!(coarse(&image, &shape, &start, &bg), Err(LocateError::NotFound { .. })));
    }

    #[test]
    fn one_row_in_five_may_be_wrong() {
        let rows: Vec<([f64; 2], f64)> = (0..100)
            .map(|i| {
                let t = f64::from(i) / 10.0;
                let noise = f64::from((i * 7919) % 13) / 13.0 * 0.02 - 0.01;
                ([1.0, t], if i % 5 == 0 { 30.0 } else { 2.0 + 0.5 * t + noise })
            })
            .collect();
        let (x, _, _) = robust_fit(&rows, &[0.0; 2]);
        assert!((x[0] - 2.0).abs() < 0.01 && (x[1] - 0.5).abs() < 0.002, "{x:?}");
    }
}
