//! Parses the JSON of safetensors headers, refusing duplicate keys at every level.
//!
//! A header may have 100 MB. Its tensors are handed over one by one, with texts that are parts of the header, so
//! that memory stays a small multiple of it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// More axes than torch allows; bounds what a hostile shape can allocate.
const MAX_NUMBERS: usize = 64;
/// Entries of free text, each of which takes far more memory than bytes.
const MAX_TEXTS: usize = 100_000;
/// What a safetensors file has free text under, so that no tensor can have the name.
pub const METADATA: &str = "__metadata__";

/// The three fields of a tensor as they are written, not yet validated.
#[derive(Debug, Default)]
pub struct RawTensor<'de> {
    /// The element type, by name.
    pub dtype: Option<Cow<'de, str>>,
    /// Axis sizes.
    pub shape: Option<Vec<u64>>,
    /// Begin and end, relative to the data.
    pub offsets: Option<Vec<u64>>,
    /// A field that should not be there, or has a value of another type.
    pub unexpected: Option<Cow<'de, str>>,
}

/// The free text under `__metadata__`, each key once.
pub type Metadata = Vec<(String, String)>;

/// Parses a header: gives each tensor to `tensor`, in the order of the file, and returns the free text. Names of
/// tensors may repeat.
pub fn parse<'de>(
    json: &'de [u8],
    tensor: impl FnMut(Cow<'de, str>, RawTensor<'de>),
) -> serde_json::Result<Metadata> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let metadata = Header(tensor).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(metadata)
}

struct Header<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, RawTensor<'de>)> DeserializeSeed<'de> for Header<F> {
    type Value = Metadata;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Metadata, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Cow<'de, str>, RawTensor<'de>)> Visitor<'de> for Header<F> {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AN_OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Metadata, A::Error> {
        let mut metadata = None;
        while let Some(Text(name)) = map.next_key()? {
            if name != METADATA {
                (self.0)(name, map.next_value()?);
            } else if metadata.is_none() {
                metadata = Some(map.next_value::<Texts>()?.0);
            } else {
                return Err(duplicate(METADATA));
            }
        }
        Ok(metadata.unwrap_or_default())
    }
}

const AN_OBJECT: &str = "an object";

/// A string that is a part of the header, unless it has escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for RawTensor<'de> {
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
        f.write_str(AN_OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(map)
    }
}

impl<'de> FromEntries<'de> for RawTensor<'de> {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut tensor = Self::default();
        while let Some(Text(key)) = map.next_key()? {
            let twice = match (&*key, map.next_value()?) {
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
struct Texts(Metadata);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Map(PhantomData::<Self>))
    }
}

impl<'de> FromEntries<'de> for Texts {
    fn read<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entries = Metadata::new();
        while let Some((key, field)) = map.next_entry::<String, Field>()? {
            let Field::Text(value) = field else {
                return Err(A::Error::custom(format!(
                    "{METADATA} has a list under {key:?}; accepted: a string"
                )));
            };
            if entries.len() == MAX_TEXTS {
                return Err(A::Error::custom(format!(
                    "{METADATA} has more than {MAX_TEXTS} entries"
                )));
            }
            entries.push((key, value.into_owned()));
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
enum Field<'de> {
    Text(Cow<'de, str>),
    Numbers(Vec<u64>),
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of non-negative integers")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field<'de>, A::Error> {
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
