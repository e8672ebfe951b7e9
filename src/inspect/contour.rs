//! tmp
use super::{Answer, Inspect, Scene};
use crate::vision::VisionError;
/// The contour.
#[derive(Debug)]
pub struct Contour;
impl Inspect for Contour {
    fn name(&self) -> &'static str { "outline" }
    fn characteristics(&self) -> &'static [&'static str] { &["outline.deviation_mm"] }
    fn inspect(&self, _: &Scene) -> Result<Answer, VisionError> { Ok(Answer::default()) }
}
