//! Batches: the open batch is the request.
//!
//! A row that passes the rules is appended, in wire form and with its exact size known, to the open
//! batch of its namespace. Sealing completes the frame; from then on its bytes never change (INV-3):
//! an attempt sends a clone of a reference. `rows` says exactly which rows a batch holds, `ends`
//! where each record ends, so that a refused batch is halved without decoding anything.
//!
//! ```text
//! frame:  | 5 bytes of prefix | record 0 | record 1 | ... | namespace |
//! ends:                                  ^          ^
//! ```

mod superseded;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use vecload_pinecone::Limits;
use vecload_record::{At, RowRun};

use crate::checkpoint::FieldChange;
use crate::digest::Digest;
use crate::fence::Ticket;
use crate::memory::{Buffer, Memory};
use crate::namespace::Namespace;
use crate::target::Target;

/// What a record costs beside its bytes in the frame: its end, its locator, and its row where the rows
/// of a batch have holes. It counts against the batch's buffer.
pub(crate) const PER_RECORD: usize = size_of::<u32>() + size_of::<u64>() + size_of::<RowRun>();

/// The memory that the largest batch takes, in bytes.
pub(crate) fn largest(limits: Limits, opening_bytes: usize) -> usize {
    opening_bytes + limits.request_bytes + PER_RECORD * limits.request_records
}

/// A batch that still takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    namespace: Arc<Namespace>,
    buffer: Buffer,
    head: u32,
    ends: Vec<u32>,
    rows: Vec<RowRun>,
    locators: Vec<u64>,
    changes: Changes,
    /// The records whose ids later ones of the batch have.
    superseded: Vec<u32>,
    /// Its place in the order of its ids, where that is to be kept.
    pub(crate) ticket: Option<Ticket>,
}

/// What was done to metadata fields: by action and field, the records that it was done to. It is
/// booked when they are settled, so that it is booked once however often they are read.
type Changes = BTreeMap<&'static str, BTreeMap<String, Vec<u32>>>;

/// A sealed batch: one request, and the rows it holds.
#[derive(Debug, Clone)]
pub(crate) struct EncodedBatch {
    /// Where the records go.
    pub(crate) namespace: Arc<Namespace>,
    /// The complete frame. Its memory is leased from the budget until the last clone is dropped.
    pub(crate) frame: Bytes,
    /// Where the first record begins in the frame.
    head: u32,
    /// Where each record ends in the frame.
    pub(crate) ends: Arc<[u32]>,
    /// The rows, in the order of the records.
    pub(crate) rows: Arc<[RowRun]>,
    /// Where each record stands in its file, for people.
    pub(crate) locators: Arc<[u64]>,
    /// The digest of the records.
    pub(crate) digest: Digest,
    changes: Arc<Changes>,
    /// Its place in the order of its ids, where that is to be kept. All parts of a batch have the same.
    pub(crate) ticket: Option<Arc<Ticket>>,
}

// === impl OpenBatch ===

impl OpenBatch {
    /// An empty batch in a leased buffer.
    pub(crate) fn new<T: Target>(
        target: &T,
        namespace: Arc<Namespace>,
        mut buffer: Buffer,
    ) -> Self {
        target.begin(buffer.bytes_mut());
        Self {
            namespace,
            head: buffer.len() as u32,
            buffer,
            ends: Vec::new(),
            rows: Vec::new(),
            locators: Vec::new(),
            changes: Changes::new(),
            superseded: Vec::new(),
            ticket: None,
        }
    }

    /// Where the records go.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The number of records.
    pub(crate) fn records(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of the message so far: without the frame's head and the namespace.
    pub(crate) fn message_bytes(&self) -> usize {
        self.buffer.len() - self.head as usize
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len() + PER_RECORD * self.records()
    }

    /// Whether a record of that many bytes fits into what is leased.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.size() + bytes + PER_RECORD <= self.buffer.capacity()
    }

    /// The frame so far, to append one record to. [`OpenBatch::appended`] must follow.
    pub(crate) fn frame_mut(&mut self) -> &mut Vec<u8> {
        self.buffer.bytes_mut()
    }

    /// Takes note of the record that was just appended, and of what was done to its metadata.
    pub(crate) fn appended<'a>(
        &mut self,
        split: u32,
        at: At,
        changes: impl Iterator<Item = (&'a str, &'static str)>,
    ) {
        for (field, action) in changes {
            let fields = self.changes.entry(action).or_default();
            let record = self.ends.len() as u32;
            match fields.get_mut(field) {
                Some(records) => records.push(record),
                None => drop(fields.insert(field.to_owned(), vec![record])),
            }
        }
        // A frame is at most 4 GiB: the length in its prefix has 32 bits.
        self.ends.push(self.buffer.len() as u32);
        self.locators.push(at.locator);
        push_row(&mut self.rows, split, at.row);
    }

    /// Moves into a larger buffer.
    pub(crate) fn grow(mut self, larger: Buffer) -> Self {
        self.buffer = self.buffer.move_into(larger);
        self
    }

    /// Completes the frame.
    pub(crate) fn seal<T: Target>(mut self, target: &T) -> EncodedBatch {
        self.take_out_superseded();
        target.seal(&self.namespace.wire, self.buffer.bytes_mut());
        let digest = digest(
            &self.namespace,
            self.buffer.bytes_mut(),
            self.head,
            &self.ends,
        );
        self.buffer.seal();
        EncodedBatch {
            digest,
            namespace: self.namespace,
            frame: Bytes::from_owner(self.buffer),
            head: self.head,
            ends: self.ends.into(),
            rows: self.rows.into(),
            locators: self.locators.into(),
            changes: Arc::new(self.changes),
            ticket: self.ticket.map(Arc::new),
        }
    }
}

