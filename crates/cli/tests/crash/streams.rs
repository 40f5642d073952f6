//! A stream with repeated ids, killed and given again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::{
    NAMESPACES, REQUEST_RECORDS, failing_index, loaded, number, report, serve, settled_late,
};

const ROWS: u32 = 2000;
const KILLS: usize = 4;

/// A stream in which most rows have the id of an earlier one and some are bad, and the value of the last good
/// row of each id.
fn write_stream(random: &mut StdRng) -> (String, BTreeMap<(&'static str, String), f32>) {
    let (mut text, mut last) = (String::new(), BTreeMap::new());
    for row in 0..ROWS {
        let namespace = NAMESPACES[random.random_range(0..NAMESPACES.len())];
        // Some ids come again at once, others late or not at all.
        let id = match random.random_range(0..4) {
            0 => format!("hot-{}", random.random_range(0..20)),
            1 => format!("often-{}", random.random_range(0..300)),
            _ => format!("rare-{}", random.random_range(0..3000)),
        };
        let is_bad = random.random_bool(0.01) && row > 0;
        let value = row as f32 + 0.5;
        let values = if is_bad {
            "[0,0]".to_owned()
        } else {
            format!("[{value},1]")
        };
        text += &format!("{{\"id\":\"{id}\",\"values\":{values},\"namespace\":\"{namespace}\"}}\n");
        if !is_bad {
            last.insert((namespace, id), value);
        }
    }
    (text, last)
}

/// Begins or continues the load, with a thread that writes the stream.
fn begin(folder: &TempDir, host: &str, text: &str) -> Child {
    let mut command = crate::command(folder, &["-"], host, &["--run-dir", "run"]);
    let mut process = command
        .args(["--quarantine", "2s"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut pipe = process.stdin.take().expect("piped");
    let text = text.to_owned();
    // Where the command is killed, the pipe breaks.
    std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    process
}

/// Scenario: a stream with repeated ids is loaded into an index that fails requests and applies some late; the
/// command is killed with `kill -9` at random instants and given the same stream again until it is done.
/// Guarantees: of each id the last good row is in the index and nothing else, also when the last late write has come;
/// the books balance (INV-1, 2, 8).
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stream_keeps_its_order() {
    let seed = number("VECLOAD_CRASH_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let (text, expected) = write_stream(&mut random);
    // Its late writes come well before the quarantine is over.
    let index = failing_index(seed);
    let host = serve(&index).await;

    for _ in 0..KILLS {
        let mut process = begin(&folder, &host, &text);
        let goal = loaded(&index) + random.random_range(1..10 * REQUEST_RECORDS as u64);
        while loaded(&index) < goal && process.try_wait().expect("a process").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It may have ended; then the next one finds nothing to do.
        let _ = process.kill();
        process.wait().expect("ended");
    }
    let process = begin(&folder, &host, &text);
    let ended = tokio::task::spawn_blocking(|| process.wait_with_output().expect("ended"));
    let output = ended.await.expect("no panic");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "seed {seed}: {words}");

    settled_late(&index).await;
    let report = report(&folder);
    let count = |name: &str| report[name].as_u64().expect("a number");
    assert_eq!(report["status"], "complete", "seed {seed}");
    let settled = ["records_loaded", "records_superseded", "records_rejected"].map(count);
    assert_eq!(settled.iter().sum::<u64>(), u64::from(ROWS), "seed {seed}");
    assert!(
        settled[1] > 0,
        "seed {seed}: ids come again within a request"
    );
    assert_eq!(loaded(&index), expected.len() as u64, "seed {seed}");
    for ((namespace, id), value) in &expected {
        let record = index
            .record(namespace, id)
            .expect("readable")
            .expect("there");
        assert_eq!(
            record.values[0], *value,
            "seed {seed}: {id} of {namespace:?}"
        );
    }
}
