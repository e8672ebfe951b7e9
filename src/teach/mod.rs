//! A part learned from good pictures alone: what does not belong on a new one.
//!
//! A backbone describes each place of a picture. Two judges look at the descriptions: the *gallery* asks how far a place is from
//! the same place on good pictures, the *discriminator* (taught on defects made up on the good pictures) how much it looks
//! like something that should not be there. Where either departs farther from held-out good pictures than the accepted share
//! of false alarms allows, the picture is called.

pub mod cells;
mod file;
pub mod fit;
mod gallery;
mod net;
mod synthetic;

use std::path::{Path, PathBuf};

use fastrand::Rng;
use ndarray::{s, Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::model::{Backbone, ModelError};
use crate::vision::{Image, Plane, VisionError};
use cells::{describe, smoothed, Cells};
pub use fit::{Fit, Looked};
use gallery::{Basis, Gallery, Kept};
use net::Net;

pub use file::TAUGHT_VERSION;

/// Fewest good pictures that something can be taught on.
pub const FEWEST: usize = 10;
/// The share of good pictures called falsely that is accepted where the user says none.
pub const FALSE_ALARMS: f64 = 0.01;
/// The side of the square as large as the picture that is looked at, of pictures that nothing places.
pub const SIDE: usize = 224;
/// The same of pieces: their defects are smaller.
pub const PIECE_SIDE: usize = 448;
/// Most good pictures kept.
pub const MOST_KEPT: usize = 2000;
/// Pictures that the basis is made of.
const BASIS_PICTURES: usize = 256;
/// Cells of each of them.
const BASIS_CELLS: usize = 200;
/// Cells of good pictures that the discriminator learns on, over all pictures.
const GOOD_CELLS: usize = 100_000;
/// Pictures with made-up defects: fewest and most.
const SPOILT: (usize, usize) = (400, 600);
/// Cells of one of them with a defect, and without, that are learned on.
const SPOILT_CELLS: (usize, usize) = (150, 60);
/// How much of a cell a defect must cover to count.
const COVERED: f32 = 0.25;
/// Parts that the held-out scores are made in.
const FOLDS: usize = 3;
/// Most pictures that are held out and scored.
const MOST_HELD: usize = 1000;
/// Cells of each held-out picture that the cells' own tails are taken from.
const TAIL_CELLS: usize = 200;
/// Pictures' worth of the mean over all cells, and of the deviation, that a cell's own are drawn to.
const USUAL_WEIGHT: (f64, f64) = (4.0, 12.0);
/// Good pictures from which on a distance to them counts half of what the discriminator's answer does: of few pictures the nearest
/// one tells little. (casting and mtd with 20 pictures, three draws each: 20 to 100 are within 0.01.)
const GALLERY_HALF: f64 = 40.0;
/// How sharp the soft maximum of a picture's readings is.
const SHARP: f64 = 2.0;
/// The share of a picture's cells whose mean distance is its upper one.
const TOP_SHARE: usize = 50;

/// Why something could not be taught, or a taught file not used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    /// Too few good pictures.
    #[error("{0} good pictures, at least {FEWEST} are needed")]
    TooFew(usize),
    /// The backbone failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// OpenCV refused an operation.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// Nothing of the pictures counts.
    #[error("no cell of the good pictures lies on metal")]
    Nothing,
    /// A file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a taught file, one of another version, or a damaged one.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The backbone at hand is not the one it was taught with.
    #[error(
        "{}: taught with the backbone {wanted} (sha256 {wanted_sha256}), and the one at hand is {found} (sha256 \
         {found_sha256}): give that one with --backbone, or teach again",
        path.display()
    )]
    OtherBackbone {
        /// The taught file.
        path: PathBuf,
        /// The backbone's name in it.
        wanted: String,
        /// And its hash.
        wanted_sha256: String,
        /// The name of the one at hand.
        found: String,
        /// And its hash.
        found_sha256: String,
    },
}

