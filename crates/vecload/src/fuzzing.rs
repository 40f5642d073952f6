//! What a checkpoint is held to, whatever its bytes are. The fuzz targets (`fuzz/`) and the tests ask the same; nobody
//! else sees it.

use std::io::Cursor;

use vecload_record::RowRun;

use crate::checkpoint::{
    Entry, Mark, Recovered, Refused, Rows, State, decode_journal, decode_snapshot, encode_snapshot,
    recover_from, seal_journal, seal_snapshot,
};
use crate::digest::Digest;
use crate::ledger::Ledger;

/// What an attempt leaves behind.
#[derive(Debug, Clone)]
pub struct Left {
    /// The snapshot, its head and checksum apart.
    pub state: Vec<u8>,
    /// The records of the journal, their lengths and checksums apart.
    pub records: Vec<Vec<u8>>,
    /// The file of the dead letters.
    pub letters: Vec<u8>,
}

impl Left {
    /// What an attempt leaves that has loaded ten rows, rejected one, and read a file to its end.
    ///
    /// # Errors
    ///
    /// It cannot be encoded.
    pub fn sound() -> postcard::Result<Self> {
        let letters = b"{\"id\":\"\"}\n".to_vec();
        let run = |first, len| RowRun {
            split: 0,
            first,
            len,
        };
        let loaded = Entry::Loaded {
            namespace: "films".to_owned(),
            rows: Rows(vec![run(0, 4), run(5, 6)]),
            bytes: 1000,
            lsn: Some(3),
            digest: Digest::of("films", [&b"record"[..]].into_iter()),
            changes: Vec::new(),
            sampled: Vec::new(),
        };
        let rejected = Entry::Rejected {
            namespace: "films".to_owned(),
            split: 0,
            row: 4,
            reason: "all_zero".to_owned(),
            supersedes: 1,
            changes: Vec::new(),
            letters: Mark::default().after(&letters),
        };
        let read = Entry::SplitRead { split: 0, rows: 12 };
        let records = [loaded, rejected, read];
        let records = records.iter().map(postcard::to_stdvec);
        Ok(Self {
            state: postcard::to_stdvec(&State::new(Ledger::of(vec![0, 0, 1], 2)))?,
            records: records.collect::<Result<_, _>>()?,
            letters,
        })
    }

    /// Decodes it with checksums that are right, as if another vecload had written it. What it says is not booked: that the
    /// numbers of a run are its own is what the checksums are for.
    ///
    /// # Panics
    ///
    /// A decoder does.
    pub fn decode(&self) {
        const GENERATION: u64 = 7;
        let _ = decode_snapshot(&seal_snapshot(&self.state, GENERATION));
        let _ = decode_journal(&seal_journal(&self.records, GENERATION), GENERATION);
    }
}

/// Recovers from a snapshot, a journal and dead letters.
///
/// # Panics
///
/// A state is recovered that cannot be continued from.
pub fn checkpoint(snapshot: &[u8], journal: &[u8], letters: &[u8]) {
    let Ok(Recovered {
        state, generation, ..
    }) = recovered(snapshot, journal, letters)
    else {
        return;
    };
    let next = encode_snapshot(&state, generation.wrapping_add(1));
    assert!(next.is_ok(), "{next:?}");
    let again = recovered(&next.unwrap_or_default(), &[], letters);
    assert!(again.is_ok_and(|again| again.state == state));
}

/// The state that the bytes of a checkpoint give.
pub(crate) fn recovered(
    snapshot: &[u8],
    journal: &[u8],
    letters: &[u8],
) -> Result<Recovered, Refused> {
    recover_from(
        snapshot,
        |_| Ok(Some(journal.to_vec())),
        |_| Ok(Cursor::new(letters)),
    )
}
