//! The surface model: class probabilities of a picture at its own resolution.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use rayon::prelude::*;

use super::sessions::{damaged, find_file, Sessions};
use super::tiles::{self, Plan};
use super::{ClassMap, ModelError, ModelInfo};
use crate::vision::{ops, Image, Mask};

/// Tiles per call of the runtime.
pub const DEFAULT_BATCH: usize = 4;

/// Which of the shipped surface models is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// Eight-bit integers: about half the time, nearly the same answers (`models/surface.md` has the figures).
    Int8,
}

impl Precision {
    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Precision::Fp32 => "surface.onnx",
            Precision::Int8 => "surface.int8.onnx",
        }
    }
}

/// A loaded surface model. Shared by threads: each call takes a session of its own from a pool that grows to the
/// number of threads that run at the same time (a session holds its own copy of the weights).
pub struct SurfaceModel {
    sessions: Sessions,
    info: ModelInfo,
    batch: usize,
}

impl std::fmt::Debug for SurfaceModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SurfaceModel").field("path", &self.path()).field("info", &self.info).finish_non_exhaustive()
    }
}

/// How many pixels of a picture a side [`SurfaceModel::closer`] looks at, and to how many it enlarges them.
pub const CLOSER: [usize; 2] = [64, 128];

/// A place of a picture, looked at more closely.
#[derive(Debug, Clone)]
pub struct Closer {
    /// What the enlarged part shows.
    pub map: ClassMap,
    /// Its first pixel in the picture.
    first: [f64; 2],
}

impl Closer {
    /// How many times larger it is.
    pub fn times() -> f64 {
        CLOSER[1] as f64 / CLOSER[0] as f64
    }

    /// Where a point of the picture lies in it, in its pixels.
    pub fn place(&self, p: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|k| (p[k] - self.first[k] + 0.5) * Self::times() - 0.5)
    }
}

/// The tiles of a picture as tensors, ready for the runtime: what a benchmark compares [`SurfaceModel::segment`]
/// with.
#[derive(Debug)]
pub struct Prepared {
    batches: Vec<(Shape, Vec<f32>)>,
}

type Shape = [i64; 4];

/// Where the shipped surface model lies: see [`find_file`].
pub fn find_default(precision: Precision) -> Option<PathBuf> {
    find_file(precision.file())
}

