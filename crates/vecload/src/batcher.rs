//! A worker's open batches: one for each namespace it has met, each growing in leased memory.
//!
//! A batch is sealed when the next record would take it over the request's limits, when the budget
//! has no room, or at the end. A worker that finds no room seals its largest batches until they hold
//! at least what it needs, and only then waits. That cannot deadlock: whatever is waited for has been
//! handed to the senders, who settle every batch they get, and a worker that does not wait goes on
//! until it does or has nothing more to read. Sealing all, the simpler rule, makes requests needlessly
//! small where few of many namespaces are large.
//!
//! A new batch starts at the size that the last one of its namespace reached, so that in steady
//! state nothing is moved from a small buffer to a larger one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vecload_record::{At, Reason, RecordRef, Reject};

use crate::batch::{EncodedBatch, OpenBatch};
use crate::memory::{Buffer, Denied, Memory};
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
    /// The namespaces that this worker has met, by the name that records give.
    met: HashMap<Box<str>, Met>,
    /// The open batches, by the number of their namespace.
    open: HashMap<usize, OpenBatch>,
    /// Where sealed batches go (channel ①).
    sealed: async_channel::Sender<EncodedBatch>,
    scratch: T::Scratch,
}

/// A namespace as one worker knows it.
#[derive(Debug)]
struct Met {
    namespace: Arc<Namespace>,
    /// The defect of its name, if it has one.
    defect: Option<Reject>,
    /// The size at which its last batch was sealed, in bytes.
    last: usize,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The record is bad.
    Bad(Reject),
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
            met: HashMap::new(),
            open: HashMap::new(),
            sealed,
        }
    }

    /// The namespace of that name.
    pub(crate) fn namespace(&mut self, name: &str) -> Arc<Namespace> {
        if let Some(met) = self.met.get(name) {
            return Arc::clone(&met.namespace);
        }
        let namespace = self.namespaces.get(name);
        self.met.insert(
            name.into(),
            Met {
                namespace: Arc::clone(&namespace),
                defect: self.target.check_namespace(name).err(),
                last: 0,
            },
        );
        namespace
    }

    /// Appends a record to the open batch of its namespace, which must be one that
    /// [`Batcher::namespace`] gave for `name`.
    pub(crate) fn push(
        &mut self,
        record: &RecordRef<'_>,
        name: &str,
        split: u32,
        at: At,
    ) -> Result<(), NotTaken> {
        let measured = self
            .target
            .measure(record, &mut self.scratch)
            .map_err(NotTaken::Bad)?;
        let met = &self.met[name];
        if let Some(defect) = &met.defect {
            return Err(NotTaken::Bad(defect.clone()));
        }
        let namespace = Arc::clone(&met.namespace);
        let last = met.last;
        let closing = self.target.closing_bytes(&namespace.wire);
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

        let mut batch = self.open.remove(&namespace.index);
        if let Some(full) = batch.take_if(|batch| {
            batch.message_bytes() + needed > cap || batch.records() >= self.max_records
        }) {
            self.hand_over(name, full)?;
        }
        let mut batch = match batch {
            Some(batch) if batch.room() >= needed => batch,
            Some(batch) => match self.memory.try_lease(&namespace, batch.len() + needed) {
                Ok(larger) => batch.grow(larger),
                Err(_) => {
                    // The next one asks for twice as much at once.
                    let last = 2 * batch.len();
                    self.hand_over(name, batch)?;
                    self.begin(&namespace, needed, last)?
                }
            },
            None => self.begin(&namespace, needed, last)?,
        };
        let outcome = self
            .target
            .append(record, &measured, &self.scratch, batch.frame_mut());
        if outcome.is_ok() {
            batch.appended(split, at, T::changes(&self.scratch));
        }
        if batch.records() > 0 {
            self.open.insert(namespace.index, batch);
        }
        outcome.map_err(NotTaken::Bad)
    }

    /// Seals all batches.
    pub(crate) fn flush(&mut self) -> Result<(), Stopping> {
        for (_, batch) in std::mem::take(&mut self.open) {
            self.send(batch)?;
        }
        Ok(())
    }

    /// A new batch with room for `needed` bytes, waiting for memory if need be.
    fn begin(
        &mut self,
        namespace: &Arc<Namespace>,
        needed: usize,
        last: usize,
    ) -> Result<OpenBatch, Stopping> {
        let opening = self.target.opening_bytes();
        let least = opening + needed;
        let wanted = last.min(opening + self.cap.get()).max(least);
        let buffer = match self.memory.try_lease(namespace, wanted) {
            Ok(buffer) => buffer,
            Err(Denied::Closed) => return Err(Stopping),
            // The senders hold the budget. A worker with no other open batch waits for a whole
            // request's room: with less it would find no room to grow either, and would send one tiny
            // request for each that is settled.
            Err(Denied::Full) if self.open.is_empty() => {
                self.wait_for_memory(namespace, opening + self.cap.get())?
            }
            Err(Denied::Full) => self.wait_for_memory(namespace, wanted)?,
        };
        Ok(OpenBatch::new(&*self.target, Arc::clone(namespace), buffer))
    }

    fn wait_for_memory(
        &mut self,
        namespace: &Arc<Namespace>,
        bytes: usize,
    ) -> Result<Buffer, Stopping> {
        let mut by_size: Vec<(usize, usize)> = self
            .open
            .iter()
            .map(|(index, batch)| (batch.len() + batch.room(), *index))
            .collect();
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        // An eighth at a time, so that the sorting is paid for.
        let held: usize = by_size.iter().map(|(size, _)| size).sum();
        let enough = self.memory.leased_for(bytes).max(held / 8);
        let mut sealed = 0;
        for (size, index) in by_size {
            if sealed >= enough {
                break;
            }
            if let Some(batch) = self.open.remove(&index) {
                self.send(batch)?;
                sealed += size;
            }
        }
        self.memory.lease(namespace, bytes).map_err(|_| Stopping)
    }

    /// Seals a batch and remembers its size for the next one of the namespace.
    fn hand_over(&mut self, name: &str, batch: OpenBatch) -> Result<(), Stopping> {
        if let Some(met) = self.met.get_mut(name) {
            met.last = batch.len();
        }
        self.send(batch)
    }

    fn send(&self, batch: OpenBatch) -> Result<(), Stopping> {
        self.sealed
            .send_blocking(batch.seal(&*self.target))
            .map_err(|_| Stopping)
    }
}

impl From<Stopping> for NotTaken {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

#[cfg(test)]
mod tests;
