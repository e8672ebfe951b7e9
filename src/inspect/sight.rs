//! The models of stones, girdles and prongs, put to a located frame.

use super::girdle::{self, Circle, Course, Girdle, Looked};
use super::stones::MOST_ODDS;
use crate::locate::{Located, Pose};
use crate::model::{
    GirdleInfo, GirdleModel, ModelError, Part, PartInfo, PartModel, ProngSight, RimSight, StoneSight,
};
use crate::spec::{Prong, Stone, View};
use crate::vision::{ops, Image, VisionError};

/// The models.
#[derive(Debug)]
pub struct PartModels {
    /// Of stones.
    pub stones: PartModel,
    /// Of round stones' girdles.
    pub girdles: GirdleModel,
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
            girdles: GirdleModel::load_default()?,
            prongs: PartModel::load_default(Part::Prong)?,
        })
    }

    /// What the frame shows of stones of a known cut that lie in it wholly ([`is_whole`]): the model of stones looks at each, that of
    /// girdles at each round one that is there.
    ///
    /// # Errors
    /// Where a model fails or OpenCV refuses.
    pub fn stones(&self, image: &Image, pose: &Pose, stones: &[&Stone]) -> Result<Vec<StoneSight>, ModelError> {
        let info = self.stones.info();
        let windows: Result<Vec<Image>, VisionError> =
            stones.iter().map(|s| stone_window(image, pose, info, s)).collect();
        let windows = windows.map_err(|e| failed(&self.stones, &e))?;
        let mut sights = self.stones.stones(&windows)?;
        let mut rims: Vec<(usize, Circle)> = Vec::new();
        for (k, (stone, sight)) in stones.iter().zip(&sights).enumerate() {
            if stone.is_round() && sight.present >= 0.0 {
                rims.push((k, circle_of(stone, pose, sight)));
            }
        }
        // Again about where it was found, where the window's answer was far off.
        for _ in 0..2 {
            let strips: Vec<Vec<f32>> = rims
                .iter()
                .map(|(k, circle)| self.strip((image, &windows[*k], pose), stones[*k], circle, None))
                .collect();
            let mut again = Vec::new();
            for ((k, circle), rays) in rims.iter().zip(&self.girdles.look(&strips)?) {
                let Some(fit) = girdle::fit(self.girdles.info(), rays, circle) else { continue };
                take(&mut sights[*k], &fit, stones[*k], pose, self.girdles.info());
                if fit.moved(circle) > 0.5 * self.girdles.info().strip.half(circle.radius) {
                    again.push((*k, fit.circle));
                }
            }
            rims = again;
        }
        self.place_long(image, pose, stones, &windows, &mut sights)?;
        Ok(sights)
    }

    /// Takes the centres of stones whose girdle is curved but no circle from where the model of girdles, which has learned on round ones, sees
    /// their edge. What else it says of them is not taken: of their sizes it is no surer than the window.
    fn place_long(
        &self,
        image: &Image,
        pose: &Pose,
        stones: &[&Stone],
        windows: &[Image],
        sights: &mut [StoneSight],
    ) -> Result<(), ModelError> {
        let info = self.girdles.info();
        let turn = |k: usize| pose.rotation + stones[k].length_turn();
        let length = |k: usize| pose.px(stones[k].length_mm());
        let prior: Vec<f64> = (0..stones.len()).map(|k| (sights[k].centre_u * length(k)).max(1.0)).collect();
        // Of each how its girdle runs, where it is, and how well its centre is known, in pixels.
        let mut long: Vec<(usize, Course, Circle, f64)> = (0..stones.len())
            .filter(|k| stones[*k].is_long_and_curved() && sights[*k].present >= 0.0)
            .filter_map(|k| {
                let line: Vec<[f64; 2]> = stones[k].plan()?.iter().map(|p| to_piece(*p, turn(k))).collect();
                Some((k, Course::of(&line, info.strip.rays)?, circle_of(stones[k], pose, &sights[k]), prior[k]))
            })
            .collect();
        for _ in 0..LONG_LOOKS {
            let strips: Vec<Vec<f32>> = long
                .iter()
                .map(|(k, course, circle, _)| {
                    self.strip((image, &windows[*k], pose), stones[*k], circle, Some(course))
                })
                .collect();
            for ((k, course, circle, u), rays) in long.iter_mut().zip(&self.girdles.look(&strips)?) {
                let placed = girdle::place(info, rays, course, 2.0 * circle.radius, prior[*k]);
                circle.x += placed.moved[0];
                circle.y -= placed.moved[1];
                circle.radius *= 1.0 + placed.grown.clamp(-MOST_GROWN, MOST_GROWN);
                *u = placed.u;
            }
        }
        for (k, _, circle, u) in long {
            let at = pose.to_px(stones[k].x_mm, stones[k].y_mm);
            sights[k].centre = to_piece([circle.x - at[0], at[1] - circle.y], -turn(k)).map(|v| v / length(k));
            sights[k].centre_u = u / length(k);
        }
        Ok(())
    }

    /// What the model of girdles is shown of a stone. shown: the frame, the stone's window, and how the piece lies.
    fn strip(
        &self,
        (image, window, pose): (&Image, &Image, &Pose),
        stone: &Stone,
        circle: &Circle,
        course: Option<&Course>,
    ) -> Vec<f32> {
        let info = self.stones.info();
        let looked = Looked {
            image: window,
            coarse: info.window * pose.px(stone.length_mm()) / info.side as f64,
            at: pose.to_px(stone.x_mm, stone.y_mm),
            turn: pose.rotation + stone.length_turn(),
        };
        girdle::strip(self.girdles.info(), image, &looked, circle, course)
    }
}

fn failed(model: &PartModel, e: &VisionError) -> ModelError {
    ModelError::Run { path: model.path(), message: e.to_string() }
}

/// Looks at a long stone: each about where the one before has it.
const LONG_LOOKS: usize = 3;
/// By which share it may grow from one to the next.
const MOST_GROWN: f64 = 0.1;

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
    sight.centre = into([fit.circle.x - at[0], at[1] - fit.circle.y]).map(|v| v / width);
    sight.centre_u = fit.centre_u / width;
    sight.size = 2.0 * fit.circle.radius / width;
    sight.size_u = 2.0 * fit.radius_u / width;
    sight.slope = into(fit.slope);
    sight.slope_u = fit.slope_u;
    sight.rim = Some(RimSight {
        odds: fit.chip,
        limits: info.chip,
        at: into([fit.chip_at.cos(), fit.chip_at.sin()]).map(|v| 0.5 * sight.size * v),
    });
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
    Ok(best)
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
        out.prongs[i][k] = Ok(sight);
    }
    Ok(out)
}

/// A vector of a window that is turned by `turn` against the piece, along the piece's axes.
pub fn to_piece(v: [f64; 2], turn: f64) -> [f64; 2] {
    let (s, c) = turn.sin_cos();
    [c * v[0] - s * v[1], s * v[0] + c * v[1]]
}
