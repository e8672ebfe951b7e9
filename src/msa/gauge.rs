//! Gauge repeatability and reproducibility of a crossed, balanced study (AIAG, Measurement Systems Analysis, 4th edition, 2010,
//! chapter III, section B): by analysis of variance, and by average and range as a check.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use crate::report::round_to;

/// A crossed study: `values[part][operator][trial]`, every part measured by every operator as often.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// The values, in the characteristic's unit.
    pub values: Vec<Vec<Vec<f64>>>,
}

/// Standard deviations of what makes up the variation, in the characteristic's unit, and their shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variation {
    /// Equipment variation (repeatability).
    pub ev: f64,
    /// Appraiser variation (reproducibility, without the interaction).
    pub av: f64,
    /// Of part and operator together; 0 where it is not significant and was pooled.
    pub interaction: f64,
    /// Repeatability and reproducibility.
    pub grr: f64,
    /// Part variation.
    pub pv: f64,
    /// Total variation.
    pub tv: f64,
    /// 100 EV / TV.
    pub ev_pct: f64,
    /// 100 AV / TV.
    pub av_pct: f64,
    /// 100 GRR / TV.
    pub grr_pct: f64,
    /// 100 PV / TV.
    pub pv_pct: f64,
    /// Number of distinct categories: 1.41 PV / GRR, rounded down; null where GRR is 0.
    pub ndc: Option<u64>,
}

/// The analysis of variance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anova {
    /// Operators; null where there is one.
    pub operators: Option<Source>,
    /// Parts.
    pub parts: Source,
    /// Parts by operators; null where there is one operator.
    pub interaction: Option<Source>,
    /// Equipment.
    pub equipment: Source,
    /// Probability of an interaction as large by chance; null where there is none to tell.
    pub interaction_p: Option<f64>,
    /// Whether the interaction was put to the equipment because it is not significant (p above 0.05).
    pub pooled: bool,
}

/// One source of the analysis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Degrees of freedom.
    pub df: u64,
    /// Sum of squares.
    pub ss: f64,
    /// Mean square.
    pub ms: f64,
}

impl Source {
    fn new(df: usize, ss: f64) -> Self {
        Source { df: df as u64, ss, ms: if df > 0 { ss / df as f64 } else { 0.0 } }
    }

    fn rounded(self) -> Self {
        Source { df: self.df, ss: significant(self.ss), ms: significant(self.ms) }
    }
}

/// Level below which the interaction is kept (AIAG MSA 4, chapter III, section B).
const ALPHA: f64 = 0.05;

/// Sums of values that agree to the last digit leave a residue of rounding, which is no scatter: this share of the largest at most.
pub const RESIDUE: f64 = 1e-9;

/// Six digits: more mean nothing, whatever the unit.
fn significant(v: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return 0.0;
    }
    round_to(v, (5 - v.abs().log10().floor() as i32).clamp(0, 15))
}

impl Variation {
    /// From variances.
    fn new(ev: f64, av: f64, interaction: f64, pv: f64) -> Self {
        let root = |v: f64| v.max(0.0).sqrt();
        let grr = ev.max(0.0) + av.max(0.0) + interaction.max(0.0);
        let tv = root(grr + pv.max(0.0));
        let share = |v: f64| if tv > 0.0 { round_to(100.0 * root(v) / tv, 2) } else { 0.0 };
        Variation {
            ev: significant(root(ev)),
            av: significant(root(av)),
            interaction: significant(root(interaction)),
            grr: significant(root(grr)),
            pv: significant(root(pv)),
            tv: significant(tv),
            ev_pct: share(ev),
            av_pct: share(av),
            grr_pct: share(grr),
            pv_pct: share(pv),
            // Repeats that agree to rounding have no scatter to divide by.
            ndc: (root(grr) > 1e-9 * tv).then(|| (1.41 * root(pv) / root(grr)).floor() as u64),
        }
    }
}

impl Study {
    /// Parts, operators, trials.
    pub fn size(&self) -> (usize, usize, usize) {
        let operators = self.values.first().map_or(0, Vec::len);
        (self.values.len(), operators, self.values.first().and_then(|p| p.first()).map_or(0, Vec::len))
    }

