use super::*;
use crate::read::fixture::reading::check_refused;
use crate::read::fixture::{ZipEntry, zip, zip_with};
use crate::testing::Folder;

fn open(bytes: &[u8]) -> Result<Archive, String> {
    let folder = Folder::new();
    let source = Source::open(&folder.write("a.pt", bytes)).unwrap();
    let archive = Archive::read(&source).map_err(|error| error.to_string())?;
    archive.check_stored()?;
    Ok(archive)
}

#[track_caller]
fn refused(bytes: &[u8], fragment: &str) {
    check_refused(open(bytes), fragment);
}

fn two() -> Vec<ZipEntry> {
    vec![
        ZipEntry::new("r/a", b"first"),
        ZipEntry::new("r/b", b"second"),
    ]
}

/// Changes the second of two entries.
fn forged(change: impl FnOnce(&mut ZipEntry)) -> Vec<u8> {
    let mut entries = two();
    change(&mut entries[1]);
    zip(&entries)
}

/// The data of the entry called `r/b`, both ways.
fn second(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let folder = Folder::new();
    let source = Source::open(&folder.write("a.pt", bytes)).unwrap();
    let archive = Archive::read(&source).map_err(|error| error.to_string())?;
    let entry = archive.find("r/b").unwrap();
    let storage = archive.storage(entry);
    let range = storage.resolve(&source);
    let loaded = archive.load(&source, entry, 100);
    let range = range.map_err(|error| error.to_string())?;
    let mut data = vec![0; (range.end - range.start) as usize];
    source.read_exact_at(&mut data, range.start).unwrap();
    let (loaded, begin) = loaded.map_err(|error| error.to_string())?;
    assert_eq!(&loaded[begin..], data);
    Ok(data)
}

#[test]
fn entries_are_found_by_name_and_located_by_their_headers() {
    let archive = open(&zip(&two())).unwrap();
    let entry = archive.find("r/b").unwrap();
    assert_eq!((entry.len, entry.crc), (6, crc32fast::hash(b"second")));
    assert!(archive.find("r/c").is_none());
    assert_eq!(archive.storage(entry).crc, Some(entry.crc));
    assert_eq!(second(&zip(&two())).unwrap(), b"second");
    let far = forged(|entry| entry.local_extra = vec![0; 5000]);
    assert_eq!(second(&far).unwrap(), b"second");
    assert!(open(&zip(&[])).unwrap().entries.is_empty());
}

#[test]
fn archives_without_checksums_have_none() {
    let mut entries = two();
    entries.iter_mut().for_each(|entry| entry.crc = 0);
    let archive = open(&zip(&entries)).unwrap();
    assert_eq!(archive.storage(&archive.entries[0]).crc, None);
    assert_eq!(second(&zip(&entries)).unwrap(), b"second");
}

