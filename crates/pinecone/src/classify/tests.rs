use std::time::Duration;

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

fn plain(status: u16, code: Code, message: &str) -> Failure {
    Failure {
        http_status: Some(status),
        origin: Origin::FrontLayer,
        ..failure(code, message)
    }
}

fn connection(code: Code, message: &str) -> Failure {
    Failure {
        http_status: None,
        origin: Origin::Connection,
        ..failure(code, message)
    }
}

fn waits(failure: Failure) -> Failure {
    Failure {
        pushback: Some(Pushback::Wait(Duration::from_secs(2))),
        ..failure
    }
}

/// What is known to happen, with its class and the attempts that it allows.
pub(crate) fn cases() -> Vec<(Failure, Class, Option<u32>)> {
    use Class::{Exhausted, Fatal, NamespaceFatal, Refused, Throttled, TooLarge, Transient};
    const QPS: &str = "Request failed. You've reached the upsert QPS limit for namespace for the current month (100 QPS). Pace your upsert requests or contact Pinecone Support";
    const SIZE: &str = "Request failed. You've reached the max upsert size limit per second for index a. Pace your upserts or contact Pinecone Support";
    const MONTH: &str = "Request failed. You've reached your write unit limit for the current month. To continue writing data, upgrade your plan.";
    const STORAGE: &str = "Request failed. You've reached the max storage allowed for project p. To update or upsert new data, delete records or upgrade your plan.";
    const NAMESPACES: &str = "Request failed. You've reached the max namespaces allowed in serverless index a. To add more namespaces, upgrade your plan.";
    const INVOICES: &str =
        "Request failed. Pay all past due invoices to lift restrictions on your account.";
    const DOCUMENTS: &str =
        "This index has a document schema, so writes must go through the documents API.";
    let timeout = Failure {
        http_status: None,
        origin: Origin::Timeout,
        ..failure(Code::DeadlineExceeded, "no answer within 20s")
    };
    let few = Some(5);
    vec![
        // This side.
        (timeout, Transient, None),
        (
            connection(
                Code::Unavailable,
                "transport error: invalid peer certificate: UnknownIssuer",
            ),
            Fatal,
            None,
        ),
        (
            connection(
                Code::Unavailable,
                "transport error: HTTP/2 was not negotiated.",
            ),
            Fatal,
            None,
        ),
        (
            connection(
                Code::Unavailable,
                "tcp connect error: Connection refused (os error 111)",
            ),
            Transient,
            None,
        ),
        // What tonic makes of a reset and of ENHANCE_YOUR_CALM is not asked.
        (
            connection(Code::Cancelled, "operation was canceled"),
            Transient,
            None,
        ),
        (
            connection(Code::ResourceExhausted, "h2 protocol error: too_many_pings"),
            Transient,
            None,
        ),
        (
            connection(Code::Internal, "stream error received: refused stream"),
            Transient,
            None,
        ),
        // Rates.
        (failure(Code::ResourceExhausted, QPS), Throttled, None),
        (failure(Code::ResourceExhausted, SIZE), Throttled, None),
        (failure(Code::ResourceExhausted, ""), Throttled, None),
        (
            failure(Code::Unavailable, "local_rate_limited"),
            Throttled,
            None,
        ),
        (
            failure(Code::Unavailable, "Too Many Requests"),
            Throttled,
            None,
        ),
        (
            plain(429, Code::ResourceExhausted, "Too Many Requests"),
            Throttled,
            None,
        ),
        (
            plain(429, Code::ResourceExhausted, "slow down"),
            Throttled,
            None,
        ),
        // Hints.
        (waits(failure(Code::Unavailable, "")), Throttled, None),
        (waits(failure(Code::Internal, "")), Throttled, None),
        (waits(plain(503, Code::Unavailable, "")), Throttled, None),
        // Size.
        (
            failure(
                Code::InvalidArgument,
                "Request size 3MB exceeds the maximum supported size of 2MB",
            ),
            TooLarge,
            None,
        ),
        (
            failure(
                Code::InvalidArgument,
                "Your request is larger than the maximum supported size - 2MB. Please try to reduce your batch size.",
            ),
            TooLarge,
            None,
        ),
        (
            failure(
                Code::OutOfRange,
                "Error, decoded message length too large: found 5453452 bytes, the limit is: 4194304 bytes",
            ),
            TooLarge,
            None,
        ),
        (
            failure(
                Code::OutOfRange,
                "Error, message length too large: found 5453452 bytes, the limit is: 4194304 bytes",
            ),
            TooLarge,
            None,
        ),
        (
            failure(
                Code::ResourceExhausted,
                "grpc: received message larger than max (5453452 vs. 4194304)",
            ),
            TooLarge,
            None,
        ),
        (
            failure(
                Code::ResourceExhausted,
                "gRPC message exceeds maximum size 4194304: 5453452",
            ),
            TooLarge,
            None,
        ),
        (
            plain(413, Code::Unknown, "Payload Too Large"),
            TooLarge,
            None,
        ),
        // A size that comes with a hint is still a size.
        (
            waits(failure(
                Code::InvalidArgument,
                "Request size 3MB exceeds the maximum supported size of 2MB",
            )),
            TooLarge,
            None,
        ),
        // Quotas.
        (failure(Code::ResourceExhausted, MONTH), Exhausted, None),
        (
            waits(failure(Code::ResourceExhausted, MONTH)),
            Exhausted,
            None,
        ),
        (plain(429, Code::ResourceExhausted, MONTH), Exhausted, None),
        (failure(Code::PermissionDenied, STORAGE), Exhausted, None),
        (plain(403, Code::PermissionDenied, STORAGE), Exhausted, None),
        (
            failure(Code::Unknown, "Index is full, cannot accept data."),
            Exhausted,
            None,
        ),
        (
            plain(402, Code::Unknown, "PAYMENT_REQUIRED"),
            Exhausted,
            None,
        ),
        (failure(Code::PermissionDenied, INVOICES), Exhausted, None),
        (
            plain(403, Code::PermissionDenied, "QUOTA_EXCEEDED"),
            Exhausted,
            None,
        ),
        // Namespaces.
        (
            failure(Code::PermissionDenied, NAMESPACES),
            NamespaceFatal,
            None,
        ),
        (
            plain(403, Code::PermissionDenied, NAMESPACES),
            NamespaceFatal,
            None,
        ),
        (
            failure(Code::InvalidArgument, "WRITE_TO_ALIAS: `a` is an alias"),
            NamespaceFatal,
            None,
        ),
        (
            failure(Code::InvalidArgument, "NAMESPACE_INVALID"),
            NamespaceFatal,
            None,
        ),
        (
            failure(Code::NotFound, "Namespace not found"),
            NamespaceFatal,
            None,
        ),
        (
            failure(Code::FailedPrecondition, "the namespace is being deleted"),
            NamespaceFatal,
            None,
        ),
        // Records; the user's own words do not count.
        (
            failure(
                Code::InvalidArgument,
                "Vector dimension 3 does not match the dimension of the index 2",
            ),
            Refused,
            None,
        ),
        (
            failure(
                Code::InvalidArgument,
                "Metadata size is 41287 bytes, which exceeds the limit of 40960 bytes per vector",
            ),
            Refused,
            None,
        ),
        (
            failure(
                Code::InvalidArgument,
                "Metadata value must be a string, number, boolean or list of strings, got '{\"document schema...' for field 'namespace alias'",
            ),
            Refused,
            None,
        ),
        (
            failure(
                Code::InvalidArgument,
                "Vector ID must be ASCII, but got 'write_to_alias'",
            ),
            Refused,
            None,
        ),
        (
            failure(
                Code::InvalidArgument,
                "Dense vectors must contain at least one non-zero value. Vector ID 'a' contains only zeros",
            ),
            Refused,
            None,
        ),
        (
            failure(Code::InvalidArgument, "anything else"),
            Refused,
            None,
        ),
        // The index.
        (failure(Code::InvalidArgument, DOCUMENTS), Fatal, None),
        (failure(Code::NotFound, "index gone"), Fatal, None),
        (
            failure(Code::Unauthenticated, "Invalid API key"),
            Fatal,
            None,
        ),
        (failure(Code::PermissionDenied, "no"), Fatal, None),
        (
            failure(Code::Unimplemented, "unknown method Upsert"),
            Fatal,
            None,
        ),
        (
            failure(Code::FailedPrecondition, "the index is not ready"),
            Fatal,
            None,
        ),
        (failure(Code::DataLoss, ""), Fatal, None),
        (failure(Code::OutOfRange, "index out of range"), Fatal, None),
        // In front of the service.
        (
            plain(401, Code::Unauthenticated, "Unauthorized"),
            Fatal,
            None,
        ),
        (plain(403, Code::PermissionDenied, "Forbidden"), Fatal, None),
        (plain(400, Code::Internal, "Bad Request"), Fatal, None),
        (
            plain(404, Code::Unimplemented, "404 page not found"),
            Fatal,
            None,
        ),
        (plain(301, Code::Unknown, "Moved Permanently"), Fatal, None),
        (plain(408, Code::Unknown, ""), Transient, None),
        (plain(425, Code::Unknown, ""), Transient, None),
        (plain(501, Code::Unknown, ""), Fatal, None),
        (plain(500, Code::Unknown, "<html>"), Transient, None),
        (
            plain(503, Code::Unavailable, "no healthy upstream"),
            Transient,
            None,
        ),
        (
            plain(200, Code::Unknown, "<html>please log in"),
            Transient,
            few,
        ),
        // Codes.
        (failure(Code::Unavailable, "unavailable"), Transient, None),
        (failure(Code::Aborted, ""), Transient, None),
        (failure(Code::DeadlineExceeded, ""), Transient, None),
        (failure(Code::Cancelled, "Timeout expired"), Transient, None),
        (failure(Code::Internal, ""), Transient, few),
        (failure(Code::Unknown, ""), Transient, few),
    ]
}

