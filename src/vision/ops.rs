//! Filters and shapes through OpenCV, on [`Plane`]s and [`Mask`]s. The Mats made here borrow the vectors: nothing
//! is copied on the way in or out.

use opencv::boxed_ref::{BoxedRef, BoxedRefMut};
use opencv::core::{
    self, BorderTypes, Mat, MatTraitConst, MatTraitConstManual, Point, Scalar, Size, Vector, CV_32F, CV_32S,
};
use opencv::imgproc;

use super::{Image, Mask, Plane, Rect, VisionError};

type Result<T> = std::result::Result<T, VisionError>;

fn view(p: &Plane) -> Result<BoxedRef<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_data(p.height as i32, p.width as i32, &p.data)?)
}

fn view_mut(p: &mut Plane) -> Result<BoxedRefMut<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_data_mut(p.height as i32, p.width as i32, &mut p.data)?)
}

fn mask_view(m: &Mask) -> Result<BoxedRef<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_data(m.height as i32, m.width as i32, &m.data)?)
}

fn mask_view_mut(m: &mut Mask) -> Result<BoxedRefMut<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_data_mut(m.height as i32, m.width as i32, &mut m.data)?)
}

/// Bytes of red, green and blue as OpenCV sees them.
fn colours(data: &[u8], width: usize, height: usize) -> Result<BoxedRef<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_bytes::<core::Vec3b>(height as i32, width as i32, data)?)
}

/// [`colours`] to be written to.
fn colours_mut(data: &mut [u8], width: usize, height: usize) -> Result<BoxedRefMut<'_, Mat>> {
    Ok(Mat::new_rows_cols_with_bytes_mut::<core::Vec3b>(height as i32, width as i32, data)?)
}

/// OpenCV's own threads are switched off: pieces run in parallel, and one piece on one thread gives the same
/// numbers whatever the machine.
pub fn single_threaded() -> Result<()> {
    core::set_num_threads(1)?;
    Ok(())
}

/// Gaussian blur with a standard deviation in pixels, borders reflected.
///
/// # Errors
/// Where OpenCV refuses.
pub fn gaussian(p: &Plane, sigma: f64) -> Result<Plane> {
    let mut out = Plane::filled(p.width, p.height, 0.0);
    {
        let mut dst = view_mut(&mut out)?;
        imgproc::gaussian_blur(
            &view(p)?,
            &mut dst,
            Size::new(0, 0),
            sigma,
            sigma,
            BorderTypes::BORDER_REFLECT_101 as i32,
        )?;
    }
    Ok(out)
}

/// Area-averaged shrinking by a whole factor; the last partial row and column of blocks are averaged over what
/// there is. Pixel (i, j) of the result covers the pixels `i*f..i*f+f` of the source.
pub fn shrink(p: &Plane, f: usize) -> Plane {
    if f <= 1 {
        return p.clone();
    }
    let (w, h) = (p.width.div_ceil(f), p.height.div_ceil(f));
    let mut out = Plane::filled(w, h, 0.0);
    let mut sums = vec![0.0f32; p.width];
    for (oy, line) in out.data.chunks_exact_mut(w).enumerate() {
        let rows = (oy * f)..((oy + 1) * f).min(p.height);
        sums.fill(0.0);
        for y in rows.clone() {
            for (s, v) in sums.iter_mut().zip(&p.data[y * p.width..(y + 1) * p.width]) {
                *s += v;
            }
        }
        for (v, block) in line.iter_mut().zip(sums.chunks(f)) {
            *v = block.iter().sum::<f32>() / (rows.len() * block.len()) as f32;
        }
    }
    out
}

/// [`shrink`] for pictures, rounded to whole grey levels.
pub fn shrink_image(image: &Image, f: usize) -> Image {
    let planes = [0, 1, 2].map(|c| shrink(&image.channel(c), f));
    let (width, height) = (planes[0].width, planes[0].height);
    let data = (0..width * height).flat_map(|i| [0, 1, 2].map(|c| planes[c].data[i].round() as u8)).collect();
    Image { width, height, data, grey: image.grey }
}

/// A mask on blocks of `f` by `f` pixels: inside where any pixel of the block is.
pub fn shrink_mask(mask: &Mask, f: usize) -> Mask {
    let mut out = Mask::empty(mask.width.div_ceil(f), mask.height.div_ceil(f));
    for (y, row) in mask.data.chunks_exact(mask.width).enumerate() {
        let to = &mut out.data[y / f * out.width..(y / f + 1) * out.width];
        for (v, block) in to.iter_mut().zip(row.chunks(f)) {
            if block.iter().any(|b| *b != 0) {
                *v = 255;
            }
        }
    }
    out
}

/// First derivatives (d/dx, d/dy) per pixel by the 3 x 3 Scharr kernel.
///
/// # Errors
/// Where OpenCV refuses.
pub fn gradient(p: &Plane) -> Result<(Plane, Plane)> {
    let one = |dx: i32, dy: i32| -> Result<Plane> {
        let mut out = Plane::filled(p.width, p.height, 0.0);
        {
            let mut dst = view_mut(&mut out)?;
            imgproc::scharr(
                &view(p)?,
                &mut dst,
                CV_32F,
                dx,
                dy,
                1.0 / 32.0,
                0.0,
                BorderTypes::BORDER_REFLECT_101 as i32,
            )?;
        }
        Ok(out)
    };
    Ok((one(1, 0)?, one(0, 1)?))
}

