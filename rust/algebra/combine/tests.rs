use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bank::layout::layout_of;
use crate::bank::precision::Numbers;
use crate::normalise::normalizer::Kind;

proptest! {
    #[test]
    fn it_is_the_definition(
        (wanted, count, dim) in (0_usize..5, 1_usize..6, prop_oneof![1_usize..9, 60_usize..300]),
        seed in 0_u32..1000,
        centred: bool,
    ) {
        let number = |i: usize| ((i as u32 + seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
        let coefficients: Vec<f32> = (0..wanted * count).map(number).collect();
        let values: Vec<f32> = (0..count * dim).map(|i| number(i + 77)).collect();
        let layout = Arc::new(layout_of(&[("a", dim)]));
        let normalizer = Normalizer::new(layout, Kind::Tensor, &[0.5], &[2.0], &[1.0]).unwrap();
        let rows = Rows::from_parts([Numbers::F32(&values)].into_iter(), dim);
        let mut out = vec![f32::NAN; wanted * dim];
        combine(&coefficients, &rows, &normalizer, centred, &mut out, &Cancel::default()).unwrap();
        for (i, found) in out.iter().enumerate() {
            let (row, column) = (i / dim, i % dim);
            let y = |k: usize| (f64::from(values[k * dim + column]) - 0.5) / 2.0;
            let mean = if centred { (0..count).map(y).sum::<f64>() / count as f64 } else { 0.0 };
            let term = |k: usize| f64::from(coefficients[row * count + k]) * (y(k) - mean);
            let expected: f64 = (0..count).map(term).sum();
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn shapes_are_checked() {
    let normalizer = Normalizer::identity(Arc::new(layout_of(&[("a", 3)])));
    let rows = Rows::from_parts([Numbers::F32(&[0.0; 6])].into_iter(), 3);
    for (coefficients, out) in [(3, 6), (4, 5), (2, 6)] {
        let mut out = vec![0.0; out];
        let result = combine(
            &vec![0.0; coefficients],
            &rows,
            &normalizer,
            false,
            &mut out,
            &Cancel::default(),
        );
        let text = result.unwrap_err().to_string();
        assert!(text.ends_with("accepted: [n, 2] and [n, 3]"), "{text}");
    }
}
