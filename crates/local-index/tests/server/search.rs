//! Exact search, against a naive one in f64.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use tokio::runtime::Runtime;
use vecload_local_index::{Metric, Options};
use vecload_proto::{QueryRequest, SparseValues, Vector};

use crate::support::{Served, invalid, sparse, upsert, vector};

/// Records, a query, and how many to find.
#[derive(Debug, Clone)]
struct Case {
    records: Vec<Vec<f32>>,
    query: Vec<f32>,
    top_k: usize,
}

const DIMENSION: usize = 37;

fn case() -> impl Strategy<Value = Case> {
    // Few distinct values, so that equal scores come up; none of them all zero.
    let values = || {
        prop::collection::vec((-8_i8..=8).prop_map(|v| f32::from(v) / 4.0), DIMENSION).prop_map(
            |mut values| {
                values[0] += 9.0;
                values
            },
        )
    };
    (
        prop::collection::vec(values(), 1..60),
        values(),
        1_usize..70,
    )
        .prop_map(|(records, query, top_k)| Case {
            records,
            query,
            top_k,
        })
}

fn naive(metric: Metric, query: &[f32], record: &[f32]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
        let pairs = query.iter().zip(record);
        pairs.map(|(q, r)| term(f64::from(*q), f64::from(*r))).sum()
    };
    match metric {
        Metric::Cosine => sum(&|q, r| q * r) / (sum(&|q, _| q * q) * sum(&|_, r| r * r)).sqrt(),
        Metric::Euclidean => sum(&|q, r| (q - r) * (q - r)),
        _ => sum(&|q, r| q * r),
    }
}

fn agrees_with_naive(metric: Metric) {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Served::start(Options {
        metric: Some(metric),
        ..Options::default()
    }));
    let client = runtime.block_on(server.client());
    let cases = AtomicU32::new(0);
    proptest!(ProptestConfig::with_cases(40), |(case in case())| {
        let namespace = format!("case{}", cases.fetch_add(1, Ordering::Relaxed));
        let mut client = client.clone();
        let records = case.records.iter().enumerate();
        let records = records.map(|(n, values)| vector(&format!("{n:03}"), values)).collect();
        let query = QueryRequest {
            namespace: namespace.clone(),
            top_k: case.top_k as u32,
            vector: case.query.clone(),
            include_values: true,
            ..QueryRequest::default()
        };
        let found = runtime.block_on(async {
            upsert(&mut client, &namespace, records).await.expect("taken");
            client.query(query).await.expect("found").into_inner()
        });
        prop_assert_eq!(found.matches.len(), case.top_k.min(case.records.len()));
        let scores: Vec<f64> = case.records.iter().map(|r| naive(metric, &case.query, r)).collect();
        let nearer = |a: f64, b: f64| if metric == Metric::Euclidean { a < b } else { a > b };
        let tolerance = |score: f64| 1e-5 * score.abs().max(1.0);
        for (rank, hit) in found.matches.iter().enumerate() {
            let n: usize = hit.id.parse().expect("a number");
            prop_assert_eq!(&hit.values, &case.records[n]);
            let off = (f64::from(hit.score) - scores[n]).abs();
            prop_assert!(off <= tolerance(scores[n]), "score {} for {}", hit.score, scores[n]);
            // At most `rank` records are clearly nearer than the one at this rank.
            let better = scores.iter().filter(|s| nearer(**s, scores[n]) && (**s - scores[n]).abs() > tolerance(scores[n])).count();
            prop_assert!(better <= rank, "{better} records are nearer than rank {rank}");
        }
        for pair in found.matches.windows(2) {
            prop_assert!(!nearer(f64::from(pair[1].score), f64::from(pair[0].score)));
            if pair[0].score == pair[1].score {
                prop_assert!(pair[0].id < pair[1].id, "ties are in the order of ids");
            }
        }
    });
    runtime.block_on(server.stop());
}

/// Scenario: random records and queries by dotproduct.
/// Guarantees: the k nearest, in order, with scores as computed naively in f64.
#[test]
fn dotproduct() {
    agrees_with_naive(Metric::Dotproduct);
}

/// Scenario: random records and queries by cosine.
/// Guarantees: the k nearest, in order, with scores as computed naively in f64.
#[test]
fn cosine() {
    agrees_with_naive(Metric::Cosine);
}

/// Scenario: random records and queries by euclidean distance.
/// Guarantees: the k nearest by squared distance, lowest first.
#[test]
fn euclidean() {
    agrees_with_naive(Metric::Euclidean);
}

fn by_vector(vector: Vec<f32>) -> QueryRequest {
    QueryRequest {
        top_k: 10,
        vector,
        ..QueryRequest::default()
    }
}

fn hits(response: vecload_proto::QueryResponse) -> Vec<(String, f32)> {
    let matches = response.matches.into_iter();
    matches.map(|hit| (hit.id, hit.score)).collect()
}

