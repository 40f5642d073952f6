//! What an index is: what clients ask for, in the two shapes of the API, and what they are told.
//!
//! Until 2026-04 an index is a dimension, a metric, a vector type and a `spec`; since 2026-07 it is a
//! schema and a deployment. Which of them a client asks in is seen by the body; which it is answered in
//! follows the API version that it names.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ControlError, Described};
use crate::Metric;
use crate::rules::MAX_DIMENSION;

const MAX_NAME_CHARS: usize = 45;
const MAX_TAGS: usize = 20;
const MAX_TAG_KEY_CHARS: usize = 80;
const MAX_TAG_VALUE_CHARS: usize = 120;
/// The names that a vector index has in its schema.
const DENSE_FIELD: &str = "_values";
const SPARSE_FIELD: &str = "_sparse_values";

/// An index as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Where it would be; nothing depends on it.
    cloud: String,
    region: String,
    pub(super) deletion_protection: bool,
    tags: BTreeMap<String, String>,
    /// Where it was served last.
    pub(super) port: u16,
}

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Dense { dimension: u32, metric: Metric },
    Sparse,
}

/// The two shapes in which the API describes an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// To 2026-04.
    Spec,
    /// From 2026-07.
    Schema,
}

impl Dialect {
    /// That of an API version. A request without one is served by the oldest version.
    pub(super) fn of(version: Option<&str>) -> Self {
        match version {
            // The preview of 2026-07.
            Some("2026-01.alpha") => Self::Schema,
            Some(version) if version >= "2026-07" => Self::Schema,
            _ => Self::Spec,
        }
    }
}

#[derive(Deserialize)]
struct CreateBySpec {
    name: String,
    dimension: Option<u32>,
    metric: Option<String>,
    vector_type: Option<String>,
    spec: Spec,
    deletion_protection: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Spec {
    serverless: Option<Place>,
    // Kept only to be refused.
    pod: Option<Value>,
    byoc: Option<Value>,
}

#[derive(Deserialize)]
struct Place {
    cloud: String,
    region: String,
}

#[derive(Deserialize)]
struct CreateBySchema {
    name: String,
    schema: Schema,
    deployment: Option<Deployment>,
    deletion_protection: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Schema {
    fields: BTreeMap<String, Field>,
}

#[derive(Deserialize)]
struct Field {
    #[serde(rename = "type")]
    kind: Option<String>,
    dimension: Option<u32>,
    metric: Option<String>,
}

#[derive(Deserialize)]
struct Deployment {
    deployment_type: String,
    cloud: Option<String>,
    region: Option<String>,
}

#[derive(Deserialize)]
struct Configure {
    deletion_protection: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    // Kept only to be refused.
    spec: Option<Value>,
    schema: Option<Value>,
    deployment: Option<Value>,
    embed: Option<Value>,
    read_capacity: Option<Value>,
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| {
        unprocessable(format!(
            "Failed to deserialize the JSON body into the target type: {error}"
        ))
    })
}

fn unprocessable(message: String) -> ControlError {
    ControlError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "UNPROCESSABLE_ENTITY",
        message,
    )
}

// === impl Definition ===

impl Definition {
    /// The index that a request asks for.
    pub(super) fn asked(body: &[u8]) -> Result<Self, ControlError> {
        let outline: serde_json::Map<String, Value> = parse(body)?;
        let sources = ["source_collection", "source_backup_id", "cmek_id"];
        if let Some(source) = sources
            .iter()
            .find(|source| outline.get(**source).is_some_and(|value| !value.is_null()))
        {
            return Err(ControlError::unimplemented(format!(
                "the local index does not know {source}"
            )));
        }
        let definition = if outline.contains_key("schema") {
            Self::by_schema(parse(body)?)?
        } else {
            Self::by_spec(parse(body)?)?
        };
        check_name(&definition.name)?;
        check_tags(&definition.tags)?;
        Ok(definition)
    }

