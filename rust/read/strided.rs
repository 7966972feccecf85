//! Copies elements that do not lie in C order into C order, in memory.

use super::declared::Tensor;
use super::source::{CHUNK, Source};
use crate::error::Result;
use crate::runtime::parallel::Cancel;

/// An axis: its size, and the bytes from one element to the next.
type Axis = (usize, usize);

/// Elements of a tensor whose first one is at byte `at` of the file, in C order.
pub fn gathered(
    source: &Source,
    at: u64,
    tensor: &Tensor,
    strides: &[usize],
    cancel: &Cancel,
) -> Result<Vec<u8>> {
    if tensor.shape.contains(&0) {
        return Ok(Vec::new());
    }
    let item = tensor.dtype.item_bytes();
    let bytes = strides.iter().map(|stride| stride * item);
    let axes = merged(tensor.shape.iter().copied().zip(bytes));
    // The reader of the container has checked that the last element lies in the storage.
    let last: usize = axes.iter().map(|&(size, stride)| (size - 1) * stride).sum();
    let span = span(source, at, last + item, cancel)?;
    let mut gather = Gather {
        span: &span,
        out: Vec::with_capacity(tensor.byte_len() as usize),
        unchecked: 0,
        cancel,
    };
    let (axes, run) = match axes[..] {
        // Elements side by side are copied together.
        [ref outer @ .., (size, stride)] if stride == item => (outer, size * item),
        ref all => (all, item),
    };
    gather.block(0, axes, run)?;
    Ok(gather.out)
}

/// The same axes without those of size 1, and with neighbours merged where the outer one continues the inner one,
/// so that the cost is that of copying the elements.
fn merged(axes: impl Iterator<Item = Axis>) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::new();
    for (size, stride) in axes.filter(|&(size, _)| size != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    merged
}

fn span(source: &Source, at: u64, len: usize, cancel: &Cancel) -> Result<Vec<u8>> {
    let mut span = vec![0; len];
    let mut at = at;
    for part in span.chunks_mut(CHUNK) {
        cancel.check()?;
        source.read_exact_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(span)
}

struct Gather<'a> {
    span: &'a [u8],
    out: Vec<u8>,
    /// Copies since the last look at whether to stop.
    unchecked: usize,
    cancel: &'a Cancel,
}

impl Gather<'_> {
    /// Appends the block that begins at byte `at` of the span, in pieces of `run` bytes.
    fn block(&mut self, at: usize, axes: &[Axis], run: usize) -> Result<()> {
        let Some((&(size, stride), inner)) = axes.split_first() else {
            self.out.extend_from_slice(&self.span[at..at + run]);
            return Ok(());
        };
        if inner.is_empty() {
            self.unchecked += size;
            if self.unchecked > CHUNK {
                self.unchecked = 0;
                self.cancel.check()?;
            }
        }
        for index in 0..size {
            self.block(at + index * stride, inner, run)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_without_a_step_of_their_own_go() {
        let ones = |axes: &[Axis]| merged(axes.iter().copied());
        assert_eq!(ones(&[(1, 7), (3, 4), (1, 0)]), [(3, 4)]);
        assert_eq!(ones(&[(2, 24), (3, 8), (2, 4)]), [(12, 4)]);
        assert_eq!(ones(&[(2, 4), (3, 8)]), [(2, 4), (3, 8)]);
        assert_eq!(ones(&[(5, 0), (2, 0)]), [(10, 0)]);
        assert_eq!(ones(&[]), []);
    }
}
