//! Writes a seeded corpus to a file.
//!
//! ```text
//! cargo run --release -p vecload-benches --bin corpus -- \
//!     --records 200000 --dimension 768 corpus.parquet
//! ```

#![expect(clippy::print_stderr, reason = "a program for the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use vecload_corpus::{Corpus, ParquetForm, codec};

fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .help(help)
            .default_value(default)
            .value_parser(value_parser!(u64))
    };
    Command::new("corpus")
        .about("Writes a seeded corpus")
        .arg(
            Arg::new("path")
                .help("The file; `.jsonl` makes it JSONL, anything else Parquet")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(number("records", "200000", "How many records"))
        .arg(number("dimension", "768", "Values per vector"))
        .arg(number(
            "metadata-bytes",
            "200",
            "Metadata per record; 0 leaves the column out",
        ))
        .arg(number(
            "namespaces",
            "0",
            "Namespaces, in turn; 0 leaves the column out",
        ))
        .arg(number("seed", "1", "What all values depend on"))
        .arg(number(
            "row-group",
            "10000",
            "Records per row group of a Parquet file",
        ))
        .arg(
            Arg::new("codec")
                .long("codec")
                .help("The codec of a Parquet file: none, snappy, gzip, brotli, lz4 or zstd")
                .default_value("zstd")
                .value_parser(codec),
        )
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let path = matches
        .get_one::<PathBuf>("path")
        .cloned()
        .unwrap_or_default();
    let corpus = Corpus {
        records: number("records"),
        dimension: number("dimension") as usize,
        metadata_bytes: number("metadata-bytes") as usize,
        namespaces: number("namespaces"),
        seed: number("seed"),
    };
    let defaults = ParquetForm::default();
    let form = ParquetForm {
        codec: matches.get_one("codec").copied().unwrap_or(defaults.codec),
        row_group: number("row-group") as usize,
    };
    match corpus.write(&path, form) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
