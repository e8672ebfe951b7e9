//! The metal's surface: pits, porosity, scratches, stains and worn plating, by classic vision.
//!
//! Everything is measured against the metal's own neighbourhood. A feature stands out when it differs from the local
//! mean by many times the local scatter of the same filter's response, so noise, brushing and grain raise the bar for
//! themselves and no grey level is written down here. The filters' sizes are lengths on the metal, turned to
//! pixels by the frame's scale, or, without a scale, multiples of a pixel.

use super::lines::{LINE_MM, LINE_PICTURE_MM, LINE_SEED_Z};
use super::metal::Metal;
use super::opinion::{self, Asked, Opinion, Ruling, Shape};
use super::{Answer, Feature, Inspect, Scene, Value};
use crate::report::FindingType;
use crate::vision::{ops, Mask, Plane, VisionError};

/// The inspector of the metal's surface.
#[derive(Debug)]
pub struct Surface;

const CHARACTERISTICS: &[&str] = &[
    "pit.diameter_mm",
    PORE_COUNT,
    "porosity.area_pct",
    "porosity.max_pore_mm",
    "scratch.length_mm",
    "scratch.width_mm",
    "stain.area_mm2",
    "worn_plating.area_mm2",
];

/// Seeds: eight standard deviations. Of a million independent normal values one lies beyond 4.9; texture has
/// heavier tails, hence the distance.
const SEED_Z: f32 = 8.0;
/// Seeds smaller than [`SMALL_PX`].
const SMALL_SEED_Z: f32 = 9.0;
/// Diameter of a small spot.
const SMALL_PX: f64 = 6.0;
/// What seeds are multiplied with where the surface model brings weights for a second opinion: it tells chance from defect, so
/// more may be proposed to it.
const EAGER: f32 = 0.75;
/// The same of spots: a pit of four pixels hardly rises above the grain about it, and the model's map knows grain.
const EAGER_SPOT: f32 = 0.6;
/// The smallest spot whose kind the model's map, of every second pixel, can tell: four cells across.
const LEAST_PATCH_PX: f64 = 8.0;
/// Standard uncertainty of a pit's diameter as a share of it, beside half a pixel: the scatter seen on rendered pits of
/// known size in six metals under three lights.
const DIAMETER_U: f64 = 0.06;
/// How much wider than a pit the outline is that stands out from the surroundings, in pixels: blur and the pixels themselves.
/// The median over 570 rendered pits of known size in development sets; between 3.5 and 9 pixels it is the same within 0.15.
const WIDENING_PX: f64 = 0.9;
/// A patch darker than its surroundings by more than this share is a stain. Rendered patches of known kind: stains lose
/// 10 to 22 %, worn platings at most 5 %.
const STAIN_LOSS: f64 = 0.075;
/// The smallest pit looked for where the spec limits none, in mm: below it the eye sees none at arm's length.
const SMALLEST_PIT_MM: f64 = 0.05;
/// Pixels across the smallest pit that its outline needs.
const PIXELS_ACROSS: f64 = 4.0;
/// What of a spot a margin may hide that cuts it off, in mm, as a standard uncertainty: anything from none to the tenth of a millimetre that margins are wide.
const HIDDEN_MM: f64 = 0.058;
/// A line of fewer widths than this may be a pit.
const STUBBY: f64 = 3.0;
/// The largest spot that is looked at as one, in mm.
const LARGEST_PIT_MM: f64 = 0.6;
/// Compact spots larger than this may be patches, in mm.
const LARGEST_SPOT_MM: f64 = 0.3;
/// The largest share of the bare metal that may be white (every channel at its end) in a frame that is to tell whether the
/// surface is sound: a quarter of the surface unseen is a defect in four unseen.
pub(super) const MOST_WHITE: f64 = 0.25;
/// The largest share of the bare metal that may be dark in a light that is no dark field: of polished metal that mirrors dark walls between bars much
/// may be, of a frame that the light was out for all is.
const MOST_BLACK: f64 = 0.9;
/// The blur (standard deviation) over the diameter of a pit from which it hides it: at three quarters a pit has a fifth of its contrast left, 1 - exp(-d^2 / 8 s^2).
const BLURRED: f64 = 0.75;
/// The pit that should be seen where no limit says which, in mm.
const SMALLEST_MM: f64 = 0.05;
/// Less than this share of the metal between the stones left bare says too little of the surface.
const LEAST_BARE: f64 = 0.1;
/// The least share of the bare metal whose colour must be seen for worn plating to be assessed; brightness still tells of the
/// rest.
const LEAST_COLOURED: f64 = 0.5;
/// A spot fills at least this share of the circle about it.
const LEAST_FILLED: f64 = 0.35;
/// Regions grow from a seed down to here.
const GROW_Z: f32 = 3.2;

impl Inspect for Surface {
    fn name(&self) -> &'static str {
        "surface"
    }

    fn characteristics(&self) -> &'static [&'static str] {
        CHARACTERISTICS
    }

    fn inspect(&self, scene: &Scene) -> Result<Answer, VisionError> {
        let mut answer = Answer::default();
        let Some(mm_per_px) = scene.mm_per_px() else {
            answer.not_assessed =
                CHARACTERISTICS.iter().map(|c| (*c, "the frame has no um_per_px".to_owned())).collect();
            return Ok(answer);
        };
        let Some(bounds) = scene.bare_metal.bounds() else {
            answer.not_assessed =
                CHARACTERISTICS.iter().map(|c| (*c, "no bare metal is visible in the view".to_owned())).collect();
            return Ok(answer);
        };
        // A frame that resolves the smallest pit of interest by more than twice what its outline needs is averaged down.
        let smallest = scene.spec.limit("pit.diameter_mm", &scene.view.name).and_then(|l| l.upper);
        let needed = smallest.unwrap_or(SMALLEST_PIT_MM).max(SMALLEST_PIT_MM / 2.0) / PIXELS_ACROSS;
        let f = ((needed.min(LINE_PICTURE_MM) / mm_per_px).floor() as usize).clamp(1, 8);
        let (mut metal, corner) =
            Metal::new((scene.image, scene.kept.coarse_colour), scene.bare_metal, bounds, mm_per_px, f)?;
        if opinion::is_asked(scene) {
            metal.eagerness = EAGER;
            metal.eager_spots = EAGER_SPOT;
        }
        let spots = metal.spots()?;
        // Lines are looked for without the spots, but only without those that are sure: others may be their grain.
        let sure: Vec<Spot> = spots.iter().filter(|s| s.z >= SEED_Z).cloned().collect();
        let scratches = metal.scratches(&sure)?;
        let patches = metal.patches()?;
        let blur_px = 2.6 * metal.px(0.05).round().clamp(1.0, 16.0);
        let (mut spots, mut scratches) = join(spots, scratches, metal.px(JOIN_MM));
        let mut patches = patches;
        weigh(scene, f as f64, corner, &mut spots, &mut scratches, &mut patches)?;
        patches.extend(small_patches(&mut spots));
        for l in &mut scratches {
            patches.extend(small_patches(&mut l.parts));
        }
        // A patch that is no defect must not swallow the pit within it.
        let (gone, patches) = patches.into_iter().partition::<Vec<_>, _>(|p| p.weighed.is_sound());
        let (mut spots, mut scratches, mut patches) =
            settle(spots, scratches, patches, blur_px, metal.px(LARGEST_SPOT_MM));
        patches.extend(gone);
        to_frame(f as f64, corner, &mut spots, &mut scratches, &mut patches);
        let (spots, scratches, patches) = keep(spots, scratches, patches, &mut answer);
        let scale_u = scene.scale_u();
        features(mm_per_px, spots, scratches, patches, scale_u, self.name(), &mut answer);
        let beside = super::margins::pits(scene, &answer.features)?;
        answer.features.extend(beside);
        answer.assessed = CHARACTERISTICS.to_vec();
        let bare = bare_share(scene);
        let white = metal.white_share;
        let blind = if let Some(cut) = super::contour::cut_off(scene) {
            Some(cut)
        } else if bare < LEAST_BARE {
            Some(format!("only {:.0} % of the metal between the stones is clear of their margins", 100.0 * bare))
        } else if white > MOST_WHITE {
            Some(format!("{:.0} % of the bare metal is overexposed and shows nothing", 100.0 * white))
        } else if let Some(blur) =
            scene.out_of_focus()?.map(|b| b * mm_per_px).filter(|b| *b > BLURRED * smallest.unwrap_or(SMALLEST_MM))
        {
            Some(format!("the frame is out of focus: its sharpest edges are blurred by {blur:.3} mm"))
        } else if metal.black_share > MOST_BLACK && scene.frame.light != "dark_field" {
            Some(format!("{:.0} % of the bare metal is underexposed", 100.0 * metal.black_share))
        } else {
            None
        };
        if let Some(text) = blind {
            answer.not_assessed = CHARACTERISTICS.iter().map(|c| (*c, text.clone())).collect();
            answer.assessed.clear();
            return Ok(answer);
        }
        let colour = metal.colour_share();
        let ended = || {
            format!("{:.0} % of the bare metal has a channel at its end and shows no colour", 100.0 * (1.0 - colour))
        };
        let colourless = if scene.image.grey {
            Some("the frame is grey and shows no colour".to_owned())
        } else {
            (colour < LEAST_COLOURED).then(ended)
        };
        if let Some(text) = colourless {
            answer.assessed.retain(|c| *c != "worn_plating.area_mm2");
            answer.not_assessed.push(("worn_plating.area_mm2", text));
        }
        // What the camera cannot resolve must not pass for being unseen (Nyquist: two pixels).
        if let Some(limit) = smallest.filter(|l| *l < 2.0 * mm_per_px) {
            answer.assessed.retain(|c| *c != "pit.diameter_mm");
            let text = format!("{:.3} mm a pixel cannot show a pit of {limit} mm (two pixels are needed)", mm_per_px);
            answer.not_assessed.push(("pit.diameter_mm", text));
        }
        Ok(answer)
    }
}

