//! How far a prong's tip reaches over its stone: in per cent of the way from the girdle to the table, as GIA's bench criteria give contact.

use super::stones::Placed;
use crate::spec::Stone;

/// The contact of a tip with its stone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Contact {
    /// On the line from the stone's middle to the tip's, in per cent of the way from girdle to table; negative where the tip does not reach the girdle.
    pub pct: f64,
    /// Its standard uncertainty.
    pub pct_u: f64,
}

/// Width of a stone's table over its girdle and its standard uncertainty: the middle and half the width, over the root of three, of what the trade cuts (GIA and AGS: round 53 to 60 %;
/// oval, pear and marquise 53 to 63; emerald cuts and baguettes 60 to 70; princess 62 to 75). None of a cut whose girdle is not known.
fn table(stone: &Stone) -> Option<(f64, f64)> {
    Some(match stone.cut_word().as_str() {
        "round" => (0.56, 0.02),
        "oval" | "pear" | "marquise" => (0.58, 0.03),
        "emerald" | "baguette" => (0.65, 0.03),
        "princess" => (0.69, 0.04),
        _ => return None,
    })
}

/// Standard uncertainty of the ratio of length to width, as a share of it: a spec does not say the length, and stones of a cut are about 7 % longer or shorter than the trade's usual one; a princess cut is called
/// square up to 5 %.
fn ratio_u(stone: &Stone) -> f64 {
    match stone.cut_word().as_str() {
        "round" => 0.0,
        "princess" => 0.015,
        _ => 0.04,
    }
}

impl Contact {
    /// Of a tip's middle (piece coordinates, mm), and its radius with what that and its place leave open (mm).
    pub fn of(stone: &Stone, placed: &Placed, tip: [f64; 2], [radius, tip_u]: [f64; 2]) -> Option<Contact> {
        let (table, table_u) = table(stone)?;
        let d = [0, 1].map(|k| tip[k] - placed.centre[k]);
        let distance = d[0].hypot(d[1]);
        // A tip on the stone's very middle is no contact.
        (distance > 0.0).then_some(())?;
        let girdle = girdle_towards(stone, placed, placed.diameter, d)?;
        let way = (1.0 - table) * girdle;
        let pct = 100.0 * (girdle - (distance - radius)) / way;
        // How much of the way to the girdle runs along the stone's length.
        let (sin, cos) = (stone.length_turn() + placed.turned).sin_cos();
        let along = (d[1] * cos - d[0] * sin).abs() / distance;
        // Tip, radius and girdle each move the contact as far as they are off.
        let mm = tip_u.hypot(placed.offset_u).hypot(placed.diameter_u / 2.0).hypot(along * girdle * ratio_u(stone));
        Some(Contact { pct, pct_u: (100.0 * mm / way).hypot(pct * table_u / (1.0 - table)) })
    }
}

/// The distance of a girdle so wide from its centre towards a place beside it, in mm: half the width of a round one, else where the ray crosses its outline.
pub(super) fn girdle_towards(stone: &Stone, placed: &Placed, width: f64, d: [f64; 2]) -> Option<f64> {
    if stone.is_round() {
        return Some(width / 2.0);
    }
    let line = stone.girdle([0.0; 2], width, stone.length_turn() + placed.turned)?;
    let far = d[0].hypot(d[1]);
    // Coordinates along the ray and across it.
    let turned: Vec<[f64; 2]> =
        line.iter().map(|p| [(p[0] * d[0] + p[1] * d[1]) / far, (p[1] * d[0] - p[0] * d[1]) / far]).collect();
    let crossing = |(a, b): (&[f64; 2], &[f64; 2])| {
        let t = a[1] / (a[1] - b[1]);
        (0.0..=1.0).contains(&t).then(|| a[0] + t * (b[0] - a[0])).filter(|r| *r > 0.0)
    };
    turned.iter().zip(turned.iter().cycle().skip(1)).filter_map(crossing).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(cut: &str, turned: f64, tip: [f64; 2], radius: f64) -> Option<Contact> {
        let placed = Placed {
            index: 0,
            centre: [1.0, 0.0],
            offset: [0.0; 2],
            offset_u: 0.0,
            seen: 2.0,
            diameter: 2.0,
            diameter_u: 0.0,
            slope: [0.0; 2],
            slope_u: 0.0,
            turned,
        };
        let (id, cut) = ("S1".to_owned(), cut.to_owned());
        let stone =
            Stone { id, x_mm: 1.0, y_mm: 0.0, diameter_mm: 2.0, cut, turn_deg: Some(0.0), gem: None, prongs: vec![] };
        Contact::of(&stone, &placed, tip, [radius, 0.0])
    }

    #[test]
    fn contact_is_the_way_from_girdle_to_table() {
        // The girdle is 1 mm from the centre, the table's edge 0.56: half the way is 0.22 mm.
        let half = contact("round", 0.0, [2.0, 0.0], 0.22).unwrap();
        assert!((half.pct - 50.0).abs() < 1e-9 && (half.pct_u - 50.0 * 0.02 / 0.44).abs() < 1e-9, "{half:?}");
        assert!(contact("round", 0.0, [2.3, 0.0], 0.2).unwrap().pct < 0.0);
    }

    #[test]
    fn other_cuts_are_held_at_their_own_outlines() {
        let pct = |cut, turned, tip| contact(cut, turned, tip, 0.2).unwrap().pct;
        // An oval of 2 x 2.8 mm, its length along y: at its end the girdle is 1.4 mm away, at its side 1.
        assert!((pct("oval", 0.0, [1.0, 1.4]) - 100.0 * 0.2 / (0.42 * 1.4)).abs() < 1e-6);
        assert!((pct("oval", 0.0, [2.0, 0.0]) - 100.0 * 0.2 / 0.42).abs() < 1e-6);
        assert!((pct("oval", std::f64::consts::FRAC_PI_2, [2.4, 0.0]) - pct("oval", 0.0, [1.0, 1.4])).abs() < 1e-6);
        // A princess cut's corner lies at the root of two.
        let corner = contact("princess", 0.0, [2.0, 1.0], 0.2).unwrap();
        assert!((corner.pct - 100.0 * 0.2 / (0.31 * 2f64.sqrt())).abs() < 1e-6, "{corner:?}");
        // Stones of a cut differ in length, not in width.
        let [end, side] = [[1.0, 1.4], [2.0, 0.0]].map(|tip| contact("oval", 0.0, tip, 0.2).unwrap());
        assert!(end.pct_u > 100.0 * 0.04 / 0.42 && side.pct_u < 4.0, "{end:?} {side:?}");
        assert!(contact("trillion", 0.0, [2.0, 0.0], 0.2).is_none());
    }
}
