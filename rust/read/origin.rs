//! Remembers where the weights of a checkpoint are, in little memory, so that it can be opened again.

use std::path::PathBuf;

use crate::os::Stamp;

/// The files of a checkpoint, as they were when it was first opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// One file, or several that hold one state dict together.
    pub files: Vec<PathBuf>,
    /// Where in the file, as [`super::declared::Weights::keys`].
    pub keys: Vec<String>,
    /// Which of averages and what they are averages of, as [`super::declared::Choice::ema`].
    pub ema: Option<bool>,
    /// For each file, what changes when it does.
    pub stamps: Vec<Stamp>,
}

impl Origin {
    /// The stamps as text.
    pub fn stamp(&self) -> String {
        let texts: Vec<String> = self.stamps.iter().map(Stamp::to_string).collect();
        texts.join(" ")
    }
}
