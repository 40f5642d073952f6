//! What a run did, as a document that scripts may depend on (schema version 1).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vecload_source::{Filtered, Plan};

use crate::checkpoint::State;
use crate::ledger::{Books, Ledger};
use crate::pipeline::Finished;
use crate::run_dir::replace;
use crate::shard::Shard;
use crate::stop::{ExitCode, StopReason};
use crate::traffic::TrafficCounts;
use crate::usage;
use crate::verify::VerifyReport;

/// The version of the report's form. Fields may be added within a version.
pub const SCHEMA_VERSION: u32 = 1;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on, or its process was killed.
    Running,
    /// Every record is settled.
    Complete,
    /// It ended before every record was settled.
    Stopped,
}

/// What a run did. Books balance: read = loaded + superseded + rejected + filtered + remaining, for
/// the run, each input and each namespace.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of vecload.
    pub vecload_version: &'static str,
    /// The run's name.
    pub run_id: String,
    /// A name for the job: the same for the same target, inputs and policies.
    pub job_fingerprint: String,
    /// The share of the inputs that the run is of, as `I/N`; the books are of that share.
    pub shard: Option<Shard>,
    /// How often the run was begun or continued.
    pub attempts_of_run: u32,
    /// The command that continues the run, if anything is left to do.
    pub resume_command: Option<String>,
    /// How the run stands.
    pub status: Status,
    /// What the command exits with.
    pub exit_code: ExitCode,
    /// Why the run stopped early, if it did, or why it is a failure although it did not.
    pub stop_reason: Option<StopReason>,
    /// When the run began.
    pub started_at: Timestamp,
    /// How long this attempt took, in seconds. Books are of the whole run; what requests took is of
    /// this attempt.
    pub duration_seconds: f64,
    /// What it loaded into.
    pub target: TargetReport,
    /// The books of each input, in the order of reading.
    pub inputs: Vec<InputReport>,
    /// The books of each namespace, by name.
    pub namespaces: BTreeMap<String, NamespaceReport>,
    /// Records read.
    pub records_read: u64,
    /// Records acknowledged.
    pub records_loaded: u64,
    /// Records whose id a later record has.
    pub records_superseded: u64,
    /// Records in the dead letters.
    pub records_rejected: u64,
    /// Records left out by wish (`--limit`), of inputs that state their number. They belong to no
    /// namespace, since they were not looked at.
    pub records_filtered: u64,
    /// Bytes left out by wish, of the other inputs. They are in no books.
    pub filtered_bytes: u64,
    /// Records read and unsettled.
    pub records_remaining: u64,
    /// What was not read.
    pub unread: Unread,
    /// Ids of which no record is loaded, since the last one with that id was rejected.
    pub ids_without_version: u64,
    /// Rejected records by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// The file of the dead letters, if there are any.
    pub rejected_file: Option<String>,
    /// What was done to metadata fields: how often, by field and action.
    pub metadata_changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests acknowledged.
    pub requests_ok: u64,
    /// Requests refused for their rate.
    pub requests_throttled: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Bytes of request messages sent, retries included.
    pub bytes_sent: u64,
    /// Acknowledged bytes per second of the whole duration.
    pub bytes_per_second: f64,
    /// Records acknowledged in this attempt, per second of its duration.
    pub records_per_second: f64,
    /// The most memory that the process had, in bytes.
    pub peak_rss_bytes: u64,
    /// What INV-6 allows it, in bytes.
    pub memory_bound_bytes: u64,
    /// CPU time of the process, in seconds.
    pub cpu_seconds: f64,
    /// What limited this attempt most: `reader`, `cpu`, `namespace_rate`, `throttling`, `latency`,
    /// `in_flight`, `network`, `total_rate`, `outage` or `order`.
    pub limited_by: Option<&'static str>,
    /// The namespace that waited longest for its rate, where that is what limited.
    pub limited_by_namespace: Option<String>,
    /// How long this attempt waited for what, in seconds; `reader` is the time in which no request
    /// waited for anything.
    pub wait_seconds: BTreeMap<&'static str, f64>,
    /// Latency of acknowledged requests.
    pub request_latency_ms: Option<Latency>,
    /// What the pacers allow at the end, if they limit anything.
    pub final_rate_bytes_per_second: Option<f64>,
    /// Write units as the service documents them.
    pub write_units: WriteUnits,
    /// A number for the records that were loaded, over all attempts: the same for the same records, in
    /// whatever order and requests they were loaded. 32 hexadecimal digits.
    pub content_digest: String,
    /// What a verification found, if there was one since the last attempt.
    pub verify: Option<VerifyReport>,
}

