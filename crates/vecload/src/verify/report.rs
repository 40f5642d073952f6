//! What a verification found, as a document and as words.

use std::collections::BTreeMap;

use serde::Serialize;

use super::extras::NAMED;
use crate::settings::Sample;
use crate::stop::{ExitCode, StopReason};

/// How many differences, and how many other namespaces, are listed at the most.
pub(crate) const LISTED: usize = 100;

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The index holds what was looked for.
    Verified,
    /// It does not.
    Differs,
    /// It was not known in time.
    TimedOut,
    /// It was interrupted, or the service refused.
    Stopped,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// How it ended.
    pub verdict: Verdict,
    /// What the command exits with.
    pub exit_code: ExitCode,
    /// Why there is no verdict, if so.
    pub stop_reason: Option<StopReason>,
    /// How many records were to be compared.
    pub sample: Sample,
    /// What they were chosen by.
    pub seed: u64,
    /// Records that were compared with the source, each with all its fields.
    pub records_compared: u64,
    /// Where an input was a stream, which cannot be read again: of how many records the run kept a hash. They are
    /// compared by it, with all their fields at once.
    pub records_kept: Option<u64>,
    /// How many differences there are.
    pub differences_found: u64,
    /// The first of them, 100 at the most.
    pub differences: Vec<Difference>,
    /// Namespaces of which the service said that their last write is indexed.
    pub namespaces_indexed: u64,
    /// Namespaces of which it did not say, and whose counts were waited for.
    pub namespaces_unknown: u64,
    /// From the last acknowledgement to when everything was indexed or the counts had settled, where the
    /// verification followed the load at once.
    pub time_to_indexed_seconds: Option<f64>,
    /// The numbers of records in the namespaces of the run.
    pub namespaces: BTreeMap<String, Count>,
    /// How many records the namespaces hold that the run did not load, where they were empty before and hold too many.
    /// The first 10 are among the differences.
    pub extra_ids_found: u64,
    /// Why there may be more of them, if so: they could not be looked for, or not to the end.
    pub extra_ids_unknown: Option<String>,
    /// How many namespaces the index has that the run did not write.
    pub other_namespaces_found: u64,
    /// The first of them with their records, 100 at the most.
    pub other_namespaces: BTreeMap<String, u64>,
    /// How long it took.
    pub duration_seconds: f64,
}

/// The number of records in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Before the run, where that is known.
    pub before: Option<u64>,
    /// Records that the run loaded.
    pub loaded: u64,
    /// The least that there must be.
    pub at_least: u64,
    /// The most that there may be, where that is known. It is the least where the namespace was empty.
    pub at_most: Option<u64>,
    /// What there is.
    pub found: u64,
}

/// Something in which the index differs from what was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The namespace.
    pub namespace: String,
    /// The record, where it is one.
    pub id: Option<String>,
    /// `record` for one that is missing or should not be there, `content` for one of which a hash alone is known, its field otherwise (`values[17]`, `metadata.genre`); without
    /// a record `records` for their number or `namespace` for one that should not be there.
    pub field: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// Where the record stands: the input, and the number of its row (Parquet) or the offset of its
    /// line (JSONL), or both (a stream).
    pub source: Option<Source>,
}

/// Where a record stands in the inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The input.
    pub file: String,
    /// The number of its row, from 0 (Parquet, a stream).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The offset of its line (JSONL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

// === impl VerifyReport ===

impl VerifyReport {
    /// A report of nothing yet.
    pub(crate) fn new(sample: Sample, seed: u64) -> Self {
        Self {
            verdict: Verdict::Verified,
            exit_code: ExitCode::Complete,
            stop_reason: None,
            sample,
            seed,
            records_compared: 0,
            records_kept: None,
            differences_found: 0,
            differences: Vec::new(),
            namespaces_indexed: 0,
            namespaces_unknown: 0,
            time_to_indexed_seconds: None,
            namespaces: BTreeMap::new(),
            extra_ids_found: 0,
            extra_ids_unknown: None,
            other_namespaces_found: 0,
            other_namespaces: BTreeMap::new(),
            duration_seconds: 0.0,
        }
    }

