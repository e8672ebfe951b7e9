//! JSON files of the program's own, read back: mistakes name the file and the key, and the hash of what was read comes along.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::hash::sha256_hex;

/// What is wrong with a JSON text.
#[derive(Debug, thiserror::Error)]
#[error("key `{key}`: {message}")]
pub struct Mistake {
    /// The key at which reading stopped.
    pub key: String,
    /// What is wrong, with line and column.
    pub message: String,
}

/// Why a JSON file cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The file could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such file, or a value in it makes no sense.
    #[error("{}: {mistake}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistake: Mistake,
    },
}

impl JsonError {
    /// What is wrong, without the file.
    pub fn why(&self) -> String {
        match self {
            JsonError::Read { source, .. } => format!("cannot read: {source}"),
            JsonError::Value { mistake, .. } => mistake.to_string(),
        }
    }
}

/// A kind of file that says what it is.
pub trait Marked: DeserializeOwned {
    /// What its `schema` must be.
    const SCHEMA: &'static str;

    /// What it says.
    fn schema(&self) -> &str;

    /// Whether its values make sense.
    ///
    /// # Errors
    /// The first that does not.
    fn check(&self) -> Result<(), Mistake> {
        Ok(())
    }
}

/// A mistake at a key.
pub fn mistake(key: &str, message: impl Into<String>) -> Mistake {
    Mistake { key: key.to_owned(), message: message.into() }
}

/// The value of a whole text.
///
/// # Errors
/// Where it is no JSON of that kind, or something stands behind it.
pub fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Mistake> {
    let mut de = serde_json::Deserializer::from_slice(crate::files::without_mark(bytes));
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| {
        let ends = if e.inner().is_eof() { ": the file is not wholly written" } else { "" };
        mistake(&e.path().to_string(), format!("{}{ends}", e.inner()))
    })?;
    de.end().map_err(|e| mistake(".", e.to_string()))?;
    Ok(value)
}

/// A file's text as what it says it is; `path` only names it in errors.
///
/// # Errors
/// [`JsonError::Value`].
pub fn parse<T: Marked>(bytes: &[u8], path: &Path) -> Result<T, JsonError> {
    let other = |schema: &str| mistake("schema", format!("is `{schema}`, expected `{}`", T::SCHEMA));
    let marked = || {
        let value: T = value(bytes).map_err(|e| {
            // A file of another kind lacks keys; what it is says more.
            let named: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
            let schema = named.as_ref().and_then(|v| v.get("schema")?.as_str());
            schema.filter(|s| *s != T::SCHEMA).map_or(e, other)
        })?;
        if value.schema() != T::SCHEMA {
            return Err(other(value.schema()));
        }
        value.check()?;
        Ok(value)
    };
    marked().map_err(|mistake| JsonError::Value { path: path.to_owned(), mistake })
}

/// Reads a file, with the sha256 of its bytes in lower-case hex.
///
/// # Errors
/// [`JsonError`].
pub fn read<T: Marked>(path: &Path) -> Result<(T, String), JsonError> {
    let bytes = crate::files::read(path).map_err(|source| JsonError::Read { path: path.to_owned(), source })?;
    Ok((parse(&bytes, path)?, sha256_hex(&bytes)))
}
