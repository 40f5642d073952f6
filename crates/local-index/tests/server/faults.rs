//! Misbehaviour on request: each kind, with the counts that its seed gives.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use vecload_local_index::{Counts, Faults, Options};

use crate::support::{Served, invalid, upsert, vector};

async fn with(faults: Faults) -> Served {
    Served::start(Options {
        faults,
        ..Options::default()
    })
    .await
}

/// Sends upserts of one record each, ids counting up, and returns how each ended.
async fn send(server: &Served, count: usize) -> Vec<Result<(), tonic::Status>> {
    let mut client = server.client().await;
    let mut ends = Vec::new();
    for n in 0..count {
        let record = vector(&format!("{n:04}"), &[1.0]);
        ends.push(upsert(&mut client, "", vec![record]).await.map(|_| ()));
    }
    ends
}

fn counts(server: &Served) -> Counts {
    server.index.audit().counts
}

/// Scenario: 30 % throttled, 10 % unavailable, 5 % reset, 15 % applied without an answer, over 400 requests, twice.
/// Guarantees: both runs end alike request by request; what the client saw, the counters and the store agree.
#[tokio::test]
async fn mixed_faults_repeat_and_add_up() {
    let faults = Faults {
        seed: 42,
        refuse: 0.3,
        unavailable: 0.1,
        reset: 0.05,
        apply_without_answer: 0.15,
        ..Faults::default()
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let server = with(faults.clone()).await;
        let ends = send(&server, 400).await;
        let codes: Vec<Code> = ends
            .iter()
            .map(|end| end.as_ref().map_or_else(tonic::Status::code, |()| Code::Ok))
            .collect();
        let counts = counts(&server);
        let count = |wanted: &[Code]| codes.iter().filter(|c| wanted.contains(c)).count() as u64;
        assert_eq!(counts.upserts, 400);
        assert_eq!(count(&[Code::Ok]), counts.applied);
        assert_eq!(count(&[Code::ResourceExhausted]), counts.throttled);
        // Resets arrive as INTERNAL or CANCELLED, an applied request also as UNAVAILABLE.
        assert_eq!(
            count(&[Code::Unavailable, Code::Internal, Code::Cancelled]),
            counts.unavailable + counts.reset + counts.applied_without_answer
        );
        let stored = counts.applied + counts.applied_without_answer;
        assert_eq!(server.index.count(""), stored);
        assert_eq!(counts.records, stored);
        for (id, writes) in &server.index.audit().writes[""] {
            assert_eq!(writes.len(), 1, "{id}");
        }
        seen.push((codes, counts));
        server.stop().await;
    }
    assert_eq!(seen[0], seen[1]);
    let counts = &seen[0].1;
    let shares = [
        (counts.throttled, 120),
        (counts.unavailable, 40),
        (counts.reset, 20),
        (counts.applied_without_answer, 60),
    ];
    for (count, expected) in shares {
        assert!(
            count.abs_diff(expected) <= 20,
            "{count} of about {expected}"
        );
    }
}

/// Scenario: every request is throttled.
/// Guarantees: RESOURCE_EXHAUSTED with the service's rate text; nothing is applied, the size was seen.
#[tokio::test]
async fn throttled() {
    let server = with(Faults {
        refuse: 1.0,
        ..Faults::default()
    })
    .await;
    let end = send(&server, 1).await.remove(0).expect_err("throttled");
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().starts_with(
        "Request failed. You've reached the max upsert size limit per second for index local."
    ));
    assert_eq!(server.index.count(""), 0);
    assert!(counts(&server).largest_request > 0);
    server.stop().await;
}

/// Scenario: every stream is reset before it is applied; every stream is reset after.
/// Guarantees: a real RST_STREAM (no status of ours) with a reason proxies use; applied or not as said; the connection lives on.
#[tokio::test]
async fn reset_streams() {
    for (faults, applied) in [
        (
            Faults {
                reset: 1.0,
                ..Faults::default()
            },
            0,
        ),
        (
            Faults {
                apply_without_answer: 1.0,
                ..Faults::default()
            },
            30,
        ),
    ] {
        let server = with(faults).await;
        let ends = send(&server, 30).await;
        let mut reasons = Vec::new();
        for end in ends {
            let status = end.expect_err("no answer");
            let source = std::error::Error::source(&status);
            let reset = std::iter::successors(source, |error| error.source())
                .find_map(|error| error.downcast_ref::<h2::Error>());
            match reset {
                Some(reset) => {
                    assert!(reset.is_reset() && reset.is_remote(), "{reset}");
                    reasons.push(reset.reason().expect("a reason"));
                }
                None => assert_eq!(
                    (applied, status.code(), status.message()),
                    (30, Code::Unavailable, "unavailable")
                ),
            }
        }
        assert!(reasons.contains(&h2::Reason::INTERNAL_ERROR));
        assert!(reasons.contains(&h2::Reason::CANCEL));
        assert_eq!(server.index.count(""), applied);
        assert_eq!(counts(&server).connections, 1);
        server.stop().await;
    }
}