/// How steep a plane is, per pixel, after a Gaussian of that width.
///
/// # Errors
/// Where OpenCV refuses.
pub fn steepness(p: &Plane, sigma: f64) -> Result<Plane> {
    let (x, y) = gradient(&gaussian(p, sigma)?)?;
    let data = x.data.iter().zip(&y.data).map(|(x, y)| (x * x + y * y).sqrt()).collect();
    Ok(Plane { data, ..x })
}

/// Widths (standard deviations, pixels) of the two filters that tell how an edge is blurred.
const EDGE_FILTERS: [f64; 2] = [1.0, 2.0];
/// The share of a frame's pixels whose gradients are its strongest, and the least of those, in grey levels a pixel.
const STRONGEST: (f64, f32) = (0.01, 3.0);
/// Rows of a frame that are filtered together.
const BAND: usize = 128;
/// So many pixels tell that share as well as all do.
const ENOUGH: usize = 500_000;
/// Fewest ridges of strong gradient that tell, and which share of them counts as the sharpest.
const EDGES: (usize, f64) = (30, 0.1);

/// Standard deviation of the blur of a frame's sharpest strong edges, in pixels; none where it has too few. A step that is blurred by s has after a filter of
/// width f a gradient of 1 / sqrt(s^2 + f^2): two filters tell s. A thin line passes for sharper than it is. Large blurs read too small, for the noise.
///
/// # Errors
/// Where OpenCV refuses.
pub fn edge_blur(p: &Plane) -> Result<Option<f64>> {
    let w = p.width;
    let step = if p.data.len() > 4 * ENOUGH { 2 } else { 1 };
    // Of a large frame every second band tells as much. Only ridges of the coarse filter ask for the fine one.
    let coarse: Vec<(usize, Vec<f32>)> = (0..p.height.div_ceil(BAND))
        .step_by(step)
        .map(|k| {
            let rows = k * BAND..((k + 1) * BAND).min(p.height);
            let band = p.data[rows.start * w..rows.end * w].to_vec();
            Ok((rows.start, steepness(&Plane { width: w, height: rows.len(), data: band }, EDGE_FILTERS[1])?.data))
        })
        .collect::<Result<_>>()?;
    let all = coarse.iter().map(|b| b.1.len()).sum::<usize>();
    let mut some: Vec<f32> = coarse.iter().flat_map(|b| &b.1).step_by(all / ENOUGH + 1).copied().collect();
    let least = quantile(&mut some, 1.0 - STRONGEST.0).max(STRONGEST.1);
    let fine = Steepness::new(EDGE_FILTERS[0])?;
    let rim = fine.reach();
    let [f2, c2] = EDGE_FILTERS.map(|f| f * f);
    let mut blurs = Vec::new();
    for (top, coarse) in &coarse {
        for i in rim * w..coarse.len().saturating_sub(rim * w) {
            let (x, y) = (i % w, top + i / w);
            let v = coarse[i];
            if v < least
                || !(rim..w.saturating_sub(rim)).contains(&x)
                || [i - w - 1, i - w, i - w + 1, i - 1, i + 1, i + w - 1, i + w, i + w + 1]
                    .iter()
                    .any(|k| coarse[*k] > v)
            {
                continue;
            }
            let ratio = f64::from(fine.at(p, x, y) / v).powi(2);
            blurs.push(((c2 - f2 * ratio) / (ratio - 1.0).max(1e-3)).max(0.0).sqrt() as f32);
        }
    }
    Ok((blurs.len() >= EDGES.0).then(|| f64::from(quantile(&mut blurs, EDGES.1))))
}

/// [`steepness`] of single pixels.
struct Steepness {
    /// What a row and a column of pixels are weighted with: the Gaussian and Scharr's mean, and the Gaussian and the difference.
    mean: Vec<f32>,
    slope: Vec<f32>,
}

impl Steepness {
    fn new(sigma: f64) -> Result<Self> {
        let taps = 2 * (4.0 * sigma).round() as i32 + 1;
        let kernel = imgproc::get_gaussian_kernel(taps, sigma, CV_32F)?;
        let kernel: &[f32] = kernel.data_typed()?;
        let with = |three: [f32; 3]| {
            let mut out = vec![0.0; kernel.len() + 2];
            for (i, k) in kernel.iter().enumerate() {
                three.iter().enumerate().for_each(|(j, t)| out[i + j] += k * t);
            }
            out
        };
        Ok(Steepness { mean: with([3.0 / 16.0, 10.0 / 16.0, 3.0 / 16.0]), slope: with([-0.5, 0.0, 0.5]) })
    }

    /// How far from a border it can be asked.
    fn reach(&self) -> usize {
        self.mean.len() / 2
    }

    /// At a pixel at least [`Self::reach`] from every border.
    fn at(&self, p: &Plane, x: usize, y: usize) -> f32 {
        let (r, n) = (self.reach(), self.mean.len());
        let (mut dx, mut dy) = (0.0, 0.0);
        for j in 0..n {
            let from = (y + j - r) * p.width + x - r;
            let (mut slope, mut mean) = (0.0, 0.0);
            for ((v, s), m) in p.data[from..from + n].iter().zip(&self.slope).zip(&self.mean) {
                slope += v * s;
                mean += v * m;
            }
            dx += slope * self.mean[j];
            dy += mean * self.slope[j];
        }
        (dx * dx + dy * dy).sqrt()
    }
}

