//! What goes wrong with an input as a whole; a defect of one row is a [`BadRow`](crate::BadRow).

use std::{fmt, io};

use crate::store::Fault;

/// An input that cannot be read: which one, where in it, what was found and what to do.
///
/// The cause is part of the message; there is no further error to ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input}{place}: {message}")]
pub struct SourceError {
    kind: SourceErrorKind,
    input: String,
    place: Place,
    message: String,
}

/// The kinds of [`SourceError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// There is no such file or directory.
    NotFound,
    /// The system refuses to read it.
    Unreadable,
    /// There is no data file where some were expected.
    Empty,
    /// It is in a form that is not read: an unknown format, a column of an unsupported type.
    Unsupported,
    /// It is damaged.
    Corrupt,
    /// It is not what it was when the plan was made.
    Changed,
}

/// Where in an input the error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// No particular place.
    Whole,
    /// A row group of a Parquet file, from 0.
    RowGroup(u32),
    /// A byte of the file, from 0.
    Offset(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::RowGroup(index) => write!(out, ", row group {index}"),
            Self::Offset(offset) => write!(out, ", byte {offset}"),
        }
    }
}

// === impl SourceError ===

impl SourceError {
    pub(crate) fn new(
        kind: SourceErrorKind,
        input: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            input: input.into(),
            place: Place::Whole,
            message: message.into(),
        }
    }

    /// An error of the system; `doing` says what was attempted.
    pub(crate) fn io(input: impl Into<String>, doing: &str, error: &io::Error) -> Self {
        if let Some(fault) = Fault::in_io(error) {
            return Self::fault(input, fault);
        }
        let kind = match error.kind() {
            io::ErrorKind::NotFound => SourceErrorKind::NotFound,
            _ => SourceErrorKind::Unreadable,
        };
        Self::new(kind, input, format!("cannot {doing}: {error}"))
    }

    /// An error of a store.
    pub(crate) fn fault(input: impl Into<String>, fault: &Fault) -> Self {
        Self::new(fault.kind(), input, fault.to_string())
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// The input's name, as in [`Input::name`](crate::Input).
    #[must_use]
    pub fn input(&self) -> &str {
        &self.input
    }

    /// Where in the input it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}
