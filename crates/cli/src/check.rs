//! `vecload check`: what a load would do.

use std::fmt::Write as _;

use vecload::{CheckReport, DuplicatePolicy, ExitCode, Load, Settings};

use crate::arguments::LoadArguments;
use crate::load::{Embedded, print_config, settings};
use crate::{fail, logging, print};

/// Checks, and says what was found.
pub(crate) async fn check(arguments: LoadArguments) -> ExitCode {
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
    let json = settings.json;
    match run(&arguments, settings).await {
        Ok(report) => tell(&report, json),
        Err((code, message)) => {
            fail(&message);
            code
        }
    }
}

async fn run(
    arguments: &LoadArguments,
    mut settings: Settings,
) -> Result<CheckReport, (ExitCode, String)> {
    let embedded = match &settings.local {
        // A directory that is not there yet has nothing to say.
        Some(dir) if dir.try_exists().unwrap_or(true) => Some(
            Embedded::start(dir)
                .await
                .map_err(|message| (ExitCode::Refused, message))?,
        ),
        _ => None,
    };
    if let Some(embedded) = &embedded {
        settings.host = Some(embedded.host.clone());
    }
    let checked = Load::builder()
        .inputs(arguments.inputs.iter().cloned())
        .with(|all| *all = settings)
        .check(arguments.full)
        .await;
    if let Some(embedded) = embedded {
        embedded.close().await?;
    }
    checked.map_err(|error| (error.exit_code, error.to_string()))
}

fn tell(report: &CheckReport, json: bool) -> ExitCode {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => print(&text),
            Err(error) => {
                fail(&format!("the report cannot be printed: {error}"));
                return ExitCode::Bug;
            }
        }
    } else {
        print(text(report).trim_end());
    }
    if report.rejected() == 0 {
        ExitCode::Complete
    } else {
        ExitCode::SomeRejected
    }
}

/// The report for people, a line for each thing.
fn text(report: &CheckReport) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(report, &mut out);
    out
}

fn write_text(report: &CheckReport, out: &mut String) -> std::fmt::Result {
    let rows =
        |rows: Option<u64>| rows.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
    let bytes: u64 = report.inputs.iter().map(|input| input.bytes).sum();
    let left_out = match report.rows_filtered {
        0 => String::new(),
        rows => format!(", {rows} more left out by --limit"),
    };
    writeln!(
        out,
        "inputs      {} files, {}, {} rows, {} of them checked{left_out}",
        report.inputs.len(),
        size(bytes),
        rows(report.rows),
        report.rows_checked,
    )?;
    if let Some(index) = &report.index_made {
        writeln!(out, "index       would be made: {index}")?;
    }
    let mut mappings: Vec<&str> = Vec::new();
    for input in &report.inputs {
        if !mappings.contains(&input.mapping.as_str()) {
            mappings.push(&input.mapping);
            writeln!(out, "mapping     {} ({})", input.mapping, input.path)?;
        }
    }
    if !report.ignored_directories.is_empty() {
        writeln!(out, "directories {}", ignored(&report.ignored_directories))?;
    }
    writeln!(out, "namespaces  {}", report.namespaces)?;
    for (name, seen) in report.largest_namespaces.iter().take(5) {
        writeln!(out, "            {name}: {seen} rows seen")?;
    }
    if report.rejects.is_empty() {
        writeln!(out, "rejects     none")?;
    }
    for (reason, rejected) in &report.rejects {
        writeln!(out, "rejects     {reason}: {}", rejected.count)?;
        for example in &rejected.examples {
            writeln!(out, "            {example}")?;
        }
    }
    write_duplicates(report, out)?;
    for (field, actions) in &report.metadata_changes {
        for (action, times) in actions {
            writeln!(out, "metadata    field {field}: {action} {times} times")?;
        }
    }
    let estimate = &report.estimate;
    writeln!(
        out,
        "load        {} records in {} requests ({:.0} records each), {}",
        estimate.records,
        estimate.requests,
        estimate.records_per_request,
        size(estimate.bytes),
    )?;
    writeln!(
        out,
        "time        {} at the ceilings, {} over an uplink of 100 Mbit/s",
        time(estimate.seconds_at_ceilings),
        time(estimate.seconds_at_100_mbit),
    )?;
    writeln!(
        out,
        "memory      {} at most",
        size(estimate.memory_bound_bytes)
    )?;
    writeln!(
        out,
        "cost        {} to {} write units (all new, all overwritten): ${:.2} to ${:.2}",
        estimate.write_units_min,
        estimate.write_units_max,
        estimate.cost_usd_min,
        estimate.cost_usd_max,
    )?;
    let import = &report.import;
    writeln!(
        out,
        "import      Pinecone's bulk import: {}, ${:.2}; {}",
        if import.possible {
            "possible"
        } else {
            "not possible"
        },
        import.cost_usd,
        import.reasons.join("; "),
    )
}

/// Says what became of directories that look like namespaces.
pub(crate) fn ignored(directories: &[String]) -> String {
    const NAMED: usize = 5;
    let named = directories[..directories.len().min(NAMED)].join(", ");
    let more = match directories.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{named}{more}: not taken for namespaces; --namespace-from-dir does that")
}

fn write_duplicates(report: &CheckReport, out: &mut String) -> std::fmt::Result {
    if report.duplicates == DuplicatePolicy::Any {
        return writeln!(out, "duplicates  not looked for");
    }
    let first = size(report.prescan_bytes);
    let Some(superseded) = report.records_superseded else {
        let what = "looked for by --full and by a load";
        return writeln!(out, "duplicates  {what}, which reads {first} for it first");
    };
    let rejected = report.rejects.get("duplicate_id");
    let found = superseded + rejected.map_or(0, |rejected| rejected.count);
    writeln!(
        out,
        "duplicates  {found} rows have the id of a later one; a load reads {first} first to find them"
    )?;
    match report.ids_without_version {
        Some(ids @ 1..) => writeln!(
            out,
            "            {ids} ids are not loaded at all, for the last of their rows is rejected"
        ),
        _ => Ok(()),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.1} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}
