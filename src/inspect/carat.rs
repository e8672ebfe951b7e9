//! Weight of a stone estimated from its girdle. In the setting its depth is unseen: it is taken as what the trade cuts, and
//! the estimate carries the interval that follows.

use crate::spec::Stone;

/// An estimate in carat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carat {
    /// The estimate.
    pub value: f64,
    /// Its standard uncertainty.
    pub uncertainty: f64,
}

/// Coloured rough is cut for weight and colour, not for a diamond's angles: depths of 60 to 80 % of the width are traded. Anything between is as likely (GUM 4.3.7); published
/// weights of calibrated round rubies of 3 to 6 mm speak for 70 to 77 %.
const OF_COLOURED: (f64, f64) = (0.70, 0.058);

/// Depth over width of a cut, and how much cutters scatter about it (standard deviation): the middle and a quarter of the
/// span that the trade's cut guides call good to very good (round 57.5 to 63 %, fancy cuts wider).
fn depth_ratio(cut: &str, gem: &str) -> (f64, f64) {
    if as_diamond(gem).is_none() {
        return OF_COLOURED;
    }
    match cut {
        "round" => (0.605, 0.015),
        "princess" => (0.70, 0.03),
        "emerald" | "baguette" => (0.64, 0.04),
        "oval" | "pear" | "marquise" => (0.61, 0.025),
        _ => (0.62, 0.04),
    }
}

/// Specific gravity of a diamond.
const DIAMOND: f64 = 3.52;

/// How much heavier than a diamond of its size a gem is that is cut to a diamond's angles; none of a gem that is not. Those made to look like diamonds are sold by
/// a diamond's width and weigh as their matter does.
fn as_diamond(gem: &str) -> Option<f64> {
    match crate::spec::word(gem).as_str() {
        "diamond" => Some(1.0),
        "moissanite" | "cubic_zirconia" | "zirconia" => Some(specific_gravity(gem)? / DIAMOND),
        _ => None,
    }
}

/// Weight in carat of a diamond of width `w`, length `l` and depth `h` in mm: `a b h k` with the factors of `k` by cut and
/// ratio of the published tables (a1-diamond.com, gemgate.com), between their entries in proportion. None of a cut the tables
/// do not have.
pub fn diamond(cut: &str, l: f64, w: f64, h: f64) -> Option<f64> {
    let mean_square = ((l + w) / 2.0).powi(2);
    let ratio = l / w;
    Some(match cut {
        "round" => 0.0061 * mean_square * h,
        "oval" => 0.0062 * mean_square * h,
        "heart" => 0.0059 * l * w * h,
        "trilliant" | "trillion" => 0.0057 * l * w * h,
        "tapered_baguette" => 0.00915 * l * w * h,
        "emerald" | "princess" | "baguette" => {
            between(&[(1.0, 0.0080), (1.5, 0.0092), (2.0, 0.0100), (2.5, 0.0106)], ratio) * l * w * h
        }
        "marquise" => between(&[(1.5, 0.00565), (2.0, 0.0058), (2.5, 0.00585), (3.0, 0.00595)], ratio) * l * w * h,
        "pear" => between(&[(1.25, 0.00615), (1.5, 0.0060), (2.0, 0.00575)], ratio) * l * w * h,
        _ => return None,
    })
}

/// Weight in carat of a coloured stone of specific gravity `g`, by the same sources. None of a cut they do not have.
pub fn coloured(cut: &str, l: f64, w: f64, h: f64, g: f64) -> Option<f64> {
    let k = match cut {
        "round" => return Some(0.0018 * ((l + w) / 2.0).powi(2) * h * g),
        "oval" => 0.0020,
        "emerald" | "baguette" => 0.0025,
        "princess" | "square" => 0.0023,
        "marquise" => 0.0016,
        "pear" => 0.0018,
        _ => return None,
    };
    Some(k * l * w * h * g)
}

