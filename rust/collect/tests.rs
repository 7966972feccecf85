use std::fs;

use half::{bf16, f16};

use super::*;
use crate::shard::Shard;
use crate::testing::{Folder, Tensor, f32s, layout, safetensors};

fn write(folder: &Folder, layout: &Layout, sources: &[PathBuf]) -> Result<Vec<String>> {
    let path = folder.path("shard");
    write_shard(
        &path,
        layout,
        sources,
        NonFinite::Refuse,
        &Cancel::default(),
    )
}

#[track_caller]
fn refused(tensors: &[Tensor<'_>], layout: &Layout, fragment: &str) {
    let folder = Folder::new();
    let good = folder.write("good", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let bad = folder.write("bad", &safetensors(tensors));
    let text = write(&folder, layout, &[good, bad])
        .unwrap_err()
        .to_string();
    assert!(text.contains("bad: "), "{text}");
    assert!(text.contains(fragment), "{text}");
    assert_eq!(folder.names(), ["bad", "good"], "nothing is left behind");
}

#[test]
fn every_float_becomes_f32_in_the_order_of_the_layout() {
    let folder = Folder::new();
    let half = |v: f32| f16::from_f32(v).to_le_bytes();
    let brain = |v: f32| bf16::from_f32(v).to_le_bytes();
    let tensors: [Tensor<'_>; 5] = [
        ("t10", "F16", &[2], [half(1.5), half(-2.0)].concat()),
        ("t9", "BF16", &[1, 1], brain(3.0).to_vec()),
        ("steps", "I64", &[], 7_i64.to_le_bytes().to_vec()),
        ("t1", "F64", &[], 0.1_f64.to_le_bytes().to_vec()),
        f32s("t2", &[2], &[4.0, 5.0]),
    ];
    let source = folder.write("a", &safetensors(&tensors));
    let names = ["t10", "t9", "t1", "t2"];
    let of_name = |name| tensors.iter().find(|t| t.0 == name).unwrap();
    let entries = names.map(of_name);
    let layout = Layout::new(
        entries
            .iter()
            .map(|t| (t.0.into(), t.1.into(), t.2.to_vec()))
            .collect(),
    );
    let digests = write(&folder, &layout.unwrap(), &[source.clone(), source]).unwrap();

    let shard = Shard::open(&folder.path("shard")).unwrap();
    assert_eq!((shard.rows(), shard.dim()), (2, 6));
    assert_eq!(shard.numbers(), [0.1, 4.0, 5.0, 3.0, 1.5, -2.0].repeat(2));
    let bytes = ["t1", "t2", "t9", "t10"].map(|name| of_name(name).3.clone());
    let expected = blake3::hash(&bytes.concat()).to_hex().to_string();
    assert_eq!(digests, [expected.clone(), expected]);
    assert_eq!(folder.names(), ["a", "shard"]);
}

#[test]
fn tensors_larger_than_a_chunk_are_streamed() {
    let folder = Folder::new();
    let count = CHUNK / 4 + 1000;
    let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let shape = [count];
    let source = folder.write("a", &safetensors(&[f32s("a", &shape, &values)]));
    let layout = layout(&[("a", count)]);
    write(&folder, &layout, &[source.clone(), source]).unwrap();
    let shard = Shard::open(&folder.path("shard")).unwrap();
    assert_eq!(shard.numbers(), values.repeat(2));
}

#[test]
fn sources_that_do_not_fit_the_layout_are_refused() {
    let layout = layout(&[("a", 2)]);
    refused(&[], &layout, r#"holds no tensor "a""#);
    refused(
        &[("a", "BF16", &[2], vec![0; 4])],
        &layout,
        r#"tensor "a" is BF16 [2]; accepted: F32 [2]"#,
    );
    refused(
        &[f32s("a", &[2, 1], &[0.0; 2])],
        &layout,
        r#"tensor "a" is F32 [2, 1]; accepted: F32 [2]"#,
    );
    refused(
        &[f32s("a", &[2], &[f32::NAN, f32::NEG_INFINITY])],
        &layout,
        r#"tensor "a" holds NaN or infinity (2 of 2 values, as f32); accepted: finite values"#,
    );
}

#[test]
fn an_f64_beyond_f32_counts_as_infinite() {
    let folder = Folder::new();
    let source = safetensors(&[("a", "F64", &[], 1e300_f64.to_le_bytes().to_vec())]);
    let source = [folder.write("a", &source)];
    let layout = Layout::new(vec![("a".into(), "F64".into(), vec![])]).unwrap();
    let text = write(&folder, &layout, &source).unwrap_err().to_string();
    assert!(text.contains("1 of 1 values"), "{text}");

    let path = folder.path("shard");
    let cancel = Cancel::default();
    write_shard(&path, &layout, &source, NonFinite::Allow, &cancel).unwrap();
    assert_eq!(Shard::open(&path).unwrap().numbers(), [f32::INFINITY]);
}

#[test]
fn a_failed_shard_keeps_the_old_one() {
    let folder = Folder::new();
    let good = folder.write("good", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let layout = layout(&[("a", 2)]);
    write(&folder, &layout, std::slice::from_ref(&good)).unwrap();
    let before = fs::read(folder.path("shard")).unwrap();
    let missing = folder.path("missing");
    let error = write(&folder, &layout, &[good, missing.clone()]).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path == missing));
    assert_eq!(fs::read(folder.path("shard")).unwrap(), before);
    assert_eq!(folder.names(), ["good", "shard"]);
}

#[test]
fn no_sources_and_a_requested_stop_leave_nothing() {
    let folder = Folder::new();
    let layout = layout(&[("a", 2)]);
    assert!(matches!(write(&folder, &layout, &[]), Err(Error::Value(_))));
    let good = folder.write("good", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let cancel = Cancel::default();
    cancel.request();
    let path = folder.path("shard");
    let result = write_shard(&path, &layout, &[good], NonFinite::Refuse, &cancel);
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(folder.names(), ["good"]);
}

#[test]
fn a_source_that_changes_meanwhile_is_refused() {
    let folder = Folder::new();
    let path = folder.write("a", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let source = Source::open(&path).unwrap();
    folder.touch("a");
    let file = File::create(folder.path("shard")).unwrap();
    let output = Output {
        path: &path,
        file: &file,
        position: 0,
        pending: Vec::new(),
    };
    let cancel = Cancel::default();
    let copy = RowCopy::new(source, output, NonFinite::Refuse, &cancel);
    let text = copy.run(&layout(&[("a", 2)])).unwrap_err().to_string();
    assert!(text.contains("a: changed while it was read"), "{text}");
}
