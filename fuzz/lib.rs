//! What of the core reads foreign files, from its own sources, and the doors to it for the fuzzers.
#![allow(dead_code, unused_imports)]

#[path = "../rust/dtype.rs"]
mod dtype;
#[path = "../rust/error.rs"]
mod error;
#[path = "../rust/fingerprint.rs"]
mod fingerprint;
mod fuzzing;
#[path = "../rust/memory.rs"]
mod memory;
#[path = "../rust/natural_order.rs"]
mod natural_order;
#[path = "../rust/os/mod.rs"]
mod os;
#[path = "../rust/read/mod.rs"]
mod read;
#[path = "../rust/runtime/mod.rs"]
mod runtime;

pub use fuzzing::{open_then_read, pickle, safetensors_header, zip_directory};