    fn by_spec(asked: CreateBySpec) -> Result<Self, ControlError> {
        let Some(place) = asked.spec.serverless else {
            let what = match (asked.spec.pod, asked.spec.byoc) {
                (Some(_), _) => "pod",
                (_, Some(_)) => "byoc",
                _ => "other",
            };
            return Err(ControlError::unimplemented(format!(
                "the local index has no {what} indexes: create a serverless one"
            )));
        };
        let kind = match asked.vector_type.as_deref() {
            None | Some("dense") => Kind::dense(asked.dimension, asked.metric.as_deref())?,
            Some("sparse") => {
                if asked.dimension.is_some_and(|dimension| dimension != 0) {
                    return Err(ControlError::invalid(
                        "dimension should not be specified for sparse indexes",
                    ));
                }
                if asked
                    .metric
                    .as_deref()
                    .is_some_and(|metric| metric != "dotproduct")
                {
                    return Err(ControlError::invalid(
                        "Sparse vector indexes must use the metric dotproduct.",
                    ));
                }
                Kind::Sparse
            }
            Some(other) => {
                return Err(unprocessable(format!(
                    "unknown variant `{other}`, expected `dense` or `sparse`"
                )));
            }
        };
        Ok(Self {
            name: asked.name,
            kind,
            cloud: place.cloud,
            region: place.region,
            deletion_protection: protection(asked.deletion_protection.as_deref())?.unwrap_or(false),
            tags: asked.tags.unwrap_or_default(),
            port: 0,
        })
    }

    fn by_schema(asked: CreateBySchema) -> Result<Self, ControlError> {
        let mut fields = asked.schema.fields;
        let dense = fields.remove(DENSE_FIELD);
        let sparse = fields.remove(SPARSE_FIELD);
        if let Some(name) = fields.keys().next() {
            return Err(ControlError::unimplemented(format!(
                "the local index has no document indexes, and '{name}' is a field of documents: \
                 create a vector index, with {DENSE_FIELD} or {SPARSE_FIELD} in its schema"
            )));
        }
        let of_type = |name: &str, field: &Field, kind: &str| match field.kind.as_deref() {
            Some(found) if found == kind => Ok(()),
            found => Err(ControlError::invalid(format!(
                "Field '{name}' must be of type {kind}, but is {}",
                found.unwrap_or("of none")
            ))),
        };
        let kind = match (&dense, &sparse) {
            (Some(field), _) => {
                of_type(DENSE_FIELD, field, "dense_vector")?;
                Kind::dense(field.dimension, field.metric.as_deref())?
            }
            (None, Some(_)) => Kind::Sparse,
            (None, None) => return Err(ControlError::invalid("The schema has no fields")),
        };
        if let Some(field) = &sparse {
            of_type(SPARSE_FIELD, field, "sparse_vector")?;
        }
        let (cloud, region) = match asked.deployment {
            None => (None, None),
            Some(asked) if asked.deployment_type == "managed" => (asked.cloud, asked.region),
            Some(asked) => {
                return Err(ControlError::unimplemented(format!(
                    "the local index has no {} deployment: ask for a managed one",
                    asked.deployment_type
                )));
            }
        };
        Ok(Self {
            name: asked.name,
            kind,
            cloud: cloud.unwrap_or_else(|| "aws".to_owned()),
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            deletion_protection: protection(asked.deletion_protection.as_deref())?.unwrap_or(false),
            tags: asked.tags.unwrap_or_default(),
            port: 0,
        })
    }

    /// Changes what a request says.
    pub(super) fn configure(&mut self, body: &[u8]) -> Result<(), ControlError> {
        let asked: Configure = parse(body)?;
        let others = [
            ("spec", asked.spec),
            ("schema", asked.schema),
            ("deployment", asked.deployment),
            ("embed", asked.embed),
            ("read_capacity", asked.read_capacity),
        ];
        if let Some((name, _)) = others.iter().find(|(_, value)| value.is_some()) {
            return Err(ControlError::unimplemented(format!(
                "the local index can change deletion_protection and tags, but not {name}"
            )));
        }
        if let Some(protected) = protection(asked.deletion_protection.as_deref())? {
            self.deletion_protection = protected;
        }
        for (key, value) in asked.tags.unwrap_or_default() {
            // "To remove a tag, set the value to an empty string."
            if value.is_empty() {
                self.tags.remove(&key);
            } else {
                self.tags.insert(key, value);
            }
        }
        check_tags(&self.tags)
    }
}

