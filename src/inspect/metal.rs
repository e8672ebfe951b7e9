//! The bare metal of a frame as planes, and how far each of its pixels stands out of its neighbourhood. The surface
//! inspectors look for their shapes in that.

use crate::locate::FRAME_BORDER_PX;
use crate::vision::{ops, Image, Mask, Plane, Rect, VisionError};

/// The bare metal's box of a frame, in planes: brightness and two colour ratios.
pub(super) struct Metal {
    pub mask: Mask,
    /// 1 on bare metal, else 0.
    weight: Plane,
    /// Defined off the metal too, but not to be trusted there.
    pub planes: Vec<Plane>,
    /// The mask and weight of the colour planes: a channel at its end says nothing of colour.
    unclipped: Option<(Mask, Plane)>,
    /// 1 where of at least half of the pixels every channel is at its end: the metal shows nothing there, not even noise.
    white: Option<Plane>,
    /// The share of the bare metal's pixels whose channels are all at their end: overexposed, so that nothing is seen of it.
    pub white_share: f64,
    /// The share of the bare metal's pixels that hardly any light comes from: none of their channels reaches a tenth of its range.
    pub black_share: f64,
    /// Whether the metal runs on beyond the frame: left, top, right, bottom.
    pub runs_on: [bool; 4],
    pub mm_per_px: f64,
    /// Whether the frame's colour is known at a coarser resolution than its brightness: then no single spot or line is looked for in it, and brightness is that
    /// of the file, which its colour's blocks leave alone.
    coarse_colour: bool,
    /// What seeds are multiplied with: 1, or less where a second opinion tells chance from defect afterwards.
    pub eagerness: f32,
    /// The same for spots.
    pub eager_spots: f32,
}

/// What filters of one width see of the metal: 1 over the share of it, 0 off the metal. One for the brightness and, where
/// colours are clipped, one for them.
pub(super) struct Smoothing {
    sigma: f64,
    inverse: Vec<Plane>,
}

/// The neighbourhoods a pixel is held against, for the same masks.
pub(super) struct Surroundings {
    /// Mean and scatter vary slowly: every `k`th pixel tells them as well as all.
    k: usize,
    kinds: Vec<Neighbourhood>,
}

struct Neighbourhood {
    weight: Plane,
    wide: LocalMean,
    far: LocalMean,
}

/// Pixels of margin about the metal's box, so that filters meet the picture and not its border.
const PAD_PX: usize = 8;
/// Values drawn for a median or a quantile: it is known to about one percent then.
const SAMPLE: usize = 32_768;
/// Grey levels below which nothing scatters: what rounding to whole levels leaves after smoothing.
const ROUNDING: f32 = 0.1;
/// The share of the metal that is taken for as noisy as metal gets.
const NOISIEST: f64 = 0.9;
/// The brightness that a JPEG stores, of red, green and blue (ITU-T T.871).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// A channel's end, less the noise about it.
pub(super) const END: u8 = 252;

/// Parts of a frame to a side whose tails are told each by itself, and how many pixels tell one.
const PARTS: usize = 4;
const LEAST_TOLD: usize = 100;

/// How far out the 99.5 % point lies: where the frame's metal is texture it is so everywhere, and a defect, in one place, must not pass for it. So the median over the
/// parts of the frame counts, where several tell, if that is less than what all of it says.
fn heavy_tail(far: impl Iterator<Item = (usize, f32)>, [width, height]: [usize; 2]) -> f32 {
    let mut all = Vec::new();
    let mut parts = vec![Vec::new(); PARTS * PARTS];
    for (i, v) in far {
        let (x, y) = (i % width * PARTS / width, i / width * PARTS / height);
        parts[y * PARTS + x].push(v);
        all.push(v);
    }
    let whole = ops::quantile(&mut all, 0.995);
    let told = parts.iter_mut().filter(|p| p.len() >= LEAST_TOLD);
    // Of few pixels the 99 % point is surer, which of a normal scatter lies at 2.576 and not at 2.807.
    let mut tails: Vec<f32> = told.map(|p| ops::quantile(p, 0.99) * (2.807 / 2.576)).collect();
    if tails.len() < PARTS {
        return whole;
    }
    ops::median(&mut tails).min(whole)
}

