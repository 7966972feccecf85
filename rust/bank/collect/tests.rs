use std::fs;
use std::path::PathBuf;

use half::{bf16, f16};

use super::*;
use crate::bank::layout::layout_of;
use crate::bank::shard::Shard;
use crate::files::block_digest::BLOCK;
use crate::read::origin_of;
use crate::testing::{Folder, Tensor, f32s, safetensors};

fn write(folder: &Folder, layout: &Layout, sources: &[PathBuf]) -> Result<Vec<String>> {
    let origins: Vec<Origin> = sources.iter().cloned().map(origin_of).collect();
    write_one(
        folder,
        layout,
        &origins.iter().collect::<Vec<_>>(),
        &Cancel::default(),
    )
}

fn write_one(
    folder: &Folder,
    layout: &Layout,
    origins: &[&Origin],
    cancel: &Cancel,
) -> Result<Vec<String>> {
    let path = folder.path("shard");
    let part = Part {
        path: &path,
        origins: origins.to_vec(),
    };
    let mut written = write_shards(&[part], layout, Precision::F32, cancel)?;
    let written = written.remove(0);
    let bytes = fs::read(path).unwrap();
    assert_eq!(written.digest, crate::fingerprint::digest(&bytes));
    Ok(written.rows.iter().map(ToString::to_string).collect())
}

fn floats(shard: &Shard) -> Vec<f32> {
    let mut out = vec![0.0; shard.numbers().len()];
    shard.numbers().widen(&mut out);
    out
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
    assert_eq!(floats(&shard), [0.1, 4.0, 5.0, 3.0, 1.5, -2.0].repeat(2));
    let bytes = ["t1", "t2", "t9", "t10"].map(|name| of_name(name).3.clone());
    let expected = blake3::hash(&bytes.concat()).to_hex().to_string();
    assert_eq!(digests, [expected.clone(), expected]);
    assert_eq!(folder.names(), ["a", "shard"]);
}

#[test]
fn tensors_larger_than_a_chunk_are_streamed() {
    let folder = Folder::new();
    let count = 2 * BLOCK / size_of::<f32>() + 1000;
    let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let shape = [count];
    let source = folder.write("a", &safetensors(&[f32s("a", &shape, &values)]));
    let layout = layout_of(&[("a", count)]);
    write(&folder, &layout, &[source.clone(), source]).unwrap();
    let shard = Shard::open(&folder.path("shard")).unwrap();
    assert_eq!(floats(&shard), values.repeat(2));
}

#[test]
fn sources_that_do_not_fit_the_layout_are_refused() {
    let layout = layout_of(&[("a", 2)]);
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
        r#"tensor "a" holds NaN or infinity (2 of 2 values, as f32); accepted: finite values; --skip-nonfinite leaves the file out"#,
    );
}

#[test]
fn of_each_checkpoint_the_first_tensor_that_is_not_finite_is_told() {
    let folder = Folder::new();
    let layout = layout_of(&[("a", 2), ("b", 3)]);
    let file = |name: &str, a: f32, b: f32| {
        let tensors = [f32s("a", &[2], &[a; 2]), f32s("b", &[3], &[0.0, b, 1.0])];
        folder.write(name, &safetensors(&tensors))
    };
    let files = [
        file("good", 1.0, f32::MAX),
        file("late", 1.0, f32::NEG_INFINITY),
        file("both", f32::NAN, f32::NAN),
    ];
    let origins = files.map(origin_of);
    let told = non_finite(&layout, &origins.each_ref(), &Cancel::default()).unwrap();
    assert_eq!(told[0], None);
    let text = r#"tensor "b" holds NaN or infinity (1 of 3 values, as f32)"#;
    assert_eq!(told[1].as_deref(), Some(text));
    let text = r#"tensor "a" holds NaN or infinity (2 of 2 values, as f32)"#;
    assert_eq!(told[2].as_deref(), Some(text));
}

#[test]
fn a_negative_running_variance_is_refused_with_its_file() {
    let layout = layout_of(&[("a.running_var", 2)]);
    let folder = Folder::new();
    let [good, bad] = [("good", 2.0), ("bad", -2.0)].map(|(name, value)| {
        let tensors = [f32s("a.running_var", &[2], &[1.0, value])];
        folder.write(name, &safetensors(&tensors))
    });
    let text = write(&folder, &layout, &[good, bad])
        .unwrap_err()
        .to_string();
    let expected =
        r#"bad: tensor "a.running_var" has the running variance -2; accepted: at least 0"#;
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(folder.names(), ["bad", "good"]);
}

