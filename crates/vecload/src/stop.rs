//! Why a run ends before all is loaded, and what that means to whoever started it.
//!
//! The first reason counts. Stopping means that nothing new is read or sent; requests that are under
//! way may still be answered, and their answers are booked.

use std::sync::OnceLock;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// The exit codes of the command (a contract: schedulers depend on them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
#[repr(u8)]
pub enum ExitCode {
    /// Every record is acknowledged or superseded.
    Complete = 0,
    /// Finished; some records are rejected, within the limit that was set.
    SomeRejected = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Refused before anything was sent; or a stream that is not the one that the run was begun with.
    Refused = 3,
    /// Stopped or finished short, or not one record could be loaded.
    Short = 4,
    /// Stopped by the service.
    Service = 5,
    /// Interrupted or an outage; the run can be continued.
    Interrupted = 6,
    /// Verification found differences.
    Differs = 7,
    /// Verification could not finish in time.
    Unverified = 8,
    /// A bug in vecload.
    Bug = 70,
}

/// What ended a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StopReason {
    /// A short name: `signal`, `max_duration`, `outage`, `too_many_rejects`, `service`, `exhausted`, `namespace`,
    /// `unreadable`, `nothing_loaded`, `all_refused`, `changed_input`, `refused`, `committer`, `run_dir`, `bug`.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
    /// The service's id of the request that it ended with.
    pub request_id: Option<String>,
    /// What the command exits with.
    #[serde(skip)]
    pub exit_code: ExitCode,
}

/// The one way to stop a run.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    reason: OnceLock<StopReason>,
}

// === impl ExitCode ===

impl ExitCode {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Complete,
        Self::SomeRejected,
        Self::Usage,
        Self::Refused,
        Self::Short,
        Self::Service,
        Self::Interrupted,
        Self::Differs,
        Self::Unverified,
        Self::Bug,
    ];
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code as Self
    }
}

// === impl StopReason ===

impl StopReason {
    /// A reason without a request.
    pub(crate) fn new(code: &'static str, exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            request_id: None,
            exit_code,
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Stops the run, unless it is stopping already.
    pub(crate) fn stop(&self, reason: StopReason) {
        if self.reason.set(reason).is_ok() {
            self.token.cancel();
        }
    }

    /// Waits until the run is stopped.
    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Whether the run is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why, if it is.
    pub(crate) fn reason(&self) -> Option<&StopReason> {
        self.reason.get()
    }
}
