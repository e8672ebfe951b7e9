//! What a backbone says of every place of a picture, on one grid of cells.

use ndarray::{Array1, Array2};

use crate::model::{Backbone, FeatureMap, ModelError};
use crate::vision::{Image, Mask};

/// Pixels per cell: the layer of this stride (or the next coarser one) gives the grid.
const CELL_PX: usize = 8;

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
    let mut all = Array2::<f32>::zeros((w * h, columns));
    let mut at = 0;
    let mut order: Vec<usize> = (0..maps.len()).collect();
    order.sort_by_key(|k| (backbone.info().strides[*k], *k));
    for k in order {
        let map = &maps[k];
        if map.width > w {
            finer(map, w, h, &mut all, at);
            at += 2 * map.channels;
        } else {
            coarser(map, w, h, &mut all, at);
            at += map.channels;
        }
    }
    let (fx, fy) = (image.width as f64 / w as f64, image.height as f64 / h as f64);
    let counts = (0..w * h)
        .map(|i| {
            let (x0, y0) = ((i % w) as f64 * fx, (i / w) as f64 * fy);
            let (xs, ys) = (x0 as usize..(x0 + fx) as usize, y0 as usize..(y0 + fy) as usize);
            let of = xs.len() * ys.len();
            let inside = ys.flat_map(|y| xs.clone().map(move |x| (x, y))).filter(|(x, y)| mask.at(*x, *y)).count();
            2 * inside >= of
        })
        .collect();
    Ok(Cells { width: w, height: h, all, counts })
}

/// Mean and largest value of a finer layer within each cell.
fn finer(map: &FeatureMap, w: usize, h: usize, out: &mut Array2<f32>, at: usize) {
    let (fx, fy) = (map.width / w, map.height / h);
    for c in 0..map.channels {
        let plane = &map.data[c * map.width * map.height..(c + 1) * map.width * map.height];
        for y in 0..h {
            for x in 0..w {
                let (mut sum, mut most) = (0.0f32, f32::NEG_INFINITY);
                for row in plane.chunks_exact(map.width).skip(y * fy).take(fy) {
                    for v in &row[x * fx..(x + 1) * fx] {
                        sum += v;
                        most = most.max(*v);
                    }
                }
                out[(y * w + x, at + c)] = sum / (fx * fy) as f32;
                out[(y * w + x, at + map.channels + c)] = most;
            }
        }
    }
}

/// A layer as coarse as the grid, or coarser: between its cells.
fn coarser(map: &FeatureMap, w: usize, h: usize, out: &mut Array2<f32>, at: usize) {
    let place = |i: usize, n: usize, m: usize| {
        let p = ((i as f32 + 0.5) * m as f32 / n as f32 - 0.5).clamp(0.0, (m - 1) as f32);
        let low = p as usize;
        (low, (low + 1).min(m - 1), p - low as f32)
    };
    for y in 0..h {
        let (y0, y1, fy) = place(y, h, map.height);
        for x in 0..w {
            let (x0, x1, fx) = place(x, w, map.width);
            let mut row = out.row_mut(y * w + x);
            for c in 0..map.channels {
                let plane = &map.data[c * map.width * map.height..];
                let v = |x: usize, y: usize| plane[y * map.width + x];
                let top = v(x0, y0) * (1.0 - fx) + v(x1, y0) * fx;
                let low = v(x0, y1) * (1.0 - fx) + v(x1, y1) * fx;
                row[at + c] = top * (1.0 - fy) + low * fy;
            }
        }
    }
}

/// Each cell's mean with its eight neighbours, of the columns from `first` on (as PatchCore does, so that a step of one cell
/// changes little).
pub fn smoothed(cells: &Cells, first: usize) -> Array2<f32> {
    let (w, h) = (cells.width, cells.height);
    let n = cells.all.ncols() - first;
    // Along x, then along y.
    let pass = |from: &Array2<f32>, from_first: usize, step: usize, len: usize, of: &dyn Fn(usize) -> usize| {
        let mut out = Array2::<f32>::zeros((w * h, n));
        for i in 0..w * h {
            let k = of(i);
            let mut count = 1.0f32;
            let mut sum: Array1<f32> = from.row(i).slice(ndarray::s![from_first..]).to_owned();
            if k > 0 {
                sum += &from.row(i - step).slice(ndarray::s![from_first..]);
                count += 1.0;
            }
            if k + 1 < len {
                sum += &from.row(i + step).slice(ndarray::s![from_first..]);
                count += 1.0;
            }
            sum /= count;
            out.row_mut(i).assign(&sum);
        }
        out
    };
    let along = pass(&cells.all, first, 1, w, &|i| i % w);
    pass(&along, 0, w, h, &|i| i / w)
}
