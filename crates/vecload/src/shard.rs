//! One load divided among several processes, without a word between them.
//!
//! Every process makes the same plan of the whole corpus and takes its share of the splits; so the shares
//! are disjoint and complete however many threads, pods or attempts there are. Every process also looks for
//! duplicate ids in the whole corpus, so that of one id all of them pass over the same rows (INV-8). A
//! shard's books hold its splits alone; what a limit leaves out is in no split, and the first shard has
//! it in its books.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vecload_source::{Part, Plan, Split};
use xxhash_rust::xxh3::Xxh3;

use crate::settings::from_text;

/// The most shards of a load: as many as an Indexed Job of Kubernetes has indexes at the most.
const MOST: u32 = 100_000;

/// One of the shares that a load is divided into: `I/N`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    index: u32,
    of: u32,
}

/// Which splits of a plan are whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Division {
    /// Of each split the shard that reads it.
    owners: Vec<u32>,
    name: u128,
}

// === impl Shard ===

impl Shard {
    /// Its number, from 0.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// The name of its directory below that of the run.
    pub(crate) fn folder(self) -> String {
        format!("shard-{}-of-{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/');
        let numbers = numbers.and_then(|(index, of)| {
            Some((index.trim().parse().ok()?, of.trim().parse::<u32>().ok()?))
        });
        match numbers {
            Some((index, of)) if index < of && of <= MOST => Ok(Self { index, of }),
            Some((_, of)) if (1..=MOST).contains(&of) => Err(format!(
                "`{text}` is no shard: those of {of} are 0/{of} to {}/{of}",
                of - 1
            )),
            _ => Err(format!(
                "`{text}` is no shard; write it I/N, counted from 0: 0/8 to 7/8"
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.index, self.of)
    }
}

impl Serialize for Shard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

// === impl Division ===

impl Division {
    /// Divides the splits of a plan among so many shards.
    pub(crate) fn new(plan: &Plan, shards: u32) -> Self {
        Self::of(&plan.splits, shards)
    }

    /// The largest splits first, each to the shard that has the fewest bytes so far: no shard has more than
    /// its even share and one split.
    fn of(splits: &[Split], shards: u32) -> Self {
        let mut by_size: Vec<(Reverse<u64>, usize)> = (splits.iter().enumerate())
            .map(|(place, split)| (Reverse(split.bytes.max(1)), place))
            .collect();
        by_size.sort_unstable();
        let mut shares: BinaryHeap<Reverse<(u64, u32)>> =
            (0..shards).map(|shard| Reverse((0, shard))).collect();
        let mut owners = vec![0; splits.len()];
        for (Reverse(bytes), place) in by_size {
            let Some(Reverse((share, shard))) = shares.pop() else {
                break;
            };
            owners[place] = shard;
            shares.push(Reverse((share.saturating_add(bytes), shard)));
        }
        let mut name = Xxh3::new();
        for (split, owner) in splits.iter().zip(&owners) {
            let (kind, start, end) = match split.part {
                Part::RowGroup { index, first_row } => (0, u64::from(index), first_row),
                Part::ByteRange { start, end } => (1, start, end),
            };
            let numbers = [split.input.into(), kind, start, end, (*owner).into()];
            for number in numbers {
                name.update(&u64::to_le_bytes(number));
            }
        }
        Self {
            owners,
            name: name.digest128(),
        }
    }

    /// The splits that are not that shard's.
    pub(crate) fn others(&self, shard: Shard) -> impl Iterator<Item = u32> {
        let owners = (0..).zip(&self.owners);
        owners.filter_map(move |(split, owner)| (*owner != shard.index).then_some(split))
    }

    /// A name for who has what: shards that agree on it are disjoint, and together complete.
    pub(crate) fn name(&self) -> String {
        format!("{:032x}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn splits(sizes: &[u64]) -> Vec<Split> {
        let numbered = (0..).zip(sizes);
        let split = |(id, bytes): (u32, &u64)| Split {
            id,
            input: id / 3,
            part: Part::ByteRange {
                start: 0,
                end: *bytes,
            },
            bytes: *bytes,
            rows: None,
        };
        numbered.map(split).collect()
    }

    fn shard(text: &str) -> Shard {
        text.parse().expect("a shard")
    }

    proptest! {
        /// Scenario: splits of any sizes, empty ones too, among any number of shards.
        /// Guarantees: each split is read by one shard and left out by all others; no shard has more bytes
        /// than its even share and the largest split; the division is the same whenever it is made.
        #[test]
        fn shares_are_disjoint_complete_and_even(
            sizes in prop::collection::vec(0_u64..1 << 40, 0..200),
            shards in 1_u32..40,
        ) {
            let splits = splits(&sizes);
            let division = Division::of(&splits, shards);
            prop_assert_eq!(&division, &Division::of(&splits, shards));
            let mut readers = vec![shards; splits.len()];
            for index in 0..shards {
                let mut share: u64 = sizes.iter().map(|size| (*size).max(1)).sum();
                for split in division.others(shard(&format!("{index}/{shards}"))) {
                    readers[split as usize] -= 1;
                    share -= sizes[split as usize].max(1);
                }
                let even = sizes.iter().map(|size| (*size).max(1)).sum::<u64>() / u64::from(shards);
                let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
                prop_assert!(share <= even + largest, "{} of {} + {}", share, even, largest);
            }
            prop_assert!(readers.iter().all(|readers| *readers == 1), "{:?}", readers);
        }
    }

    /// Scenario: the same splits among other numbers of shards, and splits of other sizes.
    /// Guarantees: each division has a name of its own, so that shards of two divisions are told apart.
    #[test]
    fn a_name_stands_for_one_division() {
        let sizes = [5, 4, 3, 3, 3];
        let names: std::collections::BTreeSet<String> = [
            Division::of(&splits(&sizes), 2).name(),
            Division::of(&splits(&sizes), 3).name(),
            Division::of(&splits(&[5, 4, 3, 3, 4]), 2).name(),
            Division::of(&splits(&sizes[..4]), 2).name(),
        ]
        .into();
        assert_eq!(names.len(), 4);
    }

    /// Scenario: shards as they are written, and what is none.
    /// Guarantees: they are read as they are shown; an error says which there are.
    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!(shard("0/1").to_string(), "0/1");
        assert_eq!(shard(" 7 / 8 ").to_string(), "7/8");
        assert_eq!(shard("7/8").folder(), "shard-7-of-8");
        let error = |text: &str| Shard::from_str(text).expect_err("no shard");
        assert_eq!(error("8/8"), "`8/8` is no shard: those of 8 are 0/8 to 7/8");
        for text in ["", "3", "a/b", "-1/4", "0/0", "/8", "1/100001"] {
            assert!(error(text).contains("counted from 0"), "{text}");
        }
    }
}
