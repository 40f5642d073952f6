//! The names of objects: what of a URL is which, and what of it may be printed.

use std::borrow::Cow;

use object_store::path::Path;
use url::Url;

use super::Fault;
use crate::SourceErrorKind;

/// What kind of store a URL is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    S3,
    Gcs,
    Azure,
    Http,
}

/// The URL of an object or a prefix.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl {
    pub(super) kind: Kind,
    /// All before the slash that the key comes after.
    root: String,
    /// The key, without percent-encoding.
    key: String,
    /// The key as it is printed: as it was given.
    given: String,
    /// What is sent and never printed.
    pub(super) query: Option<String>,
}

/// Whether an argument is a URL.
pub(crate) fn is_url(argument: &str) -> bool {
    argument.split_once("://").is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.chars().all(|letter| letter.is_ascii_alphanumeric())
    })
}

/// An input as it may be printed and kept: of `http` and `https` URLs without user and query, where signed ones
/// hold their secret.
#[must_use]
pub fn without_secrets(argument: &str) -> Cow<'_, str> {
    match StoreUrl::parse(argument) {
        Ok(Some(url)) if url.query.is_some() => url.shown().into(),
        // It names a user, or it is none.
        Err(_) if argument.starts_with("http") => {
            let rest = argument.split(['?', '#']).next().unwrap_or_default();
            match rest.split_once('@') {
                Some((_, host)) => format!("https://{host}").into(),
                None => rest.to_owned().into(),
            }
        }
        _ => argument.into(),
    }
}

// === impl StoreUrl ===

impl StoreUrl {
    /// The parts of a URL; `None` if the argument is none.
    pub(crate) fn parse(argument: &str) -> Result<Option<Self>, Fault> {
        let unsupported = |message: &str| Fault::new(SourceErrorKind::Unsupported, message);
        let Some((scheme, rest)) = argument.split_once("://").filter(|_| is_url(argument)) else {
            return Ok(None);
        };
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => Kind::S3,
            "gs" => Kind::Gcs,
            "az" | "azure" | "adl" | "abfs" | "abfss" => Kind::Azure,
            "http" | "https" => return Self::http(argument).map(Some),
            _ => {
                return Err(unsupported(
                    "URLs of this kind are not read; there are s3://, gs://, az://, abfs://, https:// and http://",
                ));
            }
        };
        // Taken as it stands: in keys `?`, `#` and `%` are letters like others.
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(unsupported("it names no bucket"));
        }
        Ok(Some(Self {
            kind,
            root: format!("{scheme}://{bucket}"),
            key: key.to_owned(),
            given: key.to_owned(),
            query: None,
        }))
    }

    fn http(argument: &str) -> Result<Self, Fault> {
        let unsupported = |message: String| Fault::new(SourceErrorKind::Unsupported, message);
        let url =
            Url::parse(argument).map_err(|error| unsupported(format!("it is no URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unsupported(
                "a user in a URL is not sent; sign the URL, or download the file".to_owned(),
            ));
        }
        let key = Path::from_url_path(url.path())
            .map_err(|error| unsupported(format!("its path cannot be used: {error}")))?;
        Ok(Self {
            kind: Kind::Http,
            root: url[..url::Position::BeforePath].to_owned(),
            key: key.to_string(),
            given: url.path().trim_start_matches('/').to_owned(),
            query: url.query().map(str::to_owned),
        })
    }

    /// The URL of what has another key in the same store.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            given: key.to_owned(),
            ..self.clone()
        }
    }

    /// Whether only single objects can be named.
    pub(crate) fn has_no_listing(&self) -> bool {
        self.kind == Kind::Http
    }

    /// The store: scheme and bucket, or scheme and host.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The place of the object or prefix in its store.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// All that may be printed.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.root, self.given)
    }

    /// What is equal for objects that one connection serves.
    pub(super) fn store_key(&self) -> String {
        match &self.query {
            None => self.root.clone(),
            Some(query) => format!("{}?{query}", self.root),
        }
    }

    pub(super) fn bucket(&self) -> &str {
        self.root.split_once("://").map_or("", |(_, bucket)| bucket)
    }

    pub(super) fn path(&self) -> Result<Path, Fault> {
        Path::parse(self.key.trim_end_matches('/')).map_err(|error| {
            Fault::new(
                SourceErrorKind::Unsupported,
                format!("keys of this form are not read: {error}"),
            )
        })
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str) -> StoreUrl {
        StoreUrl::parse(argument).unwrap().unwrap()
    }

    /// Scenario: URLs of every kind, and arguments that are none.
    /// Guarantees: bucket and key are told apart; letters of keys are left as they are, and in http URLs decoded.
    #[test]
    fn parts_of_urls() {
        for (argument, kind, root, key) in [
            (
                "s3://b/a/b c?#%20.parquet",
                Kind::S3,
                "s3://b",
                "a/b c?#%20.parquet",
            ),
            ("gs://b", Kind::Gcs, "gs://b", ""),
            ("az://c/", Kind::Azure, "az://c", ""),
            (
                "abfss://c@a.dfs.core.windows.net/x",
                Kind::Azure,
                "abfss://c@a.dfs.core.windows.net",
                "x",
            ),
            (
                "http://127.0.0.1:8/a%20b/c",
                Kind::Http,
                "http://127.0.0.1:8",
                "a b/c",
            ),
        ] {
            let url = parse(argument);
            assert_eq!((url.kind, url.root(), url.key()), (kind, root, key));
        }
        for argument in ["a.parquet", "./s3:/b", "c:\\a", "-", "a/b://c"] {
            assert_eq!(StoreUrl::parse(argument).unwrap(), None, "{argument}");
        }
        for argument in [
            "ftp://a/b",
            "s3:///a",
            "https://user:sesame@a/b",
            "https://",
        ] {
            let fault = StoreUrl::parse(argument).unwrap_err();
            assert!(!fault.to_string().contains("sesame"), "{fault}");
        }
    }

    /// Scenario: a signed URL, and one with a user and a password.
    /// Guarantees: what is printed has none of the secrets; other arguments are left as they are.
    #[test]
    fn secrets_are_not_printed() {
        let signed = "https://a.b/c.parquet?X-Amz-Signature=sesame";
        assert_eq!(without_secrets(signed), "https://a.b/c.parquet");
        assert!(!format!("{:?}", parse(signed)).contains("sesame"));
        for argument in ["https://user:sesame@a/b?c", "https://user:sesame@/?sesame"] {
            assert!(!without_secrets(argument).contains("sesame"), "{argument}");
        }
        for argument in ["s3://b/a?b*", "a?b*.jsonl", "-", "http://127.0.0.1:5081"] {
            assert_eq!(without_secrets(argument), argument);
        }
    }
}
