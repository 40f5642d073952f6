//! Bad records among good ones: each is found, named and handed back; the others arrive.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder};
use arrow_array::{ArrayRef, StringArray};
use serde_json::{Value, json};
use vecload::{Bytes, ExitCode, Load, Report};
use vecload_corpus::table;
use vecload_local_index::{Faults, Options};

use crate::books;
use crate::scenario::dead_letters;
use crate::served::Served;

const GOOD: usize = 10_000;
const DIMENSION: u32 = 4;
/// The server refuses ids that contain it.
const POISON: &str = "poison";

/// A record as both formats can have it.
#[derive(Debug, Clone)]
struct Row {
    id: Option<String>,
    values: Option<Vec<Option<f64>>>,
    sparse: Option<(Vec<i64>, Vec<f32>)>,
    /// JSON text.
    metadata: Option<String>,
    namespace: Option<String>,
}

/// A defect: its name, the reason it is rejected for, and a record that has it and no other.
type Kind = (&'static str, &'static str, Row);

impl Row {
    fn good(id: impl Into<String>) -> Self {
        Self {
            id: Some(id.into()),
            values: Some([1.0, 2.0, -0.5, 0.25].map(Some).to_vec()),
            sparse: Some((vec![7, 3], vec![0.5, -1.5])),
            metadata: Some("{\"whole\":true}".to_owned()),
            namespace: None,
        }
    }

    /// The record as a line of JSONL, as Python would write it.
    fn line(&self) -> String {
        let number = |value: f64| match value {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() => "Infinity".to_owned(),
            value => format!("{value:?}"),
        };
        let list = |values: Vec<String>| format!("[{}]", values.join(","));
        let values = self.values.as_ref().map(|values| {
            let values = values.iter();
            list(
                values
                    .map(|value| value.map_or_else(|| "null".to_owned(), number))
                    .collect(),
            )
        });
        let sparse = self.sparse.as_ref().map(|(indices, values)| {
            let values = values.iter().map(|value| number(f64::from(*value)));
            let values = list(values.collect());
            format!("{{\"indices\":{indices:?},\"values\":{values}}}")
        });
        let fields = [
            ("id", self.id.as_ref().map(|id| json!(id).to_string())),
            ("values", values),
            ("sparse_values", sparse),
            ("metadata", self.metadata.clone()),
            (
                "namespace",
                self.namespace.as_ref().map(|name| json!(name).to_string()),
            ),
        ];
        let fields: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, text)| Some(format!("\"{name}\":{}", text?)))
            .collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// One record of every defect that both formats can have.
