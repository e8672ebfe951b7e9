//! What a backbone says of every place of a picture, on one grid of cells.

use ndarray::{Array1, Array2, ArrayView2};

use crate::model::{Backbone, FeatureMap, ModelError};
use crate::vision::{Image, Mask};

/// Pixels per cell: the layer of this stride (or the next coarser one) gives the grid.
pub const CELL_PX: usize = 8;

/// The descriptors of a picture's cells: one row each, row by row of the grid.
#[derive(Debug, Clone)]
pub struct Cells {
    /// Cells along x.
    pub width: usize,
    /// Cells along y.
    pub height: usize,
    /// Everything that is known of each cell, `width * height` rows. Finer layers come first, as their mean and their largest
    /// value within the cell, then the grid's own, then the coarser ones between their cells.
    pub all: Array2<f32>,
    /// Whether at least half of the cell counts.
    pub counts: Vec<bool>,
}

/// Which layer gives the grid.
fn base(backbone: &Backbone) -> usize {
    let strides = &backbone.info().strides;
    let fits = (0..strides.len()).filter(|k| strides[*k] >= CELL_PX).min_by_key(|k| strides[*k]);
    fits.or((0..strides.len()).max_by_key(|k| strides[*k])).unwrap_or(0)
}

/// Pixels per cell of this backbone's grid.
pub fn cell_px(backbone: &Backbone) -> usize {
    backbone.info().strides[base(backbone)]
}

/// Columns of [`Cells::all`], and the first of those that a memory compares: what is finer than the grid jumps from cell to
/// cell and is left to the discriminator.
pub fn columns(backbone: &Backbone) -> (usize, usize) {
    let info = backbone.info();
    let grid = cell_px(backbone);
    let finer: usize = info.strides.iter().zip(&info.channels).filter(|(s, _)| **s < grid).map(|(_, c)| 2 * c).sum();
    let rest: usize = info.strides.iter().zip(&info.channels).filter(|(s, _)| **s >= grid).map(|(_, c)| c).sum();
    (finer + rest, finer)
}

/// Describes a picture whose sides are multiples of 32.
///
/// # Errors
/// Where the backbone fails.
pub fn describe(backbone: &Backbone, image: &Image, mask: &Mask) -> Result<Cells, ModelError> {
    let maps = backbone.features(image)?;
    let grid = &maps[base(backbone)];
    let (w, h) = (grid.width, grid.height);
    let (columns, _) = columns(backbone);
    // Column by column, as the layers lie in memory; turned round at the end, which moves nothing.
    let mut planes: Vec<f32> = Vec::with_capacity(columns * w * h);
    let mut order: Vec<usize> = (0..maps.len()).collect();
    order.sort_by_key(|k| (backbone.info().strides[*k], *k));
    for k in order {
        let map = &maps[k];
        if map.width > w {
            finer(map, w, h, &mut planes);
        } else if (map.width, map.height) == (w, h) {
            planes.extend_from_slice(&map.data);
        } else {
            coarser(map, w, h, &mut planes);
        }
    }
    let all = turned(planes, columns, w * h);
    let (fx, fy) = (image.width as f64 / w as f64, image.height as f64 / h as f64);
    let counts = (0..w * h)
        .map(|i| {
            let (x0, y0) = ((i % w) as f64 * fx, (i / w) as f64 * fy);
            let (xs, ys) = (x0 as usize..(x0 + fx) as usize, y0 as usize..(y0 + fy) as usize);
            let of = xs.len() * ys.len();
            let row = |y: usize| &mask.data[y * mask.width..][xs.clone()];
            let inside: usize = ys.map(|y| row(y).iter().filter(|v| **v != 0).count()).sum();
            2 * inside >= of
        })
        .collect();
    Ok(Cells { width: w, height: h, all, counts })
}

/// Planes one after another as one row per cell.
fn turned(planes: Vec<f32>, columns: usize, cells: usize) -> Array2<f32> {
    let planes = Array2::from_shape_vec((columns, cells), planes);
    planes.unwrap_or_else(|_| Array2::zeros((columns, cells))).reversed_axes()
}

/// Mean of a finer layer within each cell, channel by channel, then its largest values.
fn finer(map: &FeatureMap, w: usize, h: usize, out: &mut Vec<f32>) {
    let (fx, fy) = (map.width / w, map.height / h);
    let share = 1.0 / (fx * fy) as f32;
    let planes = || map.data.chunks_exact(map.width * map.height);
    fn cells(
        plane: &[f32],
        [width, fx, fy, w, h]: [usize; 5],
        start: f32,
        of: impl Fn(f32, f32) -> f32,
        out: &mut Vec<f32>,
    ) {
        for rows in plane.chunks_exact(width * fy).take(h) {
            let at = out.len();
            out.resize(at + w, start);
            for row in rows.chunks_exact(width) {
                for (sum, values) in out[at..].iter_mut().zip(row.chunks_exact(fx)) {
                    *sum = values.iter().fold(*sum, |a, v| of(a, *v));
                }
            }
        }
    }
    let sizes = [map.width, fx, fy, w, h];
    for plane in planes() {
        cells(plane, sizes, 0.0, |a, v| a + v * share, out);
    }
    for plane in planes() {
        cells(plane, sizes, f32::NEG_INFINITY, f32::max, out);
    }
}

