//! A sealed batch from its turn to its settlement.
//!
//! ```text
//!   admit ─▶ send once ─▶ acknowledged ──────────▶ Loaded
//!     ▲          │
//!     │          ├─ throttled, transient: back off, same bytes
//!     └──────────┘
//!                ├─ too large: halve, lower the cap
//!                ├─ refused: cut around the record that the message blames, else halve; one alone is Rejected
//!                └─ anything else: stop the namespace or the run; the rows remain
//! ```
//!
//! A batch that waits to be tried again holds neither a turn nor a place in flight. Retries are
//! bounded by the run's stall limit, not by their number, except where the answer is of a kind that
//! waiting rarely mends. Nothing is dropped here: every row of a batch is loaded, rejected, or
//! remains because the namespace or the run has stopped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use metrics::{counter, gauge, histogram};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::{Class, Code, Failure, Origin, Pushback, UpsertAck, Verdict, code_name};
use vecload_record::{Reason, Reject};

use crate::backoff::Backoff;
use crate::batch::EncodedBatch;
use crate::batcher::RequestCap;
use crate::events::{Content, Event, LoadedRows, RejectedRow};
use crate::fence::Ticket;
use crate::lane::{Admission, Asking, Lane};
use crate::memory::Memory;
use crate::pacer::Outcome;
use crate::sampling::Sampler;
use crate::stall::Stall;
use crate::stop::{ExitCode, Stop, StopReason};
use crate::target::Target;
use crate::telemetry::Metric;
use crate::traffic::Traffic;
use crate::waits::Limit;

mod prospects;

pub(crate) use prospects::Prospects;

/// What all deliveries of a run share.
#[derive(Debug)]
pub(crate) struct Sending<T> {
    pub(crate) target: Arc<T>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) cap: Arc<RequestCap>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) stall: Arc<Stall>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) prospects: Prospects,
    /// How long after its client gave up a request may still be applied.
    pub(crate) quarantine: Duration,
    /// Finds the records of which something is kept, where an input is a stream.
    pub(crate) sampler: Option<Arc<Sampler>>,
    /// The source of all jitter.
    pub(crate) random: Mutex<StdRng>,
    /// Where settled rows go (channel ②).
    pub(crate) events: async_channel::Sender<Event>,
}

/// What became of a batch that was sent until something definite was known.
enum Fate {
    Acknowledged(UpsertAck),
    /// Not sent: it is to go in so many parts.
    Cut(usize),
    TooLarge(Failure),
    Refused(Failure),
    /// The namespace or the run has stopped.
    Remains,
}

impl<T: Target> Sending<T> {
    /// Sends a batch until each of its rows is settled or the run or the namespace has stopped.
    pub(crate) async fn deliver(&self, lane: &Lane, batch: EncodedBatch) {
        let ticket = batch.ticket.clone();
        if let Some(ticket) = &ticket
            && !self.may_go(ticket).await
        {
            return;
        }
        let _waiting = self.stall.batch();
        let is_settled = self.settle(lane, batch, true).await;
        if let Some(ticket) = ticket
            && is_settled
        {
            ticket.settled();
        }
    }

    /// Waits until no earlier row with an id of the batch can come after it. It never may go where one of
    /// those is given up: then its namespace or the run has stopped.
    async fn may_go(&self, ticket: &Ticket) -> bool {
        if ticket.is_open(Instant::now()) {
            return true;
        }
        let _waiting = self.traffic.waits().wait(Limit::Order, None);
        tokio::select! {
            biased;
            () = self.stop.stopped() => false,
            is_open = ticket.open() => is_open,
        }
    }

    /// Settles a batch, or one of the parts in which it goes. Says whether each row of it is settled.
    async fn settle(&self, lane: &Lane, batch: EncodedBatch, mut is_fresh: bool) -> bool {
        // The parts of the batch that are still to be settled, the first one last.
        let mut parts = vec![batch];
        let mut some_refused = false;
        while let Some(part) = parts.pop() {
            match self.send_until_known(lane, &part, is_fresh).await {
                Fate::Acknowledged(ack) => {
                    self.prospects.loaded();
                    self.loaded(&part, &ack).await;
                }
                Fate::TooLarge(failure) if part.records() == 1 => {
                    self.rejected(&part, Reason::RecordTooLarge, failure).await;
                }
                Fate::TooLarge(_) => {
                    self.cap.lower_to(part.message_bytes() / 2);
                    parts.extend(self.cut_evenly(&part, 2));
                }
                Fate::Cut(number) => {
                    let cut = self.cut_evenly(&part, number);
                    drop(part);
                    // The turn has come for all of them, so they stand in line together.
                    let settled = cut
                        .into_iter()
                        .rev()
                        .map(|part| Box::pin(self.settle(lane, part, false)));
                    if join_all(settled).await.contains(&false) {
                        return false;
                    }
                }
                Fate::Refused(failure) if part.records() == 1 => {
                    self.judge(&mut some_refused, &failure);
                    self.rejected(&part, Reason::Refused, failure).await;
                }
                Fate::Refused(failure) => match self.blamed(&part, &failure) {
                    None => parts.extend(self.cut_evenly(&part, 2)),
                    Some(index) => {
                        let bad = self.cut(&part, index..index + 1);
                        if index + 1 < part.records() {
                            parts.push(self.cut(&part, index + 1..part.records()));
                        }
                        if index > 0 {
                            parts.push(self.cut(&part, 0..index));
                        }
                        self.judge(&mut some_refused, &failure);
                        self.rejected(&bad, Reason::Refused, failure).await;
                    }
                },
                Fate::Remains => return false,
            }
            is_fresh = false;
        }
        true
    }

