//! A model's answer for one picture.

use crate::vision::{bilinear, Plane};

/// Class probabilities of a picture on a grid of every `stride`-th pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMap {
    /// Width of the picture in pixels.
    pub width: usize,
    /// Height of the picture in pixels.
    pub height: usize,
    /// Pixels per grid cell along each side; cell k covers the pixels `k * stride .. (k + 1) * stride`.
    pub stride: usize,
    /// Names of the classes, those of a sound piece first.
    pub classes: Vec<String>,
    /// How many of the classes are sound.
    pub sound: usize,
    /// One plane of [`ClassMap::grid`] cells per class, row by row, 0 to 1. Where no tile was run the first is 1.
    pub probs: Vec<f32>,
}

impl ClassMap {
    /// A map that says the first class everywhere.
    pub(super) fn good(width: usize, height: usize, stride: usize, classes: &[String], sound: usize) -> Self {
        let cells = width.div_ceil(stride) * height.div_ceil(stride);
        let mut probs = vec![0.0; cells * classes.len()];
        probs[..cells].fill(1.0);
        ClassMap { width, height, stride, classes: classes.to_vec(), sound, probs }
    }

    /// Cells of the grid: width, height.
    pub fn grid(&self) -> (usize, usize) {
        (self.width.div_ceil(self.stride), self.height.div_ceil(self.stride))
    }

    /// The probabilities of one class on the grid.
    pub fn cells(&self, class: usize) -> &[f32] {
        let (w, h) = self.grid();
        &self.probs[class * w * h..(class + 1) * w * h]
    }

    /// The index of a class of this name.
    pub fn class(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|c| c == name)
    }

    /// The probability of one class at a pixel of the picture (of its cell, not interpolated).
    pub fn at(&self, class: usize, x: usize, y: usize) -> f32 {
        let (w, _) = self.grid();
        self.cells(class)[y / self.stride * w + x / self.stride]
    }

    /// The probability of one class at a place of the picture, between the middles of the cells.
    pub fn sample(&self, class: usize, x: f64, y: f64) -> f32 {
        let (w, h) = self.grid();
        let cells = self.cells(class);
        let [u, v] = [x, y].map(|p| (p + 0.5) / self.stride as f64 - 0.5);
        let [p] = bilinear([w, h], u, v, |x, y| [cells[y * w + x]]);
        p
    }

    /// The probability of any defect on the grid: what the sound classes leave.
    pub fn defect_cells(&self) -> Vec<f32> {
        let mut defect: Vec<f32> = self.cells(0).iter().map(|p| 1.0 - p).collect();
        for class in 1..self.sound {
            for (d, p) in defect.iter_mut().zip(self.cells(class)) {
                *d -= p;
            }
        }
        for d in &mut defect {
            *d = d.clamp(0.0, 1.0);
        }
        defect
    }

    /// The probability of any defect at the picture's resolution.
    pub fn defect_plane(&self) -> Plane {
        let (w, h) = self.grid();
        upsample(&self.defect_cells(), w, h, self.stride, self.width, self.height)
    }

    /// The probability of one class at the picture's resolution.
    pub fn class_plane(&self, class: usize) -> Plane {
        let (w, h) = self.grid();
        upsample(self.cells(class), w, h, self.stride, self.width, self.height)
    }
}

/// Bilinear between the centres of the cells (cell k: pixel `k * stride + (stride - 1) / 2`), constant beyond the
/// outermost centres.
fn upsample(cells: &[f32], gw: usize, gh: usize, stride: usize, width: usize, height: usize) -> Plane {
    if stride == 1 {
        return Plane { width, height, data: cells.to_vec() };
    }
    let (columns, rows) = (taps(width, gw, stride), taps(height, gh, stride));
    let mut data = Vec::with_capacity(width * height);
    let mut mixed = vec![0.0f32; gw];
    for &(a, b, f) in &rows {
        let (top, low) = (&cells[a * gw..(a + 1) * gw], &cells[b * gw..(b + 1) * gw]);
        for ((m, t), l) in mixed.iter_mut().zip(top).zip(low) {
            *m = t + (l - t) * f;
        }
        data.extend(columns.iter().map(|&(a, b, f)| mixed[a] + (mixed[b] - mixed[a]) * f));
    }
    Plane { width, height, data }
}

/// For every pixel of an axis the two cells it lies between and the share of the second.
fn taps(len: usize, cells: usize, stride: usize) -> Vec<(usize, usize, f32)> {
    let s = stride as f32;
    (0..len)
        .map(|i| {
            let at = ((i as f32 - (s - 1.0) / 2.0) / s).clamp(0.0, (cells - 1) as f32);
            let a = at as usize;
            (a, (a + 1).min(cells - 1), at - a as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_a_ramp_and_keeps_its_place() {
        for stride in [2, 4, 8] {
            let (w, h) = (67, 33);
            let mut map = ClassMap::good(w, h, stride, &["good".into(), "bad".into()], 1);
            let (gw, gh) = map.grid();
            for y in 0..gh {
                for x in 0..gw {
                    let centre = |k: usize| k as f32 * stride as f32 + (stride as f32 - 1.0) / 2.0;
                    map.probs[y * gw + x] = 1.0 - (0.01 * centre(x) + 0.002 * centre(y));
                }
            }
            let p = map.defect_plane();
            let inner = stride..;
            for y in inner.clone().take(h - 3 * stride) {
                for x in inner.clone().take(w - 3 * stride) {
                    assert!((p.at(x, y) - (0.01 * x as f32 + 0.002 * y as f32)).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn an_untouched_map_is_good() {
        let map = ClassMap::good(10, 7, 4, &["good".into(), "bad".into()], 1);
        assert_eq!(map.grid(), (3, 2));
        assert!(map.defect_plane().data.iter().all(|v| *v == 0.0));
        assert_eq!(map.class_plane(0).data.len(), 70);
        assert_eq!((map.at(0, 9, 6), map.at(1, 9, 6)), (1.0, 0.0));
    }
}
