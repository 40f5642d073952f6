//! One load from beginning to end: inputs, target, pipeline, report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;
use vecload_pinecone::{
    Class, Client, ClientSettings, Failure, IndexShape, IndexStats, Limits, MetadataPolicy,
    OnNested, OnNull, classify,
};
use vecload_source::{Plan, SourceError};

use crate::backoff::Backoff;
use crate::check::{Ceilings, CheckReport, Rules, check};
use crate::dead_letters::DeadLetters;
use crate::delivery::service_stop;
use crate::inputs;
use crate::ledger::Books;
use crate::pacer::Rates;
use crate::pipeline::{self, Handles, Job, Knobs};
use crate::report::{Header, Report, TargetReport};
use crate::run_dir::{RUNS, RunDir, new_run_id, replace};
use crate::settings::{NestedPolicy, NullPolicy, Settings, SettingsError};
use crate::stop::{ExitCode, Stop, StopReason};
use crate::target::Pinecone;
use crate::telemetry;
use crate::traffic::Traffic;

/// A load that was not begun: nothing was sent.
#[derive(Debug)]
pub struct LoadError {
    /// What the command exits with.
    pub exit_code: ExitCode,
    message: String,
}

/// A load: what goes where, and how. [`Load::builder`] is the way to one.
#[derive(Debug)]
pub struct Load {
    settings: Settings,
    inputs: Vec<String>,
    target_name: Option<String>,
    stop: StopHandle,
    progress: watch::Sender<Progress>,
}

/// Sets up a load.
#[derive(Debug)]
#[must_use = "a load does nothing until it is run"]
pub struct LoadBuilder(Load);

/// Stops a load from outside, resumable: nothing new is read or sent, what is under way is booked.
#[derive(Debug, Clone, Default)]
pub struct StopHandle(Arc<Stop>);

/// How far a load is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The books so far.
    pub books: Books,
    /// Rows of the inputs, where all of them state it.
    pub rows: Option<u64>,
    /// Bytes acknowledged by the target.
    pub bytes: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Requests refused for their rate.
    pub throttled: u64,
}

// === impl Load ===

impl Load {
    /// A load with default settings, without inputs and without a target.
    pub fn builder() -> LoadBuilder {
        LoadBuilder(Self {
            settings: Settings::default(),
            inputs: Vec::new(),
            target_name: None,
            stop: StopHandle::default(),
            progress: watch::Sender::new(Progress::default()),
        })
    }

    async fn run(self) -> Result<Report, LoadError> {
        let started_at = jiff::Timestamp::now();
        let started = Instant::now();
        let settings = &self.settings;
        settings.check()?;
        telemetry::describe();
        let client = Client::new(&client_settings(settings)?)
            .map_err(|error| LoadError::usage(error.to_string()))?;
        let plan = Arc::new(self.plan()?);
        let dimension = match first_rows(&plan)? {
            FirstRows::Some(dimension) => dimension,
            FirstRows::None if settings.allow_empty => None,
            FirstRows::None => {
                return Err(no_records());
            }
        };

        let stop = &self.stop.0;
        let mut random = StdRng::seed_from_u64(match settings.seed {
            0 => rand::random(),
            seed => seed,
        });
        let run_id = new_run_id(started_at, &mut random);
        let run_dir = create_run_dir(settings, &run_id)?;
        let mut header = Header {
            run_id,
            started_at,
            target: TargetReport {
                name: self.target_name(),
                dimension: None,
                metric: None,
            },
            memory_bound_bytes: memory_bound(settings, plan.page_bytes()),
            exit_zero_on_rejects: settings.exit_zero_on_rejects,
        };
        tracing::info!(
            run_id = header.run_id, run_dir = %run_dir.path().display(), inputs = plan.inputs.len(),
            splits = plan.splits.len(), bytes = plan.bytes(), target = header.target.name,
            "run begins"
        );
        let mut report = Report::running(&header, &plan);
        self.write_report(&run_dir, &report)?;

        let shape = match self.describe(&client, &mut random).await {
            Ok(stats) => stats.shape,
            Err(reason) => {
                stop.stop(reason);
                IndexShape::default()
            }
        };
        header.target.dimension = shape.dimension;
        header.target.metric = shape.metric.map(vecload_pinecone::Metric::name);
        let shape = fit(shape, dimension, &header.target.name)?;

        let traffic = Arc::new(Traffic::new());
        let target = Arc::new(Pinecone::new(
            client,
            shape,
            limits(settings),
            policy(settings),
        ));
        let job = Job {
            plan: Arc::clone(&plan),
            default_namespace: settings.namespace.clone(),
            max_rejects: settings.max_rejects,
        };
        let handles = Handles {
            stop: Arc::clone(stop),
            traffic: Arc::clone(&traffic),
            dead_letters: DeadLetters::new(run_dir.dead_letters()),
            books: watch::Sender::new(Books::default()),
        };
        let watching = self.watch(&handles, plan.rows());
        let finished = pipeline::run(target, job, &knobs(settings, &mut random), handles).await;
        watching.abort();

        let counts = traffic.counts();
        let took = started.elapsed();
        report = Report::finished(&header, &plan, &finished, counts, took, stop.reason());
        self.write_report(&run_dir, &report)?;
        Ok(report)
    }

