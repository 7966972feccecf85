//! Maps running variances to log space and back: t(x) = ln(x / scale + 0.05), as in the paper's code.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_maps_near_zero_and_back() {
        let scale = scale(2.0);
        assert_eq!(scale, 1.9);
        assert_eq!(forward(2.0, scale), (2.0_f64 / 1.9 + 0.05).ln());
        assert!((inverse(forward(2.0, scale), scale) - 2.0).abs() < 1e-15);
    }

    #[test]
    fn the_edges() {
        assert_eq!(scale(0.0), 1.0);
        assert_eq!(scale(-1.0), 1.0);
        assert_eq!(scale(f64::NAN), 1.0);
        assert_eq!(forward(0.0, 3.0), OFFSET.ln());
        assert_eq!(forward(-5.0, 3.0), OFFSET.ln());
        assert_eq!(inverse(-1e9, 3.0), 0.0);
        assert_eq!(inverse(f64::NEG_INFINITY, 3.0), 0.0);
        assert!(forward(f64::NAN, 3.0).is_nan() && inverse(f64::NAN, 3.0).is_nan());
    }
}
