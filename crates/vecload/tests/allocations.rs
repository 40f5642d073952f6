//! What a load allocates, counted by the allocator of this whole program: one test, so that no other
//! one is counted with it.

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::alloc::System;
use std::path::Path;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vecload::{DuplicatePolicy, Load, Pacing};
use vecload_corpus::{Corpus, ParquetForm};
use vecload_local_index::{LocalIndex, Options};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a load allocates, its server included, and what it sends.
struct Cost {
    calls: f64,
    bytes: f64,
    sent: f64,
}

async fn load(folder: &Path, form: &str, records: u64, host: &str) -> Cost {
    let corpus = Corpus {
        records,
        dimension: 64,
        metadata_bytes: 100,
        namespaces: 0,
        seed: 6,
    };
    let input = folder.join(format!("{records}.{form}"));
    corpus
        .write(&input, ParquetForm::default())
        .expect("written");
    let load = Load::builder()
        .input(input.display().to_string())
        .host(host)
        .run_dir(folder.join(format!("run of {records} {form}")))
        .with(|settings| {
            settings.workers = 1;
            settings.pacing = Pacing::Fixed;
            settings.namespace_rate = Some("none".parse().expect("a rate"));
            settings.namespace_requests = Some("none".parse().expect("a rate"));
            settings.duplicates = DuplicatePolicy::Any;
        });
    let region = Region::new(ALLOCATOR);
    let report = load.run().await.expect("it runs");
    let stats = region.change();
    assert_eq!(report.records_loaded, records);
    Cost {
        calls: (stats.allocations + stats.reallocations) as f64,
        bytes: stats.bytes_allocated as f64,
        sent: report.bytes_sent as f64,
    }
}

/// Scenario: loads of 20,000 and of 60,000 records, as Parquet and as JSONL, into a server of the same
/// process that discards them.
/// Guarantees: once a load has its buffers a record costs no allocation: there are fewer than 0.3 for each
/// one, all by request, frame, page and block, the server's among them. Buffers of requests come
/// back: of JSONL, which is read into one buffer, less is allocated than what is sent and a half, and
/// the server's reading alone is nearly as much as what is sent.
#[tokio::test]
async fn a_record_costs_no_allocation() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = LocalIndex::open(Options {
        discard: true,
        ..Options::default()
    })
    .expect("an index");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
    for form in ["parquet", "jsonl"] {
        let small = load(folder.path(), form, 20_000, &host).await;
        let large = load(folder.path(), form, 60_000, &host).await;
        let each = |figure: fn(&Cost) -> f64| (figure(&large) - figure(&small)) / 40_000.0;
        let (calls, bytes) = (each(|cost| cost.calls), each(|cost| cost.bytes));
        let sent = each(|cost| cost.sent);
        println!("{form}: {calls:.3} allocations, {bytes:.0} bytes, {sent:.0} sent, a record");
        assert!(calls < 0.3, "{form}: {calls} allocations a record");
        if form == "jsonl" {
            assert!(bytes < 1.5 * sent, "{bytes} bytes for {sent} sent");
        }
    }
    serving.abort();
}
