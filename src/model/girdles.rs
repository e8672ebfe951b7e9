//! The models of girdles: what the rim of one stone looks like, unrolled about the circle or outline on which the model of stones has it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::info::Reader;
use super::sessions::{find_file, rows, Known};
use super::ModelError;

/// Which girdles a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Girdles {
    /// Circles.
    Round,
    /// Those of all other cuts.
    Fancy,
}

impl Girdles {
    /// The name of the shipped file.
    pub fn file(self) -> &'static str {
        match self {
            Girdles::Round => "girdles.int8.onnx",
            Girdles::Fancy => "fancies.int8.onnx",
        }
    }
}

/// Strips per call of the runtime.
const BATCH: usize = 16;

/// The columns of an answer: one row for each direction.
const COLUMNS: [&str; 5] = ["girdle", "log_precision", "chip", "slope", "slope_log_precision"];

/// Logs of precisions are kept within these, as they were in training.
const LOG_PRECISION: (f64, f64) = (-6.0, 9.0);

/// How a strip is cut out of a frame. Widths are those of the circle that it is unrolled about.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Strip {
    /// Directions, the first along the frame's x axis, counter-clockwise.
    pub rays: usize,
    /// Samples of a direction over table and crown, from within to without.
    pub facets: usize,
    /// Where they begin, in widths from the centre.
    pub facets_from: f64,
    /// Where they end.
    pub facets_to: f64,
    /// Samples of a direction across the girdle, which follow.
    pub rim: usize,
    /// How far within the circle the rim is looked at, in widths.
    pub inside: f64,
    /// How far without.
    pub outside: f64,
    /// And how many pixels more on both sides.
    pub more_px: f64,
}

impl Strip {
    /// From where to where the rim is looked at, in pixels from a circle of this radius outwards.
    pub fn span(&self, radius: f64) -> [f64; 2] {
        [-(2.0 * self.inside * radius + self.more_px), 2.0 * self.outside * radius + self.more_px]
    }

    /// Samples of a direction.
    pub fn samples(&self) -> usize {
        self.facets + self.rim
    }

    /// Half of that, in pixels: the unit of a ray's girdle.
    pub fn half(&self, radius: f64) -> f64 {
        let [low, high] = self.span(radius);
        0.5 * (high - low)
    }
}

/// What is known before anything is seen (standard deviations): how far the model of stones may be off, and how far out of level
/// stones lie.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Prior {
    /// Each coordinate of the centre, in lengths.
    pub centre: f64,
    /// The width, in widths.
    pub size: f64,
    /// How far it may lie turned in its seat (radians); none of round stones, which look the same however they are turned.
    #[serde(default)]
    pub turn: Option<f64>,
    /// Each coordinate of a slope (tangent).
    pub slope: f64,
    /// What the slopes along all directions have in common, which is none of the stone's (tangent).
    pub common: f64,
}

/// What standard deviations are multiplied by, so that they are true on pieces left out of training.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Scales {
    /// Of the centre.
    pub place: f64,
    /// Of the width.
    pub size: f64,
    /// Of the slope.
    pub slope: f64,
}

/// Log odds of a broken rim, those of the model of stones added ([`ChipOdds::together`]).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct ChipOdds {
    /// From here on it is one.
    pub sure: f64,
    /// From here on it may be one.
    pub maybe: f64,
    /// Log odds and a depth in widths: of chips that deep and deeper, on pieces left out of training, one in forty has less.
    pub unseen: [[f64; 2]; 6],
    /// Width in pixels from which on a stone is a large one.
    pub large_px: f64,
    /// As `unseen`, of large stones, the depth in pixels.
    pub unseen_px: [[f64; 2]; 6],
    /// The least that the model of stones' log odds count as: it is blind to some chips that the rim shows.
    #[serde(default)]
    pub window_least: Option<f64>,
}

impl ChipOdds {
    /// What the rim's log odds and those of the model of stones say together.
    pub fn together(&self, rim: f64, window: f64) -> f64 {
        rim + self.window_least.map_or(window, |least| window.max(least))
    }

    /// The depth, in widths, that no chip exceeds where these are the log odds and the stone is so many pixels wide; none where they do not
    /// tell. Between two depths of a table it is interpolated.
    pub fn deepest_unseen(&self, odds: f64, width_px: f64) -> Option<f64> {
        let of_large = if width_px >= self.large_px { between(&self.unseen_px, odds) } else { None };
        between(&self.unseen, odds).into_iter().chain(of_large.map(|px| px / width_px)).min_by(f64::total_cmp)
    }
}

/// The depth that a table of log odds and depths has for these odds: its least below the first, none from the last on.
fn between(table: &[[f64; 2]], odds: f64) -> Option<f64> {
    let above = table.iter().position(|[least, _]| odds < *least)?;
    let [high, deep] = table[above];
    let Some([low, shallow]) = above.checked_sub(1).map(|k| table[k]) else { return Some(deep) };
    Some(shallow + (deep - shallow) * (odds - low) / (high - low))
}