/// What a user may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The accepted share of good pictures called falsely, above 0 and below 0.5.
    pub false_alarms: f64,
    /// Most good pictures kept.
    pub most_kept: usize,
    /// The seed of everything drawn.
    pub seed: u64,
    /// What it is taught on, for the file: a name, and the day as `YYYY-MM-DD`.
    pub on: String,
    /// The day.
    pub date: String,
    /// The light of the frames, where all have one.
    pub light: Option<String>,
}

/// Where a number lies among those of good pictures: the middle, and a place far up in the tail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// The median.
    pub middle: f64,
    /// The upper place.
    pub upper: f64,
}

impl Tail {
    fn of(values: &mut [f64], at: f64) -> Self {
        values.sort_by(f64::total_cmp);
        let pick =
            |q: f64| values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(0.0);
        Tail { middle: pick(0.5), upper: pick(at) }
    }

    /// 0 in the middle, 1 at the upper place.
    fn place(self, v: f64) -> f64 {
        (v - self.middle) / (self.upper - self.middle).max(1e-9)
    }
}

/// What a taught file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The program that taught it.
    pub program: String,
    /// What it was taught on.
    pub on: String,
    /// The day it was taught.
    pub date: String,
    /// The light of the frames it was taught on; null for pictures that name none.
    pub light: Option<String>,
    /// Good pictures.
    pub pictures: usize,
    /// The seed.
    pub seed: u64,
    /// Name of the backbone.
    pub backbone: String,
    /// sha256 of its file.
    pub backbone_sha256: String,
    /// Its layers.
    pub layers: Vec<String>,
    /// The size that pictures are looked at in.
    pub fit: Fit,
    /// Cells along x and y.
    pub grid: [usize; 2],
    /// The share of false alarms that was accepted.
    pub false_alarms: f64,
    /// The tails of what a picture is called by: mean log distance, mean of the farthest cells' departures, the
    /// discriminator's largest answer.
    pub tails: [Tail; 3],
    /// The tails of single cells: the distance's departure and the discriminator's answer.
    pub cell_tails: [Tail; 2],
    /// What is added to a distance before its log, so that a copy of a good picture is not infinitely near.
    pub least_distance: f64,
    /// The place that a picture is called from.
    pub threshold: f64,
    /// The place that a cell is called from.
    pub cell_threshold: f64,
    /// Standard uncertainty of a score: what a shift of a fraction of a cell changes.
    pub score_u: f64,
    /// Scores of the held-out good pictures, ascending; 1 is the threshold.
    pub good_scores: Vec<f64>,
}

/// A part as it was learned.
#[derive(Debug, Clone)]
pub struct Taught {
    /// What it says of itself.
    pub header: Header,
    /// sha256 of its file, where it was read from one.
    pub sha256: String,
    basis: Basis,
    look: Look,
    gallery: Gallery,
    usual: Usual,
}

/// A taught part with the backbone it was taught with.
#[derive(Debug)]
pub struct Lesson {
    /// What was learned.
    pub taught: Taught,
    /// With what.
    pub backbone: Backbone,
}

impl Lesson {
    /// Loads a taught file, and the backbone: the one given, else the one that the set-up makes.
    ///
    /// # Errors
    /// Where one of them cannot be used.
    pub fn load(path: &Path, backbone: Option<&Path>) -> Result<Self, TeachError> {
        let taught = Taught::read(path)?;
        let at = match backbone {
            Some(b) => b.to_owned(),
            None => Backbone::default_path()?,
        };
        let backbone = Backbone::load(&at, Some(&taught.header.layers))?;
        taught.fits(&backbone, path)?;
        Ok(Lesson { taught, backbone })
    }
}

/// What is made of one picture.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The picture's score: about 0.5 for a good one, called from 1.
    pub score: f64,
    /// Standard uncertainty of it.
    pub score_u: f64,
    /// The same per cell of the picture that is looked at; 0 where a cell does not count.
    pub cells: Plane,
}

