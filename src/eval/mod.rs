//! Measures the inspection against labelled sets: who escaped, who was rejected for nothing, what was found and
//! named, how exact the measures are, and how well the pixels agree; each share with its interval.

mod baseline;
mod figures;
mod geometry;
mod run;
mod sheet;
mod stats;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::{Kind, Protocol, Set, Split};
use crate::json::Marked;
use crate::pipeline::{Inspected, Job};
use crate::report::{ModelRow, Verdict};
use crate::spec::Spec;

pub use run::bare_spec;
pub use stats::{auroc, average_precision, bootstrap, wilson, Confusion, Estimate, Histogram, Rate};

/// The `schema` value of an evaluation.
pub const EVAL_SCHEMA: &str = "loupe.eval/1";

/// How samples become jobs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the set is called in the figures.
    pub set_name: String,
    /// The part that was read.
    pub split: Option<Split>,
    /// The spec of bare pictures with its sha256; none for [`bare_spec`].
    pub spec: Option<(Spec, String)>,
    /// Folder in which a piece's `spec` is looked up as a SKU.
    pub specs: Option<PathBuf>,
    /// Scale of bare pictures in um per pixel.
    pub um_per_px: Option<f64>,
    /// A taught file was given: bare pictures are judged by it alone, pieces by it besides.
    pub taught: bool,
}

/// The figures of one evaluation. The same set, models and program give the same figures, byte for byte, with
/// any number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalReport {
    /// Always `loupe.eval/1`.
    pub schema: String,
    /// Program and version.
    pub program: String,
    /// The models that were run.
    pub models: Vec<ModelRow>,
    /// Probability from which on a pixel counts as defect, as stored with the model; null without one.
    pub threshold: Option<f64>,
    /// What was measured on.
    pub set: SetRow,
    /// Pieces or pictures: passed, failed, reviewed.
    pub verdicts: Verdicts,
    /// The same per class of the set.
    pub classes: BTreeMap<String, ClassRow>,
    /// Per finding type (or the set's own word): found and named, and false findings.
    pub types: BTreeMap<String, TypeRow>,
    /// Every finding on good samples.
    pub false_findings: FalseFindings,
    /// Polygons or boxes of the truth; null where it has none.
    pub polygons: Option<PolygonRow>,
    /// Where pieces lie; null where the truth does not say.
    pub pose: Option<PoseFigures>,
    /// Where stones lie; null where the truth does not say.
    pub stones: Option<ErrorFigures>,
    /// Stones and prongs that are as they should be, and what was said against them; null where the truth names no stones.
    #[serde(default)]
    pub parts: Option<PartFigures>,
    /// Plain faults of stones and prongs, by what they are; empty where the truth has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plain_faults: BTreeMap<String, FaultRow>,
    /// Marks by the height of their letters; empty where the truth names none that a spec asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<MarkFigures>,
    /// Measured against true sizes, per characteristic.
    pub sizes: BTreeMap<String, SizeFigures>,
    /// Pits found, by their true diameter; empty where the truth has no such.
    pub pits_by_size: Vec<PitRow>,
    /// Pictures ranked by their score; null for pieces.
    pub images: Option<ImageFigures>,
    /// Pixels of the model's map; null without masks or without a model.
    pub pixels: Option<PixelFigures>,
    /// Pixels of the findings' outlines; null without masks.
    pub pixels_of_findings: Option<OverlapFigures>,
    /// Defective samples that passed.
    pub escapes: Vec<String>,
    /// Defective samples left to a person.
    pub defective_reviewed: Vec<String>,
    /// Good samples that failed.
    pub overkill: Vec<String>,
    /// Good samples left to a person.
    pub good_reviewed: Vec<String>,
    /// Defective by their class with a mask that marks no pixel: they count as defective, and in no figure of pixels.
    #[serde(default)]
    pub unmarked: Vec<String>,
    /// Samples that could not be read; they are in no figure.
    pub errors: Vec<ErrorRow>,
    /// Every sample.
    pub samples: Vec<SampleRow>,
}

/// What was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRow {
    /// As given.
    pub name: String,
    /// Its layout.
    pub kind: Kind,
    /// Which part.
    pub split: Option<Split>,
    /// Which protocol, where the set names several.
    pub protocol: Option<Protocol>,
    /// Samples that were read.
    pub samples: u64,
    /// Of them defective.
    pub defective: u64,
    /// Of them good.
    pub good: u64,
    /// Of them to be reviewed even by the truth: in neither share.
    pub undecided: u64,
    /// Samples that could not be read.
    pub errors: u64,
}

