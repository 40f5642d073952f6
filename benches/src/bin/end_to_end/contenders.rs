//! Who is measured, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use vecload_benches::Failure;
use vecload_benches::client::Run;

pub(crate) const VECLOAD: &str = "vecload";
pub(crate) const DEFAULTS: &str = "vecload, defaults";
pub(crate) const ONE_WORKER: &str = "vecload, 1 worker on all cores";
pub(crate) const TWO_WORKERS: &str = "vecload, 2 workers on all cores";
pub(crate) const SDK: &str = "official Python SDK";
pub(crate) const SDK_NUMPY: &str = "official Python SDK, numpy rows";
pub(crate) const STRAIGHTFORWARD: &str = "straightforward Rust client";
pub(crate) const ARROW: &str = "read by the arrow reader";
pub(crate) const PAGES: &str = "unpack the pages";
pub(crate) const SEND: &str = "send what is encoded";
pub(crate) const VECLOAD_TLS: &str = "vecload, TLS";
pub(crate) const SEND_TLS: &str = "send what is encoded, TLS";
pub(crate) const SOCKET: &str = "the same bytes down a bare socket";

/// The programs, beside this one and elsewhere.
pub(crate) struct Programs {
    pub(crate) vecload: PathBuf,
    pub(crate) send: PathBuf,
    pub(crate) front: PathBuf,
    read: PathBuf,
    straightforward: PathBuf,
    sdk: PathBuf,
    python: Option<PathBuf>,
    /// Anyone's own, each a command and its first arguments.
    clients: Vec<Vec<String>>,
    /// Prescan and order are left out, where this vecload has them.
    any_order: &'static [&'static str],
}

/// What is loaded, and where to.
pub(crate) struct Work {
    pub(crate) file: PathBuf,
    pub(crate) records: u64,
    pub(crate) python_records: u64,
    pub(crate) url: String,
    /// Where it is reached by TLS, and what to trust there.
    pub(crate) tls_url: String,
    pub(crate) ca: PathBuf,
    /// The address of the bare socket.
    pub(crate) sink: String,
}

/// A program with its arguments.
pub(crate) struct Contender {
    pub(crate) name: String,
    /// How many records it loads or reads at least.
    pub(crate) records: u64,
    /// Whether it must be that many exactly.
    pub(crate) is_exact: bool,
    /// Whether the server counts its records.
    pub(crate) sends: bool,
    /// Whether it is none of the house.
    pub(crate) is_guest: bool,
    pub(crate) place: Place,
    command: Vec<String>,
    /// Whether it is given a directory for its run.
    needs_run_dir: bool,
}

/// What a contender did once.
#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) run: Run,
    pub(crate) server_cpu_seconds: f64,
}

/// Where a contender runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    OneCore,
    AllCores,
}

// === impl Programs ===

impl Programs {
    pub(crate) fn new(python: Option<PathBuf>, clients: &[String]) -> Result<Self, Failure> {
        let this = std::env::current_exe()?;
        let beside = |name: &str| this.with_file_name(name);
        let vecload = beside("vecload");
        let help = Command::new(&vecload)
            .args(["load", "--help"])
            .output()
            .map_err(|error| format!("{}: {error}; build vecload-cli first", vecload.display()))?;
        let has_order = String::from_utf8_lossy(&help.stdout).contains("--duplicates");
        let clients = clients.iter().map(|client| {
            let words = shlex::split(client).filter(|words| !words.is_empty());
            words.ok_or_else(|| format!("--client {client:?} is no command"))
        });
        Ok(Self {
            send: beside("send"),
            front: beside("front"),
            read: beside("read"),
            straightforward: beside("straightforward"),
            sdk: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/official_sdk.py"),
            python,
            clients: clients.collect::<Result<_, _>>()?,
            any_order: if has_order {
                &["--duplicates", "any"]
            } else {
                &[]
            },
            vecload,
        })
    }

