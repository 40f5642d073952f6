//! Reading records: by id, by prefix, by metadata, by nearness.
//!
//! Each works on one snapshot of its namespace; a namespace that does not exist is an empty one.

use prost::Message as _;
use tonic::Code;
use vecload_proto::{
    FetchByMetadataRequest, FetchByMetadataResponse, FetchRequest, FetchResponse, ListItem,
    ListRequest, ListResponse, QueryRequest, QueryResponse, ScoredVector, Usage,
};

use super::Index;
use super::namespaces::{page_size, skip_past, token};
use crate::filter::Filter;
use crate::rules::{self, Refusal};
use crate::search::{Best, Probe};
use crate::store::{Shape, Snapshot, Visit};

/// The answer to a query.
pub(crate) struct Found {
    pub(crate) response: QueryResponse,
    /// The last write that the query saw.
    pub(crate) lsn: u64,
}

/// Local reads cost nothing, but clients show what they cost; the least there is.
fn usage() -> Option<Usage> {
    Some(Usage {
        read_units: Some(1),
    })
}

impl Index {
    fn snapshot(&self, namespace: &str) -> Result<Option<Snapshot>, Refusal> {
        rules::check_namespace(namespace)?;
        Ok(self.store.snapshot(rules::canonical(namespace))?)
    }

    pub(crate) fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, Refusal> {
        rules::check_ids(&request.ids)?;
        let mut response = FetchResponse {
            usage: usage(),
            ..FetchResponse::default()
        };
        if let Some(snapshot) = self.snapshot(&request.namespace)? {
            for id in request.ids {
                let vector = snapshot.get(id.as_bytes(), |row| row.vector(id.clone()))?;
                response.vectors.extend(vector.map(|vector| (id, vector)));
            }
        }
        response.namespace = request.namespace;
        Ok(response)
    }

    pub(crate) fn list(&self, request: ListRequest) -> Result<ListResponse, Refusal> {
        if self.dice.refuses_list() {
            // Own words.
            return Err(Refusal::new(
                Code::Unimplemented,
                "Listing ids is supported by serverless indexes only",
            ));
        }
        let limit = page_size(request.limit, rules::MAX_LIST, rules::MAX_LIST)?;
        let after = skip_past(request.pagination_token.as_deref())?;
        let mut response = ListResponse {
            usage: usage(),
            ..ListResponse::default()
        };
        if let Some(snapshot) = self.snapshot(&request.namespace)? {
            let prefix = request.prefix.unwrap_or_default();
            let after = after.as_deref().map(str::as_bytes);
            let mut more = false;
            snapshot.scan_prefix(prefix.as_bytes(), after, |id| {
                more = response.vectors.len() == limit;
                if more {
                    return Visit::Stop;
                }
                response.vectors.push(ListItem { id: text(id) });
                Visit::Continue
            })?;
            let last = response.vectors.last().filter(|_| more);
            response.pagination = last.map(|last| token(&last.id));
        }
        response.namespace = request.namespace;
        Ok(response)
    }

    pub(crate) fn fetch_by_metadata(
        &self,
        request: FetchByMetadataRequest,
    ) -> Result<FetchByMetadataResponse, Refusal> {
        let limit = page_size(request.limit, 100, rules::MAX_FETCH_BY_METADATA)?;
        let after = skip_past(request.pagination_token.as_deref())?;
        let Some(filter) = Filter::parse(request.filter.as_ref())? else {
            return Err(Refusal::invalid(
                "Empty filter provided for fetch by metadata request",
            ));
        };
        let mut response = FetchByMetadataResponse {
            usage: usage(),
            ..FetchByMetadataResponse::default()
        };
        if let Some(snapshot) = self.snapshot(&request.namespace)? {
            let fields = filter.fields();
            let mut last = Vec::new();
            let mut more = false;
            let mut bytes = 0;
            snapshot.scan(after.as_deref().map(str::as_bytes), |id, row| {
                if !filter.matches(row.metadata_fields(&fields)?.as_ref()) {
                    return Ok(Visit::Continue);
                }
                let vector = row.vector(text(id))?;
                bytes += vector.encoded_len();
                // A page ends at its limit or where the answer would become too large.
                more = response.vectors.len() == limit
                    || (bytes > rules::MAX_RESULT_BYTES && !response.vectors.is_empty());
                if more {
                    return Ok(Visit::Stop);
                }
                last = id.to_vec();
                response.vectors.insert(text(id), vector);
                Ok(Visit::Continue)
            })?;
            response.pagination = more.then(|| token(&text(&last)));
        }
        response.namespace = request.namespace;
        Ok(response)
    }

