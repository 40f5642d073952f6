//! `vecload verify`: reaches the index of a run, verifies, and says what was found.

use std::iter;
use std::path::PathBuf;

use vecload::{ExitCode, LogFormat, Settings, Verify, VerifyReport, run_target};

use crate::arguments::VerifyArguments;
use crate::load::{Embedded, settle};
use crate::signals::Signals;
use crate::{fail, logging, print, say};

/// Variables that name a target. The run has its own, and these may be meant for another load.
const TARGETS: [&str; 5] = [
    "PINECONE_INDEX",
    "PINECONE_INDEX_HOST",
    "VECLOAD_HOST",
    "VECLOAD_INDEX",
    "VECLOAD_LOCAL",
];

/// Verifies, and says what was found.
pub(crate) async fn verify(arguments: VerifyArguments) -> ExitCode {
    let environment =
        std::env::vars().filter(|(variable, _)| !TARGETS.contains(&variable.as_str()));
    let settings = match settle(arguments.config.as_deref(), environment, &arguments.flags) {
        Ok(settings) => settings,
        Err(error) => {
            fail(&error.to_string());
            return ExitCode::Usage;
        }
    };
    logging::start(settings.log_format, arguments.verbosity);
    match run(&arguments, settings.clone()).await {
        Ok(report) => {
            tell(&report, &settings);
            report.exit_code
        }
        Err((code, message)) => {
            match settings.log_format {
                LogFormat::Text => fail(&message),
                LogFormat::Json => say(&serde_json::json!({
                    "event": "summary", "message": message, "exit_code": code,
                })
                .to_string()),
            }
            code
        }
    }
}

/// Where the index of the run is.
enum Place {
    Host(String),
    /// By its name.
    Index(String),
    Local(PathBuf),
}

/// Where the run's index is: as the flags say, and otherwise where it was loaded.
fn place(arguments: &VerifyArguments) -> Result<Place, (ExitCode, String)> {
    let given = |setting| {
        let mut flags = arguments.flags.iter();
        flags.find_map(|(name, value)| (*name == setting).then(|| value.clone()))
    };
    // Of two, the settings have been refused.
    let place = given("host")
        .map(Place::Host)
        .or_else(|| given("local").map(|dir| Place::Local(dir.into())))
        .or_else(|| given("index").map(Place::Index));
    if let Some(place) = place {
        return Ok(place);
    }
    let target = run_target(&arguments.run_dir);
    let target = target.map_err(|error| (error.exit_code, error.to_string()))?;
    Ok(match target.strip_prefix("local:") {
        Some(dir) => Place::Local(dir.into()),
        None => Place::Host(target),
    })
}

async fn run(
    arguments: &VerifyArguments,
    mut settings: Settings,
) -> Result<VerifyReport, (ExitCode, String)> {
    let mut signals =
        Signals::listen().map_err(|error| (ExitCode::Bug, format!("signals: {error}")))?;
    settings.index = None;
    let (host, embedded) = match place(arguments)? {
        Place::Host(host) => (Some(host), None),
        Place::Index(name) => {
            settings.index = Some(name);
            (None, None)
        }
        Place::Local(dir) if !dir.is_dir() => {
            let message = format!(
                "{} is not there; name the directory of the index with --local",
                dir.display()
            );
            return Err((ExitCode::Refused, message));
        }
        Place::Local(dir) => {
            let embedded = Embedded::start(&dir)
                .await
                .map_err(|message| (ExitCode::Refused, message))?;
            (Some(embedded.host.clone()), Some(embedded))
        }
    };
    settings.host = host;
    let verify = Verify::of(&arguments.run_dir).settings(settings);
    let stop = verify.stop_handle();
    let listening = tokio::spawn(async move {
        signals.next().await;
        stop.interrupt();
        std::process::exit(signals.next().await);
    });
    let outcome = verify.run().await;
    listening.abort();
    if let Some(embedded) = embedded {
        embedded.close().await?;
    }
    outcome.map_err(|error| (error.exit_code, error.to_string()))
}

/// What was found, one line each; the last one is the verdict.
pub(crate) fn words(report: &VerifyReport) -> impl Iterator<Item = String> {
    let reason = report.stop_reason.as_ref();
    let reason = reason.map(|reason| format!("error: {}", reason.message));
    let details = report.details().into_iter().chain(reason);
    details.chain(iter::once(report.summary()))
}

fn tell(report: &VerifyReport, settings: &Settings) {
    if settings.json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => print(&text),
            Err(error) => fail(&format!("what was found cannot be printed: {error}")),
        }
    }
    if settings.log_format == LogFormat::Json {
        say(&serde_json::json!({
            "event": "summary", "message": report.summary(), "exit_code": report.exit_code,
            "verdict": report.verdict, "stop_reason": report.stop_reason,
            "records_compared": report.records_compared,
            "differences_found": report.differences_found, "differences": report.differences,
        })
        .to_string());
        return;
    }
    words(report).for_each(|line| say(&line));
}
