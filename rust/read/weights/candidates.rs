//! Finds the dictionaries of tensors in an object, which may nest them beside training state.

use std::collections::HashMap;

use super::entries::{Entries, entries};
use super::objects::Role;
use crate::read::declared::Candidate;
use crate::read::pickle::{Id, Node, Values};

const MAX_DEPTH: usize = 8;
/// Longest key that is followed, so that a list of candidates cannot outgrow the file.
const MAX_KEY: usize = 1024;
/// Dictionaries can be shared, so that few values seem to be many. This many looks at entries are
/// free, and so are this many for each value.
const FREE_VISITS: usize = 10_000;
const VISITS_PER_VALUE: usize = 4;
pub(super) const MAX_CANDIDATES: usize = 1000;
/// Bytes of a key that cost nothing extra, and of the longest one.
const FREE_KEY: usize = 256;
const LONGEST_KEY: usize = 1 << 16;
/// Parts of keys under which the tensors are not weights.
const NOT_WEIGHTS: [&str; 7] = [
    "optim",
    "sched",
    "scaler",
    "rng",
    "random_state",
    "callbacks",
    "loops",
];
/// How torch ends the key of what a module saves beside its tensors.
const EXTRA_STATE: &str = "_extra_state";

/// A candidate and where it is.
pub struct Found<'v> {
    /// The keys that lead to it.
    pub path: Vec<&'v str>,
    /// The dictionary.
    pub dict: Id,
    /// What the caller gets to know.
    pub candidate: Candidate,
    /// The first of the tensors in it that only code could make, by its name.
    pub coded: Option<(&'v str, Id)>,
    /// Whether all of them are NumPy arrays: data of other kinds are too.
    pub only_arrays: bool,
    /// Whether they stand beside dictionaries of tensors, so that scalars are counters and metrics.
    pub beside: bool,
    /// Numbers in those that are no scalars.
    pub bulk: u64,
    /// The object that it would be, if it is none but holds tensors.
    pub code: Option<Id>,
}

/// All candidates, outer ones first.
pub fn find<'v>(values: &'v Values<'_>, object: Id) -> Result<Vec<Found<'v>>, String> {
    let mut search = Search {
        values,
        found: Vec::new(),
        visits: 0,
        searched: Vec::new(),
        counted: Vec::new(),
        below: HashMap::new(),
        names: 0,
    };
    search.visit(object, &mut Vec::new())?;
    Ok(search.found)
}

/// A search for candidates.
pub(super) struct Search<'v, 'a> {
    pub(super) values: &'v Values<'a>,
    found: Vec<Found<'v>>,
    visits: usize,
    /// Whether containers hold tensors, where that is known; a search in circles ends here.
    pub(super) searched: Vec<Option<bool>>,
    /// Values that an object holds whose tensors were counted.
    pub(super) counted: Vec<bool>,
    /// What was counted below each object.
    pub(super) below: HashMap<Id, (usize, u64)>,
    /// Names of objects that were looked at, which takes a while.
    pub(super) names: usize,
}

