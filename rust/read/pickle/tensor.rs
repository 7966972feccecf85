//! Gives the values of calls of torch's rebuild functions, and of the state that tensors are given later.

use super::cursor::Fault;
use super::cursor::refuse;
use super::element::Element;
use super::global::{Global, Rebuild};
use super::machine::Machine;
use super::reduce::wrong;
use super::value::{Id, Node, TensorRef};

/// As many axes as torch allows.
pub const MAX_AXES: usize = 64;
/// Of the dictionaries below, one can belong to many tensors, each of which looks at all of it.
const MAX_METADATA: usize = 8;
const MAX_ATTRIBUTES: usize = 64;
/// Attributes by which torch replaces what a tensor holds.
const CONTENT: [&str; 2] = ["data", "_data"];

impl Machine<'_> {
    /// Refuses a state of a tensor that is more than attributes beside what the tensor holds.
    pub(super) fn check_attributes(&mut self, state: Id) -> Result<(), Fault> {
        // One state can be given to many tensors.
        self.charge(
            self.values
                .pairs(state)
                .map_or(0, <[_]>::len)
                .min(MAX_ATTRIBUTES),
        )?;
        let pairs = match self.values.node(state) {
            Node::None => return Ok(()),
            Node::Dict(pairs) if pairs.len() <= MAX_ATTRIBUTES => pairs,
            Node::Dict(pairs) => {
                let count = pairs.len();
                return Err(refuse(format!(
                    "a tensor with {count} attributes; accepted: at most {MAX_ATTRIBUTES}"
                )));
            }
            _ => return Err(self.unfit(state, "the state of a tensor", "None or a dictionary")),
        };
        let replaces = |&(key, _): &(Id, Id)| CONTENT.iter().any(|c| self.values.is_text(key, c));
        if pairs.iter().any(replaces) {
            return Err(refuse(
                "a tensor whose state replaces what it holds; accepted: other attributes",
            ));
        }
        Ok(())
    }

    pub(super) fn tensor(&mut self, rebuild: Rebuild, arguments: Id) -> Result<Id, Fault> {
        // So can one shape.
        let shape = self.values.items(arguments).and_then(|list| list.get(2));
        let axes = shape
            .and_then(|&shape| self.values.items(shape))
            .map_or(0, <[_]>::len);
        self.charge(2 * axes.min(MAX_AXES))?;
        let node = match self.tensor_node(rebuild, arguments) {
            Ok(node) => node,
            // What the objects would have been is not known.
            Err(_) if self.holds_objects(arguments)? => {
                return Err(wrong("torch._utils._rebuild_tensor"));
            }
            // Who asks for the tensor knows its name.
            Err(why) => Node::Unreadable(why),
        };
        self.values.add(node)
    }

    /// The tensor that a rebuilder makes; fails with what the tensor is if the arguments do not fit it.
    fn tensor_node(&mut self, rebuild: Rebuild, arguments: Id) -> Result<Node, &'static str> {
        const COUNT: &str = "rebuilt from a wrong number of arguments";
        let list = self.values.items(arguments).ok_or(COUNT)?;
        let (metadata_at, counts) = match rebuild {
            Rebuild::V1 => (None, 4..=4),
            Rebuild::V2 => (Some(6), 6..=7),
            Rebuild::V3 => (Some(7), 7..=8),
        };
        if !counts.contains(&list.len()) {
            return Err(COUNT);
        }
        let &Node::Storage(storage) = self.values.node(list[0]) else {
            return Err("rebuilt from something that is no storage");
        };
        let element = match rebuild {
            Rebuild::V3 => self.element(list[6]).ok_or("rebuilt without a dtype")?,
            _ => self.values.storages[storage as usize].element,
        };
        let offset = self.values.size(list[1]);
        let tensor = TensorRef {
            storage,
            offset: offset.ok_or("rebuilt at a wrong offset")?,
            shape: list[2],
            strides: list[3],
            element,
        };
        let metadata = metadata_at.and_then(|at| list.get(at).copied());
        let shape = self.axes(tensor.shape);
        shape.ok_or("rebuilt with a wrong shape")?;
        if self.axes(tensor.strides) != shape {
            return Err("rebuilt with wrong strides");
        }
        if let Some(why) = self.lazy(metadata).ok_or("rebuilt with wrong metadata")? {
            return Ok(Node::Unreadable(why));
        }
        self.values.tensors.push(tensor);
        Ok(Node::Tensor((self.values.tensors.len() - 1) as u32))
    }

    fn element(&self, id: Id) -> Option<Element> {
        match self.values.node(id) {
            Node::Global(Global::DType(element)) => Some(*element),
            _ => None,
        }
    }

    /// How many non-negative integers a tuple has, and that it has nothing else.
    pub(super) fn axes(&self, id: Id) -> Option<usize> {
        let items = self.values.items(id)?;
        let sizes = || items.iter().all(|&item| self.values.size(item).is_some());
        (items.len() <= MAX_AXES && sizes()).then_some(items.len())
    }

    /// Whether metadata say that the bytes are not yet what they stand for.
    fn lazy(&self, metadata: Option<Id>) -> Option<Option<&'static str>> {
        let Some(metadata) = metadata else {
            return Some(None);
        };
        let bit = |&(_, value): &(Id, Id)| !matches!(self.values.node(value), Node::Bool(false));
        match self.values.node(metadata) {
            Node::None => Some(None),
            Node::Dict(pairs) if pairs.len() > MAX_METADATA => None,
            Node::Dict(pairs) if pairs.iter().any(bit) => Some(Some(
                "a conjugated or negated view (resolve_conj(), resolve_neg())",
            )),
            Node::Dict(_) => Some(None),
            _ => None,
        }
    }
}
