//! The proof of a run that is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vecload_pinecone::Client;
use vecload_source::Plan;

use super::{Prover, Records, Rules, Subject, VerifyReport};
use crate::asking::{Patience, Unanswered, ask};
use crate::fingerprint::InputPrint;
use crate::inputs;
use crate::load::{Finder, LoadError, StopHandle, client, policy};
use crate::opening::{Recorded, Refusal};
use crate::run_dir::RunDir;
use crate::settings::{DuplicatePolicy, Settings};
use crate::stop::{ExitCode, StopReason};

/// Proves that the index holds what a run loaded.
#[derive(Debug)]
#[must_use = "a verification does nothing until it is run"]
pub struct Verify {
    run_dir: PathBuf,
    settings: Settings,
    stop: StopHandle,
}

/// The target of the run in a directory: a host, or `local:` and the directory of an embedded index.
///
/// # Errors
///
/// If there is no run that this version of vecload can read.
pub fn run_target(run_dir: &Path) -> Result<String, LoadError> {
    Ok(crate::opening::recorded_target(run_dir)?)
}

// === impl Verify ===

impl Verify {
    /// Of the run in that directory, with default settings.
    pub fn of(run_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            settings: Settings::default(),
            stop: StopHandle::default(),
        }
    }

    /// Sets how the index is reached (host, key, headers, certificates, the time of an attempt), the
    /// sample and its seed, and how long to wait. All other settings are those of the run.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The way to stop it from outside.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Verifies, and writes what was found into the run's report.
    ///
    /// # Errors
    ///
    /// The verification was not begun: no such run, one that another process works on, inputs that
    /// have changed, an index that does not answer.
    pub async fn run(self) -> Result<VerifyReport, LoadError> {
        self.settings.check()?;
        let dir = RunDir::of_run(self.run_dir.clone()).map_err(Refusal::from)?;
        let run = Recorded::read(&dir)?;
        let mut settings = self.of_run(&run)?;
        if let Some(finder) = Finder::of(&self.settings)? {
            let mut random = StdRng::seed_from_u64(settings.seed);
            settings.host = Some(finder.host(self.patience(), &mut random).await?);
        }
        let client = client(&settings)?;
        let plan = source(&run, &settings)?;
        let shape = self.shape(&client, &settings).await?;
        let rules = Rules {
            default_namespace: settings.namespace.clone(),
            shape,
            policy: policy(&settings),
        };
        let report = Prover::new(&client, rules, &self.stop.0, &settings, dir.path())
            .prove(Subject {
                ledger: &run.state.ledger,
                distinct: settings.duplicates != DuplicatePolicy::Any,
                baseline: run.baseline.as_ref(),
                records: match &plan {
                    Some(plan) => Records::Source {
                        plan,
                        winners: run.winners(&dir)?,
                    },
                    None => Records::Kept(&run.inputs),
                },
                complete: run.state.ledger.is_complete(),
                alone: settings.is_alone(),
                loaded: None,
            })
            .await;
        dir.add_to_report("verify", &report)
            .map_err(|error| LoadError::unwritten(&error))?;
        Ok(report)
    }

    /// For questions before anything is verified.
    fn patience(&self) -> Patience<'_> {
        Patience {
            stop: &self.stop.0,
            attempt: self.settings.attempt_timeout.0,
            all: self.settings.verify_timeout.0,
        }
    }

    /// The settings of the run, but for those that say how to reach the index and what to look at.
    fn of_run(&self, run: &Recorded) -> Result<Settings, LoadError> {
        let given = self.settings.clone();
        let of_run = run
            .job
            .settings()
            .map_err(|error| LoadError::refused(format!("the plan of the run: {error}")))?;
        Ok(Settings {
            host: given.host.or_else(|| Some(run.job.target().to_owned())),
            api_key: given.api_key,
            additional_headers: given.additional_headers,
            ca_file: given.ca_file,
            attempt_timeout: given.attempt_timeout,
            verify_sample: given.verify_sample,
            verify_timeout: given.verify_timeout,
            seed: given.seed,
            max_page: run.max_page,
            ..of_run
        })
    }

    /// What the index takes.
    async fn shape(
        &self,
        client: &Client,
        settings: &Settings,
    ) -> Result<vecload_pinecone::IndexShape, LoadError> {
        let patience = self.patience();
        let mut random = StdRng::seed_from_u64(settings.seed);
        let question = |timeout| client.describe_index_stats(timeout);
        let stats = ask(patience, &mut random, question).await;
        let reason = match stats {
            Ok(stats) => return Ok(stats.shape),
            Err(Unanswered::Stopping) => crate::asking::interrupted(),
            Err(Unanswered::Refused(reason)) => reason,
            Err(Unanswered::TimedOut(failure)) => StopReason::new(
                "verify_timeout",
                ExitCode::Unverified,
                format!(
                    "the index did not answer for {} s (--verify-timeout); the last failure: {failure}",
                    settings.verify_timeout.0.as_secs_f64()
                ),
            ),
        };
        Err(LoadError::new(reason.exit_code, reason.message))
    }
}

/// The plan of the run's inputs, which must hold what they held; none of a stream.
fn source(run: &Recorded, settings: &Settings) -> Result<Option<Arc<Plan>>, LoadError> {
    if run.inputs.iter().any(InputPrint::is_stream) {
        return Ok(None);
    }
    let plan = inputs::plan(&run.job.inputs(), settings)?;
    let now = InputPrint::of_plan(&plan).map_err(Refusal::from)?;
    // By their places: they may be named otherwise from elsewhere.
    let changed = match now.len() == run.inputs.len() {
        false => Some(format!(
            "there are {} inputs and there were {}",
            now.len(),
            run.inputs.len()
        )),
        true => (now.iter().zip(&run.inputs))
            .find_map(|(now, was)| now.difference_in_content(was))
            .map(|what| format!("the input {what}")),
    };
    let changed = match changed {
        None if !run.state.ledger.is_of(&plan) => {
            Some("the checkpoint does not belong to the inputs".to_owned())
        }
        changed => changed,
    };
    match changed {
        None => Ok(Some(Arc::new(plan))),
        Some(what) => Err(LoadError::refused(format!(
            "{what} since the run loaded them, so records cannot be compared; put the inputs back"
        ))),
    }
}
