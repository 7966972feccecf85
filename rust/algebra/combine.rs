//! Combines a bank's rows linearly, streamed: out [n, D] = coefficients [n, K] · Y [K, D].

use rayon::prelude::*;

use super::column_block::{self, ColumnBlock};
use super::matmul::{Matrix, product};
use crate::bank::shard::Rows;
use crate::error::{Error, Result};
use crate::normalise::normalizer::Normalizer;
use crate::runtime::parallel::Cancel;

/// Combines the normalised rows; `coefficients` has a row of K numbers for each row of `out`.
///
/// With `centred`, each column is centred over the rows first: differences of rows that are alike keep their
/// digits. Each row of the bank is read once, whatever the number of combinations.
pub fn combine(
    coefficients: &[f32],
    rows: &Rows<'_>,
    normalizer: &Normalizer,
    centred: bool,
    out: &mut [f32],
    cancel: &Cancel,
) -> Result<()> {
    let (count, dim) = (rows.len(), rows.dim());
    let wanted = out.len() / dim;
    let fits =
        out.len().is_multiple_of(dim) && wanted.checked_mul(count) == Some(coefficients.len());
    if !fits {
        return Err(Error::Value(format!(
            "{} coefficients for {} numbers out; accepted: [n, {count}] and [n, {dim}]",
            coefficients.len(),
            out.len()
        )));
    }
    if out.is_empty() {
        return Ok(());
    }
    let width = column_block::width(count + wanted, dim);
    let weights = Matrix::new(coefficients, wanted, count, count);
    let scratch = || {
        let block = ColumnBlock::new(rows, normalizer, centred, width);
        (block, vec![0.0; wanted * width])
    };
    let mut blocks = blocks(out, dim, width);
    blocks.par_iter_mut().enumerate().try_for_each_init(
        scratch,
        |(block, result), (index, parts)| {
            cancel.check()?;
            let columns = index * width..dim.min((index + 1) * width);
            let (numbers, width) = block.load(columns);
            let numbers = Matrix::new(numbers, count, width, width);
            product(weights, numbers, result, width);
            for (part, numbers) in parts.iter_mut().zip(result.chunks_exact(width)) {
                part.copy_from_slice(numbers);
            }
            Ok(())
        },
    )
}

/// For each block of columns, its part of every row of `out`.
fn blocks(out: &mut [f32], dim: usize, width: usize) -> Vec<Vec<&mut [f32]>> {
    let mut blocks: Vec<Vec<&mut [f32]>> = (0..dim.div_ceil(width)).map(|_| Vec::new()).collect();
    for row in out.chunks_exact_mut(dim) {
        for (block, part) in blocks.iter_mut().zip(row.chunks_mut(width)) {
            block.push(part);
        }
    }
    blocks
}

#[cfg(test)]
mod tests;
