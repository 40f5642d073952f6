//! What records are loaded into: the seam between the pipeline and a service.
//!
//! A target measures and appends records in its own wire form, seals a buffer into a frame, sends
//! frames, and says what an answer means. The pipeline knows no more of it: not the protocol, not
//! the limits. Whatever takes upserts of the Vectors API is one: Pinecone over gRPC, and the scripted
//! one of the paused-time tests. REST documents and other stores are to come as further ones.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use vecload_pinecone::{
    Client, Failure, IndexShape, Limits, Measured, MetadataPolicy, Scratch, StoredRecord,
    UpsertAck, Verdict,
};
use vecload_record::{RecordRef, Reject};

use crate::sampling::content_hash;

/// A service that takes records.
pub(crate) trait Target: Send + Sync + 'static {
    /// Buffers that a worker reuses from record to record.
    type Scratch: Send + fmt::Debug;
    /// The size of a record, and what measuring found out that appending needs.
    type Measured;

    /// The most that one request may hold, its opening bytes not counted.
    fn limits(&self) -> Limits;

    /// New buffers for a worker.
    fn scratch(&self) -> Self::Scratch;

    /// The bytes that [`Target::begin`] writes.
    fn opening_bytes(&self) -> usize;

    /// Starts a frame in an empty buffer.
    fn begin(&self, out: &mut Vec<u8>);

    /// The bytes that sealing will add for this namespace.
    fn closing_bytes(&self, namespace: &str) -> usize;

    /// Checks the name of a namespace.
    fn check_namespace(&self, namespace: &str) -> Result<(), Reject>;

    /// Checks a record and finds its exact size on the wire.
    fn measure(
        &self,
        record: &RecordRef<'_>,
        scratch: &mut Self::Scratch,
    ) -> Result<Self::Measured, Reject>;

    /// The bytes that a measured record adds to a frame.
    fn bytes(measured: &Self::Measured) -> usize;

    /// Appends a measured record. When it refuses, `out` is as it was.
    fn append(
        &self,
        record: &RecordRef<'_>,
        measured: &Self::Measured,
        scratch: &Self::Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Reject>;

    /// What was done to fields of the last measured record, as `(field, action)`.
    fn changes(scratch: &Self::Scratch) -> impl Iterator<Item = (&str, &'static str)>;

    /// Completes a frame.
    fn seal(&self, namespace: &str, out: &mut Vec<u8>);

    /// A complete frame of a range of the records of another; `ends[i]` is where record `i` ends.
    fn cut(&self, frame: &[u8], ends: &[u32], range: Range<usize>) -> Vec<u8>;

    /// Sends a frame once.
    fn send(
        &self,
        frame: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<UpsertAck, Failure>> + Send;

    /// What a failure means for the batch.
    fn classify(&self, failure: &Failure) -> Verdict;

    /// The id of a record in wire form.
    fn id_of<'a>(&self, record: &'a [u8]) -> Option<&'a str>;

    /// A record in wire form as the object that a dead letter holds; none where it cannot be read,
    /// which for bytes that this target wrote is a bug.
    fn decode(&self, record: &[u8]) -> Option<Map<String, Value>>;

    /// A hash of what a record in wire form holds, which the record has too when it is read back; none as above.
    fn content_hash(&self, record: &[u8]) -> Option<u128>;
}

/// A target that takes upserts of Pinecone's Vectors API in their wire form.
pub(crate) trait TakesUpserts: Send + Sync + 'static {
    /// What the index takes.
    fn shape(&self) -> IndexShape;

    /// The limits of a request.
    fn limits(&self) -> Limits;

    /// What is done to metadata that the service does not take as it is.
    fn policy(&self) -> MetadataPolicy;

    /// As [`Target::send`].
    fn upsert(
        &self,
        frame: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<UpsertAck, Failure>> + Send;
}

/// Pinecone's Vectors API over gRPC.
#[derive(Debug)]
pub(crate) struct Pinecone {
    pub(crate) client: Client,
    pub(crate) shape: IndexShape,
    pub(crate) limits: Limits,
    pub(crate) policy: MetadataPolicy,
}

impl TakesUpserts for Pinecone {
    fn shape(&self) -> IndexShape {
        self.shape
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn policy(&self) -> MetadataPolicy {
        self.policy
    }

    async fn upsert(&self, frame: Bytes, timeout: Duration) -> Result<UpsertAck, Failure> {
        self.client.upsert(frame, timeout).await
    }
}

impl<T: TakesUpserts> Target for T {
    type Scratch = Scratch;
    type Measured = Measured;

    fn limits(&self) -> Limits {
        TakesUpserts::limits(self)
    }

    fn scratch(&self) -> Scratch {
        Scratch::new(self.policy())
    }

    fn opening_bytes(&self) -> usize {
        vecload_pinecone::FRAME_PREFIX
    }

    fn begin(&self, out: &mut Vec<u8>) {
        vecload_pinecone::begin(out);
    }

    fn closing_bytes(&self, namespace: &str) -> usize {
        vecload_pinecone::namespace_bytes(namespace)
    }

    fn check_namespace(&self, namespace: &str) -> Result<(), Reject> {
        vecload_pinecone::check_namespace(namespace)
    }

    fn measure(&self, record: &RecordRef<'_>, scratch: &mut Scratch) -> Result<Measured, Reject> {
        vecload_pinecone::measure(record, &self.shape(), scratch)
    }

    fn bytes(measured: &Measured) -> usize {
        measured.bytes()
    }

    fn append(
        &self,
        record: &RecordRef<'_>,
        measured: &Measured,
        scratch: &Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Reject> {
        vecload_pinecone::append(record, measured, scratch, out)
    }

    fn changes(scratch: &Scratch) -> impl Iterator<Item = (&str, &'static str)> {
        scratch
            .changes()
            .map(|(field, change)| (field, change.name()))
    }

    fn seal(&self, namespace: &str, out: &mut Vec<u8>) {
        vecload_pinecone::seal(namespace, out);
    }

    fn cut(&self, frame: &[u8], ends: &[u32], range: Range<usize>) -> Vec<u8> {
        vecload_pinecone::cut(frame, ends, range)
    }

    async fn send(&self, frame: Bytes, timeout: Duration) -> Result<UpsertAck, Failure> {
        self.upsert(frame, timeout).await
    }

    fn classify(&self, failure: &Failure) -> Verdict {
        vecload_pinecone::classify(failure)
    }

    fn id_of<'a>(&self, record: &'a [u8]) -> Option<&'a str> {
        vecload_pinecone::record_id(record)
    }

    fn decode(&self, record: &[u8]) -> Option<Map<String, Value>> {
        vecload_pinecone::decode_record(record).ok()
    }

    fn content_hash(&self, record: &[u8]) -> Option<u128> {
        Some(content_hash(&StoredRecord::from_wire(record).ok()?))
    }
}

#[cfg(test)]
pub(crate) mod scripted;
