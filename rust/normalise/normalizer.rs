//! Normalises raw rows and inverts that: y = (t(x) − mean) / std.
//!
//! t is the identity, or the log space of [`crate::normalise::log_variance`] for running variances. Arithmetic is
//! f64 and only the stored result is rounded to f32. So, with u = 2⁻²⁴ the rounding unit of f32,
//! normalising and inverting x (y neither overflowing nor subnormal) gives x′ with
//!
//! * |x′ − x| ≤ u·(|x| + |x − mean|)(1 + ε), at most 2 ulp of max(|x|, |x − mean|), if t is the identity;
//! * |x′ − x| ≤ u·(x + (x + scale/20)·|t(x) − mean|)(1 + ε) if t is the logarithm and x ≥ 0,
//!
//! where ε < 10⁻³ covers the f64 arithmetic and the second order of exp. A subnormal x′ adds 2⁻¹⁵⁰.

use std::ops::Range;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;

use super::log_variance;
use super::loops::{self, Number};
use super::nontemporal::{Cached, Sink};
use crate::bank::layout::Layout;
use crate::bank::precision::Numbers;
use crate::error::{Error, Result};

/// Numbers that are held between two loops: they stay in the first-level cache.
const STAGE: usize = 1 << 9;

/// What a mean and a std belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is changed, bit for bit.
    None,
    /// One mean and std for each tensor.
    Tensor,
    /// One mean and std for each column.
    Element,
}

impl Kind {
    /// Finds a kind by its name; `none` has no statistics and is not among them.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "tensor" => Ok(Self::Tensor),
            "element" => Ok(Self::Element),
            _ => Err(Error::Value(format!(
                "normalizer kind {name:?}; accepted: \"tensor\", \"element\""
            ))),
        }
    }

    /// The name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tensor => "tensor",
            Self::Element => "element",
        }
    }
}

/// A layout with the statistics that normalise its rows.
#[derive(Debug)]
pub struct Normalizer {
    layout: Arc<Layout>,
    kind: Kind,
    mean: Vec<f64>,
    std: Vec<f64>,
    /// 1 / std.
    inverse: Vec<f64>,
    log_scale: Vec<f64>,
}

