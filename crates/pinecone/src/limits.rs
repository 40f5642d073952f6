//! The limits that the service states for a request and for a record.

use vecload_record::{Reason, Reject};

use crate::encode::Measured;
use crate::frame::namespace_bytes;

/// The limits of a request, which are settings, and of a record, which are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of an encoded `UpsertRequest`, namespace included, gRPC prefix not.
    pub request_bytes: usize,
    /// The most records of a request.
    pub request_records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // "2 MB" in the service's documents; their table of batch sizes agrees with 10^6, the
            // smaller reading, and not with 2^20.
            request_bytes: 2_000_000,
            request_records: 1000,
        }
    }
}

impl Limits {
    /// The most bytes of a record's metadata: as compact JSON and as an encoded `Struct`, since the
    /// service does not say which one it counts.
    pub const METADATA_BYTES: usize = 40_960;
    /// The most characters of an id.
    pub const ID_CHARS: usize = 512;
    /// The most characters of a namespace's name.
    pub const NAMESPACE_CHARS: usize = 512;
    /// The most values of a dense vector.
    pub const DIMENSION: usize = 20_000;
    /// The most values of a sparse vector.
    pub const SPARSE_VALUES: usize = 2048;
    /// The most ids of one fetch.
    pub const FETCH_IDS: usize = 1000;
    /// The most ids of one page of a list.
    pub const LIST_IDS: u32 = 100;

    /// Checks that a record fits into a request of its own.
    ///
    /// At the documented limits every record does; at lowered ones it may not.
    ///
    /// # Errors
    ///
    /// [`Reason::RecordTooLarge`] where it does not.
    pub fn check_alone(&self, measured: &Measured, namespace: &str) -> Result<(), Reject> {
        let bytes = measured.bytes() + namespace_bytes(namespace);
        if bytes <= self.request_bytes {
            return Ok(());
        }
        Err(Reject::new(
            Reason::RecordTooLarge,
            "",
            format!(
                "the record takes {bytes} bytes, a request may have {}",
                self.request_bytes
            ),
        ))
    }
}

/// The most bytes of a record that passes the rules: tags and lengths (varints of at most three
/// bytes at these sizes), an id, a dense vector, metadata, and a sparse vector of the widest indices.
const LARGEST_RECORD: usize = (1 + 3)
    + (1 + 2 + Limits::ID_CHARS)
    + (1 + 3 + 4 * Limits::DIMENSION)
    + (1 + 3 + Limits::METADATA_BYTES)
    + (1 + 3 + (1 + 2 + 5 * Limits::SPARSE_VALUES) + (1 + 2 + 4 * Limits::SPARSE_VALUES));

// So that `measure` need not know the limits of a request.
const _: () = assert!(LARGEST_RECORD + 3 + Limits::NAMESPACE_CHARS < 2_000_000);
