//! Model files and the sessions that run them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::session::builder::GraphOptimizationLevel;
use ort::session::Session;
use ort::value::{DynValue, TensorRef};

use super::{runtime, ModelError};
use crate::hash::sha256_hex;

/// Where a shipped model lies: in the folder that `LOUPE_MODELS` names (and nowhere else, where it is set),
/// else `models/` beside the program or beside the program's folder, `../share/loupe/models`, or `models/` in a
/// folder above the program or above the current folder.
pub fn find_file(file: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("LOUPE_MODELS").filter(|v| !v.is_empty()) {
        // Given back though it may not be there: the error is to name it.
        return Some(Path::new(&dir).join(file));
    }
    let program = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_owned));
    let current = std::env::current_dir().ok();
    let mut places = Vec::new();
    if let Some(dir) = &program {
        places.extend(["models", "../models", "../share/loupe/models"].map(|d| dir.join(d)));
    }
    for dir in program.iter().chain(&current) {
        places.extend(dir.ancestors().map(|d| d.join("models")));
    }
    places.into_iter().map(|d| d.join(file)).find(|p| p.is_file())
}

/// Where a model of the set-up lies: where a shipped one would ([`find_file`]), else in `.deps/models/` of a folder above the
/// program or above the current folder, where `script/setup` puts it.
pub(super) fn find_made(file: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_owned));
    let current = std::env::current_dir().ok();
    let made = program
        .iter()
        .chain(&current)
        .flat_map(|dir| dir.ancestors().map(|d| d.join(".deps/models").join(file)))
        .find(|p| p.is_file());
    find_file(file).filter(|p| p.is_file()).or(made)
}

/// A model file and the sessions made of it. Shared by threads: each call takes a session of its own from a pool that grows
/// to the number of threads that run at the same time (a session holds its own copy of the weights).
pub(super) struct Sessions {
    path: PathBuf,
    bytes: Vec<u8>,
    idle: Mutex<Vec<Session>>,
}

impl Sessions {
    /// Reads a file, makes one session of it, and gives its sha256 beside.
    pub fn read(path: &Path) -> Result<(Self, String), ModelError> {
        let bytes = Self::bytes(path)?;
        let sha256 = sha256_hex(&bytes);
        Ok((Self::of(bytes, path)?, sha256))
    }

    /// The bytes of a model file.
    pub fn bytes(path: &Path) -> Result<Vec<u8>, ModelError> {
        let bytes = crate::files::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        if bytes.is_empty() {
            return Err(ModelError::Empty { path: path.to_owned() });
        }
        Ok(bytes)
    }

    /// Makes one session of a model's bytes.
    pub fn of(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        let session = commit(&bytes, path)?;
        Ok(Sessions { path: path.to_owned(), bytes, idle: Mutex::new(vec![session]) })
    }

    /// The model file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lends a session that no other thread uses: `ort` wants each run to have one to itself.
    pub fn with<T>(&self, f: impl FnOnce(&mut Session) -> Result<T, ModelError>) -> Result<T, ModelError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = match idle {
            Some(s) => s,
            None => commit(&self.bytes, &self.path)?,
        };
        let result = f(&mut session);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        result
    }
}

/// A model file and what it says of itself.
pub(super) struct Known<I> {
    pub sessions: Sessions,
    pub info: I,
}

impl<I> Known<I> {
    /// Reads a file, and what `parse` makes of its metadata and its sha256.
    pub fn read(
        path: &Path,
        parse: impl FnOnce(&dyn Fn(&str) -> Option<String>, String) -> Result<I, ModelError>,
    ) -> Result<Self, ModelError> {
        let (sessions, sha256) = Sessions::read(path)?;
        let info = sessions.with(|session| {
            let metadata = session.metadata().map_err(|e| damaged(path, &e))?;
            parse(&|key| metadata.custom(key), sha256)
        })?;
        Ok(Known { sessions, info })
    }

    /// The model file.
    pub fn path(&self) -> &Path {
        self.sessions.path()
    }
}

impl<I: std::fmt::Debug> std::fmt::Debug for Known<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("path", &self.path()).field("info", &self.info).finish_non_exhaustive()
    }
}

/// One call of the runtime with one picture-like input: the numbers of its answer, which must have the shape `expected`.
pub(super) fn rows(
    session: &mut Session,
    shape: [usize; 4],
    data: &[f32],
    expected: &[usize],
    path: &Path,
) -> Result<Vec<f32>, ModelError> {
    let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
    let input = TensorRef::from_array_view((shape.map(|v| v as i64), data)).map_err(failed)?;
    let outputs = session.run(ort::inputs![input]).map_err(failed)?;
    numbers(&outputs[0], "answer", expected, path)
}

/// The numbers of an output, which must have the shape `expected` and be finite.
pub(super) fn numbers(
    output: &DynValue,
    name: &str,
    expected: &[usize],
    path: &Path,
) -> Result<Vec<f32>, ModelError> {
    let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
    let (got, numbers) = output.try_extract_tensor::<f32>().map_err(failed)?;
    let bad = |message: String| {
        Err(ModelError::Shape { path: path.to_owned(), tensor: format!("output `{name}`"), message })
    };
    if !got.iter().copied().eq(expected.iter().map(|v| *v as i64)) {
        return bad(format!("has the shape {got:?}, expected {expected:?}"));
    }
    if !numbers.iter().all(|v| v.is_finite()) {
        return bad("holds values that are no numbers".into());
    }
    Ok(numbers.to_vec())
}

pub(super) fn damaged(path: &Path, e: &dyn std::fmt::Display) -> ModelError {
    ModelError::Damaged { path: path.to_owned(), message: e.to_string() }
}

fn commit(bytes: &[u8], path: &Path) -> Result<Session, ModelError> {
    let environment = runtime::environment()?;
    let build = || -> ort::Result<Session> {
        // One thread a session: frames are what runs in parallel. With more, sums would also depend on how many.
        Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_deterministic_compute(true)?
            .with_log_level(ort::logging::LogLevel::Error)?
            .commit_from_memory(bytes)
    };
    build().map_err(|e| damaged(path, &e))
}
