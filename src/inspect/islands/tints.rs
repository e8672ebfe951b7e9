//! Places of another colour than the rest of the metal.

use super::cells::{is_compact, Cells};
use super::{Island, What, CELL_MM};
use crate::vision::{ops, Image, Mask, VisionError};

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
/// One that lies against an edge with the usual colour of metal on all other sides: its least size in mm, how much of its box it fills, how much longer than wide it is at most,
/// the share of the cells around it that have the usual colour, and the same share of those that are open metal.
const TINT_EDGE_MM: f64 = 0.6;
const TINT_EDGE: (f64, f64, f64, f64) = (0.55, 2.0, 0.55, 0.97);
/// Where so much of the metal is of another colour that its deviations tell nothing: so many of those from cell to cell.
const TINT_NOISE: f64 = 8.0;
/// A channel at its end says nothing of the colour.
const ENDED: u8 = 250;
/// The fewest cells that tell what colour the metal has.
const TINT_CELLS: usize = 100;

/// Places of another colour than the piece's metal has: that of one piece is the same all over, but for second reflections and stones' light.
pub fn tints(image: &Image, bare: &Mask, mm_per_px: f64) -> Result<Vec<Island>, VisionError> {
    if image.grey {
        return Ok(vec![]);
    }
    let cells = Cells::of(bare, mm_per_px, CELL_MM);
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
    let own = f64::from(spread[0].hypot(spread[1]));
    // What covers a fifth of the metal is its own spread: from cell to cell the colour changes by less.
    let steps: Vec<[f32; 2]> = cells
        .neighbours()
        .filter_map(|(i, j)| Some((colours[i]?, colours[j]?)))
        .map(|(a, b)| [a[0] - b[0], a[1] - b[1]])
        .collect();
    let step = [0, 1].map(|k| 1.4826 * ops::median(&mut steps.iter().map(|s| s[k].abs()).collect::<Vec<_>>()));
    let noise = f64::from(step[0].hypot(step[1])) / 2f64.sqrt();
    let usually = TINT.max(TINT_DEVIATIONS * own);
    let least = usually.min(TINT.max(TINT_NOISE * noise));
    let shift = |i: usize| colours[i].map(|c| f64::from((c[0] - usual[0]).hypot(c[1] - usual[1])));
    let (blobs, labels) = cells.connected(|i| shift(i).is_some_and(|s| s > least))?;
    let mut out = Vec::new();
    for b in blobs {
        let diameter = cells.diameter(b.area);
        let tint = cells.median(&labels, &b, shift);
        // What stands out of the cells' steps alone, and not of the spread of all, is no streak.
        let longest = if tint > usually { TINT_LONGEST } else { TINT_FULL.1 };
        if diameter < TINT_LEAST_MM || !is_compact(&b, TINT_FILLED, longest) {
            continue;
        }
        let (ring, outside) = cells.around(&labels, &[&b]);
        let usual = ring.iter().filter(|i| shift(**i).is_some_and(|s| s <= least)).count() as f64;
        let open = ring.iter().filter(|i| shift(**i).is_some()).count() as f64;
        let closed = usual / (ring.len() + outside) as f64;
        let at_edge = diameter >= TINT_EDGE_MM
            && is_compact(&b, TINT_EDGE.0, TINT_EDGE.1)
            && closed >= TINT_EDGE.2
            && usual >= TINT_EDGE.3 * open;
        let full = is_compact(&b, TINT_FULL.0, TINT_FULL.1);
        let surrounded = closed >= if full { TINT_FULL.2 } else { TINT_CLOSED };
        if !surrounded && !at_edge {
            continue;
        }
        let radius = diameter / 2.0 / mm_per_px;
        out.push(Island { x: cells.full(b.x), y: cells.full(b.y), radius, what: What::Tint(tint) });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let tint = |i: &Island| if let What::Tint(t) = i.what { t } else { 0.0 };
        let stain = found([200.0, 150.0], 60.0, [0.82, 0.74, 0.62]);
        assert_eq!(stain.len(), 1);
        assert!((stain[0].x - 200.0).hypot(stain[0].y - 150.0) < 5.0, "{stain:?}");
        assert!(
            (tint(&stain[0]) - 0.204).abs() < 0.03 && (2.0 * 0.012 * stain[0].radius - 1.44).abs() < 0.2,
            "{stain:?}"
        );
        // Darker alone, too small.
        assert!(found([200.0, 150.0], 60.0, [0.7; 3]).is_empty());
        assert!(found([200.0, 150.0], 12.0, [0.82, 0.74, 0.62]).is_empty());
    }
}
