//! An index that is served for as long as a test wants it.

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vecload_local_index::{Faults, LocalIndex, Options};

/// A running index and its address.
pub(crate) struct Served {
    pub(crate) index: LocalIndex,
    pub(crate) host: String,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Serves an index on a port of the system's choice.
    pub(crate) async fn start(options: Options) -> Self {
        let index = LocalIndex::open(options).expect("the index opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let serving = index.clone();
        let task = tokio::spawn(async move {
            serving
                .serve(listener, async {
                    let _ = stopped.await;
                })
                .await
        });
        Self {
            index,
            host,
            _stop: stop,
            _task: task,
        }
    }

    /// An index in memory that misbehaves like this.
    pub(crate) async fn with_faults(faults: Faults) -> Self {
        Self::start(Options {
            faults,
            ..Options::default()
        })
        .await
    }

    /// An index in memory that behaves.
    pub(crate) async fn plain() -> Self {
        Self::start(Options::default()).await
    }

    /// How many upserts arrived.
    pub(crate) fn upserts(&self) -> u64 {
        self.index.audit().counts.upserts
    }
}
