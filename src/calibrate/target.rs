//! The points of a target in a picture, to a fraction of a pixel, and their places in its grid.

use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// A point of a target: its place in the grid and in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridPoint {
    /// Column and row, counted from anywhere. A line of a scale bar has its number and its place along the line in pixels.
    pub grid: [f64; 2],
    /// Place in the picture.
    pub px: [f64; 2],
    /// Radius of the disc whose centre of gravity it is, in pixels; 0 of a corner or a line.
    pub radius: f64,
}

/// Least number of grid points that a picture must show.
pub const LEAST_POINTS: usize = 12;

/// The inner corners of a chessboard: saddles of the brightness, where four squares meet.
///
/// A saddle has no direction to move in under a blur, a fall-off of the light or a camera's gamma: turned by 180 degrees about the
/// corner the picture is the same.
///
/// # Errors
/// Where OpenCV refuses.
pub fn chessboard(image: &Image) -> Result<Vec<GridPoint>, VisionError> {
    const SIGMA: f64 = 2.0;
    let p = ops::gaussian(&image.mean(), SIGMA)?;
    let (w, h) = (p.width, p.height);
    let border = 8;
    if w < 3 * border || h < 3 * border {
        return Ok(vec![]);
    }
    let mut saddle = Plane::filled(w, h, 0.0);
    for y in border..h - border {
        for x in border..w - border {
            let at = |dx: i64, dy: i64| p.at((x as i64 + dx) as usize, (y as i64 + dy) as usize);
            // Second derivatives over two pixels.
            let xx = at(2, 0) - 2.0 * at(0, 0) + at(-2, 0);
            let yy = at(0, 2) - 2.0 * at(0, 0) + at(0, -2);
            let xy = (at(2, 2) - at(2, -2) - at(-2, 2) + at(-2, -2)) / 4.0;
            saddle.data[y * w + x] = (xy * xy - xx * yy).max(0.0);
        }
    }
    let mut peaks: Vec<(f32, usize, usize)> = Vec::new();
    let reach = 5;
    for y in border..h - border {
        for x in border..w - border {
            let v = saddle.at(x, y);
            if v > 1.0 && (y - reach..=y + reach).all(|b| (x - reach..=x + reach).all(|a| saddle.at(a, b) <= v)) {
                peaks.push((v, x, y));
            }
        }
    }
    peaks.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
    // A light that falls off to a third leaves a ninth of a corner's strength.
    let mut strongest: Vec<f32> = peaks.iter().take(50).map(|k| k.0).collect();
    let least = 0.05 * ops::median(&mut strongest);
    peaks.retain(|k| k.0 >= least);
    peaks.truncate(20_000);
    let rough: Vec<[f64; 2]> = peaks.iter().map(|k| [k.1 as f64, k.2 as f64]).collect();
    let spacing = nearest_distances(&rough);
    let mut out = Vec::new();
    for (c, d) in rough.iter().zip(&spacing) {
        let r = (0.25 * d).clamp(4.0, 24.0);
        if alternates(&p, *c, r) {
            if let Some(q) = refine_saddle(&p, *c, (0.3 * d).clamp(3.0, 6.0) as i64) {
                out.push(q);
            }
        }
    }
    Ok(grid(&out))
}

/// Whether the brightness around a point changes sign four times, as it does where four squares meet.
fn alternates(p: &Plane, c: [f64; 2], r: f64) -> bool {
    let ring: Vec<f32> = (0..48)
        .map(|k| {
            let (s, co) = (std::f64::consts::TAU * f64::from(k) / 48.0).sin_cos();
            p.sample(c[0] + r * co, c[1] + r * s)
        })
        .collect();
    let (lo, hi) = ring.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    let half = (lo + hi) / 2.0;
    (0..48).filter(|k| (ring[*k] > half) != (ring[(k + 1) % 48] > half)).count() == 4
}