    /// Takes down a difference.
    pub(crate) fn differs(&mut self, difference: Difference) {
        self.differences_found += 1;
        if self.differences.len() < LISTED {
            self.differences.push(difference);
        }
    }

    /// Comes to a verdict.
    pub(crate) fn conclude(&mut self, stop: Option<StopReason>) {
        (self.verdict, self.exit_code) = match &stop {
            // What was found counts, also where something kept it from finding more.
            _ if self.differences_found > 0 => (Verdict::Differs, ExitCode::Differs),
            None => (Verdict::Verified, ExitCode::Complete),
            Some(reason) if reason.exit_code == ExitCode::Unverified => {
                (Verdict::TimedOut, ExitCode::Unverified)
            }
            Some(reason) => (Verdict::Stopped, reason.exit_code),
        };
        self.stop_reason = stop;
        // Answers come in any order.
        self.differences.sort_by(|a, b| {
            let key = |of: &Difference| (of.namespace.clone(), of.id.clone(), of.field.clone());
            key(a).cmp(&key(b))
        });
    }

    /// The words about everything but the verdict, one line each.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.verdict == Verdict::Differs {
            lines.push("error: the index does not hold what was loaded".to_owned());
        }
        lines.extend(self.differences.iter().map(Difference::words));
        let more = self.differences_found - self.differences.len() as u64;
        if more > 0 {
            lines.push(format!("and {more} differences more"));
        }
        if let Some(kept) = self.records_kept {
            lines.push(format!(
                "the standard input cannot be read again: records are compared by hashes, of which the run kept {kept}"
            ));
        }
        if self.extra_ids_found > NAMED as u64 {
            lines.push(format!(
                "{} records were not loaded by the run; {NAMED} of them are named",
                self.extra_ids_found
            ));
        }
        if let Some(why) = &self.extra_ids_unknown {
            lines.push(format!(
                "not all records that the run did not load are known: {why}"
            ));
        }
        if self.other_namespaces_found > 0 {
            let listed = self.other_namespaces.iter();
            let mut listed: Vec<String> = listed
                .map(|(name, count)| format!("{name} ({count} records)"))
                .collect();
            let more = self.other_namespaces_found - listed.len() as u64;
            if more > 0 {
                listed.push(format!("{more} more"));
            }
            lines.push(format!(
                "the index has namespaces that the run did not write: {}",
                listed.join(", ")
            ));
        }
        lines
    }

    /// The last line: `verified: 1000 of ...`.
    #[must_use]
    pub fn summary(&self) -> String {
        let loaded: u64 = self.namespaces.values().map(|count| count.loaded).sum();
        let namespaces = match self.namespaces.len() {
            1 => "1 namespace".to_owned(),
            many => format!("{many} namespaces"),
        };
        let records = format!(
            "compared {} of {loaded} records in {namespaces} (sample {}, seed {}) in {:.1}s",
            self.records_compared, self.sample, self.seed, self.duration_seconds,
        );
        match self.verdict {
            Verdict::Verified => format!("verified: {records}"),
            Verdict::Differs => format!(
                "the index differs: {} differences; {records}",
                self.differences_found
            ),
            Verdict::TimedOut => format!("not verified in time: {records}"),
            Verdict::Stopped => format!("not verified: {records}"),
        }
    }
}

// === impl Difference ===

impl Difference {
    /// One line: where, what should be there, what is there, and what it was made of.
    #[must_use]
    pub fn words(&self) -> String {
        let id = match &self.id {
            Some(id) => format!(" {id}"),
            None => String::new(),
        };
        let source = match &self.source {
            None => String::new(),
            Some(Source { file, row, offset }) => match (row, offset) {
                (Some(row), _) => format!(" ({file}, row {row})"),
                (None, Some(offset)) => format!(" ({file}, offset {offset})"),
                (None, None) => format!(" ({file})"),
            },
        };
        format!(
            "differs: {}{id}, {}: expected {}, found {}{source}",
            self.namespace, self.field, self.expected, self.found
        )
    }
}
