//! Which finish the metal shows, and whether it is the ordered one.
//!
//! The model of finishes, learned on rendered pieces (`models/train_finish.py`, `models/finish.md`), says how likely each finish is,
//! of the metal as a whole and cell by cell. Its answer counts where it is surer than thresholds that were set on pieces it had not
//! learned on; in between a person decides. Light that shows no finish (a dome over brushed metal) makes it unsure by itself, and
//! what the frames of a view say is put together ([`fuse`]). In which direction brushed metal runs is measured ([`texture`]).

use std::collections::BTreeMap;

use super::metal::END;
use super::surface::MOST_WHITE;
use super::texture;
use super::{Answer, Feature, Inspect, Scene, Value};
use crate::model::{shares, FinishInfo, FinishModel, FinishSight, FinishThresholds, ModelError, Shown};
use crate::report::FindingType;
use crate::spec::View;
use crate::vision::{ops, Image, Mask, VisionError};

/// The inspector of the finish.
#[derive(Debug)]
pub struct Finish;

const SHARE: &str = "surface.finish";
const PATCH: &str = "surface.patch_mm2";
/// The characteristic: the direction of a brushing, in degrees.
pub const DIRECTION: &str = "surface.brush_deg";
const CHARACTERISTICS: &[&str] = &[SHARE, PATCH, DIRECTION];

/// The least metal whose finish is told, in mm2: eight of the longest waves of an engraved finish each way.
const LEAST_MM2: f64 = 1.3;
/// Standard uncertainty of a share that is not known: its guard band reaches over every limit.
const UNKNOWN: f64 = 0.6;
/// Standard uncertainty of a share that is called none: some of the metal may still show the ordered finish.
const REST_U: f64 = 0.2;
/// How much of a region's share its border may be wrong by: a cell on it is half this, half that.
const BORDER: f64 = 0.25;
/// Direction of a brushing: least standard uncertainty in degrees, half a bin of the finest spectrum.
const LEAST_DIRECTION_U: f64 = 0.5;
/// How far about the metal it is looked at, in cells: as far as the model sees.
const MARGIN: usize = 4;
/// A cell counts with this share of it metal.
const LEAST_CELL: f32 = 0.5;

/// What the model of finishes says of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    sight: FinishSight,
    /// Cells along x.
    columns: usize,
    /// How much of each cell is metal.
    metal: Vec<f32>,
    /// Centre of the first cell in the frame's pixels.
    first: [f64; 2],
    /// Side of a cell in the frame's pixels.
    side_px: f64,
    /// A cell's area in mm2.
    cell_mm2: f64,
    thresholds: FinishThresholds,
    least_cells: f64,
}

impl Seen {
    /// How much metal there is, in cells.
    fn cells(&self) -> f64 {
        self.metal.iter().map(|m| f64::from(*m)).sum::<f64>().max(1e-9)
    }

    /// Where a cell lies in the frame.
    fn at(&self, cell: usize) -> [f64; 2] {
        let [x, y] = [cell % self.columns, cell / self.columns].map(|k| k as f64 * self.side_px);
        [self.first[0] + x, self.first[1] + y]
    }

    /// The middle of the metal in the frame and half the side of a square of its area.
    fn middle(&self) -> ([f64; 2], f64) {
        let total = self.cells();
        let of =
            |i: usize| self.metal.iter().enumerate().map(|(k, m)| f64::from(*m) * self.at(k)[i]).sum::<f64>() / total;
        ([of(0), of(1)], 0.5 * self.side_px * total.sqrt())
    }
}

/// Which of these finishes is the likeliest.
fn likeliest(whole: &[f64], of: impl Fn(usize) -> bool) -> Option<usize> {
    (0..whole.len()).filter(|k| of(*k)).max_by(|a, b| whole[*a].total_cmp(&whole[*b]))
}

/// How sure a finish must be that a draft orders by itself. That a piece looks as ordered is likely beforehand; here no finish is, and what a draft orders all later pieces are held to. Of 288 frames of
/// five sets the likeliest finish is wrong in 16 of 211 from the model's own threshold on, in 3 of 168 from 0.95 on and in none of 140 from here on; of 131 other frames in 8 of 108 and none of 66.
const SURE: f64 = 0.98;

