//! Runs work of the core for Python: without the GIL, interruptible, with errors as exceptions.
//!
//! Long work runs on the worker threads while the calling thread waits without the GIL and looks for
//! Ctrl-C. Errors become exceptions, and a panic becomes a `PdiffError`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;

use crate::error::Result;
use crate::runtime::panic::catch;
use crate::runtime::parallel::Cancel;
use crate::runtime::pool::pool;

/// How often the calling thread looks for Ctrl-C.
pub const TICK: Duration = Duration::from_millis(50);

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
