//! The sentence: a piece's frames are located, inspected, judged and reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::calibrate::{self, Calibration};
use crate::hash::sha256_hex;
use crate::inspect::opinion::is_sound;
use crate::inspect::sight::{self, PartModels};
use crate::inspect::stones::{self, RimSeen};
use crate::inspect::{self, Answer, Feature, Inspect, Kept, Scene, Value};
use crate::json::{self, JsonError};
use crate::judge::{self, ViewAnswer};
use crate::locate::silhouette::Bent;
use crate::locate::{self, LocateError, Located, Pose};
use crate::model::{ClassMap, FinishModel, MarkReader, ModelError, Precision, SurfaceModel};
use crate::piece::{Frame, Piece};
use crate::report::{
    round_to, CalibrationRow, FindingType, FrameRow, ModelRow, PoseRow, Provenance, Report, REPORT_SCHEMA,
};
use crate::spec::{Spec, View};
use crate::teach::{Backbones, Lesson};
use crate::vision::{self, ops, Image};

/// What a run may change about a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Run the surface model beside the classic inspectors.
    pub use_model: bool,
    /// Its file; none for the one shipped.
    pub model_path: Option<PathBuf>,
    /// Which of the shipped models, where no file is given.
    pub precision: Precision,
    /// A taught file for every view, in place of what the specs name.
    pub taught: Option<PathBuf>,
    /// The backbone of taught files; none for the one that the set-up makes.
    pub backbone: Option<PathBuf>,
}

impl Settings {
    /// Loads the surface model: the file that is given, else the shipped one of the precision.
    ///
    /// # Errors
    /// As [`SurfaceModel::load`].
    pub fn load_surface(&self) -> Result<SurfaceModel, ModelError> {
        match &self.model_path {
            Some(path) => SurfaceModel::load(path),
            None => SurfaceModel::load_default(self.precision),
        }
    }
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
    /// The view it shows.
    pub view: String,
    /// Its pixels.
    pub image: Image,
    /// Probability of a surface defect per pixel of the frame, 0 to 1, where the model was run.
    pub defect_prob: Option<crate::vision::Plane>,
    /// The score of what was taught, where the frame was shown to it.
    pub anomaly_score: Option<f64>,
    /// The same of every pixel: from 1 on a place is beyond what was taught.
    pub heat: Option<crate::vision::Plane>,
    /// The outline as located, closed polylines in pixels.
    pub outline_px: Vec<Vec<[f64; 2]>>,
    /// The stones.
    pub stones_px: Vec<PartMark>,
    /// The prongs.
    pub prongs_px: Vec<PartMark>,
    /// The hallmarks that were read: their names in the report's rows, their boxes, their texts.
    pub marks_px: Vec<(String, Vec<[f64; 2]>, String)>,
    /// The frame's scale.
    pub um_per_px: Option<f64>,
}

/// Where a stone or a prong lies in a frame: as measured, where it was, else as the spec has it.
#[derive(Debug, Clone, PartialEq)]
pub struct PartMark {
    /// Its name within the view, as in the report's rows.
    pub name: String,
    /// Centre in pixels.
    pub x: f64,
    /// Centre in pixels.
    pub y: f64,
    /// Radius in pixels; of a long stone half its width.
    pub radius: f64,
    /// The girdle of a stone that is not round, a closed line in pixels; else empty.
    pub line: Vec<[f64; 2]>,
    /// How far it is from its place, in pixels; none where that was not measured.
    pub offset: Option<[f64; 2]>,
}

/// The inspector: settings and loaded models, shared by all threads.
#[derive(Debug)]
pub struct Inspector {
    settings: Settings,
    model: Option<SurfaceModel>,
    parts: Option<PartModels>,
    finish: Option<FinishModel>,
    /// Taught files, each loaded when it is first asked for.
    lessons: Mutex<BTreeMap<PathBuf, Arc<Result<Lesson, String>>>>,
    backbones: Backbones,
    /// What reads marks, loaded when a spec first orders one.
    marks: OnceLock<Result<MarkReader, String>>,
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
        let (model, parts, finish) = match settings.use_model {
            true => {
                let (parts, finish) = (PartModels::load_default()?, FinishModel::load_default()?);
                (Some(settings.load_surface()?), Some(parts), Some(finish))
            }
            false => (None, None, None),
        };
        Ok(Self {
            settings,
            model,
            parts,
            finish,
            lessons: Mutex::default(),
            backbones: Backbones::default(),
            marks: OnceLock::new(),
        })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The surface model, where one is run.
    pub fn model(&self) -> Option<&SurfaceModel> {
        self.model.as_ref()
    }

    /// The models that are run, as a report names them.
    pub fn models(&self) -> Vec<ModelRow> {
        let surface = self.model.iter().map(|m| (&m.info().name, &m.info().sha256));
        let parts = self.parts.iter().flat_map(|p| {
            let [stones, prongs] = [p.stones.info(), p.prongs.info()].map(|i| (&i.name, &i.sha256));
            let [girdles, fancies] = [&p.girdles, &p.fancies].map(|m| (&m.info().name, &m.info().sha256));
            [stones, girdles, fancies, prongs]
        });
        let finish = self.finish.iter().map(|m| (&m.info().name, &m.info().sha256));
        surface
            .chain(parts)
            .chain(finish)
            .map(|(name, sha256)| ModelRow { name: name.clone(), sha256: sha256.clone() })
            .collect()
    }

    /// A taught file, loaded once.
    pub fn lesson(&self, path: &Path) -> Arc<Result<Lesson, String>> {
        let mut all = self.lessons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let load =
            || Lesson::load(path, self.settings.backbone.as_deref(), &self.backbones).map_err(|e| e.to_string());
        all.entry(path.to_owned()).or_insert_with(|| Arc::new(load())).clone()
    }

