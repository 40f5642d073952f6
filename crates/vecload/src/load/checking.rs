//! A load that is only checked.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vecload_pinecone::IndexShape;

use super::target::Way;
use super::{Load, LoadError, limits, memory_bound, policy, shape};
use crate::check::{Ceilings, CheckReport, Rules, check};
use crate::stop::ExitCode;

impl Load {
    pub(super) async fn check(self, full: bool) -> Result<CheckReport, LoadError> {
        let settings = &self.settings;
        settings.check()?;
        let is_named = settings.host.is_some() || settings.index.is_some();
        let way = is_named.then(|| Way::of(settings)).transpose()?;
        let plan = self.plan().await?;
        self.expect_rows(&plan)?;
        let mut random = StdRng::seed_from_u64(settings.seed);
        let (index, made) = match way {
            None => (IndexShape::default(), None),
            Some(Way::Name(finder)) => self.shape_by_name(&finder, &plan, &mut random).await?,
            Some(Way::Host(client)) => {
                let described = self.describe(&client, &mut random).await;
                let described =
                    described.map_err(|reason| LoadError::new(reason.exit_code, reason.message))?;
                (described.shape, None)
            }
        };
        let rules = Rules {
            shape: shape::fit(index, &plan, settings, &self.index_words())?,
            limits: limits(settings),
            policy: policy(settings),
            duplicates: settings.duplicates,
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
        let plan = Arc::new(plan);
        let verdicts = match full {
            true => self.verdicts_of_check(&plan).await?,
            false => None,
        };
        let (namespace, workers) = (settings.namespace.clone(), settings.worker_count());
        let checked = tokio::task::spawn_blocking(move || {
            let verdicts = verdicts.as_ref();
            check(
                &rules, &plan, &namespace, full, verdicts, workers, &ceilings,
            )
        })
        .await
        .map_err(|error| LoadError::new(ExitCode::Bug, format!("the check panicked: {error}")))?
        .map_err(LoadError::from)?;
        Ok(CheckReport {
            index_made: made.map(|index| index.to_string()),
            ..checked
        })
    }
}
