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
/// one_metal: it is of one metal, so that no part of it may be of another colour.
pub fn tints(image: &Image, bare: &Mask, mm_per_px: f64, one_metal: bool) -> Result<Vec<Island>, VisionError> {
    if image.grey {
        return Ok(vec![]);
    }
    let cells = Cells::of(bare, mm_per_px, CELL_MM);
    // The ratios of red and of blue to green, as logarithms.
    let colour = |i: usize| -> Option<[f32; 2]> {
        // Whole numbers, so that the order of the pixels is none of the sum's business.
        let (mut sum, mut n, mut ended) = ([0u32; 3], 0usize, 0usize);
        for p in cells.bare(i, bare) {
            let rgb = &image.data[3 * p..3 * p + 3];
            sum.iter_mut().zip(rgb).for_each(|(s, v)| *s += u32::from(*v));
            ended += usize::from(rgb[0].max(rgb[1]).max(rgb[2]) >= ENDED);
            n += 1;
        }
        let [r, g, b] = sum.map(|s| s as f32 / n.max(1) as f32);
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
    let mut out = if one_metal { other_colour(&cells, &colours)? } else { vec![] };
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
        out.push(Island { x: cells.full(b.x), y: cells.full(b.y), radius, outline: vec![], what: What::Tint(tint) });
    }
    Ok(out)
}

/// A part of the metal that is as large as this, in mm2, or as this share of the metal, and of another colour by so much, is no reflection: of 104 pieces (the samples and
/// datasets/regression, good and bad) none but a worn plating of 0.29 mm2 has more than 0.2 mm2 of it.
const OTHER: f64 = 0.08;
const OTHER_MM2: f64 = 1.0;
const OTHER_SHARE: f64 = 0.04;
/// How far along its own colour metal may look, in times that colour: paler where it mirrors what is bright, deeper where light met it twice.
const OWN: (f64, f64) = (-0.25, 1.2);

/// The commonest colour: of two halves' colours neither's median.
fn commonest(colours: &[Option<[f32; 2]>]) -> [f32; 2] {
    let bin = |c: &[f32; 2]| c.map(|v| (v / BIN).round() as i32);
    let mut counts: std::collections::BTreeMap<[i32; 2], usize> = std::collections::BTreeMap::new();
    for c in colours.iter().flatten() {
        *counts.entry(bin(c)).or_default() += 1;
    }
    let about = |at: &[i32; 2]| {
        let near = (-1..=1).flat_map(|u| (-1..=1).map(move |v| [at[0] + u, at[1] + v]));
        near.filter_map(|b| counts.get(&b)).sum::<usize>()
    };
    // Of two that are as common the first in their order.
    let most = counts.keys().rev().max_by_key(|b| about(b)).copied().unwrap_or_default();
    let own = |k: usize| {
        let near = |c: &&[f32; 2]| bin(c).iter().zip(most).all(|(b, m)| (b - m).abs() <= 1);
        ops::median(&mut colours.iter().flatten().filter(near).map(|c| c[k]).collect::<Vec<_>>())
    };
    [own(0), own(1)]
}

/// How wide the bins are that colours are counted in.
const BIN: f32 = 0.03;

/// Parts of the metal of another colour than the most of it, whatever their form and wherever they lie: a plating that is half gone, or worn along an edge.
fn other_colour(cells: &Cells, colours: &[Option<[f32; 2]>]) -> Result<Vec<Island>, VisionError> {
    let usual = commonest(colours).map(f64::from);
    let square = usual[0] * usual[0] + usual[1] * usual[1];
    let foreign = |c: [f32; 2]| {
        let d = [f64::from(c[0]) - usual[0], f64::from(c[1]) - usual[1]];
        let own = ((d[0] * usual[0] + d[1] * usual[1]) / square.max(1e-9)).clamp(OWN.0, OWN.1);
        (d[0] - own * usual[0]).hypot(d[1] - own * usual[1])
    };
    let by = |i: usize| colours[i].map(foreign);
    let known = colours.iter().flatten().count() as f64;
    let (blobs, labels) = cells.connected(|i| by(i).is_some_and(|f| f > OTHER))?;
    let mut out = Vec::new();
    for b in blobs {
        let mm2 = b.area as f64 * cells.mm * cells.mm;
        let share = b.area as f64 / known;
        if mm2 < OTHER_MM2 && share < OTHER_SHARE {
            continue;
        }
        let radius = cells.diameter(b.area) / 2.0 / cells.mm * cells.side as f64;
        let tint = cells.median(&labels, &b, by);
        let outline = ops::blob_outline(&labels, cells.width, &b)?;
        let outline = outline.into_iter().map(|p| p.map(|v| cells.full(v))).collect();
        out.push(Island { x: cells.full(b.x), y: cells.full(b.y), radius, outline, what: What::Part { tint, mm2 } });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_or_an_edge_of_another_colour_is_told() {
        let bare = Mask { width: 400, height: 300, data: vec![255; 400 * 300] };
        let mut rng = fastrand::Rng::with_seed(7);
        let mut found = |is_worn: &dyn Fn(f64, f64) -> bool, [metal, worn]: [[f64; 3]; 2], one_metal: bool| {
            let mut data = Vec::new();
            for i in 0..400 * 300 {
                let (x, y) = ((i % 400) as f64, (i / 400) as f64);
                let rgb = if is_worn(x, y) { worn } else { metal };
                data.extend(rgb.map(|v| (v * (1.0 - 0.001 * x) + 6.0 * (rng.f64() - 0.5)).round() as u8));
            }
            tints(&Image { width: 400, height: 300, data, grey: false }, &bare, 0.02, one_metal).unwrap().len()
        };
        let (rhodium, copper, gold) = ([190.0, 188.0, 186.0], [190.0, 160.0, 130.0], [210.0, 180.0, 110.0]);
        let half = |x: f64, _: f64| x > 200.0;
        let edge = |x: f64, y: f64| x.min(y).min(399.0 - x).min(299.0 - y) < 20.0;
        assert_eq!([found(&half, [rhodium, copper], true), found(&edge, [rhodium, copper], true)], [1; 2]);
        assert_eq!([found(&half, [gold, rhodium], true), found(&half, [gold, copper], true)], [1; 2]);
        // A piece of two metals, one of which light met twice, and one metal all over.
        let deeper = [210.0, 154.0, 58.0];
        assert_eq!(found(&half, [rhodium, gold], false), 0);
        assert_eq!([found(&half, [gold, deeper], true), found(&half, [gold, gold], true)], [0; 2]);
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
            tints(&Image { width: 400, height: 300, data, grey: false }, &bare, 0.012, true).unwrap()
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
