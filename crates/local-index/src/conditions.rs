//! The conditions under which the index serves: quotas, latency that grows with load, outages.
//!
//! They are data, and two things are made of them. [`Model`] is a pure state machine: time and seed
//! are handed in, so tests run it in virtual time. [`Enforced`] lets a model decide over real requests
//! in real time. What the service really does is not documented, so there are several shapes.

mod enforced;
mod model;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub(crate) use enforced::Enforced;
pub use model::{Limit, Model, Reply};

/// What the index makes its clients meet. Without it there is no quota and no outage.
///
/// Each namespace has quotas and workers of its own; outages, the link and GOAWAY concern the whole
/// server. Seconds count from the first upsert.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// The quota of a namespace: `[from second, bytes per second]`, in order of the seconds.
    pub bytes_per_second: Vec<[f64; 2]>,
    /// A second quota, in requests. `None`: none.
    pub requests_per_second: Option<f64>,
    /// How bytes are counted.
    pub quota: Quota,
    /// What the bucket holds, in seconds of the quota.
    pub burst_seconds: f64,
    /// Whether refused bytes are charged too (to a bucket only, down to its size below zero).
    pub charge_refused: bool,
    /// `[from second, to second, bytes per second]` that others take of the quota first.
    pub other_tenant: Vec<[f64; 3]>,
    /// Requests that a namespace works on at once; more of them queue, and latency grows.
    pub workers: usize,
    /// The mean time of work on a request, besides its bytes, in seconds.
    pub service_seconds: f64,
    /// How fast a worker takes the bytes of a request.
    pub worker_bytes_per_second: f64,
    /// The share of requests within the quota that fail all the same (UNAVAILABLE).
    pub errors: f64,
    /// Times in which the server is away, in order.
    pub outages: Vec<Outage>,
    /// How fast bytes reach the server over all connections together. `None`: as they come.
    pub link_bytes_per_second: Option<f64>,
    /// Each connection is told to go (GOAWAY) when it has carried so many requests.
    pub goaway_after: Option<u32>,
    /// Namespaces that are unlike the others, by name.
    pub namespaces: BTreeMap<String, NamespaceConditions>,
}

/// The shape of a quota in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quota {
    /// A token bucket.
    Bucket,
    /// So much in each whole second.
    Window,
}

/// A time in which the server is away.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Its first second.
    pub from: f64,
    /// The second at which it is over.
    pub to: f64,
    /// What it looks like.
    pub kind: OutageKind,
}

/// What an outage looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutageKind {
    /// Connections are closed, and new ones are closed as they come.
    Reset,
    /// Connections stay, but nothing is read or written.
    Hole,
    /// Connections are closed, and new ones are served only when it is over.
    Accept,
}

/// What is different about one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceConditions {
    /// Its own quota, at all times.
    pub bytes_per_second: Option<f64>,
    /// Its own quota in requests.
    pub requests_per_second: Option<f64>,
    /// It takes no writes.
    pub refuse: Option<NamespaceRefusal>,
}

/// Why a namespace takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceRefusal {
    /// Its name is an alias.
    Alias,
    /// The index has as many namespaces as it may have.
    NamespaceLimit,
}

/// A scenario file, of which a server needs one part; the others are for whoever plays the clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// The conditions, as `[server]`.
    #[serde(default)]
    pub server: Conditions,
    #[serde(default, rename = "title")]
    _title: IgnoredAny,
    #[serde(default, rename = "run")]
    _run: IgnoredAny,
    #[serde(default, rename = "clients")]
    _clients: IgnoredAny,
    #[serde(default, rename = "reference")]
    _reference: IgnoredAny,
    #[serde(default, rename = "expect")]
    _expect: IgnoredAny,
}

// === impl Conditions ===

impl Default for Conditions {
    /// The documented ceiling of a namespace as a bucket of one second, and some 100 ms of work for 1 MB.
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
            link_bytes_per_second: None,
            goaway_after: None,
            namespaces: BTreeMap::new(),
        }
    }
}

impl Conditions {
    /// The quota that others leave of a namespace like most, at a second, in bytes per second.
    pub fn capacity(&self, now: f64) -> f64 {
        let own = self.bytes_per_second.iter().rfind(|[from, _]| *from <= now);
        let others = self
            .other_tenant
            .iter()
            .filter(|[from, to, _]| (*from..*to).contains(&now))
            .map(|[_, _, rate]| rate);
        (own.map_or(0.0, |[_, rate]| *rate) - others.sum::<f64>()).max(0.0)
    }

    /// The first outage that has a part of the time between two seconds.
    pub fn outage_within(&self, from: f64, to: f64) -> Option<&Outage> {
        self.outages
            .iter()
            .find(|outage| outage.from < to && from < outage.to)
    }

