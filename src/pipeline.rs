//! The sentence: a piece's frames are located, inspected, judged and reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::inspect::opinion::is_sound;
use crate::inspect::{self, Answer, Feature, Scene};
use crate::judge::{self, ViewAnswer};
use crate::locate::{self, Located, Pose};
use crate::model::{ModelError, Precision, SurfaceModel};
use crate::piece::{Frame, Piece};
use crate::report::{round_to, FindingType, FrameRow, ModelRow, PoseRow, Provenance, Report, REPORT_SCHEMA};
use crate::spec::{Spec, View};
use crate::vision::{self, ops, Image};

/// What a run may change about a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Run the surface model beside the classic inspectors.
    pub use_model: bool,
    /// Its file; none for the one shipped.
    pub model_path: Option<PathBuf>,
    /// Which of the shipped models, where no file is given.
    pub precision: Precision,
}

/// A piece ready to be inspected: its manifest, its spec, and the folder its frames are in.
#[derive(Debug, Clone)]
pub struct Job {
    /// The manifest (or the bare picture) it came from.
    pub origin: PathBuf,
    /// Frames are relative to this folder.
    pub base: PathBuf,
    /// The piece.
    pub piece: Piece,
    /// Its spec.
    pub spec: Spec,
    /// sha256 of the spec's text (and of its stone lists), lower-case hex.
    pub spec_sha256: String,
}

/// Everything an inspection gives: the report, and per frame what a picture of it needs.
#[derive(Debug)]
pub struct Inspected {
    /// The report.
    pub report: Report,
    /// The frames that could be decoded, in the manifest's order.
    pub views: Vec<FrameView>,
    /// Frames that could not be read, as messages that name the file: the exit code is 2 then.
    pub frame_errors: Vec<String>,
}

/// One decoded frame with what was found on it.
#[derive(Debug)]
pub struct FrameView {
    /// Index into the piece's frames.
    pub frame: usize,
    /// Its name in the manifest.
    pub file: String,
    /// Its pixels.
    pub image: Image,
    /// Probability of a surface defect per pixel of the frame, 0 to 1, where the model was run.
    pub defect_prob: Option<crate::vision::Plane>,
    /// The outline as located, closed polylines in pixels.
    pub outline_px: Vec<Vec<[f64; 2]>>,
    /// The stones as located: id, centre, radius in pixels.
    pub stones_px: Vec<(String, f64, f64, f64)>,
    /// The prongs as located: centre, radius in pixels.
    pub prongs_px: Vec<(f64, f64, f64)>,
}

/// The inspector: settings and loaded models, shared by all threads.
#[derive(Debug)]
pub struct Inspector {
    settings: Settings,
    model: Option<SurfaceModel>,
}

