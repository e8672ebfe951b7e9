//! Whether the metal has about the colour of the one ordered: a ring cast in the wrong gold. Without a colour calibration no colour is measured, but yellow,
//! red and white metal are told apart in any light that is not far from white. With one it is the calibrated colour that is looked at.

use super::Scene;
use crate::vision::{ops, Image, Mask};

/// Fewest pixels that tell a colour, and the levels between which a channel tells it.
const LEAST: usize = 500;
const LEVELS: std::ops::Range<u8> = 24..250;
/// So many pixels tell a median as well as all do.
const ENOUGH: usize = 200_000;

/// Metals by what they look like: their name, the metals of it that a spec may order, and least and most of blue over red and of twice green over red and
/// blue. Of 437 frames of six sets (rendered, and the sample pieces; where a mask of the metal was at hand, medians over it) yellow gold has 0.545 to
/// 0.653 and from 1.09 on, rose gold 0.723 to 0.796 and up to 0.975, the white ones 0.842 and more; a camera's own white moves them by several hundredths.
type Family = (&'static str, &'static [&'static str], [f64; 2], [f64; 2]);
const FAMILIES: [Family; 3] = [
    ("yellow", &["yellow_gold"], [0.4, 0.69], [1.04, 1.3]),
    ("red", &["rose_gold"], [0.55, 0.82], [0.8, 1.0]),
    ("white", &["white_gold", "rhodium", "silver", "platinum"], [0.82, 1.2], [0.9, 1.1]),
];
/// How far outside its own family's bounds a metal's look must lie, for another's: half the way that a camera's white may move it.
const BEYOND: f64 = 0.04;

/// What a person should know where the bare metal looks like another than the one ordered; none where it does not, or nothing tells.
pub fn another(scene: &Scene) -> Option<String> {
    let own = FAMILIES.iter().find(|f| f.1.contains(&scene.spec.metal.as_str()))?;
    let look = match scene.colour {
        // A camera's own values say less than what they mean.
        Some(Ok(_)) => ratios(super::colour::srgb(scene)?),
        _ => look(scene.image, scene.bare_metal)?,
    };
    tracing::debug!("{}: the metal has B/R {:.3}, 2G/(R+B) {:.3}", scene.frame.file, look[0], look[1]);
    let seen = unlike(own, look)?;
    Some(format!(
        "the metal looks {seen}, and {} is ordered: another metal, or the camera's white is off",
        scene.spec.metal
    ))
}

/// Blue over red, and twice green over red and blue.
fn ratios([r, g, b]: [f64; 3]) -> [f64; 2] {
    [b / r, 2.0 * g / (r + b)]
}

/// The median of both ratios over the metal.
fn look(image: &Image, metal: &Mask) -> Option<[f64; 2]> {
    if image.grey {
        return None;
    }
    let step = (metal.count() / ENOUGH).max(1);
    let pixels = image.data.chunks_exact(3).zip(&metal.data).step_by(step);
    let usable = pixels.filter(|(p, m)| **m != 0 && p.iter().all(|v| LEVELS.contains(v))).map(|(p, _)| p);
    let (mut blue, mut green) = (Vec::new(), Vec::new());
    for p in usable {
        let [of_blue, of_green] = ratios([p[0], p[1], p[2]].map(f64::from));
        blue.push(of_blue as f32);
        green.push(of_green as f32);
    }
    (blue.len() >= LEAST).then(|| [f64::from(ops::median(&mut blue)), f64::from(ops::median(&mut green))])
}

/// The family that a look belongs to, where that is not its own and it lies well outside that.
fn unlike(own: &Family, look: [f64; 2]) -> Option<&'static str> {
    let outside = |f: &Family| {
        [(look[0], f.2), (look[1], f.3)].iter().map(|(v, [lo, hi])| (lo - v).max(v - hi)).fold(f64::MIN, f64::max)
    };
    let other = FAMILIES.iter().find(|f| f.0 != own.0 && outside(f) <= 0.0)?;
    (outside(own) > BEYOND).then_some(other.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yellow_red_and_white_metal_are_told_apart() {
        let of = |metal: &str, look: [f64; 2]| unlike(FAMILIES.iter().find(|f| f.1.contains(&metal)).unwrap(), look);
        let (yellow, rose, white, silver) = ([0.615, 1.135], [0.746, 0.941], [0.906, 1.017], [0.958, 1.005]);
        assert_eq!(
            [of("yellow_gold", yellow), of("rose_gold", rose), of("white_gold", white), of("rhodium", silver)],
            [None; 4]
        );
        assert_eq!([of("yellow_gold", white), of("yellow_gold", rose)], [Some("white"), Some("red")]);
        assert_eq!([of("rose_gold", yellow), of("rose_gold", silver)], [Some("yellow"), Some("white")]);
        assert_eq!([of("silver", yellow), of("white_gold", rose)], [Some("yellow"), Some("red")]);
        // The whites are not told from each other, and a camera's white a few percent off tells nothing.
        assert_eq!(
            [of("white_gold", silver), of("white_gold", [0.80, 1.03]), of("yellow_gold", [0.70, 1.1])],
            [None; 3]
        );
    }
}
