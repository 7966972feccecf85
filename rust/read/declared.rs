//! Describes what a file of weights declares, whatever its format: named views of storages, not yet read.

use std::collections::HashMap;
use std::ops::Range;

use super::source::Source;
use super::weights::rest::Rest;
use super::zip::local;
use crate::dtype::DType;
use crate::error::Result;

/// The formats that are read. None of them runs code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A safetensors file.
    Safetensors,
    /// A zip archive as `torch.save` writes since torch 1.6.
    Torch,
    /// A stream of pickles and storages, as `torch.save` wrote before.
    TorchLegacy,
}

impl Format {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "torch",
            Self::TorchLegacy => "torch-legacy",
        }
    }
}

/// Which of several dictionaries of tensors in one file is wanted.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The dictionary; decides alone.
    pub key: Option<Key>,
    /// Whether averaged (EMA) weights must be taken, or must not; by default they are, if there are any.
    pub ema: Option<bool>,
    /// Whether the file is one of several with parts of a state dict, of which none knows what the others hold.
    pub is_shard: bool,
}

/// What leads to a dictionary of tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// As [`Candidate::key`] has it, the beginning or last component of it, or what names in the dictionary
    /// begin with: what people write.
    Joined(String),
    /// As [`Weights::keys`] has it.
    Path(Vec<String>),
}

/// A dictionary of tensors in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The keys that lead to it, none for the top level; each may have a `.` in it.
    pub keys: Vec<String>,
    /// Tensors in it.
    pub tensors: usize,
    /// Numbers in all of them.
    pub numbers: u64,
}

impl Candidate {
    /// Its keys, joined by `.`; empty for the top level.
    pub fn key(&self) -> String {
        self.keys.join(".")
    }
}

/// A run of bytes in a file, shared by the tensors that are views of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Index of the file, where a checkpoint has several.
    pub file: usize,
    /// Where its bytes begin.
    pub begin: Begin,
    /// Bytes in it; the reader of the container has checked that the file has them.
    pub len: u64,
    /// CRC-32 of all its bytes, where the container records one.
    pub crc: Option<u32>,
}

/// Where the bytes of a storage begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At this byte of the file.
    At(u64),
    /// After the local header of a zip entry, whose length the directory does not tell. Reading it
    /// can wait until the data are wanted, and then costs little beside them.
    AfterHeader {
        /// First byte of the header.
        header: u64,
        /// Where the data must have ended, because something else begins.
        limit: u64,
        /// The name that the header must repeat.
        name: String,
    },
    /// Nowhere as they are: the characters of a text in another storage are the bytes (see [`super::latin1`]).
    Text {
        /// The storage.
        of: Box<Storage>,
        /// First byte of the text in it.
        at: u64,
        /// Bytes of the text.
        len: u64,
    },
}

impl Storage {
    /// Its bytes in the file that it is in, or the text of them; of a zip entry the local header is read and
    /// checked.
    pub fn resolve(&self, source: &Source) -> Result<Range<u64>> {
        match &self.begin {
            Begin::At(begin) => Ok(*begin..begin + self.len),
            Begin::AfterHeader {
                header,
                limit,
                name,
            } => local::locate(source, name, *header, self.len, *limit),
            Begin::Text { of, at, len } => {
                let begin = of.resolve(source)?.start + at;
                Ok(begin..begin + len)
            }
        }
    }
}

impl Begin {
    /// The same place, counted from `by` bytes further in front.
    pub fn shifted(self, by: u64) -> Self {
        match self {
            Self::At(at) => Self::At(at + by),
            Self::AfterHeader {
                header,
                limit,
                name,
            } => Self::AfterHeader {
                header: header + by,
                limit: limit + by,
                name,
            },
            Self::Text { of, at, len } => {
                let begin = of.begin.shifted(by);
                Self::Text {
                    of: Box::new(Storage { begin, ..*of }),
                    at,
                    len,
                }
            }
        }
    }
}

