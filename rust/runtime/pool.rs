//! Keeps the worker threads of this process, also after a fork, without a lock that a fork could meet.
#![allow(unsafe_code)]

use std::process;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// The threads, and the process that they belong to.
struct Owned {
    owner: u32,
    threads: Arc<ThreadPool>,
}

/// What was made last, by this process or one that it was forked from; never freed once it is here.
static LATEST: AtomicPtr<Owned> = AtomicPtr::new(ptr::null_mut());

/// The worker threads of this process, started when they are first asked for.
///
/// In a fork the parent's threads do not exist, and dropping their pool would wait for them: it is left where
/// it is, and another takes its place.
pub fn pool() -> Result<Arc<ThreadPool>> {
    let here = process::id();
    loop {
        let latest = LATEST.load(Ordering::Acquire);
        // SAFETY: what `LATEST` pointed to at any time was leaked below, whole before it was stored there.
        if let Some(found) = unsafe { latest.as_ref() }
            && found.owner == here
        {
            return Ok(Arc::clone(&found.threads));
        }
        let threads = Arc::new(start()?);
        let new = Box::into_raw(Box::new(Owned {
            owner: here,
            threads,
        }));
        let stored = LATEST.compare_exchange(latest, new, Ordering::AcqRel, Ordering::Acquire);
        if stored.is_err() {
            // SAFETY: another thread was faster, and nobody else has seen this box, whose threads end with it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

fn start() -> Result<ThreadPool> {
    let threads = ThreadPoolBuilder::new()
        .thread_name(|i| format!("pdiff-{i}"))
        .build()
        .map_err(|e| Error::Internal(format!("cannot start worker threads: {e}")))?;
    // A worker looks for work first in the others' queues, whose library fills a global cell then, once a process. A
    // fork in that moment would find the cell half filled for ever. Whoever has answered is past it.
    threads.install(|| ());
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_ask_at_once_get_one_pool() {
        let asking: Vec<_> = (0..8).map(|_| thread::spawn(|| pool().unwrap())).collect();
        let found: Vec<_> = asking.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(found.iter().all(|each| Arc::ptr_eq(each, &found[0])));
        assert_eq!(found[0].install(|| 1 + 1), 2);
    }
}
