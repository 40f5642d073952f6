//! Single stages of the pipeline, for benches to measure. Not a part of the library's interface.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vecload_pinecone::{Failure, IndexShape, Limits, MetadataPolicy, UpsertAck};
use vecload_record::{At, RecordRef, RowRun};

use crate::batch::{EncodedBatch, largest};
use crate::batcher::{Batcher, RequestCap, Slot};
use crate::checkpoint::{Checkpoint, Entry, FOLDER, Rows, RunDisk, State};
use crate::digest::Digest;
use crate::ledger::Ledger;
use crate::memory::{Memory, WaitsFor};
use crate::namespace::Namespaces;
use crate::target::{TakesUpserts, Target as _};

/// Rules, appending and sealing: records become requests, which are dropped.
#[derive(Debug)]
pub struct Filling {
    batcher: Batcher<Nowhere>,
    slot: Slot,
    sealed: async_channel::Receiver<EncodedBatch>,
}

/// Booking and writing down: requests are acknowledged, and what they held is settled.
#[derive(Debug)]
pub struct Settling {
    state: State,
    checkpoint: Checkpoint,
    next_row: u64,
}

/// A service of default limits that is never asked.
#[derive(Debug)]
struct Nowhere;

impl TakesUpserts for Nowhere {
    fn shape(&self) -> IndexShape {
        IndexShape::default()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn policy(&self) -> MetadataPolicy {
        MetadataPolicy::default()
    }

    async fn upsert(&self, _frame: Bytes, _timeout: Duration) -> Result<UpsertAck, Failure> {
        Ok(UpsertAck {
            upserted_count: 0,
            lsn: None,
            request_id: None,
        })
    }
}

// === impl Filling ===

impl Filling {
    /// With so many bytes of memory.
    #[must_use]
    pub fn new(memory: usize) -> Self {
        let target = Arc::new(Nowhere);
        let limits = TakesUpserts::limits(&*target);
        let (sealed_in, sealed) = async_channel::unbounded();
        let mut batcher = Batcher::new(
            Arc::clone(&target),
            Memory::new(memory, largest(limits, target.opening_bytes())),
            Arc::new(RequestCap::new(limits.request_bytes)),
            Arc::new(Namespaces::default()),
            sealed_in,
        );
        Self {
            slot: batcher.slot(""),
            batcher,
            sealed,
        }
    }

    /// Takes a record. Returns the bytes of the requests that it completed, which are gone then; none where it
    /// breaks the rules.
    pub fn push(&mut self, record: &RecordRef<'_>, row: u64) -> Option<usize> {
        let at = At { row, locator: row };
        let waits_for = WaitsFor::Namespace;
        let pushed = self.batcher.push(record, self.slot, 0, at, waits_for);
        pushed.ok()?;
        let mut bytes = 0;
        while let Ok(batch) = self.sealed.try_recv() {
            bytes += batch.message_bytes();
        }
        Some(bytes)
    }
}

// === impl Settling ===

impl Settling {
    /// A run of one split whose checkpoint is below an existing directory.
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be written.
    pub fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory.join(FOLDER))?;
        let state = State::new(Ledger::of(vec![0], 1));
        let checkpoint = Checkpoint::begin(Box::new(RunDisk::new(directory)), &state, 0)?;
        Ok(Self {
            state,
            checkpoint,
            next_row: 0,
        })
    }

    /// Settles the next rows as one request.
    ///
    /// # Errors
    ///
    /// The books or the disk.
    pub fn settle(&mut self, rows: u32) -> io::Result<()> {
        let run = RowRun {
            split: 0,
            first: self.next_row,
            len: rows,
        };
        self.next_row += u64::from(rows);
        let entry = Entry::Loaded {
            namespace: String::new(),
            rows: Rows(vec![run]),
            bytes: 1_000_000,
            lsn: Some(self.next_row),
            digest: Digest::default(),
            changes: Vec::new(),
            sampled: Vec::new(),
        };
        self.state.apply(&entry).map_err(io::Error::other)?;
        self.checkpoint.append(&entry)
    }

    /// Makes durable what was settled, as it is done every second.
    ///
    /// # Errors
    ///
    /// The disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.checkpoint.sync(&self.state)
    }
}
