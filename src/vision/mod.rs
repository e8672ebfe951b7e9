//! Pixel work. Planes and masks are plain vectors; OpenCV does the heavy lifting inside and no OpenCV type
//! leaves this module. Pixel coordinates: x right, y down, the centre of the first pixel at (0, 0).

pub mod about;
pub mod decode;
pub mod motion;
pub mod ops;
mod scan;

pub use decode::{decode, read_image, size_in_file, DecodeError};

/// An 8-bit RGB picture, row by row, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
    /// Whether the three channels are the same everywhere (the file was grey).
    pub grey: bool,
}

/// One channel of 32-bit floats, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height` values.
    pub data: Vec<f32>,
}

/// A region: 255 inside, 0 outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height` bytes.
    pub data: Vec<u8>,
}

/// An axis-parallel box of pixels: columns `x..x + width`, rows `y..y + height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Why a pixel operation failed: OpenCV refused it.
#[derive(Debug, thiserror::Error)]
#[error("OpenCV: {0}")]
pub struct VisionError(pub String);

impl From<opencv::Error> for VisionError {
    fn from(e: opencv::Error) -> Self {
        VisionError(e.message)
    }
}

impl Plane {
    /// A plane of one value.
    pub fn filled(width: usize, height: usize, value: f32) -> Self {
        Plane { width, height, data: vec![value; width * height] }
    }

    /// The value at a pixel.
    #[inline]
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.data[y * self.width + x]
    }

    /// A part of the plane, which must lie within it.
    pub fn cut(&self, r: Rect) -> Plane {
        let line = |y: usize| y * self.width + r.x..y * self.width + r.x + r.width;
        let data = (r.y..r.y + r.height).flat_map(|y| self.data[line(y)].iter().copied()).collect();
        Plane { width: r.width, height: r.height, data }
    }

    /// The bilinear value at a point, clamped to the picture.
    #[inline]
    pub fn sample(&self, x: f64, y: f64) -> f32 {
        let [v] = bilinear([self.width, self.height], x, y, |x, y| [self.at(x, y)]);
        v
    }
}

/// The bilinear values at a point of a picture of `size`, clamped to it.
#[inline]
pub(crate) fn bilinear<const N: usize>(
    [width, height]: [usize; 2],
    x: f64,
    y: f64,
    at: impl Fn(usize, usize) -> [f32; N],
) -> [f32; N] {
    let x = x.clamp(0.0, (width - 1) as f64);
    let y = y.clamp(0.0, (height - 1) as f64);
    // A picture's sides fit into 32 bits, and casting to those is quicker.
    let (x0, y0) = (x as u32 as usize, y as u32 as usize);
    let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
    let (fx, fy) = ((x - x0 as f64) as f32, (y - y0 as f64) as f32);
    let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
    std::array::from_fn(|k| {
        let top = a[k] * (1.0 - fx) + b[k] * fx;
        let low = c[k] * (1.0 - fx) + d[k] * fx;
        top * (1.0 - fy) + low * fy
    })
}

impl Mask {
    /// An empty mask.
    pub fn empty(width: usize, height: usize) -> Self {
        Mask { width, height, data: vec![0; width * height] }
    }

    /// A full mask.
    pub fn full(width: usize, height: usize) -> Self {
        Mask { width, height, data: vec![255; width * height] }
    }

    /// What it leaves out.
    pub fn inverse(&self) -> Self {
        Mask { data: self.data.iter().map(|v| 255 - v).collect(), ..*self }
    }

    /// A part of the mask, which must lie within it.
    pub fn cut(&self, r: Rect) -> Mask {
        let line = |y: usize| y * self.width + r.x..y * self.width + r.x + r.width;
        let data = (r.y..r.y + r.height).flat_map(|y| self.data[line(y)].iter().copied()).collect();
        Mask { width: r.width, height: r.height, data }
    }

    /// Whether a pixel is inside.
    #[inline]
    pub fn at(&self, x: usize, y: usize) -> bool {
        self.data[y * self.width + x] != 0
    }

    /// Pixels inside.
    pub fn count(&self) -> usize {
        self.data.iter().filter(|v| **v != 0).count()
    }

    /// The smallest box around the region, or none where it is empty.
    pub fn bounds(&self) -> Option<Rect> {
        let (mut x0, mut x1, mut y0, mut y1) = (usize::MAX, 0, usize::MAX, 0);
        for (y, row) in self.data.chunks_exact(self.width).enumerate() {
            let Some(first) = row.iter().position(|v| *v != 0) else { continue };
            let last = row.iter().rposition(|v| *v != 0).unwrap_or(first);
            x0 = x0.min(first);
            x1 = x1.max(last);
            y0 = y0.min(y);
            y1 = y;
        }
        (x0 != usize::MAX).then(|| Rect { x: x0, y: y0, width: x1 - x0 + 1, height: y1 - y0 + 1 })
    }
}

