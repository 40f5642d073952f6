//! The `parquet` crate panics on some damaged files; here such a panic becomes an error.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use parquet::errors::ParquetError;

thread_local! {
    /// Whether a panic of this thread would be caught here.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics of the Parquet decoder off stderr: they are caught, and their message is in the
/// [`SourceError`](crate::SourceError) that comes of them. All other panics are reported as before.
///
/// It replaces the panic hook of the process by one that asks the former, so it is for programs to
/// call, once, at their start.
pub fn hush_decoder_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                report(panic);
            }
        }));
    });
}

/// Runs the `parquet` crate; a panic becomes an error. What it was run on is not to be used again.
pub(super) fn guarded<T>(
    decode: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, ParquetError> {
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(before);
    outcome.unwrap_or_else(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(message), _) => message,
            (None, Some(message)) => message.as_str(),
            (None, None) => "no message",
        };
        Err(ParquetError::General(format!(
            "the decoder panicked: {message}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Scenario: a panic while decoding, and one elsewhere, under a hook that counts.
    /// Guarantees: the first one is an error with its message and is not reported, the second one is.
    #[test]
    fn only_panics_that_are_caught_here_are_hushed() {
        static REPORTED: AtomicU32 = AtomicU32::new(0);
        let silent = "of the guard's test";
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
            Some(message) if message.contains(silent) => {
                REPORTED.fetch_add(1, Ordering::Relaxed);
            }
            _ => before(panic),
        }));
        hush_decoder_panics();
        let error = guarded::<()>(|| panic!("damage {silent}")).unwrap_err();
        assert!(error.to_string().contains("panicked: damage of"), "{error}");
        assert_eq!(REPORTED.load(Ordering::Relaxed), 0);
        assert!(catch_unwind(|| panic!("a bug {silent}")).is_err());
        assert_eq!(REPORTED.load(Ordering::Relaxed), 1);
    }
}
