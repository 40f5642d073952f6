//! What comes back when a call fails.

use std::fmt;
use std::time::Duration;

pub use tonic::Code;

/// Why a call failed, as far as it can be known.
///
/// Where the origin is not [`Origin::Server`] or the code is one of those that say little, the outcome
/// is unknown: the write may have happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The status code: the service's, or the nearest one where there is none.
    pub code: Code,
    /// The HTTP status, where one came.
    pub http_status: Option<u16>,
    /// The words of the one who refused. Neither the key nor another header's value stands in it.
    pub message: String,
    /// Who refused.
    pub origin: Origin,
    /// When to come again, if the answer says so.
    pub pushback: Option<Pushback>,
    /// The service's id of the request, which its support asks for.
    pub request_id: Option<String>,
}

/// Who refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The service, with a gRPC status.
    Server,
    /// Something in front of the service, with an HTTP answer that is not gRPC.
    FrontLayer,
    /// The connection: not made, reset, closed.
    Connection,
    /// The attempt's own time limit.
    Timeout,
}

/// What an answer says about coming again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pushback {
    /// Not before this time has passed.
    Wait(Duration),
    /// Not at all.
    DoNotRetry,
}

/// The name of a code in messages, reports and metrics: `RESOURCE_EXHAUSTED`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl Failure {
    /// The id of the record that the message blames, if it names one.
    ///
    /// The id is the input's own text, so it is a hint: a caller checks that its batch holds it.
    #[must_use]
    pub fn blamed_id(&self) -> Option<&str> {
        // "... Vector ID 'a' contains only zeros", "Vector ID must be ASCII, but got 'a'".
        for (before, after) in [("Vector ID '", "' contains only zeros"), ("but got '", "'")] {
            let Some((_, rest)) = self.message.split_once(before) else {
                continue;
            };
            // From the end, since the id itself may hold a quote.
            if let Some((id, _)) = rest.rsplit_once(after) {
                return Some(id);
            }
        }
        None
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.origin, self.http_status) {
            (Origin::FrontLayer, Some(status)) => write!(out, "HTTP {status}")?,
            _ => out.write_str(code_name(self.code))?,
        }
        match self.origin {
            Origin::Server => {}
            Origin::FrontLayer => out.write_str(" from in front of the service")?,
            Origin::Connection => out.write_str(" on the connection")?,
            Origin::Timeout => out.write_str(" on this side")?,
        }
        if !self.message.is_empty() {
            write!(out, ": {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(out, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
