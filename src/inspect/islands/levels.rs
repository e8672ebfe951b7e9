//! Places that are darker or brighter than the metal about them, and pairs of such places.

use super::cells::{is_compact, Cells};
use super::{Island, What, CELL_MM};
use crate::vision::{ops, Mask, VisionError};

/// How far about a cell the metal is that it is held against, in mm, and the fewest cells of it.
const ABOUT_MM: f64 = 1.2;
const LEAST_CELLS: usize = 30;
/// A place is as dark or as bright as this, over the median of the metal about it.
const DARK: f64 = 0.65;
const BRIGHT: f64 = 1.18;
/// The smallest and the largest diameter of such a place, in mm: a smaller one is a pit or a spot, a larger one a reflection or the piece's form.
const LEAST_MM: f64 = 0.45;
const MOST_MM: f64 = 2.4;
/// At most this many times longer than wide; at least this share of its box is filled.
const LONGEST: f64 = 2.0;
const LEAST_FILLED: f64 = 0.5;
/// The share of the cells around it that are open metal.
const CLOSED: f64 = 0.9;
/// One that is as dark as this and as compact as a disc may lie against an edge: it is a hole or dirt where the open metal around it, so much of the ring, is bright by
/// this share of its cells, each by this level.
const BLACK: f64 = 0.4;
const BLACK_FORM: (f64, f64) = (0.6, 1.6);
const BLACK_OPEN: f64 = 0.45;
const BLACK_BRIGHT: (f64, f64) = (0.85, 0.75);

/// The flanks of a dent are darker and brighter than the metal about it by this share, and by so many standard deviations of that metal.
const DENT: f64 = 0.06;
const DENT_SCATTERS: f64 = 2.5;
/// The smallest and the largest diameter of a flank in mm; how much of its box it fills and how much longer than wide it is at most.
const DENT_MM: (f64, f64) = (0.25, 1.6);
const DENT_FILLED: f64 = 0.4;
const DENT_LONGEST: f64 = 2.5;
/// How much larger one flank is than the other at most; how far apart they lie at most, in their mean diameters, beside two cells.
const DENT_UNLIKE: f64 = 1.8;
const DENT_APART: f64 = 1.1;
/// The share of the cells around both that are open and even metal.
const DENT_CLOSED: f64 = 0.8;

/// Places that are far darker or brighter than the metal about them, and dents.
///
/// # Errors
/// Where OpenCV refuses.
pub fn islands(grey: &[f32], bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    let of = Cells::of(bare, mm_per_px, CELL_MM);
    let (w, h) = (of.width, of.height);
    let cells = of.means(grey, bare);
    let reach = (ABOUT_MM / of.mm).round().max(1.0) as usize;
    // The metal about a cell changes slowly: every second cell is asked, and of those about it every second counts.
    let about = |x: usize, y: usize| -> Option<f64> {
        let span = |c: usize, n: usize| (c.saturating_sub(reach)..(c + reach + 1).min(n)).step_by(2);
        let mut near: Vec<f32> =
            span(y, h).flat_map(|v| span(x, w).map(move |u| v * w + u)).filter_map(|i| cells[i]).collect();
        (near.len() >= LEAST_CELLS).then(|| f64::from(ops::median(&mut near)).max(8.0))
    };
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let levels: Vec<Option<f64>> =
        (0..cw * ch).map(|i| about((2 * (i % cw)).min(w - 1), (2 * (i / cw)).min(h - 1))).collect();
    let ratio = |i: usize| -> Option<f64> {
        let level = levels[i / w / 2 * cw + i % w / 2]?;
        cells[i].map(|v| f64::from(v) / level)
    };
    let ratios: Vec<Option<f64>> = (0..w * h).map(ratio).collect();
    let mut out = dents(&of, &ratios)?;
    for dark in [true, false] {
        let stands = |r: f64| if dark { r < DARK } else { r > BRIGHT };
        let (blobs, labels) = of.connected(|i| ratios[i].is_some_and(stands))?;
        for b in blobs {
            let diameter = of.diameter(b.area);
            if !(LEAST_MM..=MOST_MM).contains(&diameter) || !is_compact(&b, LEAST_FILLED, LONGEST) {
                continue;
            }
            let (ring, outside) = of.around(&labels, &[&b]);
            let open: Vec<f64> = ring.iter().filter_map(|i| ratios[*i]).collect();
            let share = open.len() as f64 / (ring.len() + outside).max(1) as f64;
            let bright = open.iter().filter(|r| **r >= BLACK_BRIGHT.1).count() as f64 / open.len().max(1) as f64;
            let black = of.median(&labels, &b, |i| ratios[i]) < BLACK;
            let at_edge = black
                && is_compact(&b, BLACK_FORM.0, BLACK_FORM.1)
                && share >= BLACK_OPEN
                && bright >= BLACK_BRIGHT.0;
            if share < CLOSED && !at_edge {
                continue;
            }
            let mut around: Vec<f32> = open.iter().map(|v| *v as f32).collect();
            let level = of.median(&labels, &b, |i| ratios[i]) / f64::from(ops::median(&mut around)).max(0.05);
            // Against the ring itself too: a place in a shadow's edge is none.
            if stands(level) {
                let radius = diameter / 2.0 / mm_per_px;
                out.push(Island {
                    x: of.full(b.x),
                    y: of.full(b.y),
                    radius,
                    outline: vec![],
                    what: What::Level(level),
                });
            }
        }
    }
    Ok(out)
}

