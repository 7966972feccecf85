//! Borrows the caller's memory that a batch goes to.

use half::bf16;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::apart::Place;
use super::buffer::Array;
use crate::error::Result;
use crate::normalise::gather::Batch;

/// A C-contiguous array of f32, or of bf16, for which the buffer protocol has no name: its bits, as u16.
pub enum Out {
    F32(Array<f32>),
    BF16(Array<u16>),
}

impl Out {
    /// Borrows the argument `name`.
    pub fn get(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Self> {
        let format = PyUntypedBuffer::get(object)?;
        let format = format.format().to_string_lossy();
        match &*format {
            "f" => Ok(Self::F32(Array::get(object, name)?)),
            "H" => Ok(Self::BF16(Array::get(object, name)?)),
            _ => Err(PyValueError::new_err(format!(
                "{name} has elements of format {format:?}; accepted: f32, or bf16 as u16"
            ))),
        }
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::BF16(array) => array.shape(),
        }
    }

    /// Where its memory is.
    pub fn place(&self) -> Place {
        match self {
            Self::F32(array) => array.place(),
            Self::BF16(array) => array.place(),
        }
    }

    pub fn check_shape(&self, wanted: [usize; 2]) -> PyResult<()> {
        let found = self.shape();
        if found != wanted {
            return Err(PyValueError::new_err(format!(
                "out has shape {found:?}; accepted: {wanted:?}"
            )));
        }
        Ok(())
    }

    /// All of it.
    pub fn batch(&mut self) -> Result<Batch<'_>> {
        Ok(match self {
            Self::F32(array) => Batch::F32(array.as_mut_slice()?),
            Self::BF16(array) => {
                Batch::BF16(bytemuck::cast_slice_mut::<u16, bf16>(array.as_mut_slice()?))
            }
        })
    }

    /// Its first `count` numbers, at most all of them.
    pub fn first(&mut self, count: usize) -> Result<Batch<'_>> {
        Ok(match self.batch()? {
            Batch::F32(numbers) => Batch::F32(&mut numbers[..count]),
            Batch::BF16(numbers) => Batch::BF16(&mut numbers[..count]),
        })
    }
}
