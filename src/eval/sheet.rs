//! The contact sheet: the worst samples with what is true and what was found.

use image::{ImageFormat, Rgb, RgbImage};
use imageproc::drawing::{draw_hollow_circle_mut, draw_line_segment_mut};

use super::figures::own_iou;
use super::run::Outcome;
use crate::dataset::Set;
use crate::report::text::draw_text;
use crate::report::Verdict;
use crate::vision::{read_image, Image};

const COLUMNS: usize = 6;
const TILES: usize = 24;
const TILE_W: u32 = 320;
const PICTURE_H: u32 = 240;
const CAPTION_H: u32 = 36;
/// Characters of a caption line at 6 pixels each.
const LINE: usize = 52;
const TRUE: Rgb<u8> = Rgb([40, 220, 90]);
const FOUND: Rgb<u8> = Rgb([255, 60, 60]);
const FAINT: Rgb<u8> = Rgb([255, 170, 60]);

/// How bad a sample is: its class of mistake, then how far off. None for one that needs no look.
fn badness(o: &Outcome) -> Option<(u8, f64)> {
    let score = o.score.unwrap_or(0.0);
    match (o.defective, o.verdict) {
        (Some(true), Verdict::Pass) => Some((0, -score)),
        (Some(true), Verdict::Review) => Some((1, 0.0)),
        (Some(false), Verdict::Fail) => Some((2, score)),
        (Some(false), Verdict::Review) => Some((3, score)),
        (Some(true), Verdict::Fail) => own_iou(o).map(|iou| (4, 1.0 - iou)),
        (Some(false), Verdict::Pass) => o.score.map(|s| (4, s)),
        (None, _) => None,
    }
}

pub(super) fn png(set: &Set, outcomes: &[Outcome]) -> Result<Option<Vec<u8>>, image::ImageError> {
    let mut worst: Vec<((u8, f64), &Outcome)> = outcomes.iter().filter_map(|o| Some((badness(o)?, o))).collect();
    worst.sort_by(|a, b| {
        let names = || set.samples[a.1.index].name.cmp(&set.samples[b.1.index].name);
        a.0 .0.cmp(&b.0 .0).then(b.0 .1.total_cmp(&a.0 .1)).then_with(names)
    });
    worst.truncate(TILES);
    if worst.is_empty() {
        return Ok(None);
    }
    let rows = worst.len().div_ceil(COLUMNS) as u32;
    let columns = worst.len().min(COLUMNS) as u32;
    let mut sheet = RgbImage::from_pixel(columns * TILE_W, rows * (PICTURE_H + CAPTION_H), Rgb([24, 24, 24]));
    let mut captions = Vec::new();
    for (i, (_, o)) in worst.iter().enumerate() {
        let (x, y) = ((i % COLUMNS) as u32 * TILE_W, (i / COLUMNS) as u32 * (PICTURE_H + CAPTION_H));
        if let Some(tile) = tile(set, o) {
            let left = (TILE_W - tile.width()) / 2;
            image::imageops::replace(&mut sheet, &tile, i64::from(x + left), i64::from(y));
        }
        captions.push((x, y + PICTURE_H, o));
    }
    let (width, height) = (sheet.width() as usize, sheet.height() as usize);
    let mut words = Image { width, height, data: sheet.into_raw(), grey: false };
    for (x, y, o) in captions {
        caption(&mut words, x as i32 + 4, y as i32 + 3, set, o);
    }
    let Some(sheet) = RgbImage::from_raw(width as u32, height as u32, words.data) else { return Ok(None) };
    let mut out = std::io::Cursor::new(Vec::new());
    sheet.write_to(&mut out, ImageFormat::Png)?;
    Ok(Some(out.into_inner()))
}

