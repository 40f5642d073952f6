//! What holds for every request, before and after the service that answers it.
//!
//! In this order: the connection's life (a fault may cut it), the kind of request (gRPC, or REST, which is
//! put into the words of gRPC and its answer back into JSON), the key, the fate of an upsert, the
//! conditions, the service, the request id. Faults and conditions act here and not in the service, so the
//! service under them is the one that runs without.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use vecload_proto::vector_service_server::VectorServiceServer;

use crate::audit::{Counter, Ledger};
use crate::conditions::{Enforced, Limit, NamespaceRefusal, Reply};
use crate::control::{self, Control};
use crate::discard;
use crate::faults::{EndingKind, Outcome, Silence};
use crate::grpc::{Api, Received};
use crate::index::Index;
use crate::rest;
use crate::rules;

const REQUEST_ID: &str = "x-pinecone-request-id";
const UPSERT: &str = "/VectorService/Upsert";
const ALIASES: &str = "/NamespaceAliasService/";

/// How long a connection may live, and how it is told to die.
pub(crate) struct Life {
    /// Requests that it may still carry; `None`: any number.
    left: Option<AtomicU32>,
    pub(crate) cut: CancellationToken,
    /// Requests after which it is told to go; `None`: never.
    welcome: Option<AtomicU32>,
    pub(crate) leave: CancellationToken,
}

impl Life {
    pub(crate) fn new(requests: Option<u32>, goaway_after: Option<u32>) -> Self {
        Self {
            left: requests.map(AtomicU32::new),
            cut: CancellationToken::new(),
            welcome: goaway_after.map(AtomicU32::new),
            leave: CancellationToken::new(),
        }
    }

    /// Counts a request that has come, and tells the client to go if it was the last one welcome.
    fn carries(&self) {
        if let Some(welcome) = &self.welcome
            && welcome.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.leave.cancel();
        }
    }

    /// Whether the connection ends with the request that has just arrived.
    fn ends(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.left.as_ref().is_some_and(|left| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_err()
        })
    }
}

/// The service of one connection.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) index: Arc<Index>,
    /// Beside the index without a name.
    pub(crate) control: Option<Arc<Control>>,
    pub(crate) grpc: VectorServiceServer<Api>,
    pub(crate) life: Arc<Life>,
}

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    /// Becomes the reason of a RST_STREAM.
    type Error = h2::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = self.clone();
        Box::pin(door.answer(request.map(Body::new)))
    }
}

impl Door {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, h2::Error> {
        if self.life.ends() {
            self.life.cut.cancel();
            // The connection is dropped, and this future with it.
            std::future::pending::<()>().await;
        }
        self.life.carries();
        self.index.ledger.requests.one();
        let mut response = self.dispatch(request).await?;
        let id = format!("{:016x}", rand::random::<u64>());
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        Ok(response)
    }

    async fn dispatch(self, request: Request<Body>) -> Result<Response<Body>, h2::Error> {
        match is_grpc(&request) {
            true => self.grpc(request).await,
            false => self.rest(request).await,
        }
    }

    async fn rest(self, request: Request<Body>) -> Result<Response<Body>, h2::Error> {
        if !self.has_key(&request) {
            self.index.ledger.unauthenticated.one();
            discard::drain(request.into_body(), &Received::default()).await;
            return Ok(FrontLayer(StatusCode::UNAUTHORIZED).plain_text());
        }
        if let Some(control) = &self.control
            && control::owns(request.uri().path())
        {
            return Ok(control::answer(control, request).await);
        }
        match rest::into_grpc(request).await {
            Ok((operation, request)) => {
                let response = self.grpc(request).await?;
                Ok(match response.extensions().get::<FrontLayer>() {
                    Some(front) => front.plain_text(),
                    None => rest::into_json(operation, response).await,
                })
            }
            Err(refusal) => Ok(rest::refused(&refusal)),
        }
    }

    async fn grpc(mut self, request: Request<Body>) -> Result<Response<Body>, h2::Error> {
        if !self.has_key(&request) {
            self.index.ledger.unauthenticated.one();
            let status = Status::unauthenticated("Invalid API key");
            return Ok(refuse(request, &Received::default(), status).await);
        }
        if request.uri().path() == UPSERT {
            return self.upsert(request).await;
        }
        if request.uri().path().starts_with(ALIASES) {
            return Ok(Status::unimplemented(
                "Namespace aliases must be enabled for the index: the local index has none",
            )
            .into_http());
        }
        Ok(self.serve(request).await)
    }

    async fn serve(&mut self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.grpc.call(request).await;
        response
    }

