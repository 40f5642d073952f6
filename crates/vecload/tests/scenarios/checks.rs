//! A check says beforehand what a load does.

use std::fmt::Write as _;

use vecload::{ExitCode, Load, LoadBuilder};

use crate::books;
use crate::served::Served;

/// JSONL of two namespaces with a bad line in every fifty, and nulls in the metadata of some.
fn corpus(rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let namespace = if row % 3 == 0 { "a" } else { "b" };
        let line = match row % 50 {
            7 => format!(
                "{{\"id\": \"{row}\", \"values\": [0, 0, 0, 0], \"namespace\": \"{namespace}\"}}"
            ),
            8 => format!("{{\"id\": \"{row}\", \"values\": [1, 2"),
            _ => format!(
                "{{\"id\": \"{row}\", \"values\": [1, 2, 3, {row}], \"namespace\": \"{namespace}\", \"metadata\": {{\"n\": {row}, \"gone\": null}}}}"
            ),
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

fn load(path: &std::path::Path) -> LoadBuilder {
    Load::builder()
        .input(path.to_str().expect("UTF-8"))
        .with(|settings| settings.workers = 2)
}

/// Scenario: a file of 12,000 lines, some of them bad, is checked in full and then loaded.
/// Guarantees: rows, rejects by reason, changes, namespaces and records of the check are those of the
/// load; requests and bytes agree within a tenth; every kind of reject has examples with their place.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_check_counts_what_the_load_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("corpus.jsonl");
    std::fs::write(&path, corpus(12_000)).expect("written");
    let checked = load(&path).check(true).await.expect("checked");

    let served = Served::plain().await;
    let report = load(&path)
        .host(&served.host)
        .run_dir(folder.path().join("run"))
        .with(|settings| settings.workers = 1)
        .run()
        .await
        .expect("begun");
    books::balance(&report);
    assert_eq!(report.exit_code, ExitCode::SomeRejected);
    assert_eq!(checked.rows, Some(report.records_read));
    assert_eq!(checked.records_good, report.records_loaded);
    assert_eq!(checked.estimate.records, report.records_loaded);
    let counts = |name: &str| checked.rejects[name].count;
    for (reason, count) in &report.rejected_by_reason {
        assert_eq!(counts(reason), *count, "{reason}");
        let examples = &checked.rejects[reason.as_str()].examples;
        assert_eq!(examples.len(), 3, "{reason}");
        assert!(
            examples[0].contains("corpus.jsonl, byte "),
            "{}",
            examples[0]
        );
    }
    assert_eq!(checked.rejected(), report.records_rejected);
    assert_eq!(checked.namespaces as usize, {
        // Bad lines that name no namespace are booked under the default one.
        report.namespaces.len()
    });
    assert_eq!(
        checked.metadata_changes["gone"]["null_dropped"],
        report.metadata_changes["gone"]["null_dropped"]
    );
    let near = |estimate: f64, truth: f64| (estimate - truth).abs() <= truth / 10.0;
    let bytes = report.bytes_sent as f64;
    assert!(
        near(checked.estimate.bytes as f64, bytes),
        "{bytes} {:?}",
        checked.estimate
    );
    let requests = report.requests_ok as f64;
    assert!(
        near(checked.estimate.requests as f64, requests),
        "{requests} {:?}",
        checked.estimate
    );
}

/// Scenario: a quick check of 40,000 lines.
/// Guarantees: it looks at the first 10,000 only, says that it does not know the number of rows, and
/// its estimate of the records is within a twentieth.
#[tokio::test(flavor = "multi_thread")]
async fn a_quick_check_scales_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("corpus.jsonl");
    std::fs::write(&path, corpus(40_000)).expect("written");
    let checked = load(&path).check(false).await.expect("checked");
    assert_eq!((checked.rows_checked, checked.rows), (10_000, None));
    let good = 40_000.0 * 48.0 / 50.0;
    let estimate = checked.estimate.records as f64;
    assert!(
        (estimate - good).abs() <= good / 20.0,
        "{estimate} of {good}"
    );
    assert!(!checked.import.possible);
}
