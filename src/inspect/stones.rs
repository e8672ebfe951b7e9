//! Every nominal stone: is it there, where does its girdle sit, how large is it, is it level, is it whole, what does it weigh.
//!
//! Classic vision and the surface model say whether a seat holds a stone at all (`seat`); the model of stones says so too and
//! measures (`sight`). Places, widths and slopes are then set against all stones of the frame together (`align`).

use super::align::{self, Rigid};
use super::{carat, gem, prongs, seat, sight, Answer, Feature, Inspect, Scene, Value};
use crate::locate::SETTING_TOLERANCE_MM;
use crate::model::{ChipOdds, StoneSight};
use crate::report::{listed, round_to, FindingType, StoneRow};
use crate::spec::{Outline, Stone};
use crate::vision::VisionError;

/// The inspector of stones.
#[derive(Debug)]
pub struct Stones;

/// The characteristic: 1 where it is there, 0 where it is missing.
pub const PRESENT: &str = "stone.present";
const OFFSET: &str = "stone.offset_mm";
const DIAMETER: &str = "stone.diameter_mm";
/// The slope of a stone against the metal about it.
pub const TILT: &str = "stone.tilt_deg";
/// The characteristic of chips.
pub const CHIP: &str = "stone.chip_mm";
const CARAT: &str = "stone.carat";
const MEASURED: [&str; 5] = [OFFSET, DIAMETER, TILT, CHIP, CARAT];

/// How good stones scatter about their places, in mm (standard deviation per axis): a quarter of the setting's tolerance.
pub const SETTING_MM: f64 = SETTING_TOLERANCE_MM / 4.0;
/// How the widths of calibrated stones scatter about what was ordered, in mm (standard deviation): half the trade's tolerance of 0.1 mm.
const CALIBRATED_MM: f64 = 0.05;
/// How the slopes of good stones scatter (tangent): a bench setter levels to about a degree.
const LEVEL: f64 = 0.018;
/// How far a whole piece may lie out of level in its holder (tangent).
const HOLDER: f64 = 0.01;
/// Curvature that a top may have beyond its outline's, in 1/mm; the perspective of a lens at 80 mm and more is within it.
const CURVATURE: f64 = 0.02;
/// What a lens at 90 mm and more adds, in 1/mm (standard deviation, anything between none and that).
const PERSPECTIVE: f64 = 0.0064;
/// What the model's deviation of a slope is multiplied by where a stone is not round: of 12 rendered ones 5 to 20 degrees out of level most are read at a third of that, and 2 passed
/// a limit of 5 degrees with what it states, none with this; of 95 level ones 68 and 62 pass.
const OTHER_CUTS: f64 = 1.2;
/// How much of a shank's slope is read in its stones, and how that scatters from piece to piece (34 rendered shanks with level stones on slopes of 11 degrees and more) and
/// from stone to stone, as a share of the slope, besides their own deviations (190 such stones).
const READ: f64 = 0.69;
const READ_U: f64 = 0.24;
const READ_SCATTER: f64 = 0.05;
/// What share of the offset of a stone that is not round is uncertain besides (standard deviation): the edge of the seat that it left looks like
/// a girdle and draws the fit back. Of eight rendered ones 0.05 to 0.6 mm off their places, five were told less than 0.8 of it.
const DRAWN: f64 = 0.3;
/// The same of round stones, whose facets tell their middles besides. On 1163 rendered ones under lips the stated uncertainty holds 0.39 of the offsets from
/// 0.08 mm on without it and 0.78 with it; more would leave to a person what surely lies off its place.
const DRAWN_ROUND: f64 = 0.1;
/// Fewest stones that are set against one another.
pub const COMPANY: usize = 3;

/// A stone as it was seen, set against the others.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// Index in the view.
    pub index: usize,
    /// Girdle centre in piece coordinates, in mm.
    pub centre: [f64; 2],
    /// From its place, after all stones together are laid on theirs, in mm.
    pub offset: [f64; 2],
    /// Standard uncertainty of each coordinate of the offset, in mm.
    pub offset_u: f64,
    /// Width of the girdle as the frame shows it, in mm.
    pub seen: f64,
    /// Width of the girdle in mm: what the seats may hide of all stones taken out by half.
    pub diameter: f64,
    /// Its standard uncertainty in mm.
    pub diameter_u: f64,
    /// Slope against the metal about it (tangent), along the piece's axes.
    pub slope: [f64; 2],
    /// Standard uncertainty of each of its coordinates.
    pub slope_u: f64,
    /// How far a stone that is not round lies turned against the spec (radians, counter-clockwise); 0 where that is not known.
    pub turned: f64,
}

/// The stones that the model sees in their seats, and what they have in common; made once for a scene.
pub fn placed<'a>(scene: &'a Scene) -> &'a (Vec<Placed>, Rigid) {
    scene.placed.get_or_init(|| set_together(scene))
}

