//! How something seen on the metal looks: its brightness, colour, edge and grain against the metal about it, in numbers that
//! neither the exposure nor the metal's own colour moves much. A pit has the colour of the metal it is in; dust has its own.
//!
//! The second opinion weighs them beside what the surface model shows ([`super::opinion`]).

use crate::vision::{ops, Image, Mask, Rect, VisionError};

/// How many numbers [`describe`] gives.
pub const COUNT: usize = 30;

/// Pixels beyond which the half width of a thing no longer widens the bands about its edge.
const WIDEST: f64 = 8.0;
/// From how far outside its edge (and its half width) the metal about a thing is looked at, and to where, in pixels.
const FROM: f64 = 2.5;
const TO: f64 = 9.5;
/// The fewest pixels of bare metal that tell how the metal about a thing looks; with fewer, all about it counts.
const LEAST_METAL: usize = 24;
/// Longest side, in pixels, at which a thing is looked at; a larger one is averaged down.
const LARGEST: f64 = 256.0;
/// Grey levels that are added before a ratio is taken: the camera's black is not darker than that.
const BLACK: f64 = 8.0;
/// Least scatter of the metal in grey levels: rounding.
const ROUNDING: f64 = 1.0;

/// What lies where about a thing's edge; the edge itself is a band of both sides.
#[derive(Clone, Copy, PartialEq)]
enum Band {
    Core,
    Edge,
    Inside,
    Halo,
    Far,
    Elsewhere,
}

