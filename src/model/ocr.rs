//! Reading short texts: where they are (PP-OCR's detector, "differentiable binarization") and what they say (two recognisers with CTC: PP-OCR's,
//! which knows print, and one of our own, which knows letters cut into metal). A reading is kept as its whole lattice, so that one text can be weighed
//! against another.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use super::info::Reader;
use super::sessions::{damaged, find_file, find_made, Sessions};
use super::ModelError;
use crate::vision::{ops, Image, Mask, Plane, VisionError};

/// The detector that `script/setup` fetches.
pub const DETECTOR_FILE: &str = "text_det.onnx";
/// The recogniser that `script/setup` fetches.
pub const READER_FILE: &str = "text_rec.onnx";

/// The shipped recogniser of letters in metal.
pub const MARKS_FILE: &str = "marks.onnx";

/// The letters of marks. O and 0, I and 1 look alike on metal: one stands for both.
const CHARSET: &str = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Height of a window that is read, in pixels, and its least and most width: as PP-OCR was trained. Its probabilities were believed from this one on, and
/// with this margin, before there was another recogniser (measured on rendered marks).
const PRINT: ReaderInfo = ReaderInfo { height: 48, width: (16, 320), sure: 0.8, margin: 20.0, sha256: String::new() };

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
    /// The detector's mean probability within it; 0 where it did not find it.
    pub score: f64,
}

impl TextBox {
    /// A rectangle, along its longer side.
    pub fn about(r: &ops::Turned, score: f64) -> TextBox {
        let quarter = if r.width < r.height { std::f64::consts::FRAC_PI_2 } else { 0.0 };
        TextBox {
            x: r.x,
            y: r.y,
            length: r.width.max(r.height),
            height: r.width.min(r.height),
            angle: r.angle + quarter,
            score,
        }
    }

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

/// What a recogniser says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderInfo {
    /// Height of a window in pixels.
    pub height: usize,
    /// Least and most width of a window in pixels.
    pub width: (usize, usize),
    /// Least probability of a text that is believed.
    pub sure: f64,
    /// How many times likelier than any other candidate it must be.
    pub margin: f64,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
}

/// The letters that recognisers tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letters(Vec<char>);

impl Letters {
    fn of_marks() -> Self {
        Letters(CHARSET.chars().collect())
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// A text in these letters; none where one of them is not known. Blanks and points are left out.
    pub fn of(&self, text: &str) -> Option<Vec<usize>> {
        text.chars().filter(|c| !c.is_whitespace() && *c != '.').map(|c| letter(&self.0, c)).collect()
    }

    /// Letters as text; a sign that is no letter is a question mark.
    pub fn text(&self, letters: &[usize]) -> String {
        letters.iter().map(|k| self.0.get(*k).copied().unwrap_or('?')).collect()
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

/// A network that says what a window with one line of letters reads.
pub struct Recogniser {
    sessions: Sessions,
    /// For each class of its answer: its letter, any other sign, or the blank.
    classes: Vec<usize>,
    /// Whether it takes three channels of -1 to 1 and answers probabilities (PP-OCR's), or one of 0 to 255 and answers their logs (our own).
    is_print: bool,
    info: ReaderInfo,
}

/// Detector and recognisers, shared by threads.
pub struct MarkReader {
    detector: Sessions,
    detector_sha256: String,
    input: String,
    recognisers: [Recogniser; 2],
    letters: Letters,
}

impl std::fmt::Debug for MarkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let info: Vec<&ReaderInfo> = self.recognisers.iter().map(|r| &r.info).collect();
        f.debug_struct("MarkReader")
            .field("detector", &self.detector_path())
            .field("recognisers", &info)
            .finish_non_exhaustive()
    }
}

impl MarkReader {
    /// Loads what the set-up fetched, beside the shipped models, or in `.deps/models/` of a folder above the program or above the
    /// current folder, and the shipped recogniser.
    ///
    /// # Errors
    /// [`ModelError::NoTextModels`], [`ModelError::NotFound`], or as [`MarkReader::load`].
    pub fn load_default() -> Result<Self, ModelError> {
        let find = |file| find_made(file).ok_or(ModelError::NoTextModels { file });
        let marks = find_file(MARKS_FILE).ok_or(ModelError::NotFound { file: MARKS_FILE })?;
        Self::load(&find(DETECTOR_FILE)?, &find(READER_FILE)?, &marks)
    }

