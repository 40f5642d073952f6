//! One namespace's way to the service: its turn, its pacer, its state.
//!
//! Batches of a namespace stand in line for a turn; whoever has it waits for the pacer, then for a
//! place among the requests in flight, then goes. Every attempt goes this way, retries included
//! (INV-7). A retry goes before fresh batches: those stand in a line of their own, of which only the
//! first one stands in the common line. Lanes know nothing of each other, so a namespace that is
//! throttled or refused does not hold up another one; what they share is the limit on requests in
//! flight, the uplink, the hard limit on the total rate and the probes of an outage, and all are taken
//! only when the pacer lets go. What becomes of an attempt goes back to the pacer and the uplink through its permit.

mod link;
mod probes;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::namespace::Namespace;
use crate::pacer::{LOOK, Outcome, Pacer, Turn};
use crate::units::ByteRate;
use crate::waits::{Limit, Waits};
pub(crate) use link::{Link, Passage, Passed};
use probes::Probes;

/// One namespace's way to the service.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) namespace: Arc<Namespace>,
    /// The line of fresh batches.
    fresh: tokio::sync::Mutex<()>,
    /// The line of all: its holder is the one who may go next.
    turn: tokio::sync::Mutex<()>,
    pacer: Mutex<Pacer>,
    /// A request of this lane is back.
    freed: Notify,
    shared: Arc<Shared>,
    /// Why nothing more is sent to this namespace.
    closed: OnceLock<String>,
}

/// What all lanes of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    in_flight: Arc<Semaphore>,
    link: Mutex<Link>,
    /// The line of those that wait for room in the link.
    link_line: tokio::sync::Mutex<()>,
    link_freed: Notify,
    total: Option<TotalRate>,
    probes: Probes,
    waits: Arc<Waits>,
}

/// A batch that wants to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) bytes: usize,
    /// It stands in the line of fresh batches; else it goes before them.
    pub(crate) is_fresh: bool,
    /// It was not sent yet and has more than one record. What was sent keeps its bytes (INV-3).
    pub(crate) can_be_cut: bool,
}

/// What becomes of a batch whose turn has come.
#[derive(Debug)]
pub(crate) enum Admission<'a> {
    /// It must go at once.
    Go(Permit<'a>),
    /// It is to go in so many parts, each of which asks for itself.
    Cut(usize),
    /// Nothing more is sent to this namespace.
    Closed,
}

/// The leave to send one request. Its place is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    lane: &'a Lane,
    sent: Instant,
    bytes: usize,
    outcome: Option<Outcome>,
    place: Place<'a>,
}

/// A place among the requests in flight, and in the link.
#[derive(Debug)]
struct Place<'a> {
    shared: &'a Shared,
    passage: Passage,
    passed: Passed,
    _place: OwnedSemaphorePermit,
}

/// The hard limit on what all namespaces send together.
#[derive(Debug)]
struct TotalRate {
    limiter: RateLimiter<NotKeyed, InMemoryState, PausableClock, NoOpMiddleware<PausableInstant>>,
    clock: PausableClock,
    /// governor lets small requests pass a large one for ever; this line does not.
    line: tokio::sync::Mutex<()>,
}

/// governor's cells are 1 KiB: with bytes its whole nanoseconds per cell would be off by a quarter.
const CELL: usize = 1024;

/// tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone)]
struct PausableClock(Instant);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PausableInstant(Duration);

// === impl Lane ===

impl Lane {
    /// A lane with its pacer.
    pub(crate) fn new(namespace: Arc<Namespace>, pacer: Pacer, shared: Arc<Shared>) -> Self {
        Self {
            namespace,
            fresh: tokio::sync::Mutex::new(()),
            turn: tokio::sync::Mutex::new(()),
            pacer: Mutex::new(pacer),
            freed: Notify::new(),
            shared,
            closed: OnceLock::new(),
        }
    }

