use proptest::prelude::*;

use super::*;
use crate::read::fixture::reading::{self, check_prefixes, check_refused, check_storages};
use crate::read::fixture::{Value, call, dict, ints, legacy, storage, text, vector, view};

fn open(bytes: &[u8]) -> Result<Weights, String> {
    reading::open(read, bytes)
}

#[track_caller]
fn refused(bytes: &[u8], fragment: &str) {
    check_refused(open(bytes), fragment);
}

fn object() -> Value {
    dict(&[("w", vector("94", 3)), ("b", vector("17", 2))])
}

/// In the order of the keys, which is not that of the tensors.
const STORAGES: [(&str, &[u8]); 2] = [("17", b"ddddeeee"), ("94", b"aaaabbbbcccc")];

#[test]
fn storages_follow_the_pickles() {
    let bytes = legacy(&object(), &STORAGES);
    let weights = open(&bytes).unwrap();
    let data = [STORAGES[1].1, STORAGES[0].1];
    check_storages(&weights, &bytes, Format::TorchLegacy, &data);
    assert!(weights.storages.iter().all(|s| s.crc.is_none()));
}

#[test]
fn magic_numbers_of_every_protocol() {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let frame = b"\x80\x04\x95\x0d\0\0\0\0\0\0\0";
    assert!(is_legacy(&[b"\x80\x02", &magic[..]].concat()));
    assert!(is_legacy(&[frame, &magic[..]].concat()));
    assert!(is_legacy(b"L119547037146038801333356L\n.M"));
    assert!(!is_legacy(&[frame, &magic[1..]].concat()));
    for prefix in [
        &b""[..],
        b"\x80",
        b"\x80\x02",
        b"\x80\x04\x95\x0d",
        b"PK\x03\x04",
    ] {
        assert!(!is_legacy(prefix));
    }
}

#[test]
fn views_of_storages_are_views_of_what_they_are_in() {
    let viewed = |offset, numel, size| {
        let Value::Persistent(id) = storage("FloatStorage", "94", 3) else {
            unreachable!()
        };
        let Value::Tuple(mut fields) = *id else {
            unreachable!()
        };
        let window = vec![text("95"), Value::Int(offset), Value::Int(numel)];
        fields.push(Value::Tuple(window));
        let id = Value::Persistent(Box::new(Value::Tuple(fields)));
        let object = dict(&[("w", view(id, 1, &[size], &[1]))]);
        legacy(&object, &STORAGES[1..])
    };
    let weights = open(&viewed(1, 2, 1)).unwrap();
    assert_eq!(weights.tensors[0].offset, 8);
    refused(&viewed(0, 2, 2), "reaches beyond its storage of 8 bytes");
    refused(&viewed(2, 2, 1), "wrong persistent id");
}

#[test]
fn the_pickles_before_the_object_are_checked() {
    let whole = legacy(&object(), &STORAGES);
    let change = |from: &[u8], to: &[u8]| {
        let at = whole
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let version = 1001_i64.to_le_bytes();
    refused(
        &change(&version, &1002_i64.to_le_bytes()),
        "another version; accepted: 1001",
    );
    refused(&change(b"endian\x88", b"endian\x89"), "not little-endian");
    refused(
        &change(b"little_endian", b"brittle_endia"),
        "not little-endian",
    );
}

#[test]
fn storages_must_fill_the_file() {
    let bytes = legacy(&object(), &STORAGES);
    refused(&[&bytes[..], b"x"].concat(), "followed by trailing bytes");
    refused(
        &bytes[..bytes.len() - 1],
        r#"truncated: the storage "94" takes 12 bytes"#,
    );
    refused(
        &legacy(&object(), &STORAGES[..1]),
        r#"the storage "94" is not in the file"#,
    );
    let unknown = [STORAGES[0], STORAGES[1], ("5", b"")];
    refused(
        &legacy(&object(), &unknown),
        r#"the storage "5" belongs to no tensor"#,
    );
    let twice = [STORAGES[0], STORAGES[0], STORAGES[1]];
    refused(&legacy(&object(), &twice), r#""17" is there twice"#);
    let short = [STORAGES[1], ("17", b"dddd")];
    refused(&legacy(&object(), &short), "truncated");
    let mut forged = bytes.clone();
    let at = bytes.len() - 12 - 8;
    forged[at] = 4;
    refused(&forged, "announces 4 elements; accepted: 3");
    let huge = dict(&[("w", vector("94", i64::MAX / 4)), ("b", vector("17", 2))]);
    refused(&legacy(&huge, &STORAGES), "truncated");
}

#[test]
fn one_storage_has_one_size() {
    let other = view(storage("DoubleStorage", "94", 3), 0, &[1], &[1]);
    let both = dict(&[("w", vector("94", 3)), ("x", other)]);
    refused(&legacy(&both, &STORAGES[1..]), "with 12 and with 24 bytes");
}

#[test]
fn every_prefix_is_refused() {
    check_prefixes(read, &legacy(&object(), &STORAGES));
}

#[test]
fn code_is_refused() {
    let object = call("posix", "system", vec![ints(&[1])]);
    refused(&legacy(&object, &[]), r#"(global "posix.system")"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_panics_after_a_change(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = legacy(&object(), &STORAGES);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = open(&bytes);
    }
}
