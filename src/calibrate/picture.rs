//! The picture of a calibration's residuals: where the points were seen, and by how much they lie off the fit.

use image::RgbImage;
use imageproc::drawing::{draw_hollow_circle_mut, draw_line_segment_mut};

use super::{Calibration, Seen};
use crate::report::text::{draw_text, text_height};
use crate::vision::{ops, Image};

/// Longest side of the picture.
const SIDE: usize = 1400;

/// Points (of all pictures of the target) with their residuals enlarged, on a darkened picture of the target. The scale of the
/// arrows stands below: the longest is about as long as a twentieth of the picture.
pub fn residuals(ground: &Image, calibration: &Calibration, seen: &Seen) -> Option<Image> {
    let f = ground.width.max(ground.height).div_ceil(SIDE).max(1);
    let small = ops::shrink_image(ground, f);
    let (w, h) = (small.width, small.height);
    let dim: Vec<u8> = small.data.iter().map(|v| v / 3).collect();
    let mut img = RgbImage::from_raw(w as u32, h as u32, dim)?;
    // A round number of times.
    let wanted = w.max(h) as f64 / 20.0 * f as f64 / calibration.residual_max_px.max(1e-3);
    let enlarged = 10f64.powf(wanted.log10().floor()).max(1.0);
    let at = |p: [f64; 2]| p.map(|v| ((v + 0.5) / f as f64 - 0.5) as f32);
    for (p, r) in seen.iter().flatten() {
        let length = r[0].hypot(r[1]);
        let colour = if length > 0.1 { [255, 176, 32] } else { [90, 220, 120] };
        let (a, b) = (at(*p), at([p[0] + enlarged * r[0], p[1] + enlarged * r[1]]));
        draw_hollow_circle_mut(&mut img, (a[0].round() as i32, a[1].round() as i32), 2, image::Rgb([150, 178, 205]));
        draw_line_segment_mut(&mut img, (a[0], a[1]), (b[0], b[1]), image::Rgb(colour));
    }
    let text = (w.min(h) / 500).max(1) as u32;
    let line = text_height(text) as usize + 4;
    let mut out = Image { width: w, height: h + 3 * line + 6, data: img.into_raw(), grey: false };
    out.data.resize(3 * out.width * out.height, 14);
    let c = calibration;
    let lines = [
        format!("{:.4} um/px +- {:.4} (k=1), {} picture(s)", c.um_per_px, c.um_per_px_u, c.images.len()),
        format!("residuals: rms {:.3} px, largest {:.3} px", c.residual_rms_px, c.residual_max_px),
        format!("drawn {enlarged} times as long; amber: above 0.1 px"),
    ];
    for (k, t) in lines.iter().enumerate() {
        draw_text(&mut out, 4, (h + 4 + k * line) as i32, text, [240, 244, 248], t);
    }
    Some(out)
}