    /// Loads the taught file of the settings, where they name one: what cannot be used is to be learnt of before the first piece.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check_taught(&self) -> Result<(), String> {
        match &self.settings.taught {
            Some(path) => self.lesson(path).as_ref().as_ref().map(|_| ()).map_err(Clone::clone),
            None => Ok(()),
        }
    }

    /// What reads marks, or why there is none.
    fn mark_reader(&self) -> Result<&MarkReader, String> {
        if !self.settings.use_model {
            return Err("the reader of marks was not run (--no-model)".into());
        }
        let load = || MarkReader::load_default().map_err(|e| e.to_string());
        self.marks.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// The taught file of a view: that of the settings before that of the spec.
    fn taught(&self, view: &View) -> Option<PathBuf> {
        self.settings.taught.clone().or_else(|| view.taught.as_ref().map(PathBuf::from))
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
        let stations = Stations::of(job);
        for view in &job.spec.views {
            let mut looks = Vec::new();
            let mut lost = Vec::new();
            for (index, frame) in job.piece.frames.iter().enumerate().filter(|f| f.1.view == view.name) {
                match self.look(job, &stations, view, index, frame) {
                    Ok((look, picture, row)) => {
                        frames.push((index, row));
                        pictures.push(picture);
                        looks.extend(look);
                    }
                    Err(error) => {
                        frame_errors.push(error.clone());
                        lost.push(error.clone());
                        // The report is the same wherever the folder lies: its message names the frame, not the path.
                        let why = without_folder(&error, &job.base);
                        troubles.push(format!("frame {} in view {} could not be used: {why}", frame.file, view.name));
                        let error = format!("{}: {why}", frame.file);
                        frames.push((
                            index,
                            FrameRow { file: frame.file.clone(), error: Some(error), ..FrameRow::default() },
                        ));
                    }
                }
            }
            // One stone seen twice would be there twice, with its weight.
            let doubled = |i: usize| {
                let (a, b) = (&view.stones[i], view.twin(i)?);
                Some(format!("view {}: the stones {} and {} of the spec lie over each other", view.name, b.id, a.id))
            };
            troubles.extend((0..view.stones.len()).filter_map(doubled));
            let reasons: Vec<String> =
                looks.iter().flat_map(|l: &Look| l.trouble.iter().chain(&l.note)).cloned().collect();
            troubles.extend(reasons.iter().map(|r| format!("view {}: {r}", view.name)));
            if !looks.is_empty() || !lost.is_empty() {
                let bursts = play(view, &looks, &pictures, self.parts.as_ref());
                let shown = looks.iter().filter(|l| l.pose.is_some()).count();
                let mut answer = combine(&view.name, looks, !lost.is_empty());
                if bursts.is_none() {
                    let why = inspect::play::no_burst(shown);
                    let both = [inspect::play::PLAY, inspect::play::PLAY_TURN];
                    answer.not_assessed.extend(both.map(|c| (c.to_owned(), why.clone())));
                }
                for (file, pose, play) in bursts.into_iter().flatten() {
                    let spun = judge::spun(&job.spec, view, &play.features);
                    troubles.extend(spun.map(|why| format!("view {}: {why}", view.name)));
                    for feature in play.features {
                        answer.places.push(Some(pose.to_mm(feature.x_px, feature.y_px)));
                        answer.features.push((file.clone(), feature));
                    }
                    answer.not_assessed.extend(play.not_assessed.into_iter().map(|(c, why)| (c.to_owned(), why)));
                }
                views.push(answer);
            }
        }
        for (index, view) in job.spec.views.iter().enumerate() {
            let named = view.taught.as_ref().filter(|_| self.settings.taught.is_none()).map(PathBuf::from);
            if let Some(Err(why)) = named.map(|path| self.lesson(&path)).as_deref() {
                frame_errors.push(format!("{}: its spec's key `view[{index}].taught`: {why}", job.origin.display()));
            }
        }
        for (index, frame) in job.piece.frames.iter().enumerate() {
            let colour = frame.colour_calibration.as_ref().and_then(|name| stations.colours.get(name));
            if let Some(Err(why)) = colour {
                frame_errors
                    .push(format!("{}: key `frames[{index}].colour_calibration`: {why}", job.origin.display()));
            }
            if job.spec.view(&frame.view).is_none() {
                let error =
                    format!("{}: key `frames[{index}].view`: the spec has no view `{}`", frame.file, frame.view);
                frame_errors.push(format!("{}: {error}", job.origin.display()));
                troubles.push(error.clone());
                frames
                    .push((index, FrameRow { file: frame.file.clone(), error: Some(error), ..FrameRow::default() }));
            }
        }
        frames.sort_by_key(|f| f.0);
        pictures.sort_by_key(|p: &FrameView| p.frame);
        let judgement = judge::judge(&job.spec, &job.piece, &views, &troubles);
        let mut models = self.models();
        let mut seen: Vec<PathBuf> = job.spec.views.iter().filter_map(|v| self.taught(v)).collect();
        seen.sort();
        seen.dedup();
        let marked = job.spec.views.iter().any(|v| !inspect::hallmark::ordered(&job.spec, v).is_empty());
        if let Some(Ok(r)) = marked.then(|| self.mark_reader()) {
            let row = |name: &str, sha256: &str| ModelRow { name: name.to_owned(), sha256: sha256.to_owned() };
            models.extend(r.files().map(|(name, _, sha256)| row(name, sha256)));
        }
        for path in seen {
            if let Ok(l) = &*self.lesson(&path) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                models.push(ModelRow { name, sha256: l.taught.sha256.clone() });
            }
        }
        // One that cannot be read says so where it is used.
        for c in stations.colours.values().flatten() {
            models.push(ModelRow { name: c.file.clone(), sha256: c.sha256.clone() });
        }
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
                program: crate::PROGRAM.into(),
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
        stations: &Stations,
        view: &View,
        index: usize,
        frame: &Frame,
    ) -> Result<(Option<Look>, FrameView, FrameRow), String> {
        let Taken { image, frame, sha256, calibration, kept } = stations.take(job, index, frame)?;
        let frame = &frame;
        let mut picture = FrameView {
            frame: index,
            file: frame.file.clone(),
            view: view.name.clone(),
            image,
            defect_prob: None,
            anomaly_score: None,
            heat: None,
            outline_px: vec![],
            stones_px: vec![],
            prongs_px: vec![],
            marks_px: vec![],
            um_per_px: frame.um_per_px,
        };
        let mut row = FrameRow {
            file: frame.file.clone(),
            sha256: Some(sha256),
            light: frame.light.clone(),
            um_per_px: frame.um_per_px,
            um_per_px_u: frame.um_per_px_u,
            calibration,
            ..FrameRow::default()
        };
        let mut look =
            Look { frame: frame.clone(), answer: Answer::default(), pose: None, trouble: None, note: None };
        match self.see(job, stations, view, (frame, &kept), &mut picture) {
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
        stations: &Stations,
        view: &View,
        (frame, kept): (&Frame, &Kept),
        picture: &mut FrameView,
    ) -> Result<(Answer, Located, Option<String>), String> {
        let image = &picture.image;
        let silhouette = frame.light == "backlight";
        let (places, seen, faint) = match locate::locate_all(image, view, frame.um_per_px) {
            Ok(places) => (places, None, None),
            Err(e @ LocateError::NotFound { .. }) if !silhouette => match self.locate_by_model(image, view, frame) {
                Some((places, map)) => (places, Some(map), Some(FAINT.to_owned())),
                None => return Err(e.to_string()),
            },
            Err(e) => return Err(e.to_string()),
        };
        let lies = match &self.parts {
            Some(models) if !silhouette && frame.um_per_px.is_some() && !view.stones.is_empty() => {
                let seen = sight::look_about(models, view, places, image).map_err(|e| e.to_string())?;
                seen.map(|(located, sights)| (located, Some(sights)))
            }
            _ => places.into_iter().next().map(|located| (located, None)),
        };
        let (located, sights) = lies.ok_or_else(|| LocateError::NoDirection.to_string())?;
        let bare = locate::bare_metal(view, &located, image).map_err(|e| e.to_string())?;
        // Backlight shows a silhouette: its surface says nothing.
        let classes = match &self.model {
            Some(_) if seen.is_some() => seen,
            Some(m) if !silhouette => {
                // All of the piece: stones and rim are asked about too.
                m.segment_at(image, Some(&located.metal), frame.um_per_px).map_err(|e| e.to_string())?
            }
            _ => None,
        };
        // A model that was asked for and cannot answer is a person's matter, not a silence.
        let note = match (&self.model, &classes, frame.um_per_px) {
            (Some(m), None, Some(scale)) if !silhouette => Some(format!(
                "the model {} is for {} to {} um a pixel and the frame has {scale:.2} (--no-model inspects without it)",
                m.info().name,
                m.info().um_per_px_min,
                m.info().um_per_px_max
            )),
            _ => faint.clone(),
        };
        let mut scene = Scene {
            spec: &job.spec,
            view,
            frame,
            image,
            kept,
            located: &located,
            bare_metal: &bare,
            classes: classes.as_ref(),
            model: self.model.as_ref().map(SurfaceModel::info),
            closer: self.model.as_ref(),
            sights: sights.as_ref(),
            grey: Default::default(),
            gaps: Default::default(),
            bites: Default::default(),
            blur: Default::default(),
            dark: Default::default(),
            placed: Default::default(),
            finish: None,
            anomaly: None,
            marks: None,
            colour: frame.colour_calibration.as_ref().and_then(|name| stations.colours.get(name)),
        };
        if let (Some(path), false) = (self.taught(view), silhouette) {
            let judged = match &*self.lesson(&path) {
                Ok(lesson) => inspect::anomaly::look(&scene, lesson),
                // The report is the same wherever the folders lie.
                Err(why) => Err(file_only(why, &path)),
            };
            scene.anomaly = Some(judged);
        }
        let mut answer = Answer::default();
        let asked = inspect::table().into_iter().filter(|i| !silhouette || i.wants_silhouettes());
        let (last, first): (Vec<_>, Vec<_>) = asked.partition(|i| i.is_last());
        let ask = |all: Vec<&dyn Inspect>, scene: &Scene, answer: &mut Answer| -> Result<(), String> {
            for inspector in all {
                answer.extend(inspector.inspect(scene).map_err(|e| format!("{}: {e}", inspector.name()))?);
            }
            Ok(())
        };
        ask(first, &scene, &mut answer)?;
        if !silhouette {
            inspect::learned::merge(&scene, &mut answer).map_err(|e| e.to_string())?;
            let wanted = inspect::hallmark::ordered(&job.spec, view);
            if !wanted.is_empty() {
                let look = |r| inspect::hallmark::look(&scene, r, &wanted, &answer.features);
                scene.marks = Some(self.mark_reader().and_then(look));
            }
            inspect::hallmark::spare(&scene, &mut answer.features);
        }
        if let (Some(model), Some(um), false) = (&self.finish, frame.um_per_px, silhouette) {
            if inspect::finish::is_limited(&scene) {
                let open = inspect::hallmark::beside(&scene, locate::open_metal(view, &located));
                let open = open.map_err(|e| e.to_string())?;
                scene.finish = Some(inspect::finish::look(model, image, &open, um, &frame.light));
            }
        }
        ask(last, &scene, &mut answer)?;
        if faint.is_some() {
            // What was measured from a place that the model guessed fails nothing by itself.
            for f in &mut answer.features {
                f.doubt.get_or_insert_with(|| FAINT.to_owned());
            }
        }
        let strangers = match &self.parts {
            Some(parts) if !silhouette => inspect::strangers::seen(&scene, parts).map_err(|e| e.to_string())?,
            _ => None,
        };
        let of_view = |told: fn(&Scene) -> Option<String>| if silhouette { None } else { told(&scene) };
        let bodily = of_view(inspect::stones::bodily);
        let places = match inspect::surface::is_limited(&job.spec, &view.name) && !silhouette {
            true => inspect::islands::seen(&scene, &answer.features).map_err(|e| e.to_string())?,
            false => None,
        };
        let places = told(&mut answer, places);
        // What the stones' model saw in an empty seat is no stone of another size or colour.
        let gone = |f: &&Feature| f.nominal && f.kind == Some(FindingType::MissingStone);
        let missing: Vec<String> = answer.features.iter().filter(gone).map(|f| f.name.clone()).collect();
        let off_order = if silhouette { None } else { inspect::stones::off_order(&scene, &missing) };
        let alloy = of_view(inspect::alloy::another);
        let cut = of_view(inspect::cut::another);
        let gem = told(&mut answer, if silhouette { None } else { inspect::gem::odd(&scene, &missing) });
        let notes: Vec<String> = [note, alloy, cut, gem, strangers, off_order, bodily, places]
            .into_iter()
            .flatten()
            .chain(answer.troubles.drain(..))
            .collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if inspect::prongs::may_lie_otherwise(view) && inspect::prongs::astray(&answer.features) {
            for f in answer.features.iter_mut().filter(|f| f.nominal) {
                f.doubt.get_or_insert_with(|| ASTRAY.to_owned());
            }
        }
        if inspect::prongs::are_foreign(&answer.features) {
            for f in answer.features.iter_mut().filter(|f| inspect::prongs::is_of_prong(f)) {
                f.doubt.get_or_insert_with(|| FOREIGN.to_owned());
            }
        }
        let pose = located.pose;
        let known = located.has_direction;
        let (mut stones, mut prongs) = (vec![], vec![]);
        for s in view.stones.iter().filter(|_| known) {
            let row = answer.stones.iter().find(|r| r.id == s.id);
            let nominal = pose.to_px(s.x_mm, s.y_mm);
            let measured = row.and_then(|r| r.diameter_mm.map(|d| (r, d)));
            let [x, y] = measured.map_or(nominal, |(r, _)| [r.x_px, r.y_px]);
            let width = pose.px(measured.map_or(s.diameter_mm, |(_, d)| d));
            let line = s.girdle([x, -y], width, pose.rotation + s.length_turn()).unwrap_or_default();
            stones.push(PartMark {
                name: s.id.clone(),
                x,
                y,
                radius: width / 2.0,
                line: line.into_iter().map(|[x, up]| [x, -up]).collect(),
                offset: measured.map(|(r, _)| {
                    let p = pose.to_px(r.x_mm, r.y_mm);
                    [p[0] - nominal[0], p[1] - nominal[1]]
                }),
            });
            for (k, q) in s.prongs.iter().enumerate() {
                let name = inspect::prongs::name(s, k);
                let seen = answer.features.iter().find(|f| f.nominal && f.name == name);
                let nominal = pose.to_px(q.x_mm, q.y_mm);
                prongs.push(PartMark {
                    x: seen.map_or(nominal[0], |f| f.x_px),
                    y: seen.map_or(nominal[1], |f| f.y_px),
                    radius: seen.map_or(pose.px(q.radius_mm), |f| f.radius_px),
                    line: vec![],
                    offset: None,
                    name,
                });
            }
        }
        let outline_px = located.outline_px.iter().chain(&answer.loops_px).cloned().collect();
        let heat = match &scene.anomaly {
            Some(Ok(judged)) => judged.plane(image.width, image.height).map_err(|e| e.to_string())?,
            _ => None,
        };
        picture.anomaly_score =
            scene.anomaly.as_ref().and_then(|a| a.as_ref().ok()?.scored.as_ref()).map(|s| s.score);
        let mut defect_prob = classes.map(|c| c.defect_plane());
        picture.heat.clone_from(&heat);
        if let Some(mut heat) = heat {
            // The threshold of a score is 1, that of a probability in the picture a half.
            heat.data.iter_mut().for_each(|v| *v /= 1.0 + *v);
            match &mut defect_prob {
                Some(p) => p.data.iter_mut().zip(&heat.data).for_each(|(p, h)| *p = p.max(*h)),
                None => defect_prob = Some(heat),
            }
        }
        picture.outline_px = outline_px;
        let texts = &answer.texts;
        let mark = |(name, text): &(String, String)| {
            let f = answer.features.iter().find(|f| f.name == *name && !f.outline_px.is_empty())?;
            Some((name.clone(), f.outline_px.clone(), text.clone()))
        };
        picture.marks_px = texts.iter().filter_map(mark).collect();
        picture.stones_px = stones;
        picture.prongs_px = prongs;
        picture.defect_prob = defect_prob;
        Ok((answer, located, note))
    }

    /// Where the piece's own edge does not show against the ground, the model may still tell piece, stones and prongs from it:
    /// its answer as a picture is located in place of the frame. None where that fails too.
    fn locate_by_model(&self, image: &Image, view: &View, frame: &Frame) -> Option<(Vec<Located>, ClassMap)> {
        view.outline.as_ref()?;
        let map = self.model.as_ref()?.segment_at(image, None, frame.um_per_px).ok()??;
        let of = |name: &str| map.class(name).map(|c| map.class_plane(c));
        let (background, stone, prong) = (of("background")?, of("stone")?, of("prong")?);
        let mut data = Vec::with_capacity(image.data.len());
        for ((b, s), p) in background.data.iter().zip(&stone.data).zip(&prong.data) {
            let level = |v: f32| (255.0 * v.clamp(0.0, 1.0)) as u8;
            // Background black, metal red, stones yellow, prongs purple.
            data.extend([level(1.0 - b), level(*s), level(*p)]);
        }
        let picture = Image { width: image.width, height: image.height, data, grey: false };
        let places = locate::locate_all(&picture, view, frame.um_per_px).ok()?;
        tracing::debug!("{}: located by the model's map", frame.file);
        Some((places, map))
    }

    fn settings_sha256(&self) -> String {
        // Only what changes a report; where a model lies is no such thing, and its hash stands beside it.
        let text = format!("use_model={}", self.settings.use_model);
        sha256_hex(text.as_bytes())
    }
}

