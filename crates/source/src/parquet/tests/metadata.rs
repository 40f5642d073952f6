//! Every type of metadata, bit for bit.

use std::collections::BTreeMap;

use arrow_array::{
    Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float16Array,
    Float32Array, Float64Array, MapArray, NullArray, StructArray, Time32MillisecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array,
    builder::{MapBuilder, StringBuilder},
};
use arrow_buffer::i256;
use vecload_record::{FieldValue, Metadata};

use super::*;
use crate::Timestamps;

/// A value of metadata, owned; numbers by their bits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    Number(u64),
    Bool(bool),
    Texts(Vec<String>),
    Json(String),
}

type Found = Vec<(String, Value)>;

/// The metadata of a row, the text of an object as one field without a name.
fn own(metadata: &Metadata<'_>) -> Option<Found> {
    match metadata {
        Metadata::Absent => None,
        Metadata::Json(text) => Some(vec![(String::new(), Value::Json((*text).to_owned()))]),
        Metadata::Fields(fields) => Some(
            fields
                .iter()
                .map(|field| (field.name.to_owned(), Value::of(&field.value)))
                .collect(),
        ),
    }
}

impl Value {
    fn of(value: &FieldValue<'_>) -> Self {
        match *value {
            FieldValue::Null => Self::Null,
            FieldValue::Text(text) => Self::Text(text.to_owned()),
            FieldValue::Number(number) => Self::Number(number.to_bits()),
            FieldValue::Bool(value) => Self::Bool(value),
            FieldValue::TextList(texts) => {
                Self::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
            }
            FieldValue::Json(text) => Self::Json(text.to_owned()),
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(number: f64) -> Value {
    Value::Number(number.to_bits())
}

/// What rows there are: their metadata or the field and reason of a reject; and the changes.
type Rows = Vec<Result<Option<Found>, (Reason, String)>>;

fn read_metadata(
    bytes: &[u8],
    settings: &PlanSettings,
) -> (Rows, BTreeMap<(String, &'static str), u64>, String) {
    let (_file, input) = input(bytes);
    let plan = Plan::new(vec![input], settings).unwrap();
    let (mut rows, mut changes) = (Vec::new(), BTreeMap::new());
    for split in &plan.splits {
        let mut reader = plan.open(split).unwrap();
        while let Some(records) = reader.next().unwrap() {
            for index in 0..records.len() {
                rows.push(match records.row(index).content {
                    Ok(record) => Ok(own(&record.metadata)),
                    Err(bad) => Err((bad.reject.reason, bad.reject.field)),
                });
            }
            for (field, action, times) in records.changes() {
                *changes.entry((field.to_owned(), action)).or_default() += times;
            }
        }
    }
    (rows, changes, plan.mapping(0).to_string())
}

/// The one value of a column that is taken as a metadata field, in each row, and how many were
/// rounded.
fn column(array: ArrayRef, timestamps: Timestamps) -> (Vec<Value>, u64) {
    let settings = PlanSettings {
        timestamps,
        columns: Columns {
            metadata_columns: vec!["m".into()],
            ..Columns::default()
        },
        ..settings()
    };
    let rows = array.len();
    let names: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let bytes = plain(vec![("id", names), ("values", vectors(rows)), ("m", array)]);
    let (rows, changes, _) = read_metadata(&bytes, &settings);
    let values = rows.into_iter().map(|row| {
        let mut fields = row.unwrap().unwrap();
        assert_eq!(fields.len(), 1);
        fields.remove(0).1
    });
    let rounded = changes.get(&("m".to_owned(), "number_rounded"));
    (values.collect(), rounded.copied().unwrap_or(0))
}

/// Scenario: a column of each type of number, with extremes and nulls.
/// Guarantees: it is the same number as float64, or the nearest, and then it is counted.
#[test]
fn numbers() {
    const TOO_FINE: i64 = (1 << 53) + 1;
    let table: Vec<(ArrayRef, Vec<Value>, u64)> = vec![
        (
            Arc::new(UInt8Array::from(vec![Some(255), None])),
            vec![number(255.0), Value::Null],
            0,
        ),
        (
            Arc::new(Int32Array::from(vec![i32::MIN, i32::MAX])),
            vec![number(-2_147_483_648.0), number(2_147_483_647.0)],
            0,
        ),
        (
            Arc::new(Int64Array::from(vec![
                1 << 53,
                TOO_FINE,
                -TOO_FINE,
                i64::MAX,
            ])),
            vec![
                number(9_007_199_254_740_992.0),
                number(9_007_199_254_740_992.0),
                number(-9_007_199_254_740_992.0),
                number(9_223_372_036_854_775_808.0),
            ],
            3,
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX, 7])),
            vec![number(18_446_744_073_709_551_616.0), number(7.0)],
            1,
        ),
        (
            Arc::new(Float16Array::from(vec![half::f16::from_f32(0.1)])),
            vec![number(0.099_975_585_937_5)],
            0,
        ),
        (
            Arc::new(Float32Array::from(vec![0.1_f32, f32::MAX])),
            vec![number(f64::from(0.1_f32)), number(f64::from(f32::MAX))],
            0,
        ),
        (
            Arc::new(Float64Array::from(vec![Some(0.1), Some(-0.0), None])),
            vec![number(0.1), number(-0.0), Value::Null],
            0,
        ),
        (
            Arc::new(
                Decimal128Array::from(vec![Some(1999), Some(-5), None])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
            vec![number(19.99), number(-0.05), Value::Null],
            0,
        ),
        (
            Arc::new(
                Decimal128Array::from(vec![12_345_678_901_234_567_890_i128, 0])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
            vec![number(1_234_567_890.123_456_8), number(0.0)],
            1,
        ),
        (
            Arc::new(
                Decimal256Array::from(vec![i256::from_i128(25)])
                    .with_precision_and_scale(50, 1)
                    .unwrap(),
            ),
            vec![number(2.5)],
            0,
        ),
        (
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            vec![Value::Bool(true), Value::Bool(false), Value::Null],
            0,
        ),
        (Arc::new(NullArray::new(1)), vec![Value::Null], 0),
    ];
    for (array, expected, rounded) in table {
        let label = array.data_type().clone();
        let found = column(array, Timestamps::EpochSeconds);
        assert_eq!(found, (expected, rounded), "{label}");
    }
}

/// Scenario: a million random integers.
/// Guarantees: each is the float64 nearest to it, and exactly those are counted that are not had back.
#[test]
fn a_million_numbers() {
    let mut state = 7_u64;
    let numbers: Vec<i64> = (0..1_000_000_u32)
        .map(|row| {
            // Knuth's multiplier; all magnitudes alike.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.cast_signed() >> (row % 60)
        })
        .collect();
    let (found, rounded) = column(
        Arc::new(Int64Array::from(numbers.clone())),
        Timestamps::EpochSeconds,
    );
    let expected: Vec<f64> = numbers
        .iter()
        .map(|number| number.to_string().parse().unwrap())
        .collect();
    assert!(
        found.iter().eq(expected
            .iter()
            .map(|n| number(*n))
            .collect::<Vec<_>>()
            .iter())
    );
    // More digits in binary than a float64 has.
    let inexact = numbers.iter().filter(|exact| {
        let exact = exact.unsigned_abs();
        exact > 0 && 64 - exact.leading_zeros() - exact.trailing_zeros() > 53
    });
    assert_eq!(rounded, inexact.count() as u64);
}

/// Scenario: timestamps of every unit, with and without a zone, dates and times of day, before 1970
/// and finer than a float64 is.
/// Guarantees: seconds since 1970 as the nearest float64, those rounded too far are counted; as text
/// RFC 3339, exactly.
#[test]
fn times() {
    let nanoseconds = 1_700_000_000_123_456_789_i64;
    type Row = (ArrayRef, Vec<Value>, u64, Vec<Value>);
    let table: Vec<Row> = vec![
        (
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_700_000_000_123),
                None,
            ])),
            vec![number(1_700_000_000.123), Value::Null],
            0,
            vec![text("2023-11-14T22:13:20.123Z"), Value::Null],
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("+01:00")),
            vec![number(-0.000_001)],
            0,
            vec![text("1969-12-31T23:59:59.999999Z")],
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![
                nanoseconds,
                1_000_000_000,
                i64::MIN,
            ])),
            vec![
                number(1_700_000_000.123_456_8),
                number(1.0),
                number(-9_223_372_036.854_776),
            ],
            2,
            vec![
                text("2023-11-14T22:13:20.123456789Z"),
                text("1970-01-01T00:00:01Z"),
                text("1677-09-21T00:12:43.145224192Z"),
            ],
        ),
        (
            Arc::new(Date32Array::from(vec![19_675, -1])),
            vec![number(1_699_920_000.0), number(-86_400.0)],
            0,
            vec![text("2023-11-14"), text("1969-12-31")],
        ),
        (
            Arc::new(Time32MillisecondArray::from(vec![3_661_500])),
            vec![number(3661.5)],
            0,
            vec![number(3661.5)],
        ),
    ];
    for (array, seconds, rounded, texts) in table {
        let label = array.data_type().clone();
        let found = column(Arc::clone(&array), Timestamps::EpochSeconds);
        assert_eq!(found, (seconds, rounded), "{label}");
        assert_eq!(column(array, Timestamps::Rfc3339), (texts, 0), "{label}");
    }
}

