//! Every setting of a load, in one struct, and the layers it comes from.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. Each
//! value remembers its layer, so that an error names the flag, the variable or the file it stands in.
//! Values of flags and variables are text and are read by the same rules as those of the file.

mod layers;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use layers::{Layers, SettingsError};
pub(crate) use values::from_text;
pub use values::{
    ApiKey, DuplicatePolicy, FormatChoice, LogFormat, MaxRejects, MetricChoice, NestedPolicy,
    NullPolicy, OnInputChange, Pacing, ProgressStyle, Resume, Sample, TimestampForm,
};

use crate::shard::Shard;
use crate::units::{ByteRate, Bytes, RequestRate, Span};

/// Every setting of a load. `config/reference.toml` has them all, with their reasons.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The index's host; plaintext only where it begins with `http://`.
    pub host: Option<String>,
    /// The API key. Never a flag.
    pub api_key: Option<ApiKey>,
    /// A file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Headers sent with every request, as a JSON object of texts.
    pub additional_headers: Option<ApiKey>,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The directory of an embedded index to load into instead of a host.
    pub local: Option<PathBuf>,
    /// The name of the index, by which the control plane knows its host; instead of a host.
    pub index: Option<String>,
    /// The host of the control plane, where it is not Pinecone's; plaintext only where it begins with
    /// `http://`.
    pub controller_host: Option<String>,
    /// Whether an index of that name is made where there is none.
    #[serde(deserialize_with = "from_text")]
    pub create_index: bool,
    /// The cloud of an index that is made.
    pub cloud: String,
    /// The region of an index that is made.
    pub region: String,
    /// The measure of distance that the index must have, and that of one that is made; unset, any will do,
    /// and one that is made has the cosine, or the dot product where records have sparse values.
    pub metric: Option<MetricChoice>,

    /// Where records go that name no namespace; empty is the default one.
    pub namespace: String,
    /// The column that names each record's namespace.
    pub namespace_column: Option<String>,

    /// The format of the inputs.
    pub format: FormatChoice,
    /// Only files whose path matches one of these globs, separated by commas.
    pub include: Option<String>,
    /// No file whose path matches one of these globs, separated by commas.
    pub exclude: Option<String>,
    /// A file that lists inputs, one on each line.
    pub files_from: Option<PathBuf>,
    /// Whether directories below the named ones are namespaces, as in Pinecone's import.
    #[serde(deserialize_with = "from_text")]
    pub namespace_from_dir: bool,
    /// How many records to read, of all inputs together; unset is all.
    #[serde(deserialize_with = "values::some_from_text")]
    pub limit: Option<u64>,
    /// The share of the inputs that this process loads; unset is all of them. Each share is a run of its own.
    #[serde(deserialize_with = "values::some_from_text")]
    pub shard: Option<Shard>,
    /// The column of the ids; unset, it is found by the names in use. So with the other columns.
    pub id_column: Option<String>,
    /// The column of the dense vectors.
    pub vector_column: Option<String>,
    /// The column of the sparse vectors.
    pub sparse_column: Option<String>,
    /// The column of the metadata.
    pub metadata_column: Option<String>,
    /// The columns that are the metadata, separated by commas; `*` is all that hold nothing else.
    pub metadata_columns: Option<String>,
    /// What timestamps and dates become in metadata.
    pub timestamps: TimestampForm,
    /// The most bytes that a page of a Parquet file may take, packed or unpacked.
    pub max_page: Bytes,
    /// Whether an input without any row is a success.
    #[serde(deserialize_with = "from_text")]
    pub allow_empty: bool,

    /// What becomes of records whose id a later record has.
    pub duplicates: DuplicatePolicy,
    /// What to do with metadata fields that are null.
    pub on_null: NullPolicy,
    /// What to do with metadata that is nested.
    pub on_nested: NestedPolicy,
    /// How many records may be rejected before the run stops.
    pub max_rejects: MaxRejects,
    /// Whether rejects within the limit leave the exit code at 0.
    #[serde(deserialize_with = "from_text")]
    pub exit_zero_on_rejects: bool,

    /// The most bytes of a request.
    pub request_bytes: Bytes,
    /// The most records of a request.
    #[serde(deserialize_with = "from_text")]
    pub request_records: usize,
    /// How the rate of a namespace is found.
    pub pacing: Pacing,
    /// The processes that load into the same namespaces at the same time.
    /// Unset, as many as there are shards.
    #[serde(deserialize_with = "values::some_from_text")]
    pub replicas: Option<u32>,
    /// The most bytes per second of one namespace, over all replicas. Unset is not `none`: the
    /// documented ceiling is then a hint for adaptive pacing and the limit of fixed pacing.
    pub namespace_rate: Option<ByteRate>,
    /// The most requests per second of one namespace, over all replicas; unset as above.
    pub namespace_requests: Option<RequestRate>,
    /// The most bytes per second of all namespaces together.
    pub total_rate: ByteRate,
    /// The most requests under way.
    #[serde(deserialize_with = "from_text")]
    pub in_flight: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Span,
    /// How long after its client gave up a request may still be applied; unset, twice what an attempt may take
    /// and not less than half a minute.
    pub quarantine: Option<Span>,
    /// How long nothing may succeed before the run stops.
    pub max_stall: Span,
    /// How long the run may take before it stops.
    pub max_duration: Option<Span>,
    /// The byte budget of all batches.
    pub memory: Bytes,
    /// CPU workers; 0 is one for each core.
    #[serde(deserialize_with = "from_text")]
    pub workers: usize,
    /// The seed of all jitter; 0 is a new one for each run.
    #[serde(deserialize_with = "from_text")]
    pub seed: u64,

    /// The price of a million write units in US dollars, for `check`.
    #[serde(deserialize_with = "from_text")]
    pub write_unit_price: f64,
    /// The price of a GB of Pinecone's bulk import in US dollars, for `check`.
    #[serde(deserialize_with = "from_text")]
    pub import_price: f64,

    /// The directory of this run.
    pub run_dir: Option<PathBuf>,
    /// Whether an unfinished run is continued.
    pub resume: Resume,
    /// What to do where an input has changed since the run was begun.
    pub on_input_change: OnInputChange,
    /// Whether records that were rejected are tried again.
    #[serde(deserialize_with = "from_text")]
    pub retry_rejects: bool,
    /// Where the search for duplicate ids puts what memory does not hold; unset, the run's directory.
    pub scratch_dir: Option<PathBuf>,
    /// Whether the index is verified once everything is loaded.
    #[serde(deserialize_with = "from_text")]
    pub verify: bool,
    /// How many records a verification compares with the source.
    pub verify_sample: Sample,
    /// How long a verification waits for the index to catch up, and for an answer.
    pub verify_timeout: Span,
    /// A further place for the report.
    pub report: Option<PathBuf>,

    /// Whether the final document is printed as JSON on stdout.
    #[serde(deserialize_with = "from_text")]
    pub json: bool,
    /// How progress is shown.
    pub progress: ProgressStyle,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Where the metrics of the load can be read over HTTP while it goes on.
    #[serde(deserialize_with = "values::some_from_text")]
    pub metrics_addr: Option<SocketAddr>,
    /// The Pushgateway that gets the metrics at the end.
    pub metrics_push: Option<String>,
    /// A file that gets one line on how the load ended.
    pub termination_message: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: None,
            api_key: None,
            api_key_file: None,
            additional_headers: None,
            ca_file: None,
            local: None,
            index: None,
            controller_host: None,
            create_index: false,
            // Where the service's own guides and clients make one. Every plan may, the free one nowhere else.
            cloud: "aws".to_owned(),
            region: "us-east-1".to_owned(),
            metric: None,
            namespace: String::new(),
            namespace_column: None,
            format: FormatChoice::Auto,
            include: None,
            exclude: None,
            files_from: None,
            namespace_from_dir: false,
            limit: None,
            shard: None,
            id_column: None,
            vector_column: None,
            sparse_column: None,
            metadata_column: None,
            metadata_columns: None,
            // Filters range over numbers.
            timestamps: TimestampForm::Epoch,
            // Writers make pages of about a megabyte; what is far above is a mistake or meant to hurt.
            max_page: Bytes(256 << 20),
            allow_empty: false,
            duplicates: DuplicatePolicy::Last,
            on_null: NullPolicy::Drop,
            on_nested: NestedPolicy::Reject,
            // Far above what a sound corpus has, far below what a wrong column makes.
            max_rejects: MaxRejects::Count(1000),
            exit_zero_on_rejects: false,
            // Half of what the service takes: large requests are a burst of their own (ADR 3).
            request_bytes: Bytes(1_000_000),
            // The service's documented limit.
            request_records: 1000,
            pacing: Pacing::Adaptive,
            replicas: None,
            namespace_rate: None,
            namespace_requests: None,
            total_rate: ByteRate(None),
            // More than the memory budget holds of full requests; it bounds small ones.
            in_flight: 64,
            // Where an uplink is thin the measured speed adds to it; elsewhere a minute is an outage.
            attempt_timeout: Span(Duration::from_secs(60)),
            quarantine: None,
            max_stall: Span(Duration::from_secs(15 * 60)),
            max_duration: None,
            // 40 full requests: 50 MB/s at 0.4 s a request, and as much again being filled.
            memory: Bytes(40 << 20),
            workers: 0,
            seed: 0,
            // List prices of the Standard plan on AWS us-east-1, November 2026.
            write_unit_price: 4.0,
            import_price: 0.25,
            run_dir: None,
            resume: Resume::Auto,
            on_input_change: OnInputChange::Fail,
            retry_rejects: false,
            scratch_dir: None,
            verify: false,
            // Where one record in 434 is wrong, a thousand find it with a chance of nine in ten.
            verify_sample: Sample::Rows(1000),
            // Writes are indexed within seconds as a rule. Only after large loads is there a backlog,
            // and who waits for ten minutes wants to know why.
            verify_timeout: Span(Duration::from_secs(10 * 60)),
            report: None,
            json: false,
            progress: ProgressStyle::Auto,
            log_format: LogFormat::Text,
            metrics_addr: None,
            metrics_push: None,
            termination_message: None,
        }
    }
}

