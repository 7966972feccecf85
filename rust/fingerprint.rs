//! Digests bytes, and lists of tensors by name, dtype and shape.

/// BLAKE3 of `data`, 64 hex digits.
pub fn digest(data: &[u8]) -> String {
    blake3::hash(data).to_hex().to_string()
}

/// BLAKE3 over fields, each with its length in front, so that no two lists of fields give the same bytes.
#[derive(Debug, Default)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_hash_of_nothing() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest(b""), empty);
    }
}
