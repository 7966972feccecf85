//! Opens one source file, reads it by position, and detects changes made meanwhile.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::os::{self, Stamp};

/// Bytes that are read at a time, where the caller does not say: they stay in the cache of one core.
pub const CHUNK: usize = 1 << 18;

/// A regular file that is being read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    /// The part of the file that this is, from its first byte on, if it is not all of it.
    part: Option<Range<u64>>,
}

impl Source {
    /// Opens `path`; anything but a regular file is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let file = os::open_for_reading(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() {
                "a directory"
            } else {
                "a device, FIFO or socket"
            };
            return Err(Error::input(path, format!("{found}; accepted: a file")));
        }
        Ok(Self {
            path: path.to_owned(),
            stamp: Stamp::of(&file).map_err(Error::io(path))?,
            file,
            part: None,
        })
    }

    /// A part of the file, as if it were a file. Byte 0 is the first byte of the part.
    pub fn part(&self, part: Range<u64>) -> Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            file: self.file.try_clone().map_err(Error::io(&self.path))?,
            stamp: self.stamp.clone(),
            part: Some(part),
        })
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes in the file when it was opened, or in the part of it.
    pub fn size(&self) -> u64 {
        match &self.part {
            Some(part) => part.end - part.start,
            None => self.stamp.size,
        }
    }

    /// Bytes that the file takes on disk, which holes do not; `None` if that is not known.
    pub fn on_disk(&self) -> Option<u64> {
        os::on_disk(&self.file)
    }

    /// What it was when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp.clone()
    }

    /// Refuses the file if it is not what `stamp` says it was.
    pub fn check_stamp(&self, stamp: &Stamp) -> Result<()> {
        if self.stamp == *stamp {
            return Ok(());
        }
        Err(self.changed())
    }

    /// Fills `bytes` from `offset` on.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let begin = self.part.as_ref().map_or(0, |part| part.start);
        let result = os::read_exact_at(&self.file, bytes, begin + offset);
        result.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => Error::io(&self.path)(source),
        })
    }

    /// Refuses the file if its size, times or place changed since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = Stamp::of(&self.file).map_err(Error::io(&self.path))?;
        if now != self.stamp {
            return Err(self.changed());
        }
        Ok(())
    }

    /// Refuses the content of this file.
    pub fn refuse(&self, message: impl Into<String>) -> Error {
        Error::input(&self.path, message)
    }

    fn changed(&self) -> Error {
        self.refuse("changed while it was read; accepted: a file that nobody writes to")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn message(result: Result<impl std::fmt::Debug>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_open() {
        let folder = Folder::new();
        let text = message(Source::open(&folder.path("")));
        assert!(text.ends_with("a directory; accepted: a file"), "{text}");

        #[cfg(unix)]
        {
            let text = message(Source::open(Path::new("/dev/null")));
            assert!(text.starts_with("/dev/null: a device"), "{text}");
        }

        let missing = Source::open(&folder.path("none")).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }));
    }

    #[test]
    fn a_change_while_reading_is_noticed() {
        let folder = Folder::new();
        let path = folder.write("a", b"12345678");
        let source = Source::open(&path).unwrap();
        let mut bytes = [0; 3];
        source.read_exact_at(&mut bytes, 5).unwrap();
        assert_eq!(&bytes, b"678");
        source.check_unchanged().unwrap();

        folder.write("a", b"123456");
        assert!(message(source.read_exact_at(&mut bytes, 5)).contains("changed while"));
        assert!(message(source.check_unchanged()).contains("changed while"));
    }

    #[test]
    fn a_touched_file_counts_as_changed() {
        let folder = Folder::new();
        let source = Source::open(&folder.write("a", b"1234")).unwrap();
        folder.touch("a");
        assert!(message(source.check_unchanged()).contains("changed while"));
    }
}