impl Metal {
    /// The metal inside `bounds`, averaged over blocks of `f` by `f` pixels, and the first pixel of its box. image: with whether its colour is known at a
    /// coarser resolution than its brightness.
    pub fn new(
        (image, coarse_colour): (&Image, bool),
        mask: &Mask,
        bounds: Rect,
        mm_per_px: f64,
        f: usize,
    ) -> Result<(Self, [usize; 2]), VisionError> {
        let pad = PAD_PX * f;
        let (x0, y0) = (bounds.x.saturating_sub(pad), bounds.y.saturating_sub(pad));
        let x1 = (bounds.x + bounds.width + pad).min(image.width);
        let y1 = (bounds.y + bounds.height + pad).min(image.height);
        let (w, h) = ((x1 - x0).div_ceil(f), (y1 - y0).div_ceil(f));
        let mut cut = Mask::empty(w, h);
        let mut lit = Mask::empty(w, h);
        let channels = if image.grey { 1 } else { 3 };
        let mut planes: Vec<Plane> = (0..channels).map(|_| Plane::filled(w, h, 0.0)).collect();
        let mut clipped = false;
        let mut white = Plane::filled(w, h, 0.0);
        let mut any_white = false;
        let mut pixels = [0u64; 3];
        // Of one row of blocks: the sums, the pixels of metal, and whether a channel of it is at its end.
        let mut blocks = vec![Block::default(); w];
        for y in 0..h {
            blocks.fill(Block::default());
            let rows = (y0 + y * f)..(y0 + (y + 1) * f).min(y1);
            for v in rows.clone() {
                let line = v * image.width;
                let metal = &mask.data[line + x0..line + x1];
                let pixels = &image.data[3 * (line + x0)..3 * (line + x1)];
                for ((b, m), p) in blocks.iter_mut().zip(metal.chunks(f)).zip(pixels.chunks(3 * f)) {
                    for (m, p) in m.iter().zip(p.chunks_exact(3)) {
                        b.add(*m, p);
                    }
                }
            }
            for (x, b) in blocks.iter().enumerate() {
                let i = y * w + x;
                let all = rows.len() * f.min(x1 - x0 - x * f);
                // Half a block of metal is metal.
                let is_metal = 2 * b.metal as usize >= all;
                let ([r, g, b_], n) = if b.metal > 0 { (b.sum, b.metal) } else { (b.all, all as u32) };
                let n = n as f32;
                let (r, g, b_) = (r as f32 / n, g as f32 / n, b_ as f32 / n);
                cut.data[i] = if is_metal { 255 } else { 0 };
                lit.data[i] = if is_metal && !b.clipped { 255 } else { 0 };
                clipped |= b.clipped && is_metal;
                if 2 * b.white >= b.metal && is_metal {
                    white.data[i] = 1.0;
                    any_white = true;
                }
                for (sum, n) in pixels.iter_mut().zip([b.white, b.black, b.metal]) {
                    *sum += u64::from(n);
                }
                let sum = r + g + b_;
                planes[0].data[i] = if coarse_colour { LUMA[0] * r + LUMA[1] * g + LUMA[2] * b_ } else { sum / 3.0 };
                if channels == 3 {
                    // Ratios, because a metal's colour keeps its ratios where its light falls off; the constant keeps
                    // the noise of dark pixels finite.
                    let k = 384.0 / (sum + 48.0);
                    planes[1].data[i] = (r - b_) * k;
                    planes[2].data[i] = (r + b_ - 2.0 * g) * k;
                }
            }
        }
        // Blur spreads what is clipped by a pixel or two.
        let unclipped = if clipped && channels == 3 {
            let lit = ops::erode(&lit, (2.0 / f as f64).max(1.0))?;
            let weight = weight_of(&lit);
            Some((lit, weight))
        } else {
            None
        };
        let weight = weight_of(&cut);
        let white = any_white.then_some(white);
        let (right, low) = (image.width - bounds.x - bounds.width, image.height - bounds.y - bounds.height);
        let runs_on = [bounds.x, bounds.y, right, low].map(|gap| gap <= FRAME_BORDER_PX);
        let mm_per_px = mm_per_px * f as f64;
        let [white_share, black_share] = [0, 1].map(|k: usize| pixels[k] as f64 / pixels[2].max(1) as f64);
        Ok((
            Metal {
                mask: cut,
                weight,
                planes,
                unclipped,
                white,
                white_share,
                black_share,
                runs_on,
                mm_per_px,
                coarse_colour,
                eagerness: 1.0,
                eager_spots: 1.0,
            },
            [x0, y0],
        ))
    }

