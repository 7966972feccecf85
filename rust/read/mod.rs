//! Reading files that others wrote: with pread and full suspicion, never through a map.
//!
//! A file that is truncated under a map kills the process with SIGBUS; a short pread is an error.

pub mod checkpoint;
mod declare;
#[cfg(test)]
mod fixture;
mod gather;
mod json;
pub mod names;
pub mod open;
pub mod origin;
mod pickle;
pub mod reader;
pub mod safetensors;
mod sniff;
pub mod source;
pub mod torch_legacy;
pub mod torch_zip;
mod weights;
mod zip;

pub use checkpoint::{Begin, Candidate, Choice, Format, Key, Storage, Tensor, Weights};
pub use open::Checkpoint;
pub use origin::Origin;
pub use reader::TensorReader;
pub use safetensors::{Header, TensorInfo};
pub use source::Source;
