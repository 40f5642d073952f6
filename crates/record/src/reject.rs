//! Why a record is not loaded.

use std::fmt;

/// Why a record is not loaded: a closed set, whose names stand in reports, metrics and dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The row is not in the form of its file: not JSON, not UTF-8, a value of the wrong type.
    Malformed,
    /// The line is longer than the reader takes.
    LineTooLong,
    /// There is no id, or it is null or empty.
    MissingId,
    /// The id is longer than 512 characters, not ASCII, or has a NUL.
    InvalidId,
    /// There is neither a dense nor a sparse vector.
    MissingVector,
    /// The dense vector does not have the dimension of the index.
    WrongDimension,
    /// A value is NaN or infinite.
    NotFinite,
    /// All values are zero, which the service refuses.
    AllZero,
    /// The sparse vector is empty, too long, has an index twice, or its two lists differ in length.
    InvalidSparse,
    /// The kind of vector is one that the index does not take.
    UnsupportedVector,
    /// The metadata is not an object, or has a key or a value that the service refuses.
    InvalidMetadata,
    /// The metadata is larger than 40 KB.
    MetadataTooLarge,
    /// The record alone is larger than a request may be.
    RecordTooLarge,
    /// The namespace's name is longer than 512 characters, not ASCII, or has a NUL.
    InvalidNamespace,
    /// A later row has the same id in the same namespace, and that is not to be.
    DuplicateId,
    /// The service refused the record; the message is the service's.
    Refused,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::LineTooLong,
        Self::MissingId,
        Self::InvalidId,
        Self::MissingVector,
        Self::WrongDimension,
        Self::NotFinite,
        Self::AllZero,
        Self::InvalidSparse,
        Self::UnsupportedVector,
        Self::InvalidMetadata,
        Self::MetadataTooLarge,
        Self::RecordTooLarge,
        Self::InvalidNamespace,
        Self::DuplicateId,
        Self::Refused,
    ];

    /// The name in reports, metrics and dead letters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::LineTooLong => "line_too_long",
            Self::MissingId => "missing_id",
            Self::InvalidId => "invalid_id",
            Self::MissingVector => "missing_vector",
            Self::WrongDimension => "wrong_dimension",
            Self::NotFinite => "not_finite",
            Self::AllZero => "all_zero",
            Self::InvalidSparse => "invalid_sparse",
            Self::UnsupportedVector => "unsupported_vector",
            Self::InvalidMetadata => "invalid_metadata",
            Self::MetadataTooLarge => "metadata_too_large",
            Self::RecordTooLarge => "record_too_large",
            Self::InvalidNamespace => "invalid_namespace",
            Self::DuplicateId => "duplicate_id",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A record that cannot be loaded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The kind of defect.
    pub reason: Reason,
    /// The field it is in (`id`, `values`, `metadata.price`), or empty.
    pub field: String,
    /// What was found and what to do, for a person: lower case, no full stop.
    pub message: String,
}

impl Reject {
    /// A reject for a field of a record.
    #[must_use]
    pub fn new(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(out, "{}: {}", self.reason, self.message)
        } else {
            write!(out, "{} in {}: {}", self.reason, self.field, self.message)
        }
    }
}

impl std::error::Error for Reject {}
