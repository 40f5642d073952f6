//! Answering without storing.

use tonic::Code;
use vecload_local_index::{Faults, Options};
use vecload_proto::{DescribeIndexStatsRequest, FetchRequest};

use crate::support::{Served, invalid, lsn, refused, request_of, upsert, vector};

async fn discarding(faults: Faults) -> Served {
    Served::start(Options {
        discard: true,
        faults,
        ..Options::default()
    })
    .await
}

/// Scenario: upserts into two namespaces of a discarding index, then stats and a fetch.
/// Guarantees: records are counted and LSNs given, but nothing is found.
#[tokio::test]
async fn counts_without_storing() {
    let server = discarding(Faults::default()).await;
    let mut client = server.client().await;
    for n in 1..=3 {
        let records = vec![vector("a", &[1.0; 700]), vector("b", &[1.0; 700])];
        let answer = upsert(&mut client, "__default__", records)
            .await
            .expect("taken");
        assert_eq!(lsn(&answer, "x-pinecone-request-lsn"), n);
        assert!(answer.metadata().contains_key("x-pinecone-request-id"));
        assert_eq!(answer.into_inner().upserted_count, 2);
    }
    upsert(&mut client, "n", vec![vector("a", &[1.0])])
        .await
        .expect("taken");
    assert_eq!((server.index.count(""), server.index.count("n")), (6, 1));
    let stats = client
        .describe_index_stats(DescribeIndexStatsRequest::default())
        .await
        .expect("stats");
    assert_eq!(stats.into_inner().total_vector_count, 7);
    let fetch = FetchRequest {
        ids: vec!["a".to_owned()],
        ..FetchRequest::default()
    };
    let fetched = client.fetch(fetch).await.expect("fetched").into_inner();
    assert!(fetched.vectors.is_empty());
    let audit = server.index.audit();
    assert_eq!((audit.counts.applied, audit.counts.records), (4, 7));
    assert!(audit.writes.is_empty());
    server.stop().await;
}

/// Scenario: requests too large, without records and with too many, and with a bad namespace.
/// Guarantees: the same refusals as of an index that stores.
#[tokio::test]
async fn limits_hold() {
    let server = discarding(Faults::default()).await;
    let mut client = server.client().await;
    client.upsert(request_of(2_000_000)).await.expect("taken");
    invalid(
        client.upsert(request_of(2_000_001)).await,
        "Request size 3MB exceeds the maximum supported size of 2MB",
    );
    refused(
        client.upsert(request_of(5_453_452)).await,
        Code::OutOfRange,
        "Error, decoded message length too large: found 5453452 bytes, the limit is: 4194304 bytes",
    );
    invalid(
        upsert(&mut client, "", Vec::new()).await,
        "Invalid request: vectors must not be empty",
    );
    let many = (0..1_001).map(|_| vector("", &[])).collect();
    invalid(
        upsert(&mut client, "", many).await,
        "Request contains 1001 vectors, which exceeds the maximum of 1000 vectors per upsert",
    );
    invalid(
        upsert(&mut client, "ü", vec![vector("a", &[1.0])]).await,
        "Namespace must be ASCII, but got 'ü'",
    );
    let counts = server.index.audit().counts;
    assert_eq!((counts.applied, counts.rejected), (1, 5));
    assert_eq!(counts.most_records, 51);
    server.stop().await;
}

/// Scenario: a discarding index that resets, throttles and withholds answers.
/// Guarantees: faults act there as elsewhere, and what was counted is what was applied.
#[tokio::test]
async fn faults_act_here_too() {
    let server = discarding(Faults {
        seed: 1,
        refuse: 0.3,
        reset: 0.2,
        apply_without_answer: 0.2,
        ..Faults::default()
    })
    .await;
    let mut client = server.client().await;
    let mut taken = 0;
    for _ in 0..100 {
        let end = upsert(&mut client, "", vec![vector("a", &[1.0; 900])]).await;
        taken += u64::from(end.is_ok());
    }
    let counts = server.index.audit().counts;
    assert_eq!(counts.applied, taken);
    assert_eq!(
        server.index.count(""),
        taken + counts.applied_without_answer
    );
    assert!(counts.throttled > 0 && counts.reset > 0 && counts.applied_without_answer > 0);
    assert_eq!(
        counts.applied + counts.throttled + counts.reset + counts.applied_without_answer,
        100
    );
    server.stop().await;
}
