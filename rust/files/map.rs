//! Maps shards into memory: the only file that maps anything.
#![allow(unsafe_code)]

use std::ops::Range;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::read::{Header, Source, TensorInfo};

/// The one tensor of a shard.
pub const ROWS: &str = "rows";

/// Maps the file that `source` is, read-only, if it is a shard: `None` if it holds anything but one tensor
/// [`ROWS`] of two axes.
///
/// The files of others are never mapped: whoever cuts one short while it is mapped ends the process.
pub fn map_shard(source: &Source) -> Result<Option<(Mmap, TensorInfo)>> {
    let mut tensors = Header::read(source)?.tensors;
    let is_shard = matches!(&tensors[..], [rows] if rows.name == ROWS && rows.shape.len() == 2);
    let Some(rows) = tensors.pop().filter(|_| is_shard) else {
        return Ok(None);
    };
    // SAFETY: the map is sound as long as nobody changes the file, which was just found to be a shard. Shards are
    // immutable: `pdiff` only ever creates them under a temporary name and renames them, which leaves open maps
    // untouched.
    let map = unsafe { Mmap::map(source.file()) };
    let map = map.map_err(Error::io(source.path()))?;
    // The header is of what was mapped.
    source.check_unchanged()?;
    Ok(Some((map, rows)))
}

/// Takes the pages of `bytes` of a map that [`map_shard`] made out of the process: they are read again from the
/// file, or the system's cache of it, when they are next used.
#[cfg(unix)]
pub fn release(map: &Mmap, bytes: Range<usize>) {
    use memmap2::UncheckedAdvice::DontNeed;
    // SAFETY: the pages of a read-only map of a file that does not change come back as they were.
    let advised = unsafe { map.unchecked_advise_range(DontNeed, bytes.start, bytes.len()) };
    drop(advised); // advice that is not taken costs memory alone
}

/// Does nothing: only Unix is asked to take pages out.
#[cfg(not(unix))]
pub fn release(_: &Mmap, _: Range<usize>) {}
