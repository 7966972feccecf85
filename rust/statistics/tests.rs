use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;
use crate::bank::layout::layout_of;
use crate::bank::precision::Numbers;

/// What is kept of the elements beside what is of tensors.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    tensors: Statistics,
    element_mean: Vec<f64>,
    element_std: Vec<f64>,
}

fn of(layout: &Layout, rows: &[f32]) -> Result<Found> {
    of_parts(layout, &[rows])
}

fn of_parts(layout: &Layout, parts: &[&[f32]]) -> Result<Found> {
    let parts = parts.iter().map(|part| Numbers::F32(part));
    let rows = super::Rows::from_parts(parts, layout.dim());
    let (mut element_mean, mut element_std) = (vec![], vec![]);
    let tensors = statistics(&rows, layout, &Cancel::default(), |mean, std| {
        element_mean.extend(mean);
        element_std.extend(std);
        Ok(())
    })?;
    Ok(Found {
        tensors,
        element_mean,
        element_std,
    })
}

/// Mean and population std in two plain passes.
fn mean_std(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (
        mean,
        (values.map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt(),
    )
}

/// The definition, tensor by tensor and column by column.
fn reference(layout: &Layout, rows: &[f32]) -> Found {
    let rows: Vec<&[f32]> = rows.chunks(layout.dim()).collect();
    let mut found = Statistics {
        log_scale: vec![],
        tensor_mean: vec![],
        tensor_std: vec![],
        tensor_min: vec![],
        tensor_max: vec![],
    };
    let (mut element_mean, mut element_std) = (vec![], vec![]);
    for segment in layout.segments() {
        let columns = segment.columns.clone();
        let all = rows.iter().flat_map(|row| &row[columns.clone()]);
        let (mean, _) = mean_std(all.map(|&x| f64::from(x)));
        let scale = if segment.log_variance && mean > 0.0 {
            0.95 * mean
        } else {
            1.0
        };
        let t = |x: f32| match segment.log_variance {
            true => (f64::from(x) / scale + 0.05).ln(),
            false => f64::from(x),
        };
        let within = rows
            .iter()
            .map(|row| mean_std(row[columns.clone()].iter().map(|&x| t(x))));
        found.log_scale.push(scale);
        let values = rows.iter().flat_map(|row| row[columns.clone()].to_vec());
        let ends = (values.clone().reduce(f32::min), values.reduce(f32::max));
        found.tensor_min.push(ends.0.map_or(0.0, f64::from));
        found.tensor_max.push(ends.1.map_or(0.0, f64::from));
        found
            .tensor_mean
            .push(mean_std(within.clone().map(|(mean, _)| mean)).0);
        let spread = mean_std(within.map(|(_, std)| std)).0;
        for column in columns.clone() {
            let (mean, std) = mean_std(rows.iter().map(|row| t(row[column])));
            element_mean.push(mean);
            element_std.push(std);
        }
        let stds = &element_std[columns.clone()];
        let between = stds.iter().map(|std| std.powi(2)).sum::<f64>() / stds.len().max(1) as f64;
        found
            .tensor_std
            .push(if spread > EVEN * found.tensor_mean.last().unwrap().abs() {
                spread
            } else {
                between.sqrt()
            });
    }
    Found {
        tensors: found,
        element_mean,
        element_std,
    }
}

#[track_caller]
fn assert_close(found: &Found, expected: &Found, scale: f64) {
    let (ours, theirs) = (&found.tensors, &expected.tensors);
    let pairs = [
        (&ours.log_scale, &theirs.log_scale),
        (&ours.tensor_mean, &theirs.tensor_mean),
        (&ours.tensor_std, &theirs.tensor_std),
        (&ours.tensor_min, &theirs.tensor_min),
        (&ours.tensor_max, &theirs.tensor_max),
        (&found.element_mean, &expected.element_mean),
        (&found.element_std, &expected.element_std),
    ];
    for (found, expected) in pairs {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 1e-10 * scale, "{f} against {e}");
        }
    }
}

proptest! {
    #[test]
    fn statistics_are_the_definition(
        sizes in prop::array::uniform3(0_usize..20),
        numbers in prop::collection::vec(0_f32..100.0, 61 * 6),
    ) {
        let [a, b, c] = sizes;
        let layout = layout_of(&[("a.running_var", a), ("b", b), ("c", c), ("d", 1)]);
        let count = numbers.len() / layout.dim();
        let rows = &numbers[..count.min(6) * layout.dim()];
        assert_close(&of(&layout, rows).unwrap(), &reference(&layout, rows), 100.0);
    }
}

