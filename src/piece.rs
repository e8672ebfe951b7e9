//! One piece as it comes from a station or an archive: its frames with scale and light, and the
//! readings other instruments took of it (`piece.json`, schema `loupe.piece/1`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::spec::parse::{never_negative, CHARACTERISTICS};

/// The `schema` value of a piece manifest.
pub const PIECE_SCHEMA: &str = "loupe.piece/1";

/// A piece manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Piece {
    /// Always `loupe.piece/1`.
    pub schema: String,
    /// Names the piece and the folder of its report.
    pub piece_id: String,
    /// Path of the spec beside the manifest, or a SKU looked up in the folder given with `--specs`.
    pub spec: String,
    /// The frames taken of the piece.
    pub frames: Vec<Frame>,
    /// What other instruments measured.
    #[serde(default)]
    pub readings: Vec<Reading>,
    /// Keys of a station's own that the program does not read.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// The lights whose ways the program knows.
const LIGHTS: [&str; 7] = ["dome", "ring", "bars", "coaxial", "dark_field", "backlight", "diffuse"];

/// A light by its name as the program writes it, however it is written (`Dark field`); a station's own stays as it is.
pub fn light_name(name: &str) -> String {
    let word = name.trim().to_lowercase().replace([' ', '-'], "_");
    if LIGHTS.contains(&word.as_str()) {
        word
    } else {
        name.to_owned()
    }
}

fn light<'de, D: serde::Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    String::deserialize(text).map(|name| light_name(&name))
}

/// One camera frame of a piece.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Path of the picture, beside the manifest.
    pub file: String,
    /// Name of the spec's view that the frame shows.
    pub view: String,
    /// dome, ring, bars, coaxial, dark_field, backlight, diffuse, or a station's own name.
    #[serde(deserialize_with = "light")]
    #[schemars(with = "String")]
    pub light: String,
    /// Scale in um per pixel; a frame without one gives no claim in mm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub um_per_px: Option<f64>,
    /// Standard uncertainty of the scale in um per pixel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub um_per_px_u: Option<f64>,
    /// Place in the sequence of frames.
    #[serde(default)]
    pub seq: u32,
    /// The station's calibration: a file beside the manifest (`loupe calibrate`), which gives the scale and lays the frame straight; a
    /// name that is no file is kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// Path of the station's colour calibration (`loupe colour`), beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour_calibration: Option<String>,
    /// Exposure in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_us: Option<f64>,
    /// Camera gain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Exponent of the picture's encoding: 1 for a linear camera, 2.2 for a gamma of 2.2. Where it is not given, what needs it is
    /// told from the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Height of the focus in um.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub z_um: Option<f64>,
    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<String>,
    /// The camera's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_serial: Option<String>,
    /// sha256 of the file, lower-case hex; a file with another hash is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Frames of one burst share this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<String>,
    /// Keys of a station's own that the program does not read.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// A value another instrument measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// Name of the characteristic, such as `piece.weight_g`.
    pub characteristic: String,
    /// The value, in the unit that the name carries.
    pub value: f64,
    /// Standard uncertainty in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<f64>,
    /// Which instrument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<String>,
    /// Keys of a station's own that the program does not read.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl Reading {
    /// Its characteristic and its instrument: two of the same contradict or repeat each other.
    pub fn of_what(&self) -> (&str, Option<&str>) {
        (&self.characteristic, self.instrument.as_deref())
    }

    /// Why its value cannot be; none where it can.
    pub fn impossible(&self) -> Option<String> {
        let v = self.value;
        if self.characteristic == "piece.fineness_ppt" && !(0.0..=1000.0).contains(&v) {
            return Some(format!("{v} is no fineness: 0 to 1000 ppt"));
        }
        let yes_or_no = self.characteristic.ends_with(".present") || self.characteristic == "hallmark.text";
        if yes_or_no && v != 0.0 && v != 1.0 {
            return Some(format!("{v} is no answer: {} is 1 (as ordered) or 0", self.characteristic));
        }
        let weight_or_force = ["_g", "_ct", "_n"].iter().any(|u| self.characteristic.ends_with(u));
        // What a station reads under a name of its own may be below zero.
        let known = CHARACTERISTICS.contains(&self.characteristic.as_str()) && never_negative(&self.characteristic);
        (v < 0.0 && (weight_or_force || known)).then(|| format!("{v} is less than nothing"))
    }

    /// Why it cannot be in a unit; none where that is the one its characteristic is in.
    pub fn other_unit(&self, unit: &str) -> Option<String> {
        let written = |(name, sign): &(&str, &str)| name.eq_ignore_ascii_case(unit) || *sign == unit;
        match unit_of(&self.characteristic) {
            Some(own) => (!written(&own)).then(|| format!("`{unit}`, and `{}` is in {}", self.characteristic, own.0)),
            None if UNITS.iter().any(written) => {
                Some(format!("`{unit}`, and `{}` is a plain number", self.characteristic))
            }
            // A size or a count has none. A name that ends in a short word says what it is counted in (`ring.size_us`); what else a station writes is its
            // own.
            None => {
                let own = self.characteristic.rsplit_once('_').map(|(_, own)| own);
                let own = own.filter(|own| own.len() <= LONGEST_UNIT && !own.eq_ignore_ascii_case(unit));
                own.map(|own| format!("`{unit}`, and the name `{}` ends in `{own}`", self.characteristic))
            }
        }
    }
}

