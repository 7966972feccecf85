//! Which tensors differ between checkpoints: the default selection of what to model.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::parallel::{Cancel, try_map};
use crate::read::{Header, Source, TensorInfo};

/// Bytes compared at a time.
const CHUNK: usize = 1 << 20;

/// The files whose tensors are compared, against the first of them.
struct Comparison<'a> {
    source: Source,
    tensors: Vec<TensorInfo>,
    varies: Vec<AtomicBool>,
    cancel: &'a Cancel,
}

/// For each of `names`, whether its bytes differ between any two of the safetensors files at `paths`.
///
/// All files must hold every name with the dtype and shape of the first. A tensor once found to vary is
/// not read again; memory does not grow with the number of files.
pub fn varying_tensors(paths: &[PathBuf], names: &[String], cancel: &Cancel) -> Result<Vec<bool>> {
    let Some((first, others)) = paths.split_first() else {
        return Err(Error::Value("no files; accepted: at least one".into()));
    };
    let comparison = Comparison::new(Source::open(first)?, names, cancel)?;
    try_map(others, cancel, |path| {
        comparison.compare(&Source::open(path)?)
    })?;
    comparison.finish()
}

impl<'a> Comparison<'a> {
    /// Will compare `names` with those of `source`.
    fn new(source: Source, names: &[String], cancel: &'a Cancel) -> Result<Self> {
        let header = Header::read(&source)?;
        let tensors = names
            .iter()
            .map(|name| find(&source, &header, name).cloned())
            .collect::<Result<_>>()?;
        Ok(Self {
            source,
            tensors,
            varies: names.iter().map(|_| AtomicBool::new(false)).collect(),
            cancel,
        })
    }

    /// Which tensors differed.
    fn finish(self) -> Result<Vec<bool>> {
        self.source.check_unchanged()?;
        let flags = self.varies.into_iter();
        Ok(flags.map(AtomicBool::into_inner).collect())
    }

    /// Compares one file with the first, tensor by tensor.
    fn compare(&self, source: &Source) -> Result<()> {
        let header = Header::read(source)?;
        for (expected, varies) in self.tensors.iter().zip(&self.varies) {
            let found = find(source, &header, &expected.name)?;
            check_same_kind(source, found, &self.source, expected)?;
            self.compare_bytes(source, found, expected, varies)?;
        }
        source.check_unchanged()
    }

    /// Compares chunk by chunk until `varies` is known to be true, here or in another thread.
    fn compare_bytes(
        &self,
        source: &Source,
        found: &TensorInfo,
        expected: &TensorInfo,
        varies: &AtomicBool,
    ) -> Result<()> {
        let length = expected.end - expected.begin;
        let mut here = vec![0; length.min(CHUNK as u64) as usize];
        let mut there = here.clone();
        let mut offset = 0;
        while offset < length && !varies.load(Ordering::Relaxed) {
            self.cancel.check()?;
            let size = (length - offset).min(CHUNK as u64) as usize;
            source.read_exact_at(&mut here[..size], found.begin + offset)?;
            let reference = &self.source;
            reference.read_exact_at(&mut there[..size], expected.begin + offset)?;
            if here[..size] != there[..size] {
                varies.store(true, Ordering::Relaxed);
            }
            offset += size as u64;
        }
        Ok(())
    }
}

fn find<'a>(source: &Source, header: &'a Header, name: &str) -> Result<&'a TensorInfo> {
    let missing = || source.refuse(format!("holds no tensor {name:?}"));
    header.find(name).ok_or_else(missing)
}

