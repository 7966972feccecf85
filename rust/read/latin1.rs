//! Reads bytes that a pickle has as a text, whose characters, of Latin-1, are the bytes.

use std::ops::Range;

use super::declared::Tensor;
use super::source::Source;
use crate::error::Result;

/// The elements of `tensor`, all of what the text at `range` stands for, in C order.
pub fn read(source: &Source, range: Range<u64>, tensor: &Tensor) -> Result<Vec<u8>> {
    let mut text = vec![0; (range.end - range.start) as usize];
    source.read_exact_at(&mut text, range.start)?;
    let bytes = decoded(&text).filter(|bytes| bytes.len() as u64 == tensor.byte_len());
    let bytes = bytes.ok_or_else(|| {
        let name = &tensor.source_name;
        source.refuse(format!(
            "tensor {name:?} is a text of other characters than bytes; accepted: Latin-1"
        ))
    })?;
    let Some(strides) = &tensor.strides else {
        return Ok(bytes);
    };
    let mut out = Vec::with_capacity(bytes.len());
    let axes: Vec<(usize, usize)> = tensor
        .shape
        .iter()
        .copied()
        .zip(strides.iter().copied())
        .collect();
    append(&bytes, 0, &axes, tensor.dtype.item_bytes(), &mut out);
    Ok(out)
}

/// The bytes that the characters of UTF-8 `text` are.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let chars = std::str::from_utf8(text).ok()?.chars();
    chars.map(|c| u8::try_from(c).ok()).collect()
}

/// Appends the block that begins at an element, in C order.
fn append(bytes: &[u8], at: usize, axes: &[(usize, usize)], item: usize, out: &mut Vec<u8>) {
    match axes.split_first() {
        None => out.extend_from_slice(&bytes[at * item..][..item]),
        Some((&(size, stride), inner)) => {
            (0..size).for_each(|index| append(bytes, at + index * stride, inner, item, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_character() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        assert_eq!(decoded(text.as_bytes()), Some(bytes));
        assert_eq!(decoded("\u{100}".as_bytes()), None);
        assert_eq!(decoded(b"\xff"), None);
    }

    #[test]
    fn a_transposed_matrix_is_turned() {
        let mut out = Vec::new();
        append(b"aAbBcCdDeEfF", 0, &[(2, 1), (3, 2)], 2, &mut out);
        assert_eq!(out, b"aAcCeEbBdDfF");
    }
}