/// The units of characteristics: as their names end, and as they are written.
const UNITS: [(&str, &str); 10] = [
    ("mm", "mm"),
    ("mm2", "mm\u{b2}"),
    ("um", "\u{b5}m"),
    ("deg", "\u{b0}"),
    ("pct", "%"),
    ("g", "g"),
    ("n", "N"),
    ("mnm", "mNm"),
    ("ppt", "\u{2030}"),
    ("ct", "ct"),
];

/// A longer last word of a name is no unit.
const LONGEST_UNIT: usize = 3;

/// The unit of a characteristic, as its name ends and as it is written; none where it is a plain number.
pub fn unit_of(characteristic: &str) -> Option<(&'static str, &'static str)> {
    let name = match characteristic {
        "stone.carat" | "stone.carat_total" => "ct",
        c => c.rsplit_once('_')?.1,
    };
    UNITS.into_iter().find(|(own, _)| *own == name)
}

/// What can be wrong with a piece manifest. Every message names the file and, where there is one, the key.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// The file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not the JSON of a piece.
    #[error("{}: key `{key}`: {message}", path.display())]
    Parse {
        /// The manifest.
        path: PathBuf,
        /// The key at which reading stopped.
        key: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A value makes no sense.
    #[error("{}: key `{key}`: {message}", path.display())]
    Value {
        /// The manifest.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
}

/// The coarsest scale that a frame may have in um a pixel: a ring is ten pixels wide at a fifth of it.
const MOST_UM_PER_PX: f64 = 10_000.0;

const PIECE_KEYS: &[&str] = &["schema", "piece_id", "spec", "frames", "readings"];
const FRAME_KEYS: &[&str] = &[
    "file",
    "view",
    "light",
    "um_per_px",
    "um_per_px_u",
    "seq",
    "calibration",
    "colour_calibration",
    "exposure_us",
    "gain",
    "gamma",
    "z_um",
    "captured_at",
    "camera_serial",
    "sha256",
    "burst",
];
const READING_KEYS: &[&str] = &["characteristic", "value", "uncertainty", "instrument", "unit"];

impl Frame {
    /// A frame of which no more is known than its picture, what it shows, and its scale with its standard uncertainty.
    pub fn bare(
        file: impl Into<String>,
        view: impl Into<String>,
        light: impl Into<String>,
        um_per_px: Option<f64>,
        um_per_px_u: Option<f64>,
    ) -> Self {
        Frame {
            file: file.into(),
            view: view.into(),
            light: light_name(&light.into()),
            um_per_px,
            um_per_px_u,
            seq: 0,
            calibration: None,
            colour_calibration: None,
            exposure_us: None,
            gain: None,
            gamma: None,
            z_um: None,
            captured_at: None,
            camera_serial: None,
            sha256: None,
            burst: None,
            extra: BTreeMap::new(),
        }
    }
}

impl Piece {
    /// Parses and checks the text of a manifest; `path` only names it in errors.
    ///
    /// # Errors
    /// [`PieceError::Parse`] for JSON that is not a piece, [`PieceError::Value`] for a value that makes no
    /// sense (a scale that is not positive, an id that is no file name, two frames of one file).
    pub fn parse(text: &str, path: &Path) -> Result<Self, PieceError> {
        let mut piece: Piece = json::value(text.as_bytes()).map_err(|m| PieceError::Parse {
            path: path.to_owned(),
            key: m.key,
            message: m.message,
        })?;
        piece.check().map_err(|(key, message)| PieceError::Value { path: path.to_owned(), key, message })?;
        // However a manifest lists them, the same frames give the same report.
        piece.frames.sort_by_key(|f| f.seq);
        Ok(piece)
    }

    /// Reads and checks `piece.json`.
    ///
    /// # Errors
    /// As [`Piece::parse`], and [`PieceError::Read`] where the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, PieceError> {
        let text =
            crate::files::read_text(path).map_err(|source| PieceError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn check(&self) -> Result<(), (String, String)> {
        let bad = |key: &str, message: String| Err((key.to_owned(), message));
        if self.schema != PIECE_SCHEMA {
            return bad("schema", format!("is `{}`, expected `{PIECE_SCHEMA}`", self.schema));
        }
        if !is_file_name(&self.piece_id) {
            return bad("piece_id", format!("`{}` cannot name a folder", self.piece_id));
        }
        if self.spec.is_empty() {
            return bad("spec", "is empty".into());
        }
        if self.frames.is_empty() {
            return bad("frames", "no frame".into());
        }
        likely_typo(&self.extra, PIECE_KEYS, "")?;
        for (i, f) in self.frames.iter().enumerate() {
            let at = |k: &str| format!("frames[{i}].{k}");
            if f.file.is_empty() {
                return bad(&at("file"), "is empty".into());
            }
            if let Some(j) = self.frames[..i].iter().position(|g| g.file == f.file) {
                return bad(&at("file"), format!("`{}` is already frames[{j}]", f.file));
            }
            if let Some(s) = f.um_per_px {
                if !(s.is_finite() && s > 0.0) {
                    return bad(&at("um_per_px"), format!("{s} is no scale: it must be above 0"));
                }
                if s > MOST_UM_PER_PX {
                    return bad(
                        &at("um_per_px"),
                        format!("{s} is no scale of a station: at most {MOST_UM_PER_PX} um a pixel"),
                    );
                }
            }
            if let Some(u) = f.um_per_px_u {
                if !(u.is_finite() && u >= 0.0) {
                    return bad(&at("um_per_px_u"), format!("{u} is no uncertainty: it must be 0 or more"));
                }
                if f.um_per_px.is_some_and(|s| u >= s) {
                    return bad(&at("um_per_px_u"), format!("{u} is as large as the scale itself"));
                }
            }
            if let Some(g) = f.gamma.filter(|g| !(0.5..=4.0).contains(g)) {
                return bad(&at("gamma"), format!("{g} is no exponent of an encoding: it must be 0.5 to 4"));
            }
            if let Some(h) = &f.sha256 {
                if h.len() != 64 || !h.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return bad(&at("sha256"), format!("`{h}` is no sha256 (64 hex digits)"));
                }
            }
            likely_typo(&f.extra, FRAME_KEYS, &format!("frames[{i}]."))?;
        }
        for (i, r) in self.readings.iter().enumerate() {
            if !r.value.is_finite() {
                return bad(&format!("readings[{i}].value"), format!("{} is no number", r.value));
            }
            if r.uncertainty.is_some_and(|u| !(u.is_finite() && u >= 0.0)) {
                return bad(&format!("readings[{i}].uncertainty"), "must be 0 or more".into());
            }
            if let Some(why) = r.impossible() {
                return bad(&format!("readings[{i}].value"), why);
            }
            if let Some(why) = r.extra.get("unit").and_then(|u| r.other_unit(u.as_str()?)) {
                return bad(&format!("readings[{i}].unit"), why);
            }
            likely_typo(&r.extra, READING_KEYS, &format!("readings[{i}]."))?;
        }
        Ok(())
    }
}

/// Whether a string can be one component of a path on every file system.
fn is_file_name(s: &str) -> bool {
    // A blank at an end is not seen, and not kept by every file system.
    !s.is_empty()
        && s.trim() == s
        && s.len() <= 200
        && s != "."
        && s != ".."
        && !s.chars().any(|c| c == '/' || c == '\\' || c.is_control() || c == '\0')
}

/// A station may add keys of its own, but a key one or two letters away from a known one is a typo that would
/// silently drop a scale or an uncertainty.
fn likely_typo(
    extra: &BTreeMap<String, serde_json::Value>,
    known: &[&str],
    prefix: &str,
) -> Result<(), (String, String)> {
    for key in extra.keys().filter(|k| !known.contains(&k.as_str())) {
        if let Some(near) = nearest(key, known) {
            return Err((format!("{prefix}{key}"), format!("unknown key; did you mean `{near}`?")));
        }
    }
    Ok(())
}

/// The known name at most two edits away from `key` (and nearer than half its length), if there is one.
pub fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (edit_distance(key, k), *k))
        .filter(|(d, k)| *d <= 2 && *d * 2 < k.len())
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (diagonal + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &str) -> String {
        format!(
            r#"{{"schema":"loupe.piece/1","piece_id":"p","spec":"spec.toml","frames":[{{"file":"a.png","view":"top","light":"dome"{frame}}}]}}"#
        )
    }

    #[test]
    fn frames_stand_in_their_sequence() {
        let frame = |file: &str, seq: u32| format!(r#"{{"file":"{file}","view":"top","light":"dome","seq":{seq}}}"#);
        let frames = [frame("b.png", 1), frame("c.png", 1), frame("a.png", 0)].join(",");
        let text = format!(r#"{{"schema":"loupe.piece/1","piece_id":"p","spec":"spec.toml","frames":[{frames}]}}"#);
        let files = Piece::parse(&text, Path::new("piece.json")).unwrap().frames.into_iter().map(|f| f.file);
        assert_eq!(files.collect::<Vec<_>>(), ["a.png", "b.png", "c.png"]);
    }

    #[test]
    fn a_light_is_known_however_it_is_written() {
        for (written, name) in
            [("Dark field", "dark_field"), ("BACKLIGHT", "backlight"), ("Blue ring 3", "Blue ring 3")]
        {
            assert_eq!(light_name(written), name);
        }
        let frame = text("").replace("dome", "Dome");
        assert_eq!(Piece::parse(&frame, Path::new("piece.json")).unwrap().frames[0].light, "dome");
    }

    #[test]
    fn a_frame_without_a_scale_is_read() {
        let p = Piece::parse(&text(""), Path::new("piece.json")).unwrap();
        assert_eq!(p.frames[0].um_per_px, None);
    }

    #[test]
    fn readings_that_cannot_be_are_told() {
        let of = |characteristic: &str, value: f64| Reading {
            characteristic: characteristic.into(),
            value,
            uncertainty: None,
            instrument: None,
            extra: BTreeMap::new(),
        };
        for (c, v, possible) in [
            ("hallmark.text", 585.0, false),
            ("hallmark.text", 1.0, true),
            ("stone.present", 2.0, false),
            ("prong.present", 0.0, true),
            ("piece.fineness_ppt", 585.0, true),
            ("piece.weight_g", -1.0, false),
            ("ring.ovality_mm", -0.5, false),
            ("piece.chamber_deg", -40.0, true),
        ] {
            assert_eq!(of(c, v).impossible().is_none(), possible, "{c} {v}");
        }
        for (c, unit, fits) in [
            ("piece.torque_mnm", "mNm", true),
            ("piece.torque_mnm", "Nm", false),
            ("piece.weight_dwt", "oz", false),
            ("ring.size_us", "US", true),
            ("ring.size_uk", "US", false),
            ("piece.stone_count", "pieces", true),
            ("piece.stone_count", "mm", false),
        ] {
            assert_eq!(of(c, 1.0).other_unit(unit).is_none(), fits, "{c} {unit}");
        }
    }

    #[test]
    fn a_mistyped_unit_is_not_dropped() {
        let of = |key: &str, unit: &str| {
            let reading = format!(r#"{{"characteristic":"piece.weight_g","value":3.1,"{key}":"{unit}"}}"#);
            let text = text("").replacen("]}", &format!(r#"],"readings":[{reading}]}}"#), 1);
            Piece::parse(&text, Path::new("piece.json")).map_err(|e| e.to_string())
        };
        assert!(of("unit", "g").is_ok() && of("unit", "mg").is_err());
        let e = of("units", "mg").unwrap_err();
        assert!(e.contains("readings[0].units") && e.contains("`unit`"), "{e}");
    }

    #[test]
    fn errors_name_file_and_key() {
        for (frame, key) in [
            (r#","um_per_px":0"#, "frames[0].um_per_px"),
            (r#","um_per_px":-3.5"#, "frames[0].um_per_px"),
            (r#","um_per_px":"twelve""#, "frames[0]"),
            (r#","um_per_px":NaN"#, "frames[0]"),
            (r#","um_per_pix":12"#, "frames[0].um_per_pix"),
            (r#","um_per_px":12,"um_per_px_u":-1"#, "frames[0].um_per_px_u"),
        ] {
            let e = Piece::parse(&text(frame), Path::new("x/piece.json")).unwrap_err().to_string();
            assert!(e.contains("x/piece.json") && e.contains(key), "{frame}: {e}");
        }
    }

    #[test]
    fn a_stations_own_keys_are_kept() {
        let p = Piece::parse(&text(r#","lamp_hours":12"#), Path::new("piece.json")).unwrap();
        assert!(p.frames[0].extra.contains_key("lamp_hours"));
    }

    #[test]
    fn an_id_that_leaves_the_folder_is_refused() {
        let t = text("").replace("\"p\"", "\"../p\"");
        assert!(Piece::parse(&t, Path::new("piece.json")).is_err());
    }

    #[test]
    fn edit_distance_of_known_words() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(nearest("um_per_pix", FRAME_KEYS), Some("um_per_px"));
        assert_eq!(nearest("lamp_hours", FRAME_KEYS), None);
    }
}
