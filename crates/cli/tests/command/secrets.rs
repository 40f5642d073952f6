//! Keys are read, sent, and never shown.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};

use tempfile::TempDir;

use crate::process::{Server, lines, stderr, vecload, write};

pub(crate) const KEY: &str = "pcsk_canary_7Q2f";
pub(crate) const HEADER: &str = "canary-header-9Zx1";

/// Looks for the secrets in what was said and in every file of the run.
pub(crate) fn assert_silent(output: &Output, run_dir: &Path) {
    let mut texts = vec![output.stdout.clone(), output.stderr.clone()];
    let mut folders = vec![run_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => texts.push(std::fs::read(path).expect("readable")),
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

/// A server that sends back whatever it is sent.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut answer = connection.try_clone().expect("a handle");
            // It ends when the other side does, however that may be.
            std::thread::spawn(move || drop(std::io::copy(&mut connection, &mut answer)));
        }
    });
    address
}

/// Scenario: everything is logged, as text and as JSON, while loads fail: hosts that are none, that nobody
/// listens at, that echo what they are sent, over TLS and without; certificates that are none; an
/// input that is not there, one that is damaged, one whose records are rejected; a scratch
/// directory that is none. Then keys that no header can carry, and a key as a flag.
/// Guarantees: none ends well, and neither words nor run directory nor the list of processes has the key.
#[test]
fn no_failure_shows_a_secret() {
    let echo = echo();
    let (plain, over_tls) = (format!("http://{echo}"), echo.to_string());
    let failures: &[&[&str]] = &[
        &["--host", "http://["],
        &["--host", "http://127.0.0.1:1", "--max-stall", "1s"],
        &["--host", &plain, "--max-stall", "1s"],
        &["--host", &over_tls, "--max-stall", "1s"],
        &["--host", &over_tls, "--ca-file", "corpus.jsonl"],
        &["--host", &plain, "missing.jsonl"],
        &["--local", "index", "damaged.parquet"],
        &["--local", "index", "bad.jsonl"],
        &["--local", "index", "--scratch-dir", "corpus.jsonl/none"],
        &["--local", "corpus.jsonl"],
    ];
    for failure in failures {
        for format in ["text", "json"] {
            let folder = folder();
            write(&folder, "damaged.parquet", "PAR1 and no more");
            write(&folder, "bad.jsonl", "{\"id\":\"\"}\n{\n");
            let arguments = [failure, &["-vv", "--log-format", format][..]].concat();
            let output = load(&folder, &arguments, Some("trace"));
            assert_ne!(output.status.code(), Some(0), "{failure:?}");
            assert!(stderr(&output).lines().count() > 0, "{failure:?}");
            assert_silent(&output, &folder.path().join("run"));
        }
    }
    let folder = folder();
    for key in [format!("{KEY}\nx"), format!("{KEY}\u{1}")] {
        let mut command = vecload(&folder);
        command.args(["load", "corpus.jsonl", "--host", &plain, "-vv"]);
        command.env("RUST_LOG", "trace");
        let output = command.env("PINECONE_API_KEY", key).output();
        let output = output.expect("the command runs");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_silent(&output, &folder.path().join("run"));
    }
    for flag in [&[&format!("--api-key={KEY}")[..]][..], &["--api-key", KEY]] {
        let output = load(&folder, flag, Some("trace"));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_silent(&output, &folder.path().join("run"));
    }

    // While it waits for an answer, its command line is there for all to read.
    write(&folder, "key", KEY);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", silent.local_addr().expect("an address"));
    let mut command = vecload(&folder);
    command.args(["load", "corpus.jsonl", "--host", &host]);
    command.args(["--api-key-file", "key", "--max-stall", "1s", "-vv"]);
    command.env("RUST_LOG", "trace").stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    // Once it has said something its command line is in place.
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    said.read_line(&mut String::new()).expect("a line");
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("a command line");
    drop(silent);
    std::io::copy(&mut said, &mut std::io::sink()).expect("read to its end");
    child.wait().expect("it ends");
    let line = String::from_utf8_lossy(&line);
    assert!(
        line.contains("--api-key-file") && !line.contains(KEY),
        "{line}"
    );
}
