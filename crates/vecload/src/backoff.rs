//! How long a batch waits before it is tried again: full jitter over an exponential series.
//!
//! The series is tokio-retry's; the jitter takes its randomness from outside, so that a seed makes a
//! run repeatable. Full jitter does the least work of all known schemes for clients that collide.
//! Retries are bounded by time (`--max-stall`), not by count: at 30 % random failures five retries
//! would give up on one batch in 1,400.

use std::time::Duration;

use rand::{Rng, RngExt as _};
use tokio_retry::strategy::ExponentialBackoff;

/// The first step of the series.
const BASE: Duration = Duration::from_millis(100);
/// The longest step.
const CAP: Duration = Duration::from_secs(3);
/// The longest wait that a server may ask for.
const LONGEST_HINT: Duration = Duration::from_secs(60);

/// The waits of one batch.
#[derive(Debug)]
pub(crate) struct Backoff {
    series: ExponentialBackoff,
}

impl Backoff {
    /// 100 ms, doubling, to 3 s.
    pub(crate) fn new() -> Self {
        // In tokio-retry the base is raised to the power of the attempt, so doubling is base 2.
        Self {
            series: ExponentialBackoff::from_millis(2)
                .factor(BASE.as_millis() as u64 / 2)
                .max_delay(CAP),
        }
    }

    /// The next wait: uniform between nothing and the next step; with a hint of the server at least
    /// the hint, and jitter on top so that waiting clients do not return as one.
    pub(crate) fn next(&mut self, hint: Option<Duration>, random: &mut impl Rng) -> Duration {
        let step = self.series.next().unwrap_or(CAP);
        let jitter = step.mul_f64(random.random::<f64>());
        hint.map_or(jitter, |hint| hint.min(LONGEST_HINT) + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    proptest! {
        /// Scenario: any number of failures in a row, with any seed, with and without hints.
        /// Guarantees: each wait is within its step, a hint is the least, and the same seed gives the same waits.
        #[test]
        fn waits_are_bounded_and_repeatable(seed: u64, hint in prop::option::of(0_u64..600)) {
            let hint = hint.map(Duration::from_secs);
            let waits = |seed| {
                let (mut random, mut backoff) = (StdRng::seed_from_u64(seed), Backoff::new());
                (0..12).map(|_| backoff.next(hint, &mut random)).collect::<Vec<_>>()
            };
            let least = hint.unwrap_or_default().min(LONGEST_HINT);
            let mut step = BASE;
            for wait in waits(seed) {
                prop_assert!(wait >= least && wait <= least + step.min(CAP), "{wait:?} at {step:?}");
                step *= 2;
            }
            prop_assert_eq!(waits(seed), waits(seed));
        }
    }
}
