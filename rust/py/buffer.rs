//! Borrows the buffers of Python objects, and lends the rows of shards as a buffer. All unsafe code of `py` is here.
//!
//! As everywhere in the buffer protocol, the caller must not write to a buffer from another thread while
//! a call that takes it has not returned; or, of a `Prefetch`, while it is being filled. An `Array` holds the
//! exporter's memory wherever it moves, also to a thread that knows nothing of Python, which may use it but
//! must not drop it: that would wait for the GIL.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use pyo3::buffer::{Element, PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::apart::Place;
use super::enter::guard;
use crate::bank::precision::Precision;
use crate::bank::shard;
use crate::error::{Error, Result};

/// The bytes of any C-contiguous buffer.
pub struct Bytes(PyUntypedBuffer);

impl Bytes {
    pub fn get(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("data: accepted: a contiguous buffer"));
        }
        Ok(Self(buffer))
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.0.len_bytes() == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps `len_bytes` contiguous bytes alive until the buffer is released,
        // which is when `self` is dropped; that nobody writes to them is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

/// A C-contiguous array of `T`.
pub struct Array<T: Element> {
    buffer: PyBuffer<T>,
    name: &'static str,
}

impl<T: Element> Array<T> {
    /// Borrows the argument `name`.
    pub fn get(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        let format = buffer.format().to_string_lossy().into_owned();
        let wanted = std::any::type_name::<T>();
        let Ok(buffer) = buffer.into_typed::<T>() else {
            return Err(PyValueError::new_err(format!(
                "{name} has elements of format {format:?}; accepted: aligned {wanted}"
            )));
        };
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err(format!(
                "{name} is not contiguous; accepted: C order"
            )));
        }
        Ok(Self { buffer, name })
    }

    pub fn shape(&self) -> &[usize] {
        self.buffer.shape()
    }

    /// Where its memory is.
    pub fn place(&self) -> Place {
        let begin = self.buffer.buf_ptr().addr();
        Place {
            bytes: begin..begin + self.buffer.len_bytes(),
            name: self.name,
        }
    }

    /// Checks the size of both axes.
    pub fn check_shape(&self, wanted: [usize; 2]) -> PyResult<()> {
        let (name, found) = (self.name, self.shape());
        if found != wanted {
            return Err(PyValueError::new_err(format!(
                "{name} has shape {found:?}; accepted: {wanted:?}"
            )));
        }
        Ok(())
    }

    /// Checks the number of axes and returns their sizes.
    pub fn axes<const N: usize>(&self, meaning: &str) -> PyResult<[usize; N]> {
        <[usize; N]>::try_from(self.shape()).map_err(|_| {
            let (name, shape) = (self.name, self.shape());
            PyValueError::new_err(format!("{name} has shape {shape:?}; accepted: {meaning}"))
        })
    }

    pub fn as_slice(&self) -> &[T] {
        if self.buffer.item_count() == 0 {
            return &[];
        }
        // SAFETY: format, alignment and contiguity were checked in `get`; the exporter keeps the memory
        // until `self` is dropped; that nobody writes to it is the caller's promise.
        unsafe {
            std::slice::from_raw_parts(self.buffer.buf_ptr().cast(), self.buffer.item_count())
        }
    }

    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        if self.buffer.readonly() {
            let name = self.name;
            return Err(Error::Value(format!(
                "{name} is read-only; accepted: a writable buffer"
            )));
        }
        if self.buffer.item_count() == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as in `as_slice`, and the buffer is writable. That the other arguments of a call do not
        // share it, the call has checked (see `Place`); that no other thread reads or writes it meanwhile is
        // the caller's promise.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.buf_ptr().cast(), self.buffer.item_count())
        })
    }
}

/// What the buffer protocol calls the elements; it has no name for bf16, whose bits are lent as u16.
fn format(precision: Precision) -> &'static CStr {
    match precision {
        Precision::F32 => c"f",
        Precision::F16 => c"e",
        Precision::BF16 => c"H",
    }
}

/// One immutable, memory-mapped shard. Supports the buffer protocol: C order, shape [rows, D].
#[pyclass(frozen, module = "pdiff._core")]
pub struct Shard {
    pub inner: Arc<shard::Shard>,
    shape: [ffi::Py_ssize_t; 2],
    strides: [ffi::Py_ssize_t; 2],
}

#[pymethods]
impl Shard {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = py.detach(|| guard(|| shard::Shard::open(&path)))?;
        let (rows, dim) = (
            inner.rows() as ffi::Py_ssize_t,
            inner.dim() as ffi::Py_ssize_t,
        );
        let item = inner.precision().size() as ffi::Py_ssize_t;
        Ok(Self {
            inner: Arc::new(inner),
            shape: [rows, dim],
            strides: [dim * item, item],
        })
    }

    /// How the numbers are stored: `F32`, `F16` or `BF16`.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.inner.precision().name()
    }

    /// Rows in this shard.
    #[getter]
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    /// D, the numbers in a row.
    #[getter]
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    // SAFETY: called by Python with a `view` to fill in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let asks = |flag: c_int| flags & flag == flag;
        let shard = slf.get();
        if asks(ffi::PyBUF_WRITABLE) {
            return Err(PyBufferError::new_err("a shard is read-only"));
        }
        if asks(ffi::PyBUF_F_CONTIGUOUS) && shard.shape.iter().all(|&n| n > 1) {
            return Err(PyBufferError::new_err("a shard is in C order"));
        }
        let numbers = shard.inner.bytes();
        // What was not asked for must be null. Nothing here is ever written to through the pointers.
        let when = |wanted: bool, pointer: *const ffi::Py_ssize_t| {
            if wanted {
                pointer.cast_mut()
            } else {
                ptr::null_mut()
            }
        };
        let format = if asks(ffi::PyBUF_FORMAT) {
            format(shard.inner.precision()).as_ptr().cast_mut()
        } else {
            ptr::null_mut()
        };
        let shape = when(asks(ffi::PyBUF_ND), shard.shape.as_ptr());
        let strides = when(asks(ffi::PyBUF_STRIDES), shard.strides.as_ptr());
        // SAFETY: Python passes a valid pointer. The map, shape and strides belong to the shard, which
        // is frozen and which the view's reference keeps alive.
        unsafe {
            (*view).buf = numbers.as_ptr().cast_mut().cast::<c_void>();
            (*view).len = size_of_val(numbers) as ffi::Py_ssize_t;
            (*view).readonly = 1;
            (*view).itemsize = shard.inner.precision().size() as ffi::Py_ssize_t;
            (*view).format = format;
            (*view).ndim = 2;
            (*view).shape = shape;
            (*view).strides = strides;
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
            (*view).obj = slf.into_ptr();
        }
        Ok(())
    }
}

/// The core's shards.
pub fn mapped<'a>(shards: &'a [Bound<'_, Shard>]) -> Vec<&'a shard::Shard> {
    shards.iter().map(|shard| &*shard.get().inner).collect()
}
