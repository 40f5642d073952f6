//! A run whose directory is in a store: when what is kept there. Of others nothing is done here.

use std::sync::Arc;

use super::LoadError;
use crate::checkpoint::State;
use crate::mirror::{self, Keeper, MirrorError, Point};
use crate::run_dir::RunDir;
use crate::stop::{ExitCode, Stop};

/// Keeps the files of the run, and its state if one is given. The runtime goes on meanwhile.
pub(super) async fn save(dir: &RunDir, state: Option<&State>) -> Result<(), MirrorError> {
    let Some(mirror) = dir.mirror() else {
        return Ok(());
    };
    let point = state.map(Point::of).transpose();
    let saving = tokio::task::spawn_blocking(move || {
        let mut mirror = mirror::lock(&mirror);
        let point = point.map_err(|error| mirror.io(error))?;
        mirror.save(point.as_ref())
    });
    let saved = saving.await;
    saved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Keeps the state of the run while it goes on.
pub(super) fn keeper(dir: &RunDir, stop: &Arc<Stop>) -> Result<Option<Keeper>, LoadError> {
    let keeper = dir
        .mirror()
        .map(|mirror| Keeper::start(mirror, Arc::clone(stop)));
    keeper
        .transpose()
        .map_err(|error| LoadError::unwritten(&error))
}

/// Keeps the state that the run ended with; whether that went well. If not the run is stopped, so that it is not
/// called complete.
pub(super) async fn keep_last(dir: &RunDir, state: &State, stop: &Stop) -> bool {
    if stop
        .reason()
        .is_some_and(|reason| reason.exit_code == ExitCode::Bug)
    {
        // Books that do not balance are not to be continued from.
        return false;
    }
    let Err(error) = save(dir, Some(state)).await else {
        return true;
    };
    tracing::error!(%error, "how the run ended is not kept");
    stop.stop(error.reason());
    false
}

/// Keeps the report. Without it the run can be continued all the same.
pub(super) async fn save_report(dir: &RunDir) {
    if let Err(error) = save(dir, None).await {
        tracing::warn!(%error, "the report is not kept");
    }
}
