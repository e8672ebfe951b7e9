//! COCO JSON (`images`, `annotations`, `categories`; polygons, run lengths or only boxes), and the simpler
//! `labels.json` of polygons per picture with its own split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    dirs, entries, file_name, has_ext, is_good, name_in, part_of, stem, unknown, DatasetError, Kind, MaskSource,
    Part, Rle, Sample, SampleError, Set, Source, Split, Truth, TruthDefect,
};
use crate::vision::size_in_file;

/// What a label file turned out to be.
enum Labels {
    Coco(Box<CocoFile>),
    Polygons(PolygonFile),
}

#[derive(Deserialize)]
struct CocoFile {
    images: Vec<CocoImage>,
    annotations: Vec<CocoAnnotation>,
    #[serde(default)]
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: i64,
    file_name: String,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
}

impl CocoImage {
    /// The picture's size in pixels, where it can be read; what is wrong with the one that the labels give.
    fn size(&self, path: &Path) -> Result<Option<[f64; 2]>, String> {
        let Some((size, turned)) = size_in_file(path) else { return Ok(None) }; // said where it is opened
        let real = size.map(f64::from);
        if let (Some(w), Some(h)) = (self.width, self.height) {
            if turned && [w, h] == real && w != h {
                return Err(format!(
                    "its EXIF tag turns the picture by a quarter, and `width` and `height` ({w} x {h}) are as it lies in the file, so its shapes would \
                     lie elsewhere: turn the file's pixels and take the tag out"
                ));
            }
        }
        match (self.width, self.height) {
            (Some(w), Some(h)) if w > 0.0 && h > 0.0 && [w, h] != real && [h, w] != real => {
                Err(format!("`width` and `height` are {w} x {h}, the picture has {} x {} pixels", real[0], real[1]))
            }
            _ => Ok(Some(real)),
        }
    }
}

#[derive(Deserialize)]
struct CocoCategory {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct CocoAnnotation {
    image_id: i64,
    #[serde(default)]
    category_id: Option<i64>,
    #[serde(default)]
    segmentation: serde_json::Value,
    bbox: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct PolygonFile {
    labels: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    split: BTreeMap<String, Vec<String>>,
}

/// The JSON files of labels in a set: at its top, in its folders, and in `annotations/`.
pub(super) fn label_files(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if root.is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let mut places = vec![root.to_owned()];
    for dir in dirs(root)? {
        places.extend(dirs(&dir)?);
        places.push(dir);
    }
    places.sort();
    let mut out = Vec::new();
    for dir in places {
        for file in entries(&dir)? {
            if has_ext(&file, &["json"]) && file.is_file() && looks_like_labels(&file) {
                out.push(file);
            }
        }
    }
    Ok(out)
}

/// A quick look: only the top level's keys, so that a `splits.json` or a `truth.json` is not taken for labels.
fn looks_like_labels(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    let Ok(top) = serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(&text) else {
        // Broken JSON under a name that says labels: better an error that names it than another layout.
        let own = file_name(path).to_ascii_lowercase();
        return ["coco", "annotation", "instances", "labels"].iter().any(|w| own.contains(w));
    };
    (top.contains_key("images") && top.contains_key("annotations")) || top.contains_key("labels")
}

fn read(path: &Path) -> Result<Labels, DatasetError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let value = |key: String, message: String| DatasetError::Value { path: path.to_owned(), key, message };
    let top: BTreeMap<String, serde::de::IgnoredAny> =
        serde_json::from_str(&text).map_err(|e| value(".".into(), e.to_string()))?;
    fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, (String, String)> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|e| (e.path().to_string(), e.inner().to_string()))
    }
    if top.contains_key("labels") && !top.contains_key("annotations") {
        parse(&text).map(Labels::Polygons).map_err(|(k, m)| value(k, m))
    } else {
        parse(&text).map(|c| Labels::Coco(Box::new(c))).map_err(|(k, m)| value(k, m))
    }
}

pub(super) fn load(root: &Path, split: Split) -> Result<Set, DatasetError> {
    let files = label_files(root)?;
    if files.is_empty() {
        return Err(unknown(root, "looked for a JSON with `images` and `annotations`, or with `labels`"));
    }
    let above = root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let top = if root.is_file() { above } else { root };
    let mut set = Set { kind: Kind::Coco, protocol: None, samples: vec![], errors: vec![] };
    let index = Index::of(top)?;
    for file in &files {
        match read(file)? {
            Labels::Coco(labels) => {
                if split.takes(part_of_file(top, file)) {
                    coco(top, file, &labels, &index, &mut set)?;
                }
            }
            Labels::Polygons(labels) => polygons(top, file, &labels, split, &index, &mut set)?,
        }
    }
    Ok(set)
}