/// The finish that a frame of a piece made to this view surely shows all over; none where that is not sure.
pub fn guess(model: &FinishModel, image: &Image, view: &View, um_per_px: f64, light: &str) -> Option<&'static str> {
    let located = crate::locate::locate(image, view, Some(um_per_px)).ok()?;
    let seen = look(model, image, &crate::locate::open_metal(view, &located), um_per_px, light).ok()?;
    let whole = &seen.sight.whole;
    let best = likeliest(whole, |_| true)?;
    tracing::debug!("the finish: {whole:.3?}");
    let sure = seen.thresholds.accept.max(SURE);
    (whole[best] >= sure && unevenness(&seen, best).iter().all(|u| *u <= 1.0)).then(|| FinishModel::finishes()[best])
}

/// Asks the model about a frame's metal ([`crate::locate::open_metal`]), which was taken under a light of that name.
///
/// # Errors
/// Why it says nothing.
pub fn look(model: &FinishModel, image: &Image, metal: &Mask, um_per_px: f64, light: &str) -> Result<Seen, String> {
    let info = model.info();
    if !(info.range.0..=info.range.1).contains(&um_per_px) {
        let (least, most) = info.range;
        return Err(format!("the model of finishes is for {least} to {most} um a pixel, the frame has {um_per_px}"));
    }
    let few = || format!("less than {LEAST_MM2} mm2 of metal show what finish it has");
    let metal_px = metal.count();
    if (metal_px as f64) * (um_per_px / 1000.0).powi(2) < LEAST_MM2 {
        return Err(few());
    }
    let white = metal
        .data
        .iter()
        .zip(image.data.chunks_exact(3))
        .filter(|(m, p)| **m != 0 && p.iter().all(|v| *v >= END))
        .count() as f64
        / metal_px as f64;
    if white > MOST_WHITE {
        return Err(format!("{:.0} % of the metal is overexposed and shows nothing", 100.0 * white));
    }
    let shown = show(info, image, metal, um_per_px, light).map_err(|e| e.to_string())?;
    let (shown, first, k) = shown.ok_or_else(few)?;
    let sight = model.look(&shown).map_err(|e: ModelError| e.to_string())?;
    let side_px = info.cell as f64 * k;
    Ok(Seen {
        sight,
        columns: shown.columns,
        metal: shown.metal,
        first,
        side_px,
        cell_mm2: (side_px * um_per_px / 1000.0).powi(2),
        thresholds: info.thresholds,
        least_cells: info.least_cells,
    })
}

/// The metal's surroundings as the model is shown them, where the centre of their first cell lies in the frame, and how many of the
/// frame's pixels one pixel is. None where no cell has metal.
#[allow(clippy::type_complexity)]
fn show(
    info: &FinishInfo,
    image: &Image,
    metal: &Mask,
    um_per_px: f64,
    light: &str,
) -> Result<Option<(Shown, [f64; 2], f64)>, VisionError> {
    let cell = info.cell;
    let k = (um_per_px / info.um_per_px).min(1.0);
    let size = |n: usize| ((n as f64 * k).round() as usize).max(cell);
    let (w, h) = (size(image.width), size(image.height));
    let small;
    let (image, metal) = if k < 1.0 {
        small = (ops::area(image, w, h)?, ops::area_mask(metal, w, h)?);
        (&small.0, &small.1)
    } else {
        (image, metal)
    };
    let metal = ops::erode(metal, info.erode_px)?;
    let Some(b) = metal.bounds() else { return Ok(None) };
    // Whole cells about the metal, none beyond the picture.
    let cells = |from: usize, length: usize, all: usize| {
        let last = (all / cell).max(1);
        let (first, end) = (from / cell, (from + length).div_ceil(cell));
        (first.saturating_sub(MARGIN), (end + MARGIN).min(last))
    };
    let ((x0, x1), (y0, y1)) = (cells(b.x, b.width, image.width), cells(b.y, b.height, image.height));
    if x1 <= x0 || y1 <= y0 || image.width < cell || image.height < cell {
        return Ok(None);
    }
    let (columns, rows) = (x1 - x0, y1 - y0);
    let plane = columns * rows * cell * cell;
    let mut pixels = vec![0f32; 3 * plane];
    let mut share = vec![0f32; columns * rows];
    for y in 0..rows * cell {
        for x in 0..columns * cell {
            let i = (y + y0 * cell) * image.width + x + x0 * cell;
            for c in 0..3 {
                pixels[c * plane + y * columns * cell + x] = f32::from(image.data[3 * i + c]);
            }
            if metal.data[i] != 0 {
                share[y / cell * columns + x / cell] += 1.0 / (cell * cell) as f32;
            }
        }
    }
    if share.iter().all(|s| *s == 0.0) {
        return Ok(None);
    }
    let first = [x0, y0].map(|c| ((c as f64 + 0.5) * cell as f64) / k - 0.5);
    let light = info.lights.iter().map(|l| f32::from(u8::from(l == light))).collect();
    Ok(Some((Shown { columns, rows, pixels, metal: share, light }, first, 1.0 / k)))
}

