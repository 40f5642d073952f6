//! Metrics as Prometheus and a Pushgateway meet them, and the last words for a scheduler.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;
use vecload::{ExitCode, Metric};

use crate::process::{Server, last_line, lines, run, stderr, vecload, write};

/// A request over HTTP: its first line and its body.
type Pushed = (String, String);

/// A Pushgateway that takes one push and answers with that status.
fn gateway(status: &'static str) -> (String, JoinHandle<Pushed>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).expect("a line"), 0, "{head}");
        }
        let length = head.to_lowercase();
        let (_, length) = length.split_once("content-length: ").expect("a length");
        let length = length.split_once('\r').expect("a line").0;
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 8\r\n\r\nno room\n");
        stream.write_all(answer.as_bytes()).expect("answered");
        let first = head.lines().next().unwrap_or_default().to_owned();
        (first, String::from_utf8(body).expect("UTF-8"))
    });
    (url, serving)
}

/// The status line and the body of what is there.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: vecload\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.lines().next().unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

/// The value of a sample.
fn sample(exposition: &str, name: &str) -> Option<f64> {
    let mut lines = exposition.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().expect("a number"))
}

/// Ends the process with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Scenario: a load of good and bad records into an index that throttles, fails and is slow, with its metrics pushed.
/// Guarantees: the gateway gets one PUT with job and instance; every metric is in it, with help and type, and the books
/// are those of the report. (`.ci/run` shows the same text to promtool.)
#[test]
fn every_metric_is_pushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = lines(120) + "{\"id\":\"a\"}\n" + &lines(1);
    write(&folder, "corpus.jsonl", &corpus);
    let faults = "seed = 3\nrefuse = 0.1\nunavailable = 0.1\ndelay = 1.0\ndelay_for = \"40ms\"\n";
    write(&folder, "faults.toml", faults);
    let server = Server::start(&folder, &["--faults", "faults.toml"]);
    let (url, pushed) = gateway("200 OK");
    let load = vecload(&folder)
        .args(["load", "corpus.jsonl", "--host", &server.host])
        .args([
            "--request-records",
            "1",
            "--in-flight",
            "2",
            "--run-dir",
            "run",
        ])
        .args(["--shard", "0/1", "--metrics-push", &url])
        .output()
        .expect("the command runs");
    assert_eq!(load.status.code(), Some(1), "{}", stderr(&load));
    let (request, exposition) = pushed.join().expect("pushed");
    assert_eq!(
        request,
        "PUT /metrics/job/vecload/instance/shard-0-of-1 HTTP/1.1"
    );
    for metric in Metric::ALL {
        let name = metric.name();
        for line in [
            format!("# HELP {name} {}\n", metric.help()),
            format!("# TYPE {name} "),
        ] {
            assert!(exposition.contains(&line), "{line}{exposition}");
        }
    }
    let count = |name| sample(&exposition, name);
    assert_eq!(
        count("vecload_records_total{status=\"loaded\"}"),
        Some(120.0)
    );
    assert_eq!(
        count("vecload_records_total{status=\"rejected\"}"),
        Some(1.0)
    );
    assert_eq!(
        count("vecload_records_total{status=\"superseded\"}"),
        Some(1.0)
    );
    assert_eq!(count("vecload_exit_code"), Some(1.0));
    assert!(count("vecload_request_duration_seconds_bucket{le=\"+Inf\"}") >= Some(120.0));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    std::fs::write(file, exposition).expect("written");
}