impl Image {
    /// Red, green and blue at a point, bilinear, clamped to the picture.
    #[inline]
    pub fn sample(&self, x: f64, y: f64) -> [f32; 3] {
        let (cx, cy) = (x.clamp(0.0, (self.width - 1) as f64), y.clamp(0.0, (self.height - 1) as f64));
        let (x0, y0) = (cx as u32 as usize, cy as u32 as usize);
        let i = 3 * (y0 * self.width + x0);
        let j = i + 3 * self.width;
        // Within the picture both rows are read at once, which takes a third less time.
        if let (true, Some(p), Some(q)) = (x0 + 1 < self.width, self.data.get(i..i + 6), self.data.get(j..j + 6)) {
            let (fx, fy) = ((cx - x0 as f64) as f32, (cy - y0 as f64) as f32);
            return std::array::from_fn(|k| {
                let top = f32::from(p[k]) * (1.0 - fx) + f32::from(p[k + 3]) * fx;
                let low = f32::from(q[k]) * (1.0 - fx) + f32::from(q[k + 3]) * fx;
                top * (1.0 - fy) + low * fy
            });
        }
        bilinear([self.width, self.height], x, y, |x, y| {
            let i = 3 * (y * self.width + x);
            [0, 1, 2].map(|c| f32::from(self.data[i + c]))
        })
    }

    /// [`Image::sample`] at so many points in a line, equally far from one another: `to` is told the number and the values of each.
    pub fn along(&self, from: [f64; 2], step: [f64; 2], count: usize, mut to: impl FnMut(usize, [f32; 3])) {
        let at = |i: usize| [0, 1].map(|k| from[k] + i as f64 * step[k]);
        // Two pixels to the right and one row below are read without asking where the picture ends.
        let inside =
            |[x, y]: [f64; 2]| x >= 0.0 && y >= 0.0 && x + 3.0 <= self.width as f64 && y + 2.0 <= self.height as f64;
        if count == 0 || !(inside(at(0)) && inside(at(count - 1))) {
            return (0..count).map(at).enumerate().for_each(|(i, [x, y])| to(i, self.sample(x, y)));
        }
        let below = 3 * self.width;
        let four = |p: &[u8]| -> [f32; 4] { std::array::from_fn(|k| f32::from(p[k])) };
        for i in 0..count {
            let [x, y] = at(i);
            let (x0, y0) = (x as i32, y as i32);
            let (fx, fy) = ((x - f64::from(x0)) as f32, (y - f64::from(y0)) as f32);
            let k = 3 * (y0 as usize * self.width + x0 as usize);
            let (p, q) = (&self.data[k..k + 7], &self.data[k + below..k + below + 7]);
            let (a, b, c, d) = (four(&p[..4]), four(&p[3..]), four(&q[..4]), four(&q[3..]));
            let v: [f32; 4] = std::array::from_fn(|k| {
                let top = a[k] * (1.0 - fx) + b[k] * fx;
                let low = c[k] * (1.0 - fx) + d[k] * fx;
                top * (1.0 - fy) + low * fy
            });
            to(i, [v[0], v[1], v[2]]);
        }
    }

    /// A part of the picture, which must lie within it.
    pub fn cut(&self, r: Rect) -> Image {
        let line = |y: usize| 3 * (y * self.width + r.x)..3 * (y * self.width + r.x + r.width);
        let data = (r.y..r.y + r.height).flat_map(|y| self.data[line(y)].iter().copied()).collect();
        Image { width: r.width, height: r.height, data, grey: self.grey }
    }

    /// One channel (0 red, 1 green, 2 blue) as floats of 0 to 255.
    pub fn channel(&self, c: usize) -> Plane {
        let data = self.data.chunks_exact(3).map(|p| f32::from(p[c])).collect();
        Plane { width: self.width, height: self.height, data }
    }

    /// The mean of the three channels, 0 to 255. Not luma: on gold the blue channel is as good a witness as green.
    pub fn mean(&self) -> Plane {
        let data = self
            .data
            .chunks_exact(3)
            .map(|p| (u32::from(p[0]) + u32::from(p[1]) + u32::from(p[2])) as f32 / 3.0)
            .collect();
        Plane { width: self.width, height: self.height, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_a_line_are_those_looked_at_one_by_one() {
        let (width, height) = (40, 30);
        let data = (0..3 * width * height).map(|i| ((i * 2_654_435_761) >> 11) as u8).collect();
        let image = Image { width, height, data, grey: false };
        // Within the picture, along its last columns and rows, out of it, and no point at all.
        let lines = [
            ([5.3, 4.1], [0.71, 0.33], 40),
            ([36.9, 2.0], [0.02, 0.9], 25),
            ([2.0, 27.9], [1.2, 0.02], 30),
            ([30.0, 20.0], [0.9, 0.8], 20),
            ([-4.0, -3.0], [1.0, 1.0], 40),
            ([5.0, 5.0], [1.0, 1.0], 0),
        ];
        for (from, step, count) in lines {
            let mut seen = 0;
            image.along(from, step, count, |i, v| {
                assert_eq!(i, seen);
                let t = i as f64;
                assert_eq!(v, image.sample(from[0] + t * step[0], from[1] + t * step[1]));
                seen += 1;
            });
            assert_eq!(seen, count);
        }
    }
}
