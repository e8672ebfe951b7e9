//! A draft spec out of a golden piece: its outline, stones and prongs, found in a frame without any prior. The surface model
//! says which pixels are piece, stone and prong; shapes are fitted to them, and the models of stones and prongs bring every
//! part to its place. A person edits the draft: what is meant cannot be seen in one piece.

mod shape;
mod write;

pub use write::toml;

use crate::inspect::align::Rigid;
use crate::inspect::sight::{self, PartModels};
use crate::locate::silhouette::Backlit;
use crate::locate::{self, Pose};
use crate::model::{ClassMap, ModelError, SurfaceModel};
use crate::spec::parse::wholly_outside;
use crate::spec::{Outline, Prong, Stone, View};
use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// Why no draft could be made of a frame.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// OpenCV refused.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The model does not tell what a draft needs.
    #[error("the model {name} has no class `{class}`")]
    NoClass {
        /// The model.
        name: String,
        /// The class.
        class: &'static str,
    },
    /// The frame's scale is outside the model's range.
    #[error("the model is for {from} to {to} um a pixel, the frame has {um_per_px}")]
    Scale {
        /// Finest.
        from: f64,
        /// Coarsest.
        to: f64,
        /// The frame's.
        um_per_px: f64,
    },
    /// Nothing but background.
    #[error("no piece is seen in the frame")]
    NoPiece,
}

/// What one frame shows of a piece.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The view: outline, stones, prongs.
    pub view: View,
    /// Where the piece lies in the frame.
    pub pose: Pose,
    /// The metal that its colour is nearest to; a guess.
    pub metal: &'static str,
    /// The finish that the metal surely shows ([`crate::inspect::finish::guess`]); none where it was not asked or is not sure.
    pub finish: Option<&'static str>,
    /// The ring whose silhouette the frame shows against a backlight, if it is one: it shows nothing else.
    pub ring: Option<Ring>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A ring's silhouette.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    /// Inner diameter in mm.
    pub inner_mm: f64,
    /// Largest less smallest inner diameter in mm.
    pub ovality_mm: f64,
}

/// Light on the metal over that of the backlight below which a frame is a silhouette without being told so. Samples have 0.1, with glare on the walls
/// 0.2; gold that mirrors a white ground has more than half.
const SILHOUETTE: f64 = 0.3;

/// Drafts a view from a ring's silhouette. backlit: the frame is known to be one; else none where it does not look so.
///
/// # Errors
/// Where a frame that is known to be a silhouette shows no ring.
pub fn silhouette(
    image: &Image,
    um_per_px: f64,
    name: &str,
    backlit: bool,
) -> Result<Option<Draft>, locate::silhouette::SilhouetteError> {
    let mm = um_per_px / 1000.0;
    let seen = match locate::silhouette::measure(&Backlit::plain(image), locate::silhouette::hair_px(mm), None) {
        Ok(seen) if backlit || (seen.outer.is_ok() && seen.inner.darkness() < SILHOUETTE) => seen,
        Err(why) if backlit => return Err(why),
        _ => return Ok(None),
    };
    let [most, least] = seen.inner.diameters();
    let mut notes = vec![
        "it is seen against a backlight: its frames must say so (light = \"backlight\" in piece.json, or --light backlight)".into(),
        "a silhouette shows neither metal nor finish: set them".into(),
    ];
    if seen.inner.local > 0.0 {
        notes.push(format!(
            "its inner edge departs by {:.3} mm over a stretch: is it a good one?",
            mm * seen.inner.local
        ));
    }
    Ok(Some(Draft {
        view: View { name: name.to_owned(), ..View::default() },
        pose: Pose::centred(image.width, image.height, um_per_px),
        metal: "yellow_gold",
        finish: None,
        ring: Some(Ring { inner_mm: 2.0 * seen.inner.radius * mm, ovality_mm: mm * (most - least) }),
        notes,
    }))
}

/// Smallest stone that is looked for, in mm: melee starts at 0.8.
const LEAST_STONE_MM: f64 = 0.6;
/// Share of a rim without an edge above which a person is told.
const FAINT_SHARE: f64 = 0.03;
/// Long stones stand along or across their piece, within this of how well the map shows it; where nothing tells the piece's axes, they are the frame's, and a stone lies as it is seen.
const SQUARE_DEG: f64 = 12.0;
const LEVEL_DEG: f64 = 1.5;
/// Rounds in which a part is seen anew from where it was found.
const ROUNDS: usize = 4;

