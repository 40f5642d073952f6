//! Fetching and comparing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::Fetched;
use vecload_source::Plan;

use super::reading::{Chunk, Expected, Piece, Reader};
use super::report::{Difference, VerifyReport};
use super::sample::Wanted;
use super::settle::{SETTLED_AFTER, Waits};
use super::{AT_ONCE, Prover};
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
    /// Compares rows of the source with what the index returns. Records of the namespaces in `unknown`
    /// that differ are looked at again until nothing changes any more.
    pub(crate) async fn compare(
        &self,
        plan: &Arc<Plan>,
        wanted: Vec<Wanted>,
        unknown: &[String],
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let unknown: BTreeSet<&str> = unknown.iter().map(String::as_str).collect();
        let reader = Reader::new(Arc::clone(plan), wanted, self.rules.clone());
        let mut late: Vec<(Arc<str>, Expected)> = Vec::new();
        let mut compared = std::pin::pin!(
            pieces(reader)
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
    match stored.differences(&record.wire) {
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