fn kinds() -> Vec<Kind> {
    let good = |name: &str| Row::good(format!("bad-{name}"));
    let id = |id: Option<&str>| Row {
        id: id.map(str::to_owned),
        ..good("")
    };
    let values = |name: &str, values: Vec<f64>| Row {
        values: Some(values.into_iter().map(Some).collect()),
        ..good(name)
    };
    let sparse = |name: &str, indices: Vec<i64>, values: Vec<f32>| Row {
        sparse: Some((indices, values)),
        ..good(name)
    };
    let metadata = |name: &str, text: &str| Row {
        metadata: Some(text.to_owned()),
        ..good(name)
    };
    let text = |length: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(length));
    let names = |name: &str| Row {
        namespace: Some(name.to_owned()),
        ..good(&format!("namespace-{}", name.len()))
    };
    let without = |name: &str| Row {
        values: None,
        sparse: None,
        ..good(name)
    };
    let null_value = Row {
        values: Some(vec![Some(1.0), None, Some(2.0), Some(3.0)]),
        ..good("null-value")
    };
    vec![
        ("id-null", "missing_id", id(None)),
        ("id-empty", "missing_id", id(Some(""))),
        ("id-long", "invalid_id", id(Some(&"x".repeat(513)))),
        ("id-not-ascii", "invalid_id", id(Some("käse"))),
        ("id-nul", "invalid_id", id(Some("a\0b"))),
        ("no-vector", "missing_vector", without("no-vector")),
        (
            "empty-vector",
            "missing_vector",
            values("empty-vector", vec![]),
        ),
        ("short", "wrong_dimension", values("short", vec![1.0; 3])),
        (
            "20001",
            "wrong_dimension",
            values("20001", vec![1.0; 20_001]),
        ),
        ("null-value", "malformed", null_value),
        (
            "nan",
            "not_finite",
            values("nan", vec![1.0, f64::NAN, 1.0, 1.0]),
        ),
        (
            "infinite",
            "not_finite",
            values("infinite", vec![f64::INFINITY; 4]),
        ),
        (
            "beyond-f32",
            "not_finite",
            values("beyond-f32", vec![1.0, 1.0, -3.5e38, 1.0]),
        ),
        ("zeros", "all_zero", values("zeros", vec![0.0; 4])),
        (
            "tiny",
            "all_zero",
            values("tiny", vec![9e-9, -9e-9, 0.0, 1e-40]),
        ),
        (
            "sparse-lengths",
            "invalid_sparse",
            sparse("sparse-lengths", vec![1, 2], vec![0.5]),
        ),
        (
            "sparse-empty",
            "invalid_sparse",
            sparse("sparse-empty", vec![], vec![]),
        ),
        (
            "sparse-2049",
            "invalid_sparse",
            sparse("sparse-2049", (0..2_049).collect(), vec![0.5; 2_049]),
        ),
        (
            "sparse-u32",
            "invalid_sparse",
            sparse("sparse-u32", vec![1 << 32], vec![0.5]),
        ),
        (
            "sparse-below",
            "invalid_sparse",
            sparse("sparse-below", vec![-1], vec![0.5]),
        ),
        (
            "sparse-twice",
            "invalid_sparse",
            sparse("sparse-twice", vec![5, 3, 5], vec![0.5; 3]),
        ),
        (
            "sparse-nan",
            "not_finite",
            sparse("sparse-nan", vec![5], vec![f32::NAN]),
        ),
        (
            "nested",
            "invalid_metadata",
            metadata("nested", "{\"a\":{\"b\":1}}"),
        ),
        (
            "numbers",
            "invalid_metadata",
            metadata("numbers", "{\"a\":[1,2]}"),
        ),
        (
            "null-in-list",
            "invalid_metadata",
            metadata("null-in-list", "{\"a\":[\"x\",null]}"),
        ),
        (
            "dollar",
            "invalid_metadata",
            metadata("dollar", "{\"$a\":1}"),
        ),
        (
            "key-twice",
            "invalid_metadata",
            metadata("key-twice", "{\"a\":1,\"a\":1}"),
        ),
        (
            "metadata-nan",
            "invalid_metadata",
            metadata("metadata-nan", "{\"a\":NaN}"),
        ),
        (
            "metadata-1e999",
            "invalid_metadata",
            metadata("metadata-1e999", "{\"a\":1e999}"),
        ),
        (
            "no-object",
            "invalid_metadata",
            metadata("no-object", "[\"a\"]"),
        ),
        (
            "metadata-large",
            "metadata_too_large",
            metadata("metadata-large", &text(40_960)),
        ),
        (
            "record-large",
            "record_too_large",
            metadata("record-large", &text(40_000)),
        ),
        (
            "namespace-long",
            "invalid_namespace",
            names(&"x".repeat(513)),
        ),
        ("namespace-not-ascii", "invalid_namespace", names("käse")),
        ("refused", "refused", good(&format!("{POISON}-pill"))),
    ]
}

/// Lines that only JSONL can have.
fn broken_lines() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let line = |text: &str| text.as_bytes().to_vec();
    vec![
        ("cut", "malformed", line("{\"id\":\"cut\",\"values\":[1,2")),
        ("no-json", "malformed", line("no JSON at all")),
        ("no-record", "malformed", line("[1,2]")),
        ("nothing", "missing_id", line("{}")),
        (
            "id-number",
            "malformed",
            line("{\"id\":1.5,\"values\":[1,2,3,4]}"),
        ),
        (
            "id-twice",
            "malformed",
            line("{\"id\":\"a\",\"id\":\"b\",\"values\":[1,2,3,4]}"),
        ),
        (
            "texts",
            "malformed",
            line("{\"id\":\"texts\",\"values\":[\"1\",2,3,4]}"),
        ),
        (
            "1e999",
            "not_finite",
            line("{\"id\":\"1e999\",\"values\":[1e999,2,3,4]}"),
        ),
        (
            "utf-8",
            "malformed",
            b"{\"id\":\"\xff\",\"values\":[1,2,3,4]}".to_vec(),
        ),
        ("long", "line_too_long", vec![b'x'; (8 << 20) + 1]),
    ]
}

fn good_row(number: usize) -> Row {
    Row {
        metadata: Some(format!("{{\"n\":{number}}}")),
        ..Row::good(format!("good-{number}"))
    }
}

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

async fn load(input: &Path, run: &Path, served: &Served) -> Report {
    let report = Load::builder()
        .input(input.to_str().expect("UTF-8"))
        .host(&served.host)
        .run_dir(run)
        // So that metadata within their limit can make a record too large.
        .with(|settings| settings.request_bytes = Bytes(40_000))
        .run()
        .await
        .expect("begun");
    books::balance(&report);
    report
}

/// Loads an input of which these rows are bad, by their places and with their reasons; then its dead letters as they
/// are, and mended.
async fn find_and_mend(input: &Path, bad: &[(&str, &str)], places: &[u64]) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str| folder.path().join(name);
    let served = served().await;
    let report = load(input, &run("run"), &served).await;
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
        // What could not be told at all has no more than its raw text.
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
/// Guarantees: exit code 1, every good record arrives bit for bit, every bad one is a dead letter once,
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
