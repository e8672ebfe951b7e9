//! Decoding pictures, with a limit on their size and errors that name the file.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::Image;
use image::ImageDecoder;

/// Largest side of a picture in pixels. Inspection keeps about 60 bytes a pixel in memory.
pub const MAX_SIDE_PX: u32 = 20_000;
/// Largest picture in pixels.
pub const MAX_PIXELS: u64 = 120_000_000;
/// A 16-bit picture that is nowhere brighter holds a camera's 12 bits as they came, or was taken without light: in 8 bits it is black.
const UNSCALED: u16 = 4095;
/// Smallest side: below it no feature can be measured.
pub const MIN_SIDE_PX: u32 = 16;

/// Why a picture could not be read. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are no picture, or a damaged one.
    #[error("{}: not a readable picture: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        message: String,
    },
    /// Too large or too small.
    #[error("{}: {width} x {height} pixels: {message}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Which bound it breaks.
        message: String,
    },
}

/// Reads a picture file: its bytes (for the hash in the report) and its pixels.
///
/// # Errors
/// [`DecodeError`], which names the file.
pub fn read_image(path: &Path) -> Result<(Vec<u8>, Image), DecodeError> {
    let bytes = crate::files::read(path).map_err(|source| DecodeError::Read { path: path.to_owned(), source })?;
    let image = decode(&bytes, path)?;
    Ok((bytes, image))
}

/// The marks of a JPEG, each with its segment and where that begins, as far as they go (ITU-T T.81, B.1.1). Segments are stepped over by their lengths, for a preview in one of
/// them has marks of its own.
pub(super) fn marks(bytes: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        // In a scan 0xFF is followed by 0 or by a restart mark; any number of 0xFF may stand before a mark.
        let found = bytes.get(at..)?.windows(2).position(|w| w[0] == 0xFF && !matches!(w[1], 0 | 0xFF | 0xD0..=0xD7));
        at += found? + 2;
        let mark = bytes[at - 1];
        // Marks without a length.
        if matches!(mark, 0x01 | 0xD8 | 0xD9) {
            return Some((mark, at, &bytes[at..at]));
        }
        let length = bytes.get(at..at + 2)?;
        let from = at;
        at += usize::from(length[0]) << 8 | usize::from(length[1]);
        Some((mark, from, &bytes[from..at.min(bytes.len())]))
    })
}

/// Whether a JPEG's scans come to the mark of its end: decoders fill up what is missing with grey, and grey looks like a fault of the piece.
fn jpeg_ends(bytes: &[u8]) -> bool {
    marks(bytes).any(|(mark, ..)| mark == 0xD9)
}

/// Whether a file is no PNG or JPEG that lacks its end, as one that is still being written; false where it cannot be read.
pub fn ends(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    match &bytes[..] {
        [0xFF, 0xD8, ..] => jpeg_ends(&bytes),
        // The last chunk of a PNG has no data, and so always the same sum (ISO/IEC 15948, 11.2.5).
        [0x89, b'P', b'N', b'G', ..] => bytes.windows(8).rev().any(|w| w == b"IEND\xAEB`\x82"),
        other => !other.is_empty(),
    }
}

/// Whether a picture's colour is stored at half the resolution of its brightness or less, as most JPEGs have it: the file's frame header gives the
/// sampling factors of each component (ITU-T T.81, B.2.2). False of all other formats.
pub fn has_coarse_colour(bytes: &[u8]) -> bool {
    let samples: Vec<u8> = components(bytes).map(|[_, f, _]| (f >> 4) * (f & 15)).collect();
    samples.iter().any(|s| Some(s) != samples.first())
}

