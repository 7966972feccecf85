use proptest::prelude::*;

use super::boxes::merged;
use super::*;
use crate::dtype::DType;
use crate::testing::Folder;

/// A view of the bytes of a file: dtype, shape, strides in elements, first byte.
#[derive(Debug)]
struct Case {
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    at: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let dtype = prop::sample::select(vec!["U8", "BF16", "F32", "F64"]);
    let stride = prop_oneof![
        0_usize..6,
        0_usize..200,
        prop::sample::select(vec![3000, 5000, 70_000])
    ];
    let axes = prop::collection::vec((0_usize..9, stride), 0..5);
    (dtype, axes, 0_usize..40).prop_map(|(dtype, axes, at)| Case {
        dtype: DType::parse(dtype).unwrap(),
        shape: axes.iter().map(|axis| axis.0).collect(),
        strides: axes.iter().map(|axis| axis.1).collect(),
        at,
    })
}

impl Case {
    fn item(&self) -> usize {
        self.dtype.item_bytes()
    }

    /// Bytes from the first of the file to the last of the view.
    fn end(&self) -> usize {
        let axes = self.shape.iter().zip(&self.strides);
        let last: usize = axes
            .map(|(&size, stride)| size.saturating_sub(1) * stride)
            .sum();
        self.at + (last + 1) * self.item()
    }

    fn tensor(&self) -> Tensor {
        Tensor {
            name: "a".into(),
            source_name: "a".into(),
            part: 0,
            dtype: self.dtype,
            shape: self.shape.clone(),
            storage: 0,
            offset: 0,
            strides: Some(self.strides.clone()),
        }
    }

    /// The elements in C order, the obvious way.
    fn slow(&self, file: &[u8]) -> Vec<u8> {
        let mut places = vec![self.at];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            let step = stride * self.item();
            let along = |at: &usize| {
                (0..size).map(move |i| i * step).map({
                    let at = *at;
                    move |more| at + more
                })
            };
            places = places.iter().flat_map(along).collect();
        }
        places
            .iter()
            .flat_map(|&at| file[at..at + self.item()].iter().copied())
            .collect()
    }
}

fn numbered(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

proptest! {
    #[test]
    fn any_part_is_that_of_the_obvious_way(
        case in case(),
        steps in prop::collection::vec((any::<bool>(), 0_usize..3000), 0..12),
    ) {
        let file = numbered(case.end());
        let expected = case.slow(&file);
        let folder = Folder::new();
        let source = Source::open(&folder.write("a", &file)).unwrap();
        let (tensor, cancel) = (case.tensor(), Cancel::default());
        let mut strided = Strided::new(&source, case.at as u64, &tensor, &case.strides, &cancel).unwrap();
        let mut at = 0;
        for (skips, size) in steps.into_iter().chain([(false, usize::MAX)]) {
            let size = size.min(expected.len() - at);
            if skips {
                strided.skip(size as u64);
            } else {
                let mut out = vec![0; size];
                strided.read(&mut out).unwrap();
                prop_assert_eq!(&out, &expected[at..at + size]);
            }
            at += size;
        }
    }
}

/// A transposed matrix of F32, whose columns are too far apart to be read together.
fn wide() -> Case {
    Case {
        dtype: DType::parse("F32").unwrap(),
        shape: vec![1500, 2100],
        strides: vec![1, 1500],
        at: 8,
    }
}

#[test]
fn a_matrix_of_several_blocks_is_read_whole_and_in_bounded_memory() {
    let case = wide();
    let file = numbered(case.end());
    let expected = case.slow(&file);
    assert!(expected.len() > BLOCK);
    let folder = Folder::new();
    let source = Source::open(&folder.write("a", &file)).unwrap();
    let (tensor, cancel) = (case.tensor(), Cancel::default());
    let mut strided = Strided::new(&source, 8, &tensor, &case.strides, &cancel).unwrap();
    let mut out = vec![0; expected.len()];
    for part in out.chunks_mut(100_004) {
        strided.read(part).unwrap();
    }
    assert!(out == expected);
    assert!(strided.block.capacity() <= BLOCK + 4);
    assert!(strided.span.capacity() <= SPAN);
    cancel.request();
    strided.next = 0;
    assert!(strided.read(&mut out).is_err());
}

#[test]
fn a_sample_costs_a_sample() {
    let case = wide();
    let folder = Folder::new();
    let source = Source::open(&folder.write("a", &numbered(case.end()))).unwrap();
    let (tensor, cancel) = (case.tensor(), Cancel::default());
    let mut strided = Strided::new(&source, 8, &tensor, &case.strides, &cancel).unwrap();
    let mut sample = [0; 4096];
    for _ in 0..3 {
        strided.read(&mut sample).unwrap();
        strided.skip(4_000_000);
    }
    assert!(strided.block.capacity() < 3 * sample.len());
}

#[test]
fn axes_without_a_step_of_their_own_go() {
    let of = |axes: &[(usize, usize)]| {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.iter().copied().unzip();
        merged(&shape, &strides, 4)
    };
    assert_eq!(of(&[(1, 7), (3, 1), (1, 0)]), Some(vec![(3, 4)]));
    assert_eq!(of(&[(2, 6), (3, 2), (2, 1)]), Some(vec![(12, 4)]));
    assert_eq!(of(&[(2, 1), (3, 2)]), Some(vec![(2, 4), (3, 8)]));
    assert_eq!(of(&[(5, 0), (2, 0)]), Some(vec![(10, 0)]));
    assert_eq!(of(&[]), Some(vec![]));
    // A step that nobody takes may be as long as it likes; another one may not.
    assert_eq!(of(&[(1, 1 << 62), (2, 2)]), Some(vec![(2, 8)]));
    assert_eq!(of(&[(2, 1 << 62)]), None);
}
