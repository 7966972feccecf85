//! Opens the files of one state dict as a checkpoint.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::declared::{Choice, Key, Tensor, Weights};
use super::detect;
use super::names::{self, Plain};
use super::origin::Origin;
use super::reader::{self, TensorReader};
use super::room::Room;
use super::source::{CHUNK, Source};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::memory;
use crate::os::Stamp;
use crate::runtime::parallel::Cancel;

/// Open files, and the weights that they declare.
#[derive(Debug)]
pub struct Checkpoint {
    sources: Vec<Source>,
    weights: Weights,
    /// Wrappers that were removed from names, each with the number of names.
    pub prefixes: Vec<(String, usize)>,
    by_name: Vec<usize>,
    ema: Option<bool>,
    /// For each storage, whether its CRC is known to be right.
    verified: Vec<AtomicBool>,
}

impl Checkpoint {
    /// Opens the files of one state dict.
    pub fn open(files: &[PathBuf], choice: &Choice, cancel: &Cancel) -> Result<Self> {
        let sources = files.iter().map(|path| Source::open(path));
        Self::read(sources.collect::<Result<_>>()?, choice, cancel)
    }

    /// Reads what the files of one state dict declare.
    fn read(sources: Vec<Source>, choice: &Choice, cancel: &Cancel) -> Result<Self> {
        let Some(first) = sources.first() else {
            return Err(Error::Value("no files; accepted: at least one".into()));
        };
        let mut room = Room::default();
        let mut weights = detect::together(&sources, choice, &mut room, cancel)?;
        let prefixes = name_plainly(&mut weights).map_err(|message| first.refuse(message))?;
        detect::leave_out_average_count(&mut weights);
        let mut by_name: Vec<usize> = (0..weights.tensors.len()).collect();
        by_name.sort_unstable_by(|&a, &b| weights.tensors[a].name.cmp(&weights.tensors[b].name));
        let verified = weights.storages.iter().map(|_| AtomicBool::new(false));
        Ok(Self {
            verified: verified.collect(),
            sources,
            weights,
            prefixes,
            by_name,
            ema: choice.ema,
        })
    }

    /// What the files declare.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What the files declare, the files being closed.
    pub fn into_weights(self) -> Weights {
        self.weights
    }

    /// Where it is, to be opened again.
    pub fn origin(&self) -> Origin {
        Origin {
            files: self.sources.iter().map(|s| s.path().to_owned()).collect(),
            keys: self.weights.keys.clone(),
            ema: self.ema,
            stamps: self.sources.iter().map(Source::stamp).collect(),
        }
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.sources.iter().map(Source::size).sum()
    }

    /// The tensor of that plain name, or an error that names the file.
    pub fn find(&self, name: &str) -> Result<&Tensor> {
        let tensors = &self.weights.tensors;
        let at = self
            .by_name
            .binary_search_by(|&i| tensors[i].name.as_str().cmp(name));
        let missing = |_| self.refuse(format!("holds no tensor {name:?}"));
        Ok(&tensors[self.by_name[at.map_err(missing)?]])
    }

    /// Tensors in the order of their plain names.
    pub fn sorted(&self) -> impl Iterator<Item = &Tensor> {
        self.by_name.iter().map(|&i| &self.weights.tensors[i])
    }

