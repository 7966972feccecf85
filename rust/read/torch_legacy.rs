//! Reads checkpoints as `torch.save` wrote them before torch 1.6: five pickles and the storages.
//!
//! The pickles are a magic number, the version of the format, facts about the machine, the object
//! and the keys of the storages. Each storage is a count of elements (8 bytes) and the elements.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::declared::{Begin, Choice, Format, Storage, Weights};
use super::pickle::{Cursor, Fault, Id, Machine, Node, StorageRef, Values};
use super::source::Source;
use super::weights::{self, Container};
use crate::error::Result;
use crate::runtime::parallel::Cancel;

/// 0x1950a86a20f9469cfc6c as pickles of the protocols from 2 on have it.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The same in the protocols 0 and 1.
const MAGIC_TEXT: &[u8] = b"L119547037146038801333356L\n.";
const FRAME: u8 = 0x95;
const FRAME_BYTES: usize = 9;
const VERSION: u64 = 1001;
const COUNT_BYTES: u64 = 8;

/// Whether a file that begins with `prefix` is to be read by [`read`].
pub fn is_legacy(prefix: &[u8]) -> bool {
    let Some((head, rest)) = prefix.split_at_checked(2) else {
        return false;
    };
    if head[0] != 0x80 {
        return prefix.starts_with(MAGIC_TEXT);
    }
    let framed = rest.first() == Some(&FRAME);
    let magic = rest.get(if framed { FRAME_BYTES } else { 0 }..);
    magic.is_some_and(|magic| magic.starts_with(MAGIC))
}

/// Reads everything but the data of the tensors.
///
/// [`is_legacy`] has seen the magic number.
pub fn read(source: &Source, choice: &Choice, cancel: &Cancel) -> Result<Weights> {
    let mut machine = Machine::new(Cursor::of(source), cancel);
    let (object, keys) = pickles(&mut machine).map_err(|fault| fault.of(source))?;
    let values = &machine.values;
    let places = places(source, values, keys)?;
    let container = Container {
        format: Format::TorchLegacy,
        file_len: source.size(),
        pickle: Storage {
            file: 0,
            begin: Begin::At(0),
            len: values.bytes_read() as u64,
            crc: None,
        },
        place: &|values, storage| place(&places, values, storage),
    };
    weights::choose(values, object, choice, &container).map_err(|fault| fault.of(source))
}

/// The object and the list of keys, after the pickles before them have been checked.
fn pickles(machine: &mut Machine<'_>) -> Result<(Id, Id), Fault> {
    machine.load()?;
    let version = machine.load()?;
    if machine.values.size(version) != Some(VERSION) {
        return Err(Fault::Content(format!(
            "a legacy torch file of another version; accepted: {VERSION}"
        )));
    }
    let facts = machine.load()?;
    let little = machine.values.get(facts, "little_endian");
    if !little.is_some_and(|id| matches!(machine.values.node(id), Node::Bool(true))) {
        return Err(Fault::Content(
            "a legacy torch file that is not little-endian; accepted: little_endian=True".into(),
        ));
    }
    Ok((machine.load()?, machine.load()?))
}

/// Where the storages are, by their keys: first byte and length.
type Places<'a> = HashMap<&'a str, (u64, u64)>;

/// Walks the storages, whose order is that of `keys`, to the end of the file.
fn places<'a>(source: &Source, values: &'a Values<'_>, keys: Id) -> Result<Places<'a>> {
    let refuse = |message: String| source.refuse(message);
    let keys = values
        .items(keys)
        .ok_or_else(|| refuse("malformed legacy torch file: no list of storages".into()))?;
    let mut named = HashMap::with_capacity(keys.len());
    for storage in &values.storages {
        let key = values.text(storage.key).unwrap_or_default();
        // The first use decides the type that the count is in.
        named.entry(key).or_insert(storage);
    }
    let mut places = HashMap::with_capacity(keys.len());
    let mut at = values.bytes_read() as u64;
    for &key in keys {
        let key = values.text(key).unwrap_or_default();
        let storage = *named
            .get(key)
            .ok_or_else(|| refuse(format!("the storage {key:?} belongs to no tensor")))?;
        let begin = begin(source, key, storage, at)?;
        at = begin + storage.bytes;
        if places.insert(key, (begin, storage.bytes)).is_some() {
            return Err(refuse(format!(
                "the storage {key:?} is there twice; accepted: once"
            )));
        }
    }
    if at != source.size() {
        return Err(refuse(format!(
            "followed by trailing bytes: the storages end at byte {at} and the file at {}",
            source.size()
        )));
    }
    Ok(places)
}

/// Where the elements of a storage begin whose count is at byte `at`.
fn begin(source: &Source, key: &str, storage: &StorageRef, at: u64) -> Result<u64> {
    let left = source.size() - at;
    let enough = left.checked_sub(COUNT_BYTES) >= Some(storage.bytes);
    if !enough {
        return Err(source.refuse(format!(
            "truncated: the storage {key:?} takes {} bytes and {left} are left at byte {at}",
            storage.bytes
        )));
    }
    let mut count = [0; COUNT_BYTES as usize];
    source.read_exact_at(&mut count, at)?;
    let (count, numel) = (
        u64::from_le_bytes(count),
        storage.bytes / storage.element.bytes(),
    );
    if count != numel {
        return Err(source.refuse(format!(
            "the storage {key:?} announces {count} elements; accepted: {numel}, as the pickle says"
        )));
    }
    Ok(at + COUNT_BYTES)
}

fn place(
    places: &Places<'_>,
    values: &Values<'_>,
    storage: &StorageRef,
) -> Result<Storage, String> {
    let key = values.text(storage.key).unwrap_or_default();
    let &(begin, len) = places
        .get(key)
        .ok_or_else(|| format!("the storage {key:?} is not in the file"))?;
    if len != storage.bytes {
        return Err(format!(
            "the storage {key:?} is used with {len} and with {} bytes; accepted: one size",
            storage.bytes
        ));
    }
    Ok(Storage {
        file: 0,
        begin: Begin::At(begin),
        len,
        crc: None,
    })
}
