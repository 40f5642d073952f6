//! What the service does wrong, and what must come of it all the same.

use crate::scenario::Scenario;

/// Scenario: three requests of ten are refused for their rate, one is UNAVAILABLE, one of twenty is
/// reset, one of twenty is applied without an answer, and connections are cut (`worst.toml`).
/// Guarantees: every record arrives, the exit code is 0, and the books balance.
#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_whatever_the_service_does() {
    let outcome = Scenario::play("worst").await;
    let counts = outcome.served.index.audit().counts;
    // Some refusals are lost with their connection.
    assert!(outcome.report.requests_throttled <= counts.throttled);
    // Every failure was made up for by a retry.
    let failed = outcome.report.attempts - outcome.report.requests_ok;
    assert_eq!(outcome.report.retries, failed);
}

/// Scenario: Parquet of several row groups under the same faults, written by several workers.
/// Guarantees: every record arrives, the exit code is 0, and the books balance.
#[tokio::test(flavor = "multi_thread")]
async fn row_groups_arrive_whatever_the_service_does() {
    Scenario::play("worst-parquet").await;
}

/// Scenario: 50,000 records go to 5,000 namespaces in turn (`namespaces.toml`).
/// Guarantees: every record arrives in its namespace, and the books balance for each of them.
#[tokio::test(flavor = "multi_thread")]
async fn interleaved_namespaces_all_arrive() {
    let outcome = Scenario::play("namespaces").await;
    assert_eq!(outcome.report.namespaces.len(), 5_000);
    for (name, namespace) in &outcome.report.namespaces {
        assert_eq!(namespace.books.loaded, 10, "{name}");
        assert!(
            namespace.requests >= 1 && namespace.max_lsn.is_some(),
            "{name}"
        );
    }
}

/// Scenario: the server refuses requests that hold any of a hundred ids, in words that do not name them,
/// while it also throttles (`poison.toml`).
/// Guarantees: exactly those records become dead letters, whole and with the server's words, and
/// finding each takes at most two requests for each halving of a batch.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_records_that_the_service_refuses_are_rejected() {
    let outcome = Scenario::play("poison").await;
    let (corpus, report) = (&outcome.corpus, &outcome.report);
    let bad: Vec<u64> = (0..corpus.records)
        .filter(|number| corpus.id(*number).contains("77"))
        .collect();
    let ids: Vec<String> = bad.iter().map(|number| corpus.id(*number)).collect();
    assert_eq!(outcome.rejected_ids(), ids.into_iter().collect());
    assert_eq!(bad.len(), 100);
    assert_eq!(report.rejected_by_reason["refused"], 100);

    let mut letters = outcome.dead_letters.clone();
    letters.sort_by_key(|letter| letter["id"].to_string());
    for (letter, number) in letters.iter().zip(&bad) {
        assert_eq!(
            letter["_reject"]["message"],
            "Request failed. One of the vectors is not valid for this index"
        );
        assert!(letter["_reject"]["offset"].is_u64());
        let values: Vec<f32> = serde_json::from_value(letter["values"].clone()).expect("floats");
        assert_eq!(values, corpus.values(*number));
    }

    // One worker, so batches are full but for the last one.
    let (batch, refused) = (64_u64, bad.len() as u64);
    let batches = corpus.records.div_ceil(batch);
    let definite = report.attempts - report.retries;
    let bound = batches + refused * 2 * u64::from(batch.ilog2());
    assert!(
        definite <= bound,
        "{definite} requests where {bound} are allowed"
    );
}
