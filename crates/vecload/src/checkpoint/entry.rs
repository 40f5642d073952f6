//! What happened to rows, in the form in which it is booked and kept.
//!
//! The ledger is changed by entries only, while a run goes on and when it is recovered, so that both
//! come to the same books. An entry settles rows for good; reading is not kept, since rows that
//! were read and not settled are read again.

use serde::{Deserialize, Serialize};
use vecload_record::RowRun;

use crate::digest::Digest;
use crate::sampling::Sampled;

/// A settlement. The order of the variants is a part of the form on disk: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A request was acknowledged.
    Loaded {
        /// The namespace as people see it.
        namespace: String,
        rows: Rows,
        /// The size of the request's message.
        bytes: u64,
        /// The log sequence number that the service gave the write.
        lsn: Option<u64>,
        /// The digest of the records.
        digest: Digest,
        changes: Vec<FieldChange>,
        /// Of which of the records something is kept.
        sampled: Vec<Sampled>,
    },
    /// A row will never be loaded, and its dead letter is written.
    Rejected {
        namespace: String,
        split: u32,
        row: u64,
        /// The name of the reason.
        reason: String,
        /// How many earlier rows with its id are not loaded because of it.
        supersedes: u64,
        changes: Vec<FieldChange>,
        /// Where its dead letter ends.
        letters: Mark,
    },
    /// Rows whose ids later rows have.
    Superseded { namespace: String, rows: Rows },
    /// A split was read to its end and has that many rows.
    SplitRead { split: u32, rows: u64 },
    /// What the reader did to the fields of a split's rows up to that one, since the last such entry.
    /// Unlike what a target does to a record this is counted block by block as it is read; so rows
    /// that are read again are not counted again.
    FieldsRead {
        split: u32,
        end: u64,
        changes: Vec<FieldChange>,
    },
    /// A block of a stream was read, up to there. It comes before any settlement of its rows.
    TextRead { split: u32, text: TextRead },
}

/// The rows of a stream up to one, told by a hash of their text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TextRead {
    pub(crate) rows: u64,
    pub(crate) hash: u64,
}

/// What was done to a metadata field, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FieldChange {
    pub(crate) field: String,
    pub(crate) action: String,
    pub(crate) times: u64,
}

/// A place in the file of the dead letters: what stands before it has that hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) hash: u64,
}

/// Runs of rows. On disk a run's first row is counted from the end of the run before it, if that is
/// of the same split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u64, u32)>", into = "Vec<(u32, u64, u32)>")]
pub(crate) struct Rows(pub(crate) Vec<RowRun>);

// === impl FieldChange ===

impl From<(&str, &'static str, u64)> for FieldChange {
    fn from((field, action, times): (&str, &'static str, u64)) -> Self {
        Self {
            field: field.to_owned(),
            action: action.to_owned(),
            times,
        }
    }
}

// === impl TextRead ===

impl TextRead {
    /// With one more row, of that text.
    pub(crate) fn with(self, text: &[u8]) -> Self {
        Self {
            rows: self.rows + 1,
            hash: xxhash_rust::xxh3::xxh3_64_with_seed(text, self.hash),
        }
    }
}

// === impl Mark ===

impl Mark {
    /// The place after a further line, its newline included.
    pub(crate) fn after(self, line: &[u8]) -> Self {
        Self {
            offset: self.offset + line.len() as u64,
            hash: xxhash_rust::xxh3::xxh3_64_with_seed(line, self.hash),
        }
    }
}

// === impl Rows ===

impl Rows {
    /// The number of rows.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|run| u64::from(run.len)).sum()
    }
}

impl From<Rows> for Vec<(u32, u64, u32)> {
    fn from(rows: Rows) -> Self {
        let mut before = (0, 0);
        rows.0
            .iter()
            .map(|run| {
                let from = if run.split == before.0 { before.1 } else { 0 };
                before = (run.split, run.first.wrapping_add(u64::from(run.len)));
                // Rows that go back come out as large numbers and find back all the same.
                (run.split, run.first.wrapping_sub(from), run.len)
            })
            .collect()
    }
}

impl From<Vec<(u32, u64, u32)>> for Rows {
    fn from(gaps: Vec<(u32, u64, u32)>) -> Self {
        let mut before = (0, 0);
        Self(
            gaps.into_iter()
                .map(|(split, gap, len)| {
                    let from = if split == before.0 { before.1 } else { 0 };
                    let first = gap.wrapping_add(from);
                    before = (split, first.wrapping_add(u64::from(len)));
                    RowRun { split, first, len }
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Scenario: any runs of rows, in any order, are written and read again.
        /// Guarantees: the same runs come back.
        #[test]
        fn rows_survive_the_disk(runs in prop::collection::vec((0_u32..3, any::<u64>(), any::<u32>()), 0..20)) {
            let rows = Rows(runs.into_iter().map(|(split, first, len)| RowRun { split, first, len }).collect());
            let bytes = postcard::to_stdvec(&rows).expect("bytes");
            prop_assert_eq!(postcard::from_bytes::<Rows>(&bytes).expect("rows"), rows);
        }
    }

    /// Scenario: a request of rows that follow each other.
    /// Guarantees: its record takes some tens of bytes, whatever the number of rows.
    #[test]
    fn a_settlement_is_small() {
        let run = |first| RowRun {
            split: 3,
            first,
            len: 400,
        };
        let entry = Entry::Loaded {
            namespace: "films".to_owned(),
            rows: Rows(vec![run(1_000_000), run(1_000_401)]),
            bytes: 1_999_000,
            lsn: Some(12_345_678),
            digest: Digest::of("films", [&b"record"[..]].into_iter()),
            changes: Vec::new(),
            sampled: Vec::new(),
        };
        let bytes = postcard::to_stdvec(&entry).expect("bytes");
        assert!(bytes.len() < 60, "{} bytes", bytes.len());
    }
}
