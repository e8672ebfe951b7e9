//! In which direction the metal's texture runs: the power of the picture over direction and frequency, in cycles per mm on the
//! metal and relative to the camera's noise.

use super::metal::END;
use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// Sectors of 5 degrees that directions are counted in.
const SECTORS: usize = 36;
/// Bands of frequency in cycles per mm, an octave each. Streaks of brushing are 30 to 250 um wide.
const BANDS: [[f64; 2]; 3] = [[4.0, 8.0], [8.0, 16.0], [16.0, 32.0]];
/// Beyond this the lens passes little, and what is there is noise; in cycles per pixel.
const NOISE_FROM: f64 = 0.45;
/// The reach of the local mean and scatter that the texture is seen against, in mm: two thirds of the longest wave of the bands.
const REACH_MM: f64 = 0.15;
/// Where a wide texture is clipped, in local scatters: dust, pits and scratches must not set its direction.
const CLIP: f32 = 3.0;
/// Finer than this the picture is averaged down, in mm a pixel.
const FINEST_MM: f64 = 0.005;
/// A band needs this many values of the spectrum.
const LEAST_BINS: u32 = 24;
/// Side of a block, in mm: three waves of the lowest band, and small against a piece.
const BLOCK_MM: f64 = 0.8;
/// A block counts with this share of it bare metal.
const LEAST_BLOCK: f64 = 0.5;
/// The least bare metal whose direction is told, in blocks.
const LEAST_BLOCKS: f64 = 2.0;

/// In which direction a frame's metal is textured. Directions are those in which the lines run, in radians counter-clockwise from
/// the frame's x axis (y up), 0 to pi.
#[derive(Debug, Clone, PartialEq)]
pub struct Texture {
    /// Of all of the bare metal.
    pub lines: f64,
    /// Block by block.
    pub blocks: Vec<f64>,
}

/// The directions of the bare metal's texture. None where there is too little of it. `mm_per_px` is the frame's scale.
///
/// # Errors
/// Where OpenCV refuses.
pub fn describe(image: &Image, bare: &Mask, mm_per_px: f64) -> Result<Option<Texture>, VisionError> {
    let Some(b) = bare.bounds() else { return Ok(None) };
    let f = (FINEST_MM / mm_per_px).ceil().clamp(1.0, 16.0) as usize;
    let mm = mm_per_px * f as f64;
    let mut weight = Plane::filled(b.width, b.height, 0.0);
    let mut grey = Plane::filled(b.width, b.height, 0.0);
    for y in 0..b.height {
        for x in 0..b.width {
            let i = (y + b.y) * image.width + x + b.x;
            let p = &image.data[3 * i..3 * i + 3];
            grey.data[y * b.width + x] = (u32::from(p[0]) + u32::from(p[1]) + u32::from(p[2])) as f32 / 3.0;
            if bare.data[i] != 0 && p[0].min(p[1]).min(p[2]) < END {
                weight.data[y * b.width + x] = 1.0;
            }
        }
    }
    if f > 1 {
        grey = ops::shrink(&grey, f);
        weight = ops::shrink(&weight, f);
        weight.data.iter_mut().for_each(|w| *w = if *w > 0.99 { 1.0 } else { 0.0 });
    }
    let (w, h) = (grey.width, grey.height);
    let area_px: f64 = weight.data.iter().map(|v| f64::from(*v)).sum();
    let side = (BLOCK_MM / mm).round().max(16.0) as usize;
    if area_px < LEAST_BLOCKS * (side * side) as f64 {
        return Ok(None);
    }
    let frame = Frame { z: even(&grey, &weight, REACH_MM / mm)?, weight };
    let whole = Bins::new([ops::dft_size(w)?, ops::dft_size(h)?], mm);
    let Some(lines) = frame.lines(&whole, [0, 0], [w, h], false)? else { return Ok(None) };
    let mut blocks = Vec::new();
    let n = ops::dft_size(side)?;
    let bins = Bins::new([n, n], mm);
    // The grid is centred on the metal's box.
    let (nx, ny) = (w / side, h / side);
    let (ox, oy) = ((w - nx * side) / 2, (h - ny * side) / 2);
    for j in 0..ny {
        for i in 0..nx {
            blocks.extend(frame.lines(&bins, [ox + i * side, oy + j * side], [side, side], true)?);
        }
    }
    Ok(Some(Texture { lines, blocks }))
}

