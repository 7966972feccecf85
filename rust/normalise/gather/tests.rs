use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bank::layout::Layout;
use crate::bank::layout::layout_of;
use crate::bank::precision::Numbers;
use crate::normalise::log_variance;
use crate::normalise::normalizer::Kind;

/// A random bank with statistics for it.
#[derive(Debug)]
struct Case {
    layout: Arc<Layout>,
    kind: Kind,
    rows: Vec<f32>,
    mean: Vec<f64>,
    std: Vec<f64>,
    log_scale: Vec<f64>,
}

const NAMES: [&str; 4] = [
    "a.running_var",
    "b.weight",
    "c.running_var",
    "running_var.d",
];

fn case() -> impl Strategy<Value = Case> {
    let sizes = prop::array::uniform4(0_usize..6).prop_filter("no numbers", |s| s != &[0; 4]);
    let kind = prop::sample::select(vec![Kind::None, Kind::Tensor, Kind::Element]);
    (sizes, kind, 1_usize..6).prop_flat_map(|(sizes, kind, count)| {
        let tensors: Vec<(&str, usize)> = NAMES.into_iter().zip(sizes).collect();
        let layout = Arc::new(layout_of(&tensors));
        let statistics = match kind {
            Kind::Element => layout.dim(),
            _ => NAMES.len(),
        };
        (
            prop::collection::vec(-3.0_f32..30.0, count * layout.dim()),
            prop::collection::vec(-2.0..2.0, statistics),
            prop::collection::vec(prop_oneof![Just(0.0), 1e-3..10.0], statistics),
            prop::collection::vec(1e-2..10.0, NAMES.len()),
        )
            .prop_map(move |(rows, mean, std, log_scale)| Case {
                layout: Arc::clone(&layout),
                kind,
                rows,
                mean,
                std,
                log_scale,
            })
    })
}

impl Case {
    fn normalizer(&self) -> Normalizer {
        let layout = Arc::clone(&self.layout);
        Normalizer::new(layout, self.kind, &self.mean, &self.std, &self.log_scale).unwrap()
    }

    fn rows(&self) -> Rows<'_> {
        Rows::from_parts([Numbers::F32(&self.rows)].into_iter(), self.layout.dim())
    }

    /// (mean, std, scale in log space) of a column, the obvious way.
    fn column(&self, column: usize) -> (f64, f64, Option<f64>) {
        let segments = self.layout.segments();
        let tensor = segments.iter().position(|s| s.columns.contains(&column));
        let tensor = tensor.unwrap();
        let at = if self.kind == Kind::Element {
            column
        } else {
            tensor
        };
        let std = if self.std[at] == 0.0 {
            1.0
        } else {
            self.std[at]
        };
        let log = segments[tensor].name.ends_with(".running_var");
        (self.mean[at], std, log.then_some(self.log_scale[tensor]))
    }

    /// y = (t(x) − mean) / std, the obvious way.
    fn normalised(&self, column: usize, x: f32) -> f32 {
        if self.kind == Kind::None {
            return x;
        }
        let (mean, std, scale) = self.column(column);
        let x = f64::from(x);
        let t = scale.map_or(x, |scale| (x.max(0.0) / scale + 0.05).ln());
        ((t - mean) / std) as f32
    }

    /// The documented bound of |x′ − x| after a round trip.
    fn bound(&self, column: usize, x: f32) -> f64 {
        if self.kind == Kind::None {
            return 0.0;
        }
        let (mean, _, scale) = self.column(column);
        let x = f64::from(x);
        let error = match scale {
            None => x.abs() + (x - mean).abs(),
            Some(scale) => x + (x + scale / 20.0) * (log_variance::forward(x, scale) - mean).abs(),
        };
        1.001 * error * 2_f64.powi(-24) + 2_f64.powi(-150)
    }
}

