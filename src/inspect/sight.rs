//! The models of stones, girdles and prongs, put to a located frame.

use super::align::Rigid;
use super::girdle::{self, Circle, Course, Girdle, Looked};
use super::stones::{self, MOST_ODDS};
use super::symmetry;
use crate::locate::{outline, Located, Pose, MAX_TURN_DEG};
use crate::model::{
    GirdleInfo, GirdleModel, Girdles, ModelError, Part, PartInfo, PartModel, ProngSight, RimSight, StoneSight,
};
use crate::spec::{Prong, Stone, View};
use crate::vision::{ops, Image, VisionError};

/// Why parts could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// OpenCV refused.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The models.
#[derive(Debug)]
pub struct PartModels {
    /// Of stones.
    pub stones: PartModel,
    /// Of round stones' girdles.
    pub girdles: GirdleModel,
    /// Of those of all other cuts.
    pub fancies: GirdleModel,
    /// Of prongs.
    pub prongs: PartModel,
}

impl PartModels {
    /// Loads the shipped ones.
    ///
    /// # Errors
    /// As [`PartModel::load_default`].
    pub fn load_default() -> Result<Self, ModelError> {
        Ok(PartModels {
            stones: PartModel::load_default(Part::Stone)?,
            girdles: GirdleModel::load_default(Girdles::Round)?,
            fancies: GirdleModel::load_default(Girdles::Fancy)?,
            prongs: PartModel::load_default(Part::Prong)?,
        })
    }

    /// What the frame shows of stones of a known cut that lie in it wholly ([`is_whole`]): the model of stones looks at each, those of
    /// girdles at each that is there.
    ///
    /// # Errors
    /// Where a model fails or OpenCV refuses.
    pub fn stones(&self, image: &Image, pose: &Pose, stones: &[&Stone]) -> Result<Vec<StoneSight>, ModelError> {
        let info = self.stones.info();
        let windows: Result<Vec<Image>, VisionError> =
            stones.iter().map(|s| stone_window(image, pose, info, s)).collect();
        let windows = windows.map_err(|e| failed(&self.stones, &e))?;
        let mut sights = self.stones.stones(&windows)?;
        for girdles in [&self.girdles, &self.fancies] {
            self.rims(girdles, (image, pose), stones, &windows, &mut sights)?;
        }
        for ((stone, window), sight) in stones.iter().zip(&windows).zip(&mut sights) {
            if stone.is_round() && sight.present >= 0.0 {
                by_facets(sight, window, info, &stone.id);
            }
        }
        Ok(sights)
    }

    /// A prong's sight, looked at again about where its tip was seen until it is seen in the middle: off the middle of its window the model says too little of
    /// how far off it is. Where it loses the tip on the way, how far it is off is not known.
    fn follow(
        &self,
        image: &Image,
        pose: &Pose,
        stone: &Stone,
        prong: &Prong,
        first: ProngSight,
    ) -> Result<ProngSight, ModelError> {
        let info = self.prongs.info();
        let radius = prong.radius_mm;
        let mut seen = first;
        let mut at = *prong;
        for _ in 0..FOLLOWED {
            let by = to_piece(seen.centre.map(|v| v * radius), prong_turn(stone, &at));
            if seen.present <= 0.0 || seen.centre[0].hypot(seen.centre[1]) < IN_THE_MIDDLE {
                break;
            }
            (at.x_mm, at.y_mm) = (at.x_mm + by[0], at.y_mm + by[1]);
            let window = prong_window(image, pose, info, stone, &at).map_err(|e| failed(&self.prongs, &e))?;
            let Some(next) = self.prongs.prongs(&[window])?.first().copied() else { break };
            seen = ProngSight { present: next.present.min(seen.present), ..next };
        }
        let left = to_piece(seen.centre.map(|v| v * radius), prong_turn(stone, &at));
        let by = [at.x_mm - prong.x_mm + left[0], at.y_mm - prong.y_mm + left[1]];
        let centre = to_piece(by.map(|v| v / radius), -prong_turn(stone, prong));
        // It was there when it was looked for; that the way led astray makes the place unknown.
        let lost = if seen.present <= 0.0 { centre[0].hypot(centre[1]).max(IN_THE_MIDDLE) } else { 0.0 };
        Ok(ProngSight { present: first.present, centre, centre_u: seen.centre_u.hypot(lost), ..seen })
    }

