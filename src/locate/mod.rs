//! Where a piece lies in a frame: metal against background, the pose of the nominal outline, and, where the outline
//! leaves a direction open (a disc's turn, a band's shift along itself), the pose of the nominal stones.

pub mod edges;
pub mod outline;
pub mod pose;
pub mod silhouette;
pub mod stones;

use crate::spec::{Outline, Stone, View};
use crate::vision::{ops, Image, Mask, Plane, VisionError};
use edges::{Background, EdgeSample};
pub use pose::Pose;

/// Largest turn that the search covers, in degrees either way.
pub const MAX_TURN_DEG: f64 = 20.0;
/// Largest shift that the search covers, in mm either way.
pub const MAX_SHIFT_MM: f64 = 1.5;

/// Why a piece could not be located.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The frame says no scale, the spec an outline in mm.
    #[error("the frame has no um_per_px, so the outline in mm cannot be laid on it")]
    NoScale,
    /// The outline fills the frame: no background to tell the metal from.
    #[error("the outline leaves no background in the frame")]
    NoBackground,
    /// No place where enough of the outline has metal inside and background outside.
    #[error("the piece was not found: only {share_pct:.0} % of its outline shows an edge")]
    NotFound {
        /// Share of the outline that has an edge at the best place.
        share_pct: f64,
    },
    /// The outline was found but the stones that give its direction were not told from the metal.
    #[error("the outline has no direction and the stones do not show one")]
    NoDirection,
    /// OpenCV refused an operation.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// A located piece.
#[derive(Debug, Clone)]
pub struct Located {
    /// Where it lies.
    pub pose: Pose,
    /// Standard uncertainty of the rotation in radians.
    pub rotation_u: f64,
    /// Standard uncertainty of the shift in mm, along x and y together.
    pub shift_u_mm: f64,
    /// Whether the turn is known; false for a disc without stones.
    pub has_direction: bool,
    /// The nominal outline filled, in the frame.
    pub metal: Mask,
    /// The located outline in pixels, closed polygons cut to the frame's neighbourhood.
    pub outline_px: Vec<Vec<[f64; 2]>>,
    /// How far the metal's edge lies from the nominal outline, point by point; empty without an outline.
    pub edges: Vec<EdgeSample>,
    /// The background the metal was told from; none without an outline.
    pub background: Option<Background>,
}

impl Located {
    /// By how much a nominal place may be off, in mm at `reach_mm` from the origin, at k = 2.
    pub fn place_u2_mm(&self, reach_mm: f64) -> f64 {
        2.0 * self.shift_u_mm.hypot(self.rotation_u * reach_mm)
    }
}

/// Locates a view's piece in a frame.
///
/// # Errors
/// [`LocateError`]: the reason a person reads in the report.
pub fn locate(image: &Image, view: &View, um_per_px: Option<f64>) -> Result<Located, LocateError> {
    locate_all(image, view, um_per_px)?.into_iter().next().ok_or(LocateError::NoDirection)
}

/// Locates a view's piece in a frame: the likeliest place first, then those that fit nearly as well where the outline leaves a
/// direction open and the stones look alike one place further on. Never empty.
///
/// # Errors
/// As [`locate`].
pub fn locate_all(image: &Image, view: &View, um_per_px: Option<f64>) -> Result<Vec<Located>, LocateError> {
    let (w, h) = (image.width, image.height);
    let Some(shape) = &view.outline else {
        // No outline: the frame is all metal, and only its centre and scale place it.
        return Ok(vec![Located {
            pose: Pose::centred(w, h, um_per_px.unwrap_or(1000.0)),
            rotation_u: 0.0,
            shift_u_mm: 0.0,
            has_direction: true,
            metal: Mask::full(w, h),
            outline_px: vec![],
            edges: vec![],
            background: None,
        }]);
    };
    let scale = um_per_px.ok_or(LocateError::NoScale)?;
    let start = Pose::centred(w, h, scale);
    let reach_mm = start.mm(w.max(h) as f64);
    let background = edges::fit_background(image, shape, &start)?;
    let coarse = edges::coarse(image, shape, &start, &background)?;
    let fit = edges::refine(image, shape, coarse, &background)?;
    let round = outline::has_no_direction(shape);
    let has_direction = has_direction(view);
    let mut fits = vec![];
    if view.stones.is_empty() || !has_direction {
        fits.push(fit);
    } else if round {
        for turned in stones::find_turn(image, view, shape, &fit.pose)? {
            let pose = Pose { rotation: turned.value, ..fit.pose };
            fits.push(edges::Fit { pose, rotation_u: turned.uncertainty, ..fit });
        }
    } else if matches!(shape, Outline::Band { .. }) {
        for along in stones::find_shift(image, view, shape, &fit.pose)? {
            // The shift is along the band, which lies turned in the frame.
            let (s, c) = fit.pose.rotation.sin_cos();
            let pose =
                Pose { dx_mm: fit.pose.dx_mm + along.value * c, dy_mm: fit.pose.dy_mm + along.value * s, ..fit.pose };
            fits.push(edges::Fit { pose, shift_u_mm: fit.shift_u_mm.hypot(along.uncertainty), ..fit });
        }
    } else {
        fits.push(fit);
    }
    if fits.is_empty() {
        return Err(LocateError::NoDirection);
    }
    let located = |fit: edges::Fit| {
        let edges = edges::measure(image, shape, &fit.pose, &background);
        let px: Vec<[f64; 2]> =
            outline::polygon(shape, 1.5 * reach_mm).iter().map(|p| fit.pose.to_px(p[0], p[1])).collect();
        let mut metal = Mask::empty(w, h);
        ops::fill_polygons(&mut metal, std::slice::from_ref(&px), 255)?;
        Ok(Located {
            pose: fit.pose,
            rotation_u: fit.rotation_u,
            shift_u_mm: fit.shift_u_mm,
            has_direction,
            metal,
            outline_px: vec![px],
            edges,
            background: Some(background.clone()),
        })
    };
    fits.into_iter().map(located).collect()
}

