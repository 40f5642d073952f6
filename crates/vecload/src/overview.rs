//! One report over several runs, above all over the shards of one load: whether the whole corpus arrived.
//!
//! It only reads: what runs are of (`plan`), and how they stand (`report.json`, which a run that goes on
//! writes every ten seconds). Shards are one corpus where they are of one job and the same inputs,
//! divide them in the same way, and none is missing.

mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::shards::{misfits, missing};
use crate::digest::Digest;
use crate::ledger::Books;
use crate::load::LoadError;
use crate::opening::{self, PlanFile, Refusal};
use crate::report::{InputReport, NamespaceReport, SCHEMA_VERSION, Status, Unread, WriteUnits};
use crate::run_dir::{NoRunDir, checkpoint_written, report_of, runs_below};
use crate::shard::Shard;
use crate::stop::ExitCode;

/// Several runs as one.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of vecload that made it.
    pub vecload_version: &'static str,
    /// Whether everything arrived: each run is complete, of each sharded load all shards are here, and the
    /// books of each input add up.
    pub complete: bool,
    /// What the command exits with.
    pub exit_code: ExitCode,
    /// What keeps it from being complete, a line each.
    pub problems: Vec<String>,
    /// The runs, in the order of their directories.
    pub runs: Vec<RunOverview>,
    /// The books of each input over all runs, by name.
    pub inputs: Vec<InputReport>,
    /// The books of each namespace over all runs, by name.
    pub namespaces: BTreeMap<String, NamespaceReport>,
    /// Records read.
    pub records_read: u64,
    /// Records acknowledged.
    pub records_loaded: u64,
    /// Records whose id a later record has.
    pub records_superseded: u64,
    /// Records in the dead letters.
    pub records_rejected: u64,
    /// Records left out by wish.
    pub records_filtered: u64,
    /// Bytes left out by wish.
    pub filtered_bytes: u64,
    /// Records read and unsettled.
    pub records_remaining: u64,
    /// What was not read by the runs that are here.
    pub unread: Unread,
    /// Ids of which no record is loaded, since the last one with that id was rejected.
    pub ids_without_version: u64,
    /// Rejected records by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// What was done to metadata fields: how often, by field and action.
    pub metadata_changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests sent, in the last attempt of each run.
    pub attempts: u64,
    /// Requests refused for their rate, in the last attempt of each run.
    pub requests_throttled: u64,
    /// From the begin of the first run to the last checkpoint of any, in seconds; pauses count too.
    pub seconds: f64,
    /// Acknowledged bytes per second of the runs that go on.
    pub bytes_per_second: f64,
    /// Records per second of the runs that go on.
    pub records_per_second: f64,
    /// Write units as the service documents them.
    pub write_units: WriteUnits,
    /// A number for all records that were loaded: that of one run over the same inputs.
    pub content_digest: String,
}

/// One run among several.
#[derive(Debug, Clone, Serialize)]
pub struct RunOverview {
    /// Its directory.
    pub run_dir: PathBuf,
    /// Its name.
    pub run_id: String,
    /// Which share of its load it is, if it is one.
    pub shard: Option<Shard>,
    /// What it loads into.
    pub target: String,
    /// How it stands by its own last word; a process that was killed leaves `running` behind.
    pub status: Status,
    /// What its last attempt exited with.
    pub exit_code: ExitCode,
    /// Why it stopped early, if it did.
    pub stop_reason: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How often it was begun or continued.
    pub attempts_of_run: u32,
    /// When it last wrote down what is settled.
    pub last_checkpoint: Option<Timestamp>,
    /// Its books.
    #[serde(flatten)]
    pub books: Books,
    /// Records read and unsettled.
    pub remaining: u64,
    /// What it has not read.
    pub unread: Unread,
    /// Acknowledged bytes per second of its last attempt.
    pub bytes_per_second: f64,
    /// Records per second of its last attempt.
    pub records_per_second: f64,
    /// The file of its dead letters, if there are any.
    pub rejected_file: Option<String>,
    /// The command that continues it, if anything is left to do.
    pub resume_command: Option<String>,
}

