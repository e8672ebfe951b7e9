//! What is said of a piece: the report (`report.json`, schema `loupe.report/1`), its pictures, and writing
//! both whole or not at all.

pub mod map;
pub mod overlay;
pub mod page;
pub mod qif;
pub mod rows;
pub mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{mistake, Marked, Mistake};
use crate::spec::Rule;

/// The `schema` value of a report.
pub const REPORT_SCHEMA: &str = "loupe.report/1";

/// A report on one piece. The same frames, spec, models and program give the same report, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always `loupe.report/1`.
    pub schema: String,
    /// The piece.
    pub piece_id: String,
    /// The article of its spec.
    pub sku: String,
    /// pass, fail or review.
    pub verdict: Verdict,
    /// Why, worst first, one line each.
    pub reasons: Vec<String>,
    /// Every characteristic that was measured, beside its limit.
    pub measurements: Vec<Measurement>,
    /// What was seen on the piece.
    pub findings: Vec<Finding>,
    /// Every nominal stone that was looked at.
    pub stones: Vec<StoneRow>,
    /// What the spec asks for and could not be assessed.
    pub not_assessed: Vec<NotAssessed>,
    /// The frames that were read.
    pub frames: Vec<FrameRow>,
    /// What made the report.
    pub provenance: Provenance,
}

impl Marked for Report {
    const SCHEMA: &'static str = REPORT_SCHEMA;

    fn schema(&self) -> &str {
        &self.schema
    }

    fn check(&self) -> Result<(), Mistake> {
        for (i, m) in self.measurements.iter().enumerate() {
            let at = |key: &str| format!("measurements[{i}].{key}");
            let number = |key: &str, v: f64| {
                let why = format!("{v} is no measure");
                if v.abs() <= LARGEST {
                    Ok(())
                } else {
                    Err(mistake(&at(key), why))
                }
            };
            number("value", m.value)?;
            number("uncertainty", m.uncertainty)?;
            number("lower", m.lower.unwrap_or(0.0))?;
            number("upper", m.upper.unwrap_or(0.0))?;
            if m.uncertainty < 0.0 {
                return Err(mistake(&at("uncertainty"), format!("{} is less than nothing", m.uncertainty)));
            }
            if m.decision.is_some_and(|d| !(d.k > 0.0 && d.k <= LARGEST)) {
                return Err(mistake(&at("decision.k"), "a coverage factor is more than nothing"));
            }
        }
        for (i, f) in self.frames.iter().enumerate() {
            if f.um_per_px.is_some_and(|s| !(s > 0.0 && s <= LARGEST)) {
                return Err(mistake(&format!("frames[{i}].um_per_px"), "a scale is more than nothing"));
            }
        }
        Ok(())
    }
}

/// Nothing that a report measures is larger than this, in any unit.
const LARGEST: f64 = 1e12;

/// The verdict on a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every characteristic the spec limits was assessed and is inside its limit.
    Pass,
    /// A person decides: a value lies within its uncertainty of a limit, or something was not assessed.
    Review,
    /// A characteristic is outside its limit.
    Fail,
}

impl Verdict {
    /// The word in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Review => "review",
            Verdict::Fail => "fail",
        }
    }
}

/// The status of one measurement or finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Inside the limit by the limit's decision rule (by default by at least U = 2 u), or no limit was set.
    Pass,
    /// Could not be assessed.
    NotAssessed,
    /// Too near to the limit for the decision rule: a person decides.
    Review,
    /// Outside the limit by the decision rule.
    Fail,
}

/// One characteristic of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Such as `pit.diameter_mm`.
    pub characteristic: String,
    /// Which pit, stone, ... of the view: `pit-1`, `S7`; the view's own characteristics carry its name.
    pub feature: String,
    /// The view.
    pub view: String,
    /// The value in the unit of the name.
    pub value: f64,
    /// Standard uncertainty (k = 1) in the same unit.
    pub uncertainty: f64,
    /// Lower limit of the spec.
    pub lower: Option<f64>,
    /// Upper limit of the spec.
    pub upper: Option<f64>,
    /// How the value stands to the limits.
    pub status: Status,
    /// What was read there, of a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The rule it was decided by, where that is not the guard band with k = 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRow>,
}

/// A decision rule other than the guard band with k = 2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRow {
    /// The rule.
    pub rule: Rule,
    /// Its coverage factor: U = k u.
    pub k: f64,
    /// Of shared risk: the largest U under which the value alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u_max: Option<f64>,
}

