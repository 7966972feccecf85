//! Gives the parsers of foreign files to the fuzzers.
//!
//! Each function takes what a file holds. Refusing it is right; a panic, a crash, much memory or time is not.

use std::cell::RefCell;
use std::path::PathBuf;
use std::{env, fs, process};

use crate::read::{Checkpoint, Choice, Header, Source, parse_pickle, parse_zip};
use crate::runtime::parallel::Cancel;

thread_local! {
    static FILE: RefCell<PathBuf> =
        RefCell::new(env::temp_dir().join(format!("pdiff-fuzz-{}", process::id())));
}

/// Calls `work` with the path of a file that holds `data`.
fn with_file(data: &[u8], work: impl FnOnce(&PathBuf)) {
    FILE.with_borrow(|path| {
        fs::write(path, data).expect("the temporary file can be written");
        work(path);
    });
}

pub fn safetensors_header(data: &[u8]) {
    with_file(data, |path| {
        let source = Source::open(path).expect("the file was just written");
        let _ = Header::read(&source);
    });
}

pub fn zip_directory(data: &[u8]) {
    with_file(data, |path| {
        let source = Source::open(path).expect("the file was just written");
        let _ = parse_zip(&source);
    });
}

pub fn pickle(data: &[u8]) {
    let _ = parse_pickle(data.to_vec(), &Cancel::default());
}

/// Opens a checkpoint of whatever format, and reads the first bytes of every tensor that it declares.
pub fn open_then_read(data: &[u8]) {
    with_file(data, |path| {
        let cancel = Cancel::default();
        let files = [path.clone()];
        let Ok(checkpoint) = Checkpoint::open(&files, &Choice::default(), &cancel) else {
            return;
        };
        let mut scratch = Vec::new();
        for tensor in &checkpoint.weights().tensors {
            if let Ok(mut reader) = checkpoint.reader(tensor, &cancel) {
                let _ = reader.next_chunk(1 << 16, &mut scratch);
            }
        }
    });
}
