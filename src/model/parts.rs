//! The models of a piece's parts: what one stone or one prong looks like through a window about its nominal place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ort::session::Session;

use super::girdles::ChipOdds;
use super::info::Reader;
use super::sessions::{find_file, rows, Known};
use super::ModelError;
use crate::vision::Image;

/// Windows per call of the runtime.
const BATCH: usize = 16;

/// Logs of standard deviations are kept within these, as they were in training.
const LOG_DEVIATION: (f32, f32) = (-7.0, 3.0);

/// Which part a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A stone in its setting.
    Stone,
    /// The tip of a prong.
    Prong,
}

impl Part {
    /// The name of the shipped file.
    pub fn file(self) -> &'static str {
        match self {
            Part::Stone => "stones.int8.onnx",
            Part::Prong => "prongs.int8.onnx",
        }
    }

    /// The columns of an answer that the program reads.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Part::Stone => &[
                "present",
                "dx",
                "dy",
                "s_place",
                "log_size",
                "s_size",
                "slope_x",
                "slope_y",
                "s_slope",
                "chip",
                "chip_depth",
                "s_chip",
                "chip_x",
                "chip_y",
            ],
            Part::Prong => &["present", "dx", "dy", "s_place", "log_size", "s_size"],
        }
    }

    /// The groups of columns whose deviations the file scales.
    fn groups(self) -> &'static [&'static str] {
        match self {
            Part::Stone => &["place", "size", "slope", "chip"],
            Part::Prong => &["place", "size"],
        }
    }
}

/// What a model of parts says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct PartInfo {
    /// Its name, as in a report's provenance.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Side of a window in pixels.
    pub side: usize,
    /// Width of a window: of a stone in lengths of the stone, of a prong in radii of its tip.
    pub window: f64,
    /// Finest and coarsest scale it may be used at, in um per pixel.
    pub um_per_px: (f64, f64),
    /// Slopes are given in this unit (tangent of the angle).
    pub slope_unit: f64,
    /// Depths of chips are given in this unit (of the stone's width).
    pub chip_unit: f64,
    /// What the deviations are multiplied by, so that they are true on pieces left out of training.
    pub deviation_scale: BTreeMap<String, f64>,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
}

/// What a stone's window shows, x right and y up along the window's axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoneSight {
    /// Log odds that a stone is there.
    pub present: f64,
    /// The girdle's centre from the window's, in nominal lengths.
    pub centre: [f64; 2],
    /// Standard deviation of each of its coordinates.
    pub centre_u: f64,
    /// Width over nominal width.
    pub size: f64,
    /// Its standard deviation.
    pub size_u: f64,
    /// Slope of the table against the line of sight: the x and y of its normal over its z.
    pub slope: [f64; 2],
    /// Standard deviation of each of its coordinates.
    pub slope_u: f64,
    /// Log odds that the girdle is chipped.
    pub chip: f64,
    /// Depth of the chip, were there one, in nominal widths.
    pub chip_depth: f64,
    /// Its standard deviation.
    pub chip_u: f64,
    /// Where it would be, from the girdle's centre, in nominal lengths.
    pub chip_at: [f64; 2],
    /// What the unrolled girdle shows of chips, where it was looked at.
    pub rim: Option<RimSight>,
}

/// What the unrolled girdle shows of chips.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RimSight {
    /// Log odds that it is broken where it looks most like it; those of the window are to be added.
    pub odds: f64,
    /// When that sum tells a chip.
    pub limits: ChipOdds,
    /// Where, from the girdle's centre, in nominal lengths.
    pub at: [f64; 2],
    /// How far the girdle lies turned against the spec (radians, counter-clockwise); 0 of a round one.
    pub turned: f64,
}

/// What a prong's window shows. Lengths in radii of the nominal tip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProngSight {
    /// Log odds that a whole tip is there: not broken off, too short, or bent away.
    pub present: f64,
    /// The tip's centre from the window's.
    pub centre: [f64; 2],
    /// Standard deviation of each of its coordinates.
    pub centre_u: f64,
    /// Radius over nominal radius.
    pub size: f64,
    /// Its standard deviation.
    pub size_u: f64,
}

