//! What a measurement ran on, in the lines of Markdown that open its archive.

use std::fs;
use std::path::Path;
use std::process::Command;

use vecload::Machine;

/// The machine, the system, and the versions of what is measured. What cannot be found out is left out.
#[must_use]
pub fn describe(vecload: &Path) -> String {
    let mut lines = Vec::new();
    let machine = Machine::this();
    let processor = machine.processor.unwrap_or_default();
    let memory = machine.memory_bytes.unwrap_or_default() / 1_000_000_000;
    lines.push(format!(
        "* {} cores of {processor}, {memory} GB",
        machine.cores
    ));
    let kernel = machine.kernel.unwrap_or_default();
    lines.push(format!(
        "* {} {kernel}, {}",
        machine.system, machine.architecture
    ));
    if let Some(load) = load_average() {
        lines.push(format!("* load average at the start: {load}"));
    }
    lines.extend(said_by(vecload, &["--version"]).map(|version| format!("* {version}")));
    let commit = said_by(Path::new("git"), &["describe", "--always", "--dirty"]);
    lines.extend(commit.map(|commit| format!("* commit {commit}")));
    lines.extend(said_by(Path::new("rustc"), &["--version"]).map(|version| format!("* {version}")));
    lines.join("\n")
}

/// How many processes wanted a core in the last one, five and fifteen minutes.
#[must_use]
pub fn load_average() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let all: Vec<&str> = text.split_whitespace().take(3).collect();
    Some(all.join(" "))
}

fn said_by(program: &Path, arguments: &[&str]) -> Option<String> {
    let out = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_owned())
}
