//! Tells which tensors differ between checkpoints: the default selection of what to model.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::read::source::CHUNK;
use crate::read::{Checkpoint, Origin, Tensor};
use crate::runtime::parallel::{Cancel, try_map};

/// How much of each tensor is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, but where the archives record CRC-32s of both, these are compared.
    Checksums,
    /// All of it, byte by byte.
    Bytes,
    /// Its first, middle and last few KiB.
    Sample,
}

/// Bytes at each of the places that a sample has.
const SAMPLE: u64 = 4096;

/// The checkpoints whose tensors are compared, against the first of them.
struct Comparison<'a> {
    first: Checkpoint,
    names: &'a [String],
    varies: Vec<AtomicBool>,
    /// Whether only a sample of it was compared.
    sampled: Vec<AtomicBool>,
    extent: Extent,
    cancel: &'a Cancel,
}

/// For each of `names`, whether its bytes differ between any two of the checkpoints.
///
/// None where no difference was seen, but only a sample was compared.
///
/// All must hold every name with the dtype and shape of the first. A tensor once found to vary is not read
/// again. Memory does not grow with the checkpoints.
///
/// With [`Extent::Checksums`], and for a sample, storages of torch archives for which a CRC-32 is recorded are
/// not read: CRCs that differ, differ in content, and equal ones of equal length count as the same, although
/// nothing says that the bytes still have them.
pub fn varying_tensors(
    origins: &[&Origin],
    names: &[String],
    extent: Extent,
    cancel: &Cancel,
) -> Result<Vec<Option<bool>>> {
    let Some((first, others)) = origins.split_first() else {
        return Err(Error::Value(
            "no checkpoints; accepted: at least one".into(),
        ));
    };
    let flags = || names.iter().map(|_| AtomicBool::new(false)).collect();
    let comparison = Comparison {
        first: first.open(cancel)?,
        names,
        varies: flags(),
        sampled: flags(),
        extent,
        cancel,
    };
    for name in names {
        comparison.first.find(name)?;
    }
    try_map(others, cancel, |origin| {
        comparison.compare(&origin.open(cancel)?)
    })?;
    comparison.finish()
}

impl Comparison<'_> {
    /// Which tensors differed.
    fn finish(self) -> Result<Vec<Option<bool>>> {
        self.first.check_unchanged()?;
        let flags = self.varies.into_iter().zip(self.sampled);
        let outcome = |(varies, sampled): (AtomicBool, AtomicBool)| {
            let varies = varies.into_inner();
            (varies || !sampled.into_inner()).then_some(varies)
        };
        Ok(flags.map(outcome).collect())
    }

    /// Compares one checkpoint with the first, tensor by tensor.
    fn compare(&self, other: &Checkpoint) -> Result<()> {
        for (index, name) in self.names.iter().enumerate() {
            let varies = &self.varies[index];
            let (found, expected) = (other.find(name)?, self.first.find(name)?);
            check_same_kind(other, found, &self.first, expected)?;
            if !varies.load(Ordering::Relaxed) && self.differ(other, found, expected, index)? {
                varies.store(true, Ordering::Relaxed);
            }
        }
        other.check_unchanged()
    }

    /// Whether two tensors differ; may give up once that is known from another thread.
    fn differ(
        &self,
        other: &Checkpoint,
        found: &Tensor,
        expected: &Tensor,
        index: usize,
    ) -> Result<bool> {
        let varies = &self.varies[index];
        if self.extent != Extent::Bytes
            && found.strides == expected.strides
            && let Some(here) = other.recorded_crc(found)
            && let Some(there) = self.first.recorded_crc(expected)
        {
            return Ok(here != there);
        }
        let pieces = self.extent.pieces(found.byte_len());
        let sampled = pieces.len() > 1;
        self.sampled[index].fetch_or(sampled, Ordering::Relaxed);
        let open = if sampled {
            Checkpoint::sampler
        } else {
            Checkpoint::reader
        };
        let mut here = open(other, found, self.cancel)?;
        let mut there = open(&self.first, expected, self.cancel)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (skipped, compared) in pieces {
            here.skip(skipped);
            there.skip(skipped);
            let end = here.left() - compared;
            while here.left() > end && !varies.load(Ordering::Relaxed) {
                self.cancel.check()?;
                let size = (here.left() - end).min(CHUNK as u64) as usize;
                if here.next_chunk(size, &mut ours)? != there.next_chunk(size, &mut theirs)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Extent {
    /// Of a tensor of `length` bytes: how many to skip, then how many to compare, and so on.
    fn pieces(self, length: u64) -> Vec<(u64, u64)> {
        // Places of a sample begin between elements of any type.
        let gap = length.saturating_sub(3 * SAMPLE) / 2 / 16 * 16;
        if self != Self::Sample || gap == 0 {
            return vec![(0, length)];
        }
        let last = length - 2 * SAMPLE - gap - SAMPLE;
        vec![(0, SAMPLE), (gap, SAMPLE), (last, SAMPLE)]
    }
}

fn check_same_kind(
    other: &Checkpoint,
    found: &Tensor,
    first: &Checkpoint,
    expected: &Tensor,
) -> Result<()> {
    if (found.dtype, &found.shape) == (expected.dtype, &expected.shape) {
        return Ok(());
    }
    Err(other.refuse(format!(
        "tensor {:?} is {} {:?}; accepted: {} {:?}, as in {}",
        found.name,
        found.dtype.name(),
        found.shape,
        expected.dtype.name(),
        expected.shape,
        first.path().display()
    )))
}

#[cfg(test)]
mod tests;
