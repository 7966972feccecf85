//! Rows out of the shards into the caller's batch, normalised in the same pass, and back in place.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::normalizer::Normalizer;
use crate::parallel::Cancel;
use crate::shard::Rows;

/// Numbers that one task takes at least, and at most of one row: 128 KiB, some 50 µs of work.
const BLOCK: usize = 1 << 15;
/// Numbers copied and then normalised while they are in the first-level cache.
const TILE: usize = 1 << 11;

/// The columns [begin, end) of a row of `dim` numbers, checked; without `end`, to the end of the row.
pub fn columns(begin: i64, end: Option<i64>, dim: usize) -> Result<Range<usize>> {
    let bound = |value: i64| usize::try_from(value).ok().filter(|&v| v <= dim);
    match (bound(begin), end.map_or(Some(dim), bound)) {
        (Some(begin), Some(end)) if begin <= end => Ok(begin..end),
        _ => {
            let end = end.map_or_else(|| "end".to_owned(), |end| end.to_string());
            Err(Error::Value(format!(
                "columns [{begin}, {end}); accepted: 0 <= begin <= end <= {dim}"
            )))
        }
    }
}

/// Copies the rows `indices`, columns `columns`, normalised, into `out` [indices, columns].
pub fn gather(
    rows: &Rows<'_>,
    indices: &[usize],
    columns: Range<usize>,
    normalizer: &Normalizer,
    out: &mut [f32],
    cancel: &Cancel,
) -> Result<()> {
    let width = columns.len();
    assert!(columns.end <= rows.dim(), "see `columns`");
    assert_eq!(out.len(), indices.len() * width, "one number for each");
    for_each_block(out, width, cancel, |row, offset, block| {
        let first = columns.start + offset;
        let source = &rows.row(indices[row])[first..first + block.len()];
        for (i, (tile, source)) in block.chunks_mut(TILE).zip(source.chunks(TILE)).enumerate() {
            tile.copy_from_slice(source);
            normalizer.apply(first + i * TILE, tile);
        }
    })
}

/// Normalises `rows` [N, D] in place.
pub fn apply(normalizer: &Normalizer, rows: &mut [f32], cancel: &Cancel) -> Result<()> {
    let dim = normalizer.layout().dim();
    for_each_block(rows, dim, cancel, |_, first, block| {
        normalizer.apply(first, block);
    })
}

/// De-normalises `rows` [N, D] in place.
pub fn invert(normalizer: &Normalizer, rows: &mut [f32], cancel: &Cancel) -> Result<()> {
    let dim = normalizer.layout().dim();
    for_each_block(rows, dim, cancel, |_, first, block| {
        normalizer.invert(first, block);
    })
}

/// Runs `work(row, first column, numbers)` over blocks of rows and of columns, in parallel.
fn for_each_block(
    out: &mut [f32],
    width: usize,
    cancel: &Cancel,
    work: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    out.par_chunks_mut(width)
        .enumerate()
        .with_min_len(BLOCK.div_ceil(width))
        .try_for_each(|(row, numbers)| {
            cancel.check()?;
            numbers
                .par_chunks_mut(BLOCK)
                .enumerate()
                .for_each(|(i, block)| work(row, i * BLOCK, block));
            Ok(())
        })
}

#[cfg(test)]
mod tests;
