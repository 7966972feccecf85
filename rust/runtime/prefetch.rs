//! Runs jobs ahead of their use on one thread.

use std::collections::VecDeque;
use std::mem;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::runtime::panic::catch;
use crate::runtime::parallel::Cancel;

/// The thread, and the jobs on their way to it and back.
///
/// Every job comes back, finished or not: the thread itself never drops one.
#[derive(Debug)]
pub struct Prefetcher<J> {
    shared: Arc<Shared<J>>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread; a fork of it has not.
    owner: u32,
}

#[derive(Debug)]
struct Shared<J> {
    queue: Mutex<Queue<J>>,
    /// Something was submitted, or nothing more will be.
    submitted: Condvar,
    finished: Condvar,
    cancel: Cancel,
}

#[derive(Debug)]
struct Queue<J> {
    waiting: VecDeque<J>,
    done: VecDeque<(J, Result<()>)>,
    /// Jobs that were submitted and not taken back.
    open: usize,
}

impl<J: Send + 'static> Prefetcher<J> {
    /// Starts the thread; it calls `work` for one job after the other.
    ///
    /// A panic in `work` is the error of that job.
    pub fn start(work: impl Fn(&mut J, &Cancel) -> Result<()> + Send + 'static) -> Result<Self> {
        let queue = Queue {
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            open: 0,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            submitted: Condvar::new(),
            finished: Condvar::new(),
            cancel: Cancel::default(),
        });
        let thread = thread::Builder::new().name("pdiff-prefetch".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || shared.work(work)
        });
        let thread =
            thread.map_err(|e| Error::Internal(format!("cannot start a worker thread: {e}")))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            owner: process::id(),
        })
    }

    /// Hands a job to the thread.
    pub fn submit(&self, job: J) -> Result<()> {
        self.check_process()?;
        let mut queue = self.shared.lock();
        queue.waiting.push_back(job);
        queue.open += 1;
        drop(queue);
        self.shared.submitted.notify_one();
        Ok(())
    }

    /// Takes back the job that was submitted first, with its outcome; `None` if `patience` ends before.
    ///
    /// Fails if no job is under way, so that waiting always comes to an end.
    pub fn take(&self, patience: Duration) -> Result<Option<(J, Result<()>)>> {
        self.check_process()?;
        let unfinished = |queue: &mut Queue<J>| queue.open > 0 && queue.done.is_empty();
        let (mut queue, _) = self
            .shared
            .finished
            .wait_timeout_while(self.shared.lock(), patience, unfinished)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = queue.done.pop_front() {
            queue.open -= 1;
            return Ok(Some(job));
        }
        if queue.open == 0 {
            return Err(Error::Value("nothing to wait for; submit first".to_owned()));
        }
        match &self.thread {
            Some(thread) if thread.is_finished() => {
                Err(Error::Internal("a worker thread is gone".to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Fails in a fork of the process that has the thread.
    ///
    /// There, the locks may be held by a thread that does not exist: nothing may touch them.
    pub fn check_process(&self) -> Result<()> {
        if process::id() == self.owner {
            return Ok(());
        }
        Err(Error::Forked)
    }
}

impl<J> Shared<J> {
    fn work(&self, work: impl Fn(&mut J, &Cancel) -> Result<()>) {
        while let Some(mut job) = self.next() {
            let result = catch(|| work(&mut job, &self.cancel));
            self.lock().done.push_back((job, result));
            self.finished.notify_all();
        }
    }

    /// Waits for the next job; `None` once a stop was requested.
    fn next(&self) -> Option<J> {
        let idle = |queue: &mut Queue<J>| self.cancel.check().is_ok() && queue.waiting.is_empty();
        let queue = self.submitted.wait_while(self.lock(), idle);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        self.cancel.check().ok()?;
        queue.waiting.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Prefetcher<J> {
    /// Cancels what is under way and waits for the thread, some milliseconds.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if process::id() != self.owner {
            // A fork has no such thread; what it shared with the parent is leaked, never unlocked or dropped.
            mem::forget((thread, Arc::clone(&self.shared)));
            return;
        }
        // Under the lock, so that the thread cannot miss it between looking and going to sleep.
        let queue = self.shared.lock();
        self.shared.cancel.request();
        drop(queue);
        self.shared.submitted.notify_all();
        // Its only error is a panic, and `take` has told of it.
        drop(thread.join());
    }
}

impl<J> Drop for Prefetcher<J> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn jobs_come_back_in_order_with_their_outcomes() {
        let prefetcher = Prefetcher::start(|job: &mut usize, _| {
            *job *= 2;
            match *job {
                6 => panic!("six"),
                8 => Err(Error::Value("eight".to_owned())),
                _ => Ok(()),
            }
        })
        .unwrap();
        for job in 1..6 {
            prefetcher.submit(job).unwrap();
        }
        let found: Vec<(usize, String)> = (1..6)
            .map(|_| {
                let (job, result) = prefetcher.take(LONG).unwrap().unwrap();
                (
                    job,
                    result.map_or_else(|e| e.to_string(), |()| String::new()),
                )
            })
            .collect();
        let expected = [
            (2, ""),
            (4, ""),
            (6, "internal error: a bug in pdiff: six"),
            (8, "eight"),
            (10, ""),
        ];
        assert_eq!(found, expected.map(|(job, text)| (job, text.to_owned())));
        let text = prefetcher.take(LONG).unwrap_err().to_string();
        assert_eq!(text, "nothing to wait for; submit first");
    }

    #[test]
    fn patience_ends_and_a_drop_cancels_what_is_under_way() {
        let begun = Arc::new(AtomicUsize::new(0));
        let prefetcher = Prefetcher::start({
            let begun = Arc::clone(&begun);
            move |_: &mut (), cancel: &Cancel| {
                begun.fetch_add(1, Ordering::Relaxed);
                loop {
                    cancel.check()?;
                    thread::sleep(Duration::from_millis(1));
                }
            }
        })
        .unwrap();
        prefetcher.submit(()).unwrap();
        prefetcher.submit(()).unwrap();
        while begun.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        assert!(prefetcher.take(Duration::from_millis(1)).unwrap().is_none());
        drop(prefetcher);
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn every_job_is_dropped_by_the_one_who_submitted_it() {
        #[derive(Debug)]
        struct Here(thread::ThreadId, Arc<AtomicUsize>);
        impl Drop for Here {
            fn drop(&mut self) {
                assert_eq!(thread::current().id(), self.0);
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let prefetcher = Prefetcher::start(|_: &mut Here, _| Ok(())).unwrap();
        for _ in 0..100 {
            let job = Here(thread::current().id(), Arc::clone(&dropped));
            prefetcher.submit(job).unwrap();
        }
        drop(prefetcher.take(LONG).unwrap());
        drop(prefetcher);
        assert_eq!(dropped.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn another_process_is_told_that_it_has_no_thread() {
        let mut prefetcher = Prefetcher::start(|_: &mut u8, _| Ok(())).unwrap();
        prefetcher.owner += 1;
        let text = prefetcher.submit(1).unwrap_err().to_string();
        assert!(
            text.starts_with("this loader belongs to the process"),
            "{text}"
        );
        let text = prefetcher.take(LONG).unwrap_err().to_string();
        assert!(text.ends_with("make one after the fork"), "{text}");
        // Whoever held the lock when the process was forked holds it for ever.
        let shared = Arc::clone(&prefetcher.shared);
        let _held = shared.lock();
        drop(prefetcher);
    }
}