/// `instances_val.json`, `train/_annotations.coco.json`: the file's or its folder's name tells the part.
fn part_of_file(top: &Path, file: &Path) -> Option<Part> {
    let parent = file.parent().filter(|p| *p != top).map(file_name);
    part_of(&stem(file)).or_else(|| part_of(&parent?))
}

/// The set's pictures by file name, to find one that is not where the labels say.
struct Index(BTreeMap<String, Vec<PathBuf>>);

impl Index {
    fn of(top: &Path) -> Result<Self, DatasetError> {
        let mut map: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let mut stack = vec![(top.to_owned(), 3)];
        while let Some((dir, depth)) = stack.pop() {
            for p in entries(&dir)? {
                if p.is_dir() {
                    if depth > 0 {
                        stack.push((p, depth - 1));
                    }
                } else if super::is_picture(&p) {
                    map.entry(file_name(&p)).or_default().push(p);
                }
            }
        }
        Ok(Index(map))
    }

    /// Where a picture is: beside the labels, in `images/`, or the only one of its name (the one nearest to the
    /// labels where train and test use one name twice).
    fn find(&self, top: &Path, labels: &Path, name: &str) -> Result<PathBuf, String> {
        let beside = labels.parent().unwrap_or(top);
        let places =
            [beside.join(name), top.join(name), beside.join("images").join(name), top.join("images").join(name)];
        if let Some(p) = places.iter().find(|p| p.is_file()) {
            return Ok(p.clone());
        }
        let all = self.0.get(&file_name(Path::new(name))).map(Vec::as_slice).unwrap_or_default();
        let side = part_of_file(top, labels);
        let of_side: Vec<_> = all
            .iter()
            .filter(|p| side.is_some() && p.parent().map(file_name).and_then(|d| part_of(&d)) == side)
            .collect();
        match (all, of_side.as_slice()) {
            ([one], _) => Ok(one.clone()),
            (_, [one]) => Ok((*one).clone()),
            ([], _) => Err("no such picture beside the labels, in images/ or in the set's folders".to_owned()),
            _ => Err(format!("{} pictures of this name in the set's folders", all.len())),
        }
    }
}

fn coco(top: &Path, file: &Path, labels: &CocoFile, index: &Index, set: &mut Set) -> Result<(), DatasetError> {
    let value = |key: String, message: String| DatasetError::Value { path: file.to_owned(), key, message };
    let names: BTreeMap<i64, &str> = labels.categories.iter().map(|c| (c.id, c.name.as_str())).collect();
    let mut rows: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    let ids: BTreeSet<i64> = labels.images.iter().map(|i| i.id).collect();
    if ids.len() != labels.images.len() {
        return Err(value("images".into(), "two pictures have the same id".into()));
    }
    for (i, a) in labels.annotations.iter().enumerate() {
        if !ids.contains(&a.image_id) {
            return Err(value(format!("annotations[{i}].image_id"), format!("no picture has the id {}", a.image_id)));
        }
        rows.entry(a.image_id).or_default().push(i);
    }
    let mut listed: BTreeMap<PathBuf, i64> = BTreeMap::new();
    for image in &labels.images {
        let mine = rows.get(&image.id).map(Vec::as_slice).unwrap_or_default();
        let name_of = |path: &Path| name_in(top, path);
        let wrong = |m| format!("{}: key `images` (id {}): `{}`: {m}", file.display(), image.id, image.file_name);
        let sample = index
            .find(top, file, &image.file_name)
            .and_then(|path| Ok((image.size(&path)?, path)))
            .and_then(|(size, path)| match listed.insert(path.clone(), image.id) {
                Some(before) => Err(format!("the picture is listed before, with the id {before}")),
                None => Ok((size, path)),
            })
            .map_err(wrong)
            .and_then(|(size, path)| {
                let truth = coco_truth(labels, mine, &names, size)
                    .map_err(|(key, message)| format!("{}: key `{key}`: {message}", file.display()))?;
                let class = truth.defects.first().map_or_else(|| "good".to_owned(), |d| d.class.clone());
                Ok(Sample { name: name_of(&path), class, source: Source::Image(path), truth })
            });
        match sample {
            Ok(s) => set.samples.push(s),
            Err(message) => set.errors.push(SampleError { name: image.file_name.clone(), message }),
        }
    }
    Ok(())
}

