//! What does not belong, by what was learned from good pieces alone ([`crate::teach`]).

use super::{Answer, Feature, Inspect, Scene, Value};
use crate::locate::edges::invert;
use crate::piece::Frame;
use crate::report::FindingType;
use crate::spec::{Limit, Rule, Spec, View};
use crate::teach::fit::apply;
use crate::teach::{Lesson, Looked, Scored};
use crate::vision::{ops, Mask, Plane, VisionError};

/// The inspector of what was never seen on a good piece.
#[derive(Debug)]
pub struct Anomaly;

/// The characteristic.
pub const SCORE: &str = "anomaly.score";

/// Lets a taught file that the command line names decide: at its own threshold, where the spec limits its score nowhere, on every view that a frame shows
/// as more than a silhouette.
pub fn decides(spec: &mut Spec, frames: &[Frame]) {
    if spec.limits.iter().any(|l| l.characteristic == SCORE) {
        return;
    }
    let shown = |v: &&View| frames.iter().any(|f| f.view == v.name && f.light != "backlight");
    // As the spec has its own limits decided; what was agreed of an uncertainty is not about a score.
    let rule = spec.rule.filter(|r| *r != Rule::SharedRisk);
    let limit = |v: &View| Limit {
        characteristic: SCORE.into(),
        upper: Some(1.0),
        view: Some(v.name.clone()),
        rule,
        coverage: spec.coverage,
        ..Limit::default()
    };
    let limits: Vec<Limit> = spec.views.iter().filter(shown).map(limit).collect();
    spec.limits.extend(limits);
}

/// The finding of a picture whose colour as a whole is another than the taught ones'.
pub const COLOUR: &str = "anomaly-colour";
/// The share of the threshold down to which a region reaches about its worst place.
const REGION: f32 = 0.85;
/// Most regions that are shown.
const MOST: usize = 12;

/// A frame's score with the picture it was taken from.
#[derive(Debug)]
pub struct Judged {
    /// The picture as it was looked at.
    pub looked: Looked,
    /// What was made of it; none where nothing of it counts.
    pub scored: Option<Scored>,
}

/// Shows a frame to what was learned.
///
/// # Errors
/// Where the frame is in another light than the taught ones, and where OpenCV or the backbone fails.
pub fn look(scene: &Scene, lesson: &Lesson) -> Result<Judged, String> {
    let (taught, own) = (&lesson.taught.header.light, &scene.frame.light);
    if let Some(light) = taught.as_ref().filter(|l| *l != own) {
        return Err(format!("it was taught in the light {light} and the frame's is {own}"));
    }
    if let Some(why) = lesson.taught.header.misplaced(scene.view.outline.as_ref(), scene.frame.um_per_px) {
        return Err(why);
    }
    let fit = &lesson.taught.header.fit;
    // What was taught on whole pictures is asked about whole pictures, the ground and the stones with the metal.
    let placed = scene.view.outline.is_some() && fit.box_mm.is_some();
    let located = placed.then_some(scene.located);
    let metal = placed.then_some(scene.bare_metal);
    let looked = fit.look(scene.image, located, metal).map_err(|e| e.to_string())?;
    if let Some(why) = lesson.taught.header.misshapen(&looked) {
        return Err(why);
    }
    let scored = lesson.taught.score(&lesson.backbone, &looked).map_err(|e| e.to_string())?;
    Ok(Judged { looked, scored })
}

impl Judged {
    /// The score of every pixel of the frame; 0 beyond what was looked at.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn plane(&self, width: usize, height: usize) -> Result<Option<Plane>, VisionError> {
        let Some(scored) = &self.scored else { return Ok(None) };
        let (w, h) = (self.looked.image.width, self.looked.image.height);
        let fine = ops::resize(&scored.cells, w, h)?;
        let [x, y] = self.looked.to_frame;
        let Some([x, y, _]) = invert([x, y, [0.0, 0.0, 1.0]]) else { return Ok(None) };
        let back = [x, y];
        let mut out = Plane::filled(width, height, 0.0);
        for y in 0..height {
            for x in 0..width {
                let [u, v] = apply(&back, [x as f64, y as f64]);
                if u >= -0.5 && v >= -0.5 && u < w as f64 - 0.5 && v < h as f64 - 0.5 {
                    let (i, j) = (u.round().max(0.0) as usize, v.round().max(0.0) as usize);
                    if self.looked.mask.at(i.min(w - 1), j.min(h - 1)) {
                        out.data[y * width + x] = fine.sample(u, v);
                    }
                }
            }
        }
        Ok(Some(out))
    }
}