/// Whether a spec limits anything of the surface in a view.
pub fn is_limited(spec: &crate::spec::Spec, view: &str) -> bool {
    CHARACTERISTICS.iter().any(|c| spec.limit(c, view).is_some())
}

/// The bare metal's share of the metal that no nominal stone covers.
fn bare_share(scene: &Scene) -> f64 {
    let pose = &scene.located.pose;
    let mut open = scene.located.metal.clone();
    for s in &scene.view.stones {
        let p = pose.to_px(s.x_mm, s.y_mm);
        ops::fill_circle(&mut open, p[0], p[1], pose.px(s.diameter_mm / 2.0), 0);
    }
    scene.bare_metal.count() as f64 / open.count().max(1) as f64
}

/// A compact spot.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub x: f64,
    pub y: f64,
    /// Of what stands out.
    pub diameter_px: f64,
    /// Of the pit: less what blur adds.
    pub size_px: f64,
    pub size_u_px: f64,
    pub z: f32,
    /// Whether it is long for a pit, and no margin cut it so.
    pub long: bool,
    pub outline: Vec<[f64; 2]>,
    pub weighed: Weighed,
}

impl Spot {
    fn doubt(&self) -> Option<String> {
        let long = self.long || self.weighed.opinion.is_some_and(|o| o.is_line());
        self.weighed.doubt().or_else(|| long.then(|| LONG.to_owned()))
    }
}

/// In the name of what looks like a patch and would be too large a pit.
pub const AS_PIT: &str = "-as-pit-";
/// What is said of a spot that is long for a pit, or that the model takes for a scratch.
const LONG: &str = "it looks long for a pit: it may be a short scratch or a smear";
/// Times its width from which a spot is long. A pit is as wide as long, seen from above; short scratches and what is left of fingerprints
/// are not.
const LONG_WIDTHS: f64 = 1.75;

/// What the surface model makes of something seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Weighed {
    opinion: Option<Opinion>,
    ruling: Option<Ruling>,
}

impl Weighed {
    fn is_sound(&self) -> bool {
        matches!(self.ruling, Some(Ruling::Sound(_)))
    }

    /// Without a model everything stands as it was measured.
    fn stands(&self) -> bool {
        self.ruling.is_none_or(|r| r == Ruling::Stands)
    }

    fn doubt(&self) -> Option<String> {
        match (self.ruling, &self.opinion) {
            (Some(Ruling::Doubtful(_)), Some(o)) => Some(opinion::doubt(o)),
            _ => None,
        }
    }
}

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub points: Vec<[f64; 2]>,
    pub length_px: f64,
    pub width_px: f64,
    pub width_u_px: f64,
    pub z: f32,
    /// The spots that are part of the line.
    pub parts: Vec<Spot>,
    pub weighed: Weighed,
}

/// A patch of other colour or brightness.
#[derive(Debug, Clone)]
struct Patch {
    x: f64,
    y: f64,
    area_px: f64,
    area_u_px: f64,
    radius_px: f64,
    z: f32,
    worn: bool,
    outline: Vec<[f64; 2]>,
    weighed: Weighed,
    /// Diameter and its uncertainty as a pit, where classic vision saw a spot and the model a patch.
    spot_px: Option<[f64; 2]>,
}