    /// Lets a model of girdles look at the stones of its cuts that are there, and takes what it says.
    fn rims(
        &self,
        girdles: &GirdleModel,
        (image, pose): (&Image, &Pose),
        stones: &[&Stone],
        windows: &[Image],
        sights: &mut [StoneSight],
    ) -> Result<(), ModelError> {
        let info = girdles.info();
        let knows = |stone: &Stone| info.prior.turn.is_none() == stone.is_round();
        let there = stones.iter().zip(sights.iter()).enumerate();
        let mut rims: Vec<Rim> = there
            .filter(|(_, (stone, sight))| sight.present >= 0.0 && knows(stone))
            .filter_map(|(k, (stone, sight))| {
                let course = Course::of_stone(stone, info.strip.rays, pose.rotation + stone.length_turn())?;
                Some(Rim { stone: k, course, circle: circle_of(stone, pose, sight), before: None })
            })
            .collect();
        // Again about where it was found, where the window's answer was off: what is known beforehand draws the fit towards it. What does not settle there is
        // looked at once more as large as it was ordered.
        let count = rims.len();
        for round in 0..3 {
            let strips: Vec<Vec<f32>> = rims
                .iter()
                .map(|r| {
                    let shown = (image, &windows[r.stone], pose);
                    self.strip(info, shown, stones[r.stone], &r.circle, &r.course)
                })
                .collect();
            let mut again = Vec::new();
            for (rim, rays) in rims.into_iter().zip(&girdles.look(&strips)?) {
                let stone = stones[rim.stone];
                let length = stone.length_ratio().unwrap_or(1.0);
                let Some(fit) = girdle::fit(info, rays, &rim.circle, &rim.course, length) else { continue };
                let half = info.strip.half(rim.circle.radius);
                let moved = fit.moved(&rim.circle) / half;
                let ordered = Circle { radius: 0.5 * pose.px(stone.diameter_mm), ..fit.circle };
                let next = match round {
                    _ if moved <= ASTRAY => None,
                    0 => Some(fit.circle),
                    1 => Some(ordered).filter(|o| (fit.circle.radius - o.radius).abs() > ASTRAY * half),
                    _ => None,
                };
                if let Some(circle) = next {
                    again.push(Rim { circle, before: Some((moved, fit)), ..rim });
                    continue;
                }
                // As large as ordered it must settle better than where it did not.
                let before = rim.before.filter(|(before, _)| round == 2 && *before <= moved);
                take(&mut sights[rim.stone], &before.map_or(fit, |(_, earlier)| earlier), stone, pose, info);
            }
            tracing::debug!("{} of {count} rims are looked at again", again.len());
            rims = again;
        }
        Ok(())
    }

    /// What a model of girdles is shown of a stone. shown: the frame, the stone's window, and how the piece lies.
    fn strip(
        &self,
        girdles: &GirdleInfo,
        (image, window, pose): (&Image, &Image, &Pose),
        stone: &Stone,
        circle: &Circle,
        course: &Course,
    ) -> Vec<f32> {
        let info = self.stones.info();
        let looked = Looked {
            image: window,
            coarse: info.window * pose.px(stone.length_mm()) / info.side as f64,
            at: pose.to_px(stone.x_mm, stone.y_mm),
            turn: pose.rotation + stone.length_turn(),
        };
        girdle::strip(girdles, image, &looked, circle, course)
    }
}