fn caption(sheet: &mut Image, x: i32, y: i32, set: &Set, o: &Outcome) {
    let name = &set.samples[o.index].name;
    // The end of a name tells more than its beginning.
    let skip = name.chars().count().saturating_sub(LINE);
    let name: String = name.chars().skip(skip).collect();
    let truth = match o.defective {
        Some(true) => "defective",
        Some(false) => "good",
        None => "undecided",
    };
    let mut words: Vec<&str> = o.defects.iter().map(|d| d.word.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    let mut truth = format!("true: {truth} {}", words.join(" "));
    truth.truncate(truth.char_indices().nth(LINE).map_or(truth.len(), |c| c.0));
    let mut said = format!("said: {}", o.verdict.as_str());
    if let Some(s) = o.score {
        said.push_str(&format!("  score {s:.3}"));
    }
    if let Some(v) = own_iou(o) {
        said.push_str(&format!("  IoU {v:.2}"));
    }
    draw_text(sheet, x, y, 1, [230, 230, 230], &name);
    draw_text(sheet, x, y + 11, 1, TRUE.0, &truth);
    draw_text(sheet, x, y + 22, 1, FOUND.0, &said);
}

/// The picture with truth and findings, or none where it can no longer be read.
fn tile(set: &Set, o: &Outcome) -> Option<RgbImage> {
    let (_, picture) = read_image(&o.tile.path).ok()?;
    let (w, h) = (picture.width, picture.height);
    let scale = (f64::from(TILE_W) / w as f64).min(f64::from(PICTURE_H) / h as f64);
    let to = |v: usize, max: u32| ((v as f64 * scale).round() as u32).clamp(1, max);
    let (tw, th) = (to(w, TILE_W), to(h, PICTURE_H));
    let full = RgbImage::from_raw(w as u32, h as u32, picture.data)?;
    let mut tile = if scale < 1.0 {
        image::imageops::thumbnail(&full, tw, th)
    } else {
        image::imageops::resize(&full, tw, th, image::imageops::FilterType::Nearest)
    };
    // The centre of the first pixel is (0, 0) on either scale.
    let at = |p: [f64; 2]| [((p[0] + 0.5) * scale - 0.5) as f32, ((p[1] + 0.5) * scale - 0.5) as f32];
    let circle = |tile: &mut RgbImage, p: [f64; 2], r: f64, colour| {
        let c = at(p);
        draw_hollow_circle_mut(tile, (c[0].round() as i32, c[1].round() as i32), (r * scale).max(4.0) as i32, colour);
    };
    let ring = |tile: &mut RgbImage, polygon: &[[f64; 2]], colour| {
        for (i, a) in polygon.iter().enumerate() {
            let (a, b) = (at(*a), at(polygon[(i + 1) % polygon.len()]));
            draw_line_segment_mut(tile, (a[0], a[1]), (b[0], b[1]), colour);
        }
    };
    for f in o.findings.iter().filter(|f| f.finding.view == o.tile.view) {
        let colour = if f.counts { FOUND } else { FAINT };
        if f.finding.outline_px.len() > 2 {
            ring(&mut tile, &f.finding.outline_px, colour);
        } else {
            circle(&mut tile, [f.finding.x_px, f.finding.y_px], f.finding.radius_px, colour);
        }
    }
    let truth = &set.samples[o.index].truth;
    for d in truth.defects.iter().filter(|d| d.placed) {
        if d.polygons.is_empty() {
            circle(&mut tile, [d.x_px, d.y_px], d.radius_px, TRUE);
        }
        for polygon in &d.polygons {
            ring(&mut tile, polygon, TRUE);
        }
    }
    if let (Some(mask), true) = (&truth.mask, truth.defects.is_empty()) {
        let mask = mask.load(w, h).ok()?;
        let inside = |x: u32, y: u32| {
            let back = |v: u32, n: usize| (((f64::from(v) + 0.5) / scale) as usize).min(n - 1);
            x < tw && y < th && mask.at(back(x, w), back(y, h))
        };
        for y in 0..th {
            for x in 0..tw {
                let beside = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
                if inside(x, y) && beside.iter().any(|(u, v)| !inside(*u, *v)) {
                    tile.put_pixel(x, y, TRUE);
                }
            }
        }
    }
    Some(tile)
}
