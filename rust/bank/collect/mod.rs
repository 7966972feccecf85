//! Streams the tensors of many checkpoints into rows of shards or of memory, in bounded memory.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use blake3::Hash;

use crate::bank::layout::Layout;
use crate::bank::precision::Precision;
use crate::bank::shard;
use crate::error::{Error, Result};
use crate::files::block_digest::BlockDigest;
use crate::files::durable::Durable;
use crate::read::Origin;
use crate::runtime::parallel::{Cancel, try_each, try_map};

use read_row::{Nowhere, read_row};
use row_writer::RowWriter;

mod copy_range;
pub mod read_row;
mod row_writer;

/// Bytes that the header of a shard has at most.
const MAX_HEADER: usize = 1 << 10;

/// A shard to be written: its file, and the checkpoints that are its rows.
#[derive(Debug)]
pub struct Part<'a> {
    /// Where it will be.
    pub path: &'a Path,
    /// At least one.
    pub origins: Vec<&'a Origin>,
}

/// A shard that has been written.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// For each row, BLAKE3 of the source's bytes in the order of the layout.
    pub rows: Vec<Hash>,
    /// BLAKE3 of the file.
    pub digest: String,
}

/// Writes the layout's tensors of each checkpoint as one row of its shard, durably.
///
/// Rows of all shards are read in parallel and written by position, so a few MiB a thread are enough for any
/// D. Each complete shard is flushed to disk by a thread of its own, while rows of others are read. On failure
/// complete shards stay and incomplete ones are removed.
pub fn write_shards(
    parts: &[Part<'_>],
    layout: &Layout,
    precision: Precision,
    cancel: &Cancel,
) -> Result<Vec<Written>> {
    let new = |part| NewShard::create(part, layout, precision);
    let shards = parts.iter().map(new).collect::<Result<Vec<_>>>()?;
    let row_of = |shard: &'_ NewShard<'_>| 0..shard.part.origins.len();
    let items: Vec<(usize, usize)> = (0..)
        .zip(&shards)
        .flat_map(|(index, shard)| row_of(shard).map(move |row| (index, row)))
        .collect();
    let outcomes = thread::scope(|scope| {
        let commits = Mutex::new(Vec::new());
        let outcomes = try_map(&items, cancel, |&(index, row)| {
            let shard = &shards[index];
            let digest = shard.write_row(row, layout, cancel)?;
            if let Some(durable) = shard.row_done()? {
                lock(&commits).push(scope.spawn(move || durable.commit()));
            }
            Ok(digest)
        });
        for commit in commits.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let panicked = |_| Err(Error::Internal("a shard was not committed".into()));
            commit.join().unwrap_or_else(panicked)?;
        }
        outcomes
    })?;
    let mut outcomes = outcomes.into_iter();
    let written = |shard: NewShard<'_>| Written {
        rows: outcomes.by_ref().take(row_of(&shard).len()).collect(),
        digest: shard.digest.into_inner().expect("one row was the last"),
    };
    Ok(shards.into_iter().map(written).collect())
}

/// A shard that is being written by several threads.
struct NewShard<'a> {
    part: &'a Part<'a>,
    precision: Precision,
    file: File,
    header: Vec<u8>,
    blocks: BlockDigest,
    durable: Mutex<Option<Durable>>,
    rows_left: AtomicUsize,
    /// Of the file, once it has all its rows.
    digest: OnceLock<String>,
}

impl<'a> NewShard<'a> {
    fn create(part: &'a Part<'a>, layout: &Layout, precision: Precision) -> Result<Self> {
        let rows = part.origins.len();
        if rows == 0 {
            return Err(Error::Value(
                "no checkpoints; accepted: at least one".into(),
            ));
        }
        let size = layout.dim().checked_mul(precision.size());
        let size = size.and_then(|size| size.checked_mul(rows));
        let too_many = || Error::Value("more rows than any file can hold".into());
        let size = size.filter(|&size| size <= i64::MAX as usize - MAX_HEADER);
        let size = size.ok_or_else(too_many)?;
        let header = shard::header(precision, rows, layout.dim());
        let len = (header.len() + size) as u64;
        let blocks = BlockDigest::new(len).map_err(|why| Error::input(part.path, why))?;
        let durable = Durable::create(part.path)?;
        Ok(Self {
            part,
            precision,
            file: durable.file().try_clone().map_err(Error::io(part.path))?,
            header,
            blocks,
            durable: Mutex::new(Some(durable)),
            rows_left: AtomicUsize::new(rows),
            digest: OnceLock::new(),
        })
    }

    /// Writes one row; returns the digest of the source's bytes.
    fn write_row(&self, row: usize, layout: &Layout, cancel: &Cancel) -> Result<Hash> {
        let checkpoint = self.part.origins[row].open(cancel)?;
        let size = layout.dim() * self.precision.size();
        let begin = (self.header.len() + row * size) as u64;
        let (begin, head) = if row == 0 {
            (0, &self.header[..])
        } else {
            (begin, &[][..])
        };
        let mut writer = RowWriter::new(
            self.part.path,
            &self.file,
            &self.blocks,
            self.precision,
            begin,
            head,
            layout.dim(),
        );
        let mut hasher = blake3::Hasher::new();
        let copied = read_row(&checkpoint, layout, &mut writer, Some(&mut hasher), cancel);
        copied
            .and_then(|()| writer.finish())
            .map_err(|error| match error {
                Error::Refused(message) => checkpoint.refuse(message),
                Error::NonFinite { path, message } => Error::Input {
                    path,
                    message: format!(
                        "{message}; accepted: finite values; --skip-nonfinite leaves the file out"
                    ),
                },
                other => other,
            })?;
        Ok(hasher.finalize())
    }

    /// After the last row, the digested file; before it, `None`.
    fn row_done(&self) -> Result<Option<Durable>> {
        if self.rows_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(None);
        }
        let durable = lock(&self.durable).take();
        let whole = self.blocks.digest(&self.file);
        let whole = whole.map_err(Error::io(self.part.path))?;
        self.digest.get_or_init(|| whole);
        Ok(durable)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the layout's tensors of each checkpoint into a row of `out` [origins, D].
pub fn read_rows(
    layout: &Layout,
    origins: &[&Origin],
    out: &mut [f32],
    cancel: &Cancel,
) -> Result<()> {
    if Some(out.len()) != origins.len().checked_mul(layout.dim()) {
        let (rows, dim) = (origins.len(), layout.dim());
        return Err(Error::Value(format!(
            "out has {} numbers; accepted: {rows} × {dim}",
            out.len()
        )));
    }
    let rows: Vec<_> = out.chunks_exact_mut(layout.dim()).zip(origins).collect();
    try_each(rows, cancel, |(mut row, origin)| {
        read_row(&origin.open(cancel)?, layout, &mut row, None, cancel)
    })
}

/// For each checkpoint, which tensor of the layout holds values that are not finite, and how many.
///
/// Anything else that no row can have is refused.
pub fn non_finite(
    layout: &Layout,
    origins: &[&Origin],
    cancel: &Cancel,
) -> Result<Vec<Option<String>>> {
    try_map(origins, cancel, |origin| {
        let checkpoint = origin.open(cancel)?;
        match read_row(&checkpoint, layout, &mut Nowhere::default(), None, cancel) {
            Ok(()) => Ok(None),
            Err(Error::NonFinite { message, .. }) => Ok(Some(message)),
            Err(other) => Err(other),
        }
    })
}

#[cfg(test)]
mod tests;