/// The steps, in grey levels, that a JPEG keeps the slowest waves of its brightness in: the mean of the first two of its table (T.81, B.2.4.1) beside the constant. What is
/// fainter, as noise is, is gone, and what is left lies up to half a step off. None of all other formats.
pub fn jpeg_step(bytes: &[u8]) -> Option<f64> {
    let [_, _, wanted] = components(bytes).next()?;
    let mut step = None;
    for (_, _, tables) in headers(bytes).filter(|(mark, ..)| *mark == 0xDB) {
        let mut rest = tables.get(2..).unwrap_or(&[]);
        while let Some((kind, values)) = rest.split_first() {
            let wide = usize::from(kind >> 4) + 1;
            let value = |k: usize| {
                values.get(wide * k..wide * (k + 1)).map(|v| v.iter().fold(0u32, |a, b| a << 8 | u32::from(*b)))
            };
            if kind & 15 == wanted {
                step = value(1).zip(value(2)).map(|(a, b)| f64::from(a + b) / 2.0);
            }
            rest = values.get(64 * wide..).unwrap_or(&[]);
        }
    }
    step
}

/// A JPEG's marks before its first scan; none of other formats.
fn headers(bytes: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let bytes = if bytes.starts_with(&[0xFF, 0xD8]) { bytes } else { &[] };
    marks(bytes).take_while(|(mark, ..)| *mark != 0xDA)
}

/// Of each component of a JPEG its name, its sampling factors and its table.
fn components(bytes: &[u8]) -> impl Iterator<Item = [u8; 3]> + '_ {
    // Huffman tables, arithmetic conditioning and an extension lie among the marks of frames.
    let is_frame = |mark: u8| matches!(mark, 0xC0..=0xCF) && !matches!(mark, 0xC4 | 0xC8 | 0xCC);
    let frame = headers(bytes).find(|(mark, ..)| is_frame(*mark)).map_or(&[][..], |f| f.2);
    // Length, precision, height, width, and how many.
    let count = usize::from(frame.get(7).copied().unwrap_or(0));
    (0..count).filter_map(|k| frame.get(8 + 3 * k..11 + 3 * k)?.try_into().ok())
}

/// The brightest value of a 16-bit picture, its alpha channel left out; none of any other.
fn brightest(picture: &image::DynamicImage) -> Option<u16> {
    use image::DynamicImage as D;
    fn most<P: image::Pixel<Subpixel = u16>>(
        picture: &image::ImageBuffer<P, Vec<u16>>,
        channels: usize,
    ) -> Option<u16> {
        picture.pixels().flat_map(|p| &p.channels()[..channels]).copied().max()
    }
    match picture {
        D::ImageLuma16(p) => most(p, 1),
        D::ImageLumaA16(p) => most(p, 1),
        D::ImageRgb16(p) => most(p, 3),
        D::ImageRgba16(p) => most(p, 3),
        _ => None,
    }
}

/// Whether a TIFF has a second page that is no smaller copy and no mask of the first (TIFF 6.0, NewSubfileType): frames that would go unseen.
fn has_pages(bytes: &[u8]) -> bool {
    if !(bytes.starts_with(b"II") || bytes.starts_with(b"MM")) {
        return false;
    }
    let Ok(mut tiff) = tiff::decoder::Decoder::new(Cursor::new(bytes)) else {
        return false;
    };
    // A list of pages that leads back to itself is the decoder's to refuse.
    for _ in 0..64 {
        if !tiff.more_images() || tiff.next_image().is_err() {
            return false;
        }
        let kind = tiff.find_tag_unsigned::<u32>(tiff::tags::Tag::NewSubfileType).ok().flatten().unwrap_or(0);
        if kind & 0b101 == 0 {
            return true;
        }
    }
    false
}

