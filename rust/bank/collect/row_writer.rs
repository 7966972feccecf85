//! Writes one row of a shard, from the left, in whole blocks of the file.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use super::copy_range::copy_range;
use super::read_row::{Output, WINDOW};
use crate::bank::precision::Precision;
use crate::error::{Error, Result};
use crate::files::block_digest::{BLOCK, BlockDigest};
use crate::os;

/// Numbers from which on a system call that copies them is faster than reading and writing them.
const LEAST: usize = 1 << 13;

/// Writes one row, and the file's header before the first row.
pub struct RowWriter<'a> {
    path: &'a Path,
    file: &'a File,
    blocks: &'a BlockDigest,
    precision: Precision,
    /// Where `buffer` begins in the file.
    begin: u64,
    /// The block that is being filled, as numbers so that it is aligned.
    buffer: Vec<f32>,
    /// Bytes of it that are there.
    filled: usize,
    /// Numbers of the last window, which count as there once another is asked for.
    handed: usize,
    /// The last window, if numbers are not stored as f32.
    wide: Vec<f32>,
    /// The bytes of `buffer` that the file has not, and perhaps some between them that it has.
    unwritten: Range<usize>,
    /// Whether the system has not yet failed to copy from file to file.
    copies: bool,
}

impl<'a> RowWriter<'a> {
    /// For `dim` numbers after `head`, which is at byte `begin` of the file.
    pub fn new(
        path: &'a Path,
        file: &'a File,
        blocks: &'a BlockDigest,
        precision: Precision,
        begin: u64,
        head: &[u8],
        dim: usize,
    ) -> Self {
        let bytes = BLOCK.min(head.len() + dim * precision.size());
        let mut buffer = vec![0.0_f32; bytes.div_ceil(size_of::<f32>())];
        bytemuck::cast_slice_mut(&mut buffer)[..head.len()].copy_from_slice(head);
        let wide = if precision == Precision::F32 {
            0
        } else {
            dim.min(WINDOW)
        };
        Self {
            path,
            file,
            blocks,
            precision,
            begin,
            buffer,
            filled: head.len(),
            handed: 0,
            wide: vec![0.0; wide],
            unwritten: 0..head.len(),
            copies: precision == Precision::F32,
        }
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        self.take_window()?;
        self.flush()
    }

    /// Makes the last window part of the buffer.
    fn take_window(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.handed);
        let end = self.filled + count * self.precision.size();
        if self.precision != Precision::F32 {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
            let narrow = bytemuck::cast_slice_mut(&mut bytes[self.filled..end]);
            let lost = self.precision.narrow(&self.wide[..count], narrow);
            if lost > 0 {
                return Err(Error::Refused(format!(
                    "{lost} values are too large for {}; accepted: another --store-dtype",
                    self.precision.name()
                )));
            }
        }
        if count > 0 {
            let begin = if self.unwritten.is_empty() {
                self.filled
            } else {
                self.unwritten.start
            };
            self.unwritten = begin..end;
        }
        self.filled = end;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let bytes: &[u8] = &bytemuck::cast_slice(&self.buffer)[..self.filled];
        self.blocks.add(self.begin, bytes);
        let unwritten = std::mem::take(&mut self.unwritten);
        let at = self.begin + unwritten.start as u64;
        let write = os::write_all_at(self.file, &bytes[unwritten], at);
        write.map_err(Error::io(self.path))?;
        self.begin += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Numbers that the block still takes.
    fn room(&self) -> usize {
        let used = (self.begin % BLOCK as u64) as usize + self.filled;
        (BLOCK - used) / self.precision.size()
    }
}

impl Output for RowWriter<'_> {
    fn window(&mut self, most: usize) -> Result<&mut [f32]> {
        self.take_window()?;
        if self.room() == 0 {
            self.flush()?;
        }
        self.handed = most.min(self.room());
        if self.precision != Precision::F32 {
            return Ok(&mut self.wide[..self.handed]);
        }
        let begin = self.filled / size_of::<f32>();
        Ok(&mut self.buffer[begin..begin + self.handed])
    }

    /// Has the system copy the bytes, and reads what it has written.
    fn take_from(&mut self, file: &File, at: u64, most: usize) -> Result<Option<&[f32]>> {
        if !self.copies || most < LEAST {
            return Ok(None);
        }
        self.take_window()?;
        if self.room() == 0 {
            self.flush()?;
        }
        let count = most.min(self.room());
        let to = self.begin + self.filled as u64;
        let size = count * size_of::<f32>();
        self.copies = copy_range(file, at, self.file, to, size).map_err(Error::io(self.path))?;
        if !self.copies {
            return Ok(None);
        }
        let begin = self.filled / size_of::<f32>();
        let window = &mut self.buffer[begin..begin + count];
        let read = os::read_exact_at(self.file, bytemuck::cast_slice_mut(window), to);
        read.map_err(Error::io(self.path))?;
        self.filled += size;
        Ok(Some(window))
    }
}