/// Drafts a view from a frame. With `given` stones (a CAD list) no others are looked for.
///
/// # Errors
/// [`DraftError`].
pub fn draft(
    image: &Image,
    um_per_px: f64,
    surface: &SurfaceModel,
    parts: &PartModels,
    name: &str,
    given: Option<Vec<Stone>>,
) -> Result<Draft, DraftError> {
    let info = surface.info();
    let map = surface.segment_at(image, None, Some(um_per_px))?.ok_or(DraftError::Scale {
        from: info.um_per_px_min,
        to: info.um_per_px_max,
        um_per_px,
    })?;
    let class = |class: &'static str| -> Result<Plane, DraftError> {
        let index = map.class(class).ok_or_else(|| DraftError::NoClass { name: info.name.clone(), class })?;
        Ok(map.class_plane(index))
    };
    let (background, stone, prong) = (class("background")?, class("stone")?, class("prong")?);
    let mut notes = Vec::new();
    let piece = piece_mask(&background)?;
    let start = Pose::centred(image.width, image.height, um_per_px);
    let hairless = without_hairs(&piece, locate::silhouette::hair_px(um_per_px / 1000.0))?;
    let steep = ops::steepness(&image.mean(), 1.0)?;
    let (outline, mut pose) = match shape::outline(&hairless, &steep, &start)? {
        Some((outline, pose, faint)) => {
            if faint > FAINT_SHARE {
                notes.push(format!(
                    "{:.0} % of the piece's rim shows no edge: check the outline there",
                    100.0 * faint
                ));
            }
            (Some(outline), pose)
        }
        None => (None, start),
    };
    // A CAD list tells the direction that an outline leaves open.
    let from_list = given.is_some();
    let mut view = View { name: name.to_owned(), outline, stones: given.unwrap_or_default(), ..View::default() };
    if let Some(outline) = &view.outline {
        if let Outline::Band { .. } = outline {
            notes.push("the band's radius_mm is a guess: set the shank's outer radius".into());
        }
        match locate::locate(image, &view, Some(um_per_px)) {
            Ok(located) => {
                let offsets = located.edges.iter().filter_map(|e| e.offset_mm.map(|v| v as f32));
                let mut offsets: Vec<f32> = offsets.collect();
                if offsets.len() > 30 {
                    // The map's edge is a pixel or so off, the same all around; the picture's own edge is better.
                    let by = f64::from(ops::median(&mut offsets));
                    view.outline = view.outline.as_ref().map(|o| shape::grown(o, by));
                }
                pose = located.pose;
                if !located.has_direction {
                    pose.rotation = 0.0;
                }
            }
            Err(e) => notes.push(format!("the outline was not found again by its edges ({e}): check it")),
        }
    } else {
        notes.push("metal reaches the frame's upper and lower edge: no outline (turn a shank by 90 degrees)".into());
    }
    let has_axes = match &view.outline {
        Some(Outline::Disc { .. }) | None => false,
        // One whose box tells of no axes is drawn along the frame's.
        Some(Outline::Polygon { .. }) => pose.rotation != 0.0,
        Some(_) => true,
    };
    let square_deg = if has_axes { SQUARE_DEG } else { LEVEL_DEG };
    if from_list {
        // An ellipse and a rectangle have their own axes, and an inspection lays a piece by them.
        if !matches!(view.outline, Some(Outline::Ellipse { .. } | Outline::RoundedRect { .. })) {
            let before = pose;
            lay_on_stones(image, &mut pose, parts, &view.stones)?;
            if let Some(Outline::Polygon { points_mm }) = &mut view.outline {
                // It stays where it is seen.
                for p in points_mm {
                    let [x, y] = before.to_px(p[0], p[1]);
                    *p = pose.to_mm(x, y);
                }
            }
        }
        let mut seen = stones(&stone, &prong, &piece, &pose, square_deg)?;
        settle_stones(image, &pose, parts, &mut seen)?;
        notes.extend(against_list(image, &pose, parts, &view.stones, &seen)?);
    } else {
        view.stones = stones(&stone, &prong, &piece, &pose, square_deg)?;
        settle_stones(image, &pose, parts, &mut view.stones)?;
    }
    let tips = prongs(&prong, &piece, &pose)?;
    give_prongs(image, &pose, parts, &mut view.stones, &tips)?;
    if let Some(outline) = view.outline.as_ref().filter(|_| !from_list) {
        // A second piece in the frame, or its reflection: no part of this one, and a spec with it would be refused.
        let all = view.stones.len();
        view.stones.retain(|s| !wholly_outside(outline, [s.x_mm, s.y_mm], s.diameter_mm / 2.0));
        for s in &mut view.stones {
            s.prongs.retain(|p| !wholly_outside(outline, [p.x_mm, p.y_mm], p.radius_mm));
        }
        if view.stones.len() < all {
            let left_out = all - view.stones.len();
            notes.push(format!("{left_out} stone(s) seen outside the outline are left out: check the outline there"));
        }
    }
    if !from_list {
        like_sizes(&mut view.stones);
        name_in_rows(&mut view.stones);
    }
    notes.extend(unlike(&view.stones));
    if view.stones.is_empty() {
        notes.push("no stone was found: where the piece has some, write them in, or give a list (--from-csv)".into());
    } else if view.stones.iter().all(|s| s.prongs.is_empty()) {
        let many = view.stones.len();
        notes.push(format!(
            "no prong was found about the {many} stone(s): where they have some, write them in and limit prong.present, and check the stones' cuts, for corners \
             under prongs are not seen"
        ));
    }
    Ok(Draft { metal: metal(image, &map, &piece), finish: None, view, pose, ring: None, notes })
}

/// Stones with fewer prongs than most of their kind have: the rest of them were not seen.
fn unlike(stones: &[Stone]) -> Option<String> {
    let kin = |a: &Stone, b: &Stone| a.cut == b.cut && (a.diameter_mm / b.diameter_mm - 1.0).abs() < 0.06;
    let poor: Vec<&str> = stones
        .iter()
        .filter(|s| {
            let mut counts: Vec<f32> = stones.iter().filter(|o| kin(s, o)).map(|o| o.prongs.len() as f32).collect();
            (s.prongs.len() as f32) < ops::median(&mut counts)
        })
        .map(|s| s.id.as_str())
        .collect();
    let lone = stones.iter().any(|s| s.prongs.is_empty()) && stones.iter().any(|s| !s.prongs.is_empty());
    match poor.first() {
        Some(_) => Some(format!("fewer prongs are seen of {} than of its like: check them", poor.join(", "))),
        None => lone.then(|| "some stones have no prong: check them".into()),
    }
}

/// What is not background: its largest region, holes filled.
fn piece_mask(background: &Plane) -> Result<Mask, DraftError> {
    let (w, h) = (background.width, background.height);
    let mut mask =
        Mask { width: w, height: h, data: background.data.iter().map(|p| if *p < 0.5 { 255 } else { 0 }).collect() };
    let (blobs, labels) = ops::components(&mask)?;
    let largest = blobs.iter().max_by_key(|b| b.area).filter(|b| 50 * b.area > w * h).ok_or(DraftError::NoPiece)?;
    mask = region(&mask, &labels, largest.label);
    let outside = mask.inverse();
    let (holes, labels) = ops::components(&outside)?;
    for b in holes {
        let touches = b.bounds.x == 0
            || b.bounds.y == 0
            || b.bounds.x + b.bounds.width == w
            || b.bounds.y + b.bounds.height == h;
        if !touches {
            for (m, l) in mask.data.iter_mut().zip(&labels) {
                if *l == b.label {
                    *m = 255;
                }
            }
        }
    }
    Ok(mask)
}

