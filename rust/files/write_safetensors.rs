//! Writes safetensors files: whole checkpoints of any format, or tensors in memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::durable::Durable;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::read::source::CHUNK;
use crate::read::{Checkpoint, Origin, Tensor};
use crate::runtime::parallel::Cancel;

/// Data begins at a multiple of this many bytes, as the safetensors library has it.
const ALIGNMENT: usize = 8;

/// Something that becomes a tensor of the file.
pub trait Entry {
    /// Its name.
    fn name(&self) -> &str;
    /// Its element type.
    fn dtype(&self) -> DType;
    /// Its axis sizes.
    fn shape(&self) -> &[usize];
    /// Bytes that it takes.
    fn byte_len(&self) -> u64;
}

/// A tensor in memory.
#[derive(Debug)]
pub struct InMemory<'a> {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its axis sizes.
    pub shape: Vec<usize>,
    /// Its elements in C order, little-endian.
    pub bytes: &'a [u8],
}

impl Entry for InMemory<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn byte_len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Entry for &Tensor {
    fn name(&self) -> &str {
        &self.name
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn byte_len(&self) -> u64 {
        Tensor::byte_len(self)
    }
}

/// Writes the checkpoint at `origin` to `path`, durably, under its plain names, in bounded memory.
///
/// Tied tensors are written under each of their names. The same content gives the same bytes.
pub fn write_checkpoint(
    path: &Path,
    origin: &Origin,
    metadata: &BTreeMap<String, String>,
    cancel: &Cancel,
) -> Result<()> {
    let checkpoint = origin.open(cancel)?;
    let tensors = checkpoint.sorted().collect();
    let mut scratch = Vec::new();
    write(path, tensors, metadata, |tensor, out| {
        copy(&checkpoint, tensor, &mut scratch, cancel, |bytes| {
            out.write_all(bytes).map_err(Error::io(path))
        })
    })
}

/// Streams one tensor into `sink`; after the last one the files must be what they were.
fn copy(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    scratch: &mut Vec<u8>,
    cancel: &Cancel,
    mut sink: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = checkpoint.reader(tensor, cancel)?;
    while reader.left() > 0 {
        cancel.check()?;
        sink(reader.next_chunk(CHUNK, scratch)?)?;
    }
    checkpoint.check_unchanged()
}

/// Writes tensors in memory to `path`, durably. The same content gives the same bytes.
///
/// Fails if a tensor's bytes are not those of its dtype and shape.
pub fn write_tensors(
    path: &Path,
    mut tensors: Vec<InMemory<'_>>,
    metadata: &BTreeMap<String, String>,
    cancel: &Cancel,
) -> Result<()> {
    for tensor in &tensors {
        if tensor.dtype.byte_len(&tensor.shape) != Some(tensor.byte_len()) {
            return Err(Error::Value(format!(
                "tensor {:?} has {} bytes; accepted: those of {} {:?}",
                tensor.name,
                tensor.byte_len(),
                tensor.dtype.name(),
                tensor.shape
            )));
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    write(path, tensors, metadata, |tensor, out| {
        for bytes in tensor.bytes.chunks(CHUNK) {
            cancel.check()?;
            out.write_all(bytes).map_err(Error::io(path))?;
        }
        Ok(())
    })
}

/// Writes a file of `tensors`, which are in order of name; `data` writes the bytes of each.
fn write<T: Entry>(
    path: &Path,
    mut tensors: Vec<T>,
    metadata: &BTreeMap<String, String>,
    mut data: impl FnMut(&T, &mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    // Wide elements first, so that each tensor lies at a multiple of its elements' size.
    tensors.sort_by_key(|tensor| Reverse(tensor.dtype().item_bytes()));
    let durable = Durable::create(path)?;
    let mut out = BufWriter::with_capacity(CHUNK, durable.file());
    let header = header(&tensors, metadata);
    out.write_all(&header).map_err(Error::io(path))?;
    for tensor in &tensors {
        data(tensor, &mut out)?;
    }
    out.flush().map_err(Error::io(path))?;
    drop(out);
    durable.commit()
}

/// The length of the header and the header, padded.
pub fn header<T: Entry>(tensors: &[T], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut root = Map::new();
    if !metadata.is_empty() {
        root.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.byte_len();
        let entry = json!({
            "dtype": tensor.dtype().name(),
            "shape": tensor.shape(),
            "data_offsets": [offset, end],
        });
        root.insert(tensor.name().to_owned(), entry);
        offset = end;
    }
    let mut json = Value::Object(root).to_string();
    let padding = json.len().next_multiple_of(ALIGNMENT) - json.len();
    json.push_str(&" ".repeat(padding));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::declared::Begin;
    use crate::read::origin_of;
    use crate::testing::{Folder, f32s, safetensors};

    #[test]
    fn what_is_written_is_what_was_read() {
        let folder = Folder::new();
        let big: Vec<f32> = (0..CHUNK as u32).map(|i| i as f32).collect();
        let source = origin_of(folder.write(
            "a",
            &safetensors(&[
                ("flag", "BOOL", &[3], vec![1, 0, 1]),
                f32s("module.é\"/..", &[CHUNK], &big),
                ("step", "I64", &[], 7_i64.to_le_bytes().to_vec()),
            ]),
        ));
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let path = folder.path("b");
        let cancel = Cancel::default();
        for _ in 0..2 {
            write_checkpoint(&path, &source, &metadata, &cancel).unwrap();
        }
        let again = origin_of(path.clone()).open(&cancel).unwrap();
        let original = source.open(&cancel).unwrap();
        assert_eq!(again.kind(), original.kind());
        assert_eq!(again.weights().metadata, [("format".into(), "pt".into())]);
        for (tensor, theirs) in original.sorted().zip(again.sorted()) {
            let read = |checkpoint: &Checkpoint, tensor| checkpoint.bytes(tensor, &cancel).unwrap();
            assert_eq!(read(&original, tensor), read(&again, theirs));
            let storage = &again.weights().storages[theirs.storage];
            let Begin::At(begin) = storage.begin else {
                panic!("{storage:?}")
            };
            assert_eq!(begin % theirs.dtype.item_bytes() as u64, 0);
        }
        assert_eq!(folder.names(), ["a", "b"]);
    }
}
