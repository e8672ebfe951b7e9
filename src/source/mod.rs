//! Where pieces come from: folders, folders of folders, JSON Lines manifests and bare pictures. Knows files
//! and folders, not what is on a frame.

pub mod csv;
pub mod readings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::piece::{Frame, Piece, PieceError, PIECE_SCHEMA};
use crate::pipeline::Job;
use crate::spec::{Spec, SpecError};

/// The name of a piece's manifest in its folder.
pub const MANIFEST: &str = "piece.json";

/// How paths are turned into pieces.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder in which a piece's `spec` is looked up as a SKU.
    pub specs: Option<PathBuf>,
    /// What a picture without a manifest shows; none where such pictures are not wanted.
    pub bare: Option<Bare>,
}

/// What stands in for the manifest of a bare picture.
#[derive(Debug, Clone)]
pub struct Bare {
    /// Its spec.
    pub spec: PathBuf,
    /// Scale in um per pixel; without one there is no claim in mm.
    pub um_per_px: Option<f64>,
    /// Standard uncertainty of the scale in um per pixel.
    pub um_per_px_u: Option<f64>,
    /// The spec's view that it shows; none for the spec's first.
    pub view: Option<String>,
    /// The light it was taken in.
    pub light: String,
}

/// Why a piece could not be loaded. Every message names the file and, where there is one, the key.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The manifest.
    #[error(transparent)]
    Piece(#[from] PieceError),
    /// The spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A key of the manifest that does not fit what lies beside it.
    #[error("{}: key `{key}`: {message}", path.display())]
    Key {
        /// The manifest, with its line in a JSON Lines file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A path that gives no piece.
    #[error("{}: {message}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// One piece of a run, not yet read beyond its name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The piece's id, or the name of its folder, file or line where the id cannot be read.
    pub name: String,
    /// The manifest (with `:line` for a line of JSON Lines) or the picture.
    pub origin: PathBuf,
    owns_name: bool,
    what: What,
    library: Arc<Library>,
}

#[derive(Debug, Clone)]
enum What {
    Manifest,
    Line { base: PathBuf, text: String },
    Picture(Arc<Bare>),
    Failed(String),
    Taken { by: PathBuf, id: String },
}

impl Entry {
    /// Reads the manifest and the spec. The frames themselves are left to the pipeline.
    ///
    /// # Errors
    /// [`SourceError`], which names the file and the key.
    pub fn load(&self) -> Result<Job, SourceError> {
        let origin = || self.origin.clone();
        let (piece, base) = match &self.what {
            What::Failed(message) => return Err(SourceError::Path { path: origin(), message: message.clone() }),
            What::Taken { by, id } => {
                let message = format!("`{id}` is already the id of {} in this run", by.display());
                return Err(SourceError::Key { path: origin(), key: "piece_id".into(), message });
            }
            What::Picture(bare) => return picture_job(&self.origin, bare),
            What::Manifest => (Piece::read(&self.origin)?, parent(&self.origin)),
            What::Line { base, text } => (parse_line(text, &self.origin)?, base.clone()),
        };
        let (spec, spec_sha256) = self.spec(&piece, &base)?;
        Ok(Job { origin: origin(), base, piece, spec, spec_sha256 })
    }

    fn spec(&self, piece: &Piece, base: &Path) -> Result<(Spec, String), SourceError> {
        let wrong = |message: String| SourceError::Key { path: self.origin.clone(), key: "spec".into(), message };
        let beside = base.join(&piece.spec);
        let path = if beside.is_file() {
            beside
        } else {
            match self.library.find(&piece.spec).map_err(wrong)? {
                Some(path) => path,
                None => {
                    return Err(wrong(match &self.library.folder {
                        Some(folder) => format!(
                            "{}: no such file, and no spec with the SKU `{}` in {}",
                            beside.display(),
                            piece.spec,
                            folder.display()
                        ),
                        None => format!(
                            "{}: no such file (a SKU is looked up in the folder given with --specs)",
                            beside.display()
                        ),
                    }))
                }
            }
        };
        Ok(Spec::read(&path)?)
    }
}

/// Turns paths into entries, in the order of the paths and, within a folder, of the names. Never fails: what
/// cannot be read is an entry whose [`Entry::load`] says why, and so is a piece whose id is already taken.
pub fn resolve(paths: &[PathBuf], options: &Options) -> Vec<Entry> {
    let library = Arc::new(Library { folder: options.specs.clone(), skus: OnceLock::new() });
    let mut run = Run { entries: vec![], library, bare: options.bare.clone().map(Arc::new) };
    for path in paths {
        run.path(path);
    }
    let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in &mut run.entries {
        let Some(id) = entry.peek() else {
            // A manifest with a mistake elsewhere may still say whose it is.
            if let Some(id) = entry.claimed_id() {
                entry.name = id;
            }
            continue;
        };
        // The run's own list lies where the folder of such a piece would.
        if ["summary.jsonl", "summary.part.jsonl", "summary.part.old.jsonl"].contains(&id.as_str()) {
            entry.what = What::Failed(format!("key `piece_id`: `{id}` is the name of the run's summary"));
            continue;
        }
        entry.name.clone_from(&id);
        match taken.get(&id) {
            Some(by) => entry.what = What::Taken { by: by.clone(), id },
            None => {
                entry.owns_name = true;
                taken.insert(id, entry.origin.clone());
            }
        }
    }
    for entry in &mut run.entries {
        let unclaimed = is_one_component(&entry.name) && !taken.contains_key(&entry.name);
        entry.owns_name |= unclaimed && !matches!(entry.what, What::Taken { .. });
    }
    run.entries
}

/// Whether a name, joined to a folder, stays directly in it.
fn is_one_component(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.chars().any(char::is_control)
}

impl Entry {
    /// Whether it is a picture without a manifest of its own, or could not be told.
    pub fn is_picture(&self) -> bool {
        matches!(self.what, What::Picture(_) | What::Failed(_))
    }

    /// Whether no other piece of this run has the name: the folder of that name is this piece's own.
    pub fn owns_name(&self) -> bool {
        self.owns_name
    }

    /// The id that a manifest with mistakes gives, where it can be told.
    fn claimed_id(&self) -> Option<String> {
        let text = match &self.what {
            What::Manifest => std::fs::read_to_string(&self.origin).ok()?,
            What::Line { text, .. } => text.clone(),
            What::Picture(_) | What::Failed(_) | What::Taken { .. } => return None,
        };
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        value.get("piece_id")?.as_str().filter(|id| is_one_component(id)).map(str::to_owned)
    }

    /// The id, where the manifest can be read.
    fn peek(&self) -> Option<String> {
        match &self.what {
            What::Manifest => Piece::read(&self.origin).ok().map(|p| p.piece_id),
            What::Line { text, .. } => parse_line(text, &self.origin).ok().map(|p| p.piece_id),
            What::Picture(_) => Some(self.name.clone()),
            What::Failed(_) | What::Taken { .. } => None,
        }
    }
}

struct Run {
    entries: Vec<Entry>,
    library: Arc<Library>,
    bare: Option<Arc<Bare>>,
}

impl Run {
    fn push(&mut self, name: String, origin: PathBuf, what: What) {
        self.entries.push(Entry { name, origin, owns_name: false, what, library: self.library.clone() });
    }

    fn fail(&mut self, path: &Path, message: impl Into<String>) {
        self.push(name_of(path), path.to_owned(), What::Failed(message.into()));
    }

    fn path(&mut self, path: &Path) {
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) => return self.fail(path, format!("cannot read: {e}")),
        };
        if meta.is_dir() {
            let before = self.entries.len();
            self.folder(path, &mut BTreeSet::new());
            if self.entries.len() == before {
                self.fail(path, format!("no {MANIFEST} in this folder or below it"));
            }
            return;
        }
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "jsonl" | "ndjson" => self.lines(path),
            "json" => self.push(folder_name(path), path.to_owned(), What::Manifest),
            "png" | "jpg" | "jpeg" | "tif" | "tiff" | "bmp" => match self.bare.clone() {
                Some(bare) => self.picture(path, bare),
                None => self.fail(path, "a picture without a piece.json needs --spec (and --um-per-px)"),
            },
            _ => self.fail(path, "is no folder, piece.json, *.jsonl manifest or picture (png, jpg, tif, bmp)"),
        }
    }

    fn folder(&mut self, folder: &Path, above: &mut BTreeSet<PathBuf>) {
        let manifest = folder.join(MANIFEST);
        if manifest.is_file() {
            return self.push(folder_name(&manifest), manifest, What::Manifest);
        }
        let children = std::fs::canonicalize(folder).and_then(|real| {
            let children: Result<Vec<_>, _> = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect();
            children.map(|c| (real, c))
        });
        let (real, mut children) = match children {
            Ok(found) => found,
            Err(e) => return self.fail(folder, format!("cannot read: {e}")),
        };
        // A link to a folder above would never end.
        if !above.insert(real.clone()) {
            return;
        }
        children.sort();
        for child in children {
            let hidden = child.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if !hidden && child.is_dir() {
                self.folder(&child, above);
            }
        }
        above.remove(&real);
    }

    fn lines(&mut self, path: &Path) {
        let bytes = match crate::files::read(path) {
            Ok(bytes) => bytes,
            Err(e) => return self.fail(path, format!("cannot read: {e}")),
        };
        let base = parent(path);
        let before = self.entries.len();
        let bytes = crate::files::without_mark(&bytes);
        for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut origin = path.as_os_str().to_owned();
            origin.push(format!(":{}", i + 1));
            let name = format!("{}:{}", name_of(path), i + 1);
            let what = match std::str::from_utf8(line) {
                Ok(text) => What::Line { base: base.clone(), text: text.to_owned() },
                Err(_) => What::Failed("is no text (UTF-8)".into()),
            };
            self.push(name, PathBuf::from(origin), what);
        }
        if self.entries.len() == before {
            self.fail(path, "the manifest is empty");
        }
    }

    fn picture(&mut self, path: &Path, bare: Arc<Bare>) {
        let stem = path.file_stem().unwrap_or_default();
        match (stem.to_str(), path.file_name().and_then(|n| n.to_str())) {
            (Some(id), Some(_)) => self.push(id.to_owned(), path.to_owned(), What::Picture(bare)),
            _ => self.fail(path, "the name is no text (UTF-8), so it cannot name a report"),
        }
    }
}

