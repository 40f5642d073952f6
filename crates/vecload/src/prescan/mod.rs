//! Finds, before anything is sent, the rows whose id a later row has (INV-8).
//!
//! ```text
//!   rows ─▶ hash of the key, place ─▶ sorted by hash ─▶ of each hash all but the last ─▶ sorted by place ─▶ file
//! ```
//!
//! The key of a row is its namespace and its id, `""` and `__default__` being one namespace. Of the
//! rows with one key the last one counts, by its place in the inputs and not by its validity. The others
//! are never sent; so neither concurrency nor repeated nor late requests can bring one of them back, and
//! none costs a write. A row whose id cannot be read has no key.
//!
//! Memory is fixed (INV-6): what does not fit is spilled, and what was found stays on disk, from
//! where it is read block by block. This module neither spawns nor waits; `pipeline.rs` does.

mod scan;
mod sorter;
mod spill;
#[cfg(test)]
mod tests;
mod verdicts;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use vecload_source::SourceError;

pub(crate) use self::scan::{OnRead, Scanner, scanned, scanned_bytes};
pub(crate) use self::sorter::{Item, Merge, Sorter};
pub(crate) use self::spill::{Spill, SpillError, nameless_file};
pub(crate) use self::verdicts::{NoVerdicts, VerdictReader, Verdicts};

use self::verdicts::Verdict;
use crate::namespace::wire_name;
use crate::stop::Stop;

/// What the prescan holds at most, besides what its readers read at a time, in bytes.
pub(crate) const MEMORY: usize = 32 << 20;

/// Where a row stands among all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) split: u32,
    /// The row's number in the split.
    pub(crate) row: u64,
}

/// A key of the run: hashes under one are worth nothing under another.
///
/// Ids come from users' users, and two ids of one hash would be one id: so the hash is keyed and
/// 128 bits wide. It is the standard library's (SipHash-1-3, keyed at random for each process), twice, with
/// another first byte: two outputs of one keyed function on different inputs are independent to whoever
/// does not know the key. XXH3 is faster and not made for that: its seed does not protect it from
/// inputs that were made to collide. 10^10 ids collide with a probability of 10^-19.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyHasher(RandomState);

/// A row, by the hash of its key. They sort by key, then by place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sighting {
    key: u128,
    place: Place,
}

/// Takes rows in any order.
#[derive(Debug)]
pub(crate) struct Sightings {
    hasher: KeyHasher,
    sorter: Sorter<Sighting>,
}

/// Goes through rows in the order of their keys and says which are superseded.
struct Judge<S> {
    sightings: S,
    /// The last row that was seen, and how many with its key there were before it.
    last: Option<(Sighting, u64)>,
}

/// Why there is no prescan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrescanError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Spill(#[from] SpillError),
    #[error("the duplicates that were found cannot be written: {0}")]
    Verdicts(#[from] io::Error),
    /// The run is stopping.
    #[error("stopped")]
    Stopped,
}

// === impl KeyHasher ===

impl KeyHasher {
    /// The hash of an id in a namespace, which has one under both its names.
    pub(crate) fn hash(&self, namespace: &str, id: &str) -> u128 {
        let half = |which| u128::from(self.half(which, namespace, id));
        half(0) << 64 | half(1)
    }

    /// Half of the hash, for where two keys of one hash do no harm.
    pub(crate) fn short(&self, namespace: &str, id: &str) -> u64 {
        self.half(0, namespace, id)
    }

    fn half(&self, which: u8, namespace: &str, id: &str) -> u64 {
        self.0.hash_one((which, wire_name(namespace), id))
    }
}

// === impl Sightings ===

impl Sightings {
    /// One of so many scanners that share the memory of a prescan, given in bytes.
    pub(crate) fn new(
        spill: &Arc<Spill>,
        hasher: KeyHasher,
        memory: usize,
        scanners: usize,
    ) -> Self {
        Self {
            hasher,
            sorter: Sorter::new(spill, memory / 2 / scanners.max(1)),
        }
    }

    /// Takes a row.
    pub(crate) fn see(
        &mut self,
        namespace: &str,
        id: &str,
        place: Place,
    ) -> Result<(), SpillError> {
        let key = self.hasher.hash(namespace, id);
        self.sorter.push(Sighting { key, place })
    }
}

/// What the keys of so many rows take on the disk, in bytes, if they do not fit into memory.
pub(crate) fn spilled_at_most(rows: u64) -> u64 {
    match rows.saturating_mul(size_of::<Sighting>() as u64) <= MEMORY as u64 / 2 {
        true => 0,
        false => rows.saturating_mul(Sighting::BYTES as u64),
    }
}

/// Writes what becomes of the rows that were seen into an empty file. `subject` names what was read.
pub(crate) fn judge(
    spill: &Arc<Spill>,
    seen: Vec<Sightings>,
    memory: usize,
    stop: &Stop,
    subject: u128,
    file: File,
) -> Result<Verdicts, PrescanError> {
    let sorters = seen.into_iter().map(|seen| seen.sorter).collect();
    let judge = Judge {
        sightings: Merge::new(spill, sorters, memory / 4)?.take_while(|_| stop.reason().is_none()),
        last: None,
    };
    let mut by_place = Sorter::new(spill, memory / 4);
    for verdict in judge {
        by_place.push(verdict?)?;
    }
    // As the merge asks: what it cut short must not be taken for all.
    if stop.reason().is_some() {
        return Err(PrescanError::Stopped);
    }
    let by_place = Merge::new(spill, vec![by_place], memory / 4)?;
    Verdicts::write(file, subject, by_place.map(|verdict| Ok(verdict?)))
}

// === impl Judge ===

impl<S: Iterator<Item = Result<Sighting, SpillError>>> Iterator for Judge<S> {
    type Item = Result<Verdict, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.sightings.next().transpose() {
                Ok(next) => next,
                Err(error) => return Some(Err(error)),
            };
            let Some((last, before)) = self.last.take() else {
                self.last = Some((next?, 0));
                continue;
            };
            let is_superseded = next.is_some_and(|next| next.key == last.key);
            let before_next = if is_superseded { before + 1 } else { 0 };
            self.last = next.map(|next| (next, before_next));
            if is_superseded || before > 0 {
                return Some(Ok(Verdict {
                    place: last.place,
                    supersedes: if is_superseded { 0 } else { before },
                }));
            }
        }
    }
}

// === impl Item for what is sorted ===

impl Item for Sighting {
    const BYTES: usize = 28;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_le_bytes());
        self.place.write(out);
    }

    fn read(bytes: &[u8]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&bytes[..16]);
        Self {
            key: u128::from_le_bytes(key),
            place: Place::read(&bytes[16..]),
        }
    }
}

impl Item for Verdict {
    const BYTES: usize = 20;

    fn write(self, out: &mut Vec<u8>) {
        self.place.write(out);
        out.extend_from_slice(&self.supersedes.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            place: Place::read(bytes),
            supersedes: number(&bytes[12..]),
        }
    }
}

// === impl Place ===

impl Place {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.split.to_le_bytes());
        out.extend_from_slice(&self.row.to_le_bytes());
    }

    /// Reads it from its first 12 bytes.
    fn read(bytes: &[u8]) -> Self {
        let mut split = [0; 4];
        split.copy_from_slice(&bytes[..4]);
        Self {
            split: u32::from_le_bytes(split),
            row: number(&bytes[4..]),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}
