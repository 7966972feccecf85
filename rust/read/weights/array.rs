//! Takes NumPy arrays as tensors, whose bytes are in the pickle.

use std::collections::HashMap;

use super::view::{Budget, View, dense, sizes};
use crate::dtype::element_count;
use crate::read::declared::{Begin, Storage, Weights};
use crate::read::pickle::{ArrayRef, Id, Values};

/// The storages that arrays were found in so far.
#[derive(Default)]
pub struct Places {
    /// The pickle itself.
    pickle: Option<usize>,
    /// Texts of it that stand for bytes.
    texts: HashMap<Id, usize>,
}

/// The view that an array is, and the index of the storage that it is one of.
///
/// Fails with what is wrong, to be put after the name of the tensor.
pub fn view(
    values: &Values<'_>,
    array: &ArrayRef,
    budget: &mut Budget,
    places: &mut Places,
    (pickle, weights): (&Storage, &mut Weights),
) -> Result<(View, usize), String> {
    let shape = sizes(values, array.shape).ok_or("has a size beyond this machine")?;
    let overflow = || format!("has a shape {shape:?} that overflows");
    let len = array.dtype.byte_len(&shape).ok_or_else(overflow)?;
    budget.take(shape.len(), len)?;
    let whole = |weights: &mut Weights| {
        weights.storages.push(pickle.clone());
        weights.storages.len() - 1
    };
    if element_count(&shape) == Some(0) {
        let storage = *places.pickle.get_or_insert_with(|| whole(weights));
        return Ok((
            View {
                dtype: array.dtype,
                shape,
                offset: 0,
                strides: None,
            },
            storage,
        ));
    }
    let wrong = |found: String| {
        format!("is a NumPy array of shape {shape:?} with {found}; accepted: {len} bytes")
    };
    let bytes = values
        .array_bytes(array, len)
        .ok_or_else(|| wrong("no bytes".into()))?;
    let (storage, offset) = match bytes.text {
        None if bytes.stored != len => return Err(wrong(format!("{} bytes", bytes.stored))),
        None => (
            *places.pickle.get_or_insert_with(|| whole(weights)),
            bytes.begin,
        ),
        Some((id, text)) => {
            let storage = *places.texts.entry(id).or_insert_with(|| {
                weights.storages.push(Storage {
                    file: pickle.file,
                    begin: Begin::Text {
                        of: Box::new(pickle.clone()),
                        at: bytes.begin,
                        len: bytes.stored,
                    },
                    len: text.chars().count() as u64,
                    crc: None,
                });
                weights.storages.len() - 1
            });
            let found = weights.storages[storage].len;
            if found != len {
                return Err(wrong(format!("{found} bytes")));
            }
            (storage, 0)
        }
    };
    let strides = if array.is_fortran {
        fortran(&shape)
    } else {
        None
    };
    Ok((
        View {
            dtype: array.dtype,
            shape,
            offset,
            strides,
        },
        storage,
    ))
}

/// Strides of an array whose first axis is the fastest; `None` if it may as well be the last one.
fn fortran(shape: &[usize]) -> Option<Vec<usize>> {
    let steps = shape.iter().scan(1, |next, &size| {
        let step = *next;
        *next *= size;
        Some(step)
    });
    dense(shape, steps.collect())
}
