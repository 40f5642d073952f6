//! Counts and namespaces: answered from the committed state in memory.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use vecload_proto::{
    CreateNamespaceRequest, DescribeIndexStatsRequest, DescribeIndexStatsResponse,
    ListNamespacesRequest, ListNamespacesResponse, NamespaceDescription, NamespaceSummary,
    Pagination,
};

use super::Index;
use crate::filter::Filter;
use crate::rules::{self, Refusal};
use crate::store::{Namespace, Shape};
use tonic::Code;

/// Where a listing goes on, in the form that the service gives to clients.
#[derive(serde::Serialize, serde::Deserialize)]
struct Token {
    skip_past: String,
}

/// A token that continues after a name.
pub(super) fn token(skip_past: &str) -> Pagination {
    let token = serde_json::json!({ "skip_past": skip_past });
    Pagination {
        next: BASE64_STANDARD_NO_PAD.encode(token.to_string()),
    }
}

/// The name after which a listing continues; own words for a token that is none of ours.
pub(super) fn skip_past(token: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    BASE64_STANDARD_NO_PAD
        .decode(token)
        .ok()
        .and_then(|json| serde_json::from_slice::<Token>(&json).ok())
        .map(|token| Some(token.skip_past))
        .ok_or_else(|| Refusal::invalid("Invalid pagination token"))
}

/// The size of a page; own words for one out of range.
pub(super) fn page_size(limit: Option<u32>, default: u32, max: u32) -> Result<usize, Refusal> {
    match limit.unwrap_or(default) {
        limit @ 1.. if limit <= max => Ok(limit as usize),
        limit => Err(Refusal::invalid(format!(
            "limit is {limit}, but must be between 1 and {max}"
        ))),
    }
}

impl Index {
    pub(crate) fn stats(
        &self,
        request: &DescribeIndexStatsRequest,
    ) -> Result<DescribeIndexStatsResponse, Refusal> {
        if Filter::parse(request.filter.as_ref())?.is_some() {
            return Err(Refusal::invalid(
                "Serverless and Starter indexes do not support describing index stats with metadata filtering",
            ));
        }
        let namespaces = self.store.seen_namespaces();
        let count = |records: u64| u32::try_from(records).unwrap_or(u32::MAX);
        let total = namespaces.values().map(|namespace| namespace.count).sum();
        let shape = self.store.shape();
        Ok(DescribeIndexStatsResponse {
            // The default namespace is shown as "" here, and as __default__ in listings.
            namespaces: namespaces
                .into_iter()
                .map(|(name, namespace)| {
                    let vector_count = count(namespace.count);
                    (name, NamespaceSummary { vector_count })
                })
                .collect(),
            dimension: match shape {
                Some(Shape::Dense(dimension)) => Some(dimension),
                Some(Shape::Sparse) | None => None,
            },
            index_fullness: 0.0,
            total_vector_count: count(total),
            metric: Some(self.metric().to_string()),
            vector_type: shape.map(|shape| match shape {
                Shape::Dense(_) => "dense".to_owned(),
                Shape::Sparse => "sparse".to_owned(),
            }),
            memory_fullness: None,
            storage_fullness: None,
        })
    }

    pub(crate) fn list_namespaces(
        &self,
        request: &ListNamespacesRequest,
    ) -> Result<ListNamespacesResponse, Refusal> {
        let limit = page_size(request.limit, rules::MAX_LIST, rules::MAX_LIST)?;
        let after = skip_past(request.pagination_token.as_deref())?;
        let prefix = request.prefix.as_deref().unwrap_or_default();
        let mut all: Vec<NamespaceDescription> = self
            .store
            .seen_namespaces()
            .into_iter()
            .map(|(name, namespace)| describe(&name, namespace))
            .filter(|description| description.name.starts_with(prefix))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let total = all.len();
        let mut page = all.into_iter().filter(|description| match &after {
            Some(after) => description.name > *after,
            None => true,
        });
        let namespaces: Vec<_> = page.by_ref().take(limit).collect();
        let more = page.next().is_some();
        Ok(ListNamespacesResponse {
            pagination: namespaces
                .last()
                .filter(|_| more)
                .map(|last| token(&last.name)),
            namespaces,
            total_count: i32::try_from(total).unwrap_or(i32::MAX),
        })
    }

    pub(crate) fn describe_namespace(&self, name: &str) -> Result<NamespaceDescription, Refusal> {
        let name = rules::canonical(name);
        match self.store.seen_namespace(name) {
            Some(namespace) => Ok(describe(name, namespace)),
            // The default namespace always exists.
            None if name.is_empty() => Ok(describe(name, Namespace::default())),
            None => Err(Refusal::new(Code::NotFound, "Namespace not found")),
        }
    }

    /// A namespace that has just been created.
    pub(crate) fn describe_new_namespace(&self, name: &str) -> NamespaceDescription {
        describe(name, Namespace::default())
    }

    pub(crate) fn check_create_namespace(
        &self,
        request: &CreateNamespaceRequest,
    ) -> Result<(), Refusal> {
        rules::check_namespace(&request.name)?;
        if rules::canonical(&request.name).is_empty() {
            // Own words.
            return Err(Refusal::new(
                Code::AlreadyExists,
                "Namespace __default__ already exists",
            ));
        }
        let fields = request.schema.iter().flat_map(|schema| &schema.fields);
        for (name, properties) in fields {
            if !properties.filterable {
                return Err(Refusal::invalid(format!(
                    "Field '{name}' is set to filterable: false. Only filterable: true is supported."
                )));
            }
        }
        if request.schema.is_some() {
            return Err(Refusal::new(
                Code::Unimplemented,
                "the local index indexes no metadata, every field can be filtered: create the namespace without a schema",
            ));
        }
        Ok(())
    }
}

fn describe(name: &str, namespace: Namespace) -> NamespaceDescription {
    let name = rules::shown(name);
    NamespaceDescription {
        name: name.to_owned(),
        record_count: namespace.count,
        schema: None,
        indexed_fields: None,
        size_bytes: namespace.bytes,
    }
}