/// Scenario: a gateway that refuses, one that is not there, and what is no URL.
/// Guarantees: the load is as good as without, and says what the gateway said; what is no URL is refused first.
#[test]
fn a_push_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(3));
    let load = |url: &str, run_dir: &str| {
        let arguments = [
            "load",
            "corpus.jsonl",
            "--local",
            "index",
            "--run-dir",
            run_dir,
            "--metrics-push",
            url,
        ];
        run(&folder, &arguments)
    };
    let (url, pushed) = gateway("507 Insufficient Storage");
    let refused = load(&url, "a");
    pushed.join().expect("pushed");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let unheard = load(&nowhere, "b");
    for (output, why) in [(refused, "no room"), (unheard, "refused")] {
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{words}");
        assert!(
            words.contains("could not be pushed") && words.contains(why),
            "{words}"
        );
        assert!(
            last_line(&output).starts_with("loaded 3 records"),
            "{words}"
        );
    }
    let wrong = load("pushgateway:9091", "c");
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    assert!(!folder.path().join("c").try_exists().expect("readable"));
}

/// Scenario: a slow load with `--metrics-addr`, asked while it goes on.
/// Guarantees: /healthz answers at once, /readyz says when it loads, /metrics counts what is loaded, and another path
/// is not found.
#[test]
fn a_load_can_be_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "corpus.jsonl", &lines(100_000));
    write(
        &folder,
        "faults.toml",
        "delay = 1.0\ndelay_for = \"50ms\"\n",
    );
    let server = Server::start(&folder, &["--faults", "faults.toml"]);
    let mut process = vecload(&folder)
        .args(["load", "corpus.jsonl", "--host", &server.host, "-v"])
        .args([
            "--request-records",
            "1",
            "--in-flight",
            "2",
            "--run-dir",
            "run",
        ])
        .args(["--metrics-addr", "127.0.0.1:0", "--log-format", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let words = BufReader::new(process.stderr.take().expect("piped"));
    let _ended = Ended(process);
    let mut said = words.lines();
    let address = said.by_ref().find_map(|line| {
        let line: Value = serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
        (line["message"] == "metrics are served").then(|| line["address"].clone())
    });
    let address = address.expect("an address");
    let address = address.as_str().expect("a text");
    assert_eq!(get(address, "/healthz").0, "HTTP/1.1 200 OK");
    assert_eq!(get(address, "/").0, "HTTP/1.1 404 Not Found");
    while get(address, "/readyz").0 != "HTTP/1.1 200 OK" {
        std::thread::yield_now();
    }
    let loaded = || {
        let exposition = get(address, "/metrics").1;
        sample(&exposition, "vecload_records_total{status=\"loaded\"}")
    };
    while loaded() < Some(4.0) {
        std::thread::yield_now();
    }
}

fn last_words(folder: &TempDir) -> Value {
    let text = std::fs::read(folder.path().join("last")).expect("left behind");
    serde_json::from_slice(&text).expect("JSON")
}

/// Scenario: a load that is complete, one that stops for its rejects, and one that is refused, each with
/// `--termination-message`.
/// Guarantees: one line of JSON has the exit code, the reason and the books.
#[test]
fn a_scheduler_gets_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "good.jsonl", &lines(3));
    write(&folder, "bad.jsonl", &"{}\n".repeat(3));
    let load = |input: &str, run_dir: &str| {
        let output = vecload(&folder)
            .args(["load", input, "--local", "index", "--run-dir", run_dir])
            .args(["--max-rejects", "1"])
            .env("VECLOAD_TERMINATION_MESSAGE", "last")
            .output();
        let output = output.expect("the command runs");
        let words = last_words(&folder);
        assert_eq!(
            words["exit_code"].as_i64(),
            output.status.code().map(i64::from)
        );
        words
    };
    let complete = load("good.jsonl", "a");
    assert_eq!(
        (&complete["exit_code"], &complete["loaded"]),
        (&0.into(), &3.into())
    );
    let stopped = load("bad.jsonl", "b");
    assert_eq!(stopped["reason"], "too_many_rejects");
    assert_eq!(stopped["exit_code"], u8::from(ExitCode::Short));
    let refused = load("none.jsonl", "c");
    assert_eq!(refused["exit_code"], u8::from(ExitCode::Refused));
    let message = refused["message"].as_str().expect("a text");
    assert!(message.contains("none.jsonl"), "{message}");
}
