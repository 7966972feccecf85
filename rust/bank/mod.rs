//! Lays out, writes and maps the rows of a bank, and tells which tensors differ between its checkpoints.

pub mod average;
pub mod collect;
pub mod differing;
pub mod layout;
pub mod precision;
pub mod shard;
