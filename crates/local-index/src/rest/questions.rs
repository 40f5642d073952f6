//! What REST clients ask, in the words of the contract.

use bytes::Bytes;
use http::Method;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vecload_proto as proto;

use super::Operation;
use super::query_string::QueryString;
use crate::rules::Refusal;

/// A JSON object, as it came.
type Object = serde_json::Map<String, serde_json::Value>;

/// A REST request in its parts.
pub(super) struct Asked {
    pub(super) query: QueryString,
    /// From the path.
    pub(super) namespace: Option<String>,
    pub(super) body: Bytes,
}

impl Asked {
    /// The encoded message that asks the same.
    pub(super) fn message(self, operation: Operation, method: &Method) -> Result<Vec<u8>, Refusal> {
        let query = &self.query;
        let namespace = query.text("namespace").unwrap_or_default();
        let pagination_token = query.text("paginationToken");
        let named = self.namespace.clone().unwrap_or_default();
        Ok(match operation {
            Operation::Upsert => self.json::<Upsert>()?.into_message().encode_to_vec(),
            Operation::Delete if method == Method::DELETE && self.body.is_empty() => {
                proto::DeleteRequest {
                    ids: query.texts("ids"),
                    delete_all: query.text("deleteAll").as_deref() == Some("true"),
                    namespace,
                    filter: None,
                }
                .encode_to_vec()
            }
            Operation::Delete => self.json::<Delete>()?.into_message().encode_to_vec(),
            Operation::Fetch => proto::FetchRequest {
                ids: query.texts("ids"),
                namespace,
            }
            .encode_to_vec(),
            Operation::FetchByMetadata => self
                .json::<FetchByMetadata>()?
                .into_message()
                .encode_to_vec(),
            Operation::List => proto::ListRequest {
                prefix: query.text("prefix"),
                limit: query.number("limit")?,
                pagination_token,
                namespace,
            }
            .encode_to_vec(),
            Operation::Query => self.json::<Query>()?.into_message().encode_to_vec(),
            Operation::Update => self.json::<Update>()?.into_message().encode_to_vec(),
            Operation::DescribeIndexStats if self.body.is_empty() => {
                proto::DescribeIndexStatsRequest::default().encode_to_vec()
            }
            Operation::DescribeIndexStats => proto::DescribeIndexStatsRequest {
                filter: self.json::<Stats>()?.filter.map(structure),
            }
            .encode_to_vec(),
            Operation::ListNamespaces => proto::ListNamespacesRequest {
                pagination_token,
                limit: query.number("limit")?,
                prefix: query.text("prefix"),
            }
            .encode_to_vec(),
            Operation::CreateNamespace => self
                .json::<CreateNamespace>()?
                .into_message()
                .encode_to_vec(),
            Operation::DescribeNamespace => {
                proto::DescribeNamespaceRequest { namespace: named }.encode_to_vec()
            }
            Operation::DeleteNamespace => {
                proto::DeleteNamespaceRequest { namespace: named }.encode_to_vec()
            }
        })
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        // The service's words for a body that is no JSON of the right shape are not known; these are the
        // parser's.
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::invalid(format!("Invalid request: {error}")))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Vector {
    id: String,
    values: Vec<f32>,
    sparse_values: Option<SparseValues>,
    metadata: Option<Object>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SparseValues {
    indices: Vec<u32>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Upsert {
    #[serde(default)]
    vectors: Vec<Vector>,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Delete {
    ids: Option<Vec<String>>,
    delete_all: Option<bool>,
    namespace: Option<String>,
    filter: Option<Object>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FetchByMetadata {
    namespace: Option<String>,
    filter: Option<Object>,
    limit: Option<u32>,
    pagination_token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Query {
    namespace: Option<String>,
    top_k: u32,
    filter: Option<Object>,
    include_values: Option<bool>,
    include_metadata: Option<bool>,
    vector: Option<Vec<f32>>,
    id: Option<String>,
    sparse_vector: Option<SparseValues>,
    scan_factor: Option<f32>,
    max_candidates: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Update {
    id: Option<String>,
    values: Option<Vec<f32>>,
    sparse_values: Option<SparseValues>,
    set_metadata: Option<Object>,
    namespace: Option<String>,
    filter: Option<Object>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct Stats {
    filter: Option<Object>,
}

#[derive(Deserialize)]
struct CreateNamespace {
    name: String,
    schema: Option<Schema>,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    fields: std::collections::HashMap<String, Field>,
}

#[derive(Deserialize)]
struct Field {
    #[serde(default)]
    filterable: bool,
}

// === impl ===

impl Vector {
    fn into_message(self) -> proto::Vector {
        proto::Vector {
            id: self.id,
            values: self.values,
            metadata: self.metadata.map(metadata),
            sparse_values: self.sparse_values.map(SparseValues::into_message),
        }
    }
}

impl SparseValues {
    fn into_message(self) -> proto::SparseValues {
        proto::SparseValues {
            indices: self.indices,
            values: self.values,
        }
    }
}

impl Upsert {
    fn into_message(self) -> proto::UpsertRequest {
        proto::UpsertRequest {
            vectors: self.vectors.into_iter().map(Vector::into_message).collect(),
            namespace: self.namespace.unwrap_or_default(),
        }
    }
}

impl Delete {
    fn into_message(self) -> proto::DeleteRequest {
        proto::DeleteRequest {
            ids: self.ids.unwrap_or_default(),
            delete_all: self.delete_all.unwrap_or_default(),
            namespace: self.namespace.unwrap_or_default(),
            filter: self.filter.map(structure),
        }
    }
}

impl FetchByMetadata {
    fn into_message(self) -> proto::FetchByMetadataRequest {
        proto::FetchByMetadataRequest {
            namespace: self.namespace.unwrap_or_default(),
            filter: self.filter.map(structure),
            limit: self.limit,
            pagination_token: self.pagination_token,
        }
    }
}

impl Query {
    fn into_message(self) -> proto::QueryRequest {
        proto::QueryRequest {
            namespace: self.namespace.unwrap_or_default(),
            top_k: self.top_k,
            filter: self.filter.map(structure),
            include_values: self.include_values.unwrap_or_default(),
            include_metadata: self.include_metadata.unwrap_or_default(),
            vector: self.vector.unwrap_or_default(),
            id: self.id.unwrap_or_default(),
            sparse_vector: self.sparse_vector.map(SparseValues::into_message),
            scan_factor: self.scan_factor,
            max_candidates: self.max_candidates,
            ..proto::QueryRequest::default()
        }
    }
}

impl Update {
    fn into_message(self) -> proto::UpdateRequest {
        proto::UpdateRequest {
            id: self.id.unwrap_or_default(),
            values: self.values.unwrap_or_default(),
            set_metadata: self.set_metadata.map(metadata),
            namespace: self.namespace.unwrap_or_default(),
            sparse_values: self.sparse_values.map(SparseValues::into_message),
            filter: self.filter.map(structure),
            dry_run: self.dry_run,
        }
    }
}

impl CreateNamespace {
    fn into_message(self) -> proto::CreateNamespaceRequest {
        let field = |(name, field): (String, Field)| {
            let filterable = field.filterable;
            (name, proto::MetadataFieldProperties { filterable })
        };
        proto::CreateNamespaceRequest {
            name: self.name,
            schema: self.schema.map(|schema| proto::MetadataSchema {
                fields: schema.fields.into_iter().map(field).collect(),
            }),
        }
    }
}

/// Metadata to write: "null values are stripped", over REST only.
fn metadata(object: Object) -> Struct {
    let mut object = object;
    object.retain(|_, value| !value.is_null());
    structure(object)
}

fn structure(object: Object) -> Struct {
    Struct {
        fields: object
            .into_iter()
            .map(|(name, json)| (name, value(json)))
            .collect(),
    }
}

fn value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        // Without arbitrary precision every number of JSON is a double.
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(value).collect(),
        }),
        serde_json::Value::Object(object) => Kind::StructValue(structure(object)),
    };
    Value { kind: Some(kind) }
}
