//! The control plane: named indexes, made, described, changed and deleted.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vecload_local_index::{LocalService, Options};

use crate::support::{Answer, connect, http, upsert, vector};

/// A running service.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(options: Options) -> Self {
        let service = LocalService::open(options).expect("the service opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            service.serve(listener, shutdown).await.expect("served");
        });
        Self {
            address,
            stop,
            task,
        }
    }

    async fn ask(&self, request: &str, body: Value) -> Answer {
        self.ask_as("x-pinecone-api-version: 2026-07\r\n", request, body)
            .await
    }

    async fn ask_as(&self, headers: &str, request: &str, body: Value) -> Answer {
        http(self.address, request, headers, &body).await
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("no panic");
    }
}

fn in_dir(dir: &Path) -> Options {
    Options {
        data_dir: Some(dir.to_owned()),
        ..Options::default()
    }
}

fn by_spec(name: &str) -> Value {
    let spec = json!({"serverless": {"cloud": "gcp", "region": "europe-west4"}});
    json!({"name": name, "dimension": 2, "spec": spec})
}

fn host(answer: &Answer) -> SocketAddr {
    let host = answer.json()["host"].as_str().expect("a host").to_owned();
    host.trim_start_matches("http://")
        .parse()
        .expect("an address")
}

/// Scenario: an index is created in each shape and described in each, by clients that want a scheme and that do not.
/// Guarantees: the answer has the shape of the client's API version, whichever shape the index was made in, and a host that it can use.
#[tokio::test]
async fn both_shapes_of_the_api() {
    let server = Served::start(Options::default()).await;
    let old = server.ask_as("", "POST /indexes", by_spec("old")).await;
    assert_eq!(old.status, 201, "{}", old.body);
    let schema = json!({"fields": {"_values": {"type": "dense_vector", "dimension": 2, "metric": "cosine"}}});
    let deployment =
        json!({"deployment_type": "managed", "cloud": "gcp", "region": "europe-west4"});
    let new = json!({"name": "new", "schema": schema, "deployment": deployment});
    let new = server.ask("POST /indexes", new).await;
    assert_eq!(new.status, 201, "{}", new.body);

    let version = |version: &str| format!("x-pinecone-api-version: {version}\r\n");
    for name in ["old", "new"] {
        let request = format!("GET /indexes/{name}");
        for headers in [String::new(), version("2025-10"), version("2026-04")] {
            let index = server.ask_as(&headers, &request, Value::Null).await.json();
            assert_eq!(
                (&index["dimension"], &index["metric"]),
                (&json!(2), &json!("cosine"))
            );
            assert_eq!(index["vector_type"], "dense");
            let place = &index["spec"]["serverless"];
            assert_eq!(
                (&place["cloud"], &place["region"]),
                (&json!("gcp"), &json!("europe-west4"))
            );
            assert_eq!(index.get("schema"), None);
        }
        for headers in [
            version("2026-07"),
            version("2027-01"),
            version("2026-01.alpha"),
        ] {
            let index = server.ask_as(&headers, &request, Value::Null).await.json();
            let fields = &index["schema"]["fields"];
            let dense = json!({"type": "dense_vector", "dimension": 2, "metric": "cosine"});
            assert_eq!(fields["_values"], dense);
            assert_eq!(fields["_sparse_values"]["type"], "sparse_vector");
            assert_eq!(index["deployment"]["deployment_type"], "managed");
            assert_eq!(index["status"], json!({"ready": true, "state": "Ready"}));
            assert_eq!(index.get("spec"), None);
        }
    }
    let request = "GET /indexes/old";
    for (agent, begins) in [
        ("python-client-10.2.0", "http://127.0.0.1:"),
        (
            "@pinecone-database/pinecone v9.0.0; lang=typescript; node v20",
            "http://127.0.0.1:",
        ),
        ("go-client/v6.1.0", "127.0.0.1:"),
        ("curl/8", "127.0.0.1:"),
    ] {
        let headers = format!("user-agent: {agent}\r\n");
        let index = server.ask_as(&headers, request, Value::Null).await.json();
        let host = index["host"].as_str().expect("a host");
        assert!(host.starts_with(begins), "{agent}: {host}");
    }
    let all = server.ask("GET /indexes", Value::Null).await.json();
    let names: Vec<_> = all["indexes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|index| &index["name"])
        .collect();
    assert_eq!(names, ["new", "old"]);
    server.stop().await;
}

/// Scenario: records go to a named index and to the one without a name; the service is stopped and started again on another port.
/// Guarantees: each index keeps its own records, what it is, and its address.
#[tokio::test]
async fn named_indexes_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Served::start(in_dir(dir.path())).await;
    let first = host(&server.ask("POST /indexes", by_spec("films")).await);
    let mut films = connect(first).await;
    upsert(&mut films, "n", vec![vector("a", &[1.0, 2.0])])
        .await
        .expect("written");
    let mut unnamed = connect(server.address).await;
    upsert(&mut unnamed, "", vec![vector("b", &[1.0])])
        .await
        .expect("written");
    let configured = json!({"tags": {"team": "x", "gone": "y"}, "deletion_protection": "enabled"});
    server.ask("PATCH /indexes/films", configured).await;
    let configured = json!({"tags": {"gone": ""}});
    server.ask("PATCH /indexes/films", configured).await;
    drop((films, unnamed));
    server.stop().await;

    // What a crash in mid-creation leaves.
    let half = dir.path().join("indexes/half");
    std::fs::create_dir_all(&half).expect("a folder");
    let service = LocalService::open(in_dir(dir.path())).expect("the service opens");
    assert!(!half.try_exists().expect("looked up"));
    assert_eq!(service.index("films").expect("is there").count("n"), 1);
    assert_eq!(service.unnamed().count(""), 1);
    drop(service);

    let server = Served::start(in_dir(dir.path())).await;
    let films = server.ask("GET /indexes/films", Value::Null).await;
    assert_eq!(host(&films), first);
    assert_eq!(films.json()["tags"], json!({"team": "x"}));
    assert_eq!(films.json()["deletion_protection"], "enabled");
    let stats = http(first, "GET /describe_index_stats", "", &Value::Null).await;
    assert_eq!(stats.json()["namespaces"], json!({"n": {"vectorCount": 1}}));
    server.stop().await;
}