impl SurfaceModel {
    /// Loads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing, the file is missing, empty, damaged, or breaks the contract.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let (sessions, sha256) = Sessions::read(path)?;
        let info = sessions.with(|session| {
            let info = {
                let metadata = session.metadata().map_err(|e| damaged(path, &e))?;
                ModelInfo::parse(&|key| metadata.custom(key), sha256, path)?
            };
            check_outlets(session, info.classes.len(), path)?;
            probe(session, &info, path)?;
            Ok(info)
        })?;
        Ok(SurfaceModel { sessions, info, batch: DEFAULT_BATCH })
    }

    /// Loads the shipped model from where [`find_default`] finds it.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], or as [`SurfaceModel::load`].
    pub fn load_default(precision: Precision) -> Result<Self, ModelError> {
        Self::load(&find_default(precision).ok_or(ModelError::NotFound { file: precision.file() })?)
    }

    /// What the model says of itself.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.sessions.path()
    }

    /// Runs this many tiles per call instead of [`DEFAULT_BATCH`] (at least one).
    #[must_use]
    pub fn with_batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }

    /// Class probabilities of a picture at its own resolution; with a mask of the picture's size only the tiles
    /// that touch it are run. The same picture and mask give the same bits whatever the number of threads: tiles
    /// and batches depend on nothing else.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn segment(&self, image: &Image, mask: Option<&Mask>) -> Result<ClassMap, ModelError> {
        let plan = self.plan(image, mask)?;
        let outputs: Vec<Vec<f32>> = plan
            .tiles
            .par_chunks(self.batch)
            .map(|chunk| {
                let (shape, data) = cut(image, &plan, chunk);
                self.sessions.with(|session| run(session, shape, &data, &self.info, self.path()))
            })
            .collect::<Result<_, _>>()?;

        let s = self.info.output_stride;
        let mut map = ClassMap::good(image.width, image.height, s, &self.info.classes, self.info.sound);
        let (gw, gh) = map.grid();
        let (tw, th) = (plan.width / s, plan.height / s);
        let classes = self.info.classes.len();
        for (i, tile) in plan.tiles.iter().enumerate() {
            let output = &outputs[i / self.batch];
            let k = tile.kept;
            let (left, top) = (k.x - tile.x / s, k.y - tile.y / s);
            for c in 0..classes {
                let from = &output[((i % self.batch) * classes + c) * tw * th..][..tw * th];
                let to = &mut map.probs[c * gw * gh..(c + 1) * gw * gh];
                for y in 0..k.height {
                    to[(k.y + y) * gw + k.x..][..k.width].copy_from_slice(&from[(top + y) * tw + left..][..k.width]);
                }
            }
        }
        Ok(map)
    }

    /// [`SurfaceModel::segment`] of a frame of this scale in um per pixel. A frame finer than the model's range is averaged
    /// down into it; a coarser one shows less than the model was taught to see, and there is no answer.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn segment_at(
        &self,
        image: &Image,
        mask: Option<&Mask>,
        um_per_px: Option<f64>,
    ) -> Result<Option<ClassMap>, ModelError> {
        let Some(scale) = um_per_px.filter(|s| !self.info.suits(*s)) else {
            return self.segment(image, mask).map(Some);
        };
        let f = (self.info.um_per_px_min / scale).ceil().max(1.0) as usize;
        if !self.info.suits(scale * f as f64) {
            return Ok(None);
        }
        let small = ops::shrink_image(image, f);
        let mask = mask.map(|m| ops::shrink_mask(m, f));
        let mut map = self.segment(&small, mask.as_ref())?;
        (map.width, map.height, map.stride) = (image.width, image.height, map.stride * f);
        Ok(Some(map))
    }

    /// Class probabilities of the surroundings of places in a picture, each enlarged ([`CLOSER`]): what is small is told better by the cells
    /// of a larger picture of it, as whoever bends over a loupe knows. The same places give the same bits whatever the number of threads.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn closer(&self, image: &Image, places: &[[f64; 2]]) -> Result<Vec<Closer>, ModelError> {
        let [side, larger] = CLOSER;
        let look = |p: &[f64; 2]| {
            let first = p.map(|v| v.round() as i64 - side as i64 / 2);
            let part = ops::enlarged(image, first, side, larger)
                .map_err(|e| ModelError::Run { path: self.path().to_owned(), message: e.to_string() })?;
            Ok(Closer { map: self.segment(&part, None)?, first: first.map(|v| v as f64) })
        };
        places.par_iter().map(look).collect()
    }

    /// The tensors that [`SurfaceModel::segment`] would run.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the mask is not of the picture's size.
    pub fn prepare(&self, image: &Image, mask: Option<&Mask>) -> Result<Prepared, ModelError> {
        let plan = self.plan(image, mask)?;
        Ok(Prepared { batches: plan.tiles.chunks(self.batch).map(|chunk| cut(image, &plan, chunk)).collect() })
    }

    /// Runs prepared tensors one after another and drops their outputs: the runtime's own time and no more.
    ///
    /// # Errors
    /// [`ModelError::Run`].
    pub fn bare_run(&self, prepared: &Prepared) -> Result<(), ModelError> {
        self.sessions.with(|session| {
            for (shape, data) in &prepared.batches {
                let failed = |e: ort::Error| ModelError::Run { path: self.path().to_owned(), message: e.to_string() };
                let input = TensorRef::from_array_view((*shape, data.as_slice())).map_err(failed)?;
                session.run(ort::inputs![input]).map_err(failed)?;
            }
            Ok(())
        })
    }

    fn plan(&self, image: &Image, mask: Option<&Mask>) -> Result<Plan, ModelError> {
        if let Some(m) = mask.filter(|m| (m.width, m.height) != (image.width, image.height)) {
            return Err(ModelError::Run {
                path: self.path().to_owned(),
                message: format!(
                    "the mask is {} x {}, the picture {} x {}",
                    m.width, m.height, image.width, image.height
                ),
            });
        }
        let i = &self.info;
        Ok(tiles::plan(image.width, image.height, mask, i.tile, i.overlap, i.output_stride))
    }
}

