//! The picture of what the surface model takes every part of a frame for.

use super::text::{draw_text, fill, text_height, text_width};
use crate::model::ClassMap;
use crate::vision::Image;

/// Colours of the classes in the order that the models have them; defects are warm, what is sound is not.
const COLOURS: [[u8; 3]; 11] = [
    [240, 205, 60],
    [70, 74, 82],
    [70, 120, 255],
    [60, 190, 120],
    [200, 200, 205],
    [150, 110, 200],
    [255, 30, 30],
    [255, 90, 0],
    [190, 0, 90],
    [255, 0, 190],
    [130, 20, 20],
];
/// How much of a pixel's colour is its class's.
const TINT: f32 = 0.6;

/// A frame in the colours of its likeliest classes, and below it which is which and how much of the frame each has. The same frame
/// and map give the same pixels.
pub fn draw(frame: &Image, map: &ClassMap) -> Image {
    let (gw, gh) = map.grid();
    let likeliest: Vec<usize> = (0..gw * gh)
        .map(|i| {
            let p = |c: usize| map.probs[c * gw * gh + i];
            (1..map.classes.len()).fold(0, |best, c| if p(c) > p(best) { c } else { best })
        })
        .collect();
    let mut out = Image { grey: false, ..frame.clone() };
    let mut share = vec![0usize; map.classes.len()];
    for y in 0..frame.height {
        for x in 0..frame.width {
            let class = likeliest[(y / map.stride).min(gh - 1) * gw + (x / map.stride).min(gw - 1)];
            share[class] += 1;
            let at = 3 * (y * frame.width + x);
            for (v, c) in out.data[at..at + 3].iter_mut().zip(colour(class)) {
                *v = (f32::from(*v) * (1.0 - TINT) + f32::from(c) * TINT).round() as u8;
            }
        }
    }
    legend(&mut out, &map.classes, &share);
    out
}

fn colour(class: usize) -> [u8; 3] {
    COLOURS[class % COLOURS.len()]
}

/// A strip below the picture: a square of its colour, the name and the share of each class that is there, the largest first.
fn legend(out: &mut Image, classes: &[String], share: &[usize]) {
    let (width, pixels) = (out.width as i32, (out.width * out.height).max(1));
    let scale = (out.width as f32 / 700.0).round().max(1.0) as u32;
    let (pad, letter) = (4 * scale as i32, text_height(scale) as i32);
    let row = letter + pad;
    let mut order: Vec<usize> = (0..classes.len()).filter(|c| share[*c] > 0).collect();
    order.sort_by_key(|c| std::cmp::Reverse(share[*c]));
    let mut places = Vec::new();
    let (mut x, mut y) = (pad, pad);
    for class in order {
        let text = format!("{} {:.1} %", classes[class], 100.0 * share[class] as f64 / pixels as f64);
        let wide = row + text_width(&text, scale) as i32 + 2 * pad;
        if x > pad && x + wide > width {
            (x, y) = (pad, y + row);
        }
        places.push((class, text, x, y));
        x += wide;
    }
    let top = out.height as i32;
    out.height += (y + row + pad) as usize;
    out.data.resize(3 * out.width * out.height, 14);
    for (class, text, x, y) in places {
        fill(out, x, top + y, letter, colour(class));
        draw_text(out, x + row, top + y, scale, [240, 244, 248], &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each half of the frame has the colour of its class, the legend names both and no third.
    #[test]
    fn halves() {
        let frame = Image { width: 40, height: 20, data: vec![100; 3 * 40 * 20], grey: false };
        let classes: Vec<String> = ["metal", "background", "stone"].map(String::from).to_vec();
        let half = |left: f32, right: f32| (0..200).map(move |i| if i % 20 < 10 { left } else { right });
        let probs = half(0.9, 0.2).chain(half(0.1, 0.7)).chain(half(0.0, 0.1)).collect();
        let map = ClassMap { width: 40, height: 20, stride: 2, classes, sound: 3, probs };
        let drawn = draw(&frame, &map);
        let at = |x: usize, y: usize| [0, 1, 2].map(|c| drawn.data[3 * (y * 40 + x) + c]);
        let mixed = |c: usize| COLOURS[c].map(|v| (100.0 * (1.0 - TINT) + f32::from(v) * TINT).round() as u8);
        assert_eq!(at(3, 3), mixed(0));
        assert_eq!(at(36, 17), mixed(1));
        assert!(drawn.height > frame.height, "a legend is below");
        let shown: Vec<[u8; 3]> =
            (20..drawn.height).flat_map(|y| (0..40).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect();
        assert!(shown.contains(&COLOURS[0]) && shown.contains(&COLOURS[1]) && !shown.contains(&COLOURS[2]));
    }
}
