//! Finding and loading ONNX Runtime's library. Nothing here panics where it is missing: the library is loaded
//! once, before any other call into it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::LoadDynamicError;

use super::ModelError;

#[cfg(target_os = "macos")]
const LIBRARY: &str = "libonnxruntime.dylib";
#[cfg(not(target_os = "macos"))]
const LIBRARY: &str = "libonnxruntime.so";

/// The ONNX Runtime that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Its version, such as `1.31.1`.
    pub version: String,
    /// Its library; a bare file name where the system's loader found it.
    pub library: PathBuf,
}

struct Runtime {
    // ONNX Runtime allows one environment per process and `ort` cannot make a second after the first is dropped.
    environment: Environment,
    info: RuntimeInfo,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads ONNX Runtime, unless it is loaded already, and says which.
///
/// Looked for: the file that `ORT_DYLIB_PATH` names (and nothing else, where it is set); beside the program; in
/// `../lib` of it; in `.deps/onnxruntime/` of a folder above the program or above the current folder; where the
/// system's loader looks.
///
/// # Errors
/// [`ModelError::RuntimeMissing`], [`ModelError::RuntimeUnusable`].
pub fn runtime_info() -> Result<RuntimeInfo, ModelError> {
    Ok(runtime()?.info.clone())
}

pub(super) fn environment() -> Result<&'static Environment, ModelError> {
    Ok(&runtime()?.environment)
}

fn runtime() -> Result<&'static Runtime, ModelError> {
    if let Some(r) = RUNTIME.get() {
        return Ok(r);
    }
    // A failure is not kept: a program that runs on may be given the library later.
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(r) = RUNTIME.get() {
        return Ok(r);
    }
    let loaded = load(&library_path()?)?;
    Ok(RUNTIME.get_or_init(|| loaded))
}

/// Keeps ONNX Runtime from sending and storing events about its use: its Linux builds do both from 1.30 on unless this variable is set, whatever the environment
/// is made with. Called before other threads may read the environment.
pub fn send_nothing() {
    const OFF: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(OFF).is_none() {
        std::env::set_var(OFF, "1");
    }
}

fn load(library: &Path) -> Result<Runtime, ModelError> {
    send_nothing();
    let builder = ort::init_from(library).map_err(|e| match e {
        LoadDynamicError::Dlopen { error, path } => ModelError::RuntimeMissing { path, message: error.to_string() },
        LoadDynamicError::BadVersion { version_str, path } => ModelError::RuntimeUnusable {
            path,
            message: format!("its version is {version_str}, 1.{} or newer is needed", ort::MINOR_VERSION),
        },
        LoadDynamicError::MissingApi { path } => {
            ModelError::RuntimeUnusable { path, message: "it is no ONNX Runtime".into() }
        }
        LoadDynamicError::InvalidVersionString => {
            ModelError::RuntimeUnusable { path: library.to_owned(), message: "it does not tell its version".into() }
        }
    })?;
    let unusable = |message: String| ModelError::RuntimeUnusable { path: library.to_owned(), message };
    let environment =
        builder.with_name("loupe").with_telemetry(false).build().map_err(|e| unusable(e.to_string()))?;
    // `ort` asks the library for everything it could log; what is not a warning would be formatted and dropped.
    environment.set_log_level(ort::logging::LogLevel::Warning);
    let version = version(library).unwrap_or_else(|| "unknown".into());
    Ok(Runtime { environment, info: RuntimeInfo { version, library: library.to_owned() } })
}

/// The version that a library already loaded tells. `ort` reads it too but keeps it to itself.
fn version(library: &Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(library.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path is a C string; RTLD_NOLOAD only finds a library that is loaded, and `ort` never unloads
    // it. `OrtGetApiBase` has had this signature since 1.0, `ort` has called it, and the version string it gives
    // lives as long as the library.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return None;
        }
        let symbol = libc::dlsym(handle, c"OrtGetApiBase".as_ptr());
        if symbol.is_null() {
            return None;
        }
        let get: unsafe extern "C" fn() -> *const ort::sys::OrtApiBase = std::mem::transmute(symbol);
        let base = get().as_ref()?;
        let text = (base.GetVersionString)();
        (!text.is_null()).then(|| std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

fn library_path() -> Result<PathBuf, ModelError> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()) {
        let named = PathBuf::from(named);
        // A bare name is for the system's loader to find.
        if named.components().count() == 1 && !named.exists() {
            return Ok(named);
        }
        // `ort` takes a relative path from the program's folder; a user means the current one.
        return std::fs::canonicalize(&named).map_err(|e| ModelError::RuntimeMissing {
            path: named,
            message: format!("ORT_DYLIB_PATH names it, but: {e}"),
        });
    }
    let program = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_owned));
    let current = std::env::current_dir().ok();
    let mut places = Vec::new();
    if let Some(dir) = &program {
        places.push(dir.join(LIBRARY));
        places.push(dir.join("../lib").join(LIBRARY));
    }
    for dir in program.iter().chain(&current) {
        places.extend(dir.ancestors().map(|d| d.join(".deps/onnxruntime").join(LIBRARY)));
    }
    Ok(places.into_iter().find(|p| p.is_file()).unwrap_or_else(|| LIBRARY.into()))
}
