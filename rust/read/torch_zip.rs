//! Reads checkpoints as `torch.save` writes them since torch 1.6: a zip archive of stored entries.
//!
//! `ROOT/data.pkl` is a pickle of the object, and the bytes of the storage that it calls `K` are
//! the entry `ROOT/data/K`.

#[cfg(test)]
mod tests;
mod wrapped;

use super::declared::{Choice, Format, Storage, Weights};
use super::pickle::{Cursor, Fault, MAX_PICKLE, Machine, StorageRef, Values};
use super::room::Room;
use super::source::Source;
use super::weights::{self, Container};
use super::zip::Archive;
use crate::error::Result;
use crate::runtime::parallel::Cancel;

const PICKLE: &str = "/data.pkl";
const MAX_RECORD: u64 = 64;

/// Whether a file that begins with `prefix` is to be read by [`read`].
pub fn is_zip(prefix: &[u8]) -> bool {
    prefix.starts_with(b"PK\x03\x04")
}

/// Reads everything but the data of the tensors, when there is room for it beside others that are read now.
pub fn read(source: &Source, choice: &Choice, room: &mut Room, cancel: &Cancel) -> Result<Weights> {
    let archive = Archive::read(source)?;
    if let Some(policy) = wrapped::policy(&archive) {
        return wrapped::read(source, &archive, policy, choice, room, cancel);
    }
    read_archive(source, &archive, choice, room, cancel)
}

fn read_archive(
    source: &Source,
    archive: &Archive,
    choice: &Choice,
    room: &mut Room,
    cancel: &Cancel,
) -> Result<Weights> {
    let refuse = |message: String| source.refuse(message);
    let root = root(archive).map_err(|fault| fault.of(source))?;
    archive.check_stored().map_err(refuse)?;
    check_byte_order(source, archive, root)?;
    let pickle = archive
        .find(&format!("{root}{PICKLE}"))
        .expect("the root was found by it");
    room.grow(pickle.len.min(MAX_PICKLE), cancel)?;
    let (bytes, begin) = archive.load(source, pickle, MAX_PICKLE)?;
    let mut machine = Machine::new(Cursor::over(bytes, begin), cancel);
    let object = machine.load().map_err(|fault| fault.of(source))?;
    let container = Container {
        format: Format::Torch,
        file_len: source.size(),
        // Its CRC was verified when it was loaded.
        pickle: Storage {
            crc: None,
            ..archive.storage(pickle)
        },
        place: &|values, storage| place(archive, root, values, storage),
    };
    weights::choose(&machine.values, object, choice, &container).map_err(|fault| fault.of(source))
}

/// The folder that all records are in.
fn root(archive: &Archive) -> Result<&str, Fault> {
    let roots = archive.entries.iter().filter_map(|entry| {
        let root = entry.name.strip_suffix(PICKLE)?;
        (!root.is_empty() && !root.contains('/')).then_some(root)
    });
    let roots: Vec<&str> = roots.take(2).collect();
    let root = match roots[..] {
        [root] => root,
        [] => {
            let what = foreign(archive);
            let message = format!("{what}; accepted: a file that torch.save wrote");
            return Err(Fault::Content(message));
        }
        _ => {
            let message = "two entries data.pkl in one zip archive; accepted: one";
            return Err(Fault::Content(message.into()));
        }
    };
    let (constants, code) = (format!("{root}/constants.pkl"), format!("{root}/code/"));
    let scripted = |name: &str| name == constants || name.starts_with(&code);
    if archive.entries.iter().any(|entry| scripted(&entry.name)) {
        return Err(Fault::Code("TorchScript, which holds code".into()));
    }
    Ok(root)
}

/// What a zip archive without a `data.pkl` looks like.
fn foreign(archive: &Archive) -> &'static str {
    let any = |is: &dyn Fn(&str) -> bool| archive.entries.iter().any(|entry| is(&entry.name));
    if any(&|name| name.ends_with("/model.json") || name.contains("/tensors/")) {
        "an old TorchScript archive (no data.pkl)"
    } else if any(&|name| name.ends_with(".npy")) {
        "a NumPy archive (.npz), not a torch file"
    } else {
        "a zip archive without data.pkl, not a torch file"
    }
}

fn check_byte_order(source: &Source, archive: &Archive, root: &str) -> Result<()> {
    let Some(entry) = archive.find(&format!("{root}/byteorder")) else {
        return Ok(());
    };
    let (bytes, begin) = archive.load(source, entry, MAX_RECORD)?;
    if bytes[begin..] == *b"little" {
        return Ok(());
    }
    let order = String::from_utf8_lossy(&bytes[begin..]);
    Err(source.refuse(format!("byte order {order:?}; accepted: \"little\"")))
}

fn place(
    archive: &Archive,
    root: &str,
    values: &Values<'_>,
    storage: &StorageRef,
) -> Result<Storage, String> {
    let key = values.text(storage.key).unwrap_or_default();
    let entry = archive
        .find(&format!("{root}/data/{key}"))
        .ok_or_else(|| format!("the storage {key:?} is not in the zip archive"))?;
    if entry.len != storage.bytes {
        return Err(format!(
            "the storage {key:?} has {} bytes in the zip archive; accepted: {}, as the pickle says",
            entry.len, storage.bytes
        ));
    }
    Ok(archive.storage(entry))
}
