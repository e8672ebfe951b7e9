//! What the metal's texture looks like, as numbers: the power of the picture over direction and frequency, in cycles per
//! mm on the metal and relative to the camera's noise. No grey level and no direction of the piece is in them.

use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// Sectors of 5 degrees that directions are counted in.
const SECTORS: usize = 36;
/// Bands of frequency in cycles per mm, an octave each. Streaks of brushing, grain and engraved lines are 20 to 250 um wide.
const BANDS: [[f64; 2]; 4] = [[2.0, 4.0], [4.0, 8.0], [8.0, 16.0], [16.0, 32.0]];
/// Frequencies whose regularity is looked at, one by one, in cycles per mm.
const RADII: std::ops::Range<usize> = 3..20;
/// Beyond this the lens passes little, and what is there is noise; in cycles per pixel.
const NOISE_FROM: f64 = 0.45;
/// The reach of the local mean and scatter that the texture is seen against, in mm: a third of the longest wave of the bands.
const REACH_MM: f64 = 0.15;
/// Where a wide texture is clipped, in local scatters: dust, pits and scratches must not set its direction.
const CLIP: f32 = 3.0;
/// Finer than this the picture is averaged down, in mm a pixel.
const FINEST_MM: f64 = 0.005;
/// A band needs this many values of the spectrum.
const LEAST_BINS: u32 = 24;
/// Side of a block, in mm: four waves of the lowest band but one, and small against a piece.
pub const BLOCK_MM: f64 = 0.8;
/// A block counts with this share of it bare metal.
const LEAST_BLOCK: f64 = 0.5;
/// The least bare metal that is described at all, in blocks.
pub const LEAST_BLOCKS: f64 = 2.0;
/// A channel at its end.
const END: u8 = 252;

/// The lights that the contract names and that show a surface: those a network knows.
const LIGHTS: [&str; 6] = ["dome", "diffuse", "ring", "bars", "coaxial", "dark_field"];

/// Numbers of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// Values, as [`names`] has them.
    pub values: Vec<f32>,
    /// Direction in which the texture's lines run, radians counter-clockwise from the frame's x axis (y up), 0 to pi.
    pub lines: f64,
    /// Centre in the frame's pixels.
    pub at_px: [f64; 2],
    /// Side of the square in the frame's pixels; for the whole metal that of a square of the same area.
    pub side_px: f64,
    /// Bare metal in mm2.
    pub area_mm2: f64,
    /// Place on the grid of blocks.
    pub cell: [usize; 2],
}

/// A frame's metal, described.
#[derive(Debug, Clone, PartialEq)]
pub struct Texture {
    /// All of the bare metal.
    pub whole: Descriptor,
    /// Block by block, row by row.
    pub blocks: Vec<Descriptor>,
    /// Share of the bare metal with every channel at its end.
    pub white: f64,
}

/// The names of a descriptor's values, in their order.
pub fn names() -> Vec<String> {
    let mut out = Vec::new();
    for what in ["level", "peak", "at5", "at10", "at20", "across", "second", "second5", "spread"] {
        out.extend((0..BANDS.len()).map(|b| format!("{what}_{b}")));
    }
    let rest = [
        "peak_all",
        "line1",
        "line2",
        "line4",
        "line9",
        "cross1",
        "cross2",
        "cross4",
        "cross9",
        "top1",
        "top3",
        "bright10",
        "bright50",
        "bright99",
        "contrast50",
        "contrast90",
        "contrast10",
        "noise",
        "noise_rel",
        "clipped",
        "area",
        "kurtosis",
        "skewness",
        "second_at",
        "has_3",
        "scale",
    ];
    out.extend(rest.map(str::to_owned));
    out.extend(LIGHTS.map(|l| format!("light_{l}")));
    out
}

