//! The weight and bias of a product with the normalisation after it folded in.

/// Outputs that are computed together, see [`crate::tile`].
pub const GROUP: usize = 4;

/// What BatchNorm does in evaluation mode: (x − mean) / √(variance + eps) · weight + bias.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// [O].
    pub mean: &'a [f32],
    /// [O].
    pub variance: &'a [f32],
    /// [O]; 1 if there is none.
    pub weight: Option<&'a [f32]>,
    /// [O]; 0 if there is none.
    pub bias: Option<&'a [f32]>,
    /// Keeps the divisor above 0.
    pub eps: f32,
}

/// A weight [O, K] in the order in which it is read, and a bias [O].
#[derive(Debug)]
pub struct Folded {
    /// Groups of outputs, [K] each; the last one is filled up with zeros.
    pub packed: Vec<[f32; GROUP]>,
    /// The same for the bias.
    pub bias: Vec<[f32; GROUP]>,
    /// K.
    pub terms: usize,
    /// O.
    pub outputs: usize,
}

impl Folded {
    /// Takes a weight [O, C, P] in C order for inputs [P, C].
    pub fn new(
        weight: &[f32],
        [outputs, channels, places]: [usize; 3],
        bias: Option<&[f32]>,
        norm: Option<Norm<'_>>,
    ) -> Self {
        let terms = channels * places;
        assert_eq!(weight.len(), outputs * terms, "a number for each");
        let at = |numbers: Option<&[f32]>, output: usize, none: f32| {
            numbers.map_or(none, |numbers| numbers[output])
        };
        let (factors, biases): (Vec<f32>, Vec<f32>) = (0..outputs)
            .map(|o| match norm {
                None => (1.0, at(bias, o, 0.0)),
                Some(norm) => {
                    let factor = at(norm.weight, o, 1.0) / (norm.variance[o] + norm.eps).sqrt();
                    let shift = (at(bias, o, 0.0) - norm.mean[o]) * factor;
                    (factor, shift + at(norm.bias, o, 0.0))
                }
            })
            .unzip();
        let number = |output: usize, term: usize| {
            let (place, channel) = (term / channels, term % channels);
            factors[output] * weight[(output * channels + channel) * places + place]
        };
        let grouped = |group: usize, of: &dyn Fn(usize) -> f32| {
            let output = |i| group * GROUP + i;
            std::array::from_fn(|i| {
                if output(i) < outputs {
                    of(output(i))
                } else {
                    0.0
                }
            })
        };
        let groups = 0..outputs.div_ceil(GROUP);
        let of_group =
            |group| (0..terms).map(move |term| grouped(group, &|output| number(output, term)));
        Self {
            packed: groups.clone().flat_map(of_group).collect(),
            bias: groups
                .map(|group| grouped(group, &|output| biases[output]))
                .collect(),
            terms,
            outputs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_turned_and_grouped() {
        let weight: Vec<f32> = (0..5 * 2 * 3).map(|i| i as f32).collect();
        let folded = Folded::new(&weight, [5, 2, 3], None, None);
        assert_eq!(folded.terms, 6);
        assert_eq!(folded.bias, [[0.0; 4]; 2]);
        assert_eq!(folded.packed[0], [0.0, 6.0, 12.0, 18.0]);
        assert_eq!(folded.packed[1], [3.0, 9.0, 15.0, 21.0]);
        let rest = [24.0, 27.0, 25.0, 28.0, 26.0, 29.0];
        assert_eq!(
            folded.packed[6..],
            rest.map(|number| [number, 0.0, 0.0, 0.0])
        );
    }

    #[test]
    fn a_norm_scales_and_shifts() {
        let norm = Norm {
            mean: &[1.0, 2.0],
            variance: &[3.0, 8.0],
            weight: Some(&[4.0, -3.0]),
            bias: Some(&[0.5, 0.25]),
            eps: 1.0,
        };
        let folded = Folded::new(&[1.0, 10.0], [2, 1, 1], Some(&[7.0, 8.0]), Some(norm));
        assert_eq!(folded.packed, [[2.0, -10.0, 0.0, 0.0]]);
        assert_eq!(folded.bias, [[6.0 * 2.0 + 0.5, -6.0 + 0.25, 0.0, 0.0]]);
        let bare = Norm {
            weight: None,
            bias: None,
            ..norm
        };
        let folded = Folded::new(&[1.0, 12.0], [2, 1, 1], None, Some(bare));
        assert_eq!(folded.packed, [[0.5, 4.0, 0.0, 0.0]]);
        assert_eq!(folded.bias, [[-0.5, -2.0 / 3.0, 0.0, 0.0]]);
    }
}