fn set_together(scene: &Scene) -> (Vec<Placed>, Rigid) {
    let Some(sights) = scene.sights else { return (vec![], Rigid::default()) };
    let pose = &scene.located.pose;
    let scale_u = scene.scale_u();
    let mut out: Vec<Placed> = Vec::new();
    for (index, (stone, seen)) in scene.view.stones.iter().zip(&sights.stones).enumerate() {
        let Ok(seen) = seen else { continue };
        if seen.present < 0.0 {
            continue;
        }
        let d = stone.diameter_mm;
        let shift = sight::stone_shift(stone, seen.centre);
        // Half a pixel's tenth at least: no edge is known better.
        let floor = pose.mm(0.05);
        out.push(Placed {
            index,
            centre: [stone.x_mm + shift[0], stone.y_mm + shift[1]],
            offset: shift,
            offset_u: (seen.centre_u * stone.length_mm()).hypot(floor),
            seen: seen.size * d,
            diameter: seen.size * d,
            diameter_u: (seen.size_u * d).hypot(scale_u * d).hypot(floor),
            slope: sight::to_piece(seen.slope, stone.length_turn()),
            slope_u: seen.slope_u * if stone.is_round() { 1.0 } else { OTHER_CUTS },
            turned: seen.rim.map_or(0.0, |rim| rim.turned),
        });
    }
    for s in &out {
        tracing::debug!(
            "stone {} of {}: slope {:.3?} +- {:.3}",
            scene.view.stones[s.index].id,
            scene.frame.file,
            s.slope,
            s.slope_u
        );
    }
    let common = lay_on(scene, &mut out);
    common_size(scene, &mut out);
    level(scene, &mut out);
    (out, common)
}

/// What seats may hide of all stones, or add to them, of the diameter: as much as takes a stone off its order (`off_order`).
const HIDDEN: f64 = OFF_ORDER;

/// Takes out of the offsets what all stones have in common: a shift and a turn of the piece.
fn lay_on(scene: &Scene, stones: &mut [Placed]) -> Rigid {
    let located = scene.located;
    let nominal = |s: &Placed| [scene.view.stones[s.index].x_mm, scene.view.stones[s.index].y_mm];
    let reach = stones.iter().map(|s| nominal(s)[0].hypot(nominal(s)[1])).fold(0.0, f64::max).max(1.0);
    let common = if stones.len() >= COMPANY {
        let shift = located.shift_u_mm.hypot(SETTING_TOLERANCE_MM);
        let turn = located.rotation_u.hypot(SETTING_TOLERANCE_MM / reach);
        let seen = stones.iter().map(|s| (nominal(s), s.offset, s.offset_u.hypot(SETTING_MM)));
        Rigid::of(seen, [shift, shift, turn])
    } else {
        Rigid { fit: [0.0; 3], fit_u: [located.shift_u_mm, located.shift_u_mm, located.rotation_u] }
    };
    for s in stones {
        let place = nominal(s);
        let by = common.at(place);
        s.offset = [s.offset[0] - by[0], s.offset[1] - by[1]];
        s.offset_u = s.offset_u.hypot(common.at_u(place));
    }
    common
}

/// Corrects diameters for what all stones have in common. Metal that lies over the girdles makes all of them look smaller, and the edge of a
/// seat that is taken for the girdle larger, which a picture from above cannot tell from stones that all are: how much of it is the
/// seats', anything between none and all is as likely. The middle of that is the best estimate and its deviation a twelfth's root (GUM 4.3.7);
/// what is more than a seat hides is the stones'.
fn common_size(scene: &Scene, stones: &mut [Placed]) {
    if stones.len() < COMPANY {
        return;
    }
    let nominal = |s: &Placed| scene.view.stones[s.index].diameter_mm;
    let mut apart: Vec<f64> = stones.iter().map(|s| s.diameter / nominal(s) - 1.0).collect();
    apart.sort_by(f64::total_cmp);
    let common = apart[apart.len() / 2].clamp(-HIDDEN, HIDDEN);
    for s in stones {
        let seats = common * nominal(s);
        s.diameter -= seats / 2.0;
        s.diameter_u = s.diameter_u.hypot(seats / 12f64.sqrt());
    }
}

