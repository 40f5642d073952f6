//! Keeps the last row of an id the last one where it is not known beforehand which one that is (INV-8): in a
//! stream, which can be read once.
//!
//! One worker reads a stream in order. The fence knows of each key the latest batch that holds it, for as long
//! as a request of that batch may still be applied. A later row with the key then either supersedes the earlier
//! one, where both are in the batch that is being filled, or its batch is not sent before the earlier one is
//! over: settled, and out of quarantine.
//!
//! Quarantine is for what nobody can see: a request whose answer did not come, or which a process sent that is
//! gone, may be applied long after its rows were acknowledged by a later attempt. How long after, is an
//! assumption (`--quarantine`). Only rows whose ids repeat within that time ever wait.
//!
//! So at any instant what is settled of one id is a prefix of its rows; wherever a run is cut off, the rest can
//! be sent in order. Two keys of one hash cost a wait at most. What was chosen and why: ADR 4.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::prescan::KeyHasher;

/// Keys that a fence holds at most. With 17 bytes for each place of a table that is half full and twice that
/// while it grows they take less than the memory of a prescan, of which a stream has none.
const MOST_KEYS: usize = 1 << 19;

/// Below that number of keys nothing is cleared away.
const FEW_KEYS: usize = 1 << 14;

/// The number of the batches that processes before this one have sent.
const BEFORE: BatchNumber = 0;

/// With a hundred batches a second they last for a year.
type BatchNumber = u32;

/// What a worker knows of the keys of its stream.
#[derive(Debug)]
pub(crate) struct Fence {
    hasher: KeyHasher,
    most_keys: usize,
    /// Of each key the latest row that was seen, by the hash of the key.
    seats: HashMap<u64, Seat>,
    /// The batches that are not known to be over, by number.
    batches: BTreeMap<BatchNumber, Earlier>,
    next: BatchNumber,
    /// So many keys are looked through for those that nothing waits for.
    clear_at: usize,
    /// Until when a request of a process before this one may be applied. Which rows it sent is not known: what it
    /// wrote down last is lost where the power went.
    sent_before_until: Option<Instant>,
    /// There was no room for a row of that process: any row may have its key.
    is_any_sent_before: bool,
}

/// Where the latest row of a key is.
#[derive(Debug, Clone, Copy)]
struct Seat {
    batch: BatchNumber,
    /// The record in the batch.
    record: u32,
}

/// What the batch of a fence has to wait for, and what tells those that wait for it.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: BatchNumber,
    /// The batches that must be over before.
    after: BTreeMap<BatchNumber, Earlier>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// Whether each row is settled.
    is_settled: bool,
    /// Whether nothing of the batch is left, settled or not.
    is_gone: bool,
    /// Until when a request that got no answer may be applied.
    quarantined_until: Option<Instant>,
}

/// A batch that others wait for.
#[derive(Debug, Clone)]
pub(crate) struct Earlier(watch::Receiver<Standing>);

// === impl Fence ===

impl Fence {
    /// A fence that knows no key. Where there was a process before this one, its requests may be applied until that
    /// time.
    pub(crate) fn new(sent_before_until: Option<Instant>) -> Self {
        Self::holding(MOST_KEYS, sent_before_until)
    }

    /// A fence of so many keys.
    pub(crate) fn holding(most_keys: usize, sent_before_until: Option<Instant>) -> Self {
        let mut fence = Self {
            hasher: KeyHasher::default(),
            most_keys,
            seats: HashMap::new(),
            batches: BTreeMap::new(),
            next: BEFORE,
            clear_at: FEW_KEYS.min(most_keys),
            sent_before_until,
            is_any_sent_before: false,
        };
        let before = fence.open();
        if let Some(until) = sent_before_until {
            before.quarantine(until);
        }
        before.settled();
        fence
    }

    /// A new batch.
    pub(crate) fn open(&mut self) -> Ticket {
        let number = self.next;
        self.next += 1;
        let (standing, earlier) = watch::channel(Standing::default());
        self.batches.insert(number, Earlier(earlier));
        Ticket {
            number,
            after: BTreeMap::new(),
            standing,
        }
    }

    /// The hash under which a key is known.
    pub(crate) fn key(&self, namespace: &str, id: &str) -> u64 {
        self.hasher.short(namespace, id)
    }

