//! Tells averaged copies of weights (EMA, SWA) from what they are averages of, by their names and sizes.

use std::collections::{BTreeSet, HashMap};

/// Words in a name that say so: `g_ema`, `ema_model`, `averaged_net`, `params_ema`.
const WORDS: [&str; 5] = ["ema", "swa", "average", "averaged", "polyak"];
/// Names that are looked at for one with another below it, in each of which all names are looked at again.
const MOST_PARENTS: usize = 16;
/// Components of a name that are looked at; no network has more.
const MAX_COMPONENTS: usize = 64;
/// Siblings that are compared with one another.
const MAX_SIBLINGS: usize = 1000;

/// One of several siblings in a dictionary.
#[derive(Debug)]
pub struct Sibling<'a> {
    /// Its key, or its component of names.
    pub name: &'a str,
    /// Numbers in its tensors, but for scalars, which wrappers count in.
    pub numbers: u64,
}

/// What the weights under a name are averages of, by the name: `g` of `g_ema`, nothing of `ema`.
pub fn average_of(name: &str) -> Option<String> {
    let words = || name.split(['_', '-', '.']);
    let says = |word: &str| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
    let is_decay = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
    words().any(says).then(|| {
        let rest = words().filter(|word| !says(word) && !is_decay(word));
        rest.collect::<Vec<_>>().join("_")
    })
}