    /// Finds the inputs and plans how they are read.
    fn plan(&self) -> Result<Plan, LoadError> {
        if self.inputs.is_empty() && self.settings.files_from.is_none() {
            return Err(LoadError::usage("no input was named"));
        }
        Ok(inputs::plan(&self.inputs, &self.settings)?)
    }

    async fn check(self, full: bool) -> Result<CheckReport, LoadError> {
        let settings = &self.settings;
        settings.check()?;
        let plan = self.plan()?;
        let dimension = match first_rows(&plan)? {
            FirstRows::Some(dimension) => dimension,
            FirstRows::None if settings.allow_empty => None,
            FirstRows::None => return Err(no_records()),
        };
        let shape = match &settings.host {
            None => IndexShape::default(),
            Some(_) => {
                let client = Client::new(&client_settings(settings)?)
                    .map_err(|error| LoadError::usage(error.to_string()))?;
                let mut random = StdRng::seed_from_u64(settings.seed);
                let described = self.describe(&client, &mut random).await;
                described
                    .map_err(|reason| LoadError::new(reason.exit_code, reason.message))?
                    .shape
            }
        };
        let rules = Rules {
            shape: fit(shape, dimension, &self.target_name())?,
            limits: limits(settings),
            policy: policy(settings),
        };
        let ceilings = Ceilings {
            namespace_bytes: settings.namespace_rate.map_or(Some(50e6), |rate| rate.0),
            namespace_requests: settings
                .namespace_requests
                .map_or(Some(100.0), |rate| rate.0),
            total_bytes: settings.total_rate.0,
            memory: settings.memory.0,
            memory_bound_bytes: memory_bound(settings, plan.page_bytes()),
            write_unit_price: settings.write_unit_price,
            import_price: settings.import_price,
        };
        let (namespace, workers) = (settings.namespace.clone(), settings.worker_count());
        tokio::task::spawn_blocking(move || {
            check(&rules, &plan, &namespace, full, workers, &ceilings)
        })
        .await
        .map_err(|error| LoadError::bug(format!("the check panicked: {error}")))?
        .map_err(LoadError::from)
    }

