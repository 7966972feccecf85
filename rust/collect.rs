//! Streams tensors of many checkpoints into the rows of one shard, in bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{Layout, Segment};
use crate::parallel::{Cancel, try_map};
use crate::read::{Header, Source, TensorInfo};
use crate::shard;
use crate::write::Durable;

/// Source bytes read at a time, and the row bytes that are gathered before they are written.
const CHUNK: usize = 1 << 20;

/// What to do with a NaN or an infinity, also one that appears when F64 is narrowed to f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    Refuse,
    /// Keep it.
    Allow,
}

/// Writes the layout's tensors of each source as one row of a new shard at `path`, durably.
///
/// Rows are read in parallel and written by position, so a few MiB a thread are enough for any D.
/// Returns each row's BLAKE3 of the source bytes in the order of the layout. On failure nothing is left.
pub fn write_shard(
    path: &Path,
    layout: &Layout,
    sources: &[PathBuf],
    non_finite: NonFinite,
    cancel: &Cancel,
) -> Result<Vec<String>> {
    if sources.is_empty() {
        return Err(Error::Value("no sources; accepted: at least one".into()));
    }
    let row_bytes = layout.dim() * size_of::<f32>();
    if sources.len().checked_mul(row_bytes).is_none() {
        return Err(Error::Value("more rows than any file can hold".into()));
    }
    let durable = Durable::create(path)?;
    let header = shard::header(sources.len(), layout.dim());
    let write = durable.file().write_all_at(&header, 0);
    write.map_err(Error::io(path))?;

    let rows: Vec<(usize, &PathBuf)> = sources.iter().enumerate().collect();
    let digests = try_map(&rows, cancel, |&(row, source)| {
        let output = Output {
            path,
            file: durable.file(),
            position: (header.len() + row * row_bytes) as u64,
            pending: Vec::new(),
        };
        RowCopy::new(Source::open(source)?, output, non_finite, cancel).run(layout)
    })?;
    durable.commit()?;
    Ok(digests)
}

/// The place of one row in the shard, filled from the left.
struct Output<'a> {
    path: &'a Path,
    file: &'a File,
    position: u64,
    pending: Vec<f32>,
}

impl Output<'_> {
    fn flush(&mut self) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.pending);
        let write = self.file.write_all_at(bytes, self.position);
        write.map_err(Error::io(self.path))?;
        self.position += bytes.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// The copying of one source into one row.
struct RowCopy<'a> {
    source: Source,
    output: Output<'a>,
    non_finite: NonFinite,
    cancel: &'a Cancel,
    hasher: blake3::Hasher,
    chunk: Vec<u8>,
}

impl<'a> RowCopy<'a> {
    fn new(source: Source, output: Output<'a>, non_finite: NonFinite, cancel: &'a Cancel) -> Self {
        Self {
            source,
            output,
            non_finite,
            cancel,
            hasher: blake3::Hasher::new(),
            chunk: Vec::new(),
        }
    }

    /// Copies every tensor of the layout and returns the digest of their bytes.
    fn run(mut self, layout: &Layout) -> Result<String> {
        let header = Header::read(&self.source)?;
        for segment in layout.segments() {
            let tensor = self.find(&header, segment)?;
            let bad = self.copy(segment, tensor)?;
            if bad > 0 && self.non_finite == NonFinite::Refuse {
                let Segment { name, columns, .. } = segment;
                return Err(self.source.refuse(format!(
                    "tensor {name:?} holds NaN or infinity ({bad} of {} values, as f32); \
                     accepted: finite values",
                    columns.len()
                )));
            }
        }
        self.output.flush()?;
        self.source.check_unchanged()?;
        Ok(self.hasher.finalize().to_hex().to_string())
    }

    /// The tensor of `segment`, which must have its dtype and shape.
    fn find<'h>(&self, header: &'h Header, segment: &Segment) -> Result<&'h TensorInfo> {
        let Segment {
            name, dtype, shape, ..
        } = segment;
        let missing = || self.source.refuse(format!("holds no tensor {name:?}"));
        let tensor = header.find(name).ok_or_else(missing)?;
        if (tensor.dtype.name(), &tensor.shape) != (dtype.name(), shape) {
            return Err(self.source.refuse(format!(
                "tensor {name:?} is {} {:?}; accepted: {} {shape:?}, as in the layout",
                tensor.dtype.name(),
                tensor.shape,
                dtype.name(),
            )));
        }
        Ok(tensor)
    }

    /// Streams one tensor into the row and returns how many values are not finite there.
    fn copy(&mut self, segment: &Segment, tensor: &TensorInfo) -> Result<usize> {
        let mut bad = 0;
        let mut offset = tensor.begin;
        while offset < tensor.end {
            self.cancel.check()?;
            let size = (tensor.end - offset).min(CHUNK as u64) as usize;
            self.chunk.resize(size, 0);
            self.source.read_exact_at(&mut self.chunk, offset)?;
            self.hasher.update(&self.chunk);
            let pending = &mut self.output.pending;
            let known = pending.len();
            segment.dtype.extend_f32(&self.chunk, pending);
            bad += pending[known..].iter().filter(|v| !v.is_finite()).count();
            if size_of_val(&pending[..]) >= CHUNK {
                self.output.flush()?;
            }
            offset += size as u64;
        }
        Ok(bad)
    }
}

#[cfg(test)]
mod tests;
