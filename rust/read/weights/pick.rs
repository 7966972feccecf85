//! Picks the dictionaries that are meant: one, or several that are parts of one network.

use super::candidates::Found;
use super::entries::entries;
use super::roles::{self, Sibling, average_of};
use crate::read::declared::{Choice, Key};
use crate::read::pickle::Values;

/// Keys under which training scripts keep the network, the best ones first. What stands beside them is none.
const NETWORK: [&str; 3] = ["state_dict", "model", "module"];
/// Keys of their averages.
const AVERAGED: [&str; 3] = ["state_dict_ema", "model_ema", "ema"];
/// Words in keys of networks that are copies of others of the same size, and of what else has their size.
const COPIES: [&str; 20] = [
    "target",
    "online",
    "teacher",
    "student",
    "best",
    "last",
    "latest",
    "old",
    "copy",
    "shadow",
    "previous",
    "prev",
    "grad",
    "grads",
    "gradients",
    "momentum",
    "mask",
    "masks",
    "fisher",
    "sq",
];
const SHOWN: usize = 10;

/// What is taken.
#[derive(Debug)]
pub struct Picked {
    /// Indices of the dictionaries, outer ones first; never none.
    pub parts: Vec<usize>,
    /// Keys that lead to all of them; the last one may be the beginning of names in the only one.
    pub root: Vec<String>,
    /// What the names in the only one begin with, with the dot after it; else empty.
    pub inside: String,
}

/// Picks what `choice` means, or says what is there instead.
///
/// Averages stand for what they are averages of, or the other way round. What is left are parts of one network,
/// unless a key names the network. The empty key is the whole file: the network, and the tensors beside it.
pub fn pick(values: &Values<'_>, found: &[Found<'_>], choice: &Choice) -> Result<Picked, String> {
    let (mut below, depth) = match &choice.key {
        None => ((0..found.len()).collect(), 0),
        Some(key) => match by_key(found, key)? {
            Some(below) => below,
            None => return by_names(values, found, key),
        },
    };
    // NumPy arrays are weights only where there are no tensors.
    if below.iter().any(|&i| !found[i].only_arrays) {
        below.retain(|&i| !found[i].only_arrays);
    }
    let averaged = (choice.ema != Some(false)) != is_exchanged(values, found);
    let tree = Tree {
        found,
        averaged,
        whole: choice.key.is_some() && depth == 0,
    };
    let parts = tree.parts(&below, depth)?;
    let parts = without_code(found, parts);
    let only_averages = parts.iter().all(|&i| is_averaged(&found[i]));
    if choice.key.is_none() && !averaged && only_averages {
        return Err(format!("no other than averaged weights; {}", listed(found)));
    }
    let first = &found[parts[0]].path;
    let shared = |i: &usize| {
        let pairs = first.iter().zip(&found[*i].path);
        pairs.take_while(|(a, b)| a == b).count()
    };
    let len = parts.iter().map(shared).min().unwrap_or_default();
    Ok(Picked {
        root: first[..len].iter().map(|&key| key.to_owned()).collect(),
        parts,
        inside: String::new(),
    })
}

/// The dictionaries of a file.
struct Tree<'v, 'a> {
    found: &'a [Found<'v>],
    /// Whether what is called an average is taken.
    averaged: bool,
    /// Whether tensors at the top level are taken also beside what is called the network.
    whole: bool,
}

impl<'v> Tree<'v, '_> {
    /// Those of `below`, which all have the same first `depth` keys, that are taken.
    fn parts(&self, below: &[usize], depth: usize) -> Result<Vec<usize>, String> {
        let mut parts = Vec::new();
        let mut children: Vec<(&str, Vec<usize>)> = Vec::new();
        for &index in below {
            match self.found[index].path.get(depth) {
                None => parts.push(index),
                Some(&key) => match children.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, child)) => child.push(index),
                    None => children.push((key, vec![index])),
                },
            }
        }
        let bulk = |child: &[usize]| child.iter().map(|&i| self.found[i].bulk).sum();
        let sibling = |(name, child): &(&'v str, Vec<usize>)| Sibling {
            name,
            numbers: bulk(child),
        };
        let siblings: Vec<Sibling<'_>> = children.iter().map(sibling).collect();
        let replaced = roles::replaced(&siblings, self.averaged, true);
        let known = |names: &[&str]| {
            let place = |name: &&str| siblings.iter().position(|sibling| sibling.name == *name);
            names.iter().find_map(place)
        };
        if let Some(network) = known(&NETWORK) {
            let average = known(&AVERAGED).or(replaced[network]);
            let chosen = average.filter(|_| self.averaged).unwrap_or(network);
            let beside = if self.whole && depth == 0 {
                parts
            } else {
                vec![]
            };
            let network = self.parts(&children[chosen].1, depth + 1)?;
            return Ok([beside, network].concat());
        }
        let left: Vec<usize> = (0..children.len())
            .filter(|&i| replaced[i].is_none())
            .collect();
        let are_copies = |a: usize, b: usize| {
            siblings[a].numbers == siblings[b].numbers
                && (is_copy(siblings[a].name) || is_copy(siblings[b].name))
        };
        let pair = |(at, &a): (usize, &usize)| left[..at].iter().any(|&b| are_copies(a, b));
        if left.iter().enumerate().any(pair) {
            return Err(format!(
                "several weights of one size, copies of each other perhaps; choose one with --key NAME: {}",
                listed(self.found)
            ));
        }
        for child in left {
            parts.extend(self.parts(&children[child].1, depth + 1)?);
        }
        Ok(parts)
    }
}

