//! What programs read: the document on stdout and the objects on stderr.

use serde_json::Value;

use crate::process::{Server, last_line, lines, run, stderr, write};

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

/// Scenario: a directory of seven directories with records of two kinds, loaded with words for people,
/// for programs, and with as few as there are.
/// Guarantees: before anything else one line for each kind says what was taken for what, and one that
/// the directories were not taken for namespaces; `-q` says neither.
#[test]
fn what_was_taken_for_what() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..7 {
        let dir = format!("data/ns{number}");
        std::fs::create_dir_all(folder.path().join(&dir)).expect("made");
        write(&folder, &format!("{dir}/a.jsonl"), &lines(1));
    }
    write(
        &folder,
        "data/ns1/b.jsonl",
        "{\"pk\":1,\"embedding\":[1,2,3,4]}\n",
    );
    let words = |more: &[&str]| {
        let load = ["load", "data", "--local", "index", "--resume", "never"];
        let output = run(&folder, &[&load, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let words: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
        words
    };
    let told = words(&[]);
    assert_eq!(
        told[..3],
        [
            "mapping: id <- id, values <- values (list, 4) (data/ns0/a.jsonl and 6 more)",
            "mapping: id <- pk, values <- embedding (list, 4) (data/ns1/b.jsonl)",
            "directories: ns0, ns1, ns2, ns3, ns4 and 2 more: not taken for namespaces; --namespace-from-dir does that",
        ]
    );
    let told: Vec<Value> = words(&["--log-format", "json"])
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let events: Vec<&Value> = told.iter().map(|object| &object["event"]).collect();
    assert_eq!(
        events,
        ["mapping", "mapping", "ignored_directories", "summary"]
    );
    assert_eq!(
        (&told[0]["inputs"], &told[1]["inputs"]),
        (&7.into(), &1.into())
    );
    assert_eq!(told[2]["directories"].as_array().map(Vec::len), Some(7));
    assert_eq!(words(&["-q"]).len(), 1);
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

/// Scenario: a load into an index that fails now and then, with `--log-format json -vv`.
/// Guarantees: the lines on failed attempts say of which run they are, which namespace and which request.
#[test]
fn lines_say_of_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(40));
    write(&folder, "faults.toml", "seed = 1\nunavailable = 0.3\n");
    let server = Server::start(&folder, &["--faults", "faults.toml"]);
    let load = [
        &[
            "load",
            "corpus.jsonl",
            "--host",
            &server.host,
            "--request-records",
            "1",
        ][..],
        &["--run-dir", "run", "--log-format", "json", "-vv"],
    ];
    let output = run(&folder, &load.concat());
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let report = crate::process::report(&folder.path().join("run"));
    let mut failed = 0;
    for line in words.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["message"] == "attempt failed" {
            failed += 1;
            assert_eq!(line["span"]["run_id"], report["run_id"], "{line}");
            assert_eq!(line["namespace"], "__default__", "{line}");
            assert!(line["request_id"].is_string(), "{line}");
        }
    }
    assert_eq!(failed, report["retries"].as_u64().expect("a number"));
    assert!(failed > 0, "some failed");
}
