//! The picture of why: a frame with what was located and what was found on it, and the verdict.
//!
//! Nothing is drawn over a finding itself: a ring or an outline goes around it and its label stands beside it on
//! a leader line, so that a person sees what the program saw. Lines and letters grow with the picture, so that a
//! frame of 5 megapixels printed on paper reads like one of a third.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::page::{self, doc, numbers};
use super::text::{draw_text, draw_text_halo, text_height, text_width};
use super::{round_to, Finding, Measurement, Report, Status, Verdict};
use crate::judge;
use crate::pipeline::{FrameView, PartMark};
use crate::vision::{Image, Plane};

/// Findings that get a label in one picture; the others are counted.
const MAX_LABELS: usize = 12;
/// Reasons that are written out in the banner.
const MAX_REASONS: usize = 3;

const RED: [u8; 3] = [255, 64, 56];
const AMBER: [u8; 3] = [255, 176, 32];
const GREEN: [u8; 3] = [40, 160, 72];
const QUIET: [u8; 3] = [150, 178, 205];
const OUTLINE: [u8; 3] = [0, 215, 235];
const STONE: [u8; 3] = [90, 150, 255];
const PRONG: [u8; 3] = [190, 130, 255];
const DARK: [u8; 3] = [14, 16, 20];
const WHITE: [u8; 3] = [240, 244, 248];
/// The colours of the bar at the head of the strip of words: fail, review, pass.
pub(super) const VERDICT_COLOURS: [[u8; 3]; 3] = [RED, AMBER, GREEN];

/// Draws a frame's findings, what was located on it, and below it a strip with the verdict on its piece: no word hides the
/// piece, and pixels keep the frame's coordinates. The same frame and report give the same pixels.
pub fn draw(view: &FrameView, report: &Report) -> Image {
    let mut img = view.image.clone();
    if img.width == 0 || img.height == 0 {
        return img;
    }
    let style = Style::of(&img);
    if let Some(heat) = &view.heat {
        draw_heat(&mut img, heat);
    }

    let thin = Pen { rgb: OUTLINE, width: style.line * 0.8, alpha: 0.75, rim: 0.0 };
    for line in &view.outline_px {
        thin.polyline(&mut img, line, true);
    }
    for s in &view.stones_px {
        let rgb = part_status(report, view, &s.name).map_or(STONE, |status| match status {
            Status::Pass => GREEN,
            other => colour(other),
        });
        let pen = Pen { rgb, ..thin };
        if s.line.is_empty() {
            pen.ring(&mut img, s.x, s.y, s.radius);
        } else {
            pen.polyline(&mut img, &s.line, true);
        }
    }
    for q in &view.prongs_px {
        // A whole tip is a dot; what is not there is an open circle.
        let mut rows = report.measurements.iter().filter(|m| m.feature == q.name && m.view == view.view);
        if !rows.any(|m| m.characteristic == "prong.present" && m.value > 0.5 && m.status == Status::Pass) {
            continue;
        }
        Pen { rgb: PRONG, width: style.line * 1.5, ..thin }.ring(&mut img, q.x, q.y, 0.5 * style.line);
    }
    let arrows: Vec<&PartMark> = view.stones_px.iter().filter(|s| is_moved(report, view, s)).collect();
    for s in &arrows {
        if let Some([dx, dy]) = s.offset {
            let to = [s.x + ENLARGED * dx, s.y + ENLARGED * dy];
            let pen = Pen { rgb: WHITE, width: style.line, alpha: 0.9, rim: style.rim };
            arrow(&mut img, &pen, [s.x, s.y], to, 5.0 * style.line);
        }
    }

    for (name, corners, text) in &view.marks_px {
        // What is no pass is a finding, and drawn as one.
        if report.findings.iter().any(|f| f.feature == *name && f.view == view.view) {
            continue;
        }
        let rgb =
            part_status(report, view, name).map_or(STONE, |s| if s == Status::Pass { GREEN } else { colour(s) });
        Pen { rgb, width: style.line, ..thin }.polyline(&mut img, corners, true);
        let low = corners.iter().fold([f64::MAX, f64::MIN], |m, p| [m[0].min(p[0]), m[1].max(p[1])]);
        let at = [low[0].round() as i32, low[1].round() as i32 + style.pad];
        draw_text_halo(&mut img, at[0], at[1], style.text, rgb, text);
    }

    let mut findings: Vec<&Finding> =
        report.findings.iter().filter(|f| f.file == view.file && f.x_px.is_finite() && f.y_px.is_finite()).collect();
    // The worst first; the sort is stable, so equal ones keep the report's order.
    findings.sort_by(|a, b| {
        (b.status.cmp(&a.status))
            .then(b.confidence.total_cmp(&a.confidence))
            .then(b.radius_px.total_cmp(&a.radius_px))
    });
    let named = findings.iter().filter(|f| is_named(f)).count();
    let shapes: Vec<Shape> = findings.iter().map(|f| Shape::of(f, &style)).collect();
    // The worst last, so that it lies on top.
    for (f, shape) in findings.iter().zip(&shapes).rev() {
        let pen = if is_named(f) {
            Pen { rgb: colour(f.status), width: style.line * 1.4, alpha: 1.0, rim: style.rim }
        } else {
            Pen { rgb: QUIET, width: style.line * 0.8, alpha: 0.8, rim: 0.0 }
        };
        shape.draw(&mut img, &pen);
    }

    let rings: Vec<Circle> = shapes[..named].iter().map(|s| s.circle).collect();
    let quiet: Vec<Circle> = shapes[named..].iter().map(|s| s.circle).collect();
    let bar = view.um_per_px.filter(|_| !arrows.is_empty()).map(|um| ENLARGED * 0.1 * 1000.0 / um);
    let banner = Banner::of(report, named, bar, &img, &style);
    let mut taken = Vec::new();

    let labels: Vec<Option<Label>> = findings[..named]
        .iter()
        .zip(&rings)
        .take(MAX_LABELS)
        .map(|(f, ring)| {
            let label = Label::place(f, ring, report, &img, &style, &rings, &quiet, &taken)?;
            taken.push(label.area);
            Some(label)
        })
        .collect();
    // All leaders before all labels: a line must not cross a word.
    for (label, shape) in labels.iter().zip(&shapes) {
        if let Some(label) = label {
            label.draw_leader(&mut img, shape, &style);
        }
    }
    for label in labels.iter().flatten() {
        label.draw(&mut img, &style);
    }
    let below = img.height as i32;
    img.height += banner.h as usize;
    img.data.resize(3 * img.width * img.height, 0);
    banner.draw(&mut img, 0, below, &style);
    img
}

