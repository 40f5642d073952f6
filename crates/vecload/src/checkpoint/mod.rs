//! What a run has settled, on disk, so that it can be killed at any instant (INV-2, INV-5).
//!
//! ```text
//!   settlement ─▶ ledger ─▶ journal-N (appended at once, synced every second)
//!                    └────▶ snapshot  (the whole state, replaced when the journal outgrows it)
//! ```
//!
//! A record is in the page cache before the next event is looked at, so a killed process forgets
//! nothing that was booked; a power cut forgets a second at most. To forget is safe: the rows
//! are sent again. Dead letters go to their file before the record that counts them, are
//! synced before it is, and the record has their offset and hash, so that recovery can tell.
//!
//! Every attempt begins with a new snapshot and an empty journal: nothing is ever appended to a file
//! that was found. Any failed write or sync is final; after a failed fsync pages may be marked clean
//! and a second one would succeed and mean nothing.

mod codec;
mod disk;
mod entry;
mod recover;
#[cfg(test)]
mod tests;

use std::io;

pub(crate) use disk::{Disk, RunDisk};
pub(crate) use entry::{Entry, FieldChange, Mark, Rows, TextRead};
pub(crate) use recover::{Recovered, Refused, State};

pub(crate) use self::codec::encode_snapshot;
use self::codec::{HEAD, encode_journal_head, encode_record};
#[cfg(any(test, fuzzing))]
pub(crate) use self::codec::{decode_journal, decode_snapshot, seal_journal, seal_snapshot};
#[cfg(any(test, fuzzing))]
pub(crate) use self::recover::recover as recover_from;
use crate::ledger::{Ledger, Unbalanced};

/// The directory of the checkpoint within that of the run.
pub(crate) const FOLDER: &str = "checkpoint";
pub(crate) const SNAPSHOT: &str = "checkpoint/snapshot";

/// A journal is not compacted before it has this size: a snapshot costs some milliseconds.
const JOURNAL_AT_LEAST: u64 = 1 << 20;

/// The checkpoint of a run that goes on.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    disk: Box<dyn Disk>,
    generation: u64,
    /// Records in the journal.
    records: u64,
    journal_bytes: u64,
    snapshot_bytes: u64,
    compact_at_least: u64,
    is_synced: bool,
    letters_are_synced: bool,
}

// === impl State ===

impl State {
    /// The state of a run that has not begun.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            attempts: 0,
            letters_file: 1,
            letters: Mark::default(),
            ledger,
        }
    }

    /// Books a settlement.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Unbalanced> {
        self.ledger.apply(entry)?;
        if let Entry::Rejected { letters, .. } = entry {
            self.letters = *letters;
        }
        Ok(())
    }

    /// The file of the dead letters, within the directory of the run.
    pub(crate) fn letters_name(&self) -> String {
        letters_name(self.letters_file)
    }
}

/// The name of a file of dead letters.
pub(crate) fn letters_name(number: u32) -> String {
    format!("rejected-{number}.jsonl")
}

/// All of a state in one piece, which recovery takes without a journal.
pub(crate) fn snapshot(state: &State) -> io::Result<Vec<u8>> {
    encoded(encode_snapshot(state, 0))
}

fn journal_name(generation: u64) -> String {
    format!("{FOLDER}/journal-{generation}")
}

/// The state that an earlier attempt left behind, or none where there was none.
pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered, Refused> {
    let snapshot = disk.read(SNAPSHOT)?.unwrap_or_default();
    recover::recover(
        &snapshot,
        |generation| disk.read(&journal_name(generation)),
        |number| disk.open(&letters_name(number)),
    )
}

// === impl Checkpoint ===

impl Checkpoint {
    /// Begins an attempt from a state: the one that was recovered, of that generation, or the one
    /// of a new run, with generation 0. What the state does not count of dead letters is cut off.
    pub(crate) fn begin(disk: Box<dyn Disk>, state: &State, generation: u64) -> io::Result<Self> {
        let mut checkpoint = Self {
            disk,
            generation,
            records: 0,
            journal_bytes: 0,
            snapshot_bytes: 0,
            compact_at_least: JOURNAL_AT_LEAST,
            is_synced: true,
            letters_are_synced: true,
        };
        let disk = &mut checkpoint.disk;
        disk.truncate(&state.letters_name(), state.letters.offset)?;
        checkpoint.compact(state)?;
        Ok(checkpoint)
    }

    /// Writes a dead letter, which the next record counts, and says where it ends.
    pub(crate) fn dead_letter(&mut self, state: &State, line: &[u8]) -> io::Result<Mark> {
        self.letters_are_synced = false;
        self.disk.append(&state.letters_name(), line)?;
        Ok(state.letters.after(line))
    }

    /// Writes a settlement.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let record = encoded(encode_record(entry, self.generation, self.records))?;
        self.is_synced = false;
        self.disk.append(&journal_name(self.generation), &record)?;
        self.records += 1;
        self.journal_bytes += record.len() as u64;
        Ok(())
    }

    /// Makes durable what was written: dead letters first (INV-5). Compacts the journal if need be.
    pub(crate) fn sync(&mut self, state: &State) -> io::Result<()> {
        if !self.letters_are_synced {
            self.disk.sync(&state.letters_name())?;
            self.letters_are_synced = true;
        }
        if self.journal_bytes > self.compact_at_least.max(2 * self.snapshot_bytes) {
            return self.compact(state);
        }
        if !self.is_synced {
            self.disk.sync(&journal_name(self.generation))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// Makes everything durable in a snapshot: the end of an attempt.
    pub(crate) fn finish(&mut self, state: &State) -> io::Result<()> {
        self.sync(state)?;
        self.compact(state)
    }

    /// Makes a snapshot of the state, durable, and begins a new journal. The dead letters are.
    fn compact(&mut self, state: &State) -> io::Result<()> {
        let next = self.generation + 1;
        let snapshot = encoded(encode_snapshot(state, next))?;
        self.disk.replace(SNAPSHOT, &snapshot)?;
        let journal = journal_name(next);
        // One may be left from a process that was killed between two syncs.
        self.disk.remove(&journal)?;
        self.disk.append(&journal, &encode_journal_head(next))?;
        self.disk.sync(&journal)?;
        self.disk.remove(&journal_name(self.generation))?;
        self.generation = next;
        self.records = 0;
        self.journal_bytes = HEAD as u64;
        self.snapshot_bytes = snapshot.len() as u64;
        self.is_synced = true;
        Ok(())
    }
}

/// Makes an error of the disk of one of the encoder; used where both can happen.
fn encoded(bytes: postcard::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    bytes.map_err(|error| io::Error::other(format!("the checkpoint cannot be encoded: {error}")))
}
