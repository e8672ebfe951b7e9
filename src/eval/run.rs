//! One sample: inspected, and compared with its truth while its pixels are still in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::geometry::{circle_meets, Patch};
use super::stats::{bin_of, Confusion, Histogram};
use super::Options;
use crate::dataset::{Sample, Source, TruthDefect};
use crate::inspect::anomaly;
use crate::inspect::opinion::is_sound;
use crate::locate;
use crate::piece::{Frame, Piece, PIECE_SCHEMA};
use crate::pipeline::{Inspected, Job};
use crate::report::{Finding, FindingType, Report, Status, Verdict};
use crate::spec::{Outline, Spec, View, SPEC_SCHEMA};
use crate::vision::{ops, Mask, Plane};

/// What became of one sample.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Index into the set's samples.
    pub index: usize,
    /// None for a piece whose true verdict is review.
    pub defective: Option<bool>,
    pub verdict: Verdict,
    pub findings: Vec<FindingRow>,
    pub defects: Vec<DefectRow>,
    pub pixels: Option<Pixels>,
    /// A defective picture's mask marks no pixel.
    pub unmarked: bool,
    /// The picture's score: how defective its worst place looks.
    pub score: Option<f64>,
    pub poses: Vec<PoseError>,
    pub poses_lost: u64,
    /// Distance of each stone from its true place in um.
    pub stones_um: Vec<f64>,
    /// Good stones, and of them those that a finding fails, and leaves to a person.
    pub good_stones: (u64, u64, u64),
    /// Faults of stones and prongs that no inspector may miss ([`plain_faults`]): which, and the worst that was said of it.
    pub faults: Vec<(&'static str, Status)>,
    pub marks: Vec<MarkOutcome>,
    /// Per characteristic: true, measured, and the standard uncertainty that was stated.
    pub sizes: Vec<(&'static str, f64, f64, f64)>,
    pub models: Vec<(String, String)>,
    pub tile: Tile,
}

/// What was said of one mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MarkOutcome {
    /// Height of its letters in pixels of the piece's finest frame.
    pub height_px: u32,
    /// Whether it is the one ordered.
    pub right: bool,
    /// Whether its text was read as it is, whatever was decided.
    pub read: bool,
    pub status: Status,
}

/// The picture that stands for a sample on the sheet.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    pub path: PathBuf,
    pub view: String,
}

/// A finding with what the comparison says of it.
#[derive(Debug, Clone)]
pub(super) struct FindingRow {
    pub finding: Finding,
    /// It speaks against the piece: status fail or review, or, without limits, sure enough.
    pub counts: bool,
    /// It lies on a true defect.
    pub on_truth: bool,
}

