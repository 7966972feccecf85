//! Says what the objects of a file have to do with its weights: nothing, or all.

use super::candidates::Found;
use super::pick;
use crate::read::pickle::{Fault, Id, Values};

/// Classes and functions that are listed among what was left out.
const NAMED: usize = 16;

/// The fault of a file without any weights but those in objects; `None` if it names no code either.
pub fn no_data(values: &Values<'_>, found: &[Found<'_>]) -> Option<Fault> {
    let largest = found.iter().max_by_key(|found| found.candidate.numbers);
    let name = match largest.and_then(|found| found.code) {
        Some(object) => values.code_name(object),
        None => values.code_names(1).0.pop()?,
    };
    Some(Fault::Code(format!(
        "holds code, not only data (global {name:?})"
    )))
}

/// The fault of a file whose best weights are in an object.
pub fn instead_of_data(
    values: &Values<'_>,
    found: &[Found<'_>],
    chosen: &Found<'_>,
    code: Id,
) -> Fault {
    let (key, name) = (chosen.candidate.key(), values.code_name(code));
    Fault::Code(format!(
        "holds code, not only data (global {name:?}), with the weights under the key {key:?}; \
         {} with --key",
        pick::listed(found)
    ))
}

/// The fault of weights of which one tensor is made by code.
pub fn in_data(values: &Values<'_>, name: &str, object: Id) -> Fault {
    let code = values.code_name(object);
    Fault::Code(format!(
        "holds code, not only data (global {code:?}), which makes the tensor {name:?}"
    ))
}

/// A line for each class or function that nobody looked at.
pub fn passed_over(values: &Values<'_>) -> Vec<String> {
    let (names, more) = values.code_names(NAMED);
    let mut lines: Vec<String> = names
        .iter()
        .map(|name| format!("object of {name}"))
        .collect();
    if more {
        lines.push("objects of more classes".into());
    }
    lines
}
