//! Reading back: records by id, and how far the index has come with what was written.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use vecload_proto::{
    FetchRequest, FetchResponse, ListRequest, ListResponse, QueryRequest, QueryResponse,
    SparseValues,
};

use super::{Client, decode};
use crate::failure::Failure;
use crate::frame::{begin, seal};
use crate::limits::Limits;
use crate::rules::{IndexShape, VectorType};
use crate::stored::StoredRecord;

const FETCH: &str = "/VectorService/Fetch";
const LIST: &str = "/VectorService/List";
const QUERY: &str = "/VectorService/Query";

/// 1,000 records, the most that one fetch may ask for, at the largest that records can be.
const FETCH_BYTES: usize = 256 << 20;
/// 100 of the longest ids and a token take a fifth of it.
const LIST_BYTES: usize = 1 << 20;
/// One match without values and metadata.
const QUERY_BYTES: usize = 64 * 1024;

/// What a fetch found.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The records by id. One that the index does not have is not among them.
    pub records: BTreeMap<String, StoredRecord>,
    /// Up to which log sequence number the answer has the writes of the namespace; unknown where the
    /// service does not say, which it does not promise for fetches.
    pub max_indexed_lsn: Option<u64>,
}

/// A page of the ids of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedIds {
    /// The ids.
    pub ids: Vec<String>,
    /// What the next page is asked for with, if there is one.
    pub next: Option<String>,
}

impl Client {
    /// Fetches records of one namespace by their ids, [`Limits::FETCH_IDS`](crate::Limits::FETCH_IDS) at the most.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn fetch(
        &self,
        namespace: &str,
        ids: Vec<String>,
        timeout: Duration,
    ) -> Result<Fetched, Failure> {
        let frame = frame(&FetchRequest {
            ids,
            namespace: namespace.to_owned(),
        });
        let answer = self.call(FETCH, frame, timeout, FETCH_BYTES).await?;
        let response: FetchResponse = decode(&answer)?;
        Ok(Fetched {
            records: response
                .vectors
                .into_iter()
                .map(|(id, vector)| (id, StoredRecord::from(vector)))
                .collect(),
            max_indexed_lsn: answer.max_indexed_lsn(),
        })
    }

    /// Lists ids of one namespace, as many as a page has ([`Limits::LIST_IDS`](crate::Limits::LIST_IDS)): the first
    /// ones, or those after a page that ended with the token `after`. Not every index does it: on the service
    /// serverless ones alone.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn list(
        &self,
        namespace: &str,
        after: Option<String>,
        timeout: Duration,
    ) -> Result<ListedIds, Failure> {
        let frame = frame(&ListRequest {
            limit: Some(Limits::LIST_IDS),
            pagination_token: after,
            namespace: namespace.to_owned(),
            ..ListRequest::default()
        });
        let answer = self.call(LIST, frame, timeout, LIST_BYTES).await?;
        let response: ListResponse = decode(&answer)?;
        let next = response.pagination.map(|pagination| pagination.next);
        Ok(ListedIds {
            ids: response.vectors.into_iter().map(|item| item.id).collect(),
            next: next.filter(|next| !next.is_empty()),
        })
    }

    /// Asks up to which log sequence number the writes of a namespace can be read, by way of a query
    /// for one record, since it is on answers to queries that the service says it. `None` is unknown:
    /// the service does not say, or the index's shape is not known well enough to query it.
    ///
    /// # Errors
    ///
    /// Whatever is not an answer.
    pub async fn max_indexed_lsn(
        &self,
        namespace: &str,
        shape: &IndexShape,
        timeout: Duration,
    ) -> Result<Option<u64>, Failure> {
        let mut query = QueryRequest {
            namespace: namespace.to_owned(),
            top_k: 1,
            ..QueryRequest::default()
        };
        match (shape.vector_type, shape.dimension) {
            (Some(VectorType::Sparse), _) => {
                query.sparse_vector = Some(SparseValues {
                    indices: vec![0],
                    values: vec![1.0],
                });
            }
            // Any direction will do; that of nothing but zeros is refused.
            (_, Some(dimension)) => query.vector = vec![1.0; dimension as usize],
            (_, None) => return Ok(None),
        }
        let answer = self
            .call(QUERY, frame(&query), timeout, QUERY_BYTES)
            .await?;
        let _: QueryResponse = decode(&answer)?;
        Ok(answer.max_indexed_lsn())
    }
}

/// A message as a request.
fn frame(message: &impl Message) -> Bytes {
    let mut frame = Vec::new();
    begin(&mut frame);
    frame.extend_from_slice(&message.encode_to_vec());
    seal("", &mut frame);
    frame.into()
}
