//! What is made of the definitions of the command line besides the parser and its help: completions for shells and
//! man pages.

use std::io::{self, Write as _};

use clap_complete::Shell;
use vecload::ExitCode;

use crate::{arguments, fail};

/// Prints the script that completes vecload's arguments in a shell.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), "vecload", &mut script);
    put(&script)
}

/// Prints the man page of a subcommand, or of the whole command.
pub(crate) fn man(of: Option<&str>) -> ExitCode {
    let mut command = arguments::command();
    // So that subcommands know what they are called from, and have the flags that all have.
    command.build();
    let page = match of {
        None => Some(command),
        Some(name) => command.find_subcommand(name).map(|found| {
            let name = format!("vecload-{name}");
            found.clone().name(name.clone()).display_name(name)
        }),
    };
    let Some(page) = page else {
        fail(&format!(
            "there is no command `{}`; vecload --help lists them",
            of.unwrap_or_default()
        ));
        return ExitCode::Usage;
    };
    let mut roff = Vec::new();
    match clap_mangen::Man::new(page).render(&mut roff) {
        Ok(()) => put(&roff),
        Err(error) => {
            fail(&format!("the page cannot be made: {error}"));
            ExitCode::Bug
        }
    }
}

fn put(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // A pager that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("it cannot be printed: {error}"));
            ExitCode::Refused
        }
        _ => ExitCode::Complete,
    }
}
