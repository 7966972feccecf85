//! Wraps computing the statistics of a bank.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use super::buffer::{Shard, mapped};
use super::enter::enter;
use super::layout::Layout;
use crate::bank::shard::Rows;
use crate::statistics as core;

/// Statistics of all rows, f64, streamed, the same for any number of threads.
#[pyfunction]
pub fn statistics<'py>(
    py: Python<'py>,
    shards: Vec<Bound<'py, Shard>>,
    layout: &Layout,
) -> PyResult<Bound<'py, PyDict>> {
    let shards = mapped(&shards);
    let found = enter(py, |cancel| {
        let rows = Rows::new(&shards, layout.0.dim())?;
        core::statistics(&rows, &layout.0, cancel)
    })?;
    let dict = PyDict::new(py);
    // One after the other is copied and freed, so that little is there twice.
    for (name, values) in [
        ("log_scale", found.log_scale),
        ("tensor_mean", found.tensor_mean),
        ("tensor_std", found.tensor_std),
        ("tensor_min", found.tensor_min),
        ("tensor_max", found.tensor_max),
        ("element_mean", found.element_mean),
        ("element_std", found.element_std),
    ] {
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let copy = PyByteArray::new_with(py, bytes.len(), |out| {
            out.copy_from_slice(bytes);
            Ok(())
        })?;
        dict.set_item(name, copy)?;
    }
    Ok(dict)
}