/// A named view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Name without wrappers (see [`super::names`]); neither empty nor with a NUL in it, never a path.
    pub name: String,
    /// Name as the file has it, in its dictionary.
    pub source_name: String,
    /// Index of the dictionary in [`Weights::parts`].
    pub part: usize,
    /// Element type.
    pub dtype: DType,
    /// Axis sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Index into [`Weights::storages`].
    pub storage: usize,
    /// Bytes from the beginning of the storage to the first element.
    pub offset: u64,
    /// Elements, not bytes, between neighbours on each axis; `None` if the elements lie in C order,
    /// without gaps. Readers of containers give `None` wherever that is so.
    pub strides: Option<Vec<usize>>,
}

impl Tensor {
    /// Bytes that its elements take, side by side.
    pub fn byte_len(&self) -> u64 {
        let bytes = self.dtype.byte_len(&self.shape);
        bytes.expect("checked by the reader of the container")
    }

    /// Whether it is all of a storage of `len` bytes, each once, in whatever order of its axes.
    pub fn is_whole(&self, len: u64) -> bool {
        let Some(strides) = &self.strides else {
            return self.byte_len() == len;
        };
        let axes = self.shape.iter().zip(strides);
        let mut axes: Vec<(usize, usize)> = axes
            .filter(|&(&size, _)| size != 1)
            .map(|(&size, &stride)| (stride, size))
            .collect();
        axes.sort_unstable();
        let mut next = Some(1);
        for (stride, size) in axes {
            next = next.filter(|&next| next == stride);
            next = next.and_then(|next: usize| next.checked_mul(size));
        }
        next.is_some() && self.byte_len() == len
    }
}

/// For each tensor, the first one that is the very same view of the same memory, if there is one before it.
pub fn ties(tensors: &[Tensor]) -> Vec<Option<usize>> {
    let mut first = HashMap::with_capacity(tensors.len());
    let mut ties = Vec::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        let Tensor {
            dtype,
            shape,
            storage,
            offset,
            strides,
            ..
        } = tensor;
        let view = (storage, offset, dtype, shape, strides);
        // Tensors without elements share no memory.
        let tied = !shape.contains(&0);
        let other = tied.then(|| *first.entry(view).or_insert(index));
        ties.push(other.filter(|&other| other != index));
    }
    ties
}

/// The chosen dictionaries of a file (or of several that belong together), checked but not read.
#[derive(Debug)]
pub struct Weights {
    /// What kind of file it was.
    pub format: Format,
    /// The keys that lead to all chosen dictionaries, as in [`Candidate::keys`]; the last one may be what names
    /// begin with.
    pub keys: Vec<String>,
    /// The keys of each chosen dictionary, which is the only one but where several are parts of one network.
    pub parts: Vec<Vec<String>>,
    /// What the names that are taken begin with, dot included; empty for all.
    pub inside: String,
    /// Whether there are averaged (EMA) weights among them, by keys and names.
    pub averaged: bool,
    /// Every dictionary of tensors that the file holds, the chosen one included.
    pub candidates: Vec<Candidate>,
    /// Storages that the tensors are views of.
    pub storages: Vec<Storage>,
    /// Tensors in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Dictionaries of tensors, and beginnings of names in the chosen ones, that were not taken, by their keys.
    pub passed_over: Vec<String>,
    /// Entries that are no weights (`_extra_state`, counters), by name.
    pub left_out: Vec<String>,
    /// What stands beside the weights in a torch file.
    pub rest: Rest,
    /// Plain finite numbers beside the weights, or in the metadata: accuracy, step, epoch.
    pub numbers: Vec<(String, f64)>,
    /// The free text of a safetensors header.
    pub metadata: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whole_is_each_element_once(
            axes in prop::collection::vec((1_usize..4, 0_usize..10), 0..4),
            count in 1_usize..30,
        ) {
            let (shape, strides): (Vec<_>, Vec<_>) = axes.iter().copied().unzip();
            let mut places = vec![0];
            for &(size, stride) in &axes {
                places = places.iter().flat_map(|at| (0..size).map(move |i| at + i * stride)).collect();
            }
            places.sort_unstable();
            let tensor = Tensor {
                name: "a".into(),
                source_name: "a".into(),
                part: 0,
                dtype: DType::parse("F32").unwrap(),
                shape,
                storage: 0,
                offset: 0,
                strides: Some(strides),
            };
            for count in [count, places.len()] {
                let expected = places == (0..count).collect::<Vec<_>>();
                prop_assert_eq!(tensor.is_whole(4 * count as u64), expected);
            }
        }
    }
}
