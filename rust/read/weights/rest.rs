//! Writes down what stands beside the weights in a torch file, as far as it is plain values.
//!
//! It is JSON in which a tuple is `{"tuple": [...]}`, a dictionary `{"dict": [[key, value], ...]}`, and an
//! `OrderedDict` `{"ordered": ...}`; NaN and infinities are as Python writes them.

use std::collections::HashSet;

use super::entries::entries;
use crate::read::pickle::{Id, Kind, Node, Values};

/// Bytes of the text; there is none of what takes more.
const MAX_BYTES: usize = 1 << 20;
/// Values that are looked at: shared ones can seem to be many.
const MAX_LOOKS: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
/// Names of what is left out that are kept.
const MAX_NAMES: usize = 100;

/// What stands beside weights.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The object of the file without tensors; `None` if it is too large.
    pub text: Option<String>,
    /// Keys of entries that the text lacks, since they are no plain values or hold tensors.
    pub lost: Vec<String>,
}

/// What is not written, and why.
enum Lost {
    /// A value that only code could make, or one that JSON has no word for.
    Value,
    /// A tensor, or what holds one: without it the rest of that means something else.
    Tensor,
    /// It would take too long.
    All,
}

/// Writes down `object`, in which the dictionaries of weights are at these `paths`.
pub fn rest(values: &Values<'_>, object: Id, paths: &[Vec<String>]) -> Rest {
    let around = |path: &Vec<String>| {
        (0..=path.len())
            .map(|len| path[..len].to_vec())
            .collect::<Vec<_>>()
    };
    let mut writer = Writer {
        values,
        text: String::new(),
        lost: Vec::new(),
        looks: 0,
        weights: paths.iter().cloned().collect(),
        outer: paths.iter().flat_map(around).collect(),
    };
    let written = writer.outer(object, &mut Vec::new());
    Rest {
        text: written.is_ok().then_some(writer.text),
        lost: writer.lost,
    }
}

struct Writer<'v, 'a> {
    values: &'v Values<'a>,
    text: String,
    lost: Vec<String>,
    looks: usize,
    /// Paths of dictionaries of weights, whose tensors are not missed.
    weights: HashSet<Vec<String>>,
    /// Paths of these and of the dictionaries around them, whose entries are written one by one.
    outer: HashSet<Vec<String>>,
}

impl Writer<'_, '_> {
    /// Writes a dictionary that weights are in or below, entry by entry.
    fn outer(&mut self, dict: Id, path: &mut Vec<String>) -> Result<(), Lost> {
        let is_weights = self.weights.contains(path);
        self.open(dict);
        for (key, value) in entries(self.values, dict).texts {
            path.push(key.to_owned());
            let begin = self.begin_entry();
            let written = self.string(key).and_then(|()| {
                self.text.push(',');
                match self.values.pairs(value) {
                    Some(_) if self.outer.contains(path) => self.outer(value, path),
                    _ => self.value(value, 0),
                }
            });
            let name = path.join(".");
            path.pop();
            match written {
                Ok(()) => self.text.push(']'),
                Err(Lost::All) => return Err(Lost::All),
                Err(lost) => {
                    self.text.truncate(begin);
                    if !(is_weights && matches!(lost, Lost::Tensor)) && self.lost.len() < MAX_NAMES
                    {
                        self.lost.push(name);
                    }
                }
            }
        }
        self.text.push_str("]}");
        Ok(())
    }

    /// Writes any other value; what is left of it in the text if it is lost is the caller's to remove.
    fn value(&mut self, id: Id, depth: usize) -> Result<(), Lost> {
        self.looks += 1;
        if self.looks > MAX_LOOKS || self.text.len() > MAX_BYTES {
            return Err(Lost::All);
        }
        if depth == MAX_DEPTH {
            return Err(Lost::Value);
        }
        let values = self.values;
        match values.node(id) {
            Node::None => self.text.push_str("null"),
            Node::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Node::Int(value) => self.text.push_str(&value.to_string()),
            Node::Float(value) if value.is_nan() => self.text.push_str("NaN"),
            Node::Float(value) if value.is_infinite() => {
                let text = if *value > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                self.text.push_str(text);
            }
            Node::Float(value) => self.text.push_str(&format!("{value:?}")),
            Node::Text(_) => self.string(values.text(id).unwrap_or_default())?,
            Node::Tuple(items) => {
                self.text.push_str("{\"tuple\":");
                self.items(items, depth)?;
                self.text.push('}');
            }
            _ if values.class(id) == Some(Kind::Other) => return Err(Lost::Value),
            Node::List(items) => self.items(items, depth)?,
            Node::Dict(pairs) => self.dict(id, pairs, depth)?,
            Node::Tensor(_) | Node::Unreadable(_) | Node::Storage(_) | Node::Array(_) => {
                return Err(Lost::Tensor);
            }
            _ => return Err(Lost::Value),
        }
        Ok(())
    }

    fn items(&mut self, items: &[Id], depth: usize) -> Result<(), Lost> {
        self.text.push('[');
        for (place, &item) in items.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.value(item, depth + 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    /// Writes a dictionary without the entries that are no plain values; with none if one holds tensors.
    fn dict(&mut self, id: Id, pairs: &[(Id, Id)], depth: usize) -> Result<(), Lost> {
        self.open(id);
        for &(key, value) in pairs {
            let begin = self.begin_entry();
            let written = self.value(key, depth + 1).and_then(|()| {
                self.text.push(',');
                self.value(value, depth + 1)
            });
            match written {
                Ok(()) => self.text.push(']'),
                Err(Lost::Value) => {
                    self.text.truncate(begin);
                    if self.lost.len() < MAX_NAMES {
                        self.lost
                            .push(self.values.text(key).unwrap_or("a key").to_owned());
                    }
                }
                Err(lost) => return Err(lost),
            }
        }
        self.text.push_str("]}");
        Ok(())
    }

    fn open(&mut self, dict: Id) {
        let ordered = self.values.class(dict) == Some(Kind::Ordered);
        self.text.push_str(if ordered {
            "{\"ordered\":["
        } else {
            "{\"dict\":["
        });
    }

    /// Begins an entry of a dictionary, and gives the length of the text before it.
    fn begin_entry(&mut self) -> usize {
        let begin = self.text.len();
        self.text
            .push_str(if self.text.ends_with('[') { "[" } else { ",[" });
        begin
    }

    fn string(&mut self, text: &str) -> Result<(), Lost> {
        if text.len() > MAX_BYTES {
            return Err(Lost::All);
        }
        let json = serde_json::to_string(text).map_err(|_| Lost::Value)?;
        self.text.push_str(&json);
        Ok(())
    }
}