/// What is read of a report.
#[derive(Debug, Deserialize)]
struct Known {
    status: Status,
    exit_code: u8,
    stop_reason: Option<KnownReason>,
    attempts_of_run: u32,
    resume_command: Option<String>,
    inputs: Vec<InputReport>,
    namespaces: BTreeMap<String, NamespaceReport>,
    filtered_bytes: u64,
    unread: Unread,
    ids_without_version: u64,
    rejected_by_reason: BTreeMap<String, u64>,
    rejected_file: Option<String>,
    metadata_changes: BTreeMap<String, BTreeMap<String, u64>>,
    attempts: u64,
    requests_throttled: u64,
    bytes_per_second: f64,
    records_per_second: f64,
    write_units: WriteUnits,
    content_digest: String,
}

#[derive(Debug, Deserialize)]
struct KnownReason {
    message: String,
}

/// A run as it was found.
struct Found {
    dir: PathBuf,
    plan: PlanFile,
    /// The job without the shard.
    job: String,
    report: Option<Known>,
}

// === impl Overview ===

impl Overview {
    /// Reads runs: each directory is that of a run, or has runs in it.
    ///
    /// # Errors
    ///
    /// A directory that holds no run, or one that cannot be read.
    pub fn of(dirs: &[PathBuf]) -> Result<Self, LoadError> {
        let mut found = Vec::new();
        let mut known = BTreeSet::new();
        for dir in dirs {
            for run in runs_in(dir)? {
                let place = fs::canonicalize(&run).map_err(Refusal::from)?;
                if known.insert(place) {
                    found.push(Found::read(run)?);
                }
            }
        }
        found.sort_by(|a, b| (a.plan.shard(), &a.dir).cmp(&(b.plan.shard(), &b.dir)));
        let misfits = misfits(&found);
        let mut overview = Self::empty();
        let mut digest = Digest::default();
        for run in &found {
            overview.add(run, &mut digest);
        }
        overview.content_digest = digest.to_string();
        overview.runs = found.iter().map(Found::overview).collect();
        overview.seconds = seconds(&overview.runs);
        overview.judge(&found, misfits);
        Ok(overview)
    }

