//! Whether a load's memory stays flat over a long time of faults, and whether everything arrives.
//!
//! ```text
//! cargo build --release -p vecload-cli -p vecload-benches
//! target/release/soak --faults benches/scenarios/thirty-percent-faults.toml \
//!     --scenario benches/scenarios/ten-megabytes.toml [--dir DIR] [--minutes N] [--rate BYTES] [-- FLAGS OF LOAD]
//! ```
//!
//! It loads into `vecload serve --discard` under faults and a scenario, with a total rate that makes it take about
//! so long, and prints the resident memory of the load over time. The input is one corpus under many names, since an
//! hour's worth of data is all the same to what is measured. It fails if a record is not loaded, if a peak is above
//! its bound (INV-6), or if memory at the end is more than a twentieth above what it was at the beginning.

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
use serde_json::Value;
use tokio::time::{Instant, sleep};
use vecload_benches::corpora::Corpora;
use vecload_benches::machine;
use vecload_benches::server::Server;
use vecload_corpus::Corpus;

/// The time between two looks at the memory.
const LOOK: Duration = Duration::from_secs(5);
/// What faults leave of the rate, about: attempts that fail pay it too.
const LEFT: f64 = 0.7;
/// How much the memory may grow from the second tenth of the time to the last.
const GROWTH: f64 = 1.05;

/// A load, ended with this value.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let path = |name: &'static str| {
        let arg = Arg::new(name).long(name);
        arg.value_parser(value_parser!(PathBuf))
    };
    let number = |name: &'static str, default: &'static str| {
        let arg = Arg::new(name).long(name).default_value(default);
        arg.value_parser(value_parser!(u32).range(1..))
    };
    let matches = clap::Command::new("soak")
        .about("Loads for a long time under faults, and watches the memory")
        .arg(path("faults").required(true))
        .arg(path("scenario"))
        .arg(path("dir"))
        .arg(number("minutes", "60"))
        .arg(number("rate", "5000000"))
        .arg(Arg::new("flags").num_args(0..).last(true))
        .get_matches();
    let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or_default();
    let path = |name: &str| matches.get_one::<PathBuf>(name).map(PathBuf::as_path);
    let time = 60.0 * f64::from(number("minutes"));
    let rate = f64::from(number("rate"));

    let vecload = std::env::current_exe()?.with_file_name("vecload");
    println!("{}\n", machine::describe(&vecload));
    let corpora = Corpora::new(path("dir"))?;
    let corpus = Corpus {
        records: 20_000,
        dimension: 768,
        metadata_bytes: 200,
        namespaces: 0,
        seed: 1,
    };
    let file = corpora.file(&corpus, "zstd")?;
    // Beside the corpus, since a hard link cannot lead to another file system.
    let inputs = tempfile::tempdir_in(file.parent().ok_or("no folder")?)?;
    let bytes = corpus.records as f64 * (4.0 * corpus.dimension as f64 + 250.0);
    let copies = (LEFT * rate * time / bytes).ceil() as u64;
    for copy in 0..copies {
        std::fs::hard_link(&file, inputs.path().join(format!("{copy:05}.parquet")))?;
    }

    let mut serve = Command::new(&vecload);
    serve.args(["serve", "--discard", "--port", "0"]);
    for option in ["faults", "scenario"] {
        if let Some(file) = path(option) {
            serve.arg(format!("--{option}")).arg(file);
        }
    }
    let server = Server::start(&mut serve, None)?;
    let run_dir = tempfile::tempdir()?;
    let mut command = Command::new(&vecload);
    command.arg("load").arg(inputs.path());
    command.args(["--host", &server.url(), "-q", "--duplicates", "any"]);
    command.args(["--total-rate", &number("rate").to_string()]);
    command.arg("--run-dir").arg(run_dir.path());
    command.args(matches.get_many::<String>("flags").unwrap_or_default());
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let began = Instant::now();
    let mut load = Load(command.spawn()?);

    println!("| minute | resident MB | records loaded | retries |");
    println!("|---|---|---|---|");
    let mut memory = Vec::new();
    let mut told = 0;
    let status = loop {
        clock.block_on(async { sleep(LOOK).await });
        if let Some(status) = load.0.try_wait()? {
            break status;
        }
        // It may end right now.
        let Ok(resident) = resident_megabytes(load.0.id()) else {
            continue;
        };
        memory.push(resident);
        let minutes = began.elapsed().as_secs() / 60;
        if minutes >= told {
            told += u64::from(number("minutes")).div_ceil(20);
            let (loaded, retries) = report(run_dir.path()).map_or((0, 0), |report| {
                let count = |name: &str| report[name].as_u64().unwrap_or_default();
                (count("records_loaded"), count("retries"))
            });
            println!("| {minutes} | {resident:.1} | {loaded} | {retries} |");
        }
    };

    let report = report(run_dir.path())?;
    let figure = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    let tenth = memory.len() / 10;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let early = mean(&memory[tenth..2 * tenth]);
    let late = mean(&memory[memory.len() - tenth..]);
    let (peak, bound) = (figure("peak_rss_bytes"), figure("memory_bound_bytes"));
    let expected = copies * corpus.records;
    println!(
        "\n{status} after {:.0} s; {} of {expected} records loaded, {} remaining, {} rejected; the server took {}",
        figure("duration_seconds"),
        figure("records_loaded"),
        figure("records_remaining"),
        figure("records_rejected"),
        server.records()?,
    );
    println!(
        "{} attempts, of which {} were repeated and {} refused for the rate; {} requests taken",
        figure("attempts"),
        figure("retries"),
        figure("requests_throttled"),
        figure("requests_ok"),
    );
    println!(
        "resident: {early:.1} MB in the second tenth of the time, {late:.1} MB in the last one; peak {:.1} MB, bound {:.1} MB",
        peak / 1e6,
        bound / 1e6,
    );
    let holds = status.success()
        && figure("records_loaded") == expected as f64
        && peak <= bound
        && late <= GROWTH * early;
    println!("{}", if holds { "holds" } else { "does not hold" });
    Ok(holds)
}

/// The run's report as it stands.
fn report(run_dir: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(
        run_dir.join("report.json"),
    )?)?)
}

/// The resident memory of a process, in MB.
fn resident_megabytes(process: u32) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("no VmRSS in /proc")?
        .parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