/// A calibration with its file's sha256, or why there is none.
type Read = Result<(Calibration, String), JsonError>;

/// A frame as it is inspected.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Its pixels, laid straight where its calibration knows the lens.
    pub image: Image,
    /// The manifest's row with the calibration's scale.
    pub frame: Frame,
    /// Of the file's bytes, lower-case hex.
    pub sha256: String,
    /// What the calibration did.
    pub calibration: Option<CalibrationRow>,
    /// What its file and its way here keep of it.
    pub kept: Kept,
}

/// The calibrations that a piece's frames name, each read once.
#[derive(Debug)]
pub(crate) struct Stations {
    /// Scale and lens, by their names.
    scales: BTreeMap<String, (PathBuf, Read)>,
    /// Colours.
    colours: BTreeMap<String, Result<inspect::colour::Calibrated, String>>,
}

impl Stations {
    /// Reads those of a piece.
    pub(crate) fn of(job: &Job) -> Self {
        let (mut scales, mut colours) = (BTreeMap::new(), BTreeMap::new());
        for frame in &job.piece.frames {
            if let Some(name) = &frame.calibration {
                if let Some(path) = calibrate::file_of(&job.base, name).filter(|_| !scales.contains_key(name)) {
                    let read = json::read(&path);
                    scales.insert(name.clone(), (path, read));
                }
            }
            if let Some(name) = &frame.colour_calibration {
                colours.entry(name.clone()).or_insert_with(|| {
                    let path = job.base.join(name);
                    let (calibration, sha256) =
                        // The report is the same wherever the folders lie.
                        json::read(&path).map_err(|e| file_only(&e.to_string(), &path))?;
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Ok(inspect::colour::Calibrated { calibration, file, sha256 })
                });
            }
        }
        Stations { scales, colours }
    }