    /// The largest of all values, whatever its sign.
    pub fn largest(&self) -> f64 {
        self.values.iter().flatten().flatten().fold(0.0, |m, v| m.max(v.abs()))
    }

    /// The mean of each part.
    pub fn part_means(&self) -> Vec<f64> {
        self.values.iter().map(|p| mean(p.iter().flatten())).collect()
    }

    fn operator_means(&self) -> Vec<f64> {
        let (_, operators, _) = self.size();
        (0..operators).map(|o| mean(self.values.iter().flat_map(|p| &p[o]))).collect()
    }

    /// By analysis of variance. None with fewer than two parts, no operator or fewer than two trials.
    pub fn anova(&self) -> Option<(Anova, Variation)> {
        let (p, o, r) = self.size();
        if p < 2 || o < 1 || r < 2 {
            return None;
        }
        let all = mean(self.values.iter().flatten().flatten());
        let (parts, operators) = (self.part_means(), self.operator_means());
        let (pf, of, rf) = (p as f64, o as f64, r as f64);
        let squares = |means: &[f64]| means.iter().map(|m| (m - all).powi(2)).sum::<f64>();
        let mut within = 0.0;
        let mut crossed = 0.0;
        for (part, part_mean) in self.values.iter().zip(&parts) {
            for (cell, operator_mean) in part.iter().zip(&operators) {
                let m = mean(cell);
                within += cell.iter().map(|v| (v - m).powi(2)).sum::<f64>();
                crossed += rf * (m - part_mean - operator_mean + all).powi(2);
            }
        }
        let part = Source::new(p - 1, of * rf * squares(&parts));
        let operator = Source::new(o - 1, pf * rf * squares(&operators));
        let equipment = Source::new(p * o * (r - 1), within);
        let interaction = Source::new((p - 1) * (o - 1), crossed);
        if o == 1 {
            let variation = Variation::new(equipment.ms, 0.0, 0.0, (part.ms - equipment.ms) / rf);
            let anova = Anova {
                operators: None,
                parts: part.rounded(),
                interaction: None,
                equipment: equipment.rounded(),
                interaction_p: None,
                pooled: false,
            };
            return Some((anova, variation));
        }
        let scatters = |s: &Source| s.ms > (RESIDUE * self.largest()).powi(2);
        // Without any scatter of repeats an interaction is all there is, where there is one.
        let interaction_p = if scatters(&equipment) {
            let f = FisherSnedecor::new(interaction.df as f64, equipment.df as f64).ok()?;
            Some(f.sf(interaction.ms / equipment.ms))
        } else {
            None
        };
        let pooled = interaction_p.map_or(!scatters(&interaction), |p| p > ALPHA);
        let variation = if pooled {
            let ms = (equipment.ss + interaction.ss) / (equipment.df + interaction.df) as f64;
            Variation::new(ms, (operator.ms - ms) / (pf * rf), 0.0, (part.ms - ms) / (of * rf))
        } else {
            Variation::new(
                equipment.ms,
                (operator.ms - interaction.ms) / (pf * rf),
                (interaction.ms - equipment.ms) / rf,
                (part.ms - interaction.ms) / (of * rf),
            )
        };
        let anova = Anova {
            operators: Some(operator.rounded()),
            parts: part.rounded(),
            interaction: Some(interaction.rounded()),
            equipment: equipment.rounded(),
            interaction_p: interaction_p.map(|p| round_to(p, 4)),
            pooled,
        };
        Some((anova, variation))
    }

    /// By average and range, where the published table of d2* reaches: 2 to 10 trials, up to 20 parts and operators.
    pub fn average_and_range(&self) -> Option<Variation> {
        let (p, o, r) = self.size();
        let k1 = 1.0 / D2.get(r.checked_sub(2)?)?;
        let k3 = 1.0 / D2_STAR.get(p.checked_sub(2)?)?;
        let cells = self.values.iter().flatten();
        let ranges: Vec<f64> = cells.map(|c| range(c)).collect();
        let ev = mean(&ranges) * k1;
        let av = match o {
            0 => return None,
            1 => 0.0,
            _ => {
                let k2 = 1.0 / D2_STAR.get(o - 2)?;
                (range(&self.operator_means()) * k2).powi(2) - ev * ev / (p * r) as f64
            }
        };
        Some(Variation::new(ev * ev, av, 0.0, (range(&self.part_means()) * k3).powi(2)))
    }
}

