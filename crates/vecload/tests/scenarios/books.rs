//! INV-1: what the books of a report must say, whatever happened.

use vecload::{Books, Report};

/// Checks that the books balance for the run, each input and each namespace, and agree with each other.
pub(crate) fn balance(report: &Report) {
    let run = Books {
        read: report.records_read,
        loaded: report.records_loaded,
        superseded: report.records_superseded,
        rejected: report.records_rejected,
        filtered: report.records_filtered,
    };
    balanced("the run", &run, report.records_remaining);
    for input in &report.inputs {
        balanced(&input.path, &input.books, input.remaining);
    }
    for (name, namespace) in &report.namespaces {
        balanced(name, &namespace.books, namespace.remaining);
    }
    assert_eq!(
        report
            .inputs
            .iter()
            .map(|input| &input.books)
            .sum::<Books>(),
        run
    );
    let namespaces = report.namespaces.values();
    let looked_at = Books {
        read: run.read - run.filtered,
        filtered: 0,
        ..run
    };
    assert_eq!(
        namespaces.map(|namespace| &namespace.books).sum::<Books>(),
        looked_at
    );
    let reasons: u64 = report.rejected_by_reason.values().sum();
    assert_eq!(reasons, report.records_rejected, "rejects by reason");
    assert!(report.attempts >= report.requests_ok + report.requests_throttled);
}

fn balanced(name: &str, books: &Books, remaining: u64) {
    let settled = books.loaded + books.superseded + books.rejected + books.filtered;
    assert_eq!(books.read, settled + remaining, "{name}: {books:?}");
}
