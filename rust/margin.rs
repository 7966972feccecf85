//! How clearly a classifier decides for the classes that are right.

use multiversion::multiversion;

use crate::tile::{Row, SAMPLES};

/// How far the target's logit is above the largest other one, for as many samples as there are targets.
///
/// NaN where a logit is not finite or there is no such class. `logits` are [classes].
#[multiversion(targets("x86_64+avx2+fma"), dispatcher = "direct")]
pub fn margins(logits: &[Row], targets: &[i64], out: &mut [f32]) {
    let mut class = [-1; SAMPLES];
    class[..targets.len()].copy_from_slice(targets);
    let (mut own, mut other, mut poison) = (
        [f32::NAN; SAMPLES],
        [f32::NEG_INFINITY; SAMPLES],
        [0.0; SAMPLES],
    );
    for (index, row) in logits.iter().enumerate() {
        for i in 0..SAMPLES {
            let (here, logit) = (class[i] == index as i64, row[i]);
            own[i] = if here { logit } else { own[i] };
            other[i] = if here || other[i] > logit {
                other[i]
            } else {
                logit
            };
            poison[i] += 0.0 * logit;
        }
    }
    for (i, out) in out.iter_mut().enumerate() {
        *out = own[i] - other[i] + poison[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_the_definition() {
        let mut logits = [[1.0; SAMPLES], [3.0; SAMPLES], [-2.0; SAMPLES]];
        logits[0][3] = f32::NAN;
        logits[2][4] = f32::NEG_INFINITY;
        let mut out = [7.0; 6];
        margins(&logits, &[0, 1, 2, 1, 1, 3], &mut out);
        assert_eq!(out[..3], [-2.0, 2.0, -5.0]);
        assert!(out[3..].iter().all(|margin| margin.is_nan()));
    }
}
