//! Loose stones, from a burst: the piece is shaken, every frame is laid on the metal, and what a stone moves against it is
//! its play. One frame alone does not show it.

use super::align::Rigid;
use super::sight::{PartModels, PartsError};
use super::stones::{part, value};
use super::{sight, Answer};
use crate::locate::{outline, Pose, PRONG_HALO};
use crate::model::StoneSight;
use crate::spec::{Stone, View};
use crate::vision::{motion, ops, Image, Mask, Plane, VisionError};

/// The characteristic.
pub const PLAY: &str = "stone.play_mm";
/// The largest turn of a stone against the metal within the burst.
pub const PLAY_TURN: &str = "stone.play_deg";
/// Why it is not assessed without a burst, of a view that so many frames show.
pub fn no_burst(frames: usize) -> String {
    match frames {
        0 | 1 => "one frame alone does not show play: take a burst".to_owned(),
        n => format!(
            "none of its {n} frames share a `burst`: frames of the shaken piece in one light are named as one"
        ),
    }
}

/// Fewest things that the metal is laid on by.
const LEAST_TIES: usize = 4;
/// Below this correlation two frames do not show the same thing.
const LEAST_LIKENESS: f64 = 0.5;
/// Standard deviations by which two ways to follow a stone differ more than by chance.
const DIFFER: f64 = 3.0;
/// How well metal is known to lie still, in mm: below it no tie is trusted more.
const TIE_MM: f64 = 0.001;

/// A motion along the piece's axes, in mm and radians.
#[derive(Debug, Clone, Copy)]
struct Moved {
    at: [f64; 2],
    shift: [f64; 2],
    turn: f64,
    shift_u: f64,
    turn_u: f64,
    /// Whether the turn was measured.
    turned: bool,
}

/// Motions of less, in pixels, are none: a piece that is shaken comes to rest elsewhere, by some micrometres at least, and of a piece that lay still the metal is
/// followed to a hundredth or two.
const STILL_PX: f64 = 0.06;
/// How far from the piece's middle the metal's motion is asked for, in mm.
const STILL_MM: f64 = 3.0;
/// Why a burst of a piece that nobody shook does not tell.
const STILL: &str = "neither the piece nor the stone moves from frame to frame: was it shaken?";

/// Why a burst of a piece with few parts does not tell.
const NO_METAL: &str =
    "the spec has too few prongs, and the metal about the stones shows too little, to tell the metal's own motion by";

/// How well it tells its own motion, in mm: polished metal mirrors lamps that stand still. On 17 pairs of frames of six rendered pieces it differs from what
/// their prongs tell by 1.9 um at most.
const METAL_MM: f64 = 0.002;
/// How far beyond a girdle the metal begins, as a share of the stone's reach: a bright-cut seat and what it mirrors of the stone end there.
const BESIDE: f64 = 1.2;
/// How far beyond the outline, and beyond the outermost stone, the metal is looked at, in mm: its edge against the ground holds it fast.
const EDGE_MM: f64 = 0.1;
const ABOUT_MM: f64 = 1.0;
/// So many pixels of it, those of the steepest brightness, are enough.
const MOST_PX: usize = 20_000;

/// The play of every stone of a view over the frames of one burst.
///
/// `models` see the girdle of a stone that rocks so much that its facets look different from frame to frame.
///
/// Frames are laid on the first of them, and on the last besides: a stone that moved far may be followed to a wrong place from one of them. Where the two
/// differ by more than they know, the larger counts, and half of what lies between is uncertain.
///
/// # Errors
/// Where OpenCV refuses or the model fails.
pub fn measure(view: &View, frames: &[(&Image, Pose)], models: Option<&PartModels>) -> Result<Answer, PartsError> {
    let mut answer = from_first(view, frames, models)?;
    if frames.len() < 3 {
        return Ok(answer);
    }
    let mut turned = frames.to_vec();
    turned.rotate_right(1);
    let other = from_first(view, &turned, models)?;
    for feature in &mut answer.features {
        let Some(twin) = other.features.iter().find(|f| f.name == feature.name) else { continue };
        for v in &mut feature.values {
            let Some(w) = twin.values.iter().find(|w| w.characteristic == v.characteristic) else { continue };
            let apart = (v.value - w.value).abs();
            if apart > DIFFER * v.uncertainty.hypot(w.uncertainty) {
                let u = v.uncertainty.max(w.uncertainty).hypot(apart / 2.0);
                (v.value, v.uncertainty) = (v.value.max(w.value), u);
            }
        }
    }
    Ok(answer)
}