/// d2 of samples of 2, 3, ... (AIAG MSA 4, appendix C, last row).
#[allow(clippy::approx_constant)] // the table as it was published
const D2: [f64; 9] = [1.12838, 1.69257, 2.05875, 2.32593, 2.53441, 2.70436, 2.84720, 2.97003, 3.07751];
/// d2* of one sample of 2, 3, ... (AIAG MSA 4, appendix C, first row): the square root of d2 squared plus d3 squared.
#[allow(clippy::approx_constant)] // the table as it was published
const D2_STAR: [f64; 19] = [
    1.41421, 1.91155, 2.23887, 2.48124, 2.67253, 2.82981, 2.96288, 3.07794, 3.17905, 3.26909, 3.35016, 3.42378,
    3.49116, 3.55333, 3.61071, 3.66422, 3.71424, 3.76118, 3.80537,
];

fn mean<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    let (n, sum) = values.into_iter().fold((0usize, 0.0), |(n, s), v| (n + 1, s + v));
    sum / n.max(1) as f64
}

fn range(values: &[f64]) -> f64 {
    let (lo, hi) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    (hi - lo).max(0.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The worked example of AIAG MSA 4 (table III-B 6a): per operator and trial the ten parts.
    const AIAG: [[[f64; 10]; 3]; 3] = [
        [
            [0.29, -0.56, 1.34, 0.47, -0.80, 0.02, 0.59, -0.31, 2.26, -1.36],
            [0.41, -0.68, 1.17, 0.50, -0.92, -0.11, 0.75, -0.20, 1.99, -1.25],
            [0.64, -0.58, 1.27, 0.64, -0.84, -0.21, 0.66, -0.17, 2.01, -1.31],
        ],
        [
            [0.08, -0.47, 1.19, 0.01, -0.56, -0.20, 0.47, -0.63, 1.80, -1.68],
            [0.25, -1.22, 0.94, 1.03, -1.20, 0.22, 0.55, 0.08, 2.12, -1.62],
            [0.07, -0.68, 1.34, 0.20, -1.28, 0.06, 0.83, -0.34, 2.19, -1.50],
        ],
        [
            [0.04, -1.38, 0.88, 0.14, -1.46, -0.29, 0.02, -0.46, 1.77, -1.49],
            [-0.11, -1.13, 1.09, 0.20, -1.07, -0.67, 0.01, -0.56, 1.45, -1.77],
            [-0.15, -0.96, 0.67, 0.11, -1.45, -0.49, 0.21, -0.49, 1.87, -2.16],
        ],
    ];

    pub fn aiag() -> Study {
        let cell = |p: usize, o: usize| (0..3).map(|t| AIAG[o][t][p]).collect();
        Study { values: (0..10).map(|p| (0..3).map(|o| cell(p, o)).collect()).collect() }
    }

    fn near(a: f64, b: f64, by: f64) {
        assert!((a - b).abs() <= by, "{a} is not {b}");
    }

    #[test]
    fn the_published_analysis_of_variance() {
        let (anova, v) = aiag().anova().unwrap();
        let operators = anova.operators.unwrap();
        let interaction = anova.interaction.unwrap();
        let all = [(operators, 2, 3.1673, 1.58363), (anova.parts, 9, 88.3619, 9.81799)];
        let rest = [(interaction, 18, 0.3590, 0.01994), (anova.equipment, 60, 2.7589, 0.04598)];
        for (s, df, ss, ms) in all.into_iter().chain(rest) {
            assert_eq!(s.df, df);
            near(s.ss, ss, 5e-5);
            near(s.ms, ms, 5e-6);
        }
        near(interaction.ms / anova.equipment.ms, 0.4337, 5e-5);
        assert!(anova.pooled && anova.interaction_p.is_some_and(|p| p > 0.9));
        near(v.ev, 0.199933, 1e-6);
        near(v.av, 0.226838, 1e-6);
        near(v.grr, 0.302373, 2e-6);
        near(v.pv, 1.042327, 5e-6);
        near(v.tv, 1.085292, 5e-5);
        near(v.ev_pct, 18.4, 0.05);
        near(v.av_pct, 20.9, 0.05);
        near(v.grr_pct, 27.9, 0.05);
        near(v.pv_pct, 96.0, 0.05);
        assert_eq!((v.interaction, v.ndc), (0.0, Some(4)));
    }

    #[test]
    fn the_published_averages_and_ranges() {
        let v = aiag().average_and_range().unwrap();
        // The published ones come of means and factors rounded to four digits.
        near(v.ev, 0.20188, 1e-4);
        near(v.av, 0.22963, 1e-4);
        near(v.grr, 0.30575, 1e-4);
        near(v.pv, 1.10456, 2e-4);
        near(v.tv, 1.14610, 2e-4);
        near(v.ev_pct, 17.62, 0.02);
        near(v.av_pct, 20.04, 0.02);
        near(v.grr_pct, 26.68, 0.02);
        near(v.pv_pct, 96.38, 0.02);
        assert_eq!(v.ndc, Some(5));
    }

    #[test]
    fn an_interaction_that_is_significant_stays() {
        // The second operator reads the first part 1 higher and the second 1 lower.
        let cell = |m: f64| vec![m - 0.01, m + 0.01];
        let values = vec![vec![cell(1.0), cell(2.0)], vec![cell(6.0), cell(5.0)], vec![cell(3.0), cell(3.0)]];
        let (anova, v) = Study { values }.anova().unwrap();
        assert!(!anova.pooled && anova.interaction_p.is_some_and(|p| p < 1e-3));
        near(v.ev, 0.01 * 2f64.sqrt(), 1e-6);
        // Interaction: cells off by +-0.5 in two of three parts: 2 * 4 * 0.25 / 2 = 1 the mean square.
        near(v.interaction, ((1.0 - 0.0002f64) / 2.0).sqrt(), 1e-5);
    }

    #[test]
    fn one_operator_has_no_reproducibility_and_no_scatter_no_ratio() {
        let values = vec![vec![vec![1.0, 1.2]], vec![vec![2.0, 2.2]], vec![vec![3.0, 3.2]]];
        let (anova, v) = Study { values }.anova().unwrap();
        assert!(anova.operators.is_none() && anova.interaction.is_none());
        near(v.ev, 0.1 * 2f64.sqrt(), 1e-6);
        near(v.pv, (1.0f64 - 0.01).sqrt(), 1e-5);
        assert_eq!(v.av, 0.0);
        let flat = Study { values: vec![vec![vec![1.0, 1.0]; 2], vec![vec![2.0, 2.0]; 2]] };
        let (anova, v) = flat.anova().unwrap();
        assert!(anova.pooled);
        assert_eq!((v.grr, v.ndc), (0.0, None));
        // The same numbers with a sum that rounds.
        let flat = Study { values: [16.957, 15.123, 14.9571].map(|v| vec![vec![v; 3]; 2]).to_vec() };
        let (anova, v) = flat.anova().unwrap();
        assert!(anova.pooled);
        assert_eq!((v.interaction, v.ndc), (0.0, None));
        assert!(Study { values: vec![vec![vec![1.0, 1.0]]] }.anova().is_none());
    }

    /// The table's first row is the second moment of the range of normal values.
    #[test]
    fn d2_star_is_the_root_of_the_ranges_second_moment() {
        // Published d2 and d3 (ASTM MNL 7, table 49).
        for (m, d2, d3) in [(2, 1.128, 0.8525), (4, 2.059, 0.8798), (5, 2.326, 0.8641), (10, 3.078, 0.7971)] {
            near(D2_STAR[m - 2], f64::hypot(d2, d3), 1e-3);
            near(D2[m - 2], d2, 1e-3);
        }
    }
}