impl Inspect for Finish {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        CHARACTERISTICS
    }

    fn is_last(&self) -> bool {
        true
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        if !is_limited(scene) {
            return Ok(answer);
        }
        let none = |why: String| Answer {
            not_assessed: CHARACTERISTICS.iter().map(|c| (*c, why.clone())).collect(),
            ..Answer::default()
        };
        let Some(mm_per_px) = scene.mm_per_px() else { return Ok(none("the frame has no um_per_px".into())) };
        let seen = match &scene.finish {
            Some(Ok(seen)) => seen,
            Some(Err(why)) => return Ok(none(why.clone())),
            None => return Ok(none("it needs the model of finishes (this run is without)".into())),
        };
        let names = FinishModel::finishes();
        let Some(ordered) = names.iter().position(|f| *f == scene.spec.finish) else {
            return Ok(none(format!("the finish {} is none that can be told", scene.spec.finish)));
        };
        let whole = &seen.sight.whole;
        let seen_as = likeliest(whole, |_| true).unwrap_or(ordered);
        tracing::debug!("{}: finish {whole:.4?}", scene.frame.file);
        let regions = regions(seen, ordered);
        let told = Told::of(seen, &scene.frame.light, ordered, &regions);
        answer.features.push(told.share(seen));
        answer.finish = Some(told);
        answer.assessed.extend([SHARE, PATCH]);
        // A finish that is wrong all over is one finding.
        if whole[ordered] >= seen.thresholds.reject {
            answer.features.extend(regions.iter().map(|r| patch(seen, r)));
        }
        if names[seen_as] != "brushed" {
            answer.not_assessed.push((DIRECTION, format!("the metal looks {}", names[seen_as])));
        } else if let Some(lines) = texture::describe(scene.image, scene.bare_metal, mm_per_px)? {
            answer.assessed.push(DIRECTION);
            answer.features.push(direction(scene, seen, &lines));
        } else {
            answer.not_assessed.push((DIRECTION, "too little of the bare metal lies together".into()));
        }
        Ok(answer)
    }
}

/// Whether the spec limits anything of the finish in a scene's view.
pub fn is_limited(scene: &Scene) -> bool {
    CHARACTERISTICS.iter().any(|c| scene.spec.limit(c, &scene.view.name).is_some())
}

/// Cells side by side that show one finish other than the ordered.
struct Region {
    finish: usize,
    cells: Vec<usize>,
    /// Metal of them, in cells.
    metal: f64,
    probability: f64,
}

fn regions(seen: &Seen, ordered: usize) -> Vec<Region> {
    let answers = &seen.sight.cells;
    let other: Vec<Option<usize>> = answers
        .iter()
        .zip(&seen.metal)
        .map(|(p, m)| (0..p.len()).find(|k| *k != ordered && *m > LEAST_CELL && p[*k] >= seen.thresholds.patch))
        .collect();
    let mut taken = vec![false; other.len()];
    let mut out = Vec::new();
    for start in 0..other.len() {
        let Some(finish) = other[start].filter(|_| !taken[start]) else { continue };
        let mut cells = vec![start];
        taken[start] = true;
        let mut next = 0;
        while next < cells.len() {
            let at = cells[next];
            let column = at % seen.columns;
            let beside = [
                (column > 0).then(|| at - 1),
                (column + 1 < seen.columns).then_some(at + 1),
                at.checked_sub(seen.columns),
                Some(at + seen.columns).filter(|k| *k < other.len()),
            ];
            for k in beside.into_iter().flatten() {
                if !taken[k] && other[k] == Some(finish) {
                    taken[k] = true;
                    cells.push(k);
                }
            }
            next += 1;
        }
        let metal: f64 = cells.iter().map(|k| f64::from(seen.metal[*k])).sum();
        if metal >= seen.least_cells {
            let probability = cells.iter().map(|k| answers[*k][finish]).sum::<f64>() / cells.len() as f64;
            out.push(Region { finish, cells, metal, probability });
        }
    }
    out
}

