//! Headers of answers, the order of writes, overwriting.

use std::collections::HashSet;
use std::time::Duration;

use vecload_local_index::Options;
use vecload_proto::{DeleteRequest, DescribeIndexStatsRequest, FetchRequest, QueryRequest};

use crate::support::{Served, lsn, request, upsert, vector};

const WRITTEN: &str = "x-pinecone-request-lsn";
const INDEXED: &str = "x-pinecone-max-indexed-lsn";

fn query(namespace: &str) -> QueryRequest {
    QueryRequest {
        namespace: namespace.to_owned(),
        top_k: 1,
        vector: vec![1.0],
        ..QueryRequest::default()
    }
}

/// Scenario: writes to two namespaces, deletes among them, each followed by a query.
/// Guarantees: LSNs grow per namespace by each write, and a query reports the last one of its namespace.
#[tokio::test]
async fn lsn_is_per_namespace_and_monotonic() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    for round in 1..=3 {
        let answer = upsert(&mut client, "a", vec![vector("x", &[1.0])]).await;
        assert_eq!(lsn(&answer.expect("taken"), WRITTEN), round * 2 - 1);
        let delete = DeleteRequest {
            ids: vec!["x".to_owned()],
            namespace: "a".to_owned(),
            ..DeleteRequest::default()
        };
        let answer = client.delete(delete).await.expect("taken");
        assert_eq!(lsn(&answer, WRITTEN), round * 2);
        let answer = client.query(query("a")).await.expect("found");
        assert_eq!(lsn(&answer, INDEXED), round * 2);
    }
    let answer = upsert(&mut client, "b", vec![vector("x", &[1.0])]).await;
    assert_eq!(lsn(&answer.expect("taken"), WRITTEN), 1);
    let answer = client.query(query("b")).await.expect("found");
    assert_eq!(lsn(&answer, INDEXED), 1);
    server.stop().await;
}

/// Scenario: 200 upserts of one id through 8 connections at once.
/// Guarantees: every LSN is given once, the audit has every write once and in growing order, and the record that stands is the one of the highest LSN.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_are_ordered() {
    let server = Served::plain().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u32 {
        let mut client = server.client().await;
        writers.spawn(async move {
            let mut mine = Vec::new();
            for n in 0..25 {
                let value = (writer * 100 + n + 1) as f32;
                let answer = upsert(&mut client, "", vec![vector("x", &[value])]).await;
                mine.push((lsn(&answer.expect("taken"), WRITTEN), value));
            }
            assert!(mine.is_sorted(), "one writer's own writes keep their order");
            mine
        });
    }
    let all: Vec<(u64, f32)> = writers.join_all().await.concat();
    let lsns: HashSet<u64> = all.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(lsns, (1..=200).collect());
    let (_, last) = all.iter().max_by_key(|(lsn, _)| *lsn).expect("some");
    let stored = server.index.record("", "x").expect("read").expect("there");
    assert_eq!(stored.values, [*last]);
    let audit = server.index.audit();
    assert_eq!(
        audit.writes_of("__default__", "x"),
        (1..=200).collect::<Vec<_>>()
    );
    assert_eq!((audit.counts.applied, audit.counts.records), (200, 200));
    server.stop().await;
}

/// Scenario: an upsert, a fetch, and a refused upsert.
/// Guarantees: every answer carries a request id of its own; a fetch has no LSN header.
#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let first = upsert(&mut client, "", vec![vector("a", &[1.0])])
        .await
        .expect("taken");
    let fetch = FetchRequest {
        ids: vec!["a".to_owned()],
        ..FetchRequest::default()
    };
    let second = client.fetch(fetch).await.expect("fetched");
    assert!(second.metadata().get(WRITTEN).is_none());
    assert!(second.metadata().get(INDEXED).is_none());
    let third = client
        .upsert(request("", Vec::new()))
        .await
        .expect_err("refused");
    let ids: HashSet<_> = [first.metadata(), second.metadata(), third.metadata()]
        .map(|metadata| {
            metadata
                .get("x-pinecone-request-id")
                .expect("an id")
                .clone()
        })
        .into_iter()
        .map(|id| id.to_str().expect("text").to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    server.stop().await;
}

/// Scenario: a record is written, then written again without metadata under `__default__`.
/// Guarantees: the second replaces all of the first; `""` and `__default__` are one namespace.
#[tokio::test]
async fn upsert_replaces_the_whole_record() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let full =
        crate::support::with_metadata(vector("a", &[1.0]), &[("k", crate::support::text("v"))]);
    upsert(&mut client, "", vec![full]).await.expect("taken");
    let bare = vector("a", &[2.0]);
    upsert(&mut client, "__default__", vec![bare.clone()])
        .await
        .expect("taken");
    assert_eq!(server.index.record("", "a").expect("read"), Some(bare));
    assert_eq!(server.index.count("__default__"), 1);
    assert_eq!(server.index.audit().writes_of("", "a"), [1, 2]);
    server.stop().await;
}

/// Scenario: writes are indexed after an hour; a record is written and read in every way.
/// Guarantees: the write is acknowledged and kept, no read sees it, and the query's LSN says that it has not.
#[tokio::test]
async fn reads_do_not_see_what_is_not_indexed() {
    let server = Served::start(Options {
        indexing_delay: Duration::from_secs(3_600),
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    let written = upsert(&mut client, "n", vec![vector("a", &[1.0])]).await;
    let committed = lsn(&written.expect("written"), "x-pinecone-request-lsn");
    assert_eq!(server.index.count("n"), 1);
    assert!(server.index.record("n", "a").expect("read").is_some());

    let question = QueryRequest {
        namespace: "n".to_owned(),
        top_k: 1,
        vector: vec![1.0],
        ..QueryRequest::default()
    };
    let found = client.query(question).await.expect("answered");
    assert!(lsn(&found, "x-pinecone-max-indexed-lsn") < committed);
    assert!(found.into_inner().matches.is_empty());
    let stats = client
        .describe_index_stats(DescribeIndexStatsRequest::default())
        .await;
    assert_eq!(stats.expect("answered").into_inner().total_vector_count, 0);
    server.stop().await;
}

/// Scenario: writes are indexed a moment after they are answered; a client queries until the LSN says so.
/// Guarantees: whenever the query's LSN has reached that of a write, the query finds the record, and it does reach it.
#[tokio::test]
async fn a_query_that_says_so_has_seen_the_write() {
    let server = Served::start(Options {
        indexing_delay: Duration::from_millis(20),
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    for number in 0..5_usize {
        let record = vector(&format!("r{number}"), &[1.0]);
        let written = upsert(&mut client, "n", vec![record])
            .await
            .expect("written");
        let committed = lsn(&written, "x-pinecone-request-lsn");
        loop {
            let question = QueryRequest {
                namespace: "n".to_owned(),
                top_k: 10,
                vector: vec![1.0],
                ..QueryRequest::default()
            };
            let found = client.query(question).await.expect("answered");
            let indexed = lsn(&found, "x-pinecone-max-indexed-lsn");
            let seen = found.into_inner().matches.len();
            assert_eq!(seen as u64, indexed);
            if indexed >= committed {
                assert_eq!(seen, number + 1);
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    server.stop().await;
}
