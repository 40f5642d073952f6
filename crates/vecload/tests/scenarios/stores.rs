//! Loads from a web server: what comes from it is what comes from disk, or nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vecload::{DuplicatePolicy, ExitCode, Load, LoadBuilder, Report, Status};
use vecload_corpus::{Corpus, ParquetForm};
use vecload_local_index::{Faults, Options};

use crate::books;
use crate::served::Served;
use crate::web::{Then, Trouble, Web};

const RECORDS: u64 = 6_000;

/// The corpus in every form that is read, some of it twice.
fn corpora(folder: &Path) -> Vec<PathBuf> {
    let corpus = Corpus {
        records: RECORDS,
        dimension: 48,
        metadata_bytes: 60,
        namespaces: 0,
        seed: 82,
    };
    let file = |name: &str| folder.join(name);
    let form = ParquetForm {
        row_group: 1_000,
        ..ParquetForm::default()
    };
    corpus
        .write_parquet(&file("a.parquet"), form)
        .expect("written");
    corpus.write_jsonl(&file("b.jsonl")).expect("written");
    let text = std::fs::read(file("b.jsonl")).expect("a file");
    let packed = std::fs::File::create(file("c.jsonl.gz")).expect("a file");
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(&text).expect("written");
    packed.finish().expect("written");
    ["a.parquet", "b.jsonl", "c.jsonl.gz"].map(file).into()
}

fn load(inputs: &[String], run: &Path, served: &Served) -> LoadBuilder {
    Load::builder()
        .inputs(inputs)
        .host(&served.host)
        .run_dir(run)
        .with(|settings| settings.seed = 83)
}

fn put_all(web: &Web, files: &[PathBuf]) -> Vec<String> {
    let put = |file: &PathBuf| web.put(&file.file_name().expect("a name").to_string_lossy(), file);
    files.iter().map(put).collect()
}

/// Loads each input into an index of its own; gives what the books and the digest say.
async fn outcomes(inputs: &[String], folder: &Path) -> Vec<(u64, u64, serde_json::Value)> {
    let mut found = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let served = Served::plain().await;
        let run = folder.join(format!("run-{number}"));
        let report = load(std::slice::from_ref(input), &run, &served)
            .run()
            .await
            .expect("begun");
        assert_eq!(report.exit_code, ExitCode::Complete, "{input}");
        books::balance(&report);
        let report = serde_json::to_value(&report).expect("JSON");
        let mut input = report["inputs"][0].clone();
        for place in ["path", "fingerprint"] {
            input.as_object_mut().expect("an object").remove(place);
        }
        found.push((
            served.index.count(""),
            report["records_read"].as_u64().expect("a number"),
            serde_json::json!([input, report["content_digest"]]),
        ));
    }
    found
}

/// Scenario: the same corpus as Parquet, JSONL and gzipped JSONL, from disk, from a web server, and from one that
/// refuses, breaks off or cuts short 20 % of what it is asked for.
/// Guarantees: the same records are in the index, with equal books and digests.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_from_disk_and_from_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = corpora(folder.path());
    let paths: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let from_disk = outcomes(&paths, &folder.path().join("disk")).await;
    assert!(
        from_disk
            .iter()
            .all(|outcome| (outcome.0, outcome.1) == (RECORDS, RECORDS))
    );
    for (name, share) in [("web", 0.0), ("faulty", 0.2)] {
        let web = Web::start(Trouble {
            share,
            ..Trouble::default()
        })
        .await;
        let urls = put_all(&web, &files);
        let from_web = outcomes(&urls, &folder.path().join(name)).await;
        assert_eq!(from_disk, from_web, "{name}");
    }
}

fn reason(report: &Report) -> (&'static str, String) {
    let reason = report.stop_reason.clone().expect("a reason");
    (reason.code, reason.message)
}

/// A Parquet file of six row groups on a server that does not give the fourth one.
async fn nearly_all(file: &Path, then: Then) -> (Web, String) {
    let web = Web::start(Trouble::default()).await;
    let url = web.put("a.parquet", file);
    web.in_the_middle(Some(then));
    (web, url)
}

fn load_in_order(url: &str, run: &Path, served: &Served) -> LoadBuilder {
    load(&[url.to_owned()], run, served).with(|settings| {
        settings.workers = 1;
        settings.in_flight = 1;
        settings.duplicates = DuplicatePolicy::Any;
    })
}