impl Prepared {
    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.batches.iter().map(|(shape, _)| shape[0] as usize).sum()
    }

    /// Size of a tile in pixels: width, height (0, 0 without tiles).
    pub fn tile_size(&self) -> (usize, usize) {
        self.batches.first().map_or((0, 0), |(shape, _)| (shape[3] as usize, shape[2] as usize))
    }
}

fn check_outlets(session: &Session, classes: usize, path: &Path) -> Result<(), ModelError> {
    check_outlet("input", session.inputs(), "image", 3, path)?;
    check_outlet("output", session.outputs(), "probs", classes, path)
}

/// One outlet of this name, float32 `[_, channels, _, _]`.
fn check_outlet(what: &str, outlets: &[Outlet], name: &str, channels: usize, path: &Path) -> Result<(), ModelError> {
    let bad = |message: String| {
        Err(ModelError::Shape { path: path.to_owned(), tensor: format!("{what} `{name}`"), message })
    };
    let [outlet] = outlets else {
        let names: Vec<&str> = outlets.iter().map(Outlet::name).collect();
        return bad(format!("expected it alone, the model has {names:?}"));
    };
    if outlet.name() != name {
        return bad(format!("is called `{}`", outlet.name()));
    }
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = outlet.dtype() else {
        return bad(format!("is {}, expected float32", outlet.dtype()));
    };
    // -1 is a dimension the model leaves open.
    if shape.len() != 4 || (shape[1] != -1 && shape[1] != channels as i64) {
        return bad(format!("has the shape {shape:?}, expected [N, {channels}, H, W]"));
    }
    for (axis, dim) in [(0, shape[0]), (2, shape[2]), (3, shape[3])] {
        if dim != -1 {
            return bad(format!("axis {axis} is fixed at {dim}; it must be free"));
        }
    }
    Ok(())
}

/// One run on a grey tile: a model whose output has another stride, or is no probability, is refused before any
/// piece is judged by it.
fn probe(session: &mut Session, info: &ModelInfo, path: &Path) -> Result<(), ModelError> {
    let (w, h) = (96, 64);
    let output = run(session, [1, 3, h as i64, w as i64], &vec![128.0; 3 * w * h], info, path)?;
    let cells = output.len() / info.classes.len();
    for i in 0..cells {
        let sum: f32 = output.iter().skip(i).step_by(cells).sum();
        if (sum - 1.0).abs() > 1e-3 {
            return Err(ModelError::Shape {
                path: path.to_owned(),
                tensor: "output `probs`".into(),
                message: format!("the classes of one cell sum to {sum}, expected 1"),
            });
        }
    }
    Ok(())
}

/// The tensor of some tiles.
fn cut(image: &Image, plan: &Plan, chunk: &[tiles::Tile]) -> (Shape, Vec<f32>) {
    let (w, h) = (plan.width, plan.height);
    let mut data = vec![0.0; chunk.len() * 3 * w * h];
    for (tile, out) in chunk.iter().zip(data.chunks_exact_mut(3 * w * h)) {
        tiles::cut(image, tile, w, h, out);
    }
    ([chunk.len() as i64, 3, h as i64, w as i64], data)
}

/// One call of the runtime: the output as it lies in memory, checked for shape and for values that are no
/// probability.
fn run(
    session: &mut Session,
    shape: Shape,
    data: &[f32],
    info: &ModelInfo,
    path: &Path,
) -> Result<Vec<f32>, ModelError> {
    let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
    let input = TensorRef::from_array_view((shape, data)).map_err(failed)?;
    let outputs = session.run(ort::inputs![input]).map_err(failed)?;
    let (got, probs) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
    let s = info.output_stride as i64;
    let expected = [shape[0], info.classes.len() as i64, shape[2] / s, shape[3] / s];
    let bad =
        |message: String| Err(ModelError::Shape { path: path.to_owned(), tensor: "output `probs`".into(), message });
    if got[..] != expected {
        return bad(format!("has the shape {got:?} for an image {shape:?}, expected {expected:?}"));
    }
    // A NaN fails this too.
    if !probs.iter().all(|p| (-1e-4..=1.0001).contains(p)) {
        return bad("holds values that are no probability".into());
    }
    Ok(probs.to_vec())
}
