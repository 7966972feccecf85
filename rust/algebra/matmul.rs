//! Multiplies small matrices on the calling thread: the only file that calls the gemm library.
#![allow(unsafe_code)]

use gemm::{Parallelism, gemm};

/// A matrix in C order: `rows` rows of `columns` numbers, the rows `stride` numbers apart.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Checks that the rows lie in `numbers`.
    pub fn new(numbers: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(fits(numbers.len(), rows, columns, stride), "rows outside");
        Self {
            numbers,
            rows,
            columns,
            stride,
        }
    }
}

/// out [m, n] ← a [m, k] · b [n, k]ᵀ, the rows of `out` side by side.
pub fn product_transposed(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    assert_eq!(
        a.columns, b.columns,
        "the sum runs over the columns of both"
    );
    let strides = (1, b.stride as isize);
    multiply(a, b.numbers, strides, b.rows, out, b.rows);
}

/// out [m, n] ← a [m, k] · b [k, n], the rows of `out` `stride` numbers apart.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], stride: usize) {
    assert_eq!(a.columns, b.rows, "the sum runs over the rows of b");
    let strides = (b.stride as isize, 1);
    multiply(a, b.numbers, strides, b.columns, out, stride);
}

/// `strides` of b: along the sum, and along the columns of `out`.
fn multiply(
    a: Matrix<'_>,
    b: &[f32],
    strides: (isize, isize),
    columns: usize,
    out: &mut [f32],
    stride: usize,
) {
    assert!(fits(out.len(), a.rows, columns, stride), "out is too small");
    // SAFETY: `Matrix::new` and the assertions have checked that every element named by the sizes and
    // strides lies in its slice; `out` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm(
            a.rows,
            columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            stride as isize,
            false,
            a.numbers.as_ptr(),
            1,
            a.stride as isize,
            b.as_ptr(),
            strides.1,
            strides.0,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn fits(len: usize, rows: usize, columns: usize, stride: usize) -> bool {
    let end = || (rows - 1).checked_mul(stride)?.checked_add(columns);
    rows == 0 || columns == 0 || (columns <= stride && end().is_some_and(|end| end <= len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_the_definition(
            (m, n, k) in (0_usize..9, 0_usize..9, 0_usize..40),
            gap in 0_usize..3,
            seed in any::<u32>(),
        ) {
            let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 1e7;
            let fill = |count: usize, from: usize| (from..from + count).map(number).collect::<Vec<_>>();
            let (a, b) = (fill(m * (k + gap), 0), fill(n * (k + gap), 1000));
            let c = fill(k * (n + gap), 2000);
            let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() <= 1e-4 * (1.0 + expected.abs());
            let at = |x: &[f32], row: usize, stride: usize, i: usize| f64::from(x[row * stride + i]);

            let left = Matrix::new(&a, m, k, k + gap);
            let mut out = vec![f32::NAN; m * n];
            product_transposed(left, Matrix::new(&b, n, k, k + gap), &mut out);
            for i in 0..m {
                for j in 0..n {
                    let expected = (0..k).map(|l| at(&a, i, k + gap, l) * at(&b, j, k + gap, l)).sum();
                    prop_assert!(close(out[i * n + j], expected));
                }
            }

            let mut out = vec![-1.0; m * (n + gap)];
            product(left, Matrix::new(&c, k, n, n + gap), &mut out, n + gap);
            for i in 0..m {
                for j in 0..n {
                    let expected = (0..k).map(|l| at(&a, i, k + gap, l) * at(&c, l, n + gap, j)).sum();
                    prop_assert!(close(out[i * (n + gap) + j], expected));
                }
                prop_assert!(out[i * (n + gap) + n..(i + 1) * (n + gap)].iter().all(|&v| v == -1.0));
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows outside")]
    fn rows_must_lie_in_the_slice() {
        Matrix::new(&[0.0; 5], 2, 3, 3);
    }

    #[test]
    fn rows_beyond_any_memory_lie_in_no_slice() {
        for (rows, columns, stride) in [
            (3, 1, 1 << 63),
            (2, usize::MAX, usize::MAX),
            (usize::MAX, 1, 1),
            (5, 1, 1 << 62),
        ] {
            assert!(!fits(5, rows, columns, stride), "{rows} {columns} {stride}");
        }
        assert!(fits(0, 0, 1, usize::MAX));
    }
}
