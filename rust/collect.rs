//! Streams tensors of many checkpoints into rows, in bounded memory: of a new shard, or of memory.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use blake3::Hash;

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::parallel::{Cancel, try_each, try_map};
use crate::read::Origin;
use crate::row;
use crate::shard;
use crate::store::Store;
use crate::write::Durable;

use place::Place;

mod between;
mod place;

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
/// D. A shard waits for the disk in a thread of its own, while the rows of others are read. On failure the
/// shards that are complete stay; of the others nothing is left.
pub fn write_shards(
    parts: &[Part<'_>],
    layout: &Layout,
    store: Store,
    cancel: &Cancel,
) -> Result<Vec<Written>> {
    let new = |part| NewShard::create(part, layout, store);
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
            let Some(durable) = shard.row_done() else {
                return Ok(digest);
            };
            let whole = shard
                .blocks
                .digest(&shard.file)
                .map_err(Error::io(shard.part.path))?;
            shard.digest.get_or_init(|| whole);
            let commit = scope.spawn(move || durable.commit());
            commits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(commit);
            Ok(digest)
        });
        let commits = commits.into_inner().unwrap_or_else(PoisonError::into_inner);
        for commit in commits {
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
    store: Store,
    file: File,
    header: Vec<u8>,
    blocks: Blocks,
    durable: Mutex<Option<Durable>>,
    rows_left: AtomicUsize,
    /// Of the file, once it has all its rows.
    digest: OnceLock<String>,
}

impl<'a> NewShard<'a> {
    fn create(part: &'a Part<'a>, layout: &Layout, store: Store) -> Result<Self> {
        let rows = part.origins.len();
        if rows == 0 {
            return Err(Error::Value(
                "no checkpoints; accepted: at least one".into(),
            ));
        }
        if rows.checked_mul(layout.dim() * store.size()).is_none() {
            return Err(Error::Value("more rows than any file can hold".into()));
        }
        let header = shard::header(store, rows, layout.dim());
        let len = (header.len() + rows * layout.dim() * store.size()) as u64;
        let durable = Durable::create(part.path)?;
        Ok(Self {
            part,
            store,
            file: durable.file().try_clone().map_err(Error::io(part.path))?,
            header,
            blocks: Blocks::new(len),
            durable: Mutex::new(Some(durable)),
            rows_left: AtomicUsize::new(rows),
            digest: OnceLock::new(),
        })
    }

    /// Writes one row; returns the digest of the source's bytes.
    fn write_row(&self, row: usize, layout: &Layout, cancel: &Cancel) -> Result<Hash> {
        let checkpoint = self.part.origins[row].open(cancel)?;
        let size = layout.dim() * self.store.size();
        let begin = (self.header.len() + row * size) as u64;
        let (begin, head) = if row == 0 {
            (0, &self.header[..])
        } else {
            (begin, &[][..])
        };
        let mut place = Place::new(
            self.part.path,
            &self.file,
            &self.blocks,
            self.store,
            begin,
            head,
            layout.dim(),
        );
        let mut hasher = blake3::Hasher::new();
        let copied = row::copy(&checkpoint, layout, &mut place, Some(&mut hasher), cancel);
        copied
            .and_then(|()| place.finish())
            .map_err(|error| match error {
                Error::Refused(message) => checkpoint.refuse(message),
                other => other,
            })?;
        Ok(hasher.finalize())
    }

    /// The file, after its last row.
    fn row_done(&self) -> Option<Durable> {
        if self.rows_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.take()
    }
}

/// Reads the layout's tensors of each checkpoint into a row of `out` [origins, D].
pub fn read_rows(
    layout: &Layout,
    origins: &[&Origin],
    out: &mut [f32],
    cancel: &Cancel,
) -> Result<()> {
    if out.len() != origins.len() * layout.dim() {
        let (rows, dim) = (origins.len(), layout.dim());
        return Err(Error::Value(format!(
            "out has {} numbers; accepted: {rows} × {dim}",
            out.len()
        )));
    }
    let rows: Vec<_> = out.chunks_exact_mut(layout.dim()).zip(origins).collect();
    try_each(rows, cancel, |(mut row, origin)| {
        row::copy(&origin.open(cancel)?, layout, &mut row, None, cancel)
    })
}

#[cfg(test)]
mod tests;
