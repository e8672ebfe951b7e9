//! The model of finishes: which finish metal shows, cell by cell and as a whole.

use std::path::{Path, PathBuf};

use ort::value::TensorRef;
use serde::Deserialize;

use super::info::Reader;
use super::sessions::{find_file, numbers, Known};
use super::ModelError;

/// The name of the shipped file.
pub const FINISH_FILE: &str = "finish.onnx";

/// The finishes that the contract names.
const FINISHES: [&str; 4] = ["polished", "brushed", "matte", "florentine"];

/// Probabilities between which a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct FinishThresholds {
    /// From this probability of the ordered finish on, it is that.
    pub accept: f64,
    /// Below this it is another.
    pub reject: f64,
    /// From this probability of another finish on, a cell shows it.
    pub patch: f64,
    /// Up to this unevenness of the cells (log odds) the whole counts.
    pub even: f64,
}

/// What a model of finishes says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishInfo {
    /// Its name, as in a report's provenance.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The scale that it is shown frames at, in um a pixel; coarser ones as they are.
    pub um_per_px: f64,
    /// The least and the most that a frame may have.
    pub range: (f64, f64),
    /// Side of a cell, in pixels of that scale.
    pub cell: usize,
    /// The lights that it knows, as frames name them.
    pub lights: Vec<String>,
    /// How far the metal is drawn in, in pixels of that scale.
    pub erode_px: f64,
    /// The fewest cells that make a region of another finish.
    pub least_cells: f64,
    /// When it is sure.
    pub thresholds: FinishThresholds,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
}

/// A picture as the model is shown it: sides of whole cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Cells along x.
    pub columns: usize,
    /// Cells along y.
    pub rows: usize,
    /// Red, then green, then blue, row by row, 0 to 255.
    pub pixels: Vec<f32>,
    /// How much of each cell is metal that nothing covers, 0 to 1, row by row.
    pub metal: Vec<f32>,
    /// 1 for the light that it was taken under, of those the model knows, else 0.
    pub light: Vec<f32>,
}

/// Probabilities, in the order of [`FinishModel::finishes`].
#[derive(Debug, Clone, PartialEq)]
pub struct FinishSight {
    /// Of all of it.
    pub whole: Vec<f64>,
    /// Of each cell, row by row.
    pub cells: Vec<Vec<f64>>,
}

/// A loaded model of finishes.
#[derive(Debug)]
pub struct FinishModel(Known<FinishInfo>);

impl FinishModel {
    /// Loads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing, the file is missing, empty, damaged, or breaks the contract.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let model = FinishModel(Known::read(path, |get, sha256| parse(get, sha256, path))?);
        // Grey metal: a model whose answer has another shape is refused before any piece is judged by it.
        let side = 2 * model.info().cell;
        model.look(&Shown {
            columns: 2,
            rows: 2,
            pixels: vec![128.0; 3 * side * side],
            metal: vec![1.0; 4],
            light: vec![0.0; model.info().lights.len()],
        })?;
        Ok(model)
    }

    /// Loads the shipped model from where [`find_file`] finds it.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], or as [`FinishModel::load`].
    pub fn load_default() -> Result<Self, ModelError> {
        Self::load(&find_file(FINISH_FILE).ok_or(ModelError::NotFound { file: FINISH_FILE })?)
    }

    /// What the model says of itself.
    pub fn info(&self) -> &FinishInfo {
        &self.0.info
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// The finishes that it tells apart.
    pub fn finishes() -> &'static [&'static str] {
        &FINISHES
    }

    /// What a picture shows.
    ///
    /// # Errors
    /// [`ModelError::Run`] or [`ModelError::Shape`].
    pub fn look(&self, shown: &Shown) -> Result<FinishSight, ModelError> {
        let (n, cell) = (FINISHES.len(), self.info().cell);
        let (w, h) = (shown.columns, shown.rows);
        let path = self.0.path();
        self.0.sessions.with(|session| {
            let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
            let shape = |sides: [usize; 4]| sides.map(|v| v as i64);
            let pixels = TensorRef::from_array_view((shape([1, 3, h * cell, w * cell]), shown.pixels.as_slice()));
            let metal = TensorRef::from_array_view((shape([1, 1, h, w]), shown.metal.as_slice()));
            let light = TensorRef::from_array_view(([1, shown.light.len() as i64], shown.light.as_slice()));
            let inputs = ort::inputs![
                "image" => pixels.map_err(failed)?,
                "metal" => metal.map_err(failed)?,
                "light" => light.map_err(failed)?
            ];
            let outputs = session.run(inputs).map_err(failed)?;
            let answer = |name: &str, expected: &[usize]| -> Result<Vec<f64>, ModelError> {
                let output = outputs.get(name).ok_or_else(|| ModelError::Shape {
                    path: path.to_owned(),
                    tensor: format!("output `{name}`"),
                    message: "is not there".into(),
                })?;
                Ok(numbers(output, name, expected, path)?.into_iter().map(f64::from).collect())
            };
            let whole = shares(answer("whole", &[1, n])?);
            let odds = answer("cells", &[1, n, h, w])?;
            let plane = w * h;
            let cells = (0..plane).map(|k| shares((0..n).map(|f| odds[f * plane + k]).collect())).collect();
            Ok(FinishSight { whole, cells })
        })
    }
}

