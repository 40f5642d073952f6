//! Why a load was not begun.

use std::io;

use vecload_source::SourceError;

use crate::opening::Refusal;
use crate::prescan::PrescanError;
use crate::settings::SettingsError;
use crate::stop::ExitCode;

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

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.to_string())
    }
}
