//! The service as a model, and pacers against it: a discrete-event simulation without a wall clock.
//!
//! Scenarios are data (`tests/scenarios/flow/*.toml`): what the service does, who sends, and what is to
//! come out. The model is the one of the published comparison: a quota that is charged when a request
//! has arrived, a queue with workers behind it, outages. It is not the live service, whose quota's
//! shape is unknown: so there are several shapes, and the law must do well on all of them.

mod clients;
mod figures;

use std::collections::BinaryHeap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;

pub(crate) use figures::{Figures, mean};

/// A scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What the table calls it.
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) run: RunPart,
    #[serde(default)]
    pub(crate) server: ServerPart,
    #[serde(default)]
    pub(crate) clients: ClientsPart,
    /// What the reference law reached: utilisation and refused requests in percent.
    pub(crate) reference: Option<[f64; 2]>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// How long it runs, and what is looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunPart {
    pub(crate) seconds: f64,
    /// Seconds before which nothing counts.
    pub(crate) warm_seconds: f64,
    /// Times from which recovery to 90 % is measured.
    pub(crate) recover_from: Vec<f64>,
    /// What can be reached, where it is not the quota that binds.
    pub(crate) ceiling: Option<f64>,
}

/// The shape of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Quota {
    /// A token bucket.
    Bucket,
    /// So much in each whole second.
    Window,
}

/// What an outage looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutageKind {
    /// Connections are reset.
    Reset,
    /// Nothing is answered.
    Hole,
}

/// What the service does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerPart {
    /// `[from second, bytes per second]`, in order.
    pub(crate) bytes_per_second: Vec<[f64; 2]>,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) quota: Quota,
    /// What the bucket holds, in seconds.
    pub(crate) burst_seconds: f64,
    /// Whether refused bytes are charged too.
    pub(crate) charge_refused: bool,
    /// `[from second, to second, bytes per second]` that others take first.
    pub(crate) other_tenant: Vec<[f64; 3]>,
    pub(crate) workers: usize,
    pub(crate) service_seconds: f64,
    pub(crate) worker_bytes_per_second: f64,
    /// The share of accepted requests that fail all the same.
    pub(crate) errors: f64,
    pub(crate) outages: Vec<Outage>,
}

/// A time in which the service is away.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) kind: OutageKind,
}

/// Who sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientsPart {
    pub(crate) replicas: u32,
    pub(crate) batch_bytes: f64,
    /// Seconds, of each replica.
    pub(crate) round_trips: Vec<f64>,
    pub(crate) starts: Vec<f64>,
    pub(crate) stops: Vec<f64>,
    /// The namespace rate that the user states as a hint; none: the documented one.
    pub(crate) hint: Option<f64>,
    /// The speed of each replica's uplink.
    pub(crate) link_bytes_per_second: Option<f64>,
    /// What one attempt may take.
    pub(crate) attempt_seconds: f64,
}

/// What is to come out, means over the seeds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    /// Percent, where the reference has none or is not to be reached.
    pub(crate) utilisation: Option<f64>,
    pub(crate) refused: Option<f64>,
    pub(crate) jain: Option<f64>,
    pub(crate) ramp_seconds: Option<f64>,
    pub(crate) recovery_seconds: Option<f64>,
    pub(crate) failed_requests: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
}

/// What became of a request at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    Throttled,
    Unavailable,
    Silence,
}

/// The service's state.
#[derive(Debug)]
pub(crate) struct Server {
    part: ServerPart,
    tokens: f64,
    request_tokens: f64,
    seen: f64,
    window: (f64, f64),
    /// When each worker is free, negated: the heap gives the greatest.
    free: BinaryHeap<std::cmp::Reverse<Ordered>>,
    random: StdRng,
}

/// A finite number in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ordered(pub(crate) f64);

/// A request that would wait longer than this is refused as overload, in seconds.
const LONGEST_QUEUE: f64 = 10.0;
/// The time to refuse, in seconds.
const REFUSING: f64 = 0.002;
/// The spread of service times (log-normal).
const SPREAD: f64 = 0.3;

// === impl Scenario ===

impl Scenario {
    /// All scenario files, by name.
    pub(crate) fn all() -> Vec<(String, Self)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/flow");
        let mut found: Vec<_> = std::fs::read_dir(folder)
            .expect("the scenarios")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let text = std::fs::read_to_string(&path).expect("a file");
                let name = path.file_stem().expect("a name").to_string_lossy();
                let scenario = toml::from_str(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                (name.into_owned(), scenario)
            })
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    /// The scenario of that name.
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::all().into_iter().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("no scenario {name}")).1
    }

    /// Runs it with a seed.
    pub(crate) fn run(&self, seed: u64) -> Figures {
        Figures::of(self, &clients::run(self, seed))
    }
}

