//! The proof of a load: it finds what was changed in the index, each thing by name, and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use vecload::{
    Bytes, ExitCode, Load, LoadBuilder, Report, Sample, Span, Verdict, Verify, VerifyReport,
};
use vecload_corpus::{Corpus, NAMESPACE_COLUMN, ParquetForm};
use vecload_local_index::Faults;

use crate::served::Served;

/// How many records the test of acceptance loads: 10,000 in CI, 100,000 by the command in
/// `docs/guarantees.md`.
fn records() -> u64 {
    let records = std::env::var("VECLOAD_VERIFY_RECORDS").ok();
    records.map_or(10_000, |records| records.parse().expect("a number"))
}

/// A corpus that was loaded into an index of its own.
struct Loaded {
    corpus: Corpus,
    served: Served,
    report: Report,
    run: PathBuf,
    _folder: TempDir,
}

impl Loaded {
    async fn new(corpus: Corpus, file: &str, served: Served) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, run) = (folder.path().join(file), folder.path().join("run"));
        let form = ParquetForm {
            row_group: 1_000,
            ..ParquetForm::default()
        };
        corpus.write(&input, form).expect("written");
        let report = load(&corpus, &input, &run, &served).run().await;
        Self {
            corpus,
            served,
            report: report.expect("begun"),
            run,
            _folder: folder,
        }
    }

    async fn verify(&self, sample: Sample) -> VerifyReport {
        let settings = vecload::Settings {
            verify_sample: sample,
            seed: 72,
            ..vecload::Settings::default()
        };
        let report = Verify::of(&self.run).settings(settings).run().await;
        report.expect("begun")
    }

    fn namespace(&self, number: u64) -> String {
        self.corpus.namespace(number).unwrap_or_default()
    }
}

fn load(corpus: &Corpus, input: &Path, run: &Path, served: &Served) -> LoadBuilder {
    let namespaces = (corpus.namespaces > 0).then(|| NAMESPACE_COLUMN.to_owned());
    served.load(input, run).with(|settings| {
        settings.namespace_column = namespaces;
        settings.verify = true;
        settings.verify_sample = Sample::All;
        settings.seed = 71;
    })
}

fn corpus(records: u64) -> Corpus {
    Corpus {
        records,
        dimension: 8,
        metadata_bytes: 60,
        namespaces: 3,
        seed: 70,
    }
}

/// What was found: namespace, id, field.
fn found(report: &VerifyReport) -> Vec<String> {
    let differences = report.differences.iter();
    differences
        .map(|difference| {
            let id = difference.id.as_deref().unwrap_or("-");
            format!("{} {id} {}", difference.namespace, difference.field)
        })
        .collect()
}

/// Scenario: a corpus in three namespaces is loaded and verified; then in the index one bit of one float is flipped, one record removed, one metadata value changed, and a record and a namespace added.
/// Guarantees: before, all is verified; after, exactly these five are found, each named, with exit code 7; the report of the run says so.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_found() {
    let loaded = Loaded::new(corpus(records()), "corpus.parquet", Served::plain().await).await;
    let verified = loaded.report.verify.as_ref().expect("verified");
    assert_eq!(verified.verdict, Verdict::Verified, "{verified:?}");
    assert_eq!(loaded.report.exit_code, ExitCode::Complete);
    assert_eq!(verified.records_compared, loaded.corpus.records);
    assert_eq!(
        (verified.namespaces_indexed, verified.namespaces_unknown),
        (3, 0)
    );
    assert!(verified.time_to_indexed_seconds.is_some());

    let index = &loaded.served.index;
    let of = |number: u64| {
        let (namespace, id) = (loaded.namespace(number), loaded.corpus.id(number));
        let record = index.record(&namespace, &id).expect("readable");
        (namespace, record.expect("loaded"))
    };
    let (namespace, mut flipped) = of(4_001);
    flipped.values[5] = f32::from_bits(flipped.values[5].to_bits() ^ 1);
    index.put(&namespace, flipped).await.expect("written");
    let (namespace, missing) = of(9_997);
    index.remove(&namespace, &missing.id).await.expect("gone");
    let (namespace, mut changed) = of(3);
    let metadata = changed.metadata.as_mut().expect("metadata");
    metadata.fields.insert("number".to_owned(), 4.0.into());
    index.put(&namespace, changed).await.expect("written");
    let (_, mut extra) = of(0);
    extra.id = "extra".to_owned();
    index.put("ns00000", extra.clone()).await.expect("written");
    index.put("extra", extra).await.expect("written");

    let report = loaded.verify(Sample::All).await;
    assert_eq!(report.verdict, Verdict::Differs);
    assert_eq!(report.exit_code, ExitCode::Differs);
    assert_eq!(report.records_compared, loaded.corpus.records);
    assert_eq!(
        found(&report),
        [
            "extra - namespace",
            "ns00000 - records",
            "ns00000 extra record",
            "ns00000 r00000003 metadata.number",
            "ns00001 - records",
            "ns00001 r00009997 record",
            "ns00002 r00004001 values[5]",
        ]
    );
    let bits = report.differences.last().expect("the flipped bit");
    assert_ne!(bits.expected, bits.found);
    let source = bits.source.as_ref().expect("a place");
    assert!(source.file.ends_with("corpus.parquet"), "{source:?}");
    assert_eq!(source.row, Some(4_001));
    assert_eq!(report.other_namespaces["extra"], 1);
    let text = std::fs::read(loaded.run.join("report.json")).expect("a report");
    let of_run: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(of_run["verify"]["exit_code"], 7);
    assert_eq!(of_run["verify"]["differences_found"], 7);
    assert_eq!(of_run["records_loaded"], loaded.corpus.records);
}