impl Metal {
    /// Spots of any sign in any plane at two scales; grown to their outline on the finest scale that shows them.
    fn spots(&self) -> Result<Vec<Spot>, VisionError> {
        let (w, h) = (self.mask.width, self.mask.height);
        // From the finest the camera resolves to a pit of 0.25 mm.
        let wide = self.px(0.15).max(6.0);
        let far = self.px(0.4).max(20.0);
        let mut best = Plane::filled(w, h, 0.0);
        let mut fine = Plane::filled(w, h, 0.0);
        let surroundings = self.surroundings(wide, far)?;
        for sigma in [1.0, 2.0] {
            let smoothing = self.smoothing(sigma)?;
            for k in 0..self.fine_planes() {
                let z = self.standout(k, &smoothing, &surroundings)?;
                for (b, v) in best.data.iter_mut().zip(&z.data) {
                    *b = b.max(v.abs());
                }
            }
            if sigma == 1.0 {
                fine = best.clone();
            }
        }
        let mut mask = Mask::empty(w, h);
        for (m, v) in mask.data.iter_mut().zip(&best.data) {
            *m = if *v > GROW_Z { 255 } else { 0 };
        }
        let (blobs, labels) = ops::components(&mask)?;
        let mut out: Vec<Spot> = Vec::new();
        for b in &blobs {
            let r = b.bounds;
            let inside = |x: usize, y: usize| labels[y * w + x] == b.label;
            let mut peak = 0.0f32;
            for y in r.y..r.y + r.height {
                for x in r.x..r.x + r.width {
                    if inside(x, y) {
                        peak = peak.max(best.at(x, y));
                    }
                }
            }
            if b.area < 4 || peak < self.eager_spots * SEED_Z {
                continue;
            }
            // The finest scale has the sharpest outline: what stands above half of the nearest rim's peak is that rim,
            // and the hull of the rim is the pit. Parts that do not touch are pores of their own.
            let near = (self.px(0.05).round() as usize).clamp(3, 12);
            let mut part = Mask::empty(r.width, r.height);
            for y in 0..r.height {
                for x in 0..r.width {
                    let (gx, gy) = (x + r.x, y + r.y);
                    if !inside(gx, gy) {
                        continue;
                    }
                    let mut top = 0.0f32;
                    for ny in gy.saturating_sub(near).max(r.y)..(gy + near + 1).min(r.y + r.height) {
                        for nx in gx.saturating_sub(near).max(r.x)..(gx + near + 1).min(r.x + r.width) {
                            if inside(nx, ny) {
                                top = top.max(fine.at(nx, ny));
                            }
                        }
                    }
                    if fine.at(gx, gy) >= (0.5 * top).max(GROW_Z.min(0.7 * top)) {
                        part.data[y * r.width + x] = 255;
                    }
                }
            }
            let (pieces, piece_labels) = ops::components(&part)?;
            let mut rims: Vec<Rim> = Vec::new();
            for q in &pieces {
                let mut points = Vec::new();
                let mut top = 0.0f32;
                for y in q.bounds.y..q.bounds.y + q.bounds.height {
                    for x in q.bounds.x..q.bounds.x + q.bounds.width {
                        if piece_labels[y * r.width + x] == q.label {
                            points.push([(x + r.x) as f64, (y + r.y) as f64]);
                            top = top.max(best.at(x + r.x, y + r.y));
                        }
                    }
                }
                rims.push(Rim::new(points, top));
            }
            // Two arcs of one rim: their circles overlap by far more than those of neighbouring pores.
            let arcs = rims.clone();
            let mut members: Vec<Vec<usize>> = (0..rims.len()).map(|i| vec![i]).collect();
            loop {
                let n = rims.len();
                let pair = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).find(|(i, j)| {
                    let (a, b) = (&rims[*i], &rims[*j]);
                    (a.x - b.x).hypot(a.y - b.y) < 0.6 * (a.radius + b.radius)
                });
                let Some((i, j)) = pair else { break };
                let other = rims.swap_remove(j);
                let parts = members.swap_remove(j);
                members[i].extend(parts);
                let first = std::mem::replace(&mut rims[i], Rim::new(vec![], 0.0));
                let mut points = first.points;
                points.extend(other.points);
                rims[i] = Rim::new(points, first.z.max(other.z));
            }
            // Pores that crowd are taken for arcs of one rim, and then of one too large or too empty to be a pit.
            let mut parted: Vec<Rim> = Vec::new();
            for (rim, parts) in rims.into_iter().zip(&members) {
                let is_pit = || {
                    let (_, raw, filled) = rim.hull();
                    filled >= LEAST_FILLED && raw <= self.px(LARGEST_PIT_MM)
                };
                if parts.len() > 1 && !is_pit() {
                    parted.extend(parts.iter().map(|i| arcs[*i].clone()));
                } else {
                    parted.push(rim);
                }
            }
            let mut rims = parted;
            rims.sort_by(|a, b| (a.y, a.x).partial_cmp(&(b.y, b.x)).unwrap_or(std::cmp::Ordering::Equal));
            for rim in rims {
                // Specks of one or two pixels beside a pit are its ragged rim.
                if rim.points.len() < 3 && pieces.len() > 1 {
                    continue;
                }
                if rim.z < self.eager_spots * SEED_Z && pieces.len() > 1 {
                    continue;
                }
                let (hull, raw, filled) = rim.hull();
                // A small spot has many places to be by chance.
                let chance = self.eager_spots * if raw < SMALL_PX { SMALL_SEED_Z } else { SEED_Z };
                if filled < LEAST_FILLED || raw > self.px(LARGEST_PIT_MM) || (rim.z < chance && pieces.len() == 1) {
                    continue;
                }
                // A spot cut off by a stone's or the rim's margin is at least as large as it is long.
                let cut_off = rim.points.iter().any(|p| {
                    let (x, y) = (p[0] as usize, p[1] as usize);
                    (y.saturating_sub(1)..=(y + 1).min(h - 1))
                        .any(|v| (x.saturating_sub(1)..=(x + 1).min(w - 1)).any(|u| !self.mask.at(u, v)))
                });
                let (diameter_px, size_px, share, hidden) = if cut_off {
                    let whole = raw.max(2.0 * rim.radius);
                    (whole, whole, 0.2, self.px(HIDDEN_MM))
                } else {
                    (raw, (raw - WIDENING_PX).max(1.0), DIAMETER_U, 0.0)
                };
                out.push(Spot {
                    x: rim.x,
                    y: rim.y,
                    diameter_px,
                    size_px,
                    size_u_px: f64::hypot(0.5, share * diameter_px).hypot(hidden),
                    z: rim.z,
                    long: !cut_off && length_over_width(&hull) >= LONG_WIDTHS,
                    outline: hull,
                    weighed: Weighed::default(),
                });
            }
        }
        Ok(out)
    }

    /// Patches of other colour or brightness, on a picture of about 50 um a pixel.
    fn patches(&self) -> Result<Vec<Patch>, VisionError> {
        let f = ((0.05 / self.mm_per_px).round() as usize).clamp(1, 16);
        let small = self.shrunk(f);
        let (w, h) = (small.mask.width, small.mask.height);
        if w < 8 || h < 8 {
            return Ok(vec![]);
        }
        let mut best = Plane::filled(w, h, 0.0);
        let mut signed: Vec<Plane> = Vec::new();
        let smoothing = small.smoothing(1.0)?;
        let surroundings = small.surroundings(small.px(0.7).max(10.0), small.px(1.5).max(20.0))?;
        for index in 0..small.planes.len() {
            let z = small.standout(index, &smoothing, &surroundings)?;
            for (b, v) in best.data.iter_mut().zip(&z.data) {
                *b = b.max(v.abs());
            }
            signed.push(z);
        }
        let mut mask = Mask::empty(w, h);
        for (m, v) in mask.data.iter_mut().zip(&best.data) {
            *m = if *v > GROW_Z { 255 } else { 0 };
        }
        let (blobs, labels) = ops::components(&mask)?;
        let mut out = Vec::new();
        for b in &blobs {
            let area_mm2 = b.area as f64 * (small.mm_per_px).powi(2);
            if area_mm2 < 0.01 {
                continue;
            }
            let mut peak = 0.0f32;
            let mut sums = [0.0f64; 3];
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label {
                        peak = peak.max(best.at(x, y));
                        for (s, z) in sums.iter_mut().zip(&signed) {
                            *s += f64::from(z.at(x, y));
                        }
                    }
                }
            }
            if peak < self.eagerness * SEED_Z {
                continue;
            }
            // The patch reaches to where half of its typical contrast is left.
            let mut inside: Vec<f32> = Vec::new();
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label {
                        inside.push(best.at(x, y));
                    }
                }
            }
            let level = GROW_Z.max(0.5 * ops::quantile(&mut inside, 0.8));
            let mut part = Mask::empty(w, h);
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label && best.at(x, y) >= level {
                        part.data[y * w + x] = 255;
                    }
                }
            }
            let (cores, core_labels) = ops::components(&part)?;
            let Some(core) = cores.iter().max_by_key(|c| c.area) else { continue };
            let outline = ops::blob_outline(&core_labels, w, core)?;
            let n = b.area as f64;
            let coloured = sums[1].hypot(sums[2]) / n > 0.5 * (sums[0] / n).abs();
            // A tarnish or a residue swallows light; a base metal that shows through a plating mirrors about as much of it.
            let worn = coloured && small.relative_brightness(&core_labels, core, &best) > -STAIN_LOSS;
            let k = f as f64;
            let full = |p: [f64; 2]| [(p[0] + 0.5) * k - 0.5, (p[1] + 0.5) * k - 0.5];
            let at = full([core.x, core.y]);
            let area_px = core.area as f64 * k * k;
            out.push(Patch {
                x: at[0],
                y: at[1],
                area_px,
                // Blur and a soft rim shift all of the border alike: by half a coarse pixel.
                area_u_px: 0.5 * k * k * perimeter(&outline).max(4.0),
                radius_px: (area_px / std::f64::consts::PI).sqrt(),
                z: peak,
                worn,
                outline: outline.into_iter().map(full).collect(),
                weighed: Weighed::default(),
                // A pit whose spot ran together with what lies beside it is seen as a patch alone.
                spot_px: Some(2.0 * (area_px / std::f64::consts::PI).sqrt())
                    .filter(|d| *d <= self.px(LARGEST_PIT_MM))
                    .map(|d| [d, (0.5 * k).hypot(DIAMETER_U * d)]),
            });
        }
        Ok(out)
    }

    /// Brightness of a region against the quiet metal around it: 0 the same, -1 black.
    fn relative_brightness(&self, labels: &[i32], blob: &ops::Blob, standout: &Plane) -> f64 {
        let (w, h) = (self.mask.width, self.mask.height);
        let r = blob.bounds;
        let margin = 6;
        let (mut inside, mut around) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
        for y in r.y.saturating_sub(margin)..(r.y + r.height + margin).min(h) {
            for x in r.x.saturating_sub(margin)..(r.x + r.width + margin).min(w) {
                let i = y * w + x;
                let v = f64::from(self.planes[0].data[i]);
                if labels[i] == blob.label {
                    inside = (inside.0 + v, inside.1 + 1.0);
                } else if self.mask.data[i] != 0 && standout.data[i] < GROW_Z {
                    around = (around.0 + v, around.1 + 1.0);
                }
            }
        }
        if around.1 == 0.0 || around.0 == 0.0 {
            return 0.0;
        }
        (inside.0 / inside.1.max(1.0)) / (around.0 / around.1) - 1.0
    }
}

