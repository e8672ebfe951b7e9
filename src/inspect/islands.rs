//! Places of the open metal that are far darker or brighter than the metal all around them, or of another colour than the rest of it, and larger
//! than what is looked for as a pit or a stain: holes, glue, burns, tarnish. The neighbourhoods that pits and stains are held against are smaller
//! than such a place, which so becomes its own measure.

use super::stones::part;
use super::{Feature, Scene};
use crate::report::FindingType;
use crate::vision::{ops, Image, Mask, VisionError};

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
const WHAT_TINT: &str = "tarnish, a residue, or a plating that is worn off";

/// A place is of another colour where its channels' ratios differ from the metal's median by this share (the just visible difference of two
/// colours side by side is about a tenth of that), and by so many deviations of the metal's own.
const TINT: f64 = 0.06;
const TINT_DEVIATIONS: f64 = 4.0;
/// Cells darker than this, in grey levels, say little of their colour; and those of which so much has a channel at its end.
const TINT_DARKEST: f32 = 25.0;
const TINT_ENDED: f32 = 0.3;
/// The smallest such place in mm; how much of its box is filled, how much longer than wide it is at most, and the share of the cells around it that are
/// open metal of the usual colour: a stone's light and a second reflection lie along stones, prongs and edges.
const TINT_LEAST_MM: f64 = 0.5;
const TINT_FILLED: f64 = 0.45;
const TINT_LONGEST: f64 = 3.0;
const TINT_CLOSED: f64 = 0.75;
/// One that fills its box as a disc does may lie against a stone or an edge.
const TINT_FULL: (f64, f64, f64) = (0.7, 2.0, 0.6);
/// What the map takes for a mark by this share is one: light that met the metal twice fills its letters.
const TINT_MARK: f64 = 0.25;
/// A channel at its end says nothing of the colour.
const ENDED: u8 = 250;
/// The fewest cells that tell what colour the metal has.
const TINT_CELLS: usize = 100;

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
    /// By what share its colour is another; none of what is only darker or brighter.
    tint: Option<f64>,
}

/// The places of a frame as features that no limit decides, and what a person should know of them; none where there are none.
/// known: what other inspectors say of the surface; a place on which one of these lies is theirs.
///
/// # Errors
/// Where OpenCV refuses.
pub fn seen(scene: &Scene, known: &[Feature]) -> Result<Option<(Vec<Feature>, String)>, VisionError> {
    let Some(mm) = scene.mm_per_px() else { return Ok(None) };
    let mut all = islands(&scene.grey().data, scene.bare_metal, mm)?;
    // Where five by five points within it show a mark on average. A soft stain looks like one to the map, so only where one is ordered.
    let marked = !super::hallmark::ordered(scene.spec, scene.view).is_empty();
    let is_mark = |t: &Island| {
        if !marked {
            return false;
        }
        let Some((map, c)) = scene.classes.and_then(|map| Some((map, map.class("mark")?))) else { return false };
        let off = |k: i32| 0.4 * t.radius * f64::from(k - 2);
        let shares = (0..25).map(|i| f64::from(map.sample(c, t.x + off(i % 5), t.y + off(i / 5))));
        shares.sum::<f64>() > 25.0 * TINT_MARK
    };
    for t in tints(scene.image, scene.bare_metal, mm)?.into_iter().filter(|t| !is_mark(t)) {
        if !all.iter().any(|i| (i.x - t.x).hypot(i.y - t.y) < i.radius.max(t.radius)) {
            all.push(t);
        }
    }
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
        feature.doubt = Some(if i.tint.is_some() { WHAT_TINT } else { WHAT }.to_owned());
        features.push(feature);
        let at = scene.located.pose.to_mm(i.x, i.y);
        let what = match i.tint {
            Some(t) => format!("of another colour, by {:.0} %: {WHAT_TINT}", 100.0 * t),
            None => {
                let what = if i.level < 1.0 { "dark" } else { "bright" };
                format!("{what}, {:.0} % of the metal about it: {WHAT}", 100.0 * i.level)
            }
        };
        words.push(format!("{:.1} mm at ({:.2}, {:.2}) mm ({what})", 2.0 * i.radius * mm, at[0], at[1]));
    }
    let text = || format!("a place stands out of the metal about it: {}", words.join(", "));
    Ok((!features.is_empty()).then(|| (features, text())))
}

