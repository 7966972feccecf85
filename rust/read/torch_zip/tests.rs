use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::read::checkpoint::Checkpoint;
use crate::read::declared::Candidate;
use crate::read::fixture::reading::{self, check_prefixes, check_refused, check_storages};
use crate::read::fixture::{
    self, Value, ZipEntry, dict, storage, text, torch, torch_entries, vector, view, zip,
};
use crate::testing::Folder;

fn read(source: &Source, choice: &Choice, cancel: &Cancel) -> Result<Weights> {
    super::read(source, choice, &mut Room::default(), cancel)
}

fn open(bytes: &[u8]) -> Result<Weights, String> {
    reading::open(read, bytes)
}

#[track_caller]
fn refused(bytes: &[u8], fragment: &str) {
    check_refused(open(bytes), fragment);
}

fn object() -> Value {
    dict(&[("w", vector("0", 3)), ("b", vector("k.1", 2))])
}

const STORAGES: [(&str, &[u8]); 2] = [("0", b"aaaabbbbcccc"), ("k.1", b"ddddeeee")];

/// A file with one entry changed.
fn forged(at: usize, change: impl FnOnce(&mut ZipEntry)) -> Vec<u8> {
    let mut entries = torch_entries(&object(), &STORAGES);
    change(&mut entries[at]);
    zip(&entries)
}

#[test]
fn storages_are_entries_of_the_archive() {
    let bytes = torch(&object(), &STORAGES);
    let weights = open(&bytes).unwrap();
    let candidate = Candidate {
        keys: Vec::new(),
        tensors: 2,
        numbers: 5,
    };
    assert_eq!(weights.candidates, [candidate]);
    let data = STORAGES.map(|(_, data)| data);
    check_storages(&weights, &bytes, Format::Torch, &data);
    let recorded: Vec<_> = weights.storages.iter().map(|s| s.crc).collect();
    assert_eq!(recorded, data.map(|data| Some(crc32fast::hash(data))));
}

