//! An index that is served for as long as a test wants it.

use std::net::TcpListener;
use std::path::Path;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vecload::{Load, LoadBuilder};
use vecload_local_index::{Faults, LocalIndex, Options};

/// A running index and its address.
pub(crate) struct Served {
    pub(crate) index: LocalIndex,
    pub(crate) host: String,
    /// Dropped, it ends the server.
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    /// The same socket, so that nobody else gets the port when the server is gone.
    listener: TcpListener,
}

impl Served {
    /// Serves an index on a port of the system's choice.
    pub(crate) async fn start(options: Options) -> Self {
        let index = LocalIndex::open(options).expect("the index opens");
        Self::resume(index, TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// Serves an index where another one was served.
    pub(crate) fn resume(index: LocalIndex, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let own = listener.try_clone().expect("another handle");
        own.set_nonblocking(true).expect("a socket");
        let own = tokio::net::TcpListener::from_std(own).expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let serving = index.clone();
        let task = tokio::spawn(async move {
            serving
                .serve(own, async {
                    let _ = stopped.await;
                })
                .await
        });
        Self {
            index,
            host: format!("http://{address}"),
            stop,
            task,
            listener,
        }
    }

    /// A load of a file into it.
    pub(crate) fn load(&self, input: &Path, run: &Path) -> LoadBuilder {
        Load::builder()
            .input(input.to_str().expect("UTF-8"))
            .host(&self.host)
            .run_dir(run)
    }

    /// Ends the server and closes its store; gives its socket, for another one.
    pub(crate) async fn stop(self) -> TcpListener {
        drop(self.stop);
        self.task.await.expect("no panic").expect("served");
        self.listener
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