/// A piece without the fibres that cross its rim: neither what sticks out nor what cuts in, thinner than two hairs. A corner is
/// no fibre, though no disc fits into it: what a disc of radius `hair` leaves of it reaches less far than that radius down to 60
/// degrees.
fn without_hairs(piece: &Mask, hair: f64) -> Result<Mask, DraftError> {
    // What of a mask lies farther than `hair` from all discs of that radius within it, with all that hangs on it.
    let thin = |m: &Mask| -> Result<Mask, DraftError> {
        let core = ops::distance_inside(&ops::erode(m, hair)?.inverse())?;
        let part = |over: f64| -> Vec<u8> {
            let far = |(d, v): (&f32, &u8)| if *v != 0 && f64::from(*d) > over { 255 } else { 0 };
            core.data.iter().zip(&m.data).map(far).collect()
        };
        let (left, tips) = (Mask { data: part(hair + 1.0), ..*m }, part(2.0 * hair + 1.0));
        let (blobs, labels) = ops::components(&left)?;
        let mut long = vec![false; blobs.iter().map(|b| b.label as usize + 1).max().unwrap_or(1)];
        for (label, _) in labels.iter().zip(&tips).filter(|(_, t)| **t != 0) {
            long[*label as usize] = true;
        }
        let data = labels.iter().map(|l| if *l > 0 && long[*l as usize] { 255 } else { 0 }).collect();
        Ok(Mask { data, ..*m })
    };
    let out = thin(piece)?;
    let data = piece.data.iter().zip(&out.data).map(|(m, t)| m & (255 - t)).collect();
    let shorn = Mask { data, ..*piece };
    let cuts = thin(&shorn.inverse())?;
    let data = shorn.data.iter().zip(&cuts.data).map(|(m, t)| m | t).collect();
    Ok(Mask { data, ..shorn })
}

/// One region of a mask whose regions are labelled.
fn region(mask: &Mask, labels: &[i32], label: i32) -> Mask {
    let data = labels.iter().map(|l| if *l == label { 255 } else { 0 }).collect();
    Mask { width: mask.width, height: mask.height, data }
}

fn at_least(p: &Plane, least: f32, within: &Mask) -> Mask {
    let data = p.data.iter().zip(&within.data).map(|(v, m)| if *v >= least && *m != 0 { 255 } else { 0 }).collect();
    Mask { width: p.width, height: p.height, data }
}

/// Stones as regions of the map: circles where a region is round or made of round ones, else a cut by its shape.
/// `square_deg`: a long one that lies by less off the piece's axes is drawn along them.
fn stones(
    stone: &Plane,
    prong: &Plane,
    piece: &Mask,
    pose: &Pose,
    square_deg: f64,
) -> Result<Vec<Stone>, DraftError> {
    let mask = at_least(stone, 0.5, piece);
    let (blobs, labels) = ops::components(&mask)?;
    let least_px = pose.px(LEAST_STONE_MM / 2.0);
    let mut out = Vec::new();
    for blob in blobs {
        if (blob.area as f64) < 0.6 * std::f64::consts::PI * least_px * least_px {
            continue;
        }
        let own = Part::of(&mask, &labels, &blob);
        let at = |x: f64, y: f64| (x + own.corner[0] as f64, y + own.corner[1] as f64);
        for shape in shapes(stone, &own, prong, least_px)? {
            match shape {
                Shape::Circles(circles) => out.extend(circles.into_iter().map(|(x, y, r)| {
                    let (x, y) = at(x, y);
                    nominal(pose, x, y, pose.mm(2.0 * r), "round")
                })),
                Shape::Cut(cut) => {
                    let (x, y) = at(cut.x, cut.y);
                    let mut s = nominal(pose, x, y, pose.mm(cut.width), cut.name);
                    // Pixels have y down and the piece lies turned by its pose.
                    let turn = (-cut.turn - pose.rotation).to_degrees();
                    if s.length_ratio().is_some_and(|r| r > 1.0) {
                        let square = (turn / 90.0).round() * 90.0;
                        s.turn_deg = Some(square).filter(|t| (t - turn).abs() < square_deg).or(Some(turn));
                    }
                    out.push(s);
                }
            }
        }
    }
    // Of two that cover each other the smaller is a part of the larger.
    out.sort_by(|a, b| b.diameter_mm.total_cmp(&a.diameter_mm));
    let mut kept: Vec<Stone> = Vec::new();
    for s in out {
        if kept.iter().all(|k| (k.x_mm - s.x_mm).hypot(k.y_mm - s.y_mm) > 0.42 * (k.diameter_mm + s.diameter_mm)) {
            kept.push(s);
        }
    }
    call_like_others(&mut kept);
    Ok(kept)
}

/// Round stones about as large as one of another cut, from which on it is one of them with a part hidden: pavé and halos are set with one cut.
const ALIKE: usize = 5;

fn call_like_others(stones: &mut [Stone]) {
    let round: Vec<f64> = stones.iter().filter(|s| s.is_round()).map(|s| s.diameter_mm).collect();
    for s in stones.iter_mut().filter(|s| !s.is_round()) {
        let across = (s.diameter_mm * s.length_mm()).sqrt();
        let mut like: Vec<f32> =
            round.iter().filter(|d| (across / **d - 1.0).abs() < 0.15).map(|d| *d as f32).collect();
        if like.len() >= ALIKE {
            *s = Stone::unnamed([s.x_mm, s.y_mm], f64::from(ops::median(&mut like)), "round");
        }
    }
}

/// A region by itself: its mask, a few pixels wider than it is on all sides, and where in the picture that begins.
struct Part {
    mask: Mask,
    corner: [i64; 2],
}

impl Part {
    fn of(mask: &Mask, labels: &[i32], blob: &ops::Blob) -> Part {
        const PAD: usize = 4;
        let b = &blob.bounds;
        let (width, height) = (b.width + 2 * PAD, b.height + 2 * PAD);
        let mut own = Mask::empty(width, height);
        for y in 0..b.height {
            for x in 0..b.width {
                if labels[(b.y + y) * mask.width + b.x + x] == blob.label {
                    own.data[(y + PAD) * width + x + PAD] = 255;
                }
            }
        }
        Part { mask: own, corner: [b.x as i64 - PAD as i64, b.y as i64 - PAD as i64] }
    }

