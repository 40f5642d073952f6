//! The one thread that changes the store: group commit.
//!
//! Requests queue; the thread takes all that wait (within bounds) into one transaction, makes it
//! durable once, and only then answers each. Under concurrency the cost of a sync is shared; alone
//! a request pays one. A request that is refused changes nothing; a transaction that fails answers
//! every request in it with the failure. Namespace numbers and LSNs are given here and nowhere
//! else, and the audit is written here, in the order of the store.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use redb::WriteTransaction;
use tokio::sync::oneshot;
use tonic::Code;
use vecload_proto::Vector;

use super::edit::{Patch, Records, Target, remove, size, update};
use super::{NAMESPACES, Namespace, RECORDS, SETTINGS, Shape, Shared, StoreError, record};
use crate::rules::{self, Refusal};

/// One transaction takes at most this many bytes of records: it bounds the memory of a commit and
/// the time that the first of the group waits for it.
const GROUP_BYTES: usize = 32 << 20;

pub(crate) type Answer = Result<Written, Refusal>;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its number in its namespace; 0 if nothing was written.
    pub(crate) lsn: u64,
    /// Records written, changed or removed.
    pub(crate) records: u64,
}

/// A change to one namespace.
pub(crate) enum Change {
    Upsert(Prepared),
    Delete(Target),
    Update(Target, Patch),
    CreateNamespace,
    DeleteNamespace,
}

/// Records that keep all rules, in the form of the store.
pub(crate) struct Prepared {
    /// The kind of index that all of them fit.
    pub(crate) shape: Shape,
    ids: Vec<String>,
    rows: Vec<u8>,
    /// Where each row ends in `rows`.
    ends: Vec<usize>,
}

impl Prepared {
    pub(crate) fn new(shape: Shape, vectors: Vec<Vector>) -> Self {
        let mut prepared = Self {
            shape,
            ids: Vec::with_capacity(vectors.len()),
            rows: Vec::new(),
            ends: Vec::with_capacity(vectors.len()),
        };
        for vector in vectors {
            record::encode(&vector, &mut prepared.rows);
            prepared.ends.push(prepared.rows.len());
            prepared.ids.push(vector.id);
        }
        prepared
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let rows = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.rows[start..*end]);
        self.ids.iter().map(String::as_str).zip(rows)
    }
}

/// A change and who waits for it.
pub(crate) struct Job {
    namespace: String,
    change: Change,
    answer: oneshot::Sender<Answer>,
}

impl Job {
    fn bytes(&self) -> usize {
        match &self.change {
            Change::Upsert(prepared) => prepared.rows.len(),
            _ => 0,
        }
    }
}

/// Hands a change to the thread and waits until it is durable.
pub(crate) async fn submit(
    jobs: Option<&async_channel::Sender<Job>>,
    namespace: &str,
    change: Change,
) -> Answer {
    let stopped = || Refusal::new(Code::Unavailable, "the local index is shutting down");
    let (answer, written) = oneshot::channel();
    let job = Job {
        namespace: namespace.to_owned(),
        change,
        answer,
    };
    let jobs = jobs.ok_or_else(stopped)?;
    jobs.send(job).await.map_err(|_| stopped())?;
    written.await.map_err(|_| stopped())?
}

/// Writes until the last sender is gone.
pub(crate) fn run(shared: &Shared, queue: &async_channel::Receiver<Job>) {
    while let Ok(first) = queue.recv_blocking() {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while bytes < GROUP_BYTES
            && let Ok(job) = queue.try_recv()
        {
            bytes += job.bytes();
            group.push(job);
        }
        match commit(shared, &group) {
            Ok(answers) => {
                for (job, answer) in group.into_iter().zip(answers) {
                    // Who gave up waiting is not told; the write stands.
                    let _ = job.answer.send(answer);
                }
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                for job in group {
                    let _ = job.answer.send(Err(refusal.clone()));
                }
            }
        }
    }
}

/// Applies a group in one durable transaction and publishes the new state.
fn commit(shared: &Shared, group: &[Job]) -> Result<Vec<Answer>, StoreError> {
    let transaction = shared.database.begin_write()?;
    let mut pending = Pending::new(shared);
    let mut answers = Vec::with_capacity(group.len());
    {
        let mut records = transaction.open_table(RECORDS)?;
        for job in group {
            answers.push(pending.apply(&mut records, &job.namespace, &job.change)?);
        }
    }
    let Pending {
        shape,
        new_shape,
        touched,
        last_number,
        ..
    } = pending;
    save(&transaction, shape.filter(|_| new_shape), &touched)?;
    transaction.commit()?;
    shared.ledger.commits.one();

    let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
    state.shape = shape;
    state.last_number = last_number;
    state.namespaces.extend(touched);
    if let Some(delayed) = &shared.delayed {
        delayed.keep(&shared.database, &state.namespaces)?;
    }
    drop(state);
    for (job, answer) in group.iter().zip(&answers) {
        if let (Change::Upsert(prepared), Ok(_)) = (&job.change, answer) {
            shared.ledger.wrote(&job.namespace, &prepared.ids);
        }
    }
    Ok(answers)
}

