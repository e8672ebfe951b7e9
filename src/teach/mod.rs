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
pub mod shots;
mod synthetic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use ndarray::{s, Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::hash::sha256_hex;
use crate::model::{Backbone, ModelError};
use crate::report::round_to;
use crate::spec::Outline;
use crate::vision::{ops, Image, Plane, VisionError};
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
/// Pictures with made-up defects.
const SPOILT: usize = 800;
/// Most cells of one of them with a defect, and without, that are learned on: as many of a small defect as of a large one, or the large
/// ones would be all that is learned. (casting with 20 pictures, two draws, AUROC of the answer alone: 60 and 30 cells 0.980, 12 to 30 0.985 to 0.988.)
const SPOILT_CELLS: (usize, usize) = (20, 12);
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
/// The share of a picture's cells whose mean distance is its upper one.
const TOP_SHARE: usize = 50;
/// What the places of a picture's mean distance, upper distance and largest answer of the discriminator count (casting, mtd, bsdata with 20 and 100 pictures: the
/// upper one helps where good pictures are of many kinds and says little where they are alike).
const COUNTS: [f64; 3] = [1.0, 0.5, 1.0];
/// How many times wider or higher than any taught picture one may be, for its shape.
const MISSHAPEN: f64 = 1.5;
/// How many times finer or coarser a frame may be than those it was taught on: at one and a half good ones were called.
const OTHER_SCALE: f64 = 1.25;
/// The share of held-out pictures beyond which one says nothing of how far good ones scatter: a bad one may be among them.
const STRANGERS: f64 = 0.01;

/// Why something could not be taught, or a taught file not used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    /// Too few good pictures, or parts that they show.
    #[error("{0} good pictures of different parts, at least {FEWEST} are needed (shots of one part are held out together and count once)")]
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
    /// From which to which scale the frames were taken (um/px), where it is known of all.
    pub scales: Option<[f64; 2]>,
    /// Of each picture the number of the part that it shows ([`shots::parts`]): what shows one part is held out together. Empty where each shows another.
    pub parts: Vec<usize>,
}

/// How a number scatters among good pictures, upwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The median.
    pub middle: f64,
    /// The root mean square of how far those above the median lie above it; the farthest count as the last that is no
    /// stranger among them.
    pub above: f64,
}

impl Spread {
    /// Of these values; a share of them, one at least, may be strangers.
    fn of(values: &[f64], strangers: f64) -> Self {
        let mut v = values.to_vec();
        v.sort_by(f64::total_cmp);
        let n = v.len();
        let Some(middle) = v.get(n.saturating_sub(1) / 2).copied() else { return Spread { middle: 0.0, above: 1.0 } };
        let mut above: Vec<f64> = v.iter().filter(|x| **x > middle).map(|x| x - middle).collect();
        let strange = ((n as f64 * strangers).ceil() as usize).max(1);
        if let Some(last) = above.len().checked_sub(strange + 1).map(|k| above[k]) {
            above.iter_mut().for_each(|a| *a = a.min(last));
        }
        let mean = above.iter().map(|a| a * a).sum::<f64>() / above.len().max(1) as f64;
        Spread { middle, above: mean.sqrt().max(1e-6) }
    }

    /// How far a value lies above the middle, in deviations.
    fn place(self, v: f64) -> f64 {
        (v - self.middle) / self.above
    }
}

/// The colour of good pictures as a whole ([`Looked::tint`]): a part of another metal has all of its texture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tint {
    /// The median.
    pub middle: [f64; 2],
    /// The scatter, by its middle.
    pub scatter: [f64; 2],
}

impl Tint {
    fn of(tints: &[[f64; 2]]) -> Self {
        let all = [0, 1].map(|k| tints.iter().map(|t| t[k] as f32).collect::<Vec<f32>>());
        let middle = all.clone().map(|mut v| f64::from(ops::median(&mut v)));
        Tint { middle, scatter: all.map(|mut v| f64::from(ops::robust_sigma(&mut v)).max(LEAST_TINT)) }
    }

    /// The score of a picture's colour alone: 1 where it lies as far off as no good one does.
    fn score(&self, tint: [f64; 2]) -> f64 {
        let [a, b] = [0, 1].map(|k| (tint[k] - self.middle[k]) / self.scatter[k]);
        0.5 * a.hypot(b) / OTHER_TINT + 0.5
    }
}