/// More rows than a batch, and tensors over several blocks.
fn large() -> (Layout, Vec<f32>) {
    let layout = layout_of(&[
        ("a", BLOCK + 100),
        ("b.running_var", 7),
        ("c", 2 * BLOCK - 3),
    ]);
    let numbers = (0..(2 * ROWS + 3) * layout.dim()).map(|i| {
        let hash = (i as u32).wrapping_mul(2_654_435_761).rotate_left(13) % 10_007;
        hash as f32 / 1e3
    });
    let numbers = numbers.collect();
    (layout, numbers)
}

#[test]
fn batches_and_blocks_are_merged() {
    let (layout, rows) = large();
    assert_close(
        &of(&layout, &rows).unwrap(),
        &reference(&layout, &rows),
        10.0,
    );
}

#[test]
fn a_tensor_over_several_stripes_is_one() {
    let sizes = [5, STRIPE - 5, 2 * STRIPE + 9, 0, 3, STRIPE];
    let names = ["a", "b", "c.running_var", "d", "e", "f"];
    let tensors: Vec<_> = names.into_iter().zip(sizes).collect();
    let layout = layout_of(&tensors);
    let rows: Vec<f32> = (0..3 * layout.dim()).map(|i| (i % 1009) as f32).collect();
    let expected = reference(&layout, &rows);
    assert_close(&of(&layout, &rows).unwrap(), &expected, 1000.0);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (layout, rows) = large();
    let with = |threads| {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| of(&layout, &rows).unwrap())
    };
    let one = with(1);
    assert_eq!(with(2), one);
    assert_eq!(with(5), one);
}

#[test]
fn shards_change_no_bit() {
    let (layout, rows) = large();
    let (first, rest) = rows.split_at(10 * layout.dim());
    let found = of_parts(&layout, &[first, rest]).unwrap();
    assert_eq!(found, of(&layout, &rows).unwrap());
}

#[test]
fn a_large_mean_does_not_swallow_the_std() {
    let layout = layout_of(&[("a", 2)]);
    let rows = [1e6, 1e6 + 0.5, 1e6 + 1.0, 1e6 + 1.5];
    let found = of(&layout, &rows).unwrap();
    assert_eq!(found.element_mean, [1e6 + 0.5, 1e6 + 1.0]);
    assert_eq!(found.element_std, [0.5, 0.5]);
    assert_eq!(
        (found.tensors.tensor_mean[0], found.tensors.tensor_std[0]),
        (1e6 + 0.75, 0.25)
    );
}

#[test]
fn constant_and_empty_tensors_have_std_zero() {
    let layout = layout_of(&[
        ("a", 3),
        ("b", 0),
        ("c.running_var", 2),
        ("d.running_var", 0),
    ]);
    let row = [7.0, 7.0, 7.0, 0.0, 0.0];
    let found = of(&layout, &[row, row].concat()).unwrap();
    let zero = 0.05_f64.ln();
    assert_eq!(found.tensors.log_scale, [1.0; 4]);
    assert_eq!(found.tensors.tensor_mean, [7.0, 0.0, zero, 0.0]);
    assert_eq!(found.tensors.tensor_std, [0.0; 4]);
    assert_eq!(found.tensors.tensor_min, [7.0, 0.0, 0.0, 0.0]);
    assert_eq!(found.tensors.tensor_max, [7.0, 0.0, 0.0, 0.0]);
    assert_eq!(found.element_mean, [7.0, 7.0, 7.0, zero, zero]);
    assert_eq!(found.element_std, [0.0; 5]);
}

#[test]
fn a_tensor_that_is_even_within_rows_has_its_spread_between_them() {
    let layout = layout_of(&[("a", 1), ("b", 2)]);
    let found = of(&layout, &[1.0, 5.0, 5.0, 3.0, 9.0, 9.0]).unwrap();
    assert_eq!(found.tensors.tensor_mean, [2.0, 7.0]);
    assert_eq!(found.tensors.tensor_std, [1.0, 2.0]);

    let layout = crate::bank::layout::layout_of(&[("rounded", 7)]);
    let rows = [[0.1_f32; 7], [0.3; 7]].concat();
    let found = of(&layout, &rows).unwrap();
    assert!(
        (found.tensors.tensor_std[0] - 0.1).abs() < 1e-7,
        "not 1e-17"
    );
}

#[test]
fn a_negative_variance_is_refused() {
    let layout = layout_of(&[("bn.running_var", 2)]);
    let text = of(&layout, &[1.0, 2.0, 3.0, -4.0]).unwrap_err().to_string();
    let expected =
        r#"tensor "bn.running_var" has the running variance -4 in row 1; accepted: at least 0"#;
    assert_eq!(text, expected);
}

#[test]
fn no_rows_have_no_statistics() {
    let error = of(&layout_of(&[("a", 2)]), &[]).unwrap_err();
    assert!(matches!(error, Error::Value(_)));
}
