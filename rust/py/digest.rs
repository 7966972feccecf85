//! Wraps digesting bytes and files.

use std::path::PathBuf;

use pyo3::prelude::*;

use super::buffer::Bytes;
use super::enter::{enter, guard};
use crate::files::digest_file as file;
use crate::fingerprint;

/// BLAKE3 of `data`, 64 hex digits.
#[pyfunction]
pub fn digest(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<String> {
    let data = Bytes::get(data)?;
    let bytes = data.as_slice();
    py.detach(|| guard(|| Ok(fingerprint::digest(bytes))))
}

/// BLAKE3 of a file's bytes, 64 hex digits; constant memory.
#[pyfunction]
pub fn digest_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    enter(py, |cancel| file::digest_file(&path, cancel))
}
