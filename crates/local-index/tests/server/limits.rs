//! Every limit and rule of an upsert, with the service's code and words.

use prost::Message as _;
use prost_types::value::Kind;
use tonic::Code;
use vecload_local_index::{Metric, Options};
use vecload_proto::SparseValues;

use crate::support::{
    Served, invalid, list, refused, request, request_of, sparse, structure, text, upsert, vector,
    with_metadata,
};

/// Scenario: requests of exactly 2,000,000 bytes, of one byte more, of 2.5 MB and beyond 4 MiB.
/// Guarantees: the first is taken; then the service's words with rounded megabytes, and OUT_OF_RANGE above the decode limit.
#[tokio::test]
async fn request_size() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let exact = request_of(2_000_000);
    assert_eq!(exact.encoded_len(), 2_000_000);
    let count = exact.vectors.len() as u32;
    let answer = client.upsert(exact).await.expect("taken");
    assert_eq!(answer.into_inner().upserted_count, count);
    invalid(
        client.upsert(request_of(2_000_001)).await,
        "Request size 3MB exceeds the maximum supported size of 2MB",
    );
    invalid(
        client.upsert(request_of(3_500_000)).await,
        "Request size 4MB exceeds the maximum supported size of 2MB",
    );
    refused(
        client.upsert(request_of(5_453_452)).await,
        Code::OutOfRange,
        "Error, decoded message length too large: found 5453452 bytes, the limit is: 4194304 bytes",
    );
    assert_eq!(server.index.count(""), u64::from(count));
    server.stop().await;
}

/// Scenario: requests with no record, 1,000 and 1,001 records.
/// Guarantees: 1,000 are taken, the others refused; nothing of a refused request is stored.
#[tokio::test]
async fn record_count() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let records = |count: usize| (0..count).map(|n| vector(&n.to_string(), &[1.0])).collect();
    invalid(
        upsert(&mut client, "", Vec::new()).await,
        "Invalid request: vectors must not be empty",
    );
    invalid(
        upsert(&mut client, "", records(1_001)).await,
        "Request contains 1001 vectors, which exceeds the maximum of 1000 vectors per upsert",
    );
    assert_eq!(server.index.count(""), 0);
    let answer = upsert(&mut client, "", records(1_000)).await;
    assert_eq!(answer.expect("taken").into_inner().upserted_count, 1_000);
    assert_eq!(server.index.count(""), 1_000);
    server.stop().await;
}

/// Scenario: ids that are empty, not ASCII, with a NUL, of 512 and of 513 characters.
/// Guarantees: each refusal has its message; 512 characters and control characters are fine.
#[tokio::test]
async fn ids() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    for (id, message) in [
        (String::new(), "Vector ID must not be empty".to_owned()),
        (
            "é".to_owned(),
            "Vector ID must be ASCII, but got 'é'".to_owned(),
        ),
        (
            "a\0b".to_owned(),
            "Vector ID must not contain null character".to_owned(),
        ),
        (
            "x".repeat(513),
            "Vector ID length is 513, which exceeds the limit of 512 characters".to_owned(),
        ),
    ] {
        invalid(
            upsert(&mut client, "", vec![vector(&id, &[1.0])]).await,
            &message,
        );
    }
    for id in ["x".repeat(512), "\u{1}\u{7f} ".to_owned()] {
        upsert(&mut client, "", vec![vector(&id, &[1.0])])
            .await
            .expect("taken");
    }
    server.stop().await;
}

/// Scenario: namespaces that are not ASCII, hold a NUL or have 513 characters, and one of 512.
/// Guarantees: they are refused, the last is created by its first write.
#[tokio::test]
async fn namespace_names() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let one = || vec![vector("a", &[1.0])];
    let long = "n".repeat(513);
    for (name, message) in [
        ("ü", "Namespace must be ASCII, but got 'ü'"),
        ("a\0", "Namespace must not contain null character"),
        (
            long.as_str(),
            "Namespace length is 513, which exceeds the limit of 512 characters",
        ),
    ] {
        invalid(upsert(&mut client, name, one()).await, message);
    }
    upsert(&mut client, &long[1..], one()).await.expect("taken");
    assert_eq!(server.index.namespaces(), [long[1..].to_owned()]);
    server.stop().await;
}

