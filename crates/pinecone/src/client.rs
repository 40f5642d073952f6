//! The transport: a frame as the body of an HTTP/2 request on tonic's channel.
//!
//! The channel connects and reconnects, speaks TLS and multiplexes. tonic's codec is left out: it would
//! copy each request into a fresh buffer, which was measured at two thirds of the cost of sending. A call
//! is one attempt. It ends with an answer, a failure, or at its time limit, where dropping it resets the
//! stream; it is never repeated here.
//!
//! What tonic makes of a lost connection depends on the features it is built with (CANCELLED, UNKNOWN,
//! RESOURCE_EXHAUSTED), so whatever did not come as an answer is [`Origin::Connection`] here.

pub(crate) mod answer;
pub(crate) mod endpoint;
mod reads;
mod secrets;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, Uri};
use http_body_util::Full;
use secrecy::SecretString;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt as _;
use vecload_proto::{DescribeIndexStatsResponse, UpsertResponse};

use self::answer::Answer;
pub use self::endpoint::ClientError;
pub use self::reads::{Fetched, ListedIds};
pub(crate) use self::secrets::Secrets;
use crate::failure::{Code, Failure, Origin};
use crate::frame::FRAME_PREFIX;
use crate::rules::{IndexShape, Metric, VectorType};

/// How to reach an index.
#[derive(Clone)]
pub struct ClientSettings {
    /// The host of the index, with or without scheme and port. It is https, at port 443, unless it
    /// says otherwise; only `http://` is plaintext.
    pub host: String,
    /// The key; `None` for servers that ask for none.
    pub api_key: Option<SecretString>,
    /// Headers to add to each request, in place of ours where they have the same name.
    pub additional_headers: Vec<(String, String)>,
    /// A PEM file of certificates to trust besides the system's and the bundled ones.
    pub ca_file: Option<PathBuf>,
    /// The time for making a connection, and again for its TLS handshake.
    pub connect_timeout: Duration,
}

/// The service's word that a batch is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertAck {
    /// The number of records that it says it wrote.
    pub upserted_count: u32,
    /// The log sequence number of the write in its namespace.
    pub lsn: Option<u64>,
    /// The service's id of the request.
    pub request_id: Option<String>,
}

/// What the service says of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexStats {
    /// What the index takes.
    pub shape: IndexShape,
    /// The number of records in it.
    pub total_count: u64,
    /// The number of records by namespace, under the service's own names.
    pub namespaces: BTreeMap<String, u64>,
}

/// A connection to an index; clones share it.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    url: Arc<str>,
    headers: Arc<HeaderMap>,
    secrets: Secrets,
}

const UPSERT: &str = "/VectorService/Upsert";
const DESCRIBE_INDEX_STATS: &str = "/VectorService/DescribeIndexStats";

/// An acknowledgement is a few bytes.
const ACK_BYTES: usize = 64 * 1024;
/// 100,000 namespaces, the most that a plan allows, with the longest names take half of it.
const STATS_BYTES: usize = 128 << 20;

// === impl ClientSettings ===

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            api_key: None,
            additional_headers: Vec::new(),
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .additional_headers
            .iter()
            .map(|(name, _)| name)
            .collect();
        out.debug_struct("ClientSettings")
            .field("host", &self.host)
            .field("api_key", &self.api_key)
            .field("additional_headers", &names)
            .field("ca_file", &self.ca_file)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

// === impl Client ===

