//! Reads one checkpoint's tensors as one row of f32, in the order of the layout.

use std::fs::File;

use multiversion::multiversion;

use crate::bank::layout::{Layout, Segment};
use crate::error::{Error, Result};
use crate::read::{Checkpoint, Tensor, TensorReader};
use crate::runtime::parallel::Cancel;

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

/// Takes the numbers and keeps none.
#[derive(Default)]
pub struct Nowhere(Vec<f32>);

impl Output for Nowhere {
    fn window(&mut self, most: usize) -> Result<&mut [f32]> {
        self.0.resize(most, 0.0);
        Ok(&mut self.0)
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
pub fn read_row(
    checkpoint: &Checkpoint,
    layout: &Layout,
    output: &mut impl Output,
    mut hasher: Option<&mut blake3::Hasher>,
    cancel: &Cancel,
) -> Result<()> {
    let mut scratch = Vec::new();
    for segment in layout.segments() {
        let mut reader = checkpoint.reader(find(checkpoint, segment)?, cancel)?;
        let mut seen = Seen::of(segment, hasher.as_deref_mut());
        while reader.left() > 0 {
            cancel.check()?;
            copy_window(&mut seen, &mut reader, &mut scratch, output)?;
        }
        seen.check(checkpoint)?;
    }
    checkpoint.check_unchanged()
}

/// What has been seen of one tensor's values.
pub struct Seen<'a> {
    segment: &'a Segment,
    hasher: Option<&'a mut blake3::Hasher>,
    /// How many are NaN or infinite.
    non_finite: usize,
    /// A running variance below 0.
    negative: Option<f32>,
}

impl<'a> Seen<'a> {
    /// Nothing of the tensor has been seen yet.
    pub fn of(segment: &'a Segment, hasher: Option<&'a mut blake3::Hasher>) -> Self {
        Self {
            segment,
            hasher,
            non_finite: 0,
            negative: None,
        }
    }

    /// Takes in the next values, and the bytes that they are in the file.
    pub fn add(&mut self, bytes: &[u8], values: &[f32]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.non_finite += count_non_finite(values);
        if self.segment.log_variance {
            let negative = values.iter().copied().find(|&value| value < 0.0);
            self.negative = self.negative.or(negative);
        }
    }

    /// Refuses `checkpoint`, whose tensor it is, if there were values that no row can have.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let Segment { name, columns, .. } = self.segment;
        if self.non_finite > 0 {
            return Err(Error::NonFinite {
                path: checkpoint.path().to_owned(),
                message: format!(
                    "tensor {name:?} holds NaN or infinity ({} of {} values, as f32)",
                    self.non_finite,
                    columns.len()
                ),
            });
        }
        match self.negative {
            None => Ok(()),
            Some(value) => Err(checkpoint.refuse(format!(
                "tensor {name:?} has the running variance {value}; accepted: at least 0"
            ))),
        }
    }
}

/// Copies the next window of a tensor.
fn copy_window(
    seen: &mut Seen<'_>,
    reader: &mut TensorReader<'_>,
    scratch: &mut Vec<u8>,
    output: &mut impl Output,
) -> Result<()> {
    let dtype = seen.segment.dtype;
    let most = (reader.left() / dtype.size() as u64).min(WINDOW as u64) as usize;
    if dtype.is_f32()
        && let Some((file, at)) = reader.place()
        && let Some(taken) = output.take_from(file, at, most)?
    {
        let bytes = bytemuck::cast_slice(taken);
        reader.pass(bytes)?;
        seen.add(bytes, taken);
        return Ok(());
    }
    let window = output.window(most)?;
    if dtype.is_f32() {
        reader.read(bytemuck::cast_slice_mut(window))?;
        seen.add(bytemuck::cast_slice(window), window);
    } else {
        let bytes = reader.next_chunk(window.len() * dtype.size(), scratch)?;
        dtype.to_f32(bytes, window);
        seen.add(bytes, window);
    }
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
pub fn find<'a>(checkpoint: &'a Checkpoint, segment: &Segment) -> Result<&'a Tensor> {
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
