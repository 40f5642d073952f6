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
    assert_eq!(sum(report.inputs.iter().map(|input| &input.books)), run);
    assert_eq!(
        sum(report.namespaces.values().map(|namespace| &namespace.books)),
        run
    );
    let reasons: u64 = report.rejected_by_reason.values().sum();
    assert_eq!(reasons, report.records_rejected, "rejects by reason");
    assert!(report.attempts >= report.requests_ok + report.requests_throttled);
}

fn balanced(name: &str, books: &Books, remaining: u64) {
    let settled = books.loaded + books.superseded + books.rejected + books.filtered;
    assert_eq!(books.read, settled + remaining, "{name}: {books:?}");
}

fn sum<'a>(all: impl Iterator<Item = &'a Books>) -> Books {
    all.fold(Books::default(), |sum, books| Books {
        read: sum.read + books.read,
        loaded: sum.loaded + books.loaded,
        superseded: sum.superseded + books.superseded,
        rejected: sum.rejected + books.rejected,
        filtered: sum.filtered + books.filtered,
    })
}
