//! Finds the tensors of one dictionary in the object of a torch file.

mod candidates;
mod pick;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;

use super::declared::{Choice, Format, Storage, Tensor, Weights};
use super::json::METADATA;
use super::pickle::{Id, Node, StorageRef, Values};

use candidates::{Found, entries};
use view::{Budget, view};

/// What the reader of a container knows and the pickle does not.
pub struct Container<'a> {
    /// What kind of file it is.
    pub format: Format,
    /// Bytes in the file.
    pub file_len: u64,
    /// Finds the bytes of a storage, and checks that there are as many as the pickle says.
    pub place: &'a dyn Fn(&Values<'_>, &StorageRef) -> Result<Storage, String>,
}

/// Finds the dictionaries of tensors in `object` and takes the one that is wanted.
///
/// Fails with a message that says what is wrong; the caller knows the file.
pub fn choose(
    values: &Values<'_>,
    object: Id,
    choice: &Choice,
    container: &Container<'_>,
) -> Result<Weights, String> {
    let found = candidates::find(values, object)?;
    if found.is_empty() {
        return Err(nothing(values, object));
    }
    let chosen = &found[pick::pick(&found, choice)?];
    let mut weights = Weights {
        format: container.format,
        keys: chosen.candidate.keys.clone(),
        averaged: pick::is_averaged(chosen),
        candidates: Vec::new(),
        storages: Vec::new(),
        tensors: Vec::new(),
        left_out: Vec::new(),
        numbers: numbers(values, object),
        metadata: Vec::new(),
    };
    fill(&mut weights, values, chosen, container)?;
    weights.candidates = found.into_iter().map(|found| found.candidate).collect();
    Ok(weights)
}

/// Takes the tensors of the chosen dictionary, and the storages that they are views of.
fn fill(
    weights: &mut Weights,
    values: &Values<'_>,
    chosen: &Found<'_>,
    container: &Container<'_>,
) -> Result<(), String> {
    let mut budget = Budget::new(container.file_len, values.bytes_read());
    let mut storages = HashMap::new();
    for (name, value) in entries(values, chosen.dict).texts {
        let reference = match values.node(value) {
            Node::Tensor(index) => &values.tensors[*index as usize],
            Node::Unreadable(why) => return Err(unreadable(name, why)),
            _ => {
                weights.left_out.push(name.to_owned());
                continue;
            }
        };
        check_name(name)?;
        let stored = &values.storages[reference.storage as usize];
        let view = view(values, reference, &mut budget)
            .map_err(|what| format!("the tensor {name:?} {what}"))?;
        let key = values.text(stored.key).unwrap_or_default();
        let storage = *match storages.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                weights.storages.push((container.place)(values, stored)?);
                new.insert(weights.storages.len() - 1)
            }
        };
        let len = weights.storages[storage].len;
        if len != stored.bytes {
            return Err(format!(
                "the storage {key:?} is used with {len} and with {} bytes; accepted: one size",
                stored.bytes
            ));
        }
        weights.tensors.push(Tensor {
            name: name.to_owned(),
            source_name: name.to_owned(),
            dtype: view.dtype,
            shape: view.shape,
            storage,
            offset: view.offset,
            strides: view.strides,
        });
    }
    budget.check(&weights.tensors)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains('\0') || name == METADATA {
        return Err(format!(
            "tensor name {name:?} is refused; accepted: any text without NUL but {METADATA:?}"
        ));
    }
    Ok(())
}

fn unreadable(name: &str, why: &str) -> String {
    format!("the tensor {name:?} is {why}; accepted: dense tensors with their data")
}

/// Plain numbers of the top level: accuracy, epoch, step.
fn numbers(values: &Values<'_>, object: Id) -> Vec<(String, f64)> {
    let number = |value| match values.node(value) {
        Node::Int(value) => Some(*value as f64),
        Node::Float(value) => value.is_finite().then_some(*value),
        _ => None,
    };
    let pairs = values.pairs(object).unwrap_or_default();
    // Which values count is dear to find out, and a state dict has none.
    if pairs.iter().all(|&(_, value)| number(value).is_none()) {
        return Vec::new();
    }
    let named = |(name, value): (&str, Id)| Some((name.to_owned(), number(value)?));
    let texts = entries(values, object).texts;
    texts.into_iter().filter_map(named).collect()
}

/// What a file without weights holds instead.
fn nothing(values: &Values<'_>, object: Id) -> String {
    const SHOWN: usize = 8;
    const LONGEST: usize = 60;
    let mut holds = values.kind(object).to_owned();
    if let Some(pairs) = values.pairs(object) {
        let texts = entries(values, object).texts;
        let key =
            |(key, _): &(&str, Id)| format!("{:?}", key.chars().take(LONGEST).collect::<String>());
        let keys: Vec<String> = texts.iter().take(SHOWN).map(key).collect();
        let more = if texts.len() > SHOWN { ", ..." } else { "" };
        let is_other = |&&(key, _): &&(Id, Id)| values.text(key).is_none();
        let others = match pairs.iter().filter(is_other).count() {
            0 => String::new(),
            1 => " and 1 key that is no valid text".into(),
            count => format!(" and {count} keys that are no valid text"),
        };
        holds = format!("{holds} with the keys [{}{more}]{others}", keys.join(", "));
    }
    format!("no weights found: it holds {holds}; accepted: a dictionary from names to tensors")
}
