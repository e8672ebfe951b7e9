//! Shapes fitted to regions: a piece's outline, round stones, the cut of another one.

use super::DraftError;
use crate::inspect::sight::to_piece;
use crate::inspect::surface::hull;
use crate::locate::{outline as nominal, Pose, MAX_TURN_DEG};
use crate::spec::parse::crossing;
use crate::spec::{Outline, Stone};
use crate::vision::{ops, Mask, Plane};

/// A region's edge is known to about this many pixels.
const EDGE_PX: f64 = 1.5;
/// The radius of a shank where nothing tells it: the middle of common ring sizes with its wall.
const SHANK_MM: f64 = 9.5;

/// Share of the middle gradient along an outline below which a place of it shows no edge; a map that wandered off into the background
/// ends where nothing is. A rim in its own shade has a third and more on samples.
const FAINT: f32 = 0.15;
/// How far in pixels a picture's edge may lie from the map's.
const ASIDE: usize = 4;

/// The outline of a piece, where it lies, and which share of it the picture shows no edge at (that share is gone past); none where the
/// piece fills the frame. steep: the picture's gradient.
pub fn outline(piece: &Mask, steep: &Plane, start: &Pose) -> Result<Option<(Outline, Pose, f64)>, DraftError> {
    let (w, h) = (piece.width, piece.height);
    let side = |cells: &mut dyn Iterator<Item = usize>| cells.filter(|i| piece.data[*i] != 0).count();
    let left = side(&mut (0..h).map(|y| y * w));
    let right = side(&mut (0..h).map(|y| y * w + w - 1));
    let top = side(&mut (0..w));
    let bottom = side(&mut (0..w).map(|x| (h - 1) * w + x));
    if 50 * piece.count() > 49 * w * h || (top > w / 20 && bottom > w / 20) {
        return Ok(None);
    }
    if left > h / 20 && right > h / 20 {
        let (shape, pose) = band(piece, start);
        return Ok(Some((shape, pose, 0.0)));
    }
    let (blobs, labels) = ops::components(piece)?;
    let Some(blob) = blobs.iter().max_by_key(|b| b.area) else { return Ok(None) };
    let edge = ops::blob_outline(&labels, w, blob)?;
    let (seen, faint) = with_edge(&edge, steep);
    let points: Vec<[f64; 2]> = seen.iter().map(|p| start.to_mm(p[0], p[1])).collect();
    // Pixels' centres are joined: half a pixel all around is missing.
    let length: f64 = (0..seen.len()).map(|i| apart(seen[i], seen[(i + 1) % seen.len()])).sum();
    let area = start.mm(start.mm(ops::polygon_area(&seen) + length / 2.0));
    let (shape, pose) = fit(&points, area, start);
    Ok(Some((shape, pose, faint)))
}

