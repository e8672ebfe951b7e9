//! What the surface model sees, merged with what classic vision saw. A defect that both saw carries both names; one that
//! the model alone saw is measured from its probability map.

use super::{Answer, Feature, Scene, Value};
use crate::model::ModelInfo;
use crate::report::FindingType;
use crate::vision::{ops, Mask, VisionError};

/// The name in `found_by`.
pub const NAME: &str = "surface-model";

/// Merges the model's findings into an answer. Where the frame has no scale, or the view no outline, nothing nominal is
/// known of the surface and the model's word stands alone; on a located piece in mm a region that the classic
/// inspectors measured as undisturbed (see [`confirms`]) is left out.
///
/// # Errors
/// Where OpenCV refuses.
pub fn merge(scene: &Scene, info: &ModelInfo, answer: &mut Answer) -> Result<(), VisionError> {
    let Some(map) = scene.classes else { return Ok(()) };
    let (gw, gh) = map.grid();
    let stride = map.stride as f64;
    let good = map.cells(0);
    let mut counts = [0usize; 3];
    let mut alone = Vec::new();
    for (index, class) in map.classes.iter().enumerate().skip(1) {
        let probability = map.cells(index);
        let threshold = info.threshold(class);
        let mut mask = Mask::empty(gw, gh);
        for y in 0..gh {
            for x in 0..gw {
                let px = ((x * map.stride) + map.stride / 2).min(scene.image.width - 1);
                let py = ((y * map.stride) + map.stride / 2).min(scene.image.height - 1);
                if probability[y * gw + x] >= threshold && scene.bare_metal.at(px, py) {
                    mask.data[y * gw + x] = 255;
                }
            }
        }
        let (kind, stem, slot) = match class.as_str() {
            "pore_pit" => (FindingType::Pit, "model-pit", 0),
            "crack_scratch" => (FindingType::Scratch, "model-scratch", 1),
            _ => (FindingType::Anomaly, "model-anomaly", 2),
        };
        let (blobs, labels) = ops::components(&mask)?;
        for b in &blobs {
            // In pixels as the model saw them: a finer frame was averaged down for it.
            if ((b.area * info.output_stride * info.output_stride) as f64) < info.min_area_px {
                continue;
            }
            let mut peak = 0.0f32;
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    let i = y * gw + x;
                    if labels[i] == b.label {
                        peak = peak.max(1.0 - good[i]);
                    }
                }
            }
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
                if f.kind.is_some_and(is_surface) && (f.x_px - x).hypot(f.y_px - y) < f.radius_px.max(2.0) + reach {
                    shared = true;
                    if !f.found_by.iter().any(|n| n == NAME) {
                        f.found_by.push(NAME.to_owned());
                    }
                    f.confidence = 1.0 - (1.0 - f.confidence) * (1.0 - f64::from(peak));
                }
            }
            if shared {
                continue;
            }
            if !confirms(scene, &outline, x, y) {
                continue;
            }
            counts[slot] += 1;
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
                        uncertainty: (2.0 * edge).hypot(0.2 * reach * mm),
                    }),
                    _ => {}
                }
            }
            alone.push(Feature {
                kind: Some(kind),
                name: format!("{stem}-{}", counts[slot]),
                x_px: x,
                y_px: y,
                radius_px: radius.max(reach),
                outline_px: outline,
                confidence: f64::from(peak),
                found_by: vec![NAME.to_owned()],
                values,
            });
        }
    }
    answer.features.extend(alone);
    Ok(())
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

/// Whether the pixels themselves bear a model's region out, on a located piece: its brightness or colour differs from the
/// ring around it by more than four standard errors of the ring's scatter. The model learned on steel and tiles;
/// on a jewel it is a second opinion and not a verdict. A bare surface without an outline has no such check: there
/// the model is at home.
fn confirms(scene: &Scene, outline: &[[f64; 2]], x: f64, y: f64) -> bool {
    if scene.view.outline.is_none() {
        return true;
    }
    let reach = outline.iter().map(|p| (p[0] - x).hypot(p[1] - y)).fold(1.0, f64::max) + 1.0;
    let outer = 2.0 * reach + 4.0;
    let (w, h) = (scene.image.width as f64, scene.image.height as f64);
    let mut inside: Vec<[f64; 3]> = Vec::new();
    let mut ring: Vec<[f64; 3]> = Vec::new();
    for py in (y - outer).max(0.0) as usize..=((y + outer).min(h - 1.0).max(0.0) as usize) {
        for px in (x - outer).max(0.0) as usize..=((x + outer).min(w - 1.0).max(0.0) as usize) {
            if !scene.bare_metal.at(px, py) {
                continue;
            }
            let d = (px as f64 - x).hypot(py as f64 - y);
            let i = 3 * (py * scene.image.width + px);
            let p = [0, 1, 2].map(|c| f64::from(scene.image.data[i + c]));
            if d <= reach {
                inside.push(p);
            } else if d <= outer {
                ring.push(p);
            }
        }
    }
    if inside.len() < 4 || ring.len() < 16 {
        return false;
    }
    (0..3).any(|c| {
        let mut values: Vec<f32> = ring.iter().map(|p| p[c] as f32).collect();
        let level = f64::from(ops::median(&mut values));
        let sigma = f64::from(ops::robust_sigma(&mut values)).max(0.7);
        // The most different tenth of the region: a pit's rim is a small part of the region about it.
        let mut off: Vec<f32> = inside.iter().map(|p| (p[c] - level).abs() as f32).collect();
        f64::from(ops::quantile(&mut off, 0.9)) > 4.0 * sigma
    })
}
