//! read, rules, append, seal: one loop on one CPU thread.
//!
//! A worker takes splits until there are none. It never touches the network and waits in three
//! places only: for room in the byte budget, and at the two channels. Rows are lent by the reader
//! and are in wire form before the next one is looked at. Rows that an earlier attempt of the run
//! settled are passed over: neither sent nor counted again. Of rows that a later one supersedes only the
//! namespace is read, for the books.
//!
//! A namespace that is far behind, since the service takes little of it, must not hold up the others: the rows
//! for which it has no room are counted as read and left, and once all splits are read those that have such
//! rows are read again. Then nothing is left that waiting could hold up. In the books they remain until they
//! are settled, so that a run that ends before reads them when it is continued. A stream can be read but once:
//! there the namespace is waited for.

mod left;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use vecload_record::{At, Reason, RecordRef, Reject, RowRun};
use vecload_source::{BadRow, Plan, Records, Row, SourceError, Split};

use crate::batcher::{Batcher, NotTaken, Stopping};
use crate::canonical::canonical;
use crate::checkpoint::{FieldChange, TextRead};
use crate::events::{Content, Event, ReadRows, RejectedRow};
use crate::fingerprint::InputPrint;
use crate::ledger::SplitDone;
use crate::memory::WaitsFor;
use crate::namespace::Namespace;
use crate::prescan::VerdictReader;
use crate::rows::RowSet;
use crate::stop::{ExitCode, Stop, StopReason};
use crate::target::Target;
pub(crate) use left::Left;

/// One CPU worker.
#[derive(Debug)]
pub(crate) struct Worker<T: Target> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) batcher: Batcher<T>,
    /// Where records go that name no namespace.
    pub(crate) default_namespace: String,
    pub(crate) stop: Arc<Stop>,
    /// What the inputs were when the run was opened.
    pub(crate) prints: Arc<[InputPrint]>,
    /// Of each split, what earlier attempts did.
    pub(crate) done: Arc<[SplitDone]>,
    /// Which rows are superseded; `None` where that was not looked for.
    pub(crate) verdicts: Option<VerdictReader>,
    /// Whether superseded rows are rejected instead of being passed over.
    pub(crate) reject_superseded: bool,
    /// The splits that are still to be read.
    pub(crate) splits: async_channel::Receiver<Split>,
    /// Rows that were left for later.
    pub(crate) left: Left,
    /// What happened to rows (channel ②).
    pub(crate) events: async_channel::Sender<Event>,
}

/// What a block of rows adds to the books.
#[derive(Debug, Default)]
struct Tally {
    namespaces: BTreeMap<usize, NamespaceTally>,
    /// The row after the last one that was counted.
    end: u64,
}

