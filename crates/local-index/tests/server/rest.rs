//! The data plane over REST, on the port that serves gRPC.

use serde_json::{Value, json};
use tonic::Code;
use vecload_local_index::{Faults, Options};
use vecload_proto::FetchRequest;

use crate::support::{Answer, Served, http, upsert, vector};

async fn post(server: &Served, path: &str, body: Value) -> Answer {
    http(server.address, &format!("POST {path}"), "", &body).await
}

async fn get(server: &Served, path: &str) -> Answer {
    http(server.address, &format!("GET {path}"), "", &Value::Null).await
}

/// Scenario: records are written over REST and read over gRPC, then read, changed and counted over REST.
/// Guarantees: both see one index; names are the service's; writes and queries carry their LSN, all a request id.
#[tokio::test]
async fn rest_and_grpc_are_one_index() {
    let server = Served::plain().await;
    let records = json!({"namespace": "n", "vectors": [
        {"id": "a", "values": [0.1, 2.0], "metadata": {"year": 1999, "gone": null, "tags": ["x"]},
         "sparseValues": {"indices": [7], "values": [0.5]}},
        {"id": "b", "values": [1e-3, -1.0]},
    ]});
    let written = post(&server, "/vectors/upsert", records).await;
    assert_eq!(written.status, 200, "{}", written.body);
    assert_eq!(written.json(), json!({"upsertedCount": 2}));
    assert_eq!(written.headers["x-pinecone-request-lsn"], "1");
    assert!(written.headers.contains_key("x-pinecone-request-id"));

    let request = FetchRequest {
        ids: vec!["a".to_owned()],
        namespace: "n".to_owned(),
    };
    let mut client = server.client().await;
    let fetched = client.fetch(request).await.expect("fetched").into_inner();
    let record = &fetched.vectors["a"];
    assert_eq!(record.values, [0.1, 2.0]);
    let names = |record: &vecload_proto::Vector| -> Vec<String> {
        let metadata = record.metadata.as_ref().expect("metadata");
        metadata.fields.keys().cloned().collect()
    };
    assert_eq!(names(record), ["tags", "year"]);

    let fetched = get(&server, "/vectors/fetch?ids=a&ids=none&namespace=n").await;
    let expected = json!({"a": {
        "id": "a",
        "values": [0.1, 2.0],
        "sparseValues": {"indices": [7], "values": [0.5]},
        "metadata": {"year": 1999.0, "tags": ["x"]},
    }});
    assert_eq!(fetched.json()["vectors"], expected);
    assert_eq!(fetched.json()["usage"], json!({"readUnits": 1}));

    let question = json!({"namespace": "n", "vector": [0.0, 1.0], "topK": 1, "includeMetadata": true,
        "filter": {"year": {"$gte": 1990}}});
    let found = post(&server, "/query", question).await;
    assert_eq!(found.headers["x-pinecone-max-indexed-lsn"], "1");
    let matches = &found.json()["matches"];
    assert_eq!(
        (&matches[0]["id"], &matches[0]["score"]),
        (&json!("a"), &json!(2.0))
    );
    assert_eq!(matches.as_array().map(Vec::len), Some(1));

    let page = get(&server, "/vectors/list?namespace=n&limit=1")
        .await
        .json();
    assert_eq!(page["vectors"], json!([{"id": "a"}]));
    let next = page["pagination"]["next"]
        .as_str()
        .expect("a token")
        .to_owned();
    let rest = format!("/vectors/list?namespace=n&paginationToken={next}");
    assert_eq!(
        get(&server, &rest).await.json()["vectors"],
        json!([{"id": "b"}])
    );

    let change = json!({"namespace": "n", "filter": {"tags": "x"}, "setMetadata": {"year": 2000}});
    let changed = post(&server, "/vectors/update", change).await;
    assert_eq!(changed.json(), json!({"matchedRecords": 1}));
    let by_metadata = json!({"namespace": "n", "filter": {"year": 2000}});
    let found = post(&server, "/vectors/fetch_by_metadata", by_metadata).await;
    assert_eq!(found.json()["vectors"]["a"]["id"], "a");

    let gone = json!({"namespace": "n", "ids": ["b"]});
    assert_eq!(post(&server, "/vectors/delete", gone).await.body, "{}");
    let stats = get(&server, "/describe_index_stats").await.json();
    assert_eq!(stats["namespaces"], json!({"n": {"vectorCount": 1}}));
    assert_eq!(
        (&stats["dimension"], &stats["metric"]),
        (&json!(2), &json!("dotproduct"))
    );
    server.stop().await;
}