/// Probabilities of log odds.
pub(crate) fn shares(odds: Vec<f64>) -> Vec<f64> {
    let top = odds.iter().copied().fold(f64::MIN, f64::max);
    let e: Vec<f64> = odds.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|v| v / sum).collect()
}

fn parse(get: &dyn Fn(&str) -> Option<String>, sha256: String, path: &Path) -> Result<FinishInfo, ModelError> {
    let r = Reader { get, path };
    r.schema()?;
    r.columns(&FINISHES)?;
    let um_per_px: f64 = r.number("loupe.um_per_px")?;
    let range: (f64, f64) = (r.number("loupe.um_per_px_min")?, r.number("loupe.um_per_px_max")?);
    let cell: usize = r.number("loupe.cell")?;
    let lights: Vec<String> = r.json("loupe.lights")?;
    let erode_px: f64 = r.number("loupe.erode_px")?;
    let least_cells: f64 = r.number("loupe.least_cells")?;
    let t: FinishThresholds = r.json("loupe.thresholds")?;
    let share = |v: f64| v > 0.0 && v < 1.0;
    for (key, sound) in [
        ("loupe.um_per_px_min", range.0 > 0.0 && range.0 < range.1 && range.1.is_finite()),
        ("loupe.um_per_px", (range.0..=range.1).contains(&um_per_px)),
        ("loupe.cell", (2..=128).contains(&cell)),
        ("loupe.lights", !lights.is_empty()),
        ("loupe.erode_px", (0.0..100.0).contains(&erode_px)),
        ("loupe.least_cells", least_cells > 0.0 && least_cells.is_finite()),
        (
            "loupe.thresholds",
            [t.accept, t.reject, t.patch].into_iter().all(share) && t.reject < t.accept && t.even > 0.0,
        ),
    ] {
        if !sound {
            return r.bad(key, "holds a number that cannot be".into());
        }
    }
    Ok(FinishInfo {
        name: r.text("loupe.name")?,
        version: r.text("loupe.version")?,
        um_per_px,
        range,
        cell,
        lights,
        erode_px,
        least_cells,
        thresholds: t,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::info::every_mistake;

    #[test]
    fn every_mistake_names_file_and_key() {
        let good = [
            ("loupe.um_per_px", "12"),
            ("loupe.um_per_px_min", "4"),
            ("loupe.um_per_px_max", "25"),
            ("loupe.cell", "16"),
            ("loupe.lights", r#"["dome","ring"]"#),
            ("loupe.erode_px", "2"),
            ("loupe.least_cells", "12"),
            ("loupe.thresholds", r#"{"accept":0.9,"reject":0.05,"patch":0.95,"even":0.3}"#),
        ];
        let wrong = [
            ("loupe.columns", r#"["polished"]"#),
            ("loupe.um_per_px", "NaN"),
            ("loupe.um_per_px_min", "30"),
            ("loupe.cell", "0"),
            ("loupe.lights", "[]"),
            ("loupe.least_cells", "-1"),
            ("loupe.thresholds", r#"{"accept":0.1,"reject":0.2,"patch":0.9,"even":0.3}"#),
        ];
        assert_eq!(every_mistake(&FINISHES, &good, &wrong, parse).cell, 16);
    }

    #[test]
    fn probabilities_add_up_whatever_the_odds() {
        let p = shares(vec![800.0, 799.0, -900.0, 0.0]);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p[0] > p[1]);
    }
}
