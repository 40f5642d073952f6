//! Reads the keys of all rows: one loop on each of several CPU threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vecload_source::{Plan, Split};

use super::{Place, PrescanError, Sightings};
use crate::stop::Stop;

/// Told of each block that was read: rows, and bytes of the inputs.
pub(crate) type OnRead = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// One CPU thread of the prescan.
pub(crate) struct Scanner {
    pub(crate) plan: Arc<Plan>,
    /// Where records go that name no namespace.
    pub(crate) default_namespace: Arc<str>,
    pub(crate) seen: Sightings,
    pub(crate) stop: Arc<Stop>,
    /// Another scanner failed: what this one finds is of no use.
    pub(crate) failed: Arc<AtomicBool>,
    /// The splits that are still to be read.
    pub(crate) splits: async_channel::Receiver<Split>,
    pub(crate) on_read: OnRead,
}

/// The splits of a plan that are scanned: those of inputs that can be opened twice.
pub(crate) fn scanned(plan: &Plan) -> impl Iterator<Item = &Split> {
    plan.splits
        .iter()
        .filter(|split| !plan.inputs[split.input as usize].is_stream())
}

/// How many bytes of the inputs a scan reads.
pub(crate) fn scanned_bytes(plan: &Plan) -> u64 {
    scanned(plan).fold(0, |sum, split| sum.saturating_add(plan.key_bytes(split)))
}

// === impl Scanner ===

impl Scanner {
    /// Reads splits until there are none.
    pub(crate) fn run(mut self) -> Result<Sightings, PrescanError> {
        let plan = Arc::clone(&self.plan);
        while let Ok(split) = self.splits.recv_blocking() {
            let read = self.read(&plan, &split);
            if read.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            read?;
        }
        Ok(self.seen)
    }

    fn read(&mut self, plan: &Plan, split: &Split) -> Result<(), PrescanError> {
        // Stopping ends the waiting for a store, which is no fault of the store.
        let failed = |error| match self.stop.is_stopping() {
            true => PrescanError::Stopped,
            false => PrescanError::from(error),
        };
        let mut reader = plan.open_keys(split).map_err(failed)?;
        let mut first = 0;
        while let Some(mut keys) = reader.next().map_err(failed)? {
            if self.stop.is_stopping() || self.failed.load(Ordering::Relaxed) {
                return Err(PrescanError::Stopped);
            }
            for index in 0..keys.len() {
                let place = Place {
                    split: split.id,
                    row: first + index as u64,
                };
                if let Some(key) = keys.get(index) {
                    let namespace = key.namespace.unwrap_or(&self.default_namespace);
                    self.seen.see(namespace, key.id, place)?;
                }
            }
            first += keys.len() as u64;
            (self.on_read)(keys.len() as u64, 0);
        }
        (self.on_read)(0, plan.key_bytes(split));
        Ok(())
    }
}
