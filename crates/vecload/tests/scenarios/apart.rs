//! Namespaces fail and wait alone, and the books say which and why.

use crate::scenario::Scenario;

/// Scenario: of 300 namespaces one has a hundredth of the others' quota, and one takes no writes (`apart.toml`).
/// Guarantees: all others and the slow one are loaded, the refused one remains with the service's words,
/// exit code 5 with its name; as many refusals are reported as the server gave.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_waits_or_fails_alone() {
    let outcome = Scenario::play("apart").await;
    let report = &outcome.report;
    assert_eq!(report.namespaces.len(), 300);
    for (name, namespace) in &report.namespaces {
        let loaded = if name == "ns00008" { 0 } else { 3 };
        assert_eq!(namespace.books.loaded, loaded, "{name}");
        assert_eq!(namespace.remaining, 3 - loaded, "{name}");
        assert_eq!(namespace.closed.is_some(), loaded == 0, "{name}");
    }
    let reason = report.namespaces["ns00008"].closed.as_deref();
    let reason = reason.expect("why it remains");
    assert!(reason.contains("max namespaces allowed"), "{reason}");
    let stop = report.stop_reason.as_ref().expect("a reason");
    assert_eq!(stop.code, "namespace");
    assert!(
        stop.message.contains("1 of 300 namespaces") && stop.message.contains("ns00008"),
        "{}",
        stop.message
    );
    // The third request of the slow one cannot have been taken any sooner.
    assert!(report.duration_seconds >= 2.0);
    let counts = outcome.served.index.audit().counts;
    assert_eq!(report.requests_throttled, counts.throttled);
}
