//! What the surface model sees, merged with what classic vision saw. A defect that both saw carries both names; one that
//! the model alone saw is measured from its probability map.

use super::opinion::{self, Asked, Ruling, Shape};
use super::{Answer, Feature, Scene, Value};
use crate::report::FindingType;
use crate::vision::{ops, Image, Mask, VisionError};

/// The name in `found_by`.
pub const NAME: &str = "surface-model";

/// Merges the model's findings into an answer. Without a scale classic vision measured nothing and the model's word stands alone;
/// with one, a region that its pixels do not bear out (see [`contrast`]) or that is ruled sound ([`opinion::Opinion::ruling`]) is
/// left out.
///
/// # Errors
/// Where OpenCV refuses.
pub fn merge(scene: &Scene, answer: &mut Answer) -> Result<(), VisionError> {
    let Some((map, info)) = opinion::of_scene(scene) else { return Ok(()) };
    let (gw, gh) = map.grid();
    let stride = map.stride as f64;
    let defect = map.defect_cells();
    // With a scale classic vision was there first, and the weights tell chance from defect.
    let asked = opinion::is_asked(scene) && scene.mm_per_px().is_some();
    let located = scene.view.outline.is_some();
    let mut alone = Vec::new();
    // The rim's own look hides a pit from classic vision, not from the model. Most maps show no defect and need no mask of it.
    let any = info.thresholds.get("alone").is_some_and(|t| defect.iter().any(|p| p >= t));
    let to_the_rim = (asked && located && any)
        .then(|| crate::locate::metal_to_the_rim(scene.view, scene.located, scene.image))
        .transpose()?;
    let open = to_the_rim.as_ref().unwrap_or(scene.bare_metal);
    // There a place that looks defective is one region, of the kind that most of it looks like. Elsewhere each class has its
    // own threshold, as on the sets it was chosen on.
    let cuts: Vec<(Option<usize>, f32, f64)> = match info.thresholds.get("alone") {
        Some(t) if asked => vec![(None, *t, 2.0)],
        _ => (map.sound..map.classes.len())
            .map(|c| {
                (Some(c), info.threshold(&map.classes[c]), info.min_area_px / (info.output_stride.pow(2) as f64))
            })
            .collect(),
    };
    for (class, threshold, least_cells) in cuts {
        let probability = class.map_or(defect.as_slice(), |c| map.cells(c));
        let mut mask = Mask::empty(gw, gh);
        for y in 0..gh {
            for x in 0..gw {
                let px = ((x * map.stride) + map.stride / 2).min(scene.image.width - 1);
                let py = ((y * map.stride) + map.stride / 2).min(scene.image.height - 1);
                if probability[y * gw + x] >= threshold && open.at(px, py) {
                    mask.data[y * gw + x] = 255;
                }
            }
        }
        let (blobs, labels) = ops::components(&mask)?;
        for b in &blobs {
            // In cells as the model saw them: a finer frame was averaged down for it.
            if (b.area as f64) < least_cells {
                continue;
            }
            let mut peak = 0.0f32;
            let mut of_class = vec![0.0f32; map.classes.len()];
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    let i = y * gw + x;
                    if labels[i] == b.label {
                        peak = peak.max(defect[i]);
                        for (c, sum) in of_class.iter_mut().enumerate().skip(map.sound) {
                            *sum += map.cells(c)[i];
                        }
                    }
                }
            }
            // `other_defect` has no size of its own: only what hardly looks like anything else is left to it.
            let unmeasured = map.class("other_defect");
            let total: f32 = of_class.iter().sum();
            let likeliest = (map.sound..map.classes.len())
                .filter(|c| Some(*c) != unmeasured || of_class[*c] > MOSTLY * total)
                .max_by(|a, b| of_class[*a].total_cmp(&of_class[*b]));
            let class = class.or(likeliest).map_or("", |c| map.classes[c].as_str());
            let (kind, stem, shape) = match class {
                "pore_pit" => (FindingType::Pit, "model-pit", Shape::Spot),
                "crack_scratch" => (FindingType::Scratch, "model-scratch", Shape::Line),
                "stain" => (FindingType::Stain, "model-stain", Shape::Patch),
                "worn_plating" => (FindingType::WornPlating, "model-worn", Shape::Patch),
                _ => (FindingType::Anomaly, "model-anomaly", Shape::Patch),
            };
            let full = |v: f64| (v + 0.5) * stride - 0.5;
            let (x, y) = (full(b.x), full(b.y));
            let outline: Vec<[f64; 2]> =
                ops::blob_outline(&labels, gw, b)?.into_iter().map(|p| [full(p[0]), full(p[1])]).collect();
            let area_px = b.area as f64 * stride * stride;
            let radius = (area_px / std::f64::consts::PI).sqrt();
            let reach = 0.5 * (b.bounds.width.max(b.bounds.height) as f64) * stride;
            // Seen by both: the places overlap.
            let mut shared = false;
            for f in &mut answer.features {
                if f.kind.is_some_and(is_surface) && overlap(f, &outline, [x, y], reach, stride) {
                    // A speck on a scratch that classic vision missed does not stand for it.
                    shared |= !asked || radius.max(reach) <= 2.0 * f.radius_px.max(2.0 * stride);
                    if !f.found_by.iter().any(|n| n == NAME) {
                        f.found_by.push(NAME.to_owned());
                    }
                    f.confidence = 1.0 - (1.0 - f.confidence) * (1.0 - f64::from(peak));
                }
            }
            if shared {
                continue;
            }
            let on_bare = || {
                let inside = |v: f64, n: usize| (v.max(0.0) as usize).min(n - 1);
                let on = |p: &&[f64; 2]| {
                    scene.bare_metal.at(inside(p[0], scene.image.width), inside(p[1], scene.image.height))
                };
                2 * outline.iter().filter(on).count() >= outline.len()
            };
            let contrast = contrast(scene.image, open, &outline, x, y);
            let least = match (asked, located) {
                (true, _) => LEAST_ASKED,
                (_, true) => LEAST_CONTRAST,
                _ => f64::NEG_INFINITY,
            };
            if contrast <= least {
                continue;
            }
            let (opinion, ruling) = opinion::ask(
                scene,
                Asked::Map(map),
                info,
                (shape, true, f64::INFINITY),
                &outline,
                [x, y],
                radius,
                contrast,
            )?;
            let doubt = match ruling {
                // Without a scale the map stands alone, as on the real sets of the training.
                _ if !asked => None,
                Ruling::Sound(_) => continue,
                Ruling::Doubtful(_) => Some(opinion::doubt(&opinion)),
                // Few rims were among what the weights were fitted on.
                Ruling::Stands if !on_bare() => Some(opinion::doubt(&opinion)),
                Ruling::Stands => None,
            };
            let mut values = Vec::new();
            if let Some(mm) = scene.mm_per_px() {
                // A map of every `stride`-th pixel places an edge to about half a cell.
                let edge = 0.5 * stride * mm;
                match kind {
                    FindingType::Pit => values.push(Value {
                        characteristic: "pit.diameter_mm",
                        value: 2.0 * radius * mm,
                        uncertainty: (2.0 * edge).hypot(0.3 * radius * mm),
                    }),
                    FindingType::Scratch => values.push(Value {
                        characteristic: "scratch.length_mm",
                        value: 2.0 * reach * mm,
                        // What the map alone sees of a faint scratch is often a part of it.
                        uncertainty: (2.0 * edge).hypot(0.2 * reach * mm).hypot(UNSEEN_LINE_MM),
                    }),
                    FindingType::Stain | FindingType::WornPlating => values.push(Value {
                        characteristic: if kind == FindingType::Stain {
                            "stain.area_mm2"
                        } else {
                            "worn_plating.area_mm2"
                        },
                        value: area_px * mm * mm,
                        uncertainty: 2.0 * std::f64::consts::PI * radius * mm * edge,
                    }),
                    _ => {}
                }
            }
            alone.push(Feature {
                nominal: false,
                kind: Some(kind),
                // Numbered when the frames of a view are put together.
                name: format!("{stem}-0"),
                x_px: x,
                y_px: y,
                radius_px: radius.max(reach),
                outline_px: outline,
                confidence: f64::from(peak),
                found_by: vec![NAME.to_owned()],
                values,
                opinion: Some(opinion),
                rim: None,
                doubt,
            });
        }
    }
    answer.features.extend(alone);
    Ok(())
}

