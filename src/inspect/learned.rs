//! What the surface model sees, merged with what classic vision saw.

use super::{Answer, Scene};
use crate::model::ModelInfo;
use crate::vision::VisionError;

/// Merges the model's findings into an answer.
///
/// # Errors
/// Where OpenCV refuses.
pub fn merge(_scene: &Scene, _info: &ModelInfo, _answer: &mut Answer) -> Result<(), VisionError> {
    Ok(())
}