    /// Asks the index what it is, until it answers or the stall limit is reached.
    async fn describe(
        &self,
        client: &Client,
        random: &mut StdRng,
    ) -> Result<IndexStats, StopReason> {
        let stop = &self.stop.0;
        let deadline = Instant::now() + self.settings.max_stall.0;
        let mut backoff = Backoff::new();
        let mut attempts = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = self.settings.attempt_timeout.0.min(left);
            let failure = tokio::select! {
                biased;
                () = stop.stopped() => return Err(interrupted()),
                answer = client.describe_index_stats(timeout) => match answer {
                    Ok(stats) => return Ok(stats),
                    Err(failure) => failure,
                },
            };
            attempts += 1;
            let verdict = classify(&failure);
            if !matches!(verdict.class, Class::Throttled | Class::Transient)
                || verdict.attempts.is_some_and(|most| attempts >= most)
            {
                return Err(service_stop(&failure, verdict));
            }
            let wait = backoff.next(None, random);
            if Instant::now() + wait >= deadline {
                return Err(unreachable_target(&failure, self.settings.max_stall.0));
            }
            tracing::warn!(error = %failure, ?wait, "the index does not answer yet");
            tokio::select! {
                biased;
                () = stop.stopped() => return Err(interrupted()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Publishes how far the load is, for as long as the returned task lives.
    fn watch(&self, handles: &Handles, rows: Option<u64>) -> tokio::task::JoinHandle<()> {
        let mut books = handles.books.subscribe();
        let traffic = Arc::clone(&handles.traffic);
        let progress = self.progress.clone();
        tokio::spawn(async move {
            while books.changed().await.is_ok() {
                let counts = traffic.counts();
                progress.send_replace(Progress {
                    books: *books.borrow_and_update(),
                    rows,
                    bytes: counts.acknowledged_bytes,
                    attempts: counts.attempts,
                    throttled: counts.throttled,
                });
            }
        })
    }

    fn write_report(&self, run_dir: &RunDir, report: &Report) -> Result<(), LoadError> {
        let mut text = serde_json::to_vec_pretty(report)
            .map_err(|error| LoadError::bug(format!("the report cannot be written: {error}")))?;
        text.push(b'\n');
        let places = [Some(run_dir.report()), self.settings.report.clone()];
        for place in places.into_iter().flatten() {
            replace(&place, &text).map_err(|error| {
                LoadError::refused(format!("{} cannot be written: {error}", place.display()))
            })?;
        }
        Ok(())
    }

    fn target_name(&self) -> String {
        self.target_name
            .clone()
            .or_else(|| self.settings.host.clone())
            .unwrap_or_default()
    }
}

// === impl LoadBuilder ===

impl LoadBuilder {
    /// Adds an input: a file or a directory.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.0.inputs.push(input.into());
        self
    }

    /// Adds inputs.
    pub fn inputs<I: Into<String>>(mut self, inputs: impl IntoIterator<Item = I>) -> Self {
        self.0.inputs.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// Sets the index's host. `http://` in front of it means plaintext.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.0.settings.host = Some(host.into());
        self
    }

    /// Sets the namespace of records that name none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.0.settings.namespace = namespace.into();
        self
    }

    /// Sets the directory of the run, which must be new or empty.
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.settings.run_dir = Some(path.into());
        self
    }

    /// Sets the name of the target in reports, where it is not the host.
    pub fn target_name(mut self, name: impl Into<String>) -> Self {
        self.0.target_name = Some(name.into());
        self
    }

    /// Replaces all settings. Call it before the other methods that set one.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.0.settings = settings;
        self
    }

    /// Changes any settings.
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.0.settings);
        self
    }

    /// The way to stop the load from outside.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.0.stop.clone()
    }

    /// Follows the load's progress.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Says what the load would do, without sending anything: from the first rows of each input, or
    /// from all of them.
    ///
    /// # Errors
    ///
    /// As [`LoadBuilder::run`]; with a host also what kept it from answering.
    pub async fn check(self, full: bool) -> Result<CheckReport, LoadError> {
        self.0.check(full).await
    }

    /// Runs the load to its end, on the current tokio runtime (multi-threaded or not: CPU work has
    /// threads of its own).
    ///
    /// # Errors
    ///
    /// The load was not begun: wrong settings, unreadable inputs, an index that does not fit. Once
    /// it has begun there is always a report, which says how it ended.
    pub async fn run(self) -> Result<Report, LoadError> {
        self.0.run().await
    }
}

// === impl StopHandle ===

impl StopHandle {
    /// Stops the load: exit code 6, and it can be run again.
    pub fn interrupt(&self) {
        self.0.stop(interrupted());
    }
}

// === impl LoadError ===

impl LoadError {
    fn new(exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit_code,
            message: message.into(),
        }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    fn refused(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Refused, message)
    }

    fn bug(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Bug, message)
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

impl From<SettingsError> for LoadError {
    fn from(error: SettingsError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        Self::refused(error.to_string())
    }
}

