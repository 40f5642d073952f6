//! The store of one index: records, namespaces and what the index is, in one redb file.
//!
//! Guarantees: what was acknowledged survives `kill -9` and power loss; a write is all or nothing;
//! readers see whole writes; one process at a time. One thread (`writer`) makes all changes, many
//! requests to one durable transaction. Readers take snapshots and are never blocked by it.
//!
//! redb, since it is one file, pure Rust, copy-on-write without a log to replay, and its keys are
//! sorted, which gives listings by prefix and one contiguous range per namespace to search. The
//! table of namespaces is also held in memory, as committed: it is small and asked for all the time.

mod delay;
mod edit;
mod error;
mod record;
mod writer;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use vecload_proto::Vector;

use crate::audit::Ledger;
use crate::search::Metric;
use delay::Delayed;

pub(crate) use edit::{Patch, Target};
pub use error::{OpenError, StoreError};
pub(crate) use record::Row;
pub(crate) use writer::{Change, Prepared, Written};

const FILE: &str = "index.redb";
/// Raised when a stored file must be read differently.
const FORMAT: &str = "1";
/// Pages of the file that redb keeps; the rest is left to the system's page cache.
const CACHE_BYTES: usize = 256 << 20;
/// Where the backend is memory itself, a cache would be a second copy.
const CACHE_BYTES_IN_MEMORY: usize = 8 << 20;
/// Writes that wait for the thread. Each is at most one request; the door bounds how many exist.
const QUEUE: usize = 64;

/// What the index is: `format`, `metric`, `shape`.
const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");
/// Name to number, LSN, records, bytes, live.
const NAMESPACES: TableDefinition<'_, &str, (u32, u64, u64, u64, bool)> =
    TableDefinition::new("namespaces");
/// See `record`.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Dense vectors of a dimension, perhaps with sparse values beside them.
    Dense(u32),
    /// Sparse vectors only.
    Sparse,
}

impl Shape {
    fn to_text(self) -> String {
        match self {
            Self::Dense(dimension) => dimension.to_string(),
            Self::Sparse => "sparse".to_owned(),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "sparse" => Some(Self::Sparse),
            _ => text.parse().ok().map(Self::Dense),
        }
    }
}

/// What is known of a namespace without looking at its records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Its number in the keys of its records.
    number: u32,
    /// The number of the last write to it.
    pub(crate) lsn: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// A deleted namespace is remembered, so that its LSN goes on when it comes back.
    live: bool,
}

/// The committed state that is held in memory.
#[derive(Debug, Clone)]
struct State {
    shape: Option<Shape>,
    namespaces: BTreeMap<String, Namespace>,
    /// The highest number that a namespace has.
    last_number: u32,
}

/// An open store.
pub(crate) struct Store {
    shared: Arc<Shared>,
    metric: Metric,
    /// `None` once closing has begun.
    jobs: Option<async_channel::Sender<writer::Job>>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    database: Database,
    state: RwLock<State>,
    ledger: Arc<Ledger>,
    /// What readers see, where it is not what was committed last.
    delayed: Option<Delayed>,
}

