//! `vecload verify` and `load --verify`: words, exit codes, documents.

use serde_json::Value;
use tempfile::TempDir;
use vecload_local_index::{LocalIndex, Options};

use crate::process::{last_line, lines, report, run, stderr, write};
use crate::words::assert_words;

/// A folder with a corpus, loaded into an index beside it with these further arguments.
fn loaded(name: Option<&str>, more: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(10));
    let output = run(&folder, &[LOAD, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    if let Some(name) = name {
        assert_words(name, &folder, &output);
    }
    folder
}

const LOAD: &[&str] = &[
    "load",
    "corpus.jsonl",
    "--local",
    "index",
    "--run-dir",
    "run",
    "--seed",
    "7",
];
const VERIFY: &[&str] = &["verify", "run", "--seed", "8"];

/// Changes one record and adds two, by another load.
fn damage(folder: &TempDir) {
    let other = concat!(
        r#"{"id":"r3","values":[3,1,2,4],"metadata":{"genre":"new"}}"#,
        "\n",
        r#"{"id":"extra","values":[1,1,2,3]}"#,
        "\n",
        r#"{"id":"r1","values":[1,1,2,3],"namespace":"other"}"#,
        "\n"
    );
    write(folder, "other.jsonl", other);
    let load = ["load", "other.jsonl", "--local", "index", "--run-dir", "2"];
    let output = run(folder, &load);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Scenario: `load --verify`, then `verify` of the same run, then again after other records were loaded into its index.
/// Guarantees: the words are as reviewed; the exit code is 0 until the index differs, then 7, and each difference has its line.
#[test]
fn words_and_exit_codes() {
    let folder = loaded(Some("load-verify"), &["--verify"]);
    let output = run(&folder, VERIFY);
    assert_words("verify-good", &folder, &output);
    assert_eq!(output.status.code(), Some(0));
    damage(&folder);
    let output = run(&folder, VERIFY);
    assert_words("verify-differs", &folder, &output);
    assert_eq!(output.status.code(), Some(7));
    // The run is complete, so that nothing is loaded: it is verified alone.
    let output = run(&folder, &[LOAD, &["--verify"]].concat());
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(last_line(&output).starts_with("loaded 10 records"));
    assert!(stderr(&output).contains("the index differs: 5 differences"));
}

/// Scenario: `verify --json` of an index that differs, with a sample of everything; likewise with lines of JSON.
/// Guarantees: stdout is what the report of the run holds from then on; the last line on stderr is an object that says the same.
#[test]
fn what_is_found_is_a_document() {
    let folder = loaded(None, &[]);
    let before = report(&folder.path().join("run"));
    assert_eq!(before["verify"], Value::Null);
    damage(&folder);
    let output = run(&folder, &[VERIFY, &["--sample", "all", "--json"]].concat());
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let after = report(&folder.path().join("run"));
    assert_eq!(printed, after["verify"]);
    assert_eq!(
        (&printed["verdict"], &printed["sample"], &printed["seed"]),
        (&"differs".into(), &"all".into(), &8.into())
    );
    assert_eq!(after["records_loaded"], before["records_loaded"]);
    let output = run(&folder, &[VERIFY, &["--log-format", "json"]].concat());
    let summary: Value = serde_json::from_str(&last_line(&output)).expect("JSON");
    assert_eq!(summary["event"], "summary");
    assert_eq!(
        (&summary["exit_code"], &summary["differences_found"]),
        (&7.into(), &5.into())
    );
}

/// Scenario: a directory without a run, an index directory that is gone, a wrong sample, two targets.
/// Guarantees: exit codes 3 and 2, one clear error each, and nothing is made.
#[test]
fn what_is_refused() {
    let folder = loaded(None, &[]);
    let refused = |arguments: &[&str], code, words: &str| {
        let output = run(&folder, arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words), "{said}");
    };
    refused(&["verify", "nowhere"], 3, "error: nowhere holds no run");
    refused(
        &["verify", "run", "--local", "gone"],
        3,
        "error: gone is not there; name the directory of the index with --local",
    );
    refused(
        &["verify", "run", "--local", "index", "--host", "x"],
        2,
        "exclude each other",
    );
    refused(
        &["verify", "run", "--sample", "most"],
        2,
        "`most` is no sample; write it like 1000, or `all`",
    );
    assert!(std::fs::metadata(folder.path().join("nowhere")).is_err());
    assert!(std::fs::metadata(folder.path().join("gone")).is_err());
}

/// Scenario: records are loaded from the standard input and verified at the end, and again; then in the index one bit of one float is flipped and one record removed.
/// Guarantees: before, all are compared; after, both are found by their ids, with the rows of the stream, and nothing else; the words are as reviewed and the exit code is 7.
#[test]
fn a_stream_is_compared_by_hashes() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = lines(10).replacen(
        "\"r3\",",
        "\"r3\",\"metadata\":{\"year\":1979,\"genre\":\"horror\"},",
        1,
    );
    write(&folder, "corpus.jsonl", &text);
    let input = std::fs::File::open(folder.path().join("corpus.jsonl")).expect("readable");
    let load = [
        "load",
        "-",
        "--local",
        "index",
        "--run-dir",
        "run",
        "--verify",
    ];
    let output = crate::process::vecload(&folder)
        .args(load)
        .stdin(input)
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("verified: compared 10 of 10 records"));
    let output = run(&folder, VERIFY);
    assert_words("verify-stream", &folder, &output);
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(flip_and_remove(&folder));
    let output = run(&folder, VERIFY);
    assert_words("verify-stream-differs", &folder, &output);
    assert_eq!(output.status.code(), Some(7));
}

/// Scenario: a stream has 400 ids three times, each time with other values; a request has none of them twice, or some.
/// Guarantees: each id is compared once, with the last of its rows, and verifies; what was superseded within a request is no hindrance.
#[test]
fn the_last_row_of_an_id_is_compared() {
    let text: String = (1..=1200)
        .map(|row| format!("{{\"id\":\"r{}\",\"values\":[{row},1]}}\n", row % 400))
        .collect();
    for (request_records, has_superseded) in [("100", false), ("1000", true)] {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder, "corpus.jsonl", &text);
        let input = std::fs::File::open(folder.path().join("corpus.jsonl")).expect("readable");
        let load = ["load", "-", "--local", "index", "--run-dir", "run"];
        let output = crate::process::vecload(&folder)
            .args(load)
            .args(["--request-records", request_records, "--verify"])
            .stdin(input)
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report = report(&folder.path().join("run"));
        assert_eq!(report["records_superseded"] != 0, has_superseded);
        let output = run(&folder, VERIFY);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let verified = format!(
            "verified: compared 400 of {} records",
            report["records_loaded"]
        );
        assert!(stderr(&output).contains(&verified), "{}", stderr(&output));
    }
}

/// Flips one bit in a record of the index and removes another one.
async fn flip_and_remove(folder: &TempDir) {
    let index = LocalIndex::open(Options {
        data_dir: Some(folder.path().join("index")),
        ..Options::default()
    });
    let index = index.expect("the index opens");
    let record = index.record("", "r3").expect("readable");
    let mut record = record.expect("loaded");
    record.values[2] = f32::from_bits(record.values[2].to_bits() ^ 1);
    index.put("", record).await.expect("written");
    index.remove("", "r8").await.expect("removed");
}
