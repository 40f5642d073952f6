//! `vecload load`: settings, the embedded index where one is wanted, the load, the words at its end.

use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vecload::{ExitCode, Layers, Load, LogFormat, Notice, Report, Settings, SettingsError};
use vecload_local_index::{LocalIndex, Options};

use crate::arguments::LoadArguments;
use crate::check::ignored;
use crate::metrics::Exposition;
use crate::next_command::next_command;
use crate::signals::Signals;
use crate::{fail, logging, print, progress, say, termination, verify};

/// Loads, and says how it went.
pub(crate) async fn load(arguments: LoadArguments) -> ExitCode {
    let settings = match settings(&arguments) {
        Ok(settings) => settings,
        Err(error) => {
            fail(&error.to_string());
            return ExitCode::Usage;
        }
    };
    if arguments.print_config {
        return print_config(&settings);
    }
    logging::start(settings.log_format, arguments.verbosity);
    let mut exposition = None;
    let outcome = match Exposition::start(&settings).await {
        Ok(started) => {
            exposition = started;
            run(&arguments, settings.clone(), exposition.as_mut()).await
        }
        Err(refused) => Err(refused),
    };
    let code = match &outcome {
        Ok(report) => report.exit_code,
        Err((code, _)) => *code,
    };
    if let Some(exposition) = exposition {
        exposition.end(code).await;
    }
    if let Some(path) = &settings.termination_message {
        termination::leave(path, &outcome);
    }
    match outcome {
        Ok(report) => tell(&report, &settings),
        Err((_, message)) => refuse(&message, code, settings.log_format),
    }
    code
}

/// Says why nothing was loaded, in the last line.
fn refuse(message: &str, code: ExitCode, format: LogFormat) {
    if format == LogFormat::Text {
        return fail(message);
    }
    let summary = serde_json::json!({
        "event": "summary", "message": message, "exit_code": code,
        "loaded": 0, "rejected": 0, "remaining": 0, "superseded": 0,
    });
    say(&summary.to_string());
}

pub(crate) fn settings(arguments: &LoadArguments) -> Result<Settings, SettingsError> {
    let config = arguments.config.as_deref();
    settle(config, std::env::vars(), &arguments.flags)
}

