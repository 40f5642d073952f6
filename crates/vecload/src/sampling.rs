//! What is kept of a run that read a stream, so that it can be verified: hashes of some records.
//!
//! A stream cannot be read again. So of its run the records are kept whose keys (namespace and id) have the smallest
//! ranks, a keyed hash: a *bottom-k* sample. Which ones these are is a function of the keys that were loaded, under
//! the key of the run: not of their order, of the requests and attempts in which they were loaded, nor of how often
//! one was. So every loaded id has the same chance, nothing needs to be counted, two samples merge into that of both,
//! and a key that comes again is in the sample or not as before; its last row replaces the others.
//!
//! ```text
//!   acknowledged ─▶ ranks at or below the bar ─▶ a part of the settlement ─▶ journal, books ─▶ the bar is lowered
//! ```
//!
//! Of a million rows some eight thousand pass the bar, 1000 (1 + ln(n / 1000)); only these cost more than a hash of
//! their id. What is kept is settled, written down and recovered together with the row that it is of.
//!
//! Where an input of the run is a stream the records of its other inputs are sampled too, so that an id of both
//! stands for its last row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use vecload_pinecone::StoredRecord;
use vecload_source::Plan;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::batch::EncodedBatch;
use crate::dead_letters::Locator;
use crate::namespace::wire_name;
use crate::target::Target;

/// How many records are kept: at most a megabyte at the longest ids and namespaces of one byte a character, and some
/// 100 KB at usual ones.
pub(crate) const KEPT: usize = 1000;

/// The kept records of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySample {
    /// The key of the hash that ranks.
    seed: u64,
    kept: BTreeMap<Key, Kept>,
}

/// Keys are in the order of their ranks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    rank: u64,
    namespace: String,
    id: String,
}

/// What is kept of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) place: Place,
    pub(crate) locator: Locator,
    /// Its size on the wire.
    pub(crate) bytes: u32,
    /// As [`content_hash`] makes it.
    pub(crate) hash: u128,
}

/// Where a row stands among all rows. Later rows are greater, also where an input before them was planned anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) input: u32,
    /// The number of its split among those of the input.
    part: u32,
    /// The row's number in the split.
    pub(crate) row: u64,
}

/// A record that passed the bar. Its namespace is that of the settlement which it is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sampled {
    rank: u64,
    id: String,
    kept: Kept,
}

/// Finds in acknowledged batches what is to be kept.
#[derive(Debug)]
pub(crate) struct Sampler {
    plan: Arc<Plan>,
    seed: u64,
    /// No rank above it is among the kept ones any more.
    bar: AtomicU64,
}

// === impl KeySample ===

impl KeySample {
    /// Nothing is kept yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            kept: BTreeMap::new(),
        }
    }

    /// Takes records that were loaded into a namespace.
    pub(crate) fn take(&mut self, namespace: &str, sampled: &[Sampled]) {
        for Sampled { rank, id, kept } in sampled {
            let key = Key {
                rank: *rank,
                namespace: namespace.to_owned(),
                id: id.clone(),
            };
            let last = self.kept.entry(key).or_insert(*kept);
            if kept.place >= last.place {
                *last = *kept;
            }
            if self.kept.len() > KEPT {
                self.kept.pop_last();
            }
        }
    }

    /// The greatest rank that can still be taken. A key that is kept can, for a later row of it.
    fn bar(&self) -> u64 {
        match self.kept.last_key_value() {
            Some((last, _)) if self.kept.len() == KEPT => last.rank,
            _ => u64::MAX,
        }
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// So many of them, or all, each as likely as the others: namespace, id, and what is kept.
    pub(crate) fn first(&self, most: usize) -> impl Iterator<Item = (&str, &str, Kept)> {
        let kept = self.kept.iter().take(most);
        kept.map(|(key, kept)| (&*key.namespace, &*key.id, *kept))
    }
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that goes on from what is kept; none where all inputs can be read again.
    pub(crate) fn of_run(plan: &Arc<Plan>, sample: &KeySample) -> Option<Arc<Self>> {
        plan.stream()?;
        Some(Arc::new(Self {
            plan: Arc::clone(plan),
            seed: sample.seed,
            bar: AtomicU64::new(sample.bar()),
        }))
    }

    /// Lowers the bar to that of what is kept now.
    pub(crate) fn follow(&self, sample: &KeySample) {
        self.bar.store(sample.bar(), Ordering::Relaxed);
    }

    /// What is to be kept of a batch that was acknowledged.
    pub(crate) fn of_batch<T: Target>(&self, target: &T, batch: &EncodedBatch) -> Vec<Sampled> {
        let bar = self.bar.load(Ordering::Relaxed);
        let seed = namespace_seed(self.seed, &batch.namespace.wire);
        let sampled = (0..batch.records()).filter_map(|index| {
            let record = batch.record(index);
            let id = target.id_of(record)?;
            let rank = xxh3_64_with_seed(id.as_bytes(), seed);
            if rank > bar {
                return None;
            }
            Some(Sampled {
                rank,
                id: id.to_owned(),
                kept: self.kept(batch, index, target.content_hash(record)?),
            })
        });
        sampled.collect()
    }

    fn kept(&self, batch: &EncodedBatch, index: usize, hash: u128) -> Kept {
        let row = batch.row(index);
        let split = &self.plan.splits[row.split as usize];
        let earlier = &self.plan.splits[..row.split as usize];
        let of_input = earlier
            .iter()
            .rev()
            .take_while(|other| other.input == split.input);
        Kept {
            place: Place {
                input: split.input,
                part: of_input.count() as u32,
                row: row.first,
            },
            locator: Locator::new(split, batch.locators[index]),
            bytes: batch.record(index).len() as u32,
            hash,
        }
    }
}

fn namespace_seed(seed: u64, namespace: &str) -> u64 {
    xxh3_64_with_seed(wire_name(namespace).as_bytes(), seed)
}

/// A hash of what a record holds, the same before and after the index had it: not of its wire bytes, since the order of
/// metadata keys and of sparse elements is not kept there.
pub(crate) fn content_hash(record: &StoredRecord) -> u128 {
    xxh3_128(&record.canonical())
}

#[cfg(test)]
pub(crate) mod tests;
