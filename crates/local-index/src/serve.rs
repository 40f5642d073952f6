//! Accepts connections and serves each in a task of its own: HTTP/1.1 and HTTP/2 without TLS on one
//! port, told apart by their first bytes.
//!
//! A connection ends when the client ends it, when a fault or an outage cuts it (the socket is dropped,
//! whatever is in flight), when it is told to go, or at shutdown (both GOAWAY: requests in flight finish,
//! within a bound). `serve` returns when no connection and no task of one is left, so that the store can be
//! closed and opened again right after.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::door::{Door, Life};
use crate::grpc::Api;
use crate::index::Index;
use crate::wire::Wire;

/// Smaller windows were measured to cost the client up to 63 % more CPU.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Requests of one connection that may be in memory at once. What the service allows is not known;
/// the standard asks for 100 at least.
const STREAMS: u32 = 100;
/// What requests in flight get to finish after a GOAWAY.
const GRACE: Duration = Duration::from_secs(10);
/// After a failed accept, as where file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn serve(
    index: &Arc<Index>,
    control: Option<Arc<Control>>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        index.ledger.connections.one();
        let goaway_after = index.conditions.as_ref().and_then(|c| c.goaway_after());
        let life = Arc::new(Life::new(index.dice.life(), goaway_after));
        let door = Door {
            index: index.clone(),
            control: control.clone(),
            grpc: Api::server(index.clone(), tasks.clone()),
            life,
        };
        connections.spawn(connection(stream, door, tasks.clone(), stop.clone()));
    }
    drop(listener);
    stop.cancel();
    while connections.join_next().await.is_some() {}
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Only a listener that is no listener fails for good.
fn is_fatal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::Unsupported
    )
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, door: Door, tasks: TaskTracker, stop: CancellationToken) {
    let life = door.life.clone();
    let ledger = door.index.ledger.clone();
    let conditions = door.index.conditions.clone();
    if let Some(conditions) = &conditions {
        let accepts = conditions.accepts();
        let accepted = tokio::select! {
            accepted = accepts => accepted,
            () = stop.cancelled() => false,
        };
        if !accepted {
            return;
        }
    }
    let cut = async {
        match &conditions {
            None => life.cut.cancelled().await,
            Some(conditions) => tokio::select! {
                () = life.cut.cancelled() => {}
                () = conditions.until_cut() => {}
            },
        }
        ledger.connections_cut.one();
    };
    // Answers are small: waiting to fill a segment only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection went away");
        return;
    }
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS);
    let wire = Wire::new(stream, conditions.clone());
    let mut served = pin!(builder.serve_connection(TokioIo::new(wire), door));
    let mut cut = pin!(cut);
    let leave = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = life.leave.cancelled() => ledger.connections_sent_away.one(),
        }
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = cut.as_mut() => return,
        () = leave => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                result = served => result,
                () = cut => return,
                () = tokio::time::sleep(GRACE) => {
                    tracing::warn!("requests in flight were cut off after GOAWAY");
                    return;
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "a connection ended with an error");
    }
}

/// Runs the tasks of HTTP/2 streams where `serve` can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
