//! The names of all metrics, in one place.
//!
//! They are recorded through the `metrics` facade: without a recorder they cost next to nothing, and
//! a program that embeds the library brings its own.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use metrics::{counter, gauge};
use tokio::time::Instant;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Always 1; labels `run_id`, `shard` and `version`.
    RunInfo,
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
    /// How long ago what is settled was last made durable, in seconds.
    CheckpointAge,
    /// When a request was last acknowledged, in seconds since 1970.
    LastSuccess,
    /// Write units, as the service counts them for new records.
    WriteUnits,
    /// What the command exits with, once it has ended.
    ExitCode,
}

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 15] = [
        Self::RunInfo,
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
        Self::CheckpointAge,
        Self::LastSuccess,
        Self::WriteUnits,
        Self::ExitCode,
    ];

    /// The name in Prometheus form.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunInfo => "vecload_run_info",
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
            Self::CheckpointAge => "vecload_checkpoint_age_seconds",
            Self::LastSuccess => "vecload_last_success_timestamp_seconds",
            Self::WriteUnits => "vecload_write_units_total",
            Self::ExitCode => "vecload_exit_code",
        }
    }

    /// What it measures, for the exposition.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::RunInfo => "always 1; the run, its shard and the version of vecload",
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
            Self::CheckpointAge => "how long ago what is settled was last made durable",
            Self::LastSuccess => "when a request was last acknowledged",
            Self::WriteUnits => "write units as the service counts them for new records",
            Self::ExitCode => "what the command exits with, once it has ended",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::RunInfo
            | Self::InFlight
            | Self::QueueBatches
            | Self::PacerRate
            | Self::CheckpointAge
            | Self::LastSuccess
            | Self::ExitCode => Kind::Gauge,
            Self::RequestDuration => Kind::Histogram,
            Self::Records
            | Self::Rejects
            | Self::BytesSent
            | Self::Requests
            | Self::Retries
            | Self::Wait
            | Self::WriteUnits => Kind::Counter,
        }
    }
}

/// Describes all metrics to the recorder that is installed, and has those begin at 0 that will count.
pub(crate) fn describe() {
    for metric in Metric::ALL {
        match metric.kind() {
            Kind::Gauge => metrics::describe_gauge!(metric.name(), metric.help()),
            Kind::Histogram => metrics::describe_histogram!(metric.name(), metric.help()),
            Kind::Counter => metrics::describe_counter!(metric.name(), metric.help()),
        }
    }
    // A counter that is not there before it counts has no rate when it begins to.
    for status in ["loaded", "superseded", "rejected"] {
        counter!(Metric::Records.name(), "status" => status).increment(0);
    }
    for metric in [Metric::BytesSent, Metric::WriteUnits] {
        counter!(metric.name()).increment(0);
    }
    for metric in [Metric::InFlight, Metric::QueueBatches] {
        gauge!(metric.name()).set(0.0);
    }
}

/// How long ago the checkpoint was last made durable. It is told by whoever writes it, and published by
/// somebody else, so that it also grows while writing hangs.
#[derive(Debug)]
pub(crate) struct CheckpointAge(Mutex<Instant>);

impl CheckpointAge {
    /// The age of a checkpoint that was written just now.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It was written.
    pub(crate) fn written(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Sets the metric.
    pub(crate) fn publish(&self) {
        let written = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gauge!(Metric::CheckpointAge.name()).set(written.elapsed().as_secs_f64());
    }
}

/// The most namespaces that get a label of their own; the others share `other`.
const NAMESPACE_LABELS: usize = 20;
const OTHER: &str = "other";

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
        OTHER.to_owned()
    }

    /// Publishes the rates of namespaces; those without a label of their own as a sum.
    pub(crate) fn publish_rates<'a>(&self, rates: impl Iterator<Item = (&'a str, f64)>) {
        let mut other = None;
        for (namespace, rate) in rates {
            match self.label(namespace) {
                label if label == OTHER => other = Some(other.unwrap_or(0.0) + rate),
                label => gauge!(Metric::PacerRate.name(), "namespace" => label).set(rate),
            }
        }
        if let Some(rate) = other {
            gauge!(Metric::PacerRate.name(), "namespace" => OTHER).set(rate);
        }
    }
}