fn client_settings(settings: &Settings) -> Result<ClientSettings, LoadError> {
    let Some(host) = settings.host.clone() else {
        return Err(LoadError::usage(
            "no target was named; give --host, or --local DIR for an embedded index",
        ));
    };
    let additional_headers = match &settings.additional_headers {
        None => Vec::new(),
        Some(headers) => {
            serde_json::from_str::<std::collections::BTreeMap<String, String>>(headers.expose())
                // The value may hold a secret, so the error does not show it.
                .map_err(|_| {
                    LoadError::usage("additional_headers: it must be a JSON object of texts")
                })?
                .into_iter()
                .collect()
        }
    };
    Ok(ClientSettings {
        host,
        api_key: settings
            .api_key
            .as_ref()
            .map(crate::settings::ApiKey::secret),
        additional_headers,
        ca_file: settings.ca_file.clone(),
        ..ClientSettings::default()
    })
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        request_bytes: settings.request_bytes.0 as usize,
        request_records: settings.request_records,
    }
}

fn policy(settings: &Settings) -> MetadataPolicy {
    MetadataPolicy {
        on_null: match settings.on_null {
            NullPolicy::Drop => OnNull::Drop,
            NullPolicy::Reject => OnNull::Reject,
        },
        on_nested: match settings.on_nested {
            NestedPolicy::Reject => OnNested::Reject,
            NestedPolicy::Flatten => OnNested::Flatten,
            NestedPolicy::Json => OnNested::Json,
        },
    }
}

fn no_records() -> LoadError {
    LoadError::refused("the inputs hold no records; give --allow-empty where that is right")
}

fn knobs(settings: &Settings, random: &mut StdRng) -> Knobs {
    Knobs {
        memory: settings.memory.0 as usize,
        workers: settings.worker_count(),
        in_flight: settings.in_flight,
        attempt_timeout: settings.attempt_timeout.0,
        max_stall: settings.max_stall.0,
        rates: Rates {
            pacing: settings.pacing,
            bytes: settings.namespace_rate,
            requests: settings.namespace_requests,
            replicas: settings.replicas,
        },
        total_rate: settings.total_rate,
        seed: rand::RngExt::random(random),
    }
}

fn create_run_dir(settings: &Settings, run_id: &str) -> Result<RunDir, LoadError> {
    let path = settings
        .run_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(RUNS).join(run_id));
    RunDir::create(path.clone()).map_err(|error| {
        LoadError::refused(format!(
            "the run directory {} cannot be made: {error}",
            path.display()
        ))
    })
}

/// What INV-6 allows: the budget, what each worker reads, and a constant.
fn memory_bound(settings: &Settings, page_bytes: u64) -> u64 {
    const PER_WORKER: u64 = 8 << 20;
    const CONSTANT: u64 = 40_000_000;
    let workers = settings.worker_count() as u64;
    let reading = workers.saturating_mul(page_bytes.saturating_add(PER_WORKER));
    settings
        .memory
        .0
        .saturating_add(reading)
        .saturating_add(CONSTANT)
}

/// What the first rows of the inputs show.
enum FirstRows {
    /// There is no row at all.
    None,
    /// There are rows; the dimension of the first one that has a dense vector, if any of them has.
    Some(Option<u32>),
}

/// Looks at the first block of rows that there is.
fn first_rows(plan: &Plan) -> Result<FirstRows, SourceError> {
    for split in &plan.splits {
        let mut reader = plan.peek(split)?;
        let Some(records) = reader.next()? else {
            continue;
        };
        let dimension = (0..records.len()).find_map(|index| {
            let dense = records.row(index).content.ok()?.dense?;
            Some(dense.len() as u32)
        });
        return Ok(FirstRows::Some(dimension));
    }
    Ok(FirstRows::None)
}

/// Checks the first vector against the index, and gives an index that has no dimension yet the one
/// of the first vector, as its first write will.
fn fit(mut shape: IndexShape, found: Option<u32>, target: &str) -> Result<IndexShape, LoadError> {
    match (shape.dimension, found) {
        (Some(index), Some(found)) if index != found => Err(LoadError::refused(format!(
            "the vectors have {found} dimensions and the index {target} has {index}; \
             choose another index or another vector column"
        ))),
        (None, Some(found)) => {
            shape.dimension = Some(found);
            Ok(shape)
        }
        _ => Ok(shape),
    }
}

fn interrupted() -> StopReason {
    StopReason::new("signal", ExitCode::Interrupted, "interrupted")
}

fn unreachable_target(failure: &Failure, limit: Duration) -> StopReason {
    StopReason::new(
        "outage",
        ExitCode::Interrupted,
        format!(
            "the index did not answer for {} s (--max-stall); the last failure: {failure}",
            limit.as_secs_f64()
        ),
    )
}
