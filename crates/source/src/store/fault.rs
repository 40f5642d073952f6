//! Why a store did not give what it was asked for.

use std::{error::Error, fmt, io};

use crate::SourceErrorKind;

/// Why a store did not give what it was asked for. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: SourceErrorKind,
    message: String,
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(SourceErrorKind::Unreadable, message)
    }

    /// It is not the version that was found.
    pub(super) fn changed(what: &str) -> Self {
        Self::new(
            SourceErrorKind::Changed,
            format!(
                "the object {what} since it was found; load it again when nothing writes to it"
            ),
        )
    }

    /// Whoever waited is no longer interested.
    pub(super) fn abandoned() -> Self {
        Self::unreadable("it was not read to its end, for the run is stopping")
    }

    pub(super) fn of(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let text = without_queries(&chain(error));
        match error {
            E::NotFound { .. } => Self::new(
                SourceErrorKind::NotFound,
                format!("there is no such object or bucket: {text}"),
            ),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::unreadable(format!(
                "the store refuses access; check the credentials in the environment and what they are allowed: {text}"
            )),
            E::NotSupported { .. } => Self::new(
                SourceErrorKind::Unsupported,
                "the server does not serve parts of it (it answered a request with Range as if there was none); \
                 download it and load the file",
            ),
            _ => Self::unreadable(format!("the store cannot be read: {text}")),
        }
    }

    /// The store did not take what was to be written.
    pub(super) fn unwritten(error: &object_store::Error) -> Self {
        let text = without_queries(&chain(error));
        Self::unreadable(format!("the store cannot be written: {text}"))
    }

    /// The fault that an I/O error is, if it is one.
    pub(crate) fn in_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn kind(&self) -> SourceErrorKind {
        self.kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

/// An error with its causes, as far as it does not name them itself.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Takes the queries off the URLs in a text: signed ones hold secrets there.
fn without_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.find("://") {
        Some(_) => match word.find('?') {
            Some(query) => format!("{}?...", &word[..query]),
            None => word.to_owned(),
        },
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an error that names a signed URL.
    /// Guarantees: the signature is not in what is printed; the rest of the URL is.
    #[test]
    fn queries_are_not_printed() {
        let text = without_queries("Error performing GET https://a.b/c?sig=sesame&x=1 in 3s, why?");
        assert_eq!(text, "Error performing GET https://a.b/c?... in 3s, why?");
    }
}
