//! Dark spots in the margins about stones and prongs and under the rim, where the metal mirrors them and its own scatter says nothing: a spot that the metal's own
//! tone surrounds on all sides is no mirror image of a stone or a prong, for those run on into what they mirror.

use super::metal::LocalMean;
use super::stones::{part, placed, value};
use super::{Feature, Scene};
use crate::locate::{self, edges};
use crate::report::FindingType;
use crate::vision::{ops, Mask, Plane, Rect, VisionError};

/// How dark a spot is, over the metal about it. Of 210 good pieces of five rendered sets (with dust, fibres and fingerprints) three showed a spot below it that metal surrounds and no dust explains, all
/// under dark field; of 72 pits painted by or within 0.2 mm of prongs and rims 68 are told.
const DARK: f32 = 0.6;
/// What is as bright as the metal: between these times its level.
const METAL: std::ops::Range<f32> = 0.75..1.4;
/// The share of a ring about a spot that must look like metal, and where that ring begins and ends, in pixels outside the spot: beyond its blur.
const SURROUNDED: f64 = 0.6;
const RING_PX: std::ops::RangeInclusive<f32> = 2.5..=4.5;
/// The metal's level is a mean over so far (standard deviation), in mm: the largest spot is as wide.
const LEVEL_MM: f64 = 0.2;
/// The smallest spot in mm, where no limit says less, and in pixels: fewer show no form. And the largest in mm.
const LEAST_MM: f64 = 0.05;
const LEAST_PX: f64 = 3.5;
const LARGEST_MM: f64 = 0.4;
/// A spot fills at least this share of the circle about it.
const FILLED: f64 = 0.5;
/// Pixels that a girdle's, a prong's and the rim's own edge is blurred over, beside where it runs.
const EDGE_PX: f64 = 1.5;
const RIM_PX: f32 = 3.0;
/// The scatter of a diameter's measure beside half a pixel, as a share: as of other pits.
const DIAMETER_U: f64 = 0.06;

/// The spots as pits that a person decides on; known: what was seen of the surface already, which they add nothing to.
///
/// # Errors
/// Where OpenCV refuses.
pub(super) fn pits(scene: &Scene, known: &[Feature]) -> Result<Vec<Feature>, VisionError> {
    // In the dark field metal is dark and its edges are bright.
    let (Some(mm), true) = (scene.mm_per_px(), scene.view.outline.is_some() && scene.frame.light != "dark_field")
    else {
        return Ok(vec![]);
    };
    // A frame that shows the smallest spot finer than its form needs is averaged down.
    let f = (LEAST_MM / LEAST_PX / mm).floor().clamp(1.0, 8.0) as usize;
    let mm = mm * f as f64;
    let open = open_metal(scene, f)?;
    let Some(bounds) = open.bounds() else { return Ok(vec![]) };
    let (metal, grey) = (open.cut(bounds), ops::shrink(scene.grey(), f).cut(bounds));
    let level = level(&grey, &metal, LEVEL_MM / mm)?;
    let mut dark = Mask::empty(metal.width, metal.height);
    for (i, d) in dark.data.iter_mut().enumerate() {
        *d = if metal.data[i] != 0 && grey.data[i] < DARK * level.data[i] { 255 } else { 0 };
    }
    let least = scene.spec.limit("pit.diameter_mm", &scene.view.name).and_then(|l| l.upper).unwrap_or(LEAST_MM);
    let sizes = least.min(LEAST_MM).max(LEAST_PX * mm)..LARGEST_MM;
    let (blobs, labels) = ops::components(&dark)?;
    let mut out: Vec<Feature> = Vec::new();
    for b in &blobs {
        let diameter = 2.0 * (b.area as f64 / std::f64::consts::PI).sqrt();
        let longest = b.bounds.width.max(b.bounds.height) as f64;
        if !sizes.contains(&(diameter * mm)) || b.area as f64 / (0.785 * (longest + 1.0).powi(2)) < FILLED {
            continue;
        }
        let full = |v: f64| (v + 0.5) * f as f64 - 0.5;
        let (x, y) = (full(b.x + bounds.x as f64), full(b.y + bounds.y as f64));
        // Where the metal's own scatter tells, it was looked at.
        let at = [(x, scene.image.width), (y, scene.image.height)].map(|(v, n)| (v.round() as usize).min(n - 1));
        if scene.bare_metal.at(at[0], at[1]) || !is_surrounded(b, &labels, &grey, &metal, &level)? {
            continue;
        }
        let radius = diameter / 2.0 * f as f64;
        // A line or a sound place that margins cut out of it says less.
        let theirs = |k: &Feature| {
            let counts = k.kind.is_some_and(|k| !matches!(k, FindingType::Anomaly | FindingType::Scratch));
            counts && (k.x_px - x).hypot(k.y_px - y) < k.radius_px + radius
        };
        if known.iter().any(theirs) {
            continue;
        }
        let mut feature = part("margin-pit-0", [x, y], radius);
        feature.kind = Some(FindingType::Pit);
        feature.found_by = vec!["surface".to_owned()];
        feature.nominal = false;
        feature.confidence = 0.5;
        let outline = ops::blob_outline(&labels, metal.width, b)?;
        feature.outline_px =
            outline.iter().map(|p| [full(p[0] + bounds.x as f64), full(p[1] + bounds.y as f64)]).collect();
        let u = (0.5 * mm).hypot(DIAMETER_U * diameter * mm).hypot(scene.scale_u() * diameter * mm);
        feature.values = vec![value("pit.diameter_mm", diameter * mm, u)];
        feature.doubt =
            Some("it lies beside a stone, a prong or the rim: it may be dust, or their reflection".to_owned());
        out.push(feature);
    }
    Ok(out)
}

