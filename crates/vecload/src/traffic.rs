//! What the requests of a run took: counts, bytes and latency, for the report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::waits::{LimitedBy, Waits};

/// Latencies are kept to three digits, from 1 ms up.
const DIGITS: u8 = 3;

/// Counts of a run's requests.
#[derive(Debug)]
pub(crate) struct Traffic {
    attempts: AtomicU64,
    ok: AtomicU64,
    throttled: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    acknowledged_bytes: AtomicU64,
    latency_ms: Mutex<Option<Histogram<u64>>>,
    waits: Arc<Waits>,
}

/// The counts at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrafficCounts {
    /// Requests sent.
    pub(crate) attempts: u64,
    /// Requests acknowledged.
    pub(crate) ok: u64,
    /// Requests refused for their rate.
    pub(crate) throttled: u64,
    /// Attempts that were to be repeated.
    pub(crate) retries: u64,
    /// Bytes of messages sent, retries included.
    pub(crate) bytes: u64,
    /// Bytes of messages acknowledged.
    pub(crate) acknowledged_bytes: u64,
    /// Latency of acknowledged requests in milliseconds: median, 90th and 99th percentile.
    pub(crate) latency_ms: Option<[u64; 3]>,
    /// What limited the run most, if any of it has passed.
    pub(crate) limited_by: Option<LimitedBy>,
    /// Seconds by what was waited for.
    pub(crate) wait_seconds: BTreeMap<&'static str, f64>,
}

// === impl Traffic ===

impl Traffic {
    /// No requests yet; that many threads read and encode.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            attempts: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            acknowledged_bytes: AtomicU64::new(0),
            latency_ms: Mutex::new(Histogram::new(DIGITS).ok()),
            waits: Arc::new(Waits::new(Instant::now(), threads)),
        }
    }

    /// A request of `bytes` was answered, or failed, after `took`.
    pub(crate) fn attempted(&self, bytes: u64, took: Duration, ok: bool, throttled: bool) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.throttled
            .fetch_add(u64::from(throttled), Ordering::Relaxed);
        if ok {
            self.ok.fetch_add(1, Ordering::Relaxed);
            self.acknowledged_bytes.fetch_add(bytes, Ordering::Relaxed);
            let mut latency = self
                .latency_ms
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(latency) = &mut *latency {
                latency.saturating_record(took.as_millis().max(1) as u64);
            }
        }
    }

    /// An attempt failed and will be repeated.
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// What requests wait for.
    pub(crate) fn waits(&self) -> &Arc<Waits> {
        &self.waits
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> TrafficCounts {
        let latency = self
            .latency_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        TrafficCounts {
            attempts: self.attempts.load(Ordering::Relaxed),
            ok: self.ok.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            acknowledged_bytes: self.acknowledged_bytes.load(Ordering::Relaxed),
            latency_ms: latency
                .as_ref()
                .filter(|latency| !latency.is_empty())
                .map(|latency| [50.0, 90.0, 99.0].map(|at| latency.value_at_percentile(at))),
            limited_by: Some(self.waits.of_run()),
            wait_seconds: self.waits.seconds().collect(),
        }
    }
}
