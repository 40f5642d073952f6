//! How a run is opened: begun, continued, found complete, or refused with the difference named.
//!
//! The same command continues a run. So before anything is sent the job and the inputs are held
//! against those that the run was begun with, and whatever differs is said; only knobs may differ. The
//! run's directory is locked for the life of the process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vecload_record::Reason;
use vecload_source::{Plan, StoreFolder, without_secrets};

use crate::baseline::Counts;
use crate::checkpoint::{self, Checkpoint, Recovered, RunDisk, State};
use crate::fingerprint::{InputPrint, JobPrint, changed_inputs};
use crate::ledger::Ledger;
use crate::prescan::{VerdictReader, Verdicts};
use crate::rows::RowSet;
use crate::run_dir::{NoRunDir, RUNS, RunDir, plan_of, report_of, runs_below};
use crate::sampling::KeySample;
use crate::settings::{OnInputChange, Resume, Settings};
use crate::shard::{Division, Shard};
use crate::units::Bytes;

/// The version of the plan file. A reader refuses every other one.
const PLAN_VERSION: u32 = 5;

/// The plan file: what a run is of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    /// The version of vecload that began the run.
    pub(crate) vecload: String,
    plan_version: u32,
    pub(crate) run_id: String,
    pub(crate) started_at: Timestamp,
    job_fingerprint: String,
    pub(crate) job: JobPrint,
    pub(crate) inputs: Vec<InputPrint>,
    /// A name for how the inputs are divided, where the run is one of several shards.
    pub(crate) division: Option<String>,
    /// The largest page that an attempt took: who reads the inputs again takes it too. No part of the job, since
    /// it does not decide what becomes of a row that can be read.
    max_page: Bytes,
}

/// The job as it was asked for.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) plan: &'a Plan,
    pub(crate) job: JobPrint,
    /// The name and the time of a run that is begun.
    pub(crate) run_id: String,
    pub(crate) started_at: Timestamp,
    pub(crate) commands: &'a Commands,
}

/// A run that is open.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) dir: RunDir,
    pub(crate) run_id: String,
    pub(crate) started_at: Timestamp,
    pub(crate) job_fingerprint: String,
    pub(crate) inputs: Vec<InputPrint>,
    pub(crate) state: State,
    /// Nothing of it was there before.
    pub(crate) is_new: bool,
}

/// What opening came to.
#[derive(Debug)]
pub(crate) enum Opened {
    /// There is something to do.
    Ready(Box<Run>, Checkpoint),
    /// Everything is settled, and nothing was changed.
    Complete(Box<Run>),
}

/// Why a run is not opened. Nothing was sent and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Directory(#[from] NoRunDir),
    #[error("{path}: {error}")]
    Checkpoint {
        path: String,
        error: checkpoint::Refused,
    },
    #[error("{0}")]
    Words(String),
    #[error("the run directory cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Which command to run next.
#[derive(Debug, Clone, Copy)]
pub enum NextCommand<'a> {
    /// The one that continues the run in that directory.
    Continue(&'a Path),
    /// The one that begins a new run of the same job.
    Anew,
}

/// Makes the text of the next command, as only the caller knows it.
#[derive(Clone, Default)]
pub(crate) struct Commands(Option<Arc<MakeCommand>>);

