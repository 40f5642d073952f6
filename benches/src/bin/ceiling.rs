//! How much of a namespace's ceiling real processes use over real connections, and how often they are refused.
//!
//! ```text
//! cargo build --release -p vecload-cli -p vecload-benches
//! target/release/ceiling --scenario benches/scenarios/ten-megabytes.toml [--dir DIR] [--seconds N] [--python PYTHON]
//!     [-- FLAGS OF LOAD]
//! ```
//!
//! It serves the local index under the scenario, without storing, and lets one process load into it for a
//! minute, then three with `--replicas 3`; with an interpreter that has the official SDK, the same with its bulk mode.
//! What counts is what the server saw from the sixteenth second on.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use clap::{Arg, value_parser};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::Instant;
use vecload_corpus::{Corpus, ParquetForm};
use vecload_local_index::{Conditions, Counts, LocalIndex, Options, ScenarioFile};

/// What comes before is the search for the ceiling.
const WARM: Duration = Duration::from_secs(15);
const DIMENSION: usize = 768;

/// The loads of a measurement, ended with this value.
struct Loads(Vec<Child>);

impl Drop for Loads {
    fn drop(&mut self) {
        for load in &mut self.0 {
            // It may have ended by itself; then there is nothing left to do.
            let _ = load.kill();
            let _ = load.wait();
        }
    }
}

/// What is measured.
struct Measure<'a> {
    vecload: &'a Path,
    input: &'a Path,
    flags: Vec<&'a String>,
    conditions: Conditions,
    time: Duration,
}

/// Who loads.
#[derive(Debug, Clone, Copy)]
enum Contender<'a> {
    Vecload,
    /// The official Python SDK, by an interpreter that has it, and the bytes that a record takes in a request.
    Sdk(&'a Path, f64),
}

/// What came of it.
struct Figures {
    used: f64,
    refused: f64,
    /// The requests per second that were taken.
    requests: f64,
    /// The bytes that a record takes in a request.
    of_record: f64,
    /// The least and the most that a process had of what all had, where the processes say.
    shares: Option<(f64, f64)>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let path = value_parser!(PathBuf);
    let matches = clap::Command::new("ceiling")
        .about(
            "Measures how much of a namespace's ceiling is used, and how many requests are refused",
        )
        .arg(
            Arg::new("scenario")
                .long("scenario")
                .required(true)
                .value_parser(path.clone()),
        )
        .arg(Arg::new("dir").long("dir").value_parser(path.clone()))
        .arg(Arg::new("python").long("python").value_parser(path))
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .default_value("60")
                .value_parser(value_parser!(u64).range(20..=600)),
        )
        .arg(Arg::new("flags").num_args(0..).last(true))
        .get_matches();
    let scratch = tempfile::tempdir()?;
    let dir = matches
        .get_one::<PathBuf>("dir")
        .map_or(scratch.path(), PathBuf::as_path);
    std::fs::create_dir_all(dir)?;
    let scenario = matches
        .get_one::<PathBuf>("scenario")
        .ok_or("no scenario")?;
    let file: ScenarioFile = toml::from_str(&std::fs::read_to_string(scenario)?)?;
    let conditions = file.server;
    let time = Duration::from_secs(*matches.get_one::<u64>("seconds").ok_or("no time")?);
    let most = conditions
        .bytes_per_second
        .iter()
        .map(|[_, rate]| *rate)
        .fold(0.0, f64::max);
    // Enough for one process that has all of it.
    let corpus = Corpus {
        records: (1.1 * most * time.as_secs_f64() / (4 * DIMENSION) as f64) as u64,
        dimension: DIMENSION,
        metadata_bytes: 0,
        namespaces: 0,
        seed: 1,
    };
    let input = dir.join(format!("{}x{DIMENSION}.parquet", corpus.records));
    if !input.try_exists()? {
        let beside = dir.join("unfinished.parquet");
        corpus.write(&beside, ParquetForm::default())?;
        std::fs::rename(&beside, &input)?;
    }
    let measure = Measure {
        vecload: &std::env::current_exe()?.with_file_name("vecload"),
        input: &input,
        flags: matches
            .get_many::<String>("flags")
            .unwrap_or_default()
            .collect(),
        conditions,
        time,
    };
    println!(
        "| | processes | used % | refused % | requests/s | least and most share of a process |"
    );
    println!("|---|---|---|---|---|---|");
    let mut of_record = 0.0;
    for replicas in [1, 3] {
        let figures = measure.of(Contender::Vecload, replicas).await?;
        of_record = figures.of_record;
        figures.print("vecload", replicas);
    }
    if let Some(python) = matches.get_one::<PathBuf>("python") {
        for replicas in [1, 3] {
            let figures = measure.of(Contender::Sdk(python, of_record), replicas);
            figures.await?.print("official Python SDK", replicas);
        }
    }
    Ok(())
}

