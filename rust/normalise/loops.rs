//! Runs the inner loops of normalisation: f64 arithmetic on f32 numbers, rounded once.
//!
//! Each is compiled for several instruction sets and the best one is taken at run time, so that one build
//! runs everywhere and is fast where it can be. A division takes ten times as long as a multiplication, so
//! numbers are multiplied by 1/std: an error of 2⁻⁵³, far below that of the rounding to f32.

use half::bf16;
use multiversion::multiversion;

use super::nontemporal::{LINE, Line, Sink};

/// A number that becomes an f32, exactly and within a loop that vectorises.
pub trait Number: Copy {
    /// As f32.
    fn widen(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// out ← x.
#[multiversion(
    targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"),
    dispatcher = "direct"
)]
pub fn copy<N: Number, S: Sink>(numbers: &[N], out: &mut [f32], sink: S) {
    for_each_line(numbers, out, sink, |x, _| x);
}

/// out ← (x − mean) · inverse.
#[multiversion(
    targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"),
    dispatcher = "direct"
)]
pub fn normalize<N: Number, S: Sink>(
    numbers: &[N],
    out: &mut [f32],
    mean: f64,
    inverse: f64,
    sink: S,
) {
    for_each_line(numbers, out, sink, |x, _| {
        ((f64::from(x) - mean) * inverse) as f32
    });
}

/// The same, with a mean and an inverse for each number.
#[multiversion(
    targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"),
    dispatcher = "direct"
)]
pub fn normalize_each<N: Number, S: Sink>(
    numbers: &[N],
    out: &mut [f32],
    means: &[f64],
    inverses: &[f64],
    sink: S,
) {
    let (means, inverses) = (&means[..numbers.len()], &inverses[..numbers.len()]);
    for_each_line(numbers, out, sink, |x, i| {
        ((f64::from(x) - means[i]) * inverses[i]) as f32
    });
}

/// Maps (number, its index) to its place in `out`, a line at a time.
#[inline(always)]
fn for_each_line<N: Number, S: Sink>(
    numbers: &[N],
    out: &mut [f32],
    sink: S,
    map: impl Fn(f32, usize) -> f32,
) {
    assert_eq!(numbers.len(), out.len(), "one place for each number");
    let head = S::head(out);
    for (i, (out, number)) in out[..head].iter_mut().zip(numbers).enumerate() {
        *out = map(number.widen(), i);
    }
    let (lines, tail) = out[head..].as_chunks_mut::<LINE>();
    let (sources, rest) = numbers[head..].as_chunks::<LINE>();
    let mut at = head;
    for (line, source) in lines.iter_mut().zip(sources) {
        let mut computed: Line = [0.0; LINE];
        sink.prefetch(source);
        for i in 0..LINE {
            computed[i] = map(source[i].widen(), at + i);
        }
        S::store(&computed, line);
        at += LINE;
    }
    for (i, (out, number)) in tail.iter_mut().zip(rest).enumerate() {
        *out = map(number.widen(), at + i);
    }
}

/// value ← value · std + mean.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn restore(values: &mut [f32], mean: f64, std: f64) {
    for value in values {
        *value = (f64::from(*value) * std + mean) as f32;
    }
}

/// The same, with a mean and a std for each value.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn restore_each(values: &mut [f32], means: &[f64], stds: &[f64]) {
    for ((value, &mean), &std) in values.iter_mut().zip(means).zip(stds) {
        *value = (f64::from(*value) * std + mean) as f32;
    }
}

/// sum ← sum + value.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn add(sums: &mut [f64], values: &[f32]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += f64::from(value);
    }
}

/// value ← value − mean.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn subtract(values: &mut [f32], means: &[f64]) {
    for (value, &mean) in values.iter_mut().zip(means) {
        *value = (f64::from(*value) - mean) as f32;
    }
}

/// wide ← value.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub fn widen(values: &[f32], wide: &mut [f64]) {
    for (wide, &value) in wide.iter_mut().zip(values) {
        *wide = f64::from(value);
    }
}
