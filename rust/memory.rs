//! Allocates memory whose size a file or a caller says: too little of it is an error, and not the end of the process.

/// An empty vector with room for `count` values.
///
/// Fails with a message that says that `what` takes too much.
pub fn room<T>(count: usize, what: &str) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| {
        let bytes = count as u128 * size_of::<T>() as u128;
        format!("{what} takes {bytes} bytes of memory, and there is less; accepted: what fits")
    })?;
    Ok(values)
}

/// `count` times `value`; fails as [`room`] does.
pub fn filled<T: Clone>(value: T, count: usize, what: &str) -> Result<Vec<T>, String> {
    let mut values = room(count, what)?;
    values.resize(count, value);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(filled(7_u8, 3, "a").unwrap(), [7; 3]);
        assert_eq!(room::<u64>(5, "a").unwrap().capacity(), 5);
        for count in [1 << 59, usize::MAX] {
            let text = room::<u64>(count, "a header").unwrap_err();
            let bytes = count as u128 * 8;
            assert!(
                text.starts_with(&format!("a header takes {bytes} bytes of memory")),
                "{text}"
            );
        }
    }
}
