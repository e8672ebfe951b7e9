//! The 24-patch chart: found in a frame, read, and a camera's values fitted to its published colours.

use nalgebra::{DMatrix, DVector};

use super::calibration::{linear, terms, Calibration, PatchRow, COLOUR_SCHEMA};
use super::{delta_e00, lab, slopes, xyz, yellowness_d1925};
use crate::hash::sha256_hex;
use crate::report::round_to;
use crate::vision::{ops, Image, Mask, VisionError};
use rayon::prelude::*;

/// Patches of the ColorChecker Classic, row by row from dark skin: name and L*a*b* under D50, 2 degrees, as its maker
/// publishes them for charts made since November 2014.
pub const PATCHES: [(&str, [f64; 3]); 24] = [
    ("dark skin", [37.54, 14.37, 14.92]),
    ("light skin", [64.66, 19.27, 17.50]),
    ("blue sky", [49.32, -3.82, -22.54]),
    ("foliage", [43.46, -12.74, 22.72]),
    ("blue flower", [54.94, 9.61, -24.79]),
    ("bluish green", [70.48, -32.26, -0.37]),
    ("orange", [62.73, 35.83, 56.50]),
    ("purplish blue", [39.43, 10.75, -45.17]),
    ("moderate red", [50.57, 48.64, 16.67]),
    ("purple", [30.10, 22.54, -20.87]),
    ("yellow green", [71.77, -24.13, 58.19]),
    ("orange yellow", [71.51, 18.24, 67.37]),
    ("blue", [28.37, 15.42, -49.80]),
    ("green", [54.38, -39.72, 32.27]),
    ("red", [42.43, 51.05, 28.62]),
    ("yellow", [81.80, 2.67, 80.41]),
    ("magenta", [50.63, 51.28, -14.12]),
    ("cyan", [49.57, -29.71, -28.32]),
    ("white", [95.19, -1.03, 2.93]),
    ("neutral 8", [81.29, -0.57, 0.44]),
    ("neutral 6.5", [66.89, -0.75, -0.06]),
    ("neutral 5", [50.76, -0.13, 0.14]),
    ("neutral 3.5", [35.63, -0.46, -0.48]),
    ("black", [20.64, 0.07, -0.46]),
];

const COLUMNS: usize = 6;
const ROWS: usize = 4;
/// A patch is read in its middle, this share of the distance to its neighbours wide: its rim is shade and blur.
const READ: f64 = 0.4;
/// A channel at its end says nothing.
const END: f64 = 250.0;
/// The fewest patches: twice the unknowns of the six terms.
const LEAST: usize = 15;
/// Where the mean of the patches is off by more than this, it is no such chart, another one, or a good part of it is covered: with six of 24 drawn patches behind a card it is
/// 7, of drawn charts in twenty cameras at most 1.2.
const MOST_DE00: f64 = 5.0;

/// The patch that is clipped first.
const WHITE: usize = 18;
const BLACK: usize = 23;
/// The last row.
const GREYS: std::ops::Range<usize> = 18..24;
/// Colours of more chroma than gold has say nothing of how well its yellowness is known.
const MOST_CHROMA: f64 = 30.0;
/// L*a*b* of white gold of the second grade.
const WHITE_GOLD: [f64; 3] = [82.0, 1.0, 10.0];
/// The uncertainty of a yellowness that nothing tells.
const UNKNOWN_YI: f64 = 100.0;
/// Patches darker than that are mostly the camera's black.
const LEAST_L: f64 = 25.0;
/// Rounds of taking a slant of the light off: each leaves about a third of what is left.
const SLANT_ROUNDS: usize = 6;

/// Why a chart cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// No grid of patches was found.
    #[error("no chart of 6 by 4 patches was found ({0}); say where it is with --corners")]
    NotFound(String),
    /// Too few patches can be read.
    #[error("only {usable} of 24 patches can be used (at least {LEAST} are needed): {why}")]
    TooFew {
        /// That can.
        usable: usize,
        /// Why the first of the others cannot.
        why: String,
    },
    /// The colours are no such chart's.
    #[error("the patches' colours are {0:.1} dE00 from the chart's on average: it is another chart, turned over, or partly covered")]
    NoSuchChart(f64),
    /// A patch is far off, and leaving it out mends nothing.
    #[error("the patch `{name}` is {off:.0} dE00 from the chart's: two patches are covered or change places, or it is another chart")]
    OddPatch {
        /// Its name.
        name: String,
        /// How far.
        off: f64,
    },
    /// The frame is grey.
    #[error("the frame is grey and shows no colour")]
    Grey,
    /// OpenCV refused an operation.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// What the file says beside the fit.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The chart's frame, its name.
    pub file: String,
    /// The light.
    pub light: Option<String>,
    /// The camera.
    pub camera_serial: Option<String>,
}