fn apart(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The places of a closed outline (pixels) at which the picture shows an edge, a pixel apart, and the share of the others. Where that is half or more
/// no place is left out: then the gradient tells nothing.
fn with_edge(edge: &[[f64; 2]], steep: &Plane) -> (Vec<[f64; 2]>, f64) {
    let mut dense = Vec::new();
    for (i, a) in edge.iter().enumerate() {
        let b = edge[(i + 1) % edge.len()];
        let n = apart(*a, b).round().max(1.0);
        dense.extend((0..n as usize).map(|k| {
            let t = k as f64 / n;
            [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
        }));
    }
    let (w, h) = (steep.width, steep.height);
    let near = |p: &[f64; 2]| {
        let (x, y) = (p[0].max(0.0) as usize, p[1].max(0.0) as usize);
        let rows = y.saturating_sub(ASIDE)..(y + ASIDE + 1).min(h);
        rows.flat_map(|v| &steep.data[v * w + x.saturating_sub(ASIDE)..v * w + (x + ASIDE + 1).min(w)])
            .fold(0.0_f32, |m, g| m.max(*g))
    };
    let gradient: Vec<f32> = dense.iter().map(near).collect();
    let least = FAINT * ops::median(&mut gradient.clone());
    let seen: Vec<[f64; 2]> = dense.iter().zip(&gradient).filter(|(_, g)| **g >= least).map(|(p, _)| *p).collect();
    let faint = 1.0 - seen.len() as f64 / dense.len().max(1) as f64;
    if faint < 0.5 {
        (seen, faint)
    } else {
        (dense, faint)
    }
}

/// Radii of a rectangle's corners that are tried, twice.
const CORNERS: u32 = 12;

/// By how much the box about a polygon must be tighter along other axes than the frame's to tell them: about a rectangle it is 2 % at half a degree and more.
const TIGHTER: f64 = 1.02;

/// How often the tolerance of a polygon that crosses itself is halved.
const FINER: u32 = 5;

/// The shape that a closed edge shows, in mm: the simplest of disc, ellipse, rectangle and polygon that follows it.
fn fit(points: &[[f64; 2]], area: f64, start: &Pose) -> (Outline, Pose) {
    let (angle, size, centre) = tightest_box(points);
    let at = |rotation: f64, c: [f64; 2]| Pose { rotation, dx_mm: c[0], dy_mm: c[1], ..*start };
    let tolerance = start.mm(EDGE_PX);
    let pi = std::f64::consts::PI;
    let (rx, ry) = (size[0] / 2.0, size[1] / 2.0);
    let rectangle = |corner_mm: f64| Outline::RoundedRect { width_mm: size[0], height_mm: size[1], corner_mm };
    // The corner's radius that the edge follows best: what is missing of the box's area is a bent side's too.
    let off = |corner: f64| distance(points, &rectangle(corner), &at(angle, centre));
    let most = 0.99 * rx.min(ry);
    let nearest = |low: f64, step: f64| {
        let tried = (0..=CORNERS).map(|k| (low + step * f64::from(k)).clamp(0.01, most.max(0.01)));
        tried.map(|c| (off(c), c)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.01, |b| b.1)
    };
    let step = most / f64::from(CORNERS);
    let corner = nearest(nearest(0.0, step) - step, 2.0 * step / f64::from(CORNERS));
    let ellipse = ellipse(points, tolerance);
    let candidates = [
        (Outline::Disc { radius_mm: (area / pi).sqrt() }, at(0.0, ellipse.centre)),
        (Outline::Ellipse { rx_mm: ellipse.radii[0], ry_mm: ellipse.radii[1] }, at(ellipse.turn, ellipse.centre)),
        (rectangle(corner), at(angle, centre)),
    ];
    let mut fitted: Vec<(f64, Outline, Pose)> = candidates
        .into_iter()
        .map(|(shape, pose)| (distance_but_spurs(points, &shape, &pose, 2.0 * tolerance), shape, pose))
        .collect();
    // Radii that differ by no more than the edge is known to are a disc's, which has no direction.
    if (ellipse.radii[0] - ellipse.radii[1]).abs() < 2.0 * tolerance {
        fitted[0].0 = fitted[0].0.min(fitted[1].0);
    }
    let best = fitted.iter().map(|f| f.0).fold(f64::MAX, f64::min);
    if best <= 2.0 * tolerance {
        let keep = fitted.iter().position(|f| f.0 <= (1.35 * best).max(0.6 * tolerance)).unwrap_or(0);
        let (_, shape, pose) = fitted.swap_remove(keep);
        return (shape, pose);
    }
    // The polygon's axes are those of its tightest box, as a rectangle's are: pieces are drawn upright. Where the box is hardly tighter that way, as about something round,
    // or turned by more than a station lays a piece, they are the frame's. Its origin is the middle of that box.
    let (level_lo, level_hi) = bounds(points);
    let level = (level_hi[0] - level_lo[0]) * (level_hi[1] - level_lo[1]);
    let told = level > TIGHTER * size[0] * size[1] && angle.abs() <= MAX_TURN_DEG.to_radians();
    let angle = if told { angle } else { 0.0 };
    // Where a slot is as narrow as what is simplified away its sides may come to cross: then less is.
    let finer = (0..FINER).map(|k| simplified(points, 1.3 * tolerance / f64::from(1 << k)));
    let simple = finer.into_iter().find(|p| crossing(p).is_none()).unwrap_or_else(|| hull(points));
    let mut corners: Vec<[f64; 2]> = simple.iter().map(|p| to_piece(*p, -angle)).collect();
    let (lo, hi) = bounds(&corners);
    let m = [(lo[0] + hi[0]) / 2.0, (lo[1] + hi[1]) / 2.0];
    for p in &mut corners {
        *p = [p[0] - m[0], p[1] - m[1]];
    }
    (Outline::Polygon { points_mm: corners }, at(angle, to_piece(m, angle)))
}

fn band(piece: &Mask, start: &Pose) -> (Outline, Pose) {
    let (w, h) = (piece.width, piece.height);
    // The middle and the width of every column, by lines through their medians.
    let columns: Vec<(f64, f64, f64)> = (0..w)
        .filter_map(|x| {
            let rows: Vec<usize> = (0..h).filter(|y| piece.data[y * w + x] != 0).collect();
            let (first, last) = (rows.first()?, rows.last()?);
            Some((x as f64, (first + last) as f64 / 2.0, (last - first + 1) as f64))
        })
        .collect();
    let half = columns.len() / 2;
    let median = |of: fn(&(f64, f64, f64)) -> f64, part: &[(f64, f64, f64)]| {
        f64::from(ops::median(&mut part.iter().map(|c| of(c) as f32).collect::<Vec<_>>()))
    };
    let (l, r) = (&columns[..half.max(1)], &columns[half..]);
    let slope = (median(|c| c.1, r) - median(|c| c.1, l)) / (median(|c| c.0, r) - median(|c| c.0, l)).max(1.0);
    let rotation = -slope.atan();
    let width = median(|c| c.2, &columns) * rotation.cos();
    let middle = start.to_mm(start.centre_px[0], median(|c| c.1, &columns));
    let half_width_mm = start.mm(width) / 2.0;
    (Outline::Band { half_width_mm, radius_mm: SHANK_MM }, Pose { rotation, dx_mm: 0.0, dy_mm: middle[1], ..*start })
}

/// A shape larger by `by` mm all around.
pub fn grown(shape: &Outline, by: f64) -> Outline {
    match shape.clone() {
        Outline::Disc { radius_mm } => Outline::Disc { radius_mm: radius_mm + by },
        Outline::Ellipse { rx_mm, ry_mm } => Outline::Ellipse { rx_mm: rx_mm + by, ry_mm: ry_mm + by },
        Outline::RoundedRect { width_mm, height_mm, corner_mm } => Outline::RoundedRect {
            width_mm: width_mm + 2.0 * by,
            height_mm: height_mm + 2.0 * by,
            corner_mm: (corner_mm + by).max(0.01),
        },
        Outline::Band { half_width_mm, radius_mm } => Outline::Band { half_width_mm: half_width_mm + by, radius_mm },
        Outline::Polygon { points_mm } => {
            let far = points_mm.iter().map(|p| p[0].hypot(p[1])).fold(0.1, f64::max);
            let k = 1.0 + by / far;
            Outline::Polygon { points_mm: points_mm.iter().map(|p| [k * p[0], k * p[1]]).collect() }
        }
    }
}

/// An ellipse in mm: its middle, its radii along x and y, and its turn in radians, at most 45 degrees either way.
struct Ellipse {
    centre: [f64; 2],
    radii: [f64; 2],
    turn: f64,
}

/// Steps of a fit.
const STEPS: usize = 12;

/// The ellipse that follows a closed edge best: least squares of the distances along the line from its middle, those beyond `knee` by their size alone (Huber 1964). About an ellipse the
/// tightest box is nearly as tight ten degrees on. It begins from the moments of what the edge encloses.
fn ellipse(points: &[[f64; 2]], knee: f64) -> Ellipse {
    let [mut cx, mut cy, mut rx, mut ry, mut turn] = by_moments(points);
    let step = (points.len() / 400).max(1);
    for _ in 0..STEPS {
        let (sin, cos) = turn.sin_cos();
        let (mut normal, mut right) = (nalgebra::Matrix5::<f64>::zeros(), nalgebra::Vector5::<f64>::zeros());
        for p in points.iter().step_by(step) {
            let (x, y) = (p[0] - cx, p[1] - cy);
            let (u, v) = (cos * x + sin * y, cos * y - sin * x);
            let (far, rho) = (u.hypot(v), (u / rx).hypot(v / ry));
            if far < 1e-9 || rho < 1e-9 {
                continue;
            }
            let off = far * (1.0 - 1.0 / rho);
            // What moves the edge here: the distance grows by the way along the edge's normal.
            let (nu, nv) = (u / (rx * rx), v / (ry * ry));
            let n = nu.hypot(nv);
            let (nu, nv) = (nu / n, nv / n);
            let (qu, qv) = (u / rho, v / rho);
            let by = nalgebra::Vector5::new(
                nu * cos - nv * sin,
                nu * sin + nv * cos,
                nu * qu / rx,
                nv * qv / ry,
                nv * qu - nu * qv,
            );
            let off = off * (nu * u + nv * v) / far;
            let weight = if off.abs() <= knee { 1.0 } else { knee / off.abs() };
            normal += weight * by * by.transpose();
            right += weight * off * by;
        }
        // A circle has no turn: what nothing tells stays.
        for k in 0..5 {
            normal[(k, k)] *= 1.0 + 1e-6;
            normal[(k, k)] += 1e-9;
        }
        let Some(d) = normal.lu().solve(&right) else { break };
        (cx, cy) = (cx + d[0], cy + d[1]);
        (rx, ry) = ((rx + d[2]).max(0.2 * rx), (ry + d[3]).max(0.2 * ry));
        turn += d[4].clamp(-0.3, 0.3);
    }
    // Along the axis that lies nearer to x.
    let quarters = (turn / std::f64::consts::FRAC_PI_2).round();
    let radii = if quarters.rem_euclid(2.0) == 1.0 { [ry, rx] } else { [rx, ry] };
    Ellipse { centre: [cx, cy], radii, turn: turn - quarters * std::f64::consts::FRAC_PI_2 }
}

/// Middle, radii and turn of the ellipse that has the moments of what a closed line encloses (Green's theorem).
fn by_moments(points: &[[f64; 2]]) -> [f64; 5] {
    let from = points.first().copied().unwrap_or([0.0; 2]);
    let mut m = [0.0; 6];
    for (a, b) in points.iter().zip(points.iter().cycle().skip(1)) {
        let [(ax, ay), (bx, by)] = [a, b].map(|p| (p[0] - from[0], p[1] - from[1]));
        let cross = ax * by - bx * ay;
        let terms = [
            cross / 2.0,
            cross * (ax + bx) / 6.0,
            cross * (ay + by) / 6.0,
            cross * (ax * ax + ax * bx + bx * bx) / 12.0,
            cross * (ay * ay + ay * by + by * by) / 12.0,
            cross * (ax * by + 2.0 * ax * ay + 2.0 * bx * by + bx * ay) / 24.0,
        ];
        m.iter_mut().zip(terms).for_each(|(m, t)| *m += t);
    }
    let area = if m[0].abs() > 1e-12 { m[0] } else { 1e-12 };
    let (x, y) = (m[1] / area, m[2] / area);
    let (xx, yy, xy) = (m[3] / area - x * x, m[4] / area - y * y, m[5] / area - x * y);
    let (middle, apart) = ((xx + yy) / 2.0, ((xx - yy) / 2.0).hypot(xy));
    let radius = |of: f64| 2.0 * of.max(1e-9).sqrt();
    [x + from[0], y + from[1], radius(middle + apart), radius(middle - apart), 0.5 * (2.0 * xy).atan2(xx - yy)]
}

/// Share of an edge that may stick out of a shape which is the piece's all the same: a fibre or a glint beside it that the map takes for metal.
const SPURS: f64 = 0.05;

/// As [`distance`], without the places farther out than `least` where they are as few as [`SPURS`].
fn distance_but_spurs(points: &[[f64; 2]], shape: &Outline, pose: &Pose, least: f64) -> f64 {
    let all = distances(points, shape, pose);
    let near: Vec<f64> = all.iter().copied().filter(|d| *d <= least).collect();
    let few = (all.len() - near.len()) as f64 <= SPURS * all.len() as f64;
    scatter(if few { &near } else { &all })
}

/// Root mean square distance in mm of points from a shape, less what is common to all.
fn distance(points: &[[f64; 2]], shape: &Outline, pose: &Pose) -> f64 {
    scatter(&distances(points, shape, pose))
}

fn scatter(all: &[f64]) -> f64 {
    let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
    (all.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / all.len().max(1) as f64).sqrt()
}

/// How far some of the points lie out of a shape, in mm; negative inside.
fn distances(points: &[[f64; 2]], shape: &Outline, pose: &Pose) -> Vec<f64> {
    let edge = nominal::polygon(shape, 50.0);
    let (s, c) = pose.rotation.sin_cos();
    let step = (points.len() / 400).max(1);
    points
        .iter()
        .step_by(step)
        .map(|p| {
            let (x, y) = (p[0] - pose.dx_mm, p[1] - pose.dy_mm);
            let q = [c * x + s * y, -s * x + c * y];
            let far = to_outline(q, &edge);
            if ops::contains(&edge, q) {
                -far
            } else {
                far
            }
        })
        .collect()
}

fn to_segment(q: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let square = dx * dx + dy * dy;
    let t = if square > 0.0 { (((q[0] - a[0]) * dx + (q[1] - a[1]) * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
    (q[0] - a[0] - t * dx).hypot(q[1] - a[1] - t * dy)
}

/// How far a place lies from a closed line.
pub fn to_outline(q: [f64; 2], line: &[[f64; 2]]) -> f64 {
    (0..line.len()).map(|i| to_segment(q, line[i], line[(i + 1) % line.len()])).fold(f64::MAX, f64::min)
}

fn bounds(points: &[[f64; 2]]) -> ([f64; 2], [f64; 2]) {
    points.iter().fold(([f64::MAX; 2], [f64::MIN; 2]), |(lo, hi), p| {
        ([lo[0].min(p[0]), lo[1].min(p[1])], [hi[0].max(p[0]), hi[1].max(p[1])])
    })
}

/// The turn (in radians, at most 45 degrees either way) at which the box about points is smallest, the box's sides and its
/// centre.
pub fn tightest_box(points: &[[f64; 2]]) -> (f64, [f64; 2], [f64; 2]) {
    let at = |a: f64| {
        let (s, c) = a.sin_cos();
        let turned: Vec<[f64; 2]> = points.iter().map(|p| [c * p[0] + s * p[1], -s * p[0] + c * p[1]]).collect();
        let (lo, hi) = bounds(&turned);
        let m = [(lo[0] + hi[0]) / 2.0, (lo[1] + hi[1]) / 2.0];
        ([hi[0] - lo[0], hi[1] - lo[1]], [c * m[0] - s * m[1], s * m[0] + c * m[1]])
    };
    let area = |a: f64| {
        let (size, _) = at(a);
        size[0] * size[1]
    };
    let best = |from: f64, step: f64, n: i32| {
        (-n..=n).map(|i| from + step * f64::from(i)).min_by(|a, b| area(*a).total_cmp(&area(*b))).unwrap_or(from)
    };
    let degree = std::f64::consts::PI / 180.0;
    let coarse = best(0.0, degree, 45);
    let angle = best(coarse, 0.05 * degree, 20);
    let (size, centre) = at(angle);
    (angle, size, centre)
}

/// Douglas and Peucker's line simplification of a closed polygon.
fn simplified(points: &[[f64; 2]], tolerance: f64) -> Vec<[f64; 2]> {
    fn between(p: &[[f64; 2]], tolerance: f64, out: &mut Vec<[f64; 2]>) {
        let (a, b) = (p[0], p[p.len() - 1]);
        let far = (1..p.len() - 1).map(|i| (to_segment(p[i], a, b), i)).max_by(|x, y| x.0.total_cmp(&y.0));
        match far {
            Some((d, i)) if d > tolerance => {
                between(&p[..=i], tolerance, out);
                between(&p[i..], tolerance, out);
            }
            _ => out.push(a),
        }
    }
    if points.len() < 8 {
        return points.to_vec();
    }
    let far = |i: &usize| (points[*i][0] - points[0][0]).hypot(points[*i][1] - points[0][1]);
    let middle = (0..points.len()).max_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(points.len() / 2);
    let mut out = Vec::new();
    between(&points[..=middle], tolerance, &mut out);
    let mut second = points[middle..].to_vec();
    second.push(points[0]);
    between(&second, tolerance, &mut out);
    out
}

/// Round parts of one region: centre and radius in pixels, the largest first. A prong's tip that covers the edge is no edge.
pub fn circles(region: &Mask, prong: &Plane, least: f64) -> Result<Vec<(f64, f64, f64)>, DraftError> {
    let mut left = region.clone();
    let mut out: Vec<(f64, f64, f64)> = Vec::new();
    for _ in 0..64 {
        let depth = ops::distance_inside(&left)?;
        let Some(top) = (0..depth.data.len()).max_by(|a, b| depth.data[*a].total_cmp(&depth.data[*b])) else { break };
        let r = f64::from(depth.data[top]);
        let largest = out.iter().map(|c| c.2).fold(0.0, f64::max);
        if r < least || r < 0.45 * largest {
            break;
        }
        let (x, y) = ((top % region.width) as f64, (top / region.width) as f64);
        let circle = around(region, prong, x, y, r);
        ops::fill_circle(&mut left, circle.0, circle.1, 1.12 * circle.2, 0);
        ops::fill_circle(&mut left, x, y, r, 0);
        out.push(circle);
    }
    Ok(out)
}

/// The circle through the edge of a region as seen from a place inside it: the middle of the distances in all directions,
/// without those that end at a prong or run on into a neighbour.
fn around(region: &Mask, prong: &Plane, x: f64, y: f64, r: f64) -> (f64, f64, f64) {
    let (mut cx, mut cy, mut radius) = (x, y, r);
    for _ in 0..4 {
        let mut seen: Vec<(f64, f64)> = Vec::new();
        for i in 0..96 {
            let a = std::f64::consts::TAU * f64::from(i) / 96.0;
            let mut d = 0.5 * radius;
            let inside = |d: f64| {
                let (u, v) = (cx + d * a.cos(), cy + d * a.sin());
                let (u, v) = (u.round(), v.round());
                u >= 0.0
                    && v >= 0.0
                    && (u as usize) < region.width
                    && (v as usize) < region.height
                    && region.data[v as usize * region.width + u as usize] != 0
            };
            while d < 1.5 * radius && inside(d) {
                d += 0.5;
            }
            let (u, v) = (cx + (d + 2.0) * a.cos(), cy + (d + 2.0) * a.sin());
            if d < 1.3 * radius && prong.sample(u, v) < 0.3 {
                seen.push((a, d));
            }
        }
        if seen.len() < 24 {
            break;
        }
        let mut all: Vec<f32> = seen.iter().map(|s| s.1 as f32).collect();
        let middle = f64::from(ops::median(&mut all));
        let near: Vec<&(f64, f64)> = seen.iter().filter(|s| (s.1 / middle - 1.0).abs() < 0.15).collect();
        let n = near.len().max(1) as f64;
        cx += (2.0 / n * near.iter().map(|s| (s.1 - middle) * s.0.cos()).sum::<f64>()).clamp(-3.0, 3.0);
        cy += (2.0 / n * near.iter().map(|s| (s.1 - middle) * s.0.sin()).sum::<f64>()).clamp(-3.0, 3.0);
        radius = middle;
    }
    (cx, cy, radius)
}

/// A stone's cut as its region shows it.
pub struct Cut {
    /// Centre in pixels.
    pub x: f64,
    /// Centre in pixels.
    pub y: f64,
    /// Width in pixels: of a long one across its length.
    pub width: f64,
    /// The cut.
    pub name: &'static str,
    /// The turn of its length from the picture's vertical, clockwise as seen, in radians.
    pub turn: f64,
}

/// The cut that a region looks most like when its plan is laid on it, as large as it and with its centre, along either side of its tightest box or its longest axis, and how much so: the area in
/// common over that of either. None where there is no region.
pub fn cut(own: &Mask, prong: &Plane, edge: &[[f64; 2]]) -> Option<(f64, Cut)> {
    let area = own.count() as f64;
    let inside =
        || own.data.iter().enumerate().filter(|(_, v)| **v != 0).map(|(i, _)| [i % own.width, i / own.width]);
    let sums = inside().fold([0.0; 2], |s, p| [s[0] + p[0] as f64, s[1] + p[1] as f64]);
    let middle = sums.map(|s| s / area.max(1.0));
    // A box lies along a pear's side rather than its length, and moments have no direction in a square.
    let angles = [tightest_box(edge).0, by_moments(edge)[4]];
    let mut best: Option<(f64, Cut)> = None;
    for (name, ways) in CUTS {
        let Some(plan) = Stone::unnamed([0.0, 0.0], 1.0, name).plan().or_else(|| (name == "round").then(circle))
        else {
            continue;
        };
        let as_large = (area / ops::polygon_area(&plan)).sqrt();
        let centroid = centroid(&plan);
        // Prongs hide some of it.
        let lain = angles.iter().flat_map(|a| (0..ways).map(move |w| (*a, w)));
        for ((angle, way), more) in lain.flat_map(|l| [1.0, 1.04, 1.08].map(|m| (l, m))) {
            let width = more * as_large;
            // The plan's length lies along y, up; the picture's y is down, and its turn is clockwise.
            let turn = angle + f64::from(way) * std::f64::consts::FRAC_PI_2;
            let (s, c) = turn.sin_cos();
            let lay = |[x, y]: [f64; 2]| [c * x + s * y, s * x - c * y];
            let off = lay(centroid).map(|v| width * v);
            let centre = [middle[0] - off[0], middle[1] - off[1]];
            let line: Vec<[f64; 2]> =
                plan.iter().map(|p| lay(*p)).map(|p| [centre[0] + width * p[0], centre[1] + width * p[1]]).collect();
            let mut laid = Mask::empty(own.width, own.height);
            if ops::fill_polygons(&mut laid, &[line], 255).is_err() {
                continue;
            }
            let like = likeness(own, &laid, prong) + if name == "round" { COMMONER } else { 0.0 };
            if best.as_ref().is_none_or(|b| like > b.0) {
                best = Some((like, Cut { x: centre[0], y: centre[1], width, name, turn }));
            }
        }
    }
    best
}

/// How alike two regions are: the area in common over that of either, without what a prong hides of the second.
pub fn likeness(own: &Mask, laid: &Mask, prong: &Plane) -> f64 {
    let (mut both, mut either) = (0.0, 0.0);
    for ((a, b), p) in own.data.iter().zip(&laid.data).zip(&prong.data) {
        if *a != 0 && *b != 0 {
            both += 1.0;
        }
        if *a != 0 || (*b != 0 && *p < HIDES) {
            either += 1.0;
        }
    }
    both / f64::max(either, 1.0)
}

/// Probability of a prong from which it hides what is below.
const HIDES: f32 = 0.3;
/// What a region must look more like another cut than like a round one: most stones are round.
pub const COMMONER: f64 = 0.02;

/// The cuts of the contract, and in how many ways a quarter turn apart each may lie.
const CUTS: [(&str, u8); 7] =
    [("round", 1), ("princess", 1), ("oval", 2), ("emerald", 2), ("baguette", 2), ("marquise", 2), ("pear", 4)];

/// A circle one wide.
fn circle() -> Vec<[f64; 2]> {
    (0..64)
        .map(|k| (std::f64::consts::TAU * f64::from(k) / 64.0).sin_cos())
        .map(|(s, c)| [0.5 * c, 0.5 * s])
        .collect()
}

/// The centre of gravity of what a closed line encloses.
fn centroid(line: &[[f64; 2]]) -> [f64; 2] {
    let (mut twice, mut sum) = (0.0, [0.0; 2]);
    for (p, q) in line.iter().zip(line.iter().cycle().skip(1)) {
        let cross = p[0] * q[1] - q[0] * p[1];
        twice += cross;
        sum = [sum[0] + cross * (p[0] + q[0]), sum[1] + cross * (p[1] + q[1])];
    }
    sum.map(|s| s / (3.0 * twice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge_of(shape: &Outline, pose: &Pose) -> Vec<[f64; 2]> {
        let (s, c) = pose.rotation.sin_cos();
        nominal::edge_points(shape, 0.02, 10.0)
            .iter()
            .map(|p| [c * p.x - s * p.y + pose.dx_mm, s * p.x + c * p.y + pose.dy_mm])
            .collect()
    }

    #[test]
    fn outlines_are_known_again() {
        let start = Pose::centred(960, 720, 12.0);
        let pose = Pose { rotation: 0.06, dx_mm: 0.2, dy_mm: -0.1, ..start };
        let pi = std::f64::consts::PI;
        let cases = [
            (Outline::Disc { radius_mm: 3.5 }, pi * 3.5 * 3.5),
            (Outline::Ellipse { rx_mm: 5.0, ry_mm: 3.6 }, pi * 5.0 * 3.6),
            (Outline::RoundedRect { width_mm: 9.0, height_mm: 6.0, corner_mm: 0.8 }, 54.0 - (4.0 - pi) * 0.64),
        ];
        for (shape, area) in cases {
            let (found, at) = fit(&edge_of(&shape, &pose), area, &start);
            let sizes = |o: &Outline| match o {
                Outline::Disc { radius_mm } => vec![*radius_mm],
                Outline::Ellipse { rx_mm, ry_mm } => vec![*rx_mm, *ry_mm],
                Outline::RoundedRect { width_mm, height_mm, corner_mm } => vec![*width_mm, *height_mm, *corner_mm],
                _ => vec![],
            };
            assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&shape), "{found:?}");
            for (a, b) in sizes(&found).iter().zip(sizes(&shape)) {
                assert!((a - b).abs() < 0.03, "{found:?}");
            }
            assert!((at.dx_mm - 0.2).abs() < 0.01 && (at.dy_mm + 0.1).abs() < 0.01, "{at:?}");
        }
        // A wavering edge with a fibre beside it: about an ellipse the tightest box hardly knows how it lies.
        let shape = Outline::Ellipse { rx_mm: 3.38, ry_mm: 4.67 };
        let mut edge = edge_of(&shape, &pose);
        for (k, p) in edge.iter_mut().enumerate() {
            let out = if (300..330).contains(&k) { 1.1 } else { 1.0 + 0.004 * (k as f64 / 9.0).sin() };
            *p = [0.2 + out * (p[0] - 0.2), -0.1 + out * (p[1] + 0.1)];
        }
        let (found, at) = fit(&edge, pi * 3.38 * 4.67, &start);
        let Outline::Ellipse { rx_mm, ry_mm } = found else { panic!("{found:?}") };
        assert!((rx_mm - 3.38).abs() < 0.02 && (ry_mm - 4.67).abs() < 0.02, "{rx_mm} {ry_mm}");
        assert!((at.rotation - 0.06).abs() < 0.005 && (at.dx_mm - 0.2).abs() < 0.01, "{at:?}");
        // One that lies turned is drawn upright.
        let l = vec![[-4.0, -3.0], [4.0, -3.0], [4.0, 0.0], [1.0, 0.0], [1.0, 3.0], [-4.0, 3.0]];
        let (found, at) = fit(&edge_of(&Outline::Polygon { points_mm: l.clone() }, &pose), 39.0, &start);
        let Outline::Polygon { points_mm } = &found else { panic!("{found:?}") };
        let near = |q: &[f64; 2]| points_mm.iter().map(|p| apart(*p, *q)).fold(f64::MAX, f64::min);
        assert!(points_mm.len() == 6 && l.iter().all(|q| near(q) < 0.05), "{found:?}");
        assert!((at.rotation - 0.06).abs() < 0.004 && (at.dx_mm - 0.2).abs() < 0.02, "{at:?}");
        let hexagon: Vec<[f64; 2]> =
            (0..6).map(|i| (f64::from(i) * pi / 3.0).sin_cos()).map(|(s, c)| [4.0 * c, 4.0 * s]).collect();
        let shape = Outline::Polygon { points_mm: hexagon };
        let (found, _) = fit(&edge_of(&shape, &start), 41.57, &start);
        assert!(matches!(&found, Outline::Polygon { points_mm } if points_mm.len() == 6), "{found:?}");
    }

    #[test]
    fn round_parts_of_a_region_are_told_apart() {
        let mut m = Mask::empty(300, 120);
        ops::fill_circle(&mut m, 70.0, 60.0, 40.0, 255);
        ops::fill_circle(&mut m, 148.0, 60.0, 40.0, 255);
        let none = Plane::filled(300, 120, 0.0);
        let c = circles(&m, &none, 10.0).unwrap();
        assert_eq!(c.len(), 2, "{c:?}");
        for (x, y, r) in c {
            assert!(
                (x - 70.0).abs().min((x - 148.0).abs()) < 1.5 && (y - 60.0).abs() < 1.5 && (r - 40.0).abs() < 1.5
            );
        }
    }

    #[test]
    fn cuts_are_told_by_their_shape() {
        // Drawn turned, with a corner hidden as under a prong.
        for (name, _) in CUTS {
            let plan = Stone::unnamed([0.0, 0.0], 1.0, name).plan().unwrap_or_else(circle);
            let (s, c) = 0.3f64.sin_cos();
            let line: Vec<[f64; 2]> = plan
                .iter()
                .map(|p| [100.0 + 60.0 * (c * p[0] + s * p[1]), 90.0 + 60.0 * (s * p[0] - c * p[1])])
                .collect();
            let mut own = Mask::empty(200, 180);
            for i in 0..own.data.len() {
                if ops::contains(&line, [(i % 200) as f64, (i / 200) as f64]) {
                    own.data[i] = 255;
                }
            }
            ops::fill_circle(&mut own, line[0][0], line[0][1], 7.0, 0);
            let (blobs, labels) = ops::components(&own).unwrap();
            let edge = ops::blob_outline(&labels, 200, &blobs[0]).unwrap();
            let (like, cut) = super::cut(&own, &Plane::filled(200, 180, 0.0), &edge).unwrap();
            assert!(cut.name == name && like > 0.85, "{name}: {} {like}", cut.name);
            assert!((cut.x - 100.0).hypot(cut.y - 90.0) < 3.0 && (cut.width - 60.0).abs() < 3.0, "{name}");
            let off = (cut.turn - 0.3).rem_euclid(std::f64::consts::PI);
            let long = Stone::unnamed([0.0, 0.0], 1.0, name).length_ratio().unwrap() > 1.0;
            assert!(!long || off.min(std::f64::consts::PI - off) < 0.05, "{name}: {}", cut.turn);
        }
    }
}
