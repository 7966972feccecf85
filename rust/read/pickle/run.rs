//! Runs a pickle: reads its opcodes and applies those that hold data to the machine.

use super::cursor::{Fault, Span, refuse};
use super::global::Global;
use super::machine::{Machine, paired};
use super::opcode as op;
use super::plain::is_plain;
use super::value::{Class, Id, Node};

const HIGHEST_PROTOCOL: u8 = 5;
/// The longest name of a module, or of something in it, that is looked at, in bytes.
const MAX_GLOBAL: usize = 256;
/// Bytes of such names that cost nothing extra.
const FREE_NAME: usize = 32;
/// Opcodes between two looks at whether to stop.
const CANCEL_EVERY: usize = 4096;

impl Machine<'_> {
    /// Reads one pickle and gives its value.
    pub fn load(&mut self) -> Result<Id, Fault> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        for step in 0_usize.. {
            if step.is_multiple_of(CANCEL_EVERY) {
                let go_on = self.cancel.check();
                go_on.map_err(|error| Fault::Source(Box::new(error)))?;
            }
            let at = self.values.cursor.position();
            let code = self.values.cursor.byte()?;
            if code == op::STOP {
                return self.pop();
            }
            let known = self.step(code).map_err(|fault| fault.at(at))?;
            if !known {
                let name = op::name(code).unwrap_or("unknown");
                return Err(refuse(format!(
                    "the pickle has the opcode {name} ({code:#04x}) at byte {at}; \
                     accepted: the opcodes that hold data"
                )));
            }
        }
        unreachable!("a pickle ends before all numbers are counted")
    }

    fn step(&mut self, code: u8) -> Result<bool, Fault> {
        Ok(self.structure(code)?
            || self.scalar(code)?
            || self.text(code)?
            || self.container(code)?)
    }

    /// Opcodes that move values about, or call.
    fn structure(&mut self, code: u8) -> Result<bool, Fault> {
        match code {
            op::PROTO => self.protocol()?,
            op::FRAME => drop(self.values.cursor.array::<8>()?),
            op::MARK => self.mark()?,
            op::POP => self.pop_any()?,
            op::POP_MARK => drop(self.pop_mark()?),
            op::DUP => self.push_id(self.top()?)?,
            op::GET => {
                let line = self.values.cursor.line()?;
                self.get(self.index(line)?)?;
            }
            op::BINGET => {
                let index = self.values.cursor.byte()?;
                self.get(index.into())?;
            }
            op::LONG_BINGET => {
                let index = u32::from_le_bytes(self.values.cursor.array()?);
                self.get(index as usize)?;
            }
            op::PUT => {
                let line = self.values.cursor.line()?;
                self.put(self.index(line)?)?;
            }
            op::BINPUT => {
                let index = self.values.cursor.byte()?;
                self.put(index.into())?;
            }
            op::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.values.cursor.array()?);
                self.put(index as usize)?;
            }
            op::MEMOIZE => self.put(self.memo.len())?,
            op::GLOBAL => {
                let module = self.values.cursor.line()?;
                let name = self.values.cursor.line()?;
                self.global(module, name)?;
            }
            op::STACK_GLOBAL => self.stack_global()?,
            op::BINPERSID => self.persistent()?,
            op::PERSID => {
                self.values.cursor.line()?;
                self.push(Node::Nameless("a persistent id"))?;
            }
            op::EXT1 => self.extension::<1>()?,
            op::EXT2 => self.extension::<2>()?,
            op::EXT4 => self.extension::<4>()?,
            op::INST => {
                let module = self.values.cursor.line()?;
                let name = self.values.cursor.line()?;
                let arguments = self.pop_mark()?;
                self.global(module, name)?;
                self.instance(arguments)?;
            }
            op::OBJ => {
                let mut arguments = self.pop_mark()?;
                if arguments.is_empty() {
                    return Err(refuse("malformed pickle: OBJ without a class"));
                }
                let class = arguments.remove(0);
                self.push_id(class)?;
                self.instance(arguments)?;
            }
            op::REDUCE | op::NEWOBJ => self.reduce()?,
            op::NEWOBJ_EX => self.new_object_ex()?,
            op::BUILD => self.build()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A number that some program gave a class.
    fn extension<const N: usize>(&mut self) -> Result<(), Fault> {
        self.values.cursor.array::<N>()?;
        self.push(Node::Nameless("an extension code"))
    }

    /// A call of what is on top of the stack.
    fn instance(&mut self, arguments: Vec<Id>) -> Result<(), Fault> {
        self.push(Node::Tuple(arguments))?;
        self.reduce()
    }

    fn container(&mut self, code: u8) -> Result<bool, Fault> {
        match code {
            op::EMPTY_TUPLE => self.push(Node::Tuple(Vec::new()))?,
            op::EMPTY_LIST => self.push(Node::List(Vec::new()))?,
            op::EMPTY_SET => self.push_set(Vec::new())?,
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new()))?,
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))?;
            }
            op::LIST => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))?;
            }
            op::FROZENSET => {
                let items = self.pop_mark()?;
                self.push_set(items)?;
            }
            op::DICT => {
                let items = self.pop_mark()?;
                let pairs = paired(&items)?;
                self.push(Node::Dict(pairs))?;
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let mut items = vec![0; (code - op::TUPLE1) as usize + 1];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                self.push(Node::Tuple(items))?;
            }
            op::APPEND => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            op::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.assign(&[(key, value)])?;
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.assign(&paired(&items)?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn protocol(&mut self) -> Result<(), Fault> {
        let protocol = self.values.cursor.byte()?;
        if protocol > HIGHEST_PROTOCOL {
            return Err(refuse(format!(
                "pickle protocol {protocol}; accepted: at most {HIGHEST_PROTOCOL}"
            )));
        }
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), Fault> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.values.node(module), self.values.node(name)) {
            (&Node::Text(module), &Node::Text(name)) => self.global(module, name),
            _ => Err(self.unfit(name, "the name of a global", "two texts")),
        }
    }

    fn global(&mut self, module: Span, name: Span) -> Result<(), Fault> {
        let cursor = &self.values.cursor;
        // Texts can be shared, so that many opcodes would look at each of many bytes.
        let part = |span: Span| std::str::from_utf8(cursor.bytes(span)).ok();
        let fits = module.len() <= MAX_GLOBAL && name.len() <= MAX_GLOBAL;
        let texts = if fits {
            part(module).zip(part(name))
        } else {
            None
        };
        let node = match texts.and_then(|(module, name)| Global::find(module, name)) {
            Some(found) => Node::Global(found),
            None => Node::Class(Class {
                module,
                name,
                is_plain: texts.is_some_and(|(module, name)| is_plain(module, name)),
            }),
        };
        self.charge(
            module.len().min(MAX_GLOBAL) / FREE_NAME + name.len().min(MAX_GLOBAL) / FREE_NAME,
        )?;
        self.push(node)
    }
}
