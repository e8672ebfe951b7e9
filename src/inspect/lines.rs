//! Lines on the metal: scratches and cracks that no single pixel shows, added up along straight pieces.

use std::f32::consts::FRAC_1_SQRT_2;

use super::metal::Metal;
use super::surface::{Line, Spot, Weighed};
use crate::vision::{ops, Mask, Plane, Rect, VisionError};

/// The pixel of the picture that lines are looked for in, in mm: finer than the finest that are limited.
pub(super) const LINE_PICTURE_MM: f64 = 0.02;
/// Length of the straight piece a line is averaged over: the shortest scratch that matters to the eye at arm's length.
pub(super) const LINE_MM: f64 = 0.3;
const DIRECTIONS: usize = 24;
/// A line's peak: the largest on 51 good rendered pieces was 7.3, so that about one frame in a hundred would show one.
pub(super) const LINE_SEED_Z: f32 = 7.5;
const LINE_GROW_Z: f32 = 4.0;

/// What lines are looked for on: the metal shrunk by `f` with a margin about it.
struct Canvas<'a> {
    small: &'a Metal,
    f: usize,
    /// Of the straight piece a line is averaged over, in shrunk pixels.
    length: f64,
    planes: &'a [Plane],
    depth: Plane,
    depth_of_metal: Plane,
}

/// What pixels that stand out as lines make together.
enum Shape {
    Line(Box<Line>),
    /// It is no single line: not clearly longer than wide, or without a middle.
    Wide,
    None,
}