/// [`measure`] from the first frame alone.
fn from_first(view: &View, frames: &[(&Image, Pose)], models: Option<&PartModels>) -> Result<Answer, PartsError> {
    let mut answer = Answer::default();
    let Some((first, rest)) = frames.split_first() else { return Ok(answer) };
    // Positions of every stone in every frame, from the first.
    let mut paths: Vec<Option<Vec<Moved>>> = vec![Some(vec![]); view.stones.len()];
    let mut metals = Vec::new();
    let mut about: Option<Metal> = None;
    for frame in rest {
        let mut ties = Vec::new();
        for (stone, prong) in view.stones.iter().flat_map(|s| s.prongs.iter().map(move |q| (s, q))) {
            let at = [prong.x_mm, prong.y_mm];
            // Only what lies outside the girdle: a tip's own glint, not the stone behind it.
            let keep = |x: f64, y: f64| {
                (x - at[0]).hypot(y - at[1]) < 1.2 * prong.radius_mm
                    && (x - stone.x_mm).hypot(y - stone.y_mm) > 0.5 * stone.diameter_mm
            };
            ties.extend(moved(first, frame, at, 1.4 * prong.radius_mm, &keep)?);
        }
        let mut stones = Vec::new();
        for stone in &view.stones {
            stones.push(moved(
                first,
                frame,
                [stone.x_mm, stone.y_mm],
                0.5 * stone.diameter_mm,
                &inside(view, stone),
            )?);
        }
        let metal = match common(&ties) {
            Some(metal) => Some(metal),
            None => {
                if about.is_none() {
                    about = Some(Metal::of(view, first)?);
                }
                without_prongs(&stones, about.as_ref().map_or(Ok(None), |a| a.moved(frame))?)
            }
        };
        let Some(metal) = metal else {
            for stone in &view.stones {
                answer.not_assessed.push((PLAY, format!("stone {}: {NO_METAL}", stone.id)));
            }
            return Ok(answer);
        };
        metals.push(metal);
        for (path, stone) in paths.iter_mut().zip(&stones) {
            match (path.as_mut(), stone) {
                (Some(path), Some(m)) => {
                    path.push(against(*m, &metal));
                }
                _ => *path = None,
            }
        }
    }
    if let Some(models) = models {
        for (stone, path) in view.stones.iter().zip(&mut paths).filter(|(_, p)| p.is_none()) {
            let seen = girdles(stone, frames, models)?;
            *path = seen.map(|p| p.into_iter().zip(&metals).map(|(m, metal)| against(m, metal)).collect());
        }
    }
    let still = rest.iter().zip(&metals).all(|(frame, metal)| has_not_moved(first.1, frame.1, metal));
    for (stone, path) in view.stones.iter().zip(&paths) {
        let at = first.1.to_px(stone.x_mm, stone.y_mm);
        let Some(path) = path.as_ref().filter(|p| !p.is_empty()) else {
            answer
                .not_assessed
                .push((PLAY, format!("stone {}: the frames of the burst do not show it alike", stone.id)));
            continue;
        };
        let rest = Moved { at: [0.0; 2], shift: [0.0; 2], turn: 0.0, shift_u: 0.0, turn_u: 0.0, turned: true };
        let all: Vec<Moved> = std::iter::once(rest).chain(path.iter().copied()).collect();
        let (mut far, mut far_u, mut turned, mut turned_u) = (0.0, 0.0, 0.0, 0.0);
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                let d = (a.shift[0] - b.shift[0]).hypot(a.shift[1] - b.shift[1]);
                if d >= far {
                    (far, far_u) = (d, a.shift_u.hypot(b.shift_u));
                }
                let t = (a.turn - b.turn).abs();
                if t >= turned {
                    (turned, turned_u) = (t, a.turn_u.hypot(b.turn_u));
                }
            }
        }
        // Neither the piece nor the stone: nobody knows that it was shaken.
        if still && first.1.px(far) < STILL_PX {
            answer.not_assessed.push((PLAY, format!("stone {}: {STILL}", stone.id)));
            continue;
        }
        far_u = least_u(far, far_u, all.len());
        turned_u = least_u(turned, turned_u, all.len());
        let mut feature = part(&stone.id, at, first.1.px(stone.diameter_mm / 2.0));
        feature.found_by = vec!["play".to_owned()];
        feature.values.push(value(PLAY, far, far_u));
        if path.iter().all(|m| m.turned) {
            feature.values.push(value(PLAY_TURN, turned.to_degrees(), turned_u.to_degrees()));
        }
        answer.features.push(feature);
    }
    Ok(answer)
}

