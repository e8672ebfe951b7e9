//! Labelled sets, read as they lie on disk: pieces with `truth.json`, the MVTec AD layout, COCO JSON (and the
//! simpler `labels.json` with polygons per picture), masks beside pictures, and plain class folders.
//! Every loader yields the same [`Sample`]; pictures and masks are only opened when they are asked for.

mod coco;
mod folders;
mod mask;
mod mvtec;
mod pieces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::report::{FindingType, PoseRow, Verdict};

pub use mask::{decode_counts, decode_rle, fill_polygon, MaskSource, Rle};
pub use pieces::RingTruth;

/// How a set is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Folders with `piece.json` and `truth.json`.
    Pieces,
    /// `train/good`, `test/<class>`, `ground_truth/<class>/*_mask.png`.
    Mvtec,
    /// COCO JSON, or `labels.json` with polygons per picture.
    Coco,
    /// A mask beside each picture.
    Masks,
    /// One folder per class.
    Folders,
}

impl Kind {
    /// The word on the command line and in the figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Pieces => "pieces",
            Kind::Mvtec => "mvtec",
            Kind::Coco => "coco",
            Kind::Masks => "masks",
            Kind::Folders => "folders",
        }
    }
}

/// Which part of a set is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What is held out; a set that names no split is all test.
    Test,
    /// What is trained on.
    Train,
    /// Both.
    All,
}

impl Split {
    /// The word on the command line and in the figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Train => "train",
            Split::All => "all",
        }
    }

    /// Whether a sample of a part (none: the set names no split) is asked for.
    fn takes(self, part: Option<Part>) -> bool {
        match (self, part) {
            (Split::All, _) | (Split::Test, None | Some(Part::Test)) | (Split::Train, Some(Part::Train)) => true,
            (Split::Test, Some(Part::Train)) | (Split::Train, None | Some(Part::Test)) => false,
        }
    }
}

/// Which protocol of a `splits.json` is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Defects on both sides.
    Supervised,
    /// Trained on good pictures alone, every defect in the test.
    #[value(name = "one_class", alias = "one-class")]
    OneClass,
}

impl Protocol {
    /// The key in `splits.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Supervised => "supervised",
            Protocol::OneClass => "one_class",
        }
    }
}

/// The side of a split that a sample stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Test,
}

/// What to read of a set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The layout; none to find out.
    pub kind: Option<Kind>,
    /// Which part.
    pub split: Split,
    /// Which protocol, where the set names several; none for supervised.
    pub protocol: Option<Protocol>,
}

/// A labelled set.
#[derive(Debug)]
pub struct Set {
    /// Its layout.
    pub kind: Kind,
    /// The protocol that was followed, where the set names several.
    pub protocol: Option<Protocol>,
    /// Its samples, sorted by name.
    pub samples: Vec<Sample>,
    /// Samples that could not be read.
    pub errors: Vec<SampleError>,
}

/// A sample that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleError {
    /// Its name in the set.
    pub name: String,
    /// Why, with the file and the key.
    pub message: String,
}

/// One labelled piece or picture.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its path within the set, with `/`.
    pub name: String,
    /// Where its pixels are.
    pub source: Source,
    /// The set's own class: the folder, or the kind of piece.
    pub class: String,
    /// What is known of it.
    pub truth: Truth,
}

/// Where a sample's pixels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder with `piece.json`.
    Piece(PathBuf),
    /// One picture.
    Image(PathBuf),
}

/// What is known of a sample.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// Whether anything is wrong with it, where that is known before its mask is read.
    pub defective: Option<bool>,
    /// The verdict a piece should get.
    pub verdict: Option<Verdict>,
    /// Each defect, where the set tells them apart.
    pub defects: Vec<TruthDefect>,
    /// Which pixels are defect; none where the set does not say.
    pub mask: Option<MaskSource>,
    /// Where the piece lies.
    pub pose: Option<PoseRow>,
    /// Where the stones are.
    pub stones: Vec<StoneTruth>,
    /// The diameters of a backlit ring.
    pub ring: Option<RingTruth>,
    /// The marks that it bears.
    pub marks: Vec<MarkTruth>,
}

