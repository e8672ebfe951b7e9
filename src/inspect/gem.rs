//! Stones of another colour than their like: an amethyst among diamonds, a pale ruby among red ones. What a camera's white or a warm metal's reflections tint,
//! they tint alike in all stones of a piece, so stones are held against one another.

use super::stones::{self, part, Placed};
use super::texture::median;
use super::{Feature, Scene};
use crate::report::{listed, FindingType};
use crate::spec::{word, Stone};
use crate::vision::{ops, Image, Rect};

/// A stone is looked at within this share of its girdle's width, away from rim and prongs.
const WITHIN: f64 = 0.35;
/// Levels between which a channel tells a colour, and how many such pixels tell a stone's.
const LEVELS: std::ops::Range<u8> = 16..250;
const LEAST_PIXELS: usize = 60;
/// Fewer stones than this do not tell which of them is another.
const LEAST_STONES: usize = 3;
/// Stones of about the same width are alike, up to this ratio: light and metal do the same in them.
const ALIKE: f64 = 1.25;
/// Most stones that are named.
const NAMED: usize = 5;
/// A stone is another from this distance on (ten percent more of a channel), and this share of how coloured its like are, and so many times their spread.
/// Of 893 looks at good stones of rendered and sample pieces the median distance is 0.001, and none is both beyond a tenth and beyond four spreads.
const ODD: f64 = 0.1;
const SHARE: f64 = 0.3;
const SCATTER: f64 = 4.0;
/// A clear stone shows no more colour than this beside what it mirrors.
const CLEAR: f64 = 0.3;
/// Gems that have none.
const CLEAR_GEMS: &[&str] =
    &["diamond", "moissanite", "cubic_zirconia", "zirconia", "white_sapphire", "white_topaz", "zircon"];

/// Gems that always have a strong colour, and between which hues it lies: angles of the log of blue over green against that of red over green, in degrees. Of 1300 looks at such
/// stones of 500 rendered pieces the hues of nineteen in twenty lie within 10 degrees of 10 (ruby), 2 (garnet), 53 (amethyst), 119 (sapphire), 211 (emerald), 214 (tsavorite), 245 (peridot)
/// and 287 (citrine); the trade's paler and warmer sorts are given room.
const COLOURED: &[(&[&str], [f64; 2])] = &[
    (&["ruby", "garnet", "rhodolite", "rubellite"], [-35.0, 50.0]),
    (&["amethyst"], [15.0, 100.0]),
    (&["sapphire", "blue_sapphire", "tanzanite"], [65.0, 165.0]),
    (&["emerald", "tsavorite"], [165.0, 255.0]),
    (&["peridot"], [200.0, 285.0]),
    (&["citrine"], [245.0, 345.0]),
];
/// How far outside its hues a colour of more than [`CLEAR`] is another gem's.
const HUE_OFF: f64 = 20.0;
/// A stone of such a gem that shows less colour than this, beside what it mirrors, is clear: of the 1300 one in twenty has less than 0.36 to 0.79, by its gem; of
/// 1985 looks at clear ones nineteen in twenty less than 0.03.
const COLOURLESS: f64 = 0.08;
/// Lights under which the table mirrors the lamp or nothing lights the stone, and coloured ones look clear.
const PALING: [&str; 2] = ["coaxial", "dark_field"];

/// A colour: natural logs of red over green and of blue over green, the median of each over the pixels that count and are neither clipped nor black.
fn tint(data: &[u8], counts: impl Iterator<Item = bool>) -> Option<[f64; 2]> {
    let (mut red, mut blue) = (Vec::new(), Vec::new());
    for (p, _) in
        data.chunks_exact(3).zip(counts).filter(|(p, counts)| *counts && p.iter().all(|v| LEVELS.contains(v)))
    {
        red.push(f32::from(p[0]) / f32::from(p[1]));
        blue.push(f32::from(p[2]) / f32::from(p[1]));
    }
    // The log of the median is the median of the logs.
    (red.len() >= LEAST_PIXELS).then(|| [&mut red, &mut blue].map(|v| f64::from(ops::median(v).ln())))
}

