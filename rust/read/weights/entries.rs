//! Reads the entries of a dictionary as Python has them: a pickle may assign to one key twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::read::pickle::{Id, Values};

/// The entries of a dictionary as Python has them: of equal keys the last value, in the first place.
pub struct Entries<'v> {
    /// Those whose key is a text.
    pub texts: Vec<(&'v str, Id)>,
    /// Whether those are all.
    pub only_texts: bool,
}

/// The entries of `dict`, none if it is no dictionary.
pub fn entries<'v>(values: &'v Values<'_>, dict: Id) -> Entries<'v> {
    let pairs = values.pairs(dict).unwrap_or_default();
    let mut texts = Vec::with_capacity(pairs.len());
    let mut places = HashMap::with_capacity(pairs.len());
    let mut only_texts = true;
    for &(key, value) in pairs {
        let Some(key) = values.text(key) else {
            only_texts = false;
            continue;
        };
        match places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(texts.len());
                texts.push((key, value));
            }
            Entry::Occupied(place) => texts[*place.get()].1 = value,
        }
    }
    Entries { texts, only_texts }
}
