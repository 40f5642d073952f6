//! The Vectors API over gRPC: messages in, messages out, freshness in the headers.
//!
//! Checking, encoding and reading run on tokio's blocking threads and are tracked, so that a server
//! that has stopped holds the store no longer. Limits of the body (4 MiB decode limit, then 2 MB
//! for an upsert, by the length that arrived and not by what decoding made of it) are the service's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use vecload_proto::vector_service_server::{VectorService, VectorServiceServer};
use vecload_proto::{
    CreateNamespaceRequest, DeleteNamespaceRequest, DeleteRequest, DeleteResponse,
    DescribeIndexStatsRequest, DescribeIndexStatsResponse, DescribeNamespaceRequest,
    FetchByMetadataRequest, FetchByMetadataResponse, FetchRequest, FetchResponse,
    ListNamespacesRequest, ListNamespacesResponse, ListRequest, ListResponse, NamespaceDescription,
    QueryRequest, QueryResponse, UpdateRequest, UpdateResponse, UpsertRequest, UpsertResponse,
};

use crate::index::Index;
use crate::rules::{self, Refusal};
use crate::store::{Change, Written};

/// On answers to writes.
pub(crate) const REQUEST_LSN: &str = "x-pinecone-request-lsn";
/// On answers to queries.
const MAX_INDEXED_LSN: &str = "x-pinecone-max-indexed-lsn";

/// Counts the bytes of a request's body as they arrive; the door puts it among the extensions.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<AtomicU64>);

impl Received {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The length of the one message of a unary request: all but the prefix.
    pub(crate) fn message_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_sub(5)
    }
}

/// The service of one index.
#[derive(Clone)]
pub(crate) struct Api {
    index: Arc<Index>,
    tasks: TaskTracker,
}

impl Api {
    pub(crate) fn server(index: Arc<Index>, tasks: TaskTracker) -> VectorServiceServer<Self> {
        VectorServiceServer::new(Self { index, tasks })
            .max_decoding_message_size(rules::MAX_MESSAGE_BYTES)
    }

    /// Runs checks and reads where they may take their time.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Index) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Status> {
        let index = self.index.clone();
        let done = self.tasks.spawn_blocking(move || work(&index)).await;
        let done = done.map_err(|error| {
            tracing::error!(%error, "an operation of the local index did not finish");
            Status::new(Code::Internal, "the local index failed; its log says why")
        })?;
        Ok(done?)
    }

    async fn write(&self, namespace: &str, change: Change) -> Result<Written, Status> {
        let namespace = rules::canonical(namespace);
        Ok(self.index.store.write(namespace, change).await?)
    }
}

fn with_lsn<T>(message: T, header: &'static str, lsn: u64) -> Response<T> {
    let mut response = Response::new(message);
    response
        .metadata_mut()
        .insert(header, MetadataValue::from(lsn));
    response
}

fn written<T>(message: T, written: Written) -> Response<T> {
    with_lsn(message, REQUEST_LSN, written.lsn)
}

#[tonic::async_trait]
impl VectorService for Api {
    async fn upsert(
        &self,
        request: Request<UpsertRequest>,
    ) -> Result<Response<UpsertResponse>, Status> {
        let bytes = match request.extensions().get::<Received>() {
            Some(received) => received.message_bytes(),
            None => return Err(Status::internal("the request was not measured")),
        };
        let mut request = request.into_inner();
        let namespace = std::mem::take(&mut request.namespace);
        rules::check_request_size(bytes)?;
        rules::check_namespace(&namespace)?;
        let prepared = self
            .blocking(move |index| index.prepare_upsert(request.vectors))
            .await?;
        let done = self.write(&namespace, Change::Upsert(prepared)).await?;
        let upserted_count = done.records as u32;
        Ok(written(UpsertResponse { upserted_count }, done))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let request = request.into_inner();
        let namespace = request.namespace.clone();
        let change = self.index.prepare_delete(request)?;
        let done = self.write(&namespace, change).await?;
        Ok(written(DeleteResponse {}, done))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponse>, Status> {
        let request = request.into_inner();
        let response = self.blocking(move |index| index.fetch(request)).await?;
        Ok(Response::new(response))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let response = self.blocking(move |index| index.list(request)).await?;
        Ok(Response::new(response))
    }

    async fn query(
        &self,
        request: Request<QueryRequest>,
    ) -> Result<Response<QueryResponse>, Status> {
        let request = request.into_inner();
        let found = self.blocking(move |index| index.query(request)).await?;
        Ok(match self.index.dice.said_indexed(found.lsn) {
            Some(lsn) => with_lsn(found.response, MAX_INDEXED_LSN, lsn),
            None => Response::new(found.response),
        })
    }

    async fn update(
        &self,
        request: Request<UpdateRequest>,
    ) -> Result<Response<UpdateResponse>, Status> {
        let request = request.into_inner();
        let by_filter = request.filter.is_some();
        let namespace = request.namespace.clone();
        let change = self.index.prepare_update(request)?;
        let done = self.write(&namespace, change).await?;
        let matched_records = by_filter.then(|| i32::try_from(done.records).unwrap_or(i32::MAX));
        Ok(written(UpdateResponse { matched_records }, done))
    }

    async fn describe_index_stats(
        &self,
        request: Request<DescribeIndexStatsRequest>,
    ) -> Result<Response<DescribeIndexStatsResponse>, Status> {
        Ok(Response::new(self.index.stats(request.get_ref())?))
    }

    async fn list_namespaces(
        &self,
        request: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let response = self.index.list_namespaces(request.get_ref())?;
        Ok(Response::new(response))
    }

    async fn describe_namespace(
        &self,
        request: Request<DescribeNamespaceRequest>,
    ) -> Result<Response<NamespaceDescription>, Status> {
        let name = request.into_inner().namespace;
        Ok(Response::new(self.index.describe_namespace(&name)?))
    }

    async fn delete_namespace(
        &self,
        request: Request<DeleteNamespaceRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let name = request.into_inner().namespace;
        let done = self.write(&name, Change::DeleteNamespace).await?;
        Ok(written(DeleteResponse {}, done))
    }

    async fn create_namespace(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Result<Response<NamespaceDescription>, Status> {
        let request = request.into_inner();
        self.index.check_create_namespace(&request)?;
        let done = self.write(&request.name, Change::CreateNamespace).await?;
        let description = self.index.describe_new_namespace(&request.name);
        Ok(written(description, done))
    }

    async fn fetch_by_metadata(
        &self,
        request: Request<FetchByMetadataRequest>,
    ) -> Result<Response<FetchByMetadataResponse>, Status> {
        let request = request.into_inner();
        let response = self
            .blocking(move |index| index.fetch_by_metadata(request))
            .await?;
        Ok(Response::new(response))
    }
}
