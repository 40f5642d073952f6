//! Several runs as one: what makes them a whole corpus, and what does not.

use std::path::{Path, PathBuf};

use vecload::{ExitCode, Overview, Status};
use vecload_local_index::Faults;

use super::{Desk, Served, ids};

async fn load(desk: &Desk, host: &str, input: &Path, shard: &str) {
    let load = desk.load(host, &[input]).with(|settings| {
        settings.shard = Some(shard.parse().expect("a shard"));
    });
    load.run().await.expect("a report");
}

fn overview(dirs: &[PathBuf]) -> Overview {
    Overview::of(dirs).expect("an overview")
}

/// Scenario: shards as they come in: one of two, both, both with one of them named twice, with a third one of
/// another division, with one that found another content; then a directory without a run.
/// Guarantees: only both make a whole, and none counts twice; what is missing or does not fit is named with its
/// directory, and the exit code tells which.
#[tokio::test(flavor = "multi_thread")]
async fn a_corpus_is_whole_when_all_shards_of_it_are() {
    let desk = Desk::new();
    let served = Served::start(Faults::default()).await;
    let input = desk.input("a.jsonl", ids("a", 25));
    let runs = [desk.run_dir()];

    load(&desk, &served.host, &input, "1/2").await;
    let one = overview(&runs);
    assert_eq!(
        (one.complete, one.exit_code),
        (false, ExitCode::Interrupted)
    );
    assert_eq!(one.problems, ["there is no run of shard 0/2"]);

    load(&desk, &served.host, &input, "0/2").await;
    let both = overview(&runs);
    assert_eq!((both.complete, both.exit_code), (true, ExitCode::Complete));
    assert_eq!((both.runs.len(), both.records_loaded), (2, 25));
    let named_twice = [desk.run_dir(), desk.path("run/shard-0-of-2")];
    assert_eq!(overview(&named_twice).records_loaded, 25);

    load(&desk, &served.host, &input, "0/3").await;
    let mixed = overview(&runs);
    assert_eq!(
        (mixed.complete, mixed.exit_code),
        (false, ExitCode::Refused)
    );
    assert!(
        mixed.problems[0].contains("of another load"),
        "{:?}",
        mixed.problems
    );

    // The second shard finds a file that was written again.
    let other = desk.path("other");
    let elsewhere = |shard: &str| {
        let load = desk.load(&served.host, &[&input]).run_dir(&other);
        let shard = shard.parse().expect("a shard");
        load.with(move |settings| settings.shard = Some(shard))
    };
    elsewhere("0/2").run().await.expect("a report");
    desk.input("a.jsonl", ids("a", 26));
    elsewhere("1/2").run().await.expect("a report");
    let changed = overview(std::slice::from_ref(&other));
    assert_eq!(changed.exit_code, ExitCode::Refused);
    let words = &changed.problems[0];
    assert!(
        words.contains("another content") && words.contains("shard-1-of-2"),
        "{words}"
    );

    let nothing = Overview::of(&[desk.path("nowhere")]).expect_err("no run");
    assert_eq!(nothing.exit_code, ExitCode::Refused);
    assert!(
        nothing.to_string().contains("nowhere holds no run"),
        "{nothing}"
    );
}

/// Scenario: a run that was stopped for its rejects beside one that is complete, and one that was killed while it ran.
/// Guarantees: each has its state, its reason and its time; the exit code is that of the worst.
#[tokio::test(flavor = "multi_thread")]
async fn each_run_says_how_it_stands() {
    let desk = Desk::new();
    let served = Served::start(Faults::default()).await;
    let good = desk.input("good.jsonl", ids("a", 5));
    let bad = desk.write("bad.jsonl", &"{\"id\":\"x\",\"values\":[0,0]}\n".repeat(3));
    let complete = desk
        .load(&served.host, &[&good])
        .run_dir(desk.path("runs/good"));
    complete.run().await.expect("a report");
    let stopped = desk
        .load(&served.host, &[&good, &bad])
        .run_dir(desk.path("runs/stopped"));
    let stopped = stopped.with(|settings| {
        settings.max_rejects = "0".parse().expect("a limit");
        settings.duplicates = vecload::DuplicatePolicy::Any;
    });
    stopped.run().await.expect("a report");
    let both = overview(&[desk.path("runs")]);
    assert_eq!(both.exit_code, ExitCode::Short);
    let states: Vec<Status> = both.runs.iter().map(|run| run.status).collect();
    assert_eq!(states, [Status::Complete, Status::Stopped]);
    assert!(
        both.problems[0].contains("--max-rejects is 0"),
        "{:?}",
        both.problems
    );

    // What a killed process leaves behind.
    let report = desk.path("runs/good/report.json");
    let text = std::fs::read_to_string(&report).expect("a report");
    let killed = text.replace("\"status\": \"complete\"", "\"status\": \"running\"");
    std::fs::write(&report, killed).expect("written");
    let killed = overview(&[desk.path("runs/good")]);
    assert_eq!(killed.exit_code, ExitCode::Interrupted);
    let written = killed.runs[0].last_checkpoint.expect("a checkpoint");
    let line = killed.runs[0].line(written + jiff::SignedDuration::from_secs(7));
    assert!(line.ends_with("last checkpoint 7 s ago"), "{line}");

    // The same command finds nothing to do, and mends the report.
    let again = desk
        .load(&served.host, &[&good])
        .run_dir(desk.path("runs/good"));
    again.run().await.expect("a report");
    assert_eq!(
        overview(&[desk.path("runs/good")]).exit_code,
        ExitCode::Complete
    );
}