/// The settings of a file, the environment and flags.
pub(crate) fn settle(
    config: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(&'static str, String)],
) -> Result<Settings, SettingsError> {
    let mut layers = Layers::default();
    if let Some(config) = config {
        layers = layers.file(config)?;
    }
    layers = layers.environment(environment);
    for (setting, value) in flags {
        layers = layers.flag(setting, value);
    }
    layers.settle()
}

pub(crate) fn print_config(settings: &Settings) -> ExitCode {
    match toml::to_string(settings) {
        Ok(text) => {
            print(text.trim_end());
            ExitCode::Complete
        }
        Err(error) => {
            fail(&format!("the settings cannot be printed: {error}"));
            ExitCode::Bug
        }
    }
}

async fn run(
    arguments: &LoadArguments,
    mut settings: Settings,
    exposition: Option<&mut Exposition>,
) -> Result<Report, (ExitCode, String)> {
    let mut signals =
        Signals::listen().map_err(|error| (ExitCode::Bug, format!("signals: {error}")))?;
    let mut builder = Load::builder().inputs(arguments.inputs.iter().cloned());
    let embedded = match Embedded::of(&mut settings).await? {
        None => None,
        Some((embedded, name)) => {
            builder = builder.target_name(name);
            Some(embedded)
        }
    };
    let progress_settings = settings.clone();
    let typed: Vec<String> = std::env::args().collect();
    let format = settings.log_format;
    let mut builder = builder
        .with(|all| *all = settings)
        .commands(move |next| next_command(&typed, next));
    if !arguments.verbosity.is_quiet() {
        builder = builder.notices(move |notice| say(&words(notice, format)));
    }
    let stop = builder.stop_handle();
    if let Some(exposition) = exposition {
        exposition.follow(builder.progress());
    }
    let showing = tokio::spawn({
        let (watch, verbosity) = (builder.progress(), arguments.verbosity);
        async move { progress::show(&progress_settings, verbosity, watch).await }
    });
    let listening = tokio::spawn(async move {
        signals.next().await;
        say(&stopping(format));
        stop.interrupt();
        std::process::exit(signals.next().await);
    });
    let outcome = builder.run().await;
    showing.abort();
    // Wait until the bar is off the terminal.
    let _ = showing.await;
    listening.abort();
    if let Some(embedded) = embedded {
        embedded.close().await?;
    }
    outcome.map_err(|error| (error.exit_code, error.to_string()))
}

/// What the load says of its inputs, on one line.
fn words(notice: &Notice, format: LogFormat) -> String {
    let json = format == LogFormat::Json;
    match notice {
        Notice::Mapping {
            mapping,
            input,
            inputs,
        } if json => serde_json::json!({
            "event": "mapping", "mapping": mapping, "input": input, "inputs": inputs,
        })
        .to_string(),
        Notice::Mapping {
            mapping,
            input,
            inputs,
        } => match inputs - 1 {
            0 => format!("mapping: {mapping} ({input})"),
            more => format!("mapping: {mapping} ({input} and {more} more)"),
        },
        Notice::IndexMade { name, index } if json => serde_json::json!({
            "event": "index_made", "name": name, "index": index,
        })
        .to_string(),
        Notice::IndexMade { name, index } => format!("index {name}: made ({index})"),
        Notice::IgnoredDirectories(names) if json => serde_json::json!({
            "event": "ignored_directories", "directories": names, "message": ignored(names),
        })
        .to_string(),
        Notice::IgnoredDirectories(names) => format!("directories: {}", ignored(names)),
        // The library may learn to say more than this command knows words for.
        _ => format!("{notice:?}"),
    }
}

/// What is said when the first signal comes.
fn stopping(format: LogFormat) -> String {
    let message = "requests under way are finished; a second signal ends at once";
    match format {
        LogFormat::Text => format!("stopping: {message}"),
        LogFormat::Json => serde_json::json!({"event": "stopping", "message": message}).to_string(),
    }
}

/// Says how a load went. The last line is the summary; scripts depend on it.
fn tell(report: &Report, settings: &Settings) {
    if settings.json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => print(&text),
            Err(error) => fail(&format!("the report cannot be printed: {error}")),
        }
    }
    if settings.log_format == LogFormat::Json {
        say(&serde_json::json!({
            "event": "summary", "message": report.summary(), "run_id": report.run_id,
            "exit_code": report.exit_code, "stop_reason": report.stop_reason,
            "loaded": report.records_loaded, "rejected": report.records_rejected,
            "remaining": report.records_remaining, "superseded": report.records_superseded,
            "rejected_file": report.rejected_file, "resume_command": report.resume_command,
            "verify": report.verify,
        })
        .to_string());
        return;
    }
    if let Some(reason) = &report.stop_reason {
        fail(&reason.message);
    }
    for (reason, count) in &report.rejected_by_reason {
        say(&format!("rejected {count}: {reason}"));
    }
    if let Some(file) = &report.rejected_file {
        say(&format!("rejected records: {file}"));
    }
    if report.ids_without_version > 0 {
        say(&format!(
            "ids of which no record is loaded, for the last one was rejected: {}",
            report.ids_without_version
        ));
    }
    for (field, actions) in &report.metadata_changes {
        for (action, times) in actions {
            say(&format!("metadata field {field}: {action} {times} times"));
        }
    }
    if let Some(command) = &report.resume_command {
        say(&format!("to continue: {command}"));
    }
    if let Some(found) = &report.verify {
        verify::words(found).for_each(|line| say(&line));
    }
    say(&report.summary());
}

/// An index in this process, for as long as the load takes.
pub(crate) struct Embedded {
    pub(crate) host: String,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Embedded {
    /// The index that the settings ask for, if they do, and its name in reports. Its address becomes the
    /// host.
    pub(crate) async fn of(
        settings: &mut Settings,
    ) -> Result<Option<(Self, String)>, (ExitCode, String)> {
        let Some(dir) = settings.local.clone() else {
            return Ok(None);
        };
        let embedded = Self::start(&dir)
            .await
            .map_err(|message| (ExitCode::Refused, message))?;
        settings.host = Some(embedded.host.clone());
        Ok(Some((embedded, format!("local:{}", dir.display()))))
    }

    pub(crate) async fn start(dir: &Path) -> Result<Self, String> {
        let index = LocalIndex::open(Options {
            data_dir: Some(PathBuf::from(dir)),
            audit: false,
            ..Options::default()
        })
        .map_err(|error| error.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| format!("the local index gets no port: {error}"))?;
        let address = listener
            .local_addr()
            .map_err(|error| format!("the local index has no address: {error}"))?;
        let (shutdown, ended) = oneshot::channel();
        let serving = tokio::spawn(async move {
            index
                .serve(listener, async {
                    // Dropped or sent, it means the same.
                    let _ = ended.await;
                })
                .await
        });
        Ok(Self {
            host: format!("http://{address}"),
            shutdown,
            serving,
        })
    }

    /// Ends the index in good order: what it acknowledged is on disk already.
    pub(crate) async fn close(self) -> Result<(), (ExitCode, String)> {
        drop(self.shutdown);
        match self.serving.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err((ExitCode::Refused, format!("the local index: {error}"))),
            Err(error) => Err((ExitCode::Bug, format!("the local index: {error}"))),
        }
    }
}
