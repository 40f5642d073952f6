//! The `vecload` command: arguments in, words and an exit code out.
//!
//! Everything that is done is done by the library; everything that is printed is printed here. The
//! exit codes are a contract (see `vecload help`), kept in one place: [`vecload::ExitCode`].

mod arguments;
mod bench;
mod check;
mod definitions;
mod flags;
mod load;
mod logging;
mod metrics;
mod next_command;
mod progress;
mod report;
mod serve;
mod signals;
mod termination;
mod verify;

use std::io::{self, Write as _};
use std::process::ExitCode;

use arguments::Command;

fn main() -> ExitCode {
    vecload::hush_decoder_panics();
    let command = match arguments::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            // Help and version are no errors; clap knows where each belongs.
            let code = if error.use_stderr() {
                vecload::ExitCode::Usage
            } else {
                vecload::ExitCode::Complete
            };
            let _ = error.print();
            return exit(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            fail(&format!("the async runtime cannot be started: {error}"));
            return exit(vecload::ExitCode::Bug);
        }
    };
    let code = match command {
        Command::Load(arguments) => runtime.block_on(load::load(*arguments)),
        Command::Check(arguments) => runtime.block_on(check::check(*arguments)),
        Command::Bench(arguments) => runtime.block_on(bench::bench(*arguments)),
        Command::Verify(arguments) => runtime.block_on(verify::verify(*arguments)),
        Command::Report(arguments) => report::report(&arguments),
        Command::Completions(shell) => definitions::completions(shell),
        Command::Man(of) => definitions::man(of.as_deref()),
        Command::Serve(arguments) => runtime.block_on(serve::serve(arguments)),
    };
    // What is left on the runtime is of no use any more.
    runtime.shutdown_background();
    exit(code)
}

fn exit(code: vecload::ExitCode) -> ExitCode {
    ExitCode::from(u8::from(code))
}

/// Prints an error: what happened and what to do.
fn fail(message: &str) {
    say(&format!("error: {message}"));
}

/// Prints a line for people.
fn say(line: &str) {
    // Nobody may be listening; that is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a document for programs.
fn print(document: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{document}");
    let _ = out.flush();
}