/// Scenario: a query by the id of a record, of an absent one, and in an absent namespace.
/// Guarantees: the record's own vector is the query; what is not there finds nothing.
#[tokio::test]
async fn query_by_id() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let records = vec![vector("a", &[1.0, 0.0]), vector("b", &[3.0, 1.0])];
    upsert(&mut client, "", records).await.expect("taken");
    let by_id = |id: &str| QueryRequest {
        top_k: 10,
        id: id.to_owned(),
        ..QueryRequest::default()
    };
    let found = client.query(by_id("b")).await.expect("found").into_inner();
    assert_eq!(hits(found), [("b".to_owned(), 10.0), ("a".to_owned(), 3.0)]);
    let absent = client.query(by_id("x")).await.expect("empty").into_inner();
    assert!(absent.matches.is_empty());
    let mut elsewhere = by_id("a");
    elsewhere.namespace = "absent".to_owned();
    let found = client.query(elsewhere).await.expect("empty").into_inner();
    assert!(found.matches.is_empty());
    server.stop().await;
}

/// Scenario: dense records with sparse values, queried with both.
/// Guarantees: the score is the sum of both dot products, records without sparse values included.
#[tokio::test]
async fn hybrid_query() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let hybrid = |id: &str, dense: &[f32], part: Vector| Vector {
        sparse_values: part.sparse_values,
        ..vector(id, dense)
    };
    let records = vec![
        hybrid("a", &[1.0, 0.0], sparse("", &[9, 2], &[2.0, 1.0])),
        vector("b", &[2.0, 0.0]),
    ];
    upsert(&mut client, "", records).await.expect("taken");
    let query = QueryRequest {
        sparse_vector: Some(SparseValues {
            indices: vec![2, 9, 1],
            values: vec![0.5, 10.0, 7.0],
        }),
        ..by_vector(vec![1.0, 1.0])
    };
    let found = client.query(query).await.expect("found").into_inner();
    assert_eq!(hits(found), [("a".to_owned(), 21.5), ("b".to_owned(), 2.0)]);
    server.stop().await;
}

/// Scenario: a sparse index, queried by sparse vectors and without one.
/// Guarantees: only records that share an index are found; a query without a sparse vector is refused.
#[tokio::test]
async fn sparse_query() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let records = vec![
        sparse("a", &[1, 5], &[1.0, 2.0]),
        sparse("b", &[5], &[3.0]),
        sparse("c", &[8], &[9.0]),
    ];
    upsert(&mut client, "", records).await.expect("taken");
    let query = QueryRequest {
        top_k: 10,
        sparse_vector: Some(SparseValues {
            indices: vec![5, 1],
            values: vec![1.0, 4.0],
        }),
        ..QueryRequest::default()
    };
    let found = client
        .query(query.clone())
        .await
        .expect("found")
        .into_inner();
    assert_eq!(hits(found), [("a".to_owned(), 6.0), ("b".to_owned(), 3.0)]);
    let nothing = QueryRequest {
        sparse_vector: None,
        ..query.clone()
    };
    invalid(
        client.query(nothing).await,
        "Either 'sparse_vector' or 'ID' must be provided",
    );
    invalid(
        client.query(by_vector(vec![1.0])).await,
        "Index configuration does not support dense values",
    );
    server.stop().await;
}

/// Scenario: queries with top_k out of range, of the wrong dimension, with id and vector, with neither, too large an answer.
/// Guarantees: each is INVALID_ARGUMENT with its message; top_k 10,000 and a query of zeros are fine.
#[tokio::test]
async fn query_rules() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    for batch in 0..15 {
        let records = (0..20).map(|n| vector(&format!("{batch}-{n}"), &[1.0; 4_000]));
        upsert(&mut client, "", records.collect())
            .await
            .expect("taken");
    }
    for top_k in [0, 10_001] {
        let query = QueryRequest {
            top_k,
            ..by_vector(vec![1.0; 4_000])
        };
        invalid(
            client.query(query).await,
            &format!("top_k is {top_k}, but must be between 1 and 10000"),
        );
    }
    invalid(
        client.query(by_vector(vec![1.0; 3])).await,
        "Vector dimension 3 does not match the dimension of the index 4000",
    );
    let both = QueryRequest {
        id: "0-0".to_owned(),
        ..by_vector(vec![1.0; 4_000])
    };
    invalid(
        client.query(both).await,
        "Cannot provide both 'ID' and 'vector' at the same time",
    );
    invalid(
        client.query(by_vector(Vec::new())).await,
        "Either 'vector' or 'ID' must be provided",
    );
    let zeros = QueryRequest {
        top_k: 10_000,
        ..by_vector(vec![0.0; 4_000])
    };
    let found = client
        .query(zeros.clone())
        .await
        .expect("found")
        .into_inner();
    assert_eq!(found.matches.len(), 300);
    let large = QueryRequest {
        include_values: true,
        ..zeros
    };
    invalid(
        client.query(large).await,
        "Query result exceeds the maximum supported size of 4MB: ask for a smaller top_k, or without values and metadata",
    );
    server.stop().await;
}