    /// What a plane of the picture has there.
    fn cut(&self, p: &Plane) -> Plane {
        let (width, height) = (self.mask.width, self.mask.height);
        let mut out = Plane::filled(width, height, 0.0);
        for (i, v) in out.data.iter_mut().enumerate() {
            let (x, y) = ((i % width) as i64 + self.corner[0], (i / width) as i64 + self.corner[1]);
            if (0..p.width as i64).contains(&x) && (0..p.height as i64).contains(&y) {
                *v = p.at(x as usize, y as usize);
            }
        }
        out
    }
}

/// What a region is taken for.
enum Shape {
    /// Round stones: centres and radii.
    Circles(Vec<(f64, f64, f64)>),
    /// A stone of another cut.
    Cut(shape::Cut),
}

/// Share of a region that circles cover from which it is made of round stones: two in a baguette cover pi / 4 of it.
const ROUND: f64 = 0.82;
/// Probabilities of stone at which stones that touch may fall apart.
const SURER: [f32; 5] = [0.6, 0.7, 0.8, 0.9, 0.95];
/// What a region that fell apart must look like to be a stone (area in common with its shape over area of either), and by how much more the parts must look like stones than
/// the whole of it.
const LIKE: f64 = 0.75;
/// See [`LIKE`].
const BETTER: f64 = 0.02;

/// What one region most looks like, and how much so ([`shape::likeness`]).
fn likeness(own: &Mask, prong: &Plane, least_px: f64) -> Result<(f64, Option<Shape>), DraftError> {
    let circles = shape::circles(own, prong, least_px)?;
    let covered: f64 = circles.iter().map(|c| std::f64::consts::PI * c.2 * c.2).sum();
    let mut best = (0.0, None);
    let one = circles.len() == 1;
    if covered > ROUND * own.count() as f64 {
        let mut round = Mask::empty(own.width, own.height);
        for (x, y, r) in &circles {
            ops::fill_circle(&mut round, *x, *y, *r, 255);
        }
        // One circle about a princess cut or an oval covers nine tenths of it.
        let more = if one { shape::COMMONER } else { 0.0 };
        best = (shape::likeness(own, &round, prong) + more, Some(Shape::Circles(circles)));
    }
    let (blobs, labels) = ops::components(own)?;
    let Some(blob) = blobs.into_iter().max_by_key(|b| b.area) else { return Ok(best) };
    let outline = ops::blob_outline(&labels, own.width, &blob)?;
    if let Some((like, cut)) = shape::cut(own, prong, &outline) {
        // A centre in its halo is round as a whole, and no stone.
        if like > best.0 && (best.1.is_none() || cut.name != "round") {
            best = (like, Some(Shape::Cut(cut)));
        }
    }
    Ok(best)
}

/// What a region of the map shows. Stones that touch are one region, but between them the map is less sure: of the
/// parts into which it falls where more is asked of it, those count that look most like stones all together.
fn shapes(stone: &Plane, own: &Part, prong: &Plane, least_px: f64) -> Result<Vec<Shape>, DraftError> {
    let (stone, prong) = (own.cut(stone), own.cut(prong));
    let least = 0.3 * std::f64::consts::PI * least_px * least_px;
    let all = own.mask.count().max(1) as f64;
    let (like, whole) = likeness(&own.mask, &prong, least_px)?;
    let mut best = (like + BETTER, whole.into_iter().collect::<Vec<_>>());
    for level in SURER {
        let sure = at_least(&stone, level, &own.mask);
        let (blobs, labels) = ops::components(&sure)?;
        let large: Vec<_> = blobs.into_iter().filter(|b| b.area as f64 >= least).collect();
        if large.len() < 2 {
            continue;
        }
        let far: Result<Vec<Plane>, VisionError> =
            large.iter().map(|b| ops::distance_inside(&region(&sure, &labels, b.label).inverse())).collect();
        let far = far?;
        // Each as far as it is nearest to it.
        let mut parts: Vec<Mask> = large.iter().map(|_| Mask::empty(sure.width, sure.height)).collect();
        for i in (0..own.mask.data.len()).filter(|i| own.mask.data[*i] != 0) {
            if let Some(k) = (0..far.len()).min_by(|a, b| far[*a].data[i].total_cmp(&far[*b].data[i])) {
                parts[k].data[i] = 255;
            }
        }
        let (mut sum, mut found) = (0.0, Vec::new());
        for part in &parts {
            let (like, shape) = likeness(part, &prong, least_px)?;
            let Some(shape) = shape.filter(|_| like >= LIKE && part.count() as f64 >= 2.0 * least) else { continue };
            sum += like * part.count() as f64 / all;
            found.push(shape);
        }
        if sum > best.0 {
            best = (sum, found);
        }
    }
    Ok(best.1)
}

fn nominal(pose: &Pose, x: f64, y: f64, diameter_mm: f64, cut: &str) -> Stone {
    Stone::unnamed(pose.to_mm(x, y), diameter_mm, cut)
}

/// How many times as large or small as the map has a stone it may turn out: prongs hide less than a fifth of it, and what grows by more has been taken to its halo.
const MAPPED: f64 = 1.25;

/// Brings every stone to where the model of stones sees its girdle, and drops what it sees neither as one nor as a row of them.
fn settle_stones(image: &Image, pose: &Pose, parts: &PartModels, stones: &mut Vec<Stone>) -> Result<(), DraftError> {
    let seen = bring(image, pose, parts, stones)?;
    let mut kept = Vec::new();
    for (s, present) in stones.drain(..).zip(seen) {
        if present.is_none_or(|p| p > 0.0) {
            kept.push(s);
        } else {
            kept.extend(in_row(image, pose, parts, &s)?);
        }
    }
    *stones = kept;
    Ok(())
}