/// What good pictures have about each cell, mean and deviation of the distance's log: where a part shines, a good one differs
/// more from the next than where it is dull.
type Usual = Vec<[f32; 2]>;

/// Sums over good pictures, of which one can be taken out again.
#[derive(Clone)]
struct Sums {
    /// Count, sum and sum of squares per cell.
    cells: Vec<[f64; 3]>,
}

impl Sums {
    fn new(n: usize) -> Self {
        Sums { cells: vec![[0.0; 3]; n] }
    }

    fn add(&mut self, values: &[Option<f64>], sign: f64) {
        for (c, v) in self.cells.iter_mut().zip(values) {
            if let Some(v) = v {
                c[0] += sign;
                c[1] += sign * v;
                c[2] += sign * v * v;
            }
        }
    }

    /// Mean and deviation of each cell, drawn towards those of all where few pictures tell.
    fn usual(&self) -> Usual {
        let all = self.cells.iter().fold([0.0; 3], |a, c| [a[0] + c[0], a[1] + c[1], a[2] + c[2]]);
        let n = all[0].max(1.0);
        let mean = all[1] / n;
        // Within cells: what is left when each cell's own mean is taken out.
        let within: f64 = self.cells.iter().filter(|c| c[0] > 0.0).map(|c| c[2] - c[1] * c[1] / c[0]).sum();
        let free = (n - self.cells.iter().filter(|c| c[0] > 0.0).count() as f64).max(1.0);
        let var = (within.max(0.0) / free).max(1e-6);
        self.cells
            .iter()
            .map(|c| {
                let m = (c[1] + USUAL_WEIGHT.0 * mean) / (c[0] + USUAL_WEIGHT.0);
                let own = (c[2] - 2.0 * m * c[1] + c[0] * m * m).max(0.0);
                let v = (own + USUAL_WEIGHT.1 * var) / (c[0] + USUAL_WEIGHT.1);
                [m as f32, v.sqrt() as f32]
            })
            .collect()
    }
}

/// What the two judges say of a picture's cells; none where a cell does not count.
struct Readings {
    distance: Vec<Option<f32>>,
    odds: Vec<Option<f32>>,
}

impl Readings {
    fn logs(&self, least: f64) -> Vec<Option<f64>> {
        self.distance.iter().map(|d| d.map(|d| (f64::from(d) + least).ln())).collect()
    }

    /// How far each cell's distance departs from what is usual there, in deviations; the discriminator's answer (measured against
    /// what is usual there, it told less); and the distance's log itself.
    fn departures(&self, least: f64, usual: &[[f32; 2]]) -> Vec<Option<[f64; 3]>> {
        let one = |v: f64, u: &[f32; 2]| (v - f64::from(u[0])) / f64::from(u[1]).max(1e-6);
        self.logs(least)
            .iter()
            .zip(&self.odds)
            .zip(usual)
            .map(|((d, o), u)| Some([one((*d)?, u), f64::from((*o)?), (*d)?]))
            .collect()
    }
}

/// Of a picture: the mean log distance, the mean of the farthest cells' departures, and the discriminator's largest answer.
fn of_picture(departures: &[Option<[f64; 3]>]) -> Option<[f64; 3]> {
    let mut far: Vec<f64> = departures.iter().flatten().map(|z| z[0]).collect();
    if far.is_empty() {
        return None;
    }
    let mean = departures.iter().flatten().map(|z| z[2]).sum::<f64>() / far.len() as f64;
    far.sort_by(|a, b| b.total_cmp(a));
    let top = (far.len() / TOP_SHARE).max(1);
    let upper = far[..top].iter().sum::<f64>() / top as f64;
    let odds = departures.iter().flatten().map(|z| z[1]).fold(f64::MIN, f64::max);
    Some([mean, upper, odds])
}

