//! Builds pickles, zip archives and torch files for the tests, without the code under test.

pub mod reading;

/// A value of a pickle.
#[derive(Clone)]
pub enum Value {
    /// Opcodes as they are.
    Raw(Vec<u8>),
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Global(&'static str, &'static str),
    Reduce(Box<Value>, Box<Value>),
    Persistent(Box<Value>),
}

use Value::{Dict, Global, Int, None as Nothing, Persistent, Reduce, Text, Tuple};

pub fn text(text: &str) -> Value {
    Text(text.to_owned())
}

pub fn dict(entries: &[(&str, Value)]) -> Value {
    let entry = |(key, value): &(&str, Value)| (text(key), value.clone());
    Dict(entries.iter().map(entry).collect())
}

pub fn call(module: &'static str, name: &'static str, arguments: Vec<Value>) -> Value {
    Reduce(Box::new(Global(module, name)), Box::new(Tuple(arguments)))
}

pub fn ints(values: &[i64]) -> Value {
    Tuple(values.iter().map(|&value| Int(value)).collect())
}

/// A persistent id, as torch writes it.
pub fn storage(class: &'static str, key: &str, numel: i64) -> Value {
    let class = Global("torch", class);
    let fields = vec![text("storage"), class, text(key), text("cpu"), Int(numel)];
    Persistent(Box::new(Tuple(fields)))
}

/// A view of a storage, as torch writes it.
pub fn view(storage: Value, offset: i64, shape: &[i64], strides: &[i64]) -> Value {
    let hooks = call("collections", "OrderedDict", vec![]);
    let (shape, strides) = (ints(shape), ints(strides));
    let arguments = vec![
        storage,
        Int(offset),
        shape,
        strides,
        Value::Bool(false),
        hooks,
    ];
    call("torch._utils", "_rebuild_tensor_v2", arguments)
}

/// An F32 tensor of one axis that is all of a storage.
pub fn vector(key: &str, numel: i64) -> Value {
    view(storage("FloatStorage", key, numel), 0, &[numel], &[1])
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let sized = |out: &mut Vec<u8>, code: u8, bytes: &[u8]| {
            out.push(code);
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::Raw(code) => out.extend(code),
            Nothing => out.push(b'N'),
            Self::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
            Int(value) => {
                out.extend([0x8a, 8]);
                out.extend(value.to_le_bytes());
            }
            Self::Float(value) => {
                out.push(b'G');
                out.extend(value.to_be_bytes());
            }
            Text(text) => sized(out, b'X', text.as_bytes()),
            Self::Bytes(bytes) => sized(out, b'B', bytes),
            Tuple(items) => {
                out.push(b'(');
                items.iter().for_each(|item| item.write(out));
                out.push(b't');
            }
            Self::List(items) => {
                out.extend(b"](");
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            Dict(entries) => {
                out.extend(b"}(");
                for (key, value) in entries {
                    key.write(out);
                    value.write(out);
                }
                out.push(b'u');
            }
            Global(module, name) => out.extend(format!("c{module}\n{name}\n").bytes()),
            Reduce(callable, arguments) => {
                callable.write(out);
                arguments.write(out);
                out.push(b'R');
            }
            Persistent(id) => {
                id.write(out);
                out.push(b'Q');
            }
        }
    }

    /// The pickle of the value.
    pub fn pickle(&self) -> Vec<u8> {
        let mut out = vec![0x80, 2];
        self.write(&mut out);
        out.push(b'.');
        out
    }
}

/// An entry of an archive; every field can be forged.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: String,
    pub local_name: String,
    pub data: Vec<u8>,
    pub crc: u32,
    pub method: u16,
    pub flags: u16,
    pub len: u32,
    pub stored: u32,
    pub header: Option<u32>,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
}

impl ZipEntry {
    pub fn new(name: &str, data: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            local_name: name.to_owned(),
            data: data.to_vec(),
            crc: crc32fast::hash(data),
            method: 0,
            flags: 0,
            len: data.len() as u32,
            stored: data.len() as u32,
            header: None,
            extra: Vec::new(),
            local_extra: b"FB\x02\0ZZ".to_vec(),
        }
    }

    fn write_local(&self, out: &mut Vec<u8>) {
        out.extend(b"PK\x03\x04\0\0");
        out.extend(self.flags.to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend([0; 16]);
        out.extend((self.local_name.len() as u16).to_le_bytes());
        out.extend((self.local_extra.len() as u16).to_le_bytes());
        out.extend(self.local_name.bytes());
        out.extend(&self.local_extra);
        out.extend(&self.data);
    }

    fn write_central(&self, header: u32, out: &mut Vec<u8>) {
        out.extend(b"PK\x01\x02\0\0\0\0");
        out.extend(self.flags.to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.crc.to_le_bytes());
        out.extend(self.stored.to_le_bytes());
        out.extend(self.len.to_le_bytes());
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend((self.extra.len() as u16).to_le_bytes());
        out.extend([0; 10]);
        out.extend(self.header.unwrap_or(header).to_le_bytes());
        out.extend(self.name.bytes());
        out.extend(&self.extra);
    }
}

/// An archive with the end record as `end` leaves it.
pub fn zip_with(entries: &[ZipEntry], end: impl FnOnce(&mut Vec<u8>, u32)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut headers = Vec::new();
    for entry in entries {
        headers.push(out.len() as u32);
        entry.write_local(&mut out);
    }
    let begin = out.len() as u32;
    for (entry, header) in entries.iter().zip(headers) {
        entry.write_central(header, &mut out);
    }
    let len = out.len() as u32 - begin;
    let mut record = b"PK\x05\x06\0\0\0\0".to_vec();
    let count = (entries.len() as u16).to_le_bytes();
    record.extend([count, count].concat());
    record.extend(len.to_le_bytes());
    record.extend(begin.to_le_bytes());
    record.extend([0; 2]);
    end(&mut record, out.len() as u32);
    out.extend(record);
    out
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_with(entries, |_, _| {})
}

/// The entries of a torch file.
pub fn torch_entries(object: &Value, storages: &[(&str, &[u8])]) -> Vec<ZipEntry> {
    let mut entries = vec![
        ZipEntry::new("archive/data.pkl", &object.pickle()),
        ZipEntry::new("archive/byteorder", b"little"),
    ];
    let data = |(key, bytes): &(&str, &[u8])| ZipEntry::new(&format!("archive/data/{key}"), bytes);
    entries.extend(storages.iter().map(data));
    entries
}

/// A torch file.
pub fn torch(object: &Value, storages: &[(&str, &[u8])]) -> Vec<u8> {
    zip(&torch_entries(object, storages))
}

/// A legacy torch file of storages of elements of 4 bytes.
pub fn legacy(object: &Value, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let mut out = Value::Raw(magic.to_vec()).pickle();
    out.extend(Int(1001).pickle());
    out.extend(dict(&[("little_endian", Value::Bool(true))]).pickle());
    out.extend(object.pickle());
    let keys = storages.iter().map(|(key, _)| text(key)).collect();
    out.extend(Value::List(keys).pickle());
    for (_, bytes) in storages {
        out.extend((bytes.len() as u64 / 4).to_le_bytes());
        out.extend(*bytes);
    }
    out
}