    fn empty() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            vecload_version: env!("CARGO_PKG_VERSION"),
            complete: false,
            exit_code: ExitCode::Interrupted,
            problems: Vec::new(),
            runs: Vec::new(),
            inputs: Vec::new(),
            namespaces: BTreeMap::new(),
            records_read: 0,
            records_loaded: 0,
            records_superseded: 0,
            records_rejected: 0,
            records_filtered: 0,
            filtered_bytes: 0,
            records_remaining: 0,
            unread: Unread::default(),
            ids_without_version: 0,
            rejected_by_reason: BTreeMap::new(),
            metadata_changes: BTreeMap::new(),
            attempts: 0,
            requests_throttled: 0,
            seconds: 0.0,
            bytes_per_second: 0.0,
            records_per_second: 0.0,
            write_units: WriteUnits::default(),
            content_digest: String::new(),
        }
    }

    fn add(&mut self, run: &Found, digest: &mut Digest) {
        let Some(report) = &run.report else { return };
        for input in &report.inputs {
            match self
                .inputs
                .iter_mut()
                .find(|known| known.path == input.path)
            {
                None => self.inputs.push(input.clone()),
                Some(known) => {
                    known.books = [known.books, input.books].iter().sum();
                    known.remaining += input.remaining;
                }
            }
        }
        for (name, namespace) in &report.namespaces {
            match self.namespaces.get_mut(name) {
                None => drop(self.namespaces.insert(name.clone(), namespace.clone())),
                Some(known) => {
                    known.books = [known.books, namespace.books].iter().sum();
                    known.remaining += namespace.remaining;
                    known.bytes += namespace.bytes;
                    known.requests += namespace.requests;
                    known.max_lsn = known.max_lsn.max(namespace.max_lsn);
                    known.closed = known.closed.take().or_else(|| namespace.closed.clone());
                }
            }
        }
        let books = report.books();
        self.records_read += books.read;
        self.records_loaded += books.loaded;
        self.records_superseded += books.superseded;
        self.records_rejected += books.rejected;
        self.records_filtered += books.filtered;
        self.records_remaining += books.remaining();
        self.filtered_bytes += report.filtered_bytes;
        self.unread.rows += report.unread.rows;
        self.unread.bytes += report.unread.bytes;
        self.ids_without_version += report.ids_without_version;
        for (reason, count) in &report.rejected_by_reason {
            *self.rejected_by_reason.entry(reason.clone()).or_default() += count;
        }
        for (field, actions) in &report.metadata_changes {
            let field = self.metadata_changes.entry(field.clone()).or_default();
            for (action, times) in actions {
                *field.entry(action.clone()).or_default() += times;
            }
        }
        self.attempts += report.attempts;
        self.requests_throttled += report.requests_throttled;
        if report.status == Status::Running {
            self.bytes_per_second += report.bytes_per_second;
            self.records_per_second += report.records_per_second;
        }
        self.write_units.min += report.write_units.min;
        self.write_units.max += report.write_units.max;
        *digest += Digest::from_hexadecimal(&report.content_digest);
    }

    /// Whether everything arrived, and what the command exits with.
    fn judge(&mut self, found: &[Found], misfits: Vec<String>) {
        let fits = misfits.is_empty();
        self.problems = misfits;
        self.problems.extend(missing(found));
        for run in found {
            self.problems.extend(run.problem());
        }
        for input in &self.inputs {
            if self.problems.is_empty() && !input.books.balance() {
                let Books { read, .. } = input.books;
                self.problems.push(format!(
                    "the books of {} do not add up: {read} records were read and {} are settled; please report this",
                    input.path,
                    read.abs_diff(input.books.remaining()),
                ));
            }
        }
        self.complete = self.problems.is_empty();
        let exits: Vec<ExitCode> = self.runs.iter().map(|run| run.exit_code).collect();
        self.exit_code = if !fits {
            ExitCode::Refused
        } else if !self.complete {
            // What a new attempt does not mend comes first.
            let worst = [
                ExitCode::Bug,
                ExitCode::Service,
                ExitCode::Short,
                ExitCode::Refused,
            ];
            let worst = worst.into_iter().find(|code| exits.contains(code));
            worst.unwrap_or(ExitCode::Interrupted)
        } else if self.records_loaded == 0 && self.records_rejected > 0 {
            ExitCode::Short
        } else if let Some(code) = [ExitCode::Differs, ExitCode::Unverified]
            .into_iter()
            .find(|code| exits.contains(code))
        {
            code
        } else if exits.iter().any(|code| *code != ExitCode::Complete) {
            ExitCode::SomeRejected
        } else {
            ExitCode::Complete
        };
    }

    /// What the requests of all runs came to, on one line.
    #[must_use]
    pub fn traffic(&self) -> String {
        let bytes: u64 = self.namespaces.values().map(|books| books.bytes).sum();
        format!(
            "requests: {} in the last attempts, {} refused for their rate ({:.1} %); {:.1} MB acknowledged within \
             {:.1} s ({:.1} MB/s)",
            self.attempts,
            self.requests_throttled,
            100.0 * self.requests_throttled as f64 / self.attempts.max(1) as f64,
            bytes as f64 / 1e6,
            self.seconds,
            bytes as f64 / 1e6 / self.seconds.max(1e-3),
        )
    }

    /// The last line that people see.
    #[must_use]
    pub fn summary(&self) -> String {
        let runs = match self.runs.len() {
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        };
        let verdict = if self.complete {
            "complete"
        } else {
            "not complete"
        };
        let unread = match self.unread {
            Unread { rows: 0, bytes: 0 } => String::new(),
            Unread { rows, bytes: 0 } => format!(", unread {rows}"),
            Unread { rows: 0, bytes } => format!(", unread {bytes} bytes"),
            Unread { rows, bytes } => format!(", unread {rows} and {bytes} bytes"),
        };
        format!(
            "{verdict}: {runs}, loaded {} records, rejected {}, remaining {}{unread} (superseded {})",
            self.records_loaded,
            self.records_rejected,
            self.records_remaining,
            self.records_superseded,
        )
    }
}

// === impl RunOverview ===

impl RunOverview {
    /// How it stands, on one line. `now` is the time.
    #[must_use]
    pub fn line(&self, now: Timestamp) -> String {
        let name = self.run_dir.display();
        let status = match self.status {
            Status::Running => "running",
            Status::Complete => "complete",
            Status::Stopped => "stopped",
        };
        let mut line = format!(
            "{name}: {status}, loaded {}, rejected {}, superseded {}, remaining {}",
            self.books.loaded, self.books.rejected, self.books.superseded, self.remaining
        );
        if self.unread.rows > 0 {
            line += &format!(", unread {} rows", self.unread.rows);
        }
        if self.unread.bytes > 0 {
            line += &format!(", unread {} bytes", self.unread.bytes);
        }
        if self.status == Status::Running {
            line += &format!(
                ", {:.1} MB/s, {:.0} records/s",
                self.bytes_per_second / 1e6,
                self.records_per_second
            );
            if let Some(written) = self.last_checkpoint {
                let age = now.duration_since(written).as_secs().max(0);
                line += &format!(", last checkpoint {age} s ago");
            }
        }
        line
    }
}