/// The saddle of the surface of second order through the pixels about a point.
fn refine_saddle(p: &Plane, from: [f64; 2], reach: i64) -> Option<[f64; 2]> {
    let mut c = from;
    for _ in 0..8 {
        let mut a = nalgebra::SMatrix::<f64, 6, 6>::zeros();
        let mut b = nalgebra::SVector::<f64, 6>::zeros();
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let (x, y) = (dx as f64, dy as f64);
                if x.hypot(y) > reach as f64 + 0.5 {
                    continue;
                }
                let row = nalgebra::SVector::<f64, 6>::from([1.0, x, y, x * x, x * y, y * y]);
                a += row * row.transpose();
                b += row * f64::from(p.sample(c[0] + x, c[1] + y));
            }
        }
        let k = a.cholesky()?.solve(&b);
        let det = 4.0 * k[3] * k[5] - k[4] * k[4];
        if det >= 0.0 {
            return None;
        }
        let step = [(k[4] * k[2] - 2.0 * k[5] * k[1]) / det, (k[4] * k[1] - 2.0 * k[3] * k[2]) / det];
        let length = step[0].hypot(step[1]);
        let cut = (2.0 / length.max(1e-12)).min(1.0);
        c = [c[0] + cut * step[0], c[1] + cut * step[1]];
        if (c[0] - from[0]).hypot(c[1] - from[1]) > 4.0 {
            return None;
        }
        if length < 1e-4 {
            break;
        }
    }
    Some(c)
}

/// The centres of a grid's discs: centres of gravity of their darkness (or brightness) against the ground about each.
///
/// # Errors
/// Where OpenCV refuses.
pub fn circles(image: &Image) -> Result<Vec<GridPoint>, VisionError> {
    let p = image.mean();
    let mut best: Vec<[f64; 2]> = Vec::new();
    let mut radius = 0.0;
    let ground = ops::gaussian(&p, p.width.min(p.height) as f64 / 10.0)?;
    for sign in [1.0f32, -1.0] {
        // What is darker (then: lighter) than the ground about it.
        let data: Vec<f32> = p.data.iter().zip(&ground.data).map(|(v, g)| (sign * (g - v)).max(0.0)).collect();
        let dark = Plane { width: p.width, height: p.height, data };
        let mut some: Vec<f32> = dark.data.iter().step_by(7).copied().collect();
        let half = 0.5 * ops::quantile(&mut some, 0.98);
        if half < 5.0 {
            continue;
        }
        let mask = Mask {
            width: p.width,
            height: p.height,
            data: dark.data.iter().map(|v| if *v > half { 255 } else { 0 }).collect(),
        };
        let (blobs, labels) = ops::components(&mask)?;
        let cornered = cornered(&blobs, &labels, p.width);
        let round: Vec<&ops::Blob> = blobs
            .iter()
            .zip(cornered)
            .filter(|(_, cornered)| !cornered)
            .map(|(b, _)| b)
            .filter(|b| {
                let r = b.bounds;
                let (bw, bh) = (r.width as f64, r.height as f64);
                let inside = r.x > 2 && r.y > 2 && r.x + r.width + 2 < p.width && r.y + r.height + 2 < p.height;
                // A disc fills 0.785 of its box.
                let fill = b.area as f64 / (bw * bh);
                inside && b.area >= 20 && (0.7..1.43).contains(&(bw / bh)) && (0.68..0.88).contains(&fill)
            })
            .collect();
        let mut areas: Vec<f32> = round.iter().map(|b| b.area as f32).collect();
        let usual = f64::from(ops::median(&mut areas));
        let discs: Vec<&ops::Blob> =
            round.into_iter().filter(|b| (0.5 * usual..2.0 * usual).contains(&(b.area as f64))).collect();
        let rough: Vec<[f64; 2]> = discs.iter().map(|b| [b.x, b.y]).collect();
        let centres: Vec<[f64; 2]> = discs.iter().map(|b| centre_of(&p, b, &rough)).collect();
        if centres.len() > best.len() {
            best = centres;
            radius = (usual / std::f64::consts::PI).sqrt();
        }
    }
    Ok(grid(&best).into_iter().map(|p| GridPoint { radius, ..p }).collect())
}

