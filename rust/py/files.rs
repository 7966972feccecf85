//! Wrappers of reading headers, writing files and digests.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::buffer::Bytes;
use super::enter::{enter, guard};
use crate::read::{self, Header, Source};
use crate::{digest as core, natural, write};

/// One tensor of a safetensors file, as its header declares it.
#[pyclass(frozen, module = "pdiff._core")]
pub struct TensorInfo(read::TensorInfo);

#[pymethods]
impl TensorInfo {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Safetensors name of the dtype: `F32`, `BF16`, `I64`, …
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.dtype.name()
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.shape)
    }

    /// First byte in the file.
    #[getter]
    fn begin(&self) -> u64 {
        self.0.begin
    }

    /// One past the last byte in the file.
    #[getter]
    fn end(&self) -> u64 {
        self.0.end
    }
}

/// Tensors (in file order) and `__metadata__` of a safetensors file; reads the header only.
#[pyfunction]
pub fn read_header(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(Vec<TensorInfo>, Bound<'_, PyDict>)> {
    let header = py.detach(|| guard(|| Header::read(&Source::open(&path)?)))?;
    let metadata = PyDict::new(py);
    for (key, value) in header.metadata {
        metadata.set_item(key, value)?;
    }
    let tensors = header.tensors.into_iter().map(TensorInfo).collect();
    Ok((tensors, metadata))
}

/// `names` ordered as people count: `checkpoint-9` before `checkpoint-10`.
#[pyfunction]
pub fn natural_sort(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| natural::compare(a, b));
    names
}

/// Write `data` durably: temporary sibling, fsync, rename over `path`, fsync of the directory.
#[pyfunction]
pub fn write_file(py: Python<'_>, path: PathBuf, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let data = Bytes::get(data)?;
    let bytes = data.as_slice();
    py.detach(|| guard(|| write::write_file(&path, bytes)))
}

/// BLAKE3 of `data`, 64 hex digits.
#[pyfunction]
pub fn digest(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<String> {
    let data = Bytes::get(data)?;
    let bytes = data.as_slice();
    py.detach(|| guard(|| Ok(core::digest(bytes))))
}

/// BLAKE3 of a file's bytes, 64 hex digits; constant memory.
#[pyfunction]
pub fn digest_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    enter(py, |cancel| core::digest_file(&path, cancel))
}
