//! Bad records among good ones: each is found, named and handed back; the others arrive.

mod kinds;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder};
use arrow_array::{ArrayRef, StringArray};
use serde_json::{Value, json};
use vecload::{Bytes, CheckReport, ExitCode, Load, LoadBuilder, Report};
use vecload_corpus::table;
use vecload_local_index::{Faults, Options};

use self::kinds::{Row, broken_lines, good_row, kinds};
use crate::books;
use crate::scenario::dead_letters;
use crate::served::Served;

const GOOD: usize = 10_000;
const DIMENSION: u32 = 4;
/// The server refuses ids that contain it.
const POISON: &str = "poison";

/// The good rows, with a bad one after every so many of them; where the bad ones are.
fn mixed<T: Clone>(good: impl Fn(Row) -> T, bad: &[T]) -> (Vec<T>, Vec<usize>) {
    let every = GOOD / bad.len();
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for number in 0..GOOD {
        rows.push(good(good_row(number)));
        if number % every == 0 && places.len() < bad.len() {
            let bad = bad[places.len()].clone();
            places.push(rows.len());
            rows.push(bad);
        }
    }
    assert_eq!(places.len(), bad.len());
    (rows, places)
}

fn parquet(rows: &[Row]) -> Vec<u8> {
    let texts = |text: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let mut values = ListBuilder::new(Float64Builder::new());
    for row in rows {
        values.append_option(row.values.clone());
    }
    let sparse: Vec<_> = rows.iter().map(|row| row.sparse.clone()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", texts(&|row| row.id.clone())),
        ("values", Arc::new(values.finish())),
        ("sparse_values", table::sparse(&sparse)),
        ("metadata", texts(&|row| row.metadata.clone())),
        ("namespace", texts(&|row| row.namespace.clone())),
    ];
    let properties = parquet::file::properties::WriterProperties::builder();
    let properties = properties.set_max_row_group_row_count(Some(3_000));
    table::parquet(columns, properties.build()).expect("columns")
}

async fn served() -> Served {
    Served::start(Options {
        dimension: Some(DIMENSION),
        faults: Faults {
            refuse_ids_containing: Some(POISON.to_owned()),
            ..Faults::default()
        },
        ..Options::default()
    })
    .await
}

fn builder(input: &Path, served: &Served) -> LoadBuilder {
    Load::builder()
        .input(input.to_str().expect("UTF-8"))
        .host(&served.host)
        // So that metadata within their limit can make a record too large.
        .with(|settings| settings.request_bytes = Bytes(40_000))
}

async fn load(input: &Path, run: &Path, served: &Served) -> Report {
    let report = builder(input, served).run_dir(run).run().await;
    let report = report.expect("begun");
    books::balance(&report);
    report
}

/// The counts of a full check are those of the load, but for what only the server knows.
fn assert_foreseen(checked: &CheckReport, report: &Report) {
    let mut rejects: BTreeMap<&str, u64> = report
        .rejected_by_reason
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    let refused = rejects.remove("refused").unwrap_or(0);
    let foreseen = checked.rejects.iter();
    let foreseen: BTreeMap<&str, u64> = foreseen
        .map(|(reason, rejected)| (*reason, rejected.count))
        .collect();
    assert_eq!(foreseen, rejects);
    assert_eq!(checked.rows, Some(report.records_read));
    assert_eq!(checked.records_good, report.records_loaded + refused);
    assert_eq!(checked.metadata_changes, report.metadata_changes);
    let rows: BTreeMap<&str, u64> = report
        .namespaces
        .iter()
        .map(|(name, namespace)| (name.as_str(), namespace.books.read))
        .collect();
    let largest = checked.largest_namespaces.iter();
    let foreseen: BTreeMap<&str, u64> =
        largest.map(|(name, rows)| (name.as_str(), *rows)).collect();
    assert_eq!(foreseen, rows);
    assert_eq!(checked.namespaces as usize, rows.len());
}

