//! read, rules, append, seal: one loop on one CPU thread.
//!
//! A worker takes splits until there are none. It never touches the network and waits in three
//! places only: for room in the byte budget, and at the two channels. Rows are lent by the reader
//! and are in wire form before the next one is looked at. Rows that an earlier attempt of the run
//! settled are passed over: neither sent nor counted again.

use std::collections::BTreeMap;
use std::sync::Arc;

use vecload_record::{At, RecordRef, Reject};
use vecload_source::{BadRow, Plan, Records, SourceError, Split};

use crate::batcher::{Batcher, NotTaken, Stopping};
use crate::canonical::canonical;
use crate::checkpoint::FieldChange;
use crate::events::{Content, Event, ReadRows, RejectedRow};
use crate::ledger::SplitDone;
use crate::namespace::Namespace;
use crate::stop::Stop;
use crate::target::Target;

/// One CPU worker.
#[derive(Debug)]
pub(crate) struct Worker<T: Target> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) batcher: Batcher<T>,
    /// Where records go that name no namespace.
    pub(crate) default_namespace: String,
    pub(crate) stop: Arc<Stop>,
    /// Of each split, what earlier attempts did.
    pub(crate) done: Arc<[SplitDone]>,
    /// The splits that are still to be read.
    pub(crate) splits: async_channel::Receiver<Split>,
    /// What happened to rows (channel ②).
    pub(crate) events: async_channel::Sender<Event>,
}

/// What a block of rows adds to the books.
#[derive(Debug, Default)]
struct Tally {
    namespaces: BTreeMap<usize, (Option<Arc<Namespace>>, u64)>,
    /// The row after the last one that was counted.
    end: u64,
}

// === impl Worker ===

impl<T: Target> Worker<T> {
    /// Reads splits until there are none or the run is stopping.
    pub(crate) fn run(mut self) {
        // Once the channel of splits is empty and closed there is nothing left.
        while let Ok(split) = self.splits.recv_blocking() {
            if self.read(&split).is_err() {
                return;
            }
        }
        // Whether the senders are gone makes no difference to a worker that has nothing left to do.
        let _ = self.batcher.flush();
    }

    fn read(&mut self, split: &Split) -> Result<(), Stopping> {
        let plan = Arc::clone(&self.plan);
        match self.read_rows(&plan, split) {
            Ok(Some(rows)) => self.tell(Event::SplitRead {
                split: split.id,
                rows,
            }),
            Ok(None) => Err(Stopping),
            Err(error) => self.tell(Event::Unreadable {
                split: split.id,
                message: error.to_string(),
            }),
        }
    }

    /// Reads a split and says how many rows it has; none when the run is stopping.
    fn read_rows(&mut self, plan: &Plan, split: &Split) -> Result<Option<u64>, SourceError> {
        let mut reader = plan.open(split)?;
        let mut rows = 0;
        while let Some(records) = reader.next()? {
            if self.stop.is_stopping() || self.take(split.id, rows, records).is_err() {
                return Ok(None);
            }
            rows += records.len() as u64;
        }
        Ok(Some(rows))
    }

    /// Takes a block of rows, of which the first one has the number `first`.
    fn take(&mut self, split: u32, first: u64, records: &mut Records) -> Result<(), Stopping> {
        let done = Arc::clone(&self.done);
        let done = &done[split as usize];
        let is_counted = first + records.len() as u64 <= done.counted;
        let mut tally = Tally::default();
        let mut outcome = Ok(());
        for index in 0..records.len() {
            // Rows of a split are numbered without gaps.
            let number = first + index as u64;
            let is_settled = done.settled.contains(number);
            // A settled row is looked at only where what the reader does to it is not counted yet.
            if is_settled && is_counted {
                continue;
            }
            let row = records.row(index);
            debug_assert_eq!(row.at.row, number, "rows are numbered in order");
            if is_settled {
                continue;
            }
            let taken = match row.content {
                Ok(record) => self.take_record(split, row.at, &record, &mut tally),
                Err(bad) => self.take_bad_row(split, row.at, bad, &mut tally),
            };
            if taken.is_err() {
                outcome = taken;
                break;
            }
        }
        // Of a block that was not taken whole nothing is counted: it will be read again.
        let changes: Vec<FieldChange> = if is_counted || outcome.is_err() {
            Vec::new()
        } else {
            records.changes().map(FieldChange::from).collect()
        };
        if tally.end > 0 || !changes.is_empty() {
            let end = first + records.len() as u64;
            self.tell(Event::Read(tally.into_event(split, end, changes)))?;
        }
        outcome
    }

    fn take_record(
        &mut self,
        split: u32,
        at: At,
        record: &RecordRef<'_>,
        tally: &mut Tally,
    ) -> Result<(), Stopping> {
        // Lent to the batcher while its other fields change.
        let default = std::mem::take(&mut self.default_namespace);
        let name = record.namespace.unwrap_or(&default);
        let namespace = self.batcher.namespace(name);
        let taken = self.batcher.push(record, name, split, at);
        self.default_namespace = default;
        match taken {
            // As good as unread: it is counted when the run is continued.
            Err(NotTaken::Stopping) => return Err(Stopping),
            Err(NotTaken::Bad(reject)) => {
                tally.count(&namespace, at);
                let content = Content::Record(canonical(record));
                self.reject(namespace, split, at, reject, content)?;
            }
            Ok(()) => tally.count(&namespace, at),
        }
        Ok(())
    }

    fn take_bad_row(
        &mut self,
        split: u32,
        at: At,
        bad: BadRow<'_>,
        tally: &mut Tally,
    ) -> Result<(), Stopping> {
        let default = std::mem::take(&mut self.default_namespace);
        let namespace = self.batcher.namespace(bad.namespace.unwrap_or(&default));
        self.default_namespace = default;
        tally.count(&namespace, at);
        let content = Content::Raw(bad.raw.into_owned());
        self.reject(namespace, split, at, bad.reject, content)
    }

    fn reject(
        &self,
        namespace: Arc<Namespace>,
        split: u32,
        at: At,
        reject: Reject,
        content: Content,
    ) -> Result<(), Stopping> {
        self.tell(Event::Rejected(Box::new(RejectedRow {
            namespace,
            split,
            row: at.row,
            locator: at.locator,
            reject,
            changes: Vec::new(),
            content,
        })))
    }

    fn tell(&self, event: Event) -> Result<(), Stopping> {
        self.events.send_blocking(event).map_err(|_| Stopping)
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, namespace: &Arc<Namespace>, at: At) {
        self.end = at.row + 1;
        let entry = self.namespaces.entry(namespace.index).or_default();
        entry.0.get_or_insert_with(|| Arc::clone(namespace));
        entry.1 += 1;
    }

    fn into_event(self, split: u32, block_end: u64, changes: Vec<FieldChange>) -> ReadRows {
        ReadRows {
            split,
            end: self.end,
            block_end,
            changes,
            namespaces: self
                .namespaces
                .into_values()
                .filter_map(|(namespace, count)| Some((namespace?, count)))
                .collect(),
        }
    }
}
