//! A worker's open batches: one for each namespace it has met, each growing in leased memory.
//!
//! A batch is sealed when the next record would take it over the request's limits, at the end, and
//! where room is lacking that only open batches can give. While sealed batches hold it the worker
//! waits with its batches open, so that requests grow full however slowly the senders may go.
//!
//! That cannot deadlock. A worker that waits with open batches waits for settlements, and the senders
//! settle every batch they get. Where open batches are in the way, each worker seals its largest, an
//! eighth at a time; one that waits for other workers' has none left itself.
//!
//! Where rows of one id are to stay in order, a fence sees each record as it goes into its batch (`fence.rs`).
//!
//! A new batch starts at the size that the last one of its namespace reached, so that in steady
//! state nothing is moved from a small buffer to a larger one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;
use vecload_record::{At, Reason, RecordRef, Reject, RowRun};

use crate::batch::{EncodedBatch, OpenBatch, PER_RECORD};
use crate::fence::{Earlier, Fence};
use crate::memory::{Denied, Memory, WaitsFor};
use crate::namespace::{Namespace, Namespaces};
use crate::target::Target;

/// The most bytes that a request may have. A "too large" answer lowers it for the rest of the run
/// (INV-4).
#[derive(Debug)]
pub(crate) struct RequestCap(AtomicUsize);

/// The batches that one worker is filling.
#[derive(Debug)]
pub(crate) struct Batcher<T: Target> {
    target: Arc<T>,
    memory: Arc<Memory>,
    cap: Arc<RequestCap>,
    max_records: usize,
    namespaces: Arc<Namespaces>,
    /// The namespaces that this worker has met.
    met: Vec<Met>,
    /// Where each of them stands, by the name that records give.
    slots: HashMap<Box<str>, Slot>,
    /// The one that was asked for last: records of one namespace mostly come together.
    latest: Slot,
    /// Where sealed batches go (channel ①).
    sealed: async_channel::Sender<EncodedBatch>,
    scratch: T::Scratch,
    /// Keeps the rows of an id in order, where that is not settled beforehand.
    fence: Option<Fence>,
}

/// Where a namespace stands among those that a worker has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// A namespace as one worker knows it.
#[derive(Debug)]
struct Met {
    /// The name that records give.
    name: Box<str>,
    namespace: Arc<Namespace>,
    /// Its open batch.
    open: Option<OpenBatch>,
    /// The defect of its name, if it has one.
    defect: Option<Reject>,
    /// The memory that its last batch took when it was full, in bytes.
    last: usize,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The record is bad.
    Bad(Reject),
    /// The record is good, and its namespace is so far behind the others that it is better taken later.
    Behind,
    /// The run is stopping; the record is as good as unread.
    Stopping,
}

/// The senders are gone: the run is stopping.
#[derive(Debug)]
pub(crate) struct Stopping;

// === impl RequestCap ===

impl RequestCap {
    /// A cap of that many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// The cap now, in bytes.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Lowers the cap to that many bytes, if it is higher.
    pub(crate) fn lower_to(&self, bytes: usize) {
        self.0.fetch_min(bytes, Ordering::Relaxed);
    }
}

// === impl Batcher ===

impl<T: Target> Batcher<T> {
    /// A batcher without any open batch.
    pub(crate) fn new(
        target: Arc<T>,
        memory: Arc<Memory>,
        cap: Arc<RequestCap>,
        namespaces: Arc<Namespaces>,
        sealed: async_channel::Sender<EncodedBatch>,
    ) -> Self {
        Self {
            max_records: target.limits().request_records,
            scratch: target.scratch(),
            target,
            memory,
            cap,
            namespaces,
            met: Vec::new(),
            slots: HashMap::new(),
            latest: Slot(0),
            sealed,
            fence: None,
        }
    }

    /// From here on rows of one id stay in order.
    pub(crate) fn keep_order(&mut self, fence: Fence) {
        self.fence = Some(fence);
    }

