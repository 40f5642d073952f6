//! The control plane: named indexes, each in a folder, at a port and with a store of its own.
//!
//! A port for each index, as the official emulator has it, since the port is all of a host that every SDK
//! hands on as it is. An index keeps its port over restarts where it can. What an index is stands in
//! `indexes/NAME/index.json`; that file is written last when an index is created and removed first when
//! it is deleted, so a folder without it is what a crash left of either, and is removed.
//!
//! The registry's lock is never held while anything is awaited: an index that is being created or deleted
//! holds its name with its state.

mod api;
mod definition;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{OpenError, Shape};
use crate::{LocalIndex, Options};
use definition::{Definition, Kind};

pub(crate) use api::{answer, owns};

/// Ports after the server's own that are tried for an index before any free one is taken.
const NEIGHBOURS: u16 = 100;

/// The named indexes of a server.
pub(crate) struct Control {
    options: Options,
    /// Where the service itself listens, once it does.
    address: OnceLock<SocketAddr>,
    entries: Mutex<BTreeMap<String, Entry>>,
}

/// A name that is taken.
enum Entry {
    /// Being created.
    Reserved,
    Open(Box<Open>),
    /// Being deleted.
    Terminating(Definition, SocketAddr),
}

/// An index with its store.
struct Open {
    definition: Definition,
    index: LocalIndex,
    ready_at: Instant,
    serving: Option<Serving>,
}

/// How an index is reached and stopped.
struct Serving {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a client is told of an index.
struct Described {
    definition: Definition,
    address: SocketAddr,
    state: &'static str,
}

impl Described {
    fn is_ready(&self) -> bool {
        self.state == "Ready"
    }
}

/// Why the control plane does not do what it is asked.
#[derive(Debug)]
pub(crate) struct ControlError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ControlError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            code,
            message,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
    }

    /// Own words, for what the service has and the local index has not.
    fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED", message)
    }

    fn not_found(name: &str) -> Self {
        let message = format!("Index {name} not found.");
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    fn exists() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "ALREADY_EXISTS",
            "Resource already exists.",
        )
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "the control plane of the local index failed");
        let message = format!("the local index failed: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", message)
    }
}

// === impl Control ===

impl Control {
    /// Opens all indexes that the directory holds.
    pub(crate) fn open(options: Options) -> Result<Self, OpenError> {
        let control = Self {
            options,
            address: OnceLock::new(),
            entries: Mutex::default(),
        };
        if let Some(dir) = &control.options.data_dir {
            let io = |source| OpenError::Io {
                dir: dir.clone(),
                source,
            };
            for definition in files::read(dir).map_err(io)? {
                let open = control.open_index(definition, Duration::ZERO)?;
                let name = open.definition.name.clone();
                control.entries().insert(name, Entry::Open(Box::new(open)));
            }
        }
        Ok(control)
    }

    /// An open index by its name.
    pub(crate) fn index(&self, name: &str) -> Option<LocalIndex> {
        match self.entries().get(name) {
            Some(Entry::Open(open)) => Some(open.index.clone()),
            _ => None,
        }
    }

