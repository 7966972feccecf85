//! Finds out whether tensors are below a value, and what an object is that holds some.

use super::candidates::{MAX_CANDIDATES, Search, is_followed};
use crate::dtype::element_count;
use crate::read::pickle::{Id, Node};

const MAX_NESTING: usize = 64;
/// Arguments of a call that are looked at, and of those in each of them.
const ARGUMENTS: usize = 64;

/// What an object is in a dictionary of tensors.
pub enum Role {
    /// Something beside them.
    Beside,
    /// A tensor that only code could make, from what is one itself or the bytes of one.
    Tensor,
    /// Something that holds tensors, with so many numbers.
    Holder(u64),
}

impl Search<'_, '_> {
    /// Whether a value is or contains a tensor; below a depth that no weights have it may as well.
    pub(super) fn holds_tensors(&mut self, value: Id, depth: usize) -> bool {
        let values = self.values;
        let inner: &mut dyn Iterator<Item = Id> = match values.node(value) {
            Node::Tensor(_) | Node::Unreadable(_) => return true,
            // What an object makes of a storage is a tensor, most likely.
            Node::Storage(_) => return depth > 0,
            Node::List(items) | Node::Tuple(items) | Node::Object(items) => {
                &mut items.iter().copied()
            }
            Node::Dict(pairs) => &mut pairs.iter().map(|&(_, value)| value),
            _ => return false,
        };
        if depth == MAX_NESTING {
            return true;
        }
        if self.searched.is_empty() {
            self.searched = vec![None; values.nodes()];
        }
        if let Some(holds) = self.searched[value as usize].replace(false) {
            self.searched[value as usize] = Some(holds);
            return holds;
        }
        for item in inner {
            if self.holds_tensors(item, depth + 1) {
                self.searched[value as usize] = Some(true);
                return true;
            }
        }
        false
    }

    /// What an object under a key is in a dictionary of tensors.
    pub(super) fn role(&mut self, key: &str, object: Id) -> Role {
        if !is_followed(key, &[]) || !self.may_be_weights(object) {
            return Role::Beside;
        }
        let values = self.values;
        let is_tensor = |&id: &Id| {
            matches!(
                values.node(id),
                Node::Tensor(_) | Node::Unreadable(_) | Node::Storage(_)
            )
        };
        let parts = values.parts(object).unwrap_or_default();
        let arguments = parts
            .get(1)
            .and_then(|&id| values.items(id))
            .unwrap_or_default();
        let inner = |&id: &Id| {
            values
                .items(id)
                .unwrap_or_default()
                .iter()
                .take(ARGUMENTS)
                .any(is_tensor)
        };
        let arguments = arguments.iter().take(ARGUMENTS);
        if parts.iter().take(1).any(is_tensor)
            || arguments.clone().any(is_tensor)
            || arguments.clone().any(inner)
        {
            return Role::Tensor;
        }
        match self.count_below(object) {
            (0, _) => Role::Beside,
            (_, 0) => Role::Tensor,
            (_, numbers) => Role::Holder(numbers),
        }
    }

    /// Whether a value is an object that holds tensors, and not those of an optimiser.
    pub(super) fn may_be_weights(&mut self, object: Id) -> bool {
        if self.values.parts(object).is_none() || !self.holds_tensors(object, 0) {
            return false;
        }
        self.names += 1;
        self.names > MAX_CANDIDATES || is_followed(&self.values.code_name(object), &[])
    }

    /// How many tensors are below an object, and how many numbers in them; none that another holds too.
    pub(super) fn count_below(&mut self, object: Id) -> (usize, u64) {
        if let Some(&known) = self.below.get(&object) {
            return known;
        }
        let values = self.values;
        self.counted.resize(values.nodes(), false);
        let (mut tensors, mut numbers) = (0, 0_u64);
        let mut open = vec![object];
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut self.counted[id as usize], true) {
                continue;
            }
            match values.node(id) {
                Node::Tensor(index) => {
                    tensors += 1;
                    let shape = values.tensors[*index as usize].shape;
                    numbers = numbers.saturating_add(self.count(shape));
                }
                Node::Unreadable(_) | Node::Storage(_) => tensors += 1,
                Node::List(items) | Node::Tuple(items) | Node::Object(items) => open.extend(items),
                Node::Dict(pairs) => open.extend(pairs.iter().map(|&(_, value)| value)),
                _ => {}
            }
        }
        self.below.insert(object, (tensors, numbers));
        (tensors, numbers)
    }

    /// Elements of a shape.
    pub(super) fn count(&self, shape: Id) -> u64 {
        let sizes = self.values.items(shape).unwrap_or_default().iter();
        let sizes: Option<Vec<usize>> = sizes
            .map(|&size| self.values.size(size)?.try_into().ok())
            .collect();
        let count = sizes.and_then(|sizes| element_count(&sizes));
        count.map_or(u64::MAX, |count| count as u64)
    }
}
