//! Which pixels are defect: mask files, polygons and COCO's run lengths.

use std::path::{Path, PathBuf};

use crate::vision::Mask;

/// Where a sample's mask comes from; it is only made when asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskSource {
    /// Nothing is defect.
    Empty,
    /// The union of these mask files: any value but black is defect (in a JPEG, which blurs, above half).
    Files(Vec<PathBuf>),
    /// Polygons and run lengths.
    Shapes {
        /// Closed polygons in pixels.
        polygons: Vec<Vec<[f64; 2]>>,
        /// Run lengths of the whole picture.
        rles: Vec<Rle>,
    },
}

/// COCO's run lengths: columns from left to right, each from top to bottom, background first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rle {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Lengths of the runs in pixels, background and defect in turn.
    pub counts: Vec<u64>,
}

impl MaskSource {
    /// The mask at a picture's size.
    ///
    /// # Errors
    /// A message that names the file, where a mask cannot be read or has another size than the picture.
    pub fn load(&self, width: usize, height: usize) -> Result<Mask, String> {
        let mut mask = Mask::empty(width, height);
        match self {
            MaskSource::Empty => {}
            MaskSource::Files(files) => {
                for file in files {
                    add_file(&mut mask, file)?;
                }
            }
            MaskSource::Shapes { polygons, rles } => {
                for polygon in polygons {
                    fill_polygon(&mut mask, polygon);
                }
                for rle in rles {
                    let m = decode_rle(rle)?;
                    if (m.width, m.height) != (width, height) {
                        return Err(format!(
                            "the run lengths are of {} x {} pixels, the picture has {width} x {height}",
                            m.width, m.height
                        ));
                    }
                    union(&mut mask, &m.data);
                }
            }
        }
        Ok(mask)
    }
}

fn union(mask: &mut Mask, other: &[u8]) {
    for (a, b) in mask.data.iter_mut().zip(other) {
        *a |= *b;
    }
}

fn add_file(mask: &mut Mask, path: &Path) -> Result<(), String> {
    let at = |message: String| format!("{}: not a readable mask: {message}", path.display());
    let bytes = crate::files::read(path).map_err(|e| format!("{}: cannot read: {e}", path.display()))?;
    let reader =
        image::ImageReader::new(std::io::Cursor::new(&bytes)).with_guessed_format().map_err(|e| at(e.to_string()))?;
    let lossy = reader.format() == Some(image::ImageFormat::Jpeg);
    // 16 bits, so that a class number of 1 in a 16-bit file does not round to black.
    let luma = reader.decode().map_err(|e| at(e.to_string()))?.into_luma16();
    let (w, h) = (luma.width() as usize, luma.height() as usize);
    if (w, h) != (mask.width, mask.height) {
        return Err(format!(
            "{}: the mask has {w} x {h} pixels, the picture {} x {}",
            path.display(),
            mask.width,
            mask.height
        ));
    }
    let above = if lossy { u16::MAX / 2 } else { 0 };
    for (out, v) in mask.data.iter_mut().zip(luma.as_raw()) {
        if *v > above {
            *out = 255;
        }
    }
    Ok(())
}

/// Fills a closed polygon: every pixel whose centre is inside or on an edge (even-odd), and the pixels its corners lie in, so
/// that a pit smaller than a pixel is not lost.
pub fn fill_polygon(mask: &mut Mask, polygon: &[[f64; 2]]) {
    let (w, h) = (mask.width as f64, mask.height as f64);
    for p in polygon {
        let (x, y) = (p[0].round(), p[1].round());
        if x >= 0.0 && y >= 0.0 && x < w && y < h {
            mask.data[y as usize * mask.width + x as usize] = 255;
        }
    }
    if polygon.len() < 3 {
        return;
    }
    let top = polygon.iter().map(|p| p[1]).fold(f64::INFINITY, f64::min).ceil().max(0.0);
    let low = polygon.iter().map(|p| p[1]).fold(f64::NEG_INFINITY, f64::max).floor().min(h - 1.0);
    if top > low {
        return;
    }
    let mut crossings = Vec::new();
    for row in top as usize..=low as usize {
        let y = row as f64;
        // Rows that an edge lies on belong to the polygon above it as to the one below: both rules, united.
        for above in [|v: f64, y: f64| v <= y, |v: f64, y: f64| v < y] {
            crossings.clear();
            for (i, a) in polygon.iter().enumerate() {
                let b = polygon[(i + 1) % polygon.len()];
                if above(a[1], y) != above(b[1], y) {
                    crossings.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
                }
            }
            crossings.sort_by(f64::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let (x0, x1) = (pair[0].ceil().max(0.0), pair[1].floor().min(w - 1.0));
                if x0 <= x1 {
                    mask.data[row * mask.width + x0 as usize..=row * mask.width + x1 as usize].fill(255);
                }
            }
        }
    }
}

