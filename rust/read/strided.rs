//! Reads elements that do not lie in C order in C order, a block of them at a time.
//!
//! Whatever its shape and strides, of a view only the block is in memory, and beside it a piece of the file. A
//! block is cut into boxes, each a range of indices on every axis. A box is read in the order of the file: what
//! lies close together with one call, what lies far apart with a call each. Then it is put in order in memory.

use super::declared::Tensor;
use super::source::{CHUNK, Source};
use crate::error::Result;
use crate::memory;
use crate::runtime::parallel::Cancel;

mod boxes;
#[cfg(test)]
mod tests;

use boxes::{Axis, Boxed, Side};

/// Bytes of elements that are in memory at once, at most.
const BLOCK: usize = 1 << 23;
/// Bytes of the file that are in memory beside them, at most.
const SPAN: usize = CHUNK;
/// Bytes that nobody wants which are read all the same: another call would take as long.
const GAP: usize = 1 << 12;
/// How many times as much as the last time is read, where one block follows the other.
const GROWTH: usize = 4;

/// A view that is being read.
#[derive(Debug)]
pub struct Strided<'a> {
    source: &'a Source,
    cancel: &'a Cancel,
    /// The byte of the file where its first element is.
    at: u64,
    /// Bytes of an element.
    item: usize,
    /// Those of more than one element, the outer first.
    axes: Vec<Axis>,
    /// Elements in it.
    count: usize,
    /// The byte that is read next, of all bytes in C order.
    next: u64,
    /// Some elements in C order, from byte `begin` on.
    block: Vec<u8>,
    begin: u64,
    /// Bytes that the next block has at least: a sample costs a sample.
    ahead: usize,
    /// A piece of the file.
    span: Vec<u8>,
}

impl<'a> Strided<'a> {
    /// The elements of `tensor`, the first of which is at byte `at` of the file.
    ///
    /// The reader of the container has checked that the last element lies in the storage.
    pub fn new(
        source: &'a Source,
        at: u64,
        tensor: &Tensor,
        strides: &[usize],
        cancel: &'a Cancel,
    ) -> Result<Self> {
        let item = tensor.dtype.item_bytes();
        let axes = boxes::merged(&tensor.shape, strides, item).ok_or_else(|| {
            let name = &tensor.source_name;
            source.refuse(format!("tensor {name:?} has strides that overflow"))
        })?;
        Ok(Self {
            source,
            cancel,
            at,
            item,
            axes,
            count: tensor.byte_len() as usize / item,
            next: 0,
            block: Vec::new(),
            begin: 0,
            ahead: 0,
            span: Vec::new(),
        })
    }

    /// Leaves out the next `count` bytes.
    pub fn skip(&mut self, count: u64) {
        self.next += count;
        self.ahead = 0;
    }

    /// Fills `out` with the next bytes, at most as many as are left.
    pub fn read(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let from = self.next.checked_sub(self.begin);
            let ready = from.and_then(|from| self.block.get(from as usize..));
            let count = ready.map_or(0, <[u8]>::len).min(out.len());
            if count == 0 {
                self.bring(out.len())?;
                continue;
            }
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&ready.unwrap_or_default()[..count]);
            self.next += count as u64;
            out = later;
        }
        Ok(())
    }

    /// Makes a block of the elements from the next byte on: `wanted` bytes of them, if it can have as many.
    fn bring(&mut self, wanted: usize) -> Result<()> {
        let first = (self.next / self.item as u64) as usize;
        let bytes = wanted.saturating_add(self.item).max(self.ahead).min(BLOCK);
        let count = bytes.div_ceil(self.item).min(self.count - first);
        let mut block = std::mem::take(&mut self.block);
        let refuse = |message: String| self.source.refuse(message);
        resize(&mut block, count * self.item).map_err(refuse)?;
        let mut done = 0;
        while done < count {
            let part = boxes::first(&self.axes, self.item, first + done, count - done);
            let out = &mut block[done * self.item..][..part.count * self.item];
            self.read_box(&part, part.at, out)?;
            done += part.count;
        }
        self.ahead = (GROWTH * count * self.item).min(BLOCK);
        self.begin = (first * self.item) as u64;
        self.block = block;
        Ok(())
    }

    /// Reads a box whose first element is `at` bytes after that of the tensor.
    fn read_box(&mut self, part: &Boxed, at: usize, out: &mut [u8]) -> Result<()> {
        let Some((&outer, inner)) = part.sides.split_first() else {
            return self.source.read_exact_at(out, self.at + at as u64);
        };
        let inner = part.inside(inner);
        if inner.span > SPAN || !inner.is_close(GAP) {
            for index in 0..outer.size {
                let out = &mut out[index * outer.step..];
                self.read_box(&inner, at + index * outer.stride, out)?;
            }
            return Ok(());
        }
        let close = outer.stride.saturating_sub(inner.span) <= GAP;
        let step = if close { outer.stride } else { inner.span };
        let most = (SPAN - inner.span)
            .checked_div(step)
            .map_or(outer.size, |more| more + 1);
        for begin in (0..outer.size).step_by(most) {
            self.cancel.check()?;
            let size = most.min(outer.size - begin);
            let place = |index: usize| self.at + (at + (begin + index) * outer.stride) as u64;
            let len = (size - 1) * step + inner.span;
            let refuse = |message: String| self.source.refuse(message);
            resize(&mut self.span, len).map_err(refuse)?;
            if close {
                self.source.read_exact_at(&mut self.span, place(0))?;
            } else {
                for (index, bytes) in self.span.chunks_exact_mut(step).enumerate() {
                    self.source.read_exact_at(bytes, place(index))?;
                }
            }
            let outer = Side {
                size,
                stride: step,
                ..outer
            };
            let out = &mut out[begin * outer.step..];
            boxes::put(outer, &inner, &self.span, out);
        }
        Ok(())
    }
}

fn resize(bytes: &mut Vec<u8>, len: usize) -> Result<(), String> {
    if len > bytes.capacity() {
        *bytes = memory::room(len, "a block of a tensor")?;
    }
    bytes.resize(len, 0);
    Ok(())
}