    /// Sends the same bytes again and again until the answer says something about the batch.
    async fn send_until_known(&self, lane: &Lane, batch: &EncodedBatch, is_fresh: bool) -> Fate {
        let mut backoff = Backoff::new();
        let mut attempts = 0;
        // Failures of the kind that waiting rarely mends.
        let mut stubborn = 0;
        loop {
            let asking = Asking {
                bytes: batch.message_bytes(),
                is_fresh: is_fresh && attempts == 0,
                can_be_cut: attempts == 0 && batch.records() > 1,
            };
            let admission = tokio::select! {
                biased;
                () = self.stop.stopped() => return Fate::Remains,
                admission = lane.admit(asking) => admission,
            };
            let permit = match admission {
                Admission::Go(permit) => permit,
                Admission::Cut(parts) => return Fate::Cut(parts),
                Admission::Closed => return Fate::Remains,
            };
            attempts += 1;
            let failure = match self.attempt(batch, permit.patience()).await {
                Ok(ack) => {
                    permit.answered(Outcome::Acknowledged);
                    return Fate::Acknowledged(ack);
                }
                Err(failure) => failure,
            };
            let verdict = self.target.classify(&failure);
            match verdict.class {
                _ if failure.origin == Origin::Timeout => permit.timed_out(),
                Class::Throttled => permit.answered(Outcome::Throttled),
                Class::Transient => permit.answered(Outcome::Failed),
                _ => permit.answered(Outcome::Answered),
            }
            // No answer of the service itself: the request may still be on its way, or be worked on.
            if verdict.class == Class::Transient
                && let Some(ticket) = &batch.ticket
            {
                ticket.quarantine(Instant::now() + self.quarantine);
            }
            match verdict.class {
                Class::TooLarge => return Fate::TooLarge(failure),
                Class::Refused => return Fate::Refused(failure),
                Class::NamespaceFatal => {
                    lane.close(failure.to_string());
                    return Fate::Remains;
                }
                Class::Exhausted | Class::Fatal => return self.give_up(&failure, verdict),
                Class::Throttled | Class::Transient => {}
            }
            stubborn += u32::from(verdict.attempts.is_some());
            if failure.pushback == Some(Pushback::DoNotRetry)
                || verdict.attempts.is_some_and(|most| stubborn >= most)
            {
                return self.give_up(&failure, verdict);
            }
            self.traffic.retried();
            counter!(Metric::Retries.name(), "class" => class_name(verdict.class)).increment(1);
            let hint = match failure.pushback {
                Some(Pushback::Wait(hint)) => Some(hint),
                _ => None,
            };
            let wait = backoff.next(hint, &mut *self.random());
            if verdict.class == Class::Throttled && hint.is_some() {
                lane.pause(wait);
            }
            tracing::debug!(
                namespace = lane.namespace.name(), request_id = failure.request_id, attempts, ?wait,
                error = %failure, "attempt failed"
            );
            self.stall.failed(&failure);
            tokio::select! {
                biased;
                () = self.stop.stopped() => return Fate::Remains,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends a batch once and books the answer. A count that differs is an unknown outcome.
    async fn attempt(
        &self,
        batch: &EncodedBatch,
        patience: Duration,
    ) -> Result<UpsertAck, Failure> {
        let bytes = batch.message_bytes();
        let started = Instant::now();
        gauge!(Metric::InFlight.name()).increment(1);
        let answer = self.target.send(batch.frame.clone(), patience).await;
        gauge!(Metric::InFlight.name()).decrement(1);
        let took = started.elapsed();
        let answer = answer.and_then(|ack| {
            if ack.upserted_count as usize == batch.records() {
                return Ok(ack);
            }
            Err(Failure {
                code: Code::Unknown,
                http_status: None,
                message: format!(
                    "the service acknowledged {} of {} records",
                    ack.upserted_count,
                    batch.records()
                ),
                origin: Origin::Server,
                pushback: None,
                request_id: ack.request_id,
            })
        });
        let code = answer
            .as_ref()
            .err()
            .map_or(Code::Ok, |failure| failure.code);
        let throttled = answer
            .as_ref()
            .is_err_and(|failure| self.target.classify(failure).class == Class::Throttled);
        self.traffic
            .attempted(bytes as u64, took, code == Code::Ok, throttled);
        counter!(Metric::BytesSent.name()).increment(bytes as u64);
        counter!(Metric::Requests.name(), "request_type" => "upsert", "code" => code_name(code))
            .increment(1);
        histogram!(Metric::RequestDuration.name()).record(took.as_secs_f64());
        if answer.is_ok() {
            self.stall.succeeded();
        }
        answer
    }

    /// A record was refused: stops the run if it looks as if all of them will be.
    fn judge(&self, some_refused: &mut bool, failure: &Failure) {
        let is_first = !std::mem::replace(some_refused, true);
        if self.prospects.refused(is_first) {
            self.stop.stop(StopReason::new(
                "all_refused",
                ExitCode::Short,
                format!(
                    "the service refused every record of the first batches, the last one with: {failure}; \
                     see the dead letters, and check that the corpus is meant for this index"
                ),
            ));
        }
    }

    /// Stops the run: nothing that vecload can do makes this request succeed.
    fn give_up(&self, failure: &Failure, verdict: Verdict) -> Fate {
        self.stop.stop(service_stop(failure, verdict));
        Fate::Remains
    }

    async fn loaded(&self, batch: &EncodedBatch, ack: &UpsertAck) {
        self.tell(Event::Loaded(LoadedRows {
            namespace: Arc::clone(&batch.namespace),
            rows: Arc::clone(&batch.rows),
            bytes: batch.message_bytes() as u64,
            lsn: ack.lsn,
            digest: batch.digest,
            sampled: match &self.sampler {
                Some(sampler) => sampler.of_batch(&*self.target, batch),
                None => Vec::new(),
            },
            changes: batch.changes(),
        }))
        .await;
    }

    /// Rejects the only record of a batch with the service's words.
    async fn rejected(&self, batch: &EncodedBatch, reason: Reason, failure: Failure) {
        let row = batch.row(0);
        self.tell(Event::Rejected(Box::new(RejectedRow {
            namespace: Arc::clone(&batch.namespace),
            split: row.split,
            row: row.first,
            locator: batch.locators[0],
            changes: batch.changes(),
            reject: Reject::new(reason, "", failure.message),
            content: self
                .target
                .decode(batch.record(0))
                .map_or_else(|| Content::Raw(batch.record(0).to_vec()), Content::Record),
        })))
        .await;
    }

    async fn tell(&self, event: Event) {
        // The committer outlives all senders; only a panic of it can close the channel, and that
        // panic is reported where its thread is joined.
        let _ = self.events.send(event).await;
    }

    /// The only record of the batch that has the id which the message blames.
    fn blamed(&self, batch: &EncodedBatch, failure: &Failure) -> Option<usize> {
        let id = failure.blamed_id()?;
        let mut with_id = (0..batch.records())
            .filter(|index| self.target.id_of(batch.record(*index)) == Some(id));
        let index = with_id.next()?;
        with_id.next().is_none().then_some(index)
    }

    /// So many parts of a batch, or as many as it has records, the last one first.
    fn cut_evenly(&self, batch: &EncodedBatch, parts: usize) -> Vec<EncodedBatch> {
        let records = batch.records();
        let parts = parts.min(records);
        let bound = |part: usize| part * records / parts;
        (0..parts)
            .rev()
            .map(|part| self.cut(batch, bound(part)..bound(part + 1)))
            .collect()
    }

    fn cut(&self, batch: &EncodedBatch, range: std::ops::Range<usize>) -> EncodedBatch {
        batch.cut(&*self.target, &self.memory, range)
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A generator for jitter from a seed.
pub(crate) fn jitter(seed: u64) -> Mutex<StdRng> {
    Mutex::new(StdRng::seed_from_u64(seed))
}

/// The reason to stop that a failure is.
pub(crate) fn service_stop(failure: &Failure, verdict: Verdict) -> StopReason {
    StopReason {
        code: match verdict.class {
            Class::Exhausted => "exhausted",
            _ => "service",
        },
        message: format!("{failure}; {}", verdict.reason),
        request_id: failure.request_id.clone(),
        exit_code: ExitCode::Service,
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Throttled => "throttled",
        Class::Transient => "transient",
        Class::TooLarge => "too_large",
        Class::Refused => "refused",
        Class::Exhausted => "exhausted",
        Class::NamespaceFatal => "namespace_fatal",
        Class::Fatal => "fatal",
    }
}

#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod tests;