type MakeCommand = dyn Fn(NextCommand<'_>) -> String + Send + Sync;

// === impl Commands ===

impl Commands {
    pub(crate) fn new(make: impl Fn(NextCommand<'_>) -> String + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(make)))
    }

    /// The text, if the caller makes any.
    pub(crate) fn text(&self, next: NextCommand<'_>) -> Option<String> {
        Some((self.0.as_ref()?)(next))
    }

    /// The text as it stands in a message.
    fn words(&self, next: NextCommand<'_>) -> String {
        self.text(next).unwrap_or_else(|| match next {
            NextCommand::Continue(dir) => format!("run_dir = {}", dir.display()),
            NextCommand::Anew => "resume = never".to_owned(),
        })
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Commands").finish_non_exhaustive()
    }
}

// === impl PlanFile ===

impl PlanFile {
    /// The share of its load that the run is, if it is one.
    pub(crate) fn shard(&self) -> Option<Shard> {
        self.job.shard()
    }
}

// === impl Run ===

impl Run {
    /// A name for what is read: the job and its inputs as they are.
    pub(crate) fn subject(&self) -> io::Result<u128> {
        subject(&self.job_fingerprint, &self.inputs)
    }
}

/// Of each split the rows that were loaded, and whose ids no later row has.
pub(crate) fn winners(
    dir: &RunDir,
    ledger: &Ledger,
    job_fingerprint: &str,
    inputs: &[InputPrint],
) -> Result<Vec<RowSet>, Refusal> {
    let mut all = ledger.loaded_or_superseded();
    if ledger.total().superseded == 0 {
        return Ok(all);
    }
    let subject = subject(job_fingerprint, inputs)?;
    let verdicts = dir.prescan()?.map(|file| Verdicts::open(file, subject));
    let Some(Ok(verdicts)) = verdicts else {
        return Err(Refusal::Words(format!(
            "it is not known any more which records of the run in {} were superseded; put the file back",
            dir.name().display()
        )));
    };
    let mut reader = VerdictReader::new(&Arc::new(verdicts));
    for (split, rows) in (0..).zip(&mut all) {
        rows.subtract(&reader.superseded(split, 0..rows.end())?);
    }
    Ok(all)
}

fn subject(job_fingerprint: &str, inputs: &[InputPrint]) -> io::Result<u128> {
    let text = serde_json::to_vec(&(job_fingerprint, inputs))?;
    Ok(xxhash_rust::xxh3::xxh3_128(&text))
}

/// Opens the run that was asked for.
pub(crate) fn open(asked: Asked<'_>) -> Result<Opened, Refusal> {
    let job_fingerprint = asked.job.fingerprint()?;
    let path = match named_dir(asked.settings) {
        Some(path) => path,
        None => {
            if asked.settings.resume == Resume::Auto {
                refuse_second_run(&job_fingerprint, asked.commands)?;
            }
            PathBuf::from(RUNS).join(&asked.run_id)
        }
    };
    let dir = take(path, asked.settings)?;
    let opened = match dir.plan()? {
        None => begin(dir, asked, job_fingerprint),
        Some(_) if asked.settings.resume == Resume::Never => Err(Refusal::Words(format!(
            "{} holds a run already; name a new directory for a new run",
            dir.name().display()
        ))),
        Some(plan) => go_on(dir, &plan, &asked, job_fingerprint),
    }?;
    if let Opened::Ready(run, _) = &opened {
        // Of two that open it in a store at once, one gets it.
        run.dir.save(Some(&run.state)).map_err(NoRunDir::from)?;
    }
    Ok(opened)
}

/// Takes a directory, which may be in a store.
fn take(path: PathBuf, settings: &Settings) -> Result<RunDir, Refusal> {
    let folder = path
        .to_str()
        .map(|url| StoreFolder::connect(url, settings.ca_file.as_ref()))
        .transpose();
    let folder = folder.map_err(|error| {
        let path = without_secrets(&path.to_string_lossy()).into_owned();
        Refusal::Words(format!("the run directory {path} cannot be used: {error}"))
    })?;
    let Some(folder) = folder.flatten() else {
        return Ok(RunDir::take(path)?);
    };
    let scratch = settings.scratch_dir.clone();
    let scratch = scratch.unwrap_or_else(std::env::temp_dir);
    Ok(RunDir::fetch(folder, &scratch)?)
}

/// The directory of the run, where one was named.
fn named_dir(settings: &Settings) -> Option<PathBuf> {
    let path = settings.run_dir.as_ref()?;
    // All shards are given the same directory, and none is in another one's way.
    Some(match settings.shard {
        Some(shard) => path.join(shard.folder()),
        None => path.clone(),
    })
}

/// Where the index of that name was found, if the run that these settings continue knows it. What is
/// wrong with such a run is said where it is opened.
pub(crate) fn recorded_host(settings: &Settings, index: &str) -> Option<String> {
    let file = plan_in(&named_dir(settings)?).ok()?;
    let is_same = file.job.index() == Some(index);
    is_same.then(|| file.job.target().to_owned())
}

fn begin(dir: RunDir, asked: Asked<'_>, job_fingerprint: String) -> Result<Opened, Refusal> {
    let mut ledger = Ledger::new(asked.plan);
    ledger.sample = KeySample::new(asked.settings.seed_or_random());
    let division = asked.settings.shard.map(|shard| {
        let division = Division::new(asked.plan, shard.of());
        division
            .others(shard)
            .for_each(|split| ledger.leave_out(split));
        division.name()
    });
    let mut state = State::new(ledger);
    state.attempts = 1;
    let inputs = InputPrint::of_plan(asked.plan)?;
    let checkpoint = Checkpoint::begin(Box::new(RunDisk::new(dir.path())), &state, 0)?;
    let file = PlanFile {
        vecload: env!("CARGO_PKG_VERSION").to_owned(),
        plan_version: PLAN_VERSION,
        run_id: asked.run_id,
        started_at: asked.started_at,
        job_fingerprint,
        job: asked.job,
        inputs,
        division,
        max_page: asked.settings.max_page,
    };
    // After the checkpoint: where there is a plan there is one.
    write_plan(&dir, &file)?;
    let run = Box::new(Run {
        dir,
        run_id: file.run_id,
        started_at: file.started_at,
        job_fingerprint: file.job_fingerprint,
        inputs: file.inputs,
        state,
        is_new: true,
    });
    Ok(Opened::Ready(run, checkpoint))
}

fn go_on(
    dir: RunDir,
    plan: &[u8],
    asked: &Asked<'_>,
    job_fingerprint: String,
) -> Result<Opened, Refusal> {
    let path = dir.name().display().to_string();
    let mut file = read_plan(plan).map_err(|what| unusable_plan(dir.name(), &what))?;
    let differences = asked.job.differences(&file.job);
    if !differences.is_empty() {
        return Err(Refusal::Words(format!(
            "{path} holds a run of another job: {}; name a new directory for this one",
            differences.join("; ")
        )));
    }
    let Recovered {
        mut state,
        generation,
        cut_records,
        lost_bytes,
    } = checkpoint::recover(&RunDisk::new(dir.path())).map_err(|error| Refusal::Checkpoint {
        path: path.clone(),
        error,
    })?;
    if cut_records > 0 || lost_bytes > 0 {
        tracing::warn!(
            cut_records,
            lost_bytes,
            "the end of the checkpoint was not written whole; what it settled is loaded again"
        );
    }
    let inputs = InputPrint::of_plan(asked.plan)?;
    let changed = changed_inputs(&inputs, &file.inputs).map_err(|what| {
        Refusal::Words(format!(
            "{what} since the run in {path} was begun; name a new directory for a new run"
        ))
    })?;
    if let Some(first) = changed.iter().flatten().next() {
        let more = changed.iter().flatten().count() - 1;
        let others = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more)")
        };
        if asked.settings.on_input_change == OnInputChange::Fail {
            return Err(Refusal::Words(format!(
                "the input {first} since the run in {path} was begun{others}; put it back, \
                 read it again from its beginning with --on-input-change restart-file, \
                 or name a new directory for a new run"
            )));
        }
        if asked.settings.shard.is_some() {
            return Err(Refusal::Words(format!(
                "the input {first} since the run in {path} was begun{others}; shards divide their inputs as they \
                 were at the beginning, so that restart-file is not for them: put it back, or name a new \
                 directory for a new run of all shards"
            )));
        }
        tracing::warn!(changed = %first, more, "changed inputs are read from their beginning");
        let changed: Vec<bool> = changed.iter().map(Option::is_some).collect();
        reopen_superseded(&dir, &file, &mut state.ledger)?;
        state.ledger = state.ledger.with_restarted(asked.plan, &changed);
        file.inputs.clone_from(&inputs);
    }
    if !state.ledger.is_of(asked.plan) {
        return Err(Refusal::Words(format!(
            "the checkpoint in {path} does not belong to its plan; put back the files, \
             or name a new directory for a new run"
        )));
    }
    if asked.settings.retry_rejects && state.letters.offset > 0 {
        state.ledger.reopen_rejected();
        state.letters_file += 1;
        state.letters = checkpoint::Mark::default();
    }
    let mut run = Box::new(Run {
        dir,
        run_id: file.run_id.clone(),
        started_at: file.started_at,
        job_fingerprint,
        inputs,
        is_new: false,
        state,
    });
    let ledger = &run.state.ledger;
    if asked
        .plan
        .splits
        .iter()
        .all(|split| ledger.is_settled(split))
    {
        return Ok(Opened::Complete(run));
    }
    run.state.attempts += 1;
    file.max_page = file.max_page.max(asked.settings.max_page);
    let disk = RunDisk::new(run.dir.path());
    let checkpoint = Checkpoint::begin(Box::new(disk), &run.state, generation)?;
    // The inputs as they are now, where one has changed, and the largest page. After the checkpoint that knows of it.
    write_plan(&run.dir, &file)?;
    Ok(Opened::Ready(run, checkpoint))
}

