//! What can go wrong with a store.

use std::path::PathBuf;

use super::record;

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another `LocalIndex` of this one, has it open.
    #[error(
        "data directory {dir} is in use by another local index; stop it, or give another directory"
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory cannot be made or read.
    #[error("data directory {dir} cannot be used")]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file in it cannot be used.
    #[error("{file} cannot be opened as an index")]
    Store {
        /// The file, or `memory`.
        file: PathBuf,
        /// What the store said.
        source: StoreError,
    },
    /// The index in the directory is not of the kind asked for.
    #[error(
        "the index in {dir} has {setting} {stored}, not {asked}; leave it out, or give another directory"
    )]
    Mismatch {
        /// The data directory.
        dir: PathBuf,
        /// `format`, `metric` or `dimension`.
        setting: &'static str,
        /// What the index has.
        stored: String,
        /// What the options ask for.
        asked: String,
    },
    /// The options contradict each other or are out of range.
    #[error("{0}")]
    Options(String),
}

/// The store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    pub(super) fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    pub(super) fn damaged(key: &[u8]) -> Self {
        let id = String::from_utf8_lossy(record::id(key));
        Self::new(format!("the stored record '{id}' is damaged"))
    }
}

/// All of redb's errors fold into its `Error`.
impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::new(error.into())
    }
}