    /// Waits until it is a batch's turn.
    pub(crate) async fn admit(&self, asking: Asking) -> Admission<'_> {
        let bytes = asking.bytes;
        let _in_line = if asking.is_fresh {
            Some(self.fresh.lock().await)
        } else {
            None
        };
        let _turn = self.turn.lock().await;
        while self.closed().is_none() {
            let now = Instant::now();
            let (turn, reason, parts) = {
                let mut pacer = self.pacer();
                (pacer.turn(now), pacer.reason(), pacer.parts(bytes))
            };
            match turn {
                Turn::At(ready) => {
                    let _waiting = self.shared.waits.wait(reason, Some(&self.namespace));
                    sleep_until(ready.min(now + LOOK)).await;
                }
                Turn::Full => {
                    let _waiting = self.shared.waits.wait(reason, Some(&self.namespace));
                    // Either one is back, or it is time to let the pacer look around.
                    let _ = timeout(LOOK, self.freed.notified()).await;
                }
                Turn::Now if asking.can_be_cut && parts > 1 => return Admission::Cut(parts),
                Turn::Now => {
                    let place = self.shared.place(bytes).await;
                    if let Some(permit) = self.leave_with(place, bytes, now) {
                        return Admission::Go(permit);
                    }
                }
            }
        }
        Admission::Closed
    }

    /// Sends a request with a place that it waited for since `ready`, unless something has come up
    /// meanwhile: the server may have asked for a pause.
    fn leave_with<'a>(
        &'a self,
        place: Place<'a>,
        bytes: usize,
        ready: Instant,
    ) -> Option<Permit<'a>> {
        let now = Instant::now();
        let mut pacer = self.pacer();
        pacer.held_up(ready, now);
        if pacer.turn(now) != Turn::Now {
            return None;
        }
        pacer.charge(now, bytes);
        Some(Permit {
            lane: self,
            sent: now,
            bytes,
            outcome: None,
            place,
        })
    }

    /// Sends nothing for that long: the server asked for it.
    pub(crate) fn pause(&self, time: Duration) {
        self.pacer().pause_until(Instant::now() + time);
    }

    /// The pacer's rate in bytes per second, if it has one.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.pacer().rate()
    }

    /// Sends nothing more to this namespace. The first reason counts.
    pub(crate) fn close(&self, reason: String) {
        let name = self.namespace.name();
        tracing::error!(namespace = name, error = %reason, "namespace takes no writes");
        let _ = self.closed.set(reason);
    }

    /// Why nothing more is sent, if so.
    pub(crate) fn closed(&self) -> Option<&str> {
        self.closed.get().map(String::as_str)
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    /// Limits on requests in flight and on bytes per second over all namespaces. `largest` is the
    /// size of the largest request: what may go at once.
    /// An attempt is to take `attempt` where the link is no bottleneck.
    pub(crate) fn new(
        in_flight: usize,
        total: ByteRate,
        largest: usize,
        attempt: Duration,
        waits: Arc<Waits>,
    ) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(in_flight)),
            link: Mutex::new(Link::new(attempt, largest)),
            link_line: tokio::sync::Mutex::new(()),
            link_freed: Notify::new(),
            probes: Probes::new(),
            waits,
            total: total.0.map(|rate| TotalRate::new(rate, largest)),
        }
    }

    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    async fn place(&self, bytes: usize) -> Place<'_> {
        let waiting = self.waits.wait(Limit::InFlight, None);
        let place = Arc::clone(&self.in_flight)
            .acquire_owned()
            .await
            .expect("the semaphore is open");
        drop(waiting);
        let waiting = self.waits.wait(Limit::Outage, None);
        self.probes.admit().await;
        drop(waiting);
        if let Some(total) = &self.total {
            let _waiting = self.waits.wait(Limit::TotalRate, None);
            total.admit(bytes).await;
        }
        let _waiting = self.waits.wait(Limit::Network, None);
        let _turn = self.link_line.lock().await;
        loop {
            {
                let mut link = self.link();
                if link.has_room(bytes) {
                    return Place {
                        shared: self,
                        passage: link.enter(Instant::now(), bytes),
                        passed: Passed::Unknown,
                        _place: place,
                    };
                }
            }
            // Only the head of the line waits here, so one that is told is enough.
            self.link_freed.notified().await;
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Permit ===

impl Permit<'_> {
    /// How long the attempt may take.
    pub(crate) fn patience(&self) -> Duration {
        self.place.shared.link().patience()
    }

    /// Takes note of what became of the attempt, and gives its place back.
    pub(crate) fn answered(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        if outcome != Outcome::Failed {
            self.place.passed = Passed::Through;
        }
    }

    /// The attempt's time was up. Gives its place back.
    pub(crate) fn timed_out(mut self) {
        self.outcome = Some(Outcome::Failed);
        self.place.passed = Passed::TimedOut;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            self.place.shared.probes.ended(self.sent, outcome);
        }
        let probing = {
            let mut pacer = self.lane.pacer();
            let before = pacer.is_probing();
            pacer.answered(Instant::now(), self.sent, self.bytes, self.outcome);
            (before, pacer.is_probing())
        };
        let namespace = self.lane.namespace.name();
        match probing {
            (false, true) => tracing::warn!(namespace, "no answers, only probes are sent"),
            (true, false) => tracing::info!(namespace, "the service answers again"),
            _ => {}
        }
        self.lane.freed.notify_one();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared
            .link()
            .leave(Instant::now(), &self.passage, self.passed);
        self.shared.link_freed.notify_one();
    }
}

// === impl TotalRate ===

impl TotalRate {
    fn new(bytes_per_second: f64, largest: usize) -> Self {
        // Rounded down, at least one cell per second, and room for the largest request at once.
        let cells = cells((bytes_per_second.floor() as usize).saturating_sub(CELL - 1));
        let quota = Quota::per_second(cells).allow_burst(self::cells(largest));
        let clock = PausableClock(Instant::now());
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            line: tokio::sync::Mutex::new(()),
        }
    }

    async fn admit(&self, bytes: usize) {
        let _turn = self.line.lock().await;
        // The burst holds the largest request, so there is always enough capacity.
        while let Ok(Err(too_early)) = self.limiter.check_n(cells(bytes)) {
            let wait = too_early.wait_time_from(self.clock.now());
            tokio::time::sleep(wait).await;
        }
    }
}