/// Pixels of one rim, with the circle about their box's centre.
#[derive(Debug, Clone)]
struct Rim {
    points: Vec<[f64; 2]>,
    x: f64,
    y: f64,
    radius: f64,
    z: f32,
}

impl Rim {
    fn new(points: Vec<[f64; 2]>, z: f32) -> Self {
        let fold = |k: usize| points.iter().fold((f64::MAX, f64::MIN), |a, p| (a.0.min(p[k]), a.1.max(p[k])));
        let ((x0, x1), (y0, y1)) = (fold(0), fold(1));
        let (x, y) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let radius = points.iter().map(|p| (p[0] - x).hypot(p[1] - y)).fold(0.0, f64::max) + 0.5;
        Rim { points, x, y, radius, z }
    }

    /// Its hull, the diameter of the circle as large as that, and the hull's share of the circle about it.
    fn hull(&self) -> (Vec<[f64; 2]>, f64, f64) {
        let hull = hull(&self.points);
        // Through pixel centres plus half a pixel all around.
        let area = ops::polygon_area(&hull) + 0.5 * perimeter(&hull) + std::f64::consts::FRAC_PI_4;
        let filled = area / (std::f64::consts::PI * (self.radius + 0.5).powi(2));
        (hull, (4.0 * area / std::f64::consts::PI).sqrt(), filled)
    }
}

