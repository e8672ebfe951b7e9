//! A backbone: an ONNX network whose inner layers say what a place of a picture looks like.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use super::info::Reader;
use super::sessions::{damaged, find_made, Sessions};
use super::{tiles, ModelError};
use crate::hash::sha256_hex;
use crate::vision::{Image, Rect};

/// The file that `script/setup` makes.
pub const BACKBONE_FILE: &str = "backbone.onnx";

/// ImageNet's mean and standard deviation of red, green and blue, for pixels of 0 to 255: what a network that says nothing of
/// itself was most likely trained with.
const IMAGENET: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);

/// Sides of what a network is shown are multiples of this.
pub const GRANULE: usize = 32;

/// What a backbone says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BackboneInfo {
    /// Its name: from its metadata, else the file's.
    pub name: String,
    /// sha256 of its file, lower-case hex.
    pub sha256: String,
    /// The layers that are read, by the names of their tensors.
    pub layers: Vec<String>,
    /// Channels of each.
    pub channels: Vec<usize>,
    /// Pixels per cell of each.
    pub strides: Vec<usize>,
    /// Mean and standard deviation that a pixel of 0 to 255 is brought to zero and one with.
    pub mean: [f32; 3],
    /// See `mean`.
    pub std: [f32; 3],
}

/// What one layer says of a picture: `channels` planes of `width * height` cells.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMap {
    /// Planes.
    pub channels: usize,
    /// Cells along x.
    pub width: usize,
    /// Cells along y.
    pub height: usize,
    /// Plane after plane, row by row.
    pub data: Vec<f32>,
}

/// A loaded backbone, shared by threads.
pub struct Backbone {
    sessions: Sessions,
    input: String,
    info: BackboneInfo,
}

