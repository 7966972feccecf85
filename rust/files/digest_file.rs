//! Digests whole files with BLAKE3.

use std::path::Path;

use crate::error::Result;
use crate::read::Source;
use crate::runtime::parallel::Cancel;

/// Enough for several threads to share.
const CHUNK: u64 = 1 << 22;

/// BLAKE3 of the file at `path`, 64 hex digits; constant memory. A file that changes is refused.
pub fn digest_file(path: &Path, cancel: &Cancel) -> Result<String> {
    let source = Source::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; source.size().min(CHUNK) as usize];
    let mut offset = 0;
    while offset < source.size() {
        cancel.check()?;
        let length = (source.size() - offset).min(CHUNK);
        let chunk = &mut chunk[..length as usize];
        source.read_exact_at(chunk, offset)?;
        hasher.update_rayon(chunk);
        offset += length;
    }
    source.check_unchanged()?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::digest;
    use crate::testing::Folder;

    #[test]
    fn a_file_and_its_bytes_agree() {
        let folder = Folder::new();
        for size in [0, 1, CHUNK as usize, CHUNK as usize + 17] {
            let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let path = folder.write("a", &data);
            let cancel = Cancel::default();
            assert_eq!(digest_file(&path, &cancel).unwrap(), digest(&data));
        }
    }
}
