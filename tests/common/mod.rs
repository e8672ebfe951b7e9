//! What the tests of the program share: a throw-away folder of small pieces, and running the program on it.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use loupe::cli::inspect::SummaryRow;

pub const SPEC: &str = r#"schema = "loupe.spec/1"
sku = "disc-1"
metal = "silver"
finish = "polished"

[[view]]
name = "top"
outline = { shape = "disc", radius_mm = 3.0 }

[[limit]]
characteristic = "pit.diameter_mm"
upper = 0.5
"#;

pub struct Bench {
    pub dir: tempfile::TempDir,
}

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn manifest(id: &str) -> String {
    format!(
        r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"spec.toml","frames":[{{"file":"top.png","view":"top","light":"dome","um_per_px":40.0}}]}}"#
    )
}

/// A bright disc of 3 mm radius at 40 um per pixel on a dark ground.
pub fn disc_png() -> Vec<u8> {
    let picture = image::GrayImage::from_fn(220, 200, |x, y| {
        let (dx, dy) = (f64::from(x) - 110.0, f64::from(y) - 100.0);
        let edge = 75.0 - dx.hypot(dy);
        image::Luma([(40.0 + 150.0 * edge.clamp(-0.5, 0.5) + 75.0) as u8])
    });
    png(&picture)
}

pub fn png(picture: &image::GrayImage) -> Vec<u8> {
    let mut out = std::io::Cursor::new(vec![]);
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

impl Bench {
    pub fn new() -> Self {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A sound piece in the folder `in/<folder>`.
    pub fn piece(&self, folder: &str) {
        let at = |file: &str| format!("in/{folder}/{file}");
        self.write(&at("piece.json"), manifest(folder));
        self.write(&at("spec.toml"), SPEC);
        self.write(&at("top.png"), disc_png());
    }

    pub fn loupe(&self, args: &[&str]) -> Ran {
        let out = Command::new(env!("CARGO_BIN_EXE_loupe"))
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("LOUPE_LOG")
            .output()
            .unwrap();
        Ran {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8(out.stdout).unwrap(),
            stderr: String::from_utf8(out.stderr).unwrap(),
        }
    }

    /// `loupe inspect in --out out --no-model`.
    pub fn inspect(&self) -> Ran {
        self.loupe(&["inspect", "in", "--out", "out", "--no-model"])
    }

    /// The summary by piece; unknown fields are refused.
    pub fn summary(&self) -> BTreeMap<String, Vec<SummaryRow>> {
        let mut rows: BTreeMap<String, Vec<SummaryRow>> = BTreeMap::new();
        for line in std::fs::read_to_string(self.path("out/summary.jsonl")).unwrap().lines() {
            let row: SummaryRow = serde_json::from_str(line).unwrap();
            rows.entry(row.piece_id.clone()).or_default().push(row);
        }
        rows
    }

    pub fn report(&self, piece: &str) -> loupe::report::Report {
        let path = self.path(&format!("out/{piece}/report.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }
}

/// Every file below a folder with its bytes.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
