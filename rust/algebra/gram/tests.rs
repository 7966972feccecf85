use std::sync::Arc;

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;
use crate::bank::layout::layout_of;
use crate::bank::precision::Numbers;
use crate::normalise::normalizer::Kind;

/// The definition in f64.
fn reference(rows: &[Vec<f64>]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let products = |a: &Vec<f64>| rows.iter().map(|b| dot(a, b)).collect::<Vec<_>>();
    rows.iter().flat_map(products).collect()
}

fn numbers(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count * dim).map(|_| next()).collect()
}

fn of(count: usize, dim: usize, values: &[f32], centred: bool) -> Vec<f64> {
    assert_eq!(values.len(), count * dim);
    let layout = Arc::new(layout_of(&[("a", dim)]));
    let normalizer = Normalizer::new(layout, Kind::Tensor, &[0.25], &[2.0], &[1.0]).unwrap();
    let rows = Rows::from_parts([Numbers::F32(values)].into_iter(), dim);
    gram(&rows, &normalizer, centred, &Cancel::default()).unwrap()
}

proptest! {
    #[test]
    fn it_is_the_definition(count in 1_usize..9, dim in 1_usize..40, centred: bool, seed: u64) {
        let values = numbers(count, dim, seed);
        let normal = |&x: &f32| (f64::from(x) - 0.25) / 2.0;
        let mut rows: Vec<Vec<f64>> =
            values.chunks(dim).map(|row| row.iter().map(normal).collect()).collect();
        if centred {
            for column in 0..dim {
                let mean = rows.iter().map(|row| row[column]).sum::<f64>() / count as f64;
                rows.iter_mut().for_each(|row| row[column] -= mean);
            }
        }
        for (found, expected) in of(count, dim, &values, centred).iter().zip(reference(&rows)) {
            prop_assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
        }
    }
}

#[test]
fn tiles_and_panels_meet_and_threads_change_nothing() {
    let (count, dim) = (2 * TILE + 3, column_block::NUMBERS / TILE + 100);
    let values = numbers(count, dim, 7);
    let normal = |&x: &f32| (f64::from(x) - 0.25) / 2.0;
    let rows: Vec<Vec<f64>> = values
        .chunks(dim)
        .map(|row| row.iter().map(normal).collect())
        .collect();
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| of(count, dim, &values, false))
    };
    let found = on(1);
    assert_eq!(found, on(3));
    for (found, expected) in found.iter().zip(reference(&rows)) {
        assert!(
            (found - expected).abs() < 1e-2,
            "{found} against {expected}"
        );
    }
    assert!((0..count).all(|i| (0..i).all(|j| found[i * count + j] == found[j * count + i])));
}

#[test]
fn what_rows_share_does_not_drown_their_differences() {
    let (count, dim) = (4, 1000);
    let mut values = numbers(count, dim, 3);
    values.iter_mut().for_each(|v| *v = 100.0 + *v / 64.0);
    let expected: f64 = {
        let mean = |c: usize| {
            (0..count)
                .map(|r| f64::from(values[r * dim + c]))
                .sum::<f64>()
                / 4.0
        };
        let part = |c: usize| ((f64::from(values[c]) - mean(c)) / 2.0).powi(2);
        (0..dim).map(part).sum()
    };
    let found = of(count, dim, &values, true)[0];
    assert!(
        (found / expected - 1.0).abs() < 1e-4,
        "{found} against {expected}"
    );
}

#[test]
fn no_rows_are_refused() {
    let normalizer = Normalizer::identity(Arc::new(layout_of(&[("a", 1)])));
    let rows = Rows::from_parts([].into_iter(), 1);
    let result = gram(&rows, &normalizer, true, &Cancel::default());
    assert!(matches!(result, Err(Error::Value(_))));
}
