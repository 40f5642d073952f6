//! Reads an answer: gRPC's, with its status in the trailers or the headers, or whatever came instead.
//!
//! tonic's own reader is not used because it sits behind its codec, drops the headers of failed calls,
//! and panics on a status whose details are not base64.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use tonic::body::Body;

use super::connection_failure;
use crate::failure::{Code, Failure, Origin, Pushback};

/// A successful call: the message, and the headers and trailers around it.
pub(super) struct Answer {
    pub(super) message: Bytes,
    around: Around,
}

/// Headers and trailers; the service has been seen to use either.
pub(crate) struct Around {
    headers: HeaderMap,
    trailers: HeaderMap,
}

/// As much of a plain answer as is kept; a page of HTML says no more in its second kilobyte.
const PLAIN_BYTES: usize = 1024;

/// The prefix of a message: a flag for compression and the length.
const PREFIX: usize = 5;

impl Answer {
    /// The service's id of the request.
    pub(super) fn request_id(&self) -> Option<String> {
        self.around.request_id()
    }

    /// The log sequence number of a write.
    pub(super) fn lsn(&self) -> Option<u64> {
        // The second is an older name, which the official client still reads.
        self.number(["x-pinecone-request-lsn", "x-pinecone-lsn-committed"])
    }

    /// The log sequence number up to which the writes of a namespace can be read.
    pub(super) fn max_indexed_lsn(&self) -> Option<u64> {
        self.number(["x-pinecone-max-indexed-lsn", "x-pinecone-lsn-reconciled"])
    }

    /// The first of these headers that is there and a number. One that is missing says nothing: it is
    /// never 0.
    fn number(&self, names: [&str; 2]) -> Option<u64> {
        names
            .iter()
            .find_map(|name| self.around.get(name)?.trim().parse().ok())
    }

    /// Where the answer is not what it should be. Nothing is known about the outcome.
    pub(super) fn malformed(&self, problem: &str) -> Failure {
        self.around.malformed(problem)
    }
}

/// Reads a response to its end, at most so many bytes.
pub(super) async fn read(response: Response<Body>, most: usize) -> Result<Answer, Failure> {
    let (head, mut body) = response.into_parts();
    let mut around = Around::of(head.headers);
    if !around.is_grpc(head.status) {
        return Err(plain(head.status, &around, body).await);
    }
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            // A status that is known is worth more than how the stream ended.
            Err(_) if around.headers.contains_key("grpc-status") => break,
            Err(error) => {
                return Err(Failure {
                    http_status: Some(head.status.as_u16()),
                    request_id: around.request_id(),
                    ..connection_failure(&error)
                });
            }
        };
        match frame.into_data() {
            Ok(bytes) if data.len() + bytes.len() > most => {
                return Err(around.malformed("it is longer than any such answer should be"));
            }
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    around.trailers = trailers;
                }
            }
        }
    }
    let Some(status) = around.get("grpc-status") else {
        return Err(around.malformed("it ends without a status"));
    };
    let code = Code::from_bytes(status.as_bytes());
    if code != Code::Ok {
        return Err(Failure {
            code,
            http_status: Some(head.status.as_u16()),
            message: around.message(),
            origin: Origin::Server,
            pushback: around.pushback(),
            request_id: around.request_id(),
        });
    }
    let data = data.freeze();
    match message(&data) {
        Ok(message) => Ok(Answer { message, around }),
        Err(problem) => Err(around.malformed(problem)),
    }
}

/// The one message of a unary answer.
fn message(data: &Bytes) -> Result<Bytes, &'static str> {
    let Some((prefix, rest)) = data.split_first_chunk::<PREFIX>() else {
        return Err("it has no message");
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("it is compressed, which was not asked for");
    }
    if u32::from_be_bytes(length) as usize != rest.len() {
        return Err("its message is not as long as it says");
    }
    Ok(data.slice(PREFIX..))
}

/// An answer that is not gRPC: its status, and the beginning of its text.
async fn plain(status: StatusCode, around: &Around, mut body: Body) -> Failure {
    let mut text = Vec::new();
    while text.len() < PLAIN_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    text.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    text.truncate(PLAIN_BYTES);
    let mut message = one_line(&String::from_utf8_lossy(&text));
    if message.is_empty() {
        message = status.canonical_reason().unwrap_or_default().to_owned();
    }
    Failure {
        // gRPC's own mapping, but for 429, which it calls UNAVAILABLE.
        code: match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 => Code::ResourceExhausted,
            502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        },
        http_status: Some(status.as_u16()),
        message,
        origin: Origin::FrontLayer,
        pushback: around.pushback(),
        request_id: around.request_id(),
    }
}

/// The text without line breaks and other control characters, which do not belong on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    spaced.trim().to_owned()
}

// === impl Around ===

impl Around {
    /// Headers alone.
    pub(crate) fn of(headers: HeaderMap) -> Self {
        Self {
            headers,
            trailers: HeaderMap::new(),
        }
    }

    fn is_grpc(&self, status: StatusCode) -> bool {
        let grpc = self
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        // A status in the headers is gRPC whatever else the answer says.
        self.headers.contains_key("grpc-status") || (status == StatusCode::OK && grpc)
    }

    /// A value; that of the trailers before that of the headers.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name))?;
        value.to_str().ok()
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.get("x-pinecone-request-id").map(str::to_owned)
    }

    /// `grpc-message`, which is percent-encoded UTF-8.
    fn message(&self) -> String {
        let name = "grpc-message";
        let value = self.trailers.get(name).or_else(|| self.headers.get(name));
        value.map_or_else(String::new, |value| {
            one_line(&percent_encoding::percent_decode(value.as_bytes()).decode_utf8_lossy())
        })
    }

    pub(crate) fn pushback(&self) -> Option<Pushback> {
        let name = "grpc-retry-pushback-ms";
        if let Some(value) = self.trailers.get(name).or_else(|| self.headers.get(name)) {
            return Some(
                value
                    .to_str()
                    .ok()
                    .and_then(milliseconds)
                    .map_or(Pushback::DoNotRetry, Pushback::Wait),
            );
        }
        // A date, the other form, would be by a clock that is not ours.
        let seconds = self.get(RETRY_AFTER.as_str())?.trim().parse().ok()?;
        Some(Pushback::Wait(Duration::from_secs(seconds)))
    }

    pub(crate) fn malformed(&self, problem: &str) -> Failure {
        Failure {
            code: Code::Internal,
            http_status: Some(StatusCode::OK.as_u16()),
            message: format!("the answer cannot be understood: {problem}"),
            origin: Origin::Server,
            pushback: None,
            request_id: self.request_id(),
        }
    }
}

/// A number of milliseconds; a negative or unreadable one asks not to come again.
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(whole) = text.parse() {
        return Some(Duration::from_millis(whole));
    }
    // The official client reads fractions too.
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? / 1000.0).ok()
}
