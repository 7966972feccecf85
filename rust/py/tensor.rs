//! Wraps the tensors that a checkpoint declares.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::read::{Tensor, Weights, ties};

/// What a checkpoint declares, shared by the wrappers of its tensors.
pub struct Declared {
    pub weights: Weights,
    /// For each tensor the first one that it is tied to.
    ties: Vec<Option<usize>>,
}

impl Declared {
    pub fn new(weights: Weights) -> Self {
        Self {
            ties: ties(&weights.tensors),
            weights,
        }
    }
}

/// One tensor of a checkpoint, as the file declares it.
#[pyclass(frozen, module = "pdiff._core")]
pub struct TensorInfo {
    declared: Arc<Declared>,
    index: usize,
}

impl TensorInfo {
    /// All tensors, in the order of the file.
    pub fn all(declared: &Arc<Declared>) -> Vec<Self> {
        let info = |index| Self {
            declared: Arc::clone(declared),
            index,
        };
        (0..declared.weights.tensors.len()).map(info).collect()
    }

    fn tensor(&self) -> &Tensor {
        &self.declared.weights.tensors[self.index]
    }
}

#[pymethods]
impl TensorInfo {
    /// Its name without wrappers (`module.`, `_orig_mod.`, …).
    #[getter]
    fn name(&self) -> &str {
        &self.tensor().name
    }

    /// Its name as the file has it, in its dictionary.
    #[getter]
    fn source_name(&self) -> &str {
        &self.tensor().source_name
    }

    /// Index of its dictionary among the parts of the checkpoint.
    #[getter]
    fn part(&self) -> usize {
        self.tensor().part
    }

    /// Safetensors name of the dtype: `F32`, `BF16`, `I64`, …
    #[getter]
    fn dtype(&self) -> &'static str {
        self.tensor().dtype.name()
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.tensor().shape)
    }

    /// Index of its file among those of the checkpoint.
    #[getter]
    fn file(&self) -> usize {
        self.declared.weights.storages[self.tensor().storage].file
    }

    /// The name of the first tensor that is the very same view of the same memory, if there is one.
    #[getter]
    fn tied_to(&self) -> Option<&str> {
        let first = self.declared.ties[self.index]?;
        Some(&self.declared.weights.tensors[first].name)
    }
}