/// Half the side, in cells, of what a cell's odds are the mean of where they are compared.
const ABOUT: usize = 2;
/// Least probability that is told from none there.
const LEAST_P: f64 = 1e-4;
/// Fewest cells that are compared.
const FEWEST: usize = 5;

/// Where another finish may well be (log odds against the ordered one), and how much of the metal may lie in such places: of 159 frames of good pieces that are told as
/// ordered none has more than a twentieth there, a signet of which a third is brushed 0.29.
const MAY_BE: f64 = -1.0;
const MAY_BE_SHARE: f64 = 0.1;

/// How much the cells differ in what they say against the ordered finish: the standard deviation over the metal of the log odds of the
/// best other finish, each the mean of its surroundings; and how much of the metal lies where that may well be the finish. Both as multiples of what may be, and 0 where too few
/// cells have enough metal about them.
fn unevenness(seen: &Seen, ordered: usize) -> [f64; 2] {
    let rows = seen.metal.len() / seen.columns.max(1);
    let against = |k: usize| {
        let p = &seen.sight.cells[k];
        let odds = |f: usize| p[f].max(LEAST_P).ln();
        (0..p.len()).filter(|f| *f != ordered).map(odds).fold(f64::MIN, f64::max) - odds(ordered)
    };
    let against: Vec<f64> = (0..seen.metal.len()).map(against).collect();
    let most = ((2 * ABOUT + 1) * (2 * ABOUT + 1)) as f64;
    let mut means = Vec::new();
    for y in 0..rows {
        for x in 0..seen.columns {
            let (mut metal, mut sum) = (0.0, 0.0);
            for j in y.saturating_sub(ABOUT)..(y + ABOUT + 1).min(rows) {
                for i in x.saturating_sub(ABOUT)..(x + ABOUT + 1).min(seen.columns) {
                    let k = j * seen.columns + i;
                    metal += f64::from(seen.metal[k]);
                    sum += f64::from(seen.metal[k]) * against[k];
                }
            }
            if metal >= 0.5 * most {
                means.push(sum / metal);
            }
        }
    }
    if means.len() < FEWEST {
        return [0.0; 2];
    }
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let differ = (means.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let may_be = means.iter().filter(|v| **v > MAY_BE).count() as f64 / n;
    [differ / seen.thresholds.even, may_be / MAY_BE_SHARE]
}

/// What is told of the finish of all the metal, by one frame or by several together.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The light that it was seen under.
    light: String,
    /// Which finish was ordered.
    ordered: usize,
    /// Probabilities of the finishes.
    whole: Vec<f64>,
    thresholds: FinishThresholds,
    /// Share of the metal that lies in regions of another finish, and the surest region's probability.
    lost: f64,
    region: f64,
    /// Standard uncertainty of a share for what is smaller than the least region, which is not seen (anything between none and that: a
    /// rectangular distribution).
    blind: f64,
    /// How uneven it looks, and how much of it may well be of another finish, as multiples of what may be.
    uneven: [f64; 2],
}

impl Told {
    fn of(seen: &Seen, light: &str, ordered: usize, regions: &[Region]) -> Told {
        let cells = seen.cells();
        Told {
            light: light.to_owned(),
            ordered,
            whole: seen.sight.whole.clone(),
            thresholds: seen.thresholds,
            lost: (regions.iter().map(|r| r.metal).sum::<f64>() / cells).min(1.0),
            region: regions.iter().map(|r| r.probability).fold(0.0, f64::max),
            blind: seen.least_cells / cells / 12f64.sqrt(),
            uneven: unevenness(seen, ordered),
        }
    }

