//! Maps work over many items in parallel, with the first error and a way to stop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::error::{Error, Result};

/// A flag that asks long work to stop; the work looks at it every few milliseconds.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// Asks the work to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails with [`Error::Interrupted`] once a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}

/// Maps `items` in parallel. The error is that of the lowest index, whatever the number of threads.
///
/// Items after a failed one are skipped if they have not begun.
pub fn try_map<T: Sync, R: Send>(
    items: &[T],
    cancel: &Cancel,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let failed = AtomicUsize::new(usize::MAX);
    let results: Vec<Option<Result<R>>> = items
        .par_iter()
        .enumerate()
        .with_max_len(1)
        .map(|(index, item)| {
            if failed.load(Ordering::Relaxed) < index {
                return None;
            }
            let result = cancel.check().and_then(|()| work(item));
            if result.is_err() {
                failed.fetch_min(index, Ordering::Relaxed);
            }
            Some(result)
        })
        .collect();
    results.into_iter().flatten().collect()
}

/// Gives each of `items` to `work`, in parallel; the error is that of the lowest index.
pub fn try_each<T: Send>(
    items: Vec<T>,
    cancel: &Cancel,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let slots: Vec<Mutex<Option<T>>> = items.into_iter().map(|t| Mutex::new(Some(t))).collect();
    let take = |slot: &Mutex<Option<T>>| slot.lock().ok().and_then(|mut item| item.take());
    try_map(&slots, cancel, |slot| {
        work(take(slot).expect("each item is taken once"))
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use rayon::ThreadPoolBuilder;

    use super::*;

    fn refuse_large(limit: usize) -> impl Fn(&usize) -> Result<usize> + Sync {
        move |&item| {
            if item >= limit {
                return Err(Error::Value(item.to_string()));
            }
            Ok(item * 2)
        }
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled = try_map(&items, &Cancel::default(), refuse_large(1000)).unwrap();
        assert_eq!(doubled, items.iter().map(|i| i * 2).collect::<Vec<_>>());
    }

    #[test]
    fn the_error_is_that_of_the_first_item() {
        let items: Vec<usize> = (0..200).collect();
        let slow_at_first = |item: &usize| {
            if *item < 30 {
                thread::sleep(Duration::from_millis(1));
            }
            refuse_large(30)(item)
        };
        let pool = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let result = pool.install(|| try_map(&items, &Cancel::default(), slow_at_first));
        assert_eq!(result.unwrap_err().to_string(), "30");
    }

    #[test]
    fn a_requested_stop_interrupts() {
        let cancel = Cancel::default();
        cancel.request();
        let error = try_map(&[1, 2], &cancel, refuse_large(9)).unwrap_err();
        assert!(matches!(error, Error::Interrupted));
    }
}
