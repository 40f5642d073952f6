//! One load from beginning to end: inputs, target, pipeline, report.

mod builder;
mod checking;
mod describing;
mod error;
mod keeping;
mod knobs;
mod notice;
mod prescanning;
mod shape;
mod target;
mod verifying;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument as _;
use vecload_pinecone::{Client, IndexShape};
use vecload_source::Plan;

use self::describing::keep_baseline;
pub use self::error::LoadError;
use self::error::give_up;
pub(crate) use self::knobs::policy;
use self::knobs::{knobs, limits, memory_bound};
use self::notice::Listener;
pub use self::notice::Notice;
use self::target::Way;
pub(crate) use self::target::{Finder, client};
use self::verifying::Ran;
use crate::asking::interrupted;
use crate::checkpoint::State;
use crate::fingerprint::JobPrint;
use crate::inputs;
use crate::ledger::Books;
use crate::opening::{self, Asked, Commands, NextCommand, Opened, Refusal, Run};
use crate::pipeline::{self, Finished, Handles, Job, TimeLimit};
use crate::report::{Header, Report, Status, TargetReport};
use crate::run_dir::{RunDir, new_run_id};
use crate::settings::{DuplicatePolicy, Settings};
use crate::stop::Stop;
use crate::target::Pinecone;
use crate::telemetry::{self, Metric};
use crate::traffic::{Traffic, TrafficCounts};
use crate::waits::LimitedBy;

/// How often progress is published at the most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A load: what goes where, and how. [`Load::builder`] is the way to one.
#[derive(Debug)]
pub struct Load {
    settings: Settings,
    inputs: Vec<String>,
    target_name: Option<String>,
    commands: Commands,
    notices: Listener,
    stop: StopHandle,
    progress: watch::Sender<Progress>,
}

/// Sets up a load.
#[derive(Debug)]
#[must_use = "a load does nothing until it is run"]
pub struct LoadBuilder(Load);

/// Stops a load from outside, resumable: nothing new is read or sent, what is under way is booked.
#[derive(Debug, Clone, Default)]
pub struct StopHandle(pub(crate) Arc<Stop>);

/// How far a load is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The books so far.
    pub books: Books,
    /// Rows of the inputs that this load reads, where all of them state it.
    pub rows: Option<u64>,
    /// Bytes acknowledged by the target.
    pub bytes: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Requests refused for their rate.
    pub throttled: u64,
    /// What limited the load in the last seconds.
    pub limited_by: Option<LimitedBy>,
    /// How far the search for duplicate ids is, while it goes on. Nothing is loaded meanwhile.
    pub prescan: Option<PrescanProgress>,
}

/// How far the search for duplicate ids is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrescanProgress {
    /// Rows whose ids were read.
    pub rows: u64,
    /// Bytes of the inputs that were read to the end of a split.
    pub bytes: u64,
    /// Bytes of the inputs that will be read.
    pub of_bytes: u64,
}

// === impl Load ===

impl Load {
    /// A load with default settings, without inputs and without a target.
    pub fn builder() -> LoadBuilder {
        LoadBuilder(Self {
            settings: Settings::default(),
            inputs: Vec::new(),
            target_name: None,
            commands: Commands::default(),
            notices: Listener::default(),
            stop: StopHandle::default(),
            progress: watch::Sender::new(Progress::default()),
        })
    }