/// Scenario: an index that has no dimension; then records that differ from its first one.
/// Guarantees: the first write decides, later and inner differences are refused with both numbers.
#[tokio::test]
async fn dimension_comes_with_the_first_write() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    invalid(
        upsert(
            &mut client,
            "",
            vec![vector("a", &[1.0; 3]), vector("b", &[1.0; 4])],
        )
        .await,
        "Vector dimension 4 does not match the dimension of the index 3",
    );
    assert_eq!(
        server.index.dimension(),
        None,
        "a refused write decides nothing"
    );
    invalid(
        upsert(&mut client, "", vec![vector("a", &[1.0; 20_001])]).await,
        "Vector dimension 20001 is not in the range of 1 to 20000",
    );
    upsert(&mut client, "", vec![vector("a", &[1.0; 2])])
        .await
        .expect("taken");
    assert_eq!(server.index.dimension(), Some(2));
    invalid(
        upsert(&mut client, "other", vec![vector("a", &[1.0; 3])]).await,
        "Vector dimension 3 does not match the dimension of the index 2",
    );
    invalid(
        upsert(&mut client, "", vec![sparse("a", &[1], &[1.0])]).await,
        "Vector dimension 0 does not match the dimension of the index 2",
    );
    server.stop().await;
}

/// Scenario: dense vectors that are zero, nearly zero, at the threshold, NaN and infinite.
/// Guarantees: zeros are refused with the service's words and the id; what is not finite is refused.
#[tokio::test]
async fn dense_values() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    for values in [[0.0, 0.0], [-9.9e-9, 1e-9]] {
        invalid(
            upsert(&mut client, "", vec![vector("z", &values)]).await,
            "Dense vectors must contain at least one non-zero value. Vector ID 'z' contains only zeros",
        );
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        invalid(
            upsert(&mut client, "", vec![vector("n", &[1.0, bad])]).await,
            "Dense vectors must contain only finite values. Vector ID 'n' contains a value that is not finite",
        );
    }
    upsert(&mut client, "", vec![vector("s", &[0.0, -1e-8])])
        .await
        .expect("taken");
    server.stop().await;
}

/// Scenario: a sparse index and its rules: empty, unequal, too many, dense values; and unsorted indices.
/// Guarantees: each refusal has its message; 2,048 unsorted values come back as they were.
#[tokio::test]
async fn sparse_values() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let indices: Vec<u32> = (0..2_048).map(|n| u32::MAX - n * 7).collect();
    let values: Vec<f32> = (0..2_048).map(|n| n as f32).collect();
    let full = sparse("a", &indices, &values);
    upsert(&mut client, "", vec![full.clone()])
        .await
        .expect("taken");
    assert_eq!(server.index.record("", "a").expect("read"), Some(full));
    for (bad, message) in [
        (
            sparse("b", &[], &[]),
            "Sparse vector must contain at least one value",
        ),
        (
            vector("b", &[]),
            "Sparse vector must contain at least one value",
        ),
        (
            sparse("b", &[1, 2], &[1.0]),
            "Sparse vector must have as many indices as values, but got 2 indices and 1 values",
        ),
        (
            sparse("b", &[1; 2_049], &[1.0; 2_049]),
            "Sparse vector has 2049 values, which exceeds the limit of 2048 values per vector",
        ),
        (
            sparse("b", &[1], &[f32::NAN]),
            "Sparse vector must contain only finite values",
        ),
        (
            vector("b", &[1.0]),
            "Index configuration does not support dense values",
        ),
    ] {
        invalid(upsert(&mut client, "", vec![bad]).await, message);
    }
    server.stop().await;
}