    /// Begins to serve all indexes, beside a service that listens there.
    pub(crate) async fn start(&self, address: SocketAddr) -> io::Result<()> {
        self.address.get_or_init(|| address);
        let waiting: Vec<(String, LocalIndex, u16)> = self
            .entries()
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Open(open) if open.serving.is_none() => {
                    Some((name.clone(), open.index.clone(), open.definition.port))
                }
                _ => None,
            })
            .collect();
        for (name, index, port) in waiting {
            let serving = self.serve(index, port).await?;
            if let Some(Entry::Open(open)) = self.entries().get_mut(&name) {
                open.serving = Some(serving);
            }
        }
        Ok(())
    }

    /// Stops serving, when requests in flight are answered.
    pub(crate) async fn stop(&self) {
        let serving: Vec<Serving> = self
            .entries()
            .values_mut()
            .filter_map(|entry| match entry {
                Entry::Open(open) => open.serving.take(),
                _ => None,
            })
            .collect();
        for serving in &serving {
            serving.stop.cancel();
        }
        for serving in serving {
            serving.end().await;
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        let dir = self.options.data_dir.as_deref();
        dir.map(|dir| files::folder(dir, name))
    }

    fn open_index(
        &self,
        definition: Definition,
        initializing: Duration,
    ) -> Result<Open, OpenError> {
        let (shape, metric) = match definition.kind {
            Kind::Dense { dimension, metric } => (Shape::Dense(dimension), metric),
            Kind::Sparse => (Shape::Sparse, crate::Metric::Dotproduct),
        };
        let options = Options {
            data_dir: self.folder(&definition.name),
            name: definition.name.clone(),
            metric: Some(metric),
            dimension: None,
            ..self.options.clone()
        };
        Ok(Open {
            index: LocalIndex::open_as(options, Some(shape))?,
            definition,
            ready_at: Instant::now() + initializing,
            serving: None,
        })
    }

    async fn serve(&self, index: LocalIndex, port: u16) -> io::Result<Serving> {
        let listener = self.bind(port).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            if let Err(error) = index.serve(listener, stopped).await {
                tracing::error!(%error, "an index is no longer served");
            }
        });
        Ok(Serving {
            address,
            stop,
            task,
        })
    }

    /// Listens where the index was before, or close to the service, or anywhere.
    async fn bind(&self, before: u16) -> io::Result<TcpListener> {
        let unknown = || io::Error::other("the service is not listening yet");
        let own = *self.address.get().ok_or_else(unknown)?;
        let ip: IpAddr = own.ip();
        let close = (1..=NEIGHBOURS).filter_map(|step| own.port().checked_add(step));
        for port in std::iter::once(before)
            .filter(|port| *port != 0)
            .chain(close)
        {
            if let Ok(listener) = TcpListener::bind((ip, port)).await {
                return Ok(listener);
            }
        }
        TcpListener::bind((ip, 0)).await
    }

    fn describe(&self, name: &str) -> Result<Described, ControlError> {
        let entries = self.entries();
        let described = entries.get(name).and_then(Entry::describe);
        described.ok_or_else(|| ControlError::not_found(name))
    }

    fn list(&self) -> Vec<Described> {
        self.entries()
            .values()
            .filter_map(Entry::describe)
            .collect()
    }

    async fn create(&self, definition: Definition) -> Result<Described, ControlError> {
        let name = definition.name.clone();
        {
            let mut entries = self.entries();
            if entries.contains_key(&name) {
                return Err(ControlError::exists());
            }
            entries.insert(name.clone(), Entry::Reserved);
        }
        match self.make(definition).await {
            Ok(open) => {
                let entry = Entry::Open(Box::new(open));
                self.entries().insert(name.clone(), entry);
                self.describe(&name)
            }
            Err(error) => {
                self.entries().remove(&name);
                Err(error)
            }
        }
    }

    async fn make(&self, definition: Definition) -> Result<Open, ControlError> {
        let initializing = self.options.initializing_for;
        let mut open = self
            .open_index(definition, initializing)
            .map_err(|error| ControlError::internal(&error))?;
        let serving = self
            .serve(open.index.clone(), 0)
            .await
            .map_err(|error| ControlError::internal(&error))?;
        open.definition.port = serving.address.port();
        open.serving = Some(serving);
        self.save(&open.definition)?;
        Ok(open)
    }

    fn save(&self, definition: &Definition) -> Result<(), ControlError> {
        match &self.options.data_dir {
            None => Ok(()),
            Some(dir) => {
                files::write(dir, definition).map_err(|error| ControlError::internal(&error))
            }
        }
    }

    fn configure(
        &self,
        name: &str,
        change: impl FnOnce(&mut Definition) -> Result<(), ControlError>,
    ) -> Result<Described, ControlError> {
        let mut entries = self.entries();
        let Some(Entry::Open(open)) = entries.get_mut(name) else {
            return Err(ControlError::not_found(name));
        };
        let mut changed = open.definition.clone();
        change(&mut changed)?;
        self.save(&changed)?;
        open.definition = changed;
        drop(entries);
        self.describe(name)
    }

    /// Takes an index off and removes its files, when requests in flight are answered.
    async fn delete(&self, name: &str) -> Result<(), ControlError> {
        let open = {
            let mut entries = self.entries();
            match entries.get(name) {
                Some(Entry::Open(open)) if open.definition.deletion_protection => {
                    return Err(ControlError::new(
                        StatusCode::FORBIDDEN,
                        "FORBIDDEN",
                        "Deletion protection is enabled for this index. Disable deletion protection before retrying.",
                    ));
                }
                Some(Entry::Open(open)) => {
                    let address = open.address();
                    let entry = Entry::Terminating(open.definition.clone(), address);
                    entries.insert(name.to_owned(), entry)
                }
                // What is being deleted is deleted; what is being created has no name yet.
                Some(Entry::Terminating(..)) => return Ok(()),
                Some(Entry::Reserved) | None => return Err(ControlError::not_found(name)),
            }
        };
        let mut removed = Ok(());
        if let Some(dir) = &self.options.data_dir {
            removed = files::forget(dir, name);
        }
        if let Some(Entry::Open(mut open)) = open {
            if let Some(serving) = open.serving.take() {
                serving.end().await;
            }
            // Joins the writer's thread, which has nothing left to write.
            drop(open);
        }
        if let Some(folder) = self.folder(name)
            && removed.is_ok()
        {
            removed = std::fs::remove_dir_all(folder);
        }
        self.entries().remove(name);
        removed.map_err(|error| ControlError::internal(&error))
    }
}

impl Entry {
    fn describe(&self) -> Option<Described> {
        match self {
            Self::Reserved => None,
            Self::Open(open) => Some(Described {
                definition: open.definition.clone(),
                address: open.address(),
                state: match Instant::now() < open.ready_at {
                    true => "Initializing",
                    false => "Ready",
                },
            }),
            Self::Terminating(definition, address) => Some(Described {
                definition: definition.clone(),
                address: *address,
                state: "Terminating",
            }),
        }
    }
}

impl Open {
    fn address(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], self.definition.port));
        self.serving
            .as_ref()
            .map_or(nowhere, |serving| serving.address)
    }
}

impl Serving {
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server of an index panicked");
        }
    }
}
