//! Refuses views of which each number would be read from a hole of its own.
//!
//! A sparse file of kilobytes can have a storage of terabytes, of which a view takes a number from every page: far
//! more work than the file, or what is made of it, is worth. Other views of holes are read as fast as they are copied.

use super::declared::{Tensor, Weights};
use super::source::Source;
use crate::dtype::element_count;
use crate::error::Result;

/// Elements lie apart whose range has more than so many times their own bytes.
const APART: u64 = 16;
/// What reading an element costs that lies apart: a page.
const PAGE: u64 = 1 << 12;
/// Bytes of pages that any file may cost: some seconds.
const FREE: u64 = 1 << 32;
/// How many times as large as what is on disk the storages of such views may be; file systems compress.
const TIMES_ON_DISK: u64 = 16;

/// Refuses weights with far more pages to read than all files have on disk.
///
/// Where the operating system does not say how much is on disk, all are accepted.
pub fn check(sources: &[Source], weights: &Weights) -> Result<()> {
    let mut ranges = vec![0_u64; weights.storages.len()];
    let mut pages = 0_u64;
    let mut worst = None;
    for tensor in &weights.tensors {
        let Some((range, cost)) = apart(tensor) else {
            continue;
        };
        ranges[tensor.storage] = ranges[tensor.storage].max(range);
        pages = pages.saturating_add(cost);
        worst = worst.max(Some((range, &tensor.source_name, tensor.storage)));
    }
    let Some((_, name, storage)) = worst.filter(|_| pages > FREE) else {
        return Ok(());
    };
    let range = ranges.into_iter().fold(0, u64::saturating_add);
    let Some(on_disk) = sources.iter().map(Source::on_disk).sum::<Option<u64>>() else {
        return Ok(());
    };
    if range / TIMES_ON_DISK <= on_disk {
        return Ok(());
    }
    Err(sources[weights.storages[storage].file].refuse(format!(
        "tensor {name:?} takes single numbers from {range} bytes of a sparse file, of which {on_disk} are on disk; \
         accepted: storages that are there"
    )))
}

/// The bytes from the first element to the last and what reading them costs, of a view whose elements lie apart.
fn apart(tensor: &Tensor) -> Option<(u64, u64)> {
    let strides = tensor.strides.as_ref()?;
    let axes = tensor.shape.iter().zip(strides);
    let steps = axes.map(|(&size, &stride)| size.saturating_sub(1).saturating_mul(stride));
    let last = steps.fold(0, usize::saturating_add) as u64;
    let range = last.saturating_mul(tensor.dtype.item_bytes() as u64);
    let count = element_count(&tensor.shape)? as u64;
    (range / APART > tensor.byte_len()).then(|| (range, count.saturating_mul(PAGE)))
}