/// Takes out of the slopes what the surface has: a shank's own curvature, and what all stones have in common, the slope of the
/// piece in its holder, the doming of its top and the lens's perspective.
fn level(scene: &Scene, stones: &mut [Placed]) {
    if let Some(Outline::Band { radius_mm, .. }) = &scene.view.outline {
        follow(scene, *radius_mm, stones);
    }
    if stones.len() < COMPANY {
        let curvature = match &scene.view.outline {
            Some(Outline::Band { .. }) => PERSPECTIVE,
            _ => CURVATURE,
        };
        for s in stones {
            let stone = &scene.view.stones[s.index];
            s.slope_u = s.slope_u.hypot(HOLDER).hypot(curvature * stone.x_mm.hypot(stone.y_mm));
        }
        return;
    }
    let place = |s: &Placed| [scene.view.stones[s.index].x_mm, scene.view.stones[s.index].y_mm];
    let rows: Vec<([f64; 4], f64, f64)> = stones
        .iter()
        .flat_map(|s| {
            let [x, y] = place(s);
            let u = s.slope_u.hypot(LEVEL);
            [([1.0, 0.0, x, 0.0], s.slope[0], u), ([0.0, 1.0, 0.0, y], s.slope[1], u)]
        })
        .collect();
    let (fit, fit_u) = align::solve(&rows, [HOLDER, HOLDER, CURVATURE, CURVATURE]);
    for s in stones {
        let [x, y] = place(s);
        s.slope = [s.slope[0] - fit[0] - fit[2] * x, s.slope[1] - fit[1] - fit[3] * y];
        let common = fit_u[0].hypot(fit_u[2] * x).max(fit_u[1].hypot(fit_u[3] * y));
        s.slope_u = s.slope_u.hypot(common);
    }
}

/// Takes a shank's curvature out of the slopes, where the stones follow it: a shank's top may be flat under its stones, and the
/// outline does not say. Nor does a picture show all of a slope: the steeper, the less of it is read. How much of the shank's is read in the stones is told by all of them together.
fn follow(scene: &Scene, radius_mm: f64, stones: &mut [Placed]) {
    let shank: Vec<f64> = stones
        .iter()
        .map(|s| {
            let x = scene.view.stones[s.index].x_mm.clamp(-0.95 * radius_mm, 0.95 * radius_mm);
            x / (radius_mm * radius_mm - x * x).sqrt()
        })
        .collect();
    let seen: Vec<[f64; 3]> = stones.iter().zip(&shank).map(|(s, by)| [s.slope[0], s.slope_u, *by]).collect();
    let (share, share_u) = read_of_shank(&seen);
    tracing::debug!("{}: {share:.2} +- {share_u:.2} of the shank's slope is seen in the stones", scene.frame.file);
    for (s, by) in stones.iter_mut().zip(shank) {
        s.slope[0] -= share * by;
        s.slope_u = s.slope_u.hypot(share_u * by).hypot(READ_SCATTER * share * by);
    }
}

/// How much of a shank's slope is read in the slopes of its stones, and the standard deviation of that: the mean of what is likely, where the top is flat or where the stones
/// follow the shank, each as likely beforehand. seen: slope along the shank, its deviation, the shank's slope there.
fn read_of_shank(seen: &[[f64; 3]]) -> (f64, f64) {
    // One stone out of level must not decide: each says no more than three standard deviations do.
    let likely = |share: f64| {
        let each = seen.iter().map(|[slope, u, by]| {
            let deviation = u.hypot(LEVEL).hypot(HOLDER).hypot(READ_SCATTER * share * by);
            let z = (slope - share * by) / deviation;
            (z * z).min(9.0) + 2.0 * deviation.ln()
        });
        -0.5 * each.sum::<f64>()
    };
    let before = |share: f64| (-0.5 * ((share - READ) / READ_U).powi(2)).exp();
    let shares = || (0..=50).map(|k| f64::from(k) / 50.0);
    let all: f64 = shares().map(before).sum();
    let mut weighed: Vec<(f64, f64)> = shares().map(|s| (s, likely(s) + (before(s) / all).ln())).collect();
    weighed.push((0.0, likely(0.0)));
    let best = weighed.iter().map(|w| w.1).fold(f64::NEG_INFINITY, f64::max);
    let sums = weighed.iter().fold([0.0; 3], |a, (share, log)| {
        let w = (log - best).exp();
        [a[0] + w, a[1] + w * share, a[2] + w * share * share]
    });
    let mean = sums[1] / sums[0];
    (mean, (sums[2] / sums[0] - mean * mean).max(0.0).sqrt())
}

