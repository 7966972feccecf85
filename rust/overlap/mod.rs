//! Computes the similarity of sets, their intersection over union, without keeping the matrix of all pairs.

pub mod bit_matrix;

use multiversion::multiversion;
use rayon::prelude::*;

use bit_matrix::{BitMatrix, LANES, Lanes};

use crate::error::{Error, Result};
use crate::runtime::parallel::Cancel;

/// Sets that one is compared with at a time.
const TOGETHER: usize = 4;
/// Sets whose comparisons are a piece of work, at most.
const PIECE: usize = 8;

/// Sets, the rows of a matrix of bits, and how many members each has.
#[derive(Debug)]
pub struct Sets {
    bits: BitMatrix,
    sizes: Vec<u64>,
}

impl Sets {
    /// Counts the members of each row.
    pub fn new(bits: BitMatrix) -> Self {
        let size = |row: &[Lanes]| {
            row.as_flattened()
                .iter()
                .map(|word| u64::from(word.count_ones()))
                .sum()
        };
        let sizes = (0..bits.rows()).map(|row| size(bits.row(row))).collect();
        Self { bits, sizes }
    }

    /// A set a row.
    pub fn bits(&self) -> &BitMatrix {
        &self.bits
    }

    /// How many members each set has.
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// out [A] ← the largest similarity of each of `models` to one of `members` that is not `itself` [A].
    ///
    /// −∞ if there is none. Panics for an index of no set, as `sums_after` does.
    pub fn nearest(
        &self,
        models: &[usize],
        members: &[usize],
        itself: &[i64],
        out: &mut [f64],
        cancel: &Cancel,
    ) -> Result<()> {
        same([models.len(), itself.len(), out.len()])?;
        let rows = out.par_iter_mut().zip(models).zip(itself);
        rows.with_max_len(PIECE)
            .try_for_each(|((out, &one), &itself)| {
                *out = f64::NEG_INFINITY;
                let mut place = 0;
                self.each(one, members, |similarity| {
                    if place != itself {
                        *out = out.max(similarity);
                    }
                    place += 1;
                });
                cancel.check()
            })
    }

    /// out [A, G] ← Σ of weight · similarity of each of `models` [A] to those after it, group by group.
    ///
    /// `ends` [G] say after which model each group ends; the sums do not depend on how many threads there are.
    pub fn sums_after(
        &self,
        models: &[usize],
        weights: &[f64],
        ends: &[usize],
        out: &mut [f64],
        cancel: &Cancel,
    ) -> Result<()> {
        same([
            models.len() * ends.len(),
            weights.len() * ends.len(),
            out.len(),
        ])?;
        if !ends.is_sorted() || ends.last().unwrap_or(&0) != &models.len() {
            return Err(Error::Value(format!(
                "ends; accepted: ascending, the last {}",
                models.len()
            )));
        }
        let rows = out.par_chunks_mut(ends.len().max(1)).enumerate();
        rows.with_max_len(PIECE).try_for_each(|(place, row)| {
            row.fill(0.0);
            let mut after = place + 1;
            for (out, &end) in row.iter_mut().zip(ends) {
                let group = after..end.max(after);
                let mut weights = weights[group.clone()].iter();
                self.each(models[place], &models[group], |similarity| {
                    *out += weights.next().unwrap_or(&0.0) * similarity;
                });
                after = after.max(end);
            }
            cancel.check()
        })
    }

    /// Gives the similarity of `one` to each of `others`: |a ∩ b| / |a ∪ b|, 1 where both are empty.
    #[inline(always)]
    fn each(&self, one: usize, others: &[usize], mut take: impl FnMut(f64)) {
        for others in others.chunks(TOGETHER) {
            let rows = std::array::from_fn(|i| self.bits.row(others[i.min(others.len() - 1)]));
            let common = common(self.bits.row(one), rows);
            for (&other, common) in others.iter().zip(common) {
                let union = self.sizes[one] + self.sizes[other] - common;
                take(if union == 0 {
                    1.0
                } else {
                    common as f64 / union as f64
                });
            }
        }
    }
}

fn same(lengths: [usize; 3]) -> Result<()> {
    match lengths {
        [a, b, c] if a == b && b == c => Ok(()),
        _ => Err(Error::Value(format!(
            "lengths {lengths:?}; accepted: the same"
        ))),
    }
}

