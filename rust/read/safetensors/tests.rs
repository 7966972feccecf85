use std::fs::File;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::{Folder, Tensor, f32s, safetensors};

const TWO: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                      "b":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}"#;

fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

#[track_caller]
fn refused(json: &str, data_len: u64, fragment: &str) {
    let message = Header::parse(json.as_bytes(), data_len).unwrap_err();
    assert!(message.contains(fragment), "{json}: {message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn tensors_come_in_the_order_of_their_bytes() {
    let json = r#"{"b":{"data_offsets":[4,12],"shape":[2,2],"dtype":"BF16"},
        "__metadata__":{"step":"7","accuracy":"0.9712"},
        "empty":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]},
        "a.weight":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#;
    let header = Header::parse(json.as_bytes(), 12).unwrap();
    let names: Vec<&str> = header.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "empty", "b"]);
    let base = 8 + json.len() as u64;
    let b = &header.tensors[2];
    assert_eq!((b.begin, b.end), (base + 4, base + 12));
    assert_eq!((b.dtype.name(), &b.shape[..]), ("BF16", &[2, 2][..]));
    let metadata = [("step", "7"), ("accuracy", "0.9712")];
    assert_eq!(header.metadata, metadata.map(|(k, v)| (k.into(), v.into())));
}

#[test]
fn a_file_without_tensors_is_fine() {
    assert!(Header::parse(b"{}", 0).unwrap().tensors.is_empty());
    refused("{}", 1, "followed by trailing bytes");
}