    /// What frames of one view say together. The log odds of the lights (of frames under the same light their mean, for they say the same) are
    /// added and divided by the root of how many lights there are: under several the same metal deceives in the same way to a part, and n say as much
    /// as the root of n that know nothing of one another (on 90 pieces under two to five lights the likeliest of the rules tried,
    /// `models/finish.md`). Of a region the frame counts that shows most.
    fn together(all: &[&Told]) -> Option<Told> {
        let (first, n) = (all.first()?, all.len() as f64);
        let mut lights: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
        for t in all {
            lights.entry(&t.light).or_default().push(t);
        }
        let log = |t: &Told, k: usize| t.whole[k].max(f64::MIN_POSITIVE).ln();
        let of = |frames: &Vec<&Told>, k: usize| frames.iter().map(|t| log(t, k)).sum::<f64>() / frames.len() as f64;
        let odds = |k: usize| lights.values().map(|f| of(f, k)).sum::<f64>() / (lights.len() as f64).sqrt();
        let most = |of: fn(&Told) -> f64| all.iter().map(|t| of(t)).fold(0.0, f64::max);
        Some(Told {
            light: String::new(),
            whole: shares((0..first.whole.len()).map(odds).collect()),
            lost: most(|t| t.lost),
            region: most(|t| t.region),
            blind: most(|t| t.blind),
            // A place of another finish is one under every light.
            uneven: [
                all.iter().map(|t| t.uneven[0]).sum::<f64>() / n,
                all.iter().map(|t| t.uneven[1]).fold(f64::INFINITY, f64::min),
            ],
            ..(*first).clone()
        })
    }

    /// How much of the metal shows the ordered finish, its standard uncertainty, whether it is a wrong finish, how sure that is or that it is not,
    /// and why a person must look.
    fn judged(&self) -> (Value, bool, f64, Option<String>) {
        let (whole, ordered, lost) = (&self.whole, self.ordered, self.lost);
        let p = whole[ordered];
        let uneven = lost == 0.0 && self.uneven.iter().any(|u| *u > 1.0);
        let (value, uncertainty) = if p < self.thresholds.reject {
            // Another finish is all over it, or over so much of it that the rest does not show: how much is not measured.
            (0.0, REST_U)
        } else if p >= self.thresholds.accept && !uneven || lost > 0.0 && p >= 0.5 {
            (1.0 - lost, self.blind.hypot(BORDER * lost))
        } else {
            (p, UNKNOWN)
        };
        let best = likeliest(whole, |k| k != ordered);
        let unsure = uncertainty == UNKNOWN;
        let doubt = best.filter(|_| unsure).map(|k| {
            let name = FinishModel::finishes();
            match uneven && p >= self.thresholds.accept {
                true => format!("it looks {}, but not the same all over: a place may be {}", name[ordered], name[k]),
                false => {
                    let percent = |k: usize| 100.0 * whole[k];
                    format!(
                        "it may be {} ({:.0} %) or {} ({:.0} %)",
                        name[ordered],
                        percent(ordered),
                        name[k],
                        percent(k)
                    )
                }
            }
        });
        // Where no finish is sure the row says so; there is nothing to point at.
        let wrong = p < 0.5 && !unsure || lost > 0.0;
        let confidence = if wrong { (1.0 - p).max(self.region) } else { p };
        (Value { characteristic: SHARE, value, uncertainty }, wrong, confidence, doubt)
    }

    /// The feature of it.
    fn share(&self, seen: &Seen) -> Feature {
        let mut feature = of_all(seen, "finish", Value { characteristic: SHARE, value: 0.0, uncertainty: UNKNOWN });
        self.tell(&mut feature);
        feature
    }

    fn tell(&self, feature: &mut Feature) {
        let (value, wrong, confidence, doubt) = self.judged();
        feature.kind = wrong.then_some(FindingType::WrongFinish);
        (feature.values, feature.confidence, feature.doubt) = (vec![value], confidence, doubt);
    }
}

/// Whether a feature is the finish of all the metal.
pub fn is_share(feature: &Feature) -> bool {
    feature.values.first().is_some_and(|v| v.characteristic == SHARE)
}

/// The finish of all the metal as several frames of a view show it: what each of them told, by its file. The frame that speaks most for what
/// they say together carries the picture.
pub fn fuse(
    mut all: Vec<(String, Option<[f64; 2]>, Feature)>,
    told: &[(String, Told)],
) -> (String, Option<[f64; 2]>, Feature) {
    let of = |file: &str| told.iter().find(|t| t.0 == file).map(|t| &t.1);
    let frames: Vec<&Told> = all.iter().filter_map(|(file, ..)| of(file)).collect();
    let Some(together) = Told::together(&frames) else { return all.swap_remove(0) };
    let ordered = |file: &str| of(file).map_or(0.0, |t| t.whole[t.ordered]);
    let side = if together.judged().1 { -1.0 } else { 1.0 };
    // Of frames that say the same the first.
    all.sort_by(|a, b| (side * ordered(&b.0)).total_cmp(&(side * ordered(&a.0))));
    let mut best = all.swap_remove(0);
    together.tell(&mut best.2);
    best
}

