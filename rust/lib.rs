//! The Rust half of `pdiff`: checkpoint bytes in, normalised rows out.
//!
//! The way of the data: [`read`] finds tensors in safetensors files, a [`layout`] orders them into
//! rows of D numbers, [`collect`] streams the rows of many checkpoints into one [`shard`], and
//! [`kernel`] copies rows out of mapped shards, normalised, into the caller's batch. A [`network`] runs small
//! classifiers, and [`overlap`] compares what they get wrong.
//! Nothing here knows Python except the `py` module, which is compiled for the extension only.

mod affine;
pub mod bits;
pub mod blocks;
pub mod collect;
pub mod combine;
pub mod digest;
pub mod dtype;
pub mod error;
mod extremes;
pub mod folded;
pub mod gram;
pub mod kernel;
pub mod layout;
mod map;
mod margin;
mod matmul;
pub mod moments;
pub mod natural;
pub mod nearest;
pub mod network;
pub mod normalizer;
pub mod overlap;
pub mod panel;
pub mod panic;
pub mod parallel;
pub mod prefetch;
#[cfg(feature = "python")]
mod py;
pub mod read;
pub mod row;
pub mod save;
pub mod shard;
pub mod stale;
pub mod stats;
pub mod store;
mod stream;
#[cfg(test)]
mod testing;
mod tile;
pub mod variance;
pub mod vary;
pub mod write;

#[cfg(not(target_endian = "little"))]
compile_error!("safetensors data is little-endian and shards are mapped as they are");