/// Fits a calibration to a frame of the chart. `corners` are the centres of dark skin, bluish green, black and white in
/// pixels, in this order about the chart; without them the chart is looked for.
///
/// # Errors
/// [`ChartError`].
pub fn calibrate(
    image: &Image,
    bytes: &[u8],
    corners: Option<[[f64; 2]; 4]>,
    about: &About,
) -> Result<Calibration, ChartError> {
    if image.grey {
        return Err(ChartError::Grey);
    }
    // A rectangle of six by four looks the same turned over: the colours tell.
    let grids = match corners {
        Some(c) => vec![grid_of_corners(c)],
        None => {
            let grid = find(image)?;
            let over: Vec<[f64; 2]> = grid.iter().rev().copied().collect();
            vec![grid, over]
        }
    };
    let mut best: Option<Calibration> = None;
    let mut error = None;
    for grid in grids {
        match fit(image, &grid, about) {
            Ok(c) if best.as_ref().is_none_or(|b| c.residual_mean_de00 < b.residual_mean_de00) => best = Some(c),
            Ok(_) => {}
            Err(e) => error = Some(e),
        }
    }
    let Some(mut best) = best else {
        return Err(error.unwrap_or_else(|| ChartError::NotFound("no grid".into())));
    };
    if best.residual_mean_de00 > MOST_DE00 {
        return Err(ChartError::NoSuchChart(best.residual_mean_de00));
    }
    let off = |r: &PatchRow| r.de00.filter(|d| *d > MOST_OFF_DE00).map(|d| (d, r.name.clone()));
    if let Some((off, name)) = best.rows.iter().filter_map(off).max_by(|a, b| a.0.total_cmp(&b.0)) {
        return Err(ChartError::OddPatch { name, off });
    }
    best.chart_sha256 = sha256_hex(bytes);
    Ok(best)
}

/// Centres of the patches, row by row, between four corner patches.
fn grid_of_corners([a, b, c, d]: [[f64; 2]; 4]) -> Vec<[f64; 2]> {
    let mix = |p: [f64; 2], q: [f64; 2], t: f64| [p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])];
    (0..ROWS * COLUMNS)
        .map(|k| {
            let (i, j) = ((k % COLUMNS) as f64 / (COLUMNS - 1) as f64, (k / COLUMNS) as f64 / (ROWS - 1) as f64);
            mix(mix(a, b, i), mix(d, c, i), j)
        })
        .collect()
}