/// Scenario: namespaces are created, listed, described and deleted over REST, one with a name that is encoded.
/// Guarantees: names and numbers are in the service's form (64-bit integers as texts); what is gone is 404.
#[tokio::test]
async fn namespaces_over_rest() {
    let server = Served::plain().await;
    let made = post(&server, "/namespaces", json!({"name": "a b"})).await;
    assert_eq!(made.json()["record_count"], "0");
    let listed = get(&server, "/namespaces?limit=10").await.json();
    assert_eq!(
        (&listed["namespaces"][0]["name"], &listed["total_count"]),
        (&json!("a b"), &json!(1))
    );
    assert_eq!(
        get(&server, "/namespaces/a%20b").await.json()["name"],
        "a b"
    );
    let path = "DELETE /namespaces/a%20b";
    let deleted = http(server.address, path, "", &Value::Null).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (200, "{}"));
    let gone = get(&server, "/namespaces/a%20b").await;
    assert_eq!(gone.status, 404);
    let expected = json!({"code": 5, "message": "Namespace not found", "details": []});
    assert_eq!(gone.json(), expected);
    server.stop().await;
}

/// Scenario: requests that break rules, that are no JSON, and that the local index has nothing for.
/// Guarantees: the service's HTTP status with gRPC's code and words in the body, and nothing is kept.
#[tokio::test]
async fn errors_over_rest() {
    let server = Served::plain().await;
    upsert(
        &mut server.client().await,
        "",
        vec![vector("a", &[1.0, 2.0])],
    )
    .await
    .expect("written");
    let records = |values: Value| json!({"vectors": [{"id": "b", "values": values}]});
    for (request, body, status, code, words) in [
        (
            "POST /vectors/upsert",
            records(json!([1.0])),
            400,
            Code::InvalidArgument,
            "Vector dimension 1 does not match the dimension of the index 2",
        ),
        (
            "POST /vectors/upsert",
            records(json!("none")),
            400,
            Code::InvalidArgument,
            "Invalid request: invalid type: string \"none\"",
        ),
        (
            "POST /vectors/upsert",
            json!({"vectors": [{"id": "b", "values": [1, 2], "metadata": {"l": ["x", null]}}]}),
            400,
            Code::InvalidArgument,
            "Metadata value must be a string, number, boolean or list of strings, got '[\"x\",null]' for field 'l'",
        ),
        (
            "GET /vectors/list?limit=many",
            Value::Null,
            400,
            Code::InvalidArgument,
            "limit is 'many', but must be a number",
        ),
        (
            "GET /nothing",
            Value::Null,
            404,
            Code::NotFound,
            "GET /nothing is no operation",
        ),
        (
            "POST /records/namespaces/n/upsert",
            json!({}),
            501,
            Code::Unimplemented,
            "the local index has no text records: use vectors",
        ),
        (
            "POST /namespaces",
            json!({"name": "__default__"}),
            409,
            Code::AlreadyExists,
            "Namespace __default__ already exists",
        ),
    ] {
        let answer = http(server.address, request, "", &body).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.body);
        let error = answer.json();
        assert_eq!(error["code"], code as i32, "{request}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.starts_with(words), "{request}: {message}");
    }
    assert_eq!(server.index.count(""), 1);
    server.stop().await;
}

/// Scenario: a server that checks keys gets REST requests without one, with a wrong one and with the right one.
/// Guarantees: 401 with the plain text of the layer in front of the service; the right key is served.
#[tokio::test]
async fn keys_over_rest() {
    let server = Served::start(Options {
        api_key: Some("right".to_owned()),
        ..Options::default()
    })
    .await;
    let request = "GET /describe_index_stats";
    for headers in ["", "api-key: wrong\r\n"] {
        let refused = http(server.address, request, headers, &Value::Null).await;
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (401, "Unauthorized")
        );
        assert_eq!(refused.headers["content-type"], "text/plain");
    }
    let served = http(server.address, request, "Api-Key: right\r\n", &Value::Null).await;
    assert_eq!(served.status, 200);
    server.stop().await;
}

/// Scenario: every upsert is refused for its rate, by the service and then by the layer in front of it.
/// Guarantees: over REST 429 with the service's JSON, then with a plain text; over gRPC RESOURCE_EXHAUSTED, then UNAVAILABLE.
#[tokio::test]
async fn refusals_of_the_service_and_of_the_layer_in_front() {
    for (front_layer, kind, code) in [
        (false, "application/json", Code::ResourceExhausted),
        (true, "text/plain", Code::Unavailable),
    ] {
        let server = Served::start(Options {
            faults: Faults {
                refuse: 1.0,
                front_layer,
                ..Faults::default()
            },
            ..Options::default()
        })
        .await;
        let records = json!({"vectors": [{"id": "b", "values": [1.0]}]});
        let refused = post(&server, "/vectors/upsert", records).await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.headers["content-type"], kind);
        let mut client = server.client().await;
        let status = upsert(&mut client, "", vec![vector("a", &[1.0])]).await;
        assert_eq!(status.expect_err("refused").code(), code);
        assert_eq!(server.index.audit().counts.throttled, 2);
        server.stop().await;
    }
}
