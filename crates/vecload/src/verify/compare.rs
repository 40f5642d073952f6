//! Fetching and comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::Fetched;
use vecload_source::Plan;

use super::reading::{Chunk, Content, Expected, Piece, Reader};
use super::report::{Difference, Source, VerifyReport};
use super::sample::Wanted;
use super::settle::{SETTLED_AFTER, Waits};
use super::{AT_ONCE, Prover};
use crate::dead_letters::Locator;
use crate::fingerprint::InputPrint;
use crate::namespace::wire_name;
use crate::sampling::{Kept, KeySample, content_hash};
use crate::settings::Sample;
use crate::stop::{ExitCode, StopReason};

/// How many records are looked at again, where it is not known whether the index is up to date.
const LOOKED_AT_AGAIN: usize = 1000;

/// What a piece of the source asks for.
enum Work {
    /// A row that is not what was loaded.
    Changed(Difference),
    /// Records to be fetched.
    Fetch(Chunk),
}

/// What came of it.
enum Outcome {
    Changed(Difference),
    /// Of each record of the chunk, in what it differs.
    Compared(Chunk, Vec<Vec<Difference>>),
}

impl Prover<'_> {
    /// Compares rows of the source with what the index returns.
    pub(crate) async fn compare_rows(
        &self,
        plan: &Arc<Plan>,
        wanted: Vec<Wanted>,
        unknown: &[String],
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let reader = Reader::new(Arc::clone(plan), wanted, self.rules.clone());
        self.compare(pieces(reader), unknown, report).await
    }

    /// Compares what the run kept of some records with what the index returns.
    pub(crate) async fn compare_kept(
        &self,
        sample: &KeySample,
        inputs: &[InputPrint],
        unknown: &[String],
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let most = match self.sample {
            Sample::All => usize::MAX,
            Sample::Rows(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
        };
        let mut by_namespace: BTreeMap<&str, Vec<Expected>> = BTreeMap::new();
        for (namespace, id, kept) in sample.first(most) {
            let records = by_namespace.entry(namespace).or_default();
            records.push(expected(id, kept, inputs));
        }
        let chunks = by_namespace.into_iter().flat_map(|(namespace, records)| {
            Chunk::of_records(&Arc::from(wire_name(namespace)), records)
        });
        let piece = Piece {
            chunks: chunks.collect(),
            differences: Vec::new(),
        };
        report.records_kept = Some(sample.len() as u64);
        let pieces = futures::stream::iter([Ok(piece)]);
        self.compare(pieces, unknown, report).await
    }

    /// Compares records with what the index returns. Those of the namespaces in `unknown` that differ are
    /// looked at again until nothing changes any more.
    async fn compare(
        &self,
        pieces: impl Stream<Item = Result<Piece, StopReason>>,
        unknown: &[String],
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let unknown: BTreeSet<&str> = unknown.iter().map(String::as_str).collect();
        let mut late: Vec<(Arc<str>, Expected)> = Vec::new();
        let mut compared = std::pin::pin!(
            pieces
                .map_ok(|piece| futures::stream::iter(work_of(piece)).map(Ok))
                .try_flatten()
                .map(|work| self.perform(work))
                .buffer_unordered(AT_ONCE)
        );
        while let Some(outcome) = compared.next().await {
            let (chunk, differences) = match outcome? {
                Outcome::Compared(chunk, differences) => (chunk, differences),
                Outcome::Changed(changed) => {
                    report.records_compared += 1;
                    report.differs(changed);
                    continue;
                }
            };
            report.records_compared += chunk.records.len() as u64;
            let may_be_late = unknown.contains(chunk.name());
            let namespace = Arc::clone(&chunk.namespace);
            for (record, found) in chunk.records.into_iter().zip(differences) {
                if may_be_late && !found.is_empty() && late.len() < LOOKED_AT_AGAIN {
                    late.push((Arc::clone(&namespace), record));
                } else {
                    found.into_iter().for_each(|found| report.differs(found));
                }
            }
        }
        self.look_again(late, report).await
    }

    async fn perform(&self, work: Result<Work, StopReason>) -> Result<Outcome, StopReason> {
        match work? {
            Work::Changed(difference) => Ok(Outcome::Changed(difference)),
            Work::Fetch(chunk) => {
                let differences = self.compare_chunk(&chunk).await?;
                Ok(Outcome::Compared(chunk, differences))
            }
        }
    }

    /// Fetches a chunk, and says of each record in what it differs.
    async fn compare_chunk(&self, chunk: &Chunk) -> Result<Vec<Vec<Difference>>, StopReason> {
        let ids = || chunk.records.iter().map(|record| record.id.clone());
        let question = |timeout| {
            let ids: Vec<String> = ids().collect();
            self.client.fetch(&chunk.namespace, ids, timeout)
        };
        let mut random = StdRng::seed_from_u64(self.seed);
        let fetched = self.ask(&mut random, question).await?;
        let records = chunk.records.iter();
        Ok(records
            .map(|record| differences(chunk.name(), record, &fetched))
            .collect())
    }

    /// Looks again at records that differ, until they agree or nothing has changed for a while.
    async fn look_again(
        &self,
        mut late: Vec<(Arc<str>, Expected)>,
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let mut waits = Waits::new();
        let (mut since, mut before) = (Instant::now(), late.len());
        let mut found = Vec::new();
        while !late.is_empty() {
            self.pause(waits.next()).await?;
            late.sort_by(|a, b| a.0.cmp(&b.0));
            let mut again = Vec::new();
            found.clear();
            for group in late.chunk_by(|a, b| a.0 == b.0) {
                let records = group.iter().map(|(_, record)| record.clone()).collect();
                for chunk in Chunk::of_records(&group[0].0, records) {
                    let differences = self.compare_chunk(&chunk).await?;
                    for (record, differences) in chunk.records.into_iter().zip(differences) {
                        if !differences.is_empty() {
                            again.push((Arc::clone(&chunk.namespace), record));
                            found.extend(differences);
                        }
                    }
                }
            }
            late = again;
            if late.len() != before {
                (since, before) = (Instant::now(), late.len());
            }
            if since.elapsed() >= SETTLED_AFTER {
                break;
            }
        }
        found.into_iter().for_each(|found| report.differs(found));
        Ok(())
    }
}

