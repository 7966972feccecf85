//! Asks the operating system to exchange paths, to identify files and to look for processes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, test_kill_process};

use crate::error::{Error, Result};

/// Whether `file` is what `path` leads to.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Exchanges two paths in one step, so that neither is ever missing.
///
/// Fails with `EINVAL` or `ENOSYS` where the file system cannot.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    let result = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    result.map_err(|error| Error::io(other)(error.into()))
}

/// Whether another process of this machine has the id; what this one writes is locked.
pub fn is_alive(pid: u32) -> bool {
    if pid == process::id() {
        return false;
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user gives EPERM: only ESRCH means that there is none.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
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
}