/// Pieces or pictures: passed, failed, reviewed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// Defective and passed.
    pub escapes: Rate,
    /// Defective and left to a person: no escape.
    pub defective_reviewed: Rate,
    /// Good and failed.
    pub overkill: Rate,
    /// Good and left to a person.
    pub good_reviewed: Rate,
}

/// One class of the set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassRow {
    /// Samples.
    pub samples: u64,
    /// Of them truly defective.
    pub defective: u64,
    /// Passed.
    pub pass: u64,
    /// Left to a person.
    pub review: u64,
    /// Failed.
    pub fail: u64,
    /// Mean IoU over its pictures with a defect mask, of the model's map (without one, of the findings).
    pub mean_iou: Option<f64>,
}

/// One type of defect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TypeRow {
    /// True defects of this type.
    pub there: u64,
    /// Of them with any finding on them.
    pub found: Rate,
    /// Of them with a finding on them that counts against the piece.
    pub reported: Rate,
    /// Of them with a finding of the right type on them; null where the set's word is no finding type.
    pub named: Option<Rate>,
    /// Of them that break a limit.
    pub due: u64,
    /// Of those with no finding on them that counts: they would get past.
    pub due_missed: u64,
    /// Findings of this type on good samples that count.
    pub false_on_good: u64,
    /// The same per good sample; null without good samples.
    pub false_per_good: Option<f64>,
    /// Findings of this type on good samples, whether they count or not.
    pub all_on_good: u64,
    /// Counting findings on defective samples that lie on no true defect; null where masks alone tell where.
    pub false_on_defective: Option<u64>,
}

/// Findings on good samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FalseFindings {
    /// That count against the piece.
    pub counting: u64,
    /// The same per good sample; null without good samples.
    pub per_good: Option<f64>,
    /// All.
    pub all: u64,
    /// The same per good sample.
    pub all_per_good: Option<f64>,
}

/// Polygons or boxes of the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolygonRow {
    /// Met by a counting finding of the right type (a pit and a pore are one), or of any where the set's word is
    /// no finding type.
    pub hit: Rate,
    /// Met by a counting finding of any type.
    pub hit_by_any: Rate,
}

/// Distances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorFigures {
    /// How many.
    pub n: u64,
    /// Root mean square in um.
    pub rms_um: f64,
    /// Largest in um.
    pub max_um: f64,
}

/// What was said against good stones and their prongs, on good pieces and bad ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartFigures {
    /// Stones that are there and to which the truth lays no fault.
    pub good_stones: u64,
    /// Of them with a finding of a stone or a prong that fails the piece.
    pub failed: Rate,
    /// Of them with one that leaves it to a person, and none that fails it.
    pub reviewed: Rate,
}

/// Faults of stones or prongs large enough that none may be missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRow {
    /// Of how many a row or a finding fails the piece or leaves it to a person.
    pub found: Rate,
    /// Of how many one fails it.
    pub failed: Rate,
}

/// What was said of marks whose letters are this high.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkFigures {
    /// Height of the letters in pixels, from.
    pub from_px: u32,
    /// To, less than; none for all above.
    pub to_px: Option<u32>,
    /// Marks whose text was read as it is, whatever was decided.
    pub read: Rate,
    /// Right marks that passed.
    pub right_passed: Rate,
    /// Right marks left to a person.
    pub right_reviewed: Rate,
    /// Right marks that failed.
    pub right_failed: Rate,
    /// Wrong or missing marks that failed.
    pub wrong_failed: Rate,
    /// Wrong or missing marks left to a person.
    pub wrong_reviewed: Rate,
    /// Wrong or missing marks that passed.
    pub wrong_accepted: Rate,
}

/// Where pieces lie, per frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoseFigures {
    /// Frames with a pose.
    pub n: u64,
    /// Frames in which the piece was not found.
    pub lost: u64,
    /// Root mean square of the rotation's error, where a rotation can be seen.
    pub rotation_rms_deg: Option<f64>,
    /// Largest.
    pub rotation_max_deg: Option<f64>,
    /// Frames of them whose shift is compared: those of no burst, because a burst is shaken and its truth gives the place
    /// of rest.
    pub shifts: u64,
    /// Root mean square of the shift's error (of a plain shank only across it).
    pub shift_rms_um: Option<f64>,
    /// Largest.
    pub shift_max_um: Option<f64>,
}