/// Brings every stone to where its girdle is seen; the log odds that it is there, none of what cannot be looked at.
fn bring(
    image: &Image,
    pose: &Pose,
    parts: &PartModels,
    stones: &mut [Stone],
) -> Result<Vec<Option<f64>>, DraftError> {
    let mut seen = vec![None; stones.len()];
    let mapped = stones.to_vec();
    for _ in 0..ROUNDS {
        let places: Vec<usize> =
            (0..stones.len()).filter(|i| sight::is_measurable(image, pose, &stones[*i])).collect();
        let known: Vec<&Stone> = places.iter().map(|i| &stones[*i]).collect();
        let sights = parts.stones(image, pose, &known)?;
        for (i, sight) in places.into_iter().zip(sights) {
            let s = &mut stones[i];
            seen[i] = Some(sight.present);
            if sight.present < 0.0 {
                continue;
            }
            let by = sight::to_piece(sight.centre, s.length_turn());
            let most = 0.25;
            let length = s.length_mm();
            let step = |v: f64| v.clamp(-most, most) * length;
            (s.x_mm, s.y_mm) = (s.x_mm + step(by[0]), s.y_mm + step(by[1]));
            s.diameter_mm *= sight.size.clamp(0.85, 1.15);
        }
    }
    for (s, first) in stones.iter_mut().zip(mapped) {
        if !(1.0 / MAPPED..MAPPED).contains(&(s.diameter_mm / first.diameter_mm)) {
            *s = first;
        }
    }
    for (s, present) in stones.iter().zip(&seen) {
        let (x, y, d) = (s.x_mm, s.y_mm, s.diameter_mm);
        tracing::debug!("{} of {d:.2} mm at ({x:.2}, {y:.2}) mm: log odds that it is there {present:.1?}", s.cut);
    }
    Ok(seen)
}

/// Cuts whose stones are set side by side without a gap, so that a row of them looks like one larger stone.
const IN_ROWS: [&str; 3] = ["baguette", "princess", "emerald"];
/// How near to as large as their row says they are and as far from one another, at least: sieves part sizes by 4 %.
const BESIDE: f64 = 0.92;
/// Most stones of such a row.
const LONGEST_ROW: f64 = 12.0;

/// A row of alike stones side by side that is as large as what is no stone, where the model of stones sees every one of them.
fn in_row(image: &Image, pose: &Pose, parts: &PartModels, whole: &Stone) -> Result<Vec<Stone>, DraftError> {
    if !IN_ROWS.contains(&whole.cut.as_str()) {
        return Ok(vec![]);
    }
    let mut best: (f64, Vec<Stone>) = (0.0, vec![]);
    // Along its length, and where it is as wide as long across it too.
    let turns: &[f64] = if whole.length_ratio() == Some(1.0) { &[0.0, 90.0] } else { &[0.0] };
    for (cut, turn) in IN_ROWS.iter().flat_map(|c| turns.iter().map(move |t| (*c, *t))) {
        let along = whole.length_turn().to_degrees() + turn;
        let (long, across) = (whole.length_mm(), whole.diameter_mm);
        let Some(ratio) = Stone::unnamed([0.0, 0.0], 1.0, cut).length_ratio() else { continue };
        let n = (long * ratio / across).round();
        if !(2.0..=LONGEST_ROW).contains(&n) {
            continue;
        }
        let mut row: Vec<Stone> = (0..n as usize)
            .map(|k| {
                let by = sight::to_piece([0.0, long * ((k as f64 + 0.5) / n - 0.5)], along.to_radians());
                let mut s = Stone::unnamed([whole.x_mm + by[0], whole.y_mm + by[1]], across / ratio, cut);
                // Their length lies across the row.
                s.turn_deg = Some((along + 90.0).rem_euclid(180.0)).filter(|_| ratio > 1.0);
                s
            })
            .collect();
        if !row.iter().all(|s| sight::is_measurable(image, pose, s)) {
            continue;
        }
        let width = across / ratio;
        let seen = bring(image, pose, parts, &mut row)?;
        let least = seen.into_iter().flatten().fold(f64::INFINITY, f64::min);
        // Where they are not so many they grow into one another.
        let beside = |p: &[Stone]| (p[0].x_mm - p[1].x_mm).hypot(p[0].y_mm - p[1].y_mm) > BESIDE * width;
        let alike = |s: &Stone| (BESIDE..1.0 / BESIDE).contains(&(s.diameter_mm / width));
        if !(row.windows(2).all(beside) && row.iter().all(alike)) {
            continue;
        }
        // Two baguettes side by side look more like a princess than half of a princess like a baguette.
        if least > 0.0 && (row.len() > best.1.len() || (row.len() == best.1.len() && least > best.0)) {
            best = (least, row);
        }
    }
    Ok(best.1)
}

/// How far an outline may have a piece off its stones: along a shank nothing else tells where it lies, and a head is soldered on by hand. And by how much turned
/// (radians).
const OFF_MM: f64 = 0.3;
/// See [`OFF_MM`].
const TURNED: f64 = 0.05;
/// Fewest stones that tell how a piece lies.
const LEAST_TOLD: usize = 2;

/// Lays a piece on the stones of its list, by all that the frame shows of them: prongs are written down beside those, where they are.
fn lay_on_stones(image: &Image, pose: &mut Pose, parts: &PartModels, list: &[Stone]) -> Result<(), DraftError> {
    for _ in 0..ROUNDS {
        let shown: Vec<&Stone> = list.iter().filter(|s| sight::is_measurable(image, pose, s)).collect();
        let sights = parts.stones(image, pose, &shown)?;
        let seen: Vec<([f64; 2], [f64; 2], f64)> = shown
            .iter()
            .zip(&sights)
            .filter(|(_, sight)| sight.present > 0.0)
            .map(|(s, sight)| {
                let u = (sight.centre_u * s.length_mm()).hypot(locate::SETTING_TOLERANCE_MM / 3.0);
                ([s.x_mm, s.y_mm], sight::stone_shift(s, sight.centre), u)
            })
            .collect();
        if seen.len() < LEAST_TOLD {
            return Ok(());
        }
        let [dx, dy, turn] = Rigid::of(seen.into_iter(), [OFF_MM, OFF_MM, TURNED]).fit;
        let by = sight::to_piece([dx, dy], pose.rotation);
        pose.dx_mm += by[0];
        pose.dy_mm += by[1];
        pose.rotation += turn;
    }
    Ok(())
}

/// A stone is of another size than its list says from here on, relative to it: sieves for melee part sizes by 4 % and more.
const OTHER_SIZE: f64 = 0.05;

/// Fewest stones of a list that show it to be drawn in another way.
const LEAST_LISTED: usize = 3;
/// The share of a list that must lie where stones are seen once it is read another way, and at most as it stands.
const READ: f64 = 0.8;
const UNREAD: f64 = 0.5;

