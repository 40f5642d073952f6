use vecload_record::{Field, FieldValue, Metadata, Operation};

use super::*;
use crate::{MetadataPolicy, OnNull, Scratch, append, measure};

const DENSE: Dense<'_> = Dense::Floats(&[1.0, 2.0]);
const SPARSE: Sparse<'_> = Sparse {
    indices: &[4, 2],
    values: &[0.5, 1.5],
};

fn record<'a>(id: &'a str, dense: Option<Dense<'a>>, sparse: Option<Sparse<'a>>) -> RecordRef<'a> {
    RecordRef {
        operation: Operation::Upsert,
        namespace: None,
        id,
        dense,
        sparse,
        metadata: Metadata::Absent,
    }
}

fn shape(dimension: u32, vector_type: VectorType, metric: Metric) -> IndexShape {
    IndexShape {
        dimension: (dimension > 0).then_some(dimension),
        vector_type: Some(vector_type),
        metric: Some(metric),
    }
}

fn reason(record: &RecordRef<'_>, shape: &IndexShape) -> Option<(Reason, String)> {
    check(record, shape, &mut Vec::new())
        .err()
        .map(|reject| (reject.reason, reject.field))
}

/// Scenario: ids at and beyond each limit.
/// Guarantees: 1 to 512 ASCII characters without NUL pass; what does not is named by its reason.
#[test]
fn ids() {
    let unknown = IndexShape::default();
    let longest = "i".repeat(512);
    for id in ["a", " ", "\u{1}", "\u{7f}", "it's \"it\"", longest.as_str()] {
        assert_eq!(
            reason(&record(id, Some(DENSE), None), &unknown),
            None,
            "{id:?}"
        );
    }
    let too_long = "i".repeat(513);
    for (id, expected) in [
        ("", Reason::MissingId),
        ("caf\u{e9}", Reason::InvalidId),
        ("a\0b", Reason::InvalidId),
        (too_long.as_str(), Reason::InvalidId),
    ] {
        assert_eq!(
            reason(&record(id, Some(DENSE), None), &unknown),
            Some((expected, "id".to_owned())),
            "{id:?}"
        );
    }
}

/// Scenario: an id with a character that is not ASCII.
/// Guarantees: the message shows the character and where it stands.
#[test]
fn the_character_at_fault_is_named() {
    let reject = check(
        &record("caf\u{e9}", Some(DENSE), None),
        &IndexShape::default(),
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(reject.message.contains("`\u{e9}` at byte 3"), "{reject}");
}

/// Scenario: namespaces at and beyond each limit.
/// Guarantees: the default namespace and up to 512 ASCII characters pass, others do not.
#[test]
fn namespaces() {
    let longest = "n".repeat(512);
    for name in ["", "__default__", "a b", longest.as_str()] {
        assert_eq!(check_namespace(name), Ok(()));
    }
    let too_long = "n".repeat(513);
    for name in ["\u{fc}", "a\0", too_long.as_str()] {
        let reject = check_namespace(name).unwrap_err();
        assert_eq!(
            (reject.reason, reject.field.as_str()),
            (Reason::InvalidNamespace, "namespace")
        );
    }
}

/// Scenario: each kind of record against each kind of index.
/// Guarantees: a record passes where the service takes it, and is rejected by the right reason where not.
#[test]
fn vectors_against_the_shape_of_the_index() {
    use Reason::{MissingVector, UnsupportedVector, WrongDimension};
    let unknown = IndexShape::default();
    let only_dimension = IndexShape {
        dimension: Some(2),
        ..IndexShape::default()
    };
    let dense = shape(2, VectorType::Dense, Metric::DotProduct);
    let cosine = shape(2, VectorType::Dense, Metric::Cosine);
    let other = shape(3, VectorType::Dense, Metric::Euclidean);
    let sparse = shape(0, VectorType::Sparse, Metric::DotProduct);
    let (none, both) = ((None, None), (Some(DENSE), Some(SPARSE)));
    let (d, s) = ((Some(DENSE), None), (None, Some(SPARSE)));
    let empty = (Some(Dense::Floats(&[])), Some(SPARSE));
    for (number, (vectors, shape, expected)) in [
        (none, &unknown, Some((MissingVector, "values"))),
        (d, &unknown, None),
        (s, &unknown, None),
        (both, &unknown, None),
        (s, &only_dimension, Some((MissingVector, "values"))),
        (d, &dense, None),
        (both, &dense, None),
        (s, &dense, Some((MissingVector, "values"))),
        (empty, &dense, Some((MissingVector, "values"))),
        (d, &other, Some((WrongDimension, "values"))),
        (both, &cosine, Some((UnsupportedVector, "sparse_values"))),
        (d, &sparse, Some((UnsupportedVector, "values"))),
        (both, &sparse, Some((UnsupportedVector, "values"))),
        (s, &sparse, None),
        (empty, &sparse, None),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            reason(&record("a", vectors.0, vectors.1), shape),
            expected.map(|(reason, field)| (reason, field.to_owned())),
            "row {number}"
        );
    }
}

