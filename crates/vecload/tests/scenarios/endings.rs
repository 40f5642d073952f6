//! The service says in mid-run that no write will be taken any more, or takes none from the beginning.

use std::time::Duration;

use vecload::{ExitCode, Load, MaxRejects};
use vecload_corpus::Corpus;
use vecload_local_index::{Ending, EndingKind, Faults, LocalIndex, Options};

use crate::books;
use crate::served::Served;

const IN_FLIGHT: usize = 8;

fn corpus(records: u64) -> Corpus {
    Corpus {
        records,
        dimension: 4,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 81,
    }
}

/// Scenario: after 40 requests the month's units are used up, the index is full, or the key is revoked, while
/// eight requests are in flight, each of which takes its time.
/// Guarantees: exit code 5 with the service's words, and no attempt begins once the verdict is known; what was
/// acknowledged before is booked, the rest remains; after the cause is gone the same command loads only the rest.
#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_begins_after_a_verdict() {
    const BEFORE: u64 = 40;
    let ends = [
        (EndingKind::MonthlyQuota, "write unit limit", "exhausted"),
        (EndingKind::IndexFull, "Index is full", "exhausted"),
        (EndingKind::RevokedKey, "Invalid API key", "service"),
    ];
    for (with, words, code) in ends {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.jsonl");
        corpus(2_000).write_jsonl(&input).expect("written");
        let faults = Faults {
            // All places in flight are taken whenever an answer comes.
            delay: 1.0,
            delay_for: Duration::from_millis(20),
            ends: Some(Ending {
                after: BEFORE,
                with,
            }),
            ..Faults::default()
        };
        let data = folder.path().join("index");
        let options = Options {
            data_dir: Some(data),
            faults,
            ..Options::default()
        };
        let served = Served::start(options.clone()).await;
        let load = |host: &str| {
            Load::builder()
                .input(input.to_str().expect("UTF-8"))
                .host(host)
                .run_dir(folder.path().join("run"))
                .with(|settings| {
                    settings.request_records = 10;
                    settings.in_flight = IN_FLIGHT;
                    settings.seed = 82;
                })
        };
        let report = load(&served.host).run().await.expect("begun");
        let reason = report.stop_reason.clone().expect("a reason");
        assert_eq!(report.exit_code, ExitCode::Service);
        assert_eq!(reason.code, code);
        assert!(reason.message.contains(words), "{}", reason.message);
        books::balance(&report);
        let counts = served.index.audit().counts;
        // When the first verdict came back, what had been answered before were the first 40, and no more
        // than eight were on their way.
        assert!(
            counts.upserts < BEFORE + IN_FLIGHT as u64 + 1,
            "{with:?}: {counts:?}"
        );
        assert_eq!(counts.applied, BEFORE);
        assert_eq!(report.attempts, counts.upserts, "{with:?}");
        assert_eq!(report.records_loaded, 10 * BEFORE);
        assert_eq!(served.index.count(""), report.records_loaded);

        // The state is kept.
        let (host, listener) = (served.host.clone(), served.stop().await);
        let healed = LocalIndex::open(Options {
            faults: Faults::default(),
            ..options
        });
        let healed = Served::resume(healed.expect("free again"), listener);
        let report = load(&host).run().await.expect("begun");
        assert_eq!(report.exit_code, ExitCode::Complete);
        books::balance(&report);
        assert_eq!(report.records_loaded, 2_000);
        assert_eq!(healed.index.count(""), 2_000);
        assert_eq!(healed.index.audit().counts.records, 2_000 - 10 * BEFORE);
    }
}

/// Scenario: the service refuses every record of a corpus, in words that name none, and any number of rejects is
/// allowed; in batches of 1,000 records and in batches of ten.
/// Guarantees: exit code 4 with the service's words, long before all is tried, and nothing loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_that_is_wrong_as_a_whole() {
    for request_records in [1_000, 10] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.jsonl");
        corpus(20_000).write_jsonl(&input).expect("written");
        let served = Served::with_faults(Faults {
            refuse_ids_containing: Some("r".to_owned()),
            ..Faults::default()
        })
        .await;
        let report = served
            .load(&input, &folder.path().join("run"))
            .with(|settings| {
                settings.max_rejects = MaxRejects::Count(u64::MAX);
                settings.request_records = request_records;
            })
            .run()
            .await
            .expect("begun");
        assert_eq!(report.exit_code, ExitCode::Short);
        let reason = report.stop_reason.clone().expect("a reason");
        assert_eq!(reason.code, "all_refused");
        assert!(
            reason.message.contains("not valid for this index"),
            "{}",
            reason.message
        );
        books::balance(&report);
        assert_eq!((report.records_loaded, served.index.count("")), (0, 0));
        // A hundred records, what is found beside them, and the halvings on the way.
        assert!(
            report.records_rejected < 300 && served.upserts() < 1_500,
            "{} rejects in {} requests",
            report.records_rejected,
            served.upserts()
        );
    }
}

/// Scenario: a corpus of five records, each of which the service refuses.
/// Guarantees: exit code 4 although five rejects are allowed; with one good record it is 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_corpus_of_which_nothing_is_good() {
    for (bad, exit_code) in [
        ("r", ExitCode::Short),
        ("r00000001", ExitCode::SomeRejected),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.jsonl");
        corpus(5).write_jsonl(&input).expect("written");
        let served = Served::with_faults(Faults {
            refuse_ids_containing: Some(bad.to_owned()),
            ..Faults::default()
        })
        .await;
        let report = served
            .load(&input, &folder.path().join("run"))
            .run()
            .await
            .expect("begun");
        assert_eq!(report.exit_code, exit_code);
        books::balance(&report);
        assert_eq!(report.records_loaded + report.records_rejected, 5);
    }
}
