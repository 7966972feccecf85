//! Wrappers of where checkpoints are, which many of them fit in memory as.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use super::checkpoint::Checkpoint;
use super::enter::enter;
use crate::error::Error;
use crate::panic::catch;
use crate::parallel::{Cancel, try_map};
use crate::read::{self, Choice, Key};
use crate::save;

/// Where the weights of a checkpoint are, without what they are.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Origin(pub read::Origin);

#[pymethods]
impl Origin {
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.0.files.clone()
    }

    /// The dictionary within the file, as `Checkpoint.keys`.
    #[getter]
    fn keys(&self) -> Vec<String> {
        self.0.keys.clone()
    }

    /// The keys joined by `.`, for people.
    #[getter]
    fn key(&self) -> String {
        self.0.keys.join(".")
    }

    /// Size, times, inode and device of each file, as text: another stamp, another content.
    #[getter]
    fn stamp(&self) -> String {
        self.0.stamp()
    }

    /// Open the checkpoint again; files that have changed since are refused.
    fn open(&self, py: Python<'_>) -> PyResult<Checkpoint> {
        enter(py, |cancel| Ok(Checkpoint::of(self.0.open(cancel)?)))
    }
}

/// The core's origins.
pub fn inner<'a>(origins: &'a [Bound<'_, Origin>]) -> Vec<&'a read::Origin> {
    origins.iter().map(|origin| &origin.get().0).collect()
}

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
    let choice = Choice { key, ema };
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

/// Write a whole checkpoint as one safetensors file, durably, under its plain names.
#[pyfunction]
#[pyo3(signature = (path, origin, metadata=None))]
pub fn write_checkpoint(
    py: Python<'_>,
    path: PathBuf,
    origin: &Origin,
    metadata: Option<BTreeMap<String, String>>,
) -> PyResult<()> {
    let metadata = metadata.unwrap_or_default();
    enter(py, |cancel| {
        save::write_checkpoint(&path, &origin.0, &metadata, cancel)
    })
}
