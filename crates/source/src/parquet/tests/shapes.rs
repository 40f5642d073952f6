//! Every type of id and vector beyond the plain ones, and the schemas of other writers.

use arrow_array::{
    FixedSizeBinaryArray, FixedSizeListArray, Float64Array, LargeBinaryArray, LargeListViewArray,
    ListArray, ListViewArray, builder::Float64Builder, cast::AsArray,
};

use super::*;

/// Scenario: vectors as views, as packed bytes of variable and fixed size, with nulls.
/// Guarantees: the same float32 bits arrive, NaN and signed zeros too; bytes that are no whole number
/// of values are a bad row.
#[test]
fn packed_vectors_and_views() {
    let values = [1.5_f32, -0.0, f32::MIN_POSITIVE / 2.0, 0.1];
    let packed: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let row: Vec<Option<f32>> = values.iter().copied().map(Some).collect();
    let list = lists([Some(&row[..]), None]);
    let list: &ListArray = list.as_list();
    let large = cast(
        &(Arc::new(list.clone()) as ArrayRef),
        &DataType::LargeList(Arc::new(Field::new_list_field(DataType::Float32, true))),
    );
    let bytes = || [Some(packed.as_slice()), None];
    let table: Vec<ArrayRef> = vec![
        Arc::new(ListViewArray::from(list.clone())),
        Arc::new(LargeListViewArray::from(large.as_list::<i64>().clone())),
        Arc::new(BinaryArray::from_iter(bytes())),
        Arc::new(LargeBinaryArray::from_iter(bytes())),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes().into_iter(), 16).unwrap(),
        ),
    ];
    for array in table {
        let label = array.data_type().clone();
        let found = records(&plain(vec![("id", ids(&["a", "b"])), ("values", array)]));
        assert_eq!(
            found[0].as_ref().unwrap().values,
            Some(bits(values)),
            "{label}"
        );
        assert_eq!(found[1].as_ref().unwrap().values, None, "{label}");
    }
    let cut: ArrayRef = Arc::new(BinaryArray::from(vec![&packed[..7], &packed[..8]]));
    let found = records(&plain(vec![("id", ids(&["a", "b"])), ("values", cut)]));
    let raw = r#"{"id":"a","values":[1.5]}"#.to_owned();
    assert_eq!(found[0], Err((Reason::Malformed, "values".into(), raw)));
    assert!(found[1].is_ok());
}

/// Scenario: a UUID for the id, with a null, and one for the namespace.
/// Guarantees: they are text as UUIDs are written.
#[test]
fn uuids() {
    let uuid = *b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00";
    let uuids = |rows: [Option<[u8; 16]>; 2]| -> ArrayRef {
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows.into_iter(), 16).unwrap(),
        )
    };
    let found = records(&plain(vec![
        ("uuid", uuids([Some(uuid), None])),
        ("values", vectors(2)),
        ("namespace", uuids([Some([0; 16]), None])),
    ]));
    let record = found[0].as_ref().unwrap();
    assert_eq!(record.id, "123e4567-e89b-12d3-a456-426614174000");
    let nil = "00000000-0000-0000-0000-000000000000";
    assert_eq!(record.namespace.as_deref(), Some(nil));
    assert_eq!(found[1].as_ref().unwrap_err().0, Reason::MissingId);
}

/// Scenario: a hundred thousand random float64 values, of all magnitudes.
/// Guarantees: each is the float32 nearest to it; records with one that changed are counted.
#[test]
fn float64_is_rounded_once_and_counted() {
    let mut state = 3_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ (state >> 29)
    };
    let mut values = Vec::new();
    while values.len() < 100_000 {
        let value = f64::from_bits(random());
        if value.abs() < f64::from(f32::MAX) {
            values.push(if values.len() % 10 < 5 {
                f64::from(value as f32)
            } else {
                value
            });
        }
    }
    let array = FixedSizeListArray::new(
        Arc::new(Field::new_list_field(DataType::Float64, true)),
        5,
        Arc::new(Float64Array::from(values.clone())),
        None,
    );
    let names: Vec<String> = (0..20_000).map(|row| row.to_string()).collect();
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let bytes = plain(vec![("id", names), ("values", Arc::new(array))]);
    let (_file, input) = input(&bytes);
    let plan = Plan::new(vec![input], &settings()).unwrap();
    let mut reader = plan.open(&plan.splits[0]).unwrap();
    let (mut found, mut rounded) = (Vec::new(), 0);
    while let Some(records) = reader.next().unwrap() {
        for index in 0..records.len() {
            found.extend(bits(
                records.row(index).content.unwrap().dense.unwrap().iter(),
            ));
        }
        rounded += records.changes().map(|change| change.2).sum::<u64>();
    }
    let nearest = |value: &f64| format!("{value:e}").parse::<f32>().unwrap().to_bits();
    assert!(found.iter().copied().eq(values.iter().map(nearest)));
    let changed = values
        .chunks(5)
        .filter(|row| row.iter().any(|value| f64::from(*value as f32) != *value));
    assert_eq!(rounded, changed.count() as u64);
}

