//! The transport over real connections, against a server on loopback that answers by script.

mod reads;
mod rows;
mod server;
mod tls;

use http::Response;
use tokio::net::TcpListener;
use vecload_proto::NamespaceSummary;

use self::server::{
    Reply, Script, Seen, error, grpc, message, reply, serve, trailers_only, with_trailers,
};
use super::*;
use crate::{Class, Pushback, classify};

const PATIENT: Duration = Duration::from_secs(30);

fn settings(url: impl Into<String>) -> ClientSettings {
    ClientSettings {
        host: url.into(),
        api_key: Some("pcsk_sesame".into()),
        ..ClientSettings::default()
    }
}

fn frame() -> Bytes {
    let mut frame = Vec::new();
    crate::begin(&mut frame);
    crate::seal("ns", &mut frame);
    frame.into()
}

fn ack(count: u32) -> Bytes {
    message(&UpsertResponse {
        upserted_count: count,
    })
}

/// One upsert against a server that plays the script.
async fn upsert(script: impl Script) -> (Result<UpsertAck, Failure>, Vec<Seen>) {
    let (url, seen) = serve(script).await;
    let client = Client::new(&settings(url)).unwrap();
    let result = client.upsert(frame(), PATIENT).await;
    let seen = seen.lock().unwrap().clone();
    (result, seen)
}

/// One upsert against a server that gives this one answer.
async fn answered(
    answer: impl Fn() -> Response<Reply> + Send + Sync + 'static,
) -> Result<UpsertAck, Failure> {
    upsert(move |_| Ok(answer())).await.0
}

/// Scenario: an upsert that succeeds, with a header of the user's own.
/// Guarantees: path, headers and body are those that the service asks for; the body is the frame.
#[tokio::test]
async fn what_is_sent() {
    let (url, seen) = serve(|_| Ok(grpc(ack(3)))).await;
    let client = Client::new(&ClientSettings {
        additional_headers: vec![("X-Tenant".to_owned(), "t-1".to_owned())],
        ..settings(url)
    })
    .unwrap();
    let ack = client
        .upsert(frame(), Duration::from_millis(12_345))
        .await
        .unwrap();
    assert_eq!(ack.upserted_count, 3);
    let seen = seen.lock().unwrap().pop().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/VectorService/Upsert")
    );
    assert_eq!(seen.body, frame());
    let mut headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let agent = headers
        .iter()
        .position(|header| header.starts_with("user-agent"))
        .unwrap();
    let agent = headers.remove(agent);
    assert!(
        agent.starts_with(concat!(
            "user-agent: vecload/",
            env!("CARGO_PKG_VERSION"),
            " tonic/"
        )),
        "{agent}"
    );
    assert_eq!(
        headers,
        [
            "api-key: pcsk_sesame",
            "content-length: 9",
            "content-type: application/grpc",
            "grpc-timeout: 12345000u",
            "te: trailers",
            "x-pinecone-api-version: 2026-07",
            "x-tenant: t-1",
        ]
    );
}

/// Scenario: acknowledgements with and without what the service adds to them.
/// Guarantees: log sequence number and request id are read from the headers, missing ones are none.
#[tokio::test]
async fn what_an_acknowledgement_says() {
    let plain = answered(|| grpc(ack(1))).await.unwrap();
    assert_eq!((plain.lsn, plain.request_id), (None, None));
    for (name, value, lsn) in [
        ("x-pinecone-request-lsn", "42", Some(42)),
        ("x-pinecone-lsn-committed", "7", Some(7)),
        ("x-pinecone-request-lsn", "soon", None),
        // What is indexed is not what was written.
        ("x-pinecone-max-indexed-lsn", "9", None),
    ] {
        let ack = answered(move || {
            let mut answer = grpc(ack(2));
            answer.headers_mut().insert(name, value.parse().unwrap());
            answer
                .headers_mut()
                .insert("x-pinecone-request-id", "r-1".parse().unwrap());
            answer
        })
        .await
        .unwrap();
        assert_eq!(ack.lsn, lsn, "{name}");
        assert_eq!(ack.request_id.as_deref(), Some("r-1"));
    }
}

/// Scenario: the status of success in the headers already, as the service was seen to send it, and a refusal in the trailers.
/// Guarantees: what the trailers say holds.
#[tokio::test]
async fn trailers_outrank_headers() {
    let failure = answered(|| {
        let mut answer = with_trailers(
            Bytes::new(),
            &[("grpc-status", "14"), ("grpc-message", "late")],
        );
        answer
            .headers_mut()
            .insert("grpc-status", "0".parse().unwrap());
        answer
    })
    .await
    .unwrap_err();
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::Unavailable, "late")
    );
}

