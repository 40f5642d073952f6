//! Every shape and type that inputs have, each loaded as a whole program would and compared bit for bit.

mod inputs;
mod metadata;
mod schemas;
mod vectors_and_ids;

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use vecload::{ExitCode, Load, Report, Settings};
use vecload_corpus::table::{self, lists, sparse, texts};

use crate::books;
use crate::scenario::json_of;
use crate::served::Served;

/// A record that must be in the index.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    namespace: String,
    id: String,
    /// As bits.
    values: Vec<u32>,
    sparse: Option<(Vec<u32>, Vec<u32>)>,
    /// `null` is none.
    metadata: Value,
}

/// A number that is not float32, one that is subnormal, a negative zero, and one near the end of the range.
const VALUES: [f32; 4] = [0.1, -0.0, 1e-40, -3.4e38];
const OTHERS: [f32; 4] = [1.5, 2.0, -0.25, 65_504.0];
const METADATA: &str = "{\"genre\":\"drama\",\"year\":1984,\"tags\":[\"a\",\"b\"],\"seen\":true}";

/// Files by their paths, and what is done with them.
struct Case<'a> {
    label: &'a str,
    files: Vec<(&'a str, Vec<u8>)>,
    /// Relative to the files' folder; it alone where there are none.
    inputs: &'a [&'a str],
    change: fn(&mut Settings),
    expected: Vec<Record>,
}

impl<'a> Case<'a> {
    fn new(
        label: &'a str,
        name: &'a str,
        bytes: impl Into<Vec<u8>>,
        expected: Vec<Record>,
    ) -> Self {
        Self {
            label,
            files: vec![(name, bytes.into())],
            inputs: &[],
            change: |_| {},
            expected,
        }
    }

    fn with(self, change: fn(&mut Settings)) -> Self {
        Self { change, ..self }
    }

    /// Loads the files and compares the index with what is expected, record by record.
    async fn play(self) -> Report {
        let label = self.label;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("data");
        for (name, bytes) in &self.files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            // A list of files names them by their paths.
            let bytes = match name.strip_suffix(".txt") {
                None => bytes.clone(),
                Some(_) => String::from_utf8_lossy(bytes)
                    .replace("ROOT", &root.display().to_string())
                    .into_bytes(),
            };
            std::fs::write(path, bytes).expect("written");
        }
        let inputs = match self.inputs {
            [] => vec![root.display().to_string()],
            inputs => inputs
                .iter()
                .map(|input| root.join(input).display().to_string())
                .collect(),
        };
        let served = Served::plain().await;
        let report = Load::builder()
            .inputs(inputs)
            .host(&served.host)
            .run_dir(folder.path().join("run"))
            .with(|settings| {
                (self.change)(settings);
                let listed = settings.files_from.take();
                settings.files_from = listed.map(|name| root.join(name));
            })
            .run()
            .await
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        books::balance(&report);
        assert_eq!(report.exit_code, ExitCode::Complete, "{label}: {report:#?}");
        let index = &served.index;
        for record in &self.expected {
            let found = index.record(&record.namespace, &record.id);
            let found = found.expect("readable");
            let found = found.unwrap_or_else(|| panic!("{label}: {} is not there", record.id));
            let bits =
                |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
            let found = Record {
                namespace: record.namespace.clone(),
                id: found.id,
                values: bits(&found.values),
                sparse: found
                    .sparse_values
                    .map(|sparse| (sparse.indices, bits(&sparse.values))),
                metadata: found
                    .metadata
                    .map_or(Value::Null, |fields| json_of(fields.fields)),
            };
            assert_eq!(&found, record, "{label}");
        }
        let names = index.namespaces();
        let count: u64 = names.iter().map(|name| index.count(name)).sum();
        assert_eq!(count, self.expected.len() as u64, "{label}");
        report
    }
}

fn record(id: &str, values: &[f32]) -> Record {
    Record {
        namespace: String::new(),
        id: id.to_owned(),
        values: values.iter().map(|value| value.to_bits()).collect(),
        sparse: None,
        metadata: Value::Null,
    }
}

/// The record that has everything.
fn full(id: &str) -> Record {
    Record {
        sparse: Some((
            vec![7, u32::MAX],
            [0.5_f32, -1.5].map(f32::to_bits).to_vec(),
        )),
        metadata: serde_json::from_str(METADATA).expect("JSON"),
        ..record(id, &VALUES)
    }
}

/// Two records, the first of which has everything.
fn both() -> Vec<Record> {
    vec![full("a"), record("b", &OTHERS)]
}

fn in_namespace(namespace: &str, records: Vec<Record>) -> Vec<Record> {
    let namespace = namespace.to_owned();
    let records = records.into_iter();
    records
        .map(|record| Record {
            namespace: namespace.clone(),
            ..record
        })
        .collect()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    table::parquet(columns, WriterProperties::default()).expect("columns")
}

fn vectors() -> ArrayRef {
    let [one, other] = [VALUES, OTHERS].map(|values| values.map(Some));
    lists([Some(&one[..]), Some(&other[..])])
}

fn sparse_vectors() -> ArrayRef {
    sparse(&[Some((vec![7, i64::from(u32::MAX)], vec![0.5, -1.5])), None])
}

fn metadata_texts() -> ArrayRef {
    Arc::new(StringArray::from(vec![Some(METADATA), None]))
}

/// The columns of Pinecone's import.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("id", texts(&["a", "b"])),
        ("values", vectors()),
        ("sparse_values", sparse_vectors()),
        ("metadata", metadata_texts()),
    ]
}

/// One record of an id and a vector.
fn plain(id: &str) -> Vec<u8> {
    let row = VALUES.map(Some);
    parquet(vec![
        ("id", texts(&[id])),
        ("values", lists([Some(&row[..])])),
    ])
}

fn cast(array: &ArrayRef, to: &DataType) -> ArrayRef {
    arrow_cast::cast(array, to).expect("a type to cast to")
}

fn item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(of, true))
}

/// The two records as JSON, under other keys where `keys` says so.
fn lines(keys: &[(&str, &str)]) -> [String; 2] {
    let key = |usual: &'static str| {
        let other = keys.iter().find(|(name, _)| *name == usual);
        other.map_or(usual, |(_, other)| *other)
    };
    let list = |values: &[f32]| serde_json::to_string(values).expect("JSON");
    let (id, values) = (key("id"), key("values"));
    [
        format!(
            "{{\"{id}\":\"a\",\"{values}\":{},\"{}\":{{\"indices\":[7,4294967295],\"values\":[0.5,-1.5]}},\"{}\":{METADATA}}}",
            list(&VALUES),
            key("sparse_values"),
            key("metadata"),
        ),
        format!("{{\"{id}\":\"b\",\"{values}\":{}}}", list(&OTHERS)),
    ]
}

fn jsonl(keys: &[(&str, &str)]) -> Vec<u8> {
    (lines(keys).join("\n") + "\n").into_bytes()
}
