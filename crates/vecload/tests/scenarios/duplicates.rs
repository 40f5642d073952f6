//! Ids that occur again (INV-8): the last row in the order of the inputs counts, whatever happens on the way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use vecload::{DuplicatePolicy, ExitCode, Load, LoadBuilder, OnInputChange, Report};
use vecload_local_index::Faults;

use crate::books;
use crate::scenario::dead_letters;
use crate::served::Served;

/// A row: its namespace, its id, and the first value of its vector; 0 makes the row one that is rejected.
#[derive(Debug, Clone)]
struct Row(&'static str, String, f32);

/// What is to become of rows.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// By namespace and id the value that is in the index.
    loaded: BTreeMap<(&'static str, String), f32>,
    superseded: u64,
    /// Of each id whose last row is rejected, how many rows that one supersedes.
    rejected: BTreeMap<(&'static str, String), u64>,
}

fn row(namespace: &'static str, id: u64, value: f32) -> Row {
    Row(namespace, id.to_string(), value)
}

/// What must become of rows in the order of the inputs, under the policy `last`.
fn expected<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Outcome {
    let mut last: BTreeMap<(&'static str, String), (f32, u64)> = BTreeMap::new();
    for Row(namespace, id, value) in rows {
        let namespace = if *namespace == "__default__" {
            ""
        } else {
            namespace
        };
        let seen = last.entry((namespace, id.clone())).or_insert((0.0, 0));
        *seen = (*value, seen.1 + 1);
    }
    let mut outcome = Outcome::default();
    for (key, (value, times)) in last {
        outcome.superseded += times - 1;
        if value == 0.0 {
            outcome.rejected.insert(key, times - 1);
        } else {
            outcome.loaded.insert(key, value);
        }
    }
    outcome
}

fn jsonl(rows: &[Row]) -> String {
    let mut text = String::new();
    for Row(namespace, id, value) in rows {
        let _ = writeln!(
            text,
            "{{\"values\":[{value},0],\"namespace\":\"{namespace}\",\"id\":\"{id}\",\"extra\":[1]}}"
        );
    }
    text
}

fn write_parquet(path: &Path, rows: &[Row]) {
    let mut values = ListBuilder::new(Float32Builder::new());
    for Row(_, _, value) in rows {
        values.append_value([Some(*value), Some(0.0)]);
    }
    let ids = StringArray::from_iter_values(rows.iter().map(|row| &row.1));
    let namespaces = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("values", Arc::new(values.finish())),
        ("namespace", Arc::new(namespaces)),
    ])
    .expect("a batch");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(7));
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build()));
    let writer = writer.as_mut().expect("a writer");
    writer.write(&batch).expect("written");
    writer.finish().expect("written");
}

struct Desk {
    folder: TempDir,
    served: Served,
}

impl Desk {
    async fn new(faults: Faults) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            served: Served::with_faults(faults).await,
        }
    }

    fn write(&self, name: &str, rows: &[Row]) {
        let path = self.folder.path().join(name);
        match name.ends_with(".parquet") {
            true => write_parquet(&path, rows),
            false => std::fs::write(path, jsonl(rows)).expect("written"),
        }
    }

    fn load(&self, inputs: &[&str]) -> LoadBuilder {
        let path = |name: &&str| self.folder.path().join(name).display().to_string();
        Load::builder()
            .inputs(inputs.iter().map(path))
            .host(&self.served.host)
            .run_dir(self.folder.path().join("run"))
            .with(|settings| {
                settings.workers = 3;
                settings.request_records = 3;
                settings.seed = 5;
            })
    }

    fn has(&self, name: &str) -> bool {
        let path = self.folder.path().join(name);
        path.try_exists().expect("a folder")
    }

    fn prescan(&self) -> std::path::PathBuf {
        self.folder.path().join("run/prescan")
    }

    /// The books and the index hold what they must, and no superseded row was ever sent.
    fn assert_outcome(&self, report: &Report, outcome: &Outcome) {
        books::balance(report);
        assert_eq!(report.records_loaded, outcome.loaded.len() as u64);
        assert_eq!(report.records_superseded, outcome.superseded);
        assert_eq!(report.records_rejected, outcome.rejected.len() as u64);
        let supersede = |supersedes: &&u64| **supersedes > 0;
        let without = outcome.rejected.values().filter(supersede).count();
        assert_eq!(report.ids_without_version, without as u64);
        for letter in dead_letters(report) {
            let namespace = letter["namespace"].as_str().expect("a name");
            let namespace = if namespace == "__default__" {
                ""
            } else {
                namespace
            };
            let id = letter["id"].as_str().expect("an id");
            let mut all = outcome.rejected.iter();
            let found = all.find(|((n, i), _)| *n == namespace && i == id);
            let supersedes = letter["_reject"]["supersedes"].as_u64().unwrap_or(0);
            assert_eq!(found.map(|found| *found.1), Some(supersedes), "{letter}");
        }
        self.assert_index(outcome);
    }

    fn assert_index(&self, outcome: &Outcome) {
        let index = &self.served.index;
        let names = index.namespaces();
        let stored: u64 = names.iter().map(|name| index.count(name)).sum();
        assert_eq!(stored, outcome.loaded.len() as u64);
        for ((namespace, id), value) in &outcome.loaded {
            let record = index.record(namespace, id).expect("readable");
            let record = record.unwrap_or_else(|| panic!("{namespace:?} {id} is not there"));
            assert_eq!(record.values[0], *value, "{namespace:?} {id}");
        }
    }
}

