//! Whether the service still takes anything.
//!
//! A run that has batches to deliver and sees no success for `--max-stall` ends, resumable. While
//! there is nothing to deliver no time passes: a slow reader is not an outage.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vecload_pinecone::Failure;

use crate::stop::{ExitCode, Stop, StopReason};

/// Watches for the last success.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    batches: usize,
    /// The last success, or the time at which there was something to deliver again.
    since: Instant,
    last_failure: Option<String>,
}

/// A batch that is being delivered, while it lives.
#[derive(Debug)]
pub(crate) struct Delivering<'a>(&'a Stall);

// === impl Stall ===

impl Stall {
    /// Nothing to deliver yet.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                batches: 0,
                since: Instant::now(),
                last_failure: None,
            }),
        }
    }

    /// A batch is to be delivered.
    pub(crate) fn batch(&self) -> Delivering<'_> {
        let mut state = self.state();
        if state.batches == 0 {
            state.since = Instant::now();
        }
        state.batches += 1;
        Delivering(self)
    }

    /// A request was acknowledged.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        state.since = Instant::now();
        state.last_failure = None;
    }

    /// A request failed and will be repeated.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.state().last_failure = Some(failure.to_string());
    }

    /// Stops the run when nothing has succeeded for too long. Ends when the run stops.
    pub(crate) async fn watch(&self, stop: &Stop) {
        while !stop.is_stopping() {
            let deadline = {
                let state = self.state();
                let since = if state.batches == 0 {
                    Instant::now()
                } else {
                    state.since
                };
                since + self.limit
            };
            if deadline <= Instant::now() {
                let last = self.state().last_failure.clone();
                stop.stop(StopReason::new(
                    "outage",
                    ExitCode::Interrupted,
                    format!(
                        "nothing was acknowledged for {} s (--max-stall); the last failure: {}",
                        self.limit.as_secs_f64(),
                        last.as_deref()
                            .unwrap_or("none, the requests are still under way"),
                    ),
                ));
                return;
            }
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Delivering<'_> {
    fn drop(&mut self) {
        self.0.state().batches -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: an hour without a batch, then a batch without success, then one with success in between.
    /// Guarantees: only a batch that waits counts, and each success starts the time anew.
    #[tokio::test(start_paused = true)]
    async fn only_waiting_batches_count() {
        let stall = std::sync::Arc::new(Stall::new(Duration::from_secs(60)));
        let stop = std::sync::Arc::new(Stop::default());
        let start = Instant::now();
        let watching = tokio::spawn({
            let (stall, stop) = (std::sync::Arc::clone(&stall), std::sync::Arc::clone(&stop));
            async move { stall.watch(&stop).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let batch = stall.batch();
        tokio::time::sleep(Duration::from_secs(50)).await;
        stall.succeeded();
        watching.await.expect("no panic");
        drop(batch);
        assert!(start.elapsed() >= Duration::from_secs(3600 + 50 + 60));
        assert!(start.elapsed() <= Duration::from_secs(3600 + 50 + 121));
        assert_eq!(stop.reason().map(|reason| reason.code), Some("outage"));
    }
}
