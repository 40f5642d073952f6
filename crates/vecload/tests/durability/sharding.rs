//! One load divided among shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vecload::{ExitCode, LoadBuilder, Report, Status};
use vecload_local_index::Faults;

use super::{Desk, Served, books, ids};

const INPUTS: usize = 7;

/// Writes inputs of many sizes; each repeats the first ids of the one before it, and one row is bad.
fn inputs(desk: &Desk) -> Vec<PathBuf> {
    let input = |number: usize| {
        let own = ids(&format!("own-{number}"), 10 + number * 9);
        let shared = number.saturating_sub(1)..=number;
        let shared = shared.flat_map(|number| ids(&format!("shared-{number}"), 5));
        desk.input(&format!("{number}.jsonl"), own.chain(shared))
    };
    let mut paths: Vec<PathBuf> = (0..INPUTS).map(input).collect();
    paths.push(desk.write("bad.jsonl", "{\"id\":\"bad\",\"values\":[0,0]}\n"));
    paths
}

fn shard(desk: &Desk, host: &str, inputs: &[PathBuf], shard: &str, workers: usize) -> LoadBuilder {
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    desk.load(host, &inputs).with(|settings| {
        settings.shard = Some(shard.parse().expect("a shard"));
        settings.workers = workers;
    })
}

/// Of each input the shards that read rows of it.
fn readers(reports: &[Report]) -> BTreeMap<String, Vec<usize>> {
    let mut readers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (shard, report) in reports.iter().enumerate() {
        for input in report.inputs.iter().filter(|input| input.books.read > 0) {
            readers.entry(input.path.clone()).or_default().push(shard);
        }
    }
    readers
}

/// Scenario: inputs with duplicate ids across them and a bad row, loaded whole, as three shards of one worker, in
/// reverse order, and as three of four workers.
/// Guarantees: each input is read by one shard, the same one whatever the number of workers; the books of the
/// shards add up to those of the whole load, and their digests to its digest, so that of each id the same row is
/// in the index; each shard has its own directory below the one that was named (INV-1, INV-8).
#[tokio::test(flavor = "multi_thread")]
async fn shards_add_up_to_the_whole() {
    let desk = Desk::new();
    let inputs = inputs(&desk);
    let all: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let served = Served::start(Faults::default()).await;
    let whole = desk.load(&served.host, &all).run_dir(desk.path("whole"));
    let whole = whole.run().await.expect("a report");
    assert_eq!(whole.exit_code, ExitCode::SomeRejected);

    let mut first_readers = None;
    for workers in [1, 4] {
        let served = Served::start(Faults::default()).await;
        let mut reports = Vec::new();
        for index in (0..3).rev() {
            let name = format!("{index}/3");
            let load = shard(&desk, &served.host, &inputs, &name, workers);
            let load = load.run_dir(desk.path(&format!("shards-{workers}")));
            let report = load.run().await.expect("a report");
            assert_eq!(report.status, Status::Complete);
            assert_eq!(report.shard.map(|shard| shard.to_string()), Some(name));
            assert_eq!((report.unread.rows, report.unread.bytes), (0, 0));
            reports.insert(0, report);
        }
        let sum = reports.iter().map(books).fold([0; 5], |sum, books| {
            std::array::from_fn(|place| sum[place] + books[place])
        });
        assert_eq!(sum, books(&whole));
        assert!(sum[3] > 0, "there were duplicates");
        let digest = reports.iter().fold(0_u128, |sum, report| {
            let digest = u128::from_str_radix(&report.content_digest, 16).expect("a number");
            sum.wrapping_add(digest)
        });
        assert_eq!(format!("{digest:032x}"), whole.content_digest);
        assert_eq!(served.index.count(""), whole.records_loaded);
        let readers = readers(&reports);
        assert_eq!(readers.len(), inputs.len());
        assert!(
            readers.values().all(|shards| shards.len() == 1),
            "{readers:?}"
        );
        assert_eq!(
            first_readers.get_or_insert_with(|| readers.clone()),
            &readers
        );
        let folder = desk.path(&format!("shards-{workers}/shard-2-of-3"));
        assert!(folder.join("report.json").try_exists().expect("readable"));
    }
}

/// Scenario: more shards than splits; a shard that is complete is run again; a shard in a place where a run of the
/// whole load is; an input that changes between two attempts of a shard.
/// Guarantees: a shard without a split is complete at once; a complete one does nothing; the whole run is left
/// alone; a shard without a run directory is wrong usage; a changed input is refused also with restart-file, since it would be divided otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_a_run_of_its_own() {
    let desk = Desk::new();
    let inputs = vec![
        desk.input("a.jsonl", ids("a", 40)),
        desk.input("b.jsonl", ids("b", 30)),
    ];
    let served = Served::start(Faults::default()).await;
    let all: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let whole = desk.load(&served.host, &all).run().await.expect("a report");
    assert_eq!(whole.records_loaded, 70);
    for (index, loaded) in [(0, 40), (1, 30), (2, 0), (0, 40)] {
        let name = format!("{index}/3");
        let report = shard(&desk, &served.host, &inputs, &name, 1).run().await;
        let report = report.expect("a report");
        assert_eq!(report.exit_code, ExitCode::Complete, "{name}");
        assert_eq!(books(&report), [loaded, loaded, 0, 0, 0], "{name}");
    }
    let of_whole: serde_json::Value = serde_json::from_slice(&desk.report()).expect("JSON");
    assert_eq!(of_whole["records_loaded"], 70);
    assert_eq!(of_whole["shard"], serde_json::Value::Null);

    let nowhere =
        shard(&desk, &served.host, &inputs, "0/3", 1).with(|settings| settings.run_dir = None);
    let error = nowhere.run().await.expect_err("refused");
    assert_eq!(error.exit_code, ExitCode::Usage);
    assert!(error.to_string().contains("the same --run-dir"), "{error}");

    desk.input("b.jsonl", ids("b", 31));
    let load = shard(&desk, &served.host, &inputs, "1/3", 1).with(|settings| {
        settings.on_input_change = vecload::OnInputChange::RestartFile;
    });
    let error = load.run().await.expect_err("refused");
    assert_eq!(error.exit_code, ExitCode::Refused);
    assert!(
        error.to_string().contains("restart-file is not for them"),
        "{error}"
    );
}

/// Scenario: a limit that leaves out rows, over three shards.
/// Guarantees: what is left out is in the books of all shards together once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_counted_once() {
    let desk = Desk::new();
    let inputs = inputs(&desk);
    let served = Served::start(Faults::default()).await;
    let mut left_out = Vec::new();
    let mut loaded = 0;
    for index in 0..3 {
        let load = shard(&desk, &served.host, &inputs, &format!("{index}/3"), 1);
        let report = load.with(|settings| settings.limit = Some(50)).run().await;
        let report = report.expect("a report");
        left_out.push(report.filtered_bytes);
        loaded += report.records_loaded + report.records_superseded;
    }
    assert_eq!(loaded, 50);
    assert!(left_out[0] > 0, "{left_out:?}");
    assert_eq!(left_out[1..], [0, 0]);
}
