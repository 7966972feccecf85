//! Maps shards: immutable safetensors files of rows.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::bank::precision::{Numbers, Precision};
use crate::error::{Error, Result};
use crate::files::map::{ROWS, map_shard, release};
use crate::read::Source;

/// Data begins at a multiple of this many bytes: a cache line, and more than any vector unit asks for.
const ALIGNMENT: usize = 64;
/// Bytes of rows that stay in the process once they were read: of more, pages are released behind a pass.
const RESIDENT: usize = 1 << 31;
/// Bytes of all rows that are released together.
const RELEASED: usize = 1 << 26;
/// Numbers of a row that are released together, at least.
const PIECE: usize = 1 << 12;

/// The bytes in front of the data of a shard of `rows` rows of `dim` numbers.
pub fn header(precision: Precision, rows: usize, dim: usize) -> Vec<u8> {
    let (dtype, size) = (precision.name(), precision.size() as u64);
    let bytes = rows as u64 * dim as u64 * size;
    let mut json = format!(
        r#"{{"{ROWS}":{{"dtype":"{dtype}","shape":[{rows},{dim}],"data_offsets":[0,{bytes}]}}}}"#
    );
    // The format allows spaces after the header.
    let unpadded = size_of::<u64>() + json.len();
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    json.push_str(&" ".repeat(padding));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    header
}

/// One mapped shard, [rows, dim].
#[derive(Debug)]
pub struct Shard {
    map: Mmap,
    data: Range<usize>,
    precision: Precision,
    rows: usize,
    dim: usize,
}

impl Shard {
    /// Maps the shard at `path`, which must hold exactly one tensor `rows` of two axes.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let not_a_shard = || {
            source.refuse(format!(
                "not a shard of a bank; accepted: exactly one tensor {ROWS:?} of two axes, \
                 F32, F16 or BF16"
            ))
        };
        let (map, tensor) = map_shard(&source)?.ok_or_else(not_a_shard)?;
        let precision = Precision::parse(tensor.dtype.name());
        let (Some(precision), &[rows, dim]) = (precision, &tensor.shape[..]) else {
            return Err(not_a_shard());
        };
        let data = tensor.begin as usize..tensor.end as usize;
        let numbers = map.get(data.clone()).map(|b| Numbers::of(precision, b));
        if numbers.flatten().is_none() {
            return Err(
                source.refuse("its rows are not aligned; accepted: at a multiple of their size")
            );
        }
        Ok(Self {
            map,
            data,
            precision,
            rows,
            dim,
        })
    }

    /// How the numbers are stored.
    pub fn precision(&self) -> Precision {
        self.precision
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
    pub fn numbers(&self) -> Numbers<'_> {
        let bytes = &self.map[self.data.clone()];
        Numbers::of(self.precision, bytes).expect("checked when the shard was opened")
    }

    /// Takes some of the numbers out of the process, until they are used again.
    fn release(&self, numbers: Range<usize>) {
        let size = self.precision.size();
        let begin = self.data.start + numbers.start * size;
        release(&self.map, begin..begin + numbers.len() * size);
    }

    /// The bytes of all rows, in the map.
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.data.clone()]
    }
}

/// The rows of several shards, one after the other.
#[derive(Debug)]
pub struct Rows<'a> {
    /// For each shard, the index of its first row, and its numbers.
    parts: Vec<(usize, Numbers<'a>)>,
    len: usize,
    dim: usize,
    /// The shards, where they are too large to stay in the process.
    released: Vec<&'a Shard>,
}

