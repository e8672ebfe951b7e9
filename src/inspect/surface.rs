//! The metal's surface: pits, porosity, scratches, stains and worn plating, by classic vision.
//!
//! Everything is measured against the metal's own neighbourhood. A feature stands out when it differs from the local
//! mean by many times the local scatter of the same filter's response, so noise, brushing and grain raise the bar for
//! themselves and no grey level is written down here. The filters' sizes are lengths on the metal, turned to
//! pixels by the frame's scale, or, without a scale, multiples of a pixel.

use super::{Answer, Feature, Inspect, Scene, Value};
use crate::report::FindingType;
use crate::vision::{ops, Image, Mask, Plane, Rect, VisionError};

/// The inspector of the metal's surface.
#[derive(Debug)]
pub struct Surface;

const CHARACTERISTICS: &[&str] = &[
    "pit.diameter_mm",
    "porosity.pore_count",
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
/// Seeds smaller than six pixels.
const SMALL_SEED_Z: f32 = 9.0;
/// Standard uncertainty of a pit's diameter as a share of it, beside half a pixel: the scatter seen on rendered pits of
/// known size in six metals under three lights.
const DIAMETER_U: f64 = 0.06;
/// A patch darker than its surroundings by more than this share is a stain. Rendered patches of known kind: stains lose
/// 10 to 22 %, worn platings at most 5 %.
const STAIN_LOSS: f64 = 0.075;
/// The smallest pit looked for where the spec limits none, in mm: below it the eye sees none at arm's length.
const SMALLEST_PIT_MM: f64 = 0.05;
/// Pixels across the smallest pit that its outline needs.
const PIXELS_ACROSS: f64 = 4.0;
/// Compact spots larger than this are patches, in mm.
const LARGEST_SPOT_MM: f64 = 0.3;
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
        let full = Metal::new(scene.image, scene.bare_metal, bounds, mm_per_px)?;
        // A frame that resolves the smallest pit of interest by more than twice what its outline needs is averaged down.
        let smallest = scene.spec.limit("pit.diameter_mm", &scene.view.name).and_then(|l| l.upper);
        let needed = smallest.unwrap_or(SMALLEST_PIT_MM).max(SMALLEST_PIT_MM / 2.0) / PIXELS_ACROSS;
        let f = ((needed / mm_per_px).floor() as usize).clamp(1, 8);
        let offset = full.offset;
        let metal = if f > 1 { full.shrunk(f) } else { full };
        let spots = metal.spots()?;
        let scratches = metal.scratches(&spots)?;
        let patches = metal.patches()?;
        let blur_px = 2.6 * metal.px(0.05).round().clamp(1.0, 16.0);
        let (mut spots, mut scratches, mut patches) =
            settle(spots, scratches, patches, blur_px, metal.px(LARGEST_SPOT_MM));
        if f > 1 {
            enlarge(f as f64, offset, &mut spots, &mut scratches, &mut patches);
        }
        let scale_u = scene.scale_u();
        features(mm_per_px, spots, scratches, patches, scale_u, self.name(), &mut answer);
        answer.assessed = CHARACTERISTICS.to_vec();
        // What the camera cannot resolve must not pass for being unseen (Nyquist: two pixels).
        if let Some(limit) = smallest.filter(|l| *l < 2.0 * mm_per_px) {
            answer.assessed.retain(|c| *c != "pit.diameter_mm");
            let text = format!("{:.3} mm a pixel cannot show a pit of {limit} mm (two pixels are needed)", mm_per_px);
            answer.not_assessed.push(("pit.diameter_mm", text));
        }
        Ok(answer)
    }
}

/// The bare metal's box of a frame, in planes: brightness and two colour ratios.
struct Metal {
    mask: Mask,
    /// 1 on bare metal, else 0.
    weight: Plane,
    planes: Vec<Plane>,
    /// The mask and weight of the colour planes: a channel at its end says nothing of colour.
    unclipped: Option<(Mask, Plane)>,
    offset: [usize; 2],
    mm_per_px: f64,
}

/// A compact spot.
#[derive(Debug, Clone)]
struct Spot {
    x: f64,
    y: f64,
    diameter_px: f64,
    diameter_u_px: f64,
    z: f32,
    outline: Vec<[f64; 2]>,
}

/// A line.
#[derive(Debug, Clone)]
struct Line {
    points: Vec<[f64; 2]>,
    length_px: f64,
    width_px: f64,
    width_u_px: f64,
    z: f32,
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
}