/// Whether the metal lies in a frame where it lay in the first, to [`STILL_PX`], at two places far apart.
fn has_not_moved(first: Pose, frame: Pose, metal: &Rigid) -> bool {
    [[-STILL_MM, 0.0], [STILL_MM, 0.0]].iter().all(|p| {
        let by = metal.at(*p);
        let (a, b) = (first.to_px(p[0], p[1]), frame.to_px(p[0] + by[0], p[1] + by[1]));
        (a[0] - b[0]).hypot(a[1] - b[1]) < STILL_PX
    })
}

/// The standard uncertainty of the largest of the distances between so many places, one distance being known to `u`. Places that are all one and
/// the same have a largest distance, too: nineteen times in twenty none over u sqrt(2 ln(pairs / 0.05)) (the tail of Rayleigh's distribution,
/// Bonferroni over the pairs). Up to there any motion from none to that distance is as likely: its root mean square from the distance stated (GUM 4.3.7).
fn least_u(largest: f64, u: f64, places: usize) -> f64 {
    let pairs = (places * (places - 1) / 2) as f64;
    let noise = u * (2.0 * (pairs / 0.05).ln()).sqrt();
    if largest < noise {
        u.max(largest / 3f64.sqrt())
    } else {
        u
    }
}

/// How a stone's girdle moved from the first frame to each of the others, as the models see it; none where it is not
/// seen in all of them.
fn girdles(stone: &Stone, frames: &[(&Image, Pose)], models: &PartModels) -> Result<Option<Vec<Moved>>, PartsError> {
    if !frames.iter().all(|(image, pose)| sight::is_measurable(image, pose, stone)) {
        return Ok(None);
    }
    let mut sights = Vec::new();
    for (image, pose) in frames {
        sights.extend(models.stones(image, pose, &[stone])?);
    }
    if sights.iter().any(|s| s.present < 0.0) {
        return Ok(None);
    }
    let Some((first, rest)) = sights.split_first() else { return Ok(None) };
    let moved = |s: &StoneSight| {
        let by = [s.centre[0] - first.centre[0], s.centre[1] - first.centre[1]];
        Moved {
            at: [stone.x_mm, stone.y_mm],
            shift: sight::stone_shift(stone, by),
            turn: 0.0,
            shift_u: stone.length_mm() * s.centre_u.hypot(first.centre_u),
            turn_u: 0.0,
            turned: false,
        }
    };
    Ok(Some(rest.iter().map(moved).collect()))
}

/// Whether a place lies within a stone's girdle and no prong is near.
fn inside<'a>(view: &'a View, stone: &'a Stone) -> impl Fn(f64, f64) -> bool + 'a {
    let prongs: Vec<_> = view
        .stones
        .iter()
        .flat_map(|s| &s.prongs)
        .filter(|q| (q.x_mm - stone.x_mm).hypot(q.y_mm - stone.y_mm) < stone.reach_mm() + 3.0 * q.radius_mm)
        .collect();
    move |x, y| {
        (x - stone.x_mm).hypot(y - stone.y_mm) < 0.46 * stone.diameter_mm
            && prongs.iter().all(|q| (x - q.x_mm).hypot(y - q.y_mm) > PRONG_HALO * q.radius_mm)
    }
}

