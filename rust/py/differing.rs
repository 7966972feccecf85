//! Wraps telling which tensors differ between checkpoints.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::checkpoint::{Origin, inner};
use super::enter::enter;
use crate::bank::differing::{self, Extent};

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
        differing::varying_tensors(&origins, &names, extent, cancel)
    })
}