/// Least scatter of a picture's colour, in levels: a camera's white balance.
const LEAST_TINT: f64 = 1.0;
/// So many scatters off is another colour.
const OTHER_TINT: f64 = 6.0;

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
    /// Width over height of the pictures it was taught on, least and most; none for pieces, which are placed.
    pub aspects: Option<[f64; 2]>,
    /// From which to which scale they were taken (um/px), where it is known of all.
    #[serde(default)]
    pub scales: Option<[f64; 2]>,
    /// Their colour as a whole.
    pub tint: Tint,
    /// Cells along x and y.
    pub grid: [usize; 2],
    /// The share of false alarms that was accepted.
    pub false_alarms: f64,
    /// How what a picture is called by scatters: mean log distance, mean of the farthest cells' departures, the discriminator's
    /// largest answer.
    pub spreads: [Spread; 3],
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
    pub backbone: Arc<Backbone>,
}

/// Backbones that are loaded, each once for its file and the layers that are read of it: a hundred taught parts need not hold the same network a hundred times.
#[derive(Debug, Default)]
pub struct Backbones(Mutex<BTreeMap<FileAndLayers, Arc<Backbone>>>);

type FileAndLayers = (PathBuf, Vec<String>);

impl Backbones {
    /// One of them.
    ///
    /// # Errors
    /// As [`Backbone::load`].
    pub fn get(&self, path: &Path, layers: &[String]) -> Result<Arc<Backbone>, ModelError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.to_owned(), layers.to_vec());
        if let Some(there) = all.get(&key) {
            return Ok(there.clone());
        }
        let new = Arc::new(Backbone::load(path, Some(layers))?);
        all.insert(key, new.clone());
        Ok(new)
    }
}

impl Lesson {
    /// Loads a taught file, and the backbone, unless it is there: the one given, else the one that the set-up makes.
    ///
    /// # Errors
    /// Where one of them cannot be used.
    pub fn load(path: &Path, backbone: Option<&Path>, loaded: &Backbones) -> Result<Self, TeachError> {
        let taught = Taught::read(path)?;
        let at = match backbone {
            Some(b) => b.to_owned(),
            None => Backbone::default_path()?,
        };
        let backbone = loaded.get(&at, &taught.header.layers);
        if let Err(e @ ModelError::Shape { .. }) = &backbone {
            // Another network has other layers: that it is another one says more.
            let found = crate::files::read(&at).map(|bytes| sha256_hex(&bytes)).unwrap_or_default();
            if found != taught.header.backbone_sha256 {
                return Err(taught.other_backbone(path, format!("{} ({e})", at.display()), found));
            }
        }
        let backbone = backbone?;
        taught.fits(&backbone, path)?;
        Ok(Lesson { taught, backbone })
    }
}

/// What is made of one picture.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The picture's score: about 0.5 for a good one, called from 1.
    pub score: f64,
    /// The score of its places alone; where that is less, it is the colour of the whole picture that is another.
    pub places: f64,
    /// Standard uncertainty of either.
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
    basis: Basis,
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
        Some(Look { basis: basis.clone(), net, weights, bias, offset })
    }

    fn read(&self, cells: &Cells, gallery: &Gallery, but: &[usize]) -> Readings {
        let products = cells.all.dot(&self.weights);
        let hidden = self.bias.len();
        let first = cells.all.ncols() - self.basis.mean.len();
        let codes = self.basis.coded(products.slice(s![.., hidden..]), &self.offset, cells, first);
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
        let readings = self.look.read(&cells, &self.gallery, &[]);
        let tint = self.header.tint.score(looked.tint());
        tracing::debug!("colour {tint:.3}");
        Ok(self.header.scored(&readings, &self.usual).map(|s| Scored {
            // A colour that is usual says nothing.
            score: if tint >= 1.0 { s.score.max(tint) } else { s.score },
            ..s
        }))
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
        Err(self.other_backbone(path, info.name.clone(), info.sha256.clone()))
    }

    fn other_backbone(&self, path: &Path, found: String, found_sha256: String) -> TeachError {
        TeachError::OtherBackbone {
            path: path.to_owned(),
            wanted: self.header.backbone.clone(),
            wanted_sha256: self.header.backbone_sha256.clone(),
            found,
            found_sha256,
        }
    }

    /// Good pictures kept.
    pub fn kept(&self) -> usize {
        self.gallery.pictures.len()
    }
}