    pub(crate) fn query(&self, request: QueryRequest) -> Result<Found, Refusal> {
        if !(1..=rules::MAX_TOP_K).contains(&request.top_k) {
            // Own words.
            return Err(Refusal::invalid(format!(
                "top_k is {}, but must be between 1 and {}",
                request.top_k,
                rules::MAX_TOP_K
            )));
        }
        let filter = Filter::parse(request.filter.as_ref())?;
        let snapshot = self.snapshot(&request.namespace)?;
        let probe = self.probe(&request, snapshot.as_ref())?;
        let mut response = QueryResponse {
            usage: usage(),
            ..QueryResponse::default()
        };
        let lsn = snapshot.as_ref().map_or(0, |snapshot| snapshot.lsn);
        if let (Some(snapshot), Some(probe)) = (&snapshot, &probe) {
            let fields = filter.as_ref().map(Filter::fields).unwrap_or_default();
            let mut best = Best::new(request.top_k as usize);
            snapshot.scan(None, |id, row| {
                let passes = match &filter {
                    Some(filter) => filter.matches(row.metadata_fields(&fields)?.as_ref()),
                    None => true,
                };
                if passes && let Some(score) = probe.score(row) {
                    best.offer(probe.rank(score), score, id);
                }
                Ok(Visit::Continue)
            })?;
            response.matches = matches(snapshot, best, &request)?;
        }
        response.namespace = request.namespace;
        Ok(Found { response, lsn })
    }

    /// What a query looks for; `None` if it can find nothing.
    fn probe(
        &self,
        request: &QueryRequest,
        snapshot: Option<&Snapshot>,
    ) -> Result<Option<Probe>, Refusal> {
        // Own words: the field has been deprecated since before the oldest supported version.
        #[expect(deprecated, reason = "it must be seen to be refused")]
        if !request.queries.is_empty() {
            return Err(Refusal::invalid(
                "queries is no longer supported, use vector or id",
            ));
        }
        let has_vector = !request.vector.is_empty() || request.sparse_vector.is_some();
        let shape = self.store.shape();
        match (has_vector, request.id.is_empty()) {
            (true, false) => {
                return Err(Refusal::invalid(
                    "Cannot provide both 'ID' and 'vector' at the same time",
                ));
            }
            (false, true) if shape == Some(Shape::Sparse) => {
                return Err(Refusal::invalid(
                    "Either 'sparse_vector' or 'ID' must be provided",
                ));
            }
            // Own words, after the sparse ones.
            (false, true) => {
                return Err(Refusal::invalid("Either 'vector' or 'ID' must be provided"));
            }
            _ => {}
        }
        let Some(shape) = shape else { return Ok(None) };
        let metric = self.metric();
        if !request.id.is_empty() {
            rules::check_id(&request.id)?;
            let Some(snapshot) = snapshot else {
                return Ok(None);
            };
            // A query by an id that is not there finds nothing.
            return Ok(snapshot.get(request.id.as_bytes(), |row| {
                let sparse = row.sparse_values();
                Ok(Probe::new(
                    metric,
                    shape,
                    row.dense_values(),
                    sparse.as_ref(),
                ))
            })?);
        }
        match shape {
            Shape::Dense(dimension) => rules::check_dimension(request.vector.len(), dimension)?,
            Shape::Sparse if !request.vector.is_empty() => {
                return Err(Refusal::invalid(
                    "Index configuration does not support dense values",
                ));
            }
            Shape::Sparse => {}
        }
        if let Some(sparse) = &request.sparse_vector {
            rules::check_sparse_allowed(shape, metric)?;
            rules::check_sparse(sparse)?;
        }
        // A query of zeros is let through: people list by filter with it.
        if request.vector.iter().any(|value| !value.is_finite()) {
            return Err(Refusal::invalid(
                "Query vector must contain only finite values",
            ));
        }
        let sparse = request.sparse_vector.as_ref();
        Ok(Some(Probe::new(
            metric,
            shape,
            request.vector.clone(),
            sparse,
        )))
    }
}

/// The records that were found, with as much of them as is asked for.
fn matches(
    snapshot: &Snapshot,
    best: Best,
    request: &QueryRequest,
) -> Result<Vec<ScoredVector>, Refusal> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for candidate in best.into_sorted() {
        let scored = snapshot.get(&candidate.id, |row| {
            let mut scored = ScoredVector {
                id: text(&candidate.id),
                score: candidate.score,
                ..ScoredVector::default()
            };
            if request.include_values {
                scored.values = row.dense_values();
                scored.sparse_values = row.sparse_values();
            }
            if request.include_metadata {
                scored.metadata = row.metadata()?;
            }
            Ok(scored)
        })?;
        let Some(scored) = scored else { continue };
        bytes += scored.encoded_len();
        if bytes > rules::MAX_RESULT_BYTES {
            // Own words.
            return Err(Refusal::invalid(
                "Query result exceeds the maximum supported size of 4MB: ask for a smaller top_k, or without values and metadata",
            ));
        }
        found.push(scored);
    }
    Ok(found)
}

/// An id as text; ids are checked to be ASCII before they are stored.
fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}
