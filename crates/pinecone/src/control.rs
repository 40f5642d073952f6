//! The control plane: what an index is, where it is reached, and how one is made. REST over HTTPS.
//!
//! A call is one attempt, as those of [`Client`](crate::Client), and fails with the same [`Failure`]; what it means here
//! says [`classify_control`], since the table for writes speaks of records. Nothing is ever deleted or
//! changed. Indexes are described in the two shapes of the API: the schema of 2026-07, and the dimension,
//! metric and vector type from before it, which other control planes may still answer with.

mod connection;
mod description;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::description::{IndexDescription, IndexKind};
use self::description::{Listed, Model};
use crate::classify::{Class, Verdict, classify};
use crate::client::answer::{Around, one_line};
use crate::client::{
    ClientError, ClientSettings, Secrets, connection_failure, endpoint, timed_out,
};
use crate::failure::{Code, Failure, Origin};
use crate::rules::{IndexShape, Metric, VectorType};

/// A connection to a control plane; clones share it.
#[derive(Clone)]
pub struct ControlPlane {
    http: Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    headers: HeaderMap,
    secrets: Secrets,
}

/// An index that is to be made: a serverless one, for vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIndex {
    /// Its name.
    pub name: String,
    /// The cloud that it is in: `aws`, `gcp`, `azure`.
    pub cloud: String,
    /// The cloud's name of the region.
    pub region: String,
    /// What it holds.
    pub kind: NewKind,
}

/// What a new index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKind {
    /// Dense vectors; sparse values beside them with [`Metric::DotProduct`] only.
    Dense {
        /// The number of values of each.
        dimension: u32,
        /// The measure of distance.
        metric: Metric,
    },
    /// Sparse vectors alone, whose measure is the dot product.
    Sparse,
}

/// What became of the wish for an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is being made.
    Yes,
    /// There is one of that name already.
    Exists,
}

/// Far above 200 indexes, the most that a plan allows, with all of their tags.
const ANSWER_BYTES: usize = 8 << 20;
/// As much of a plain answer as is kept.
const PLAIN_CHARS: usize = 1024;

/// What the service says on a failed call.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    #[serde(default)]
    message: String,
}

