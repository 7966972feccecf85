//! Computes means and squared deviations that can be merged, in a fixed order of additions.

use multiversion::multiversion;

/// Partial sums of [`sum`]: two of the widest vector registers, and fixes the order of additions.
const LANES: usize = 16;

/// Count, mean and sum of squared deviations of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    deviation: f64,
}

impl Moments {
    /// Of `values`, in two passes.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let (mean, deviation) = mean_and_deviation(values);
        Self {
            count: values.len() as f64,
            mean,
            deviation,
        }
    }

    /// Of the numbers of both (Chan, Golub and LeVeque 1979).
    pub fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        let share = other.count / count;
        Self {
            count,
            mean: self.mean + delta * share,
            deviation: self.deviation + other.deviation + delta * delta * self.count * share,
        }
    }

    /// The mean; 0 of no numbers.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The population std; 0 of no numbers.
    pub fn std(&self) -> f64 {
        (self.deviation / self.count.max(1.0)).sqrt()
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = sum(values, |v| v) / values.len() as f64;
    (mean, sum(values, |v| (v - mean) * (v - mean)))
}

/// Σ v².
pub fn sum_of_squares(values: &[f64]) -> f64 {
    sum(values, |v| v * v)
}

/// Σ f(v), as interleaved partial sums.
#[inline(always)]
fn sum(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|&v| f(v)).sum();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Running mean and squared deviation of each column, over rows (Welford 1962), in the caller's memory.
#[derive(Debug)]
pub struct Welford<'a> {
    count: f64,
    mean: &'a mut [f64],
    deviation: &'a mut [f64],
}

impl<'a> Welford<'a> {
    /// For as many columns as `mean` and `deviation` have, and no rows yet.
    pub fn new(mean: &'a mut [f64], deviation: &'a mut [f64]) -> Self {
        // Memory that was never written to would be mapped twice: when it is read, and when it is written.
        mean.fill(0.0);
        deviation.fill(0.0);
        Self {
            count: 0.0,
            mean,
            deviation,
        }
    }

    /// Takes in one row.
    pub fn push(&mut self, row: &[f64]) {
        self.count += 1.0;
        push(self.mean, self.deviation, row, 1.0 / self.count);
    }

    /// Leaves the mean of each column in `mean`, and its population std in `deviation`.
    pub fn finish(self) {
        let count = self.count.max(1.0);
        for deviation in self.deviation {
            *deviation = (*deviation / count).sqrt();
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn push(means: &mut [f64], deviations: &mut [f64], row: &[f64], weight: f64) {
    for ((mean, deviation), &value) in means.iter_mut().zip(deviations).zip(row) {
        let delta = value - *mean;
        *mean += delta * weight;
        *deviation += delta * (value - *mean);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9
    }

    proptest! {
        #[test]
        fn merging_parts_gives_the_whole(
            left in prop::collection::vec(-100.0..100.0, 0..40),
            right in prop::collection::vec(-100.0..100.0, 0..40),
        ) {
            let merged = Moments::of(&left).merge(Moments::of(&right));
            let whole = Moments::of(&[left, right].concat());
            prop_assert!(close(merged.mean(), whole.mean()));
            prop_assert!(close(merged.std(), whole.std()));
        }

        #[test]
        fn welford_is_moments_down_a_column(
            numbers in prop::collection::vec(-100.0..100.0, 1..40),
        ) {
            let (mut mean, mut std) = ([0.0], [0.0]);
            let mut running = Welford::new(&mut mean, &mut std);
            numbers.iter().for_each(|&v| running.push(&[v]));
            running.finish();
            let whole = Moments::of(&numbers);
            prop_assert!(close(mean[0], whole.mean()));
            prop_assert!(close(std[0], whole.std()));
        }
    }

    #[test]
    fn nothing_has_mean_and_std_zero() {
        let nothing = Moments::of(&[]).merge(Moments::default());
        assert_eq!((nothing.mean(), nothing.std()), (0.0, 0.0));
        assert_eq!(sum(&[], |v| v), 0.0);
    }

    #[test]
    fn sums_take_every_number_once() {
        for count in 0..20 {
            let numbers: Vec<f64> = (1..=count).map(f64::from).collect();
            assert_eq!(sum(&numbers, |v| v), f64::from(count * (count + 1) / 2));
        }
    }
}
