//! Validates views of storages.

use std::collections::HashSet;

use crate::dtype::{DType, element_count};
use crate::read::declared::Tensor;
use crate::read::pickle::{Id, TensorRef, Values};

/// Tensors may overlap, so that they can have more bytes than the file, but not arbitrarily many.
const MOST_TIMES_FILE: u64 = 4;
/// Layers can be shared, so that one tensor has many names (12 to 24 in ALBERT), and is written under each.
const MOST_TIMES_FILE_UNDER_ALL_NAMES: u64 = 64;
const ALWAYS_ALLOWED: u64 = 1 << 20;

/// A checked view.
pub struct View {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Bytes from the beginning of the storage.
    pub offset: u64,
    pub strides: Option<Vec<usize>>,
}

/// What the tensors of one file may cost.
pub struct Budget {
    bytes: u64,
    bytes_under_all_names: u64,
    /// Bytes of all tensors so far, equal views included.
    taken: u64,
    axes: usize,
}

impl Budget {
    pub fn new(file_len: u64, pickle_len: usize) -> Self {
        let times = |most| file_len.saturating_mul(most).saturating_add(ALWAYS_ALLOWED);
        Self {
            bytes: times(MOST_TIMES_FILE),
            bytes_under_all_names: times(MOST_TIMES_FILE_UNDER_ALL_NAMES),
            taken: 0,
            // One tuple of sizes can serve many tensors; each axis of others takes two bytes.
            axes: pickle_len,
        }
    }

    /// Pays for a tensor.
    pub fn take(&mut self, axes: usize, bytes: u64) -> Result<(), String> {
        let left = self.axes.checked_sub(axes);
        self.axes = left.ok_or("has one axis too many, together with the tensors before it")?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }

    /// Refuses tensors that together are far larger than the file; equal views count once, unless they are
    /// very many.
    pub fn check(&self, tensors: &[Tensor]) -> Result<(), String> {
        if self.taken <= self.bytes {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let (mut different, mut all) = (0_u64, 0_u64);
        for tensor in tensors {
            let Tensor {
                name,
                dtype,
                shape,
                strides,
                ..
            } = tensor;
            let bytes = dtype.byte_len(shape).unwrap_or(u64::MAX);
            all = all.saturating_add(bytes);
            if seen.insert((tensor.storage, tensor.offset, dtype, shape, strides)) {
                different = different.saturating_add(bytes);
            }
            let (what, taken, most) = if different > self.bytes {
                ("", different, self.bytes)
            } else if all > self.bytes_under_all_names {
                (" under all their names", all, self.bytes_under_all_names)
            } else {
                continue;
            };
            return Err(format!(
                "the tensor {name:?} {shape:?} brings the tensors to {taken} bytes{what}, far more \
                 than the file has; accepted: at most {most}"
            ));
        }
        Ok(())
    }
}

/// Checks that a tensor lies inside its storage.
///
/// Fails with what is wrong, to be put after the name of the tensor.
pub fn view(values: &Values<'_>, tensor: &TensorRef, budget: &mut Budget) -> Result<View, String> {
    let name = tensor.element.torch_name();
    let dtype = tensor.element.dtype().ok_or_else(|| {
        format!("is {name}, which is not read; accepted: real dtypes, complex64 and bool")
    })?;
    let shape = sizes(values, tensor.shape).ok_or("has a size beyond this machine")?;
    let strides = sizes(values, tensor.strides).ok_or("has a stride beyond this machine")?;
    let overflow = || format!("has a shape {shape:?} that overflows");
    let bytes = dtype.byte_len(&shape).ok_or_else(overflow)?;
    budget.take(shape.len(), bytes)?;
    if element_count(&shape) == Some(0) {
        return Ok(View {
            dtype,
            shape,
            offset: 0,
            strides: None,
        });
    }
    let (begin, end) = values.storages[tensor.storage as usize].view;
    let range = byte_range(tensor.offset, &shape, &strides, tensor.element.bytes());
    let inside = range.filter(|&(_, last)| last <= end - begin);
    let (first, _) = inside.ok_or_else(|| {
        format!(
            "of shape {shape:?}, strides {strides:?} and offset {} reaches beyond its storage \
             of {} bytes",
            tensor.offset,
            end - begin
        )
    })?;
    let strides = dense(&shape, strides);
    Ok(View {
        dtype,
        shape,
        offset: begin + first,
        strides,
    })
}

/// Strides, or `None` if the elements lie in C order without gaps.
pub fn dense(shape: &[usize], strides: Vec<usize>) -> Option<Vec<usize>> {
    (!is_dense(shape, &strides)).then_some(strides)
}

/// The integers of a shape or of strides.
pub fn sizes(values: &Values<'_>, list: Id) -> Option<Vec<usize>> {
    let items = values.items(list)?.iter();
    items
        .map(|&item| values.size(item)?.try_into().ok())
        .collect()
}

/// First byte of the elements and one past the last; no axis is 0.
fn byte_range(offset: u64, shape: &[usize], strides: &[usize], bytes: u64) -> Option<(u64, u64)> {
    let mut last = offset;
    for (&size, &stride) in shape.iter().zip(strides) {
        last = last.checked_add((size as u64 - 1).checked_mul(stride as u64)?)?;
    }
    let end = last.checked_add(1)?.checked_mul(bytes)?;
    Some((offset * bytes, end))
}

/// Whether the elements lie in C order, without gaps; along an axis of one there is no step.
fn is_dense(shape: &[usize], strides: &[usize]) -> bool {
    let mut next = 1;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride != next {
            return false;
        }
        next *= size;
    }
    true
}
