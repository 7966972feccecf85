//! Lays out tensors side by side as one row of D numbers.

use std::ops::Range;

use crate::dtype::{Float, element_count};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::natural_order;

/// The last component of a name whose tensor is modelled in log space.
const VARIANCE: &str = "running_var";

/// The columns that one tensor takes in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Name in the state dict.
    pub name: String,
    /// Type of the checkpoint's own numbers; a row holds them as f32.
    pub dtype: Float,
    /// Axis sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Columns of the row.
    pub columns: Range<usize>,
    /// Whether the tensor is a `running_var`, modelled in log space.
    pub log_variance: bool,
}

/// Segments in natural order of their names, side by side.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    segments: Vec<Segment>,
    dim: usize,
}

impl Layout {
    /// Lays out `(name, dtype, shape)` in natural order of the names.
    pub fn new(mut tensors: Vec<(String, String, Vec<usize>)>) -> Result<Self> {
        tensors.sort_by(|a, b| natural_order::compare(&a.0, &b.0));
        if let Some(twice) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = &twice[0].0;
            return Err(Error::Refused(format!(
                "tensor {name:?} is listed twice; accepted: each name once"
            )));
        }
        let mut dim = 0;
        let mut segments = Vec::with_capacity(tensors.len());
        for (name, dtype, shape) in tensors {
            let segment = segment(name, &dtype, shape, dim)?;
            dim = segment.columns.end;
            segments.push(segment);
        }
        if dim == 0 {
            let count = segments.len();
            return Err(Error::Refused(format!(
                "{count} tensors with no numbers in them; accepted: at least one number"
            )));
        }
        Ok(Self { segments, dim })
    }

    /// Segments in the order of their columns.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// D, the numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The segments that meet `columns`, each with the part of `columns` that it holds.
    pub fn pieces(&self, columns: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = self
            .segments
            .partition_point(|s| s.columns.end <= columns.start);
        self.segments[first..]
            .iter()
            .enumerate()
            .take_while({
                let end = columns.end;
                move |(_, s)| s.columns.start < end
            })
            .map(move |(i, s)| {
                let begin = s.columns.start.max(columns.start);
                (first + i, begin..s.columns.end.min(columns.end))
            })
            .filter(|(_, part)| !part.is_empty())
    }

    /// BLAKE3 over names, dtypes and shapes, 64 hex digits.
    pub fn fingerprint(&self) -> String {
        let mut fields = Fingerprint::default();
        for segment in &self.segments {
            fields.tensor(&segment.name, segment.dtype.name(), &segment.shape);
        }
        fields.finish()
    }
}

/// One tensor as the columns from `begin` on.
fn segment(name: String, dtype: &str, shape: Vec<usize>, begin: usize) -> Result<Segment> {
    let float = Float::parse(dtype).ok_or_else(|| {
        Error::Refused(format!(
            "tensor {name:?} has dtype {dtype:?}; accepted: {}",
            Float::ACCEPTED
        ))
    })?;
    let end = element_count(&shape)
        .and_then(|count| begin.checked_add(count))
        .filter(|end| end.checked_mul(size_of::<f64>()).is_some())
        .ok_or_else(|| Error::Refused(format!("tensor {name:?} has a shape that overflows")))?;
    let log_variance = name.rsplit('.').next() == Some(VARIANCE);
    Ok(Segment {
        name,
        dtype: float,
        shape,
        columns: begin..end,
        log_variance,
    })
}

/// A layout of F32 tensors of one axis each.
#[cfg(test)]
pub fn layout_of(tensors: &[(&str, usize)]) -> Layout {
    let tensor = |&(name, size): &(&str, usize)| (name.into(), "F32".into(), vec![size]);
    Layout::new(tensors.iter().map(tensor).collect()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tensors: &[(&str, &str, &[usize])]) -> Result<Layout> {
        let owned = tensors
            .iter()
            .map(|&(name, dtype, shape)| (name.into(), dtype.into(), shape.to_vec()));
        Layout::new(owned.collect())
    }

    #[test]
    fn tensors_lie_side_by_side_in_natural_order() {
        let layout = of(&[
            ("l.10.weight", "F16", &[2, 3]),
            ("l.9.running_var", "F32", &[4]),
            ("l.9.empty", "F32", &[0]),
            ("l.10.running_var.x", "F64", &[]),
        ])
        .unwrap();
        let found: Vec<_> = layout
            .segments()
            .iter()
            .map(|s| (s.name.as_str(), s.columns.clone(), s.log_variance))
            .collect();
        let expected = [
            ("l.9.empty", 0..0, false),
            ("l.9.running_var", 0..4, true),
            ("l.10.running_var.x", 4..5, false),
            ("l.10.weight", 5..11, false),
        ];
        assert_eq!(found, expected);
        assert_eq!(layout.dim(), 11);
    }

    #[test]
    fn pieces_cover_exactly_the_columns() {
        let layout = of(&[
            ("a", "F32", &[3]),
            ("b", "F32", &[0]),
            ("c", "F32", &[2]),
            ("d", "F32", &[5]),
        ])
        .unwrap();
        let pieces = |columns| layout.pieces(columns).collect::<Vec<_>>();
        assert_eq!(pieces(0..10), [(0, 0..3), (2, 3..5), (3, 5..10)]);
        assert_eq!(pieces(1..4), [(0, 1..3), (2, 3..4)]);
        assert_eq!(pieces(3..5), [(2, 3..5)]);
        assert_eq!(pieces(9..10), [(3, 9..10)]);
        assert_eq!(pieces(4..4), []);
        assert_eq!(pieces(10..10), []);
    }

    #[test]
    fn fingerprints_tell_layouts_apart() {
        let layouts: [&[(&str, &str, &[usize])]; 7] = [
            &[("a", "F32", &[6])],
            &[("b", "F32", &[6])],
            &[("a", "F16", &[6])],
            &[("a", "F32", &[2, 3])],
            &[("a", "F32", &[3, 2])],
            &[("a", "F32", &[3]), ("b", "F32", &[3])],
            &[("aF32", "F32", &[6])],
        ];
        let fingerprints = layouts.map(|tensors| of(tensors).unwrap().fingerprint());
        for (i, fingerprint) in fingerprints.iter().enumerate() {
            assert_eq!(fingerprint.len(), 64);
            assert!(!fingerprints[..i].contains(fingerprint), "layout {i}");
        }
        let swapped = of(&[("b", "F32", &[3]), ("a", "F32", &[3])]).unwrap();
        assert_eq!(swapped.fingerprint(), fingerprints[5]);
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let message = |tensors| of(tensors).unwrap_err().to_string();
        let twice = message(&[("a", "F32", &[1]), ("a", "F64", &[2])]);
        assert_eq!(
            twice,
            r#"tensor "a" is listed twice; accepted: each name once"#
        );
        let dtype = message(&[("a", "I64", &[1])]);
        assert_eq!(
            dtype,
            r#"tensor "a" has dtype "I64"; accepted: F64, F32, F16 or BF16"#
        );
        assert!(message(&[]).starts_with("0 tensors with no numbers"));
        assert!(message(&[("a", "F32", &[0])]).starts_with("1 tensors with no numbers"));
        let huge = message(&[("a", "F32", &[usize::MAX, 2])]);
        assert_eq!(huge, r#"tensor "a" has a shape that overflows"#);
        let sum = message(&[
            ("a", "F32", &[usize::MAX / 16]),
            ("b", "F32", &[usize::MAX / 8]),
        ]);
        assert_eq!(sum, r#"tensor "b" has a shape that overflows"#);
    }
}
