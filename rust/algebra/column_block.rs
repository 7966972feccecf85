//! Loads some columns of all rows of a bank, normalised, into the cache of one core.

use std::ops::Range;

use crate::bank::shard::Rows;
use crate::normalise::loops;
use crate::normalise::nontemporal::Cached;
use crate::normalise::normalizer::Normalizer;

/// Numbers of a block: 1 MiB, half of what a core's own cache holds.
pub const NUMBERS: usize = 1 << 18;
/// Columns of a block, at least: fewer leave a matrix product no room to work in.
const NARROW: usize = 64;

/// Columns of the blocks of rows of `dim` numbers of which a thread has `count` in its cache, results included.
pub fn width(count: usize, dim: usize) -> usize {
    (NUMBERS / count.max(1)).max(NARROW).min(dim)
}

/// Memory for one block after the other.
pub struct ColumnBlock<'a> {
    rows: &'a Rows<'a>,
    normalizer: &'a Normalizer,
    centred: bool,
    numbers: Vec<f32>,
    means: Vec<f64>,
}

impl<'a> ColumnBlock<'a> {
    /// For blocks of at most `width` columns, each centred over the rows if `centred`.
    pub fn new(
        rows: &'a Rows<'a>,
        normalizer: &'a Normalizer,
        centred: bool,
        width: usize,
    ) -> Self {
        Self {
            rows,
            normalizer,
            centred,
            numbers: vec![0.0; rows.len() * width],
            means: vec![0.0; width],
        }
    }

    /// Gathers `columns`; returns the numbers [K, columns] and how many columns they have.
    pub fn load(&mut self, columns: Range<usize>) -> (&[f32], usize) {
        let width = columns.len();
        let numbers = &mut self.numbers[..self.rows.len() * width];
        for (row, numbers) in numbers.chunks_exact_mut(width).enumerate() {
            let stored = self.rows.part(row, columns.clone());
            self.normalizer
                .load(columns.start, stored, numbers, Cached::ALONE);
        }
        self.rows.passed(0..self.rows.len(), columns);
        if self.centred {
            centre(numbers, &mut self.means[..width]);
        }
        (numbers, width)
    }
}

/// Subtracts from each column of `numbers` [K, width] its mean.
fn centre(numbers: &mut [f32], means: &mut [f64]) {
    let width = means.len();
    let count = (numbers.len() / width) as f64;
    means.fill(0.0);
    for row in numbers.chunks_exact(width) {
        loops::add(means, row);
    }
    means.iter_mut().for_each(|mean| *mean /= count);
    for row in numbers.chunks_exact_mut(width) {
        loops::subtract(row, means);
    }
}