/// A side no shorter than `n` whose Fourier transform is quick.
///
/// # Errors
/// Where OpenCV refuses.
pub fn dft_size(n: usize) -> Result<usize> {
    let size = core::get_optimal_dft_size(n as i32)?;
    usize::try_from(size).map_err(|_| VisionError(format!("no Fourier transform of {n} pixels")))
}

/// Squared size of the Fourier transform of a plane, of its columns 0 to half the width (the rest mirrors them): frequency
/// (i, j) in cycles per pixel is (i / width, j / height), j beyond half the height counting as j - height.
///
/// # Errors
/// Where OpenCV refuses.
pub fn power_spectrum(p: &Plane) -> Result<Plane> {
    let mut spectrum = Mat::default();
    core::dft(&view(p)?, &mut spectrum, core::DFT_COMPLEX_OUTPUT, 0)?;
    let half = p.width / 2 + 1;
    let mut out = Plane::filled(half, p.height, 0.0);
    for (y, line) in out.data.chunks_exact_mut(half).enumerate() {
        for (v, c) in line.iter_mut().zip(spectrum.at_row::<core::Vec2f>(y as i32)?) {
            *v = c[0] * c[0] + c[1] * c[1];
        }
    }
    Ok(out)
}

/// Fills polygons given in pixels into a mask; parts outside are cut off. Sub-pixel corners count to 1/16 pixel.
///
/// # Errors
/// Where OpenCV refuses.
pub fn fill_polygons(mask: &mut Mask, polygons: &[Vec<[f64; 2]>], value: u8) -> Result<()> {
    const SHIFT: i32 = 4;
    let mut all: Vector<Vector<Point>> = Vector::new();
    for p in polygons {
        let q = |v: f64| (v * f64::from(1 << SHIFT)).round().clamp(-1e8, 1e8) as i32;
        all.push(p.iter().map(|c| Point::new(q(c[0]), q(c[1]))).collect());
    }
    if all.is_empty() {
        return Ok(());
    }
    let mut dst = mask_view_mut(mask)?;
    imgproc::fill_poly(&mut dst, &all, Scalar::all(f64::from(value)), imgproc::LINE_8, SHIFT, Point::new(0, 0))?;
    Ok(())
}

/// Sets every pixel whose centre lies within a circle.
pub fn fill_circle(mask: &mut Mask, x: f64, y: f64, radius: f64, value: u8) {
    if !(x.is_finite() && y.is_finite() && radius > 0.0) {
        return;
    }
    let y0 = (y - radius).ceil().max(0.0) as usize;
    let y1 = (y + radius).floor().min(mask.height as f64 - 1.0);
    if y1 < 0.0 {
        return;
    }
    for row in y0..=(y1 as usize) {
        let dy = row as f64 - y;
        let half = (radius * radius - dy * dy).max(0.0).sqrt();
        let x0 = (x - half).ceil().max(0.0);
        let x1 = (x + half).floor().min(mask.width as f64 - 1.0);
        if x1 >= x0 {
            mask.data[row * mask.width + x0 as usize..=row * mask.width + x1 as usize].fill(value);
        }
    }
}

/// Distance of every pixel inside to the nearest pixel outside, in pixels (0 outside). The picture's border is
/// no edge.
///
/// # Errors
/// Where OpenCV refuses.
pub fn distance_inside(mask: &Mask) -> Result<Plane> {
    let mut out = Plane::filled(mask.width, mask.height, 0.0);
    let Some(b) = mask.bounds() else { return Ok(out) };
    // Only the region's box, with a rim of outside where there is one.
    let (x0, y0) = (b.x.saturating_sub(1), b.y.saturating_sub(1));
    let (x1, y1) = ((b.x + b.width + 1).min(mask.width), (b.y + b.height + 1).min(mask.height));
    let area = core::Rect::new(x0 as i32, y0 as i32, (x1 - x0) as i32, (y1 - y0) as i32);
    let mut distance = Mat::default();
    imgproc::distance_transform(
        &Mat::roi(&mask_view(mask)?, area)?,
        &mut distance,
        imgproc::DIST_L2,
        imgproc::DIST_MASK_5,
        CV_32F,
    )?;
    for y in y0..y1 {
        let row = &distance.at_row::<f32>((y - y0) as i32)?[..x1 - x0];
        out.data[y * mask.width + x0..y * mask.width + x1].copy_from_slice(row);
    }
    Ok(out)
}

/// Pixels inside that lie at least `px` from anything outside.
///
/// # Errors
/// Where OpenCV refuses.
pub fn erode(mask: &Mask, px: f64) -> Result<Mask> {
    let d = distance_inside(mask)?;
    let data = d.data.iter().map(|v| if f64::from(*v) > px { 255 } else { 0 }).collect();
    Ok(Mask { width: mask.width, height: mask.height, data })
}

/// One connected region of a mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blob {
    /// Its value in the label picture, from 1.
    pub label: i32,
    /// Its box.
    pub bounds: Rect,
    /// Pixels.
    pub area: usize,
    /// Centre of gravity.
    pub x: f64,
    /// Centre of gravity.
    pub y: f64,
}

