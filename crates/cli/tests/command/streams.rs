//! The standard input as an input.

use std::io::Write as _;
use std::process::Stdio;

use crate::process::{lines, report, stderr, vecload};

/// Scenario: JSONL is piped into `-`, with a bad line and with a limit below its length.
/// Guarantees: what was let through is loaded or rejected, the mapping is told, and the exit code is that of a file.
#[test]
fn records_come_through_a_pipe() {
    for (limit, loaded, code) in [("100", 20, 1), ("7", 7, 0)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = vecload(&folder)
            .args(["load", "-", "--local", "index", "--run-dir", "run"])
            .args(["--limit", limit])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut pipe = process.stdin.take().expect("piped");
        let text = lines(20) + "no JSON\n";
        pipe.write_all(text.as_bytes()).expect("written");
        drop(pipe);
        let output = process.wait_with_output().expect("ended");
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
