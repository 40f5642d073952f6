//! Pacers against the model of the service: a discrete-event simulation without a wall clock.
//!
//! Scenarios are data (`tests/scenarios/flow/*.toml`): what the service does, who sends, and what is to
//! come out. The model is the local index's, which serves under the same files (`vecload serve
//! --scenario`). It is not the live service, whose quota's shape is unknown: so there are several
//! shapes, and the law must do well on all of them.

mod clients;
mod figures;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vecload_local_index::Conditions;

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
    pub(crate) server: Conditions,
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

/// Who sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClientsPart {
    pub(crate) replicas: u32,
    pub(crate) batch_bytes: f64,
    /// Whether batches are sent in parts where the pace is low.
    pub(crate) are_cut: bool,
    /// Seconds, of each replica.
    pub(crate) round_trips: Vec<f64>,
    pub(crate) starts: Vec<f64>,
    pub(crate) stops: Vec<f64>,
    /// The namespace rate that the user states as a hint; none: the documented one.
    pub(crate) hint: Option<f64>,
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

/// What became of a request, as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    Throttled,
    Unavailable,
    Silence,
}

// === impl Scenario ===

impl Scenario {
    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/flow")
    }

    /// All scenario files, by name.
    pub(crate) fn all() -> Vec<(String, Self)> {
        let mut found: Vec<_> = std::fs::read_dir(Self::folder())
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

impl Default for ClientsPart {
    fn default() -> Self {
        Self {
            replicas: 1,
            batch_bytes: 1e6,
            are_cut: true,
            round_trips: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            hint: None,
            attempt_seconds: 10.0,
        }
    }
}

mod tests;
