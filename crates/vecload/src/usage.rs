//! What the process has used.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// CPU time of all its threads, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    usage().map_or(0.0, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        micros as f64 / 1e6
    })
}

/// The most memory that it had, in bytes.
pub(crate) fn peak_rss_bytes() -> u64 {
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    peak_of_this_program()
        .or_else(|| Some(u64::try_from(usage()?.max_rss()).ok()? * unit))
        .unwrap_or(0)
}

fn usage() -> Option<Usage> {
    getrusage(UsageWho::RUSAGE_SELF).ok()
}

/// The peak as Linux keeps it for the program alone. `getrusage` counts what the process had before it
/// became this program too: a large parent that spawns vecload would stand in the report.
fn peak_of_this_program() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes * 1024)
}