impl Described {
    /// The index in the words of an API version, at a host in the form that the client can use.
    pub(super) fn json(&self, dialect: Dialect, host: &str) -> Value {
        let Definition {
            name,
            kind,
            cloud,
            region,
            tags,
            ..
        } = &self.definition;
        let deletion_protection = match self.definition.deletion_protection {
            true => "enabled",
            false => "disabled",
        };
        let status = json!({"ready": self.is_ready(), "state": self.state});
        let read_capacity = json!({"mode": "OnDemand", "status": {"state": "Ready"}});
        match dialect {
            Dialect::Spec => {
                let (dimension, metric, vector_type) = match kind {
                    Kind::Dense { dimension, metric } => (Some(dimension), *metric, "dense"),
                    Kind::Sparse => (None, Metric::Dotproduct, "sparse"),
                };
                let mut index = json!({
                    "name": name,
                    "metric": metric,
                    "vector_type": vector_type,
                    "host": host,
                    "deletion_protection": deletion_protection,
                    "tags": (!tags.is_empty()).then_some(tags),
                    "spec": {"serverless": {
                        "cloud": cloud,
                        "region": region,
                        "read_capacity": read_capacity,
                    }},
                    "status": status,
                });
                // Absent for sparse indexes, not null.
                if let Some(dimension) = dimension {
                    index["dimension"] = json!(dimension);
                }
                index
            }
            Dialect::Schema => json!({
                "name": name,
                "host": host,
                "deletion_protection": deletion_protection,
                "tags": tags,
                "schema": {"fields": kind.fields()},
                "deployment": {
                    "deployment_type": "managed",
                    "cloud": cloud,
                    "region": region,
                    "environment": "local",
                },
                "read_capacity": read_capacity,
                "status": status,
            }),
        }
    }
}

// === impl Kind ===

impl Kind {
    fn dense(dimension: Option<u32>, metric: Option<&str>) -> Result<Self, ControlError> {
        // Own words.
        let dimension = match dimension {
            Some(dimension @ 1..=MAX_DIMENSION) => dimension,
            Some(other) => {
                return Err(ControlError::invalid(format!(
                    "Dimension {other} is not in the range of 1 to {MAX_DIMENSION}"
                )));
            }
            None => {
                return Err(ControlError::invalid(
                    "dimension must be specified for dense indexes",
                ));
            }
        };
        let metric = metric
            .unwrap_or("cosine")
            .parse()
            .map_err(|error: String| ControlError::invalid(error))?;
        Ok(Self::Dense { dimension, metric })
    }

    /// "Dense vectors-API indexes always report both."
    fn fields(self) -> Value {
        let sparse = json!({"type": "sparse_vector"});
        match self {
            Self::Dense { dimension, metric } => json!({
                DENSE_FIELD: {"type": "dense_vector", "dimension": dimension, "metric": metric},
                SPARSE_FIELD: sparse,
            }),
            Self::Sparse => json!({SPARSE_FIELD: sparse}),
        }
    }
}

fn protection(text: Option<&str>) -> Result<Option<bool>, ControlError> {
    match text {
        None => Ok(None),
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some(other) => Err(unprocessable(format!(
            "unknown variant `{other}`, expected `enabled` or `disabled`"
        ))),
    }
}

fn check_name(name: &str) -> Result<(), ControlError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(inside) {
        return Err(ControlError::invalid(
            "Name must consist of lower case alphanumeric characters or '-'",
        ));
    }
    // Own words.
    if name.is_empty() || name.len() > MAX_NAME_CHARS {
        return Err(ControlError::invalid(format!(
            "Name must have 1 to {MAX_NAME_CHARS} characters, but has {}",
            name.len()
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(ControlError::invalid(
            "Name must start and end with an alphanumeric character",
        ));
    }
    Ok(())
}

/// Own words.
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ControlError> {
    if tags.len() > MAX_TAGS {
        return Err(ControlError::invalid(format!(
            "An index can have up to {MAX_TAGS} tags, but {} are given",
            tags.len()
        )));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARS {
            return Err(ControlError::invalid(format!(
                "The key of a tag must have 1 to {MAX_TAG_KEY_CHARS} characters, but got '{key}'"
            )));
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARS {
            return Err(ControlError::invalid(format!(
                "The value of a tag can have up to {MAX_TAG_VALUE_CHARS} characters, but '{key}' has {}",
                value.chars().count()
            )));
        }
    }
    Ok(())
}
