//! Ids that occur again, as people see them.

use std::io::Write as _;
use std::process::Stdio;

use tempfile::TempDir;

use crate::process::{Server, report, run, stderr, vecload, write};
use crate::words::assert_words;

/// Six rows: `a` three times, `b` twice and the last time with a bad vector, `c` once.
const ROWS: &str = "{\"id\":\"a\",\"values\":[1,0]}\n{\"id\":\"a\",\"values\":[2,0],\"namespace\":\"\"}\n\
                    {\"id\":\"b\",\"values\":[3,0]}\n{\"id\":\"a\",\"values\":[4,0]}\n\
                    {\"id\":\"b\",\"values\":[0,0]}\n{\"id\":\"c\",\"values\":[5,0]}\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", ROWS);
    folder
}

/// Scenario: duplicates, one of them with a bad last row, are checked quickly, in full and under each policy, and
/// loaded.
/// Guarantees: a check says what is read for it and, in full, what was found; the load counts the same.
#[test]
fn a_check_tells_of_duplicates() {
    let folder = folder();
    for (name, more) in [
        ("check-duplicates-quick", &[][..]),
        ("check-duplicates-last", &["--full"]),
        (
            "check-duplicates-reject",
            &["--full", "--duplicates", "reject"],
        ),
        ("check-duplicates-any", &["--full", "--duplicates", "any"]),
    ] {
        let output = run(
            &folder,
            &[&["check", "corpus.jsonl", "--workers", "2"], more].concat(),
        );
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_words(name, &folder, &output);
    }
    let server = Server::start(&folder, &[]);
    let load = [
        "load",
        "corpus.jsonl",
        "--host",
        &server.host,
        "--run-dir",
        "run",
    ];
    let output = run(&folder, &load);
    assert_words("summary-duplicates", &folder, &output);
    assert_eq!(report(&folder.path().join("run"))["ids_without_version"], 1);
}

/// Scenario: the same rows come from the standard input; they come again with the user's word for it.
/// Guarantees: one line warns that the order is not kept, with what to do; with `any` nothing does.
#[test]
fn a_stream_is_warned_of() {
    let folder = folder();
    let server = Server::start(&folder, &[]);
    for (warnings, policy) in [(1, "last"), (0, "any")] {
        let mut load = vecload(&folder)
            .args(["load", "-", "--format", "jsonl", "--host", &server.host])
            .args(["--run-dir", policy, "--duplicates", policy])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut rows = load.stdin.take().expect("piped");
        rows.write_all(ROWS.as_bytes()).expect("written");
        drop(rows);
        let output = load.wait_with_output().expect("ended");
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        let warned = words
            .lines()
            .filter(|line| line.contains("--duplicates any"));
        assert_eq!(warned.count(), warnings, "{words}");
        assert_eq!(report(&folder.path().join(policy))["records_loaded"], 5);
    }
}