/// A rim that a model of girdles looks at.
struct Rim {
    /// Index of its stone.
    stone: usize,
    course: Course,
    /// About which circle.
    circle: Circle,
    /// By how much the look before moved it, in half strips, and where to.
    before: Option<(f64, Girdle)>,
}

fn failed(model: &PartModel, e: &VisionError) -> ModelError {
    ModelError::Run { path: model.path(), message: e.to_string() }
}

/// Where the window has a round stone's girdle, in the frame's pixels; of another cut its centre and half its width.
fn circle_of(stone: &Stone, pose: &Pose, sight: &StoneSight) -> Circle {
    let at = pose.to_px(stone.x_mm, stone.y_mm);
    let turn = pose.rotation + stone.length_turn();
    let by = to_piece(sight.centre.map(|v| v * pose.px(stone.length_mm())), turn);
    Circle { x: at[0] + by[0], y: at[1] - by[1], radius: 0.5 * sight.size * pose.px(stone.diameter_mm) }
}

/// Puts what the girdle says in the place of what the window said.
fn take(sight: &mut StoneSight, fit: &Girdle, stone: &Stone, pose: &Pose, info: &GirdleInfo) {
    let at = pose.to_px(stone.x_mm, stone.y_mm);
    let width = pose.px(stone.diameter_mm);
    // Along the window's axes.
    let into = |v: [f64; 2]| to_piece(v, -(pose.rotation + stone.length_turn()));
    let length = pose.px(stone.length_mm());
    sight.centre = into([fit.circle.x - at[0], at[1] - fit.circle.y]).map(|v| v / length);
    sight.centre_u = fit.centre_u / length;
    sight.size = 2.0 * fit.circle.radius / width;
    sight.size_u = 2.0 * fit.radius_u / width;
    let rim = into(fit.slope);
    tracing::debug!(
        "slope of {}: by its window {:.4?} +- {:.4}, by its rim {:.4?} +- {:.4}",
        stone.id,
        sight.slope,
        sight.slope_u,
        rim,
        fit.slope_u
    );
    (sight.slope, sight.slope_u) = both((sight.slope, sight.slope_u), (rim, fit.slope_u), SLOPES_CORRELATE);
    sight.rim = Some(RimSight {
        odds: fit.chip,
        limits: info.chip,
        turned: fit.turned,
        at: into(fit.chip_at).map(|v| sight.size * v * width / length),
    });
}

/// Puts a round stone's middle by its facets beside that by its girdle, weighted by their precisions; where they contradict each other it is less sure.
fn by_facets(sight: &mut StoneSight, window: &Image, info: &PartInfo, id: &str) {
    // Pixels of the window to a length.
    let px = info.side as f64 / info.window;
    let half = (info.side as f64 - 1.0) / 2.0;
    let [x, y] = sight.centre;
    let width = sight.size * px;
    let Some(middle) = symmetry::middle(window, [half + px * x, half - px * y], 0.5 * width) else { return };
    let found = [(middle.at[0] - half) / px, (half - middle.at[1]) / px];
    let u = middle.u(width, sight.slope[0].hypot(sight.slope[1])) / px;
    tracing::debug!(
        "middle of {id}: by its girdle {:.5?} +- {:.5}, by its facets {found:.5?} +- {u:.5}, misfit {:.3}",
        sight.centre,
        sight.centre_u,
        middle.misfit
    );
    let rim = sight.centre_u.hypot(symmetry::RIM_U * sight.size);
    // Nothing makes their errors go together.
    (sight.centre, sight.centre_u) = both((sight.centre, rim), (found, u), 0.0);
}

/// A girdle is looked at again where it was found farther than this from where it was looked for, in half strips. Rendered stones of five sets: with 0.5
/// (none again) their places are 4.2, 6.1, 8.3, 13.4 and 15.6 um off, with 0.1 (one in four) 4.1, 5.8, 7.4, 12.6 and 14.2; with 0.05, or further
/// looks, no better, and some large stones run away.
const ASTRAY: f64 = 0.1;