impl Default for RunPart {
    fn default() -> Self {
        Self {
            seconds: 240.0,
            warm_seconds: 60.0,
            recover_from: Vec::new(),
            ceiling: None,
        }
    }
}

impl Default for ServerPart {
    fn default() -> Self {
        Self {
            bytes_per_second: vec![[0.0, 50e6]],
            requests_per_second: None,
            quota: Quota::Bucket,
            burst_seconds: 1.0,
            charge_refused: false,
            other_tenant: Vec::new(),
            workers: 64,
            service_seconds: 0.08,
            worker_bytes_per_second: 50e6,
            errors: 0.0,
            outages: Vec::new(),
        }
    }
}

impl ServerPart {
    /// The quota that is left at a time, in bytes per second.
    pub(crate) fn capacity(&self, now: f64) -> f64 {
        let own = self.bytes_per_second.iter().rfind(|[from, _]| *from <= now);
        let others = self
            .other_tenant
            .iter()
            .filter(|[from, to, _]| (*from..*to).contains(&now))
            .map(|[_, _, rate]| rate);
        own.map_or(0.0, |[_, rate]| *rate) - others.sum::<f64>()
    }
}

impl Default for ClientsPart {
    fn default() -> Self {
        Self {
            replicas: 1,
            batch_bytes: 1e6,
            round_trips: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            hint: None,
            link_bytes_per_second: None,
            attempt_seconds: 10.0,
        }
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn new(part: &ServerPart, seed: u64) -> Self {
        Self {
            tokens: part.capacity(0.0) * part.burst_seconds,
            request_tokens: part.requests_per_second.unwrap_or(0.0),
            seen: 0.0,
            window: (-1.0, 0.0),
            free: vec![std::cmp::Reverse(Ordered(0.0)); part.workers].into(),
            random: StdRng::seed_from_u64(seed ^ 0x5e41),
            part: part.clone(),
        }
    }

    /// A whole request arrives: what becomes of it, and when that leaves the service.
    pub(crate) fn arrives(&mut self, now: f64, bytes: f64) -> (Reply, f64) {
        let (start, queue) = match self.free.peek() {
            Some(std::cmp::Reverse(free)) => (free.0.max(now), free.0 - now),
            None => (now, 0.0),
        };
        if !self.admits(now, bytes) || queue > LONGEST_QUEUE {
            return (Reply::Throttled, now + REFUSING);
        }
        // Box and Muller, shifted so that the mean stays.
        let uniform: (f64, f64) = (1.0 - self.random.random::<f64>(), self.random.random());
        let normal = (-2.0 * uniform.0.ln()).sqrt() * (std::f64::consts::TAU * uniform.1).cos();
        let service = self.part.service_seconds * (SPREAD * normal - 0.5 * SPREAD * SPREAD).exp();
        let done = start + service + bytes / self.part.worker_bytes_per_second;
        self.free.pop();
        self.free.push(std::cmp::Reverse(Ordered(done)));
        if self.random.random::<f64>() < self.part.errors {
            return (Reply::Unavailable, done);
        }
        (Reply::Taken, done)
    }

    fn admits(&mut self, now: f64, bytes: f64) -> bool {
        let capacity = self.part.capacity(now);
        let elapsed = now - self.seen;
        self.seen = now;
        self.tokens = (self.tokens + elapsed * capacity).min(capacity * self.part.burst_seconds);
        if let Some(rate) = self.part.requests_per_second {
            self.request_tokens = (self.request_tokens + elapsed * rate).min(rate);
            if self.request_tokens < 1.0 {
                return false;
            }
        }
        match self.part.quota {
            Quota::Window => {
                if self.window.0 < now.floor() {
                    self.window = (now.floor(), 0.0);
                }
                if self.window.1 + bytes > capacity {
                    return false;
                }
                self.window.1 += bytes;
            }
            Quota::Bucket if self.tokens < bytes => {
                if self.part.charge_refused {
                    let least = -capacity * self.part.burst_seconds;
                    self.tokens = (self.tokens - bytes).max(least);
                }
                return false;
            }
            Quota::Bucket => self.tokens -= bytes,
        }
        self.request_tokens -= 1.0;
        true
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

mod tests;
