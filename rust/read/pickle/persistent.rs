//! Decodes persistent ids, by which a pickle names the storages outside it.

use super::cursor::Fault;
use super::cursor::refuse;
use super::global::Global;
use super::machine::Machine;
use super::value::{Id, Node, StorageRef};

const FIELDS: usize = 5;
/// torch numbers the storages.
const MAX_KEY: usize = 256;

impl Machine<'_> {
    /// `('storage', class, key, location, numel)`, and a sixth that may be a view in old files.
    pub(super) fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let Some(storage) = self.storage(id) else {
            let object = self.unknown(id)?;
            return self.push_id(object);
        };
        self.values.storages.push(storage);
        let index = (self.values.storages.len() - 1) as u32;
        self.push(Node::Storage(index))
    }

    /// What an id stands for that is not that of a storage; one that is almost so is refused.
    fn unknown(&mut self, id: Id) -> Result<Id, Fault> {
        let kind = self.values.items(id).and_then(|items| items.first());
        let is_storage = kind.is_some_and(|&kind| self.values.is_text(kind, "storage"));
        if is_storage && !self.holds_objects(id)? {
            return Err(refuse(
                "malformed pickle: wrong persistent id; \
                 accepted: ('storage', class, key, location, numel)",
            ));
        }
        // A class with its source is ('module', class, file, source).
        let class = match self.values.items(id) {
            Some(&[_, class, ..]) if self.values.is_object(class) => class,
            _ => self.values.add(Node::Nameless("a persistent id"))?,
        };
        self.values.add(Node::Object(vec![class, id]))
    }

    fn storage(&self, id: Id) -> Option<StorageRef> {
        let values = &self.values;
        let (fields, rest) = values.items(id)?.split_at_checked(FIELDS)?;
        let &[kind, class, key, _location, numel] = fields else {
            return None;
        };
        let view = match rest {
            [] => None,
            [view] => Some(*view),
            _ => return None,
        };
        let &Node::Global(Global::Storage(element)) = values.node(class) else {
            return None;
        };
        if !values.is_text(kind, "storage") || values.short_text(key, MAX_KEY).is_none() {
            return None;
        }
        let bytes = values.size(numel)?.checked_mul(element.bytes())?;
        let view = match view {
            Some(view) if !matches!(values.node(view), Node::None) => {
                self.view(view, element.bytes(), bytes)?
            }
            _ => (0, bytes),
        };
        Some(StorageRef {
            element,
            key,
            bytes,
            view,
        })
    }

    /// The bytes that `(key, offset, numel)` leaves of a storage of `bytes`.
    fn view(&self, view: Id, element: u64, bytes: u64) -> Option<(u64, u64)> {
        let &[_key, offset, numel] = self.values.items(view)? else {
            return None;
        };
        let begin = self.values.size(offset)?.checked_mul(element)?;
        let end = begin.checked_add(self.values.size(numel)?.checked_mul(element)?)?;
        (end <= bytes).then_some((begin, end))
    }
}
