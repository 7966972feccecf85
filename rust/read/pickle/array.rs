//! Decodes NumPy arrays, whose bytes are in the pickle itself.

use super::cursor::{Fault, Span};
use super::global::Global;
use super::machine::Machine;
use super::tensor::MAX_AXES;
use super::value::{Id, Node, Values};
use crate::dtype::DType;

/// An array as a pickle names it; its shape is checked to be integers, and no more.
#[derive(Debug, Clone, Copy)]
pub struct ArrayRef {
    /// Element type.
    pub dtype: DType,
    /// Axis sizes.
    pub shape: Id,
    /// Whether the first axis is the fastest.
    pub is_fortran: bool,
    /// What its bytes are in.
    pub data: Id,
}

/// Where the bytes of an array are in its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayBytes<'v> {
    /// First of the bytes that the pickle has for them.
    pub begin: u64,
    /// Bytes that the pickle has for them.
    pub stored: u64,
    /// If the pickle has a text, the value that it is, which several arrays may share, and the text: its
    /// characters are the bytes, which is how protocol 2 writes them.
    pub text: Option<(Id, &'v str)>,
}

impl Machine<'_> {
    /// `_reconstruct(numpy.ndarray, (0,), b'b')`; a subclass is an object.
    pub(super) fn reconstructed(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        let class = self.values.items(arguments).and_then(|items| items.first());
        let is_array =
            |&class: &Id| matches!(self.values.node(class), Node::Global(Global::NumpyArray));
        if class.is_some_and(is_array) {
            return self.values.add(Node::EmptyArray);
        }
        self.values.add(Node::Object(vec![callable, arguments]))
    }

    /// What an array becomes by its state: `(version, shape, dtype, is_fortran, data)`. One of anything but
    /// numbers is an object.
    pub(super) fn filled(&mut self, state: Id) -> Result<Node, Fault> {
        let fields = match self.values.items(state) {
            Some(&[_version, shape, dtype, order, data]) => (shape, dtype, order, data),
            // Before NumPy 1.0.
            Some(&[shape, dtype, order, data]) => (shape, dtype, order, data),
            _ => return Ok(Node::Object(vec![state])),
        };
        let (shape, dtype, order, data) = fields;
        let is_fortran = match self.values.node(order) {
            Node::Bool(value) => Some(*value),
            Node::Int(value @ 0..=1) => Some(*value == 1),
            _ => None,
        };
        let array = self.array(shape, dtype, is_fortran, data)?;
        Ok(array.unwrap_or_else(|| Node::Object(vec![state])))
    }

    /// `_frombuffer(data, dtype, shape, order)`, of protocol 5.
    pub(super) fn buffered(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        let found = match self.values.items(arguments) {
            Some(&[data, dtype, shape, order]) => Some((data, dtype, shape, order)),
            // The order of axes, for arrays that are neither C nor Fortran, comes last.
            Some(&[data, dtype, shape, order, _axes]) => Some((data, dtype, shape, order)),
            _ => None,
        };
        let mut array = None;
        if let Some((data, dtype, shape, order)) = found {
            let is_fortran = match self.values.short_text(order, 1) {
                Some("C") => Some(false),
                Some("F") => Some(true),
                _ => None,
            };
            array = self.array(shape, dtype, is_fortran, data)?;
        }
        self.values
            .add(array.unwrap_or_else(|| Node::Object(vec![callable, arguments])))
    }

    /// The array of these fields, if it is one of numbers.
    fn array(
        &mut self,
        shape: Id,
        dtype: Id,
        is_fortran: Option<bool>,
        data: Id,
    ) -> Result<Option<Node>, Fault> {
        // One shape can serve many arrays.
        let axes = self.values.items(shape).map_or(0, <[_]>::len);
        self.charge(axes.min(MAX_AXES))?;
        let Node::NumpyType(Some(kind)) = self.values.node(dtype) else {
            return Ok(None);
        };
        let (Some(dtype), Some(is_fortran), Some(_)) =
            (number(*kind), is_fortran, self.axes(shape))
        else {
            return Ok(None);
        };
        let is_bytes = matches!(
            self.values.node(data),
            Node::Bytes(_) | Node::Text(_) | Node::Latin1(_) | Node::Object(_)
        );
        if !is_bytes {
            return Ok(None);
        }
        self.values.arrays.push(ArrayRef {
            dtype,
            shape,
            is_fortran,
            data,
        });
        Ok(Some(Node::Array((self.values.arrays.len() - 1) as u32)))
    }
}

/// The element types that both NumPy and safetensors have.
fn number(kind: [u8; 2]) -> Option<DType> {
    DType::parse(match &kind {
        b"b1" => "BOOL",
        b"f2" => "F16",
        b"f4" => "F32",
        b"f8" => "F64",
        b"i1" => "I8",
        b"i2" => "I16",
        b"i4" => "I32",
        b"i8" => "I64",
        b"u1" => "U8",
        b"u2" => "U16",
        b"u4" => "U32",
        b"u8" => "U64",
        b"c8" => "C64",
        _ => return None,
    })
}

impl Values<'_> {
    /// Whether a pickle says how to make NumPy arrays.
    pub fn names_arrays(&self) -> bool {
        let makers = [Global::NumpyReconstruct, Global::NumpyFromBuffer];
        let mut nodes = self.nodes.iter();
        nodes.any(|node| matches!(node, Node::Global(global) if makers.contains(global)))
    }

    /// Where the `len` bytes of an array are; `None` if it has none that are known.
    pub fn array_bytes(&self, array: &ArrayRef, len: u64) -> Option<ArrayBytes<'_>> {
        let at = |span: Span, text: Option<Id>| {
            Some(ArrayBytes {
                begin: self.cursor.offset(span),
                stored: span.len() as u64,
                text: text.and_then(|id| Some((id, self.text(id)?))),
            })
        };
        match *self.node(array.data) {
            Node::Bytes(span) => at(span, None),
            // Python 2 wrote bytes as text.
            Node::Text(span) if span.len() as u64 == len => at(span, None),
            Node::Text(span) => at(span, Some(array.data)),
            Node::Latin1(text) => match *self.node(text) {
                Node::Text(span) => at(span, Some(text)),
                _ => None,
            },
            _ => None,
        }
    }
}
