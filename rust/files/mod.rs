//! Writes files durably, digests them, and maps shards.

pub mod block_digest;
pub mod digest_file;
pub mod durable;
pub mod leftovers;
pub mod map;
pub mod write_safetensors;