/// The metal that no stone covers, and the edge of the piece, as a frame shows them: what its motion in other frames is told by. The outermost stone and a millimetre about
/// it are looked at.
struct Metal<'a> {
    view: &'a View,
    frame: &'a (&'a Image, Pose),
    outline: Option<Vec<[f64; 2]>>,
    reach_mm: f64,
    /// The frame about the piece's origin, upright.
    picture: Plane,
    /// Its pixels, those of the steepest brightness first.
    steepest: Vec<usize>,
}

impl<'a> Metal<'a> {
    fn of(view: &'a View, frame: &'a (&'a Image, Pose)) -> Result<Self, VisionError> {
        let farthest = view.stones.iter().map(|s| s.x_mm.hypot(s.y_mm) + s.reach_mm()).fold(0.0, f64::max);
        let reach_mm = farthest + ABOUT_MM;
        let outline = view.outline.as_ref().map(|o| outline::polygon(o, 2.0 * reach_mm));
        let picture = Self::whole(frame, 2 * frame.1.px(reach_mm).ceil() as usize + 1)?;
        let (gx, gy) = ops::gradient(&ops::gaussian(&picture, 1.0)?)?;
        let steepness: Vec<f32> = gx.data.iter().zip(&gy.data).map(|(x, y)| x.hypot(*y)).collect();
        let mut steepest: Vec<usize> = (0..steepness.len()).collect();
        steepest.sort_unstable_by(|i, j| steepness[*j].total_cmp(&steepness[*i]).then(i.cmp(j)));
        Ok(Metal { view, frame, outline, reach_mm, picture, steepest })
    }

    fn whole((image, pose): &(&Image, Pose), side: usize) -> Result<Plane, VisionError> {
        let p = pose.to_px(0.0, 0.0);
        Ok(ops::window(image, p[0], p[1], side, side as f64, pose.rotation)?.mean())
    }

    /// Whether a place of the piece is metal, or its edge.
    fn holds(&self, p: [f64; 2]) -> bool {
        let near = |d: [f64; 2]| self.outline.as_ref().is_none_or(|l| ops::contains(l, [p[0] + d[0], p[1] + d[1]]));
        let about = [[EDGE_MM, 0.0], [-EDGE_MM, 0.0], [0.0, EDGE_MM], [0.0, -EDGE_MM]];
        p[0].hypot(p[1]) < self.reach_mm
            && self.view.stones.iter().all(|s| (p[0] - s.x_mm).hypot(p[1] - s.y_mm) > BESIDE * s.reach_mm())
            && (near([0.0; 2]) || about.into_iter().any(near))
    }

    /// How it moved to another frame; none where it shows nothing to lay hold of.
    fn moved(&self, other: &(&Image, Pose)) -> Result<Option<Rigid>, VisionError> {
        let side = self.picture.width;
        let mm = self.frame.1.um_per_px / 1000.0;
        let c = (side as f64 - 1.0) / 2.0;
        let place = |i: usize| [((i % side) as f64 - c) * mm, -((i / side) as f64 - c) * mm];
        // The border of a frame moves with neither.
        let shown = |(image, pose): &(&Image, Pose), p: [f64; 2]| {
            let [x, y] = pose.to_px(p[0], p[1]);
            let edge = 4.0 + pose.px(EDGE_MM);
            x > edge && y > edge && x < image.width as f64 - 1.0 - edge && y < image.height as f64 - 1.0 - edge
        };
        let is_metal = |i: &usize| {
            let p = place(*i);
            self.holds(p) && shown(self.frame, p) && shown(other, p)
        };
        let mut mask = Mask::empty(side, side);
        for i in self.steepest.iter().copied().filter(is_metal).take(MOST_PX) {
            mask.data[i] = 255;
        }
        let other = Self::whole(other, side)?;
        let found = motion::between(&self.picture, &other, &mask)?.filter(|m| m.likeness > LEAST_LIKENESS);
        let u = |m: &motion::Motion| (m.shift_u * mm).hypot(METAL_MM);
        Ok(found.map(|m| Rigid { fit: [m.dx * mm, -m.dy * mm, -m.turn], fit_u: [u(&m), u(&m), m.turn_u] }))
    }
}

/// The metal's motion where no prongs hold it fast. What the stones have in common is known best, for most sit fast; but all of them may have slid alike:
/// where the metal about them moved otherwise by more than both are unsure, it counts, and where it did not, the stones' own motion is
/// as unsure as the metal's.
fn without_prongs(stones: &[Option<Moved>], metal: Option<Rigid>) -> Option<Rigid> {
    let metal = metal?;
    let seen: Vec<Moved> = stones.iter().flatten().copied().collect();
    let Some(mut shared) = common(&seen).filter(|s| s.at_u([0.0; 2]) < metal.at_u([0.0; 2])) else {
        return Some(metal);
    };
    let apart = seen.iter().map(|m| {
        let (p, q) = (metal.at(m.at), shared.at(m.at));
        (p[0] - q[0]).hypot(p[1] - q[1]) / metal.at_u(m.at).hypot(shared.at_u(m.at))
    });
    if apart.fold(0.0, f64::max) > DIFFER {
        return Some(metal);
    }
    for (u, of_metal) in shared.fit_u.iter_mut().zip(metal.fit_u) {
        *u = u.hypot(of_metal);
    }
    Some(shared)
}

/// What all ties have in common: a shift and a turn about the piece's origin.
/// None where there are too few.
fn common(ties: &[Moved]) -> Option<Rigid> {
    if ties.len() < LEAST_TIES {
        return None;
    }
    let u = |m: &Moved| m.shift_u.hypot(TIE_MM);
    let mut fit = Rigid::of(ties.iter().map(|m| (m.at, m.shift, u(m))), [0.05, 0.05, 0.01]);
    // Ties that contradict one another by more than they say know their motion so much less (Birge's ratio, of the median of what is
    // distributed as chi-squared of two, so that a loose one among them does not count).
    let misfit = ties.iter().map(|m| {
        let by = fit.at(m.at);
        ((m.shift[0] - by[0]).powi(2) + (m.shift[1] - by[1]).powi(2)) / u(m).powi(2)
    });
    let mut misfit: Vec<f64> = misfit.collect();
    misfit.sort_by(f64::total_cmp);
    let n = ties.len() as f64;
    let ratio = (misfit[misfit.len() / 2] / (2.0 * 2f64.ln()) * n / (n - 1.5)).max(1.0).sqrt();
    fit.fit_u = fit.fit_u.map(|u| u * ratio);
    Some(fit)
}

/// A motion against the metal's.
fn against(mut m: Moved, metal: &Rigid) -> Moved {
    let by = metal.at(m.at);
    m.shift = [m.shift[0] - by[0], m.shift[1] - by[1]];
    m.turn -= metal.fit[2];
    m.shift_u = m.shift_u.hypot(metal.at_u(m.at));
    m.turn_u = m.turn_u.hypot(metal.fit_u[2]);
    m
}

/// How a place of the piece moved from one frame to another against their poses; none where it is not in both or shows
/// nothing to lay hold of.
fn moved(
    still: &(&Image, Pose),
    other: &(&Image, Pose),
    at: [f64; 2],
    reach_mm: f64,
    keep: &dyn Fn(f64, f64) -> bool,
) -> Result<Option<Moved>, VisionError> {
    let reach = still.1.px(reach_mm).ceil() + 4.0;
    let side = 2 * reach as usize + 1;
    let Some(a) = upright(still, at, side)? else { return Ok(None) };
    let Some(b) = upright(other, at, side)? else { return Ok(None) };
    let mm = still.1.um_per_px / 1000.0;
    let c = (side as f64 - 1.0) / 2.0;
    let mut mask = Mask::empty(side, side);
    for y in 2..side - 2 {
        for x in 2..side - 2 {
            if keep(at[0] + (x as f64 - c) * mm, at[1] - (y as f64 - c) * mm) {
                mask.data[y * side + x] = 255;
            }
        }
    }
    let found = motion::between(&a, &b, &mask)?.filter(|m| m.likeness > LEAST_LIKENESS);
    Ok(found.map(|m| Moved {
        at,
        shift: [m.dx * mm, -m.dy * mm],
        turn: -m.turn,
        shift_u: m.shift_u * mm,
        turn_u: m.turn_u,
        turned: true,
    }))
}

/// A window of a frame, upright in the piece and at the frame's own scale.
fn upright(frame: &(&Image, Pose), at: [f64; 2], side: usize) -> Result<Option<Plane>, VisionError> {
    let (image, pose) = frame;
    let p = pose.to_px(at[0], at[1]);
    let r = side as f64 / 2.0;
    if p[0] < r || p[1] < r || p[0] > image.width as f64 - 1.0 - r || p[1] > image.height as f64 - 1.0 - r {
        return Ok(None);
    }
    Ok(Some(ops::window(image, p[0], p[1], side, side as f64, pose.rotation)?.mean()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tight_stone_is_covered_by_its_uncertainty() {
        // Four frames: 3.1 times the uncertainty of one distance may be noise.
        assert!((least_u(3.0, 1.0, 4) - 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(least_u(1.0, 1.0, 4), 1.0);
        assert_eq!(least_u(3.2, 1.0, 4), 1.0);
        assert!((least_u(2.4, 1.0, 2) - 2.4 / 3f64.sqrt()).abs() < 1e-12);
    }

    fn row() -> View {
        let stone = |k: usize| Stone { id: format!("S{k}"), ..Stone::unnamed([k as f64 - 1.5, 0.0], 0.8, "round") };
        View { name: "top".into(), stones: (0..4).map(stone).collect(), ..View::default() }
    }

    /// A row of four stones in rough metal, the piece shifted by `piece` and each stone against it (mm).
    fn picture(piece: [f64; 2], stones: [[f64; 2]; 4]) -> Image {
        let (width, height) = (420, 220);
        let rough = |x: f64, y: f64| 30.0 * ((9.0 * x + 4.0 * y).sin() + (5.0 * y - 7.0 * x + (3.0 * x).sin()).cos());
        let view = row();
        let pose = Pose::centred(width, height, 12.0);
        let level = |x: usize, y: usize| {
            let [u, v] = pose.to_mm(x as f64, y as f64);
            let (u, v) = (u - piece[0], v - piece[1]);
            let stone = view.stones.iter().zip(stones).find_map(|(s, by)| {
                let (a, b) = (u - s.x_mm - by[0], v - s.y_mm - by[1]);
                (a.hypot(b) < 0.4).then(|| 150.0 + 40.0 * ((14.0 * a).sin() + (11.0 * b + 6.0 * a).cos()))
            });
            stone.unwrap_or_else(|| 110.0 + rough(u, v)) as u8
        };
        let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| [level(x, y); 3])).collect();
        Image { width, height, data, grey: false }
    }

    fn plays(frames: &[Image]) -> Vec<f64> {
        let pose = Pose::centred(420, 220, 12.0);
        let frames: Vec<(&Image, Pose)> = frames.iter().map(|f| (f, pose)).collect();
        let answer = measure(&row(), &frames, None).unwrap();
        assert!(answer.not_assessed.is_empty(), "{:?}", answer.not_assessed);
        answer.features.iter().map(|f| f.values[0].value).collect()
    }

    #[test]
    fn stones_without_prongs_that_all_slide_alike_move_against_the_metal() {
        let rest = picture([0.0; 2], [[0.0; 2]; 4]);
        let slid = plays(&[rest.clone(), picture([0.02, -0.01], [[0.05, 0.0]; 4])]);
        assert!(slid.len() == 4 && slid.iter().all(|p| (p - 0.05).abs() < 0.004), "{slid:?}");
        // The whole piece alone; and half of the stones.
        let tight = plays(&[rest.clone(), picture([0.02, -0.01], [[0.0; 2]; 4])]);
        assert!(tight.iter().all(|p| *p < 0.004), "{tight:?}");
        let half = plays(&[rest, picture([0.02, -0.01], [[0.05, 0.0], [0.05, 0.0], [0.0; 2], [0.0; 2]])]);
        let off = half.iter().zip([0.05, 0.05, 0.0, 0.0]).map(|(p, t)| (p - t).abs()).fold(0.0, f64::max);
        assert!(off < 0.004, "{half:?}");
    }
}
