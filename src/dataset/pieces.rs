//! Folders with `piece.json` and `truth.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    dirs, file_name, is_new, name_in, DatasetError, Kind, MarkTruth, Sample, SampleError, Set, Source, StoneTruth,
    Truth, TruthDefect,
};
use crate::report::{FindingType, PoseRow, Verdict};

/// The true diameters of a backlit ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingTruth {
    /// Inner diameter in mm.
    pub inner_diameter_mm: f64,
    /// Largest minus smallest inner diameter in mm, where both are known.
    pub ovality_mm: Option<f64>,
    /// Thickness of the band as the silhouette shows it, in mm.
    pub band_width_mm: Option<f64>,
}

/// How deep folders of pieces may lie.
const DEPTH: usize = 4;

/// Folders with a `piece.json` at or under `root`, where at least one has a `truth.json`; else none.
pub(super) fn folders(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut out = Vec::new();
    walk(root, DEPTH, &mut BTreeSet::new(), &mut out)?;
    if !out.iter().any(|d| d.join("truth.json").is_file()) {
        out.clear();
    }
    Ok(out)
}

/// A folder that links lead to twice is one.
fn walk(dir: &Path, depth: usize, been: &mut BTreeSet<PathBuf>, out: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    if !is_new(dir, been) {
        return Ok(());
    }
    // A folder with only its truth left is a piece too: a broken one, to be listed.
    if dir.join("piece.json").is_file() || dir.join("truth.json").is_file() {
        out.push(dir.to_owned());
    } else if depth > 0 {
        for sub in dirs(dir)? {
            walk(&sub, depth - 1, been, out)?;
        }
    }
    Ok(())
}

pub(super) fn load(root: &Path) -> Result<Set, DatasetError> {
    let mut set = Set { kind: Kind::Pieces, protocol: None, samples: vec![], errors: vec![] };
    for dir in folders(root)? {
        let name = name_in(root, &dir);
        match read_truth(&dir.join("truth.json")) {
            Ok(truth) => {
                // `pave-002` is one of the kind `pave`.
                let own = file_name(&dir);
                let class = own.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '_']);
                let class = if class.is_empty() { "piece" } else { class };
                set.samples.push(Sample { name, class: class.to_owned(), source: Source::Piece(dir.clone()), truth });
            }
            Err(message) => set.errors.push(SampleError { name, message }),
        }
    }
    Ok(set)
}

/// What the truth of a piece says of it; none where there is none that can be read.
pub(super) fn verdict(piece: &Path) -> Option<Verdict> {
    #[derive(Deserialize)]
    struct Judged {
        verdict: Verdict,
    }
    let text = std::fs::read(piece.join("truth.json")).ok()?;
    serde_json::from_slice::<Judged>(&text).ok().map(|t| t.verdict)
}

#[derive(Deserialize)]
struct TruthFile {
    verdict: Verdict,
    #[serde(default)]
    defects: Vec<DefectRow>,
    #[serde(default)]
    stones: Vec<StoneRow>,
    pose: Option<PoseTruth>,
    inner_diameter_mm: Option<f64>,
    min_inner_mm: Option<f64>,
    max_inner_mm: Option<f64>,
    band_thickness_mm: Option<f64>,
    #[serde(default)]
    hallmarks: Vec<MarkRow>,
}

#[derive(Deserialize)]
struct MarkRow {
    text: String,
    ordered: String,
    height_mm: f64,
}

#[derive(Deserialize)]
struct PoseTruth {
    rotation_deg: f64,
    dx_mm: f64,
    dy_mm: f64,
}

