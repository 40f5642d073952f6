//! Types of metadata fields, and the columns that hold them.

use std::collections::BTreeMap;

use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Float32Type;
use arrow_array::{
    Array as _, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
    ListArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use vecload::TimestampForm;

use super::*;

/// A column of every type that becomes a metadata field, with one row, and what must come of it.
fn typed() -> Vec<(&'static str, ArrayRef, Value)> {
    let float16 = cast(
        &(Arc::new(Float32Array::from(vec![0.5])) as ArrayRef),
        &DataType::Float16,
    );
    let tags = ListArray::from_iter_primitive::<Float32Type, _, _>([None::<Vec<Option<f32>>>]);
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("x"), Some("")]);
    let decimal = |value: i128| -> ArrayRef {
        let array = Decimal128Array::from(vec![value]);
        Arc::new(array.with_precision_and_scale(38, 2).expect("a decimal"))
    };
    vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![false])),
            json!(false),
        ),
        ("text", texts(&["é\"\u{0}"]), json!("é\"\u{0}")),
        ("float16", float16, json!(0.5)),
        (
            "float32",
            Arc::new(Float32Array::from(vec![0.1])),
            json!(f64::from(0.1_f32)),
        ),
        (
            "float64",
            Arc::new(Float64Array::from(vec![1e-300])),
            json!(1e-300),
        ),
        (
            "int64",
            Arc::new(Int64Array::from(vec![-1984])),
            json!(-1984),
        ),
        // Beyond 2^53: the nearest float64, counted.
        (
            "large",
            Arc::new(Int64Array::from(vec![9_007_199_254_740_993])),
            json!(9_007_199_254_740_992.0),
        ),
        (
            "uint64",
            Arc::new(UInt64Array::from(vec![1_u64 << 63])),
            json!(9_223_372_036_854_775_808.0),
        ),
        ("decimal", decimal(-1_999), json!(-19.99)),
        (
            "wide_decimal",
            decimal(123_456_789_012_345_678_901),
            json!(1_234_567_890_123_456_789.0),
        ),
        ("day", Arc::new(Date32Array::from(vec![-1])), json!(-86_400)),
        (
            "instant",
            Arc::new(TimestampMillisecondArray::from(vec![1_500])),
            json!(1.5),
        ),
        (
            "zoned",
            Arc::new(
                TimestampMicrosecondArray::from(vec![1_700_000_000_000_001])
                    .with_timezone("+02:00"),
            ),
            json!(1_700_000_000.000_001),
        ),
        ("tags", Arc::new(list.finish()), json!(["x", ""])),
        // Dropped, and counted.
        ("nothing", Arc::new(tags), Value::Null),
    ]
}

/// Scenario: metadata as typed columns, named and all of them, as a struct, and as a map; timestamps as
/// seconds and as text.
/// Guarantees: each arrives as the value that is documented for its type; what is rounded or dropped is counted.
#[tokio::test(flavor = "multi_thread")]
async fn types_of_metadata() {
    let row = VALUES.map(Some);
    let key = || -> Vec<(&str, ArrayRef)> {
        vec![("id", texts(&["a"])), ("values", lists([Some(&row[..])]))]
    };
    let expected = |fields: Vec<(&str, Value)>| {
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
        let metadata = fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        vec![Record {
            metadata: Value::Object(metadata),
            ..record("a", &VALUES)
        }]
    };
    let fields: Vec<_> = typed()
        .into_iter()
        .map(|(name, _, value)| (name, value))
        .collect();
    let arrays: Vec<_> = typed()
        .into_iter()
        .map(|(name, array, _)| (name, array))
        .collect();
    let counted = |report: &Report| {
        let actions = |name: &str| {
            report
                .metadata_changes
                .get(name)
                .cloned()
                .unwrap_or_default()
        };
        let once = |action: &str| BTreeMap::from([(action.to_owned(), 1)]);
        for (name, _) in &fields {
            let expected = match *name {
                "large" | "wide_decimal" => once("number_rounded"),
                "nothing" => once("null_dropped"),
                _ => BTreeMap::new(),
            };
            assert_eq!(actions(name), expected, "{name}");
        }
    };

    let flat = || parquet([key(), arrays.clone()].concat());
    let all = Case::new("all columns", "a.parquet", flat(), expected(fields.clone()));
    counted(
        &all.with(|settings| settings.metadata_columns = Some("*".to_owned()))
            .play()
            .await,
    );
    let named = fields
        .iter()
        .filter(|(name, _)| matches!(*name, "text" | "day"));
    let named = Case::new(
        "named columns",
        "a.parquet",
        flat(),
        expected(named.cloned().collect()),
    );
    named
        .with(|settings| settings.metadata_columns = Some("day,text".to_owned()))
        .play()
        .await;

    let parts = arrays.iter().map(|(name, array)| {
        (
            Arc::new(Field::new(*name, array.data_type().clone(), true)),
            Arc::clone(array),
        )
    });
    let parts = StructArray::from(parts.collect::<Vec<_>>());
    let structs = parquet([key(), vec![("metadata", Arc::new(parts) as ArrayRef)]].concat());
    counted(
        &Case::new(
            "struct",
            "a.parquet",
            structs.clone(),
            expected(fields.clone()),
        )
        .play()
        .await,
    );
    let texts_of_times = fields.iter().map(|(name, value)| {
        let text = match *name {
            "day" => "1969-12-31",
            "instant" => "1970-01-01T00:00:01.5Z",
            "zoned" => "2023-11-14T22:13:20.000001Z",
            _ => return (*name, value.clone()),
        };
        (*name, json!(text))
    });
    let rfc3339 = Case::new(
        "rfc3339",
        "a.parquet",
        structs,
        expected(texts_of_times.collect()),
    );
    rfc3339
        .with(|settings| settings.timestamps = TimestampForm::Rfc3339)
        .play()
        .await;

    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (name, text) in [("genre", "drama"), ("", "no name")] {
        map.keys().append_value(name);
        map.values().append_value(text);
    }
    map.append(true).expect("as many keys as values");
    let map = parquet(
        [
            key(),
            vec![("metadata", Arc::new(map.finish()) as ArrayRef)],
        ]
        .concat(),
    );
    let fields = vec![("genre", json!("drama")), ("", json!("no name"))];
    Case::new("map", "a.parquet", map, expected(fields))
        .play()
        .await;

    let large = "{\"id\":\"a\",\"values\":[1],\"metadata\":{\"n\":9007199254740993,\"m\":null}}\n";
    let expected = vec![Record {
        metadata: json!({"n": 9_007_199_254_740_992.0}),
        ..record("a", &[1.0])
    }];
    let report = Case::new("large integers of JSONL", "a.jsonl", large, expected)
        .play()
        .await;
    assert_eq!(report.metadata_changes["n"]["number_rounded"], 1);
    assert_eq!(report.metadata_changes["m"]["null_dropped"], 1);
}
