//! What was ordered: views with their outline, stones and prongs, and the limits (`spec.toml`,
//! schema `loupe.spec/1`). Parsing lives in [`parse`] and names the line and key of every mistake.

pub mod fineness;
pub mod parse;

use std::f64::consts::{FRAC_PI_2, SQRT_2};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::{SpecError, SpecMistake};

/// The `schema` value of a spec.
pub const SPEC_SCHEMA: &str = "loupe.spec/1";

/// A spec. Lengths are millimetres in the view's piece coordinates: x right, y up, origin at the centre of
/// the view's outline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Always `loupe.spec/1`.
    pub schema: String,
    /// Name of the article.
    pub sku: String,
    /// yellow_gold, rose_gold, white_gold, rhodium, silver, platinum, ...
    pub metal: String,
    /// polished, brushed, matte, florentine.
    pub finish: String,
    /// The fineness ordered in parts per thousand, one of ISO 9202's of the metal. A spec that was read limits `piece.fineness_ppt`
    /// by it: at least the order, because the norm allows no minus tolerance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fineness: Option<f64>,
    /// The decision rule of the limits that name none; in a spec that was read they all carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// The coverage factor of the limits that name none; in a spec that was read they all carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// The colour ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// The views a station takes.
    #[serde(default, rename = "view")]
    pub views: Vec<View>,
    /// The limits.
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
}

/// The colour of the metal as ordered: of a swatch, or of a golden piece (`loupe colour --golden`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Colour {
    /// L*a*b* under D50, 2 degrees.
    pub lab: [f64; 3],
}

/// One view of the piece.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Frames name it.
    pub name: String,
    /// The metal's outline; without one the whole frame is metal surface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outline: Option<Outline>,
    /// The nominal stones.
    #[serde(default, rename = "stone")]
    pub stones: Vec<Stone>,
    /// The marks that were ordered.
    #[serde(default, rename = "hallmark", skip_serializing_if = "Vec::is_empty")]
    pub hallmarks: Vec<Hallmark>,
    /// A CSV beside the spec with the columns id,x_mm,y_mm,diameter_mm,cut, added to `stones`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stones_csv: Option<String>,
    /// What was learned of this view from good pieces (`loupe teach`): a file, in a spec that was read relative to the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taught: Option<String>,
}

/// A mark that was ordered: fineness, maker's mark, or another short text of letters and digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hallmark {
    /// What is to be read, such as `750`, `PT950`, `18K` or a maker's initials.
    pub text: String,
    /// Where its centre is to be; with `y_mm`. Without a place it may be anywhere in the view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_mm: Option<f64>,
    /// Where its centre is to be; with `x_mm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y_mm: Option<f64>,
    /// How far about its place it may be (1.5 mm where not given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_mm: Option<f64>,
}

/// The outline of the metal in a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outline {
    /// A circle.
    Disc {
        /// Its radius.
        radius_mm: f64,
    },
    /// An ellipse with its axes along x and y.
    Ellipse {
        /// Half axis along x.
        rx_mm: f64,
        /// Half axis along y.
        ry_mm: f64,
    },
    /// A rectangle with rounded corners.
    RoundedRect {
        /// Width along x.
        width_mm: f64,
        /// Height along y.
        height_mm: f64,
        /// Radius of the corners.
        corner_mm: f64,
    },
    /// A shank that runs out of the frame left and right, curved about an axis parallel to y: seen from above
    /// its edges are the lines y = +-half_width.
    Band {
        /// Half the width along y.
        half_width_mm: f64,
        /// Radius of the curvature.
        radius_mm: f64,
    },
    /// A closed polygon.
    Polygon {
        /// Its corners `[x, y]`, in order.
        points_mm: Vec<[f64; 2]>,
    },
}

/// A nominal stone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stone {
    /// Its name within the view.
    pub id: String,
    /// Centre of the girdle.
    pub x_mm: f64,
    /// Centre of the girdle.
    pub y_mm: f64,
    /// Diameter of the girdle.
    pub diameter_mm: f64,
    /// round, princess, oval, emerald, pear, marquise, baguette, ... The diameter of a long cut is its width.
    #[serde(default = "round_cut")]
    pub cut: String,
    /// How a long cut lies: the turn of its length from the y axis in degrees, counter-clockwise. Without it the prongs tell
    /// whether it lies along x; without prongs it lies along y.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_deg: Option<f64>,
    /// Its gem, such as `diamond` or `ruby`: for the estimate of its weight. Without it a diamond is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gem: Option<String>,
    /// The prongs that hold it.
    #[serde(default)]
    pub prongs: Vec<Prong>,
}

