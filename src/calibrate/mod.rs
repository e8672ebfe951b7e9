//! From pictures of a target to a station's calibration: the scale in the target's plane, the lens's distortion, and how well both
//! are known (`*.cal.json`, schema `loupe.calibration/1`). Frames name such a file; they are laid straight by it.

mod fit;
mod picture;
pub mod target;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{mistake, JsonError, Marked, Mistake};
use crate::piece::Frame;
use crate::vision::{ops, Image, VisionError};

pub use fit::{calibrate, Seen, Shot};
pub use picture::residuals;

/// The `schema` value of a calibration.
pub const CALIBRATION_SCHEMA: &str = "loupe.calibration/1";

/// A station's calibration. The same pictures give the same file, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Always `loupe.calibration/1`.
    pub schema: String,
    /// Program and version.
    pub program: String,
    /// The camera it holds for; null for any.
    pub camera_serial: Option<String>,
    /// Width of the frames it holds for, in pixels.
    pub width_px: usize,
    /// Their height.
    pub height_px: usize,
    /// What was looked at.
    pub target: TargetRow,
    /// Scale in the target's plane, in the middle of the frame and, once a frame is laid straight, all over it: um per pixel.
    pub um_per_px: f64,
    /// Its standard uncertainty.
    pub um_per_px_u: f64,
    /// What the standard uncertainty is made of.
    pub budget: Vec<BudgetRow>,
    /// telecentric (a tilted target is only foreshortened) or perspective (it is also seen smaller where it is farther).
    pub lens: LensModel,
    /// The lens's distortion; null where the target does not show it (scale bar).
    pub distortion: Option<Distortion>,
    /// By how much the scale differs over the frame because the target lies tilted to the sensor: half the range, in percent.
    pub tilt_pct: f64,
    /// Root mean square of the distances between points as seen and as fitted, in pixels.
    pub residual_rms_px: f64,
    /// The largest.
    pub residual_max_px: f64,
    /// The pictures.
    pub images: Vec<ImageRow>,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRow {
    /// chessboard, circles or scale_bar.
    pub kind: TargetKind,
    /// Side of a square, or distance of neighbouring circles or lines, in mm.
    pub square_mm: f64,
    /// Standard uncertainty of that; null where the target was taken as exact.
    pub square_u_mm: Option<f64>,
}

/// Kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A chessboard: its inner corners count.
    Chessboard,
    /// A square grid of discs, dark on light or light on dark.
    Circles,
    /// Parallel lines at equal distances.
    ScaleBar,
}

impl TargetKind {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetKind::Chessboard => "chessboard",
            TargetKind::Circles => "circles",
            TargetKind::ScaleBar => "scale_bar",
        }
    }
}

/// How a lens sees depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LensModel {
    /// Everything is seen at one scale, near or far.
    Telecentric,
    /// What is farther is seen smaller.
    Perspective,
}

/// One part of the standard uncertainty of the scale (GUM).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetRow {
    /// target, points, fit, repeatability, tilt, lens (what is not known of it beyond the target), or distortion (what further terms may move).
    pub name: String,
    /// How it was found: A by statistics, B otherwise.
    pub evaluation: String,
    /// Standard uncertainty in um per pixel.
    pub um_per_px_u: f64,
    /// Degrees of freedom; null for infinite.
    pub degrees: Option<f64>,
}

/// One picture of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageRow {
    /// Its file name.
    pub file: String,
    /// sha256 of the file.
    pub sha256: String,
    /// Points of the target that were used.
    pub points: usize,
    /// Points that were seen and left out because they lie off the fit.
    pub left_out: usize,
    /// The scale that it alone gives.
    pub um_per_px: f64,
    /// Root mean square of its residuals in pixels.
    pub residual_rms_px: f64,
}

/// Radial and decentring distortion (Brown 1966; the same terms as OpenCV's): with (x, y) the distance from the centre over
/// `norm_px` and r its length, a point is seen at x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2), and y alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distortion {
    /// Where it is centred: the middle of the frame.
    pub centre_px: [f64; 2],
    /// Half the frame's diagonal.
    pub norm_px: f64,
    /// Radial, third order.
    pub k1: f64,
    /// Radial, fifth order.
    pub k2: f64,
    /// Decentring.
    pub p1: f64,
    /// Decentring.
    pub p2: f64,
    /// Radial, seventh order; 0 where the points do not ask for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub k3: f64,
}

fn is_zero(v: &f64) -> bool {
    *v == 0.0
}

impl Distortion {
    /// No distortion of frames of a size.
    pub fn none(width: usize, height: usize) -> Self {
        let centre_px = [(width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0];
        let norm_px = (width as f64).hypot(height as f64) / 2.0;
        Distortion { centre_px, norm_px, k1: 0.0, k2: 0.0, p1: 0.0, p2: 0.0, k3: 0.0 }
    }

    /// Where a straight picture's point is seen in the frame.
    pub fn distort(&self, p: [f64; 2]) -> [f64; 2] {
        let x = (p[0] - self.centre_px[0]) / self.norm_px;
        let y = (p[1] - self.centre_px[1]) / self.norm_px;
        let r2 = x * x + y * y;
        let radial = 1.0 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3));
        let u = x * radial + 2.0 * self.p1 * x * y + self.p2 * (r2 + 2.0 * x * x);
        let v = y * radial + self.p1 * (r2 + 2.0 * y * y) + 2.0 * self.p2 * x * y;
        [self.centre_px[0] + self.norm_px * u, self.centre_px[1] + self.norm_px * v]
    }

    /// The other way round, by repeated correction: it halves the error at least where distortion is below a half.
    pub fn straighten(&self, p: [f64; 2]) -> [f64; 2] {
        let mut q = p;
        for _ in 0..30 {
            let d = self.distort(q);
            q = [q[0] + p[0] - d[0], q[1] + p[1] - d[1]];
        }
        q
    }

    /// The largest shift along the frame's border, in pixels.
    pub fn largest(&self) -> f64 {
        let [w, h] = self.centre_px;
        let at = |x: f64, y: f64| {
            let p = [w + x * w, h + y * h];
            let d = self.distort(p);
            (d[0] - p[0]).hypot(d[1] - p[1])
        };
        (-4..=4)
            .map(|k| f64::from(k) / 4.0)
            .flat_map(|k| [at(k, -1.0), at(k, 1.0), at(-1.0, k), at(1.0, k)])
            .fold(0.0, f64::max)
    }
}