/// Scenario: a refusal in headers alone, its message percent-encoded, with details that are not base64.
/// Guarantees: code, message, request id; tonic's own reader would panic.
#[tokio::test]
async fn a_refusal_in_headers_alone() {
    let failure = answered(|| {
        trailers_only(&[
            ("grpc-status", "3"),
            (
                "grpc-message",
                "Vector ID must be ASCII, but got 'caf%C3%A9'%0A100%",
            ),
            ("grpc-status-details-bin", "!"),
            ("x-pinecone-request-id", "r-2"),
        ])
    })
    .await
    .unwrap_err();
    assert_eq!(
        failure,
        Failure {
            code: Code::InvalidArgument,
            http_status: Some(200),
            message: "Vector ID must be ASCII, but got 'caf\u{e9}' 100%".to_owned(),
            origin: Origin::Server,
            pushback: None,
            request_id: Some("r-2".to_owned()),
        }
    );
    assert_eq!(classify(&failure).class, Class::Refused);
}

/// Scenario: refusals that say when to come again, each way of saying it, in headers and in trailers.
/// Guarantees: waits are read to the millisecond; negative and unreadable ones ask not to come again; dates are passed over.
#[tokio::test]
async fn when_to_come_again() {
    let wait = |ms| Some(Pushback::Wait(Duration::from_millis(ms)));
    for (name, value, expected) in [
        ("grpc-retry-pushback-ms", "250", wait(250)),
        ("grpc-retry-pushback-ms", "0", wait(0)),
        (
            "grpc-retry-pushback-ms",
            "1.5",
            Some(Pushback::Wait(Duration::from_micros(1500))),
        ),
        ("grpc-retry-pushback-ms", "-1", Some(Pushback::DoNotRetry)),
        ("grpc-retry-pushback-ms", "-0.5", Some(Pushback::DoNotRetry)),
        ("grpc-retry-pushback-ms", "soon", Some(Pushback::DoNotRetry)),
        ("grpc-retry-pushback-ms", "NaN", Some(Pushback::DoNotRetry)),
        ("grpc-retry-pushback-ms", "", Some(Pushback::DoNotRetry)),
        ("retry-after", "3", wait(3000)),
        ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("retry-after", "-3", None),
    ] {
        let status = [("grpc-status", "8"), (name, value)];
        let failure = answered(move || trailers_only(&status)).await.unwrap_err();
        assert_eq!(failure.pushback, expected, "{name}: {value}");
        let failure = answered(move || with_trailers(Bytes::new(), &status))
            .await
            .unwrap_err();
        assert_eq!(failure.pushback, expected, "{name}: {value}");
    }
}

/// Scenario: answers of a front layer that knows no gRPC.
/// Guarantees: status, text and hint are kept, the text short and on one line.
#[tokio::test]
async fn answers_of_a_front_layer() {
    let html = "<html>\r\n<h1>down</h1>".to_owned() + &" ".repeat(5000);
    for (status, text, expected, class) in [
        (429, "Too\nMany", "Too Many", Class::Throttled),
        (
            503,
            html.as_str(),
            "<html>  <h1>down</h1>",
            Class::Transient,
        ),
        (503, "", "Service Unavailable", Class::Transient),
        (401, "Unauthorized", "Unauthorized", Class::Fatal),
        (403, "Forbidden", "Forbidden", Class::Fatal),
        (413, "", "Payload Too Large", Class::TooLarge),
        (
            200,
            "<html>please log in",
            "<html>please log in",
            Class::Transient,
        ),
    ] {
        let text = text.to_owned();
        let failure = answered(move || {
            let mut answer = reply(text.clone().into());
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
            answer
                .headers_mut()
                .insert("content-type", "text/plain".parse().unwrap());
            answer
        })
        .await
        .unwrap_err();
        assert_eq!(
            (failure.origin, failure.http_status),
            (Origin::FrontLayer, Some(status))
        );
        assert_eq!(failure.message, expected);
        assert_eq!(classify(&failure).class, class, "{failure}");
    }
    let failure = answered(|| {
        let mut answer = reply(Bytes::new());
        *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        answer
            .headers_mut()
            .insert("retry-after", "2".parse().unwrap());
        answer
    })
    .await
    .unwrap_err();
    assert_eq!(
        failure.pushback,
        Some(Pushback::Wait(Duration::from_secs(2)))
    );
}