fn save(
    transaction: &WriteTransaction,
    new_shape: Option<Shape>,
    touched: &BTreeMap<String, Namespace>,
) -> Result<(), StoreError> {
    if let Some(shape) = new_shape {
        let mut settings = transaction.open_table(SETTINGS)?;
        settings.insert("shape", shape.to_text().as_str())?;
    }
    let mut namespaces = transaction.open_table(NAMESPACES)?;
    for (name, row) in touched {
        let row = (row.number, row.lsn, row.count, row.bytes, row.live);
        namespaces.insert(name.as_str(), row)?;
    }
    Ok(())
}

/// The state as it will be when the transaction is committed.
struct Pending<'a> {
    shared: &'a Shared,
    shape: Option<Shape>,
    new_shape: bool,
    touched: BTreeMap<String, Namespace>,
    last_number: u32,
}

impl<'a> Pending<'a> {
    fn new(shared: &'a Shared) -> Self {
        let (shape, last_number) = shared.read_state(|state| (state.shape, state.last_number));
        Self {
            shared,
            shape,
            new_shape: false,
            touched: BTreeMap::new(),
            last_number,
        }
    }

    /// The namespace as it stands after what was applied so far, deleted ones included.
    fn find(&self, name: &str) -> Option<Namespace> {
        self.touched.get(name).copied().or_else(|| {
            self.shared
                .read_state(|state| state.namespaces.get(name).copied())
        })
    }

    fn existing(&self, name: &str) -> Result<Namespace, Refusal> {
        self.find(name)
            .filter(|row| row.live)
            .ok_or_else(|| Refusal::new(Code::NotFound, "Namespace not found"))
    }

    fn find_or_create(&mut self, name: &str) -> Namespace {
        let mut row = self.find(name).unwrap_or_default();
        if row.number == 0 {
            self.last_number += 1;
            row.number = self.last_number;
        }
        row.live = true;
        row
    }

    /// Keeps a changed namespace and numbers the write.
    fn wrote(&mut self, name: &str, mut row: Namespace, records: u64) -> Written {
        row.lsn += 1;
        self.touched.insert(name.to_owned(), row);
        Written {
            lsn: row.lsn,
            records,
        }
    }

    fn apply(
        &mut self,
        records: &mut Records<'_>,
        name: &str,
        change: &Change,
    ) -> Result<Answer, StoreError> {
        Ok(match change {
            Change::Upsert(prepared) => {
                if let Err(refusal) = self.fit(prepared.shape) {
                    return Ok(Err(refusal));
                }
                let mut row = self.find_or_create(name);
                // Of an id that comes twice in a request the last copy wins and both are counted:
                // undocumented, and what applying the records one by one would do.
                for (id, value) in prepared.rows() {
                    let key = record::key(row.number, id.as_bytes());
                    let old = records.insert(key.as_slice(), value)?;
                    match old {
                        None => row.count += 1,
                        Some(old) => row.bytes -= size(id.len(), old.value().len()),
                    }
                    row.bytes += size(id.len(), value.len());
                }
                Ok(self.wrote(name, row, prepared.ids.len() as u64))
            }
            Change::Delete(target) => match self.existing(name) {
                Err(refusal) => Err(refusal),
                Ok(mut row) => {
                    let removed = remove(records, &mut row, target)?;
                    Ok(self.wrote(name, row, removed))
                }
            },
            Change::Update(target, patch) => match self.existing(name) {
                Err(refusal) => Err(refusal),
                Ok(mut row) => match update(records, &mut row, target, patch)? {
                    Err(refusal) => Err(refusal),
                    Ok(records) if patch.dry_run => Ok(Written { lsn: 0, records }),
                    Ok(records) => Ok(self.wrote(name, row, records)),
                },
            },
            Change::CreateNamespace => match self.existing(name) {
                // Own words.
                Ok(_) => Err(Refusal::new(
                    Code::AlreadyExists,
                    format!("Namespace {name} already exists"),
                )),
                Err(_) => {
                    let row = self.find_or_create(name);
                    Ok(self.wrote(name, row, 0))
                }
            },
            Change::DeleteNamespace => match self.existing(name) {
                Err(refusal) => Err(refusal),
                Ok(mut row) => {
                    let removed = remove(records, &mut row, &Target::All)?;
                    row.live = false;
                    Ok(self.wrote(name, row, removed))
                }
            },
        })
    }

    /// Checks that records fit the index, which the first write shapes. Two first writes may have
    /// been checked against no shape at all; here they meet.
    fn fit(&mut self, wanted: Shape) -> Result<(), Refusal> {
        match (self.shape, wanted) {
            (None, _) => {
                self.shape = Some(wanted);
                self.new_shape = true;
                Ok(())
            }
            (Some(shape), wanted) if shape == wanted => Ok(()),
            (Some(Shape::Dense(dimension)), Shape::Dense(length)) => {
                rules::check_dimension(length as usize, dimension)
            }
            (Some(Shape::Dense(dimension)), Shape::Sparse) => rules::check_dimension(0, dimension),
            (Some(Shape::Sparse), _) => Err(Refusal::invalid(
                "Index configuration does not support dense values",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
