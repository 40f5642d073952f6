mod both_readers;
mod buffers;
mod crafted_pages;
mod damage;
mod metadata;
mod mutations;
mod properties;
mod shapes;

use std::{io::Write, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt64Array,
    builder::{Int64Builder, ListBuilder},
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::{
    arrow::ArrowWriter,
    data_type::{ByteArray, ByteArrayType, FloatType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use tempfile::NamedTempFile;
use vecload_corpus::table::{lists, sparse, texts as ids};
use vecload_record::Reason;

use super::*;
use crate::{Columns, Compression, Format, Origin, Plan, fuzzing::read_whole};

/// A row as it was read.
#[derive(Debug, PartialEq)]
struct Found {
    row: u64,
    locator: u64,
    content: Result<Record, (Reason, String, String)>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Record {
    id: String,
    namespace: Option<String>,
    values: Option<Vec<u32>>,
    sparse: Option<(Vec<u32>, Vec<u32>)>,
    metadata: Option<String>,
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn input(bytes: &[u8]) -> (NamedTempFile, Input) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let input = Input {
        name: "x.parquet".into(),
        origin: Origin::File(file.path().to_owned()),
        format: Format::Parquet,
        compression: Compression::None,
        bytes: bytes.len() as u64,
        namespace: None,
        directory: None,
    };
    (file, input)
}

fn settings() -> PlanSettings {
    PlanSettings::default()
}

/// Plans and reads a whole file.
fn read(bytes: &[u8], settings: &PlanSettings) -> Result<Vec<Found>, SourceError> {
    let (_file, input) = input(bytes);
    let mut found = Vec::new();
    read_whole(vec![input], settings, |row| found.push(own(row)))?;
    Ok(found)
}

fn own(row: crate::Row<'_>) -> Found {
    use vecload_record::Metadata;
    Found {
        row: row.at.row,
        locator: row.at.locator,
        content: match row.content {
            Ok(record) => Ok(Record {
                id: record.id.to_owned(),
                namespace: record.namespace.map(str::to_owned),
                values: record.dense.map(|dense| bits(dense.iter())),
                sparse: record
                    .sparse
                    .map(|sparse| (sparse.indices.to_vec(), bits(sparse.values.iter().copied()))),
                metadata: match record.metadata {
                    Metadata::Json(json) => Some(json.to_owned()),
                    _ => None,
                },
            }),
            Err(bad) => Err((
                bad.reject.reason,
                bad.reject.field,
                String::from_utf8(bad.raw.into_owned()).unwrap(),
            )),
        },
    }
}

fn records(bytes: &[u8]) -> Vec<Result<Record, (Reason, String, String)>> {
    let found = read(bytes, &settings()).unwrap();
    found.into_iter().map(|found| found.content).collect()
}

fn error(bytes: &[u8]) -> SourceError {
    read(bytes, &settings()).unwrap_err()
}

fn write(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    vecload_corpus::table::parquet(columns, properties).unwrap()
}

fn plain(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    write(columns, WriterProperties::default())
}

fn vectors(count: usize) -> ArrayRef {
    let row = [Some(1.5), Some(-2.0)];
    lists((0..count).map(|_| Some(&row[..])))
}

fn cast(array: &ArrayRef, to: &DataType) -> ArrayRef {
    arrow_cast::cast(array, to).unwrap()
}

/// Scenario: every supported type of the id, null rows among them.
/// Guarantees: text arrives as it is, integers as their exact text, a null id is a bad row.
#[test]
fn types_of_ids() {
    let text = |id: &str| Ok(id.to_owned());
    let null = || {
        Err((
            Reason::MissingId,
            "id".to_owned(),
            "{\"values\":[1.5,-2.0]}".to_owned(),
        ))
    };
    let strings: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        None,
        Some("é😀 long enough to be no inline view"),
    ]));
    let expected = vec![
        text("a"),
        null(),
        text("é😀 long enough to be no inline view"),
    ];
    let dictionary = DataType::Dictionary(DataType::Int16.into(), DataType::Utf8.into());
    let mut table: Vec<(ArrayRef, _)> = [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        dictionary,
    ]
    .iter()
    .map(|to| (cast(&strings, to), expected.clone()))
    .collect();
    let big = vec![Some(i64::MIN), None, Some(i64::MAX)];
    let expected = vec![
        text("-9223372036854775808"),
        null(),
        text("9223372036854775807"),
    ];
    table.push((Arc::new(Int64Array::from(big)), expected));
    let big = vec![Some(u64::MAX), None, Some(0)];
    let expected = vec![text("18446744073709551615"), null(), text("0")];
    table.push((Arc::new(UInt64Array::from(big)), expected));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(100)]));
    for to in [
        DataType::Int8,
        DataType::UInt8,
        DataType::Int16,
        DataType::UInt16,
        DataType::Int32,
        DataType::UInt32,
    ] {
        table.push((cast(&small, &to), vec![text("7"), null(), text("100")]));
    }
    for (array, expected) in table {
        let label = array.data_type().clone();
        let found = records(&plain(vec![("id", array), ("values", vectors(3))]));
        let found: Vec<_> = found
            .into_iter()
            .map(|content| content.map(|record| record.id))
            .collect();
        assert_eq!(found, expected, "{label}");
    }
}