/// Scenario: dense and sparse vectors at and beyond their longest.
/// Guarantees: the limits hold for an index of unknown shape too.
#[test]
fn the_longest_vectors() {
    let unknown = IndexShape::default();
    let floats = vec![1.0; 20_001];
    let dense = |len| record("a", Some(Dense::Floats(&floats[..len])), None);
    assert_eq!(reason(&dense(20_000), &unknown), None);
    assert_eq!(
        reason(&dense(20_001), &unknown),
        Some((Reason::WrongDimension, "values".to_owned()))
    );
    let indices: Vec<u32> = (0..2049).collect();
    let sparse = |indices_len: usize, values_len: usize| {
        record(
            "a",
            None,
            Some(Sparse {
                indices: &indices[..indices_len],
                values: &floats[..values_len],
            }),
        )
    };
    assert_eq!(reason(&sparse(2048, 2048), &unknown), None);
    for (indices_len, values_len) in [(0, 0), (2049, 2049), (2, 1), (1, 2), (0, 1)] {
        assert_eq!(
            reason(&sparse(indices_len, values_len), &unknown),
            Some((Reason::InvalidSparse, "sparse_values".to_owned()))
        );
    }
}

/// Scenario: sparse vectors with an index twice, side by side and apart, and with all indices once in any order.
/// Guarantees: the first are invalid_sparse and name the index, the others pass, whatever was checked before.
#[test]
fn an_index_that_stands_there_twice() {
    let values = [1.0; 5];
    let mut sorted = vec![9, 9];
    for (indices, twice) in [
        (&[0, 1, 2, 3, u32::MAX][..], None),
        (&[u32::MAX, 3, 0, 2, 1], None),
        (&[7], None),
        (&[7, 7], Some(7)),
        (&[u32::MAX, 3, u32::MAX], Some(u32::MAX)),
        (&[1, 2, 3, 0, 2], Some(2)),
        (&[0, 5, 0, 5, 1], Some(0)),
    ] {
        let sparse = Sparse {
            indices,
            values: &values[..indices.len()],
        };
        let found = check(
            &record("a", None, Some(sparse)),
            &IndexShape::default(),
            &mut sorted,
        );
        match (found, twice) {
            (Ok(()), None) => {}
            (Err(reject), Some(index)) => {
                assert_eq!(
                    (reject.reason, reject.field.as_str()),
                    (Reason::InvalidSparse, "sparse_values")
                );
                let words = format!("the index {index} stands there twice");
                assert!(reject.message.starts_with(&words), "{reject}");
            }
            (found, _) => panic!("{indices:?}: {found:?}"),
        }
    }
}

