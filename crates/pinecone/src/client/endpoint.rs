//! From settings to a channel and the headers of every request.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use secrecy::ExposeSecret as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::ClientSettings;

/// Why a client cannot be made. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The host cannot be used.
    #[error("host `{host}`: {problem}")]
    Host {
        /// The host as it was given.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The key cannot be sent.
    #[error(
        "the api key has a character that a header cannot carry, perhaps a line break at its end"
    )]
    Key,
    /// An additional header cannot be sent.
    #[error("additional header `{name}`: {problem}")]
    Header {
        /// Its name as it was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of certificates cannot be used.
    #[error("ca file {}: {problem}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// There is no tokio runtime for the connection's task to run on.
    #[error("a client must be made within a tokio runtime")]
    NoRuntime,
}

/// The newest stable version of the API. The wire changes by additions only, so any version from
/// 2025-10 on would do; but each is served for twelve months only, and 2026-07 is what the official
/// Python client sends on this very call.
const API_VERSION: HeaderValue = HeaderValue::from_static("2026-07");

/// tonic adds its own name and version.
pub(crate) const USER_AGENT_VALUE: &str = concat!("vecload/", env!("CARGO_PKG_VERSION"));

/// A dead connection is noticed after the sum of the two, also while a run waits for its turn, so that
/// the request after a pause does not meet it first.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Headers that are not a user's to set: they belong to HTTP/2, to gRPC, or to the connection.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// Where the requests go.
pub(super) fn channel(settings: &ClientSettings) -> Result<(Channel, String), ClientError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(ClientError::NoRuntime);
    }
    let url = url(&settings.host)?;
    let endpoint = Endpoint::from_shared(url.clone())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT_VALUE))
        .map_err(|error| ClientError::Host {
            host: settings.host.clone(),
            problem: super::chain(&error),
        })?
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let endpoint = if url.starts_with("https:") {
        with_tls(endpoint, settings)?
    } else {
        endpoint
    };
    Ok((endpoint.connect_lazy(), url))
}

/// `host`, `host:port`, `https://host` or `http://host:port` as a URL with scheme and port.
pub(crate) fn url(host: &str) -> Result<String, ClientError> {
    let wrong = |problem: &str| ClientError::Host {
        host: host.to_owned(),
        problem: problem.to_owned(),
    };
    let (scheme, authority) = match host.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        Some(_) => return Err(wrong("the scheme must be https, or http for plaintext")),
        None => ("https", host),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.is_empty() {
        return Err(wrong(
            "it is empty; give the index's host, as its console page shows it",
        ));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("it must be a host without a path"));
    }
    if authority.contains('@') {
        return Err(wrong("it must be a host without a user"));
    }
    let parsed: http::uri::Authority = authority
        .parse()
        .map_err(|_| wrong("it is not a host name, with or without a port"))?;
    // A port that is not a number is none for the parser.
    if parsed.port_u16().is_none() && parsed.as_str() != parsed.host() {
        return Err(wrong("the port is not a number up to 65535"));
    }
    Ok(match parsed.port_u16() {
        Some(_) => format!("{scheme}://{authority}"),
        None if scheme == "https" => format!("https://{authority}:443"),
        None => format!("http://{authority}:80"),
    })
}

