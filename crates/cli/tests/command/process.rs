//! Processes of the command: loads that end, and servers for as long as a test wants them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The command with an empty environment, so that nobody's own settings are in force.
pub(crate) fn vecload(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vecload"));
    command
        .env_clear()
        .current_dir(folder.path())
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let output = vecload(folder).args(arguments).output();
    output.expect("the command runs")
}

/// What it said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The last line on stderr.
pub(crate) fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

/// Writes a file into the folder.
pub(crate) fn write(folder: &TempDir, name: &str, content: &str) {
    std::fs::write(folder.path().join(name), content).expect("written");
}

/// Good lines of JSONL with vectors of four values.
pub(crate) fn lines(count: usize) -> String {
    (1..=count)
        .map(|number| format!("{{\"id\":\"r{number}\",\"values\":[{number},1,2,3]}}\n"))
        .collect()
}

/// The report of a run.
pub(crate) fn report(run_dir: &Path) -> Value {
    let text = std::fs::read(run_dir.join("report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

/// `vecload serve` in a process of its own, ended with this value.
pub(crate) struct Server {
    process: Child,
    /// As `--host` takes it.
    pub(crate) host: String,
}

impl Server {
    pub(crate) fn start(folder: &TempDir, arguments: &[&str]) -> Self {
        let mut process = vecload(folder)
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server runs");
        let mut line = String::new();
        let out = process.stdout.take().expect("piped");
        let read = BufReader::new(out).read_line(&mut line);
        // From here on it is ended, whatever fails.
        let mut server = Self {
            process,
            host: String::new(),
        };
        read.expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        server.host = format!("http://{}", ready["host"].as_str().expect("a host"));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
