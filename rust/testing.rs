//! Builds safetensors files for the tests, without the code under test.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

/// A tensor of a test file: name, dtype, shape and little-endian bytes.
pub type Tensor<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

/// An F32 tensor of one axis or, for one number, of none.
pub fn f32s<'a>(name: &'a str, shape: &'a [usize], values: &[f32]) -> Tensor<'a> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    (name, "F32", shape, bytes)
}

/// The bytes of a safetensors file.
pub fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let mut offset = 0;
    let mut fields = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let end = offset + bytes.len();
        fields.push(format!(
            r#"{name:?}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{offset},{end}]}}"#
        ));
        offset = end;
    }
    let mut json = format!("{{{}}}", fields.join(","));
    // As the safetensors library does: data at a multiple of 8.
    json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    tensors.iter().for_each(|t| file.extend_from_slice(&t.3));
    file
}

/// A temporary folder of files.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Gives a file another modification time.
    pub fn touch(&self, name: &str) {
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