    async fn run(mut self) -> Result<Report, LoadError> {
        let started_at = jiff::Timestamp::now();
        let started = Instant::now();
        let settings = &self.settings;
        settings.check()?;
        let mut random = StdRng::seed_from_u64(settings.seed_or_random());
        if settings.shard.is_some() && settings.run_dir.is_none() {
            return Err(LoadError::usage(
                "a shard needs a run directory, so that all shards of a load are found in one place; give all of \
                 them the same --run-dir",
            ));
        }
        telemetry::describe();
        let way = Way::of(settings)?;
        let plan = Arc::new(self.plan().await?);
        self.expect_rows(&plan)?;
        self.notices.hear_of(&plan);
        let client = self.reach(way, &plan, &mut random).await?;

        let (settings, stop) = (&self.settings, &self.stop.0);
        let asked = Asked {
            settings,
            plan: &plan,
            job: JobPrint::new(settings, &self.target_name(), &self.inputs)
                .map_err(Refusal::from)?,
            run_id: new_run_id(started_at, &mut random),
            started_at,
            commands: &self.commands,
        };
        let (run, checkpoint) = match opening::open(asked)? {
            Opened::Ready(run, checkpoint) => (*run, checkpoint),
            Opened::Complete(run) => return self.complete(&run, &plan, &client).await,
        };
        let mut header = self.header(&run, &plan);
        tracing::info!(
            run_id = header.run_id, run_dir = %header.run_dir.display(), attempt = run.state.attempts,
            inputs = plan.inputs.len(), splits = plan.splits.len(), bytes = plan.bytes(),
            target = header.target.name, shard = header.shard.map(tracing::field::display), "run begins"
        );
        // In the log lines of the run, at whatever level they are.
        let span = tracing::error_span!("run", run_id = header.run_id);
        let shard = header.shard.map(|shard| shard.to_string());
        metrics::gauge!(
            Metric::RunInfo.name(), "run_id" => header.run_id.clone(),
            "shard" => shard.unwrap_or_default(), "version" => env!("CARGO_PKG_VERSION"),
        )
        .set(1.0);
        let places = self.report_places(&run.dir);
        let none = TrafficCounts::default();
        let begun = Report::running(&header, &plan, &run.state, none, Duration::ZERO);
        begun
            .write(&places)
            .map_err(|error| LoadError::unwritten(&error))?;

        let shape = match self.describe(&client, &mut random).await {
            Ok(stats) => {
                keep_baseline(&run.dir, &stats)?;
                stats.shape
            }
            Err(reason) => {
                stop.stop(reason);
                IndexShape::default()
            }
        };
        header.target.dimension = shape.dimension;
        header.target.metric = shape.metric.map(vecload_pinecone::Metric::name);
        let shape = match shape::fit(shape, &plan, settings, &self.index_words()) {
            Ok(shape) => shape,
            Err(error) => return Err(give_up(run, error, &header, &plan, &places)),
        };
        let time_limit = settings.max_duration.map(|limit| TimeLimit {
            began: started,
            limit: limit.0,
        });
        let searching = self.verdicts(&run, &plan, time_limit);
        let verdicts = match searching.instrument(span.clone()).await {
            Ok(verdicts) => verdicts,
            Err(error) => return Err(give_up(run, error, &header, &plan, &places)),
        };

        // With what the index held before, and the duplicates: from here on records are sent.
        keeping::save(&run.dir, Some(&run.state)).await?;

        let traffic = Arc::new(Traffic::new(settings.worker_count()));
        let target = Arc::new(Pinecone {
            client: client.clone(),
            shape,
            limits: limits(settings),
            policy: policy(settings),
        });
        let job = Job {
            plan: Arc::clone(&plan),
            default_namespace: settings.namespace.clone(),
            max_rejects: settings.max_rejects,
            prints: run.inputs.clone().into(),
            verdicts,
            reject_superseded: settings.duplicates == DuplicatePolicy::Reject,
            keep_order: settings.duplicates == DuplicatePolicy::Last && plan.stream().is_some(),
        };
        let running = {
            let (header, plan, traffic) = (header.clone(), Arc::clone(&plan), Arc::clone(&traffic));
            let places = places.clone();
            let keeper = keeping::keeper(&run.dir, stop)?;
            move |state: &State| {
                let (counts, took) = (traffic.counts(), started.elapsed());
                Report::running(&header, &plan, state, counts, took).write(&places)?;
                keeper.as_ref().map_or(Ok(()), |keeper| keeper.offer(state))
            }
        };
        let rows = run.state.ledger.rows(&plan.splits);
        let handles = Handles {
            stop: Arc::clone(stop),
            traffic: Arc::clone(&traffic),
            progress: (run.state, checkpoint),
            report: Box::new(running),
            books: watch::Sender::new(Books::default()),
        };
        let watching = self.watch(&handles, rows);
        let finished = pipeline::run(
            target,
            job,
            &knobs(settings, time_limit, &mut random),
            handles,
        )
        .instrument(span.clone())
        .await;
        watching.abort();

        let is_kept = keeping::keep_last(&run.dir, &finished.state, stop).await;
        let counts = traffic.counts();
        let (loaded, took) = (Instant::now(), started.elapsed());
        let mut report = Report::finished(&header, &plan, &finished, counts, took, stop.reason());
        // Before it is verified, which takes a while.
        report
            .write(&places)
            .map_err(|error| LoadError::unwritten(&error))?;
        if is_kept {
            keeping::save_report(&run.dir).await;
        }
        if settings.verify && report.status == Status::Complete {
            let ran = Ran {
                dir: &run.dir,
                job_fingerprint: &run.job_fingerprint,
                inputs: &run.inputs,
                ledger: &finished.state.ledger,
                loaded: Some(loaded),
            };
            let verifying = self.verify(&client, shape, &plan, ran);
            let found = verifying.instrument(span).await?;
            report.add_verification(found);
            report
                .write(&places)
                .map_err(|error| LoadError::unwritten(&error))?;
            keeping::save_report(&run.dir).await;
        }
        Ok(report)
    }

