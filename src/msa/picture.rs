//! The gauges as a picture: per characteristic the values by part and operator, what they differ from the part's mean, and the
//! shares of the variation.

use image::{ImageFormat, Rgb, RgbImage};
use imageproc::drawing::{draw_filled_circle_mut, draw_filled_rect_mut, draw_line_segment_mut};
use imageproc::rect::Rect;

use super::{Gauge, Grade, MsaReport};
use crate::report::text::{draw_text, text_width};
use crate::vision::Image;

/// Most panels of one picture; the JSON has all.
const MOST: usize = 12;
const WIDTH: u32 = 1200;
const HEAD: u32 = 34;
const PANEL: u32 = 330;
/// The charts of a panel: left and right end, the values' upper and lower end, the differences' upper and lower end.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 900.0;
const VALUES: (f64, f64) = (30.0, 190.0);
const ERRORS: (f64, f64) = (210.0, 295.0);
const BARS: f64 = 960.0;

const INK: Rgb<u8> = Rgb([40, 40, 40]);
const GRID: Rgb<u8> = Rgb([205, 205, 205]);
const LIMIT: Rgb<u8> = Rgb([200, 40, 40]);
/// Colours that are told apart without seeing red or green (Okabe and Ito 2008).
const OPERATORS: [Rgb<u8>; 6] = [
    Rgb([0, 114, 178]),
    Rgb([213, 94, 0]),
    Rgb([0, 158, 115]),
    Rgb([204, 121, 167]),
    Rgb([230, 159, 0]),
    Rgb([86, 180, 233]),
];

type Word = (i32, i32, Rgb<u8>, String);

pub(super) fn png(report: &MsaReport) -> Result<Option<Vec<u8>>, image::ImageError> {
    if report.gauges.is_empty() {
        return Ok(None);
    }
    let panels = report.gauges.len().min(MOST);
    let mut img = RgbImage::from_pixel(WIDTH, HEAD + PANEL * panels as u32, Rgb([255, 255, 255]));
    let mut words: Vec<Word> = vec![];
    let mut operators: Vec<&str> = report.runs.iter().map(|r| r.operator.as_str()).collect();
    operators.dedup();
    let mut x = LEFT as i32;
    for (i, name) in operators.iter().enumerate() {
        let colour = OPERATORS[i % OPERATORS.len()];
        draw_filled_circle_mut(&mut img, (x, 16), 5, colour);
        words.push((x + 10, 12, INK, (*name).to_owned()));
        x += 34 + text_width(name, 1) as i32;
    }
    if report.gauges.len() > MOST {
        let text = format!("{} of {} characteristics; msa.json has all", MOST, report.gauges.len());
        words.push((x + 20, 12, INK, text));
    }
    for (i, (name, gauge)) in report.gauges.iter().take(MOST).enumerate() {
        panel(&mut img, &mut words, f64::from(HEAD + PANEL * i as u32), name, gauge, &operators);
    }
    let (width, height) = (img.width() as usize, img.height() as usize);
    let mut lettered = Image { width, height, data: img.into_raw(), grey: false };
    for (x, y, colour, text) in words {
        draw_text(&mut lettered, x, y, 1, colour.0, &text);
    }
    let Some(img) = RgbImage::from_raw(width as u32, height as u32, lettered.data) else { return Ok(None) };
    let mut out = std::io::Cursor::new(Vec::new());
    img.write_to(&mut out, ImageFormat::Png)?;
    Ok(Some(out.into_inner()))
}

/// A vertical axis: from values to rows of the picture.
struct Axis {
    low: f64,
    high: f64,
    top: f64,
    bottom: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, top: f64, bottom: f64) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let margin = (0.06 * (high - low)).max(1e-9 * high.abs()).max(1e-12);
        Axis { low: low - margin, high: high + margin, top, bottom }
    }

    fn at(&self, v: f64) -> f64 {
        self.bottom - (v - self.low) / (self.high - self.low) * (self.bottom - self.top)
    }

    /// Lines and numbers at the ends and in the middle.
    fn draw(&self, img: &mut RgbImage, words: &mut Vec<Word>) {
        for v in [self.low, (self.low + self.high) / 2.0, self.high] {
            let y = self.at(v);
            line(img, [LEFT, y], [RIGHT, y], GRID);
            let decimals = (2 - (self.high - self.low).log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{v:.decimals$}");
            words.push((LEFT as i32 - 8 - text_width(&text, 1) as i32, y as i32 - 4, INK, text));
        }
    }
}

fn line(img: &mut RgbImage, a: [f64; 2], b: [f64; 2], colour: Rgb<u8>) {
    draw_line_segment_mut(img, (a[0] as f32, a[1] as f32), (b[0] as f32, b[1] as f32), colour);
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (n, sum) = values.into_iter().fold((0usize, 0.0), |(n, s), v| (n + 1, s + v));
    sum / n.max(1) as f64
}