/// Takes the superseded rows for unread, where an input has changed: what superseded them may be gone.
fn reopen_superseded(dir: &RunDir, file: &PlanFile, ledger: &mut Ledger) -> Result<(), Refusal> {
    let refused = |what: &str| {
        Refusal::Words(format!(
            "an input of the run in {} has changed, and {what}; name a new directory for a new run",
            dir.name().display()
        ))
    };
    let duplicate = Reason::DuplicateId.name();
    if ledger.rejected_by_reason.contains_key(duplicate) {
        return Err(refused(
            "records were rejected as duplicates of records that may be gone",
        ));
    }
    if ledger.total().superseded == 0 {
        return Ok(());
    }
    let subject = subject(&file.job_fingerprint, &file.inputs)?;
    let verdicts = dir.prescan()?.map(|file| Verdicts::open(file, subject));
    let Some(Ok(verdicts)) = verdicts else {
        return Err(refused(
            "it is not known any more which records had duplicates",
        ));
    };
    let mut reader = VerdictReader::new(&Arc::new(verdicts));
    ledger.reopen_superseded(|split, rows| reader.superseded(split, rows))?;
    Ok(())
}

/// Refuses to begin a run beside an unfinished one of the same job.
fn refuse_second_run(job_fingerprint: &str, commands: &Commands) -> Result<(), Refusal> {
    for (path, plan) in runs_below(Path::new(RUNS))? {
        // A run of another version, or what is no run at all, is none of this job.
        let Ok(file) = read_plan(&plan) else { continue };
        if file.job_fingerprint != job_fingerprint || !is_unfinished(&path)? {
            continue;
        }
        return Err(Refusal::Words(format!(
            "{} holds an unfinished run of this job\n  to continue it: {}\n  to load everything anew: {}",
            path.display(),
            commands.words(NextCommand::Continue(&path)),
            commands.words(NextCommand::Anew),
        )));
    }
    Ok(())
}

