//! Lanes and deliveries as they are, on tokio's paused clock, against the model of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;
use vecload_local_index::{Conditions, Model, NamespaceConditions, NamespaceRefusal, Reply};
use vecload_pinecone::{FRAME_PREFIX, Limits};
use vecload_record::{At, Dense, Metadata, Operation, RecordRef};

use super::*;
use crate::batcher::Batcher;
use crate::lane::Shared;
use crate::memory::WaitsFor;
use crate::namespace::Namespaces;
use crate::pacer::simulation::Scenario;
use crate::pacer::{Pacer, Rates};
use crate::target::scripted::{Answer, Scripted, Seen, failure};
use crate::units::ByteRate;
use crate::waits::{Limit, LimitedBy};

/// The service: a quota for each namespace, behind the one uplink of the process.
struct Service {
    model: Mutex<Model>,
    /// Bytes per second.
    link: Option<f64>,
    /// The way there, in seconds.
    latency: f64,
    link_free: Mutex<f64>,
    start: Instant,
}

/// Who sends to it.
struct Senders {
    namespaces: Vec<String>,
    /// Batches of each namespace that are being delivered at any time.
    batches: usize,
    /// Records of 20 kB in a batch.
    records: usize,
    seconds: f64,
    in_flight: usize,
    /// The limit on all namespaces together, in bytes per second.
    total_rate: Option<f64>,
}

/// What came of it.
struct Outcomes {
    /// Bytes loaded, by namespace.
    loaded: BTreeMap<String, f64>,
    rejected: usize,
    /// Namespaces that were closed.
    closed: BTreeSet<String>,
    seen: Vec<Seen>,
    traffic: crate::traffic::TrafficCounts,
    limited_by: LimitedBy,
}

impl Default for Senders {
    /// More than enough batches of 1 MB for one namespace, for a minute.
    fn default() -> Self {
        Self {
            namespaces: vec!["ns".to_owned()],
            batches: 40,
            records: 50,
            seconds: 60.0,
            in_flight: 64,
            total_rate: None,
        }
    }
}

// === impl Service ===

impl Service {
    fn answer(&self, seen: &Seen) -> (Duration, Answer) {
        let now = (seen.at - self.start).as_secs_f64();
        let mut arrives = now + self.latency;
        if let Some(speed) = self.link {
            let mut free = self.link_free.lock().expect("no panic");
            *free = free.max(now) + seen.bytes as f64 / speed;
            arrives = *free + self.latency;
        }
        let mut model = self.model.lock().expect("no panic");
        let (reply, done) = model.arrives(arrives, &seen.namespace, seen.bytes as f64);
        let answer = match reply {
            Reply::Taken => Answer::Ok,
            Reply::Throttled(_) => Answer::Fail(failure(
                Code::ResourceExhausted,
                "Request failed. You've reached the max upsert size limit per second for index i. Pace your upserts.",
            )),
            Reply::Unavailable => Answer::Fail(failure(Code::Unavailable, "unavailable")),
            Reply::Refused(_) => Answer::Fail(failure(
                Code::PermissionDenied,
                "Request failed. You've reached the max namespaces allowed in serverless index i. To add more namespaces, upgrade your plan.",
            )),
        };
        (Duration::from_secs_f64(done - now), answer)
    }
}

/// Delivers batches for a time, through one lane for each namespace, over so many seconds of way.
async fn deliver(senders: Senders, conditions: &Conditions, latency: f64) -> Outcomes {
    let service = Service {
        model: Mutex::new(Model::new(conditions, 1)),
        link: conditions.link_bytes_per_second,
        latency,
        link_free: Mutex::new(0.0),
        start: Instant::now(),
    };
    let limits = Limits::default();
    let (events_in, events) = async_channel::unbounded();
    let attempt = Duration::from_secs(60);
    let largest = limits.request_bytes + FRAME_PREFIX;
    let traffic = Arc::new(Traffic::new(1));
    let shared = Arc::new(Shared::new(
        senders.in_flight,
        ByteRate(senders.total_rate),
        largest,
        attempt,
        Arc::clone(traffic.waits()),
    ));
    let sending = Arc::new(Sending {
        target: Arc::new(Scripted::new(limits, move |seen| service.answer(seen))),
        memory: Memory::new(2 << 30, largest),
        cap: Arc::new(RequestCap::new(limits.request_bytes)),
        stop: Arc::new(Stop::default()),
        stall: Arc::new(Stall::new(Duration::from_secs(900))),
        traffic,
        prospects: Prospects::new(false),
        quarantine: Duration::from_secs(120),
        sampler: None,
        random: jitter(1),
        events: events_in,
    });
    let namespaces = Arc::new(Namespaces::default());
    let mut lanes = Vec::new();
    let mut tasks = JoinSet::new();
    for (number, name) in senders.namespaces.iter().enumerate() {
        let random = StdRng::seed_from_u64(number as u64);
        let pacer = Pacer::new(&Rates::ADAPTIVE, Instant::now(), random);
        let lane = Arc::new(Lane::new(namespaces.get(name), pacer, Arc::clone(&shared)));
        let batch = batch(&sending, &namespaces, name, senders.records);
        for _ in 0..senders.batches {
            let (lane, sending, batch) = (Arc::clone(&lane), Arc::clone(&sending), batch.clone());
            tasks.spawn(async move {
                while !sending.stop.is_stopping() && lane.closed().is_none() {
                    sending.deliver(&lane, batch.clone()).await;
                }
            });
        }
        lanes.push(lane);
    }
    tokio::time::sleep(Duration::from_secs_f64(senders.seconds)).await;
    let limited_by = sending.traffic.waits().of_run();
    let end = StopReason::new("signal", ExitCode::Interrupted, "the end");
    sending.stop.stop(end);
    tasks.join_all().await;
    let mut outcomes = Outcomes {
        loaded: BTreeMap::new(),
        rejected: 0,
        closed: lanes
            .iter()
            .filter(|lane| lane.closed().is_some())
            .map(|lane| lane.namespace.name().to_owned())
            .collect(),
        seen: sending.target.seen(),
        traffic: sending.traffic.counts(),
        limited_by,
    };
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Loaded(rows) => {
                let name = rows.namespace.name().to_owned();
                *outcomes.loaded.entry(name).or_default() += rows.bytes as f64;
            }
            _ => outcomes.rejected += 1,
        }
    }
    outcomes
}

