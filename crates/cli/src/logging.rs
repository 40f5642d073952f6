//! Log lines on stderr, for people or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use vecload::LogFormat;

use crate::arguments::Verbosity;

/// Sends log lines to stderr. `RUST_LOG` overrules the verbosity.
pub(crate) fn start(format: LogFormat, Verbosity(verbosity): Verbosity) {
    let default = match verbosity {
        ..0 => "error",
        0 => "warn,vecload=warn",
        1 => "warn,vecload=info,vecload_local_index=info",
        _ => {
            "info,vecload=debug,vecload_pinecone=debug,vecload_source=debug,vecload_local_index=debug"
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only where the program has logging already; then that one is as good.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        // Each line has the run that it is of under `span`.
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
}