impl Settings {
    /// Checks what no single value shows.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let wrong = |setting: &str, message: String| Err(SettingsError::new(setting, message));
        if self.request_bytes.0 > 4_000_000 {
            // tonic's limit on the service's side is 4 MiB, and the service's own is 2 MB.
            return wrong(
                "request_bytes",
                format!("{} is above 4MB, which no index takes", self.request_bytes),
            );
        }
        if self.request_bytes.0 < 1000 {
            return wrong(
                "request_bytes",
                "a request needs 1000 bytes at least".to_owned(),
            );
        }
        if self.memory.0 < 4 * self.request_bytes.0 {
            return wrong(
                "memory",
                format!(
                    "{} is too little: four requests of {} must fit; give it {} or more",
                    self.memory,
                    self.request_bytes,
                    Bytes(4 * self.request_bytes.0)
                ),
            );
        }
        for (setting, value) in [
            ("request_records", self.request_records),
            ("in_flight", self.in_flight),
            ("replicas", self.replica_count() as usize),
        ] {
            if value == 0 {
                return wrong(setting, "it must be 1 at least".to_owned());
            }
        }
        for (setting, span) in [
            ("attempt_timeout", self.attempt_timeout),
            ("max_stall", self.max_stall),
            ("max_duration", self.max_duration.unwrap_or(self.max_stall)),
            ("verify_timeout", self.verify_timeout),
        ] {
            if span.0.is_zero() {
                return wrong(setting, "it must be more than nothing".to_owned());
            }
        }
        Ok(())
    }

    /// Checks what cannot be done with a stream, of which nothing is known beforehand, among so many inputs.
    pub(crate) fn fit_stream(&self, name: &str, inputs: usize) -> Result<(), String> {
        let keeps_order = self.duplicates != DuplicatePolicy::Any;
        let wrong = if self.shard.is_some() {
            "a stream cannot be divided among shards; name files"
        } else if keeps_order && inputs > 1 {
            "the order of records with one id is kept within a stream, and not between it and other inputs; load \
             them in runs of their own, or vouch for distinct ids with --duplicates any"
        } else if self.duplicates == DuplicatePolicy::Reject {
            "--duplicates reject needs to know all ids before the first record is sent, which a stream does not \
             give; write it to a file, or take --duplicates last"
        } else if keeps_order && self.retry_rejects {
            "--retry-rejects would send records of a stream after later ones with the same id; write what was \
             rejected to a file, mend it and load that, or vouch for distinct ids with --duplicates any"
        } else {
            return Ok(());
        };
        Err(format!("{name}: {wrong}"))
    }

    /// The number of processes that share the rates of a namespace.
    pub(crate) fn replica_count(&self) -> u32 {
        self.replicas.or(self.shard.map(Shard::of)).unwrap_or(1)
    }

    /// How long after its client gave up a request may still be applied.
    pub(crate) fn quarantine(&self) -> Duration {
        const LEAST: Duration = Duration::from_secs(30);
        match self.quarantine {
            Some(given) => given.0,
            None => LEAST.max(2 * self.attempt_timeout.0),
        }
    }

    /// Whether nobody else loads into the namespaces, as far as the settings tell.
    pub(crate) fn is_alone(&self) -> bool {
        self.replica_count() == 1 && self.shard.is_none()
    }

    /// The seed that was given, or a new one.
    pub(crate) fn seed_or_random(&self) -> u64 {
        match self.seed {
            0 => rand::random(),
            seed => seed,
        }
    }

    /// The number of CPU workers.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }
}

#[cfg(test)]
mod tests;