impl Normalizer {
    /// Changes nothing, bit for bit.
    pub fn identity(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            kind: Kind::None,
            mean: Vec::new(),
            std: Vec::new(),
            inverse: Vec::new(),
            log_scale: Vec::new(),
        }
    }

    /// `mean`, `std` are `[T]` for [`Kind::Tensor`], `[D]` for [`Kind::Element`]; `log_scale` is `[T]`.
    ///
    /// A std of 0 counts as 1.
    pub fn new(
        layout: Arc<Layout>,
        kind: Kind,
        mean: &[f64],
        std: &[f64],
        log_scale: &[f64],
    ) -> Result<Self> {
        let tensors = layout.segments().len();
        let length = match kind {
            Kind::None => return Ok(Self::identity(layout)),
            Kind::Tensor => tensors,
            Kind::Element => layout.dim(),
        };
        check("mean", mean, length, f64::is_finite, "finite")?;
        let is_std = |v: f64| v.is_finite() && v >= 0.0;
        check("std", std, length, is_std, "finite and not negative")?;
        let is_scale = |v: f64| v.is_finite() && v > 0.0;
        check(
            "log_scale",
            log_scale,
            tensors,
            is_scale,
            "finite and positive",
        )?;
        let nonzero = |&v: &f64| if v == 0.0 { 1.0 } else { v };
        let std: Vec<f64> = std.iter().map(nonzero).collect();
        Ok(Self {
            layout,
            kind,
            mean: mean.to_vec(),
            inverse: std.iter().map(|v| 1.0 / v).collect(),
            std,
            log_scale: log_scale.to_vec(),
        })
    }

    /// The layout of the rows.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the statistics belong to.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Stored `numbers` of one row, its columns from `first` on, normalised, as `out`.
    ///
    /// The caller calls [`Sink::finish`] of the sink when it has loaded what it wants.
    pub fn load<S: Sink>(&self, first: usize, numbers: Numbers<'_>, out: &mut [f32], sink: S) {
        match numbers {
            Numbers::F32(numbers) => self.load_as(first, numbers, out, sink),
            Numbers::BF16(numbers) => self.load_as(first, numbers, out, sink),
            Numbers::F16(numbers) => {
                let mut wide = [0.0; STAGE];
                let parts = numbers.chunks(STAGE).zip(out.chunks_mut(STAGE));
                for (i, (numbers, out)) in parts.enumerate() {
                    let wide = &mut wide[..numbers.len()];
                    numbers.convert_to_f32_slice(wide);
                    self.load_as(first + i * STAGE, &*wide, out, sink.moved());
                }
            }
        }
    }

    fn load_as<N: Number, S: Sink>(&self, first: usize, numbers: &[N], out: &mut [f32], sink: S) {
        if self.kind == Kind::None {
            return loops::copy(numbers, out, sink);
        }
        for (tensor, part) in self.layout.pieces(first..first + out.len()) {
            let at = part.start - first..part.end - first;
            let (numbers, out) = (&numbers[at.clone()], &mut out[at]);
            if let Some(scale) = self.scale(tensor) {
                loops::copy(numbers, out, Cached::ALONE);
                self.map(out, tensor, part, |x, mean, std| {
                    (log_variance::forward(x, scale) - mean) / std
                });
            } else if self.kind == Kind::Element {
                let (means, inverses) = (&self.mean[part.clone()], &self.inverse[part]);
                loops::normalize_each(numbers, out, means, inverses, sink);
            } else {
                let (mean, inverse) = (self.mean[tensor], self.inverse[tensor]);
                loops::normalize(numbers, out, mean, inverse, sink);
            }
        }
    }

    /// Normalises one row's columns from `first` on, in place.
    pub fn apply(&self, first: usize, columns: &mut [f32]) {
        let mut raw = [0.0; STAGE];
        for (i, values) in columns.chunks_mut(STAGE).enumerate() {
            let raw = &mut raw[..values.len()];
            raw.copy_from_slice(values);
            self.load_as(first + i * STAGE, &*raw, values, Cached::ALONE);
        }
    }

    /// De-normalises one row's columns from `first` on, in place.
    pub fn invert(&self, first: usize, columns: &mut [f32]) {
        if self.kind == Kind::None {
            return;
        }
        for (tensor, part) in self.layout.pieces(first..first + columns.len()) {
            let values = &mut columns[part.start - first..part.end - first];
            if let Some(scale) = self.scale(tensor) {
                self.map(values, tensor, part, |y, mean, std| {
                    log_variance::inverse(y * std + mean, scale)
                });
            } else if self.kind == Kind::Element {
                let (means, stds) = (&self.mean[part.clone()], &self.std[part]);
                loops::restore_each(values, means, stds);
            } else {
                loops::restore(values, self.mean[tensor], self.std[tensor]);
            }
        }
    }

    /// The scale of the tensor's log space, if it is modelled in one.
    fn scale(&self, tensor: usize) -> Option<f64> {
        let log = self.layout.segments()[tensor].log_variance;
        log.then(|| self.log_scale[tensor])
    }

    /// Maps (value, mean, std) in f64 and rounds once.
    fn map(
        &self,
        values: &mut [f32],
        tensor: usize,
        part: Range<usize>,
        f: impl Fn(f64, f64, f64) -> f64,
    ) {
        for (value, column) in values.iter_mut().zip(part) {
            let at = if self.kind == Kind::Element {
                column
            } else {
                tensor
            };
            *value = f(f64::from(*value), self.mean[at], self.std[at]) as f32;
        }
    }
}

fn check(
    name: &str,
    values: &[f64],
    length: usize,
    accepts: impl Fn(f64) -> bool,
    accepted: &str,
) -> Result<()> {
    if values.len() != length {
        let found = values.len();
        return Err(Error::Value(format!(
            "{name} has {found} values; accepted: {length}"
        )));
    }
    match values.iter().position(|&v| !accepts(v)) {
        None => Ok(()),
        Some(at) => Err(Error::Value(format!(
            "{name}[{at}] is {}; accepted: {accepted}",
            values[at]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::layout::layout_of;

    fn refused(kind: Kind, mean: &[f64], std: &[f64], log_scale: &[f64]) -> String {
        let layout = Arc::new(layout_of(&[("a", 1), ("b", 2)]));
        let result = Normalizer::new(layout, kind, mean, std, log_scale);
        result.unwrap_err().to_string()
    }

    #[test]
    fn statistics_are_checked() {
        let (two, three) = ([1.0; 2], [1.0; 3]);
        let text = refused(Kind::Element, &two, &three, &two);
        assert_eq!(text, "mean has 2 values; accepted: 3");
        let text = refused(Kind::Tensor, &two, &three, &two);
        assert_eq!(text, "std has 3 values; accepted: 2");
        let text = refused(Kind::Element, &three, &three, &three);
        assert_eq!(text, "log_scale has 3 values; accepted: 2");
        let text = refused(Kind::Tensor, &[1.0, f64::NAN], &two, &two);
        assert_eq!(text, "mean[1] is NaN; accepted: finite");
        let text = refused(Kind::Tensor, &two, &[-1.0, 1.0], &two);
        assert_eq!(text, "std[0] is -1; accepted: finite and not negative");
        let text = refused(Kind::Tensor, &two, &two, &[1.0, 0.0]);
        assert_eq!(text, "log_scale[1] is 0; accepted: finite and positive");
    }
}
