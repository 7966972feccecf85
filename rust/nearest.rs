//! The nearest row of a bank to each of some rows, in L2, streamed.
//!
//! |q − x|² = |q|² + |x|² − 2 q·x, all of them around the mean of the bank, panel by panel, in f64 sums of
//! f32 products: good enough to say who is nearest. Its distance is then summed anew, exactly.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::matmul::{Matrix, product_transposed};
use crate::normalizer::Normalizer;
use crate::panel::{self, Panel};
use crate::parallel::Cancel;
use crate::shard::Rows;
use crate::stream::Cached;

/// Parts that the columns are cut into at most, each summed on its own: the threads that they keep busy.
const LANES: usize = 32;
/// Numbers that are compared at a time.
const TILE: usize = 1 << 10;

/// For each query its nearest row, and the distance in normalised units.
///
/// `queries` [n, D] are normalised. `excluded` has for each of them a row that does not count, or a number
/// that is no row. Fails if no row is left.
pub fn nearest(
    queries: &[f32],
    excluded: &[i64],
    rows: &Rows<'_>,
    normalizer: &Normalizer,
    cancel: &Cancel,
) -> Result<Vec<(usize, f64)>> {
    let (count, dim, wanted) = (rows.len(), rows.dim(), excluded.len());
    if queries.len() != wanted * dim {
        return Err(Error::Value(format!(
            "{} numbers for {wanted} queries; accepted: [{wanted}, {dim}]",
            queries.len()
        )));
    }
    let width = panel::width(count + wanted, dim);
    let panels = dim.div_ceil(width);
    let lanes = panels.min(LANES);
    let lane = |lane: usize| {
        let panels = lane * panels / lanes..(lane + 1) * panels / lanes;
        let mut sums = Sums::new(count, wanted);
        let mut panel = Panel::new(rows, normalizer, true, width);
        for index in panels {
            cancel.check()?;
            sums.add(
                queries,
                &mut panel,
                index * width..dim.min((index + 1) * width),
            );
        }
        Ok(sums)
    };
    let sums = (0..lanes)
        .into_par_iter()
        .map(lane)
        .collect::<Result<Vec<_>>>()?;
    let whole = sums.into_iter().reduce(Sums::merged);
    let whole = whole.unwrap_or_else(|| Sums::new(count, wanted));
    let search = |(index, &excluded): (usize, &i64)| {
        let best = whole.nearest(index, excluded).ok_or_else(|| {
            Error::Value("no rows to compare with; accepted: at least one".into())
        })?;
        let query = &queries[index * dim..(index + 1) * dim];
        Ok((best, distance(query, best, rows, normalizer)))
    };
    excluded.par_iter().enumerate().map(search).collect()
}

/// Sums over some columns.
struct Sums {
    /// |x|² of each row.
    rows: Vec<f64>,
    /// q·x of each query and row, [n, K].
    products: Vec<f64>,
}

impl Sums {
    fn new(count: usize, wanted: usize) -> Self {
        Self {
            rows: vec![0.0; count],
            products: vec![0.0; count * wanted],
        }
    }

    /// Adds the part of some columns.
    fn add(&mut self, queries: &[f32], panel: &mut Panel<'_>, columns: Range<usize>) {
        let (count, wanted) = (
            self.rows.len(),
            self.products.len() / self.rows.len().max(1),
        );
        let dim = queries.len() / wanted.max(1);
        let (numbers, width) = panel.load(columns.clone());
        for (sum, row) in self.rows.iter_mut().zip(numbers.chunks_exact(width)) {
            *sum += row
                .iter()
                .map(|&x| f64::from(x) * f64::from(x))
                .sum::<f64>();
        }
        let numbers = numbers.to_vec();
        let means = panel.means(width);
        let around = |(&q, mean): (&f32, &f64)| (f64::from(q) - mean) as f32;
        let centred: Vec<f32> = (0..wanted)
            .flat_map(|query| {
                let part = &queries[query * dim + columns.start..query * dim + columns.end];
                part.iter().zip(means).map(around)
            })
            .collect();
        let mut products = vec![0.0; self.products.len()];
        let matrix = |numbers, rows| Matrix::new(numbers, rows, width, width);
        product_transposed(
            matrix(&centred, wanted),
            matrix(&numbers, count),
            &mut products,
        );
        for (sum, product) in self.products.iter_mut().zip(products) {
            *sum += f64::from(product);
        }
    }