/// The metal inside the outline, up to the girdles and prongs as they are seen, of every `f`th pixel.
fn open_metal(scene: &Scene, f: usize) -> Result<Mask, VisionError> {
    let (view, located) = (scene.view, scene.located);
    let pose = &located.pose;
    let coarse = |p: [f64; 2]| p.map(|v| (v + 0.5) / f as f64 - 0.5);
    let px = |mm: f64| pose.px(mm) / f as f64;
    let mut mask = ops::shrink_mask(&located.metal, f);
    let depth = ops::distance_inside(&mask)?;
    let reach = view.outline.as_ref().map_or(0.0, locate::outline::reach);
    let rim = RIM_PX + px(located.place_u2_mm(reach)) as f32;
    for (m, d) in mask.data.iter_mut().zip(&depth.data) {
        if *d <= rim {
            *m = 0;
        }
    }
    if let Some(shape) = &view.outline {
        for notch in edges::notches(&located.edges, shape, pose, 0.04) {
            ops::fill_polygons(&mut mask, &[notch.into_iter().map(coarse).collect()], 0)?;
        }
    }
    let (seen, _) = placed(scene);
    for (index, s) in view.stones.iter().enumerate() {
        let place = if located.has_direction { located.place_u2_mm(s.x_mm.hypot(s.y_mm)) } else { 0.0 };
        // Of a stone that is not seen in its seat nothing is known but where it should be.
        let (centre, reach) = match seen.iter().find(|p| p.index == index) {
            Some(p) => (p.centre, s.reach_mm() * p.seen / s.diameter_mm),
            None => ([s.x_mm, s.y_mm], s.reach_mm() + place + locate::SETTING_TOLERANCE_MM),
        };
        let p = coarse(pose.to_px(centre[0], centre[1]));
        ops::fill_circle(&mut mask, p[0], p[1], px(reach) + EDGE_PX, 0);
        for q in &s.prongs {
            let p = coarse(pose.to_px(q.x_mm, q.y_mm));
            ops::fill_circle(&mut mask, p[0], p[1], px(q.radius_mm + place) + EDGE_PX, 0);
        }
    }
    Ok(mask)
}

/// The brightness of the metal about every pixel, less what is far darker or brighter than it.
fn level(grey: &Plane, metal: &Mask, sigma: f64) -> Result<Plane, VisionError> {
    let (width, height) = (grey.width, grey.height);
    let weight: Vec<f32> = metal.data.iter().map(|m| if *m != 0 { 1.0 } else { 0.0 }).collect();
    let mean = |weight: Vec<f32>| -> Result<Plane, VisionError> {
        let data = grey.data.iter().zip(&weight).map(|(g, w)| g * w).collect();
        LocalMean::new(&Plane { width, height, data: weight }, sigma, false)?.of(&Plane { width, height, data })
    };
    let first = mean(weight.clone())?;
    let usual = |i: usize| (0.75 * first.data[i]..1.5 * first.data[i]).contains(&grey.data[i]);
    mean(weight.iter().enumerate().map(|(i, w)| if usual(i) { *w } else { 0.0 }).collect())
}

/// Whether a ring about a spot is metal, and looks like it.
fn is_surrounded(
    b: &ops::Blob,
    labels: &[i32],
    grey: &Plane,
    metal: &Mask,
    level: &Plane,
) -> Result<bool, VisionError> {
    let margin = *RING_PX.end() as usize + 2;
    let (x0, y0) = (b.bounds.x.saturating_sub(margin), b.bounds.y.saturating_sub(margin));
    let x1 = (b.bounds.x + b.bounds.width + margin).min(metal.width);
    let y1 = (b.bounds.y + b.bounds.height + margin).min(metal.height);
    let about = Rect { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    let mut outside = Mask::full(about.width, about.height);
    for y in 0..about.height {
        for x in 0..about.width {
            if labels[(y + y0) * metal.width + x + x0] == b.label {
                outside.data[y * about.width + x] = 0;
            }
        }
    }
    let away = ops::distance_inside(&outside)?;
    let (mut like, mut all) = (0usize, 0usize);
    for y in 0..about.height {
        for x in (0..about.width).filter(|x| RING_PX.contains(&away.at(*x, y))) {
            let i = (y + y0) * metal.width + x + x0;
            all += 1;
            like += usize::from(metal.data[i] != 0 && METAL.contains(&(grey.data[i] / level.data[i].max(1.0))));
        }
    }
    Ok(all > 0 && like as f64 >= SURROUNDED * all as f64)
}