/// Scenario: every supported type of list and number of the vector, with values that all can hold.
/// Guarantees: the same float32 bits arrive.
#[test]
fn types_of_vectors() {
    let row = [Some(1.5), Some(-0.0), Some(0.333_251_95)];
    let values = lists([Some(&row[..]), Some(&row[..])]);
    let item = |number| Arc::new(Field::new("item", number, true));
    for number in [DataType::Float16, DataType::Float32, DataType::Float64] {
        for list in [
            DataType::List(item(number.clone())),
            DataType::LargeList(item(number.clone())),
            DataType::FixedSizeList(item(number.clone()), 3),
        ] {
            let found = records(&plain(vec![
                ("id", ids(&["a", "b"])),
                ("values", cast(&values, &list)),
            ]));
            let expected = Some(bits(row.iter().map(|value| value.unwrap())));
            for content in found {
                assert_eq!(content.unwrap().values, expected, "{list}");
            }
        }
    }
}

/// Scenario: float64 values that round, that vanish, that are beyond float32, and that are infinite.
/// Guarantees: they round to the nearest; what overflows is a bad row shown as it was; infinity is left for the rules.
#[test]
fn float64_beyond_float32() {
    let mut builder = ListBuilder::new(arrow_array::builder::Float64Builder::new());
    for value in [0.1, 1e-300, 3.5e38, f64::INFINITY] {
        builder.values().append_value(value);
        builder.append(true);
    }
    let values: ArrayRef = Arc::new(builder.finish());
    let found = records(&plain(vec![
        ("id", ids(&["a", "b", "c", "d"])),
        ("values", values),
    ]));
    let value = |index: usize| found[index].as_ref().unwrap().values.clone().unwrap();
    assert_eq!(value(0), bits([0.1]));
    assert_eq!(value(1), bits([0.0]));
    assert_eq!(value(3), bits([f32::INFINITY]));
    let raw = r#"{"id":"c","values":[3.5e38]}"#.to_owned();
    assert_eq!(found[2], Err((Reason::NotFinite, "values".into(), raw)));
}

/// Scenario: defects that the format can carry: null elements, sparse vectors with a null part or an
/// index out of range, text that is not UTF-8; numbers that JSON does not have beside a missing id.
/// Guarantees: each is one bad row with its reason and what can be shown of it; its neighbours are read.
#[test]
fn defects_of_rows() {
    let nulls = [Some(0.1), None, Some(f32::NAN), Some(f32::NEG_INFINITY)];
    let values = lists([Some(&nulls[..]), None, Some(&nulls[..1])]);
    let metadata: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![
        Some(br#"{"k":1}"#),
        Some(b"\xff\""),
        None,
    ]));
    let found = records(&plain(vec![
        ("id", ids(&["a", "b", "c"])),
        ("values", values),
        ("metadata", metadata),
    ]));
    let raw = r#"{"id":"a","values":[0.1,null,"NaN","-inf"],"metadata":{"k":1}}"#.to_owned();
    assert_eq!(found[0], Err((Reason::Malformed, "values".into(), raw)));
    let raw = r#"{"id":"b","metadata":"\\xff\""}"#.to_owned();
    assert_eq!(found[1], Err((Reason::Malformed, "metadata".into(), raw)));
    assert_eq!(found[2].as_ref().unwrap().values, Some(bits([0.1])));

    let price: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![f64::NAN, 0.5]));
    let found = records(&plain(vec![
        ("id", Arc::new(StringArray::new_null(2))),
        ("values", vectors(2)),
        ("price", price),
    ]));
    let shown = found.into_iter().map(|row| row.unwrap_err().2);
    let expected = [
        r#"{"values":[1.5,-2.0],"metadata":"{\"price\":NaN}"}"#,
        r#"{"values":[1.5,-2.0],"metadata":{"price":0.5}}"#,
    ];
    assert!(shown.eq(expected));

    let rows = [
        Some((vec![1 << 32], vec![0.5])),
        None,
        Some((vec![7], vec![0.5])),
    ];
    let found = records(&plain(vec![
        ("id", ids(&["a", "b", "c"])),
        ("sparse_values", sparse(&rows)),
    ]));
    let raw = r#"{"id":"a","sparse_values":{"indices":[4294967296],"values":[0.5]}}"#.to_owned();
    let field = "sparse_values.indices".to_owned();
    assert_eq!(found[0], Err((Reason::InvalidSparse, field, raw)));
    assert_eq!(found[1].as_ref().unwrap().sparse, None);
    let expected = Some((vec![7], bits([0.5])));
    assert_eq!(found[2].as_ref().unwrap().sparse, expected);
}