/// What a model of girdles says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct GirdleInfo {
    /// Its name, as in a report's provenance.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it is shown a stone.
    pub strip: Strip,
    /// Log of what the precision of one direction is multiplied by, because directions err together.
    pub kappa: f64,
    /// The same of slopes.
    pub slope_kappa: f64,
    /// Tangents in one unit of a ray's slope.
    pub slope_unit: f64,
    /// What is known before.
    pub prior: Prior,
    /// Scales of the deviations.
    pub deviation_scale: Scales,
    /// When a rim is broken.
    pub chip: ChipOdds,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
}

/// What one direction of a strip shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ray {
    /// How far outside the circle the girdle runs, in halves of the span ([`Strip::half`]).
    pub girdle: f64,
    /// Log of that measure's precision (one over its variance).
    pub log_precision: f64,
    /// Log odds that the rim is broken here.
    pub chip: f64,
    /// How much of the table's slope against the line of sight lies along this direction (tangent, in [`GirdleInfo::slope_unit`]).
    pub slope: f64,
    /// Log of that measure's precision.
    pub slope_log_precision: f64,
}

/// A loaded model of girdles.
#[derive(Debug)]
pub struct GirdleModel(Known<GirdleInfo>);

impl GirdleModel {
    /// Loads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing, the file is missing, empty, damaged, or breaks the contract.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let model = GirdleModel(Known::read(path, |get, sha256| parse(get, sha256, path))?);
        // A grey strip: a model whose answer has another shape is refused before any piece is judged by it.
        let strip = &model.info().strip;
        model.look(&[vec![128.0; 3 * strip.rays * strip.samples()]])?;
        Ok(model)
    }

    /// Loads the shipped model from where [`find_file`] finds it.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], or as [`GirdleModel::load`].
    pub fn load_default(which: Girdles) -> Result<Self, ModelError> {
        let file = which.file();
        let path = find_file(file).ok_or(ModelError::NotFound { file })?;
        let model = Self::load(&path)?;
        if model.info().prior.turn.is_some() == (which == Girdles::Fancy) {
            return Ok(model);
        }
        let message = "a model of round stones has no `turn`, one of other cuts has".into();
        Err(ModelError::Metadata { path, key: "loupe.prior".into(), message })
    }

    /// What the model says of itself.
    pub fn info(&self) -> &GirdleInfo {
        &self.0.info
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// What strips show, direction by direction. A strip is red, green, blue from 0 to 255, each direction by direction, from the
    /// centre outwards.
    ///
    /// # Errors
    /// [`ModelError::Run`] or [`ModelError::Shape`].
    pub fn look(&self, strips: &[Vec<f32>]) -> Result<Vec<Vec<Ray>>, ModelError> {
        let (rays, samples) = (self.info().strip.rays, self.info().strip.samples());
        let mut out = Vec::with_capacity(strips.len());
        for batch in strips.chunks(BATCH) {
            let data = batch.concat();
            let shape = [batch.len(), 3, rays, samples];
            let expected = [batch.len(), rays, COLUMNS.len()];
            let y = self.0.sessions.with(|s| rows(s, shape, &data, &expected, self.0.path()))?;
            out.extend(
                y.chunks_exact(rays * COLUMNS.len())
                    .map(|stone| stone.chunks_exact(COLUMNS.len()).map(ray).collect()),
            );
        }
        Ok(out)
    }
}

fn ray(row: &[f32]) -> Ray {
    let v = |k: usize| f64::from(row[k]);
    let precision = |k: usize| v(k).clamp(LOG_PRECISION.0, LOG_PRECISION.1);
    Ray { girdle: v(0), log_precision: precision(1), chip: v(2), slope: v(3), slope_log_precision: precision(4) }
}

