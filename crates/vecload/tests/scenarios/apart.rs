//! Namespaces fail and wait alone, and the books say which and why.

use std::time::Duration;

use vecload::{Bytes, ExitCode, LoadBuilder};
use vecload_corpus::Corpus;
use vecload_local_index::{Conditions, LocalIndex, NamespaceConditions, Options};

use crate::books;
use crate::scenario::Scenario;
use crate::served::Served;

/// Scenario: of 300 namespaces one has a hundredth of the others' quota, and one takes no writes (`apart.toml`).
/// Guarantees: all others and the slow one are loaded, the refused one remains with the service's words,
/// exit code 5 with its name; as many refusals are reported as the server gave.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_waits_or_fails_alone() {
    let outcome = Scenario::play("apart").await;
    let report = &outcome.report;
    assert_eq!(report.namespaces.len(), 300);
    for (name, namespace) in &report.namespaces {
        let loaded = if name == "ns00008" { 0 } else { 3 };
        assert_eq!(namespace.books.loaded, loaded, "{name}");
        assert_eq!(namespace.remaining, 3 - loaded, "{name}");
        assert_eq!(namespace.closed.is_some(), loaded == 0, "{name}");
    }
    let reason = report.namespaces["ns00008"].closed.as_deref();
    let reason = reason.expect("why it remains");
    assert!(reason.contains("max namespaces allowed"), "{reason}");
    let stop = report.stop_reason.as_ref().expect("a reason");
    assert_eq!(stop.code, "namespace");
    assert!(
        stop.message.contains("1 of 300 namespaces") && stop.message.contains("ns00008"),
        "{}",
        stop.message
    );
    // The third request of the slow one cannot have been taken any sooner.
    assert!(report.duration_seconds >= 2.0);
    let counts = outcome.served.index.audit().counts;
    assert_eq!(report.requests_throttled, counts.throttled);
}

const SLOW: &str = "ns00003";
const NAMESPACES: u64 = 10;
const ROWS: u64 = 600;

/// Ten namespaces whose records of 600 bytes come in turn.
fn interleaved() -> Corpus {
    Corpus {
        records: ROWS * NAMESPACES,
        dimension: 128,
        metadata_bytes: 0,
        namespaces: NAMESPACES,
        seed: 73,
    }
}

/// An index in a directory that takes a request a second, or so many, of the slow namespace.
fn options(data: &std::path::Path, requests_per_second: Option<f64>) -> Options {
    let slow = NamespaceConditions {
        requests_per_second,
        ..NamespaceConditions::default()
    };
    let conditions = Conditions {
        service_seconds: 0.001,
        namespaces: [(SLOW.to_owned(), slow)].into(),
        ..Conditions::default()
    };
    Options {
        data_dir: Some(data.to_owned()),
        conditions: Some(conditions),
        ..Options::default()
    }
}

/// A load whose budget holds a dozen requests: of the slow namespace's 360 kB half of it is a sixth.
fn tight(builder: LoadBuilder) -> LoadBuilder {
    builder.with(|settings| {
        settings.namespace_column = Some(vecload_corpus::NAMESPACE_COLUMN.to_owned());
        settings.request_bytes = Bytes(10_000);
        settings.request_records = 20;
        settings.memory = Bytes(200_000);
        settings.seed = 74;
    })
}

/// Scenario: of ten namespaces whose records come in turn one is throttled so hard that its half of the byte budget is
/// full all the time; it is interrupted when all others are loaded, and continued when the cause is gone.
/// Guarantees: the reader does not wait for the slow one: the others are loaded while most of it remains. What was left
/// is counted as read and remains in the books, and the same command loads it, each record once.
#[tokio::test(flavor = "multi_thread")]
async fn the_reader_goes_on_without_a_throttled_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    interleaved().write_jsonl(&input).expect("written");
    let (data, run) = (folder.path().join("index"), folder.path().join("run"));
    let served = Served::start(options(&data, Some(1.0))).await;
    let builder = tight(served.load(&input, &run));
    let (stop, mut progress) = (builder.stop_handle(), builder.progress());
    let others = ROWS * (NAMESPACES - 1);
    let index = served.index.clone();
    let watching = tokio::spawn(async move {
        let all_others = |index: &LocalIndex| {
            (0..NAMESPACES)
                .map(|number| format!("ns{number:05}"))
                .filter(|name| name != SLOW)
                .map(|name| index.count(&name))
                .sum::<u64>()
                == others
        };
        while !all_others(&index) {
            // It ends with the load at the latest.
            if progress.changed().await.is_err() {
                break;
            }
        }
        let slow = index.count(SLOW);
        // Time for the last answers.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.interrupt();
        slow
    });
    let report = builder.run().await.expect("begun");
    let slow = watching.await.expect("no panic");
    assert!(
        slow < ROWS / 2,
        "{slow} of the slow namespace's {ROWS} came before the others were done"
    );
    books::balance(&report);
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_eq!(report.records_read, ROWS * NAMESPACES);
    assert!(report.namespaces[SLOW].remaining > ROWS / 2);

    let host = served.host.clone();
    let listener = served.stop().await;
    let healed = LocalIndex::open(options(&data, None)).expect("free again");
    let served = Served::resume(healed, listener);
    assert_eq!(served.host, host);
    let report = tight(served.load(&input, &run)).run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Complete);
    books::balance(&report);
    assert_eq!(report.records_loaded, ROWS * NAMESPACES);
    assert_eq!(served.index.count(SLOW), ROWS);
}

/// Scenario: the same, with a slow namespace that is only a little slow, to its end.
/// Guarantees: what was left is read again in the same run, until all is loaded; each record is sent and booked once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    interleaved().write_jsonl(&input).expect("written");
    let data = folder.path().join("index");
    let served = Served::start(options(&data, Some(10.0))).await;
    let load = tight(served.load(&input, &folder.path().join("run")));
    let report = load.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Complete);
    books::balance(&report);
    let all = ROWS * NAMESPACES;
    assert_eq!(report.records_read, all);
    assert_eq!(report.records_loaded, all);
    assert_eq!(served.index.count(SLOW), ROWS);
    assert_eq!(served.index.audit().counts.records, all);
}
