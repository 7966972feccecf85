//! Decodes NumPy scalars, in which many training scripts keep their best accuracy.

use super::value::{Id, Node, Values};

/// The longest number, in bytes.
const MAX_BYTES: usize = 8;
/// The longest name of a type that is read, as in `<f8`.
const MAX_NAME: usize = 3;

/// What `numpy.dtype('f8', False, True)` stands for.
pub fn number_type(values: &Values<'_>, name: Option<Id>) -> Node {
    let name = name.and_then(|name| values.short_text(name, MAX_NAME));
    let kind = name.map(|name| name.trim_start_matches(['<', '=', '|']).as_bytes());
    Node::NumpyType(kind.and_then(|kind| <[u8; 2]>::try_from(kind).ok()))
}

/// Whether the state of a NumPy type, `(3, '<', ...)`, is that of a number in little-endian order.
pub fn is_little(values: &Values<'_>, state: Id) -> bool {
    let order = values.items(state).and_then(|items| items.get(1).copied());
    let order = order.and_then(|order| values.short_text(order, MAX_NAME));
    matches!(order, Some("<" | "|" | "="))
}

/// The number in the arguments of `scalar(dtype, bytes)`, or an object if it is no number;
/// `None` if they are not such arguments.
pub fn scalar(values: &Values<'_>, arguments: &[Id]) -> Option<Node> {
    let &[kind, bytes] = arguments else {
        return None;
    };
    let &Node::NumpyType(kind) = values.node(kind) else {
        return None;
    };
    let Some(kind) = kind else {
        return Some(Node::Object(Vec::new()));
    };
    let bytes = short_bytes(values, bytes);
    Some(
        bytes
            .and_then(|b| number(kind, &b))
            .unwrap_or(Node::Object(Vec::new())),
    )
}

fn number(kind: [u8; 2], bytes: &[u8]) -> Option<Node> {
    let node = match &kind {
        b"f2" => Node::Float(half::f16::from_le_bytes(bytes.try_into().ok()?).into()),
        b"f4" => Node::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        b"f8" => Node::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        b"i1" => Node::Int(i8::from_le_bytes(bytes.try_into().ok()?).into()),
        b"i2" => Node::Int(i16::from_le_bytes(bytes.try_into().ok()?).into()),
        b"i4" => Node::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        b"i8" => Node::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
        b"u1" => Node::Int(u8::from_le_bytes(bytes.try_into().ok()?).into()),
        b"u2" => Node::Int(u16::from_le_bytes(bytes.try_into().ok()?).into()),
        b"u4" => Node::Int(u32::from_le_bytes(bytes.try_into().ok()?).into()),
        b"u8" => match i64::try_from(u64::from_le_bytes(bytes.try_into().ok()?)) {
            Ok(value) => Node::Int(value),
            Err(_) => Node::BigInt,
        },
        b"b1" => Node::Bool(*bytes == [1]),
        _ => return None,
    };
    Some(node)
}

/// At most eight bytes, from any of the ways to write them.
fn short_bytes(values: &Values<'_>, id: Id) -> Option<Vec<u8>> {
    match values.node(id) {
        // Python 2 wrote bytes as text.
        Node::Bytes(span) | Node::Text(span) => {
            let bytes = values.cursor.bytes(*span);
            (bytes.len() <= MAX_BYTES).then(|| bytes.to_vec())
        }
        Node::Latin1(text) => {
            let text = values.short_text(*text, 2 * MAX_BYTES)?;
            let bytes = text.chars().take(MAX_BYTES + 1).map(u8::try_from);
            let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
            (bytes.len() <= MAX_BYTES).then_some(bytes)
        }
        _ => None,
    }
}