/// How the errors of a stone's slope by its window and by its rim go together: of stones left out of training, level and not, between 0.27 and 0.66.
const SLOPES_CORRELATE: f64 = 0.5;
/// Two looks contradict each other from here on (square of what they differ by, in deviations, a coordinate): one pair in twenty does by chance.
const APART: f64 = 3.0;

/// A slope or a place and the standard deviation of its coordinates, from two looks at it, whose errors correlate so far: weighted by their precisions, and the less sure the more they
/// contradict each other (Birge's ratio), for a stone that one of them sees out of level and the other does not is neither.
fn both(a: ([f64; 2], f64), b: ([f64; 2], f64), correlate: f64) -> ([f64; 2], f64) {
    let share = b.1 * b.1 / (a.1 * a.1 + b.1 * b.1);
    let at = [0, 1].map(|k: usize| share * a.0[k] + (1.0 - share) * b.0[k]);
    let (p, q) = (share * a.1, (1.0 - share) * b.1);
    let variance = p * p + q * q + 2.0 * correlate * p * q;
    let expected = a.1 * a.1 + b.1 * b.1 - 2.0 * correlate * a.1 * b.1;
    let apart = (a.0[0] - b.0[0]).powi(2) + (a.0[1] - b.0[1]).powi(2);
    (at, (variance * (apart / (2.0 * APART * expected)).max(1.0)).sqrt())
}

/// Why a part of the spec was not looked at on a frame.
pub type Unseen = String;

/// What was seen of every nominal stone and prong of a view, in the spec's order.
#[derive(Debug, Default)]
pub struct Sights {
    /// The stones.
    pub stones: Vec<Result<StoneSight, Unseen>>,
    /// The prongs of each stone.
    pub prongs: Vec<Vec<Result<ProngSight, Unseen>>>,
}

impl Sights {
    /// Log odds that stones and prongs are at their places, summed; no one says more than [`MOST_ODDS`].
    fn present(&self) -> f64 {
        let stones = self.stones.iter().flatten().map(|s| s.present);
        let prongs = self.prongs.iter().flatten().flatten().map(|p| p.present);
        stones.chain(prongs).map(|odds| odds.clamp(-MOST_ODDS, MOST_ODDS)).sum()
    }
}

/// Fewest pixels that a stone's width must have.
const LEAST_STONE_PX: f64 = 36.0;
/// Fewest pixels that a prong's radius must have.
const LEAST_PRONG_PX: f64 = 4.5;

/// A tip is looked at again where it is seen farther than this from the middle of its window, in radii, and so many times.
const IN_THE_MIDDLE: f64 = 0.3;
const FOLLOWED: usize = 5;

/// Whether a frame shows the whole of a nominal stone, but for a twentieth of its width that a place may be off.
pub fn is_whole(stone: &Stone, pose: &Pose, image: &Image) -> bool {
    let p = pose.to_px(stone.x_mm, stone.y_mm);
    let across = 0.45 * pose.px(stone.diameter_mm);
    let along = across * stone.length_ratio().unwrap_or(1.0);
    // The box about an ellipse that lies turned.
    let (s, c) = (pose.rotation + stone.length_turn()).sin_cos();
    let (rx, ry) = ((across * c).hypot(along * s), (across * s).hypot(along * c));
    p[0] >= rx && p[1] >= ry && p[0] <= image.width as f64 - 1.0 - rx && p[1] <= image.height as f64 - 1.0 - ry
}

/// Whether the models can measure a stone on a frame: it shows the whole of it and they know its cut.
pub fn is_measurable(image: &Image, pose: &Pose, stone: &Stone) -> bool {
    stone.length_ratio().is_some() && is_whole(stone, pose, image)
}

