//! ONNX sessions, tiles and batches, and a model's own metadata. Knows nothing of jewellery; no `ort` type
//! leaves this module.
//!
//! The contract of a model file: input `image`, float32 `[N, 3, H, W]`, RGB 0 to 255, H and W multiples of 32;
//! output `probs`, float32 `[N, C, H / s, W / s]`, probabilities of the C classes at every s-th pixel, class 0 is
//! `good`. Everything else about it stands in its metadata ([`ModelInfo`]). That is the surface model; the models of stones
//! and prongs ([`PartModel`]) answer each window of fixed size with one row of numbers, the model of girdles ([`GirdleModel`]) each
//! unrolled rim with one row for each direction; the model of finishes ([`FinishModel`]) is shown a frame and its metal.

mod backbone;
mod class_map;
mod finish;
pub mod forest;
mod girdles;
mod info;
mod ocr;
mod parts;
pub(crate) mod runtime;
mod sessions;
mod surface;
mod tiles;

use std::path::PathBuf;

pub use backbone::{Backbone, BackboneInfo, FeatureMap, BACKBONE_FILE, GRANULE};
pub use class_map::ClassMap;
pub(crate) use finish::shares;
pub use finish::{FinishInfo, FinishModel, FinishSight, FinishThresholds, Shown, FINISH_FILE};
pub use girdles::{ChipOdds, GirdleInfo, GirdleModel, Girdles, Ray, Strip};
pub use info::{ModelInfo, MODEL_SCHEMA};
pub use ocr::{
    Lattice, Letters, MarkReader, ReaderInfo, Recogniser, TextBox, DETECTOR_FILE, MARKS_FILE, READER_FILE,
};
pub use parts::{Part, PartInfo, PartModel, ProngSight, RimSight, StoneSight};
pub use runtime::{runtime_info, RuntimeInfo};
pub use sessions::find_file;
pub use surface::{find_default, Closer, Precision, Prepared, SurfaceModel, CLOSER, DEFAULT_BATCH};

/// Why a model could not be loaded or run. Every message names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// ONNX Runtime's library is not where it was looked for, or the loader refused it.
    #[error(
        "ONNX Runtime: cannot load {}: {message} (run `script/setup`, set ORT_DYLIB_PATH to libonnxruntime.so, \
         or go without the model: --no-model)",
        path.display()
    )]
    RuntimeMissing {
        /// The library that was tried last.
        path: PathBuf,
        /// What the loader said.
        message: String,
    },
    /// A library was loaded, but it is not an ONNX Runtime that is new enough.
    #[error(
        "ONNX Runtime: {} cannot be used: {message} (run `script/setup`, set ORT_DYLIB_PATH to another \
         libonnxruntime.so, or go without the model: --no-model)",
        path.display()
    )]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No model was named and none was found.
    #[error(
        "no models/{file} beside the program or above the current folder (set LOUPE_MODELS to its folder, \
         name a file with --model, or go without: --no-model)"
    )]
    NotFound {
        /// The file's name.
        file: &'static str,
    },
    /// No backbone was named and none was found.
    #[error("no models/{BACKBONE_FILE} and no .deps/models/{BACKBONE_FILE}: run `script/setup`, or name one with --backbone")]
    NoBackbone,
    /// A model that reads text was not found.
    #[error("no models/{file} and no .deps/models/{file}: run `script/setup`")]
    NoTextModels {
        /// The file's name.
        file: &'static str,
    },
    /// The file could not be read.
    #[error("{}: cannot read the model: {source} (name another: --model, of a taught part --backbone; or go without: --no-model)", path.display())]
    Read {
        /// The model file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("{}: the model file is empty", path.display())]
    Empty {
        /// The model file.
        path: PathBuf,
    },
    /// The bytes are no ONNX model, or a damaged one.
    #[error("{}: not an ONNX model, or a damaged one: {message}", path.display())]
    Damaged {
        /// The model file.
        path: PathBuf,
        /// What ONNX Runtime said.
        message: String,
    },
    /// A metadata key is missing or makes no sense.
    #[error("{}: metadata `{key}`: {message}", path.display())]
    Metadata {
        /// The model file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// An input or output is not what the contract says.
    #[error("{}: {tensor}: {message}", path.display())]
    Shape {
        /// The model file.
        path: PathBuf,
        /// Which input or output.
        tensor: String,
        /// What is wrong.
        message: String,
    },
    /// The model was loaded and failed on a picture.
    #[error("{}: the model failed: {message}", path.display())]
    Run {
        /// The model file.
        path: PathBuf,
        /// What ONNX Runtime said.
        message: String,
    },
}
