//! Runs work of the core for Python: without the GIL, interruptible, with errors as exceptions.
//!
//! Long work runs on the worker threads while the calling thread waits without the GIL and looks for
//! Ctrl-C. Errors become exceptions, and a panic becomes a `PdiffError`.

use std::mem;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::runtime::panic::catch;
use crate::runtime::parallel::Cancel;

/// How often the calling thread looks for Ctrl-C.
pub const TICK: Duration = Duration::from_millis(50);

/// The worker threads, and the process that they belong to.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Runs short work here and now, with the GIL.
pub fn guard<T>(work: impl FnOnce() -> Result<T>) -> PyResult<T> {
    Ok(catch(work)?)
}

/// Runs long work on the worker threads, without the GIL. Ctrl-C cancels it.
///
/// The work must own no Python object: dropping one would wait for the GIL.
pub fn enter<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel) -> Result<T> + Send,
) -> PyResult<T> {
    let pool = pool()?;
    let cancel = Cancel::default();
    let outcome = Mutex::new(None);
    let finished = Condvar::new();
    let mut signal = None;
    let result = pool.in_place_scope(|scope| {
        scope.spawn(|_| {
            let result = catch(|| work(&cancel));
            *lock(&outcome) = Some(result);
            finished.notify_one();
        });
        loop {
            if let Some(result) = py.detach(|| wait(&outcome, &finished)) {
                return result;
            }
            if let Err(error) = py.check_signals() {
                cancel.request();
                signal = Some(error);
            }
        }
    });
    match signal {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

/// Waits for the outcome, but no longer than a [`TICK`].
fn wait<T>(outcome: &Mutex<Option<T>>, finished: &Condvar) -> Option<T> {
    let (mut outcome, _) = finished
        .wait_timeout_while(lock(outcome), TICK, |outcome| outcome.is_none())
        .unwrap_or_else(PoisonError::into_inner);
    outcome.take()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker threads of this process. Called with the GIL, so that no fork can meet a locked pool.
pub fn pool() -> Result<Arc<ThreadPool>> {
    let mut pool = lock(&POOL);
    let here = process::id();
    if let Some((owner, pool)) = &*pool
        && *owner == here
    {
        return Ok(Arc::clone(pool));
    }
    let threads = ThreadPoolBuilder::new()
        .thread_name(|i| format!("pdiff-{i}"))
        .build()
        .map_err(|e| Error::Internal(format!("cannot start worker threads: {e}")))?;
    let threads = Arc::new(threads);
    // After a fork the parent's threads do not exist here; dropping their pool would wait for them.
    mem::forget(pool.replace((here, Arc::clone(&threads))));
    Ok(threads)
}
