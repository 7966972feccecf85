//! Converts the numbers of a shard from their stored types to f32 and back.
//!
//! Each loop is compiled for several instruction sets and the best one is taken when it is first called, so
//! that one build runs everywhere and is fast where it can be.

use bytemuck::AnyBitPattern;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use multiversion::multiversion;

/// The types that a shard can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// IEEE single.
    F32,
    /// IEEE half: 11 bits of precision, at most 65,504.
    F16,
    /// The upper half of an IEEE single: 8 bits of precision.
    BF16,
}

impl Precision {
    /// Finds a type by its safetensors name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::BF16]
            .into_iter()
            .find(|precision| precision.name() == name)
    }

    /// The safetensors name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// `numbers` rounded to this type, as bits; returns how many finite ones became infinite.
    ///
    /// Only for the types of two bytes.
    pub fn narrow(self, numbers: &[f32], out: &mut [u16]) -> usize {
        match self {
            Self::F32 => unreachable!("f32 is not narrower than f32"),
            Self::F16 => {
                let out: &mut [f16] = out.reinterpret_cast_mut();
                out.convert_from_f32_slice(numbers);
                out.iter().filter(|v| v.is_infinite()).count()
            }
            Self::BF16 => {
                let out: &mut [bf16] = out.reinterpret_cast_mut();
                narrow_bf16(numbers, out);
                out.iter().filter(|v| v.is_infinite()).count()
            }
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// Numbers of a shard as they are stored.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Singles.
    F32(&'a [f32]),
    /// Halves.
    F16(&'a [f16]),
    /// Brain floats.
    BF16(&'a [bf16]),
}

impl<'a> Numbers<'a> {
    /// The numbers in `bytes`; `None` if they are not aligned.
    pub fn of(precision: Precision, bytes: &'a [u8]) -> Option<Self> {
        fn cast<T: AnyBitPattern>(bytes: &[u8]) -> Option<&[T]> {
            bytemuck::try_cast_slice(bytes).ok()
        }
        Some(match precision {
            Precision::F32 => Self::F32(cast(bytes)?),
            Precision::F16 => Self::F16(cast(bytes)?),
            Precision::BF16 => Self::BF16(cast(bytes)?),
        })
    }

    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::F16(numbers) => numbers.len(),
            Self::BF16(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Those from `begin` to `end`.
    pub fn part(self, begin: usize, end: usize) -> Self {
        match self {
            Self::F32(numbers) => Self::F32(&numbers[begin..end]),
            Self::F16(numbers) => Self::F16(&numbers[begin..end]),
            Self::BF16(numbers) => Self::BF16(&numbers[begin..end]),
        }
    }

    /// Their bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::F32(numbers) => bytemuck::cast_slice(numbers),
            Self::F16(numbers) => bytemuck::cast_slice(numbers),
            Self::BF16(numbers) => bytemuck::cast_slice(numbers),
        }
    }

    /// All of them as f32, exactly, in `out`.
    pub fn widen(self, out: &mut [f32]) {
        match self {
            Self::F32(numbers) => out.copy_from_slice(numbers),
            Self::F16(numbers) => numbers.convert_to_f32_slice(out),
            Self::BF16(numbers) => widen_bf16(numbers, out),
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn widen_bf16(numbers: &[bf16], out: &mut [f32]) {
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = f32::from_bits(u32::from(number.to_bits()) << 16);
    }
}

/// `numbers` rounded to the nearest bf16, ties to even; a NaN stays one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub fn narrow_bf16(numbers: &[f32], out: &mut [bf16]) {
    for (out, number) in out.iter_mut().zip(numbers) {
        let bits = number.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        *out = bf16::from_bits(if is_nan { quiet } else { rounded } as u16);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn narrowing_is_that_of_the_half_crate(bits in prop::collection::vec(any::<u32>(), 0..70)) {
            let numbers: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
            let mut out = vec![bf16::ZERO; numbers.len()];
            narrow_bf16(&numbers, &mut out);
            for (number, out) in numbers.iter().zip(out) {
                prop_assert_eq!(out.to_bits(), bf16::from_f32(*number).to_bits());
            }
        }

        #[test]
        fn widening_is_that_of_the_half_crate(bits in prop::collection::vec(any::<u16>(), 0..70)) {
            let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_ne_bytes()).collect();
            let mut aligned = vec![0_u16; bits.len()];
            bytemuck::cast_slice_mut(&mut aligned).copy_from_slice(&bytes);
            let bytes = bytemuck::cast_slice(&aligned);
            let mut out = vec![0.0; bits.len()];
            Numbers::of(Precision::BF16, bytes).unwrap().widen(&mut out);
            for (out, &b) in out.iter().zip(&bits) {
                prop_assert_eq!(out.to_bits(), u32::from(b) << 16);
            }
            Numbers::of(Precision::F16, bytes).unwrap().widen(&mut out);
            for (out, &b) in out.iter().zip(&bits) {
                let expected = f16::from_bits(b).to_f32();
                prop_assert!(out.to_bits() == expected.to_bits() || (out.is_nan() && expected.is_nan()));
            }
        }
    }

    #[test]
    fn names_and_sizes_are_those_of_safetensors() {
        for (name, size) in [("F32", 4), ("F16", 2), ("BF16", 2)] {
            let precision = Precision::parse(name).unwrap();
            assert_eq!((precision.name(), precision.size()), (name, size));
        }
        assert_eq!(Precision::parse("F64"), None);
    }
}
