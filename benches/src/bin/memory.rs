//! Whether a load stays within its memory bound (INV-6) at full size.
//!
//! ```text
//! cargo build --release -p vecload-cli -p vecload-benches
//! target/release/memory [--dir DIR] [--records N] [--dimension N] [-- FLAGS OF LOAD]
//! ```
//!
//! It writes a corpus as Parquet (zstd, list of float32), as JSONL, and as Parquet of 5,000 interleaved
//! namespaces; loads each into `vecload serve --discard`; and prints what the reports say. It fails if
//! a peak is above its bound, or if a record did not arrive. The corpora take 4 GB at full size; they
//! are kept in DIR, where one is given, for the next time.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Arg, value_parser};
use serde_json::Value;
use vecload_benches::Failure;
use vecload_benches::corpora::Corpora;
use vecload_benches::server::Server;
use vecload_corpus::{Corpus, NAMESPACE_COLUMN};

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool, Failure> {
    let number = |name: &'static str, default: &'static str| {
        let arg = Arg::new(name).long(name).default_value(default);
        arg.value_parser(value_parser!(u64))
    };
    let path = value_parser!(PathBuf);
    let matches = clap::Command::new("memory")
        .about("Checks that loads stay within their memory bound")
        .arg(Arg::new("dir").long("dir").value_parser(path))
        .arg(number("records", "200000"))
        .arg(number("dimension", "768"))
        .arg(Arg::new("flags").num_args(0..).last(true))
        .get_matches();
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let flags = matches.get_many::<String>("flags").unwrap_or_default();
    let flags: Vec<&String> = flags.collect();

    let corpora = Corpora::new(matches.get_one::<PathBuf>("dir").map(PathBuf::as_path))?;
    let vecload = std::env::current_exe()?.with_file_name("vecload");
    let server = Server::discard(&vecload, None)?;
    let one = Corpus {
        records: number("records"),
        dimension: number("dimension") as usize,
        metadata_bytes: 200,
        namespaces: 0,
        seed: 1,
    };
    let many = Corpus {
        namespaces: 5_000,
        ..one.clone()
    };
    println!("| corpus | peak MB | bound MB | MB/s | records/s | CPU s | s |");
    println!("|---|---|---|---|---|---|---|");
    let mut holds = true;
    for (corpus, form) in [(&one, "zstd"), (&one, "jsonl"), (&many, "zstd")] {
        let input = corpora.file(corpus, form)?;
        let name = format!(
            "{}x{}, {} namespaces, {form}",
            corpus.records,
            corpus.dimension,
            corpus.namespaces.max(1)
        );
        let run_dir = tempfile::tempdir()?;
        let mut load = Command::new(&vecload);
        load.arg("load").arg(&input).args(["--host", &server.url()]);
        load.arg("--run-dir").arg(run_dir.path());
        if corpus.namespaces > 0 {
            load.args(["--namespace-column", NAMESPACE_COLUMN]);
        }
        let status = load.args(&flags).status()?;
        let report = std::fs::read(run_dir.path().join("report.json"))?;
        let report: Value = serde_json::from_slice(&report)?;
        let figure = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        let (peak, bound) = (figure("peak_rss_bytes"), figure("memory_bound_bytes"));
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {:.1} |",
            peak / 1e6,
            bound / 1e6,
            figure("bytes_per_second") / 1e6,
            figure("records_per_second"),
            figure("cpu_seconds"),
            figure("duration_seconds"),
        );
        let loaded = report["records_loaded"].as_u64();
        if !status.success() || loaded != Some(corpus.records) || peak > bound {
            eprintln!(
                "error: {name}: {status}, {loaded:?} records loaded, or the peak is above the bound"
            );
            holds = false;
        }
    }
    Ok(holds)
}
