//! The embedded, Pinecone-compatible index server.
//!
//! A real server rather than a mock: official SDKs write to it, query it and find their data again
//! after a restart. It enforces the service's limits with the service's words, keeps what it
//! acknowledged through `kill -9`, answers queries by exact search, and can be told to misbehave
//! by seeded [`Faults`], or to serve under [`Conditions`] such as quotas and outages, while an
//! [`Audit`] records what was applied.
//!
//! It knows only the contract (`vecload-proto`) and decodes with plain prost, so it cannot share
//! the loader's mistakes. The layers: `serve` and `wire` (connections) > `door` (what holds for every
//! request) > `grpc` (messages), reached by `rest` too > `index` (operations and rules) > `store` (redb).
//! `control` makes and keeps named indexes, each a whole of these; [`LocalService`] is all of a directory.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use vecload_local_index::{LocalIndex, Options};
//! use vecload_proto::vector_service_client::VectorServiceClient;
//! use vecload_proto::{UpsertRequest, Vector};
//!
//! let index = LocalIndex::open(Options::default())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = format!("http://{}", listener.local_addr()?);
//! let serving = index.clone();
//! tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
//!
//! let channel = tonic::transport::Endpoint::from_shared(address)?.connect().await?;
//! let record = Vector { id: "a".into(), values: vec![0.5, 1.0], ..Vector::default() };
//! let request = UpsertRequest { vectors: vec![record], namespace: "films".into() };
//! VectorServiceClient::new(channel).upsert(request).await?;
//! assert_eq!(index.count("films"), 1);
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod audit;
mod conditions;
mod control;
mod discard;
mod door;
mod faults;
mod filter;
mod grpc;
mod index;
mod rest;
mod rules;
mod search;
mod serve;
mod store;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vecload_proto::Vector;

use control::Control;
use store::{Change, Shape, Target};

pub use audit::{Audit, Counts};
pub use conditions::{
    Conditions, Limit, Model, NamespaceConditions, NamespaceRefusal, Outage, OutageKind, Quota,
    Reply, ScenarioFile,
};
pub use faults::{Ending, EndingKind, Faults};
pub use search::Metric;
pub use store::{OpenError, StoreError};

/// What kind of index to open, and how it should behave.
#[derive(Clone)]
pub struct Options {
    /// Where the data stand; the folder is created if need be. `None`: in memory, gone at the end.
    pub data_dir: Option<PathBuf>,
    /// Answer upserts without storing them. Counts are kept; searches find nothing.
    pub discard: bool,
    /// How to misbehave.
    pub faults: Faults,
    /// Quotas, latency and outages. `None`: as fast as it can.
    pub conditions: Option<Conditions>,
    /// When given, requests must carry this key in the header `api-key`.
    pub api_key: Option<String>,
    /// Makes a dense index of this dimension. `None`: what the store has, or else what the first
    /// write brings (its dimension; or a sparse index, if it brings only sparse values).
    pub dimension: Option<u32>,
    /// The metric of the index. `None`: what the store has, or else dotproduct.
    pub metric: Option<Metric>,
    /// The name by which messages call the index.
    pub name: String,
    /// How long after it was answered a write is seen by queries and other reads. Zero: at once.
    pub indexing_delay: Duration,
    /// How long an index that the control plane has created is not ready.
    pub initializing_for: Duration,
    /// Keep the order of writes per id for [`LocalIndex::audit`], some 100 bytes per record.
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            discard: false,
            faults: Faults::default(),
            conditions: None,
            api_key: None,
            dimension: None,
            metric: None,
            name: "local".to_owned(),
            indexing_delay: Duration::ZERO,
            initializing_for: Duration::ZERO,
            audit: true,
        }
    }
}

/// Why a write was not carried out, in the words that a client would be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl From<rules::Refusal> for Refused {
    fn from(refusal: rules::Refusal) -> Self {
        Self(refusal.message)
    }
}

/// An open index. Clones share it; the store is closed when the last one is gone.
#[derive(Clone)]
pub struct LocalIndex {
    index: Arc<index::Index>,
}

