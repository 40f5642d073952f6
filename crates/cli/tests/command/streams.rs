//! The standard input as an input.

use std::fs::DirEntry;
use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{lines, report, run, stderr, vecload, write};

/// Scenario: JSONL is piped into `-`, with a bad line and with a limit below its length.
/// Guarantees: what was let through is loaded or rejected, the mapping is told, and the exit code is that of a file.
#[test]
fn records_come_through_a_pipe() {
    for (limit, loaded, code) in [("100", 20, 1), ("7", 7, 0)] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = lines(20) + "no JSON\n";
        let output = load_piped(&folder, &text, &["--limit", limit]);
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{words}");
        assert!(
            words.starts_with("mapping: id <- id, values <- values (list, 4) (-)\n"),
            "{words}"
        );
        let report = report(&folder.path().join("run"));
        assert_eq!(report["records_loaded"], loaded);
        assert_eq!(report["records_rejected"], code);
    }
}

/// Scenario: the command is killed while it waits for more of a stream of which it has loaded a part; then
/// it gets the same stream again, a longer one, one that was changed in its tenth row, and one that ends before.
/// Guarantees: the same and the longer one continue, and what was settled is not sent again; the others
/// are refused with exit code 3 and the difference.
#[test]
fn a_stream_that_is_the_same_again_is_continued() {
    const ROWS: usize = 50_000;
    let same = lines(ROWS);
    let cases = [
        (same.clone(), None),
        (lines(ROWS + 10), None),
        (
            same.replacen("\"r10\"", "\"x10\"", 1),
            Some("it differs within its first"),
        ),
        (lines(40), Some("it differs within its first 40 rows")),
    ];
    for (text, refusal) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        kill_in_mid_stream(&folder, &same);
        let output = load_piped(&folder, &text, &[]);
        let words = stderr(&output);
        let after = report(&folder.path().join("run"));
        assert_eq!(after["attempts_of_run"], 2, "{words}");
        match refusal {
            None => {
                assert_eq!(output.status.code(), Some(0), "{words}");
                let rows = text.lines().count();
                assert_eq!(after["records_loaded"], rows, "{words}");
                // A request has at most 1,000 records; some were settled before.
                let sent = after["requests_ok"].as_u64().expect("a number");
                assert!(sent < rows.div_ceil(1000) as u64, "{sent} requests");
            }
            Some(refusal) => {
                assert_eq!(output.status.code(), Some(3), "{words}");
                assert_eq!(after["stop_reason"]["code"], "changed_input");
                assert!(words.contains(refusal), "{words}");
            }
        }
    }
}