/// Blobs of fewer pixels show no corners.
const CORNERS_FROM_PX: usize = 200;
/// How far the farthest pixel of a disc or an ellipse lies from its middle in its own standard deviations is 2, of a square or a parallelogram the root of 6: between the two.
const CORNERED: f64 = 2.22;

/// Whether each blob has corners, as a chessboard's squares have, however they are seen aslant.
fn cornered(blobs: &[ops::Blob], labels: &[i32], width: usize) -> Vec<bool> {
    let pixels = |b: &ops::Blob| {
        let (r, label) = (b.bounds, b.label);
        let of = (r.y..r.y + r.height).flat_map(move |y| (r.x..r.x + r.width).map(move |x| (x, y)));
        let own: Vec<[f64; 2]> = of
            .filter(|(x, y)| labels[y * width + x] == label)
            .map(|(x, y)| [x as f64 - b.x, y as f64 - b.y])
            .collect();
        own
    };
    let one = |b: &ops::Blob| {
        if b.area < CORNERS_FROM_PX {
            return false;
        }
        let own = pixels(b);
        let mean = |f: fn(&[f64; 2]) -> f64| own.iter().map(f).sum::<f64>() / own.len() as f64;
        let (xx, xy, yy) = (mean(|p| p[0] * p[0]), mean(|p| p[0] * p[1]), mean(|p| p[1] * p[1]));
        let det = (xx * yy - xy * xy).max(1e-9);
        let square = |p: &[f64; 2]| (yy * p[0] * p[0] - 2.0 * xy * p[0] * p[1] + xx * p[1] * p[1]) / det;
        own.iter().map(square).fold(0.0, f64::max) > CORNERED * CORNERED
    };
    blobs.iter().map(one).collect()
}

/// How far from a blob's edge, in pixels, the ground is free of its blur.
const CLEAR_PX: f64 = 3.0;