/// Finds the grid of patches: even squares of one size, in six columns and four rows. Centres row by row, from either end.
fn find(image: &Image) -> Result<Vec<[f64; 2]>, ChartError> {
    // About 500 pixels wide, a patch is still some dozens of pixels there.
    let k = (image.width.max(image.height) / 500).max(1);
    let small = ops::shrink_image(image, k);
    let (w, h) = (small.width, small.height);
    // Even: no channel changes by more than its own noise and a little shade.
    let mut steep = vec![0f32; w * h];
    for c in 0..3 {
        let (gx, gy) = ops::gradient(&ops::gaussian(&small.channel(c), 1.0)?)?;
        for (s, (x, y)) in steep.iter_mut().zip(gx.data.iter().zip(&gy.data)) {
            *s = s.max(x.hypot(*y));
        }
    }
    let mut sorted = steep.clone();
    // A chart's patches are most of an even picture: twice its median slope is an edge, and never less than a grey level.
    let edge = (2.0 * ops::median(&mut sorted)).max(1.0);
    let mut even = Mask::empty(w, h);
    for (m, s) in even.data.iter_mut().zip(&steep) {
        *m = if *s < edge { 255 } else { 0 };
    }
    let (blobs, _) = ops::components(&even)?;
    let least = (w * h) as f64 / 5000.0;
    let mut squares: Vec<([f64; 2], f64)> = blobs
        .iter()
        .filter(|b| {
            let (bw, bh) = (b.bounds.width as f64, b.bounds.height as f64);
            // A square turned by up to 20 degrees fills two thirds of its box.
            b.area as f64 > least && b.area as f64 > 0.6 * bw * bh && bw < 1.4 * bh && bh < 1.4 * bw
        })
        .map(|b| ([b.x, b.y], b.area as f64))
        .collect();
    let mut areas: Vec<f32> = squares.iter().map(|s| s.1 as f32).collect();
    if areas.len() < 12 {
        return Err(ChartError::NotFound(format!("{} even squares", areas.len())));
    }
    let usual = f64::from(ops::median(&mut areas));
    squares.retain(|s| s.1 > 0.5 * usual && s.1 < 1.8 * usual);
    let centres: Vec<[f64; 2]> = squares.iter().map(|s| s.0).collect();
    let (grid, seen) = lattice(&centres).ok_or_else(|| {
        ChartError::NotFound(format!("{} even squares of one size, in no grid of 6 by 4", centres.len()))
    })?;
    if seen < 14 {
        return Err(ChartError::NotFound(format!("{seen} patches of a grid")));
    }
    Ok(grid.iter().map(|p| p.map(|v| (v + 0.5) * k as f64 - 0.5)).collect())
}

/// The grid that points lie on, six by four, row by row, and how many of them do.
fn lattice(points: &[[f64; 2]]) -> Option<(Vec<[f64; 2]>, usize)> {
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let mut nearest: Vec<f32> = points
        .iter()
        .map(|p| points.iter().filter(|q| *q != p).map(|q| distance(*p, *q)).fold(f64::MAX, f64::min) as f32)
        .collect();
    let pitch = f64::from(ops::median(&mut nearest));
    // Directions to neighbours, four times over: the grid's axes are a quarter turn apart.
    let (mut c4, mut s4) = (0.0, 0.0);
    for p in points {
        for q in points.iter().filter(|q| *q != p && distance(*p, **q) < 1.25 * pitch) {
            let a = 4.0 * (q[1] - p[1]).atan2(q[0] - p[0]);
            c4 += a.cos();
            s4 += a.sin();
        }
    }
    let turn = s4.atan2(c4) / 4.0;
    let (s, c) = turn.sin_cos();
    let place = |p: [f64; 2]| [(c * p[0] + s * p[1]) / pitch, (c * p[1] - s * p[0]) / pitch];
    // Every point is tried as one of the grid's; steps of a neighbour to the next, so that a slant does not add up.
    type Grown = (Vec<(usize, [i32; 2])>, [i32; 2]);
    let mut best: Option<Grown> = None;
    for seed in 0..points.len() {
        let mut cells: Vec<Option<[i32; 2]>> = vec![None; points.len()];
        cells[seed] = Some([0, 0]);
        let mut queue = vec![seed];
        while let Some(i) = queue.pop() {
            let (Some(cell), at) = (cells[i], place(points[i])) else { continue };
            for j in 0..points.len() {
                let to = place(points[j]);
                let (dx, dy) = (to[0] - at[0], to[1] - at[1]);
                let step = [dx.round(), dy.round()];
                let near = (dx - step[0]).hypot(dy - step[1]) < 0.25;
                if cells[j].is_none() && near && step[0].abs() + step[1].abs() == 1.0 {
                    cells[j] = Some([cell[0] + step[0] as i32, cell[1] + step[1] as i32]);
                    queue.push(j);
                }
            }
        }
        let found: Vec<(usize, [i32; 2])> = cells.iter().enumerate().filter_map(|(i, c)| c.map(|c| (i, c))).collect();
        let range = |k: usize| {
            let (lo, hi) = found.iter().fold((i32::MAX, i32::MIN), |(l, h), f| (l.min(f.1[k]), h.max(f.1[k])));
            (lo, hi - lo + 1)
        };
        let ((x0, nx), (y0, ny)) = (range(0), range(1));
        let fits = (nx, ny) == (COLUMNS as i32, ROWS as i32) || (nx, ny) == (ROWS as i32, COLUMNS as i32);
        if fits && best.as_ref().is_none_or(|b| found.len() > b.0.len()) {
            let found = found.into_iter().map(|(i, c)| (i, [c[0] - x0, c[1] - y0])).collect();
            best = Some((found, [nx, ny]));
        }
    }
    let (found, [nx, _]) = best?;
    // Place = a + b i + c j + d i j: a chart seen a little from the side.
    let upright = nx == COLUMNS as i32;
    let row = |i: f64, j: f64| [1.0, i, j, i * j];
    let a = DMatrix::from_fn(found.len(), 4, |r, k| row(f64::from(found[r].1[0]), f64::from(found[r].1[1]))[k]);
    let solve = |axis: usize| {
        let b = DVector::from_fn(found.len(), |r, _| points[found[r].0][axis]);
        (a.transpose() * &a).cholesky().map(|ch| ch.solve(&(a.transpose() * b)))
    };
    let (x, y) = (solve(0)?, solve(1)?);
    let grid = (0..ROWS * COLUMNS)
        .map(|k| {
            let (u, v) = ((k % COLUMNS) as f64, (k / COLUMNS) as f64);
            // A chart on its side: columns run down, and rows from right to left.
            let (i, j) = if upright { (u, v) } else { (ROWS as f64 - 1.0 - v, u) };
            let t = row(i, j);
            [0, 1].map(|axis| (0..4).map(|k| t[k] * if axis == 0 { x[k] } else { y[k] }).sum())
        })
        .collect();
    Some((grid, found.len()))
}