/// Loads an input of which these rows are bad, by their places and with their reasons; then its dead letters as they
/// are, and mended.
async fn find_and_mend(input: &Path, bad: &[(&str, &str)], places: &[u64]) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| folder.path().join(name);
    let served = served().await;
    let checked = builder(input, &served).check(true).await.expect("checked");
    assert_eq!(served.upserts(), 0);
    let report = load(input, &run("run"), &served).await;
    assert_foreseen(&checked, &report);
    assert_eq!(report.exit_code, ExitCode::SomeRejected, "{report:#?}");
    let loaded = GOOD as u64;
    assert_eq!(report.records_loaded, loaded);
    assert_eq!(report.records_rejected, bad.len() as u64);
    assert_eq!(served.index.count(""), loaded);
    for number in 0..GOOD {
        assert_arrived(&served, &good_row(number));
    }

    let letters = dead_letters(&report);
    let by_place: BTreeMap<u64, &Value> = letters
        .iter()
        .map(|letter| {
            let reject = &letter["_reject"];
            assert_eq!(reject["file"], input.to_str().expect("UTF-8"));
            let place = reject["row"].as_u64().or(reject["offset"].as_u64());
            (place.expect("a place"), letter)
        })
        .collect();
    assert_eq!(letters.len(), bad.len());
    assert!(by_place.keys().eq(places), "{:?}", by_place.keys());
    for ((name, reason), letter) in bad.iter().zip(by_place.values()) {
        let reject = &letter["_reject"];
        assert_eq!(reject["reason"], *reason, "{name}: {letter}");
        let words = reject["message"].as_str().expect("words");
        assert!(words.len() > 10, "{name}: {words}");
    }

    // As they are they are refused again, all of them, for the same reasons.
    let again = load(Path::new(rejected_file(&report)), &run("again"), &served).await;
    assert_eq!(again.exit_code, ExitCode::Short, "{again:#?}");
    for letter in dead_letters(&again) {
        let offset = letter["_reject"]["offset"].as_u64().expect("an offset");
        let before = &letters[line_at(rejected_file(&report), offset)];
        let (now, was) = (&letter["_reject"], &before["_reject"]);
        // What could not be told at all has no more than its raw text, which stays.
        assert_eq!(now["raw"], was["raw"]);
        assert_eq!(now["raw_base64"], was["raw_base64"]);
        if was["raw"].is_null() && was["raw_base64"].is_null() {
            assert_eq!(now["reason"], was["reason"], "{before}");
            assert_eq!(field_of(now), field_of(was), "{before}");
        }
    }

    let mended: Vec<Value> = letters.iter().enumerate().map(mend).collect();
    let lines: String = mended.iter().map(|letter| format!("{letter}\n")).collect();
    std::fs::write(rejected_file(&report), lines).expect("written");
    let report = load(Path::new(rejected_file(&report)), &run("mended"), &served).await;
    assert_eq!(
        report.exit_code,
        ExitCode::Complete,
        "{:?}",
        dead_letters(&report)
    );
    assert_eq!(served.index.count(""), loaded + bad.len() as u64);
    for letter in mended {
        let id = letter["id"].as_str().expect("an id");
        let record = served.index.record("", id).expect("readable");
        let record = record.unwrap_or_else(|| panic!("{id} is not there"));
        let values = record.values.iter().map(|value| f64::from(*value));
        assert_eq!(json!(values.collect::<Vec<_>>()), values_of(&letter));
        // What was not the defect is what it was, and `_reject` is ours.
        let fields: Vec<String> = record
            .metadata
            .map_or_else(Vec::new, |metadata| metadata.fields.into_keys().collect());
        let expected = letter["metadata"].as_object();
        let expected: Vec<String> =
            expected.map_or_else(Vec::new, |fields| fields.keys().cloned().collect());
        assert_eq!(fields, expected, "{letter}");
        assert_eq!(
            record.sparse_values.is_some(),
            !letter["sparse_values"].is_null(),
            "{letter}"
        );
    }
}

fn values_of(letter: &Value) -> Value {
    let values = letter["values"].as_array().expect("a vector").iter();
    values.map(|value| json!(value.as_f64())).collect()
}

fn rejected_file(report: &Report) -> &str {
    report.rejected_file.as_deref().expect("dead letters")
}

/// The number of the line that begins at an offset.
fn line_at(file: &str, offset: u64) -> usize {
    let text = std::fs::read(file).expect("readable");
    let before = &text[..offset as usize];
    before.iter().filter(|byte| **byte == b'\n').count()
}

/// The part of the record that a reason names.
fn field_of(reject: &Value) -> Option<&str> {
    reject["field"].as_str()?.split('.').next()
}

/// A dead letter of which the one field is mended that its reason names.
fn mend((number, letter): (usize, &Value)) -> Value {
    let mut mended = letter.clone();
    let id = json!(format!("mended-{number}"));
    let values = json!([3.0, 4.0, 5.0, 6.0]);
    let reject = &letter["_reject"];
    match (reject["reason"].as_str(), field_of(reject)) {
        (Some("refused"), _) | (_, Some("id")) => mended["id"] = id.clone(),
        (Some("record_too_large" | "metadata_too_large"), _) | (_, Some("metadata")) => {
            mended["metadata"] = json!({"mended": true});
        }
        (_, Some("values")) => mended["values"] = values.clone(),
        (_, Some("sparse_values")) => {
            mended["sparse_values"] = json!({"indices": [1], "values": [0.5]});
        }
        (_, Some("namespace")) => mended["namespace"] = json!(""),
        _ => {
            mended["id"] = id.clone();
            mended["values"] = values.clone();
        }
    }
    // A line that could not be told apart is in its reason only.
    for (part, value) in [("id", id), ("values", values)] {
        if mended[part].is_null() {
            mended[part] = value;
        }
    }
    mended
}

