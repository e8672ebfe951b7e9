//! Which good pictures are shots of one and the same part. A part that is held out beside another shot of itself looks like nothing new, and a threshold
//! that is set so calls the next good part.

use ndarray::{s, Array2};

use crate::vision::Image;

/// Cells of an overview along each side.
const SIDE: usize = 16;
/// Pictures are shots of one part where their overviews differ by less than this share of what two pictures usually differ by. Of 100 castings shot three times
/// (shifts of a pixel, noise) and of 14 rendered pieces, the nearest other shot lies within 0.07 for nine in ten; of 762 tiles of mtd no other picture does, of the 480
/// castings, some of which are in their set twice, one in thirty.
const NEAR: f32 = 0.06;
/// Pairs that say by how much two pictures usually differ.
const PAIRS: usize = 4096;
/// Pictures that are compared with all others at once.
const BLOCK: usize = 512;

/// A picture in few numbers: the brightness of its cells about their mean.
pub fn overview(image: &Image) -> Vec<f32> {
    let mut cells = vec![[0.0f32; 2]; SIDE * SIDE];
    for (i, p) in image.data.chunks_exact(3).enumerate() {
        let (x, y) = (i % image.width * SIDE / image.width, i / image.width * SIDE / image.height);
        let c = &mut cells[y * SIDE + x];
        c[0] += p.iter().map(|v| f32::from(*v)).sum::<f32>() / 3.0;
        c[1] += 1.0;
    }
    let cells: Vec<f32> = cells.iter().map(|c| c[0] / c[1].max(1.0)).collect();
    let mean = cells.iter().sum::<f32>() / cells.len() as f32;
    cells.iter().map(|v| v - mean).collect()
}

/// The number of the part that each picture shows, from 0 on in the pictures' order: `known` says which are of one part already (equal numbers), and pictures
/// whose [`overview`]s are nearly the same are too.
pub fn parts(overviews: &[Vec<f32>], known: &[usize]) -> Vec<usize> {
    let n = overviews.len();
    let mut of: Vec<usize> = (0..n).collect();
    let mut first = std::collections::HashMap::new();
    for (i, k) in known.iter().enumerate() {
        let j = *first.entry(*k).or_insert(i);
        join(&mut of, j, i);
    }
    let columns = overviews.first().map_or(0, Vec::len);
    let data: Vec<f32> = overviews.iter().flatten().copied().collect();
    if let Ok(all) = Array2::from_shape_vec((n, columns), data) {
        let squares: Vec<f32> = overviews.iter().map(|o| o.iter().map(|v| v * v).sum()).collect();
        let near = NEAR * NEAR * usual(overviews);
        for from in (0..n).step_by(BLOCK) {
            let to = (from + BLOCK).min(n);
            // Square distances, of each pair once.
            let products = all.slice(s![from..to, ..]).dot(&all.slice(s![from.., ..]).t());
            for ((i, j), product) in products.indexed_iter() {
                let (i, j) = (from + i, from + j);
                if i < j && squares[i] + squares[j] - 2.0 * product < near {
                    join(&mut of, i, j);
                }
            }
        }
    }
    let mut numbers = std::collections::HashMap::new();
    (0..n)
        .map(|i| {
            let (root, next) = (root(&mut of, i), numbers.len());
            *numbers.entry(root).or_insert(next)
        })
        .collect()
}

/// The square by which two pictures usually differ: the median over pairs.
fn usual(overviews: &[Vec<f32>]) -> f32 {
    let n = overviews.len();
    let stride = (n * n / PAIRS).max(1);
    let pairs = (0..n * n).step_by(stride).map(|k| (k / n, k % n)).filter(|(i, j)| i < j);
    let mut squares: Vec<f32> =
        pairs.map(|(i, j)| overviews[i].iter().zip(&overviews[j]).map(|(a, b)| (a - b) * (a - b)).sum()).collect();
    if squares.is_empty() {
        return 0.0;
    }
    crate::vision::ops::median(&mut squares)
}

fn root(of: &mut [usize], mut i: usize) -> usize {
    while of[i] != i {
        of[i] = of[of[i]];
        i = of[i];
    }
    i
}

/// The smaller root stays one.
fn join(of: &mut [usize], i: usize, j: usize) {
    let (i, j) = (root(of, i), root(of, j));
    of[i.max(j)] = i.min(j);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of blobs that its number draws, with noise of a few levels.
    fn part(number: u32, shot: u32) -> Image {
        let (width, height) = (64, 48);
        let mut state = 12345 + 7919 * shot;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 24) / 64.0 - 2.0
        };
        let level = |x: usize, y: usize| {
            let k = f64::from(number);
            120.0 + 50.0 * (0.1 * x as f64 + 1.7 * k).sin() + 40.0 * (0.13 * y as f64 + 2.9 * k).cos()
        };
        let data = (0..width * height).flat_map(|i| [(level(i % width, i / width) + noise()) as u8; 3]).collect();
        Image { width, height, data, grey: false }
    }

    #[test]
    fn shots_of_one_part_are_told_by_their_pictures_or_their_piece() {
        let views: Vec<Vec<f32>> =
            [(0, 0), (1, 1), (0, 2), (2, 3), (3, 4), (1, 5)].map(|(k, s)| overview(&part(k, s))).to_vec();
        assert_eq!(parts(&views, &[0, 1, 2, 3, 4, 5]), [0, 1, 0, 2, 3, 1]);
        // Two frames of one piece under its number, however unlike.
        assert_eq!(parts(&views, &[0, 1, 2, 9, 9, 5]), [0, 1, 0, 2, 2, 1]);
        assert_eq!(parts(&[], &[]), Vec::<usize>::new());
        assert_eq!(parts(&views[..1], &[4]), [0]);
    }
}
