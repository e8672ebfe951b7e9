//! From outcomes to figures.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{MarkOutcome, Outcome, Pixels};
use super::stats::{self, bootstrap, Confusion, Estimate, Histogram, Rate, BINS};
use super::*;
use crate::judge::K;
use crate::report::{round_to, FindingType, Status};

pub(super) fn report(
    set: &Set,
    options: &Options,
    threshold: Option<f32>,
    outcomes: &[Outcome],
    errors: Vec<ErrorRow>,
) -> EvalReport {
    let count = |f: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| f(o)).count() as u64;
    let (bad, good) = (count(&|o| o.defective == Some(true)), count(&|o| o.defective == Some(false)));
    let names = |defective: bool, verdict: Verdict| -> Vec<String> {
        let of = outcomes.iter().filter(|o| o.defective == Some(defective) && o.verdict == verdict);
        of.map(|o| set.samples[o.index].name.clone()).collect()
    };
    let escapes = names(true, Verdict::Pass);
    let defective_reviewed = names(true, Verdict::Review);
    let overkill = names(false, Verdict::Fail);
    let good_reviewed = names(false, Verdict::Review);
    let models: BTreeSet<(String, String)> = outcomes.iter().flat_map(|o| o.models.clone()).collect();
    EvalReport {
        schema: EVAL_SCHEMA.into(),
        program: crate::PROGRAM.into(),
        models: models.into_iter().map(|(name, sha256)| ModelRow { name, sha256 }).collect(),
        threshold: threshold.map(|t| round_to(f64::from(t), 6)),
        set: SetRow {
            name: options.set_name.clone(),
            kind: set.kind,
            split: options.split,
            protocol: set.protocol,
            samples: outcomes.len() as u64,
            defective: bad,
            good,
            undecided: outcomes.len() as u64 - bad - good,
            errors: errors.len() as u64,
        },
        verdicts: Verdicts {
            escapes: Rate::new(escapes.len() as u64, bad),
            defective_reviewed: Rate::new(defective_reviewed.len() as u64, bad),
            overkill: Rate::new(overkill.len() as u64, good),
            good_reviewed: Rate::new(good_reviewed.len() as u64, good),
        },
        classes: classes(set, outcomes),
        types: types(outcomes, good),
        false_findings: false_findings(outcomes, good),
        polygons: polygons(outcomes),
        pose: pose(set, outcomes),
        stones: distances(outcomes.iter().flat_map(|o| o.stones_um.iter().copied())),
        parts: parts(outcomes),
        plain_faults: plain_faults(outcomes),
        marks: marks(outcomes),
        sizes: sizes(outcomes),
        pits_by_size: pits_by_size(outcomes),
        images: images(outcomes, threshold, options.taught),
        pixels: pixels(outcomes),
        pixels_of_findings: overlap(outcomes, |p| Some(p.findings)),
        escapes,
        defective_reviewed,
        overkill,
        good_reviewed,
        unmarked: outcomes.iter().filter(|o| o.unmarked).map(|o| set.samples[o.index].name.clone()).collect(),
        errors,
        samples: outcomes.iter().map(|o| sample_row(set, o)).collect(),
    }
}