/// Scenario: a JSONL corpus loaded through faults; samples of all sizes; then one record of 300 differs.
/// Guarantees: as many records are compared as were asked for, the same ones by the same seed; a sample of all finds the difference and names the line.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_has_its_size() {
    let faults = Faults {
        seed: 73,
        unavailable: 0.1,
        apply_without_answer: 0.1,
        ..Faults::default()
    };
    let served = Served::with_faults(faults).await;
    let loaded = Loaded::new(corpus(300), "corpus.jsonl", served).await;
    assert_eq!(loaded.report.exit_code, ExitCode::Complete);
    for (sample, compared) in [
        (Sample::Rows(0), 0),
        (Sample::Rows(17), 17),
        (Sample::Rows(300), 300),
        (Sample::Rows(1000), 300),
    ] {
        let report = loaded.verify(sample).await;
        assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
        assert_eq!((report.records_compared, report.seed), (compared, 72));
    }
    let index = &loaded.served.index;
    let record = index.record("ns00001", "r00000001").expect("readable");
    let mut record = record.expect("loaded");
    record.values[0] = -record.values[0];
    index.put("ns00001", record).await.expect("written");
    let report = loaded.verify(Sample::All).await;
    assert_eq!(found(&report), ["ns00001 r00000001 values[0]"]);
    let source = report.differences[0].source.as_ref().expect("a place");
    assert!(source.offset.is_some_and(|offset| offset > 0), "{source:?}");
}

/// Scenario: a corpus is loaded into namespaces of which one held records before and another, not of the corpus, too.
/// Guarantees: counts are bounded where there were records and exact elsewhere; the other namespace is named and is no difference; records that are there besides are none either.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_counts() {
    let served = Served::plain().await;
    for (namespace, id) in [
        ("ns00000", "r00000000"),
        ("ns00000", "old"),
        ("others", "old"),
    ] {
        let record = serde_json::json!({"id": id, "values": [1, 1, 1, 1, 1, 1, 1, 1]});
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("before.jsonl");
        std::fs::write(&input, record.to_string()).expect("written");
        let before = Load::builder()
            .input(input.to_str().expect("UTF-8"))
            .host(&served.host)
            .namespace(namespace)
            .run_dir(folder.path().join("run"));
        before.run().await.expect("begun");
    }
    let loaded = Loaded::new(corpus(30), "corpus.parquet", served).await;
    let report = loaded.report.verify.as_ref().expect("verified");
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let count = report.namespaces["ns00000"];
    assert_eq!(
        (count.before, count.at_least, count.at_most, count.found),
        (Some(2), 10, Some(12), 11)
    );
    let count = report.namespaces["ns00001"];
    assert_eq!((count.at_least, count.at_most), (10, Some(10)));
    assert_eq!(report.other_namespaces.len(), 1);
    assert_eq!(report.other_namespaces["others"], 1);
}