/// A term of the trade as the contract writes it: in small letters, with `_` between words.
pub fn word(term: &str) -> String {
    term.to_lowercase().replace([' ', '-'], "_")
}

/// The least distance of two stones' middles, in the sum of their half widths: of all pairs of 367 rendered pieces' specs none is below 1.04, and on a domed pave a
/// stone may hide some of the next.
const BESIDE: f64 = 0.7;

impl View {
    /// The stone before a stone that lies where that one does: both cannot be there, so it is one stone twice, or a mistake.
    pub fn twin(&self, of: usize) -> Option<&Stone> {
        let a = &self.stones[of];
        let is_there = |b: &&Stone| {
            let least = (0.5 * a.reach_mm().max(b.reach_mm())).max(BESIDE * 0.5 * (a.diameter_mm + b.diameter_mm));
            (a.x_mm - b.x_mm).hypot(a.y_mm - b.y_mm) < least
        };
        self.stones[..of].iter().find(is_there)
    }
}

impl Stone {
    /// One that was seen and is not, or not yet, of a spec: at (x, y) in mm.
    pub fn unnamed([x_mm, y_mm]: [f64; 2], diameter_mm: f64, cut: &str) -> Self {
        Stone {
            id: String::new(),
            x_mm,
            y_mm,
            diameter_mm,
            cut: cut.into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        }
    }

    /// The cut's name in lower case, words joined by `_`.
    pub fn cut_word(&self) -> String {
        word(&self.cut)
    }

    /// Whether the girdle is a circle.
    pub fn is_round(&self) -> bool {
        self.cut_word() == "round"
    }

    /// Nominal length over width of the cut, as the model of stones was taught; none of a cut it does not know.
    pub fn length_ratio(&self) -> Option<f64> {
        Some(match self.cut_word().as_str() {
            "round" | "princess" => 1.0,
            "oval" | "emerald" => 1.4,
            "pear" => 1.5,
            "marquise" | "baguette" => 2.0,
            _ => return None,
        })
    }

    /// Nominal length in mm; the width of a cut whose ratio is not known.
    pub fn length_mm(&self) -> f64 {
        self.diameter_mm * self.length_ratio().unwrap_or(1.0)
    }

    /// How the stone's length lies: its turn from the y axis in radians, counter-clockwise. As the spec says, else along y, or along x where its
    /// prongs reach farther in x than in y; a pear's point looks to the prong farthest out.
    pub fn length_turn(&self) -> f64 {
        if let Some(turn) = self.turn_deg {
            return turn.to_radians();
        }
        if self.length_ratio().is_none_or(|r| r <= 1.0) || self.prongs.is_empty() {
            return 0.0;
        }
        let extent = |of: fn(&Prong) -> f64| {
            let (lo, hi) = self.prongs.iter().map(of).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
            hi - lo
        };
        let along_x = extent(|q| q.x_mm) > extent(|q| q.y_mm);
        let turn = if along_x { -FRAC_PI_2 } else { 0.0 };
        let reach = |q: &&Prong| (q.x_mm - self.x_mm).hypot(q.y_mm - self.y_mm);
        let farthest = self.prongs.iter().max_by(|a, b| reach(a).total_cmp(&reach(b)));
        let back = farthest.is_some_and(|q| if along_x { q.x_mm < self.x_mm } else { q.y_mm < self.y_mm });
        if self.cut_word() == "pear" && back {
            turn + std::f64::consts::PI
        } else {
            turn
        }
    }

