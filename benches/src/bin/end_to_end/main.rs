//! vecload against its peers and against what cannot be avoided, from a file to acknowledged records.
//!
//! ```text
//! cargo build --release --workspace
//! target/release/end_to_end --dir DIR --python PYTHON > benches/runs/DATE/end-to-end.md
//! ```
//!
//! In each round every contender runs once, in a process of its own, over the same file in the page
//! cache, against the same server; the server has core 0, the contender core 1. Told are CPU seconds per
//! million records and, pair by pair within a round, their ratios. A contender that says another number
//! of records than the server counted, or than the file has, fails the measurement.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod comparisons;
mod contenders;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use vecload_benches::client::run;
use vecload_benches::corpora::Corpora;
use vecload_benches::figures::Quartiles;
use vecload_benches::server::Server;
use vecload_benches::{Failure, machine};
use vecload_corpus::Corpus;

use crate::comparisons::{Figure, comparisons};
use crate::contenders::{Contender, Done, Place, Programs, Work};

/// Where servers run, and where contenders do.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

fn main() -> ExitCode {
    match measure(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> clap::Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).default_value(default).help(help);
        arg.value_name("N").value_parser(value_parser!(u64))
    };
    let path = |name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).help(help);
        arg.value_name("PATH").value_parser(value_parser!(PathBuf))
    };
    let list = |name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).help(help);
        arg.action(ArgAction::Append)
    };
    clap::Command::new("end_to_end")
        .about("Measures vecload against its peers; writes Markdown to stdout")
        .arg(path("dir", "Where corpora are kept for the next time"))
        .arg(path(
            "python",
            "A Python with the packages of tests/conformance/requirements.lock; without it the official SDK is left out",
        ))
        .arg(
            list(
                "client",
                "A further contender: it is given URL, FILE and RECORDS, and prints {\"records\": N} at its end",
            )
            .value_name("CMD"),
        )
        .arg(
            list("form", "A form of the corpus; as often as there are forms")
                .value_parser(["zstd", "none", "snappy", "jsonl"])
                .default_values(["zstd", "none", "snappy", "jsonl"]),
        )
        .arg(number("records", "200000", "Records of a Parquet file"))
        .arg(number("jsonl-records", "20000", "Records of a JSONL file"))
        .arg(number(
            "python-records",
            "20000",
            "How many of them the official SDK loads",
        ))
        .arg(number("dimension", "768", "Values of a vector"))
        .arg(number("pairs", "9", "Rounds that count; one before them does not"))
}

fn measure(matches: &ArgMatches) -> Result<(), Failure> {
    let number = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let texts = |name: &str| -> Vec<String> {
        let values = matches.get_many::<String>(name).unwrap_or_default();
        values.cloned().collect()
    };
    let corpora = Corpora::new(matches.get_one::<PathBuf>("dir").map(PathBuf::as_path))?;
    let programs = Programs::new(matches.get_one("python").cloned(), &texts("client"))?;
    let server = Server::discard(&programs.vecload, Some(SERVER_CORE))?;
    let sink = Server::start(Command::new(&programs.send).arg("sink"), Some(SERVER_CORE))?;
    let scratch = tempfile::tempdir()?;
    let ca = scratch.path().join("ca.pem");
    let mut front = Command::new(&programs.front);
    let front = Server::start(front.arg(server.host()).arg(&ca), Some(SERVER_CORE))?;

    println!("# From a file to acknowledged records\n");
    println!("{}", machine::describe(&programs.vecload));
    println!(
        "* {} pairs, alternated; medians and quartiles; vectors of {} values, 300 bytes of metadata\n",
        number("pairs"),
        number("dimension")
    );
    let mut compared = Vec::new();
    println!(
        "| form | what | records | CPU s per million | quartiles | records/s | server CPU s per million |"
    );
    println!("|---|---|---|---|---|---|---|");
    for form in texts("form") {
        let corpus = Corpus {
            records: number(if form == "jsonl" {
                "jsonl-records"
            } else {
                "records"
            }),
            dimension: number("dimension") as usize,
            metadata_bytes: 300,
            namespaces: 0,
            seed: 1,
        };
        let work = Work {
            file: corpora.file(&corpus, &form)?,
            records: corpus.records,
            python_records: number("python-records").min(corpus.records),
            url: server.url(),
            tls_url: format!("https://{}", front.host()),
            ca: ca.clone(),
            sink: sink.host().to_owned(),
        };
        let contenders = programs.contenders(&form, &work);
        let runs = rounds(&contenders, &server, number("pairs"))?;
        for (contender, runs) in contenders.iter().zip(&runs) {
            let costs: Vec<f64> = runs.iter().map(|run| Figure::Cpu.of(run)).collect();
            let served: Vec<f64> = runs.iter().map(|run| Figure::Server.of(run)).collect();
            let rates: Vec<f64> = runs
                .iter()
                .map(|run| Figure::Wall.of(run).recip())
                .collect();
            println!(
                "| {form} | {} | {} | {} | {:.0} | {:.2} |",
                contender.name,
                contender.records,
                Quartiles::of(&costs),
                Quartiles::of(&rates).median * 1e6,
                Quartiles::of(&served).median,
            );
        }
        compared.extend(comparisons(&form, &contenders, &runs));
    }
    println!("\n| form | what | median | quartiles | goal | |");
    println!("|---|---|---|---|---|---|");
    for row in compared {
        println!("{row}");
    }
    if let Some(load) = machine::load_average() {
        println!("\nLoad average at the end: {load}.");
    }
    Ok(())
}

/// The runs of each contender that count, round by round.
fn rounds(
    contenders: &[Contender],
    server: &Server,
    pairs: u64,
) -> Result<Vec<Vec<Done>>, Failure> {
    let mut runs = vec![Vec::new(); contenders.len()];
    // Once for nothing: what is not in the page cache yet comes into it.
    for round in 0..=pairs {
        // Nobody always runs after the same one.
        let first = round as usize % contenders.len();
        for at in (first..contenders.len()).chain(0..first) {
            let contender = &contenders[at];
            let done =
                once(contender, server).map_err(|error| format!("{}: {error}", contender.name))?;
            if round > 0 {
                runs[at].push(done);
            }
        }
    }
    Ok(runs)
}

fn once(contender: &Contender, server: &Server) -> Result<Done, Failure> {
    let scratch = tempfile::tempdir()?;
    let (counted_before, served_before) = (server.records()?, server.cpu_seconds()?);
    let core = (contender.place == Place::OneCore).then_some(CLIENT_CORE);
    let run = run(&mut contender.command(scratch.path()), core)?;
    let server_cpu_seconds = server.cpu_seconds()? - served_before;
    let said = run.account.records;
    let counted = server.records()? - counted_before;
    if contender.sends && said != counted {
        return Err(format!("it says {said} records, the server counted {counted}").into());
    }
    // Peers send whole batches, and what is sent again and again is sent in whole requests.
    if said < contender.records || (contender.is_exact && said > contender.records) {
        return Err(format!("{said} records instead of {}", contender.records).into());
    }
    Ok(Done {
        run,
        server_cpu_seconds,
    })
}
