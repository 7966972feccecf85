//! Names what a pickle would have made by code, which is known here by what it was made from only.

use std::collections::HashSet;

use super::cursor::{Fault, Span};
use super::machine::Machine;
use super::value::{Class, Id, Node, Values};
use crate::error::printable;

/// Steps from an object to the class that it was made by, and values looked at on each of them.
const MAX_STEPS: usize = 64;
/// Characters of a name that are shown.
const SHOWN: usize = 100;
/// Names that are told apart; there may be more.
const MAX_NAMES: usize = 1000;

impl Machine<'_> {
    /// Whether a tuple or list, or one of those in it, holds an object among its first items.
    pub(super) fn holds_objects(&mut self, id: Id) -> Result<bool, Fault> {
        let values = &self.values;
        let mut looks = 0;
        let mut holds = |id: Id| {
            let items = values.items(id).unwrap_or_default().iter().take(MAX_STEPS);
            looks += 1 + items.len();
            values.is_object(id) || items.into_iter().any(|&item| values.is_object(item))
        };
        let mut items = values.items(id).unwrap_or_default().iter().take(MAX_STEPS);
        let found = holds(id) || items.any(|&item| holds(item));
        self.charge(looks)?;
        Ok(found)
    }
}

impl Values<'_> {
    /// Whether the value would have been made by code, or is such code.
    pub fn is_object(&self, id: Id) -> bool {
        matches!(
            self.node(id),
            Node::Class(_) | Node::Nameless(_) | Node::Object(_)
        )
    }

    /// What an object was made from: all the values that it was given.
    pub fn parts(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Object(parts) => Some(parts),
            _ => None,
        }
    }

    /// The dotted name of the class or function that makes an object.
    pub fn code_name(&self, object: Id) -> String {
        let mut id = object;
        for _ in 0..MAX_STEPS {
            match self.node(id) {
                Node::Nameless(what) => return (*what).to_owned(),
                Node::Class(class) => return self.dotted(class),
                _ => {}
            }
            let Some(next) = self.maker(id) else { break };
            id = next;
        }
        "an object".to_owned()
    }

    /// The class or object by which the object came to be.
    fn maker(&self, object: Id) -> Option<Id> {
        let parts = self.parts(object)?;
        let is_plain = |&&id: &&Id| matches!(self.node(id), Node::Class(class) if class.is_plain);
        let tuples = |ids: &[Id]| {
            let items = ids
                .iter()
                .take(MAX_STEPS)
                .filter_map(|&id| match self.node(id) {
                    Node::Tuple(items) => Some(items.as_slice()),
                    _ => None,
                });
            items
                .flatten()
                .copied()
                .take(MAX_STEPS)
                .collect::<Vec<Id>>()
        };
        // As in copyreg._reconstructor(class, ...), whose name says nothing, and in a shape among arguments.
        let arguments = tuples(parts);
        let inner = tuples(&arguments);
        let all = parts.iter().take(MAX_STEPS).chain(&arguments).chain(&inner);
        let mut objects = all.filter(|&&id| id != object && self.is_object(id));
        let named = objects.clone().find(|id| !is_plain(id));
        named.or_else(|| objects.next()).copied()
    }

    /// The classes and functions that the pickles name and that are not looked at, each once, without those that
    /// are of no interest; at most `most` of them, and whether there are more.
    pub fn code_names(&self, most: usize) -> (Vec<String>, bool) {
        let mut spans: HashSet<(Span, Span)> = HashSet::new();
        let mut names: Vec<String> = Vec::new();
        let classes = self.nodes.iter().filter_map(|node| match node {
            Node::Class(class) if !class.is_plain => Some(class),
            _ => None,
        });
        for class in classes {
            if spans.len() == MAX_NAMES {
                return (names, true);
            }
            if !spans.insert((class.module, class.name)) {
                continue;
            }
            let name = self.dotted(class);
            if names.contains(&name) {
                continue;
            }
            if names.len() == most {
                return (names, true);
            }
            names.push(name);
        }
        (names, false)
    }

    fn dotted(&self, class: &Class) -> String {
        let part = |span: Span| {
            let bytes = self.cursor.bytes(span);
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
            printable(&text.chars().take(SHOWN).collect::<String>())
        };
        format!("{}.{}", part(class.module), part(class.name))
    }
}
