//! tmp
use super::{Answer, Inspect, Scene};
use crate::vision::VisionError;
/// The stones.
#[derive(Debug)]
pub struct Stones;
impl Inspect for Stones {
    fn name(&self) -> &'static str { "stones" }
    fn characteristics(&self) -> &'static [&'static str] { &["stone.present"] }
    fn inspect(&self, _: &Scene) -> Result<Answer, VisionError> { Ok(Answer::default()) }
}