#[test]
fn headers_that_are_not_json_objects_are_refused() {
    refused("", 0, "does not begin with `{`");
    refused(" {}", 0, "does not begin with `{`");
    refused("[]", 0, "does not begin with `{`");
    refused("{", 0, "malformed safetensors header");
    refused("{}}", 0, "trailing characters");
    refused("{}\0", 0, "trailing characters");
    refused(r#"{"a":1}"#, 0, "expected an object");
    refused(r#"{"a":[]}"#, 0, "expected an object");
    refused(r#"{"a":{"dtype":{}}}"#, 0, "expected a string or a list");
    let deep = format!(r#"{{"a":{{"shape":{}"#, "[".repeat(100_000));
    refused(&deep, 0, "malformed safetensors header");
}

#[test]
fn duplicate_keys_are_refused_at_every_level() {
    let a = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    refused(&format!("{{{a},{a}}}"), 1, r#"duplicate key "a""#);
    let twice = r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    refused(twice, 1, r#"duplicate key "dtype""#);
    let metadata = r#"{"__metadata__":{"x":"1","x":"1"}}"#;
    refused(metadata, 0, r#"duplicate key "x""#);
    refused(
        r#"{"__metadata__":{},"__metadata__":{}}"#,
        0,
        "duplicate key",
    );
}

#[test]
fn fields_must_be_those_of_the_format() {
    refused(&one("F31", "[1]", "[0,4]"), 4, r#"unknown dtype "F31""#);
    refused(&one("F32", "[1.0]", "[0,4]"), 4, "malformed");
    refused(&one("F32", "[-1]", "[0,4]"), 4, "malformed");
    refused(&one("F32", "\"1\"", "[0,4]"), 4, r#"unexpected "shape""#);
    refused(
        &one("F32", "[1]", "[0]"),
        4,
        "needs data_offsets [begin, end]",
    );
    refused(
        &one("F32", "[1]", "[0,4,4]"),
        4,
        "needs data_offsets [begin, end]",
    );
    let axes = format!("[{}1]", "1,".repeat(64));
    refused(&one("F32", &axes, "[0,4]"), 4, "more than 64 numbers");
    refused(
        r#"{"a":{"shape":[],"data_offsets":[0,4]}}"#,
        4,
        "has no dtype",
    );
    refused(
        r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#,
        4,
        "has no shape",
    );
    refused(r#"{"a":{"dtype":"F32","x":[]}}"#, 4, r#"unexpected "x""#);
    refused(r#"{"__metadata__":{"x":[1]}}"#, 0, "accepted: a string");
    refused(
        r#"{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
        0,
        "name \"\" is refused",
    );
    refused("{\"a\\u0000\":{}}", 0, r#"name "a\0" is refused"#);
}

#[test]
fn offsets_must_match_dtype_and_shape() {
    refused(&one("F32", "[2]", "[0,4]"), 4, "F32 [2] takes 8 bytes");
    refused(&one("F32", "[]", "[4,0]"), 4, "data_offsets [4, 0]");
    refused(&one("F4", "[3]", "[0,2]"), 2, "overflows");
    refused(
        &one("F64", "[4611686018427387904]", "[0,0]"),
        0,
        "overflows",
    );
    refused(
        &one("U8", "[18446744073709551615,2,0]", "[0,0]"),
        0,
        "overflows",
    );
    let far = "[18446744073709551600,18446744073709551604]";
    refused(&one("F32", "[]", far), 4, "ends beyond any file");
}

#[test]
fn tensors_must_cover_the_data() {
    Header::parse(TWO.as_bytes(), 16).unwrap();
    refused(TWO, 15, "truncated");
    refused(TWO, 17, "followed by trailing bytes");
    refused(
        &TWO.replace("[8,16]", "[4,12]"),
        12,
        "overlaps the tensor before it",
    );
    refused(
        &TWO.replace("[8,16]", "[0,8]"),
        8,
        "overlaps the tensor before it",
    );
    refused(
        &TWO.replace("[8,16]", "[9,17]"),
        17,
        "leaves a hole before it",
    );
    refused(
        &TWO.replace("[0,8]", "[16,24]"),
        24,
        "leaves a hole before it",
    );
}

#[track_caller]
fn file_refused(folder: &Folder, bytes: &[u8], fragment: &str) {
    let path = folder.write("model.safetensors", bytes);
    let text = read(&path).unwrap_err().to_string();
    assert!(text.contains("model.safetensors: "), "{text}");
    assert!(text.contains(fragment), "{text}");
}

fn read(path: &Path) -> Result<Header> {
    Header::read(&Source::open(path)?)
}

#[test]
fn files_of_other_kinds_are_refused() {
    let folder = Folder::new();
    file_refused(&folder, b"", "it has 0 bytes");
    file_refused(&folder, b"1234567", "it has 7 bytes");
    file_refused(
        &folder,
        &[255; 20],
        r"not a safetensors or torch file (it begins with b'\xff\xff\xff\xff\xff\xff\xff\xff')",
    );
    file_refused(
        &folder,
        &[3, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'],
        "accepted: at most 2",
    );
}

#[test]
fn a_header_over_the_limit_is_refused_before_it_is_read() {
    let folder = Folder::new();
    let path = folder.write("a", &(MAX_HEADER + 1).to_le_bytes());
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(2 * MAX_HEADER).unwrap();
    let text = read(&path).unwrap_err().to_string();
    assert!(text.contains("accepted: at most 100000000"), "{text}");
}

#[test]
fn every_truncation_is_refused() {
    let folder = Folder::new();
    let whole = safetensors(&[f32s("a", &[2, 3], &[1.0; 6]), ("b", "BOOL", &[1], vec![1])]);
    assert_eq!(read(&folder.write("a", &whole)).unwrap().tensors.len(), 2);
    for length in 0..whole.len() {
        assert!(
            read(&folder.write("a", &whole[..length])).is_err(),
            "{length}"
        );
    }
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::hash_set(r#"[a-c."\\\né/]{1,5}"#, 0..6)
        .prop_map(|names| names.into_iter().collect())
}

proptest! {
    #[test]
    fn valid_files_are_read_back(names in names(), sizes in prop::collection::vec(0_usize..4, 18)) {
        let shapes: Vec<&[usize]> = sizes.chunks(3).collect();
        let tensors: Vec<Tensor<'_>> = names
            .iter()
            .zip(&shapes)
            .map(|(name, &shape)| {
                (name.as_str(), "I16", shape, vec![7; shape.iter().product::<usize>() * 2])
            })
            .collect();
        let escaped = safetensors(&tensors);
        let length = u64::from_le_bytes(escaped[..8].try_into().unwrap()) as usize;
        let (json, data) = escaped[8..].split_at(length);
        // Rust's escapes of these names are JSON's too.
        let header = Header::parse(json, data.len() as u64).unwrap();
        prop_assert_eq!(header.tensors.len(), names.len());
        for (name, dtype, shape, bytes) in tensors {
            let found = header.tensors.iter().find(|t| t.name == name).unwrap();
            prop_assert_eq!(found.dtype.name(), dtype);
            prop_assert_eq!(&found.shape, shape);
            prop_assert_eq!(found.end - found.begin, bytes.len() as u64);
        }
    }

    #[test]
    fn mutations_never_panic_and_never_break_the_rules(
        edits in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..5),
        data_len in 0_u64..40,
    ) {
        let mut json = TWO.as_bytes().to_vec();
        for (at, edit) in edits {
            let at = at.index(json.len());
            let removed = usize::from(edit.1);
            json.splice(at..(at + removed).min(json.len()), edit.0);
            if json.is_empty() {
                json.push(b'{');
            }
        }
        if let Ok(header) = Header::parse(&json, data_len) {
            let covered: u64 = header.tensors.iter().map(|t| t.end - t.begin).sum();
            prop_assert_eq!(covered, data_len);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(json in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Header::parse(&json, 8);
    }
}

/// Bytes to insert, and whether they replace the byte that is there.
fn mutation() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let likely = prop::sample::select(&br#"{}[]",:0189-.eF"#[..]);
    let byte = prop_oneof![3 => likely, 1 => any::<u8>()];
    (prop::collection::vec(byte, 0..3), any::<bool>())
}
