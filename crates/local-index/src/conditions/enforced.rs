//! Conditions in real time: a model that decides over real requests, and outages of real connections.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Conditions, Model, OutageKind, Reply};
use crate::rules;

/// A link that was idle for less than this may make up for it: timers come late by a millisecond.
const SLACK: Duration = Duration::from_millis(10);

/// A model at work. Its seconds begin with the first upsert.
#[derive(Debug)]
pub(crate) struct Enforced {
    conditions: Conditions,
    model: Mutex<Model>,
    origin: OnceLock<Instant>,
    begun: CancellationToken,
    /// When the link has passed on all that it took.
    link_free: Mutex<Instant>,
}

// === impl Enforced ===

impl Enforced {
    pub(crate) fn new(mut conditions: Conditions, seed: u64) -> Self {
        let namespaces = conditions.namespaces.into_iter();
        conditions.namespaces = namespaces
            .map(|(name, special)| (rules::canonical(&name).to_owned(), special))
            .collect();
        Self {
            model: Mutex::new(Model::new(&conditions, seed)),
            conditions,
            origin: OnceLock::new(),
            begun: CancellationToken::new(),
            link_free: Mutex::new(Instant::now()),
        }
    }

    /// Begins to count the seconds, if this is the first upsert.
    pub(crate) fn begin(&self) {
        self.origin.get_or_init(Instant::now);
        self.begun.cancel();
    }

    /// Has the model decide over an upsert that has arrived as a whole, and waits until its answer leaves.
    pub(crate) async fn decide(&self, namespace: &str, bytes: u64) -> Reply {
        let origin = *self.origin.get_or_init(Instant::now);
        let (reply, done) = {
            // The clock is read under the lock, so that time does not go back for the model.
            let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            let now = origin.elapsed().as_secs_f64();
            model.arrives(now, namespace, bytes as f64)
        };
        sleep_until(at(origin, done)).await;
        reply
    }

    /// Waits until a connection that has come may be served; false: it is to be closed.
    pub(crate) async fn accepts(&self) -> bool {
        match self.outage() {
            Some((OutageKind::Reset, _)) => false,
            Some((OutageKind::Accept, until)) => {
                sleep_until(until).await;
                true
            }
            Some((OutageKind::Hole, _)) | None => true,
        }
    }

    /// Waits until an outage begins that closes connections. For one that has been accepted.
    pub(crate) async fn until_cut(&self) {
        self.begun.cancelled().await;
        let next = self.origin.get().and_then(|origin| {
            let now = origin.elapsed().as_secs_f64();
            let mut outages = self.conditions.outages.iter();
            let next = outages.find(|outage| outage.kind != OutageKind::Hole && outage.to > now)?;
            Some(at(*origin, next.from))
        });
        match next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Until when nothing is to be read or written, if so.
    pub(crate) fn silent_until(&self) -> Option<Instant> {
        match self.outage() {
            Some((OutageKind::Hole, until)) => Some(until),
            _ => None,
        }
    }

    /// When the link has room again, if it has none.
    pub(crate) fn link_free(&self) -> Option<Instant> {
        self.conditions.link_bytes_per_second?;
        let free = self
            .link_free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (*free > Instant::now()).then_some(*free)
    }

    /// Bytes have come over the link.
    pub(crate) fn received(&self, bytes: usize) {
        let Some(speed) = self.conditions.link_bytes_per_second else {
            return;
        };
        let mut free = self
            .link_free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *free = (*free).max(now.checked_sub(SLACK).unwrap_or(now))
            + Duration::from_secs_f64(bytes as f64 / speed);
    }

    pub(crate) fn goaway_after(&self) -> Option<u32> {
        self.conditions.goaway_after
    }

    /// The outage of this moment, and when it is over.
    fn outage(&self) -> Option<(OutageKind, Instant)> {
        let origin = *self.origin.get()?;
        let now = origin.elapsed().as_secs_f64();
        let mut outages = self.conditions.outages.iter();
        let outage = outages.find(|outage| (outage.from..outage.to).contains(&now))?;
        Some((outage.kind, at(origin, outage.to)))
    }
}

/// That second, or as late as can be said.
fn at(origin: Instant, second: f64) -> Instant {
    Duration::try_from_secs_f64(second.max(0.0))
        .ok()
        .and_then(|since| origin.checked_add(since))
        .unwrap_or(origin + Duration::from_secs(86_400 * 365))
}
