//! The command, killed with `kill -9` at random instants and continued until it is done.
//!
//! The index is in this process, so that it outlives every load and its audit is at hand; it misbehaves
//! as well. `VECLOAD_CRASH_KILLS` sets the number of kills (50 without it, 1000 for a night), and
//! `VECLOAD_CRASH_SEED` the seed, which is printed.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

mod streams;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vecload_local_index::{Counts, Faults, LocalIndex, Options};

/// Kills of one run; then it is left to end.
const KILLS_OF_A_RUN: usize = 15;
const REQUEST_RECORDS: usize = 20;
const IN_FLIGHT: usize = 8;
const NAMESPACES: [&str; 2] = ["films", ""];
/// Rows of each input.
const ROWS: usize = 1500;

/// What must be in the index at the end, and which rows must be in the dead letters.
struct Expected {
    /// By namespace and id, the first value of the vector.
    records: BTreeMap<(&'static str, String), f32>,
    /// By input, the offsets of the bad rows, and how many rows each supersedes.
    bad: BTreeMap<(String, u64), u64>,
    rows: u64,
    superseded: u64,
}

/// A row with an id: the value of a good one, the place of a bad one.
type Version = Result<f32, (String, u64)>;

/// Writes three inputs in which the namespaces alternate and bad rows are strewn; one row in ten has the
/// id of an earlier one, of the same input or of another, and some of those are bad.
fn write_inputs(folder: &Path, random: &mut StdRng) -> Expected {
    /// Bad rows without an id.
    const NAMELESS: [&str; 2] = ["{\"id\":\"\",\"values\":[1,2]}", "{\"id\":\"torn\",\"val"];
    /// The values of other bad rows.
    const BAD: [&str; 2] = ["[0,0]", "[1]"];
    let mut expected = Expected {
        records: BTreeMap::new(),
        bad: BTreeMap::new(),
        rows: 0,
        superseded: 0,
    };
    // By namespace and id how many rows there were, and what the last one is: a value, or a bad row.
    let mut last: BTreeMap<_, (u64, Version)> = BTreeMap::new();
    let mut ids: Vec<(&'static str, String)> = Vec::new();
    for name in ["a", "b", "c"] {
        let file = format!("{name}.jsonl");
        let mut text = String::new();
        for row in 0..ROWS {
            let place = (file.clone(), text.len() as u64);
            expected.rows += 1;
            if random.random_bool(0.01) {
                expected.bad.insert(place, 0);
                text += NAMELESS[random.random_range(0..NAMELESS.len())];
                text.push('\n');
                continue;
            }
            let (namespace, id) = match random.random_bool(0.1) && !ids.is_empty() {
                true => ids[random.random_range(0..ids.len())].clone(),
                false => (NAMESPACES[row % 2], format!("{name}-{row}")),
            };
            let value = row as f32 + 0.5;
            // The first vector is a good one: an empty index takes its dimension from it.
            let is_bad = random.random_bool(0.02) && !last.is_empty();
            let (values, version) = match is_bad {
                true => (
                    BAD[random.random_range(0..BAD.len())].to_owned(),
                    Err(place),
                ),
                false => (format!("[{value},1]"), Ok(value)),
            };
            text += &format!(
                "{{\"id\":\"{id}\",\"values\":{values},\"namespace\":\"{namespace}\",\
                 \"metadata\":{{\"year\":null}}}}\n"
            );
            ids.push((namespace, id.clone()));
            let seen = last.entry((namespace, id)).or_insert((0, Ok(0.0)));
            *seen = (seen.0 + 1, version);
        }
        std::fs::write(folder.join(file), text).expect("written");
    }
    for (key, (rows, version)) in last {
        expected.superseded += rows - 1;
        match version {
            Ok(value) => drop(expected.records.insert(key, value)),
            Err(place) => drop(expected.bad.insert(place, rows - 1)),
        }
    }
    expected
}

fn load(folder: &TempDir, host: &str, run_dir: &[&str]) -> Command {
    command(folder, &["a.jsonl", "b.jsonl", "c.jsonl"], host, run_dir)
}

fn command(folder: &TempDir, inputs: &[&str], host: &str, run_dir: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vecload"));
    command
        .env_clear()
        .current_dir(folder.path())
        .arg("load")
        .args(inputs)
        .args(["--host", host])
        .args(["--request-records", &REQUEST_RECORDS.to_string()])
        .args(["--in-flight", &IN_FLIGHT.to_string()])
        .args(["--workers", "2", "--progress", "none", "-q"])
        .args(run_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// An index that fails one request in ten, in all the ways in which it can.
fn failing_index(seed: u64) -> LocalIndex {
    LocalIndex::open(Options {
        faults: Faults {
            seed,
            refuse: 0.02,
            unavailable: 0.02,
            reset: 0.02,
            apply_without_answer: 0.02,
            apply_late: 0.02,
            late_for: Duration::from_millis(100),
            delay: 0.2,
            delay_for: Duration::from_millis(20),
            ..Faults::default()
        },
        ..Options::default()
    })
    .expect("an index")
}

async fn serve(index: &LocalIndex) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let index = index.clone();
    tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
    host
}

fn loaded(index: &LocalIndex) -> u64 {
    NAMESPACES
        .iter()
        .map(|namespace| index.count(namespace))
        .sum()
}

/// Begins or continues the load and kills it: after so many more records have arrived, or after some
/// milliseconds, which is how the instants before the first record are met. False: it ended before.
async fn killed(mut command: Command, index: &LocalIndex, random: &mut StdRng) -> bool {
    let mut process = command.spawn().expect("the command runs");
    let by_progress = random.random_bool(0.7);
    let goal = loaded(index) + random.random_range(0..200);
    let mut patience = match by_progress {
        true => 100_000,
        false => random.random_range(0..150),
    };
    while patience > 0 && !(by_progress && loaded(index) > goal) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        patience -= 1;
        if process.try_wait().expect("a process").is_some() {
            return false;
        }
    }
    process.kill().expect("killed");
    process.wait().expect("ended").code().is_none()
}

fn report(folder: &TempDir) -> Value {
    let text = std::fs::read(folder.path().join("run/report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

/// One run: killed, continued, held against what it should have done. Returns the number of kills.
async fn one_run(seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_inputs(folder.path(), &mut random);
    let index = failing_index(seed);
    let host = serve(&index).await;
    let command = || load(&folder, &host, &["--run-dir", "run"]);

    let mut kills = 0;
    while kills < KILLS_OF_A_RUN && killed(command(), &index, &mut random).await {
        kills += 1;
    }
    let last = tokio::task::spawn_blocking({
        let mut command = command();
        move || command.output().expect("the command runs")
    });
    let last = last.await.expect("no panic");
    let words = String::from_utf8_lossy(&last.stderr);
    assert_eq!(last.status.code(), Some(1), "seed {seed}: {words}");

    let report = report(&folder);
    let good = expected.records.len() as u64;
    let bad = expected.bad.len() as u64;
    assert_eq!(report["status"], "complete", "seed {seed}");
    let without = expected.bad.values().filter(|supersedes| **supersedes > 0);
    for (name, count) in [
        ("records_read", expected.rows),
        ("records_loaded", good),
        ("records_rejected", bad),
        ("records_superseded", expected.superseded),
        ("ids_without_version", without.count() as u64),
        ("records_remaining", 0),
    ] {
        assert_eq!(report[name], count, "seed {seed}: {name}");
    }
    assert_eq!(
        report["metadata_changes"]["year"]["null_dropped"], good,
        "seed {seed}: what was done to fields is counted once"
    );

    settled_late(&index).await;
    let audit = index.audit();
    let mut written = 0;
    for namespace in NAMESPACES {
        for (id, writes) in &audit.writes[namespace] {
            let value = expected.records.get(&(namespace, id.clone()));
            let record = index.record(namespace, id).expect("readable");
            let stored = record.expect("there").values[0];
            assert_eq!(value, Some(&stored), "seed {seed}: {id}");
            written += writes.len();
        }
    }
    assert_eq!(loaded(&index), good, "seed {seed}: nothing is lost");
    let unanswered = (audit.counts.applied_without_answer + audit.counts.put_off) as usize;
    let twice = written - expected.records.len();
    let most = (kills * IN_FLIGHT + unanswered) * REQUEST_RECORDS;
    assert!(
        twice <= most,
        "seed {seed}: {twice} records were written twice, {most} were under way at {kills} kills"
    );

    let letters = std::fs::read_to_string(folder.path().join("run/rejected-1.jsonl"));
    let letters: Vec<((String, u64), u64)> = letters
        .expect("dead letters")
        .lines()
        .map(|line| {
            let letter: Value = serde_json::from_str(line).expect("JSON");
            let reject = &letter["_reject"];
            let file = reject["file"].as_str().expect("a file").to_owned();
            let supersedes = reject["supersedes"].as_u64().unwrap_or(0);
            (
                (file, reject["offset"].as_u64().expect("an offset")),
                supersedes,
            )
        })
        .collect();
    assert_eq!(letters.len() as u64, bad, "seed {seed}: each bad row once");
    let letters: BTreeMap<(String, u64), u64> = letters.into_iter().collect();
    assert_eq!(letters, expected.bad, "seed {seed}");
    kills
}

/// Waits for the last late write.
async fn settled_late(index: &LocalIndex) {
    let is_put_off = |counts: &Counts| counts.applied_late < counts.put_off;
    while is_put_off(&index.audit().counts) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Scenario: loads of three inputs with duplicate ids and bad rows into two namespaces of an index that fails
/// one request in ten, killed with `kill -9` at random instants and continued by the same command until they are
/// done.
/// Guarantees: nothing lost, nothing wrong, nothing extra, of each id the last row, also when the last late write has
/// come; each bad row that none supersedes
/// has one dead letter; the books balance over all attempts; at most what was under way at a kill is written twice
/// (INV-1, 2, 5, 8).
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_loses_nothing() {
    let wanted = number("VECLOAD_CRASH_KILLS").unwrap_or(50) as usize;
    let mut seed = number("VECLOAD_CRASH_SEED").unwrap_or_else(rand::random);
    let mut kills = 0;
    while kills < wanted {
        println!("seed {seed}, {kills} kills so far");
        kills += one_run(seed).await;
        seed = seed.wrapping_add(1);
    }
}

/// Scenario: a load without a directory is killed, and the same command is given again.
/// Guarantees: it is refused with the two commands to choose from, and the first of them continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_is_found_again() {
    let mut random = StdRng::seed_from_u64(1);
    let folder = tempfile::tempdir().expect("a folder");
    let expected = write_inputs(folder.path(), &mut random);
    let index = LocalIndex::open(Options::default()).expect("an index");
    let host = serve(&index).await;
    let mut process = load(&folder, &host, &[]).spawn().expect("it runs");
    while loaded(&index) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
    let output = |mut command: Command| {
        tokio::task::spawn_blocking(move || command.output().expect("the command runs"))
    };
    let refused = output(load(&folder, &host, &[])).await.expect("no panic");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{words}");
    assert!(words.contains("--resume never"), "{words}");
    let line = words
        .lines()
        .find_map(|line| line.split_once("to continue it: "));
    let typed = shlex::split(line.expect("a command").1).expect("words");
    let mut next = Command::new(&typed[0]);
    next.args(&typed[1..])
        .env_clear()
        .current_dir(folder.path());
    let done = output(next).await.expect("no panic");
    let words = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{words}");
    assert_eq!(loaded(&index), expected.records.len() as u64);
}
