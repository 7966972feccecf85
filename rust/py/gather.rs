//! Wraps gathering normalised rows into a batch.

use pyo3::prelude::*;

use super::buffer::{Array, Shard, mapped};
use super::enter::{enter, guard};
use super::normalizer::Normalizer;
use super::out::Out;
use crate::bank::shard::Rows;
use crate::normalise::gather as core;
use crate::runtime::parallel::Cancel;

/// Copy rows `indices` (i64), columns [begin, end), normalised, into `out`.
#[pyfunction]
#[pyo3(signature = (shards, indices, out, normalizer, begin=0, end=None))]
pub fn gather<'py>(
    py: Python<'py>,
    shards: Vec<Bound<'py, Shard>>,
    indices: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
    normalizer: &Normalizer,
    begin: i64,
    end: Option<i64>,
) -> PyResult<()> {
    let columns = core::columns(begin, end, normalizer.0.layout().dim())?;
    let indices = Array::<i64>::get(indices, "indices")?;
    let [count] = indices.axes("one axis")?;
    let mut out = Out::get(out, "out")?;
    out.check_shape([count, columns.len()])?;
    out.place().check_apart([&indices.place()])?;
    let (shards, indices, out) = (mapped(&shards), indices.as_slice(), out.batch()?);
    let small = out.len() <= core::SMALL;
    let work = |cancel: &Cancel| {
        let rows = Rows::new(&shards, normalizer.0.layout().dim())?;
        let indices = rows.check_indices(indices)?;
        core::gather(&rows, &indices, columns, &normalizer.0, out, cancel)
    };
    if small {
        return py.detach(|| guard(|| work(&Cancel::default())));
    }
    enter(py, work)
}
