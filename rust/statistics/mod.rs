//! Computes the statistics of a bank, streamed in f64, the same for any number of threads.
//!
//! Columns are cut into blocks of fixed size. A block goes through the rows in order, so its element
//! statistics never depend on the threads of the other blocks; what the tensors need from each block is
//! merged in order of the blocks (Chan, Golub and LeVeque 1979).

mod extremes;
mod moments;

use std::ops::Range;

use rayon::prelude::*;

use extremes::Extremes;
use moments::{Moments, Welford};

use crate::bank::layout::{Layout, Segment};
use crate::bank::shard::Rows;
use crate::error::{Error, Result};
use crate::memory;
use crate::normalise::{log_variance, loops, nontemporal};
use crate::runtime::parallel::{Cancel, try_map};

/// Columns of one task: their running statistics stay in the first-level cache.
const BLOCK: usize = 1 << 10;
/// Rows between two merges: bounds the memory of the blocks' results to less than that of the outcome.
const ROWS: usize = 64;

/// A std within a row, over the mean, up to which it is rounding: f32 cannot tell the numbers apart.
const EVEN: f64 = 0.5 * f32::EPSILON as f64;

/// Statistics of t(x), see [`crate::normalise::normalizer`], over all rows of a bank.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// `[T]`: 0.95 · mean of each running variance over the bank, else 1.
    pub log_scale: Vec<f64>,
    /// `[T]`: the tensor's mean within a row, averaged over rows.
    pub tensor_mean: Vec<f64>,
    /// `[T]`: the tensor's population std within a row, averaged over rows. Where that is no more than rounding,
    /// as it is of one number: the root of the mean square of `element_std`, so that what varies is scaled.
    pub tensor_std: Vec<f64>,
    /// `[T]`: the least number of the tensor in any row, as the rows hold it: x, not t(x); 0 if it is empty.
    pub tensor_min: Vec<f64>,
    /// `[T]`: the greatest one.
    pub tensor_max: Vec<f64>,
    /// `[D]`: mean over rows.
    pub element_mean: Vec<f64>,
    /// `[D]`: population std over rows.
    pub element_std: Vec<f64>,
}

/// Computes the statistics of `rows`, which must not be empty.
pub fn statistics(rows: &Rows<'_>, layout: &Layout, cancel: &Cancel) -> Result<Statistics> {
    if rows.is_empty() {
        return Err(Error::Value("no rows; accepted: at least one".into()));
    }
    let scan = Scan {
        rows,
        layout,
        log_scale: log_scales(rows, layout, cancel)?,
        cancel,
    };
    let zeros = || {
        let zeros = memory::filled(0.0, layout.dim(), "a number of each column");
        zeros.map_err(Error::Refused)
    };
    let (mut element_mean, mut element_std) = (zeros()?, zeros()?);
    let mut elements: Vec<_> = element_mean
        .par_chunks_mut(BLOCK)
        .zip(element_std.par_chunks_mut(BLOCK))
        .map(|(mean, std)| Welford::new(mean, std))
        .collect();
    let mut sums = vec![(0.0, 0.0); layout.segments().len()];
    let mut extremes = vec![Extremes::default(); layout.segments().len()];
    for begin in (0..rows.len()).step_by(ROWS) {
        let batch = begin..rows.len().min(begin + ROWS);
        let parts = elements
            .par_iter_mut()
            .enumerate()
            .map(|(block, element)| scan.block(block, batch.clone(), element))
            .collect::<Result<Vec<_>>>()?;
        scan.add_tensors(batch.len(), &parts, &mut sums);
        for (tensor, found) in parts.iter().flat_map(Parts::extremes) {
            extremes[tensor] = extremes[tensor].merge(found);
        }
    }
    elements.into_par_iter().for_each(Welford::finish);
    let count = rows.len() as f64;
    Ok(Statistics {
        log_scale: scan.log_scale,
        tensor_mean: sums.iter().map(|s| s.0 / count).collect(),
        tensor_std: tensor_stds(&sums, count, layout, &element_std),
        tensor_min: extremes.iter().map(Extremes::min).collect(),
        tensor_max: extremes.iter().map(Extremes::max).collect(),
        element_mean,
        element_std,
    })
}

/// The std of each tensor from the sums of (mean, std) over `count` rows, see [`Statistics::tensor_std`].
fn tensor_stds(sums: &[(f64, f64)], count: f64, layout: &Layout, element_std: &[f64]) -> Vec<f64> {
    let std = |(sum, segment): (&(f64, f64), &Segment)| {
        if sum.1 > EVEN * sum.0.abs() {
            return sum.1 / count;
        }
        root_mean_square(&element_std[segment.columns.clone()])
    };
    sums.iter().zip(layout.segments()).map(std).collect()
}

/// 0 of no numbers.
fn root_mean_square(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|v| v * v).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

