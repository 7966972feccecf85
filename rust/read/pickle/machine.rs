//! Holds a pickle machine's state: its stack, marks, memo and values.

use super::cursor::{Cursor, Fault, Span, refuse};
use super::value::MAX_VALUES;
use super::value::{Id, Kind, Node, Values};
use crate::runtime::parallel::Cancel;

/// Python itself stops at about this depth of recursion when it writes.
const MAX_MARKS: usize = 1000;
/// Looks at values beyond one for each opcode, which shared values make many of.
const MAX_LOOKS: usize = 32_000_000;

/// A machine that has read some of the pickles of a file.
#[derive(Debug)]
pub struct Machine<'a> {
    /// All values so far.
    pub values: Values<'a>,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack, below which only the matching opcode reaches.
    pub(super) marks: Vec<usize>,
    pub(super) memo: Vec<Option<Id>>,
    /// Elements that were copied from one container into another.
    pub(super) copied: usize,
    /// Looks at values that opcodes cost beyond the bytes that they take in the file.
    looks: usize,
    pub(super) cancel: &'a Cancel,
}

impl<'a> Machine<'a> {
    /// A machine at the beginning of `cursor`.
    pub fn new(cursor: Cursor<'a>, cancel: &'a Cancel) -> Self {
        Self {
            values: Values::new(cursor),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            copied: 0,
            looks: 0,
            cancel,
        }
    }

    /// Refuses a pickle that is more work than its bytes are worth.
    pub(super) fn charge(&mut self, looks: usize) -> Result<(), Fault> {
        self.looks = self.looks.saturating_add(looks);
        if self.looks > MAX_LOOKS {
            return Err(refuse(format!(
                "a pickle that looks at shared values more than {MAX_LOOKS} times; accepted: weights"
            )));
        }
        Ok(())
    }

    pub(super) fn push(&mut self, node: Node) -> Result<(), Fault> {
        let id = self.values.add(node)?;
        self.push_id(id)
    }

    pub(super) fn push_id(&mut self, id: Id) -> Result<(), Fault> {
        if self.stack.len() == MAX_VALUES {
            return Err(refuse(format!(
                "a pickle that stacks more than {MAX_VALUES} values"
            )));
        }
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn push_set(&mut self, items: Vec<Id>) -> Result<(), Fault> {
        self.push(Node::List(items))?;
        let id = self.top()?;
        self.values.classes.push((id, Kind::Other));
        Ok(())
    }

    pub(super) fn push_text(&mut self, span: Span) -> Result<(), Fault> {
        let is_text = std::str::from_utf8(self.values.cursor.bytes(span)).is_ok();
        self.push(if is_text {
            Node::Text(span)
        } else {
            Node::Bytes(span)
        })
    }

    pub(super) fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> Result<Id, Fault> {
        self.stack[self.floor()..]
            .last()
            .copied()
            .ok_or_else(underflow)
    }

    pub(super) fn pop(&mut self) -> Result<Id, Fault> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// `POP` also takes back a mark, as Python has it.
    pub(super) fn pop_any(&mut self) -> Result<(), Fault> {
        if self.stack.len() > self.floor() {
            self.stack.pop();
            return Ok(());
        }
        self.marks.pop().map(drop).ok_or_else(underflow)
    }

    pub(super) fn mark(&mut self) -> Result<(), Fault> {
        if self.marks.len() == MAX_MARKS {
            return Err(refuse(format!("a pickle nested deeper than {MAX_MARKS}")));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    pub(super) fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        // Not split_off, which may hand out the capacity of the whole stack.
        let items = self.stack[mark..].to_vec();
        self.stack.truncate(mark);
        Ok(items)
    }

    pub(super) fn extend(&mut self, items: &[Id]) -> Result<(), Fault> {
        let target = self.top()?;
        match &mut self.values.nodes[target as usize] {
            Node::List(list) | Node::Object(list) => list.extend_from_slice(items),
            Node::Class(_) | Node::Nameless(_) => {}
            _ => return Err(self.unfit(target, "appended to", "a list or set")),
        }
        Ok(())
    }

    pub(super) fn assign(&mut self, pairs: &[(Id, Id)]) -> Result<(), Fault> {
        let target = self.top()?;
        match &mut self.values.nodes[target as usize] {
            Node::Dict(dict) => dict.extend_from_slice(pairs),
            Node::Object(parts) => {
                parts.extend(pairs.iter().flat_map(|&(key, value)| [key, value]))
            }
            // A Counter holds its dictionary and takes items too.
            Node::List(_) | Node::Class(_) | Node::Nameless(_) => {}
            _ => return Err(self.unfit(target, "given items", "a dictionary")),
        }
        Ok(())
    }

    pub(super) fn unfit(&self, id: Id, verb: &str, accepted: &str) -> Fault {
        let found = self.values.kind(id);
        refuse(format!(
            "malformed pickle: {found} is {verb}; accepted: {accepted}"
        ))
    }

    pub(super) fn get(&mut self, index: usize) -> Result<(), Fault> {
        let id = self.memo.get(index).copied().flatten();
        self.push_id(id.ok_or_else(|| refuse(format!("malformed pickle: no memo {index}")))?)
    }

    pub(super) fn put(&mut self, index: usize) -> Result<(), Fault> {
        let id = self.top()?;
        // Python numbers one after the other, and each takes a byte at least.
        if index >= MAX_VALUES || index > self.values.cursor.position() {
            return Err(refuse(format!(
                "malformed pickle: memo {index} out of order"
            )));
        }
        if index >= self.memo.len() {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(id);
        Ok(())
    }

    pub(super) fn index(&self, line: Span) -> Result<usize, Fault> {
        let text = std::str::from_utf8(self.values.cursor.bytes(line)).ok();
        let index = text.and_then(|text| text.parse().ok());
        index.ok_or_else(|| refuse("malformed pickle: a memo number is wanted"))
    }
}

/// Keys and values that follow one another.
pub fn paired(items: &[Id]) -> Result<Vec<(Id, Id)>, Fault> {
    let pairs = items.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(refuse("malformed pickle: a key without a value"));
    }
    Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
}

fn underflow() -> Fault {
    refuse("malformed pickle: the stack is empty")
}