/// The 8-connected regions of a mask, in the order of their first pixel, and the label of every pixel (0 outside).
///
/// # Errors
/// Where OpenCV refuses.
pub fn components(mask: &Mask) -> Result<(Vec<Blob>, Vec<i32>)> {
    // OpenCV does not look before it reads.
    if mask.data.is_empty() {
        return Ok((vec![], vec![]));
    }
    let mut labels = vec![0i32; mask.data.len()];
    let mut stats = Mat::default();
    let mut centroids = Mat::default();
    let n = {
        let mut dst = Mat::new_rows_cols_with_data_mut(mask.height as i32, mask.width as i32, &mut labels)?;
        imgproc::connected_components_with_stats(&mask_view(mask)?, &mut dst, &mut stats, &mut centroids, 8, CV_32S)?
    };
    let mut blobs = Vec::with_capacity(n.max(1) as usize - 1);
    for label in 1..n {
        let s = |c: i32| -> Result<usize> { Ok((*stats.at_2d::<i32>(label, c)?).max(0) as usize) };
        blobs.push(Blob {
            label,
            bounds: Rect {
                x: s(imgproc::CC_STAT_LEFT)?,
                y: s(imgproc::CC_STAT_TOP)?,
                width: s(imgproc::CC_STAT_WIDTH)?,
                height: s(imgproc::CC_STAT_HEIGHT)?,
            },
            area: s(imgproc::CC_STAT_AREA)?,
            x: *centroids.at_2d::<f64>(label, 0)?,
            y: *centroids.at_2d::<f64>(label, 1)?,
        });
    }
    Ok((blobs, labels))
}

/// The outer outline of one labelled region, in pixels of the whole picture.
///
/// # Errors
/// Where OpenCV refuses.
pub fn blob_outline(labels: &[i32], width: usize, blob: &Blob) -> Result<Vec<[f64; 2]>> {
    let b = blob.bounds;
    let mut local = Mask::empty(b.width + 2, b.height + 2);
    for y in 0..b.height {
        for x in 0..b.width {
            if labels[(b.y + y) * width + b.x + x] == blob.label {
                local.data[(y + 1) * local.width + x + 1] = 255;
            }
        }
    }
    let mut contours: Vector<Vector<Point>> = Vector::new();
    imgproc::find_contours(
        &mask_view(&local)?,
        &mut contours,
        imgproc::RETR_EXTERNAL,
        imgproc::CHAIN_APPROX_SIMPLE,
        Point::new(b.x as i32 - 1, b.y as i32 - 1),
    )?;
    let mut best: Vec<[f64; 2]> = Vec::new();
    for c in contours {
        if c.len() > best.len() {
            best = c.iter().map(|p| [f64::from(p.x), f64::from(p.y)]).collect();
        }
    }
    Ok(best)
}

/// A rectangle at any angle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turned {
    /// Centre.
    pub x: f64,
    /// Centre.
    pub y: f64,
    /// Along its first axis.
    pub width: f64,
    /// Along its second.
    pub height: f64,
    /// Direction of the first axis, radians from x towards y.
    pub angle: f64,
}

/// The smallest rectangle at any angle about points; none of no points.
///
/// # Errors
/// Where OpenCV refuses.
pub fn min_area_rect(points: &[[f64; 2]]) -> Result<Option<Turned>> {
    if points.is_empty() {
        return Ok(None);
    }
    let points: Vector<core::Point2f> = points.iter().map(|p| core::Point2f::new(p[0] as f32, p[1] as f32)).collect();
    let r = imgproc::min_area_rect(&points)?;
    Ok(Some(Turned {
        x: f64::from(r.center.x),
        y: f64::from(r.center.y),
        width: f64::from(r.size.width),
        height: f64::from(r.size.height),
        angle: f64::from(r.angle).to_radians(),
    }))
}

/// A strip of `width x height` pixels out of a plane whose pixel (u, v) is the plane at `to_source` of it, as [`warp_image`], but only
/// the part that is needed is touched; beyond the plane its border is reflected.
///
/// # Errors
/// Where OpenCV refuses.
pub fn strip(p: &Plane, to_source: &[[f64; 3]; 2], width: usize, height: usize) -> Result<Plane> {
    let [[a, b, tx], [c, d, ty]] = *to_source;
    let (w, h) = (width as f64 - 1.0, height as f64 - 1.0);
    let k = a.hypot(c).max(b.hypot(d));
    let room = 3.0 * k + 3.0;
    let cut = |values: [f64; 4], size: usize| -> (usize, usize) {
        let low = values.iter().copied().fold(f64::MAX, f64::min) - room;
        let high = values.iter().copied().fold(f64::MIN, f64::max) + room;
        let low = low.clamp(0.0, size as f64 - 1.0) as usize;
        (low, (high.ceil().clamp(low as f64 + 1.0, size as f64)) as usize)
    };
    let (x0, x1) = cut([tx, tx + a * w, tx + b * h, tx + a * w + b * h], p.width);
    let (y0, y1) = cut([ty, ty + c * w, ty + d * h, ty + c * w + d * h], p.height);
    let mut part = Plane::filled(x1 - x0, y1 - y0, 0.0);
    for (y, row) in (y0..y1).zip(part.data.chunks_exact_mut(x1 - x0)) {
        row.copy_from_slice(&p.data[y * p.width + x0..y * p.width + x1]);
    }
    if k > 1.25 {
        // What lies between the new pixels is averaged in.
        part = gaussian(&part, 0.45 * k)?;
    }
    let back = [[a, b, tx - x0 as f64], [c, d, ty - y0 as f64]];
    let mut out = Plane::filled(width, height, 0.0);
    warp(&view(&part)?, &mut view_mut(&mut out)?, [width, height], &back, None)?;
    Ok(out)
}