impl Inspect for Stones {
    fn name(&self) -> &'static str {
        "stones"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        &[PRESENT, OFFSET, DIAMETER, TILT, CHIP, CARAT]
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        if scene.view.stones.is_empty() {
            return Ok(answer);
        }
        if scene.mm_per_px().is_none() {
            for c in self.characteristics() {
                answer.not_assessed.push((c, "the frame has no um_per_px".into()));
            }
            return Ok(answer);
        }
        let pose = &scene.located.pose;
        let metal = seat::MetalLook::new(scene);
        let (placed, _) = placed(scene);
        let sights = scene.sights;
        let scale_u = scene.scale_u();
        let blurred = scene.out_of_focus()?.is_some();
        let looks: Vec<Option<seat::Look>> = scene.view.stones.iter().map(|s| seat::look(scene, s, &metal)).collect();
        for (index, stone) in scene.view.stones.iter().enumerate() {
            let p = pose.to_px(stone.x_mm, stone.y_mm);
            let seen = sights.map(|s| &s.stones[index]);
            let look = looks[index];
            tracing::debug!("seat of stone {} of {}: {look:.3?}", stone.id, scene.frame.file);
            let black = look.is_some_and(|l| l.is_black());
            let of_gem = stone.gem.as_deref().is_some_and(|g| !gem::is_clear(g));
            let score = |l: seat::Look| if of_gem { l.score_of_gem() } else { l.score() };
            let classic = look.map(|l| seat::second_opinion(scene, stone, score(l)));
            let model = seen.and_then(|s| s.as_ref().ok()).map(|s| s.present);
            let bare = look.is_some_and(|l| l.is_metal());
            // What is burnt out or blurred does not show that nothing is there.
            let unclear = match look {
                _ if black => Some(BLACK),
                Some(l) if l.is_clipped() => Some(CLIPPED),
                _ if blurred => Some(BLURRED),
                _ if scene.is_underexposed() => Some(DARK),
                Some(l) if l.is_blank() && !bare => Some(BLANK),
                _ => None,
            };
            let told = |s: f64| match (unclear, bare) {
                (Some(BLACK), _) => 0.0,
                (Some(BLANK), _) => s.min(0.0),
                (Some(_), _) => s.max(0.0),
                (_, true) => s.min(seat::COVERED),
                _ => s,
            };
            let Some(score) = odds(classic, model).map(told) else {
                for c in self.characteristics() {
                    answer.not_assessed.push((c, format!("stone {}: it is not in the frame", stone.id)));
                }
                continue;
            };
            let present = score > 0.0;
            let mut feature = part(&stone.id, p, pose.px(stone.diameter_mm / 2.0));
            feature.kind = (!present).then_some(FindingType::MissingStone);
            feature.confidence = 1.0 / (1.0 + (-score.abs()).exp());
            // Near even odds a person decides: the guard band of twice this reaches over the limit from either side.
            let opposed = !bare && classic.zip(model).is_some_and(|(c, m)| oppose(c, m, score));
            // In the dark field facets may well be black, and what is overexposed or blurred shows none.
            let shows = present && unclear.is_none() && scene.frame.light != "dark_field";
            let unlike = look
                .filter(|_| shows)
                .and_then(|l| l.unlike(&alike(scene, index, &looks), stone.is_round(), is_black(stone)));
            if unlike.is_some() {
                feature.confidence = 0.5;
            }
            let u = if score.abs() < seat::DOUBT || opposed || unlike.is_some() { 0.6 } else { 0.0 };
            feature.values.push(value(PRESENT, if present { 1.0 } else { 0.0 }, u));
            feature.doubt = unclear.filter(|_| u > 0.0).or(unlike).map(str::to_owned);
            answer.features.push(feature);
            if !present {
                continue;
            }
            let one = placed.iter().find(|s| s.index == index);
            let mut row = StoneRow {
                id: stone.id.clone(),
                view: scene.view.name.clone(),
                x_px: round_to(p[0], 2),
                y_px: round_to(p[1], 2),
                x_mm: round_to(stone.x_mm, 4),
                y_mm: round_to(stone.y_mm, 4),
                diameter_mm: None,
                tilt_deg: None,
            };
            match (one, seen) {
                (Some(s), Some(Ok(sight))) => {
                    let at = pose.to_px(s.centre[0], s.centre[1]);
                    (row.x_px, row.y_px) = (round_to(at[0], 2), round_to(at[1], 2));
                    (row.x_mm, row.y_mm) =
                        (round_to(stone.x_mm + s.offset[0], 4), round_to(stone.y_mm + s.offset[1], 4));
                    row.diameter_mm = Some(round_to(s.diameter, 4));
                    let radius_px = pose.px(s.seen / 2.0);
                    let ring = outline(scene, stone, s);
                    let mut place = Feature { outline_px: ring.clone(), ..part(&stone.id, at, radius_px) };
                    let offset = s.offset[0].hypot(s.offset[1]);
                    // A girdle of another size may be a ring of facets, whose centre lies off by up to half of that.
                    let other = (s.seen - stone.diameter_mm).abs();
                    let astray = if other > 3.0 * s.diameter_u.hypot(CALIBRATED_MM) { other / 2.0 } else { 0.0 };
                    let drawn = offset * if stone.is_round() { DRAWN_ROUND } else { DRAWN };
                    let offset_u = s.offset_u.hypot(scale_u * offset).hypot(astray).hypot(drawn);
                    place.values.push(value(OFFSET, offset, offset_u));
                    // That it is at least so much too small is known better (`off_order`).
                    let drawn = SEAT_DRAWN * (stone.diameter_mm - s.diameter).max(0.0);
                    let diameter_u = s.diameter_u.hypot(drawn);
                    place.values.push(value(DIAMETER, s.diameter, diameter_u));
                    match carat::estimate(stone, s.diameter, diameter_u) {
                        Some(c) => place.values.push(value(CARAT, c.value, c.uncertainty)),
                        None => answer.not_assessed.push((CARAT, no_carat(stone))),
                    }
                    answer.features.push(place);
                    let mut tilt = Feature { outline_px: ring, ..part(&stone.id, at, radius_px) };
                    let slope = s.slope[0].hypot(s.slope[1]);
                    let u = (s.slope_u / (1.0 + slope * slope)).to_degrees();
                    tilt.values.push(value(TILT, slope.atan().to_degrees(), u));
                    row.tilt_deg = Some(round_to(slope.atan().to_degrees(), 2));
                    answer.features.push(tilt);
                    answer.features.push(chip(scene, stone, s, sight)?);
                }
                (None, Some(Ok(_))) => {
                    for c in MEASURED {
                        answer
                            .not_assessed
                            .push((c, format!("stone {}: the models disagree whether it is there", stone.id)));
                    }
                }
                (_, Some(Err(why))) => {
                    for c in MEASURED {
                        answer.not_assessed.push((c, format!("stone {}: {why}", stone.id)));
                    }
                }
                (_, None) => {
                    for c in MEASURED {
                        answer.not_assessed.push((c, NO_MODEL.into()));
                    }
                }
            }
            answer.stones.push(row);
        }
        Ok(answer)
    }
}

