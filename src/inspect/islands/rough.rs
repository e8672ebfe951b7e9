//! Places that are rougher or smoother than the rest of the metal, and metal of two finishes.

use super::cells::{is_compact, Cells};
use super::{Island, What};
use crate::inspect::metal::LocalMean;
use crate::vision::{ops, Mask, Plane, VisionError};

/// The metal is looked at in cells as wide as this, in mm: texture needs some of its grains.
const CELL_MM: f64 = 0.2;
/// How far about a pixel the metal reaches that it is held against, in mm (standard deviation).
const FINE_MM: f64 = 0.1;
/// Scatter that counts as none, as a share of the brightness.
const NONE: f64 = 0.004;
/// Fewest cells that tell.
const LEAST_CELLS: usize = 40;
/// A place is rougher or smoother by this factor, as a logarithm, and by so many deviations of the metal's own.
const ROUGH: f64 = 0.5;
const DEVIATIONS: f64 = 5.0;
/// The smallest such place in mm; how much of its box it fills, how much longer than wide it is at most, and the share of the cells around it that are open metal as rough as most.
const LEAST_MM: f64 = 0.9;
const FILLED: f64 = 0.5;
const LONGEST: f64 = 2.0;
const CLOSED: f64 = 0.9;
/// Metal has two finishes where its cells fall into two lots: one is rougher by this factor (a logarithm), which is so many times as much as both scatter together, the smaller
/// one is this share of all, and so large a share of neighbouring cells belong to the same lot.
const TWO: f64 = 0.6;
const TWO_APART: f64 = 3.5;
const TWO_LEAST: f64 = 0.15;
const TWO_ALIKE: f64 = 0.965;

/// How rough the metal is cell by cell: logarithm of its scatter over its brightness.
fn roughness(grey: &Plane, bare: &Mask, cells: &Cells, mm_per_px: f64) -> Result<Vec<Option<f64>>, VisionError> {
    let weight: Vec<f32> = bare.data.iter().map(|b| f32::from(u8::from(*b != 0))).collect();
    let weighted = grey.data.iter().zip(&weight).map(|(g, w)| g * w).collect();
    let plane = |data: Vec<f32>| Plane { width: grey.width, height: grey.height, data };
    let about = LocalMean::new(&plane(weight), FINE_MM / mm_per_px, false)?;
    let mut square = about.of(&plane(weighted))?.data;
    for (s, g) in square.iter_mut().zip(&grey.data) {
        *s = (g - *s) * (g - *s);
    }
    let (scatter, level) = (cells.means(&square, bare), cells.means(&grey.data, bare));
    let one = |(s, l): (&Option<f32>, &Option<f32>)| {
        let (s, l) = (f64::from((*s)?), f64::from((*l)?));
        Some((s.sqrt() / l.max(8.0) + NONE).ln())
    };
    Ok(scatter.iter().zip(&level).map(one).collect())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    f64::from(ops::median(&mut values.map(|v| v as f32).collect::<Vec<_>>()))
}

/// Such places of a frame.
///
/// # Errors
/// Where OpenCV refuses.
pub fn rough(grey: &Plane, bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    let cells = Cells::of(bare, mm_per_px, CELL_MM);
    let all = roughness(grey, bare, &cells, mm_per_px)?;
    let known: Vec<f64> = all.iter().flatten().copied().collect();
    if known.len() < LEAST_CELLS {
        return Ok(vec![]);
    }
    if let Some(two) = two_finishes(&cells, &all, &known) {
        return Ok(vec![two]);
    }
    let usual = median(known.iter().copied());
    let least = ROUGH.max(DEVIATIONS * 1.4826 * median(known.iter().map(|v| (v - usual).abs())));
    let mut out = Vec::new();
    for sign in [1.0, -1.0] {
        let stands = |i: usize| all[i].is_some_and(|v| sign * (v - usual) > least);
        let (blobs, labels) = cells.connected(stands)?;
        for b in blobs {
            let diameter = cells.diameter(b.area);
            if diameter < LEAST_MM || !is_compact(&b, FILLED, LONGEST) {
                continue;
            }
            let (ring, outside) = cells.around(&labels, &[&b]);
            let even = ring.iter().filter(|i| all[**i].is_some() && !stands(**i)).count() as f64;
            if even < CLOSED * (ring.len() + outside) as f64 {
                continue;
            }
            let own = cells.median(&labels, &b, |i| all[i]);
            let radius = diameter / 2.0 / mm_per_px;
            out.push(Island {
                outline: vec![],
                x: cells.full(b.x),
                y: cells.full(b.y),
                radius,
                what: What::Rough((own - usual).exp()),
            });
        }
    }
    Ok(out)
}