/// What a run loads into.
#[derive(Debug, Clone, Serialize)]
pub struct TargetReport {
    /// The host, or `local:` and the directory.
    pub name: String,
    /// The name of the index, where its host was found by it.
    #[serde(default)]
    pub index: Option<String>,
    /// The dimension of the index, if it has one.
    pub dimension: Option<u32>,
    /// Its metric, if it is known.
    pub metric: Option<&'static str>,
}

/// The books of one input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputReport {
    /// The input as it was named.
    pub path: String,
    /// A hash of what the input held at its ends when the run was begun.
    pub fingerprint: String,
    /// Its books.
    #[serde(flatten)]
    pub books: Books,
    /// Records read and unsettled.
    pub remaining: u64,
}

/// The books of one namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Its books.
    #[serde(flatten)]
    pub books: Books,
    /// Records read and unsettled.
    pub remaining: u64,
    /// Acknowledged bytes.
    pub bytes: u64,
    /// Acknowledged requests.
    pub requests: u64,
    /// The highest log sequence number of its writes, where the service gave any.
    pub max_lsn: Option<u64>,
    /// Why nothing more was sent to it, if so.
    pub closed: Option<String>,
}

/// What was not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Rows, of inputs that state their number.
    pub rows: u64,
    /// Bytes, of the others.
    pub bytes: u64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
}

/// Write units: all records new, or all of them overwritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteUnits {
    /// If no record was there before.
    pub min: u64,
    /// If every record replaced one of the same size.
    pub max: u64,
}

/// What is known of a run before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) run_id: String,
    pub(crate) started_at: Timestamp,
    pub(crate) target: TargetReport,
    pub(crate) memory_bound_bytes: u64,
    pub(crate) exit_zero_on_rejects: bool,
    pub(crate) run_dir: PathBuf,
    pub(crate) job_fingerprint: String,
    pub(crate) shard: Option<Shard>,
    /// Of each input, in their order.
    pub(crate) fingerprints: Vec<String>,
    pub(crate) resume_command: Option<String>,
    /// Records that earlier attempts loaded.
    pub(crate) loaded_before: u64,
}

impl Report {
    /// The report of a run that has ended.
    pub(crate) fn finished(
        header: &Header,
        plan: &Plan,
        finished: &Finished,
        traffic: TrafficCounts,
        took: Duration,
        stop: Option<&StopReason>,
    ) -> Self {
        let mut report = Self::running(header, plan, &finished.state, traffic, took);
        for (name, reason) in &finished.closed_namespaces {
            if let Some(namespace) = report.namespaces.get_mut(name) {
                namespace.closed = Some(reason.clone());
            }
        }
        report.final_rate_bytes_per_second = finished.final_rate;
        report.stop_reason = stop.cloned().or_else(|| ended_short(finished));
        let settled = report.records_remaining == 0 && report.unread == Unread::default();
        report.status = if settled && report.stop_reason.is_none() {
            Status::Complete
        } else {
            Status::Stopped
        };
        if report.status == Status::Complete {
            report.resume_command = None;
            report.stop_reason = report.wholly_refused();
        }
        report.exit_code = match &report.stop_reason {
            Some(reason) => reason.exit_code,
            None if report.records_rejected > 0 && !header.exit_zero_on_rejects => {
                ExitCode::SomeRejected
            }
            None => ExitCode::Complete,
        };
        report
    }

