//! Stones that the spec does not have: the surface model sees a stone where none was ordered, and the model of stones agrees.

use super::sight::{self, PartModels, PartsError};
use super::Scene;
use crate::spec::Stone;
use crate::vision::{ops, Mask};

/// The smallest that is looked for, in mm.
const LEAST_MM: f64 = 0.6;
/// About a nominal stone its own girdle, glare and seat are seen: so many times its reach, and so much more in mm.
const ABOUT: (f64, f64) = (1.15, 0.15);
/// A region longer than this many times its width is no stone.
const LONGEST: f64 = 2.2;
/// How much of its box a disc fills is 0.79; a stone's region with a prong or two over it half.
const LEAST_FILLED: f64 = 0.5;
/// Log odds from which the model of stones agrees: eleven to one.
const AGREES: f64 = 2.4;
/// Shares of the surface model from which a pixel shows stone.
const STONE: f32 = 0.5;

/// Where stones are seen that the spec does not have, as a person reads it; none where there are none.
///
/// # Errors
/// [`PartsError`].
pub fn seen(scene: &Scene, parts: &PartModels) -> Result<Option<String>, PartsError> {
    let (Some(map), Some(_)) = (scene.classes, scene.mm_per_px()) else { return Ok(None) };
    let Some(class) = map.class("stone") else { return Ok(None) };
    let pose = &scene.located.pose;
    let plane = map.class_plane(class);
    let metal = &scene.located.metal;
    let data = plane.data.iter().zip(&metal.data).map(|(p, m)| if *p >= STONE && *m != 0 { 255 } else { 0 });
    let mut mask = Mask { width: plane.width, height: plane.height, data: data.collect() };
    for s in &scene.view.stones {
        let p = pose.to_px(s.x_mm, s.y_mm);
        ops::fill_circle(&mut mask, p[0], p[1], pose.px(ABOUT.0 * s.reach_mm() + ABOUT.1), 0);
    }
    let least = std::f64::consts::PI * pose.px(LEAST_MM / 2.0).powi(2);
    let (blobs, _) = ops::components(&mask)?;
    let mut out = Vec::new();
    for b in blobs {
        let (w, h) = (b.bounds.width as f64, b.bounds.height as f64);
        if (b.area as f64) < 0.8 * least || w.max(h) > LONGEST * w.min(h) || (b.area as f64) < LEAST_FILLED * w * h {
            continue;
        }
        let at = pose.to_mm(b.x, b.y);
        let diameter = pose.mm(2.0 * (b.area as f64 / std::f64::consts::PI).sqrt());
        let stone = Stone::unnamed(at, diameter, "round");
        if !sight::is_measurable(scene.image, pose, &stone) {
            continue;
        }
        let sights = parts.stones(scene.image, pose, &[&stone])?;
        tracing::debug!(
            "a stone beside the spec's at {at:.2?} of {}: {:?}",
            scene.frame.file,
            sights.first().map(|s| s.present)
        );
        if sights.first().is_some_and(|s| s.present >= AGREES) {
            out.push(format!("({:.2}, {:.2}) mm", at[0], at[1]));
        }
    }
    Ok((!out.is_empty()).then(|| format!("a stone is seen that the spec does not have, at {}", out.join(", "))))
}
