//! Whether a seat holds a stone, by classic vision and the surface model. A brilliant's facets change the brightness many times around its centre; an empty seat
//! is a smooth bowl of the metal's own colour.

use super::Scene;
use crate::spec::{Prong, Stone};
use crate::vision::ops;

/// The log odds of classic vision put together with what the surface model shows within the girdle, by the model's own
/// weights; those of classic vision alone where there is no model, no weight or no map there.
pub(super) fn second_opinion(scene: &Scene, stone: &Stone, classic: f64) -> f64 {
    let Some((map, info)) = super::opinion::of_scene(scene) else { return classic };
    let (Some(of_stone), Some(of_metal)) = (map.class("stone"), map.class("metal")) else { return classic };
    let pose = &scene.located.pose;
    let (w, h) = (scene.image.width as f64, scene.image.height as f64);
    let (mut as_stone, mut as_metal, mut n) = (0.0, 0.0, 0.0);
    for ring in 0..6 {
        let radius = 0.5 * stone.diameter_mm * (0.15 + 0.13 * f64::from(ring));
        for i in 0..24 {
            let a = std::f64::consts::TAU * f64::from(i) / 24.0;
            let p = pose.to_px(stone.x_mm + radius * a.cos(), stone.y_mm + radius * a.sin());
            if p[0] < 0.0 || p[1] < 0.0 || p[0] > w - 1.0 || p[1] > h - 1.0 {
                continue;
            }
            let (x, y) = (p[0].round() as usize, p[1].round() as usize);
            as_stone += f64::from(map.at(of_stone, x, y));
            as_metal += f64::from(map.at(of_metal, x, y));
            n += 1.0;
        }
    }
    if n == 0.0 {
        return classic;
    }
    let odds = ((as_stone / n + 0.02) / (as_metal / n + 0.02)).ln();
    tracing::debug!("stone {} of {}: classic {classic:.3}, model {odds:.3}", stone.id, scene.frame.file);
    match info.opinion.get("stone").map(Vec::as_slice) {
        Some([constant, of_classic, of_model]) => {
            constant + of_classic * classic.clamp(-MOST_CLASSIC, MOST_CLASSIC) + of_model * odds
        }
        _ => classic,
    }
}

/// Log odds of classic vision beyond which it is as sure as it can be.
const MOST_CLASSIC: f64 = 8.0;
/// Log odds below which a person decides.
pub(super) const DOUBT: f64 = 0.5;

/// What the bare metal looks like.
pub(super) struct MetalLook {
    /// Mean |difference| of two pixels `LAG_PX` apart, over brightness.
    texture: f64,
    /// Two colour ratios, median.
    colour: [f64; 2],
    /// Its brightness in grey levels, median; 0 where none is seen.
    level: f64,
}

/// Pixels between the two samples of a texture difference.
const LAG_PX: usize = 4;

/// Added to the brightness, in grey levels, so that ratios of dark pixels stay finite.
const FLOOR: f64 = 8.0;

/// Brightness with [`FLOOR`], and two colour ratios.
fn ratios(p: &[u8]) -> (f64, [f64; 2]) {
    let (r, g, b) = (f64::from(p[0]), f64::from(p[1]), f64::from(p[2]));
    let sum = r + g + b + 3.0 * FLOOR;
    (sum / 3.0, [(r - b) / sum, (r + b - 2.0 * g) / sum])
}

impl MetalLook {
    pub fn new(scene: &Scene) -> Self {
        let (w, mask) = (scene.image.width, scene.bare_metal);
        let mut texture = Vec::new();
        let mut colour = [Vec::new(), Vec::new()];
        let mut level = Vec::new();
        for (i, m) in mask.data.iter().enumerate().step_by(3) {
            if *m == 0 || i % w + LAG_PX >= w || mask.data[i + LAG_PX] == 0 {
                continue;
            }
            let (a, c) = ratios(&scene.image.data[3 * i..3 * i + 3]);
            let (b, _) = ratios(&scene.image.data[3 * (i + LAG_PX)..3 * (i + LAG_PX) + 3]);
            texture.push(((a - b).abs() / (a + b)) as f32);
            colour[0].push(c[0] as f32);
            colour[1].push(c[1] as f32);
            level.push((a - FLOOR) as f32);
        }
        if texture.is_empty() {
            return MetalLook { texture: 0.01, colour: [0.0; 2], level: 0.0 };
        }
        let median = [f64::from(ops::median(&mut colour[0])), f64::from(ops::median(&mut colour[1]))];
        MetalLook {
            texture: f64::from(ops::quantile(&mut texture, 0.5)).max(0.004),
            colour: median,
            level: f64::from(ops::median(&mut level)),
        }
    }
}

