//! Copies bytes from file to file within the kernel.

use std::fs::File;
use std::io;

/// Copies `size` bytes; returns whether it was possible between these two files.
///
/// If it was not, some of the bytes may be there. What forbids every way of writing (a full disk, a limit) is
/// an error.
#[cfg(target_os = "linux")]
pub fn copy_range(from: &File, at: u64, to: &File, begin: u64, size: usize) -> io::Result<bool> {
    use rustix::fs::copy_file_range;
    use rustix::io::Errno;

    let (mut at, mut begin) = (at, begin);
    let mut left = size;
    while left > 0 {
        match copy_file_range(from, Some(&mut at), to, Some(&mut begin), left) {
            Ok(0) => return Ok(false), // the end of the file; reading it says so
            Ok(copied) => left -= copied,
            Err(Errno::INTR) => {}
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(error.into()),
            Err(_) => return Ok(false), // two file systems, a kernel that cannot, a disk that fails
        }
    }
    Ok(true)
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub fn copy_range(_: &File, _: u64, _: &File, _: u64, _: usize) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;
    use crate::testing::Folder;

    #[test]
    fn bytes_go_where_they_are_sent_or_it_is_said_that_they_do_not() {
        let folder = Folder::new();
        let from = File::open(folder.write("from", b"0123456789")).unwrap();
        let path = folder.write("to", b"abcdefgh");
        let to = OpenOptions::new().write(true).open(&path).unwrap();
        if copy_range(&from, 2, &to, 1, 4).unwrap() {
            assert_eq!(fs::read(&path).unwrap(), b"a2345fgh");
        }
        assert!(!copy_range(&from, 8, &to, 0, 4).unwrap(), "past the end");
        let read_only = File::open(&path).unwrap();
        assert!(!copy_range(&from, 0, &read_only, 0, 4).unwrap());
    }
}