impl std::fmt::Debug for Backbone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backbone").field("path", &self.path()).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Backbone {
    /// Loads an ONNX file and reads it at these layers (tensors anywhere in its graph, outputs or not). Without layers those
    /// its metadata `loupe.layers` names.
    ///
    /// # Errors
    /// [`ModelError`]: the runtime is missing; the file is missing, empty or damaged; a layer is not in it or is no picture.
    pub fn load(path: &Path, layers: Option<&[String]>) -> Result<Self, ModelError> {
        let bytes = Sessions::bytes(path)?;
        let sha256 = sha256_hex(&bytes);
        let plain = Sessions::of(bytes.clone(), path)?;
        let (inputs, outputs, name, layers, mean, std) = plain.with(|session| {
            let metadata = session.metadata().map_err(|e| damaged(path, &e))?;
            let get = |key: &str| metadata.custom(key);
            let r = Reader { get: &get, path };
            let named = |key: &str| get(key).filter(|v| !v.trim().is_empty());
            let three = |key: &str, or: [f32; 3]| -> Result<[f32; 3], ModelError> {
                match named(key) {
                    None => Ok(or),
                    Some(_) => r.json(key),
                }
            };
            let own: Option<Vec<String>> = named("loupe.layers").map(|_| r.json("loupe.layers")).transpose()?;
            let layers = match layers {
                Some(l) => l.to_vec(),
                None => match own {
                    Some(l) => l,
                    None => {
                        return r.bad("loupe.layers", "is missing: name the tensors to read with --layers".into())
                    }
                },
            };
            let (mean, std) = (three("loupe.mean", IMAGENET.0)?, three("loupe.std", IMAGENET.1)?);
            if !std.iter().all(|s| s.is_finite() && *s > 0.0) || !mean.iter().all(|m| m.is_finite()) {
                return r.bad("loupe.std", format!("{std:?} must be above 0"));
            }
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = named("loupe.name").unwrap_or(file);
            let inputs: Vec<String> = session.inputs().iter().map(|i| i.name().to_owned()).collect();
            let outputs: Vec<String> = session.outputs().iter().map(|o| o.name().to_owned()).collect();
            Ok((inputs, outputs, name, layers, mean, std))
        })?;
        let [input] = inputs.as_slice() else {
            return Err(shape(path, "inputs", format!("{inputs:?}; a backbone has one")));
        };
        if layers.is_empty() {
            return Err(shape(path, "layers", "none is named".into()));
        }
        let inner: Vec<&String> = layers.iter().filter(|l| !outputs.contains(l)).collect();
        let sessions = if inner.is_empty() {
            plain
        } else {
            // The file itself runs: what fails now is a layer that it does not have.
            let named = || inner.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
            let missing = |e: ModelError| {
                let e = e.to_string();
                // The runtime names the first that it does not find.
                let of = e.split_once("Graph output (").and_then(|(_, rest)| rest.split_once(')'));
                let message = match of {
                    Some((name, _)) => format!("the network has no tensor `{name}`"),
                    None => format!("{}: {e}", named()),
                };
                shape(path, "layers", message)
            };
            Sessions::of(with_outputs(bytes, &inner), path).map_err(missing)?
        };
        let mut info = BackboneInfo { name, sha256, layers, channels: vec![], strides: vec![], mean, std };
        // A grey picture says what the layers are like.
        let side = 4 * GRANULE;
        let grey = Image { width: side, height: side, data: vec![128; 3 * side * side], grey: true };
        let maps = sessions.with(|s| run(s, input, &info, &grey, path))?;
        for (map, layer) in maps.iter().zip(&info.layers) {
            let stride = side / map.width.max(1);
            if map.width != map.height || map.width < 2 || !side.is_multiple_of(map.width) {
                let message = format!("gives {} x {} cells for {side} x {side} pixels", map.width, map.height);
                return Err(shape(path, layer, message));
            }
            info.channels.push(map.channels);
            info.strides.push(stride);
        }
        Ok(Backbone { sessions, input: input.clone(), info })
    }

    /// Where the backbone of the set-up lies: where a shipped model would, else in `.deps/models/` of a folder above the program or
    /// above the current folder.
    ///
    /// # Errors
    /// [`ModelError::NoBackbone`].
    pub fn default_path() -> Result<PathBuf, ModelError> {
        find_made(BACKBONE_FILE).ok_or(ModelError::NoBackbone)
    }

    /// What it says of itself.
    pub fn info(&self) -> &BackboneInfo {
        &self.info
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.sessions.path()
    }

    /// What its layers say of a picture whose sides are multiples of [`GRANULE`]. One of more than [`TILE`] times [`TILE`] pixels is looked at in tiles that overlap, so that a
    /// large frame takes no more memory than a small one.
    ///
    /// # Errors
    /// [`ModelError::Run`], [`ModelError::Shape`].
    pub fn features(&self, image: &Image) -> Result<Vec<FeatureMap>, ModelError> {
        if image.width * image.height <= TILE * TILE {
            return self.whole(image);
        }
        let BackboneInfo { channels, strides, .. } = &self.info;
        let empty = |(channels, stride): (&usize, &usize)| {
            let (width, height) = (image.width / stride, image.height / stride);
            FeatureMap { channels: *channels, width, height, data: vec![0.0; channels * width * height] }
        };
        let mut out: Vec<FeatureMap> = channels.iter().zip(strides).map(empty).collect();
        let plan = tiles::plan(image.width, image.height, None, TILE, OVERLAP, GRANULE);
        for t in &plan.tiles {
            let seen = self.whole(&image.cut(Rect { x: t.x, y: t.y, width: plan.width, height: plan.height }))?;
            for ((to, from), stride) in out.iter_mut().zip(seen).zip(strides) {
                let kept = [t.kept.x, t.kept.y, t.kept.width, t.kept.height];
                let [x0, y0, w, h] = kept.map(|v| v * GRANULE / stride);
                let (dx, dy) = (x0 - t.x / stride, y0 - t.y / stride);
                for c in 0..to.channels {
                    for row in 0..h {
                        let into = (c * to.height + y0 + row) * to.width + x0;
                        let of = (c * from.height + dy + row) * from.width + dx;
                        to.data[into..into + w].copy_from_slice(&from.data[of..of + w]);
                    }
                }
            }
        }
        Ok(out)
    }

    fn whole(&self, image: &Image) -> Result<Vec<FeatureMap>, ModelError> {
        self.sessions.with(|s| run(s, &self.input, &self.info, image, self.path()))
    }
}