fn parse_line(text: &str, origin: &Path) -> Result<Piece, PieceError> {
    Piece::parse(text.trim(), origin).map_err(|e| match e {
        // serde counts lines within the text it was given, which is always one.
        PieceError::Parse { path, key, message } => {
            PieceError::Parse { path, key, message: message.replace(" at line 1 column ", " at column ") }
        }
        other => other,
    })
}

/// The job of a bare picture.
///
/// # Errors
/// Where its spec cannot be read, or has no such view.
pub fn picture_job(picture: &Path, bare: &Bare) -> Result<Job, SourceError> {
    let (spec, spec_sha256) = Spec::read(&bare.spec)?;
    let view = match &bare.view {
        Some(name) => spec.view(name),
        None => spec.views.first(),
    };
    let Some(view) = view.map(|v| v.name.clone()) else {
        let names: Vec<&str> = spec.views.iter().map(|v| v.name.as_str()).collect();
        let message = format!(
            "--view `{}` is no view of it (it has: {})",
            bare.view.as_deref().unwrap_or(""),
            names.join(", ")
        );
        return Err(SourceError::Path { path: bare.spec.clone(), message });
    };
    let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let frame = Frame::bare(name(picture.file_name()), view, bare.light.clone(), bare.um_per_px, bare.um_per_px_u);
    let piece = Piece {
        schema: PIECE_SCHEMA.into(),
        piece_id: name(picture.file_stem()),
        spec: bare.spec.to_string_lossy().into_owned(),
        frames: vec![frame],
        readings: vec![],
        extra: BTreeMap::new(),
    };
    Ok(Job { origin: picture.to_owned(), base: parent(picture), piece, spec, spec_sha256 })
}

