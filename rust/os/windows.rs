//! Windows; checked by the compiler for it, and by the workflow `tests` alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use winapi_util::file::information;

use super::Stamp;

/// The number of the error that something else is there: `ERROR_FILE_EXISTS`.
pub const ALREADY_THERE: i32 = 80;
/// The number of the error that a path names a directory: `ERROR_DIRECTORY`.
pub const IS_A_FOLDER: i32 = 267;

const CALL_NOT_IMPLEMENTED: i32 = 120;
/// `FILE_FLAG_BACKUP_SEMANTICS`, without which directories do not open.
const DIRECTORIES_TOO: u32 = 0x0200_0000;
/// `FILE_FLAG_OPEN_REPARSE_POINT`: a link itself.
const NOT_THROUGH_LINKS: u32 = 0x0020_0000;
const TICKS: u64 = 10_000_000;

/// Opens a file that may be none.
pub fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(DIRECTORIES_TOO)
        .open(path)
}

pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_read(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes = &mut bytes[count..];
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub fn stamp(file: &File) -> io::Result<Stamp> {
    let found = information(file)?;
    // Ticks of 100 nanoseconds since 1601.
    let time = |ticks: u64| ((ticks / TICKS) as i64, (ticks % TICKS * 100) as i64);
    Ok(Stamp {
        size: found.file_size(),
        modified: time(found.last_write_time().unwrap_or_default()),
        changed: time(found.creation_time().unwrap_or_default()),
        inode: found.file_index(),
        device: found.volume_serial_number(),
    })
}

/// The standard library does not say.
pub fn on_disk(_: &File) -> Option<u64> {
    None
}

/// Volume and index of what `path` leads to, a link itself.
pub fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(DIRECTORIES_TOO | NOT_THROUGH_LINKS)
        .open(path)?;
    let found = stamp(&file)?;
    Ok((found.device, found.inode))
}

/// Renames are durable when they return, as far as the file system makes them so.
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// There is no such call.
pub fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(CALL_NOT_IMPLEMENTED))
}

/// Nobody is asked: a file that a process may be writing is stale after a day alone.
pub fn is_alive(_: u32) -> bool {
    true
}