/// Centre of gravity of how much the pixels of a blob and its rim differ from the ground about it. all: the centres of all blobs, whose blur is no ground: of a
/// blob at the board's border it lies on one side.
fn centre_of(p: &Plane, b: &ops::Blob, all: &[[f64; 2]]) -> [f64; 2] {
    let r = b.bounds;
    let wide = r.width.max(r.height) as f64;
    let margin = 3 + r.width.max(r.height) / 8;
    let apart = |c: &[f64; 2]| (c[0] - b.x).hypot(c[1] - b.y);
    let others: Vec<[f64; 2]> = all.iter().filter(|c| apart(c) > 0.5 && apart(c) < 3.0 * wide).copied().collect();
    let next = others.iter().map(apart).fold(f64::INFINITY, f64::min);
    let clear =
        |x: usize, y: usize| others.iter().all(|c| (x as f64 - c[0]).hypot(y as f64 - c[1]) > 0.5 * wide + CLEAR_PX);
    let (x0, y0) = (r.x.saturating_sub(margin), r.y.saturating_sub(margin));
    let (x1, y1) = ((r.x + r.width + margin).min(p.width), (r.y + r.height + margin).min(p.height));
    // The ground under the disc is the plane through its rim: a light that falls off would pull the centre, and the more the darker.
    let mut a = nalgebra::Matrix3::<f64>::zeros();
    let mut v = nalgebra::Vector3::<f64>::zeros();
    for y in y0..y1 {
        for x in x0..x1 {
            if (x < x0 + 2 || y < y0 + 2 || x + 2 >= x1 || y + 2 >= y1) && clear(x, y) {
                let row = nalgebra::Vector3::new(1.0, x as f64 - b.x, y as f64 - b.y);
                a += row * row.transpose();
                v += row * f64::from(p.at(x, y));
            }
        }
    }
    let Some(plane) = a.cholesky().map(|c| c.solve(&v)) else { return [b.x, b.y] };
    let depth = f64::from(p.sample(b.x, b.y)) - plane[0];
    let (mut sum, mut sx, mut sy) = (0.0, 0.0, 0.0);
    let outer = (0.5 * wide + margin as f64 - 1.0).min(0.5 * next);
    for y in y0..y1 {
        for x in x0..x1 {
            // A window that is a circle itself pulls nowhere.
            if (x as f64 - b.x).hypot(y as f64 - b.y) > outer {
                continue;
            }
            let ground = plane[0] + plane[1] * (x as f64 - b.x) + plane[2] * (y as f64 - b.y);
            let v = (f64::from(p.at(x, y)) - ground) / depth;
            sum += v;
            sx += v * x as f64;
            sy += v * y as f64;
        }
    }
    if sum > 1.0 {
        [sx / sum, sy / sum]
    } else {
        [b.x, b.y]
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn nearest_distances(points: &[[f64; 2]]) -> Vec<f64> {
    let one = |(i, a): (usize, &[f64; 2])| {
        let others = points.iter().enumerate().filter(|o| o.0 != i);
        others.map(|o| distance(*a, *o.1)).fold(1e6, f64::min)
    };
    points.iter().enumerate().map(one).collect()
}

/// Numbers the points of a square grid: from the point nearest to the middle outward, each neighbour where the last two steps lead.
/// Points that fit nowhere are left out.
fn grid(points: &[[f64; 2]]) -> Vec<GridPoint> {
    if points.len() < 4 {
        return vec![];
    }
    let mean = |c: usize| points.iter().map(|p| p[c]).sum::<f64>() / points.len() as f64;
    let middle = [mean(0), mean(1)];
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| distance(points[*a], middle).total_cmp(&distance(points[*b], middle)));
    let mut best: Vec<GridPoint> = Vec::new();
    // A speck may lie in the middle: the best of some starts.
    for start in order.into_iter().take(6) {
        let grown = grow(points, start);
        if grown.len() > best.len() {
            best = grown;
        }
        if 2 * best.len() > points.len() {
            break;
        }
    }
    best.sort_by(|a, b| {
        (a.grid[1], a.grid[0]).partial_cmp(&(b.grid[1], b.grid[0])).unwrap_or(std::cmp::Ordering::Equal)
    });
    best
}

fn grow(points: &[[f64; 2]], start: usize) -> Vec<GridPoint> {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    let c = points[start];
    let mut near: Vec<usize> = (0..points.len()).filter(|i| *i != start).collect();
    near.sort_by(|a, b| distance(points[*a], c).total_cmp(&distance(points[*b], c)));
    let step = |i: usize| [points[i][0] - c[0], points[i][1] - c[1]];
    let u = step(near[0]);
    let lu = u[0].hypot(u[1]);
    // The nearest that lies across the first, as long as it within a third.
    let across = near.iter().map(|i| step(*i)).find(|v| {
        let lv = v[0].hypot(v[1]);
        lv < 1.35 * lu && ((u[0] * v[0] + u[1] * v[1]) / (lu * lv)).abs() < 0.35
    });
    let Some(v) = across else { return vec![] };
    // Right-handed as the picture is, so that a turn and a scale lay it on the grid.
    let v = if u[0] * v[1] - u[1] * v[0] < 0.0 { [-v[0], -v[1]] } else { v };
    // Place in the grid: the point, and the steps to its neighbours.
    type Placed = (usize, [[f64; 2]; 2]);
    let mut placed: BTreeMap<(i32, i32), Placed> = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut queue = VecDeque::from([(0, 0)]);
    placed.insert((0, 0), (start, [u, v]));
    used.insert(start);
    while let Some((i, j)) = queue.pop_front() {
        let Some((at, axes)) = placed.get(&(i, j)).copied() else { continue };
        for (axis, sign) in [(0, 1), (0, -1), (1, 1), (1, -1)] {
            let key = if axis == 0 { (i + sign, j) } else { (i, j + sign) };
            if placed.contains_key(&key) {
                continue;
            }
            let s = f64::from(sign);
            let guess = [points[at][0] + s * axes[axis][0], points[at][1] + s * axes[axis][1]];
            let length = axes[axis][0].hypot(axes[axis][1]);
            let found = (0..points.len())
                .filter(|k| !used.contains(k))
                .map(|k| (distance(points[k], guess), k))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            // A quarter of a step is more than any lens bends from one square to the next.
            let Some((_, k)) = found.filter(|f| f.0 < 0.25 * length) else { continue };
            let mut own = axes;
            own[axis] = [s * (points[k][0] - points[at][0]), s * (points[k][1] - points[at][1])];
            placed.insert(key, (k, own));
            used.insert(k);
            queue.push_back(key);
        }
    }
    let row = |((i, j), (k, _)): ((i32, i32), (usize, _))| GridPoint {
        grid: [f64::from(i), f64::from(j)],
        px: points[k],
        radius: 0.0,
    };
    placed.into_iter().map(row).collect()
}

/// The lines of a scale bar: each seen in several strips across it. `grid` holds the line's number and the strip's place along the
/// lines in pixels; `px` lies on the line.
///
/// # Errors
/// Where OpenCV refuses.
pub fn lines(image: &Image) -> Result<Vec<GridPoint>, VisionError> {
    let p = image.mean();
    let smooth = ops::gaussian(&p, 1.5)?;
    let (gx, gy) = ops::gradient(&smooth)?;
    // The direction that gradients share, by doubled angles.
    let (mut xx, mut xy, mut yy) = (0.0f64, 0.0f64, 0.0f64);
    for (a, b) in gx.data.iter().zip(&gy.data) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        (xx, xy, yy) = (xx + a * a, xy + a * b, yy + b * b);
    }
    let turn = 0.5 * (2.0 * xy).atan2(xx - yy);
    // Turned so that the lines stand upright: a direction (cos, sin) of the picture comes to lie along x.
    let (flat, back) = ops::rotate(&p, turn.to_degrees(), Some(-1e4))?;
    let (w, h) = (flat.width, flat.height);
    const STRIPS: usize = 24;
    let rows: Vec<std::ops::Range<usize>> =
        (0..STRIPS).map(|s| s * h / STRIPS..(s + 1) * h / STRIPS).filter(|rows| rows.len() >= 2).collect();
    let strips: Vec<(f64, Vec<Option<f64>>)> = rows
        .iter()
        .map(|rows| {
            // Only columns that lie in the picture over the whole strip.
            let profile = (0..w)
                .map(|x| {
                    let all = rows.clone().map(|y| f64::from(flat.at(x, y)));
                    let least = rows.clone().map(|y| flat.at(x, y)).fold(f32::MAX, f32::min);
                    (least >= 0.0).then(|| all.sum::<f64>() / rows.len() as f64)
                })
                .collect();
            ((rows.start + rows.end - 1) as f64 / 2.0, profile)
        })
        .collect();
    // A margin without lines shows noise and shade, far less than lines do.
    let contrast = |p: &[Option<f64>]| levels(p).map_or(0.0, |(lo, hi)| hi - lo);
    let most = strips.iter().map(|(_, p)| contrast(p)).fold(0.0, f64::max);
    let (rows, strips): (Vec<_>, Vec<_>) =
        rows.into_iter().zip(strips).filter(|(_, (_, p))| contrast(p) >= LEAST_OF_MOST * most).unzip();
    // Dark or bright, the lines are the same all over the picture: where they are as wide as what is between them, one strip does not tell.
    let (dark, known) = strips.iter().map(|(_, p)| dark_share(p)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let sign = if 2 * dark <= known { -1.0 } else { 1.0 };
    let places: Vec<(f64, Vec<f64>)> = strips.iter().map(|(y, p)| (*y, line_places(p, sign))).collect();
    // The pitch is the finest that a strip shows: others may cross the longer lines only.
    let usual = |places: &[f64]| {
        let mut gaps: Vec<f32> = places.windows(2).map(|p| (p[1] - p[0]) as f32).collect();
        (gaps.len() >= 2).then(|| f64::from(ops::median(&mut gaps)))
    };
    // What lies at no multiples of a distance is no ruling.
    let gaps: Vec<f64> =
        places.iter().filter_map(|(_, p)| usual(p).filter(|gap| number(p, *gap, &[]).is_some())).collect();
    let least = gaps.iter().copied().fold(f64::MAX, f64::min);
    let mut alike: Vec<f32> = gaps.iter().filter(|g| **g < 1.2 * least).map(|g| *g as f32).collect();
    let mut out: Vec<GridPoint> = Vec::new();
    if alike.is_empty() {
        return Ok(out);
    }
    let gap = f64::from(ops::median(&mut alike));
    let mut before: Vec<(i64, f64)> = Vec::new();
    let mut whole = (0, 0);
    for ((middle, places), (rows, (_, profile))) in places.into_iter().zip(rows.into_iter().zip(&strips)) {
        let Some(numbered) = number(&places, gap, &before) else { continue };
        let ends = levels(profile);
        for (k, x) in &numbered {
            let px = [
                back[0][0] * x + back[0][1] * middle + back[0][2],
                back[1][0] * x + back[1][1] * middle + back[1][2],
            ];
            out.push(GridPoint { grid: [*k as f64, middle], px, radius: 0.0 });
            if let Some((lo, hi)) = ends {
                let on = run_through(&flat, rows.clone(), *x, sign, 0.5 * (lo + hi));
                whole = (whole.0 + on, whole.1 + rows.len());
            }
        }
        before = numbered;
    }
    // Every line at a multiple of the pitch, and none between: that is no pitch, but a part of it.
    let first = out.first().map_or(0.0, |p| p.grid[0]);
    let step = out.iter().fold(0, |step, p| gcd(step, (p.grid[0] - first).abs() as u64));
    if step > 1 {
        out.iter_mut().for_each(|p| p.grid[0] = (p.grid[0] - first) / step as f64);
    }
    // Dots in rows lie at equal distances too, along their diagonals as well.
    if (whole.0 as f64) < LEAST_WHOLE * whole.1 as f64 {
        out.clear();
    }
    Ok(out)
}

/// A strip that shows lines has this share of the largest contrast of all strips: lines that end within it leave half.
const LEAST_OF_MOST: f64 = 0.3;

/// The greatest common divisor; of 0 and another number that number.
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        gcd(b, a % b)
    }
}