/// Scenario: a run that is not there, an index that does not answer, an input that has changed.
/// Guarantees: each is refused or times out with its own exit code and words, and nothing is made where there was nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_verified() {
    let loaded = Loaded::new(corpus(30), "corpus.jsonl", Served::plain().await).await;
    let error = Verify::of(loaded.run.join("nowhere")).run().await;
    let error = error.expect_err("no run");
    assert_eq!(error.exit_code, ExitCode::Refused);
    assert!(error.to_string().ends_with("holds no run"), "{error}");
    assert!(std::fs::metadata(loaded.run.join("nowhere")).is_err());

    let settings = vecload::Settings {
        // Nobody listens there.
        host: Some("http://127.0.0.1:1".to_owned()),
        verify_timeout: Span(Duration::from_millis(300)),
        ..vecload::Settings::default()
    };
    let error = Verify::of(&loaded.run).settings(settings).run().await;
    let error = error.expect_err("no answer");
    assert_eq!(error.exit_code, ExitCode::Unverified, "{error}");

    let input = &loaded.report.inputs[0].path;
    let text = std::fs::read_to_string(input).expect("readable");
    std::fs::write(input, text.replacen("0.", "0.0", 1)).expect("written");
    let error = Verify::of(&loaded.run).run().await.expect_err("changed");
    assert_eq!(error.exit_code, ExitCode::Refused);
    let words = error.to_string();
    assert!(words.contains("since the run loaded them"), "{words}");
}

/// Scenario: a run is begun, and continued twice with smaller `--max-page`; it is verified with one that its pages do not fit; then the plan states that one.
/// Guarantees: a verification takes the pages that the load took, the largest of all attempts, and refuses larger ones, whatever its own settings say.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_those_of_the_load() {
    let served = Served::plain().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (input, run) = (folder.path().join("a.parquet"), folder.path().join("run"));
    let corpus = corpus(500);
    let form = ParquetForm::default();
    corpus.write(&input, form).expect("written");
    let attempt = |max_page, limit: Option<Duration>| {
        load(&corpus, &input, &run, &served).with(|settings| {
            settings.max_page = max_page;
            settings.max_duration = limit.map(Span);
            settings.verify = false;
        })
    };
    let (small, large) = (Bytes(900), Bytes(300 << 10));
    let refused = attempt(small, None).run().await.expect_err("large pages");
    assert!(refused.to_string().contains("max_page"), "{refused}");
    // Two attempts that end at once, and one that loads.
    for (max_page, limit) in [
        (large, Some(Duration::from_nanos(1))),
        (Bytes(200 << 10), Some(Duration::from_nanos(1))),
        (Bytes(100 << 10), None),
    ] {
        attempt(max_page, limit).run().await.expect("begun");
    }
    let plan = || {
        let text = std::fs::read(run.join("plan")).expect("a plan");
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")
    };
    assert_eq!(
        plan()["max_page"],
        serde_json::to_value(large).expect("JSON")
    );
    let verify = |max_page| {
        let settings = vecload::Settings {
            max_page,
            ..vecload::Settings::default()
        };
        Verify::of(&run).settings(settings).run()
    };
    let report = verify(small).await.expect("begun");
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(report.records_compared, 500);

    let mut smaller = plan();
    smaller["max_page"] = serde_json::to_value(small).expect("JSON");
    std::fs::write(run.join("plan"), smaller.to_string()).expect("written");
    let refused = verify(large).await.expect_err("large pages");
    assert!(refused.to_string().contains("max_page"), "{refused}");
}

