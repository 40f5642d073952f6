//! When a namespace may send its next request.
//!
//! A pacer is a pure state machine: it is told the time and what became of requests, and answers with
//! a decision. Without a burst beyond 10 ms of credit, since a burst is what a one-second quota
//! punishes. Every attempt pays it (INV-7).
//!
//! Two things space requests out. *Limits* hold always: what the user sets, and with `Pacing::Fixed`
//! the documented ceilings too, each divided by the replicas that share the namespace. The *law* (only
//! with `Pacing::Adaptive`) finds the rate that the service allows; the documented ceilings only scale
//! it. Pauses that the service asks for hold under both.

mod breaker;
mod law;
mod spacing;

use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::settings::Pacing;
use crate::units::{ByteRate, RequestRate};
use crate::waits::Limit;
pub(crate) use breaker::Breaker;
use law::Law;
use spacing::Spacing;

/// Seconds of credit that an idle pacer keeps, so that a timer that fires late costs no throughput.
const CREDIT: f64 = 0.01;

/// The service's documented ceilings of a namespace: bytes and requests per second.
const DOCUMENTED: (f64, f64) = (50e6, 100.0);

/// How often a pacer must be asked while something waits for it: the law looks around that often.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// The rates that the user has set for a namespace, and who shares it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) pacing: Pacing,
    /// Unset: the documented ceiling is a hint. Set: a limit, and the hint.
    pub(crate) bytes: Option<ByteRate>,
    pub(crate) requests: Option<RequestRate>,
    /// The processes that load into the namespace at the same time.
    pub(crate) replicas: u32,
}

/// What became of an attempt, as far as the rate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Taken.
    Acknowledged,
    /// Refused for its rate.
    Throttled,
    /// No answer, or one that says nothing about the request.
    Failed,
    /// Any other answer: the service is there, and that is all it says about the rate.
    Answered,
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At once.
    Now,
    /// Not before that time.
    At(Instant),
    /// Not before one of those in flight is back.
    Full,
}

/// Spreads the requests of one namespace over time.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// What its seconds are counted from.
    origin: Instant,
    limit: Spacing,
    law: Option<Law>,
    paused_until: f64,
    in_flight: usize,
    /// What the last turn was kept waiting for.
    reason: Limit,
    random: StdRng,
}

// === impl Rates ===

impl Rates {
    /// Adaptive, alone, nothing set.
    #[cfg(test)]
    pub(crate) const ADAPTIVE: Self = Self {
        pacing: Pacing::Adaptive,
        bytes: None,
        requests: None,
        replicas: 1,
    };

    /// No limit and no law.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self {
        pacing: Pacing::Fixed,
        bytes: Some(ByteRate(None)),
        requests: Some(RequestRate(None)),
        replicas: 1,
    };
}

// === impl Pacer ===

impl Pacer {
    /// A pacer whose time begins now; `random` is the source of its jitter.
    pub(crate) fn new(rates: &Rates, now: Instant, random: StdRng) -> Self {
        let set = (
            rates.bytes.map(|rate| rate.0),
            rates.requests.map(|rate| rate.0),
        );
        let of_each = |rate: Option<f64>| rate.map(|rate| rate / f64::from(rates.replicas));
        let (bytes, requests) = DOCUMENTED;
        let (limit, law) = match rates.pacing {
            Pacing::Fixed => {
                let bytes = set.0.unwrap_or(Some(bytes));
                let requests = set.1.unwrap_or(Some(requests));
                (Spacing::new(of_each(bytes), of_each(requests)), None)
            }
            Pacing::Adaptive => {
                let (set_bytes, set_requests) = (set.0.flatten(), set.1.flatten());
                let law = Law::new(
                    set_bytes.unwrap_or(bytes),
                    set_requests.unwrap_or(requests),
                    rates.replicas,
                    of_each(set_bytes),
                );
                let limit = Spacing::new(of_each(set_bytes), of_each(set_requests));
                (limit, Some(law))
            }
        };
        Self {
            origin: now,
            limit,
            law,
            paused_until: f64::NEG_INFINITY,
            in_flight: 0,
            reason: Limit::NamespaceRate,
            random,
        }
    }