/// Scenario: a front layer that refuses a large request before it has read it.
/// Guarantees: its answer is read, and the connection serves the next request.
#[tokio::test]
async fn an_answer_before_the_request_is_read() {
    let (url, seen) = serve(server::unread(|number| {
        if number > 0 {
            return grpc(ack(1));
        }
        let mut answer = reply("slow down".into());
        *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        answer
    }))
    .await;
    let client = Client::new(&settings(url)).unwrap();
    let large = Bytes::from(vec![0; 2_000_000]);
    let failure = client.upsert(large, PATIENT).await.unwrap_err();
    assert_eq!(
        (failure.http_status, failure.message.as_str()),
        (Some(429), "slow down")
    );
    assert_eq!(
        client
            .upsert(frame(), PATIENT)
            .await
            .unwrap()
            .upserted_count,
        1
    );
    assert_eq!(seen.lock().unwrap().len(), 2);
}

/// Scenario: answers that are gRPC and yet make no sense.
/// Guarantees: INTERNAL, an unknown outcome tried a few times, and never a panic or an acknowledgement.
#[tokio::test]
async fn answers_that_make_no_sense() {
    let ok: &[(&'static str, &'static str)] = &[("grpc-status", "0")];
    for (body, trailers, problem) in [
        (&b""[..], ok, "no message"),
        (b"\0\0\0\0", ok, "no message"),
        (b"\0\0\0\0\x05\x08\x01", ok, "not as long as it says"),
        (
            b"\0\0\0\0\x02\x08\x01\0\0\0\0\0",
            ok,
            "not as long as it says",
        ),
        (b"\x01\0\0\0\x02\x08\x01", ok, "compressed"),
        (b"\0\0\0\0\x02\x08\xff", ok, "understood"),
        (b"\0\0\0\0\x02\x08\x01", &[], "without a status"),
    ] {
        let failure = answered(move || with_trailers(Bytes::from_static(body), trailers))
            .await
            .unwrap_err();
        assert_eq!(
            (failure.code, failure.origin),
            (Code::Internal, Origin::Server)
        );
        assert!(failure.message.contains(problem), "{failure}");
        assert_eq!(classify(&failure).attempts, Some(5));
    }
    let failure = answered(|| grpc(vec![0; ACK_BYTES + 1].into()))
        .await
        .unwrap_err();
    assert!(failure.message.contains("longer than any"), "{failure}");
    let failure = answered(|| trailers_only(&[("grpc-status", "99")]))
        .await
        .unwrap_err();
    assert_eq!(failure.code, Code::Unknown);
}

/// Scenario: streams reset before and within the answer, for each reason that tonic makes something of.
/// Guarantees: a failure of the connection, transient whatever the reason.
#[tokio::test]
async fn streams_that_are_reset() {
    for reason in [
        h2::Reason::REFUSED_STREAM,
        h2::Reason::CANCEL,
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::ENHANCE_YOUR_CALM,
        h2::Reason::INADEQUATE_SECURITY,
    ] {
        let (result, _) = upsert(move |_| Err(error(reason))).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.origin, Origin::Connection, "{failure:?}");
        assert_eq!(classify(&failure).class, Class::Transient);
        let failure = answered(move || server::broken(ack(1).slice(..3), reason))
            .await
            .unwrap_err();
        assert_eq!(failure.origin, Origin::Connection, "{failure:?}");
        assert_eq!(classify(&failure).class, Class::Transient);
    }
}

/// Scenario: nobody listens, then a server that closes the first connection in mid-call and serves the next.
/// Guarantees: both are failures of the connection, and the next attempt connects anew.
#[tokio::test]
async fn connections_that_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = Client::new(&settings(url))
        .unwrap()
        .upsert(frame(), PATIENT)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code, failure.origin),
        (Code::Unavailable, Origin::Connection)
    );
    assert!(failure.message.contains("refused"), "{failure}");
    assert_eq!(classify(&failure).class, Class::Transient);

    let (url, _) = server::serve_after_closing(1, |_| Ok(grpc(ack(1)))).await;
    let client = Client::new(&settings(url)).unwrap();
    let failure = client.upsert(frame(), PATIENT).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.origin),
        (Code::Unavailable, Origin::Connection)
    );
    assert_eq!(
        client
            .upsert(frame(), PATIENT)
            .await
            .unwrap()
            .upserted_count,
        1
    );
}

