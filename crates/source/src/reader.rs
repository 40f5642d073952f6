//! The reading of one split: blocks of rows, and what a row is.

use std::borrow::Cow;

use vecload_record::{At, RecordRef, Reject};

use crate::{SourceError, jsonl, parquet};

/// Reads a split, a block of rows at a time.
#[derive(Debug)]
pub struct SplitReader(Kind);

#[derive(Debug)]
enum Kind {
    Parquet(Box<parquet::Reader>),
    Jsonl(Box<jsonl::Reader>),
}

/// A block of rows: it owns what was read and lends the rows.
#[derive(Debug)]
pub struct Records(pub(crate) Block);

#[derive(Debug)]
pub(crate) enum Block {
    Parquet(Box<parquet::Batch>),
    Jsonl(jsonl::Lines),
}

/// A row: a record, or why it is none.
#[derive(Debug)]
pub struct Row<'a> {
    /// Where it stands.
    pub at: At,
    /// What it says.
    pub content: Result<RecordRef<'a>, BadRow<'a>>,
}

/// A row that is no record.
#[derive(Debug)]
pub struct BadRow<'a> {
    /// Why.
    pub reject: Reject,
    /// The row, to be handed back: the line of a JSONL file (its first KiB if it is too long), or a
    /// JSON object with what could be made of a row of a Parquet file.
    pub raw: Cow<'a, [u8]>,
}

// === impl SplitReader ===

impl SplitReader {
    pub(crate) fn parquet(reader: parquet::Reader) -> Self {
        Self(Kind::Parquet(Box::new(reader)))
    }

    pub(crate) fn jsonl(reader: jsonl::Reader) -> Self {
        Self(Kind::Jsonl(Box::new(reader)))
    }

    /// The next block of rows, or `None` at the end. A block has at least one row.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is damaged. There is nothing to be read after an error.
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends from the reader, which an iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Option<&mut Records>, SourceError> {
        match &mut self.0 {
            Kind::Parquet(reader) => reader.next(),
            Kind::Jsonl(reader) => reader.next(),
        }
    }
}

// === impl Records ===

impl Records {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Block::Parquet(batch) => batch.len(),
            Block::Jsonl(lines) => lines.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&mut self, index: usize) -> Row<'_> {
        match &mut self.0 {
            Block::Parquet(batch) => batch.row(index),
            Block::Jsonl(lines) => lines.row(index),
        }
    }
}