    /// Where the namespace of that name stands. Asked for each record, so nothing that other threads
    /// look at is touched where it is the one of the record before.
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        if let Some(met) = self.met.get(self.latest.0)
            && *met.name == *name
        {
            return self.latest;
        }
        self.latest = match self.slots.get(name) {
            Some(slot) => *slot,
            None => self.meet(name),
        };
        self.latest
    }

    fn meet(&mut self, name: &str) -> Slot {
        let namespace = self.namespaces.get(name);
        // The default namespace has two names, and one batch is open for it.
        if let Some(known) = self.slots.get(&namespace.wire).copied() {
            self.slots.insert(name.into(), known);
            return known;
        }
        let slot = Slot(self.met.len());
        self.slots.insert(namespace.wire.clone(), slot);
        self.slots.insert(name.into(), slot);
        self.met.push(Met {
            name: name.into(),
            namespace,
            open: None,
            defect: self.target.check_namespace(name).err(),
            last: 0,
        });
        slot
    }

    /// The namespace that stands there.
    pub(crate) fn namespace(&self, slot: Slot) -> &Arc<Namespace> {
        &self.met[slot.0].namespace
    }

    /// Appends a record to the open batch of its namespace. Says which row of that batch it supersedes, if it
    /// does.
    pub(crate) fn push(
        &mut self,
        record: &RecordRef<'_>,
        slot: Slot,
        split: u32,
        at: At,
        waits_for: WaitsFor,
    ) -> Result<Option<RowRun>, NotTaken> {
        let measured = self
            .target
            .measure(record, &mut self.scratch)
            .map_err(NotTaken::Bad)?;
        let met = &self.met[slot.0];
        if let Some(defect) = &met.defect {
            return Err(NotTaken::Bad(defect.clone()));
        }
        let closing = self.target.closing_bytes(&met.namespace.wire);
        let needed = T::bytes(&measured) + closing;
        let cap = self.cap.get();
        if needed > cap {
            return Err(NotTaken::Bad(Reject::new(
                Reason::RecordTooLarge,
                "",
                format!(
                    "the record takes {} bytes and a request at most {cap}; shorten its metadata",
                    T::bytes(&measured),
                ),
            )));
        }

        let mut batch = self.met[slot.0].open.take();
        if let Some(full) = batch.take_if(|batch| {
            batch.message_bytes() + needed > cap || batch.records() >= self.max_records
        }) {
            // The next one of the namespace begins at this size.
            self.met[slot.0].last = full.size();
            self.send(full)?;
        }
        let mut batch = self.with_room(slot, batch, needed, waits_for)?;
        let outcome = self
            .target
            .append(record, &measured, &self.scratch, batch.frame_mut());
        let mut superseded = None;
        if outcome.is_ok() {
            batch.appended(split, at, T::changes(&self.scratch));
            if let Some(fence) = &mut self.fence {
                superseded = enter(fence, &*self.target, &mut batch, record.id);
            }
        }
        if batch.records() > 0 {
            self.met[slot.0].open = Some(batch);
        }
        outcome.map(|()| superseded).map_err(NotTaken::Bad)
    }

    /// A row goes by that is settled since an earlier attempt.
    pub(crate) fn pass(&mut self, slot: Slot, id: &str) {
        if let Some(fence) = &mut self.fence {
            let key = fence.key(&self.met[slot.0].namespace.wire, id);
            fence.pass(key, Instant::now());
        }
    }

    /// Whether it still matters which rows an earlier attempt has settled.
    pub(crate) fn watches_settled(&self) -> bool {
        let fence = self.fence.as_ref();
        fence.is_some_and(|fence| fence.watches_settled(Instant::now()))
    }

    /// Where the fence has no room for more keys, the batch that is to be waited for. All batches are sealed then.
    pub(crate) fn in_the_way(&mut self) -> Result<Option<Earlier>, Stopping> {
        let fence = self.fence.as_mut();
        let earlier = fence.and_then(|fence| fence.in_the_way(Instant::now()));
        if earlier.is_some() {
            self.flush()?;
        }
        Ok(earlier)
    }

    /// Seals all batches.
    pub(crate) fn flush(&mut self) -> Result<(), Stopping> {
        for slot in 0..self.met.len() {
            if let Some(batch) = self.met[slot].open.take() {
                self.send(batch)?;
            }
        }
        Ok(())
    }

    /// The open batch of a namespace, or a new one where it has none, with room for `needed` bytes.
    /// Waits for memory if need be.
    fn with_room(
        &mut self,
        slot: Slot,
        mut batch: Option<OpenBatch>,
        needed: usize,
        waits_for: WaitsFor,
    ) -> Result<OpenBatch, NotTaken> {
        let opening = self.target.opening_bytes();
        loop {
            let met = &self.met[slot.0];
            let wanted = match batch {
                Some(batch) if batch.has_room(needed) => return Ok(batch),
                Some(ref batch) => batch.size() + needed + PER_RECORD,
                None => met.last.max(opening + needed + PER_RECORD),
            };
            let holds_open = batch.is_some() || self.met.iter().any(|met| met.open.is_some());
            let namespace = &met.namespace;
            match self.memory.lease(namespace, wanted, holds_open, waits_for) {
                Ok(larger) => {
                    return Ok(match batch {
                        Some(batch) => batch.grow(larger),
                        None => OpenBatch::new(&*self.target, Arc::clone(&met.namespace), larger),
                    });
                }
                Err(Denied::Closed) => return Err(NotTaken::Stopping),
                Err(Denied::Behind) => {
                    self.met[slot.0].open = batch;
                    return Err(NotTaken::Behind);
                }
                Err(Denied::Share) if let Some(own) = batch.take() => self.send(own)?,
                Err(Denied::Share | Denied::Full) => {
                    self.met[slot.0].open = batch;
                    self.seal_largest()?;
                    batch = self.met[slot.0].open.take();
                }
            }
        }
    }

    /// Seals the largest batches: an eighth of what is open, so that the sorting is paid for. The
    /// largest ones give the most room for a request; a namespace of which little comes would fill
    /// its batch late in any case.
    fn seal_largest(&mut self) -> Result<(), Stopping> {
        let open = self.met.iter().enumerate();
        let mut by_size: Vec<(usize, usize)> = open
            .filter_map(|(slot, met)| Some((met.open.as_ref()?.size(), slot)))
            .collect();
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        let open: usize = by_size.iter().map(|(size, _)| size).sum();
        let mut sealed = 0;
        for (size, slot) in by_size {
            if sealed > open / 8 {
                break;
            }
            if let Some(batch) = self.met[slot].open.take() {
                self.send(batch)?;
                sealed += size;
            }
        }
        Ok(())
    }

    fn send(&self, batch: OpenBatch) -> Result<(), Stopping> {
        self.sealed
            .send_blocking(batch.seal(&*self.target))
            .map_err(|_| Stopping)
    }
}

/// Shows the fence the record that was appended last. Says which row of the batch it supersedes.
fn enter<T: Target>(
    fence: &mut Fence,
    target: &T,
    batch: &mut OpenBatch,
    id: &str,
) -> Option<RowRun> {
    let record = batch.records() as u32 - 1;
    let key = fence.key(&batch.namespace().wire, id);
    let ticket = batch.ticket.get_or_insert_with(|| fence.open());
    let earlier = fence.enter(key, ticket, record, Instant::now())?;
    let is_same = target.id_of(batch.record(earlier)) == Some(id);
    is_same.then(|| batch.supersede(earlier))
}

impl From<Stopping> for NotTaken {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

#[cfg(test)]
mod tests;
