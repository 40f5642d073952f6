//! What is not continued, and the words for it.

use std::path::Path;

use vecload::{DuplicatePolicy, ExitCode, LoadBuilder, MaxRejects, NullPolicy, Resume, Settings};
use vecload_local_index::Faults;

use crate::{Desk, Served, good_line, ids};

type Change = fn(&mut Settings);

/// What a second command is refused with.
async fn refused(load: LoadBuilder) -> String {
    let error = load.run().await.expect_err("refused");
    assert_eq!(error.exit_code, ExitCode::Refused, "{error}");
    error.to_string()
}

/// Scenario: between two commands the job is changed in one of nine ways.
/// Guarantees: each is refused before anything is sent, naming what it is and what it was.
#[tokio::test]
async fn another_job_is_refused() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let other = Served::start(Faults::default()).await;
    let line = "{\"id\":\"a\",\"values\":[1],\"metadata\":{},\"key\":\"k\",\"v\":[2],\"m\":{},\"tenant\":\"t\"}\n";
    let input = desk.write("a.jsonl", line);
    let second = desk.input("b.jsonl", ids("b", 20));
    desk.load(&served.host, &[&input])
        .run()
        .await
        .expect("done");
    let sent = served.index.audit().counts;

    let changes: [(&str, Change); 7] = [
        ("namespace is \"films\" and was \"\"", |all| {
            all.namespace = "films".to_owned();
        }),
        ("namespace_column is \"tenant\" and was unset", |all| {
            all.namespace_column = Some("tenant".to_owned());
        }),
        ("id_column is \"key\" and was unset", |all| {
            all.id_column = Some("key".to_owned());
        }),
        ("vector_column is \"v\" and was unset", |all| {
            all.vector_column = Some("v".to_owned());
        }),
        ("metadata_column is \"m\" and was unset", |all| {
            all.metadata_column = Some("m".to_owned());
        }),
        ("duplicates is \"any\" and was \"last\"", |all| {
            all.duplicates = DuplicatePolicy::Any;
        }),
        ("on_null is \"reject\" and was \"drop\"", |all| {
            all.on_null = NullPolicy::Reject;
        }),
    ];
    for (words, change) in changes {
        let said = refused(desk.load(&served.host, &[&input]).with(change)).await;
        assert!(said.contains(words), "{said}");
    }
    let said = refused(desk.load(&other.host, &[&input])).await;
    assert!(
        said.contains(&format!("target is \"{}\"", other.host)),
        "{said}"
    );
    let said = refused(desk.load(&served.host, &[&input, &second])).await;
    assert!(said.contains("inputs is"), "{said}");
    assert_eq!(served.index.audit().counts.upserts, sent.upserts);
}

/// Scenario: between two commands a file is longer, shorter, other at the same size, written again, replaced
/// by a copy, gone from its directory, or a new one is beside it.
/// Guarantees: each is refused, naming the file and the difference.
#[tokio::test]
async fn a_changed_input_is_refused() {
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 7] = [
        ("b.jsonl has 2 bytes", |dir| write(dir, "b.jsonl", "{}")),
        ("b.jsonl has", |dir| {
            let text = read(dir) + &good_line("more");
            write(dir, "b.jsonl", &text);
        }),
        ("b.jsonl has another content", |dir| {
            let text = read(dir).replace("b-3", "b-x");
            write(dir, "b.jsonl", &text);
        }),
        ("b.jsonl was written again", |dir| {
            let text = read(dir);
            write(dir, "b.jsonl", &text);
        }),
        ("b.jsonl is another file", |dir| {
            let path = dir.join("b.jsonl");
            let time = std::fs::metadata(&path).and_then(|file| file.modified());
            // Made while the old one is there, so that it gets another number.
            std::fs::copy(&path, dir.join("copy")).expect("copied");
            let copy = std::fs::File::options().write(true).open(dir.join("copy"));
            let copy = copy.expect("a copy");
            copy.set_modified(time.expect("a time")).expect("set");
            std::fs::rename(dir.join("copy"), path).expect("renamed");
        }),
        ("b.jsonl is gone", |dir| {
            std::fs::remove_file(dir.join("b.jsonl")).expect("removed");
        }),
        ("c.jsonl is new", |dir| {
            write(dir, "c.jsonl", &good_line("c"));
        }),
    ];
    for (words, spoil) in spoils {
        let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
        let dir = desk.path("data");
        std::fs::create_dir(&dir).expect("made");
        desk.input("data/a.jsonl", ids("a", 20));
        desk.input("data/b.jsonl", ids("b", 20));
        desk.load(&served.host, &[&dir]).run().await.expect("done");
        spoil(&dir);
        let said = refused(desk.load(&served.host, &[&dir])).await;
        assert!(said.contains(words), "{said}");
        assert_eq!(served.index.audit().counts.records, 40);
    }
}