    /// Reads a frame, which must be the one that the manifest means, and lays it straight.
    ///
    /// # Errors
    /// A message that names file and key.
    pub(crate) fn take(&self, job: &Job, index: usize, frame: &Frame) -> Result<Taken, String> {
        let path = job.base.join(&frame.file);
        let (bytes, image) = vision::read_image(&path).map_err(|e| e.to_string())?;
        let sha256 = sha256_hex(&bytes);
        let coarse_colour = vision::decode::has_coarse_colour(&bytes);
        let jpeg_step = vision::decode::jpeg_step(&bytes);
        drop(bytes);
        if let Some(wanted) = &frame.sha256 {
            if !wanted.eq_ignore_ascii_case(&sha256) {
                return Err(format!(
                    "{}: key `frames[{index}].sha256`: the file's is {sha256}, the manifest says {wanted}",
                    path.display()
                ));
            }
        }
        let (image, bent, frame, calibration) = self.straighten(job, index, frame, image)?;
        if let Some(um) = frame.um_per_px {
            let [short, long] =
                [image.width.min(image.height), image.width.max(image.height)].map(|n| n as f64 * um / 1000.0);
            if short < LEAST_FRAME_MM || long > MOST_FRAME_MM {
                return Err(format!(
                    "{}: key `frames[{index}].um_per_px`: at {um} um a pixel the frame would be {} mm wide: the scale is in micrometres a pixel",
                    path.display(),
                    crate::report::round_to(image.width as f64 * um / 1000.0, 3)
                ));
            }
        }
        Ok(Taken { image, frame, sha256, calibration, kept: Kept { coarse_colour, jpeg_step, bent } })
    }