/// A picture's IoU, where its mask holds a defect: of the model's map, without one of the findings.
pub(super) fn own_iou(o: &Outcome) -> Option<f64> {
    let c = o.pixels.as_ref().map(|p| p.model.unwrap_or(p.findings))?;
    (c.tp + c.r#fn > 0).then(|| c.iou()).flatten()
}

fn sample_row(set: &Set, o: &Outcome) -> SampleRow {
    let sample = &set.samples[o.index];
    SampleRow {
        name: sample.name.clone(),
        class: sample.class.clone(),
        defective: o.defective,
        verdict: o.verdict,
        findings: o.findings.iter().filter(|f| f.counts).count() as u64,
        score: o.score.map(|s| round_to(s, 6)),
        iou: own_iou(o).map(|v| round_to(v, 4)),
    }
}

fn classes(set: &Set, outcomes: &[Outcome]) -> BTreeMap<String, ClassRow> {
    let mut out: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for o in outcomes {
        out.entry(set.samples[o.index].class.clone()).or_default().push(o);
    }
    out.into_iter()
        .map(|(class, of)| {
            let count = |f: &dyn Fn(&Outcome) -> bool| of.iter().filter(|o| f(o)).count() as u64;
            let ious: Vec<f64> = of.iter().filter_map(|o| own_iou(o)).collect();
            let row = ClassRow {
                samples: of.len() as u64,
                defective: count(&|o| o.defective == Some(true)),
                pass: count(&|o| o.verdict == Verdict::Pass),
                review: count(&|o| o.verdict == Verdict::Review),
                fail: count(&|o| o.verdict == Verdict::Fail),
                mean_iou: mean(&ious).map(|v| round_to(v, 4)),
            };
            (class, row)
        })
        .collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn per(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| round_to(count as f64 / of as f64, 4))
}

fn types(outcomes: &[Outcome], good: u64) -> BTreeMap<String, TypeRow> {
    let mut words: BTreeSet<String> =
        outcomes.iter().flat_map(|o| o.defects.iter().map(|d| d.word.clone())).collect();
    words.extend(outcomes.iter().flat_map(|o| o.findings.iter().map(|f| f.finding.kind.as_str().to_owned())));
    // Where a mask alone says where a defect is, no single finding can be called false on a defective picture.
    let placed = outcomes.iter().any(|o| !o.defects.is_empty());
    words
        .into_iter()
        .map(|word| {
            let defects: Vec<_> = outcomes.iter().flat_map(|o| &o.defects).filter(|d| d.word == word).collect();
            let there = defects.len() as u64;
            let n = |f: &dyn Fn(&super::run::DefectRow) -> bool| defects.iter().filter(|d| f(d)).count() as u64;
            let on = |defective: bool, f: &dyn Fn(&super::run::FindingRow) -> bool| {
                let of = outcomes.iter().filter(|o| o.defective == Some(defective)).flat_map(|o| &o.findings);
                of.filter(|r| r.finding.kind.as_str() == word && !r.on_truth && f(r)).count() as u64
            };
            let false_on_good = on(false, &|r| r.counts);
            let row = TypeRow {
                there,
                found: Rate::new(n(&|d| d.found), there),
                reported: Rate::new(n(&|d| d.reported), there),
                named: FindingType::parse(&word).map(|_| Rate::new(n(&|d| d.named == Some(true)), there)),
                due: n(&|d| d.due),
                due_missed: n(&|d| d.due && !d.reported),
                false_on_good,
                false_per_good: per(false_on_good, good),
                all_on_good: on(false, &|_| true),
                false_on_defective: placed.then(|| on(true, &|r| r.counts)),
            };
            (word, row)
        })
        .collect()
}

fn false_findings(outcomes: &[Outcome], good: u64) -> FalseFindings {
    let of = || outcomes.iter().filter(|o| o.defective == Some(false)).flat_map(|o| &o.findings);
    let counting = of().filter(|r| r.counts && !r.on_truth).count() as u64;
    let all = of().filter(|r| !r.on_truth).count() as u64;
    FalseFindings { counting, per_good: per(counting, good), all, all_per_good: per(all, good) }
}

fn polygons(outcomes: &[Outcome]) -> Option<PolygonRow> {
    let all: Vec<_> = outcomes.iter().flat_map(|o| &o.defects).filter(|d| d.polygon).collect();
    let of = all.len() as u64;
    let hit = all.iter().filter(|d| d.reported && d.named != Some(false)).count() as u64;
    let any = all.iter().filter(|d| d.reported).count() as u64;
    (of > 0).then(|| PolygonRow { hit: Rate::new(hit, of), hit_by_any: Rate::new(any, of) })
}

fn rms(values: &[f64]) -> Option<f64> {
    mean(&values.iter().map(|v| v * v).collect::<Vec<_>>()).map(f64::sqrt)
}

fn largest(values: &[f64]) -> Option<f64> {
    values.iter().map(|v| v.abs()).max_by(f64::total_cmp)
}

fn distances(values: impl Iterator<Item = f64>) -> Option<ErrorFigures> {
    let values: Vec<f64> = values.collect();
    Some(ErrorFigures {
        n: values.len() as u64,
        rms_um: round_to(rms(&values)?, 2),
        max_um: round_to(largest(&values)?, 2),
    })
}

fn pose(set: &Set, outcomes: &[Outcome]) -> Option<PoseFigures> {
    if !outcomes.iter().any(|o| set.samples[o.index].truth.pose.is_some()) {
        return None;
    }
    let all: Vec<_> = outcomes.iter().flat_map(|o| &o.poses).collect();
    let rotations: Vec<f64> = all.iter().filter_map(|p| p.rotation_deg).collect();
    let shifts: Vec<f64> = all.iter().filter_map(|p| p.shift_um).collect();
    Some(PoseFigures {
        n: all.len() as u64,
        lost: outcomes.iter().map(|o| o.poses_lost).sum(),
        shifts: shifts.len() as u64,
        rotation_rms_deg: rms(&rotations).map(|v| round_to(v, 4)),
        rotation_max_deg: largest(&rotations).map(|v| round_to(v, 4)),
        shift_rms_um: rms(&shifts).map(|v| round_to(v, 2)),
        shift_max_um: largest(&shifts).map(|v| round_to(v, 2)),
    })
}

/// Heights of letters in pixels that marks are told apart by.
const MARK_PX: [u32; 4] = [0, 8, 16, 32];

fn marks(outcomes: &[Outcome]) -> Vec<MarkFigures> {
    let mut out = Vec::new();
    for (k, from_px) in MARK_PX.into_iter().enumerate() {
        let to_px = MARK_PX.get(k + 1).copied();
        let of = |m: &&MarkOutcome| m.height_px >= from_px && to_px.is_none_or(|t| m.height_px < t);
        let here: Vec<&MarkOutcome> = outcomes.iter().flat_map(|o| &o.marks).filter(of).collect();
        if here.is_empty() {
            continue;
        }
        let count = |f: &dyn Fn(&MarkOutcome) -> bool| here.iter().filter(|m| f(m)).count() as u64;
        let (right, wrong) = (count(&|m| m.right), count(&|m| !m.right));
        let share = |right_one: bool, status: Status, of: u64| {
            Rate::new(count(&|m| m.right == right_one && m.status == status), of)
        };
        out.push(MarkFigures {
            from_px,
            to_px,
            read: Rate::new(count(&|m| m.read), here.len() as u64),
            right_passed: share(true, Status::Pass, right),
            right_reviewed: share(true, Status::Review, right),
            right_failed: share(true, Status::Fail, right),
            wrong_failed: share(false, Status::Fail, wrong),
            wrong_reviewed: share(false, Status::Review, wrong),
            wrong_accepted: share(false, Status::Pass, wrong),
        });
    }
    out
}

fn parts(outcomes: &[Outcome]) -> Option<PartFigures> {
    let sum = |f: fn(&Outcome) -> u64| outcomes.iter().map(f).sum::<u64>();
    let good = sum(|o| o.good_stones.0);
    (good > 0).then(|| PartFigures {
        good_stones: good,
        failed: Rate::new(sum(|o| o.good_stones.1), good),
        reviewed: Rate::new(sum(|o| o.good_stones.2), good),
    })
}

fn plain_faults(outcomes: &[Outcome]) -> BTreeMap<String, FaultRow> {
    let mut all: BTreeMap<String, Vec<Status>> = BTreeMap::new();
    for (name, status) in outcomes.iter().flat_map(|o| &o.faults) {
        all.entry((*name).to_owned()).or_default().push(*status);
    }
    let row = |of: Vec<Status>| {
        let count = |least: Status| of.iter().filter(|s| **s >= least).count() as u64;
        let n = of.len() as u64;
        FaultRow { found: Rate::new(count(Status::Review), n), failed: Rate::new(count(Status::Fail), n) }
    };
    all.into_iter().map(|(name, of)| (name, row(of))).collect()
}

fn sizes(outcomes: &[Outcome]) -> BTreeMap<String, SizeFigures> {
    let mut pairs: BTreeMap<String, Vec<(f64, f64, f64)>> = BTreeMap::new();
    for (characteristic, truth, value, u) in outcomes.iter().flat_map(|o| &o.sizes) {
        pairs.entry((*characteristic).to_owned()).or_default().push((*truth, *value, *u));
    }
    let figures = |pairs: Vec<(f64, f64, f64)>| {
        let errors: Vec<f64> = pairs.iter().map(|(t, v, _)| v - t).collect();
        let truths: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        Some(SizeFigures {
            n: pairs.len() as u64,
            bias: round_to(mean(&errors)?, 5),
            rms: round_to(rms(&errors)?, 5),
            p95: {
                let mut sizes: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
                sizes.sort_by(f64::total_cmp);
                // The least that 95 % do not exceed: of fewer than twenty the largest.
                round_to(sizes[(0.95 * sizes.len() as f64).ceil() as usize - 1], 5)
            },
            max: round_to(largest(&errors)?, 5),
            mean_true: round_to(mean(&truths)?, 5),
            mean_u: Some(round_to(mean(&pairs.iter().map(|p| p.2).collect::<Vec<_>>())?, 5)),
            covered: {
                // Half a step of a report's four decimals more: the row is rounded, and so is the truth.
                let inside = |(t, v, u): &&(f64, f64, f64)| (v - t).abs() <= K * u + 5e-5;
                Some(Rate::new(pairs.iter().filter(inside).count() as u64, pairs.len() as u64))
            },
        })
    };
    pairs.into_iter().filter_map(|(c, p)| Some((c, figures(p)?))).collect()
}

/// Borders of the pits' classes in um.
const PIT_UM: [u64; 8] = [0, 30, 40, 50, 60, 80, 100, 150];

fn pits_by_size(outcomes: &[Outcome]) -> Vec<PitRow> {
    let pits: Vec<(f64, bool)> =
        outcomes.iter().flat_map(|o| &o.defects).filter_map(|d| Some((1000.0 * d.pit_mm?, d.found))).collect();
    let ends = PIT_UM.iter().skip(1).map(|v| Some(*v)).chain([None]);
    PIT_UM
        .iter()
        .zip(ends)
        .filter_map(|(from, to)| {
            let of: Vec<bool> = pits
                .iter()
                .filter(|p| p.0 >= *from as f64 && to.is_none_or(|t| p.0 < t as f64))
                .map(|p| p.1)
                .collect();
            let found = of.iter().filter(|f| **f).count() as u64;
            (!of.is_empty()).then(|| PitRow { from_um: *from, to_um: to, found: Rate::new(found, of.len() as u64) })
        })
        .collect()
}

/// What pictures are ranked by, where a taught file says it.
pub(super) const OF_TAUGHT: &str = "score of the taught file (called from 1)";

fn images(outcomes: &[Outcome], threshold: Option<f32>, taught: bool) -> Option<ImageFigures> {
    let scores: Vec<(f64, bool)> = outcomes.iter().filter_map(|o| Some((o.score?, o.defective?))).collect();
    if scores.is_empty() {
        return None;
    }
    // A taught file's score is called from 1.
    let called = if taught { Some(1.0) } else { threshold.map(f64::from) };
    let f1 = called.and_then(|t| {
        let n = |f: &dyn Fn(&(f64, bool)) -> bool| scores.iter().filter(|s| f(s)).count() as f64;
        let (hits, called, bad) = (n(&|s| s.1 && s.0 >= t), n(&|s| s.0 >= t), n(&|s| s.1));
        (called + bad > 0.0).then(|| 2.0 * hits / (called + bad))
    });
    let score = match threshold {
        _ if taught => OF_TAUGHT,
        Some(_) => "largest 3 x 3 mean of the model's defect probability",
        None => "largest confidence of a surface finding",
    };
    Some(ImageFigures {
        score: score.into(),
        auroc: stats::auroc(&scores).map(|v| Estimate {
            value: round_to(v, 5),
            ci95: bootstrap(scores.len(), |times| stats::auroc_drawn(&scores, times)),
        }),
        average_precision: stats::average_precision(&scores).map(|v| round_to(v, 5)),
        f1: f1.map(|v| round_to(v, 5)),
    })
}

fn overlap(outcomes: &[Outcome], of: impl Fn(&Pixels) -> Option<Confusion>) -> Option<OverlapFigures> {
    let rows: Vec<Confusion> = outcomes.iter().filter_map(|o| o.pixels.as_ref()).filter_map(of).collect();
    if rows.is_empty() {
        return None;
    }
    let all = rows.iter().fold(Confusion::default(), |a, b| a.plus(*b));
    let drawn = |times: &[u32]| {
        rows.iter().zip(times).fold(Confusion::default(), |a, (c, n)| {
            let n = u64::from(*n);
            a.plus(Confusion { tp: n * c.tp, fp: n * c.fp, r#fn: n * c.r#fn, tn: n * c.tn })
        })
    };
    let estimate = |figure: fn(Confusion) -> Option<f64>| {
        let ci95 = bootstrap(rows.len(), |times| figure(drawn(times)));
        figure(all).map(|v| Estimate { value: round_to(v, 5), ci95 })
    };
    let ious: Vec<f64> = rows.iter().filter(|c| c.tp + c.r#fn > 0).filter_map(|c| c.iou()).collect();
    let round = |v: Option<f64>| v.map(|v| round_to(v, 5));
    Some(OverlapFigures {
        images: rows.len() as u64,
        counts: all,
        iou: estimate(Confusion::iou),
        f1: estimate(Confusion::f1),
        precision: round(all.precision()),
        recall: round(all.recall()),
        mean_iou_defective: round(mean(&ious)),
        mean_iou_classes: round(all.iou().zip(all.iou_background()).map(|(a, b)| (a + b) / 2.0)),
    })
}

fn pixels(outcomes: &[Outcome]) -> Option<PixelFigures> {
    let at_threshold = overlap(outcomes, |p| p.model)?;
    let maps: Vec<_> = outcomes.iter().filter_map(|o| o.pixels.as_ref()?.scores.as_ref()).collect();
    let mut sum = Histogram::default();
    for m in &maps {
        m.add_to(&mut sum, 1);
    }
    let ci95 = auroc_interval(&maps);
    let best = sum.best_f1();
    Some(PixelFigures {
        at_threshold,
        auroc: sum.auroc().map(|v| Estimate { value: round_to(v, 5), ci95 }),
        pro: pro(&maps),
        average_precision: sum.average_precision().map(|v| round_to(v, 5)),
        best_f1: best.map(|b| round_to(b.1, 5)),
        best_f1_threshold: best.map(|b| round_to(b.0, 5)),
    })
}

/// The bootstrap of the pixels' AUROC. The empty bins are left out first: a thousand sums over a thousand
/// pictures are mostly zeros.
fn auroc_interval(maps: &[&super::run::SmallHistogram]) -> Option<[f64; 2]> {
    let sparse: Vec<Vec<(u16, u32, u32)>> = maps
        .iter()
        .map(|m| {
            (0..BINS)
                .filter(|b| m.positive[*b] + m.negative[*b] > 0)
                .map(|b| (b as u16, m.positive[b], m.negative[b]))
                .collect()
        })
        .collect();
    bootstrap(maps.len(), |times| {
        let mut sum = Histogram::default();
        for (rows, n) in sparse.iter().zip(times).filter(|(_, n)| **n > 0) {
            for (bin, p, q) in rows {
                sum.positive[*bin as usize] += u64::from(*n) * u64::from(*p);
                sum.negative[*bin as usize] += u64::from(*n) * u64::from(*q);
            }
        }
        sum.auroc()
    })
}

/// Per-region overlap over the share of sound pixels called, up to 30 %; none without a region.
fn pro(maps: &[&super::run::SmallHistogram]) -> Option<Estimate> {
    const MOST: f64 = 0.3;
    let figure = |times: &dyn Fn(usize) -> f64| -> Option<f64> {
        let (mut negative, mut shares, mut regions) = (vec![0.0f64; BINS], vec![0.0f64; BINS], 0.0);
        for (k, m) in maps.iter().enumerate() {
            let n = times(k);
            if n == 0.0 {
                continue;
            }
            for (sum, v) in negative.iter_mut().zip(&m.negative) {
                *sum += n * f64::from(*v);
            }
            for (bin, share) in &m.regions {
                shares[*bin as usize] += n * f64::from(*share);
            }
            regions += n * f64::from(m.count);
        }
        let sound: f64 = negative.iter().sum();
        if regions == 0.0 || sound == 0.0 {
            return None;
        }
        let (mut rate, mut overlap, mut area) = (0.0, 0.0, 0.0);
        for bin in (0..BINS).rev() {
            let (next_rate, next) = (rate + negative[bin] / sound, overlap + shares[bin] / regions);
            let step = (next_rate.min(MOST) - rate).max(0.0);
            let part = if next_rate > rate { step / (next_rate - rate) } else { 0.0 };
            area += step * (overlap + 0.5 * part * (next - overlap));
            (rate, overlap) = (next_rate, next);
            if rate >= MOST {
                break;
            }
        }
        // Beyond the last score everything is called.
        area += (MOST - rate).max(0.0);
        Some(area / MOST)
    };
    let value = figure(&|_| 1.0)?;
    let ci95 = bootstrap(maps.len(), |times| figure(&|k| f64::from(times[k])));
    Some(Estimate { value: round_to(value, 5), ci95 })
}