fn text_lists(rows: &[Option<Vec<Option<&str>>>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        for text in row.iter().flatten() {
            builder.values().append_option(*text);
        }
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

/// Scenario: text of every kind, dictionaries and UUIDs, and lists of text of every kind of list.
/// Guarantees: they arrive as they are; a list with a null is left to the target as JSON.
#[test]
fn texts() {
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("é\"\n"), None, Some("")]));
    let expected = vec![text("é\"\n"), Value::Null, text("")];
    for to in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into()),
    ] {
        let found = column(cast(&strings, &to), Timestamps::EpochSeconds);
        assert_eq!(found, (expected.clone(), 0), "{to}");
    }
    let uuids = FixedSizeBinaryArray::try_from_iter([*b"0123456789abcdef"].iter()).unwrap();
    let found = column(Arc::new(uuids), Timestamps::EpochSeconds).0;
    assert_eq!(found, [text("30313233-3435-3637-3839-616263646566")]);

    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(|text| (*text).into()).collect());
    let lists = text_lists(&[
        Some(vec![Some("a"), Some("é")]),
        Some(vec![]),
        None,
        Some(vec![Some("a"), None]),
    ]);
    let expected = vec![
        texts(&["a", "é"]),
        texts(&[]),
        Value::Null,
        Value::Json("[\"a\",null]".into()),
    ];
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    for to in [DataType::List(Arc::clone(&item)), DataType::LargeList(item)] {
        let found = column(cast(&lists, &to), Timestamps::EpochSeconds);
        assert_eq!(found, (expected.clone(), 0), "{to}");
    }
}