impl Header {
    /// Whether a picture is so much wider or higher than those it was taught on that it would be squeezed out of likeness; says how.
    pub fn misshapen(&self, looked: &Looked) -> Option<String> {
        let ([low, high], own) = (self.aspects?, looked.aspect());
        (own < low / MISSHAPEN || own > high * MISSHAPEN).then(|| {
            format!(
                "it was taught on pictures {} times as wide as high, and this one is {own:.2} times",
                from_to(low, high)
            )
        })
    }

    /// Whether a view is of another part than the taught one, or a frame so much finer or coarser that its texture is another; says how.
    pub fn misplaced(&self, shape: Option<&Outline>, um_per_px: Option<f64>) -> Option<String> {
        misplaced(&self.fit, self.scales, shape, um_per_px)
    }

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
        let score = relative(place, self.threshold);
        Some(Scored {
            score,
            places: score,
            score_u: self.score_u,
            cells: Plane { width: self.grid[0], height: self.grid[1], data },
        })
    }

    /// Where a picture lies among good ones: the sum of its readings' places, for what departs a little in both departs. 0 in the
    /// middle.
    fn place(&self, of: &[f64; 3]) -> f64 {
        let n = self.pictures as f64;
        let distance = n / (n + GALLERY_HALF);
        let weights = [distance, distance, 1.0];
        (0..3).map(|k| COUNTS[k] * weights[k] * self.spreads[k].place(of[k])).sum()
    }

    /// Where a cell lies among good ones.
    fn cell(&self, z: [f64; 3]) -> f64 {
        self.cell_tails[0].place(cell_distance(&self.fit, z)).max(self.cell_tails[1].place(z[1]))
    }
}

