//! Shares out memory among the headers that are read at the same time.
//!
//! A header becomes values that take a multiple of its bytes. Threads that each read a large one would add that up,
//! so that each waits until there is room; one that is larger than all the room is read alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::runtime::parallel::Cancel;

/// Bytes of headers that may be looked at at the same time.
const ALL: u64 = 64 << 20;
/// Headers of fewer bytes do not count.
const FREE: u64 = 1 << 20;
/// How often a thread that waits looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(20);

static TAKEN: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// Room that a thread has taken, given back when this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    bytes: u64,
    taken: u64,
}

impl Room {
    /// Waits until there is room for `bytes` more. What was taken before is given back meanwhile, since two threads
    /// that hold on to what the other one waits for would wait for ever.
    pub fn grow(&mut self, bytes: u64, cancel: &Cancel) -> Result<()> {
        self.bytes += bytes;
        let wanted = if self.bytes < FREE {
            0
        } else {
            self.bytes.min(ALL)
        };
        if wanted == self.taken {
            return Ok(());
        }
        let mut all = locked();
        *all -= self.taken;
        self.taken = 0;
        GIVEN_BACK.notify_all();
        while *all + wanted > ALL {
            cancel.check()?;
            let waited = GIVEN_BACK.wait_timeout(all, PATIENCE);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *all += wanted;
        self.taken = wanted;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.taken > 0 {
            *locked() -= self.taken;
            GIVEN_BACK.notify_all();
        }
    }
}

/// Nothing under the lock panics.
fn locked() -> MutexGuard<'static, u64> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::error::Error;

    #[test]
    fn those_at_the_same_time_share_the_room() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let read = |parts: [u64; 2]| {
            for _ in 0..20 {
                let mut room = Room::default();
                for part in parts {
                    room.grow(part, &Cancel::default()).unwrap();
                }
                let bytes = parts.iter().sum::<u64>().min(ALL);
                let together = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                most.fetch_max(together, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(bytes, Ordering::SeqCst);
            }
        };
        thread::scope(|scope| {
            for parts in [
                [ALL / 2, ALL / 4],
                [ALL, ALL],
                [ALL / 3, ALL / 3],
                [1, FREE],
            ] {
                scope.spawn(move || read(parts));
            }
        });
        assert!(most.into_inner() <= ALL);
    }

    #[test]
    fn small_ones_do_not_wait_and_one_that_waits_can_be_stopped() {
        let mut all = Room::default();
        all.grow(2 * ALL, &Cancel::default()).unwrap();
        Room::default().grow(FREE - 1, &Cancel::default()).unwrap();
        let cancel = Cancel::default();
        cancel.request();
        let stopped = Room::default().grow(FREE, &cancel);
        assert!(matches!(stopped, Err(Error::Interrupted)));
        drop(all);
        Room::default().grow(FREE, &Cancel::default()).unwrap();
    }
}