impl Inspect for Anomaly {
    fn name(&self) -> &'static str {
        "anomaly"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[SCORE]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        let judged = match &scene.anomaly {
            Some(Ok(j)) => j,
            Some(Err(why)) => {
                answer.not_assessed.push((SCORE, why.clone()));
                return Ok(answer);
            }
            None => {
                answer.not_assessed.push((SCORE, "the view names no taught file (loupe teach makes one)".into()));
                return Ok(answer);
            }
        };
        let Some(scored) = &judged.scored else {
            answer.not_assessed.push((SCORE, "nothing of the metal that was learned is in the frame".into()));
            return Ok(answer);
        };
        answer.assessed.push(SCORE);
        let value = |score: f64| Value { characteristic: SCORE, value: score, uncertainty: scored.score_u };
        let (w, h) = (scene.image.width as f64, scene.image.height as f64);
        let feature = |name: String, kind, at: [f64; 2], radius_px: f64, outline_px, score: f64| Feature {
            kind,
            name,
            x_px: at[0],
            y_px: at[1],
            radius_px,
            outline_px,
            confidence: 1.0 - (-score.max(0.0)).exp(),
            found_by: vec!["anomaly".into()],
            values: vec![value(score)],
            opinion: None,
            rim: None,
            doubt: None,
            nominal: false,
        };
        let middle = [(w - 1.0) / 2.0, (h - 1.0) / 2.0];
        answer.features.push(feature(scene.view.name.clone(), None, middle, 0.5 * w.min(h), vec![], scored.score));
        // Where it would pass, nothing of it is a finding.
        let upper = scene.spec.limit(SCORE, &scene.view.name).and_then(|l| l.upper);
        let passes = |score: f64| score + 2.0 * scored.score_u < upper.unwrap_or(1.0).min(1.0);
        if scored.places < scored.score && !passes(scored.score) {
            // No place is to blame.
            let (name, reach) = (COLOUR.to_owned(), 0.5 * w.min(h));
            answer.features.push(feature(name, Some(FindingType::Anomaly), middle, reach, vec![], scored.score));
        }
        if passes(scored.places) {
            return Ok(answer);
        }
        for (k, r) in regions(judged, scored)?.into_iter().enumerate() {
            // The worst place stands for the picture.
            let score = if k == 0 { scored.places } else { scored.places.min(r.peak) };
            let kind = Some(FindingType::Anomaly);
            answer.features.push(feature(format!("anomaly-{}", k + 1), kind, r.at, r.radius_px, r.outline_px, score));
        }
        Ok(answer)
    }
}

struct Region {
    at: [f64; 2],
    radius_px: f64,
    outline_px: Vec<[f64; 2]>,
    peak: f64,
}

/// Where the picture is called, the worst place first: cells beyond their own threshold with what belongs to them; where there is
/// none, the worst cell and what is nearly as bad about it.
fn regions(judged: &Judged, scored: &Scored) -> Result<Vec<Region>, VisionError> {
    let cells = &scored.cells;
    let top = cells.data.iter().copied().fold(0.0f32, f32::max);
    let seed = top.min(1.0);
    let (w, h) = (judged.looked.image.width, judged.looked.image.height);
    let (fx, fy) = (w as f64 / cells.width as f64, h as f64 / cells.height as f64);
    let mut mask = Mask::empty(cells.width, cells.height);
    for (m, v) in mask.data.iter_mut().zip(&cells.data) {
        *m = if *v > 0.0 && *v >= REGION * seed { 255 } else { 0 };
    }
    let (blobs, labels) = ops::components(&mask)?;
    let frame = |u: f64, v: f64| apply(&judged.looked.to_frame, [(u + 0.5) * fx - 0.5, (v + 0.5) * fy - 0.5]);
    let scale = judged.looked.to_frame[0][0].hypot(judged.looked.to_frame[1][0]);
    let mut out = Vec::new();
    for b in &blobs {
        let mut peak = 0.0f32;
        for y in b.bounds.y..b.bounds.y + b.bounds.height {
            for x in b.bounds.x..b.bounds.x + b.bounds.width {
                if labels[y * cells.width + x] == b.label {
                    peak = peak.max(cells.at(x, y));
                }
            }
        }
        if peak < seed {
            continue;
        }
        let outline_px =
            ops::blob_outline(&labels, cells.width, b)?.into_iter().map(|p| frame(p[0], p[1])).collect::<Vec<_>>();
        let at = frame(b.x, b.y);
        let reach = outline_px.iter().map(|p| (p[0] - at[0]).hypot(p[1] - at[1])).fold(0.0, f64::max);
        out.push(Region { at, radius_px: reach.max(0.5 * fx * scale), outline_px, peak: f64::from(peak) });
    }
    out.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    out.truncate(MOST);
    Ok(out)
}
