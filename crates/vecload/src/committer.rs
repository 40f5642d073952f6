//! The last stage: one thread that hears of every row's fate and writes it down.
//!
//! It owns the state of the run and its checkpoint, stops the run when too many rows are rejected,
//! and publishes the books for whoever watches. A settlement is booked and in the journal
//! before the next event is looked at; every second all of it is made durable. When something
//! cannot be written the run stops: what is acknowledged after that is booked for the report of this
//! attempt and sent again by the next one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::Instant;
use vecload_source::Plan;

use crate::checkpoint::{Checkpoint, Entry, Rows, State};
use crate::dead_letters::{Locator, dead_letter};
use crate::events::{Event, RejectedRow};
use crate::ledger::{Books, Ledger, Unbalanced, write_units};
use crate::prescan::VerdictReader;
use crate::sampling::Sampler;
use crate::settings::MaxRejects;
use crate::stop::{ExitCode, Stop, StopReason};
use crate::telemetry::{CheckpointAge, Metric};

/// From this number of rows on a limit in percent is judged.
const PERCENT_FROM_ROWS: u64 = 10_000;
/// How often the books are published.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// How often the checkpoint is made durable: what a power cut may forget.
pub(crate) const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often the report of a run that goes on is written.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Writes the report of a run that goes on.
pub(crate) type RunningReport = Box<dyn FnMut(&State) -> io::Result<()> + Send>;

/// The committer and what it keeps.
pub(crate) struct Committer {
    plan: Arc<Plan>,
    stop: Arc<Stop>,
    max_rejects: MaxRejects,
    /// What the prescan found, if there was one.
    verdicts: Option<VerdictReader>,
    state: State,
    checkpoint: Checkpoint,
    report: RunningReport,
    books: watch::Sender<Books>,
    age: Arc<CheckpointAge>,
    /// Follows what is kept of the run's records, where some are.
    sampler: Option<Arc<Sampler>>,
    published: Instant,
    synced: Instant,
    reported: Instant,
    /// Something could not be written: nothing more is.
    failed: bool,
}

/// Why the committer could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("the progress of the run cannot be written: {0}; mend that and continue the run")]
    Disk(#[from] io::Error),
    #[error(
        "what the search for duplicates found cannot be read: {0}; mend that and continue the run"
    )]
    Verdicts(io::Error),
    #[error("the books do not balance: {0}; please report this")]
    Unbalanced(#[from] Unbalanced),
}

// === impl Committer ===

impl Committer {
    /// A committer that goes on from a state.
    pub(crate) fn new(
        plan: Arc<Plan>,
        stop: Arc<Stop>,
        max_rejects: MaxRejects,
        verdicts: Option<VerdictReader>,
        (state, checkpoint): (State, Checkpoint),
        report: RunningReport,
        books: watch::Sender<Books>,
    ) -> Self {
        let now = Instant::now();
        Self {
            sampler: Sampler::of_run(&plan, &state.ledger.sample),
            plan,
            stop,
            max_rejects,
            verdicts,
            state,
            checkpoint,
            report,
            books,
            age: Arc::new(CheckpointAge::new()),
            published: now,
            synced: now,
            reported: now,
            failed: false,
        }
    }

    /// How old the checkpoint is, for whoever publishes it.
    pub(crate) fn age(&self) -> Arc<CheckpointAge> {
        Arc::clone(&self.age)
    }

    /// What finds the records of which something is kept, for whoever has their bytes.
    pub(crate) fn sampler(&self) -> Option<Arc<Sampler>> {
        self.sampler.clone()
    }

    /// Takes events until the last sender is gone. Runs on a thread of its own.
    pub(crate) fn run(mut self, events: &async_channel::Receiver<Event>) -> State {
        // An earlier attempt may have rejected more than this one allows.
        self.judge_rejects("");
        while let Ok(event) = events.recv_blocking() {
            let taken = self.take(event);
            self.stop_on(taken);
            if self.published.elapsed() >= PUBLISH_EVERY {
                self.publish();
            }
            if self.synced.elapsed() >= SYNC_EVERY {
                let synced = self.sync();
                self.stop_on(synced);
            }
        }
        let ended = self.finish();
        self.stop_on(ended);
        self.publish();
        self.state
    }

    fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    fn stop_on(&mut self, outcome: Result<(), CommitError>) {
        let Err(error) = outcome else { return };
        self.failed = true;
        let exit_code = match error {
            CommitError::Disk(_) | CommitError::Verdicts(_) => ExitCode::Interrupted,
            CommitError::Unbalanced(_) => ExitCode::Bug,
        };
        self.stop
            .stop(StopReason::new("committer", exit_code, error.to_string()));
    }