    async fn upsert(&mut self, request: Request<Body>) -> Result<Response<Body>, h2::Error> {
        let index = self.index.clone();
        let ledger = &index.ledger;
        ledger.upserts.one();
        if let Some(conditions) = &index.conditions {
            conditions.begin();
        }
        let fate = index.dice.fate();
        if let Some(delay) = fate.delay {
            ledger.delayed.one();
            tokio::time::sleep(delay).await;
        }
        let received = Received::default();
        let result = match fate.outcome {
            Outcome::Reset(reason) => {
                ledger.reset.one();
                Err(reason.into())
            }
            Outcome::Refuse => {
                let status = Status::resource_exhausted(rules::rate_text(&index.name));
                let response = match index.dice.has_front_layer() {
                    true => {
                        let front = FrontLayer(StatusCode::TOO_MANY_REQUESTS);
                        refuse_in_front(request, &received, front).await
                    }
                    false => refuse(request, &received, status).await,
                };
                ledger.throttled.one();
                Ok(response)
            }
            Outcome::Unavailable => {
                let response = match index.dice.has_front_layer() {
                    true => {
                        let front = FrontLayer(StatusCode::SERVICE_UNAVAILABLE);
                        refuse_in_front(request, &received, front).await
                    }
                    false => refuse(request, &received, unavailable()).await,
                };
                ledger.unavailable.one();
                Ok(response)
            }
            Outcome::ApplyLate(silence, late_for) => {
                self.apply_late(request, &received, late_for).await;
                silent(silence)
            }
            Outcome::Ended(kind) => {
                let response = refuse(request, &received, ended(kind)).await;
                ledger.ended.one();
                Ok(response)
            }
            Outcome::Serve | Outcome::ApplyThen(_) => {
                let (response, end) = match &index.conditions {
                    None => self.apply(request, &received).await,
                    Some(conditions) => self.apply_under(conditions, request, &received).await,
                };
                match fate.outcome {
                    _ if end != End::Applied => {
                        end.counter(ledger).one();
                        Ok(response)
                    }
                    Outcome::ApplyThen(silence) => {
                        ledger.applied_without_answer.one();
                        silent(silence)
                    }
                    _ => {
                        ledger.applied.one();
                        Ok(response)
                    }
                }
            }
        };
        ledger.largest_request.raise_to(received.message_bytes());
        result
    }

    /// Applies an upsert whose turn the conditions decide over, once it has arrived as a whole.
    async fn apply_under(
        &mut self,
        conditions: &Enforced,
        request: Request<Body>,
        received: &Received,
    ) -> (Response<Body>, End) {
        let (mut parts, body) = request.into_parts();
        let mut kept = BytesMut::new();
        let keeps = !self.index.discard;
        let read = discard::read(body, received, |data| {
            if keeps {
                kept.extend_from_slice(&data);
            }
        });
        let outline = match read.await {
            Ok(outline) => outline,
            Err(status) => return (status.into_http(), End::Rejected),
        };
        let name = &self.index.name;
        let (status, end) = match conditions.decide(&outline.namespace, outline.bytes).await {
            Reply::Taken if self.index.discard => {
                return (discard::acknowledge(&self.index, &outline), End::Applied);
            }
            Reply::Taken => {
                parts.extensions.insert(received.clone());
                let request = Request::from_parts(parts, Full::new(kept.freeze()));
                let Ok(response) = self.grpc.call(request).await;
                return with_end(response);
            }
            Reply::Throttled(limit) => {
                let text = match limit {
                    Limit::Bytes => rules::rate_text(name),
                    Limit::Requests(limit) => rules::request_rate_text(&outline.namespace, limit),
                };
                (Status::resource_exhausted(text), End::Throttled)
            }
            Reply::Unavailable => (unavailable(), End::Unavailable),
            Reply::Refused(refusal) => {
                let refusal = match refusal {
                    NamespaceRefusal::Alias => rules::alias_refusal(&outline.namespace),
                    NamespaceRefusal::NamespaceLimit => rules::namespace_limit_refusal(name),
                };
                (refusal.into(), End::Rejected)
            }
        };
        (status.into_http(), end)
    }

    async fn apply(
        &mut self,
        request: Request<Body>,
        received: &Received,
    ) -> (Response<Body>, End) {
        if self.index.discard {
            return with_end(discard::answer(&self.index, request.into_body(), received).await);
        }
        let Ok(response) = self.grpc.call(counted(request, received)).await;
        with_end(response)
    }

