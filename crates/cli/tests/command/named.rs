//! An index by its name: made, found, kept to by its run, and each way in which it is refused.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Server, lines, report, stderr, vecload, write};
use crate::words::assert_words;

/// Asks over HTTP; the status and the document.
fn ask(host: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let address = host.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let body = body.to_string();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-pinecone-api-version: 2025-10\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let document = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.expect("a status"), document)
}

/// What the control plane says of an index.
fn described(server: &Server, name: &str) -> Value {
    let (status, index) = ask(
        &server.host,
        "GET",
        &format!("/indexes/{name}"),
        &Value::Null,
    );
    assert_eq!(status, 200, "{index}");
    index
}

/// Makes an index, dense with that dimension and metric.
fn make(server: &Server, name: &str, dimension: u32, metric: &str) {
    let index = json!({
        "name": name, "dimension": dimension, "metric": metric,
        "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}},
    });
    let (status, answer) = ask(&server.host, "POST", "/indexes", &index);
    assert_eq!(status, 201, "{answer}");
}

/// How many records an index has.
fn count(index: &Value) -> Value {
    let host = index["host"].as_str().expect("a host");
    let (_, stats) = ask(host, "POST", "/describe_index_stats", &json!({}));
    stats["totalVectorCount"].clone()
}

/// The command, with that control plane.
fn command(folder: &TempDir, control: &str, arguments: &[&str]) -> Command {
    let mut command = vecload(folder);
    command
        .args(arguments)
        .env("PINECONE_CONTROLLER_HOST", control);
    command
}

fn with(folder: &TempDir, control: &str, arguments: &[&str]) -> Output {
    let output = command(folder, control, arguments).output();
    output.expect("the command runs")
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
}

/// Checks that a command is refused with that code and one error that has these words.
fn assert_refused(folder: &TempDir, control: &str, arguments: &[&str], code: i32, words: &[&str]) {
    let output = with(folder, control, arguments);
    assert_exit(&output, code);
    let said = stderr(&output);
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{said}");
    for word in words {
        assert!(errors[0].contains(word), "`{word}` in {said}");
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(10));
    folder
}

const LOAD: [&str; 4] = ["load", "corpus.jsonl", "--index", "movies"];

