//! Wraps writing tensors in memory as a safetensors file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::Bytes;
use super::enter::enter;
use crate::dtype::DType;
use crate::files::write_safetensors::{self, InMemory};

/// Write tensors in memory as one safetensors file, durably.
#[pyfunction]
#[pyo3(signature = (path, tensors, metadata=None))]
pub fn write_tensors(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<(String, String, Vec<usize>, Bound<'_, PyAny>)>,
    metadata: Option<BTreeMap<String, String>>,
) -> PyResult<()> {
    let metadata = metadata.unwrap_or_default();
    let buffers = tensors.iter().map(|(.., data)| Bytes::get(data));
    let buffers: Vec<Bytes> = buffers.collect::<PyResult<_>>()?;
    let mut entries = Vec::with_capacity(tensors.len());
    for ((name, dtype, shape, _), buffer) in tensors.iter().zip(&buffers) {
        let Some(known) = DType::parse(dtype) else {
            return Err(PyValueError::new_err(format!(
                "tensor {name:?} has the unknown dtype {dtype:?}"
            )));
        };
        entries.push(InMemory {
            name: name.clone(),
            dtype: known,
            shape: shape.clone(),
            bytes: buffer.as_slice(),
        });
    }
    enter(py, |cancel| {
        write_safetensors::write_tensors(&path, entries, &metadata, cancel)
    })
}