/// A mark as ordered and as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkTruth {
    /// What was ordered.
    pub ordered: String,
    /// What is on the piece; empty where nothing is.
    pub text: String,
    /// Height of its letters in um.
    pub height_um: u32,
}

/// A stone's true place.
#[derive(Debug, Clone, PartialEq)]
pub struct StoneTruth {
    /// Its id in the spec.
    pub id: String,
    /// Centre in the frame.
    pub x_px: f64,
    /// Centre in the frame.
    pub y_px: f64,
    /// Whether it is not there.
    pub missing: bool,
    /// Width of its girdle, where the truth says.
    pub diameter_mm: Option<f64>,
    /// Its tilt, where the truth says.
    pub tilt_deg: Option<f64>,
    /// Widest gap between girdle and seat that no prong hides, where the truth knows it.
    pub gap_mm: Option<f64>,
}

/// One true defect.
#[derive(Debug, Clone, Default)]
pub struct TruthDefect {
    /// Its type in the contract's words, where the set's word is one of them.
    pub kind: Option<FindingType>,
    /// The set's own word.
    pub class: String,
    /// The frame, where the truth names one.
    pub file: Option<String>,
    /// The stone, where it is a stone's.
    pub stone: Option<String>,
    /// Whether the set says where it is; a wrong finish or size has no place.
    pub placed: bool,
    /// Centre in the frame.
    pub x_px: f64,
    /// Centre in the frame.
    pub y_px: f64,
    /// Radius of the circle about it.
    pub radius_px: f64,
    /// Its outlines, closed polygons in pixels; empty where only the circle is known.
    pub polygons: Vec<Vec<[f64; 2]>>,
    /// True sizes by the truth's key, such as `radius_mm`, `length_mm`, `tilt_deg`.
    pub sizes: BTreeMap<String, f64>,
    /// Whether it breaks a limit of the spec, where the truth says so of each defect.
    pub over_limit: Option<bool>,
}

impl TruthDefect {
    /// A defect of polygons, with the circle about their points.
    fn of_polygons(class: &str, polygons: Vec<Vec<[f64; 2]>>) -> Self {
        let points = || polygons.iter().flatten();
        let (mut x0, mut x1, mut y0, mut y1) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY);
        for p in points() {
            x0 = x0.min(p[0]);
            x1 = x1.max(p[0]);
            y0 = y0.min(p[1]);
            y1 = y1.max(p[1]);
        }
        let (x, y) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let radius = points().map(|p| (p[0] - x).hypot(p[1] - y)).fold(0.0, f64::max);
        TruthDefect {
            kind: finding_type(class),
            class: class.to_owned(),
            placed: true,
            x_px: x,
            y_px: y,
            radius_px: radius,
            polygons,
            ..Self::default()
        }
    }
}

/// Why a set could not be read at all. Every message names the file and, where there is one, the key.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or folder could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A label file that makes no sense.
    #[error("{}: key `{key}`: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// No layout fits.
    #[error("{}: not a labelled set: {looked_for}", path.display())]
    Unknown {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        looked_for: String,
    },
    /// A layout that fits, without a sample of the part that was asked for.
    #[error("{}: no sample of the split `{split}` in this {kind} set", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// The layout.
        kind: &'static str,
        /// The part.
        split: &'static str,
    },
}

/// Reads a set: its list of samples with their truth, without opening a picture.
///
/// # Errors
/// [`DatasetError`] where the set as a whole cannot be read; a sample that cannot is listed in
/// [`Set::errors`].
pub fn load(path: &Path, options: Options) -> Result<Set, DatasetError> {
    let root = match std::fs::metadata(path) {
        Err(source) => return Err(DatasetError::Read { path: path.to_owned(), source }),
        Ok(m) if m.is_file() && !has_ext(path, &["json"]) => {
            return Err(unknown(path, "a set is a folder or a COCO JSON file"))
        }
        Ok(_) => path,
    };
    let kind = match options.kind {
        Some(kind) => kind,
        None => detect(root)?,
    };
    if let (Some(p), false) = (options.protocol, root.join("splits.json").is_file()) {
        return Err(unknown(root, &format!("the protocol `{}` needs a splits.json in it", p.as_str())));
    }
    let mut set = match kind {
        Kind::Pieces => pieces::load(root)?,
        Kind::Mvtec => mvtec::load(root, options.split)?,
        Kind::Coco => coco::load(root, options.split)?,
        Kind::Masks => folders::load_masks(root, options.split, options.protocol)?,
        Kind::Folders => folders::load_folders(root, options.split)?,
    };
    if kind == Kind::Pieces && options.split == Split::Train {
        // Pieces name no split.
        set.samples.clear();
        set.errors.clear();
    }
    if set.samples.is_empty() && set.errors.is_empty() {
        return Err(DatasetError::Empty {
            path: root.to_owned(),
            kind: kind.as_str(),
            split: options.split.as_str(),
        });
    }
    set.samples.sort_by(|a, b| a.name.cmp(&b.name));
    set.errors.sort();
    Ok(set)
}

