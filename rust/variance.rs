//! The log space of running variances: t(x) = ln(x / scale + 0.05), as in the paper's code.

/// Keeps the logarithm finite at a variance of 0.
pub const OFFSET: f64 = 0.05;
/// scale = 0.95 · mean, so that the mean itself maps to ln(1/0.95 + 0.05) ≈ 0.1.
pub const SHRINK: f64 = 0.95;

/// The scale of a tensor whose mean over the bank is `mean`; 1 where that would not be usable.
pub fn scale(mean: f64) -> f64 {
    let scale = SHRINK * mean;
    if scale > 0.0 { scale } else { 1.0 }
}

/// t(x). A negative x, which is no variance, counts as 0; a NaN stays one.
#[inline]
pub fn forward(x: f64, scale: f64) -> f64 {
    let x = if x < 0.0 { 0.0 } else { x };
    (x / scale + OFFSET).ln()
}

/// The inverse of [`forward`], never negative. A NaN stays one.
#[inline]
pub fn inverse(y: f64, scale: f64) -> f64 {
    let above = y.exp() - OFFSET;
    if above < 0.0 { 0.0 } else { above * scale }
}
