//! What readers see while writes wait to be indexed: the store as it was some time ago.
//!
//! After every commit the writer keeps a snapshot. A reader gets the latest one that is old enough, so what
//! it sees is one whole state, with the LSNs of that state. The file keeps the pages of all snapshots, so
//! it grows by what is written during the delay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::time::Instant;

use super::{Namespace, StoreError};

/// One committed state.
pub(super) struct Moment {
    since: Instant,
    pub(super) namespaces: BTreeMap<String, Namespace>,
    pub(super) records: ReadTransaction,
}

/// The states that are not yet seen, and before them the one that is.
pub(super) struct Delayed {
    delay: Duration,
    moments: Mutex<VecDeque<Arc<Moment>>>,
}

impl Delayed {
    /// Begins with what is there: a store that was opened has indexed all of it.
    pub(super) fn new(
        delay: Duration,
        database: &Database,
        namespaces: &BTreeMap<String, Namespace>,
    ) -> Result<Self, StoreError> {
        let delayed = Self {
            delay,
            moments: Mutex::default(),
        };
        delayed.keep(database, namespaces)?;
        Ok(delayed)
    }

    /// Keeps the state that has just been committed.
    pub(super) fn keep(
        &self,
        database: &Database,
        namespaces: &BTreeMap<String, Namespace>,
    ) -> Result<(), StoreError> {
        let moment = Moment {
            since: Instant::now(),
            namespaces: namespaces.clone(),
            records: database.begin_read()?,
        };
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push_back(Arc::new(moment));
        self.forget(&mut moments);
        Ok(())
    }

    /// The state that readers see now.
    pub(super) fn seen(&self) -> Option<Arc<Moment>> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut moments);
        moments.front().cloned()
    }

    /// Drops what later states hide.
    fn forget(&self, moments: &mut VecDeque<Arc<Moment>>) {
        while moments
            .get(1)
            .is_some_and(|next| next.since.elapsed() >= self.delay)
        {
            moments.pop_front();
        }
    }
}
