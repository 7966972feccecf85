//! Wraps writing files durably, exchanging directories and removing what killed processes left.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use super::buffer::Bytes;
use super::enter::guard;
use crate::files::{durable, leftovers};
use crate::os;

/// Write `data` durably: temporary sibling, fsync, rename over `path`, fsync of the directory.
#[pyfunction]
pub fn write_file(py: Python<'_>, path: PathBuf, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let data = Bytes::get(data)?;
    let bytes = data.as_slice();
    py.detach(|| guard(|| durable::write_file(&path, bytes)))
}

/// Exchange two paths in one step.
#[pyfunction]
pub fn exchange(py: Python<'_>, one: PathBuf, other: PathBuf) -> PyResult<()> {
    py.detach(|| guard(|| os::exchange(&one, &other)))
}

/// Remove the temporary siblings in `folder` that killed processes left; return their names.
#[pyfunction]
pub fn remove_stale(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<OsString>> {
    py.detach(|| guard(|| leftovers::remove_stale(&folder)))
}
