//! Wraps writing the rows of checkpoints as shards.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::checkpoint::{Origin, inner};
use super::enter::enter;
use super::layout::Layout;
use crate::bank::collect::{self, Part, Written};
use crate::bank::precision::Precision;

/// Read the layout's tensors from each checkpoint and write them as rows of shards.
#[pyfunction]
#[pyo3(signature = (parts, layout, *, dtype="F32"))]
pub fn write_shards<'py>(
    py: Python<'py>,
    parts: Vec<(PathBuf, Vec<Bound<'py, Origin>>)>,
    layout: &Layout,
    dtype: &str,
) -> PyResult<Vec<(Bound<'py, PyList>, String)>> {
    let precision = Precision::parse(dtype).ok_or_else(|| {
        PyValueError::new_err(format!("dtype {dtype:?}; accepted: F32, F16 or BF16"))
    })?;
    let parts = parts.iter().map(|(path, origins)| Part {
        path,
        origins: inner(origins),
    });
    let parts: Vec<Part<'_>> = parts.collect();
    let written = enter(py, |cancel| {
        collect::write_shards(&parts, &layout.0, precision, cancel)
    })?;
    let outcome = |shard: Written| {
        let rows = shard.rows.iter().map(|row| row.to_hex().to_string());
        Ok((PyList::new(py, rows)?, shard.digest))
    };
    written.into_iter().map(outcome).collect()
}
