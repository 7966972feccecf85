//! Sums of products with the samples last: the inner loop of small networks.
//!
//! A tile is 4 sums for 16 samples: 8 vectors of 8 numbers, as many as it takes to hide the latency of a
//! multiply-add, and the factors have room in the 16 registers of AVX2 too.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use crate::folded::{Folded, GROUP};

/// Samples that are worked on together.
pub const SAMPLES: usize = 32;
/// A number of each of these samples.
pub type Row = [f32; SAMPLES];

const LANES: usize = 8;

/// Which of a product's source each place reads.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    /// Rows from one place to the next.
    pub stride: usize,
    /// Rows before the source that the first place reads as well; like those after it, they are 0.
    pub before: usize,
}

/// target [places, O] ← bias + weight [O, K] · K rows of the source for each place; at least 0 with `relu`.
#[multiversion(targets("x86_64+avx2+fma"), dispatcher = "direct")]
pub fn product(folded: &Folded, source: &[Row], patches: Patches, relu: bool, target: &mut [Row]) {
    if cfg!(target_arch = "aarch64") || target_cfg_f!(target_feature = "fma") {
        places::<true>(folded, source, patches, relu, target);
    } else {
        places::<false>(folded, source, patches, relu, target);
    }
}

#[inline(always)]
fn places<const FUSED: bool>(
    folded: &Folded,
    source: &[Row],
    patches: Patches,
    relu: bool,
    target: &mut [Row],
) {
    for (place, out) in target.chunks_exact_mut(folded.outputs).enumerate() {
        let begin = place * patches.stride;
        let skipped = patches.before.saturating_sub(begin).min(folded.terms);
        let end = (begin + folded.terms).saturating_sub(patches.before);
        let first = (begin + skipped).saturating_sub(patches.before);
        let x = source.get(first..end.min(source.len())).unwrap_or(&[]);
        let groups = out.chunks_mut(GROUP).zip(&folded.bias);
        for ((out, bias), weight) in groups.zip(folded.packed.chunks(folded.terms)) {
            for first in (0..SAMPLES).step_by(2 * LANES) {
                tile::<FUSED>(&weight[skipped..], bias, x, first, relu, out);
            }
        }
    }
}

/// out [1 to 4] ← bias + weight [K] · x [K], for the samples from `first`.
///
/// Written out, for the sums have to stay in registers; an index that is not a constant would keep them in memory.
#[inline(always)]
fn tile<const FUSED: bool>(
    weight: &[[f32; GROUP]],
    bias: &[f32; GROUP],
    x: &[Row],
    first: usize,
    relu: bool,
    out: &mut [Row],
) {
    let [mut a0, mut b0, mut c0, mut d0] = bias.map(|bias| [bias; LANES]);
    let [mut a1, mut b1, mut c1, mut d1] = [a0, b0, c0, d0];
    for (row, [a, b, c, d]) in x.iter().zip(weight) {
        let x0 = vector(row, first);
        add::<FUSED>(&mut a0, x0, *a);
        add::<FUSED>(&mut b0, x0, *b);
        add::<FUSED>(&mut c0, x0, *c);
        add::<FUSED>(&mut d0, x0, *d);
        let x1 = vector(row, first + LANES);
        add::<FUSED>(&mut a1, x1, *a);
        add::<FUSED>(&mut b1, x1, *b);
        add::<FUSED>(&mut c1, x1, *c);
        add::<FUSED>(&mut d1, x1, *d);
    }
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut rows = out.iter_mut();
    for (low, high) in [(a0, a1), (b0, b1), (c0, c1), (d0, d1)] {
        let Some(row) = rows.next() else { return };
        let (left, right) = row[first..first + 2 * LANES].split_at_mut(LANES);
        left.copy_from_slice(&low.map(|sum| at_least(floor, sum)));
        right.copy_from_slice(&high.map(|sum| at_least(floor, sum)));
    }
}

#[inline(always)]
fn vector(row: &Row, first: usize) -> [f32; LANES] {
    std::array::from_fn(|i| row[first + i])
}

#[inline(always)]
fn add<const FUSED: bool>(sums: &mut [f32; LANES], x: [f32; LANES], weight: f32) {
    for i in 0..LANES {
        sums[i] = multiply_add::<FUSED>(x[i], weight, sums[i]);
    }
}

/// a · b + c, rounded once where the processor does that; elsewhere it would be a call.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The larger of two numbers; a NaN stays one.
#[inline(always)]
pub fn at_least(floor: f32, value: f32) -> f32 {
    if floor > value { floor } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_the_definition(
            (outputs, terms, places) in (1_usize..10, 1_usize..20, 1_usize..6),
            (stride, before, rows) in (0_usize..9, 0_usize..25, 0_usize..30),
            relu in any::<bool>(),
            seed in any::<u32>(),
        ) {
            let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 1e7 - 0.8;
            let fill = |count: usize, from: usize| (from..from + count).map(number).collect::<Vec<_>>();
            let (weight, bias) = (fill(outputs * terms, 0), fill(outputs, 1000));
            let source = fill(rows * SAMPLES, 2000);
            let source = source.as_chunks::<SAMPLES>().0;
            let mut target = vec![[f32::NAN; SAMPLES]; places * outputs];

            let folded = Folded::new(&weight, [outputs, terms, 1], Some(&bias), None);
            product(&folded, source, Patches { stride, before }, relu, &mut target);
            for (row, found) in target.iter().enumerate() {
                let (place, o) = (row / outputs, row % outputs);
                for (sample, &found) in found.iter().enumerate() {
                    let row = |k: usize| (place * stride + k).checked_sub(before).and_then(|row| source.get(row));
                    let x = |k: usize| row(k).map_or(0.0, |row| f64::from(row[sample]));
                    let term = |k: usize| f64::from(weight[o * terms + k]) * x(k);
                    let sum = f64::from(bias[o]) + (0..terms).map(term).sum::<f64>();
                    let expected = if relu { sum.max(0.0) } else { sum };
                    prop_assert!((f64::from(found) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn relu_leaves_nan() {
        let folded = Folded::new(&[1.0], [1, 1, 1], None, None);
        let mut source = [[-1.0; SAMPLES]];
        source[0][3] = f32::NAN;
        let mut target = [[5.0; SAMPLES]];
        product(
            &folded,
            &source,
            Patches {
                stride: 0,
                before: 0,
            },
            true,
            &mut target,
        );
        assert!(target[0][3].is_nan());
        assert_eq!(target[0][..3], [0.0; 3]);
    }
}