/// Scenario: every request is delayed by an hour, on a paused clock.
/// Guarantees: the answer comes after the hour and not before, and is counted as delayed and applied.
#[tokio::test]
async fn delayed() {
    let hour = Duration::from_secs(3_600);
    let server = with(Faults {
        delay: 1.0,
        delay_for: hour,
        ..Faults::default()
    })
    .await;
    let mut client = server.client().await;
    let request = tokio::spawn(async move {
        upsert(&mut client, "", vec![vector("a", &[1.0])])
            .await
            .expect("taken");
    });
    // The clock is stopped only when the request waits on it: with sockets about, a paused clock
    // would run ahead of them.
    while counts(&server).delayed == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    let before = Instant::now();
    assert!(!request.is_finished());
    assert_eq!(counts(&server).applied, 0);
    tokio::time::advance(hour).await;
    tokio::time::resume();
    request.await.expect("answered");
    assert!(before.elapsed() >= hour);
    let counts = counts(&server);
    assert_eq!((counts.delayed, counts.applied), (1, 1));
    server.stop().await;
}

/// Scenario: connections are cut after exactly 5 requests; then after 2 to 9 of them, by a seed, on 40 connections.
/// Guarantees: the sixth request and only that one finds its connection gone; the number of requests served follows the seed.
#[tokio::test]
async fn cut_connections() {
    let server = with(Faults {
        cut_connection_after: Some((5, 5)),
        ..Faults::default()
    })
    .await;
    let ends = send(&server, 6).await;
    assert!(ends[..5].iter().all(Result::is_ok));
    assert!(ends[5].is_err());
    assert_eq!(counts(&server).connections_cut, 1);
    assert_eq!(counts(&server).requests, 5);
    server.stop().await;

    let mut served = Vec::new();
    for _ in 0..2 {
        let server = with(Faults {
            seed: 5,
            cut_connection_after: Some((2, 9)),
            ..Faults::default()
        })
        .await;
        let mut lives = Vec::new();
        for _ in 0..40 {
            let ends = send(&server, 10).await;
            // tonic connects anew after the cut, so it is the first failure that counts.
            lives.push(
                ends.iter()
                    .position(Result::is_err)
                    .expect("cut within ten"),
            );
        }
        assert!(lives.iter().all(|life| (2..=9).contains(life)), "{lives:?}");
        served.push(lives);
        server.stop().await;
    }
    assert!(served[0].iter().any(|life| *life != served[0][0]));
    assert_eq!(served[0][0], served[1][0], "the first life is the seed's");
}

/// Scenario: a rule that only the server knows refuses ids that contain "bad".
/// Guarantees: INVALID_ARGUMENT for the whole request, naming no record; requests without such ids pass.
#[tokio::test]
async fn ids_that_only_the_server_knows_to_be_bad() {
    let server = with(Faults {
        refuse_ids_containing: Some("bad".to_owned()),
        ..Faults::default()
    })
    .await;
    let mut client = server.client().await;
    let records = vec![vector("good", &[1.0]), vector("a-bad-one", &[1.0])];
    invalid(
        upsert(&mut client, "", records).await,
        "Request failed. One of the vectors is not valid for this index",
    );
    assert_eq!(server.index.count(""), 0);
    upsert(&mut client, "", vec![vector("good", &[1.0])])
        .await
        .expect("taken");
    assert_eq!(counts(&server).rejected, 1);
    server.stop().await;
}

/// Scenario: probabilities that cannot be.
/// Guarantees: the index does not open and says which setting is wrong.
#[test]
fn impossible_faults_are_refused() {
    let faults = Faults {
        refuse: 1.5,
        ..Faults::default()
    };
    let error = vecload_local_index::LocalIndex::open(Options {
        faults,
        ..Options::default()
    })
    .err()
    .expect("refused");
    assert!(
        error.to_string().contains("faults: refuse is 1.5"),
        "{error}"
    );
}

/// Scenario: every request is put off; then every second one, while one record is written over and over.
/// Guarantees: the client gets no answer to what is put off, and it is applied all the same, as a write of its own.
#[tokio::test]
async fn late_writes() {
    for (apply_late, count) in [(1.0, 5), (0.5, 40)] {
        let server = with(Faults {
            seed: 6,
            apply_late,
            late_for: Duration::from_millis(100),
            ..Faults::default()
        })
        .await;
        let mut client = server.client().await;
        let mut answered = 0;
        for n in 0..count {
            let record = vector("x", &[n as f32 + 1.0]);
            match upsert(&mut client, "", vec![record]).await {
                Ok(_) => answered += 1,
                Err(status) => assert!(matches!(
                    status.code(),
                    Code::Unavailable | Code::Internal | Code::Cancelled
                )),
            }
        }
        let seen = counts(&server);
        assert_eq!(
            (seen.applied, seen.applied + seen.put_off),
            (answered, count)
        );
        assert!(seen.put_off > 0 && (apply_late == 1.0 || answered > 0));
        while counts(&server).applied_late < seen.put_off {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let audit = server.index.audit();
        assert_eq!(audit.writes_of("", "x").len() as u64, count);
        server.stop().await;
    }
}