/// Describes the bare metal of a frame. None where there is too little of it.
///
/// `bare` is the bare metal, `metal` all of the piece; `mm_per_px` the frame's scale.
///
/// # Errors
/// Where OpenCV refuses.
pub fn describe(
    image: &Image,
    bare: &Mask,
    metal: &Mask,
    light: &str,
    mm_per_px: f64,
) -> Result<Option<Texture>, VisionError> {
    let Some(b) = bare.bounds() else { return Ok(None) };
    let f = (FINEST_MM / mm_per_px).ceil().clamp(1.0, 16.0) as usize;
    let mm = mm_per_px * f as f64;
    let (mut white, mut all) = (0u64, 0u64);
    let mut weight = Plane::filled(b.width, b.height, 0.0);
    let mut grey = Plane::filled(b.width, b.height, 0.0);
    for y in 0..b.height {
        for x in 0..b.width {
            let i = (y + b.y) * image.width + x + b.x;
            let p = &image.data[3 * i..3 * i + 3];
            grey.data[y * b.width + x] = (u32::from(p[0]) + u32::from(p[1]) + u32::from(p[2])) as f32 / 3.0;
            if bare.data[i] != 0 {
                all += 1;
                if p[0].min(p[1]).min(p[2]) >= END {
                    white += 1;
                } else {
                    weight.data[y * b.width + x] = 1.0;
                }
            }
        }
    }
    let white = white as f64 / all.max(1) as f64;
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
    let local = Local::new(&grey, &weight, REACH_MM / mm)?;
    // How bright all of the piece is.
    let mut levels: Vec<f32> = Vec::new();
    for y in (0..image.height).step_by(2) {
        for x in (0..image.width).step_by(2) {
            if metal.at(x, y) {
                let i = 3 * (y * image.width + x);
                levels.push(image.data[i..i + 3].iter().map(|v| f32::from(*v)).sum::<f32>() / 3.0);
            }
        }
    }
    let piece = [0.1, 0.5, 0.99].map(|q| f64::from(ops::quantile(&mut levels, q)).max(1.0).ln());
    let frame = Frame { grey: &grey, weight: &weight, local: &local, piece, light, mm };
    let whole_at =
        |x: f64, y: f64| [(x + 0.5) * f as f64 - 0.5 + b.x as f64, (y + 0.5) * f as f64 - 0.5 + b.y as f64];
    let size = [ops::dft_size(w)?, ops::dft_size(h)?];
    let Some(mut whole) = frame.describe(&Bins::new(size, mm), [0, 0], [w, h], false)? else { return Ok(None) };
    whole.at_px = whole_at((w as f64 - 1.0) / 2.0, (h as f64 - 1.0) / 2.0);
    whole.side_px = area_px.sqrt() * f as f64;
    let mut blocks = Vec::new();
    let n = ops::dft_size(side)?;
    let bins = Bins::new([n, n], mm);
    // The grid is centred on the metal's box.
    let (nx, ny) = (w / side, h / side);
    let (ox, oy) = ((w - nx * side) / 2, (h - ny * side) / 2);
    for j in 0..ny {
        for i in 0..nx {
            let (x, y) = (ox + i * side, oy + j * side);
            if let Some(mut d) = frame.describe(&bins, [x, y], [side, side], true)? {
                d.at_px = whole_at(x as f64 + (side as f64 - 1.0) / 2.0, y as f64 + (side as f64 - 1.0) / 2.0);
                d.side_px = (side * f) as f64;
                d.cell = [i, j];
                blocks.push(d);
            }
        }
    }
    Ok(Some(Texture { whole, blocks, white }))
}

/// Local mean and scatter, and what differs from them.
struct Local {
    /// Difference from the local mean over the local scatter, clipped; 0 off the metal.
    z: Plane,
    /// Local scatter over local mean.
    contrast: Plane,
    /// Whether the difference was clipped.
    clipped: Vec<bool>,
}

impl Local {
    fn new(grey: &Plane, weight: &Plane, sigma: f64) -> Result<Self, VisionError> {
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
        Ok(Local { z, contrast, clipped })
    }
}

/// Where the values of a spectrum of one size belong.
struct Bins {
    size: [usize; 2],
    /// Per value of the half plane: sector, band, radius; 255 for none. The noise has the band 254.
    place: Vec<[u8; 3]>,
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
                let per_mm = r / mm;
                place.push(if r > NOISE_FROM {
                    [sector, NOISE, NONE]
                } else {
                    let band = BANDS.iter().position(|b| per_mm >= b[0] && per_mm < b[1]);
                    let radius = per_mm as usize;
                    let radius = RADII.contains(&radius).then(|| radius - RADII.start);
                    [sector, band.map_or(NONE, |b| b as u8), radius.map_or(NONE, |r| r as u8)]
                });
            }
        }
        Bins { size, place, angle }
    }
}

struct Frame<'a> {
    grey: &'a Plane,
    weight: &'a Plane,
    local: &'a Local,
    /// Logarithms of quantiles of the piece's brightness.
    piece: [f64; 3],
    light: &'a str,
    mm: f64,
}