/// Metal that falls into two lots; its rougher one.
fn two_finishes(cells: &Cells, all: &[Option<f64>], known: &[f64]) -> Option<Island> {
    let mut sorted = known.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let total: f64 = sorted.iter().sum();
    // The border that leaves the least scatter within both (Otsu 1979).
    let (mut sum, mut best) = (0.0, (0.0, 0));
    for (k, v) in sorted.iter().enumerate().take(sorted.len() - 1) {
        sum += v;
        let a = (k + 1) as f64;
        let between = a * (n - a) * (sum / a - (total - sum) / (n - a)).powi(2);
        if between > best.0 {
            best = (between, k + 1);
        }
    }
    let (smooth, coarse) = sorted.split_at(best.1);
    let moments = |v: &[f64]| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64).sqrt())
    };
    let ((a, a_sd), (b, b_sd)) = (moments(smooth), moments(coarse));
    let least = (smooth.len().min(coarse.len())) as f64 / n;
    if best.1 == 0 || b - a < TWO || b - a < TWO_APART * a_sd.hypot(b_sd) || least < TWO_LEAST {
        return None;
    }
    let border = *smooth.last()?;
    let is_coarse = |i: usize| all[i].map(|v| v > border);
    let (mut pairs, mut alike) = (0usize, 0usize);
    for (i, j) in cells.neighbours() {
        if let (Some(p), Some(q)) = (is_coarse(i), is_coarse(j)) {
            pairs += 1;
            alike += usize::from(p == q);
        }
    }
    if (alike as f64) < TWO_ALIKE * pairs as f64 {
        return None;
    }
    let places: Vec<usize> = (0..all.len()).filter(|i| is_coarse(*i) == Some(true)).collect();
    let middle = |of: fn(usize, usize) -> usize| {
        places.iter().map(|i| of(*i, cells.width) as f64).sum::<f64>() / places.len() as f64
    };
    let radius = cells.diameter(places.len()) / 2.0 / cells.mm * cells.side as f64;
    let what = What::TwoFinishes { times: (b - a).exp(), share: coarse.len() as f64 / n };
    Some(Island {
        x: cells.full(middle(|i, w| i % w)),
        y: cells.full(middle(|i, w| i / w)),
        radius,
        outline: vec![],
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metal with noise of so many grey levels, which is rougher where `is_rough`.
    fn metal(is_rough: impl Fn(f64, f64) -> bool, by: f32) -> Vec<Island> {
        let mut rng = fastrand::Rng::with_seed(6);
        let mut level = |x: usize, y: usize| {
            let amplitude = if is_rough(x as f64, y as f64) { 8.0 * by } else { 8.0 };
            160.0 - 0.1 * x as f32 + amplitude * (rng.f32() - 0.5)
        };
        let data = (0..400 * 300).map(|i| level(i % 400, i / 400)).collect();
        let bare = Mask { width: 400, height: 300, data: vec![255; 400 * 300] };
        rough(&Plane { width: 400, height: 300, data }, &bare, 0.02).unwrap()
    }

    #[test]
    fn a_rough_patch_is_told() {
        for by in [4.0, 0.25] {
            let all = metal(|x, y| (x - 220.0).hypot(y - 140.0) < 40.0, by);
            assert_eq!(all.len(), 1, "{all:?}");
            let What::Rough(times) = all[0].what else { panic!("{all:?}") };
            assert!((times > 1.0) == (by > 1.0) && (all[0].x - 220.0).hypot(all[0].y - 140.0) < 10.0, "{all:?}");
        }
        // Too small, at the edge of the metal, and none.
        assert!(metal(|x, y| (x - 220.0).hypot(y - 140.0) < 12.0, 4.0).is_empty());
        assert!(metal(|x, y| (x - 20.0).hypot(y - 140.0) < 40.0, 4.0).is_empty());
        assert!(metal(|_, _| false, 1.0).is_empty());
    }

    #[test]
    fn half_a_piece_of_another_finish_is_told() {
        let all = metal(|x, _| x > 200.0, 5.0);
        assert!(
            matches!(all[..], [Island { what: What::TwoFinishes { times, share }, .. }] if times > 2.0 && (share - 0.5).abs() < 0.05),
            "{all:?}"
        );
        // A texture that comes and goes by and by is of one finish.
        let mut turn = 0;
        let mixed = metal(|x, y| ((x as usize / 40) + (y as usize / 40)).is_multiple_of(2), 5.0);
        turn += mixed.iter().filter(|i| matches!(i.what, What::TwoFinishes { .. })).count();
        assert_eq!(turn, 0);
    }
}