/// A loaded model of stones or prongs.
#[derive(Debug)]
pub struct PartModel {
    part: Part,
    known: Known<PartInfo>,
}

impl PartModel {
    /// Loads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing, the file is missing, empty, damaged, or breaks the contract.
    pub fn load(part: Part, path: &Path) -> Result<Self, ModelError> {
        let model = PartModel { part, known: Known::read(path, |get, sha256| parse(part, get, sha256, path))? };
        // A grey window: a model whose answer has another shape is refused before any piece is judged by it.
        model.answers(&[grey(model.info().side)])?;
        Ok(model)
    }

    /// Loads the shipped model from where [`find_file`] finds it.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], or as [`PartModel::load`].
    pub fn load_default(part: Part) -> Result<Self, ModelError> {
        Self::load(part, &find_file(part.file()).ok_or(ModelError::NotFound { file: part.file() })?)
    }

    /// What the model says of itself.
    pub fn info(&self) -> &PartInfo {
        &self.known.info
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.known.path().to_owned()
    }

    fn answers(&self, windows: &[Image]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut out = Vec::with_capacity(windows.len());
        for batch in windows.chunks(BATCH) {
            out.extend(self.known.sessions.with(|s| run(s, self.part, batch, self.info(), self.known.path()))?);
        }
        Ok(out)
    }

    fn deviation(&self, group: &str, log: f32) -> f64 {
        let k = self.info().deviation_scale.get(group).copied().unwrap_or(1.0);
        k * f64::from(log.clamp(LOG_DEVIATION.0, LOG_DEVIATION.1).exp())
    }

    /// What stones' windows show, one answer for each.
    ///
    /// # Errors
    /// [`ModelError::Run`], or [`ModelError::Shape`] where this is no model of stones.
    pub fn stones(&self, windows: &[Image]) -> Result<Vec<StoneSight>, ModelError> {
        self.is(Part::Stone)?;
        let (slope, depth) = (self.info().slope_unit, self.info().chip_unit);
        let sight = |y: &Vec<f32>| {
            let v = |k: usize| f64::from(y[k]);
            StoneSight {
                present: v(0),
                centre: [v(1), v(2)],
                centre_u: self.deviation("place", y[3]),
                size: v(4).exp(),
                size_u: self.deviation("size", y[5]) * v(4).exp(),
                slope: [slope * v(6), slope * v(7)],
                slope_u: slope * self.deviation("slope", y[8]),
                chip: v(9),
                chip_depth: (depth * v(10)).max(0.0),
                chip_u: depth * self.deviation("chip", y[11]),
                chip_at: [v(12), v(13)],
                rim: None,
            }
        };
        Ok(self.answers(windows)?.iter().map(sight).collect())
    }

    /// What prongs' windows show, one answer for each.
    ///
    /// # Errors
    /// [`ModelError::Run`], or [`ModelError::Shape`] where this is no model of prongs.
    pub fn prongs(&self, windows: &[Image]) -> Result<Vec<ProngSight>, ModelError> {
        self.is(Part::Prong)?;
        let sight = |y: &Vec<f32>| ProngSight {
            present: f64::from(y[0]),
            centre: [f64::from(y[1]), f64::from(y[2])],
            centre_u: self.deviation("place", y[3]),
            size: f64::from(y[4]).exp(),
            size_u: self.deviation("size", y[5]) * f64::from(y[4]).exp(),
        };
        Ok(self.answers(windows)?.iter().map(sight).collect())
    }

    fn is(&self, part: Part) -> Result<(), ModelError> {
        if self.part == part {
            return Ok(());
        }
        Err(ModelError::Shape {
            path: self.path(),
            tensor: "output `answer`".into(),
            message: format!("is of a {:?}, not of a {part:?}", self.part),
        })
    }
}

