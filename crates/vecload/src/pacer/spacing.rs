//! Even spacing under a byte rate and a request rate that hold always.
//!
//! The request limit is the same currency as the bytes: a small request costs what the share of one
//! request costs. So neither rate is ever exceeded, and there is one time to wait for, not two.

use super::CREDIT;

/// Spaces requests out; times are seconds since the pacer's beginning.
#[derive(Debug)]
pub(super) struct Spacing {
    /// Bytes per second; infinite without a limit.
    rate: f64,
    /// What a request costs at the least, in bytes.
    least_cost: f64,
    next: f64,
}

// === impl Spacing ===

impl Spacing {
    /// Spacing at a byte rate and a request rate per second; `None` means no limit.
    pub(super) fn new(bytes: Option<f64>, requests: Option<f64>) -> Self {
        // Without a byte limit the currency is arbitrary: a request costs one unit.
        let (rate, least_cost) = match (bytes, requests) {
            (Some(bytes), Some(requests)) => (bytes, bytes / requests),
            (Some(bytes), None) => (bytes, 0.0),
            (None, Some(requests)) => (requests, f64::INFINITY),
            (None, None) => (f64::INFINITY, 0.0),
        };
        Self {
            rate,
            least_cost,
            next: f64::NEG_INFINITY,
        }
    }

    /// The earliest time at which a request may go.
    pub(super) fn ready_at(&self) -> f64 {
        self.next
    }

    /// Takes note that a request of `bytes` goes now.
    pub(super) fn sent(&mut self, now: f64, bytes: f64) {
        let cost = if self.least_cost.is_infinite() {
            1.0
        } else {
            bytes.max(self.least_cost)
        };
        self.next = self.next.max(now - CREDIT) + cost / self.rate;
    }

    /// The limit in bytes per second, if there is one.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.rate.is_finite() && self.least_cost.is_finite()).then_some(self.rate)
    }
}
