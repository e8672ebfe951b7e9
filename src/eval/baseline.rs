//! An evaluation held against an earlier one of the same samples: what stops a change.

use std::collections::{BTreeMap, BTreeSet};

use statrs::distribution::{Binomial, DiscreteCDF};

use super::stats::{auroc, auroc_drawn, bootstrap};
use super::{EvalReport, SampleRow, SetRow};
use crate::report::Verdict;

/// Least probability that as many samples or more would be left to a person by chance alone, one decided for every one left: from here on
/// it is no change for the worse.
const BY_CHANCE: f64 = 0.05;

impl EvalReport {
    /// What is worse than in an earlier evaluation of the same set, one line each, empty where nothing is: an escape or a good sample failed that
    /// was none before (unless they have become fewer); more good stones failed, wrong marks accepted or right ones failed; surely more defects over their limits missed, and more samples left to a person than
    /// decided in exchange (sign test); an AUROC or an IoU that fell (the 95 % interval of the difference, by
    /// resampling the samples, lies below 0), an AUROC of the pixels or a PRO whose whole interval lies below the earlier one's.
    ///
    /// # Errors
    /// Where the two are not of the same samples.
    pub fn worse_than(&self, baseline: &EvalReport) -> Result<Vec<String>, String> {
        comparable(self, baseline)?;
        let mut out = Vec::new();
        for (what, now, then, names, before) in [
            ("escapes", &self.verdicts.escapes, &baseline.verdicts.escapes, &self.escapes, &baseline.escapes),
            ("overkill", &self.verdicts.overkill, &baseline.verdicts.overkill, &self.overkill, &baseline.overkill),
        ] {
            let new: Vec<&str> = names.iter().filter(|n| !before.contains(n)).map(String::as_str).collect();
            if now.count >= then.count && !new.is_empty() {
                out.push(format!("{what}: {} instead of {} (new: {})", now.count, then.count, new.join(", ")));
            }
        }
        let counts = |r: &EvalReport| {
            [
                ("good stones failed", r.parts.as_ref().map(|p| p.failed.count)),
                ("wrong marks accepted", Some(r.marks.iter().map(|m| m.wrong_accepted.count).sum())),
                ("right marks failed", Some(r.marks.iter().map(|m| m.right_failed.count).sum())),
            ]
        };
        for ((what, now), (_, then)) in counts(self).into_iter().zip(counts(baseline)) {
            if let (Some(now), Some(then)) = (now, then) {
                if now > then {
                    out.push(format!("{what}: {now} instead of {then}"));
                }
            }
        }
        // One defect more or less of many lies on a limit's edge; of two counts, the share of one in their sum says whether it has grown.
        let missed = |r: &EvalReport| r.types.values().map(|t| t.due_missed).sum::<u64>();
        let (now, then) = (missed(self), missed(baseline));
        if now > then && at_least(now as usize, (now + then) as usize) < BY_CHANCE {
            out.push(format!("defects over their limits that nothing counts: {now} instead of {then}"));
        }
        let pairs = paired(self, baseline);
        let right = |s: &SampleRow| match s.defective {
            Some(true) => s.verdict == Verdict::Fail,
            Some(false) => s.verdict == Verdict::Pass,
            None => false,
        };
        let of = |from: usize, to: usize| -> Vec<&str> {
            let moved = |p: &&[&SampleRow; 2]| right(p[from]) && p[to].verdict == Verdict::Review;
            pairs.iter().filter(moved).map(|p| p[0].name.as_str()).collect()
        };
        let (lost, won) = (of(1, 0), of(0, 1));
        if lost.len() > won.len() && at_least(lost.len(), lost.len() + won.len()) < BY_CHANCE {
            out.push(format!(
                "left to a person: {} that were decided right, for {} the other way round (the first: {})",
                lost.len(),
                won.len(),
                lost.iter().take(5).copied().collect::<Vec<_>>().join(", ")
            ));
        }
        out.extend(ranked_worse(&pairs));
        out.extend(overlaps_less(&pairs));
        let pixels = |r: &EvalReport| r.pixels.as_ref().map(|p| [p.auroc, p.pro]);
        for (now, then) in pixels(self).into_iter().zip(pixels(baseline)) {
            for ((what, now), then) in ["AUROC of the pixels", "PRO"].into_iter().zip(now).zip(then) {
                let (Some(now), Some(then)) = (now, then) else { continue };
                if now.ci95.zip(then.ci95).is_some_and(|(now, then)| now[1] < then[0]) {
                    out.push(format!("{what}: {:.4} instead of {:.4}", now.value, then.value));
                }
            }
        }
        Ok(out)
    }
}

/// Every sample of both, as it is now and as it was.
fn paired<'a>(now: &'a EvalReport, then: &'a EvalReport) -> Vec<[&'a SampleRow; 2]> {
    let before: BTreeMap<&str, &SampleRow> = then.samples.iter().map(|s| (s.name.as_str(), s)).collect();
    now.samples.iter().filter_map(|s| Some([s, *before.get(s.name.as_str())?])).collect()
}