    /// A row becomes a record of a batch that is being filled. Says which record of the batch had the key
    /// before, if one had.
    pub(crate) fn enter(
        &mut self,
        key: u64,
        ticket: &mut Ticket,
        record: u32,
        now: Instant,
    ) -> Option<u32> {
        if let Some(until) = self.sent_before_until
            && now < until
        {
            ticket.quarantine(until);
            if self.is_any_sent_before {
                self.wait_for(BEFORE, ticket, now);
            }
        }
        let batch = ticket.number;
        let earlier = self.seats.insert(key, Seat { batch, record })?;
        if earlier.batch == batch {
            // This process will not send the earlier row, but one before it may have.
            self.wait_for(BEFORE, ticket, now);
            return Some(earlier.record);
        }
        self.wait_for(earlier.batch, ticket, now);
        None
    }

    /// A row goes by that is settled since an earlier attempt.
    pub(crate) fn pass(&mut self, key: u64, now: Instant) {
        if self.seats.len() >= self.most_keys {
            self.is_any_sent_before = true;
        } else if let Some(seat) = self.seats.get(&key)
            && self.pending(seat.batch, now).is_some()
        {
            // That one waits for the process before as well.
        } else {
            let (batch, record) = (BEFORE, 0);
            self.seats.insert(key, Seat { batch, record });
        }
    }

    /// Whether it still matters which rows an earlier attempt has settled.
    pub(crate) fn watches_settled(&self, now: Instant) -> bool {
        self.sent_before_until.is_some_and(|until| now < until)
    }

    /// Where there is no room for more keys, the oldest batch, which is to be waited for. All batches must be
    /// sealed then.
    pub(crate) fn in_the_way(&mut self, now: Instant) -> Option<Earlier> {
        if self.seats.len() < self.clear_at {
            return None;
        }
        self.batches.retain(|_, batch| !batch.is_over(now));
        let batches = &self.batches;
        self.seats
            .retain(|_, seat| batches.contains_key(&seat.batch));
        let twice = 2 * self.seats.len();
        self.clear_at = twice.max(FEW_KEYS).min(self.most_keys);
        if self.seats.len() < self.most_keys {
            return None;
        }
        self.batches.values().next().cloned()
    }

    fn wait_for(&self, number: BatchNumber, ticket: &mut Ticket, now: Instant) {
        if let Some(earlier) = self.pending(number, now) {
            ticket.after.insert(number, earlier.clone());
        }
    }

    /// A batch, unless it is over.
    fn pending(&self, number: BatchNumber, now: Instant) -> Option<&Earlier> {
        let batch = self.batches.get(&number)?;
        (!batch.is_over(now)).then_some(batch)
    }
}

// === impl Ticket ===

impl Ticket {
    /// Waits until the batch may be sent. Says whether it may: not where one before it was given up, since the
    /// run or the namespace has stopped.
    pub(crate) async fn open(&self) -> bool {
        for earlier in self.after.values() {
            if !earlier.clone().over().await {
                return false;
            }
        }
        true
    }

    /// Whether the batch has anything to wait for.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.after.values().all(|earlier| earlier.is_over(now))
    }

    /// A request of the batch may be applied until then, whatever becomes of the batch.
    pub(crate) fn quarantine(&self, until: Instant) {
        self.standing.send_modify(|standing| {
            standing.quarantined_until = standing.quarantined_until.max(Some(until));
        });
    }

    /// Every row of the batch is settled.
    pub(crate) fn settled(&self) {
        self.standing
            .send_modify(|standing| standing.is_settled = true);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.standing
            .send_modify(|standing| standing.is_gone = true);
    }
}

// === impl Earlier ===

impl Earlier {
    /// Waits until the batch is gone and no request of it can be applied any more. Says whether its rows are settled.
    pub(crate) async fn over(mut self) -> bool {
        // What was dropped was marked before as gone, so there is no other end.
        let Ok(standing) = self
            .0
            .wait_for(|standing| standing.is_gone)
            .await
            .map(|standing| *standing)
        else {
            return false;
        };
        if let Some(until) = standing.quarantined_until {
            sleep_until(until).await;
        }
        standing.is_settled
    }

    fn is_over(&self, now: Instant) -> bool {
        let standing = *self.0.borrow();
        standing.is_gone && standing.quarantined_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests;
