//! What the lanes wait for: the answer to "what limits this run?".
//!
//! At any time each lane waits for at most one thing, or for nothing. Time goes in equal parts to all
//! the things that are waited for; while no lane waits for anything the input is what limits. So the
//! parts add up to the time that has passed, however many lanes there are.

use metrics::counter;
use tokio::time::Instant;

use crate::telemetry::Metric;

/// What limits a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// No batch is ready: reading, encoding, or the memory budget.
    Input,
    /// The namespace's ceiling: the rate that was set, or the one at which the service begins to refuse.
    NamespaceRate,
    /// The service refuses well below the ceiling, or asked for a pause.
    Throttling,
    /// The service, or the way to it, has become slow.
    Latency,
    /// Requests in flight: the setting, or the cap that follows from rate and latency.
    InFlight,
    /// The uplink: so much stands in it that an attempt would take too long.
    Network,
    /// The limit on all namespaces together.
    TotalRate,
    /// The service does not answer.
    Outage,
}

/// Time by what was waited for.
#[derive(Debug)]
pub(crate) struct Waits {
    since: Instant,
    /// Lanes that wait now.
    waiting: [u32; Limit::ALL.len()],
    seconds: [f64; Limit::ALL.len()],
    /// Whole seconds that the metrics know of.
    counted: [u64; Limit::ALL.len()],
}

// === impl Limit ===

impl Limit {
    const ALL: [Self; 8] = [
        Self::Input,
        Self::NamespaceRate,
        Self::Throttling,
        Self::Latency,
        Self::InFlight,
        Self::Network,
        Self::TotalRate,
        Self::Outage,
    ];

    /// The name in reports and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::NamespaceRate => "namespace_rate",
            Self::Throttling => "throttling",
            Self::Latency => "latency",
            Self::InFlight => "in_flight",
            Self::Network => "network",
            Self::TotalRate => "total_rate",
            Self::Outage => "outage",
        }
    }
}

// === impl Waits ===

impl Waits {
    /// Nothing is waited for.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            waiting: [0; Limit::ALL.len()],
            seconds: [0.0; Limit::ALL.len()],
            counted: [0; Limit::ALL.len()],
        }
    }

    /// A lane begins to wait.
    pub(crate) fn begin(&mut self, now: Instant, limit: Limit) {
        self.pass(now);
        self.waiting[limit as usize] += 1;
    }

    /// A lane has waited.
    pub(crate) fn end(&mut self, now: Instant, limit: Limit) {
        self.pass(now);
        self.waiting[limit as usize] -= 1;
    }

    /// What took the most time so far.
    pub(crate) fn greatest(&mut self, now: Instant) -> Limit {
        self.pass(now);
        let seconds = |limit: &Limit| self.seconds[*limit as usize];
        let all = Limit::ALL.into_iter();
        all.max_by(|one, other| seconds(one).total_cmp(&seconds(other)))
            .unwrap_or(Limit::Input)
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        let lanes: u32 = self.waiting.iter().sum();
        for limit in Limit::ALL {
            let index = limit as usize;
            self.seconds[index] += match (lanes, limit) {
                (0, Limit::Input) => passed,
                (0, _) => 0.0,
                _ => passed * f64::from(self.waiting[index]) / f64::from(lanes),
            };
            let whole = self.seconds[index] as u64;
            if whole > self.counted[index] {
                counter!(Metric::Wait.name(), "reason" => limit.name())
                    .increment(whole - self.counted[index]);
                self.counted[index] = whole;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Scenario: two lanes wait for different things, then one of them, then none.
    /// Guarantees: time is shared among what is waited for, and the parts add up to what has passed.
    #[test]
    fn the_parts_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waits = Waits::new(start);
        waits.begin(at(1), Limit::Network);
        waits.begin(at(3), Limit::Latency);
        waits.end(at(7), Limit::Network);
        waits.end(at(12), Limit::Latency);
        assert_eq!(waits.greatest(at(13)), Limit::Latency);
        let seconds = |limit: Limit| waits.seconds[limit as usize];
        assert_eq!(seconds(Limit::Network), 2.0 + 2.0);
        assert_eq!(seconds(Limit::Latency), 2.0 + 5.0);
        assert_eq!(seconds(Limit::Input), 2.0);
        assert_eq!(waits.seconds.iter().sum::<f64>(), 13.0);
    }
}
