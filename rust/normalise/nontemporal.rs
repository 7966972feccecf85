//! Stores lines of numbers through the caches or past them, and prefetches what is read next.
//!
//! An output far larger than the caches is better written past them: a line that is fetched only to be
//! overwritten costs as much as writing it.
#![allow(unsafe_code)]

/// Numbers in a line of the cache.
pub const LINE: usize = 16;

/// Bytes from what is read now to what is asked for: across the end of a page, where the hardware
/// prefetch stops.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 1024;

/// A line that has been computed.
pub type Line = [f32; LINE];

/// Asks for `bytes`, which will be read soon; nothing happens where the machine cannot be asked.
///
/// Into the second-level cache: the first level has room for some ten requests only, and waits.
pub fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(size_of::<Line>()) {
        ask(line.as_ptr().cast());
    }
}

/// Asks for the line at an address, whatever is there.
#[inline(always)]
fn ask(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch never faults, wherever it points.
        unsafe { _mm_prefetch(address, _MM_HINT_T1) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A way to store a line.
pub trait Sink: Copy {
    /// How many of the first numbers of `out` are stored one by one; the rest is stored a line at a time.
    fn head(out: &[f32]) -> usize;
    /// Stores a line; `out` begins where [`Sink::head`] said, or a whole number of lines after it.
    fn store(line: &Line, out: &mut Line);
    /// Asks for what is read a little later than `here`.
    fn prefetch<T>(self, here: &T);
    /// The same for numbers that were brought elsewhere before they are read.
    fn moved(self) -> Self;
    /// Makes everything that this thread has stored visible to others before anything that follows.
    ///
    /// Whoever stores does so once at the end of a task: it waits for the memory.
    fn finish();
}

/// Through the caches.
#[derive(Debug, Clone, Copy)]
pub struct Cached {
    /// Bytes from what is read now to what is asked for.
    ahead: isize,
}

impl Cached {
    /// With nothing to ask for.
    pub const ALONE: Self = Self { ahead: 0 };

    /// While `now` is read, `next` is asked for: it is anywhere in memory, where no hardware prefetch looks.
    pub fn before(now: &[u8], next: &[u8]) -> Self {
        let ahead = next.as_ptr().addr().wrapping_sub(now.as_ptr().addr());
        Self {
            ahead: ahead.cast_signed(),
        }
    }
}

impl Sink for Cached {
    #[inline(always)]
    fn head(_out: &[f32]) -> usize {
        0
    }

    #[inline(always)]
    fn store(line: &Line, out: &mut Line) {
        *out = *line;
    }

    #[inline(always)]
    fn prefetch<T>(self, here: &T) {
        ask(std::ptr::from_ref(here)
            .cast::<i8>()
            .wrapping_offset(self.ahead));
    }

    #[inline(always)]
    fn moved(self) -> Self {
        Self::ALONE
    }

    #[inline(always)]
    fn finish() {}
}

/// Past the caches, where the machine can.
#[derive(Debug, Clone, Copy)]
pub struct Streamed;

#[cfg(not(target_arch = "x86_64"))]
impl Sink for Streamed {
    fn head(out: &[f32]) -> usize {
        Cached::head(out)
    }

    fn store(line: &Line, out: &mut Line) {
        Cached::store(line, out);
    }

    fn prefetch<T>(self, _here: &T) {}

    fn moved(self) -> Self {
        self
    }

    fn finish() {}
}

#[cfg(target_arch = "x86_64")]
impl Sink for Streamed {
    #[inline(always)]
    fn head(out: &[f32]) -> usize {
        out.as_ptr().align_offset(size_of::<Line>()).min(out.len())
    }

    #[inline(always)]
    fn store(line: &Line, out: &mut Line) {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        assert!(out.as_ptr().cast::<Line>().addr() % 16 == 0, "see `head`");
        for part in (0..LINE).step_by(4) {
            // SAFETY: SSE is part of x86-64; both arrays hold the four numbers from `part` on, and those
            // of `out` are aligned to 16 bytes.
            unsafe {
                let value = _mm_loadu_ps(line.as_ptr().add(part));
                _mm_stream_ps(out.as_mut_ptr().add(part), value);
            }
        }
    }

    #[inline(always)]
    fn moved(self) -> Self {
        self
    }

    #[inline(always)]
    fn prefetch<T>(self, here: &T) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let there = std::ptr::from_ref(here).cast::<i8>().wrapping_add(AHEAD);
        // SAFETY: SSE is part of x86-64, and a prefetch never faults, wherever it points.
        unsafe { _mm_prefetch(there, _MM_HINT_T0) }
    }

    #[inline(always)]
    fn finish() {
        // SAFETY: SSE is part of x86-64.
        unsafe { std::arch::x86_64::_mm_sfence() }
    }
}