#[test]
fn an_f64_beyond_f32_counts_as_infinite() {
    let folder = Folder::new();
    let source = safetensors(&[("a", "F64", &[], 1e300_f64.to_le_bytes().to_vec())]);
    let source = [folder.write("a", &source)];
    let layout = Layout::new(vec![("a".into(), "F64".into(), vec![])]).unwrap();
    let text = write(&folder, &layout, &source).unwrap_err().to_string();
    assert!(text.contains("1 of 1 values"), "{text}");
}

#[test]
fn a_failed_shard_keeps_the_old_one() {
    let folder = Folder::new();
    let good = folder.write("good", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let layout = layout_of(&[("a", 2)]);
    write(&folder, &layout, std::slice::from_ref(&good)).unwrap();
    let before = fs::read(folder.path("shard")).unwrap();
    let gone = folder.write("gone", &fs::read(&good).unwrap());
    let origins = [origin_of(good), origin_of(gone.clone())];
    fs::remove_file(&gone).unwrap();
    let origins: Vec<&Origin> = origins.iter().collect();
    let cancel = Cancel::default();
    let error = write_one(&folder, &layout, &origins, &cancel).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path == gone));
    assert_eq!(fs::read(folder.path("shard")).unwrap(), before);
    assert_eq!(folder.names(), ["good", "shard"]);
}

