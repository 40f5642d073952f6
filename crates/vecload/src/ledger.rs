//! The books of a run (INV-1): what was read, and what became of it.
//!
//! Every number is kept per input and per namespace, and both sides add up to the same totals. A row
//! is settled once: the set of settled rows of each split says so, and a row that is settled twice is
//! a bug that stops the run. *Remaining* is never counted, only derived: read and not settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use vecload_record::{Reason, RowRun};
use vecload_source::{Plan, Split};

use crate::events::{LoadedRows, ReadRows, RejectedRow};
use crate::namespace::Namespace;
use crate::rows::RowSet;

/// One set of books: records by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Records read.
    pub read: u64,
    /// Records acknowledged by the target.
    pub loaded: u64,
    /// Records whose id a later record has.
    pub superseded: u64,
    /// Records in the dead letters.
    pub rejected: u64,
    /// Records left out by wish.
    pub filtered: u64,
}

/// The books of one namespace and what its requests took.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamespaceBooks {
    pub(crate) name: String,
    pub(crate) books: Books,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) max_lsn: Option<u64>,
    pub(crate) write_units: u64,
}

/// The progress of one split.
#[derive(Debug, Clone, Default)]
struct SplitBooks {
    read: u64,
    settled: RowSet,
    read_to_end: bool,
}

/// All books of a run.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    splits: Vec<SplitBooks>,
    /// Of each split, the input it is a part of.
    split_inputs: Vec<usize>,
    pub(crate) inputs: Vec<Books>,
    pub(crate) namespaces: BTreeMap<usize, NamespaceBooks>,
    pub(crate) rejected_by_reason: BTreeMap<Reason, u64>,
    pub(crate) metadata_changes: BTreeMap<String, BTreeMap<&'static str, u64>>,
    pub(crate) unreadable: Vec<String>,
}

/// A row was settled that was settled before, or was never read: a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("split {split}: {what}")]
pub(crate) struct Unbalanced {
    split: u32,
    what: String,
}

// === impl Books ===

impl Books {
    /// Records read whose fate is not settled.
    ///
    /// While a run goes on an answer may be booked before the reading of its rows; then this is 0
    /// for a moment. At the end the ledger checks that no split settled more than it read.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.read.saturating_sub(self.settled())
    }

    fn settled(&self) -> u64 {
        self.loaded + self.superseded + self.rejected + self.filtered
    }

    fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.loaded += other.loaded;
        self.superseded += other.superseded;
        self.rejected += other.rejected;
        self.filtered += other.filtered;
    }
}

// === impl Ledger ===

impl Ledger {
    /// Empty books for the splits of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            splits: vec![SplitBooks::default(); plan.splits.len()],
            split_inputs: plan
                .splits
                .iter()
                .map(|split| split.input as usize)
                .collect(),
            inputs: vec![Books::default(); plan.inputs.len()],
            namespaces: BTreeMap::new(),
            rejected_by_reason: BTreeMap::new(),
            metadata_changes: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// The books of the whole run.
    pub(crate) fn total(&self) -> Books {
        let mut total = Books::default();
        for books in &self.inputs {
            total.add(books);
        }
        total
    }

    /// Rows were read.
    pub(crate) fn read(&mut self, rows: &ReadRows) {
        let split = rows.split as usize;
        for (namespace, count) in &rows.namespaces {
            self.splits[split].read += count;
            self.inputs[self.split_inputs[split]].read += count;
            self.namespace(namespace).books.read += count;
        }
        for (field, action, times) in &rows.changes {
            let actions = self.metadata_changes.entry(field.clone()).or_default();
            *actions.entry(action).or_default() += times;
        }
    }

    /// A request was acknowledged.
    pub(crate) fn loaded(&mut self, rows: &LoadedRows) -> Result<(), Unbalanced> {
        let mut records = 0;
        for run in rows.rows.iter() {
            let count = u64::from(run.len);
            self.settle(*run)?;
            self.inputs[self.split_inputs[run.split as usize]].loaded += count;
            records += count;
        }
        let books = self.namespace(&rows.namespace);
        books.books.loaded += records;
        books.bytes += rows.bytes;
        books.requests += 1;
        books.write_units += write_units(rows.bytes);
        books.max_lsn = books.max_lsn.max(rows.lsn);
        Ok(())
    }

    /// A row was rejected.
    pub(crate) fn rejected(&mut self, row: &RejectedRow) -> Result<(), Unbalanced> {
        self.settle(RowRun {
            split: row.split,
            first: row.row,
            len: 1,
        })?;
        self.inputs[self.split_inputs[row.split as usize]].rejected += 1;
        self.namespace(&row.namespace).books.rejected += 1;
        *self
            .rejected_by_reason
            .entry(row.reject.reason)
            .or_default() += 1;
        Ok(())
    }

    /// A split was read to its end.
    pub(crate) fn split_read(&mut self, split: u32) {
        self.splits[split as usize].read_to_end = true;
    }

    /// Checks at the end of a run that nothing is settled that was not read.
    pub(crate) fn check(&self) -> Result<(), Unbalanced> {
        for (split, books) in self.splits.iter().enumerate() {
            if !books.settled.is_within(books.read) {
                return Err(Unbalanced {
                    split: split as u32,
                    what: format!("rows are settled beyond the {} that were read", books.read),
                });
            }
        }
        Ok(())
    }

    /// Rows of the plan that were not read, where their number is known, and bytes of splits where
    /// it is not.
    pub(crate) fn unread(&self, splits: &[Split]) -> (u64, u64) {
        let (mut rows, mut bytes) = (0, 0);
        for (books, split) in self.splits.iter().zip(splits) {
            match split.rows {
                _ if books.read_to_end => {}
                Some(all) => rows += all.saturating_sub(books.read),
                None => bytes += split.bytes,
            }
        }
        (rows, bytes)
    }

    fn settle(&mut self, run: RowRun) -> Result<(), Unbalanced> {
        let unbalanced = |what: String| Unbalanced {
            split: run.split,
            what,
        };
        let books = &mut self.splits[run.split as usize];
        let end = run.first + u64::from(run.len);
        let new = books.settled.insert(run.first, end);
        if new != u64::from(run.len) {
            return Err(unbalanced(format!(
                "rows {}..{end} are settled, and some were before",
                run.first
            )));
        }
        Ok(())
    }

    fn namespace(&mut self, namespace: &Arc<Namespace>) -> &mut NamespaceBooks {
        self.namespaces
            .entry(namespace.index)
            .or_insert_with(|| NamespaceBooks {
                name: namespace.name().to_owned(),
                ..NamespaceBooks::default()
            })
    }
}

/// What the service charges for a request of new records: one unit for each kilobyte, five at least
/// (`cost` in the service's documents). Records that are overwritten cost their size again.
fn write_units(bytes: u64) -> u64 {
    bytes.div_ceil(1000).max(5)
}