fn structs() -> ArrayRef {
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]));
    let counts: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::MAX, 3]));
    let fields = Fields::from(vec![
        Field::new("title", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let nulls = NullBuffer::from(vec![true, true, false]);
    Arc::new(StructArray::new(fields, vec![strings, counts], Some(nulls)))
}

fn map() -> MapArray {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    builder.keys().append_value("a");
    builder.values().append_value(1);
    builder.keys().append_value("b");
    builder.values().append_null();
    builder.append(true).unwrap();
    builder.append(true).unwrap();
    builder.append(false).unwrap();
    builder.finish()
}

/// Scenario: metadata as one column: JSON text, a struct, a map of numbers; the column called as
/// others call it.
/// Guarantees: each is fields of its types, in order; a null is no metadata, and integers are counted
/// by the field that they are in.
#[test]
fn metadata_in_one_column() {
    let field = |name: &str, value: Value| (name.to_owned(), value);
    let json: ArrayRef = Arc::new(StringArray::from(vec![
        Some("{\"a\":1}"),
        Some("null"),
        None,
    ]));
    let json_of = |json: &str| Ok(Some(vec![field("", Value::Json(json.into()))]));
    let big = number(9_223_372_036_854_775_808.0);
    let table: Vec<(&str, ArrayRef, Rows)> = vec![
        (
            "metadata",
            json,
            vec![json_of("{\"a\":1}"), json_of("null"), Ok(None)],
        ),
        (
            "payload",
            structs(),
            vec![
                Ok(Some(vec![
                    field("title", text("x")),
                    field("n", number(1.0)),
                ])),
                Ok(Some(vec![field("title", Value::Null), field("n", big)])),
                Ok(None),
            ],
        ),
        (
            "properties",
            Arc::new(map()),
            vec![
                Ok(Some(vec![field("a", number(1.0)), field("b", Value::Null)])),
                Ok(Some(vec![])),
                Ok(None),
            ],
        ),
    ];
    for (name, array, expected) in table {
        let bytes = plain(vec![
            ("id", ids(&["a", "b", "c"])),
            ("values", vectors(3)),
            ("title", ids(&["not", "read", "then"])),
            (name, array),
        ]);
        let (found, mut changes, mapping) = read_metadata(&bytes, &settings());
        assert_eq!(found, expected, "{name}");
        assert!(
            mapping.contains(&format!("metadata <- {name} (")),
            "{mapping}"
        );
        assert!(mapping.ends_with("; not read: title"), "{mapping}");
        assert_eq!(changes.remove(&("title".to_owned(), "not_read")), Some(3));
        let rounded = changes.remove(&("n".to_owned(), "number_rounded"));
        assert_eq!(rounded, (name == "payload").then_some(1));
        assert!(changes.is_empty());
    }
}

/// Scenario: flat columns besides the id and the vector, some of which no filter can be put to; then
/// all of them asked for, and two by name, and the vector.
/// Guarantees: what filters take is the metadata and the rest is said and counted; what is asked for
/// is read, nested values as JSON.
#[test]
fn metadata_in_columns() {
    let years: ArrayRef = Arc::new(Int32Array::from(vec![1984]));
    let bytes = plain(vec![
        ("doc_id", ids(&["a"])),
        ("embedding", vectors(1)),
        ("title", ids(&["x"])),
        ("year", years),
        ("tags", text_lists(&[Some(vec![Some("t")])])),
        ("blob", ids(&["big"])),
        ("other", vectors(1)),
        ("nested", Arc::new(structs().slice(1, 1))),
    ]);
    let flat = vec![
        ("title".to_owned(), text("x")),
        ("year".to_owned(), number(1984.0)),
        ("tags".to_owned(), Value::Texts(vec!["t".into()])),
    ];
    let (found, changes, mapping) = read_metadata(&bytes, &settings());
    assert_eq!(found, [Ok(Some(flat.clone()))]);
    assert_eq!(
        mapping,
        "id <- doc_id, values <- embedding (list<float>, 2), metadata <- title, year, tags; not read: blob, other, nested"
    );
    let not_read: Vec<_> = changes.into_iter().collect();
    let expected = ["blob", "nested", "other"].map(|name| ((name.to_owned(), "not_read"), 1));
    assert_eq!(not_read, expected);

    let asked = |names: &[&str]| PlanSettings {
        columns: Columns {
            metadata_columns: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Columns::default()
        },
        ..settings()
    };
    let (found, ..) = read_metadata(&bytes, &asked(&["*"]));
    let nested = format!("{{\"title\":null,\"n\":{}}}", i64::MAX);
    let mut all = flat.clone();
    all.extend([
        ("blob".to_owned(), text("big")),
        ("other".to_owned(), Value::Json("[1.5,-2.0]".into())),
        ("nested".to_owned(), Value::Json(nested)),
    ]);
    assert_eq!(found, [Ok(Some(all))]);
    let (found, ..) = read_metadata(&bytes, &asked(&["year", "title"]));
    assert_eq!(found, [Ok(Some(vec![flat[1].clone(), flat[0].clone()]))]);
    let (found, ..) = read_metadata(&bytes, &asked(&["embedding"]));
    let twice = ("embedding".to_owned(), Value::Json("[1.5,-2.0]".into()));
    assert_eq!(found, [Ok(Some(vec![twice]))]);
    let (_file, input) = input(&bytes);
    let error = Plan::new(vec![input], &asked(&["titel"])).unwrap_err();
    assert!(
        error.to_string().contains("did you mean \"title\""),
        "{error}"
    );
}

/// Scenario: text that is not UTF-8 in a field, in a list, in a nested value.
/// Guarantees: it costs its row, which names the field and shows the bytes in what is no JSON.
#[test]
fn text_that_is_not_utf8() {
    let bad: ArrayRef = Arc::new(BinaryArray::from(vec![b"\"\xff".as_slice(), b"y"]));
    let fields = Fields::from(vec![Field::new("k", DataType::Binary, true)]);
    let nested: ArrayRef = Arc::new(StructArray::new(fields, vec![Arc::clone(&bad)], None));
    for (array, shown) in [
        (bad, r#"{"m":"\"\xff"}"#),
        (nested, r#"{"m":{"k":"\"\xff"}}"#),
    ] {
        let settings = PlanSettings {
            columns: Columns {
                metadata_columns: vec!["m".into()],
                ..Columns::default()
            },
            ..settings()
        };
        let bytes = plain(vec![
            ("id", ids(&["a", "b"])),
            ("values", vectors(2)),
            ("m", array),
        ]);
        let (found, ..) = read_metadata(&bytes, &settings);
        assert_eq!(found[0], Err((Reason::Malformed, "metadata.m".into())));
        assert!(found[1].is_ok());
        let rows = read(&bytes, &settings).unwrap();
        let raw = rows[0].content.as_ref().unwrap_err().2.as_str();
        let raw: serde_json::Value = serde_json::from_str(raw).unwrap();
        assert_eq!(raw["metadata"], shown);
    }
}
