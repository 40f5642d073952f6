//! Object stores: `s3:// gs:// az:// abfs:// http:// https://`.
//!
//! Objects are read by ranges of some megabytes, each fetched whole by a small runtime of its own and held
//! in memory: no connection is open while a reader waits for the rest of the pipeline, however slow that is. Every
//! range is asked for in the version that was found, and an answer of another one is an error.
//! What is read ahead is bounded ([`Ahead`]) and part of what a plan says that reading takes.
//!
//! Credentials, regions, endpoints and proxies come from the environment, under the names that the cloud SDKs
//! use. What is printed of a URL has no query: in signed ones that is the secret.

mod ahead;
mod connect;
mod fault;
mod fetch;
mod folder;
mod url;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    ahead::{Ahead, AheadReader, Stretches, ahead_bytes},
    fault::Fault,
    url::{StoreUrl, is_url},
};
pub use self::{
    folder::{ObjectVersion, StoreFolder},
    url::without_secrets,
};

/// Threads that wait for stores, and take TLS off what comes.
const THREADS: usize = 2;

/// The stores that the inputs of a plan are in.
#[derive(Debug, Clone)]
pub(crate) struct Stores(Arc<Inner>);

struct Inner {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    http: connect::Http,
    /// By what is common to the URLs of a store.
    connected: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    /// Nothing is waited for any more.
    abandoned: CancellationToken,
}

/// A version of an object.
#[derive(Clone)]
pub struct Object {
    stores: Stores,
    store: Arc<dyn ObjectStore>,
    /// What it is called: its URL without a query.
    name: String,
    meta: ObjectMeta,
}

// === impl Stores ===

impl Stores {
    /// Makes what connections to stores need. `ca_file` has further certificates to be trusted, in PEM form.
    pub(crate) fn new(ca_file: Option<&PathBuf>) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("vecload-store")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the threads that read from stores: {error}"))?;
        Ok(Self(Arc::new(Inner {
            runtime: Some(runtime),
            http: connect::Http::new(ca_file)?,
            connected: Mutex::default(),
            abandoned: CancellationToken::new(),
        })))
    }

    /// Ends all waiting, now and later, with an error.
    pub(crate) fn abandon(&self) {
        self.0.abandoned.cancel();
    }

    /// Whether there is an object of this very name, and which.
    pub(crate) fn find(&self, url: &StoreUrl) -> Result<Option<Object>, Fault> {
        let store = self.store(url)?;
        let path = url.path()?;
        let found = {
            let store = Arc::clone(&store);
            let is_http = url.has_no_listing();
            self.wait(async move { fetch::find(&*store, &path, is_http).await })?
        };
        Ok(found.map(|meta| self.object(&store, url.shown(), meta)))
    }

    /// The objects below a prefix, which is a directory: in no particular order.
    pub(crate) fn list(&self, url: &StoreUrl) -> Result<Vec<Object>, Fault> {
        let store = self.store(url)?;
        let prefix = url.path()?;
        let metas: Vec<ObjectMeta> = {
            let store = Arc::clone(&store);
            self.wait(async move {
                let prefix = (!prefix.as_ref().is_empty()).then_some(&prefix);
                let found: Vec<_> = store
                    .list(prefix)
                    .try_collect()
                    .await
                    .map_err(|error| Fault::of(&error))?;
                Ok(found)
            })?
        };
        let objects = metas.into_iter().map(|meta| {
            let name = format!("{}/{}", url.root(), meta.location);
            self.object(&store, name, meta)
        });
        Ok(objects.collect())
    }

    fn object(&self, store: &Arc<dyn ObjectStore>, name: String, meta: ObjectMeta) -> Object {
        Object {
            stores: self.clone(),
            store: Arc::clone(store),
            name,
            meta,
        }
    }

    fn store(&self, url: &StoreUrl) -> Result<Arc<dyn ObjectStore>, Fault> {
        let key = url.store_key();
        let known = || {
            self.0
                .connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(store) = known().get(&key) {
            return Ok(Arc::clone(store));
        }
        let store = {
            let (url, http) = (url.clone(), self.0.http.clone());
            self.wait(async move { http.connect(&url).await })?
        };
        known().insert(key, Arc::clone(&store));
        Ok(store)
    }

    /// Waits for what the runtime is to do. Callers may be on a thread of another runtime, where tokio's own
    /// ways of waiting panic.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        self.begin(work).wait()
    }

    /// Begins what is waited for later.
    fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Coming<T> {
        let (done, outcome) = mpsc::sync_channel(1);
        let abandoned = self.0.abandoned.clone();
        let task = self.0.runtime.as_ref().map(|runtime| {
            runtime.spawn(async move {
                let found = tokio::select! {
                    found = work => found,
                    () = abandoned.cancelled() => Err(Fault::abandoned()),
                };
                // Nobody waits any more where the channel is closed.
                let _ = done.send(found);
            })
        });
        Coming { outcome, task }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An ordinary drop waits, which is not allowed on the thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// What the runtime is at; it stops when this is dropped.
struct Coming<T> {
    outcome: mpsc::Receiver<Result<T, Fault>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

// === impl Coming ===

impl<T> Coming<T> {
    fn wait(self) -> Result<T, Fault> {
        self.outcome
            .recv()
            .unwrap_or_else(|_| Err(Fault::abandoned()))
    }
}

impl<T> Drop for Coming<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

// === impl Object ===

impl Object {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.meta.size
    }

    /// What tells this version from others: the etag, or when it was last written where the store has no etags.
    /// `None` where the store tells neither.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        match (&self.meta.e_tag, self.meta.last_modified.timestamp()) {
            (Some(etag), _) => Some(format!("etag {}", fetch::bare(etag))),
            // What a store that does not tell is taken to have said.
            (None, 0) => None,
            (None, _) => Some(format!("written {}", self.meta.last_modified.to_rfc3339())),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its place below the root of the store.
    pub(crate) fn path(&self) -> &Path {
        Path::new(self.meta.location.as_ref())
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Reads a part of it in one request; what is beyond its end is left out.
    pub(crate) fn read(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        Ok(self.begin(range).wait()?)
    }

    fn begin(&self, range: std::ops::Range<u64>) -> Coming<Bytes> {
        let range = range.start.min(self.meta.size)..range.end.min(self.meta.size);
        let (store, meta) = (Arc::clone(&self.store), self.meta.clone());
        self.stores
            .begin(async move { fetch::fetch(&*store, &meta, range).await })
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.meta == other.meta
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Object")
            .field("name", &self.name)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