/// Whether a view's nominal form tells how it is turned. A disc does not, nor does a round stone in its middle that no prong holds.
pub fn has_direction(view: &View) -> bool {
    let tells = |s: &Stone| !s.is_round() || !s.prongs.is_empty() || s.x_mm.hypot(s.y_mm) > SETTING_TOLERANCE_MM;
    view.outline.as_ref().is_some_and(|o| !outline::has_no_direction(o)) || view.stones.iter().any(tells)
}

/// How far stones and prongs may sit from their nominal places on a good piece, in mm, where the spec does not limit it:
/// half the trade's tolerance of calibrated melee, 0.1 mm.
pub const SETTING_TOLERANCE_MM: f64 = 0.05;

/// Pixels at the frame's own border that are left out: filters see mirrored pixels there.
pub const FRAME_BORDER_PX: usize = 4;

/// The width of a bezel, a channel's wall or a bead beside a stone without nominal prongs, with the shade beside it.
const WALL_MM: f64 = 0.35;

/// Blocks that the depth under the rim is measured in, in micrometres.
const DEPTH_UM: f64 = 10.0;

/// A prong's tip darkens and tints the metal about it by reflection: its halo reaches this many radii.
pub const PRONG_HALO: f64 = 1.35;

/// All of the metal that no nominal stone or prong covers, up to its rims and edges: they mirror what flat metal does not, and a
/// finish shows by that.
pub fn open_metal(view: &View, located: &Located) -> Mask {
    let mut mask = located.metal.clone();
    for s in &view.stones {
        let discs = s.prongs.iter().map(|q| (q.x_mm, q.y_mm, q.radius_mm));
        for (x, y, radius) in discs.chain([(s.x_mm, s.y_mm, s.reach_mm())]) {
            let p = located.pose.to_px(x, y);
            ops::fill_circle(&mut mask, p[0], p[1], located.pose.px(radius), 0);
        }
    }
    mask
}

/// Metal that nothing nominal covers: the outline's inside less its rim, the stones and the prongs. The margins follow
/// from the pose's uncertainty (k = 2), the setting's tolerance and two pixels of blur.
///
/// # Errors
/// Where OpenCV refuses.
pub fn bare_metal(view: &View, located: &Located, image: &Image) -> Result<Mask, VisionError> {
    uncovered(view, located, image, true)
}

/// The same with the rim, less a blur's width: where texture and brightness are the rim's own, but a model that knows rims can look.
///
/// # Errors
/// Where OpenCV refuses.
pub fn metal_to_the_rim(view: &View, located: &Located, image: &Image) -> Result<Mask, VisionError> {
    uncovered(view, located, image, false)
}