/// Whether pictures are ranked worse than before.
fn ranked_worse(pairs: &[[&SampleRow; 2]]) -> Option<String> {
    let rows = pairs.iter().filter_map(|[a, b]| Some((a.score?, b.score?, a.defective?)));
    let (ours, theirs): (Vec<_>, Vec<_>) = rows.map(|(a, b, bad)| ((a, bad), (b, bad))).unzip();
    let (now, then) = (auroc(&ours)?, auroc(&theirs)?);
    if now >= then {
        return None;
    }
    let [_, high] = bootstrap(ours.len(), |times| Some(auroc_drawn(&ours, times)? - auroc_drawn(&theirs, times)?))?;
    (high < 0.0).then(|| format!("AUROC of the pictures: {now:.4} instead of {then:.4}"))
}

/// Whether the defects' pixels are called less well than before, picture by picture.
fn overlaps_less(pairs: &[[&SampleRow; 2]]) -> Option<String> {
    let rows: Vec<[f64; 2]> = pairs.iter().filter_map(|[a, b]| Some([a.iou?, b.iou?])).collect();
    let mean = |times: &[u32], k: usize| {
        let drawn = || times.iter().zip(&rows);
        let n: u32 = times.iter().sum();
        drawn().map(|(t, r)| f64::from(*t) * r[k]).sum::<f64>() / f64::from(n.max(1))
    };
    let once = vec![1; rows.len()];
    let (now, then) = (mean(&once, 0), mean(&once, 1));
    if now >= then {
        return None;
    }
    let [_, high] = bootstrap(rows.len(), |times| Some(mean(times, 0) - mean(times, 1)))?;
    (high < 0.0).then(|| format!("IoU of the defective pictures, mean: {now:.4} instead of {then:.4}"))
}

/// Probability of `k` heads or more in `n` throws of a fair coin.
fn at_least(k: usize, n: usize) -> f64 {
    match (k as u64).checked_sub(1) {
        Some(below) => Binomial::new(0.5, n as u64).map_or(1.0, |coin| coin.sf(below)),
        None => 1.0,
    }
}

/// Refuses what cannot be compared.
fn comparable(now: &EvalReport, then: &EvalReport) -> Result<(), String> {
    let (a, b) = (&now.set, &then.set);
    if (a.defective, a.good) != (b.defective, b.good) {
        return Err(format!(
            "the baseline is of {} defective and {} good samples, this set has {} and {}",
            b.defective, b.good, a.defective, a.good
        ));
    }
    // As many of each kind do not make it the same set.
    let names = |r: &EvalReport| -> BTreeSet<String> {
        r.samples.iter().map(|s| &s.name).chain(r.errors.iter().map(|e| &e.name)).cloned().collect()
    };
    let (own, other) = (names(now), names(then));
    if let Some(stranger) = own.symmetric_difference(&other).next() {
        let n = own.symmetric_difference(&other).count();
        let whose = if own.contains(stranger) { "this set" } else { "the baseline" };
        return Err(format!(
            "the baseline is of other samples: {n} are in one of the two only, `{stranger}` in {whose}"
        ));
    }
    if (a.kind, a.protocol) != (b.kind, b.protocol) {
        let of = |s: &SetRow| match s.protocol {
            Some(protocol) => format!("{} {}", s.kind.as_str(), protocol.as_str()),
            None => s.kind.as_str().to_owned(),
        };
        return Err(format!("the baseline is of the layout {}, this set of {}", of(b), of(a)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_coin() {
        assert!((at_least(5, 5) - 1.0 / 32.0).abs() < 1e-12);
        assert!((at_least(0, 7) - 1.0).abs() < 1e-12);
        assert!((at_least(8, 10) - 56.0 / 1024.0).abs() < 1e-12);
        assert!(at_least(60, 200) > 0.99 && at_least(140, 200) < 1e-6);
        // As many throws as an archive has pieces.
        assert!(at_least(10_010, 20_000) > 0.4 && at_least(10_400, 20_000) < 1e-6);
    }

    #[test]
    fn a_ranking_that_fell_is_worse_and_one_that_is_shuffled_is_not() {
        let rows = |wrong: usize| -> Vec<SampleRow> {
            (0..80)
                .map(|i| SampleRow {
                    name: format!("{i}"),
                    class: String::new(),
                    defective: Some(i % 2 == 0),
                    verdict: Verdict::Review,
                    findings: 0,
                    score: Some(if (i % 2 == 0) != (i < wrong) { 1.0 } else { 0.0 } + i as f64 * 1e-3),
                    iou: None,
                })
                .collect()
        };
        let (good, worse) = (rows(0), rows(30));
        let pairs = |a: &[SampleRow], b: &[SampleRow]| {
            let said = ranked_worse(&a.iter().zip(b).map(|(x, y)| [x, y]).collect::<Vec<_>>());
            said.is_some()
        };
        assert!(pairs(&worse, &good) && !pairs(&good, &worse) && !pairs(&rows(2), &rows(1)));
    }
}