/// What the stones of a frame look like that are ordered like one of them: of its gem and cut and about its size.
fn alike(scene: &Scene, of: usize, looks: &[Option<seat::Look>]) -> Vec<seat::Look> {
    let (stones, own) = (&scene.view.stones, &scene.view.stones[of]);
    let is_alike = |s: &Stone| gem::is_like(s, own) && s.cut_word() == own.cut_word();
    (0..stones.len()).filter(|i| *i != of && is_alike(&stones[*i])).filter_map(|i| looks[i]).collect()
}

/// Whether a gem is ordered that may throw back no light at all.
fn is_black(stone: &Stone) -> bool {
    const BLACK_GEMS: [&str; 5] = ["black", "onyx", "hematite", "jet", "obsidian"];
    let gem = stone.gem.as_deref().map(crate::spec::word).unwrap_or_default();
    gem.split('_').any(|w| BLACK_GEMS.contains(&w))
}

/// Where the girdle of a stone that is not round was found, in the frame; empty of a round one, whose circle says it.
fn outline(scene: &Scene, stone: &Stone, s: &Placed) -> Vec<[f64; 2]> {
    let girdle = stone.girdle(s.centre, s.seen, stone.length_turn() + s.turned);
    girdle.unwrap_or_default().into_iter().map(|[x, y]| scene.located.pose.to_px(x, y)).collect()
}

/// What a measure needs that a run without models does not have.
pub(super) const NO_MODEL: &str = "it needs the models of stones and prongs (this run is without)";

/// What is said of a seat from which no light comes.
const BLACK: &str = "no light comes from its seat";
const BLANK: &str = "no facet is seen in its seat: empty, or covered";
const CLIPPED: &str = "its seat is overexposed";
pub(super) const BLURRED: &str = "the frame is out of focus";
pub(super) const DARK: &str = "the frame is underexposed";

/// Whether a frame does not show if a part is there, by its own fault: another frame that does is not contradicted by it.
pub(crate) fn is_spoiled(feature: &Feature) -> bool {
    let spoiled = [CLIPPED, BLURRED, DARK, prongs::CLIPPED, prongs::BLACK];
    feature.doubt.as_deref().is_some_and(|d| spoiled.contains(&d))
}

/// Whether a part that is there looks as if it were not, or not whole: no other frame contradicts that.
pub(crate) fn is_suspect(feature: &Feature) -> bool {
    feature.doubt.as_deref().is_some_and(|d| seat::is_unlike(d) || d == prongs::CUT)
}

/// Log odds beyond which one voice says no more: it cannot silence the other for good.
pub(super) const MOST_ODDS: f64 = 6.0;

/// Log odds below which a person decides where the two voices contradict each other, and from which on both together leave it to one.
const OPPOSED: f64 = 2.5;

/// Whether the two voices contradict each other so that neither decides: what they come to together is weak, or each is sure of itself.
fn oppose(classic: f64, model: f64, together: f64) -> bool {
    classic * model < 0.0 && (together.abs() < OPPOSED || classic.abs().min(model.abs()) >= OPPOSED)
}

