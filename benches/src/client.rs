//! A client as a process of its own, and what it cost.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::Failure;

/// What a client says at its end: one JSON document on stdout. The report of `vecload load --json` is
/// one too; fields that are not here may stand beside them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    /// Records that were acknowledged; of a program that only reads, records read.
    #[serde(alias = "records_loaded")]
    pub records: u64,
    /// The CPU seconds that count, where they are not those of the whole process: without what is
    /// done before the work begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_cpu_seconds: Option<f64>,
    /// The most memory that the process held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// Bytes sent.
    #[serde(alias = "bytes_sent", skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A process that has run to its end.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it said.
    pub account: Account,
    /// User and system time that counts.
    pub cpu_seconds: f64,
    /// From start to end.
    pub wall_seconds: f64,
}

/// Runs a client to its end, on one core if one is named.
///
/// # Errors
///
/// It cannot be started, it fails, or it says nothing that can be read.
pub fn run(command: &mut Command, core: Option<usize>) -> Result<Run, Failure> {
    command.stdout(Stdio::piped());
    let program = command.get_program().display().to_string();
    let failed = |what: &str| Failure::from(format!("{program}: {what}"));
    // Of children, the system counts those that were waited for: what is added is this one's.
    let before = cpu(getrusage(UsageWho::RUSAGE_CHILDREN)?);
    let begun = Instant::now();
    let child = on_core(core, || command.spawn())?.map_err(|error| failed(&error.to_string()))?;
    let out = child.wait_with_output()?;
    let wall_seconds = begun.elapsed().as_secs_f64();
    let whole = (cpu(getrusage(UsageWho::RUSAGE_CHILDREN)?) - before).as_secs_f64();
    if !out.status.success() {
        return Err(failed(&out.status.to_string()));
    }
    let account: Account = serde_json::from_slice(&out.stdout)
        .map_err(|error| failed(&format!("what it printed is no account: {error}")))?;
    Ok(Run {
        cpu_seconds: account.own_cpu_seconds.unwrap_or(whole),
        account,
        wall_seconds,
    })
}

/// Does something that starts a process, so that the process stays on one core if one is named and if
/// there is more than one.
///
/// # Errors
///
/// The system does not let itself be told.
pub fn on_core<T>(core: Option<usize>, start: impl FnOnce() -> T) -> Result<T, Failure> {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    match core {
        Some(core) if all.is_set(core)? => one.set(core)?,
        _ => return Ok(start()),
    }
    // A process begins where the thread that starts it may run.
    sched_setaffinity(this, &one)?;
    let started = start();
    sched_setaffinity(this, &all)?;
    Ok(started)
}

/// CPU time of this process until now.
///
/// # Errors
///
/// The system does not say.
pub fn own_cpu() -> Result<Duration, Failure> {
    Ok(cpu(getrusage(UsageWho::RUSAGE_SELF)?))
}

fn cpu(usage: Usage) -> Duration {
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}