/// What the inside of a girdle looks like, against the metal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Log of the texture around the centre over the metal's texture.
    pub texture: f64,
    /// Its colour along the metal's own hue, as a share of the metal's: 0 is neutral, 1 the metal, more a bowl that
    /// mirrors itself.
    pub tint: f64,
    /// Its colour across the metal's hue, in chromaticity: a coloured stone.
    pub across: f64,
    /// How far its colour is from the metal's, in chromaticity.
    pub colour: f64,
    /// How far the metal's colour is from neutral, in chromaticity.
    pub metal: f64,
    /// The brightness that its brightest tenth is above, in grey levels.
    pub bright: f64,
    /// The largest differences four pixels apart (above them one in twenty) over the larger ones of neighbours (one in five): 1.5 of noise alone.
    pub facets: f64,
    /// Those differences themselves, over the sum of both.
    pub contrast: f64,
    /// The brightness that a tenth, half and nine tenths of it lie below, in grey levels.
    pub levels: [f64; 3],
    /// The difference four pixels apart that one in twenty exceeds, in grey levels.
    pub step: f64,
    /// [`Look::bright`] over the brightness of bare metal; infinite where none is seen.
    pub lit: f64,
}

/// Grey levels of 255 that the noise of an unlit pixel stays below: four times the two to three levels of a camera's black.
pub(super) const BLACK: f64 = 12.0;

/// Least colour of the metal, in chromaticity, that can be told from none: three grey levels of 255.
const LEAST_COLOUR: f64 = 0.008;

/// Log of the texture over the metal's own below which a window is as even as the metal: twice as uneven as that. Of 2717 stones of five sets none is below
/// that and within [`LEAST_COLOUR`] of the metal besides (nor below 1.1 and within 0.012).
const EVEN: f64 = std::f64::consts::LN_2;

/// Grey levels above which a pixel may be clipped: neither facets nor colours can show there.
pub(super) const CLIPPED: f64 = 250.0;

/// [`Look::facets`] below which nothing but noise is seen: normal noise has 1.53, of 2423 stones of five sets none less than 1.88.
const BLANK: f64 = 1.7;

/// Where noise is smoothed away, [`Look::facets`] of painted holes (JPEG of quality 80 to 95, or no noise) reach 2.6, with a [`Look::contrast`] of up to 0.033; stones
/// under coaxial and diffuse light show no more contrast, and 3.1 and more.
const SMOOTH: f64 = 2.8;
const FLAT: f64 = 0.05;

/// [`Look::lit`] below which hardly any light comes from a seat. A brilliant's facets throw light back whatever the lamp: of 5126 looks at good round stones (those of the regression pieces and
/// of 53 pieces that were painted on, which repeat, clear and coloured, under every light but the dark field) none has less than 0.57; of 78 painted holes, some of them half lit or with crescents
/// of light, none more than 0.39. The large facets of other cuts may all look away from it: of 116 looks none has less than 0.47, of a tilted princess cut one 0.32.
const UNLIT: f64 = 0.48;
const UNLIT_OTHER_CUT: f64 = 0.3;

/// Octaves by which a look may be darker than the lower quartile of those like it, in any of its [`Look::levels`]: of 5995 looks at good round stones (the same, and some samples) none is
/// by more than 0.73; of 92 at other cuts one by 1.35.
const DARKER: f64 = 0.8;
const DARKER_OTHER_CUT: f64 = 1.8;

/// Octaves by which its steps may be smaller: of those 5995 looks one is by more.
const DULLER: f64 = 2.0;

/// Fewer others like it do not tell which of them is another; and what nearly three quarters of them are not less than is what they have in common.
const LEAST_LIKE: usize = 2;
const LIKE: f64 = 0.25;

/// What is said of a seat from which hardly any light comes, and of what looks otherwise than its like: a hole and what fills one are no stone, whatever colour they have.
const DIM: &str = "hardly any light comes from its seat: empty, or a black stone";
const DARK: &str = "it is darker than those like it: its seat may be empty";
const DULL: &str = "it shows hardly any facet where those like it do: its seat may be empty, or covered";

/// Whether that was said.
pub(crate) fn is_unlike(doubt: &str) -> bool {
    [DIM, DARK, DULL].contains(&doubt)
}