/// What a patch shows.
#[derive(Clone)]
struct Read {
    rgb: [f64; 3],
    /// The light on it, by that on the chart's middle.
    light: f64,
    bad: Option<String>,
}

fn read(image: &Image, at: [f64; 2], half: f64) -> Read {
    let inside = |v: f64, n: usize| v - half >= 0.0 && v + half <= n as f64 - 1.0;
    if !inside(at[0], image.width) || !inside(at[1], image.height) {
        return Read { rgb: [0.0; 3], light: 1.0, bad: Some("it lies outside the frame".into()) };
    }
    let (x0, x1) = ((at[0] - half).round() as usize, (at[0] + half).round() as usize);
    let (y0, y1) = ((at[1] - half).round() as usize, (at[1] + half).round() as usize);
    let mut values: [Vec<f32>; 3] = Default::default();
    let (mut ended, mut n) = (0u64, 0u64);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let i = 3 * (y * image.width + x);
            let p = &image.data[i..i + 3];
            ended += u64::from(p.iter().any(|v| f64::from(*v) >= END));
            n += 1;
            for (v, c) in values.iter_mut().zip(p) {
                v.push(f32::from(*c));
            }
        }
    }
    // The mean of the middle half: finer than a grey level, and no speck is in it.
    let rgb = values.map(|mut v| {
        v.sort_by(f32::total_cmp);
        let middle = &v[v.len() / 4..v.len() - v.len() / 4];
        f64::from(middle.iter().sum::<f32>()) / middle.len() as f64
    });
    let bad = (20 * ended > n).then(|| "a channel is at its end".to_owned());
    Read { rgb, light: 1.0, bad }
}

