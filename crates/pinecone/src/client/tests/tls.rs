//! TLS against a server with certificates made for the test.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Write as _;
use std::task::{Context, Poll};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use super::*;

/// Acknowledges every call.
#[derive(Clone)]
struct Acknowledges;

impl NamedService for Acknowledges {
    const NAME: &'static str = "VectorService";
}

impl tower::Service<Request<Body>> for Acknowledges {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(grpc(ack(5)).map(Body::new)))
    }
}

/// Serves with a certificate for this name; gives the host and the certificate as a file.
async fn serve_tls(name: &str) -> (String, NamedTempFile) {
    serve_tls_until(name, 4096).await
}

/// The same with a certificate that is good until the first day of a year.
async fn serve_tls_until(name: &str, year: i32) -> (String, NamedTempFile) {
    let signing_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let cert = params.self_signed(&signing_key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .add_service(Acknowledges);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(cert.pem().as_bytes()).unwrap();
    (host, file)
}

fn trusting(host: String, file: &NamedTempFile) -> ClientSettings {
    ClientSettings {
        ca_file: Some(file.path().to_owned()),
        ..settings(host)
    }
}

/// Scenario: a self-signed certificate that the ca file holds.
/// Guarantees: a host without a scheme is spoken to over TLS, and the file is trusted.
#[tokio::test]
async fn a_certificate_of_the_ca_file() {
    let (host, file) = serve_tls("127.0.0.1").await;
    let client = Client::new(&trusting(host, &file)).unwrap();
    assert!(client.url().starts_with("https://"));
    assert_eq!(
        client
            .upsert(frame(), PATIENT)
            .await
            .unwrap()
            .upserted_count,
        5
    );
}

/// Scenario: a self-signed certificate that nobody vouches for, one for another host, and one whose time is over.
/// Guarantees: nothing is sent, and the failure is fatal and says what to do.
#[tokio::test]
async fn certificates_that_are_not_trusted() {
    let (unknown, _file) = serve_tls("127.0.0.1").await;
    let (other, file) = serve_tls("other.example").await;
    let (old, old_file) = serve_tls_until("127.0.0.1", 2020).await;
    for (settings, word) in [
        (settings(unknown), "UnknownIssuer"),
        (trusting(other, &file), "not valid for name"),
        (trusting(old, &old_file), "expired"),
    ] {
        let failure = Client::new(&settings)
            .unwrap()
            .upsert(frame(), PATIENT)
            .await
            .unwrap_err();
        assert_eq!(failure.origin, Origin::Connection);
        assert!(failure.message.contains(word), "{failure}");
        let verdict = classify(&failure);
        assert_eq!(verdict.class, Class::Fatal, "{failure}");
        assert!(verdict.reason.contains("--ca-file"));
    }
}

/// Scenario: TLS spoken to a server that has none.
/// Guarantees: a failure of the connection, not a hang.
#[tokio::test]
async fn a_server_without_tls() {
    let (url, _) = serve(|_| Ok(grpc(ack(1)))).await;
    let host = url.trim_start_matches("http://");
    let failure = Client::new(&settings(host))
        .unwrap()
        .upsert(frame(), PATIENT)
        .await
        .unwrap_err();
    assert_eq!(failure.origin, Origin::Connection, "{failure}");
}

/// Scenario: ca files that are missing, hold no certificate, or a broken one.
/// Guarantees: an error that names the file, before anything is sent.
#[tokio::test]
async fn ca_files_that_cannot_be_used() {
    let file = |text: &str| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let missing = file("");
    let path = missing.path().to_owned();
    drop(missing);
    let mut all = vec![ClientSettings {
        ca_file: Some(path),
        ..settings("localhost")
    }];
    let files = [file(""), file("no certificate"), file(broken)];
    all.extend(
        files
            .iter()
            .map(|file| trusting("localhost".to_owned(), file)),
    );
    for settings in all {
        let error = Client::new(&settings).unwrap_err();
        let path = settings.ca_file.unwrap();
        assert!(matches!(error, ClientError::CaFile { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
}
