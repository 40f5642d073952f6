//! What a continued run does, and does not do again.

use vecload::{ExitCode, MaxRejects, OnInputChange, Status};
use vecload_local_index::Faults;

use crate::{Desk, Served, books, good_line, ids};

/// Scenario: a run stops at the first bad row of its second input; it is continued with more rejects allowed.
/// Guarantees: what was loaded is not sent again, the books are those of both attempts, the bad row has one
/// dead letter, and a third command does nothing.
#[tokio::test]
async fn a_stopped_run_is_continued() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let a = desk.input("a.jsonl", ids("a", 95));
    let bad = "{\"id\":\"bad\",\"values\":[0.0,0.0]}\n".to_owned();
    let good: String = ids("b", 1000).map(|id| good_line(&id)).collect();
    let b = desk.write(
        "b.jsonl",
        &(good[..good.len() / 2]
            .rsplit_once('\n')
            .expect("lines")
            .0
            .to_owned()
            + "\n"
            + &bad
            + &good),
    );
    let load = |most| {
        desk.load(&served.host, &[&a, &b])
            .with(|settings| settings.max_rejects = MaxRejects::Count(most))
    };
    let first = load(0).run().await.expect("begun");
    assert_eq!(first.status, Status::Stopped);
    assert_eq!(first.exit_code, ExitCode::Short);
    assert!(first.records_loaded < 1095, "{}", first.summary());

    let second = load(1).run().await.expect("continued");
    assert_eq!(second.status, Status::Complete, "{:?}", second.stop_reason);
    assert_eq!(second.exit_code, ExitCode::SomeRejected);
    assert_eq!((first.attempts_of_run, second.attempts_of_run), (1, 2));
    assert_eq!(first.run_id, second.run_id);
    let copies = second.records_read - 95 - 1000 - 1;
    assert_eq!(books(&second), [1096 + copies, 1095, 1, copies, 0]);
    let dropped = &second.metadata_changes["year"]["null_dropped"];
    assert_eq!(*dropped, second.records_loaded);
    let letters = std::fs::read_to_string(desk.run_dir().join("rejected-1.jsonl"));
    assert_eq!(letters.expect("dead letters").lines().count(), 1);
    assert_eq!(served.index.count(""), 1095);
    let counts = served.index.audit().counts;
    assert_eq!(
        counts.records, second.records_loaded,
        "nothing was sent twice"
    );

    let before = (desk.report(), served.index.audit());
    let third = load(1).run().await.expect("complete");
    assert_eq!(third.exit_code, ExitCode::SomeRejected);
    assert_eq!(books(&third), books(&second));
    assert_eq!(before.0, desk.report(), "the report is left alone");
    assert_eq!(before.1.writes, served.index.audit().writes);
}

/// Scenario: a run is complete and had no rejects.
/// Guarantees: the same command exits with 0 and has no command to continue with.
#[tokio::test]
async fn a_complete_run_is_done() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let input = desk.input("a.jsonl", ids("a", 20));
    for attempt in 0..2 {
        let load = desk.load(&served.host, &[&input]);
        let report = load
            .commands(|_| "again".to_owned())
            .run()
            .await
            .expect("done");
        assert_eq!(report.exit_code, ExitCode::Complete, "attempt {attempt}");
        assert_eq!(report.resume_command, None);
        assert_eq!(books(&report), [20, 20, 0, 0, 0]);
    }
    assert_eq!(served.index.audit().counts.upserts, 2);
}

/// Scenario: a service refuses some records; it is mended, and they are tried again.
/// Guarantees: they are loaded, nothing else is sent, and the books forget that they were rejected.
#[tokio::test]
async fn rejects_are_tried_again() {
    let desk = Desk::new();
    let faults = Faults {
        refuse_ids_containing: Some("7".to_owned()),
        ..Faults::default()
    };
    let served = Served::start(faults).await;
    let input = desk.input("a.jsonl", ids("a", 50));
    let first = desk
        .load(&served.host, &[&input])
        .run()
        .await
        .expect("begun");
    assert_eq!(books(&first), [50, 45, 5, 0, 0]);
    let refused = first.rejected_by_reason["refused"];
    assert_eq!(refused, 5);
    let served = served.replaced(Faults::default()).await;
    let second = desk
        .load(&served.host, &[&input])
        .with(|settings| settings.retry_rejects = true)
        .run()
        .await
        .expect("continued");
    assert_eq!(second.exit_code, ExitCode::Complete);
    assert_eq!(books(&second), [50, 50, 0, 0, 0]);
    assert_eq!(second.rejected_file, None);
    assert_eq!(served.index.count(""), 5);
}

/// Scenario: an input is written again with other rows after the run was complete.
/// Guarantees: with leave the file is read from its beginning, the other one is not; the books have both.
#[tokio::test]
async fn a_changed_input_is_read_again_with_leave() {
    let (desk, served) = (Desk::new(), Served::start(Faults::default()).await);
    let a = desk.input("a.jsonl", ids("a", 30));
    let b = desk.input("b.jsonl", ids("b", 30));
    desk.load(&served.host, &[&a, &b])
        .run()
        .await
        .expect("done");
    desk.input("b.jsonl", ids("c", 40));
    let report = desk
        .load(&served.host, &[&a, &b])
        .with(|settings| settings.on_input_change = OnInputChange::RestartFile)
        .run()
        .await
        .expect("continued");
    assert_eq!(report.exit_code, ExitCode::Complete);
    assert_eq!(books(&report), [100, 100, 0, 0, 0]);
    let audit = served.index.audit();
    assert!(ids("a", 30).all(|id| audit.writes_of("", &id).len() == 1));
    assert!(ids("c", 40).all(|id| audit.writes_of("", &id).len() == 1));
}
