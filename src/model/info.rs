//! A model's metadata.

use std::collections::BTreeMap;
use std::path::Path;

use super::forest::Forest;
use super::ModelError;

/// How many numbers `loupe.opinion` holds for an entry: three for `stone`, seven for a shape of a surface feature.
fn opinion_weights(entry: &str) -> usize {
    if entry == "stone" {
        3
    } else {
        7
    }
}

/// The `loupe.schema` value of a model.
pub const MODEL_SCHEMA: &str = "loupe.model/1";

/// What a model says of itself (the `loupe.*` metadata of its file).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its name, as in a report's provenance.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its classes, those of a sound piece first (`loupe.sound`; without that key the first alone, `good`).
    pub classes: Vec<String>,
    /// How many of the classes are sound.
    pub sound: usize,
    /// The scale it was trained at, in um per pixel.
    pub um_per_px: f64,
    /// The finest scale it may be used at, in um per pixel.
    pub um_per_px_min: f64,
    /// The coarsest scale it may be used at, in um per pixel.
    pub um_per_px_max: f64,
    /// Side of the largest tile in pixels, a multiple of 32.
    pub tile: usize,
    /// Least overlap of neighbouring tiles in pixels.
    pub overlap: usize,
    /// Pixels per output cell along each side.
    pub output_stride: usize,
    /// Probability from which a class counts as seen; `defect` is for the sum of all classes that are not sound.
    pub thresholds: BTreeMap<String, f32>,
    /// Smallest region that counts as seen, in pixels of the frame; 0 where the model names none.
    pub min_area_px: f64,
    /// Weights by which its answer is weighed with what classic vision saw, by shape (`inspect::opinion`); may be empty.
    pub opinion: BTreeMap<String, Vec<f64>>,
    /// Trees that take their place, by shape (`loupe.forest`); may be empty.
    pub forests: BTreeMap<String, Forest>,
    /// The data it was trained on.
    pub trained_on: String,
    /// The seed of the training.
    pub seed: String,
    /// Its licence.
    pub licence: String,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
}

impl ModelInfo {
    /// The threshold on the probability of any defect.
    pub fn defect_threshold(&self) -> f32 {
        self.thresholds.get("defect").copied().unwrap_or(0.5)
    }

    /// The threshold of a class; the one of any defect where the model names none for it.
    pub fn threshold(&self, class: &str) -> f32 {
        self.thresholds.get(class).copied().unwrap_or_else(|| self.defect_threshold())
    }

    /// Whether the model may be used on a frame of this scale in um per pixel.
    pub fn suits(&self, um_per_px: f64) -> bool {
        (self.um_per_px_min..=self.um_per_px_max).contains(&um_per_px)
    }

