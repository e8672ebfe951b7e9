//! Pictures made small enough to stand in a page: JPEG as `data:` URIs.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, ImageEncoder, Rgb, RgbImage};

use crate::report::Finding;
use crate::vision::Image;

/// Widest picture in a page, in pixels: on the 186 mm of an A4 page 218 dots an inch, as fine as an office printer shows.
pub const WIDEST: u32 = 1600;
/// Sides of a thumbnail in a list.
const THUMB: (u32, u32) = (132, 99);
/// Side of a close-up.
const CLOSE_UP: u32 = 220;
/// Qualities of the JPEG: a thumbnail's blocks do not show, a close-up's would.
const QUALITY: u8 = 82;
const THUMB_QUALITY: u8 = 70;

/// A picture that stands in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// `data:image/jpeg;base64,...`.
    pub uri: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A picture's pixels where they are, as the `image` crate has it.
type Borrowed<'a> = ImageBuffer<Rgb<u8>, &'a [u8]>;

/// None where there is no pixel, or where the sides and the bytes do not agree.
fn borrowed(image: &Image) -> Option<Borrowed<'_>> {
    let (width, height) = (image.width as u32, image.height as u32);
    Borrowed::from_raw(width, height, &image.data).filter(|_| width > 0 && height > 0)
}

fn encoded(pixels: &[u8], width: u32, height: u32, quality: u8) -> Option<Embedded> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, quality)
        .write_image(pixels, width, height, image::ExtendedColorType::Rgb8)
        .ok()?;
    Some(Embedded { uri: format!("data:image/jpeg;base64,{}", STANDARD.encode(out)), width, height })
}

/// `picture` no larger than `most`, sides in proportion, as a JPEG.
fn fitted(picture: &Borrowed, most: (u32, u32), quality: u8) -> Option<Embedded> {
    let (w, h) = picture.dimensions();
    let scale = (f64::from(most.0) / f64::from(w)).min(f64::from(most.1) / f64::from(h));
    if scale >= 1.0 {
        return encoded(picture.as_raw(), w, h, quality);
    }
    let side = |s: u32| ((f64::from(s) * scale).round() as u32).max(1);
    let small = imageops::thumbnail(picture, side(w), side(h));
    encoded(small.as_raw(), small.width(), small.height(), quality)
}

/// A picture of a frame in a page, at most [`WIDEST`] pixels wide, and its thumbnail. None where it is no picture.
pub fn large_and_small(image: &Image) -> Option<(Embedded, Embedded)> {
    let picture = borrowed(image)?;
    Some((fitted(&picture, (WIDEST, 4 * WIDEST), QUALITY)?, fitted(&picture, THUMB, THUMB_QUALITY)?))
}

/// The drawn picture without the strip of words that `overlay::draw` puts below the frame (the page says them better): from the first
/// row on that is of one colour of a verdict from end to end. A picture without such a row is left whole.
pub fn without_strip(image: &Image) -> Image {
    let row = 3 * image.width;
    let is_bar = |line: &[u8]| {
        let first = [line[0], line[1], line[2]];
        crate::report::overlay::VERDICT_COLOURS.contains(&first) && line.chunks_exact(3).all(|p| p == first)
    };
    if image.width < 2 || image.data.len() != row * image.height {
        return image.clone();
    }
    let end = image.data.chunks_exact(row).position(is_bar).filter(|y| *y > 0).unwrap_or(image.height);
    Image { width: image.width, height: end, data: image.data[..row * end].to_vec(), grey: image.grey }
}

/// The close-up of a finding, cut from a picture of its frame; none where it lies outside.
pub fn close_up(image: &Image, finding: &Finding) -> Option<Embedded> {
    let (x, y) = (finding.x_px, finding.y_px);
    if !(x.is_finite() && y.is_finite()) || x < 0.0 || y < 0.0 || x >= image.width as f64 || y >= image.height as f64
    {
        return None;
    }
    let reach = finding.outline_px.iter().map(|p| (p[0] - x).abs().max((p[1] - y).abs()));
    // Twice the finding and some of what is about it.
    let half = (1.6 * reach.fold(finding.radius_px.max(4.0), f64::max) + 14.0).min(4096.0);
    let cut = |c: f64, size: usize| {
        let side = (2.0 * half).min(size as f64);
        let from = (c - half).clamp(0.0, size as f64 - side);
        (from as u32, (side as u32).max(1))
    };
    let ((x0, w), (y0, h)) = (cut(x, image.width), cut(y, image.height));
    let line = |y: u32| {
        let from = 3 * (y as usize * image.width + x0 as usize);
        image.data.get(from..from + 3 * w as usize)
    };
    let lines: Vec<&[u8]> = (y0..y0 + h).map(line).collect::<Option<_>>()?;
    let part = RgbImage::from_raw(w, h, lines.concat())?;
    let scale = f64::from(CLOSE_UP) / f64::from(w.max(h));
    let side = |s: u32| ((f64::from(s) * scale).round() as u32).max(1);
    // Enlarged pixels stay pixels: a smooth picture would show more than the camera saw.
    let filter = if scale > 2.0 { FilterType::Nearest } else { FilterType::Triangle };
    let close = imageops::resize(&part, side(w), side(h), filter);
    encoded(close.as_raw(), close.width(), close.height(), QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Image {
        let data = (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect();
        Image { width, height, data, grey: false }
    }

    #[test]
    fn large_pictures_are_made_small_and_small_ones_left() {
        let (large, thumb) = large_and_small(&picture(3200, 400)).unwrap();
        assert_eq!((large.width, large.height), (1600, 200));
        assert_eq!((thumb.width, thumb.height), (132, 17));
        assert!(large.uri.starts_with("data:image/jpeg;base64,/9j/"));
        let (small, _) = large_and_small(&picture(300, 200)).unwrap();
        assert_eq!((small.width, small.height), (300, 200));
    }

    #[test]
    fn the_strip_of_words_goes() {
        let mut image = picture(40, 30);
        let red = crate::report::overlay::VERDICT_COLOURS[0];
        for p in image.data[3 * 40 * 20..].chunks_exact_mut(3) {
            p.copy_from_slice(&red);
        }
        assert_eq!(without_strip(&image).height, 20);
        assert_eq!(without_strip(&picture(40, 30)), picture(40, 30));
        let empty = Image { width: 0, height: 0, data: vec![], grey: false };
        assert_eq!(without_strip(&empty), empty);
        assert!(large_and_small(&empty).is_none());
    }

    #[test]
    fn a_close_up_stays_inside_its_picture() {
        let finding = |x: f64, y: f64| {
            let text = format!(
                r#"{{"type":"pit","view":"top","file":"a.png","feature":"pit-1","x_mm":null,"y_mm":null,"x_px":{x},"y_px":{y},"radius_px":6.0,"confidence":1,"found_by":[],"status":"fail"}}"#
            );
            serde_json::from_str::<Finding>(&text).unwrap()
        };
        let image = picture(120, 90);
        for (x, y) in [(0.0, 0.0), (119.9, 89.9), (60.0, 45.0)] {
            let e = close_up(&image, &finding(x, y)).unwrap();
            assert_eq!(e.width.max(e.height), CLOSE_UP);
        }
        assert!(close_up(&image, &finding(500.0, 10.0)).is_none());
        assert!(close_up(&image, &finding(-1.0, 10.0)).is_none());
    }
}