/// How much longer than what the map alone sees of it a scratch is, rms of 9 on rendered pieces.
const UNSEEN_LINE_MM: f64 = 0.18;
/// The share of a region's defect that `other_defect` must hold to name it.
const MOSTLY: f32 = 0.7;

/// Whether a region of the map, of this outline, centre and reach, shows a feature that classic vision saw.
fn overlap(f: &Feature, outline: &[[f64; 2]], centre: [f64; 2], reach: f64, stride: f64) -> bool {
    let distance = (f.x_px - centre[0]).hypot(f.y_px - centre[1]);
    if distance >= f.radius_px.max(2.0) + reach {
        return false;
    }
    distance < f.radius_px.min(reach) + stride
        || ops::contains(outline, [f.x_px, f.y_px])
        || ops::contains(&f.outline_px, centre)
        || f.outline_px.iter().any(|p| ops::contains(outline, *p))
        || outline.iter().any(|p| ops::contains(&f.outline_px, *p))
}

fn is_surface(kind: FindingType) -> bool {
    matches!(
        kind,
        FindingType::Pit
            | FindingType::Porosity
            | FindingType::Scratch
            | FindingType::Stain
            | FindingType::WornPlating
    )
}

/// Scatters by which the pixels of a region must differ from the ring about it on a located piece: what no pixel bears out
/// is left out.
const LEAST_CONTRAST: f64 = 4.0;
/// The same where the model brings what weighs the contrast beside the rest: coarse grain scatters by as much as a plain scratch stands out.
const LEAST_ASKED: f64 = 1.5;

