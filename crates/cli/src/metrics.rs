//! Metrics for Prometheus: served while a load goes on, and pushed when it has ended.
//!
//! The library records; this installs what it records into, only where somebody asks for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use vecload::{ExitCode, Metric, Progress, Settings};

/// Latencies of requests, in seconds: from an index nearby to the limit of an attempt.
const LATENCIES: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];
/// How often the samples that were taken are put into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long a client may take over the head of its request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long the push may take.
const PUSH_WITHIN: Duration = Duration::from_secs(10);
/// How much of a Pushgateway's complaint is read.
const COMPLAINT: usize = 4096;
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where metrics go.
pub(crate) struct Exposition {
    handle: PrometheusHandle,
    push: Option<Push>,
    /// Whether the load has found its index and inputs, and is at work.
    ready: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// Where metrics go at the end.
struct Push {
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

// === impl Exposition ===

impl Exposition {
    /// What the settings ask for, if they do. To be called before anything is recorded.
    pub(crate) async fn start(settings: &Settings) -> Result<Option<Self>, (ExitCode, String)> {
        if settings.metrics_addr.is_none() && settings.metrics_push.is_none() {
            return Ok(None);
        }
        let bug = |error: &dyn std::fmt::Display| (ExitCode::Bug, format!("metrics: {error}"));
        let push = settings.metrics_push.as_deref();
        let push = push.map(|url| Push::new(url, settings)).transpose();
        let push =
            push.map_err(|message| (ExitCode::Usage, format!("--metrics-push: {message}")))?;
        let duration = Matcher::Full(Metric::RequestDuration.name().to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(duration, &LATENCIES)
            .map_err(|error| bug(&error))?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|error| bug(&error))?;
        let mut tasks = JoinSet::new();
        let upkeep = handle.clone();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_EVERY).await;
                upkeep.run_upkeep();
            }
        });
        let ready = Arc::default();
        if let Some(address) = settings.metrics_addr {
            let listener = listen(address).await?;
            tasks.spawn(serve(listener, handle.clone(), Arc::clone(&ready)));
        }
        Ok(Some(Self {
            handle,
            push,
            ready,
            tasks,
        }))
    }

    /// Follows a load: it is ready once it is at work.
    pub(crate) fn follow(&mut self, mut progress: watch::Receiver<Progress>) {
        let ready = Arc::clone(&self.ready);
        self.tasks.spawn(async move {
            let begun = progress.changed().await.is_ok();
            ready.store(begun, Ordering::Relaxed);
        });
    }

    /// The load has ended with that code: says so to the Pushgateway, if there is one. A push that fails changes
    /// nothing about the load.
    pub(crate) async fn end(self, code: ExitCode) {
        metrics::gauge!(Metric::ExitCode.name()).set(f64::from(u8::from(code)));
        let Some(push) = self.push else { return };
        self.handle.run_upkeep();
        let sent = tokio::time::timeout(PUSH_WITHIN, push.send(self.handle.render())).await;
        let sent = sent.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        if let Err(error) = sent {
            tracing::warn!(url = %push.uri, error, "the metrics could not be pushed");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, (ExitCode, String)> {
    let unusable = |error| {
        let message = format!("--metrics-addr: {address} cannot be listened on: {error}");
        (ExitCode::Usage, message)
    };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    tracing::info!(%address, "metrics are served");
    Ok(listener)
}

async fn serve(listener: TcpListener, handle: PrometheusHandle, ready: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, for instance; there may be fewer soon.
                tracing::debug!(%error, "no connection for metrics");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (handle, ready) = (handle.clone(), Arc::clone(&ready));
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &handle, &ready);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection for metrics ended");
            }
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    handle: &PrometheusHandle,
    ready: &AtomicBool,
) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            handle.run_upkeep();
            (StatusCode::OK, handle.render())
        }
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") if ready.load(Ordering::Relaxed) => {
            (StatusCode::OK, "loading\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/readyz") => {
            (StatusCode::SERVICE_UNAVAILABLE, "not yet\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(TEXT));
    response
}

// === impl Push ===

impl Push {
    fn new(url: &str, settings: &Settings) -> Result<Self, String> {
        let instance = settings.shard.map_or_else(host_name, |shard| {
            format!("shard-{}-of-{}", shard.index(), shard.of())
        });
        let uri = push_uri(url, &instance)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let mut certificates = Vec::new();
        if uri.scheme_str() == Some("https") {
            certificates = rustls_native_certs::load_native_certs().certs;
            if let Some(file) = &settings.ca_file {
                let unusable = |error| format!("{}: {error}", file.display());
                let more = CertificateDer::pem_file_iter(file).map_err(unusable)?;
                certificates.extend(more.collect::<Result<Vec<_>, _>>().map_err(unusable)?);
            }
        }
        // Some systems have certificates that no one can read; the others may do.
        roots.add_parsable_certificates(certificates);
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri, client })
    }

    /// Replaces what the gateway has of this job and instance.
    async fn send(&self, text: String) -> Result<(), String> {
        let request = Request::put(self.uri.clone())
            .header(CONTENT_TYPE, TEXT)
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| chain(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), COMPLAINT)
            .collect()
            .await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Err(format!(
            "{status}: {}",
            String::from_utf8_lossy(&body).trim()
        ))
    }
}

/// The place of a group of metrics in a Pushgateway. What is pushed replaces what that group had before, so the name
/// must be the same each time and different from that of other shards.
fn push_uri(url: &str, instance: &str) -> Result<Uri, String> {
    let shown = |what: &str| format!("`{url}` {what}; write it like http://pushgateway:9091");
    let uri: Uri = url.parse().map_err(|_| shown("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
        return Err(shown("is no URL with http:// or https://"));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("it must hold no password, since it is shown in logs".to_owned());
    }
    let base = url.trim_end_matches('/');
    let base = match uri.path() {
        "" | "/" => format!("{base}/metrics/job/vecload"),
        _ => base.to_owned(),
    };
    let whole = match base.contains("/instance/") {
        true => base,
        false => format!("{base}/instance/{instance}"),
    };
    whole.parse().map_err(|_| shown("is no URL"))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: gateways with and without a path, and what is none.
    /// Guarantees: the group has a job and an instance; what a user says of either is kept.
    #[test]
    fn a_group_has_a_job_and_an_instance() {
        let group = |url| push_uri(url, "a").map(|uri| uri.to_string());
        for (url, place) in [
            (
                "http://g:9091",
                "http://g:9091/metrics/job/vecload/instance/a",
            ),
            ("https://g/", "https://g/metrics/job/vecload/instance/a"),
            (
                "http://g/metrics/job/films",
                "http://g/metrics/job/films/instance/a",
            ),
            (
                "http://g/metrics/job/films/instance/b/",
                "http://g/metrics/job/films/instance/b",
            ),
        ] {
            assert_eq!(group(url).as_deref(), Ok(place));
        }
        for url in ["", "g:9091", "ftp://g", "http://u:p@g"] {
            group(url).expect_err(url);
        }
        let words = group("http://user:hidden@g").expect_err("a password");
        assert!(!words.contains("hidden"), "{words}");
    }
}
