//! Reads and validates the header of a safetensors file.
//!
//! A file is 8 bytes of header length (little-endian), the header (JSON, may be padded with spaces),
//! and the data. The tensors must cover the data exactly: no overlap, no hole, no trailing byte.

use std::borrow::Cow;

use super::json::{self, RawTensor};
use super::room::Room;
use super::source::Source;
use crate::dtype::DType;
use crate::error::Result;
use crate::memory;
use crate::runtime::parallel::Cancel;

/// The largest header that the format allows, in bytes.
pub const MAX_HEADER: u64 = 100_000_000;
/// The most tensors in a file: the largest networks have fewer in all their files, and each takes far more memory than
/// its bytes in the header.
pub const MAX_TENSORS: usize = 1 << 17;
const LENGTH_BYTES: u64 = 8;

/// One tensor as the header declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Neither empty nor with a NUL in it; otherwise anything, so never a path.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// Axis sizes; empty for a scalar.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub begin: u64,
    /// One past the last byte in the file.
    pub end: u64,
}

/// A checked header.
#[derive(Debug)]
pub struct Header {
    /// Tensors in the order of their bytes.
    pub tensors: Vec<TensorInfo>,
    /// The free text under `__metadata__`, in the order of the file.
    pub metadata: Vec<(String, String)>,
}

impl Header {
    /// Reads and checks the header of `source`.
    pub fn read(source: &Source) -> Result<Self> {
        Self::read_in(source, &mut Room::default(), &Cancel::default())
    }

    /// The same, when there is room for it beside others that are read now.
    pub(super) fn read_in(source: &Source, room: &mut Room, cancel: &Cancel) -> Result<Self> {
        let mut prefix = [0; LENGTH_BYTES as usize];
        if source.size() < LENGTH_BYTES {
            let size = source.size();
            return Err(source.refuse(format!(
                "not a safetensors or torch file: it has {size} bytes"
            )));
        }
        source.read_exact_at(&mut prefix, 0)?;
        let length = u64::from_le_bytes(prefix);
        let rest = source.size() - LENGTH_BYTES;
        if length > u64::from(u32::MAX) {
            let begin = prefix.escape_ascii();
            return Err(source.refuse(format!(
                "not a safetensors or torch file (it begins with b'{begin}')"
            )));
        }
        let limit = rest.min(MAX_HEADER);
        if length > limit {
            return Err(source.refuse(format!(
                "not a safetensors or torch file, or truncated: header of {length} bytes announced; \
                 accepted: at most {limit}"
            )));
        }
        room.grow(length, cancel)?;
        let json = memory::filled(0, length as usize, "its header");
        let mut json = json.map_err(|message| source.refuse(message))?;
        source.read_exact_at(&mut json, LENGTH_BYTES)?;
        Self::parse(&json, rest - length).map_err(|message| source.refuse(message))
    }

    /// Checks the JSON of a header against the `data_len` bytes that follow it.
    ///
    /// Fails with a message that says what is wrong; the caller knows the file.
    pub fn parse(json: &[u8], data_len: u64) -> Result<Self, String> {
        if json.first() != Some(&b'{') {
            return Err("not a safetensors file: its header does not begin with `{`".into());
        }
        let data_begin = LENGTH_BYTES + json.len() as u64;
        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut wrong = None;
        let parsed = json::parse(json, |name, fields| {
            if wrong.is_none() {
                match tensor(name, fields, data_begin) {
                    Ok(_) if tensors.len() == MAX_TENSORS => {
                        wrong = Some(format!(
                            "has more than {MAX_TENSORS} tensors, which is not read"
                        ));
                    }
                    Ok(tensor) => tensors.push(tensor),
                    Err(message) => wrong = Some(message),
                }
            }
        });
        let metadata = parsed.map_err(|e| format!("malformed safetensors header: {e}"))?;
        if let Some(message) = wrong {
            return Err(message);
        }
        tensors.sort_by_key(|t| (t.begin, t.end));
        let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = twice[0];
            return Err(format!(
                "malformed safetensors header: duplicate key {name:?}"
            ));
        }
        check_coverage(&tensors, data_begin, data_len)?;
        Ok(Self { tensors, metadata })
    }
}

/// One tensor from its three fields, with its offsets checked against its dtype and shape.
fn tensor(
    name: Cow<'_, str>,
    fields: RawTensor<'_>,
    data_begin: u64,
) -> Result<TensorInfo, String> {
    if name.is_empty() || name.contains('\0') {
        return Err(format!(
            "tensor name {name:?} is refused; accepted: text that is not empty and has no NUL"
        ));
    }
    if let Some(key) = fields.unexpected {
        return Err(format!(
            "tensor {name:?} has an unexpected {key:?}; \
             accepted: dtype (a string), shape and data_offsets (lists of integers)"
        ));
    }
    let dtype = fields
        .dtype
        .ok_or_else(|| format!("tensor {name:?} has no dtype"))?;
    let dtype = DType::parse(&dtype)
        .ok_or_else(|| format!("tensor {name:?} has the unknown dtype {dtype:?}"))?;
    let shape = fields
        .shape
        .ok_or_else(|| format!("tensor {name:?} has no shape"))?;
    let [begin, end] = fields
        .offsets
        .and_then(|pair| <[u64; 2]>::try_from(pair).ok())
        .ok_or_else(|| format!("tensor {name:?} needs data_offsets [begin, end]"))?;
    let (shape, bytes) = sized(&shape, dtype)
        .ok_or_else(|| format!("tensor {name:?} has a shape {shape:?} that overflows"))?;
    if end.checked_sub(begin) != Some(bytes) {
        return Err(format!(
            "tensor {name:?} has data_offsets [{begin}, {end}] but {} {shape:?} takes {bytes} bytes",
            dtype.name()
        ));
    }
    let absolute = |offset: u64| {
        data_begin
            .checked_add(offset)
            .ok_or_else(|| format!("tensor {name:?} ends beyond any file"))
    };
    let (begin, end) = (absolute(begin)?, absolute(end)?);
    Ok(TensorInfo {
        name: name.into_owned(),
        dtype,
        shape,
        begin,
        end,
    })
}

/// `shape` in this machine's integers, and the bytes it takes.
fn sized(shape: &[u64], dtype: DType) -> Option<(Vec<usize>, u64)> {
    let shape: Vec<usize> = shape
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect::<Option<_>>()?;
    let bytes = dtype.byte_len(&shape)?;
    Some((shape, bytes))
}

/// Tensors, sorted by their bytes, must lie end to end over the whole of the data.
fn check_coverage(tensors: &[TensorInfo], data_begin: u64, data_len: u64) -> Result<(), String> {
    let mut covered = data_begin;
    for tensor in tensors {
        if tensor.begin != covered {
            let what = if tensor.begin < covered {
                "overlaps the tensor before it"
            } else {
                "leaves a hole before it"
            };
            return Err(format!(
                "tensor {:?} {what}: it begins at byte {}; accepted: {covered}",
                tensor.name, tensor.begin
            ));
        }
        covered = tensor.end;
    }
    let data_end = data_begin.saturating_add(data_len);
    if covered != data_end {
        let what = if covered > data_end {
            "truncated"
        } else {
            "followed by trailing bytes"
        };
        return Err(format!(
            "{what}: the tensors end at byte {covered} and the file at {data_end}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