/// A region as a finding.
fn patch(seen: &Seen, region: &Region) -> Feature {
    let n = region.cells.len() as f64;
    let middle = [0, 1].map(|i| region.cells.iter().map(|k| seen.at(*k)[i]).sum::<f64>() / n);
    let reach = |k: &usize| {
        let at = seen.at(*k);
        (at[0] - middle[0]).hypot(at[1] - middle[1]) + 0.5 * seen.side_px
    };
    let area = region.metal * seen.cell_mm2;
    let value = Value { characteristic: PATCH, value: area, uncertainty: BORDER * area };
    let mut feature = of_all(seen, &format!("{}-1", FinishModel::finishes()[region.finish]), value);
    feature.kind = Some(FindingType::WrongFinish);
    (feature.x_px, feature.y_px) = (middle[0], middle[1]);
    feature.radius_px = region.cells.iter().map(reach).fold(0.0, f64::max);
    feature.confidence = region.probability;
    feature.nominal = false;
    feature
}

/// A feature of all of the metal.
fn of_all(seen: &Seen, name: &str, value: Value) -> Feature {
    let (middle, radius_px) = seen.middle();
    Feature {
        kind: None,
        name: name.into(),
        x_px: middle[0],
        y_px: middle[1],
        radius_px,
        outline_px: vec![],
        confidence: 1.0,
        found_by: vec!["finish".into()],
        values: vec![value],
        opinion: None,
        rim: None,
        doubt: None,
        nominal: true,
    }
}

/// Direction of the brushing in piece coordinates, degrees counter-clockwise from x.
fn direction(scene: &Scene, seen: &Seen, texture: &texture::Texture) -> Feature {
    let turn = scene.located.pose.rotation.to_degrees();
    let limit = scene.spec.limit(DIRECTION, &scene.view.name);
    // A line has no ends: of the values that are half a turn apart the one nearest to what was ordered.
    let about = limit.map_or(90.0, |l| match (l.nominal, l.lower, l.upper) {
        (Some(n), _, _) => n,
        (_, Some(a), Some(b)) => (a + b) / 2.0,
        (_, a, b) => a.or(b).unwrap_or(90.0),
    });
    let value = texture.lines.to_degrees() - turn;
    let value = about + wrapped(value - about);
    // Blocks tell how well the direction is known; each counts by itself.
    let apart: Vec<f64> = texture.blocks.iter().map(|b| wrapped((b - texture.lines).to_degrees()).powi(2)).collect();
    let n = apart.len() as f64;
    let scatter = if apart.len() >= 3 { (apart.iter().sum::<f64>() / n / n).sqrt() } else { 5.0 };
    let u = scatter.hypot(scene.located.rotation_u.to_degrees()).max(LEAST_DIRECTION_U);
    of_all(seen, "brushing", Value { characteristic: DIRECTION, value, uncertainty: u })
}

/// Brings directions of lines (degrees) about the one that they have in common (half the mean of the doubled angles, Mardia and Jupp 2000): 179 and 1 are two
/// degrees apart. Where they have none they stay as they are.
pub fn about_one_line<'a>(directions: impl Iterator<Item = &'a mut f64>) {
    let all: Vec<&mut f64> = directions.collect();
    let doubled = all.iter().map(|d| (2.0 * **d).to_radians().sin_cos());
    let (s, c) = doubled.fold((0.0, 0.0), |(a, b), (s, c)| (a + s, b + c));
    if s.hypot(c) > 1e-9 * all.len() as f64 {
        let common = (0.5 * s.atan2(c)).to_degrees().rem_euclid(180.0);
        for d in all {
            *d = common + wrapped(*d - common);
        }
    }
}

