//! Reading short texts with PP-OCR: where they are (its detector, "differentiable binarization") and what they say (its
//! recogniser with CTC). A reading is kept as its whole lattice, so that one text can be weighed against another.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use super::info::Reader;
use super::sessions::{damaged, find_made, Sessions};
use super::ModelError;
use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// The detector that `script/setup` fetches.
pub const DETECTOR_FILE: &str = "text_det.onnx";
/// The recogniser that `script/setup` fetches.
pub const READER_FILE: &str = "text_rec.onnx";

/// The letters of marks. O and 0, I and 1 look alike on metal: one stands for both.
const CHARSET: &str = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Height of a window that is read, in pixels, and its least and most width: as PP-OCR was trained.
const HEIGHT: usize = 48;
const WIDTH: (usize, usize) = (16, 320);

/// Sides of what the detector is shown are multiples of this.
const GRANULE: usize = 32;
/// ImageNet's mean and deviation of blue, green and red, for pixels of 0 to 255: as PP-OCR was trained.
const MEAN: [f32; 3] = [103.53, 116.28, 123.675];
const DEVIATION: [f32; 3] = [57.375, 57.12, 58.395];
/// PP-OCR's own settings: a cell is text from this on; a box is one from this mean on; boxes were shrunk by this in training.
const CELL: f32 = 0.3;
const BOX: f64 = 0.5;
const UNCLIP: f64 = 1.6;
/// Boxes thinner than this in the detector's picture are no text.
const THINNEST: f64 = 3.0;
/// Least probability of a class at a step: 32-bit floats behind a softmax hold no more.
const LEAST: f32 = 1e-7;

/// Where a text may lie, in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextBox {
    /// Centre.
    pub x: f64,
    /// Centre.
    pub y: f64,
    /// Along the text.
    pub length: f64,
    /// Across it.
    pub height: f64,
    /// Direction of the longer side, radians from the x axis towards y (down).
    pub angle: f64,
    /// The detector's mean probability within it.
    pub score: f64,
}

impl TextBox {
    /// Its corners, in order.
    pub fn corners(&self) -> Vec<[f64; 2]> {
        let (s, c) = self.angle.sin_cos();
        let (a, b) = (self.length / 2.0, self.height / 2.0);
        let at = |u: f64, v: f64| [self.x + c * u - s * v, self.y + s * u + c * v];
        vec![at(-a, -b), at(a, -b), at(a, b), at(-a, b)]
    }

    /// Whether a point lies in it.
    pub fn holds(&self, p: [f64; 2]) -> bool {
        let (s, c) = self.angle.sin_cos();
        let (x, y) = (p[0] - self.x, p[1] - self.y);
        (c * x + s * y).abs() <= self.length / 2.0 && (c * y - s * x).abs() <= self.height / 2.0
    }
}

/// What the reader says of one window: log probabilities of every letter, of any other sign (the last but one) and of none (the last)
/// at each step.
#[derive(Debug, Clone, PartialEq)]
pub struct Lattice {
    /// Letters, any other sign, the blank.
    classes: usize,
    /// Step after step.
    log_probs: Vec<f32>,
}

impl Lattice {
    /// A lattice of `classes` (letters, then the blank) out of its log probabilities, step after step.
    fn new(classes: usize, log_probs: Vec<f32>) -> Self {
        Lattice { classes, log_probs }
    }

    fn steps(&self) -> impl Iterator<Item = &[f32]> {
        self.log_probs.chunks_exact(self.classes)
    }

    /// The likeliest letter at each step, repeats and blanks taken out, each with the probability of its best step.
    pub fn greedy(&self) -> Vec<(usize, f64)> {
        let blank = self.classes - 1;
        let mut out: Vec<(usize, f64)> = Vec::new();
        let mut last = blank;
        for row in self.steps() {
            let (best, p) =
                row.iter().enumerate().fold((blank, f32::MIN), |m, (k, v)| if *v > m.1 { (k, *v) } else { m });
            let p = f64::from(p).exp();
            if best != blank {
                match out.last_mut() {
                    Some(l) if best == last => l.1 = l.1.max(p),
                    _ => out.push((best, p)),
                }
            }
            last = best;
        }
        out
    }

