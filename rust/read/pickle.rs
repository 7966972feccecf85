//! A reader of pickles that yields data only: no import, no call, nothing that a file could run.
//!
//! A pickle is a program for a stack machine. This one knows the opcodes that Python writes, and a
//! fixed table of globals (`global.rs`); whatever else a file asks for is refused. Values live in an
//! arena and refer to one another by number, so that shared values and cycles cost nothing, and
//! every size that a file announces is checked against what is there before memory is taken.

mod cursor;
mod element;
mod global;
mod integer;
mod machine;
mod numpy;
mod opcode;
mod persistent;
mod reduce;
mod scalar;
mod stack;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

pub use cursor::{Cursor, Fault};
pub use element::Element;
pub use machine::Machine;
pub use value::{Id, Node, StorageRef, TensorRef, Values};

/// The most bytes of pickle that are read from one file.
pub const MAX_PICKLE: u64 = 64 << 20;

/// The most values, and the most of anything else that a pickle can pile up.
const MAX_VALUES: usize = 4_000_000;