/// Log odds of a stone where a window looks as the metal does.
pub(super) const COVERED: f64 = -8.0;

/// Chromaticity beyond that of a metal's tarnish or of a warm light on it: a gem's own. A paler gem is told by its facets.
const GEM_COLOUR: f64 = 0.1;

/// The largest tint of an empty seat: those of 17 rendered ones lie between 1.4 and 2.4.
const MIRRORED: f64 = 2.5;

impl Look {
    /// Whether no light comes from it, as under a dark field: neither facets nor a bowl can show.
    pub fn is_black(&self) -> bool {
        self.bright < BLACK
    }

    /// Whether it shows nothing but noise, or, where a camera or a JPEG has smoothed the noise away, hardly anything at all.
    pub fn is_blank(&self) -> bool {
        // A gem's own colour, neither grey nor the metal's, is something to see.
        let coloured = (self.tint * self.metal).hypot(self.across).min(self.colour) > GEM_COLOUR;
        self.facets < BLANK || (self.facets < SMOOTH && self.contrast < FLAT && !coloured)
    }

    /// Why it may be no stone though it has the colour of one; none where nothing speaks for that. like: what others of its kind look like in the frame.
    pub fn unlike(&self, like: &[Look], is_round: bool, may_be_black: bool) -> Option<&'static str> {
        let (unlit, dark) = if is_round { (UNLIT, DARKER) } else { (UNLIT_OTHER_CUT, DARKER_OTHER_CUT) };
        if self.lit < unlit && !may_be_black {
            return Some(DIM);
        }
        if like.len() < LEAST_LIKE {
            return None;
        }
        let octaves = |of: &dyn Fn(&Look) -> f64| {
            let mut others: Vec<f32> = like.iter().map(|l| of(l) as f32).collect();
            (of(self) / f64::from(ops::quantile(&mut others, LIKE))).log2()
        };
        let darker = (0..3).any(|k| octaves(&|l: &Look| l.levels[k] + FLOOR) < -dark);
        let duller = octaves(&|l: &Look| l.step.max(1.0)) < -DULLER;
        darker.then_some(DARK).or(duller.then_some(DULL))
    }

    /// Whether a tenth of it or more may be clipped.
    pub fn is_clipped(&self) -> bool {
        self.bright >= CLIPPED
    }

    /// Whether it looks as the metal about it does, as even and of its colour: no seat was cut, or metal lies over it.
    pub fn is_metal(&self) -> bool {
        self.texture < EVEN && self.colour < LEAST_COLOUR && (BLACK..CLIPPED).contains(&self.bright)
    }

    /// [`Look::score`] of a stone of a coloured gem: a citrine in yellow gold has the colour of an empty seat, so that its facets may tell as those in white metal do.
    pub fn score_of_gem(&self) -> f64 {
        self.score().max(2.0 * (self.texture - 1.2) + self.steps())
    }

    /// Facets of a brilliant under directed light step harder than any seat does.
    fn steps(&self) -> f64 {
        4.0 * (self.texture - 2.0).max(0.0)
    }

    /// Log odds that a stone is there. The borders were set on rendered pieces of other seeds (about 1,000 stones of six
    /// metals under three lights): tints of stones stay below 0.4, those of empty seats above 1.4.
    pub fn score(&self) -> f64 {
        let facets = self.steps();
        if self.metal < LEAST_COLOUR {
            // An empty seat is no more coloured than its metal.
            return 2.0 * (self.texture - 1.2) + facets + 100.0 * (self.colour - GEM_COLOUR).max(0.0);
        }
        // A bowl that mirrors itself squares the metal's colour and no more: what is far beyond that is a gem's own, and no bowl.
        let beyond = self.colour - MIRRORED * self.metal;
        let own = 100.0 * (beyond - GEM_COLOUR).max(0.0);
        let coloured = (100.0 * (self.across - 0.04).max(0.0)).max(own);
        let bowl = 8.0 * (0.8 - self.tint.min(MIRRORED));
        let bowl = if bowl < 0.0 { bowl * (1.0 - beyond / GEM_COLOUR).clamp(0.0, 1.0) } else { bowl };
        bowl + facets + coloured
    }
}