/// Scenario: dense records with sparse values, in an index by dotproduct and in one by cosine.
/// Guarantees: dotproduct keeps them, cosine refuses them with the service's words.
#[tokio::test]
async fn sparse_values_need_dotproduct() {
    let hybrid = || {
        let mut record = vector("a", &[1.0, 2.0]);
        record.sparse_values = Some(SparseValues {
            indices: vec![7],
            values: vec![0.5],
        });
        record
    };
    let server = Served::plain().await;
    let mut client = server.client().await;
    upsert(&mut client, "", vec![hybrid()])
        .await
        .expect("taken");
    assert_eq!(server.index.record("", "a").expect("read"), Some(hybrid()));
    server.stop().await;

    let server = Served::start(Options {
        metric: Some(Metric::Cosine),
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    invalid(
        upsert(&mut client, "", vec![hybrid()]).await,
        "Index configuration does not support sparse values - only indexes that are sparse or using dotproduct are supported",
    );
    server.stop().await;
}

/// Scenario: metadata with each wrong kind of value, a `$` key, and odd but legal keys and values.
/// Guarantees: the service's words with the field and 16 bytes of JSON; the legal ones come back unchanged.
#[tokio::test]
async fn metadata_values() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let nested = Kind::StructValue(structure(&[("usd", Kind::NumberValue(10.0))]));
    let long = Kind::StructValue(structure(&[("currency", text("dollars"))]));
    for (kind, got) in [
        (Kind::NullValue(0), "null"),
        (nested, r#"{"usd":10.0}"#),
        (long, r#"{"currency":"dol..."#),
        (list([Kind::NumberValue(1.0)]), "[1.0]"),
        (list([text("a"), Kind::NullValue(0)]), r#"["a",null]"#),
        (Kind::NumberValue(f64::NAN), "null"),
    ] {
        let record = with_metadata(vector("a", &[1.0]), &[("price", kind)]);
        invalid(
            upsert(&mut client, "", vec![record]).await,
            &format!(
                "Metadata value must be a string, number, boolean or list of strings, got '{got}' for field 'price'"
            ),
        );
    }
    let record = with_metadata(vector("a", &[1.0]), &[("$set", text("x"))]);
    invalid(
        upsert(&mut client, "", vec![record]).await,
        "Metadata field '$set' cannot start with '$'",
    );
    let odd = with_metadata(
        vector("a", &[1.0]),
        &[
            ("", text("")),
            ("_x", Kind::BoolValue(false)),
            ("größe", Kind::NumberValue(-0.5)),
            ("tags", list([])),
            ("more", list([text("a"), text("")])),
        ],
    );
    let empty = with_metadata(vector("b", &[1.0]), &[]);
    upsert(&mut client, "", vec![odd.clone(), empty.clone()])
        .await
        .expect("taken");
    assert_eq!(server.index.record("", "a").expect("read"), Some(odd));
    assert_eq!(server.index.record("", "b").expect("read"), Some(empty));
    server.stop().await;
}

/// Scenario: metadata of exactly 40,960 bytes, and of one byte more.
/// Guarantees: the first is taken, the second refused with its size.
#[tokio::test]
async fn metadata_size() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let of = |length: usize| structure(&[("k", text(&"x".repeat(length)))]);
    let length = 40_960 - (of(40_000).encoded_len() - 40_000);
    assert_eq!(of(length).encoded_len(), 40_960);
    let mut record = vector("a", &[1.0]);
    record.metadata = Some(of(length));
    upsert(&mut client, "", vec![record.clone()])
        .await
        .expect("taken");
    record.metadata = Some(of(length + 1));
    invalid(
        upsert(&mut client, "", vec![record]).await,
        "Metadata size is 40961 bytes, which exceeds the limit of 40960 bytes per vector",
    );
    server.stop().await;
}

/// Scenario: a request whose second and third of four records are bad.
/// Guarantees: nothing of it is stored, and only the first offender is named.
#[tokio::test]
async fn requests_are_atomic() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let records = vec![
        vector("a", &[1.0]),
        vector("b", &[0.0]),
        vector("", &[1.0]),
        vector("d", &[1.0]),
    ];
    invalid(
        upsert(&mut client, "ns", records).await,
        "Dense vectors must contain at least one non-zero value. Vector ID 'b' contains only zeros",
    );
    assert!(server.index.namespaces().is_empty());
    assert_eq!(server.index.record("ns", "a").expect("read"), None);
    server.stop().await;
}

/// Scenario: an id twice in one request.
/// Guarantees: the last copy stands, both are counted in the answer, one in the index, both in the audit.
#[tokio::test]
async fn last_of_equal_ids_wins() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let records = vec![
        vector("a", &[1.0]),
        vector("b", &[2.0]),
        vector("a", &[3.0]),
    ];
    let answer = upsert(&mut client, "", records).await.expect("taken");
    assert_eq!(answer.into_inner().upserted_count, 3);
    assert_eq!(server.index.count(""), 2);
    let stored = server.index.record("", "a").expect("read").expect("there");
    assert_eq!(stored.values, [3.0]);
    assert_eq!(server.index.audit().writes_of("", "a"), [1, 1]);
    server.stop().await;
}

/// Scenario: no key, a wrong key and the right one, where a key is required; any key where none is.
/// Guarantees: UNAUTHENTICATED "Invalid API key" and nothing applied, unless the key is right.
#[tokio::test]
async fn keys_are_checked_when_given() {
    let server = Served::start(Options {
        api_key: Some("secret".to_owned()),
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    let keyed = |key: Option<&'static str>| {
        let mut upsert = tonic::Request::new(request("", vec![vector("a", &[1.0])]));
        if let Some(key) = key {
            upsert
                .metadata_mut()
                .insert("api-key", key.parse().expect("text"));
        }
        upsert
    };
    for key in [None, Some("wrong")] {
        refused(
            client.upsert(keyed(key)).await,
            Code::Unauthenticated,
            "Invalid API key",
        );
    }
    client.upsert(keyed(Some("secret"))).await.expect("taken");
    let counts = server.index.audit().counts;
    assert_eq!((counts.unauthenticated, counts.upserts), (2, 1));
    server.stop().await;
}