/// The colour of a stone about a place.
fn colour(image: &Image, at: [f64; 2], radius: f64) -> Option<[f64; 2]> {
    let span = |c: f64, n: usize| {
        ((c - radius).ceil().max(0.0) as usize, ((c + radius).floor().max(-1.0) + 1.0).min(n as f64) as usize)
    };
    let ((x0, x1), (y0, y1)) = (span(at[0], image.width), span(at[1], image.height));
    if x1 <= x0 || y1 <= y0 {
        return None;
    }
    let part = image.cut(Rect { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
    let within =
        |k: usize| ((x0 + k % part.width) as f64 - at[0]).hypot((y0 + k / part.width) as f64 - at[1]) <= radius;
    tint(&part.data, (0..part.width * part.height).map(within))
}

/// The stones whose colour is another than that of their like, as features that no limit decides, and what a person should know of them; none where there are
/// none. missing: the stones that are not there.
pub fn odd(scene: &Scene, missing: &[String]) -> Option<(Vec<Feature>, String)> {
    if scene.image.grey {
        return None;
    }
    let pose = &scene.located.pose;
    let (placed, _) = stones::placed(scene);
    let seen: Vec<(&Placed, [f64; 2])> = placed
        .iter()
        .filter(|s| !missing.contains(&scene.view.stones[s.index].id))
        .filter_map(|s| {
            let at = pose.to_px(s.centre[0], s.centre[1]);
            Some((s, colour(scene.image, at, pose.px(WITHIN * s.seen))?))
        })
        .collect();
    // All of the metal is looked at only where a gem whose colour is known is ordered by name.
    let ordered = |s: &Placed| scene.view.stones[s.index].gem.as_deref();
    let metal = seen
        .iter()
        .any(|(s, _)| ordered(s).is_some_and(|g| is_clear(g) || hues(g).is_some()))
        .then(|| tint(&scene.image.data, scene.bare_metal.data.iter().map(|m| *m != 0)))
        .flatten();
    let pales = PALING.contains(&scene.frame.light.as_str());
    let (mut features, mut words, mut unnamed) = (Vec::new(), Vec::new(), false);
    for (s, c) in &seen {
        let stone = &scene.view.stones[s.index];
        let alike: Vec<[f64; 2]> = seen
            .iter()
            .filter(|(q, _)| q.index != s.index && is_like(&scene.view.stones[q.index], stone))
            .map(|q| q.1)
            .collect();
        tracing::debug!("{}: the colour of {} is {c:.3?}, of the metal {metal:.3?}", scene.frame.file, stone.id);
        let what = match ordered(s) {
            Some(gem) if is_clear(gem) && metal.is_some_and(|m| own(*c, m) > CLEAR) => {
                format!("has a colour, and {gem} is ordered")
            }
            Some(gem) if hues(gem).zip(metal).is_some_and(|(h, m)| own(*c, m) > CLEAR && !is_within(*c, h)) => {
                format!("has another colour than {gem}, which is ordered")
            }
            Some(gem) if !pales && hues(gem).is_some() && metal.is_some_and(|m| own(*c, m) < COLOURLESS) => {
                format!("looks clear, and {gem} is ordered")
            }
            _ if alike.len() + 1 >= LEAST_STONES && is_odd(*c, &alike) => {
                "has another colour than those like it".to_owned()
            }
            _ => continue,
        };
        let at = pose.to_px(s.centre[0], s.centre[1]);
        let mut feature = part(&format!("{}-colour", stone.id), at, pose.px(0.5 * s.seen));
        feature.kind = Some(FindingType::Anomaly);
        feature.found_by = vec!["gem".to_owned()];
        feature.nominal = false;
        feature.doubt = Some(format!("it {what}"));
        features.push(feature);
        words.push(format!("stone {} {what}", stone.id));
        unnamed |= stone.gem.is_none();
    }
    (!words.is_empty()).then(|| {
        let named = listed(&words, NAMED);
        let spec = if unnamed { ", or the spec lacks a `gem`" } else { "" };
        (features, format!("{named}: another gem, or dirt{spec}"))
    })
}

/// Whether two stones are ordered alike: of one gem, and about as wide.
pub(super) fn is_like(a: &Stone, b: &Stone) -> bool {
    (1.0 / ALIKE..=ALIKE).contains(&(a.diameter_mm / b.diameter_mm)) && a.gem == b.gem
}

/// Whether a colour is another than that of the stones like it.
fn is_odd(c: [f64; 2], alike: &[[f64; 2]]) -> bool {
    let mid = [0, 1].map(|k| median(&alike.iter().map(|c| c[k]).collect::<Vec<_>>()));
    let off = |c: &[f64; 2]| (c[0] - mid[0]).hypot(c[1] - mid[1]);
    let spread = median(&alike.iter().map(off).collect::<Vec<_>>());
    off(&c) > ODD.max(SHARE * mid[0].hypot(mid[1])).max(SCATTER * spread)
}

/// How far a colour is from all that a clear stone mirrors, from no colour to the metal's own: of 346 looks at diamonds in gold (the samples, regression and 60
/// other rendered pieces) none has more than 0.71 of the metal's.
fn own(c: [f64; 2], metal: [f64; 2]) -> f64 {
    let square = metal[0] * metal[0] + metal[1] * metal[1];
    let along = if square > 0.0 { ((c[0] * metal[0] + c[1] * metal[1]) / square).clamp(0.0, 1.0) } else { 0.0 };
    (c[0] - along * metal[0]).hypot(c[1] - along * metal[1])
}

/// Between which hues the colour of a gem lies; none of one that has no colour, a pale one or several.
fn hues(gem: &str) -> Option<[f64; 2]> {
    let gem = word(gem);
    COLOURED.iter().find(|(names, _)| names.contains(&gem.as_str())).map(|(_, hues)| *hues)
}

/// Whether a colour lies between hues, or less than [`HUE_OFF`] outside.
fn is_within(c: [f64; 2], [from, to]: [f64; 2]) -> bool {
    let middle = 0.5 * (from + to);
    let off = (c[1].atan2(c[0]).to_degrees() - middle + 180.0).rem_euclid(360.0) - 180.0;
    off.abs() <= 0.5 * (to - from) + HUE_OFF
}

/// Gems without a colour.
pub fn is_clear(gem: &str) -> bool {
    CLEAR_GEMS.contains(&word(gem).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stone_of_another_colour_is_odd_among_its_like() {
        let clear = [[0.01, 0.0], [0.0, 0.02], [-0.01, 0.01], [0.0, 0.0]];
        assert!(is_odd([0.05, -0.2], &clear) && is_odd([0.45, 0.7], &clear));
        assert!(!is_odd([0.03, -0.04], &clear));
        // Rubies are paler and darker among themselves.
        let rubies = [[1.0, 0.3], [1.05, 0.31], [0.95, 0.28], [1.0, 0.3]];
        assert!(!is_odd([0.8, 0.2], &rubies) && is_odd([0.0, 0.0], &rubies));
        // Where all differ none stands out.
        let mixed = [[0.0, 0.0], [0.6, 0.1], [-0.4, 0.3], [0.1, 0.7]];
        assert!(!is_odd([0.5, -0.2], &mixed));
    }

    #[test]
    fn a_clear_stone_may_have_the_metals_colour_and_no_other() {
        let gold = [0.12, -0.4];
        assert!(own([0.12, -0.4], gold) < 1e-9 && own([0.0, 0.0], gold) < 1e-9);
        // Citrine is yellower than yellow gold.
        assert!(own([0.28, -0.95], gold) > CLEAR);
        assert!(own([-0.3, 0.5], gold) > CLEAR && own([0.6, 0.8], gold) > CLEAR);
        assert!(own([0.1, 0.0], [0.0, 0.0]) < CLEAR);
        assert!(is_clear("Diamond") && is_clear("cubic zirconia") && !is_clear("ruby"));
    }

    #[test]
    fn a_gem_has_its_hue() {
        let seen = [
            ("ruby", [0.98, 0.17]),
            ("garnet", [0.79, 0.03]),
            ("Amethyst", [0.57, 0.76]),
            ("sapphire", [-0.28, 0.5]),
            ("emerald", [-0.95, -0.57]),
            ("tsavorite", [-0.78, -0.52]),
            ("peridot", [-0.33, -0.71]),
            ("citrine", [0.22, -0.71]),
        ];
        for (gem, c) in seen {
            assert!(is_within(c, hues(gem).unwrap()), "{gem}");
            assert!(own(c, [0.12, -0.4]) > CLEAR, "{gem}");
        }
        // A ruby is no emerald, a sapphire no citrine.
        assert!(
            !is_within([0.98, 0.17], hues("emerald").unwrap()) && !is_within([-0.28, 0.5], hues("citrine").unwrap())
        );
        assert!(hues("aquamarine").is_none() && hues("diamond").is_none() && hues("pink sapphire").is_none());
    }

    #[test]
    fn a_colour_is_the_median_of_what_is_neither_clipped_nor_black() {
        let mut image = Image { width: 20, height: 20, data: [200, 100, 50].repeat(400), grey: false };
        image.data[..3 * 20].copy_from_slice(&[255, 255, 255].repeat(20));
        let c = colour(&image, [10.0, 10.0], 6.0).unwrap();
        assert!((c[0] - 2f64.ln()).abs() < 1e-6 && (c[1] + 2f64.ln()).abs() < 1e-6);
        assert!(colour(&image, [10.0, 10.0], 2.0).is_none() && colour(&image, [100.0, -50.0], 6.0).is_none());
    }
}