/// Lines run through: this share of the rows that they were found in shows them. Dots of half their pitch do in half of the rows at most; where a short line ends within a
/// strip some do not.
const LEAST_WHOLE: f64 = 0.75;

/// In how many rows a line at this place lies on its side of a level.
fn run_through(flat: &Plane, rows: std::ops::Range<usize>, x: f64, sign: f64, half: f64) -> usize {
    let at = x.round() as usize;
    let shows = |y: &usize| {
        let near = [at.saturating_sub(1), at, (at + 1).min(flat.width - 1)];
        let level = near.iter().map(|x| f64::from(flat.at(*x, *y))).sum::<f64>() / 3.0;
        sign * (level - half) > 0.0
    };
    rows.filter(shows).count()
}

/// The lowest and the highest value of a profile; none where it shows no lines.
fn levels(profile: &[Option<f64>]) -> Option<(f64, f64)> {
    let known = || profile.iter().flatten().map(|v| *v as f32);
    let (lo, hi) = known().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(v), b.max(v)));
    (known().count() >= 20 && hi - lo >= LEAST_CONTRAST).then_some((f64::from(lo), f64::from(hi)))
}

/// Fewest grey levels between the lines of a scale bar and what is between them.
const LEAST_CONTRAST: f32 = 15.0;

