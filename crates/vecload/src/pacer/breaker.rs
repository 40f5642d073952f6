//! When a service that answers nothing is left alone but for probes.
//!
//! It opens on failures in a row *and* a time without any answer, so that neither a burst of failures
//! nor a random third of all attempts opens it. A refusal is an answer: it says that the service is
//! there. Answers to attempts that are older than the last answered one say nothing new.

use rand::{Rng, RngExt as _};

/// Failures in a row that open it.
const FAILURES: u32 = 4;
/// The least time without an answer that opens it, in seconds.
const SILENCE: f64 = 1.0;

/// Closed, or open since a time; times are seconds since the pacer's beginning.
#[derive(Debug)]
pub(crate) struct Breaker {
    probe_times: (f64, f64),
    open_since: Option<f64>,
    failures: u32,
    probes: i32,
    probe_at: f64,
    /// When the latest attempt was sent that was answered.
    answered_sent: f64,
    /// When the last answer came.
    answered: f64,
}

// === impl Breaker ===

impl Breaker {
    /// A closed one that lets a probe through after `probes.0` seconds, doubling up to `probes.1`.
    pub(crate) fn new(probes: (f64, f64)) -> Self {
        Self {
            probe_times: probes,
            open_since: None,
            failures: 0,
            probes: 0,
            probe_at: 0.0,
            answered_sent: f64::NEG_INFINITY,
            answered: f64::NEG_INFINITY,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    /// When the next probe may go; at once while it is closed.
    pub(crate) fn probe_at(&self) -> f64 {
        match self.open_since {
            Some(_) => self.probe_at,
            None => f64::NEG_INFINITY,
        }
    }

    /// An attempt goes out.
    pub(crate) fn sent(&mut self, now: f64, random: &mut impl Rng) {
        if self.is_open() {
            self.probes += 1;
            let (first, longest) = self.probe_times;
            let wait = (first * 2_f64.powi(self.probes)).min(longest);
            self.probe_at = now + random.random_range(0.5..1.0) * wait;
        }
    }

    /// The service answered an attempt of that time, whatever it said. True when that closes it.
    pub(crate) fn answered(&mut self, now: f64, sent: f64) -> bool {
        self.failures = 0;
        self.answered_sent = self.answered_sent.max(sent);
        self.answered = now;
        let closes = self.open_since.is_some_and(|since| sent >= since);
        if closes {
            self.open_since = None;
        }
        closes
    }

    /// Whether an answer now, to an attempt of that time, is the first one after a silence in which that
    /// attempt waited.
    pub(super) fn ends_silence(&self, now: f64, sent: f64, latency: f64) -> bool {
        now - self.answered.max(sent) > silence(latency)
    }

    /// An attempt of that time got no answer.
    pub(crate) fn failed(&mut self, now: f64, sent: f64, latency: f64, random: &mut impl Rng) {
        if sent <= self.answered_sent {
            return;
        }
        self.failures += 1;
        let is_silent = now - self.answered > silence(latency);
        if !self.is_open() && self.failures >= FAILURES && is_silent {
            self.open_since = Some(now);
            self.probes = 0;
            self.probe_at = now + random.random_range(0.1..0.5);
        }
    }
}

/// The time without an answer that says something, where one usually takes so long.
fn silence(latency: f64) -> f64 {
    SILENCE.max(3.0 * latency)
}
