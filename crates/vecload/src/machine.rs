//! What measurements ran on.

use serde::Serialize;

/// The machine and the system, as far as they can be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Cores that this process may use: affinity and the quota of its control group count.
    pub cores: usize,
    /// The name of the processor.
    pub processor: Option<String>,
    /// Memory of the whole machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system.
    pub system: &'static str,
    /// The version of its kernel.
    pub kernel: Option<String>,
    /// The architecture that the program was built for.
    pub architecture: &'static str,
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: value_of("/proc/cpuinfo", "model name"),
            memory_bytes: value_of("/proc/meminfo", "MemTotal").and_then(|text| {
                let kilobytes: u64 = text.strip_suffix("kB")?.trim_end().parse().ok()?;
                Some(kilobytes * 1024)
            }),
            system: std::env::consts::OS,
            kernel: kernel.map(|text| text.trim().to_owned()),
            architecture: std::env::consts::ARCH,
        }
    }

    /// CPU time of all threads of this process until now, in seconds.
    #[must_use]
    pub fn process_cpu_seconds() -> f64 {
        crate::usage::cpu_seconds()
    }
}

fn value_of(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
