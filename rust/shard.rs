//! Shards: immutable safetensors files of rows, mapped into memory.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::map::map_shard;
use crate::read::{Header, Source};

/// The one tensor of a shard.
const ROWS: &str = "rows";
/// Data begins at a multiple of this many bytes: a cache line, and more than any vector unit asks for.
const ALIGNMENT: usize = 64;

/// The bytes in front of the data of a shard of `rows` rows of `dim` numbers.
pub fn header(rows: usize, dim: usize) -> Vec<u8> {
    let bytes = rows as u64 * dim as u64 * size_of::<f32>() as u64;
    let mut json = format!(
        r#"{{"{ROWS}":{{"dtype":"F32","shape":[{rows},{dim}],"data_offsets":[0,{bytes}]}}}}"#
    );
    // The format allows spaces after the header.
    let unpadded = size_of::<u64>() + json.len();
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    json.push_str(&" ".repeat(padding));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    header
}

/// One mapped shard, [rows, dim] f32.
#[derive(Debug)]
pub struct Shard {
    map: Mmap,
    data: Range<usize>,
    rows: usize,
    dim: usize,
}

impl Shard {
    /// Maps the shard at `path`, which must hold exactly one F32 tensor `rows` of two axes.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let header = Header::read(&source)?;
        let not_a_shard = || {
            source.refuse(format!(
                "not a shard of a bank; accepted: exactly one F32 tensor {ROWS:?} of two axes"
            ))
        };
        let [tensor] = &header.tensors[..] else {
            return Err(not_a_shard());
        };
        let ("F32", ROWS, &[rows, dim]) =
            (tensor.dtype.name(), tensor.name.as_str(), &tensor.shape[..])
        else {
            return Err(not_a_shard());
        };
        let map = map_shard(source.file()).map_err(Error::io(path))?;
        let data = tensor.begin as usize..tensor.end as usize;
        // Also checks that the file is still as long as its header said, and its numbers aligned.
        let numbers = map.get(data.clone()).and_then(as_numbers);
        numbers.ok_or_else(not_a_shard)?;
        Ok(Self {
            map,
            data,
            rows,
            dim,
        })
    }

    /// Rows in this shard.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// D, the numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All rows, [rows · dim], in the map.
    pub fn numbers(&self) -> &[f32] {
        as_numbers(&self.map[self.data.clone()]).expect("checked when the shard was opened")
    }
}

fn as_numbers(bytes: &[u8]) -> Option<&[f32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// The rows of several shards, one after the other.
#[derive(Debug)]
pub struct Rows<'a> {
    /// For each shard, the index of its first row, and its numbers.
    parts: Vec<(usize, &'a [f32])>,
    len: usize,
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Strings the shards together; each must have rows of `dim` numbers.
    pub fn new(shards: impl IntoIterator<Item = &'a Shard>, dim: usize) -> Result<Self> {
        let mut parts = Vec::new();
        let mut len = 0;
        for shard in shards {
            if shard.dim != dim {
                let found = shard.dim;
                return Err(Error::Value(format!(
                    "a shard has rows of {found} numbers; accepted: {dim}, as in the layout"
                )));
            }
            parts.push((len, shard.numbers()));
            len += shard.rows;
        }
        Ok(Self { parts, len, dim })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// D, the numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `index`, [D], in its shard's map.
    pub fn row(&self, index: usize) -> &'a [f32] {
        let part = self.parts.partition_point(|&(first, _)| first <= index) - 1;
        let (first, numbers) = self.parts[part];
        &numbers[(index - first) * self.dim..][..self.dim]
    }

    /// Checks indices that come from outside.
    pub fn check_indices(&self, indices: &[i64]) -> Result<Vec<usize>> {
        let check = |&index: &i64| {
            let valid = usize::try_from(index).ok().filter(|&i| i < self.len);
            valid.ok_or(Error::Index {
                index,
                rows: self.len,
            })
        };
        indices.iter().map(check).collect()
    }
}