/// A batch of records of 20 kB.
fn batch(
    sending: &Sending<Scripted>,
    namespaces: &Arc<Namespaces>,
    name: &str,
    records: usize,
) -> EncodedBatch {
    let (sealed_in, sealed) = async_channel::unbounded();
    let mut batcher = Batcher::new(
        Arc::clone(&sending.target),
        Arc::clone(&sending.memory),
        Arc::clone(&sending.cap),
        Arc::clone(namespaces),
        sealed_in,
    );
    let slot = batcher.slot(name);
    let values = vec![1.0; 4_990];
    for number in 0..records as u64 {
        let record = RecordRef {
            operation: Operation::Upsert,
            namespace: None,
            id: &format!("id-{number}"),
            dense: Some(Dense::Floats(&values)),
            sparse: None,
            metadata: Metadata::Absent,
        };
        let at = At {
            row: number,
            locator: number,
        };
        batcher
            .push(&record, slot, 0, at, WaitsFor::Namespace)
            .expect("taken");
    }
    batcher.flush().expect("sent");
    sealed.try_recv().expect("one batch")
}

/// Scenario: requests of 2 MB over uplinks of 1.25 and 12.5 MB/s with 100 ms of latency; enough of them
/// that on the thinner one they would stand in the link for longer than an attempt's minute.
/// Guarantees: 95 % of the link is used, and not one attempt is repeated: none timed out for slowness.
#[tokio::test(start_paused = true)]
async fn a_thin_uplink_is_filled_without_timeouts() {
    for (name, seconds) in [("j1-link-thin", 300.0), ("j2-link-middling", 60.0)] {
        let senders = Senders {
            batches: 64,
            records: 99,
            seconds,
            ..Senders::default()
        };
        let server = Scenario::named(name).server;
        let speed = server.link_bytes_per_second.expect("a link");
        let outcomes = deliver(senders, &server, 0.1).await;
        let used = outcomes.loaded["ns"] / (speed * seconds);
        assert!(used >= 0.95, "{used:.3} of {speed}");
        assert_eq!(outcomes.traffic.retries, 0, "at {speed}");
    }
}

/// Scenario: the thirty percent of random failures of the scenario file, through one real lane.
/// Guarantees: the lane reaches 95 % of the goodput that the failures leave, and nothing is rejected.
#[tokio::test(start_paused = true)]
async fn random_failures_cost_no_goodput() {
    let senders = Senders {
        seconds: 90.0,
        ..Senders::default()
    };
    let server = Scenario::named("i1-errors-30").server;
    let outcomes = deliver(senders, &server, 0.0).await;
    let used = outcomes.loaded["ns"] / (0.7 * 50e6 * 90.0);
    // The first seconds are the ramp.
    assert!(used >= 0.92, "{used:.3}");
    assert_eq!((outcomes.rejected, outcomes.closed.len()), (0, 0));
}

/// Scenario: a ceiling of 10 MB/s under requests of 1 MB, of which it takes ten a second, through one real lane.
/// Guarantees: it is used, batches go in parts, and at most two requests in a hundred are refused, those of the
/// first search included.
#[tokio::test(start_paused = true)]
async fn a_low_ceiling_is_met_with_small_requests() {
    let conditions = Conditions {
        bytes_per_second: vec![[0.0, 10e6]],
        ..Conditions::default()
    };
    let outcomes = deliver(Senders::default(), &conditions, 0.0).await;
    let used = outcomes.loaded["ns"] / (10e6 * 60.0);
    assert!(used >= 0.97, "{used:.3}");
    let (refused, all) = (outcomes.traffic.throttled, outcomes.seen.len() as u64);
    assert!(refused <= all / 50, "{refused} of {all}");
    let half = &outcomes.seen[outcomes.seen.len() / 2..];
    assert!(half.iter().all(|seen| seen.bytes < 300_000));
}