impl<'a> Rows<'a> {
    /// Strings the shards together; each must have rows of `dim` numbers.
    pub fn new(shards: &[&'a Shard], dim: usize) -> Result<Self> {
        if let Some(odd) = shards.iter().find(|shard| shard.dim != dim) {
            let found = odd.dim;
            return Err(Error::Value(format!(
                "a shard has rows of {found} numbers; accepted: {dim}, as in the layout"
            )));
        }
        let mut rows = Self::from_parts(shards.iter().map(|s| s.numbers()), dim);
        if shards.iter().map(|s| s.data.len()).sum::<usize>() > RESIDENT {
            rows.released = shards.to_vec();
        }
        Ok(rows)
    }

    /// Strings parts of whole rows together.
    pub(crate) fn from_parts(parts: impl Iterator<Item = Numbers<'a>>, dim: usize) -> Self {
        let mut rows = Self {
            parts: Vec::new(),
            len: 0,
            dim,
            released: Vec::new(),
        };
        for numbers in parts {
            rows.parts.push((rows.len, numbers));
            rows.len += numbers.len() / dim;
        }
        rows
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

    /// Columns [begin, end) of row `index`, in its shard's map.
    pub fn part(&self, index: usize, columns: Range<usize>) -> Numbers<'a> {
        let part = self.parts.partition_point(|&(first, _)| first <= index) - 1;
        let (first, numbers) = self.parts[part];
        let begin = (index - first) * self.dim;
        numbers.part(begin + columns.start, begin + columns.end)
    }

    /// Says that a pass down the columns of some rows has read `columns` of them. Where rows are too large to
    /// stay in the process, what lies behind is released, in pieces of some size.
    pub fn passed(&self, rows: Range<usize>, columns: Range<usize>) {
        if self.released.is_empty() || rows.is_empty() {
            return;
        }
        let piece = (RELEASED / (size_of::<f32>() * rows.len())).max(PIECE);
        let last = columns.end == self.dim;
        let begin = columns.start / piece * piece;
        let end = if last {
            self.dim
        } else {
            columns.end / piece * piece
        };
        if begin >= end {
            return;
        }
        for (&(first, _), shard) in self.parts.iter().zip(&self.released) {
            let own = first..first + shard.rows;
            for row in rows.start.max(own.start)..rows.end.min(own.end) {
                let number = (row - first) * self.dim;
                shard.release(number + begin..number + end);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Header;
    use crate::testing::{Folder, Tensor, f32s, safetensors};

    #[test]
    fn the_header_is_aligned_and_says_what_follows() {
        for (rows, dim) in [(1, 1), (300, 2048), (100_000, 11_181_642)] {
            let header = header(Precision::F32, rows, dim);
            assert_eq!(header.len() % ALIGNMENT, 0);
            let bytes = (rows * dim * 4) as u64;
            let parsed = Header::parse(&header[8..], bytes).unwrap();
            assert_eq!(parsed.tensors[0].shape, [rows, dim]);
            assert_eq!(header[..8], (header.len() as u64 - 8).to_le_bytes());
        }
    }

    #[test]
    fn rows_are_read_across_shards() {
        let folder = Folder::new();
        let numbers: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let three = safetensors(&[f32s("rows", &[3, 2], &numbers)]);
        let none = safetensors(&[f32s("rows", &[0, 2], &[])]);
        let three = Shard::open(&folder.write("three", &three)).unwrap();
        let none = Shard::open(&folder.write("none", &none)).unwrap();
        assert_eq!(
            (three.rows(), three.dim(), three.precision()),
            (3, 2, Precision::F32)
        );
        let found = |rows: &Rows<'_>, index| match rows.part(index, 0..2) {
            Numbers::F32(row) => row.to_vec(),
            other => panic!("{other:?}"),
        };

        let rows = Rows::new(&[&none, &three, &none, &three], 2).unwrap();
        assert_eq!(rows.len(), 6);
        assert_eq!(found(&rows, 0), [0.0, 1.0]);
        assert_eq!(found(&rows, 5), [4.0, 5.0]);
        let (Numbers::F32(row), Numbers::F32(all)) = (rows.part(3, 1..2), three.numbers()) else {
            panic!("f32")
        };
        assert_eq!(row.as_ptr(), all[1..].as_ptr(), "no copy");
        assert_eq!(rows.check_indices(&[5, 0, 5]).unwrap(), [5, 0, 5]);
        for index in [-1, 6, i64::MIN] {
            let text = rows.check_indices(&[0, index]).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("row {index} is out of range; the shards hold 6 rows")
            );
        }
        let text = Rows::new(&[&three], 3).unwrap_err().to_string();
        assert!(text.contains("rows of 2 numbers; accepted: 3"), "{text}");
    }

    #[test]
    fn rows_are_the_same_after_their_pages_were_released() {
        let folder = Folder::new();
        let dim = 3 * PIECE + 5;
        let numbers: Vec<f32> = (0..2 * dim).map(|i| i as f32).collect();
        let file = safetensors(&[f32s("rows", &[2, dim], &numbers)]);
        let shard = Shard::open(&folder.write("a", &file)).unwrap();
        let mut rows = Rows::new(&[&shard, &shard], dim).unwrap();
        assert!(rows.released.is_empty(), "small rows stay");
        rows.released = vec![&shard, &shard];
        for columns in [
            0..10,
            10..PIECE,
            PIECE..3 * PIECE + 1,
            3 * PIECE + 1..dim,
            0..dim,
        ] {
            rows.passed(0..4, columns.clone());
            rows.passed(1..3, columns);
            for row in 0..4 {
                let Numbers::F32(found) = rows.part(row, 0..dim) else {
                    panic!("f32")
                };
                assert_eq!(found, &numbers[row % 2 * dim..][..dim]);
            }
        }
    }

    #[test]
    fn other_files_are_no_shards() {
        let folder = Folder::new();
        let rows = f32s("rows", &[1, 2], &[0.0; 2]);
        let files: [&[Tensor<'_>]; 5] = [
            &[],
            &[f32s("row", &[1, 2], &[0.0; 2])],
            &[f32s("rows", &[2], &[0.0; 2])],
            &[("rows", "I32", &[1, 2], vec![0; 8])],
            &[rows, f32s("more", &[1], &[0.0])],
        ];
        for tensors in files {
            let path = folder.write("a", &safetensors(tensors));
            let text = Shard::open(&path).unwrap_err().to_string();
            assert!(
                text.contains("a: not a shard of a bank; accepted: exactly one"),
                "{text}"
            );
        }
        let text = Shard::open(&folder.write("b", b"PK"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("not a safetensors or torch file"), "{text}");
    }

    #[test]
    fn numbers_that_are_not_aligned_are_refused() {
        let folder = Folder::new();
        let mut file = safetensors(&[f32s("rows", &[1, 2], &[0.0; 2])]);
        let length = u64::from_le_bytes(file[..8].try_into().unwrap());
        file[..8].copy_from_slice(&(length + 1).to_le_bytes());
        file.insert(8 + length as usize, b' ');
        let text = Shard::open(&folder.write("a", &file))
            .unwrap_err()
            .to_string();
        assert!(text.contains("its rows are not aligned"), "{text}");
    }
}