impl Inspector {
    /// Loads what the settings ask for.
    ///
    /// # Errors
    /// Where the model or ONNX Runtime is missing or damaged: never a silent skip.
    pub fn new(settings: Settings) -> Result<Self, ModelError> {
        // Pieces run in parallel; OpenCV's own threads would only get in their way.
        if let Err(e) = ops::single_threaded() {
            tracing::warn!("{e}");
        }
        let model = match (settings.use_model, &settings.model_path) {
            (false, _) => None,
            (true, Some(path)) => Some(SurfaceModel::load(path)?),
            (true, None) => Some(SurfaceModel::load_default(settings.precision)?),
        };
        Ok(Self { settings, model })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The surface model, where one is run.
    pub fn model(&self) -> Option<&SurfaceModel> {
        self.model.as_ref()
    }

    /// The stored probability above which a pixel counts as defective, where a model is run.
    pub fn surface_threshold(&self) -> Option<f32> {
        self.model.as_ref().and_then(|m| m.info().thresholds.get("defect").copied())
    }

    /// Inspects one piece. A frame that cannot be read becomes an error row of the report; the report is made
    /// all the same.
    pub fn inspect(&self, job: &Job) -> Inspected {
        let mut views: Vec<ViewAnswer> = Vec::new();
        let mut frames = Vec::new();
        let mut pictures = Vec::new();
        let mut frame_errors = Vec::new();
        let mut troubles = Vec::new();
        for view in &job.spec.views {
            let mut looks = Vec::new();
            let mut lost = Vec::new();
            for (index, frame) in job.piece.frames.iter().enumerate().filter(|f| f.1.view == view.name) {
                match self.look(job, view, index, frame) {
                    Ok((look, picture, row)) => {
                        frames.push((index, row));
                        pictures.push(picture);
                        looks.extend(look);
                    }
                    Err(error) => {
                        frame_errors.push(error.clone());
                        troubles.push(format!("frame {} in view {} could not be read", frame.file, view.name));
                        lost.push(error.clone());
                        // The report is the same wherever the folder lies: its message names the frame, not the path.
                        let error = format!("{}: {}", frame.file, without_folder(&error, &job.base));
                        frames.push((
                            index,
                            FrameRow { file: frame.file.clone(), sha256: None, pose: None, error: Some(error) },
                        ));
                    }
                }
            }
            let reasons: Vec<String> =
                looks.iter().flat_map(|l: &Look| l.trouble.iter().chain(&l.note)).cloned().collect();
            troubles.extend(reasons.iter().map(|r| format!("view {}: {r}", view.name)));
            if !looks.is_empty() || !lost.is_empty() {
                views.push(combine(&view.name, looks, !lost.is_empty()));
            }
        }
        for (index, frame) in job.piece.frames.iter().enumerate() {
            if job.spec.view(&frame.view).is_none() {
                let error =
                    format!("{}: key `frames[{index}].view`: the spec has no view `{}`", frame.file, frame.view);
                frame_errors.push(format!("{}: {error}", job.origin.display()));
                troubles.push(error.clone());
                frames.push((
                    index,
                    FrameRow { file: frame.file.clone(), sha256: None, pose: None, error: Some(error) },
                ));
            }
        }
        frames.sort_by_key(|f| f.0);
        pictures.sort_by_key(|p: &FrameView| p.frame);
        let judgement = judge::judge(&job.spec, &job.piece, &views, &troubles);
        let models = self
            .model
            .iter()
            .map(|m| ModelRow { name: m.info().name.clone(), sha256: m.info().sha256.clone() })
            .collect();
        let report = Report {
            schema: REPORT_SCHEMA.into(),
            piece_id: job.piece.piece_id.clone(),
            sku: job.spec.sku.clone(),
            verdict: judgement.verdict,
            reasons: judgement.reasons,
            measurements: judgement.measurements,
            findings: judgement.findings,
            stones: views.iter().flat_map(|v| v.stones.clone()).collect(),
            not_assessed: judgement.not_assessed,
            frames: frames.into_iter().map(|f| f.1).collect(),
            provenance: Provenance {
                program: concat!("loupe ", env!("CARGO_PKG_VERSION")).into(),
                spec_sha256: job.spec_sha256.clone(),
                models,
                settings_sha256: self.settings_sha256(),
            },
        };
        Inspected { report, views: pictures, frame_errors }
    }

    /// Reads, locates and inspects one frame.
    fn look(
        &self,
        job: &Job,
        view: &View,
        index: usize,
        frame: &Frame,
    ) -> Result<(Option<Look>, FrameView, FrameRow), String> {
        let path = job.base.join(&frame.file);
        let (bytes, image) = vision::read_image(&path).map_err(|e| e.to_string())?;
        let sha256 = hex(&Sha256::digest(&bytes));
        drop(bytes);
        if let Some(wanted) = &frame.sha256 {
            if !wanted.eq_ignore_ascii_case(&sha256) {
                return Err(format!(
                    "{}: key `frames[{index}].sha256`: the file's is {sha256}, the manifest says {wanted}",
                    path.display()
                ));
            }
        }
        let mut picture = FrameView {
            frame: index,
            file: frame.file.clone(),
            image,
            defect_prob: None,
            outline_px: vec![],
            stones_px: vec![],
            prongs_px: vec![],
        };
        let mut row = FrameRow { file: frame.file.clone(), sha256: Some(sha256), pose: None, error: None };
        let mut look =
            Look { frame: frame.clone(), answer: Answer::default(), pose: None, trouble: None, note: None };
        match self.see(job, view, frame, &mut picture) {
            Ok((answer, located, note)) => {
                look.note = note.map(|n| format!("{}: {n}", frame.file));
                let p = located.pose;
                row.pose = frame.um_per_px.map(|_| PoseRow {
                    rotation_deg: round_to(p.rotation.to_degrees(), 4),
                    dx_mm: round_to(p.dx_mm, 4),
                    dy_mm: round_to(p.dy_mm, 4),
                });
                look.answer = answer;
                look.pose = frame.um_per_px.map(|_| p);
            }
            Err(reason) => {
                look.trouble = Some(format!("{}: {reason}", frame.file));
            }
        }
        Ok((Some(look), picture, row))
    }

    fn see(
        &self,
        job: &Job,
        view: &View,
        frame: &Frame,
        picture: &mut FrameView,
    ) -> Result<(Answer, Located, Option<String>), String> {
        let image = &picture.image;
        let located = locate::locate(image, view, frame.um_per_px).map_err(|e| e.to_string())?;
        let bare = locate::bare_metal(view, &located, image).map_err(|e| e.to_string())?;
        // Backlight shows a silhouette: its surface says nothing.
        let silhouette = frame.light == "backlight";
        let classes = match &self.model {
            Some(m) if !silhouette => {
                // All of the piece: stones and rim are asked about too.
                m.segment_at(image, Some(&located.metal), frame.um_per_px).map_err(|e| e.to_string())?
            }
            _ => None,
        };
        // A model that was asked for and cannot answer is a person's matter, not a silence.
        let note = match (&self.model, &classes, frame.um_per_px) {
            (Some(m), None, Some(scale)) if !silhouette => Some(format!(
                "the model {} is for {} to {} um a pixel and the frame has {scale} (--no-model inspects without it)",
                m.info().name,
                m.info().um_per_px_min,
                m.info().um_per_px_max
            )),
            _ => None,
        };
        let scene = Scene {
            spec: &job.spec,
            view,
            frame,
            image,
            located: &located,
            bare_metal: &bare,
            classes: classes.as_ref(),
            model: self.model.as_ref().map(SurfaceModel::info),
        };
        let mut answer = Answer::default();
        if !silhouette {
            for inspector in inspect::table() {
                let one = inspector.inspect(&scene).map_err(|e| format!("{}: {e}", inspector.name()))?;
                answer.features.extend(one.features);
                answer.stones.extend(one.stones);
                answer.assessed.extend(one.assessed);
                answer.not_assessed.extend(one.not_assessed);
            }
            inspect::learned::merge(&scene, &mut answer).map_err(|e| e.to_string())?;
        }
        let pose = located.pose;
        let known = located.has_direction;
        let (stones, prongs) = if known {
            (
                view.stones
                    .iter()
                    .map(|s| {
                        let p = pose.to_px(s.x_mm, s.y_mm);
                        (s.id.clone(), p[0], p[1], pose.px(s.diameter_mm / 2.0))
                    })
                    .collect(),
                view.stones
                    .iter()
                    .flat_map(|s| &s.prongs)
                    .map(|q| {
                        let p = pose.to_px(q.x_mm, q.y_mm);
                        (p[0], p[1], pose.px(q.radius_mm))
                    })
                    .collect(),
            )
        } else {
            (vec![], vec![])
        };
        let outline_px = located.outline_px.clone();
        let defect_prob = classes.map(|c| c.defect_plane());
        picture.outline_px = outline_px;
        picture.stones_px = stones;
        picture.prongs_px = prongs;
        picture.defect_prob = defect_prob;
        Ok((answer, located, note))
    }

    fn settings_sha256(&self) -> String {
        // Only what changes a report; where a model lies is no such thing, and its hash stands beside it.
        let text = format!("use_model={}", self.settings.use_model);
        hex(&Sha256::digest(text.as_bytes()))
    }
}

/// What one frame gave.
struct Look {
    frame: Frame,
    answer: Answer,
    pose: Option<Pose>,
    /// Why the frame says nothing.
    trouble: Option<String>,
    /// What the frame was asked and leaves open, though it says the rest.
    note: Option<String>,
}

/// One view's answer out of its frames: several lights add up, and a feature that several frames show is one feature.
/// Within a burst (the same light again) a surface feature counts where at least half of the frames show it.
fn combine(view: &str, looks: Vec<Look>, some_lost: bool) -> ViewAnswer {
    let mut out = ViewAnswer { view: view.to_owned(), ..ViewAnswer::default() };
    struct Seen {
        file: String,
        feature: Feature,
        place: Option<[f64; 2]>,
        radius_mm: f64,
        burst: Option<String>,
        frames: Vec<usize>,
    }
    let mut seen: Vec<Seen> = Vec::new();
    let mut burst_size: BTreeMap<String, usize> = BTreeMap::new();
    let usable = looks.iter().filter(|l| l.trouble.is_none()).count();
    for (k, look) in looks.into_iter().enumerate() {
        if look.trouble.is_some() {
            continue;
        }
        if let Some(b) = &look.frame.burst {
            *burst_size.entry(b.clone()).or_default() += 1;
        }
        let reach_mm: f64 = 0.05;
        for feature in look.answer.features {
            let place = look.pose.map(|p| p.to_mm(feature.x_px, feature.y_px));
            let named = feature.kind.is_none() || feature.name.starts_with(|c: char| c.is_ascii_uppercase());
            let radius_mm = look.pose.map_or(0.0, |p| p.mm(feature.radius_px));
            let twin = seen.iter_mut().find(|s| {
                if s.frames.contains(&k) {
                    return false;
                }
                if named || s.feature.kind.is_none() {
                    return s.feature.name == feature.name && s.feature.values.len() == feature.values.len();
                }
                match (s.place, place) {
                    (Some(a), Some(b)) => {
                        s.feature.kind == feature.kind
                            && is_sound(s.feature.kind, &s.feature.name) == is_sound(feature.kind, &feature.name)
                            && (a[0] - b[0]).hypot(a[1] - b[1]) < reach_mm.max(0.7 * radius_mm)
                    }
                    _ => false,
                }
            });
            match twin {
                Some(s) => {
                    s.frames.push(k);
                    // One frame that is sure is enough.
                    let sure = s.feature.doubt.is_none() || feature.doubt.is_none();
                    if feature.confidence > s.feature.confidence {
                        let before = std::mem::replace(&mut s.feature, feature);
                        // What only the other frame measured (a pit in a scratch) holds all the same.
                        for v in before.values {
                            if !s.feature.values.iter().any(|w| w.characteristic == v.characteristic) {
                                s.feature.values.push(v);
                            }
                        }
                        s.place = place;
                        s.radius_mm = radius_mm;
                        s.file = look.frame.file.clone();
                    }
                    if sure {
                        s.feature.doubt = None;
                    }
                }
                None => seen.push(Seen {
                    file: look.frame.file.clone(),
                    feature,
                    place,
                    radius_mm,
                    burst: look.frame.burst.clone(),
                    frames: vec![k],
                }),
            }
        }
        for s in look.answer.stones {
            if !out.stones.iter().any(|t| t.id == s.id) {
                out.stones.push(s);
            }
        }
        for a in look.answer.assessed {
            if !out.assessed.contains(&a) {
                out.assessed.push(a);
            }
        }
        for (c, why) in look.answer.not_assessed {
            if !out.not_assessed.iter().any(|n| n.0 == c) {
                out.not_assessed.push((c.to_owned(), why));
            }
        }
    }
    // One good frame of a view is enough for a characteristic, unless a frame was lost: it might have shown more.
    out.not_assessed.retain(|n| !out.assessed.iter().any(|a| *a == n.0));
    if usable == 0 || some_lost {
        let why =
            if some_lost { "a frame of the view could not be read" } else { "the piece was not found in the view" };
        for inspector in inspect::table() {
            for c in inspector.characteristics() {
                if !out.not_assessed.iter().any(|n| n.0 == *c) {
                    out.not_assessed.push(((*c).to_owned(), why.to_owned()));
                }
            }
        }
    }
    // What one frame shows as a defect and another, where it is not seen as one, as dust or a reflection is a person's matter;
    // and it was seen in both.
    let (sound, mut seen): (Vec<Seen>, Vec<Seen>) =
        seen.into_iter().partition(|s| is_sound(s.feature.kind, &s.feature.name));
    for s in seen.iter_mut().filter(|s| s.feature.kind.is_some_and(is_surface)) {
        for t in &sound {
            let (small, large) = (s.radius_mm.min(t.radius_mm), s.radius_mm.max(t.radius_mm));
            let same = s.place.zip(t.place).is_some_and(|(a, b)| {
                (a[0] - b[0]).hypot(a[1] - b[1]) < 0.05f64.max(0.7 * small) && large < 2.0 * small.max(0.05)
            });
            let others: Vec<usize> = t.frames.iter().filter(|f| !s.frames.contains(f)).copied().collect();
            if same && !others.is_empty() {
                s.frames.extend(others);
                let doubt = t.feature.opinion.as_ref().map(inspect::opinion::doubt);
                s.feature.doubt = s.feature.doubt.take().or(doubt);
            }
        }
    }
    seen.extend(sound);
    seen.retain(|s| {
        let n = s.burst.as_ref().and_then(|b| burst_size.get(b)).copied().unwrap_or(1);
        s.feature.kind.is_none_or(|k| !is_surface(k)) || 2 * s.frames.len() >= n
    });
    // Names are counted anew, so that two frames do not both bring a `pit-1`.
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for s in seen {
        let mut feature = s.feature;
        if let Some((stem, number)) = feature.name.rsplit_once('-') {
            if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() {
                let n = count.entry(stem.to_owned()).or_default();
                *n += 1;
                feature.name = format!("{stem}-{n}");
            }
        }
        out.features.push((s.file, feature));
        out.places.push(s.place);
    }
    out
}

fn is_surface(kind: FindingType) -> bool {
    matches!(
        kind,
        FindingType::Porosity
            | FindingType::Pit
            | FindingType::Scratch
            | FindingType::Stain
            | FindingType::WornPlating
            | FindingType::Anomaly
    )
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A message without the folder the piece lies in.
fn without_folder(message: &str, base: &Path) -> String {
    let dir = format!("{}/", base.display());
    let text = message.replace(&dir, "");
    // The file's name already stands in front.
    text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}