#[test]
fn no_sources_and_a_requested_stop_leave_nothing() {
    let folder = Folder::new();
    let layout = layout_of(&[("a", 2)]);
    assert!(matches!(write(&folder, &layout, &[]), Err(Error::Value(_))));
    let good = folder.write("good", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let cancel = Cancel::default();
    cancel.request();
    let result = write_one(&folder, &layout, &[&origin_of(good)], &cancel);
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(folder.names(), ["good"]);
}

#[test]
fn a_source_that_changed_since_it_was_opened_is_refused() {
    let folder = Folder::new();
    let path = folder.write("a", &safetensors(&[f32s("a", &[2], &[1.0, 2.0])]));
    let source = origin_of(path);
    folder.touch("a");
    let cancel = Cancel::default();
    let text = write_one(&folder, &layout_of(&[("a", 2)]), &[&source], &cancel)
        .unwrap_err()
        .to_string();
    assert!(text.contains("a: changed while it was read"), "{text}");
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn rows_in_memory_are_those_of_the_shard() {
    let folder = Folder::new();
    let numbers = |base: f32| (0..100_000).map(|i| base + i as f32).collect::<Vec<_>>();
    let sources = [1.0, 2.0].map(|base| {
        let half = f16::from_f32(base).to_le_bytes().to_vec();
        let tensors = [
            f32s("a", &[100_000], &numbers(base)),
            ("b", "F16", &[1], half),
        ];
        origin_of(folder.write(&base.to_string(), &safetensors(&tensors)))
    });
    let layout = Layout::new(vec![
        ("b".into(), "F16".into(), vec![1]),
        ("a".into(), "F32".into(), vec![100_000]),
    ]);
    let (layout, cancel) = (layout.unwrap(), Cancel::default());
    let origins: Vec<&Origin> = sources.iter().collect();
    write_one(&folder, &layout, &origins, &cancel).unwrap();
    let mut out = vec![0.0; 2 * layout.dim()];
    read_rows(&layout, &origins, &mut out, &cancel).unwrap();
    assert_eq!(floats(&Shard::open(&folder.path("shard")).unwrap()), out);
    let text = read_rows(&layout, &origins, &mut out[1..], &cancel).unwrap_err();
    assert_eq!(
        text.to_string(),
        "out has 200001 numbers; accepted: 2 × 100001"
    );
}

#[test]
fn several_shards_are_written_side_by_side() {
    let folder = Folder::new();
    let layout = layout_of(&[("a", 3)]);
    let sources: Vec<Origin> = (0..5)
        .map(|i| {
            let tensors = [f32s("a", &[3], &[i as f32, 0.5, -2.0])];
            origin_of(folder.write(&format!("s{i}"), &safetensors(&tensors)))
        })
        .collect();
    let paths = ["x", "y", "z"].map(|name| folder.path(name));
    let rows = [0..1, 1..4, 4..5];
    let parts: Vec<Part<'_>> = paths
        .iter()
        .zip(&rows)
        .map(|(path, rows)| Part {
            path,
            origins: sources[rows.clone()].iter().collect(),
        })
        .collect();
    let written = write_shards(&parts, &layout, Precision::F32, &Cancel::default()).unwrap();
    for ((path, rows), written) in paths.iter().zip(rows).zip(written) {
        let shard = Shard::open(path).unwrap();
        let expected: Vec<f32> = rows.clone().flat_map(|i| [i as f32, 0.5, -2.0]).collect();
        assert_eq!(floats(&shard), expected);
        assert_eq!(written.rows.len(), rows.len());
        assert_eq!(
            written.digest,
            crate::fingerprint::digest(&fs::read(path).unwrap())
        );
    }
}

#[test]
fn rows_are_stored_in_half_the_bytes() {
    let folder = Folder::new();
    let layout = layout_of(&[("a", 3)]);
    let source = origin_of(folder.write("s", &safetensors(&[f32s("a", &[3], &[1.0, 1.001, 1e5])])));
    let path = folder.path("shard");
    let parts = [Part {
        path: &path,
        origins: vec![&source, &source],
    }];
    let cancel = Cancel::default();
    write_shards(&parts, &layout, Precision::BF16, &cancel).unwrap();
    let shard = Shard::open(&path).unwrap();
    assert_eq!(
        (shard.precision(), shard.rows(), shard.bytes().len()),
        (Precision::BF16, 2, 12)
    );
    let rounded = [1.0, 1.001, 1e5].map(|v| bf16::from_f32(v).to_f32());
    assert_eq!(floats(&shard), rounded.repeat(2));
    let text = write_shards(&parts, &layout, Precision::F16, &cancel)
        .unwrap_err()
        .to_string();
    assert!(text.contains("s: 1 values are too large for F16"), "{text}");
    assert_eq!(
        Shard::open(&path).unwrap().precision(),
        Precision::BF16,
        "the old one stays"
    );
}

#[test]
fn narrow_rows_that_meet_within_a_block_are_whole() {
    let folder = Folder::new();
    let count = BLOCK + 1001;
    let values: Vec<f32> = (0..count).map(|i| (i % 256) as f32).collect();
    let source = origin_of(folder.write("s", &safetensors(&[f32s("a", &[count], &values)])));
    let path = folder.path("shard");
    let parts = [Part {
        path: &path,
        origins: vec![&source; 3],
    }];
    let (layout, cancel) = (layout_of(&[("a", count)]), Cancel::default());
    let written = write_shards(&parts, &layout, Precision::BF16, &cancel).unwrap();
    assert_eq!(floats(&Shard::open(&path).unwrap()), values.repeat(3));
    let digest = crate::fingerprint::digest(&fs::read(&path).unwrap());
    assert_eq!(written[0].digest, digest);
}

#[test]
fn a_value_too_large_for_the_type_is_refused_with_its_file_wherever_it_is() {
    let folder = Folder::new();
    let mut values = vec![0.0; BLOCK + 1001];
    values[0] = 1e5;
    let shape = [values.len()];
    let source = origin_of(folder.write("s", &safetensors(&[f32s("a", &shape, &values)])));
    let path = folder.path("shard");
    let parts = [Part {
        path: &path,
        origins: vec![&source],
    }];
    let (layout, cancel) = (layout_of(&[("a", values.len())]), Cancel::default());
    let text = write_shards(&parts, &layout, Precision::F16, &cancel)
        .unwrap_err()
        .to_string();
    assert!(text.contains("s: 1 values are too large for F16"), "{text}");
    assert_eq!(folder.names(), ["s"]);
}

#[test]
fn a_source_on_another_file_system_gives_the_same_shard() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return; // there is none
    };
    let folder = Folder::new();
    let values: Vec<f32> = (0..BLOCK).map(|i| i as f32).collect();
    let bytes = safetensors(&[f32s("a", &[1], &[0.5]), f32s("b", &[BLOCK], &values)]);
    let layout = layout_of(&[("a", 1), ("b", BLOCK)]);
    let there = elsewhere.path().join("s");
    fs::write(&there, &bytes).unwrap();
    let digests = [folder.write("s", &bytes), there].map(|source| {
        let rows = write(&folder, &layout, &[source.clone(), source]).unwrap();
        (rows, fs::read(folder.path("shard")).unwrap())
    });
    assert_eq!(digests[0], digests[1]);
}