/// A layer coarser than the grid: between its cells.
fn coarser(map: &FeatureMap, w: usize, h: usize, out: &mut Vec<f32>) {
    let places = |n: usize, m: usize| -> Vec<(usize, usize, f32)> {
        let place = |i: usize| {
            let p = ((i as f32 + 0.5) * m as f32 / n as f32 - 0.5).clamp(0.0, (m - 1) as f32);
            let low = p as usize;
            (low, (low + 1).min(m - 1), p - low as f32)
        };
        (0..n).map(place).collect()
    };
    let (xs, ys) = (places(w, map.width), places(h, map.height));
    let mut lines = vec![0f32; w * map.height];
    for plane in map.data.chunks_exact(map.width * map.height) {
        // Each of its lines along x once, for several of the grid lie between two of them.
        for (to, line) in lines.chunks_exact_mut(w).zip(plane.chunks_exact(map.width)) {
            to.iter_mut().zip(&xs).for_each(|(to, (x0, x1, fx))| *to = line[*x0] + fx * (line[*x1] - line[*x0]));
        }
        for (y0, y1, fy) in &ys {
            let [top, low] = [y0, y1].map(|y| &lines[y * w..(y + 1) * w]);
            out.extend(top.iter().zip(low).map(|(a, b)| a + fy * (b - a)));
        }
    }
}

/// Each cell's mean with its eight neighbours (as PatchCore does, so that a step of one cell changes little). rows: one for each cell of a grid of
/// `w` by `h`.
pub fn smoothed(rows: ArrayView2<f32>, w: usize, h: usize) -> Array2<f32> {
    let n = rows.ncols();
    let rows = rows.as_standard_layout();
    let along = averaged(rows.as_slice().unwrap_or_default(), n, 1, w);
    let out = averaged(&along, n, w, h);
    Array2::from_shape_vec((w * h, n), out).unwrap_or_else(|_| Array2::zeros((w * h, n)))
}

/// The squared length of each row of [`smoothed`], once `mean` was taken off and it was multiplied by `scale`: without keeping the smoothed rows, which are
/// as large as all that the backbone says. Column by column, as they lie in memory.
pub fn smoothed_squares(
    rows: ArrayView2<f32>,
    [w, h]: [usize; 2],
    mean: &Array1<f32>,
    scale: &Array1<f32>,
) -> Vec<f32> {
    let mut out = vec![0f32; w * h];
    let (mut plane, mut along, mut own) = (vec![0f32; w * h], vec![0f32; w * h], vec![0f32; w]);
    for ((column, mean), scale) in rows.columns().into_iter().zip(mean).zip(scale) {
        match column.as_slice() {
            Some(column) => plane.copy_from_slice(column),
            None => plane.iter_mut().zip(column).for_each(|(to, v)| *to = *v),
        }
        for (to, line) in along.chunks_exact_mut(w).zip(plane.chunks_exact(w)) {
            mean_of_three(line, to);
        }
        for (y, out) in out.chunks_exact_mut(w).enumerate() {
            let beside = y.saturating_sub(1)..(y + 2).min(h);
            let share = 1.0 / beside.len() as f32;
            own.fill(0.0);
            for line in beside.map(|j| &along[j * w..(j + 1) * w]) {
                own.iter_mut().zip(line).for_each(|(sum, v)| *sum += v);
            }
            for (squares, sum) in out.iter_mut().zip(&own) {
                let d = (sum * share - mean) * scale;
                *squares += d * d;
            }
        }
    }
    out
}

/// Each number's mean with the one before and the one behind.
fn mean_of_three(line: &[f32], to: &mut [f32]) {
    to.copy_from_slice(line);
    let n = line.len();
    if n < 2 {
        return;
    }
    to[1..].iter_mut().zip(line).for_each(|(sum, v)| *sum += v);
    to[..n - 1].iter_mut().zip(&line[1..]).for_each(|(sum, v)| *sum += v);
    to[1..n - 1].iter_mut().for_each(|v| *v /= 3.0);
    to[0] /= 2.0;
    to[n - 1] /= 2.0;
}

/// Rows of `n` numbers, each the mean of itself and of those `step` rows before and behind, of which `length` follow one another.
fn averaged(data: &[f32], n: usize, step: usize, length: usize) -> Vec<f32> {
    let mut out = data.to_vec();
    for (i, to) in out.chunks_exact_mut(n.max(1)).enumerate() {
        let at = i / step % length;
        let beside = [(at > 0).then(|| i - step), (at + 1 < length).then_some(i + step)];
        for j in beside.into_iter().flatten() {
            to.iter_mut().zip(&data[j * n..(j + 1) * n]).for_each(|(t, v)| *t += v);
        }
        let share = 1.0 / (1 + beside.into_iter().flatten().count()) as f32;
        to.iter_mut().for_each(|t| *t *= share);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_of_smoothed_rows_are_as_those_rows_say() {
        let (w, h, n) = (5, 4, 7);
        let rows = Array2::from_shape_fn((w * h, n), |(i, c)| ((i * 37 + c * 11) % 19) as f32 - 3.0 * c as f32);
        let mean = Array1::from_shape_fn(n, |c| 0.3 * c as f32 - 1.0);
        let scale = Array1::from_shape_fn(n, |c| 1.0 / (1.0 + c as f32));
        let wanted: Vec<f32> = smoothed(rows.view(), w, h)
            .rows()
            .into_iter()
            .map(|row| (0..n).map(|c| ((row[c] - mean[c]) * scale[c]).powi(2)).sum())
            .collect();
        // As a backbone's layers lie, and row by row.
        let upright = turned(rows.t().iter().copied().collect(), n, w * h);
        for rows in [rows.view(), upright.view()] {
            let squares = smoothed_squares(rows, [w, h], &mean, &scale);
            assert!(
                squares.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-3 * b.max(1.0)),
                "{squares:?} {wanted:?}"
            );
        }
    }
}
