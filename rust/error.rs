//! The one error type, with one-line messages: what is wrong, where, and what is accepted.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in the core.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write `path`.
    #[error("{}: {source}", one_line(path))]
    Io {
        /// The file that the caller asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The content of a file is refused.
    #[error("{}: {message}", one_line(path))]
    Input {
        /// The file that is refused.
        path: PathBuf,
        /// Why, and what would be accepted.
        message: String,
    },
    /// Content that belongs to no single file is refused.
    #[error("{0}")]
    Refused(String),
    /// An argument does not fit the others.
    #[error("{0}")]
    Value(String),
    /// A row index outside the bank.
    #[error("row {index} is out of range; the shards hold {rows} rows")]
    Index {
        /// The index as given.
        index: i64,
        /// Rows in all the shards.
        rows: usize,
    },
    /// The caller asked to stop, see [`crate::parallel::Cancel`].
    #[error("interrupted")]
    Interrupted,
    /// A panic, or a machine without threads to spare.
    #[error("internal error: {0}")]
    Internal(String),
}

/// `Result` with the core's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Says which file an I/O error belongs to; for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Refuses the content of `path`.
    pub fn input(path: &Path, message: impl Into<String>) -> Self {
        Self::Input {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

/// `path` as text that cannot break a message into two lines.
fn one_line(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}
