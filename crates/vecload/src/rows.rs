//! A set of rows of one split, kept as runs.
//!
//! Progress is such a set for each split: rows are added when they are settled, in whatever order
//! the answers come. Union is commutative, associative and idempotent, so that sets from several
//! places can be merged. While requests are answered out of order there are a few runs more than
//! one; when a split is done there is one.

/// A set of rows, numbered within their split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowSet {
    /// Disjoint, not adjacent, ascending: `(first, end)` with `end` exclusive.
    runs: Vec<(u64, u64)>,
}

impl RowSet {
    /// Adds the rows from `first` to `end` (exclusive) and returns how many of them are new.
    pub(crate) fn insert(&mut self, first: u64, end: u64) -> u64 {
        if first >= end {
            return 0;
        }
        // The runs that overlap the new one or touch it.
        let from = self.runs.partition_point(|run| run.1 < first);
        let to = self.runs.partition_point(|run| run.0 <= end);
        let merged = self.runs[from..to].iter().fold((first, end), |all, run| {
            (all.0.min(run.0), all.1.max(run.1))
        });
        let before: u64 = self.runs[from..to].iter().map(|run| run.1 - run.0).sum();
        self.runs.splice(from..to, [merged]);
        merged.1 - merged.0 - before
    }

    /// Adds all rows of another set.
    #[cfg(test)]
    pub(crate) fn union(&mut self, other: &Self) {
        for (first, end) in &other.runs {
            self.insert(*first, *end);
        }
    }

    /// The number of rows.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().map(|(first, end)| end - first).sum()
    }

    /// Whether all rows are below `end`.
    pub(crate) fn is_within(&self, end: u64) -> bool {
        self.runs.last().is_none_or(|run| run.1 <= end)
    }

    /// Whether the row is in the set.
    #[cfg(test)]
    pub(crate) fn contains(&self, row: u64) -> bool {
        let after = self.runs.partition_point(|run| run.0 <= row);
        after > 0 && row < self.runs[after - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn from(runs: &[(u64, u64)]) -> (RowSet, BTreeSet<u64>) {
        let (mut set, mut model) = (RowSet::default(), BTreeSet::new());
        for (first, len) in runs {
            let before = model.len();
            model.extend(*first..first + len);
            let new = set.insert(*first, first + len);
            assert_eq!(new, (model.len() - before) as u64, "rows that are new");
        }
        (set, model)
    }

    fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0_u64..200, 0_u64..20), 0..40)
    }

    proptest! {
        /// Scenario: runs of rows are inserted in any order, overlapping and touching.
        /// Guarantees: the set equals a plain set of numbers, and stays in its shortest form.
        #[test]
        fn equals_a_plain_set(runs in runs()) {
            let (set, model) = from(&runs);
            prop_assert_eq!(set.len(), model.len() as u64);
            for row in 0..230 {
                prop_assert_eq!(set.contains(row), model.contains(&row));
            }
            prop_assert!(set.runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }

        /// Scenario: three sets are merged in different orders, and one with itself.
        /// Guarantees: union is commutative, associative and idempotent.
        #[test]
        fn union_is_a_merge(a in runs(), b in runs(), c in runs()) {
            let [a, b, c] = [a, b, c].map(|runs| from(&runs).0);
            let merge = |sets: &[&RowSet]| {
                let mut all = RowSet::default();
                for set in sets {
                    all.union(set);
                }
                all
            };
            prop_assert_eq!(merge(&[&a, &b]), merge(&[&b, &a]));
            prop_assert_eq!(merge(&[&merge(&[&a, &b]), &c]), merge(&[&a, &merge(&[&b, &c])]));
            prop_assert_eq!(merge(&[&a, &a]), a);
        }
    }
}