/// A true defect with what was found of it.
#[derive(Debug, Clone)]
pub(super) struct DefectRow {
    pub word: String,
    pub found: bool,
    /// Found by a finding that counts.
    pub reported: bool,
    /// Found under its own type; none where its word is none of the contract's.
    pub named: Option<bool>,
    pub polygon: bool,
    /// It breaks a limit: by its own truth, or, where that does not say, because its sample is defective.
    pub due: bool,
    /// A pit's true diameter in mm, where the truth has it.
    pub pit_mm: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct PoseError {
    pub rotation_deg: Option<f64>,
    pub shift_um: Option<f64>,
}

/// A picture's pixels against its mask.
#[derive(Debug, Clone)]
pub(super) struct Pixels {
    /// At the model's stored threshold.
    pub model: Option<Confusion>,
    /// Of the findings' outlines.
    pub findings: Confusion,
    /// Scores, where a model gave a map.
    pub scores: Option<SmallHistogram>,
}

/// [`Histogram`] of one picture, half its size.
#[derive(Debug, Clone)]
pub(super) struct SmallHistogram {
    pub positive: Vec<u32>,
    pub negative: Vec<u32>,
    /// Shares of each true region in a bin, summed over the regions: bin and sum, where there is one.
    pub regions: Vec<(u16, f32)>,
    /// True regions.
    pub count: u32,
}

impl SmallHistogram {
    pub fn add_to(&self, sum: &mut Histogram, times: u64) {
        for (s, v) in sum.positive.iter_mut().zip(&self.positive) {
            *s += times * u64::from(*v);
        }
        for (s, v) in sum.negative.iter_mut().zip(&self.negative) {
            *s += times * u64::from(*v);
        }
    }
}

/// The types that a surface is judged by where a set has no limits.
pub(super) fn is_surface(kind: FindingType) -> bool {
    use FindingType as T;
    matches!(kind, T::Porosity | T::Pit | T::Scratch | T::Stain | T::WornPlating | T::Anomaly)
}

/// Types that speak of a whole view: where they lie says nothing.
fn is_of_view(kind: FindingType) -> bool {
    matches!(kind, FindingType::WrongFinish | FindingType::OutOfSize | FindingType::HallmarkMismatch)
}

/// Inspects a sample and compares.
///
/// # Errors
/// What could not be read, naming the file.
pub(super) fn run(
    index: usize,
    sample: &Sample,
    options: &Options,
    threshold: Option<f32>,
    inspect: &(dyn Fn(&Job) -> Inspected + Sync),
) -> Result<Outcome, String> {
    let job = job_of(sample, options)?;
    let seen = inspect(&job);
    if !seen.frame_errors.is_empty() {
        return Err(seen.frame_errors.join("; "));
    }
    let report = &seen.report;
    let truth = &sample.truth;
    let bare = matches!(sample.source, Source::Image(_));
    let limits = !job.spec.limits.is_empty();
    let sure = |f: &Finding| is_surface(f.kind) && f.confidence >= threshold.map_or(0.0, f64::from);
    let counts = |f: &Finding| {
        if limits || !bare {
            matches!(f.status, Status::Fail | Status::Review)
        } else {
            sure(f)
        }
    };
    let mut findings: Vec<FindingRow> = report
        .findings
        .iter()
        .map(|f| FindingRow { finding: f.clone(), counts: counts(f), on_truth: false })
        .collect();
    let verdict = match (limits || !bare, findings.iter().any(|f| f.counts)) {
        (true, _) => report.verdict,
        (false, true) => Verdict::Fail,
        (false, false) => Verdict::Pass,
    };

    let mut defective = match truth.verdict {
        Some(Verdict::Review) => None,
        _ => truth.defective,
    };
    let (mut pixels, mut score, mut unmarked) = (None, None, false);
    if bare {
        let view =
            seen.views.first().ok_or_else(|| format!("{}: the picture was not inspected", job.origin.display()))?;
        let (w, h) = (view.image.width, view.image.height);
        if threshold.is_some() && !options.taught && view.defect_prob.is_none() {
            return Err(format!("{}: the model gave no map: {}", job.origin.display(), report.reasons.join("; ")));
        }
        score = match (view.anomaly_score, &view.defect_prob) {
            (Some(s), _) => Some(s),
            // What a taught file says nothing of is left to a person, and has no rank.
            _ if options.taught => None,
            (None, Some(p)) => Some(f64::from(max_of_mean3(p))),
            (None, None) => {
                let surface = findings.iter().filter(|f| is_surface(f.finding.kind));
                Some(surface.map(|f| f.finding.confidence).fold(0.0, f64::max))
            }
        };
        if let Some(source) = &truth.mask {
            let mask = source.load(w, h)?;
            // Its class counts; its pixels would count as sound.
            unmarked = defective == Some(true) && mask.count() == 0;
            defective = defective.or(Some(mask.count() > 0));
            let shown = !unmarked && (view.defect_prob.is_some() || !options.taught);
            pixels = shown.then(|| pixels_of(&mask, view.defect_prob.as_ref(), threshold, &findings));
        }
    } else if options.taught {
        score = seen.views.iter().filter_map(|v| v.anomaly_score).max_by(f64::total_cmp);
    }
    if defective.is_none() && truth.verdict.is_none() {
        return Err(format!("{}: neither a class nor a mask says whether it is good", job.origin.display()));
    }
    let size = seen.views.first().map_or((0, 0), |v| (v.image.width, v.image.height));
    let defects = match_defects(&truth.defects, &mut findings, size, defective != Some(false));
    let sizes = sizes(sample, report);
    // A truth of a ring has no list of what is out of size, but its sizes.
    for f in findings.iter_mut().filter(|f| f.finding.kind == FindingType::OutOfSize) {
        let out = |(c, truth): (&str, f64)| {
            let mut rows =
                report.measurements.iter().filter(|m| m.feature == f.finding.feature && m.characteristic == c);
            rows.any(|m| m.lower.is_some_and(|l| truth < l) || m.upper.is_some_and(|u| truth > u))
        };
        f.on_truth |= sizes.iter().filter(|s| s.0.starts_with("ring.")).any(|s| out((s.0, s.1)));
    }
    let frame = findings
        .iter()
        .find(|f| f.counts)
        .and_then(|f| job.piece.frames.iter().find(|g| g.file == f.finding.file))
        .or(job.piece.frames.first());
    let tile = Tile {
        path: frame.map_or_else(|| job.origin.clone(), |f| job.base.join(&f.file)),
        view: frame.map(|f| f.view.clone()).unwrap_or_default(),
    };
    let (poses, poses_lost) = pose_errors(sample, &job, report);
    Ok(Outcome {
        index,
        defective,
        verdict,
        defects,
        pixels,
        unmarked,
        score,
        poses,
        poses_lost,
        stones_um: stone_errors(sample, &job, report),
        good_stones: good_stones(sample, report),
        faults: plain_faults(sample, report),
        marks: marks(sample, &job, report),
        sizes,
        models: report.provenance.models.iter().map(|m| (m.name.clone(), m.sha256.clone())).collect(),
        tile,
        findings,
    })
}

/// The spec of a bare picture without one of its own: the whole frame is metal, and nothing is limited.
pub fn bare_spec() -> Spec {
    Spec {
        schema: SPEC_SCHEMA.into(),
        sku: "bare-picture".into(),
        metal: "unknown".into(),
        finish: "unknown".into(),
        views: vec![View { name: "picture".into(), ..View::default() }],
        ..Spec::default()
    }
}

fn job_of(sample: &Sample, options: &Options) -> Result<Job, String> {
    let mut job = unlimited_job_of(sample, options)?;
    if options.taught {
        anomaly::decides(&mut job.spec, &job.piece.frames);
    }
    Ok(job)
}

fn unlimited_job_of(sample: &Sample, options: &Options) -> Result<Job, String> {
    match &sample.source {
        Source::Piece(dir) => {
            let from = crate::source::Options { specs: options.specs.clone(), bare: None };
            let entries = crate::source::resolve(&[dir.join(crate::source::MANIFEST)], &from);
            let entry = entries.first().ok_or_else(|| format!("{}: no piece", dir.display()))?;
            entry.load().map_err(|e| e.to_string())
        }
        Source::Image(path) => {
            let (spec, spec_sha256) = match &options.spec {
                Some((spec, sha)) => (spec.clone(), sha.clone()),
                None => (bare_spec(), String::new()),
            };
            let view = spec.views.first().map(|v| v.name.clone()).ok_or("the spec has no view")?;
            let file = path.file_name().and_then(|f| f.to_str());
            let file = file.ok_or_else(|| format!("{}: its name is no text", path.display()))?.to_owned();
            let frame = Frame::bare(file, view, "dome", options.um_per_px, None);
            let piece = Piece {
                schema: PIECE_SCHEMA.into(),
                piece_id: sample.name.replace(['/', '\\'], "_"),
                spec: String::new(),
                frames: vec![frame],
                readings: vec![],
                extra: BTreeMap::new(),
            };
            let base = path.parent().unwrap_or(Path::new(".")).to_owned();
            Ok(Job { origin: path.clone(), base, piece, spec, spec_sha256 })
        }
    }
}

/// The largest value of a map after a 3 x 3 mean (at the border over the pixels that are there): one hot pixel
/// must not make a picture defective.
pub(super) fn max_of_mean3(p: &Plane) -> f32 {
    let (w, h) = (p.width, p.height);
    let sum3 = |row: &[f32], x: usize| row[x.saturating_sub(1)..(x + 2).min(w)].iter().sum::<f32>();
    let rows: Vec<Vec<f32>> = p.data.chunks_exact(w.max(1)).map(|r| (0..w).map(|x| sum3(r, x)).collect()).collect();
    let mut best = 0.0f32;
    for y in 0..h {
        let near = &rows[y.saturating_sub(1)..(y + 2).min(h)];
        for x in 0..w {
            let n = near.len() * ((x + 2).min(w) - x.saturating_sub(1));
            best = best.max(near.iter().map(|r| r[x]).sum::<f32>() / n as f32);
        }
    }
    best
}

fn pixels_of(mask: &Mask, prob: Option<&Plane>, threshold: Option<f32>, findings: &[FindingRow]) -> Pixels {
    let mut painted = Mask::empty(mask.width, mask.height);
    for f in findings.iter().filter(|f| f.counts) {
        Patch::of_finding(&f.finding, mask.width, mask.height).paint(&mut painted);
    }
    let tally = |called: &dyn Fn(usize) -> bool| {
        let mut n = [[0u64; 2]; 2];
        for (i, truth) in mask.data.iter().enumerate() {
            n[usize::from(*truth != 0)][usize::from(called(i))] += 1;
        }
        Confusion { tp: n[1][1], fp: n[0][1], r#fn: n[1][0], tn: n[0][0] }
    };
    let prob = prob.filter(|p| (p.width, p.height) == (mask.width, mask.height));
    let model = prob.zip(threshold).map(|(p, t)| tally(&|i| p.data[i] >= t));
    let scores = prob.map(|p| {
        let bins = super::stats::BINS;
        let mut h = SmallHistogram { positive: vec![0; bins], negative: vec![0; bins], regions: vec![], count: 0 };
        for (v, truth) in p.data.iter().zip(&mask.data) {
            let side = if *truth != 0 { &mut h.positive } else { &mut h.negative };
            side[bin_of(*v)] += 1;
        }
        if let Ok((blobs, labels)) = ops::components(mask) {
            let mut sums = vec![0f32; bins];
            let mut area = BTreeMap::new();
            for b in &blobs {
                area.insert(b.label, b.area as f32);
            }
            for (v, label) in p.data.iter().zip(&labels) {
                if let Some(a) = area.get(label) {
                    sums[bin_of(*v)] += 1.0 / a;
                }
            }
            h.regions = sums.iter().enumerate().filter(|(_, s)| **s > 0.0).map(|(b, s)| (b as u16, *s)).collect();
            h.count = blobs.len() as u32;
        }
        h
    });
    Pixels { model, findings: tally(&|i| painted.data[i] != 0), scores }
}

/// Whether a finding shows a true defect: the same stone, or overlapping places (outline on outline where the
/// truth has one, else circle on circle).
fn shows(finding: &Finding, patch: Option<&Patch>, defect: &TruthDefect, outline: Option<&Patch>) -> bool {
    if defect.file.as_ref().is_some_and(|f| *f != finding.file) {
        return false;
    }
    if defect.stone.is_some() && defect.stone.as_deref() == Some(finding.feature.as_str()) {
        return true;
    }
    if !defect.placed || is_of_view(finding.kind) || defect.kind.is_some_and(is_of_view) {
        return defect.kind == Some(finding.kind);
    }
    match (patch, outline) {
        (Some(a), Some(b)) => a.overlaps(b),
        _ => circle_meets(
            [defect.x_px, defect.y_px],
            defect.radius_px,
            [finding.x_px, finding.y_px],
            finding.radius_px,
        ),
    }
}

/// Pits and pores are one kind of hole: sets do not tell them apart as the contract does.
fn same_kind(truth: FindingType, found: FindingType, polygon: bool) -> bool {
    let hole = |k| matches!(k, FindingType::Pit | FindingType::Porosity);
    truth == found || (polygon && hole(truth) && hole(found))
}

fn match_defects(
    truth: &[TruthDefect],
    findings: &mut [FindingRow],
    (w, h): (usize, usize),
    defective: bool,
) -> Vec<DefectRow> {
    let any_polygon = truth.iter().any(|d| !d.polygons.is_empty());
    let patches: Vec<Option<Patch>> =
        findings.iter().map(|f| any_polygon.then(|| Patch::of_finding(&f.finding, w, h))).collect();
    truth
        .iter()
        .map(|d| {
            let polygon = !d.polygons.is_empty();
            let outline = polygon.then(|| Patch::of_polygons(&d.polygons, w, h));
            let mut row = DefectRow {
                word: d.kind.map_or_else(|| d.class.clone(), |k| k.as_str().to_owned()),
                found: false,
                reported: false,
                named: d.kind.map(|_| false),
                polygon,
                due: d.over_limit.unwrap_or(defective),
                pit_mm: d.sizes.get("radius_mm").filter(|_| d.kind == Some(FindingType::Pit)).map(|r| 2.0 * r),
            };
            for (f, patch) in findings.iter_mut().zip(&patches) {
                // What was taken for dust or a reflection is not found.
                if is_sound(Some(f.finding.kind), &f.finding.feature) {
                    continue;
                }
                if shows(&f.finding, patch.as_ref(), d, outline.as_ref()) {
                    f.on_truth = true;
                    row.found = true;
                    row.reported |= f.counts;
                    if d.kind.is_some_and(|k| same_kind(k, f.finding.kind, polygon)) {
                        row.named = Some(true);
                    }
                }
            }
            row
        })
        .collect()
}

fn pose_errors(sample: &Sample, job: &Job, report: &Report) -> (Vec<PoseError>, u64) {
    let Some(truth) = sample.truth.pose else { return (vec![], 0) };
    let mut out = Vec::new();
    let mut lost = 0;
    for (row, frame) in report.frames.iter().zip(&job.piece.frames) {
        let Some(pose) = row.pose else {
            lost += 1;
            continue;
        };
        let view = job.spec.view(&frame.view);
        let no_stones = view.is_none_or(|v| v.stones.is_empty());
        let outline = view.and_then(|v| v.outline.as_ref());
        // A plain shank has no place along itself.
        let turns = view.is_some_and(locate::has_direction);
        let slides = no_stones && matches!(outline, Some(Outline::Band { .. }));
        // Without an outline or stones nothing tells where it lies, and nothing is said.
        if no_stones && outline.is_none() {
            continue;
        }
        let (dx, dy) = (pose.dx_mm - truth.dx_mm, pose.dy_mm - truth.dy_mm);
        let shift = if slides {
            let (s, c) = truth.rotation_deg.to_radians().sin_cos();
            (c * dy - s * dx).abs()
        } else {
            dx.hypot(dy)
        };
        let rotation = pose.rotation_deg - truth.rotation_deg;
        let rotation = rotation - 360.0 * (rotation / 360.0).round();
        out.push(PoseError {
            rotation_deg: turns.then_some(rotation),
            // A burst is shaken: the truth says only where the piece rests.
            shift_um: frame.burst.is_none().then_some(1000.0 * shift),
        });
    }
    (out, lost)
}

/// Only pieces of one frame: in a burst the stones move.
fn stone_errors(sample: &Sample, job: &Job, report: &Report) -> Vec<f64> {
    let [frame] = job.piece.frames.as_slice() else { return vec![] };
    let Some(um_per_px) = frame.um_per_px else { return vec![] };
    let true_place = |id: &str| sample.truth.stones.iter().find(|s| s.id == id && !s.missing);
    report
        .stones
        .iter()
        .filter_map(|s| {
            let t = true_place(&s.id)?;
            Some(um_per_px * (s.x_px - t.x_px).hypot(s.y_px - t.y_px))
        })
        .collect()
}

/// Stones that the truth lays no fault to, and how many of them a finding of a stone or prong speaks against.
/// What was said of each mark of the truth that the spec asks for.
fn marks(sample: &Sample, job: &Job, report: &Report) -> Vec<MarkOutcome> {
    let um = job.piece.frames.iter().filter(|f| f.light != "backlight").filter_map(|f| f.um_per_px);
    let Some(um) = um.min_by(f64::total_cmp) else { return vec![] };
    if !job.spec.limits.iter().any(|l| l.characteristic == crate::inspect::hallmark::TEXT) {
        return vec![];
    }
    // As on metal: O is 0, I is 1, and small letters are large ones.
    let fold = |t: &str| t.to_ascii_uppercase().replace('O', "0").replace('I', "1");
    let one = |m: &crate::dataset::MarkTruth| {
        let name = format!("hallmark {}", m.ordered);
        let row = report.measurements.iter().find(|r| r.feature == name);
        MarkOutcome {
            height_px: (f64::from(m.height_um) / um) as u32,
            right: m.text == m.ordered,
            read: row.and_then(|r| r.text.as_deref()).is_some_and(|t| fold(t) == fold(&m.text)),
            // What was not assessed is left to a person.
            status: row.map_or(Status::Review, |r| r.status),
        }
    };
    sample.truth.marks.iter().map(one).collect()
}

fn good_stones(sample: &Sample, report: &Report) -> (u64, u64, u64) {
    let faulty = |id: &str| sample.truth.defects.iter().any(|d| d.stone.as_deref() == Some(id));
    let mut out = (0, 0, 0);
    for s in sample.truth.stones.iter().filter(|s| !s.missing && !faulty(&s.id)) {
        let of_it = |f: &&Finding| {
            let prong = f.feature.strip_prefix(s.id.as_str()).and_then(|rest| rest.strip_prefix(".p"));
            let own = f.feature == s.id || prong.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
            own && is_part(f.kind)
        };
        let worst = report.findings.iter().filter(of_it).map(|f| f.status).max();
        out.0 += 1;
        out.1 += u64::from(worst == Some(Status::Fail));
        out.2 += u64::from(worst == Some(Status::Review));
    }
    out
}

/// A fault of a stone or prong that no inspector may miss.
struct PlainFault {
    kind: FindingType,
    name: &'static str,
    /// The truth's key of its size and how large it has to be, in widths of the stone for a chip; none where it is there or not.
    least: Option<(&'static str, f64)>,
    /// The characteristic that tells it.
    characteristic: &'static str,
}

const PLAIN_FAULTS: [PlainFault; 5] = [
    PlainFault {
        kind: FindingType::MissingStone,
        name: "missing stone",
        least: None,
        characteristic: "stone.present",
    },
    PlainFault {
        kind: FindingType::OffsetStone,
        name: "stone off by 0.10 mm",
        least: Some(("offset_mm", 0.1)),
        characteristic: "stone.offset_mm",
    },
    PlainFault {
        kind: FindingType::TiltedStone,
        name: "stone tilted by 8 degrees",
        least: Some(("tilt_deg", 8.0)),
        characteristic: "stone.tilt_deg",
    },
    PlainFault {
        kind: FindingType::ChippedStone,
        name: "stone chipped by a tenth",
        least: Some(("chip_mm", 0.1)),
        characteristic: "stone.chip_mm",
    },
    PlainFault {
        kind: FindingType::MissingProng,
        name: "missing prong",
        least: None,
        characteristic: "prong.present",
    },
];

/// The plain faults of a sample, and the worst status that a row or a finding gives each.
fn plain_faults(sample: &Sample, report: &Report) -> Vec<(&'static str, Status)> {
    let mut out = Vec::new();
    for d in &sample.truth.defects {
        let Some(fault) = PLAIN_FAULTS.iter().find(|f| d.kind == Some(f.kind)) else { continue };
        let width = sample.truth.stones.iter().find(|s| Some(&s.id) == d.stone.as_ref()).and_then(|s| s.diameter_mm);
        let unit = if fault.kind == FindingType::ChippedStone { width } else { Some(1.0) };
        let large =
            |(key, least): (&str, f64)| d.sizes.get(key).zip(unit).is_some_and(|(v, unit)| *v >= least * unit);
        if !fault.least.is_none_or(large) {
            continue;
        }
        let rows = report.measurements.iter().filter(|m| {
            m.characteristic == fault.characteristic && d.stone.as_ref().is_some_and(|stone| m.feature == *stone)
        });
        let found = report.findings.iter().filter(|f| f.kind == fault.kind && shows(f, None, d, None));
        let said = rows.map(|m| m.status).chain(found.map(|f| f.status)).max();
        out.push((fault.name, said.unwrap_or(Status::Pass)));
    }
    out
}

fn is_part(kind: FindingType) -> bool {
    matches!(
        kind,
        FindingType::MissingStone
            | FindingType::OffsetStone
            | FindingType::TiltedStone
            | FindingType::ChippedStone
            | FindingType::LooseStone
            | FindingType::MissingProng
            | FindingType::OutOfSize
    )
}

/// The truth's key, what to multiply it with, and the characteristic that measures it.
const SIZES: [(FindingType, &str, f64, &str); 12] = [
    (FindingType::Pit, "radius_mm", 2.0, "pit.diameter_mm"),
    (FindingType::Scratch, "length_mm", 1.0, "scratch.length_mm"),
    (FindingType::Scratch, "width_mm", 1.0, "scratch.width_mm"),
    (FindingType::Stain, "area_mm2", 1.0, "stain.area_mm2"),
    (FindingType::WornPlating, "area_mm2", 1.0, "worn_plating.area_mm2"),
    (FindingType::IncompleteFill, "depth_mm", 1.0, "outline.deviation_mm"),
    (FindingType::IncompleteFill, "deviation_mm", 1.0, "outline.deviation_mm"),
    (FindingType::TiltedStone, "tilt_deg", 1.0, "stone.tilt_deg"),
    (FindingType::OffsetStone, "offset_mm", 1.0, "stone.offset_mm"),
    (FindingType::ChippedStone, "chip_mm", 1.0, "stone.chip_mm"),
    (FindingType::ChippedStone, "depth_mm", 1.0, "stone.chip_mm"),
    (FindingType::LooseStone, "play_mm", 1.0, "stone.play_mm"),
];

fn sizes(sample: &Sample, report: &Report) -> Vec<(&'static str, f64, f64, f64)> {
    let mut out = Vec::new();
    let measured = |c: &str, feature: Option<&str>| {
        let of = report.measurements.iter().find(|m| m.characteristic == c && feature.is_none_or(|f| m.feature == f));
        of.filter(|m| m.status != Status::NotAssessed).map(|m| (m.value, m.uncertainty))
    };
    for d in &sample.truth.defects {
        let near = report
            .findings
            .iter()
            .filter(|f| Some(f.kind) == d.kind && shows(f, None, d, None))
            .map(|f| ((f.x_px - d.x_px).hypot(f.y_px - d.y_px), f))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, f)| f.feature.as_str());
        // A stone is measured whether or not it became a finding.
        let Some(feature) = d.stone.as_deref().or(near) else { continue };
        for (kind, key, factor, characteristic) in SIZES {
            if d.kind == Some(kind) {
                if let Some((truth, (value, u))) = d.sizes.get(key).zip(measured(characteristic, Some(feature))) {
                    out.push((characteristic, factor * truth, value, u));
                }
            }
        }
    }
    let faults = |id: &str| sample.truth.defects.iter().any(|d| d.stone.as_deref() == Some(id));
    for s in sample.truth.stones.iter().filter(|s| !s.missing) {
        let diameter = s.diameter_mm.zip(measured("stone.diameter_mm", Some(&s.id)));
        out.extend(diameter.map(|(t, (v, u))| ("stone.diameter_mm", t, v, u)));
        if !faults(&s.id) {
            // What a tight stone seems to move: the measure's own noise.
            out.extend(measured("stone.play_mm", Some(&s.id)).map(|(v, u)| ("stone.play_mm (tight)", 0.0, v, u)));
            let tilt = s.tilt_deg.zip(measured("stone.tilt_deg", Some(&s.id)));
            out.extend(tilt.map(|(t, (v, u))| ("stone.tilt_deg (good)", t, v, u)));
        }
        if let Some((gap, (v, u))) = s.gap_mm.zip(measured("stone.gap_mm", Some(&s.id))) {
            out.push(("stone.gap_mm", gap, v, u));
        }
    }
    if let Some(ring) = sample.truth.ring {
        let inner = measured("ring.inner_diameter_mm", None);
        out.extend(inner.map(|(v, u)| ("ring.inner_diameter_mm", ring.inner_diameter_mm, v, u)));
        let ovality = ring.ovality_mm.zip(measured("ring.ovality_mm", None));
        out.extend(ovality.map(|(t, (v, u))| ("ring.ovality_mm", t, v, u)));
        let width = ring.band_width_mm.zip(measured("ring.band_width_mm", None));
        out.extend(width.map(|(t, (v, u))| ("ring.band_width_mm", t, v, u)));
    }
    out
}
