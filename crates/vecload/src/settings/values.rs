//! The values that settings can have, where they are not plain numbers or texts.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vecload_pinecone::Metric;

/// A secret. It is never shown: not in debug output, not in `--print-config`.
#[derive(Clone, Debug)]
pub struct ApiKey(SecretString);

/// The format of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatChoice {
    /// By name, then by content.
    Auto,
    /// Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

/// A measure of distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricChoice {
    /// The angle.
    Cosine,
    /// The straight distance.
    Euclidean,
    /// The dot product: the only one that adds sparse values to dense ones.
    Dotproduct,
}

/// What to do with metadata fields that are null, which the service does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullPolicy {
    /// Leave the field out and count it.
    Drop,
    /// Reject the record.
    Reject,
}

/// How the rate of a namespace is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pacing {
    /// From what the service refuses and how long it takes.
    Adaptive,
    /// It is the ceiling divided by the replicas.
    Fixed,
}

/// What to do with metadata that is nested, which the service does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NestedPolicy {
    /// Reject the record.
    Reject,
    /// Join the keys with dots.
    Flatten,
    /// Keep the value as its JSON text.
    Json,
}

/// What becomes of records whose id a later record of the same namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicatePolicy {
    /// The last one is loaded, the others are not sent.
    Last,
    /// The last one is loaded, the others are rejected.
    Reject,
    /// They are not looked for: all are sent, and any of them may be in the index at the end.
    Any,
}

/// How many records may be rejected before the run stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// That many.
    Count(u64),
    /// That share of the records read, in percent, judged from 10,000 records on.
    Percent(f64),
}

/// How many of the loaded records a verification compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// All of them.
    All,
    /// So many, chosen at random.
    Rows(u64),
}

/// What to do where the run's directory has a run, or an unfinished run of the same job is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// Continue the run that the directory has.
    Auto,
    /// Begin a new run.
    Never,
}

/// What to do where an input is no longer what it was when the run was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInputChange {
    /// Refuse to continue.
    Fail,
    /// Read that input from its beginning.
    RestartFile,
}

/// What timestamps and dates of columns become in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampForm {
    /// Seconds since 1970, a number.
    Epoch,
    /// RFC 3339 text.
    Rfc3339,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressStyle {
    /// A bar on a terminal, lines otherwise.
    Auto,
    /// A `key=value` line every few seconds.
    Plain,
    /// Nothing.
    None,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

// === impl ApiKey ===

impl ApiKey {
    /// The secret as secrecy keeps it.
    pub(crate) fn secret(&self) -> SecretString {
        self.0.clone()
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

// === impl MetricChoice ===

impl From<MetricChoice> for Metric {
    fn from(choice: MetricChoice) -> Self {
        match choice {
            MetricChoice::Cosine => Self::Cosine,
            MetricChoice::Euclidean => Self::Euclidean,
            MetricChoice::Dotproduct => Self::DotProduct,
        }
    }
}

// === impl MaxRejects ===

impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no limit; write it like 1000 or 0.5%");
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
            Some(percent) => match percent.trim().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for MaxRejects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(out, "{count}"),
            Self::Percent(percent) => write!(out, "{percent}%"),
        }
    }
}

impl Serialize for MaxRejects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaxRejects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

// === impl Sample ===

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let rows = text.trim().replace('_', "").parse();
        rows.map(Self::Rows)
            .map_err(|_| format!("`{text}` is no sample; write it like 1000, or `all`"))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::Rows(rows) => write!(out, "{rows}"),
        }
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// Reads a value from its text, which is what flags and variables have, or from the number or
/// boolean that a file has.
pub(crate) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text, a number, true or false")]
    enum Plain {
        Bool(bool),
        Whole(u64),
        Real(f64),
        Text(String),
    }
    let text = match Plain::deserialize(deserializer)? {
        Plain::Bool(value) => value.to_string(),
        Plain::Whole(value) => value.to_string(),
        Plain::Real(value) => value.to_string(),
        Plain::Text(text) => text,
    };
    text.parse().map_err(|error: T::Err| {
        let error = error.to_string();
        let found = format!("`{text}`");
        // Numbers and booleans do not say what they were made of.
        serde::de::Error::custom(match error.starts_with(&found) {
            true => error,
            false => format!("{found} is not understood: {error}"),
        })
    })
}

/// The same where nothing is a value too.
pub(crate) fn some_from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Wrapped<T>(T);
    impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_text(deserializer).map(Self)
        }
    }
    Option::<Wrapped<T>>::deserialize(deserializer).map(|value| value.map(|value| value.0))
}
