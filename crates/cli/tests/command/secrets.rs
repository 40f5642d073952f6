//! Keys are read, sent, and never shown.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::process::{Server, lines, stderr, vecload, write};

const KEY: &str = "pcsk_canary_7Q2f";
const HEADER: &str = "canary-header-9Zx1";

/// Looks for the secrets in what was said and in every file of the run.
fn assert_silent(output: &Output, run_dir: &Path) {
    let mut texts = vec![output.stdout.clone(), output.stderr.clone()];
    for folder in [run_dir.to_owned(), run_dir.join("checkpoint")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                texts.push(std::fs::read(path).expect("readable"));
            }
        }
    }
    for text in texts {
        let text = String::from_utf8_lossy(&text);
        for secret in [KEY, HEADER] {
            assert!(!text.contains(secret), "a secret is shown: {text}");
        }
    }
}

fn load(folder: &TempDir, arguments: &[&str], log: Option<&str>) -> Output {
    let mut command = vecload(folder);
    command
        .args(["load", "corpus.jsonl", "--run-dir", "run"])
        .args(arguments)
        .env("PINECONE_API_KEY", KEY)
        .env(
            "PINECONE_ADDITIONAL_HEADERS",
            format!("{{\"x-canary\": \"{HEADER}\"}}"),
        );
    if let Some(log) = log {
        command.env("RUST_LOG", log);
    }
    command.output().expect("the command runs")
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(3));
    folder
}

/// Scenario: `--print-config` with a key and a secret header in the environment.
/// Guarantees: that there are secrets is shown, and not which.
#[test]
fn the_settings_in_force_are_redacted() {
    let folder = folder();
    let output = load(&folder, &["--print-config"], None);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("api_key = ") && shown.contains("additional_headers = "));
    assert_silent(&output, &folder.path().join("run"));
}

/// Scenario: a load and its verification with a key that the server refuses and one that it takes, with everything logged, down to the
/// frames of the connection.
/// Guarantees: neither the words nor the run directory have the key or the header.
#[test]
fn logs_and_reports_have_no_secrets() {
    for (key, code) in [("pcsk_another", 5), (KEY, 0)] {
        for log in [None, Some("trace")] {
            let folder = folder();
            write(&folder, "key", key);
            let server = Server::start(&folder, &["--api-key-file", "key"]);
            let output = load(&folder, &["--host", &server.host, "-vv"], log);
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            assert_silent(&output, &folder.path().join("run"));
            // What was loaded is verified; the other key is refused once more.
            let mut verify = vecload(&folder);
            verify
                .args(["verify", "run", "--json", "-vv"])
                .env("PINECONE_API_KEY", KEY)
                .env(
                    "PINECONE_ADDITIONAL_HEADERS",
                    format!("{{\"x-canary\": \"{HEADER}\"}}"),
                )
                .env("RUST_LOG", log.unwrap_or_default());
            let output = verify.output().expect("the command runs");
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            assert_silent(&output, &folder.path().join("run"));
        }
    }
}

/// Scenario: secret headers that are no JSON, and a key in a file that has the wrong type.
/// Guarantees: exit code 2 with the setting's name, and not its value.
#[test]
fn errors_have_no_secrets() {
    let folder = folder();
    let output = vecload(&folder)
        .args(["load", "corpus.jsonl", "--host", "http://127.0.0.1:1"])
        .env("PINECONE_ADDITIONAL_HEADERS", format!("{{{HEADER}}}"))
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("additional_headers"),
        "{}",
        stderr(&output)
    );
    assert_silent(&output, &folder.path().join("run"));

    write(&folder, "list.toml", &format!("api_key = [\"{KEY}\"]\n"));
    write(&folder, "broken.toml", &format!("api_key = \"{KEY}\n"));
    for config in ["list.toml", "broken.toml"] {
        let output = load(&folder, &["--config", config], None);
        assert_silent(&output, &folder.path().join("run"));
    }
}