/// The log odds of classic vision with the surface model, and of the model of stones, put together.
fn odds(classic: Option<f64>, model: Option<f64>) -> Option<f64> {
    match (classic, model) {
        (Some(c), Some(m)) => Some(0.35 * c.clamp(-MOST_ODDS, MOST_ODDS) + m.clamp(-MOST_ODDS, MOST_ODDS)),
        (c, m) => c.or(m),
    }
}

/// A feature of a part of the spec.
pub(crate) fn part(name: &str, at: [f64; 2], radius_px: f64) -> Feature {
    Feature {
        kind: None,
        name: name.to_owned(),
        x_px: at[0],
        y_px: at[1],
        radius_px,
        outline_px: vec![],
        confidence: 1.0,
        found_by: vec!["stones".to_owned()],
        values: vec![],
        opinion: None,
        doubt: None,
        rim: None,
        nominal: true,
    }
}

pub(crate) fn value(characteristic: &'static str, value: f64, uncertainty: f64) -> Value {
    Value { characteristic, value, uncertainty }
}

fn no_carat(stone: &Stone) -> String {
    format!(
        "stone {}: no table has a {} of the cut `{}`",
        stone.id,
        stone.gem.as_deref().unwrap_or("diamond"),
        stone.cut
    )
}

/// Log odds from which a chip is sure, and down to which it may be one: of 4682 windows of whole stones left out of training six
/// lie above the first and 157 above the second; of 238 of stones with a chip of a tenth of the width and more, 65 and 185.
const CHIP_ODDS: (f64, f64) = (2.0, 0.5);

/// The depth, in widths, of a chip that may be there though none is seen, where the log odds do not say how deep. Of chips from a tenth of
/// the width on the model misses two in nine on long cuts, one in forty on round stones.
pub const UNSEEN_CHIP: f64 = 0.1;

/// What a frame, or several together, show of a stone's rim.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RimSeen {
    /// Log odds that it is broken.
    pub odds: f64,
    /// What those say; none where only the model of stones looked.
    limits: Option<ChipOdds>,
    /// Width of the stone in mm.
    width_mm: f64,
    /// And in pixels.
    width_px: f64,
    /// Depth of the chip, if there is one, in mm.
    pub depth_mm: f64,
    /// Its standard uncertainty.
    depth_u_mm: f64,
    /// By how much the dark about its girdle bulges outward in one place, in mm; 0 where it does not.
    bulge_mm: f64,
    /// How far metal is seen within its girdle in one place, in mm; 0 where it is not.
    metal_mm: f64,
    /// How deep a part of it shows no facets, in mm; 0 where all do.
    flat_mm: f64,
}

/// What all stones of a frame have in common against an outline that fixes where the piece lies, as a person reads it, where it is more than setting and
/// locating explain: the whole setting sits off its place, which no stone's own offset shows.
pub fn bodily(scene: &Scene) -> Option<String> {
    let fixed = scene.view.outline.as_ref().is_some_and(|o| !matches!(o, Outline::Band { .. }));
    let (placed, common) = placed(scene);
    let off = common.fit[0].hypot(common.fit[1]);
    let u = scene.located.shift_u_mm.hypot(common.fit_u[0].max(common.fit_u[1]));
    (fixed && scene.sights.is_some() && placed.len() >= COMPANY && off > SETTING_TOLERANCE_MM + 2.0 * u).then(|| {
        format!("all stones lie {off:.2} mm off their places together: the setting, the outline or the spec is off")
    })
}

/// A stone too small for its seat is drawn towards the seat's edge: by this share of what it is read smaller than ordered, one standard deviation. Of 69 stones
/// 2 to 14 % too small (small.toml, not learned on) the stated uncertainty covers 64 % without it.
const SEAT_DRAWN: f64 = 0.25;

/// How much wider or narrower than ordered a stone may be where no limit says it: the sieve sizes of small stones lie that far apart.
const OFF_ORDER: f64 = 0.05;
/// Most stones that are named.
const OFF_ORDER_NAMED: usize = 4;

/// The stones that are surely of another size than ordered, where the view's spec does not limit their diameters: a limit holds for stones of one size,
/// and a ring of several has none. missing: the stones that are not there.
pub fn off_order(scene: &Scene, missing: &[String]) -> Option<String> {
    if scene.sights.is_none() || scene.spec.limit(DIAMETER, &scene.view.name).is_some() {
        return None;
    }
    let all = placed(scene).0.iter().filter_map(|s| {
        let stone = &scene.view.stones[s.index];
        if missing.contains(&stone.id) {
            return None;
        }
        let off = (s.diameter - stone.diameter_mm).abs() - 2.0 * s.diameter_u;
        (off > OFF_ORDER * stone.diameter_mm)
            .then(|| format!("{} is {:.2} mm wide and {:.2} ordered", stone.id, s.diameter, stone.diameter_mm))
    });
    let all: Vec<String> = all.collect();
    (!all.is_empty()).then(|| format!("stones of another size than ordered: {}", listed(&all, OFF_ORDER_NAMED)))
}

