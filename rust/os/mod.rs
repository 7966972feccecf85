//! Asks the operating system what the standard library does not: in one way wherever `pdiff` runs.
//!
//! Reading and writing by position, what a file is, exchanging paths, which processes there are.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process;

#[cfg(unix)]
use unix as this;
#[cfg(windows)]
use windows as this;

use crate::error::{Error, Result};

pub use this::{ALREADY_THERE, IS_A_FOLDER, open_for_reading, sync_folder};

/// What changes when a file is written to or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of anything, which no program can set back. On Windows those of
    /// its making.
    pub changed: (i64, i64),
    pub inode: u64,
    pub device: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |(seconds, nanoseconds)| format!("{seconds}.{nanoseconds:09}");
        let (modified, changed) = (time(self.modified), time(self.changed));
        let Self {
            size,
            inode,
            device,
            ..
        } = self;
        write!(f, "{size}:{modified}:{changed}:{inode}:{device}")
    }
}

impl Stamp {
    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        this::stamp(file)
    }
}

/// Bytes that a file takes on disk; `None` where that is not known, as of files that are somewhere else.
pub fn on_disk(file: &File) -> Option<u64> {
    this::on_disk(file).filter(|&bytes| bytes > 0)
}

/// Fills `bytes` with those of the file from `at` on; fails with `UnexpectedEof` if there are fewer.
pub fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    this::read_exact_at(file, bytes, at)
}

/// Writes all of `bytes` to the file from `at` on.
pub fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    this::write_all_at(file, bytes, at)
}

/// Whether `file` is what `path` leads to.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = Stamp::of(file)?;
    match this::identity(path) {
        Ok(theirs) => Ok((ours.device, ours.inode) == theirs),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Exchanges two paths in one step, so that neither is ever missing.
///
/// Fails with `EINVAL` or `ENOSYS`, as Python has them, where the file system cannot.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    this::exchange(one, other).map_err(Error::io(other))
}

/// Whether another process of this machine has the id, or may have; what this one writes is locked.
pub fn is_alive(pid: u32) -> bool {
    pid != process::id() && this::is_alive(pid)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Folder;

    #[test]
    #[cfg(unix)]
    fn two_directories_are_exchanged() {
        let folder = Folder::new();
        let (a, b) = (folder.path("a"), folder.path("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        folder.write("a/x", b"from a");
        exchange(&a, &b).unwrap();
        assert_eq!(fs::read(b.join("x")).unwrap(), b"from a");
        assert_eq!(fs::read_dir(&a).unwrap().count(), 0);
        assert!(matches!(
            exchange(&folder.path("none"), &a),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn a_file_that_was_removed_before_it_was_locked_is_not_written() {
        let folder = Folder::new();
        let path = folder.write("a", b"x");
        let file = File::open(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        folder.write("a", b"y");
        assert!(!is_at(&file, &path).unwrap());
    }

    #[test]
    fn bytes_are_read_and_written_at_their_place() {
        let folder = Folder::new();
        let path = folder.write("a", b"0123456789");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        write_all_at(&file, b"ab", 4).unwrap();
        let mut bytes = [0; 4];
        read_exact_at(&file, &mut bytes, 3).unwrap();
        assert_eq!(&bytes, b"3ab6");
        let error = read_exact_at(&file, &mut bytes, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(fs::read(&path).unwrap(), b"0123ab6789");
    }

    #[test]
    fn this_process_is_no_other_and_its_parent_is_one() {
        assert!(!is_alive(process::id()));
        #[cfg(unix)]
        assert!(is_alive(std::os::unix::process::parent_id()));
    }
}