impl<'v> Search<'v, '_> {
    fn visit(&mut self, dict: Id, path: &mut Vec<&'v str>) -> Result<(), String> {
        let Some(pairs) = self.values.pairs(dict) else {
            return self.visit_object(dict, path);
        };
        let longest = pairs
            .iter()
            .map(|&(key, _)| self.values.text_len(key))
            .max();
        if let Some(len) = longest.filter(|&len| len > LONGEST_KEY) {
            return Err(format!(
                "a key or name of {len} bytes; accepted: at most {LONGEST_KEY}"
            ));
        }
        // Entries can share one long key.
        let cost = |&(key, _): &(Id, Id)| 1 + self.values.text_len(key) / FREE_KEY;
        self.visits += 1 + pairs.iter().map(cost).sum::<usize>();
        let most = FREE_VISITS + VISITS_PER_VALUE * self.values.nodes();
        if self.visits > most {
            return Err(format!(
                "dictionaries that share others or long keys, with more than {most} entries in all; \
                 accepted: weights"
            ));
        }
        let entries = entries(self.values, dict);
        if let Some(found) = self.candidate(dict, &entries, path) {
            let beside = found.beside;
            self.add(found)?;
            if !beside {
                return Ok(());
            }
        }
        if path.len() == MAX_DEPTH {
            return Ok(());
        }
        for (key, value) in entries.texts {
            if is_followed(key, path) {
                path.push(key);
                self.visit(value, path)?;
                path.pop();
            }
        }
        Ok(())
    }

    fn add(&mut self, found: Found<'v>) -> Result<(), String> {
        if self.found.len() == MAX_CANDIDATES {
            return Err(format!(
                "more than {MAX_CANDIDATES} dictionaries of tensors; accepted: fewer"
            ));
        }
        self.found.push(found);
        Ok(())
    }

    /// An object, which holds a network perhaps.
    fn visit_object(&mut self, object: Id, path: &[&'v str]) -> Result<(), String> {
        if !self.may_be_weights(object) {
            return Ok(());
        }
        let (tensors, numbers) = self.count_below(object);
        if tensors == 0 {
            return Ok(());
        }
        self.add(Found {
            path: path.to_vec(),
            dict: object,
            candidate: Candidate {
                keys: path.iter().map(|&key| key.to_owned()).collect(),
                tensors,
                numbers,
            },
            coded: None,
            only_arrays: false,
            beside: false,
            bulk: numbers,
            code: Some(object),
        })
    }

    /// The candidate that a dictionary of entries is, or the tensors in it that stand beside other dictionaries.
    fn candidate(
        &mut self,
        dict: Id,
        entries: &Entries<'v>,
        path: &[&'v str],
    ) -> Option<Found<'v>> {
        let has_tensors = entries
            .texts
            .iter()
            .any(|&(_, value)| self.is_tensor(value));
        if !has_tensors || !entries.only_texts {
            return None;
        }
        let mut found = Found {
            path: path.to_vec(),
            dict,
            candidate: Candidate {
                keys: path.iter().map(|&key| key.to_owned()).collect(),
                tensors: 0,
                numbers: 0,
            },
            coded: None,
            only_arrays: true,
            beside: self.has_dictionaries(entries),
            bulk: 0,
            code: None,
        };
        let mut others = 0;
        let mut objects = Vec::new();
        for &(key, value) in &entries.texts {
            if self.is_tensor(value) {
                self.take(&mut found, value);
                continue;
            }
            match self.values.node(value) {
                _ if found.beside || key.ends_with(EXTRA_STATE) => {}
                Node::Object(_) => match self.role(key, value) {
                    Role::Beside => others += 1,
                    Role::Tensor => objects.push((key, value, 0)),
                    Role::Holder(inside) => objects.push((key, value, inside)),
                },
                _ if self.holds_tensors(value, 0) => return None,
                _ => others += 1,
            }
        }
        // One that holds less than stands beside it, a loss function perhaps, is not the network.
        for (key, value, inside) in objects {
            if inside > 0 && inside < found.candidate.numbers {
                others += 1;
            } else {
                found.candidate.tensors += 1;
                found.coded = found.coded.or(Some((key, value)));
            }
        }
        (found.candidate.tensors > 0 && others <= found.candidate.tensors).then_some(found)
    }

    fn is_tensor(&self, value: Id) -> bool {
        let node = self.values.node(value);
        matches!(node, Node::Tensor(_) | Node::Unreadable(_) | Node::Array(_))
    }

    /// Whether dictionaries of tensors are among the entries, and what a module saves beside its own is not meant.
    fn has_dictionaries(&mut self, entries: &Entries<'v>) -> bool {
        entries.texts.iter().any(|&(key, value)| {
            matches!(self.values.node(value), Node::Dict(_))
                && !key.ends_with(EXTRA_STATE)
                && self.holds_tensors(value, 0)
        })
    }

    /// Adds a tensor to a candidate; beside dictionaries, only if it can be weights.
    fn take(&self, found: &mut Found<'v>, value: Id) {
        if found.beside && !is_weights_beside(self.values, value) {
            return;
        }
        let node = self.values.node(value);
        found.only_arrays &= matches!(node, Node::Array(_));
        found.candidate.tensors += 1;
        let shape = match node {
            Node::Tensor(index) => self.values.tensors[*index as usize].shape,
            Node::Array(index) => self.values.arrays[*index as usize].shape,
            _ => return,
        };
        let numbers = self.count(shape);
        found.candidate.numbers = found.candidate.numbers.saturating_add(numbers);
        if self.values.items(shape) != Some(&[]) {
            found.bulk = found.bulk.saturating_add(numbers);
        }
    }
}

/// Whether a tensor beside dictionaries of tensors is part of the network, and no counter or metric.
pub(super) fn is_weights_beside(values: &Values<'_>, value: Id) -> bool {
    match values.node(value) {
        Node::Tensor(index) => values.items(values.tensors[*index as usize].shape) != Some(&[]),
        Node::Array(index) => values.items(values.arrays[*index as usize].shape) != Some(&[]),
        _ => false,
    }
}

/// Whether weights may be under `key`.
pub(super) fn is_followed(key: &str, path: &[&str]) -> bool {
    let len: usize = path.iter().map(|key| key.len() + 1).sum();
    if len + key.len() > MAX_KEY {
        return false;
    }
    let lower = key.to_ascii_lowercase();
    !NOT_WEIGHTS.iter().any(|part| lower.contains(part))
}
