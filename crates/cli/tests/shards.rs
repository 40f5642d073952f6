//! Eight shards as eight processes, as the pods of an Indexed Job run them: one command, one run directory,
//! and an index from the environment. The index is in this process, so that its audit is at hand.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vecload_local_index::{Conditions, LocalIndex, Options};

const SHARDS: usize = 8;
const FILES: usize = 24;
const ROWS: usize = 400;
const DIMENSION: usize = 32;
/// What the index takes, two requests at a time: the corpus is 1.5 MB, and eight adaptive pacers begin far above.
const BYTES_PER_SECOND: f64 = 600_000.0;

/// Writes the inputs: some ids of each file come again in a later one, and some rows are bad. Gives the first value
/// of the last good row of each id, and the number of bad rows.
fn write_inputs(folder: &Path) -> (BTreeMap<String, f32>, u64) {
    let mut expected = BTreeMap::new();
    let mut bad = 0;
    for file in 0..FILES {
        let mut text = String::new();
        // Files of many sizes, so that shares are not even by chance.
        for row in 0..ROWS / 2 + ROWS * file / FILES {
            if row % 150 == 149 {
                bad += 1;
                text += "{\"id\":\"\",\"values\":[1]}\n";
                continue;
            }
            let id = match (row % 20, file) {
                (7, 5..) => format!("{}-{row}", file - 5),
                _ => format!("{file}-{row}"),
            };
            let value = (file * 1000 + row) as f32 + 0.5;
            let rest = ",1".repeat(DIMENSION - 1);
            let _ = writeln!(text, "{{\"id\":\"{id}\",\"values\":[{value}{rest}]}}");
            expected.insert(id, value);
        }
        std::fs::create_dir_all(folder.join("corpus")).expect("a folder");
        std::fs::write(folder.join(format!("corpus/{file:02}.jsonl")), text).expect("written");
    }
    (expected, bad)
}

async fn serve(index: &LocalIndex) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let index = index.clone();
    tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
    host
}

fn vecload(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vecload"));
    command.env_clear().current_dir(folder.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// What every pod runs.
fn pod(folder: &TempDir, host: &str, index: usize) -> Child {
    let shards = SHARDS.to_string();
    vecload(folder)
        .env("JOB_COMPLETION_INDEX", index.to_string())
        .env("VECLOAD_SHARDS", &shards)
        .args(["load", "corpus", "--host", host, "--run-dir", "runs"])
        .args(["--replicas", &shards, "--request-records", "50"])
        .args(["--workers", "1", "--progress", "none", "-q"])
        .spawn()
        .expect("the command runs")
}

async fn ended(pod: Child) -> Output {
    let ended = tokio::task::spawn_blocking(move || pod.wait_with_output().expect("it ends"));
    ended.await.expect("no panic")
}

/// The merged report, and what the command exits with.
async fn report(folder: &TempDir) -> (Value, Option<i32>, String) {
    let mut command = vecload(folder);
    command
        .args(["report", "runs", "--json"])
        .stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let output = output.await.expect("no panic");
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    let words = String::from_utf8(output.stderr).expect("UTF-8");
    (report, output.status.code(), words)
}

/// Loads the corpus with eight processes, of which these are killed while they load and then started again. Gives
/// the merged report.
async fn load(killed: &[usize]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let (expected, bad) = write_inputs(folder.path());
    let index = LocalIndex::open(Options {
        conditions: Some(Conditions {
            bytes_per_second: vec![[0.0, BYTES_PER_SECOND]],
            burst_seconds: 0.025,
            ..Conditions::default()
        }),
        ..Options::default()
    })
    .expect("an index");
    let host = serve(&index).await;
    let mut pods: Vec<Child> = (0..SHARDS)
        .map(|number| pod(&folder, &host, number))
        .collect();
    if !killed.is_empty() {
        while index.count("") < expected.len() as u64 / 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for number in killed {
            pods[*number].kill().expect("killed");
            let status = pods[*number].wait().expect("ended");
            assert_eq!(status.code(), None, "it was at work");
        }
        let (meanwhile, exit, words) = report(&folder).await;
        assert_eq!(
            (&meanwhile["complete"], exit),
            (&Value::Bool(false), Some(6))
        );
        let shard = format!("shard {}/{SHARDS}", killed[0]);
        assert!(
            words.contains(&shard) && words.contains("--run-dir runs"),
            "{words}"
        );
        for number in killed {
            pods[*number] = pod(&folder, &host, *number);
        }
    }
    for (number, pod) in pods.into_iter().enumerate() {
        let output = ended(pod).await;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "shard {number}: {words}");
    }

    let audit = index.audit();
    let mut written = 0;
    for (id, writes) in &audit.writes[""] {
        let record = index.record("", id).expect("readable").expect("there");
        assert_eq!(Some(&record.values[0]), expected.get(id), "{id}");
        written += writes.len();
    }
    assert_eq!(
        index.count(""),
        expected.len() as u64,
        "nothing is lost, nothing is extra"
    );
    if killed.is_empty() {
        assert_eq!(written, expected.len(), "each record is written once");
    }

    let (merged, exit, words) = report(&folder).await;
    assert_eq!(
        (&merged["complete"], exit),
        (&Value::Bool(true), Some(1)),
        "{words}"
    );
    assert_eq!(merged["problems"], Value::Array(Vec::new()));
    assert_eq!(merged["runs"].as_array().map(Vec::len), Some(SHARDS));
    assert_eq!(merged["inputs"].as_array().map(Vec::len), Some(FILES));
    let books = |of: &Value| {
        ["loaded", "superseded", "rejected", "filtered"]
            .map(|fate| of[fate].as_u64().expect("a number"))
    };
    for input in merged["inputs"].as_array().expect("inputs") {
        assert_eq!(input["read"], books(input).iter().sum::<u64>(), "{input}");
    }
    assert_eq!(merged["records_loaded"], expected.len());
    assert_eq!(merged["records_rejected"], bad);
    assert_eq!(merged["records_remaining"], 0);
    let throttled = merged["requests_throttled"].as_u64();
    assert!(throttled > Some(0), "the index was too slow for them");
    let words = words.lines().last().unwrap_or_default();
    assert!(words.starts_with("complete: 8 runs, loaded "), "{words}");
    merged
}

/// Scenario: eight processes load the shards of one corpus, with duplicate ids and bad rows, into an index that is too
/// slow for them; once undisturbed, and once with three of them killed with `kill -9` and started again by the
/// same command.
/// Guarantees: the index has of each id the last row, and nothing else; the merged report accounts for every
/// record and says that the corpus arrived, and before that that it had not; killed or not, the books and the digest
/// are the same (INV-1, INV-2, INV-8).
#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_load_one_corpus() {
    let undisturbed = load(&[]).await;
    let disturbed = load(&[1, 4, 6]).await;
    for name in [
        "records_read",
        "records_loaded",
        "records_superseded",
        "records_rejected",
        "content_digest",
        "rejected_by_reason",
    ] {
        assert_eq!(undisturbed[name], disturbed[name], "{name}");
    }
}