/// What a block of rows adds to the books of one namespace.
#[derive(Debug)]
struct NamespaceTally {
    namespace: Arc<Namespace>,
    read: u64,
    superseded: Vec<RowRun>,
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
        let left = self.left.take();
        // What waits for the end of the input does not wait for what was left.
        if !left.is_empty() && self.batcher.flush().is_err() {
            return;
        }
        for (split, rows) in left {
            if self.read_left(&split, &rows).is_err() {
                return;
            }
        }
        // Whether the senders are gone makes no difference to a worker that has nothing left to do.
        let _ = self.batcher.flush();
    }

    fn read(&mut self, split: &Split) -> Result<(), Stopping> {
        let plan = Arc::clone(&self.plan);
        let read = self.read_rows(&plan, split);
        match self.judge(&plan, split, read)? {
            Some(rows) => self.tell(Event::SplitRead {
                split: split.id,
                rows,
            }),
            None => Ok(()),
        }
    }

    /// Reads the rows of a split that were left. Its end is told already, and they are counted.
    fn read_left(&mut self, split: &Split, left: &RowSet) -> Result<(), Stopping> {
        let plan = Arc::clone(&self.plan);
        let read = self.take_left(&plan, split, left);
        self.judge(&plan, split, read).map(drop)
    }

    /// What came of reading a split, unless the run is stopping: none where it could not be read, which is told.
    fn judge(
        &self,
        plan: &Plan,
        split: &Split,
        read: Result<Option<u64>, SourceError>,
    ) -> Result<Option<u64>, Stopping> {
        let input = split.input as usize;
        let read = read.map_err(|error| error.to_string()).and_then(|rows| {
            self.prints[input].check_unchanged(&plan.inputs[input])?;
            Ok(rows)
        });
        match read {
            Ok(Some(rows)) => Ok(Some(rows)),
            Ok(None) => Err(Stopping),
            // Stopping ends the waiting for a store, which is no fault of the store.
            Err(_) if self.stop.is_stopping() => Err(Stopping),
            Err(message) => {
                self.tell(Event::Unreadable {
                    split: split.id,
                    message,
                })?;
                Ok(None)
            }
        }
    }

    /// Takes the rows that were left of a split, and says up to which row it was read; none when the run is
    /// stopping.
    fn take_left(
        &mut self,
        plan: &Plan,
        split: &Split,
        left: &RowSet,
    ) -> Result<Option<u64>, SourceError> {
        let mut reader = plan.open(split)?;
        let mut first = 0;
        while first < left.end()
            && let Some(records) = reader.next()?
        {
            if self.stop.is_stopping() {
                return Ok(None);
            }
            let rows = records.len() as u64;
            for index in 0..records.len() {
                if !left.contains(first + index as u64) {
                    continue;
                }
                let row = records.row(index);
                // Counted when it was left.
                let mut counted = Tally::default();
                let taken = match row.content {
                    Ok(record) => {
                        let waits_for = WaitsFor::Namespace;
                        self.take_record(split, row.at, &record, &mut counted, waits_for)
                    }
                    Err(bad) => self.take_bad_row(split.id, row.at, bad, &mut counted),
                };
                if taken.is_err() {
                    return Ok(None);
                }
            }
            first += rows;
        }
        Ok(Some(first))
    }

    /// Reads a split and says how many rows it has; none when the run is stopping.
    fn read_rows(&mut self, plan: &Plan, split: &Split) -> Result<Option<u64>, SourceError> {
        let mut reader = plan.open(split)?;
        let is_stream = plan.inputs[split.input as usize].is_stream();
        let mut text = TextRead::default();
        let mut rows = 0;
        while let Some(records) = reader.next()? {
            if is_stream && self.follow(split.id, &mut text, records).is_err() {
                return Ok(None);
            }
            let waits_for = if is_stream {
                WaitsFor::Namespace
            } else {
                WaitsFor::All
            };
            if self.stop.is_stopping() || self.take(split, rows, records, waits_for).is_err() {
                return Ok(None);
            }
            rows += records.len() as u64;
        }
        if is_stream && rows < self.read_before(split.id) {
            self.refuse_stream(split.id, rows);
            return Ok(None);
        }
        Ok(Some(rows))
    }

    /// Compares a block of a stream with what an earlier attempt read there, before any row of it is
    /// taken. What goes beyond that is written down before any row of it can be settled. So no row is
    /// taken for settled, and none is sent, of another stream than that which the run was begun with.
    ///
    /// Blocks end where the text says, however it comes; so an earlier attempt had the same, but for its
    /// last one if the stream has grown.
    fn follow(&self, split: u32, text: &mut TextRead, records: &Records) -> Result<(), Stopping> {
        let before = &self.done[split as usize].text;
        let last = self.read_before(split);
        let known = |rows: u64| before.binary_search_by_key(&rows, |end| end.rows);
        for index in 0..records.len() {
            *text = text.with(records.text(index).unwrap_or_default());
            if let Ok(end) = known(text.rows)
                && before[end].hash != text.hash
            {
                self.refuse_stream(split, text.rows);
                return Err(Stopping);
            }
        }
        if text.rows > last {
            let text = *text;
            self.tell(Event::TextRead { split, text })?;
        } else if known(text.rows).is_err() {
            self.refuse_stream(split, text.rows);
            return Err(Stopping);
        }
        Ok(())
    }

    /// The rows of a stream that earlier attempts have read.
    fn read_before(&self, split: u32) -> u64 {
        let ends = &self.done[split as usize].text;
        ends.last().map_or(0, |end| end.rows)
    }

    /// Stops the run: the stream is not the one that it was begun with.
    fn refuse_stream(&self, split: u32, rows: u64) {
        let input = &self.plan.inputs[self.plan.splits[split as usize].input as usize].name;
        let before = self.read_before(split);
        let message = format!(
            "{input} holds something else than when the run was begun: it differs within its first {rows} \
             rows, of which {before} were read before; give it the same again, or begin a new run in a new \
             directory"
        );
        self.stop
            .stop(StopReason::new("changed_input", ExitCode::Refused, message));
    }

    /// Takes a block of rows, of which the first one has the number `first`.
    fn take(
        &mut self,
        of: &Split,
        first: u64,
        records: &mut Records,
        waits_for: WaitsFor,
    ) -> Result<(), Stopping> {
        let split = of.id;
        let done = Arc::clone(&self.done);
        let done = &done[split as usize];
        let end = first + records.len() as u64;
        let is_counted = end <= done.counted;
        let superseded = self.superseded(split, first..end)?;
        let mut tally = Tally::default();
        let mut outcome = Ok(());
        for index in 0..records.len() {
            // Rows of a split are numbered without gaps.
            let number = first + index as u64;
            let is_settled = done.settled.contains(number);
            let is_superseded = superseded.contains(number);
            if is_superseded && !self.reject_superseded {
                if !is_settled {
                    self.pass_over(split, number, records, index, &mut tally);
                }
                continue;
            }
            if is_settled && self.batcher.watches_settled() {
                self.pass_settled(records, index);
            }
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
                _ if is_superseded => self.reject_duplicate(split, row, &mut tally),
                Ok(record) => self.take_record(of, row.at, &record, &mut tally, waits_for),
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
            let superseded = tally.take_superseded();
            self.tell(Event::Read(tally.into_event(split, end, changes)))?;
            for (namespace, rows) in superseded {
                self.tell(Event::Superseded { namespace, rows })?;
            }
        }
        outcome
    }

    /// Which of these rows of a split are superseded.
    fn superseded(&mut self, split: u32, rows: Range<u64>) -> Result<RowSet, Stopping> {
        let Some(verdicts) = &mut self.verdicts else {
            return Ok(RowSet::default());
        };
        verdicts.superseded(split, rows).map_err(|error| {
            let message = format!("the run directory cannot be read: {error}");
            let reason = StopReason::new("run_dir", ExitCode::Interrupted, message);
            self.stop.stop(reason);
            Stopping
        })
    }

    /// Books a superseded row without looking at more than its key.
    fn pass_over(
        &mut self,
        split: u32,
        number: u64,
        records: &mut Records,
        index: usize,
        tally: &mut Tally,
    ) {
        let named = records.key(index).and_then(|key| key.namespace);
        let namespace = self.namespace(named);
        tally.count(namespace, number).supersede(split, number);
    }

    /// A settled row goes by, of which later ones may have the id.
    fn pass_settled(&mut self, records: &mut Records, index: usize) {
        if let Some(key) = records.key(index) {
            let slot = self
                .batcher
                .slot(key.namespace.unwrap_or(&self.default_namespace));
            self.batcher.pass(slot, key.id);
        }
    }

    /// Waits until there is room to know more rows by their ids, where their order is kept.
    fn make_way(&mut self) -> Result<(), Stopping> {
        while let Some(earlier) = self.batcher.in_the_way()? {
            let stop = &self.stop;
            tokio::runtime::Handle::current().block_on(async {
                tokio::select! {
                    biased;
                    () = stop.stopped() => Err(Stopping),
                    _ = earlier.over() => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// The namespace of a row that names one, or none.
    fn namespace(&mut self, named: Option<&str>) -> &Arc<Namespace> {
        let name = named.unwrap_or(&self.default_namespace);
        let slot = self.batcher.slot(name);
        self.batcher.namespace(slot)
    }

    fn reject_duplicate(
        &mut self,
        split: u32,
        row: Row<'_>,
        tally: &mut Tally,
    ) -> Result<(), Stopping> {
        let (named, content) = match row.content {
            Ok(record) => (record.namespace, Content::Record(canonical(&record))),
            Err(bad) => (bad.namespace, Content::Raw(bad.raw.into_owned())),
        };
        let namespace = Arc::clone(self.namespace(named));
        tally.count(&namespace, row.at.row);
        self.reject(namespace, split, row.at, duplicate_id(), content)
    }

    fn take_record(
        &mut self,
        split: &Split,
        at: At,
        record: &RecordRef<'_>,
        tally: &mut Tally,
        waits_for: WaitsFor,
    ) -> Result<(), Stopping> {
        let waits_for = if self.left.has_room() {
            waits_for
        } else {
            WaitsFor::Namespace
        };
        self.make_way()?;
        let name = record.namespace.unwrap_or(&self.default_namespace);
        let slot = self.batcher.slot(name);
        match self.batcher.push(record, slot, split.id, at, waits_for) {
            // As good as unread: it is counted when the run is continued.
            Err(NotTaken::Stopping) => return Err(Stopping),
            Err(NotTaken::Bad(reject)) => {
                let namespace = Arc::clone(self.batcher.namespace(slot));
                tally.count(&namespace, at.row);
                let content = Content::Record(canonical(record));
                self.reject(namespace, split.id, at, reject, content)?;
            }
            Err(NotTaken::Behind) => {
                tally.count(self.batcher.namespace(slot), at.row);
                self.left.leave(split, at.row);
            }
            Ok(superseded) => {
                let tally = tally.count(self.batcher.namespace(slot), at.row);
                tally.superseded.extend(superseded);
            }
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
        let namespace = Arc::clone(self.namespace(bad.namespace));
        tally.count(&namespace, at.row);
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

/// Why a superseded row is rejected, where it is.
pub(crate) fn duplicate_id() -> Reject {
    let message = "a later row has the same id, and the last one counts; keep one of them, or have the \
                   others passed over with --duplicates last";
    Reject::new(Reason::DuplicateId, "id", message)
}

// === impl Tally ===

impl Tally {
    /// Counts a row as read.
    fn count(&mut self, namespace: &Arc<Namespace>, row: u64) -> &mut NamespaceTally {
        self.end = row + 1;
        let tally = self.namespaces.entry(namespace.index);
        let tally = tally.or_insert_with(|| NamespaceTally {
            namespace: Arc::clone(namespace),
            read: 0,
            superseded: Vec::new(),
        });
        tally.read += 1;
        tally
    }

    /// The superseded rows, by namespace.
    fn take_superseded(&mut self) -> Vec<(Arc<Namespace>, Vec<RowRun>)> {
        self.namespaces
            .values_mut()
            .filter(|tally| !tally.superseded.is_empty())
            .map(|tally| {
                let rows = std::mem::take(&mut tally.superseded);
                (Arc::clone(&tally.namespace), rows)
            })
            .collect()
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
                .map(|tally| (tally.namespace, tally.read))
                .collect(),
        }
    }
}

// === impl NamespaceTally ===

impl NamespaceTally {
    /// Counts a row that comes after all others as superseded.
    fn supersede(&mut self, split: u32, row: u64) {
        match self.superseded.last_mut() {
            Some(run) if run.first + u64::from(run.len) == row => run.len += 1,
            _ => self.superseded.push(RowRun {
                split,
                first: row,
                len: 1,
            }),
        }
    }
}