/// The gems whose weights are estimated.
pub const GEMS: &[&str] = &[
    "diamond",
    "ruby",
    "sapphire",
    "corundum",
    "emerald",
    "aquamarine",
    "beryl",
    "morganite",
    "amethyst",
    "citrine",
    "quartz",
    "garnet",
    "peridot",
    "tsavorite",
    "topaz",
    "spinel",
    "tourmaline",
    "tanzanite",
    "moissanite",
    "cubic_zirconia",
    "zirconia",
];

/// Whether a table has a gem.
pub fn knows(gem: &str) -> bool {
    gem.eq_ignore_ascii_case("diamond") || specific_gravity(gem).is_some()
}

/// Specific gravity of a gem (middle of the range of gemmological tables); none of one that is not listed.
pub fn specific_gravity(gem: &str) -> Option<f64> {
    Some(match crate::spec::word(gem).as_str() {
        "ruby" | "sapphire" | "corundum" => 4.00,
        "emerald" | "aquamarine" | "beryl" | "morganite" => 2.72,
        "amethyst" | "citrine" | "quartz" => 2.65,
        "garnet" => 3.95,
        "peridot" => 3.34,
        "tsavorite" => 3.61,
        "topaz" => 3.53,
        "spinel" => 3.60,
        "tourmaline" => 3.06,
        "tanzanite" => 3.35,
        "moissanite" => 3.22,
        "cubic_zirconia" | "zirconia" => 5.80,
        _ => return None,
    })
}

fn between(table: &[(f64, f64)], x: f64) -> f64 {
    let last = table[table.len() - 1];
    if x <= table[0].0 {
        return table[0].1;
    }
    table
        .windows(2)
        .find(|p| x <= p[1].0)
        .map_or(last.1, |p| p[0].1 + (p[1].1 - p[0].1) * (x - p[0].0) / (p[1].0 - p[0].0))
}

/// Relative standard uncertainty of a long cut's nominal length.
const LENGTH_U: f64 = 0.05;

/// The estimate for a stone whose width was measured in mm. None where its cut or its gem is in no table.
pub fn estimate(stone: &Stone, width_mm: f64, width_u_mm: f64) -> Option<Carat> {
    let cut = stone.cut_word();
    let length = width_mm * stone.length_ratio()?;
    let gem = stone.gem.as_deref().unwrap_or("diamond");
    let (ratio, ratio_u) = depth_ratio(&cut, gem);
    let depth = ratio * width_mm;
    let value = match as_diamond(gem) {
        Some(heavier) => heavier * diamond(&cut, length, width_mm, depth)?,
        None => coloured(&cut, length, width_mm, depth, specific_gravity(gem)?)?,
    };
    // The weight goes with the third power of the width; the length of a long cut is nominal, some 5 % either way.
    let length_u = if length > width_mm { LENGTH_U } else { 0.0 };
    let relative = (3.0 * width_u_mm / width_mm).hypot(ratio_u / ratio).hypot(length_u);
    Some(Carat { value, uncertainty: value * relative })
}