// === impl Known ===

impl Known {
    fn books(&self) -> Books {
        self.inputs.iter().map(|input| &input.books).sum()
    }
}

// === impl Found ===

impl Found {
    fn read(dir: PathBuf) -> Result<Self, LoadError> {
        let plan = opening::plan_in(&dir)?;
        let report = report_of(&dir).map_err(Refusal::from)?;
        let report = report.map(|text| {
            serde_json::from_slice(&text).map_err(|error| {
                LoadError::refused(format!(
                    "the report of the run in {} cannot be used: {error}",
                    dir.display()
                ))
            })
        });
        Ok(Self {
            job: plan.job.of_all_shards().map_err(Refusal::from)?,
            report: report.transpose()?,
            plan,
            dir,
        })
    }

    /// What it is in a message.
    fn name(&self) -> String {
        match self.plan.shard() {
            Some(shard) => format!("shard {shard} ({})", self.dir.display()),
            None => format!("the run in {}", self.dir.display()),
        }
    }

    /// What keeps it from being complete.
    fn problem(&self) -> Option<String> {
        let name = self.name();
        let Some(report) = &self.report else {
            return Some(format!("{name} was begun and has no report yet"));
        };
        let next = report.resume_command.as_ref();
        let next = next.map_or_else(String::new, |command| {
            format!("; to continue it: {command}")
        });
        match (report.status, &report.stop_reason) {
            (Status::Complete, _) => None,
            (Status::Running, _) => Some(format!(
                "{name} is running, or its process was killed{next}"
            )),
            (Status::Stopped, None) => Some(format!("{name} stopped{next}")),
            (Status::Stopped, Some(reason)) => {
                Some(format!("{name} stopped: {}{next}", reason.message))
            }
        }
    }

    fn overview(&self) -> RunOverview {
        let report = self.report.as_ref();
        let books = report.map(Known::books).unwrap_or_default();
        let exit_code = report.and_then(|report| {
            let mut codes = ExitCode::ALL.into_iter();
            codes.find(|code| u8::from(*code) == report.exit_code)
        });
        RunOverview {
            run_dir: self.dir.clone(),
            run_id: self.plan.run_id.clone(),
            shard: self.plan.shard(),
            target: self.plan.job.target().to_owned(),
            status: report.map_or(Status::Running, |report| report.status),
            exit_code: exit_code.unwrap_or(ExitCode::Interrupted),
            stop_reason: report
                .and_then(|report| report.stop_reason.as_ref())
                .map(|reason| reason.message.clone()),
            started_at: self.plan.started_at,
            attempts_of_run: report.map_or(1, |report| report.attempts_of_run),
            last_checkpoint: checkpoint_written(&self.dir),
            books,
            remaining: books.remaining(),
            unread: report.map(|report| report.unread).unwrap_or_default(),
            bytes_per_second: report.map_or(0.0, |report| report.bytes_per_second),
            records_per_second: report.map_or(0.0, |report| report.records_per_second),
            rejected_file: report.and_then(|report| report.rejected_file.clone()),
            resume_command: report.and_then(|report| report.resume_command.clone()),
        }
    }
}

/// From the begin of the first run to the last checkpoint of any.
fn seconds(runs: &[RunOverview]) -> f64 {
    let begun = runs.iter().map(|run| run.started_at).min();
    let written = runs.iter().filter_map(|run| run.last_checkpoint).max();
    let took = begun
        .zip(written)
        .map(|(begun, written)| written.duration_since(begun));
    took.map_or(0.0, |took| took.as_secs_f64().max(0.0))
}

/// The runs that a directory is or has.
fn runs_in(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if opening::has_plan(dir).map_err(Refusal::from)? {
        return Ok(vec![dir.to_owned()]);
    }
    let below = runs_below(dir).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Ok(Vec::new()),
        _ => Err(Refusal::from(error)),
    })?;
    if below.is_empty() {
        let path = dir.to_owned();
        return Err(Refusal::from(NoRunDir::none_in(path)).into());
    }
    Ok(below.into_iter().map(|(path, _)| path).collect())
}