/// The window of a stone as the model sees it: about its nominal place, upright in the piece, a long stone's width to the right.
///
/// # Errors
/// Where OpenCV refuses.
pub fn stone_window(image: &Image, pose: &Pose, info: &PartInfo, stone: &Stone) -> Result<Image, VisionError> {
    let p = pose.to_px(stone.x_mm, stone.y_mm);
    let width = info.window * pose.px(stone.diameter_mm) * stone.length_ratio().unwrap_or(1.0);
    ops::window(image, p[0], p[1], info.side, width, pose.rotation + stone.length_turn())
}

/// The window of a prong as the model sees it: its stone lies to the left.
///
/// # Errors
/// Where OpenCV refuses.
pub fn prong_window(
    image: &Image,
    pose: &Pose,
    info: &PartInfo,
    stone: &Stone,
    prong: &Prong,
) -> Result<Image, VisionError> {
    let p = pose.to_px(prong.x_mm, prong.y_mm);
    let turn = pose.rotation + prong_turn(stone, prong);
    ops::window(image, p[0], p[1], info.side, info.window * pose.px(prong.radius_mm), turn)
}

/// A vector of a stone's window, in nominal lengths, along the piece's axes in mm.
pub fn stone_shift(stone: &Stone, v: [f64; 2]) -> [f64; 2] {
    let length = stone.length_mm();
    to_piece(v.map(|c| c * length), stone.length_turn())
}

/// The turn of a prong's window against the piece: its stone lies to the left.
pub fn prong_turn(stone: &Stone, prong: &Prong) -> f64 {
    (prong.y_mm - stone.y_mm).atan2(prong.x_mm - stone.x_mm)
}

/// Asks the models about every part that the frame shows, for each place where the piece may lie, the likeliest first, and takes the
/// place with the most of its stones and prongs there.
///
/// # Errors
/// Where a model fails or OpenCV refuses.
pub fn look_about(
    models: &PartModels,
    view: &View,
    places: Vec<Located>,
    image: &Image,
) -> Result<Option<(Located, Sights)>, ModelError> {
    let mut best: Option<(Located, Sights)> = None;
    for located in places {
        let sights = look(models, view, &located, image)?;
        if best.as_ref().is_none_or(|b| b.1.present() < sights.present()) {
            best = Some((located, sights));
        }
    }
    let Some((mut located, sights)) = best else { return Ok(None) };
    let Some((turn, u)) = turned_by_parts(view, &located, &sights) else { return Ok(Some((located, sights))) };
    tracing::debug!("turned by {:.2} degrees", turn.to_degrees());
    located.pose.rotation += turn;
    located.rotation_u = u;
    let sights = look(models, view, &located, image)?;
    Ok(Some((located, sights)))
}

/// Fewest prongs that tell how a head lies turned, against one of them that is bent.
const LEAST_PRONGS: usize = 3;
/// A turn of more deviations than this is one.
const TURNED: f64 = 3.0;

/// How far a round head lies turned against where its direction was sought (radians, and their standard deviation), by most of its stones, or where it has few by
/// its prongs: what was found for all of them together, one bent prong can have led astray. None where they tell of no turn.
fn turned_by_parts(view: &View, located: &Located, sights: &Sights) -> Option<(f64, f64)> {
    if !view.outline.as_ref().is_some_and(outline::has_no_direction) {
        return None;
    }
    if view.stones.len() >= stones::COMPANY {
        let there = view.stones.iter().zip(&sights.stones).filter_map(|(stone, sight)| {
            let sight = sight.as_ref().ok().filter(|s| s.present > 0.0)?;
            let u = (sight.centre_u * stone.length_mm()).hypot(stones::SETTING_MM);
            Some(([stone.x_mm, stone.y_mm], stone_shift(stone, sight.centre), u))
        });
        let seen: Vec<_> = there.collect();
        // Stones are laid on their places together in any case: what lies off by less than a pixel is not looked at again.
        let reach = seen.iter().map(|(p, ..)| p[0].hypot(p[1])).fold(0.0, f64::max);
        return turned(&seen, located.shift_u_mm, 0.0).filter(|(turn, _)| turn.abs() * located.pose.px(reach) > 1.0);
    }
    let mut seen = Vec::new();
    for (stone, row) in view.stones.iter().zip(&sights.prongs) {
        for (prong, sight) in stone.prongs.iter().zip(row) {
            let Some(sight) = sight.as_ref().ok().filter(|s| s.present > 0.0) else { continue };
            let by = to_piece(sight.centre.map(|v| v * prong.radius_mm), prong_turn(stone, prong));
            seen.push(([prong.x_mm, prong.y_mm], by, (sight.centre_u * prong.radius_mm).hypot(stones::SETTING_MM)));
        }
    }
    turned(&seen, located.shift_u_mm, located.rotation_u)
}

