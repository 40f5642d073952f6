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
//! request) > `grpc` (messages) > `index` (operations and rules) > `store` (redb). REST and the
//! control plane belong beside `grpc`, behind the same door.
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
mod discard;
mod door;
mod faults;
mod filter;
mod grpc;
mod index;
mod rules;
mod search;
mod serve;
mod store;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use vecload_proto::Vector;

use store::{Change, Target};

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
        let index = Arc::new(index::Index::open(options)?);
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
        serve::serve(&self.index, listener, shutdown).await
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
            store::Shape::Dense(dimension) => Some(dimension),
            store::Shape::Sparse => None,
        }
    }
}