    /// Takes the whole request and applies it after a while, whatever has become of its client. What is
    /// still put off when the server ends is lost.
    async fn apply_late(&self, request: Request<Body>, received: &Received, late_for: Duration) {
        let (parts, body) = counted(request, received).into_parts();
        // A client that ends in mid-request has not sent one.
        let Ok(body) = body.collect().await else {
            return;
        };
        self.index.ledger.put_off.one();
        let request = Request::from_parts(parts, Full::new(body.to_bytes()));
        let (index, mut grpc) = (Arc::clone(&self.index), self.grpc.clone());
        tokio::spawn(async move {
            tokio::time::sleep(late_for).await;
            if !index.discard {
                let Ok(response) = grpc.call(request).await;
                if response.headers().contains_key(Status::GRPC_STATUS) {
                    return index.ledger.rejected.one();
                }
            }
            index.ledger.applied_late.one();
        });
    }

    fn has_key(&self, request: &Request<Body>) -> bool {
        self.index.api_key.as_ref().is_none_or(|key| {
            let given = request.headers().get("api-key");
            given.is_some_and(|given| given.as_bytes() == key.as_bytes())
        })
    }
}

/// A request whose bytes are counted as they are read.
fn counted(
    request: Request<Body>,
    received: &Received,
) -> Request<impl hyper::body::Body<Data = bytes::Bytes, Error = Status> + Send + 'static> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(received.clone());
    let counter = received.clone();
    let body = body.map_frame(move |frame: Frame<bytes::Bytes>| {
        counter.add(frame.data_ref().map_or(0, bytes::Bytes::len));
        frame
    });
    Request::from_parts(parts, body)
}

/// No answer, in one of the ways in which there is none.
fn silent(silence: Silence) -> Result<Response<Body>, h2::Error> {
    match silence {
        Silence::Reset(reason) => Err(reason.into()),
        Silence::Unavailable => Ok(unavailable().into_http()),
    }
}

/// How the books call the end of an upsert that no fault has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Applied,
    Rejected,
    Throttled,
    Unavailable,
}

impl End {
    fn counter(self, ledger: &Ledger) -> &Counter {
        match self {
            Self::Applied => &ledger.applied,
            Self::Rejected => &ledger.rejected,
            Self::Throttled => &ledger.throttled,
            Self::Unavailable => &ledger.unavailable,
        }
    }
}

/// An answer of the service, and what it says. tonic and `discard` alike put the status of an error
/// into the headers, and that of a success into the trailers.
fn with_end(response: Response<Body>) -> (Response<Body>, End) {
    let end = match response.headers().contains_key(Status::GRPC_STATUS) {
        true => End::Rejected,
        false => End::Applied,
    };
    (response, end)
}

fn is_grpc(request: &Request<Body>) -> bool {
    request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What overload of the service was seen to answer.
fn unavailable() -> Status {
    Status::unavailable("unavailable")
}

/// What the service answers when it takes no more writes.
fn ended(kind: EndingKind) -> Status {
    match kind {
        EndingKind::MonthlyQuota => Status::resource_exhausted(
            "Request failed. You've reached your write unit limit for the current month. \
             To continue writing data, upgrade your plan.",
        ),
        // The code is not documented.
        EndingKind::IndexFull => Status::resource_exhausted("Index is full, cannot accept data."),
        EndingKind::RevokedKey => Status::unauthenticated("Invalid API key"),
    }
}

/// Answers an error once the body has arrived, as a service that looked at it would: a client that
/// is answered in mid-request may report its own broken write instead of the answer.
async fn refuse(request: Request<Body>, received: &Received, status: Status) -> Response<Body> {
    discard::drain(request.into_body(), received).await;
    status.into_http()
}

/// A refusal by the layer in front of the service, with its HTTP status. REST is answered a plain text.
/// For gRPC that layer makes UNAVAILABLE of any of these (Envoy's rule for its own replies).
#[derive(Debug, Clone, Copy)]
struct FrontLayer(StatusCode);

impl FrontLayer {
    fn reason(self) -> &'static str {
        self.0.canonical_reason().unwrap_or_default()
    }

    fn plain_text(self) -> Response<Body> {
        let mut response = Response::new(Body::new(Full::<bytes::Bytes>::from(self.reason())));
        *response.status_mut() = self.0;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain"),
        );
        response
    }
}

async fn refuse_in_front(
    request: Request<Body>,
    received: &Received,
    front: FrontLayer,
) -> Response<Body> {
    let status = Status::unavailable(front.reason());
    let mut response = refuse(request, received, status).await;
    response.extensions_mut().insert(front);
    response
}