    /// Reads and checks the metadata; `get` looks a key up, `path` only names the file in errors.
    pub(super) fn parse(
        get: &dyn Fn(&str) -> Option<String>,
        sha256: String,
        path: &Path,
    ) -> Result<Self, ModelError> {
        let r = Reader { get, path };
        r.schema()?;
        let classes: Vec<String> = r.json("loupe.classes")?;
        let sound: Vec<String> = match get("loupe.sound") {
            Some(_) => r.json("loupe.sound")?,
            None => vec!["good".into()],
        };
        if sound.is_empty() || classes.len() <= sound.len() || !classes.starts_with(&sound) {
            let must = format!("{classes:?} must begin with what is sound, {sound:?}, and name a defect");
            let key = if get("loupe.sound").is_some() { "loupe.sound" } else { "loupe.classes" };
            return r.bad(key, must);
        }
        let scale = |key: &str| -> Result<f64, ModelError> {
            let v: f64 = r.number(key)?;
            if v.is_finite() && v > 0.0 {
                Ok(v)
            } else {
                r.bad(key, format!("{v} is no scale: it must be above 0"))
            }
        };
        let (um_per_px_min, um_per_px, um_per_px_max) =
            (scale("loupe.um_per_px_min")?, scale("loupe.um_per_px")?, scale("loupe.um_per_px_max")?);
        if !(um_per_px_min <= um_per_px && um_per_px <= um_per_px_max) {
            return r.bad(
                "loupe.um_per_px",
                format!("{um_per_px} is not between its least {um_per_px_min} and its largest {um_per_px_max}"),
            );
        }
        let output_stride: usize = r.number("loupe.output_stride")?;
        // 32 is the multiple every side is padded to, so a stride must divide it.
        if output_stride == 0 || 32 % output_stride != 0 {
            return r.bad("loupe.output_stride", format!("{output_stride} must be 1, 2, 4, 8, 16 or 32"));
        }
        let tile: usize = r.number("loupe.tile")?;
        if !(64..=2048).contains(&tile) || !tile.is_multiple_of(32) {
            return r.bad("loupe.tile", format!("{tile} must be a multiple of 32 from 64 to 2048"));
        }
        let overlap: usize = r.number("loupe.overlap")?;
        if overlap > tile / 2 || !overlap.is_multiple_of(2 * output_stride) {
            return r.bad(
                "loupe.overlap",
                format!("{overlap} must be at most half the tile and a multiple of {}", 2 * output_stride),
            );
        }
        let thresholds: BTreeMap<String, f32> = r.json("loupe.thresholds")?;
        if !thresholds.contains_key("defect") {
            return r.bad("loupe.thresholds", "names no `defect`".into());
        }
        if let Some((k, v)) = thresholds.iter().find(|(_, v)| !(0.0..=1.0).contains(*v)) {
            return r.bad("loupe.thresholds", format!("`{k}` is {v}, expected 0 to 1"));
        }
        Ok(ModelInfo {
            name: r.text("loupe.name")?,
            version: r.text("loupe.version")?,
            classes,
            sound: sound.len(),
            um_per_px,
            um_per_px_min,
            um_per_px_max,
            tile,
            overlap,
            output_stride,
            thresholds,
            min_area_px: match get("loupe.min_area_px") {
                Some(_) => r.number("loupe.min_area_px")?,
                None => 0.0,
            },
            opinion: match get("loupe.opinion") {
                Some(_) => r.weights("loupe.opinion")?,
                None => BTreeMap::new(),
            },
            forests: Forest::read(&r, "loupe.forest")?,
            trained_on: r.text("loupe.trained_on")?,
            seed: r.text("loupe.seed")?,
            licence: r.text("loupe.licence")?,
            sha256,
        })
    }
}

pub(super) struct Reader<'a> {
    pub get: &'a dyn Fn(&str) -> Option<String>,
    pub path: &'a Path,
}

impl Reader<'_> {
    pub fn bad<T>(&self, key: &str, message: String) -> Result<T, ModelError> {
        Err(ModelError::Metadata { path: self.path.to_owned(), key: key.into(), message })
    }

    /// Refuses what is not of this contract.
    pub fn schema(&self) -> Result<(), ModelError> {
        let schema = self.text("loupe.schema")?;
        if schema == MODEL_SCHEMA {
            return Ok(());
        }
        self.bad("loupe.schema", format!("is `{schema}`, expected `{MODEL_SCHEMA}`"))
    }

    /// Refuses answers of other columns.
    pub fn columns(&self, expected: &[&str]) -> Result<(), ModelError> {
        let columns: Vec<String> = self.json("loupe.columns")?;
        if columns == expected {
            return Ok(());
        }
        self.bad("loupe.columns", format!("{columns:?}, expected {expected:?}"))
    }

    pub fn text(&self, key: &str) -> Result<String, ModelError> {
        match (self.get)(key) {
            Some(v) if !v.trim().is_empty() => Ok(v),
            Some(_) => self.bad(key, "is empty".into()),
            None => self.bad(key, "is missing; this is no model of loupe's".into()),
        }
    }

    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, ModelError> {
        let text = self.text(key)?;
        text.trim().parse().or_else(|_| self.bad(key, format!("`{text}` is not the number expected")))
    }

    fn weights(&self, key: &str) -> Result<BTreeMap<String, Vec<f64>>, ModelError> {
        let all: BTreeMap<String, Vec<f64>> = self.json(key)?;
        for (shape, w) in &all {
            let n = opinion_weights(shape);
            if w.len() != n || !w.iter().all(|v| v.is_finite()) {
                return self.bad(key, format!("`{shape}` needs {n} numbers, it has {w:?}"));
            }
        }
        Ok(all)
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, ModelError> {
        let text = self.text(key)?;
        serde_json::from_str(&text).or_else(|e| self.bad(key, format!("`{text}`: {e}")))
    }
}

