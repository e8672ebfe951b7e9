//! How a picture is cut into tiles and their outputs are put together.

use crate::vision::{Image, Mask, Rect};

/// Networks halve a tile up to five times, so its sides are multiples of this.
const GRANULE: usize = 32;

/// The tiles of one picture, all of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Size of a tile in pixels.
    pub width: usize,
    pub height: usize,
    pub tiles: Vec<Tile>,
}

/// One tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    /// Its first pixel in the picture. A tile may reach beyond the picture's right and lower side.
    pub x: usize,
    pub y: usize,
    /// The cells of the output grid that are taken from it.
    pub kept: Rect,
}

/// One axis of a plan.
#[derive(Debug, PartialEq, Eq)]
struct Axis {
    /// Length of a tile in pixels.
    tile: usize,
    /// First pixel of each tile, and its kept cells `from..to`.
    spans: Vec<(usize, usize, usize)>,
}

/// Covers the pixels `from..to` of an axis of `len` pixels with the fewest tiles of at most `tile` pixels that
/// overlap by at least `overlap`, then makes the tiles as small as that number allows: the pixels of a tile are
/// what an inspection waits for. Neighbours share their overlap half and half.
fn axis(len: usize, from: usize, to: usize, tile: usize, overlap: usize, stride: usize) -> Axis {
    let cells = len.div_ceil(stride);
    let (from, to) = (from / stride * stride, to.next_multiple_of(stride));
    let span = to - from;
    let (tile, starts) = if span <= tile {
        // What the tile has to spare goes to both sides of the region, into the picture; only a picture smaller
        // than the tile is reflected.
        let tile = span.next_multiple_of(GRANULE);
        let start = from.saturating_sub((tile - span) / 2).min((cells * stride).saturating_sub(tile));
        (tile, vec![start / stride * stride])
    } else {
        let count = (span - overlap).div_ceil(tile - overlap);
        let tile = (span + (count - 1) * overlap).div_ceil(count).next_multiple_of(GRANULE).min(tile);
        let start = |i: usize| (from + (span - tile) * i / (count - 1)) / stride * stride;
        (tile, (0..count).map(start).collect())
    };
    let mut spans = Vec::with_capacity(starts.len());
    let mut kept_from = starts[0] / stride;
    for (i, &start) in starts.iter().enumerate() {
        let kept_to = match starts.get(i + 1) {
            Some(next) => (next + start + tile) / (2 * stride),
            None => ((start + tile) / stride).min(cells),
        };
        spans.push((start, kept_from, kept_to));
        kept_from = kept_to;
    }
    Axis { tile, spans }
}