/// Sides of a tile at most, and how many pixels two neighbours share: half of that is about what a cell of a stride of 16 sees of the picture about it.
const TILE: usize = 1024;
const OVERLAP: usize = 256;

fn shape(path: &Path, tensor: &str, message: String) -> ModelError {
    ModelError::Shape { path: path.to_owned(), tensor: tensor.to_owned(), message }
}

fn run(
    session: &mut Session,
    input: &str,
    info: &BackboneInfo,
    image: &Image,
    path: &Path,
) -> Result<Vec<FeatureMap>, ModelError> {
    let failed = |e: ort::Error| ModelError::Run { path: path.to_owned(), message: e.to_string() };
    let plane = image.width * image.height;
    let mut data = vec![0f32; 3 * plane];
    for c in 0..3 {
        let (mean, scale) = (info.mean[c], 1.0 / info.std[c]);
        for (to, from) in data[c * plane..(c + 1) * plane].iter_mut().zip(image.data[c..].iter().step_by(3)) {
            *to = (f32::from(*from) - mean) * scale;
        }
    }
    let tensor =
        TensorRef::from_array_view(([1usize, 3, image.height, image.width], data.as_slice())).map_err(failed)?;
    let outputs = session.run(ort::inputs![input => tensor]).map_err(failed)?;
    info.layers
        .iter()
        .map(|layer| {
            let value = outputs.get(layer).ok_or_else(|| shape(path, layer, "is no output".into()))?;
            let (dims, data) = value.try_extract_tensor::<f32>().map_err(|e| shape(path, layer, e.to_string()))?;
            match **dims {
                [1, c, h, w] if c > 0 && h > 0 && w > 0 => Ok(FeatureMap {
                    channels: c as usize,
                    width: w as usize,
                    height: h as usize,
                    data: data.to_vec(),
                }),
                _ => Err(shape(path, layer, format!("has the shape {:?}, expected [1, C, H, W]", &**dims))),
            }
        })
        .collect()
}

/// The model with more of its tensors as outputs. In protobuf, a message that is written a second time is merged into the
/// first: a graph (field 7 of the model) of nothing but outputs (field 12, a name each) adds them.
fn with_outputs(mut model: Vec<u8>, names: &[&String]) -> Vec<u8> {
    fn block(field: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        let mut n = body.len();
        while n > 0x7f {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend_from_slice(body);
        out
    }
    let outputs: Vec<u8> = names.iter().flat_map(|n| block(12, &block(1, n.as_bytes()))).collect();
    model.extend(block(7, &outputs));
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The set-up's backbone on a frame of more than a megapixel: the tiles say what one look at all of it says.
    #[test]
    fn a_large_picture_in_tiles_is_the_same_picture() {
        let backbone = Backbone::load(&Backbone::default_path().unwrap(), None).unwrap();
        let (width, height) = (1312, 1056);
        let level = |x: usize, y: usize| {
            let wave = (x as f32 / 37.0).sin() * (y as f32 / 23.0).cos() + (x as f32 * y as f32 / 9000.0).sin();
            (128.0 + 50.0 * wave) as u8
        };
        let data = (0..width * height).flat_map(|i| [level(i % width, i / width); 3]).collect();
        let image = Image { width, height, data, grey: true };
        let (tiled, whole) = (backbone.features(&image).unwrap(), backbone.whole(&image).unwrap());
        assert_eq!(tiled.len(), whole.len());
        for (t, w) in tiled.iter().zip(&whole) {
            assert_eq!([t.channels, t.width, t.height], [w.channels, w.width, w.height]);
            let scale = w.data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let off = t.data.iter().zip(&w.data).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
            let (far, n) =
                (t.data.iter().zip(&w.data).filter(|(a, b)| (*a - *b).abs() > 1e-3 * scale).count(), t.data.len());
            assert!(off < 0.1 * scale && 50 * far < n, "{off} of {scale}, {far} of {n}");
        }
        let plan = tiles::plan(width, height, None, TILE, OVERLAP, GRANULE);
        assert!(plan.tiles.len() > 1);
        assert!([plan.width, plan.height].iter().all(|side| *side <= TILE && side % GRANULE == 0));
    }
}