/// Basis and discriminator as one matrix product for every cell, for both want nearly the same numbers.
#[derive(Debug, Clone)]
struct Look {
    net: Net,
    /// Columns of cells by hidden units and kept axes.
    weights: Array2<f32>,
    /// Of the hidden units.
    bias: Array1<f32>,
    /// Of the kept axes.
    offset: Array1<f32>,
}

impl Look {
    /// The basis takes the last columns of what the discriminator takes; None where it wants more.
    fn of(basis: &Basis, net: Net) -> Option<Look> {
        let ((axes, offset), (inner, bias)) = (basis.folded(), net.folded());
        let (columns, hidden) = inner.dim();
        let first = columns.checked_sub(axes.nrows())?;
        let mut weights = Array2::zeros((columns, hidden + axes.ncols()));
        weights.slice_mut(s![.., ..hidden]).assign(&inner);
        weights.slice_mut(s![first.., hidden..]).assign(&axes);
        Some(Look { net, weights, bias, offset })
    }

    fn read(&self, cells: &Cells, gallery: &Gallery, but: Option<usize>) -> Readings {
        let products = cells.all.dot(&self.weights);
        let hidden = self.bias.len();
        let codes = gallery::coded(products.slice(s![.., hidden..]), &self.offset, cells);
        let distance = gallery.distances(&Kept { codes, counts: cells.counts.clone() }, but);
        let rows = products.rows().into_iter().zip(&cells.counts);
        let odds =
            rows.map(|(row, c)| c.then(|| self.net.answer(row.slice_move(s![..hidden]), &self.bias))).collect();
        Readings { distance, odds }
    }
}

impl Taught {
    /// Scores a picture as it is looked at ([`Fit::look`]).
    ///
    /// # Errors
    /// Where the backbone fails.
    pub fn score(&self, backbone: &Backbone, looked: &Looked) -> Result<Option<Scored>, ModelError> {
        let cells = describe(backbone, &looked.image, &looked.mask)?;
        let readings = self.look.read(&cells, &self.gallery, None);
        Ok(self.header.scored(&readings, &self.usual))
    }

    /// Whether a backbone is the one it was taught with.
    ///
    /// # Errors
    /// [`TeachError::OtherBackbone`].
    pub fn fits(&self, backbone: &Backbone, path: &Path) -> Result<(), TeachError> {
        let info = backbone.info();
        if info.sha256 == self.header.backbone_sha256 && info.layers == self.header.layers {
            return Ok(());
        }
        Err(TeachError::OtherBackbone {
            path: path.to_owned(),
            wanted: self.header.backbone.clone(),
            wanted_sha256: self.header.backbone_sha256.clone(),
            found: info.name.clone(),
            found_sha256: info.sha256.clone(),
        })
    }

    /// Good pictures kept.
    pub fn kept(&self) -> usize {
        self.gallery.pictures.len()
    }
}

impl Header {
    fn scored(&self, readings: &Readings, usual: &[[f32; 2]]) -> Option<Scored> {
        let departures = readings.departures(self.least_distance, usual);
        let of = of_picture(&departures)?;
        let place = self.place(&of);
        tracing::debug!("readings {of:?}, place {place:.3} of {:.3}", self.threshold);
        let relative = |v: f64, threshold: f64| (0.5 + 0.5 * v / threshold.max(1e-9)).max(0.0);
        let data = departures
            .iter()
            .map(|z| z.map_or(0.0, |z| relative(self.cell(z), self.cell_threshold) as f32))
            .collect();
        Some(Scored {
            score: relative(place, self.threshold),
            score_u: self.score_u,
            cells: Plane { width: self.grid[0], height: self.grid[1], data },
        })
    }

