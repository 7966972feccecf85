//! Finds the tensors of one network in the object of a torch file: in one dictionary, or in several.
//!
//! Objects, which only code could make, may stand beside it. Where the weights themselves are in one, the file is
//! refused.

mod array;
mod candidates;
mod code;
mod entries;
mod objects;
mod pick;
pub mod rest;
pub mod roles;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::declared::{Choice, Format, Storage, Tensor, Weights};
use super::json::METADATA;
use super::pickle::{Fault, Id, Node, StorageRef, Values};
use crate::dtype::element_count;

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

/// Finds the dictionaries of tensors in `object` and takes those that are wanted.
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
    let picked = pick::pick(values, &found, choice)?;
    let parts: Vec<&Found<'_>> = picked.parts.iter().map(|&index| &found[index]).collect();
    if let Some(code) = parts[0].code {
        return Err(code::instead_of_data(values, &found, parts[0], code));
    }
    let mut filling = Filling {
        weights: Weights {
            format: container.format,
            keys: picked.root,
            parts: parts
                .iter()
                .map(|part| part.candidate.keys.clone())
                .collect(),
            inside: picked.inside,
            averaged: parts.iter().any(|part| pick::is_averaged(part))
                != pick::is_exchanged(values, &found),
            candidates: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
            passed_over: Vec::new(),
            left_out: Vec::new(),
            rest: rest::Rest::default(),
            numbers: numbers(values, object),
            metadata: Vec::new(),
        },
        values,
        container,
        budget: Budget::new(container.file_len, values.bytes_read()),
        storages: HashMap::new(),
        places: array::Places::default(),
    };
    for (index, part) in parts.iter().enumerate() {
        filling.fill(part, index)?;
    }
    filling.budget.check(&filling.weights.tensors)?;
    let mut weights = filling.weights;
    for (index, found) in found.iter().enumerate() {
        let is_data = found.code.is_none() && !picked.parts.contains(&index);
        if found.beside && found.only_arrays {
            continue; // data of another kind, as any value beside the weights
        }
        if is_data && found.beside {
            let beside = entries(values, found.dict).texts;
            let tensors = beside
                .iter()
                .filter(|(_, value)| candidates::is_weights_beside(values, *value));
            weights
                .left_out
                .extend(tensors.map(|(name, _)| (*name).to_owned()));
        } else if is_data {
            weights.passed_over.push(found.candidate.key());
        }
    }
    take_roles(&mut weights, choice);
    weights.rest = rest::rest(values, object, &weights.parts);
    if choice.key.is_none() && choice.ema == Some(true) && !weights.averaged {
        return Err(format!("no averaged (EMA) weights; {}", pick::listed(&found)).into());
    }
    weights.left_out.extend(code::passed_over(values));
    let data = found.into_iter().filter(|found| found.code.is_none());
    weights.candidates = data.map(|found| found.candidate).collect();
    Ok(weights)
}

/// Leaves out, in each dictionary, the names of which others are averages, or the averages.
pub fn take_roles(weights: &mut Weights, choice: &Choice) {
    if choice.is_shard {
        return;
    }
    let mut kept = Vec::with_capacity(weights.tensors.len());
    for tensors in weights.tensors.chunk_by(|a, b| a.part == b.part) {
        let numbers = |t: &Tensor| match &*t.shape {
            [] => 0,
            shape => element_count(shape).unwrap_or_default() as u64,
        };
        let names: Vec<(&str, u64)> = tensors
            .iter()
            .map(|t| (&*t.source_name, numbers(t)))
            .collect();
        let found = roles::inside(&names, choice.ema != Some(false));
        kept.extend(tensors.iter().map(|t| !found.replaces(&t.source_name)));
        weights.averaged |= found.averaged;
        let keys = &weights.parts[tensors[0].part];
        let key = |begin: &String| {
            [keys, &[begin[..begin.len() - 1].to_owned()][..]]
                .concat()
                .join(".")
        };
        weights.passed_over.extend(found.replaced.iter().map(key));
    }
    let mut kept = kept.into_iter();
    weights.tensors.retain(|_| kept.next() != Some(false));
}

/// Weights whose tensors are being taken from the chosen dictionaries.
struct Filling<'v, 'a> {
    weights: Weights,
    values: &'v Values<'a>,
    container: &'v Container<'v>,
    budget: Budget,
    /// Indices of the storages of tensors, by their keys.
    storages: HashMap<&'v str, usize>,
    places: array::Places,
}

impl<'v> Filling<'v, '_> {
    /// Takes the tensors of a dictionary, and the storages that they are views of.
    fn fill(&mut self, found: &Found<'v>, part: usize) -> Result<(), Fault> {
        let values = self.values;
        if let Some((name, object)) = found.coded {
            return Err(code::in_data(values, name, object));
        }
        for (name, value) in entries(values, found.dict).texts {
            let wrong = |what| format!("the tensor {name:?} {what}");
            if !name.starts_with(&self.weights.inside) {
                continue;
            }
            if found.beside && !candidates::is_weights_beside(values, value) {
                if matches!(values.node(value), Node::Tensor(_) | Node::Unreadable(_)) {
                    self.weights.left_out.push(name.to_owned());
                }
                continue;
            }
            let (view, storage) = match values.node(value) {
                Node::Tensor(index) => {
                    check_name(name)?;
                    let tensor = &values.tensors[*index as usize];
                    let view = view(values, tensor, &mut self.budget).map_err(wrong)?;
                    let stored = &values.storages[tensor.storage as usize];
                    (view, self.placed(stored)?)
                }
                Node::Array(index) => {
                    check_name(name)?;
                    let array = &values.arrays[*index as usize];
                    let to = (&self.container.pickle, &mut self.weights);
                    array::view(values, array, &mut self.budget, &mut self.places, to)
                        .map_err(wrong)?
                }
                Node::Unreadable(why) => return Err(unreadable(name, why).into()),
                _ => {
                    self.weights.left_out.push(name.to_owned());
                    continue;
                }
            };
            self.weights.tensors.push(Tensor {
                name: name.to_owned(),
                source_name: name.to_owned(),
                part,
                dtype: view.dtype,
                shape: view.shape,
                storage,
                offset: view.offset,
                strides: view.strides,
            });
        }
        Ok(())
    }

    /// The index of a storage of tensors, which is found in the container the first time.
    fn placed(&mut self, stored: &StorageRef) -> Result<usize, String> {
        let (values, weights) = (self.values, &mut self.weights);
        let key = values.text(stored.key).unwrap_or_default();
        let storage = match self.storages.entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let place = (self.container.place)(values, stored)?;
                weights.storages.push(place);
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
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains('\0') || name == METADATA {
        return Err(format!(
            "tensor name {name:?} is refused; accepted: text but {METADATA:?} that is not empty and has no NUL"
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