#[test]
fn damage_is_noticed() {
    let message = second(&forged(|entry| entry.crc ^= 1)).unwrap_err();
    assert!(message.contains(r#""r/b" is damaged"#), "{message}");
}

#[test]
fn only_plain_entries_are_accepted() {
    refused(
        &forged(|entry| entry.method = 8),
        r#""r/b" is compressed (method 8)"#,
    );
    refused(&forged(|entry| entry.flags = 1), r#""r/b" is encrypted"#);
    refused(
        &forged(|entry| entry.len = 7),
        "stored in 6 bytes but announces 7",
    );
    refused(
        &forged(|entry| entry.name = "r/a".into()),
        r#""r/a" is there twice"#,
    );
}

#[test]
fn entries_must_not_overlap() {
    let size = |size| forged(move |entry| (entry.len, entry.stored) = (size, size));
    refused(&size(7 + 6), "reaches beyond byte");
    refused(&size(u32::MAX - 1), "reaches beyond byte");
    refused(
        &forged(|entry| entry.header = Some(0)),
        "reaches beyond byte",
    );
    refused(
        &forged(|entry| entry.header = Some(u32::MAX - 1)),
        "reaches beyond byte",
    );
    let mut entries = two();
    (entries[0].len, entries[0].stored) = (100, 100);
    refused(
        &zip(&entries),
        r#""r/a" (100 bytes from byte 0) reaches beyond"#,
    );
}

#[test]
fn local_headers_must_agree() {
    for forge in [
        (|entry| entry.local_name = "r/c".into()) as fn(&mut ZipEntry),
        |entry| entry.local_name = "r/bb".into(),
        |entry| entry.header = Some(42),
    ] {
        let message = second(&forged(forge)).unwrap_err();
        assert!(message.contains("has a malformed header"), "{message}");
    }
    let mut bytes = zip(&two());
    let at = bytes.windows(4).rposition(|w| w == b"PK\x03\x04").unwrap();
    bytes[at + 8] = 8;
    assert!(second(&bytes).unwrap_err().contains("is compressed"));
    bytes[at + 8] = 0;
    bytes[at + 28] = 200;
    assert!(
        second(&bytes)
            .unwrap_err()
            .contains("where something else begins")
    );
}

#[test]
fn sizes_of_more_than_32_bits_are_in_an_extra_field() {
    let wide = |len: u64, stored: u64| {
        forged(move |entry| {
            (entry.len, entry.stored) = (u32::MAX, u32::MAX);
            entry.extra = [
                &[9, 0, 1, 0, 0, 1, 0, 16, 0][..],
                &len.to_le_bytes(),
                &stored.to_le_bytes(),
            ]
            .concat();
        })
    };
    assert_eq!(second(&wide(6, 6)).unwrap(), b"second");
    refused(&wide(u64::MAX, u64::MAX), "reaches beyond byte");
    refused(&forged(|entry| entry.len = u32::MAX), "an entry is cut off");
}

/// The zip64 records before an end record.
fn zip64(end: &mut Vec<u8>, at: u32) {
    let wide = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let count = u64::from(end[10]).to_le_bytes();
    let mut record = b"PK\x06\x06\x2c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    record.extend([0; 8]);
    record.extend([count, count, wide(12).to_le_bytes(), wide(16).to_le_bytes()].concat());
    record.extend(b"PK\x06\x07\0\0\0\0");
    record.extend(u64::from(at).to_le_bytes());
    record.extend([1, 0, 0, 0]);
    record.extend(end.as_slice());
    *end = record;
}

#[test]
fn zip64_records_are_read_and_must_agree() {
    assert_eq!(second(&zip_with(&two(), zip64)).unwrap(), b"second");
    let saturated = zip_with(&two(), |end, at| {
        zip64(end, at);
        let narrow = end.len() - 22;
        end[narrow + 8..narrow + 20].fill(0xff);
    });
    assert_eq!(second(&saturated).unwrap(), b"second");
    let other = zip_with(&two(), |end, at| {
        zip64(end, at);
        end[40] += 1;
    });
    refused(&other, "its two end records differ");
    let elsewhere = zip_with(&two(), |end, at| {
        zip64(end, at);
        end[56 + 8] += 1;
    });
    refused(&elsewhere, "its zip64 record is not at the end");
}

#[test]
fn end_records_are_unambiguous() {
    let commented = zip_with(&two(), |end, _| {
        end[20] = 3;
        end.extend(b"abc");
    });
    assert_eq!(second(&commented).unwrap(), b"second");
    let ambiguous = zip_with(&two(), |end, _| {
        end[20] = 25;
        let mut inner = end.clone();
        inner[20] = 3;
        end.extend(inner);
        end.extend(b"abc");
    });
    refused(&ambiguous, "it has two end records");
    refused(&[&zip(&two())[..], b"x"].concat(), "no end record");
    refused(
        &[b"x", &zip(&two())[..]].concat(),
        "not where the end record says",
    );
    refused(b"PK\x03\x04", "no end record");
    refused(&zip_with(&two(), |end, _| end[4] = 1), "in several parts");
    refused(
        &zip_with(&two(), |end, _| end[12] += 1),
        "not where the end record says",
    );
    let count = |count: u16| {
        zip_with(&two(), move |end, _| {
            end[8..10].copy_from_slice(&count.to_le_bytes());
            end[10..12].copy_from_slice(&count.to_le_bytes());
        })
    };
    refused(&count(1), "announces 1 entries and has 2");
    refused(&count(60000), "60000 entries in");
}

#[test]
fn every_prefix_is_refused() {
    let whole = zip(&two());
    for len in 0..whole.len() {
        assert!(open(&whole[..len]).is_err(), "{len}");
    }
}
