//! Finds the dictionaries of tensors in an object, which may nest them beside training state.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::dtype::element_count;
use crate::read::declared::Candidate;
use crate::read::pickle::{Id, Node, Values};

const MAX_DEPTH: usize = 8;
/// Longest key that is followed, so that a list of candidates cannot outgrow the file.
const MAX_KEY: usize = 1024;
/// Dictionaries can be shared, so that few values seem to be many. This many looks at entries are
/// free, and so are this many for each value.
const FREE_VISITS: usize = 10_000;
const VISITS_PER_VALUE: usize = 4;
const MAX_CANDIDATES: usize = 1000;
/// Bytes of a key that cost nothing extra, and of the longest one.
const FREE_KEY: usize = 256;
const LONGEST_KEY: usize = 1 << 16;
const MAX_NESTING: usize = 64;
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
}

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

/// All candidates, outer ones first.
pub fn find<'v>(values: &'v Values<'_>, object: Id) -> Result<Vec<Found<'v>>, String> {
    let mut search = Search {
        values,
        found: Vec::new(),
        visits: 0,
        searched: Vec::new(),
    };
    search.visit(object, &mut Vec::new())?;
    Ok(search.found)
}

struct Search<'v, 'a> {
    values: &'v Values<'a>,
    found: Vec<Found<'v>>,
    visits: usize,
    /// Whether containers hold tensors, where that is known; a search in circles ends here.
    searched: Vec<Option<bool>>,
}

impl<'v> Search<'v, '_> {
    fn visit(&mut self, dict: Id, path: &mut Vec<&'v str>) -> Result<(), String> {
        let Some(pairs) = self.values.pairs(dict) else {
            return Ok(());
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
        if let Some(candidate) = self.candidate(&entries, path) {
            if self.found.len() == MAX_CANDIDATES {
                return Err(format!(
                    "more than {MAX_CANDIDATES} dictionaries of tensors; accepted: fewer"
                ));
            }
            self.found.push(Found {
                path: path.clone(),
                dict,
                candidate,
            });
            return Ok(());
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

    fn candidate(&mut self, entries: &Entries<'v>, path: &[&str]) -> Option<Candidate> {
        let is_tensor = |&&(_, value): &&(&str, Id)| {
            matches!(
                self.values.node(value),
                Node::Tensor(_) | Node::Unreadable(_)
            )
        };
        let tensors = entries.texts.iter().filter(is_tensor).count();
        if tensors == 0 || !entries.only_texts {
            return None;
        }
        let mut others = 0;
        let mut numbers = 0_u64;
        for &(key, value) in &entries.texts {
            match self.values.node(value) {
                Node::Tensor(index) => numbers = numbers.saturating_add(self.count(*index)),
                Node::Unreadable(_) => {}
                _ if key.ends_with(EXTRA_STATE) => {}
                _ if self.holds_tensors(value, 0) => return None,
                _ => others += 1,
            }
        }
        (others <= tensors).then(|| Candidate {
            keys: path.iter().map(|&key| key.to_owned()).collect(),
            tensors,
            numbers,
        })
    }

    fn count(&self, tensor: u32) -> u64 {
        let shape = self
            .values
            .items(self.values.tensors[tensor as usize].shape);
        let sizes = shape.unwrap_or_default().iter();
        let sizes: Option<Vec<usize>> = sizes
            .map(|&size| self.values.size(size)?.try_into().ok())
            .collect();
        let count = sizes.and_then(|sizes| element_count(&sizes));
        count.map_or(u64::MAX, |count| count as u64)
    }

    /// Whether a value is or contains a tensor; below a depth that no weights have it may as well.
    fn holds_tensors(&mut self, value: Id, depth: usize) -> bool {
        let values = self.values;
        let inner: &mut dyn Iterator<Item = Id> = match values.node(value) {
            Node::Tensor(_) | Node::Unreadable(_) => return true,
            Node::List(items) | Node::Tuple(items) => &mut items.iter().copied(),
            Node::Dict(pairs) => &mut pairs.iter().map(|&(_, value)| value),
            _ => return false,
        };
        if depth == MAX_NESTING {
            return true;
        }
        if self.searched.is_empty() {
            self.searched = vec![None; values.nodes()];
        }
        if let Some(holds) = self.searched[value as usize].replace(false) {
            self.searched[value as usize] = Some(holds);
            return holds;
        }
        for item in inner {
            if self.holds_tensors(item, depth + 1) {
                self.searched[value as usize] = Some(true);
                return true;
            }
        }
        false
    }
}

/// Whether weights may be under `key`.
fn is_followed(key: &str, path: &[&str]) -> bool {
    let len: usize = path.iter().map(|key| key.len() + 1).sum();
    if len + key.len() > MAX_KEY {
        return false;
    }
    let lower = key.to_ascii_lowercase();
    !NOT_WEIGHTS.iter().any(|part| lower.contains(part))
}