/// Decodes a PNG, JPEG, TIFF or BMP to 8-bit RGB (16-bit files are scaled, an alpha channel is dropped).
/// `path` only names it in errors.
///
/// # Errors
/// [`DecodeError::Damaged`] or [`DecodeError::Size`].
pub fn decode(bytes: &[u8], path: &Path) -> Result<Image, DecodeError> {
    let damaged = |message: String| {
        // How decoders say that there is no more to read.
        let ends = ["failed to fill whole buffer", "unexpected end of file"].iter().any(|e| message.contains(e));
        let message = if ends { "the file is cut off, or not wholly written".to_owned() } else { message };
        DecodeError::Damaged { path: path.to_owned(), message }
    };
    if bytes.is_empty() {
        return Err(damaged("the file is empty".into()));
    }
    let reader =
        || image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| damaged(e.to_string()));
    // The header first: a picture of 30,000 x 30,000 must not be decoded to learn that it is too large.
    let (width, height) = reader()?.into_dimensions().map_err(|e| damaged(e.to_string()))?;
    let size = |message: String| DecodeError::Size { path: path.to_owned(), width, height, message };
    if width > MAX_SIDE_PX || height > MAX_SIDE_PX {
        return Err(size(format!("no side may be longer than {MAX_SIDE_PX}")));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(size(format!("at most {} megapixels can be inspected", MAX_PIXELS / 1_000_000)));
    }
    if width < MIN_SIDE_PX || height < MIN_SIDE_PX {
        return Err(size(format!("no side may be shorter than {MIN_SIDE_PX}")));
    }
    if bytes.starts_with(&[0xFF, 0xD8]) && !jpeg_ends(bytes) {
        return Err(damaged("the file is cut off: a JPEG without its end".into()));
    }
    if let Some(share) = super::scan::damaged_from(bytes) {
        return Err(damaged(format!(
            "its JPEG data is damaged, from about {:.0} % of the picture on",
            100.0 * share
        )));
    }
    if has_pages(bytes) {
        return Err(damaged("a TIFF of several pages: write each page to a file of its own".into()));
    }
    let mut decoder = reader()?.into_decoder().map_err(|e| damaged(e.to_string()))?;
    // A phone's or camera's note of how it was held; what shows the picture to people turns it so.
    let turned = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = image::DynamicImage::from_decoder(decoder).map_err(|e| damaged(e.to_string()))?;
    picture.apply_orientation(turned);
    if let Some(most) = brightest(&picture).filter(|m| *m <= UNSCALED) {
        return Err(damaged(format!(
            "its 16-bit values end at {most} of 65535: a camera's 12 bits must be written over the whole range (times 16); if that is not it, there \
             was no light"
        )));
    }
    let coloured = picture.color().has_color();
    let rgb = picture.into_rgb8();
    // A grey camera's picture may be written in three channels.
    let same = |p: &[u8]| p[0].abs_diff(p[1]) <= 1 && p[1].abs_diff(p[2]) <= 1;
    let grey = !coloured || rgb.as_raw().chunks_exact(3).all(same);
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Image { width, height, data: rgb.into_raw(), grey })
}

