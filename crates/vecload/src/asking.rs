//! A question to the index, asked until it is answered, refused for good, or out of time.
//!
//! Writes have their own way (`delivery.rs`): they are paced, cut and booked. Reading what the index is
//! and holds needs none of that, only the same classes of failures and the same waits.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use vecload_pinecone::{Class, Failure, Pushback, Verdict, classify};

use crate::backoff::Backoff;
use crate::delivery::service_stop;
use crate::stop::{ExitCode, Stop, StopReason};

/// How long is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) stop: &'a Stop,
    /// The time of one attempt.
    pub(crate) attempt: Duration,
    /// The time of all of them.
    pub(crate) all: Duration,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The run is stopping.
    Stopping,
    /// The service refuses, and asking again would not help.
    Refused(StopReason),
    /// The time is over; the last failure.
    TimedOut(Failure),
}

/// Asks an index until there is an answer.
pub(crate) async fn ask<T, F>(
    patience: Patience<'_>,
    random: &mut impl Rng,
    question: impl Fn(Duration) -> F,
) -> Result<T, Unanswered>
where
    F: Future<Output = Result<T, Failure>>,
{
    ask_whom(classify, patience, random, question).await
}

/// Asks until there is an answer whoever's failures mean what `classify` says.
pub(crate) async fn ask_whom<T, F>(
    classify: fn(&Failure) -> Verdict,
    patience: Patience<'_>,
    random: &mut impl Rng,
    question: impl Fn(Duration) -> F,
) -> Result<T, Unanswered>
where
    F: Future<Output = Result<T, Failure>>,
{
    let Patience { stop, attempt, all } = patience;
    let deadline = Instant::now() + all;
    let mut backoff = Backoff::new();
    let mut attempts = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let failure = tokio::select! {
            biased;
            () = stop.stopped() => return Err(Unanswered::Stopping),
            answer = question(attempt.min(left)) => match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            },
        };
        attempts += 1;
        let verdict = classify(&failure);
        if !matches!(verdict.class, Class::Throttled | Class::Transient)
            || failure.pushback == Some(Pushback::DoNotRetry)
            || verdict.attempts.is_some_and(|most| attempts >= most)
        {
            return Err(Unanswered::Refused(service_stop(&failure, verdict)));
        }
        let hint = match failure.pushback {
            Some(Pushback::Wait(hint)) => Some(hint),
            _ => None,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = backoff.next(hint, random).min(left);
        tracing::warn!(error = %failure, ?wait, "there is no answer yet");
        tokio::select! {
            biased;
            () = stop.stopped() => return Err(Unanswered::Stopping),
            () = tokio::time::sleep(wait) => {}
        }
        if Instant::now() >= deadline {
            return Err(Unanswered::TimedOut(failure));
        }
    }
}

/// Why a run ends that was interrupted from outside.
pub(crate) fn interrupted() -> StopReason {
    StopReason::new("signal", ExitCode::Interrupted, "interrupted")
}