    /// How many planes show what is as fine as a spot or a line.
    pub fn fine_planes(&self) -> usize {
        if self.coarse_colour {
            1
        } else {
            self.planes.len()
        }
    }

    /// A length in pixels.
    pub fn px(&self, mm: f64) -> f64 {
        mm / self.mm_per_px
    }

    /// The share of the metal whose colour is seen: no channel at its end there or beside it.
    pub fn colour_share(&self) -> f64 {
        self.unclipped.as_ref().map_or(1.0, |u| u.0.count() as f64 / self.mask.count().max(1) as f64)
    }

    /// Whether more than half of the pixels about a path are white; the path's pixels are counted from `margin` outside the
    /// box.
    pub fn is_mostly_white_about(&self, path: &[[f64; 2]], margin: usize) -> bool {
        let Some(white) = &self.white else { return false };
        let (mut sum, mut n) = (0.0, 0.0);
        for p in path {
            let (x, y) = (p[0].round() as i64 - margin as i64, p[1].round() as i64 - margin as i64);
            for (dx, dy) in (-3..=3).flat_map(|v| (-3..=3).map(move |u| (u, v))) {
                let (x, y) = (x + dx, y + dy);
                if x >= 0 && y >= 0 && (x as usize) < white.width && (y as usize) < white.height {
                    sum += white.at(x as usize, y as usize);
                    n += 1.0;
                }
            }
        }
        2.0 * sum > n
    }

    fn kind(&self, index: usize) -> usize {
        usize::from(index > 0 && self.unclipped.is_some())
    }

    fn weights(&self) -> impl Iterator<Item = &Plane> {
        std::iter::once(&self.weight).chain(self.unclipped.as_ref().map(|u| &u.1))
    }

    /// For [`Metal::standout`]: smoothing by a Gaussian of `sigma` pixels.
    pub fn smoothing(&self, sigma: f64) -> Result<Smoothing, VisionError> {
        let inverse = self
            .weights()
            .map(|weight| {
                let mut seen = ops::gaussian(weight, sigma)?;
                for (s, k) in seen.data.iter_mut().zip(&weight.data) {
                    *s = *k / s.max(1e-3);
                }
                Ok(seen)
            })
            .collect::<Result<_, VisionError>>()?;
        Ok(Smoothing { sigma, inverse })
    }

    /// For [`Metal::standout`]: the local mean at `wide` and the scatter at `far`, in pixels.
    pub fn surroundings(&self, wide: f64, far: f64) -> Result<Surroundings, VisionError> {
        let k = ((wide / 4.0).floor() as usize).clamp(1, 4);
        let (wide, far) = (wide / k as f64, far / k as f64);
        let kinds = self
            .weights()
            .map(|weight| {
                let weight = every(weight, k);
                let wide = LocalMean::new(&weight, wide, true)?;
                let far = LocalMean::new(&weight, far, false)?;
                Ok(Neighbourhood { weight, wide, far })
            })
            .collect::<Result<_, VisionError>>()?;
        Ok(Surroundings { k, kinds })
    }