/// Scenario: a good record with one defect of each kind, checked the way that a record on its way out is.
/// Guarantees: each has its own reason, field and words, and leaves nothing in the request.
#[test]
fn one_defect_of_each_kind() {
    use Reason::{
        AllZero, InvalidId, InvalidMetadata, InvalidSparse, MetadataTooLarge, MissingId, NotFinite,
        WrongDimension,
    };
    let shape = shape(3, VectorType::Dense, Metric::DotProduct);
    let any_dimension = IndexShape {
        dimension: None,
        ..shape
    };
    let good = record("a", Some(Dense::Floats(&[1.0, 2.0, 3.0])), Some(SPARSE));
    let id = |id| RecordRef { id, ..good };
    let dense = |values| RecordRef {
        dense: Some(Dense::Floats(values)),
        ..good
    };
    let sparse = |indices, values| RecordRef {
        sparse: Some(Sparse { indices, values }),
        ..good
    };
    let metadata = |metadata| RecordRef { metadata, ..good };
    let json = |text| metadata(Metadata::Json(text));
    let long_id = "i".repeat(513);
    let many = vec![1.0; 20_001];
    let indices: Vec<u32> = (0..2049).collect();
    let on_the_wire = "x".repeat(40_960 - 14);
    let as_json = format!(r#"{{"a":"{}"}}"#, r#"\""#.repeat((40_960 - 8) / 2 + 1));
    let text = [Field {
        name: "a",
        value: FieldValue::Text(&on_the_wire),
    }];
    let policy = MetadataPolicy {
        on_null: OnNull::Reject,
        ..MetadataPolicy::default()
    };
    let (nan, infinite) = (f32::NAN, f32::INFINITY);

    let mut scratch = Scratch::new(policy);
    let mut sent = |record: &RecordRef<'_>, shape: &IndexShape| {
        let mut out = b"before".to_vec();
        let done = measure(record, shape, &mut scratch)
            .and_then(|measured| append(record, &measured, &scratch, &mut out));
        assert_eq!(done.is_err(), out == b"before");
        done
    };
    assert_eq!(sent(&good, &shape), Ok(()));
    for (record, shape, reason, field, words) in [
        (id(""), &shape, MissingId, "id", "empty"),
        (id(&long_id), &shape, InvalidId, "id", "513 characters, 512"),
        (
            id("caf\u{e9}"),
            &shape,
            InvalidId,
            "id",
            "`\u{e9}` at byte 3",
        ),
        (id("a\0b"), &shape, InvalidId, "id", "at 1 is NUL"),
        (
            dense(&[1.0, 2.0]),
            &shape,
            WrongDimension,
            "values",
            "2 values, the index takes 3",
        ),
        (
            dense(&many),
            &any_dimension,
            WrongDimension,
            "values",
            "20001 values, 20000",
        ),
        (
            dense(&[1.0, nan, 3.0]),
            &shape,
            NotFinite,
            "values",
            "position 1 is NaN",
        ),
        (
            dense(&[1.0, 2.0, -infinite]),
            &shape,
            NotFinite,
            "values",
            "position 2 is -inf",
        ),
        (
            dense(&[9e-9, -9e-9, 0.0]),
            &shape,
            AllZero,
            "values",
            "smaller than 1e-8",
        ),
        (
            sparse(&[1, 2], &[1.0]),
            &shape,
            InvalidSparse,
            "sparse_values",
            "2 indices but 1 values",
        ),
        (
            sparse(&[], &[]),
            &shape,
            InvalidSparse,
            "sparse_values",
            "empty",
        ),
        (
            sparse(&indices, &many[..2049]),
            &shape,
            InvalidSparse,
            "sparse_values",
            "2049 values, 2048",
        ),
        (
            sparse(&[4, 2, 4], &[1.0; 3]),
            &shape,
            InvalidSparse,
            "sparse_values",
            "index 4 stands there twice",
        ),
        (
            sparse(&[4, 2], &[1.0, nan]),
            &shape,
            NotFinite,
            "sparse_values",
            "position 1 is NaN",
        ),
        (
            json("[]"),
            &shape,
            InvalidMetadata,
            "metadata",
            "a JSON object, got '[]'",
        ),
        (
            json(r#"{"a":null}"#),
            &shape,
            InvalidMetadata,
            "metadata.a",
            "got 'null'",
        ),
        (
            json(r#"{"a":{"b":1}}"#),
            &shape,
            InvalidMetadata,
            "metadata.a",
            r#"got '{"b":1}'"#,
        ),
        (
            json(r#"{"a":["b",1]}"#),
            &shape,
            InvalidMetadata,
            "metadata.a",
            r#"got '["b",1]'"#,
        ),
        (
            json(r#"{"$a":1}"#),
            &shape,
            InvalidMetadata,
            "metadata.$a",
            "cannot start with `$`",
        ),
        (
            json(r#"{"a":1,"a":1}"#),
            &shape,
            InvalidMetadata,
            "metadata.a",
            "twice",
        ),
        (
            json(r#"{"a":1e999}"#),
            &shape,
            InvalidMetadata,
            "metadata.a",
            "range of a float64",
        ),
        (
            json(r#"{"a":1"#),
            &shape,
            InvalidMetadata,
            "metadata",
            "not JSON",
        ),
        (
            metadata(Metadata::Fields(&text)),
            &shape,
            MetadataTooLarge,
            "metadata",
            "40961 bytes",
        ),
        (
            json(&as_json),
            &shape,
            MetadataTooLarge,
            "metadata",
            "40962 bytes",
        ),
    ] {
        let reject = sent(&record, shape).expect_err(words);
        assert_eq!(
            (reject.reason, reject.field.as_str()),
            (reason, field),
            "{words}"
        );
        assert!(reject.message.contains(words), "{words}: {reject}");
    }
}