    /// The files that [`MarkReader::load_default`] would load, as far as they are there.
    pub fn default_files() -> Vec<PathBuf> {
        let found = [find_made(DETECTOR_FILE), find_made(READER_FILE), find_file(MARKS_FILE)];
        found.into_iter().flatten().collect()
    }

    /// Loads and checks the files: the detector, the recogniser of print, that of letters in metal.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing; a file is missing, empty, damaged, or is not what it should be.
    pub fn load(detector: &Path, print: &Path, marks: &Path) -> Result<Self, ModelError> {
        let (found, detector_sha256) = Sessions::read(detector)?;
        let input = found.with(|s| {
            let names: Vec<String> = s.inputs().iter().map(|i| i.name().to_owned()).collect();
            match names.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err(shape(detector, "inputs", format!("{names:?}; a detector of text has one"))),
            }
        })?;
        let letters = Letters::of_marks();
        let recognisers = [Recogniser::of_print(print, &letters)?, Recogniser::of_metal(marks, &letters)?];
        let out = MarkReader { detector: found, detector_sha256, input, recognisers, letters };
        // Grey pictures: networks whose answers have another shape are refused before any piece is judged by them.
        out.map(&Image { width: 64, height: 64, data: vec![128; 3 * 64 * 64], grey: true })?;
        for r in &out.recognisers {
            r.read(&[Plane::filled(2 * r.info.height, r.info.height, 128.0)])?;
        }
        Ok(out)
    }

    /// The letters of marks.
    pub fn letters(&self) -> &Letters {
        &self.letters
    }

    /// What reads a window.
    pub fn recognisers(&self) -> &[Recogniser] {
        &self.recognisers
    }