/// Degrees between two lines, from -90 to 90.
fn wrapped(degrees: f64) -> f64 {
    (degrees + 90.0).rem_euclid(180.0) - 90.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metal with streaks along `deg`, seen with a camera's noise.
    pub(super) fn brushed(deg: f64, seed: u64) -> Image {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (w, h) = (320usize, 240usize);
        let (s, c) = deg.to_radians().sin_cos();
        let rows: Vec<f64> = (0..4096).map(|_| 24.0 * (rng.f64() - 0.5)).collect();
        let mut data = Vec::with_capacity(3 * w * h);
        for y in 0..h {
            for x in 0..w {
                // Across the streaks; y is down.
                let t = (s * x as f64 + c * y as f64) / 1.5 + 1000.0;
                // Streaks of finite length.
                let u = ((c * x as f64 - s * y as f64) / 60.0 + rows[t as usize]).floor() as i64;
                let level = rows[(t as usize + 37 * (u.rem_euclid(29) as usize)) % rows.len()];
                let v = 130.0 + level + 6.0 * (rng.f64() - 0.5);
                data.extend([v as u8, (0.9 * v) as u8, (0.7 * v) as u8]);
            }
        }
        Image { width: w, height: h, data, grey: false }
    }

    #[test]
    fn directions_of_lines_lie_about_one() {
        let mut d = [179.0, 1.0, 0.5, 178.5];
        about_one_line(d.iter_mut());
        let (least, most) = d.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        assert!((most - least - 2.5).abs() < 1e-9, "{d:?}");
        let mut across = [0.0, 90.0];
        about_one_line(across.iter_mut());
        assert_eq!(across, [0.0, 90.0]);
    }

    #[test]
    fn the_direction_of_a_brushing_is_measured() {
        for deg in [0.0, 25.0, 90.0, 141.0] {
            let image = brushed(deg, 5);
            let all = Mask::full(image.width, image.height);
            let seen = texture::describe(&image, &all, 0.012).unwrap().unwrap();
            let off = wrapped(seen.lines.to_degrees() - deg);
            assert!(off.abs() < 2.0, "{deg}: {}", seen.lines.to_degrees());
            assert!(seen.blocks.len() >= 8, "{}", seen.blocks.len());
        }
    }

    fn model() -> FinishModel {
        FinishModel::load_default().unwrap()
    }

    #[test]
    fn what_is_shown_lies_where_the_metal_is() {
        let model = model();
        let cell = model.info().cell;
        let (width, height) = (40 * cell, 30 * cell);
        let image = Image { width, height, data: vec![90; 3 * width * height], grey: false };
        let mut metal = Mask::empty(width, height);
        let (cx, cy) = (25.5 * cell as f64, 15.5 * cell as f64);
        ops::fill_circle(&mut metal, cx, cy, 5.0 * cell as f64, 255);
        for um in [12.0, 6.0] {
            let (shown, first, k) = show(model.info(), &image, &metal, um, "dome").unwrap().unwrap();
            assert_eq!(shown.pixels.len(), 3 * shown.columns * shown.rows * cell * cell);
            let total: f32 = shown.metal.iter().sum();
            let middle = |i: usize| {
                let at = |c: usize| first[i] + [c % shown.columns, c / shown.columns][i] as f64 * cell as f64 * k;
                shown.metal.iter().enumerate().map(|(c, m)| f64::from(*m) * at(c)).sum::<f64>() / f64::from(total)
            };
            assert!((middle(0) - cx).abs() < 1.0 && (middle(1) - cy).abs() < 1.0, "{} {}", middle(0), middle(1));
            let expected = std::f64::consts::PI * (5.0 * um / 12.0_f64).powi(2);
            assert!((f64::from(total) / expected - 1.0).abs() < 0.2, "{total} {expected}");
        }
    }

    #[test]
    fn too_little_metal_or_white_metal_says_nothing() {
        let image = brushed(0.0, 1);
        let mut few = Mask::empty(image.width, image.height);
        ops::fill_circle(&mut few, 100.0, 100.0, 30.0, 255);
        let model = model();
        assert!(look(&model, &image, &few, 12.0, "dome").unwrap_err().contains("mm2 of metal"));
        let all = Mask::full(image.width, image.height);
        let burnt = Image { data: vec![255; image.data.len()], ..image.clone() };
        assert!(look(&model, &burnt, &all, 12.0, "dome").unwrap_err().contains("100 % of the metal is overexposed"));
        assert!(look(&model, &image, &all, 40.0, "dome").unwrap_err().contains("um a pixel"));
        assert!(
            (look(&model, &image, &all, 12.0, "dome").unwrap().sight.whole.iter().sum::<f64>() - 1.0).abs() < 1e-9
        );
    }

    /// Ten by ten cells of polished metal.
    fn even() -> Seen {
        let calm = vec![0.97, 0.01, 0.01, 0.01];
        Seen {
            sight: FinishSight { whole: calm.clone(), cells: vec![calm; 100] },
            columns: 10,
            metal: vec![1.0; 100],
            first: [8.0, 8.0],
            side_px: 16.0,
            cell_mm2: 0.04,
            thresholds: FinishThresholds { accept: 0.9, reject: 0.05, patch: 0.95, even: 0.3 },
            least_cells: 6.0,
        }
    }

    #[test]
    fn a_region_is_cells_side_by_side() {
        let mut seen = even();
        let matte = vec![0.01, 0.01, 0.97, 0.01];
        // Ten that touch, across the end of a row and not: the last of one row and the first of the next are no neighbours.
        for k in [12, 13, 22, 23, 32, 33, 39, 50] {
            seen.sight.cells[k] = matte.clone();
        }
        let found = regions(&seen, 0);
        assert_eq!((found.len(), found[0].finish, found[0].cells.len()), (1, 2, 6));
        let f = Told::of(&seen, "dome", 0, &found).share(&seen);
        assert!((f.values[0].value - 0.94).abs() < 1e-9 && f.kind == Some(FindingType::WrongFinish));
        let at = patch(&seen, &found[0]);
        assert_eq!((at.x_px, at.y_px), (8.0 + 2.5 * 16.0, 8.0 + 2.0 * 16.0));
        assert!((at.values[0].value - 0.24).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_the_same_all_over_is_a_persons_matter() {
        let mut seen = even();
        assert!(unevenness(&seen, 0).iter().all(|u| *u < 1e-9));
        assert_eq!(Told::of(&seen, "dome", 0, &[]).share(&seen).values[0].value, 1.0);
        // Half of it is less like it, but like nothing else; all of it together is a little like brushed metal.
        seen.sight.whole = vec![0.96, 0.02, 0.01, 0.01];
        for k in (0..100).filter(|k| k % 10 < 5) {
            seen.sight.cells[k] = vec![0.5, 0.4, 0.05, 0.05];
        }
        assert!(unevenness(&seen, 0)[0] > 1.0);
        let f = Told::of(&seen, "dome", 0, &[]).share(&seen);
        assert!(f.values[0].uncertainty == UNKNOWN && f.kind.is_none() && f.doubt.unwrap().contains("brushed"));
    }

    #[test]
    fn frames_tell_more_together_and_one_that_is_lost_alone() {
        let seen = even();
        let frame = |light: &str, whole: [f64; 4]| Told { whole: whole.to_vec(), ..Told::of(&seen, light, 0, &[]) };
        let (a, b) = (frame("dome", [0.8, 0.1, 0.05, 0.05]), frame("ring", [0.85, 0.05, 0.06, 0.04]));
        // Neither is sure; both together are: 0.8 * 0.85 against 0.1 * 0.05 and so on, to the power of 0.71.
        assert!(a.judged().0.uncertainty == UNKNOWN && b.judged().0.uncertainty == UNKNOWN);
        let both = Told::together(&[&a, &b]).unwrap();
        assert!((both.whole[0] - 0.9356).abs() < 1e-3, "{}", both.whole[0]);
        assert!(both.judged().0.value == 1.0 && both.judged().3.is_none());
        // The same in any order, and where they contradict one another a person decides.
        assert_eq!(both, Told::together(&[&b, &a]).unwrap());
        let against = frame("ring", [0.1, 0.8, 0.05, 0.05]);
        assert!(Told::together(&[&a, &against]).unwrap().judged().3.unwrap().contains("brushed"));
        // The same light again says nothing new.
        assert!((Told::together(&[&a, &a, &a]).unwrap().whole[0] - 0.8).abs() < 1e-9);
        // The picture is that of the frame which speaks for it.
        let told = [("a.png".to_owned(), a.clone()), ("b.png".to_owned(), b)];
        let row = |file: &str| (file.to_owned(), None, a.share(&seen));
        let (file, _, feature) = fuse(vec![row("a.png"), row("b.png")], &told);
        assert!(file == "b.png" && feature.doubt.is_none() && is_share(&feature));
    }

    #[test]
    fn half_turns_are_the_same_line() {
        assert_eq!([wrapped(179.0), wrapped(-95.0), wrapped(45.0)], [-1.0, 85.0, 45.0]);
    }
}