/// The picture turned by `angle_deg` counter-clockwise (as seen, y down) about its centre, bilinear, border reflected,
/// on a canvas large enough for all of it. With it comes the map back: a point of the result to a point of the source.
///
/// # Errors
/// Where OpenCV refuses.
pub fn rotate(p: &Plane, angle_deg: f64, border: Option<f32>) -> Result<(Plane, [[f64; 3]; 2])> {
    let (size, back) = turned(p, angle_deg);
    let mut out = Plane::filled(size[0], size[1], 0.0);
    warp(&view(p)?, &mut view_mut(&mut out)?, size, &back, border)?;
    Ok((out, back))
}

/// [`rotate`] for several planes of one size, which costs little more than for one; outside is 0.
///
/// # Errors
/// Where OpenCV refuses.
pub fn rotate_together(planes: &[Plane], angle_deg: f64) -> Result<(Vec<Plane>, [[f64; 3]; 2])> {
    let [first, second] = planes else {
        let mut out = Vec::with_capacity(planes.len());
        let mut back = [[0.0; 3]; 2];
        for p in planes {
            let (t, b) = rotate(p, angle_deg, Some(0.0))?;
            out.push(t);
            back = b;
        }
        return Ok((out, back));
    };
    let (size, back) = turned(first, angle_deg);
    // Two planes as one of two channels.
    let both: Vec<core::Vec2f> =
        first.data.iter().zip(&second.data).map(|(a, b)| core::Vec2f::from([*a, *b])).collect();
    let mut result = vec![core::Vec2f::default(); size[0] * size[1]];
    warp(
        &Mat::new_rows_cols_with_data(first.height as i32, first.width as i32, &both)?,
        &mut Mat::new_rows_cols_with_data_mut(size[1] as i32, size[0] as i32, &mut result)?,
        size,
        &back,
        Some(0.0),
    )?;
    let channel = |c: usize| Plane { width: size[0], height: size[1], data: result.iter().map(|v| v[c]).collect() };
    Ok((vec![channel(0), channel(1)], back))
}

/// The size of the canvas of a turn, and the map back.
fn turned(p: &Plane, angle_deg: f64) -> ([usize; 2], [[f64; 3]; 2]) {
    let (c, s) = (angle_deg.to_radians().cos(), angle_deg.to_radians().sin());
    let (w, h) = (p.width as f64, p.height as f64);
    let (nw, nh) = ((w * c.abs() + h * s.abs()).ceil() as usize, (w * s.abs() + h * c.abs()).ceil() as usize);
    // source = R * (target - target centre) + source centre
    let (cx, cy) = ((w - 1.0) / 2.0, (h - 1.0) / 2.0);
    let (tx, ty) = ((nw as f64 - 1.0) / 2.0, (nh as f64 - 1.0) / 2.0);
    ([nw, nh], [[c, -s, cx - c * tx + s * ty], [s, c, cy - s * tx - c * ty]])
}

fn warp(
    src: &impl core::ToInputArray,
    dst: &mut impl core::ToOutputArray,
    size: [usize; 2],
    back: &[[f64; 3]; 2],
    border: Option<f32>,
) -> Result<()> {
    imgproc::warp_affine(
        src,
        dst,
        &Mat::from_slice_2d(back)?,
        Size::new(size[0] as i32, size[1] as i32),
        imgproc::INTER_LINEAR | imgproc::WARP_INVERSE_MAP,
        if border.is_some() { BorderTypes::BORDER_CONSTANT as i32 } else { BorderTypes::BORDER_REFLECT_101 as i32 },
        Scalar::all(f64::from(border.unwrap_or(0.0))),
    )?;
    Ok(())
}

/// A square window of `side` pixels that is `width` pixels of the picture wide about (x, y), its x axis turned by `turn`
/// radians (counter-clockwise as seen). Beyond the picture its border is repeated; where pixels become fewer they are
/// smoothed first.
///
/// # Errors
/// Where OpenCV refuses.
pub fn window(image: &Image, x: f64, y: f64, side: usize, width: f64, turn: f64) -> Result<Image> {
    let k = width / side as f64;
    let reach = (0.75 * width + 3.0 * k + 3.0) as i64;
    let cut = |at: f64, size: usize| -> (usize, usize) {
        let at = at as i64;
        let low = (at - reach).clamp(0, size as i64 - 1) as usize;
        (low, ((at + reach).clamp(low as i64 + 1, size as i64)) as usize)
    };
    let (x0, x1) = cut(x, image.width);
    let (y0, y1) = cut(y, image.height);
    let (w, h) = (x1 - x0, y1 - y0);
    let all = colours(&image.data, image.width, image.height)?;
    let part = Mat::roi(&all, core::Rect::new(x0 as i32, y0 as i32, w as i32, h as i32))?;
    let smooth = if k > 1.25 {
        let mut smooth = Mat::default();
        // What lies beyond the part does not count: windows are cut the same way for learning.
        let border = BorderTypes::BORDER_REFLECT_101 as i32 | BorderTypes::BORDER_ISOLATED as i32;
        imgproc::gaussian_blur(&part, &mut smooth, Size::new(0, 0), 0.45 * k, 0.0, border)?;
        Some(smooth)
    } else {
        None
    };
    let (s, c) = turn.sin_cos();
    let (s, c) = (s * k, c * k);
    let centre = (side as f64 - 1.0) / 2.0;
    let back = [[c, s, x - x0 as f64 - (c + s) * centre], [-s, c, y - y0 as f64 - (c - s) * centre]];
    let data = match &smooth {
        Some(smooth) => warped(smooth, &back, side, side)?,
        None => warped(&part, &back, side, side)?,
    };
    Ok(Image { width: side, height: side, data, grey: image.grey })
}