/// The picture's difference from the local mean over the local scatter, clipped; 0 off the metal.
fn even(grey: &Plane, weight: &Plane, sigma: f64) -> Result<Plane, VisionError> {
    let (w, h) = (grey.width, grey.height);
    let k = ((sigma / 3.0).floor() as usize).clamp(1, 16);
    let s = sigma / k as f64;
    // Whole blocks, so that enlarging puts every pixel where it was.
    let (pw, ph) = (w.div_ceil(k) * k, h.div_ceil(k) * k);
    let padded = |of: &dyn Fn(usize) -> f32| {
        let mut p = Plane::filled(pw, ph, 0.0);
        for y in 0..h {
            for x in 0..w {
                p.data[y * pw + x] = of(y * w + x);
            }
        }
        ops::shrink(&p, k)
    };
    let mut inverse = ops::gaussian(&padded(&|i| weight.data[i]), s)?;
    inverse.data.iter_mut().for_each(|v| *v = 1.0 / v.max(1e-3));
    let mean_of = |of: &dyn Fn(usize) -> f32| -> Result<Plane, VisionError> {
        let mut m = ops::gaussian(&padded(of), s)?;
        m.data.iter_mut().zip(&inverse.data).for_each(|(v, i)| *v *= i);
        ops::resize(&m, pw, ph)
    };
    let mean = mean_of(&|i| grey.data[i] * weight.data[i])?;
    let level = |i: usize| mean.data[i / w * pw + i % w];
    let mut z = Plane::filled(w, h, 0.0);
    for (i, v) in z.data.iter_mut().enumerate() {
        *v = (grey.data[i] - level(i)) * weight.data[i];
    }
    let square = mean_of(&|i| z.data[i] * z.data[i])?;
    let mut contrast = Plane::filled(w, h, 0.0);
    let mut clipped = vec![false; w * h];
    for (i, clip) in clipped.iter_mut().enumerate() {
        // 0.29 grey levels: what rounding to 8 bits scatters.
        let scatter = square.data[i / w * pw + i % w].max(0.0).sqrt().hypot(0.29);
        contrast.data[i] = scatter / level(i).max(2.0);
        let v = z.data[i] / scatter;
        *clip = v.abs() >= CLIP;
        z.data[i] = v.clamp(-CLIP, CLIP);
    }
    let rest = mean_of(&|i| z.data[i])?;
    for (i, v) in z.data.iter_mut().enumerate() {
        *v = (*v - rest.data[i / w * pw + i % w]) * weight.data[i];
    }
    Ok(z)
}

/// Where the values of a spectrum of one size belong.
struct Bins {
    size: [usize; 2],
    /// Per value of the half plane: sector and band; [`NONE`] for none, [`NOISE`] for noise.
    place: Vec<[u8; 2]>,
    angle: Vec<f32>,
}

const NONE: u8 = 255;
const NOISE: u8 = 254;

impl Bins {
    fn new(size: [usize; 2], mm: f64) -> Self {
        let half = size[0] / 2 + 1;
        let mut place = Vec::with_capacity(half * size[1]);
        let mut angle = Vec::with_capacity(half * size[1]);
        for j in 0..size[1] {
            let fy = if 2 * j <= size[1] { j as f64 } else { j as f64 - size[1] as f64 } / size[1] as f64;
            for i in 0..half {
                let fx = i as f64 / size[0] as f64;
                let r = fx.hypot(fy);
                // Up in the frame is against y.
                let a = (-fy).atan2(fx).rem_euclid(std::f64::consts::PI);
                angle.push(a as f32);
                let sector = ((a / std::f64::consts::PI * SECTORS as f64).round() as usize % SECTORS) as u8;
                let band = BANDS.iter().position(|b| r / mm >= b[0] && r / mm < b[1]);
                place.push([sector, if r > NOISE_FROM { NOISE } else { band.map_or(NONE, |b| b as u8) }]);
            }
        }
        Bins { size, place, angle }
    }
}

struct Frame {
    z: Plane,
    weight: Plane,
}

