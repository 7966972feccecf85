//! Wraps gathering batches ahead.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rayon::ThreadPool;

use super::apart::Place;
use super::buffer::{Array, Shard};
use super::enter::{TICK, guard};
use super::normalizer::Normalizer;
use super::out::Out;
use crate::bank::shard::{self, Rows};
use crate::error::Result;
use crate::normalise::{gather, normalizer};
use crate::runtime::parallel::Cancel;
use crate::runtime::pool::pool;
use crate::runtime::prefetch::Prefetcher;

/// A batch on its way: while the thread fills `out`, it is nowhere else.
struct Job {
    slot: usize,
    indices: Vec<i64>,
    out: Out,
}

/// What the thread reads from; it owns no Python object.
struct Source {
    shards: Vec<Arc<shard::Shard>>,
    normalizer: Arc<normalizer::Normalizer>,
    columns: Range<usize>,
    pool: Arc<ThreadPool>,
}

impl Source {
    fn fill(&self, job: &mut Job, cancel: &Cancel) -> Result<()> {
        let shards: Vec<&shard::Shard> = self.shards.iter().map(|shard| &**shard).collect();
        let rows = Rows::new(&shards, self.normalizer.layout().dim())?;
        let indices = rows.check_indices(&job.indices)?;
        let count = indices.len() * self.columns.len();
        let out = job.out.first(count)?;
        let gather = || {
            let columns = self.columns.clone();
            gather::gather(&rows, &indices, columns, &self.normalizer, out, cancel)
        };
        if count <= gather::SMALL {
            return gather();
        }
        self.pool.install(gather)
    }
}

/// Batches gathered ahead by one thread, into buffers that the caller owns.
#[pyclass(frozen, module = "pdiff._core")]
pub struct Prefetch {
    prefetcher: Prefetcher<Job>,
    /// The buffers, by slot, that are not under way. A fork that meets it locked has no use for it.
    free: Mutex<Vec<Option<Out>>>,
    /// Where the buffers are, by slot, under way or not.
    places: Vec<Place>,
}

#[pymethods]
impl Prefetch {
    #[new]
    #[pyo3(signature = (shards, buffers, normalizer, begin=0, end=None))]
    fn new(
        shards: Vec<Bound<'_, Shard>>,
        buffers: Vec<Bound<'_, PyAny>>,
        normalizer: &Normalizer,
        begin: i64,
        end: Option<i64>,
    ) -> PyResult<Self> {
        let columns = gather::columns(begin, end, normalizer.0.layout().dim())?;
        let (mut free, mut places) = (Vec::new(), Vec::new());
        for buffer in &buffers {
            let mut out = Out::get(buffer, "buffer")?;
            check_buffer(&mut out, columns.len())?;
            out.place().check_apart(&places)?;
            places.push(out.place());
            free.push(Some(out));
        }
        let source = Source {
            shards: shards.iter().map(|s| Arc::clone(&s.get().inner)).collect(),
            normalizer: Arc::clone(&normalizer.0),
            columns,
            pool: pool()?,
        };
        let prefetcher = guard(|| Prefetcher::start(move |job, cancel| source.fill(job, cancel)))?;
        Ok(Self {
            prefetcher,
            free: Mutex::new(free),
            places,
        })
    }

    /// Ask for the rows `indices` (i64) in the first rows of buffer `slot`.
    fn submit(&self, slot: usize, indices: &Bound<'_, PyAny>) -> PyResult<()> {
        self.prefetcher.check_process()?;
        let indices = Array::<i64>::get(indices, "indices")?;
        let [count] = indices.axes("one axis")?;
        indices.place().check_apart(&self.places)?;
        let mut free = self.free();
        let slots = free.len();
        let Some(buffer) = free.get_mut(slot) else {
            return Err(PyValueError::new_err(format!(
                "slot {slot}; accepted: 0 to {}",
                slots.saturating_sub(1)
            )));
        };
        let Some(out) = buffer.take_if(|out| count <= out.shape()[0]) else {
            return Err(PyValueError::new_err(match buffer {
                None => format!("slot {slot} is being filled; accepted: one that was waited for"),
                Some(out) => {
                    let rows = out.shape()[0];
                    format!("{count} indices for slot {slot}; accepted: at most {rows}")
                }
            }));
        };
        let indices = indices.as_slice().to_vec();
        Ok(self.prefetcher.submit(Job { slot, indices, out })?)
    }

    /// Wait for the batch that was asked for first; return its slot. Ctrl-C ends the waiting.
    fn wait(&self, py: Python<'_>) -> PyResult<usize> {
        let (job, result) = loop {
            if let Some(done) = py.detach(|| self.prefetcher.take(TICK))? {
                break done;
            }
            py.check_signals()?;
        };
        self.free()[job.slot] = Some(job.out);
        result?;
        Ok(job.slot)
    }
}

impl Prefetch {
    fn free(&self) -> MutexGuard<'_, Vec<Option<Out>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // Before the buffers go, which are dropped here, with the GIL.
        let prefetcher = &mut self.prefetcher;
        Python::attach(|py| py.detach(|| prefetcher.stop()));
    }
}

/// Checks that a batch of `width` columns can go to `out`.
fn check_buffer(out: &mut Out, width: usize) -> PyResult<()> {
    let shape = out.shape();
    if !matches!(*shape, [_, found] if found == width) {
        return Err(PyValueError::new_err(format!(
            "buffer has shape {shape:?}; accepted: [B, {width}]"
        )));
    }
    out.batch()?;
    Ok(())
}
