//! INV-6 from outside: what the process took, by its own report, is within the bound that it states.
//! `benches/src/bin/memory.rs` does the same at full size.

use vecload_corpus::{Corpus, NAMESPACE_COLUMN, ParquetForm};

use crate::process::{Server, report, run, stderr};

/// Loads 60 MB of vectors with a budget of 16 MiB.
fn assert_bounded(name: &str, namespaces: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = Corpus {
        records: 20_000,
        dimension: 768,
        metadata_bytes: 200,
        namespaces,
        seed: 71,
    };
    corpus
        .write(&folder.path().join(name), ParquetForm::default())
        .expect("written");
    let server = Server::start(&folder, &["--discard"]);
    let mut load = vec!["load", name, "--host", &server.host, "--run-dir", "run"];
    load.extend(["--memory", "16MiB", "--namespace-requests", "none"]);
    if namespaces > 0 {
        load.extend(["--namespace-column", NAMESPACE_COLUMN]);
    }
    let output = run(&folder, &load);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&folder.path().join("run"));
    assert_eq!(report["records_loaded"], corpus.records);
    let figure = |name: &str| report[name].as_u64().expect("a figure");
    let (peak, bound) = (figure("peak_rss_bytes"), figure("memory_bound_bytes"));
    assert!(peak <= bound, "{peak} bytes where {bound} are allowed");
    // The bound says something: it is less than the corpus and what the process takes anyway.
    assert!(peak > 1_000_000 && bound < 150_000_000, "{peak}, {bound}");
}

/// Scenario: 20,000 vectors of 768 values as Parquet (zstd, list of float32).
/// Guarantees: the peak is within the stated bound, and every record arrives.
#[test]
fn parquet_within_the_bound() {
    assert_bounded("corpus.parquet", 0);
}

/// Scenario: the same vectors as JSONL.
/// Guarantees: the peak is within the stated bound, and every record arrives.
#[test]
fn jsonl_within_the_bound() {
    assert_bounded("corpus.jsonl", 0);
}

/// Scenario: the same vectors for 5,000 namespaces in turn.
/// Guarantees: the peak is within the stated bound, and every record arrives.
#[test]
fn interleaved_namespaces_within_the_bound() {
    assert_bounded("corpus.parquet", 5_000);
}
