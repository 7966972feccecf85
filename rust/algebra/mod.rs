//! Multiplies matrices of normalised rows, streamed a block of columns at a time.

mod column_block;
pub mod combine;
pub mod gram;
mod matmul;