#[test]
fn records_are_checked() {
    refused(
        &forged(0, |entry| entry.crc ^= 1),
        r#""archive/data.pkl" is damaged"#,
    );
    refused(
        &forged(1, |entry| entry.crc ^= 1),
        r#""archive/byteorder" is damaged"#,
    );
    let big = |entry: &mut ZipEntry| *entry = ZipEntry::new("archive/byteorder", b"big");
    refused(&forged(1, big), r#"byte order "big"; accepted: "little""#);
    let long = |entry: &mut ZipEntry| *entry = ZipEntry::new("archive/byteorder", &[b' '; 65]);
    refused(&forged(1, long), "has 65 bytes; accepted: at most 64");
    refused(&forged(2, |entry| entry.method = 8), "is compressed");
    let other = |entry: &mut ZipEntry| *entry = ZipEntry::new("archive/data/1", b"aaaabbbbcccc");
    refused(
        &forged(2, other),
        r#"the storage "0" is not in the zip archive"#,
    );
    let short = |entry: &mut ZipEntry| *entry = ZipEntry::new("archive/data/0", b"aaaabbbb");
    refused(
        &forged(2, short),
        r#"the storage "0" has 8 bytes in the zip archive; accepted: 12"#,
    );
}

#[test]
fn other_archives_are_named() {
    let with = |name: &str| {
        let mut entries = torch_entries(&object(), &STORAGES);
        entries.push(ZipEntry::new(name, b""));
        zip(&entries)
    };
    refused(&with("archive/constants.pkl"), "TorchScript");
    refused(&with("archive/code/a.py"), "--i-trust-this-file");
    refused(&with("other/data.pkl"), "two entries data.pkl");
    open(&with("archive/x/data.pkl")).unwrap();
    let only = |name: &str| zip(&[ZipEntry::new(name, b"")]);
    refused(&only("arr_0.npy"), "a NumPy archive");
    refused(&only("m/model.json"), "an old TorchScript archive");
    refused(&only("readme.txt"), "a zip archive without data.pkl");
}

#[test]
fn a_requested_stop_ends_reading() {
    // Part of a storage, whose CRC is verified first; and elements that lie apart.
    for object in [
        view(storage("FloatStorage", "0", 3), 0, &[2], &[1]),
        view(storage("FloatStorage", "0", 3), 0, &[2], &[2]),
    ] {
        let folder = Folder::new();
        let object = dict(&[("w", object)]);
        let path = folder.write("a.pt", &torch(&object, &STORAGES[..1]));
        let (cancel, stop) = (Cancel::default(), Cancel::default());
        let files = [path];
        let checkpoint = Checkpoint::open(&files, &Choice::default(), &cancel).unwrap();
        let tensor = checkpoint.find("w").unwrap();
        stop.request();
        let reader = checkpoint.reader(tensor, &stop);
        assert!(matches!(reader, Err(Error::Interrupted)));
        assert_eq!(checkpoint.bytes(tensor, &cancel).unwrap().len(), 8);
        let opened = Checkpoint::open(&files, &Choice::default(), &stop);
        assert!(matches!(opened, Err(Error::Interrupted)));
    }
}

#[test]
fn keys_of_storages_are_no_paths() {
    let object = dict(&[("w", vector("../../x", 1))]);
    open(&torch(&object, &[("../../x", b"aaaa")])).unwrap();
    refused(
        &torch(&object, &[]),
        r#"the storage "../../x" is not in the zip archive"#,
    );
}

#[test]
fn every_prefix_is_refused() {
    check_prefixes(read, &torch(&object(), &STORAGES));
}

/// Dictionaries or lists that hold the one before ten times, so that all of them are 10^levels.
fn bomb(levels: u8, is_dict: bool) -> Value {
    let (empty, fill) = if is_dict { (b'}', b'u') } else { (b']', b'e') };
    let mut code = vec![empty, b'q', 0];
    for level in 0..levels {
        // What is in the memo is taken from the stack.
        code.extend([b'0', empty, b'(']);
        for key in b'0'..=b'9' {
            if is_dict {
                code.extend([b'U', 1, key]);
            }
            code.extend([b'h', level]);
        }
        code.extend([fill, b'q', level + 1]);
    }
    Value::Raw(code)
}

/// A megabyte of text that is the key of a hundred thousand entries.
fn one_long_key() -> Value {
    let mut code = b"}(".to_vec();
    let key = text(&"k".repeat(1 << 16)).pickle();
    code.extend(&key[2..key.len() - 1]);
    code.extend(b"q\x00N");
    code.extend(b"h\x00N".repeat(100_000));
    code.push(b'u');
    Value::Raw(code)
}

#[test]
fn bombs_of_shared_values_end_quickly() {
    let begin = Instant::now();
    refused(&torch(&bomb(100, true), &[]), "share others");
    let lists = dict(&[("l", bomb(60, false)), ("w", vector("0", 1))]);
    let weights = open(&torch(&lists, &[("0", b"aaaa")])).unwrap();
    assert_eq!(weights.left_out, ["l"]);
    let mut deep = b"]".repeat(3000);
    deep.extend(b"a".repeat(2999));
    let lists = dict(&[("l", Value::Raw(deep)), ("w", vector("0", 1))]);
    refused(&torch(&lists, &[("0", b"aaaa")]), "no weights found");
    let circle = dict(&[("a", Value::Raw(b"}q\x00U\x01xh\x00s".to_vec()))]);
    refused(&torch(&circle, &[]), "no weights found");
    refused(&torch(&one_long_key(), &[]), "share others or long keys");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn objects_other_than_dictionaries_are_named() {
    refused(
        &torch(&vector("0", 1), &[("0", b"aaaa")]),
        "no weights found: it holds a tensor",
    );
    let other = dict(&[("optimizer", object()), ("epoch", Value::Int(1))]);
    refused(
        &torch(&other, &STORAGES),
        r#"a dictionary with the keys ["optimizer", "epoch"]"#,
    );
    let system = Value::Global("posix", "system");
    let call = Value::Reduce(
        Box::new(system),
        Box::new(Value::Tuple(vec![text("touch x")])),
    );
    refused(
        &torch(&call, &[]),
        r#"holds code, not only data (global "posix.system")"#,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_panics_after_a_change(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = torch(&object(), &STORAGES);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(weights) = open(&bytes) {
            let folder = Folder::new();
            let source = Source::open(&folder.write("a.pt", &bytes)).unwrap();
            for storage in &weights.storages {
                if let Ok(range) = storage.resolve(&source) {
                    prop_assert!(range.end <= bytes.len() as u64);
                }
            }
        }
    }

    #[test]
    fn pickles_with_changes_do_not_panic(changes in proptest::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut pickle = object().pickle();
        for (at, byte) in changes {
            let at = at.index(pickle.len());
            pickle[at] = byte;
        }
        let mut entries = torch_entries(&object(), &STORAGES);
        entries[0] = ZipEntry::new("archive/data.pkl", &pickle);
        let _ = open(&fixture::zip(&entries));
    }
}
