//! Wraps the layout and its segments.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::enter::guard;
use crate::bank::layout;

/// The columns that one tensor takes in a row.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Segment(layout::Segment);

#[pymethods]
impl Segment {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.dtype.name()
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.shape)
    }

    #[getter]
    fn begin(&self) -> usize {
        self.0.columns.start
    }

    #[getter]
    fn end(&self) -> usize {
        self.0.columns.end
    }

    /// Whether the tensor is a `running_var`, modelled in log space.
    #[getter]
    fn log_variance(&self) -> bool {
        self.0.log_variance
    }
}

/// The ordered tensors whose concatenation is one row of D numbers.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Layout(pub Arc<layout::Layout>);

#[pymethods]
impl Layout {
    #[new]
    fn new(tensors: Vec<(String, String, Vec<usize>)>) -> PyResult<Self> {
        let layout = guard(|| layout::Layout::new(tensors))?;
        Ok(Self(Arc::new(layout)))
    }

    #[getter]
    fn segments(&self) -> Vec<Segment> {
        self.0.segments().iter().cloned().map(Segment).collect()
    }

    /// D, the numbers in a row.
    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// BLAKE3 over names, dtypes and shapes; equal if and only if the rows mean the same.
    #[getter]
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}
