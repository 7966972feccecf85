//! Wrappers of reading headers, writing files and digests.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use super::buffer::Bytes;
use super::enter::{enter, guard};
use crate::{digest as core, natural, stale, write};

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

/// Exchange two paths in one step.
#[pyfunction]
pub fn exchange(py: Python<'_>, one: PathBuf, other: PathBuf) -> PyResult<()> {
    py.detach(|| guard(|| write::exchange(&one, &other)))
}

/// Remove the temporary siblings in `folder` that nobody writes any more; return their names.
#[pyfunction]
pub fn remove_stale(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<OsString>> {
    py.detach(|| guard(|| stale::remove_stale(&folder)))
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
