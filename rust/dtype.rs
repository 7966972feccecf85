//! Lists the element types of the safetensors format, and converts the four that a row can hold.

use half::{bf16, f16};

/// Every element type that a safetensors header can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DType {
    name: &'static str,
    bits: u64,
}

const DTYPES: [DType; 22] = {
    const fn dtype(name: &'static str, bits: u64) -> DType {
        DType { name, bits }
    }
    [
        dtype("BOOL", 8),
        dtype("F4", 4),
        dtype("F6_E2M3", 6),
        dtype("F6_E3M2", 6),
        dtype("U8", 8),
        dtype("I8", 8),
        dtype("F8_E5M2", 8),
        dtype("F8_E4M3", 8),
        dtype("F8_E8M0", 8),
        dtype("F8_E4M3FNUZ", 8),
        dtype("F8_E5M2FNUZ", 8),
        dtype("I16", 16),
        dtype("U16", 16),
        dtype("F16", 16),
        dtype("BF16", 16),
        dtype("I32", 32),
        dtype("U32", 32),
        dtype("F32", 32),
        dtype("C64", 64),
        dtype("F64", 64),
        dtype("I64", 64),
        dtype("U64", 64),
    ]
};

impl DType {
    /// Finds a dtype by its safetensors name.
    pub fn parse(name: &str) -> Option<Self> {
        DTYPES.into_iter().find(|dtype| dtype.name == name)
    }

    /// The safetensors name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Bytes of one element of a torch dtype, none of which ends inside a byte.
    pub fn item_bytes(self) -> usize {
        (self.bits / 8) as usize
    }

    /// Bytes that a tensor of `shape` takes; `None` if that overflows or ends inside a byte.
    pub fn byte_len(self, shape: &[usize]) -> Option<u64> {
        let count = element_count(shape)?;
        let bits = u64::try_from(count).ok()?.checked_mul(self.bits)?;
        (bits % 8 == 0).then_some(bits / 8)
    }
}

/// Numbers in a tensor of `shape`; `None` if the product overflows, also beside an axis of size 0.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    let product = shape
        .iter()
        .try_fold(1_usize, |n, &d| n.checked_mul(d.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// The floating-point types whose tensors can be generated, and hence stand in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE double.
    F64,
    /// IEEE single, the type of a row.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    BF16,
}

impl Float {
    /// The names that [`Float::parse`] accepts, for messages.
    pub const ACCEPTED: &'static str = "F64, F32, F16 or BF16";

    /// Finds a float type by its safetensors name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "F64" => Some(Self::F64),
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::BF16),
            _ => None,
        }
    }

    /// The safetensors name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Whether the numbers stand in a row as they are.
    pub fn is_f32(self) -> bool {
        self == Self::F32
    }

    /// Little-endian `bytes` of this type as `out`, one number each; F64 is rounded, the others are exact.
    pub fn to_f32(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F64 => decode(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => decode(bytes, out, f32::from_le_bytes),
            Self::F16 => decode(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => decode(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        }
    }
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    debug_assert_eq!(bytes.len(), N * out.len(), "one number each");
    for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(N)) {
        *out = number(bytes.try_into().expect("N bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in DTYPES {
            assert_eq!(DType::parse(dtype.name()), Some(dtype));
        }
        for float in [Float::F64, Float::F32, Float::F16, Float::BF16] {
            assert_eq!(Float::parse(float.name()), Some(float));
            let bytes = DType::parse(float.name()).unwrap().byte_len(&[1]);
            assert_eq!(bytes, Some(float.size() as u64));
        }
        assert_eq!(DType::parse("f32"), None);
        assert_eq!(Float::parse("I64"), None);
    }

    #[test]
    fn byte_lengths() {
        let f4 = DType::parse("F4").unwrap();
        assert_eq!(f4.byte_len(&[3, 2]), Some(3));
        assert_eq!(f4.byte_len(&[3]), None);
        let f64 = DType::parse("F64").unwrap();
        assert_eq!(f64.byte_len(&[]), Some(8));
        assert_eq!(f64.byte_len(&[usize::MAX, 0]), Some(0));
        assert_eq!(f64.byte_len(&[usize::MAX, 0, 2]), None);
        assert_eq!(f64.byte_len(&[usize::MAX, 2]), None);
        assert_eq!(f64.byte_len(&[usize::MAX]), None);
    }

    #[test]
    fn conversions_are_exact_or_rounded() {
        fn one<const N: usize>(float: Float, bytes: [u8; N]) -> f32 {
            let mut out = [0.0];
            float.to_f32(&bytes, &mut out);
            out[0]
        }
        let out = [
            one(Float::F16, f16::MAX.to_le_bytes()),
            one(Float::BF16, bf16::MIN_POSITIVE.to_le_bytes()),
            one(Float::F32, 0.1_f32.to_le_bytes()),
            one(Float::F64, 0.1_f64.to_le_bytes()),
            one(Float::F64, 1e39_f64.to_le_bytes()),
        ];
        assert_eq!(out, [65504.0, 2f32.powi(-126), 0.1, 0.1, f32::INFINITY]);
    }
}