/// Which labelled set of pictures lies in a folder, with defects among them; none of plain pictures, of pieces, and of folders none of which says that it holds bad ones.
pub fn labelled(root: &Path) -> Option<&'static str> {
    match detect(root).ok()? {
        Kind::Pieces => None,
        Kind::Folders => folders::has_bad(root).unwrap_or(false).then_some(Kind::Folders.as_str()),
        kind => Some(kind.as_str()),
    }
}

/// Whether the truth beside a piece says that it is no good one.
pub fn is_bad(piece: &Path) -> bool {
    pieces::verdict(piece) == Some(crate::report::Verdict::Fail)
}

/// Finds out how a set is laid out, the most telling sign first.
fn detect(root: &Path) -> Result<Kind, DatasetError> {
    if root.is_file() {
        return Ok(Kind::Coco);
    }
    if !pieces::folders(root)?.is_empty() {
        return Ok(Kind::Pieces);
    }
    if !mvtec::objects(root)?.is_empty() {
        return Ok(Kind::Mvtec);
    }
    if !coco::label_files(root)?.is_empty() {
        return Ok(Kind::Coco);
    }
    if folders::has_masks(root)? {
        return Ok(Kind::Masks);
    }
    if folders::has_classes(root)? {
        return Ok(Kind::Folders);
    }
    Err(unknown(
        root,
        "looked for folders with piece.json and truth.json; test/<class> beside train/ or ground_truth/ (MVTec \
         AD); a JSON with `images` and `annotations` (COCO) or with `labels`; pictures with a mask of the same \
         name beside them; at least two class folders of pictures, one of them called good or ok",
    ))
}

fn unknown(path: &Path, looked_for: &str) -> DatasetError {
    DatasetError::Unknown { path: path.to_owned(), looked_for: looked_for.to_owned() }
}

/// Entries of a folder, sorted by name, hidden ones left out.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = |source| DatasetError::Read { path: dir.to_owned(), source };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if !file_name(&path).starts_with('.') {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// Sub-folders, sorted by name.
fn dirs(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    Ok(entries(dir)?.into_iter().filter(|p| p.is_dir()).collect())
}

/// Pictures directly in a folder, sorted by name; those of other formats and links to nowhere too: that they cannot be read is said of each.
fn pictures(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    Ok(entries(dir)?
        .into_iter()
        .filter(|p| (is_picture(p) || is_other_picture(p)) && (p.is_file() || !p.exists()))
        .collect())
}

/// Pictures in a folder and below it, as [`folders_below`] has them.
pub(crate) fn pictures_below(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    Ok(folders_below(dir)?.iter().map(|d| pictures(d)).collect::<Result<Vec<_>, _>>()?.concat())
}

/// A folder and those below it, hidden ones left out, each before its own. One that links lead to twice is looked into once.
pub(crate) fn folders_below(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    fn add(dir: &Path, been: &mut BTreeSet<PathBuf>, out: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
        if !is_new(dir, been) {
            return Ok(());
        }
        out.push(dir.to_owned());
        dirs(dir)?.iter().try_for_each(|sub| add(sub, been, out))
    }
    let mut out = Vec::new();
    add(dir, &mut BTreeSet::new(), &mut out)?;
    Ok(out)
}

/// Whether a folder or a file was not come by before, by whatever links; it counts as known from now on.
pub(crate) fn is_new(dir: &Path, been: &mut BTreeSet<PathBuf>) -> bool {
    been.insert(dir.canonicalize().unwrap_or_else(|_| dir.to_owned()))
}