    /// The report of a run that was complete before. In its directory nothing changes but for what a
    /// verification finds, and for a report that says less than that.
    async fn complete(
        &self,
        run: &Run,
        plan: &Arc<Plan>,
        client: &Client,
    ) -> Result<Report, LoadError> {
        tracing::info!(
            run_id = run.run_id,
            "the run is complete; there is nothing to do"
        );
        let finished = Finished {
            state: run.state.clone(),
            closed_namespaces: Vec::new(),
            final_rate: None,
        };
        let (header, none) = (self.header(run, plan), TrafficCounts::default());
        let mut report = Report::finished(&header, plan, &finished, none, Duration::ZERO, None);
        let unwritten = |error| LoadError::unwritten(&error);
        if !run.dir.is_reported_complete().map_err(unwritten)? {
            // The last attempt was killed after it had settled the last record.
            report.write(&[run.dir.report()]).map_err(unwritten)?;
        }
        if self.settings.verify {
            let found = self.verify_again(client, plan, run).await?;
            run.dir
                .add_to_report("verify", &found)
                .map_err(|error| LoadError::unwritten(&error))?;
            report.add_verification(found);
        }
        keeping::save_report(&run.dir).await;
        if let Some(place) = &self.settings.report {
            let places = std::slice::from_ref(place);
            report
                .write(places)
                .map_err(|error| LoadError::unwritten(&error))?;
        }
        Ok(report)
    }

    fn header(&self, run: &Run, plan: &Plan) -> Header {
        let path = run.dir.name();
        Header {
            run_id: run.run_id.clone(),
            started_at: run.started_at,
            target: TargetReport {
                name: self.target_name(),
                index: self.settings.index.clone(),
                dimension: None,
                metric: None,
            },
            memory_bound_bytes: memory_bound(&self.settings, plan.page_bytes()),
            exit_zero_on_rejects: self.settings.exit_zero_on_rejects,
            run_dir: path.to_owned(),
            job_fingerprint: run.job_fingerprint.clone(),
            fingerprints: run.inputs.iter().map(|input| input.hash.clone()).collect(),
            // A shard finds its own directory below the one that was named.
            resume_command: self.commands.text(NextCommand::Continue(
                self.settings.run_dir.as_deref().unwrap_or(path),
            )),
            shard: self.settings.shard,
            loaded_before: run.state.ledger.total().loaded,
        }
    }

    /// Finds the inputs and plans how they are read.
    async fn plan(&self) -> Result<Plan, LoadError> {
        if self.inputs.is_empty() && self.settings.files_from.is_none() {
            return Err(LoadError::usage("no input was named"));
        }
        let (named, settings) = (self.inputs.clone(), self.settings.clone());
        // Stores take their time, and the caller's runtime may have one thread.
        let planning = tokio::task::spawn_blocking(move || inputs::plan(&named, &settings));
        let plan = planning
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if let Some(stream) = plan.stream() {
            self.settings
                .fit_stream(&stream.name, plan.inputs.len())
                .map_err(LoadError::usage)?;
        }
        Ok(plan)
    }

    /// Refuses inputs without any row, where that is not allowed.
    fn expect_rows(&self, plan: &Plan) -> Result<(), LoadError> {
        if self.settings.allow_empty || shape::has_rows(plan)? {
            return Ok(());
        }
        Err(LoadError::refused(
            "the inputs hold no records; give --allow-empty where that is right",
        ))
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
                    limited_by: Some(traffic.waits().of_now()),
                    prescan: None,
                });
                tokio::time::sleep(PROGRESS_EVERY).await;
            }
        })
    }

    fn report_places(&self, run_dir: &RunDir) -> Vec<PathBuf> {
        let places = [Some(run_dir.report()), self.settings.report.clone()];
        places.into_iter().flatten().collect()
    }
}

// === impl StopHandle ===

impl StopHandle {
    /// Stops the load: exit code 6, and it can be run again.
    pub fn interrupt(&self) {
        self.0.stop(interrupted());
    }
}