/// Whether a run has something to continue: it did not end, or ended after it had sent something.
fn is_unfinished(run: &Path) -> io::Result<bool> {
    let Some(report) = report_of(run)? else {
        return Ok(true);
    };
    let Ok(report) = serde_json::from_slice::<Value>(&report) else {
        return Ok(true);
    };
    let sent = report["attempts"] != 0 || report["attempts_of_run"] != 1;
    Ok(report["status"] == "running" || report["status"] == "stopped" && sent)
}

/// A run as it is on disk.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) job: JobPrint,
    job_fingerprint: String,
    pub(crate) inputs: Vec<InputPrint>,
    /// The largest page that an attempt took.
    pub(crate) max_page: Bytes,
    pub(crate) state: State,
    /// What the index held before, if anything was sent.
    pub(crate) baseline: Option<Counts>,
}

impl Recorded {
    /// Reads the run in a directory, and changes nothing.
    pub(crate) fn read(dir: &RunDir) -> Result<Self, Refusal> {
        let path = dir.name().display();
        let file = plan_in(dir.path())?;
        let recovered = checkpoint::recover(&RunDisk::new(dir.path())).map_err(|error| {
            let path = path.to_string();
            Refusal::Checkpoint { path, error }
        })?;
        Ok(Self {
            job: file.job,
            job_fingerprint: file.job_fingerprint,
            inputs: file.inputs,
            max_page: file.max_page,
            state: recovered.state,
            baseline: dir.baseline()?,
        })
    }

    /// Of each split the rows whose records the index must hold.
    pub(crate) fn winners(&self, dir: &RunDir) -> Result<Vec<RowSet>, Refusal> {
        winners(dir, &self.state.ledger, &self.job_fingerprint, &self.inputs)
    }
}

/// The name of the target of the run in a directory.
pub(crate) fn recorded_target(run: &Path) -> Result<String, Refusal> {
    Ok(plan_in(run)?.job.target().to_owned())
}

/// Whether there is a run in a directory.
pub(crate) fn has_plan(run: &Path) -> io::Result<bool> {
    Ok(plan_of(run)?.is_some())
}

/// What the run in a directory is of.
pub(crate) fn plan_in(run: &Path) -> Result<PlanFile, Refusal> {
    let Some(plan) = plan_of(run)? else {
        let path = run.to_owned();
        return Err(NoRunDir::none_in(path).into());
    };
    read_plan(&plan).map_err(|what| unusable_plan(run, &what))
}

fn unusable_plan(run: &Path, what: &str) -> Refusal {
    Refusal::Words(format!(
        "the plan of the run in {} cannot be used: {what}",
        run.display()
    ))
}

fn read_plan(plan: &[u8]) -> Result<PlanFile, String> {
    let value: Value = serde_json::from_slice(plan).map_err(|error| error.to_string())?;
    let version = &value["plan_version"];
    if *version != PLAN_VERSION {
        return Err(format!(
            "it is of version {version} and this vecload reads version {PLAN_VERSION}"
        ));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn write_plan(dir: &RunDir, file: &PlanFile) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(file)?;
    text.push(b'\n');
    dir.write_plan(&text)
}
