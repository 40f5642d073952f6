//! The books of a run (INV-1): what was read, and what became of it. What a limit leaves out is in the
//! plan, and the report adds it.
//!
//! Every number is kept per input and per namespace, and both sides add up to the same totals. A row
//! is settled once: the set of settled rows of each split says so, and a row that is settled twice is
//! a bug that stops the run. *Remaining* is never counted, only derived: read and not settled.
//!
//! Settlements come as entries, from the run that goes on as from the journal of an earlier one. The
//! books are those of the whole run, over all its attempts: rows that were read and not settled
//! when an attempt ended are read again, and count as unread until then.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use vecload_record::RowRun;
use vecload_source::{Plan, Split};

use crate::checkpoint::{Entry, FieldChange, Rows, TextRead};
use crate::digest::Digest;
use crate::events::ReadRows;
use crate::rows::RowSet;
use crate::sampling::KeySample;

/// One set of books: records by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceBooks {
    pub(crate) books: Books,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) max_lsn: Option<u64>,
    pub(crate) write_units: u64,
}

/// The progress of one split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SplitBooks {
    read: u64,
    /// The row after the last one that was read or settled by an earlier attempt.
    reach: u64,
    settled: RowSet,
    rejected: RowSet,
    /// How many rows it has, once it was read to its end.
    rows: Option<u64>,
    /// The row up to which it is counted what the reader did to fields.
    counted: u64,
    /// The ends of the blocks that were read, where it is a stream.
    text: Vec<TextRead>,
}

/// What earlier attempts did of a split.
#[derive(Debug, Clone, Default)]
pub(crate) struct SplitDone {
    pub(crate) settled: RowSet,
    /// The row up to which it is counted what the reader did to fields.
    pub(crate) counted: u64,
    /// The ends of the blocks that were read, where it is a stream.
    pub(crate) text: Vec<TextRead>,
}

/// All books of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    splits: Vec<SplitBooks>,
    /// Of each split, the input it is a part of.
    split_inputs: Vec<u32>,
    pub(crate) inputs: Vec<Books>,
    pub(crate) namespaces: BTreeMap<String, NamespaceBooks>,
    pub(crate) rejected_by_reason: BTreeMap<String, u64>,
    pub(crate) metadata_changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Ids of which no record is loaded since the last one was rejected.
    pub(crate) ids_without_version: u64,
    /// The digest of all records that were loaded.
    pub(crate) content_digest: Digest,
    /// What is kept of the records, where an input is a stream.
    pub(crate) sample: KeySample,
    /// What could not be read to its end in this attempt.
    #[serde(skip)]
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

    /// Whether every record that was read is settled, and no other.
    pub(crate) fn balance(&self) -> bool {
        self.read == self.settled()
    }

    fn settled(&self) -> u64 {
        self.loaded + self.superseded + self.rejected + self.filtered
    }
}

impl<'a> Sum<&'a Self> for Books {
    fn sum<I: Iterator<Item = &'a Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, books| Self {
            read: sum.read + books.read,
            loaded: sum.loaded + books.loaded,
            superseded: sum.superseded + books.superseded,
            rejected: sum.rejected + books.rejected,
            filtered: sum.filtered + books.filtered,
        })
    }
}

// === impl Ledger ===