fn is_picture(path: &Path) -> bool {
    has_ext(path, &["png", "jpg", "jpeg", "bmp", "tif", "tiff"])
}

/// A picture in a format that is not read.
fn is_other_picture(path: &Path) -> bool {
    has_ext(path, &["webp", "gif", "heic", "avif"])
}

fn has_ext(path: &Path, exts: &[&str]) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| exts.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A path within the set, with `/`.
fn name_in(root: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inner.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    if parts.is_empty() {
        file_name(path)
    } else {
        parts.join("/")
    }
}

/// Whether a class name means that nothing is wrong. Whole words only: `broken` and `smoke` hold an `ok`; and none that is denied: `not_ok`.
fn is_good(class: &str) -> bool {
    says_good(class) == Some(true)
}

/// Whether a name says that nothing is wrong, or that something is; none where it says neither.
fn says_good(name: &str) -> Option<bool> {
    const GOOD: [&str; 4] = ["good", "ok", "free", "normal"];
    const DENIED: [&str; 3] = ["not", "no", "non"];
    const BAD: [&str; 15] = [
        "nok",
        "ng",
        "bad",
        "defect",
        "defects",
        "defective",
        "fail",
        "failed",
        "reject",
        "rejects",
        "rejected",
        "faulty",
        "anomaly",
        "anomalous",
        "abnormal",
    ];
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let is = |of: &[&str]| words.iter().any(|w| of.iter().any(|o| w.eq_ignore_ascii_case(o)));
    // `defect_free` is free of them, and `not_ok` is not; `lot no 3` says neither.
    match (is(&GOOD), is(&BAD)) {
        (true, _) if is(&DENIED) => Some(false),
        (true, true) => Some(is(&["free"])),
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// The side a folder's name stands for.
fn part_of(name: &str) -> Option<Part> {
    let first = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(name).to_ascii_lowercase();
    let last = name.split(|c: char| !c.is_ascii_alphanumeric()).next_back().unwrap_or(name).to_ascii_lowercase();
    let is = |w: &str| match w {
        "train" | "training" | "train2017" => Some(Part::Train),
        "test" | "testing" | "val" | "valid" | "validation" | "val2017" | "test2017" => Some(Part::Test),
        _ => None,
    };
    is(&first).or_else(|| is(&last))
}

/// The contract's type for a set's word, where it plainly is one.
fn finding_type(class: &str) -> Option<FindingType> {
    let word: String =
        class.trim().to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let one = |w: &str| FindingType::parse(w);
    one(&word).or_else(|| one(word.trim_end_matches('s'))).or(match word.as_str() {
        "pitting" | "pitted_surface" | "pitted" | "pinhole" | "pinholes" => Some(FindingType::Pit),
        "scratches" | "scratching" => Some(FindingType::Scratch),
        "blowhole" | "blowholes" | "blow_hole" | "pore" | "pores" => Some(FindingType::Porosity),
        "stains" | "staining" | "spot" | "patches" | "patch" => Some(FindingType::Stain),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_is_a_whole_word() {
        for good in ["good", "test_ok", "free", "OK", "train-good", "defect_free"] {
            assert!(is_good(good), "{good}");
        }
        for bad in
            ["broken", "smoke", "freeze", "defect", "no_t", "not_ok", "test_not_ok", "no-good", "not good", "nok"]
        {
            assert!(!is_good(bad), "{bad}");
        }
        assert_eq!([says_good("lot no 3"), says_good("bad lot"), says_good("pits")], [None, Some(false), None]);
    }

    #[test]
    fn words_of_other_sets() {
        assert_eq!(finding_type("Scratches"), Some(FindingType::Scratch));
        assert_eq!(finding_type("pitting"), Some(FindingType::Pit));
        assert_eq!(finding_type("missing stone"), Some(FindingType::MissingStone));
        assert_eq!(finding_type("uneven"), None);
    }

    #[test]
    fn a_folder_that_is_no_set_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let e = load(dir.path(), Options { kind: None, split: Split::Test, protocol: None }).unwrap_err();
        let text = e.to_string();
        assert!(text.contains("truth.json") && text.contains("MVTec") && text.contains("COCO"), "{text}");
    }
}
