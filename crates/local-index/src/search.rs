//! Exact search: the score of a record against a query, and the best k of a scan.
//!
//! Every record of a namespace is scored, straight from its stored little-endian bytes; only the
//! best k candidates are kept, so memory is that of the answer. Sums run in 16 lanes: the compiler
//! turns them into vector instructions, and the rounding error stays well below 1e-5 of the result.
//! An approximate index would be quicker and would no longer be the truth that others test against.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use vecload_proto::SparseValues;

use crate::store::{Row, Shape};

/// How records are compared with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// The dot product, sparse values included; higher is nearer.
    #[default]
    Dotproduct,
    /// The cosine of the angle; higher is nearer.
    Cosine,
    /// The squared distance; lower is nearer.
    Euclidean,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Dotproduct => "dotproduct",
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
        })
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "dotproduct" => Ok(Self::Dotproduct),
            "cosine" => Ok(Self::Cosine),
            "euclidean" => Ok(Self::Euclidean),
            _ => Err(format!(
                "unknown metric '{text}'; give dotproduct, cosine or euclidean"
            )),
        }
    }
}

/// What is searched for.
pub(crate) struct Probe {
    metric: Metric,
    shape: Shape,
    dense: Vec<f32>,
    /// The length of `dense`.
    norm: f32,
    /// Sorted by index, each index once.
    sparse: Vec<(u32, f32)>,
}

impl Probe {
    pub(crate) fn new(
        metric: Metric,
        shape: Shape,
        dense: Vec<f32>,
        sparse: Option<&SparseValues>,
    ) -> Self {
        let mut pairs: Vec<(u32, f32)> = sparse
            .map(|sparse| {
                let values = sparse.values.iter().copied();
                sparse.indices.iter().copied().zip(values).collect()
            })
            .unwrap_or_default();
        pairs.sort_by_key(|(index, _)| *index);
        // An index that is given twice weighs twice.
        pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        let norm = dense.iter().map(|value| value * value).sum::<f32>().sqrt();
        Self {
            metric,
            shape,
            dense,
            norm,
            sparse: pairs,
        }
    }

    /// The score of a record; `None` if it is no match at all, as a sparse record that shares no
    /// index with the query.
    pub(crate) fn score(&self, row: Row<'_>) -> Option<f32> {
        match (self.shape, self.metric) {
            (Shape::Sparse, _) => self.sparse_dot(row),
            (Shape::Dense(_), Metric::Dotproduct) => {
                let dense = sum(&self.dense, row.dense, |query, value| query * value);
                Some(dense + self.sparse_dot(row).unwrap_or(0.0))
            }
            (Shape::Dense(_), Metric::Cosine) => {
                let dot = sum(&self.dense, row.dense, |query, value| query * value);
                let square = sum(&self.dense, row.dense, |_, value| value * value);
                let lengths = self.norm * square.sqrt();
                // A query of zeros has no direction: everything is equally far from it.
                Some(if lengths > 0.0 { dot / lengths } else { 0.0 })
            }
            (Shape::Dense(_), Metric::Euclidean) => {
                Some(sum(&self.dense, row.dense, |query, value| {
                    (query - value) * (query - value)
                }))
            }
        }
    }

    fn sparse_dot(&self, row: Row<'_>) -> Option<f32> {
        if self.sparse.is_empty() {
            return None;
        }
        let mut dot = None;
        for (index, weight) in row.sparse() {
            if let Ok(at) = self.sparse.binary_search_by_key(&index, |pair| pair.0) {
                *dot.get_or_insert(0.0) += self.sparse[at].1 * weight;
            }
        }
        dot
    }

    /// A number that is higher for a nearer record.
    pub(crate) fn rank(&self, score: f32) -> f32 {
        match (self.shape, self.metric) {
            (Shape::Dense(_), Metric::Euclidean) => -score,
            _ => score,
        }
    }
}

/// Sums over the pairs of a query and stored little-endian floats of the same number.
fn sum(query: &[f32], stored: &[u8], term: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let (query_blocks, query_rest) = query.as_chunks::<LANES>();
    let (stored, _) = stored.as_chunks::<4>();
    let (stored_blocks, stored_rest) = stored.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (query, stored) in query_blocks.iter().zip(stored_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(query[lane], f32::from_le_bytes(stored[lane]));
        }
    }
    let rest = query_rest.iter().zip(stored_rest);
    let rest: f32 = rest
        .map(|(query, stored)| term(*query, f32::from_le_bytes(*stored)))
        .sum();
    lanes.iter().sum::<f32>() + rest
}

/// A record among the best so far. Greater is better; of equal ones the smaller id is better, so
/// that an answer does not depend on the order of the scan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    rank: f32,
    pub(crate) score: f32,
    pub(crate) id: Vec<u8>,
}

impl Candidate {
    fn compare(&self, rank: f32, id: &[u8]) -> Ordering {
        let by_rank = self.rank.total_cmp(&rank);
        by_rank.then_with(|| id.cmp(self.id.as_slice()))
    }
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other.rank, &other.id)
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best k of a scan.
pub(crate) struct Best {
    limit: usize,
    /// The worst on top.
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl Best {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    pub(crate) fn offer(&mut self, rank: f32, score: f32, id: &[u8]) {
        if self.heap.len() >= self.limit {
            let worse = |worst: &Reverse<Candidate>| worst.0.compare(rank, id) == Ordering::Less;
            if !self.heap.peek().is_some_and(worse) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Reverse(Candidate {
            rank,
            score,
            id: id.to_vec(),
        }));
    }

    /// The best first.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = Candidate> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|candidate| candidate.0)
    }
}
