//! The extension module `pdiff._core`: thin wrappers, the only place that knows Python.

mod bank;
mod buffer;
mod checkpoint;
mod enter;
mod errors;
mod files;
mod layout;
mod network;
mod normalizer;
mod origin;
mod out;
mod overlap;
mod prefetch;
mod save;
mod tensor;

use pyo3::prelude::*;

/// The Rust half of `pdiff`: checkpoint bytes in, normalised rows out. Knows nothing of torch.
#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use super::bank::{
        combine, gather, gram, nearest, read_rows, statistics, varying_tensors, write_shards,
    };
    #[pymodule_export]
    use super::buffer::Shard;
    #[pymodule_export]
    use super::checkpoint::Checkpoint;
    #[pymodule_export]
    use super::errors::{CodeError, InputError, PdiffError};
    #[pymodule_export]
    use super::files::{digest, digest_file, exchange, natural_sort, remove_stale, write_file};
    #[pymodule_export]
    use super::layout::{Layout, Segment};
    #[pymodule_export]
    use super::network::{FoldedModel, SmallNetwork};
    #[pymodule_export]
    use super::normalizer::Normalizer;
    #[pymodule_export]
    use super::origin::{Origin, Summary, open_checkpoints, write_checkpoint};
    #[pymodule_export]
    use super::overlap::WrongSets;
    #[pymodule_export]
    use super::prefetch::Prefetch;
    #[pymodule_export]
    use super::save::write_tensors;
    #[pymodule_export]
    use super::tensor::TensorInfo;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
