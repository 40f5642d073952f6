//! A server in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use vecload_pinecone::{Client, ClientSettings};

use crate::Failure;
use crate::client::on_core;

/// A server that says `{"host":"ADDRESS"}` when it is ready, ended with this value.
#[derive(Debug)]
pub struct Server {
    process: Child,
    host: String,
}

#[derive(Deserialize)]
struct Ready {
    host: String,
}

/// What a question to the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ticks of a second in /proc: the same on every Linux.
const TICKS: f64 = 100.0;

impl Server {
    /// `vecload serve --discard`, which walks over the frames of a request as they come, gathers nothing
    /// and decodes nothing: what limits a client is the client.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn discard(vecload: &Path, core: Option<usize>) -> Result<Self, Failure> {
        Self::start(Command::new(vecload).args(["serve", "--discard"]), core)
    }

    /// Any server, on one core if one is named.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(command: &mut Command, core: Option<usize>) -> Result<Self, Failure> {
        let program = command.get_program().display().to_string();
        let process = on_core(core, || command.stdout(Stdio::piped()).spawn())?
            .map_err(|error| format!("{program}: {error}; build the workspace first"))?;
        // From here on it is ended, whatever happens.
        let mut server = Self {
            process,
            host: String::new(),
        };
        let out = server.process.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let ready: Ready = serde_json::from_str(&line)
            .map_err(|error| format!("{program}: it did not get ready: {error}"))?;
        server.host = ready.host;
        Ok(server)
    }

    /// Address and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it is reached as an index, without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// The records that it has counted, of all namespaces.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn records(&self) -> Result<u64, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let client = Client::new(&ClientSettings {
                host: self.url(),
                ..ClientSettings::default()
            })?;
            let stats = client.describe_index_stats(PATIENCE).await;
            Ok(stats.map_err(|failure| failure.to_string())?.total_count)
        })
    }

    /// CPU seconds that it has used.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn cpu_seconds(&self) -> Result<f64, Failure> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name of the program may hold blanks; what follows it does not.
        let (_, fields) = text.rsplit_once(')').ok_or("no name in /proc")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| -> Result<f64, Failure> {
            Ok(fields.get(at).ok_or("no time in /proc")?.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