    /// Natural log of the probability that the window says exactly this text, over all its alignments (the forward algorithm of
    /// Graves et al. 2006). Minus infinity where it has more letters than steps.
    pub fn log_likelihood(&self, text: &[usize]) -> f64 {
        let blank = self.classes - 1;
        // Blank, letter, blank, letter, ..., blank.
        let symbol = |k: usize| if k.is_multiple_of(2) { blank } else { text[k / 2] };
        let n = 2 * text.len() + 1;
        let mut alpha = vec![f64::NEG_INFINITY; n];
        for (t, row) in self.steps().enumerate() {
            let mut next = vec![f64::NEG_INFINITY; n];
            for (k, to) in next.iter_mut().enumerate() {
                let before = if t == 0 {
                    if k < 2 {
                        0.0
                    } else {
                        f64::NEG_INFINITY
                    }
                } else {
                    let mut sum = alpha[k];
                    if k > 0 {
                        sum = add(sum, alpha[k - 1]);
                    }
                    // A letter may follow another without a blank between, unless they are the same.
                    if k > 1 && k % 2 == 1 && symbol(k) != symbol(k - 2) {
                        sum = add(sum, alpha[k - 2]);
                    }
                    sum
                };
                *to = before + f64::from(row[symbol(k)]);
            }
            alpha = next;
        }
        if n > 1 {
            add(alpha[n - 1], alpha[n - 2])
        } else {
            alpha[0]
        }
    }
}

/// log(exp(a) + exp(b)).
fn add(a: f64, b: f64) -> f64 {
    let (low, high) = (a.min(b), a.max(b));
    if high == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// What the reader says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderInfo {
    /// Its letters; O is read as 0 and I as 1.
    pub charset: Vec<char>,
    /// Height of a window in pixels.
    pub height: usize,
    /// Least and most width of a window in pixels.
    pub width: (usize, usize),
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
    /// sha256 of the detector's file, lower-case hex.
    pub detector_sha256: String,
}

impl ReaderInfo {
    /// A text in the reader's letters; none where one of them is not known. Blanks and points are left out.
    pub fn letters(&self, text: &str) -> Option<Vec<usize>> {
        text.chars().filter(|c| !c.is_whitespace() && *c != '.').map(|c| letter(&self.charset, c)).collect()
    }

    /// Letters as text; a sign that is no letter is a question mark.
    pub fn text(&self, letters: &[usize]) -> String {
        letters.iter().map(|k| self.charset.get(*k).copied().unwrap_or('?')).collect()
    }
}

/// The letter that a sign stands for on metal.
fn letter(charset: &[char], c: char) -> Option<usize> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | '|' => '1',
        other => other,
    };
    charset.iter().position(|k| *k == c)
}

/// Detector and reader, shared by threads.
pub struct MarkReader {
    detector: Sessions,
    input: String,
    reader: Sessions,
    /// For each class of the recogniser: its letter, any other sign, or the blank.
    classes: Vec<usize>,
    info: ReaderInfo,
}

impl std::fmt::Debug for MarkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarkReader").field("path", &self.path()).field("info", &self.info).finish_non_exhaustive()
    }
}

impl MarkReader {
    /// Loads what the set-up fetched, beside the shipped models, or in `.deps/models/` of a folder above the program or above the
    /// current folder.
    ///
    /// # Errors
    /// [`ModelError::NoTextModels`], or as [`MarkReader::load`].
    pub fn load_default() -> Result<Self, ModelError> {
        let find = |file| find_made(file).ok_or(ModelError::NoTextModels { file });
        Self::load(&find(DETECTOR_FILE)?, &find(READER_FILE)?)
    }