/// Scenario: 300 namespaces, one of which is throttled to a hundredth and one of which takes no writes.
/// Guarantees: the others are as fast as without those two, the refused one is closed after one
/// round of requests, and nothing is rejected.
#[tokio::test(start_paused = true)]
async fn a_namespace_suffers_alone() {
    let names: Vec<String> = (0..300).map(|number| format!("n{number:03}")).collect();
    let free = Conditions {
        bytes_per_second: vec![[0.0, 1e6]],
        ..Conditions::default()
    };
    let throttled = NamespaceConditions {
        bytes_per_second: Some(1e4),
        ..NamespaceConditions::default()
    };
    let refused = NamespaceConditions {
        refuse: Some(NamespaceRefusal::NamespaceLimit),
        ..NamespaceConditions::default()
    };
    let mut speeds = Vec::new();
    for hindered in [false, true] {
        let senders = Senders {
            namespaces: names.clone(),
            batches: 2,
            records: 5,
            seconds: 20.0,
            ..Senders::default()
        };
        let mut conditions = free.clone();
        if hindered {
            conditions.namespaces =
                [("n007".to_owned(), throttled), ("n008".to_owned(), refused)].into();
        }
        let outcomes = deliver(senders, &conditions, 0.0).await;
        assert_eq!(outcomes.rejected, 0);
        let others = |name: &&String| !["n007", "n008"].contains(&name.as_str());
        let speed: f64 = names
            .iter()
            .filter(others)
            .map(|name| outcomes.loaded[name])
            .sum();
        speeds.push(speed);
        let closed: Vec<&str> = outcomes.closed.iter().map(String::as_str).collect();
        if hindered {
            assert_eq!(closed, ["n008"]);
            let refused = outcomes.seen.iter().filter(|seen| seen.namespace == "n008");
            assert!(refused.count() <= 2, "no request after the verdict");
        } else {
            assert!(closed.is_empty());
        }
    }
    assert!(speeds[1] >= 0.95 * speeds[0], "{speeds:?}");
}

/// Scenario: a service that fails every request for half a minute, with one namespace and with 300.
/// Guarantees: what is wasted on it does not grow with the number of namespaces beyond what each had under way:
/// the probes come out of one budget.
#[tokio::test(start_paused = true)]
async fn an_outage_costs_the_same_with_many_namespaces() {
    let conditions = Conditions {
        errors: 1.0,
        ..Conditions::default()
    };
    for count in [1, 300] {
        let senders = Senders {
            namespaces: (0..count).map(|number| format!("n{number:03}")).collect(),
            batches: 2,
            records: 5,
            seconds: 30.0,
            ..Senders::default()
        };
        let outcomes = deliver(senders, &conditions, 0.0).await;
        let attempts = outcomes.seen.len();
        println!("{count}: {attempts}");
        // Eight a second, and what went out until it was clear that nothing is answered.
        assert!(attempts <= 30 * 8 + 4 * count, "{attempts} for {count}");
        assert_eq!(outcomes.rejected, 0);
    }
}

/// Scenario: one run for each thing that can limit one.
/// Guarantees: what took the most time is named.
#[tokio::test(start_paused = true)]
async fn what_limits_a_run_is_named() {
    let quota = |rate: f64, workers: usize, errors: f64| Conditions {
        bytes_per_second: vec![[0.0, rate]],
        workers,
        errors,
        ..Conditions::default()
    };
    let usual = Conditions::default;
    let few = |batches| Senders {
        batches,
        ..Senders::default()
    };
    let thin = Conditions {
        link_bytes_per_second: Some(0.05e6),
        ..usual()
    };
    type Case = (Limit, Senders, f64, Conditions);
    let cases: [Case; 8] = [
        (Limit::NamespaceRate, few(40), 0.0, usual()),
        (Limit::Throttling, few(40), 0.0, quota(10e6, 64, 0.0)),
        (Limit::Latency, few(40), 0.0, quota(50e6, 2, 0.0)),
        (Limit::Network, few(40), 0.1, thin),
        (Limit::Reader, few(1), 0.0, usual()),
        (Limit::Outage, few(40), 0.0, quota(50e6, 64, 1.0)),
        (
            Limit::InFlight,
            Senders {
                in_flight: 2,
                ..Senders::default()
            },
            0.2,
            usual(),
        ),
        (
            Limit::TotalRate,
            Senders {
                total_rate: Some(5e6),
                ..Senders::default()
            },
            0.0,
            usual(),
        ),
    ];
    for (expected, senders, latency, conditions) in cases {
        let outcomes = deliver(senders, &conditions, latency).await;
        let found = outcomes.limited_by;
        assert_eq!(found.limit, expected.name(), "{:?}", outcomes.loaded);
        let of_namespace = ["namespace_rate", "throttling"].contains(&found.limit);
        assert_eq!(found.namespace.as_deref(), of_namespace.then_some("ns"));
    }
}