/// Least side of a close-up in pixels.
const CROP_SIDE: usize = 360;

/// A close-up of a finding: the bare frame on the left, the drawn one on the right, enlarged by a whole number, and below in words what it is. None where
/// the finding is not on this frame. `drawn` is what [`draw`] gave of the same frame, of which the close-up may cut a label off.
pub fn crop(view: &FrameView, drawn: &Image, finding: &Finding, report: &Report) -> Option<Image> {
    let bare = &view.image;
    if finding.file != view.file || !(finding.x_px.is_finite() && finding.y_px.is_finite()) || bare.width == 0 {
        return None;
    }
    let reach = finding.outline_px.iter().map(|p| (p[0] - finding.x_px).abs().max((p[1] - finding.y_px).abs()));
    let radius = reach.fold(finding.radius_px.max(4.0), f64::max).min(4096.0);
    let half = (1.8 * radius + 16.0).ceil();
    let cut = |c: f64, size: usize| {
        let lo = (c - half).clamp(0.0, size as f64 - 1.0) as usize;
        (lo, ((c + half).ceil().max(0.0) as usize + 1).clamp(lo + 1, size))
    };
    let ((x0, x1), (y0, y1)) = (cut(finding.x_px, bare.width), cut(finding.y_px, bare.height));
    let (w, h) = (x1 - x0, y1 - y0);
    let k = CROP_SIDE.div_ceil(w.max(h)).max(1);
    let gap = 6;
    let width = 2 * w * k + gap;
    let mut data = vec![14u8; 3 * width * h * k];
    for (y, row) in data.chunks_exact_mut(3 * width).enumerate() {
        for (source, left) in [(bare, 0), (drawn, w * k + gap)] {
            for x in 0..w * k {
                let from = 3 * ((y0 + y / k) * source.width + x0 + x / k);
                row[3 * (left + x)..3 * (left + x) + 3].copy_from_slice(&source.data[from..from + 3]);
            }
        }
    }
    let mut out = Image { width, height: h * k, data, grey: false };
    let letters = (width as u32 / CROP_TEXT + 1) as usize / super::text::ADVANCE as usize;
    let of = report.measurements.iter().filter(|m| m.feature == finding.feature && m.view == finding.view);
    let of = of.filter(|m| judge::finding_of(&m.characteristic).is_none_or(|k| k == finding.kind));
    let values = of.map(|m| {
        let (value, u) = (round_to(m.value, 3), round_to(doc::expanded(m), 3));
        let limits = Some(numbers::limits(m.lower, m.upper)).filter(|l| !l.is_empty()).map(|l| format!(" ({l})"));
        format!("{} {value} +- {u}{}", m.characteristic, limits.unwrap_or_default())
    });
    let head = format!("{} {}: {}", finding.kind.as_str(), finding.feature, page::status_word(finding.status));
    let lines: Vec<String> = std::iter::once(head).chain(values.take(MAX_REASONS)).collect();
    let below = out.height as i32 + CROP_TEXT as i32;
    out.height += lines.len() * line_height(CROP_TEXT) as usize + 2 * CROP_TEXT as usize;
    out.data.resize(3 * out.width * out.height, 14);
    for (n, line) in lines.iter().enumerate() {
        let y = below + n as i32 * line_height(CROP_TEXT);
        draw_text(&mut out, CROP_TEXT as i32, y, CROP_TEXT, WHITE, &shorten(line, letters));
    }
    Some(out)
}

/// Size of the letters below a close-up, in pixels to a dot.
const CROP_TEXT: u32 = 2;

/// Encodes a picture as PNG, for speed rather than size.
///
/// # Errors
/// The encoder's, where the picture's sides and its number of bytes do not agree.
pub fn encode_png(image: &Image) -> Result<Vec<u8>, image::ImageError> {
    let mut out = Vec::with_capacity(image.data.len() / 2);
    PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Sub).write_image(
        &image.data,
        image.width as u32,
        image.height as u32,
        ExtendedColorType::Rgb8,
    )?;
    Ok(out)
}

/// How much longer the arrow of a stone's offset is than the offset.
const ENLARGED: f64 = 10.0;

/// The worst status of a part's measures that the spec limits; none where it limits none.
fn part_status(report: &Report, view: &FrameView, name: &str) -> Option<Status> {
    let rows = report.measurements.iter().filter(|m| m.feature == name && m.view == view.view);
    rows.filter(|m| doc::is_limited(m)).map(|m| m.status).max()
}

/// Whether a stone's offset is more than its uncertainty explains.
fn is_moved(report: &Report, view: &FrameView, s: &PartMark) -> bool {
    let mut rows = report.measurements.iter().filter(|m| m.feature == s.name && m.view == view.view);
    rows.any(|m| m.characteristic == "stone.offset_mm" && m.value > 3.0 * m.uncertainty)
}

