//! A load that is verified once everything is loaded.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;
use vecload_pinecone::{Client, IndexShape};
use vecload_source::Plan;

use super::{Load, LoadError, policy};
use crate::fingerprint::InputPrint;
use crate::ledger::Ledger;
use crate::opening::{Run, winners};
use crate::run_dir::RunDir;
use crate::settings::DuplicatePolicy;
use crate::verify::{Prover, Records, Rules, Subject, VerifyReport};

/// A run that has ended, as far as a verification needs to know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran<'a> {
    pub(super) dir: &'a RunDir,
    pub(super) job_fingerprint: &'a str,
    pub(super) inputs: &'a [InputPrint],
    pub(super) ledger: &'a Ledger,
    /// When its last record was acknowledged, if that was in this process.
    pub(super) loaded: Option<Instant>,
}

impl Load {
    /// Verifies what a run loaded.
    pub(super) async fn verify(
        &self,
        client: &Client,
        shape: IndexShape,
        plan: &Arc<Plan>,
        run: Ran<'_>,
    ) -> Result<VerifyReport, LoadError> {
        let settings = &self.settings;
        let baseline = run
            .dir
            .baseline()
            .map_err(|error| LoadError::unwritten(&error))?;
        let rules = Rules {
            default_namespace: settings.namespace.clone(),
            shape,
            policy: policy(settings),
        };
        let has_stream = plan.stream().is_some();
        let subject = Subject {
            ledger: run.ledger,
            distinct: settings.duplicates != DuplicatePolicy::Any,
            baseline: baseline.as_ref(),
            records: match has_stream {
                false => Records::Source {
                    plan,
                    winners: winners(run.dir, run.ledger, run.job_fingerprint, run.inputs)?,
                },
                true => Records::Kept(run.inputs),
            },
            complete: true,
            alone: settings.is_alone(),
            loaded: run.loaded,
        };
        let prover = Prover::new(client, rules, &self.stop.0, settings, run.dir.path());
        Ok(prover.prove(subject).await)
    }

    /// Verifies a run that was complete before.
    pub(super) async fn verify_again(
        &self,
        client: &Client,
        plan: &Arc<Plan>,
        run: &Run,
    ) -> Result<VerifyReport, LoadError> {
        let mut random = StdRng::seed_from_u64(self.settings.seed);
        let stats = self
            .describe(client, &mut random)
            .await
            .map_err(|reason| LoadError::new(reason.exit_code, reason.message))?;
        let run = Ran {
            dir: &run.dir,
            job_fingerprint: &run.job_fingerprint,
            inputs: &run.inputs,
            ledger: &run.state.ledger,
            loaded: None,
        };
        self.verify(client, stats.shape, plan, run).await
    }
}
