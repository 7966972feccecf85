//! The extension module `pdiff._core`: thin wrappers, the only place that knows Python.

mod bank;
mod buffer;
mod enter;
mod errors;
mod files;
mod layout;
mod normalizer;

use pyo3::prelude::*;

/// The Rust half of `pdiff`: checkpoint bytes in, normalised rows out. Knows nothing of torch.
#[pymodule(gil_used = true)]
mod _core {
    #[pymodule_export]
    use super::bank::{gather, statistics, varying_tensors, write_shard};
    #[pymodule_export]
    use super::buffer::Shard;
    #[pymodule_export]
    use super::errors::{InputError, PdiffError};
    #[pymodule_export]
    use super::files::{TensorInfo, digest, digest_file, natural_sort, read_header, write_file};
    #[pymodule_export]
    use super::layout::{Layout, Segment};
    #[pymodule_export]
    use super::normalizer::Normalizer;

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
