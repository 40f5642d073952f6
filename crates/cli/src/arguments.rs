//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use clap_complete::Shell;

use vecload::Span;
use vecload_local_index::Metric;

use crate::bench::arguments as bench;
use crate::bench::arguments::BenchArguments;
use crate::flags;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Load(Box<LoadArguments>),
    Check(Box<LoadArguments>),
    Verify(Box<VerifyArguments>),
    Bench(Box<BenchArguments>),
    Report(ReportArguments),
    Serve(ServeArguments),
    /// The script for that shell.
    Completions(Shell),
    /// The page of that subcommand, or of the whole command.
    Man(Option<String>),
}

/// The arguments of `vecload report`.
#[derive(Debug)]
pub(crate) struct ReportArguments {
    pub(crate) run_dirs: Vec<PathBuf>,
    pub(crate) json: bool,
}

/// The arguments of `vecload verify`.
#[derive(Debug)]
pub(crate) struct VerifyArguments {
    pub(crate) run_dir: PathBuf,
    pub(crate) config: Option<PathBuf>,
    /// Settings given as flags, as text.
    pub(crate) flags: Vec<(&'static str, String)>,
    pub(crate) verbosity: Verbosity,
}

/// The arguments of `vecload load`.
#[derive(Debug)]
pub(crate) struct LoadArguments {
    pub(crate) inputs: Vec<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) print_config: bool,
    /// Whether a check looks at all rows.
    pub(crate) full: bool,
    /// Settings given as flags, as text.
    pub(crate) flags: Vec<(&'static str, String)>,
    pub(crate) verbosity: Verbosity,
}

/// The arguments of `vecload serve`.
#[derive(Debug)]
pub(crate) struct ServeArguments {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) port: u16,
    pub(crate) discard: bool,
    pub(crate) dimension: Option<u32>,
    pub(crate) metric: Option<Metric>,
    pub(crate) indexing_delay: Duration,
    pub(crate) initializing_for: Duration,
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) faults: Option<PathBuf>,
    pub(crate) scenario: Option<PathBuf>,
    pub(crate) verbosity: Verbosity,
}

/// How much is said: the number of `-v` less the number of `-q`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verbosity(pub(crate) i16);

impl Verbosity {
    /// Whether only errors and the summary are said.
    pub(crate) fn is_quiet(self) -> bool {
        self.0 < 0
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every record is acknowledged or superseded
  1    finished; some records are rejected, within --max-rejects
  2    wrong usage or configuration
  3    refused before anything was sent: unreadable input, no records, dimension mismatch,
       a run directory that is in use or has another job, an input that has changed
  4    stopped or finished short: too many rejects, an input that became unreadable,
       not one record that could be loaded
  5    stopped by the service: key, quota, index not found
  6    interrupted, an outage or --max-duration; the same command continues
  7    verified, and the index differs from what was loaded
  8    verification could not finish within --verify-timeout
  70   a bug in vecload

PINECONE_API_KEY and every setting as VECLOAD_<NAME> are read from the environment.
A flag wins over the environment, that over --config FILE, that over the default.";

const VERIFY_EXIT_CODES: &str = "\
Exit codes:
  0    the index holds what was loaded, as far as was looked
  2    wrong usage or configuration
  3    refused: no such run, one that is in use, inputs that have changed
  5    stopped by the service: key, quota, index not found
  6    interrupted
  7    the index differs from what was loaded
  8    it could not be known within --verify-timeout
  70   a bug in vecload";

const REPORT_EXIT_CODES: &str = "\
Exit codes:
  0    everything arrived: all shards are complete, and the books of each input add up
  1    the same, but some records are rejected
  2    wrong usage
  3    no such run, or shards that are not of one load and the same inputs
  4, 5 a run stopped so, and a new attempt alone does not mend it
  6    a run goes on, was interrupted or is missing; its command continues it
  7, 8 a run was verified with that outcome";

/// Parses the command line.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("load", matches)) if matches.get_flag("dry_run") => {
            Command::Check(Box::new(load_arguments(matches)))
        }
        Some(("load", matches)) => Command::Load(Box::new(load_arguments(matches))),
        Some(("check", matches)) => Command::Check(Box::new(load_arguments(matches))),
        Some(("verify", matches)) => Command::Verify(Box::new(verify_arguments(matches))),
        Some(("report", matches)) => Command::Report(report_arguments(matches)),
        Some(("completions", matches)) => {
            let shell = matches.get_one::<Shell>("shell").copied();
            Command::Completions(shell.unwrap_or(Shell::Bash))
        }
        Some(("man", matches)) => Command::Man(matches.get_one::<String>("page").cloned()),
        Some(("bench", matches)) => Command::Bench(Box::new(bench::parsed(matches))),
        Some(("serve", matches)) => Command::Serve(serve_arguments(matches)),
        _ => unreachable!("clap requires one of the subcommands"),
    })
}