/// Scenario: records are added to two namespaces in pages of ids: two in one and fifteen in the default one, of which one has the id of a record of another namespace and one that of a rejected record.
/// Guarantees: what is named are records that the run did not load, ten of them, beside the counts; of the others it is said how many they are.
#[tokio::test(flavor = "multi_thread")]
async fn extra_records_are_named() {
    let served = Served::plain().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (input, run) = (folder.path().join("a.jsonl"), folder.path().join("run"));
    let mut text = String::new();
    for number in 0..450 {
        let namespace = if number % 2 == 0 { "" } else { "b" };
        let record = serde_json::json!({"id": format!("r{number}"), "values": [1, number], "namespace": namespace});
        text.push_str(&record.to_string());
        text.push('\n');
    }
    text.push_str(r#"{"id":"rejected","values":[1]}"#);
    std::fs::write(&input, text).expect("written");
    let load = served.load(&input, &run);
    let report = load
        .with(|settings| settings.exit_zero_on_rejects = true)
        .run()
        .await
        .expect("begun");
    assert_eq!((report.records_loaded, report.records_rejected), (450, 1));
    let index = &served.index;
    let some = index.record("", "r0").expect("readable").expect("loaded");
    let mut extras: Vec<String> = (0..13).map(|number| format!("extra{number}")).collect();
    extras.extend(["r1".to_owned(), "rejected".to_owned()]);
    for (namespace, id) in extras
        .iter()
        .map(|id| ("", id.as_str()))
        .chain([("b", "r0"), ("b", "x")])
    {
        let mut record = some.clone();
        record.id = id.to_owned();
        index.put(namespace, record).await.expect("written");
    }
    let report = Verify::of(&run).run().await.expect("begun");
    assert_eq!(report.verdict, Verdict::Differs);
    assert_eq!(
        (report.extra_ids_found, &report.extra_ids_unknown),
        (17, &None)
    );
    let is_count = |difference: &&vecload::Difference| difference.field == "records";
    let counts = report.differences.iter().filter(is_count);
    assert_eq!(counts.count(), 2);
    let named: Vec<_> = report
        .differences
        .iter()
        .filter(|difference| difference.field == "record")
        .collect();
    assert_eq!((named.len(), report.differences_found), (10, 12));
    for difference in named {
        let id = difference.id.as_deref().expect("an id");
        let is_extra = match difference.namespace.as_str() {
            "b" => ["r0", "x"].contains(&id),
            "__default__" => extras.iter().any(|extra| extra == id),
            _ => false,
        };
        assert!(is_extra, "{difference:?}");
    }
    let words = report.details();
    let words = words.iter().find(|line| line.starts_with("17 records"));
    assert!(words.is_some(), "{:?}", report.details());
}

/// Scenario: a namespace holds a record too much, in an index that does not list ids.
/// Guarantees: the count differs as before, all records are compared, and it is said why the extra one has no name.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_does_not_list() {
    let served = Served::with_faults(Faults {
        refuse_list: true,
        ..Faults::default()
    });
    let loaded = Loaded::new(corpus(30), "corpus.parquet", served.await).await;
    let index = &loaded.served.index;
    let record = index.record("ns00001", "r00000001").expect("readable");
    let mut record = record.expect("loaded");
    record.id = "extra".to_owned();
    index.put("ns00001", record).await.expect("written");
    let report = loaded.verify(Sample::All).await;
    assert_eq!(report.verdict, Verdict::Differs);
    assert_eq!(found(&report), ["ns00001 - records"]);
    assert_eq!(report.records_compared, 30);
    let why = report.extra_ids_unknown.expect("a reason");
    assert!(why.contains("serverless indexes only"), "{why}");
}

/// Scenario: an index that says it is behind with its last write, and one that does not say how far it is; in the second a record is then changed.
/// Guarantees: the first is not verified in time, exit code 8, with both numbers; the second is verified by its counts, its namespaces stand as unknown, and the change is found.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_behind_or_silent() {
    let behind = Served::with_faults(Faults {
        indexed_behind: 1,
        ..Faults::default()
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let corpus = corpus(30);
    corpus
        .write(&input, ParquetForm::default())
        .expect("written");
    let behind = load(&corpus, &input, &folder.path().join("run"), &behind)
        .with(|settings| settings.verify_timeout = Span(Duration::from_millis(300)));
    let report = behind.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Unverified);
    assert_eq!(report.records_loaded, 30);
    let verified = report.verify.expect("looked at");
    assert_eq!(verified.verdict, Verdict::TimedOut);
    let reason = verified.stop_reason.expect("a reason").message;
    assert!(
        reason.contains("is indexed up to write 0, and the last one is 1"),
        "{reason}"
    );

    let silent = Served::with_faults(Faults {
        hide_indexed: true,
        ..Faults::default()
    });
    let loaded = Loaded::new(corpus, "corpus.parquet", silent.await).await;
    let verified = loaded.report.verify.as_ref().expect("verified");
    assert_eq!(verified.verdict, Verdict::Verified, "{verified:?}");
    assert_eq!(
        (verified.namespaces_indexed, verified.namespaces_unknown),
        (0, 3)
    );
    let index = &loaded.served.index;
    let record = index.record("ns00002", "r00000005").expect("readable");
    let mut record = record.expect("loaded");
    record.metadata = None;
    index.put("ns00002", record).await.expect("written");
    let report = loaded.verify(Sample::All).await;
    assert_eq!(
        found(&report),
        [
            "ns00002 r00000005 metadata.number",
            "ns00002 r00000005 metadata.text"
        ]
    );
}