/// Scenario: a file of another writer: strings marked as such that are not UTF-8, a bare repeated
/// float for a list.
/// Guarantees: the bad string costs its row only, and the list is read.
#[test]
fn a_marked_string_that_is_not_utf8() {
    let schema = "message m { required binary id (STRING); repeated float values; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let ids = [
        ByteArray::from("a"),
        ByteArray::from(b"\xff".to_vec()),
        ByteArray::from("c"),
    ];
    column
        .typed::<ByteArrayType>()
        .write_batch(&ids, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<FloatType>()
        .write_batch(
            &[1.0, 2.0, 3.0, 4.0],
            Some(&[1, 1, 1, 1]),
            Some(&[0, 1, 0, 0]),
        )
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let found = records(&bytes);
    assert_eq!(found[0].as_ref().unwrap().values, Some(bits([1.0, 2.0])));
    let raw = "{\"id\":\"\u{fffd}\",\"values\":[3.0]}".to_owned();
    assert_eq!(found[1], Err((Reason::Malformed, "id".into(), raw)));
    assert_eq!(found[2].as_ref().unwrap().id, "c");
}

/// Scenario: columns named by the user, a namespace column with nulls, and many columns besides.
/// Guarantees: those are read; a row without a namespace has none.
#[test]
fn named_columns() {
    let namespace: ArrayRef = Arc::new(StringArray::from(vec![Some("n"), None]));
    let bytes = plain(vec![
        ("other", Arc::new(BooleanArray::from(vec![true, false]))),
        ("tenant", namespace),
        ("vector", vectors(2)),
        ("key", ids(&["a", "b"])),
        ("values", ids(&["not", "read"])),
    ]);
    let settings = PlanSettings {
        columns: Columns {
            id: Some("key".into()),
            values: Some("vector".into()),
            namespace: Some("tenant".into()),
            ..Columns::default()
        },
        ..settings()
    };
    let found = read(&bytes, &settings).unwrap();
    let record = |id: &str, namespace: Option<&str>| Record {
        id: id.into(),
        namespace: namespace.map(str::to_owned),
        values: Some(bits([1.5, -2.0])),
        ..Record::default()
    };
    assert_eq!(found[0].content, Ok(record("a", Some("n"))));
    assert_eq!(found[1].content, Ok(record("b", None)));
}

/// Scenario: a file without rows, and one with only nulls for metadata.
/// Guarantees: the first has no splits, the second no metadata.
#[test]
fn nothing_to_read() {
    let empty = plain(vec![("id", ids(&[])), ("values", vectors(0))]);
    let (_file, input) = input(&empty);
    let plan = Plan::new(vec![input], &settings()).unwrap();
    assert_eq!(
        (plan.splits.len(), plan.rows(), plan.bytes()),
        (0, Some(0), 0)
    );
    let nulls = arrow_array::new_null_array(&DataType::Null, 1);
    let found = records(&plain(vec![
        ("id", ids(&["a"])),
        ("values", vectors(1)),
        ("metadata", nulls),
    ]));
    assert_eq!(found[0].as_ref().unwrap().metadata, None);
}

