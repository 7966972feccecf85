//! Maps shards into memory: the only file that maps anything.
#![allow(unsafe_code)]

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
