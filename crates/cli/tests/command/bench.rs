//! `vecload bench` from outside: what its document says, and that it says it of true loads.

use serde_json::Value;

use crate::process::{Server, run, stderr, write};

fn document(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("one JSON document on stdout")
}

/// Scenario: a synthetic corpus over a grid of two by two, with one warm-up and two repeats each.
/// Guarantees: every combination was loaded so often and whole; medians are of the loads that count;
/// machine, versions, settings and seed stand in the document; nothing is left in the directory.
#[test]
fn a_grid_over_a_synthetic_corpus() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder, &["--discard"]);
    let mut arguments = vec!["bench", "--host", &server.host, "--repeats", "2", "-q"];
    arguments.extend(["--records", "500", "--dimension", "8", "--corpus-seed", "7"]);
    arguments.extend(["--grid-in-flight", "1,4", "--grid-request-bytes", "4kB,1MB"]);
    let before = std::fs::read_dir(folder.path()).expect("a folder").count();
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output.stdout);

    let loads = document["loads"].as_array().expect("loads");
    assert_eq!(loads.len(), 2 * 2 * 3);
    for load in loads {
        assert_eq!(load["records_loaded"], 500);
        assert!(load["cpu_seconds"].as_f64() >= Some(0.0));
        assert!(
            load["series"]
                .as_array()
                .is_some_and(|series| !series.is_empty())
        );
    }
    let warm = loads.iter().filter(|load| load["warm_up"] == true);
    assert_eq!(warm.count(), 4);
    let cells = document["cells"].as_array().expect("cells");
    let grid: Vec<_> = cells
        .iter()
        .map(|cell| (&cell["in_flight"], &cell["request_bytes"], &cell["repeats"]))
        .map(|(a, b, c)| [a, b, c].map(|value| value.as_u64().expect("a number")))
        .collect();
    assert_eq!(
        grid,
        [
            [1, 4_000, 2],
            [1, 1_000_000, 2],
            [4, 4_000, 2],
            [4, 1_000_000, 2]
        ]
    );
    for cell in cells {
        assert!(cell["records_per_second"]["median"].as_f64() > Some(0.0));
    }
    // Smaller requests are more of them.
    let requests = |at: usize| loads[at]["requests_ok"].as_u64().expect("a number");
    assert!(
        requests(0) > requests(3),
        "{} and {}",
        requests(0),
        requests(3)
    );
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["vecload_version"], env!("CARGO_PKG_VERSION"));
    assert!(document["machine"]["cores"].as_u64() >= Some(1));
    assert_eq!(document["settings"]["host"], server.host.as_str());
    assert_eq!(document["corpus"]["seed"], 7);
    let after = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(before, after, "runs of a bench are not kept");
}

/// Scenario: a given file, as JSONL, into an index that it does not fit.
/// Guarantees: the given records are what is loaded; the bench stops with the exit code of the load
/// that was refused.
#[test]
fn given_records() {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        &folder,
        "two.jsonl",
        "{\"id\":\"a\",\"values\":[1,2]}\n{\"id\":\"b\",\"values\":[3,4]}\n",
    );
    let server = Server::start(&folder, &["--discard"]);
    let flags = ["--repeats", "1", "--warm-up", "0", "-q"];
    let arguments = ["bench", "two.jsonl", "--host", &server.host];
    let output = run(&folder, &[&arguments[..], &flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output.stdout);
    assert_eq!(document["inputs"][0], "two.jsonl");
    assert!(document["corpus"].is_null());
    assert_eq!(document["loads"][0]["records_loaded"], 2);

    let other = Server::start(&folder, &["--discard", "--dimension", "3"]);
    let arguments = ["bench", "two.jsonl", "--host", &other.host];
    let output = run(&folder, &[&arguments[..], &flags].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}