    /// Loads and checks both files.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing; a file is missing, empty, damaged, or is not what it should be.
    pub fn load(detector: &Path, reader: &Path) -> Result<Self, ModelError> {
        let (found, detector_sha256) = Sessions::read(detector)?;
        let input = found.with(|s| {
            let names: Vec<String> = s.inputs().iter().map(|i| i.name().to_owned()).collect();
            match names.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err(shape(detector, "inputs", format!("{names:?}; a detector of text has one"))),
            }
        })?;
        let (sessions, sha256) = Sessions::read(reader)?;
        let charset: Vec<char> = CHARSET.chars().collect();
        let classes = sessions.with(|session| {
            let metadata = session.metadata().map_err(|e| damaged(reader, &e))?;
            signs(&|key| metadata.custom(key), &charset, reader)
        })?;
        let info = ReaderInfo { charset, height: HEIGHT, width: WIDTH, sha256, detector_sha256 };
        let out = MarkReader { detector: found, input, reader: sessions, classes, info };
        // Grey pictures: networks whose answers have another shape are refused before any piece is judged by them.
        out.map(&Image { width: 64, height: 64, data: vec![128; 3 * 64 * 64], grey: true })?;
        out.read(&[Plane::filled(2 * HEIGHT, HEIGHT, 128.0)])?;
        Ok(out)
    }

    /// What it says of itself.
    pub fn info(&self) -> &ReaderInfo {
        &self.info
    }

    /// The reader's file.
    pub fn path(&self) -> PathBuf {
        self.reader.path().to_owned()
    }

    /// The detector's file.
    pub fn detector_path(&self) -> PathBuf {
        self.detector.path().to_owned()
    }

    /// The detector's answer on a picture whose sides are multiples of [`GRANULE`]: probability of text per pixel.
    fn map(&self, image: &Image) -> Result<Plane, ModelError> {
        let path = self.detector.path();
        self.detector.with(|session| {
            let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
            let n = image.width * image.height;
            let mut data = vec![0f32; 3 * n];
            for (i, p) in image.data.chunks_exact(3).enumerate() {
                for c in 0..3 {
                    // PP-OCR takes blue first.
                    data[c * n + i] = (f32::from(p[2 - c]) - MEAN[c]) / DEVIATION[c];
                }
            }
            let input = TensorRef::from_array_view(([1usize, 3, image.height, image.width], data.as_slice()))
                .map_err(failed)?;
            let outputs = session.run(ort::inputs![self.input.as_str() => input]).map_err(failed)?;
            let (got, data) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
            if got[..] != [1, 1, image.height as i64, image.width as i64] {
                let message = format!("has the shape {got:?}, expected [1, 1, {}, {}]", image.height, image.width);
                return Err(shape(path, "output", message));
            }
            Ok(Plane { width: image.width, height: image.height, data: data.to_vec() })
        })
    }

    /// Where texts may lie: the picture is brought to `side` pixels along its longer side where it is larger (or, with `enlarge`,
    /// where it is smaller too). The surest first.
    ///
    /// # Errors
    /// [`ModelError::Run`], [`ModelError::Shape`].
    pub fn detect(&self, image: &Image, side: usize, enlarge: bool) -> Result<Vec<TextBox>, ModelError> {
        let path = self.detector.path();
        let refused = |e: VisionError| ModelError::Run { path: path.to_owned(), message: e.to_string() };
        let k = side as f64 / image.width.max(image.height) as f64;
        let k = if enlarge { k } else { k.min(1.0) };
        let to = |v: usize| ((v as f64 * k / GRANULE as f64).round().max(1.0) as usize) * GRANULE;
        let (w, h) = (to(image.width), to(image.height));
        let (kx, ky) = (image.width as f64 / w as f64, image.height as f64 / h as f64);
        let source = [[kx, 0.0, (kx - 1.0) / 2.0], [0.0, ky, (ky - 1.0) / 2.0]];
        let small = ops::warp_image(image, &source, w, h).map_err(refused)?;
        let map = self.map(&small)?;
        let mut mask = Mask::empty(w, h);
        for (m, v) in mask.data.iter_mut().zip(&map.data) {
            *m = if *v > CELL { 255 } else { 0 };
        }
        let (blobs, labels) = ops::components(&mask).map_err(refused)?;
        let mut out = Vec::new();
        for b in &blobs {
            let outline = ops::blob_outline(&labels, w, b).map_err(refused)?;
            let Some(r) = ops::min_area_rect(&outline).map_err(refused)? else { continue };
            let [mut length, mut height] = [r.width, r.height];
            if length.min(height) < THINNEST {
                continue;
            }
            let mut angle = r.angle;
            if length < height {
                std::mem::swap(&mut length, &mut height);
                angle += std::f64::consts::FRAC_PI_2;
            }
            let mut sum = 0.0;
            for y in b.bounds.y..b.bounds.y + b.bounds.height {
                for x in b.bounds.x..b.bounds.x + b.bounds.width {
                    if labels[y * w + x] == b.label {
                        sum += f64::from(map.at(x, y));
                    }
                }
            }
            let score = sum / b.area.max(1) as f64;
            if score < BOX {
                continue;
            }
            let grown = 2.0 * UNCLIP * length * height / (2.0 * (length + height));
            // Both factors differ by the rounding to whole granules only.
            let k = (kx * ky).sqrt();
            out.push(TextBox {
                x: (r.x + 0.5) * kx - 0.5,
                y: (r.y + 0.5) * ky - 0.5,
                length: (length + grown) * k,
                height: (height + grown) * k,
                angle,
                score,
            });
        }
        out.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(out)
    }

    /// Reads windows of the reader's height (grey levels of 0 to 255).
    ///
    /// # Errors
    /// [`ModelError::Run`], [`ModelError::Shape`].
    pub fn read(&self, windows: &[Plane]) -> Result<Vec<Lattice>, ModelError> {
        // One by one: their widths differ, and padding would change what is read.
        self.reader.with(|s| windows.iter().map(|w| self.read_one(s, w)).collect())
    }

    fn read_one(&self, session: &mut Session, window: &Plane) -> Result<Lattice, ModelError> {
        let path = self.reader.path();
        let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
        let grey: Vec<f32> = window.data.iter().map(|v| v / 127.5 - 1.0).collect();
        let data = grey.repeat(3);
        let shape_in = [1usize, 3, window.height, window.width];
        let input = TensorRef::from_array_view((shape_in, data.as_slice())).map_err(failed)?;
        let outputs = session.run(ort::inputs![input]).map_err(failed)?;
        let (got, rows) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        let n = self.classes.len();
        if !matches!(got[..], [1, steps, c] if steps > 0 && c == n as i64) {
            return Err(shape(path, "output", format!("has the shape {got:?}, expected [1, steps, {n}]")));
        }
        if !rows.iter().all(|v| v.is_finite()) {
            return Err(shape(path, "output", "holds values that are no numbers".into()));
        }
        // Letters that look alike on metal are one letter; all that no mark has is one sign.
        let classes = self.info.charset.len() + 2;
        let mut log_probs = Vec::with_capacity(rows.len() / n * classes);
        for row in rows.chunks_exact(n) {
            let mut sums = vec![0f32; classes];
            for (p, to) in row.iter().zip(&self.classes) {
                sums[*to] += p;
            }
            log_probs.extend(sums.iter().map(|p| p.max(LEAST).ln()));
        }
        Ok(Lattice::new(classes, log_probs))
    }
}

