//! Wraps the normalizer.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::Array;
use super::enter::{enter, guard};
use super::layout::Layout;
use crate::normalise::{gather, normalizer};

/// How raw rows become training data, and back: y = (t(x) − mean) / std.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Normalizer(pub Arc<normalizer::Normalizer>);

#[pymethods]
impl Normalizer {
    /// Build from f64 arrays: `mean`, `std` of shape `[T]` or `[D]`, `log_scale` of shape `[T]`.
    #[staticmethod]
    fn from_statistics(
        layout: &Layout,
        kind: &str,
        mean: &Bound<'_, PyAny>,
        std: &Bound<'_, PyAny>,
        log_scale: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let mean = vector(mean, "mean")?;
        let std = vector(std, "std")?;
        let log_scale = vector(log_scale, "log_scale")?;
        let (mean, std, log_scale) = (mean.as_slice(), std.as_slice(), log_scale.as_slice());
        let layout = Arc::clone(&layout.0);
        guard(|| {
            let kind = normalizer::Kind::parse(kind)?;
            let built = normalizer::Normalizer::new(layout, kind, mean, std, log_scale)?;
            Ok(Self(Arc::new(built)))
        })
    }

    /// The normaliser that changes nothing, bit for bit.
    #[staticmethod]
    fn identity(layout: &Layout) -> Self {
        let built = normalizer::Normalizer::identity(Arc::clone(&layout.0));
        Self(Arc::new(built))
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind().name()
    }

    /// Normalise f32 `rows` [N, D] in place.
    fn apply(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut rows = self.rows(rows)?;
        let rows = rows.as_mut_slice()?;
        enter(py, |cancel| gather::apply(&self.0, rows, cancel))
    }

    /// De-normalise f32 `rows` [N, D] in place. `log_variance` values are never negative.
    fn invert(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut rows = self.rows(rows)?;
        let rows = rows.as_mut_slice()?;
        enter(py, |cancel| gather::invert(&self.0, rows, cancel))
    }
}

impl Normalizer {
    /// The argument `rows`, [N, D].
    fn rows(&self, rows: &Bound<'_, PyAny>) -> PyResult<Array<f32>> {
        let rows = Array::get(rows, "rows")?;
        let dim = self.0.layout().dim();
        match *rows.shape() {
            [_, found] if found == dim => Ok(rows),
            ref shape => Err(PyValueError::new_err(format!(
                "rows has shape {shape:?}; accepted: [N, {dim}]"
            ))),
        }
    }
}

fn vector(object: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Array<f64>> {
    let array = Array::get(object, name)?;
    array.axes::<1>("one axis")?;
    Ok(array)
}