/// Scenario: one corpus loaded at once; in other requests by other workers through faults; interrupted and continued; as JSONL; then another corpus.
/// Guarantees: the content digest is the same for the same records, whatever the order, the requests and the attempts, and another one for others.
#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_of_the_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = corpus(2_000);
    let input = folder.path().join("corpus.parquet");
    let form = ParquetForm {
        row_group: 100,
        ..ParquetForm::default()
    };
    corpus.write(&input, form).expect("written");
    let run = |name: &str| folder.path().join(name);
    // Servers end with their values.
    let plain = [
        Served::plain().await,
        Served::plain().await,
        Served::plain().await,
    ];
    let at_once = load(&corpus, &input, &run("1"), &plain[0]);
    let at_once = at_once.run().await.expect("begun");
    assert_eq!(at_once.content_digest.len(), 32);

    let faulty = Served::with_faults(Faults {
        seed: 74,
        unavailable: 0.1,
        apply_without_answer: 0.1,
        ..Faults::default()
    })
    .await;
    let otherwise = load(&corpus, &input, &run("2"), &faulty).with(|settings| {
        settings.workers = 3;
        settings.request_records = 7;
    });
    let otherwise = otherwise.run().await.expect("begun");
    assert_eq!(otherwise.exit_code, ExitCode::Complete);
    assert_eq!(otherwise.content_digest, at_once.content_digest);

    let slow = Served::with_faults(Faults {
        delay: 1.0,
        delay_for: Duration::from_millis(5),
        ..Faults::default()
    })
    .await;
    let first = load(&corpus, &input, &run("3"), &slow).with(|settings| {
        settings.in_flight = 2;
        settings.request_records = 5;
    });
    let (stop, mut progress) = (first.stop_handle(), first.progress());
    let interrupting = tokio::spawn(async move {
        let some = progress.wait_for(|progress| progress.books.loaded > 0);
        some.await.expect("the load goes on");
        stop.interrupt();
    });
    let first = first.run().await.expect("begun");
    interrupting.await.expect("no panic");
    assert_eq!(first.exit_code, ExitCode::Interrupted);
    assert_ne!(first.content_digest, at_once.content_digest);
    let continued = load(&corpus, &input, &run("3"), &slow).run().await;
    let continued = continued.expect("continued");
    assert_eq!(continued.attempts_of_run, 2);
    assert_eq!(continued.content_digest, at_once.content_digest);

    let lines = folder.path().join("corpus.jsonl");
    corpus.write(&lines, form).expect("written");
    let as_jsonl = load(&corpus, &lines, &run("4"), &plain[1]);
    let as_jsonl = as_jsonl.run().await.expect("begun");
    assert_eq!(as_jsonl.content_digest, at_once.content_digest);
    let other = Corpus { seed: 75, ..corpus };
    other.write(&lines, form).expect("written");
    let other = load(&other, &lines, &run("5"), &plain[2]);
    let other = other.run().await.expect("begun");
    assert_ne!(other.content_digest, at_once.content_digest);
}

/// Scenario: records of which every third has the id of an earlier one, loaded and verified; then the same with `--duplicates any`, and with the file of duplicates gone.
/// Guarantees: the last record of each id is compared and no other, and the counts are exact; where duplicates were not looked for the counts are bounds; where it is not known any more, nothing is claimed.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_record_of_an_id_is_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let line = |number: u32| {
        let id = if number.is_multiple_of(3) {
            number / 3
        } else {
            number
        };
        format!("{{\"id\":\"r{id}\",\"values\":[{number},1]}}\n")
    };
    let ids: std::collections::BTreeSet<u32> = (0..90)
        .map(|number: u32| {
            if number.is_multiple_of(3) {
                number / 3
            } else {
                number
            }
        })
        .collect();
    std::fs::write(&input, (0..90).map(line).collect::<String>()).expect("written");
    let served = Served::plain().await;
    let run = folder.path().join("run");
    let corpus = Corpus {
        namespaces: 0,
        ..corpus(90)
    };
    let report = load(&corpus, &input, &run, &served)
        .run()
        .await
        .expect("begun");
    let verified = report.verify.as_ref().expect("verified");
    assert_eq!(verified.verdict, Verdict::Verified, "{verified:?}");
    let distinct = ids.len() as u64;
    assert_eq!(verified.records_compared, distinct);
    assert_eq!(report.records_superseded, 90 - distinct);
    let count = verified.namespaces["__default__"];
    assert_eq!((count.at_least, count.at_most), (distinct, Some(distinct)));

    std::fs::remove_file(run.join("prescan")).expect("gone");
    let error = Verify::of(&run).run().await.expect_err("not known");
    assert_eq!(error.exit_code, ExitCode::Refused);
    assert!(error.to_string().contains("superseded"), "{error}");

    let served = Served::plain().await;
    let vouched = load(&corpus, &input, &folder.path().join("2"), &served)
        .with(|settings| settings.duplicates = vecload::DuplicatePolicy::Any);
    let report = vouched.run().await.expect("begun");
    let verified = report.verify.as_ref().expect("verified");
    let count = verified.namespaces["__default__"];
    assert_eq!(
        (count.loaded, count.at_least, count.at_most, count.found),
        (90, 1, Some(90), distinct)
    );
}
