//! Loads vector corpora (Parquet, JSONL) into Pinecone without losing a record.
//!
//! [`Load`] is the way in. It reads the inputs on CPU threads, appends each record to the request of
//! its namespace as it is read, sends the requests with bounded concurrency, pacing and retries, and
//! returns a [`Report`] whose books balance: every record that was read is loaded, rejected with a
//! reason, or stated as remaining.
//!
//! ```
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let corpus = folder.path().join("corpus.jsonl");
//! # std::fs::write(&corpus, "{\"id\": \"a\", \"values\": [0.1, 0.2]}\n")?;
//! // An index to load into: here an embedded one, otherwise the host of a Pinecone index.
//! let index = vecload_local_index::LocalIndex::open(Default::default())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let host = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(async move { index.serve(listener, std::future::pending()).await });
//!
//! let report = vecload::Load::builder()
//!     .input(corpus.to_str().expect("a path in UTF-8"))
//!     .host(host)
//!     .namespace("films")
//!     .run_dir(folder.path().join("run"))
//!     .run()
//!     .await?;
//! assert_eq!(report.records_loaded, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod asking;
mod backoff;
mod baseline;
mod batch;
mod batcher;
mod canonical;
mod check;
mod checkpoint;
mod committer;
mod dead_letters;
mod delivery;
mod digest;
mod events;
mod fence;
mod fingerprint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod histories;
mod inputs;
mod lane;
mod ledger;
mod load;
mod machine;
mod memory;
mod mirror;
mod namespace;
mod opening;
mod overview;
mod pacer;
mod pipeline;
mod prescan;
mod report;
mod rows;
mod run_dir;
mod sampling;
mod settings;
mod shard;
#[cfg(feature = "stages")]
#[doc(hidden)]
pub mod stages;
mod stall;
mod stop;
mod target;
mod telemetry;
mod traffic;
mod units;
mod usage;
mod verify;
mod waits;
mod worker;

pub use check::{CheckReport, CheckedInput, Estimate, Import, Rejected};
pub use ledger::Books;
pub use load::{Load, LoadBuilder, LoadError, Notice, PrescanProgress, Progress, StopHandle};
pub use machine::Machine;
pub use opening::NextCommand;
pub use overview::{Overview, RunOverview};
pub use report::{
    InputReport, Latency, NamespaceReport, Report, SCHEMA_VERSION, Status, TargetReport, Unread,
    WriteUnits,
};
pub use settings::{
    ApiKey, DuplicatePolicy, FormatChoice, Layers, LogFormat, MaxRejects, MetricChoice,
    NestedPolicy, NullPolicy, OnInputChange, Pacing, ProgressStyle, Resume, Sample, Settings,
    SettingsError, TimestampForm,
};
pub use shard::Shard;
pub use stop::{ExitCode, StopReason};
pub use telemetry::Metric;
pub use units::{ByteRate, Bytes, RequestRate, Span};
pub use vecload_source::{hush_decoder_panics, without_secrets};
pub use verify::{Count, Difference, Source, Verdict, Verify, VerifyReport, run_target};
pub use waits::LimitedBy;
