//! Wraps reading checkpoints as rows in memory, and looking for values that no row can have.

use pyo3::prelude::*;

use super::buffer::Array;
use super::checkpoint::{Origin, inner};
use super::enter::enter;
use super::layout::Layout;
use crate::bank::collect;

/// Read the layout's tensors of each checkpoint into a row of f32 `out` [len(origins), D].
#[pyfunction]
pub fn read_rows(
    py: Python<'_>,
    layout: &Layout,
    origins: Vec<Bound<'_, Origin>>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut out = Array::<f32>::get(out, "out")?;
    out.check_shape([origins.len(), layout.0.dim()])?;
    let (origins, out) = (inner(&origins), out.as_mut_slice()?);
    enter(py, |cancel| {
        collect::read_rows(&layout.0, &origins, out, cancel)
    })
}

/// For each checkpoint, which of the layout's tensors holds NaN or infinity; None if none does.
#[pyfunction]
pub fn non_finite(
    py: Python<'_>,
    layout: &Layout,
    origins: Vec<Bound<'_, Origin>>,
) -> PyResult<Vec<Option<String>>> {
    let origins = inner(&origins);
    enter(py, |cancel| {
        collect::non_finite(&layout.0, &origins, cancel)
    })
}