/// By how many scatters of the ring about it a region's brightness or colour differs: the most different tenth of it, because
/// a pit's rim is a small part of the region about it. 0 where there is no ring to compare with.
fn contrast(image: &Image, metal: &Mask, outline: &[[f64; 2]], x: f64, y: f64) -> f64 {
    let reach = outline.iter().map(|p| (p[0] - x).hypot(p[1] - y)).fold(1.0, f64::max) + 1.0;
    let outer = 2.0 * reach + 4.0;
    let (w, h) = (image.width as f64, image.height as f64);
    let mut inside: Vec<[f64; 3]> = Vec::new();
    let mut ring: Vec<[f64; 3]> = Vec::new();
    for py in (y - outer).max(0.0) as usize..=((y + outer).min(h - 1.0).max(0.0) as usize) {
        for px in (x - outer).max(0.0) as usize..=((x + outer).min(w - 1.0).max(0.0) as usize) {
            if !metal.at(px, py) {
                continue;
            }
            let d = (px as f64 - x).hypot(py as f64 - y);
            let i = 3 * (py * image.width + px);
            let p = [0, 1, 2].map(|c| f64::from(image.data[i + c]));
            if d <= reach {
                inside.push(p);
            } else if d <= outer {
                ring.push(p);
            }
        }
    }
    if inside.len() < 4 || ring.len() < 16 {
        return 0.0;
    }
    let one = |c: usize| {
        let mut values: Vec<f32> = ring.iter().map(|p| p[c] as f32).collect();
        let level = f64::from(ops::median(&mut values));
        let sigma = f64::from(ops::robust_sigma(&mut values)).max(0.7);
        let mut off: Vec<f32> = inside.iter().map(|p| (p[c] - level).abs() as f32).collect();
        f64::from(ops::quantile(&mut off, 0.9)) / sigma
    };
    (0..3).map(one).fold(0.0, f64::max)
}