/// Colours of a picture of `width x height` pixels whose pixel (u, v) is the source at `back` of it, bilinear; beyond the source
/// its border is repeated.
fn warped(source: &impl core::ToInputArray, back: &[[f64; 3]; 2], width: usize, height: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; 3 * width * height];
    imgproc::warp_affine(
        source,
        &mut colours_mut(&mut out, width, height)?,
        &Mat::from_slice_2d(back)?,
        Size::new(width as i32, height as i32),
        imgproc::INTER_LINEAR | imgproc::WARP_INVERSE_MAP,
        BorderTypes::BORDER_REPLICATE as i32,
        Scalar::all(0.0),
    )?;
    Ok(out)
}

/// A picture of `width x height` pixels whose pixel (u, v) is the source at `to_source` of it (`[a, b, c]` for x and for y).
/// Beyond the source its border is repeated; where pixels become fewer they are smoothed first.
///
/// # Errors
/// Where OpenCV refuses.
pub fn warp_image(image: &Image, to_source: &[[f64; 3]; 2], width: usize, height: usize) -> Result<Image> {
    let source = colours(&image.data, image.width, image.height)?;
    let [[a, b, _], [c, d, _]] = *to_source;
    let (kx, ky) = (a.hypot(c), b.hypot(d));
    let data = if kx.max(ky) > 1.25 {
        // What lies between the new pixels is averaged in, along each axis by its own factor (a piece is turned little).
        let sigma = |k: f64| if k > 1.25 { 0.45 * k } else { 0.01 };
        let straight = a.abs() >= c.abs() && d.abs() >= b.abs();
        let (sx, sy) = if straight { (sigma(kx), sigma(ky)) } else { (sigma(kx.max(ky)), sigma(kx.max(ky))) };
        let mut smooth = Mat::default();
        imgproc::gaussian_blur(&source, &mut smooth, Size::new(0, 0), sx, sy, BorderTypes::BORDER_REPLICATE as i32)?;
        warped(&smooth, to_source, width, height)?
    } else {
        warped(&source, to_source, width, height)?
    };
    Ok(Image { width, height, data, grey: image.grey })
}

/// A plane of another size, bilinear; pixel centres keep their places.
///
/// # Errors
/// Where OpenCV refuses.
pub fn resize(p: &Plane, width: usize, height: usize) -> Result<Plane> {
    let mut out = Plane::filled(width, height, 0.0);
    {
        let mut dst = view_mut(&mut out)?;
        imgproc::resize(
            &view(p)?,
            &mut dst,
            Size::new(width as i32, height as i32),
            0.0,
            0.0,
            imgproc::INTER_LINEAR,
        )?;
    }
    Ok(out)
}

/// A picture of fewer pixels, each the mean of what it covers.
///
/// # Errors
/// Where OpenCV refuses.
pub fn area(image: &Image, width: usize, height: usize) -> Result<Image> {
    let source = colours(&image.data, image.width, image.height)?;
    let mut data = vec![0; 3 * width * height];
    let size = Size::new(width as i32, height as i32);
    imgproc::resize(&source, &mut colours_mut(&mut data, width, height)?, size, 0.0, 0.0, imgproc::INTER_AREA)?;
    Ok(Image { width, height, data, grey: image.grey })
}

/// The square of `side` pixels whose first pixel is `first`, enlarged to `larger` pixels a side, bicubic; beyond the picture its border is
/// repeated.
///
/// # Errors
/// Where OpenCV refuses.
pub fn enlarged(image: &Image, first: [i64; 2], side: usize, larger: usize) -> Result<Image> {
    let within = |v: i64, n: usize| v.clamp(0, n as i64 - 1) as usize;
    let mut source = Vec::with_capacity(3 * side * side);
    for y in 0..side {
        let row = within(first[1] + y as i64, image.height) * image.width;
        for x in 0..side {
            let i = 3 * (row + within(first[0] + x as i64, image.width));
            source.extend_from_slice(&image.data[i..i + 3]);
        }
    }
    let source = colours(&source, side, side)?;
    let mut data = vec![0; 3 * larger * larger];
    let size = Size::new(larger as i32, larger as i32);
    imgproc::resize(&source, &mut colours_mut(&mut data, larger, larger)?, size, 0.0, 0.0, imgproc::INTER_CUBIC)?;
    Ok(Image { width: larger, height: larger, data, grey: image.grey })
}

