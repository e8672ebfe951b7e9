//! Places of the open metal that are far darker or brighter than the metal all around them, and larger than what is looked for as a pit: holes,
//! glue, burns. The neighbourhoods that pits and stains are held against are smaller than such a place, which so becomes its own measure.

use super::stones::part;
use super::{Feature, Scene};
use crate::report::FindingType;
use crate::vision::{ops, Mask, VisionError};

/// The metal is looked at in cells as wide as this, in mm.
const CELL_MM: f64 = 0.1;
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
/// Cells from its edge at which the metal around it begins and ends.
const RING: [i64; 2] = [2, 3];

/// What it may be.
const WHAT: &str = "a hole, or something that lies on it";

/// Such a place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Island {
    /// Centre in pixels of the frame.
    x: f64,
    y: f64,
    /// Of a disc of its area, in pixels.
    radius: f64,
    /// Brightness over that of the metal about it.
    level: f64,
}

/// The places of a frame as features that no limit decides, and what a person should know of them; none where there are none.
/// known: what other inspectors say of the surface; a place on which one of these lies is theirs.
///
/// # Errors
/// Where OpenCV refuses.
pub fn seen(scene: &Scene, known: &[Feature]) -> Result<Option<(Vec<Feature>, String)>, VisionError> {
    let Some(mm) = scene.mm_per_px() else { return Ok(None) };
    let all = islands(&scene.grey().data, scene.bare_metal, mm)?;
    let theirs = |i: &Island| {
        known.iter().any(|f| {
            let counts = f.kind.is_some_and(|k| k != FindingType::Anomaly);
            counts && (f.x_px - i.x).hypot(f.y_px - i.y) < i.radius && f.radius_px > 0.5 * i.radius
        })
    };
    let mut features = Vec::new();
    let mut words = Vec::new();
    for (n, i) in all.into_iter().filter(|i| !theirs(i)).enumerate() {
        let mut feature = part(&format!("place-{}", n + 1), [i.x, i.y], i.radius);
        feature.kind = Some(FindingType::Anomaly);
        feature.found_by = vec!["islands".to_owned()];
        feature.nominal = false;
        feature.doubt = Some(WHAT.to_owned());
        features.push(feature);
        let at = scene.located.pose.to_mm(i.x, i.y);
        let what = if i.level < 1.0 { "dark" } else { "bright" };
        words.push(format!(
            "{:.1} mm at ({:.2}, {:.2}) mm ({what}, {:.0} % of the metal about it)",
            2.0 * i.radius * mm,
            at[0],
            at[1],
            100.0 * i.level
        ));
    }
    let text = || format!("a place stands out of the metal about it: {}: {WHAT}", words.join(", "));
    Ok((!features.is_empty()).then(|| (features, text())))
}

