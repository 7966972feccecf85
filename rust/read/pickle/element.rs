//! Lists torch's element types by the names that pickles use.

use crate::dtype::DType;

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Element(u8);

struct Row {
    /// As in `torch.float32`.
    dtype: &'static str,
    /// As in `torch.FloatStorage`; empty where torch has none.
    storage: &'static str,
    /// The safetensors name; empty for types that are not read.
    name: &'static str,
    bytes: u64,
}

const fn row(dtype: &'static str, storage: &'static str, name: &'static str, bytes: u64) -> Row {
    Row {
        dtype,
        storage,
        name,
        bytes,
    }
}

const ROWS: [Row; 27] = [
    row("uint8", "ByteStorage", "U8", 1),
    row("int8", "CharStorage", "I8", 1),
    row("int16", "ShortStorage", "I16", 2),
    row("int32", "IntStorage", "I32", 4),
    row("int64", "LongStorage", "I64", 8),
    row("float16", "HalfStorage", "F16", 2),
    row("float32", "FloatStorage", "F32", 4),
    row("float64", "DoubleStorage", "F64", 8),
    row("bool", "BoolStorage", "BOOL", 1),
    row("bfloat16", "BFloat16Storage", "BF16", 2),
    row("complex64", "ComplexFloatStorage", "C64", 8),
    row("complex128", "ComplexDoubleStorage", "", 16),
    row("complex32", "ComplexHalfStorage", "", 4),
    row("uint16", "", "U16", 2),
    row("uint32", "", "U32", 4),
    row("uint64", "", "U64", 8),
    row("float8_e4m3fn", "", "F8_E4M3", 1),
    row("float8_e5m2", "", "F8_E5M2", 1),
    row("float8_e4m3fnuz", "", "F8_E4M3FNUZ", 1),
    row("float8_e5m2fnuz", "", "F8_E5M2FNUZ", 1),
    row("float8_e8m0fnu", "", "F8_E8M0", 1),
    row("float4_e2m1fn_x2", "", "", 1),
    row("qint8", "QInt8Storage", "", 1),
    row("quint8", "QUInt8Storage", "", 1),
    row("qint32", "QInt32Storage", "", 4),
    row("quint4x2", "QUInt4x2Storage", "", 1),
    row("quint2x4", "QUInt2x4Storage", "", 1),
];

impl Element {
    /// Single bytes, which an untyped storage consists of.
    pub const BYTE: Self = Self(0);

    /// The type called `torch.{name}`.
    pub fn of_dtype(name: &str) -> Option<Self> {
        Self::find(|row| row.dtype == name)
    }

    /// The type of the storage class `torch.{name}`.
    pub fn of_storage(name: &str) -> Option<Self> {
        Self::find(|row| !row.storage.is_empty() && row.storage == name)
    }

    /// Its torch name, for messages.
    pub fn torch_name(self) -> &'static str {
        ROWS[self.0 as usize].dtype
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        ROWS[self.0 as usize].bytes
    }

    /// What tensors of it become; `None` for types that are not read.
    pub fn dtype(self) -> Option<DType> {
        DType::parse(ROWS[self.0 as usize].name)
    }

    fn find(is: impl Fn(&Row) -> bool) -> Option<Self> {
        ROWS.iter().position(is).map(|index| Self(index as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_dtypes() {
        for row in ROWS.iter().filter(|row| !row.name.is_empty()) {
            let element = Element::of_dtype(row.dtype).unwrap();
            let dtype = element.dtype().unwrap();
            assert_eq!(dtype.byte_len(&[1]), Some(element.bytes()), "{}", row.dtype);
            assert_eq!(element.torch_name(), row.dtype);
        }
        assert_eq!(Element::of_storage("ByteStorage"), Some(Element::BYTE));
        assert_eq!(Element::of_storage(""), None);
        assert_eq!(Element::of_dtype("complex128").unwrap().dtype(), None);
    }
}