impl Measure<'_> {
    /// Loads with so many processes at once.
    async fn of(
        &self,
        contender: Contender<'_>,
        replicas: usize,
    ) -> Result<Figures, Box<dyn Error>> {
        let index = LocalIndex::open(Options {
            discard: true,
            audit: false,
            conditions: Some(self.conditions.clone()),
            ..Options::default()
        })?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let host = format!("http://{}", listener.local_addr()?);
        let serving = index.clone();
        let server =
            tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        let runs = tempfile::tempdir()?;
        let run_dir = |number: usize| runs.path().join(number.to_string());
        let mut loads = Loads(Vec::new());
        for number in 0..replicas {
            let mut load = match contender {
                Contender::Vecload => self.vecload(&host, &run_dir(number), replicas),
                Contender::Sdk(python, _) => self.sdk(python, &host),
            };
            let load = load.spawn().map_err(|error| {
                let program = load.get_program().display();
                format!("{program}: {error}; build vecload-cli first")
            })?;
            loads.0.push(load);
        }

        while index.audit().counts.upserts == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The seconds of the scenario begin here.
        tokio::time::sleep(WARM).await;
        let (begin, before) = (Instant::now(), index.audit().counts);
        tokio::time::sleep(self.time - WARM).await;
        let (took, after) = (begin.elapsed().as_secs_f64(), index.audit().counts);
        if let Some(ended) = loads
            .0
            .iter_mut()
            .find_map(|load| load.try_wait().transpose())
        {
            return Err(format!("a load ended before its time: {}", ended?).into());
        }

        // Interrupted, vecload says in its report what it loaded; the SDK has nothing to say, and may not listen.
        let signal = match contender {
            Contender::Vecload => Signal::SIGINT,
            Contender::Sdk(..) => Signal::SIGKILL,
        };
        for load in &loads.0 {
            let id = Pid::from_raw(i32::try_from(load.id())?);
            signal::kill(id, signal)?;
        }
        for load in &mut loads.0 {
            load.wait()?;
        }
        server.abort();
        let (of_record, shares) = match contender {
            Contender::Vecload => {
                let (of_record, shares) = loaded((0..replicas).map(run_dir))?;
                (of_record, Some(shares))
            }
            Contender::Sdk(_, of_record) => (of_record, None),
        };
        let grown = |of: fn(&Counts) -> u64| (of(&after) - of(&before)) as f64;
        let refused = grown(|counts| counts.throttled);
        // The capacity may change within the time.
        let steps = 1_000;
        let capacity = (0..steps)
            .map(|step| WARM.as_secs_f64() + took * (f64::from(step) + 0.5) / f64::from(steps))
            .map(|second| self.conditions.capacity(second))
            .sum::<f64>()
            / f64::from(steps);
        Ok(Figures {
            used: grown(|counts| counts.records) * of_record / (took * capacity),
            refused: refused / (refused + grown(|counts| counts.applied)),
            requests: grown(|counts| counts.applied) / took,
            of_record,
            shares,
        })
    }

    fn vecload(&self, host: &str, run_dir: &Path, replicas: usize) -> Command {
        let mut load = Command::new(self.vecload);
        load.arg("load").arg(self.input).args(["--host", host]);
        load.arg("--run-dir").arg(run_dir).arg("-q");
        load.args(["--replicas", &replicas.to_string()]);
        load.args(&self.flags);
        load
    }

    fn sdk(&self, python: &Path, host: &str) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/official_sdk_bulk.py");
        let mut load = Command::new(python);
        load.arg(script).arg(host).arg(self.input);
        load
    }
}

/// What the reports of loads say: the bytes of a record, and the least and the most that one had of all.
fn loaded(run_dirs: impl Iterator<Item = PathBuf>) -> Result<(f64, (f64, f64)), Box<dyn Error>> {
    let mut reports = Vec::new();
    for run_dir in run_dirs {
        let report = std::fs::read(run_dir.join("report.json"))?;
        reports.push(serde_json::from_slice::<Value>(&report)?);
    }
    let loaded = |report: &Value| report["records_loaded"].as_f64().unwrap_or(f64::NAN);
    let bytes = |report: &Value| {
        let namespaces = report["namespaces"].as_object();
        let of_each = namespaces.into_iter().flat_map(|all| all.values());
        of_each.filter_map(|one| one["bytes"].as_f64()).sum::<f64>()
    };
    let all: f64 = reports.iter().map(loaded).sum();
    let shares = reports.iter().map(|report| loaded(report) / all);
    let least = shares.clone().fold(f64::INFINITY, f64::min);
    let most = shares.fold(0.0, f64::max);
    Ok((reports.iter().map(bytes).sum::<f64>() / all, (least, most)))
}

impl Figures {
    /// One row of the table.
    fn print(&self, contender: &str, replicas: usize) {
        let shares = self.shares.map_or_else(String::new, |(least, most)| {
            format!("{least:.2}, {most:.2}")
        });
        println!(
            "| {contender} | {replicas} | {:.1} | {:.2} | {:.0} | {shares} |",
            100.0 * self.used,
            100.0 * self.refused,
            self.requests,
        );
    }
}