/// Rows in which most ids occur several times, within a file and over files, in three namespaces of
/// which two are one; the last row of some ids is a bad one.
fn strewn(seed: u64, count: u64) -> Vec<Row> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|number| {
            let namespace = ["", "__default__", "films"][random.random_range(0..3)];
            let value = match random.random_bool(0.06) {
                true => 0.0,
                false => (seed * 1000 + number + 1) as f32,
            };
            row(namespace, random.random_range(0..40), value)
        })
        .collect()
}

/// Scenario: two JSONL files and a Parquet file with duplicates of every kind (within a file, over files and
/// row groups, in other namespaces, `""` and `__default__`), several workers, requests that are reset, refused
/// and applied without an answer; a full check before the load.
/// Guarantees: the index ends with the last row of each id in the order in which the inputs were given, an id
/// whose last row is bad is not there, its dead letter says how many rows it superseded, the superseded rows were
/// never sent, and the check counted what the load counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_row_counts() {
    let desk = Desk::new(Faults {
        seed: 8,
        refuse: 0.1,
        reset: 0.1,
        apply_without_answer: 0.1,
        delay: 0.3,
        delay_for: Duration::from_millis(5),
        ..Faults::default()
    })
    .await;
    let inputs = ["z.jsonl", "m.parquet", "a.jsonl"];
    let rows = [strewn(1, 60), strewn(2, 50), strewn(3, 45)];
    for (name, rows) in inputs.iter().zip(&rows) {
        desk.write(name, rows);
    }
    let outcome = expected(rows.iter().flatten());
    assert!(
        outcome.superseded > 50 && outcome.loaded.len() > 50,
        "{outcome:?}"
    );
    assert!(outcome.rejected.values().any(|supersedes| *supersedes > 0));
    let checked = desk.load(&inputs).check(true).await.expect("checked");
    let report = desk.load(&inputs).run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::SomeRejected);
    desk.assert_outcome(&report, &outcome);
    let audit = desk.served.index.audit();
    let ids: usize = audit.writes.values().map(BTreeMap::len).sum();
    assert_eq!(ids, outcome.loaded.len());

    assert_eq!(checked.records_good, report.records_loaded);
    assert_eq!(checked.records_superseded, Some(report.records_superseded));
    assert_eq!(
        checked.ids_without_version,
        Some(report.ids_without_version)
    );
    assert_eq!(checked.rejected(), report.records_rejected);
    assert_eq!(checked.rows, Some(report.records_read));
    assert_eq!(checked.namespaces as usize, report.namespaces.len());
    assert!(
        checked.prescan_bytes > 0
            && checked.prescan_bytes < checked.inputs.iter().map(|input| input.bytes).sum()
    );
    let quick = desk.load(&inputs).check(false).await.expect("checked");
    assert_eq!(
        (quick.records_superseded, quick.prescan_bytes),
        (None, checked.prescan_bytes)
    );
}

