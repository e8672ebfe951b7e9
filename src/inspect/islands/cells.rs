//! A frame's bare metal in cells, and what lies about a blob of them.

use crate::vision::{ops, Mask, VisionError};

/// Cells from a blob's edge at which the metal around it begins and ends.
const RING: [i64; 2] = [2, 3];

/// The frame in cells.
pub struct Cells {
    /// How many in a row.
    pub width: usize,
    /// How many rows.
    pub height: usize,
    /// Pixels to a side of one.
    pub side: usize,
    /// A side in mm.
    pub mm: f64,
}

impl Cells {
    /// Cells about so wide, in mm.
    pub fn of(bare: &Mask, mm_per_px: f64, cell_mm: f64) -> Self {
        let side = (cell_mm / mm_per_px).round().max(1.0) as usize;
        Cells { width: bare.width / side, height: bare.height / side, side, mm: side as f64 * mm_per_px }
    }

    /// The pixels of a cell that show bare metal.
    pub fn bare<'a>(&self, i: usize, bare: &'a Mask) -> impl Iterator<Item = usize> + 'a {
        let (x0, y0, f) = (i % self.width * self.side, i / self.width * self.side, self.side);
        (y0..y0 + f).flat_map(move |y| {
            let from = y * bare.width + x0;
            let line = bare.data[from..from + f].iter().enumerate();
            line.filter(|(_, m)| **m != 0).map(move |(x, _)| from + x)
        })
    }

    /// The middle of a blob in pixels of the frame.
    pub fn full(&self, v: f64) -> f64 {
        (v + 0.5) * self.side as f64 - 0.5
    }

    /// The mean of a picture's bare metal cell by cell; none of a cell with less than half of it.
    pub fn means(&self, picture: &[f32], bare: &Mask) -> Vec<Option<f32>> {
        let mean = |i: usize| {
            let (mut sum, mut n) = (0.0, 0usize);
            for p in self.bare(i, bare) {
                sum += picture[p];
                n += 1;
            }
            (2 * n > self.side * self.side).then(|| sum / n as f32)
        };
        (0..self.width * self.height).map(mean).collect()
    }

    /// Every pair of cells side by side or one above the other.
    pub fn neighbours(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let all = self.width * self.height;
        let right = move |i: usize| (!(i + 1).is_multiple_of(self.width)).then_some(i + 1);
        let below = move |i: usize| (i + self.width < all).then_some(i + self.width);
        (0..all).flat_map(move |i| [right(i), below(i)].into_iter().flatten().map(move |j| (i, j)))
    }

    /// The median of what is known of a blob's cells.
    pub fn median(&self, labels: &[i32], blob: &ops::Blob, of: impl Fn(usize) -> Option<f64>) -> f64 {
        let own = (0..labels.len()).filter(|i| labels[*i] == blob.label).filter_map(of);
        f64::from(ops::median(&mut own.map(|v| v as f32).collect::<Vec<_>>()))
    }

    /// The connected cells of which something holds, and the label of each cell.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn connected(&self, holds: impl Fn(usize) -> bool) -> Result<(Vec<ops::Blob>, Vec<i32>), VisionError> {
        let data = (0..self.width * self.height).map(|i| if holds(i) { 255 } else { 0 }).collect();
        ops::components(&Mask { width: self.width, height: self.height, data })
    }

    /// The diameter in mm of a disc of so many cells.
    pub fn diameter(&self, cells: usize) -> f64 {
        2.0 * (cells as f64 / std::f64::consts::PI).sqrt() * self.mm
    }

    /// The cells around blobs, from [`RING`] cells off, and how many more lie outside the frame.
    pub fn around(&self, labels: &[i32], blobs: &[&ops::Blob]) -> (Vec<usize>, usize) {
        let (w, h) = (self.width as i64, self.height as i64);
        let is_own = |l: i32| blobs.iter().any(|b| b.label == l);
        let own = |x: i64, y: i64| x >= 0 && y >= 0 && x < w && y < h && is_own(labels[(y * w + x) as usize]);
        let (mut ring, mut outside) = (Vec::new(), 0);
        let [from, to] = RING;
        let low = |of: fn(&ops::Blob) -> usize| blobs.iter().map(|b| of(b)).min().unwrap_or(0) as i64 - to;
        let high = |of: fn(&ops::Blob) -> usize| blobs.iter().map(|b| of(b)).max().unwrap_or(0) as i64 + to;
        for y in low(|b| b.bounds.y)..high(|b| b.bounds.y + b.bounds.height) {
            for x in low(|b| b.bounds.x)..high(|b| b.bounds.x + b.bounds.width) {
                let within = |d: i64| (-d..=d).any(|v| (-d..=d).any(|u| own(x + u, y + v)));
                if within(to) && !within(from - 1) {
                    if x >= 0 && y >= 0 && x < w && y < h {
                        ring.push((y * w + x) as usize);
                    } else {
                        outside += 1;
                    }
                }
            }
        }
        (ring, outside)
    }
}

/// Whether a blob fills its box by this share and is no longer than so many times its width.
pub fn is_compact(b: &ops::Blob, filled: f64, longest: f64) -> bool {
    let (w, h) = (b.bounds.width as f64, b.bounds.height as f64);
    w.max(h) <= longest * w.min(h) && b.area as f64 >= filled * w * h
}