    /// A frame as its calibration has it: laid straight, with its scale. As it is where it names no calibration file.
    fn straighten(
        &self,
        job: &Job,
        index: usize,
        frame: &Frame,
        image: Image,
    ) -> Result<(Image, Option<Bent>, Frame, Option<CalibrationRow>), String> {
        let mut frame = frame.clone();
        let named = frame.calibration.as_ref().and_then(|name| Some((name, self.scales.get(name)?)));
        let Some((name, (path, read))) = named else {
            return Ok((image, None, frame, None));
        };
        let refused =
            |e: &dyn std::fmt::Display| format!("{}: key `frames[{index}].calibration`: {e}", job.origin.display());
        let (c, sha256) = read.as_ref().map_err(|e| refused(e))?;
        c.fits(path, &frame, &image).map_err(|e| refused(&e))?;
        let straight = c.straightened(&image).map_err(|e| refused(&e))?;
        let row = CalibrationRow {
            file: name.clone(),
            sha256: sha256.clone(),
            um_per_px: c.um_per_px,
            um_per_px_u: c.um_per_px_u,
            straightened: straight.is_some(),
        };
        frame.um_per_px = Some(c.um_per_px);
        frame.um_per_px_u = Some(c.um_per_px_u);
        // A silhouette is measured on the light that fell on the sensor.
        let lens = c.distortion.filter(|_| frame.light == "backlight");
        let (image, bent) = match (straight, lens) {
            (Some(straight), Some(lens)) => (straight, Some(Bent { image, lens })),
            (straight, _) => (straight.unwrap_or(image), None),
        };
        Ok((image, bent, frame, Some(row)))
    }
}

/// What a view's bursts show of its stones' play, each with the frame it is told on: a stone has the play of the burst in which it moves most. None without a burst.
fn play(
    view: &View,
    looks: &[Look],
    pictures: &[FrameView],
    parts: Option<&PartModels>,
) -> Option<Vec<(String, Pose, Answer)>> {
    let mut bursts: BTreeMap<&str, Vec<(&Look, &FrameView)>> = BTreeMap::new();
    for look in looks {
        let picture = pictures.iter().find(|p| p.file == look.frame.file);
        if let (Some(burst), Some(_), Some(picture)) = (&look.frame.burst, look.pose, picture) {
            bursts.entry(burst).or_default().push((look, picture));
        }
    }
    bursts.retain(|_, b| b.len() > 1);
    if bursts.is_empty() {
        return None;
    }
    let several = bursts.len() > 1;
    let mut all: Vec<(String, Pose, Answer)> = Vec::new();
    for (name, mut burst) in bursts {
        burst.sort_by_key(|(look, _)| look.frame.seq);
        let Some((file, pose, mut answer)) = play_of(view, &burst, parts) else { continue };
        if several {
            answer.not_assessed.iter_mut().for_each(|(_, why)| *why = format!("burst {name}: {why}"));
        }
        all.iter_mut().for_each(|(_, _, other)| larger(&mut other.features, &mut answer.features));
        all.push((file, pose, answer));
    }
    Some(all)
}