/// Scenario: the schemas of Pinecone's import, pinecone-datasets, spark-pinecone and a split sparse
/// vector, without a flag.
/// Guarantees: all parts of the records arrive, and one line says what was taken for what.
#[test]
fn schemas_of_other_writers() {
    let sparse_rows = [Some((vec![7, 4_294_967_295], vec![0.5, -1.0])), None];
    let metadata: ArrayRef = Arc::new(StringArray::from(vec![Some("{\"a\":1}"), None]));
    let record = |id: &str| Record {
        id: id.into(),
        values: Some(bits([1.5, -2.0])),
        ..Record::default()
    };
    let expected_sparse = Some((vec![7, u32::MAX], bits([0.5, -1.0])));
    let mut first = record("a");
    first.sparse = expected_sparse.clone();
    first.metadata = Some("{\"a\":1}".into());
    let import = vec![
        ("id", ids(&["a", "b"])),
        ("values", vectors(2)),
        ("sparse_values", sparse(&sparse_rows)),
        ("metadata", metadata),
    ];
    let found = records(&plain(import.clone()));
    assert_eq!(found, [Ok(first.clone()), Ok(record("b"))]);

    let mut datasets = import.clone();
    datasets.push(("blob", sparse(&sparse_rows)));
    assert_eq!(
        records(&plain(datasets)),
        [Ok(first.clone()), Ok(record("b"))]
    );

    let mut spark = import.clone();
    let namespace: ArrayRef = Arc::new(StringArray::from(vec![Some("n"), None]));
    spark.insert(1, ("namespace", namespace));
    let spark = plain(spark);
    let mut with_namespace = first.clone();
    with_namespace.namespace = Some("n".into());
    assert_eq!(records(&spark), [Ok(with_namespace), Ok(record("b"))]);
    let one_for_all = PlanSettings {
        columns: Columns {
            own_namespaces: false,
            ..Columns::default()
        },
        ..settings()
    };
    let found = read(&spark, &one_for_all).unwrap();
    assert_eq!(found[0].content, Ok(first));

    let mut indices = ListBuilder::new(Int64Builder::new());
    indices.values().append_slice(&[7, 4_294_967_295]);
    indices.append(true);
    indices.append(false);
    let mut values = ListBuilder::new(Float64Builder::new());
    values.values().append_slice(&[0.5, -1.0]);
    values.append(true);
    values.append(false);
    let split = plain(vec![
        ("pk", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("sparse_indices", Arc::new(indices.finish())),
        ("sparse_values", Arc::new(values.finish())),
    ]);
    let found = records(&split);
    assert_eq!(found[0].as_ref().unwrap().sparse, expected_sparse);
    assert_eq!(found[1].as_ref().unwrap().sparse, None);
    let (_file, input) = input(&split);
    let plan = Plan::new(vec![input], &settings()).unwrap();
    assert_eq!(
        plan.mapping(0).to_string(),
        "id <- pk, sparse_values <- sparse_indices, sparse_values"
    );
}

/// Scenario: the vector and the id called as others call them, beside a column of that name that
/// cannot be one.
/// Guarantees: the one that can is taken.
#[test]
fn names_of_others() {
    for (id, values) in [
        ("_id", "vector"),
        ("doc_id", "embedding"),
        ("vector_id", "embeddings"),
        ("uuid", "dense_values"),
        ("pk", "dense_embedding"),
        ("pk", "dense_vector"),
    ] {
        let found = records(&plain(vec![(id, ids(&["a"])), (values, vectors(1))]));
        let record = found[0].as_ref().unwrap();
        assert_eq!(
            (record.id.as_str(), &record.values),
            ("a", &Some(bits([1.5, -2.0])))
        );
    }
    let found = records(&plain(vec![
        ("id", ids(&["a"])),
        ("embedding", ids(&["the name of a model"])),
        ("vector", vectors(1)),
    ]));
    assert_eq!(found[0].as_ref().unwrap().values, Some(bits([1.5, -2.0])));
}
