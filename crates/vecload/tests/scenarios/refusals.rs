//! Loads that must not begin, or must not send anything.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vecload::{ExitCode, Load, LoadBuilder, Report, Span};
use vecload_corpus::{Corpus, ParquetForm};
use vecload_local_index::Options;

use crate::books;
use crate::served::Served;

/// A small corpus of vectors of four values.
fn corpus() -> Corpus {
    Corpus {
        records: 100,
        dimension: 4,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 51,
    }
}

fn load(folder: &TempDir, input: &Path, host: &str) -> LoadBuilder {
    Load::builder()
        .input(input.to_str().expect("UTF-8"))
        .host(host)
        .run_dir(folder.path().join("run"))
}

fn jsonl(folder: &TempDir) -> PathBuf {
    let input = folder.path().join("corpus.jsonl");
    corpus().write_jsonl(&input).expect("written");
    input
}

/// Loads what must be refused with exit code 3, and gives the words.
async fn refused(folder: &TempDir, input: &Path, served: &Served) -> String {
    let error = load(folder, input, &served.host).run().await;
    let error = error.expect_err("refused");
    assert_eq!(error.exit_code, ExitCode::Refused, "{error}");
    assert_eq!(served.upserts(), 0, "something was sent");
    error.to_string()
}

fn assert_nothing_was_read(report: &Report) {
    books::balance(report);
    assert_eq!((report.records_loaded, report.attempts), (0, 0));
    assert_eq!(report.records_read, 0);
}

/// Scenario: vectors of four values for an index of eight dimensions.
/// Guarantees: exit code 3, both numbers in the message, nothing sent.
#[tokio::test]
async fn a_dimension_that_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::start(Options {
        dimension: Some(8),
        ..Options::default()
    })
    .await;
    let message = refused(&folder, &jsonl(&folder), &served).await;
    assert!(
        message.contains("4 dimensions") && message.contains("has 8"),
        "{message}"
    );
}

/// Scenario: 99 vectors in front have another length than the index takes, then come good ones; and
/// 100 of them in front.
/// Guarantees: the first corpus is loaded but for these, the second one is refused with exit code 3.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_must_agree_that_the_index_is_the_wrong_one() {
    for (others, is_loaded) in [(99, true), (100, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.jsonl");
        let line = |number, values| format!("{{\"id\":\"{number}\",\"values\":{values}}}\n");
        let lines: String = std::iter::once("no JSON\n".to_owned())
            .chain((0..others).map(|number| line(number, "[1,2,3]")))
            .chain((others..200).map(|number| line(number, "[1,2]")))
            .collect();
        std::fs::write(&input, lines).expect("written");
        let served = Served::start(Options {
            dimension: Some(2),
            ..Options::default()
        })
        .await;
        if is_loaded {
            let report = load(&folder, &input, &served.host).run().await;
            let report = report.expect("begun");
            assert_eq!(report.exit_code, ExitCode::SomeRejected);
            assert_eq!(report.rejected_by_reason["wrong_dimension"], others);
            assert_eq!(report.records_loaded, 200 - others);
        } else {
            let message = refused(&folder, &input, &served).await;
            assert!(message.contains("none of the first 100"), "{message}");
        }
    }
}

/// Scenario: an index without a dimension, and a corpus whose first rows are all zeros, have a NaN, too
/// long an id, or refused metadata, each with another number of values than the good rows behind them.
/// Guarantees: the dimension is that of the first good row, so that these four are all that is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_good_row_decides_the_dimension() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let long = "x".repeat(513);
    let mut lines = format!(
        "{{\"id\":\"zeros\",\"values\":[0,0,0]}}\n\
         {{\"id\":\"nan\",\"values\":[1,2,NaN]}}\n\
         {{\"id\":\"{long}\",\"values\":[1,2,3]}}\n\
         {{\"id\":\"dollar\",\"values\":[1,2,3],\"metadata\":{{\"$a\":1}}}}\n"
    );
    for number in 0..100 {
        lines += &format!("{{\"id\":\"{number}\",\"values\":[1,{number}]}}\n");
    }
    std::fs::write(&input, lines).expect("written");
    let served = Served::plain().await;
    let report = load(&folder, &input, &served.host).run().await;
    let report = report.expect("begun");
    assert_eq!((report.records_loaded, report.records_rejected), (100, 4));
    assert_eq!(served.index.dimension(), Some(2));
    books::balance(&report);
}