    /// Why a run that has settled every record is a failure all the same: it has loaded none.
    fn wholly_refused(&self) -> Option<StopReason> {
        if self.records_loaded > 0 || self.records_rejected == 0 {
            return None;
        }
        let mut reasons: Vec<(&String, &u64)> = self.rejected_by_reason.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason}: {count}"))
            .collect();
        let message = format!(
            "not one record could be loaded, {} were rejected ({}); the dead letters say why of each",
            self.records_rejected,
            reasons.join(", "),
        );
        Some(StopReason::new("nothing_loaded", ExitCode::Short, message))
    }

    /// The report of a run that goes on.
    pub(crate) fn running(
        header: &Header,
        plan: &Plan,
        state: &State,
        traffic: TrafficCounts,
        took: Duration,
    ) -> Self {
        let ledger = &state.ledger;
        let filtered = filtered(header, plan);
        let inputs = with_filtered(ledger, &filtered);
        let total: Books = inputs.iter().sum();
        let (rows, bytes) = ledger.unread(&plan.splits);
        let seconds = took.as_secs_f64().max(1e-3);
        let units: u64 = ledger
            .namespaces
            .values()
            .map(|books| books.write_units)
            .sum();
        Self {
            schema_version: SCHEMA_VERSION,
            vecload_version: env!("CARGO_PKG_VERSION"),
            run_id: header.run_id.clone(),
            job_fingerprint: header.job_fingerprint.clone(),
            shard: header.shard,
            attempts_of_run: state.attempts,
            resume_command: header.resume_command.clone(),
            status: Status::Running,
            exit_code: ExitCode::Interrupted,
            stop_reason: None,
            started_at: header.started_at,
            duration_seconds: took.as_secs_f64(),
            target: header.target.clone(),
            inputs: plan
                .inputs
                .iter()
                .zip(&header.fingerprints)
                .zip(&inputs)
                .map(|((input, fingerprint), books)| InputReport {
                    path: input.name.clone(),
                    fingerprint: fingerprint.clone(),
                    books: *books,
                    remaining: books.remaining(),
                })
                .collect(),
            namespaces: ledger
                .namespaces
                .iter()
                .map(|(name, books)| {
                    let report = NamespaceReport {
                        books: books.books,
                        remaining: books.books.remaining(),
                        bytes: books.bytes,
                        requests: books.requests,
                        max_lsn: books.max_lsn,
                        closed: None,
                    };
                    (name.clone(), report)
                })
                .collect(),
            records_read: total.read,
            records_loaded: total.loaded,
            records_superseded: total.superseded,
            records_rejected: total.rejected,
            records_filtered: total.filtered,
            filtered_bytes: filtered
                .iter()
                .filter(|filtered| filtered.rows.is_none())
                .map(|filtered| filtered.bytes)
                .sum(),
            records_remaining: total.remaining(),
            unread: Unread { rows, bytes },
            ids_without_version: ledger.ids_without_version,
            rejected_by_reason: ledger.rejected_by_reason.clone(),
            rejected_file: (state.letters.offset > 0).then(|| {
                let file = header.run_dir.join(state.letters_name());
                file.display().to_string()
            }),
            metadata_changes: ledger.metadata_changes.clone(),
            requests_ok: traffic.ok,
            requests_throttled: traffic.throttled,
            attempts: traffic.attempts,
            retries: traffic.retries,
            bytes_sent: traffic.bytes,
            bytes_per_second: traffic.acknowledged_bytes as f64 / seconds,
            records_per_second: total.loaded.saturating_sub(header.loaded_before) as f64 / seconds,
            peak_rss_bytes: usage::peak_rss_bytes(),
            memory_bound_bytes: header.memory_bound_bytes,
            cpu_seconds: usage::cpu_seconds(),
            limited_by: traffic.limited_by.as_ref().map(|limited| limited.limit),
            limited_by_namespace: traffic.limited_by.and_then(|limited| limited.namespace),
            wait_seconds: traffic.wait_seconds,
            request_latency_ms: traffic
                .latency_ms
                .map(|[p50, p90, p99]| Latency { p50, p90, p99 }),
            final_rate_bytes_per_second: None,
            write_units: WriteUnits {
                min: units,
                max: units + bytes_as_units(ledger),
            },
            content_digest: ledger.content_digest.to_string(),
            verify: None,
        }
    }

    /// Adds what a verification found, which may change what the command exits with.
    pub(crate) fn add_verification(&mut self, found: VerifyReport) {
        if found.exit_code != ExitCode::Complete {
            self.exit_code = found.exit_code;
        }
        self.verify = Some(found);
    }

    /// Writes the report as JSON to several places, each replaced as a whole.
    pub(crate) fn write(&self, places: &[PathBuf]) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        for place in places {
            replace(place, &text).map_err(|error| {
                let message = format!("the report {} cannot be written: {error}", place.display());
                io::Error::new(error.kind(), message)
            })?;
        }
        Ok(())
    }

    /// The last line that people see: `loaded 5 records, rejected 0, remaining 0 (...) in 1.2s (...)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let unread = words("unread", self.unread.rows, self.unread.bytes);
        let filtered = words("filtered", self.records_filtered, self.filtered_bytes);
        format!(
            "loaded {} records, rejected {}, remaining {}{unread} (superseded {}{filtered}) in {:.1}s ({:.1} MB/s, {:.0} records/s)",
            self.records_loaded,
            self.records_rejected,
            self.records_remaining,
            self.records_superseded,
            self.duration_seconds,
            self.bytes_per_second / 1e6,
            self.records_per_second,
        )
    }
}

