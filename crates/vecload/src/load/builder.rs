//! Sets up a load.

use std::path::PathBuf;

use tokio::sync::watch;

use super::notice::{Listener, Notice};
use super::{LoadBuilder, LoadError, Progress, StopHandle};
use crate::check::CheckReport;
use crate::opening::{Commands, NextCommand};
use crate::report::Report;
use crate::settings::Settings;

impl LoadBuilder {
    /// Adds an input: a file or a directory.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.0.inputs.push(input.into());
        self
    }

    /// Adds inputs.
    pub fn inputs<I: Into<String>>(mut self, inputs: impl IntoIterator<Item = I>) -> Self {
        self.0.inputs.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// Sets the index's host. `http://` in front of it means plaintext.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.0.settings.host = Some(host.into());
        self
    }

    /// Sets the name of the index, whose host the control plane knows. Give it or a host.
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.0.settings.index = Some(name.into());
        self
    }

    /// Sets the namespace of records that name none.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.0.settings.namespace = namespace.into();
        self
    }

    /// Sets the directory of the run. Where it has an unfinished run of the same job that run is
    /// continued.
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.settings.run_dir = Some(path.into());
        self
    }

    /// Sets the name of the target in reports, where it is not the host.
    pub fn target_name(mut self, name: impl Into<String>) -> Self {
        self.0.target_name = Some(name.into());
        self
    }

    /// Sets how the next command is written in the report and in messages. Only the caller knows it.
    pub fn commands(
        mut self,
        make: impl Fn(NextCommand<'_>) -> String + Send + Sync + 'static,
    ) -> Self {
        self.0.commands = Commands::new(make);
        self
    }

    /// Sets who is told what the load has to say before it reads its inputs.
    pub fn notices(mut self, hear: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.0.notices = Listener::new(hear);
        self
    }

    /// Replaces all settings. Call it before the other methods that set one.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.0.settings = settings;
        self
    }

    /// Changes any settings.
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.0.settings);
        self
    }

    /// The way to stop the load from outside.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.0.stop.clone()
    }

    /// Follows the load's progress.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Says what the load would do, without sending anything: from the first rows of each input, or
    /// from all of them.
    ///
    /// # Errors
    ///
    /// As [`LoadBuilder::run`]; with a host also what kept it from answering.
    pub async fn check(self, full: bool) -> Result<CheckReport, LoadError> {
        self.0.check(full).await
    }

    /// Runs the load to its end, on the current tokio runtime (multi-threaded or not: CPU work has
    /// threads of its own).
    ///
    /// # Errors
    ///
    /// The load was not begun: wrong settings, unreadable inputs, an index that does not fit. Once
    /// it has begun there is always a report, which says how it ended.
    pub async fn run(self) -> Result<Report, LoadError> {
        self.0.run().await
    }
}