/// How a list is drawn if not as the frame shows the piece: in inches, mirrored, turned by quarters, about another origin; none where it fits as it stands, or in no such way.
fn misread(list: &[Stone], seen: &[Stone]) -> Option<String> {
    let n = list.len() as f64;
    if list.len() < LEAST_LISTED || seen.len() < LEAST_LISTED {
        return None;
    }
    let middle = |p: &[[f64; 2]]| [0, 1].map(|k| p.iter().map(|q| q[k]).sum::<f64>() / p.len() as f64);
    let there: Vec<[f64; 2]> = seen.iter().map(|s| [s.x_mm, s.y_mm]).collect();
    let fits = |p: &[[f64; 2]], scale: f64| {
        let near = |q: &[f64; 2], s: &Stone| {
            let at = |t: &Stone| (t.x_mm - q[0]).hypot(t.y_mm - q[1]) < 0.3 * scale * s.diameter_mm;
            seen.iter().any(|t| at(t) && (0.7..1.4).contains(&(t.diameter_mm / (scale * s.diameter_mm))))
        };
        p.iter().zip(list).filter(|(q, s)| near(q, s)).count() as f64
    };
    type Way = (&'static str, f64, fn([f64; 2]) -> [f64; 2]);
    let ways: [Way; 7] = [
        ("", 1.0, |p| p),
        ("with its y axis down (y_mm is up)", 1.0, |[x, y]| [x, -y]),
        ("with its x axis to the left (x_mm is to the right)", 1.0, |[x, y]| [-x, y]),
        ("turned by a quarter, counter-clockwise", 1.0, |[x, y]| [y, -x]),
        ("turned by a quarter, clockwise", 1.0, |[x, y]| [-y, x]),
        ("turned by half a turn", 1.0, |[x, y]| [-x, -y]),
        ("in inches (its lengths are mm)", 25.4, |p| p),
    ];
    let as_it_is: Vec<[f64; 2]> = list.iter().map(|s| [s.x_mm, s.y_mm]).collect();
    if fits(&as_it_is, 1.0) > UNREAD * n {
        return None;
    }
    for (how, scale, way) in ways {
        let laid: Vec<[f64; 2]> = as_it_is.iter().map(|p| way(*p).map(|v| scale * v)).collect();
        let (own, all) = (middle(&laid), middle(&there));
        let by = [all[0] - own[0], all[1] - own[1]];
        let moved: Vec<[f64; 2]> = laid.iter().map(|p| [p[0] + by[0], p[1] + by[1]]).collect();
        if !how.is_empty() && fits(&laid, scale) >= READ * n {
            return Some(format!(
                "the list seems to be drawn {how}: read so its stones lie where the frame shows them"
            ));
        }
        if fits(&moved, scale) >= READ * n {
            let drawn = if how.is_empty() { String::new() } else { format!("drawn {how} and ") };
            return Some(format!(
                "the list seems to be {drawn}about another origin: its stones are seen {:.2} mm to the right and {:.2} mm up of where it has them",
                by[0], by[1]
            ));
        }
    }
    None
}

/// What a list and the frame say differently: stones that lie outside the frame, are not seen or seen elsewhere, and stones (`seen`)
/// that the list does not have.
fn against_list(
    image: &Image,
    pose: &Pose,
    parts: &PartModels,
    list: &[Stone],
    seen: &[Stone],
) -> Result<Vec<String>, DraftError> {
    if let Some(how) = misread(list, seen) {
        return Ok(vec![how]);
    }
    let mut out = Vec::new();
    let (mut outside, mut sizes) = (Vec::new(), Vec::new());
    for s in list {
        if !sight::is_measurable(image, pose, s) {
            let p = pose.to_px(s.x_mm, s.y_mm);
            if !(0.0..image.width as f64).contains(&p[0]) || !(0.0..image.height as f64).contains(&p[1]) {
                outside.push(s.id.as_str());
            }
            continue;
        }
        for sight in parts.stones(image, pose, &[s])? {
            let off = s.length_mm() * sight.centre[0].hypot(sight.centre[1]);
            if sight.present < 0.0 {
                out.push(format!("stone {} of the list is not seen in the frame", s.id));
            } else if off > 2.0 * locate::SETTING_TOLERANCE_MM {
                out.push(format!("stone {} of the list is seen {off:.2} mm off its place", s.id));
            }
            if sight.present >= 0.0 && (sight.size - 1.0).abs() > OTHER_SIZE.max(3.0 * sight.size_u) {
                sizes.push((s.id.as_str(), s.diameter_mm, s.diameter_mm * sight.size));
            }
        }
    }
    if let Some((id, ordered, seen)) = sizes.first() {
        let n = sizes.len();
        out.push(format!(
            "{n} of the list's stones are seen in another size (the first: {id}, {seen:.2} mm for {ordered}): is the scale right?"
        ));
    }
    if let Some(first) = outside.first() {
        let n = outside.len();
        out.push(format!("{n} of the list's {} stones lie outside the frame (the first: {first}): its origin must be the piece's middle", list.len()));
    }
    let listed = |p: &Stone| list.iter().any(|s| (s.x_mm - p.x_mm).hypot(s.y_mm - p.y_mm) < 0.5 * s.diameter_mm);
    let missing = seen.iter().filter(|p| !listed(p)).count();
    if missing > 0 {
        out.push(format!(
            "{missing} stones are seen that the list does not have: prongs of theirs may stand at its own"
        ));
    }
    if list.is_empty() {
        out.push("the list has no stone".into());
    }
    Ok(out)
}

/// Tips of prongs as round regions of the map: centre and radius in mm.
fn prongs(prong: &Plane, piece: &Mask, pose: &Pose) -> Result<Vec<(f64, f64, f64)>, DraftError> {
    let mask = at_least(prong, 0.4, piece);
    let (blobs, labels) = ops::components(&mask)?;
    let mut out = Vec::new();
    for blob in blobs {
        if blob.area < 12 {
            continue;
        }
        let own = region(&mask, &labels, blob.label);
        let nothing = Plane::filled(mask.width, mask.height, 0.0);
        for (x, y, r) in shape::circles(&own, &nothing, 2.5)? {
            let p = pose.to_mm(x, y);
            out.push((p[0], p[1], pose.mm(r)));
        }
    }
    Ok(out)
}

/// How far a place (mm) lies from a stone's girdle, within or without.
fn off_girdle(s: &Stone, [x, y]: [f64; 2]) -> f64 {
    let by = [x - s.x_mm, y - s.y_mm];
    match s.plan() {
        None => (by[0].hypot(by[1]) - s.diameter_mm / 2.0).abs(),
        Some(line) => {
            let at = sight::to_piece(by, -s.length_turn()).map(|v| v / s.diameter_mm);
            s.diameter_mm * shape::to_outline(at, &line)
        }
    }
}

/// Gives each tip to the stone on whose girdle it stands, where the model of prongs sees it.
fn give_prongs(
    image: &Image,
    pose: &Pose,
    parts: &PartModels,
    stones: &mut [Stone],
    tips: &[(f64, f64, f64)],
) -> Result<(), DraftError> {
    let mut radii: Vec<f32> = tips.iter().map(|t| t.2 as f32).collect();
    if radii.is_empty() || stones.is_empty() {
        return Ok(());
    }
    let usual = f64::from(ops::median(&mut radii));
    let info = parts.prongs.info();
    for (x, y, _) in tips.iter().filter(|t| (0.5 * usual..2.0 * usual).contains(&t.2)) {
        let off = |s: &Stone| off_girdle(s, [*x, *y]);
        let Some(owner) = (0..stones.len()).min_by(|a, b| off(&stones[*a]).total_cmp(&off(&stones[*b]))) else {
            continue;
        };
        if off(&stones[owner]) > 1.2 * usual + 0.05 {
            continue;
        }
        let mut tip = Prong { x_mm: *x, y_mm: *y, radius_mm: usual };
        let mut whole = false;
        for _ in 0..3 {
            let turn = sight::prong_turn(&stones[owner], &tip);
            let window = sight::prong_window(image, pose, info, &stones[owner], &tip)?;
            let Some(sight) = parts.prongs.prongs(&[window])?.first().copied() else { break };
            whole = sight.present > 0.0;
            let by = sight::to_piece(sight.centre, turn);
            tip.x_mm += by[0].clamp(-1.0, 1.0) * tip.radius_mm;
            tip.y_mm += by[1].clamp(-1.0, 1.0) * tip.radius_mm;
            tip.radius_mm *= sight.size.clamp(0.8, 1.25);
        }
        let apart = |q: &Prong| (q.x_mm - tip.x_mm).hypot(q.y_mm - tip.y_mm) > tip.radius_mm;
        if whole && stones.iter().flat_map(|s| &s.prongs).all(apart) {
            stones[owner].prongs.push(tip);
        }
    }
    let mut radii: Vec<f32> = stones.iter().flat_map(|s| &s.prongs).map(|q| q.radius_mm as f32).collect();
    if !radii.is_empty() {
        let usual = f64::from(ops::median(&mut radii));
        for s in stones.iter_mut() {
            let (x, y) = (s.x_mm, s.y_mm);
            for q in &mut s.prongs {
                // One tool makes them alike.
                if (q.radius_mm / usual - 1.0).abs() < 0.25 {
                    q.radius_mm = usual;
                }
            }
            let angle = |q: &Prong| (q.y_mm - y).atan2(q.x_mm - x).rem_euclid(std::f64::consts::TAU);
            s.prongs.sort_by(|a, b| angle(a).total_cmp(&angle(b)));
        }
    }
    Ok(())
}

/// Stones of nearly one size are meant to be of one size: each becomes the median of its kind.
fn like_sizes(stones: &mut [Stone]) {
    let mut order: Vec<usize> = (0..stones.len()).collect();
    order.sort_by(|a, b| stones[*a].diameter_mm.total_cmp(&stones[*b].diameter_mm));
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        let first = &stones[order[from]];
        while to < order.len()
            && stones[order[to]].diameter_mm < 1.06 * first.diameter_mm
            && stones[order[to]].cut == first.cut
        {
            to += 1;
        }
        let mut sizes: Vec<f32> = order[from..to].iter().map(|i| stones[*i].diameter_mm as f32).collect();
        let size = f64::from(ops::median(&mut sizes));
        for i in &order[from..to] {
            stones[*i].diameter_mm = size;
        }
        from = to;
    }
}