fn panel(img: &mut RgbImage, words: &mut Vec<Word>, y0: f64, name: &str, g: &Gauge, operators: &[&str]) {
    let v = &g.variation;
    let tolerance = g.grr_of_tolerance_pct.map(|p| format!(", {p:.1} % of tolerance")).unwrap_or_default();
    let ndc = v.ndc.map(|n| format!(", ndc {n}")).unwrap_or_default();
    let title = format!("{name}: GRR {:.5} ({:.1} % of TV{tolerance}{ndc}): {}", v.grr, v.grr_pct, g.grade.as_str());
    let colour = if g.grade == Grade::Unfit { LIMIT } else { INK };
    words.push((LEFT as i32, y0 as i32 + 6, colour, title));

    let means: Vec<f64> = g.values.iter().map(|p| mean(p.iter().flatten().copied())).collect();
    let all = || g.values.iter().flatten().flatten().copied();
    let upper = Axis::new(all(), y0 + VALUES.0, y0 + VALUES.1);
    let differences = || {
        let of = |(p, m): (&Vec<Vec<f64>>, f64)| p.iter().flatten().map(|v| v - m).collect::<Vec<f64>>();
        g.values.iter().zip(means.iter().copied()).flat_map(of)
    };
    let lower = Axis::new(differences(), y0 + ERRORS.0, y0 + ERRORS.1);
    upper.draw(img, words);
    lower.draw(img, words);
    for limit in [g.lower, g.upper].into_iter().flatten().filter(|l| (upper.low..=upper.high).contains(l)) {
        line(img, [LEFT, upper.at(limit)], [RIGHT, upper.at(limit)], LIMIT);
    }
    let step = (RIGHT - LEFT) / g.parts.len() as f64;
    let radius = if step > 24.0 { 3 } else { 2 };
    for (o, operator) in g.operators.iter().enumerate() {
        let place = operators.iter().position(|n| n == operator).unwrap_or(o);
        let colour = OPERATORS[place % OPERATORS.len()];
        // Side by side within the part's column.
        let shift = step * 0.6 * ((o as f64 + 0.5) / g.operators.len() as f64 - 0.5);
        let mut before: Option<[f64; 2]> = None;
        for (p, (part, part_mean)) in g.values.iter().zip(&means).enumerate() {
            let x = LEFT + step * (p as f64 + 0.5) + shift;
            let here = [x, upper.at(mean(part[o].iter().copied()))];
            if let Some(b) = before {
                line(img, b, here, colour);
            }
            before = Some(here);
            for value in &part[o] {
                for y in [upper.at(*value), lower.at(value - part_mean)] {
                    draw_filled_circle_mut(img, (x.round() as i32, y.round() as i32), radius, colour);
                }
            }
        }
    }
    words.push((6, (y0 + VALUES.0) as i32 - 14, INK, "value".into()));
    words.push((6, (y0 + ERRORS.0) as i32 - 12, INK, "off mean".into()));
    // Names where they have room, else numbers here and there.
    for (p, part) in g.parts.iter().enumerate() {
        let x = LEFT + step * (p as f64 + 0.5);
        let every = (60.0 / step).ceil().max(1.0) as usize;
        if p % every == 0 {
            let room = ((step * every as f64 - 6.0) / 6.0).max(3.0) as usize;
            let skip = part.chars().count().saturating_sub(room);
            let text: String = part.chars().skip(skip).collect();
            words.push((x as i32 - text_width(&text, 1) as i32 / 2, (y0 + ERRORS.1) as i32 + 8, INK, text));
        }
    }
    bars(img, words, y0, g);
}

/// The shares of the total variation, with lines at 10 and 30 %.
fn bars(img: &mut RgbImage, words: &mut Vec<Word>, y0: f64, g: &Gauge) {
    let v = &g.variation;
    let (top, bottom) = (y0 + VALUES.0, y0 + ERRORS.1);
    let y = |pct: f64| bottom - pct.clamp(0.0, 100.0) / 100.0 * (bottom - top);
    let right = f64::from(WIDTH) - 20.0;
    for (pct, colour) in [(0.0, INK), (10.0, GRID), (30.0, LIMIT), (100.0, GRID)] {
        line(img, [BARS, y(pct)], [right, y(pct)], colour);
        let text = format!("{pct}%");
        words.push((BARS as i32 - 6 - text_width(&text, 1) as i32, y(pct) as i32 - 4, INK, text));
    }
    let mut all = vec![("EV", v.ev_pct), ("AV", v.av_pct), ("GRR", v.grr_pct), ("PV", v.pv_pct)];
    if let Some(p) = g.grr_of_tolerance_pct {
        all.push(("GRR/T", p));
    }
    let step = (right - BARS) / all.len() as f64;
    for (i, (name, pct)) in all.iter().enumerate() {
        let x = BARS + step * (i as f64 + 0.2);
        let height = (bottom - y(*pct)).round() as u32;
        if height > 0 {
            let rect = Rect::at(x as i32, y(*pct).round() as i32).of_size((step * 0.6) as u32, height);
            draw_filled_rect_mut(img, rect, OPERATORS[5]);
        }
        words.push((x as i32, bottom as i32 + 8, INK, (*name).to_owned()));
        words.push((x as i32, (y(*pct) as i32 - 10).max(top as i32 - 10), INK, format!("{pct:.1}")));
    }
}