/// Scenario: a server that never answers.
/// Guarantees: the attempt ends at its time limit, and the server sees its stream reset.
#[tokio::test]
async fn an_attempt_has_a_time_limit() {
    let (script, reset) = server::silent();
    let (url, _) = serve(script).await;
    let client = Client::new(&settings(url)).unwrap();
    let failure = client
        .upsert(frame(), Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code, failure.origin),
        (Code::DeadlineExceeded, Origin::Timeout)
    );
    assert_eq!(classify(&failure).class, Class::Transient);
    reset.await.unwrap();
}

/// Scenario: time limits from a microsecond to far too long.
/// Guarantees: the header has eight digits at most, in a unit that holds them.
#[test]
fn the_time_limit_as_a_header() {
    for (timeout, expected) in [
        (Duration::from_micros(1), "1u"),
        (Duration::from_secs(20), "20000000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::MAX, "99999999S"),
    ] {
        assert_eq!(grpc_timeout(timeout), expected);
    }
}

/// Scenario: a server that repeats the key and a header's value in its answers.
/// Guarantees: neither stands in a failure, nor in what settings and client show of themselves.
#[tokio::test]
async fn secrets_are_not_repeated() {
    let (url, _) = serve(|_| {
        Ok(trailers_only(&[
            ("grpc-status", "16"),
            ("grpc-message", "wrong key pcsk_sesame for open-sesame"),
            ("x-pinecone-request-id", "of pcsk_sesame"),
        ]))
    })
    .await;
    let settings = ClientSettings {
        additional_headers: vec![("authorization".to_owned(), "open-sesame".to_owned())],
        ..settings(url)
    };
    let client = Client::new(&settings).unwrap();
    let failure = client.upsert(frame(), PATIENT).await.unwrap_err();
    assert_eq!(failure.message, "wrong key [redacted] for [redacted]");
    assert_eq!(failure.request_id.as_deref(), Some("of [redacted]"));
    let shown = format!("{settings:?} {client:?} {failure:?} {failure}");
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(shown.contains("authorization"));
    let request = client.request(UPSERT, Bytes::new(), PATIENT);
    assert!(!format!("{request:?}").contains("sesame"));
}

/// Scenario: the statistics of a dense, a sparse and an unwritten index.
/// Guarantees: shape and counts are read; an old server's dense index is told by its dimension.
#[tokio::test]
async fn statistics() {
    let namespaces = [
        ("".to_owned(), NamespaceSummary { vector_count: 3 }),
        ("a".to_owned(), NamespaceSummary { vector_count: 4 }),
    ];
    let dense = DescribeIndexStatsResponse {
        namespaces: namespaces.into(),
        dimension: Some(8),
        total_vector_count: 7,
        metric: Some("cosine".to_owned()),
        vector_type: Some("dense".to_owned()),
        ..DescribeIndexStatsResponse::default()
    };
    let ask = async |response: &DescribeIndexStatsResponse| {
        let response = message(response);
        let (url, seen) = serve(move |_| Ok(grpc(response.clone()))).await;
        let stats = Client::new(&settings(url))
            .unwrap()
            .describe_index_stats(PATIENT)
            .await
            .unwrap();
        let seen = seen.lock().unwrap().pop().unwrap();
        assert_eq!(
            (seen.path.as_str(), seen.body.as_ref()),
            ("/VectorService/DescribeIndexStats", &[0; 5][..])
        );
        stats
    };
    assert_eq!(
        ask(&dense).await,
        IndexStats {
            shape: IndexShape {
                dimension: Some(8),
                vector_type: Some(VectorType::Dense),
                metric: Some(Metric::Cosine),
            },
            total_count: 7,
            namespaces: [("".to_owned(), 3), ("a".to_owned(), 4)].into(),
        }
    );
    let old = DescribeIndexStatsResponse {
        metric: None,
        vector_type: None,
        ..dense
    };
    assert_eq!(ask(&old).await.shape.vector_type, Some(VectorType::Dense));
    let sparse = DescribeIndexStatsResponse {
        metric: Some("dotproduct".to_owned()),
        vector_type: Some("sparse".to_owned()),
        ..DescribeIndexStatsResponse::default()
    };
    let shape = ask(&sparse).await.shape;
    assert_eq!(
        (shape.dimension, shape.vector_type, shape.metric),
        (None, Some(VectorType::Sparse), Some(Metric::DotProduct))
    );
    let unwritten = DescribeIndexStatsResponse {
        dimension: Some(0),
        ..DescribeIndexStatsResponse::default()
    };
    assert_eq!(ask(&unwritten).await.shape, IndexShape::default());
}
