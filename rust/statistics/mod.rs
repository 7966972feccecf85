//! Computes the statistics of a bank, streamed in f64, the same for any number of threads.
//!
//! Columns are cut into stripes, so that memory does not grow with D, and stripes into blocks of fixed size. A
//! block goes through the rows in order, so its element statistics never depend on the threads of the other
//! blocks; what the tensors need from each block is merged in order of the blocks (Chan, Golub and LeVeque 1979).

mod extremes;
pub mod file;
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
/// Columns whose statistics are in memory at once.
const STRIPE: usize = 1 << 19;
/// Rows between two merges: bounds the memory of the blocks' results to less than that of the outcome.
const ROWS: usize = 64;

/// A std within a row, over the mean, up to which it is rounding: f32 cannot tell the numbers apart.
const EVEN: f64 = 0.5 * f32::EPSILON as f64;

/// Statistics of t(x), see [`crate::normalise::normalizer`], of each tensor over all rows of a bank: `[T]` each.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// 0.95 · mean of each running variance over the bank, else 1.
    pub log_scale: Vec<f64>,
    /// The tensor's mean within a row, averaged over rows.
    pub tensor_mean: Vec<f64>,
    /// The tensor's population std within a row, averaged over rows. Where that is no more than rounding,
    /// as it is of one number: the root of the mean square of its elements' stds, so that what varies is scaled.
    pub tensor_std: Vec<f64>,
    /// The least number of the tensor in any row, as the rows hold it: x, not t(x); 0 if it is empty.
    pub tensor_min: Vec<f64>,
    /// The greatest one.
    pub tensor_max: Vec<f64>,
}

/// Computes the statistics of `rows`, which must not be empty.
///
/// `keep` is given, from left to right, the mean of t(x) over rows and its population std for each of the next
/// columns.
pub fn statistics(
    rows: &Rows<'_>,
    layout: &Layout,
    cancel: &Cancel,
    mut keep: impl FnMut(&[f64], &[f64]) -> Result<()>,
) -> Result<Statistics> {
    if rows.is_empty() {
        return Err(Error::Value("no rows; accepted: at least one".into()));
    }
    let scan = Scan {
        rows,
        layout,
        log_scale: log_scales(rows, layout, cancel)?,
        cancel,
    };
    let open = memory::filled(Moments::default(), rows.len(), "a number of each row");
    let mut open = open.map_err(Error::Refused)?;
    let mut totals = vec![Total::default(); layout.segments().len()];
    let size = layout.dim().min(STRIPE);
    let (mut mean, mut std) = (vec![0.0; size], vec![0.0; size]);
    for begin in (0..layout.dim()).step_by(STRIPE) {
        let stripe = begin..layout.dim().min(begin + STRIPE);
        let (mean, std) = (&mut mean[..stripe.len()], &mut std[..stripe.len()]);
        scan.stripe(stripe, (mean, std), &mut open, &mut totals)?;
        keep(mean, std)?;
    }
    let count = rows.len() as f64;
    let stds = totals.iter().zip(layout.segments());
    Ok(Statistics {
        log_scale: scan.log_scale,
        tensor_mean: totals.iter().map(|total| total.mean / count).collect(),
        tensor_std: stds.map(|(total, s)| total.std(count, s)).collect(),
        tensor_min: totals.iter().map(|total| total.extremes.min()).collect(),
        tensor_max: totals.iter().map(|total| total.extremes.max()).collect(),
    })
}

/// What is summed up of one tensor.
#[derive(Clone, Default)]
struct Total {
    /// Of the mean within each row.
    mean: f64,
    /// Of the std within each row.
    std: f64,
    /// Of the squared std of each element.
    squares: f64,
    extremes: Extremes,
}

impl Total {
    /// See [`Statistics::tensor_std`].
    fn std(&self, rows: f64, segment: &Segment) -> f64 {
        if self.std > EVEN * self.mean.abs() {
            return self.std / rows;
        }
        (self.squares / segment.columns.len().max(1) as f64).sqrt()
    }
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
    /// Goes through the rows of a stripe, and leaves mean and std of each of its columns.
    ///
    /// `open` are, of each row, the moments of the tensor that the stripe's left end cuts, and then those of the
    /// tensor that its right end cuts; `totals` takes in the other tensors.
    fn stripe(
        &self,
        stripe: Range<usize>,
        (mean, std): (&mut [f64], &mut [f64]),
        open: &mut [Moments],
        totals: &mut [Total],
    ) -> Result<()> {
        let mut elements: Vec<_> = mean
            .par_chunks_mut(BLOCK)
            .zip(std.par_chunks_mut(BLOCK))
            .map(|(mean, std)| Welford::new(mean, std))
            .collect();
        for begin in (0..self.rows.len()).step_by(ROWS) {
            let batch = begin..self.rows.len().min(begin + ROWS);
            let parts = elements
                .par_iter_mut()
                .zip(stripe.clone().into_par_iter().step_by(BLOCK))
                .map(|(element, begin)| {
                    let columns = begin..stripe.end.min(begin + BLOCK);
                    self.block(columns, batch.clone(), element)
                })
                .collect::<Result<Vec<_>>>()?;
            self.add_tensors(&stripe, &parts, &mut open[batch], totals);
        }
        elements.into_par_iter().for_each(Welford::finish);
        for (tensor, part) in self.layout.pieces(stripe.clone()) {
            let stds = &std[part.start - stripe.start..part.end - stripe.start];
            totals[tensor].squares += moments::sum_of_squares(stds);
        }
        Ok(())
    }

    /// Takes the rows `batch` of a block into `element`; returns the moments of its parts of tensors.
    fn block(
        &self,
        columns: Range<usize>,
        batch: Range<usize>,
        element: &mut Welford<'_>,
    ) -> Result<Parts> {
        self.cancel.check()?;
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

    /// Adds each row's mean and std of each tensor to its total, from the parts that the blocks of a stripe found.
    ///
    /// Of the rows, `open` are as for [`Self::stripe`].
    fn add_tensors(
        &self,
        stripe: &Range<usize>,
        blocks: &[Parts],
        open: &mut [Moments],
        totals: &mut [Total],
    ) {
        let all = || blocks.iter().flat_map(|parts| &parts.tensors);
        let (Some(&first), Some(&last)) = (all().next(), all().next_back()) else {
            return;
        };
        let of_row = |(row, open): (usize, &Moments)| {
            let mut tensors = vec![Moments::default(); last - first + 1];
            tensors[0] = *open;
            for Parts {
                tensors: parts,
                moments,
                ..
            } in blocks
            {
                for (&tensor, &part) in parts.iter().zip(&moments[row * parts.len()..]) {
                    tensors[tensor - first] = tensors[tensor - first].merge(part);
                }
            }
            tensors
        };
        let found: Vec<_> = open.par_iter().enumerate().map(of_row).collect();
        let is_cut = self.layout.segments()[last].columns.end > stripe.end;
        for (open, mut tensors) in open.iter_mut().zip(found) {
            *open = tensors.pop_if(|_| is_cut).unwrap_or_default();
            for (total, moments) in totals[first..].iter_mut().zip(tensors) {
                total.mean += moments.mean();
                total.std += moments.std();
            }
        }
        for (tensor, found) in blocks.iter().flat_map(Parts::extremes) {
            totals[tensor].extremes = totals[tensor].extremes.merge(found);
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
