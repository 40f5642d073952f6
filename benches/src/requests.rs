//! Requests that were encoded before, to measure what comes after that.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use vecload_pinecone::{IndexShape, MetadataPolicy, Scratch};

use crate::{Failure, records};

/// Requests that there are at most: more than the caches hold.
const DISTINCT: usize = 64;
/// As `load` fills requests.
const REQUEST_BYTES: usize = 1_000_000;
const REQUEST_RECORDS: u64 = 1_000;

/// A sealed request and the records in it.
#[derive(Debug)]
pub struct Request {
    /// The complete frame.
    pub frame: Bytes,
    /// How many records it holds.
    pub records: u64,
}

/// The first requests of a load of the file, at least one.
///
/// # Errors
///
/// The file cannot be read, or has no records.
pub fn encode(file: &Path) -> Result<Vec<Arc<Request>>, Failure> {
    let mut scratch = Scratch::new(MetadataPolicy::default());
    let mut requests = Vec::new();
    let (mut open, mut count) = (Vec::new(), 0);
    vecload_pinecone::begin(&mut open);
    let mut seal = |open: &mut Vec<u8>, records: &mut u64| {
        vecload_pinecone::seal("", open);
        requests.push(Arc::new(Request {
            frame: std::mem::take(open).into(),
            records: std::mem::take(records),
        }));
        vecload_pinecone::begin(open);
        requests.len() == DISTINCT
    };
    records::each(file, |record| {
        let measured = vecload_pinecone::measure(record, &IndexShape::default(), &mut scratch);
        let measured = measured.map_err(|reject| reject.to_string())?;
        let is_full = open.len() + measured.bytes() > REQUEST_BYTES || count == REQUEST_RECORDS;
        if is_full && seal(&mut open, &mut count) {
            return Ok(ControlFlow::Break(()));
        }
        vecload_pinecone::append(record, &measured, &scratch, &mut open)
            .map_err(|reject| reject.to_string())?;
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    if count > 0 {
        seal(&mut open, &mut count);
    }
    if requests.is_empty() {
        return Err("the file has no records".into());
    }
    Ok(requests)
}
