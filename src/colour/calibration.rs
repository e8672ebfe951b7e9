//! How a camera's values become colours: a tone curve and a matrix, in a file of a station's own (`*.colour.json`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::{mistake, Marked, Mistake};

/// The `schema` value.
pub const COLOUR_SCHEMA: &str = "loupe.colour/1";

/// A colour calibration. From a camera's values v of 0 to 255: u = max(0, (v / 255 - black) / (1 - black)), linear by the
/// tone; the terms r, g, b (and sqrt(rg), sqrt(gb), sqrt(rb) where the matrix has six columns, which keeps doubling the light
/// doubling the colour); XYZ under D50, Y of white 100, is the matrix times the terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Always `loupe.colour/1`.
    pub schema: String,
    /// Program and version.
    pub program: String,
    /// The chart's frame.
    pub chart_file: String,
    /// sha256 of it, lower-case hex.
    pub chart_sha256: String,
    /// Light it was taken in, where that was said: frames in another light are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<String>,
    /// The camera, where that was said: frames of another are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_serial: Option<String>,
    /// Level of no light, as a share of 255.
    pub black: f64,
    /// Exponent of the tone curve; none for that of sRGB (IEC 61966-2-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Three rows X, Y, Z of three or six terms.
    pub matrix: [Vec<f64>; 3],
    /// Patches that were used, of 24.
    pub patches: usize,
    /// CIEDE2000 of the patches as fitted: mean.
    pub residual_mean_de00: f64,
    /// The largest.
    pub residual_max_de00: f64,
    /// Standard uncertainty of a colour, as CIEDE2000: root mean square over the patches, each left out of the fit.
    pub u_de00: f64,
    /// The same of the yellowness by D1925 of white gold, over the patches that are no more colourful than gold; wider where the brightest
    /// patches could not be used.
    pub u_yi: f64,
    /// By how much the light differs over the chart, in percent, where it slants: it was allowed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light_range_pct: Option<f64>,
    /// Patch by patch.
    pub rows: Vec<PatchRow>,
}

/// A patch of the chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRow {
    /// Its name.
    pub name: String,
    /// Centre in the chart's frame.
    pub x_px: f64,
    /// Centre in the chart's frame.
    pub y_px: f64,
    /// Camera values.
    pub rgb: [f64; 3],
    /// L*a*b* as published.
    pub lab_reference: [f64; 3],
    /// L*a*b* as fitted.
    pub lab: [f64; 3],
    /// CIEDE2000 between the two; none where the patch was left out.
    pub de00: Option<f64>,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

impl Marked for Calibration {
    const SCHEMA: &'static str = COLOUR_SCHEMA;

    fn schema(&self) -> &str {
        &self.schema
    }

    fn check(&self) -> Result<(), Mistake> {
        if !(0.0..0.5).contains(&self.black) {
            return Err(mistake("black", format!("{} is no share from 0 to 0.5", self.black)));
        }
        if let Some(g) = self.gamma.filter(|g| !(0.3..=4.0).contains(g)) {
            return Err(mistake("gamma", format!("{g} is no exponent from 0.3 to 4")));
        }
        let columns = self.matrix[0].len();
        if !matches!(columns, 3 | 6) || self.matrix.iter().any(|r| r.len() != columns) {
            return Err(mistake("matrix", "needs three rows of three or of six numbers"));
        }
        // Camera values from 0 to 1, and white has an XYZ near 100: no camera needs factors near this.
        if let Some(m) = self.matrix.iter().flatten().find(|m| m.is_nan() || m.abs() > 1e5) {
            return Err(mistake("matrix", format!("{m} is no factor from camera values to XYZ")));
        }
        for (key, u) in [("u_de00", self.u_de00), ("u_yi", self.u_yi)] {
            if !(u.is_finite() && u >= 0.0) {
                return Err(mistake(key, "must be 0 or more"));
            }
        }
        Ok(())
    }
}

impl Calibration {
    /// The tone curve: the light of every camera value, 0 to 1.
    pub fn tone(&self) -> [f64; 256] {
        std::array::from_fn(|v| linear(v as f64, self.black, self.gamma))
    }

    /// XYZ under D50 of linear camera values.
    pub fn xyz(&self, linear: [f64; 3]) -> [f64; 3] {
        let t = terms(linear, self.matrix[0].len());
        [0, 1, 2].map(|i| self.matrix[i].iter().zip(&t).map(|(m, t)| m * t).sum())
    }
}

/// The light of a camera value of 0 to 255.
pub(super) fn linear(v: f64, black: f64, gamma: Option<f64>) -> f64 {
    let u = ((v / 255.0 - black) / (1.0 - black)).max(0.0);
    match gamma {
        Some(g) => u.powf(g),
        None if u <= 0.04045 => u / 12.92,
        None => ((u + 0.055) / 1.055).powf(2.4),
    }
}

/// What the matrix is multiplied with: three terms, or six with the roots of products (Finlayson, Mackiewicz, Hurlbert, IEEE
/// Trans. Image Process. 24 (2015) 1460).
pub(super) fn terms([r, g, b]: [f64; 3], count: usize) -> Vec<f64> {
    let mut out = vec![r, g, b];
    if count == 6 {
        out.extend([(r * g).sqrt(), (g * b).sqrt(), (r * b).sqrt()]);
    }
    out
}
