//! Wraps the products of normalised rows: their Gram matrix and their linear combinations.

use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use super::buffer::{Array, Shard, mapped};
use super::enter::enter;
use super::normalizer::Normalizer;
use crate::algebra;
use crate::bank::shard::Rows;

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
        algebra::gram::gram(&rows, &normalizer.0, centred, cancel)
    })?;
    let bytes: &[u8] = bytemuck::cast_slice(&found);
    PyByteArray::new_with(py, bytes.len(), |out| {
        out.copy_from_slice(bytes);
        Ok(())
    })
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
    out.check_shape([wanted, normalizer.0.layout().dim()])?;
    out.place().check_apart([&coefficients.place()])?;
    let (shards, coefficients) = (mapped(&shards), coefficients.as_slice());
    let out = out.as_mut_slice()?;
    enter(py, |cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        algebra::combine::combine(coefficients, &rows, &normalizer.0, centred, out, cancel)
    })
}
