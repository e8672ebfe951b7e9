//! The figures themselves: intervals, curves and bootstraps, on plain numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::round_to;

/// 97.5 % quantile of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// A count of a total with its share and the share's interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// `count / of`; null where `of` is 0.
    pub rate: Option<f64>,
    /// Wilson 95 % interval of the rate; null where `of` is 0.
    pub ci95: Option<[f64; 2]>,
}

impl Rate {
    /// A count of a total.
    pub fn new(count: u64, of: u64) -> Self {
        let ci95 = wilson(count, of).map(|(a, b)| [round_to(a, 4), round_to(b, 4)]);
        Rate { count, of, rate: (of > 0).then(|| round_to(count as f64 / of as f64, 4)), ci95 }
    }
}

/// A figure with its bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// 95 % interval from resampled pictures; null where fewer than two pictures count.
    pub ci95: Option<[f64; 2]>,
}

/// Wilson score interval, 95 %, of `count` of `of` (Wilson, J. Am. Stat. Assoc. 22, 1927, 209); none where
/// `of` is 0.
pub fn wilson(count: u64, of: u64) -> Option<(f64, f64)> {
    if of == 0 {
        return None;
    }
    let (n, p, z2) = (of as f64, count as f64 / of as f64, Z95 * Z95);
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At 0 and all the ends are exact; rounding must not push them out.
    let low = if count == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if count == of { 1.0 } else { (centre + half).min(1.0) };
    Some((low, high))
}

/// Pixels (or pictures) called defect and not, against the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Confusion {
    /// Defect and called so.
    pub tp: u64,
    /// Background called defect.
    pub fp: u64,
    /// Defect called background.
    pub r#fn: u64,
    /// Background and called so.
    pub tn: u64,
}

impl Confusion {
    /// Both together.
    pub fn plus(self, o: Self) -> Self {
        Confusion { tp: self.tp + o.tp, fp: self.fp + o.fp, r#fn: self.r#fn + o.r#fn, tn: self.tn + o.tn }
    }

    /// Intersection over union of defect; none where neither side has any.
    pub fn iou(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp + self.r#fn)
    }

    /// Intersection over union of background.
    pub fn iou_background(self) -> Option<f64> {
        ratio(self.tn, self.tn + self.fp + self.r#fn)
    }

    /// F1 = 2 tp / (2 tp + fp + fn).
    pub fn f1(self) -> Option<f64> {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.r#fn)
    }

    /// tp / (tp + fp).
    pub fn precision(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fp)
    }

    /// tp / (tp + fn).
    pub fn recall(self) -> Option<f64> {
        ratio(self.tp, self.tp + self.r#fn)
    }
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

/// Number of bins of a [`Histogram`].
pub const BINS: usize = 4096;
/// Scores are binned by their logit within plus and minus this, so that the crowded ends keep their order.
const LOGIT_RANGE: f32 = 16.0;

/// The bin of a probability: even steps of its logit, 1/128 each.
#[inline]
pub fn bin_of(p: f32) -> usize {
    let logit = (p / (1.0 - p)).ln();
    if logit.is_nan() {
        return 0;
    }
    let t = (logit + LOGIT_RANGE) / (2.0 * LOGIT_RANGE) * BINS as f32;
    (t.max(0.0) as usize).min(BINS - 1)
}

/// The lower end of a bin as a probability.
pub fn bin_start(bin: usize) -> f64 {
    let logit = f64::from(LOGIT_RANGE) * (2.0 * bin as f64 / BINS as f64 - 1.0);
    1.0 / (1.0 + (-logit).exp())
}

/// Scores of defect and background, counted in [`BINS`] bins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Defect.
    pub positive: Vec<u64>,
    /// Background.
    pub negative: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { positive: vec![0; BINS], negative: vec![0; BINS] }
    }
}

impl Histogram {
    /// Area under the receiver operating characteristic: the chance that a defect scores higher than a
    /// background, ties counting half. None where a side is empty.
    pub fn auroc(&self) -> Option<f64> {
        let (mut below, mut wins) = (0u128, 0u128);
        for (p, n) in self.positive.iter().zip(&self.negative) {
            let (p, n) = (u128::from(*p), u128::from(*n));
            wins += p * (2 * below + n);
            below += n;
        }
        let pairs = 2 * below * self.positive.iter().map(|p| u128::from(*p)).sum::<u128>();
        (pairs > 0).then(|| wins as f64 / pairs as f64)
    }