/// As [`turned_by_parts`], of parts: place, how far from it each is seen (mm), and that one's deviation.
fn turned(seen: &[([f64; 2], [f64; 2], f64)], shift_u: f64, rotation_u: f64) -> Option<(f64, f64)> {
    if seen.len() < LEAST_PRONGS {
        return None;
    }
    let prior = [shift_u, shift_u, MAX_TURN_DEG.to_radians()];
    let rigid = Rigid::of(seen.iter().copied(), prior);
    let agree = seen.iter().filter(|(place, by, u)| {
        let there = rigid.at(*place);
        (by[0] - there[0]).hypot(by[1] - there[1]) < TURNED * u
    });
    let most = 2 * agree.count() > seen.len();
    let (turn, u) = (rigid.fit[2], rigid.fit_u[2]);
    (most && turn.abs() > TURNED * u.hypot(rotation_u)).then_some((turn, u))
}

/// Asks the models about every part that the frame shows.
///
/// # Errors
/// Where a model fails or OpenCV refuses.
pub fn look(models: &PartModels, view: &View, located: &Located, image: &Image) -> Result<Sights, ModelError> {
    let pose = &located.pose;
    let (w, h) = (image.width as f64, image.height as f64);
    let inside = |p: [f64; 2], r: f64| p[0] >= r && p[1] >= r && p[0] <= w - 1.0 - r && p[1] <= h - 1.0 - r;
    let mut out = Sights::default();
    let mut whole = Vec::new();
    let info = models.stones.info();
    let (finest, coarsest) = info.um_per_px;
    if !(finest..=coarsest).contains(&pose.um_per_px) {
        let why = format!(
            "the models of parts are for {finest} to {coarsest} um a pixel, the frame has {}",
            pose.um_per_px
        );
        out.stones = view.stones.iter().map(|_| Err(why.clone())).collect();
        out.prongs = view.stones.iter().map(|s| s.prongs.iter().map(|_| Err(why.clone())).collect()).collect();
        return Ok(out);
    }
    for s in &view.stones {
        let width = pose.px(s.diameter_mm);
        let why = match s.length_ratio() {
            None => Some(format!("the model of stones knows no cut `{}`", s.cut)),
            Some(_) if !is_whole(s, pose, image) => Some("it is not wholly in the frame".into()),
            Some(_) if width < LEAST_STONE_PX => {
                Some(format!("it is {width:.0} pixels wide, {LEAST_STONE_PX:.0} are needed"))
            }
            Some(_) => None,
        };
        match why {
            Some(why) => out.stones.push(Err(why)),
            None => {
                whole.push((out.stones.len(), s));
                out.stones.push(Err(String::new()));
            }
        }
    }
    let (places, stones): (Vec<usize>, Vec<&Stone>) = whole.into_iter().unzip();
    for (k, sight) in places.into_iter().zip(models.stones(image, pose, &stones)?) {
        out.stones[k] = Ok(sight);
    }
    let info = models.prongs.info();
    let mut windows = Vec::new();
    for (i, s) in view.stones.iter().enumerate() {
        let mut row = Vec::new();
        for q in &s.prongs {
            let p = pose.to_px(q.x_mm, q.y_mm);
            let radius = pose.px(q.radius_mm);
            if !inside(p, radius) {
                row.push(Err("it is not wholly in the frame".into()));
            } else if radius < LEAST_PRONG_PX {
                row.push(Err(format!("its radius is {radius:.1} pixels, {LEAST_PRONG_PX} are needed")));
            } else {
                let window = prong_window(image, pose, info, s, q);
                windows.push(((i, row.len()), window.map_err(|e| failed(&models.prongs, &e))?));
                row.push(Err(String::new()));
            }
        }
        out.prongs.push(row);
    }
    let (places, images): (Vec<(usize, usize)>, Vec<Image>) = windows.into_iter().unzip();
    for ((i, k), sight) in places.into_iter().zip(models.prongs.prongs(&images)?) {
        let stone = &view.stones[i];
        out.prongs[i][k] = Ok(models.follow(image, pose, stone, &stone.prongs[k], sight)?);
    }
    Ok(out)
}