    fn merged(mut self, other: Self) -> Self {
        let add = |ours: &mut Vec<f64>, theirs: Vec<f64>| {
            ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        };
        add(&mut self.rows, other.rows);
        add(&mut self.products, other.products);
        self
    }

    /// The row with the smallest |x|² − 2 q·x: |q|² is the same for all.
    fn nearest(&self, query: usize, excluded: i64) -> Option<usize> {
        let products = &self.products[query * self.rows.len()..];
        let distance = |row: usize| self.rows[row] - 2.0 * products[row];
        (0..self.rows.len())
            .filter(|&row| i64::try_from(row) != Ok(excluded))
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
    }
}

/// The distance of a query to a row, summed in f64.
fn distance(query: &[f32], row: usize, rows: &Rows<'_>, normalizer: &Normalizer) -> f64 {
    let mut tile = [0.0; TILE];
    let mut total = 0.0;
    for (index, query) in query.chunks(TILE).enumerate() {
        let first = index * TILE;
        let tile = &mut tile[..query.len()];
        let stored = rows.part(row, first..first + query.len());
        normalizer.load(first, stored, tile, Cached::ALONE);
        let square = |(&q, &x): (&f32, &f32)| (f64::from(q) - f64::from(x)).powi(2);
        total += query.iter().zip(tile.iter()).map(square).sum::<f64>();
    }
    total.sqrt()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::normalizer::Kind;
    use crate::store::Numbers;
    use crate::testing::layout;

    proptest! {
        #[test]
        fn it_is_the_definition(
            (wanted, count, dim) in (0_usize..5, 2_usize..7, prop_oneof![1_usize..9, 60_usize..300]),
            exclude: bool,
            seed in 0_u32..1000,
        ) {
            let number = |i: usize| ((i as u32 + seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 + 50.0;
            let values: Vec<f32> = (0..count * dim).map(number).collect();
            let layout = Arc::new(layout(&[("a", dim)]));
            let normalizer = Normalizer::new(layout, Kind::Tensor, &[0.5], &[2.0], &[1.0]).unwrap();
            let mut queries: Vec<f32> = (0..wanted * dim).map(|i| number(i + 77)).collect();
            normalizer.apply(0, &mut []);
            for row in queries.chunks_exact_mut(dim) {
                normalizer.apply(0, row);
            }
            let excluded = vec![if exclude { 1 } else { -1 }; wanted];
            let rows = Rows::from_parts([Numbers::F32(&values)].into_iter(), dim);
            let found = nearest(&queries, &excluded, &rows, &normalizer, &Cancel::default()).unwrap();
            for (query, (row, distance)) in queries.chunks_exact(dim).zip(found) {
                let to = |row: usize| {
                    let y = |c: usize| (f64::from(values[row * dim + c]) - 0.5) / 2.0;
                    (0..dim).map(|c| (f64::from(query[c]) - y(c)).powi(2)).sum::<f64>().sqrt()
                };
                let best = (0..count).filter(|&r| !(exclude && r == 1)).map(to).fold(f64::INFINITY, f64::min);
                prop_assert!((distance - best).abs() < 1e-4 * (1.0 + best), "{distance} against {best}");
                prop_assert!((to(row) - distance).abs() < 1e-4 * (1.0 + best));
            }
        }
    }

    #[test]
    fn a_copy_is_at_distance_zero() {
        let values: Vec<f32> = (0..3000).map(|i| (i as f32).sin() * 1e3).collect();
        let normalizer = Normalizer::identity(Arc::new(layout(&[("a", 1000)])));
        let rows = Rows::from_parts([Numbers::F32(&values)].into_iter(), 1000);
        let query = &values[1000..2000];
        let cancel = Cancel::default();
        let found = nearest(query, &[-1], &rows, &normalizer, &cancel).unwrap();
        assert_eq!(found, [(1, 0.0)]);
        assert_ne!(
            nearest(query, &[1], &rows, &normalizer, &cancel).unwrap()[0].0,
            1
        );
        assert!(nearest(query, &[], &rows, &normalizer, &cancel).is_err());
    }
}