/// The index holds that record, bit for bit.
fn assert_arrived(served: &Served, row: &Row) {
    let id = row.id.as_deref().expect("an id");
    let record = served.index.record("", id).expect("readable");
    let record = record.unwrap_or_else(|| panic!("{id} is not there"));
    let values = record.values.iter().map(|value| Some(f64::from(*value)));
    assert_eq!(Some(values.collect()), row.values, "{id}");
    let sparse = record.sparse_values.expect("sparse values");
    let indices = sparse.indices.iter().map(|index| i64::from(*index));
    assert_eq!(Some((indices.collect(), sparse.values)), row.sparse, "{id}");
    assert!(
        record
            .metadata
            .is_some_and(|metadata| metadata.fields.contains_key("n"))
    );
}

/// Scenario: 10,000 good lines of JSONL, and one of each kind of bad line among them: broken lines, each
/// rule broken once, one that only the server refuses; then the dead letters, unmended and mended.
/// Guarantees: a full check counts beforehand what the load counts; exit code 1, every good record arrives bit for bit, every bad one is a dead letter once,
/// with its place and reason; unmended it is refused again for that, mended in the field that the reason
/// names it is loaded with all else that it had.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_line_is_found_and_mended() {
    let lines = kinds()
        .into_iter()
        .map(|(name, reason, row)| (name, reason, row.line().into_bytes()));
    let bad: Vec<_> = lines.chain(broken_lines()).collect();
    let texts: Vec<Vec<u8>> = bad.iter().map(|(.., line)| line.clone()).collect();
    let (rows, places) = mixed(|row| row.line().into_bytes(), &texts);
    let (mut text, mut offsets) = (Vec::new(), Vec::new());
    for row in rows {
        offsets.push(text.len() as u64);
        text.extend(row);
        text.push(b'\n');
    }
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    std::fs::write(&input, text).expect("written");
    let bad: Vec<(&str, &str)> = bad
        .iter()
        .map(|(name, reason, _)| (*name, *reason))
        .collect();
    let places: Vec<u64> = places.iter().map(|place| offsets[*place]).collect();
    find_and_mend(&input, &bad, &places).await;
}

/// Scenario: the same as Parquet of several row groups, with what it can hold of these.
/// Guarantees: the same; a bad row's place is its number in the file.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_row_is_found_and_mended() {
    let bad = kinds();
    let rows: Vec<Row> = bad.iter().map(|(.., row)| row.clone()).collect();
    let (rows, places) = mixed(|row| row, &rows);
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.parquet");
    std::fs::write(&input, parquet(&rows)).expect("written");
    let bad: Vec<(&str, &str)> = bad
        .iter()
        .map(|(name, reason, _)| (*name, *reason))
        .collect();
    let places: Vec<u64> = places.iter().map(|place| *place as u64).collect();
    find_and_mend(&input, &bad, &places).await;
}

/// Scenario: lines whose parts stand under keys of others, flat metadata among them; one has a NaN.
/// Guarantees: its dead letter, mended, is loaded with the metadata that the line had.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_with_other_keys_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let line = |id: u32, last: &str| {
        format!("{{\"_id\":{id},\"embedding\":[1,2,3,{last}],\"title\":\"t{id}\",\"year\":{id}}}\n")
    };
    std::fs::write(&input, line(1, "4") + &line(2, "NaN")).expect("written");
    let served = served().await;
    let report = load(&input, &folder.path().join("run"), &served).await;
    assert_eq!((report.records_loaded, report.records_rejected), (1, 1));
    let letter = &dead_letters(&report)[0];
    assert_eq!(letter["values"], json!([1, 2, 3, "NaN"]));
    assert_eq!(letter["metadata"], json!({"title": "t2", "year": 2}));
    let mended = letter.to_string().replace("\"NaN\"", "4");
    std::fs::write(rejected_file(&report), mended).expect("written");
    let report = load(
        Path::new(rejected_file(&report)),
        &folder.path().join("mended"),
        &served,
    )
    .await;
    assert_eq!(report.exit_code, ExitCode::Complete, "{report:#?}");
    let records = ["1", "2"].map(|id| {
        served
            .index
            .record("", id)
            .expect("readable")
            .expect("there")
    });
    assert_eq!(records[0].values, records[1].values);
    let fields = records.map(|record| {
        record
            .metadata
            .expect("some")
            .fields
            .into_keys()
            .collect::<Vec<_>>()
    });
    assert_eq!(fields, [["title", "year"], ["title", "year"]]);
}