/// `S1`, `S2`, ... from the top row down and from left to right.
fn name_in_rows(stones: &mut Vec<Stone>) {
    stones.sort_by(|a, b| b.y_mm.total_cmp(&a.y_mm));
    let mut rows: Vec<Vec<Stone>> = Vec::new();
    for s in stones.drain(..) {
        match rows.last_mut() {
            Some(row) if row[0].y_mm - s.y_mm < 0.4 * s.diameter_mm.min(row[0].diameter_mm) => row.push(s),
            _ => rows.push(vec![s]),
        }
    }
    for mut row in rows {
        row.sort_by(|a, b| a.x_mm.total_cmp(&b.x_mm));
        stones.extend(row);
    }
    for (i, s) in stones.iter_mut().enumerate() {
        s.id = format!("S{}", i + 1);
    }
}

/// The metal whose colour is nearest to that of what the map calls metal: by the ratio of blue to red and of green to their
/// mean, from the metals' reflectances.
fn metal(image: &Image, map: &ClassMap, piece: &Mask) -> &'static str {
    let Some(index) = map.class("metal") else { return "yellow_gold" };
    let plane = map.class_plane(index);
    let mut sums = [0.0f64; 3];
    for (i, p) in plane.data.iter().enumerate() {
        let rgb = &image.data[3 * i..3 * i + 3];
        // Neither what is clipped nor what lies in the dark tells a colour.
        if *p > 0.8 && piece.data[i] != 0 && rgb.iter().all(|v| (24..250).contains(v)) {
            for (s, v) in sums.iter_mut().zip(rgb) {
                *s += f64::from(*v);
            }
        }
    }
    let [r, g, b] = sums;
    if r <= 0.0 {
        return "yellow_gold";
    }
    let look = [b / r, 2.0 * g / (r + b)];
    // Reflectance at normal incidence, linear, as sRGB shows it under a neutral light.
    let metals: [(&str, [f64; 3]); 4] = [
        ("yellow_gold", [0.90, 0.745, 0.315]),
        ("rose_gold", [0.90, 0.585, 0.475]),
        ("white_gold", [0.80, 0.745, 0.645]),
        ("silver", [0.945, 0.915, 0.865]),
    ];
    let distance = |m: &[f64; 3]| {
        let [r, g, b] = m.map(|v| v.powf(1.0 / 2.2));
        (b / r - look[0]).hypot(2.0 * g / (r + b) - look[1])
    };
    metals.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1))).map_or("yellow_gold", |m| m.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stone(x: f64, y: f64, d: f64) -> Stone {
        Stone {
            id: String::new(),
            x_mm: x,
            y_mm: y,
            diameter_mm: d,
            cut: "round".into(),
            turn_deg: None,
            gem: None,
            prongs: vec![],
        }
    }

    #[test]
    fn one_of_many_round_ones_is_round() {
        let mut of = vec![stone(0.0, 0.0, 1.3); 5];
        of.push(Stone::unnamed([3.0, 0.0], 1.1, "oval"));
        of.push(Stone::unnamed([5.0, 0.0], 2.5, "oval"));
        call_like_others(&mut of);
        assert!(of[5].is_round() && (of[5].diameter_mm - 1.3).abs() < 1e-6 && of[6].cut == "oval");
    }

    #[test]
    fn a_stone_by_itself_is_called_by_its_cut() {
        for cut in ["round", "princess", "oval", "emerald", "baguette", "marquise", "pear"] {
            let mut own = Mask::empty(160, 160);
            match Stone::unnamed([0.0, 0.0], 1.0, cut).girdle([80.0, 80.0], 62.0, 0.1) {
                Some(line) => ops::fill_polygons(&mut own, &[line], 255).unwrap(),
                None => ops::fill_circle(&mut own, 80.0, 80.0, 31.0, 255),
            }
            let prong = Plane { width: 160, height: 160, data: vec![0.0; 160 * 160] };
            let name = match likeness(&own, &prong, 10.0).unwrap().1 {
                Some(Shape::Circles(c)) if c.len() == 1 => "round",
                Some(Shape::Cut(cut)) => cut.name,
                _ => "none",
            };
            assert_eq!(name, cut);
        }
    }

    #[test]
    fn a_list_that_is_drawn_another_way_is_told() {
        let seen: Vec<Stone> = [[-2.0, 1.0], [-0.5, 1.2], [1.0, 0.8], [2.2, -1.5], [-1.5, -2.0]]
            .map(|p| Stone::unnamed(p, 1.3, "round"))
            .into();
        let of = |way: fn(&Stone) -> [f64; 2], scale: f64| -> Option<String> {
            let drawn = |s: &Stone| Stone::unnamed(way(s), s.diameter_mm / scale, "round");
            misread(&seen.iter().map(drawn).collect::<Vec<_>>(), &seen)
        };
        assert_eq!(of(|s| [s.x_mm, s.y_mm], 1.0), None);
        // Off by less than a stone's radius here and there: each is told by itself.
        assert_eq!(of(|s| [s.x_mm + 0.2 * s.y_mm.signum(), s.y_mm], 1.0), None);
        assert!(of(|s| [s.x_mm, -s.y_mm], 1.0).unwrap().contains("y axis down"));
        assert!(of(|s| [-s.y_mm, s.x_mm], 1.0).unwrap().contains("counter-clockwise"));
        assert!(of(|s| [s.x_mm / 25.4, s.y_mm / 25.4], 25.4).unwrap().contains("inches"));
        assert!(of(|s| [s.x_mm - 0.9, s.y_mm - 0.6], 1.0).unwrap().contains("0.90 mm to the right and 0.60 mm up"));
    }

    #[test]
    fn a_fibre_across_the_rim_is_no_outline() {
        let square = |x: usize, y: usize| (60..140).contains(&x) && (40..100).contains(&y);
        let fibre = |x: usize, y: usize| (20..70).contains(&x) && x + 28 - y < 6 && y <= x + 28;
        let slit = |x: usize, y: usize| (100..104).contains(&x) && (80..120).contains(&y);
        let mask = |of: &dyn Fn(usize, usize) -> bool| Mask {
            width: 200,
            height: 140,
            data: (0..200 * 140).map(|i| if of(i % 200, i / 200) { 255 } else { 0 }).collect(),
        };
        let clean = mask(&square);
        assert_eq!(without_hairs(&clean, 5.0).unwrap(), clean);
        let shorn = without_hairs(&mask(&|x, y| (square(x, y) || fibre(x, y)) && !slit(x, y)), 5.0).unwrap();
        let off: Vec<usize> = (0..clean.data.len()).filter(|i| clean.data[*i] != shorn.data[*i]).collect();
        // What is left of them is a hump no higher than the disc's radius.
        assert!(off.len() < 60, "{}", off.len());
        let far = |i: &usize| {
            let (x, y) = (i % 200, i / 200);
            [
                60_usize.saturating_sub(x),
                40_usize.saturating_sub(y),
                (x + 1).saturating_sub(140),
                (y + 1).saturating_sub(100),
            ]
        };
        assert!(off.iter().all(|i| far(i).iter().all(|d| *d <= 6)));
        // A long, wide tongue is part of the piece.
        let tongue = mask(&|x, y| square(x, y) || ((20..60).contains(&x) && (60..74).contains(&y)));
        assert_eq!(without_hairs(&tongue, 5.0).unwrap(), tongue);
    }

    #[test]
    fn stones_are_named_in_rows_and_sized_alike() {
        let mut s = vec![stone(1.0, -1.0, 1.31), stone(-1.0, 1.02, 1.29), stone(1.0, 1.0, 1.3), stone(0.0, 0.0, 3.0)];
        like_sizes(&mut s);
        name_in_rows(&mut s);
        let ids: Vec<(f64, f64)> = s.iter().map(|s| (s.x_mm, s.y_mm)).collect();
        assert_eq!(ids, [(-1.0, 1.02), (1.0, 1.0), (0.0, 0.0), (1.0, -1.0)]);
        assert!((s[0].diameter_mm - 1.3).abs() < 1e-6 && s[2].diameter_mm == 3.0 && s[3].id == "S4");
    }
}