/// For each sibling, the one that stands for it, if any: the average, if `averaged`, or else what it is one of.
///
/// An average belongs to the sibling that has its name otherwise, else to one of its size. What is called an
/// average and nothing else is one of all its siblings if `of_all`.
pub fn replaced(siblings: &[Sibling<'_>], averaged: bool, of_all: bool) -> Vec<Option<usize>> {
    let mut replaced = vec![None; siblings.len()];
    if siblings.len() > MAX_SIBLINGS {
        return replaced;
    }
    let averages: Vec<Option<String>> = siblings.iter().map(|s| average_of(s.name)).collect();
    for (index, sibling) in siblings.iter().enumerate() {
        let Some(plain) = &averages[index] else {
            continue;
        };
        let those = |is: &dyn Fn(&Sibling<'_>) -> bool| -> Vec<usize> {
            let all = (0..siblings.len()).filter(|&other| averages[other].is_none());
            all.filter(|&other| is(&siblings[other])).collect()
        };
        let mut of = those(&|other| other.name == plain);
        if of.is_empty() && sibling.numbers > 0 {
            of = those(&|other| other.numbers == sibling.numbers);
        }
        if of.is_empty() && of_all && plain.is_empty() {
            of = those(&|_| true);
        }
        for other in of {
            if averaged {
                replaced[other] = Some(index);
            } else {
                replaced[index] = Some(other);
            }
        }
    }
    replaced
}

/// Averages, and what they are averages of, among the names of one dictionary.
#[derive(Debug, Default)]
pub struct Inside {
    /// Beginnings of the names that others stand for, each with the dot after it.
    pub replaced: BTreeSet<String>,
    /// Whether averages, by their names, are among those that are left.
    pub averaged: bool,
}

impl Inside {
    /// Whether another name stands for this one.
    pub fn replaces(&self, name: &str) -> bool {
        let mut begins = components(name).map(|(begin, part)| &name[..=begin + part.len()]);
        !self.replaced.is_empty() && begins.any(|begin| self.replaced.contains(begin))
    }
}

/// Finds the components of names that are averages of others: `ema_model.` beside `online_model.`.
///
/// `names` has the numbers of each, 0 for a scalar.
pub fn inside(names: &[(&str, u64)], averaged: bool) -> Inside {
    let mut found = Inside::default();
    let mut parents: Vec<&str> = Vec::new();
    for &(name, _) in names {
        for (begin, component) in components(name) {
            let parent = &name[..begin];
            let is_new = average_of(component).is_some() && !parents.contains(&parent);
            if is_new && parents.len() < MOST_PARENTS {
                parents.push(parent);
            }
        }
    }
    found.averaged = averaged && !parents.is_empty();
    for parent in parents {
        let mut siblings: Vec<Sibling<'_>> = Vec::new();
        let mut places = HashMap::new();
        for &(name, numbers) in names {
            let below = name.strip_prefix(parent);
            let Some((component, _)) = below.and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            let place = *places.entry(component).or_insert(siblings.len());
            if place == siblings.len() {
                siblings.push(Sibling {
                    name: component,
                    numbers: 0,
                });
            }
            siblings[place].numbers = siblings[place].numbers.saturating_add(numbers);
        }
        let replaced = replaced(&siblings, averaged, false);
        let gone = siblings
            .iter()
            .zip(&replaced)
            .filter(|(_, by)| by.is_some());
        found
            .replaced
            .extend(gone.map(|(sibling, _)| format!("{parent}{}.", sibling.name)));
    }
    found
}

/// The components of a name that have something below them, each with the byte that it begins at.
fn components(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut begin = 0;
    let ends = name.match_indices('.').map(|(end, _)| end);
    ends.take(MAX_COMPONENTS).map(move |end| {
        let component = (begin, &name[begin..end]);
        begin = end + 1;
        component
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_averaged() {
        for (name, plain) in [
            ("ema", Some("")),
            ("EMA", Some("")),
            ("g_ema", Some("g")),
            ("ema_model", Some("model")),
            ("model_ema", Some("model")),
            ("params_ema", Some("params")),
            ("averaged_net", Some("net")),
            ("ema_0.9999", Some("")),
            ("model_ema_state_dict", Some("model_state_dict")),
            ("state_dict", None),
            ("schema", None),
            ("cinema_net", None),
            ("embed_avg", None),
        ] {
            assert_eq!(average_of(name).as_deref(), plain, "{name}");
        }
    }

    fn gone(siblings: &[(&'static str, u64)], averaged: bool) -> Vec<&'static str> {
        let all: Vec<Sibling<'_>> = siblings
            .iter()
            .map(|&(name, numbers)| Sibling { name, numbers })
            .collect();
        let replaced = replaced(&all, averaged, true);
        let names = siblings.iter().zip(replaced).filter(|(_, by)| by.is_some());
        names.map(|(&(name, _), _)| name).collect()
    }

    #[test]
    fn an_average_stands_for_what_it_is_one_of() {
        let gan = [("g", 3), ("d", 9), ("g_ema", 3)];
        assert_eq!(gone(&gan, true), ["g"]);
        assert_eq!(gone(&gan, false), ["g_ema"]);
        // By its size, where there is no such name, and whatever the size where there is.
        assert_eq!(
            gone(&[("online_model", 4), ("ema_model", 4)], true),
            ["online_model"]
        );
        assert_eq!(gone(&[("model", 4), ("model_ema", 5)], true), ["model"]);
        assert_eq!(gone(&[("net", 4), ("disc", 5), ("ema", 4)], true), ["net"]);
        assert_eq!(gone(&[("net", 4), ("ema", 5)], true), ["net"]);
        // Of nothing: a part of the network that is called so.
        assert!(gone(&[("codebook_ema", 4), ("encoder", 5)], true).is_empty());
    }

    #[test]
    fn names_of_one_dictionary_have_roles_too() {
        let names = [
            ("step", 0),
            ("online_model.w", 6),
            ("ema_model.w", 6),
            ("net.model.w", 2),
            ("net.model_ema.w", 2),
            ("vq.ema_w", 5),
            ("vq.w", 5),
        ];
        let found = inside(&names, true);
        assert!(found.replaced.iter().eq(["net.model.", "online_model."]));
        assert!(found.replaces("net.model.w") && !found.replaces("net.model_ema.w"));
        assert!(found.averaged);
        let found = inside(&names, false);
        assert!(found.replaced.iter().eq(["ema_model.", "net.model_ema."]));
        assert!(!found.averaged);
    }
}
