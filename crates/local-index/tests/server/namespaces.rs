//! Namespaces, counts, listings, deletes.

use std::collections::HashMap;

use tonic::Code;
use vecload_local_index::{Metric, Options};
use vecload_proto::{
    CreateNamespaceRequest, DeleteNamespaceRequest, DeleteRequest, DescribeIndexStatsRequest,
    DescribeNamespaceRequest, FetchRequest, ListNamespacesRequest, ListRequest,
};

use crate::support::{Client, Served, invalid, refused, sparse, structure, text, upsert, vector};

async fn fill(client: &mut Client, namespace: &str, ids: impl Iterator<Item = String>) {
    let records = ids.map(|id| vector(&id, &[1.0, 2.0])).collect();
    upsert(client, namespace, records).await.expect("taken");
}

fn delete(namespace: &str) -> DeleteRequest {
    DeleteRequest {
        namespace: namespace.to_owned(),
        ..DeleteRequest::default()
    }
}

/// Scenario: stats of an empty index, of a dense one with two namespaces, of a sparse one, and with a filter.
/// Guarantees: counts, dimension, kind and metric are those of the index; a filter is refused as by serverless.
#[tokio::test]
async fn stats() {
    let server = Served::start(Options {
        metric: Some(Metric::Euclidean),
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    let ask = DescribeIndexStatsRequest::default();
    let empty = client
        .describe_index_stats(ask.clone())
        .await
        .expect("stats")
        .into_inner();
    assert_eq!((empty.dimension, empty.vector_type), (None, None));
    assert_eq!(empty.total_vector_count, 0);
    fill(&mut client, "", (0..5).map(|n| n.to_string())).await;
    fill(&mut client, "b", (0..3).map(|n| n.to_string())).await;
    fill(&mut client, "b", (1..4).map(|n| n.to_string())).await;
    let full = client
        .describe_index_stats(ask)
        .await
        .expect("stats")
        .into_inner();
    let counts: HashMap<_, _> = full
        .namespaces
        .iter()
        .map(|(name, summary)| (name.as_str(), summary.vector_count))
        .collect();
    assert_eq!(counts, HashMap::from([("", 5), ("b", 4)]));
    assert_eq!(full.total_vector_count, 9);
    assert_eq!(full.dimension, Some(2));
    assert_eq!(full.vector_type.as_deref(), Some("dense"));
    assert_eq!(full.metric.as_deref(), Some("euclidean"));
    let filtered = DescribeIndexStatsRequest {
        filter: Some(structure(&[("a", text("b"))])),
    };
    invalid(
        client.describe_index_stats(filtered).await,
        "Serverless and Starter indexes do not support describing index stats with metadata filtering",
    );
    server.stop().await;

    let server = Served::plain().await;
    let mut client = server.client().await;
    upsert(&mut client, "", vec![sparse("a", &[1], &[1.0])])
        .await
        .expect("taken");
    let ask = DescribeIndexStatsRequest::default();
    let stats = client
        .describe_index_stats(ask)
        .await
        .expect("stats")
        .into_inner();
    assert_eq!(stats.dimension, None);
    assert_eq!(stats.vector_type.as_deref(), Some("sparse"));
    server.stop().await;
}

/// Scenario: 250 ids of which 120 share a prefix, listed in pages of 50 and of the default size.
/// Guarantees: pages are sorted, disjoint and complete; the last has no token; bad limits and tokens are refused.
#[tokio::test]
async fn list_pages() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let ids = (0..250).map(|n| format!("{}{n:03}", if n < 120 { "doc#" } else { "z" }));
    fill(&mut client, "n", ids).await;
    let mut ask = ListRequest {
        prefix: Some("doc#".to_owned()),
        limit: Some(50),
        namespace: "n".to_owned(),
        ..ListRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = client.list(ask.clone()).await.expect("a page").into_inner();
        assert_eq!(page.namespace, "n");
        pages.push(
            page.vectors
                .into_iter()
                .map(|item| item.id)
                .collect::<Vec<_>>(),
        );
        match page.pagination {
            Some(next) => ask.pagination_token = Some(next.next),
            None => break,
        }
    }
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [50, 50, 20]);
    let listed = pages.concat();
    let expected: Vec<String> = (0..120).map(|n| format!("doc#{n:03}")).collect();
    assert_eq!(listed, expected);

    let all = ListRequest {
        namespace: "n".to_owned(),
        ..ListRequest::default()
    };
    let page = client.list(all).await.expect("a page").into_inner();
    assert_eq!(page.vectors.len(), 100);
    assert!(page.pagination.is_some());
    let nowhere = ListRequest {
        namespace: "absent".to_owned(),
        ..ListRequest::default()
    };
    assert!(
        client
            .list(nowhere)
            .await
            .expect("empty")
            .into_inner()
            .vectors
            .is_empty()
    );
    for limit in [0, 101] {
        ask.limit = Some(limit);
        invalid(
            client.list(ask.clone()).await,
            &format!("limit is {limit}, but must be between 1 and 100"),
        );
    }
    ask.limit = None;
    ask.pagination_token = Some("nonsense".to_owned());
    invalid(client.list(ask).await, "Invalid pagination token");
    server.stop().await;
}

