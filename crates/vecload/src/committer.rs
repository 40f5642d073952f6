//! The last stage: one thread that hears of every row's fate and writes it down.
//!
//! It owns the ledger and the dead letters, stops the run when too many rows are rejected, and
//! publishes the books for whoever watches.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::Instant;
use vecload_source::{Part, Plan};

use crate::dead_letters::{DeadLetters, Locator};
use crate::events::{Event, RejectedRow};
use crate::ledger::{Books, Ledger, Unbalanced};
use crate::settings::MaxRejects;
use crate::stop::{ExitCode, Stop, StopReason};
use crate::telemetry::Metric;

/// From this number of rows on a limit in percent is judged.
const PERCENT_FROM_ROWS: u64 = 10_000;
/// How often the books are published.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// The committer and what it keeps.
#[derive(Debug)]
pub(crate) struct Committer {
    plan: Arc<Plan>,
    stop: Arc<Stop>,
    max_rejects: MaxRejects,
    ledger: Ledger,
    dead_letters: DeadLetters,
    books: watch::Sender<Books>,
    published: Instant,
}

/// What a run leaves behind.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) ledger: Ledger,
    pub(crate) dead_letters: DeadLetters,
}

/// Why the committer could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("the dead letters cannot be written: {0}; free some space and continue the run")]
    DeadLetters(#[from] io::Error),
    #[error("the books do not balance: {0}; please report this")]
    Unbalanced(#[from] Unbalanced),
}

// === impl Committer ===

impl Committer {
    /// A committer with empty books.
    pub(crate) fn new(
        plan: Arc<Plan>,
        stop: Arc<Stop>,
        max_rejects: MaxRejects,
        dead_letters: DeadLetters,
        books: watch::Sender<Books>,
    ) -> Self {
        Self {
            ledger: Ledger::new(&plan),
            plan,
            stop,
            max_rejects,
            dead_letters,
            books,
            published: Instant::now(),
        }
    }

    /// Takes events until the last sender is gone. Runs on a thread of its own.
    pub(crate) fn run(mut self, events: &async_channel::Receiver<Event>) -> Committed {
        while let Ok(event) = events.recv_blocking() {
            if let Err(error) = self.take(event) {
                let exit_code = match error {
                    CommitError::DeadLetters(_) => ExitCode::Interrupted,
                    CommitError::Unbalanced(_) => ExitCode::Bug,
                };
                self.stop
                    .stop(StopReason::new("committer", exit_code, error.to_string()));
            }
            if self.published.elapsed() >= PUBLISH_EVERY {
                self.publish();
            }
        }
        if let Err(error) = self.dead_letters.sync() {
            let message = CommitError::from(error).to_string();
            let reason = StopReason::new("committer", ExitCode::Interrupted, message);
            self.stop.stop(reason);
        }
        if let Err(error) = self.ledger.check() {
            let message = CommitError::from(error).to_string();
            self.stop
                .stop(StopReason::new("committer", ExitCode::Bug, message));
        }
        self.publish();
        Committed {
            ledger: self.ledger,
            dead_letters: self.dead_letters,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), CommitError> {
        match event {
            Event::Read(rows) => self.ledger.read(&rows),
            Event::Loaded(rows) => {
                self.ledger.loaded(&rows)?;
                let records: u64 = rows.rows.iter().map(|run| u64::from(run.len)).sum();
                counter!(Metric::Records.name(), "status" => "loaded").increment(records);
                gauge!(Metric::LastSuccess.name())
                    .set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
            }
            Event::Rejected(row) => self.rejected(&row)?,
            Event::SplitRead { split } => self.ledger.split_read(split),
            Event::Unreadable { split, message } => {
                tracing::error!(split, error = %message, "input became unreadable");
                self.ledger.unreadable.push(message);
            }
        }
        Ok(())
    }

    fn rejected(&mut self, row: &RejectedRow) -> Result<(), CommitError> {
        let split = &self.plan.splits[row.split as usize];
        let locator = match split.part {
            Part::RowGroup { .. } => Locator::Row(row.locator),
            Part::ByteRange { .. } => Locator::Offset(row.locator),
        };
        let file = &self.plan.inputs[split.input as usize].name;
        // The dead letter first: what is counted is on its way to the disk (INV-5).
        self.dead_letters.append(file, locator, row)?;
        self.ledger.rejected(row)?;
        let reason = row.reject.reason.name();
        tracing::debug!(file, ?locator, reason, error = %row.reject, "record rejected");
        counter!(Metric::Records.name(), "status" => "rejected").increment(1);
        counter!(Metric::Rejects.name(), "reason" => reason).increment(1);
        let total = self.ledger.total();
        if self.max_rejects.is_exceeded(&total) {
            self.stop.stop(StopReason::new(
                "too_many_rejects",
                ExitCode::Short,
                format!(
                    "{} records were rejected, and --max-rejects is {}; the last one: {}",
                    total.rejected, self.max_rejects, row.reject
                ),
            ));
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        self.books.send_replace(self.ledger.total());
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
