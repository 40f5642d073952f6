//! Loads that end before all is loaded: what was done is booked, what was not is stated.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use vecload::{Bytes, DuplicatePolicy, ExitCode, LoadBuilder, MaxRejects, Report, Status};
use vecload_corpus::{Corpus, ParquetForm};
use vecload_local_index::{Faults, Options};

use crate::books;
use crate::served::Served;

fn corpus(records: u64) -> Corpus {
    Corpus {
        records,
        dimension: 4,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 61,
    }
}

fn load(input: &Path, run: &Path, served: &Served) -> LoadBuilder {
    served.load(input, run).with(|settings| settings.seed = 62)
}

/// The index holds what the report calls loaded, and no more than that and what remains.
fn assert_in_index(report: &Report, served: &Served) {
    books::balance(report);
    assert_eq!(served.index.count(""), report.records_loaded);
}

/// Scenario: the handle is used when something is loaded and most is not, against a slow server.
/// Guarantees: exit code 6, every acknowledged record is booked and no other, what was not read is
/// stated; the same load then completes.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_in_the_middle() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.parquet");
    let corpus = corpus(20_000);
    let form = ParquetForm {
        row_group: 1_000,
        ..ParquetForm::default()
    };
    corpus.write_parquet(&input, form).expect("written");
    // 20,000 requests of one record, two at a time, each of them held up: it takes minutes unless
    // it is stopped.
    let served = Served::with_faults(Faults {
        delay: 1.0,
        delay_for: Duration::from_millis(20),
        ..Faults::default()
    })
    .await;
    let builder = load(&input, &folder.path().join("1"), &served).with(|settings| {
        settings.in_flight = 2;
        settings.request_records = 1;
    });
    let (stop, mut progress) = (builder.stop_handle(), builder.progress());
    let interrupting = tokio::spawn(async move {
        let some = progress.wait_for(|progress| progress.books.loaded > 0);
        some.await.expect("the load goes on");
        stop.interrupt();
    });
    let report = builder.run().await.expect("begun");
    interrupting.await.expect("no panic");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_eq!(
        report.stop_reason.as_ref().map(|reason| reason.code),
        Some("signal")
    );
    assert!(report.records_loaded > 0 && report.records_remaining > 0);
    assert_eq!(report.records_read + report.unread.rows, corpus.records);
    assert_in_index(&report, &served);

    let fast = Served::plain().await;
    let report = load(&input, &folder.path().join("2"), &fast).run().await;
    let report = report.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Complete);
    assert_eq!(fast.index.count(""), corpus.records);
}

/// Scenario: the handle is used before the load begins.
/// Guarantees: exit code 6, and nothing is sent.
#[tokio::test]
async fn an_interrupt_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    corpus(100).write_jsonl(&input).expect("written");
    let served = Served::plain().await;
    let builder = load(&input, &folder.path().join("run"), &served);
    builder.stop_handle().interrupt();
    let report = builder.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_eq!((served.upserts(), report.records_loaded), (0, 0));
    books::balance(&report);
}

/// Scenario: a corpus of which every second vector is too short, and at most five rejects.
/// Guarantees: exit code 4 with the last reject in the message, and books that balance.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_rejects() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let lines: String = (0..20_000)
        .map(|number| match number % 2 {
            0 => format!("{{\"id\":\"{number}\",\"values\":[1,2]}}\n"),
            _ => format!("{{\"id\":\"{number}\",\"values\":[1]}}\n"),
        })
        .collect();
    std::fs::write(&input, &lines).expect("written");
    let served = Served::plain().await;
    let report = load(&input, &folder.path().join("run"), &served)
        .with(|settings| settings.max_rejects = MaxRejects::Count(5));
    let report = report.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Short);
    let reason = report.stop_reason.clone().expect("a reason");
    assert_eq!(reason.code, "too_many_rejects");
    assert!(
        reason.message.contains("--max-rejects is 5"),
        "{}",
        reason.message
    );
    assert!(
        reason.message.contains("wrong_dimension"),
        "{}",
        reason.message
    );
    assert!(report.records_rejected > 5);
    assert_in_index(&report, &served);
}