// === impl EncodedBatch ===

impl EncodedBatch {
    /// The number of records.
    pub(crate) fn records(&self) -> usize {
        self.ends.len()
    }

    /// The size of the message: the frame without its head.
    pub(crate) fn message_bytes(&self) -> usize {
        self.frame.len() - self.head as usize
    }

    /// The wire form of one record.
    pub(crate) fn record(&self, index: usize) -> &[u8] {
        &self.frame[self.start(index) as usize..self.ends[index] as usize]
    }

    /// Where a record begins in the frame.
    fn start(&self, index: usize) -> u32 {
        match index {
            0 => self.head,
            _ => self.ends[index - 1],
        }
    }

    /// The split and row of one record.
    pub(crate) fn row(&self, index: usize) -> RowRun {
        row_of(&self.rows, index)
    }

    /// What was done to metadata fields of its records.
    pub(crate) fn changes(&self) -> Vec<FieldChange> {
        self.changes
            .iter()
            .flat_map(|(action, fields)| {
                fields.iter().map(|(field, records)| {
                    FieldChange::from((field.as_str(), *action, records.len() as u64))
                })
            })
            .collect()
    }

    /// A new batch of a range of the records. The range is not empty.
    pub(crate) fn cut<T: Target>(
        &self,
        target: &T,
        memory: &Arc<Memory>,
        range: Range<usize>,
    ) -> Self {
        debug_assert!(!range.is_empty());
        let frame = target.cut(&self.frame, &self.ends, range.clone());
        let mut buffer =
            memory.lease_for_split(&self.namespace, frame.len() + PER_RECORD * range.len());
        buffer.bytes_mut().extend_from_slice(&frame);
        let shift = self.start(range.start) - self.head;
        let mut rows: Vec<RowRun> = Vec::new();
        let mut skipped = 0;
        for run in self.rows.iter() {
            // The part of this run that lies in the range, counted in records of the batch.
            let start = range.start.max(skipped);
            let end = range.end.min(skipped + run.len as usize);
            if start < end {
                rows.push(RowRun {
                    split: run.split,
                    first: run.first + (start - skipped) as u64,
                    len: (end - start) as u32,
                });
            }
            skipped += run.len as usize;
        }
        let ends: Arc<[u32]> = self.ends[range.clone()]
            .iter()
            .map(|end| end - shift)
            .collect();
        Self {
            digest: digest(&self.namespace, &frame, self.head, &ends),
            namespace: Arc::clone(&self.namespace),
            frame: Bytes::from_owner(buffer),
            head: self.head,
            ends,
            rows: rows.into(),
            changes: Arc::new(cut_changes(&self.changes, &range)),
            locators: self.locators[range].into(),
            ticket: self.ticket.clone(),
        }
    }
}

/// Adds a row to the rows of a batch.
fn push_row(rows: &mut Vec<RowRun>, split: u32, row: u64) {
    match rows.last_mut() {
        Some(run) if run.split == split && run.first + u64::from(run.len) == row => run.len += 1,
        _ => rows.push(RowRun {
            split,
            first: row,
            len: 1,
        }),
    }
}

/// The split and row of one record of a batch.
fn row_of(rows: &[RowRun], index: usize) -> RowRun {
    let mut skipped = index as u64;
    for run in rows {
        if skipped < u64::from(run.len) {
            return RowRun {
                split: run.split,
                first: run.first + skipped,
                len: 1,
            };
        }
        skipped -= u64::from(run.len);
    }
    unreachable!("every record has a row");
}

/// The digest of the records in a frame.
fn digest(namespace: &Namespace, frame: &[u8], head: u32, ends: &[u32]) -> Digest {
    let starts = std::iter::once(&head).chain(ends);
    let records = starts
        .zip(ends)
        .map(|(start, end)| &frame[*start as usize..*end as usize]);
    Digest::of(&namespace.wire, records)
}

/// The changes of a range of the records.
fn cut_changes(changes: &Changes, range: &Range<usize>) -> Changes {
    let within = |records: &Vec<u32>| -> Vec<u32> {
        let within = records.iter().map(|record| *record as usize);
        within
            .filter(|record| range.contains(record))
            .map(|record| (record - range.start) as u32)
            .collect()
    };
    changes
        .iter()
        .map(|(action, fields)| {
            let fields = fields
                .iter()
                .map(|(field, records)| (field.clone(), within(records)))
                .filter(|(_, records)| !records.is_empty())
                .collect();
            (*action, fields)
        })
        .collect()
}
