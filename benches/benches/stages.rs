//! The stages of a load, each alone: what a change to one of them costs or saves.

#![expect(clippy::expect_used, reason = "in a bench a panic is the report")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use vecload::stages::{Filling, Settling};
use vecload_benches::corpora::Corpora;
use vecload_benches::{records, requests};
use vecload_corpus::Corpus;
use vecload_local_index::{LocalIndex, Options};
use vecload_pinecone::{Client, ClientSettings, IndexShape, MetadataPolicy, Scratch};
use vecload_record::{Dense, Metadata, Operation, RecordRef};

const CORPUS: Corpus = Corpus {
    records: 10_000,
    dimension: 768,
    metadata_bytes: 300,
    namespaces: 0,
    seed: 1,
};
/// Records of the stages that have them in memory: more than the caches hold.
const IN_MEMORY: u64 = 4_000;
const ATTEMPT: Duration = Duration::from_secs(60);

/// A record with what it borrows.
struct Owned {
    id: String,
    values: Vec<f32>,
    metadata: String,
}

impl Owned {
    fn record(&self) -> RecordRef<'_> {
        RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: &self.id,
            dense: Some(Dense::Floats(&self.values)),
            sparse: None,
            metadata: Metadata::Json(&self.metadata),
        }
    }
}

fn in_memory() -> Vec<Owned> {
    let owned = |number| Owned {
        id: CORPUS.id(number),
        values: CORPUS.values(number),
        metadata: CORPUS.metadata(number).unwrap_or_default(),
    };
    (0..IN_MEMORY).map(owned).collect()
}

fn file(corpora: &Corpora, form: &str) -> PathBuf {
    corpora.file(&CORPUS, form).expect("a corpus")
}

/// From a file to records. Bytes are those of the vectors, so that forms compare.
fn read(bench: &mut Criterion) {
    let corpora = Corpora::new(None).expect("a directory");
    let mut group = bench.benchmark_group("read");
    group.throughput(Throughput::Bytes(
        CORPUS.records * CORPUS.dimension as u64 * 4,
    ));
    for form in ["none", "snappy", "zstd", "jsonl"] {
        let file = file(&corpora, form);
        group.bench_function(BenchmarkId::from_parameter(form), |bench| {
            bench.iter(|| {
                let mut values = 0;
                let seen = records::each(&file, |record| {
                    values += record.dense.map_or(0, |dense| dense.len());
                    Ok(std::ops::ControlFlow::Continue(()))
                });
                seen.expect("records");
                values
            });
        });
    }
    group.finish();
}

/// From records to their wire form, in one buffer that is there already.
fn rules_and_append(bench: &mut Criterion) {
    let owned = in_memory();
    let shape = IndexShape::default();
    let mut scratch = Scratch::new(MetadataPolicy::default());
    let mut out = Vec::new();
    let mut append = || {
        out.clear();
        for owned in &owned {
            let record = owned.record();
            let measured = vecload_pinecone::measure(&record, &shape, &mut scratch).expect("good");
            vecload_pinecone::append(&record, &measured, &scratch, &mut out).expect("good");
        }
        out.len() as u64
    };
    let bytes = append();
    let mut group = bench.benchmark_group("rules and append");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("768", |bench| bench.iter(&mut append));
    group.finish();
}

/// The same, and sealing: memory, namespace, digest.
fn seal(bench: &mut Criterion) {
    let owned = in_memory();
    let mut filling = Filling::new(40 << 20);
    let mut row = 0;
    let mut group = bench.benchmark_group("rules, append and seal");
    group.throughput(Throughput::Elements(IN_MEMORY));
    group.bench_function("768", |bench| {
        bench.iter(|| {
            let mut bytes = 0;
            for owned in &owned {
                bytes += filling.push(&owned.record(), row).expect("good");
                row += 1;
            }
            bytes
        });
    });
    group.finish();
}

/// Requests to a server in this process that stores nothing, one after another.
fn send(bench: &mut Criterion) {
    let corpora = Corpora::new(None).expect("a directory");
    let requests = requests::encode(&file(&corpora, "none")).expect("requests");
    let bytes = requests.iter().map(|request| request.frame.len() as u64);
    let bytes = bytes.sum();
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(async {
        let options = Options {
            discard: true,
            ..Options::default()
        };
        let index = LocalIndex::open(options).expect("an index");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
        let settings = ClientSettings {
            host,
            ..ClientSettings::default()
        };
        Client::new(&settings).expect("a client")
    });
    let mut group = bench.benchmark_group("send");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("768", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                for request in &requests {
                    let ack = client.upsert(request.frame.clone(), ATTEMPT).await;
                    black_box(ack.expect("an answer"));
                }
            });
        });
    });
    group.finish();
}

/// Requests of 300 rows are booked and written down; what is written is made durable after a hundred.
fn ledger(bench: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settling = Settling::new(directory.path()).expect("a checkpoint");
    let mut group = bench.benchmark_group("ledger");
    group.throughput(Throughput::Elements(100));
    group.bench_function("100 requests", |bench| {
        bench.iter(|| {
            for _ in 0..100 {
                settling.settle(300).expect("settled");
            }
        });
    });
    group.bench_function("100 requests, durable", |bench| {
        bench.iter(|| {
            for _ in 0..100 {
                settling.settle(300).expect("settled");
            }
            settling.sync().expect("durable");
        });
    });
    group.finish();
}

criterion_group!(stages, read, rules_and_append, seal, send, ledger);
criterion_main!(stages);