/// The whole command line, for parsing and for help.
pub(crate) fn command() -> clap::Command {
    clap::Command::new("vecload")
        .about("Loads vector corpora (Parquet, JSONL) into Pinecone without losing a record")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .subcommand(load())
        .subcommand(check())
        .subcommand(bench::command())
        .subcommand(verify())
        .subcommand(report())
        .subcommand(serve())
        .subcommand(completions())
        .subcommand(man())
}

fn load() -> clap::Command {
    let command = clap::Command::new("load")
        .about("Load files into an index")
        .after_help(EXIT_CODES)
        .arg(
            Arg::new("dry_run")
                .long("dry-run")
                .help("Only check, as `vecload check` does")
                .action(ArgAction::SetTrue),
        );
    with_settings(command)
}

fn check() -> clap::Command {
    let command = clap::Command::new("check")
        .about("Say what a load would do: mapping, rejects, requests, time, cost")
        .long_about(
            "Say what a load would do: mapping, rejects, requests, time, cost.\n\n\
             Looks at the footers and at the first 10,000 rows of each file. It sends nothing; with a \
             target it asks the index for its dimension. Exits with 1 where it finds records that would be \
             rejected.",
        );
    with_settings(command)
}

fn verify() -> clap::Command {
    let command = clap::Command::new("verify")
        .about("Prove that the index holds what a run loaded")
        .long_about(
            "Prove that the index holds what a run loaded.\n\n\
             Waits until the last writes of the run are indexed, holds the number of records against what was \
             there before, reads a sample of the loaded rows again from the inputs and compares ids, vectors (by \
             their bits), sparse values and metadata with what the index returns. It writes nothing to the index. \
             What it found is added to the run's report.",
        )
        .after_help(VERIFY_EXIT_CODES)
        .arg(
            Arg::new("verified_run")
                .value_name("RUN_DIR")
                .help("The directory of the run")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        );
    flags::add_for_verify(with_words(command)).arg(config())
}

fn completions() -> clap::Command {
    clap::Command::new("completions")
        .about("Print a completion script for a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .help("The shell that is to read it")
                .required(true)
                .value_parser(value_parser!(Shell)),
        )
}

fn man() -> clap::Command {
    clap::Command::new("man")
        .about("Print a man page, as roff")
        .arg(
            Arg::new("page")
                .value_name("COMMAND")
                .help("Of which subcommand; without it, of vecload itself"),
        )
}

fn report() -> clap::Command {
    clap::Command::new("report")
        .about("Say how runs stand, and whether a load in shards arrived whole")
        .long_about(
            "Say how runs stand, and whether a load in shards arrived whole.\n\n\
             Adds up the books of all runs that it is given. It only reads, also while the runs go on. Shards count as \
             one corpus where they are of one load, found the same inputs, divide them in the same way, and none is \
             missing.",
        )
        .after_help(REPORT_EXIT_CODES)
        .arg(
            Arg::new("reported_runs")
                .value_name("DIR")
                .help("Directories of runs, or of several runs: the --run-dir of a load in shards")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .help("Print the report as JSON on stdout")
                .action(ArgAction::SetTrue),
        )
}

fn config() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Settings in TOML; config/reference.toml has them all")
        .value_parser(value_parser!(PathBuf))
        .help_heading("Settings")
}

/// The inputs, the flags of all settings, and how much is checked.
fn with_settings(command: clap::Command) -> clap::Command {
    with_loading(command).arg(
        Arg::new("full")
            .long("full")
            .help("Check all rows, not only the first ones of each file")
            .action(ArgAction::SetTrue),
    )
}

/// The inputs, and the flags of all settings.
pub(crate) fn with_loading(command: clap::Command) -> clap::Command {
    let command = command.arg(
        Arg::new("inputs")
            .value_name("INPUT")
            .help("Files, directories, globs, s3:// gs:// az:// https:// URLs, or - for stdin (Parquet, JSONL)")
            .num_args(0..),
    );
    flags::add(with_words(command)).arg(config()).arg(
        Arg::new("print_config")
            .long("print-config")
            .help("Print the settings in force, without secrets, and exit")
            .action(ArgAction::SetTrue)
            .help_heading("Settings"),
    )
}