#[derive(Deserialize)]
struct DefectRow {
    #[serde(rename = "type")]
    kind: String,
    x_px: Option<f64>,
    y_px: Option<f64>,
    radius_px: Option<f64>,
    file: Option<String>,
    stone: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct StoneRow {
    id: String,
    x_px: Option<f64>,
    y_px: Option<f64>,
    #[serde(default)]
    missing: bool,
    diameter_mm: Option<f64>,
    tilt_deg: Option<f64>,
    gap_mm: Option<f64>,
}

fn read_truth(path: &Path) -> Result<Truth, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: cannot read: {e}", path.display()))?;
    let mut de = serde_json::Deserializer::from_str(&text);
    let file: TruthFile = serde_path_to_error::deserialize(&mut de)
        .map_err(|e| format!("{}: key `{}`: {}", path.display(), e.path(), e.inner()))?;
    let mut defects = Vec::new();
    for (i, row) in file.defects.into_iter().enumerate() {
        let kind = FindingType::parse(&row.kind).ok_or_else(|| {
            format!("{}: key `defects[{i}].type`: `{}` is no finding type", path.display(), row.kind)
        })?;
        let sizes = row.rest.iter().filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect();
        defects.push(TruthDefect {
            kind: Some(kind),
            class: row.kind,
            file: row.file,
            stone: row.stone,
            placed: row.x_px.is_some() && row.y_px.is_some(),
            x_px: row.x_px.unwrap_or(0.0),
            y_px: row.y_px.unwrap_or(0.0),
            radius_px: row.radius_px.unwrap_or(0.0),
            sizes,
            over_limit: row.rest.get("status").and_then(|v| v.as_str()).map(|s| s == "fail"),
            ..TruthDefect::default()
        });
    }
    let ring = file.inner_diameter_mm.map(|inner_diameter_mm| RingTruth {
        inner_diameter_mm,
        ovality_mm: file.max_inner_mm.zip(file.min_inner_mm).map(|(a, b)| a - b),
        band_width_mm: file.band_thickness_mm,
    });
    let stones = file
        .stones
        .into_iter()
        .filter_map(|s| {
            Some(StoneTruth {
                x_px: s.x_px?,
                y_px: s.y_px?,
                id: s.id,
                missing: s.missing,
                diameter_mm: s.diameter_mm,
                tilt_deg: s.tilt_deg,
                gap_mm: s.gap_mm,
            })
        })
        .collect();
    Ok(Truth {
        defective: Some(file.verdict == Verdict::Fail),
        verdict: Some(file.verdict),
        defects,
        mask: None,
        pose: file.pose.map(|p| PoseRow { rotation_deg: p.rotation_deg, dx_mm: p.dx_mm, dy_mm: p.dy_mm }),
        stones,
        ring,
        marks: file
            .hallmarks
            .into_iter()
            .map(|m| MarkTruth { ordered: m.ordered, text: m.text, height_um: (1000.0 * m.height_mm).round() as u32 })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(root: &Path, name: &str, truth: &str) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("piece.json"), "{}").unwrap();
        std::fs::write(root.join(name).join("truth.json"), truth).unwrap();
    }

    #[test]
    fn truth_with_sizes_and_stones() {
        let dir = tempfile::tempdir().unwrap();
        piece(
            dir.path(),
            "pave-001",
            r#"{"verdict":"fail","defects":[{"type":"pit","x_px":5,"y_px":6,"radius_px":3,"radius_mm":0.04}],
               "pose":{"rotation_deg":1,"dx_mm":0.1,"dy_mm":0},"stones":[{"id":"S1","x_px":1,"y_px":2}]}"#,
        );
        piece(dir.path(), "deep/backlit-9", r#"{"verdict":"pass","defects":[],"inner_diameter_mm":15.0}"#);
        let set = load(dir.path()).unwrap();
        assert_eq!(set.samples.len(), 2);
        let by = |n: &str| set.samples.iter().find(|s| s.name == n).unwrap();
        let pave = by("pave-001");
        assert_eq!(pave.class, "pave");
        assert_eq!(pave.truth.defective, Some(true));
        assert_eq!(pave.truth.defects[0].sizes["radius_mm"], 0.04);
        assert_eq!(pave.truth.stones[0].id, "S1");
        assert_eq!(by("deep/backlit-9").truth.ring.unwrap().inner_diameter_mm, 15.0);
    }

    #[test]
    fn a_broken_truth_is_listed_with_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        piece(dir.path(), "a-1", r#"{"verdict":"perhaps","defects":[]}"#);
        piece(dir.path(), "a-2", r#"{"verdict":"fail","defects":[{"type":"hole"}]}"#);
        std::fs::create_dir_all(dir.path().join("a-3")).unwrap();
        std::fs::write(dir.path().join("a-3/piece.json"), "{}").unwrap();
        let set = load(dir.path()).unwrap();
        assert_eq!((set.samples.len(), set.errors.len()), (0, 3));
        assert!(set.errors[0].message.contains("truth.json: key `verdict`"), "{}", set.errors[0].message);
        assert!(set.errors[1].message.contains("defects[0].type"), "{}", set.errors[1].message);
        assert!(set.errors[2].message.contains("cannot read"), "{}", set.errors[2].message);
    }
}
