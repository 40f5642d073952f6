//! Connections to stores: credentials, regions, endpoints, TLS and proxies, from the environment.
//!
//! The HTTP client is ours, because its TLS is: with ring, and with the certificates that `--ca-file` adds. That it
//! follows `HTTPS_PROXY` and `NO_PROXY` is its default.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    ClientConfigKey, ClientOptions, ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    http::HttpBuilder,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{Fault, StoreUrl, fetch::retries, url::Kind};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// What `object_store` states for all but the addresses of credentials.
const ORDINARY_CONNECT: Duration = Duration::from_secs(5);

/// How long nothing may come before a request is given up; however long the whole of it takes.
const SILENCE: Duration = Duration::from_secs(30);

/// Makes HTTP clients.
#[derive(Debug, Clone)]
pub(super) struct Http {
    tls: Arc<ClientConfig>,
    client: reqwest::Client,
}

/// Makes the client of one store.
#[derive(Debug)]
struct Connector {
    http: Http,
    /// What every request has behind its path.
    query: Option<Secret>,
}

#[derive(Clone)]
struct Secret(String);

/// Sends requests with a query, which is the signature of a URL.
#[derive(Debug)]
struct WithQuery {
    client: reqwest::Client,
    query: Secret,
}

// === impl Http ===

impl Http {
    pub(super) fn new(ca_file: Option<&PathBuf>) -> Result<Self, String> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        // A system without roots of its own, or with some that cannot be read, has the bundled ones.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let wrong = |problem: String| format!("ca file {}: {problem}", path.display());
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            let mut count = 0;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| wrong(error.to_string()))?;
                count += 1;
            }
            if count == 0 {
                return Err(wrong("it holds no certificate in PEM form".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client =
            client(&tls, CONNECT).map_err(|error| format!("cannot set up HTTP: {error}"))?;
        Ok(Self {
            tls: Arc::new(tls),
            client,
        })
    }

    /// Connects to the store of a URL.
    pub(super) async fn connect(&self, url: &StoreUrl) -> Result<Arc<dyn ObjectStore>, Fault> {
        let connector = Connector {
            http: self.clone(),
            query: url.query.clone().map(Secret),
        };
        let store: Result<Arc<dyn ObjectStore>, object_store::Error> = match url.kind {
            Kind::S3 => self
                .s3(url, connector)
                .await
                .map(|store| Arc::new(store) as _),
            Kind::Gcs => google()
                .with_bucket_name(url.bucket())
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Kind::Azure => MicrosoftAzureBuilder::from_env()
                .with_url(url.root())
                .with_retry(retries())
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Kind::Http => HttpBuilder::new()
                .with_url(url.root())
                .with_retry(retries())
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        store.map_err(|error| Fault::of(&error))
    }

    async fn s3(
        &self,
        url: &StoreUrl,
        connector: Connector,
    ) -> object_store::Result<object_store::aws::AmazonS3> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(url.bucket())
            .with_retry(retries());
        let is_set = |key| builder.get_config_value(&key).is_some();
        let knows_region =
            is_set(AmazonS3ConfigKey::Region) || is_set(AmazonS3ConfigKey::DefaultRegion);
        let is_elsewhere =
            is_set(AmazonS3ConfigKey::Endpoint) || is_set(AmazonS3ConfigKey::S3Endpoint);
        if !knows_region
            && !is_elsewhere
            && let Some(region) = self.region(url.bucket()).await
        {
            builder = builder.with_region(region);
        }
        builder.with_http_connector(connector).build()
    }

    /// The region of a bucket, which S3 tells whoever asks.
    async fn region(&self, bucket: &str) -> Option<String> {
        // The certificate covers one label before the host's.
        let place = if bucket.contains('.') {
            format!("https://s3.amazonaws.com/{bucket}")
        } else {
            format!("https://{bucket}.s3.amazonaws.com")
        };
        let answer = self.client.head(place).send().await;
        let answer = answer.inspect_err(|error| {
            tracing::debug!(bucket, error = %error, "the bucket's region cannot be asked for");
        });
        let region = answer
            .ok()?
            .headers()
            .get("x-amz-bucket-region")?
            .to_str()
            .ok()?
            .to_owned();
        tracing::debug!(bucket, region, "the bucket's region was found");
        Some(region)
    }
}

fn client(tls: &ClientConfig, connect: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .user_agent(concat!("vecload/", env!("CARGO_PKG_VERSION")))
        // Requests for ranges in parallel get more from connections of their own.
        .http1_only()
        .connect_timeout(connect)
        .read_timeout(SILENCE)
        .build()
}

/// Google's own SDKs take an emulator's address from a variable, and send it no credentials.
fn google() -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::from_env().with_retry(retries());
    match std::env::var("STORAGE_EMULATOR_HOST") {
        Ok(host) if !host.is_empty() => {
            let host = if host.contains("://") {
                host
            } else {
                format!("http://{host}")
            };
            let builder = builder.with_base_url(host.trim_end_matches('/'));
            match builder.get_config_value(&GoogleConfigKey::BearerToken) {
                Some(_) => builder,
                None => builder.with_bearer_token("emulator"),
            }
        }
        _ => builder,
    }
}

// === impl Connector ===

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Shorter for the address that tells credentials, which is not there outside of a cloud.
        let stated = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let stated = stated.and_then(|text| text.parse::<jiff::SignedDuration>().ok());
        let client = match stated.map(jiff::SignedDuration::unsigned_abs) {
            Some(stated) if stated < ORDINARY_CONNECT => {
                client(&self.http.tls, stated).map_err(|error| object_store::Error::Generic {
                    store: "HTTP",
                    source: Box::new(error),
                })?
            }
            _ => self.http.client.clone(),
        };
        Ok(match &self.query {
            None => HttpClient::new(client),
            Some(query) => HttpClient::new(WithQuery {
                client,
                query: query.clone(),
            }),
        })
    }
}

// === impl WithQuery ===

#[async_trait::async_trait]
impl HttpService for WithQuery {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let signed = format!("{}?{}", request.uri(), self.query.0);
        if let Ok(signed) = signed.parse() {
            *request.uri_mut() = signed;
        }
        HttpService::call(&self.client, request).await
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("...")
    }
}