impl Frame<'_> {
    fn describe(
        &self,
        bins: &Bins,
        [x0, y0]: [usize; 2],
        [w, h]: [usize; 2],
        taper: bool,
    ) -> Result<Option<Descriptor>, VisionError> {
        let hann = |i: usize, n: usize| (std::f64::consts::PI * (i as f64 + 0.5) / n as f64).sin().powi(2) as f32;
        let columns: Vec<f32> = (0..w).map(|i| if taper { hann(i, w) } else { 1.0 }).collect();
        let mut part = Plane::filled(bins.size[0], bins.size[1], 0.0);
        let (mut norm, mut full) = (0f64, 0f64);
        let (mut n, mut sum, mut clipped) = (0u64, 0f64, 0u64);
        let (mut m2, mut m3, mut m4) = (0f64, 0f64, 0f64);
        let mut contrast: Vec<f32> = Vec::new();
        let stride = if taper { 2 } else { 3 };
        for y in 0..h {
            let row = if taper { hann(y, h) } else { 1.0 };
            for (x, column) in columns.iter().enumerate().take(w) {
                let i = (y + y0) * self.grey.width + x + x0;
                let t = row * column;
                full += f64::from(t * t);
                if self.weight.data[i] == 0.0 {
                    continue;
                }
                norm += f64::from(t * t);
                let z = self.local.z.data[i];
                part.data[y * bins.size[0] + x] = z * t;
                n += 1;
                sum += f64::from(self.grey.data[i]);
                clipped += u64::from(self.local.clipped[i]);
                let q = f64::from(z * z);
                m2 += q;
                m3 += q * f64::from(z);
                m4 += q * q;
                if x % stride == 0 && y % stride == 0 {
                    contrast.push(self.local.contrast.data[i]);
                }
            }
        }
        if taper && norm < LEAST_BLOCK * full || contrast.is_empty() || norm == 0.0 {
            return Ok(None);
        }
        let power = ops::power_spectrum(&part)?;
        let mut sums = [[0f64; SECTORS]; BANDS.len()];
        let mut counts = [[0u32; SECTORS]; BANDS.len()];
        let mut polar = vec![0f64; SECTORS * RADII.len()];
        let mut polar_n = vec![0u32; SECTORS * RADII.len()];
        let (mut noise, mut noise_n) = (0f64, 0u32);
        for (p, [sector, band, radius]) in power.data.iter().zip(&bins.place) {
            let (p, s) = (f64::from(*p) / norm, usize::from(*sector));
            if *band == NOISE {
                noise += p;
                noise_n += 1;
            } else if *band != NONE {
                sums[usize::from(*band)][s] += p;
                counts[usize::from(*band)][s] += 1;
            }
            if *radius != NONE {
                polar[s * RADII.len() + usize::from(*radius)] += p;
                polar_n[s * RADII.len() + usize::from(*radius)] += 1;
            }
        }
        let noise = (noise / f64::from(noise_n.max(1))).max(1e-4);
        // Logarithm of power over noise, direction by direction; 0.05 keeps it finite where there is none.
        let mut levels = [0f64; BANDS.len()];
        let mut spread = [0f64; BANDS.len()];
        let mut over = [[0f64; SECTORS]; BANDS.len()];
        let mut has = [false; BANDS.len()];
        for b in 0..BANDS.len() {
            has[b] = counts[b].iter().sum::<u32>() >= LEAST_BINS;
            if !has[b] {
                continue;
            }
            let all = sums[b].iter().sum::<f64>() / f64::from(counts[b].iter().sum::<u32>());
            let mut profile = [0f64; SECTORS];
            for (s, v) in profile.iter_mut().enumerate() {
                let near = [(s + SECTORS - 1) % SECTORS, s, (s + 1) % SECTORS];
                let k = [1.0, 2.0, 1.0];
                let count: f64 = near.iter().zip(k).map(|(i, k)| k * f64::from(counts[b][*i])).sum();
                let total: f64 = near.iter().zip(k).map(|(i, k)| k * sums[b][*i]).sum();
                *v = ((if count > 0.0 { total / count } else { all }) / noise + 0.05).ln();
            }
            levels[b] = median(&profile);
            for s in 0..SECTORS {
                over[b][s] = profile[s] - levels[b];
            }
            spread[b] = median(&over[b].map(f64::abs));
        }
        let total: Vec<f64> = (0..SECTORS).map(|s| (1..BANDS.len()).map(|b| over[b][s]).sum()).collect();
        let top = largest(&total, 0..SECTORS);
        let at = |b: usize, by: i64| over[b][(top as i64 + by).rem_euclid(SECTORS as i64) as usize];
        let sides = |b: usize, from: i64, by: i64| (at(b, from - by) + at(b, from + by)) / 2.0;
        // The other set of lines, at least 30 degrees off.
        let apart = 6;
        let second = apart
            + largest(
                &(apart..=SECTORS - apart).map(|d| total[(top + d) % SECTORS]).collect::<Vec<_>>(),
                0..SECTORS - 2 * apart + 1,
            );
        let mut values: Vec<f64> = Vec::new();
        values.extend(levels);
        values.extend((0..BANDS.len()).map(|b| at(b, 0)));
        for by in [1, 2, 4] {
            values.extend((0..BANDS.len()).map(|b| sides(b, 0, by)));
        }
        values.extend((0..BANDS.len()).map(|b| (16..=20).map(|d| at(b, d)).sum::<f64>() / 5.0));
        values.extend((0..BANDS.len()).map(|b| at(b, second as i64)));
        values.extend((0..BANDS.len()).map(|b| sides(b, second as i64, 1)));
        values.extend(spread);
        values.push(total[top]);
        // How regular: what single frequencies of a direction stand out by.
        let usual: Vec<f64> = (0..RADII.len())
            .map(|r| {
                let of: Vec<f64> = (0..SECTORS)
                    .filter(|s| polar_n[s * RADII.len() + r] > 0)
                    .map(|s| polar[s * RADII.len() + r] / f64::from(polar_n[s * RADII.len() + r]))
                    .collect();
                median(&of)
            })
            .collect();
        let lines = |s: usize| -> Vec<f64> {
            let mut out: Vec<f64> = (0..RADII.len())
                .map(|r| match polar_n[s * RADII.len() + r] {
                    0 => 0.0,
                    n => ((polar[s * RADII.len() + r] / f64::from(n) + 1e-3) / (usual[r] + 1e-3)).ln(),
                })
                .collect();
            out.sort_by(|a, b| b.total_cmp(a));
            out
        };
        for s in [top, (top + second) % SECTORS] {
            let l = lines(s);
            values.extend([l[0], l[1], l[3], l[8]]);
        }
        let mut tops: Vec<f64> = (0..SECTORS).map(|s| lines(s)[0]).collect();
        tops.sort_by(|a, b| b.total_cmp(a));
        values.extend([tops[0], tops[2]]);
        let mean = (sum / n as f64).max(1.0);
        values.extend(self.piece.map(|l| mean.ln() - l));
        let contrasts = [0.5, 0.9, 0.1].map(|q| f64::from(ops::quantile(&mut contrast, q)).max(1e-4).ln());
        values.extend(contrasts);
        let variance = (m2 / n as f64).max(1e-6);
        values.extend([
            noise.ln(),
            // Of the picture itself, not of what was divided by its scatter.
            0.5 * noise.ln() + contrasts[0],
            10.0 * clipped as f64 / n as f64,
            (n as f64 * self.mm * self.mm).ln(),
            (m4 / n as f64 / (variance * variance)).max(0.1).ln(),
            m3 / n as f64 / variance.powf(1.5),
            second as f64 / 10.0,
            f64::from(u8::from(has[3])),
            (self.mm / 0.012).ln(),
        ]);
        values.extend(LIGHTS.map(|l| f64::from(u8::from(l == self.light))));
        Ok(Some(Descriptor {
            values: values.iter().map(|v| if v.is_finite() { *v as f32 } else { 0.0 }).collect(),
            lines: (centre(bins, &power, top) + std::f64::consts::FRAC_PI_2).rem_euclid(std::f64::consts::PI),
            at_px: [0.0; 2],
            side_px: 0.0,
            area_mm2: n as f64 * self.mm * self.mm,
            cell: [0, 0],
        }))
    }
}

/// The direction of the peak in a sector, finer than the sector: the mean over 15 degrees to both sides of what exceeds the
/// least of them.
fn centre(bins: &Bins, power: &Plane, top: usize) -> f64 {
    const FINE: usize = 180;
    let (mut sum, mut count) = (vec![0f64; FINE], vec![0u32; FINE]);
    for ((p, place), a) in power.data.iter().zip(&bins.place).zip(&bins.angle) {
        if (1..BANDS.len()).any(|b| usize::from(place[1]) == b) {
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

fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(0.0)
}

fn largest(values: &[f64], range: std::ops::Range<usize>) -> usize {
    range.max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0)
}