impl Store {
    pub(crate) fn open(
        dir: Option<&Path>,
        shape: Option<Shape>,
        metric: Option<Metric>,
        indexing_delay: Duration,
        ledger: Arc<Ledger>,
    ) -> Result<Self, OpenError> {
        let (database, file) = open_database(dir)?;
        let in_file = |source| OpenError::Store {
            file: file.clone(),
            source,
        };
        let (stored_metric, state) = load(&database, shape, metric).map_err(in_file)?;
        let dir = dir.unwrap_or(Path::new("memory"));
        let mismatch = |setting, stored: String, asked: String| OpenError::Mismatch {
            dir: dir.to_owned(),
            setting,
            stored,
            asked,
        };
        if let Some(asked) = metric.filter(|asked| *asked != stored_metric) {
            return Err(mismatch(
                "metric",
                stored_metric.to_string(),
                asked.to_string(),
            ));
        }
        if let (Some(stored), Some(asked)) = (state.shape, shape)
            && stored != asked
        {
            return Err(mismatch("dimension", stored.to_text(), asked.to_text()));
        }
        let delayed = match indexing_delay {
            Duration::ZERO => None,
            delay => Some(Delayed::new(delay, &database, &state.namespaces).map_err(in_file)?),
        };
        let shared = Arc::new(Shared {
            database,
            state: RwLock::new(state),
            ledger,
            delayed,
        });
        let (jobs, queue) = async_channel::bounded(QUEUE);
        let writer = std::thread::Builder::new()
            .name("local-index-writer".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(&shared, &queue)
            })
            .map_err(|source| OpenError::Io {
                dir: dir.to_owned(),
                source,
            })?;
        Ok(Self {
            shared,
            metric: stored_metric,
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) fn shape(&self) -> Option<Shape> {
        self.shared.read_state(|state| state.shape)
    }

    /// A namespace as last committed, if it exists.
    pub(crate) fn namespace(&self, name: &str) -> Option<Namespace> {
        self.shared
            .read_state(|state| live(&state.namespaces, name))
    }

    /// All namespaces as last committed.
    pub(crate) fn namespaces(&self) -> BTreeMap<String, Namespace> {
        self.shared.read_state(|state| all_live(&state.namespaces))
    }

    /// A namespace as readers see it, if they do.
    pub(crate) fn seen_namespace(&self, name: &str) -> Option<Namespace> {
        match self.shared.seen() {
            None => self.namespace(name),
            Some(moment) => live(&moment.namespaces, name),
        }
    }

    /// All namespaces as readers see them.
    pub(crate) fn seen_namespaces(&self) -> BTreeMap<String, Namespace> {
        match self.shared.seen() {
            None => self.namespaces(),
            Some(moment) => all_live(&moment.namespaces),
        }
    }

    /// Counts records that are acknowledged without being stored; returns the write's LSN.
    pub(crate) fn count_discarded(&self, namespace: &str, records: u64) -> u64 {
        let mut state = self
            .shared
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let row = match state.namespaces.get_mut(namespace) {
            Some(row) => row,
            None => state.namespaces.entry(namespace.to_owned()).or_default(),
        };
        row.live = true;
        row.lsn += 1;
        row.count += records;
        row.lsn
    }

    /// Makes a change durable. The inner result is a refusal that depends on the index's state.
    pub(crate) async fn write(&self, namespace: &str, change: Change) -> writer::Answer {
        writer::submit(self.jobs.as_ref(), namespace, change).await
    }

    pub(crate) fn record(&self, namespace: &str, id: &str) -> Result<Option<Vector>, StoreError> {
        let Some(snapshot) = self.committed(namespace)? else {
            return Ok(None);
        };
        snapshot.get(id.as_bytes(), |row| row.vector(id.to_owned()))
    }

    /// What readers see of a namespace at this instant; `None` if it does not exist for them.
    pub(crate) fn snapshot(&self, namespace: &str) -> Result<Option<Snapshot>, StoreError> {
        let Some(moment) = self.shared.seen() else {
            return self.committed(namespace);
        };
        let Some(row) = live(&moment.namespaces, namespace) else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            records: moment.records.open_table(RECORDS)?,
            number: row.number,
            lsn: row.lsn,
        }))
    }

    fn committed(&self, namespace: &str) -> Result<Option<Snapshot>, StoreError> {
        // First the LSN, then the data: they may be newer than it says, never older.
        let Some(row) = self.namespace(namespace) else {
            return Ok(None);
        };
        let transaction = self.shared.database.begin_read()?;
        Ok(Some(Snapshot {
            records: transaction.open_table(RECORDS)?,
            number: row.number,
            lsn: row.lsn,
        }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The thread holds the database: only when it has ended can the directory be opened again.
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the local index panicked");
        }
    }
}

impl Shared {
    /// What readers see, where it is not what was committed last.
    fn seen(&self) -> Option<Arc<delay::Moment>> {
        self.delayed.as_ref().and_then(Delayed::seen)
    }

    fn read_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn live(namespaces: &BTreeMap<String, Namespace>, name: &str) -> Option<Namespace> {
    namespaces.get(name).filter(|row| row.live).copied()
}

fn all_live(namespaces: &BTreeMap<String, Namespace>) -> BTreeMap<String, Namespace> {
    let live = namespaces.iter().filter(|(_, row)| row.live);
    live.map(|(name, row)| (name.clone(), *row)).collect()
}

/// A namespace at one instant.
pub(crate) struct Snapshot {
    records: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    number: u32,
    /// The last write that is surely in it.
    pub(crate) lsn: u64,
}

impl Snapshot {
    /// Reads one record.
    pub(crate) fn get<T>(
        &self,
        id: &[u8],
        read: impl FnOnce(Row<'_>) -> Result<T, prost::DecodeError>,
    ) -> Result<Option<T>, StoreError> {
        let key = record::key(self.number, id);
        let Some(value) = self.records.get(key.as_slice())? else {
            return Ok(None);
        };
        let row = Row::parse(value.value()).ok_or_else(|| StoreError::damaged(&key))?;
        read(row).map(Some).map_err(|_| StoreError::damaged(&key))
    }

    /// Visits records in the order of their ids, beginning after an id, until told to stop.
    pub(crate) fn scan(
        &self,
        after: Option<&[u8]>,
        visit: impl FnMut(&[u8], Row<'_>) -> Result<Visit, prost::DecodeError>,
    ) -> Result<(), StoreError> {
        let first = after.map(|id| record::key(self.number, id));
        let range = record::keys(self.number);
        let start = first
            .as_deref()
            .map_or(Bound::Included(range.start.as_slice()), Bound::Excluded);
        let range = (start, Bound::Excluded(range.end.as_slice()));
        scan(self.records.range::<&[u8]>(range)?, visit)
    }

    /// Visits records whose ids begin with a prefix, in order, beginning after an id.
    pub(crate) fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8]) -> Visit,
    ) -> Result<(), StoreError> {
        let first = after.filter(|after| *after >= prefix);
        let start = record::key(self.number, first.unwrap_or(prefix));
        let start = if first.is_some() {
            Bound::Excluded(start.as_slice())
        } else {
            Bound::Included(start.as_slice())
        };
        let end = record::keys(self.number).end;
        let range = (start, Bound::Excluded(end.as_slice()));
        scan(self.records.range::<&[u8]>(range)?, |id, _| {
            Ok(if id.starts_with(prefix) {
                visit(id)
            } else {
                Visit::Stop
            })
        })
    }
}

