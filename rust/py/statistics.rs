//! Wraps computing the statistics of a bank.

use std::path::PathBuf;

use pyo3::prelude::*;

use super::buffer::{Shard, mapped};
use super::enter::enter;
use super::layout::Layout;
use crate::bank::shard::Rows;
use crate::statistics::file;

/// Write statistics of all rows, f64, streamed, the same for any number of threads.
#[pyfunction]
pub fn write_statistics(
    py: Python<'_>,
    path: PathBuf,
    shards: Vec<Bound<'_, Shard>>,
    layout: &Layout,
) -> PyResult<()> {
    let shards = mapped(&shards);
    enter(py, |cancel| {
        let rows = Rows::new(&shards, layout.0.dim())?;
        file::write(&path, &rows, &layout.0, cancel)
    })
}