/// How many values of a profile that shows lines lie below half way, and of how many.
fn dark_share(profile: &[Option<f64>]) -> (usize, usize) {
    let Some((lo, hi)) = levels(profile) else { return (0, 0) };
    let known: Vec<f32> = profile.iter().flatten().map(|v| *v as f32).collect();
    (known.iter().filter(|v| f64::from(**v) < 0.5 * (lo + hi)).count(), known.len())
}

/// Places of the lines in a profile across them: centres of gravity of what is darker (sign -1) or lighter (1) than what is between them.
fn line_places(profile: &[Option<f64>], sign: f64) -> Vec<f64> {
    let Some((lo, hi)) = levels(profile) else { return vec![] };
    let known: Vec<f32> = profile.iter().flatten().map(|v| *v as f32).collect();
    // What is between the lines: the middle of what lies on its side of half way.
    let half = 0.5 * (lo + hi);
    let mut between: Vec<f32> = known.into_iter().filter(|v| sign * (f64::from(*v) - half) < 0.0).collect();
    let ground = f64::from(ops::median(&mut between));
    let depth = if sign < 0.0 { ground - lo } else { hi - ground };
    let strength = |v: Option<f64>| v.map_or(0.0, |v| (sign * (v - ground)).max(0.0));
    let mut out = Vec::new();
    let mut x = 0;
    while x < profile.len() {
        if strength(profile[x]) < 0.4 * depth {
            x += 1;
            continue;
        }
        let mut end = x;
        while end < profile.len() && strength(profile[end]) >= 0.4 * depth {
            end += 1;
        }
        // With its feet, above the straight line between the grounds on both sides.
        let (a, b) = (x.saturating_sub(FEET), end + FEET);
        x = end;
        let side = |from: usize| -> Option<f64> {
            let known = profile.get(from..from + 3)?;
            Some(known.iter().copied().sum::<Option<f64>>()? / 3.0)
        };
        let (Some(left), Some(right)) = (a.checked_sub(3).and_then(side), side(b)) else { continue };
        let (mut sum, mut moment) = (0.0, 0.0);
        for (k, v) in profile.iter().enumerate().take(b).skip(a) {
            let Some(v) = v else { continue };
            let f = (k as f64 - a as f64 + 2.0) / ((b - a) as f64 + 3.0);
            let s = sign * (v - (left + f * (right - left)));
            sum += s;
            moment += k as f64 * s;
        }
        if sum > 0.0 {
            out.push(moment / sum);
        }
    }
    out
}

/// Pixels beside a line's core that its blur reaches.
const FEET: usize = 4;

/// Numbers lines at multiples of a distance; the strip before says where to begin. None where they are not at such distances.
fn number(places: &[f64], gap: f64, before: &[(i64, f64)]) -> Option<Vec<(i64, f64)>> {
    if places.len() < 3 {
        return None;
    }
    let mut out = vec![(0i64, places[0])];
    for p in places.windows(2) {
        let n = (p[1] - p[0]) / gap;
        let k = n.round();
        if k < 1.0 || (n - k).abs() > 0.2 {
            return None;
        }
        let last = out.last()?.0;
        out.push((last + k as i64, p[1]));
    }
    if let Some((k, x)) = before.first() {
        // The same line lies at nearly the same place in the next strip.
        let shift = ((out[0].1 - x) / gap).round() as i64 + k - out[0].0;
        for o in &mut out {
            o.0 += shift;
        }
    }
    Some(out)
}