/// Scenario: files whose columns are missing, doubled or of other types.
/// Guarantees: the error names the column and its type, lists what there is and offers what may be meant.
#[test]
fn unsupported_schemas() {
    let twice = {
        let field = Field::new("id", DataType::Utf8, true);
        let schema = Schema::new(vec![field.clone(), field]);
        let batch = RecordBatch::try_new(schema.into(), vec![ids(&["a"]), ids(&["a"])]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    };
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let table = [
        (
            plain(vec![("idd", ids(&["a"])), ("values", vectors(1))]),
            r#"there is no column "id" for the id; the columns are idd, values; did you mean "idd""#,
        ),
        (
            plain(vec![("id", ids(&["a"])), ("vaules", vectors(1))]),
            r#"there is no column "values" for the vector; the columns are id, vaules; did you mean "vaules""#,
        ),
        (
            plain(vec![("id", ids(&["a"])), ("x", vectors(1))]),
            r#"there is no column "values" for the vector; the columns are id, x; name the one that holds the vector with --vector-column"#,
        ),
        (
            plain(vec![
                ("id", ids(&["a"])),
                ("vector", vectors(1)),
                ("embedding", vectors(1)),
            ]),
            r#"both "vector" and "embedding" may hold the vector; say which with --vector-column"#,
        ),
        (
            plain(vec![("pk", ids(&["a"])), ("_id", ids(&["a"]))]),
            r#"both "_id" and "pk" may hold the id; say which with --id-column"#,
        ),
        (
            plain(vec![("id", ids(&["a"])), ("values", ids(&["a"]))]),
            r#"column "values" is Utf8, not a list of floats, or packed float32 as bytes"#,
        ),
        (
            plain(vec![("id", vectors(1)), ("values", vectors(1))]),
            r#"column "id" is List(Float32), not text, integers or a UUID"#,
        ),
        (
            plain(vec![
                ("id", ids(&["a"])),
                ("values", vectors(1)),
                ("metadata", number),
            ]),
            r#"column "metadata" is Int64, not JSON text, a struct or a map of text"#,
        ),
        (
            plain(vec![("id", ids(&["a"])), ("sparse_values", vectors(1))]),
            r#"column "sparse_values" is List(Float32), not a struct of `indices`, a list of integers, and `values`, a list of floats"#,
        ),
        (twice, r#"there are two columns "id"; rename one"#),
    ];
    for (bytes, message) in table {
        let error = error(&bytes);
        assert_eq!(error.kind(), SourceErrorKind::Unsupported);
        assert_eq!(error.to_string(), format!("x.parquet: {message}"));
    }
}

/// Scenario: wide rows and narrow ones, in one row group of 100,000 rows.
/// Guarantees: a batch holds about 1 MiB of vectors or 1,024 rows, whatever the row group's size, and
/// positions go on from batch to batch.
#[test]
fn batches_are_bounded() {
    for (rows, width, most) in [(100_000, 2, 1024), (3000, 1024, 256), (20, 400_000, 1)] {
        let row: Vec<Option<f32>> = (0..width).map(|at| Some((at % 7) as f32)).collect();
        let names: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
        let names: ArrayRef = Arc::new(StringArray::from(names));
        let bytes = plain(vec![
            ("id", names),
            ("values", lists((0..rows).map(|_| Some(&row[..])))),
        ]);
        let (_file, input) = input(&bytes);
        let plan = Plan::new(vec![input], &settings()).unwrap();
        assert_eq!(plan.splits.len(), 1);
        let mut reader = plan.open(&plan.splits[0]).unwrap();
        let mut read = 0;
        while let Some(records) = reader.next().unwrap() {
            assert!(records.len() <= most, "{} rows of {width}", records.len());
            let at = records.row(0).at;
            assert_eq!((at.row, at.locator), (read as u64, read as u64));
            read += records.len();
        }
        assert_eq!(read, rows);
    }
}

/// Scenario: two row groups of several pages, plain and compressed; then the same with no headers left.
/// Guarantees: what is held is the largest pages, far less than a row group; without headers it is
/// bounded by the columns as the footer states them.
#[test]
fn pages_are_bounded() {
    let row: Vec<Option<f32>> = (0..64).map(|at| Some(at as f32 / 3.0)).collect();
    let rows = 4000;
    let names: Vec<String> = (0..rows).map(|row| format!("name {row}")).collect();
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(3000))
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(50)
        .set_dictionary_enabled(false)
        .build();
    let bytes = write(
        vec![
            ("id", names),
            ("values", lists((0..rows).map(|_| Some(&row[..])))),
            ("unread", vectors(rows)),
        ],
        properties,
    );
    let (_file, input) = input(&bytes);
    let plan = Plan::new(vec![input.clone()], &settings()).unwrap();
    // 100 rows of 64 values, stored and unpacked.
    let vectors = 2 * 100 * 64 * 4;
    let found = plan.page_bytes();
    assert!((vectors..vectors + vectors / 4).contains(&found), "{found}");
    let stated = ParquetInput::open(&input, &settings(), &mut 0).unwrap();
    assert!(stated.page_bytes() > 20 * vectors);
    assert!(stated.page_bytes() < 3 * input.bytes);
}
