//! The names of all metrics, in one place.
//!
//! They are recorded through the `metrics` facade: without a recorder they cost next to nothing, and
//! a program that embeds the library brings its own.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Records by fate; label `status`.
    Records,
    /// Rejected records; label `reason`.
    Rejects,
    /// Bytes of request messages sent, retries included.
    BytesSent,
    /// Attempts; labels `request_type` and `code`.
    Requests,
    /// Attempts that will be repeated; label `class`.
    Retries,
    /// Time from sending a request to its answer, in seconds.
    RequestDuration,
    /// Requests under way.
    InFlight,
    /// Sealed batches that wait for their turn.
    QueueBatches,
    /// The pacer's rate; label `namespace`.
    PacerRate,
    /// Time spent waiting, in seconds; label `reason`.
    Wait,
    /// When a request was last acknowledged, in seconds since 1970.
    LastSuccess,
    /// Write units, as the service counts them for new records.
    WriteUnits,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 12] = [
        Self::Records,
        Self::Rejects,
        Self::BytesSent,
        Self::Requests,
        Self::Retries,
        Self::RequestDuration,
        Self::InFlight,
        Self::QueueBatches,
        Self::PacerRate,
        Self::Wait,
        Self::LastSuccess,
        Self::WriteUnits,
    ];

    /// The name in Prometheus form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "vecload_records_total",
            Self::Rejects => "vecload_rejects_total",
            Self::BytesSent => "vecload_bytes_sent_total",
            Self::Requests => "vecload_requests_total",
            Self::Retries => "vecload_retries_total",
            Self::RequestDuration => "vecload_request_duration_seconds",
            Self::InFlight => "vecload_inflight_requests",
            Self::QueueBatches => "vecload_queue_batches",
            Self::PacerRate => "vecload_pacer_rate_bytes_per_second",
            Self::Wait => "vecload_wait_seconds_total",
            Self::LastSuccess => "vecload_last_success_timestamp_seconds",
            Self::WriteUnits => "vecload_write_units_total",
        }
    }

    /// What it measures, for the exposition.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Records => "records by fate",
            Self::Rejects => "rejected records by reason",
            Self::BytesSent => "bytes of request messages sent, retries included",
            Self::Requests => "attempts by request type and status code",
            Self::Retries => "attempts that will be repeated, by class of failure",
            Self::RequestDuration => "time from sending a request to its answer",
            Self::InFlight => "requests under way",
            Self::QueueBatches => "sealed batches that wait for their turn",
            Self::PacerRate => "the rate that the pacer allows",
            Self::Wait => "time spent waiting, by reason",
            Self::LastSuccess => "when a request was last acknowledged",
            Self::WriteUnits => "write units as the service counts them for new records",
        }
    }
}

/// Describes all metrics to the recorder that is installed.
pub(crate) fn describe() {
    for metric in Metric::ALL {
        match metric {
            Metric::InFlight | Metric::QueueBatches | Metric::PacerRate | Metric::LastSuccess => {
                metrics::describe_gauge!(metric.name(), metric.help());
            }
            Metric::RequestDuration => metrics::describe_histogram!(metric.name(), metric.help()),
            _ => metrics::describe_counter!(metric.name(), metric.help()),
        }
    }
}

/// The most namespaces that get a label of their own; the others share `other`.
const NAMESPACE_LABELS: usize = 20;

/// Keeps the number of label values small, whatever the number of namespaces: the first ones met get
/// their own.
#[derive(Debug, Default)]
pub(crate) struct NamespaceLabels(Mutex<HashSet<String>>);

impl NamespaceLabels {
    /// The label value for a namespace.
    pub(crate) fn label(&self, namespace: &str) -> String {
        let mut labels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if labels.contains(namespace) {
            return namespace.to_owned();
        }
        if labels.len() < NAMESPACE_LABELS {
            labels.insert(namespace.to_owned());
            return namespace.to_owned();
        }
        "other".to_owned()
    }
}
