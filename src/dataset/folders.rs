//! Pictures in one folder per class, with or without a mask beside each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    file_name, folders_below, is_good, name_in, part_of, pictures, says_good, stem, unknown, DatasetError, Kind,
    MaskSource, Part, Protocol, Sample, SampleError, Set, Source, Split, Truth,
};

/// Endings that mark a mask where picture and mask have the same suffix or lie under other names.
const MASK_ENDINGS: [&str; 6] = ["_mask", "_label", "_GT", "_gt", "-mask", "_seg"];

/// The folders of pictures: `root` itself and those below.
fn class_dirs(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut with_pictures = Vec::new();
    for dir in folders_below(root)? {
        if !pictures(&dir)?.is_empty() {
            with_pictures.push(dir);
        }
    }
    with_pictures.sort();
    Ok(with_pictures)
}

/// The class of a folder and whether it is good: the innermost of its path's names that says so (`good/lot1`, `lot1/good`); where none does, it is of
/// defects, and of the outermost name's class that is no side of the split.
fn class_of(root: &Path, dir: &Path) -> (String, bool) {
    let inner = dir.strip_prefix(root).unwrap_or(dir);
    let names: Vec<String> = inner.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    let told = names.iter().rev().find_map(|n| says_good(n).map(|good| (n.clone(), good)));
    told.unwrap_or_else(|| {
        let class = names.iter().find(|n| !own_part(n)).or(names.last());
        (class.cloned().unwrap_or_default(), false)
    })
}

/// A folder's pictures with the mask of each, where there is one.
fn pairs(dir: &Path) -> Result<Vec<(PathBuf, Option<PathBuf>)>, DatasetError> {
    let all = pictures(dir)?;
    let set: BTreeSet<&PathBuf> = all.iter().collect();
    let by_stem: BTreeMap<String, &PathBuf> = all.iter().map(|p| (stem(p), p)).collect();
    let mut masks: BTreeSet<PathBuf> = BTreeSet::new();
    let mut out: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
    for p in &all {
        let png = p.with_extension("png");
        let beside = (png != *p && set.contains(&png)).then_some(png);
        let own = stem(p);
        let ended = || MASK_ENDINGS.iter().find_map(|e| by_stem.get(&format!("{own}{e}"))).map(|q| (*q).clone());
        let mask = beside.or_else(ended);
        masks.extend(mask.clone());
        out.push((p.clone(), mask));
    }
    out.retain(|(p, _)| !masks.contains(p));
    Ok(out)
}

pub(super) fn has_masks(root: &Path) -> Result<bool, DatasetError> {
    for dir in class_dirs(root)? {
        if pairs(&dir)?.iter().any(|(_, mask)| mask.is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn has_classes(root: &Path) -> Result<bool, DatasetError> {
    let classes = class_dirs(root)?;
    Ok(classes.len() > 1 && classes.iter().any(|d| class_of(root, d).1))
}

/// Whether a folder says of itself, by its name, that its pictures are bad ones.
pub(super) fn has_bad(root: &Path) -> Result<bool, DatasetError> {
    let says = |d: &PathBuf| {
        d.strip_prefix(root).unwrap_or(d).iter().any(|n| says_good(&n.to_string_lossy()) == Some(false))
    };
    Ok(class_dirs(root)?.iter().any(says))
}

#[derive(Deserialize)]
struct SplitsFile {
    supervised: Option<Supervised>,
    one_class: Option<OneClass>,
}

#[derive(Deserialize)]
struct Supervised {
    train: Vec<String>,
    test: Vec<String>,
    train_good: Vec<String>,
    test_good: Vec<String>,
}

#[derive(Deserialize)]
struct OneClass {
    train_good: Vec<String>,
    test_good: Vec<String>,
    /// A sentence: every picture of the other folders.
    #[serde(rename = "test_defect")]
    _test_defect: Option<serde_json::Value>,
}

/// The names on each side of a protocol. In the one-class one every picture that is not named and not good is
/// test; in both, one that stands nowhere is left out by the protocol itself.
struct Sides {
    train: BTreeSet<String>,
    test: BTreeSet<String>,
    defects_are_test: bool,
}

impl Sides {
    fn read(path: &Path, protocol: Protocol) -> Result<Self, DatasetError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        let value = |key: String, message: String| DatasetError::Value { path: path.to_owned(), key, message };
        let file: SplitsFile = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text))
            .map_err(|e| value(e.path().to_string(), e.inner().to_string()))?;
        let missing = || value(protocol.as_str().into(), "the protocol is not in the file".into());
        Ok(match protocol {
            Protocol::Supervised => {
                let s = file.supervised.ok_or_else(missing)?;
                Sides {
                    train: s.train.into_iter().chain(s.train_good).collect(),
                    test: s.test.into_iter().chain(s.test_good).collect(),
                    defects_are_test: false,
                }
            }
            Protocol::OneClass => {
                let s = file.one_class.ok_or_else(missing)?;
                Sides {
                    train: s.train_good.into_iter().collect(),
                    test: s.test_good.into_iter().collect(),
                    defects_are_test: true,
                }
            }
        })
    }

    fn part(&self, name: &str, good: bool) -> Option<Part> {
        if self.train.contains(name) {
            Some(Part::Train)
        } else if self.test.contains(name) || (self.defects_are_test && !good) {
            Some(Part::Test)
        } else {
            None
        }
    }
}