fn load_with(more: &[&'static str]) -> Vec<&'static str> {
    [&LOAD, more].concat()
}

/// Scenario: one command against a local index that has no index at all, which takes a second to make one.
/// Guarantees: exit 0; the index has the dimension of the data and the metric cosine, holds the records, and
/// answers a query; a second load goes on with it, and a verification finds it by its name.
#[test]
fn from_nothing_to_an_index_that_can_be_queried() {
    let folder = folder();
    let server = Server::start(
        &folder,
        &["--initializing-for", "1s", "--data-dir", "index"],
    );
    let create = load_with(&["--create-index", "--run-dir", "run"]);
    let output = with(&folder, &server.host, &create);
    assert_exit(&output, 0);
    assert_words("named-created", &folder, &output);
    let index = described(&server, "movies");
    assert_eq!(index["dimension"], 4);
    assert_eq!(index["metric"], "cosine");
    assert_eq!(index["spec"]["serverless"]["cloud"], "aws");
    assert_eq!(index["spec"]["serverless"]["region"], "us-east-1");
    assert_eq!(count(&index), 10);
    let host = index["host"].as_str().expect("a host");
    let query = json!({"vector": [1, 1, 2, 3], "topK": 1});
    let (_, found) = ask(host, "POST", "/query", &query);
    assert_eq!(found["matches"][0]["id"], "r1", "{found}");
    let target = report(&folder.path().join("run"))["target"].clone();
    assert_eq!(target["index"], "movies");
    assert_eq!(target["name"], format!("http://{host}"));

    let again = load_with(&["--create-index", "--run-dir", "again", "--verify"]);
    assert_exit(&with(&folder, &server.host, &again), 0);
    assert_eq!(count(&index), 10);
    let verify = ["verify", "run", "--index", "movies"];
    assert_exit(&with(&folder, &server.host, &verify), 0);
    // The run knows where its index is, whatever the environment says of other ones.
    let verify = vecload(&folder)
        .args(["verify", "run"])
        .env("PINECONE_INDEX", "other")
        .env("PINECONE_INDEX_HOST", "other")
        .output();
    assert_exit(&verify.expect("the command runs"), 0);

    let bench = [
        "bench",
        "corpus.jsonl",
        "--index",
        "bench",
        "--create-index",
        "--repeats",
        "1",
    ];
    assert_exit(&with(&folder, &server.host, &bench), 0);
    assert_eq!(count(&described(&server, "bench")), 10);
}

/// Scenario: records with sparse vectors alone, with both kinds, and with another metric asked for.
/// Guarantees: a sparse index, a dense one of dotproduct, one of the metric; a metric that does not take
/// the records is refused, and nothing is made.
#[test]
fn the_index_is_made_for_the_records() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    let sparse = r#""sparse_values":{"indices":[1,7],"values":[0.5,2]}"#;
    write(
        &folder,
        "sparse.jsonl",
        &format!("{{\"id\":\"a\",{sparse}}}\n"),
    );
    let hybrid = format!(
        "{}{{\"id\":\"a\",\"values\":[1,2,3,4],{sparse}}}\n",
        lines(5)
    );
    write(&folder, "hybrid.jsonl", &hybrid);
    for (input, more, vector_type, metric) in [
        ("sparse", &[][..], "sparse", "dotproduct"),
        ("hybrid", &[], "dense", "dotproduct"),
        (
            "corpus",
            &[
                "--metric",
                "euclidean",
                "--cloud",
                "gcp",
                "--region",
                "europe-west4",
            ],
            "dense",
            "euclidean",
        ),
    ] {
        let file = format!("{input}.jsonl");
        let arguments = [&["load", &file, "--index", input, "--create-index"], more].concat();
        assert_exit(&with(&folder, &server.host, &arguments), 0);
        let index = described(&server, input);
        assert_eq!(
            (&index["vector_type"], &index["metric"]),
            (&json!(vector_type), &json!(metric))
        );
        assert_ne!(count(&index), 0);
    }
    let place = described(&server, "corpus")["spec"]["serverless"].clone();
    assert_eq!(
        (&place["cloud"], &place["region"]),
        (&json!("gcp"), &json!("europe-west4"))
    );
    for input in ["sparse.jsonl", "hybrid.jsonl"] {
        let arguments = [
            "load",
            input,
            "--index",
            "none",
            "--create-index",
            "--metric",
            "cosine",
        ];
        assert_refused(
            &folder,
            &server.host,
            &arguments,
            3,
            &["dotproduct only", "asks for cosine"],
        );
    }
    // A check makes nothing either.
    let check = ["check", "corpus.jsonl", "--index", "none", "--create-index"];
    let output = with(&folder, &server.host, &check);
    assert_exit(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout);
    let words = "index       would be made: dense, 4 dimensions, cosine, aws us-east-1";
    assert!(said.contains(words), "{said}");
    let (status, _) = ask(&server.host, "GET", "/indexes/none", &Value::Null);
    assert_eq!(status, 404);
}

/// Scenario: a load by name, slowed down and killed with `kill -9`; then the control plane is away.
/// Guarantees: the same command continues the run at the host that it began with, to its end.
#[test]
fn a_killed_run_goes_on_without_the_control_plane() {
    let folder = folder();
    write(&folder, "corpus.jsonl", &lines(400));
    let server = Server::start(&folder, &[]);
    let slow = [
        "--run-dir",
        "run",
        "--create-index",
        "--request-records",
        "10",
        "--max-stall",
        "2s",
    ];
    let arguments = load_with(&slow);
    let mut killed = command(&folder, &server.host, &arguments)
        .args(["--namespace-requests", "20/s"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the command runs");
    // Once something was acknowledged.
    loop {
        let (status, index) = ask(&server.host, "GET", "/indexes/movies", &Value::Null);
        if status == 200 && count(&index).as_u64().is_some_and(|count| count > 0) {
            break;
        }
        assert_eq!(killed.try_wait().expect("a state"), None, "it ended early");
    }
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    let index = described(&server, "movies");
    assert!(
        count(&index).as_u64() < Some(400),
        "it was too quick to be killed"
    );

    let nowhere = nowhere();
    assert_exit(&with(&folder, &nowhere, &arguments), 0);
    assert_eq!(count(&index), 400);
    let report = report(&folder.path().join("run"));
    assert_eq!(report["records_loaded"], 400);
    assert_eq!(report["attempts_of_run"], 2);
}

/// Scenario: an index that was deleted, and then made anew under its name, between two attempts of a run.
/// Guarantees: both are told, with exit codes 5 and 3, and no index is made for the run behind its user's back.
#[test]
fn a_run_keeps_to_its_index() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    let arguments = load_with(&["--create-index", "--run-dir", "run"]);
    assert_exit(&with(&folder, &server.host, &arguments), 0);
    let (status, _) = ask(&server.host, "DELETE", "/indexes/movies", &Value::Null);
    assert_eq!(status, 202);
    assert_refused(
        &folder,
        &server.host,
        &arguments,
        5,
        &["movies", "is there no more", "new directory"],
    );
    // It would get the same port otherwise; the service never gives a host twice.
    make(&server, "other", 4, "cosine");
    make(&server, "movies", 4, "cosine");
    assert_refused(
        &folder,
        &server.host,
        &arguments,
        3,
        &["another one of the same name", "new directory"],
    );
    assert_eq!(count(&described(&server, "movies")), 0);
    let other = [
        "load",
        "corpus.jsonl",
        "--index",
        "other",
        "--run-dir",
        "run",
    ];
    assert_refused(
        &folder,
        &server.host,
        &other,
        3,
        &[
            "run of another job",
            "index is \"other\" and was \"movies\"",
        ],
    );
}

/// Scenario: indexes of another dimension, metric and kind than the records, and one of a name not there.
/// Guarantees: exit code 3 and the difference, or 5 and the names that may be meant; no run directory is left.
#[test]
fn indexes_that_do_not_fit() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    make(&server, "movies", 8, "cosine");
    make(&server, "books", 4, "cosine");
    let sparse = r#""sparse_values":{"indices":[1,7],"values":[0.5,2]}"#;
    write(
        &folder,
        "sparse.jsonl",
        &format!("{{\"id\":\"a\",{sparse}}}\n"),
    );
    write(
        &folder,
        "hybrid.jsonl",
        &format!("{{\"id\":\"a\",\"values\":[1,2,3,4],{sparse}}}\n"),
    );
    let load = [
        "load",
        "sparse.jsonl",
        "--index",
        "only-sparse",
        "--create-index",
    ];
    assert_exit(&with(&folder, &server.host, &load), 0);
    for command in ["load", "check"] {
        for (input, index, words) in [
            (
                "corpus.jsonl",
                "movies",
                &["have 4 dimensions", "the index movies has 8"][..],
            ),
            (
                "sparse.jsonl",
                "books",
                &["the index books", "there is only a sparse vector"],
            ),
            (
                "hybrid.jsonl",
                "books",
                &["the index books", "dotproduct only, not cosine"],
            ),
            (
                "corpus.jsonl",
                "only-sparse",
                &["the index only-sparse", "the index is sparse"],
            ),
        ] {
            let mut arguments = vec![command, input, "--index", index];
            if command == "load" {
                arguments.extend(["--run-dir", "refused", "--create-index"]);
            }
            assert_refused(&folder, &server.host, &arguments, 3, words);
        }
        let metric = [
            command,
            "corpus.jsonl",
            "--index",
            "books",
            "--metric",
            "euclidean",
        ];
        let words = [
            "the index books has the metric cosine",
            "asks for euclidean",
        ];
        assert_refused(&folder, &server.host, &metric, 3, &words);
        let unknown = [command, "corpus.jsonl", "--index", "moveis"];
        let words = [
            "no index moveis at http://127.0.0.1:",
            "there is movies",
            "--create-index",
        ];
        assert_refused(&folder, &server.host, &unknown, 5, &words);
    }
    std::fs::metadata(folder.path().join("refused/plan")).expect_err("no run is left");
    assert_eq!(count(&described(&server, "movies")), 0);
}

/// Scenario: an index that is not ready within `--max-stall`, a key that is refused, nobody at the address.
/// Guarantees: exit codes 6, 5 and 6; each says what to do, and no key is shown.
#[test]
fn control_planes_that_do_not_help() {
    let folder = folder();
    write(&folder, "key", "pcsk_right\n");
    write(&folder, "wrong", "pcsk_wrong\n");
    let server = Server::start(&folder, &["--initializing-for", "1h"]);
    let create = load_with(&["--create-index", "--max-stall", "1s"]);
    let words = [
        "the index movies was not ready within 1 s",
        "Initializing",
        "the same command",
    ];
    assert_refused(&folder, &server.host, &create, 6, &words);

    let locked = Server::start(&folder, &["--api-key-file", "key"]);
    let wrong = load_with(&["--create-index", "--api-key-file", "wrong"]);
    let words = [
        "index movies",
        "PINECONE_API_KEY and PINECONE_CONTROLLER_HOST",
    ];
    assert_refused(&folder, &locked.host, &wrong, 5, &words);
    let output = with(&folder, &locked.host, &wrong);
    assert!(!stderr(&output).contains("pcsk_"), "{}", stderr(&output));
    let right = load_with(&["--create-index", "--api-key-file", "key"]);
    assert_exit(&with(&folder, &locked.host, &right), 0);

    let away = load_with(&["--max-stall", "1s", "-q"]);
    let nowhere = nowhere();
    let words = [
        nowhere.as_str(),
        "for 1 s where the index movies is",
        "on the connection",
    ];
    assert_refused(&folder, &nowhere, &away, 6, &words);
}

/// Scenario: a control plane by script: a document index, one that failed, throttling before an answer.
/// Guarantees: exit code 3 with what to do about documents, 5 with the state; throttling is waited out.
#[test]
fn indexes_that_take_no_vectors() {
    let folder = folder();
    let ready = json!({"ready": true, "state": "Ready"});
    let documents = json!({
        "name": "movies", "host": "movies.svc.pinecone.io", "status": ready,
        "schema": {"fields": {"title": {"type": "string"}, "body": {"type": "string"}}},
    });
    let control = scripted(vec![(200, documents)]);
    let words = [
        "holds documents",
        "body, title",
        "--create-index and a new name",
    ];
    assert_refused(&folder, &control, &LOAD, 3, &words);

    let failed = json!({
        "name": "movies", "host": "", "status": {"ready": false, "state": "InitializationFailed"},
        "dimension": 4, "metric": "cosine", "vector_type": "dense",
    });
    let busy = (
        429,
        json!({"error": {"code": "RESOURCE_EXHAUSTED", "message": "slow down"}}),
    );
    let control = scripted(vec![busy, (200, failed)]);
    assert_refused(&folder, &control, &LOAD, 5, &["InitializationFailed"]);
}

/// Scenario: two targets, of one weight and of two; a wrong name; an index to be made without a name.
/// Guarantees: two of one weight are refused with both places, else the weightier counts; exit code 2 each.
#[test]
fn usage() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    for (more, words) in [
        (
            &["--index", "movies", "--host", "h"][..],
            &["--host", "--index", "exclude each other"][..],
        ),
        (
            &["--index", "movies", "--local", "d"],
            &["--local", "--index", "exclude each other"],
        ),
        (
            &["--index", "My Index"],
            &["`My Index` is no name of an index"],
        ),
        (
            &["--host", "http://h", "--create-index"],
            &["--create-index", "--index NAME"],
        ),
        (
            &["--index", "a", "--metric", "angle"],
            &["--metric", "angle", "cosine"],
        ),
        (
            &["--index", "a", "--controller-host", "ftp://a"],
            &["control plane", "ftp://a"],
        ),
    ] {
        let arguments = [&["load", "corpus.jsonl"], more].concat();
        assert_refused(&folder, &server.host, &arguments, 2, words);
    }
    let both = |more: &[&str]| {
        let mut command = command(&folder, &server.host, &["load", "corpus.jsonl"]);
        command.args(more);
        command.env("PINECONE_INDEX", "movies");
        command.env("PINECONE_INDEX_HOST", &server.host);
        command.output().expect("the command runs")
    };
    let output = both(&[]);
    assert_exit(&output, 2);
    assert!(
        stderr(&output).contains("PINECONE_INDEX exclude each other"),
        "{}",
        stderr(&output)
    );
    assert_exit(&both(&["--local", "index"]), 0);
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// A control plane that gives these answers, and the last one again and again.
fn scripted(answers: Vec<(u16, Value)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let last = answers.last().cloned();
        for (status, body) in answers
            .into_iter()
            .chain(std::iter::repeat_with(|| last.clone()).flatten())
        {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let mut request = Vec::new();
            // All that is asked here has no body.
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            let body = body.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    host
}
