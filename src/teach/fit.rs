//! The picture that is looked at: every frame of a part brought to one size and one light.

use crate::locate::{outline, Located};
use crate::model::GRANULE;
use crate::spec::Outline;
use crate::vision::{ops, Image, Mask, Plane, VisionError};
use serde::{Deserialize, Serialize};

/// Over what share of the side the light is taken to be even: what varies more slowly is the lamp's, not the part's.
const LIGHT_SHARE: f64 = 1.0 / 8.0;
/// What is added to the brightness that a pixel is divided by, in grey levels: the noise of the dark.
const DARK: f32 = 8.0;
/// The least of it as a share of the picture's mean: a dark ground's mottle is not to weigh as much as the part on it.
const DARK_SHARE: f32 = 0.25;
/// The span that a pixel's departure from the light about it is given, in grey levels for 100 %.
const SPAN: f32 = 150.0;

/// How pictures are brought to the size they are looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Width in pixels, a multiple of 32.
    pub width: usize,
    /// Height in pixels, a multiple of 32.
    pub height: usize,
    /// The box of the piece that is looked at, in piece coordinates `[x0, y0, x1, y1]` in mm; none for pictures that nothing
    /// places, which are looked at whole.
    pub box_mm: Option<[f64; 4]>,
}

/// A picture as it is looked at.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Its pixels.
    pub image: Image,
    /// What of it counts.
    pub mask: Mask,
    /// From its pixels to those of the frame: `[a, b, c]` for x and for y.
    pub to_frame: [[f64; 3]; 2],
}

impl Looked {
    /// Width and height of what is looked at, in pixels of the frame.
    pub fn seen(&self) -> [f64; 2] {
        let length = |k: usize| self.to_frame[0][k].hypot(self.to_frame[1][k]);
        [length(0) * self.image.width as f64, length(1) * self.image.height as f64]
    }

    /// How much more red than green and more blue than green its pixels are on the mean, in levels of what is looked at.
    pub fn tint(&self) -> [f64; 2] {
        let (mut sum, mut n) = ([0.0; 2], 0.0);
        for (p, m) in self.image.data.chunks_exact(3).zip(&self.mask.data) {
            if *m != 0 {
                n += 1.0;
                sum[0] += f64::from(p[0]) - f64::from(p[1]);
                sum[1] += f64::from(p[2]) - f64::from(p[1]);
            }
        }
        sum.map(|s| s / f64::max(n, 1.0))
    }

    /// Width over height of that.
    pub fn aspect(&self) -> f64 {
        let [w, h] = self.seen();
        w / h
    }
}

impl Fit {
    /// For pictures that are looked at whole: about `side` times `side` pixels.
    pub fn whole(side: usize) -> Self {
        let side = granules(side as f64);
        Fit { width: side, height: side, box_mm: None }
    }

    /// For pieces: the box about the outline, at the aspect it has, about `side` times `side` pixels.
    pub fn of_box(b: [f64; 4], side: usize) -> Self {
        let (w, h) = ((b[2] - b[0]).max(1e-3), (b[3] - b[1]).max(1e-3));
        let k = side as f64 / (w * h).sqrt();
        Fit { width: granules(w * k), height: granules(h * k), box_mm: Some(b) }
    }

    /// The box about an outline (x from, y from, x to, y to in mm).
    pub fn box_about(shape: &Outline) -> [f64; 4] {
        match shape {
            // As much of the shank as a frame of common shape shows.
            Outline::Band { half_width_mm, .. } => {
                [-1.6 * half_width_mm, -*half_width_mm, 1.6 * half_width_mm, *half_width_mm]
            }
            _ => outline::polygon(shape, outline::reach(shape))
                .iter()
                .fold([f64::MAX, f64::MAX, f64::MIN, f64::MIN], |b, p| {
                    [b[0].min(p[0]), b[1].min(p[1]), b[2].max(p[0]), b[3].max(p[1])]
                }),
        }
    }

    /// Brings a frame to this size. `metal` says which of the frame's pixels count.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn look(
        &self,
        image: &Image,
        located: Option<&Located>,
        metal: Option<&Mask>,
    ) -> Result<Looked, VisionError> {
        let (w, h) = (self.width as f64, self.height as f64);
        let to_frame = match (&self.box_mm, located) {
            (Some([x0, y0, x1, y1]), Some(l)) => {
                // The corners of the first pixel are those of the box.
                let at =
                    |u: f64, v: f64| l.pose.to_px(x0 + (u + 0.5) / w * (x1 - x0), y1 - (v + 0.5) / h * (y1 - y0));
                let (o, x, y) = (at(0.0, 0.0), at(1.0, 0.0), at(0.0, 1.0));
                [[x[0] - o[0], y[0] - o[0], o[0]], [x[1] - o[1], y[1] - o[1], o[1]]]
            }
            _ => {
                let (fx, fy) = (image.width as f64 / w, image.height as f64 / h);
                [[fx, 0.0, 0.5 * fx - 0.5], [0.0, fy, 0.5 * fy - 0.5]]
            }
        };
        let seen = ops::warp_image(image, &to_frame, self.width, self.height)?;
        let mask = match metal {
            Some(metal) => seen_of(metal, &to_frame, self.width, self.height),
            None => Mask::full(self.width, self.height),
        };
        Ok(Looked { image: even(&seen)?, mask, to_frame })
    }
}

