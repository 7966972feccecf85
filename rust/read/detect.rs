//! Detects the format of the files of one state dict, and reads what they declare.

use std::collections::HashMap;

use super::declared::{Begin, Candidate, Choice, Format, Key, Storage, Tensor, Weights};
use super::pickle::{Cursor, Fault, Machine, TOO_LONG};
use super::room::Room;
use super::safetensors::{Header, TensorInfo};
use super::source::Source;
use super::weights::rest::Rest;
use super::{holes, sniff, torch_legacy, torch_zip, weights};
use crate::error::{Error, Result};
use crate::runtime::parallel::Cancel;

const ACCEPTED: &str = "accepted: safetensors or torch files";

/// Reads what the files of one state dict declare together, when there is `room` for it.
pub fn together(
    sources: &[Source],
    choice: &Choice,
    room: &mut Room,
    cancel: &Cancel,
) -> Result<Weights> {
    let choice = Choice {
        is_shard: sources.len() > 1,
        ..choice.clone()
    };
    let mut weights = declared(&sources[0], &choice, room, cancel)?;
    for (source, file) in sources.iter().zip(0..).skip(1) {
        join(&mut weights, declared(source, &choice, room, cancel)?, file);
    }
    check_names(sources, &weights)?;
    holes::check(sources, &weights)?;
    Ok(weights)
}

/// Reads what one file declares.
fn declared(source: &Source, choice: &Choice, room: &mut Room, cancel: &Cancel) -> Result<Weights> {
    let mut bytes = [0; sniff::PREFIX];
    let prefix = &mut bytes[..source.size().min(sniff::PREFIX as u64) as usize];
    source.read_exact_at(prefix, 0)?;
    if prefix.is_empty() {
        return Err(source.refuse(format!("an empty file; {ACCEPTED}")));
    }
    if !sniff::is_safetensors(prefix) {
        if torch_zip::is_zip(prefix) {
            return torch_zip::read(source, choice, room, cancel);
        }
        if torch_legacy::is_legacy(prefix) {
            return torch_legacy::read(source, choice, cancel);
        }
        if let Some(what) = sniff::foreign(prefix) {
            return Err(source.refuse(format!("{what}; {ACCEPTED}")));
        }
        if sniff::is_pickle(prefix) {
            return Err(raw_pickle(source, cancel));
        }
    }
    let mut weights = of_safetensors(Header::read_in(source, room, cancel)?);
    let key = match &choice.key {
        Some(Key::Joined(key)) => key.clone(),
        Some(Key::Path(keys)) => keys.join("."),
        None => String::new(),
    };
    if !key.is_empty() {
        take_below(&mut weights, key).map_err(|message| source.refuse(message))?;
    }
    weights::take_roles(&mut weights, choice);
    Ok(weights)
}

/// Takes the names that begin with a key, of which safetensors files have no other kind.
fn take_below(weights: &mut Weights, key: String) -> std::result::Result<(), String> {
    let inside = format!("{key}.");
    weights
        .tensors
        .retain(|t| t.source_name.starts_with(&inside));
    if weights.tensors.is_empty() {
        return Err(format!(
            "safetensors, so there is nothing under a key {key:?}, with which no name begins; accepted: no --key"
        ));
    }
    weights.keys = vec![key];
    weights.inside = inside;
    Ok(())
}

/// What to say of a pickle that torch did not write: converting helps only where it may make weights.
fn raw_pickle(source: &Source, cancel: &Cancel) -> Error {
    const WHAT: &str = "that torch.save did not write";
    let mut machine = Machine::new(Cursor::of(source), cancel);
    match machine.load() {
        Err(Fault::Content(why)) if !why.starts_with(TOO_LONG) => {
            return source.refuse(format!("a pickle {WHAT}: {why}; {ACCEPTED}"));
        }
        Err(fault @ Fault::Source(_)) => return fault.of(source),
        _ => {}
    }
    let values = &machine.values;
    if values.names_arrays() {
        Error::code(source.path(), format!("a pickle of NumPy arrays {WHAT}"))
    } else if !values.code_names(1).0.is_empty() {
        Error::code(source.path(), format!("a pickle {WHAT}"))
    } else {
        source.refuse(format!("a pickle of plain values {WHAT}; {ACCEPTED}"))
    }
}

