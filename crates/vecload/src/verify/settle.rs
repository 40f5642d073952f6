//! Waiting until the index has come up with what was written, and judging its counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::IndexStats;

use super::report::Count;
use super::{AT_ONCE, Prover, late};
use crate::baseline::Counts;
use crate::ledger::{Ledger, NamespaceBooks};
use crate::namespace::wire_name;
use crate::stop::StopReason;

/// Counts that have not changed for so long are taken as they are.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// The first wait before the index is looked at again; the next ones double, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What is known of the run that the counts depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Every record of the run is settled, so that nothing can have been written unacknowledged.
    pub(crate) complete: bool,
    /// No other process writes to the same namespaces.
    pub(crate) alone: bool,
    /// No id was loaded twice.
    pub(crate) distinct: bool,
}

/// Waits that become longer.
#[derive(Debug)]
pub(crate) struct Waits(Duration);

// === impl Waits ===

impl Waits {
    pub(crate) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

// === impl Count ===

impl Count {
    /// What the number of a namespace's records must be. Equality is demanded only where the
    /// namespace was empty and nobody else wrote to it: what was there before may have been replaced.
    pub(crate) fn demanded(before: Option<u64>, loaded: u64, terms: Terms, found: u64) -> Self {
        let distinct = if terms.distinct {
            loaded
        } else {
            loaded.min(1)
        };
        let known = terms.complete && terms.alone;
        Self {
            before,
            loaded,
            at_least: before.unwrap_or_default().max(distinct),
            at_most: before.filter(|_| known).map(|before| before + loaded),
            found,
        }
    }

    pub(crate) fn is_as_demanded(&self) -> bool {
        self.found >= self.at_least && self.at_most.is_none_or(|most| self.found <= most)
    }

    /// What is demanded, in words.
    pub(crate) fn words(&self) -> String {
        match self.at_most {
            None => format!("{} at least", self.at_least),
            Some(most) if most == self.at_least => most.to_string(),
            Some(most) => format!("{} to {most}", self.at_least),
        }
    }
}

/// The counts of all namespaces that the run wrote.
pub(crate) fn counts(
    ledger: &Ledger,
    baseline: Option<&Counts>,
    terms: Terms,
    now: &Counts,
) -> BTreeMap<String, Count> {
    let written = ledger
        .namespaces
        .iter()
        .filter(|(_, books)| is_written(books));
    written
        .map(|(name, books)| {
            let before = baseline.map(|counts| counts.of_namespace(name));
            let found = now.of_namespace(name);
            let count = Count::demanded(before, books.books.loaded, terms, found);
            (name.clone(), count)
        })
        .collect()
}

/// Whether the run wrote to a namespace.
pub(crate) fn is_written(books: &NamespaceBooks) -> bool {
    books.books.loaded > 0
}

impl Prover<'_> {
    /// Waits until the last write of each namespace is indexed. Returns those of which the service
    /// does not say it.
    pub(crate) async fn until_indexed(
        &self,
        ledger: &Ledger,
        deadline: Instant,
    ) -> Result<Vec<String>, StopReason> {
        let written: Vec<(String, Option<u64>)> = ledger
            .namespaces
            .iter()
            .filter(|(_, books)| is_written(books))
            .map(|(name, books)| (name.clone(), books.max_lsn))
            .collect();
        let mut unknown = Vec::new();
        let mut asked = futures::stream::iter(written)
            .map(|(name, lsn)| self.is_indexed(name, lsn, deadline))
            .buffer_unordered(AT_ONCE);
        while let Some(answer) = asked.next().await {
            let (name, known) = answer?;
            if !known {
                unknown.push(name);
            }
        }
        Ok(unknown)
    }

    /// Waits until the last write of a namespace is indexed, and returns its name; with `false` where
    /// the service does not say.
    async fn is_indexed(
        &self,
        namespace: String,
        lsn: Option<u64>,
        deadline: Instant,
    ) -> Result<(String, bool), StopReason> {
        let Some(lsn) = lsn else {
            return Ok((namespace, false));
        };
        let wire = wire_name(&namespace);
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut waits = Waits::new();
        loop {
            let shape = &self.rules.shape;
            let question = |timeout| self.client.max_indexed_lsn(wire, shape, timeout);
            match self.ask(&mut random, question).await? {
                None => return Ok((namespace, false)),
                Some(indexed) if indexed >= lsn => return Ok((namespace, true)),
                Some(indexed) if Instant::now() >= deadline => {
                    return Err(late(format!(
                        "the namespace {namespace} is indexed up to write {indexed}, and the last one is {lsn}, \
                         after {:?} (--verify-timeout)",
                        self.patience
                    )));
                }
                Some(_) => self.pause(waits.next()).await?,
            }
        }
    }

    /// Waits until all counts are as demanded, or have not changed for a while. Returns the last ones.
    pub(crate) async fn until_settled(
        &self,
        is_good: impl Fn(&Counts) -> bool,
        deadline: Instant,
    ) -> Result<Arc<Counts>, StopReason> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut waits = Waits::new();
        let mut last: Option<(Arc<Counts>, Instant)> = None;
        loop {
            let question = |timeout| self.client.describe_index_stats(timeout);
            let stats: IndexStats = self.ask(&mut random, question).await?;
            let now = Arc::new(Counts::of(&stats));
            if is_good(&now) {
                return Ok(now);
            }
            let since = match last.take() {
                Some((before, since)) if before == now => since,
                _ => Instant::now(),
            };
            if since.elapsed() >= SETTLED_AFTER {
                return Ok(now);
            }
            if Instant::now() >= deadline {
                return Err(late(format!(
                    "the number of records was still changing after {:?} (--verify-timeout)",
                    self.patience
                )));
            }
            last = Some((now, since));
            self.pause(waits.next()).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        complete: true,
        alone: true,
        distinct: true,
    };

    /// Scenario: namespaces that were empty, that held records, and of which it is not known; a run that is not complete, one beside others, one with an id loaded twice.
    /// Guarantees: the number is demanded exactly only where it can be known; bounds are the tightest that hold.
    #[test]
    fn what_counts_must_be() {
        let words = |before, terms| Count::demanded(before, 10, terms, 0).words();
        assert_eq!(words(Some(0), TERMS), "10");
        assert_eq!(words(Some(3), TERMS), "10 to 13");
        assert_eq!(words(Some(30), TERMS), "30 to 40");
        assert_eq!(words(None, TERMS), "10 at least");
        let not = |change: fn(&mut Terms)| {
            let mut terms = TERMS;
            change(&mut terms);
            words(Some(0), terms)
        };
        assert_eq!(not(|terms| terms.complete = false), "10 at least");
        assert_eq!(not(|terms| terms.alone = false), "10 at least");
        assert_eq!(not(|terms| terms.distinct = false), "1 to 10");
        let found = |found| Count::demanded(Some(3), 10, TERMS, found).is_as_demanded();
        assert_eq!([9, 10, 13, 14].map(found), [false, true, true, false]);
    }

    /// Scenario: waits, one after the other.
    /// Guarantees: they double and stay below a second.
    #[test]
    fn waits_become_longer() {
        let mut waits = Waits::new();
        let waits: Vec<u128> = (0..7).map(|_| waits.next().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
