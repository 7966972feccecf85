//! Finds the least and the greatest of some numbers.

use multiversion::multiversion;

/// Of no numbers yet, or of some; NaN does not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extremes {
    least: f32,
    greatest: f32,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
        }
    }
}

impl Extremes {
    /// Of `values`.
    pub fn of(values: &[f32]) -> Self {
        let (least, greatest) = least_and_greatest(values);
        Self { least, greatest }
    }

    /// Of the numbers of both.
    pub fn merge(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            greatest: self.greatest.max(other.greatest),
        }
    }

    /// The least; 0 of no numbers.
    pub fn min(&self) -> f64 {
        self.or_zero(self.least)
    }

    /// The greatest; 0 of no numbers.
    pub fn max(&self) -> f64 {
        self.or_zero(self.greatest)
    }

    fn or_zero(&self, value: f32) -> f64 {
        if self.least > self.greatest {
            return 0.0;
        }
        f64::from(value)
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn least_and_greatest(values: &[f32]) -> (f32, f32) {
    const LANES: usize = 64;
    let less = |a: f32, b: f32| if b < a { b } else { a };
    let more = |a: f32, b: f32| if b > a { b } else { a };
    let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut add = |chunk: &[f32]| {
        for ((least, greatest), &v) in least.iter_mut().zip(&mut greatest).zip(chunk) {
            *least = less(*least, v);
            *greatest = more(*greatest, v);
        }
    };
    let chunks = values.chunks_exact(LANES); // whose length the compiler knows
    add(chunks.remainder());
    chunks.for_each(add);
    (
        least.into_iter().fold(f32::INFINITY, less),
        greatest.into_iter().fold(f32::NEG_INFINITY, more),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extremes_are_the_ends_of_the_sorted_numbers(
            left in prop::collection::vec(-1e30_f32..1e30, 0..70),
            right in prop::collection::vec(-1e30_f32..1e30, 0..70),
        ) {
            let found = Extremes::of(&left).merge(Extremes::of(&right));
            let mut all = [left, right].concat();
            all.sort_by(f32::total_cmp);
            let end = |v: Option<&f32>| v.map_or(0.0, |&v| f64::from(v));
            prop_assert_eq!((found.min(), found.max()), (end(all.first()), end(all.last())));
        }
    }

    #[test]
    fn nothing_has_extremes_zero_and_nan_does_not_count() {
        let found = Extremes::of(&[f32::NAN]);
        assert_eq!((found.min(), found.max()), (0.0, 0.0));
        let found = found.merge(Extremes::of(&[f32::NAN, -1.0, -3.0]));
        assert_eq!((found.min(), found.max()), (-3.0, -1.0));
    }
}
