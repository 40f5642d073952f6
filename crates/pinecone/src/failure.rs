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
    /// The service's id of the request, which its support asks for. No header's value stands in it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str) -> Failure {
        Failure {
            code,
            http_status: Some(200),
            message: message.to_owned(),
            origin: Origin::Server,
            pushback: None,
            request_id: None,
        }
    }

    /// Scenario: messages that name a record, with quotes in its id, and others.
    /// Guarantees: the id is found whole, and none is invented.
    #[test]
    fn the_blamed_id() {
        let blamed = |message: &str| {
            failure(Code::InvalidArgument, message)
                .blamed_id()
                .map(str::to_owned)
        };
        for (message, id) in [
            (
                "Dense vectors must contain at least one non-zero value. Vector ID 'a-1' contains only zeros",
                Some("a-1"),
            ),
            ("Vector ID 'it's' contains only zeros", Some("it's")),
            (
                "Vector ID must be ASCII, but got 'caf\u{e9}'",
                Some("caf\u{e9}"),
            ),
            ("Vector ID must not contain null character", None),
            (
                "Metadata value must be a string, number, boolean or list of strings, got '{\"a\":1}' for field 'b'",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(blamed(message).as_deref(), id, "{message}");
        }
    }

    /// Scenario: a failure of each origin.
    /// Guarantees: the words say the code, who refused, the message and the request's id.
    #[test]
    fn words() {
        let server = Failure {
            request_id: Some("r-1".to_owned()),
            ..failure(Code::ResourceExhausted, "slow down")
        };
        assert_eq!(
            server.to_string(),
            "RESOURCE_EXHAUSTED: slow down (request r-1)"
        );
        let of = |origin, http_status| {
            Failure {
                origin,
                http_status,
                ..failure(Code::Unavailable, "m")
            }
            .to_string()
        };
        assert_eq!(
            of(Origin::FrontLayer, Some(503)),
            "HTTP 503 from in front of the service: m"
        );
        assert_eq!(
            of(Origin::Connection, None),
            "UNAVAILABLE on the connection: m"
        );
        assert_eq!(of(Origin::Timeout, None), "UNAVAILABLE on this side: m");
    }

    /// Scenario: all codes.
    /// Guarantees: each has the name that gRPC gives it, by its number.
    #[test]
    fn names_of_codes() {
        let names: Vec<_> = (0..=16)
            .map(|code| code_name(Code::from_i32(code)))
            .collect();
        assert_eq!(
            names.join(" "),
            "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED \
             RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
        );
    }
}
