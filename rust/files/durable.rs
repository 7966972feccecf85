//! Writes files durably: a reader sees the old content or the new, complete, also after a crash.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::os::{self, is_at};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that is being written beside its final place, removed unless it is committed.
#[derive(Debug)]
pub struct Durable {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl Durable {
    /// Opens a new temporary sibling `.NAME.tmp-PID-N` of `target`, with the permissions of the umask.
    ///
    /// It is locked as long as it is written, so that [`super::leftovers`] does not take it for a stale one.
    /// Devices, pipes and sockets are refused: a rename would replace them for every process.
    pub fn create(target: &Path) -> Result<Self> {
        if fs::metadata(target).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            return Err(Error::io(target)(io::Error::from_raw_os_error(
                os::ALREADY_THERE,
            )));
        }
        let (temporary, file) = create_sibling(target).map_err(Error::io(target))?;
        Ok(Self {
            target: target.to_owned(),
            temporary,
            file,
            committed: false,
        })
    }

    /// The open file; several threads may write to it by position.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Flushes to the disk, renames over the target, and makes the rename itself durable.
    pub fn commit(mut self) -> Result<()> {
        self.publish().map_err(Error::io(&self.target))
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        os::sync_folder(parent(&self.target))
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if !self.committed {
            // The error that brought us here is the one to report.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `data` to `path` durably.
pub fn write_file(path: &Path, data: &[u8]) -> Result<()> {
    let durable = Durable::create(path)?;
    durable.file().write_all(data).map_err(Error::io(path))?;
    durable.commit()
}

fn create_sibling(target: &Path) -> io::Result<(PathBuf, File)> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::from_raw_os_error(os::IS_A_FOLDER))?;
    loop {
        let mut sibling = OsString::from(".");
        sibling.push(name);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        sibling.push(format!(".tmp-{}-{number}", process::id()));
        let path = parent(target).join(sibling);
        let file = match File::create_new(&path) {
            // A killed process that had our id left it.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, &path)? => return Ok((path, file)),
            // It looked stale, before it was locked, to a process that cleans up.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            // On a file system without locks, a temporary file is never taken for stale.
            Err(TryLockError::Error(_)) => return Ok((path, file)),
        }
    }
}

/// The directory of `target`; of a bare name, the current one.
fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn replaces_the_old_content() {
        let folder = Folder::new();
        let path = folder.path("a.json");
        write_file(&path, b"old and longer").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(folder.names(), ["a.json"]);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_not_a_file_is_not_replaced() {
        let folder = Folder::new();
        let path = folder.path("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = write_file(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("socket"), "{error}");
        assert_eq!(folder.names(), ["socket"]);
        assert!(!fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn an_abandoned_file_leaves_nothing_behind() {
        let folder = Folder::new();
        let path = folder.write("a", b"old");
        let durable = Durable::create(&path).unwrap();
        durable.file().write_all(b"half").unwrap();
        let [temporary, a] = &folder.names()[..] else {
            panic!("one temporary file beside the old one")
        };
        let prefix = format!(".a.tmp-{}-", process::id());
        assert!(temporary.starts_with(&prefix), "{temporary}");
        assert_eq!(a, "a");
        drop(durable);
        assert_eq!(folder.names(), ["a"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_failed_rename_leaves_nothing_behind() {
        let folder = Folder::new();
        let path = folder.path("directory");
        fs::create_dir(&path).unwrap();
        assert!(matches!(write_file(&path, b"x"), Err(Error::Io { .. })));
        assert_eq!(folder.names(), ["directory"]);
    }

    #[test]
    fn a_path_without_a_name_is_an_error() {
        assert!(matches!(
            write_file(Path::new("/"), b"x"),
            Err(Error::Io { .. })
        ));
        let nowhere = Path::new("/nonexistent/a");
        let error = write_file(nowhere, b"x").unwrap_err();
        assert_eq!(error.to_string().split(':').next(), Some("/nonexistent/a"));
    }
}
