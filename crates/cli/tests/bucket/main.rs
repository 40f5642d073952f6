//! A run directory in an object store: processes that are killed and lose their disk, and two that want one run. The
//! store and the index are in this process.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

mod store;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vecload_local_index::{Conditions, LocalIndex, Options};

use self::store::Store;

const ROWS: u64 = 20_000;
/// Every so many rows one is bad.
const BAD_EVERY: u64 = 100;
const MANIFEST: &str = "corpora/runs/nightly/run.json";

/// Writes the input: every tenth row has the id of the one nine before it, and some are bad.
fn write_input(folder: &Path) {
    let mut text = String::new();
    for row in 0..ROWS {
        let id = match row {
            row if row % BAD_EVERY == 50 => String::new(),
            row if row % 10 == 9 => format!("id-{}", row - 9 + u64::from(row % BAD_EVERY == 59)),
            row => format!("id-{row}"),
        };
        let rest = ",1".repeat(15);
        let _ = writeln!(text, "{{\"id\":\"{id}\",\"values\":[{row}.5{rest}]}}");
    }
    std::fs::write(folder.join("corpus.jsonl"), text).expect("written");
}

/// An index that takes some 20 s for the input.
async fn slow_index() -> (LocalIndex, String) {
    let index = LocalIndex::open(Options {
        conditions: Some(Conditions {
            bytes_per_second: vec![[0.0, 80_000.0]],
            burst_seconds: 0.1,
            ..Conditions::default()
        }),
        ..Options::default()
    })
    .expect("an index");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = index.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    (index, host)
}

/// The command as every pod gives it, with a disk of its own; the inputs are on another one.
fn pod(inputs: &TempDir, disk: &TempDir, store: &Store, host: &str) -> Child {
    let report = disk.path().join("report.json");
    Command::new(env!("CARGO_BIN_EXE_vecload"))
        .env_clear()
        .envs(store.environment())
        .current_dir(disk.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .arg("load")
        .arg(inputs.path().join("corpus.jsonl"))
        .args(["--host", host, "--run-dir", "s3://corpora/runs/nightly"])
        .args([
            "--request-records",
            "50",
            "--workers",
            "1",
            "--progress",
            "none",
        ])
        .arg("--scratch-dir")
        .arg(disk.path())
        .arg("--report")
        .arg(report)
        .spawn()
        .expect("the command runs")
}

async fn ended(pod: Child) -> (Option<i32>, String) {
    let ended = tokio::task::spawn_blocking(move || pod.wait_with_output().expect("it ends"));
    let Output { status, stderr, .. } = ended.await.expect("no panic");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn disk() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// What the manifest says of its owner: how many there were, and how often this one has written.
fn owner(store: &Store) -> (u64, u64) {
    let manifest = store.get(MANIFEST).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let number = |field: &str| manifest[field].as_u64().unwrap_or_default();
    (number("epoch"), number("sequence"))
}

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The dead letters in the store, as the manifest names them.
fn dead_letters(store: &Store) -> Vec<Value> {
    let manifest = store.get(MANIFEST).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let parts = manifest["files"]["rejected-1.jsonl"].as_array().cloned();
    let texts = parts.unwrap_or_default().into_iter().map(|part| {
        let object = part["object"].as_str().expect("a name").to_owned();
        let key = format!("corpora/runs/nightly/{object}");
        store.get(&key).expect("what is named is there")
    });
    let text: Vec<u8> = texts.flatten().collect();
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

fn report(disk: &TempDir) -> Value {
    let text = std::fs::read(disk.path().join("report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

fn expect_whole(index: &LocalIndex, store: &Store, report: &Value) {
    let bad = ROWS / BAD_EVERY;
    assert_eq!(report["records_read"], ROWS);
    assert_eq!(report["records_remaining"], 0);
    assert_eq!(report["records_rejected"], bad);
    assert_eq!(report["records_superseded"], ROWS / 10);
    assert_eq!(report["records_loaded"], index.count(""));
    assert_eq!(index.count(""), ROWS - bad - ROWS / 10);
    let letters = dead_letters(store);
    let mut offsets: Vec<u64> = letters
        .iter()
        .map(|letter| letter["_reject"]["offset"].as_u64().expect("an offset"))
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!((offsets.len() as u64, letters.len() as u64), (bad, bad));
}

/// Scenario: a pod is killed with `kill -9` after it has kept its state in mid-run; another with an empty disk is
/// given the same command, at a store that refuses some requests and does others without an answer. Then
/// once more, when all is loaded.
/// Guarantees: the second goes on from what was kept, every record is accounted for once, with one dead letter per
/// rejected one in the store (INV-1, INV-2, INV-5); the third does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_lost_its_disk_continues() {
    let (inputs, first, second, third) = (disk(), disk(), disk(), disk());
    write_input(inputs.path());
    let store = Store::start();
    let (index, host) = slow_index().await;
    let mut pod_1 = pod(&inputs, &first, &store, &host);
    until(|| owner(&store) >= (1, 3)).await;
    pod_1.kill().expect("killed");
    let (code, words) = ended(pod_1).await;
    assert_eq!(code, None, "it was at work: {words}");
    assert!(!dead_letters(&store).is_empty());

    store.be_flaky();
    let (code, words) = ended(pod(&inputs, &second, &store, &host)).await;
    assert_eq!(code, Some(1), "{words}");
    let found = report(&second);
    assert_eq!(found["attempts_of_run"], 2);
    let sent = found["requests_ok"].as_u64().expect("a number");
    assert!(
        sent < index.count("") / 50,
        "{sent}: some was loaded before"
    );
    expect_whole(&index, &store, &found);
    let left: Vec<_> = std::fs::read_dir(second.path())
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "the report only: {left:?}");

    let before = store.keys();
    let (code, words) = ended(pod(&inputs, &third, &store, &host)).await;
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(report(&third)["attempts"], 0);
    assert_eq!(store.keys(), before);
}

/// Scenario: a second pod is given the command while a first one is at work; and in a third attempt the store takes no
/// writes any more when it ends.
/// Guarantees: the first stops with exit code 6 and the reason, and the second loads all; whoever cannot keep how it ended says
/// so and does not call the run complete, and the next one continues it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_pods_the_first_stops() {
    let (inputs, first, second, third) = (disk(), disk(), disk(), disk());
    write_input(inputs.path());
    let store = Store::start();
    let (index, host) = slow_index().await;
    let pod_1 = pod(&inputs, &first, &store, &host);
    until(|| owner(&store) >= (1, 2)).await;
    let pod_2 = pod(&inputs, &second, &store, &host);
    let (code, words) = ended(pod_1).await;
    assert_eq!(code, Some(6), "{words}");
    assert!(
        words.contains("another vecload has taken the run"),
        "{words}"
    );
    assert_eq!(report(&first)["stop_reason"]["code"], "run_dir");

    until(|| owner(&store) >= (2, 2)).await;
    store.refuse_writes(true);
    let (code, words) = ended(pod_2).await;
    assert_eq!(code, Some(6), "{words}");
    assert!(words.contains("refuses access"), "{words}");
    store.refuse_writes(false);
    let (code, words) = ended(pod(&inputs, &third, &store, &host)).await;
    assert_eq!(code, Some(1), "{words}");
    expect_whole(&index, &store, &report(&third));
}