    /// The files: what each is, where it lies, its sha256 (lower-case hex).
    pub fn files(&self) -> [(&'static str, PathBuf, &str); 3] {
        let [print, metal] = &self.recognisers;
        [
            ("text-detector", self.detector_path(), self.detector_sha256.as_str()),
            ("text-reader", print.sessions.path().to_owned(), print.info.sha256.as_str()),
            ("marks", metal.sessions.path().to_owned(), metal.info.sha256.as_str()),
        ]
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
            let TextBox { length, height, angle, .. } = TextBox::about(&r, 0.0);
            if height < THINNEST {
                continue;
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
}

impl Recogniser {
    /// PP-OCR's: its metadata name its signs.
    fn of_print(path: &Path, letters: &Letters) -> Result<Self, ModelError> {
        let (sessions, sha256) = Sessions::read(path)?;
        let classes = sessions.with(|session| {
            let metadata = session.metadata().map_err(|e| damaged(path, &e))?;
            signs(&|key| metadata.custom(key), &letters.0, path)
        })?;
        Ok(Recogniser { sessions, classes, is_print: true, info: ReaderInfo { sha256, ..PRINT } })
    }

    /// Our own (`models/train_marks.py`).
    fn of_metal(path: &Path, letters: &Letters) -> Result<Self, ModelError> {
        let (sessions, sha256) = Sessions::read(path)?;
        let info = sessions.with(|session| {
            let metadata = session.metadata().map_err(|e| damaged(path, &e))?;
            parse(&|key| metadata.custom(key), sha256, path)
        })?;
        // The letters, any other sign, none.
        Ok(Recogniser { sessions, classes: (0..letters.count() + 2).collect(), is_print: false, info })
    }

    /// What it says of itself.
    pub fn info(&self) -> &ReaderInfo {
        &self.info
    }

    /// Reads windows of its height (grey levels of 0 to 255).
    ///
    /// # Errors
    /// [`ModelError::Run`], [`ModelError::Shape`].
    pub fn read(&self, windows: &[Plane]) -> Result<Vec<Lattice>, ModelError> {
        // One by one: their widths differ, and padding would change what is read.
        self.sessions.with(|s| windows.iter().map(|w| self.read_one(s, w)).collect())
    }

    fn read_one(&self, session: &mut Session, window: &Plane) -> Result<Lattice, ModelError> {
        let path = self.sessions.path();
        let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
        let (data, channels) = if self.is_print {
            (window.data.iter().map(|v| v / 127.5 - 1.0).collect::<Vec<f32>>().repeat(3), 3)
        } else {
            (window.data.clone(), 1)
        };
        let shape_in = [1usize, channels, window.height, window.width];
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
        let classes = CHARSET.len() + 2;
        let mut log_probs = Vec::with_capacity(rows.len() / n * classes);
        for row in rows.chunks_exact(n) {
            let mut sums = vec![0f32; classes];
            for (p, to) in row.iter().zip(&self.classes) {
                sums[*to] += if self.is_print { *p } else { p.exp() };
            }
            log_probs.extend(sums.iter().map(|p| p.max(LEAST).ln()));
        }
        Ok(Lattice::new(classes, log_probs))
    }
}

/// What the metadata of our own recogniser say.
fn parse(get: &dyn Fn(&str) -> Option<String>, sha256: String, path: &Path) -> Result<ReaderInfo, ModelError> {
    let r = Reader { get, path };
    r.schema()?;
    r.text("loupe.name")?;
    r.text("loupe.version")?;
    let letters: Vec<String> = CHARSET.chars().map(String::from).collect();
    r.columns(&letters.iter().map(String::as_str).collect::<Vec<_>>())?;
    let height: usize = r.number("loupe.height")?;
    let width: (usize, usize) = (r.number("loupe.width_min")?, r.number("loupe.width_max")?);
    let Believed { sure, margin } = r.json("loupe.thresholds")?;
    for (key, sound) in [
        ("loupe.height", (8..=256).contains(&height)),
        ("loupe.width_min", width.0 >= 4 && width.0 <= width.1 && width.1 <= 4096),
        ("loupe.thresholds", sure > 0.0 && sure < 1.0 && margin >= 1.0 && margin.is_finite()),
    ] {
        if !sound {
            return r.bad(key, "holds a number that cannot be".into());
        }
    }
    Ok(ReaderInfo { height, width, sure, margin, sha256 })
}

/// From when on a text is believed.
#[derive(serde::Deserialize)]
struct Believed {
    sure: f64,
    margin: f64,
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
    use crate::model::info::every_mistake;

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
    fn every_mistake_names_file_and_key() {
        let good = [
            ("loupe.height", "32"),
            ("loupe.width_min", "16"),
            ("loupe.width_max", "320"),
            ("loupe.thresholds", r#"{"sure":0.58,"margin":20}"#),
        ];
        let wrong = [
            ("loupe.schema", "loupe.model/2"),
            ("loupe.columns", r#"["0","1"]"#),
            ("loupe.height", "0"),
            ("loupe.height", "tall"),
            ("loupe.width_min", "400"),
            ("loupe.thresholds", r#"{"sure":0.58}"#),
            ("loupe.thresholds", r#"{"sure":1.2,"margin":20}"#),
            ("loupe.thresholds", r#"{"sure":0.58,"margin":0.5}"#),
        ];
        let letters: Vec<String> = CHARSET.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(every_mistake(&letters, &good, &wrong, parse).width, (16, 320));
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
        let info = Letters(charset);
        assert_eq!(info.of("1O k"), Some(vec![1, 0, 3]));
        assert_eq!(info.of("7"), None);
        assert_eq!(info.text(&[2, 3, 4]), "5K?");
    }
}
