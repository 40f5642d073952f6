//! Bad records among good ones: each is found, named and handed back; the others arrive.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use vecload::{ExitCode, Load, Report};

use crate::books;
use crate::scenario::dead_letters;
use crate::served::Served;

async fn load(input: &Path, run: &Path, served: &Served) -> Report {
    let report = Load::builder()
        .input(input.to_str().expect("UTF-8"))
        .host(&served.host)
        .namespace("shelf")
        .run_dir(run)
        .run()
        .await
        .expect("begun");
    books::balance(&report);
    report
}

/// What a file of dead letters has on a row, by its place.
fn by_place(letters: &[Value], place: &str) -> BTreeMap<u64, Value> {
    letters
        .iter()
        .map(|letter| {
            (
                letter["_reject"][place].as_u64().expect("a place"),
                letter.clone(),
            )
        })
        .collect()
}

/// Scenario: JSONL with good lines and one of each kind of bad line; then the dead letters, mended.
/// Guarantees: exit code 1; each bad line becomes a dead letter with file, offset, reason and message,
/// and the good ones arrive; the mended file loads as it is.
#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_among_good_ones() {
    let long_id = "x".repeat(513);
    let fat = "x".repeat(41_000);
    let bad: Vec<(String, &str)> = vec![
        (
            "{\"id\": \"cut\", \"values\": [1, 2".to_owned(),
            "malformed",
        ),
        ("not JSON at all".to_owned(), "malformed"),
        (json!({"values": [1, 2]}).to_string(), "missing_id"),
        (
            json!({"id": null, "values": [1, 2]}).to_string(),
            "missing_id",
        ),
        (
            json!({"id": long_id, "values": [1, 2]}).to_string(),
            "invalid_id",
        ),
        (
            json!({"id": "käse", "values": [1, 2]}).to_string(),
            "invalid_id",
        ),
        (json!({"id": "no-vector"}).to_string(), "missing_vector"),
        (
            json!({"id": "short", "values": [1]}).to_string(),
            "wrong_dimension",
        ),
        (
            "{\"id\": \"huge\", \"values\": [1, 3.5e38]}".to_owned(),
            "not_finite",
        ),
        (
            json!({"id": "zeros", "values": [0, 0]}).to_string(),
            "all_zero",
        ),
        (
            json!({"id": "nested", "values": [1, 2], "metadata": {"a": {"b": 1}}}).to_string(),
            "invalid_metadata",
        ),
        (
            json!({"id": "dollar", "values": [1, 2], "metadata": {"$a": 1}}).to_string(),
            "invalid_metadata",
        ),
        (
            json!({"id": "fat", "values": [1, 2], "metadata": {"a": fat}}).to_string(),
            "metadata_too_large",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.jsonl");
    let (mut text, mut places) = (String::new(), Vec::new());
    for (number, (line, reason)) in bad.iter().enumerate() {
        text += &format!("{{\"id\":\"good-{number}\",\"values\":[1,{number}]}}\n");
        places.push((text.len() as u64, *reason));
        text += line;
        text += "\n";
    }
    std::fs::write(&input, &text).expect("written");

    let served = Served::plain().await;
    let report = load(&input, &folder.path().join("run"), &served).await;
    assert_eq!(
        report.exit_code,
        ExitCode::SomeRejected,
        "{}",
        report.summary()
    );
    let count = bad.len() as u64;
    assert_eq!(
        (report.records_loaded, report.records_rejected),
        (count, count)
    );
    assert_eq!(served.index.count("shelf"), count);
    let letters = by_place(&dead_letters(&report), "offset");
    assert_eq!(letters.len(), bad.len());
    for (offset, reason) in places {
        let letter = &letters[&offset];
        let reject = &letter["_reject"];
        assert_eq!(reject["reason"], reason, "{letter}");
        assert_eq!(reject["file"], input.to_str().expect("UTF-8"));
        assert!(
            reject["message"]
                .as_str()
                .is_some_and(|words| words.len() > 10),
            "{letter}"
        );
        assert_eq!(letter["namespace"], "shelf");
    }

    let mended: String = letters
        .into_values()
        .enumerate()
        .map(|(number, mut letter)| {
            letter["id"] = json!(format!("mended-{number}"));
            letter["values"] = json!([3, 4]);
            letter["metadata"] = json!({"mended": true});
            format!("{letter}\n")
        })
        .collect();
    let input = folder.path().join("mended.jsonl");
    std::fs::write(&input, mended).expect("written");
    // Another default namespace would not matter: a dead letter knows its own.
    let report = load(&input, &folder.path().join("again"), &served).await;
    assert_eq!(report.exit_code, ExitCode::Complete, "{}", report.summary());
    assert_eq!(served.index.count("shelf"), 2 * count);
    let record = served.index.record("shelf", "mended-0").expect("readable");
    let record = record.expect("there");
    assert_eq!(record.values, [3.0, 4.0]);
    // `_reject` is ours: it does not go to the index.
    let fields: Vec<String> = record.metadata.expect("some").fields.into_keys().collect();
    assert_eq!(fields, ["mended"]);
}

/// Scenario: Parquet with one of each kind of bad row among good ones.
/// Guarantees: exit code 1; each bad row becomes a dead letter with file, row number in the file, reason
/// and message, and the good ones arrive.
#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_among_good_ones() {
    type Row = (
        Option<&'static str>,
        Option<Vec<Option<f32>>>,
        Option<&'static str>,
    );
    let good = || Some(vec![Some(1.0), Some(2.0)]);
    let bad: Vec<(Row, &str)> = vec![
        ((None, good(), None), "missing_id"),
        ((Some(""), good(), None), "missing_id"),
        ((Some("käse"), good(), None), "invalid_id"),
        ((Some("no-vector"), None, None), "missing_vector"),
        (
            (Some("short"), Some(vec![Some(1.0)]), None),
            "wrong_dimension",
        ),
        (
            (Some("nan"), Some(vec![Some(1.0), Some(f32::NAN)]), None),
            "not_finite",
        ),
        (
            (Some("zeros"), Some(vec![Some(0.0), Some(0.0)]), None),
            "all_zero",
        ),
        ((Some("list"), good(), Some("[1]")), "invalid_metadata"),
        ((Some("text"), good(), Some("{\"a\": ")), "invalid_metadata"),
    ];
    let (mut ids, mut metadata) = (Vec::new(), Vec::new());
    let mut values = ListBuilder::new(Float32Builder::new());
    let mut append = |id: Option<String>, vector: Option<Vec<Option<f32>>>, text: Option<&str>| {
        ids.push(id);
        metadata.push(text.map(str::to_owned));
        match vector {
            Some(vector) => values.append_value(vector),
            None => values.append_null(),
        }
    };
    for (number, ((id, vector, text), _)) in bad.iter().enumerate() {
        append(Some(format!("good-{number}")), good(), Some("{\"a\": 1}"));
        append(id.map(str::to_owned), vector.clone(), *text);
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(StringArray::from(ids))),
        ("values", Arc::new(values.finish())),
        ("metadata", Arc::new(StringArray::from(metadata))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .expect("columns");
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("corpus.parquet");
    let file = File::create(&input).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");

    let served = Served::plain().await;
    let report = load(&input, &folder.path().join("run"), &served).await;
    assert_eq!(
        report.exit_code,
        ExitCode::SomeRejected,
        "{}",
        report.summary()
    );
    let count = bad.len() as u64;
    assert_eq!(
        (report.records_loaded, report.records_rejected),
        (count, count)
    );
    assert_eq!(served.index.count("shelf"), count);
    let letters = by_place(&dead_letters(&report), "row");
    for (number, (_, reason)) in bad.iter().enumerate() {
        let letter = &letters[&(2 * number as u64 + 1)];
        assert_eq!(letter["_reject"]["reason"], *reason, "{letter}");
        assert_eq!(letter["_reject"]["file"], input.to_str().expect("UTF-8"));
        assert!(letter["_reject"]["message"].is_string(), "{letter}");
    }
    let nan = &letters[&11];
    assert_eq!(nan["values"].as_array().map(Vec::len), Some(2), "{nan}");
}
