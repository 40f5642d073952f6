//! Signals: the first one ends a load in good order.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::{Server, lines, report, vecload, write};

/// Scenario: SIGINT and SIGTERM when some of a slow load is acknowledged and most of it is not.
/// Guarantees: exit code 6, the summary is the last line, the report says the same, and with
/// `--log-format json` every line is an object.
#[test]
fn a_signal_in_the_middle() {
    for (signal, format) in [(Signal::SIGINT, "text"), (Signal::SIGTERM, "json")] {
        let folder = tempfile::tempdir().expect("a folder");
        // 100,000 requests of one record, each held up: it takes most of an hour unless it is stopped.
        write(&folder, "corpus.jsonl", &lines(100_000));
        write(
            &folder,
            "faults.toml",
            "delay = 1.0\ndelay_for = \"50ms\"\n",
        );
        let server = Server::start(&folder, &["--faults", "faults.toml"]);
        let mut process = vecload(&folder)
            .args([
                "load",
                "corpus.jsonl",
                "--host",
                &server.host,
                "--run-dir",
                "run",
            ])
            .args([
                "--request-records",
                "1",
                "--in-flight",
                "2",
                "--progress",
                "plain",
                "--log-format",
                format,
            ])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let words = BufReader::new(process.stderr.take().expect("piped"));
        let mut last = String::new();
        let mut signalled = false;
        for line in words.lines() {
            last = line.expect("UTF-8");
            let is_json = serde_json::from_str::<Value>(&last).is_ok();
            assert_eq!(is_json, format == "json", "{last}");
            let loads = match format {
                "json" => last.contains("\"progress\"") && !last.contains("\"loaded\":0,"),
                _ => last.starts_with("progress ") && !last.contains(" loaded=0 "),
            };
            if loads && !signalled {
                let id = i32::try_from(process.id()).expect("an id");
                kill(Pid::from_raw(id), signal).expect("sent");
                signalled = true;
            }
        }
        assert!(signalled, "it ended by itself: {last}");
        let status = process.wait().expect("ended");
        assert_eq!(status.code(), Some(6), "{last}");
        let report = report(&folder.path().join("run"));
        assert_eq!(report["exit_code"], 6);
        assert_eq!(report["status"], "stopped");
        assert_eq!(report["stop_reason"]["code"], "signal");
        let figure = |name: &str| report[name].as_u64().expect("a figure");
        assert!(figure("records_loaded") > 0 && figure("records_remaining") > 0);
        let beginning = format!(
            "loaded {} records, rejected 0, remaining {}",
            figure("records_loaded"),
            figure("records_remaining")
        );
        assert!(last.contains(&beginning), "{last} is not {beginning}");
    }
}