/// Leaves each stone of two bursts where it moved more, with the larger of its turns.
fn larger(one: &mut Vec<Feature>, other: &mut Vec<Feature>) {
    let of = |f: &Feature, c: &str| f.values.iter().find(|v| v.characteristic == c).map(|v| v.value);
    let [mut lost, mut gone] = [vec![], vec![]];
    for (i, f) in one.iter_mut().enumerate() {
        let Some((k, twin)) = other.iter_mut().enumerate().find(|(_, o)| o.name == f.name) else { continue };
        let second = of(f, inspect::play::PLAY) < of(twin, inspect::play::PLAY);
        let (kept, left) = if second { (twin, f) } else { (f, twin) };
        for v in kept.values.iter_mut().filter(|v| v.characteristic == inspect::play::PLAY_TURN) {
            let more = left.values.iter().find(|w| w.characteristic == v.characteristic && w.value > v.value);
            more.into_iter().for_each(|w| v.clone_from(w));
        }
        if second {
            lost.push(i);
        } else {
            gone.push(k);
        }
    }
    let drop = |from: &mut Vec<Feature>, which: &[usize]| {
        let mut k = 0..;
        from.retain(|_| k.next().is_some_and(|k| !which.contains(&k)));
    };
    drop(one, &lost);
    drop(other, &gone);
}

/// What one burst shows of its stones' play, and the frame it is told on. Its frames in the order in which they were taken.
fn play_of(view: &View, burst: &[(&Look, &FrameView)], parts: Option<&PartModels>) -> Option<(String, Pose, Answer)> {
    let mut frames: Vec<(&Image, Pose)> = Vec::new();
    for (look, picture) in burst {
        // A copy of a frame shows no stone that moved, however loose it is.
        if !frames.iter().any(|f| *f.0 == picture.image) {
            frames.extend(look.pose.map(|pose| (&picture.image, pose)));
        }
    }
    let file = burst.first()?.0.frame.file.clone();
    let pose = frames.first()?.1;
    if frames.len() < 2 {
        let why = || "the frames of the burst are one and the same picture".to_owned();
        let not_assessed = [inspect::play::PLAY, inspect::play::PLAY_TURN].map(|c| (c, why())).to_vec();
        return Some((file, pose, Answer { not_assessed, ..Answer::default() }));
    }
    let answer = inspect::play::measure(view, &frames, parts)
        .unwrap_or_else(|e| Answer { not_assessed: vec![(inspect::play::PLAY, e.to_string())], ..Answer::default() });
    Some((file, pose, answer))
}

/// Why a person must look at a piece whose parts are nowhere.
const ASTRAY: &str =
    "most prongs or stones are not where the spec has them: the piece may lie another way than it was placed";
/// Why a person must look at prongs none of which looks like one.
const FOREIGN: &str =
    "nearly all prongs look otherwise than whole prongs do: they may be of a form that the model does not know";
/// Why a person must look at a piece that only the model's map could place.
const FAINT: &str = "the piece's edge does not show against the ground: it was placed by the surface model";

/// No frame of jewellery is narrower or wider than this: its scale is in another unit.
const LEAST_FRAME_MM: f64 = 0.2;
const MOST_FRAME_MM: f64 = 2000.0;

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

/// How far apart two frames of a view may show one and the same small thing, in mm.
const REACH_MM: f64 = 0.05;

/// Takes features that no limit decides into an answer, and gives what a person should know of them.
fn told(answer: &mut Answer, seen: Option<(Vec<Feature>, String)>) -> Option<String> {
    let (features, text) = seen?;
    answer.features.extend(features);
    Some(text)
}

