//! Where the weights of a checkpoint are, without what they are: a million of them fit in memory.

use std::path::PathBuf;

use super::checkpoint::{Choice, Key};
use super::open::Checkpoint;
use super::source::{Source, Stamp};
use crate::error::Result;
use crate::parallel::Cancel;

/// The files of a checkpoint, as they were when it was first opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// One file, or several that hold one state dict together.
    pub files: Vec<PathBuf>,
    /// The dictionary within the file, as [`super::Weights::keys`].
    pub keys: Vec<String>,
    /// For each file, what changes when it does.
    pub stamps: Vec<Stamp>,
}

impl Origin {
    /// Opens the checkpoint again; files that have changed since are refused.
    pub fn open(&self, cancel: &Cancel) -> Result<Checkpoint> {
        let open = |(path, stamp): (&PathBuf, &Stamp)| {
            let source = Source::open(path)?;
            source.check_stamp(stamp)?;
            Ok(source)
        };
        let sources = self.files.iter().zip(&self.stamps).map(open);
        let choice = Choice {
            key: Some(Key::Path(self.keys.clone())),
            ema: None,
        };
        Checkpoint::read(sources.collect::<Result<_>>()?, &choice, cancel)
    }

    /// The stamps as text.
    pub fn stamp(&self) -> String {
        let texts: Vec<String> = self.stamps.iter().map(Stamp::to_string).collect();
        texts.join(" ")
    }
}