impl Metal {
    fn new(image: &Image, mask: &Mask, bounds: Rect, mm_per_px: f64) -> Result<Self, VisionError> {
        // A few pixels of margin, so that filters meet the picture and not its border.
        let pad = 8;
        let x0 = bounds.x.saturating_sub(pad);
        let y0 = bounds.y.saturating_sub(pad);
        let x1 = (bounds.x + bounds.width + pad).min(image.width);
        let y1 = (bounds.y + bounds.height + pad).min(image.height);
        let (w, h) = (x1 - x0, y1 - y0);
        let mut cut = Mask::empty(w, h);
        let mut weight = Plane::filled(w, h, 0.0);
        let channels = if image.grey { 1 } else { 3 };
        let mut planes: Vec<Plane> = (0..channels).map(|_| Plane::filled(w, h, 0.0)).collect();
        let mut clipped = false;
        let mut lit = Mask::empty(w, h);
        for y in 0..h {
            let row = (y + y0) * image.width + x0;
            for x in 0..w {
                let i = y * w + x;
                let m = mask.data[row + x];
                cut.data[i] = m;
                weight.data[i] = if m != 0 { 1.0 } else { 0.0 };
                let p = &image.data[3 * (row + x)..3 * (row + x) + 3];
                let (r, g, b) = (f32::from(p[0]), f32::from(p[1]), f32::from(p[2]));
                let sum = r + g + b;
                planes[0].data[i] = sum / 3.0;
                let full = p.iter().any(|v| *v >= 252);
                clipped |= full && m != 0;
                lit.data[i] = if full { 0 } else { m };
                if channels == 3 {
                    // Ratios, because a metal's colour keeps its ratios where its light falls off; the constant keeps
                    // the noise of dark pixels finite.
                    let k = 384.0 / (sum + 48.0);
                    planes[1].data[i] = (r - b) * k;
                    planes[2].data[i] = (r + b - 2.0 * g) * k;
                }
            }
        }
        // Blur spreads what is clipped by a pixel or two.
        let unclipped = if clipped && channels == 3 {
            let lit = ops::erode(&lit, 2.0)?;
            let weight = Plane {
                width: w,
                height: h,
                data: lit.data.iter().map(|v| if *v != 0 { 1.0 } else { 0.0 }).collect(),
            };
            Some((lit, weight))
        } else {
            None
        };
        Ok(Metal { mask: cut, weight, planes, unclipped, offset: [x0, y0], mm_per_px })
    }

    fn px(&self, mm: f64) -> f64 {
        mm / self.mm_per_px
    }

    /// Response of a plane at a scale, divided by its local scatter: smoothed by `sigma` minus the masked mean at
    /// `wide`, over the scatter at `far` (all in pixels). 0 outside the metal.
    fn standout(&self, index: usize, sigma: f64, wide: f64, far: f64) -> Result<Plane, VisionError> {
        let plane = &self.planes[index];
        let (mask, weight) = match &self.unclipped {
            Some((m, w)) if index > 0 => (m, w),
            _ => (&self.mask, &self.weight),
        };
        let (w, h) = (plane.width, plane.height);
        let mut masked = plane.clone();
        for (v, k) in masked.data.iter_mut().zip(&weight.data) {
            *v *= k;
        }
        // Smoothing, normalised by how much metal the filter sees, so that neither stones nor background leak in.
        let mut response = ops::gaussian(&masked, sigma)?;
        drop(masked);
        let seen = ops::gaussian(weight, sigma)?;
        for (r, (d, m)) in response.data.iter_mut().zip(seen.data.iter().zip(&mask.data)) {
            *r = if *m != 0 { *r / d.max(1e-3) } else { 0.0 };
        }
        drop(seen);
        // Mean and scatter vary slowly: every few pixels of the response tell them as well as all.
        let k = ((wide / 4.0).floor() as usize).clamp(1, 4);
        let sparse = |p: &Plane| -> Plane {
            let (sw, sh) = (w.div_ceil(k), h.div_ceil(k));
            let mut out = Plane::filled(sw, sh, 0.0);
            for y in 0..sh {
                let row = &p.data[(y * k + k / 2).min(h - 1) * w..];
                for x in 0..sw {
                    out.data[y * sw + x] = row[(x * k + k / 2).min(w - 1)];
                }
            }
            out
        };
        let (few, few_weight) = (sparse(&response), sparse(weight));
        let (wide, far) = (wide / k as f64, far / k as f64);
        // Two rounds: the second leaves out what stood out in the first, so that a defect does not hide itself.
        let mut clipped = few.clone();
        let mut scatter = Plane::filled(few.width, few.height, 1.0);
        let mut mean = Plane::filled(few.width, few.height, 0.0);
        for round in 0..2 {
            mean = local_mean(&clipped, &few_weight, wide, true)?;
            let mut difference = few.clone();
            let mut sample: Vec<f32> = Vec::new();
            for i in 0..few.data.len() {
                if few_weight.data[i] > 0.0 {
                    difference.data[i] -= mean.data[i];
                    sample.push(difference.data[i].abs());
                } else {
                    difference.data[i] = 0.0;
                }
            }
            let global = (1.4826 * ops::median(&mut sample)).max(1e-4);
            let mut square = difference.clone();
            for (v, s) in square.data.iter_mut().zip(&scatter.data) {
                // Noise may differ much from place to place (bright glints, dark flanks), so the bound is local as soon
                // as the scatter is known.
                let limit = if round == 0 { 10.0 * global } else { 3.5 * *s };
                *v = v.clamp(-limit, limit);
                *v *= *v;
            }
            let variance = local_mean(&square, &few_weight, far, false)?;
            for i in 0..scatter.data.len() {
                // Nowhere quieter than half the frame's own median scatter: there the few pixels say too little.
                scatter.data[i] = variance.data[i].max(0.25 * global * global).sqrt();
            }
            if round == 0 {
                for i in 0..clipped.data.len() {
                    if few_weight.data[i] > 0.0 {
                        let b = 3.0 * scatter.data[i];
                        clipped.data[i] = mean.data[i] + difference.data[i].clamp(-b, b);
                    }
                }
            }
        }
        // Tails heavier than normal (grain, brushing) raise the bar: scale by the 99.5 % point where it lies further out
        // than a normal one's 2.81.
        let mut sample: Vec<f32> = (0..few.data.len())
            .filter(|i| few_weight.data[*i] > 0.0)
            .map(|i| ((few.data[i] - mean.data[i]) / scatter.data[i]).abs())
            .collect();
        let q = ops::quantile(&mut sample, 0.995);
        let tail = if q > 2.81 { 2.81 / q.min(2.0 * 2.81) } else { 1.0 };
        for v in &mut scatter.data {
            *v = tail / *v;
        }
        let mean = grow(&mean, k, w, h);
        let gain = grow(&scatter, k, w, h);
        for (i, r) in response.data.iter_mut().enumerate() {
            *r = if mask.data[i] != 0 { (*r - mean.data[i]) * gain.data[i] } else { 0.0 };
        }
        Ok(response)
    }