    /// Where a picture lies among good ones: a soft maximum of its readings' places, so that two that point the same way say
    /// more than one. 0 where all are in the middle.
    fn place(&self, of: &[f64; 3]) -> f64 {
        let n = self.pictures as f64;
        let distance = n / (n + GALLERY_HALF);
        let weights = [distance, distance, 1.0];
        let mut places = [0.0; 3];
        for (k, p) in places.iter_mut().enumerate() {
            *p = weights[k] * self.tails[k].place(of[k]);
        }
        // About the largest, for the exponential of a place far out is no number.
        let most = places.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = places.iter().map(|p| (SHARP * (p - most)).exp()).sum();
        most + (sum / 3.0).ln() / SHARP
    }

    /// Where a cell lies among good ones.
    fn cell(&self, z: [f64; 3]) -> f64 {
        self.cell_tails[0].place(cell_distance(&self.fit, z)).max(self.cell_tails[1].place(z[1]))
    }
}

/// A cell's distance, of its departures. Pictures that nothing places have no usual place of a cell, and it counts as it is.
fn cell_distance(fit: &Fit, z: [f64; 3]) -> f64 {
    if fit.box_mm.is_some() {
        z[0]
    } else {
        z[2]
    }
}

/// The place above which no more than `share` of values like these lie: the value of that rank where there are enough of them,
/// else that of an exponential tail beyond their middle (never below the largest).
fn called_from(values: &[f64], share: f64) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let n = v.len();
    if n == 0 {
        return 1.0;
    }
    // With n values and one new one, every rank is as likely for the new one.
    let rank = ((n + 1) as f64 * (1.0 - share)).ceil() as usize;
    if rank <= n && n as f64 * share >= 3.0 {
        return v[rank - 1].max(1e-6);
    }
    let middle = v[(n - 1) / 2];
    let above: Vec<f64> = v.iter().filter(|x| **x > middle).map(|x| x - middle).collect();
    let mean = above.iter().sum::<f64>() / above.len().max(1) as f64;
    (middle + mean * (0.5 / share).ln()).max(v[n - 1]).max(1e-6)
}

fn seed_of(seed: u64, picture: usize, what: u64) -> u64 {
    seed ^ (picture as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what.wrapping_mul(0xd134_2543_de82_ef95)
}

/// Rows `wanted` of a matrix.
fn rows(of: &Array2<f32>, wanted: &[usize]) -> Array2<f32> {
    of.select(Axis(0), wanted)
}

/// At most `most` of these, drawn without putting back, ascending.
fn drawn(mut of: Vec<usize>, most: usize, rng: &mut Rng) -> Vec<usize> {
    if of.len() > most {
        for i in 0..most {
            let j = rng.usize(i..of.len());
            of.swap(i, j);
        }
        of.truncate(most);
        of.sort_unstable();
    }
    of
}

/// Puts matrices of the same columns under one another.
fn stacked<'a>(of: impl Iterator<Item = ArrayView2<'a, f32>>) -> Option<Array2<f32>> {
    let all: Vec<ArrayView2<f32>> = of.filter(|m| m.nrows() > 0).collect();
    ndarray::concatenate(Axis(0), &all).ok()
}

/// What the pass over all pictures leaves of one.
struct Learned {
    grid: [usize; 2],
    kept: Kept,
    good: Array2<f32>,
    bad: Array2<f32>,
}

