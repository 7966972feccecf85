//! Turns panics into errors, so that a bug here never ends the caller's process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Runs `work`; a panic in it, also on a worker thread that it waits for, is [`Error::Internal`].
pub fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // A panic leaves behind only what the work owned, so nothing can be seen half-changed except
    // the caller's output buffer, whose content is undefined after any error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = message(panic.as_ref());
        Err(Error::Internal(format!("a bug in pdiff: {message}")))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;
    use crate::runtime::parallel::{Cancel, try_map};

    fn message(work: impl FnOnce() -> Result<()>) -> String {
        catch(work).unwrap_err().to_string()
    }

    #[test]
    fn a_panic_is_an_internal_error_of_one_line() {
        let prefix = "internal error: a bug in pdiff: ";
        assert_eq!(message(|| panic!("a\nb")), format!("{prefix}a b"));
        assert_eq!(message(|| panic!("{}", 7)), format!("{prefix}7"));
        assert_eq!(
            message(|| panic_any(7)),
            format!("{prefix}panic without a message")
        );
    }

    #[test]
    fn a_panic_on_a_worker_thread_is_caught_too() {
        let items: Vec<usize> = (0..100).collect();
        let work = |&i: &usize| Ok([0; 50][i]);
        let text = message(|| try_map(&items, &Cancel::default(), work).map(drop));
        assert!(text.contains("the len is 50 but the index is"), "{text}");
    }

    #[test]
    fn results_pass_through() {
        assert_eq!(catch(|| Ok(7)).unwrap(), 7);
        assert_eq!(message(|| Err(Error::Value("no".into()))), "no");
    }
}