fn is_copy(key: &str) -> bool {
    let mut words = key.split(['_', '-', '.']);
    words.any(|word| COPIES.iter().any(|copy| word.eq_ignore_ascii_case(copy)))
}

/// Parts without objects, which only code could read, or the largest object alone if it is more than all of them.
fn without_code(found: &[Found<'_>], parts: Vec<usize>) -> Vec<usize> {
    let numbers = |i: &usize| found[*i].candidate.numbers;
    let (code, data): (Vec<usize>, Vec<usize>) =
        parts.into_iter().partition(|&i| found[i].code.is_some());
    let all: u64 = data.iter().map(numbers).fold(0, u64::saturating_add);
    match code.into_iter().max_by_key(numbers) {
        Some(largest) if data.is_empty() || numbers(&largest) > all => vec![largest],
        _ => data,
    }
}

/// The dictionaries at and below a key, and how many keys lead there; `None` if no dictionary has it.
fn by_key(found: &[Found<'_>], key: &Key) -> Result<Option<(Vec<usize>, usize)>, String> {
    let leads = |f: &Found<'_>, depth: usize| match key {
        Key::Path(keys) => f.candidate.keys[..depth] == **keys,
        Key::Joined(key) => f.candidate.keys[..depth].join(".") == *key,
    };
    let mut paths: Vec<(&[&str], Vec<usize>)> = Vec::new();
    for (index, f) in found.iter().enumerate() {
        let Some(depth) = (0..=f.path.len()).find(|&depth| leads(f, depth)) else {
            continue;
        };
        let path = &f.path[..depth];
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, below)) => below.push(index),
            None => paths.push((path, vec![index])),
        }
    }
    if let (true, Key::Joined(key)) = (paths.is_empty(), key) {
        let ends = (0..found.len()).filter(|&i| found[i].path.last() == Some(&&**key));
        paths = ends.map(|i| (&*found[i].path, vec![i])).collect();
    }
    match paths.len() {
        0 => Ok(None),
        1 => Ok(paths.pop().map(|(path, below)| (below, path.len()))),
        _ => Err(several(found, key)),
    }
}

/// The only dictionary in which names begin with the key, or with the end of it below the dictionary's own.
fn by_names(values: &Values<'_>, found: &[Found<'_>], key: &Key) -> Result<Picked, String> {
    let begins = |f: &Found<'_>| -> Option<String> {
        let texts = || entries(values, f.dict).texts;
        let is_there = |begin: &String| texts().iter().any(|(name, _)| name.starts_with(begin));
        let below = match key {
            Key::Path(keys) => Some(keys.strip_prefix(&*f.candidate.keys)?.join(".")),
            Key::Joined(key) if f.path.is_empty() => Some(key.clone()),
            Key::Joined(key) => {
                let rest = key.strip_prefix(&f.candidate.key());
                rest.and_then(|rest| Some(rest.strip_prefix('.')?.to_owned()))
            }
        };
        let alone = match key {
            Key::Joined(key) => Some(key.clone()),
            Key::Path(_) => None,
        };
        let begins = below
            .into_iter()
            .chain(alone)
            .map(|begin| format!("{begin}."));
        begins.into_iter().find(is_there)
    };
    let data = (0..found.len()).filter(|&i| found[i].code.is_none());
    let mut hits = data.filter_map(|i| Some((i, begins(&found[i])?)));
    match (hits.next(), hits.next()) {
        (Some((index, inside)), None) => {
            let mut root = found[index].candidate.keys.clone();
            root.push(inside[..inside.len() - 1].to_owned());
            Ok(Picked {
                parts: vec![index],
                root,
                inside,
            })
        }
        (None, _) => Err(format!(
            "no weights under the key {}; {}",
            shown(key),
            listed(found)
        )),
        _ => Err(several(found, key)),
    }
}

fn several(found: &[Found<'_>], key: &Key) -> String {
    format!(
        "several weights under the key {}; {}",
        shown(key),
        listed(found)
    )
}

fn shown(key: &Key) -> String {
    match key {
        Key::Path(keys) => format!("{keys:?}"),
        Key::Joined(key) => format!("{key:?}"),
    }
}

/// Whether the keys of a candidate say that its weights are averages.
pub fn is_averaged(found: &Found<'_>) -> bool {
    found.path.iter().any(|key| average_of(key).is_some())
}

/// Whether `state_dict` is the average, and `ema_state_dict` what it is one of.
///
/// So mmengine's hook writes them, with its count of steps beside the latter.
pub fn is_exchanged(values: &Values<'_>, found: &[Found<'_>]) -> bool {
    let at = |key: &str| found.iter().find(|f| f.path == [key]);
    let counts = |f: &Found<'_>| {
        let texts = entries(values, f.dict).texts;
        texts.iter().any(|(name, _)| *name == "steps")
    };
    at("state_dict").is_some() && at("ema_state_dict").is_some_and(counts)
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