/// Learns a part. `load` gives the `n` good pictures as they are looked at, by number, and is called several times for each;
/// `progress` is told after each picture of a pass (there are [`passes`]). Uses the rayon pool it is called in; the result does
/// not depend on its size.
///
/// # Errors
/// [`TeachError`]; what `load` cannot give ends the teaching.
pub fn teach(
    backbone: &Backbone,
    fit: &Fit,
    n: usize,
    options: &Options,
    load: &(dyn Fn(usize) -> Result<Looked, TeachError> + Sync),
    progress: &(dyn Fn() + Sync),
) -> Result<Taught, TeachError> {
    if n < FEWEST {
        return Err(TeachError::TooFew(n));
    }
    let (_, first) = cells::columns(backbone);
    let seed = options.seed;

    // What varies among good cells.
    let sample: Vec<usize> = spaced(n, BASIS_PICTURES);
    let parts: Vec<(Array2<f32>, Image)> = sample
        .par_iter()
        .map(|i| {
            let looked = load(*i)?;
            let cells = describe(backbone, &looked.image, &looked.mask)?;
            let of = counted(&cells);
            let of = drawn(of, BASIS_CELLS, &mut Rng::with_seed(seed_of(seed, *i, 1)));
            progress();
            let near = smoothed(cells.all.slice(s![.., first..]), cells.width, cells.height);
            Ok((rows(&near, &of), looked.image))
        })
        .collect::<Result<_, TeachError>>()?;
    // Pieces of other pictures are taken from these.
    let others: Vec<Image> = spaced(parts.len(), 16).into_iter().map(|k| parts[k].1.clone()).collect();
    let basis = Basis::of(stacked(parts.iter().map(|p| p.0.view())).ok_or(TeachError::Nothing)?.view());

    // Every picture: kept, and with defects made up on it.
    let spoilt = n.clamp(SPOILT.0, SPOILT.1);
    let good_cells = (GOOD_CELLS / n).max(8);
    let lessons: Vec<Learned> = (0..n)
        .into_par_iter()
        .map(|i| {
            let looked = load(i)?;
            let cells = describe(backbone, &looked.image, &looked.mask)?;
            let mut rng = Rng::with_seed(seed_of(seed, i, 2));
            let of = drawn(counted(&cells), good_cells, &mut rng);
            let mut good = vec![rows(&cells.all, &of)];
            let mut bad = Vec::new();
            // As many as bring the sum over all pictures to what is wanted, evenly.
            for _ in 0..(i + 1) * spoilt / n - i * spoilt / n {
                let (image, shape) = synthetic::spoil(&looked.image, &others, &mut rng)?;
                let with = describe(backbone, &image, &looked.mask)?;
                let covered = coverage(&shape, with.width, with.height);
                let on = |f: &dyn Fn(f32) -> bool| -> Vec<usize> {
                    counted(&with).into_iter().filter(|k| f(covered[*k])).collect()
                };
                let spoilt_cells = drawn(on(&|c| c > COVERED), SPOILT_CELLS.0, &mut rng);
                let sound = drawn(on(&|c| c <= 0.0), SPOILT_CELLS.1, &mut rng);
                bad.push(rows(&with.all, &spoilt_cells));
                good.push(rows(&with.all, &sound));
            }
            progress();
            let columns = cells.all.ncols();
            let all = |m: &[Array2<f32>]| {
                stacked(m.iter().map(|m| m.view())).unwrap_or_else(|| Array2::zeros((0, columns)))
            };
            let grid = [cells.width, cells.height];
            let kept = Kept { codes: basis.codes(&cells, first), counts: cells.counts };
            Ok(Learned { grid, kept, good: all(&good), bad: all(&bad) })
        })
        .collect::<Result<_, TeachError>>()?;
    let [width, height] = lessons[0].grid;

    // One discriminator on all pictures, and one for each part that is held out.
    let looks: Vec<Look> = (0..=FOLDS)
        .into_par_iter()
        .map(|fold| {
            let of = || lessons.iter().enumerate().filter(move |(i, _)| fold == FOLDS || i % FOLDS != fold);
            let good = stacked(of().map(|(_, l)| l.good.view())).ok_or(TeachError::Nothing)?;
            let bad = stacked(of().map(|(_, l)| l.bad.view())).ok_or(TeachError::Nothing)?;
            let net = Net::learn(good.view(), bad.view(), seed_of(seed, fold, 3));
            Look::of(&basis, net).ok_or(TeachError::Nothing)
        })
        .collect::<Result<_, TeachError>>()?;
    let kept: Vec<Kept> = lessons.into_iter().map(|l| l.kept).collect();
    let all = Gallery::new(width, height, basis.axes.ncols(), kept);
    let chosen = all.spread(options.most_kept.max(FEWEST));
    let pictures: Vec<Kept> = chosen.iter().map(|i| all.pictures[*i].clone()).collect();
    let gallery = Gallery::new(width, height, all.kept, pictures);
    drop(all);

    // Good pictures as they score where they were not learned on.
    let held = spaced(n, MOST_HELD);
    let shaken = spaced(held.len(), 32);
    let read_one = |i: usize, looked: &Looked| -> Result<Readings, TeachError> {
        let cells = describe(backbone, &looked.image, &looked.mask)?;
        let own = chosen.binary_search(&i).ok();
        Ok(looks[i % FOLDS].read(&cells, &gallery, own))
    };
    type Held = (Readings, Option<Readings>);
    let readings: Vec<Held> = held
        .par_iter()
        .enumerate()
        .map(|(k, i)| {
            let looked = load(*i)?;
            let r = read_one(*i, &looked)?;
            let moved = shaken.binary_search(&k).is_ok().then(|| read_one(*i, &moved(&looked))).transpose()?;
            progress();
            Ok((r, moved))
        })
        .collect::<Result<_, TeachError>>()?;
    let mut distances: Vec<f64> = Vec::new();
    for (k, (r, _)) in readings.iter().enumerate() {
        let mut rng = Rng::with_seed(seed_of(seed, k, 4));
        let d: Vec<usize> = (0..r.distance.len()).filter(|i| r.distance[*i].is_some()).collect();
        distances.extend(drawn(d, TAIL_CELLS, &mut rng).into_iter().filter_map(|i| r.distance[i].map(f64::from)));
    }
    if distances.is_empty() {
        return Err(TeachError::Nothing);
    }
    let least_distance = 0.1 * Tail::of(&mut distances, 0.5).middle.max(1.0);
    // What is usual about each cell; of a held-out picture, what the others have.
    let mut sums = Sums::new(width * height);
    for (r, _) in &readings {
        sums.add(&r.logs(least_distance), 1.0);
    }
    let usual = sums.usual();
    type Of = (Option<[f64; 3]>, Option<[f64; 3]>, Vec<Option<[f64; 3]>>);
    let of: Vec<Of> = readings
        .par_iter()
        .map(|(r, moved)| {
            let mut others = sums.clone();
            others.add(&r.logs(least_distance), -1.0);
            let usual = others.usual();
            let own = r.departures(least_distance, &usual);
            let shifted = moved.as_ref().and_then(|m| of_picture(&m.departures(least_distance, &usual)));
            (of_picture(&own), shifted, own)
        })
        .collect();
    let mut cell_values = [Vec::new(), Vec::new()];
    for (k, (_, _, z)) in of.iter().enumerate() {
        let mut rng = Rng::with_seed(seed_of(seed, k, 5));
        let all: Vec<usize> = (0..z.len()).filter(|i| z[*i].is_some()).collect();
        for z in drawn(all, TAIL_CELLS, &mut rng).into_iter().filter_map(|i| z[i]) {
            cell_values[0].push(cell_distance(fit, z));
            cell_values[1].push(z[1]);
        }
    }
    let tail = |k: usize| Tail::of(&mut of.iter().filter_map(|r| Some(r.0?[k])).collect::<Vec<f64>>(), 0.95);
    let [far, odd] = &mut cell_values;
    let mut header = Header {
        program: concat!("loupe ", env!("CARGO_PKG_VERSION")).into(),
        on: options.on.clone(),
        date: options.date.clone(),
        light: options.light.clone(),
        pictures: n,
        seed,
        backbone: backbone.info().name.clone(),
        backbone_sha256: backbone.info().sha256.clone(),
        layers: backbone.info().layers.clone(),
        fit: fit.clone(),
        grid: [width, height],
        false_alarms: options.false_alarms,
        tails: [tail(0), tail(1), tail(2)],
        cell_tails: [Tail::of(far, 0.99), Tail::of(odd, 0.99)],
        least_distance,
        threshold: 1.0,
        cell_threshold: 1.0,
        score_u: 0.0,
        good_scores: vec![],
    };
    let places: Vec<f64> = of.iter().filter_map(|r| Some(header.place(&r.0?))).collect();
    header.threshold = called_from(&places, options.false_alarms);
    let worst: Vec<f64> = of
        .iter()
        .filter(|r| r.0.is_some())
        .map(|(_, _, z)| z.iter().flatten().map(|z| header.cell(*z)).fold(f64::MIN, f64::max))
        .collect();
    header.cell_threshold = called_from(&worst, options.false_alarms);
    let score = |r: &[f64; 3]| 0.5 + 0.5 * header.place(r) / header.threshold;
    let shifts: Vec<f64> = of.iter().filter_map(|r| Some((score(&r.0?) - score(&r.1?)).powi(2))).collect();
    let score_u = (shifts.iter().sum::<f64>() / (2.0 * shifts.len().max(1) as f64)).sqrt();
    let mut good_scores: Vec<f64> =
        of.iter().filter_map(|r| Some(score(&r.0?).max(0.0))).map(|v| (v * 1e6).round() / 1e6).collect();
    good_scores.sort_by(f64::total_cmp);
    header.score_u = score_u;
    header.good_scores = good_scores;
    let look = looks.into_iter().nth(FOLDS).ok_or(TeachError::Nothing)?;
    Ok(Taught { header, sha256: String::new(), basis, look, gallery, usual })
}

