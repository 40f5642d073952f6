//! What a failure means for the sender: one table, read from the top, and the first row that fits.
//!
//! Rows that look at words come before rows that look at codes, since one code means many things here:
//! RESOURCE_EXHAUSTED is a rate, a month's quota, or a message that is too long. The words of an
//! INVALID_ARGUMENT hold the user's own ids, keys and values; rows about records therefore match how the
//! message begins, and stand before those that look for a word anywhere in it.
//!
//! [`Class::Refused`] blames a record, and its record becomes a dead letter. So it is given for
//! INVALID_ARGUMENT from the service only, never for a fault of the system.

use crate::failure::{Code, Failure, Origin, Pushback};

/// What is to be done with a batch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Too fast: slow down, wait, send the same bytes.
    Throttled,
    /// Bad luck: wait, send the same bytes, keep the rate.
    Transient,
    /// The request is too large: halve it, never send it as it is.
    TooLarge,
    /// A record is at fault: find it, send the others.
    Refused,
    /// Waiting does not help until a person has acted: stop, resumable.
    Exhausted,
    /// This namespace takes no writes; others may.
    NamespaceFatal,
    /// No request can succeed: stop.
    Fatal,
}

/// The class of a failure, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub class: Class,
    /// How often a batch may be attempted in all when it fails like this, the first time included;
    /// `None`: as long as the time allows.
    pub attempts: Option<u32>,
    /// Why it is so, and what a person can do.
    pub reason: &'static str,
}

/// Says what a failure means.
#[must_use]
pub fn classify(failure: &Failure) -> Verdict {
    let message = failure.message.to_ascii_lowercase();
    let row = TABLE.iter().find(|row| row.fits(failure, &message));
    let Row {
        class,
        attempts,
        reason,
        ..
    } = row.unwrap_or(&OTHER);
    let retried = matches!(class, Class::Throttled | Class::Transient);
    Verdict {
        class: *class,
        // The service may forbid to come again; it cannot forbid to blame, halve or stop.
        attempts: match failure.pushback {
            Some(Pushback::DoNotRetry) if retried => Some(1),
            _ => *attempts,
        },
        reason,
    }
}

/// What a row asks of a failure, and what it then says. What is left empty asks nothing.
struct Row {
    codes: &'static [Code],
    origin: Option<Origin>,
    /// The least and the greatest HTTP status; for answers that are not gRPC.
    http: Option<(u16, u16)>,
    words: Words,
    waits: bool,
    class: Class,
    attempts: Option<u32>,
    reason: &'static str,
}

/// What a row asks of the message, in lower case.
enum Words {
    Any,
    /// It begins with one of these.
    Begins(&'static [&'static str]),
    /// One of these stands in it.
    Has(&'static [&'static str]),
    /// Both stand in it.
    Both(&'static str, &'static str),
}

impl Row {
    fn fits(&self, failure: &Failure, message: &str) -> bool {
        let http = || match (failure.origin, failure.http_status) {
            (Origin::FrontLayer, Some(status)) => Some(status),
            _ => None,
        };
        (self.codes.is_empty() || self.codes.contains(&failure.code))
            && self.origin.is_none_or(|origin| origin == failure.origin)
            && self.http.is_none_or(|(least, greatest)| {
                http().is_some_and(|status| (least..=greatest).contains(&status))
            })
            && (!self.waits || matches!(failure.pushback, Some(Pushback::Wait(_))))
            && match self.words {
                Words::Any => true,
                Words::Begins(words) => words.iter().any(|word| message.starts_with(word)),
                Words::Has(words) => words.iter().any(|word| message.contains(word)),
                Words::Both(first, second) => message.contains(first) && message.contains(second),
            }
    }
}

/// A row that asks nothing; the others state what they ask.
const ASKS_NOTHING: Row = Row {
    codes: &[],
    origin: None,
    http: None,
    words: Words::Any,
    waits: false,
    class: Class::Fatal,
    attempts: None,
    reason: "",
};

/// What no row fits: an answer that no write should have. It is never the record's fault.
const OTHER: Row = Row {
    reason: "the service gave an answer that a write should not have; look the message up or ask its support",
    ..ASKS_NOTHING
};