impl Client {
    /// Prepares a client; it connects with its first request.
    ///
    /// # Errors
    ///
    /// If a setting cannot be used, or there is no tokio runtime for the connection's task.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let mut headers = endpoint::headers(settings)?;
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let (channel, url) = endpoint::channel(settings)?;
        Ok(Self {
            channel,
            url: url.into(),
            headers: Arc::new(headers),
            secrets: Secrets::of(settings),
        })
    }

    /// Where the requests go, with scheme and port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a sealed frame, once.
    ///
    /// # Errors
    ///
    /// Whatever is not an acknowledgement.
    pub async fn upsert(&self, frame: Bytes, timeout: Duration) -> Result<UpsertAck, Failure> {
        let answer = self.call(UPSERT, frame, timeout, ACK_BYTES).await?;
        let response: UpsertResponse = decode(&answer)?;
        Ok(UpsertAck {
            upserted_count: response.upserted_count,
            lsn: answer.lsn(),
            request_id: answer.request_id().map(|id| self.secrets.cut(id)),
        })
    }

    /// Asks what the index is and holds.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn describe_index_stats(&self, timeout: Duration) -> Result<IndexStats, Failure> {
        // A request without a filter is an empty message.
        let frame = Bytes::from_static(&[0; FRAME_PREFIX]);
        let answer = self
            .call(DESCRIBE_INDEX_STATS, frame, timeout, STATS_BYTES)
            .await?;
        let response: DescribeIndexStatsResponse = decode(&answer)?;
        let dimension = response.dimension.filter(|dimension| *dimension > 0);
        let named = response
            .vector_type
            .as_deref()
            .and_then(VectorType::from_name);
        Ok(IndexStats {
            shape: IndexShape {
                dimension,
                // Older servers name no type; only a dense index has a dimension.
                vector_type: named.or(dimension.map(|_| VectorType::Dense)),
                metric: response.metric.as_deref().and_then(Metric::from_name),
            },
            total_count: u64::from(response.total_vector_count),
            namespaces: response
                .namespaces
                .into_iter()
                .map(|(name, summary)| (name, u64::from(summary.vector_count)))
                .collect(),
        })
    }

    async fn call(
        &self,
        path: &'static str,
        frame: Bytes,
        timeout: Duration,
        most: usize,
    ) -> Result<Answer, Failure> {
        let request = self.request(path, frame, timeout);
        let exchange = async {
            let response = self.channel.clone().oneshot(request).await;
            answer::read(response.map_err(|error| connection_failure(&error))?, most).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(self.secrets.hide(failure)),
            Err(_) => Err(timed_out(format!("no answer within {timeout:?}"))),
        }
    }

    fn request(&self, path: &'static str, frame: Bytes, timeout: Duration) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(frame)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(path);
        *request.headers_mut() = HeaderMap::clone(&self.headers);
        request
            .headers_mut()
            .insert("grpc-timeout", grpc_timeout(timeout));
        request
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

fn decode<M: prost::Message + Default>(answer: &Answer) -> Result<M, Failure> {
    M::decode(answer.message.clone()).map_err(|error| answer.malformed(&error.to_string()))
}

/// The server's copy of the time limit: at most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (value, unit) = match (timeout.as_micros(), timeout.as_millis()) {
        (micros, _) if micros <= MOST => (micros, 'u'),
        (_, millis) if millis <= MOST => (millis, 'm'),
        _ => (u128::from(timeout.as_secs()).min(MOST), 'S'),
    };
    HeaderValue::from_str(&format!("{value}{unit}"))
        .unwrap_or_else(|_| HeaderValue::from_static("99999999S"))
}

/// A call that did not come to an answer.
pub(crate) fn connection_failure(error: &(dyn Error + 'static)) -> Failure {
    let mut source = Some(error);
    while let Some(cause) = source {
        // The channel reads `grpc-timeout` too and may be first.
        if cause.is::<tonic::TimeoutExpired>() {
            return timed_out("no answer within the attempt's time".to_owned());
        }
        source = cause.source();
    }
    Failure {
        code: Code::Unavailable,
        http_status: None,
        message: chain(error),
        origin: Origin::Connection,
        pushback: None,
        request_id: None,
    }
}

pub(crate) fn timed_out(message: String) -> Failure {
    Failure {
        code: Code::DeadlineExceeded,
        http_status: None,
        message,
        origin: Origin::Timeout,
        pushback: None,
        request_id: None,
    }
}

/// An error and its causes. Those that only repeat what another says are left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = Some(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = cause.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests;