/// Plans the tiles of a picture; with a mask only those that give at least one of its pixels.
pub(super) fn plan(
    width: usize,
    height: usize,
    mask: Option<&Mask>,
    tile: usize,
    overlap: usize,
    stride: usize,
) -> Plan {
    let region = match mask {
        None => Rect { x: 0, y: 0, width, height },
        Some(m) => match m.bounds() {
            Some(b) => {
                // The region's rim is seen with the same surroundings as a seam between tiles.
                let margin = overlap / 2;
                let (x, y) = (b.x.saturating_sub(margin), b.y.saturating_sub(margin));
                let (x1, y1) = ((b.x + b.width + margin).min(width), (b.y + b.height + margin).min(height));
                Rect { x, y, width: x1 - x, height: y1 - y }
            }
            None => return Plan { width: tile, height: tile, tiles: vec![] },
        },
    };
    let h = axis(width, region.x, region.x + region.width, tile, overlap, stride);
    let v = axis(height, region.y, region.y + region.height, tile, overlap, stride);
    let touches = |kept: &Rect| {
        let Some(m) = mask else { return true };
        let x0 = kept.x * stride;
        let x1 = ((kept.x + kept.width) * stride).min(width);
        let y1 = ((kept.y + kept.height) * stride).min(height);
        (kept.y * stride..y1).any(|y| m.data[y * width + x0..y * width + x1].iter().any(|p| *p != 0))
    };
    let mut tiles = Vec::new();
    for &(y, y0, y1) in &v.spans {
        for &(x, x0, x1) in &h.spans {
            let kept = Rect { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
            if touches(&kept) {
                tiles.push(Tile { x, y, kept });
            }
        }
    }
    Plan { width: h.tile, height: v.tile, tiles }
}

/// Copies a tile into three float planes (red, green, blue, each `width * height`), reflecting the picture at its
/// right and lower side without repeating the border pixel.
pub(super) fn cut(image: &Image, tile: &Tile, width: usize, height: usize, out: &mut [f32]) {
    let plane = width * height;
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let inside = image.width.saturating_sub(tile.x).min(width);
    for y in 0..height {
        let sy = reflect(tile.y + y, image.height);
        let row = &image.data[3 * sy * image.width..3 * (sy + 1) * image.width];
        let at = y * width;
        let (r, g, b) = (&mut red[at..at + width], &mut green[at..at + width], &mut blue[at..at + width]);
        let source = row[3 * tile.x..3 * (tile.x + inside)].chunks_exact(3);
        for (((p, r), g), b) in source.zip(r.iter_mut()).zip(g.iter_mut()).zip(b.iter_mut()) {
            *r = f32::from(p[0]);
            *g = f32::from(p[1]);
            *b = f32::from(p[2]);
        }
        for x in inside..width {
            let sx = 3 * reflect(tile.x + x, image.width);
            r[x] = f32::from(row[sx]);
            g[x] = f32::from(row[sx + 1]);
            b[x] = f32::from(row[sx + 2]);
        }
    }
}

/// The index inside `0..len` that a mirror at both ends shows at `i`.
fn reflect(i: usize, len: usize) -> usize {
    if i < len {
        return i;
    }
    if len == 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    let i = i % period;
    if i < len {
        i
    } else {
        period - i
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_is_kept_once_and_lies_inside_its_tile() {
        for stride in [1, 2, 4, 8] {
            for (w, h) in
                [(16, 16), (31, 700), (103, 541), (256, 256), (257, 255), (300, 200), (960, 720), (2448, 2048)]
            {
                let p = plan(w, h, None, 256, 32, stride);
                assert!(
                    p.width <= 256 && p.height <= 256 && p.width.is_multiple_of(32) && p.height.is_multiple_of(32)
                );
                let (gw, gh) = (w.div_ceil(stride), h.div_ceil(stride));
                let mut seen = vec![0u8; gw * gh];
                for t in &p.tiles {
                    assert!(t.x % stride == 0 && t.y % stride == 0);
                    assert!(t.x <= t.kept.x * stride && (t.kept.x + t.kept.width) * stride <= t.x + p.width);
                    assert!(t.y <= t.kept.y * stride && (t.kept.y + t.kept.height) * stride <= t.y + p.height);
                    // Half the overlap is cropped everywhere but at the picture's border.
                    assert!(t.x == 0 || t.kept.x * stride - t.x >= 16 - stride);
                    for y in t.kept.y..t.kept.y + t.kept.height {
                        for x in t.kept.x..t.kept.x + t.kept.width {
                            seen[y * gw + x] += 1;
                        }
                    }
                }
                assert!(seen.iter().all(|n| *n == 1), "{w} x {h} stride {stride}");
                // A tile reaches over the picture's end only where the picture is smaller than a tile.
                assert!(p.tiles.iter().all(|t| w <= p.width || t.x + p.width <= w.next_multiple_of(stride)));
            }
        }
    }

    #[test]
    fn a_mask_is_covered_wherever_it_lies() {
        let (w, h) = (700, 430);
        for (x0, y0, x1, y1) in [(0, 0, 1, 1), (699, 429, 700, 430), (300, 200, 420, 260), (5, 90, 690, 400)] {
            let mut m = Mask::empty(w, h);
            for y in y0..y1 {
                for x in x0..x1 {
                    m.data[y * w + x] = 255;
                }
            }
            let p = plan(w, h, Some(&m), 256, 32, 2);
            for y in y0..y1 {
                for x in x0..x1 {
                    let (cx, cy) = (x / 2, y / 2);
                    let n = p.tiles.iter().filter(|t| {
                        (t.kept.x..t.kept.x + t.kept.width).contains(&cx)
                            && (t.kept.y..t.kept.y + t.kept.height).contains(&cy)
                    });
                    assert_eq!(n.count(), 1, "{x}, {y}");
                }
            }
            assert!(p.tiles.iter().all(|t| t.x + p.width <= w && t.y + p.height <= h));
        }
        assert!(plan(w, h, Some(&Mask::empty(w, h)), 256, 32, 2).tiles.is_empty());
    }

    #[test]
    fn a_small_region_costs_a_small_tile() {
        let mut m = Mask::empty(960, 720);
        m.data[300 * 960 + 400] = 255;
        let p = plan(960, 720, Some(&m), 256, 32, 2);
        assert_eq!((p.width, p.height, p.tiles.len()), (64, 64, 1));
    }

    #[test]
    fn reflection_is_numpys() {
        // numpy.pad(range(4), (0, 8), "reflect")
        let got: Vec<usize> = (0..12).map(|i| reflect(i, 4)).collect();
        assert_eq!(got, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(reflect(5, 1), 0);
    }

    #[test]
    fn a_tile_is_cut_with_its_reflection() {
        let data: Vec<u8> = (0..5 * 3 * 3).map(|v| v as u8).collect();
        let image = Image { width: 5, height: 3, data, grey: false };
        let tile = Tile { x: 2, y: 0, kept: Rect { x: 0, y: 0, width: 1, height: 1 } };
        let mut out = vec![0.0; 3 * 8 * 4];
        cut(&image, &tile, 8, 4, &mut out);
        let red = |x: usize, y: usize| out[y * 8 + x];
        assert_eq!([red(0, 0), red(2, 0), red(3, 0), red(4, 0)], [6.0, 12.0, 9.0, 6.0]);
        assert_eq!(red(0, 3), red(0, 1));
        assert_eq!(out[8 * 4], 7.0);
    }
}
