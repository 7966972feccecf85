//! Wrappers of writing shards and streaming their rows.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use super::buffer::{Array, Shard};
use super::enter::enter;
use super::layout::Layout;
use super::normalizer::Normalizer;
use crate::collect::NonFinite;
use crate::shard::{self, Rows};
use crate::{collect, kernel, stats, vary};

/// For each name, whether its bytes differ between any two of the safetensors files.
#[pyfunction]
pub fn varying_tensors(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    names: Vec<String>,
) -> PyResult<Vec<bool>> {
    enter(py, |cancel| vary::varying_tensors(&paths, &names, cancel))
}

/// Read the layout's tensors from each safetensors source and write them as rows of one shard.
#[pyfunction]
#[pyo3(signature = (path, layout, sources, *, allow_nonfinite=false))]
pub fn write_shard(
    py: Python<'_>,
    path: PathBuf,
    layout: &Layout,
    sources: Vec<PathBuf>,
    allow_nonfinite: bool,
) -> PyResult<Vec<String>> {
    let non_finite = if allow_nonfinite {
        NonFinite::Allow
    } else {
        NonFinite::Refuse
    };
    enter(py, |cancel| {
        collect::write_shard(&path, &layout.0, &sources, non_finite, cancel)
    })
}

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
        stats::statistics(&rows, &layout.0, cancel)
    })?;
    let dict = PyDict::new(py);
    for (name, values) in [
        ("log_scale", &found.log_scale),
        ("tensor_mean", &found.tensor_mean),
        ("tensor_std", &found.tensor_std),
        ("element_mean", &found.element_mean),
        ("element_std", &found.element_std),
    ] {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        dict.set_item(name, PyByteArray::new(py, &bytes))?;
    }
    Ok(dict)
}

/// Copy rows `indices` (i64), columns [begin, end), normalised, into `out`.
#[pyfunction]
#[pyo3(signature = (shards, indices, out, normalizer, begin=0, end=None))]
pub fn gather<'py>(
    py: Python<'py>,
    shards: Vec<Bound<'py, Shard>>,
    indices: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
    normalizer: &Normalizer,
    begin: i64,
    end: Option<i64>,
) -> PyResult<()> {
    let columns = kernel::columns(begin, end, normalizer.0.layout().dim())?;
    let indices = Array::<i64>::get(indices, "indices")?;
    let [count] = indices.axes("one axis")?;
    let mut out = Array::<f32>::get(out, "out")?;
    let (found, wanted) = (out.shape(), [count, columns.len()]);
    if found != wanted {
        return Err(PyValueError::new_err(format!(
            "out has shape {found:?}; accepted: {wanted:?}"
        )));
    }
    let (shards, indices, out) = (mapped(&shards), indices.as_slice(), out.as_mut_slice()?);
    enter(py, |cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        let indices = rows.check_indices(indices)?;
        kernel::gather(&rows, &indices, columns, &normalizer.0, out, cancel)
    })
}

fn mapped<'a>(shards: &'a [Bound<'_, Shard>]) -> Vec<&'a shard::Shard> {
    shards.iter().map(|shard| &shard.get().inner).collect()
}
