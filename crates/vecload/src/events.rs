//! What workers and senders tell the committer (channel ②). Events only move forward.

use std::sync::Arc;

use vecload_record::{Reject, RowRun};

use crate::checkpoint::{FieldChange, TextRead};
use crate::digest::Digest;
use crate::namespace::Namespace;
use crate::sampling::Sampled;

/// Something that happened to rows.
#[derive(Debug)]
pub(crate) enum Event {
    /// Rows were read.
    Read(ReadRows),
    /// A request was acknowledged.
    Loaded(LoadedRows),
    /// A row will never be loaded.
    Rejected(Box<RejectedRow>),
    /// Later rows have the ids of rows of a namespace.
    Superseded {
        /// Where they would have gone.
        namespace: Arc<Namespace>,
        /// The rows.
        rows: Vec<RowRun>,
    },
    /// A split was read to its end.
    SplitRead {
        /// The split's number.
        split: u32,
        /// How many rows it has.
        rows: u64,
    },
    /// A block of a stream was read, up to there.
    TextRead {
        /// The split's number.
        split: u32,
        /// The rows read, with a hash of their text.
        text: TextRead,
    },
    /// A second has passed: what was written is to be made durable.
    Tick,
    /// A split could not be read to its end. What was not read of it stays unread.
    Unreadable {
        /// The split's number.
        split: u32,
        /// What happened, for people.
        message: String,
    },
}

/// Rows that were read from one split. Rows that were settled before are not among them.
#[derive(Debug)]
pub(crate) struct ReadRows {
    /// The split's number.
    pub(crate) split: u32,
    /// The row after the last one.
    pub(crate) end: u64,
    /// How many rows there were for each namespace; each namespace once.
    pub(crate) namespaces: Vec<(Arc<Namespace>, u64)>,
    /// The row after the last one of the block that was read.
    pub(crate) block_end: u64,
    /// What the reader did to fields of the block's rows, if that is not counted yet.
    pub(crate) changes: Vec<FieldChange>,
}

/// The rows of an acknowledged request.
#[derive(Debug)]
pub(crate) struct LoadedRows {
    /// Where they were loaded.
    pub(crate) namespace: Arc<Namespace>,
    /// The rows.
    pub(crate) rows: Arc<[RowRun]>,
    /// The size of the request's message in bytes.
    pub(crate) bytes: u64,
    /// The log sequence number that the service gave the write.
    pub(crate) lsn: Option<u64>,
    /// What was done to metadata fields of these rows.
    pub(crate) changes: Vec<FieldChange>,
    /// The digest of the records.
    pub(crate) digest: Digest,
    /// Of which of the records something is kept.
    pub(crate) sampled: Vec<Sampled>,
}

/// A row that will never be loaded.
#[derive(Debug)]
pub(crate) struct RejectedRow {
    /// Where it would have gone.
    pub(crate) namespace: Arc<Namespace>,
    /// The split's number.
    pub(crate) split: u32,
    /// The row's number in the split.
    pub(crate) row: u64,
    /// Where a person finds it in the file.
    pub(crate) locator: u64,
    /// Why.
    pub(crate) reject: Reject,
    /// What was done to its metadata fields before the service refused it.
    pub(crate) changes: Vec<FieldChange>,
    /// The record.
    pub(crate) content: Content,
}

/// A rejected record, in the form in which it was at hand.
#[derive(Debug)]
pub(crate) enum Content {
    /// As an object in canonical form.
    Record(serde_json::Map<String, serde_json::Value>),
    /// As bytes of the input: a line, or what a reader made of a row.
    Raw(Vec<u8>),
}
