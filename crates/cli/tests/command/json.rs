//! What programs read: the document on stdout and the objects on stderr.

use serde_json::Value;

use crate::process::{last_line, lines, run, stderr, write};

/// Scenario: a load with two bad lines, with `--json`.
/// Guarantees: stdout is the report and nothing else, as it stands in the run directory.
#[test]
fn the_report_is_a_document() {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        &folder,
        "corpus.jsonl",
        &(lines(10) + "{\"id\":\"a\"}\n{}\n"),
    );
    let arguments = [
        "load",
        "corpus.jsonl",
        "--local",
        "index",
        "--run-dir",
        "run",
        "--json",
    ];
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(printed, crate::process::report(&folder.path().join("run")));
    assert_eq!(printed["schema_version"], 1);
    assert_eq!(printed["exit_code"], 1);
    assert_eq!(
        (&printed["records_loaded"], &printed["records_rejected"]),
        (&10.into(), &2.into())
    );
    assert!(last_line(&output).starts_with("loaded 10 records, rejected 2, remaining 0"));
}

/// Scenario: a load with a bad line, with `--log-format json` and much to say.
/// Guarantees: every line on stderr is an object, and the last one is the summary.
#[test]
fn every_line_is_an_object() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &(lines(10) + "{\"id\":\"a\"}\n"));
    let load = [
        "load",
        "corpus.jsonl",
        "--local",
        "index",
        "--log-format",
        "json",
        "-vv",
    ];
    let output = run(&folder, &load);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let words = stderr(&output);
    let objects: Vec<Value> = words
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert!(objects.len() > 1, "{words}");
    let summary = objects.last().expect("one");
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["exit_code"], 1);
    assert_eq!(
        (&summary["loaded"], &summary["rejected"]),
        (&10.into(), &1.into())
    );
    assert!(summary["rejected_file"].is_string());
}

/// Scenario: a load that is refused, with `--log-format json`.
/// Guarantees: the error is the summary, an object too.
#[test]
fn an_error_is_an_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = [
        "load",
        "nowhere",
        "--local",
        "index",
        "--log-format",
        "json",
    ];
    let output = run(&folder, &load);
    assert_eq!(output.status.code(), Some(3));
    let last: Value = serde_json::from_str(&last_line(&output)).expect("JSON");
    assert_eq!(
        (&last["event"], &last["exit_code"]),
        (&"summary".into(), &3.into())
    );
    let message = last["message"].as_str().expect("words");
    assert!(message.contains("nowhere"), "{message}");
}