/// How many members `one` has in common with each of `others`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq",
    "x86_64+avx2+popcnt",
    "x86_64+popcnt"
))]
fn common(one: &[Lanes], others: [&[Lanes]; TOGETHER]) -> [u64; TOGETHER] {
    let mut counts = [[0_u64; LANES]; TOGETHER];
    let others = others.map(|other| &other[..one.len()]);
    for (place, mine) in one.iter().enumerate() {
        for (counts, other) in counts.iter_mut().zip(others) {
            for lane in 0..LANES {
                counts[lane] += u64::from((mine[lane] & other[place][lane]).count_ones());
            }
        }
    }
    counts.map(|lanes| lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn slow(a: &[u8], b: &[u8]) -> f64 {
        let count =
            |both: fn(u8, u8) -> u8| a.iter().zip(b).filter(|&(&a, &b)| both(a, b) == 1).count();
        let (common, union) = (count(|a, b| a & b), count(|a, b| a | b));
        if union == 0 {
            1.0
        } else {
            common as f64 / union as f64
        }
    }

    proptest! {
        #[test]
        fn ious_are_the_definition(
            (sets, samples) in (1_usize..12, 1_usize..1200),
            rate in 0_u32..4,
            seed in any::<u32>(),
            a in vec(0_usize..12, 0..9),
            b in vec(0_usize..12, 0..9),
        ) {
            let byte = |i: usize| u8::from((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 30 < rate);
            let bytes: Vec<u8> = (0..sets * samples).map(byte).collect();
            let row = |set: usize| &bytes[set * samples..][..samples];
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(|i| i % sets).collect(), b.iter().map(|i| i % sets).collect());
            let found = Sets::new(BitMatrix::pack(&bytes, sets, samples));

            let mut out = vec![f64::NAN; a.len()];
            let itself: Vec<i64> = (0..a.len() as i64).map(|i| i % 4 - 1).collect();
            found.nearest(&a, &b, &itself, &mut out, &Cancel::default()).unwrap();
            for ((&one, &itself), found) in a.iter().zip(&itself).zip(out) {
                let others = b.iter().enumerate().filter(|&(place, _)| place as i64 != itself);
                let expected = others.map(|(_, &other)| slow(row(one), row(other))).fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(found, expected);
            }
            let weights: Vec<f64> = (0..a.len()).map(|i| 0.5 + i as f64).collect();
            let ends = [a.len() / 3, a.len() / 3, a.len()];
            let mut out = vec![f64::NAN; a.len() * 3];
            found.sums_after(&a, &weights, &ends, &mut out, &Cancel::default()).unwrap();
            for (i, &one) in a.iter().enumerate() {
                for (group, (begin, end)) in [(0, ends[0]), (ends[0], ends[1]), (ends[1], ends[2])].into_iter().enumerate() {
                    let after = (begin.max(i + 1))..end.max(i + 1);
                    let expected: f64 = after.map(|j| weights[j] * slow(row(one), row(a[j]))).sum();
                    prop_assert!((out[i * 3 + group] - expected).abs() < 1e-12);
                }
            }
            let sizes = (0..sets).map(|set| row(set).iter().map(|&byte| u64::from(byte)).sum());
            prop_assert_eq!(found.sizes(), sizes.collect::<Vec<u64>>());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sets = Sets::new(BitMatrix::pack(&[1, 0, 1, 1], 2, 2));
        let (mut out, cancel) = ([0.0; 2], Cancel::default());
        let error = sets
            .nearest(&[0, 1], &[1], &[0], &mut out, &cancel)
            .unwrap_err();
        assert_eq!(error.to_string(), "lengths [2, 1, 2]; accepted: the same");
        let error = sets
            .sums_after(&[0, 1], &[1.0, 1.0], &[1], &mut out, &cancel)
            .unwrap_err();
        assert_eq!(error.to_string(), "ends; accepted: ascending, the last 2");
        cancel.request();
        let error = sets
            .sums_after(&[0, 1], &[1.0, 1.0], &[2], &mut out, &cancel)
            .unwrap_err();
        assert!(matches!(error, Error::Interrupted));
    }
}
