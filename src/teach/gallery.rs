//! The good pictures themselves, kept small: what a place of a new picture is compared with.
//!
//! A picture is laid beside the good ones that look most like it, and each of its cells beside the cells about the same place
//! on them. That asks "has a good part ever looked like this, here?" and takes a thousandth of the work of a search through
//! every cell of every picture.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{s, Array1, Array2, ArrayView2, Axis};

use super::cells::{smoothed, smoothed_squares, Cells};

/// Numbers kept of a cell.
pub const KEPT: usize = 32;
/// Blocks of a picture along each side, whose means find the pictures most like it.
const BLOCKS: usize = 4;
/// Good pictures that a picture is laid beside.
pub const BESIDE: usize = 10;
/// How far the same place may be off, in cells.
pub const REACH: usize = 1;
/// Standard deviations of the first axis that a kept number spans, either way.
const SPAN_SIGMAS: f32 = 5.0;

/// How a cell's descriptor becomes the few numbers that are kept: standardised, turned to the axes of the largest variance,
/// rounded to a signed byte; and how far it lies beside all those axes, for what never varied among good parts (their colour) may in a bad one.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Mean of each column.
    pub mean: Array1<f32>,
    /// One over its standard deviation.
    pub scale: Array1<f32>,
    /// Columns by axes, in units of a byte.
    pub axes: Array2<f32>,
    /// Deviations a byte.
    pub unit: f32,
    /// Mean square of what good cells have beside those axes, in deviations.
    pub beside: f32,
}

impl Basis {
    /// The axes of the largest variance of these descriptors, one row each.
    pub fn of(rows: ArrayView2<f32>) -> Self {
        let (n, d) = rows.dim();
        let mut mean = Array1::<f32>::zeros(d);
        let mut scale = Array1::<f32>::zeros(d);
        for c in 0..d {
            let column = rows.column(c);
            let m = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n.max(1) as f64;
            let var = column.iter().map(|v| (f64::from(*v) - m).powi(2)).sum::<f64>() / n.max(1) as f64;
            mean[c] = m as f32;
            scale[c] = (1.0 / (var.sqrt() + 1e-6)) as f32;
        }
        let mut even = rows.to_owned();
        even -= &mean;
        even *= &scale;
        let cov = even.t().dot(&even) / n.max(1) as f32;
        let eigen = SymmetricEigen::new(DMatrix::<f64>::from_fn(d, d, |i, j| f64::from(cov[(i, j)])));
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]).then(a.cmp(b)));
        let kept = (KEPT - 1).min(d);
        let sigma = eigen.eigenvalues[order[0]].max(1e-12).sqrt() as f32;
        let unit = SPAN_SIGMAS * sigma / 127.0;
        let axes = Array2::from_shape_fn((d, kept), |(c, k)| {
            let axis = eigen.eigenvectors.column(order[k]);
            // An axis has no direction of its own: its largest part is made positive.
            let largest = axis.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(1.0);
            (axis[c] * largest.signum()) as f32 / unit
        });
        // The axes are upright and each of length one: what they leave of the squares lies beside them.
        let beside = order[kept..].iter().map(|k| eigen.eigenvalues[*k].max(0.0)).sum::<f64>() as f32;
        Basis { mean, scale, axes, unit, beside }
    }

    /// Numbers kept of a cell.
    pub fn kept(&self) -> usize {
        self.axes.ncols() + 1
    }

    /// What cells as they are, and not standardised, are multiplied by, and what is taken off the products.
    pub fn folded(&self) -> (Array2<f32>, Array1<f32>) {
        let axes = &self.axes * &self.scale.view().insert_axis(Axis(1));
        let offset = self.mean.dot(&axes);
        (axes, offset)
    }

    /// The bytes of a picture's cells, cell after cell. first: of their columns.
    pub fn codes(&self, cells: &Cells, first: usize) -> Vec<i8> {
        let (axes, offset) = self.folded();
        self.coded(cells.all.slice(s![.., first..]).dot(&axes).view(), &offset, cells, first)
    }

    /// Bytes of cells that were multiplied by [`Basis::folded`]. That each is smoothed with its neighbours is done here: of the products, which are fewer than what
    /// they are of.
    pub fn coded(&self, products: ArrayView2<f32>, offset: &Array1<f32>, cells: &Cells, first: usize) -> Vec<i8> {
        let near = smoothed(products, cells.width, cells.height);
        let own = cells.all.slice(s![.., first..]);
        let squares = smoothed_squares(own, [cells.width, cells.height], &self.mean, &self.scale);
        let byte = |v: f32| v.round().clamp(-127.0, 127.0) as i8;
        let mut out = Vec::with_capacity(near.nrows() * self.kept());
        for (row, squares) in near.rows().into_iter().zip(squares) {
            let mut along = 0.0;
            for (v, o) in row.iter().zip(offset) {
                along += (v - o) * (v - o);
                out.push(byte(v - o));
            }
            let beside = squares - along * self.unit * self.unit - self.beside;
            out.push(byte(beside.max(0.0).sqrt() / self.unit));
        }
        out
    }
}