fn check_same_kind(
    source: &Source,
    found: &TensorInfo,
    reference: &Source,
    expected: &TensorInfo,
) -> Result<()> {
    if (found.dtype, &found.shape) == (expected.dtype, &expected.shape) {
        return Ok(());
    }
    Err(source.refuse(format!(
        "tensor {:?} is {} {:?}; accepted: {} {:?}, as in {}",
        found.name,
        found.dtype.name(),
        found.shape,
        expected.dtype.name(),
        expected.shape,
        reference.path().display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, Tensor, f32s, safetensors};

    fn varying(folder: &Folder, files: &[&[Tensor<'_>]], names: &[&str]) -> Result<Vec<bool>> {
        let write = |(i, tensors): (usize, &&[Tensor<'_>])| {
            folder.write(&format!("file-{i}"), &safetensors(tensors))
        };
        let paths: Vec<PathBuf> = files.iter().enumerate().map(write).collect();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        varying_tensors(&paths, &names, &Cancel::default())
    }

    #[test]
    fn finds_what_differs_between_any_two() {
        let folder = Folder::new();
        let same = f32s("same", &[2], &[1.0, 2.0]);
        let nan = f32s("nan", &[], &[f32::NAN]);
        let (zero, minus) = (f32s("zero", &[], &[0.0]), f32s("zero", &[], &[-0.0]));
        let (two, three) = (f32s("last", &[], &[2.0]), f32s("last", &[], &[3.0]));
        let first = [same.clone(), nan.clone(), zero.clone(), two.clone()];
        let second = [two, zero.clone(), same.clone(), nan.clone()];
        let third = [three, nan.clone(), same.clone(), zero.clone()];
        let fourth = [minus, nan, same, f32s("last", &[], &[2.0])];
        let names = ["same", "nan", "zero", "last"];
        let found = varying(&folder, &[&first, &second, &third, &fourth], &names).unwrap();
        assert_eq!(found, [false, false, true, true]);
        let found = varying(&folder, &[&first, &second], &names).unwrap();
        assert_eq!(found, [false; 4]);
        assert_eq!(varying(&folder, &[&first], &names).unwrap(), [false; 4]);
    }

    #[test]
    fn every_chunk_is_compared_to_its_last_byte() {
        let folder = Folder::new();
        let shape = [2 * CHUNK + 3];
        for changed in [0, CHUNK - 1, CHUNK, 2 * CHUNK, shape[0] - 1] {
            let bytes = vec![7; shape[0]];
            let mut other = bytes.clone();
            other[changed] = 8;
            let one = [("a", "U8", &shape[..], bytes)];
            let other = [("a", "U8", &shape[..], other)];
            let found = varying(&folder, &[&one, &other], &["a"]).unwrap();
            assert_eq!(found, [true], "byte {changed}");
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_refused() {
        let folder = Folder::new();
        let cancel = Cancel::default();
        let file = safetensors(&[f32s("a", &[2], &[0.0; 2])]);
        let [one, other] = ["one", "other"].map(|name| folder.write(name, &file));
        let open = |path| Source::open(path).unwrap();
        let comparison = Comparison::new(open(&one), &["a".into()], &cancel).unwrap();
        let opened = open(&other);
        comparison.compare(&opened).unwrap();
        folder.touch("other");
        let text = comparison.compare(&opened).unwrap_err().to_string();
        assert!(text.contains("other: changed while it was read"), "{text}");
        folder.touch("one");
        let text = comparison.finish().unwrap_err().to_string();
        assert!(text.contains("one: changed while it was read"), "{text}");
    }

    #[test]
    fn files_that_do_not_match_are_refused() {
        let folder = Folder::new();
        let good = [f32s("a", &[2], &[0.0; 2])];
        let message =
            |files: &[&[Tensor<'_>]]| varying(&folder, files, &["a"]).unwrap_err().to_string();
        let text = message(&[&good, &good, &[]]);
        assert!(text.ends_with(r#"file-2: holds no tensor "a""#), "{text}");
        let text = message(&[&[], &good]);
        assert!(text.ends_with(r#"file-0: holds no tensor "a""#), "{text}");
        let text = message(&[&good, &[f32s("a", &[1, 2], &[0.0; 2])]]);
        assert!(
            text.contains(r#"tensor "a" is F32 [1, 2]; accepted: F32 [2], as in "#),
            "{text}"
        );
        let text = message(&[&good, &[("a", "I32", &[2], vec![0; 8])]]);
        assert!(
            text.contains(r#"tensor "a" is I32 [2]; accepted: F32 [2]"#),
            "{text}"
        );
        assert_eq!(message(&[]), "no files; accepted: at least one");
    }
}
