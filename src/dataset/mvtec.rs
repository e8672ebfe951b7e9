//! The MVTec AD layout: `train/good`, `test/<class>`, `ground_truth/<class>/*_mask.png`; one object, or a
//! folder of objects.

use std::path::{Path, PathBuf};

use super::{
    dirs, file_name, is_good, name_in, pictures, stem, DatasetError, Kind, MaskSource, Part, Sample, SampleError,
    Set, Source, Split, Truth,
};

fn is_object(dir: &Path) -> Result<bool, DatasetError> {
    let test = dir.join("test");
    // Class folders inside `test`, and a sign beside it that this is no plain class folder.
    Ok(test.is_dir()
        && (dir.join("ground_truth").is_dir() || dir.join("train").join("good").is_dir())
        && !dirs(&test)?.is_empty())
}

/// The objects at or directly under `root`.
pub(super) fn objects(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if is_object(root)? {
        return Ok(vec![root.to_owned()]);
    }
    let mut out = Vec::new();
    for dir in dirs(root)? {
        if is_object(&dir)? {
            out.push(dir);
        }
    }
    Ok(out)
}

pub(super) fn load(root: &Path, split: Split) -> Result<Set, DatasetError> {
    let mut set = Set { kind: Kind::Mvtec, protocol: None, samples: vec![], errors: vec![] };
    let objects = objects(root)?;
    if objects.is_empty() {
        return Err(super::unknown(root, "looked for test/<class> with train/good or ground_truth/ beside it"));
    }
    for object in objects {
        for (part, folder) in [(Part::Train, "train"), (Part::Test, "test")] {
            let base = object.join(folder);
            if !split.takes(Some(part)) || !base.is_dir() {
                continue;
            }
            for class_dir in dirs(&base)? {
                load_class(root, &object, &class_dir, &mut set)?;
            }
        }
    }
    Ok(set)
}

fn load_class(root: &Path, object: &Path, class_dir: &Path, set: &mut Set) -> Result<(), DatasetError> {
    let own = file_name(class_dir);
    let good = is_good(&own);
    let class = if object == root { own.clone() } else { format!("{}/{own}", file_name(object)) };
    let masks = object.join("ground_truth").join(&own);
    let all_masks = if masks.is_dir() { super::entries(&masks)? } else { Vec::new() };
    let all_pictures = super::pictures_below(class_dir)?;
    if !good && file_name(class_dir.parent().unwrap_or(class_dir)) == "test" {
        // A picture that got lost would vanish, and its escape with it.
        let of_picture = |mask: &PathBuf| all_pictures.iter().any(|p| is_mask_of(mask, &stem(p)));
        for mask in all_masks.iter().filter(|m| (m.is_dir() || super::is_picture(m)) && !of_picture(m)) {
            let message = format!("{}: no picture for this mask in {}", mask.display(), class_dir.display());
            set.errors.push(SampleError { name: name_in(root, mask), message });
        }
    }
    for picture in all_pictures {
        let name = name_in(root, &picture);
        let base = stem(&picture);
        let mask = if good {
            Some(MaskSource::Empty)
        } else if all_masks.is_empty() {
            // A set without masks still has its classes.
            None
        } else {
            match mask_of(&all_masks, &base)? {
                files if files.is_empty() => {
                    set.errors.push(SampleError {
                        name,
                        message: format!("{}: no mask `{base}_mask.png` for it", masks.display()),
                    });
                    continue;
                }
                files => Some(MaskSource::Files(files)),
            }
        };
        set.samples.push(Sample {
            name,
            class: class.clone(),
            source: Source::Image(picture),
            truth: Truth { defective: Some(!good), mask, ..Truth::default() },
        });
    }
    Ok(())
}

/// Whether a file or folder of masks belongs to the picture of that name.
fn is_mask_of(mask: &Path, base: &str) -> bool {
    if mask.is_dir() {
        return file_name(mask) == base;
    }
    let own = stem(mask);
    own == base || own.strip_suffix("_mask") == Some(base)
}

/// The mask files of a picture: `<name>_mask.*`, `<name>.*`, or every file of a folder `<name>/`.
fn mask_of(all: &[PathBuf], base: &str) -> Result<Vec<PathBuf>, DatasetError> {
    let marked = format!("{base}_mask");
    let named = |want: &str| all.iter().find(|p| super::is_picture(p) && p.is_file() && stem(p) == want);
    if let Some(p) = named(&marked).or_else(|| named(base)) {
        return Ok(vec![p.clone()]);
    }
    match all.iter().find(|p| p.is_dir() && file_name(p) == base) {
        Some(dir) => pictures(dir),
        None => Ok(vec![]),
    }
}
