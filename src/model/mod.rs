//! ONNX sessions, tiles and batches, and a model's own metadata. Knows nothing of jewellery; no `ort` type
//! leaves this module.

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Placeholder until the runtime lands.
    #[error("{0}")]
    Load(String),
}