/// Dents and bumps: lamps stand somewhere, so one flank of them is darker and the other brighter than the metal about both.
fn dents(of: &Cells, ratios: &[Option<f64>]) -> Result<Vec<Island>, VisionError> {
    let plain = |r: f64| (r - 1.0).abs() < DENT;
    let (mut blobs, mut labels) = of.connected(|i| ratios[i].is_some_and(|r| r <= 1.0 - DENT))?;
    let (bright, of_bright) = of.connected(|i| ratios[i].is_some_and(|r| r >= 1.0 + DENT))?;
    // One picture of labels for both.
    let dark = blobs.len() as i32;
    for (l, b) in labels.iter_mut().zip(&of_bright).filter(|(_, b)| **b != 0) {
        *l = dark + b;
    }
    blobs.extend(bright.into_iter().map(|b| ops::Blob { label: dark + b.label, ..b }));
    blobs.retain(|b| {
        (DENT_MM.0..=DENT_MM.1).contains(&of.diameter(b.area)) && is_compact(b, DENT_FILLED, DENT_LONGEST)
    });
    let (dark, bright): (Vec<&ops::Blob>, Vec<&ops::Blob>) = blobs.iter().partition(|b| b.label <= dark);
    let mut out = Vec::new();
    for (p, q) in dark.iter().flat_map(|p| bright.iter().map(move |q| (*p, *q))) {
        let [a, b] = [p, q].map(|b| of.diameter(b.area));
        let apart = (p.x - q.x).hypot(p.y - q.y) * of.mm;
        if a.max(b) > DENT_UNLIKE * a.min(b) || apart > DENT_APART * (a + b) / 2.0 + 2.0 * of.mm {
            continue;
        }
        let (ring, outside) = of.around(&labels, &[p, q]);
        let about: Vec<f64> = ring.iter().filter_map(|i| ratios[*i]).collect();
        let even = about.iter().filter(|r| plain(**r)).count() as f64;
        if even < DENT_CLOSED * (ring.len() + outside) as f64 {
            continue;
        }
        let n = about.len() as f64;
        let mean = about.iter().sum::<f64>() / n;
        let scatter = (about.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n).sqrt();
        let [low, high] = [p, q].map(|b| of.median(&labels, b, |i| ratios[i]));
        if (1.0 - low).min(high - 1.0) > DENT_SCATTERS * scatter {
            let radius = of.diameter(p.area + q.area) / 2.0 / of.mm * of.side as f64;
            let [x, y] = [(p.x + q.x) / 2.0, (p.y + q.y) / 2.0].map(|v| of.full(v));
            out.push(Island { x, y, radius, outline: vec![], what: What::Dent { low, high } });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metal that falls off to the right, with a disc of another brightness.
    fn metal(at: [f64; 2], radius: f64, times: f32) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut level = |x: usize, y: usize| {
            let own = if (x as f64 - at[0]).hypot(y as f64 - at[1]) < radius { times } else { 1.0 };
            own * (160.0 - 0.1 * x as f32) + 4.0 * (rng.f32() - 0.5)
        };
        (0..400 * 300).map(|i| level(i % 400, i / 400)).collect()
    }

    #[test]
    fn holes_and_patches_stand_out_and_fall_off_does_not() {
        let bare = Mask { width: 400, height: 300, data: vec![255; 400 * 300] };
        let found = |at, radius, times| islands(&metal(at, radius, times), &bare, 0.012).unwrap();
        let level = |i: &Island| if let What::Level(l) = i.what { l } else { 0.0 };
        for (diameter_mm, times) in [(0.6, 0.2), (1.0, 0.4), (1.4, 0.2), (0.8, 1.3), (1.4, 1.25)] {
            let all = found([200.0, 150.0], diameter_mm / 0.024, times);
            assert_eq!(all.len(), 1, "{diameter_mm} {times}");
            assert!(
                (all[0].x - 200.0).hypot(all[0].y - 150.0) < 5.0 && (level(&all[0]) - f64::from(times)).abs() < 0.1,
                "{all:?}"
            );
            assert!((2.0 * 0.012 * all[0].radius - diameter_mm).abs() < 0.15, "{all:?}");
        }
        // A black one against an edge of the metal; half as dark it may be the edge's own shade.
        let cut =
            Mask { data: (0..400 * 300).map(|i| if i % 400 > 170 { 255 } else { 0 }).collect(), ..bare.clone() };
        let at_edge = |times| islands(&metal([200.0, 150.0], 22.0, times), &cut, 0.012).unwrap().len();
        assert_eq!([at_edge(0.15), at_edge(0.55)], [1, 0]);
        // Too faint, too small, cut off by the frame, and none.
        assert!(found([200.0, 150.0], 40.0, 0.9).is_empty() && found([200.0, 150.0], 10.0, 0.2).is_empty());
        assert!(found([10.0, 150.0], 40.0, 0.2).is_empty() && found([200.0, 150.0], 0.0, 1.0).is_empty());
    }

    #[test]
    fn a_dark_and_a_bright_flank_are_a_dent() {
        let bare = Mask { width: 400, height: 300, data: vec![255; 400 * 300] };
        // Shading as of a dent of so many pixels, by this share at most; of its bright flank this share.
        let found = |reach: f64, by: f64, bright: f64| {
            let mut grey = metal([0.0, 0.0], 0.0, 1.0);
            for (i, v) in grey.iter_mut().enumerate() {
                let (x, y) = ((i % 400) as f64 - 200.0, (i / 400) as f64 - 150.0);
                let slope = (x + y) / reach * (0.5 - (x * x + y * y) / (2.0 * reach * reach)).exp() / 2f64.sqrt();
                *v *= (1.0 + by * if slope > 0.0 { bright * slope } else { slope }) as f32;
            }
            islands(&grey, &bare, 0.012).unwrap()
        };
        for (reach, by) in [(15.0, 0.15), (30.0, 0.15), (30.0, 0.25)] {
            let all = found(reach, by, 1.0);
            let dent = all.iter().find(|i| matches!(i.what, What::Dent { low, high } if low < 0.93 && high > 1.07));
            assert!(dent.is_some_and(|i| (i.x - 200.0).hypot(i.y - 150.0) < 10.0), "{reach} {by}: {all:?}");
        }
        assert!(found(30.0, 0.05, 1.0).is_empty() && found(30.0, 0.15, 0.0).is_empty());
    }
}
