//! Strips the components that wrappers of modules add to names: DDP, FSDP, torch.compile, PEFT.
//!
//! `_orig_mod` and the like are never anything else. A `module` can be an attribute of a network too, as in
//! `0.module.weight`, without which its weights could not be loaded. It counts as a wrapper where all names
//! begin with it, and next to a wrapper, as in `encoder._orig_mod.module.weight`; elsewhere it stays.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use super::json::METADATA;

#[cfg(test)]
mod tests;

/// Components that only a wrapper adds, wherever they are.
const WRAPPERS: [&str; 3] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];
/// What DataParallel and AveragedModel call the module in them; others may use the name too.
const MODULE: &str = "module";
/// What AveragedModel counts beside the module in it.
const COUNTER: &str = "n_averaged";
/// Names with more components, which no network has, are left alone: they would take long.
const MAX_COMPONENTS: usize = 64;
/// What PEFT puts in front of every name.
const PEFT: &str = "base_model.model.";

/// Names without wrappers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// The names, in the order given.
    pub names: Vec<String>,
    /// What was removed, with the number of names that had it.
    pub removed: Vec<(String, usize)>,
}

/// Removes wrappers from the names of one checkpoint, which must stay different.
///
/// Fails with a message if two names become one.
pub fn plain(names: &[&str]) -> Result<Plain, String> {
    // A header of very many names is as large again as components.
    if !names.iter().any(|name| may_be_wrapped(name)) {
        let plain: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        check_unique(names, &plain)?;
        return Ok(Plain {
            names: plain,
            removed: Vec::new(),
        });
    }
    without_wrappers(names)
}

/// The same, for names that may have wrappers in them.
fn without_wrappers(names: &[&str]) -> Result<Plain, String> {
    let mut split: Vec<Vec<&str>> = names.iter().map(|name| components(name)).collect();
    let mut removed = Vec::new();
    let mut touched = HashSet::new();
    remove_inner_modules(&mut split, &mut touched);
    for wrapper in WRAPPERS {
        let count = remove_everywhere(&mut split, wrapper);
        note(&mut removed, wrapper, count);
    }
    // Each round is one wrapper inside another; a name has no more of them than components.
    while remove_outer_module(&mut split, &mut touched) {}
    note(&mut removed, MODULE, touched.len());
    let joined = split.iter().zip(names).map(|(parts, name)| {
        let joined = parts.join(".");
        if is_name(&joined) {
            joined
        } else {
            (*name).to_owned()
        }
    });
    let mut plain: Vec<String> = joined.collect();
    if !plain.is_empty()
        && plain
            .iter()
            .all(|name| name.strip_prefix(PEFT).is_some_and(is_name))
    {
        plain
            .iter_mut()
            .for_each(|name| drop(name.drain(..PEFT.len())));
        removed.push((PEFT.to_owned(), plain.len()));
    }
    check_unique(names, &plain)?;
    Ok(Plain {
        names: plain,
        removed,
    })
}

/// Whether a name has something in it that a wrapper adds.
fn may_be_wrapped(name: &str) -> bool {
    let is_added = |part: &str| part == MODULE || WRAPPERS.contains(&part);
    name.starts_with(PEFT) || name.split('.').any(is_added)
}

/// Whether a tensor can have the name that is left: it is empty for `module.`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != METADATA
}

fn components(name: &str) -> Vec<&str> {
    let parts: Vec<&str> = name.split('.').take(MAX_COMPONENTS + 1).collect();
    if parts.len() > MAX_COMPONENTS {
        return vec![name];
    }
    parts
}

fn note(removed: &mut Vec<(String, usize)>, component: &str, count: usize) {
    if count > 0 {
        removed.push((format!("{component}."), count));
    }
}

/// Removes a component wherever it has something below it; how many names had it.
fn remove_everywhere(split: &mut [Vec<&str>], component: &str) -> usize {
    let mut count = 0;
    for parts in split {
        let leaf = parts.pop();
        let before = parts.len();
        parts.retain(|&part| part != component);
        count += usize::from(parts.len() < before);
        parts.extend(leaf);
    }
    count
}

/// Removes `module` at the beginning if all names have it there, and says whether they had.
fn remove_outer_module(split: &mut [Vec<&str>], touched: &mut HashSet<usize>) -> bool {
    let is_counter = |parts: &[&str]| parts == [COUNTER];
    let has_it = |parts: &[&str]| parts.len() > 1 && parts[0] == MODULE;
    let all = split.iter().all(|parts| has_it(parts) || is_counter(parts));
    if !all || !split.iter().any(|parts| has_it(parts)) {
        return false;
    }
    for (index, parts) in split.iter_mut().enumerate() {
        if has_it(parts) {
            parts.remove(0);
            touched.insert(index);
        }
    }
    true
}

/// Removes `module` wherever it is next to a wrapper and the only child of its parent.
fn remove_inner_modules(split: &mut [Vec<&str>], touched: &mut HashSet<usize>) {
    let hasher = RandomState::new();
    let mut lonely = HashSet::new();
    for parts in &*split {
        let parents = parents(parts, &hasher).enumerate();
        lonely.extend(parents.filter_map(|(at, parent)| is_wrapper(parts, at).then_some(parent)));
    }
    if lonely.is_empty() {
        return;
    }
    for parts in &*split {
        for (at, parent) in parents(parts, &hasher).enumerate() {
            let is_counter = parts[..] == [COUNTER];
            if !is_wrapper(parts, at) && !is_counter {
                lonely.remove(&parent);
            }
        }
    }
    for (index, parts) in split.iter_mut().enumerate() {
        let parents = parents(parts, &hasher).enumerate();
        let wrapper = |(at, parent)| is_wrapper(parts, at) && lonely.contains(&parent);
        let goes: Vec<bool> = parents.map(wrapper).collect();
        if goes.contains(&true) {
            let mut goes = goes.into_iter();
            parts.retain(|_| goes.next() != Some(true));
            touched.insert(index);
        }
    }
}

/// Whether the component at `at` is a `module` directly below or above a wrapper.
fn is_wrapper(parts: &[&str], at: usize) -> bool {
    let leaf = parts.len() - 1;
    let above = at.checked_sub(1).map(|above| parts[above]);
    let below = parts[..leaf].get(at + 1).copied();
    let is_known = |part: Option<&str>| part.is_some_and(|part| WRAPPERS.contains(&part));
    at < leaf && parts[at] == MODULE && (is_known(above) || is_known(below))
}

/// For each component, what the components above it come to; made in one pass, since names can be long.
fn parents<'a>(parts: &'a [&str], hasher: &RandomState) -> impl Iterator<Item = u64> + 'a {
    let mut hasher = hasher.build_hasher();
    parts.iter().map(move |part| {
        let parent = hasher.finish();
        hasher.write(part.as_bytes());
        hasher.write_u8(b'.');
        parent
    })
}

fn check_unique(names: &[&str], plain: &[String]) -> Result<(), String> {
    let mut seen = HashMap::with_capacity(plain.len());
    for (name, source) in plain.iter().zip(names) {
        if let Some(other) = seen.insert(name.as_str(), source) {
            return Err(if other == source {
                format!("{name:?} is there twice; accepted: once")
            } else {
                format!(
                    "{name:?} is there twice, with and without a wrapper ({other:?}, {source:?})"
                )
            });
        }
    }
    Ok(())
}
