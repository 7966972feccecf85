//! Tells buffers apart that share memory: what is written to must not be read, or written, as something else.

use std::ops::Range;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Where the memory of an argument is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its addresses.
    pub bytes: Range<usize>,
    /// What the argument is called.
    pub name: &'static str,
}

impl Place {
    /// Refuses this argument, which is written to, if it shares memory with one of the `others`.
    pub fn check_apart<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> PyResult<()> {
        let shares = |other: &&Self| {
            let begin = self.bytes.start.max(other.bytes.start);
            begin < self.bytes.end.min(other.bytes.end)
        };
        match others.into_iter().find(shares) {
            None => Ok(()),
            Some(other) => Err(PyValueError::new_err(format!(
                "{} and {} share memory; accepted: memory of its own for each",
                self.name, other.name
            ))),
        }
    }
}
