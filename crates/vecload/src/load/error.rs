//! Why a load was not begun.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use vecload_source::{Plan, SourceError};

use crate::mirror::MirrorError;
use crate::opening::{Refusal, Run};
use crate::pipeline::Finished;
use crate::prescan::PrescanError;
use crate::report::{Header, Report};
use crate::settings::SettingsError;
use crate::stop::{ExitCode, StopReason};
use crate::traffic::TrafficCounts;

/// A load that was not begun: nothing was sent.
#[derive(Debug)]
pub struct LoadError {
    /// What the command exits with.
    pub exit_code: ExitCode,
    message: String,
}

// === impl LoadError ===

impl LoadError {
    pub(crate) fn new(exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit_code,
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Refused, message)
    }

    pub(crate) fn unwritten(error: &io::Error) -> Self {
        Self::refused(error.to_string())
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

impl From<SettingsError> for LoadError {
    fn from(error: SettingsError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<PrescanError> for LoadError {
    fn from(error: PrescanError) -> Self {
        match error {
            PrescanError::Stopped => Self::new(ExitCode::Interrupted, "interrupted"),
            error => Self::refused(error.to_string()),
        }
    }
}

impl From<MirrorError> for LoadError {
    fn from(error: MirrorError) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.to_string())
    }
}

/// The error of a load that is refused before anything is sent. Of a run that was begun for it nothing is
/// left; one that was to be continued is as it was, and its report says why it was not.
pub(super) fn give_up(
    run: Run,
    error: LoadError,
    header: &Header,
    plan: &Plan,
    places: &[PathBuf],
) -> LoadError {
    let left = if run.is_new {
        run.dir.discard()
    } else {
        let finished = Finished {
            state: run.state,
            closed_namespaces: Vec::new(),
            final_rate: None,
        };
        let reason = StopReason::new("refused", error.exit_code, error.to_string());
        let (none, took) = (TrafficCounts::default(), Duration::ZERO);
        let written =
            Report::finished(header, plan, &finished, none, took, Some(&reason)).write(places);
        written.and_then(|()| run.dir.save(None).map_err(io::Error::other))
    };
    match left {
        Ok(()) => error,
        Err(error) => LoadError::unwritten(&error),
    }
}