impl Metal {
    /// Lines: the standout plane at about 20 um a pixel, averaged along straight pieces in twenty-four directions against
    /// the strips on both sides. Each direction is measured by its own scatter, so a brushing raises the bar only for
    /// lines along itself.
    pub fn scratches(&self, spots: &[Spot]) -> Result<Vec<Line>, VisionError> {
        let f = ((LINE_PICTURE_MM / self.mm_per_px).round() as usize).clamp(1, 8);
        let small = self.shrunk(f);
        if small.mask.width < 8 || small.mask.height < 8 {
            return Ok(vec![]);
        }
        let length = small.px(LINE_MM).max(9.0);
        let smoothing = small.smoothing(0.7)?;
        let surroundings = small.surroundings(small.px(0.15).max(5.0), small.px(0.4).max(15.0))?;
        let (w, h) = (small.mask.width + 2 * MARGIN, small.mask.height + 2 * MARGIN);
        let mask = Mask { width: w, height: h, data: padded(&small.mask.data, small.mask.width) };
        let mut planes = Vec::new();
        for index in 0..small.fine_planes().min(2) {
            let mut z = small.standout(index, &smoothing, &surroundings)?;
            for v in &mut z.data {
                *v = v.clamp(-5.0, 5.0);
            }
            // What is a spot already is no part of a line.
            for s in spots {
                let at = |v: f64| (v + 0.5) / f as f64 - 0.5;
                clear(&mut z, at(s.x), at(s.y), 0.5 * s.diameter_px / f as f64 + 2.0);
            }
            planes.push(carried_on(&z, &mask, small.runs_on));
        }
        let mut best = Plane::filled(w, h, 0.0);
        for k in 0..DIRECTIONS / 2 {
            add_directions(&planes, &mask, 180.0 * k as f64 / DIRECTIONS as f64, length, &mut best)?;
        }
        if let [brightness, colour] = planes.as_mut_slice() {
            // The planes a line's ends are looked for in: the same three that found it.
            let both = brightness.clone();
            for (b, c) in brightness.data.iter_mut().zip(&mut colour.data) {
                (*b, *c) = ((*b + *c) * FRAC_1_SQRT_2, (*b - *c) * FRAC_1_SQRT_2);
            }
            planes.push(both);
        }
        let depth = ops::distance_inside(&mask)?;
        let depth_of_metal = ops::distance_inside(&run_on(&mask, small.runs_on))?;
        let mut seen = Mask::empty(w, h);
        for (m, v) in seen.data.iter_mut().zip(&best.data) {
            *m = if *v > LINE_GROW_Z { 255 } else { 0 };
        }
        let (blobs, labels) = ops::components(&seen)?;
        // The last of three, and the only one of one.
        let brightness = &planes[planes.len() - 1];
        let canvas = Canvas { small: &small, f, length, planes: &planes, depth, depth_of_metal };
        let pixels_of = |labels: &[i32], b: &ops::Blob| -> Vec<[usize; 2]> {
            let rows = b.bounds.y..b.bounds.y + b.bounds.height;
            let columns = b.bounds.x..b.bounds.x + b.bounds.width;
            let all = rows.flat_map(|y| columns.clone().map(move |x| [x, y]));
            all.filter(|p| labels[p[1] * w + p[0]] == b.label).collect()
        };
        let mut out = Vec::new();
        for b in &blobs {
            let pixels = pixels_of(&labels, b);
            match self.line_through(&canvas, &pixels, &best) {
                Shape::Line(line) => out.push(*line),
                Shape::None => {}
                // Lines side by side run together, for between dark ones lies a bright one: what has half the depth of each sign shows them.
                Shape::Wide => {
                    for sign in [-1.0, 1.0] {
                        let depth = |p: &[usize; 2]| sign * brightness.at(p[0], p[1]);
                        let mut depths: Vec<f32> = pixels.iter().map(depth).collect();
                        let half = 0.5 * ops::quantile(&mut depths, 0.9);
                        let mut part = Mask::empty(w, h);
                        for p in pixels.iter().filter(|p| depth(p) > half.max(0.0)) {
                            part.data[p[1] * w + p[0]] = 255;
                        }
                        let (parts, labels) = ops::components(&part)?;
                        for q in &parts {
                            if let Shape::Line(line) = self.line_through(&canvas, &pixels_of(&labels, q), &best) {
                                out.push(*line);
                            }
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// The line that pixels of a canvas make, with how far each stands out as one.
    fn line_through(&self, canvas: &Canvas, pixels: &[[usize; 2]], best: &Plane) -> Shape {
        let Canvas { small, f, length, planes, depth, depth_of_metal } = canvas;
        let (w, h, f, length) = (best.width, best.height, *f as f64, *length);
        let mut points: Vec<([f64; 2], f32)> =
            pixels.iter().map(|p| (p.map(|v| v as f64), best.at(p[0], p[1]))).collect();
        let peak = points.iter().fold(0.0f32, |m, p| m.max(p.1));
        let seed = self.eagerness * LINE_SEED_Z;
        if peak < seed {
            return Shape::None;
        }
        // Where the averaging window half leaves the line its response has halved: that is the line's end.
        let level = LINE_GROW_Z.max(0.4 * peak);
        points.retain(|p| p.1 >= level);
        let Some(whole) = spine(&points) else { return Shape::None };
        let long =
            |p: &[[f64; 2]]| -> f64 { p.windows(2).map(|q| (q[1][0] - q[0][0]).hypot(q[1][1] - q[0][1])).sum() };
        let seen = long(&whole);
        let width = points.len() as f64 / seen.max(1.0);
        if seen < 0.6 * length {
            return Shape::None;
        }
        if seen < 2.5 * width {
            return Shape::Wide;
        }
        let Some(path) = trim(whole, planes) else { return Shape::Wide };
        let length_px = long(&path);
        // Beside the margins filters see one side only: what runs along one of them is no scratch.
        let beside = path
            .iter()
            .filter(|p| depth.at((p[0].max(0.0) as usize).min(w - 1), (p[1].max(0.0) as usize).min(h - 1)) < 2.5)
            .count();
        if 10 * beside > 7 * path.len() {
            return Shape::None;
        }
        // Where metal mirrors a stone, a prong or the rim, and at the border of what is overexposed, lines are as
        // common as scratches: there only a plain one counts.
        let mirrored = bends_along_a_border(&path, depth_of_metal, small.px(BORDER_MM));
        if peak < DOUBTFUL * seed && (mirrored || small.is_mostly_white_about(&path, MARGIN)) {
            return Shape::None;
        }
        let full = |p: &[f64; 2]| p.map(|v| (v - MARGIN as f64 + 0.5) * f - 0.5);
        let points: Vec<[f64; 2]> = path.iter().map(full).collect();
        let measured = self.line_width(&points);
        // What is wide is a matter for the patches.
        // On open metal a profile that never falls to half is a wide one; on a strip too narrow for it nothing is known.
        let mut depths: Vec<f32> = path.iter().map(|p| depth.sample(p[0], p[1])).collect();
        let open = f64::from(ops::median(&mut depths)) > small.px(PROFILE_MM);
        let width_px = measured.unwrap_or(width * f);
        if (measured.is_some() || open) && SLENDER * width_px > seen * f {
            return Shape::Wide;
        }
        Shape::Line(Box::new(Line {
            parts: vec![],
            points,
            length_px: length_px * f,
            width_px,
            // The path is known to about half a coarse pixel, which widens the averaged profile.
            width_u_px: (0.5 * f).max(0.7),
            z: peak,
            weighed: Weighed::default(),
        }))
    }

    /// Width of a line at half its depth, in pixels: the brightness averaged along the path at every distance across it.
    /// The optics' and the sampling's own width (about two pixels) is taken off in squares.
    fn line_width(&self, path: &[[f64; 2]]) -> Option<f64> {
        let reach = self.px(PROFILE_MM).max(8.0);
        let steps = (2.0 * reach / 0.5) as usize;
        let (n, plane) = (path.len(), &self.planes[0]);
        let mut profile = Vec::with_capacity(steps + 1);
        for k in 0..=steps {
            let t = -reach + 0.5 * k as f64;
            let (mut sum, mut seen) = (0.0, 0.0);
            for i in 0..n {
                let (a, b) = (path[i.saturating_sub(1)], path[(i + 1).min(n - 1)]);
                let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                let len = dx.hypot(dy).max(1e-9);
                let x = path[i][0] - t * dy / len;
                let y = path[i][1] + t * dx / len;
                if x >= 0.0
                    && y >= 0.0
                    && (x as usize) < self.mask.width
                    && (y as usize) < self.mask.height
                    && self.mask.at(x as usize, y as usize)
                {
                    sum += f64::from(plane.sample(x, y));
                    seen += 1.0;
                }
            }
            profile.push(if seen > 0.3 * n as f64 { sum / seen } else { f64::NAN });
        }
        let quarter = profile.len() / 4;
        let mut outer: Vec<f32> = profile[..quarter]
            .iter()
            .chain(&profile[profile.len() - quarter..])
            .filter(|v| v.is_finite())
            .map(|v| *v as f32)
            .collect();
        let level = f64::from(ops::median(&mut outer));
        let middle = quarter..profile.len() - quarter;
        let peak = middle.max_by(|a, b| {
            let d = |i: usize| if profile[i].is_finite() { (profile[i] - level).abs() } else { 0.0 };
            d(*a).total_cmp(&d(*b))
        })?;
        let depth = profile[peak] - level;
        let side = |step: i64| -> Option<f64> {
            let mut i = peak as i64;
            loop {
                let j = i + step;
                let (u, v) = (*profile.get(i as usize)?, *profile.get(usize::try_from(j).ok()?)?);
                let (u, v) = ((u - level) / depth, (v - level) / depth);
                if v.is_nan() {
                    return None;
                }
                if v < 0.5 {
                    return Some(0.5 * ((i - peak as i64).abs() as f64 + (u - 0.5) / (u - v).max(1e-9)));
                }
                i = j;
            }
        };
        let full = side(1)? + side(-1)?;
        Some((full * full - 4.0).max(0.25).sqrt())
    }
}

/// A long hairline adds up over two or three times the length; it needs the wider window, because a straight piece of that
/// length leaves a curved or slanted line. Rows on either side of the middle one, and the length in [`LINE_MM`]s.
const WINDOWS: [(usize, f64); 4] = [(0, 1.0), (1, 1.0), (1, 2.0), (1, 3.0)];
/// Rows of the strips on both sides of a line, one row away from it.
const SIDE_ROWS: usize = 2;
/// Values that a direction's scatter is read off.
const DIRECTION_SAMPLE: usize = 6_000;

/// Pixels about the metal's box that the strips beside a line may reach into.
const MARGIN: usize = SIDE_ROWS + 2;

/// Pixels of this width with a margin of nothing about them.
fn padded<T: Copy + Default>(data: &[T], width: usize) -> Vec<T> {
    let w = width + 2 * MARGIN;
    let mut out = vec![T::default(); w * (data.len() / width + 2 * MARGIN)];
    for (y, row) in data.chunks_exact(width).enumerate() {
        let from = (y + MARGIN) * w + MARGIN;
        out[from..from + width].copy_from_slice(row);
    }
    out
}

/// A padded mask carried on where the metal runs on beyond the frame: the frame's border is no border of the metal.
fn run_on(mask: &Mask, runs_on: [bool; 4]) -> Mask {
    let mut out = mask.clone();
    let Some(b) = mask.bounds() else { return out };
    let [left, top, right, low] = runs_on;
    for y in b.y..b.y + b.height {
        let row = &mut out.data[y * mask.width..(y + 1) * mask.width];
        if left {
            let v = row[b.x];
            row[..b.x].fill(v);
        }
        if right {
            let v = row[b.x + b.width - 1];
            row[b.x + b.width..].fill(v);
        }
    }
    let line = |y: usize| y * mask.width..(y + 1) * mask.width;
    if top {
        (0..b.y).for_each(|y| out.data.copy_within(line(b.y), y * mask.width));
    }
    if low {
        let last = b.y + b.height - 1;
        (last + 1..mask.height).for_each(|y| out.data.copy_within(line(last), y * mask.width));
    }
    out
}

/// A plane padded like its mask. Where the metal runs on beyond the frame (left, top, right, bottom) so does the plane, by as
/// much as the strips beside a line reach: each pixel is the mean of its known neighbours. Nothing there (0) would make a
/// line of the frame's border as soon as the local mean is a little wrong.
fn carried_on(plane: &Plane, mask: &Mask, runs_on: [bool; 4]) -> Plane {
    let (w, h) = (mask.width, mask.height);
    let b = mask.bounds().unwrap_or(Rect { x: 0, y: 0, width: w, height: h });
    let beyond = |i: usize| {
        let (x, y) = (i % w, i / w);
        let sides = [x < b.x, y < b.y, x >= b.x + b.width, y >= b.y + b.height];
        sides.iter().zip(runs_on).any(|(outside, on)| *outside && on)
    };
    let mut out = Plane { width: w, height: h, data: padded(&plane.data, plane.width) };
    let mut known: Vec<bool> = mask.data.iter().map(|v| *v != 0).collect();
    let around = |i: usize| {
        let (x, y) = (i % w, i / w);
        let rows = y.saturating_sub(1)..(y + 2).min(h);
        rows.flat_map(move |v| (x.saturating_sub(1)..(x + 2).min(w)).map(move |u| v * w + u))
    };
    let mut border: Vec<usize> =
        (0..w * h).filter(|i| beyond(*i) && !known[*i] && around(*i).any(|j| known[j])).collect();
    for _ in 0..MARGIN {
        let values: Vec<f32> = border
            .iter()
            .map(|i| {
                let (sum, n) = around(*i).filter(|j| known[*j]).fold((0.0, 0), |a, j| (a.0 + out.data[j], a.1 + 1));
                sum / n as f32
            })
            .collect();
        for (i, v) in border.iter().zip(values) {
            out.data[*i] = v;
            known[*i] = true;
        }
        let mut next: Vec<usize> =
            border.iter().flat_map(|i| around(*i)).filter(|j| beyond(*j) && !known[*j]).collect();
        next.sort_unstable();
        next.dedup();
        border = next;
    }
    out
}

/// Raises `best` to what lines along one direction and across it show.
fn add_directions(
    planes: &[Plane],
    mask: &Mask,
    angle_deg: f64,
    length: f64,
    best: &mut Plane,
) -> Result<(), VisionError> {
    let (turned, back) = ops::rotate_together(planes, angle_deg)?;
    let pixels = mask.count();
    let along = strongest(&turned, pixels, length);
    let turned: Vec<Plane> = turned.iter().map(ops::transpose).collect::<Result<_, _>>()?;
    let across = strongest(&turned, pixels, length);
    let (tw, th) = (along.width, along.height);
    // The response at every pixel of the unturned picture.
    let (c, s) = (back[0][0], back[1][0]);
    let (ox, oy) = (back[0][2], back[1][2]);
    for y in 0..mask.height {
        let dy = y as f64 - oy;
        let (tx0, ty0) = (s * dy - c * ox + 0.5, c * dy + s * ox + 0.5);
        let line = y * mask.width..(y + 1) * mask.width;
        for (x, (b, m)) in best.data[line.clone()].iter_mut().zip(&mask.data[line]).enumerate() {
            if *m != 0 {
                // Half a pixel and less off the canvas is still its border.
                let (tx, ty) = ((tx0 + c * x as f64) as i32, (ty0 - s * x as f64) as i32);
                let (tx, ty) = (tx.clamp(0, tw as i32 - 1) as usize, ty.clamp(0, th as i32 - 1) as usize);
                *b = b.max(along.data[ty * tw + tx]).max(across.data[tx * th + ty]);
            }
        }
    }
    Ok(())
}

/// What lines along the rows of a turned picture show: per window and plane the mean along a straight piece less the mean
/// of the strips beside it, over this direction's own scatter; the strongest of them. With two planes (brightness and
/// colour) their sum and difference are looked at beside the brightness: a scratch in coloured metal changes both, and
/// their noises are independent, so one of them sees it better than either, whichever way the signs go. `pixels` is how
/// much of the picture is metal.
fn strongest(turned: &[Plane], pixels: usize, length: f64) -> Plane {
    let (tw, th) = (turned[0].width, turned[0].height);
    let halves = WINDOWS.map(|(_, times)| (times * length).round() as usize / 2);
    let mut rows = LineRows::new(turned, halves[3]);
    // A few thousand values tell the scatter; neighbours along a line are nearly the same value.
    let step = (pixels / (5 * DIRECTION_SAMPLE)).max(1);
    let combinations = rows.combinations();
    let mut samples: Vec<Vec<f32>> = vec![Vec::new(); WINDOWS.len() * combinations];
    for y in (step / 2..th).step_by(step) {
        if !rows.load(turned, y) {
            continue;
        }
        for (i, sample) in samples.iter_mut().enumerate() {
            // Off the metal the response is nothing at all.
            let values = rows.response(i / combinations, i % combinations, halves[i / combinations], y % 5, 5);
            sample.extend(values.map(f32::abs).filter(|v| *v > 1e-4));
        }
    }
    let gains: Vec<f32> = samples
        .iter_mut()
        .map(|values| {
            if values.len() < 32 {
                return 0.0;
            }
            let sigma = (1.4826 * ops::median(values)).max(1e-6);
            // Heavy tails raise the bar here too.
            let tail = (ops::quantile(values, 0.99) / (2.576 * sigma)).clamp(1.0, 2.5);
            1.0 / (sigma * tail)
        })
        .collect();
    let mut out = Plane::filled(tw, th, 0.0);
    for (y, row) in out.data.chunks_exact_mut(tw).enumerate() {
        if rows.load(turned, y) {
            rows.strongest(&halves, &gains, row);
        }
    }
    out
}

/// Running sums of one row of a turned picture: per plane and width of window, the row less its sides.
struct LineRows {
    width: usize,
    planes: usize,
    margin: usize,
    /// Per plane and half width (0 or 1): `margin` zeros, the sums, `margin` times the total.
    sums: Vec<Vec<f32>>,
    /// The columns of the row taken last that are worth a look.
    span: (usize, usize),
    /// Per row, the columns that hold anything.
    filled: Vec<(usize, usize)>,
}

impl LineRows {
    fn new(turned: &[Plane], margin: usize) -> Self {
        let (width, height) = (turned[0].width, turned[0].height);
        let mut filled = vec![(width, 0); height];
        for p in turned {
            for (row, span) in p.data.chunks_exact(width).zip(&mut filled) {
                if let Some(first) = row.iter().position(|v| *v != 0.0) {
                    let last = row.iter().rposition(|v| *v != 0.0).unwrap_or(first);
                    *span = (span.0.min(first), span.1.max(last + 1));
                }
            }
        }
        let planes = turned.len();
        LineRows {
            width,
            planes,
            margin,
            sums: vec![vec![0.0; width + 2 * margin + 1]; 2 * planes],
            span: (0, 0),
            filled,
        }
    }

    /// Brightness alone, or sum, difference and brightness.
    fn combinations(&self) -> usize {
        if self.planes == 2 {
            3
        } else {
            1
        }
    }

    /// Takes row `y`; false where nothing is near it.
    fn load(&mut self, turned: &[Plane], y: usize) -> bool {
        let reach = SIDE_ROWS + 2;
        let (w, h) = (self.width, self.filled.len());
        let near = &self.filled[y.saturating_sub(reach)..(y + reach + 1).min(h)];
        let (x0, x1) = near.iter().fold((w, 0), |a, s| (a.0.min(s.0), a.1.max(s.1)));
        if x0 >= x1 {
            return false;
        }
        let side = 0.5 / SIDE_ROWS as f32;
        for (p, plane) in turned.iter().enumerate() {
            // Rows mirrored at the border.
            let row = |d: i64| {
                let v = (y as i64 + d).abs();
                let v = if v >= h as i64 { (2 * h as i64 - 2 - v).max(0) } else { v } as usize;
                &plane.data[v * w + x0..v * w + x1]
            };
            let [a, b, c, d, e, f, g, i, j] = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map(row);
            let span = self.margin + 1 + x0..self.margin + 1 + x1;
            let (thin, wide) = self.sums[2 * p..2 * p + 2].split_at_mut(1);
            let (thin, wide) = (&mut thin[0][span.clone()], &mut wide[0][span]);
            for (x, (thin, wide)) in thin.iter_mut().zip(wide).enumerate() {
                let sides = b[x] + i[x];
                *thin = e[x] - side * (sides + c[x] + g[x]);
                *wide = (d[x] + e[x] + f[x]) * (1.0 / 3.0) - side * (sides + a[x] + j[x]);
            }
        }
        // Running sums; all at once, because each waits for its own last value.
        let from = self.margin + 1;
        let mut totals = [0.0f32; 4];
        if let [a, b, c, d] = self.sums.as_mut_slice() {
            for (((a, b), c), d) in a[from + x0..from + x1]
                .iter_mut()
                .zip(&mut b[from + x0..from + x1])
                .zip(&mut c[from + x0..from + x1])
                .zip(&mut d[from + x0..from + x1])
            {
                totals = [totals[0] + *a, totals[1] + *b, totals[2] + *c, totals[3] + *d];
                [*a, *b, *c, *d] = totals;
            }
        } else {
            for (sums, total) in self.sums.iter_mut().zip(&mut totals) {
                for v in &mut sums[from + x0..from + x1] {
                    *total += *v;
                    *v = *total;
                }
            }
        }
        for (sums, total) in self.sums.iter_mut().zip(totals) {
            sums[..from + x0].fill(0.0);
            sums[from + x1..].fill(total);
        }
        // What is read lies on the metal or beside it.
        self.span = (x0.saturating_sub(1), (x1 + 1).min(w));
        true
    }

    /// The sums at the two ends of the windows about each column, of one plane.
    fn ends(&self, plane: usize, half_width: usize, half: usize) -> (&[f32], &[f32]) {
        let sums = &self.sums[2 * plane + half_width];
        let n = self.span.1 - self.span.0;
        let first = self.margin - half + self.span.0;
        (&sums[first..first + n], &sums[first + 2 * half + 1..first + 2 * half + 1 + n])
    }

    /// The response of one window and combination at every `step`th column of the row's span.
    fn response(
        &self,
        window: usize,
        combination: usize,
        half: usize,
        first: usize,
        step: usize,
    ) -> impl Iterator<Item = f32> + '_ {
        let mean = 1.0 / (2 * half + 1) as f32;
        let (a, b) = match (self.planes, combination) {
            (1, _) | (_, 2) => (mean, 0.0),
            (_, 0) => (mean * FRAC_1_SQRT_2, mean * FRAC_1_SQRT_2),
            _ => (mean * FRAC_1_SQRT_2, -mean * FRAC_1_SQRT_2),
        };
        let (lo, hi) = self.ends(0, WINDOWS[window].0, half);
        let (lo2, hi2) = self.ends(self.planes - 1, WINDOWS[window].0, half);
        (first..lo.len()).step_by(step).map(move |x| (hi[x] - lo[x]) * a + (hi2[x] - lo2[x]) * b)
    }

    /// The strongest of all windows and combinations, each over its scatter.
    fn strongest(&self, halves: &[usize; 4], gains: &[f32], row: &mut [f32]) {
        let out = &mut row[self.span.0..self.span.1];
        for (window, half) in halves.iter().enumerate() {
            let mean = 1.0 / (2 * half + 1) as f32;
            let (lo, hi) = self.ends(0, WINDOWS[window].0, *half);
            if self.planes == 1 {
                let k = mean * gains[window];
                for ((o, l), u) in out.iter_mut().zip(lo).zip(hi) {
                    *o = o.max((u - l).abs() * k);
                }
                continue;
            }
            let g = &gains[3 * window..3 * window + 3];
            let both = mean * FRAC_1_SQRT_2;
            let (sum, difference, first) = (both * g[0], both * g[1], mean * g[2]);
            let (lo2, hi2) = self.ends(1, WINDOWS[window].0, *half);
            for ((((o, l), u), l2), u2) in out.iter_mut().zip(lo).zip(hi).zip(lo2).zip(hi2) {
                let (a, b) = (u - l, u2 - l2);
                let v = ((a + b).abs() * sum).max((a - b).abs() * difference).max(a.abs() * first);
                *o = o.max(v);
            }
        }
    }
}

/// Metal this near to a stone, a prong or the rim mirrors it, in mm.
const BORDER_MM: f64 = 0.3;
/// A line that bends by more than this beside a border may be the border's mirror image.
const BEND_DEG: f64 = 25.0;
/// A doubtful line must stand out by this many times the seed.
const DOUBTFUL: f32 = 2.0;
/// How far to either side of a line its profile is read, in mm.
const PROFILE_MM: f64 = 0.1;
/// A scratch is at least this many times as long as wide.
const SLENDER: f64 = 4.0;

/// Whether a path bends and lies beside a border all along.
fn bends_along_a_border(path: &[[f64; 2]], depth: &Plane, near_px: f64) -> bool {
    let n = path.len();
    let quarter = (n / 4).max(1);
    let heading = |a: [f64; 2], b: [f64; 2]| (b[1] - a[1]).atan2(b[0] - a[0]);
    let bend = heading(path[0], path[quarter]) - heading(path[n - 1 - quarter], path[n - 1]);
    let bend = (bend + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU) - std::f64::consts::PI;
    bend.abs() > BEND_DEG.to_radians() && path.iter().all(|p| f64::from(depth.sample(p[0], p[1])) < near_px)
}

/// The middle line of an elongated cloud of weighted points: a cubic over its main axis. None for a cloud too small.
fn spine(points: &[([f64; 2], f32)]) -> Option<Vec<[f64; 2]>> {
    if points.len() < 5 {
        return None;
    }
    let n: f64 = points.iter().map(|p| f64::from(p.1)).sum();
    let mean = |k: usize| points.iter().map(|p| p.0[k] * f64::from(p.1)).sum::<f64>() / n;
    let (mx, my) = (mean(0), mean(1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (p, k) in points {
        let (dx, dy) = (p[0] - mx, p[1] - my);
        xx += f64::from(*k) * dx * dx;
        xy += f64::from(*k) * dx * dy;
        yy += f64::from(*k) * dy * dy;
    }
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let (s, c) = angle.sin_cos();
    let local: Vec<(f64, f64)> = points
        .iter()
        .map(|(p, _)| {
            let (dx, dy) = (p[0] - mx, p[1] - my);
            (c * dx + s * dy, -s * dx + c * dy)
        })
        .collect();
    let (lo, hi) = local.iter().fold((f64::MAX, f64::MIN), |a, p| (a.0.min(p.0), a.1.max(p.0)));
    let reach = (hi - lo).max(1.0);
    let rows: Vec<([f64; 4], f64)> = local
        .iter()
        .map(|(u, v)| {
            let t = 2.0 * (u - lo) / reach - 1.0;
            ([1.0, t, t * t, t * t * t], *v)
        })
        .collect();
    let (k, _, _) = crate::locate::edges::robust_fit(&rows, &[1e-6, 1e-4, 1e-4, 1e-3]);
    let steps = (reach / 2.0).ceil().clamp(2.0, 400.0) as usize;
    Some(
        (0..=steps)
            .map(|i| {
                let t = 2.0 * i as f64 / steps as f64 - 1.0;
                let u = lo + reach * i as f64 / steps as f64;
                let v = k[0] + k[1] * t + k[2] * t * t + k[3] * t * t * t;
                [mx + c * u - s * v, my + s * u + c * v]
            })
            .collect(),
    )
}

/// The share of a scratch's contrast down to which its ends are followed: scratches run out gently.
const FADED: f64 = 0.3;
/// Points of a path over which a scratch may be interrupted (about 0.06 mm).
const GAP: usize = 3;

/// Cuts a path's ends to where its contrast is. The long averages that found the line reach beyond its ends, and where a short one is seen by a long
/// average most of the path is not scratch at all: so the stretch is taken for which a constant contrast in it and none beside it is likeliest
/// (of a sum s over n points the largest s^2 / n), and from there on both ways what still shows [`FADED`] of it, averaged over five points,
/// with gaps of up to [`GAP`]. Contrast is the mean across the line less that of both sides.
fn trim(path: Vec<[f64; 2]>, planes: &[Plane]) -> Option<Vec<[f64; 2]>> {
    let n = path.len();
    let contrast = |plane: &Plane| -> Vec<f64> {
        (0..n)
            .map(|i| {
                let (a, b) = (path[i.saturating_sub(1)], path[(i + 1).min(n - 1)]);
                let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                let len = dx.hypot(dy).max(1e-9);
                let at = |t: f64| f64::from(plane.sample(path[i][0] - t * dy / len, path[i][1] + t * dx / len));
                (at(-1.0) + at(0.0) + at(1.0)) / 3.0 - (at(-4.0) + at(-3.0) + at(3.0) + at(4.0)) / 4.0
            })
            .collect()
    };
    let (best, from, to) = planes
        .iter()
        .map(contrast)
        .filter_map(|c| Some((likeliest(&c)?, c)))
        .max_by(|a, b| a.0 .2.total_cmp(&b.0 .2))
        .map(|((a, b, _), c)| (c, a, b))?;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let level = mean(&best[from..to]);
    // Bright or dark: a scratch that turns its other flank to the light is the same scratch.
    let shows = |i: &usize| mean(&best[i.saturating_sub(2)..(i + 3).min(n)]).abs() >= FADED * level.abs();
    let (mut first, mut last) = (from, to - 1);
    while let Some(i) = (first.saturating_sub(GAP)..first).find(shows) {
        first = i;
    }
    while let Some(i) = (last + 1..(last + 1 + GAP).min(n)).rev().find(shows) {
        last = i;
    }
    (last > first).then(|| path[first..=last].to_vec())
}

/// The stretch of a profile (first, end) whose sum, squared, over its length is largest, and that figure. None where all is 0.
fn likeliest(profile: &[f64]) -> Option<(usize, usize, f64)> {
    let mut sums = vec![0.0];
    for v in profile {
        sums.push(sums[sums.len() - 1] + v);
    }
    let mut best = None;
    for a in 0..profile.len() {
        for b in a + 1..=profile.len() {
            let figure = (sums[b] - sums[a]).powi(2) / (b - a) as f64;
            if figure > best.map_or(0.0, |q: (usize, usize, f64)| q.2) {
                best = Some((a, b, figure));
            }
        }
    }
    best
}

fn clear(p: &mut Plane, x: f64, y: f64, radius: f64) {
    let y0 = (y - radius).floor().max(0.0) as usize;
    let y1 = ((y + radius).ceil().max(0.0) as usize).min(p.height.saturating_sub(1));
    for row in y0..=y1 {
        let x0 = (x - radius).floor().max(0.0) as usize;
        let x1 = ((x + radius).ceil().max(0.0) as usize).min(p.width.saturating_sub(1));
        for col in x0..=x1 {
            if (col as f64 - x).hypot(row as f64 - y) <= radius {
                p.data[row * p.width + col] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of 60 points whose contrast is there from point 10 to 24 and, after a gap of two, dark turned bright, to 30; with a camera's noise.
    #[test]
    fn a_path_is_cut_to_where_its_scratch_is() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut plane = Plane::filled(80, 20, 0.0);
            for y in 0..20 {
                for x in 0..80 {
                    let on = (9..=11).contains(&y);
                    let line = if on && (20..35).contains(&x) {
                        -4.0
                    } else if on && (37..41).contains(&x) {
                        3.0
                    } else {
                        0.0
                    };
                    let noise: f32 = (0..12).map(|_| rng.f32() - 0.5).sum();
                    plane.data[y * 80 + x] = line + noise;
                }
            }
            let path: Vec<[f64; 2]> = (10..70).map(|x| [f64::from(x), 10.0]).collect();
            let cut = trim(path, &[plane]).unwrap();
            let (first, last) = (cut[0][0], cut[cut.len() - 1][0]);
            assert!((first - 20.0).abs() <= 4.0 && (last - 40.0).abs() <= 6.0, "{seed}: {first} to {last}");
        }
    }

    #[test]
    fn the_likeliest_stretch_is_the_one_that_stands_out() {
        let mut profile = [0.1, -0.1].repeat(20);
        profile[7..19].fill(-2.0);
        assert_eq!(likeliest(&profile).map(|q| (q.0, q.1)), Some((7, 19)));
        assert_eq!(likeliest(&[0.0; 5]), None);
    }
}