/// The frame in cells of about [`CELL_MM`].
struct Cells {
    width: usize,
    height: usize,
    /// Pixels to a cell.
    side: usize,
    mm: f64,
}

impl Cells {
    fn of(bare: &Mask, mm_per_px: f64) -> Self {
        let side = (CELL_MM / mm_per_px).round().max(1.0) as usize;
        Cells { width: bare.width / side, height: bare.height / side, side, mm: side as f64 * mm_per_px }
    }

    /// The pixels of a cell that show bare metal.
    fn bare<'a>(&self, i: usize, bare: &'a Mask) -> impl Iterator<Item = usize> + 'a {
        let (x0, y0, f) = (i % self.width * self.side, i / self.width * self.side, self.side);
        (y0..y0 + f)
            .flat_map(move |y| (x0..x0 + f).map(move |x| (x, y)))
            .filter(|(x, y)| bare.at(*x, *y))
            .map(|(x, y)| y * bare.width + x)
    }

    /// The middle of a blob in pixels of the frame.
    fn full(&self, v: f64) -> f64 {
        (v + 0.5) * self.side as f64 - 0.5
    }

    /// The cells around a blob, and how many more lie outside the frame.
    fn around(&self, labels: &[i32], blob: &ops::Blob) -> (Vec<usize>, usize) {
        let (w, h) = (self.width as i64, self.height as i64);
        let own = |x: i64, y: i64| x >= 0 && y >= 0 && x < w && y < h && labels[(y * w + x) as usize] == blob.label;
        let (mut ring, mut outside) = (Vec::new(), 0);
        let [from, to] = RING;
        let b = blob.bounds;
        for y in b.y as i64 - to..(b.y + b.height) as i64 + to {
            for x in b.x as i64 - to..(b.x + b.width) as i64 + to {
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

/// Places of another colour than the piece's metal has: that of one piece is the same all over, but for second reflections and stones' light.
fn tints(image: &Image, bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    if image.grey {
        return Ok(vec![]);
    }
    let cells = Cells::of(bare, mm_per_px);
    // The ratios of red and of blue to green, as logarithms.
    let colour = |i: usize| -> Option<[f32; 2]> {
        let (mut sum, mut n, mut ended) = ([0.0f32; 3], 0usize, 0usize);
        for p in cells.bare(i, bare) {
            let rgb = &image.data[3 * p..3 * p + 3];
            sum.iter_mut().zip(rgb).for_each(|(s, v)| *s += f32::from(*v));
            ended += usize::from(rgb.iter().any(|v| *v >= ENDED));
            n += 1;
        }
        let [r, g, b] = sum.map(|s| s / n.max(1) as f32);
        let tells = 10 * n > 7 * cells.side * cells.side && ended as f32 <= TINT_ENDED * n as f32;
        (tells && r + g + b > 3.0 * TINT_DARKEST).then(|| [(r / g.max(1.0)).ln(), (b.max(1.0) / g.max(1.0)).ln()])
    };
    let colours: Vec<Option<[f32; 2]>> = (0..cells.width * cells.height).map(colour).collect();
    let known: Vec<[f32; 2]> = colours.iter().flatten().copied().collect();
    if known.len() < TINT_CELLS {
        return Ok(vec![]);
    }
    let usual = [0, 1].map(|k| ops::median(&mut known.iter().map(|c| c[k]).collect::<Vec<_>>()));
    let spread =
        [0, 1].map(|k| 1.4826 * ops::median(&mut known.iter().map(|c| (c[k] - usual[k]).abs()).collect::<Vec<_>>()));
    let least = TINT.max(TINT_DEVIATIONS * f64::from(spread[0].hypot(spread[1])));
    let shift = |i: usize| colours[i].map(|c| f64::from((c[0] - usual[0]).hypot(c[1] - usual[1])));
    let off: Vec<u8> =
        (0..colours.len()).map(|i| if shift(i).is_some_and(|s| s > least) { 255 } else { 0 }).collect();
    let (blobs, labels) = ops::components(&Mask { width: cells.width, height: cells.height, data: off })?;
    let mut out = Vec::new();
    for b in blobs {
        let (bw, bh) = (b.bounds.width as f64, b.bounds.height as f64);
        let diameter = 2.0 * (b.area as f64 / std::f64::consts::PI).sqrt() * cells.mm;
        if diameter < TINT_LEAST_MM
            || bw.max(bh) > TINT_LONGEST * bw.min(bh)
            || (b.area as f64) < TINT_FILLED * bw * bh
        {
            continue;
        }
        let (ring, outside) = cells.around(&labels, &b);
        let usual = ring.iter().filter(|i| shift(**i).is_some_and(|s| s <= least)).count();
        let full = (b.area as f64) >= TINT_FULL.0 * bw * bh && bw.max(bh) <= TINT_FULL.1 * bw.min(bh);
        let closed = if full { TINT_FULL.2 } else { TINT_CLOSED };
        if (usual as f64) < closed * (ring.len() + outside) as f64 {
            continue;
        }
        let mut own: Vec<f32> =
            (0..labels.len()).filter(|i| labels[*i] == b.label).filter_map(shift).map(|s| s as f32).collect();
        out.push(Island {
            x: cells.full(b.x),
            y: cells.full(b.y),
            radius: diameter / 2.0 / mm_per_px,
            level: 1.0,
            tint: Some(f64::from(ops::median(&mut own))),
        });
    }
    Ok(out)
}

fn islands(grey: &[f32], bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    let of = Cells::of(bare, mm_per_px);
    let (w, h, f, cell_mm) = (of.width, of.height, of.side, of.mm);
    let mut cells = vec![f32::NAN; w * h];
    for (i, cell) in cells.iter_mut().enumerate() {
        let (mut sum, mut n) = (0.0, 0usize);
        for p in of.bare(i, bare) {
            sum += grey[p];
            n += 1;
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
            let (ring, outside) = of.around(&labels, &b);
            let open: Vec<f64> = ring.iter().filter_map(|i| ratios[*i]).collect();
            if (open.len() as f64) < CLOSED * (ring.len() + outside) as f64 {
                continue;
            }
            let mut level: Vec<f32> =
                (0..w * h).filter(|i| labels[*i] == b.label).filter_map(|i| ratios[i]).map(|v| v as f32).collect();
            let mut around: Vec<f32> = open.iter().map(|v| *v as f32).collect();
            let level = f64::from(ops::median(&mut level) / ops::median(&mut around).max(0.05));
            // Against the ring itself too: a place in a shadow's edge is none.
            if if dark { level < DARK } else { level > BRIGHT } {
                let radius = diameter / 2.0 / mm_per_px;
                out.push(Island { x: of.full(b.x), y: of.full(b.y), radius, level, tint: None });
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
    fn another_colour_is_told_where_metal_lies_all_about_it() {
        let bare = Mask { width: 400, height: 300, data: vec![255; 400 * 300] };
        let mut rng = fastrand::Rng::with_seed(5);
        let mut found = |at: [f64; 2], radius: f64, times: [f64; 3]| {
            let mut data = Vec::new();
            for i in 0..400 * 300 {
                let (x, y) = ((i % 400) as f64, (i / 400) as f64);
                // A soft border, metal that falls off, and noise.
                let in_it = (radius - (x - at[0]).hypot(y - at[1]) + 10.0).clamp(0.0, 20.0) / 20.0;
                for (gold, t) in [210.0, 180.0, 110.0].iter().zip(times) {
                    let v = gold * (1.0 - 0.001 * x) * (1.0 + in_it * (t - 1.0)) + 6.0 * (rng.f64() - 0.5);
                    data.push(v.round() as u8);
                }
            }
            tints(&Image { width: 400, height: 300, data, grey: false }, &bare, 0.012).unwrap()
        };
        let stain = found([200.0, 150.0], 60.0, [0.82, 0.74, 0.62]);
        assert_eq!(stain.len(), 1);
        assert!((stain[0].x - 200.0).hypot(stain[0].y - 150.0) < 5.0, "{stain:?}");
        assert!(
            (stain[0].tint.unwrap() - 0.204).abs() < 0.03 && (2.0 * 0.012 * stain[0].radius - 1.44).abs() < 0.2,
            "{stain:?}"
        );
        // Darker alone, too small.
        assert!(found([200.0, 150.0], 60.0, [0.7; 3]).is_empty());
        assert!(found([200.0, 150.0], 12.0, [0.82, 0.74, 0.62]).is_empty());
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
