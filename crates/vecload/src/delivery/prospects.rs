//! Whether anything of the corpus can be loaded at all.
//!
//! A service that refuses every record of a batch is asked about twice as often as the batch has records.
//! Where nothing was ever acknowledged and the records of several batches fare like that, it is the
//! corpus or the index that is wrong, and going on only makes dead letters.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Refused records, and the batches that they are from, that end a run of which nothing is loaded.
const RECORDS: u32 = 100;
const BATCHES: u32 = 3;

/// What the deliveries of a run have learned of its corpus.
#[derive(Debug)]
pub(crate) struct Prospects {
    some_loaded: AtomicBool,
    refused: AtomicU32,
    batches: AtomicU32,
}

// === impl Prospects ===

impl Prospects {
    /// Those of a run of which some records may have been loaded before.
    pub(crate) fn new(some_loaded: bool) -> Self {
        Self {
            some_loaded: AtomicBool::new(some_loaded),
            refused: AtomicU32::new(0),
            batches: AtomicU32::new(0),
        }
    }

    /// Something was acknowledged.
    pub(super) fn loaded(&self) {
        self.some_loaded.store(true, Ordering::Relaxed);
    }

    /// A record was refused, the first one of its batch or not. True where it looks as if all will be.
    pub(super) fn refused(&self, is_first: bool) -> bool {
        let one_more = |count: &AtomicU32, more| count.fetch_add(more, Ordering::Relaxed) + more;
        let batches = one_more(&self.batches, u32::from(is_first));
        let refused = one_more(&self.refused, 1);
        refused >= RECORDS && batches >= BATCHES && !self.some_loaded.load(Ordering::Relaxed)
    }
}
