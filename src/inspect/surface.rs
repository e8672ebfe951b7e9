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

/// Seeds: six and a half standard deviations. Of a million independent normal values one lies beyond 4.9; texture has
/// heavier tails, hence the distance.
const SEED_Z: f32 = 6.5;
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
        let metal = Metal::new(scene.image, scene.bare_metal, bounds, mm_per_px);
        let spots = metal.spots()?;
        let scratches = metal.scratches(&spots)?;
        let patches = metal.patches(&spots, &scratches)?;
        let scale_u = scene.scale_u();
        features(&metal, spots, scratches, patches, scale_u, self.name(), &mut answer);
        answer.assessed = CHARACTERISTICS.to_vec();
        Ok(answer)
    }
}

/// The bare metal's box of a frame, in planes: brightness and two colour ratios.
struct Metal {
    mask: Mask,
    /// 1 on bare metal, else 0.
    weight: Plane,
    planes: Vec<Plane>,
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
    fn new(image: &Image, mask: &Mask, bounds: Rect, mm_per_px: f64) -> Self {
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
                if channels == 3 {
                    // Ratios, because a metal's colour keeps its ratios where its light falls off; the constant keeps
                    // the noise of dark pixels finite.
                    let k = 384.0 / (sum + 48.0);
                    planes[1].data[i] = (r - b) * k;
                    planes[2].data[i] = (r + b - 2.0 * g) * k;
                }
            }
        }
        Metal { mask: cut, weight, planes, offset: [x0, y0], mm_per_px }
    }

    fn px(&self, mm: f64) -> f64 {
        mm / self.mm_per_px
    }

    /// Response of a plane at a scale, divided by its local scatter: smoothed by `sigma` minus the masked mean at
    /// `wide`, over the scatter at `far` (all in pixels). 0 outside the metal.
    fn standout(&self, plane: &Plane, sigma: f64, wide: f64, far: f64) -> Result<Plane, VisionError> {
        let (w, h) = (plane.width, plane.height);
        let mut masked = plane.clone();
        for (v, k) in masked.data.iter_mut().zip(&self.weight.data) {
            *v *= k;
        }
        // Smoothing, normalised by how much metal the filter sees, so that neither stones nor background leak in.
        let fine_n = ops::gaussian(&masked, sigma)?;
        let fine_d = ops::gaussian(&self.weight, sigma)?;
        let mut response = Plane::filled(w, h, 0.0);
        for i in 0..response.data.len() {
            if self.mask.data[i] != 0 {
                response.data[i] = fine_n.data[i] / fine_d.data[i].max(1e-3);
            }
        }
        // Two rounds: the second leaves out what stood out in the first, so that a defect does not hide itself.
        let mut clipped = response.clone();
        let mut scatter = Plane::filled(w, h, 1.0);
        for round in 0..2 {
            let mean = self.local_mean(&clipped, wide)?;
            let mut square = Plane::filled(w, h, 0.0);
            let mut sample: Vec<f32> = Vec::new();
            for i in 0..response.data.len() {
                if self.mask.data[i] != 0 {
                    let d = response.data[i] - mean.data[i];
                    square.data[i] = d;
                    if i % 7 == 0 {
                        sample.push(d.abs());
                    }
                }
            }
            let global = (1.4826 * ops::median(&mut sample)).max(1e-4);
            let limit = if round == 0 { 6.0 * global } else { 4.0 * global };
            let mut bounded = square.clone();
            for v in &mut bounded.data {
                *v = v.clamp(-limit, limit);
                *v *= *v;
            }
            let variance = self.local_mean(&bounded, far)?;
            for i in 0..scatter.data.len() {
                // Nowhere quieter than half the frame's own median scatter: there the few pixels say too little.
                scatter.data[i] = variance.data[i].max(0.25 * global * global).sqrt();
            }
            if round == 0 {
                for i in 0..clipped.data.len() {
                    if self.mask.data[i] != 0 {
                        let b = 3.0 * scatter.data[i];
                        clipped.data[i] = mean.data[i] + square.data[i].clamp(-b, b);
                    }
                }
            } else {
                for i in 0..response.data.len() {
                    response.data[i] =
                        if self.mask.data[i] != 0 { square.data[i] / scatter.data[i] } else { 0.0 };
                }
            }
        }
        // Tails heavier than normal (grain, brushing) raise the bar: scale by the 99.5 % point where it lies further out
        // than a normal one's 2.81.
        let mut sample: Vec<f32> = (0..response.data.len())
            .filter(|i| i % 5 == 0 && self.mask.data[*i] != 0)
            .map(|i| response.data[i].abs())
            .collect();
        let q = ops::quantile(&mut sample, 0.995);
        if q > 2.81 {
            let k = 2.81 / q.min(2.0 * 2.81);
            for v in &mut response.data {
                *v *= k;
            }
        }
        Ok(response)
    }

    /// Mean over the metal with a Gaussian weight of `sigma` pixels, computed on a shrunk picture.
    fn local_mean(&self, plane: &Plane, sigma: f64) -> Result<Plane, VisionError> {
        let f = ((sigma / 3.0).floor() as usize).clamp(1, 16);
        let mut masked = plane.clone();
        for (v, k) in masked.data.iter_mut().zip(&self.weight.data) {
            *v *= k;
        }
        let s = sigma / f as f64;
        let n = ops::gaussian(&ops::shrink(&masked, f), s)?;
        let d = ops::gaussian(&ops::shrink(&self.weight, f), s)?;
        let mut small = n;
        for (v, k) in small.data.iter_mut().zip(&d.data) {
            *v /= k.max(1e-3);
        }
        Ok(grow(&small, f, plane.width, plane.height))
    }

    /// Spots of any sign in any plane at three scales; grown to their outline on the finest scale that shows them.
    fn spots(&self) -> Result<Vec<Spot>, VisionError> {
        let (w, h) = (self.mask.width, self.mask.height);
        // From the finest the camera resolves to a pit of 0.25 mm.
        let wide = self.px(0.15).max(6.0);
        let far = self.px(0.6).max(20.0);
        let mut best = Plane::filled(w, h, 0.0);
        for sigma in [1.0, 2.0] {
            for plane in &self.planes {
                let z = self.standout(plane, sigma, wide, far)?;
                for (b, v) in best.data.iter_mut().zip(&z.data) {
                    *b = b.max(v.abs());
                }
            }
        }
        let mut mask = Mask::empty(w, h);
        for (m, v) in mask.data.iter_mut().zip(&best.data) {
            *m = if *v > GROW_Z { 255 } else { 0 };
        }
        // A pit's rim and its floor are one pit.
        let mask = ops::close(&mask, 1)?;
        let (blobs, labels) = ops::components(&mask)?;
        let mut out = Vec::new();
        for b in &blobs {
            if b.area < 4 {
                continue;
            }
            let mut peak = 0.0f32;
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label {
                        peak = peak.max(best.at(x, y));
                    }
                }
            }
            if peak < SEED_Z {
                continue;
            }
            let outline = ops::blob_outline(&labels, w, b)?;
            // Area of the outline's polygon through pixel centres plus half a pixel all around: holes count as pit.
            let area = ops::polygon_area(&outline) + 0.5 * perimeter(&outline) + 1.0;
            let diameter = (4.0 * area / std::f64::consts::PI).sqrt();
            let long = b.bounds.width.max(b.bounds.height) as f64;
            // Lines are not spots: a round region fills most of the circle about it.
            let filled = area / (std::f64::consts::PI * long * long / 4.0);
            let at = [b.x + self.offset[0] as f64, b.y + self.offset[1] as f64];
            if filled < 0.3 || diameter > self.px(0.6) {
                continue;
            }
            out.push(Spot {
                x: at[0],
                y: at[1],
                diameter_px: diameter,
                diameter_u_px: 0.5,
                z: peak,
                outline: outline
                    .iter()
                    .map(|p| [p[0] + self.offset[0] as f64, p[1] + self.offset[1] as f64])
                    .collect(),
            });
        }
        Ok(out)
    }

    fn scratches(&self, _spots: &[Spot]) -> Result<Vec<Line>, VisionError> {
        Ok(vec![])
    }

    fn patches(&self, _spots: &[Spot], _lines: &[Line]) -> Result<Vec<Patch>, VisionError> {
        Ok(vec![])
    }
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

fn features(
    metal: &Metal,
    spots: Vec<Spot>,
    lines: Vec<Line>,
    patches: Vec<Patch>,
    scale_u: f64,
    by: &str,
    answer: &mut Answer,
) {
    let mm = metal.mm_per_px;
    let _ = (lines, patches, scale_u);
    for (i, s) in spots.into_iter().enumerate() {
        answer.features.push(Feature {
            kind: Some(FindingType::Pit),
            name: format!("pit-{}", i + 1),
            x_px: s.x,
            y_px: s.y,
            radius_px: s.diameter_px / 2.0,
            outline_px: s.outline,
            confidence: f64::from(1.0 - (-s.z / 6.0).exp()),
            found_by: vec![by.to_owned()],
            values: vec![Value {
                characteristic: "pit.diameter_mm",
                value: s.diameter_px * mm,
                uncertainty: s.diameter_u_px * mm,
            }],
        });
    }
}
