//! The arguments of `vecload bench` beside those of every load.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use vecload::Bytes;
use vecload_corpus::Corpus;

use crate::arguments::{LoadArguments, load_arguments, with_loading};

/// The arguments of `vecload bench`.
#[derive(Debug)]
pub(crate) struct BenchArguments {
    /// Inputs, settings and words, as of a load.
    pub(crate) load: LoadArguments,
    /// What is loaded where no input is given, and its form: jsonl or a codec of Parquet.
    pub(crate) corpus: Corpus,
    pub(crate) form: String,
    /// Loads of each combination that do not count, and that do.
    pub(crate) warm_up: u64,
    pub(crate) repeats: u64,
    /// Values to combine; where there is none, that of the settings.
    pub(crate) in_flight: Vec<usize>,
    pub(crate) request_bytes: Vec<Bytes>,
    /// Milliseconds between two points of the time series.
    pub(crate) sample_ms: u64,
    /// Where the document goes; stdout without it.
    pub(crate) output: Option<PathBuf>,
}

/// `vecload bench`, for parsing and for help.
pub(crate) fn command() -> Command {
    let command = Command::new("bench")
        .about("Measure loads into any target: synthetic or given records, repeated")
        .long_about(
            "Measure loads into any target: synthetic or given records, repeated.\n\n\
             Every combination of the grid is loaded --warm-up times for nothing and --repeats times for the \
             record, with the settings of a load; each load has a run of its own, which is not kept. The records \
             are written to the index. Prints one JSON document: machine, versions, settings, every load with its \
             time series, and the medians.",
        );
    with_loading(command)
        .next_help_heading("Measurement")
        .args([
            number("records", "100000", "Records of the synthetic corpus"),
            number("dimension", "768", "Values of each of their vectors")
                .value_parser(value_parser!(u64).range(1..=20_000)),
            number(
                "metadata_bytes",
                "300",
                "Metadata of each of them; 0 is none",
            ),
            number(
                "namespaces",
                "0",
                "Namespaces that they go to in turn; 0 is none",
            ),
            number("corpus_seed", "1", "What all their values depend on"),
            Arg::new("form")
                .long("form")
                .value_name("FORM")
                .help("Their file: zstd, snappy or none (Parquet), or jsonl")
                .value_parser(["zstd", "snappy", "none", "jsonl"])
                .default_value("zstd"),
            number(
                "warm_up",
                "1",
                "Loads of each combination that do not count",
            ),
            number("repeats", "3", "Loads of each combination that count")
                .value_parser(value_parser!(u64).range(1..)),
            Arg::new("grid_in_flight")
                .long("grid-in-flight")
                .value_name("N,..")
                .help("Values of --in-flight to combine")
                .value_delimiter(',')
                .value_parser(value_parser!(usize)),
            Arg::new("grid_request_bytes")
                .long("grid-request-bytes")
                .value_name("SIZE,..")
                .help("Values of --request-bytes to combine")
                .value_delimiter(',')
                .value_parser(|text: &str| text.parse::<Bytes>()),
            number(
                "sample_ms",
                "500",
                "Milliseconds between points of the time series",
            )
            .value_parser(value_parser!(u64).range(10..)),
            Arg::new("output")
                .long("output")
                .value_name("PATH")
                .help("Where the document goes, instead of stdout")
                .value_parser(value_parser!(PathBuf)),
        ])
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name.replace('_', "-"))
        .value_name("N")
        .help(help)
        .default_value(default)
        .value_parser(value_parser!(u64))
}

/// What was given.
pub(crate) fn parsed(matches: &ArgMatches) -> BenchArguments {
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let form = matches.get_one::<String>("form");
    BenchArguments {
        load: load_arguments(matches),
        corpus: Corpus {
            records: number("records"),
            dimension: number("dimension") as usize,
            metadata_bytes: number("metadata_bytes") as usize,
            namespaces: number("namespaces"),
            seed: number("corpus_seed"),
        },
        form: form.cloned().unwrap_or_default(),
        warm_up: number("warm_up"),
        repeats: number("repeats"),
        in_flight: matches
            .get_many("grid_in_flight")
            .map(|values| values.copied().collect())
            .unwrap_or_default(),
        request_bytes: matches
            .get_many("grid_request_bytes")
            .map(|values| values.copied().collect())
            .unwrap_or_default(),
        sample_ms: number("sample_ms"),
        output: matches.get_one("output").cloned(),
    }
}
