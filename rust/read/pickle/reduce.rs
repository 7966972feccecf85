//! Gives the values of calls of allow-listed classes and functions, without calling anything.

use super::cursor::Fault;
use super::cursor::refuse;
use super::global::Global;
use super::machine::Machine;
use super::numpy;
use super::value::{Id, Kind, MAX_VALUES, Node};

impl Machine<'_> {
    /// A class or function and its arguments become its result.
    pub(super) fn reduce(&mut self) -> Result<(), Fault> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let result = self.call(callable, arguments)?;
        self.push_id(result)
    }

    pub(super) fn new_object_ex(&mut self) -> Result<(), Fault> {
        let keywords = self.pop()?;
        if !matches!(self.values.node(keywords), Node::Dict(_)) && !self.values.is_object(keywords)
        {
            return Err(self.unfit(keywords, "used as keywords", "a dictionary"));
        }
        self.reduce()?;
        let made = self.top()?;
        if let Node::Object(parts) = &mut self.values.nodes[made as usize] {
            parts.push(keywords);
        }
        Ok(())
    }

    /// The state of a value is dropped, but for that of an object, which is kept beside what it was made from,
    /// and that of a NumPy type, which has its byte order.
    pub(super) fn build(&mut self) -> Result<(), Fault> {
        let state = self.pop()?;
        let target = self.top()?;
        let is_object = self.values.is_object(state);
        let is_little = numpy::is_little(&self.values, state);
        match &mut self.values.nodes[target as usize] {
            Node::Object(parts) => parts.push(state),
            Node::EmptyArray => {
                let array = self.filled(state)?;
                self.values.nodes[target as usize] = array;
            }
            // NumPy would give it other content.
            Node::Array(_) => {
                self.values.nodes[target as usize] = Node::Object(vec![state]);
            }
            &mut Node::Tensor(tensor) if is_object => {
                // It may replace what the tensor holds.
                let tensor = self.values.add(Node::Tensor(tensor))?;
                self.values.nodes[target as usize] = Node::Object(vec![tensor, state]);
            }
            Node::Tensor(_) => self.check_attributes(state)?,
            Node::NumpyType(Some(_)) if !is_little => {
                self.values.nodes[target as usize] = Node::NumpyType(None);
            }
            Node::NumpyType(_)
            | Node::Class(_)
            | Node::Nameless(_)
            | Node::Dict(_)
            | Node::List(_)
            | Node::Unreadable(_) => {}
            _ => return Err(self.unfit(target, "given a state", "an object")),
        }
        Ok(())
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        if self.values.is_object(callable) || self.values.is_object(arguments) {
            return self.object(callable, arguments);
        }
        let outcome = match self.values.node(callable) {
            Node::Global(Global::FromType) => self.call_of_type(callable, arguments),
            _ => self.call_simple(callable, arguments),
        };
        match outcome {
            // What is known does not take such arguments, but what they would have been is not known.
            Err(Fault::Content(_)) if self.holds_objects(arguments)? => {
                self.object(callable, arguments)
            }
            outcome => outcome,
        }
    }

    fn object(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        self.values.add(Node::Object(vec![callable, arguments]))
    }

    /// A tensor of a subclass, or one with attributes.
    fn call_of_type(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        let list = self.values.items(arguments);
        let list = list.ok_or_else(|| wrong("torch._tensor._rebuild_from_type_v2"))?;
        let (inner, class, inner_arguments, state) = from_type(list)?;
        // What a subclass means by its bytes is not known.
        if [inner, class, inner_arguments, state]
            .iter()
            .any(|&id| self.values.is_object(id))
        {
            return self.object(callable, arguments);
        }
        // Attributes, or those and what is in slots.
        match *self.values.node(state) {
            Node::Tuple(ref parts) if parts.len() == 2 => {
                let (attributes, slots) = (parts[0], parts[1]);
                self.check_attributes(attributes)?;
                self.check_attributes(slots)?;
            }
            _ => self.check_attributes(state)?,
        }
        self.call_simple(inner, inner_arguments)
    }

    /// A call of anything but a rebuilder that calls another, so that this ends.
    fn call_simple(&mut self, callable: Id, arguments: Id) -> Result<Id, Fault> {
        let Node::Tuple(list) = self.values.node(arguments) else {
            return Err(self.unfit(arguments, "the arguments of a call", "a tuple"));
        };
        let &Node::Global(global) = self.values.node(callable) else {
            return Err(self.unfit(callable, "called", "a class or function"));
        };
        let first = list.first().copied();
        let node = match global {
            Global::Parameter | Global::Size => return self.given_back(global, first),
            Global::Rebuild(rebuild) => return self.tensor(rebuild, arguments),
            Global::Dict | Global::OrderedDict => Node::Dict(self.pairs_of(first)?),
            Global::DefaultDict => Node::Dict(Vec::new()),
            Global::Container => Node::List(first.into_iter().collect()),
            Global::Unreadable(why) => Node::Unreadable(why),
            Global::NumpyScalar => numpy::scalar(&self.values, list)
                .ok_or_else(|| wrong("numpy.core.multiarray.scalar"))?,
            Global::NumpyType => numpy::number_type(&self.values, first),
            Global::NumpyReconstruct => return self.reconstructed(callable, arguments),
            Global::NumpyFromBuffer => return self.buffered(callable, arguments),
            Global::NumpyArray => Node::Object(vec![callable, arguments]),
            Global::Encode => self.encoded(first)?,
            Global::Bytes => Node::Object(Vec::new()),
            Global::FromType | Global::Storage(_) | Global::DType(_) => {
                return Err(self.unfit(callable, "called", "a function that makes data"));
            }
        };
        let kind = match global {
            Global::OrderedDict => Some(Kind::Ordered),
            Global::DefaultDict | Global::Container => Some(Kind::Other),
            _ => None,
        };
        let id = self.values.add(node)?;
        self.values.classes.extend(kind.map(|kind| (id, kind)));
        Ok(id)
    }

    fn given_back(&self, global: Global, argument: Option<Id>) -> Result<Id, Fault> {
        let id = argument.ok_or_else(|| wrong("a class of torch"))?;
        match (global, self.values.node(id)) {
            (Global::Size, Node::Tuple(_) | Node::List(_))
            | (Global::Parameter, Node::Tensor(_) | Node::Unreadable(_) | Node::Object(_)) => {
                Ok(id)
            }
            _ => Err(wrong("a class of torch")),
        }
    }

    fn encoded(&self, text: Option<Id>) -> Result<Node, Fault> {
        let text = text.ok_or_else(|| wrong("_codecs.encode"))?;
        match self.values.node(text) {
            Node::Text(_) => Ok(Node::Latin1(text)),
            _ => Err(wrong("_codecs.encode")),
        }
    }

    /// The pairs that a dictionary is made from; Python 2 wrote ordered ones like this.
    fn pairs_of(&mut self, argument: Option<Id>) -> Result<Vec<(Id, Id)>, Fault> {
        let Some(argument) = argument else {
            return Ok(Vec::new());
        };
        let pairs: Option<Vec<(Id, Id)>> = match self.values.node(argument) {
            Node::List(items) | Node::Tuple(items) => {
                let pair = |&item: &Id| match self.values.items(item) {
                    Some(&[key, value]) => Some((key, value)),
                    _ => None,
                };
                self.check_copy(items.len())?;
                items.iter().map(pair).collect()
            }
            Node::Dict(pairs) => {
                self.check_copy(pairs.len())?;
                Some(pairs.clone())
            }
            Node::None => Some(Vec::new()),
            _ => None,
        };
        let pairs = pairs.ok_or_else(|| wrong("a dictionary"))?;
        self.copied += pairs.len();
        Ok(pairs)
    }

    /// Copies are the only values that cost more memory than bytes in the file.
    fn check_copy(&self, len: usize) -> Result<(), Fault> {
        if self.copied + len > MAX_VALUES {
            return Err(refuse(format!(
                "a pickle that copies more than {MAX_VALUES} values; accepted: weights"
            )));
        }
        Ok(())
    }
}

/// The rebuilder, the class, its arguments and the state, of a subclass or a tensor with attributes.
fn from_type(arguments: &[Id]) -> Result<(Id, Id, Id, Id), Fault> {
    match arguments {
        &[function, class, arguments, state] => Ok((function, class, arguments, state)),
        _ => Err(wrong("torch._tensor._rebuild_from_type_v2")),
    }
}

/// The fault of a call with other arguments than torch writes.
pub fn wrong(function: &str) -> Fault {
    refuse(format!("malformed pickle: wrong arguments for {function}"))
}
