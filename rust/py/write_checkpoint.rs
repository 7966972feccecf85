//! Wraps writing a whole checkpoint as one safetensors file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyo3::prelude::*;

use super::checkpoint::Origin;
use super::enter::enter;
use crate::files::write_safetensors;

/// Write a whole checkpoint as one safetensors file, durably, under its plain names.
#[pyfunction]
#[pyo3(signature = (path, origin, metadata=None))]
pub fn write_checkpoint(
    py: Python<'_>,
    path: PathBuf,
    origin: &Origin,
    metadata: Option<BTreeMap<String, String>>,
) -> PyResult<()> {
    let metadata = metadata.unwrap_or_default();
    enter(py, |cancel| {
        write_safetensors::write_checkpoint(&path, &origin.0, &metadata, cancel)
    })
}
