//! Gathers rows of shards into the caller's batch, normalised in the same pass, and normalises in place.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::nontemporal::{Cached, Sink, Streamed};
use super::normalizer::Normalizer;
use crate::bank::precision::narrow_bf16;
use crate::bank::shard::Rows;
use crate::error::{Error, Result};
use crate::runtime::parallel::Cancel;

/// Numbers for which waking the worker threads takes longer than the work.
pub const SMALL: usize = 1 << 18;
/// Numbers of a batch that no cache of one core holds: it is written past the caches.
const STREAMED: usize = 1 << 21;
/// Columns of one task, and the numbers that it takes at least: some 10 µs of work.
const BLOCK: usize = 1 << 16;
/// Rows of one task of wide rows.
const ROWS: usize = 4;
/// Numbers that are held between two loops: they stay in the first-level cache.
const STAGE: usize = 1 << 9;

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

/// Where a batch goes, [indices, columns].
#[derive(Debug)]
pub enum Batch<'a> {
    /// As f32.
    F32(&'a mut [f32]),
    /// As bf16, rounded once more after the normalisation.
    BF16(&'a mut [bf16]),
}

impl Batch<'_> {
    /// Numbers in it.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(out) => out.len(),
            Self::BF16(out) => out.len(),
        }
    }
}

/// Copies the rows `indices`, columns `columns`, normalised, into `out` [indices, columns].
///
/// Up to [`SMALL`] numbers it works on the calling thread, else on the worker threads.
pub fn gather(
    rows: &Rows<'_>,
    indices: &[usize],
    columns: Range<usize>,
    normalizer: &Normalizer,
    out: Batch<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let width = columns.len();
    assert!(columns.end <= rows.dim(), "see `columns`");
    let wanted = indices.len().checked_mul(width);
    if wanted != Some(out.len()) {
        return Err(Error::Value(format!(
            "out has {} numbers; accepted: {} × {width}",
            out.len(),
            indices.len()
        )));
    }
    let part = |row: usize, offset: usize, count: usize| {
        let first = columns.start + offset;
        (first, rows.part(indices[row], first..first + count))
    };
    match out {
        Batch::F32(out) if out.len() < STREAMED => {
            for_each_part::<_, Cached>(out, width, cancel, |row, offset, tile| {
                let (first, numbers) = part(row, offset, tile.len());
                let next = if row + 1 < indices.len() {
                    row + 1
                } else {
                    row
                };
                let (_, next) = part(next, offset, tile.len());
                let sink = Cached::before(numbers.bytes(), next.bytes());
                normalizer.load(first, numbers, tile, sink);
            })
        }
        Batch::F32(out) => for_each_part::<_, Streamed>(out, width, cancel, |row, offset, tile| {
            let (first, numbers) = part(row, offset, tile.len());
            normalizer.load(first, numbers, tile, Streamed);
        }),
        Batch::BF16(out) => for_each_part::<_, Cached>(out, width, cancel, |row, offset, out| {
            let mut tile = [0.0; STAGE];
            for (i, out) in out.chunks_mut(STAGE).enumerate() {
                let tile = &mut tile[..out.len()];
                let (first, numbers) = part(row, offset + i * STAGE, out.len());
                normalizer.load(first, numbers, tile, Cached::ALONE);
                narrow_bf16(tile, out);
            }
        }),
    }
}

/// Normalises `rows` [N, D] in place.
pub fn apply(normalizer: &Normalizer, rows: &mut [f32], cancel: &Cancel) -> Result<()> {
    let dim = normalizer.layout().dim();
    for_each_part::<_, Cached>(rows, dim, cancel, |_, first, tile| {
        normalizer.apply(first, tile);
    })
}

/// De-normalises `rows` [N, D] in place.
pub fn invert(normalizer: &Normalizer, rows: &mut [f32], cancel: &Cancel) -> Result<()> {
    let dim = normalizer.layout().dim();
    for_each_part::<_, Cached>(rows, dim, cancel, |_, first, tile| {
        normalizer.invert(first, tile);
    })
}

/// Runs `work(row, first column, numbers)` over all parts of `out` [rows, width], in parallel if it is large.
///
/// A task goes down the rows of one block of columns, whose statistics stay in the cache meanwhile. `S` is what
/// `work` stores through.
fn for_each_part<T: Send, S: Sink>(
    out: &mut [T],
    width: usize,
    cancel: &Cancel,
    work: impl Fn(usize, usize, &mut [T]) + Sync,
) -> Result<()> {
    cancel.check()?;
    if out.is_empty() {
        return Ok(());
    }
    let rows = out.chunks_mut(width).enumerate();
    if rows.len() * width <= SMALL {
        rows.for_each(|(row, numbers)| work(row, 0, numbers));
        S::finish();
        return Ok(());
    }
    let mut blocks: Vec<(usize, usize, &mut [T])> = rows
        .flat_map(|(row, numbers)| {
            let blocks = numbers.chunks_mut(BLOCK).enumerate();
            blocks.map(move |(i, block)| (i * BLOCK, row, block))
        })
        .collect();
    blocks.sort_by_key(|&(offset, row, _)| (offset, row));
    let per_task = BLOCK.div_ceil(width.min(BLOCK)).max(ROWS);
    blocks.par_chunks_mut(per_task).try_for_each(|task| {
        cancel.check()?;
        for (offset, row, block) in task {
            work(*row, *offset, block);
        }
        S::finish();
        Ok(())
    })
}

#[cfg(test)]
mod tests;