    /// The girdle of a cut that is not round, as a closed line in widths about its centre, its length along y: as such cuts are commonly
    /// drawn, with the corners of an emerald cut a seventh of the width. None of a round one and of a cut that is not known.
    pub fn plan(&self) -> Option<Vec<[f64; 2]>> {
        const STEPS: usize = 24;
        let half = self.length_ratio()? / 2.0;
        let steps = || (0..=STEPS).map(|k| k as f64 / STEPS as f64);
        // A quarter of an ellipse as high as this, from (0.5, 0) on.
        let round =
            |high: f64| steps().map(move |t| (FRAC_PI_2 * t).sin_cos()).map(move |(s, c)| [0.5 * c, high * s]);
        // An arc from (0.5, 0) to a tip at (0, high).
        let pointed = |high: f64| {
            let r = high * high + 0.25;
            steps().map(move |t| [0.5 - r + (r * r - (high * t).powi(2)).sqrt(), high * t])
        };
        let down = |[x, y]: [f64; 2]| [x, -y];
        // The right side, from the lowest place up; the left one is its mirror image.
        let right: Vec<[f64; 2]> = match self.cut_word().as_str() {
            "oval" => round(half).map(down).rev().chain(round(half)).collect(),
            "marquise" => pointed(half).map(down).rev().chain(pointed(half)).collect(),
            "pear" => {
                // Its widest place lies half a width above its round end.
                let centre = 0.5 - half;
                let of = round(0.5).map(down).rev().chain(pointed(2.0 * half - 0.5));
                of.map(|[x, y]| [x, y + centre]).collect()
            }
            "emerald" => {
                let (c, q) = (0.5 - 0.14, half - 0.14);
                vec![[c, -half], [0.5, -q], [0.5, q], [c, half]]
            }
            "princess" | "baguette" => vec![[0.5, -half], [0.5, half]],
            _ => return None,
        };
        let left: Vec<[f64; 2]> = right.iter().rev().map(|[x, y]| [-x, *y]).collect();
        Some([right, left].concat())
    }

    /// The plan as a stone of this width lies about a centre: any unit, y up; turn: of its length from the y axis (radians, counter-clockwise).
    pub fn girdle(&self, centre: [f64; 2], width: f64, turn: f64) -> Option<Vec<[f64; 2]>> {
        let (sin, cos) = turn.sin_cos();
        let lie =
            |[u, v]: [f64; 2]| [centre[0] + width * (cos * u - sin * v), centre[1] + width * (sin * u + cos * v)];
        Some(self.plan()?.into_iter().map(lie).collect())
    }

    /// How far the girdle may reach from its centre, in mm: half the width of a round stone, half the longest line across a
    /// stone of another cut. A spec says neither length nor direction, so the longest ratio of length to width that the
    /// trade cuts commonly (GIA: oval and pear 1.5, emerald and baguette 1.5 and 2, marquise 2) is allowed for in every
    /// direction.
    pub fn reach_mm(&self) -> f64 {
        let word = self.cut_word();
        // A cut this version does not know: as an oval.
        let ratio = CUTS.iter().find(|c| c.0 == word).map_or(1.5, |c| c.1);
        ratio * self.diameter_mm / 2.0
    }
}

/// The cuts whose name is known, each with its longest line across over its width.
pub const CUTS: &[(&str, f64)] = &[
    ("round", 1.0),
    ("princess", SQRT_2),
    ("square", SQRT_2),
    ("cushion", SQRT_2),
    ("asscher", SQRT_2),
    ("radiant", SQRT_2),
    ("oval", 1.5),
    ("pear", 1.75),
    ("heart", 1.75),
    ("trilliant", 1.75),
    ("trillion", 1.75),
    // The diagonals of 1 to 1.5 and 1 to 2.
    ("emerald", 1.81),
    ("baguette", 2.24),
    ("tapered_baguette", 2.24),
    ("marquise", 2.0),
];

fn round_cut() -> String {
    "round".into()
}

/// A nominal prong tip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prong {
    /// Centre.
    pub x_mm: f64,
    /// Centre.
    pub y_mm: f64,
    /// Radius of the tip.
    pub radius_mm: f64,
}

/// How a measured value is decided upon against a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// ISO 14253-1 with a guard band w = U on both sides of the limit (ILAC-G8:09/2019, 4.2.3): inside by at least U passes,
    /// outside by at least U fails, between a person decides.
    #[default]
    GuardBand,
    /// Simple acceptance, w = 0 (ILAC-G8:09/2019, 4.2.1; JCGM 106:2012, 8.2): the value alone decides.
    Simple,
    /// Simple acceptance on the condition of JCGM 106:2012, 8.2, that U is at most an agreed largest one; where it is larger, the
    /// guard band decides.
    SharedRisk,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 3] = [Rule::GuardBand, Rule::Simple, Rule::SharedRisk];

    /// The word in a spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::GuardBand => "guard_band",
            Rule::Simple => "simple",
            Rule::SharedRisk => "shared_risk",
        }
    }

    /// Half the width of the band about a limit in which a person decides: `u`, the expanded uncertainty U = k u, or 0 where the value
    /// alone decides. `u_max` is the largest U under which shared risk lets it.
    pub fn band(self, u: f64, u_max: Option<f64>) -> f64 {
        match self {
            Rule::Simple => 0.0,
            Rule::SharedRisk if u_max.is_some_and(|most| u <= most) => 0.0,
            Rule::GuardBand | Rule::SharedRisk => u,
        }
    }
}