/// Whether an index can have that name: the service's rule, and what may stand in a path.
#[must_use]
pub fn is_index_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=45).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Says what a failure of the control plane means.
#[must_use]
pub fn classify_control(failure: &Failure) -> Verdict {
    let verdict = |class, reason| Verdict {
        class,
        attempts: None,
        reason,
    };
    let Some(status) = failure.http_status else {
        return classify(failure);
    };
    match status {
        401 => verdict(
            Class::Fatal,
            "the control plane does not take the key; check PINECONE_API_KEY and PINECONE_CONTROLLER_HOST",
        ),
        402 => verdict(
            Class::Exhausted,
            "the account is restricted; see its billing page",
        ),
        403 => verdict(
            Class::Fatal,
            "the key may not do this, or the plan allows no more indexes; see the message",
        ),
        408 | 425 | 429 => verdict(Class::Throttled, "the control plane limits the rate"),
        501 => verdict(Class::Fatal, "the control plane does not know this call"),
        500..=599 => verdict(Class::Transient, "the control plane cannot answer now"),
        400 | 404 | 409 | 412 | 422 if failure.origin == Origin::Server => {
            verdict(Class::Fatal, "the control plane refuses; see the message")
        }
        _ => verdict(
            Class::Fatal,
            "this is no answer of a control plane; check PINECONE_CONTROLLER_HOST",
        ),
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Where Pinecone's is.
    pub const PINECONE: &str = "api.pinecone.io";

    /// Prepares a client; it connects with its first request. The host of the settings is that of the
    /// control plane.
    ///
    /// # Errors
    ///
    /// If a setting cannot be used.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let mut headers = endpoint::headers(settings)?;
        let agent = HeaderValue::from_static(endpoint::USER_AGENT_VALUE);
        headers.insert(USER_AGENT, agent);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connection::connector(settings)?),
            url: endpoint::url(&settings.host)?,
            headers,
            secrets: Secrets::of(settings),
        })
    }

    /// Where it is, with scheme and port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks what an index is; `None` where there is none of that name, which must be
    /// [one that an index can have](is_index_name).
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn describe(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<IndexDescription>, Failure> {
        let path = format!("/indexes/{name}");
        match self.call::<Model>(Method::GET, &path, None, timeout).await {
            Ok(model) => Ok(Some(model.description(self.is_plaintext()))),
            Err(failure) if is(&failure, Code::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Asks for the names of all indexes of the project.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn names(&self, timeout: Duration) -> Result<Vec<String>, Failure> {
        let listed: Listed = self.call(Method::GET, "/indexes", None, timeout).await?;
        Ok(listed.names())
    }

    /// Asks for a new index. It is not ready when the answer comes.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn create(&self, index: &NewIndex, timeout: Duration) -> Result<Created, Failure> {
        let body = index.json();
        let made = self.call::<Value>(Method::POST, "/indexes", Some(&body), timeout);
        match made.await {
            Ok(_) => Ok(Created::Yes),
            Err(failure) if is(&failure, Code::AlreadyExists) => Ok(Created::Exists),
            Err(failure) => Err(failure),
        }
    }

    fn is_plaintext(&self) -> bool {
        self.url.starts_with("http:")
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = self.headers.clone();
        *request.uri_mut() = format!("{}{path}", self.url)
            .parse()
            .map_err(|error: http::uri::InvalidUri| connection_failure(&error))?;
        let exchange = async {
            let response = self.http.request(request).await;
            read(response.map_err(|error| connection_failure(&error))?).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer.map_err(|failure| self.secrets.hide(failure)),
            Err(_) => Err(timed_out(format!("no answer within {timeout:?}"))),
        }
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ControlPlane")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Whether it is the service itself that says so.
fn is(failure: &Failure, code: Code) -> bool {
    failure.origin == Origin::Server && failure.code == code
}

async fn read<T: DeserializeOwned>(
    response: Response<hyper::body::Incoming>,
) -> Result<T, Failure> {
    let (head, body) = response.into_parts();
    let (status, around) = (head.status, Around::of(head.headers));
    let body = match Limited::new(body, ANSWER_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return Err(Failure {
                http_status: Some(status.as_u16()),
                ..connection_failure(&*error)
            });
        }
    };
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| Failure {
            http_status: Some(status.as_u16()),
            origin: Origin::FrontLayer,
            ..around.malformed(&error.to_string())
        });
    }
    let (origin, message) = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => (Origin::Server, one_line(&refusal.error.message)),
        Err(_) => {
            let text = String::from_utf8_lossy(&body);
            let text: String = text.chars().take(PLAIN_CHARS).collect();
            (Origin::FrontLayer, one_line(&text))
        }
    };
    Err(Failure {
        code: code(status),
        http_status: Some(status.as_u16()),
        message: match message.is_empty() {
            true => status.canonical_reason().unwrap_or_default().to_owned(),
            false => message,
        },
        origin,
        pushback: around.pushback(),
        request_id: around.request_id(),
    })
}

fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 | 403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::AlreadyExists,
        412 => Code::FailedPrecondition,
        429 => Code::ResourceExhausted,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

// === impl NewIndex ===

impl NewIndex {
    /// As the API takes it since 2026-07.
    fn json(&self) -> Value {
        let fields = match self.kind {
            NewKind::Dense { dimension, metric } => json!({
                description::DENSE: {
                    "type": "dense_vector", "dimension": dimension, "metric": metric.name(),
                },
            }),
            NewKind::Sparse => json!({description::SPARSE: {"type": "sparse_vector"}}),
        };
        json!({
            "name": self.name,
            "schema": {"fields": fields},
            "deployment": {
                "deployment_type": "managed", "cloud": self.cloud, "region": self.region,
            },
        })
    }
}

impl fmt::Display for NewIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NewKind::Dense { dimension, metric } => {
                write!(out, "dense, {dimension} dimensions, {}", metric.name())?;
            }
            NewKind::Sparse => write!(out, "sparse")?,
        }
        write!(out, ", {} {}", self.cloud, self.region)
    }
}

// === impl NewKind ===

impl NewKind {
    /// What such an index takes.
    #[must_use]
    pub fn shape(self) -> IndexShape {
        match self {
            Self::Dense { dimension, metric } => IndexShape {
                dimension: Some(dimension),
                vector_type: Some(VectorType::Dense),
                metric: Some(metric),
            },
            Self::Sparse => IndexShape {
                dimension: None,
                vector_type: Some(VectorType::Sparse),
                metric: Some(Metric::DotProduct),
            },
        }
    }
}

#[cfg(test)]
mod tests;