impl RimSeen {
    /// Log odds from which a chip is sure, and down to which it may be one.
    fn sure_and_maybe(&self) -> (f64, f64) {
        self.limits.map_or(CHIP_ODDS, |l| (l.sure, l.maybe))
    }

    /// Whether it is broken for sure.
    pub fn is_broken(&self) -> bool {
        self.odds >= self.sure_and_maybe().0
    }

    /// What frames of one stone of which none shows a chip for sure say together: the surest of them, its log odds drawn halfway to the mean of
    /// all. A chip hides under one light or another, so the frame that shows most of it counts most; but a facet that looks like one
    /// does so under one light only. None where `all` is empty.
    pub fn together(all: &[RimSeen]) -> Option<RimSeen> {
        let finer = all.iter().any(|r| r.limits.is_some());
        let told: Vec<&RimSeen> = all.iter().filter(|r| r.limits.is_some() == finer).collect();
        let surest = told.iter().max_by(|a, b| a.odds.total_cmp(&b.odds))?;
        let mean = told.iter().map(|r| r.odds).sum::<f64>() / told.len() as f64;
        // A hole is dark under every light and metal looks like its like, a reflection does not. Facets that lack under one light and show under another
        // lack for a part of the stone that is too dark to tell there.
        let least = |of: fn(&RimSeen) -> f64| all.iter().map(of).fold(f64::INFINITY, f64::min);
        let (bulge_mm, metal_mm) = (least(|r| r.bulge_mm), least(|r| r.metal_mm));
        let flat_mm = all.iter().map(|r| r.flat_mm).fold(0.0, f64::max);
        Some(RimSeen { odds: 0.5 * (surest.odds + mean), bulge_mm, metal_mm, flat_mm, ..**surest })
    }

    /// Sets what a feature says of it: value, confidence and doubt.
    pub fn tell(&self, feature: &mut Feature) {
        let (sure, maybe) = self.sure_and_maybe();
        feature.confidence = 1.0 / (1.0 + (-self.odds.abs()).exp());
        feature.kind = None;
        feature.doubt =
            (self.odds >= maybe && self.odds < sure).then(|| "it may be a facet or a prong's shade".into());
        feature.values = vec![if self.odds >= maybe {
            value(CHIP, self.depth_mm, self.depth_u_mm)
        } else {
            // None deeper, nineteen times in twenty: two standard uncertainties.
            let unseen = self.limits.and_then(|l| l.deepest_unseen(self.odds, self.width_px)).unwrap_or(UNSEEN_CHIP);
            let unseen = unseen * self.width_mm;
            // A chip that is as dark as a gap looks like one, and one through which the metal shows like metal.
            if self.flat_mm > unseen {
                // Plain to see: shown in the picture too.
                feature.kind = Some(FindingType::ChippedStone);
                feature.doubt = Some(format!(
                    "a part of it, {:.2} mm deep, shows no facets: it is broken off, or covered",
                    self.flat_mm
                ));
            } else if self.bulge_mm > unseen.max(self.metal_mm) {
                feature.doubt = Some(format!(
                    "the dark about its girdle bulges by {:.2} mm: a chip, or a hole beside it",
                    self.bulge_mm
                ));
            } else if self.metal_mm > unseen {
                feature.doubt = Some(format!(
                    "metal is seen {:.2} mm within its girdle in one place: a chip, or metal over it",
                    self.metal_mm
                ));
            }
            value(CHIP, 0.0, unseen.max(self.bulge_mm).max(self.metal_mm).max(self.flat_mm) / 2.0)
        }];
        feature.rim = Some(*self);
    }
}

