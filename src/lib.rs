//! loupe inspects fine jewellery on camera frames: it finds what is wrong with a piece, measures it
//! in millimetres against what was ordered, and says pass, fail or review with the reason.
//!
//! The data walks one way (`ARCHITECTURE.md` draws it):
//! [`source`] -> [`piece`] + [`spec`] -> [`locate`] -> [`inspect`] -> [`judge`] -> [`report`],
//! and [`pipeline`] reads like that sentence.

pub mod calibrate;
pub mod cli;
pub mod colour;
pub mod dataset;
pub mod draft;
pub mod eval;
pub mod files;
mod hash;
pub mod inspect;
pub mod json;
pub mod judge;
pub mod locate;
pub mod model;
pub mod msa;
pub mod piece;
pub mod pipeline;
pub mod report;
pub mod source;
pub mod spec;
pub mod teach;
pub mod vision;

/// The program and its build, as files name them: the package's version and the first twelve digits of a sha256 over its sources (`build.rs`).
pub const PROGRAM: &str = concat!("loupe ", env!("LOUPE_VERSION"));
