//! Wraps the sets of samples that models get wrong.

use std::sync::OnceLock;

use pyo3::buffer::Element;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::Array;
use super::enter::{enter, guard};
use crate::error::{Error, Result};
use crate::overlap::Sets;
use crate::overlap::bit_matrix::BitMatrix;

/// Which samples each of many models gets wrong, a bit each.
#[pyclass(frozen, module = "pdiff._core")]
pub struct WrongSets {
    sets: Sets,
    /// The sets as columns, made when samples are drawn for the first time.
    by_sample: OnceLock<BitMatrix>,
}

#[pymethods]
impl WrongSets {
    #[new]
    fn new(wrong: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wrong = Array::<u8>::get(wrong, "wrong")?;
        let [models, samples] = wrong.axes("two axes")?;
        guard(|| Ok(BitMatrix::pack(wrong.as_slice(), models, samples).into()))
    }

    /// Return the sets of samples drawn with repeats.
    fn drawn(&self, py: Python<'_>, samples: &Bound<'_, PyAny>) -> PyResult<Self> {
        let samples = vector(samples, "samples")?;
        let samples = samples.as_slice();
        enter(py, |_| {
            let by_sample = self.by_sample.get_or_init(|| self.sets.bits().transposed());
            let samples = indices(samples, "sample", by_sample.rows())?;
            Ok(by_sample.draw(samples).transposed().into())
        })
    }

    /// Write how many samples each model gets wrong to `out` i64 [M].
    fn sizes(&self, out: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut out = vector::<i64>(out, "out")?;
        let sizes = self.sets.sizes();
        if out.shape() != [sizes.len()] {
            let (found, wanted) = (out.shape(), sizes.len());
            let message = format!("out has shape {found:?}; accepted: [{wanted}]");
            return Err(PyValueError::new_err(message));
        }
        for (out, &size) in out.as_mut_slice()?.iter_mut().zip(sizes) {
            *out = size as i64;
        }
        Ok(())
    }

    /// Write the largest IoU of each of `models` with one of `members` but `itself` to `out`.
    fn nearest(
        &self,
        py: Python<'_>,
        models: &Bound<'_, PyAny>,
        members: &Bound<'_, PyAny>,
        itself: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let models = vector::<i64>(models, "models")?;
        let members = vector::<i64>(members, "members")?;
        let itself = vector::<i64>(itself, "itself")?;
        let mut out = vector::<f64>(out, "out")?;
        let read = [models.place(), members.place(), itself.place()];
        out.place().check_apart(&read)?;
        let (models, members) = (models.as_slice(), members.as_slice());
        let (itself, out) = (itself.as_slice(), out.as_mut_slice()?);
        enter(py, |cancel| {
            let (models, members) = (self.models(models)?, self.models(members)?);
            self.sets.nearest(&models, &members, itself, out, cancel)
        })
    }

    /// Write the sums of weight · IoU of each of `models` with those after it, group by group, to `out`.
    fn sums_after(
        &self,
        py: Python<'_>,
        models: &Bound<'_, PyAny>,
        weights: &Bound<'_, PyAny>,
        ends: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (models, weights) = (
            vector::<i64>(models, "models")?,
            vector::<f64>(weights, "weights")?,
        );
        let ends = vector::<i64>(ends, "ends")?;
        let mut out = Array::<f64>::get(out, "out")?;
        let [_, _] = out.axes("two axes")?;
        let read = [models.place(), weights.place(), ends.place()];
        out.place().check_apart(&read)?;
        let (models, ends) = (models.as_slice(), ends.as_slice());
        let (weights, out) = (weights.as_slice(), out.as_mut_slice()?);
        enter(py, |cancel| {
            let ends = indices(ends, "end", models.len() + 1)?;
            let models = self.models(models)?;
            self.sets.sums_after(&models, weights, &ends, out, cancel)
        })
    }
}

impl WrongSets {
    fn models(&self, found: &[i64]) -> Result<Vec<usize>> {
        indices(found, "model", self.sets.sizes().len())
    }
}

impl From<BitMatrix> for WrongSets {
    fn from(bits: BitMatrix) -> Self {
        Self {
            sets: Sets::new(bits),
            by_sample: OnceLock::new(),
        }
    }
}

/// Checks that every index is one of `count` things.
fn indices(found: &[i64], of: &str, count: usize) -> Result<Vec<usize>> {
    let check = |&index: &i64| match usize::try_from(index) {
        Ok(index) if index < count => Ok(index),
        _ => Err(Error::Value(format!(
            "{of} {index}; accepted: from 0, below {count}"
        ))),
    };
    found.iter().map(check).collect()
}

/// The argument `name`, of one axis.
fn vector<T: Element>(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Array<T>> {
    let array = Array::get(object, name)?;
    let [_] = array.axes("one axis")?;
    Ok(array)
}