fn arrow(img: &mut Image, pen: &Pen, from: [f64; 2], to: [f64; 2], head: f64) {
    pen.polyline(img, &[from, to], false);
    let (dx, dy) = (from[0] - to[0], from[1] - to[1]);
    let length = dx.hypot(dy);
    if length < 1.0 {
        return;
    }
    let head = head.min(0.5 * length) / length;
    let side = |k: f64| [to[0] + head * (dx - k * dy), to[1] + head * (dy + k * dx)];
    pen.polyline(img, &[side(0.6), to, side(-0.6)], false);
}

fn is_named(f: &Finding) -> bool {
    matches!(f.status, Status::Fail | Status::Review)
}

fn colour(status: Status) -> [u8; 3] {
    match status {
        Status::Fail => RED,
        Status::Review => AMBER,
        Status::Pass | Status::NotAssessed => QUIET,
    }
}

/// Sizes that follow the picture's.
struct Style {
    /// Width of a line in pixels.
    line: f64,
    /// Width of the dark rim beside a line.
    rim: f64,
    /// Pixels a dot of the font.
    text: u32,
    /// Space about a text.
    pad: i32,
}

impl Style {
    fn of(img: &Image) -> Self {
        let side = img.width.min(img.height) as f64;
        let line = (side / 600.0).max(1.0);
        let text = (side / 360.0).round().max(1.0) as u32;
        Style { line, rim: line * 0.7, text, pad: 2 * text as i32 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Circle {
    x: f64,
    y: f64,
    r: f64,
}

#[derive(Debug, Clone, Copy)]
struct Rect {
    x: i32,
    y: i32,
    w: i32,
    h: i32,
}

impl Rect {
    fn overlap(&self, o: &Rect) -> i32 {
        let w = (self.x + self.w).min(o.x + o.w) - self.x.max(o.x);
        let h = (self.y + self.h).min(o.y + o.h) - self.y.max(o.y);
        w.max(0) * h.max(0)
    }

    /// The point of the rectangle that is nearest to (x, y).
    fn nearest(&self, x: f64, y: f64) -> (f64, f64) {
        let (x1, y1) = (self.x + self.w - 1, self.y + self.h - 1);
        (x.clamp(self.x.into(), x1.into()), y.clamp(self.y.into(), y1.into()))
    }

    fn touches(&self, c: &Circle) -> bool {
        let (x, y) = self.nearest(c.x, c.y);
        (x - c.x).hypot(y - c.y) < c.r
    }
}

/// What is drawn around a finding: a ring where it is small, else its own outline moved outward.
struct Shape {
    /// About everything that is drawn.
    circle: Circle,
    /// Radius of the ring, or the polygon.
    line: Line,
}

enum Line {
    Ring(f64),
    Outside { polygon: Vec<[f64; 2]>, gap: f64 },
}

impl Shape {
    fn of(f: &Finding, style: &Style) -> Self {
        // The rim of the line must stay off the finding, and so must a contour's own half pixel.
        let gap = 1.5 + style.line * 1.4 + style.rim;
        let polygon: Vec<[f64; 2]> =
            f.outline_px.iter().copied().filter(|p| p[0].is_finite() && p[1].is_finite()).collect();
        let reach = polygon.iter().map(|p| (p[0] - f.x_px).hypot(p[1] - f.y_px)).fold(0.0, f64::max);
        let radius = if f.radius_px.is_finite() { f.radius_px.max(0.0) } else { 0.0 };
        let small = 9.0 * style.line;
        if polygon.len() < 3 || reach <= small {
            let r = radius.max(reach).max(3.0 * style.line) + gap;
            Shape { circle: Circle { x: f.x_px, y: f.y_px, r: r + style.line + style.rim }, line: Line::Ring(r) }
        } else {
            let r = reach + gap + style.line + style.rim;
            Shape { circle: Circle { x: f.x_px, y: f.y_px, r }, line: Line::Outside { polygon, gap } }
        }
    }

    fn draw(&self, img: &mut Image, pen: &Pen) {
        match &self.line {
            Line::Ring(r) => pen.ring(img, self.circle.x, self.circle.y, *r),
            Line::Outside { polygon, gap } => pen.outside(img, polygon, *gap),
        }
    }
}

/// An anti-aliased line with sub-pixel ends and any width (imageproc's ends on whole pixels and is one wide).
#[derive(Debug, Clone, Copy)]
struct Pen {
    rgb: [u8; 3],
    width: f64,
    alpha: f64,
    /// Width of the dark rim on both sides, so that the line shows on bright metal and on dark.
    rim: f64,
}

impl Pen {
    /// Draws a pixel that lies at a distance from the line's middle.
    fn dab(&self, img: &mut Image, x: usize, y: usize, distance: f64) {
        if self.rim > 0.0 {
            let cover = (self.width / 2.0 + self.rim + 0.5 - distance).clamp(0.0, 1.0);
            blend(img, x, y, DARK, cover * self.alpha * 0.6);
        }
        let cover = (self.width / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
        blend(img, x, y, self.rgb, cover * self.alpha);
    }

    /// How far from its middle the line colours pixels.
    fn reach(&self) -> f64 {
        self.width / 2.0 + self.rim + 0.5
    }

    fn ring(&self, img: &mut Image, cx: f64, cy: f64, r: f64) {
        let far = r + self.reach();
        let Some((xs, ys)) = pixels(img, cx - far, cy - far, cx + far, cy + far) else { return };
        for y in ys {
            let dy = y as f64 - cy;
            // Rows of a large ring hold few of its pixels: skip the inside.
            let inner = r - self.reach();
            let hole = if inner > dy.abs() { (inner * inner - dy * dy).sqrt() } else { 0.0 };
            for x in xs.clone() {
                let dx = x as f64 - cx;
                if dx.abs() >= hole {
                    let d = (dx.hypot(dy) - r).abs();
                    if d < self.reach() {
                        self.dab(img, x, y, d);
                    }
                }
            }
        }
    }

    /// A line through points. Each pixel is dabbed once, however many segments it lies near.
    fn polyline(&self, img: &mut Image, points: &[[f64; 2]], closed: bool) {
        let Some(field) = Field::near(img, points, closed, self.reach()) else { return };
        field.for_each(|x, y, d| self.dab(img, x, y, d));
    }

    /// A line around a polygon, `gap` pixels off it.
    fn outside(&self, img: &mut Image, polygon: &[[f64; 2]], gap: f64) {
        let Some(field) = Field::near(img, polygon, true, gap + self.reach()) else { return };
        field.for_each(|x, y, d| {
            if (d - gap).abs() < self.reach() && !contains(polygon, x as f64, y as f64) {
                self.dab(img, x, y, (d - gap).abs());
            }
        });
    }
}

/// Distances of pixels from a polyline, where they are small.
struct Field {
    x: usize,
    y: usize,
    width: usize,
    distance: Vec<f32>,
}

impl Field {
    fn near(img: &Image, points: &[[f64; 2]], closed: bool, reach: f64) -> Option<Self> {
        let points: Vec<[f64; 2]> = points.iter().copied().filter(|p| p[0].is_finite() && p[1].is_finite()).collect();
        let bound = |i: usize, f: fn(f64, f64) -> f64, from: f64| points.iter().map(|p| p[i]).fold(from, f);
        let (x0, x1) = (bound(0, f64::min, f64::MAX), bound(0, f64::max, f64::MIN));
        let (y0, y1) = (bound(1, f64::min, f64::MAX), bound(1, f64::max, f64::MIN));
        let (xs, ys) = pixels(img, x0 - reach, y0 - reach, x1 + reach, y1 + reach)?;
        let (x, y, width) = (*xs.start(), *ys.start(), xs.end() - xs.start() + 1);
        let height = ys.end() - ys.start() + 1;
        let mut field = Field { x, y, width, distance: vec![f32::MAX; width * height] };
        let mut segment = |a: [f64; 2], b: [f64; 2]| {
            let low = |i: usize| a[i].min(b[i]) - reach;
            let high = |i: usize| a[i].max(b[i]) + reach;
            let Some((xs, ys)) = pixels(img, low(0), low(1), high(0), high(1)) else { return };
            let (ex, ey) = (b[0] - a[0], b[1] - a[1]);
            let square = ex * ex + ey * ey;
            for py in ys {
                for px in xs.clone() {
                    let (dx, dy) = (px as f64 - a[0], py as f64 - a[1]);
                    let t = if square > 0.0 { ((dx * ex + dy * ey) / square).clamp(0.0, 1.0) } else { 0.0 };
                    let d = (dx - t * ex).hypot(dy - t * ey) as f32;
                    let cell = &mut field.distance[(py - y) * width + px - x];
                    *cell = cell.min(d);
                }
            }
        };
        for pair in points.windows(2) {
            segment(pair[0], pair[1]);
        }
        if closed && points.len() > 2 {
            segment(points[points.len() - 1], points[0]);
        }
        Some(field)
    }

    fn for_each(&self, mut f: impl FnMut(usize, usize, f64)) {
        for (i, d) in self.distance.iter().enumerate() {
            if *d < f32::MAX {
                f(self.x + i % self.width, self.y + i / self.width, f64::from(*d));
            }
        }
    }
}

/// Whether a point lies in a polygon (even-odd).
fn contains(polygon: &[[f64; 2]], x: f64, y: f64) -> bool {
    let mut inside = false;
    let mut a = polygon[polygon.len() - 1];
    for &b in polygon {
        if (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] {
            inside = !inside;
        }
        a = b;
    }
    inside
}

type Span = std::ops::RangeInclusive<usize>;

/// The pixels of the picture inside a box, or none.
fn pixels(img: &Image, x0: f64, y0: f64, x1: f64, y1: f64) -> Option<(Span, Span)> {
    let span = |low: f64, high: f64, len: usize| {
        let (low, high) = (low.max(0.0).ceil(), high.min(len as f64 - 1.0).floor());
        (low <= high).then_some(low as usize..=high as usize)
    };
    Some((span(x0, x1, img.width)?, span(y0, y1, img.height)?))
}

/// Scores between which the heat map of what was taught begins to show and shows most, and how much of the frame it then covers: what lies under it is still to be seen.
const HEAT: std::ops::Range<f32> = 0.8..1.3;
const HEAT_ALPHA: f64 = 0.5;

fn draw_heat(img: &mut Image, heat: &Plane) {
    for (i, v) in heat.data.iter().enumerate().filter(|(_, v)| **v > HEAT.start) {
        let share = f64::from(((v - HEAT.start) / (HEAT.end - HEAT.start)).min(1.0));
        blend(img, i % heat.width, i / heat.width, RED, HEAT_ALPHA * share);
    }
}

fn blend(img: &mut Image, x: usize, y: usize, rgb: [u8; 3], alpha: f64) {
    if alpha > 0.0 {
        let at = 3 * (y * img.width + x);
        for (p, c) in img.data[at..at + 3].iter_mut().zip(rgb) {
            *p = (f64::from(*p) + (f64::from(c) - f64::from(*p)) * alpha).round() as u8;
        }
    }
}

fn fill(img: &mut Image, area: &Rect, rgb: [u8; 3], alpha: f64) {
    let Some((xs, ys)) =
        pixels(img, area.x.into(), area.y.into(), f64::from(area.x + area.w - 1), f64::from(area.y + area.h - 1))
    else {
        return;
    };
    for y in ys {
        for x in xs.clone() {
            blend(img, x, y, rgb, alpha);
        }
    }
}

/// A finding's words and where they stand.
struct Label {
    text: String,
    scale: u32,
    rgb: [u8; 3],
    area: Rect,
}

impl Label {
    /// The free place nearest to the finding; where none is free the one that hides least. None where the
    /// picture is too small for words.
    #[allow(clippy::too_many_arguments)]
    fn place(
        f: &Finding,
        ring: &Circle,
        report: &Report,
        img: &Image,
        style: &Style,
        rings: &[Circle],
        quiet: &[Circle],
        taken: &[Rect],
    ) -> Option<Label> {
        let (fw, fh) = (img.width as i32, img.height as i32);
        let (text, scale) = fit(&words(f, report), style.text, fw - 2 * style.pad)?;
        let (w, h) = (text_width(&text, scale) as i32 + 2 * style.pad, text_height(scale) as i32 + 2 * style.pad);
        if w > fw || h > fh {
            return None;
        }
        let mut best: Option<(f64, Rect)> = None;
        for step in [0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 13.0] {
            for turn in 0..16 {
                // The first direction tried is up and to the right.
                let angle = std::f64::consts::TAU * (f64::from(turn) / 16.0 - 0.125);
                let away = ring.r + step * f64::from(h);
                let (x, y) = (ring.x + angle.cos() * away, ring.y + angle.sin() * away);
                // The label's near side, not its middle, is put there.
                let left = x - f64::from(w) * (1.0 - angle.cos()) / 2.0;
                let top = y - f64::from(h) * (1.0 - angle.sin()) / 2.0;
                let area = Rect {
                    x: (left.round() as i32).clamp(0, fw - w),
                    y: (top.round() as i32).clamp(0, fh - h),
                    w,
                    h,
                };
                let hidden: f64 = taken.iter().map(|t| f64::from(area.overlap(t)) * 4.0).sum::<f64>()
                    + rings.iter().filter(|c| area.touches(c)).map(|c| 4.0 * c.r * c.r + 1e4).sum::<f64>()
                    + quiet.iter().filter(|c| area.touches(c)).map(|c| c.r * c.r).sum::<f64>();
                let (nx, ny) = area.nearest(ring.x, ring.y);
                let cost = hidden * 1e3 + (nx - ring.x).hypot(ny - ring.y);
                if best.as_ref().is_none_or(|(c, _)| cost < *c) {
                    best = Some((cost, area));
                }
            }
        }
        best.map(|(_, area)| Label { text, scale, rgb: colour(f.status), area })
    }

    fn draw_leader(&self, img: &mut Image, shape: &Shape, style: &Style) {
        let c = shape.circle;
        let (x, y) = self.area.nearest(c.x, c.y);
        // From the line around the finding: the ring's point, or the polygon's corner, that is nearest to the label.
        let (middle, off) = match &shape.line {
            Line::Ring(_) => ([c.x, c.y], c.r),
            Line::Outside { polygon, gap } => {
                let far = |p: &[f64; 2]| (p[0] - x).hypot(p[1] - y);
                let near = polygon.iter().copied().min_by(|a, b| far(a).total_cmp(&far(b)));
                (near.unwrap_or([c.x, c.y]), *gap)
            }
        };
        let (dx, dy) = (x - middle[0], y - middle[1]);
        let d = dx.hypot(dy);
        if d > off {
            let from = [middle[0] + dx / d * off, middle[1] + dy / d * off];
            let pen = Pen { rgb: self.rgb, width: style.line, alpha: 1.0, rim: style.rim };
            pen.polyline(img, &[from, [x, y]], false);
        }
    }

    fn draw(&self, img: &mut Image, style: &Style) {
        fill(img, &self.area, DARK, 0.8);
        draw_text(img, self.area.x + style.pad, self.area.y + style.pad, self.scale, self.rgb, &self.text);
    }
}

/// What a label says: the type, the stone it is about, and the value of its worst measurement.
fn words(f: &Finding, report: &Report) -> String {
    let mut text = f.kind.as_str().to_owned();
    // `pit-3` says no more than the ring does; `S7` says which stone.
    let numbered = f.feature.rsplit_once('-').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
    if !numbered && !f.feature.is_empty() && f.feature != f.view {
        text.push(' ');
        text.push_str(&f.feature);
    }
    let mut worst: Option<&Measurement> = None;
    for m in report.measurements.iter().filter(|m| m.feature == f.feature && m.view == f.view) {
        // Of a stone that is offset, its offset and not its tilt.
        let about = |m: &Measurement| judge::finding_of(&m.characteristic).is_none_or(|k| k == f.kind);
        if about(m) && worst.is_none_or(|w| m.status > w.status) {
            worst = Some(m);
        }
    }
    if let Some(value) = worst.and_then(value) {
        text.push(' ');
        text.push_str(&value);
    }
    text
}

/// A measurement's value in the unit its name carries; none for a yes or no.
fn value(m: &Measurement) -> Option<String> {
    let name = m.characteristic.as_str();
    if let Some(text) = &m.text {
        return Some(if text.is_empty() { "not read".into() } else { format!("reads {text}") });
    }
    if name.ends_with(".present") || !m.value.is_finite() {
        return None;
    }
    // As the strip and the page round it.
    let with = |unit: &str, decimals: usize| {
        Some(format!("{:.decimals$} {unit}", round_to(m.value, i32::try_from(decimals).unwrap_or(3))))
    };
    if name.ends_with("_mm2") {
        with("mm2", 3)
    } else if name.ends_with("_mm") {
        with("mm", 3)
    } else if name.ends_with("_deg") {
        Some(format!("{:.1}°", m.value))
    } else if name.ends_with("_pct") {
        Some(format!("{:.2} %", m.value))
    } else if name.ends_with("_count") {
        Some(format!("n={:.0}", m.value))
    } else {
        Some(format!("{:.3}", m.value))
    }
}

/// The text at the largest scale up to `scale` at which it is at most `width` pixels wide, shortened where even
/// scale 1 is too wide. None where not even a few letters fit.
fn fit(text: &str, scale: u32, width: i32) -> Option<(String, u32)> {
    let width = u32::try_from(width).ok()?;
    for s in (1..=scale).rev() {
        if text_width(text, s) <= width {
            return Some((text.to_owned(), s));
        }
    }
    let letters = (width + 1) as usize / super::text::ADVANCE as usize;
    (letters >= 5).then(|| (shorten(text, letters), 1))
}

fn shorten(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(letters.saturating_sub(2)).collect();
    short.push_str("..");
    short
}

/// The verdict with its first reasons.
struct Banner {
    rgb: [u8; 3],
    word: &'static str,
    word_scale: u32,
    lines: Vec<String>,
    scale: u32,
    w: i32,
    h: i32,
    /// Length of the bar in its last line that stands for 0.1 mm of an offset's arrow, in pixels.
    bar: Option<f64>,
}

impl Banner {
    fn of(report: &Report, named: usize, bar: Option<f64>, img: &Image, style: &Style) -> Self {
        let (rgb, word) = match report.verdict {
            Verdict::Pass => (GREEN, "PASS"),
            Verdict::Review => (AMBER, "REVIEW"),
            Verdict::Fail => (RED, "FAIL"),
        };
        let (fw, pad) = (img.width as i32, style.pad);
        let inner = (fw - 2 * pad).max(0) as u32;
        let word_scale = (1..=2 * style.text).rev().find(|s| text_width(word, *s) <= inner).unwrap_or(1);
        // Below a small frame the words would outgrow it: there the verdict stands alone.
        let roomy = img.width.min(img.height) >= 240;
        let scale = style.text;
        let letters = (inner / scale + 1) as usize / super::text::ADVANCE as usize;
        let mut lines = Vec::new();
        if roomy && letters >= 12 {
            lines.extend(report.reasons.iter().take(MAX_REASONS).map(|r| shorten(r, letters)));
            if report.reasons.len() > MAX_REASONS {
                lines.push(more(report.reasons.len() - MAX_REASONS, "reason"));
            }
            if named > MAX_LABELS {
                lines.push(more(named - MAX_LABELS, "finding"));
            }
        }
        let bar = bar.filter(|_| roomy && letters >= 12);
        if bar.is_some() {
            lines.push(shorten("arrows: stones' offsets, 10 times; 0.1 mm is", letters));
        }
        let w = fw;
        // Capitals have no descender: the word's box ends below row 6.
        let h = 7 * word_scale as i32 + 2 * pad;
        let lines_h = lines.len() as i32 * line_height(scale) + if lines.is_empty() { 0 } else { pad };
        Banner { rgb, word, word_scale, lines, scale, w, h: h + lines_h, bar }
    }

    fn draw(&self, img: &mut Image, x: i32, y: i32, style: &Style) {
        let pad = style.pad;
        fill(img, &Rect { x, y, w: self.w, h: self.h }, DARK, 1.0);
        let head = Rect { x, y, w: self.w, h: 7 * self.word_scale as i32 + 2 * pad };
        fill(img, &head, self.rgb, 1.0);
        let ink = if self.rgb == AMBER { DARK } else { [255; 3] };
        draw_text(img, x + pad, y + pad, self.word_scale, ink, self.word);
        let mut line_y = y + head.h + pad / 2;
        for line in &self.lines {
            draw_text(img, x + pad, line_y, self.scale, [255; 3], line);
            line_y += line_height(self.scale);
        }
        if let (Some(bar), Some(line)) = (self.bar, self.lines.last()) {
            let left = f64::from(x + pad) + f64::from(text_width(line, self.scale)) + 8.0;
            let middle = f64::from(line_y - line_height(self.scale) / 2 - 1);
            let right = (left + bar).min(f64::from(x + self.w) - 2.0);
            let pen = Pen { rgb: WHITE, width: 2.0 * f64::from(self.scale), alpha: 1.0, rim: 0.0 };
            pen.polyline(img, &[[left, middle], [right, middle]], false);
        }
    }
}

fn more(n: usize, what: &str) -> String {
    format!("+{n} more {what}{}", if n == 1 { "" } else { "s" })
}

fn line_height(scale: u32) -> i32 {
    (text_height(scale) + 2 * scale) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{FindingType, Provenance, REPORT_SCHEMA};

    fn frame(width: usize, height: usize) -> FrameView {
        FrameView {
            frame: 0,
            file: "top.png".into(),
            view: "top".into(),
            image: Image { width, height, data: vec![128; 3 * width * height], grey: true },
            defect_prob: None,
            anomaly_score: None,
            heat: None,
            outline_px: vec![],
            stones_px: vec![],
            prongs_px: vec![],
            marks_px: vec![],
            um_per_px: Some(12.0),
        }
    }

    /// What was taught shows as red over the frame, the more the farther a place is from it, and the frame under it.
    #[test]
    fn the_heat_map_lies_over_the_frame() {
        let mut view = frame(64, 48);
        let mut heat = Plane::filled(64, 48, 0.3);
        (heat.data[64 * 10 + 12], heat.data[64 * 10 + 40]) = (0.9, 3.0);
        view.heat = Some(heat);
        let drawn = draw(&view, &report(Verdict::Review, &[], vec![]));
        let at = |x: usize, y: usize| drawn.data[3 * (y * drawn.width + x)..][..3].to_vec();
        assert_eq!(at(20, 10), [128; 3]);
        let (warm, hot) = (at(12, 10), at(40, 10));
        assert!(warm[0] > 128 && hot[0] > warm[0] && hot[1] < warm[1] && hot[1] > 30, "{warm:?} {hot:?}");
    }

    #[test]
    fn a_close_up_shows_the_finding_bare_and_drawn() {
        let view = frame(300, 200);
        let drawn = draw(&view, &report(Verdict::Fail, &[], vec![]));
        let f = finding(FindingType::Pit, 290.0, 10.0, 6.0, Status::Fail, 1);
        let c = crop(&view, &drawn, &f, &report(Verdict::Fail, &[], vec![])).unwrap();
        assert!(c.height > CROP_SIDE && c.data.len() == 3 * c.width * c.height);
        assert_eq!(c.data[0], 128);
        let elsewhere = Finding { file: "b.png".into(), ..f };
        assert!(crop(&view, &drawn, &elsewhere, &report(Verdict::Fail, &[], vec![])).is_none());
    }

    fn finding(kind: FindingType, x: f64, y: f64, r: f64, status: Status, n: usize) -> Finding {
        Finding {
            kind,
            view: "top".into(),
            file: "top.png".into(),
            feature: format!("{}-{n}", kind.as_str()),
            x_mm: None,
            y_mm: None,
            x_px: x,
            y_px: y,
            radius_px: r,
            confidence: 0.9,
            found_by: vec![],
            status,
            text: None,
            opinion: None,
            outline_px: vec![],
        }
    }

    fn report(verdict: Verdict, reasons: &[&str], findings: Vec<Finding>) -> Report {
        let measurements = findings
            .iter()
            .map(|f| Measurement {
                characteristic: "pit.diameter_mm".into(),
                feature: f.feature.clone(),
                view: f.view.clone(),
                value: f.radius_px * 0.012,
                uncertainty: 0.001,
                lower: None,
                upper: Some(0.05),
                status: f.status,
                decision: None,
                text: None,
            })
            .collect();
        Report {
            schema: REPORT_SCHEMA.into(),
            piece_id: "p".into(),
            sku: "s".into(),
            verdict,
            reasons: reasons.iter().map(|r| (*r).into()).collect(),
            measurements,
            findings,
            stones: vec![],
            not_assessed: vec![],
            frames: vec![],
            provenance: Provenance {
                program: "loupe".into(),
                spec_sha256: String::new(),
                models: vec![],
                settings_sha256: String::new(),
            },
        }
    }

    /// A busy frame: every status, small and large findings, some at the border, a polygon.
    fn busy() -> (FrameView, Report) {
        let mut view = frame(480, 400);
        view.outline_px = vec![(0..90)
            .map(|i| {
                let a = f64::from(i) * std::f64::consts::TAU / 90.0;
                [240.0 + 200.0 * a.cos(), 210.0 + 150.0 * a.sin()]
            })
            .collect()];
        let mark = |name: &str, x: f64, y: f64, radius: f64| PartMark {
            name: name.into(),
            x,
            y,
            radius,
            line: vec![],
            offset: None,
        };
        view.stones_px = vec![mark("S1", 200.0, 200.0, 22.0), mark("S2", 260.0, 200.0, 22.0)];
        view.prongs_px = vec![mark("S1.p1", 230.0, 185.0, 5.0), mark("S1.p2", 230.0, 215.0, 5.0)];
        let mut stone = finding(FindingType::MissingStone, 260.0, 200.0, 22.0, Status::Fail, 0);
        stone.feature = "S2".into();
        let mut stain = finding(FindingType::Stain, 330.0, 270.0, 30.0, Status::Review, 1);
        stain.outline_px = vec![[310.0, 250.0], [350.0, 255.0], [352.0, 290.0], [330.0, 280.0], [308.0, 292.0]];
        let mut findings = vec![stone, stain];
        for (i, (x, y)) in [(3.0, 3.0), (476.0, 396.0), (150.0, 150.0), (158.0, 156.0)].into_iter().enumerate() {
            findings.push(finding(FindingType::Pit, x, y, 3.0, Status::Fail, i));
        }
        findings.push(finding(FindingType::Scratch, 120.0, 260.0, 14.0, Status::Pass, 1));
        let mut r =
            report(Verdict::Fail, &["missing_stone S2 in view top", "pit pit-1 in view top: 0.061 mm"], findings);
        r.measurements[0].characteristic = "stone.present".into();
        (view, r)
    }

    #[test]
    fn no_line_covers_the_finding_itself() {
        for (w, h) in [(480, 400), (1600, 1200)] {
            for r in [0.0, 2.0, 8.0, 40.0] {
                let mut with_polygon = finding(FindingType::Pit, 240.0, 300.0, r, Status::Fail, 1);
                with_polygon.outline_px = vec![
                    [240.0 - r, 300.0 - r],
                    [240.0 + r, 300.0 - r],
                    [240.0 + r, 300.0 + r],
                    [240.0 - r, 300.0 + r],
                ];
                for f in [finding(FindingType::Pit, 240.0, 300.0, r, Status::Fail, 1), with_polygon] {
                    let view = frame(w, h);
                    let out = draw(&view, &report(Verdict::Fail, &[], vec![f]));
                    let mut changed = 0;
                    for y in 0..h {
                        for x in 0..w {
                            let at = 3 * (y * w + x);
                            let touched = out.data[at..at + 3] != view.image.data[at..at + 3];
                            let d = (x as f64 - 240.0).hypot(y as f64 - 300.0);
                            assert!(!(touched && d <= r), "r {r}: ({x}, {y}) lies in the finding");
                            changed += usize::from(touched && d < 2.0 * r + 40.0);
                        }
                    }
                    assert!(changed > 20, "something is drawn around it");
                }
            }
        }
    }

    #[test]
    fn labels_stay_inside_and_off_each_other_and_off_findings() {
        let (view, r) = busy();
        let style = Style::of(&view.image);
        let findings: Vec<&Finding> = r.findings.iter().filter(|f| is_named(f)).collect();
        let rings: Vec<Circle> = findings.iter().map(|f| Shape::of(f, &style).circle).collect();
        let mut taken = vec![];
        for (f, ring) in findings.iter().zip(&rings) {
            let label = Label::place(f, ring, &r, &view.image, &style, &rings, &[], &taken).unwrap();
            let a = label.area;
            assert!(a.x >= 0 && a.y >= 0 && a.x + a.w <= 480 && a.y + a.h <= 400);
            assert!(taken.iter().all(|t| a.overlap(t) == 0) && rings.iter().all(|c| !a.touches(c)), "{}", label.text);
            taken.push(a);
        }
    }

    #[test]
    fn labels_say_type_place_and_value() {
        let (_, r) = busy();
        let said: Vec<String> = r.findings.iter().map(|f| words(f, &r)).collect();
        assert_eq!(said[0], "missing_stone S2");
        assert_eq!(said[2], "pit 0.036 mm");
    }

    #[test]
    fn many_findings_are_counted_and_only_the_worst_are_named() {
        let findings: Vec<Finding> = (0..40)
            .map(|i| {
                let (x, y) = (60.0 + 110.0 * (i % 8) as f64, 100.0 + 110.0 * (i / 8) as f64);
                finding(FindingType::Pit, x, y, 4.0, Status::Fail, i)
            })
            .collect();
        let view = frame(960, 720);
        let style = Style::of(&view.image);
        let b = Banner::of(&report(Verdict::Fail, &["a", "b", "c", "d"], findings), 40, None, &view.image, &style);
        assert_eq!(b.lines, ["a", "b", "c", "+1 more reason", "+28 more findings"]);
    }

    #[test]
    fn odd_frames_and_findings_are_drawn_all_the_same() {
        for (w, h) in [(16, 16), (17, 300), (103, 541), (400, 30)] {
            let mut view = frame(w, h);
            view.outline_px = vec![vec![], vec![[1.0, 1.0]], vec![[f64::NAN, 2.0], [3.0, 1e9]]];
            view.stones_px = vec![PartMark {
                name: "S".into(),
                x: -50.0,
                y: 1e6,
                radius: 3.0,
                line: vec![],
                offset: Some([1e9, 0.0]),
            }];
            let mut far = finding(FindingType::Pit, -500.0, 1e7, 3.0, Status::Fail, 1);
            far.outline_px = vec![[f64::NAN, 0.0], [1.0, 1.0]];
            let mut odd = finding(FindingType::Anomaly, 8.0, 8.0, f64::INFINITY, Status::Review, 2);
            odd.outline_px = vec![[0.0, 0.0], [1e5, 0.0], [1e5, 1e5]];
            let nan = finding(FindingType::Pit, f64::NAN, 1.0, 3.0, Status::Fail, 3);
            let out = draw(
                &view,
                &report(Verdict::Review, &["a reason that is longer than the frame"], vec![far, odd, nan]),
            );
            // An empty picture stays one; any other has its strip below.
            assert!(out.width == w && (out.height > h || w * h == 0) && out.data.len() == 3 * out.width * out.height);
            encode_png(&out).unwrap();
        }
    }

    /// Compares with `tests/truth/`; with LOUPE_UPDATE_TRUTH set writes it anew (look at it before committing).
    fn assert_truth(name: &str, img: &Image) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/truth").join(name);
        if std::env::var_os("LOUPE_UPDATE_TRUTH").is_some() {
            crate::report::write_whole(&path, &encode_png(img).unwrap()).unwrap();
        }
        let (_, truth) = crate::vision::read_image(&path).unwrap();
        assert_eq!((truth.width, truth.height), (img.width, img.height));
        let off = truth.data.iter().zip(&img.data).filter(|(a, b)| a.abs_diff(**b) > 2).count();
        assert_eq!(off, 0, "{off} bytes differ from {name}; set LOUPE_UPDATE_TRUTH=1 to renew it");
    }

    #[test]
    fn a_busy_frame_looks_as_it_did() {
        let (view, r) = busy();
        let first = draw(&view, &r);
        assert_eq!(first.data, draw(&view, &r).data);
        assert_truth("overlay_busy.png", &first);
    }

    #[test]
    fn the_font_looks_as_it_did() {
        let mut img = Image { width: 400, height: 130, data: vec![90; 3 * 400 * 130], grey: true };
        let ascii: String = (' '..='~').chain("°µ☃".chars()).collect();
        for (i, line) in ascii.chars().collect::<Vec<_>>().chunks(33).enumerate() {
            let line: String = line.iter().collect();
            crate::report::text::draw_text_halo(&mut img, 4, 4 + 22 * i as i32, 2, [255, 220, 120], &line);
        }
        for (i, scale) in [1, 2, 3].into_iter().enumerate() {
            draw_text(&mut img, 4, 70 + 18 * i as i32, scale, [255; 3], "porosity 0.082 mm, S7");
        }
        assert_truth("font.png", &img);
    }
}