/// Every tensor of a safetensors file is a storage of its own.
fn of_safetensors(header: Header) -> Weights {
    let storage = |tensor: &TensorInfo| Storage {
        file: 0,
        begin: Begin::At(tensor.begin),
        len: tensor.end - tensor.begin,
        crc: None,
    };
    let storages = header.tensors.iter().map(storage).collect();
    let numbers = |t: &TensorInfo| t.shape.iter().product::<usize>() as u64;
    let candidate = Candidate {
        keys: Vec::new(),
        tensors: header.tensors.len(),
        numbers: header.tensors.iter().map(numbers).sum(),
    };
    // Plain names are found once all are known.
    let tensor = |(index, tensor): (usize, TensorInfo)| Tensor {
        name: String::new(),
        source_name: tensor.name,
        part: 0,
        dtype: tensor.dtype,
        shape: tensor.shape,
        storage: index,
        offset: 0,
        strides: None,
    };
    Weights {
        format: Format::Safetensors,
        keys: Vec::new(),
        parts: vec![Vec::new()],
        inside: String::new(),
        averaged: false,
        candidates: vec![candidate],
        storages,
        tensors: header.tensors.into_iter().enumerate().map(tensor).collect(),
        passed_over: Vec::new(),
        left_out: Vec::new(),
        rest: Rest::default(),
        numbers: header.metadata.iter().filter_map(plain_number).collect(),
        metadata: header.metadata,
    }
}

/// An entry of the metadata that is a finite decimal number; `inf`, `nan` and `0x1` are text.
fn plain_number((name, text): &(String, String)) -> Option<(String, f64)> {
    let decimal = |c: u8| c.is_ascii_digit() || b"+-.eE".contains(&c);
    let value: f64 = text.bytes().all(decimal).then(|| text.parse().ok())??;
    value.is_finite().then(|| (name.clone(), value))
}

/// Puts the tensors of one more file beside those of the files before it; the first file says the rest.
fn join(all: &mut Weights, part: Weights, file: usize) {
    let first = all.storages.len();
    let storages = part.storages.into_iter();
    all.storages
        .extend(storages.map(|storage| Storage { file, ..storage }));
    let tensors = part.tensors.into_iter();
    all.tensors.extend(tensors.map(|tensor| Tensor {
        storage: tensor.storage + first,
        ..tensor
    }));
    all.passed_over.extend(part.passed_over);
    all.left_out.extend(part.left_out);
}

/// Leaves out what `AveragedModel` counts beside the network that it wraps, which knows no such tensor.
pub fn leave_out_average_count(weights: &mut Weights) {
    const COUNT: &str = "n_averaged";
    const NETWORK: &str = "module.";
    let is_count = |t: &Tensor| t.source_name == COUNT;
    if weights.parts.len() > 1 {
        return;
    }
    let mut tensors = weights.tensors.iter();
    if !tensors.all(|t| is_count(t) || t.source_name.starts_with(NETWORK)) {
        return;
    }
    if let Some(at) = weights.tensors.iter().position(is_count) {
        weights.tensors.remove(at);
        weights.left_out.push(COUNT.into());
    }
}

/// Refuses a name that two files of one checkpoint hold.
fn check_names(sources: &[Source], weights: &Weights) -> Result<()> {
    if sources.len() == 1 {
        return Ok(());
    }
    let mut seen = HashMap::with_capacity(weights.tensors.len());
    for tensor in &weights.tensors {
        let file = weights.storages[tensor.storage].file;
        if let Some(other) = seen.insert(tensor.source_name.as_str(), file) {
            let other = sources[other].path().display();
            return Err(sources[file].refuse(format!(
                "tensor {:?} is also in {other}; accepted: each name in one file",
                tensor.source_name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_decimals() {
        let number = |text: &str| plain_number(&("a".into(), text.into())).map(|(_, value)| value);
        for (text, value) in [("1", 1.0), ("-.5", -0.5), ("+2.", 2.0), ("1E-3", 0.001)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        let others = [
            "",
            ".",
            "e5",
            "1e",
            "1e999",
            "inf",
            "nan",
            "-Infinity",
            "0x1",
            "1_0",
            " 1",
            "1 ",
            "1-",
            "٣",
        ];
        for text in others {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