/// Scenario: a corpus of which our rules, and one of which the server refuses every record, within
/// `--max-rejects`; then the same command again.
/// Guarantees: exit code 4 both times, since nothing was loaded; every record is a dead letter, so that the run is complete,
/// and the second command sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_that_is_refused_as_a_whole() {
    for (values, reason) in [("[0,0]", "all_zero"), ("[1,2]", "refused")] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.jsonl");
        let lines: String = (0..50)
            .map(|number| format!("{{\"id\":\"r{number}\",\"values\":{values}}}\n"))
            .collect();
        std::fs::write(&input, &lines).expect("written");
        let served = Served::with_faults(Faults {
            refuse_ids_containing: Some("r".to_owned()),
            ..Faults::default()
        })
        .await;
        let mut sent = None;
        for _ in 0..2 {
            let report = load(&input, &folder.path().join("run"), &served);
            let report = report.run().await.expect("begun");
            assert_eq!(report.exit_code, ExitCode::Short);
            assert_eq!(report.status, Status::Complete);
            let stop = report.stop_reason.as_ref().expect("a reason");
            assert_eq!(stop.code, "nothing_loaded");
            let count = format!("({reason}: 50)");
            assert!(stop.message.contains(&count), "{}", stop.message);
            assert_eq!(report.resume_command, None);
            assert_in_index(&report, &served);
            let upserts = served.upserts();
            assert_eq!(*sent.get_or_insert(upserts), upserts);
        }
    }
}

/// Scenario: JSONL and Parquet of which a limit takes some rows: of one file, of a directory of both.
/// Guarantees: just so many are loaded; the others are in the books of their input as filtered where
/// the file states its rows, in bytes where not, and nothing remains: exit code 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_leaves_out_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let form = ParquetForm {
        row_group: 30,
        ..ParquetForm::default()
    };
    corpus(100)
        .write_parquet(&data.join("a.parquet"), form)
        .expect("written");
    corpus(50)
        .write_jsonl(&data.join("b.jsonl"))
        .expect("written");
    let bytes = std::fs::metadata(data.join("b.jsonl"))
        .expect("there")
        .len();
    // By limit: rows and bytes that are left out.
    for (limit, rows, left) in [
        (10, 90, bytes..=bytes),
        (30, 70, bytes..=bytes),
        (45, 55, bytes..=bytes),
        (100, 0, bytes..=bytes),
        (125, 0, bytes / 2 - 50..=bytes / 2 + 50),
        (150, 0, 0..=0),
    ] {
        let served = Served::plain().await;
        let run = folder.path().join(format!("run-{limit}"));
        let limited = || {
            load(&data, &run, &served).with(|settings| {
                settings.limit = Some(limit);
                // Both files have the same ids.
                settings.duplicates = DuplicatePolicy::Any;
            })
        };
        let checked = limited().check(true).await.expect("checked");
        let report = limited().run().await.expect("begun");
        assert_eq!(report.exit_code, ExitCode::Complete, "{}", report.summary());
        assert_eq!(report.records_loaded, limit);
        assert_eq!(report.records_read, limit + rows);
        assert_eq!(report.inputs[0].books.filtered, rows);
        assert!(
            left.contains(&report.filtered_bytes),
            "{limit}: {}",
            report.filtered_bytes
        );
        assert_eq!((checked.rows, checked.rows_filtered), (Some(limit), rows));
        assert_eq!(
            report.summary().contains(", filtered"),
            rows + report.filtered_bytes > 0,
            "{}",
            report.summary()
        );
        books::balance(&report);
        let last = served.index.record("", &corpus(1).id(limit.min(100) - 1));
        assert!(last.expect("readable").is_some());
    }
}