/// Scenario: an empty file, and a file of empty lines.
/// Guarantees: exit code 3 and the flag that allows it; with that flag exit code 0, nothing sent.
#[tokio::test]
async fn inputs_without_records() {
    for (content, name) in [("", "empty.jsonl"), ("\n\n", "blank.jsonl")] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join(name);
        std::fs::write(&input, content).expect("written");
        let served = Served::plain().await;
        let message = refused(&folder, &input, &served).await;
        assert!(message.contains("--allow-empty"), "{message}");
        let report = load(&folder, &input, &served.host)
            .with(|settings| settings.allow_empty = true)
            .run()
            .await
            .expect("begun");
        assert_eq!(report.exit_code, ExitCode::Complete);
        assert_nothing_was_read(&report);
        assert_eq!(served.upserts(), 0);
    }
}

/// Scenario: a Parquet file without a row.
/// Guarantees: exit code 3 and the flag that allows it.
#[tokio::test]
async fn parquet_without_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("empty.parquet");
    let none = Corpus {
        records: 0,
        ..corpus()
    };
    none.write_parquet(&input, ParquetForm::default())
        .expect("written");
    let message = refused(&folder, &input, &Served::plain().await).await;
    assert!(message.contains("--allow-empty"), "{message}");
}

/// Scenario: a directory that holds a README and nothing that is data.
/// Guarantees: exit code 3, the directory's name, nothing sent.
#[tokio::test]
async fn a_directory_without_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("README.md"), "soon").expect("written");
    let message = refused(&folder, &data, &Served::plain().await).await;
    assert!(message.contains(data.to_str().expect("UTF-8")), "{message}");
}

/// Scenario: a path that is not there.
/// Guarantees: exit code 3, the path, nothing sent.
#[tokio::test]
async fn an_input_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("nowhere.jsonl");
    let message = refused(&folder, &input, &Served::plain().await).await;
    assert!(message.contains("nowhere.jsonl"), "{message}");
}

/// Scenario: a Parquet file that was cut off at any of several places.
/// Guarantees: exit code 3, the file's name, nothing sent, although its first pages are whole.
#[tokio::test]
async fn truncated_parquet() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole.parquet");
    corpus()
        .write_parquet(&whole, ParquetForm::default())
        .expect("written");
    let bytes = std::fs::read(&whole).expect("readable");
    for length in [bytes.len() - 1, bytes.len() / 2, 11, 4] {
        let input = folder.path().join("cut.parquet");
        std::fs::write(&input, &bytes[..length]).expect("written");
        let message = refused(&folder, &input, &Served::plain().await).await;
        assert!(message.contains("cut.parquet"), "{message}");
    }
}

/// Scenario: a server that knows another key.
/// Guarantees: exit code 5 in the server's words, nothing read or sent, no key in the report.
#[tokio::test]
async fn a_wrong_key() {
    const WRONG: &str = "pcsk_wrong_canary";
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::start(Options {
        api_key: Some("pcsk_right".to_owned()),
        ..Options::default()
    })
    .await;
    let report = load(&folder, &jsonl(&folder), &served.host)
        .with(|settings| settings.api_key = Some(WRONG.to_owned().into()))
        .run()
        .await
        .expect("begun");
    assert_eq!(report.exit_code, ExitCode::Service);
    assert_nothing_was_read(&report);
    assert_eq!(served.upserts(), 0);
    assert!(served.index.audit().counts.unauthenticated >= 1);
    let reason = report.stop_reason.expect("a reason");
    assert!(
        reason.message.contains("Invalid API key"),
        "{}",
        reason.message
    );
    let written = std::fs::read_to_string(folder.path().join("run/report.json"));
    assert!(!written.expect("a report").contains(WRONG));
}

/// Scenario: no one listens at the address, and the stall limit is short.
/// Guarantees: exit code 6, the address and the limit in the message.
#[tokio::test]
async fn a_host_that_cannot_be_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let report = load(&folder, &jsonl(&folder), &format!("http://{address}"))
        .with(|settings| settings.max_stall = Span(std::time::Duration::from_millis(300)))
        .run()
        .await
        .expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_nothing_was_read(&report);
    let reason = report.stop_reason.expect("a reason");
    assert_eq!(reason.code, "outage");
    assert!(reason.message.contains("--max-stall"), "{}", reason.message);
}