fn serve() -> clap::Command {
    with_words(
        clap::Command::new("serve")
            .about("Serve an embedded, Pinecone-compatible index on this machine")
            .long_about(
                "Serve an embedded, Pinecone-compatible index on this machine.\n\n\
                 Prints {\"host\":\"127.0.0.1:PORT\"} on stdout when it is ready, and runs until it is \
                 interrupted.",
            )
            .arg(
                Arg::new("data_dir")
                    .long("data-dir")
                    .value_name("DIR")
                    .help("Where the index is kept; without it, it is gone at the end")
                    .value_parser(value_parser!(PathBuf)),
            )
            .arg(
                Arg::new("port")
                    .long("port")
                    .value_name("PORT")
                    .help("The port on 127.0.0.1; 0 takes a free one")
                    .default_value("0")
                    .value_parser(value_parser!(u16)),
            )
            .arg(
                Arg::new("discard")
                    .long("discard")
                    .help("Answer every write without storing it, for benchmarks")
                    .action(ArgAction::SetTrue)
                    .conflicts_with("data_dir"),
            )
            .arg(
                Arg::new("dimension")
                    .long("dimension")
                    .value_name("N")
                    .help("The dimension of a new index; without it, the first write decides")
                    .value_parser(value_parser!(u32).range(1..=20_000)),
            )
            .arg(
                Arg::new("metric")
                    .long("metric")
                    .value_name("METRIC")
                    .help("dotproduct, cosine or euclidean; a new index is dotproduct without it")
                    .value_parser(|text: &str| text.parse::<Metric>()),
            )
            .arg(
                Arg::new("indexing_delay")
                    .long("indexing-delay")
                    .value_name("TIME")
                    .help("How long after its answer a write is seen by reads, e.g. 2s; at once without it")
                    .value_parser(|text: &str| text.parse::<Span>())
                    .conflicts_with("discard"),
            )
            .arg(
                Arg::new("initializing_for")
                    .long("initializing-for")
                    .value_name("TIME")
                    .help("How long an index that a client creates is not ready; it is at once without it")
                    .value_parser(|text: &str| text.parse::<Span>()),
            )
            .arg(
                Arg::new("api_key_file")
                    .long("api-key-file")
                    .value_name("FILE")
                    .help("Take only requests with the key that FILE holds; without it any key will do")
                    .value_parser(value_parser!(PathBuf)),
            )
            .arg(
                Arg::new("faults")
                    .long("faults")
                    .value_name("FILE")
                    .help("Misbehave as a TOML file says (see docs/local-index.md)")
                    .value_parser(value_parser!(PathBuf)),
            )
            .arg(
                Arg::new("scenario")
                    .long("scenario")
                    .value_name("FILE")
                    .help("Serve under the quotas and outages of a scenario (see docs/local-index.md)")
                    .value_parser(value_parser!(PathBuf)),
            ),
    )
}

fn with_words(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("verbose")
                .short('v')
                .help("Say more; twice for every attempt")
                .action(ArgAction::Count)
                .help_heading("Words"),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .help("Say errors and the summary only")
                .action(ArgAction::Count)
                .help_heading("Words"),
        )
}

pub(crate) fn load_arguments(matches: &ArgMatches) -> LoadArguments {
    LoadArguments {
        inputs: matches
            .get_many::<String>("inputs")
            .map(|inputs| inputs.cloned().collect())
            .unwrap_or_default(),
        config: matches.get_one::<PathBuf>("config").cloned(),
        print_config: matches.get_flag("print_config"),
        full: matches.try_get_one("full").ok().flatten() == Some(&true),
        flags: flags::given(matches),
        verbosity: verbosity(matches),
    }
}

fn verify_arguments(matches: &ArgMatches) -> VerifyArguments {
    VerifyArguments {
        run_dir: matches
            .get_one::<PathBuf>("verified_run")
            .cloned()
            .unwrap_or_default(),
        config: matches.get_one::<PathBuf>("config").cloned(),
        flags: flags::given_for_verify(matches),
        verbosity: verbosity(matches),
    }
}

fn report_arguments(matches: &ArgMatches) -> ReportArguments {
    let dirs = matches.get_many::<PathBuf>("reported_runs");
    ReportArguments {
        run_dirs: dirs.into_iter().flatten().cloned().collect(),
        json: matches.get_flag("json"),
    }
}

fn serve_arguments(matches: &ArgMatches) -> ServeArguments {
    let span = |name| {
        matches
            .get_one::<Span>(name)
            .map_or(Duration::ZERO, |span| span.0)
    };
    ServeArguments {
        data_dir: matches.get_one::<PathBuf>("data_dir").cloned(),
        port: matches.get_one::<u16>("port").copied().unwrap_or_default(),
        discard: matches.get_flag("discard"),
        dimension: matches.get_one::<u32>("dimension").copied(),
        metric: matches.get_one::<Metric>("metric").copied(),
        indexing_delay: span("indexing_delay"),
        initializing_for: span("initializing_for"),
        api_key_file: matches.get_one::<PathBuf>("api_key_file").cloned(),
        faults: matches.get_one::<PathBuf>("faults").cloned(),
        scenario: matches.get_one::<PathBuf>("scenario").cloned(),
        verbosity: verbosity(matches),
    }
}

fn verbosity(matches: &ArgMatches) -> Verbosity {
    Verbosity(i16::from(matches.get_count("verbose")) - i16::from(matches.get_count("quiet")))
}
