//! BLAKE3 of bytes and of whole files.

use std::path::Path;

use crate::error::Result;
use crate::parallel::Cancel;
use crate::read::Source;

/// Enough for several threads to share.
const CHUNK: u64 = 1 << 22;

/// BLAKE3 of `data`, 64 hex digits.
pub fn digest(data: &[u8]) -> String {
    blake3::hash(data).to_hex().to_string()
}

/// BLAKE3 over fields, each with its length in front, so that no two lists of fields give the same bytes.
#[derive(Debug, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// Adds a name, a dtype and a shape.
    pub fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize]) {
        for text in [name, dtype] {
            self.number(text.len());
            self.0.extend_from_slice(text.as_bytes());
        }
        self.number(size_of_val(shape));
        for &size in shape {
            self.number(size);
        }
    }

    fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    /// 64 hex digits.
    pub fn finish(self) -> String {
        digest(&self.0)
    }
}

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

    #[test]
    fn the_known_hash_of_nothing() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest(b""), empty);
    }
}
