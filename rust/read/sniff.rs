//! Tells the kind of a file from its first bytes.

/// Bytes that are enough to tell.
pub const PREFIX: usize = TAR.end;
/// Of the length that safetensors files begin with.
const LENGTH_BYTES: usize = 8;
/// Where a tar archive has its magic number.
const TAR: std::ops::Range<usize> = 257..262;

/// Whether a file can be safetensors: no header reaches 4 GiB, and each begins with `{`.
pub fn is_safetensors(prefix: &[u8]) -> bool {
    prefix.len() > 8 && prefix[4..9] == *b"\0\0\0\0{"
}

/// Whether a file begins as pickles do, of the protocols from 2 on.
pub fn is_pickle(prefix: &[u8]) -> bool {
    matches!(prefix, [0x80, 2..=5, ..])
}

/// What a file that is neither safetensors nor a torch file looks like, and what to do about it.
pub fn foreign(prefix: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 9] = [
        (
            b"version https://git-lfs",
            "a git-LFS pointer, not the file itself (run `git lfs pull`)",
        ),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy file"),
        (b"GGUF", "a GGUF file"),
        (b"\x1f\x8b", "a gzip file (unpack it)"),
        (b"BZh", "a bzip2 file (unpack it)"),
        (b"\xfd7zXZ", "an xz file (unpack it)"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard file (unpack it)"),
    ];
    let known = KNOWN.iter().find(|(magic, _)| prefix.starts_with(magic));
    let markup = || {
        let text = prefix.trim_ascii_start();
        (text.starts_with(b"<") && text.is_ascii())
            .then_some("an HTML or XML page (a failed download?)")
    };
    let tar = || {
        (prefix.get(TAR) == Some(b"ustar")).then_some(
            "a tar archive, as torch wrote before 0.1.10 (load it with torch and save it again)",
        )
    };
    known
        .map(|&(_, what)| what)
        .or_else(tar)
        .or_else(markup)
        .or_else(|| zeros(prefix))
}

/// What a file of zeros is: room that nothing was written to.
fn zeros(prefix: &[u8]) -> Option<&'static str> {
    let (length, rest) = prefix.split_at_checked(LENGTH_BYTES)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    if rest.is_empty() || !is_zero(rest) || !is_zero(&length[LENGTH_BYTES / 2..]) {
        return None;
    }
    Some(if is_zero(length) {
        "a file that begins with zeros, so no checkpoint (a download or copy that was not finished?)"
    } else {
        "zeros where the header of a safetensors file would be (a download or copy that was not finished?)"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_files_are_named() {
        let named = |bytes: &[u8]| foreign(bytes).unwrap_or("none");
        assert!(named(b"version https://git-lfs.github.com/spec/v1\n").contains("LFS"));
        assert!(named(b"\n<!DOCTYPE html><html></html>").contains("HTML"));
        assert!(is_pickle(b"\x80\x04\x95\0"));
        assert!(!is_pickle(&90_000_000_u64.to_le_bytes()));
        assert!(named(&[0; PREFIX]).contains("begins with zeros"));
        let header = [&90_000_000_u64.to_le_bytes()[..], &[0; 20]].concat();
        assert!(named(&header).contains("header of a safetensors file"));
        assert_eq!(named(&[0; 8]), "none");
        assert!(named(b"\x1f\x8b\x08").contains("gzip"));
        let mut tar = [0; PREFIX];
        tar[TAR].copy_from_slice(b"ustar");
        assert!(named(&tar).contains("tar archive"));
        assert_eq!(named(b""), "none");
        for length in [2, 60, 128, 1 << 24, 99_999_999_u64] {
            let prefix = [&length.to_le_bytes()[..], b"{\"a\":"].concat();
            assert!(is_safetensors(&prefix), "{length}");
        }
        assert!(!is_safetensors(
            &[&(1_u64 << 32).to_le_bytes()[..], b"{"].concat()
        ));
        assert!(!is_safetensors(b"PK\x03\x04\0\0\0\0\0"));
        assert!(!is_safetensors(b"\x02\0\0\0\0\0\0\0"));
    }
}