/// Tests: every key of sound metadata is needed (those of all models and `own`), and each wrong value is refused, by a message that
/// names file and key. What the sound metadata say.
#[cfg(test)]
pub(super) fn every_mistake<I>(
    columns: &[&str],
    own: &[(&str, &str)],
    wrong: &[(&str, &str)],
    parse: impl Fn(&dyn Fn(&str) -> Option<String>, String, &Path) -> Result<I, ModelError>,
) -> I {
    let columns = serde_json::to_string(columns).unwrap();
    let mut good = BTreeMap::from([
        ("loupe.schema", MODEL_SCHEMA),
        ("loupe.name", "a model"),
        ("loupe.version", "1.0.0"),
        ("loupe.columns", columns.as_str()),
    ]);
    good.extend(own.iter().copied());
    let read =
        |m: &BTreeMap<&str, &str>| parse(&|k| m.get(k).map(|v| (*v).to_owned()), "00".into(), Path::new("m.onnx"));
    let says = |m: &BTreeMap<&str, &str>, key: &str| {
        let e = read(m).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("m.onnx") && e.contains(key), "{key} = {:?}: `{e}`", m.get(key));
    };
    for key in good.keys() {
        let mut m = good.clone();
        m.remove(key);
        says(&m, key);
    }
    for (key, value) in wrong {
        let mut m = good.clone();
        m.insert(key, value);
        says(&m, key);
    }
    read(&good).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([
            ("loupe.schema", MODEL_SCHEMA),
            ("loupe.name", "surface"),
            ("loupe.version", "1.0.0"),
            ("loupe.classes", r#"["good","pore_pit"]"#),
            ("loupe.um_per_px", "12.0"),
            ("loupe.um_per_px_min", "5"),
            ("loupe.um_per_px_max", "25"),
            ("loupe.tile", "256"),
            ("loupe.overlap", "32"),
            ("loupe.output_stride", "2"),
            ("loupe.thresholds", r#"{"defect":0.5,"pore_pit":0.25}"#),
            ("loupe.trained_on", "nothing"),
            ("loupe.seed", "1"),
            ("loupe.licence", "Apache-2.0"),
        ])
    }

    fn parse(map: &BTreeMap<&str, &str>) -> Result<ModelInfo, ModelError> {
        ModelInfo::parse(&|k| map.get(k).map(|v| (*v).to_owned()), "00".into(), Path::new("m.onnx"))
    }

    #[test]
    fn metadata_is_read() {
        let i = parse(&good()).unwrap();
        assert_eq!((i.tile, i.overlap, i.output_stride), (256, 32, 2));
        assert_eq!(i.threshold("pore_pit"), 0.25);
        assert_eq!(i.threshold("crack_scratch"), 0.5);
        assert!(i.suits(12.0) && !i.suits(4.9) && !i.suits(26.0));
    }

    #[test]
    fn several_classes_may_be_sound() {
        let mut m = good();
        m.insert("loupe.classes", r#"["metal","stone","lint","pore_pit"]"#);
        m.insert("loupe.sound", r#"["metal","stone","lint"]"#);
        let i = parse(&m).unwrap();
        assert_eq!((i.sound, i.classes.len()), (3, 4));
    }

    #[test]
    fn every_mistake_names_file_and_key() {
        for key in good().keys() {
            let mut m = good();
            m.remove(key);
            let e = parse(&m).unwrap_err().to_string();
            assert!(e.contains("m.onnx") && e.contains(key), "{e}");
        }
        for (key, value) in [
            ("loupe.schema", "loupe.model/2"),
            ("loupe.classes", r#"["pore_pit","good"]"#),
            ("loupe.classes", "good"),
            ("loupe.sound", r#"["metal"]"#),
            ("loupe.sound", "[]"),
            ("loupe.sound", r#"["good","pore_pit"]"#),
            ("loupe.um_per_px", "NaN"),
            ("loupe.um_per_px", "40"),
            ("loupe.um_per_px_min", "-5"),
            ("loupe.tile", "250"),
            ("loupe.tile", "0"),
            ("loupe.overlap", "33"),
            ("loupe.overlap", "200"),
            ("loupe.output_stride", "3"),
            ("loupe.output_stride", "0"),
            ("loupe.opinion", r#"{"spot":[1,2]}"#),
            ("loupe.opinion", "[1]"),
            ("loupe.forest", r#"{"inputs":[],"shapes":{}}"#),
            ("loupe.thresholds", "{}"),
            ("loupe.thresholds", r#"{"defect":1.5}"#),
        ] {
            let mut m = good();
            m.insert(key, value);
            let e = parse(&m).unwrap_err().to_string();
            assert!(e.contains("m.onnx") && e.contains(key), "{key} = {value}: {e}");
        }
    }
}