/// Whether two places are those of one thing of that radius in mm; not where one of them is not known.
fn near(a: Option<[f64; 2]>, b: Option<[f64; 2]>, radius_mm: f64) -> bool {
    a.zip(b).is_some_and(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]) < REACH_MM.max(0.7 * radius_mm))
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
        /// How far each frame's second opinion lies above what it stands from, in log odds, and what those doubt that lie below.
        margins: Vec<f64>,
        doubted: Option<String>,
        /// What other frames say of the same part of the spec.
        others: Vec<(String, Option<[f64; 2]>, Feature)>,
    }
    let margin = |f: &Feature| f.opinion.and_then(|o| o.margin);
    let mut seen: Vec<Seen> = Vec::new();
    let mut burst_size: BTreeMap<String, usize> = BTreeMap::new();
    // Of each frame's file.
    let mut bursts: BTreeMap<String, String> = BTreeMap::new();
    let mut finishes: Vec<(String, inspect::finish::Told)> = Vec::new();
    let usable = looks.iter().filter(|l| l.trouble.is_none()).count();
    let outlined = looks
        .iter()
        .filter(|l| l.trouble.is_none() && l.answer.assessed.contains(&inspect::contour::CHARACTERISTIC))
        .count();
    for (k, look) in looks.into_iter().enumerate() {
        if look.trouble.is_some() {
            continue;
        }
        if let Some(b) = &look.frame.burst {
            bursts.insert(look.frame.file.clone(), b.clone());
            *burst_size.entry(b.clone()).or_default() += 1;
        }
        for feature in look.answer.features {
            let place = look.pose.map(|p| p.to_mm(feature.x_px, feature.y_px));
            let named = feature.nominal || feature.kind.is_none();
            let radius_mm = look.pose.map_or(0.0, |p| p.mm(feature.radius_px));
            let twin = seen.iter_mut().find(|s| {
                if s.frames.contains(&k) {
                    return false;
                }
                if named || s.feature.nominal || s.feature.kind.is_none() {
                    let first = |f: &Feature| f.values.first().map(|v| v.characteristic);
                    return s.feature.name == feature.name && first(&s.feature) == first(&feature);
                }
                s.feature.kind == feature.kind
                    && is_sound(s.feature.kind, &s.feature.name) == is_sound(feature.kind, &feature.name)
                    && near(s.place, place, radius_mm)
            });
            match twin {
                Some(s) => {
                    s.frames.push(k);
                    if feature.nominal {
                        s.others.push((look.frame.file.clone(), place, feature));
                        continue;
                    }
                    s.margins.extend(margin(&feature));
                    s.doubted = s.doubted.take().or_else(|| feature.doubt.clone());
                    // One frame that is sure is enough where those that doubt do not outweigh it (below).
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
                    place,
                    radius_mm,
                    burst: look.frame.burst.clone(),
                    frames: vec![k],
                    margins: margin(&feature).into_iter().collect(),
                    doubted: feature.doubt.clone(),
                    feature,
                    others: vec![],
                }),
            }
        }
        for s in look.answer.stones {
            match out.stones.iter_mut().find(|t| t.id == s.id) {
                // A frame that measured it says more than one that only saw it.
                Some(t) if t.diameter_mm.is_none() && s.diameter_mm.is_some() => *t = s,
                Some(_) => {}
                None => out.stones.push(s),
            }
        }
        let file = &look.frame.file;
        finishes.extend(look.answer.finish.map(|told| (file.clone(), told)));
        out.texts.extend(look.answer.texts.into_iter().map(|(name, text)| (file.clone(), name, text)));
        for a in look.answer.assessed {
            if !out.assessed.contains(&a) {
                out.assessed.push(a);
            }
        }
        for (c, why) in look.answer.not_assessed {
            if !out.not_assessed.iter().any(|n| n.0 == c && n.1 == why) {
                out.not_assessed.push((c.to_owned(), why));
            }
        }
    }
    // One good frame of a view is enough for a characteristic, unless a frame was lost: it might have shown more.
    out.not_assessed.retain(|n| !out.assessed.iter().any(|a| *a == n.0));
    if usable == 0 || some_lost {
        let why =
            if some_lost { "a frame of the view could not be used" } else { "the piece was not found in the view" };
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
        if inspect::opinion::outweighed(&s.margins) {
            s.feature.doubt = s.feature.doubt.take().or(s.doubted.take());
        }
        for t in &sound {
            let (small, large) = (s.radius_mm.min(t.radius_mm), s.radius_mm.max(t.radius_mm));
            let same = near(s.place, t.place, small) && large < 2.0 * small.max(REACH_MM);
            let others: Vec<usize> = t.frames.iter().filter(|f| !s.frames.contains(f)).copied().collect();
            if same && !others.is_empty() {
                s.frames.extend(others);
                let doubt = t.feature.opinion.as_ref().map(inspect::opinion::doubt);
                s.feature.doubt = s.feature.doubt.take().or(doubt);
            }
        }
    }
    // What one frame shows as a pit and another as a small stain, or one as a pit or scratch and another as a stain or a rub of the plating of its
    // size, is a person's matter too.
    let is_as_pit = |s: &Seen| s.feature.kind.is_none() && s.feature.name.contains(inspect::surface::AS_PIT);
    let doubt = |s: &Seen| {
        let elsewhere =
            |t: &&Seen| t.frames.iter().any(|f| !s.frames.contains(f)) && near(s.place, t.place, s.radius_mm);
        let small_stain = || seen.iter().filter(elsewhere).find(|t| is_as_pit(t))?.feature.doubt.clone();
        let patch = || {
            let flat = |t: &&Seen| matches!(t.feature.kind, Some(FindingType::Stain | FindingType::WornPlating));
            let alike = |t: &&Seen| {
                t.radius_mm < 2.0 * s.radius_mm.max(REACH_MM) && s.radius_mm < 2.0 * t.radius_mm.max(REACH_MM)
            };
            let patch = seen.iter().filter(elsewhere).filter(flat).find(alike)?;
            Some(format!("another frame shows a {} there", patch.feature.kind?.as_str()))
        };
        match s.feature.kind {
            Some(FindingType::Pit) => small_stain().or_else(patch),
            Some(FindingType::Scratch) => patch(),
            _ => None,
        }
    };
    let doubts: Vec<Option<String>> = seen.iter().map(doubt).collect();
    for (s, doubt) in seen.iter_mut().zip(doubts) {
        s.feature.doubt = s.feature.doubt.take().or(doubt);
    }
    // A place of another finish that most frames do not show as one fails nothing by itself; and lacking metal lacks under every light.
    for s in seen.iter_mut().filter(|s| !s.feature.nominal) {
        let doubt = match (s.feature.kind, s.frames.len()) {
            (Some(FindingType::WrongFinish), n) if 2 * n <= finishes.len() => {
                "another frame shows no other finish there"
            }
            (Some(FindingType::IncompleteFill), 1) if outlined > 1 => "another frame shows the edge whole there",
            _ => continue,
        };
        s.feature.doubt.get_or_insert_with(|| doubt.to_owned());
    }
    seen.extend(sound);
    seen.retain(|s| {
        let n = s.burst.as_ref().and_then(|b| burst_size.get(b)).copied().unwrap_or(1);
        // The frame's score counts however the others' are, so its place is shown.
        s.feature.kind.is_none_or(|k| !is_surface(k) || k == FindingType::Anomaly) || 2 * s.frames.len() >= n
    });
    // Names are counted anew, so that two frames do not both bring a `pit-1`.
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for mut s in seen {
        if !s.others.is_empty() {
            let mut all = vec![(s.file, s.place, s.feature)];
            all.append(&mut s.others);
            (s.file, s.place, s.feature) = if inspect::finish::is_share(&all[0].2) {
                inspect::finish::fuse(all, &finishes)
            } else {
                fuse(all, &bursts)
            };
        }
        let mut feature = s.feature;
        if let Some((stem, number)) = feature.name.rsplit_once('-').filter(|_| !feature.nominal) {
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

/// Log odds below which a frame that sees a part otherwise than the others is overruled by them.
const OVERRULED: f64 = 1.5;
/// What the others' odds must come to for that.
const OVERRULING: f64 = 4.0;

/// By how much the log odds that a stone is there differ between two frames of one burst, which share their light, where it is there in one only: of stones
/// that stay they differ by 0.9 at most (115 stones of the bursts of the sample pieces).
const CHANGED: f64 = 3.0;

/// What several frames say of one part of the spec, as one: the frame that is surest carries the picture.
///
/// - *Present or not*: frames that would not show it count where there are no others; odds add up; where frames contradict each other and no side clearly overrules, a person decides. So does one of a stone that frames of
///   one burst, which share their light, show otherwise: it may have come out as the piece was shaken.
/// - *A chip* that one frame is sure of counts, the deepest of them; else what all of them show together does ([`RimSeen::together`]).
/// - *Any other measure* is the mean by the weights. Its uncertainty stays the best one's, because what the frames share (pose,
///   scale) does not average out; where two contradict each other, it grows to half of what lies between the extremes.
fn fuse(
    mut all: Vec<(String, Option<[f64; 2]>, Feature)>,
    bursts: &BTreeMap<String, String>,
) -> (String, Option<[f64; 2]>, Feature) {
    let first = |f: &Feature| f.values.first().map_or("", |v| v.characteristic);
    let characteristic = first(&all[0].2);
    if characteristic == inspect::hallmark::TEXT {
        return inspect::hallmark::fuse(all);
    }
    if characteristic.ends_with(".present") {
        // What burnt out or out of focus does not show that a part is there, says nothing against a frame that does.
        if all.iter().any(|a| !stones::is_spoiled(&a.2)) {
            all.retain(|a| !stones::is_spoiled(&a.2));
        }
        let odds = |f: &Feature| {
            let p = f.confidence.clamp(0.5, 1.0 - 1e-9);
            let size = (p / (1.0 - p)).ln();
            if f.values.first().is_some_and(|v| v.value > 0.5) {
                size
            } else {
                -size
            }
        };
        let total: f64 = all.iter().map(|a| odds(&a.2)).sum();
        let against = all.iter().map(|a| odds(&a.2)).filter(|o| o * total < 0.0).fold(0.0f64, |m, o| m.max(o.abs()));
        let unsure = |f: &Feature| f.values.first().is_some_and(|v| v.uncertainty > 0.0);
        let changed = characteristic == stones::PRESENT
            && all.iter().any(|a| {
                let burst = bursts.get(&a.0);
                let alike = |b: &&(String, _, Feature)| burst.is_some() && bursts.get(&b.0) == burst;
                all.iter().filter(alike).any(|b| odds(&b.2) - odds(&a.2) > CHANGED)
            });
        // What looks like a hole or a cut tip under one light is none the less one for what another makes of it.
        if all.iter().any(|a| stones::is_suspect(&a.2)) {
            all.retain(|a| stones::is_suspect(&a.2) || a.2.values.iter().all(|v| v.value < 0.5));
        }
        let contradicted = changed || against > OVERRULED || (against > 0.0 && total.abs() < OVERRULING);
        let doubtful = all.iter().all(|a| unsure(&a.2));
        // Where it may be missing, the frame that shows so.
        let wanted = if contradicted { -1.0 } else { total };
        all.sort_by(|a, b| (odds(&b.2) * wanted.signum()).total_cmp(&(odds(&a.2) * wanted.signum())));
        let mut best = all.swap_remove(0);
        for v in &mut best.2.values {
            v.uncertainty = if contradicted || doubtful { 0.6 } else { 0.0 };
        }
        if changed {
            best.2.doubt = Some("the frames of the burst do not show it alike: it may have come out".to_owned());
        }
        return best;
    }
    if characteristic == stones::CHIP {
        return fuse_chips(all);
    }
    let u = |f: &Feature| f.values.first().map_or(f64::MAX, |v| v.uncertainty);
    all.sort_by(|a, b| u(&a.2).total_cmp(&u(&b.2)));
    let mut names: Vec<&'static str> = Vec::new();
    for v in all.iter().flat_map(|a| &a.2.values) {
        if !names.contains(&v.characteristic) {
            names.push(v.characteristic);
        }
    }
    let values = names
        .into_iter()
        .map(|c| {
            let of: Vec<&Value> = all.iter().flat_map(|a| &a.2.values).filter(|v| v.characteristic == c).collect();
            let weight = |v: &Value| v.uncertainty.max(1e-9).powi(-2);
            let sum: f64 = of.iter().map(|v| weight(v)).sum();
            let value = of.iter().map(|v| weight(v) * v.value).sum::<f64>() / sum;
            let least = of.iter().map(|v| v.uncertainty).fold(f64::MAX, f64::min);
            let (lo, hi) = of.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v.value), h.max(v.value)));
            let contradict =
                |a: &Value, b: &Value| (a.value - b.value).abs() > 3.0 * a.uncertainty.hypot(b.uncertainty);
            let apart = of.iter().enumerate().any(|(i, a)| of[i + 1..].iter().any(|b| contradict(a, b)));
            Value { characteristic: c, value, uncertainty: if apart { least.max((hi - lo) / 2.0) } else { least } }
        })
        .collect();
    let sure = all.iter().any(|a| a.2.doubt.is_none());
    let (file, place, mut best) = all.swap_remove(0);
    best.values = values;
    if sure {
        best.doubt = None;
    }
    (file, place, best)
}

/// What several frames say of a stone's rim: the deepest chip that one of them is sure of, else what all of them say together.
fn fuse_chips(mut all: Vec<(String, Option<[f64; 2]>, Feature)>) -> (String, Option<[f64; 2]>, Feature) {
    let rims: Vec<RimSeen> = all.iter().filter_map(|a| a.2.rim).collect();
    let broken = |f: &Feature| f.rim.filter(RimSeen::is_broken).map(|r| r.depth_mm);
    let first = |f: &Feature| (broken(f).unwrap_or(f64::MIN), f.rim.map_or(f64::MIN, |r| r.odds));
    all.sort_by(|(_, _, a), (_, _, b)| {
        let (a, b) = (first(a), first(b));
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    let mut best = all.swap_remove(0);
    if let Some(rim) = RimSeen::together(&rims).filter(|_| broken(&best.2).is_none()) {
        rim.tell(&mut best.2);
    }
    best
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

/// A message with the file's name in place of its path.
fn file_only(message: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    message.replace(&path.display().to_string(), &name)
}

/// A message without the folder the piece lies in.
fn without_folder(message: &str, base: &Path) -> String {
    let dir = format!("{}/", base.display());
    let text = message.replace(&dir, "");
    // The file's name already stands in front.
    text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}