/// Scenario: between two commands only knobs are changed, six of them.
/// Guarantees: the run is continued.
#[tokio::test]
async fn knobs_may_change() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let input = desk.input("a.jsonl", ids("a", 20));
    desk.load(&served.host, &[&input])
        .run()
        .await
        .expect("done");
    let knobs: [Change; 6] = [
        |all| all.workers = 2,
        |all| all.request_records = 7,
        |all| all.in_flight = 3,
        |all| all.memory = "60MiB".parse().expect("a size"),
        |all| all.max_rejects = MaxRejects::Count(5),
        |all| all.total_rate = "1MB/s".parse().expect("a rate"),
    ];
    for (number, knob) in knobs.into_iter().enumerate() {
        let report = desk.load(&served.host, &[&input]).with(knob).run().await;
        let report = report.expect("continued");
        assert_eq!(report.exit_code, ExitCode::Complete, "knob {number}");
    }
}

/// Scenario: a second process comes while the first one waits for the index, then after it has gone.
/// Guarantees: exactly one proceeds; the other one says who has the run.
#[tokio::test]
async fn of_two_processes_one_proceeds() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let host = format!("http://{}", silent.local_addr().expect("an address"));
    let input = desk.input("a.jsonl", ids("a", 20));
    let waiting = desk.load(&host, &[&input]);
    let stop = waiting.stop_handle();
    let waiting = tokio::spawn(waiting.run());
    drop(silent.accept().await.expect("it has begun"));
    let said = refused(desk.load(&served.host, &[&input])).await;
    assert!(said.contains("in use by another vecload"), "{said}");
    stop.interrupt();
    let report = waiting.await.expect("no panic").expect("begun");
    assert_eq!(report.exit_code, ExitCode::Interrupted);
    let said = refused(desk.load(&served.host, &[&input])).await;
    assert!(said.contains("another job: target"), "{said}");
}

/// Scenario: a new run is wanted where there is one; the checkpoint is damaged; the dead letters are edited.
/// Guarantees: each is refused with words, and nothing begins again from zero.
#[tokio::test]
async fn a_damaged_run_is_refused() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let bad = "{\"id\":\"bad\",\"values\":[0.0,0.0]}\n";
    let input = desk.write("a.jsonl", &(good_line("a") + bad));
    let load = || desk.load(&served.host, &[&input]);
    load().run().await.expect("done");
    let said = refused(load().with(|all| all.resume = Resume::Never)).await;
    assert!(said.contains("holds a run already"), "{said}");

    let letters = desk.run_dir().join("rejected-1.jsonl");
    let text = std::fs::read_to_string(&letters).expect("dead letters");
    std::fs::write(&letters, text.replace("bad", "god")).expect("written");
    let said = refused(load()).await;
    assert!(
        said.contains("rejected records is not what the run wrote"),
        "{said}"
    );
    std::fs::write(&letters, text).expect("written");
    load().run().await.expect("put back, it is good");

    let snapshot = desk.run_dir().join("checkpoint/snapshot");
    let mut bytes = std::fs::read(&snapshot).expect("a snapshot");
    bytes[40] ^= 1;
    std::fs::write(&snapshot, bytes).expect("written");
    let said = refused(load()).await;
    assert!(
        said.contains("snapshot cannot be used: it is damaged"),
        "{said}"
    );
    std::fs::remove_file(&snapshot).expect("removed");
    let said = refused(load()).await;
    assert!(said.contains("snapshot cannot be used"), "{said}");
    assert_eq!(served.index.audit().counts.records, 1);
}

/// Scenario: the vectors do not fit the index.
/// Guarantees: the refusal leaves no run behind that would have to be continued.
#[tokio::test]
async fn a_refused_load_leaves_nothing_behind() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let input = desk.input("a.jsonl", ids("a", 5));
    desk.load(&served.host, &[&input])
        .run()
        .await
        .expect("done");
    let other = Desk::new();
    let long = other.write("a.jsonl", "{\"id\":\"a\",\"values\":[1,2,3]}\n");
    let said = refused(other.load(&served.host, &[&long])).await;
    assert!(said.contains("3 dimensions"), "{said}");
    assert!(!other.run_dir().try_exists().expect("a look"));
}

fn read(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("b.jsonl")).expect("readable")
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("written");
}
