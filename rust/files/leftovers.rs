//! Removes the temporary files that killed processes left (see [`super::durable::Durable`]).
//!
//! A file that is being written must stay, and two processes that clean up must not remove the same path twice.
//!
//! - A writer holds a lock on its file, and creates another if its own was removed before it had the lock. So a
//!   file that can be locked here is stale, unless the writer is on another machine and the file system does not
//!   share locks.
//! - Therefore the process id in the name must also be unused on this machine. A process that has it may be the
//!   writer, or have got the id after the writer died: its file is stale after a day without a change.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::os::{is_alive, is_at};

/// A file is stale after this time without a change, even if its writer seems to be alive.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the temporary files in `folder` that killed processes left; returns their names.
pub fn remove_stale(folder: &Path) -> Result<Vec<OsString>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(pid) = writer(&name.to_string_lossy()) else {
            continue;
        };
        if remove_if_stale(&path, pid).map_err(Error::io(&path))? {
            removed.push(name);
        }
    }
    removed.sort();
    Ok(removed)
}

/// The process that wrote `.NAME.tmp-PID-N`; `None` for another name, 0 for a number that is no process.
fn writer(name: &str) -> Option<u32> {
    let (_, numbers) = name.strip_prefix('.')?.rsplit_once(".tmp-")?;
    let (pid, n) = numbers.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    (is_number(pid) && is_number(n)).then(|| pid.parse().unwrap_or(0))
}

fn remove_if_stale(path: &Path, pid: u32) -> io::Result<bool> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        _ => return Ok(false),
    };
    let age = metadata.modified()?.elapsed().unwrap_or_default();
    if is_alive(pid) && age < OLD {
        return Ok(false);
    }
    // Some file systems lock only what is open for writing.
    let Ok(file) = File::options().write(true).open(path) else {
        return Ok(false);
    };
    if file.try_lock().is_err() || !is_at(&file, path)? {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::time::SystemTime;

    use super::*;
    use crate::files::durable::Durable;
    use crate::testing::Folder;

    /// Beyond what any machine gives out.
    const DEAD: u32 = 2_000_000_000;

    #[test]
    fn only_temporaries_that_nobody_writes_are_stale() {
        let folder = Folder::new();
        let durable = Durable::create(&folder.path("a")).unwrap();
        let here = process::id();
        let stale = [
            format!(".a.tmp-{DEAD}-0"),
            format!(".a.tmp-{DEAD}-345"),
            format!(".a.tmp-{here}-4294967296"),
            ".a.tmp-99999999999-0".into(),
        ];
        let others = ["a", ".a.tmp-1", ".a.tmp-x-1", ".a.tmp-1-7", "a.tmp-1-1"];
        for name in stale.iter().map(String::as_str).chain(others) {
            folder.write(name, b"x");
        }
        fs::create_dir(folder.path(".d.tmp-1-1")).unwrap();
        let mut expected = stale.map(OsString::from);
        expected.sort();
        assert_eq!(remove_stale(&folder.path("")).unwrap(), expected);
        durable.commit().unwrap();
        let mut left = others.to_vec();
        left.push(".d.tmp-1-1");
        left.sort_unstable();
        assert_eq!(folder.names(), left);
        assert!(remove_stale(&folder.path("none")).is_err());
    }

    #[test]
    fn what_seems_to_be_written_is_stale_after_a_day() {
        let folder = Folder::new();
        let path = folder.write(".a.tmp-1-0", b"x");
        let age = |hours: u64| {
            let file = File::options().write(true).open(&path).unwrap();
            let then = SystemTime::now() - Duration::from_secs(hours * 3600);
            file.set_modified(then).unwrap();
            file
        };
        drop(age(23));
        assert!(remove_stale(&folder.path("")).unwrap().is_empty());
        let file = age(25);
        file.try_lock().unwrap();
        assert!(remove_stale(&folder.path("")).unwrap().is_empty());
        drop(file);
        assert_eq!(remove_stale(&folder.path("")).unwrap(), [".a.tmp-1-0"]);
    }
}
