//! The search for duplicate ids, as a part of a load and of a check.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use vecload_source::Plan;

use super::{Load, LoadError, PrescanProgress};
use crate::opening::Run;
use crate::pipeline::{self, Prescan, TimeLimit};
use crate::prescan::{
    NoVerdicts, PrescanError, Spill, Verdicts, nameless_file, scanned, scanned_bytes,
    spilled_at_most,
};
use crate::settings::DuplicatePolicy;

/// From this number of rows on it is told when most of them are superseded: a wrong column does that.
const MANY_ROWS: u64 = 1000;

impl Load {
    /// Which rows of a run are superseded: what an earlier attempt has found, or else a new search finds.
    /// `None` where it is not wanted, or the run is stopping.
    pub(super) async fn verdicts(
        &self,
        run: &Run,
        plan: &Arc<Plan>,
        time_limit: Option<TimeLimit>,
    ) -> Result<Option<Arc<Verdicts>>, LoadError> {
        let stop = &self.stop.0;
        if !self.looks_for_duplicates(plan) || stop.is_stopping() {
            return Ok(None);
        }
        let subject = run
            .subject()
            .map_err(|error| LoadError::unwritten(&error))?;
        let found = run.dir.prescan();
        let found = found.map_err(NoVerdicts::from).transpose();
        match found.map(|file| file.and_then(|file| Verdicts::open(file, subject))) {
            Some(Ok(verdicts)) => return Ok(Some(Arc::new(verdicts))),
            Some(Err(reason)) => {
                tracing::warn!(%reason, "the file of duplicate ids does not count; they are looked for again");
            }
            None => {}
        }
        let searched = async {
            let file = run.dir.new_prescan()?;
            let verdicts = self
                .search(plan, time_limit, run.dir.path(), subject, file)
                .await?;
            run.dir.keep_prescan(verdicts.file())?;
            Ok(verdicts)
        };
        match searched.await {
            Ok(verdicts) => Ok(Some(Arc::new(verdicts))),
            Err(PrescanError::Stopped) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Which rows are superseded, for a check, which keeps nothing.
    pub(super) async fn verdicts_of_check(
        &self,
        plan: &Arc<Plan>,
    ) -> Result<Option<Arc<Verdicts>>, LoadError> {
        if !self.looks_for_duplicates(plan) {
            return Ok(None);
        }
        let temporary = std::env::temp_dir();
        let scratch = self.settings.scratch_dir.as_deref().unwrap_or(&temporary);
        let file = nameless_file(scratch).map_err(PrescanError::from)?;
        let verdicts = self.search(plan, None, &temporary, 0, file).await?;
        Ok(Some(Arc::new(verdicts)))
    }

    fn looks_for_duplicates(&self, plan: &Plan) -> bool {
        self.settings.duplicates != DuplicatePolicy::Any && scanned(plan).next().is_some()
    }

    /// Looks for duplicates in all inputs that can be read twice. What memory does not hold goes to
    /// `--scratch-dir`, or else to `folder`.
    async fn search(
        &self,
        plan: &Arc<Plan>,
        time_limit: Option<TimeLimit>,
        folder: &Path,
        subject: u128,
        file: File,
    ) -> Result<Verdicts, PrescanError> {
        let spill = Spill::new(self.settings.scratch_dir.as_deref().unwrap_or(folder));
        let rows = scanned(plan).map(|split| split.rows).sum::<Option<u64>>();
        spill.expect_room(spilled_at_most(rows.unwrap_or(0)))?;
        let begun = PrescanProgress {
            of_bytes: scanned_bytes(plan),
            ..PrescanProgress::default()
        };
        self.progress
            .send_modify(|progress| progress.prescan = Some(begun));
        tracing::info!(bytes = begun.of_bytes, "duplicate ids are looked for");
        let progress = self.progress.clone();
        let found = pipeline::prescan(Prescan {
            plan: Arc::clone(plan),
            default_namespace: self.settings.namespace.as_str().into(),
            workers: self.settings.worker_count(),
            stop: Arc::clone(&self.stop.0),
            time_limit,
            spill: Arc::clone(&spill),
            subject,
            file,
            on_read: Arc::new(move |rows, bytes| {
                progress.send_modify(|progress| {
                    if let Some(prescan) = &mut progress.prescan {
                        prescan.rows += rows;
                        prescan.bytes += bytes;
                    }
                });
            }),
        });
        let found = found.await;
        let rows = self
            .progress
            .borrow()
            .prescan
            .map_or(0, |prescan| prescan.rows);
        self.progress
            .send_modify(|progress| progress.prescan = None);
        let verdicts = found?;
        let summary = verdicts.summary();
        if rows >= MANY_ROWS && summary.superseded > rows / 2 {
            tracing::warn!(
                rows,
                superseded = summary.superseded,
                "most rows have the id of a later one and are not loaded; is that the right id column? (--id-column)"
            );
        }
        tracing::info!(
            superseded = summary.superseded,
            ids = summary.ids,
            memory_bytes = spill.peak(),
            spilled_bytes = spill.spilled(),
            "duplicate ids were looked for"
        );
        Ok(verdicts)
    }
}
