//! Parsing a spec, with the line and key of every mistake.

/// One mistake in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecMistake {
    /// Line, from 1.
    pub line: usize,
    /// Dotted key.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

/// A spec that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("spec")]
pub struct SpecError;
