//! A service that says back, in every place where an answer has words, the key and the headers that it was sent.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::process::{lines, stderr, vecload, write};
use crate::secrets::{HEADER, KEY, assert_silent};

/// How upserts are refused.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    /// The gRPC status.
    grpc: &'static str,
    /// The status of an HTTP answer that comes instead, if one does.
    http: Option<u16>,
    /// What the command exits with.
    exit: i32,
}

/// What every answer of the service says, on whatever it is asked.
fn words(request: &Request<Incoming>) -> String {
    let header = |name| {
        let value = request.headers().get(name).expect("it is sent");
        value.to_str().expect("text").to_owned()
    };
    format!(
        "no access with {} and {}",
        header("api-key"),
        header("x-canary")
    )
}

/// An index without records, for which every write is refused; a control plane that refuses everything.
fn answer(request: &Request<Incoming>, refusal: Refusal) -> Response<BoxBody<Bytes, Infallible>> {
    let words = words(request);
    let answer = Response::builder().header("x-pinecone-request-id", &words);
    let is_grpc = request.uri().path().starts_with("/VectorService/");
    let mut trailers = HeaderMap::new();
    let (status, content_type, body) = match refusal.http {
        _ if request.uri().path() == "/VectorService/DescribeIndexStats" => {
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            // An empty message.
            (200, "application/grpc", Bytes::from_static(&[0; 5]))
        }
        None if is_grpc => {
            trailers.insert("grpc-status", refusal.grpc.parse().expect("a value"));
            trailers.insert("grpc-message", words.parse().expect("a value"));
            (200, "application/grpc", Bytes::new())
        }
        Some(status) if is_grpc => (status, "text/plain", words.into()),
        _ => {
            let error = serde_json::json!({"error": {"code": "UNAUTHENTICATED", "message": words}, "status": 401});
            (401, "application/json", error.to_string().into())
        }
    };
    answer
        .status(status)
        .header("content-type", content_type)
        .body(
            Full::new(body)
                .with_trailers(async move { Some(Ok(trailers)) })
                .boxed(),
        )
        .expect("an answer")
}

/// Serves until the runtime is dropped; gives the host.
fn serve(runtime: &Runtime, refusal: Refusal) -> String {
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| {
                let answer = answer(&request, refusal);
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(async move {
                // The command may go away in the middle of it.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    host
}

/// Runs a load with everything logged into a folder that has what it wrote; gives what it said.
fn load(folder: &TempDir, refusal: Refusal, arguments: &[&str]) -> String {
    let mut command = vecload(folder);
    command
        .args(["load", "corpus.jsonl", "--run-dir", "run", "-vv"])
        .args([
            "--termination-message",
            "run/termination",
            "--max-stall",
            "1s",
        ])
        .args(arguments)
        .env("PINECONE_API_KEY", KEY)
        .env(
            "PINECONE_ADDITIONAL_HEADERS",
            format!("{{\"x-canary\": \"{HEADER}\"}}"),
        )
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace");
    let output = command.output().expect("the command runs");
    let said = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(refusal.exit),
        "{refusal:?}: {said}"
    );
    assert_silent(&output, folder.path());
    said
}

/// Scenario: everything is logged, as text and as JSON, while a service refuses every write with words that hold the key
/// and a secret header, as gRPC and as HTTP: for good, for now, for the records; then a control plane that does so.
/// Guarantees: its words are told and neither secret is, in what the command says, in its run directory, its report, its
/// dead letters and its termination message.
#[test]
fn words_of_the_service_are_told_without_secrets() {
    let runtime = Runtime::new().expect("a runtime");
    let refusal = |grpc, http, exit| Refusal { grpc, http, exit };
    for refusal in [
        refusal("16", None, 5),
        refusal("7", None, 5),
        refusal("14", None, 6),
        refusal("8", None, 6),
        refusal("3", None, 4),
        refusal("0", Some(403), 5),
        refusal("0", Some(503), 6),
    ] {
        let host = serve(&runtime, refusal);
        for format in ["text", "json"] {
            let folder = tempfile::tempdir().expect("a folder");
            write(&folder, "corpus.jsonl", &lines(3));
            let said = load(&folder, refusal, &["--host", &host, "--log-format", format]);
            assert!(
                said.contains("no access with [redacted] and [redacted]"),
                "{refusal:?}: {said}"
            );
            for file in ["run/report.json", "run/termination"] {
                let text = std::fs::read_to_string(folder.path().join(file)).expect(file);
                let is_told = text.contains("[redacted] and [redacted]");
                assert!(is_told || refusal.exit == 4, "{refusal:?}, {file}: {text}");
            }
        }
    }
    let refusal = refusal("16", None, 5);
    let host = serve(&runtime, refusal);
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(3));
    let said = load(
        &folder,
        refusal,
        &["--index", "films", "--controller-host", &host],
    );
    assert!(
        said.contains("no access with [redacted] and [redacted]"),
        "{said}"
    );
}
