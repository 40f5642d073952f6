//! Exit codes and the one clear error that comes with each: loads that must not begin.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use vecload_corpus::{Corpus, ParquetForm};

use crate::process::{Server, last_line, lines, report, run, stderr, write};
use crate::words::assert_words;

/// Checks the exit code, that there is exactly one error, and the words.
fn assert_exit(name: &str, folder: &TempDir, output: &Output, code: i32) {
    let words = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    let errors = words.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{words}");
    assert_words(name, folder, output);
}

/// Loads into a server.
fn load(folder: &TempDir, input: &str, server: &Server, more: &[&str]) -> Output {
    let arguments = ["load", input, "--host", &server.host, "--run-dir", "run"];
    run(folder, &[&arguments[..], more].concat())
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(10));
    folder
}

/// Scenario: a server with a key, and a load with another one.
/// Guarantees: exit code 5, the server's words and what to do.
#[test]
fn a_wrong_key() {
    let folder = folder();
    write(&folder, "key", "pcsk_right\n");
    write(&folder, "wrong", "pcsk_wrong\n");
    let server = Server::start(&folder, &["--api-key-file", "key"]);
    let output = load(
        &folder,
        "corpus.jsonl",
        &server,
        &["--api-key-file", "wrong"],
    );
    assert_exit("exit-wrong-key", &folder, &output, 5);
    assert_eq!(report(&folder.path().join("run"))["attempts"], 0);
    let output = run(
        &folder,
        &[
            "load",
            "corpus.jsonl",
            "--host",
            &server.host,
            "--api-key-file",
            "key",
        ],
    );
    assert_eq!(
        output.status.code(),
        Some(0),
        "the right key: {}",
        stderr(&output)
    );
}

/// Scenario: nobody listens at the address.
/// Guarantees: exit code 6 after `--max-stall`, the address and the limit in the error.
#[test]
fn an_unreachable_host() {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let arguments = [
        "load",
        "corpus.jsonl",
        "--host",
        &host,
        "--max-stall",
        "1s",
        "-q",
    ];
    let output = run(&folder, &arguments);
    assert_exit("exit-unreachable", &folder, &output, 6);
    assert!(last_line(&output).starts_with("loaded 0 records, rejected 0, remaining 0"));
}

/// Scenario: vectors of four values for an index of eight dimensions.
/// Guarantees: exit code 3 and both numbers; the index stays empty.
#[test]
fn another_dimension() {
    let folder = folder();
    let server = Server::start(&folder, &["--dimension", "8"]);
    let output = load(&folder, "corpus.jsonl", &server, &[]);
    assert_exit("exit-dimension", &folder, &output, 3);
}

/// Scenario: an empty file without and with `--allow-empty`.
/// Guarantees: exit code 3 and the flag that allows it; with it exit code 0.
#[test]
fn an_empty_input() {
    let folder = folder();
    write(&folder, "empty.jsonl", "");
    let server = Server::start(&folder, &[]);
    let output = load(&folder, "empty.jsonl", &server, &[]);
    assert_exit("exit-empty", &folder, &output, 3);
    let output = load(&folder, "empty.jsonl", &server, &["--allow-empty"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_words("exit-empty-allowed", &folder, &output);
}

/// Scenario: a directory that holds a README alone, and a path that is not there.
/// Guarantees: exit code 3, and the path in the error.
#[test]
fn inputs_without_data() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("data")).expect("made");
    write(&folder, "data/README.md", "soon");
    let server = Server::start(&folder, &[]);
    let output = load(&folder, "data", &server, &[]);
    assert_exit("exit-no-data", &folder, &output, 3);
    let output = load(&folder, "nowhere", &server, &[]);
    assert_exit("exit-nowhere", &folder, &output, 3);
}

/// Scenario: the first half of a Parquet file.
/// Guarantees: exit code 3, the file and what is wrong with it.
#[test]
fn truncated_parquet() {
    let folder = folder();
    let corpus = Corpus {
        records: 100,
        dimension: 4,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 1,
    };
    let path = folder.path().join("cut.parquet");
    corpus
        .write_parquet(&path, ParquetForm::default())
        .expect("written");
    let bytes = std::fs::read(&path).expect("readable");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    let server = Server::start(&folder, &[]);
    let output = load(&folder, "cut.parquet", &server, &[]);
    assert_exit("exit-truncated", &folder, &output, 3);
}

/// Scenario: a run directory that holds a run already; the same command, then one of another job.
/// Guarantees: the same one has nothing to do; the other one gets exit code 3 and the difference; the
/// first run's report stays as it is.
#[test]
fn a_run_directory_in_use() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    let output = load(&folder, "corpus.jsonl", &server, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let first: Value = report(&folder.path().join("run"));
    let output = load(&folder, "corpus.jsonl", &server, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(report(&folder.path().join("run")), first);
    let films = ["--namespace", "films"];
    let output = load(&folder, "corpus.jsonl", &server, &films);
    assert_exit("exit-run-dir", &folder, &output, 3);
    assert_eq!(report(&folder.path().join("run")), first);
}

/// Scenario: servers under scenario files: one with a misspelt key, one whose default namespace is an alias.
/// Guarantees: exit code 2 that names file and key; a load that ends with exit code 5 and the server's words.
#[test]
fn a_server_under_a_scenario() {
    let folder = folder();
    write(&folder, "wrong.toml", "[server]\nquotas = \"window\"\n");
    let output = run(&folder, &["serve", "--scenario", "wrong.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let words = stderr(&output);
    assert!(
        words.contains("wrong.toml") && words.contains("quotas"),
        "{words}"
    );

    let alias = "[server.namespaces.__default__]\nrefuse = \"alias\"\n";
    write(&folder, "alias.toml", alias);
    let server = Server::start(&folder, &["--scenario", "alias.toml"]);
    let output = load(&folder, "corpus.jsonl", &server, &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let report = report(&folder.path().join("run")).to_string();
    assert!(report.contains("WRITE_TO_ALIAS"), "{report}");
}