/// Something seen on the piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// One of the contract's finding types.
    #[serde(rename = "type")]
    pub kind: FindingType,
    /// The view.
    pub view: String,
    /// The frame.
    pub file: String,
    /// Names the finding's measurements.
    pub feature: String,
    /// Centre in piece coordinates; null where the frame has no scale.
    pub x_mm: Option<f64>,
    /// Centre in piece coordinates; null where the frame has no scale.
    pub y_mm: Option<f64>,
    /// Centre in the frame.
    pub x_px: f64,
    /// Centre in the frame.
    pub y_px: f64,
    /// Radius of the circle about it.
    pub radius_px: f64,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// Who saw it: `surface`, `outline`, `stones` (classic vision), `surface-model`.
    pub found_by: Vec<String>,
    /// The worst status of its measurements.
    pub status: Status,
    /// What was read there, of a mark; empty where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the surface model shows there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinion: Option<OpinionRow>,
    /// Its outline in the frame, `[x, y]` pixels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outline_px: Vec<[f64; 2]>,
}

/// What the surface model shows within a finding: mean probabilities, which with stone, prong and background sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpinionRow {
    /// How far it stands out of the metal, in scatters.
    pub standout: f64,
    /// Any defect.
    pub defect: f64,
    /// Dust and fibres.
    pub lint: f64,
    /// Hairlines of polishing, fingerprints, hallmarks.
    pub mark: f64,
    /// Sound metal.
    pub metal: f64,
    /// Its radius in pixels as the model saw them.
    pub size_px: f64,
}

/// The contract's finding types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum FindingType {
    Porosity,
    Pit,
    Scratch,
    Stain,
    WornPlating,
    IncompleteFill,
    WrongFinish,
    MissingStone,
    OffsetStone,
    TiltedStone,
    ChippedStone,
    LooseStone,
    MissingProng,
    HallmarkMismatch,
    OutOfSize,
    Anomaly,
}

impl FindingType {
    /// Every type, in the contract's order.
    pub const ALL: [FindingType; 16] = [
        Self::Porosity,
        Self::Pit,
        Self::Scratch,
        Self::Stain,
        Self::WornPlating,
        Self::IncompleteFill,
        Self::WrongFinish,
        Self::MissingStone,
        Self::OffsetStone,
        Self::TiltedStone,
        Self::ChippedStone,
        Self::LooseStone,
        Self::MissingProng,
        Self::HallmarkMismatch,
        Self::OutOfSize,
        Self::Anomaly,
    ];

    /// The word in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Porosity => "porosity",
            Self::Pit => "pit",
            Self::Scratch => "scratch",
            Self::Stain => "stain",
            Self::WornPlating => "worn_plating",
            Self::IncompleteFill => "incomplete_fill",
            Self::WrongFinish => "wrong_finish",
            Self::MissingStone => "missing_stone",
            Self::OffsetStone => "offset_stone",
            Self::TiltedStone => "tilted_stone",
            Self::ChippedStone => "chipped_stone",
            Self::LooseStone => "loose_stone",
            Self::MissingProng => "missing_prong",
            Self::HallmarkMismatch => "hallmark_mismatch",
            Self::OutOfSize => "out_of_size",
            Self::Anomaly => "anomaly",
        }
    }

    /// The type with this word.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == s)
    }
}

/// One nominal stone as seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoneRow {
    /// Its id in the spec.
    pub id: String,
    /// The view.
    pub view: String,
    /// Centre in the frame.
    pub x_px: f64,
    /// Centre in the frame.
    pub y_px: f64,
    /// Centre in piece coordinates.
    pub x_mm: f64,
    /// Centre in piece coordinates.
    pub y_mm: f64,
    /// Diameter of the girdle; null where it was not measured.
    #[serde(default)]
    pub diameter_mm: Option<f64>,
    /// Tilt; null where it was not measured.
    #[serde(default)]
    pub tilt_deg: Option<f64>,
}

/// Something the spec asks for that could not be assessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotAssessed {
    /// The characteristic.
    pub characteristic: String,
    /// The view, or null for the whole piece.
    pub view: Option<String>,
    /// Why.
    pub reason: String,
}