/// [`area`] for masks: inside where nearly all of what a pixel covers is.
///
/// # Errors
/// Where OpenCV refuses.
pub fn area_mask(mask: &Mask, width: usize, height: usize) -> Result<Mask> {
    let mut out = Mask::empty(width, height);
    let size = Size::new(width as i32, height as i32);
    imgproc::resize(&mask_view(mask)?, &mut mask_view_mut(&mut out)?, size, 0.0, 0.0, imgproc::INTER_AREA)?;
    out.data.iter_mut().for_each(|v| *v = if *v > 250 { 255 } else { 0 });
    Ok(out)
}

/// Rows become columns.
///
/// # Errors
/// Where OpenCV refuses.
pub fn transpose(p: &Plane) -> Result<Plane> {
    let mut out = Plane::filled(p.height, p.width, 0.0);
    core::transpose(&view(p)?, &mut view_mut(&mut out)?)?;
    Ok(out)
}

/// A picture of the same size whose pixel (x, y) is the source at `from(x, y)`, bicubic; beyond the source its border is repeated.
///
/// # Errors
/// Where OpenCV refuses.
pub fn remap(image: &Image, from: impl Fn(f64, f64) -> [f64; 2]) -> Result<Image> {
    let (w, h) = (image.width, image.height);
    let map: Vec<core::Vec2f> =
        (0..w * h).map(|i| core::Vec2f::from(from((i % w) as f64, (i / w) as f64).map(|v| v as f32))).collect();
    let mut data = vec![0; 3 * w * h];
    imgproc::remap(
        &colours(&image.data, w, h)?,
        &mut colours_mut(&mut data, w, h)?,
        &Mat::new_rows_cols_with_data(h as i32, w as i32, &map)?,
        &Mat::default(),
        imgproc::INTER_CUBIC,
        BorderTypes::BORDER_REPLICATE as i32,
        Scalar::all(0.0),
    )?;
    Ok(Image { width: w, height: h, data, grey: image.grey })
}

/// Median of values (the lower of the two middle ones); NaN for none. Reorders the slice.
pub fn median(values: &mut [f32]) -> f32 {
    quantile(values, 0.5)
}

/// The value below which a share `q` of the values lies; NaN for none. Reorders the slice.
pub fn quantile(values: &mut [f32], q: f64) -> f32 {
    if values.is_empty() {
        return f32::NAN;
    }
    let k = ((values.len() - 1) as f64 * q.clamp(0.0, 1.0)).floor() as usize;
    *values.select_nth_unstable_by(k, f32::total_cmp).1
}

/// Robust standard deviation: 1.4826 times the median absolute deviation. Reorders the slice.
pub fn robust_sigma(values: &mut [f32]) -> f32 {
    let m = median(values);
    for v in values.iter_mut() {
        *v = (*v - m).abs();
    }
    1.4826 * median(values)
}

/// Any 2-D correlation kernel (odd sides), borders reflected.
///
/// # Errors
/// Where OpenCV refuses.
pub fn filter(p: &Plane, kernel: &Plane) -> Result<Plane> {
    let mut out = Plane::filled(p.width, p.height, 0.0);
    {
        let mut dst = view_mut(&mut out)?;
        imgproc::filter_2d(
            &view(p)?,
            &mut dst,
            CV_32F,
            &view(kernel)?,
            Point::new(-1, -1),
            0.0,
            BorderTypes::BORDER_REFLECT_101 as i32,
        )?;
    }
    Ok(out)
}