/// The parts of tensors that lie in one block.
struct Parts {
    tensors: Vec<usize>,
    /// [rows, tensors]
    moments: Vec<Moments>,
    /// [tensors], over the rows.
    extremes: Vec<Extremes>,
}

impl Parts {
    fn extremes(&self) -> impl Iterator<Item = (usize, Extremes)> {
        self.tensors
            .iter()
            .copied()
            .zip(self.extremes.iter().copied())
    }
}

/// One pass over a bank.
struct Scan<'a> {
    rows: &'a Rows<'a>,
    layout: &'a Layout,
    log_scale: Vec<f64>,
    cancel: &'a Cancel,
}

impl Scan<'_> {
    fn columns(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.layout.dim().min((block + 1) * BLOCK)
    }

    /// Takes the rows `batch` of a block into `element`; returns the moments of its parts of tensors.
    fn block(&self, block: usize, batch: Range<usize>, element: &mut Welford<'_>) -> Result<Parts> {
        self.cancel.check()?;
        let columns = self.columns(block);
        let pieces: Vec<_> = self.layout.pieces(columns.clone()).collect();
        let mut numbers = vec![0.0; columns.len()];
        let mut values = vec![0.0; columns.len()];
        let mut moments = Vec::with_capacity(batch.len() * pieces.len());
        let mut extremes = vec![Extremes::default(); pieces.len()];
        for row in batch.clone() {
            self.rows.part(row, columns.clone()).widen(&mut numbers);
            if row + 1 < batch.end {
                // Far away in memory, where no hardware prefetch looks.
                nontemporal::prefetch(self.rows.part(row + 1, columns.clone()).bytes());
            }
            for ((tensor, part), extremes) in pieces.iter().zip(&mut extremes) {
                let part = part.start - columns.start..part.end - columns.start;
                *extremes = extremes.merge(Extremes::of(&numbers[part.clone()]));
                let values = &mut values[part.clone()];
                self.transform(*tensor, &numbers[part], values);
                moments.push(Moments::of(values));
            }
            element.push(&values);
        }
        self.rows.passed(batch, columns);
        Ok(Parts {
            tensors: pieces.into_iter().map(|(tensor, _)| tensor).collect(),
            moments,
            extremes,
        })
    }

    /// t(x) of some of a tensor's numbers.
    fn transform(&self, tensor: usize, source: &[f32], values: &mut [f64]) {
        if self.layout.segments()[tensor].log_variance {
            let scale = self.log_scale[tensor];
            for (value, &x) in values.iter_mut().zip(source) {
                *value = log_variance::forward(f64::from(x), scale);
            }
        } else {
            loops::widen(source, values);
        }
    }

    /// Adds each row's (mean, std) of each tensor to `sums`, from the parts that the blocks found.
    fn add_tensors(&self, rows: usize, blocks: &[Parts], sums: &mut [(f64, f64)]) {
        let of_row = |row| {
            let mut tensors = vec![Moments::default(); sums.len()];
            for Parts {
                tensors: parts,
                moments,
                ..
            } in blocks
            {
                for (&tensor, &part) in parts.iter().zip(&moments[row * parts.len()..]) {
                    tensors[tensor] = tensors[tensor].merge(part);
                }
            }
            tensors
        };
        let found: Vec<Vec<Moments>> = (0..rows).into_par_iter().map(of_row).collect();
        for tensors in found {
            for (sum, moments) in sums.iter_mut().zip(tensors) {
                *sum = (sum.0 + moments.mean(), sum.1 + moments.std());
            }
        }
    }
}

/// The scale of each tensor's log space; 1 for those that have none.
fn log_scales(rows: &Rows<'_>, layout: &Layout, cancel: &Cancel) -> Result<Vec<f64>> {
    try_map(layout.segments(), cancel, |segment| {
        if !segment.log_variance || segment.columns.is_empty() {
            return Ok(1.0);
        }
        let mut total = 0.0;
        let what = format!("tensor {:?}", segment.name);
        let values = memory::filled(0.0, segment.columns.len(), &what);
        let mut values = values.map_err(Error::Refused)?;
        for row in 0..rows.len() {
            rows.part(row, segment.columns.clone()).widen(&mut values);
            check_variances(segment, row, &values)?;
            total += values.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        Ok(log_variance::scale(
            total / (rows.len() * segment.columns.len()) as f64,
        ))
    })
}

fn check_variances(segment: &Segment, row: usize, values: &[f32]) -> Result<()> {
    match values.iter().find(|&&x| x < 0.0) {
        None => Ok(()),
        Some(x) => Err(Error::Refused(format!(
            "tensor {:?} has the running variance {x} in row {row}; accepted: at least 0",
            segment.name
        ))),
    }
}

#[cfg(test)]
mod tests;
