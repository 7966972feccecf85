//! Reads files that others wrote: with pread, never through a map, and without trusting any of their content.
//!
//! A file that is truncated under a map kills the process with SIGBUS; a short pread is an error.

mod checkpoint;
pub mod declared;
mod detect;
#[cfg(test)]
mod fixture;
mod holes;
mod json;
mod latin1;
mod names;
mod origin;
mod pickle;
mod reader;
mod room;
mod safetensors;
mod sniff;
pub mod source;
mod strided;
mod torch_legacy;
mod torch_zip;
mod weights;
mod zip;

pub use checkpoint::Checkpoint;
#[cfg(test)]
pub use checkpoint::origin_of;
pub use declared::{Choice, Key, Tensor, Weights, ties};
pub use origin::Origin;
pub use reader::TensorReader;
pub use safetensors::{Header, TensorInfo};
pub use source::Source;

/// Reads a zip directory, for the fuzzers.
#[cfg(fuzzing)]
pub fn parse_zip(source: &Source) -> crate::error::Result<()> {
    zip::Archive::read(source).map(drop)
}

/// Runs a pickle, for the fuzzers; returns whether it holds data alone.
#[cfg(fuzzing)]
pub fn parse_pickle(bytes: Vec<u8>, cancel: &crate::runtime::parallel::Cancel) -> bool {
    pickle::Machine::new(pickle::Cursor::over(bytes, 0), cancel)
        .load()
        .is_ok()
}