    /// A pacer whose law begins with another ceiling than the documented one, without a limit.
    #[cfg(test)]
    fn with_hint(rates: &Rates, hint: ByteRate, now: Instant, random: StdRng) -> Self {
        let law = hint
            .0
            .map(|hint| Law::new(hint, DOCUMENTED.1, rates.replicas, None));
        Self {
            law,
            ..Self::new(rates, now, random)
        }
    }

    /// Whether a request may go now. Whoever waits asks again every [`LOOK`].
    pub(crate) fn turn(&mut self, now: Instant) -> Turn {
        let at = self.seconds(now);
        let mut ready = self.limit.ready_at().max(self.paused_until);
        self.reason = if self.paused_until > self.limit.ready_at() {
            Limit::Throttling
        } else {
            Limit::NamespaceRate
        };
        if let Some(law) = &mut self.law {
            law.tick(at);
            if self.in_flight >= law.places() {
                law.waits_for_place(at);
                self.reason = if law.is_slow() {
                    Limit::Latency
                } else {
                    Limit::InFlight
                };
                return Turn::Full;
            }
            if law.ready_at() > at && law.ready_at() >= ready {
                law.waits_for_rate(at);
                self.reason = law.limit();
            } else if ready > at {
                law.waits_for_place(at);
            }
            ready = ready.max(law.ready_at());
        }
        if ready <= at {
            Turn::Now
        } else {
            // Rounded up: whoever comes at that time must not be a fraction of a nanosecond early.
            Turn::At(self.origin + Duration::from_secs_f64(ready) + Duration::from_nanos(1))
        }
    }

    /// What the last turn was kept waiting for.
    pub(crate) fn reason(&self) -> Limit {
        self.reason
    }

    /// Takes note that a request has waited since then for something that is not the pacer's: the law
    /// must not take the silence for room. What the credit makes up for did not hold it up.
    pub(crate) fn held_up(&mut self, since: Instant, now: Instant) {
        let (since, now) = (self.seconds(since), self.seconds(now));
        if let Some(law) = &mut self.law
            && now - since > CREDIT
        {
            law.waits_for_place(now);
        }
    }

    /// Takes note that a request of `bytes` goes now.
    pub(crate) fn charge(&mut self, now: Instant, bytes: usize) {
        let now = self.seconds(now);
        self.in_flight += 1;
        self.limit.sent(now, bytes as f64);
        if let Some(law) = &mut self.law {
            law.sent(now, bytes as f64, &mut self.random);
        }
    }

    /// Takes note of what became of a request. `None`: it was given up without an answer.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: usize,
        outcome: Option<Outcome>,
    ) {
        let (now, sent) = (self.seconds(now), self.seconds(sent));
        self.in_flight -= 1;
        if let (Some(law), Some(outcome)) = (&mut self.law, outcome) {
            law.answered(now, sent, bytes as f64, outcome, &mut self.random);
            law.tick(now);
        }
    }

    /// Sends nothing until then: the server asked for it.
    pub(crate) fn pause_until(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(self.seconds(until));
    }

    /// The rate now, in bytes per second; `None` without a byte limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.law
            .as_ref()
            .map(Law::rate)
            .or_else(|| self.limit.rate())
    }

    /// How many parts a batch of `bytes` is to be sent in at this pace.
    pub(crate) fn parts(&self, bytes: usize) -> usize {
        let most = self.law.as_ref().map_or(f64::INFINITY, Law::request_bytes);
        let parts = (bytes as f64 / most).ceil().max(1.0) as usize;
        // Halves fit into memory that is leased by powers of two, and their size does not follow every small
        // change of the rate: replicas whose rates differ a little send requests of one size.
        parts.next_power_of_two()
    }

    /// Whether the service is left alone but for probes.
    pub(crate) fn is_probing(&self) -> bool {
        self.law.as_ref().is_some_and(Law::is_probing)
    }

    fn seconds(&self, time: Instant) -> f64 {
        time.saturating_duration_since(self.origin).as_secs_f64()
    }
}

#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;
