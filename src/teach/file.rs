//! `part.loupe`: a taught part as one file.
//!
//! Eight bytes `LOUPETAU`, the version (u32), the length of the header (u64), the header as JSON, then numbers (little-endian):
//! the basis (mean, one over deviation, axes), the discriminator (mean, one over deviation, inner weights, bias, outer
//! weights, offset), what is usual about each cell (mean and deviation of the distance's log), the pictures kept (which cells count, a byte each; the codes), and the sha256 of everything before.

use std::path::Path;

use ndarray::{Array1, Array2};
use sha2::{Digest, Sha256};

use crate::hash::sha256_hex;

use super::gallery::{Basis, Gallery, Kept};
use super::net::Net;
use super::{Header, Look, Taught, TeachError};

const MAGIC: &[u8; 8] = b"LOUPETAU";
/// The version of the file that this program reads and writes.
pub const TAUGHT_VERSION: u32 = 4;

impl Taught {
    /// The bytes of the file: the same for the same part.
    ///
    /// # Errors
    /// Where a number of the header is none.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let header = serde_json::to_vec(&self.header)?;
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&TAUGHT_VERSION.to_le_bytes());
        out.extend_from_slice(&(header.len() as u64).to_le_bytes());
        out.extend_from_slice(&header);
        let sizes = [
            self.look.basis.mean.len(),
            self.look.basis.axes.ncols(),
            self.look.net.mean.len(),
            self.look.net.bias.len(),
            self.gallery.pictures.len(),
        ];
        for n in sizes {
            out.extend_from_slice(&(n as u32).to_le_bytes());
        }
        let mut floats = |values: &mut dyn Iterator<Item = f32>| values.for_each(|v| out.extend(v.to_le_bytes()));
        let basis = &self.look.basis;
        floats(&mut basis.mean.iter().copied());
        floats(&mut basis.scale.iter().copied());
        floats(&mut basis.axes.iter().copied());
        floats(&mut [basis.unit, basis.beside].into_iter());
        floats(&mut self.look.net.mean.iter().copied());
        floats(&mut self.look.net.scale.iter().copied());
        floats(&mut self.look.net.inner.iter().copied());
        floats(&mut self.look.net.bias.iter().copied());
        floats(&mut self.look.net.outer.iter().copied());
        floats(&mut std::iter::once(self.look.net.offset));
        floats(&mut self.usual.iter().flatten().copied());
        for p in &self.gallery.pictures {
            out.extend(p.counts.iter().map(|c| u8::from(*c)));
            out.extend(p.codes.iter().map(|c| *c as u8));
        }
        let sum = Sha256::digest(&out);
        out.extend_from_slice(&sum);
        Ok(out)
    }

    /// Reads a taught file.
    ///
    /// # Errors
    /// [`TeachError::Read`], [`TeachError::Damaged`].
    pub fn read(path: &Path) -> Result<Self, TeachError> {
        let bytes = crate::files::read(path).map_err(|source| TeachError::Read { path: path.to_owned(), source })?;
        let mut taught = parse(&bytes).map_err(|message| TeachError::Damaged { path: path.to_owned(), message })?;
        taught.sha256 = sha256_hex(&bytes);
        Ok(taught)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        if n > self.bytes.len() {
            return Err("a damaged taught file: it ends too early".into());
        }
        let (a, b) = self.bytes.split_at(n);
        self.bytes = b;
        Ok(a)
    }

    fn u32(&mut self) -> Result<usize, String> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    }

    fn floats(&mut self, n: usize) -> Result<Vec<f32>, String> {
        let bytes = self.take(n.checked_mul(4).ok_or("a damaged taught file: a size makes no sense")?)?;
        let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if values.iter().all(|v| v.is_finite()) {
            Ok(values)
        } else {
            Err("a damaged taught file: a number in it is none".into())
        }
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Result<Array2<f32>, String> {
        let n = rows.checked_mul(columns).ok_or("a damaged taught file: a size makes no sense")?;
        Array2::from_shape_vec((rows, columns), self.floats(n)?).map_err(|e| e.to_string())
    }
}

fn parse(bytes: &[u8]) -> Result<Taught, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("not a taught file (loupe teach writes one)".into());
    }
    let mut r = Reader { bytes };
    r.take(MAGIC.len())?;
    let version = r.u32()? as u32;
    if version != TAUGHT_VERSION {
        return Err(format!("a taught file of version {version}, this program reads {TAUGHT_VERSION}: teach again"));
    }
    if bytes.len() < 32 {
        return Err("a damaged taught file: it ends too early".into());
    }
    let (body, sum) = bytes.split_at(bytes.len() - 32);
    if Sha256::digest(body).as_slice() != sum {
        return Err("a damaged taught file: its checksum is wrong".into());
    }
    r.bytes = &body[MAGIC.len() + 4..];
    let length = r.take(8)?.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let header = r.take(usize::try_from(length).map_err(|e| e.to_string())?)?;
    let header: Header = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(header))
        .map_err(|e| format!("its header, key `{}`: {}", e.path(), e.inner()))?;
    let (columns, axes, inputs, hidden, pictures) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?, r.u32()?);
    let basis = Basis {
        mean: Array1::from(r.floats(columns)?),
        scale: Array1::from(r.floats(columns)?),
        axes: r.matrix(columns, axes)?,
        unit: r.floats(1)?[0],
        beside: r.floats(1)?[0],
    };
    let kept = basis.kept();
    let net = Net {
        mean: Array1::from(r.floats(inputs)?),
        scale: Array1::from(r.floats(inputs)?),
        inner: r.matrix(inputs, hidden)?,
        bias: Array1::from(r.floats(hidden)?),
        outer: Array1::from(r.floats(hidden)?),
        offset: r.floats(1)?[0],
    };
    let [w, h] = header.grid;
    let cells = w.checked_mul(h).filter(|n| *n > 0).ok_or("a damaged taught file: a size makes no sense")?;
    let usual = r.floats(cells.saturating_mul(2))?.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let mut all = Vec::new();
    for _ in 0..pictures {
        let counts = r.take(cells)?.iter().map(|b| *b != 0).collect();
        let codes = r.take(cells.saturating_mul(kept))?.iter().map(|b| *b as i8).collect();
        all.push(Kept { codes, counts });
    }
    if !r.bytes.is_empty() || all.is_empty() {
        return Err("a damaged taught file: its sizes do not fit".into());
    }
    let look = Look::of(&basis, net).ok_or("a damaged taught file: its sizes do not fit")?;
    Ok(Taught { header, sha256: String::new(), look, gallery: Gallery::new(w, h, kept, all), usual })
}