proptest! {
    #[test]
    fn gather_is_the_reference(
        case in case(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        cut in prop::array::uniform2(any::<prop::sample::Index>()),
    ) {
        let rows = case.rows();
        let indices: Vec<usize> = picks.iter().map(|pick| pick.index(rows.len())).collect();
        let mut cut = cut.map(|cut| cut.index(rows.dim() + 1));
        cut.sort();
        let columns = cut[0]..cut[1];
        let mut out = vec![f32::NAN; indices.len() * columns.len()];
        let cancel = Cancel::default();
        let normalizer = case.normalizer();
        gather(&rows, &indices, columns.clone(), &normalizer, Batch::F32(&mut out), &cancel).unwrap();

        let expected: Vec<f32> = indices
            .iter()
            .flat_map(|&i| columns.clone().map(move |c| (c, i)))
            .map(|(c, i)| case.normalised(c, case.rows[i * rows.dim() + c]))
            .collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn a_round_trip_keeps_its_documented_bound(mut case in case()) {
        // A variance is not negative.
        for value in &mut case.rows {
            *value = value.abs();
        }
        let mut rows = case.rows.clone();
        let cancel = Cancel::default();
        let normalizer = case.normalizer();
        apply(&normalizer, &mut rows, &cancel).unwrap();
        invert(&normalizer, &mut rows, &cancel).unwrap();
        for (i, (&found, &x)) in rows.iter().zip(&case.rows).enumerate() {
            let bound = case.bound(i % case.layout.dim(), x);
            let error = (f64::from(found) - f64::from(x)).abs();
            prop_assert!(error <= bound, "{x} became {found}: {error} above {bound}");
        }
    }

    #[test]
    fn inverted_variances_are_never_negative(case in case(), scale in 1_f32..1e6) {
        let mut rows: Vec<f32> = case.rows.iter().map(|y| y * -scale).collect();
        invert(&case.normalizer(), &mut rows, &Cancel::default()).unwrap();
        if case.kind != Kind::None {
            for (i, &value) in rows.iter().enumerate() {
                let (_, _, scale) = case.column(i % case.layout.dim());
                prop_assert!(scale.is_none() || value >= 0.0, "{value}");
            }
        }
    }
}

/// Two rows wide enough for several blocks and tiles, with segments that end inside of them.
fn wide() -> (Arc<Layout>, Vec<f32>) {
    let layout = layout_of(&[
        ("a", BLOCK - 5),
        ("b.running_var", STAGE + 9),
        ("c", 2 * BLOCK),
    ]);
    let rows = (0..2 * layout.dim()).map(|i| (i % 1013) as f32 / 7.0);
    let rows = rows.collect();
    (Arc::new(layout), rows)
}

#[test]
fn blocks_and_tiles_meet_without_a_seam() {
    let (layout, rows) = wide();
    let (mean, std, log_scale) = ([1.0, -0.5, 70.0], [2.0, 0.5, 0.0], [1.0, 40.0, 1.0]);
    let case = Case {
        layout,
        kind: Kind::Tensor,
        rows,
        mean: mean.to_vec(),
        std: std.to_vec(),
        log_scale: log_scale.to_vec(),
    };
    let (normalizer, rows, dim) = (case.normalizer(), case.rows(), case.layout.dim());
    let columns = 3..dim - 1;
    let mut out = vec![f32::NAN; 2 * columns.len()];
    let cancel = Cancel::default();
    gather(
        &rows,
        &[1, 0],
        columns.clone(),
        &normalizer,
        Batch::F32(&mut out),
        &cancel,
    )
    .unwrap();
    let mut whole = case.rows.clone();
    apply(&normalizer, &mut whole, &cancel).unwrap();
    for (i, found) in out.chunks(columns.len()).enumerate() {
        for (column, &found) in columns.clone().zip(found) {
            let x = case.rows[(1 - i) * dim + column];
            assert_eq!(found, case.normalised(column, x), "column {column}");
            assert_eq!(found, whole[(1 - i) * dim + column]);
        }
    }
}

#[test]
fn identity_keeps_every_bit() {
    let layout = Arc::new(layout_of(&[("a.running_var", 4)]));
    let bits = [0x7fc0_1234, 0xff80_0000, 1, 0x8000_0000];
    let source = bits.map(f32::from_bits);
    let rows = Rows::from_parts([Numbers::F32(&source)].into_iter(), 4);
    let normalizer = Normalizer::identity(layout);
    let mut out = [0.0; 4];
    let cancel = Cancel::default();
    gather(
        &rows,
        &[0],
        0..4,
        &normalizer,
        Batch::F32(&mut out),
        &cancel,
    )
    .unwrap();
    apply(&normalizer, &mut out, &cancel).unwrap();
    invert(&normalizer, &mut out, &cancel).unwrap();
    assert_eq!(out.map(f32::to_bits), bits);
}

#[test]
fn a_nan_stays_visible_in_log_space() {
    let layout = Arc::new(layout_of(&[("a.running_var", 1)]));
    let normalizer = Normalizer::new(layout, Kind::Tensor, &[0.0], &[1.0], &[1.0]).unwrap();
    let mut row = [f32::NAN];
    normalizer.apply(0, &mut row);
    assert!(row[0].is_nan());
    normalizer.invert(0, &mut row);
    assert!(row[0].is_nan());
}

#[test]
fn columns_are_checked() {
    assert_eq!(columns(0, None, 5).unwrap(), 0..5);
    assert_eq!(columns(2, Some(2), 5).unwrap(), 2..2);
    for (begin, end) in [
        (-1, None),
        (6, None),
        (0, Some(6)),
        (3, Some(2)),
        (0, Some(-1)),
    ] {
        let text = columns(begin, end, 5).unwrap_err().to_string();
        assert!(text.ends_with("accepted: 0 <= begin <= end <= 5"), "{text}");
    }
}

#[test]
fn a_requested_stop_interrupts() {
    let cancel = Cancel::default();
    cancel.request();
    let layout = Arc::new(layout_of(&[("a", 1)]));
    let result = apply(&Normalizer::identity(layout), &mut [0.0], &cancel);
    assert!(matches!(result, Err(Error::Interrupted)));
}
