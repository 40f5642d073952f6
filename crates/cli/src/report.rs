//! `vecload report`: says how runs stand.

use jiff::Timestamp;
use vecload::{ExitCode, Overview};

use crate::arguments::ReportArguments;
use crate::{fail, print, say};

/// Says how the runs stand. The last line is the verdict.
pub(crate) fn report(arguments: &ReportArguments) -> ExitCode {
    let overview = match Overview::of(&arguments.run_dirs) {
        Ok(overview) => overview,
        Err(error) => {
            fail(&error.to_string());
            return error.exit_code;
        }
    };
    if arguments.json {
        match serde_json::to_string_pretty(&overview) {
            Ok(text) => print(&text),
            Err(error) => fail(&format!("the report cannot be printed: {error}")),
        }
    }
    let now = Timestamp::now();
    for run in &overview.runs {
        say(&run.line(now));
    }
    say(&overview.traffic());
    for (reason, count) in &overview.rejected_by_reason {
        say(&format!("rejected {count}: {reason}"));
    }
    for run in &overview.runs {
        if let Some(file) = &run.rejected_file {
            say(&format!("rejected records: {file}"));
        }
    }
    for problem in &overview.problems {
        say(&format!("not complete: {problem}"));
    }
    say(&overview.summary());
    overview.exit_code
}