    /// The bytes of a tensor of this checkpoint, in C order.
    pub fn reader<'a>(
        &'a self,
        tensor: &'a Tensor,
        cancel: &'a Cancel,
    ) -> Result<TensorReader<'a>> {
        self.open_tensor(tensor, false, cancel)
    }

    /// The same for a few of the bytes, which does not cost more than they do: no CRC is verified.
    pub fn sampler<'a>(
        &'a self,
        tensor: &'a Tensor,
        cancel: &'a Cancel,
    ) -> Result<TensorReader<'a>> {
        self.open_tensor(tensor, true, cancel)
    }

    fn open_tensor<'a>(
        &'a self,
        tensor: &'a Tensor,
        sample: bool,
        cancel: &'a Cancel,
    ) -> Result<TensorReader<'a>> {
        let storage = &self.weights.storages[tensor.storage];
        let verified = &self.verified[tensor.storage];
        let source = &self.sources[storage.file];
        reader::open(source, storage, tensor, verified, sample, cancel)
    }

    /// The whole storage of `tensor` if the tensor is exactly that and its CRC is recorded: CRC and length.
    ///
    /// Two tensors whose strides differ have their elements in another order there.
    pub fn recorded_crc(&self, tensor: &Tensor) -> Option<(u32, u64)> {
        let storage = &self.weights.storages[tensor.storage];
        let crc = storage.crc.filter(|_| tensor.is_whole(storage.len))?;
        Some((crc, storage.len))
    }

    /// BLAKE3 over names, dtypes and shapes in order of name.
    pub fn kind(&self) -> String {
        let mut fields = Fingerprint::default();
        for tensor in self.sorted() {
            fields.tensor(&tensor.name, tensor.dtype.name(), &tensor.shape);
        }
        fields.finish()
    }

    /// The bytes of a tensor in memory.
    pub fn bytes(&self, tensor: &Tensor, cancel: &Cancel) -> Result<Vec<u8>> {
        let what = format!("tensor {:?}", tensor.source_name);
        let room = memory::room(tensor.byte_len() as usize, &what);
        let mut bytes = room.map_err(|message| self.refuse(message))?;
        let mut reader = self.reader(tensor, cancel)?;
        let mut scratch = Vec::new();
        while reader.left() > 0 {
            cancel.check()?;
            bytes.extend_from_slice(reader.next_chunk(CHUNK, &mut scratch)?);
        }
        Ok(bytes)
    }

    /// Refuses files that were written to since they were opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.sources.iter().try_for_each(Source::check_unchanged)
    }

    /// Refuses the content of this checkpoint.
    pub fn refuse(&self, message: impl Into<String>) -> Error {
        self.sources[0].refuse(message)
    }

    /// What to call it in a message about another one.
    pub fn path(&self) -> &Path {
        self.sources[0].path()
    }
}

/// Gives tensors their plain names: without wrappers, below the keys that lead to all; returns what was removed.
fn name_plainly(weights: &mut Weights) -> std::result::Result<Vec<(String, usize)>, String> {
    let (mut prefixes, mut seen) = (Vec::<(String, usize)>::new(), HashSet::new());
    for tensors in weights.tensors.chunk_by_mut(|a, b| a.part == b.part) {
        let keys = &weights.parts[tensors[0].part];
        let inner = tensors
            .iter()
            .map(|t| &t.source_name[weights.inside.len()..]);
        let Plain { names, removed } = names::plain(&inner.collect::<Vec<_>>())?;
        let outer = keys.get(weights.keys.len()..).unwrap_or_default();
        for (tensor, name) in tensors.iter_mut().zip(names) {
            tensor.name = [outer, &[name]].concat().join(".");
            if weights.parts.len() > 1 && !seen.insert(tensor.name.clone()) {
                return Err(format!(
                    "{:?} is there twice, in two dictionaries",
                    tensor.name
                ));
            }
        }
        for (prefix, count) in removed {
            match prefixes.iter_mut().find(|(known, _)| *known == prefix) {
                Some((_, all)) => *all += count,
                None => prefixes.push((prefix, count)),
            }
        }
    }
    Ok(prefixes)
}

impl Origin {
    /// Opens the checkpoint again; files that have changed since are refused.
    pub fn open(&self, cancel: &Cancel) -> Result<Checkpoint> {
        let open = |(path, stamp): (&PathBuf, &Stamp)| {
            let source = Source::open(path)?;
            source.check_stamp(stamp)?;
            Ok(source)
        };
        let sources = self.files.iter().zip(&self.stamps).map(open);
        let choice = Choice {
            key: Some(Key::Path(self.keys.clone())),
            ema: self.ema,
            ..Choice::default()
        };
        Checkpoint::read(sources.collect::<Result<_>>()?, &choice, cancel)
    }
}

/// Where the checkpoint in a file of valid weights is.
#[cfg(test)]
pub fn origin_of(path: PathBuf) -> Origin {
    let checkpoint = Checkpoint::open(&[path], &Choice::default(), &Cancel::default());
    checkpoint.unwrap().origin()
}
