//! The sentence: a piece's frames are located, inspected, judged and reported.

use std::path::PathBuf;

use crate::piece::Piece;
use crate::report::{Report, Verdict};
use crate::spec::Spec;
use crate::vision::Image;

/// What a run may change about a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Run the surface model beside the classic inspectors.
    pub use_model: bool,
    /// Its file; none for the one shipped.
    pub model_path: Option<PathBuf>,
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
}

impl Inspector {
    /// Loads what the settings ask for.
    ///
    /// # Errors
    /// Where the model or ONNX Runtime is missing or damaged.
    pub fn new(settings: Settings) -> Result<Self, crate::model::ModelError> {
        Ok(Self { settings })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Inspects one piece. A frame that cannot be read becomes an error row of the report; the report is made
    /// all the same.
    pub fn inspect(&self, job: &Job) -> Inspected {
        Inspected {
            report: Report {
                schema: crate::report::REPORT_SCHEMA.into(),
                piece_id: job.piece.piece_id.clone(),
                sku: job.spec.sku.clone(),
                verdict: Verdict::Review,
                reasons: vec![],
                measurements: vec![],
                findings: vec![],
                stones: vec![],
                not_assessed: vec![],
                frames: vec![],
                provenance: crate::report::Provenance {
                    program: concat!("loupe ", env!("CARGO_PKG_VERSION")).into(),
                    spec_sha256: job.spec_sha256.clone(),
                    models: vec![],
                    settings_sha256: String::new(),
                },
            },
            views: vec![],
            frame_errors: vec![],
        }
    }
}
