//! Wraps opening many checkpoints; of each, only a summary is kept.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use super::checkpoint::Origin;
use super::enter::enter;
use crate::error::Error;
use crate::read::{self, Choice, Key};
use crate::runtime::panic::catch;
use crate::runtime::parallel::{Cancel, try_map};

/// What is kept of a checkpoint among many.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Summary {
    origin: read::Origin,
    kind: String,
    averaged: bool,
    numbers: Vec<(String, f64)>,
}

impl Summary {
    /// Reads the headers, and drops what is as large as they are.
    fn open(files: &[PathBuf], choice: &Choice, cancel: &Cancel) -> Result<Self, Error> {
        let checkpoint = read::Checkpoint::open(files, choice, cancel)?;
        Ok(Self {
            origin: checkpoint.origin(),
            kind: checkpoint.kind(),
            averaged: checkpoint.weights().averaged,
            numbers: checkpoint.into_weights().numbers,
        })
    }
}

#[pymethods]
impl Summary {
    #[getter]
    fn origin(&self) -> Origin {
        Origin(self.origin.clone())
    }

    /// As `Checkpoint.kind`.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// As `Checkpoint.key`.
    #[getter]
    fn key(&self) -> String {
        self.origin.keys.join(".")
    }

    /// As `Checkpoint.averaged`.
    #[getter]
    fn averaged(&self) -> bool {
        self.averaged
    }

    /// As `Checkpoint.numbers`.
    #[getter]
    fn numbers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.numbers.clone().into_py_dict(py)
    }
}

/// Open many checkpoints in parallel; those that fail are given as the error.
#[pyfunction]
#[pyo3(signature = (files, *, key=None, ema=None))]
pub fn open_checkpoints(
    py: Python<'_>,
    files: Vec<Vec<PathBuf>>,
    key: Option<String>,
    ema: Option<bool>,
) -> PyResult<Vec<Py<PyAny>>> {
    let key = key.map(Key::Joined);
    let choice = Choice {
        key,
        ema,
        ..Choice::default()
    };
    let outcomes = enter(py, |cancel| {
        try_map(&files, cancel, |files| {
            Ok(catch(|| Summary::open(files, &choice, cancel)))
        })
    })?;
    let object = |outcome| match outcome {
        Ok(summary) => Ok(Py::new(py, summary)?.into_any()),
        Err(error) => Ok(PyErr::from(error).into_value(py).into_any()),
    };
    outcomes.into_iter().map(object).collect()
}