fn fit(image: &Image, grid: &[[f64; 2]], about: &About) -> Result<Calibration, ChartError> {
    let across = (grid[COLUMNS - 1][0] - grid[0][0]).hypot(grid[COLUMNS - 1][1] - grid[0][1]);
    let half = 0.5 * READ * across / (COLUMNS - 1) as f64;
    let mut reads: Vec<Read> = grid.iter().map(|p| read(image, *p, half)).collect();
    let used = usable(&reads);
    if used.len() < LEAST {
        let first = reads.iter().position(|r| r.bad.is_some()).unwrap_or(0);
        let why = reads[first].bad.clone().unwrap_or_default();
        return Err(ChartError::TooFew { usable: used.len(), why: format!("{}: {why}", PATCHES[first].0) });
    }
    let none = || ChartError::NotFound("the patches are all alike".into());
    let even = without_covered(&mut reads).ok_or_else(none)?;
    let used = usable(&reads);
    // Light that falls off over the chart looks like another tone: a slant is taken off as long as the patches ask for it.
    let mut slant = [0.0; 2];
    let mut level = reads.clone();
    let mut levelled: Option<Fit> = None;
    for _ in 0..SLANT_ROUNDS {
        let more = levelled.as_ref().unwrap_or(&even).slant(&level, &used);
        slant = [slant[0] + more[0], slant[1] + more[1]];
        for (k, r) in level.iter_mut().enumerate() {
            r.light = light_at(slant, k);
        }
        levelled = Some(search(&level, &used).ok_or_else(none)?);
    }
    // Two further numbers (Schwarz 1978).
    let n = 3.0 * used.len() as f64;
    let asked = levelled.filter(|l| n * (even.cost / l.cost).ln() > 2.0 * n.ln());
    let light_range_pct = asked.as_ref().map(|_| {
        let (lo, hi) = level.iter().fold((f64::MAX, f64::MIN), |(a, b), r| (a.min(r.light), b.max(r.light)));
        round_to(100.0 * (hi - lo) / ((hi + lo) / 2.0), 1)
    });
    if asked.is_some() {
        reads = level;
    }
    let best = asked.unwrap_or(even);
    let mut u_yi = best.left_out_yi;
    // Where the brightest patches say nothing, metal may be brighter than all that do: what the two brightest greys are off by, left out
    // both, tells how far the tone holds beyond.
    if reads[WHITE].bad.is_some() {
        let ends: Vec<usize> = used.iter().copied().filter(|k| GREYS.contains(k)).take(2).collect();
        let rest: Vec<usize> = used.iter().copied().filter(|k| !ends.contains(k)).collect();
        let beyond = search(&reads, &rest).map_or(UNKNOWN_YI, |f| {
            let squares: f64 = ends.iter().map(|k| yi_error(f.xyz(&reads[*k]), xyz(PATCHES[*k].1)).powi(2)).sum();
            (squares / ends.len().max(1) as f64).sqrt()
        });
        u_yi = u_yi.hypot(beyond);
    }
    let rows: Vec<PatchRow> = (0..reads.len())
        .map(|k| {
            let seen = lab(best.xyz(&reads[k]));
            let ok = reads[k].bad.is_none();
            PatchRow {
                name: PATCHES[k].0.to_owned(),
                x_px: round_to(grid[k][0], 1),
                y_px: round_to(grid[k][1], 1),
                rgb: reads[k].rgb.map(|v| round_to(v, 2)),
                lab_reference: PATCHES[k].1,
                lab: seen.map(|v| round_to(v, 2)),
                de00: ok.then(|| round_to(delta_e00(seen, PATCHES[k].1), 3)),
                left_out: reads[k].bad.clone(),
            }
        })
        .collect();
    let of: Vec<f64> = used.iter().map(|k| delta_e00(lab(best.xyz(&reads[*k])), PATCHES[*k].1)).collect();
    Ok(Calibration {
        schema: COLOUR_SCHEMA.into(),
        program: crate::PROGRAM.into(),
        chart_file: about.file.clone(),
        chart_sha256: String::new(),
        light: about.light.clone(),
        camera_serial: about.camera_serial.clone(),
        black: round_to(best.black, 6),
        gamma: best.gamma.map(|g| round_to(g, 5)),
        matrix: best.matrix.clone().map(|r| r.into_iter().map(|v| round_to(v, 5)).collect()),
        patches: used.len(),
        residual_mean_de00: round_to(of.iter().sum::<f64>() / of.len() as f64, 3),
        residual_max_de00: round_to(of.iter().copied().fold(0.0, f64::max), 3),
        u_de00: round_to(best.left_out, 3),
        u_yi: round_to(u_yi, 3),
        light_range_pct,
        rows,
    })
}

/// Why such a patch is left out.
pub const COVERED: &str = "dE00 off what the others say: covered, dirty or damaged";
/// A patch that is off by this much (dE00) where the others fit well is covered, dirty or damaged: of a chart as it is none is off by half of that.
pub const COVERED_DE00: f64 = 6.0;
/// Most such patches: beyond, it is another chart.
const MOST_COVERED: usize = 3;
/// No patch that is used may be off by more: twice what a covered one is, for a white that ends early (video levels) is off by up to 7.
const MOST_OFF_DE00: f64 = 2.0 * COVERED_DE00;

/// Which patches can be used.
fn usable(reads: &[Read]) -> Vec<usize> {
    (0..reads.len()).filter(|k| reads[*k].bad.is_none()).collect()
}

