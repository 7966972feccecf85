//! Writes the statistics of a bank to a file while they are computed: those of elements take four times a row.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::statistics;
use crate::bank::layout::Layout;
use crate::bank::shard::Rows;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::durable::Durable;
use crate::files::write_safetensors::{Entry, header};
use crate::runtime::parallel::Cancel;

const F64: usize = size_of::<f64>();

/// An array of the file.
struct Array {
    name: &'static str,
    dtype: DType,
    shape: [usize; 1],
}

impl Entry for Array {
    fn name(&self) -> &str {
        self.name
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn byte_len(&self) -> u64 {
        (self.shape[0] * F64) as u64
    }
}

/// Writes the statistics of `rows` as the safetensors file `path`, durably: those of [`super::Statistics`], and
/// `element_mean` and `element_std` `[D]`, of t(x) over rows.
pub fn write(path: &Path, rows: &Rows<'_>, layout: &Layout, cancel: &Cancel) -> Result<()> {
    let (dim, tensors) = (layout.dim(), layout.segments().len());
    // In order of name, as the data is: any file of the same tensors has the same bytes.
    let arrays = [
        ("element_mean", dim),
        ("element_std", dim),
        ("log_scale", tensors),
        ("tensor_max", tensors),
        ("tensor_mean", tensors),
        ("tensor_min", tensors),
        ("tensor_std", tensors),
    ];
    let arrays = arrays.map(|(name, size)| Array {
        name,
        dtype: DType::parse("F64").expect("a dtype of the format"),
        shape: [size],
    });
    let header = header(&arrays, &BTreeMap::new());
    let durable = Durable::create(path)?;
    let put = |bytes: &[u8], at: usize| {
        let written = durable.file().write_all_at(bytes, at as u64);
        written.map_err(Error::io(path))
    };
    put(&header, 0)?;
    let (mut at, length) = (header.len(), dim * F64);
    let found = statistics(rows, layout, cancel, |mean, std| {
        put(bytemuck::cast_slice(mean), at)?;
        put(bytemuck::cast_slice(std), at + length)?;
        at += size_of_val(mean);
        Ok(())
    })?;
    let rest = [
        found.log_scale,
        found.tensor_max,
        found.tensor_mean,
        found.tensor_min,
        found.tensor_std,
    ];
    put(bytemuck::cast_slice(&rest.concat()), at + length)?;
    durable.commit()
}
