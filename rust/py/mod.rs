//! Wraps the core as the extension module `pdiff._core`: the only place that knows Python.

mod add_rows;
mod algebra;
mod apart;
mod buffer;
mod checkpoint;
mod differing;
mod digest;
mod enter;
mod errors;
mod files;
mod gather;
mod layout;
mod natural_sort;
mod normalizer;
mod open_checkpoints;
mod out;
mod overlap;
mod prefetch;
mod read_rows;
mod statistics;
mod tensor;
mod write_checkpoint;
mod write_shards;
mod write_tensors;

use pyo3::prelude::*;

/// The Rust half of `pdiff`: checkpoint bytes in, normalised rows out. Knows nothing of torch.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::add_rows::add_rows;
    #[pymodule_export]
    use super::algebra::{combine, gram};
    #[pymodule_export]
    use super::buffer::Shard;
    #[pymodule_export]
    use super::checkpoint::{Checkpoint, Origin};
    #[pymodule_export]
    use super::differing::varying_tensors;
    #[pymodule_export]
    use super::digest::{digest, digest_file};
    #[pymodule_export]
    use super::errors::{CodeError, InputError, PdiffError};
    #[pymodule_export]
    use super::files::{exchange, remove_stale, write_file};
    #[pymodule_export]
    use super::gather::gather;
    #[pymodule_export]
    use super::layout::{Layout, Segment};
    #[pymodule_export]
    use super::natural_sort::natural_sort;
    #[pymodule_export]
    use super::normalizer::Normalizer;
    #[pymodule_export]
    use super::open_checkpoints::{Summary, open_checkpoints};
    #[pymodule_export]
    use super::overlap::WrongSets;
    #[pymodule_export]
    use super::prefetch::Prefetch;
    #[pymodule_export]
    use super::read_rows::{non_finite, read_rows};
    #[pymodule_export]
    use super::statistics::write_statistics;
    #[pymodule_export]
    use super::tensor::TensorInfo;
    #[pymodule_export]
    use super::write_checkpoint::write_checkpoint;
    #[pymodule_export]
    use super::write_shards::write_shards;
    #[pymodule_export]
    use super::write_tensors::write_tensors;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