/// The fit to the patches after those are marked that what the others say does not fit: the one without which the others fit best, as long as one is far off and without it
/// the worst of them is off by half as much.
fn without_covered(reads: &mut [Read]) -> Option<Fit> {
    let errors = |fit: &Fit, reads: &[Read], of: &[usize]| -> f64 {
        of.iter().map(|k| delta_e00(lab(fit.xyz(&reads[*k])), PATCHES[*k].1)).fold(0.0, f64::max)
    };
    let mut used = usable(reads);
    let mut fit = search(reads, &used)?;
    for _ in 0..MOST_COVERED {
        let worst = errors(&fit, reads, &used);
        if used.len() <= LEAST || worst <= COVERED_DE00 {
            break;
        }
        let without = |k: usize| {
            let rest: Vec<usize> = used.iter().copied().filter(|j| *j != k).collect();
            search(reads, &rest).map(|f| (errors(&f, reads, &rest), k, f))
        };
        let tried: Vec<(f64, usize, Fit)> = used.par_iter().filter_map(|k| without(*k)).collect();
        let Some((left, k, rest)) = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        let off = errors(&rest, reads, &[k]);
        if left > 0.5 * worst || off < COVERED_DE00 {
            break;
        }
        reads[k].bad = Some(format!("it is {off:.0} {COVERED}"));
        used.retain(|j| *j != k);
        fit = rest;
    }
    Some(fit)
}

/// The tone and the matrix that say most of colours that are on no patch.
fn search(reads: &[Read], used: &[usize]) -> Option<Fit> {
    let darkest = reads.iter().flat_map(|r| r.rgb).fold(255.0, f64::min) / 255.0;
    // Tone: exponent and black are searched, from coarse to fine, with the matrix solved for each.
    let mut best: Option<Fit> = None;
    for count in [3, 6] {
        for gamma in [false, true] {
            let start = [1.8, 0.3 * darkest];
            let mut step = [0.8, 0.3 * darkest];
            let mut own: Option<Fit> = None;
            for _ in 0..7 {
                let centre = own.as_ref().map_or(start, |f| [f.gamma.unwrap_or(start[0]), f.black]);
                for i in -2..=2 {
                    for j in -2..=2 {
                        let g = (centre[0] + f64::from(i) * step[0] / 2.0).clamp(0.4, 3.5);
                        let black = (centre[1] + f64::from(j) * step[1] / 2.0).clamp(0.0, 0.9 * darkest);
                        if !gamma && i != 0 {
                            continue;
                        }
                        let f = Fit::new(reads, used, black, gamma.then_some(g), count);
                        if let Some(f) = f.filter(|f| own.as_ref().is_none_or(|o| f.cost < o.cost)) {
                            own = Some(f);
                        }
                    }
                }
                step = step.map(|s| s / 2.0);
            }
            // What is left out tells which of the models says more of a colour that is on no patch.
            if let Some(mut f) = own {
                f.leave_out(reads, used);
                if best.as_ref().is_none_or(|b| f.left_out < b.left_out) {
                    best = Some(f);
                }
            }
        }
    }
    best
}

/// Where a patch lies on the chart, from -0.5 to 0.5 along its rows and its columns.
fn place(k: usize) -> [f64; 2] {
    [(k % COLUMNS) as f64 / (COLUMNS - 1) as f64 - 0.5, (k / COLUMNS) as f64 / (ROWS - 1) as f64 - 0.5]
}

/// The light on a patch, where its logarithm slants.
fn light_at(slant: [f64; 2], k: usize) -> f64 {
    let [u, v] = place(k);
    (slant[0] * u + slant[1] * v).exp()
}

/// By how much a patch's colour, seen so wrongly, would move the yellowness of white gold: the ratios of X and of Z to Y count.
fn yi_error(seen: [f64; 3], reference: [f64; 3]) -> f64 {
    let [x, y, z] = xyz(WHITE_GOLD);
    let by = |i: usize| (seen[i] / seen[1]) / (reference[i] / reference[1]);
    yellowness_d1925([x * by(0), y, z * by(2)]) - yellowness_d1925([x, y, z])
}

/// A tone and the matrix that goes with it.
struct Fit {
    black: f64,
    gamma: Option<f64>,
    matrix: [Vec<f64>; 3],
    /// Sum of squared differences in L*a*b*.
    cost: f64,
    /// Root mean square CIEDE2000 of patches left out of the fit.
    left_out: f64,
    /// The same of the yellowness of white gold, by the patches that are no more colourful than metal.
    left_out_yi: f64,
}