/// Trusts the system's roots, the bundled ones, and those of the file.
fn with_tls(endpoint: Endpoint, settings: &ClientSettings) -> Result<Endpoint, ClientError> {
    // It bounds the handshake; `Endpoint::connect_timeout` bounds only what comes before it.
    let mut tls = ClientTlsConfig::new()
        .with_webpki_roots()
        .timeout(settings.connect_timeout);
    if let Some(path) = &settings.ca_file {
        let wrong = |problem: String| ClientError::CaFile {
            path: path.clone(),
            problem,
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        // rustls passes over what it cannot read, which would show only as a refused connection.
        let mark = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(mark.len()).any(|window| window == mark) {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
        tls = tls.ca_certificate(Certificate::from_pem(pem));
        endpoint
            .clone()
            .tls_config(tls.clone())
            .map_err(|error| wrong(super::chain(&error)))?;
    }
    // A system without roots of its own (a bare container) is an error for tonic. The bundled roots
    // are there for it.
    match endpoint.clone().tls_config(tls.clone().with_native_roots()) {
        Ok(endpoint) => Ok(endpoint),
        Err(error) => {
            tracing::debug!(
                error = super::chain(&error),
                "the system's root certificates cannot be used"
            );
            endpoint
                .tls_config(tls)
                .map_err(|error| ClientError::Tls(super::chain(&error)))
        }
    }
}

/// The headers that every request has, over gRPC and REST.
pub(crate) fn headers(settings: &ClientSettings) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-pinecone-api-version", API_VERSION);
    if let Some(key) = &settings.api_key {
        let mut value = HeaderValue::from_str(key.expose_secret()).map_err(|_| ClientError::Key)?;
        value.set_sensitive(true);
        headers.insert("api-key", value);
    }
    for (name, value) in &settings.additional_headers {
        let wrong = |problem| ClientError::Header {
            name: name.clone(),
            problem,
        };
        let name: HeaderName = name
            .parse()
            .map_err(|_| wrong("this is not a header's name"))?;
        let reserved = [TE, CONTENT_TYPE, HOST, USER_AGENT].contains(&name)
            || RESERVED.contains(&name.as_str())
            || name.as_str().starts_with("grpc-");
        if reserved {
            return Err(wrong("it is vecload's own to set"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| wrong("the value has a character that a header cannot carry"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: hosts as people and official clients write them.
    /// Guarantees: https and port 443 unless said otherwise; plaintext only for http://.
    #[test]
    fn hosts() {
        for (host, expected) in [
            ("a-1.svc.pinecone.io", "https://a-1.svc.pinecone.io:443"),
            ("https://a.svc.pinecone.io", "https://a.svc.pinecone.io:443"),
            (
                "HTTPS://a.svc.pinecone.io/",
                "https://a.svc.pinecone.io:443",
            ),
            ("localhost:5081", "https://localhost:5081"),
            ("http://127.0.0.1:5081", "http://127.0.0.1:5081"),
            ("http://localhost", "http://localhost:80"),
            ("[::1]:443", "https://[::1]:443"),
            ("https://[::1]", "https://[::1]:443"),
        ] {
            assert_eq!(url(host).unwrap(), expected, "{host}");
        }
        for host in [
            "",
            "https://",
            "ftp://a",
            "unix:///tmp/a",
            "a/b",
            "http://a/b",
            "a?b",
            "key@a",
            "a b",
            "a:port",
            "a:70000",
            "a:",
        ] {
            assert!(matches!(url(host), Err(ClientError::Host { .. })), "{host}");
        }
    }

    /// Scenario: additional headers and keys that cannot be sent.
    /// Guarantees: the error names the header and never shows a value.
    #[test]
    fn headers_that_cannot_be_sent() {
        let with = |name: &str, value: &str| ClientSettings {
            additional_headers: vec![(name.to_owned(), value.to_owned())],
            ..ClientSettings::default()
        };
        for (name, value) in [
            ("a b", "sesame"),
            ("x-a", "sesame\n"),
            ("te", "sesame"),
            ("grpc-timeout", "sesame"),
            ("host", "sesame"),
            ("", "sesame"),
            ("Connection", "sesame"),
        ] {
            let error = headers(&with(name, value)).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            assert!(!format!("{error} {error:?}").contains("sesame"));
        }
        let key = ClientSettings {
            api_key: Some("sesame\n".into()),
            ..ClientSettings::default()
        };
        let error = headers(&key).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sesame"));
    }

    /// Scenario: a client is made where no runtime is.
    /// Guarantees: an error, where tonic would panic.
    #[test]
    fn no_runtime() {
        assert!(matches!(
            channel(&ClientSettings::default()),
            Err(ClientError::NoRuntime)
        ));
    }
}
