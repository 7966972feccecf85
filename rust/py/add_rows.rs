//! Wraps adding up the rows of checkpoints.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::Array;
use super::checkpoint::{Origin, inner};
use super::enter::enter;
use super::layout::Layout;
use crate::bank::average::{Samples, add_rows as core};

/// Add each checkpoint's row, times its weight (f64), to `sums` (f64 [D]).
#[pyfunction]
#[pyo3(signature = (layout, origins, weights, sums, samples=None, stride=1))]
pub fn add_rows(
    py: Python<'_>,
    layout: &Layout,
    origins: Vec<Bound<'_, Origin>>,
    weights: Vec<f64>,
    sums: &Bound<'_, PyAny>,
    samples: Option<&Bound<'_, PyAny>>,
    stride: usize,
) -> PyResult<()> {
    if weights.len() != origins.len() || stride == 0 {
        return Err(PyValueError::new_err(format!(
            "{} weights of {} checkpoints, stride {stride}; accepted: as many, 1 or more",
            weights.len(),
            origins.len()
        )));
    }
    let (origins, dim) = (inner(&origins), layout.0.dim());
    let mut sums = Array::<f64>::get(sums, "sums")?;
    if sums.axes::<1>("one axis")? != [dim] {
        return Err(PyValueError::new_err(format!(
            "sums has shape {:?}; accepted: [{dim}]",
            sums.shape()
        )));
    }
    let columns = dim.div_ceil(stride);
    let mut samples = samples
        .map(|samples| Array::<f32>::get(samples, "samples"))
        .transpose()?;
    if let Some(samples) = &samples {
        samples.check_shape([origins.len(), columns])?;
        sums.place().check_apart([&samples.place()])?;
    }
    let sums = sums.as_mut_slice()?;
    let samples = match &mut samples {
        None => None,
        Some(samples) => Some(Samples {
            rows: samples.as_mut_slice()?,
            columns,
            stride,
        }),
    };
    enter(py, |cancel| {
        core(&layout.0, &origins, &weights, sums, samples, cancel)
    })
}