/// One frame that was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameRow {
    /// Its name in the manifest.
    pub file: String,
    /// sha256 of the file; null where it could not be read.
    pub sha256: Option<String>,
    /// The light that it was taken under.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub light: String,
    /// The scale that its millimetres rest on, in um per pixel: the calibration's, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub um_per_px: Option<f64>,
    /// Its standard uncertainty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub um_per_px_u: Option<f64>,
    /// Where the piece lies; null where it was not found.
    pub pose: Option<PoseRow>,
    /// Why the frame could not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The calibration that its scale comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationRow>,
}

/// The calibration a frame was read by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRow {
    /// As the manifest names it.
    pub file: String,
    /// sha256 of the file.
    pub sha256: String,
    /// Scale in um per pixel.
    pub um_per_px: f64,
    /// Its standard uncertainty.
    pub um_per_px_u: f64,
    /// Whether the frame was laid straight: places in pixels are then those of the straight frame, which the picture shows.
    pub straightened: bool,
}

/// Where a piece lies in a frame: piece coordinates turned by `rotation_deg` (counter-clockwise, y up), then
/// shifted, with the frame's centre as origin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoseRow {
    /// Rotation, counter-clockwise.
    pub rotation_deg: f64,
    /// Shift to the right.
    pub dx_mm: f64,
    /// Shift up.
    pub dy_mm: f64,
}

/// What made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Program and version.
    pub program: String,
    /// sha256 of the spec file.
    pub spec_sha256: String,
    /// The models that were run.
    pub models: Vec<ModelRow>,
    /// sha256 of the settings that change a report.
    pub settings_sha256: String,
}

/// One model that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// Its name.
    pub name: String,
    /// sha256 of its file.
    pub sha256: String,
}

/// Writes a file whole or not at all: into a temporary file beside it, flushed, then renamed.
///
/// # Errors
/// The error of the file system.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// How the name of an unfinished file begins and ends.
const UNFINISHED: (&str, &str) = (".loupe-", ".part");

/// A file that is written piece by piece and is there whole or not at all, as [`write_whole`] does it. Dropped without
/// [`finish`](WholeFile::finish), nothing is left of it.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    to: Written,
}

#[derive(Debug)]
enum Written {
    /// Into a file beside it.
    Beside(tempfile::NamedTempFile),
    /// Into a pipe or a device, which is no file to put another in place of.
    Stream(std::fs::File),
}

impl WholeFile {
    /// Begins the file, and makes its folder. A link is followed: what it leads to is written.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let there = std::fs::metadata(path);
        if there.as_ref().is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            let stream = std::fs::OpenOptions::new().write(true).open(path)?;
            return Ok(WholeFile { path: path.to_owned(), to: Written::Stream(stream) });
        }
        let path = if path.is_symlink() && there.is_ok() { path.canonicalize()? } else { path.to_owned() };
        let dir = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(dir)?;
        let tmp = tempfile::Builder::new().prefix(UNFINISHED.0).suffix(UNFINISHED.1).tempfile_in(dir)?;
        Ok(WholeFile { path, to: Written::Beside(tmp) })
    }

    /// Whether a name is that of a file which a program that was killed had begun.
    pub fn is_unfinished(name: &str) -> bool {
        name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn finish(self) -> std::io::Result<()> {
        let tmp = match self.to {
            Written::Beside(tmp) => tmp,
            Written::Stream(mut stream) => return stream.flush(),
        };
        tmp.as_file().sync_data()?;
        // tempfile makes files for the owner alone; a report is for everyone the folder is for.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            tmp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        tmp.persist(self.path).map_err(|e| e.error)?;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.to {
            Written::Beside(tmp) => tmp.write(bytes),
            Written::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.to {
            Written::Beside(tmp) => tmp.flush(),
            Written::Stream(stream) => stream.flush(),
        }
    }
}

/// Names one after another, the first `most` of them and how many more there are.
pub fn listed(names: &[String], most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let said = names[..names.len() - more].join(", ");
    match more {
        0 => said,
        n => format!("{said} and {n} more"),
    }
}

/// Rounds to a number of decimals, so that a report shows no digits that mean nothing. Gives 0 for -0.
pub fn round_to(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    let r = (value * scale).round() / scale;
    match r {
        0.0 => 0.0,
        r if r.is_finite() => r,
        // Too large for decimals.
        _ => value,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A link stays one, and what it leads to is written; a pipe is written into.
    #[test]
    fn links_and_pipes_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, pipe) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(link.is_symlink() && std::fs::read(&real).unwrap() == b"new");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        write_whole(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(!pipe.is_file() && pipe.exists());
    }
}