/// Scenario: fetch of present and absent ids, of an absent namespace, of no ids and of 1,001.
/// Guarantees: what is there comes back, what is not is left out, the limits have their messages.
#[tokio::test]
async fn fetch() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    fill(&mut client, "n", (0..3).map(|n| n.to_string())).await;
    let mut ask = FetchRequest {
        ids: ["0", "2", "9"].map(str::to_owned).to_vec(),
        namespace: "n".to_owned(),
    };
    let found = client.fetch(ask.clone()).await.expect("found").into_inner();
    assert_eq!(found.namespace, "n");
    assert_eq!(found.vectors.len(), 2);
    assert_eq!(found.vectors["2"], vector("2", &[1.0, 2.0]));
    ask.namespace = "absent".to_owned();
    assert!(
        client
            .fetch(ask.clone())
            .await
            .expect("empty")
            .into_inner()
            .vectors
            .is_empty()
    );
    ask.ids = Vec::new();
    invalid(
        client.fetch(ask.clone()).await,
        "Invalid request: ids must not be empty",
    );
    ask.ids = (0..1_001).map(|n| n.to_string()).collect();
    invalid(
        client.fetch(ask).await,
        "Request contains 1001 ids, which exceeds the maximum of 1000 ids per request",
    );
    server.stop().await;
}

/// Scenario: deletes by id, of everything, from an absent namespace, and with no or two ways of naming records.
/// Guarantees: what is named is gone and the rest stays; counts follow; wrong requests are refused.
#[tokio::test]
async fn deletes() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    fill(&mut client, "n", (0..10).map(|n| n.to_string())).await;
    fill(&mut client, "m", (0..10).map(|n| n.to_string())).await;
    let mut some = delete("n");
    some.ids = ["1", "2", "absent"].map(str::to_owned).to_vec();
    client.delete(some).await.expect("deleted");
    assert_eq!(server.index.count("n"), 8);
    assert_eq!(server.index.record("n", "1").expect("read"), None);
    let mut all = delete("n");
    all.delete_all = true;
    client.delete(all.clone()).await.expect("deleted");
    assert_eq!((server.index.count("n"), server.index.count("m")), (0, 10));
    assert_eq!(server.index.namespaces(), ["m", "n"]);
    all.namespace = "absent".to_owned();
    refused(
        client.delete(all.clone()).await,
        Code::NotFound,
        "Namespace not found",
    );
    all.ids = vec!["1".to_owned()];
    for wrong in [all, delete("n")] {
        invalid(
            client.delete(wrong).await,
            "Exactly one of ids, filter and delete_all must be given to delete",
        );
    }
    server.stop().await;
}

