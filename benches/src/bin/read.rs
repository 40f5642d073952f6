//! What it costs to read Parquet to records, against what merely reading the file costs.
//!
//! ```text
//! cargo build --release -p vecload-benches
//! target/release/read [--dir DIR] [--records N] [--dimension N] [--pairs N] [--before OTHER_BUILD]
//! ```
//!
//! Three programs in turn, each in a process of its own, over the same file in the page cache:
//! `vecload` visits every record as a worker does; `arrow` decodes all columns with the arrow reader
//! and looks at nothing; `pages` unpacks all pages and decodes nothing. With `--before`, the same
//! `vecload` of an older build of this program too. Told are CPU seconds per million records, and their
//! ratios pair by pair: machines drift, neighbours in time do not.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Arg, ArgMatches, value_parser};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use vecload_benches::Failure;
use vecload_benches::client::{self, Account, own_cpu};
use vecload_benches::corpora::Corpora;
use vecload_benches::figures::Quartiles;
use vecload_benches::records;
use vecload_corpus::Corpus;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.get_many::<String>("once") {
        Some(mut once) => match (once.next(), once.next()) {
            (Some(way), Some(file)) => read_once(way, Path::new(file)),
            _ => Err("--once takes a way and a file".into()),
        },
        None => measure(&matches),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> clap::Command {
    let number = |name: &'static str, default: &'static str| {
        let arg = Arg::new(name).long(name).default_value(default);
        arg.value_parser(value_parser!(u64))
    };
    let path = |name: &'static str| {
        let arg = Arg::new(name).long(name);
        arg.value_parser(value_parser!(PathBuf))
    };
    clap::Command::new("read")
        .about("Measures the reading of Parquet to records")
        .arg(path("dir").help("Where corpora are kept for the next time"))
        .arg(path("before").help("An older build of this program to compare with"))
        .arg(number("records", "100000"))
        .arg(number("dimension", "768"))
        .arg(number("pairs", "9"))
        .arg(
            Arg::new("once")
                .long("once")
                .num_args(2)
                .value_names(["WAY", "FILE"])
                .help("Reads one file in one way and says what it cost"),
        )
}

// === One reading ===

fn read_once(way: &str, file: &Path) -> Result<(), Failure> {
    let before = own_cpu()?;
    let records = match way {
        "vecload" => to_records(file)?,
        "arrow" => by_arrow(file)?,
        "pages" => unpack(file)?,
        _ => return Err(format!("there is no way {way:?}").into()),
    };
    let account = Account {
        records,
        own_cpu_seconds: Some((own_cpu()? - before).as_secs_f64()),
        ..Account::default()
    };
    println!("{}", serde_json::json!(account));
    Ok(())
}

/// Visits every record, and counts those that have a vector.
fn to_records(file: &Path) -> Result<u64, Failure> {
    let mut count = 0;
    records::each(file, |record| {
        count += u64::from(record.dense.is_some_and(|dense| !dense.is_empty()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

fn by_arrow(file: &Path) -> Result<u64, Failure> {
    let mut count = 0;
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
        count += batch?.num_rows() as u64;
    }
    Ok(count)
}

fn unpack(file: &Path) -> Result<u64, Failure> {
    let reader = SerializedFileReader::new(File::open(file)?)?;
    let mut count = 0;
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index)?;
        for column in 0..group.num_columns() {
            let mut pages = group.get_column_page_reader(column)?;
            while pages.get_next_page()?.is_some() {}
        }
        count += group.metadata().num_rows().unsigned_abs();
    }
    Ok(count)
}

// === The comparison ===

fn measure(matches: &ArgMatches) -> Result<(), Failure> {
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let corpora = Corpora::new(matches.get_one::<PathBuf>("dir").map(PathBuf::as_path))?;
    let this = std::env::current_exe()?;
    let mut ways = vec![("vecload", &this), ("arrow", &this), ("pages", &this)];
    if let Some(before) = matches.get_one::<PathBuf>("before") {
        ways.push(("vecload", before));
    }
    let corpus = Corpus {
        records: number("records"),
        dimension: number("dimension") as usize,
        metadata_bytes: 300,
        namespaces: 0,
        seed: 1,
    };
    println!("| codec | what | median | quartiles |");
    println!("|---|---|---|---|");
    for name in ["none", "snappy", "zstd"] {
        let file = corpora.file(&corpus, name)?;
        // Once for nothing: what is not in the page cache yet comes into it.
        let mut costs = vec![Vec::new(); ways.len()];
        for round in 0..=number("pairs") {
            for ((way, program), costs) in ways.iter().zip(&mut costs) {
                let cost = cost(program, way, &file, corpus.records)?;
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        let labels = ["vecload", "arrow", "pages", "vecload before"];
        for (label, costs) in labels.iter().zip(&costs) {
            print_row(
                name,
                &format!("{label}, CPU s per million"),
                Quartiles::of(costs),
            );
        }
        for (label, others) in labels.iter().zip(&costs).skip(1) {
            print_row(
                name,
                &format!("vecload / {label}"),
                Quartiles::of_ratios(&costs[0], others),
            );
        }
    }
    Ok(())
}

/// CPU seconds per million records, of one reading in a process of its own.
fn cost(program: &Path, way: &str, file: &Path, records: u64) -> Result<f64, Failure> {
    let run = client::run(Command::new(program).args(["--once", way]).arg(file), None)?;
    if run.account.records != records {
        let read = run.account.records;
        return Err(format!("{}: {way}: {read} of {records} records", program.display()).into());
    }
    Ok(run.cpu_seconds * 1e6 / records as f64)
}

fn print_row(codec: &str, what: &str, figures: Quartiles) {
    println!("| {codec} | {what} | {figures} |");
}
