//! Finds the directory by the records at the end of an archive.

use crate::error::Result;
use crate::memory;
use crate::read::source::Source;

const FIXED: usize = 22;
const SIGNATURE: &[u8] = b"PK\x05\x06";
const LOCATOR: usize = 20;
const LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const WIDE: usize = 56;
const WIDE_SIGNATURE: &[u8] = b"PK\x06\x06";
const MAX_COMMENT: usize = u16::MAX as usize;
const MAX_DIRECTORY: u64 = 64 << 20;
const MAX_ENTRIES: u64 = 1_000_000;
const LEAST_ENTRY: u64 = 46;

/// The bytes of a directory.
#[derive(Debug)]
pub struct Directory {
    /// Where it begins in the file; all data end before.
    pub begin: u64,
    /// How many entries are announced.
    pub entries: usize,
    /// The entries.
    pub bytes: Vec<u8>,
}

/// What an end record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    entries: u64,
    len: u64,
    begin: u64,
}

/// Finds and reads the directory of `source`.
pub fn directory(source: &Source) -> Result<Directory> {
    let tail_len = source.size().min((FIXED + MAX_COMMENT) as u64);
    let tail_begin = source.size() - tail_len;
    let mut tail = vec![0; tail_len as usize];
    source.read_exact_at(&mut tail, tail_begin)?;
    let refuse = |message: String| source.refuse(message);
    let at = end_record(&tail).map_err(refuse)?;
    let narrow = narrow(&tail[at..]).map_err(refuse)?;
    let (end, directory_end) = match locator(&tail[..at]).map_err(refuse)? {
        None => (narrow, tail_begin + at as u64),
        Some(position) => {
            let last = (tail_begin + at as u64).checked_sub((LOCATOR + WIDE) as u64);
            if last != Some(position) {
                return Err(refuse(malformed("its zip64 record is not at the end")));
            }
            let mut record = [0; WIDE];
            source.read_exact_at(&mut record, position)?;
            (wide(&record, narrow).map_err(refuse)?, position)
        }
    };
    check(end, directory_end).map_err(refuse)?;
    let bytes = match end.begin.checked_sub(tail_begin) {
        Some(from) => tail[from as usize..][..end.len as usize].to_vec(),
        None => {
            let bytes = memory::filled(0, end.len as usize, "the zip directory");
            let mut bytes = bytes.map_err(refuse)?;
            source.read_exact_at(&mut bytes, end.begin)?;
            bytes
        }
    };
    Ok(Directory {
        begin: end.begin,
        entries: end.entries as usize,
        bytes,
    })
}

/// Where in `tail` the end record is: the one whose comment ends with the file.
fn end_record(tail: &[u8]) -> Result<usize, String> {
    let fits = |&at: &usize| {
        tail[at..].starts_with(SIGNATURE) && {
            let comment = u16::from_le_bytes([tail[at + FIXED - 2], tail[at + FIXED - 1]]);
            at + FIXED + comment as usize == tail.len()
        }
    };
    let truncated = || "truncated zip archive: no end record; accepted: the whole file".to_owned();
    let last = tail.len().checked_sub(FIXED).ok_or_else(truncated)?;
    // Without a comment, as torch writes it, the rest need not be searched.
    if fits(&last) {
        return Ok(last);
    }
    let mut found = (0..last).filter(fits);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(malformed("it has two end records")),
        _ => Err(truncated()),
    }
}

fn narrow(record: &[u8]) -> Result<End, String> {
    let u16_at = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
    if u16_at(4) != 0 || u16_at(6) != 0 || u16_at(8) != u16_at(10) {
        return Err("a zip archive in several parts; accepted: one file".into());
    }
    Ok(End {
        entries: u16_at(10).into(),
        len: u32_at(12).into(),
        begin: u32_at(16).into(),
    })
}

/// Where the zip64 record is, if there is one.
fn locator(before_end: &[u8]) -> Result<Option<u64>, String> {
    let at = before_end.len().checked_sub(LOCATOR);
    let Some(record) = at.map(|at| &before_end[at..]) else {
        return Ok(None);
    };
    if !record.starts_with(LOCATOR_SIGNATURE) {
        return Ok(None);
    }
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
    // Some writers count the disks from 0.
    if u32_at(4) != 0 || u32_at(16) > 1 {
        return Err("a zip archive in several parts; accepted: one file".into());
    }
    Ok(Some(u64::from_le_bytes(
        record[8..16].try_into().expect("8 bytes"),
    )))
}

/// The zip64 record, which may differ from the other only where that has no room.
fn wide(record: &[u8; WIDE], narrow: End) -> Result<End, String> {
    let u64_at = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("8 bytes"));
    let whole = u64_at(4) == (WIDE - 12) as u64;
    if !record.starts_with(WIDE_SIGNATURE) || !whole || record[16..24] != [0; 8] {
        return Err(malformed("its zip64 record is not of one file"));
    }
    let end = End {
        entries: u64_at(32),
        len: u64_at(40),
        begin: u64_at(48),
    };
    let agree = |wide: u64, narrow: u64, none: u64| wide == narrow || narrow == none;
    let same = u64_at(24) == end.entries
        && agree(end.entries, narrow.entries, u16::MAX.into())
        && agree(end.len, narrow.len, u32::MAX.into())
        && agree(end.begin, narrow.begin, u32::MAX.into());
    same.then_some(end)
        .ok_or_else(|| malformed("its two end records differ"))
}

/// The directory must end where the end records begin, so that it is the only one.
fn check(end: End, directory_end: u64) -> Result<(), String> {
    if end.begin.checked_add(end.len) != Some(directory_end) {
        return Err(malformed("its directory is not where the end record says"));
    }
    if end.len > MAX_DIRECTORY {
        return Err(format!(
            "a zip directory of {} bytes; accepted: at most {MAX_DIRECTORY}",
            end.len
        ));
    }
    if end.entries > MAX_ENTRIES.min(end.len / LEAST_ENTRY) {
        return Err(format!(
            "a zip directory of {} entries in {} bytes; accepted: at most {MAX_ENTRIES}",
            end.entries, end.len
        ));
    }
    Ok(())
}

fn malformed(what: &str) -> String {
    format!("malformed zip archive: {what}")
}