/// Scenario: a protected index is deleted, its protection is taken off, and it is deleted again; one of the same name follows.
/// Guarantees: 403 while it is protected; then its address is closed, its files are gone, and the new one is empty.
#[tokio::test]
async fn deleting_needs_no_protection() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Served::start(in_dir(dir.path())).await;
    let mut protected = by_spec("films");
    protected["deletion_protection"] = json!("enabled");
    let address = host(&server.ask("POST /indexes", protected).await);
    upsert(
        &mut connect(address).await,
        "",
        vec![vector("a", &[1.0, 2.0])],
    )
    .await
    .expect("written");

    let refused = server.ask("DELETE /indexes/films", Value::Null).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["code"], "FORBIDDEN");
    let unprotected = json!({"deletion_protection": "disabled"});
    server.ask("PATCH /indexes/films", unprotected).await;
    assert_eq!(
        server
            .ask("DELETE /indexes/films", Value::Null)
            .await
            .status,
        202
    );
    let films = dir.path().join("indexes/films");
    assert!(!films.try_exists().expect("looked up"));
    let gone = server.ask("GET /indexes/films", Value::Null).await;
    let expected =
        json!({"error": {"code": "NOT_FOUND", "message": "Index films not found."}, "status": 404});
    assert_eq!((gone.status, gone.json()), (404, expected));

    let again = host(&server.ask("POST /indexes", by_spec("films")).await);
    let stats = http(again, "GET /describe_index_stats", "", &Value::Null).await;
    assert_eq!(stats.json()["totalVectorCount"], 0);
    server.stop().await;
}

