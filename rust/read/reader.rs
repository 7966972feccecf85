//! Streams the bytes of one tensor in C order, and verifies their CRC on the way.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use super::declared::{Begin, Storage, Tensor};
use super::latin1;
use super::source::{CHUNK, Source};
use super::strided::Strided;
use crate::error::Result;
use crate::runtime::parallel::Cancel;

/// A tensor that is being read.
#[derive(Debug)]
pub struct TensorReader<'a> {
    bytes: Bytes<'a>,
    left: u64,
}

#[derive(Debug)]
enum Bytes<'a> {
    /// They lie side by side in the file.
    InFile {
        source: &'a Source,
        at: u64,
        check: Option<Check<'a>>,
    },
    /// They lie apart.
    Strided(Strided<'a>),
    /// They were a text, which is decoded whole.
    Decoded { bytes: Vec<u8>, at: usize },
}

/// The CRC of a storage that is being read as a whole.
#[derive(Debug)]
struct Check<'a> {
    hasher: crc32fast::Hasher,
    expected: u32,
    tensor: &'a str,
    verified: &'a AtomicBool,
}

/// Begins to read `tensor`, which is a view of `storage` in `source`.
///
/// A storage whose CRC is recorded is verified once: on the way if the tensor is all of it, else now. Of a
/// `sample` that would cost all of it, so it is not.
pub(super) fn open<'a>(
    source: &'a Source,
    storage: &Storage,
    tensor: &'a Tensor,
    verified: &'a AtomicBool,
    sample: bool,
    cancel: &'a Cancel,
) -> Result<TensorReader<'a>> {
    let left = tensor.byte_len();
    if let Begin::Text { .. } = storage.begin {
        let bytes = latin1::read(source, storage.resolve(source)?, tensor)?;
        return Ok(TensorReader {
            bytes: Bytes::Decoded { bytes, at: 0 },
            left,
        });
    }
    let begin = storage.resolve(source)?.start;
    let unverified = storage
        .crc
        .filter(|_| !sample && !verified.load(Ordering::Relaxed));
    let mut check = unverified.map(|expected| Check {
        hasher: crc32fast::Hasher::new(),
        expected,
        tensor: &tensor.source_name,
        verified,
    });
    let whole = tensor.strides.is_none() && left == storage.len;
    if !whole && let Some(check) = check.take() {
        verify(source, begin, storage.len, check, cancel)?;
    }
    let at = begin + tensor.offset;
    let bytes = match &tensor.strides {
        None => Bytes::InFile { source, at, check },
        Some(strides) => Bytes::Strided(Strided::new(source, at, tensor, strides, cancel)?),
    };
    Ok(TensorReader { bytes, left })
}

impl<'a> TensorReader<'a> {
    /// Bytes that have not been read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Leaves out the next `count` bytes; a CRC that depends on them will not be verified.
    pub fn skip(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.left -= count;
        match &mut self.bytes {
            Bytes::InFile { at, check, .. } => {
                *at += count;
                *check = None;
            }
            Bytes::Strided(strided) => strided.skip(count),
            Bytes::Decoded { at, .. } => *at += count as usize,
        }
    }

    /// The file and the byte of it where the next bytes are, if they lie side by side.
    pub fn place(&self) -> Option<(&'a File, u64)> {
        match self.bytes {
            Bytes::InFile { source, at, .. } => Some((source.file(), at)),
            Bytes::Strided(_) | Bytes::Decoded { .. } => None,
        }
    }

    /// Skips the next bytes, which the caller has read itself: `bytes`, at most as many as are left.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        self.left -= bytes.len() as u64;
        match &mut self.bytes {
            Bytes::InFile { source, at, check } => {
                *at += bytes.len() as u64;
                let Some(running) = check else {
                    return Ok(());
                };
                running.hasher.update(bytes);
                match check.take_if(|_| self.left == 0) {
                    Some(complete) => complete.finish(source),
                    None => Ok(()),
                }
            }
            Bytes::Strided(strided) => {
                strided.skip(bytes.len() as u64);
                Ok(())
            }
            Bytes::Decoded { at, .. } => {
                *at += bytes.len();
                Ok(())
            }
        }
    }

    /// Fills `out` with the next bytes, at most as many as are left.
    pub fn read(&mut self, out: &mut [u8]) -> Result<()> {
        match &mut self.bytes {
            Bytes::InFile { source, at, .. } => source.read_exact_at(out, *at)?,
            Bytes::Strided(strided) => {
                self.left -= out.len() as u64;
                return strided.read(out);
            }
            Bytes::Decoded { bytes, at } => out.copy_from_slice(&bytes[*at..*at + out.len()]),
        }
        self.pass(out)
    }

    /// The next bytes, at most `limit`, in `scratch`; none at the end.
    pub fn next_chunk<'s>(&mut self, limit: usize, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        scratch.resize(self.left.min(limit as u64) as usize, 0);
        self.read(scratch)?;
        Ok(scratch)
    }
}

impl Check<'_> {
    fn finish(self, source: &Source) -> Result<()> {
        let found = self.hasher.finalize();
        if found != self.expected {
            return Err(source.refuse(format!(
                "tensor {:?} is damaged: its CRC-32 is {found:08x}, the archive says {:08x}",
                self.tensor, self.expected
            )));
        }
        self.verified.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads a whole storage for its CRC.
fn verify(
    source: &Source,
    mut at: u64,
    mut left: u64,
    mut check: Check<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let mut chunk = vec![0; left.min(CHUNK as u64) as usize];
    while left > 0 {
        cancel.check()?;
        let part = &mut chunk[..left.min(CHUNK as u64) as usize];
        source.read_exact_at(part, at)?;
        check.hasher.update(part);
        at += part.len() as u64;
        left -= part.len() as u64;
    }
    check.finish(source)
}
