//! Defines the one error type, whose messages say what is wrong, where, and what is accepted.

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
    #[error("{}: {}", one_line(path), brief(message))]
    Input {
        /// The file that is refused.
        path: PathBuf,
        /// Why, and what would be accepted.
        message: String,
    },
    /// A file is refused because it holds code or objects; only then can converting it help.
    #[error("{}: {}; accepted: {ACCEPTED}", one_line(path), brief(message))]
    Code {
        /// The file that is refused.
        path: PathBuf,
        /// What it holds.
        message: String,
    },
    /// A file is refused because a tensor of a row holds values that are not finite.
    #[error("{}: {}; accepted: finite values", one_line(path), brief(message))]
    NonFinite {
        /// The file that is refused.
        path: PathBuf,
        /// Which tensor, and how many.
        message: String,
    },
    /// Content that belongs to no single file is refused.
    #[error("{}", brief(_0))]
    Refused(String),
    /// An argument does not fit the others.
    #[error("{}", brief(_0))]
    Value(String),
    /// A row index outside the bank.
    #[error("row {index} is out of range; the shards hold {rows} rows")]
    Index {
        /// The index as given.
        index: i64,
        /// Rows in all the shards.
        rows: usize,
    },
    /// The caller asked to stop, see [`crate::runtime::parallel::Cancel`].
    #[error("interrupted")]
    Interrupted,
    /// A thread was asked for work in a fork of the process that has the thread.
    #[error("this loader belongs to the process that was forked; make one after the fork")]
    Forked,
    /// A panic, or a machine without threads to spare.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What is accepted in place of a file with code.
const ACCEPTED: &str = "tensors in dictionaries, or convert a file that you trust with \
                        pdiff convert --i-trust-this-file";

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

    /// Refuses `path` because of code or objects in it.
    pub fn code(path: &Path, message: impl Into<String>) -> Self {
        Self::Code {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

/// The most characters of a message: names and values of a hostile file can have megabytes.
const LONGEST: usize = 500;
/// How many of those are from the end, where a message says what is accepted.
const FROM_END: usize = 160;

/// `message` on one line, without its middle if it is long.
fn brief(message: &str) -> String {
    let mut chars = message.char_indices();
    let begin = chars.nth(LONGEST - 1 - FROM_END);
    let is_long = chars.nth(FROM_END).is_some();
    let end = message.char_indices().nth_back(FROM_END - 1);
    match (begin, end) {
        (Some((begin, _)), Some((end, _))) if is_long => {
            printable(&format!("{}…{}", &message[..begin], &message[end..]))
        }
        _ => printable(message),
    }
}

/// `path` as text that cannot break a message into two lines.
fn one_line(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Without control characters: neither line feeds nor escape sequences of terminals.
pub fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_on_one_line() {
        let message = |text: &str| Error::input(Path::new("a\nb"), text).to_string();
        assert_eq!(
            message("a\u{1b}[2J\nb"),
            "a\u{fffd}b: a\u{fffd}[2J\u{fffd}b"
        );
        let fits = "é".repeat(LONGEST);
        assert_eq!(message(&fits), format!("a\u{fffd}b: {fits}"));
        let long = format!("{:?} is refused; accepted: less", "é".repeat(20_000_000));
        let shown = message(&long);
        assert_eq!(shown.chars().count(), "a?b: ".len() + LONGEST);
        assert!(shown.ends_with("é\" is refused; accepted: less"), "{shown}");
        assert!(Error::Refused(long.clone()).to_string().len() < 2 * LONGEST);
        assert!(Error::Value(long).to_string().len() < 2 * LONGEST);
    }

    #[test]
    fn only_code_is_worth_converting() {
        let text = Error::code(Path::new("a"), "TorchScript").to_string();
        assert!(
            text.starts_with("a: TorchScript; accepted: tensors in dict"),
            "{text}"
        );
        assert!(text.ends_with("--i-trust-this-file"), "{text}");
    }
}