/// Scenario: indexes take an hour to be ready; one is created and described.
/// Guarantees: it is Initializing and not ready, and can be deleted.
#[tokio::test]
async fn an_index_is_not_ready_at_once() {
    let server = Served::start(Options {
        initializing_for: Duration::from_secs(3_600),
        ..Options::default()
    })
    .await;
    let expected = json!({"ready": false, "state": "Initializing"});
    let created = server.ask("POST /indexes", by_spec("films")).await;
    assert_eq!(created.json()["status"], expected);
    let described = server.ask("GET /indexes/films", Value::Null).await;
    assert_eq!(described.json()["status"], expected);
    assert_eq!(
        server
            .ask("DELETE /indexes/films", Value::Null)
            .await
            .status,
        202
    );
    server.stop().await;
}

/// Scenario: requests to create that break a rule, name what the local index has not, or are incomplete.
/// Guarantees: the service's status, code and words (own words where its are not known), and no index is made.
#[tokio::test]
async fn what_cannot_be_created() {
    let server = Served::start(Options::default()).await;
    server.ask("POST /indexes", by_spec("taken")).await;
    let changed = |changes: Value| {
        let mut body = by_spec("films");
        for (name, value) in changes.as_object().expect("an object") {
            body[name] = value.clone();
        }
        body
    };
    let fields = |fields: Value| json!({"name": "films", "schema": {"fields": fields}});
    for (body, status, words) in [
        (by_spec("taken"), 409, "Resource already exists."),
        (
            by_spec("Films"),
            400,
            "Name must consist of lower case alphanumeric characters or '-'",
        ),
        (
            by_spec(&"x".repeat(46)),
            400,
            "Name must have 1 to 45 characters, but has 46",
        ),
        (by_spec("../films"), 400, "Name must consist of"),
        (
            changed(json!({"dimension": 0})),
            400,
            "Dimension 0 is not in the range of 1 to 20000",
        ),
        (
            changed(json!({"dimension": null})),
            400,
            "dimension must be specified for dense indexes",
        ),
        (
            changed(json!({"metric": "manhattan"})),
            400,
            "unknown metric 'manhattan'",
        ),
        (
            changed(json!({"vector_type": "sparse"})),
            400,
            "dimension should not be specified for sparse indexes",
        ),
        (
            changed(json!({"vector_type": "sparse", "dimension": null, "metric": "cosine"})),
            400,
            "Sparse vector indexes must use the metric dotproduct.",
        ),
        (
            changed(json!({"spec": {"pod": {}}})),
            501,
            "the local index has no pod indexes",
        ),
        (
            changed(json!({"deletion_protection": "on"})),
            422,
            "unknown variant `on`",
        ),
        (
            json!({"name": "films"}),
            422,
            "Failed to deserialize the JSON body into the target type: missing field `spec`",
        ),
        (
            fields(json!({"title": {"type": "string"}})),
            501,
            "the local index has no document indexes, and 'title'",
        ),
        (
            fields(json!({"_values": {"type": "string"}})),
            400,
            "Field '_values' must be of type dense_vector, but is string",
        ),
        (fields(json!({})), 400, "The schema has no fields"),
    ] {
        let refused = server.ask("POST /indexes", body.clone()).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.body);
        let error = refused.json();
        assert_eq!(error["status"], status);
        let message = error["error"]["message"].as_str().expect("a text");
        assert!(message.starts_with(words), "{body}: {message}");
    }
    let for_model = server
        .ask("POST /indexes/create-for-model", json!({}))
        .await;
    assert_eq!(for_model.status, 501);
    let all = server.ask("GET /indexes", Value::Null).await.json();
    assert_eq!(all["indexes"].as_array().map(Vec::len), Some(1));
    server.stop().await;
}