/// A vector of a window that is turned by `turn` against the piece, along the piece's axes.
pub fn to_piece(v: [f64; 2], turn: f64) -> [f64; 2] {
    let (s, c) = turn.sin_cos();
    [c * v[0] - s * v[1], s * v[0] + c * v[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four prongs of a head that lies turned by some radians, one of them bent.
    fn head(turn: f64, bent: usize, by: f64) -> Vec<([f64; 2], [f64; 2], f64)> {
        let places = [[1.1, 1.1], [-1.1, 1.1], [-1.1, -1.1], [1.1, -1.1]];
        let seen = places.iter().enumerate().map(|(k, [x, y])| {
            let along = turn + if k == bent { by } else { 0.0 };
            ([*x, *y], [-along * y, along * x], 0.012)
        });
        seen.collect()
    }

    #[test]
    fn one_bent_prong_does_not_turn_a_head() {
        // The search took the bent one for straight: the other three say by how much it was wrong.
        let (turn, _) = turned(&head(0.085, 0, -0.085), 0.003, 0.007).unwrap();
        assert!((turn - 0.085).abs() < 0.006, "{turn}");
        // It was right: the bent one does not turn it.
        assert_eq!(turned(&head(0.0, 2, 0.15), 0.003, 0.007), None);
        // Of two against two nobody knows, nor of too few.
        let mut split = head(0.1, 0, -0.1);
        split[1] = ([-1.1, 1.1], [0.0, 0.0], 0.012);
        assert!(turned(&split, 0.003, 0.007).is_none_or(|(t, _)| t < 0.06), "{:?}", turned(&split, 0.003, 0.007));
        assert_eq!(turned(&head(0.1, 0, 0.0)[..2], 0.003, 0.007), None);
    }

    #[test]
    fn two_looks_at_a_slope_are_surer_together_where_they_agree() {
        let (slope, u) = both(([0.02, 0.0], 0.02), ([0.01, 0.0], 0.02), SLOPES_CORRELATE);
        assert!((slope[0] - 0.015).abs() < 1e-12 && u < 0.018 && u > 0.01, "{slope:?} {u}");
        // One sees it out of level, the other does not.
        let (slope, u) = both(([0.16, 0.0], 0.02), ([0.0, 0.0], 0.02), SLOPES_CORRELATE);
        assert!((slope[0] - 0.08).abs() < 1e-12 && u > 0.05, "{slope:?} {u}");
        // One that knows little says little.
        let (slope, u) = both(([0.1, 0.0], 0.2), ([0.01, -0.01], 0.01), SLOPES_CORRELATE);
        assert!(slope[0] < 0.011 && u < 0.011, "{slope:?} {u}");
    }
}
