use super::*;
use crate::read::origin_of;
use crate::testing::{Folder, Tensor, f32s, safetensors};

fn varying(folder: &Folder, files: &[&[Tensor<'_>]], names: &[&str]) -> Result<Vec<bool>> {
    let write = |(i, tensors): (usize, &&[Tensor<'_>])| {
        folder.write(&format!("file-{i}"), &safetensors(tensors))
    };
    let origins: Vec<Origin> = files.iter().enumerate().map(write).map(origin_of).collect();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let origins: Vec<&Origin> = origins.iter().collect();
    let found = varying_tensors(&origins, &names, Extent::Bytes, &Cancel::default())?;
    Ok(found.into_iter().map(Option::unwrap).collect())
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
fn a_sample_is_the_first_middle_and_last_of_a_tensor() {
    let folder = Folder::new();
    let shape = [1 << 16];
    let differs = |changed: usize| {
        let bytes = vec![7; shape[0]];
        let mut other = bytes.clone();
        other[changed] = 8;
        let files = [("one", bytes), ("other", other)].map(|(name, bytes)| {
            origin_of(folder.write(name, &safetensors(&[("a", "U8", &shape[..], bytes)])))
        });
        let origins: Vec<&Origin> = files.iter().collect();
        let cancel = Cancel::default();
        varying_tensors(&origins, &["a".into()], Extent::Sample, &cancel).unwrap()[0]
    };
    let last = shape[0] - 1;
    let found = [0, 4095, 4096, shape[0] / 2, last - 4096, last - 4095, last].map(differs);
    let (yes, unseen) = (Some(true), None);
    assert_eq!(found, [yes, yes, unseen, yes, unseen, yes, yes]);
    assert_eq!(Extent::Sample.pieces(3 * 4096 + 31), [(0, 3 * 4096 + 31)]);
    assert_eq!(
        Extent::Sample.pieces(3 * 4096 + 33),
        [(0, 4096), (16, 4096), (17, 4096)]
    );
}

#[test]
fn a_file_that_changed_since_it_was_opened_is_refused() {
    let folder = Folder::new();
    let cancel = Cancel::default();
    let file = safetensors(&[f32s("a", &[2], &[0.0; 2])]);
    let [one, other] = ["one", "other"].map(|name| origin_of(folder.write(name, &file)));
    let names = ["a".into()];
    let compare = |pair: [&Origin; 2]| varying_tensors(&pair, &names, Extent::Bytes, &cancel);
    assert_eq!(compare([&one, &other]).unwrap(), [Some(false)]);
    folder.touch("other");
    for pair in [[&one, &other], [&other, &one]] {
        let text = compare(pair).unwrap_err().to_string();
        assert!(text.contains("other: changed while it was read"), "{text}");
    }
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
    assert_eq!(message(&[]), "no checkpoints; accepted: at least one");
}
