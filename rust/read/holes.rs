//! Refuses tensors for which far more of a sparse file would be read than there is of it, or of them.
//!
//! A file of kilobytes can have a storage of terabytes, of which a view takes a number from every page, or a few
//! numbers, for which all of the storage is read once to verify its CRC. Other holes are read as fast as they are
//! copied, and what is made of them has their size.

use super::declared::{Storage, Tensor, Weights};
use super::source::Source;
use crate::dtype::element_count;
use crate::error::Result;

/// Elements lie apart whose range has more than so many times their own bytes.
const APART: u64 = 16;
/// What reading an element costs that lies apart: a page.
const PAGE: u64 = 1 << 12;
/// Bytes that any file may cost: some seconds.
const FREE: u64 = 1 << 32;
/// How many times as large as what is on disk such storages may be; file systems compress.
const TIMES_ON_DISK: u64 = 16;

/// Refuses weights for which far more is to be read than all files have on disk.
///
/// Where the operating system does not say how much is on disk, all are accepted.
pub fn check(sources: &[Source], weights: &Weights) -> Result<()> {
    let mut ranges = vec![0_u64; weights.storages.len()];
    let mut cost = 0_u64;
    let mut worst = None;
    for tensor in &weights.tensors {
        let storage = &weights.storages[tensor.storage];
        let (verified, (range, pages)) = (verified(tensor, storage), apart(tensor));
        let known = &mut ranges[tensor.storage];
        // It is verified once.
        let verifying = if *known < verified { verified } else { 0 };
        cost = cost.saturating_add(pages).saturating_add(verifying);
        *known = range.max(verified).max(*known);
        worst = worst.max(Some((
            range.max(verified),
            &tensor.source_name,
            storage.file,
        )));
    }
    let Some((_, name, file)) = worst.filter(|_| cost > FREE) else {
        return Ok(());
    };
    let range = ranges.into_iter().fold(0, u64::saturating_add);
    let Some(on_disk) = sources.iter().map(Source::on_disk).sum::<Option<u64>>() else {
        return Ok(());
    };
    if range / TIMES_ON_DISK <= on_disk {
        return Ok(());
    }
    Err(sources[file].refuse(format!(
        "tensor {name:?} needs {range} bytes of a sparse file, of which {on_disk} are on disk; \
         accepted: storages that are there"
    )))
}

/// The bytes of the storage, if a part of it is read whose CRC is recorded.
fn verified(tensor: &Tensor, storage: &Storage) -> u64 {
    let is_whole = tensor.strides.is_none() && tensor.byte_len() == storage.len;
    let is_read = tensor.byte_len() > 0 && !is_whole;
    storage.crc.filter(|_| is_read).map_or(0, |_| storage.len)
}

/// The bytes from the first element to the last and what reading them costs, of a view whose elements lie apart.
fn apart(tensor: &Tensor) -> (u64, u64) {
    let Some(strides) = &tensor.strides else {
        return (0, 0);
    };
    let axes = tensor.shape.iter().zip(strides);
    let steps = axes.map(|(&size, &stride)| size.saturating_sub(1).saturating_mul(stride));
    let last = steps.fold(0, usize::saturating_add) as u64;
    let range = last.saturating_mul(tensor.dtype.item_bytes() as u64);
    let count = element_count(&tensor.shape).unwrap_or_default() as u64;
    if range / APART > tensor.byte_len() {
        (range, count.saturating_mul(PAGE))
    } else {
        (0, 0)
    }
}
