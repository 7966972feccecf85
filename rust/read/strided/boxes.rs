//! Cuts the elements of a view into boxes, and puts those of a box in order.

/// An axis: its size, and the bytes from one element to the next.
pub type Axis = (usize, usize);

/// The axes without those of size 1, and with neighbours merged where the outer one continues the inner one.
///
/// `strides` are in elements of `item` bytes; `None` if what they make of the sizes overflows.
pub fn merged(shape: &[usize], strides: &[usize], item: usize) -> Option<Vec<Axis>> {
    let mut merged: Vec<Axis> = Vec::new();
    for (&size, &stride) in shape.iter().zip(strides).filter(|&(&size, _)| size != 1) {
        let stride = stride.checked_mul(item)?;
        let whole = stride.checked_mul(size)?;
        match merged.last_mut() {
            Some(outer) if outer.1 == whole => *outer = (outer.0.checked_mul(size)?, stride),
            _ => merged.push((size, stride)),
        }
    }
    Some(merged)
}

/// The indices of a box on one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// How many.
    pub size: usize,
    /// Bytes in the file from one to the next.
    pub stride: usize,
    /// Bytes in C order from one to the next.
    pub step: usize,
}

/// Elements that are a range of indices on every axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxed {
    /// Bytes from the first element of the tensor to that of the box.
    pub at: usize,
    /// Elements in it.
    pub count: usize,
    /// Those of more than one index, the longest stride first.
    pub sides: Vec<Side>,
    /// Bytes from the beginning of its first element to the end of its last one in the file.
    pub span: usize,
    item: usize,
}

/// The largest box of elements that follow each other in C order from element `first` on, at most `most`.
///
/// At least one element must be wanted and there.
pub fn first(axes: &[Axis], item: usize, first: usize, most: usize) -> Boxed {
    let (mut at, mut rest) = (0, first);
    // Elements of the box: all of the axes so far, as long as there is room for all of them.
    let (mut count, mut open) = (1, true);
    let mut sides = Vec::with_capacity(axes.len());
    for &(size, stride) in axes.iter().rev() {
        let index = rest % size;
        rest /= size;
        at += index * stride;
        if !open {
            continue;
        }
        let taken = (most / count).min(size - index);
        if taken > 1 {
            let step = count * item;
            sides.push(Side {
                size: taken,
                stride,
                step,
            });
        }
        count *= taken.max(1);
        open = taken == size;
    }
    sides.sort_by_key(|side| std::cmp::Reverse(side.stride));
    Boxed {
        at,
        count,
        span: span(&sides, item),
        sides,
        item,
    }
}

fn span(sides: &[Side], item: usize) -> usize {
    let last: usize = sides.iter().map(|side| (side.size - 1) * side.stride).sum();
    last + item
}

impl Boxed {
    /// The part of the box at one index of each axis whose side is not among `sides`, the last ones.
    pub fn inside(&self, sides: &[Side]) -> Self {
        Self {
            at: self.at,
            count: sides.iter().map(|side| side.size).product(),
            sides: sides.to_vec(),
            span: span(sides, self.item),
            item: self.item,
        }
    }

    /// Whether nowhere in the file more than `gap` bytes lie between two of its elements.
    pub fn is_close(&self, gap: usize) -> bool {
        let gap_of = |(place, side): (usize, &Side)| {
            let inner = span(&self.sides[place + 1..], self.item);
            side.stride.saturating_sub(inner)
        };
        self.sides.iter().enumerate().map(gap_of).all(|g| g <= gap)
    }
}

/// Copies what `outer` has of boxes like `inner` from `span`, a piece of the file, to `out`, in C order.
pub fn put(outer: Side, inner: &Boxed, span: &[u8], out: &mut [u8]) {
    let mut sides = vec![outer];
    sides.extend(&inner.sides);
    // The longest step first, so that what is written follows what was written.
    sides.sort_by_key(|side| std::cmp::Reverse(side.step));
    match inner.item {
        2 => put_items::<2>(&sides, span, out),
        4 => put_items::<4>(&sides, span, out),
        8 => put_items::<8>(&sides, span, out),
        size => {
            let (stride, step) = (1, 1);
            sides.push(Side { size, stride, step });
            put_items::<1>(&sides, span, out);
        }
    }
}

/// The same, with elements of `N` bytes.
fn put_items<const N: usize>(sides: &[Side], span: &[u8], out: &mut [u8]) {
    match *sides {
        [] => out[..N].copy_from_slice(&span[..N]),
        [Side { size, stride, step }] if stride == N && step == N => {
            out[..size * N].copy_from_slice(&span[..size * N]);
        }
        [Side { size, stride, step }] => {
            for index in 0..size {
                let item = &span[index * stride..][..N];
                out[index * step..][..N].copy_from_slice(item);
            }
        }
        [Side { size, stride, step }, ref inner @ ..] => {
            for index in 0..size {
                put_items::<N>(inner, &span[index * stride..], &mut out[index * step..]);
            }
        }
    }
}
