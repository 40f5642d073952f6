//! Filters end to end, and updates.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;
use vecload_proto::{
    DeleteRequest, FetchByMetadataRequest, QueryRequest, SparseValues, UpdateRequest,
};

use crate::support::{
    Client, Served, invalid, refused, structure, text, upsert, vector, with_metadata,
};

fn at_least(field: &str, bound: f64) -> Struct {
    let operator = structure(&[("$gte", Kind::NumberValue(bound))]);
    structure(&[(field, Kind::StructValue(operator))])
}

/// Ten records `0`..`9` whose metadata are their number and whether it is even.
async fn ten(client: &mut Client) {
    let records = (0..10).map(|n| {
        let even = if n % 2 == 0 { "even" } else { "odd" };
        let fields = [("n", Kind::NumberValue(f64::from(n))), ("kind", text(even))];
        with_metadata(vector(&n.to_string(), &[1.0, n as f32]), &fields)
    });
    upsert(client, "", records.collect()).await.expect("taken");
}

/// Scenario: a query with a filter, and with one that the service would not understand.
/// Guarantees: only matching records are ranked, metadata come when asked for; the bad filter is refused.
#[tokio::test]
async fn filtered_query() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    ten(&mut client).await;
    let mut query = QueryRequest {
        top_k: 3,
        vector: vec![0.0, 1.0],
        filter: Some(structure(&[("kind", text("even"))])),
        include_metadata: true,
        ..QueryRequest::default()
    };
    let found = client
        .query(query.clone())
        .await
        .expect("found")
        .into_inner();
    let ids: Vec<&str> = found.matches.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(ids, ["8", "6", "4"]);
    for found in &found.matches {
        let metadata = found.metadata.as_ref().expect("asked for");
        let kind = metadata.fields["kind"].kind.as_ref();
        assert_eq!(kind, Some(&text("even")));
        assert!(found.values.is_empty(), "not asked for");
    }
    query.filter = Some(structure(&[("$nor", text("x"))]));
    invalid(
        client.query(query).await,
        "$nor is not a valid operator at this place of a filter",
    );
    server.stop().await;
}

/// Scenario: records are fetched by metadata in pages; an empty filter.
/// Guarantees: pages are complete and disjoint; the empty filter is refused with the service's words.
#[tokio::test]
async fn fetch_by_metadata_pages() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    ten(&mut client).await;
    let mut ask = FetchByMetadataRequest {
        filter: Some(at_least("n", 3.0)),
        limit: Some(4),
        ..FetchByMetadataRequest::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = client
            .fetch_by_metadata(ask.clone())
            .await
            .expect("a page")
            .into_inner();
        assert!(page.vectors.len() <= 4);
        ids.extend(page.vectors.into_keys());
        match page.pagination {
            Some(next) => ask.pagination_token = Some(next.next),
            None => break,
        }
    }
    ids.sort();
    assert_eq!(ids, ["3", "4", "5", "6", "7", "8", "9"]);
    ask.filter = Some(Struct::default());
    invalid(
        client.fetch_by_metadata(ask).await,
        "Empty filter provided for fetch by metadata request",
    );
    server.stop().await;
}

/// Scenario: delete by filter, and with an empty filter.
/// Guarantees: exactly the matching records go; the empty filter is refused with the service's words.
#[tokio::test]
async fn delete_by_filter() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    ten(&mut client).await;
    let mut delete = DeleteRequest {
        filter: Some(at_least("n", 7.0)),
        ..DeleteRequest::default()
    };
    client.delete(delete.clone()).await.expect("deleted");
    assert_eq!(server.index.count(""), 7);
    assert!(server.index.record("", "7").expect("read").is_none());
    assert!(server.index.record("", "6").expect("read").is_some());
    delete.filter = Some(Struct::default());
    invalid(
        client.delete(delete).await,
        "Delete with empty metadata filter is not allowed",
    );
    server.stop().await;
}

/// Scenario: updates of one record: values, sparse values, metadata; with wrong ones; of an absent one.
/// Guarantees: only what is given changes, rules hold, an absent record stays absent.
#[tokio::test]
async fn update_by_id() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    ten(&mut client).await;
    let update = || UpdateRequest {
        id: "3".to_owned(),
        ..UpdateRequest::default()
    };
    let sparse = SparseValues {
        indices: vec![5],
        values: vec![0.5],
    };
    client
        .update(UpdateRequest {
            values: vec![7.0, 8.0],
            sparse_values: Some(sparse.clone()),
            set_metadata: Some(structure(&[("kind", text("prime")), ("new", text("x"))])),
            ..update()
        })
        .await
        .expect("updated");
    let stored = server.index.record("", "3").expect("read").expect("there");
    assert_eq!(stored.values, [7.0, 8.0]);
    assert_eq!(stored.sparse_values, Some(sparse));
    let expected = [
        ("kind", text("prime")),
        ("n", Kind::NumberValue(3.0)),
        ("new", text("x")),
    ];
    assert_eq!(stored.metadata, Some(structure(&expected)));

    let wrong = UpdateRequest {
        values: vec![1.0],
        ..update()
    };
    invalid(
        client.update(wrong).await,
        "Vector dimension 1 does not match the dimension of the index 2",
    );
    let null = UpdateRequest {
        set_metadata: Some(structure(&[("a", Kind::NullValue(0))])),
        ..update()
    };
    invalid(
        client.update(null).await,
        "Metadata value must be a string, number, boolean or list of strings, got 'null' for field 'a'",
    );
    let absent = UpdateRequest {
        id: "absent".to_owned(),
        values: vec![1.0, 1.0],
        ..UpdateRequest::default()
    };
    client.update(absent).await.expect("no error");
    assert_eq!(server.index.count(""), 10);
    let nowhere = UpdateRequest {
        namespace: "absent".to_owned(),
        ..update()
    };
    refused(
        client.update(nowhere).await,
        Code::NotFound,
        "Namespace not found",
    );
    server.stop().await;
}

/// Scenario: metadata of all matching records are changed, first as a dry run; and with an empty filter.
/// Guarantees: the dry run counts and changes nothing, the other counts and changes; the empty filter is refused.
#[tokio::test]
async fn update_by_filter() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    ten(&mut client).await;
    let mut update = UpdateRequest {
        filter: Some(at_least("n", 5.0)),
        set_metadata: Some(structure(&[("big", Kind::BoolValue(true))])),
        dry_run: Some(true),
        ..UpdateRequest::default()
    };
    let big = |id: &str| {
        let stored = server.index.record("", id).expect("read").expect("there");
        let metadata = stored.metadata.expect("some");
        let value: Option<Value> = metadata.fields.get("big").cloned();
        value.is_some()
    };
    let dry = client
        .update(update.clone())
        .await
        .expect("counted")
        .into_inner();
    assert_eq!(dry.matched_records, Some(5));
    assert!(!big("7"));
    update.dry_run = None;
    let done = client
        .update(update.clone())
        .await
        .expect("updated")
        .into_inner();
    assert_eq!(done.matched_records, Some(5));
    assert!(big("5") && big("9") && !big("4"));
    update.filter = Some(Struct::default());
    invalid(
        client.update(update).await,
        "Update with empty metadata filter is not allowed",
    );
    server.stop().await;
}