/// Scenario: the same rows with `--duplicates reject`, checked and loaded.
/// Guarantees: the last rows are loaded as before, every other one is a dead letter with the reason
/// `duplicate_id` and all its content; nothing counts as superseded.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_rejected_on_request() {
    let desk = Desk::new(Faults::default()).await;
    let rows = strewn(4, 120);
    desk.write("a.jsonl", &rows);
    let outcome = expected(&rows);
    let load = || {
        desk.load(&["a.jsonl"])
            .with(|settings| settings.duplicates = DuplicatePolicy::Reject)
    };
    let checked = load().check(true).await.expect("checked");
    let report = load().run().await.expect("begun");
    books::balance(&report);
    desk.assert_index(&outcome);
    let by_reason = &report.rejected_by_reason;
    assert_eq!(by_reason["duplicate_id"], outcome.superseded);
    assert_eq!(by_reason["all_zero"], outcome.rejected.len() as u64);
    assert_eq!(report.records_superseded, 0);
    let letters = dead_letters(&report);
    let duplicates: Vec<_> = letters
        .iter()
        .filter(|letter| letter["_reject"]["reason"] == "duplicate_id")
        .collect();
    assert_eq!(duplicates.len() as u64, outcome.superseded);
    assert!(duplicates.iter().all(|letter| letter["values"].is_array()));
    for (reason, count) in by_reason {
        assert_eq!(checked.rejects[reason.as_str()].count, *count, "{reason}");
    }
    assert_eq!(checked.records_superseded, Some(0));
    assert_eq!(
        checked.ids_without_version,
        Some(report.ids_without_version)
    );
}

/// Scenario: rows with duplicates and `--duplicates any`.
/// Guarantees: nothing is looked for, every good row is sent, and memory for it is not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn any_row_counts_on_request() {
    let desk = Desk::new(Faults::default()).await;
    let rows: Vec<Row> = (0..50)
        .map(|number| row("", number % 10, number as f32 + 1.0))
        .collect();
    desk.write("a.jsonl", &rows);
    let bound = |policy| {
        desk.load(&["a.jsonl"])
            .with(|settings| settings.duplicates = policy)
            .check(true)
    };
    let last = bound(DuplicatePolicy::Last).await.expect("checked");
    let any = bound(DuplicatePolicy::Any).await.expect("checked");
    assert_eq!((last.records_good, any.records_good), (10, 50));
    assert_eq!((any.records_superseded, any.prescan_bytes), (None, 0));
    let memory = last.estimate.memory_bound_bytes - any.estimate.memory_bound_bytes;
    assert_eq!(memory, 32 << 20);
    let report = desk
        .load(&["a.jsonl"])
        .with(|settings| settings.duplicates = DuplicatePolicy::Any)
        .run()
        .await
        .expect("begun");
    books::balance(&report);
    assert_eq!((report.records_loaded, report.records_superseded), (50, 0));
    assert!(!desk.has("run/prescan"));
}

/// Scenario: a load stops at too many rejects; it is continued three times: as it is, with a damaged file of
/// duplicates, and without one.
/// Guarantees: what was found is used again while it is whole, and found again where it is not; the outcome is the
/// same, and the books are those of all attempts.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_kept_with_the_run() {
    for damage in ["none", "flipped", "gone"] {
        let desk = Desk::new(Faults::default()).await;
        let rows = strewn(6, 300);
        desk.write("a.jsonl", &rows);
        let outcome = expected(&rows);
        let load = |most| {
            desk.load(&["a.jsonl"]).with(|settings| {
                settings.workers = 1;
                settings.max_rejects = vecload::MaxRejects::Count(most);
            })
        };
        let first = load(0).run().await.expect("begun");
        assert_eq!(first.exit_code, ExitCode::Short);
        let found = std::fs::read(desk.prescan()).expect("kept");
        match damage {
            "flipped" => {
                let mut flipped = found.clone();
                flipped[15] ^= 4;
                std::fs::write(desk.prescan(), flipped).expect("written");
            }
            "gone" => std::fs::remove_file(desk.prescan()).expect("removed"),
            _ => {}
        }
        let second = load(1000).run().await.expect("continued");
        assert_eq!(second.attempts_of_run, 2);
        desk.assert_outcome(&second, &outcome);
        // The same verdicts whatever the key of the hashes was.
        assert_eq!(
            std::fs::read(desk.prescan()).expect("kept"),
            found,
            "{damage}"
        );
    }
}