impl Frame {
    /// The direction of a part's lines. None where too little of it is metal.
    fn lines(
        &self,
        bins: &Bins,
        [x0, y0]: [usize; 2],
        [w, h]: [usize; 2],
        taper: bool,
    ) -> Result<Option<f64>, VisionError> {
        let hann = |i: usize, n: usize| (std::f64::consts::PI * (i as f64 + 0.5) / n as f64).sin().powi(2) as f32;
        let columns: Vec<f32> = (0..w).map(|i| if taper { hann(i, w) } else { 1.0 }).collect();
        let mut part = Plane::filled(bins.size[0], bins.size[1], 0.0);
        let (mut norm, mut full) = (0f64, 0f64);
        for y in 0..h {
            let row = if taper { hann(y, h) } else { 1.0 };
            for (x, column) in columns.iter().enumerate() {
                let i = (y + y0) * self.z.width + x + x0;
                let t = row * column;
                full += f64::from(t * t);
                if self.weight.data[i] != 0.0 {
                    norm += f64::from(t * t);
                    part.data[y * bins.size[0] + x] = self.z.data[i] * t;
                }
            }
        }
        if taper && norm < LEAST_BLOCK * full || norm == 0.0 {
            return Ok(None);
        }
        let power = ops::power_spectrum(&part)?;
        let mut sums = [[0f64; SECTORS]; BANDS.len()];
        let mut counts = [[0u32; SECTORS]; BANDS.len()];
        let (mut noise, mut noise_n) = (0f64, 0u32);
        for (p, [sector, band]) in power.data.iter().zip(&bins.place) {
            let (p, s) = (f64::from(*p) / norm, usize::from(*sector));
            if *band == NOISE {
                noise += p;
                noise_n += 1;
            } else if *band != NONE {
                sums[usize::from(*band)][s] += p;
                counts[usize::from(*band)][s] += 1;
            }
        }
        let noise = (noise / f64::from(noise_n.max(1))).max(1e-4);
        // Logarithm of power over noise, direction by direction, over what is usual; 0.05 keeps it finite where there is none.
        let mut total = [0f64; SECTORS];
        for (sums, counts) in sums.iter().zip(&counts) {
            let n = counts.iter().sum::<u32>();
            if n < LEAST_BINS {
                continue;
            }
            let all = sums.iter().sum::<f64>() / f64::from(n);
            let mut profile = [0f64; SECTORS];
            for (s, v) in profile.iter_mut().enumerate() {
                let near = [((s + SECTORS - 1) % SECTORS, 1.0), (s, 2.0), ((s + 1) % SECTORS, 1.0)];
                let count: f64 = near.iter().map(|(i, k)| k * f64::from(counts[*i])).sum();
                let sum: f64 = near.iter().map(|(i, k)| k * sums[*i]).sum();
                *v = ((if count > 0.0 { sum / count } else { all }) / noise + 0.05).ln();
            }
            let usual = median(&profile);
            total.iter_mut().zip(&profile).for_each(|(t, v)| *t += v - usual);
        }
        let top = (0..SECTORS).max_by(|a, b| total[*a].total_cmp(&total[*b])).unwrap_or(0);
        let across = centre(bins, &power, top);
        Ok(Some((across + std::f64::consts::FRAC_PI_2).rem_euclid(std::f64::consts::PI)))
    }
}

/// The direction of the peak in a sector, finer than the sector: the mean over 15 degrees to both sides of what exceeds the
/// least of them.
fn centre(bins: &Bins, power: &Plane, top: usize) -> f64 {
    const FINE: usize = 180;
    let (mut sum, mut count) = (vec![0f64; FINE], vec![0u32; FINE]);
    for ((p, place), a) in power.data.iter().zip(&bins.place).zip(&bins.angle) {
        if usize::from(place[1]) < BANDS.len() {
            let k = (f64::from(*a) / std::f64::consts::PI * FINE as f64).round() as usize % FINE;
            sum[k] += f64::from(*p);
            count[k] += 1;
        }
    }
    let middle = (top * FINE / SECTORS) as i64;
    let near: Vec<(f64, f64)> = (-15..=15)
        .filter_map(|d: i64| {
            let k = (middle + d).rem_euclid(FINE as i64) as usize;
            (count[k] > 0).then(|| (d as f64, sum[k] / f64::from(count[k])))
        })
        .collect();
    let least = near.iter().map(|n| n.1).fold(f64::MAX, f64::min);
    // Squared, so that the peak itself weighs and not its feet.
    let weight: f64 = near.iter().map(|n| (n.1 - least).powi(2)).sum();
    let shift =
        if weight > 0.0 { near.iter().map(|n| n.0 * (n.1 - least).powi(2)).sum::<f64>() / weight } else { 0.0 };
    (middle as f64 + shift) / FINE as f64 * std::f64::consts::PI
}

/// The upper median; 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(0.0)
}
