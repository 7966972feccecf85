//! Runs work on threads: in parallel, ahead of its use, and with panics turned into errors.

pub mod panic;
pub mod parallel;
#[cfg(any(feature = "python", test))]
pub mod pool;
pub mod prefetch;
