//! Holds the values of a pickle: nodes in an arena, which refer to one another by number.

use super::array::ArrayRef;
use super::cursor::{Cursor, Fault, Span};
use super::element::Element;
use super::global::Global;

/// The most values, and the most of anything else that a pickle can pile up.
pub const MAX_VALUES: usize = 4_000_000;

/// What weights take about, so that the arena need not grow; never more than 8 bytes for each.
const BYTES_PER_NODE: usize = 4;

/// The number of a node.
pub type Id = u32;

/// One value.
#[derive(Debug)]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits, also from a NumPy scalar.
    Int(i64),
    /// An integer beyond 64 bits, of which nothing is known.
    BigInt,
    /// A float, also from a NumPy scalar.
    Float(f64),
    /// A `str`; valid UTF-8.
    Text(Span),
    /// `bytes`, and text that is not UTF-8.
    Bytes(Span),
    /// The bytes that the node, a text, has in Latin-1: how protocol 2 writes `bytes`.
    Latin1(Id),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list, set or the like.
    List(Vec<Id>),
    /// A dictionary, with every assignment in its order, so that the last one of a key counts.
    Dict(Vec<(Id, Id)>),
    /// A class or function of the allow-list, which makes data.
    Global(Global),
    /// Any other class or function.
    Class(Class),
    /// What a pickle names without a name: a number of a registry, an id.
    Nameless(&'static str),
    /// What a [`Node::Class`] or the like would have made: that, and everything that it was given. Nothing
    /// of it ever runs; it is empty if nothing is known.
    Object(Vec<Id>),
    /// A storage of tensors, by its index in [`Values::storages`].
    Storage(u32),
    /// A tensor, by its index in [`Values::tensors`].
    Tensor(u32),
    /// A tensor that cannot be read, and why.
    Unreadable(&'static str),
    /// A NumPy array of numbers, by its index in [`Values::arrays`].
    Array(u32),
    /// A NumPy array that was not given its content yet.
    EmptyArray,
    /// A NumPy type: kind and bytes, as in `f8`, if it is a number in little-endian order.
    NumpyType(Option<[u8; 2]>),
}

/// A class or function that makes nothing here, by its name as the file has it.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    pub(super) module: Span,
    pub(super) name: Span,
    /// Whether it is well known and of no interest to anybody, so that nobody need be told of it.
    pub(super) is_plain: bool,
}

/// A storage as a pickle names it.
#[derive(Debug, Clone, Copy)]
pub struct StorageRef {
    /// The type that its size is counted in.
    pub element: Element,
    /// The text that it is stored under.
    pub key: Id,
    /// Bytes in it; of a view, bytes in what it is a view of.
    pub bytes: u64,
    /// First byte and one past the last that a tensor may use.
    pub view: (u64, u64),
}

/// A tensor as a pickle names it; shape and strides are checked to be lists of integers, no more.
#[derive(Debug, Clone, Copy)]
pub struct TensorRef {
    /// Index in [`Values::storages`].
    pub storage: u32,
    /// Elements before the first one.
    pub offset: u64,
    /// Axis sizes.
    pub shape: Id,
    /// Elements from one to the next on each axis.
    pub strides: Id,
    /// Element type.
    pub element: Element,
}

/// The arena of one or more pickles of a file.
#[derive(Debug)]
pub struct Values<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) nodes: Vec<Node>,
    /// Storages in the order of the pickle, once for every time that one is named.
    pub storages: Vec<StorageRef>,
    /// Tensors in the order of the pickle.
    pub tensors: Vec<TensorRef>,
    /// NumPy arrays in the order of the pickle.
    pub arrays: Vec<ArrayRef>,
    /// Containers of another class than their nodes say, in the order of the pickle.
    pub(super) classes: Vec<(Id, Kind)>,
}

/// The class of a container that is no plain list or dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `OrderedDict`.
    Ordered,
    /// A set, a `defaultdict` or the like.
    Other,
}

impl<'a> Values<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self {
            nodes: Vec::with_capacity(MAX_VALUES.min(cursor.ready() / BYTES_PER_NODE)),
            cursor,
            storages: Vec::new(),
            tensors: Vec::new(),
            arrays: Vec::new(),
            classes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, node: Node) -> Result<Id, Fault> {
        if self.nodes.len() == MAX_VALUES {
            return Err(Fault::Content(format!(
                "a pickle of more than {MAX_VALUES} values; accepted: weights, not data sets"
            )));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    /// The class of a container, if it is no plain list or dictionary.
    pub fn class(&self, id: Id) -> Option<Kind> {
        let place = self.classes.binary_search_by_key(&id, |&(id, _)| id);
        place.ok().map(|place| self.classes[place].1)
    }

    /// The node with a number that this arena gave.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of pickle that were read.
    pub fn bytes_read(&self) -> usize {
        self.cursor.position()
    }

    /// Bytes of a `str`, and 0 for anything else. A long one can be shared by many values, so that
    /// this is to be asked before each of them costs time.
    pub fn text_len(&self, id: Id) -> usize {
        match self.node(id) {
            Node::Text(span) => span.len(),
            _ => 0,
        }
    }

    /// A `str` of at most `most` bytes.
    pub fn short_text(&self, id: Id, most: usize) -> Option<&str> {
        (self.text_len(id) <= most).then(|| self.text(id))?
    }

    /// Whether the value is this `str`.
    pub fn is_text(&self, id: Id, text: &str) -> bool {
        self.short_text(id, text.len()) == Some(text)
    }

    /// A `str`.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) => std::str::from_utf8(self.cursor.bytes(*span)).ok(),
            _ => None,
        }
    }

    /// A non-negative `int`.
    pub fn size(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The members of a tuple or list.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The assignments of a dictionary.
    pub fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value under a text; of several the last one.
    pub fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let pairs = self.pairs(dict)?.iter().rev();
        let mut found = pairs.filter(|(k, _)| self.is_text(*k, key));
        found.next().map(|&(_, value)| value)
    }

    /// What the value is, for messages.
    pub fn kind(&self, id: Id) -> &'static str {
        match self.node(id) {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::BigInt => "an integer",
            Node::Float(_) => "a float",
            Node::Text(_) => "a text",
            Node::Bytes(_) | Node::Latin1(_) => "bytes",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dictionary",
            Node::Global(_) | Node::Class(_) => "a class or function",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) | Node::Unreadable(_) => "a tensor",
            Node::Array(_) | Node::EmptyArray => "a NumPy array",
            Node::NumpyType(_) => "a NumPy type",
            Node::Nameless(_) | Node::Object(_) => "an object",
        }
    }
}