    /// Spots of any sign in any plane at three scales; grown to their outline on the finest scale that shows them.
    fn spots(&self) -> Result<Vec<Spot>, VisionError> {
        let (w, h) = (self.mask.width, self.mask.height);
        // From the finest the camera resolves to a pit of 0.25 mm.
        let wide = self.px(0.15).max(6.0);
        let far = self.px(0.4).max(20.0);
        let mut best = Plane::filled(w, h, 0.0);
        let mut fine = Plane::filled(w, h, 0.0);
        for sigma in [1.0, 2.0] {
            for k in 0..self.planes.len() {
                let z = self.standout(k, sigma, wide, far)?;
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
            if b.area < 4 || peak < SEED_Z {
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
            loop {
                let n = rims.len();
                let pair = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).find(|(i, j)| {
                    let (a, b) = (&rims[*i], &rims[*j]);
                    (a.x - b.x).hypot(a.y - b.y) < 0.6 * (a.radius + b.radius)
                });
                let Some((i, j)) = pair else { break };
                let other = rims.swap_remove(j);
                let first = std::mem::replace(&mut rims[i], Rim::new(vec![], 0.0));
                let mut points = first.points;
                points.extend(other.points);
                rims[i] = Rim::new(points, first.z.max(other.z));
            }
            rims.sort_by(|a, b| (a.y, a.x).partial_cmp(&(b.y, b.x)).unwrap_or(std::cmp::Ordering::Equal));
            for rim in rims {
                // Specks of one or two pixels beside a pit are its ragged rim.
                if rim.points.len() < 3 && pieces.len() > 1 {
                    continue;
                }
                if rim.z < SEED_Z && pieces.len() > 1 {
                    continue;
                }
                let hull = hull(&rim.points);
                // Through pixel centres plus half a pixel all around.
                let area = ops::polygon_area(&hull) + 0.5 * perimeter(&hull) + std::f64::consts::FRAC_PI_4;
                let raw = (4.0 * area / std::f64::consts::PI).sqrt();
                let filled = area / (std::f64::consts::PI * (rim.radius + 0.5).powi(2));
                // A small spot has many places to be by chance.
                let chance = if raw < 6.0 { SMALL_SEED_Z } else { SEED_Z };
                if filled < 0.35 || raw > self.px(0.6) || (rim.z < chance && pieces.len() == 1) {
                    continue;
                }
                // A spot cut off by a stone's or the rim's margin is at least as large as it is long.
                let cut_off = rim.points.iter().any(|p| {
                    let (x, y) = (p[0] as usize, p[1] as usize);
                    (y.saturating_sub(1)..=(y + 1).min(h - 1))
                        .any(|v| (x.saturating_sub(1)..=(x + 1).min(w - 1)).any(|u| !self.mask.at(u, v)))
                });
                let (diameter_px, share) = if cut_off { (raw.max(2.0 * rim.radius), 0.2) } else { (raw, DIAMETER_U) };
                out.push(Spot {
                    x: rim.x + self.offset[0] as f64,
                    y: rim.y + self.offset[1] as f64,
                    diameter_px,
                    diameter_u_px: f64::hypot(0.5, share * diameter_px),
                    z: rim.z,
                    outline: hull
                        .iter()
                        .map(|p| [p[0] + self.offset[0] as f64, p[1] + self.offset[1] as f64])
                        .collect(),
                });
            }
        }
        Ok(out)
    }

    /// Lines: the standout plane at about 20 um a pixel, averaged along straight pieces in twenty-four directions against the
    /// strips on both sides. Each direction is measured by its own scatter, so a brushing raises the bar only for lines
    /// along itself.
    fn scratches(&self, spots: &[Spot]) -> Result<Vec<Line>, VisionError> {
        let f = ((0.02 / self.mm_per_px).round() as usize).clamp(1, 8);
        let small = self.shrunk(f);
        let (w, h) = (small.mask.width, small.mask.height);
        if w < 8 || h < 8 {
            return Ok(vec![]);
        }
        let length = small.px(LINE_MM).max(9.0);
        let mut best = Plane::filled(w, h, 0.0);
        let mut planes = Vec::new();
        for index in 0..small.planes.len().min(2) {
            let mut z = small.standout(index, 0.7, small.px(0.15).max(5.0), small.px(0.4).max(15.0))?;
            for v in &mut z.data {
                *v = v.clamp(-5.0, 5.0);
            }
            // What is a spot already is no part of a line.
            for s in spots {
                let at = |v: f64, o: usize| (v - o as f64 + 0.5) / f as f64 - 0.5;
                let (x, y) = (at(s.x, self.offset[0]), at(s.y, self.offset[1]));
                clear(&mut z, x, y, 0.5 * s.diameter_px / f as f64 + 2.0);
            }
            planes.push(z);
        }
        if let [brightness, colour] = planes.as_mut_slice() {
            // A scratch in coloured metal changes both, and their noises are independent: the sum and the difference see
            // it better than either, whichever way the signs go.
            for (b, c) in brightness.data.iter_mut().zip(&mut colour.data) {
                (*b, *c) = ((*b + *c) * std::f32::consts::FRAC_1_SQRT_2, (*b - *c) * std::f32::consts::FRAC_1_SQRT_2);
            }
            let both: Vec<f32> = brightness
                .data
                .iter()
                .zip(&colour.data)
                .map(|(s, d)| (s + d) * std::f32::consts::FRAC_1_SQRT_2)
                .collect();
            planes.push(Plane { width: w, height: h, data: both });
        }
        for z in &planes {
            for k in 0..DIRECTIONS {
                let angle = 180.0 * k as f64 / DIRECTIONS as f64;
                let (turned, back) = ops::rotate(z, angle, Some(0.0))?;
                let mut strongest = Plane::filled(turned.width, turned.height, 0.0);
                // A long hairline adds up over twice the length; it needs the wider window, because a straight piece
                // of that length leaves a curved or slanted line.
                for (half_width, times) in [(0usize, 1.0), (1, 1.0), (1, 2.0), (1, 3.0)] {
                    let r = line_response(&turned, (times * length).round() as usize, half_width)?;
                    // Off the metal the response is nothing at all.
                    let mut values: Vec<f32> =
                        r.data.iter().step_by(5).map(|v| v.abs()).filter(|v| *v > 1e-4).collect();
                    if values.len() < 32 {
                        continue;
                    }
                    let sigma = (1.4826 * ops::median(&mut values)).max(1e-6);
                    // Heavy tails raise the bar here too.
                    let tail = (ops::quantile(&mut values, 0.99) / (2.576 * sigma)).clamp(1.0, 2.5);
                    let gain = 1.0 / (sigma * tail);
                    for (m, v) in strongest.data.iter_mut().zip(&r.data) {
                        *m = m.max(v.abs() * gain);
                    }
                }
                // The response at every pixel of the unturned picture.
                let (c, s) = (back[0][0], back[1][0]);
                let (ox, oy) = (back[0][2], back[1][2]);
                for y in 0..h {
                    for x in 0..w {
                        if small.mask.data[y * w + x] == 0 {
                            continue;
                        }
                        let (dx, dy) = (x as f64 - ox, y as f64 - oy);
                        let (tx, ty) = ((c * dx + s * dy + 0.5) as usize, (c * dy - s * dx + 0.5) as usize);
                        if tx < strongest.width && ty < strongest.height {
                            let b = &mut best.data[y * w + x];
                            *b = b.max(strongest.data[ty * strongest.width + tx]);
                        }
                    }
                }
            }
        }
        let depth = ops::distance_inside(&small.mask)?;
        let mut mask = Mask::empty(w, h);
        for (m, v) in mask.data.iter_mut().zip(&best.data) {
            *m = if *v > LINE_GROW_Z { 255 } else { 0 };
        }
        let (blobs, labels) = ops::components(&mask)?;
        let mut out = Vec::new();
        for b in &blobs {
            let mut points: Vec<([f64; 2], f32)> = Vec::new();
            let mut peak = 0.0f32;
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label {
                        peak = peak.max(best.at(x, y));
                        points.push(([x as f64, y as f64], best.at(x, y)));
                    }
                }
            }
            if peak < LINE_SEED_Z {
                continue;
            }
            // Where the averaging window half leaves the line its response has halved: that is the line's end.
            let level = LINE_GROW_Z.max(0.4 * peak);
            points.retain(|p| p.1 >= level);
            let Some(whole) = spine(&points) else { continue };
            let long =
                |p: &[[f64; 2]]| -> f64 { p.windows(2).map(|q| (q[1][0] - q[0][0]).hypot(q[1][1] - q[0][1])).sum() };
            let seen = long(&whole);
            let width = points.len() as f64 / seen.max(1.0);
            if seen < 0.6 * length || seen < 2.5 * width {
                continue;
            }
            let Some(path) = trim(whole, &planes) else { continue };
            let length_px = long(&path);
            // Beside the margins filters see one side only: what runs along one of them is no scratch.
            let beside = path
                .iter()
                .filter(|p| depth.at((p[0].max(0.0) as usize).min(w - 1), (p[1].max(0.0) as usize).min(h - 1)) < 2.5)
                .count();
            if 10 * beside > 7 * path.len() {
                continue;
            }
            let full = |p: &[f64; 2]| {
                [
                    (p[0] + 0.5) * f as f64 - 0.5 + self.offset[0] as f64,
                    (p[1] + 0.5) * f as f64 - 0.5 + self.offset[1] as f64,
                ]
            };
            let points: Vec<[f64; 2]> = path.iter().map(full).collect();
            let width_px = self.line_width(&points).unwrap_or(width * f as f64);
            out.push(Line {
                points,
                length_px: length_px * f as f64,
                width_px,
                // The path is known to about half a coarse pixel, which widens the averaged profile.
                width_u_px: (0.5 * f as f64).max(0.7),
                z: peak,
            });
        }
        Ok(out)
    }

    /// Width of a line at half its depth, in pixels: the brightness averaged along the path at every distance across it.
    /// The optics' and the sampling's own width (about two pixels) is taken off in squares.
    fn line_width(&self, path: &[[f64; 2]]) -> Option<f64> {
        let reach = self.px(0.1).max(8.0);
        let steps = (2.0 * reach / 0.5) as usize;
        let (n, plane) = (path.len(), &self.planes[0]);
        let mut profile = Vec::with_capacity(steps + 1);
        for k in 0..=steps {
            let t = -reach + 0.5 * k as f64;
            let (mut sum, mut seen) = (0.0, 0.0);
            for i in 0..n {
                let (a, b) = (path[i.saturating_sub(1)], path[(i + 1).min(n - 1)]);
                let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                let len = dx.hypot(dy).max(1e-9);
                let x = path[i][0] - t * dy / len - self.offset[0] as f64;
                let y = path[i][1] + t * dx / len - self.offset[1] as f64;
                if x >= 0.0
                    && y >= 0.0
                    && (x as usize) < self.mask.width
                    && (y as usize) < self.mask.height
                    && self.mask.at(x as usize, y as usize)
                {
                    sum += f64::from(plane.sample(x, y));
                    seen += 1.0;
                }
            }
            profile.push(if seen > 0.3 * n as f64 { sum / seen } else { f64::NAN });
        }
        let quarter = profile.len() / 4;
        let mut outer: Vec<f32> = profile[..quarter]
            .iter()
            .chain(&profile[profile.len() - quarter..])
            .filter(|v| v.is_finite())
            .map(|v| *v as f32)
            .collect();
        let level = f64::from(ops::median(&mut outer));
        let middle = quarter..profile.len() - quarter;
        let peak = middle.max_by(|a, b| {
            let d = |i: usize| if profile[i].is_finite() { (profile[i] - level).abs() } else { 0.0 };
            d(*a).total_cmp(&d(*b))
        })?;
        let depth = profile[peak] - level;
        let side = |step: i64| -> Option<f64> {
            let mut i = peak as i64;
            loop {
                let j = i + step;
                let (u, v) = (*profile.get(i as usize)?, *profile.get(usize::try_from(j).ok()?)?);
                let (u, v) = ((u - level) / depth, (v - level) / depth);
                if v.is_nan() {
                    return None;
                }
                if v < 0.5 {
                    return Some(0.5 * ((i - peak as i64).abs() as f64 + (u - 0.5) / (u - v).max(1e-9)));
                }
                i = j;
            }
        };
        let full = side(1)? + side(-1)?;
        Some((full * full - 4.0).max(0.25).sqrt())
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
        for index in 0..small.planes.len() {
            let z = small.standout(index, 1.0, small.px(0.7).max(10.0), small.px(1.5).max(20.0))?;
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
            if peak < SEED_Z {
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
            let full = |p: [f64; 2]| {
                [(p[0] + 0.5) * k - 0.5 + self.offset[0] as f64, (p[1] + 0.5) * k - 0.5 + self.offset[1] as f64]
            };
            let at = full([core.x, core.y]);
            let area_px = core.area as f64 * k * k;
            out.push(Patch {
                x: at[0],
                y: at[1],
                area_px,
                // Half a coarse pixel all along the border would be the bound; errors along it average out by half.
                area_u_px: 0.25 * k * k * perimeter(&outline).max(4.0),
                radius_px: (area_px / std::f64::consts::PI).sqrt(),
                z: peak,
                worn,
                outline: outline.into_iter().map(full).collect(),
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

    /// The same metal at a coarser scale: planes averaged over the metal only.
    fn shrunk(&self, f: usize) -> Metal {
        let whole = |weight: &Plane| -> (Plane, Mask, Plane) {
            let share = ops::shrink(weight, f);
            // Half a block of metal is metal.
            let mask = Mask {
                width: share.width,
                height: share.height,
                data: share.data.iter().map(|v| if *v >= 0.5 { 255 } else { 0 }).collect(),
            };
            let full = Plane {
                width: mask.width,
                height: mask.height,
                data: mask.data.iter().map(|v| if *v != 0 { 1.0 } else { 0.0 }).collect(),
            };
            (share, mask, full)
        };
        let (share, mask, weight) = whole(&self.weight);
        let unclipped = self.unclipped.as_ref().map(|(_, w)| whole(w));
        let planes = self
            .planes
            .iter()
            .enumerate()
            .map(|(index, p)| {
                let (fine, coarse) = match (&self.unclipped, &unclipped) {
                    (Some((_, w)), Some((s, _, _))) if index > 0 => (w, s),
                    _ => (&self.weight, &share),
                };
                let mut masked = p.clone();
                for (v, k) in masked.data.iter_mut().zip(&fine.data) {
                    *v *= k;
                }
                let mut s = ops::shrink(&masked, f);
                for (v, k) in s.data.iter_mut().zip(&coarse.data) {
                    *v = if *k > 0.0 { *v / k } else { 0.0 };
                }
                s
            })
            .collect();
        Metal {
            mask,
            weight,
            planes,
            unclipped: unclipped.map(|(_, m, w)| (m, w)),
            offset: [0, 0],
            mm_per_px: self.mm_per_px * f as f64,
        }
    }
}

/// Length of the straight piece a line is averaged over: the shortest scratch that matters to the eye at arm's length.
const LINE_MM: f64 = 0.3;
const DIRECTIONS: usize = 24;
/// A line's peak: the largest on 51 good rendered pieces was 7.3, so that about one frame in a hundred would show one.
const LINE_SEED_Z: f32 = 7.5;
const LINE_GROW_Z: f32 = 4.0;

/// Mean over a horizontal piece of `length` pixels and `2 half_width + 1` rows, less the mean of the strips above and
/// below at a gap of one row.
fn line_response(p: &Plane, length: usize, half_width: usize) -> Result<Plane, VisionError> {
    let rows = 2 * half_width + 1;
    let side = 2usize;
    let height = rows + 2 + 2 * side;
    let mut kernel = Plane::filled(1, height, 0.0);
    for (i, k) in kernel.data.iter_mut().enumerate() {
        if i < side || i >= height - side {
            *k = -0.5 / side as f32;
        } else if i > side && i < height - side - 1 {
            *k = 1.0 / rows as f32;
        }
    }
    let across = ops::filter(p, &kernel)?;
    // The running mean along the row.
    let mut out = Plane::filled(p.width, p.height, 0.0);
    let half = length / 2;
    for y in 0..p.height {
        let row = &across.data[y * p.width..(y + 1) * p.width];
        let mut sum = 0.0f64;
        for x in 0..p.width + half {
            if x < p.width {
                sum += f64::from(row[x]);
            }
            if x > 2 * half && x - 2 * half - 1 < p.width {
                sum -= f64::from(row[x - 2 * half - 1]);
            }
            if x >= half {
                out.data[y * p.width + x - half] = (sum / (2 * half + 1) as f64) as f32;
            }
        }
    }
    Ok(out)
}

/// The middle line of an elongated cloud of weighted points: a cubic over its main axis. None for a cloud too small.
fn spine(points: &[([f64; 2], f32)]) -> Option<Vec<[f64; 2]>> {
    if points.len() < 5 {
        return None;
    }
    let n: f64 = points.iter().map(|p| f64::from(p.1)).sum();
    let mean = |k: usize| points.iter().map(|p| p.0[k] * f64::from(p.1)).sum::<f64>() / n;
    let (mx, my) = (mean(0), mean(1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (p, k) in points {
        let (dx, dy) = (p[0] - mx, p[1] - my);
        xx += f64::from(*k) * dx * dx;
        xy += f64::from(*k) * dx * dy;
        yy += f64::from(*k) * dy * dy;
    }
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let (s, c) = angle.sin_cos();
    let local: Vec<(f64, f64)> = points
        .iter()
        .map(|(p, _)| {
            let (dx, dy) = (p[0] - mx, p[1] - my);
            (c * dx + s * dy, -s * dx + c * dy)
        })
        .collect();
    let (lo, hi) = local.iter().fold((f64::MAX, f64::MIN), |a, p| (a.0.min(p.0), a.1.max(p.0)));
    let reach = (hi - lo).max(1.0);
    let rows: Vec<([f64; 4], f64)> = local
        .iter()
        .map(|(u, v)| {
            let t = 2.0 * (u - lo) / reach - 1.0;
            ([1.0, t, t * t, t * t * t], *v)
        })
        .collect();
    let (k, _, _) = crate::locate::edges::robust_fit(&rows, &[1e-6, 1e-4, 1e-4, 1e-3]);
    let steps = (reach / 2.0).ceil().clamp(2.0, 400.0) as usize;
    Some(
        (0..=steps)
            .map(|i| {
                let t = 2.0 * i as f64 / steps as f64 - 1.0;
                let u = lo + reach * i as f64 / steps as f64;
                let v = k[0] + k[1] * t + k[2] * t * t + k[3] * t * t * t;
                [mx + c * u - s * v, my + s * u + c * v]
            })
            .collect(),
    )
}

/// Cuts a path's ends to where its contrast is: the mean across the line less that of both sides, averaged over five
/// points, is at least three tenths of what it is in the path's middle (scratches run out gently). The long averages that found the line reach beyond its
/// ends.
fn trim(path: Vec<[f64; 2]>, planes: &[Plane]) -> Option<Vec<[f64; 2]>> {
    let n = path.len();
    let contrast = |plane: &Plane| -> Vec<f64> {
        (0..n)
            .map(|i| {
                let (a, b) = (path[i.saturating_sub(1)], path[(i + 1).min(n - 1)]);
                let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
                let len = dx.hypot(dy).max(1e-9);
                let at = |t: f64| f64::from(plane.sample(path[i][0] - t * dy / len, path[i][1] + t * dx / len));
                (at(-1.0) + at(0.0) + at(1.0)) / 3.0 - (at(-4.0) + at(-3.0) + at(3.0) + at(4.0)) / 4.0
            })
            .collect()
    };
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let best = planes.iter().map(contrast).max_by(|a, b| mean(a).abs().total_cmp(&mean(b).abs()))?;
    let sign = mean(&best).signum();
    let smooth: Vec<f64> = (0..n).map(|i| sign * mean(&best[i.saturating_sub(2)..(i + 3).min(n)])).collect();
    let mut middle: Vec<f32> = smooth[n / 4..n - n / 4].iter().map(|v| *v as f32).collect();
    let level = 0.3 * f64::from(ops::median(&mut middle));
    let first = smooth.iter().position(|v| *v >= level)?;
    let last = smooth.iter().rposition(|v| *v >= level)?;
    (last > first).then(|| path[first..=last].to_vec())
}

fn clear(p: &mut Plane, x: f64, y: f64, radius: f64) {
    let y0 = (y - radius).floor().max(0.0) as usize;
    let y1 = ((y + radius).ceil().max(0.0) as usize).min(p.height.saturating_sub(1));
    for row in y0..=y1 {
        let x0 = (x - radius).floor().max(0.0) as usize;
        let x1 = ((x + radius).ceil().max(0.0) as usize).min(p.width.saturating_sub(1));
        for col in x0..=x1 {
            if (col as f64 - x).hypot(row as f64 - y) <= radius {
                p.data[row * p.width + col] = 0.0;
            }
        }
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
}

/// Convex hull (Andrew's monotone chain), counter-clockwise.
fn hull(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
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

/// Mean over the metal with a Gaussian weight of `sigma` pixels, computed on a shrunk picture. Beside a stone or the
/// rim the weight sees one side only; the slope times the shift of its centre of gravity makes up for that.
fn local_mean(plane: &Plane, mask_weight: &Plane, sigma: f64, slope: bool) -> Result<Plane, VisionError> {
    let f = ((sigma / 3.0).floor() as usize).clamp(1, 16);
    let mut masked = plane.clone();
    for (v, k) in masked.data.iter_mut().zip(&mask_weight.data) {
        *v *= k;
    }
    let s = sigma / f as f64;
    let weight = ops::shrink(mask_weight, f);
    let d = ops::gaussian(&weight, s)?;
    let mut mean = ops::gaussian(&ops::shrink(&masked, f), s)?;
    for (v, k) in mean.data.iter_mut().zip(&d.data) {
        *v /= k.max(1e-3);
    }
    if slope {
        let (w, h) = (mean.width, mean.height);
        let coordinate = |along_x: bool| -> Result<Plane, VisionError> {
            let mut p = weight.clone();
            for y in 0..h {
                for x in 0..w {
                    p.data[y * w + x] *= if along_x { x as f32 } else { y as f32 };
                }
            }
            ops::gaussian(&p, s)
        };
        let (cx, cy) = (coordinate(true)?, coordinate(false)?);
        let (gx, gy) = ops::gradient(&mean)?;
        for y in 0..h {
            for x in 0..w {
                let i = y * w + x;
                if d.data[i] > 0.05 {
                    let k = 1.0 / d.data[i];
                    let bound = s as f32;
                    let dx = (cx.data[i] * k - x as f32).clamp(-bound, bound);
                    let dy = (cy.data[i] * k - y as f32).clamp(-bound, bound);
                    mean.data[i] -= gx.data[i] * dx + gy.data[i] * dy;
                }
            }
        }
    }
    Ok(grow(&mean, f, plane.width, plane.height))
}

fn perimeter(p: &[[f64; 2]]) -> f64 {
    let n = p.len();
    (0..n).map(|i| (p[(i + 1) % n][0] - p[i][0]).hypot(p[(i + 1) % n][1] - p[i][1])).sum()
}

/// Bilinear enlargement of a plane shrunk by `f`.
fn grow(small: &Plane, f: usize, w: usize, h: usize) -> Plane {
    if f == 1 {
        return small.clone();
    }
    let mut out = Plane::filled(w, h, 0.0);
    let clamp = |v: f32, n: usize| v.clamp(0.0, (n - 1) as f32);
    let cols: Vec<(usize, usize, f32)> = (0..w)
        .map(|x| {
            let sx = clamp((x as f32 + 0.5) / f as f32 - 0.5, small.width);
            let x0 = sx as usize;
            (x0, (x0 + 1).min(small.width - 1), sx - x0 as f32)
        })
        .collect();
    for y in 0..h {
        let sy = clamp((y as f32 + 0.5) / f as f32 - 0.5, small.height);
        let y0 = sy as usize;
        let y1 = (y0 + 1).min(small.height - 1);
        let fy = sy - y0 as f32;
        let (a, b) = (&small.data[y0 * small.width..], &small.data[y1 * small.width..]);
        let row = &mut out.data[y * w..(y + 1) * w];
        for (v, (x0, x1, fx)) in row.iter_mut().zip(&cols) {
            let top = a[*x0] + (a[*x1] - a[*x0]) * fx;
            let low = b[*x0] + (b[*x1] - b[*x0]) * fx;
            *v = top + (low - top) * fy;
        }
    }
    out
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
    let in_patch = |p: &Patch, q: [f64; 2], slack: f64| {
        ops::contains(&p.outline, q) || (q[0] - p.x).hypot(q[1] - p.y) < 0.9 * p.radius_px + slack
    };
    let kept: Vec<Patch> = patches
        .into_iter()
        .filter(|p| {
            // What the spots and lines in it would look like on the coarse grid.
            let spots: f64 = spots
                .iter()
                .filter(|s| s.diameter_px < largest_px && in_patch(p, [s.x, s.y], s.diameter_px / 2.0))
                .map(|s| std::f64::consts::FRAC_PI_4 * (s.diameter_px + blur_px).powi(2))
                .sum();
            let lines: f64 = lines
                .iter()
                .map(|l| {
                    let inside = l.points.iter().filter(|q| in_patch(p, **q, blur_px)).count() as f64;
                    inside / l.points.len().max(1) as f64 * l.length_px * (l.width_px + blur_px)
                })
                .sum();
            spots + lines < 0.6 * p.area_px
        })
        .collect();
    let spots = spots.into_iter().filter(|s| !kept.iter().any(|p| in_patch(p, [s.x, s.y], 0.0))).collect();
    let lines = lines
        .into_iter()
        .filter(|l| {
            !kept.iter().any(|p| {
                let n = l.points.iter().filter(|q| in_patch(p, **q, blur_px)).count();
                2 * n > l.points.len()
            })
        })
        .collect();
    (spots, lines, kept)
}

/// From the pixels of a picture shrunk by `f` and cut at `offset` to those of the frame.
fn enlarge(f: f64, offset: [usize; 2], spots: &mut [Spot], lines: &mut [Line], patches: &mut [Patch]) {
    let place = |p: &mut [f64; 2]| {
        for (v, o) in p.iter_mut().zip(offset) {
            *v = (*v + 0.5) * f - 0.5 + o as f64;
        }
    };
    for s in spots {
        let mut at = [s.x, s.y];
        place(&mut at);
        [s.x, s.y] = at;
        s.diameter_px *= f;
        s.diameter_u_px *= f;
        s.outline.iter_mut().for_each(place);
    }
    for l in lines {
        l.points.iter_mut().for_each(place);
        l.length_px *= f;
        l.width_px *= f;
        l.width_u_px *= f;
    }
    for p in patches {
        let mut at = [p.x, p.y];
        place(&mut at);
        [p.x, p.y] = at;
        p.area_px *= f * f;
        p.area_u_px *= f * f;
        p.radius_px *= f;
        p.outline.iter_mut().for_each(place);
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
                    kind: Some(FindingType::Pit),
                    name: format!("pit-{pits}"),
                    x_px: s.x,
                    y_px: s.y,
                    radius_px: s.diameter_px / 2.0,
                    outline_px: s.outline.clone(),
                    confidence: sure(s.z),
                    found_by: found_by.clone(),
                    values: vec![value("pit.diameter_mm", s.diameter_px * mm, s.diameter_u_px * mm, 1.0)],
                });
            }
            continue;
        }
        clusters += 1;
        let members: Vec<&Spot> = group.iter().map(|i| &spots[*i]).collect();
        let all: Vec<[f64; 2]> = members.iter().flat_map(|s| s.outline.iter().copied()).collect();
        let outline = hull(&all);
        let rim = Rim::new(all, 0.0);
        let Some(largest) = members.iter().max_by(|a, b| a.diameter_px.total_cmp(&b.diameter_px)) else { continue };
        let pore_area: f64 = members.iter().map(|s| std::f64::consts::FRAC_PI_4 * s.diameter_px.powi(2)).sum();
        // Each pore's area errs by its diameter's error; they err together, because blur is common to them.
        let pore_area_u: f64 =
            members.iter().map(|s| std::f64::consts::FRAC_PI_2 * s.diameter_px * s.diameter_u_px).sum();
        // VDG P 202 relates the pores to a circle about the cluster.
        let reference = std::f64::consts::PI * rim.radius.powi(2);
        let z = members.iter().map(|s| s.z).fold(0.0, f32::max);
        answer.features.push(Feature {
            kind: Some(FindingType::Porosity),
            name: format!("porosity-{clusters}"),
            x_px: rim.x,
            y_px: rim.y,
            radius_px: rim.radius,
            outline_px: outline,
            confidence: sure(z),
            found_by: found_by.clone(),
            values: vec![
                value("porosity.pore_count", members.len() as f64, 0.0, 0.0),
                value("porosity.area_pct", 100.0 * pore_area / reference, 100.0 * pore_area_u / reference, 0.0),
                value("porosity.max_pore_mm", largest.diameter_px * mm, largest.diameter_u_px * mm, 1.0),
                // A pore open to the surface is a pit too: a limit on pits holds for each of them.
                value("pit.diameter_mm", largest.diameter_px * mm, largest.diameter_u_px * mm, 1.0),
            ],
        });
    }
    for (i, l) in lines.into_iter().enumerate() {
        let rim = Rim::new(l.points.clone(), 0.0);
        // Both ends together are known to about a quarter of the averaging length: the scatter seen on rendered scratches.
        let length_u = LINE_MM / 4.0;
        answer.features.push(Feature {
            kind: Some(FindingType::Scratch),
            name: format!("scratch-{}", i + 1),
            x_px: rim.x,
            y_px: rim.y,
            radius_px: rim.radius,
            outline_px: ribbon(&l.points, l.width_px / 2.0 + 1.0),
            confidence: sure(l.z),
            found_by: found_by.clone(),
            values: vec![
                value("scratch.length_mm", l.length_px * mm, length_u, 1.0),
                value("scratch.width_mm", l.width_px * mm, l.width_u_px * mm, 1.0),
            ],
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
        answer.features.push(Feature {
            kind: Some(kind),
            name: format!("{stem}-{}", count[usize::from(p.worn)]),
            x_px: p.x,
            y_px: p.y,
            radius_px: p.radius_px,
            outline_px: p.outline,
            confidence: sure(p.z),
            found_by: found_by.clone(),
            values: vec![value(characteristic, p.area_px * mm * mm, p.area_u_px * mm * mm, 2.0)],
        });
    }
}

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
        Metal::new(&image, &mask, Rect { x: 0, y: 0, width: w, height: h }, 0.012).unwrap()
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
            assert!((s.diameter_px - 2.0 * radius).abs() < 2.0 * s.diameter_u_px + 0.5, "{radius}: {s:?}");
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