    /// All that can be measured on a form of the corpus.
    pub(crate) fn contenders(&self, form: &str, work: &Work) -> Vec<Contender> {
        let file = work.file.display().to_string();
        let (url, records) = (work.url.as_str(), work.records);
        let count = records.to_string();
        let peer = |name: &str, records: u64, program: &[&str]| {
            let count = records.to_string();
            Contender::new(name, records, program, &[url, &file, &count])
        };
        let mut all = vec![
            self.vecload(VECLOAD, work, url, &[]),
            Contender::new(DEFAULTS, records, &[&text(&self.vecload), "load"], &[&file])
                .loads_with_report(url),
            peer(STRAIGHTFORWARD, records, &[&text(&self.straightforward)]),
        ];
        if let Some(python) = &self.python {
            let (python, sdk) = (text(python), text(&self.sdk));
            all.push(peer(SDK, work.python_records, &[&python, &sdk]));
            if form != "jsonl" {
                let program = [python.as_str(), &sdk, "--numpy"];
                all.push(peer(SDK_NUMPY, work.python_records, &program));
            }
        }
        for client in &self.clients {
            let program: Vec<&str> = client.iter().map(String::as_str).collect();
            let mut contender = peer(&client.join(" "), records, &program);
            contender.is_guest = true;
            all.push(contender);
        }
        if form != "jsonl" {
            let read = text(&self.read);
            for (name, way) in [(ARROW, "arrow"), (PAGES, "pages")] {
                let reading = Contender::new(name, records, &[&read, "--once", way], &[&file]);
                all.push(reading.only_reads());
            }
        }
        if form == "zstd" {
            for (name, workers) in [(ONE_WORKER, "1"), (TWO_WORKERS, "2")] {
                let mut contender = self.vecload(name, work, url, &["--workers", workers]);
                contender.place = Place::AllCores;
                all.push(contender);
            }
        }
        if form == "none" {
            // Whatever the file's form, what is sent is the same.
            let send = text(&self.send);
            let mut upsert =
                Contender::new(SEND, records, &[&send, "upsert", url], &[&file, &count]);
            upsert.is_exact = false;
            all.push(upsert);
            let ca = text(&work.ca);
            let way = [send.as_str(), "upsert", &work.tls_url];
            let mut upsert = Contender::new(SEND_TLS, records, &way, &[&file, &count, &ca]);
            upsert.is_exact = false;
            all.push(upsert);
            all.push(self.vecload(VECLOAD_TLS, work, &work.tls_url, &["--ca-file", &ca]));
            let way = [send.as_str(), "socket", &work.sink];
            let mut socket = Contender::new(SOCKET, records, &way, &[&file, &count]).only_reads();
            socket.is_exact = false;
            all.push(socket);
        }
        all
    }

    /// vecload with nothing that holds it back.
    fn vecload(&self, name: &str, work: &Work, url: &str, flags: &[&str]) -> Contender {
        let file = work.file.display().to_string();
        let mut arguments = vec![file.as_str(), "--pacing", "fixed"];
        arguments.extend(["--namespace-rate", "none", "--namespace-requests", "none"]);
        arguments.extend(self.any_order);
        arguments.extend(flags);
        Contender::new(
            name,
            work.records,
            &[&text(&self.vecload), "load"],
            &arguments,
        )
        .loads_with_report(url)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

// === impl Contender ===

impl Contender {
    fn new(name: &str, records: u64, program: &[&str], arguments: &[&str]) -> Self {
        let words = program.iter().chain(arguments);
        Self {
            name: name.to_owned(),
            records,
            is_exact: true,
            sends: true,
            is_guest: false,
            place: Place::OneCore,
            command: words.map(|word| (*word).to_owned()).collect(),
            needs_run_dir: false,
        }
    }

    /// It is `vecload load`, whose account is its report.
    fn loads_with_report(mut self, url: &str) -> Self {
        let flags = ["--host", url, "--json", "-q", "--progress", "none"];
        self.command
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.needs_run_dir = true;
        self
    }

    fn only_reads(mut self) -> Self {
        self.sends = false;
        self
    }

    /// The command, with a directory for what a run leaves behind.
    pub(crate) fn command(&self, scratch: &Path) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        if self.needs_run_dir {
            command.arg("--run-dir").arg(scratch.join("run"));
        }
        command
    }
}
