//! Types of vectors and ids.

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array as _, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    LargeListViewArray, ListArray, ListViewArray, UInt64Array,
};

use super::*;

/// Scenario: dense vectors of every type that Parquet is given by its writers.
/// Guarantees: the same bits arrive; float64 is rounded once, which is counted.
#[tokio::test(flavor = "multi_thread")]
async fn types_of_vectors() {
    let list = vectors();
    let packed: Vec<Vec<u8>> = [VALUES, OTHERS]
        .map(|values| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .to_vec();
    let large = cast(&list, &DataType::LargeList(item(DataType::Float32)));
    let binary: ArrayRef = Arc::new(BinaryArray::from_iter_values(&packed));
    let fixed = FixedSizeBinaryArray::try_from_iter(packed.iter()).expect("of one size");
    let table: Vec<(&str, ArrayRef)> = vec![
        ("List", list.clone()),
        (
            "FixedSizeList",
            cast(&list, &DataType::FixedSizeList(item(DataType::Float32), 4)),
        ),
        (
            "ListView",
            Arc::new(ListViewArray::from(list.as_list::<i32>().clone())),
        ),
        (
            "LargeListView",
            Arc::new(LargeListViewArray::from(large.as_list::<i64>().clone())),
        ),
        ("LargeList", large),
        (
            "List of float64",
            cast(&list, &DataType::List(item(DataType::Float64))),
        ),
        (
            "FixedSizeList of float64",
            cast(&list, &DataType::FixedSizeList(item(DataType::Float64), 4)),
        ),
        ("LargeBinary", cast(&binary, &DataType::LargeBinary)),
        ("BinaryView", cast(&binary, &DataType::BinaryView)),
        ("Binary", binary),
        ("FixedSizeBinary", Arc::new(fixed)),
    ];
    let expected = || vec![record("a", &VALUES), record("b", &OTHERS)];
    for (label, array) in table {
        let bytes = parquet(vec![("id", texts(&["a", "b"])), ("values", array)]);
        let report = Case::new(label, "a.parquet", bytes, expected())
            .play()
            .await;
        assert!(report.metadata_changes.is_empty(), "{label}");
    }
    let wide = |values: [f64; 4]| -> ArrayRef {
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([4]);
        Arc::new(ListArray::new(
            item(DataType::Float64),
            offsets,
            values,
            None,
        ))
    };
    let bytes = parquet(vec![
        ("id", texts(&["a"])),
        ("values", wide([0.1, 1e-300, 1.0 + 1e-9, -2.0])),
    ]);
    let expected = vec![record("a", &[0.1, 0.0, 1.0, -2.0])];
    let report = Case::new("rounded", "a.parquet", bytes, expected)
        .play()
        .await;
    assert_eq!(report.metadata_changes["values"]["number_rounded"], 1);

    let half = [0.5_f32, -0.0, 65_504.0, 6e-8].map(|value| half::f16::from_f32(value).to_f32());
    let row = half.map(Some);
    let narrow = cast(
        &lists([Some(&row[..])]),
        &DataType::List(item(DataType::Float16)),
    );
    let bytes = parquet(vec![("id", texts(&["a"])), ("values", narrow)]);
    Case::new(
        "List of float16",
        "a.parquet",
        bytes,
        vec![record("a", &half)],
    )
    .play()
    .await;
}

/// Scenario: ids of every type, and metadata and namespaces as dictionaries.
/// Guarantees: texts arrive as they are, integers and UUIDs as their exact text.
#[tokio::test(flavor = "multi_thread")]
async fn types_of_ids() {
    let text = texts(&["a", "it's 7"]);
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![7, -3]));
    let uuid = *b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    let uuids = FixedSizeBinaryArray::try_from_iter([uuid, [0; 16]].iter()).expect("of one size");
    let dictionary: DictionaryArray<Int32Type> = ["a", "it's 7"].into_iter().collect();
    let texts_of = |array: ArrayRef| (array, ["a", "it's 7"]);
    let mut table: Vec<(ArrayRef, [&str; 2])> = vec![
        texts_of(cast(&text, &DataType::LargeUtf8)),
        texts_of(cast(&text, &DataType::Utf8View)),
        texts_of(cast(&text, &DataType::Binary)),
        texts_of(Arc::new(dictionary)),
        (
            Arc::new(Int64Array::from(vec![i64::MIN, 9_007_199_254_740_993])),
            ["-9223372036854775808", "9007199254740993"],
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX, 0])),
            ["18446744073709551615", "0"],
        ),
        (
            Arc::new(uuids),
            [
                "123e4567-e89b-12d3-a456-426614174000",
                "00000000-0000-0000-0000-000000000000",
            ],
        ),
    ];
    for kind in [DataType::Int8, DataType::Int16, DataType::Int32] {
        table.push((cast(&integers, &kind), ["7", "-3"]));
    }
    for kind in [DataType::UInt8, DataType::UInt16, DataType::UInt32] {
        let small: ArrayRef = Arc::new(Int64Array::from(vec![7, 255]));
        table.push((cast(&small, &kind), ["7", "255"]));
    }
    for (array, [one, other]) in table {
        let label = array.data_type().to_string();
        let bytes = parquet(vec![("id", array), ("values", vectors())]);
        let expected = vec![record(one, &VALUES), record(other, &OTHERS)];
        Case::new(&label, "a.parquet", bytes, expected).play().await;
    }
    let text = "{\"id\":18446744073709551617,\"values\":[1]}\n{\"id\":-0,\"values\":[1]}\n";
    let expected = vec![record("18446744073709551617", &[1.0]), record("-0", &[1.0])];
    Case::new("integers of JSONL", "a.jsonl", text, expected)
        .play()
        .await;

    let dictionary = |array: &ArrayRef| {
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        cast(array, &kind)
    };
    let mut columns = columns();
    columns[3].1 = dictionary(&columns[3].1);
    columns.push(("namespace", dictionary(&texts(&["n", "n"]))));
    Case::new(
        "dictionaries",
        "a.parquet",
        parquet(columns),
        in_namespace("n", both()),
    )
    .play()
    .await;
}