/// Whether a point lies in a polygon (even-odd rule).
pub fn contains(polygon: &[[f64; 2]], q: [f64; 2]) -> bool {
    let n = polygon.len();
    (0..n)
        .filter(|i| {
            let (a, b) = (polygon[*i], polygon[(*i + 1) % n]);
            (a[1] > q[1]) != (b[1] > q[1]) && q[0] < a[0] + (q[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        })
        .count()
        % 2
        == 1
}

/// Area of a polygon in square pixels (shoelace formula).
pub fn polygon_area(p: &[[f64; 2]]) -> f64 {
    let n = p.len();
    (0..n).map(|i| p[i][0] * p[(i + 1) % n][1] - p[(i + 1) % n][0] * p[i][1]).sum::<f64>().abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steepness_of_one_pixel_is_that_of_all() {
        let mut rng = fastrand::Rng::with_seed(2);
        let p = Plane { width: 40, height: 30, data: (0..1200).map(|_| 200.0 * rng.f32()).collect() };
        let all = steepness(&p, 1.0).unwrap();
        let one = Steepness::new(1.0).unwrap();
        for (x, y) in [(5, 5), (20, 13), (34, 24)] {
            assert!((one.at(&p, x, y) - all.data[y * 40 + x]).abs() < 1e-3);
        }
    }

    #[test]
    fn the_blur_of_edges_is_told() {
        // A disc whose edge is a step blurred by a Gaussian.
        let disc = |sigma: f64| {
            let mut p = Plane::filled(200, 160, 40.0);
            for y in 0..160 {
                for x in 0..200 {
                    let r = (x as f64 - 100.0).hypot(y as f64 - 80.0);
                    p.data[y * 200 + x] = if r < 50.0 { 180.0 } else { 40.0 };
                }
            }
            gaussian(&p, sigma).unwrap()
        };
        for sigma in [1.0, 2.0, 3.0, 5.0] {
            let told = edge_blur(&disc(sigma)).unwrap().unwrap();
            assert!((told - sigma).abs() < 0.25 + 0.1 * sigma, "{told} for {sigma}");
        }
        assert_eq!(edge_blur(&Plane::filled(200, 160, 90.0)).unwrap(), None);
    }

    #[test]
    fn an_enlarged_part_keeps_its_places_and_repeats_the_border() {
        let (width, height) = (20, 16);
        let data =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [(10 * x) as u8, (10 * y) as u8, 77])).collect();
        let image = Image { width, height, data, grey: false };
        let out = enlarged(&image, [4, 2], 8, 16).unwrap();
        assert_eq!((out.width, out.height), (16, 16));
        for y in 4..12 {
            for x in 4..12 {
                let i = 3 * (y * 16 + x);
                // Pixel x of the larger part lies at (x + 0.5) / 2 - 0.5 of the smaller.
                let at = |k: usize, first: f64| 10.0 * (first + (k as f64 + 0.5) / 2.0 - 0.5);
                assert!((f64::from(out.data[i]) - at(x, 4.0)).abs() <= 1.0, "{x} {y}: {}", out.data[i]);
                assert!((f64::from(out.data[i + 1]) - at(y, 2.0)).abs() <= 1.0, "{x} {y}: {}", out.data[i + 1]);
                assert_eq!(out.data[i + 2], 77);
            }
        }
        let beyond = enlarged(&image, [-30, -30], 8, 16).unwrap();
        assert!(beyond.data.chunks_exact(3).all(|p| p == [0, 0, 77]));
    }

    #[test]
    fn blur_keeps_the_mean_and_the_buffer() {
        let mut p = Plane::filled(32, 20, 0.0);
        p.data[10 * 32 + 16] = 100.0;
        let b = gaussian(&p, 2.0).unwrap();
        assert!((b.data.iter().sum::<f32>() - 100.0).abs() < 0.1);
        assert!(b.at(16, 10) > b.at(18, 10));
    }

    #[test]
    fn components_and_outline() {
        let mut m = Mask::empty(40, 30);
        fill_circle(&mut m, 10.0, 12.0, 5.0, 255);
        fill_circle(&mut m, 30.0, 20.0, 3.0, 255);
        let (blobs, labels) = components(&m).unwrap();
        assert_eq!(blobs.len(), 2);
        assert!((blobs[0].x - 10.0).abs() < 1e-9 && (blobs[0].y - 12.0).abs() < 1e-9);
        let o = blob_outline(&labels, 40, &blobs[0]).unwrap();
        assert!(o.iter().all(|p| ((p[0] - 10.0).hypot(p[1] - 12.0) - 5.0).abs() < 1.0), "{o:?}");
    }

    #[test]
    fn a_strip_is_cut_along_a_turned_rectangle() {
        let mut m = Mask::empty(80, 60);
        let (s, c) = 30f64.to_radians().sin_cos();
        let at = |u: f64, v: f64| [40.0 + c * u - s * v, 30.0 + s * u + c * v];
        fill_polygons(&mut m, &[vec![at(-20.0, -5.0), at(20.0, -5.0), at(20.0, 5.0), at(-20.0, 5.0)]], 255).unwrap();
        let (blobs, labels) = components(&m).unwrap();
        let r = min_area_rect(&blob_outline(&labels, 80, &blobs[0]).unwrap()).unwrap().unwrap();
        assert!((r.x - 40.0).abs() < 1.0 && (r.y - 30.0).abs() < 1.0, "{r:?}");
        assert!((r.width.max(r.height) - 40.0).abs() < 2.0 && (r.width.min(r.height) - 10.0).abs() < 2.0, "{r:?}");
        assert_eq!(min_area_rect(&[]).unwrap(), None);
        // A ramp along the rectangle's axis.
        let data = (0..80 * 60).map(|i| (f64::from(i % 80) * c + f64::from(i / 80) * s) as f32).collect();
        let ramp = Plane { width: 80, height: 60, data };
        let from = at(-15.0, -4.0);
        let cut = strip(&ramp, &[[c, -s, from[0]], [s, c, from[1]]], 31, 9).unwrap();
        for v in 0..9 {
            assert!((cut.at(30, v) - cut.at(0, v) - 30.0).abs() < 0.2, "{} {}", cut.at(0, v), cut.at(30, v));
        }
    }

    #[test]
    fn rotation_maps_back() {
        let mut p = Plane::filled(61, 41, 0.0);
        p.data[10 * 61 + 50] = 1000.0;
        let (r, back) = rotate(&p, 30.0, Some(0.0)).unwrap();
        let k = (0..r.data.len()).max_by(|a, b| r.data[*a].total_cmp(&r.data[*b])).unwrap();
        let (x, y) = ((k % r.width) as f64, (k / r.width) as f64);
        let sx = back[0][0] * x + back[0][1] * y + back[0][2];
        let sy = back[1][0] * x + back[1][1] * y + back[1][2];
        assert!((sx - 50.0).abs() < 1.0 && (sy - 10.0).abs() < 1.0, "{sx} {sy}");
    }
}
