//! Wrappers of writing shards and streaming their rows.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};

use super::buffer::{Array, Shard};
use super::enter::{enter, guard};
use super::layout::Layout;
use super::normalizer::Normalizer;
use super::origin::{Origin, inner};
use super::out::Out;
use crate::collect::{Part, Written};
use crate::parallel::Cancel;
use crate::shard::{self, Rows};
use crate::store::Store;
use crate::vary::Extent;
use crate::{collect, kernel, stats, vary};

/// For each name, whether its values differ between any two of the checkpoints.
#[pyfunction]
#[pyo3(signature = (origins, names, *, sample=false, checksums=true))]
pub fn varying_tensors(
    py: Python<'_>,
    origins: Vec<Bound<'_, Origin>>,
    names: Vec<String>,
    sample: bool,
    checksums: bool,
) -> PyResult<Vec<Option<bool>>> {
    let origins = inner(&origins);
    let extent = match (sample, checksums) {
        (true, true) => Extent::Sample,
        (false, true) => Extent::Checksums,
        (false, false) => Extent::Bytes,
        (true, false) => {
            let message = "sample without checksums; accepted: one of the two";
            return Err(PyValueError::new_err(message));
        }
    };
    enter(py, |cancel| {
        vary::varying_tensors(&origins, &names, extent, cancel)
    })
}

/// Read the layout's tensors from each checkpoint and write them as rows of shards.
#[pyfunction]
#[pyo3(signature = (parts, layout, *, dtype="F32"))]
pub fn write_shards<'py>(
    py: Python<'py>,
    parts: Vec<(PathBuf, Vec<Bound<'py, Origin>>)>,
    layout: &Layout,
    dtype: &str,
) -> PyResult<Vec<(Bound<'py, PyList>, String)>> {
    let store = Store::parse(dtype).ok_or_else(|| {
        PyValueError::new_err(format!("dtype {dtype:?}; accepted: F32, F16 or BF16"))
    })?;
    let parts = parts.iter().map(|(path, origins)| Part {
        path,
        origins: inner(origins),
    });
    let parts: Vec<Part<'_>> = parts.collect();
    let written = enter(py, |cancel| {
        collect::write_shards(&parts, &layout.0, store, cancel)
    })?;
    let outcome = |shard: Written| {
        let rows = shard.rows.iter().map(|row| row.to_hex().to_string());
        Ok((PyList::new(py, rows)?, shard.digest))
    };
    written.into_iter().map(outcome).collect()
}

/// Read the layout's tensors of each checkpoint into a row of f32 `out` [len(origins), D].
#[pyfunction]
pub fn read_rows(
    py: Python<'_>,
    layout: &Layout,
    origins: Vec<Bound<'_, Origin>>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut out = Array::<f32>::get(out, "out")?;
    check_shape(&out, [origins.len(), layout.0.dim()])?;
    let (origins, out) = (inner(&origins), out.as_mut_slice()?);
    enter(py, |cancel| {
        collect::read_rows(&layout.0, &origins, out, cancel)
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
        ("tensor_min", &found.tensor_min),
        ("tensor_max", &found.tensor_max),
        ("element_mean", &found.element_mean),
        ("element_std", &found.element_std),
    ] {
        dict.set_item(name, PyByteArray::new(py, bytemuck::cast_slice(values)))?;
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
    let mut out = Out::get(out, "out")?;
    out.check_shape([count, columns.len()])?;
    let (shards, indices, out) = (mapped(&shards), indices.as_slice(), out.batch()?);
    let small = out.len() <= kernel::SMALL;
    let work = |cancel: &Cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        let indices = rows.check_indices(indices)?;
        kernel::gather(&rows, &indices, columns, &normalizer.0, out, cancel)
    };
    if small {
        return py.detach(|| guard(|| work(&Cancel::default())));
    }
    enter(py, work)
}

/// Compute the Gram matrix [K, K] of the normalised rows: native f64 in C order.
#[pyfunction]
#[pyo3(signature = (shards, normalizer, *, centred=true))]
pub fn gram<'py>(
    py: Python<'py>,
    shards: Vec<Bound<'py, Shard>>,
    normalizer: &Normalizer,
    centred: bool,
) -> PyResult<Bound<'py, PyByteArray>> {
    let shards = mapped(&shards);
    let found = enter(py, |cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        crate::gram::gram(&rows, &normalizer.0, centred, cancel)
    })?;
    Ok(PyByteArray::new(py, bytemuck::cast_slice(&found)))
}

/// Write `coefficients` [n, K] times the normalised rows [K, D] to `out` [n, D]; all f32.
#[pyfunction]
#[pyo3(signature = (coefficients, shards, normalizer, out, *, centred=false))]
pub fn combine<'py>(
    py: Python<'py>,
    coefficients: &Bound<'py, PyAny>,
    shards: Vec<Bound<'py, Shard>>,
    normalizer: &Normalizer,
    out: &Bound<'py, PyAny>,
    centred: bool,
) -> PyResult<()> {
    let coefficients = Array::<f32>::get(coefficients, "coefficients")?;
    let [wanted, _] = coefficients.axes("two axes")?;
    let mut out = Array::<f32>::get(out, "out")?;
    check_shape(&out, [wanted, normalizer.0.layout().dim()])?;
    let (shards, coefficients) = (mapped(&shards), coefficients.as_slice());
    let out = out.as_mut_slice()?;
    enter(py, |cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        crate::combine::combine(coefficients, &rows, &normalizer.0, centred, out, cancel)
    })
}

/// For each of the normalised `queries` [n, D], the nearest row of the bank and its L2 distance.
#[pyfunction]
pub fn nearest<'py>(
    py: Python<'py>,
    queries: &Bound<'py, PyAny>,
    excluded: &Bound<'py, PyAny>,
    shards: Vec<Bound<'py, Shard>>,
    normalizer: &Normalizer,
) -> PyResult<Vec<(usize, f64)>> {
    let queries = Array::<f32>::get(queries, "queries")?;
    let excluded = Array::<i64>::get(excluded, "excluded")?;
    let [wanted] = excluded.axes("one axis")?;
    check_shape(&queries, [wanted, normalizer.0.layout().dim()])?;
    let (shards, queries) = (mapped(&shards), queries.as_slice());
    let excluded = excluded.as_slice();
    enter(py, |cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        crate::nearest::nearest(queries, excluded, &rows, &normalizer.0, cancel)
    })
}

fn check_shape(out: &Array<f32>, wanted: [usize; 2]) -> PyResult<()> {
    let found = out.shape();
    if found != wanted {
        return Err(PyValueError::new_err(format!(
            "{} has shape {found:?}; accepted: {wanted:?}",
            out.name()
        )));
    }
    Ok(())
}

fn mapped<'a>(shards: &'a [Bound<'_, Shard>]) -> Vec<&'a shard::Shard> {
    shards.iter().map(|shard| &*shard.get().inner).collect()
}
