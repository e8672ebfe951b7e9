//! Places of the open metal that stand out of the metal all around them and are larger than what is looked for as a pit or a stain: far darker or brighter
//! ones (holes, glue, burns), ones of another colour (tarnish), dents, and ones that are rougher or smoother. The neighbourhoods that pits and stains are
//! held against are smaller than such a place, which so becomes its own measure.

mod cells;
mod levels;
mod rough;
mod tints;

use super::stones::part;
use super::{Feature, Scene};
use crate::report::FindingType;
use crate::vision::VisionError;

/// The metal is looked at in cells as wide as this, in mm.
const CELL_MM: f64 = 0.1;
/// What the map takes for a mark by this share is one: light that met the metal twice fills its letters, and they are rough.
const MARK: f64 = 0.25;
/// Lights under which polished metal is dark or bright as it slopes: they tell nothing of dents, and its roughness looks different from place to place.
const BY_SLOPE: [&str; 2] = ["coaxial", "dark_field"];

/// What a place may be.
const WHAT: &str = "a hole, or something that lies on it";
const WHAT_TINT: &str = "tarnish, a residue, or a plating that is worn off";
const WHAT_DENT: &str = "a dent or a bump";
const WHAT_ROUGH: &str = "a place that was not finished like the rest, or a coating that peels";

/// How it stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// Brightness over that of the metal about it.
    Level(f64),
    /// By what share its colour is another.
    Tint(f64),
    /// The same of a part of the metal of so many mm2.
    Part { tint: f64, mm2: f64 },
    /// Brightness of its dark and its bright flank over that of the metal about them.
    Dent { low: f64, high: f64 },
    /// How many times as rough as the metal it is.
    Rough(f64),
    /// How many times as rough as the rest a share of the metal is.
    TwoFinishes { times: f64, share: f64 },
}

impl What {
    /// What it may be.
    fn word(self) -> &'static str {
        match self {
            What::Level(_) => WHAT,
            What::Tint(_) | What::Part { .. } => WHAT_TINT,
            What::Dent { .. } => WHAT_DENT,
            What::Rough(_) | What::TwoFinishes { .. } => WHAT_ROUGH,
        }
    }

    /// How it looks and what it may be.
    fn text(self) -> String {
        let word = self.word();
        match self {
            What::Level(level) => {
                let what = if level < 1.0 { "dark" } else { "bright" };
                format!("{what}, {:.0} % of the metal about it: {word}", 100.0 * level)
            }
            What::Tint(share) | What::Part { tint: share, .. } => {
                format!("of another colour, by {:.0} %: {word}", 100.0 * share)
            }
            What::Dent { low, high } => {
                let [low, high] = [low, high].map(|v| 100.0 * v);
                format!("its flanks have {low:.0} and {high:.0} % of the brightness of the metal about them: {word}")
            }
            What::Rough(times) if times < 1.0 => format!("{:.1} times as smooth as the rest: {word}", 1.0 / times),
            What::Rough(times) => format!("{times:.1} times as rough as the rest: {word}"),
            What::TwoFinishes { times, share } => {
                format!("{:.0} % of the metal, {times:.1} times as rough as the rest: {word}", 100.0 * share)
            }
        }
    }
}

/// Such a place.
#[derive(Debug, Clone, PartialEq)]
struct Island {
    /// Centre in pixels of the frame.
    x: f64,
    y: f64,
    /// Of a disc of its area, in pixels.
    radius: f64,
    /// Its border in pixels of the frame; empty where a circle shows it.
    outline: Vec<[f64; 2]>,
    what: What,
}

/// The places of a frame as features that no limit decides, and what a person should know of them; none where there are none.
/// known: what other inspectors say of the surface; a place on which one of these lies is theirs.
///
/// # Errors
/// Where OpenCV refuses.
pub fn seen(scene: &Scene, known: &[Feature]) -> Result<Option<(Vec<Feature>, String)>, VisionError> {
    let Some(mm) = scene.mm_per_px() else { return Ok(None) };
    let mut all = levels::islands(&scene.grey().data, scene.bare_metal, mm)?;
    let by_slope = BY_SLOPE.contains(&scene.frame.light.as_str());
    all.retain(|i| !by_slope || !matches!(i.what, What::Dent { .. }));
    // Where five by five points within it show a mark on average.
    let is_mark = |t: &Island| {
        let Some((map, c)) = scene.classes.and_then(|map| Some((map, map.class("mark")?))) else { return false };
        let off = |k: i32| 0.4 * t.radius * f64::from(k - 2);
        let shares = (0..25).map(|i| f64::from(map.sample(c, t.x + off(i % 5), t.y + off(i / 5))));
        shares.sum::<f64>() > 25.0 * MARK
    };
    // A soft stain looks like one to the map, so only where one is ordered.
    let marked = !super::hallmark::ordered(scene.spec, scene.view).is_empty();
    // A metal of a name of its own may be two.
    let one_metal = crate::spec::parse::METALS.contains(&scene.spec.metal.as_str());
    let mut more: Vec<Island> = tints::tints(scene.image, scene.bare_metal, mm, one_metal)?
        .into_iter()
        .filter(|t| !marked || !is_mark(t))
        .collect();
    if !by_slope {
        let rough = rough::rough(scene.grey(), scene.bare_metal, mm)?;
        more.extend(rough.into_iter().filter(|t| matches!(t.what, What::TwoFinishes { .. }) || !is_mark(t)));
    }
    for t in more {
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
        feature.outline_px.clone_from(&i.outline);
        feature.nominal = false;
        feature.doubt = Some(i.what.word().to_owned());
        features.push(feature);
        let at = scene.located.pose.to_mm(i.x, i.y);
        let what = i.what.text();
        words.push(match i.what {
            What::Part { mm2, .. } => format!("{mm2:.1} mm2 ({what})"),
            _ => format!("{:.1} mm at ({:.2}, {:.2}) mm ({what})", 2.0 * i.radius * mm, at[0], at[1]),
        });
    }
    let text = || format!("a place stands out of the metal about it: {}", words.join(", "));
    Ok((!features.is_empty()).then(|| (features, text())))
}
