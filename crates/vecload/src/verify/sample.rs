//! Which rows are compared.

use rand::Rng;

use crate::rows::RowSet;
use crate::settings::Sample;

/// Rows of one split that are to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) split: u32,
    pub(crate) rows: RowSet,
}

/// Chooses from the rows of each split: all of them, or so many, each with the same chance.
pub(crate) fn choose(winners: Vec<RowSet>, sample: Sample, random: &mut impl Rng) -> Vec<Wanted> {
    let total: u64 = winners.iter().map(RowSet::len).sum();
    let chosen = match sample {
        Sample::Rows(rows) if rows < total => rows as usize,
        _ => return wanted(winners),
    };
    let mut places = rand::seq::index::sample(random, total as usize, chosen).into_vec();
    places.sort_unstable();
    let mut places = places.into_iter().map(|place| place as u64).peekable();
    // The number of rows before the run that is looked at.
    let mut before = 0;
    let mut splits = Vec::new();
    for winners in &winners {
        let mut rows = RowSet::default();
        for (first, end) in winners.runs() {
            while let Some(place) = places.next_if(|place| *place < before + (end - first)) {
                let row = first + (place - before);
                rows.insert(row, row + 1);
            }
            before += end - first;
        }
        splits.push(rows);
    }
    wanted(splits)
}

fn wanted(splits: Vec<RowSet>) -> Vec<Wanted> {
    (0..)
        .zip(splits)
        .filter(|(_, rows)| rows.len() > 0)
        .map(|(split, rows)| Wanted { split, rows })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    /// Of each split, every other row of so many, and then so many in a row.
    fn winners(splits: &[(u64, u64)]) -> Vec<RowSet> {
        let rows = |(holes, more): &(u64, u64)| {
            let mut rows = RowSet::default();
            for row in 0..*holes {
                rows.insert(2 * row, 2 * row + 1);
            }
            rows.insert(2 * holes, 2 * holes + more);
            rows
        };
        splits.iter().map(rows).collect()
    }

    proptest! {
        /// Scenario: any rows of any splits, any size of the sample, any seed.
        /// Guarantees: as many rows as were asked for or as there are, each of them one of those; the same seed chooses the same.
        #[test]
        fn a_sample_is_of_the_rows(
            splits in prop::collection::vec((0_u64..6, 0_u64..30), 1..6),
            rows in 0_u64..80,
            seed: u64,
        ) {
            let all = winners(&splits);
            let choose = |sample| choose(all.clone(), sample, &mut StdRng::seed_from_u64(seed));
            let total: u64 = all.iter().map(RowSet::len).sum();
            let len = |chosen: &[Wanted]| chosen.iter().map(|wanted| wanted.rows.len()).sum::<u64>();
            prop_assert_eq!(len(&choose(Sample::All)), total);
            let some = choose(Sample::Rows(rows));
            prop_assert_eq!(len(&some), rows.min(total));
            prop_assert_eq!(&some, &choose(Sample::Rows(rows)));
            for wanted in some {
                let winners = &all[wanted.split as usize];
                for (first, end) in wanted.rows.runs() {
                    prop_assert!((first..end).all(|row| winners.contains(row)));
                }
            }
        }
    }

    /// Scenario: ten rows in three splits, a sample of one, a thousand seeds.
    /// Guarantees: every row is chosen, and none far more often than another.
    #[test]
    fn every_row_has_its_chance() {
        let all = winners(&[(5, 0), (0, 1), (1, 3)]);
        let mut chosen = std::collections::BTreeMap::new();
        for seed in 0..1000 {
            let mut random = StdRng::seed_from_u64(seed);
            let [wanted] = &choose(all.clone(), Sample::Rows(1), &mut random)[..] else {
                panic!("one row of one split");
            };
            let row = (wanted.split, wanted.rows.runs().next());
            *chosen.entry(row).or_insert(0) += 1;
        }
        assert_eq!(chosen.len(), 10);
        assert!(
            chosen.values().all(|times| (60..150).contains(times)),
            "{chosen:?}"
        );
    }
}