/// One picture as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// [`KEPT`] bytes a cell.
    pub codes: Vec<i8>,
    /// Which cells count.
    pub counts: Vec<bool>,
}

/// The good pictures.
#[derive(Debug, Clone)]
pub struct Gallery {
    /// Cells along x.
    pub width: usize,
    /// Cells along y.
    pub height: usize,
    /// Bytes a cell.
    pub kept: usize,
    /// The pictures.
    pub pictures: Vec<Kept>,
    overviews: Vec<Vec<f32>>,
}

impl Gallery {
    /// Of these pictures.
    pub fn new(width: usize, height: usize, kept: usize, pictures: Vec<Kept>) -> Self {
        let overviews = pictures.iter().map(|p| overview(width, height, kept, p)).collect();
        Gallery { width, height, kept, pictures, overviews }
    }

    /// How far each cell of a picture is from the nearest one about its place on the good pictures most like it, in units of
    /// the bytes; none where the cell does not count or has nothing to be compared with. Those of `but` are left out.
    pub fn distances(&self, picture: &Kept, but: &[usize]) -> Vec<Option<f32>> {
        let own = overview(self.width, self.height, self.kept, picture);
        let mut near: Vec<(f32, usize)> = self
            .overviews
            .iter()
            .enumerate()
            .filter(|(i, _)| !but.contains(i))
            .map(|(i, o)| (o.iter().zip(&own).map(|(a, b)| (a - b) * (a - b)).sum::<f32>(), i))
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(BESIDE);
        let (w, h, n) = (self.width, self.height, self.kept);
        (0..w * h)
            .map(|i| {
                if !picture.counts[i] {
                    return None;
                }
                let code = &picture.codes[i * n..(i + 1) * n];
                let (x, y) = (i % w, i / w);
                let (x0, x1) = (x.saturating_sub(REACH), (x + REACH).min(w - 1));
                let (y0, y1) = (y.saturating_sub(REACH), (y + REACH).min(h - 1));
                // The same place first: it is the nearest more often than not, and what is farther is left sooner.
                let about = (y0..=y1).flat_map(|v| v * w + x0..=v * w + x1).filter(|j| *j != i);
                let mut best = i32::MAX;
                for j in std::iter::once(i).chain(about) {
                    for other in near.iter().map(|(_, k)| &self.pictures[*k]).filter(|p| p.counts[j]) {
                        best = nearer(code, &other.codes[j * n..(j + 1) * n], best);
                    }
                }
                (best != i32::MAX).then(|| (best as f32).sqrt())
            })
            .collect()
    }

    /// The pictures to keep where no more than `most` are wanted: each next one is the one least like those taken.
    pub fn spread(&self, most: usize) -> Vec<usize> {
        let n = self.pictures.len();
        if n <= most {
            return (0..n).collect();
        }
        let distance = |a: usize, b: usize| -> f32 {
            self.overviews[a].iter().zip(&self.overviews[b]).map(|(x, y)| (x - y) * (x - y)).sum()
        };
        let mut taken = vec![0usize];
        let mut far: Vec<f32> = (0..n).map(|i| distance(0, i)).collect();
        while taken.len() < most {
            let Some(next) = (0..n).max_by(|a, b| far[*a].total_cmp(&far[*b]).then(b.cmp(a))) else { break };
            taken.push(next);
            for (i, f) in far.iter_mut().enumerate() {
                *f = f.min(distance(next, i));
            }
        }
        taken.sort_unstable();
        taken
    }
}

/// The square distance of two codes, or `best` where that is less. Most differ enough in the first half of their axes, which are the largest.
#[inline]
fn nearer(a: &[i8], b: &[i8], best: i32) -> i32 {
    // Sums of a known length are what the compiler makes wide instructions of.
    if let (Ok(a), Ok(b)) = (<&[i8; KEPT]>::try_from(a), <&[i8; KEPT]>::try_from(b)) {
        let half = |from: usize| {
            let mut sum = 0i32;
            for k in from..from + KEPT / 2 {
                let d = i16::from(a[k]) - i16::from(b[k]);
                sum += i32::from(d) * i32::from(d);
            }
            sum
        };
        let sum = half(0);
        return if sum >= best { best } else { best.min(sum + half(KEPT / 2)) };
    }
    let square = |(x, y): (&i8, &i8)| (i32::from(*x) - i32::from(*y)).pow(2);
    best.min(a.iter().zip(b).map(square).sum())
}