    /// Average precision: the sum over falling thresholds of precision times the step in recall. None without
    /// a positive.
    pub fn average_precision(&self) -> Option<f64> {
        let all: u64 = self.positive.iter().sum();
        let (mut tp, mut fp, mut ap) = (0u64, 0u64, 0.0);
        for (p, n) in self.positive.iter().zip(&self.negative).rev() {
            tp += p;
            fp += n;
            if *p > 0 {
                ap += *p as f64 / all as f64 * (tp as f64 / (tp + fp) as f64);
            }
        }
        (all > 0).then_some(ap)
    }

    /// The threshold with the best F1, and that F1. None without a positive.
    pub fn best_f1(&self) -> Option<(f64, f64)> {
        let all: u64 = self.positive.iter().sum();
        let (mut tp, mut fp, mut best) = (0u64, 0u64, None::<(f64, f64)>);
        for bin in (0..BINS).rev() {
            tp += self.positive[bin];
            fp += self.negative[bin];
            let f1 = 2.0 * tp as f64 / (all + tp + fp) as f64;
            if all > 0 && best.is_none_or(|(_, f)| f1 > f) {
                best = Some((bin_start(bin), f1));
            }
        }
        best
    }
}

/// Area under the receiver operating characteristic of scores with their truth, by sorting, ties counting half.
/// None where a side is empty.
pub fn auroc(scores: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut i) = (0u64, 0u64, 0);
    while i < sorted.len() {
        let end = i + sorted[i..].iter().take_while(|s| s.0 == sorted[i].0).count();
        let p = sorted[i..end].iter().filter(|s| s.1).count() as u64;
        let n = (end - i) as u64 - p;
        wins += p * (2 * below + n);
        below += n;
        i = end;
    }
    let pairs = 2 * below * (sorted.len() as u64 - below);
    (pairs > 0).then(|| wins as f64 / pairs as f64)
}

/// The same of scores drawn so many times each.
pub fn auroc_drawn(scores: &[(f64, bool)], times: &[u32]) -> Option<f64> {
    let drawn = scores.iter().zip(times).flat_map(|(s, n)| std::iter::repeat_n(*s, *n as usize));
    auroc(&drawn.collect::<Vec<_>>())
}

/// Average precision of scores with their truth, by sorting; equal scores enter together.
pub fn average_precision(scores: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = sorted.iter().filter(|s| s.1).count();
    let (mut tp, mut seen, mut ap) = (0usize, 0usize, 0.0);
    while seen < sorted.len() {
        let group = sorted[seen..].iter().take_while(|s| s.0 == sorted[seen].0).count();
        let p = sorted[seen..seen + group].iter().filter(|s| s.1).count();
        tp += p;
        seen += group;
        ap += p as f64 / all.max(1) as f64 * (tp as f64 / seen as f64);
    }
    (all > 0).then_some(ap)
}

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 1000;

