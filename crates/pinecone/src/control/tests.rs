//! The control plane's client over real connections: against answers by script, and the local index.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vecload_local_index::{LocalService, Options};

use super::*;
use crate::{Pushback, code_name};

const PATIENT: Duration = Duration::from_secs(30);
const KEY: &str = "pcsk_sesame";

fn control(url: &str) -> ControlPlane {
    let settings = ClientSettings {
        host: url.to_owned(),
        api_key: Some(KEY.into()),
        additional_headers: vec![("x-tenant".to_owned(), "tenant-seven".to_owned())],
        ..ClientSettings::default()
    };
    ControlPlane::new(&settings).unwrap()
}

/// Answers each request with this, and keeps what was asked.
async fn serve(status: &str, headers: &str, body: &str) -> (ControlPlane, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = control(&format!("http://{}", listener.local_addr().unwrap()));
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            // The bodies of these tests end with the last brace.
            while !request.ends_with("\r\n\r\n") && !request.ends_with("}}") {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap();
                request += std::str::from_utf8(&buffer[..read]).unwrap();
                if request.starts_with("POST") && request.ends_with("\r\n\r\n") {
                    continue;
                }
            }
            keeping.lock().unwrap().push(request);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (control, seen)
}

async fn described(body: &str) -> IndexDescription {
    let (control, _) = serve("200 OK", "", body).await;
    control.describe("movies", PATIENT).await.unwrap().unwrap()
}

async fn refused(status: &str, headers: &str, body: &str) -> Failure {
    let (control, _) = serve(status, headers, body).await;
    control.describe("movies", PATIENT).await.unwrap_err()
}

/// Scenario: indexes as the service documents them in both shapes of its API, and as an emulator has them.
/// Guarantees: host, state, dimension, metric and kind are the same from either shape; the private host is
/// preferred; whether a connection has TLS is the control plane's to say.
#[tokio::test]
async fn both_shapes_of_the_api() {
    let spec = r#"{"name":"movies","dimension":1536,"metric":"cosine","vector_type":"dense","host":"m.svc.pinecone.io",
        "deletion_protection":"disabled","tags":null,"spec":{"serverless":{"cloud":"aws","region":"us-east-1"}},
        "status":{"ready":true,"state":"Ready"}}"#;
    let schema = r#"{"name":"movies","host":"m.svc.pinecone.io","deletion_protection":"disabled","tags":{},
        "schema":{"fields":{"_values":{"type":"dense_vector","dimension":1536,"metric":"cosine"},
        "_sparse_values":{"type":"sparse_vector"}}},"status":{"ready":true,"state":"Ready"}}"#;
    let old = described(spec).await;
    assert_eq!(old, described(schema).await);
    assert_eq!(old.host, "http://m.svc.pinecone.io");
    let dense = NewKind::Dense {
        dimension: 1536,
        metric: Metric::Cosine,
    };
    assert_eq!(old.kind, IndexKind::Vectors(dense.shape()));

    let sparse = described(
        r#"{"name":"s","host":"https://s","private_host":"s.private","schema":{"fields":{"_sparse_values":{}}},
        "status":{"ready":false,"state":"Initializing"}}"#,
    );
    let sparse = sparse.await;
    assert_eq!(sparse.kind, IndexKind::Vectors(NewKind::Sparse.shape()));
    assert_eq!(
        (sparse.host.as_str(), sparse.ready),
        ("http://s.private", false)
    );

    let emulated = r#"{"name":"e","dimension":4,"metric":"dotproduct","host":"localhost:5081","status":{"ready":true}}"#;
    let emulated = described(emulated).await;
    assert_eq!(emulated.host, "http://localhost:5081");
    assert!(matches!(
        emulated.kind,
        IndexKind::Vectors(IndexShape {
            vector_type: Some(VectorType::Dense),
            ..
        })
    ));

    let documents = r#"{"name":"d","host":"d","schema":{"fields":{"title":{"type":"string"},"_values":{}}},"status":{"ready":true}}"#;
    let kind = described(documents).await.kind;
    assert_eq!(kind, IndexKind::Documents(vec!["title".to_owned()]));
}

/// Scenario: a request for an index, recorded as it was sent.
/// Guarantees: method, path, key, version and additional headers are there; the body is that of the official client.
#[tokio::test]
async fn what_is_sent() {
    let (control, seen) = serve("201 Created", "", "{}").await;
    let index = NewIndex {
        name: "idx".to_owned(),
        cloud: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        kind: NewKind::Dense {
            dimension: 2,
            metric: Metric::Cosine,
        },
    };
    assert_eq!(control.create(&index, PATIENT).await.unwrap(), Created::Yes);
    let request = seen.lock().unwrap().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /indexes HTTP/1.1\r\n"), "{head}");
    for header in [
        "api-key: pcsk_sesame",
        "x-pinecone-api-version: 2026-07",
        "x-tenant: tenant-seven",
        "content-type: application/json",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    // Captured from the official Python client 10.2.
    let official = r#"{"schema":{"fields":{"_values":{"type":"dense_vector","dimension":2,"metric":"cosine"}}},
        "name":"idx","deployment":{"deployment_type":"managed","cloud":"aws","region":"us-east-1"}}"#;
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        serde_json::from_str::<Value>(official).unwrap()
    );
}

