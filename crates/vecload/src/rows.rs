//! A set of rows of one split, kept as runs.
//!
//! Progress is such a set for each split: rows are added when they are settled, in whatever order
//! the answers come. Union is commutative, associative and idempotent, so that sets from several
//! places can be merged. While requests are answered out of order there are a few runs more than
//! one; when a split is done there is one. On disk a set is the distances between its runs.

use serde::{Deserialize, Serialize};

/// A set of rows, numbered within their split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", try_from = "Vec<(u64, u64)>")]
pub(crate) struct RowSet {
    /// Disjoint, not adjacent, ascending: `(first, end)` with `end` exclusive.
    runs: Vec<(u64, u64)>,
}

/// Runs on disk that are no set of rows.
#[derive(Debug, thiserror::Error)]
#[error("the rows are in no order")]
pub(crate) struct NotASet;

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

    /// Takes away all rows of another set and returns how many were there.
    pub(crate) fn subtract(&mut self, other: &Self) -> u64 {
        let before = self.len();
        let mut left = Vec::with_capacity(self.runs.len());
        let mut cuts = other.runs.iter().peekable();
        for (mut first, end) in std::mem::take(&mut self.runs) {
            while cuts.next_if(|cut| cut.1 <= first).is_some() {}
            while let Some(cut) = cuts.peek().filter(|cut| cut.0 < end) {
                if first < cut.0 {
                    left.push((first, cut.0));
                }
                first = cut.1.min(end);
                if cut.1 > end {
                    break;
                }
                cuts.next();
            }
            if first < end {
                left.push((first, end));
            }
        }
        self.runs = left;
        before - self.len()
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().map(|(first, end)| end - first).sum()
    }

    /// The row after the last one, 0 if there is none.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.1)
    }

    /// The runs, as the first row and the one after the last.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().copied()
    }

    /// Whether the row is in the set.
    pub(crate) fn contains(&self, row: u64) -> bool {
        let after = self.runs.partition_point(|run| run.0 <= row);
        after > 0 && row < self.runs[after - 1].1
    }
}

impl From<RowSet> for Vec<(u64, u64)> {
    /// For each run the rows that are left out before it, and its length.
    fn from(set: RowSet) -> Self {
        let mut at = 0;
        set.runs
            .into_iter()
            .map(|(first, end)| {
                let gap = first - std::mem::replace(&mut at, end);
                (gap, end - first)
            })
            .collect()
    }
}

impl TryFrom<Vec<(u64, u64)>> for RowSet {
    type Error = NotASet;

    fn try_from(gaps: Vec<(u64, u64)>) -> Result<Self, NotASet> {
        let mut at: u64 = 0;
        let mut runs = Vec::with_capacity(gaps.len());
        for (gap, len) in gaps {
            let first = at.checked_add(gap).ok_or(NotASet)?;
            at = first.checked_add(len).ok_or(NotASet)?;
            if len == 0 || (gap == 0 && !runs.is_empty()) {
                return Err(NotASet);
            }
            runs.push((first, at));
        }
        Ok(Self { runs })
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
            prop_assert_eq!(set.end(), model.last().map_or(0, |row| row + 1));
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

        /// Scenario: one set is taken from another.
        /// Guarantees: what is left equals the difference of plain sets, in shortest form.
        #[test]
        fn subtracts_like_a_plain_set(a in runs(), b in runs()) {
            let ((mut a, a_model), (b, b_model)) = (from(&a), from(&b));
            let taken = a.subtract(&b);
            prop_assert_eq!(taken, a_model.intersection(&b_model).count() as u64);
            for row in 0..230 {
                prop_assert_eq!(a.contains(row), a_model.contains(&row) && !b_model.contains(&row));
            }
            prop_assert!(a.runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }

        /// Scenario: a set is written and read again; other numbers are read as a set.
        /// Guarantees: the same set comes back; what is no set is refused, not mended.
        #[test]
        fn survives_the_disk(runs in runs(), gaps in prop::collection::vec((any::<u64>(), any::<u64>()), 0..4)) {
            let (set, _) = from(&runs);
            let bytes = postcard::to_stdvec(&set).expect("bytes");
            prop_assert_eq!(postcard::from_bytes::<RowSet>(&bytes).expect("a set"), set);
            if let Ok(set) = RowSet::try_from(gaps.clone()) {
                prop_assert_eq!(Vec::from(set), gaps);
            }
        }
    }
}
