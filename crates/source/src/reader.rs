//! The reading of one split: blocks of rows, and what a row is.

use std::{borrow::Cow, sync::Arc};

use vecload_record::{At, RecordRef, Reject};

use crate::{SourceError, jsonl, parquet};

/// Reads a split, a block of rows at a time.
#[derive(Debug)]
pub struct SplitReader {
    kind: Kind,
    /// Where rows belong that name no namespace, if the input says so.
    namespace: Option<Arc<str>>,
    /// How many rows are still to be given out.
    rest: u64,
}

#[derive(Debug)]
enum Kind {
    Parquet(Box<parquet::Reader>),
    Jsonl(Box<jsonl::Reader>),
}

/// A block of rows: it owns what was read and lends the rows.
#[derive(Debug)]
pub struct Records {
    pub(crate) block: Block,
    namespace: Option<Arc<str>>,
    /// How many rows of the block there are to see.
    shown: usize,
}

#[derive(Debug)]
pub(crate) enum Block {
    Parquet(Box<parquet::Batch>),
    Jsonl(Box<jsonl::Lines>),
}

/// A row: a record, or why it is none.
#[derive(Debug)]
pub struct Row<'a> {
    /// Where it stands.
    pub at: At,
    /// What it says.
    pub content: Result<RecordRef<'a>, BadRow<'a>>,
}

/// What tells whether two rows are versions of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey<'a> {
    /// The namespace that the row or its input names, if one does.
    pub namespace: Option<&'a str>,
    /// The id; never empty.
    pub id: &'a str,
}

/// Reads the keys of a split's rows and as little else as can be, a block of rows at a time.
#[derive(Debug)]
pub struct KeyReader(SplitReader);

/// The keys of a block of rows.
#[derive(Debug)]
pub struct RowKeys<'a>(&'a mut Records);

/// A row that is no record.
#[derive(Debug)]
pub struct BadRow<'a> {
    /// Why.
    pub reject: Reject,
    /// The row, to be handed back: a JSON object with the canonical keys. Where that cannot be had it
    /// is the line of the JSONL file (its first KiB if it is too long).
    pub raw: Cow<'a, [u8]>,
    /// The namespace that its input gives to rows that name none.
    pub namespace: Option<&'a str>,
}

// === impl SplitReader ===

impl SplitReader {
    pub(crate) fn parquet(reader: parquet::Reader) -> Self {
        Self::new(Kind::Parquet(Box::new(reader)))
    }

    pub(crate) fn jsonl(reader: jsonl::Reader) -> Self {
        Self::new(Kind::Jsonl(Box::new(reader)))
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            namespace: None,
            rest: u64::MAX,
        }
    }

    /// Rows that name no namespace belong to this one.
    pub(crate) fn in_namespace(mut self, namespace: Option<Arc<str>>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Gives out no more than so many rows.
    pub(crate) fn limited(mut self, rows: u64) -> Self {
        self.rest = rows;
        self
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
        if self.rest == 0 {
            return Ok(None);
        }
        let records = match &mut self.kind {
            Kind::Parquet(reader) => reader.next()?,
            Kind::Jsonl(reader) => reader.next()?,
        };
        let Some(records) = records else {
            return Ok(None);
        };
        let shown = usize::try_from(self.rest).unwrap_or(usize::MAX);
        records.shown = records.len().min(shown);
        self.rest -= records.shown as u64;
        if let Block::Parquet(batch) = &mut records.block {
            batch.count_not_read(records.shown as u64);
        }
        if records.namespace.is_none() {
            records.namespace.clone_from(&self.namespace);
        }
        Ok(Some(records))
    }
}

// === impl KeyReader ===

impl KeyReader {
    /// A reader of the keys of what a split's reader reads.
    pub(crate) fn new(reader: SplitReader) -> Self {
        Self(reader)
    }

    /// The keys of the next block of rows, or `None` at the end. A block has at least one row.
    ///
    /// # Errors
    ///
    /// As [`SplitReader::next`].
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends from the reader, which an iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Option<RowKeys<'_>>, SourceError> {
        Ok(self.0.next()?.map(RowKeys))
    }
}

// === impl RowKeys ===

impl RowKeys<'_> {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of a row; `None` where its id is missing, empty, or cannot be read.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn get(&mut self, index: usize) -> Option<RowKey<'_>> {
        self.0.key(index)
    }
}

// === impl Records ===

impl Records {
    pub(crate) fn new(block: Block) -> Self {
        Self {
            block,
            namespace: None,
            shown: 0,
        }
    }

    /// Shows all rows of a block that was filled anew.
    pub(crate) fn show_all(&mut self) {
        self.shown = match &self.block {
            Block::Parquet(batch) => batch.len(),
            Block::Jsonl(lines) => lines.len(),
        };
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was done to fields of the rows of this block that have been lent, each time once more:
    /// the field, what was done, and how many times.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        let changes = match &self.block {
            Block::Parquet(batch) => &batch.changes,
            Block::Jsonl(lines) => lines.changes(),
        };
        changes.iter()
    }

    /// A row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&mut self, index: usize) -> Row<'_> {
        self.expect(index);
        let mut row = match &mut self.block {
            Block::Parquet(batch) => batch.row(index),
            Block::Jsonl(lines) => lines.row(index),
        };
        if let Some(namespace) = self.namespace.as_deref() {
            match &mut row.content {
                Ok(record) => record.namespace = record.namespace.or(Some(namespace)),
                Err(bad) => bad.namespace = Some(namespace),
            }
        }
        row
    }

    /// The key of a row, as [`RowKeys::get`] gives it: that of a record, and of a row that is none where
    /// its id can be read. Nothing is counted as done to its fields.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn key(&mut self, index: usize) -> Option<RowKey<'_>> {
        self.expect(index);
        let (namespace, id) = match &mut self.block {
            Block::Parquet(batch) => batch.key(index)?,
            Block::Jsonl(lines) => lines.key(index)?,
        };
        let namespace = namespace.or(self.namespace.as_deref());
        (!id.is_empty()).then_some(RowKey { namespace, id })
    }

    /// The text of a row as its input has it, up to what is kept of a line that is too long; none of
    /// Parquet.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    pub fn text(&self, index: usize) -> Option<&[u8]> {
        self.expect(index);
        match &self.block {
            Block::Parquet(_) => None,
            Block::Jsonl(lines) => Some(lines.text(index)),
        }
    }

    fn expect(&self, index: usize) {
        assert!(
            index < self.shown,
            "there is no row {index} in a block of {}",
            self.shown
        );
    }
}