/// Measured against true values of one characteristic, in its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeFigures {
    /// Pairs.
    pub n: u64,
    /// Mean of measured minus true.
    pub bias: f64,
    /// Root mean square of measured minus true.
    pub rms: f64,
    /// 95 % of the distances are at most this.
    #[serde(default)]
    pub p95: f64,
    /// Largest distance.
    pub max: f64,
    /// Mean of the true values.
    pub mean_true: f64,
    /// Mean of the standard uncertainties that the reports state.
    #[serde(default)]
    pub mean_u: Option<f64>,
    /// How often the stated uncertainty covers the truth: it lies within k = 2 times the standard uncertainty of the value. About
    /// 95 % where the uncertainties are right.
    #[serde(default)]
    pub covered: Option<Rate>,
}

/// Pits of like diameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PitRow {
    /// Least true diameter in um, inclusive.
    pub from_um: u64,
    /// Largest true diameter in um, exclusive; null where there is no end.
    pub to_um: Option<u64>,
    /// Of how many a finding shows something, counting or not: whether it is large enough to count is the limit's matter.
    pub found: Rate,
}

/// Pictures ranked by their score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFigures {
    /// What the score is.
    pub score: String,
    /// Area under the receiver operating characteristic; null where a side is empty.
    pub auroc: Option<Estimate>,
    /// Average precision.
    pub average_precision: Option<f64>,
    /// F1 of the pictures that are called at the stored threshold; null without one.
    #[serde(default)]
    pub f1: Option<f64>,
}

/// How well called pixels overlap true ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlapFigures {
    /// Pictures with a mask (good ones have an empty one).
    pub images: u64,
    /// Pooled counts.
    pub counts: Confusion,
    /// Pooled intersection over union of defect.
    pub iou: Option<Estimate>,
    /// Pooled F1.
    pub f1: Option<Estimate>,
    /// Pooled precision.
    pub precision: Option<f64>,
    /// Pooled recall.
    pub recall: Option<f64>,
    /// Mean over the pictures with a defect of their own IoU.
    pub mean_iou_defective: Option<f64>,
    /// Mean of the pooled IoU of defect and of background.
    pub mean_iou_classes: Option<f64>,
}

/// Pixels of the model's map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PixelFigures {
    /// At the stored threshold.
    pub at_threshold: OverlapFigures,
    /// Area under the receiver operating characteristic over all pixels (4096 steps of the logit).
    pub auroc: Option<Estimate>,
    /// Per-region overlap: the mean share of each true region that is called, over the share of sound pixels called up to 30 %
    /// (Bergmann et al. 2020), 1 at best.
    #[serde(default)]
    pub pro: Option<Estimate>,
    /// Average precision over all pixels.
    pub average_precision: Option<f64>,
    /// For information: the best F1 any threshold gives on this very set.
    pub best_f1: Option<f64>,
    /// For information: that threshold.
    pub best_f1_threshold: Option<f64>,
}

/// A sample that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRow {
    /// Its name in the set.
    pub name: String,
    /// Why, paths relative to the set.
    pub message: String,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleRow {
    /// Its name in the set.
    pub name: String,
    /// Its class in the set.
    pub class: String,
    /// Whether it is truly defective; null where the truth leaves it to a person.
    pub defective: Option<bool>,
    /// What was said of it.
    pub verdict: Verdict,
    /// Findings that count.
    pub findings: u64,
    /// Its score, for pictures.
    pub score: Option<f64>,
    /// Its IoU, where its mask holds a defect.
    pub iou: Option<f64>,
}

/// The figures, and what the sheet needs.
#[derive(Debug)]
pub struct Evaluation {
    /// The figures.
    pub report: EvalReport,
    outcomes: Vec<run::Outcome>,
}

/// Runs `inspect` over every sample of a set and measures. `threshold` is the model's stored probability from
/// which on a pixel counts as defect, `progress` is called after each sample. Uses the rayon pool it is called in.
pub fn evaluate(
    set: &Set,
    root: &Path,
    options: &Options,
    threshold: Option<f32>,
    inspect: &(dyn Fn(&Job) -> Inspected + Sync),
    progress: &(dyn Fn() + Sync),
) -> Evaluation {
    let results: Vec<Result<run::Outcome, String>> = set
        .samples
        .par_iter()
        .enumerate()
        // One at a time: a long piece must not hold a whole chunk back.
        .with_max_len(1)
        .map(|(i, sample)| {
            let one = run::run(i, sample, options, threshold, inspect);
            progress();
            one
        })
        .collect();
    let mut errors: Vec<ErrorRow> =
        set.errors.iter().map(|e| ErrorRow { name: e.name.clone(), message: without(root, &e.message) }).collect();
    let mut outcomes = Vec::new();
    for (sample, result) in set.samples.iter().zip(results) {
        match result {
            Ok(o) => outcomes.push(o),
            Err(message) => errors.push(ErrorRow { name: sample.name.clone(), message: without(root, &message) }),
        }
    }
    errors.sort();
    let report = figures::report(set, options, threshold, &outcomes, errors);
    Evaluation { report, outcomes }
}