/// What the limit leaves out of each input. It is in no split; of several shards the first one has it in its
/// books, so that all books together hold it once.
fn filtered(header: &Header, plan: &Plan) -> Vec<Filtered> {
    match header.shard {
        Some(shard) if shard.index() > 0 => vec![Filtered::NOTHING; plan.filtered().len()],
        _ => plan.filtered().to_vec(),
    }
}

/// The books of each input, with the rows that the plan leaves out: those are as good as read.
fn with_filtered(ledger: &Ledger, filtered: &[Filtered]) -> Vec<Books> {
    let filtered = filtered.iter().map(|filtered| filtered.rows);
    ledger
        .inputs
        .iter()
        .zip(filtered)
        .map(|(books, filtered)| {
            let filtered = filtered.unwrap_or(0);
            Books {
                read: books.read + filtered,
                filtered: books.filtered + filtered,
                ..*books
            }
        })
        .collect()
}

/// What stands in the summary of rows and bytes, where there are any.
fn words(what: &str, rows: u64, bytes: u64) -> String {
    match (rows, bytes) {
        (0, 0) => String::new(),
        (rows, 0) => format!(", {what} {rows}"),
        (0, bytes) => format!(", {what} {bytes} bytes"),
        (rows, bytes) => format!(", {what} {rows} and {bytes} bytes"),
    }
}

/// Why a run that nobody stopped has not loaded everything.
fn ended_short(finished: &Finished) -> Option<StopReason> {
    let ledger = &finished.state.ledger;
    if let Some(first) = ledger.unreadable.first() {
        let others = ledger.unreadable.len() - 1;
        let others = if others == 0 {
            String::new()
        } else {
            format!(" (and {others} more)")
        };
        let message = format!("{first}{others}");
        return Some(StopReason::new("unreadable", ExitCode::Short, message));
    }
    let (name, reason) = finished.closed_namespaces.first()?;
    let message = format!(
        "{} of {} namespaces take no writes; the first one is {name}: {reason}",
        finished.closed_namespaces.len(),
        ledger.namespaces.len(),
    );
    Some(StopReason::new("namespace", ExitCode::Service, message))
}

/// What it costs to overwrite all that was loaded.
fn bytes_as_units(ledger: &Ledger) -> u64 {
    ledger
        .namespaces
        .values()
        .map(|books| books.bytes.div_ceil(1000))
        .sum()
}
