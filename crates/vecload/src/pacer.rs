//! When a namespace may send its next request.
//!
//! A pacer is a pure state machine in bytes per second: it is told the time and answers with the
//! time. There is no burst beyond 10 ms of credit, since a burst is what a one-second quota
//! punishes. The request limit is the same currency: a small request costs what the share of one
//! request costs. Here it runs at the ceilings that are given; the adaptive law takes its place
//! behind the same three methods.

use std::time::Duration;

use tokio::time::Instant;

/// Credit that an idle pacer keeps, so that a timer that fires late costs no throughput.
const CREDIT: Duration = Duration::from_millis(10);

/// Spreads the requests of one namespace over time.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes per second; infinite without a limit.
    rate: f64,
    /// What a request costs at the least, in bytes.
    least_cost: f64,
    next: Option<Instant>,
    paused_until: Option<Instant>,
}

// === impl Pacer ===

impl Pacer {
    /// A pacer at a byte rate and a request rate per second; `None` means no limit.
    pub(crate) fn new(bytes: Option<f64>, requests: Option<f64>) -> Self {
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
            next: None,
            paused_until: None,
        }
    }

    /// The earliest time at which a request may go.
    pub(crate) fn ready_at(&self, now: Instant) -> Instant {
        let next = self.next.unwrap_or(now);
        self.paused_until.map_or(next, |until| next.max(until))
    }

    /// Takes note that a request of `bytes` goes now.
    pub(crate) fn charge(&mut self, now: Instant, bytes: usize) {
        let cost = if self.least_cost.is_infinite() {
            1.0
        } else {
            (bytes as f64).max(self.least_cost)
        };
        let from = match (self.next, now.checked_sub(CREDIT)) {
            (Some(next), Some(earliest)) => next.max(earliest),
            _ => now,
        };
        self.next = Some(from + Duration::from_secs_f64(cost / self.rate));
    }

    /// Sends nothing until then: the server asked for it.
    pub(crate) fn pause_until(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }

    /// The rate now, in bytes per second; `None` without a byte limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.rate.is_finite() && self.least_cost.is_finite()).then_some(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends as fast as the pacer lets, and returns how many bytes and requests went in `seconds`.
    fn send_for(mut pacer: Pacer, seconds: f64, bytes: usize) -> (usize, usize) {
        let start = Instant::now();
        let (mut now, mut sent, mut requests) = (start, 0, 0);
        loop {
            now = now.max(pacer.ready_at(now));
            if (now - start).as_secs_f64() >= seconds {
                return (sent, requests);
            }
            pacer.charge(now, bytes);
            sent += bytes;
            requests += 1;
        }
    }

    /// Scenario: large requests, small requests, and no limit on one side.
    /// Guarantees: whichever limit is the tighter one holds, and is used up.
    #[test]
    fn both_ceilings_hold() {
        let (bytes, _) = send_for(Pacer::new(Some(50e6), Some(100.0)), 10.0, 2_000_000);
        assert_eq!(bytes, 500_000_000);
        let (_, requests) = send_for(Pacer::new(Some(50e6), Some(100.0)), 10.0, 1_000);
        assert_eq!(requests, 1_000);
        let (_, requests) = send_for(Pacer::new(None, Some(100.0)), 1.0, 2_000_000);
        assert_eq!(requests, 100);
        let (bytes, _) = send_for(Pacer::new(Some(50e6), None), 1.0, 1_000);
        assert!((49_990_000..=50_010_000).contains(&bytes), "{bytes}");
    }

    /// Scenario: the server asks for a pause of two seconds, then of one.
    /// Guarantees: nothing goes before the longer pause is over.
    #[test]
    fn a_pause_is_kept() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Some(1e6), None);
        pacer.pause_until(now + Duration::from_secs(2));
        pacer.pause_until(now + Duration::from_secs(1));
        assert_eq!(pacer.ready_at(now), now + Duration::from_secs(2));
        assert!(Pacer::new(None, None).ready_at(now) <= now);
    }

    proptest! {
        /// Scenario: requests of any sizes, with idle times between them.
        /// Guarantees: in no span does more go than the rate, the credit and one request allow (INV-7).
        #[test]
        fn a_set_rate_is_never_exceeded(
            steps in prop::collection::vec((1_usize..2_000_000, 0_u64..200_000_000), 2..100),
        ) {
            let rate = 5e6;
            let mut pacer = Pacer::new(Some(rate), None);
            let mut now = Instant::now();
            let mut sent: Vec<(Instant, usize)> = Vec::new();
            for (bytes, idle) in steps {
                now += Duration::from_nanos(idle);
                now = now.max(pacer.ready_at(now));
                pacer.charge(now, bytes);
                sent.push((now, bytes));
            }
            for from in 0..sent.len() {
                let mut total = 0.0;
                for (time, bytes) in &sent[from..] {
                    let allowed = rate * ((*time - sent[from].0) + CREDIT).as_secs_f64() + 1.0;
                    // The last request may start at any time within the span.
                    prop_assert!(total <= allowed, "{total} bytes where {allowed} are allowed");
                    total += *bytes as f64;
                }
            }
        }
    }
}