/// The sum of stones with their estimates. Its uncertainty has three sources: the stones' widths (and with them the scale), the
/// depths and the lengths that were taken for their cuts. Within each the stones err together and their shares add up linearly
/// (full correlation, JCGM 100:2008, 5.2.2): a piece's stones come of one parcel, and one model measures them under one light (the
/// widths of a piece's stones err together with an intraclass correlation of 0.4 on rendered pieces). The sources are
/// independent and add up in squares.
pub fn total<'a>(stones: impl IntoIterator<Item = (&'a Stone, Carat)>) -> Carat {
    let mut sum = Carat { value: 0.0, uncertainty: 0.0 };
    let (mut width, mut depth, mut length) = (0.0, 0.0, 0.0);
    for (stone, carat) in stones {
        let (ratio, ratio_u) = depth_ratio(&stone.cut_word(), stone.gem.as_deref().unwrap_or("diamond"));
        let depth_u = ratio_u / ratio * carat.value;
        let length_u = if stone.length_ratio().is_some_and(|r| r > 1.0) { LENGTH_U * carat.value } else { 0.0 };
        sum.value += carat.value;
        depth += depth_u;
        length += length_u;
        // What the other sources leave of the estimate's own.
        width += (carat.uncertainty.powi(2) - depth_u.powi(2) - length_u.powi(2)).max(0.0).sqrt();
    }
    sum.uncertainty = f64::hypot(width, depth).hypot(length);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_case() {
        // 6.05 / 6.11 x 3.63 mm, round.
        let carat = diamond("round", 6.11, 6.05, 3.63).unwrap();
        assert!((carat - 0.8185).abs() < 0.0005, "{carat}");
    }

    #[test]
    fn melee_weighs_what_the_sieve_says() {
        // Sieve +0-1: 1.10 to 1.15 mm .006 ct; +6-6.5: 1.70 to 1.80 mm .021; +11-11.5: 2.70 to 2.80 mm .078.
        let stone = |d: f64| Stone {
            id: "S".into(),
            x_mm: 0.0,
            y_mm: 0.0,
            diameter_mm: d,
            cut: "round".into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        };
        for (d, ct) in [(1.125, 0.006), (1.75, 0.021), (2.75, 0.078)] {
            let c = estimate(&stone(d), d, 0.01).unwrap();
            assert!((c.value - ct).abs() < 2.0 * c.uncertainty + 0.0005, "{d}: {c:?}");
        }
    }

    #[test]
    fn what_looks_like_a_diamond_weighs_as_its_matter() {
        let of = |gem: &str| {
            let stone = Stone {
                id: "S".into(),
                x_mm: 0.0,
                y_mm: 0.0,
                diameter_mm: 6.5,
                cut: "round".into(),
                turn_deg: None,
                gem: Some(gem.into()),
                prongs: vec![],
            };
            estimate(&stone, 6.5, 0.0).unwrap().value
        };
        let carat = of("Diamond");
        assert!((0.9..1.1).contains(&carat), "{carat}");
        assert!(
            (of("moissanite") / carat - 0.915).abs() < 0.01 && (of("cubic zirconia") / carat - 1.65).abs() < 0.01
        );
    }

    #[test]
    fn what_stones_have_in_common_does_not_average_out() {
        let stone = |cut: &str, d: f64| Stone {
            id: "S".into(),
            x_mm: 0.0,
            y_mm: 0.0,
            diameter_mm: d,
            cut: cut.into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        };
        // A hundred alike are known no better than one: depth 1.5 of 60.5 %, width three times 2 %.
        let (round, oval) = (stone("round", 1.0), stone("oval", 2.0));
        let one = estimate(&round, 1.0, 0.02).unwrap();
        let all = total(vec![(&round, one); 100]);
        assert!((all.value - 100.0 * one.value).abs() < 1e-12);
        assert!((all.uncertainty / all.value - one.uncertainty / one.value).abs() < 1e-12, "{all:?}");
        assert!((all.uncertainty / all.value - (0.015f64 / 0.605).hypot(0.06)).abs() < 1e-12, "{all:?}");
        // Two kinds: each source on its own, then in squares.
        let other = estimate(&oval, 2.0, 0.02).unwrap();
        let both = total([(&round, one), (&oval, other)]);
        let width = 0.06 * one.value + 0.03 * other.value;
        let depth = 0.015 / 0.605 * one.value + 0.025 / 0.61 * other.value;
        let expected = width.hypot(depth).hypot(LENGTH_U * other.value);
        assert!((both.uncertainty - expected).abs() < 1e-12, "{both:?}");
        assert_eq!(total([]), Carat { value: 0.0, uncertainty: 0.0 });
    }

    #[test]
    fn factors_follow_the_ratio() {
        let w = 4.0;
        let k = |l: f64| diamond("emerald", l, w, 1.0).unwrap() / (l * w);
        assert!(
            (k(4.0) - 0.0080).abs() < 1e-12 && (k(5.0) - 0.0086).abs() < 1e-12 && (k(20.0) - 0.0106).abs() < 1e-12
        );
        assert!(diamond("cushion", 4.0, 4.0, 2.0).is_none());
    }
}