/// How often each of `n` pictures is drawn in resample `k`: the same on every machine (SplitMix64, Steele,
/// Lea and Flood, OOPSLA 2014).
pub fn draw(n: usize, k: usize) -> Vec<u32> {
    let mut state = 0x6c6f_7570_6500_0000_u64 ^ (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut times = vec![0u32; n];
    for _ in 0..n {
        // The high half of a product is uniform enough for n far below 2^32.
        times[((u128::from(next()) * n as u128) >> 64) as usize] += 1;
    }
    times
}

/// The 2.5 % and 97.5 % points of a figure over resampled pictures. `figure` gets how often each picture was
/// drawn; resamples that leave it undefined are left out. None where fewer than two pictures or half the
/// resamples count.
pub fn bootstrap(n: usize, figure: impl Fn(&[u32]) -> Option<f64> + Sync) -> Option<[f64; 2]> {
    use rayon::prelude::*;
    if n < 2 {
        return None;
    }
    let mut values: Vec<f64> = (0..RESAMPLES)
        .into_par_iter()
        .map(|k| figure(&draw(n, k)))
        .collect::<Vec<_>>()
        .into_iter()
        .flatten()
        .collect();
    if values.len() < RESAMPLES / 2 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |q: f64| round_to(values[((values.len() - 1) as f64 * q).round() as usize], 4);
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-4, "{a} is not {b}");
    }

    #[test]
    fn wilson_of_known_values() {
        // Newcombe, Stat. Med. 17, 1998, 857, table I, method 3: 81/263, 15/148, 0/20, 1/29.
        for (x, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (20, 20, 0.8389, 1.0),
        ] {
            let (a, b) = wilson(x, n).unwrap();
            assert!((a - low).abs() < 6e-5 && (b - high).abs() < 6e-5, "{x}/{n}: {a} {b}");
        }
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn auroc_by_hand() {
        // Defects 0.8, 0.4; good 0.6, 0.4: pairs won 1 + 1 + 0 + half = 2.5 of 4.
        let s = [(0.8, true), (0.4, true), (0.6, false), (0.4, false)];
        near(auroc(&s).unwrap(), 0.625);
        let mut h = Histogram::default();
        for (p, truth) in s {
            let side = if truth { &mut h.positive } else { &mut h.negative };
            side[bin_of(p as f32)] += 1;
        }
        near(h.auroc().unwrap(), 0.625);
        assert_eq!(auroc(&[(0.3, true)]), None);
    }

    #[test]
    fn average_precision_by_hand() {
        // Ranks: defect (1/1), good, defect (2/3), good: (1 + 2/3) / 2.
        let s = [(0.9, true), (0.8, false), (0.7, true), (0.1, false)];
        near(average_precision(&s).unwrap(), 0.83333);
        let mut h = Histogram::default();
        for (p, truth) in s {
            let side = if truth { &mut h.positive } else { &mut h.negative };
            side[bin_of(p as f32)] += 1;
        }
        near(h.average_precision().unwrap(), 0.83333);
        // Best F1: at 0.7, tp 2, fp 1: 4 / 5.
        let (t, f1) = h.best_f1().unwrap();
        near(f1, 0.8);
        assert!((t - 0.7).abs() < 0.01, "{t}");
    }

    #[test]
    fn overlap_by_hand() {
        let c = Confusion { tp: 6, fp: 2, r#fn: 4, tn: 88 };
        near(c.iou().unwrap(), 0.5);
        near(c.f1().unwrap(), 12.0 / 18.0);
        near(c.precision().unwrap(), 0.75);
        near(c.recall().unwrap(), 0.6);
        near(c.iou_background().unwrap(), 88.0 / 94.0);
        assert_eq!(Confusion::default().iou(), None);
    }

    #[test]
    fn bins_keep_the_order_and_the_ends() {
        let ps = [0.0f32, 1e-6, 1e-3, 0.1, 0.4999, 0.51, 0.9, 0.999, 0.999_999, 1.0];
        let bins: Vec<_> = ps.iter().map(|p| bin_of(*p)).collect();
        assert!(bins.windows(2).all(|w| w[0] < w[1]), "{bins:?}");
        near(bin_start(bin_of(0.5)), 0.5);
        assert_eq!(bin_of(f32::NAN), 0);
    }

    #[test]
    fn bootstrap_is_the_same_each_time_and_holds_the_value() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let mean = |w: &[u32]| {
            Some(w.iter().zip(&values).map(|(w, v)| f64::from(*w) * v).sum::<f64>() / values.len() as f64)
        };
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let a = one.install(|| bootstrap(50, mean)).unwrap();
        let b = bootstrap(50, mean).unwrap();
        assert_eq!(a, b);
        let m = mean(&[1; 50]).unwrap();
        assert!(a[0] < m && m < a[1]);
        // The standard error of the mean is 2 / sqrt(50) = 0.28; two of it either way.
        assert!((a[1] - a[0] - 1.1).abs() < 0.2, "{a:?}");
    }
}