/// Scenario: refusals of the service, of what stands in front of it, and of something that is no control plane.
/// Guarantees: each has its class, the words of whoever refused, and what it says about coming again; no secret.
#[tokio::test]
async fn refusals() {
    let body = |code: &str, message: &str| {
        json!({"error": {"code": code, "message": message}}).to_string()
    };
    let quota = body(
        "FORBIDDEN",
        "max serverless indexes, key pcsk_sesame of tenant-seven",
    );
    for (status, body, origin, class) in [
        (
            "401 Unauthorized",
            "Unauthorized".to_owned(),
            Origin::FrontLayer,
            Class::Fatal,
        ),
        ("403 Forbidden", quota, Origin::Server, Class::Fatal),
        (
            "402 Payment Required",
            body("PAYMENT_REQUIRED", "past due"),
            Origin::Server,
            Class::Exhausted,
        ),
        (
            "404 Not Found",
            "<html>".to_owned(),
            Origin::FrontLayer,
            Class::Fatal,
        ),
        (
            "422 Unprocessable Entity",
            body("UNPROCESSABLE_ENTITY", "no"),
            Origin::Server,
            Class::Fatal,
        ),
        (
            "429 Too Many Requests",
            String::new(),
            Origin::FrontLayer,
            Class::Throttled,
        ),
        (
            "500 Internal Server Error",
            body("UNKNOWN", "x"),
            Origin::Server,
            Class::Transient,
        ),
        (
            "503 Service Unavailable",
            String::new(),
            Origin::FrontLayer,
            Class::Transient,
        ),
        ("200 OK", "<html>".to_owned(), Origin::Server, Class::Fatal),
    ] {
        let failure = refused(status, "", &body).await;
        let found = (failure.origin, classify_control(&failure).class);
        // What cannot be read came from something else.
        let origin = if status.starts_with("200") {
            Origin::FrontLayer
        } else {
            origin
        };
        assert_eq!(found, (origin, class), "{status}: {failure}");
        let words = format!("{failure} {failure:?}");
        assert!(
            !words.contains(KEY) && !words.contains("tenant-seven"),
            "{words}"
        );
    }
    let waits = refused("429 Too Many Requests", "retry-after: 7\r\n", "slow").await;
    assert_eq!(waits.pushback, Some(Pushback::Wait(Duration::from_secs(7))));
    assert_eq!(code_name(waits.code), "RESOURCE_EXHAUSTED");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = control(&format!("http://{}", listener.local_addr().unwrap()));
    assert!(!format!("{control:?}").contains("sesame"));
    drop(listener);
    let failure = control.describe("movies", PATIENT).await.unwrap_err();
    assert_eq!(failure.origin, Origin::Connection);
    assert_eq!(classify_control(&failure).class, Class::Transient);
}

/// Scenario: names of indexes that can be, and that cannot.
/// Guarantees: the service's rule, so that nothing else comes into a path.
#[test]
fn names() {
    let long = "a".repeat(46);
    for name in ["a", "movies-2", "0", &long[..45]] {
        assert!(is_index_name(name), "{name}");
    }
    for name in [
        "", "-a", "a-", "Movies", "a_b", "a/b", "a?b", "..", "ü", &long,
    ] {
        assert!(!is_index_name(name), "{name}");
    }
}

/// Scenario: the local index, asked for an index that is not there, made, made again, and listed.
/// Guarantees: what was made is what is described, for each kind and metric.
#[tokio::test]
async fn the_local_index() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = control(&format!("http://{}", listener.local_addr().unwrap()));
    let service = LocalService::open(Options::default()).unwrap();
    tokio::spawn(async move { service.serve(listener, std::future::pending()).await });
    assert_eq!(control.describe("movies", PATIENT).await.unwrap(), None);
    let dense = |metric| NewKind::Dense {
        dimension: 3,
        metric,
    };
    let kinds = [
        ("cosine", dense(Metric::Cosine)),
        ("dotproduct", dense(Metric::DotProduct)),
        ("euclidean", dense(Metric::Euclidean)),
        ("sparse", NewKind::Sparse),
    ];
    for (name, kind) in kinds {
        let index = NewIndex {
            name: name.to_owned(),
            cloud: "aws".to_owned(),
            region: "us-east-1".to_owned(),
            kind,
        };
        assert_eq!(control.create(&index, PATIENT).await.unwrap(), Created::Yes);
        assert_eq!(
            control.create(&index, PATIENT).await.unwrap(),
            Created::Exists
        );
        let found = control.describe(name, PATIENT).await.unwrap().unwrap();
        assert_eq!(found.kind, IndexKind::Vectors(kind.shape()), "{name}");
        assert!(found.ready && found.host.starts_with("http://127.0.0.1:"));
    }
    let names = control.names(PATIENT).await.unwrap();
    assert_eq!(names, kinds.map(|(name, _)| name));
}

/// Scenario: a control plane with a certificate of its own, with and without its file.
/// Guarantees: a host without a scheme is spoken to over TLS; only what the file holds is trusted beside the roots;
/// an index found over TLS is reached over TLS, whatever scheme its host has.
#[tokio::test]
async fn tls() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let body = r#"{"name":"movies","host":"http://m.svc","status":{"ready":true}}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let failure = control(&host)
        .describe("movies", PATIENT)
        .await
        .unwrap_err();
    assert_eq!(classify_control(&failure).class, Class::Fatal, "{failure}");
    assert!(classify_control(&failure).reason.contains("--ca-file"));

    let mut file = tempfile::NamedTempFile::new().unwrap();
    let settings = |path: &std::path::Path| ClientSettings {
        host: host.clone(),
        ca_file: Some(path.to_owned()),
        ..ClientSettings::default()
    };
    let none = ControlPlane::new(&settings(file.path())).unwrap_err();
    assert!(none.to_string().contains("no certificate"), "{none}");
    std::io::Write::write_all(&mut file, cert.pem().as_bytes()).unwrap();
    let trusting = ControlPlane::new(&settings(file.path())).unwrap();
    let found = trusting.describe("movies", PATIENT).await.unwrap().unwrap();
    assert_eq!(found.host, "m.svc");
}