fn work_of(piece: Piece) -> Vec<Work> {
    let changed = piece.differences.into_iter().map(Work::Changed);
    changed
        .chain(piece.chunks.into_iter().map(Work::Fetch))
        .collect()
}

/// What is known of a record that something is kept of.
fn expected(id: &str, kept: Kept, inputs: &[InputPrint]) -> Expected {
    let input = inputs.get(kept.place.input as usize);
    let is_stream = input.is_some_and(InputPrint::is_stream);
    let (row, offset) = match kept.locator {
        Locator::Row(row) => (Some(row), None),
        // A stream is read as one, so that its rows are numbered too.
        Locator::Offset(offset) => (is_stream.then_some(kept.place.row), Some(offset)),
    };
    Expected {
        id: id.to_owned(),
        content: Content::Hash {
            hash: kept.hash,
            bytes: kept.bytes as usize,
        },
        source: Source {
            file: input.map(|input| input.name.clone()).unwrap_or_default(),
            row,
            offset,
        },
    }
}

/// The rows, read on threads that may wait.
fn pieces(reader: Reader) -> impl Stream<Item = Result<Piece, StopReason>> {
    futures::stream::try_unfold(reader, read_piece)
}

async fn read_piece(mut reader: Reader) -> Result<Option<(Piece, Reader)>, StopReason> {
    let read = tokio::task::spawn_blocking(move || {
        let piece = reader.next();
        piece.map(|piece| piece.map(|piece| (piece, reader)))
    });
    match read.await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => {
            let message = format!("the source cannot be read again: {error}");
            Err(StopReason::new("unreadable", ExitCode::Refused, message))
        }
        Err(error) => {
            let message = format!("the reader panicked: {error}; please report this");
            Err(StopReason::new("panic", ExitCode::Bug, message))
        }
    }
}

fn differences(namespace: &str, record: &Expected, fetched: &Fetched) -> Vec<Difference> {
    let difference = |field: String, expected: String, found: String| Difference {
        namespace: namespace.to_owned(),
        id: Some(record.id.clone()),
        field,
        expected,
        found,
        source: Some(record.source.clone()),
    };
    let Some(stored) = fetched.records.get(&record.id) else {
        let (expected, found) = ("the record".to_owned(), "nothing".to_owned());
        return vec![difference("record".to_owned(), expected, found)];
    };
    let wire = match &record.content {
        Content::Wire(wire) => wire,
        Content::Hash { hash, .. } => {
            let found = content_hash(stored);
            if found == *hash {
                return Vec::new();
            }
            let text = |hash: u128| format!("a record with the hash {hash:032x}");
            return vec![difference("content".to_owned(), text(*hash), text(found))];
        }
    };
    match stored.differences(wire) {
        Ok(found) => found
            .into_iter()
            .map(|found| difference(found.field, found.expected, found.found))
            .collect(),
        // The bytes are this program's own.
        Err(error) => vec![difference(
            "record".to_owned(),
            "bytes of a record".to_owned(),
            error.to_string(),
        )],
    }
}