/// Convex hull (Andrew's monotone chain), counter-clockwise.
pub(crate) fn hull(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut p = points.to_vec();
    p.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    p.dedup();
    if p.len() < 3 {
        return p;
    }
    let cross = |o: [f64; 2], a: [f64; 2], b: [f64; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let half = |p: &mut dyn Iterator<Item = &[f64; 2]>| {
        let mut out: Vec<[f64; 2]> = Vec::new();
        for q in p {
            while out.len() >= 2 && cross(out[out.len() - 2], out[out.len() - 1], *q) <= 0.0 {
                out.pop();
            }
            out.push(*q);
        }
        out.pop();
        out
    };
    let mut lower = half(&mut p.iter());
    lower.extend(half(&mut p.iter().rev()));
    lower
}

/// How many times as long as wide a hull of pixel centres is, where it is narrowest; half a pixel lies all around it.
fn length_over_width(hull: &[[f64; 2]]) -> f64 {
    let extent = |[c, s]: [f64; 2]| {
        let along = hull.iter().map(|p| c * p[0] + s * p[1]);
        along.clone().fold(f64::MIN, f64::max) - along.fold(f64::MAX, f64::min) + 1.0
    };
    let ends = hull.iter().zip(hull.iter().cycle().skip(1));
    // The narrowest strip about a convex polygon lies along one of its sides.
    let strips = ends.filter_map(|(a, b)| {
        let (x, y) = (b[0] - a[0], b[1] - a[1]);
        let n = x.hypot(y);
        (n > 0.0).then(|| [extent([-y / n, x / n]), extent([x / n, y / n])])
    });
    strips.min_by(|a, b| a[0].total_cmp(&b[0])).map_or(1.0, |[width, length]| length / width)
}

fn perimeter(p: &[[f64; 2]]) -> f64 {
    let n = p.len();
    (0..n).map(|i| (p[(i + 1) % n][0] - p[i][0]).hypot(p[(i + 1) % n][1] - p[i][1])).sum()
}

/// A spot this near to a scratch's end and in line with it belongs to it, in mm: a fifth of the length that lines are
/// averaged over, by which their ends are unsure.
const JOIN_MM: f64 = 0.06;
/// The share of a scratch's length that its ends are uncertain by.
const RUNS_OUT: f64 = 0.1;
/// A spot wider than this many times the scratch is a pit of its own.
const JOIN_WIDTHS: f64 = 4.0;

/// The deep places of a scratch are found as spots; they are one defect. What lies on a line or carries it on is taken into
/// it; the line remembers the largest, because a limit on pits holds for it all the same.
fn join(mut spots: Vec<Spot>, mut lines: Vec<Line>, gap_px: f64) -> (Vec<Spot>, Vec<Line>) {
    for l in &mut lines {
        loop {
            let n = l.points.len();
            if n < 2 {
                break;
            }
            let third = (n / 3).max(1);
            // The ends, each with the direction the line leaves it in.
            let leave = |end: [f64; 2], from: [f64; 2]| {
                let (dx, dy) = (end[0] - from[0], end[1] - from[1]);
                let len = dx.hypot(dy).max(1e-9);
                (end, [dx / len, dy / len])
            };
            let ends = [leave(l.points[0], l.points[third]), leave(l.points[n - 1], l.points[n - 1 - third])];
            let mut found: Option<(usize, Option<(usize, f64)>)> = None;
            for (i, s) in spots.iter().enumerate().filter(|(_, s)| s.diameter_px <= JOIN_WIDTHS * l.width_px) {
                let slack = 0.5 * s.diameter_px.max(l.width_px) + 1.5;
                let on = l.points.iter().any(|p| (p[0] - s.x).hypot(p[1] - s.y) < slack);
                let beyond = ends.iter().enumerate().find_map(|(k, (e, d))| {
                    let (dx, dy) = (s.x - e[0], s.y - e[1]);
                    let (along, across) = (dx * d[0] + dy * d[1], (dx * d[1] - dy * d[0]).abs());
                    let reach = along + 0.5 * s.diameter_px;
                    let near = along > 0.0 && along - 0.5 * s.diameter_px < gap_px + 0.5 * s.diameter_px;
                    (near && across < slack && reach > 0.0).then_some((k, reach))
                });
                if on || beyond.is_some() {
                    found = Some((i, beyond));
                    break;
                }
            }
            let Some((i, beyond)) = found else { break };
            let s = spots.remove(i);
            if let Some((k, reach)) = beyond {
                let (e, d) = ends[k];
                let tip = [e[0] + reach * d[0], e[1] + reach * d[1]];
                if k == 0 {
                    l.points.insert(0, tip);
                } else {
                    l.points.push(tip);
                }
                l.length_px += reach;
            }
            l.z = l.z.max(s.z);
            l.parts.push(s);
        }
    }
    (spots, lines)
}

/// One defect is one finding: a patch that is only the blur of spots or lines goes, and so do spots and lines that are
/// only the grain of a patch much larger than they are. `blur_px` is the width a point takes on the patches' coarse
/// grid.
fn settle(
    spots: Vec<Spot>,
    lines: Vec<Line>,
    patches: Vec<Patch>,
    blur_px: f64,
    largest_px: f64,
) -> (Vec<Spot>, Vec<Line>, Vec<Patch>) {
    // What is surely a defect is not explained away by dust, nor swallowed by what may be none; and chance explains nothing.
    let counts = |p: &Patch, w: &Weighed| {
        !w.is_sound() || (!p.weighed.stands() && w.opinion.is_some_and(|o| o.is_explained()))
    };
    let swallows = |p: &Patch, w: &Weighed| p.weighed.stands() || !w.stands();
    let in_patch = |p: &Patch, q: [f64; 2], slack: f64| {
        ops::contains(&p.outline, q) || (q[0] - p.x).hypot(q[1] - p.y) < 0.9 * p.radius_px + slack
    };
    let kept: Vec<Patch> = patches
        .into_iter()
        .filter(|p| {
            // What the spots and lines in it would look like on the coarse grid.
            let spots: f64 = spots
                .iter()
                .filter(|s| {
                    counts(p, &s.weighed)
                        && s.diameter_px < largest_px
                        && in_patch(p, [s.x, s.y], s.diameter_px / 2.0)
                })
                .map(|s| std::f64::consts::FRAC_PI_4 * (s.diameter_px + blur_px).powi(2))
                .sum();
            let lines: f64 = lines
                .iter()
                .filter(|l| counts(p, &l.weighed))
                .map(|l| {
                    let inside = l.points.iter().filter(|q| in_patch(p, **q, blur_px)).count() as f64;
                    inside / l.points.len().max(1) as f64 * l.length_px * (l.width_px + blur_px)
                })
                .sum();
            spots + lines < 0.6 * p.area_px
        })
        .collect();
    let (grain, lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|l| {
        kept.iter().filter(|p| swallows(p, &l.weighed)).any(|p| {
            let n = l.points.iter().filter(|q| in_patch(p, **q, blur_px)).count();
            2 * n > l.points.len()
        })
    });
    // A pit outside the patch is a pit, though a line of the patch's grain took it in.
    let spots = spots.into_iter().chain(grain.into_iter().flat_map(|l| l.parts));
    let spots =
        spots.filter(|s| !kept.iter().any(|p| swallows(p, &s.weighed) && in_patch(p, [s.x, s.y], 0.0))).collect();
    (spots, lines, kept)
}

/// Asks the surface model of everything seen, in pixels of the metal's box, shrunk by `f` and cut at `offset`; of what is small more closely.
fn weigh(
    scene: &Scene,
    f: f64,
    offset: [usize; 2],
    spots: &mut [Spot],
    lines: &mut [Line],
    patches: &mut [Patch],
) -> Result<(), VisionError> {
    let Some((map, info)) = opinion::of_scene(scene) else { return Ok(()) };
    let place = |p: &[f64; 2]| {
        let mut q = *p;
        to_frame_point(f, offset, &mut q);
        q
    };
    let ask = |shape: Shape, asked: Asked, outline: &[[f64; 2]], centre: [f64; 2], radius: f64, z: f32| {
        let outline: Vec<[f64; 2]> = outline.iter().map(place).collect();
        let sure = f64::from(match shape {
            Shape::Line => LINE_SEED_Z,
            Shape::Spot | Shape::Small if 2.0 * radius < SMALL_PX => SMALL_SEED_Z,
            _ => SEED_Z,
        });
        let seen = (shape, false, sure);
        let (opinion, ruling) =
            opinion::ask(scene, asked, info, seen, &outline, place(&centre), radius * f, f64::from(z))?;
        Ok::<_, VisionError>(Weighed { opinion: Some(opinion), ruling: Some(ruling) })
    };
    let mut spots: Vec<&mut Spot> = spots.iter_mut().chain(lines.iter_mut().flat_map(|l| &mut l.parts)).collect();
    let is_small = |s: &Spot| s.diameter_px * f < LEAST_PATCH_PX;
    let small: Vec<[f64; 2]> = spots.iter().filter(|s| is_small(s)).map(|s| place(&[s.x, s.y])).collect();
    let closer = opinion::closer(scene, &small)?;
    let mut looks = closer.iter().flatten();
    for s in &mut spots {
        let look = if is_small(s) { looks.next() } else { None };
        let (shape, asked) = look.map_or((Shape::Spot, Asked::Map(map)), |l| (Shape::Small, Asked::Closer(l)));
        s.weighed = ask(shape, asked, &s.outline, [s.x, s.y], s.diameter_px / 2.0, s.z)?;
    }
    for l in lines {
        let rim = Rim::new(l.points.clone(), 0.0);
        let outline = ribbon(&l.points, l.width_px / 2.0 + 0.5);
        l.weighed = ask(Shape::Line, Asked::Map(map), &outline, [rim.x, rim.y], rim.radius, l.z)?;
    }
    for p in patches {
        p.weighed = ask(Shape::Patch, Asked::Map(map), &p.outline, [p.x, p.y], p.radius_px, p.z)?;
    }
    Ok(())
}

/// A spot's size is that of its hull. A stain or a rub is frayed and fills half of that to all: the middle, and the standard uncertainty of anything between.
const IN_HULL: f64 = 0.75;
const IN_HULL_U: f64 = 0.144;

/// Spots that the model takes for a stain or worn plating are patches, small ones: taken out and given back as such, with their
/// diameter.
fn small_patches(spots: &mut Vec<Spot>) -> Vec<Patch> {
    let is_patch = |s: &Spot| {
        !s.weighed.is_sound() && s.diameter_px >= LEAST_PATCH_PX && s.weighed.opinion.is_some_and(|o| o.is_patch())
    };
    let (found, rest): (Vec<Spot>, Vec<Spot>) = spots.drain(..).partition(is_patch);
    *spots = rest;
    found
        .into_iter()
        .map(|s| Patch {
            x: s.x,
            y: s.y,
            area_px: IN_HULL * std::f64::consts::FRAC_PI_4 * s.size_px.powi(2),
            area_u_px: (std::f64::consts::FRAC_PI_2 * s.size_px * s.size_u_px)
                .hypot(IN_HULL_U * std::f64::consts::FRAC_PI_4 * s.size_px.powi(2)),
            radius_px: s.diameter_px / 2.0,
            z: s.z,
            worn: s.weighed.opinion.is_some_and(|o| o.worn > 0.5 * o.patch),
            outline: s.outline,
            weighed: s.weighed,
            spot_px: Some([s.size_px, s.size_u_px]),
        })
        .collect()
}

/// Takes out what was ruled sound, in pixels of the frame. Dust and marks are shown, not measured.
fn keep(
    mut spots: Vec<Spot>,
    lines: Vec<Line>,
    patches: Vec<Patch>,
    answer: &mut Answer,
) -> (Vec<Spot>, Vec<Line>, Vec<Patch>) {
    let mut show = |w: &Weighed, centre, radius: f64, outline: Vec<[f64; 2]>| {
        if let (Some(Ruling::Sound(p)), Some(o)) = (w.ruling, w.opinion.as_ref().filter(|o| o.is_explained())) {
            answer.features.push(opinion::sound(o, p, centre, radius, outline));
        }
    };
    let (gone, mut lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|l| l.weighed.is_sound());
    for l in gone {
        let rim = Rim::new(l.points.clone(), 0.0);
        show(&l.weighed, [rim.x, rim.y], rim.radius, ribbon(&l.points, l.width_px / 2.0 + 1.0));
        // A pit on a fibre's way is a pit of its own again.
        spots.extend(l.parts);
    }
    for l in lines.iter_mut().filter(|l| !l.weighed.stands()) {
        // And so is a sure one on a line that may be none.
        let (sure, rest): (Vec<Spot>, Vec<Spot>) = l.parts.drain(..).partition(|s| s.weighed.stands());
        l.parts = rest;
        spots.extend(sure);
    }
    let (gone, spots): (Vec<Spot>, Vec<Spot>) = spots.into_iter().partition(|s| s.weighed.is_sound());
    for s in gone {
        show(&s.weighed, [s.x, s.y], s.diameter_px / 2.0, s.outline);
    }
    let (gone, patches): (Vec<Patch>, Vec<Patch>) = patches.into_iter().partition(|p| p.weighed.is_sound());
    for p in gone {
        show(&p.weighed, [p.x, p.y], p.radius_px, p.outline);
    }
    (spots, lines, patches)
}

/// From the pixels of the metal's box, shrunk by `f` and cut at `offset`, to those of the frame.
fn to_frame(f: f64, offset: [usize; 2], spots: &mut [Spot], lines: &mut [Line], patches: &mut [Patch]) {
    let place = |p: &mut [f64; 2]| to_frame_point(f, offset, p);
    to_frame_spots(f, offset, spots);
    for l in lines {
        l.points.iter_mut().for_each(place);
        l.length_px *= f;
        l.width_px *= f;
        l.width_u_px *= f;
        to_frame_spots(f, offset, &mut l.parts);
    }
    for p in patches {
        let mut at = [p.x, p.y];
        place(&mut at);
        [p.x, p.y] = at;
        p.area_px *= f * f;
        p.area_u_px *= f * f;
        p.radius_px *= f;
        p.spot_px = p.spot_px.map(|d| d.map(|v| v * f));
        p.outline.iter_mut().for_each(place);
    }
}

fn to_frame_point(f: f64, offset: [usize; 2], p: &mut [f64; 2]) {
    for (v, o) in p.iter_mut().zip(offset) {
        *v = (*v + 0.5) * f - 0.5 + o as f64;
    }
}

fn to_frame_spots(f: f64, offset: [usize; 2], spots: &mut [Spot]) {
    for s in spots {
        let mut at = [s.x, s.y];
        to_frame_point(f, offset, &mut at);
        [s.x, s.y] = at;
        s.diameter_px *= f;
        s.size_px *= f;
        s.size_u_px *= f;
        s.outline.iter_mut().for_each(|p| to_frame_point(f, offset, p));
    }
}

fn features(
    mm: f64,
    spots: Vec<Spot>,
    lines: Vec<Line>,
    patches: Vec<Patch>,
    scale_u: f64,
    by: &str,
    answer: &mut Answer,
) {
    let sure = |z: f32| f64::from(1.0 - (-z / 6.0).exp());
    let found_by = vec![by.to_owned()];
    let value = |characteristic, value: f64, uncertainty: f64, power: f64| Value {
        characteristic,
        value,
        uncertainty: uncertainty.hypot(power * scale_u * value),
    };
    let mut clusters = 0;
    let mut pits = 0;
    for group in group_pores(&spots) {
        if group.len() < MIN_PORES {
            for i in group {
                let s = &spots[i];
                pits += 1;
                answer.features.push(Feature {
                    nominal: false,
                    kind: Some(FindingType::Pit),
                    name: format!("pit-{pits}"),
                    x_px: s.x,
                    y_px: s.y,
                    radius_px: s.diameter_px / 2.0,
                    outline_px: s.outline.clone(),
                    confidence: sure(s.z),
                    found_by: found_by.clone(),
                    values: vec![value("pit.diameter_mm", s.size_px * mm, s.size_u_px * mm, 1.0)],
                    opinion: s.weighed.opinion,
                    rim: None,
                    doubt: s.doubt(),
                });
            }
            continue;
        }
        clusters += 1;
        let members: Vec<&Spot> = group.iter().map(|i| &spots[*i]).collect();
        let all: Vec<[f64; 2]> = members.iter().flat_map(|s| s.outline.iter().copied()).collect();
        let outline = hull(&all);
        let rim = Rim::new(all, 0.0);
        let Some(largest) = members.iter().max_by(|a, b| a.size_px.total_cmp(&b.size_px)) else { continue };
        let pore_area: f64 = members.iter().map(|s| std::f64::consts::FRAC_PI_4 * s.size_px.powi(2)).sum();
        // Each pore's area errs by its diameter's error; they err together, because blur is common to them.
        let pore_area_u: f64 = members.iter().map(|s| std::f64::consts::FRAC_PI_2 * s.size_px * s.size_u_px).sum();
        // VDG P 202 relates the pores to a circle about the cluster.
        let reference = std::f64::consts::PI * rim.radius.powi(2);
        let z = members.iter().map(|s| s.z).fold(0.0, f32::max);
        answer.features.push(Feature {
            nominal: false,
            kind: Some(FindingType::Porosity),
            name: format!("porosity-{clusters}"),
            x_px: rim.x,
            y_px: rim.y,
            radius_px: rim.radius,
            outline_px: outline,
            confidence: sure(z),
            found_by: found_by.clone(),
            values: vec![
                value(PORE_COUNT, members.len() as f64, MISSED * members.len() as f64, 0.0),
                value("porosity.area_pct", 100.0 * pore_area / reference, 100.0 * pore_area_u / reference, 0.0),
                value("porosity.max_pore_mm", largest.size_px * mm, largest.size_u_px * mm, 1.0),
                // A pore open to the surface is a pit too: a limit on pits holds for each of them.
                value("pit.diameter_mm", largest.size_px * mm, largest.size_u_px * mm, 1.0),
            ],
            opinion: largest.weighed.opinion,
            rim: None,
            // One sure pore is enough.
            doubt: members.iter().map(|s| s.doubt()).collect::<Option<Vec<_>>>().and_then(|d| d.first().cloned()),
        });
    }
    for (i, l) in lines.into_iter().enumerate() {
        let rim = Rim::new(l.points.clone(), 0.0);
        // Both ends together are known to about a quarter of the averaging length, and of a scratch that runs out gently a tenth may lie below
        // what shows: the scatter seen on rendered scratches.
        let length_u = (LINE_MM / 4.0).hypot(RUNS_OUT * l.length_px * mm);
        let mut values = vec![
            value("scratch.length_mm", l.length_px * mm, length_u, 1.0),
            value("scratch.width_mm", l.width_px * mm, l.width_u_px * mm, 1.0),
        ];
        if let Some(s) =
            l.parts.iter().filter(|s| !s.weighed.is_sound()).max_by(|a, b| a.size_px.total_cmp(&b.size_px))
        {
            values.push(value("pit.diameter_mm", s.size_px * mm, s.size_u_px * mm, 1.0));
        }
        let has_pit = values.iter().any(|v| v.characteristic == "pit.diameter_mm");
        if l.length_px < STUBBY * l.width_px && l.length_px * mm <= LARGEST_PIT_MM && !has_pit {
            let pit = value("pit.diameter_mm", l.length_px * mm, length_u.min(DIAMETER_U * l.length_px * mm), 1.0);
            let name = format!("scratch{AS_PIT}{}", i + 1);
            let at = [rim.x, rim.y];
            answer.features.push(as_pit(name, at, rim.radius, sure(l.z), pit, FindingType::Scratch, &found_by));
        }
        answer.features.push(Feature {
            nominal: false,
            kind: Some(FindingType::Scratch),
            name: format!("scratch-{}", i + 1),
            x_px: rim.x,
            y_px: rim.y,
            radius_px: rim.radius,
            outline_px: ribbon(&l.points, l.width_px / 2.0 + 1.0),
            confidence: sure(l.z),
            found_by: found_by.clone(),
            values,
            opinion: l.weighed.opinion,
            rim: None,
            doubt: l.weighed.doubt(),
        });
    }
    let mut count = [0usize; 2];
    for p in patches {
        let (kind, stem, characteristic) = if p.worn {
            (FindingType::WornPlating, "worn", "worn_plating.area_mm2")
        } else {
            (FindingType::Stain, "stain", "stain.area_mm2")
        };
        count[usize::from(p.worn)] += 1;
        let name = format!("{stem}-{}", count[usize::from(p.worn)]);
        if let Some([diameter, u]) = p.spot_px {
            let pit = value("pit.diameter_mm", diameter * mm, u * mm, 1.0);
            let name = format!("{stem}{AS_PIT}{}", count[usize::from(p.worn)]);
            answer.features.push(as_pit(name, [p.x, p.y], p.radius_px, sure(p.z), pit, kind, &found_by));
        }
        answer.features.push(Feature {
            nominal: false,
            kind: Some(kind),
            name,
            x_px: p.x,
            y_px: p.y,
            radius_px: p.radius_px,
            outline_px: p.outline,
            confidence: sure(p.z),
            found_by: found_by.clone(),
            values: vec![value(characteristic, p.area_px * mm * mm, p.area_u_px * mm * mm, 2.0)],
            opinion: p.weighed.opinion,
            rim: None,
            doubt: p.weighed.doubt(),
        });
    }
}

/// A thing of another kind as the pit that it may be: its kind may be told wrong, and what would be too large a pit is a person's matter.
fn as_pit(
    name: String,
    [x_px, y_px]: [f64; 2],
    radius_px: f64,
    confidence: f64,
    pit: Value,
    kind: FindingType,
    found_by: &[String],
) -> Feature {
    Feature {
        nominal: false,
        kind: None,
        name,
        x_px,
        y_px,
        radius_px,
        outline_px: vec![],
        confidence,
        found_by: found_by.to_vec(),
        values: vec![pit],
        opinion: None,
        rim: None,
        doubt: Some(format!("it looks like a {}", kind.as_str())),
    }
}

/// The number of pores of a cluster.
pub const PORE_COUNT: &str = "porosity.pore_count";
/// Its standard uncertainty as a share of it: of rendered clusters, most of whose pores are smaller than 60 um, between a quarter and all are seen, half in the middle
/// (twice this covers 10 of 12).
const MISSED: f64 = 0.5;

/// Fewer pores than this are pits that happen to be near each other.
const MIN_PORES: usize = 3;

/// Groups of pores: two belong together where the gap between them is at most twice the larger one's diameter (their
/// reference distance).
fn group_pores(spots: &[Spot]) -> Vec<Vec<usize>> {
    let n = spots.len();
    let mut group: Vec<usize> = (0..n).collect();
    for i in 0..n {
        for j in 0..i {
            let (a, b) = (&spots[i], &spots[j]);
            let gap = (a.x - b.x).hypot(a.y - b.y) - (a.diameter_px + b.diameter_px) / 2.0;
            if gap <= 2.0 * a.diameter_px.max(b.diameter_px) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                for g in &mut group {
                    if *g == from {
                        *g = to;
                    }
                }
            }
        }
    }
    (0..n).filter(|g| group.contains(g)).map(|g| (0..n).filter(|i| group[*i] == g).collect()).collect()
}

