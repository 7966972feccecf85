//! Reads the bytes of a pickle in blocks and keeps them, so that text is a range of them and no copy.

use crate::error::Error;
use crate::read::source::Source;

/// The most bytes of pickle that are read from one file.
pub const MAX_PICKLE: u64 = 64 << 20;

/// How the fault of a pickle of more bytes begins.
pub const TOO_LONG: &str = "longer than the limit";

const BLOCK: usize = 64 << 10;

/// Why reading stopped: the machine does not know the file, so that the caller adds its name.
#[derive(Debug)]
pub enum Fault {
    /// What is wrong with the content.
    Content(String),
    /// What the file holds that is code, or could make code run.
    Code(String),
    /// The file could not be read.
    Source(Box<Error>),
}

/// A fault of the content.
pub fn refuse(message: impl Into<String>) -> Fault {
    Fault::Content(message.into())
}

impl Fault {
    /// The error of `source`.
    pub fn of(self, source: &Source) -> Error {
        match self {
            Self::Content(message) => source.refuse(message),
            Self::Code(message) => Error::code(source.path(), message),
            Self::Source(error) => *error,
        }
    }
}

impl Fault {
    /// The same, with the place where it was found.
    pub(super) fn at(self, byte: usize) -> Self {
        let placed = |message| format!("{message} (at byte {byte} of its pickle)");
        match self {
            Self::Content(message) => Self::Content(placed(message)),
            Self::Code(message) => Self::Code(placed(message)),
            other => other,
        }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Content(message)
    }
}

/// A range of the bytes of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    begin: u32,
    len: u32,
}

impl Span {
    /// Bytes in it.
    pub fn len(self) -> usize {
        self.len as usize
    }
}

/// Bytes from the beginning to where the machine has come.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: Vec<u8>,
    begin: usize,
    at: usize,
    limit: usize,
    source: Option<&'a Source>,
}

impl<'a> Cursor<'a> {
    /// The pickle in `bytes` from `begin` to the end.
    pub fn over(bytes: Vec<u8>, begin: usize) -> Self {
        Self {
            begin,
            at: begin,
            limit: bytes.len(),
            bytes,
            source: None,
        }
    }

    /// The pickles at the beginning of a file, which also holds other things.
    pub fn of(source: &'a Source) -> Self {
        Self {
            bytes: Vec::new(),
            begin: 0,
            at: 0,
            limit: source.size().min(MAX_PICKLE) as usize,
            source: Some(source),
        }
    }

    /// Bytes of pickle that were read.
    pub fn position(&self) -> usize {
        self.at - self.begin
    }

    /// Bytes in memory that were not read yet.
    pub fn ready(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        self.need(1)?;
        self.at += 1;
        Ok(self.bytes[self.at - 1])
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.need(N as u64)?;
        let bytes = self.bytes[self.at..][..N].try_into().expect("N bytes");
        self.at += N;
        Ok(bytes)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: u64) -> Result<Span, Fault> {
        self.need(len)?;
        let span = self.span(self.at, len as usize);
        self.at += len as usize;
        Ok(span)
    }

    /// What comes before the next line feed, which is read too.
    pub fn line(&mut self) -> Result<Span, Fault> {
        let begin = self.at;
        while self.byte()? != b'\n' {}
        Ok(self.span(begin, self.at - 1 - begin))
    }

    /// The bytes of `span`.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.begin as usize..][..span.len as usize]
    }

    /// Bytes of pickle before `span`.
    pub fn offset(&self, span: Span) -> u64 {
        (span.begin as usize - self.begin) as u64
    }

    /// A range inside `span`, which must be as long.
    pub fn part(&self, span: Span, from: usize, to: usize) -> Span {
        debug_assert!(from <= to && to <= span.len as usize);
        self.span(span.begin as usize + from, to - from)
    }

    fn span(&self, begin: usize, len: usize) -> Span {
        // A cursor holds at most MAX_PICKLE bytes and a zip header.
        Span {
            begin: begin as u32,
            len: len as u32,
        }
    }

    /// Makes sure that `len` more bytes are in memory.
    #[inline]
    fn need(&mut self, len: u64) -> Result<(), Fault> {
        if len <= self.ready() as u64 {
            return Ok(());
        }
        self.need_more(len)
    }

    fn need_more(&mut self, len: u64) -> Result<(), Fault> {
        let left = (self.limit - self.at) as u64;
        if len > left {
            let position = self.position();
            let why = match self.source {
                Some(source) if source.size() > self.limit as u64 => TOO_LONG,
                _ => "truncated",
            };
            return Err(Fault::Content(format!(
                "{why}: {len} bytes are wanted at byte {position} of a pickle, and {left} are there"
            )));
        }
        self.fill(self.at + len as usize)
    }

    fn fill(&mut self, end: usize) -> Result<(), Fault> {
        let source = self
            .source
            .expect("all of a pickle without a source is in memory");
        let have = self.bytes.len();
        let end = end.max(have + BLOCK).min(self.limit);
        self.bytes.resize(end, 0);
        let block = &mut self.bytes[have..];
        source
            .read_exact_at(block, have as u64)
            .map_err(|error| Fault::Source(Box::new(error)))
    }
}