/// What a seat looks like; none where it is not in the frame.
pub(super) fn look(scene: &Scene, stone: &Stone, metal: &MetalLook) -> Option<Look> {
    let pose = &scene.located.pose;
    let (w, h) = (scene.image.width as f64, scene.image.height as f64);
    let r = stone.diameter_mm / 2.0;
    let centre = pose.to_px(stone.x_mm, stone.y_mm);
    if !(centre[0] >= 0.0 && centre[1] >= 0.0 && centre[0] < w && centre[1] < h) {
        return None;
    }
    let mut texture = Vec::new();
    let mut colours = [Vec::new(), Vec::new()];
    let mut bright = Vec::new();
    let mut steps: Vec<f32> = Vec::new();
    let (mut fine, mut coarse) = (Vec::new(), Vec::new());
    let reach = |q: &Prong| 1.35 * q.radius_mm + 0.03;
    let near = |q: &&Prong| (stone.x_mm - q.x_mm).hypot(stone.y_mm - q.y_mm) < r + reach(q);
    let prongs: Vec<&Prong> = scene.view.stones.iter().flat_map(|s| &s.prongs).filter(near).collect();
    // What is seen of it at a distance from its centre (mm) in a direction; none under a prong and beyond the frame.
    let seen = |radius: f64, a: f64| {
        let (x, y) = (stone.x_mm + radius * a.cos(), stone.y_mm + radius * a.sin());
        let p = pose.to_px(x, y);
        let inside = p[0] >= 0.0 && p[1] >= 0.0 && p[0] <= w - 1.0 && p[1] <= h - 1.0;
        if !inside || prongs.iter().any(|q| (x - q.x_mm).hypot(y - q.y_mm) < reach(q)) {
            return None;
        }
        let k = p[1].round() as usize * scene.image.width + p[0].round() as usize;
        Some(ratios(&scene.image.data[3 * k..3 * k + 3]))
    };
    for ring in 0..8 {
        let radius = r * (0.4 + 0.5 * f64::from(ring) / 7.0);
        let radius_px = pose.px(radius);
        // Two samples LAG_PX apart along the ring: facets are cut across, a bowl's rings are not.
        let step = LAG_PX as f64 / radius_px.max(1.0);
        let n = (std::f64::consts::TAU / step).floor().clamp(8.0, 720.0) as usize;
        let mut previous: Option<f64> = None;
        for i in 0..=n {
            let a = std::f64::consts::TAU * i as f64 / n as f64;
            let Some((v, c)) = seen(radius, a) else {
                previous = None;
                continue;
            };
            colours[0].push(c[0] as f32);
            colours[1].push(c[1] as f32);
            bright.push((v - FLOOR) as f32);
            if let Some(u) = previous {
                texture.push(((u - v).abs() / (u + v)) as f32);
            }
            previous = Some(v);
        }
        // Pixel by pixel, too: noise is as large from one to the next as farther apart, facets are not.
        let n = (std::f64::consts::TAU * radius_px).floor().clamp(8.0, 2880.0) as usize;
        let angle = |i: usize| std::f64::consts::TAU * i as f64 / n as f64;
        let line: Vec<Option<f64>> = (0..n).map(|i| seen(radius, angle(i)).map(|(v, _)| v)).collect();
        for (lag, out) in [(1, &mut fine), (LAG_PX, &mut coarse)] {
            let pairs = (0..n).filter_map(|i| line[i].zip(line[(i + lag) % n]));
            if lag == LAG_PX {
                steps.extend(pairs.clone().map(|(u, v)| (u - v).abs() as f32));
            }
            out.extend(pairs.map(|(u, v)| ((u - v).abs() / (u + v)) as f32));
        }
    }
    if texture.len() < 16 {
        return None;
    }
    // The upper part of the differences: facets are flat inside and step at their edges.
    let upper = f64::from(ops::quantile(&mut texture, 0.8)) / 1.9;
    let c = [f64::from(ops::median(&mut colours[0])), f64::from(ops::median(&mut colours[1]))];
    let m = metal.colour;
    let size = m[0].hypot(m[1]);
    let along = (c[0] * m[0] + c[1] * m[1]) / size.max(1e-6);
    let across = (c[1] * m[0] - c[0] * m[1]).abs() / size.max(1e-6);
    let contrast = f64::from(ops::quantile(&mut coarse, 0.95));
    let facets = contrast / f64::from(ops::quantile(&mut fine, 0.8).max(1e-4));
    let levels = [0.1, 0.5, 0.9].map(|share| f64::from(ops::quantile(&mut bright, share)));
    Some(Look {
        texture: (upper / metal.texture).max(1e-3).ln(),
        tint: along / size.max(1e-6),
        across,
        colour: (c[0] - m[0]).hypot(c[1] - m[1]),
        metal: size,
        bright: levels[2],
        facets,
        contrast,
        levels,
        step: f64::from(ops::quantile(&mut steps, 0.95)),
        lit: if metal.level > 0.0 { levels[2] / metal.level } else { f64::INFINITY },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Look = Look {
        texture: 2.0,
        tint: 0.0,
        across: 0.0,
        colour: 0.1,
        metal: 0.16,
        bright: 120.0,
        facets: 5.0,
        contrast: 0.3,
        levels: [60.0, 90.0, 120.0],
        step: 40.0,
        lit: 1.0,
    };

    #[test]
    fn a_hole_among_stones_is_unlike_them() {
        let like = [SOME, Look { levels: [70.0, 95.0, 150.0], step: 30.0, ..SOME }, SOME];
        assert_eq!(SOME.unlike(&like, true, false), None);
        assert_eq!(Look { levels: [20.0, 70.0, 120.0], ..SOME }.unlike(&like, true, false), Some(DARK));
        assert_eq!(Look { step: 4.0, ..SOME }.unlike(&like, true, false), Some(DULL));
        // One other does not tell which of the two is wrong; a seat without light needs none.
        assert_eq!(Look { step: 5.0, ..SOME }.unlike(&like[..1], true, false), None);
        assert_eq!(Look { lit: 0.3, ..SOME }.unlike(&[], true, false), Some(DIM));
        assert_eq!(Look { lit: 0.4, ..SOME }.unlike(&[], true, true), None);
        // Large facets may look away from the lamp.
        assert_eq!(Look { lit: 0.4, levels: [30.0, 40.0, 50.0], ..SOME }.unlike(&like, false, false), None);
    }

    #[test]
    fn metal_without_a_seat_is_told() {
        let look = Look {
            texture: 0.1,
            tint: 1.0,
            across: 0.001,
            colour: 0.002,
            metal: 0.16,
            bright: 190.0,
            facets: 1.6,
            contrast: 0.01,
            ..SOME
        };
        assert!(look.is_metal());
        for other in [
            Look { texture: 1.2, ..look },  // facets
            Look { colour: 0.015, ..look }, // a stone of nearly the metal's colour
            Look { bright: 5.0, ..look },   // no light
            Look { bright: 255.0, ..look }, // too much of it
        ] {
            assert!(!other.is_metal(), "{other:?}");
        }
    }

    #[test]
    fn a_hole_whose_noise_was_smoothed_away_shows_nothing() {
        let of = |facets, contrast| Look {
            texture: 1.0,
            tint: 0.0,
            across: 0.0,
            colour: 0.1,
            metal: 0.16,
            bright: 45.0,
            facets,
            contrast,
            ..SOME
        };
        assert!(of(1.5, 0.2).is_blank() && of(2.4, 0.03).is_blank());
        // Facets that hardly differ, and few large ones.
        assert!(!of(3.1, 0.02).is_blank() && !of(2.4, 0.2).is_blank());
        // A sapphire in rhodium.
        assert!(!Look { tint: -8.0, metal: 0.033, colour: 0.296, ..of(2.2, 0.033) }.is_blank());
        // And a bowl of the metal's own colour is none.
        assert!(Look { tint: 0.94, colour: 0.012, ..of(2.5, 0.02) }.is_blank());
    }

    #[test]
    fn gems_of_a_colour_are_told_from_empty_seats() {
        let look =
            |texture, tint, across, colour, metal| Look { texture, tint, across, colour, metal, ..SOME }.score();
        // A ruby in rhodium, whose faint hue makes any colour look like a multiple of it; one in silver without a hue.
        assert!(look(1.0, 25.0, 0.01, 0.3, 0.012) > DOUBT);
        assert!(look(0.5, 60.0, 0.01, 0.3, 0.005) > DOUBT);
        // A brilliant in yellow gold.
        assert!(look(2.5, 0.1, 0.0, 0.14, 0.16) > DOUBT);
        // Empty seats as rendered: rhodium, yellow and rose gold; silver.
        for (texture, tint, across, colour, metal) in
            [(1.86, 2.35, 0.0, 0.022, 0.0164), (0.75, 1.45, 0.024, 0.08, 0.1672), (1.25, 2.16, 0.012, 0.121, 0.1034)]
        {
            assert!(look(texture, tint, across, colour, metal) < -DOUBT);
        }
        assert!(look(0.8, 1.9, 0.003, 0.004, 0.005) < -DOUBT);
        // A tarnished one.
        assert!(look(0.8, 1.9, 0.003, 0.095, 0.005) < -DOUBT);
    }
}
