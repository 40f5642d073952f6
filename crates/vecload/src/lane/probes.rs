//! The budget of probes that all namespaces of a process share while nothing is answered at all.
//!
//! Each pacer leaves a silent service alone but for probes of its own namespace. With thousands of
//! namespaces those probes together would be a storm. So here is one breaker more, over the answers
//! to all of them, and while it is open a few attempts go out each second, whoever's they are.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep_until};

use crate::pacer::{Breaker, Outcome};

/// The first and the longest time between two probes, in seconds: four to eight a second, as a lane that
/// is alone probes at first.
const EVERY: (f64, f64) = (0.25, 0.25);
/// How much the latest answer counts for the latency.
const LATEST: f64 = 0.1;

/// What all lanes know together of whether anybody answers.
#[derive(Debug)]
pub(super) struct Probes {
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    /// Of answers, in seconds.
    latency: f64,
    random: StdRng,
}

// === impl Probes ===

impl Probes {
    pub(super) fn new() -> Self {
        let state = State {
            breaker: Breaker::new(EVERY),
            latency: 0.0,
            // It only spreads the probes of one process.
            random: StdRng::seed_from_u64(0),
        };
        Self {
            origin: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Waits until an attempt may go: at once, but for an outage.
    pub(super) async fn admit(&self) {
        loop {
            let probe_at = self.with(|state, now| {
                let probe_at = state.breaker.probe_at();
                if probe_at <= now {
                    state.breaker.sent(now, &mut state.random);
                    return None;
                }
                Some(probe_at)
            });
            let Some(probe_at) = probe_at else { return };
            sleep_until(self.origin + Duration::from_secs_f64(probe_at)).await;
        }
    }

    /// Takes note of what became of an attempt.
    pub(super) fn ended(&self, sent: Instant, outcome: Outcome) {
        let sent = (sent - self.origin).as_secs_f64();
        self.with(|state, now| {
            if outcome == Outcome::Failed {
                let latency = state.latency;
                state.breaker.failed(now, sent, latency, &mut state.random);
            } else {
                state.latency += LATEST * (now - sent - state.latency);
                state.breaker.answered(now, sent);
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut State, f64) -> T) -> T {
        // The clock is read under the lock, so that time does not go back for the breaker.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.origin.elapsed().as_secs_f64();
        look(&mut state, now)
    }
}
