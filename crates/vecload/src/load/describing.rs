//! What the index is, and what it holds before the load.

use std::time::Duration;

use rand::rngs::StdRng;
use vecload_pinecone::{Client, Failure, IndexStats};

use super::{Load, LoadError};
use crate::asking::{Unanswered, ask, interrupted};
use crate::baseline::Counts;
use crate::run_dir::RunDir;
use crate::stop::{ExitCode, StopReason};

impl Load {
    /// Asks the index what it is, until it answers or the stall limit is reached.
    pub(super) async fn describe(
        &self,
        client: &Client,
        random: &mut StdRng,
    ) -> Result<IndexStats, StopReason> {
        let patience = self.patience();
        let question = |timeout| client.describe_index_stats(timeout);
        ask(patience, random, question)
            .await
            .map_err(|why| match why {
                Unanswered::Stopping => interrupted(),
                Unanswered::Refused(reason) => reason,
                Unanswered::TimedOut(failure) => unreachable_target(&failure, patience.all),
            })
    }
}

/// Keeps what the index held before the run sent anything: where it is kept already, it may have.
pub(super) fn keep_baseline(dir: &RunDir, stats: &IndexStats) -> Result<(), LoadError> {
    let kept = match dir.baseline() {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => dir.write_baseline(&Counts::of(stats)),
        Err(error) => Err(error),
    };
    kept.map_err(|error| LoadError::unwritten(&error))
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