fn islands(grey: &[f32], bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    let f = (CELL_MM / mm_per_px).round().max(1.0) as usize;
    let (w, h) = (bare.width / f, bare.height / f);
    let cell_mm = f as f64 * mm_per_px;
    let mut cells = vec![f32::NAN; w * h];
    for (i, cell) in cells.iter_mut().enumerate() {
        let (mut sum, mut n) = (0.0, 0usize);
        for y in (i / w * f)..(i / w + 1) * f {
            for x in (i % w * f)..(i % w + 1) * f {
                if bare.at(x, y) {
                    sum += grey[y * bare.width + x];
                    n += 1;
                }
            }
        }
        if 2 * n > f * f {
            *cell = sum / n as f32;
        }
    }
    let reach = (ABOUT_MM / cell_mm).round().max(1.0) as usize;
    // The metal about a cell changes slowly: every second cell is asked, and of those about it every second counts.
    let about = |x: usize, y: usize| -> Option<f64> {
        let span = |c: usize, n: usize| (c.saturating_sub(reach)..(c + reach + 1).min(n)).step_by(2);
        let mut near: Vec<f32> = span(y, h)
            .flat_map(|v| span(x, w).map(move |u| v * w + u))
            .map(|i| cells[i])
            .filter(|v| !v.is_nan())
            .collect();
        (near.len() >= LEAST_CELLS).then(|| f64::from(ops::median(&mut near)).max(8.0))
    };
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let levels: Vec<Option<f64>> =
        (0..cw * ch).map(|i| about((2 * (i % cw)).min(w - 1), (2 * (i / cw)).min(h - 1))).collect();
    let ratio = |i: usize| -> Option<f64> {
        let level = levels[i / w / 2 * cw + i % w / 2]?;
        (!cells[i].is_nan()).then(|| f64::from(cells[i]) / level)
    };
    let ratios: Vec<Option<f64>> = (0..w * h).map(ratio).collect();
    let mut out = Vec::new();
    for dark in [true, false] {
        let stands = |r: &Option<f64>| r.is_some_and(|r| if dark { r < DARK } else { r > BRIGHT });
        let mask =
            Mask { width: w, height: h, data: ratios.iter().map(|r| if stands(r) { 255 } else { 0 }).collect() };
        let (blobs, labels) = ops::components(&mask)?;
        for b in blobs {
            let box_ = b.bounds;
            let (bw, bh) = (box_.width as f64, box_.height as f64);
            let diameter = 2.0 * (b.area as f64 / std::f64::consts::PI).sqrt() * cell_mm;
            if !(LEAST_MM..=MOST_MM).contains(&diameter)
                || bw.max(bh) > LONGEST * bw.min(bh)
                || (b.area as f64) < LEAST_FILLED * bw * bh
            {
                continue;
            }
            let own = |x: i64, y: i64| {
                x >= 0 && y >= 0 && x < w as i64 && y < h as i64 && labels[y as usize * w + x as usize] == b.label
            };
            let (mut ring, mut open) = (0usize, Vec::new());
            let [from, to] = RING;
            for y in box_.y as i64 - to..(box_.y + box_.height) as i64 + to {
                for x in box_.x as i64 - to..(box_.x + box_.width) as i64 + to {
                    let within = |d: i64| (-d..=d).any(|v| (-d..=d).any(|u| own(x + u, y + v)));
                    if within(to) && !within(from - 1) {
                        ring += 1;
                        let inside = x >= 0 && y >= 0 && x < w as i64 && y < h as i64;
                        open.extend(inside.then(|| ratios[y as usize * w + x as usize]).flatten());
                    }
                }
            }
            if (open.len() as f64) < CLOSED * ring as f64 {
                continue;
            }
            let mut level: Vec<f32> =
                (0..w * h).filter(|i| labels[*i] == b.label).filter_map(|i| ratios[i]).map(|v| v as f32).collect();
            let mut around: Vec<f32> = open.iter().map(|v| *v as f32).collect();
            let level = f64::from(ops::median(&mut level) / ops::median(&mut around).max(0.05));
            // Against the ring itself too: a place in a shadow's edge is none.
            if if dark { level < DARK } else { level > BRIGHT } {
                let full = |v: f64| (v + 0.5) * f as f64 - 0.5;
                out.push(Island { x: full(b.x), y: full(b.y), radius: diameter / 2.0 / mm_per_px, level });
            }
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
        for (diameter_mm, times) in [(0.6, 0.2), (1.0, 0.4), (1.4, 0.2), (0.8, 1.3), (1.4, 1.25)] {
            let all = found([200.0, 150.0], diameter_mm / 0.024, times);
            assert_eq!(all.len(), 1, "{diameter_mm} {times}");
            assert!(
                (all[0].x - 200.0).hypot(all[0].y - 150.0) < 5.0 && (all[0].level - f64::from(times)).abs() < 0.1,
                "{all:?}"
            );
            assert!((2.0 * 0.012 * all[0].radius - diameter_mm).abs() < 0.15, "{all:?}");
        }
        // Too faint, too small, cut off by the frame, and none.
        assert!(found([200.0, 150.0], 40.0, 0.9).is_empty() && found([200.0, 150.0], 10.0, 0.2).is_empty());
        assert!(found([10.0, 150.0], 40.0, 0.2).is_empty() && found([200.0, 150.0], 0.0, 1.0).is_empty());
    }
}
