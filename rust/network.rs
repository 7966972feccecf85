//! Small networks with the samples last, one block of samples after the other in the first caches.
//!
//! Each number that a sample has on its way through the network is a row of memory, one sample beside the
//! other. Places that a convolution reads together are rows in sequence, so that a convolution is a product for
//! each place, of the rows as they lie.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::folded::Folded;
use crate::margin::margins;
use crate::parallel::Cancel;
use crate::tile::{Patches, Row, SAMPLES, at_least, product};

/// Rows at most: a thread then has 128 MiB of them.
const LARGEST: usize = 1 << 20;

/// The rows of all values of a block.
type Memory = Vec<Row>;

#[derive(Debug)]
enum Step {
    Product {
        source: Range<usize>,
        patches: Patches,
        relu: bool,
        target: Range<usize>,
    },
    Sum {
        sources: Vec<usize>,
        divisor: f32,
        relu: bool,
        target: Range<usize>,
    },
}

/// Steps that turn the inputs of a block, its first rows, into outputs.
#[derive(Debug, Default)]
pub struct Network {
    rows: usize,
    steps: Vec<Step>,
    /// Memory that no thread uses at the moment.
    spare: Mutex<Vec<Memory>>,
}

impl Network {
    /// Makes room for `rows` more numbers a sample; returns which row is the first.
    pub fn room(&mut self, rows: usize) -> Result<usize> {
        let first = self.rows;
        self.rows = first
            .checked_add(rows)
            .filter(|&rows| rows <= LARGEST)
            .ok_or_else(|| {
                Error::Value(format!(
                    "{rows} more rows after {first}; accepted: {LARGEST} in all"
                ))
            })?;
        self.spare().clear();
        Ok(first)
    }

    /// Adds, for each place: `outputs` rows from `target` ← bias + weight · `terms` rows of `source`.
    #[allow(clippy::too_many_arguments)]
    pub fn product(
        &mut self,
        source: Range<usize>,
        patches: Patches,
        terms: usize,
        target: usize,
        outputs: usize,
        places: usize,
        relu: bool,
    ) -> Result<()> {
        let source = self.range(source.start, source.len())?;
        let target = self.range(target, places.saturating_mul(outputs))?;
        if target.is_empty() || terms == 0 {
            return Err(Error::Value(
                "a product of nothing; accepted: at least one number".into(),
            ));
        }
        if source.start < target.end && target.start < source.end {
            return Err(Error::Value(format!(
                "a product of rows {source:?} to rows {target:?}; accepted: rows apart"
            )));
        }
        self.steps.push(Step::Product {
            source,
            patches,
            relu,
            target,
        });
        Ok(())
    }

    /// Adds: `rows` rows from `target` ← the sum of as many rows from each of `sources`, divided.
    pub fn sum(
        &mut self,
        sources: Vec<usize>,
        target: usize,
        rows: usize,
        divisor: f32,
        relu: bool,
    ) -> Result<()> {
        for &source in &sources {
            self.range(source, rows)?;
        }
        let target = self.range(target, rows)?;
        self.steps.push(Step::Sum {
            sources,
            divisor,
            relu,
            target,
        });
        Ok(())
    }

    /// Writes the margin of each sample with each model to `out` [M, N], N being that of `targets`.
    ///
    /// `inputs` are blocks of the first rows, `models` what the products multiply with, in order, and the logits
    /// are the rows `logits`. No more than `threads` of the current pool work.
    pub fn margins(
        &self,
        inputs: &[Row],
        models: &[&[Folded]],
        logits: Range<usize>,
        (targets, out): (&[i64], &mut [f32]),
        threads: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        assert_eq!(out.len(), models.len() * targets.len(), "a margin for each");
        let blocks = targets.len().div_ceil(SAMPLES);
        let Some(read) = inputs.len().checked_div(blocks).filter(|&read| read > 0) else {
            return Ok(());
        };
        let (first, logits) = (
            self.range(0, read)?,
            self.range(logits.start, logits.len())?,
        );
        let outs = models.iter().zip(out.chunks_exact_mut(targets.len()));
        let todo = Mutex::new(outs.flat_map(|(model, out)| {
            let samples = targets.chunks(SAMPLES).zip(out.chunks_mut(SAMPLES));
            let blocks = inputs.chunks_exact(read).zip(samples);
            blocks.map(move |(block, (targets, out))| (model, block, targets, out))
        }));
        let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut memory = self.memory();
            while let Some((model, block, targets, out)) = next()
                && cancel.check().is_ok()
            {
                memory[first.clone()].copy_from_slice(block);
                self.steps(&mut memory, model);
                margins(&memory[logits.clone()], targets, out);
            }
            self.spare().push(memory);
        };
        rayon::scope(|scope| {
            for _ in 1..threads.min(blocks) {
                scope.spawn(|_| work());
            }
            work();
        });
        cancel.check()
    }

    fn steps(&self, memory: &mut [Row], folded: &[Folded]) {
        let mut folded = folded.iter();
        for step in &self.steps {
            match step {
                Step::Product {
                    source,
                    patches,
                    relu,
                    target,
                } => {
                    let folded = folded.next().expect("one for each product");
                    let [source, target] = memory
                        .get_disjoint_mut([source.clone(), target.clone()])
                        .expect("checked when it was added");
                    product(folded, source, *patches, *relu, target);
                }
                Step::Sum {
                    sources,
                    divisor,
                    relu,
                    target,
                } => {
                    let floor = if *relu { 0.0 } else { f32::NEG_INFINITY };
                    for row in 0..target.len() {
                        let mut sum = [0.0; SAMPLES];
                        for source in sources {
                            let numbers = &memory[source + row];
                            sum.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
                        }
                        memory[target.start + row] = sum.map(|sum| at_least(floor, sum / divisor));
                    }
                }
            }
        }
    }

    fn memory(&self) -> Memory {
        let spare = self.spare().pop();
        spare.unwrap_or_else(|| vec![[0.0; SAMPLES]; self.rows])
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Memory>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(&self, first: usize, count: usize) -> Result<Range<usize>> {
        let end = first.saturating_add(count);
        if end > self.rows {
            let rows = self.rows;
            return Err(Error::Value(format!(
                "rows {first} to {end}; accepted: up to {rows}"
            )));
        }
        Ok(first..end)
    }
}

#[cfg(test)]
mod tests;
