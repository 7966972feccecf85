//! Wraps checkpoints that others wrote, and origins: in one file, as each makes the other.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict};

use super::enter::enter;
use super::tensor::{Declared, TensorInfo};
use crate::error::Error;
use crate::read::{self, Choice, Key};
use crate::runtime::parallel::Cancel;

/// The weights of one checkpoint, checked but not read: data only, nothing of a file is executed.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Checkpoint {
    declared: Arc<Declared>,
    origin: read::Origin,
    prefixes: Vec<(String, usize)>,
    kind: String,
    size: u64,
}

impl Checkpoint {
    /// Keeps the headers and closes the files.
    pub fn of(checkpoint: read::Checkpoint) -> Self {
        Self {
            origin: checkpoint.origin(),
            kind: checkpoint.kind(),
            size: checkpoint.size(),
            prefixes: checkpoint.prefixes.clone(),
            declared: Arc::new(Declared::new(checkpoint.into_weights())),
        }
    }

    fn weights(&self) -> &read::Weights {
        &self.declared.weights
    }
}

#[pymethods]
impl Checkpoint {
    #[new]
    #[pyo3(signature = (files, *, key=None, ema=None, keys=None))]
    fn new(
        py: Python<'_>,
        files: Vec<PathBuf>,
        key: Option<String>,
        ema: Option<bool>,
        keys: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let key = match (key, keys) {
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err("key and keys; accepted: one of them"));
            }
            (key, keys) => key.map(Key::Joined).or(keys.map(Key::Path)),
        };
        let choice = Choice {
            key,
            ema,
            ..Choice::default()
        };
        enter(py, |cancel| {
            Ok(Self::of(read::Checkpoint::open(&files, &choice, cancel)?))
        })
    }

    #[getter]
    fn origin(&self) -> Origin {
        Origin(self.origin.clone())
    }

    /// `safetensors`, `torch` (zip) or `torch-legacy`.
    #[getter]
    fn format(&self) -> &'static str {
        self.weights().format.name()
    }

    /// Keys that lead to the weights; none for the top level. The last one may be what names begin with.
    #[getter]
    fn keys(&self) -> Vec<String> {
        self.weights().keys.clone()
    }

    /// Keys of each dictionary that the weights are in: one, but where several are parts of one network.
    #[getter]
    fn parts(&self) -> Vec<Vec<String>> {
        self.weights().parts.clone()
    }

    /// Keys of weights that were not taken: of dictionaries, and what names in the chosen ones begin with.
    #[getter]
    fn passed_over(&self) -> Vec<String> {
        self.weights().passed_over.clone()
    }

    /// The keys joined by `.`, for people.
    #[getter]
    fn key(&self) -> String {
        self.weights().keys.join(".")
    }

    /// Whether the weights are averaged (EMA) ones, by their keys.
    #[getter]
    fn averaged(&self) -> bool {
        self.weights().averaged
    }

    /// Every dictionary of tensors in the file: key, tensors, numbers in them.
    #[getter]
    fn candidates(&self) -> Vec<(String, usize, u64)> {
        let candidates = self.weights().candidates.iter();
        candidates
            .map(|c| (c.key(), c.tensors, c.numbers))
            .collect()
    }

    /// Tensors in the order of the file.
    #[getter]
    fn tensors(&self) -> Vec<TensorInfo> {
        TensorInfo::all(&self.declared)
    }

    /// Wrappers that were removed from names, each with the number of names.
    #[getter]
    fn prefixes(&self) -> Vec<(String, usize)> {
        self.prefixes.clone()
    }

    /// Entries that are no weights (`_extra_state`, counters).
    #[getter]
    fn left_out(&self) -> Vec<String> {
        self.weights().left_out.clone()
    }

    /// What stands beside the weights, as JSON (see `read::weights::rest`), and keys of what it lacks.
    #[getter]
    fn rest(&self) -> (Option<&str>, Vec<String>) {
        let rest = &self.weights().rest;
        (rest.text.as_deref(), rest.lost.clone())
    }

    /// Plain numbers beside the weights: accuracy, step, epoch.
    #[getter]
    fn numbers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.weights().numbers.clone().into_py_dict(py)
    }

    /// The free text of a safetensors header.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.weights().metadata.clone().into_py_dict(py)
    }

    /// BLAKE3 over names, dtypes and shapes in order of name: equal for checkpoints of one network.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// Bytes of the files together.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    /// Return the bytes of one tensor in C order, its storage's CRC verified where there is one.
    fn read<'py>(&self, py: Python<'py>, name: String) -> PyResult<Bound<'py, PyBytes>> {
        let mut all = self.read_many(py, vec![name])?;
        Ok(all.remove(0))
    }

    /// Return the bytes of some tensors, as `read` would; the files are opened once for all of them.
    fn read_many<'py>(
        &self,
        py: Python<'py>,
        names: Vec<String>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let all = enter(py, |cancel| read_all(&self.origin, &names, cancel))?;
        // One after the other, so that few bytes are there twice.
        let object = |bytes: Vec<u8>| {
            PyBytes::new_with(py, bytes.len(), |out| {
                out.copy_from_slice(&bytes);
                Ok(())
            })
        };
        all.into_iter().map(object).collect()
    }
}

fn read_all(
    origin: &read::Origin,
    names: &[String],
    cancel: &Cancel,
) -> Result<Vec<Vec<u8>>, Error> {
    let checkpoint = origin.open(cancel)?;
    let read = |name: &String| checkpoint.bytes(checkpoint.find(name)?, cancel);
    let all = names.iter().map(read).collect::<Result<_, _>>()?;
    checkpoint.check_unchanged()?;
    Ok(all)
}

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

    /// Which of averages and what they are averages of was taken, as `Checkpoint` was given it.
    #[getter]
    fn ema(&self) -> Option<bool> {
        self.0.ema
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