/// Why a calibration cannot be made or used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file cannot be read, or is no calibration.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The frame is not one that the calibration holds for.
    #[error("{}: {message}", path.display())]
    Other {
        /// The calibration.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The target's points cannot be fitted.
    #[error("{0}")]
    Fit(String),
    /// OpenCV refused an operation.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// Distortion below this moves nothing that is measured, and a frame is left as it is: a fiftieth of a pixel.
const LEAST_SHIFT_PX: f64 = 0.02;
/// By how much a manifest's own scale may differ from the calibration's, relatively, where it states no uncertainty.
const SCALE_SLACK: f64 = 0.005;

impl Marked for Calibration {
    const SCHEMA: &'static str = CALIBRATION_SCHEMA;

    fn schema(&self) -> &str {
        &self.schema
    }

    fn check(&self) -> Result<(), Mistake> {
        if !(self.um_per_px.is_finite() && self.um_per_px > 0.0) {
            return Err(mistake("um_per_px", format!("{} is no scale: it must be above 0", self.um_per_px)));
        }
        if !(self.um_per_px_u >= 0.0 && self.um_per_px_u < self.um_per_px) {
            return Err(mistake("um_per_px_u", format!("{} is no uncertainty of the scale", self.um_per_px_u)));
        }
        if let Some(d) = &self.distortion {
            // Beyond a quarter of the frame the model is no lens but a mistake, and could not be turned round.
            if !(d.norm_px > 0.0 && d.largest() < 0.25 * d.norm_px) {
                return Err(mistake("distortion", "is larger than any lens's"));
            }
        }
        Ok(())
    }
}

impl Calibration {
    /// The file's text.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|t| t + "\n")
    }

    /// Checks that a frame is one that this holds for; `path` names the calibration in errors.
    ///
    /// # Errors
    /// [`CalibrationError::Other`] with what does not fit.
    pub fn fits(&self, path: &Path, frame: &Frame, image: &Image) -> Result<(), CalibrationError> {
        let other = |message: String| CalibrationError::Other { path: path.to_owned(), message };
        if (image.width, image.height) != (self.width_px, self.height_px) {
            return Err(other(format!(
                "is for frames of {} x {} pixels, and this one has {} x {}",
                self.width_px, self.height_px, image.width, image.height
            )));
        }
        match (&self.camera_serial, &frame.camera_serial) {
            (Some(own), Some(of)) if own != of => {
                return Err(other(format!("is for the camera {own}, and the frame is of {of}")));
            }
            (Some(own), None) => {
                return Err(other(format!("is for the camera {own}, and the frame names no camera_serial")));
            }
            _ => {}
        }
        if let Some(s) = frame.um_per_px {
            let slack = if frame.um_per_px_u.is_none() { SCALE_SLACK * self.um_per_px } else { 0.0 };
            let u = 3.0 * self.um_per_px_u.hypot(frame.um_per_px_u.unwrap_or(0.0));
            if (s - self.um_per_px).abs() > u.max(slack) {
                return Err(other(format!(
                    "gives {} um per pixel, and the frame's um_per_px says {s}",
                    self.um_per_px
                )));
            }
        }
        Ok(())
    }

    /// The frame laid straight: as a lens without distortion would show it. None where that would move nothing.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn straightened(&self, image: &Image) -> Result<Option<Image>, VisionError> {
        match &self.distortion {
            Some(d) if d.largest() > LEAST_SHIFT_PX => ops::remap(image, |x, y| d.distort([x, y])).map(Some),
            _ => Ok(None),
        }
    }
}

/// Whether a frame's `calibration` names a file beside the manifest, and which: a station's mere name of it is left alone. What has a folder or ends as
/// files do is meant as one, whether it is there or not.
pub fn file_of(base: &Path, name: &str) -> Option<PathBuf> {
    let path = base.join(name);
    let ends =
        Path::new(name).extension().is_some_and(|e| e.to_string_lossy().chars().all(|c| c.is_ascii_alphabetic()));
    (path.is_file() || ends || name.contains(['/', '\\'])).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let d = Distortion { k1: -0.08, k2: 0.01, p1: 0.002, p2: -0.001, k3: 0.004, ..Distortion::none(1200, 900) };
        for p in [[0.0, 0.0], [1199.0, 20.0], [600.0, 899.0], [599.5, 449.5]] {
            let q = d.straighten(d.distort(p));
            assert!((q[0] - p[0]).hypot(q[1] - p[1]) < 1e-6, "{p:?} {q:?}");
        }
        assert!(d.largest() > 20.0 && d.largest() < 80.0);
    }

    #[test]
    fn a_name_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(file_of(dir.path(), "station 3, May"), None);
        assert_eq!(file_of(dir.path(), "station 3, lens 1.5"), None);
        for name in ["station.cal.json", "station.cal.jsn", "cal/station"] {
            assert!(file_of(dir.path(), name).is_some(), "{name}");
        }
    }
}