pub(super) fn load_masks(root: &Path, split: Split, protocol: Option<Protocol>) -> Result<Set, DatasetError> {
    let splits = root.join("splits.json");
    let protocol = splits.is_file().then(|| protocol.unwrap_or(Protocol::Supervised));
    let sides = protocol.map(|p| Sides::read(&splits, p)).transpose()?;
    let mut set = Set { kind: Kind::Masks, protocol, samples: vec![], errors: vec![] };
    let (mut seen, mut any_masked) = (BTreeSet::new(), false);
    for dir in class_dirs(root)? {
        let own = file_name(&dir);
        let folder_good = is_good(&own);
        let rows = pairs(&dir)?;
        let some_masked = rows.iter().any(|(_, m)| m.is_some());
        any_masked |= some_masked;
        let is_png = |p: &Path| super::has_ext(p, &["png"]);
        // Where pictures have other endings than their masks, a mask is left of a picture that got lost.
        let only_masks_are_png = some_masked && rows.iter().all(|(p, m)| m.is_none() || !is_png(p));
        for (picture, mask) in rows {
            let name = name_in(root, &picture);
            let part = match &sides {
                Some(sides) => {
                    seen.insert(name.clone());
                    match sides.part(&name, folder_good) {
                        None if split != Split::All => continue,
                        part => part,
                    }
                }
                None => part_of_dir(root, &dir),
            };
            if !split.takes(part) {
                continue;
            }
            let (defective, mask) = match mask {
                // An empty mask is a good picture: only its pixels tell.
                Some(m) => ((!folder_good && !own_part(&own)).then_some(true), Some(MaskSource::Files(vec![m]))),
                None if only_masks_are_png && is_png(&picture) => {
                    let message = format!("{}: no picture beside this mask", picture.display());
                    set.errors.push(SampleError { name, message });
                    continue;
                }
                None if folder_good => (Some(false), Some(MaskSource::Empty)),
                None if some_masked => {
                    set.errors.push(SampleError {
                        name,
                        message: format!("{}: no mask beside it, as its folder's others have", picture.display()),
                    });
                    continue;
                }
                None => (Some(true), None),
            };
            set.samples.push(Sample {
                name,
                class: own.clone(),
                source: Source::Image(picture),
                truth: Truth { defective, mask, ..Truth::default() },
            });
        }
    }
    if !any_masked {
        return Err(unknown(root, "looked for pictures with a mask of the same name beside them"));
    }
    if let Some(sides) = &sides {
        let wanted = |part| split.takes(Some(part));
        let named = sides.train.iter().filter(|_| wanted(Part::Train));
        let named = named.chain(sides.test.iter().filter(|_| wanted(Part::Test)));
        for name in named.filter(|n| !seen.contains(*n)) {
            let message = format!("{}: `{name}` is in the split and not in the set", splits.display());
            set.errors.push(SampleError { name: name.clone(), message });
        }
    }
    Ok(set)
}

