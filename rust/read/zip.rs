//! Reads and validates the directory of a zip archive of stored entries.
//!
//! Only the end of the archive is read here. Where the data of an entry begins is said by its local
//! header alone, which is read when the entry is (see [`super::declared::Begin`]).

mod directory;
mod end;
pub mod local;
#[cfg(test)]
mod tests;

use super::declared::{Begin, Storage};
use super::source::Source;
use crate::error::Result;
use crate::memory;

pub use directory::Entry;

/// A checked directory.
#[derive(Debug)]
pub struct Archive {
    /// Entries in the order of their data.
    pub entries: Vec<Entry>,
    by_name: Vec<usize>,
    has_crc: bool,
}

impl Archive {
    /// Reads and checks the directory of `source`.
    pub fn read(source: &Source) -> Result<Self> {
        let directory = end::directory(source)?;
        Self::parse(&directory).map_err(|message| source.refuse(message))
    }

    fn parse(directory: &end::Directory) -> Result<Self, String> {
        let mut entries = directory::entries(directory)?;
        entries.sort_unstable_by_key(|entry| entry.header);
        let mut limit = directory.begin;
        for entry in entries.iter_mut().rev() {
            entry.limit = limit;
            check_room(entry)?;
            limit = entry.header;
        }
        let mut by_name: Vec<usize> = (0..entries.len()).collect();
        by_name.sort_unstable_by_key(|&i| entries[i].name.as_str());
        let same = |pair: &&[usize]| entries[pair[0]].name == entries[pair[1]].name;
        if let Some(pair) = by_name.windows(2).find(same) {
            let name = &entries[pair[0]].name;
            return Err(format!(
                "the zip entry {name:?} is there twice; accepted: once"
            ));
        }
        Ok(Self {
            has_crc: entries.iter().any(|entry| entry.crc != 0),
            entries,
            by_name,
        })
    }

    /// Refuses entries that are compressed or encrypted.
    pub fn check_stored(&self) -> Result<(), String> {
        self.entries
            .iter()
            .try_for_each(|entry| self.check_plain(entry))
    }

    /// Refuses an entry that is.
    pub fn check_plain(&self, entry: &Entry) -> Result<(), String> {
        let Entry {
            name,
            len,
            announced,
            ..
        } = entry;
        directory::check_plain(name, entry.flags, entry.method)?;
        if len != announced {
            return Err(format!(
                "the zip entry {name:?} is stored in {len} bytes but announces {announced}"
            ));
        }
        Ok(())
    }

    /// The entry called `name`.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let at = self
            .by_name
            .binary_search_by_key(&name, |&i| self.entries[i].name.as_str());
        Some(&self.entries[self.by_name[at.ok()?]])
    }

    /// The data of an entry, to be read later.
    pub fn storage(&self, entry: &Entry) -> Storage {
        Storage {
            file: 0,
            begin: Begin::AfterHeader {
                header: entry.header,
                limit: entry.limit,
                name: entry.name.clone(),
            },
            len: entry.len,
            // An archive without checksums has zeros in their place.
            crc: self.has_crc.then_some(entry.crc),
        }
    }

    /// The data of an entry of at most `most` bytes, checked, with something before them that the
    /// caller skips.
    pub fn load(&self, source: &Source, entry: &Entry, most: u64) -> Result<(Vec<u8>, usize)> {
        let Entry { name, len, .. } = entry;
        if *len > most {
            return Err(source.refuse(format!(
                "the zip entry {name:?} has {len} bytes; accepted: at most {most}"
            )));
        }
        let (bytes, begin) = read_after_header(source, entry)?;
        if self.has_crc && crc32fast::hash(&bytes[begin..]) != entry.crc {
            return Err(source.refuse(format!(
                "the zip entry {name:?} is damaged: its CRC-32 differs from the directory's"
            )));
        }
        Ok((bytes, begin))
    }
}

/// The headers and data of neighbours must not overlap, whatever the local header says.
fn check_room(entry: &Entry) -> Result<(), String> {
    let Entry {
        name,
        len,
        header,
        limit,
        ..
    } = entry;
    let least = (local::FIXED + name.len()) as u64;
    let end = header.checked_add(least).and_then(|e| e.checked_add(*len));
    if end.is_none_or(|end| end > *limit) {
        return Err(format!(
            "the zip entry {name:?} ({len} bytes from byte {header}) reaches beyond byte {limit}, \
             where something else begins"
        ));
    }
    Ok(())
}

/// Header and data in one read where the header has the usual length.
fn read_after_header(source: &Source, entry: &Entry) -> Result<(Vec<u8>, usize)> {
    /// torch pads the data to a multiple of 64 bytes.
    const USUAL_EXTRA: u64 = 64 + 64;
    let least = (local::FIXED + entry.name.len()) as u64;
    let room = entry.limit - entry.header;
    let buffer = |len: u64| {
        let what = format!("the zip entry {:?}", entry.name);
        memory::filled(0, len as usize, &what).map_err(|message| source.refuse(message))
    };
    let mut bytes = buffer(room.min(least + USUAL_EXTRA + entry.len))?;
    source.read_exact_at(&mut bytes, entry.header)?;
    let data = local::data(&bytes, &entry.name, entry.header, entry.len, entry.limit)
        .map_err(|message| source.refuse(message))?;
    let begin = (data.start - entry.header) as usize;
    let end = begin + entry.len as usize;
    if end <= bytes.len() {
        bytes.truncate(end);
        return Ok((bytes, begin));
    }
    let mut bytes = buffer(entry.len)?;
    source.read_exact_at(&mut bytes, data.start)?;
    Ok((bytes, 0))
}