/// Scenario: a load of a stream is killed and continued; the same stream is loaded in one go by another run with the same seed; then every record of the index is changed by one bit.
/// Guarantees: both runs verify before; after, both find the same records, as many as are kept and each by the row that has its id: what is kept does not depend on kills.
#[test]
fn what_is_kept_of_a_stream_survives_a_kill() {
    const ROWS: usize = 50_000;
    let folder = tempfile::tempdir().expect("a folder");
    let text = lines(ROWS);
    kill_in_mid_stream(&folder, &text);
    let at_once = ["--run-dir", "2", "--seed", "9"];
    for arguments in [&[][..], &at_once] {
        let output = load_piped(&folder, &text, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    assert_eq!(report(&folder.path().join("run"))["attempts_of_run"], 2);
    let verify = |dir, code| {
        let output = run(&folder, &["verify", dir, "--json", "--sample", "all"]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(found["records_compared"], 1000);
        found["differences"].as_array().expect("a list").clone()
    };
    assert!(verify("run", 0).is_empty());
    assert!(verify("2", 0).is_empty());
    let changed = text.replace(",1,2,3]", ",1,2,3.0000002384185791]");
    write(&folder, "changed.jsonl", &changed);
    let load = [
        "load",
        "changed.jsonl",
        "--local",
        "index",
        "--run-dir",
        "3",
    ];
    let output = run(&folder, &load);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = verify("run", 7);
    assert_eq!(found, verify("2", 7));
    assert_eq!(
        report(&folder.path().join("run"))["verify"]["differences_found"],
        1000
    );
    for difference in found {
        let row = difference["source"]["row"].as_u64().expect("a row");
        assert_eq!(difference["id"], format!("r{}", row + 1));
        assert_eq!(difference["field"], "content");
    }
}

/// Scenario: a run of a stream is complete; then the same command gets the same stream, one that has a record
/// more, and another one.
/// Guarantees: the first is found complete without a request, of the second only the new record is sent, and
/// the third is refused.
#[test]
fn a_complete_run_of_a_stream_sees_what_it_gets() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, more) = (lines(100), lines(101));
    let other = text.replacen("\"r10\"", "\"x10\"", 1);
    let cases = [(&text, 0, 1), (&text, 0, 0), (&more, 0, 1), (&other, 3, 0)];
    for (text, code, requests) in cases {
        let output = load_piped(&folder, text, &[]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let report = report(&folder.path().join("run"));
        assert_eq!(report["requests_ok"], requests, "{}", stderr(&output));
    }
}

/// Scenario: ids come again in a stream: within a request, in the next one, with a bad record last, and in the default
/// namespace under its other name.
/// Guarantees: the last good record of each id is what a full verification by the same records finds; what was
/// superseded within a request is counted, and the bad record is a dead letter.
#[test]
fn the_last_record_of_a_stream_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = |id: &str, value: u32, namespace: &str| {
        format!("{{\"id\":\"{id}\",\"values\":[{value},0],\"namespace\":\"{namespace}\"}}\n")
    };
    let first = record("a", 1, "") + &record("a", 2, "__default__") + &record("b", 3, "");
    let text = first + &record("a", 4, "") + &record("b", 0, "") + &record("a", 5, "films");
    let output = load_piped(&folder, &text, &["--request-records", "2"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let report = report(&folder.path().join("run"));
    let count = |name: &str| report[name].as_u64().expect("a number");
    let counts = ["loaded", "superseded", "rejected"].map(|name| count(&format!("records_{name}")));
    assert_eq!(counts, [4, 1, 1]);
    let last = record("a", 4, "") + &record("b", 3, "") + &record("a", 5, "films");
    write(&folder, "last.jsonl", &last);
    let again = [
        "load",
        "last.jsonl",
        "--local",
        "again",
        "--run-dir",
        "of-last",
    ];
    let output = run(&folder, &again);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let verify = ["verify", "of-last", "--sample", "all", "--local", "index"];
    let output = run(&folder, &verify);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Scenario: a stream beside a file, with `--duplicates reject`, and with `--retry-rejects`; then with the user's word
/// for distinct ids.
/// Guarantees: each is refused before anything is read, with what to do; with `--duplicates any` it is loaded.
#[test]
fn what_would_break_the_order_of_a_stream_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(3));
    for (arguments, words) in [
        (&["corpus.jsonl"][..], "load them in runs of their own"),
        (&["--duplicates", "reject"], "take --duplicates last"),
        (&["--retry-rejects"], "vouch for distinct ids"),
    ] {
        let output = load_piped(&folder, &lines(20), arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let vouched = ["corpus.jsonl", "--duplicates", "any", "--retry-rejects"];
    let output = load_piped(&folder, &lines(20), &vouched);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Pipes text into a load and kills it once some of it is settled. The pipe stays open, so it is not
/// done by then.
fn kill_in_mid_stream(folder: &TempDir, text: &str) {
    let mut process = vecload(folder)
        .args(["load", "-", "--local", "index", "--run-dir", "run"])
        .args(["--seed", "9"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command runs");
    let mut pipe = process.stdin.take().expect("piped");
    pipe.write_all(text.as_bytes()).expect("written");
    let checkpoint = folder.path().join("run/checkpoint");
    let is_journal = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with("journal");
    let journal_bytes = || -> u64 {
        let entries = std::fs::read_dir(&checkpoint)
            .into_iter()
            .flatten()
            .flatten();
        let journals = entries.filter(is_journal);
        journals
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum()
    };
    // The head and the first records, a request or more among them.
    while journal_bytes() < 200 {
        let ended = process.try_wait().expect("its state");
        assert!(ended.is_none(), "it ended before its input did");
        std::thread::yield_now();
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
}

/// Loads what is piped into the command.
fn load_piped(folder: &TempDir, text: &str, arguments: &[&str]) -> Output {
    let run_dir = match arguments.contains(&"--run-dir") {
        true => &[][..],
        false => &["--run-dir", "run"],
    };
    let mut process = vecload(folder)
        .args(["load", "-", "--local", "index"])
        .args(run_dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut pipe = process.stdin.take().expect("piped");
    // A command that refuses its input does not read it to the end.
    let _ = pipe.write_all(text.as_bytes());
    drop(pipe);
    process.wait_with_output().expect("ended")
}
