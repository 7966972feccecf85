//! Reading files that others wrote: with pread and full suspicion, never through a map.
//!
//! A file that is truncated under a map kills the process with SIGBUS; a short pread is an error.

mod json;
pub mod safetensors;
pub mod source;

pub use safetensors::{Header, TensorInfo};
pub use source::Source;
