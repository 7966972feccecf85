//! How raw rows become training data, and back: y = (t(x) − mean) / std.
//!
//! t is the identity, or the log space of [`crate::variance`] for running variances. Arithmetic is
//! f64 and only the stored result is rounded to f32. So, with u = 2⁻²⁴ the rounding unit of f32,
//! normalising and inverting x (y neither overflowing nor subnormal) gives x′ with
//!
//! * |x′ − x| ≤ u·(|x| + |x − mean|)(1 + ε), at most 2 ulp of max(|x|, |x − mean|), if t is the identity;
//! * |x′ − x| ≤ u·(x + (x + scale/20)·|t(x) − mean|)(1 + ε) if t is the logarithm and x ≥ 0,
//!
//! where ε < 10⁻³ covers the f64 arithmetic and the second order of exp. A subnormal x′ adds 2⁻¹⁵⁰.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layout::{Layout, Segment};
use crate::variance;

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
    log_scale: Vec<f64>,
}

/// The mean and std of some columns.
#[derive(Clone, Copy)]
enum Affine<'a> {
    Tensor(f64, f64),
    Element(&'a [f64], &'a [f64]),
}

impl Normalizer {
    /// Changes nothing, bit for bit.
    pub fn identity(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            kind: Kind::None,
            mean: Vec::new(),
            std: Vec::new(),
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
        Ok(Self {
            layout,
            kind,
            mean: mean.to_vec(),
            std: std.iter().map(nonzero).collect(),
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

    /// Normalises one row's columns from `first` on, in place.
    pub fn apply(&self, first: usize, columns: &mut [f32]) {
        self.for_each_piece(first, columns, |values, affine, scale| match scale {
            None => affine.map(values, |x, mean, std| (x - mean) / std),
            Some(scale) => affine.map(values, |x, mean, std| {
                (variance::forward(x, scale) - mean) / std
            }),
        });
    }

    /// De-normalises one row's columns from `first` on, in place.
    pub fn invert(&self, first: usize, columns: &mut [f32]) {
        self.for_each_piece(first, columns, |values, affine, scale| match scale {
            None => affine.map(values, |y, mean, std| y * std + mean),
            Some(scale) => affine.map(values, |y, mean, std| {
                variance::inverse(y * std + mean, scale)
            }),
        });
    }

    /// Hands out the part of `columns` in each segment, its statistics and, in log space, its scale.
    fn for_each_piece(
        &self,
        first: usize,
        columns: &mut [f32],
        work: impl Fn(&mut [f32], Affine<'_>, Option<f64>),
    ) {
        if self.kind == Kind::None {
            return;
        }
        for (tensor, part) in self.layout.pieces(first..first + columns.len()) {
            let Segment { log_variance, .. } = self.layout.segments()[tensor];
            let scale = log_variance.then(|| self.log_scale[tensor]);
            let affine = self.affine(tensor, part.clone());
            let values = &mut columns[part.start - first..part.end - first];
            work(values, affine, scale);
        }
    }

    fn affine(&self, tensor: usize, part: Range<usize>) -> Affine<'_> {
        match self.kind {
            Kind::Element => Affine::Element(&self.mean[part.clone()], &self.std[part]),
            _ => Affine::Tensor(self.mean[tensor], self.std[tensor]),
        }
    }
}

impl Affine<'_> {
    /// Maps (value, mean, std) in f64 and rounds once. Written so that the loops vectorise.
    #[inline(always)]
    fn map(self, values: &mut [f32], f: impl Fn(f64, f64, f64) -> f64) {
        match self {
            Self::Tensor(mean, std) => {
                for value in values {
                    *value = f(f64::from(*value), mean, std) as f32;
                }
            }
            Self::Element(mean, std) => {
                for ((value, &mean), &std) in values.iter_mut().zip(mean).zip(std) {
                    *value = f(f64::from(*value), mean, std) as f32;
                }
            }
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
    use crate::testing::layout;

    fn refused(kind: Kind, mean: &[f64], std: &[f64], log_scale: &[f64]) -> String {
        let layout = Arc::new(layout(&[("a", 1), ("b", 2)]));
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
