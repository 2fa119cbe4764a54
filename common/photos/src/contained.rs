//! A picture that a decoder panics on is one bad picture, not the end of a run.

use crate::Trouble;

/// What `work` gives; a panic in it is [`Trouble`], and prints nothing.
#[cfg(panic = "unwind")]
pub(crate) fn contained<T>(
    work: impl FnOnce() -> Result<T, Trouble>,
) -> std::result::Result<T, Trouble> {
    use std::cell::Cell;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Once;

    thread_local! {
        /// Whether this thread is at work here: its panics are told as the reason of the picture.
        static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_INSIDE.get() {
                loud(info);
            }
        }));
    });
    IS_INSIDE.set(true);
    // Nothing that `work` has written to is looked at after a panic.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_INSIDE.set(false);
    done.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        Err(Trouble::Picture(format!("the decoder fails on it: {text}")))
    })
}

/// Where a panic ends the program, there is nothing to contain.
#[cfg(not(panic = "unwind"))]
pub(crate) fn contained<T>(
    work: impl FnOnce() -> Result<T, Trouble>,
) -> std::result::Result<T, Trouble> {
    work()
}

#[cfg(all(test, panic = "unwind"))]
mod tests {
    use super::*;

    #[test]
    fn panics_are_reasons() {
        let slice = [1, 2];
        let at = slice.len();
        let done = contained(|| Ok(slice[at])).unwrap_err().to_string();
        assert!(done.starts_with("the decoder fails on it: index out of bounds"), "{done}");
        assert_eq!(contained(|| Ok(slice[at - 1])).unwrap(), 2);
    }
}
