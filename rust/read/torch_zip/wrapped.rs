//! Reads the torch file inside a zip archive that Stable-Baselines3 wrote.

use super::read_archive;
use crate::error::Result;
use crate::read::declared::{Choice, Storage, Weights};
use crate::read::room::Room;
use crate::read::source::Source;
use crate::read::zip::{Archive, Entry};
use crate::runtime::parallel::Cancel;

/// The state dict of the network; what stands beside it are an optimiser, and settings as text.
const POLICY: &str = "policy.pth";

/// The entry with the weights, if the archive is one of Stable-Baselines3 and no torch file.
pub fn policy(archive: &Archive) -> Option<&Entry> {
    let is_torch = |entry: &Entry| entry.name.ends_with(super::PICKLE);
    archive
        .find(POLICY)
        .filter(|_| !archive.entries.iter().any(is_torch))
}

/// Reads everything but the data of the tensors in the file that is the entry `policy`.
pub fn read(
    source: &Source,
    archive: &Archive,
    policy: &Entry,
    choice: &Choice,
    room: &mut Room,
    cancel: &Cancel,
) -> Result<Weights> {
    archive.check_plain(policy).map_err(|message| {
        source.refuse(format!(
            "{message}; take it out with `unzip FILE {POLICY}` and read that"
        ))
    })?;
    let range = archive.storage(policy).resolve(source)?;
    let begin = range.start;
    let inner = source.part(range)?;
    let mut weights = read_archive(&inner, &Archive::read(&inner)?, choice, room, cancel)?;
    for storage in &mut weights.storages {
        *storage = Storage {
            begin: storage.begin.clone().shifted(begin),
            ..*storage
        };
    }
    Ok(weights)
}
