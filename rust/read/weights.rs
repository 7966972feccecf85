//! Finds the tensors of one dictionary in the object of a torch file.
//!
//! Objects, which only code could make, may stand beside it. Where the weights themselves are in one, the file is
//! refused.

mod array;
mod candidates;
mod code;
mod entries;
mod objects;
mod pick;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::declared::{Choice, Format, Storage, Tensor, Weights};
use super::json::METADATA;
use super::pickle::{Fault, Id, Node, StorageRef, Values};

use candidates::Found;
use entries::entries;
use view::{Budget, view};

/// What the reader of a container knows and the pickle does not.
pub struct Container<'a> {
    /// What kind of file it is.
    pub format: Format,
    /// Bytes in the file.
    pub file_len: u64,
    /// The bytes that the pickles are in, which NumPy arrays are parts of.
    pub pickle: Storage,
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
) -> Result<Weights, Fault> {
    let found = candidates::find(values, object)?;
    if found.iter().all(|found| found.code.is_some()) {
        return Err(code::no_data(values, &found).unwrap_or_else(|| nothing(values, object).into()));
    }
    let chosen = &found[pick::pick(&found, choice)?];
    if let Some(code) = chosen.code {
        return Err(code::instead_of_data(values, &found, chosen, code));
    }
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
    weights.left_out.extend(code::passed_over(values));
    let data = found.into_iter().filter(|found| found.code.is_none());
    weights.candidates = data.map(|found| found.candidate).collect();
    Ok(weights)
}

/// Takes the tensors of the chosen dictionary, and the storages that they are views of.
fn fill(
    weights: &mut Weights,
    values: &Values<'_>,
    chosen: &Found<'_>,
    container: &Container<'_>,
) -> Result<(), Fault> {
    if let Some((name, object)) = chosen.coded {
        return Err(code::in_data(values, name, object));
    }
    let mut budget = Budget::new(container.file_len, values.bytes_read());
    let mut storages = HashMap::new();
    let mut places = array::Places::default();
    for (name, value) in entries(values, chosen.dict).texts {
        let wrong = |what| format!("the tensor {name:?} {what}");
        let (view, storage) = match values.node(value) {
            Node::Tensor(index) => {
                check_name(name)?;
                let tensor = &values.tensors[*index as usize];
                let view = view(values, tensor, &mut budget).map_err(wrong)?;
                let stored = &values.storages[tensor.storage as usize];
                (
                    view,
                    placed(weights, &mut storages, values, stored, container)?,
                )
            }
            Node::Array(index) => {
                check_name(name)?;
                let array = &values.arrays[*index as usize];
                let to = (&container.pickle, &mut *weights);
                array::view(values, array, &mut budget, &mut places, to).map_err(wrong)?
            }
            Node::Unreadable(why) => return Err(unreadable(name, why).into()),
            _ => {
                weights.left_out.push(name.to_owned());
                continue;
            }
        };
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
    Ok(budget.check(&weights.tensors)?)
}

/// The index of a storage of tensors, which is found in the container the first time.
fn placed<'v>(
    weights: &mut Weights,
    storages: &mut HashMap<&'v str, usize>,
    values: &'v Values<'_>,
    stored: &StorageRef,
    container: &Container<'_>,
) -> Result<usize, String> {
    let key = values.text(stored.key).unwrap_or_default();
    let storage = match storages.entry(key) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) => {
            weights.storages.push((container.place)(values, stored)?);
            *new.insert(weights.storages.len() - 1)
        }
    };
    let len = weights.storages[storage].len;
    if len != stored.bytes {
        return Err(format!(
            "the storage {key:?} is used with {len} and with {} bytes; accepted: one size",
            stored.bytes
        ));
    }
    Ok(storage)
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