/// Whether a scan goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    Continue,
    Stop,
}

fn scan(
    range: redb::Range<'_, &'static [u8], &'static [u8]>,
    mut visit: impl FnMut(&[u8], Row<'_>) -> Result<Visit, prost::DecodeError>,
) -> Result<(), StoreError> {
    for entry in range {
        let (key, value) = entry?;
        let key = key.value();
        let row = Row::parse(value.value()).ok_or_else(|| StoreError::damaged(key))?;
        match visit(record::id(key), row) {
            Ok(Visit::Continue) => {}
            Ok(Visit::Stop) => break,
            Err(_) => return Err(StoreError::damaged(key)),
        }
    }
    Ok(())
}

fn open_database(dir: Option<&Path>) -> Result<(Database, PathBuf), OpenError> {
    let mut builder = Database::builder();
    let Some(dir) = dir else {
        let file = PathBuf::from("memory");
        return builder
            .set_cache_size(CACHE_BYTES_IN_MEMORY)
            .create_with_backend(InMemoryBackend::new())
            .map(|database| (database, file.clone()))
            .map_err(|error| OpenError::Store {
                file,
                source: error.into(),
            });
    };
    std::fs::create_dir_all(dir).map_err(|source| OpenError::Io {
        dir: dir.to_owned(),
        source,
    })?;
    let file = dir.join(FILE);
    match builder.set_cache_size(CACHE_BYTES).create(&file) {
        Ok(database) => Ok((database, file)),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse {
            dir: dir.to_owned(),
        }),
        Err(error) => Err(OpenError::Store {
            file,
            source: error.into(),
        }),
    }
}

/// Reads what the index is and has, writing it where it is new.
fn load(
    database: &Database,
    shape: Option<Shape>,
    metric: Option<Metric>,
) -> Result<(Metric, State), StoreError> {
    let transaction = database.begin_write()?;
    let (metric, state) = {
        let mut settings = transaction.open_table(SETTINGS)?;
        let mut setting = |name: &str, default: Option<String>| {
            let stored = settings.get(name)?.map(|text| text.value().to_owned());
            match (stored, default) {
                (Some(stored), _) => Ok(Some(stored)),
                (None, Some(default)) => {
                    settings.insert(name, default.as_str())?;
                    Ok(Some(default))
                }
                (None, None) => Ok::<_, StoreError>(None),
            }
        };
        let unknown = |name: &str, text: Option<String>| {
            let text = text.unwrap_or_default();
            StoreError::new(format!(
                "its {name} is '{text}', which this version does not know"
            ))
        };
        let format = setting("format", Some(FORMAT.to_owned()))?;
        if format.as_deref() != Some(FORMAT) {
            return Err(unknown("format", format));
        }
        let text = setting("metric", Some(metric.unwrap_or_default().to_string()))?;
        let metric = text
            .as_deref()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unknown("metric", text))?;
        let shape = match setting("shape", shape.map(Shape::to_text))? {
            None => None,
            Some(text) => {
                Some(Shape::from_text(&text).ok_or_else(|| unknown("shape", Some(text)))?)
            }
        };
        transaction.open_table(RECORDS)?;
        let mut namespaces = BTreeMap::new();
        let mut last_number = 0;
        for entry in transaction.open_table(NAMESPACES)?.iter()? {
            let (name, row) = entry?;
            let (number, lsn, count, bytes, live) = row.value();
            last_number = last_number.max(number);
            let row = Namespace {
                number,
                lsn,
                count,
                bytes,
                live,
            };
            namespaces.insert(name.value().to_owned(), row);
        }
        let state = State {
            shape,
            namespaces,
            last_number,
        };
        (metric, state)
    };
    transaction.commit()?;
    Ok((metric, state))
}