impl Ledger {
    /// Empty books for the splits of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self::of(
            plan.splits.iter().map(|split| split.input).collect(),
            plan.inputs.len(),
        )
    }

    /// Empty books for splits of which each is a part of one of so many inputs.
    pub(crate) fn of(split_inputs: Vec<u32>, inputs: usize) -> Self {
        Self {
            splits: vec![SplitBooks::default(); split_inputs.len()],
            split_inputs,
            inputs: vec![Books::default(); inputs],
            namespaces: BTreeMap::new(),
            rejected_by_reason: BTreeMap::new(),
            metadata_changes: BTreeMap::new(),
            ids_without_version: 0,
            content_digest: Digest::default(),
            sample: KeySample::default(),
            unreadable: Vec::new(),
        }
    }

    /// Leaves a split to another shard: here it has no rows, and nothing is to be done for it.
    pub(crate) fn leave_out(&mut self, split: u32) {
        if let Some(books) = self.splits.get_mut(split as usize) {
            books.rows = Some(0);
        }
    }

    /// Whether its parts refer to each other as they should.
    pub(crate) fn is_sound(&self) -> bool {
        self.splits.len() == self.split_inputs.len()
            && self
                .split_inputs
                .iter()
                .all(|input| (*input as usize) < self.inputs.len())
    }

    /// Whether these are books of that plan.
    pub(crate) fn is_of(&self, plan: &Plan) -> bool {
        self.inputs.len() == plan.inputs.len()
            && self.splits.len() == plan.splits.len()
            && self
                .split_inputs
                .iter()
                .eq(plan.splits.iter().map(|split| &split.input))
    }

    /// The books of the whole run.
    pub(crate) fn total(&self) -> Books {
        self.inputs.iter().sum()
    }

    /// What is done of each split.
    pub(crate) fn done(&self) -> Vec<SplitDone> {
        let done = |books: &SplitBooks| SplitDone {
            settled: books.settled.clone(),
            counted: books.counted,
            text: books.text.clone(),
        };
        self.splits.iter().map(done).collect()
    }

    /// Of each split the rows that were loaded or superseded. Which of the two is the prescan's to say.
    pub(crate) fn loaded_or_superseded(&self) -> Vec<RowSet> {
        let loaded = |books: &SplitBooks| {
            let mut rows = books.settled.clone();
            rows.subtract(&books.rejected);
            rows
        };
        self.splits.iter().map(loaded).collect()
    }

    /// Whether there is nothing left to do for a split: it was read to its end, every row of it is settled,
    /// and it is no stream. Whether that is the same again shows only when it is read again.
    pub(crate) fn is_settled(&self, split: &Split) -> bool {
        let books = &self.splits[split.id as usize];
        books.rows == Some(books.settled.len()) && books.text.is_empty()
    }

    /// Whether every split was read to its end and every row is settled.
    pub(crate) fn is_complete(&self) -> bool {
        self.splits
            .iter()
            .all(|books| books.rows == Some(books.settled.len()))
    }

    /// Rows were read.
    pub(crate) fn read(&mut self, rows: &ReadRows) {
        let split = rows.split as usize;
        self.splits[split].reach = self.splits[split].reach.max(rows.end);
        for (namespace, count) in &rows.namespaces {
            self.splits[split].read += count;
            self.inputs[self.split_inputs[split] as usize].read += count;
            self.namespace(namespace.name()).books.read += count;
        }
    }

    /// Books a settlement.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Unbalanced> {
        match entry {
            Entry::Loaded {
                namespace,
                rows,
                bytes,
                lsn,
                changes,
                digest,
                sampled,
            } => {
                self.settle(rows, |books| &mut books.loaded)?;
                self.content_digest += *digest;
                self.sample.take(namespace, sampled);
                self.change(changes);
                let books = self.namespace(namespace);
                books.books.loaded += rows.count();
                books.bytes += bytes;
                books.requests += 1;
                books.write_units += write_units(*bytes);
                books.max_lsn = books.max_lsn.max(*lsn);
            }
            Entry::Rejected {
                namespace,
                split,
                row,
                reason,
                supersedes,
                changes,
                letters: _,
            } => {
                let run = RowRun {
                    split: *split,
                    first: *row,
                    len: 1,
                };
                self.settle(&Rows(vec![run]), |books| &mut books.rejected)?;
                self.splits[*split as usize].rejected.insert(*row, row + 1);
                self.change(changes);
                self.ids_without_version += u64::from(*supersedes > 0);
                self.namespace(namespace).books.rejected += 1;
                *self.rejected_by_reason.entry(reason.clone()).or_default() += 1;
            }
            Entry::Superseded { namespace, rows } => {
                self.settle(rows, |books| &mut books.superseded)?;
                self.namespace(namespace).books.superseded += rows.count();
            }
            Entry::SplitRead { split, rows } => {
                self.split(*split)?.rows = Some(*rows);
            }
            Entry::FieldsRead {
                split,
                end,
                changes,
            } => {
                self.split(*split)?.counted = *end;
                self.change(changes);
            }
            Entry::TextRead { split, text } => self.split(*split)?.text.push(*text),
        }
        Ok(())
    }

    /// Forgets what was read and not settled: it will be read again.
    pub(crate) fn forget_unsettled(&mut self) {
        for split in &mut self.splits {
            split.read = split.settled.len();
            split.reach = split.settled.end();
        }
        let namespaces = self.namespaces.values_mut().map(|all| &mut all.books);
        for books in self.inputs.iter_mut().chain(namespaces) {
            books.read = books.settled();
        }
    }

    /// Takes every rejected row for unread, so that it is tried again.
    pub(crate) fn reopen_rejected(&mut self) {
        for split in &mut self.splits {
            let rejected = std::mem::take(&mut split.rejected);
            split.settled.subtract(&rejected);
        }
        let namespaces = self.namespaces.values_mut().map(|all| &mut all.books);
        for books in self.inputs.iter_mut().chain(namespaces) {
            books.rejected = 0;
        }
        self.rejected_by_reason.clear();
        self.ids_without_version = 0;
        self.forget_unsettled();
    }

    /// Takes every superseded row for unread: `superseded` says of a split which of the rows before
    /// that one are.
    pub(crate) fn reopen_superseded<E>(
        &mut self,
        mut superseded: impl FnMut(u32, Range<u64>) -> Result<RowSet, E>,
    ) -> Result<(), E> {
        for (number, split) in (0..).zip(&mut self.splits) {
            let rows = superseded(number, 0..split.settled.end())?;
            split.settled.subtract(&rows);
        }
        let namespaces = self.namespaces.values_mut().map(|all| &mut all.books);
        for books in self.inputs.iter_mut().chain(namespaces) {
            books.superseded = 0;
        }
        self.forget_unsettled();
        Ok(())
    }

    /// The books with changed inputs to be read from their beginning. What was settled of those before
    /// stays in the books: it was read, and it has its fate.
    pub(crate) fn with_restarted(&self, plan: &Plan, changed: &[bool]) -> Self {
        let mut books: Vec<Vec<&SplitBooks>> = vec![Vec::new(); self.inputs.len()];
        for (split, input) in self.splits.iter().zip(&self.split_inputs) {
            books[*input as usize].push(split);
        }
        let mut next = vec![0; books.len()];
        let splits = plan.splits.iter().map(|split| {
            let input = split.input as usize;
            let number = next[input];
            next[input] += 1;
            match books[input].get(number) {
                Some(books) if !changed[input] => (*books).clone(),
                _ => SplitBooks::default(),
            }
        });
        Self {
            splits: splits.collect(),
            split_inputs: plan.splits.iter().map(|split| split.input).collect(),
            ..self.clone()
        }
    }

    /// Checks at the end of a run that nothing is settled that was not read.
    pub(crate) fn check(&self) -> Result<(), Unbalanced> {
        for (split, books) in self.splits.iter().enumerate() {
            if books.settled.end() > books.reach || books.settled.len() > books.read {
                return Err(Unbalanced {
                    split: split as u32,
                    what: format!("rows are settled beyond the {} that were read", books.read),
                });
            }
        }
        Ok(())
    }

    /// How many rows there are, where that is known of all splits.
    pub(crate) fn rows(&self, splits: &[Split]) -> Option<u64> {
        let rows = self.splits.iter().zip(splits);
        rows.map(|(books, split)| books.rows.or(split.rows)).sum()
    }

    /// Rows of the plan that were not read, where their number is known, and bytes of splits where
    /// it is not.
    pub(crate) fn unread(&self, splits: &[Split]) -> (u64, u64) {
        let (mut rows, mut bytes) = (0, 0);
        for (books, split) in self.splits.iter().zip(splits) {
            match books.rows.or(split.rows) {
                Some(all) => rows += all.saturating_sub(books.read),
                None => bytes += split.bytes,
            }
        }
        (rows, bytes)
    }

    fn settle(
        &mut self,
        rows: &Rows,
        fate: impl Fn(&mut Books) -> &mut u64,
    ) -> Result<(), Unbalanced> {
        for run in &rows.0 {
            let books = self.split(run.split)?;
            let end = run.first.saturating_add(u64::from(run.len));
            if books.settled.insert(run.first, end) != u64::from(run.len) {
                return Err(Unbalanced {
                    split: run.split,
                    what: format!(
                        "rows {}..{end} are settled, and some were before",
                        run.first
                    ),
                });
            }
            let input = self.split_inputs[run.split as usize] as usize;
            *fate(&mut self.inputs[input]) += u64::from(run.len);
        }
        Ok(())
    }

    fn split(&mut self, split: u32) -> Result<&mut SplitBooks, Unbalanced> {
        self.splits
            .get_mut(split as usize)
            .ok_or_else(|| Unbalanced {
                split,
                what: "there is no such split in the plan".to_owned(),
            })
    }

    fn change(&mut self, changes: &[FieldChange]) {
        for change in changes {
            let actions = self
                .metadata_changes
                .entry(change.field.clone())
                .or_default();
            *actions.entry(change.action.clone()).or_default() += change.times;
        }
    }

    fn namespace(&mut self, name: &str) -> &mut NamespaceBooks {
        self.namespaces.entry(name.to_owned()).or_default()
    }
}

/// What the service charges for a request of new records: one unit for each kilobyte, five at least
/// (`cost` in the service's documents). Records that are overwritten cost their size again.
pub(crate) fn write_units(bytes: u64) -> u64 {
    bytes.div_ceil(1000).max(5)
}