    /// Response of a plane at a scale, divided by its local scatter: the smoothed plane less its local mean, over the local
    /// scatter. 0 outside the metal.
    pub fn standout(
        &self,
        index: usize,
        smoothing: &Smoothing,
        surroundings: &Surroundings,
    ) -> Result<Plane, VisionError> {
        let kind = self.kind(index);
        let weight = self.weights().nth(kind).unwrap_or(&self.weight);
        let plane = &self.planes[index];
        let (w, h) = (plane.width, plane.height);
        let data = plane.data.iter().zip(&weight.data).map(|(v, k)| v * k).collect();
        // Smoothing, normalised by how much metal the filter sees, so that neither stones nor background leak in.
        let mut response = ops::gaussian(&Plane { width: w, height: h, data }, smoothing.sigma)?;
        for (r, d) in response.data.iter_mut().zip(&smoothing.inverse[kind].data) {
            *r *= d;
        }
        let k = surroundings.k;
        let near = &surroundings.kinds[kind];
        let few = every(&response, k);
        let inside: Vec<usize> = (0..few.data.len()).filter(|i| near.weight.data[*i] > 0.0).collect();
        // White metal has no noise and says nothing of what noise is elsewhere.
        let grey: Vec<usize> = match self.white.as_ref().filter(|_| kind == 0) {
            Some(white) => {
                let white = every(white, k);
                inside.iter().copied().filter(|i| white.data[*i] == 0.0).collect()
            }
            None => inside.clone(),
        };
        let stride = grey.len().div_ceil(SAMPLE).max(1);
        // Two rounds: the second leaves out what stood out in the first, so that a defect does not hide itself.
        let mut clipped = few.clone();
        let mut square = Plane::filled(few.width, few.height, 0.0);
        let mut scatter = Plane::filled(few.width, few.height, 1.0);
        let mut mean = Plane::filled(few.width, few.height, 0.0);
        for round in 0..2 {
            mean = near.wide.of(&clipped)?;
            let mut sample: Vec<f32> =
                grey.iter().step_by(stride).map(|i| (few.data[*i] - mean.data[*i]).abs()).collect();
            // All white: nothing can stand out.
            let global = if sample.is_empty() { 1e6 } else { (1.4826 * ops::median(&mut sample)).max(ROUNDING) };
            for i in &inside {
                // Noise may differ much from place to place (bright glints, dark flanks), so the bound is local as soon
                // as the scatter is known.
                let limit = if round == 0 { 10.0 * global } else { 3.5 * scatter.data[*i] };
                let v = (few.data[*i] - mean.data[*i]).clamp(-limit, limit);
                square.data[*i] = v * v;
            }
            // Nowhere quieter than half the frame's own median scatter: there the few pixels say too little.
            scatter = near.far.of(&square)?;
            for v in &mut scatter.data {
                *v = v.max(0.25 * global * global).sqrt();
            }
            // Nor much noisier than nearly all of the frame: a place full of defects must not hide them.
            let mut sample: Vec<f32> = grey.iter().step_by(stride).map(|i| scatter.data[*i]).collect();
            let most = 1.5 * ops::quantile(&mut sample, NOISIEST).max(global);
            for v in &mut scatter.data {
                *v = v.min(most);
            }
            if round == 0 {
                for i in &inside {
                    let b = 3.0 * scatter.data[*i];
                    clipped.data[*i] = mean.data[*i] + (few.data[*i] - mean.data[*i]).clamp(-b, b);
                }
            }
        }
        // Tails heavier than normal (grain, brushing) raise the bar: scale by the 99.5 % point where it lies further out
        // than a normal one's 2.81.
        let far = |i: usize| ((few.data[i] - mean.data[i]) / scatter.data[i]).abs();
        let q = heavy_tail(grey.iter().step_by(stride).map(|i| (*i, far(*i))), [few.width, few.height]);
        let tail = if q > 2.81 { 2.81 / q.min(2.0 * 2.81) } else { 1.0 };
        for v in &mut scatter.data {
            *v = tail / *v;
        }
        let (mut level, mut gain) = (vec![0.0; w], vec![0.0; w]);
        let mut enlarge = Enlarge::new(few.width, k, w);
        for y in 0..h {
            enlarge.row(&mean, y, &mut level);
            enlarge.row(&scatter, y, &mut gain);
            let row = y * w..(y + 1) * w;
            for (((r, inside), m), g) in
                response.data[row.clone()].iter_mut().zip(&weight.data[row]).zip(&level).zip(&gain)
            {
                *r = (*r - m) * g * inside;
            }
        }
        Ok(response)
    }

    /// The same metal at a coarser scale: planes averaged over the metal only.
    pub fn shrunk(&self, f: usize) -> Metal {
        let whole = |weight: &Plane| -> (Plane, Mask, Plane) {
            let share = ops::shrink(weight, f);
            // Half a block of metal is metal.
            let mask = Mask {
                width: share.width,
                height: share.height,
                data: share.data.iter().map(|v| if *v >= 0.5 { 255 } else { 0 }).collect(),
            };
            let full = weight_of(&mask);
            (share, mask, full)
        };
        let (share, mask, weight) = whole(&self.weight);
        let unclipped = self.unclipped.as_ref().map(|(_, w)| whole(w));
        let planes = self
            .planes
            .iter()
            .enumerate()
            .map(|(index, p)| {
                let (fine, coarse) = match (&self.unclipped, &unclipped) {
                    (Some((_, w)), Some((s, _, _))) if index > 0 => (w, s),
                    _ => (&self.weight, &share),
                };
                let data = p.data.iter().zip(&fine.data).map(|(v, k)| v * k).collect();
                let mut s = ops::shrink(&Plane { width: p.width, height: p.height, data }, f);
                for (v, k) in s.data.iter_mut().zip(&coarse.data) {
                    *v = if *k > 0.0 { *v / k } else { 0.0 };
                }
                s
            })
            .collect();
        Metal {
            mask,
            weight,
            planes,
            unclipped: unclipped.map(|(_, m, w)| (m, w)),
            white: self.white.as_ref().map(|p| {
                let mut white = ops::shrink(p, f);
                white.data.iter_mut().for_each(|v| *v = if *v >= 0.5 { 1.0 } else { 0.0 });
                white
            }),
            white_share: self.white_share,
            black_share: self.black_share,
            runs_on: self.runs_on,
            mm_per_px: self.mm_per_px * f as f64,
            coarse_colour: self.coarse_colour,
            eagerness: self.eagerness,
            eager_spots: self.eager_spots,
        }
    }
}