fn shape(path: &Path, tensor: &str, message: String) -> ModelError {
    ModelError::Shape { path: path.to_owned(), tensor: tensor.to_owned(), message }
}

/// For each class of a recogniser of PP-OCR its letter, any other sign, or the blank. Its metadata `character` names its signs line by
/// line; the blank stands before them and the space behind, which is as empty between letters.
fn signs(get: &dyn Fn(&str) -> Option<String>, charset: &[char], path: &Path) -> Result<Vec<usize>, ModelError> {
    let r = Reader { get, path };
    let text = r.text("character")?;
    let (other, blank) = (charset.len(), charset.len() + 1);
    let one = |line: &str| {
        let mut c = line.chars();
        match (c.next(), c.next()) {
            (Some(c), None) => letter(charset, c).unwrap_or(other),
            _ => other,
        }
    };
    let mut out = vec![blank];
    out.extend(text.split('\n').map(one));
    out.push(blank);
    if let Some(k) = (0..charset.len()).find(|k| !out.contains(k)) {
        return r.bad("character", format!("has no `{}`", charset[k]));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two letters and the blank, three steps, every step the same.
    fn lattice(a: f64, b: f64) -> Lattice {
        let row = [a.ln() as f32, b.ln() as f32, (1.0 - a - b).ln() as f32];
        Lattice::new(3, row.repeat(3))
    }

    #[test]
    fn likelihoods_are_those_counted_by_hand() {
        let (a, b) = (0.5, 0.2);
        let l = lattice(a, b);
        let c = 1.0 - a - b;
        let p = |t: &[usize]| l.log_likelihood(t).exp();
        assert!((p(&[]) - c * c * c).abs() < 1e-6);
        // A three times; A twice beside a blank (not around it); A once among two blanks.
        assert!((p(&[0]) - (a * a * a + 2.0 * a * a * c + 3.0 * a * c * c)).abs() < 1e-6);
        assert!((p(&[0, 0]) - a * c * a).abs() < 1e-6, "the same letter twice needs a blank between");
        assert!((p(&[0, 1]) - (a * a * b + a * b * b + 3.0 * a * b * c)).abs() < 1e-6);
        assert_eq!(p(&[0, 0, 0]), 0.0);
    }

    /// All texts together are certain.
    #[test]
    fn likelihoods_of_all_texts_sum_to_one() {
        let l = lattice(0.3, 0.3);
        let mut sum = 0.0;
        let mut texts: Vec<Vec<usize>> = vec![vec![]];
        for _ in 0..4 {
            sum += texts.iter().map(|t| l.log_likelihood(t).exp()).sum::<f64>();
            texts = texts.iter().flat_map(|t| [0, 1].map(|k| [t.as_slice(), &[k]].concat())).collect();
        }
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn the_greedy_text_drops_repeats_and_blanks() {
        let step = |k: usize| (0..3).map(|j| if j == k { -0.1f32 } else { -3.0 }).collect::<Vec<_>>();
        let l = Lattice::new(3, [0, 0, 2, 0, 1, 2].iter().flat_map(|k| step(*k)).collect());
        assert_eq!(l.greedy().iter().map(|g| g.0).collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn signs_that_look_alike_are_one_letter() {
        let charset: Vec<char> = "015K".chars().collect();
        let of = |text: &str| {
            signs(&|k| (k == "character").then(|| text.to_owned()), &charset, Path::new("m.onnx"))
                .map_err(|e| e.to_string())
        };
        assert_eq!(of("0\nO\no\n1\nI\n5\nk\nK\n\u{20ac}").unwrap(), [5, 0, 0, 0, 1, 1, 2, 3, 3, 4, 5]);
        let e = of("0\n1\n5").unwrap_err();
        assert!(e.contains("m.onnx") && e.contains("character") && e.contains('K'), "{e}");
        let e = signs(&|_| None, &charset, Path::new("m.onnx")).unwrap_err().to_string();
        assert!(e.contains("m.onnx") && e.contains("character"), "{e}");
        let info = ReaderInfo {
            charset,
            height: HEIGHT,
            width: WIDTH,
            sha256: String::new(),
            detector_sha256: String::new(),
        };
        assert_eq!(info.letters("1O k"), Some(vec![1, 0, 3]));
        assert_eq!(info.letters("7"), None);
        assert_eq!(info.text(&[2, 3, 4]), "5K?");
    }
}