/// How often `progress` is called when `n` pictures are taught.
pub fn passes(n: usize) -> usize {
    n.min(BASIS_PICTURES) + n + n.min(MOST_HELD)
}

/// At most `most` of the numbers below `n`, evenly spaced.
fn spaced(n: usize, most: usize) -> Vec<usize> {
    let k = n.min(most);
    (0..k).map(|i| i * n / k.max(1)).collect()
}

fn counted(cells: &Cells) -> Vec<usize> {
    (0..cells.counts.len()).filter(|i| cells.counts[*i]).collect()
}

/// Mean of a plane within each cell.
fn coverage(shape: &Plane, width: usize, height: usize) -> Vec<f32> {
    let small = crate::vision::ops::shrink(shape, (shape.width / width).max(1));
    (0..width * height)
        .map(|i| small.at((i % width).min(small.width - 1), (i / width).min(small.height - 1)))
        .collect()
}

/// The picture three pixels to the left and up: less than a cell, the worst that the grid of cells can do.
fn moved(looked: &Looked) -> Looked {
    const BY: usize = 3;
    let (w, h) = (looked.image.width, looked.image.height);
    let mut out = looked.clone();
    for y in 0..h {
        for x in 0..w {
            let j = (y + BY).min(h - 1) * w + (x + BY).min(w - 1);
            let i = y * w + x;
            out.mask.data[i] = looked.mask.data[j];
            for c in 0..3 {
                out.image.data[3 * i + c] = looked.image.data[3 * j + c];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_carried_on_many_are_counted() {
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(called_from(&many, 0.01), 990.0);
        let few: Vec<f64> = (0..10).map(f64::from).collect();
        let t = called_from(&few, 0.01);
        assert!(t > 9.0 && t < 30.0, "{t}");
        assert!(called_from(&few, 0.001) > t);
    }

    #[test]
    fn drawing_takes_each_once() {
        let mut rng = Rng::with_seed(1);
        let d = drawn((0..50).collect(), 20, &mut rng);
        assert_eq!(d.len(), 20);
        assert!(d.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(spaced(10, 3), vec![0, 3, 6]);
    }
}