/// Scenario: of two inputs the second one, whose rows superseded rows of the first one, is written again with
/// other ids after the load; it is read from its beginning with leave.
/// Guarantees: the rows of the first input that nothing supersedes any more are loaded now; the books balance.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_input_frees_what_it_superseded() {
    let desk = Desk::new(Faults::default()).await;
    let old: Vec<Row> = (0..20)
        .map(|id| row("films", id, id as f32 + 1.0))
        .collect();
    let first: Vec<Row> = (10..20).map(|id| row("films", id, 100.0)).collect();
    let second: Vec<Row> = (15..25).map(|id| row("films", id, 200.0)).collect();
    desk.write("a.jsonl", &old);
    desk.write("b.jsonl", &first);
    let inputs = ["a.jsonl", "b.jsonl"];
    let report = desk.load(&inputs).run().await.expect("begun");
    desk.assert_outcome(&report, &expected(old.iter().chain(&first)));
    desk.write("b.jsonl", &second);
    let report = desk
        .load(&inputs)
        .with(|settings| settings.on_input_change = OnInputChange::RestartFile)
        .run()
        .await
        .expect("continued");
    books::balance(&report);
    desk.assert_index(&expected(old.iter().chain(&second)));
    // 10 and 10 before; 5 of the first input now, and all of the new second one.
    assert_eq!((report.records_loaded, report.records_superseded), (35, 5));

    let reject = desk
        .load(&inputs)
        .run_dir(desk.folder.path().join("other"))
        .with(|settings| settings.duplicates = DuplicatePolicy::Reject);
    reject.run().await.expect("begun");
    desk.write("b.jsonl", &first);
    let refused = desk
        .load(&inputs)
        .run_dir(desk.folder.path().join("other"))
        .with(|settings| {
            settings.duplicates = DuplicatePolicy::Reject;
            settings.on_input_change = OnInputChange::RestartFile;
        });
    let refused = refused.run().await.expect_err("refused").to_string();
    assert!(refused.contains("rejected as duplicates"), "{refused}");
}

/// Scenario: the scratch directory is a file; an input becomes unreadable in its ids.
/// Guarantees: exit code 3 with the place, nothing is sent, and nothing is left of the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_fails_refuses_the_load() {
    let desk = Desk::new(Faults::default()).await;
    desk.write("a.parquet", &strewn(7, 100));
    let path = desk.folder.path().join("a.parquet");
    let refused = desk
        .load(&["a.parquet"])
        .with(|settings| settings.scratch_dir = Some(path.clone()));
    let refused = refused.run().await.expect_err("refused");
    assert_eq!(refused.exit_code, ExitCode::Refused);
    assert!(refused.to_string().contains("a.parquet"), "{refused}");

    let mut bytes = std::fs::read(&path).expect("readable");
    // The pages of the first row groups; the footer and the last ones stay.
    let half = bytes.len() / 2;
    let first_column = 4..half.min(2000);
    bytes[first_column].fill(0xff);
    std::fs::write(&path, bytes).expect("written");
    let refused = desk.load(&["a.parquet"]).run().await.expect_err("refused");
    assert_eq!(refused.exit_code, ExitCode::Refused);
    assert!(refused.to_string().contains("row group"), "{refused}");
    assert_eq!(desk.served.upserts(), 0);
    assert!(!desk.has("run"));
}

/// Scenario: a load is interrupted before it has begun to look for duplicates; then it is run again.
/// Guarantees: exit code 6 and nothing sent; the second one loads everything.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_before_the_search() {
    let desk = Desk::new(Faults::default()).await;
    let rows = strewn(9, 50);
    desk.write("a.jsonl", &rows);
    let load = desk.load(&["a.jsonl"]);
    load.stop_handle().interrupt();
    let report = load.run().await.expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_eq!(desk.served.upserts(), 0);
    assert!(!desk.has("run/prescan"));
    let report = desk.load(&["a.jsonl"]).run().await.expect("continued");
    desk.assert_outcome(&report, &expected(&rows));
}

/// Scenario: duplicates, and a service that applies one request in five only after its client has given up and, mostly,
/// sent it again.
/// Guarantees: when the last late write has come the index holds the last row of each id, and no other row ever was in
/// it, so that a write that comes late changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn late_writes_do_not_bring_back_earlier_rows() {
    let desk = Desk::new(Faults {
        seed: 10,
        apply_late: 0.2,
        late_for: Duration::from_millis(300),
        ..Faults::default()
    })
    .await;
    let rows = strewn(10, 400);
    desk.write("a.jsonl", &rows);
    let report = desk.load(&["a.jsonl"]).run().await.expect("begun");
    let counts = || desk.served.index.audit().counts;
    assert!(counts().put_off > 0, "{:?}", counts());
    while counts().applied_late < counts().put_off {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    desk.assert_outcome(&report, &expected(&rows));
}

/// Scenario: a load whose time is over before it has looked for duplicates.
/// Guarantees: exit code 6 with the limit; nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_search_counts_as_time() {
    let desk = Desk::new(Faults::default()).await;
    desk.write("a.jsonl", &strewn(11, 50));
    let report = desk
        .load(&["a.jsonl"])
        .with(|settings| settings.max_duration = "1ms".parse().ok())
        .run()
        .await
        .expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    assert_eq!(report.stop_reason.expect("a reason").code, "max_duration");
    assert_eq!(desk.served.upserts(), 0);
}