impl LocalIndex {
    /// Opens an index, creating it where there is none.
    ///
    /// # Errors
    ///
    /// If the folder is in use by another process or cannot be used, holds an index of another
    /// dimension or metric, or if the options contradict each other.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let shape = options.dimension.map(Shape::Dense);
        Self::open_as(options, shape)
    }

    /// Opens an index of a kind, or of the one that it has.
    fn open_as(options: Options, shape: Option<Shape>) -> Result<Self, OpenError> {
        let index = Arc::new(index::Index::open(options, shape)?);
        Ok(Self { index })
    }

    /// Serves the index on a listener until `shutdown` is ready, then lets requests in flight
    /// finish (for some seconds at most) and returns when none is left.
    ///
    /// # Errors
    ///
    /// If the listener fails for good.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        serve::serve(&self.index, None, listener, shutdown).await
    }

    /// A copy of the books: what arrived, what was applied, in what order.
    pub fn audit(&self) -> Audit {
        self.index.ledger.snapshot()
    }

    /// Reads one record as it stands.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn record(&self, namespace: &str, id: &str) -> Result<Option<Vector>, StoreError> {
        self.index.store.record(rules::canonical(namespace), id)
    }

    /// Writes one record behind the back of all clients, by the rules that hold for them too. Tests
    /// damage an index with it.
    ///
    /// # Errors
    ///
    /// What a client would be told.
    pub async fn put(&self, namespace: &str, record: Vector) -> Result<(), Refused> {
        let prepared = self.index.prepare_upsert(vec![record])?;
        self.write(namespace, Change::Upsert(prepared)).await
    }

    /// Removes one record, likewise.
    ///
    /// # Errors
    ///
    /// What a client would be told.
    pub async fn remove(&self, namespace: &str, id: &str) -> Result<(), Refused> {
        let ids = Target::Ids(vec![id.to_owned()]);
        self.write(namespace, Change::Delete(ids)).await
    }

    async fn write(&self, namespace: &str, change: Change) -> Result<(), Refused> {
        let namespace = rules::canonical(namespace);
        self.index.store.write(namespace, change).await?;
        Ok(())
    }

    /// The number of records in a namespace; with `discard` of those that were acknowledged.
    pub fn count(&self, namespace: &str) -> u64 {
        self.index
            .store
            .namespace(rules::canonical(namespace))
            .map_or(0, |namespace| namespace.count)
    }

    /// The names of all namespaces, sorted; `""` is the default one.
    pub fn namespaces(&self) -> Vec<String> {
        self.index.store.namespaces().into_keys().collect()
    }

    /// The dimension of the index, once known; `None` for a sparse one.
    pub fn dimension(&self) -> Option<u32> {
        match self.index.store.shape()? {
            Shape::Dense(dimension) => Some(dimension),
            Shape::Sparse => None,
        }
    }
}

/// All that a directory holds: named indexes with the control plane that makes them, and the one index
/// without a name that needs none.
///
/// The control plane and the index without a name share an address; each named index has its own, which
/// the control plane tells.
pub struct LocalService {
    unnamed: LocalIndex,
    control: Arc<Control>,
}

impl LocalService {
    /// Opens the indexes of a directory, or a service in memory. Options that say how to behave hold for
    /// every index; `name`, `dimension` and `metric` are those of the index without a name.
    ///
    /// # Errors
    ///
    /// As [`LocalIndex::open`], for each of them.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        // First, since its lock is that of the directory.
        let unnamed = LocalIndex::open(options.clone())?;
        let control = Arc::new(Control::open(options)?);
        Ok(Self { unnamed, control })
    }

    /// The index without a name.
    pub fn unnamed(&self) -> &LocalIndex {
        &self.unnamed
    }

    /// A named index, if there is one.
    pub fn index(&self, name: &str) -> Option<LocalIndex> {
        self.control.index(name)
    }

    /// Serves the control plane and the index without a name on a listener, and named indexes on ports of
    /// their own, until `shutdown` is ready; then as [`LocalIndex::serve`].
    ///
    /// # Errors
    ///
    /// If a listener fails for good, or no port is free for an index.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        self.control.start(listener.local_addr()?).await?;
        let control = Some(self.control.clone());
        let served = serve::serve(&self.unnamed.index, control, listener, shutdown).await;
        self.control.stop().await;
        served
    }
}
