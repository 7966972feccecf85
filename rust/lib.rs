//! The Rust half of `pdiff` reads checkpoints, streams banks of them and normalises their rows.
//!
//! `read` finds tensors in files that others wrote. A `bank::layout` orders them into rows of D numbers,
//! `bank::collect` streams the rows of many checkpoints into one `bank::shard`, and `normalise` copies rows
//! out of mapped shards, normalised, into the caller's batch. `statistics` and `algebra` stream whole banks;
//! `overlap` compares what classifiers get wrong.
//!
//! Imports run downward only, and no two files import each other:
//! `py > overlap, algebra, statistics > normalise > bank > files > read > fingerprint, dtype, natural_order > runtime
//! > os, memory, error`. Only `py`, which is compiled for the extension module alone, knows Python.
// Without the extension module only tests call the crate.
#![cfg_attr(not(feature = "python"), allow(dead_code, unused_imports))]

mod algebra;
mod bank;
mod dtype;
mod error;
mod files;
mod fingerprint;
mod memory;
mod natural_order;
mod normalise;
mod os;
mod overlap;
#[cfg(feature = "python")]
mod py;
mod read;
mod runtime;
mod statistics;
#[cfg(test)]
mod testing;

#[cfg(not(target_endian = "little"))]
compile_error!("safetensors data is little-endian and shards are mapped as they are");