    fn take(&mut self, event: Event) -> Result<(), CommitError> {
        match event {
            Event::Read(rows) => {
                self.state.ledger.read(&rows);
                if !rows.changes.is_empty() {
                    self.settle(&Entry::FieldsRead {
                        split: rows.split,
                        end: rows.block_end,
                        changes: rows.changes,
                    })?;
                }
            }
            Event::Loaded(rows) => {
                let rows_of_request = Rows(rows.rows.to_vec());
                let (records, bytes) = (rows_of_request.count(), rows.bytes);
                self.settle(&Entry::Loaded {
                    namespace: rows.namespace.name().to_owned(),
                    rows: rows_of_request,
                    bytes: rows.bytes,
                    lsn: rows.lsn,
                    digest: rows.digest,
                    changes: rows.changes,
                    sampled: rows.sampled,
                })?;
                if let Some(sampler) = &self.sampler {
                    sampler.follow(&self.state.ledger.sample);
                }
                counter!(Metric::Records.name(), "status" => "loaded").increment(records);
                counter!(Metric::WriteUnits.name()).increment(write_units(bytes));
                gauge!(Metric::LastSuccess.name())
                    .set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
            }
            Event::Rejected(row) => self.rejected(*row)?,
            Event::Superseded { namespace, rows } => {
                let rows = Rows(rows);
                let records = rows.count();
                self.settle(&Entry::Superseded {
                    namespace: namespace.name().to_owned(),
                    rows,
                })?;
                counter!(Metric::Records.name(), "status" => "superseded").increment(records);
            }
            Event::SplitRead { split, rows } => self.settle(&Entry::SplitRead { split, rows })?,
            Event::TextRead { split, text } => self.settle(&Entry::TextRead { split, text })?,
            Event::Unreadable { split, message } => {
                tracing::error!(split, error = %message, "input became unreadable");
                self.state.ledger.unreadable.push(message);
            }
            // It woke the thread, which looks at the clock after every event.
            Event::Tick => {}
        }
        Ok(())
    }

    /// Books a settlement and writes it down.
    fn settle(&mut self, entry: &Entry) -> Result<(), CommitError> {
        self.state.apply(entry)?;
        if !self.failed {
            self.checkpoint.append(entry)?;
        }
        Ok(())
    }

    fn rejected(&mut self, row: RejectedRow) -> Result<(), CommitError> {
        if self.failed {
            // Its dead letter cannot be written, so it remains.
            return Ok(());
        }
        let split = &self.plan.splits[row.split as usize];
        let locator = Locator::new(split, row.locator);
        let file = &self.plan.inputs[split.input as usize].name;
        let reason = row.reject.reason.name();
        tracing::debug!(file, ?locator, reason, error = %row.reject, "record rejected");
        let supersedes = match &mut self.verdicts {
            Some(verdicts) => verdicts
                .supersedes(row.split, row.row)
                .map_err(CommitError::Verdicts)?,
            None => 0,
        };
        let line = dead_letter(file, locator, &row, supersedes).map_err(io::Error::from)?;
        // The dead letter first, then the record that counts it (INV-5).
        let letters = self.checkpoint.dead_letter(&self.state, &line)?;
        self.settle(&Entry::Rejected {
            namespace: row.namespace.name().to_owned(),
            split: row.split,
            row: row.row,
            reason: reason.to_owned(),
            supersedes,
            changes: row.changes,
            letters,
        })?;
        counter!(Metric::Records.name(), "status" => "rejected").increment(1);
        counter!(Metric::Rejects.name(), "reason" => reason).increment(1);
        self.judge_rejects(&format!("; the last one: {}", row.reject));
        Ok(())
    }

    /// Stops the run when too many rows are rejected.
    fn judge_rejects(&self, last: &str) {
        let total = self.ledger().total();
        if self.max_rejects.is_exceeded(&total) {
            self.stop.stop(StopReason::new(
                "too_many_rejects",
                ExitCode::Short,
                format!(
                    "{} records were rejected, and --max-rejects is {}{last}",
                    total.rejected, self.max_rejects
                ),
            ));
        }
    }

    /// Makes everything durable that was written, and now and then writes the report.
    fn sync(&mut self) -> Result<(), CommitError> {
        self.synced = Instant::now();
        if self.failed {
            return Ok(());
        }
        self.checkpoint.sync(&self.state)?;
        self.age.written();
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            (self.report)(&self.state)?;
        }
        Ok(())
    }

    /// Checks the books, and makes everything durable for good.
    fn finish(&mut self) -> Result<(), CommitError> {
        self.ledger().check()?;
        if !self.failed {
            self.checkpoint.finish(&self.state)?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        self.books.send_replace(self.ledger().total());
    }
}

impl MaxRejects {
    /// Whether these books hold more rejects than that.
    fn is_exceeded(self, books: &Books) -> bool {
        match self {
            Self::Count(most) => books.rejected > most,
            Self::Percent(most) => {
                books.read >= PERCENT_FROM_ROWS
                    && books.rejected as f64 > books.read as f64 * most / 100.0
            }
        }
    }
}
