//! Reads pickles as data only: it imports nothing, calls nothing and runs nothing that a file names.
//!
//! A pickle is a program for a stack machine. This one knows the opcodes that Python writes, and a
//! fixed table of globals that make data (`global.rs`); what any other would make is an object of which
//! nothing is known but its class and what it was given (`object.rs`). Values live in an arena and refer to one another by number, so that shared values and cycles cost nothing, and
//! every size that a file announces is checked against what is there before memory is taken.

mod array;
mod cursor;
mod element;
mod global;
mod integer;
mod machine;
mod numpy;
mod object;
mod opcode;
mod persistent;
mod plain;
mod reduce;
mod run;
mod scalar;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

pub use array::ArrayRef;
pub use cursor::{Cursor, Fault, MAX_PICKLE, TOO_LONG};
pub use machine::Machine;
pub use value::{Id, Kind, Node, StorageRef, TensorRef, Values};
