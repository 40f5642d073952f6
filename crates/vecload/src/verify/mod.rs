//! The proof of a load: the index holds what was loaded, to the bit.
//!
//! First it waits until the index has come up with the last write of each namespace: by its log
//! sequence number where the service says how far it is, by the counts of records elsewhere. Then the
//! counts are judged against what was there before, a sample of the loaded rows is read again from
//! the source and compared with what the index returns, and namespaces are named that the run did
//! not write. A difference is never waited away where the index said that it is up to date.

mod compare;
mod extras;
mod reading;
mod report;
mod run;
mod sample;
mod settle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::{Client, Failure};
use vecload_source::Plan;

pub(crate) use self::reading::Rules;
use self::report::LISTED;
pub use self::report::{Count, Difference, Source, Verdict, VerifyReport};
pub use self::run::{Verify, run_target};
use self::settle::{Terms, counts};
use crate::asking::{Patience, Unanswered, ask, interrupted};
use crate::baseline::Counts;
use crate::fingerprint::InputPrint;
use crate::ledger::Ledger;
use crate::rows::RowSet;
use crate::settings::{Sample, Settings};
use crate::stop::{ExitCode, Stop, StopReason};

/// How many questions are under way at the same time.
pub(crate) const AT_ONCE: usize = 8;

/// The run that is to be proved.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) ledger: &'a Ledger,
    /// Whether ids that occur more than once were looked for.
    pub(crate) distinct: bool,
    /// What the index held before, where that is known.
    pub(crate) baseline: Option<&'a Counts>,
    pub(crate) records: Records<'a>,
    /// Whether every record is settled.
    pub(crate) complete: bool,
    /// Whether no other process writes to the same namespaces.
    pub(crate) alone: bool,
    /// When the last record was acknowledged, if that was in this process.
    pub(crate) loaded: Option<Instant>,
}

/// What the records are compared with.
#[derive(Debug)]
pub(crate) enum Records<'a> {
    /// The inputs, which are read again.
    Source {
        plan: &'a Arc<Plan>,
        /// Of each split the rows whose records the index must hold.
        winners: Vec<RowSet>,
    },
    /// What the run kept of some of them, since an input of these is a stream. Which rows the index must hold is not
    /// known of it: ids come again without having been looked for.
    Kept(&'a [InputPrint]),
}

/// Who proves it.
#[derive(Debug)]
pub(crate) struct Prover<'a> {
    pub(crate) client: &'a Client,
    pub(crate) rules: Rules,
    pub(crate) stop: &'a Stop,
    pub(crate) sample: Sample,
    /// What the sample is chosen by.
    pub(crate) seed: u64,
    /// How long the index may take to catch up, and to answer.
    pub(crate) patience: Duration,
    pub(crate) attempt_timeout: Duration,
    /// For what does not fit into memory.
    pub(crate) scratch: PathBuf,
}

// === impl Prover ===

impl<'a> Prover<'a> {
    /// With the settings of a load. What does not fit into memory goes to `folder`, if they name no other.
    pub(crate) fn new(
        client: &'a Client,
        rules: Rules,
        stop: &'a Stop,
        settings: &Settings,
        folder: &Path,
    ) -> Self {
        Self {
            client,
            rules,
            stop,
            sample: settings.verify_sample,
            seed: settings.seed_or_random(),
            patience: settings.verify_timeout.0,
            attempt_timeout: settings.attempt_timeout.0,
            scratch: match &settings.scratch_dir {
                Some(scratch) => scratch.clone(),
                None => folder.to_owned(),
            },
        }
    }

    /// Proves the run, or finds in what the index differs.
    pub(crate) async fn prove(&self, subject: Subject<'_>) -> VerifyReport {
        let began = Instant::now();
        let mut report = VerifyReport::new(self.sample, self.seed);
        let stopped = self.look(subject, &mut report).await.err();
        report.duration_seconds = began.elapsed().as_secs_f64();
        report.conclude(stopped);
        report
    }