/// A limit on one characteristic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Which characteristic, such as `pit.diameter_mm`.
    pub characteristic: String,
    /// Smallest allowed value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Largest allowed value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The ordered value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal: Option<f64>,
    /// Only this view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Only this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// A word for reports, such as `minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// How a value is decided upon; the guard band where neither the limit nor the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Coverage factor k of the expanded uncertainty U = k u that the rule goes by; 2 where neither the limit nor the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// The largest U under which `shared_risk` accepts simply, in the characteristic's unit. Without it a quarter of what lies
    /// between the middle of the tolerance and its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u_max: Option<f64>,
}

/// A quarter: the test uncertainty ratio of 4 to 1 that calibration has asked for since MIL-STD-45662A and ANSI/NCSL Z540-1.
const SHARED_RISK_SHARE: f64 = 0.25;

impl Limit {
    /// The largest expanded uncertainty that shared risk takes: as the limit says, else a quarter of half the tolerance, or of
    /// what lies between the nominal value and the only limit; none where neither can be told.
    pub fn shared_risk_u(&self) -> Option<f64> {
        let half = match (self.lower, self.upper, self.nominal) {
            (Some(l), Some(u), _) => Some((u - l) / 2.0),
            (Some(l), None, Some(n)) => Some(n - l),
            (None, Some(u), Some(n)) => Some(u - n),
            _ => None,
        };
        self.u_max.or(half.map(|h| SHARED_RISK_SHARE * h))
    }

    /// Whether its values have nothing in between, so that an uncertainty only says that a person must look.
    pub fn is_stepped(&self) -> bool {
        !self.takes_rule() || self.characteristic == "ring.size_iso"
    }

    /// Whether a decision rule can be about it: not a yes or no, whose uncertainty only says that a person must look.
    pub fn takes_rule(&self) -> bool {
        !(self.characteristic.ends_with(".present") || self.characteristic == "hallmark.text")
    }
}

impl Spec {
    /// The view with this name.
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|v| v.name == name)
    }

    /// The limit that applies to a characteristic in a view: one for the view before one for all.
    /// Limits on a zone are left out: they are about a part of the view only.
    pub fn limit(&self, characteristic: &str, view: &str) -> Option<&Limit> {
        let mut of = self.limits.iter().filter(|l| l.characteristic == characteristic && l.zone.is_none());
        let of_view = of.clone().find(|l| l.view.as_deref() == Some(view));
        of_view.or_else(|| of.find(|l| l.view.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stone(cut: &str) -> Stone {
        Stone {
            id: "S".into(),
            x_mm: 0.0,
            y_mm: 0.0,
            diameter_mm: 2.0,
            cut: cut.into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        }
    }

    #[test]
    fn the_plan_of_a_cut_fills_its_width_and_length() {
        for (cut, share) in [
            ("oval", 0.785),
            ("princess", 1.0),
            ("emerald", 0.972),
            ("baguette", 1.0),
            ("marquise", 0.69),
            ("pear", 0.73),
        ] {
            let plan = stone(cut).plan().unwrap();
            let half = stone(cut).length_ratio().unwrap() / 2.0;
            let reach = |k: usize| plan.iter().fold([0.0f64; 2], |r, p| [r[0].min(p[k]), r[1].max(p[k])]);
            for (found, wanted) in reach(0).into_iter().chain(reach(1)).zip([-0.5, 0.5, -half, half]) {
                assert!((found - wanted).abs() < 0.003, "{cut}: {found}, {wanted}");
            }
            let twice: f64 =
                plan.iter().zip(plan.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
            assert!((twice / 2.0 / (2.0 * half) - share).abs() < 0.02, "{cut}: {}", twice / 4.0 / half);
        }
        assert!(stone("round").plan().is_none() && stone("trillion").plan().is_none());
    }

    #[test]
    fn a_long_cut_reaches_farther_than_its_width() {
        assert_eq!(stone("round").reach_mm(), 1.0);
        assert!((stone("princess").reach_mm() - 2f64.sqrt()).abs() < 1e-9);
        // Half the diagonal of 2 x 4 mm.
        assert!((stone("baguette").reach_mm() - 5f64.sqrt()).abs() < 0.01);
        assert_eq!(stone("marquise").reach_mm(), 2.0);
    }
}