/// size: of the picture, in pixels, where it is known.
fn coco_truth(
    labels: &CocoFile,
    rows: &[usize],
    names: &BTreeMap<i64, &str>,
    size: Option<[f64; 2]>,
) -> Result<Truth, (String, String)> {
    let mut defects = Vec::new();
    let (mut polygons, mut rles, mut only_box) = (Vec::new(), Vec::new(), false);
    for &i in rows {
        let a = &labels.annotations[i];
        let at = |key: &str| format!("annotations[{i}].{key}");
        let class = match a.category_id {
            None => "defect",
            Some(id) => match names.get(&id) {
                Some(name) => name,
                None if names.is_empty() => "defect",
                None => return Err((at("category_id"), format!("no category has the id {id}"))),
            },
        };
        // Some sets mark the good part or the whole article as a category of its own.
        if is_good(class) {
            continue;
        }
        let bad = |message: &str| (at("segmentation"), message.to_owned());
        let outlines = match &a.segmentation {
            serde_json::Value::Array(list) if !list.is_empty() => {
                let mine = polygon_list(list).map_err(|m| bad(&m))?;
                polygons.extend(mine.iter().cloned());
                mine
            }
            serde_json::Value::Object(map) => {
                let rle = rle_of(map).map_err(|m| bad(&m))?;
                let mask = super::decode_rle(&rle).map_err(|m| bad(&m))?;
                let outline = mask
                    .bounds()
                    .map(|r| rectangle(r.x as f64, r.y as f64, (r.width - 1) as f64, (r.height - 1) as f64));
                rles.push(rle);
                outline.into_iter().collect()
            }
            serde_json::Value::Array(_) | serde_json::Value::Null => match a.bbox.as_deref() {
                Some(&[x, y, w, h]) if w >= 0.0 && h >= 0.0 => {
                    only_box = true;
                    vec![rectangle(x, y, w, h)]
                }
                Some(_) => return Err((at("bbox"), "is not [x, y, width, height]".into())),
                None => return Err((at("segmentation"), "neither a segmentation nor a bbox".into())),
            },
            _ => return Err(bad("is neither polygons nor run lengths")),
        };
        // A pixel or two over the edge is how people draw; nothing within it is another picture's, or of another size.
        if let Some([w, h]) = size.filter(|of| !outlines.is_empty() && !outlines.iter().any(|o| meets(o, *of))) {
            let key = at(if a.segmentation.as_array().is_none_or(Vec::is_empty) && !a.segmentation.is_object() {
                "bbox"
            } else {
                "segmentation"
            });
            return Err((key, format!("lies wholly outside the picture's {w} x {h} pixels")));
        }
        if !outlines.is_empty() {
            defects.push(TruthDefect::of_polygons(class, outlines));
        }
    }
    let mask = match (defects.is_empty(), only_box) {
        (true, _) => Some(MaskSource::Empty),
        // A box is no outline: pixels in its corners are metal.
        (false, true) => None,
        (false, false) => Some(MaskSource::Shapes { polygons, rles }),
    };
    Ok(Truth { defective: Some(!defects.is_empty()), defects, mask, ..Truth::default() })
}

/// Whether the box about an outline reaches into a picture of that size.
fn meets(outline: &[[f64; 2]], size: [f64; 2]) -> bool {
    (0..2).all(|k| {
        let of = || outline.iter().map(|p| p[k]);
        of().fold(f64::INFINITY, f64::min) < size[k] && of().fold(f64::NEG_INFINITY, f64::max) >= 0.0
    })
}