/// Scenario: of a Parquet file with three row groups the second one is damaged.
/// Guarantees: exit code 4 with file and row group, the other two are loaded, the rows of the second
/// one are unread.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_becomes_unreadable() {
    for workers in [1, 2] {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("corpus.parquet");
        let corpus = corpus(3_000);
        let form = ParquetForm {
            row_group: 1_000,
            ..ParquetForm::default()
        };
        corpus.write_parquet(&input, form).expect("written");
        damage(&input, 1);
        let served = Served::plain().await;
        let report = load(&input, &folder.path().join("run"), &served)
            .with(|settings| settings.workers = workers);
        let report = report.run().await.expect("begun");
        assert_eq!(report.exit_code, ExitCode::Short);
        let message = &report.stop_reason.as_ref().expect("a reason").message;
        assert!(message.contains("corpus.parquet, row group 1"), "{message}");
        assert_eq!((report.records_loaded, report.unread.rows), (2_000, 1_000));
        assert!(
            report.summary().contains("unread 1000"),
            "{}",
            report.summary()
        );
        assert_in_index(&report, &served);
        for number in 0..3_000 {
            let found = served
                .index
                .record("", &corpus.id(number))
                .expect("readable");
            assert_eq!(
                found.is_some(),
                !(1_000..2_000).contains(&number),
                "{number}"
            );
        }
    }
}

/// Overwrites the pages of the vectors of a row group; the footer stays as it is.
fn damage(path: &Path, row_group: usize) {
    let reader = SerializedFileReader::new(File::open(path).expect("there")).expect("Parquet");
    let groups = reader.metadata();
    let chunk = groups.row_group(row_group).column(1);
    assert!(chunk.column_path().string().starts_with("values"));
    let (start, length) = chunk.byte_range();
    let file = File::options().write(true).open(path).expect("writable");
    file.write_all_at(&vec![0xff; length as usize], start)
        .expect("written");
}

/// Scenario: requests of up to 3 MB for a service that takes 2 MB.
/// Guarantees: every record arrives in halves, and after the first answers nothing that large is sent.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_large_are_halved() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.parquet");
    let corpus = Corpus {
        dimension: 768,
        ..corpus(8_000)
    };
    corpus
        .write_parquet(&input, ParquetForm::default())
        .expect("written");
    let served = Served::plain().await;
    let report = load(&input, &folder.path().join("run"), &served).with(|settings| {
        settings.request_bytes = Bytes(3_000_000);
        settings.workers = 1;
        settings.in_flight = 1;
        // Three requests fit; so the cap is lowered before most of the corpus is read.
        settings.memory = Bytes(12_000_000);
    });
    let report = report.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Complete);
    assert_in_index(&report, &served);
    assert_eq!(report.records_loaded, corpus.records);
    let refused = served.index.audit().counts.rejected;
    // What the budget holds may have been sealed before the first answer came.
    assert!(
        (1..=5).contains(&refused),
        "{refused} requests were too large"
    );
}

/// Scenario: the server answers nothing but UNAVAILABLE, and the stall limit is short.
/// Guarantees: exit code 6 with the last failure, nothing booked as loaded.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    corpus(1_000).write_jsonl(&input).expect("written");
    let served = Served::start(Options {
        faults: Faults {
            unavailable: 1.0,
            ..Faults::default()
        },
        ..Options::default()
    })
    .await;
    let report = load(&input, &folder.path().join("run"), &served)
        .with(|settings| settings.max_stall = vecload::Span(Duration::from_millis(700)));
    let report = report.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    let reason = report.stop_reason.clone().expect("a reason");
    assert_eq!(reason.code, "outage");
    assert!(
        reason.message.to_lowercase().contains("unavailable"),
        "{}",
        reason.message
    );
    assert_eq!(
        (report.records_loaded, report.records_remaining),
        (0, 1_000)
    );
    assert_in_index(&report, &served);
}