/// Scenario: a store refuses access in the middle of a load; then the same command again, when it answers.
/// Guarantees: exit code 4 and the object named, with books that balance; the second attempt completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stops_answering() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = corpora(folder.path()).remove(0);
    let (web, url) = nearly_all(&file, Then::Refuse).await;
    let served = Served::plain().await;
    let load = || load_in_order(&url, &folder.path().join("run"), &served);
    let report = load().run().await.expect("begun");
    books::balance(&report);
    let (code, message) = reason(&report);
    assert_eq!((report.exit_code, code), (ExitCode::Short, "unreadable"));
    assert!(message.contains(&url), "{message}");
    assert!(message.contains("refuses access"), "{message}");
    assert!((1..RECORDS).contains(&report.records_loaded));
    assert_eq!(served.index.count(""), report.records_loaded);
    web.in_the_middle(None);
    let report = load().run().await.expect("begun");
    assert_eq!(report.status, Status::Complete);
    assert_eq!(served.index.count(""), RECORDS);
    assert_eq!(report.records_loaded, RECORDS);
}

/// Scenario: an object is written again, with as many bytes, while a slow load reads it; then the same command again.
/// Guarantees: exit code 4 and the object named, and nothing but the first version is in the index; then exit code 3, since
/// it is not the input that the run was begun with.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = Web::start(Trouble::default()).await;
    // Several ranges: what comes after the first ones is read when requests were answered.
    let line = |number: u32, value: &str| {
        let padding = "x".repeat(20_000);
        format!(
            "{{\"id\":\"{number:04}\",\"values\":[1,{value}],\"metadata\":{{\"a\":\"{padding}\"}}}}\n"
        )
    };
    let version = |value: &str| {
        (0..1_000)
            .map(|number| line(number, value))
            .collect::<String>()
    };
    let url = web.put_bytes("corpus.jsonl", version("2").into_bytes());
    let served = Served::start(Options {
        faults: Faults {
            delay: 1.0,
            delay_for: Duration::from_millis(20),
            ..Faults::default()
        },
        ..Options::default()
    })
    .await;
    let run = folder.path().join("run");
    let load = || {
        load(std::slice::from_ref(&url), &run, &served).with(|settings| {
            settings.workers = 1;
            settings.in_flight = 1;
            settings.memory = "5MB".parse().expect("bytes");
            settings.duplicates = DuplicatePolicy::Any;
        })
    };
    let first = load();
    let mut progress = first.progress();
    let writing = async {
        let some = progress.wait_for(|progress| progress.books.loaded > 0);
        some.await.expect("the load goes on");
        web.put_bytes("corpus.jsonl", version("3").into_bytes());
    };
    let (report, ()) = tokio::join!(first.run(), writing);
    let report = report.expect("begun");
    books::balance(&report);
    let (code, message) = reason(&report);
    assert_eq!(
        (report.exit_code, code),
        (ExitCode::Short, "unreadable"),
        "{message}"
    );
    assert!(
        message.contains(&url) && message.contains("written again"),
        "{message}"
    );
    assert!(report.records_loaded > 0);
    let refused = load().run().await.expect_err("another input");
    assert_eq!(refused.exit_code, ExitCode::Refused);
    assert!(refused.to_string().contains(&url), "{refused}");
}

/// Scenario: a load from a store that hangs is interrupted.
/// Guarantees: it ends at once with exit code 6, and the store is not blamed.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_while_a_store_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = corpora(folder.path()).remove(0);
    let (web, url) = nearly_all(&file, Then::Hang).await;
    let served = Served::plain().await;
    let builder = load_in_order(&url, &folder.path().join("run"), &served);
    let stop = builder.stop_handle();
    let running = tokio::spawn(builder.run());
    web.hangs().await;
    stop.interrupt();
    let report = running.await.expect("no panic").expect("begun");
    assert_eq!(
        (report.exit_code, reason(&report).0),
        (ExitCode::Interrupted, "signal")
    );
    books::balance(&report);
}

/// Scenario: a signed URL, by a server that answers nothing but what is signed.
/// Guarantees: it is loaded, and the signature stands in no file of the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = corpora(folder.path());
    let web = Web::start(Trouble::default()).await;
    web.require("signature=sesame");
    let url = web.put("b.jsonl", &files[1]);
    let served = Served::plain().await;
    let run = folder.path().join("run");
    let unsigned = load(std::slice::from_ref(&url), &run, &served).run().await;
    assert_eq!(unsigned.expect_err("refused").exit_code, ExitCode::Refused);
    let signed = format!("{url}?signature=sesame");
    let report = load(&[signed], &run, &served).run().await.expect("begun");
    assert_eq!(report.records_loaded, RECORDS);
    for entry in std::fs::read_dir(&run).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let content = std::fs::read(&path).expect("a file");
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains("sesame"), "{}", path.display());
    }
}