/// A range in words.
fn from_to(low: f64, high: f64) -> String {
    if high - low < 0.005 {
        format!("{low:.2}")
    } else {
        format!("{low:.2} to {high:.2}")
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
/// else that of a normal tail as wide as the upper half is, whatever a stranger or two among them say.
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
    let spread = Spread::of(&v, share.min(STRANGERS));
    let deviations = Normal::standard().inverse_cdf(1.0 - share);
    (spread.middle + spread.above * deviations).max(1e-6)
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
    aspect: f64,
    tint: [f64; 2],
    grid: [usize; 2],
    kept: Kept,
    good: Array2<f32>,
    bad: Array2<f32>,
}

/// Learns a part, and names the good pictures that are called where they were not learned on, the farthest first, with their
/// scores: those a person should look at again. `load` gives the `n` good pictures as they are looked at, by number, and is called several times for each;
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
) -> Result<(Taught, Vec<(usize, f64)>), TeachError> {
    let part = |i: usize| options.parts.get(i).copied().unwrap_or(i);
    let count = (0..n).map(part).collect::<std::collections::BTreeSet<usize>>().len();
    if count < FEWEST {
        return Err(TeachError::TooFew(count));
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
            for _ in 0..(i + 1) * SPOILT / n - i * SPOILT / n {
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
            Ok(Learned { aspect: looked.aspect(), tint: looked.tint(), grid, kept, good: all(&good), bad: all(&bad) })
        })
        .collect::<Result<_, TeachError>>()?;
    let [width, height] = lessons[0].grid;

    // One discriminator on all pictures, and one for each part that is held out.
    let looks: Vec<Look> = (0..=FOLDS)
        .into_par_iter()
        .map(|fold| {
            let of = || lessons.iter().enumerate().filter(move |(i, _)| fold == FOLDS || part(*i) % FOLDS != fold);
            let good = stacked(of().map(|(_, l)| l.good.view())).ok_or(TeachError::Nothing)?;
            let bad = stacked(of().map(|(_, l)| l.bad.view())).ok_or(TeachError::Nothing)?;
            let net = Net::learn(good.view(), bad.view(), seed_of(seed, fold, 3));
            Look::of(&basis, net).ok_or(TeachError::Nothing)
        })
        .collect::<Result<_, TeachError>>()?;
    let tint = Tint::of(&lessons.iter().map(|l| l.tint).collect::<Vec<_>>());
    let aspects = lessons.iter().fold([f64::MAX, 0.0f64], |a, l| [a[0].min(l.aspect), a[1].max(l.aspect)]);
    let kept: Vec<Kept> = lessons.into_iter().map(|l| l.kept).collect();
    let all = Gallery::new(width, height, basis.kept(), kept);
    let chosen = all.spread(options.most_kept.max(FEWEST));
    let pictures: Vec<Kept> = chosen.iter().map(|i| all.pictures[*i].clone()).collect();
    let gallery = Gallery::new(width, height, all.kept, pictures);
    drop(all);

    // Good pictures as they score where they were not learned on.
    let held = spaced(n, MOST_HELD);
    let shaken = spaced(held.len(), 32);
    let read_one = |i: usize, looked: &Looked| -> Result<Readings, TeachError> {
        let cells = describe(backbone, &looked.image, &looked.mask)?;
        let own: Vec<usize> = (0..chosen.len()).filter(|k| part(chosen[*k]) == part(i)).collect();
        Ok(looks[part(i) % FOLDS].read(&cells, &gallery, &own))
    };
    type Held = (Readings, Option<Readings>);
    let readings: Vec<Held> = held
        .par_iter()
        .enumerate()
        .map(|(k, i)| {
            let looked = load(*i)?;
            let r = read_one(*i, &looked)?;
            let moved = match shaken.binary_search(&k) {
                Ok(_) => Some(read_one(*i, &tighter(&looked, fit.box_mm.is_some())?)?),
                Err(_) => None,
            };
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
        .enumerate()
        .map(|(k, (r, moved))| {
            let mut others = sums.clone();
            for j in (0..held.len()).filter(|j| part(held[*j]) == part(held[k])) {
                others.add(&readings[j].0.logs(least_distance), -1.0);
            }
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
    let spread = |k: usize| Spread::of(&of.iter().filter_map(|r| Some(r.0?[k])).collect::<Vec<f64>>(), STRANGERS);
    let [far, odd] = &mut cell_values;
    let mut header = Header {
        program: crate::PROGRAM.into(),
        on: options.on.clone(),
        date: options.date.clone(),
        light: options.light.clone(),
        pictures: n,
        seed,
        backbone: backbone.info().name.clone(),
        backbone_sha256: backbone.info().sha256.clone(),
        layers: backbone.info().layers.clone(),
        fit: fit.clone(),
        aspects: fit.box_mm.is_none().then_some(aspects),
        scales: options.scales,
        tint,
        grid: [width, height],
        false_alarms: options.false_alarms,
        spreads: [spread(0), spread(1), spread(2)],
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
    // What moves all of them alike says that all were framed alike, as the next ones will be; and a copy of another picture loses more
    // than any new one: the scatter about the middle counts, by its middle.
    let mut shifts: Vec<f32> = of.iter().filter_map(|r| Some((score(&r.1?) - score(&r.0?)) as f32)).collect();
    let score_u = f64::from(ops::robust_sigma(&mut shifts)) / 2f64.sqrt();
    let scored: Vec<(usize, f64)> =
        held.iter().zip(&of).filter_map(|(i, r)| Some((*i, round_to(score(&r.0?).max(0.0), 6)))).collect();
    let mut good_scores: Vec<f64> = scored.iter().map(|s| s.1).collect();
    good_scores.sort_by(f64::total_cmp);
    let mut strangers: Vec<(usize, f64)> = scored.into_iter().filter(|s| s.1 >= 1.0).collect();
    strangers.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    header.score_u = round_to(score_u, 6);
    header.good_scores = good_scores;
    let look = looks.into_iter().nth(FOLDS).ok_or(TeachError::Nothing)?;
    Ok((Taught { header, sha256: String::new(), look, gallery, usual }, strangers))
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
    let small = ops::shrink(shape, (shape.width / width).max(1));
    (0..width * height)
        .map(|i| small.at((i % width).min(small.width - 1), (i / width).min(small.height - 1)))
        .collect()
}

/// The picture framed a little tighter, so that its places move against the grid of cells by up to a fraction of a cell, at its edges
/// farthest, and nothing has to be invented: of one that nothing places, three pixels; of a placed one, a pixel, which is more
/// than its pose is off.
fn tighter(looked: &Looked, placed: bool) -> Result<Looked, VisionError> {
    let by = if placed { 1.0 } else { 3.0 };
    let (w, h) = (looked.image.width, looked.image.height);
    let along = |n: usize| {
        let k = (n as f64 - 2.0 * by) / n as f64;
        // Of pixels' edges, not their middles.
        (k, by + 0.5 * k - 0.5)
    };
    let ((kx, x0), (ky, y0)) = (along(w), along(h));
    let from = [[kx, 0.0, x0], [0.0, ky, y0]];
    let image = ops::warp_image(&looked.image, &from, w, h)?;
    Ok(Looked { image, mask: fit::seen_of(&looked.mask, &from, w, h), to_frame: looked.to_frame })
}

/// [`Header::misplaced`] of what was taught so large and at such scales.
fn misplaced(fit: &Fit, scales: Option<[f64; 2]>, shape: Option<&Outline>, um_per_px: Option<f64>) -> Option<String> {
    if let Some(own) = &fit.box_mm {
        let Some(shape) = shape else {
            return Some("it was taught on pieces placed by their outline, and the view has none".into());
        };
        let other = Fit::box_about(shape);
        // A cell is laid beside those within one cell of its place.
        let cell = (own[2] - own[0]) * (gallery::REACH * cells::CELL_PX) as f64 / fit.width as f64;
        if own.iter().zip(&other).any(|(a, b)| (a - b).abs() > cell) {
            let size = |b: &[f64; 4]| format!("{:.2} x {:.2} mm", b[2] - b[0], b[3] - b[1]);
            let (own_size, other_size) = (size(own), size(&other));
            return Some(if own_size == other_size {
                "it was taught on a part whose outline lies elsewhere about the piece's origin".into()
            } else {
                format!("it was taught on a part of {own_size}, and this view's is of {other_size}")
            });
        }
    }
    let ([low, high], scale) = (scales?, um_per_px?);
    (scale < low / OTHER_SCALE || scale > high * OTHER_SCALE)
        .then(|| format!("it was taught at {} um/px, and this frame has {scale:.2}", from_to(low, high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_colour_is_called_and_a_white_balance_is_not() {
        let mut rng = Rng::with_seed(4);
        let good: Vec<[f64; 2]> = (0..20).map(|_| [4.0 + rng.f64(), -3.0 + 2.0 * rng.f64()]).collect();
        let tint = Tint::of(&good);
        assert!(good.iter().all(|t| tint.score(*t) < 0.8));
        assert!(tint.score([6.0, -2.0]) < 1.0 && tint.score([14.0, -9.0]) > 1.0);
        // Grey pictures have no scatter of their own.
        let grey = Tint::of(&[[0.0; 2]; 12]);
        assert!(grey.score([0.0; 2]) == 0.5 && grey.score([1.0, 1.0]) < 1.0 && grey.score([9.0, 0.0]) > 1.0);
    }

    #[test]
    fn another_part_view_or_scale_is_told() {
        let outline = |width_mm: f64| Outline::RoundedRect { width_mm, height_mm: 6.0, corner_mm: 0.5 };
        let fit = Fit { width: 320, height: 256, box_mm: Some(Fit::box_about(&outline(8.0))) };
        let told = |shape: Option<&Outline>, um| misplaced(&fit, Some([12.0, 13.0]), shape, um).unwrap_or_default();
        assert_eq!(told(Some(&outline(8.0)), Some(12.4)), "");
        assert!(told(Some(&outline(11.0)), Some(12.4)).contains("and this view's is of 11"));
        assert!(told(None, Some(12.4)).contains("the view has none"));
        // A tenth finer shows the same texture, and a scale that nobody names says nothing.
        assert!(told(Some(&outline(8.0)), Some(11.0)).is_empty() && told(Some(&outline(8.0)), None).is_empty());
        for um in [9.0, 17.0] {
            assert!(told(Some(&outline(8.0)), Some(um)).contains("taught at 12.00 to 13.00 um/px"), "{um}");
        }
        // Pictures that nothing places are looked at whole.
        let whole = Fit { box_mm: None, ..fit };
        assert_eq!(misplaced(&whole, None, None, Some(30.0)), None);
    }

    #[test]
    fn few_values_are_carried_on_many_are_counted() {
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(called_from(&many, 0.01), 990.0);
        let mut few: Vec<f64> = (0..10).map(f64::from).collect();
        let t = called_from(&few, 0.01);
        assert!(t > 9.0 && t < 30.0, "{t}");
        assert!(called_from(&few, 0.001) > t);
        // A stranger among them does not move it.
        few[9] = 1000.0;
        assert!((called_from(&few, 0.01) - t).abs() < 0.2 * t);
    }

    #[test]
    fn of_normal_numbers_the_share_is_called() {
        let mut rng = Rng::with_seed(11);
        let mut normal = || (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        let mut called = 0;
        for _ in 0..200 {
            let t = called_from(&(0..40).map(|_| normal()).collect::<Vec<f64>>(), 0.01);
            called += (0..100).filter(|_| normal() > t).count();
        }
        // One in a hundred of 20,000, and about as much again for what 40 of them do not know.
        assert!((100..500).contains(&called), "{called}");
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
