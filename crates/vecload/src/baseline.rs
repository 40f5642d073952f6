//! What the index held before a run wrote to it.
//!
//! Only against it can the number of records afterwards be judged. It is kept in the run's directory,
//! durable before the first record is sent: so where a run has none, nothing of it was sent, and
//! the next attempt may take it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vecload_pinecone::IndexStats;

use crate::namespace::{DEFAULT_NAMESPACE, wire_name};

/// Records by namespace, under the names that people see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts(pub(crate) BTreeMap<String, u64>);

// === impl Counts ===

impl Counts {
    /// The counts that the service states. The default namespace is one, under whichever name.
    pub(crate) fn of(stats: &IndexStats) -> Self {
        let mut counts = BTreeMap::new();
        for (name, count) in &stats.namespaces {
            let name = match wire_name(name) {
                "" => DEFAULT_NAMESPACE,
                name => name,
            };
            *counts.entry(name.to_owned()).or_default() += count;
        }
        Self(counts)
    }

    /// The records of a namespace; one that is not there has none.
    pub(crate) fn of_namespace(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Whether there are no records at all.
    pub(crate) fn is_empty_index(&self) -> bool {
        self.0.values().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vecload_pinecone::IndexShape;

    /// Scenario: the default namespace under its empty name, beside another one and an empty one.
    /// Guarantees: it is found under the name that people see; what is missing has no records.
    #[test]
    fn the_default_namespace_is_found() {
        let stats = IndexStats {
            shape: IndexShape::default(),
            total_count: 5,
            namespaces: [(String::new(), 3), ("a".to_owned(), 2), ("b".to_owned(), 0)].into(),
        };
        let counts = Counts::of(&stats);
        let found = ["__default__", "a", "b", "c"].map(|name| counts.of_namespace(name));
        assert_eq!(found, [3, 2, 0, 0]);
        assert!(!counts.is_empty_index());
        assert!(Counts([("b".to_owned(), 0)].into()).is_empty_index());
    }
}
