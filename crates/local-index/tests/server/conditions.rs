//! Quotas, latency and outages over real connections.
//!
//! Nothing here depends on speed: a quota that is used up comes back after an hour, and times are lower
//! bounds.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use vecload_local_index::{
    Conditions, Counts, Ending, EndingKind, Faults, NamespaceConditions, NamespaceRefusal, Options,
    Outage, OutageKind, Quota,
};

use crate::support::{Client, Served, invalid, refused, request_of, upsert, vector};

const RATE_TEXT: &str = "Request failed. You've reached the max upsert size limit per second for \
    index local. Pace your upserts or contact Pinecone Support \
    (https://app.pinecone.io/organizations/-/settings/support/ticket) to request a higher limit.";

async fn under(conditions: Conditions) -> Served {
    Served::start(Options {
        conditions: Some(conditions),
        ..Options::default()
    })
    .await
}

fn counts(server: &Served) -> Counts {
    server.index.audit().counts
}

async fn send(client: &mut Client, namespace: &str) -> Result<(), Status> {
    let sent = upsert(client, namespace, vec![vector("a", &[1.0])]).await;
    sent.map(|_| ())
}

/// Sends until it is taken; gives how often that failed.
async fn send_until_taken(client: &mut Client) -> u32 {
    let mut failures = 0;
    while send(client, "").await.is_err() {
        failures += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    failures
}

/// Fast, so that nothing but what is tested takes time.
fn fast() -> Conditions {
    Conditions {
        service_seconds: 1e-6,
        worker_bytes_per_second: 1e12,
        ..Conditions::default()
    }
}

fn outage(kind: OutageKind, to: f64) -> Conditions {
    let from = 0.0;
    Conditions {
        outages: vec![Outage { from, to, kind }],
        ..fast()
    }
}

/// Scenario: a bucket that holds two and a half requests and fills in hours; one that stores, one that discards.
/// Guarantees: the third request is refused in the service's words and not applied, in another namespace it
/// is taken; a request that breaks a rule is refused for that and charged nothing.
#[tokio::test]
async fn a_bucket_that_is_empty() {
    for discard in [false, true] {
        let conditions = Conditions {
            bytes_per_second: vec![[0.0, 1.0]],
            burst_seconds: 250_000.0,
            ..fast()
        };
        let server = Served::start(Options {
            conditions: Some(conditions),
            discard,
            ..Options::default()
        })
        .await;
        let mut client = server.client().await;
        let request = request_of(100_000);
        for _ in 0..2 {
            client.upsert(request.clone()).await.expect("taken");
        }
        invalid(
            client.upsert(request_of(2_000_001)).await,
            "Request size 3MB exceeds the maximum supported size of 2MB",
        );
        refused(
            client.upsert(request.clone()).await,
            Code::ResourceExhausted,
            RATE_TEXT,
        );
        let mut other = request.clone();
        other.namespace = "n".to_owned();
        client.upsert(other).await.expect("taken");
        let counts = counts(&server);
        assert_eq!(
            (counts.applied, counts.throttled, counts.rejected),
            (3, 1, 1)
        );
        server.stop().await;
    }
}

/// Scenario: one request in an hour.
/// Guarantees: the second one is refused in the service's words, with the namespace and the limit.
#[tokio::test]
async fn a_limit_in_requests() {
    let server = under(Conditions {
        requests_per_second: Some(0.0003),
        ..fast()
    })
    .await;
    let mut client = server.client().await;
    send(&mut client, "").await.expect("taken");
    refused(
        send(&mut client, "").await,
        Code::ResourceExhausted,
        "Request failed. You've reached the upsert QPS limit for namespace __default__ (0.0003 QPS). \
         Pace your upsert requests or contact Pinecone Support \
         (https://app.pinecone.io/organizations/-/settings/support/ticket) to request a higher limit.",
    );
    server.stop().await;
}

/// Scenario: a hard window with room for one request a second, and 50 requests as fast as they go.
/// Guarantees: no more are taken than there were windows.
#[tokio::test]
async fn a_hard_window() {
    let server = under(Conditions {
        quota: Quota::Window,
        bytes_per_second: vec![[0.0, 15_000.0]],
        ..fast()
    })
    .await;
    let mut client = server.client().await;
    let begun = Instant::now();
    for _ in 0..50 {
        let _ = client.upsert(request_of(10_000)).await;
    }
    let windows = begun.elapsed().as_secs() + 2;
    let counts = counts(&server);
    assert!((1..=windows).contains(&counts.applied), "{counts:?}");
    assert_eq!(counts.applied + counts.throttled, 50);
    server.stop().await;
}

/// Scenario: one namespace is an alias, for one the index has no room, one has no quota left; others are usual.
/// Guarantees: each has its own answer, and the others are served.
#[tokio::test]
async fn namespaces_of_their_own() {
    let refusing = |refusal| NamespaceConditions {
        refuse: Some(refusal),
        ..NamespaceConditions::default()
    };
    let slow = NamespaceConditions {
        bytes_per_second: Some(1e-3),
        ..NamespaceConditions::default()
    };
    let server = under(Conditions {
        namespaces: [
            ("alias".to_owned(), refusing(NamespaceRefusal::Alias)),
            (
                "late".to_owned(),
                refusing(NamespaceRefusal::NamespaceLimit),
            ),
            ("slow".to_owned(), slow),
        ]
        .into(),
        ..fast()
    })
    .await;
    let mut client = server.client().await;
    invalid(
        send(&mut client, "alias").await,
        "Request failed. alias is a namespace alias and cannot be written to (WRITE_TO_ALIAS)",
    );
    refused(
        send(&mut client, "late").await,
        Code::PermissionDenied,
        "Request failed. You've reached the max namespaces allowed in serverless index local. \
         To add more namespaces, upgrade your plan.",
    );
    refused(
        send(&mut client, "slow").await,
        Code::ResourceExhausted,
        RATE_TEXT,
    );
    send(&mut client, "usual").await.expect("taken");
    assert_eq!(server.index.namespaces(), ["usual"]);
    server.stop().await;
}

/// Scenario: all work fails; then work that takes 200 ms.
/// Guarantees: UNAVAILABLE and nothing applied; then an answer no sooner than the work is done.
#[tokio::test]
async fn work_that_fails_and_work_that_takes_long() {
    let server = under(Conditions {
        errors: 1.0,
        ..fast()
    })
    .await;
    refused(
        send(&mut server.client().await, "").await,
        Code::Unavailable,
        "unavailable",
    );
    assert_eq!(
        (counts(&server).unavailable, server.index.count("")),
        (1, 0)
    );
    server.stop().await;

    let server = under(Conditions {
        // The spread of the service time is a factor; this is not.
        worker_bytes_per_second: 50_000.0,
        ..fast()
    })
    .await;
    let begun = Instant::now();
    let mut client = server.client().await;
    client.upsert(request_of(10_000)).await.expect("taken");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    server.stop().await;
}

/// Scenario: a link of 1 MB/s and a request of 300 kB; over two connections, 300 kB each.
/// Guarantees: the answers come no sooner than the link lets them, however many connections share it.
#[tokio::test]
async fn a_thin_link() {
    let server = under(Conditions {
        link_bytes_per_second: Some(1e6),
        ..fast()
    })
    .await;
    let mut clients = [server.client().await, server.client().await];
    let begun = Instant::now();
    let [one, other] = &mut clients;
    let (one, other) = tokio::join!(
        one.upsert(request_of(300_000)),
        other.upsert(request_of(300_000))
    );
    one.and(other).expect("taken");
    assert!(begun.elapsed() >= Duration::from_millis(550));
    server.stop().await;
}

/// Scenario: every connection is told to go after five requests, and 40 are sent one after the other.
/// Guarantees: each is taken, at the latest when it is sent again; no connection carries all of them, none is cut.
#[tokio::test]
async fn connections_are_sent_away() {
    let server = under(Conditions {
        goaway_after: Some(5),
        ..fast()
    })
    .await;
    let mut client = server.client().await;
    for _ in 0..40 {
        assert!(send_until_taken(&mut client).await <= 1);
    }
    let counts = counts(&server);
    assert_eq!((counts.applied, counts.connections_cut), (40, 0));
    assert!(counts.connections_sent_away >= 2 && counts.connections > 2);
    server.stop().await;
}

/// Scenario: from the first upsert on, connections are closed for an hour; then the same for 300 ms.
/// Guarantees: nothing is taken in the outage, over the old connection or a new one; after it, all is well.
#[tokio::test]
async fn an_outage_that_resets() {
    let server = under(outage(OutageKind::Reset, 3_600.0)).await;
    let mut client = server.client().await;
    for _ in 0..5 {
        send(&mut client, "").await.expect_err("an outage");
    }
    let seen = counts(&server);
    assert_eq!((seen.applied, seen.upserts), (0, 1));
    assert!(seen.connections_cut == 1 && seen.connections >= 2);
    server.stop().await;

    let server = under(outage(OutageKind::Reset, 0.3)).await;
    let mut client = server.client().await;
    // On a machine that is busy enough the outage is over before the first request comes through.
    send_until_taken(&mut client).await;
    send(&mut client, "").await.expect("taken");
    server.stop().await;
}

/// Scenario: from the first upsert on, nothing is read or written for an hour; then the same for 300 ms.
/// Guarantees: a client that gives up has no answer; one that waits has it when the outage is over.
#[tokio::test]
async fn an_outage_that_is_silent() {
    let server = under(outage(OutageKind::Hole, 3_600.0)).await;
    let mut client = server.client().await;
    let patience = Duration::from_millis(100);
    timeout(patience, send(&mut client, ""))
        .await
        .expect_err("silence");
    timeout(patience, send(&mut server.client().await, ""))
        .await
        .expect_err("silence");
    assert_eq!(counts(&server).upserts, 1);
    drop(client);
    // It does not wait for the hour to be over: see `stop`.
    server.abandon();

    let server = under(outage(OutageKind::Hole, 0.3)).await;
    let mut client = server.client().await;
    let begun = Instant::now();
    send(&mut client, "").await.expect("taken");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    server.stop().await;
}

/// Scenario: from the first upsert on, new connections wait for 300 ms.
/// Guarantees: the first connection is closed; what is sent over a new one is answered when it is over.
#[tokio::test]
async fn an_outage_that_accepts_late() {
    let server = under(outage(OutageKind::Accept, 0.3)).await;
    let mut client = server.client().await;
    let begun = Instant::now();
    send(&mut client, "").await.expect_err("closed");
    assert!(send_until_taken(&mut client).await <= 1);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(counts(&server).connections_cut, 1);
    server.stop().await;
}

/// Scenario: after three upserts the month's units are used up, the index is full, or the key is revoked.
/// Guarantees: three are taken, and every later one is refused in the service's words.
#[tokio::test]
async fn the_end_of_all_writes() {
    let ends = [
        (
            EndingKind::MonthlyQuota,
            Code::ResourceExhausted,
            "Request failed. You've reached your write unit limit for the current month. \
             To continue writing data, upgrade your plan.",
        ),
        (
            EndingKind::IndexFull,
            Code::ResourceExhausted,
            "Index is full, cannot accept data.",
        ),
        (
            EndingKind::RevokedKey,
            Code::Unauthenticated,
            "Invalid API key",
        ),
    ];
    for (with, code, words) in ends {
        let server = Served::start(Options {
            faults: Faults {
                ends: Some(Ending { after: 3, with }),
                ..Faults::default()
            },
            ..Options::default()
        })
        .await;
        let mut client = server.client().await;
        for _ in 0..3 {
            send(&mut client, "").await.expect("taken");
        }
        for _ in 0..2 {
            refused(send(&mut client, "").await, code, words);
        }
        let counts = counts(&server);
        assert_eq!((counts.applied, counts.ended), (3, 2));
        server.stop().await;
    }
}

/// Scenario: conditions that cannot be.
/// Guarantees: the index does not open and says which setting is wrong.
#[test]
fn impossible_conditions_are_refused() {
    let error = vecload_local_index::LocalIndex::open(Options {
        conditions: Some(Conditions {
            errors: 1.5,
            ..Conditions::default()
        }),
        ..Options::default()
    });
    let error = error.err().expect("refused").to_string();
    assert!(error.contains("conditions: errors is 1.5"), "{error}");
}