/// The folder given with `--specs`.
#[derive(Debug)]
struct Library {
    folder: Option<PathBuf>,
    /// The specs of the folder by their SKU, read when the first name that is no file asks for it.
    skus: OnceLock<BTreeMap<String, Vec<PathBuf>>>,
}

impl Library {
    fn find(&self, sku: &str) -> Result<Option<PathBuf>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        if !sku.contains(['/', '\\']) {
            let named = [folder.join(format!("{sku}.toml")), folder.join(sku).join("spec.toml")];
            if let Some(path) = named.into_iter().find(|p| p.is_file()) {
                return Ok(Some(path));
            }
        }
        let skus = self.skus.get_or_init(|| {
            let mut skus: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            collect_skus(folder, &mut BTreeSet::new(), &mut skus);
            skus
        });
        match skus.get(sku).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([path]) => Ok(Some(path.clone())),
            Some([a, b, ..]) => Err(format!("both {} and {} have the SKU `{sku}`", a.display(), b.display())),
        }
    }
}

/// Only the SKU is read here; a spec with mistakes elsewhere is found and then reported with all of them.
fn collect_skus(folder: &Path, above: &mut BTreeSet<PathBuf>, skus: &mut BTreeMap<String, Vec<PathBuf>>) {
    #[derive(serde::Deserialize)]
    struct Sku {
        sku: String,
    }
    let (Ok(real), Ok(children)) = (std::fs::canonicalize(folder), std::fs::read_dir(folder)) else { return };
    if !above.insert(real.clone()) {
        return;
    }
    let mut children: Vec<PathBuf> = children.filter_map(|e| e.ok().map(|e| e.path())).collect();
    children.sort();
    for child in children {
        if child.is_dir() {
            collect_skus(&child, above, skus);
        } else if child.extension().is_some_and(|e| e == "toml") {
            let sku = std::fs::read_to_string(&child).ok().and_then(|t| toml::from_str::<Sku>(&t).ok());
            if let Some(Sku { sku }) = sku {
                skus.entry(sku).or_default().push(child);
            }
        }
    }
    above.remove(&real);
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The name of the folder a manifest lies in.
fn folder_name(manifest: &Path) -> String {
    match manifest.parent() {
        Some(folder) if folder.file_name().is_some() => name_of(folder),
        _ => name_of(manifest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "schema = \"loupe.spec/1\"\nsku = \"SKU\"\nmetal = \"silver\"\nfinish = \"polished\"\n\n\
                        [[view]]\nname = \"top\"\n\n[[view]]\nname = \"side\"\n";

    fn manifest(id: &str, spec: &str, view: &str) -> String {
        format!(
            r#"{{"schema":"loupe.piece/1","piece_id":"{id}","spec":"{spec}","frames":[{{"file":"a.png","view":"{view}","light":"dome","um_per_px":12.0}}]}}"#
        )
    }

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn piece(root: &Path, folder: &str, id: &str) {
        write(root.join(folder).join("piece.json"), &manifest(id, "spec.toml", "top"));
        write(root.join(folder).join("spec.toml"), SPEC);
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|e| e.name.as_str()).collect()
    }

    #[test]
    fn folders_are_walked_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, id) in [("b/deep er/x", "x"), ("a", "second"), ("b/c", "c"), (".hidden", "h")] {
            piece(dir.path(), folder, id);
        }
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("b/loop")).unwrap();
        let entries = resolve(&[dir.path().to_owned()], &Options::default());
        assert_eq!(names(&entries), ["second", "c", "x"]);
        let job = entries[2].load().unwrap();
        assert_eq!((job.piece.piece_id.as_str(), job.spec.sku.as_str()), ("x", "SKU"));
        assert!(job.base.ends_with("b/deep er/x"));
    }

    #[test]
    fn what_gives_no_piece_says_why() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("notes.txt"), "x");
        write(dir.path().join("a.png"), "x");
        write(dir.path().join("none.jsonl"), "\n\n");
        let path = |n: &str| dir.path().join(n);
        std::fs::create_dir(path("empty")).unwrap();
        let asked = ["gone", "empty", "notes.txt", "a.png", "none.jsonl"];
        let entries = resolve(&asked.map(path), &Options::default());
        let expected = ["cannot read", "no piece.json", "is no folder", "needs --spec", "is empty"];
        assert_eq!(entries.len(), asked.len());
        for ((entry, name), part) in entries.iter().zip(asked).zip(expected) {
            let e = entry.load().unwrap_err().to_string();
            assert!(e.contains(name) && e.contains(part), "{e}");
        }
    }

    #[test]
    fn a_bad_line_of_a_manifest_is_one_bad_entry() {
        let dir = tempfile::tempdir().unwrap();
        let lines = [manifest("p1", "spec.toml", "top"), "{\"schema\":".into(), manifest("p3", "gone.toml", "top")];
        write(dir.path().join("archive.jsonl"), &format!("{}\n\n{}\n{}\n", lines[0], lines[1], lines[2]));
        write(dir.path().join("spec.toml"), SPEC);
        let entries = resolve(&[dir.path().join("archive.jsonl")], &Options::default());
        assert_eq!(names(&entries), ["p1", "archive.jsonl:3", "p3"]);
        assert_eq!(entries[0].load().unwrap().base, dir.path());
        let e = entries[1].load().unwrap_err().to_string();
        assert!(e.contains("archive.jsonl:3: key ") && !e.contains("line 1"), "{e}");
        let e = entries[2].load().unwrap_err().to_string();
        assert!(e.contains("archive.jsonl:4: key `spec`") && e.contains("gone.toml"), "{e}");
    }

    #[test]
    fn an_id_belongs_to_the_first_piece_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        piece(dir.path(), "a", "same");
        piece(dir.path(), "b", "same");
        piece(dir.path(), "c", "summary.jsonl");
        let entries = resolve(&[dir.path().to_owned()], &Options::default());
        assert!(entries[0].load().is_ok());
        let e = entries[1].load().unwrap_err().to_string();
        assert!(e.contains("b/piece.json: key `piece_id`") && e.contains("a/piece.json"), "{e}");
        assert!(entries[2].load().is_err());
    }

    #[test]
    fn a_manifest_with_mistakes_is_still_named() {
        let dir = tempfile::tempdir().unwrap();
        let zero = |id: &str| manifest(id, "spec.toml", "top").replace("12.0", "0");
        piece(dir.path(), "a", "ring-1");
        write(dir.path().join("b/piece.json"), &zero("ring-1"));
        write(dir.path().join("c/piece.json"), &zero("ring-2"));
        write(dir.path().join("d/piece.json"), &zero(".."));
        write(dir.path().join("e/piece.json"), "{");
        let entries = resolve(&[dir.path().to_owned(), dir.path().join("a/..").join("gone/..")], &Options::default());
        assert_eq!(names(&entries)[..5], ["ring-1", "ring-1", "ring-2", "d", "e"]);
        let owns: Vec<bool> = entries.iter().take(5).map(Entry::owns_name).collect();
        assert_eq!(owns, [true, false, true, true, true]);
        assert!(entries.iter().filter(|e| e.name.contains("..")).all(|e| !e.owns_name()));
    }

    #[test]
    fn a_spec_is_found_beside_the_manifest_or_by_its_sku() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        for (folder, spec) in [("a", "R1"), ("b", "R2"), ("c", "R3"), ("d", "R4"), ("e", "R5")] {
            write(dir.path().join("p").join(folder).join("piece.json"), &manifest(folder, spec, "top"));
        }
        let named = |sku: &str| SPEC.replace("SKU", sku);
        write(specs.join("R1.toml"), &named("other"));
        write(specs.join("R2/spec.toml"), &named("R2"));
        write(specs.join("rings/any name.toml"), &named("R3"));
        write(specs.join("x.toml"), &named("R5"));
        write(specs.join("y.toml"), &named("R5"));
        let options = Options { specs: Some(specs), bare: None };
        let loaded: Vec<_> = resolve(&[dir.path().join("p")], &options).iter().map(Entry::load).collect();
        let sku = |i: usize| loaded[i].as_ref().unwrap().spec.sku.as_str();
        assert_eq!([sku(0), sku(1), sku(2)], ["other", "R2", "R3"]);
        let e = loaded[3].as_ref().unwrap_err().to_string();
        assert!(e.contains("d/piece.json: key `spec`") && e.contains("`R4`"), "{e}");
        let e = loaded[4].as_ref().unwrap_err().to_string();
        assert!(e.contains("x.toml") && e.contains("y.toml"), "{e}");
    }

    #[test]
    fn a_bare_picture_takes_its_manifest_from_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("my ring.png"), "");
        write(dir.path().join("s.toml"), SPEC);
        let bare = |view: Option<&str>| Options {
            specs: None,
            bare: Some(Bare {
                spec: dir.path().join("s.toml"),
                um_per_px: Some(12.0),
                um_per_px_u: None,
                view: view.map(str::to_owned),
                light: "dome".into(),
            }),
        };
        let load = |view| resolve(&[dir.path().join("my ring.png")], &bare(view))[0].load();
        let job = load(None).unwrap();
        assert_eq!((job.piece.piece_id.as_str(), job.piece.frames[0].view.as_str()), ("my ring", "top"));
        assert_eq!(load(Some("side")).unwrap().piece.frames[0].view, "side");
        let e = load(Some("back")).unwrap_err().to_string();
        assert!(e.contains("s.toml: --view `back`"), "{e}");
    }
}
