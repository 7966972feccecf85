//! One checkpoint's tensors as one row of f32, in the order of the layout.

use std::fs::File;

use multiversion::multiversion;

use crate::error::Result;
use crate::layout::{Layout, Segment};
use crate::parallel::Cancel;
use crate::read::{Checkpoint, Tensor, TensorReader};

/// Numbers that are handed on at a time: few enough to stay in the cache of one core.
pub const WINDOW: usize = 1 << 16;

/// Where the numbers of a row go, from left to right.
pub trait Output {
    /// The place of the next numbers, at least one and up to `most`, to be filled before the next call.
    ///
    /// `most` is at least one and at most [`WINDOW`].
    fn window(&mut self, most: usize) -> Result<&mut [f32]>;

    /// The next numbers, at least one and up to `most`, which the output has taken from byte `at` of `file`
    /// on its own; `None` if it cannot, or not now.
    fn take_from(&mut self, _file: &File, _at: u64, _most: usize) -> Result<Option<&[f32]>> {
        Ok(None)
    }
}

/// A row in memory.
impl Output for &mut [f32] {
    fn window(&mut self, most: usize) -> Result<&mut [f32]> {
        let (window, rest) = std::mem::take(self).split_at_mut(most);
        *self = rest;
        Ok(window)
    }
}

/// Reads every tensor of the layout, refusing values that are not finite as f32 and negative running variances.
///
/// `hasher` takes in the bytes of the tensors as the files have them.
pub fn copy(
    checkpoint: &Checkpoint,
    layout: &Layout,
    output: &mut impl Output,
    mut hasher: Option<&mut blake3::Hasher>,
    cancel: &Cancel,
) -> Result<()> {
    let mut scratch = Vec::new();
    for segment in layout.segments() {
        let mut reader = checkpoint.reader(find(checkpoint, segment)?, cancel)?;
        let mut bad = Bad::default();
        while reader.left() > 0 {
            cancel.check()?;
            let hasher = hasher.as_deref_mut();
            copy_window(segment, &mut reader, &mut scratch, output, hasher, &mut bad)?;
        }
        bad.check(segment).map_err(|why| checkpoint.refuse(why))?;
    }
    checkpoint.check_unchanged()
}

/// Values of a tensor that no row can have.
#[derive(Debug, Default)]
struct Bad {
    /// How many are NaN or infinite.
    non_finite: usize,
    /// A running variance below 0.
    negative: Option<f32>,
}

impl Bad {
    fn add(&mut self, segment: &Segment, values: &[f32]) {
        self.non_finite += count_non_finite(values);
        if segment.log_variance {
            let negative = values.iter().copied().find(|&value| value < 0.0);
            self.negative = self.negative.or(negative);
        }
    }

    /// Fails with a message if there are any.
    fn check(&self, segment: &Segment) -> Result<(), String> {
        let Segment { name, columns, .. } = segment;
        if self.non_finite > 0 {
            return Err(format!(
                "tensor {name:?} holds NaN or infinity ({} of {} values, as f32); \
                 accepted: finite values",
                self.non_finite,
                columns.len()
            ));
        }
        match self.negative {
            None => Ok(()),
            Some(value) => Err(format!(
                "tensor {name:?} has the running variance {value}; accepted: at least 0"
            )),
        }
    }
}

/// Copies the next window of a tensor and looks for values that are `bad`.
fn copy_window(
    segment: &Segment,
    reader: &mut TensorReader<'_>,
    scratch: &mut Vec<u8>,
    output: &mut impl Output,
    hasher: Option<&mut blake3::Hasher>,
    bad: &mut Bad,
) -> Result<()> {
    let item = segment.dtype.size();
    let most = (reader.left() / item as u64).min(WINDOW as u64) as usize;
    let hash = |bytes: &[u8]| hasher.map(|hasher| hasher.update(bytes).count());
    if segment.dtype.is_f32()
        && let Some((file, at)) = reader.place()
        && let Some(taken) = output.take_from(file, at, most)?
    {
        let bytes = bytemuck::cast_slice(taken);
        reader.pass(bytes)?;
        hash(bytes);
        bad.add(segment, taken);
        return Ok(());
    }
    let window = output.window(most)?;
    let bytes: &[u8] = if segment.dtype.is_f32() {
        let bytes = bytemuck::cast_slice_mut(window);
        reader.read(bytes)?;
        bytes
    } else {
        let bytes = reader.next_chunk(window.len() * item, scratch)?;
        segment.dtype.to_f32(bytes, window);
        bytes
    };
    hash(bytes);
    bad.add(segment, window);
    Ok(())
}

/// How many values are NaN or infinite, as fast as they can be read.
///
/// Compiled for several instruction sets; the best one is taken at run time.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn count_non_finite(values: &[f32]) -> usize {
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |v: &f32| u32::from(v.to_bits() & EXPONENT == EXPONENT);
    values.iter().map(bad).sum::<u32>() as usize
}

/// The tensor of `segment`, which must have its dtype and shape.
fn find<'a>(checkpoint: &'a Checkpoint, segment: &Segment) -> Result<&'a Tensor> {
    let Segment {
        name, dtype, shape, ..
    } = segment;
    let tensor = checkpoint.find(name)?;
    if (tensor.dtype.name(), &tensor.shape) != (dtype.name(), shape) {
        return Err(checkpoint.refuse(format!(
            "tensor {name:?} is {} {:?}; accepted: {} {shape:?}, as in the layout",
            tensor.dtype.name(),
            tensor.shape,
            dtype.name(),
        )));
    }
    Ok(tensor)
}