fn uncovered(view: &View, located: &Located, image: &Image, less_rim: bool) -> Result<Mask, VisionError> {
    let (width, height) = (image.width, image.height);
    if view.outline.is_none() && view.stones.is_empty() {
        return Ok(located.metal.clone());
    }
    let pose = &located.pose;
    let blur_px = 2.0;
    let mut mask = if view.outline.is_some() {
        let reach = view.outline.as_ref().map_or(0.0, outline::reach);
        let place_px = pose.px(2.0 * located.shift_u_mm.hypot(located.rotation_u * reach));
        // The depth under the rim need not be known more finely than a blur of some micrometres.
        let f = ((DEPTH_UM / pose.um_per_px).floor() as usize).clamp(1, 4);
        let mut metal = Mask::empty(width.div_ceil(f), height.div_ceil(f));
        let coarse = |p: &[f64; 2]| p.map(|v| (v + 0.5) / f as f64 - 0.5);
        let outlines: Vec<Vec<[f64; 2]>> =
            located.outline_px.iter().map(|o| o.iter().map(coarse).collect()).collect();
        ops::fill_polygons(&mut metal, &outlines, 255)?;
        let mut depth = ops::distance_inside(&metal)?;
        // A block's centre lies half a block nearer to the border than its far side.
        for d in depth.data.iter_mut().filter(|d| **d > 0.0) {
            *d = *d * f as f32 - 0.5 * (f - 1) as f32;
        }
        let rim = if less_rim { rim_depth(image, &depth, f, pose) } else { 0.0 };
        let rim_px = (place_px + rim.max(blur_px) + 1.0) as f32;
        let mut mask = Mask::empty(width, height);
        for (y, row) in mask.data.chunks_exact_mut(width).enumerate() {
            let deep = &depth.data[y / f * depth.width..(y / f + 1) * depth.width];
            for (block, d) in row.chunks_mut(f).zip(deep) {
                if *d > rim_px {
                    block.fill(255);
                }
            }
        }
        mask
    } else {
        Mask::full(width, height)
    };
    if let Some(shape) = &view.outline {
        // Where metal is lacking there is no surface to look at.
        for notch in edges::notches(&located.edges, shape, pose, 0.04) {
            ops::fill_polygons(&mut mask, &[notch], 0)?;
        }
    }
    let border = FRAME_BORDER_PX.min(width / 4).min(height / 4);
    for (y, row) in mask.data.chunks_exact_mut(width).enumerate() {
        if y < border || y + border >= height {
            row.fill(0);
        } else {
            row[..border].fill(0);
            row[width - border..].fill(0);
        }
    }
    for s in &view.stones {
        let place = if located.has_direction { located.place_u2_mm(s.x_mm.hypot(s.y_mm)) } else { 0.0 };
        let margin = place + SETTING_TOLERANCE_MM;
        let p = pose.to_px(s.x_mm, s.y_mm);
        // What holds a stone without prongs lies all around it.
        let wall = if s.prongs.is_empty() { WALL_MM } else { 0.0 };
        ops::fill_circle(&mut mask, p[0], p[1], pose.px(s.reach_mm() + wall + margin) + blur_px, 0);
        for q in &s.prongs {
            let p = pose.to_px(q.x_mm, q.y_mm);
            ops::fill_circle(&mut mask, p[0], p[1], pose.px(PRONG_HALO * q.radius_mm + margin) + blur_px, 0);
        }
    }
    Ok(mask)
}

/// How far the rim's own look (a bevel's highlight, the blur of the edge) reaches inward, in pixels: the last depth at
/// which the median slope of the brightness is more than twice what it is behind the rim. At most 0.2 mm. `depth` is in
/// pixels of the frame, one value for `f` by `f` of them.
fn rim_depth(image: &Image, depth: &Plane, f: usize, pose: &Pose) -> f64 {
    let last = pose.px(0.2).clamp(4.0, 60.0) as usize;
    let behind = last + (pose.px(0.1).max(4.0) as usize);
    let mut slopes: Vec<Vec<f32>> = vec![Vec::new(); behind + 1];
    let (w, h) = (image.width, image.height);
    let brightness = |x: usize, y: usize| -> f32 {
        let i = 3 * (y * w + x);
        image.data[i..i + 3].iter().map(|v| f32::from(*v)).sum::<f32>() / 3.0
    };
    // Mean over three by three pixels, so that noise is no slope; every other row and column is enough for medians.
    let smooth = |x: usize, y: usize| -> f32 {
        (y - 1..=y + 1).flat_map(|v| (x - 1..=x + 1).map(move |u| (u, v))).map(|(u, v)| brightness(u, v)).sum::<f32>()
            / 9.0
    };
    for y in (2..h.saturating_sub(2)).step_by(2) {
        for x in (2..w.saturating_sub(2)).step_by(2) {
            let d = depth.data[y / f * depth.width + x / f];
            if d > 0.0 && (d as usize) <= behind {
                let gx = smooth(x + 1, y) - smooth(x - 1, y);
                let gy = smooth(x, y + 1) - smooth(x, y - 1);
                slopes[d as usize].push((gx * gx + gy * gy).sqrt());
            }
        }
    }
    let mut medians: Vec<f32> = slopes.iter_mut().map(|s| ops::median(s)).collect();
    let mut rest: Vec<f32> = medians.split_off(last);
    rest.retain(|v| v.is_finite());
    if rest.is_empty() {
        return 0.0;
    }
    let level = 2.0 * ops::median(&mut rest);
    medians.iter().rposition(|m| *m > level).map_or(0.0, |k| k as f64 + 1.0)
}
