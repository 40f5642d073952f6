//! What the server saw and did, so that a test can hold a client to it.
//!
//! Counters are always kept. The order of writes per id is kept in memory (some 100 bytes per
//! record) where [`Options::audit`](crate::Options::audit) asks for it. A write enters the books
//! when it is durable and before it is answered, by the one thread that commits: the order is that
//! of the store, not that in which handlers happened to run. The books begin anew at each start.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A copy of the books at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Audit {
    /// Counters of requests and connections.
    pub counts: Counts,
    /// By namespace (`""` is the default one) and id: the sequence number of each applied upsert
    /// that wrote the id, oldest first. One request is one number; numbers grow over the whole index.
    pub writes: BTreeMap<String, BTreeMap<String, Vec<u64>>>,
}

impl Audit {
    /// The sequence numbers of the writes that an id had, oldest first.
    pub fn writes_of(&self, namespace: &str, id: &str) -> &[u64] {
        self.writes
            .get(crate::rules::canonical(namespace))
            .and_then(|ids| ids.get(id))
            .map_or(&[], Vec::as_slice)
    }
}

/// Counters of requests and connections since the index was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Connections closed abruptly by a fault or an outage.
    pub connections_cut: u64,
    /// Connections that were told to go (GOAWAY).
    pub connections_sent_away: u64,
    /// Requests of any kind whose headers arrived, upserts included.
    pub requests: u64,
    /// Upsert requests whose headers arrived. Each ends in one of the counters below, or was
    /// given up by the client or by a cut connection.
    pub upserts: u64,
    /// Upserts applied and answered.
    pub applied: u64,
    /// Upserts answered with an error since they broke a rule (or the store failed).
    pub rejected: u64,
    /// Upserts refused for their rate with RESOURCE_EXHAUSTED, by a fault or a quota.
    pub throttled: u64,
    /// Upserts refused with UNAVAILABLE, by a fault or the conditions.
    pub unavailable: u64,
    /// Upserts refused since the [`Ending`](crate::Ending) had come.
    pub ended: u64,
    /// Upserts reset by a fault, not applied.
    pub reset: u64,
    /// Upserts applied whose answer a fault withheld.
    pub applied_without_answer: u64,
    /// Upserts put off by a fault without an answer, to be applied later.
    pub put_off: u64,
    /// Of these, the upserts that have been applied; one that breaks a rule is among the rejected.
    pub applied_late: u64,
    /// Upserts delayed by a fault, whatever their end.
    pub delayed: u64,
    /// Requests with a wrong key or none.
    pub unauthenticated: u64,
    /// Records in applied upserts.
    pub records: u64,
    /// Bytes of the largest encoded upsert message seen, without the gRPC prefix.
    pub largest_request: u64,
    /// Most records seen in one applied upsert.
    pub most_records: u64,
    /// Durable transactions; upserts that waited together share one.
    pub commits: u64,
}

/// One counter of [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The books while they are being written.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) connections: Counter,
    pub(crate) connections_cut: Counter,
    pub(crate) connections_sent_away: Counter,
    pub(crate) requests: Counter,
    pub(crate) upserts: Counter,
    pub(crate) applied: Counter,
    pub(crate) rejected: Counter,
    pub(crate) throttled: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) ended: Counter,
    pub(crate) reset: Counter,
    pub(crate) applied_without_answer: Counter,
    pub(crate) put_off: Counter,
    pub(crate) applied_late: Counter,
    pub(crate) delayed: Counter,
    pub(crate) unauthenticated: Counter,
    pub(crate) records: Counter,
    pub(crate) largest_request: Counter,
    pub(crate) most_records: Counter,
    pub(crate) commits: Counter,
    writes: Option<Mutex<Writes>>,
}

#[derive(Debug, Default)]
struct Writes {
    last: u64,
    by_namespace: HashMap<String, HashMap<String, Vec<u64>>>,
}

impl Ledger {
    pub(crate) fn new(keep_order: bool) -> Self {
        Self {
            writes: keep_order.then(Mutex::default),
            ..Self::default()
        }
    }

    /// Enters an applied upsert.
    pub(crate) fn wrote(&self, namespace: &str, ids: &[String]) {
        self.counted(ids.len() as u64);
        let Some(writes) = &self.writes else { return };
        let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.last += 1;
        let sequence = writes.last;
        let by_id = match writes.by_namespace.get_mut(namespace) {
            Some(by_id) => by_id,
            None => writes.by_namespace.entry(namespace.to_owned()).or_default(),
        };
        for id in ids {
            match by_id.get_mut(id) {
                Some(sequences) => sequences.push(sequence),
                None => drop(by_id.insert(id.clone(), vec![sequence])),
            }
        }
    }

    /// Enters an applied upsert of which only the number of records is known.
    pub(crate) fn counted(&self, records: u64) {
        self.records.add(records);
        self.most_records.raise_to(records);
    }

    pub(crate) fn snapshot(&self) -> Audit {
        let writes = self.writes.as_ref().map(|writes| {
            let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            let sorted = |ids: &HashMap<String, Vec<u64>>| {
                ids.iter().map(|(id, w)| (id.clone(), w.clone())).collect()
            };
            writes
                .by_namespace
                .iter()
                .map(|(namespace, ids)| (namespace.clone(), sorted(ids)))
                .collect()
        });
        Audit {
            counts: Counts {
                connections: self.connections.get(),
                connections_cut: self.connections_cut.get(),
                connections_sent_away: self.connections_sent_away.get(),
                requests: self.requests.get(),
                upserts: self.upserts.get(),
                applied: self.applied.get(),
                rejected: self.rejected.get(),
                throttled: self.throttled.get(),
                unavailable: self.unavailable.get(),
                ended: self.ended.get(),
                reset: self.reset.get(),
                applied_without_answer: self.applied_without_answer.get(),
                put_off: self.put_off.get(),
                applied_late: self.applied_late.get(),
                delayed: self.delayed.get(),
                unauthenticated: self.unauthenticated.get(),
                records: self.records.get(),
                largest_request: self.largest_request.get(),
                most_records: self.most_records.get(),
                commits: self.commits.get(),
            },
            writes: writes.unwrap_or_default(),
        }
    }
}