    /// Says what is wrong with these conditions, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let steps = &self.bytes_per_second;
        if steps.first().is_none_or(|[from, _]| *from != 0.0)
            || !steps.is_sorted_by(|[one, _], [other, _]| one < other)
        {
            return Err(
                "bytes_per_second must be [from second, bytes per second] in order, the first from 0"
                    .to_owned(),
            );
        }
        let special = self.namespaces.values();
        let rates = steps
            .iter()
            .map(|[_, rate]| ("bytes_per_second", Some(*rate)))
            .chain([
                ("requests_per_second", self.requests_per_second),
                ("burst_seconds", Some(self.burst_seconds)),
                ("service_seconds", Some(self.service_seconds)),
                (
                    "worker_bytes_per_second",
                    Some(self.worker_bytes_per_second),
                ),
                ("link_bytes_per_second", self.link_bytes_per_second),
            ])
            .chain(special.flat_map(|special| {
                [
                    ("a namespace's bytes_per_second", special.bytes_per_second),
                    (
                        "a namespace's requests_per_second",
                        special.requests_per_second,
                    ),
                ]
            }));
        for (name, value) in rates {
            if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
                return Err(format!(
                    "{name} is {}; give more than 0",
                    value.unwrap_or_default()
                ));
            }
        }
        if self.workers == 0 || self.goaway_after == Some(0) {
            return Err("workers and goaway_after must be 1 at least".to_owned());
        }
        if !(0.0..=1.0).contains(&self.errors) {
            return Err(format!("errors is {}; give a share of 0 to 1", self.errors));
        }
        let ends = |outage: &Outage| outage.from >= 0.0 && outage.from < outage.to;
        if !self.outages.iter().all(ends)
            || !self.outages.is_sorted_by(|one, other| one.to <= other.from)
        {
            return Err(
                "outages must begin before they end, one after the other, in order".to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a scenario file with all its parts, and files with a key that no part has.
    /// Guarantees: the server's part is read and the others are passed over; a misspelt part or key is named.
    #[test]
    fn a_scenario_file_holds_conditions() {
        let file: ScenarioFile = toml::from_str(
            "title = \"t\"\nreference = [1, 2]\n[run]\nseconds = 9\n[clients]\nreplicas = 3\n\
             [server]\nquota = \"window\"\nworkers = 4\nbytes_per_second = [[0, 5e6], [10, 1e6]]\n\
             outages = [{ from = 1, to = 2, kind = \"accept\" }]\n\
             [server.namespaces.a]\nrefuse = \"namespace_limit\"\n[expect]\njain = 1\n",
        )
        .expect("a good file");
        let server = file.server;
        assert_eq!(server.check(), Ok(()));
        assert_eq!((server.quota, server.workers), (Quota::Window, 4));
        assert_eq!((server.capacity(9.9), server.capacity(10.0)), (5e6, 1e6));
        assert_eq!(
            server.namespaces["a"].refuse,
            Some(NamespaceRefusal::NamespaceLimit)
        );
        let outage = server.outage_within(0.0, 1.5).expect("an outage");
        assert_eq!(outage.kind, OutageKind::Accept);
        assert_eq!(server.outage_within(2.0, 9.0), None);
        for (text, named) in [
            ("[sever]\n", "sever"),
            ("[server]\nquotas = \"window\"\n", "quotas"),
        ] {
            let error = toml::from_str::<ScenarioFile>(text).expect_err("misspelt");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    /// Scenario: conditions that cannot be.
    /// Guarantees: each is refused by name, and the default is not.
    #[test]
    fn impossible_conditions_are_refused() {
        let usual = Conditions::default;
        assert_eq!(usual().check(), Ok(()));
        let outage = |from, to| Outage {
            from,
            to,
            kind: OutageKind::Reset,
        };
        let bad = [
            (
                Conditions {
                    bytes_per_second: vec![[5.0, 1.0]],
                    ..usual()
                },
                "from 0",
            ),
            (
                Conditions {
                    requests_per_second: Some(0.0),
                    ..usual()
                },
                "requests_per_second is 0",
            ),
            (
                Conditions {
                    burst_seconds: f64::NAN,
                    ..usual()
                },
                "burst_seconds is NaN",
            ),
            (
                Conditions {
                    workers: 0,
                    ..usual()
                },
                "workers",
            ),
            (
                Conditions {
                    errors: 1.5,
                    ..usual()
                },
                "errors is 1.5",
            ),
            (
                Conditions {
                    outages: vec![outage(5.0, 6.0), outage(1.0, 2.0)],
                    ..usual()
                },
                "in order",
            ),
            (
                Conditions {
                    outages: vec![outage(5.0, 5.0)],
                    ..usual()
                },
                "begin before",
            ),
        ];
        for (conditions, named) in bad {
            let error = conditions.check().expect_err(named);
            assert!(error.contains(named), "{error}");
        }
    }
}