/// Whether a folder is named after a side of the split and so says nothing of a class.
fn own_part(own: &str) -> bool {
    part_of(own).is_some()
}

fn part_of_dir(root: &Path, dir: &Path) -> Option<Part> {
    let inner = dir.strip_prefix(root).ok()?;
    inner.components().find_map(|c| part_of(&c.as_os_str().to_string_lossy()))
}

pub(super) fn load_folders(root: &Path, split: Split) -> Result<Set, DatasetError> {
    let mut set = Set { kind: Kind::Folders, protocol: None, samples: vec![], errors: vec![] };
    let classes = class_dirs(root)?;
    if !classes.iter().any(|d| class_of(root, d).1) {
        return Err(unknown(root, "looked for class folders of pictures, one of them called good or ok"));
    }
    for dir in &classes {
        if dir == root {
            set.errors.extend(pictures(dir)?.iter().map(|p| SampleError {
                name: name_in(root, p),
                message: format!("{}: lies in no class's folder", p.display()),
            }));
            continue;
        }
        if !split.takes(part_of_dir(root, dir)) {
            continue;
        }
        let (class, good) = class_of(root, dir);
        for picture in pictures(dir)? {
            set.samples.push(Sample {
                name: name_in(root, &picture),
                class: class.clone(),
                source: Source::Image(picture),
                truth: Truth { defective: Some(!good), ..Truth::default() },
            });
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::super::{load, Options};
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for f in files {
            let path = root.join(f);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    fn names(root: &Path, split: Split, protocol: Option<Protocol>) -> (Kind, Vec<String>, usize) {
        let set = load(root, Options { kind: None, split, protocol }).unwrap();
        (set.kind, set.samples.iter().map(|s| s.name.clone()).collect(), set.errors.len())
    }

    #[test]
    fn a_mask_whose_picture_got_lost_is_no_good_picture() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["free/a.jpg", "free/a.png", "free/b.png", "free/c.jpg", "pit/d.jpg", "pit/d.png"]);
        let set = load(dir.path(), Options { kind: None, split: Split::Test, protocol: None }).unwrap();
        let names: Vec<&str> = set.samples.iter().map(|s| s.name.as_str()).collect();
        assert_eq!((set.kind, names), (Kind::Masks, vec!["free/a.jpg", "free/c.jpg", "pit/d.jpg"]));
        assert!(set.errors[0].message.ends_with("no picture beside this mask"), "{:?}", set.errors);
        // The same in the layout of MVTec AD.
        let dir = tempfile::tempdir().unwrap();
        let truth = ["ground_truth/cut/000_mask.png", "ground_truth/cut/001_mask.png"];
        touch(dir.path(), &["train/good/000.png", "test/good/000.png", "test/cut/000.png", truth[0], truth[1]]);
        let set = load(dir.path(), Options { kind: None, split: Split::Test, protocol: None }).unwrap();
        assert_eq!((set.kind, set.samples.len(), set.errors.len()), (Kind::Mvtec, 2, 1));
        assert_eq!(set.errors[0].name, truth[1]);
    }

    #[test]
    fn masks_beside_pictures_and_their_protocols() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["pit/a.jpg", "pit/a.png", "pit/b.jpg", "pit/b.png", "free/c.jpg", "free/d.jpg", "pit/e.jpg"],
        );
        let splits = r#"{"supervised":{"train":["pit/a.jpg"],"test":["pit/b.jpg"],"train_good":["free/c.jpg"],
            "test_good":["free/d.jpg","free/gone.jpg"]},"one_class":{"train_good":["free/c.jpg"],
            "test_good":["free/d.jpg"],"test_defect":"every image of the other folders"}}"#;
        std::fs::write(dir.path().join("splits.json"), splits).unwrap();
        let (kind, got, errors) = names(dir.path(), Split::Test, None);
        assert_eq!((kind, got, errors), (Kind::Masks, vec!["free/d.jpg".into(), "pit/b.jpg".into()], 1));
        let (_, got, errors) = names(dir.path(), Split::Test, Some(Protocol::OneClass));
        assert_eq!(got, ["free/d.jpg", "pit/a.jpg", "pit/b.jpg"]);
        assert_eq!(errors, 1, "pit/e.jpg has no mask");
    }

    #[test]
    fn masks_told_by_their_ending() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["test/1.png", "test/1_GT.png", "test/2.png", "test/2_GT.png", "train/3.png", "train/3_GT.png"],
        );
        let (kind, got, _) = names(dir.path(), Split::Test, None);
        assert_eq!((kind, got), (Kind::Masks, vec!["test/1.png".to_owned(), "test/2.png".into()]));
    }

    #[test]
    fn class_folders() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["test_ok/a.jpg", "test_defect/b.jpg", "train_ok/c.jpg"]);
        let (kind, got, _) = names(dir.path(), Split::Test, None);
        assert_eq!(
            (kind, got.as_slice()),
            (Kind::Folders, &["test_defect/b.jpg".to_owned(), "test_ok/a.jpg".into()][..])
        );
        assert_eq!(names(dir.path(), Split::Train, None).1, ["train_ok/c.jpg"]);
        assert_eq!(names(dir.path(), Split::All, None).1.len(), 3);
    }

    #[test]
    fn the_innermost_name_that_says_so_tells_a_class() {
        let dir = tempfile::tempdir().unwrap();
        let of_good = ["good/lot1/a.jpg", "good/b.jpg", "lot2/ok/c.jpg"];
        let of_defects = ["bad/lot1/d.jpg", "pits/lot1/deep/e.jpg", "ok_line/not_ok/f.jpg", "pits/g.webp"];
        touch(dir.path(), &of_good);
        touch(dir.path(), &of_defects);
        touch(dir.path(), &["stray.jpg"]);
        #[cfg(unix)]
        std::os::unix::fs::symlink("nowhere.png", dir.path().join("pits/h.png")).unwrap();
        let set = load(dir.path(), Options { kind: None, split: Split::Test, protocol: None }).unwrap();
        let of = |bad: bool| {
            let all = set.samples.iter().filter(|s| s.truth.defective == Some(bad));
            all.map(|s| (s.name.as_str(), s.class.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(set.kind, Kind::Folders);
        assert_eq!(of(false), [("good/b.jpg", "good"), ("good/lot1/a.jpg", "good"), ("lot2/ok/c.jpg", "ok")]);
        let mut wanted = vec![
            ("bad/lot1/d.jpg", "bad"),
            ("ok_line/not_ok/f.jpg", "not_ok"),
            ("pits/g.webp", "pits"),
            ("pits/h.png", "pits"),
            ("pits/lot1/deep/e.jpg", "pits"),
        ];
        wanted.retain(|w| cfg!(unix) || w.0 != "pits/h.png");
        assert_eq!(of(true), wanted);
        assert_eq!(set.errors.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["stray.jpg"]);
    }

    #[test]
    fn mvtec_with_a_mask_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &[
                "train/good/0.png",
                "test/good/1.png",
                "test/pit/2.png",
                "test/pit/3.png",
                "ground_truth/pit/2_mask.png",
            ],
        );
        let (kind, got, errors) = names(dir.path(), Split::Test, None);
        assert_eq!((kind, errors), (Kind::Mvtec, 1));
        assert_eq!(got, ["test/good/1.png", "test/pit/2.png"]);
        assert_eq!(names(dir.path(), Split::Train, None).1, ["train/good/0.png"]);
    }
}