/// A tenth of the range: what darkens such a pixel by a fifth is lost in a camera's noise of two to three levels.
const DARK: u8 = 25;

/// Sums over the pixels of one block: of its metal, and of all.
#[derive(Clone, Default)]
struct Block {
    sum: [u32; 3],
    all: [u32; 3],
    metal: u32,
    clipped: bool,
    white: u32,
    black: u32,
}

impl Block {
    /// `metal` is 255 or 0.
    #[inline]
    fn add(&mut self, metal: u8, p: &[u8]) {
        for ((sum, all), v) in self.sum.iter_mut().zip(&mut self.all).zip(p) {
            *sum += u32::from(v & metal);
            *all += u32::from(*v);
        }
        self.metal += u32::from(metal & 1);
        self.clipped |= p[0].max(p[1]).max(p[2]) & metal >= END;
        self.white += u32::from(p[0].min(p[1]).min(p[2]) & metal >= END);
        self.black += u32::from(p[0].max(p[1]).max(p[2]) < DARK) & u32::from(metal & 1);
    }
}

fn weight_of(mask: &Mask) -> Plane {
    let data = mask.data.iter().map(|v| if *v != 0 { 1.0 } else { 0.0 }).collect();
    Plane { width: mask.width, height: mask.height, data }
}

/// Every `k`th pixel of a plane, from the middle of the first block.
fn every(p: &Plane, k: usize) -> Plane {
    if k == 1 {
        return p.clone();
    }
    let (w, h) = (p.width.div_ceil(k), p.height.div_ceil(k));
    let mut out = Plane::filled(w, h, 0.0);
    for y in 0..h {
        let row = &p.data[(y * k + k / 2).min(p.height - 1) * p.width..];
        for x in 0..w {
            out.data[y * w + x] = row[(x * k + k / 2).min(p.width - 1)];
        }
    }
    out
}

/// Mean over the metal with a Gaussian weight, computed on a shrunk picture. Beside a stone or the rim the weight sees one
/// side only; the slope times the shift of its centre of gravity makes up for that.
pub struct LocalMean {
    f: usize,
    sigma: f64,
    /// 1 over the weight seen.
    inverse: Plane,
    /// The centre of gravity's shift in x and y, where it is asked for.
    shift: Option<(Plane, Plane)>,
}

impl LocalMean {
    /// weight: 1 on the metal, 0 off it; sigma: the weight's standard deviation in pixels; slope: whether the metal's slope is made up for.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn new(weight: &Plane, sigma: f64, slope: bool) -> Result<Self, VisionError> {
        let f = ((sigma / 3.0).floor() as usize).clamp(1, 16);
        let sigma = sigma / f as f64;
        let weight = ops::shrink(weight, f);
        let seen = ops::gaussian(&weight, sigma)?;
        let (w, h) = (weight.width, weight.height);
        let shift = if slope {
            let along = |coordinate: &dyn Fn(usize) -> f32| -> Result<Plane, VisionError> {
                let data = weight.data.iter().enumerate().map(|(i, v)| v * coordinate(i)).collect();
                let mut p = ops::gaussian(&Plane { width: w, height: h, data }, sigma)?;
                let bound = sigma as f32;
                for (i, (v, s)) in p.data.iter_mut().zip(&seen.data).enumerate() {
                    *v = if *s > 0.05 { (*v / s - coordinate(i)).clamp(-bound, bound) } else { 0.0 };
                }
                Ok(p)
            };
            Some((along(&|i| (i % w) as f32)?, along(&|i| (i / w) as f32)?))
        } else {
            None
        };
        let mut inverse = seen;
        for v in &mut inverse.data {
            *v = 1.0 / v.max(1e-3);
        }
        Ok(LocalMean { f, sigma, inverse, shift })
    }

    /// Of a plane that is 0 off the metal.
    ///
    /// # Errors
    /// Where OpenCV refuses.
    pub fn of(&self, plane: &Plane) -> Result<Plane, VisionError> {
        let mut mean = ops::gaussian(&ops::shrink(plane, self.f), self.sigma)?;
        for (v, k) in mean.data.iter_mut().zip(&self.inverse.data) {
            *v *= k;
        }
        if let Some((dx, dy)) = &self.shift {
            let (gx, gy) = ops::gradient(&mean)?;
            for (i, v) in mean.data.iter_mut().enumerate() {
                *v -= gx.data[i] * dx.data[i] + gy.data[i] * dy.data[i];
            }
        }
        Ok(grow(mean, self.f, plane.width, plane.height))
    }
}

