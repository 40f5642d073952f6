//! From the bytes that an attempt left behind to the state in which the next one begins.
//!
//! Recovery gives the state after some number of the settlements that were made, never one that
//! was not: the snapshot, then the journal's records up to the first one that is bad, or that counts
//! a dead letter which the file of the dead letters does not have (INV-5). To forget a settlement
//! is safe, for its rows are sent again. A snapshot that cannot be read is refused, since without it
//! everything would be forgotten, dead letters included.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::codec::{BadSnapshot, decode_journal, decode_snapshot};
use super::entry::{Entry, Mark};
use crate::ledger::{Ledger, Unbalanced};

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// How many attempts of the run have begun.
    pub(crate) attempts: u32,
    /// The number of the file of dead letters.
    pub(crate) letters_file: u32,
    /// Where the dead letters end that are counted.
    pub(crate) letters: Mark,
    pub(crate) ledger: Ledger,
}

/// A state that was recovered.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) generation: u64,
    /// Settlements that were read from the journal and do not count, since a dead letter is missing.
    pub(crate) cut_records: u64,
    /// Bytes of the journal that are no records.
    pub(crate) lost_bytes: u64,
}

/// Why a checkpoint cannot be continued from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the snapshot cannot be used: {0}; put back the file, or load anew in a new directory")]
    Snapshot(#[from] BadSnapshot),
    #[error(
        "the journal is of version {0}, which this vecload does not read; continue with the vecload that wrote it"
    )]
    JournalVersion(u32),
    #[error(
        "the journal contradicts itself: {0}; please report this, and load anew in a new directory"
    )]
    Unbalanced(#[from] Unbalanced),
    #[error(
        "the file of rejected records is not what the run wrote; put it back, or load anew in a new directory"
    )]
    Letters,
    #[error("the file of rejected records cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Follows the dead letters and says whether they are what was marked.
#[derive(Debug)]
struct LetterCheck<R> {
    letters: R,
    at: Mark,
    line: Vec<u8>,
}

/// Recovers the state from a snapshot, the journal beside it, and the dead letters in the file that
/// the snapshot names.
pub(crate) fn recover<R: BufRead>(
    snapshot: &[u8],
    journal: impl FnOnce(u64) -> io::Result<Option<Vec<u8>>>,
    letters: impl FnOnce(u32) -> io::Result<R>,
) -> Result<Recovered, Refused> {
    let (mut state, generation) = decode_snapshot(snapshot)?;
    if !state.ledger.is_sound() {
        return Err(BadSnapshot::Damaged.into());
    }
    let mut check = LetterCheck {
        letters: letters(state.letters_file)?,
        at: Mark::default(),
        line: Vec::new(),
    };
    if !check.reaches(state.letters)? {
        return Err(Refused::Letters);
    }
    // Without a journal the process ended right after the snapshot.
    let journal = journal(generation)?.unwrap_or_default();
    let journal = decode_journal(&journal, generation).map_err(Refused::JournalVersion)?;
    let all = journal.entries.len() as u64;
    let mut kept = 0;
    for entry in &journal.entries {
        if let Entry::Rejected { letters, .. } = entry
            && !check.reaches(*letters)?
        {
            break;
        }
        state.apply(entry)?;
        kept += 1;
    }
    state.ledger.forget_unsettled();
    Ok(Recovered {
        state,
        generation,
        cut_records: all - kept,
        lost_bytes: journal.lost_bytes,
    })
}

// === impl LetterCheck ===

impl<R: BufRead> LetterCheck<R> {
    /// Whether the lines up to `mark` are the ones that were marked.
    fn reaches(&mut self, mark: Mark) -> io::Result<bool> {
        while self.at.offset < mark.offset {
            self.line.clear();
            let left = mark.offset - self.at.offset;
            let read = (&mut self.letters)
                .take(left)
                .read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(false);
            }
            self.at = self.at.after(&self.line);
        }
        Ok(self.at == mark)
    }
}
