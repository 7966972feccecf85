//! Compares names in natural order: `checkpoint-9` before `checkpoint-10`.

use std::cmp::Ordering;

/// Compares runs of digits as numbers. A total order: names with the same numbers (`a1`, `a01`) fall back to bytes.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    while let (Some(&x), Some(&y)) = (a.first(), b.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            compare_numbers(take_digits(&mut a), take_digits(&mut b))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len()).then_with(|| left.cmp(right))
}

/// Splits the run of digits off the front of `text`.
fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|c| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits
}

/// Compares runs of digits by value; they may be longer than any integer type.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (strip_zeros(a), strip_zeros(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&c| c == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_like_people() {
        let ordered = [
            "",
            "1",
            "2",
            "10",
            "99999999999999999999998",
            "99999999999999999999999",
            "layer.2.bias",
            "layer.2.weight",
            "layer.10.bias",
            "step-9",
            "step-010",
            "step-10",
            "step-10.pth",
            "step-11",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn is_a_total_order(a in "[ab0-2.]{0,6}", b in "[ab0-2.]{0,6}", c in "[ab0-2.]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b).is_eq(), a == b);
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare(x, y));
            prop_assert!(compare(sorted[0], sorted[2]).is_le());
        }
    }
}
