//! Checks the local header in front of the data of an entry.

use std::ops::Range;

use super::directory::check_plain;
use crate::error::Result;
use crate::read::source::Source;

/// Bytes of the header before the name.
pub const FIXED: usize = 30;
const SIGNATURE: &[u8] = b"PK\x03\x04";

/// Where the `len` bytes of data are, by the header at the beginning of `bytes`.
///
/// Fails with a message if the header does not belong to `name`, or if the data reach beyond `limit`.
pub fn data(
    bytes: &[u8],
    name: &str,
    header: u64,
    len: u64,
    limit: u64,
) -> Result<Range<u64>, String> {
    let wrong = || format!("the zip entry {name:?} has a malformed header at byte {header}");
    let (fixed, rest) = bytes.split_at_checked(FIXED).ok_or_else(wrong)?;
    let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    if !fixed.starts_with(SIGNATURE) {
        return Err(wrong());
    }
    check_plain(name, u16_at(6), u16_at(8))?;
    let (name_len, extra_len) = (u16_at(26) as usize, u16_at(28) as u64);
    if rest.get(..name_len) != Some(name.as_bytes()) {
        return Err(wrong());
    }
    // No sum overflows: the directory was checked to lie within the file.
    let begin = header + (FIXED + name_len) as u64 + extra_len;
    let end = begin + len;
    if end > limit {
        return Err(format!(
            "the zip entry {name:?} ends at byte {end}, beyond byte {limit}, \
             where something else begins"
        ));
    }
    Ok(begin..end)
}

/// Reads the header, and gives where the data are.
pub fn locate(
    source: &Source,
    name: &str,
    header: u64,
    len: u64,
    limit: u64,
) -> Result<Range<u64>> {
    let mut bytes = vec![0; FIXED + name.len()];
    source.read_exact_at(&mut bytes, header)?;
    data(&bytes, name, header, len, limit).map_err(|message| source.refuse(message))
}