/// The outline of a band of this half width about a path.
fn ribbon(path: &[[f64; 2]], half: f64) -> Vec<[f64; 2]> {
    let n = path.len();
    let side = |i: usize, sign: f64| {
        let (a, b) = (path[i.saturating_sub(1)], path[(i + 1).min(n - 1)]);
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let len = dx.hypot(dy).max(1e-9);
        [path[i][0] - sign * half * dy / len, path[i][1] + sign * half * dx / len]
    };
    (0..n).map(|i| side(i, 1.0)).chain((0..n).rev().map(|i| side(i, -1.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::{Image, Rect};

    /// Noise of this standard deviation about a level, by a small generator.
    fn metal(level: f64, noise: f64, seed: u64, paint: impl Fn(f64, f64) -> f64) -> Metal {
        let (w, h) = (400usize, 300usize);
        let mut state = seed;
        let mut normal = || {
            (0..12)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 40) as f64 / (1u64 << 24) as f64
                })
                .sum::<f64>()
                - 6.0
        };
        let mut data = Vec::with_capacity(3 * w * h);
        for y in 0..h {
            for x in 0..w {
                let v = level * (1.0 + 0.1 * x as f64 / w as f64) + paint(x as f64, y as f64);
                for tint in [1.1, 1.0, 0.8] {
                    data.push((tint * v + noise * normal()).round().clamp(0.0, 255.0) as u8);
                }
            }
        }
        let image = Image { width: w, height: h, data, grey: false };
        let mut mask = Mask::full(w, h);
        // A stone's place, where the picture is wild.
        ops::fill_circle(&mut mask, 320.0, 220.0, 40.0, 0);
        Metal::new((&image, false), &mask, Rect { x: 0, y: 0, width: w, height: h }, 0.012, 1).unwrap().0
    }

    fn wild(x: f64, y: f64) -> f64 {
        if (x - 320.0).hypot(y - 220.0) < 37.0 {
            100.0 * (x * 0.7).sin() * (y * 0.9).cos()
        } else {
            0.0
        }
    }

    #[test]
    fn clean_metal_beside_a_stone_shows_nothing() {
        for seed in 1..6 {
            let m = metal(150.0, 3.0, seed, wild);
            let spots = m.spots().unwrap();
            assert!(spots.is_empty(), "seed {seed}: {spots:?}");
            assert!(m.scratches(&[]).unwrap().is_empty(), "seed {seed}");
            assert!(m.patches().unwrap().is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn a_pits_rim_is_found_and_measured_dark_or_bright() {
        for (sign, radius) in [(-1.0, 3.6), (1.0, 3.6), (-1.0, 5.8), (-1.0, 7.5)] {
            let m = metal(150.0, 3.0, 3, |x, y| {
                let d = (x - 150.3).hypot(y - 120.7);
                wild(x, y) + sign * 45.0 * (-0.5 * ((d - radius + 0.8) / 0.9).powi(2)).exp()
            });
            let spots = m.spots().unwrap();
            assert_eq!(spots.len(), 1, "{spots:?}");
            let s = &spots[0];
            assert!((s.x - 150.3).hypot(s.y - 120.7) < 1.0, "{s:?}");
            // Within twice what it says of itself.
            assert!((s.size_px - 2.0 * radius).abs() < 2.0 * s.size_u_px + 0.5, "{radius}: {s:?}");
        }
    }

    #[test]
    fn neighbouring_pores_are_counted_one_by_one() {
        let pores = [(100.0, 100.0), (112.0, 104.0), (106.0, 115.0), (120.0, 118.0), (95.0, 120.0)];
        let m = metal(150.0, 3.0, 4, |x, y| {
            pores.iter().map(|(u, v)| -60.0 * (-0.5 * ((x - u).hypot(y - v) / 2.0).powi(2)).exp()).sum::<f64>()
        });
        let spots = m.spots().unwrap();
        assert_eq!(spots.len(), 5, "{spots:?}");
        assert_eq!(group_pores(&spots).len(), 1);
    }

    #[test]
    fn a_faint_curved_scratch_adds_up_along_its_length() {
        // Two noise deviations deep and three pixels wide: no pixel of it stands out.
        let m = metal(150.0, 3.0, 5, |x, y| {
            let centre = 140.0 + 12.0 * ((x - 60.0) / 120.0).powi(2);
            if (60.0..180.0).contains(&x) && (y - centre).abs() < 1.5 {
                -6.0
            } else {
                0.0
            }
        });
        let lines = m.scratches(&[]).unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!((lines[0].length_px * 0.012 - 1.44).abs() < 0.2, "{}", lines[0].length_px * 0.012);
        assert!((lines[0].width_px - 3.0).abs() < 2.0, "{}", lines[0].width_px);
    }

    #[test]
    fn a_stain_is_darker_and_a_worn_plating_only_of_another_colour() {
        let inside = |x: f64, y: f64| (x - 150.0).hypot(y - 120.0) < 20.0;
        let stain = metal(150.0, 3.0, 6, |x, y| if inside(x, y) { -25.0 } else { 0.0 });
        let patches = stain.patches().unwrap();
        assert_eq!(patches.len(), 1, "{patches:?}");
        assert!(!patches[0].worn);
        let area = std::f64::consts::PI * 400.0;
        assert!((patches[0].area_px - area).abs() < 0.25 * area, "{} for {area}", patches[0].area_px);
        let mut worn = metal(150.0, 3.0, 7, |_, _| 0.0);
        for y in 0..300 {
            for x in 0..400 {
                if inside(x as f64, y as f64) {
                    worn.planes[1].data[y * 400 + x] -= 12.0;
                }
            }
        }
        let patches = worn.patches().unwrap();
        assert_eq!(patches.len(), 1, "{patches:?}");
        assert!(patches[0].worn);
    }

    fn spot(x: f64, y: f64, diameter_px: f64) -> Spot {
        Spot {
            long: false,
            x,
            y,
            diameter_px,
            size_px: diameter_px,
            size_u_px: 0.6,
            z: 12.0,
            outline: vec![],
            weighed: Weighed::default(),
        }
    }

    #[test]
    fn a_hull_is_as_long_as_it_is_however_it_lies() {
        let turned = |length: f64, width: f64, deg: f64| -> Vec<[f64; 2]> {
            let (s, c) = deg.to_radians().sin_cos();
            let (a, b) = (length / 2.0 - 0.5, width / 2.0 - 0.5);
            [[-a, -b], [a, -b], [a, b], [-a, b]].map(|[x, y]| [c * x - s * y, s * x + c * y]).to_vec()
        };
        for deg in [0.0, 17.0, 45.0, 90.0] {
            assert!((length_over_width(&turned(9.0, 4.0, deg)) - 2.25).abs() < 1e-9);
        }
        assert!((length_over_width(&turned(5.0, 5.0, 30.0)) - 1.0).abs() < 1e-9);
        assert_eq!(length_over_width(&[[3.0, 4.0]]), 1.0);
    }

    #[test]
    fn a_scratchs_deep_places_are_part_of_it_and_a_pit_beside_it_is_not() {
        let points: Vec<[f64; 2]> = (0..=20).map(|i| [100.0 + 2.0 * f64::from(i), 50.0]).collect();
        let weighed = Weighed::default();
        let line = Line { points, length_px: 40.0, width_px: 3.0, width_u_px: 1.0, z: 9.0, parts: vec![], weighed };
        // On it, beyond its end, beyond that one, beside it, and one far too wide to be part of it.
        let spots = vec![
            spot(110.0, 51.0, 4.0),
            spot(146.0, 50.5, 5.0),
            spot(154.0, 50.0, 6.0),
            spot(120.0, 70.0, 4.0),
            spot(130.0, 50.0, 20.0),
        ];
        let (left, lines) = join(spots, vec![line], 5.0);
        assert_eq!(left.iter().map(|s| s.x).collect::<Vec<_>>(), [120.0, 130.0]);
        assert!((lines[0].length_px - 57.0).abs() < 1.0, "{:?}", lines[0].length_px);
        assert_eq!(lines[0].parts.iter().map(|s| s.diameter_px).fold(0.0, f64::max), 6.0);
    }

    #[test]
    fn white_metal_says_so() {
        let m = metal(200.0, 2.0, 9, |x, _| if x < 200.0 { 140.0 } else { 0.0 });
        assert!((m.white_share - 0.5).abs() < 0.05, "{}", m.white_share);
        let m = metal(150.0, 3.0, 9, |_, _| 0.0);
        assert_eq!((m.white_share, m.black_share), (0.0, 0.0));
        assert!(metal(4.0, 1.0, 9, |_, _| 0.0).black_share > 0.99);
    }

    #[test]
    fn metal_that_runs_on_beyond_the_frame_makes_no_line_of_its_border() {
        // A steep curved fall-off towards the right border, of little noise.
        let fall = |x: f64, _: f64| -80.0 * (x / 400.0).powi(4);
        for seed in 1..4 {
            let lines = metal(150.0, 0.7, seed, fall).scratches(&[]).unwrap();
            assert!(lines.is_empty(), "seed {seed}: {lines:?}");
        }
    }

    #[test]
    fn brushing_raises_the_bar_for_itself_but_not_across() {
        let brushed = |x: f64, y: f64| 8.0 * ((y * 2.1).sin() + (y * 0.83 + 0.01 * x).sin());
        let clean = metal(150.0, 3.0, 8, brushed);
        assert!(clean.scratches(&[]).unwrap().is_empty());
        let scratched = metal(150.0, 3.0, 8, |x, y| {
            brushed(x, y) - if (x - 0.3 * y - 120.0).abs() < 1.6 && (60.0..160.0).contains(&y) { 30.0 } else { 0.0 }
        });
        assert_eq!(scratched.scratches(&[]).unwrap().len(), 1);
    }
}