impl Fit {
    fn new(reads: &[Read], used: &[usize], black: f64, gamma: Option<f64>, count: usize) -> Option<Self> {
        let matrix = solve(reads, used, black, gamma, count)?;
        let mut fit = Fit { black, gamma, matrix, cost: 0.0, left_out: f64::MAX, left_out_yi: f64::MAX };
        fit.cost = used
            .iter()
            .map(|k| {
                let seen = lab(fit.xyz(&reads[*k]));
                (0..3).map(|i| (seen[i] - PATCHES[*k].1[i]).powi(2)).sum::<f64>()
            })
            .sum();
        fit.cost.is_finite().then_some(fit)
    }

    fn xyz(&self, read: &Read) -> [f64; 3] {
        let t = terms(read.rgb.map(|v| linear(v, self.black, self.gamma) / read.light), self.matrix[0].len());
        [0, 1, 2].map(|i| self.matrix[i].iter().zip(&t).map(|(m, t)| m * t).sum())
    }

    fn leave_out(&mut self, reads: &[Read], used: &[usize]) {
        let (mut sum, mut n, mut yi, mut pale) = (0.0, 0.0, 0.0, 0.0);
        for k in used {
            let rest: Vec<usize> = used.iter().copied().filter(|j| j != k).collect();
            let Some(other) = Fit::new(reads, &rest, self.black, self.gamma, self.matrix[0].len()) else { return };
            let (seen, reference) = (other.xyz(&reads[*k]), PATCHES[*k].1);
            sum += delta_e00(lab(seen), reference).powi(2);
            n += 1.0;
            // Black's ratios are noise.
            if reference[1].hypot(reference[2]) < MOST_CHROMA && *k != BLACK {
                yi += yi_error(seen, xyz(reference)).powi(2);
                pale += 1.0;
            }
        }
        self.left_out = (sum / n).sqrt();
        self.left_out_yi = if pale > 0.0 { (yi / pale).sqrt() } else { UNKNOWN_YI };
    }

    /// How the light slants over the patches: a plane through the logarithms of what they are seen too bright by.
    fn slant(&self, reads: &[Read], used: &[usize]) -> [f64; 2] {
        let bright: Vec<usize> = used.iter().copied().filter(|k| PATCHES[*k].1[0] > LEAST_L).collect();
        let a = DMatrix::from_fn(bright.len(), 3, |r, c| [1.0, place(bright[r])[0], place(bright[r])[1]][c]);
        let b = DVector::from_fn(bright.len(), |r, _| {
            let k = bright[r];
            (self.xyz(&reads[k])[1].max(1e-6) / xyz(PATCHES[k].1)[1]).ln()
        });
        let solved = (a.transpose() * &a).cholesky().map(|ch| ch.solve(&(a.transpose() * b)));
        solved.map_or([0.0; 2], |s| [s[1], s[2]].map(|v| v.clamp(-1.0, 1.0)))
    }
}

/// The matrix of least squares in L*a*b*, made linear at the published colours.
fn solve(reads: &[Read], used: &[usize], black: f64, gamma: Option<f64>, count: usize) -> Option<[Vec<f64>; 3]> {
    let unknowns = 3 * count;
    let mut a = DMatrix::zeros(3 * used.len(), unknowns);
    let mut b = DVector::zeros(3 * used.len());
    for (row, k) in used.iter().enumerate() {
        let t = terms(reads[*k].rgb.map(|v| linear(v, black, gamma) / reads[*k].light), count);
        let wanted = xyz(PATCHES[*k].1);
        for (i, slope) in slopes(wanted).iter().enumerate() {
            for (axis, s) in slope.iter().enumerate() {
                for (c, t) in t.iter().enumerate() {
                    a[(3 * row + i, axis * count + c)] = s * t;
                }
            }
            b[3 * row + i] = (0..3).map(|axis| slope[axis] * wanted[axis]).sum();
        }
    }
    let m = (a.transpose() * &a).cholesky()?.solve(&(a.transpose() * b));
    Some([0, 1, 2].map(|axis| (0..count).map(|c| m[axis * count + c]).collect()))
}