/// A message without the folder the set lies in: the figures are the same wherever it does.
fn without(root: &Path, message: &str) -> String {
    let own = root.display().to_string();
    message.replace(&format!("{}/", own.trim_end_matches('/')), "")
}

impl Marked for EvalReport {
    const SCHEMA: &'static str = EVAL_SCHEMA;

    fn schema(&self) -> &str {
        &self.schema
    }
}

impl EvalReport {
    /// The JSON that is written: keys sorted, so that two evaluations can be compared line by line.
    ///
    /// # Errors
    /// Where a figure is no number.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(&sorted(serde_json::to_value(self)?))?;
        text.push('\n');
        Ok(text)
    }

    /// A table for people.
    pub fn to_table(&self) -> String {
        table::text(self)
    }
}

impl Evaluation {
    /// The contact sheet of the worst samples as a PNG, or none where every one is as it should be.
    ///
    /// # Errors
    /// Where the PNG cannot be encoded.
    pub fn sheet(&self, set: &Set) -> Result<Option<Vec<u8>>, image::ImageError> {
        sheet::png(set, &self.outcomes)
    }
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let rows: BTreeMap<String, Value> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(rows.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{MaskSource, Sample, Source, Truth, TruthDefect};
    use crate::pipeline::FrameView;
    use crate::report::{Finding, FindingType, Provenance, Report, Status, REPORT_SCHEMA};
    use crate::vision::{Image, Plane};

    const SIDE: usize = 20;

    /// A set of one bad picture (defect in columns 5 to 9 of rows 5 to 9) and one good.
    fn set() -> Set {
        let square = vec![[5.0, 5.0], [9.0, 5.0], [9.0, 9.0], [5.0, 9.0]];
        let sample = |name: &str, bad: bool| Sample {
            name: name.into(),
            source: Source::Image(PathBuf::from(format!("/somewhere/set/{name}"))),
            class: if bad { "pit" } else { "good" }.into(),
            truth: Truth {
                defective: Some(bad),
                mask: Some(if bad {
                    MaskSource::Shapes { polygons: vec![square.clone()], rles: vec![] }
                } else {
                    MaskSource::Empty
                }),
                defects: if bad {
                    vec![TruthDefect {
                        kind: Some(FindingType::Pit),
                        class: "pit".into(),
                        placed: true,
                        polygons: vec![square.clone()],
                        ..TruthDefect::default()
                    }]
                } else {
                    vec![]
                },
                ..Truth::default()
            },
        };
        let samples = vec![sample("bad.png", true), sample("good.png", false), sample("lost.png", false)];
        Set { kind: Kind::Coco, protocol: None, samples, errors: vec![] }
    }

    /// Sees 0.9 in columns 5 to 9 of rows 5 to 8 and one pixel beside, else 0.01; on the good picture 0.3 in one.
    fn look(job: &Job) -> Inspected {
        let name = &job.piece.frames[0].file;
        let mut prob = Plane::filled(SIDE, SIDE, 0.01);
        let mut findings = vec![];
        if name == "bad.png" {
            for y in 5..9 {
                prob.data[y * SIDE + 5..y * SIDE + 10].fill(0.9);
            }
            prob.data[0] = 0.9;
            findings.push(Finding {
                kind: FindingType::Porosity,
                view: "picture".into(),
                file: name.clone(),
                feature: "pore-1".into(),
                x_mm: None,
                y_mm: None,
                x_px: 10.0,
                y_px: 7.0,
                radius_px: 2.0,
                confidence: 0.9,
                found_by: vec!["surface-model".into()],
                status: Status::Pass,
                text: None,
                opinion: None,
                outline_px: vec![],
            });
        } else {
            prob.data[50] = 0.3;
        }
        let lost = name == "lost.png";
        let image = Image { width: SIDE, height: SIDE, data: vec![90; 3 * SIDE * SIDE], grey: true };
        let view = FrameView {
            frame: 0,
            file: name.clone(),
            view: "picture".into(),
            image,
            defect_prob: Some(prob),
            anomaly_score: None,
            heat: None,
            outline_px: vec![],
            stones_px: vec![],
            prongs_px: vec![],
            marks_px: vec![],
            um_per_px: None,
        };
        Inspected {
            report: Report {
                schema: REPORT_SCHEMA.into(),
                piece_id: job.piece.piece_id.clone(),
                sku: String::new(),
                verdict: Verdict::Pass,
                reasons: vec![],
                measurements: vec![],
                findings,
                stones: vec![],
                not_assessed: vec![],
                frames: vec![],
                provenance: Provenance {
                    program: String::new(),
                    spec_sha256: String::new(),
                    models: vec![],
                    settings_sha256: String::new(),
                },
            },
            views: if lost { vec![] } else { vec![view] },
            frame_errors: if lost { vec![format!("{}: damaged", job.origin.display())] } else { vec![] },
        }
    }

    fn measured(threads: usize) -> EvalReport {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let root = Path::new("/somewhere/set");
        pool.install(|| evaluate(&set(), root, &Options::default(), Some(0.5), &look, &|| ()).report)
    }

    #[test]
    fn figures_of_a_model_by_hand() {
        let r = measured(1);
        // Of 25 true pixels 20 are called, and one that is not.
        let p = r.pixels.as_ref().unwrap();
        let counts = Confusion { tp: 20, fp: 1, r#fn: 5, tn: 2 * 400 - 26 };
        assert_eq!(p.at_threshold.counts, counts);
        assert_eq!(p.at_threshold.iou.unwrap().value, round(20.0 / 26.0));
        assert_eq!(p.at_threshold.f1.unwrap().value, round(40.0 / 46.0));
        assert_eq!(p.at_threshold.mean_iou_defective, Some(round(20.0 / 26.0)));
        // Wins: 20 defects over 774, ties with 1; 5 tie with 773 and lose against 2.
        let auroc = (20.0 * 774.5 + 5.0 * 773.0 / 2.0) / (25.0 * 775.0);
        assert_eq!(p.auroc.unwrap().value, round(auroc));
        // Best F1 for information: at 0.9, the same as at 0.5.
        assert_eq!(p.best_f1, Some(round(40.0 / 46.0)));
        // The nine about (6, 6) are all 0.9; the good picture's one hot pixel is spread over nine.
        assert_eq!(r.samples[0].score, Some(0.9));
        assert!((r.samples[1].score.unwrap() - (0.3 + 0.08) / 9.0).abs() < 1e-5, "{:?}", r.samples[1].score);
        assert_eq!(r.images.as_ref().unwrap().auroc.unwrap().value, 1.0);
        // A pore on a pit: found, not of its name, but a hole all the same for a polygon.
        assert_eq!(r.polygons.as_ref().unwrap().hit.count, 1);
        assert_eq!(r.types["pit"].found.count, 1);
        assert_eq!((r.escapes.len(), r.overkill.len()), (0, 0));
        assert_eq!(r.errors.len(), 1);
        assert_eq!(r.errors[0].message, "lost.png: damaged");
    }

    fn round(v: f64) -> f64 {
        crate::report::round_to(v, 5)
    }

    #[test]
    fn one_thread_and_many_give_the_same_json_that_is_read_back() {
        let text = measured(1).to_json().unwrap();
        assert_eq!(text, measured(5).to_json().unwrap());
        let back: EvalReport = serde_json::from_str(&text).unwrap();
        assert_eq!(back, measured(2));
    }

    #[test]
    fn more_escapes_are_worse() {
        let now = measured(1);
        let mut then = now.clone();
        assert!(now.worse_than(&then).unwrap().is_empty());
        let mut worse = now.clone();
        worse.escapes.push("bad.png".into());
        worse.verdicts.escapes = Rate::new(1, 1);
        assert_eq!(worse.worse_than(&then).unwrap(), ["escapes: 1 instead of 0 (new: bad.png)"]);
        // As many, but another one: who caught it before does so no more.
        let mut swapped = worse.clone();
        swapped.escapes = vec!["other.png".into()];
        assert_eq!(worse.worse_than(&swapped).unwrap(), ["escapes: 1 instead of 1 (new: bad.png)"]);
        assert!(now.worse_than(&worse).unwrap().is_empty(), "fewer");
        let mut other = then.clone();
        other.samples[0].name = "another.png".into();
        let why = now.worse_than(&other).unwrap_err();
        assert!(why.contains("2 are in one of the two only, `another.png` in the baseline"), "{why}");
        other = then.clone();
        other.set.protocol = Some(Protocol::OneClass);
        assert_eq!(
            now.worse_than(&other).unwrap_err(),
            "the baseline is of the layout coco one_class, this set of coco"
        );
        then.set.good += 1;
        assert!(now.worse_than(&then).is_err());
    }
}
