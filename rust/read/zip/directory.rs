//! Parses the entries of a directory.

use super::end::Directory;
use crate::memory;

/// The method of entries that are not compressed.
const METHOD_STORED: u16 = 0;
const FIXED: usize = 46;
const SIGNATURE: &[u8] = b"PK\x01\x02";
/// Encrypted, strongly encrypted, with masked headers.
const SECRET_FLAGS: u16 = 1 | 1 << 6 | 1 << 13;
const ZIP64_EXTRA: u16 = 1;
const IN_ZIP64: u32 = u32::MAX;

/// An entry, whose data can be read as they are once [`super::Archive::check_stored`] has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique in the archive; never a path.
    pub name: String,
    /// Bytes of data.
    pub len: u64,
    /// CRC-32 of the data.
    pub crc: u32,
    /// Where its local header is.
    pub header: u64,
    /// Where its data must have ended.
    pub limit: u64,
    /// Bytes that the data are said to have when decompressed.
    pub(super) announced: u64,
    pub(super) flags: u16,
    pub(super) method: u16,
}

/// All entries, of which there must be as many as announced; `limit` is not set yet.
pub fn entries(directory: &Directory) -> Result<Vec<Entry>, String> {
    let mut rest = directory.bytes.as_slice();
    // `end` has checked that the bytes could hold that many.
    let mut entries = memory::room(directory.entries, "the zip directory")?;
    while !rest.is_empty() {
        entries.push(entry(&mut rest)?);
    }
    if entries.len() != directory.entries {
        return Err(format!(
            "the zip directory announces {} entries and has {}",
            directory.entries,
            entries.len()
        ));
    }
    Ok(entries)
}

/// Refuses what could not be read as it is.
pub fn check_plain(name: &str, flags: u16, method: u16) -> Result<(), String> {
    if flags & SECRET_FLAGS != 0 {
        return Err(format!(
            "the zip entry {name:?} is encrypted; accepted: plain entries"
        ));
    }
    if method != METHOD_STORED {
        return Err(format!(
            "the zip entry {name:?} is compressed (method {method}); \
             accepted: stored entries, as torch.save writes them"
        ));
    }
    Ok(())
}

fn entry(rest: &mut &[u8]) -> Result<Entry, String> {
    let fixed = take(rest, FIXED)?;
    if !fixed.starts_with(SIGNATURE) {
        return Err("malformed zip directory: an entry without its signature".into());
    }
    let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("4 bytes"));
    let name = take(rest, u16_at(28).into())?;
    let mut extra = take(rest, u16_at(30).into())?;
    take(rest, u16_at(32).into())?;
    let name = std::str::from_utf8(name)
        .map_err(|_| "a zip entry whose name is not UTF-8; accepted: UTF-8".to_owned())?;
    if u16_at(34) != 0 {
        return Err("a zip archive in several parts; accepted: one file".into());
    }
    let mut wide = zip64(&mut extra)?;
    let mut size = |at: usize| match u32_at(at) {
        IN_ZIP64 => wide_size(&mut wide),
        size => Ok(size.into()),
    };
    // In the order of the extra field.
    let (announced, len, header) = (size(24)?, size(20)?, size(42)?);
    Ok(Entry {
        name: name.to_owned(),
        len,
        crc: u32_at(16),
        header,
        limit: 0,
        announced,
        flags: u16_at(8),
        method: u16_at(10),
    })
}

/// The extra field with the sizes of more than 32 bits; empty if there is none.
fn zip64<'a>(extra: &mut &'a [u8]) -> Result<&'a [u8], String> {
    while !extra.is_empty() {
        let head = take(extra, 4)?;
        let field = take(extra, u16::from_le_bytes([head[2], head[3]]).into())?;
        if u16::from_le_bytes([head[0], head[1]]) == ZIP64_EXTRA {
            return Ok(field);
        }
    }
    Ok(&[])
}

fn wide_size(wide: &mut &[u8]) -> Result<u64, String> {
    let bytes = take(wide, 8)?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest
        .split_at_checked(len)
        .ok_or("malformed zip directory: an entry is cut off")?;
    *rest = left;
    Ok(taken)
}