/// For answers that say nothing of their cause: they may pass, and they may be a defect that does not.
const FEW: Option<u32> = Some(5);

const THROTTLE_WORDS: &[&str] = &[
    "limit per second",
    "qps limit",
    "rate limit",
    "rate_limit",
    "too many requests",
];

const TABLE: &[Row] = &[
    // This side.
    Row {
        origin: Some(Origin::Timeout),
        class: Class::Transient,
        reason: "no answer came within the attempt's time; the write may have happened",
        ..ASKS_NOTHING
    },
    Row {
        origin: Some(Origin::Connection),
        words: Words::Has(&["invalid peer certificate"]),
        class: Class::Fatal,
        reason: "the server's certificate is not trusted; check the host, or name the authority's file with --ca-file",
        ..ASKS_NOTHING
    },
    Row {
        origin: Some(Origin::Connection),
        words: Words::Has(&["http/2 was not negotiated"]),
        class: Class::Fatal,
        reason: "the server does not speak HTTP/2, which gRPC needs; check the host and any proxy before it",
        ..ASKS_NOTHING
    },
    // Not made, reset, GOAWAY, ENHANCE_YOUR_CALM, and what tonic calls CANCELLED: the code is this
    // side's guess, so it is not asked.
    Row {
        origin: Some(Origin::Connection),
        class: Class::Transient,
        reason: "the connection failed; the write may have happened",
        ..ASKS_NOTHING
    },
    // A record, by how the message begins.
    Row {
        codes: &[Code::InvalidArgument],
        origin: Some(Origin::Server),
        words: Words::Begins(&[
            "metadata ",
            "vector ",
            "dense vector",
            "sparse vector",
            "index configuration does not support",
            "upserting ",
        ]),
        class: Class::Refused,
        reason: "the service refused a record",
        ..ASKS_NOTHING
    },
    // Size.
    Row {
        words: Words::Begins(&[
            "request size",
            "your request is larger than the maximum supported size",
        ]),
        class: Class::TooLarge,
        reason: "the request is larger than the service takes",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::OutOfRange, Code::ResourceExhausted],
        words: Words::Has(&[
            "message length too large",
            "message larger than max",
            "message too large",
            "message exceeds maximum size",
        ]),
        class: Class::TooLarge,
        reason: "the request is larger than the server's gRPC library takes",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((413, 413)),
        class: Class::TooLarge,
        reason: "the request is larger than what stands in front of the service takes",
        ..ASKS_NOTHING
    },
    // Rates, before quotas: their texts hold names that the user has chosen.
    Row {
        codes: &[Code::ResourceExhausted, Code::Unavailable],
        words: Words::Has(THROTTLE_WORDS),
        class: Class::Throttled,
        reason: "the service's limit per second is reached",
        ..ASKS_NOTHING
    },
    // Quotas.
    Row {
        codes: &[
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
        ],
        words: Words::Has(&["write unit limit", "for the current month"]),
        class: Class::Exhausted,
        reason: "the month's write units are used up; upgrade the plan or wait for the next month, then continue the run",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
        ],
        words: Words::Has(&["max storage allowed"]),
        class: Class::Exhausted,
        reason: "the storage of the project is full; delete records or upgrade the plan, then continue the run",
        ..ASKS_NOTHING
    },
    Row {
        words: Words::Begins(&["index is full"]),
        class: Class::Exhausted,
        reason: "the index is full; make it larger or delete records, then continue the run",
        ..ASKS_NOTHING
    },
    Row {
        words: Words::Both("past due", "invoice"),
        class: Class::Exhausted,
        reason: "the account is restricted; pay its invoices, then continue the run",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((402, 402)),
        class: Class::Exhausted,
        reason: "the account is restricted; see its billing page, then continue the run",
        ..ASKS_NOTHING
    },
    // Namespaces.
    Row {
        codes: &[
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
        ],
        words: Words::Has(&["max namespaces allowed"]),
        class: Class::NamespaceFatal,
        reason: "the index has as many namespaces as the plan allows; delete one or upgrade the plan",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::InvalidArgument, Code::FailedPrecondition],
        words: Words::Has(&["write_to_alias", "namespace alias"]),
        class: Class::NamespaceFatal,
        reason: "the namespace is an alias, which takes no writes; write to the namespace it stands for",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::InvalidArgument],
        words: Words::Has(&["namespace_too_long", "namespace_invalid"]),
        class: Class::NamespaceFatal,
        reason: "the service does not take the namespace's name",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::NotFound],
        words: Words::Has(&["namespace"]),
        class: Class::NamespaceFatal,
        reason: "the namespace is not there; it may have been deleted in the meantime",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::FailedPrecondition],
        words: Words::Both("namespace", "delet"),
        class: Class::NamespaceFatal,
        reason: "the namespace is being deleted",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::ResourceExhausted, Code::PermissionDenied],
        words: Words::Has(&["quota"]),
        class: Class::Exhausted,
        reason: "a quota is used up; see the message, then continue the run",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::Unimplemented,
        ],
        words: Words::Has(&["document schema"]),
        class: Class::Fatal,
        reason: "the index holds documents, and the Vectors API cannot write those; load into an index of vectors",
        ..ASKS_NOTHING
    },
    // Whoever says when to come again wants to be asked again, whatever else he says.
    Row {
        waits: true,
        class: Class::Throttled,
        reason: "the answer says when to come again",
        ..ASKS_NOTHING
    },
    // What stands in front of the service.
    Row {
        http: Some((429, 429)),
        class: Class::Throttled,
        reason: "what stands in front of the service limits the rate",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((401, 401)),
        class: Class::Fatal,
        reason: "the key is not valid for this index; check PINECONE_API_KEY and the host",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((403, 403)),
        class: Class::Fatal,
        reason: "the key may not write to this index; check PINECONE_API_KEY, its permissions and the host",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((408, 408)),
        class: Class::Transient,
        reason: "what stands in front of the service waited too long",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((425, 425)),
        class: Class::Transient,
        reason: "what stands in front of the service asks to be asked again",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((501, 501)),
        class: Class::Fatal,
        reason: "the host does not serve this call; check the host",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((500, 599)),
        class: Class::Transient,
        reason: "the service could not be reached from what stands in front of it",
        ..ASKS_NOTHING
    },
    Row {
        http: Some((200, 299)),
        class: Class::Transient,
        attempts: FEW,
        reason: "the answer is not gRPC; check the host and any proxy before it",
        ..ASKS_NOTHING
    },
    Row {
        origin: Some(Origin::FrontLayer),
        class: Class::Fatal,
        reason: "the answer is not gRPC; check the host and any proxy before it",
        ..ASKS_NOTHING
    },
    // The service, by its code.
    Row {
        codes: &[Code::ResourceExhausted],
        class: Class::Throttled,
        reason: "the service has no room for the request now",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[
            Code::Unavailable,
            Code::Aborted,
            Code::DeadlineExceeded,
            Code::Cancelled,
        ],
        class: Class::Transient,
        reason: "the service could not answer now; the write may have happened",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::Internal, Code::Unknown],
        class: Class::Transient,
        attempts: FEW,
        reason: "the service failed and does not say why; the write may have happened",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::InvalidArgument],
        class: Class::Refused,
        reason: "the service refused a record",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::Unauthenticated],
        class: Class::Fatal,
        reason: "the key is not valid for this index; check PINECONE_API_KEY and the host",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::PermissionDenied],
        class: Class::Fatal,
        reason: "the key may not write to this index; check its permissions",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::NotFound],
        class: Class::Fatal,
        reason: "there is no such index; check the host",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::Unimplemented],
        class: Class::Fatal,
        reason: "the host does not serve this call; check that it is an index's host",
        ..ASKS_NOTHING
    },
    Row {
        codes: &[Code::FailedPrecondition],
        class: Class::Fatal,
        reason: "the index takes no writes in its present state; see the message",
        ..ASKS_NOTHING
    },
];

#[cfg(test)]
pub(crate) mod tests;