fn grey(side: usize) -> Image {
    Image { width: side, height: side, data: vec![128; 3 * side * side], grey: false }
}

fn parse(
    part: Part,
    get: &dyn Fn(&str) -> Option<String>,
    sha256: String,
    path: &Path,
) -> Result<PartInfo, ModelError> {
    let r = Reader { get, path };
    r.schema()?;
    r.columns(part.columns())?;
    let positive = |key: &str| -> Result<f64, ModelError> {
        let v: f64 = r.number(key)?;
        if v.is_finite() && v > 0.0 {
            Ok(v)
        } else {
            r.bad(key, format!("{v} must be above 0"))
        }
    };
    let side: usize = r.number("loupe.side")?;
    if !(16..=512).contains(&side) {
        return r.bad("loupe.side", format!("{side} must be from 16 to 512"));
    }
    let um_per_px = (positive("loupe.um_per_px_min")?, positive("loupe.um_per_px_max")?);
    if um_per_px.0 > um_per_px.1 {
        return r.bad("loupe.um_per_px_min", format!("{} is above the largest, {}", um_per_px.0, um_per_px.1));
    }
    let of = |key: &str, names: &[&str]| -> Result<BTreeMap<String, f64>, ModelError> {
        let all: BTreeMap<String, f64> = r.json(key)?;
        match names.iter().find(|n| !all.get(**n).is_some_and(|v| v.is_finite() && *v > 0.0)) {
            Some(n) => r.bad(key, format!("`{n}` must be a number above 0, in {all:?}")),
            None => Ok(all),
        }
    };
    let units = of("loupe.units", if part == Part::Stone { &["slope", "chip"] } else { &[] })?;
    let unit = |name: &str| units.get(name).copied().unwrap_or(1.0);
    Ok(PartInfo {
        name: r.text("loupe.name")?,
        version: r.text("loupe.version")?,
        side,
        window: positive("loupe.window")?,
        um_per_px,
        slope_unit: unit("slope"),
        chip_unit: unit("chip"),
        deviation_scale: of("loupe.deviation_scale", part.groups())?,
        sha256,
    })
}

/// One call of the runtime: a row of numbers for each window.
fn run(
    session: &mut Session,
    part: Part,
    windows: &[Image],
    info: &PartInfo,
    path: &Path,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let n = info.side * info.side;
    let mut data = vec![0f32; windows.len() * 3 * n];
    for (image, out) in windows.iter().zip(data.chunks_exact_mut(3 * n)) {
        for (c, plane) in out.chunks_exact_mut(n).enumerate() {
            for (v, p) in plane.iter_mut().zip(image.data.chunks_exact(3)) {
                *v = f32::from(p[c]);
            }
        }
    }
    let columns = part.columns().len();
    let shape = [windows.len(), 3, info.side, info.side];
    let out = rows(session, shape, &data, &[windows.len(), columns], path)?;
    Ok(out.chunks_exact(columns).map(<[f32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::info::every_mistake;

    #[test]
    fn every_mistake_names_file_and_key() {
        let good = [
            ("loupe.side", "64"),
            ("loupe.window", "7"),
            ("loupe.um_per_px_min", "4"),
            ("loupe.um_per_px_max", "25"),
            ("loupe.units", "{}"),
            ("loupe.deviation_scale", r#"{"place":1.1,"size":0.9}"#),
        ];
        let wrong = [
            ("loupe.columns", r#"["present"]"#),
            ("loupe.side", "0"),
            ("loupe.window", "NaN"),
            ("loupe.um_per_px_min", "30"),
            ("loupe.deviation_scale", r#"{"place":1.0}"#),
            ("loupe.deviation_scale", r#"{"place":1.0,"size":-1}"#),
        ];
        assert_eq!(
            every_mistake(Part::Prong.columns(), &good, &wrong, |get, sha, path| parse(Part::Prong, get, sha, path))
                .side,
            64
        );
    }
}
