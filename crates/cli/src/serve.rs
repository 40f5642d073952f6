//! `vecload serve`: the local index as a server of its own.

use std::path::Path;

use tokio::net::TcpListener;
use vecload::{ExitCode, LogFormat};
use vecload_local_index::{Faults, LocalService, Options, ScenarioFile};

use crate::arguments::ServeArguments;
use crate::signals::Signals;
use crate::{fail, logging, print};

/// Serves until a signal comes.
pub(crate) async fn serve(arguments: ServeArguments) -> ExitCode {
    logging::start(LogFormat::Text, arguments.verbosity);
    match try_serve(arguments).await {
        Ok(()) => ExitCode::Complete,
        Err((code, message)) => {
            fail(&message);
            code
        }
    }
}

async fn try_serve(arguments: ServeArguments) -> Result<(), (ExitCode, String)> {
    let wrong = |message| (ExitCode::Usage, message);
    let faults: Faults = match &arguments.faults {
        None => Faults::default(),
        Some(path) => toml::from_str(&read(path).map_err(wrong)?).map_err(wrong_toml(path))?,
    };
    let conditions = match &arguments.scenario {
        None => None,
        Some(path) => {
            let file: ScenarioFile =
                toml::from_str(&read(path).map_err(wrong)?).map_err(wrong_toml(path))?;
            Some(file.server)
        }
    };
    let api_key = match &arguments.api_key_file {
        None => None,
        Some(path) => Some(read(path).map_err(wrong)?.trim().to_owned()),
    };
    let refused = |error: &dyn std::fmt::Display| (ExitCode::Refused, error.to_string());
    let service = LocalService::open(Options {
        data_dir: arguments.data_dir,
        discard: arguments.discard,
        faults,
        conditions,
        api_key,
        dimension: arguments.dimension,
        metric: arguments.metric,
        indexing_delay: arguments.indexing_delay,
        initializing_for: arguments.initializing_for,
        // Nobody could ask for it from outside the process.
        audit: false,
        ..Options::default()
    })
    .map_err(|error| refused(&error))?;
    let mut signals = Signals::listen().map_err(|error| refused(&error))?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port))
        .await
        .map_err(|error| refused(&format!("port {}: {error}", arguments.port)))?;
    let address = listener.local_addr().map_err(|error| refused(&error))?;
    print(&format!("{{\"host\":\"{address}\"}}"));
    let shutdown = async move {
        signals.next().await;
        // A second signal does not wait for open connections.
        tokio::spawn(async move { std::process::exit(signals.next().await) });
    };
    service
        .serve(listener, shutdown)
        .await
        .map_err(|error| refused(&error))
}

fn wrong_toml(path: &Path) -> impl Fn(toml::de::Error) -> (ExitCode, String) {
    move |error| (ExitCode::Usage, format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