/// Width and height of a picture as it lies in its file, and whether its EXIF tag turns it by a quarter when it is decoded; none where the file cannot be
/// read.
pub fn size_in_file(path: &Path) -> Option<([u32; 2], bool)> {
    use image::metadata::Orientation::{Rotate270, Rotate270FlipH, Rotate90, Rotate90FlipH};
    let mut decoder = image::ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_decoder().ok()?;
    let turned = matches!(decoder.orientation(), Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH));
    let (w, h) = decoder.dimensions();
    Some(([w, h], turned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiff::encoder::{colortype::Gray8, TiffEncoder};
    use tiff::tags::Tag;

    #[test]
    fn a_jpegs_frame_header_says_how_fine_its_colour_is() {
        // Markers of T.81: a table first, then the frame of so many components with these factors.
        let jpeg = |mark: u8, factors: &[u8]| {
            let mut out =
                vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 4, 0xC0, 0, 0xFF, 0xFF, mark, 0, 8 + 3 * factors.len() as u8];
            out.extend([8, 0, 16, 0, 16, factors.len() as u8]);
            for (k, f) in factors.iter().enumerate() {
                out.extend([k as u8 + 1, *f, 0]);
            }
            out
        };
        assert!(
            has_coarse_colour(&jpeg(0xC0, &[0x22, 0x11, 0x11]))
                && has_coarse_colour(&jpeg(0xC2, &[0x21, 0x11, 0x11]))
        );
        assert!(!has_coarse_colour(&jpeg(0xC0, &[0x11, 0x11, 0x11])) && !has_coarse_colour(&jpeg(0xC0, &[0x22])));
        assert!(!has_coarse_colour(b"\x89PNG") && !has_coarse_colour(&[0xFF, 0xD8, 0xFF]) && !has_coarse_colour(&[]));
        assert!(!has_coarse_colour(&jpeg(0xC0, &[0x22, 0x11, 0x11])[..20]));
    }

    #[test]
    fn a_jpegs_tables_say_how_coarsely_it_keeps_its_brightness() {
        let kept = |quality| {
            let mut out = vec![];
            let picture = image::GrayImage::from_fn(40, 40, |x, y| image::Luma([(x * y % 251) as u8]));
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality).encode_image(&picture).unwrap();
            jpeg_step(&out)
        };
        // Table K.1 of T.81 has 11 and 12 there at quality 50.
        assert_eq!(kept(50), Some(11.5));
        assert!(kept(100) == Some(1.0) && kept(75).unwrap() > kept(95).unwrap());
        assert!(
            jpeg_step(b"\x89PNG").is_none()
                && jpeg_step(&[0xFF, 0xD8, 0xFF, 0xDB, 0, 9, 0, 1]).is_none()
                && jpeg_step(&[]).is_none()
        );
    }

    #[test]
    fn a_picture_that_is_still_being_written_has_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]));
        for (name, format) in [("a.png", image::ImageFormat::Png), ("a.jpg", image::ImageFormat::Jpeg)] {
            let (path, mut bytes) = (dir.path().join(name), Cursor::new(vec![]));
            picture.write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            for (length, whole) in
                [(0, false), (bytes.len() / 2, false), (bytes.len() - 1, false), (bytes.len(), true)]
            {
                std::fs::write(&path, &bytes[..length]).unwrap();
                assert_eq!(ends(&path), whole, "{name}: {length} of {} bytes", bytes.len());
            }
        }
        assert!(!ends(&dir.path().join("none.png")));
    }

    /// Pages of 20 x 20 pixels with these values of NewSubfileType.
    fn pages(kinds: &[u32]) -> Vec<u8> {
        let mut out = Cursor::new(vec![]);
        let mut tiff = TiffEncoder::new(&mut out).unwrap();
        for kind in kinds {
            let mut page = tiff.new_image::<Gray8>(20, 20).unwrap();
            page.encoder().write_tag(Tag::NewSubfileType, *kind).unwrap();
            page.write_data(&[90; 400]).unwrap();
        }
        out.into_inner()
    }

    #[test]
    fn a_second_page_is_not_dropped_unsaid() {
        let path = Path::new("a.tif");
        assert_eq!(decode(&pages(&[0]), path).unwrap().data[0], 90);
        // A thumbnail or a mask behind the picture is no other frame.
        assert!(decode(&pages(&[0, 1, 4]), path).is_ok());
        for kinds in [&[0, 0][..], &[0, 1, 2]] {
            let error = decode(&pages(kinds), path).unwrap_err().to_string();
            assert!(error.contains("a.tif") && error.contains("several pages"), "{error}");
        }
    }

    #[test]
    fn twelve_bits_in_sixteen_are_told() {
        let file = |most: u16, alpha: u16| {
            let picture = image::ImageBuffer::from_fn(20, 20, |x, _| image::LumaA([most - x as u16, alpha]));
            let mut out = Cursor::new(vec![]);
            image::DynamicImage::ImageLumaA16(picture).write_to(&mut out, image::ImageFormat::Png).unwrap();
            decode(&out.into_inner(), Path::new("a.png"))
        };
        let error = file(4095, u16::MAX).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains("end at 4095"), "{error}");
        assert_eq!(file(4095 * 16, u16::MAX).unwrap().data[0], 255);
        assert!(file(4096, 0).is_ok());
    }
}