/// Describes what lies within an outline (pixels of the frame; with fewer than three corners a circle of `radius_px` about `centre`)
/// against the bare metal about it. All of it is in scatters of that metal, in logarithms of ratios, or in pixels.
///
/// # Errors
/// Where OpenCV refuses.
pub fn describe(
    image: &Image,
    bare: &Mask,
    outline: &[[f64; 2]],
    centre: [f64; 2],
    radius_px: f64,
) -> Result<[f64; COUNT], VisionError> {
    let ends = |k: usize| {
        let start = (centre[k] - radius_px, centre[k] + radius_px);
        outline.iter().fold(start, |(a, b), p| (a.min(p[k]), b.max(p[k])))
    };
    let margin = WIDEST + TO + 2.0;
    let part = |(a, b): (f64, f64), n: usize| {
        let first = (a - margin).floor().clamp(0.0, n as f64 - 1.0) as usize;
        (first, (b + margin).ceil().clamp(first as f64 + 1.0, n as f64) as usize)
    };
    let ((x0, x1), (y0, y1)) = (part(ends(0), image.width), part(ends(1), image.height));
    let about = Rect { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
    let (mut window, mut metal) = (image.cut(about), bare.cut(about));
    let f = (about.width.max(about.height) as f64 / LARGEST).ceil();
    if f > 1.0 {
        window = ops::shrink_image(&window, f as usize);
        metal = ops::shrink_mask(&metal, f as usize);
    }
    let inner = |p: [f64; 2]| [(p[0] - x0 as f64 + 0.5) / f - 0.5, (p[1] - y0 as f64 + 0.5) / f - 0.5];
    let mut thing = Mask::empty(window.width, window.height);
    let q = inner(centre);
    if outline.len() < 3 {
        ops::fill_circle(&mut thing, q[0], q[1], radius_px / f, 255);
    } else {
        ops::fill_polygons(&mut thing, &[outline.iter().map(|p| inner(*p)).collect()], 255)?;
    }
    let last = |v: f64, n: usize| v.round().clamp(0.0, n as f64 - 1.0) as usize;
    let middle = last(q[1], thing.height) * thing.width + last(q[0], thing.width);
    thing.data[middle] = 255;
    Looked::new(&window, &metal, &thing)?.numbers(&window)
}

/// The bands of a thing and the metal about it.
struct Looked {
    bands: Vec<Band>,
    /// Pixels of the thing, and half its width.
    area: f64,
    half: f64,
    /// Of the metal about it: medians of the channels, scatter of the brightness, share that is bare metal.
    level: [f64; 3],
    scatter: f64,
    bare: f64,
}

impl Looked {
    fn new(window: &Image, metal: &Mask, thing: &Mask) -> Result<Self, VisionError> {
        let depth = ops::distance_inside(thing)?;
        let away = ops::distance_inside(&thing.inverse())?;
        let area = thing.count() as f64;
        let half = depth.data.iter().fold(1.0f64, |a, v| a.max(f64::from(*v) - 0.5));
        let s = half.clamp(1.2, WIDEST);
        let band = |i: usize| {
            let (d, a) = (f64::from(depth.data[i]) - 0.5, f64::from(away.data[i]) - 0.5);
            match (thing.data[i] != 0, a) {
                (true, _) if d >= 0.5 * half => Band::Core,
                (true, _) if d <= 0.3 * half => Band::Edge,
                (true, _) => Band::Inside,
                (_, a) if a <= 0.3 * s + 0.5 => Band::Edge,
                (_, a) if a <= s + 1.5 => Band::Halo,
                (_, a) if (s + FROM..=s + TO).contains(&a) => Band::Far,
                _ => Band::Elsewhere,
            }
        };
        let bands: Vec<Band> = (0..thing.data.len()).map(band).collect();
        let far: Vec<usize> = (0..bands.len()).filter(|i| bands[*i] == Band::Far).collect();
        let on: Vec<usize> = far.iter().copied().filter(|i| metal.data[*i] != 0).collect();
        let bare = on.len() as f64 / far.len().max(1) as f64;
        let about = if on.len() >= LEAST_METAL || far.is_empty() { on } else { far };
        let mut level = [0.0; 3];
        for (c, l) in level.iter_mut().enumerate() {
            let mut values: Vec<f32> = about.iter().map(|i| f32::from(window.data[3 * i + c])).collect();
            *l = if values.is_empty() { 128.0 } else { f64::from(ops::median(&mut values)) };
        }
        let mut grey: Vec<f32> = about.iter().map(|i| brightness(window, *i) as f32).collect();
        let scatter = if grey.is_empty() { 0.0 } else { f64::from(ops::robust_sigma(&mut grey)) } + ROUNDING;
        Ok(Looked { bands, area, half, level, scatter, bare })
    }

    /// Logarithms of a colour's ratios to the metal's: red to blue, green to both, brightness.
    fn ratio(&self, colour: [f64; 3]) -> [f64; 3] {
        let r = [0, 1, 2].map(|c: usize| ((colour[c] + BLACK) / (self.level[c] + BLACK)).ln());
        [r[0] - r[2], r[1] - 0.5 * (r[0] + r[2]), (r[0] + r[1] + r[2]) / 3.0]
    }

    fn numbers(&self, window: &Image) -> Result<[f64; COUNT], VisionError> {
        let metal = self.level.iter().sum::<f64>() / 3.0;
        let (width, height) = (window.width, window.height);
        // The thing with its edge, which blur has spread.
        let whole = |b: &Band| matches!(b, Band::Core | Band::Edge | Band::Inside);
        let pixels = |which: &dyn Fn(&Band) -> bool| -> Vec<usize> {
            (0..self.bands.len()).filter(|i| which(&self.bands[*i])).collect()
        };
        let (core, edge, halo, all) = (
            pixels(&|b| *b == Band::Core),
            pixels(&|b| *b == Band::Edge),
            pixels(&|b| *b == Band::Halo),
            pixels(&whole),
        );
        let far = pixels(&|b| *b == Band::Far);
        let off = |i: usize| (brightness(window, i) - metal) / self.scatter;
        let mean = |of: &[usize], value: &dyn Fn(usize) -> f64| {
            of.iter().map(|i| value(*i)).sum::<f64>() / of.len().max(1) as f64
        };
        let spread = |of: &[usize]| {
            let m = mean(of, &off);
            mean(of, &|i| (off(i) - m).powi(2)).sqrt()
        };
        let colour = |of: &[usize]| self.ratio([0, 1, 2].map(|c| mean(of, &|i| f64::from(window.data[3 * i + c]))));
        let one = |i: Option<usize>| i.map_or([0.0; 3], |i| self.ratio(rgb(window, i)));
        let by = |a: &usize, b: &usize| off(*a).total_cmp(&off(*b));
        let (darkest, brightest) = (all.iter().copied().min_by(by), all.iter().copied().max_by(by));
        let (dark, bright) = (one(darkest), one(brightest));
        let (of_core, of_all) = (colour(&core), colour(&all));
        let saturation = ((self.level[0] + BLACK) / (self.level[2] + BLACK)).ln();
        // How sharp its edge is, and how one-sided: a lit hollow is bright on one side and dark on the other.
        let grey = window.mean();
        let (gx, gy) = ops::gradient(&ops::gaussian(&grey, 0.7)?)?;
        let steepest =
            all.iter().chain(&halo).map(|i| f64::from(gx.data[*i]).hypot(f64::from(gy.data[*i]))).fold(0.0, f64::max);
        let deepest = all.iter().map(|i| (off(*i) * self.scatter).abs()).fold(0.0, f64::max);
        let (mut sum, mut moment, mut at) = (1.0, [0.0; 2], [0.0; 2]);
        for i in &all {
            at = [at[0] + (i % width) as f64 / all.len() as f64, at[1] + (i / width) as f64 / all.len() as f64];
        }
        for i in &all {
            let d = off(*i) * self.scatter;
            sum += d.abs();
            moment[0] += d * ((i % width) as f64 - at[0]);
            moment[1] += d * ((i / width) as f64 - at[1]);
        }
        // Grain finer than the thing, within it and about it.
        let fine = |of: &[usize]| {
            let step = |i: usize| {
                let right = if i % width + 1 < width { i + 1 } else { i };
                let below = if i / width + 1 < height { i + width } else { i };
                (grey.data[i] - grey.data[right]).abs() + (grey.data[i] - grey.data[below]).abs()
            };
            (mean(of, &|i| f64::from(step(i))) + ROUNDING).ln()
        };
        let ended = |of: &[usize]| mean(of, &|i| f64::from(u8::from(rgb(window, i).iter().any(|v| *v >= 254.0))));
        let size = (self.area / std::f64::consts::PI).sqrt().max(1.0);
        Ok([
            mean(&core, &off),
            mean(&edge, &off),
            mean(&halo, &off),
            darkest.map_or(0.0, off),
            brightest.map_or(0.0, off),
            of_core[0],
            of_core[1],
            of_core[2],
            of_all[0],
            of_all[1],
            of_all[2],
            dark[0],
            dark[2],
            bright[0],
            bright[2],
            saturation,
            metal / 255.0,
            self.scatter.ln(),
            // More of the metal's colour, or less.
            of_all[0] * (saturation / 0.2).clamp(-1.0, 1.0),
            spread(&all),
            spread(&edge),
            (steepest / self.scatter + 0.1).ln(),
            steepest / (deepest + 2.0),
            moment[0].hypot(moment[1]) / (sum * size),
            size.ln(),
            self.half.ln(),
            fine(&all) - fine(&far),
            self.bare,
            ended(&all),
            ended(&far),
        ])
    }
}

fn rgb(image: &Image, i: usize) -> [f64; 3] {
    [0, 1, 2].map(|c| f64::from(image.data[3 * i + c]))
}

fn brightness(image: &Image, i: usize) -> f64 {
    rgb(image, i).iter().sum::<f64>() / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gold of some grain with a disc of another colour.
    fn gold(disc: [f64; 3], gain: f64) -> (Image, Mask) {
        let (width, height) = (64, 48);
        let mut data = Vec::new();
        for i in 0..width * height {
            let (x, y) = ((i % width) as f64, (i / width) as f64);
            let grain = [0.0, 3.0, -2.0, 1.0, -3.0, 2.0, -1.0][(7 * (i % width) + 5 * (i / width) * 3 + i) % 7];
            let on = (x - 30.0).hypot(y - 22.0) <= 3.5;
            let c = if on { disc } else { [200.0, 170.0, 90.0] };
            data.extend(c.map(|v| ((v + grain) * gain).round().clamp(0.0, 255.0) as u8));
        }
        (Image { width, height, data, grey: false }, Mask::full(width, height))
    }

    fn look(disc: [f64; 3], gain: f64) -> [f64; COUNT] {
        let (image, metal) = gold(disc, gain);
        describe(&image, &metal, &[], [30.0, 22.0], 3.5).unwrap()
    }

    #[test]
    fn dust_has_less_of_the_metals_colour_and_a_pit_has_it() {
        let (dust, pit) = (look([110.0, 110.0, 115.0], 1.0), look([120.0, 95.0, 42.0], 1.0));
        assert!(dust[5] < -0.5 && dust[18] < -0.3 && pit[5] > 0.1 && pit[18] > 0.05, "{dust:?} {pit:?}");
        assert!(dust[0] < -10.0 && pit[0] < -10.0 && dust[2].abs() < 1.5);
        assert!((dust[24].exp() - 3.5).abs() < 0.4 && (dust[25].exp() - 3.5).abs() < 0.8, "{:?}", &dust[24..26]);
    }

    #[test]
    fn exposure_moves_colours_little_and_the_border_of_the_frame_nothing() {
        let (a, b) = (look([110.0, 110.0, 115.0], 1.0), look([110.0, 110.0, 115.0], 0.7));
        assert!((a[18] - b[18]).abs() < 0.05 && (a[10] - b[10]).abs() < 0.05, "{} {}", a[18], b[18]);
        let (image, metal) = gold([110.0, 110.0, 115.0], 1.0);
        for centre in [[-40.0, 3.0], [0.0, 0.0], [63.0, 47.0], [900.0, 20.0]] {
            let all = describe(&image, &metal, &[], centre, 2.0).unwrap();
            assert!(all.iter().all(|v| v.is_finite()), "{all:?}");
        }
        let none = describe(&image, &Mask::empty(64, 48), &[], [30.0, 22.0], 3.5).unwrap();
        assert!(none[27] == 0.0 && (none[18] - a[18]).abs() < 0.05);
        // An outline as large as the frame leaves nothing to compare with.
        let all = [[0.0, 0.0], [63.0, 0.0], [63.0, 47.0], [0.0, 47.0]];
        assert!(describe(&image, &metal, &all, [31.0, 23.0], 40.0).unwrap().iter().all(|v| v.is_finite()));
    }
}