/// Means of a picture's blocks.
fn overview(w: usize, h: usize, kept: usize, p: &Kept) -> Vec<f32> {
    let mut sums = vec![0f32; BLOCKS * BLOCKS * kept];
    let mut counts = [0f32; BLOCKS * BLOCKS];
    for i in (0..w * h).filter(|i| p.counts[*i]) {
        let b = (i / w * BLOCKS / h) * BLOCKS + i % w * BLOCKS / w;
        counts[b] += 1.0;
        for (s, c) in sums[b * kept..(b + 1) * kept].iter_mut().zip(&p.codes[i * kept..(i + 1) * kept]) {
            *s += f32::from(*c);
        }
    }
    for (b, n) in counts.iter().enumerate() {
        sums[b * kept..(b + 1) * kept].iter_mut().for_each(|s| *s /= n.max(1.0));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(seed: u64, odd: Option<usize>) -> Kept {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut codes: Vec<i8> = (0..8 * 6 * 4).map(|i| (i % 4 * 20) as i8 + rng.i8(-3..=3)).collect();
        if let Some(k) = odd {
            codes[4 * k..4 * k + 4].copy_from_slice(&[-90, 90, -90, 90]);
        }
        Kept { codes, counts: vec![true; 48] }
    }

    #[test]
    fn what_no_good_picture_has_is_far() {
        let g = Gallery::new(8, 6, 4, (0..12).map(|s| picture(s, None)).collect());
        let d = g.distances(&picture(99, Some(20)), &[]);
        let rest = d.iter().enumerate().filter(|(i, _)| *i != 20).map(|(_, v)| v.unwrap()).fold(0.0, f32::max);
        assert!(d[20].unwrap() > 10.0 * rest.max(1.0), "{:?} {rest}", d[20]);
        // A picture of the gallery is at no distance from itself, but not from the others.
        assert_eq!(g.distances(&g.pictures[3], &[])[0], Some(0.0));
        assert!(g.distances(&g.pictures[3], &[3]).iter().flatten().sum::<f32>() > 0.0);
        let mut masked = picture(5, None);
        masked.counts[7] = false;
        assert_eq!(g.distances(&masked, &[])[7], None);
    }

    #[test]
    fn a_spread_keeps_the_odd_one() {
        let mut all: Vec<Kept> = (0..20).map(|s| picture(s, None)).collect();
        all[13].codes.iter_mut().for_each(|c| *c = -50);
        let taken = Gallery::new(8, 6, 4, all).spread(4);
        assert_eq!(taken.len(), 4);
        assert!(taken.contains(&13));
    }

    #[test]
    fn the_basis_keeps_what_varies() {
        let mut rng = fastrand::Rng::with_seed(1);
        let rows = Array2::from_shape_fn((400, 6), |(_, c)| if c == 2 { 0.0 } else { rng.f32() });
        let b = Basis::of(rows.view());
        assert_eq!((b.axes.dim(), b.kept()), ((6, 6), 7));
        let cells = Cells { width: 20, height: 20, all: rows, counts: vec![true; 400] };
        let codes = b.codes(&cells, 0);
        assert!(codes.iter().any(|c| c.abs() > 20) && codes.iter().all(|c| c.abs() < 127));
    }

    #[test]
    fn what_never_varied_is_told_where_it_does() {
        let mut rng = fastrand::Rng::with_seed(3);
        let d = KEPT + 20;
        // The last columns hardly vary beside what the first ones share.
        let mut draw = |off: f32| {
            let shared: Vec<f32> = (0..KEPT).map(|_| rng.f32() - 0.5).collect();
            Array2::from_shape_fn((9, d), |(_, c)| {
                let own = 0.2 * (rng.f32() - 0.5);
                if c < KEPT {
                    shared[c] + own
                } else {
                    shared[c - KEPT] + own + off
                }
            })
        };
        let rows: Vec<Array2<f32>> = (0..100).map(|_| draw(0.0)).collect();
        let all = ndarray::concatenate(Axis(0), &rows.iter().map(|r| r.view()).collect::<Vec<_>>()).unwrap();
        let b = Basis::of(all.view());
        let cells = |all: Array2<f32>| Cells { width: 3, height: 3, all, counts: vec![true; 9] };
        let last = |codes: Vec<i8>| codes.chunks(b.kept()).map(|c| i32::from(c[b.kept() - 1])).max().unwrap();
        let (usual, odd) = (last(b.codes(&cells(draw(0.0)), 0)), last(b.codes(&cells(draw(1.5)), 0)));
        assert!(odd > 3 * usual.max(5), "{usual} {odd}");
    }
}