fn parse(get: &dyn Fn(&str) -> Option<String>, sha256: String, path: &Path) -> Result<GirdleInfo, ModelError> {
    let r = Reader { get, path };
    r.schema()?;
    r.columns(&COLUMNS)?;
    let strip: Strip = r.json("loupe.strip")?;
    let fits = [strip.rays, strip.facets, strip.rim].iter().all(|n| (8..=512).contains(n))
        && [strip.inside, strip.outside].iter().all(|v| (0.0..0.3).contains(v))
        && strip.facets_from >= 0.0
        && (strip.facets_from..1.0).contains(&strip.facets_to)
        && (1.0..100.0).contains(&strip.more_px);
    if !fits {
        return r.bad("loupe.strip", format!("{strip:?} is no way to unroll a rim"));
    }
    let prior: Prior = r.json("loupe.prior")?;
    let scales: Scales = r.json("loupe.deviation_scale")?;
    let kappa: f64 = r.number("loupe.kappa")?;
    let slope_kappa: f64 = r.number("loupe.slope_kappa")?;
    let slope_unit: f64 = r.number("loupe.slope_unit")?;
    let chip: ChipOdds = r.json("loupe.chip_odds")?;
    let positive = |v: f64| v.is_finite() && v > 0.0;
    for (key, sound) in [
        (
            "loupe.prior",
            [prior.centre, prior.size, prior.slope, prior.common].into_iter().chain(prior.turn).all(positive),
        ),
        ("loupe.deviation_scale", [scales.place, scales.size, scales.slope].into_iter().all(positive)),
        ("loupe.kappa", kappa.is_finite()),
        ("loupe.slope_kappa", slope_kappa.is_finite()),
        ("loupe.slope_unit", positive(slope_unit)),
        (
            "loupe.chip_odds",
            chip.maybe.is_finite()
                && chip.sure >= chip.maybe
                && positive(chip.large_px)
                && chip.window_least.is_none_or(f64::is_finite)
                && chip.unseen.iter().chain(&chip.unseen_px).all(|[odds, depth]| odds.is_finite() && *depth > 0.0),
        ),
    ] {
        if !sound {
            return r.bad(key, "holds a number that cannot be".into());
        }
    }
    Ok(GirdleInfo {
        name: r.text("loupe.name")?,
        version: r.text("loupe.version")?,
        strip,
        kappa,
        slope_kappa,
        slope_unit,
        prior,
        deviation_scale: scales,
        chip,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::info::every_mistake;

    #[test]
    fn every_mistake_names_file_and_key() {
        const UNSEEN: &str = r#""unseen":[[-5,0.02],[-4,0.025],[-3,0.03],[-2,0.05],[-1,0.07],[0,0.1]],"large_px":100,"unseen_px":[[-6,3],[-5,4],[-4,5],[-3,6],[-2,8],[-1,10]]"#;
        let odds = |sure: f64, maybe: f64| format!(r#"{{"sure":{sure},"maybe":{maybe},{UNSEEN}}}"#);
        let (sound, swapped) = (odds(2.0, 0.0), odds(1.0, 2.0));
        let good = [
            (
                "loupe.strip",
                r#"{"rays":64,"facets":32,"facets_from":0.1,"facets_to":0.4,"rim":40,"inside":0.08,"outside":0.05,"more_px":6}"#,
            ),
            ("loupe.kappa", "-1.5"),
            ("loupe.slope_kappa", "-2.5"),
            ("loupe.slope_unit", "0.1"),
            ("loupe.prior", r#"{"centre":0.01,"size":0.02,"slope":0.25,"common":0.1}"#),
            ("loupe.deviation_scale", r#"{"place":1.1,"size":0.9,"slope":1.2}"#),
            ("loupe.chip_odds", sound.as_str()),
        ];
        let wrong = [
            ("loupe.columns", r#"["chip"]"#),
            (
                "loupe.strip",
                r#"{"rays":0,"facets":32,"facets_from":0.1,"facets_to":0.4,"rim":40,"inside":0.08,"outside":0.05,"more_px":6}"#,
            ),
            ("loupe.strip", "[]"),
            ("loupe.kappa", "[1]"),
            ("loupe.slope_unit", "0"),
            ("loupe.prior", r#"{"centre":0,"size":0.02,"slope":0.25,"common":0.1}"#),
            ("loupe.prior", r#"{"centre":0.01,"size":0.02}"#),
            ("loupe.prior", r#"{"centre":0.01,"size":0.02,"turn":-1,"slope":0.25,"common":0.1}"#),
            ("loupe.deviation_scale", r#"{"place":1.0}"#),
            ("loupe.chip_odds", swapped.as_str()),
            ("loupe.chip_odds", r#"{"sure":2.0,"maybe":0.0}"#),
        ];
        let info = every_mistake(&COLUMNS, &good, &wrong, parse);
        assert_eq!(info.strip.samples(), 72);
        assert_eq!(info.chip.together(2.0, -4.0), -2.0);
        assert_eq!(ChipOdds { window_least: Some(-1.0), ..info.chip }.together(2.0, -4.0), 1.0);
        // A small stone goes by widths, a large one by pixels where these say more.
        assert_eq!(info.chip.deepest_unseen(-5.5, 50.0), Some(0.02));
        assert_eq!(info.chip.deepest_unseen(-6.5, 400.0), Some(3.0 / 400.0));
        // Halfway between two odds of a table, the depth is, too.
        for (odds, width_px, depth) in [(-4.5, 400.0, 4.5 / 400.0), (-2.5, 50.0, 0.04)] {
            let told = info.chip.deepest_unseen(odds, width_px);
            assert!(told.is_some_and(|d| (d - depth).abs() < 1e-12), "{told:?}");
        }
        assert_eq!(info.chip.deepest_unseen(0.5, 400.0), None);
    }
}