    async fn look(
        &self,
        subject: Subject<'_>,
        report: &mut VerifyReport,
    ) -> Result<(), StopReason> {
        let Subject {
            ledger, baseline, ..
        } = subject;
        let deadline = Instant::now() + self.patience;
        let unknown = self.until_indexed(ledger, deadline).await?;
        // Rows of an input that was read from its beginning again are in the books twice.
        let is_each_id_once = match &subject.records {
            Records::Source { winners, .. } => {
                winners.iter().map(RowSet::len).sum::<u64>() == ledger.total().loaded
            }
            Records::Kept(_) => false,
        };
        let terms = Terms {
            complete: subject.complete,
            alone: subject.alone,
            distinct: subject.distinct && is_each_id_once,
        };
        let judge = |now: &Counts| counts(ledger, baseline, terms, now);
        let is_good = |now: &Counts| judge(now).values().all(Count::is_as_demanded);
        let now = self.until_settled(is_good, deadline).await?;
        report.time_to_indexed_seconds = subject.loaded.map(|at| at.elapsed().as_secs_f64());
        report.namespaces = judge(&now);
        report.namespaces_unknown = unknown.len() as u64;
        report.namespaces_indexed = (report.namespaces.len() - unknown.len()) as u64;
        judge_counts(report);
        self.name_extras(&subject.records, report).await?;
        judge_others(report, &now, baseline);
        match subject.records {
            Records::Source { plan, winners } => {
                let mut random = StdRng::seed_from_u64(self.seed);
                let wanted = sample::choose(winners, self.sample, &mut random);
                self.compare_rows(plan, wanted, &unknown, report).await
            }
            Records::Kept(inputs) => {
                let sample = &ledger.sample;
                self.compare_kept(sample, inputs, &unknown, report).await
            }
        }
    }

    /// Asks the index, for as long as there is patience.
    pub(crate) async fn ask<T, F>(
        &self,
        random: &mut StdRng,
        question: impl Fn(Duration) -> F,
    ) -> Result<T, StopReason>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let patience = Patience {
            stop: self.stop,
            attempt: self.attempt_timeout,
            all: self.patience,
        };
        ask(patience, random, question).await.map_err(|why| match why {
            Unanswered::Stopping => self.stopped(),
            Unanswered::Refused(reason) => reason,
            Unanswered::TimedOut(failure) => late(format!(
                "the index did not answer for {:?} (--verify-timeout); the last failure: {failure}",
                self.patience
            )),
        })
    }

    /// Waits, unless the run is stopping.
    pub(crate) async fn pause(&self, wait: Duration) -> Result<(), StopReason> {
        tokio::select! {
            biased;
            () = self.stop.stopped() => Err(self.stopped()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn stopped(&self) -> StopReason {
        self.stop.reason().cloned().unwrap_or_else(interrupted)
    }
}

/// Why there is no verdict in time.
pub(crate) fn late(message: String) -> StopReason {
    StopReason::new("verify_timeout", ExitCode::Unverified, message)
}

/// Takes down the counts that are not as demanded.
fn judge_counts(report: &mut VerifyReport) {
    let wrong: Vec<Difference> = report
        .namespaces
        .iter()
        .filter(|(_, count)| !count.is_as_demanded())
        .map(|(name, count)| Difference {
            namespace: name.clone(),
            id: None,
            field: "records".to_owned(),
            expected: count.words(),
            found: count.found.to_string(),
            source: None,
        })
        .collect();
    for difference in wrong {
        report.differs(difference);
    }
}

/// Takes down the namespaces that the run did not write. Where the index was empty at the start they
/// are differences.
fn judge_others(report: &mut VerifyReport, now: &Counts, baseline: Option<&Counts>) {
    let was_empty = baseline.is_some_and(Counts::is_empty_index);
    for (name, count) in &now.0 {
        let is_there_always = name == crate::namespace::DEFAULT_NAMESPACE && *count == 0;
        if report.namespaces.contains_key(name) || is_there_always {
            continue;
        }
        report.other_namespaces_found += 1;
        if report.other_namespaces.len() < LISTED {
            report.other_namespaces.insert(name.clone(), *count);
        }
        if was_empty {
            report.differs(Difference {
                namespace: name.clone(),
                id: None,
                field: "namespace".to_owned(),
                expected: "no such namespace".to_owned(),
                found: format!("{count} records"),
                source: None,
            });
        }
    }
}
