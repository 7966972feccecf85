//! Computes the Gram matrix of a bank's rows, streamed: G = Y Yᵀ in f64, from products of f32.
//!
//! Columns are cut into lanes, and a lane into blocks that fit the cache of one core. A task walks down the
//! blocks of its lane: gathers and normalises one, multiplies each pair of tiles of rows, adds the products
//! to the lane's own sums. The number of lanes depends on K alone and their sums are added in order, so the
//! result is the same for any number of threads. Of the symmetric matrix only one half is computed.

use std::ops::Range;

use rayon::prelude::*;

use super::column_block::{self, ColumnBlock};
use super::matmul::{Matrix, product_transposed};
use crate::bank::shard::Rows;
use crate::error::{Error, Result};
use crate::normalise::loops;
use crate::normalise::normalizer::Normalizer;
use crate::runtime::parallel::Cancel;

/// Rows at most: the matrix then takes 8 GiB.
const LARGEST: usize = 1 << 15;
/// Lanes at most: the threads that they keep busy.
const LANES: usize = 32;
/// Bytes that the sums of all lanes take at most, unless one lane takes more.
const SUMS: usize = 1 << 28;
/// Rows of a tile, at most: more waste work on the diagonal, fewer spend it on packing.
const TILE: usize = 160;

/// The Gram matrix [K, K] of the normalised rows, each column centred over the rows first if `centred`.
///
/// Centring before the product matters: checkpoints of one run are alike, and the small differences that
/// count would drown in what they share.
pub fn gram(
    rows: &Rows<'_>,
    normalizer: &Normalizer,
    centred: bool,
    cancel: &Cancel,
) -> Result<Vec<f64>> {
    let (count, dim) = (rows.len(), rows.dim());
    if !(1..=LARGEST).contains(&count) {
        return Err(Error::Value(format!(
            "a Gram matrix of {count} rows; accepted: 1 to {LARGEST}"
        )));
    }
    let width = column_block::width(count, dim);
    let blocks = dim.div_ceil(width);
    let lanes = (SUMS / (count * count * size_of::<f64>()))
        .clamp(1, LANES)
        .min(blocks);
    let lane = |lane: usize| -> Result<Vec<Pair>> {
        let mut block = ColumnBlock::new(rows, normalizer, centred, width);
        let mut pairs = pairs(count);
        for index in lane * blocks / lanes..(lane + 1) * blocks / lanes {
            cancel.check()?;
            let (numbers, width) = block.load(index * width..dim.min((index + 1) * width));
            pairs
                .par_iter_mut()
                .for_each(|pair| pair.add(numbers, width));
        }
        Ok(pairs)
    };
    let sums = (0..lanes)
        .into_par_iter()
        .map(lane)
        .collect::<Result<Vec<_>>>()?;
    Ok(sums
        .into_iter()
        .reduce(added)
        .map_or_else(Vec::new, |pairs| assembled(count, &pairs)))
}

/// Two tiles of rows, and what their products have summed to.
struct Pair {
    left: Range<usize>,
    right: Range<usize>,
    sum: Vec<f64>,
    product: Vec<f32>,
}

/// Every pair of tiles on or above the diagonal.
fn pairs(count: usize) -> Vec<Pair> {
    let tiles = count.div_ceil(TILE);
    let tile = |tile: usize| tile * count / tiles..(tile + 1) * count / tiles;
    let pair = |(left, right): (usize, usize)| {
        let (left, right) = (tile(left), tile(right));
        let size = left.len() * right.len();
        Pair {
            left,
            right,
            sum: vec![0.0; size],
            product: vec![0.0; size],
        }
    };
    let upper = (0..tiles).flat_map(|left| (left..tiles).map(move |right| (left, right)));
    upper.map(pair).collect()
}

impl Pair {
    /// Adds the products of the tiles' rows in `numbers` [K, width].
    fn add(&mut self, numbers: &[f32], width: usize) {
        let tile = |rows: &Range<usize>| {
            let numbers = &numbers[rows.start * width..rows.end * width];
            Matrix::new(numbers, rows.len(), width, width)
        };
        product_transposed(tile(&self.left), tile(&self.right), &mut self.product);
        loops::add(&mut self.sum, &self.product);
    }
}

/// The sums of two lanes.
fn added(mut left: Vec<Pair>, right: Vec<Pair>) -> Vec<Pair> {
    for (left, right) in left.iter_mut().zip(right) {
        for (sum, more) in left.sum.iter_mut().zip(right.sum) {
            *sum += more;
        }
    }
    left
}

/// The whole matrix from its upper half.
fn assembled(count: usize, pairs: &[Pair]) -> Vec<f64> {
    let mut matrix = vec![0.0; count * count];
    for pair in pairs {
        let columns = pair.right.len();
        for (i, sums) in pair.left.clone().zip(pair.sum.chunks_exact(columns)) {
            for (j, &sum) in pair.right.clone().zip(sums) {
                matrix[i * count + j] = sum;
                matrix[j * count + i] = sum;
            }
        }
    }
    matrix
}

#[cfg(test)]
mod tests;
