//! Maps shards into memory: the only file that maps anything.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a shard, read-only.
pub fn map_shard(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is sound as long as nobody changes the file. Shards are immutable: `pdiff` only
    // ever creates them under a temporary name and renames them, which leaves open maps untouched.
    unsafe { Mmap::map(file) }
}