/// A mask as a picture of this size sees it whose pixels lie there: at the nearest pixel, and nothing beyond it.
pub(super) fn seen_of(mask: &Mask, to: &[[f64; 3]; 2], width: usize, height: usize) -> Mask {
    let mut out = Mask::full(width, height);
    for v in 0..height {
        for u in 0..width {
            let [x, y] = apply(to, [u as f64, v as f64]);
            let inside = x >= -0.5 && y >= -0.5 && x < mask.width as f64 - 0.5 && y < mask.height as f64 - 0.5;
            if !(inside && mask.at(x.round().max(0.0) as usize, y.round().max(0.0) as usize)) {
                out.data[v * width + u] = 0;
            }
        }
    }
    out
}

/// A point of the picture that is looked at in pixels of the frame.
pub fn apply(t: &[[f64; 3]; 2], p: [f64; 2]) -> [f64; 2] {
    [t[0][0] * p[0] + t[0][1] * p[1] + t[0][2], t[1][0] * p[0] + t[1][1] * p[1] + t[1][2]]
}

fn granules(px: f64) -> usize {
    ((px / GRANULE as f64).round() as usize).clamp(2, 64) * GRANULE
}

/// Takes the light out: what a pixel departs from the brightness about it, as a share of that. Metal under another exposure or
/// lamp then looks the same; colour stays.
pub fn even(image: &Image) -> Result<Image, VisionError> {
    let mean = image.mean();
    let sigma = LIGHT_SHARE * ((image.width * image.height) as f64).sqrt();
    let about = wide(&mean, sigma)?;
    let all = about.data.iter().map(|v| f64::from(*v)).sum::<f64>() / about.data.len().max(1) as f64;
    let dark = DARK.max(DARK_SHARE * all as f32);
    let data = image
        .data
        .chunks_exact(3)
        .zip(&about.data)
        .flat_map(|(p, b)| {
            let k = SPAN / (b + dark);
            [p[0], p[1], p[2]].map(|v| ((f32::from(v) - b) * k + 127.0).round().clamp(0.0, 255.0) as u8)
        })
        .collect();
    Ok(Image { width: image.width, height: image.height, data, grey: image.grey })
}

/// A wide blur, made on a picture a quarter as large each way.
fn wide(p: &Plane, sigma: f64) -> Result<Plane, VisionError> {
    let f = ((sigma / 6.0) as usize).clamp(1, 8);
    let small = ops::gaussian(&ops::shrink(p, f), sigma / f as f64)?;
    if f == 1 {
        return Ok(small);
    }
    ops::resize(&small, p.width, p.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_is_taken_out() {
        let picture = |k: f64| Image {
            width: 96,
            height: 64,
            data: (0..96 * 64)
                .flat_map(|i| {
                    let dark = (40..44).contains(&(i % 96)) && (20..24).contains(&(i / 96));
                    [(k * if dark { 60.0 } else { 100.0 }) as u8; 3]
                })
                .collect(),
            grey: true,
        };
        let (a, b) = (even(&picture(1.0)).unwrap(), even(&picture(2.0)).unwrap());
        let most = a.data.iter().zip(&b.data).map(|(x, y)| x.abs_diff(*y)).max().unwrap();
        assert!(most <= 6, "{most}");
        let at = |im: &Image, x: usize, y: usize| im.data[3 * (y * 96 + x)];
        assert!(at(&a, 42, 22) + 30 < at(&a, 10, 50));
    }

    #[test]
    fn a_dark_ground_weighs_less_than_the_part() {
        // Mottle of a fifth on a bright part and on a ground a tenth as bright.
        let picture = Image {
            width: 128,
            height: 128,
            data: (0..128 * 128)
                .flat_map(|i| {
                    let (x, y) = (i % 128, i / 128);
                    let level = if x < 64 { 150.0 } else { 15.0 };
                    [(level * if (x / 4 + y / 4) % 2 == 0 { 0.9 } else { 1.1 }) as u8; 3]
                })
                .collect(),
            grey: true,
        };
        let seen = even(&picture).unwrap();
        let range = |from: usize| {
            let at: Vec<u8> = (from..from + 16).map(|x| seen.data[3 * (64 * 128 + x)]).collect();
            f64::from(at.iter().max().unwrap() - at.iter().min().unwrap())
        };
        assert!(range(108) < 0.7 * range(4), "{} {}", range(108), range(4));
    }

    #[test]
    fn a_box_is_looked_at_straight() {
        let f = Fit::of_box([-4.0, -2.0, 4.0, 2.0], 224);
        assert_eq!((f.width % 32, f.height % 32), (0, 0));
        assert!(f.width > f.height);
        let whole = Fit::whole(224);
        let image = Image { width: 448, height: 336, data: vec![90; 3 * 448 * 336], grey: true };
        let seen = whole.look(&image, None, None).unwrap();
        assert_eq!((seen.image.width, seen.image.height), (224, 224));
        let corner = apply(&seen.to_frame, [223.0, 223.0]);
        assert!((corner[0] - 446.5).abs() < 1e-9 && (corner[1] - 334.75).abs() < 1e-9, "{corner:?}");
    }
}