/// Unrolls run lengths.
///
/// # Errors
/// A message, where the runs do not add up to the picture.
pub fn decode_rle(rle: &Rle) -> Result<Mask, String> {
    let size = rle.width.checked_mul(rle.height).filter(|n| *n <= 1 << 30).ok_or("the size is too large")?;
    let sum = rle.counts.iter().try_fold(0u64, |a, c| a.checked_add(*c));
    if sum != Some(size as u64) {
        return Err(format!(
            "the run lengths add up to {} pixels, {} x {} has {size}",
            sum.map_or("too many".to_owned(), |s| s.to_string()),
            rle.width,
            rle.height
        ));
    }
    let mut mask = Mask::empty(rle.width, rle.height);
    let mut i = 0usize;
    for (k, count) in rle.counts.iter().enumerate() {
        for _ in 0..*count {
            if k % 2 == 1 {
                mask.data[(i % rle.height) * rle.width + i / rle.height] = 255;
            }
            i += 1;
        }
    }
    Ok(mask)
}

/// Unpacks COCO's compressed counts: six bits a character from `0` (48), low five bits of the value first, bit
/// 32 says that more follow, the last one's bit 16 is the sign; from the third value on each is a difference to
/// the one two before (`rleFrString` of cocoapi's `maskApi.c`).
///
/// # Errors
/// A message, where the text is no such string.
pub fn decode_counts(text: &str) -> Result<Vec<u64>, String> {
    let mut counts: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(first) = bytes.next() {
        let (mut value, mut shift, mut byte) = (0i64, 0u32, first);
        loop {
            if !(48..112).contains(&byte) {
                return Err(format!("`{}` is no character of compressed counts", char::from(byte)));
            }
            let bits = i64::from(byte - 48);
            if shift > 55 {
                return Err("a run length is too large".into());
            }
            value |= (bits & 31) << shift;
            shift += 5;
            if bits & 32 == 0 {
                if bits & 16 != 0 {
                    value |= -1i64 << shift;
                }
                break;
            }
            byte = bytes.next().ok_or("the compressed counts end within a value")?;
        }
        if counts.len() > 2 {
            value += counts[counts.len() - 2];
        }
        counts.push(value);
    }
    counts.into_iter().map(|c| u64::try_from(c).map_err(|_| format!("a run length of {c}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths_go_down_the_columns() {
        // 3 wide, 2 high; background 1, defect 3, background 2: pixels (0,1), (1,0), (1,1).
        let m = decode_rle(&Rle { width: 3, height: 2, counts: vec![1, 3, 2] }).unwrap();
        assert_eq!(m.data, [0, 255, 0, 255, 255, 0]);
    }

    #[test]
    fn run_lengths_must_fill_the_picture() {
        let e = decode_rle(&Rle { width: 3, height: 2, counts: vec![1, 3] }).unwrap_err();
        assert!(e.contains("4 pixels"), "{e}");
    }

    /// `rleToString` of cocoapi's `maskApi.c`, to go the way back.
    fn encode(counts: &[u64]) -> String {
        let mut out = String::new();
        for (i, c) in counts.iter().enumerate() {
            let mut x = *c as i64;
            if i > 2 {
                x -= counts[i - 2] as i64;
            }
            loop {
                let mut c = (x & 0x1f) as u8;
                x >>= 5;
                let more = if c & 0x10 != 0 { x != -1 } else { x != 0 };
                if more {
                    c |= 0x20;
                }
                out.push(char::from(c + 48));
                if !more {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn compressed_counts() {
        // By hand: 6 = `6`; 1 = `1`; 40 = 8 + 32 -> `X` (8 | 32 + 48), then 1 -> `1`; 4 - 1 = 3 -> `3`.
        assert_eq!(decode_counts("61X13").unwrap(), [6, 1, 40, 4]);
        for counts in [vec![0u64, 5, 100, 3, 1, 200_000, 17], vec![31, 32, 33, 15, 16, 17]] {
            assert_eq!(decode_counts(&encode(&counts)).unwrap(), counts);
        }
        assert!(decode_counts("6 1").is_err());
        assert!(decode_counts("X").is_err());
    }

    #[test]
    fn a_square_polygon_fills_its_pixels() {
        let mut m = Mask::empty(5, 5);
        fill_polygon(&mut m, &[[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]);
        assert_eq!(m.count(), 9);
        assert!(m.at(1, 1) && m.at(3, 3) && !m.at(4, 4) && !m.at(0, 0));
    }

    #[test]
    fn a_polygon_beyond_the_picture_is_cut() {
        let mut m = Mask::empty(4, 4);
        fill_polygon(&mut m, &[[-10.0, -10.0], [20.0, -10.0], [20.0, 20.0], [-10.0, 20.0]]);
        assert_eq!(m.count(), 16);
        let mut m = Mask::empty(4, 4);
        fill_polygon(&mut m, &[[-10.0, -10.0], [-5.0, -10.0], [-5.0, -5.0]]);
        assert_eq!(m.count(), 0);
    }
}
