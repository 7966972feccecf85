//! Picks the candidate that is meant.

use std::cmp::Reverse;

use super::candidates::Found;
use crate::read::declared::{Choice, Key};

/// Keys under which training scripts keep weights, the best ones first; the top level comes last.
const KNOWN: [&str; 6] = [
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model",
    "module",
];
/// Those of [`KNOWN`] under which the weights are averages.
const AVERAGED: [&str; 3] = ["state_dict_ema", "model_ema", "ema"];
const SHOWN: usize = 10;

/// The index of the candidate that `choice` means, or a message with all candidates.
pub fn pick(found: &[Found<'_>], choice: &Choice) -> Result<usize, String> {
    if let Some(key) = &choice.key {
        return by_key(found, key);
    }
    let wanted = |i: &usize| choice.ema.is_none_or(|ema| ema == is_averaged(&found[*i]));
    let indices: Vec<usize> = (0..found.len()).filter(wanted).collect();
    if indices.is_empty() {
        let what = if choice.ema == Some(true) {
            "averaged (EMA)"
        } else {
            "other than averaged"
        };
        return Err(format!("no {what} weights; {}", listed(found)));
    }
    // NumPy arrays are weights only where there are no tensors.
    let tensors = indices.iter().copied().filter(|&i| !found[i].only_arrays);
    let tensors: Vec<usize> = tensors.collect();
    let indices = if tensors.is_empty() { indices } else { tensors };
    let known = indices.iter().filter_map(|&i| Some((rank(&found[i])?, i)));
    if let Some((_, index)) = known.min() {
        return Ok(index);
    }
    largest(found, &indices)
}

fn by_key(found: &[Found<'_>], key: &Key) -> Result<usize, String> {
    let only = |is: &dyn Fn(&Found<'_>) -> bool| {
        let mut indices = (0..found.len()).filter(|&i| is(&found[i]));
        (indices.next(), indices.next())
    };
    let (what, outcome) = match key {
        Key::Path(keys) => (format!("{keys:?}"), only(&|f| f.candidate.keys == *keys)),
        Key::Joined(key) => {
            let ends = |f: &Found<'_>| [f.path.first(), f.path.last()].contains(&Some(&&**key));
            let outcome = match only(&|f| f.candidate.key() == *key) {
                (None, _) => only(&ends),
                found => found,
            };
            (format!("{key:?}"), outcome)
        }
    };
    match outcome {
        (Some(index), None) => Ok(index),
        (None, _) => Err(format!(
            "no weights under the key {what}; {}",
            listed(found)
        )),
        _ => Err(format!(
            "several weights under the key {what}; {}",
            listed(found)
        )),
    }
}

/// Whether the keys of a candidate say that its weights are averages.
pub fn is_averaged(found: &Found<'_>) -> bool {
    found.path.iter().any(|key| AVERAGED.contains(key))
}

/// The smaller the better: place of the first key among the known ones, then length.
fn rank(found: &Found<'_>) -> Option<(usize, usize)> {
    let place = |key: &&str| KNOWN.iter().position(|known| known == key);
    let places: Option<Vec<usize>> = found.path.iter().map(place).collect();
    let first = places?.first().copied().unwrap_or(KNOWN.len());
    Some((first, found.candidate.key().len()))
}

fn largest(found: &[Found<'_>], indices: &[usize]) -> Result<usize, String> {
    let mut by_size = indices.to_vec();
    by_size.sort_by_key(|&i| (Reverse(found[i].candidate.numbers), found[i].code.is_some()));
    match by_size[..] {
        [first, second, ..] if same_size(&found[first], &found[second]) => Err(format!(
            "several weights of one size; choose one with --key NAME: {}",
            listed(found)
        )),
        _ => Ok(by_size[0]),
    }
}

fn same_size(a: &Found<'_>, b: &Found<'_>) -> bool {
    a.code.is_none() && b.code.is_none() && a.candidate.numbers == b.candidate.numbers
}

/// The candidates that can be read.
pub fn listed(found: &[Found<'_>]) -> String {
    let one = |f: &Found<'_>| format!("{:?} ({} tensors)", f.candidate.key(), f.candidate.tensors);
    let data = found.iter().filter(|found| found.code.is_none());
    let mut list: Vec<String> = data.clone().take(SHOWN).map(one).collect();
    if data.count() > SHOWN {
        list.push("...".into());
    }
    format!("accepted: {}", list.join(", "))
}