/// Scenario: a namespace is created, described, created again, deleted, written to again; and the default one likewise.
/// Guarantees: each step is seen by the next; the default namespace always exists; LSNs go on after a deletion.
#[tokio::test]
async fn lives_of_namespaces() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    let create = |name: &str| CreateNamespaceRequest {
        name: name.to_owned(),
        schema: None,
    };
    let describe = |name: &str| DescribeNamespaceRequest {
        namespace: name.to_owned(),
    };
    let created = client.create_namespace(create("n")).await.expect("created");
    assert_eq!(created.into_inner().name, "n");
    refused(
        client.create_namespace(create("n")).await,
        Code::AlreadyExists,
        "Namespace n already exists",
    );
    refused(
        client.create_namespace(create("__default__")).await,
        Code::AlreadyExists,
        "Namespace __default__ already exists",
    );
    fill(&mut client, "n", (0..3).map(|n| n.to_string())).await;
    let described = client
        .describe_namespace(describe("n"))
        .await
        .expect("there")
        .into_inner();
    assert_eq!(described.record_count, 3);
    assert!(described.size_bytes >= 3 * 9);
    let default = client
        .describe_namespace(describe(""))
        .await
        .expect("there")
        .into_inner();
    assert_eq!(
        (default.name.as_str(), default.record_count),
        ("__default__", 0)
    );
    let gone = DeleteNamespaceRequest {
        namespace: "n".to_owned(),
    };
    client
        .delete_namespace(gone.clone())
        .await
        .expect("deleted");
    refused(
        client.delete_namespace(gone).await,
        Code::NotFound,
        "Namespace not found",
    );
    refused(
        client.describe_namespace(describe("n")).await,
        Code::NotFound,
        "Namespace not found",
    );
    assert!(server.index.namespaces().is_empty());
    let answer = upsert(&mut client, "n", vec![vector("new", &[1.0, 2.0])])
        .await
        .expect("taken");
    assert!(crate::support::lsn(&answer, "x-pinecone-request-lsn") > 3);
    assert_eq!(
        server.index.count("n"),
        1,
        "what was deleted does not come back"
    );
    assert_eq!(server.index.record("n", "0").expect("read"), None);
    server.stop().await;
}

/// Scenario: 25 namespaces, some with a prefix, listed in pages.
/// Guarantees: sorted, complete, counted in total, the default one by its shown name.
#[tokio::test]
async fn list_namespaces_pages() {
    let server = Served::plain().await;
    let mut client = server.client().await;
    fill(&mut client, "", ["x".to_owned()].into_iter()).await;
    for n in 0..24 {
        fill(
            &mut client,
            &format!("t{n:02}"),
            ["x".to_owned()].into_iter(),
        )
        .await;
    }
    let mut ask = ListNamespacesRequest {
        limit: Some(10),
        ..ListNamespacesRequest::default()
    };
    let mut names = Vec::new();
    loop {
        let page = client
            .list_namespaces(ask.clone())
            .await
            .expect("a page")
            .into_inner();
        assert_eq!(page.total_count, 25);
        names.extend(page.namespaces.into_iter().map(|namespace| namespace.name));
        match page.pagination {
            Some(next) => ask.pagination_token = Some(next.next),
            None => break,
        }
    }
    let mut expected: Vec<String> = (0..24).map(|n| format!("t{n:02}")).collect();
    expected.insert(0, "__default__".to_owned());
    assert_eq!(names, expected);
    ask.prefix = Some("t1".to_owned());
    ask.pagination_token = None;
    let page = client
        .list_namespaces(ask)
        .await
        .expect("a page")
        .into_inner();
    assert_eq!((page.namespaces.len(), page.total_count), (10, 10));
    assert!(page.pagination.is_none());
    server.stop().await;
}