/// Bilinear enlargement, row by row, of planes shrunk by `f`.
struct Enlarge {
    f: usize,
    /// For each column: the two it lies between and how far it is towards the second.
    columns: Vec<(u32, u32, f32)>,
    between: Vec<f32>,
}

impl Enlarge {
    fn new(small: usize, f: usize, w: usize) -> Self {
        let columns = (0..w)
            .map(|x| {
                let (x0, x1, fx) = Self::place(x, f, small);
                (x0 as u32, x1 as u32, fx)
            })
            .collect();
        Enlarge { f, columns, between: vec![0.0; small] }
    }

    fn place(x: usize, f: usize, small: usize) -> (usize, usize, f32) {
        let at = ((x as f32 + 0.5) / f as f32 - 0.5).clamp(0.0, (small - 1) as f32);
        let x0 = at as usize;
        (x0, (x0 + 1).min(small - 1), at - x0 as f32)
    }

    fn row(&mut self, small: &Plane, y: usize, out: &mut [f32]) {
        let line = |y: usize| &small.data[y * small.width..(y + 1) * small.width];
        if self.f == 1 {
            out.copy_from_slice(line(y));
            return;
        }
        let (y0, y1, fy) = Self::place(y, self.f, small.height);
        for ((v, a), b) in self.between.iter_mut().zip(line(y0)).zip(line(y1)) {
            *v = a + (b - a) * fy;
        }
        for (v, (x0, x1, fx)) in out.iter_mut().zip(&self.columns) {
            let (a, b) = (self.between[*x0 as usize], self.between[*x1 as usize]);
            *v = a + (b - a) * fx;
        }
    }
}

/// Bilinear enlargement of a plane shrunk by `f`.
fn grow(small: Plane, f: usize, w: usize, h: usize) -> Plane {
    if f == 1 {
        return small;
    }
    let mut out = Plane::filled(w, h, 0.0);
    let mut enlarge = Enlarge::new(small.width, f, w);
    for (y, row) in out.data.chunks_exact_mut(w).enumerate() {
        enlarge.row(&small, y, row);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances of a frame's pixels in scatters: in the parts `at` one in thirty lies `far` out, elsewhere none.
    fn told(at: impl Fn(usize, usize) -> bool, far: f32) -> f32 {
        let (w, h) = (80, 60);
        let one = |i: usize| {
            let (x, y) = (i % w * PARTS / w, i / w * PARTS / h);
            // Evenly from none to two scatters, and a tail.
            (i, if at(x, y) && i.is_multiple_of(30) { far } else { (i * 7919 % 1000) as f32 / 500.0 })
        };
        heavy_tail((0..w * h).map(one), [w, h])
    }

    #[test]
    fn a_tail_in_one_place_is_no_texture() {
        let everywhere = told(|_, _| true, 9.0);
        assert!(everywhere > 8.9, "{everywhere}");
        let (place, none) = (told(|x, y| x == 1 && y < 3, 9.0), told(|_, _| false, 9.0));
        assert!((place - none).abs() < 0.3 && none < 2.5, "{place} {none}");
        // Where too few pixels tell a part all of them count.
        let few = heavy_tail((0..100).map(|i| (i, if i < 2 { 9.0 } else { 1.0 })), [10, 10]);
        assert_eq!(few, 9.0);
    }
}