fn chip(scene: &Scene, stone: &Stone, s: &Placed, sight: &StoneSight) -> Result<Feature, VisionError> {
    let pose = &scene.located.pose;
    let d = stone.diameter_mm;
    let rim_at = sight.rim.filter(|rim| rim.odds > sight.chip).map(|rim| rim.at);
    let rim = RimSeen {
        odds: sight.rim.map_or(sight.chip, |rim| rim.limits.together(rim.odds, sight.chip)),
        limits: sight.rim.map(|rim| rim.limits),
        width_mm: d,
        width_px: pose.px(d),
        depth_mm: sight.chip_depth * d,
        depth_u_mm: sight.chip_u * d,
        bulge_mm: super::gap::bulge(scene, s.index).unwrap_or(0.0),
        metal_mm: super::bite::within(scene, s.index),
        flat_mm: super::broken::flat_mm(scene, s)?,
    };
    tracing::debug!("chip of {} of {}: {rim:?}", stone.id, scene.frame.file);
    let at = sight::stone_shift(stone, rim_at.unwrap_or(sight.chip_at));
    let px = pose.to_px(s.centre[0] + at[0], s.centre[1] + at[1]);
    let mut feature = part(&stone.id, px, pose.px(rim.depth_mm.max(0.06 * d)));
    rim.tell(&mut feature);
    Ok(feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rim(odds: f64) -> RimSeen {
        let unseen = [[-3.0, 0.02], [-2.6, 0.025], [-2.0, 0.03], [0.0, 0.05], [0.5, 0.07], [2.0, 0.1]];
        let limits = ChipOdds {
            sure: 7.0,
            maybe: 2.5,
            unseen,
            large_px: 100.0,
            unseen_px: unseen.map(|[o, d]| [o, 200.0 * d]),
            window_least: None,
        };
        let limits = Some(limits);
        RimSeen {
            odds,
            limits,
            width_mm: 1.5,
            width_px: 80.0,
            depth_mm: 0.1,
            depth_u_mm: 0.02,
            bulge_mm: 0.0,
            metal_mm: 0.0,
            flat_mm: 0.0,
        }
    }

    fn told(rim: RimSeen) -> (f64, f64, bool) {
        let mut feature = part("S1", [0.0, 0.0], 10.0);
        rim.tell(&mut feature);
        (feature.values[0].value, 2.0 * feature.values[0].uncertainty / rim.width_mm, feature.doubt.is_some())
    }

    #[test]
    fn how_much_of_a_shank_is_read_is_told_by_its_stones() {
        let by = [-0.4, -0.2, 0.0, 0.2, 0.4];
        let seen = |share: f64| by.map(|b| [share * b, 0.03, b]);
        for share in [0.0, 0.5, 1.0] {
            let (told, u) = read_of_shank(&seen(share));
            assert!((told - share).abs() < 0.2 && (told - share).abs() < 2.5 * u && u < 0.12, "{share}: {told} {u}");
        }
        // One stone out of level among them does not decide; alone on the flank, little is known.
        let mut odd = seen(0.7);
        odd[4][0] += 0.25;
        assert!((read_of_shank(&odd).0 - 0.7).abs() < 0.12);
        assert!(read_of_shank(&[[0.2, 0.05, 0.4]]).1 > 0.1);
    }

    #[test]
    fn frames_together_know_better_that_a_rim_is_whole() {
        // One frame alone leaves it to a person, both together rule out chips of 0.07 widths.
        let (shows, does_not) = (rim(2.6), rim(-4.0));
        assert_eq!(told(shows), (0.1, 0.04 / 1.5, true));
        let (value, unseen, doubt) = told(RimSeen::together(&[shows, does_not]).unwrap());
        assert!(value == 0.0 && !doubt && unseen > 0.05 && unseen < 0.1, "{unseen}");
        assert_eq!(RimSeen::together(&[does_not, does_not]), Some(does_not));
        assert_eq!(RimSeen::together(&[]), None);
        // A hole that is as dark as a gap leaves it open, where every light shows it.
        let hole = RimSeen { bulge_mm: 0.2, ..does_not };
        assert_eq!(told(hole), (0.0, 0.2 / 1.5, true));
        assert_eq!(RimSeen::together(&[hole, does_not]), Some(does_not));
        let bitten = RimSeen { metal_mm: 0.2, ..does_not };
        assert_eq!(told(bitten), (0.0, 0.2 / 1.5, true));
        assert_eq!(RimSeen::together(&[bitten, does_not]), Some(does_not));
        let broken = RimSeen { flat_mm: 0.4, ..does_not };
        assert_eq!(told(broken), (0.0, 0.4 / 1.5, true));
        // Under a second light the part may be too dark to tell.
        assert_eq!(RimSeen::together(&[broken, does_not]), Some(broken));
        // What the rim itself was looked at for says more than the window.
        let window = RimSeen { limits: None, ..rim(1.9) };
        assert_eq!(RimSeen::together(&[window, does_not]), Some(does_not));
        assert!(rim(7.5).is_broken() && !shows.is_broken() && RimSeen { limits: None, ..rim(2.1) }.is_broken());
    }

    #[test]
    fn sure_voices_that_contradict_leave_it_to_a_person() {
        assert!(oppose(6.0, -5.0, -2.9) && oppose(-3.0, 6.0, 5.0) && oppose(1.0, -2.0, -1.65));
        assert!(!oppose(1.0, -5.0, -4.65) && !oppose(4.0, 5.0, 6.4));
    }

    #[test]
    fn one_voice_does_not_silence_the_other() {
        assert_eq!(odds(None, None), None);
        assert_eq!(odds(Some(-3.0), None), Some(-3.0));
        assert!(odds(Some(-40.0), Some(5.0)).is_some_and(|s| s > 0.0));
        assert!(odds(Some(2.0), Some(-4.0)).is_some_and(|s| s < -1.0));
    }
}