/// The cells that a number of bytes takes; at least one.
fn cells(bytes: usize) -> NonZeroU32 {
    let cells = u32::try_from(bytes.div_ceil(CELL)).unwrap_or(u32::MAX);
    NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN)
}

// === impl PausableClock ===

impl Clock for PausableClock {
    type Instant = PausableInstant;

    fn now(&self) -> PausableInstant {
        PausableInstant(self.0.elapsed())
    }
}

impl std::ops::Add<Nanos> for PausableInstant {
    type Output = Self;

    fn add(self, span: Nanos) -> Self {
        Self(self.0 + Duration::from(span))
    }
}

impl Reference for PausableInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Self(self.0.saturating_sub(span.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespaces;
    use crate::pacer::Rates;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn shared(in_flight: usize, total: Option<f64>, largest: usize) -> Arc<Shared> {
        let waits = Arc::new(Waits::new(Instant::now(), 1));
        let attempt = Duration::from_secs(60);
        let shared = Shared::new(in_flight, ByteRate(total), largest, attempt, waits);
        Arc::new(shared)
    }

    fn lane(pacer: Pacer, shared: &Arc<Shared>, name: &str) -> Arc<Lane> {
        let namespace = Namespaces::default().get(name);
        Arc::new(Lane::new(namespace, pacer, Arc::clone(shared)))
    }

    fn limited(bytes: Option<f64>) -> Pacer {
        let rates = Rates {
            bytes: Some(ByteRate(bytes)),
            ..Rates::NONE
        };
        Pacer::new(&rates, Instant::now(), StdRng::seed_from_u64(1))
    }

    fn asking(bytes: usize, is_fresh: bool) -> Asking {
        Asking {
            bytes,
            is_fresh,
            can_be_cut: false,
        }
    }

    fn unlimited() -> Pacer {
        limited(None)
    }

    /// Scenario: a total rate of 1 MiB/s, and four lanes that want far more in requests of any size.
    /// Guarantees: the total is never exceeded, a large request is not starved by small ones, and the
    /// rate is used.
    #[tokio::test(start_paused = true)]
    async fn the_total_rate_is_hard_and_fair() {
        let shared = shared(64, Some(1_048_576.0), 262_144);
        let start = Instant::now();
        let sent = Arc::new(Mutex::new([0_usize; 4]));
        let mut tasks = tokio::task::JoinSet::new();
        for (number, bytes) in [262_144, 2_000, 2_000, 2_000].into_iter().enumerate() {
            let lane = lane(unlimited(), &shared, "any");
            let sent = Arc::clone(&sent);
            tasks.spawn(async move {
                while start.elapsed() < Duration::from_secs(10) {
                    drop(lane.admit(asking(bytes, true)).await);
                    sent.lock().expect("no panic")[number] += bytes;
                }
            });
        }
        tasks.join_all().await;
        let sent = *sent.lock().expect("no panic");
        let total: usize = sent.iter().sum();
        // The burst is one largest request, and each lane may be under way once more at the end.
        let allowed = 10 * 1_048_576 + 2 * 262_144 + 3 * 2_000;
        assert!(
            total <= allowed,
            "{total} bytes where {allowed} are allowed"
        );
        assert!(
            total >= 9 * 1_048_576,
            "{total} bytes: the rate is not used"
        );
        assert!(
            sent[0] > total / 2,
            "the large requests are starved: {sent:?}"
        );
    }

    /// Scenario: three fresh batches and then a retry wait for a paced lane.
    /// Guarantees: the retry goes before all fresh ones but the one at the head of the line.
    #[tokio::test(start_paused = true)]
    async fn a_retry_goes_before_fresh_batches() {
        let shared = shared(64, None, 1);
        let lane = lane(limited(Some(1_000.0)), &shared, "a");
        drop(lane.admit(asking(1_000, true)).await);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for (name, is_fresh) in [("1", true), ("2", true), ("3", true), ("retry", false)] {
            let (lane, order) = (Arc::clone(&lane), Arc::clone(&order));
            tasks.spawn(async move {
                drop(lane.admit(asking(1_000, is_fresh)).await);
                order.lock().expect("no panic").push(name);
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        assert_eq!(*order.lock().expect("no panic"), ["1", "retry", "2", "3"]);
    }

    /// Scenario: a lane is paused for a minute while its next request waits for a place in flight.
    /// Guarantees: the pause holds, and another lane goes on meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_paused_lane_waits_alone() {
        let shared = shared(1, None, 1);
        let (paused, other) = (
            lane(unlimited(), &shared, "a"),
            lane(unlimited(), &shared, "b"),
        );
        let start = Instant::now();
        let place = other.admit(asking(1, true)).await;
        let waiting = tokio::spawn({
            let paused = Arc::clone(&paused);
            async move { drop(paused.admit(asking(1, true)).await) }
        });
        tokio::task::yield_now().await;
        paused.pause(Duration::from_secs(60));
        drop(place);
        drop(other.admit(asking(1, true)).await);
        assert!(start.elapsed() < Duration::from_secs(1));
        waiting.await.expect("no panic");
        assert!(start.elapsed() >= Duration::from_secs(60));
    }
}