/// Scenario: the answers that the service, its front layer and the connection are known to give.
/// Guarantees: each has the class that its row says, and tells a person why.
#[test]
fn each_failure_has_its_class() {
    for (failure, class, attempts) in cases() {
        let verdict = classify(&failure);
        assert_eq!(
            (verdict.class, verdict.attempts),
            (class, attempts),
            "{failure:?}"
        );
        assert!(!verdict.reason.is_empty());
    }
}

/// Scenario: the table itself, against the cases.
/// Guarantees: every row is the first to fit some case, so none is dead or untested.
#[test]
fn each_row_is_reached() {
    let mut reached = vec![false; TABLE.len()];
    for (failure, ..) in cases() {
        let message = failure.message.to_ascii_lowercase();
        if let Some(row) = TABLE.iter().position(|row| row.fits(&failure, &message)) {
            reached[row] = true;
        }
    }
    let missed: Vec<_> = TABLE
        .iter()
        .zip(reached)
        .filter(|(_, reached)| !reached)
        .map(|(row, _)| row.reason)
        .collect();
    assert_eq!(missed, Vec::<&str>::new());
}

/// Scenario: the words of each row.
/// Guarantees: they are in lower case, as the message is that they are looked for in.
#[test]
fn words_are_in_lower_case() {
    for row in TABLE {
        let words: Vec<&str> = match row.words {
            Words::Any => Vec::new(),
            Words::Begins(words) | Words::Has(words) => words.to_vec(),
            Words::Both(first, second) => vec![first, second],
        };
        assert!(
            words
                .iter()
                .all(|word| !word.is_empty() && *word == word.to_lowercase()),
            "{words:?}"
        );
    }
}

/// Scenario: an answer that asks not to come again, for each class.
/// Guarantees: what would be sent again is not; blaming, halving and stopping go on as ever.
#[test]
fn do_not_retry() {
    for (failure, class, attempts) in cases() {
        if failure.pushback.is_some() {
            continue;
        }
        let verdict = classify(&Failure {
            pushback: Some(Pushback::DoNotRetry),
            ..failure
        });
        let retried = matches!(class, Class::Throttled | Class::Transient);
        assert_eq!(verdict.class, class);
        assert_eq!(verdict.attempts, if retried { Some(1) } else { attempts });
    }
}

/// Scenario: every code from the service with words that are a record's own text.
/// Guarantees: only INVALID_ARGUMENT blames a record.
#[test]
fn only_invalid_argument_blames_a_record() {
    for code in (0..=16).map(Code::from_i32) {
        let verdict = classify(&failure(code, "Metadata value must be a string"));
        assert_eq!(
            verdict.class == Class::Refused,
            code == Code::InvalidArgument,
            "{code:?}"
        );
    }
    let front = plain(
        400,
        Code::InvalidArgument,
        "Metadata value must be a string",
    );
    assert_eq!(classify(&front).class, Class::Fatal);
}
