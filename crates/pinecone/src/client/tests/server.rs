//! An HTTP/2 server on loopback that answers as a script says.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Reply = UnsyncBoxBody<Bytes, BoxError>;
type Playing = Pin<Box<dyn Future<Output = Result<Response<Reply>, BoxError>> + Send>>;

/// A request as the server got it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: http::Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is answered to the nth request.
pub(super) trait Script: Send + Sync + 'static {
    /// Whether the body is read before the answer.
    fn reads(&self) -> bool {
        true
    }

    fn play(&self, number: usize) -> Playing;
}

impl<F> Script for F
where
    F: Fn(usize) -> Result<Response<Reply>, BoxError> + Send + Sync + 'static,
{
    fn play(&self, number: usize) -> Playing {
        let answer = self(number);
        Box::pin(async { answer })
    }
}

/// A script whose bodies are not read.
pub(super) struct Unread<F>(F);

pub(super) fn unread<F: Fn(usize) -> Response<Reply> + Send + Sync + 'static>(
    answer: F,
) -> Unread<F> {
    Unread(answer)
}

impl<F: Fn(usize) -> Response<Reply> + Send + Sync + 'static> Script for Unread<F> {
    fn reads(&self) -> bool {
        false
    }

    fn play(&self, number: usize) -> Playing {
        let answer = self.0(number);
        Box::pin(async { Ok(answer) })
    }
}

/// A script that never answers, and tells when its first stream is reset.
pub(super) struct Silent(Mutex<Option<oneshot::Sender<()>>>);

pub(super) fn silent() -> (Silent, impl Future<Output = Result<(), Infallible>>) {
    let (sender, receiver) = oneshot::channel::<()>();
    // Nothing is ever sent: the sender is dropped with the stream.
    let reset = async {
        assert!(receiver.await.is_err());
        Ok(())
    };
    (Silent(Mutex::new(Some(sender))), reset)
}

impl Script for Silent {
    fn play(&self, _: usize) -> Playing {
        let held = self.0.lock().unwrap().take();
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(held);
            unreachable!()
        })
    }
}

/// Serves the script; gives the URL and what will have been seen.
pub(super) async fn serve(script: impl Script) -> (String, Arc<Mutex<Vec<Seen>>>) {
    serve_after_closing(0, script).await
}

/// As [`serve`], but the first connections are closed once something has been read from them.
pub(super) async fn serve_after_closing(
    closed: usize,
    script: impl Script,
) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let (script, log) = (Arc::new(script), seen.clone());
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if number < closed {
                stream.read_u8().await.unwrap();
                continue;
            }
            let (script, log) = (script.clone(), log.clone());
            let service = service_fn(move |request| answer(request, script.clone(), log.clone()));
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, seen)
}

async fn answer(
    request: http::Request<Incoming>,
    script: Arc<impl Script>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Reply>, BoxError> {
    let (head, body) = request.into_parts();
    let body = if script.reads() {
        body.collect().await?.to_bytes()
    } else {
        Bytes::new()
    };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(Seen {
            method: head.method,
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body,
        });
        log.len() - 1
    };
    script.play(number).await
}

/// What hyper resets the stream for.
pub(super) fn error(reason: h2::Reason) -> BoxError {
    Box::new(h2::Error::from(reason))
}

/// A message with its prefix.
pub(super) fn message(message: &impl prost::Message) -> Bytes {
    let mut out = vec![0; 5];
    message.encode(&mut out).unwrap();
    let length = u32::try_from(out.len() - 5).unwrap();
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out.into()
}

/// An answer with this body and nothing else.
pub(super) fn reply(body: Bytes) -> Response<Reply> {
    Response::new(
        Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

/// A successful answer.
pub(super) fn grpc(body: Bytes) -> Response<Reply> {
    with_trailers(body, &[("grpc-status", "0")])
}

/// An answer with its status where it belongs.
pub(super) fn with_trailers(
    body: Bytes,
    trailers: &[(&'static str, &'static str)],
) -> Response<Reply> {
    let trailers = headers(trailers);
    let body = Full::new(body).with_trailers(async { Some(Ok(trailers)) });
    as_grpc(Response::new(
        body.map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    ))
}

/// An answer of headers alone.
pub(super) fn trailers_only(values: &[(&'static str, &'static str)]) -> Response<Reply> {
    let mut answer = reply(Bytes::new());
    answer.headers_mut().extend(headers(values));
    as_grpc(answer)
}

/// An answer whose stream is reset after these bytes.
pub(super) fn broken(body: Bytes, reason: h2::Reason) -> Response<Reply> {
    let frames = futures::stream::iter([Ok(Frame::data(body)), Err(error(reason))]);
    as_grpc(Response::new(StreamBody::new(frames).boxed_unsync()))
}

fn as_grpc(mut answer: Response<Reply>) -> Response<Reply> {
    answer
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    answer
}

fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
    let values = values.iter();
    values
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}
