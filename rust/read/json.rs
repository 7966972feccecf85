//! Parses the JSON of safetensors headers, refusing duplicate keys at every level.
//!
//! A header may have 100 MB. It becomes tensors in one pass, so that memory stays a small multiple of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// More axes than torch allows; bounds what a hostile shape can allocate.
const MAX_NUMBERS: usize = 64;
/// What a safetensors file has free text under, so that no tensor can have the name.
pub const METADATA: &str = "__metadata__";

/// A header as it is written, not yet validated.
#[derive(Debug, Default)]
pub struct RawHeader {
    /// Name and fields of each tensor, in the order of the file; names may repeat.
    pub tensors: Vec<(String, RawTensor)>,
    /// The free text under `__metadata__`, each key once.
    pub metadata: Vec<(String, String)>,
}

/// The three fields of a tensor.
#[derive(Debug, Default)]
pub struct RawTensor {
    /// The element type, by name.
    pub dtype: Option<String>,
    /// Axis sizes.
    pub shape: Option<Vec<u64>>,
    /// Begin and end, relative to the data.
    pub offsets: Option<Vec<u64>>,
    /// A field that should not be there, or has a value of another type.
    pub unexpected: Option<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Map(PhantomData::<Self>))
    }
}

impl<'de> Deserialize<'de> for RawTensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Map(PhantomData::<Self>))
    }
}

/// Something that is built from the entries of an object.
trait FromEntries<'de>: Sized {
    fn read<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

struct Map<T>(PhantomData<T>);

impl<'de, T: FromEntries<'de>> Visitor<'de> for Map<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(map)
    }
}

impl<'de> FromEntries<'de> for RawHeader {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut header = Self::default();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != METADATA {
                header.tensors.push((name, map.next_value()?));
            } else if metadata.is_none() {
                metadata = Some(map.next_value::<Texts>()?.0);
            } else {
                return Err(duplicate(METADATA));
            }
        }
        header.metadata = metadata.unwrap_or_default();
        Ok(header)
    }
}

impl<'de> FromEntries<'de> for RawTensor {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut tensor = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            let (slot, value) = (key.as_str(), map.next_value()?);
            let twice = match (slot, value) {
                ("dtype", Field::Text(text)) => tensor.dtype.replace(text).is_some(),
                ("shape", Field::Numbers(sizes)) => tensor.shape.replace(sizes).is_some(),
                ("data_offsets", Field::Numbers(pair)) => tensor.offsets.replace(pair).is_some(),
                _ => {
                    tensor.unexpected = Some(key);
                    continue;
                }
            };
            if twice {
                return Err(duplicate(&key));
            }
        }
        Ok(tensor)
    }
}

/// The entries of `__metadata__`.
struct Texts(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Map(PhantomData::<Self>))
    }
}

impl<'de> FromEntries<'de> for Texts {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entries: Vec<(String, String)> = Vec::new();
        while let Some((key, field)) = map.next_entry::<String, Field>()? {
            let Field::Text(value) = field else {
                return Err(A::Error::custom(format!(
                    "{METADATA} has a list under {key:?}; accepted: a string"
                )));
            };
            entries.push((key, value));
        }
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(duplicate(twice[0])),
            None => Ok(Self(entries)),
        }
    }
}

fn duplicate<E: Error>(key: &str) -> E {
    E::custom(format!("duplicate key {key:?}"))
}

/// The two kinds of value that an inner object of the header may hold.
#[derive(Debug)]
enum Field {
    Text(String),
    Numbers(Vec<u64>),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of non-negative integers")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            if numbers.len() == MAX_NUMBERS {
                return Err(A::Error::custom(format!(
                    "a list of more than {MAX_NUMBERS} numbers"
                )));
            }
            numbers.push(number);
        }
        Ok(Field::Numbers(numbers))
    }
}