fn rectangle(x: f64, y: f64, w: f64, h: f64) -> Vec<[f64; 2]> {
    vec![[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
}

/// `[[x, y, x, y, ...], ...]`; one flat list is one polygon.
fn polygon_list(list: &[serde_json::Value]) -> Result<Vec<Vec<[f64; 2]>>, String> {
    let flat = |values: &[serde_json::Value]| -> Result<Vec<[f64; 2]>, String> {
        let numbers: Option<Vec<f64>> = values.iter().map(serde_json::Value::as_f64).collect();
        let numbers = numbers.ok_or("a polygon holds something that is no number")?;
        if numbers.len() < 6 || !numbers.len().is_multiple_of(2) {
            return Err(format!("a polygon of {} numbers: at least three x, y pairs are needed", numbers.len()));
        }
        Ok(numbers.chunks_exact(2).map(|p| [p[0], p[1]]).collect())
    };
    if list.iter().all(serde_json::Value::is_number) {
        return Ok(vec![flat(list)?]);
    }
    list.iter().map(|p| flat(p.as_array().ok_or("a polygon is no list")?)).collect()
}

fn rle_of(map: &serde_json::Map<String, serde_json::Value>) -> Result<Rle, String> {
    let size: Vec<usize> = map
        .get("size")
        .and_then(|s| serde_json::from_value(s.clone()).ok())
        .ok_or("run lengths without `size`: [height, width]")?;
    let &[height, width] = size.as_slice() else { return Err("`size` is not [height, width]".into()) };
    let counts = match map.get("counts") {
        Some(serde_json::Value::String(text)) => super::decode_counts(text)?,
        Some(v @ serde_json::Value::Array(_)) => {
            serde_json::from_value(v.clone()).map_err(|e| format!("`counts`: {e}"))?
        }
        _ => return Err("run lengths without `counts`".into()),
    };
    Ok(Rle { width, height, counts })
}

fn polygons(
    top: &Path,
    file: &Path,
    labels: &PolygonFile,
    split: Split,
    index: &Index,
    set: &mut Set,
) -> Result<(), DatasetError> {
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    for (name, list) in &labels.split {
        let part = part_of(name).ok_or_else(|| DatasetError::Value {
            path: file.to_owned(),
            key: format!("split.{name}"),
            message: "is neither a train nor a test part".into(),
        })?;
        parts.extend(list.iter().map(|f| (f.as_str(), part)));
    }
    // A picture that the split names and the labels do not would vanish.
    for name in parts.keys().filter(|n| !labels.labels.contains_key(**n)) {
        let message = format!("{}: key `labels`: `{name}` is in the split and has no label", file.display());
        set.errors.push(SampleError { name: (*name).to_owned(), message });
    }
    for (name, row) in &labels.labels {
        let part = parts.get(name.as_str()).copied();
        if part.is_none() && !parts.is_empty() && split != Split::All || !split.takes(part) {
            continue;
        }
        let sample = index
            .find(top, file, name)
            .map_err(|m| format!("{}: key `labels.{name}`: {m}", file.display()))
            .and_then(|path| {
                let truth = polygon_truth(row)
                    .map_err(|(k, m)| format!("{}: key `labels.{name}.{k}`: {m}", file.display()))?;
                let class = truth.defects.first().map_or_else(|| "good".to_owned(), |d| d.class.clone());
                Ok(Sample { name: name_in(top, &path), class, source: Source::Image(path), truth })
            });
        match sample {
            Ok(s) => set.samples.push(s),
            Err(message) => set.errors.push(SampleError { name: name.clone(), message }),
        }
    }
    Ok(())
}

/// Every key but `size` is a class with its polygons.
fn polygon_truth(row: &BTreeMap<String, serde_json::Value>) -> Result<Truth, (String, String)> {
    let mut defects = Vec::new();
    let mut all = Vec::new();
    for (class, value) in row.iter().filter(|(k, _)| *k != "size") {
        let list: Vec<Vec<[f64; 2]>> = serde_json::from_value(value.clone())
            .map_err(|e| (class.clone(), format!("no list of polygons: {e}")))?;
        for polygon in list.into_iter().filter(|p| !p.is_empty()) {
            all.push(polygon.clone());
            defects.push(TruthDefect::of_polygons(class, vec![polygon]));
        }
    }
    let mask =
        if defects.is_empty() { MaskSource::Empty } else { MaskSource::Shapes { polygons: all, rles: vec![] } };
    Ok(Truth { defective: Some(!defects.is_empty()), defects, mask: Some(mask), ..Truth::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::FindingType;

    fn set_of(labels: &str, pictures: &[&str]) -> (tempfile::TempDir, Result<Set, DatasetError>) {
        let dir = tempfile::tempdir().unwrap();
        for p in pictures {
            let path = dir.path().join(p);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(dir.path().join("annotations.json"), labels).unwrap();
        let set = load(dir.path(), Split::Test);
        (dir, set)
    }

    #[test]
    fn polygons_run_lengths_and_boxes() {
        let (_d, set) = set_of(
            r#"{"images":[{"id":1,"file_name":"a.png"},{"id":2,"file_name":"b.png"},{"id":3,"file_name":"c.png"},
                         {"id":4,"file_name":"d.png"}],
               "categories":[{"id":7,"name":"Scratches"}],
               "annotations":[
                {"image_id":1,"category_id":7,"segmentation":[[1,1,3,1,3,3]]},
                {"image_id":2,"category_id":7,"segmentation":{"size":[4,5],"counts":[4,2,14]}},
                {"image_id":3,"category_id":7,"segmentation":[],"bbox":[1,2,3,4]}]}"#,
            &["images/a.png", "deep/b.png", "c.png", "d.png"],
        );
        let set = set.unwrap();
        assert!(set.errors.is_empty(), "{:?}", set.errors);
        let by = |n: &str| set.samples.iter().find(|s| s.name.ends_with(n)).unwrap();
        assert_eq!(by("a.png").truth.defects[0].kind, Some(FindingType::Scratch));
        let b = by("b.png").truth.mask.as_ref().unwrap().load(5, 4).unwrap();
        assert!(b.count() == 2 && b.at(1, 0) && b.at(1, 1));
        assert_eq!(by("c.png").truth.mask, None);
        assert_eq!(by("d.png").truth.mask, Some(MaskSource::Empty));
        assert_eq!(by("d.png").truth.defective, Some(false));
    }

    #[test]
    fn sizes_copies_and_outlines_that_contradict_the_picture_are_error_rows() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png", "c.png", "d.png"] {
            image::GrayImage::new(160, 128).save(dir.path().join(name)).unwrap();
        }
        let labels = r#"{"images":[{"id":1,"file_name":"a.png","width":80,"height":64},{"id":2,"file_name":"b.png","width":160,"height":128},
                          {"id":3,"file_name":"b.png"},{"id":4,"file_name":"c.png"},{"id":5,"file_name":"d.png","width":128,"height":160}],
               "annotations":[{"image_id":4,"segmentation":[[200,10,260,10,260,60]]},{"image_id":2,"segmentation":[[-2,10,60,10,60,200]]}]}"#;
        std::fs::write(dir.path().join("annotations.json"), labels).unwrap();
        let set = load(dir.path(), Split::Test).unwrap();
        let names: Vec<&str> = set.samples.iter().map(|s| s.name.as_str()).collect();
        // A picture that was held upright has its sides the other way round; a line over the edge is drawn by people.
        assert_eq!(names, ["b.png", "d.png"]);
        let messages: Vec<&str> = set.errors.iter().map(|e| e.message.as_str()).collect();
        assert!(
            messages[0].contains("`width` and `height` are 80 x 64, the picture has 160 x 128 pixels"),
            "{messages:?}"
        );
        assert!(messages[1].contains("(id 3): `b.png`: the picture is listed before, with the id 2"), "{messages:?}");
        assert!(messages[2].contains("annotations[0].segmentation`: lies wholly outside"), "{messages:?}");
    }

    #[test]
    fn a_missing_picture_is_an_error_row() {
        let (_d, set) = set_of(r#"{"images":[{"id":1,"file_name":"a.png"}],"annotations":[],"categories":[]}"#, &[]);
        let set = set.unwrap();
        assert_eq!(set.samples.len(), 0);
        assert!(set.errors[0].message.contains("annotations.json") && set.errors[0].message.contains("a.png"));
    }

    #[test]
    fn a_broken_annotation_names_its_key() {
        let (_d, set) = set_of(
            r#"{"images":[{"id":1,"file_name":"a.png"}],"categories":[{"id":1,"name":"pit"}],
               "annotations":[{"image_id":1,"category_id":1,"segmentation":[[1,2,3]]}]}"#,
            &["a.png"],
        );
        let set = set.unwrap();
        assert!(set.errors[0].message.contains("annotations[0].segmentation"), "{:?}", set.errors);
        let (_d, set) = set_of(r#"{"images":[{"id":"x"}],"annotations":[]}"#, &[]);
        let e = set.unwrap_err().to_string();
        assert!(e.contains("annotations.json") && e.contains("images[0]"), "{e}");
    }

    #[test]
    fn labels_with_their_own_split() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        for f in ["a.jpg", "b.jpg", "c.jpg"] {
            std::fs::write(dir.path().join("images").join(f), "").unwrap();
        }
        let text = r#"{"labels":{"a.jpg":{"size":[9,9],"pitting":[[[1,1],[3,1],[3,3]]]},
            "b.jpg":{"size":[9,9],"pitting":[]},"c.jpg":{"size":[9,9],"pitting":[]}},
            "split":{"train":["c.jpg"],"test":["a.jpg","b.jpg"]}}"#;
        std::fs::write(dir.path().join("labels.json"), text).unwrap();
        let names = |split| {
            let set = load(dir.path(), split).unwrap();
            set.samples.iter().map(|s| s.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(Split::Test), ["images/a.jpg", "images/b.jpg"]);
        assert_eq!(names(Split::Train), ["images/c.jpg"]);
        assert_eq!(names(Split::All).len(), 3);
    }
}
