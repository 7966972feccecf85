//! Wraps sorting names in natural order.

use pyo3::prelude::*;

use crate::natural_order;

/// `names` in natural order: `checkpoint-9` before `checkpoint-10`.
#[pyfunction]
pub fn natural_sort(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| natural_order::compare(a, b));
    names
}
