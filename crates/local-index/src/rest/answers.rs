//! What REST clients are answered: the contract's messages as JSON.
//!
//! Names are in camelCase but for namespaces, and 64-bit integers are texts, as the service has them.

use std::collections::BTreeMap;

use prost::{DecodeError, Message};
use prost_types::Struct;
use serde::Serialize;
use vecload_proto as proto;

use super::Operation;
use crate::rules;

/// The JSON text of an encoded answer.
pub(super) fn json(
    operation: Operation,
    message: &[u8],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(match operation {
        Operation::Upsert => {
            let answer: proto::UpsertResponse = decode(message)?;
            serde_json::to_string(&Upserted {
                upserted_count: answer.upserted_count,
            })?
        }
        Operation::Delete | Operation::DeleteNamespace => "{}".to_owned(),
        Operation::Fetch => {
            let answer: proto::FetchResponse = decode(message)?;
            serde_json::to_string(&Fetched {
                vectors: vectors(answer.vectors),
                namespace: answer.namespace,
                usage: answer.usage.map(Usage::from),
                pagination: None,
            })?
        }
        Operation::FetchByMetadata => {
            let answer: proto::FetchByMetadataResponse = decode(message)?;
            serde_json::to_string(&Fetched {
                vectors: vectors(answer.vectors),
                namespace: answer.namespace,
                usage: answer.usage.map(Usage::from),
                pagination: answer.pagination.map(Pagination::from),
            })?
        }
        Operation::List => {
            let answer: proto::ListResponse = decode(message)?;
            serde_json::to_string(&Listed {
                vectors: answer.vectors.into_iter().map(Item::from).collect(),
                pagination: answer.pagination.map(Pagination::from),
                namespace: answer.namespace,
                usage: answer.usage.map(Usage::from),
            })?
        }
        Operation::Query => {
            let answer: proto::QueryResponse = decode(message)?;
            serde_json::to_string(&Found {
                results: [],
                matches: answer.matches.into_iter().map(Match::from).collect(),
                namespace: answer.namespace,
                usage: answer.usage.map(Usage::from),
            })?
        }
        Operation::Update => {
            let answer: proto::UpdateResponse = decode(message)?;
            serde_json::to_string(&Updated {
                matched_records: answer.matched_records,
            })?
        }
        Operation::DescribeIndexStats => serde_json::to_string(&Stats::from(decode::<
            proto::DescribeIndexStatsResponse,
        >(message)?))?,
        Operation::ListNamespaces => {
            let answer: proto::ListNamespacesResponse = decode(message)?;
            serde_json::to_string(&Namespaces {
                namespaces: answer.namespaces.into_iter().map(Namespace::from).collect(),
                pagination: answer.pagination.map(Pagination::from),
                total_count: answer.total_count,
            })?
        }
        Operation::CreateNamespace | Operation::DescribeNamespace => serde_json::to_string(
            &Namespace::from(decode::<proto::NamespaceDescription>(message)?),
        )?,
    })
}

fn decode<T: Message + Default>(message: &[u8]) -> Result<T, DecodeError> {
    T::decode(message)
}

type Object = serde_json::Map<String, serde_json::Value>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upserted {
    upserted_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_records: Option<i32>,
}

#[derive(Serialize)]
struct Fetched {
    vectors: BTreeMap<String, Vector>,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination>,
}

#[derive(Serialize)]
struct Listed {
    vectors: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination>,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Item {
    id: String,
}

#[derive(Serialize)]
struct Found {
    /// Deprecated, and still answered.
    results: [(); 0],
    matches: Vec<Match>,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    score: f32,
    #[serde(flatten)]
    vector: Vector,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    id: String,
    values: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse_values: Option<SparseValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Object>,
}

#[derive(Serialize)]
struct SparseValues {
    indices: Vec<u32>,
    values: Vec<f32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    read_units: u32,
}

#[derive(Serialize)]
struct Pagination {
    next: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    namespaces: BTreeMap<String, Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<u32>,
    index_fullness: f32,
    total_vector_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_type: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    vector_count: u32,
}

#[derive(Serialize)]
struct Namespaces {
    namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination>,
    total_count: i32,
}

#[derive(Serialize)]
struct Namespace {
    name: String,
    record_count: String,
    size_bytes: String,
}

// === impl ===

fn vectors<I>(vectors: I) -> BTreeMap<String, Vector>
where
    I: IntoIterator<Item = (String, proto::Vector)>,
{
    let json = |(id, vector): (String, proto::Vector)| (id, Vector::from(vector));
    vectors.into_iter().map(json).collect()
}

fn object(metadata: &Struct) -> Object {
    let fields = metadata.fields.iter();
    fields
        .map(|(name, value)| (name.clone(), rules::json(value)))
        .collect()
}

impl From<proto::Vector> for Vector {
    fn from(vector: proto::Vector) -> Self {
        Self {
            id: vector.id,
            values: vector.values,
            sparse_values: vector.sparse_values.map(SparseValues::from),
            metadata: vector.metadata.as_ref().map(object),
        }
    }
}

impl From<proto::ScoredVector> for Match {
    fn from(found: proto::ScoredVector) -> Self {
        Self {
            score: found.score,
            vector: Vector::from(proto::Vector {
                id: found.id,
                values: found.values,
                sparse_values: found.sparse_values,
                metadata: found.metadata,
            }),
        }
    }
}

impl From<proto::SparseValues> for SparseValues {
    fn from(sparse: proto::SparseValues) -> Self {
        Self {
            indices: sparse.indices,
            values: sparse.values,
        }
    }
}

impl From<proto::ListItem> for Item {
    fn from(item: proto::ListItem) -> Self {
        Self { id: item.id }
    }
}

impl From<proto::Usage> for Usage {
    fn from(usage: proto::Usage) -> Self {
        Self {
            read_units: usage.read_units.unwrap_or_default(),
        }
    }
}

impl From<proto::Pagination> for Pagination {
    fn from(pagination: proto::Pagination) -> Self {
        Self {
            next: pagination.next,
        }
    }
}

impl From<proto::DescribeIndexStatsResponse> for Stats {
    fn from(stats: proto::DescribeIndexStatsResponse) -> Self {
        let summary = |(name, summary): (String, proto::NamespaceSummary)| {
            let vector_count = summary.vector_count;
            (name, Summary { vector_count })
        };
        Self {
            namespaces: stats.namespaces.into_iter().map(summary).collect(),
            dimension: stats.dimension,
            index_fullness: stats.index_fullness,
            total_vector_count: stats.total_vector_count,
            metric: stats.metric,
            vector_type: stats.vector_type,
        }
    }
}

impl From<proto::NamespaceDescription> for Namespace {
    fn from(namespace: proto::NamespaceDescription) -> Self {
        Self {
            name: namespace.name,
            record_count: namespace.record_count.to_string(),
            size_bytes: namespace.size_bytes.to_string(),
        }
    }
}
